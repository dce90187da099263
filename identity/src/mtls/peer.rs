//! The peer of one connection, and whether it is still welcome.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::Authorizer;
use crate::document::IdentityDocument;
#[cfg(feature = "tokio")]
use crate::limits::LIFETIME_POLL;
use crate::limits::{CLOSING_MARGIN, REPLACED_GRACE};
use crate::principal::Principal;
use crate::tls::TlsIdentity;
use crate::verify::VerifyError;

/// Who is at the other end of one connection. Clones tell of the same connection.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    identity: Arc<TlsIdentity>,
    authorizer: Authorizer,
    principal: Arc<Principal>,
    own: Arc<IdentityDocument>,
    /// Last second of the first document to end, and of the time for new requests before.
    deadline: u64,
    closing_from: u64,
    /// When the own document was first seen replaced.
    replaced: OnceLock<Instant>,
}

impl Peer {
    pub(super) fn new(
        identity: &Arc<TlsIdentity>,
        authorizer: Authorizer,
        principal: Principal,
        own: Arc<IdentityDocument>,
    ) -> Self {
        let deadline = principal.deadline().min(own.not_after());
        // Of a short life only a part is given to finishing.
        let left = deadline.saturating_sub(identity.now());
        let margin = CLOSING_MARGIN.as_secs().min(left / 4);
        Self(Arc::new(Inner {
            identity: Arc::clone(identity),
            authorizer,
            principal: Arc::new(principal),
            own,
            deadline,
            closing_from: deadline - margin,
            replaced: OnceLock::new(),
        }))
    }

    /// Who it is, as verified in the handshake.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.0.principal
    }

    /// Whether the connection may go on: under the current bundle, by the current time, for the authorizer.
    ///
    /// Streams ask it by themselves; whoever works a request off for long may ask again before it acts.
    ///
    /// # Errors
    ///
    /// - [`ConnectionEnd::OwnExpired`], [`ConnectionEnd::Replaced`]: the own document's time is over.
    /// - [`ConnectionEnd::Peer`]: the peer's is, or it was revoked.
    pub fn check(&self) -> Result<(), ConnectionEnd> {
        let inner = &*self.0;
        let now = inner.identity.now();
        if now > inner.own.not_after() {
            return Err(ConnectionEnd::OwnExpired);
        }
        inner
            .identity
            .recheck(&inner.principal)
            .and_then(|()| inner.authorizer.check(&inner.principal, now))
            .map_err(ConnectionEnd::Peer)?;
        match self.replaced_for() {
            Some(past) if past >= REPLACED_GRACE => Err(ConnectionEnd::Replaced),
            _ => Ok(()),
        }
    }

    /// Whether it is time to finish: the connection has ended, will within seconds, or the own document was replaced.
    ///
    /// Nothing new should begin on it; a new connection is as good.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.replaced_for().is_some()
            || self.0.identity.now() >= self.0.closing_from
            || self.check().is_err()
    }

    #[cfg(feature = "axum")]
    pub(super) fn now(&self) -> u64 {
        self.0.identity.now()
    }

    /// How long ago the own document was seen replaced.
    fn replaced_for(&self) -> Option<Duration> {
        let inner = &*self.0;
        let since = match inner.replaced.get() {
            Some(since) => since,
            None if Arc::ptr_eq(&inner.own, &inner.identity.document()) => return None,
            None => inner.replaced.get_or_init(Instant::now),
        };
        Some(since.elapsed())
    }

    /// When to look again, if nothing is heard before.
    #[cfg(feature = "tokio")]
    pub(super) fn next_look(&self) -> Duration {
        let inner = &*self.0;
        let now = inner.identity.now();
        let until = |second: u64| Duration::from_secs(second.saturating_sub(now).max(1));
        let mut next = LIFETIME_POLL.min(until(inner.deadline.saturating_add(1)));
        if now < inner.closing_from {
            next = next.min(until(inner.closing_from));
        }
        match self.replaced_for() {
            Some(past) => next.min(REPLACED_GRACE.saturating_sub(past)),
            None => next,
        }
    }

    #[cfg(feature = "tokio")]
    pub(super) fn changes(&self) -> crate::tls::Changes {
        self.0.identity.changes()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("spiffe_id", self.0.principal.spiffe_id())
            .field("deadline", &self.0.deadline)
            .finish_non_exhaustive()
    }
}

/// Why a connection ended; found in the [`io::Error`] of its next read or write.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionEnd {
    /// The own document expired.
    #[error("own identity document expired: it must be renewed before there is another connection")]
    OwnExpired,
    /// The own document was replaced, and the time to finish is over.
    #[error("own identity document was replaced: connect again")]
    Replaced,
    /// The peer's document expired, the peer was revoked, or it is not admitted any longer.
    #[error("peer is no longer welcome")]
    Peer(#[source] VerifyError),
}

impl ConnectionEnd {
    /// The end of a connection in an error of reading or writing, if that is what it tells.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<ConnectionEnd> for io::Error {
    fn from(end: ConnectionEnd) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, end)
    }
}
