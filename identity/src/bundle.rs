//! skeleton
use std::collections::BTreeSet;
use rustls_pki_types::CertificateDer;
use crate::spiffe_id::{SiteName, SpiffeId, TrustDomain};

/// The trust anchors of a trust domain, and the sites switched off in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    sequence: u64,
    refresh_hint_seconds: u64,
    trust_anchors: Vec<CertificateDer<'static>>,
    disabled_sites: BTreeSet<SiteName>,
}

/// SHA-256 over a bundle's trust domain and anchors; what a join token pins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub struct BundleFingerprint(pub [u8; 32]);

impl TrustBundle {
    /// A bundle with these anchors, nothing disabled, the default refresh hint.
    ///
    /// # Errors
    ///
    /// An anchor is no CA certificate of this trust domain, or there are none or too many.
    pub fn new(trust_domain: TrustDomain, sequence: u64, trust_anchors: Vec<CertificateDer<'static>>) -> Result<Self, BundleError> {
        Ok(Self { trust_domain, sequence, refresh_hint_seconds: 5, trust_anchors, disabled_sites: BTreeSet::new() })
    }
    /// The same with another refresh hint.
    ///
    /// # Errors
    ///
    /// Zero or over a day.
    pub fn with_refresh_hint(mut self, seconds: u64) -> Result<Self, BundleError> {
        self.refresh_hint_seconds = seconds;
        Ok(self)
    }
    /// The same with these sites disabled (replaces the set).
    ///
    /// # Errors
    ///
    /// Too many.
    pub fn with_disabled_sites(mut self, sites: impl IntoIterator<Item = SiteName>) -> Result<Self, BundleError> {
        self.disabled_sites = sites.into_iter().collect();
        Ok(self)
    }
    /// Reads the JSON form.
    ///
    /// # Errors
    ///
    /// Not a bundle.
    pub fn from_json(_json: &[u8]) -> Result<Self, BundleError> {
        Err(BundleError::Json)
    }
    /// Writes the JSON form.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }
    /// Sequence number, grows with each change.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
    /// How long a reader may keep it before asking again.
    #[must_use]
    pub fn refresh_hint_seconds(&self) -> u64 {
        self.refresh_hint_seconds
    }
    /// Anchors, DER.
    #[must_use]
    pub fn trust_anchors(&self) -> &[CertificateDer<'static>] {
        &self.trust_anchors
    }
    /// Disabled sites.
    #[must_use]
    pub fn disabled_sites(&self) -> &BTreeSet<SiteName> {
        &self.disabled_sites
    }
    /// Whether the ID's site is disabled.
    #[must_use]
    pub fn is_disabled(&self, spiffe_id: &SpiffeId) -> bool {
        spiffe_id.site().is_some_and(|site| self.disabled_sites.iter().any(|s| s.as_str() == site))
    }
    /// SHA-256 over trust domain and anchors only.
    #[must_use]
    pub fn fingerprint(&self) -> BundleFingerprint {
        BundleFingerprint([0; 32])
    }
    pub(crate) fn has_anchor(&self, _fingerprint: &[u8; 32]) -> bool {
        false
    }
}

/// Reason a bundle was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Not the JSON of a bundle.
    #[error("not a trust bundle")]
    Json,
}

impl serde::Serialize for TrustBundle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for TrustBundle {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("skeleton"))
    }
}
