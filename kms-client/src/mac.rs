//! HMAC under the key material itself, so that any other implementation computes the same code.
//!
//! Codes are whole (RFC 2104 truncates none here) and carry no header; the version travels beside them. Messages of any
//! length are hashed while they are read, with [`MacContext`].

use std::fmt;

use aws_lc_rs::hmac;
use locked_memory::LockedBytes;

use crate::{
    Hash,
    material::{Material, MaterialError},
};

#[cfg(test)]
mod tests;

/// An HMAC key ready to work.
pub(crate) struct MacKey {
    algorithm: hmac::Algorithm,
    key: LockedBytes,
}

impl MacKey {
    pub(crate) fn new(hash: Hash, material: &Material) -> Result<Self, MaterialError> {
        Ok(Self {
            algorithm: primitive(hash),
            key: LockedBytes::copy_of(material.expose())?,
        })
    }

    pub(crate) fn mac(&self, message: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(self.algorithm, &self.key);
        hmac::sign(&key, message).as_ref().to_vec()
    }

    /// In constant time; a code of another length is not good.
    pub(crate) fn verify(&self, message: &[u8], mac: &[u8]) -> bool {
        let key = hmac::Key::new(self.algorithm, &self.key);
        hmac::verify(&key, message, mac).is_ok()
    }

    pub(crate) fn context(&self) -> MacContext {
        MacContext(hmac::Context::with_key(&hmac::Key::new(
            self.algorithm,
            &self.key,
        )))
    }
}

fn primitive(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}

/// A message authentication code of a message that comes in pieces.
pub struct MacContext(hmac::Context);

impl MacContext {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The code of everything taken.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0.sign().as_ref().to_vec()
    }

    /// Whether `mac` is the code of everything taken, in constant time.
    #[must_use]
    pub fn verify(self, mac: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.sign().as_ref(), mac).is_ok()
    }
}

impl fmt::Debug for MacContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacContext").finish_non_exhaustive()
    }
}
