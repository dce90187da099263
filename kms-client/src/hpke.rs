//! Hybrid public key encryption (RFC 9180) in base mode, of the one suite in use: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! AES-256-GCM. One key pair seals one message.
//!
//! What is sealed is bound to `info` and `aad`. Who sealed it is not: base mode does not authenticate the sender, so both
//! ends are told apart by the mTLS connection that carries the message.

use std::fmt;

use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use zeroize::Zeroizing;

/// Bytes of a public key, and of an encapsulated key.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// Bytes of a private key.
pub const PRIVATE_KEY_BYTES: usize = 32;

/// Bytes that a sealed message is longer than its plaintext, without the encapsulated key.
pub const TAG_BYTES: usize = 16;

/// Sealing or opening failed: a wrong key, other `info` or `aad`, altered bytes, or a failing library; one form on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("HPKE failed: wrong key, other associated data, or altered bytes")]
pub struct HpkeError;

/// A private key for one message; wiped on drop, never printed.
pub struct Recipient(HpkePrivateKey);

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient").finish_non_exhaustive()
    }
}

impl Recipient {
    /// Makes a key pair.
    ///
    /// # Errors
    ///
    /// [`HpkeError`] if there is no randomness.
    pub fn generate() -> Result<(Self, [u8; PUBLIC_KEY_BYTES]), HpkeError> {
        let (public, private) = SUITE.generate_key_pair().map_err(|_| HpkeError)?;
        let public = public.0.try_into().map_err(|_| HpkeError)?;
        Ok((Self(private), public))
    }

    /// From the bytes of a private key.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; PRIVATE_KEY_BYTES]) -> Self {
        Self(HpkePrivateKey::from(bytes.to_vec()))
    }

    /// The bytes of the private key.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.secret_bytes()
    }

    /// Opens what [`seal`] made for this key, with the same `info` and `aad`.
    ///
    /// # Errors
    ///
    /// [`HpkeError`].
    pub fn open(
        &self,
        info: &[u8],
        aad: &[u8],
        encapsulated: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        if encapsulated.len() != PUBLIC_KEY_BYTES || sealed.len() < TAG_BYTES {
            return Err(HpkeError);
        }
        let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
        SUITE
            .open(&encapsulated, info, aad, sealed, &self.0)
            .map(Zeroizing::new)
            .map_err(|_| HpkeError)
    }
}

/// Seals `plaintext` to a public key, bound to `info` and `aad`; gives the encapsulated key and the ciphertext.
///
/// # Errors
///
/// [`HpkeError`], also for a public key of small order.
pub fn seal(
    public_key: &[u8],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), HpkeError> {
    if public_key.len() != PUBLIC_KEY_BYTES {
        return Err(HpkeError);
    }
    let public_key = HpkePublicKey(public_key.to_vec());
    let (encapsulated, sealed) = SUITE
        .seal(info, aad, plaintext, &public_key)
        .map_err(|_| HpkeError)?;
    Ok((encapsulated.0, sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_its_key_info_aad_and_bytes() {
        let (recipient, public) = Recipient::generate().unwrap();
        let (enc, sealed) = seal(&public, b"info", b"aad", b"secret").unwrap();
        let kept = Recipient::from_bytes(recipient.expose_bytes().try_into().unwrap());
        assert_eq!(
            kept.open(b"info", b"aad", &enc, &sealed)
                .unwrap()
                .as_slice(),
            b"secret"
        );
        let (other, _) = Recipient::generate().unwrap();
        assert_eq!(
            other.open(b"info", b"aad", &enc, &sealed).unwrap_err(),
            HpkeError
        );
        assert_eq!(
            kept.open(b"other", b"aad", &enc, &sealed).unwrap_err(),
            HpkeError
        );
        assert_eq!(
            kept.open(b"info", b"other", &enc, &sealed).unwrap_err(),
            HpkeError
        );
        for bit in 0..sealed.len() * 8 {
            let mut bent = sealed.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(
                kept.open(b"info", b"aad", &enc, &bent).is_err(),
                "bit {bit}"
            );
        }
        for bit in 0..enc.len() * 8 {
            let mut bent = enc.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            // X25519 masks the topmost bit (RFC 7748, section 5), but the KEM hashes the encapsulated key as it came.
            assert!(
                kept.open(b"info", b"aad", &bent, &sealed).is_err(),
                "bit {bit} of the encapsulated key"
            );
        }
        for short in [0, 1, TAG_BYTES - 1] {
            assert!(kept.open(b"info", b"aad", &enc, &sealed[..short]).is_err());
        }
        assert!(kept.open(b"info", b"aad", &enc[1..], &sealed).is_err());
    }

    #[test]
    fn keys_of_small_order_and_other_sizes_are_refused() {
        assert_eq!(seal(&[0; 32], b"", b"", b"x").unwrap_err(), HpkeError);
        assert_eq!(seal(&[9; 31], b"", b"", b"x").unwrap_err(), HpkeError);
    }

    #[test]
    fn private_keys_are_not_printed() {
        let recipient = Recipient::from_bytes(&[0x42; 32]);
        assert_eq!(format!("{recipient:?}"), "Recipient { .. }");
    }
}
