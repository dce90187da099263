//! Which endorsement keys a site trusts: those it lists, and those that a TPM's maker certified.
//!
//! Specification: TCG EK Credential Profile for TPM Family 2.0, section 3.

use std::collections::BTreeSet;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use der::Decode;
use identity::Attributes;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use spki::SubjectPublicKeyInfoRef;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};
use x509_cert::ext::pkix::{KeyUsage as KeyUsageBits, SubjectAltName};

use super::error::TpmError;
use super::lower_hex;
use super::public::{EndorsementKey, PublicKey, RsaPublicKey};
use crate::limits::{MAX_TPM_ANCHORS, MAX_TPM_CHAIN_CERTIFICATES, MAX_TPM_ENDORSEMENT_KEYS};

/// The endorsement keys that a site trusts.
#[derive(Debug)]
pub(super) struct Trusted {
    listed: BTreeSet<[u8; 32]>,
    anchors: Vec<TrustAnchor<'static>>,
    // INVARIANT (as many): SHA-256 of the certificate of each anchor, in the same order.
    anchor_hashes: Vec<[u8; 32]>,
}

/// Why a key is trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trust {
    /// It is listed.
    Listed,
    /// A chain leads from it to the anchor with this hash.
    Certified([u8; 32]),
}

impl Trusted {
    /// Compiles what the rules say; an error names the member and what is wrong with it.
    pub(super) fn compile(
        anchors: &[String],
        keys: &[String],
    ) -> Result<Self, (&'static str, String)> {
        if keys.len() > MAX_TPM_ENDORSEMENT_KEYS {
            let why = format!("more than {MAX_TPM_ENDORSEMENT_KEYS} keys: use anchors");
            return Err(("endorsement_keys", why));
        }
        let listed = keys
            .iter()
            .map(|key| lower_hex(key))
            .collect::<Option<BTreeSet<_>>>()
            .ok_or_else(|| {
                let why = "each is a SHA-256 of a TPMT_PUBLIC: 64 characters of 0-9 and a-f";
                ("endorsement_keys", why.to_owned())
            })?;
        let mut trust_anchors = Vec::with_capacity(anchors.len());
        let mut anchor_hashes = Vec::with_capacity(anchors.len());
        for pem in anchors {
            let chain = identity::pem::decode_chain(pem).ok_or_else(|| {
                let why = "each is PEM of 1 to 4 certificates and nothing else";
                ("anchors", why.to_owned())
            })?;
            for der in chain {
                let anchor = anchor_from_trusted_cert(&der)
                    .map_err(|error| ("anchors", format!("not a certificate of a CA: {error}")))?;
                trust_anchors.push(anchor.to_owned());
                anchor_hashes.push(Sha256::digest(&der).into());
            }
            if trust_anchors.len() > MAX_TPM_ANCHORS {
                let why = format!("more than {MAX_TPM_ANCHORS} certificates");
                return Err(("anchors", why));
            }
        }
        if listed.is_empty() && trust_anchors.is_empty() {
            let why = "neither anchors nor endorsement_keys: nothing could be trusted";
            return Err(("anchors", why.to_owned()));
        }
        Ok(Self {
            listed,
            anchors: trust_anchors,
            anchor_hashes,
        })
    }

    /// Whether `key` is trusted, and what its certificate says.
    ///
    /// A key that is listed needs no certificate; what the chain says about it counts only when it verifies.
    pub(super) fn check(
        &self,
        key: &EndorsementKey,
        chain: &[CertificateDer<'_>],
        now: u64,
    ) -> Result<(Trust, Attributes), TpmError> {
        if chain.len() > MAX_TPM_CHAIN_CERTIFICATES {
            return Err(TpmError::ChainTooLong);
        }
        let certified = self.verify_chain(key, chain, now)?;
        if self.listed.contains(&key.sha256()) {
            let facts = certified.map(|(_, facts)| facts).unwrap_or_default();
            return Ok((Trust::Listed, facts));
        }
        certified
            .map(|(anchor, facts)| (Trust::Certified(anchor), facts))
            .ok_or(TpmError::UnknownEndorsementKey)
    }

    /// Whether the rules still hold what `key` was trusted for.
    pub(super) fn still(&self, key_sha256: &[u8; 32], trust: Trust) -> bool {
        match trust {
            Trust::Listed => self.listed.contains(key_sha256),
            Trust::Certified(anchor) => self.anchor_hashes.contains(&anchor),
        }
    }

    /// The anchor's hash and the leaf's facts; nothing where no chain leads to an anchor.
    fn verify_chain(
        &self,
        key: &EndorsementKey,
        chain: &[CertificateDer<'_>],
        now: u64,
    ) -> Result<Option<([u8; 32], Attributes)>, TpmError> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Ok(None);
        };
        let Ok(end_entity) = EndEntityCert::try_from(leaf) else {
            return Ok(None);
        };
        let Ok(path) = end_entity.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &self.anchors,
            intermediates,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(now)),
            // An endorsement key's certificate that names purposes names this one.
            KeyUsage::required_if_present(EK_CERTIFICATE),
            None,
            None,
        ) else {
            return Ok(None);
        };
        let place = self.anchors.iter().position(|known| known == path.anchor());
        let anchor = place
            .and_then(|place| self.anchor_hashes.get(place))
            .ok_or(TpmError::EndorsementCertificate)?;
        let spki = end_entity.subject_public_key_info();
        if !is_key(&spki, &key.key) {
            return Err(TpmError::EndorsementCertificate);
        }
        let facts = facts(leaf).ok_or(TpmError::EndorsementCertificate)?;
        if !is_for_encryption(leaf) {
            return Err(TpmError::EndorsementCertificate);
        }
        Ok(Some((*anchor, facts)))
    }
}

/// Facts that a certificate adds, besides which there are those of every TPM.
pub(super) const CERTIFICATE_FACTS: [&str; 5] = [
    "ek_certificate_sha256",
    "ek_certificate_serial",
    "tpm_manufacturer",
    "tpm_model",
    "tpm_version",
];

fn facts(leaf: &CertificateDer<'_>) -> Option<Attributes> {
    let certificate = Certificate::from_der(leaf).ok()?;
    let certificate = certificate.tbs_certificate();
    let mut facts = Attributes::new();
    let sha256 = hex::encode(Sha256::digest(leaf));
    facts.insert("ek_certificate_sha256", sha256).ok()?;
    let serial = hex::encode(certificate.serial_number().as_bytes());
    facts.insert("ek_certificate_serial", serial).ok()?;
    // "The subject alternative name holds manufacturer, model and version as a directory name."
    if let Some((_, names)) = certificate.get_extension::<SubjectAltName>().ok()? {
        let directory_names = names.0.iter().filter_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(name),
            _ => None,
        });
        for attribute in directory_names.flat_map(|name| name.iter()) {
            let fact = match attribute.oid {
                MANUFACTURER => "tpm_manufacturer",
                MODEL => "tpm_model",
                VERSION => "tpm_version",
                _ => continue,
            };
            let text = DirectoryString::try_from(&attribute.value).ok()?;
            // A second one of the same name is refused with the rest.
            facts.insert(fact, text.value().into_owned()).ok()?;
        }
    }
    Some(facts)
}

/// Whether the certificate's key usage, if it has one, is that of a key which opens what is encrypted to it; webpki does
/// not look at it.
///
/// A CA may also certify keys in software, for signatures: one that passed for an endorsement key would open every
/// credential by itself, for any attestation key.
fn is_for_encryption(leaf: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = Certificate::from_der(leaf) else {
        return false;
    };
    let usage = certificate
        .tbs_certificate()
        .get_extension::<KeyUsageBits>();
    match usage {
        Ok(None) => true,
        // "keyEncipherment for RSA keys, keyAgreement for ECC keys"; not all makers tell them apart.
        Ok(Some((_, usage))) => usage.key_encipherment() || usage.key_agreement(),
        Err(_) => false,
    }
}

/// Whether the certified key is this one. RSA keys for OAEP alone have an algorithm of their own.
fn is_key(spki: &[u8], key: &PublicKey) -> bool {
    let Ok(spki) = SubjectPublicKeyInfoRef::from_der(spki) else {
        return false;
    };
    let Some(bits) = spki.subject_public_key.as_bytes() else {
        return false;
    };
    match key {
        PublicKey::Rsa2048(modulus) => {
            [rfc5912::RSA_ENCRYPTION, rfc5912::ID_RSAES_OAEP].contains(&spki.algorithm.oid)
                && RsaPublicKey::from_der(bits).is_ok_and(|certified| {
                    certified.modulus.as_bytes() == modulus.as_slice()
                        && certified.exponent.as_bytes() == [1, 0, 1]
                })
        }
        PublicKey::P256 { .. } => {
            let curve = spki.algorithm.parameters_oid();
            spki.algorithm.oid == rfc5912::ID_EC_PUBLIC_KEY
                && curve == Ok(rfc5912::SECP_256_R_1)
                && key.point().is_some_and(|point| point == bits)
        }
    }
}

/// `tcg-kp-EKCertificate`, 2.23.133.8.1, as content octets.
const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

const MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");
const MODEL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.2");
const VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.3");
