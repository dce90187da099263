//! The second background thread: keeps the trust bundle fresh, whatever the document does.

use std::{sync::Arc, time::Duration};

use tracing::{debug, info, warn};

use super::{IdentityError, authority, shared::Shared};
use crate::{error::Chain, http::fraction, limits};

/// Starts the thread.
pub(super) fn spawn(shared: Arc<Shared>) -> Result<(), IdentityError> {
    std::thread::Builder::new()
        .name("wingman-bundle".to_owned())
        .spawn(move || BundleRefresh::new(shared).run())
        .map(drop)
        .map_err(IdentityError::Thread)
}

struct BundleRefresh {
    shared: Arc<Shared>,
    fails: bool,
}

impl BundleRefresh {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            fails: false,
        }
    }

    fn run(mut self) {
        if self.shared.freshness().bundle_age.is_none() {
            self.refresh();
        }
        while !self.shared.wait_for_end(self.pause()) {
            self.refresh();
        }
    }

    /// A tenth of jitter, so that a fleet that was started together spreads out.
    fn pause(&self) -> Duration {
        self.shared
            .refresh_interval()
            .mul_f64(0.9 + fraction() / 10.0)
    }

    fn refresh(&mut self) {
        let refreshed = self.shared.refresh();
        match &refreshed {
            Ok(changed) if changed.document => self.shared.nudge(),
            Ok(_) => {}
            // Told once: the next try is seconds away.
            Err(error) if !self.fails => {
                warn!(error = %Chain(error), "the trust bundle could not be refreshed");
            }
            Err(error) => debug!(error = %Chain(error), "the trust bundle could not be refreshed"),
        }
        if self.fails && refreshed.is_ok() {
            info!("the trust bundle is refreshed again");
        }
        self.fails = refreshed.is_err();
    }
}

impl Shared {
    pub(super) fn refresh_interval(&self) -> Duration {
        let tls = self.state().tls.clone();
        tls.map_or(limits::SHORTEST_BUNDLE_REFRESH, |tls| {
            authority::refresh_interval(&tls.bundle())
        })
    }
}
