//! The bundle document that all SPIFFE software reads, of other trust domains and of ours.
//!
//! # Read
//!
//! As the specification demands, unknown members are ignored, and so are keys for another use than `x509-svid`, and
//! those of algorithms that are not verified here (anything but P-256 and P-384). Of a key only the certificate in
//! `x5c` counts. No key at all is no mistake: the trust domain has revoked everything that it published before.
//!
//! # Written
//!
//! `keys` are the *issuing* CAs in force, so that any software that follows this document drops a compromised one at its
//! next refresh. Sites and instances that are revoked have no place in it.
//!
//! Specification: SPIFFE Trust Domain and Bundle, section 4; RFC 7517.

use base64ct::{Base64, Encoding};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::json::KeyJson;
use super::{BundleError, TrustBundle};
use crate::limits::{
    MAX_CERTIFICATE_BYTES, MAX_FOREIGN_BUNDLE_BYTES, MAX_FOREIGN_KEYS, MAX_REFRESH_HINT_SECONDS,
};
use crate::spiffe_id::TrustDomain;
use crate::x509::authority::Authority;

/// Use of a key that signs X.509 documents.
pub(super) const X509_SVID: &str = "x509-svid";

/// What a bundle document of another trust domain says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpiffeBundle {
    /// Its usable anchors; `None` if there is none, so that nobody of this trust domain is believed.
    pub bundle: Option<TrustBundle>,
    /// Keys for X.509 documents that are not usable here.
    pub skipped: usize,
    /// How long its publisher wants it kept, in seconds, if it says so.
    pub refresh_hint_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct SpiffeJson {
    keys: Vec<ForeignKey>,
    #[serde(default)]
    spiffe_sequence: Option<u64>,
    #[serde(default)]
    spiffe_refresh_hint: Option<u64>,
}

#[derive(Deserialize)]
struct ForeignKey {
    #[serde(default)]
    r#use: Option<String>,
    #[serde(default)]
    x5c: Option<Vec<String>>,
}

impl ForeignKey {
    /// The certificate, if it is one whose documents can be verified here.
    fn certificate(&self, trust_domain: &TrustDomain) -> Option<CertificateDer<'static>> {
        let [certificate] = self.x5c.as_deref()? else {
            return None;
        };
        if certificate.len() > MAX_CERTIFICATE_BYTES.div_ceil(3) * 4 {
            return None;
        }
        let der = CertificateDer::from(Base64::decode_vec(certificate).ok()?);
        let authority = Authority::from_der(&der).ok()?;
        // A CA that names another trust domain vouches for nobody in this one.
        let fits = authority
            .trust_domain
            .as_ref()
            .is_none_or(|named| named == trust_domain);
        (fits && crate::ec::parse_spki(&authority.spki_der).is_some()).then_some(der)
    }
}

impl SpiffeBundle {
    /// Reads the bundle document of `trust_domain`, which the document itself does not name.
    ///
    /// # Errors
    ///
    /// - [`BundleError::TooLong`]: over 64 KiB.
    /// - [`BundleError::Json`]: not a bundle document.
    /// - [`BundleError::AnchorCount`]: over 256 keys, or over 32 that are usable.
    pub fn from_json(trust_domain: &TrustDomain, json: &[u8]) -> Result<Self, BundleError> {
        if json.len() > MAX_FOREIGN_BUNDLE_BYTES {
            return Err(BundleError::TooLong);
        }
        let json: SpiffeJson =
            serde_json::from_slice(json).map_err(|error| BundleError::Json(error.to_string()))?;
        if json.keys.len() > MAX_FOREIGN_KEYS {
            return Err(BundleError::AnchorCount);
        }
        let for_documents = |key: &&ForeignKey| key.r#use.as_deref() == Some(X509_SVID);
        let offered = json.keys.iter().filter(for_documents).count();
        let mut anchors: Vec<_> = json
            .keys
            .iter()
            .filter(for_documents)
            .filter_map(|key| key.certificate(trust_domain))
            .collect();
        let skipped = offered - anchors.len();
        anchors.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        anchors.dedup();
        let refresh_hint_seconds = json.spiffe_refresh_hint.filter(|&seconds| seconds > 0);
        let bundle = if anchors.is_empty() {
            None
        } else {
            let sequence = json.spiffe_sequence.unwrap_or_default();
            let mut bundle = TrustBundle::new(trust_domain.clone(), sequence, anchors)?;
            if let Some(seconds) = refresh_hint_seconds {
                bundle = bundle.with_refresh_hint(seconds.min(MAX_REFRESH_HINT_SECONDS))?;
            }
            Some(bundle)
        };
        Ok(Self {
            bundle,
            skipped,
            refresh_hint_seconds,
        })
    }
}

/// Writes the bundle document of a trust domain whose issuing CAs in force are `authorities`.
///
/// # Errors
///
/// [`BundleError::AnchorCount`]: one of them is not a CA with a P-256 or P-384 key.
pub fn spiffe_bundle_json(
    authorities: &[CertificateDer<'_>],
    sequence: u64,
    refresh_hint_seconds: u64,
) -> Result<Vec<u8>, BundleError> {
    #[derive(Serialize)]
    struct Document {
        keys: Vec<KeyJson>,
        spiffe_sequence: u64,
        spiffe_refresh_hint: u64,
    }
    let keys = authorities
        .iter()
        .map(KeyJson::of)
        .collect::<Option<Vec<_>>>()
        .ok_or(BundleError::AnchorCount)?;
    let document = Document {
        keys,
        spiffe_sequence: sequence,
        spiffe_refresh_hint: refresh_hint_seconds,
    };
    serde_json::to_vec(&document).map_err(|error| BundleError::Json(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::Realm;

    fn domain() -> TrustDomain {
        TrustDomain::parse("other.example").unwrap()
    }

    fn read(json: &Value) -> Result<SpiffeBundle, BundleError> {
        SpiffeBundle::from_json(&domain(), json.to_string().as_bytes())
    }

    fn written(realm: &Realm) -> Value {
        let json = spiffe_bundle_json(&realm.issuer.chain()[..1], 7, 300).unwrap();
        serde_json::from_slice(&json).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let realm = Realm::new("other.example", 3);
        let json = written(&realm);
        let mut members: Vec<_> = json.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["keys", "spiffe_refresh_hint", "spiffe_sequence"]);
        let read = read(&json).unwrap();
        let bundle = read.bundle.unwrap();
        assert_eq!(bundle.trust_anchors(), &realm.issuer.chain()[..1]);
        assert_eq!((bundle.sequence(), bundle.refresh_hint_seconds()), (7, 300));
        assert_eq!((read.skipped, read.refresh_hint_seconds), (0, Some(300)));
        assert!(spiffe_bundle_json(&[CertificateDer::from(vec![1])], 1, 1).is_err());
    }

    /// The forms that other software publishes: more members, keys for tokens, keys of algorithms not verified here.
    #[test]
    fn what_is_not_for_us_is_ignored() {
        let realm = Realm::new("other.example", 3);
        let mut json = written(&realm);
        json["more"] = json!({"of": "it"});
        json["keys"][0]["kid"] = json!("1");
        for key in ["x", "y", "crv", "kty"] {
            json["keys"][0][key] = json!("not looked at");
        }
        let stranger = written(&Realm::new("elsewhere.example", 4))["keys"][0].clone();
        let keys = json["keys"].as_array_mut().unwrap();
        keys.push(
            json!({"use": "jwt-svid", "kty": "EC", "kid": "2", "crv": "P-256", "x": "", "y": ""}),
        );
        keys.push(json!({"use": "x509-svid", "kty": "RSA", "n": "", "e": "", "x5c": ["AAAA"]}));
        keys.push(json!({"kty": "EC"}));
        keys.push(stranger);
        keys.push(keys[0].clone());
        let read = read(&json).unwrap();
        assert_eq!(
            read.bundle.unwrap().trust_anchors(),
            &realm.issuer.chain()[..1]
        );
        // The RSA key, and the CA of another trust domain.
        assert_eq!(read.skipped, 2);
    }

    #[test]
    fn sequence_and_hint_may_be_absent() {
        let mut json = written(&Realm::new("other.example", 3));
        drop(json.as_object_mut().unwrap().remove("spiffe_sequence"));
        json["spiffe_refresh_hint"] = json!(0);
        let read_one = read(&json).unwrap();
        assert_eq!(read_one.refresh_hint_seconds, None);
        assert_eq!(read_one.bundle.unwrap().sequence(), 0);
        json["spiffe_refresh_hint"] = json!(u64::MAX);
        assert_eq!(
            read(&json).unwrap().bundle.unwrap().refresh_hint_seconds(),
            MAX_REFRESH_HINT_SECONDS
        );
    }

    /// Section 4.1.4: an empty array says that every key published before is revoked.
    #[test]
    fn no_key_is_nobody() {
        let read_one = read(&json!({"keys": [], "spiffe_sequence": 9})).unwrap();
        assert_eq!((read_one.bundle, read_one.skipped), (None, 0));
        for bad in [
            json!({}),
            json!([]),
            json!({"keys": {}}),
            json!({"keys": [1]}),
            json!({"keys": [], "spiffe_sequence": -1}),
        ] {
            assert!(matches!(read(&bad), Err(BundleError::Json(_))), "{bad}");
        }
        let many = json!({"keys": vec![json!({}); MAX_FOREIGN_KEYS + 1]});
        assert_eq!(read(&many), Err(BundleError::AnchorCount));
        let long = vec![b' '; MAX_FOREIGN_BUNDLE_BYTES + 1];
        assert_eq!(
            SpiffeBundle::from_json(&domain(), &long),
            Err(BundleError::TooLong)
        );
    }
}
