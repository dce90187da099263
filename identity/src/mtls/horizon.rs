//! How long a client's pool of connections is good.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Authorizer;
use crate::limits::CLOSING_MARGIN;
use crate::tls::TlsIdentity;

/// Until document or bundle change, or the first document is about to end, own or of a server.
#[derive(Debug)]
pub(super) struct Horizon {
    generation: u64,
    until: Arc<AtomicU64>,
}

impl Horizon {
    /// Begins, before any connection is made: a change in between ends it.
    ///
    /// The authorizer that comes back admits the same servers, and notes when their documents end.
    pub(super) fn new(identity: &TlsIdentity, servers: &Authorizer) -> (Self, Authorizer) {
        let generation = identity.generation();
        let until = Arc::new(AtomicU64::new(identity.document().not_after()));
        let noted = Arc::clone(&until);
        let servers = servers.clone().with_check(move |server| {
            noted.fetch_min(server.deadline(), Ordering::AcqRel);
            true
        });
        (Self { generation, until }, servers)
    }

    /// Whether a request may still go over its connections.
    pub(super) fn holds(&self, identity: &TlsIdentity) -> bool {
        let finished = identity.now().saturating_add(CLOSING_MARGIN.as_secs());
        identity.generation() == self.generation && finished < self.until.load(Ordering::Acquire)
    }
}
