//! One key, as an application works with it.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

use super::Kms;
use crate::{
    cache::Slot,
    error::{KmsError, Place},
    job,
    wire::{self, ToSign},
};

/// A key by its name. Cheap to clone; keep one where a key is worked with often.
///
/// Every operation fails with [`KmsError::Name`] if the name can't be one, [`KmsError::Refused`] if the service refuses,
/// [`KmsError::Operation`] if the key in hand does, and [`KmsError::Http`], [`KmsError::Identity`] or
/// [`KmsError::Answer`] if the service is needed and can't be asked. [`KmsError::code`] tells the refusals apart.
#[derive(Clone)]
pub struct Key {
    pub(super) kms: Kms,
    pub(super) place: Place,
    pub(super) slot: Option<Arc<Slot>>,
}

impl Key {
    pub(super) fn new(kms: Kms, place: Place, slot: Option<Arc<Slot>>) -> Self {
        Self { kms, place, slot }
    }

    /// Its name, or identifier, as it was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        self.place.key().unwrap_or_default()
    }

    pub(super) fn run<J: job::Job>(&self, job: &J) -> Result<J::Output, KmsError> {
        self.kms.run(&self.place, self.slot.as_ref(), job)
    }

    fn run_all<J: job::Job>(
        &self,
        jobs: impl Iterator<Item = J>,
    ) -> Vec<Result<J::Output, KmsError>> {
        let jobs: Vec<J> = jobs.collect();
        self.kms.run_all(&self.place, self.slot.as_ref(), &jobs)
    }

    /// Encrypts at most 64 KiB, bound to `aad`: not secret, not in the ciphertext, and needed again to decrypt.
    ///
    /// # Errors
    ///
    /// See [`Key`].
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, KmsError> {
        self.run(&job::Encrypt { plaintext, aad })
    }

    /// As [`Key::encrypt`] for each plaintext with its associated data, in as few requests as possible.
    pub fn encrypt_batch(&self, items: &[(&[u8], &[u8])]) -> Vec<Result<Vec<u8>, KmsError>> {
        let jobs = items.iter();
        self.run_all(jobs.map(|&(plaintext, aad)| job::Encrypt { plaintext, aad }))
    }

    /// Decrypts what [`Key::encrypt`] made with the same `aad`, under whichever version made it.
    ///
    /// # Errors
    ///
    /// See [`Key`]. A wrong key, damage and other associated data are one case.
    pub fn decrypt(&self, ciphertext: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.run(&job::Decrypt { ciphertext, aad })
    }

    /// As [`Key::decrypt`] for each ciphertext with its associated data, in as few requests as possible.
    pub fn decrypt_batch(
        &self,
        items: &[(&[u8], &[u8])],
    ) -> Vec<Result<Zeroizing<Vec<u8>>, KmsError>> {
        let jobs = items.iter();
        self.run_all(jobs.map(|&(ciphertext, aad)| job::Decrypt { ciphertext, aad }))
    }

    /// The authentication code of a message of at most 64 KiB, and the version that made it.
    ///
    /// # Errors
    ///
    /// See [`Key`].
    pub fn hmac(&self, message: &[u8]) -> Result<wire::Mac, KmsError> {
        self.run(&job::Hmac { message })
    }

    /// As [`Key::hmac`] for each message, in as few requests as possible.
    pub fn hmac_batch(&self, messages: &[&[u8]]) -> Vec<Result<wire::Mac, KmsError>> {
        self.run_all(messages.iter().map(|&message| job::Hmac { message }))
    }

    /// Whether `mac` is the code of `message`, by the named version or any that may verify.
    ///
    /// # Errors
    ///
    /// See [`Key`]; a wrong code is no error.
    pub fn hmac_verify(
        &self,
        message: &[u8],
        mac: &[u8],
        version: Option<u32>,
    ) -> Result<bool, KmsError> {
        self.run(&job::HmacVerify {
            message,
            mac,
            version,
        })
    }

    /// As [`Key::hmac_verify`] for each message, code and version, in as few requests as possible.
    pub fn hmac_verify_batch(
        &self,
        items: &[(&[u8], &[u8], Option<u32>)],
    ) -> Vec<Result<bool, KmsError>> {
        let jobs = items.iter();
        self.run_all(jobs.map(|&(message, mac, version)| job::HmacVerify {
            message,
            mac,
            version,
        }))
    }

    /// Signs a message of at most 64 KiB, or its digest.
    ///
    /// # Errors
    ///
    /// See [`Key`].
    pub fn sign(&self, input: &ToSign) -> Result<wire::Signed, KmsError> {
        self.run(&job::Sign { input })
    }

    /// As [`Key::sign`] for each message or digest, in as few requests as possible.
    pub fn sign_batch(&self, inputs: &[ToSign]) -> Vec<Result<wire::Signed, KmsError>> {
        self.run_all(inputs.iter().map(|input| job::Sign { input }))
    }

    /// Whether `signature` is one of `input`, by the named version or any that may verify.
    ///
    /// # Errors
    ///
    /// See [`Key`]; a bad signature is no error.
    pub fn verify(
        &self,
        input: &ToSign,
        signature: &[u8],
        version: Option<u32>,
    ) -> Result<bool, KmsError> {
        self.run(&job::Verify {
            input,
            signature,
            version,
        })
    }

    /// As [`Key::verify`] for each input, signature and version, in as few requests as possible.
    pub fn verify_batch(
        &self,
        items: &[(ToSign, &[u8], Option<u32>)],
    ) -> Vec<Result<bool, KmsError>> {
        let jobs = items.iter();
        self.run_all(jobs.map(|(input, signature, version)| job::Verify {
            input,
            signature,
            version: *version,
        }))
    }

    /// A data key of 16 to 64 bytes: in the clear, and encrypted under this key with `aad`.
    ///
    /// # Errors
    ///
    /// See [`Key`].
    pub fn generate_data_key(
        &self,
        bytes: usize,
        aad: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), KmsError> {
        let (plaintext, ciphertext) = self.run(&job::DataKey { bytes, aad })?;
        if plaintext.len() != bytes {
            return Err(KmsError::answer(&self.place, "a data key of another size"));
        }
        Ok((plaintext, ciphertext))
    }

    /// As [`Key::generate_data_key`], encrypted only: for whoever stores it without ever needing it.
    ///
    /// # Errors
    ///
    /// See [`Key`].
    pub fn generate_data_key_without_plaintext(
        &self,
        bytes: usize,
        aad: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        self.run(&job::DataKeyWithoutPlaintext(job::DataKey { bytes, aad }))
    }

    /// Encrypts a ciphertext of this key anew, under its newest version, or under the key `to`; with `new_aad`, or the same
    /// associated data. The plaintext does not reach the caller, and with `to` it does not leave the service.
    ///
    /// # Errors
    ///
    /// See [`Key`].
    pub fn re_encrypt(
        &self,
        ciphertext: &[u8],
        aad: &[u8],
        to: Option<&str>,
        new_aad: Option<&[u8]>,
    ) -> Result<Vec<u8>, KmsError> {
        self.run(&job::ReEncrypt {
            ciphertext,
            aad,
            to,
            new_aad,
        })
    }

    /// As [`Key::re_encrypt`] for each ciphertext with its associated data, which stays; in as few requests as possible.
    pub fn re_encrypt_batch(
        &self,
        items: &[(&[u8], &[u8])],
        to: Option<&str>,
    ) -> Vec<Result<Vec<u8>, KmsError>> {
        let jobs = items.iter();
        self.run_all(jobs.map(|&(ciphertext, aad)| job::ReEncrypt {
            ciphertext,
            aad,
            to,
            new_aad: None,
        }))
    }

    /// The public key of the named version, or the primary one.
    ///
    /// # Errors
    ///
    /// See [`Key`].
    pub fn public_key(&self, version: Option<u32>) -> Result<wire::PublicKey, KmsError> {
        self.run(&job::PublicKey { version })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.place).finish()
    }
}
