//! Trust bundle: the trust anchors of a trust domain, and the sites that are switched off in it.
//!
//! # Layout of the JSON
//!
//! A SPIFFE bundle document (SPIFFE Trust Domain and Bundle, section 4), so that other SPIFFE software reads it, with
//! two members of our own, `trust_domain` and `disabled_sites`:
//!
//! ```json
//! {
//!   "trust_domain": "acme.example",
//!   "spiffe_sequence": 7,
//!   "spiffe_refresh_hint": 5,
//!   "keys": [{"use": "x509-svid", "kty": "EC", "crv": "P-384", "x": "…", "y": "…", "x5c": ["…"]}],
//!   "disabled_sites": ["paris"]
//! }
//! ```
//!
//! `x5c` holds one certificate each; `crv`, `x` and `y` must be those of that certificate. Unknown members are refused:
//! a member that is added is optional for one release.
//!
//! # Not promised
//!
//! Authenticity: a bundle is believed because of where it came from, the fingerprint in a join token or a connection
//! that was verified under the bundle before it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use sha2::{Digest, Sha256};

use crate::limits::{
    DEFAULT_REFRESH_HINT_SECONDS, MAX_BUNDLE_BYTES, MAX_DISABLED_SITES, MAX_REFRESH_HINT_SECONDS,
    MAX_TRUST_ANCHORS,
};
use crate::spiffe_id::{SiteName, SpiffeId, TrustDomain};
use crate::x509::CertificateError;
use crate::x509::authority::Authority;

mod json;

/// Trust anchors and disabled sites of one trust domain.
#[derive(Clone, Eq, PartialEq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    sequence: u64,
    refresh_hint_seconds: u64,
    // INVARIANT (anchors): 1 to 8, each a CA of no other trust domain, ascending by DER and unique; `anchors` are the
    // same ones, parsed, in the same order.
    trust_anchors: Vec<CertificateDer<'static>>,
    anchors: Vec<Anchor>,
    disabled_sites: BTreeSet<SiteName>,
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
    /// A bundle with these anchors, the default refresh hint and no disabled site.
    ///
    /// # Errors
    ///
    /// - [`BundleError::AnchorCount`]: none, over eight, or one twice.
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

    /// Reads the JSON form.
    ///
    /// # Errors
    ///
    /// - [`BundleError::TooLong`]: over 512 KiB.
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

    /// SHA-256 over trust domain and anchors: what a join token pins.
    ///
    /// It stays the same when sites are disabled and the sequence grows.
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

/// Fingerprint of a bundle's trust domain and anchors; written in lower-case hex.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct BundleFingerprint(pub [u8; 32]);

impl fmt::Display for BundleFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for BundleFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleFingerprint({self})")
    }
}

impl FromStr for BundleFingerprint {
    type Err = BundleError;

    /// Reads 64 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, BundleError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BundleError::Fingerprint)?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(BundleError::Fingerprint);
        }
        Ok(Self(bytes))
    }
}

/// Reason a bundle was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Over 512 KiB.
    #[error("trust bundle is longer than 512 KiB")]
    TooLong,
    /// Not the JSON of a bundle.
    #[error("not a trust bundle: {0}")]
    Json(String),
    /// None, over eight, or one twice.
    #[error("a trust bundle holds one to eight trust anchors, each once")]
    AnchorCount,
    /// An anchor is no CA certificate.
    #[error("trust anchor is not usable")]
    Anchor(#[source] CertificateError),
    /// An anchor names another trust domain.
    #[error("trust anchor is of another trust domain than the bundle")]
    TrustDomain,
    /// Zero or over a day.
    #[error("refresh hint must be 1 to 86400 seconds")]
    RefreshHint,
    /// Over 4,096 disabled sites.
    #[error("more than 4096 disabled sites")]
    TooManySites,
    /// Not 64 lower-case hex digits.
    #[error("bundle fingerprint is not 64 lower-case hex digits")]
    Fingerprint,
}

#[cfg(test)]
mod tests;
