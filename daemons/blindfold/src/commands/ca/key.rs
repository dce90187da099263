//! The file of a root's private key.
//!
//! # Layout, version 1
//!
//! JSON, mode 0600:
//!
//! ```json
//! {"format": "blindfold-ca-key-v1", "trust_domain": "acme.example", "certificate_sha256": "…", "wrapped": "…"}
//! ```
//!
//! `wrapped` is the key as PKCS#8 PEM, a wrapped secret of version 1 (see `service::root_key`) in Base64, under the root
//! keys of `root.slots`. Its context is `blindfold-ca-key-v1\0` ‖ trust domain ‖ `\0` ‖ SHA-256 of the certificate's DER:
//! a key beside another certificate does not open.

use base64ct::{Base64, Encoding};
use identity::{
    TrustDomain,
    issue::{CaCertificate, RootAuthority},
};
use serde::{Deserialize, Serialize};
use service::root_key::RootKeys;

use super::refused;
use crate::failure::{Context, Failure, Kind, Outcome};

const FORMAT: &str = "blindfold-ca-key-v1";

/// The file; everything in it is public but what `wrapped` holds.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    pub(super) format: String,
    pub(super) trust_domain: TrustDomain,
    pub(super) certificate_sha256: String,
    wrapped: String,
}

impl KeyFile {
    /// Wraps the key of `root`.
    pub(super) fn wrap(
        root: &RootAuthority,
        certificate: &CaCertificate,
        keys: &RootKeys,
    ) -> Outcome<Self> {
        let pem = root.expose_key_pem().map_err(|e| refused(&e))?;
        let context = context(root.trust_domain(), &certificate.fingerprint());
        let wrapped = keys.wrap(&context, pem.as_bytes()).kind(Kind::Internal)?;
        Ok(Self {
            format: FORMAT.to_owned(),
            trust_domain: root.trust_domain().clone(),
            certificate_sha256: hex::encode(certificate.fingerprint()),
            wrapped: Base64::encode_string(&wrapped),
        })
    }

    pub(super) fn to_json(&self) -> Outcome<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).about(Kind::Internal, "root key")?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    pub(super) fn parse(bytes: &[u8], name: &str) -> Outcome<Self> {
        let file: Self = serde_json::from_slice(bytes).about(Kind::Data, name)?;
        if file.format != FORMAT {
            return Err(
                Failure::data(format_args!("{name}: no root key of the format {FORMAT}"))
                    .remedy("name the folder that `blindfold ca init` made"),
            );
        }
        Ok(file)
    }

    /// Opens the key that belongs to `certificate`.
    pub(super) fn open(
        &self,
        certificate: &CaCertificate,
        keys: &RootKeys,
    ) -> Outcome<RootAuthority> {
        let wrapped = Base64::decode_vec(&self.wrapped).about(Kind::Data, "root key")?;
        let context = context(&self.trust_domain, &certificate.fingerprint());
        let pem = keys
            .unwrap(&context, &wrapped)
            .about(Kind::Data, "root key")
            .map_err(|failure| {
                failure.remedy("root.crt, root.key and root.slots must be those of one ceremony")
            })?;
        let pem = std::str::from_utf8(&pem).about(Kind::Data, "root key")?;
        RootAuthority::from_pem(&certificate.to_pem(), pem).map_err(|e| refused(&e))
    }
}

fn context(trust_domain: &TrustDomain, fingerprint: &[u8; 32]) -> Vec<u8> {
    [
        FORMAT.as_bytes(),
        b"\0",
        trust_domain.as_str().as_bytes(),
        b"\0",
        fingerprint,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use service::root_key::RootKey;

    use super::*;

    fn root(name: &str) -> (RootAuthority, CaCertificate) {
        let domain = TrustDomain::parse(name).unwrap();
        let rng = &mut crate::random::generator();
        let root = RootAuthority::create(&domain, 1_800_000_000, 1_900_000_000, rng).unwrap();
        let certificate = CaCertificate::root_from_pem(&root.certificate_pem()).unwrap();
        (root, certificate)
    }

    #[test]
    fn key_opens_beside_its_certificate_and_with_its_keys_only() {
        let keys = RootKeys::from(RootKey::generate().unwrap());
        let (made, certificate) = root("acme.example");
        let json = KeyFile::wrap(&made, &certificate, &keys)
            .unwrap()
            .to_json()
            .unwrap();
        let text = String::from_utf8(json.clone()).unwrap();
        assert!(!text.contains("PRIVATE") && text.contains("acme.example"));
        let file = KeyFile::parse(&json, "root.key").unwrap();
        let opened = file.open(&certificate, &keys).unwrap();
        assert_eq!(opened.certificate(), made.certificate());
        let (_, other) = root("acme.example");
        assert_eq!(file.open(&other, &keys).unwrap_err().kind(), Kind::Data);
        let strange = RootKeys::from(RootKey::generate().unwrap());
        assert!(file.open(&certificate, &strange).is_err());
        let renamed = text.replace("acme.example", "evil.example");
        let renamed = KeyFile::parse(renamed.as_bytes(), "root.key").unwrap();
        assert!(renamed.open(&certificate, &keys).is_err());
        let future = text.replace("-v1", "-v2");
        assert!(KeyFile::parse(future.as_bytes(), "root.key").is_err());
    }
}
