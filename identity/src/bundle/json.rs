//! JSON form of a bundle.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use rustls_pki_types::CertificateDer;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::spiffe::X509_SVID;
use super::{BundleFingerprint, TrustBundle};
use crate::ec;
use crate::limits::{MAX_CERTIFICATE_BYTES, MAX_TRUST_ANCHORS};
use crate::spiffe_id::{SiteName, TrustDomain};
use crate::x509::authority::Authority;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleJson {
    trust_domain: TrustDomain,
    spiffe_sequence: u64,
    spiffe_refresh_hint: u64,
    keys: Vec<KeyJson>,
    #[serde(default)]
    disabled_sites: Vec<SiteName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    issuers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked_instances: Vec<RevokedInstanceJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest_issuer: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokedInstanceJson {
    instance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
}

/// A JWK (RFC 7517) with the certificate as `x5c`.
#[derive(Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyJson {
    r#use: String,
    kty: String,
    crv: String,
    x: String,
    y: String,
    x5c: Vec<String>,
}

impl KeyJson {
    /// The one JSON of this certificate, `None` if it is not a CA of ours.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let authority = Authority::from_der(certificate).ok()?;
        let (spki, curve) = ec::parse_spki(&authority.spki_der)?;
        let (_uncompressed, point) = spki.subject_public_key.as_bytes()?.split_first()?;
        let (x, y) = point.split_at_checked(point.len() / 2)?;
        Some(Self {
            r#use: X509_SVID.to_owned(),
            kty: "EC".to_owned(),
            crv: curve.jwk_name().to_owned(),
            x: Base64UrlUnpadded::encode_string(x),
            y: Base64UrlUnpadded::encode_string(y),
            x5c: vec![Base64::encode_string(certificate)],
        })
    }

    /// The certificate, provided everything else in the JWK is its own.
    fn certificate(&self) -> Result<CertificateDer<'static>, &'static str> {
        let [certificate] = self.x5c.as_slice() else {
            return Err("a key needs exactly one certificate in x5c");
        };
        if certificate.len() > MAX_CERTIFICATE_BYTES.div_ceil(3) * 4 {
            return Err("certificate in x5c is longer than 16 KiB");
        }
        let der = Base64::decode_vec(certificate)
            .map_err(|_| "certificate in x5c is not padded base64")?;
        let certificate = CertificateDer::from(der);
        match Self::of(&certificate) {
            None => Err("certificate in x5c is not a CA's with a P-256 or P-384 key"),
            Some(expected) if expected != *self => {
                Err("use, kty, crv, x and y of a key are not those of its certificate")
            }
            Some(_) => Ok(certificate),
        }
    }
}

impl Serialize for TrustBundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        BundleJson {
            trust_domain: self.trust_domain.clone(),
            spiffe_sequence: self.sequence,
            spiffe_refresh_hint: self.refresh_hint_seconds,
            // INVARIANT (anchors): each is a CA of ours.
            keys: self.trust_anchors.iter().filter_map(KeyJson::of).collect(),
            disabled_sites: self.disabled_sites.iter().cloned().collect(),
            issuers: self.issuers.iter().map(hex::encode).collect(),
            revoked_instances: self
                .revoked_instances
                .iter()
                .map(|(instance, before)| RevokedInstanceJson {
                    instance: instance.clone(),
                    before: *before,
                })
                .collect(),
            newest_issuer: self.newest_issuer,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TrustBundle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = BundleJson::deserialize(deserializer)?;
        if json.keys.len() > MAX_TRUST_ANCHORS {
            return Err(D::Error::custom(
                "a trust bundle holds at most 32 trust anchors",
            ));
        }
        let anchors = json
            .keys
            .iter()
            .map(KeyJson::certificate)
            .collect::<Result<Vec<_>, _>>();
        let issuers = json
            .issuers
            .iter()
            .map(|text| fingerprint(text))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| D::Error::custom("an issuer is not 64 lower-case hex digits"))?;
        let listed = [
            json.disabled_sites.len(),
            issuers.len(),
            json.revoked_instances.len(),
        ];
        let revoked = json
            .revoked_instances
            .into_iter()
            .map(|revoked| (revoked.instance, revoked.before));
        let bundle = TrustBundle::new(
            json.trust_domain,
            json.spiffe_sequence,
            anchors.map_err(D::Error::custom)?,
        )
        .and_then(|bundle| bundle.with_refresh_hint(json.spiffe_refresh_hint))
        .and_then(|bundle| bundle.with_disabled_sites(json.disabled_sites))
        .and_then(|bundle| bundle.with_issuers(issuers))
        .and_then(|bundle| bundle.with_revoked_instances(revoked))
        .map_err(D::Error::custom)?
        .with_newest_issuer(json.newest_issuer);
        let held = [
            bundle.disabled_sites.len(),
            bundle.issuers.len(),
            bundle.revoked_instances.len(),
        ];
        if held != listed {
            return Err(D::Error::custom(
                "a disabled site, an issuer or a revoked instance is listed twice",
            ));
        }
        Ok(bundle)
    }
}

/// 64 lower-case hex digits.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let BundleFingerprint(bytes) = text.parse().ok()?;
    Some(bytes)
}
