//! The client's half: signing the challenge with a foreign certificate's key.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64ct::{Base64, Encoding};
use identity::limits::MAX_CHAIN_CERTIFICATES;
use identity::wire::{ChallengeResponse, Evidence, Prover as WireProver};
use identity::{SiteName, SpiffeId};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{KeyKind, check_signature, leaf, proof_message};
use crate::limits::MAX_PRIVATE_KEY_PEM_BYTES;

/// A certificate of another CA with its key; never printed.
///
/// The key is AWS-LC's, which wipes it when it is freed.
pub struct Prover {
    chain: Vec<CertificateDer<'static>>,
    kind: KeyKind,
    key: Key,
}

enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// Reason evidence was not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProverError {
    /// Not a chain.
    #[error("not PEM of 1 to {MAX_CHAIN_CERTIFICATES} certificates, leaf first, and nothing else")]
    Chain,
    /// A key that is not accepted, in the certificate.
    #[error("key of the certificate is neither P-256, P-384, Ed25519 nor RSA from 2048 bits")]
    CertificateKey,
    /// Not a private key of the certificate's kind.
    #[error(
        "not one PEM block PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY of the certificate's kind, without a passphrase"
    )]
    PrivateKey,
    /// The nonce of the challenge is not 32 bytes in base64.
    #[error("challenge of the authority is malformed")]
    Challenge,
    /// The private key is another certificate's.
    #[error("the private key is not the certificate's")]
    OtherKey,
}

impl Prover {
    /// Reads a chain, leaf first, and its key, both PEM.
    ///
    /// # Errors
    ///
    /// [`ProverError`]: which of the two is wrong; that they belong together too.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, ProverError> {
        let chain = identity::pem::decode_chain(chain).ok_or(ProverError::Chain)?;
        let leaf = chain.first().ok_or(ProverError::Chain)?;
        let kind = leaf::key_kind_of(leaf).map_err(|_| ProverError::CertificateKey)?;
        let key = read_key(kind, key).ok_or(ProverError::PrivateKey)?;
        let prover = Self { chain, kind, key };
        // Signs what no verifier takes, to see that the key is the certificate's.
        prover.sign(b"blindfold: is this the key of that certificate?")?;
        Ok(prover)
    }

    /// What to ask the authority a challenge for.
    #[must_use]
    pub fn request(&self) -> WireProver {
        WireProver::X509 {}
    }

    /// Answers the challenge, for a request with the key `csr_key_sha256` ([`identity::DocumentKey::public_key_sha256`]).
    ///
    /// `site` and `authority` are those that the caller means to speak with: the signature is good nowhere else.
    ///
    /// # Errors
    ///
    /// - [`ProverError::Challenge`]: the challenge is malformed.
    /// - [`ProverError::OtherKey`]: the key does not sign for the certificate.
    pub fn evidence(
        &self,
        response: &ChallengeResponse,
        csr_key_sha256: &[u8; 32],
        site: &SiteName,
        authority: &SpiffeId,
    ) -> Result<Evidence, ProverError> {
        let mut nonce = [0; 32];
        if !Base64::decode(&response.nonce, &mut nonce).is_ok_and(|bytes| bytes.len() == 32) {
            return Err(ProverError::Challenge);
        }
        let message = proof_message(&nonce, csr_key_sha256, site.as_str(), authority.as_str());
        let signature = self.sign(&message)?;
        Ok(Evidence::X509 {
            chain: self
                .chain
                .iter()
                .map(|certificate| Base64::encode_string(certificate))
                .collect(),
            challenge: response.challenge.clone(),
            signature: Base64::encode_string(&signature),
        })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ProverError> {
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Ecdsa(key) => key
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec()),
            Key::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PSS_SHA256, &random, message, &mut signature)
                    .map(|()| signature)
            }
        };
        let signature = signature.map_err(|_| ProverError::OtherKey)?;
        let leaf = self.chain.first().ok_or(ProverError::Chain)?;
        check_signature(leaf, self.kind, message, &signature).map_err(|_| ProverError::OtherKey)?;
        Ok(signature)
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prover")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

fn read_key(kind: KeyKind, pem: &str) -> Option<Key> {
    if pem.len() > MAX_PRIVATE_KEY_PEM_BYTES {
        return None;
    }
    let (label, der) = der::pem::decode_vec(pem.trim_ascii().as_bytes()).ok()?;
    let der = Zeroizing::new(der);
    match (kind, label) {
        (KeyKind::P256, "PRIVATE KEY" | "EC PRIVATE KEY") => {
            EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, &der)
                .ok()
                .map(Key::Ecdsa)
        }
        (KeyKind::P384, "PRIVATE KEY" | "EC PRIVATE KEY") => {
            EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_ASN1_SIGNING, &der)
                .ok()
                .map(Key::Ecdsa)
        }
        // OpenSSL writes the private half only.
        (KeyKind::Ed25519, "PRIVATE KEY") => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .ok()
            .map(Key::Ed25519),
        (KeyKind::Rsa, "PRIVATE KEY") => RsaKeyPair::from_pkcs8(&der).ok().map(Key::Rsa),
        (KeyKind::Rsa, "RSA PRIVATE KEY") => RsaKeyPair::from_der(&der).ok().map(Key::Rsa),
        _ => None,
    }
}
