//! Peers of other trust domains.
//!
//! A document is verified under the bundle of the trust domain that it names, and under no other: a foreign CA vouches
//! for nobody of ours, ours for nobody foreign, and one foreign domain for nobody of another. Whether a foreign trust
//! domain is let in at all is the acceptor's choice; without one, nobody foreign is.
//!
//! # Not promised
//!
//! That a site or an instance which the other trust domain has revoked is refused: its bundle document has no place for
//! them. What it does revoke are its CAs, and its documents end by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::CommonState;
use rustls_pki_types::CertificateDer;

use super::{TlsError, TlsIdentity, Trust, finished};
use crate::attributes::Attributes;
use crate::bundle::TrustBundle;
use crate::limits::MAX_FEDERATIONS;
use crate::principal::Principal;
use crate::spiffe_id::{SpiffeId, TrustDomain};
use crate::verify::{Usage, VerifyError};
use crate::x509::leaf::Leaf;

/// Bundles of other trust domains, by their names.
pub(super) type Federated = BTreeMap<TrustDomain, Arc<TrustBundle>>;

/// Whether the attributes in documents of another trust domain are believed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ForeignAttributes {
    /// They are dropped, and no selector holds of them, `!key` and `key!=value` neither: a rule about attributes alone
    /// never lets in somebody whose attributes another trust domain made up, or left out.
    #[default]
    Ignored,
    /// They count as those of the own trust domain do.
    Believed,
}

/// Which peers an acceptor takes besides those of its own trust domain; by default none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AcceptedDomains(BTreeMap<TrustDomain, ForeignAttributes>);

impl AcceptedDomains {
    /// Nobody but the own trust domain.
    #[must_use]
    pub fn own() -> Self {
        Self::default()
    }

    /// The same and `trust_domain`, as long as its bundle is there.
    #[must_use]
    pub fn and(mut self, trust_domain: TrustDomain, attributes: ForeignAttributes) -> Self {
        self.0.insert(trust_domain, attributes);
        self
    }

    /// The trust domain of a peer who is expected by name, its attributes ignored.
    #[must_use]
    pub fn of(peer: &SpiffeId) -> Self {
        Self::own().and(peer.trust_domain().clone(), ForeignAttributes::Ignored)
    }

    /// The foreign trust domains.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&TrustDomain, ForeignAttributes)> {
        self.0
            .iter()
            .map(|(domain, attributes)| (domain, *attributes))
    }
}

impl TlsIdentity {
    /// Verifies peers of other trust domains under `bundles` from now on, one for each trust domain; those of trust
    /// domains without one are refused. The same bundles again change nothing.
    ///
    /// Of a trust domain whose bundle at hand has a greater sequence number, that one stays.
    ///
    /// # Errors
    ///
    /// The former ones stay:
    /// - [`TlsError::OwnTrustDomain`]: one is of the own trust domain.
    /// - [`TlsError::TooManyFederations`]: over 64.
    pub fn replace_federated(
        &self,
        bundles: impl IntoIterator<Item = TrustBundle>,
    ) -> Result<(), TlsError> {
        let _one_writer = self.lock();
        let current = self.trust.federated.load();
        let own = self.trust.bundle.load();
        let mut next = Federated::new();
        for bundle in bundles {
            if bundle.trust_domain() == own.trust_domain() {
                return Err(TlsError::OwnTrustDomain);
            }
            let bundle = match current.get(bundle.trust_domain()) {
                // Zero is a publisher that does not count.
                Some(known) if bundle.sequence() > 0 && known.sequence() > bundle.sequence() => {
                    Arc::clone(known)
                }
                _ => Arc::new(bundle),
            };
            next.insert(bundle.trust_domain().clone(), bundle);
            if next.len() > MAX_FEDERATIONS {
                return Err(TlsError::TooManyFederations);
            }
        }
        if next != **current {
            self.trust.federated.store(Arc::new(next));
            self.trust.changed();
        }
        Ok(())
    }

    /// The bundles that peers of other trust domains are verified under.
    #[must_use]
    pub fn federated(&self) -> Vec<Arc<TrustBundle>> {
        self.trust.federated.load().values().cloned().collect()
    }

    /// As [`TlsIdentity::peer_principal`], for peers of the `accepted` trust domains too.
    ///
    /// # Errors
    ///
    /// As [`TlsIdentity::peer_principal`].
    pub fn peer_principal_of(
        &self,
        connection: &CommonState,
        usage: Usage,
        accepted: &AcceptedDomains,
    ) -> Result<Option<Principal>, VerifyError> {
        if !finished(connection) {
            return Err(VerifyError::Handshake);
        }
        match (connection.peer_certificates(), usage) {
            (Some(chain), _) => self
                .trust
                .verify(chain, usage, self.now(), accepted)
                .map(Some),
            (None, Usage::Client) => Ok(None),
            (None, Usage::Server) => Err(VerifyError::NoCertificate),
        }
    }
}

impl Trust {
    /// Verifies under the bundle of the own trust domain, or of the accepted one that the peer's document names.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        now: u64,
        accepted: &AcceptedDomains,
    ) -> Result<Principal, VerifyError> {
        let own = self.verified.verify(chain, &self.bundle.load(), usage, now);
        let Err(VerifyError::TrustDomain) = own else {
            return own;
        };
        // Nothing that it says is believed yet: it only tells which bundle decides.
        let leaf = chain.first().ok_or(VerifyError::NoCertificate)?;
        let leaf = Leaf::from_der(leaf).map_err(VerifyError::Certificate)?;
        let trust_domain = leaf.spiffe_id.trust_domain();
        let attributes = accepted.0.get(trust_domain);
        let attributes = attributes.ok_or(VerifyError::TrustDomain)?;
        let federated = self.federated.load();
        let bundle = federated.get(trust_domain);
        let bundle = bundle.ok_or(VerifyError::TrustDomain)?;
        let mut principal = self.verified.verify(chain, bundle, usage, now)?;
        if *attributes == ForeignAttributes::Ignored {
            principal.attributes = Attributes::withheld();
        }
        Ok(principal)
    }

    /// [`Principal::recheck`] under the bundle of the principal's trust domain.
    pub(super) fn recheck(&self, principal: &Principal, now: u64) -> Result<(), VerifyError> {
        let bundle = self.bundle.load();
        let trust_domain = principal.spiffe_id().trust_domain();
        if trust_domain == bundle.trust_domain() {
            return principal.recheck(&bundle, now);
        }
        let federated = self.federated.load();
        let bundle = federated.get(trust_domain);
        principal.recheck(bundle.ok_or(VerifyError::TrustDomain)?, now)
    }
}
