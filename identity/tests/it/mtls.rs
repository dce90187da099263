//! Connections of `identity::mtls`: who gets one, and when it ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::mtls::{Authorizer, ConnectionEnd};
use identity::tls::TlsIdentity;
use identity::verify::VerifyError;
use identity::{SiteName, TrustBundle};

use crate::support::{API, Realm, UNSEALER, id};

mod blocking;
mod clients;
mod http;
mod tokio;

/// Much longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// A workload of paris and a service of core.
struct Pair {
    realm: Realm,
    api: Arc<TlsIdentity>,
    unsealer: Arc<TlsIdentity>,
}

impl Pair {
    fn new() -> Self {
        let realm = Realm::new(1);
        let (api, unsealer) = (realm.identity(API, 1), realm.identity(UNSEALER, 2));
        Self {
            realm,
            api,
            unsealer,
        }
    }

    /// A bundle in which paris is switched off.
    fn without_paris(&self, sequence: u64) -> TrustBundle {
        let anchors = self.realm.bundle.trust_anchors().to_vec();
        TrustBundle::new(self.realm.bundle.trust_domain().clone(), sequence, anchors)
            .unwrap()
            .with_disabled_sites([SiteName::parse("paris").unwrap()])
            .unwrap()
    }
}

fn paris() -> Authorizer {
    Authorizer::within(id("spiffe://acme.example/paris"))
}

fn core() -> Authorizer {
    Authorizer::within(id("spiffe://acme.example/core"))
}

/// The reason in an error of a connection that was cut.
fn end_of(error: &io::Error) -> ConnectionEnd {
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
    ConnectionEnd::of(error)
        .unwrap_or_else(|| panic!("no end of a connection: {error:?}"))
        .clone()
}

fn site_disabled() -> ConnectionEnd {
    ConnectionEnd::Peer(VerifyError::SiteDisabled)
}

/// Waits for something that happens soon.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
