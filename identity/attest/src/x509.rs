//! X.509: possession of a certificate of another CA, and of its key.
//!
//! The authority sends a nonce; the key of the certificate signs it, together with the key that the document is for, the
//! site and the authority. Keys are P-256, P-384, Ed25519, or RSA from 2048 bits; the key decides over the algorithm:
//!
//! | key | signature |
//! |---|---|
//! | P-256, P-384 | ECDSA with SHA-256, SHA-384; DER |
//! | Ed25519 | Ed25519 |
//! | RSA | RSASSA-PSS with SHA-256, MGF1 with SHA-256, salt of 32 bytes |
//!
//! What is signed begins as a TLS 1.3 signature does (RFC 8446, section 4.4.3), with another context, so that neither
//! passes for the other: 64 spaces, [`crate::limits::X509_PROOF_CONTEXT`], a zero byte, and SHA-256 over the nonce, the
//! hash of the request's key, and site and authority, each with its length before it.
//!
//! The chain is verified to one of the site's anchors at the time of the authority, at which the anchor is valid too. The certificate must be an end
//! entity's, for `digitalSignature` if it says what it is for, and for TLS if it has extended key usages. Facts:
//!
//! | fact | value |
//! |---|---|
//! | `common_name` | of the subject, when there is exactly one |
//! | `dns_san` | the DNS name, when there is exactly one |
//! | `dns_sans` | all of them, in their order, commas between |
//! | `subject`, `issuer` | as in RFC 4514 |
//! | `serial` | lower-case hex |
//! | `certificate_sha256` | of the DER, lower-case hex; the subject of the record too |
//!
//! # Not promised
//!
//! That a CA which may only issue some DNS names gives true common names: name constraints bind the former, so map
//! `dns_san`.
//!
//! Revocation by the other CA: neither CRL nor OCSP is asked. Certificates of it should be short-lived, or the anchors
//! a CA of their own; the document never outlives the chain.

use base64ct::{Base64, Encoding};
use identity::limits::{MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, MAX_CLOCK_SKEW_SECONDS};
use identity::wire::{Evidence, Prover as WireProver};
use rand_core::CryptoRng;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::aws_lc_rs as algorithms;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};
use zeroize::Zeroizing;

use crate::attestor::{Attested, Attestor, Challenge, ChallengeContext, Claim, Context, SingleUse};
use crate::error::AttestError;
use crate::limits::{
    CHALLENGE_USE_LABEL, MAX_ANCHORS, MAX_DNS_NAMES, MAX_SIGNATURE_BASE64_BYTES, X509_PROOF_CONTEXT,
};

mod leaf;
mod prover;

pub use prover::{Prover, ProverError};

use leaf::Leaf;

/// Verifies certificates of other CAs, and possession of their keys.
#[derive(Debug)]
pub struct X509 {
    anchors: Vec<Anchor>,
}

/// A CA that is trusted, as long as its certificate says.
#[derive(Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    not_before: u64,
    not_after: u64,
}

/// Reason a certificate or its proof was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum X509Error {
    /// None, too many, or one too long.
    #[error(
        "chain has not 1 to {MAX_CHAIN_CERTIFICATES} certificates of at most {MAX_CERTIFICATE_BYTES} bytes in base64"
    )]
    Chain,
    /// The chain does not lead to an anchor of the site.
    #[error("chain leads to no anchor of the site, or is not valid: {0}")]
    Path(String),
    /// Not a certificate in the one form that is read here.
    #[error("certificate is not X.509 version 3 in DER")]
    Encoding,
    /// Its key usage does not have `digitalSignature`.
    #[error("certificate is not for digital signatures")]
    KeyUsage,
    /// A DNS name with other characters, or too many of them.
    #[error(
        "certificate has more than {MAX_DNS_NAMES} DNS names, or one with characters that none has"
    )]
    DnsName,
    /// Names that are too long together, or hold control characters.
    #[error("names of the certificate make no facts: {0}")]
    Facts(identity::AttributesError),
    /// Not a CA's, where one belongs.
    #[error("certificate is not a CA's")]
    NotCa,
    /// A key that is not accepted.
    #[error("key of the certificate is neither P-256, P-384, Ed25519 nor RSA from 2048 bits")]
    Key,
    /// The proof is not the key's, or of something else.
    #[error("signature is not of the certificate's key over this challenge, request and site")]
    Signature,
    /// Answered too late.
    #[error("challenge is expired: ask for a new one")]
    Expired,
}

impl X509 {
    /// Facts that a certificate can have.
    pub const FACTS: &[&str] = &[
        "common_name",
        "dns_san",
        "dns_sans",
        "subject",
        "issuer",
        "serial",
        "certificate_sha256",
    ];

    /// Verifier under `anchors`, each PEM of one or several CA certificates.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them, for whoever writes the rules.
    pub fn new(anchors: &[String]) -> Result<Self, String> {
        let mut trusted = Vec::new();
        for (index, pem) in anchors.iter().enumerate() {
            let chain = identity::pem::decode_chain(pem)
                .ok_or_else(|| format!("[{index}] is not PEM of 1 to {MAX_CHAIN_CERTIFICATES} certificates and nothing else"))?;
            for certificate in chain {
                let anchor = Anchor::from_certificate(&certificate)
                    .map_err(|why| format!("[{index}] {why}"))?;
                trusted.push(anchor);
            }
        }
        if (1..=MAX_ANCHORS).contains(&trusted.len()) {
            Ok(Self { anchors: trusted })
        } else {
            Err(format!("give 1 to {MAX_ANCHORS} trust anchors"))
        }
    }

    fn verify_chain(&self, chain: &[String], now: u64) -> Result<Verified, X509Error> {
        if !(1..=MAX_CHAIN_CERTIFICATES).contains(&chain.len()) {
            return Err(X509Error::Chain);
        }
        let chain = chain
            .iter()
            .map(|text| decode_certificate(text))
            .collect::<Result<Vec<_>, _>>()?;
        let (leaf, intermediates) = chain.split_first().ok_or(X509Error::Chain)?;
        let end_entity =
            EndEntityCert::try_from(leaf).map_err(|error| X509Error::Path(error.to_string()))?;
        // webpki does not look at the dates of anchors.
        let anchors: Vec<TrustAnchor<'_>> = self
            .anchors
            .iter()
            .filter(|anchor| (anchor.not_before..=anchor.not_after).contains(&now))
            .map(|anchor| anchor.anchor.clone())
            .collect();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        let path = end_entity
            .verify_for_usage(
                PATH_ALGORITHMS,
                &anchors,
                intermediates,
                time,
                TlsUsage,
                None,
                None,
            )
            .map_err(|error| X509Error::Path(error.to_string()))?;
        // The same bytes that were just verified.
        let leaf_facts = Leaf::parse(leaf)?;
        let mut not_after = leaf_facts.not_after;
        let anchor = self
            .anchors
            .iter()
            .filter(|anchor| anchor.anchor == *path.anchor());
        if let Some(end) = anchor.map(|anchor| anchor.not_after).max() {
            not_after = not_after.min(end);
        }
        for certificate in path.intermediate_certificates() {
            not_after = not_after.min(leaf::not_after(&certificate.der())?);
        }
        Ok(Verified {
            certificate: leaf.clone().into_owned(),
            leaf: leaf_facts,
            not_after,
        })
    }
}

impl Anchor {
    fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let anchor = webpki::anchor_from_trusted_cert(certificate)
            .map_err(|error| format!("cannot be a trust anchor: {error}"))?;
        // A host's own certificate here would let the host make any other.
        let (not_before, not_after) = leaf::ca_validity(certificate)
            .map_err(|error| format!("cannot be a trust anchor: {error}"))?;
        Ok(Self {
            anchor: anchor.to_owned(),
            not_before,
            not_after,
        })
    }
}

/// A leaf whose chain was verified.
struct Verified {
    certificate: CertificateDer<'static>,
    leaf: Leaf,
    /// The earliest end in the chain.
    not_after: u64,
}

impl Attestor for X509 {
    fn kind(&self) -> &'static str {
        "x509"
    }

    fn challenge(
        &self,
        prover: &WireProver,
        _context: &ChallengeContext<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Challenge, AttestError> {
        let WireProver::X509 {} = prover else {
            return Err(AttestError::OtherKind(self.kind()));
        };
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        Ok(Challenge {
            nonce,
            state: Zeroizing::new(Vec::new()),
            credential_blob: None,
            encrypted_secret: None,
        })
    }

    fn verify(&self, evidence: &Evidence, context: &Context<'_>) -> Result<Attested, AttestError> {
        let Evidence::X509 {
            chain, signature, ..
        } = evidence
        else {
            return Err(AttestError::OtherKind(self.kind()));
        };
        let challenge = context.challenge.ok_or(AttestError::ChallengeMissing)?;
        if context.now >= challenge.expires_at {
            return Err(X509Error::Expired.into());
        }
        if signature.len() > MAX_SIGNATURE_BASE64_BYTES {
            return Err(X509Error::Signature.into());
        }
        let signature = Base64::decode_vec(signature).map_err(|_| X509Error::Signature)?;
        let verified = self.verify_chain(chain, context.now)?;
        let message = proof_message(
            &challenge.nonce,
            context.csr_key_sha256,
            context.site.as_str(),
            context.audience.as_str(),
        );
        check_signature(
            &verified.certificate,
            verified.leaf.key,
            &message,
            &signature,
        )?;
        let subject = hex::encode(Sha256::digest(&verified.certificate));
        Ok(Attested {
            claim: Claim::Facts(verified.leaf.facts(&subject)?),
            subject: Some(subject),
            sequence: None,
            single_use: Some(SingleUse {
                id: Sha256::new_with_prefix(CHALLENGE_USE_LABEL)
                    .chain_update(challenge.nonce)
                    .finalize()
                    .into(),
                expires_at: challenge
                    .expires_at
                    .saturating_add(2 * MAX_CLOCK_SKEW_SECONDS),
            }),
            lifetime: Some(verified.not_after.saturating_sub(context.now).max(1)),
            clock_ahead: None,
        })
    }
}

/// Kind of a foreign key; decides over the algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum KeyKind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl KeyKind {
    fn algorithm(self) -> &'static dyn SignatureVerificationAlgorithm {
        match self {
            Self::P256 => algorithms::ECDSA_P256_SHA256,
            Self::P384 => algorithms::ECDSA_P384_SHA384,
            Self::Ed25519 => algorithms::ED25519,
            Self::Rsa => algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        }
    }
}

fn check_signature(
    certificate: &CertificateDer<'_>,
    key: KeyKind,
    message: &[u8],
    signature: &[u8],
) -> Result<(), X509Error> {
    EndEntityCert::try_from(certificate)
        .and_then(|leaf| leaf.verify_signature(key.algorithm(), message, signature))
        .map_err(|_| X509Error::Signature)
}

/// What the certificate's key signs.
fn proof_message(
    nonce: &[u8; 32],
    csr_key_sha256: &[u8; 32],
    site: &str,
    authority: &str,
) -> Vec<u8> {
    let mut hash = Sha256::new_with_prefix(nonce).chain_update(csr_key_sha256);
    for text in [site, authority] {
        // Both are bounded far below 2^32.
        hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(text);
    }
    let mut message = vec![b' '; 64];
    message.extend_from_slice(X509_PROOF_CONTEXT);
    message.push(0);
    message.extend_from_slice(&hash.finalize());
    message
}

fn decode_certificate(text: &str) -> Result<CertificateDer<'static>, X509Error> {
    if text.len() > MAX_CERTIFICATE_BYTES.div_ceil(3) * 4 {
        return Err(X509Error::Chain);
    }
    let der = Base64::decode_vec(text).map_err(|_| X509Error::Chain)?;
    Ok(CertificateDer::from(der))
}

/// No extended key usage, or TLS among them: a certificate for code or mail signs no proof by accident.
struct TlsUsage;

impl ExtendedKeyUsageValidator for TlsUsage {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut present = Vec::new();
        for usage in usages {
            let usage = usage?;
            if usage == KeyPurposeId::new(SERVER_AUTH) || usage == KeyPurposeId::new(CLIENT_AUTH) {
                return Ok(());
            }
            present.push(usage.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = webpki::KeyUsage::client_auth();
        Err(webpki::Error::RequiredEkuNotFoundContext(
            webpki::RequiredEkuNotFoundContext { required, present },
        ))
    }
}

/// Signatures of other CAs: no SHA-1, no RSA below 2048 bits.
static PATH_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// `id-kp-serverAuth` and `id-kp-clientAuth`, content octets.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
