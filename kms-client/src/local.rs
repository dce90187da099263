//! One version of a key in hand, ready to work.
//!
//! Everything here is in memory and synchronous; keys stay in locked memory ([`locked_memory`]) as far as the libraries
//! allow it, see [`VersionKey`].

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    Algorithm, KeyId, Operation,
    algorithm::Family,
    asymmetric::AsymmetricKey,
    ciphertext::{Body, Ciphertext, CiphertextHeader, Format, associated_data},
    limits::{MAX_AAD_BYTES, MAX_MESSAGE_BYTES, MAX_PLAINTEXT_BYTES, MAX_VERSION},
    mac::{MacContext, MacKey},
    material::{Material, MaterialError},
    symmetric::AeadKey,
    wire::ToSign,
};

mod error;

pub use error::OperationError;

/// One version of a key, ready to work.
///
/// Secret keys lie in locked memory. Parsed private keys (RSA, ECDSA, Ed25519) lie in AWS-LC's own heap, which wipes them
/// when they are freed; [`locked_memory::lock_all_memory`] locks that too. The state of a cipher exists for one operation.
pub struct VersionKey {
    key_id: KeyId,
    version: u32,
    algorithm: Algorithm,
    kind: Kind,
}

enum Kind {
    Aead(AeadKey),
    Mac(MacKey),
    Encryption(CiphertextHeader, AsymmetricKey),
    Signature(AsymmetricKey),
}

impl VersionKey {
    /// Makes a version ready; the material is wiped.
    ///
    /// # Errors
    ///
    /// - [`MaterialError::Version`]: no key has such a version.
    /// - [`MaterialError::Memory`]: locked memory is used up, or can't be locked.
    /// - [`MaterialError::Failed`]: the cryptographic library failed.
    pub fn new(key_id: KeyId, version: u32, material: Material) -> Result<Self, MaterialError> {
        if !(1..=MAX_VERSION).contains(&version) {
            return Err(MaterialError::Version(version));
        }
        let algorithm = material.algorithm();
        let header = |format| {
            CiphertextHeader::new(format, algorithm, key_id, version).ok_or(MaterialError::Failed)
        };
        let pair = || AsymmetricKey::from_pkcs8(algorithm, material.expose());
        let kind = match (algorithm.family(), algorithm.hash()) {
            (Family::Aead, _) => Kind::Aead(AeadKey::new(&header(Format::Derived)?, &material)?),
            (Family::Mac, Some(hash)) => Kind::Mac(MacKey::new(hash, &material)?),
            (Family::Mac, None) => return Err(MaterialError::Failed),
            (Family::PublicKeyEncryption, _) => Kind::Encryption(header(Format::RsaOaep)?, pair()?),
            (Family::Signature, _) => Kind::Signature(pair()?),
        };
        Ok(Self {
            key_id,
            version,
            algorithm,
            kind,
        })
    }

    /// Identifier of the key.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Number of the version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Algorithm of the key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Encrypts `plaintext`, bound to `aad`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: the algorithm does not encrypt.
    /// - [`OperationError::TooLong`]: more than [`MAX_PLAINTEXT_BYTES`] or [`MAX_AAD_BYTES`], or, with RSA-OAEP, than the
    ///   modulus takes.
    /// - [`OperationError::Failed`]: the cryptographic library failed.
    pub fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, OperationError> {
        let mut out = Vec::new();
        self.encrypt_into(aad, plaintext, &mut out)?;
        Ok(out)
    }

    /// As [`Self::encrypt`], appending the ciphertext to `out`, which on an error is as it was.
    ///
    /// # Errors
    ///
    /// Those of [`Self::encrypt`].
    pub fn encrypt_into(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperationError> {
        at_most("plaintext", plaintext, MAX_PLAINTEXT_BYTES)?;
        at_most("associated data", aad, MAX_AAD_BYTES)?;
        match &self.kind {
            Kind::Aead(key) => key.encrypt_into(aad, plaintext, out),
            Kind::Encryption(header, key) => {
                let header = header.to_bytes();
                let block = key.encrypt(&associated_data(&header, aad), plaintext)?;
                out.reserve(header.len() + block.len());
                out.extend_from_slice(&header);
                out.extend_from_slice(&block);
                Ok(())
            }
            Kind::Mac(_) | Kind::Signature(_) => Err(self.wrong(Operation::Encrypt)),
        }
    }

    /// Decrypts what [`Self::encrypt`] made of this version with the same `aad`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: the algorithm does not encrypt.
    /// - [`OperationError::DecryptionFailed`]: anything else; one form on purpose.
    ///
    /// # Timing
    ///
    /// Depends on lengths and the header, never on the key or the plaintext.
    pub fn decrypt(
        &self,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OperationError> {
        match Ciphertext::parse(ciphertext) {
            Ok(parsed) => self.decrypt_parsed(aad, &parsed),
            Err(_) if Operation::Decrypt.fits(self.algorithm) => {
                Err(OperationError::DecryptionFailed)
            }
            Err(_) => Err(self.wrong(Operation::Decrypt)),
        }
    }

    /// As [`Self::decrypt`], of a ciphertext that was taken apart already.
    ///
    /// # Errors
    ///
    /// Those of [`Self::decrypt`].
    pub fn decrypt_parsed(
        &self,
        aad: &[u8],
        ciphertext: &Ciphertext<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, OperationError> {
        if !Operation::Decrypt.fits(self.algorithm) {
            return Err(self.wrong(Operation::Decrypt));
        }
        let header = &ciphertext.header;
        let ours = header.key_id() == self.key_id
            && header.version() == self.version
            && header.algorithm() == self.algorithm;
        // Nothing longer was ever made.
        if !ours || aad.len() > MAX_AAD_BYTES {
            return Err(OperationError::DecryptionFailed);
        }
        match (&self.kind, &ciphertext.body) {
            (
                Kind::Aead(key),
                Body::Derived {
                    salt,
                    commitment,
                    sealed,
                    tag,
                },
            ) if sealed.len() <= MAX_PLAINTEXT_BYTES => {
                key.decrypt(aad, salt, commitment, sealed, tag)
            }
            (Kind::Encryption(header, key), Body::RsaOaep { block }) => {
                key.decrypt(&associated_data(&header.to_bytes(), aad), block)
            }
            _ => Err(OperationError::DecryptionFailed),
        }
    }

    /// The authentication code of `message`.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: not an HMAC key.
    /// - [`OperationError::TooLong`]: more than [`MAX_MESSAGE_BYTES`]; use [`Self::mac_context`].
    pub fn mac(&self, message: &[u8]) -> Result<Vec<u8>, OperationError> {
        at_most("message", message, MAX_MESSAGE_BYTES)?;
        match &self.kind {
            Kind::Mac(key) => Ok(key.mac(message)),
            _ => Err(self.wrong(Operation::Hmac)),
        }
    }

    /// Whether `mac` is the code of `message`; compared in constant time.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: not an HMAC key.
    /// - [`OperationError::TooLong`]: more than [`MAX_MESSAGE_BYTES`]; use [`Self::mac_context`].
    pub fn mac_verify(&self, message: &[u8], mac: &[u8]) -> Result<bool, OperationError> {
        at_most("message", message, MAX_MESSAGE_BYTES)?;
        match &self.kind {
            Kind::Mac(key) => Ok(key.verify(message, mac)),
            _ => Err(self.wrong(Operation::HmacVerify)),
        }
    }

    /// Begins a code of a message that comes in pieces, of any length.
    ///
    /// # Errors
    ///
    /// [`OperationError::WrongOperation`]: not an HMAC key.
    pub fn mac_context(&self) -> Result<MacContext, OperationError> {
        match &self.kind {
            Kind::Mac(key) => Ok(key.context()),
            _ => Err(self.wrong(Operation::Hmac)),
        }
    }

    /// Signs a message or its digest.
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: not a signature key.
    /// - [`OperationError::TooLong`]: a message of more than [`MAX_MESSAGE_BYTES`]; send its digest.
    /// - [`OperationError::DigestLength`]: a digest of another length than the hash.
    /// - [`OperationError::Prehashed`]: a digest for Ed25519.
    /// - [`OperationError::Failed`]: the cryptographic library failed.
    pub fn sign(&self, input: &ToSign) -> Result<Vec<u8>, OperationError> {
        match &self.kind {
            Kind::Signature(key) => {
                self.check_input(input)?;
                key.sign(input)
            }
            _ => Err(self.wrong(Operation::Sign)),
        }
    }

    /// Whether `signature` is a good one of `input`.
    ///
    /// # Errors
    ///
    /// Those of [`Self::sign`]; a bad signature is no error.
    pub fn verify(&self, input: &ToSign, signature: &[u8]) -> Result<bool, OperationError> {
        match &self.kind {
            Kind::Signature(key) => {
                self.check_input(input)?;
                key.verify(input, signature)
            }
            _ => Err(self.wrong(Operation::Verify)),
        }
    }

    /// The public key as `SubjectPublicKeyInfo` in DER (RFC 5280, section 4.1).
    ///
    /// # Errors
    ///
    /// - [`OperationError::WrongOperation`]: the algorithm has no public key.
    /// - [`OperationError::Failed`]: the cryptographic library failed.
    pub fn public_key_spki(&self) -> Result<Vec<u8>, OperationError> {
        match &self.kind {
            Kind::Encryption(_, key) | Kind::Signature(key) => key.public_key_spki(),
            _ => Err(self.wrong(Operation::PublicKey)),
        }
    }

    fn check_input(&self, input: &ToSign) -> Result<(), OperationError> {
        check_to_sign(self.algorithm, input)
    }

    const fn wrong(&self, operation: Operation) -> OperationError {
        OperationError::WrongOperation {
            algorithm: self.algorithm,
            operation,
        }
    }
}

impl fmt::Debug for VersionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionKey")
            .field("key_id", &self.key_id)
            .field("version", &self.version)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Whether `input` may be signed with a key of `algorithm`: bounded, and a digest as long as the hash.
///
/// # Errors
///
/// Those of [`VersionKey::sign`].
pub fn check_to_sign(algorithm: Algorithm, input: &ToSign) -> Result<(), OperationError> {
    match (input, algorithm.hash()) {
        (ToSign::Message(message), _) => at_most("message", message.as_ref(), MAX_MESSAGE_BYTES),
        (ToSign::Digest(_), None) => Err(OperationError::Prehashed(algorithm)),
        (ToSign::Digest(digest), Some(hash)) if digest.0.len() != hash.bytes() => {
            Err(OperationError::DigestLength {
                algorithm,
                expected: hash.bytes(),
                found: digest.0.len(),
            })
        }
        (ToSign::Digest(_), Some(_)) => Ok(()),
    }
}

/// Refuses what is longer than `limit`.
///
/// # Errors
///
/// [`OperationError::TooLong`], with its name.
pub fn at_most(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), OperationError> {
    if bytes.len() > limit {
        return Err(OperationError::TooLong {
            what,
            bytes: bytes.len(),
            limit,
        });
    }
    Ok(())
}
