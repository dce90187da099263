//! Trust bundle: the trust anchors of a trust domain, and what of it is revoked.
//!
//! # Layout of the JSON
//!
//! A SPIFFE bundle document (SPIFFE Trust Domain and Bundle, section 4), so that other SPIFFE software reads it, with
//! members of our own: `trust_domain`, and three that say what is no longer accepted below the anchors:
//!
//! ```json
//! {
//!   "trust_domain": "acme.example",
//!   "spiffe_sequence": 7,
//!   "spiffe_refresh_hint": 5,
//!   "keys": [{"use": "x509-svid", "kty": "EC", "crv": "P-384", "x": "…", "y": "…", "x5c": ["…"]}],
//!   "disabled_sites": ["paris"],
//!   "issuers": ["5f70…"],
//!   "revoked_instances": [{"instance": "0123456789abcdef0123456789abcdef", "before": 1767225600}],
//!   "newest_issuer": 1767225000
//! }
//! ```
//!
//! | member | absent or empty | otherwise |
//! |---|---|---|
//! | `disabled_sites` | every site is accepted | documents of these are refused |
//! | `issuers` | any CA below the anchors may have signed a document | only the CAs with these fingerprints (SHA-256 of the DER, lower-case hex): an issuer that leaves the list is revoked |
//! | `revoked_instances` | every instance is accepted | documents with this attribute `instance` that began before `before` (Unix seconds) are refused; all of them without `before` |
//! | `newest_issuer` | | when the newest issuing CA began that was known when the bundle was made, revoked ones included (Unix seconds): the identity authority's own document, and no other, is accepted from a newer one |
//!
//! `x5c` holds one certificate each; `crv`, `x` and `y` must be those of that certificate. Unknown members are refused:
//! a member that is added is optional for one release.
//!
//! # Not promised
//!
//! Authenticity: a bundle is believed because of where it came from, the fingerprint in a join token or a connection
//! that was verified under the bundle before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use sha2::{Digest, Sha256};

use crate::attributes::{Attributes, INSTANCE};
use crate::limits::{
    DEFAULT_REFRESH_HINT_SECONDS, MAX_BUNDLE_BYTES, MAX_DISABLED_SITES, MAX_INSTANCE_BYTES,
    MAX_ISSUERS, MAX_REFRESH_HINT_SECONDS, MAX_REVOKED_INSTANCES, MAX_TRUST_ANCHORS,
};
use crate::spiffe_id::{SiteName, SpiffeId, TrustDomain};
use crate::x509::CertificateError;
use crate::x509::authority::Authority;

mod error;
mod fingerprint;
mod json;
mod spiffe;

pub use error::BundleError;
pub use fingerprint::BundleFingerprint;
pub use spiffe::{SpiffeBundle, spiffe_bundle_json};

/// Trust anchors of one trust domain, and its revocations.
#[derive(Clone, Eq, PartialEq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    sequence: u64,
    refresh_hint_seconds: u64,
    // INVARIANT (anchors): 1 to 32, each a CA of no other trust domain, ascending by DER and unique; `anchors` are the
    // same ones, parsed, in the same order.
    trust_anchors: Vec<CertificateDer<'static>>,
    anchors: Vec<Anchor>,
    disabled_sites: BTreeSet<SiteName>,
    // INVARIANT (bounds): at most as many as `limits` says, each instance a text that `is_instance` takes.
    issuers: BTreeSet<[u8; 32]>,
    revoked_instances: BTreeMap<String, Option<u64>>,
    newest_issuer: Option<u64>,
}

/// A trust anchor, parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Anchor {
    pub(crate) trust_anchor: TrustAnchor<'static>,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

impl TrustBundle {
    /// A bundle with these anchors, the default refresh hint and nothing revoked.
    ///
    /// # Errors
    ///
    /// - [`BundleError::AnchorCount`]: none, over 32, or one twice.
    /// - [`BundleError::Anchor`]: one is not a CA certificate.
    /// - [`BundleError::TrustDomain`]: one names another trust domain.
    pub fn new(
        trust_domain: TrustDomain,
        sequence: u64,
        trust_anchors: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, BundleError> {
        let mut trust_anchors: Vec<_> = trust_anchors
            .into_iter()
            .take(MAX_TRUST_ANCHORS + 1)
            .collect();
        trust_anchors.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        let count = trust_anchors.len();
        trust_anchors.dedup();
        if trust_anchors.is_empty() || count > MAX_TRUST_ANCHORS || trust_anchors.len() != count {
            return Err(BundleError::AnchorCount);
        }
        let anchors = trust_anchors
            .iter()
            .map(|certificate| Anchor::parse(certificate, &trust_domain))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            trust_domain,
            sequence,
            refresh_hint_seconds: DEFAULT_REFRESH_HINT_SECONDS,
            trust_anchors,
            anchors,
            disabled_sites: BTreeSet::new(),
            issuers: BTreeSet::new(),
            newest_issuer: None,
            revoked_instances: BTreeMap::new(),
        })
    }

    /// The same with another refresh hint.
    ///
    /// # Errors
    ///
    /// [`BundleError::RefreshHint`]: zero, or over a day.
    pub fn with_refresh_hint(mut self, seconds: u64) -> Result<Self, BundleError> {
        if seconds == 0 || seconds > MAX_REFRESH_HINT_SECONDS {
            return Err(BundleError::RefreshHint);
        }
        self.refresh_hint_seconds = seconds;
        Ok(self)
    }

    /// The same with exactly these sites disabled.
    ///
    /// # Errors
    ///
    /// [`BundleError::TooManySites`]: over 4,096.
    pub fn with_disabled_sites(
        mut self,
        sites: impl IntoIterator<Item = SiteName>,
    ) -> Result<Self, BundleError> {
        let mut disabled = BTreeSet::new();
        for site in sites {
            disabled.insert(site);
            if disabled.len() > MAX_DISABLED_SITES {
                return Err(BundleError::TooManySites);
            }
        }
        self.disabled_sites = disabled;
        Ok(self)
    }

    /// The same with exactly these issuing CAs allowed, by the SHA-256 of their DER; with none, any below the anchors.
    ///
    /// # Errors
    ///
    /// [`BundleError::TooManyIssuers`]: over 32.
    pub fn with_issuers(
        mut self,
        issuers: impl IntoIterator<Item = [u8; 32]>,
    ) -> Result<Self, BundleError> {
        let mut allowed = BTreeSet::new();
        for issuer in issuers {
            allowed.insert(issuer);
            if allowed.len() > MAX_ISSUERS {
                return Err(BundleError::TooManyIssuers);
            }
        }
        self.issuers = allowed;
        Ok(self)
    }

    /// The same with exactly these instances revoked: documents that began before the second value (Unix seconds), or
    /// all of them. Of two entries for one instance the one that refuses more counts.
    ///
    /// # Errors
    ///
    /// - [`BundleError::Instance`]: one is not the text of an instance.
    /// - [`BundleError::TooManyInstances`]: over 8,192.
    pub fn with_revoked_instances(
        mut self,
        instances: impl IntoIterator<Item = (String, Option<u64>)>,
    ) -> Result<Self, BundleError> {
        let mut revoked = BTreeMap::<String, Option<u64>>::new();
        for (instance, before) in instances {
            if !is_instance(&instance) {
                return Err(BundleError::Instance);
            }
            revoked
                .entry(instance)
                .and_modify(|there| {
                    *there = there.zip(before).map(|(there, before)| there.max(before));
                })
                .or_insert(before);
            if revoked.len() > MAX_REVOKED_INSTANCES {
                return Err(BundleError::TooManyInstances);
            }
        }
        self.revoked_instances = revoked;
        Ok(self)
    }

    /// The same, made when no issuing CA began later than this (Unix seconds), revoked ones included.
    ///
    /// It is for verifiers that were away while all issuing CAs were replaced: see
    /// [`TrustBundle::is_before_issuer_of`].
    #[must_use]
    pub fn with_newest_issuer(mut self, not_before: Option<u64>) -> Self {
        self.newest_issuer = not_before;
        self
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    ///
    /// - [`BundleError::TooLong`]: over 2 MiB.
    /// - [`BundleError::Json`]: not this JSON; the message tells which rule or member, and where.
    pub fn from_json(json: &[u8]) -> Result<Self, BundleError> {
        if json.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLong);
        }
        serde_json::from_slice(json).map_err(|error| BundleError::Json(error.to_string()))
    }

    /// Writes the JSON form.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Neither the types nor the writer can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Number that grows with each change.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How long a reader may go on before it asks for the bundle again, 1 second to a day.
    #[must_use]
    pub fn refresh_hint_seconds(&self) -> u64 {
        self.refresh_hint_seconds
    }

    /// The trust anchors, ascending by DER.
    #[must_use]
    pub fn trust_anchors(&self) -> &[CertificateDer<'static>] {
        &self.trust_anchors
    }

    /// When the first of the trust anchors ends, Unix seconds.
    #[must_use]
    pub fn first_anchor_ends(&self) -> Option<u64> {
        self.anchors.iter().map(|anchor| anchor.not_after).min()
    }

    /// The sites whose documents are refused.
    #[must_use]
    pub fn disabled_sites(&self) -> &BTreeSet<SiteName> {
        &self.disabled_sites
    }

    /// Whether the site of `spiffe_id` is switched off.
    #[must_use]
    pub fn is_disabled(&self, spiffe_id: &SpiffeId) -> bool {
        spiffe_id
            .site()
            .is_some_and(|site| self.disabled_sites.contains(site))
    }

    /// Fingerprints of the issuing CAs whose documents are accepted; empty if any below the anchors is.
    #[must_use]
    pub fn issuers(&self) -> &BTreeSet<[u8; 32]> {
        &self.issuers
    }

    /// Whether documents of the CA with this fingerprint (SHA-256 of its DER) are accepted.
    #[must_use]
    pub fn allows_issuer(&self, fingerprint: &[u8; 32]) -> bool {
        self.issuers.is_empty() || self.issuers.contains(fingerprint)
    }

    /// The revoked instances: documents that began before the value (Unix seconds) are refused, all without one.
    #[must_use]
    pub fn revoked_instances(&self) -> &BTreeMap<String, Option<u64>> {
        &self.revoked_instances
    }

    /// Whether a document with these attributes that began at `not_before` is one of a revoked instance.
    #[must_use]
    pub fn is_revoked(&self, attributes: &Attributes, not_before: u64) -> bool {
        attributes
            .text(INSTANCE)
            .and_then(|instance| self.revoked_instances.get(instance))
            .is_some_and(|before| before.is_none_or(|before| not_before < before))
    }

    /// Start of the newest issuing CA known when this bundle was made, if it says so.
    #[must_use]
    pub fn newest_issuer(&self) -> Option<u64> {
        self.newest_issuer
    }

    /// Whether this bundle is too old to know an issuing CA that began at `issuer_not_before`, and `spiffe_id` is the
    /// one whose document counts even so: the identity authority, from which the newer bundle comes.
    ///
    /// An issuing CA that was revoked when the bundle was made is not newer than it says, and only a root can make a newer
    /// one. So whoever was asleep while all issuing CAs were replaced finds back.
    ///
    /// What such a bundle cannot know is that a CA which began after it was revoked since: whoever has that one's key, and
    /// sits on the way to the authority, passes for the authority; for nobody else.
    #[must_use]
    pub fn is_before_issuer_of(&self, spiffe_id: &SpiffeId, issuer_not_before: u64) -> bool {
        self.newest_issuer
            .is_some_and(|newest| issuer_not_before > newest)
            && *spiffe_id == self.trust_domain.identity_authority()
    }

    /// SHA-256 over trust domain and anchors: what a join token pins.
    ///
    /// It stays the same when something is revoked and the sequence grows.
    #[must_use]
    pub fn fingerprint(&self) -> BundleFingerprint {
        let mut hash = Sha256::new();
        let mut update = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        };
        update(b"blindfold bundle fingerprint v1");
        update(self.trust_domain.as_str().as_bytes());
        // INVARIANT (anchors): ascending, so that the order they were given in does not matter.
        self.trust_anchors.iter().for_each(|anchor| update(anchor));
        BundleFingerprint(hash.finalize().into())
    }

    pub(crate) fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    pub(crate) fn has_anchor(&self, fingerprint: &[u8; 32]) -> bool {
        self.anchors
            .iter()
            .any(|anchor| anchor.fingerprint == *fingerprint)
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("trust_domain", &self.trust_domain)
            .field("sequence", &self.sequence)
            .field("fingerprint", &self.fingerprint())
            .field("disabled_sites", &self.disabled_sites)
            .field("issuers", &self.issuers.len())
            .field("revoked_instances", &self.revoked_instances.len())
            .finish_non_exhaustive()
    }
}

impl Anchor {
    fn parse(
        certificate: &CertificateDer<'static>,
        trust_domain: &TrustDomain,
    ) -> Result<Self, BundleError> {
        let authority = Authority::from_der(certificate).map_err(BundleError::Anchor)?;
        if authority
            .trust_domain
            .as_ref()
            .is_some_and(|named| named != trust_domain)
        {
            return Err(BundleError::TrustDomain);
        }
        let encoding = |_| BundleError::Anchor(CertificateError::Encoding);
        Ok(Self {
            trust_anchor: webpki::anchor_from_trusted_cert(certificate)
                .map_err(encoding)?
                .to_owned(),
            fingerprint: Sha256::digest(certificate).into(),
            not_before: authority.not_before,
            not_after: authority.not_after,
        })
    }
}

/// Whether `text` can be revoked as an instance: 1 to 64 ASCII letters, digits, dots, hyphens and underscores.
#[must_use]
pub fn is_instance(text: &str) -> bool {
    (1..=MAX_INSTANCE_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests;
