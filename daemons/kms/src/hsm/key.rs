//! One version in the HSM, with the operations of a [`VersionKey`](kms_client::local::VersionKey).

use std::fmt;

use kms_client::{
    Algorithm, KeyId, Operation,
    algorithm::Family,
    ciphertext::{Body, Ciphertext, CiphertextHeader, Format, associated_data},
    limits::{MAX_AAD_BYTES, MAX_MESSAGE_BYTES, MAX_PLAINTEXT_BYTES},
    local::{OperationError, at_most, check_to_sign},
    wire::{Bytes, ToSign},
};
use service::pkcs11::gcm;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Hsm, Reference, oaep, work};
use crate::limits::MAX_SIGNATURE_BYTES;

/// One version of a key, ready to work inside the HSM.
///
/// Inputs are checked before the token is asked. A dropped future gives up what has not begun yet.
#[derive(Clone)]
pub struct HsmKey {
    hsm: Hsm,
    reference: Reference,
    algorithm: Algorithm,
    /// Of its ciphertexts; none if the algorithm makes none.
    header: Option<CiphertextHeader>,
}

impl HsmKey {
    pub(super) fn new(hsm: Hsm, reference: Reference, algorithm: Algorithm) -> Option<Self> {
        let header = |format| {
            CiphertextHeader::new(format, algorithm, reference.key_id(), reference.version())
        };
        let header = match algorithm.family() {
            Family::Aead => Some(header(Format::Token)?),
            Family::PublicKeyEncryption => Some(header(Format::RsaOaep)?),
            Family::Mac | Family::Signature => None,
        };
        Some(Self {
            hsm,
            reference,
            algorithm,
            header,
        })
    }

    /// Identifier of the key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.reference.key_id()
    }

    /// Number of the version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.reference.version()
    }

    /// Algorithm of the key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Name of the object in the HSM.
    #[must_use]
    pub const fn reference(&self) -> Reference {
        self.reference
    }

    /// Encrypts `plaintext`, bound to `aad`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: the algorithm does not encrypt.
    /// - [`OperationError::TooLong`]: more than [`MAX_PLAINTEXT_BYTES`] or [`MAX_AAD_BYTES`], or, with RSA-OAEP, than the
    ///   modulus takes.
    /// - [`OperationError::Unavailable`]: the HSM; see the log.
    pub async fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, OperationError> {
        at_most("plaintext", plaintext, MAX_PLAINTEXT_BYTES)?;
        at_most("associated data", aad, MAX_AAD_BYTES)?;
        let header = self.header(Operation::Encrypt)?.to_bytes();
        let reference = self.reference;
        let bound = associated_data(&header, aad).into_owned();
        let secret = Zeroizing::new(plaintext.to_vec());
        let body = match self.algorithm {
            Algorithm::Aes256Gcm => {
                self.hsm
                    .operate(reference, move |session| {
                        work::seal(session, reference, &bound, &secret)
                    })
                    .await?
            }
            Algorithm::RsaOaep(bits) => {
                let limit = bits.bytes().saturating_sub(oaep::OVERHEAD_BYTES);
                at_most("plaintext", plaintext, limit)?;
                self.hsm
                    .operate(reference, move |session| {
                        work::encrypt_block(session, reference, bits, &bound, &secret)
                    })
                    .await?
            }
            _ => return Err(self.wrong(Operation::Encrypt)),
        };
        Ok([header.as_slice(), &body].concat())
    }

    /// Decrypts what [`Self::encrypt`] made of this version with the same `aad`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: the algorithm does not encrypt.
    /// - [`OperationError::Unavailable`]: the HSM; see the log.
    /// - [`OperationError::DecryptionFailed`]: anything else; one form on purpose.
    pub async fn decrypt(
        &self,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OperationError> {
        let ours = self.header(Operation::Decrypt)?;
        let parsed = Ciphertext::parse(ciphertext).map_err(|_| OperationError::DecryptionFailed)?;
        // Nothing longer was ever made.
        if parsed.header != ours || aad.len() > MAX_AAD_BYTES {
            return Err(OperationError::DecryptionFailed);
        }
        let reference = self.reference;
        let bound = associated_data(&ours.to_bytes(), aad).into_owned();
        match (self.algorithm, parsed.body) {
            (Algorithm::Aes256Gcm, Body::Token { nonce, sealed })
                if sealed.len() <= MAX_PLAINTEXT_BYTES + gcm::COMMITMENT_BYTES + gcm::TAG_BYTES =>
            {
                let (nonce, sealed) = (*nonce, sealed.to_vec());
                self.hsm
                    .operate(reference, move |session| {
                        work::open(session, reference, &bound, &nonce, &sealed)
                    })
                    .await
            }
            (Algorithm::RsaOaep(bits), Body::RsaOaep { block }) => {
                let block = block.to_vec();
                self.hsm
                    .operate(reference, move |session| {
                        work::decrypt_block(session, reference, bits, &bound, &block)
                    })
                    .await
            }
            _ => Err(OperationError::DecryptionFailed),
        }
    }

    /// The authentication code of `message`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: not an HMAC key.
    /// - [`OperationError::TooLong`]: more than [`MAX_MESSAGE_BYTES`].
    /// - [`OperationError::Unavailable`]: the HSM; see the log.
    pub async fn mac(&self, message: &[u8]) -> Result<Vec<u8>, OperationError> {
        self.code(message, Operation::Hmac).await
    }

    /// Whether `mac` is the code of `message`; compared in constant time.
    ///
    /// # Errors
    ///
    /// Those of [`Self::mac`].
    pub async fn mac_verify(&self, message: &[u8], mac: &[u8]) -> Result<bool, OperationError> {
        let expected = Zeroizing::new(self.code(message, Operation::HmacVerify).await?);
        Ok(expected.as_slice().ct_eq(mac).into())
    }

    async fn code(&self, message: &[u8], operation: Operation) -> Result<Vec<u8>, OperationError> {
        let Algorithm::Hmac(hash) = self.algorithm else {
            return Err(self.wrong(operation));
        };
        at_most("message", message, MAX_MESSAGE_BYTES)?;
        let reference = self.reference;
        let message = Zeroizing::new(message.to_vec());
        self.hsm
            .operate(reference, move |session| {
                work::mac(session, reference, hash, &message)
            })
            .await
    }

    /// Signs a message or its digest.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: not a signature key.
    /// - [`OperationError::TooLong`], [`OperationError::DigestLength`], [`OperationError::Prehashed`]: see
    ///   [`check_to_sign`].
    /// - [`OperationError::Unavailable`]: the HSM; see the log.
    pub async fn sign(&self, input: &ToSign) -> Result<Vec<u8>, OperationError> {
        self.check_input(Operation::Sign, input)?;
        let (reference, algorithm, input) = (self.reference, self.algorithm, input.clone());
        self.hsm
            .operate(reference, move |session| {
                work::sign(session, reference, algorithm, &input)
            })
            .await
    }

    /// Whether `signature` is a good one of `input`.
    ///
    /// # Errors
    ///
    /// Those of [`Self::sign`]; a bad signature is no error.
    pub async fn verify(&self, input: &ToSign, signature: &[u8]) -> Result<bool, OperationError> {
        self.check_input(Operation::Verify, input)?;
        if signature.len() > MAX_SIGNATURE_BYTES {
            return Ok(false);
        }
        let (reference, algorithm, input) = (self.reference, self.algorithm, input.clone());
        let signature = Bytes(signature.to_vec());
        self.hsm
            .operate(reference, move |session| {
                work::verify(session, reference, algorithm, &input, signature.as_ref())
            })
            .await
    }

    /// The public key as `SubjectPublicKeyInfo` in DER (RFC 5280, section 4.1).
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: the algorithm has no public key.
    /// - [`OperationError::Unavailable`]: the HSM; see the log.
    pub async fn public_key_spki(&self) -> Result<Vec<u8>, OperationError> {
        if !Operation::PublicKey.fits(self.algorithm) {
            return Err(self.wrong(Operation::PublicKey));
        }
        let (reference, algorithm) = (self.reference, self.algorithm);
        self.hsm
            .operate(reference, move |session| {
                Ok(work::public_key(session, reference, algorithm)?
                    .spki()
                    .to_vec())
            })
            .await
    }

    fn header(&self, operation: Operation) -> Result<CiphertextHeader, OperationError> {
        self.header.ok_or_else(|| self.wrong(operation))
    }

    fn check_input(&self, operation: Operation, input: &ToSign) -> Result<(), OperationError> {
        if !operation.fits(self.algorithm) {
            return Err(self.wrong(operation));
        }
        check_to_sign(self.algorithm, input)
    }

    const fn wrong(&self, operation: Operation) -> OperationError {
        OperationError::WrongOperation {
            algorithm: self.algorithm,
            operation,
        }
    }
}

impl fmt::Debug for HsmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HsmKey")
            .field("reference", &self.reference)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
