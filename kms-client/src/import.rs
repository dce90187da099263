//! How key material is wrapped to be brought into the service: both sides of an import.
//!
//! The service makes a key pair for one import ([`ImportSecret::generate`]), gives the public half away in
//! [`ImportParameters`], and opens what is wrapped to it ([`ImportSecret::unwrap`]); the bringer wraps ([`wrap`]).
//!
//! | [`Wrapping`] | bytes |
//! |---|---|
//! | `hpke` | encapsulated key (32), ciphertext and tag (RFC 9180); `info` is [`IMPORT_INFO`], the associated data [`aad`] |
//! | `rsa-4096-oaep-aes-kwp` | RSAES-OAEP with SHA-256 and no label of an AES-256 key (512; RFC 8017), material under that key (RFC 5649) |
//!
//! The second form is bound to its key pair only, which is why a key pair is for one import.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rsa::{
        KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
        PrivateDecryptingKey, PublicEncryptingKey,
    },
};
use zeroize::Zeroizing;

use crate::{
    Algorithm, KeyId,
    hpke::{self, PUBLIC_KEY_BYTES, Recipient},
    wire::admin::{IMPORT_INFO, ImportParameters, ImportPurpose, Wrapping},
};

/// Bytes of an OAEP ciphertext under the RSA key of an import.
const RSA_BYTES: usize = 512;

/// Bytes of the key that wraps the material itself.
const KEK_BYTES: usize = 32;

/// Bytes that AES key wrap adds at most: 8 of its header, 7 of padding.
const KWP_OVERHEAD: usize = 15;

/// Wrapping or unwrapping failed; one form on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// The public key is none of this wrapping.
    #[error("the import parameters hold no usable public key: ask for new ones")]
    BadPublicKey,
    /// Not wrapped to this key, for another import, or altered.
    #[error("the wrapped material does not open: it was wrapped to other parameters, or altered")]
    Unauthentic,
    /// No randomness, or the cryptographic library failed.
    #[error("the cryptographic library failed")]
    Failed,
}

/// What an import is bound to: the associated data of the HPKE form. Names hold no slash, so it reads one way only.
#[must_use]
pub fn aad(
    purpose: ImportPurpose,
    tenant: &str,
    name: &str,
    key_id: &KeyId,
    version: u32,
    algorithm: Algorithm,
) -> String {
    let purpose = match purpose {
        ImportPurpose::Material => "material",
        ImportPurpose::Backup => "backup",
    };
    format!("{purpose}/{tenant}/{name}/{key_id}/{version}/{algorithm}")
}

/// Wraps `material` to the public key of an import; for HPKE `aad` is [`aad`] of what the caller asked for.
///
/// # Errors
///
/// [`ImportError::BadPublicKey`], [`ImportError::Failed`].
pub fn wrap(
    parameters: &ImportParameters,
    aad: &str,
    material: &[u8],
) -> Result<Vec<u8>, ImportError> {
    let public_key = &parameters.public_key.0;
    match parameters.wrapping {
        Wrapping::Hpke => {
            let (mut wrapped, sealed) =
                hpke::seal(public_key, IMPORT_INFO, aad.as_bytes(), material)
                    .map_err(|_| ImportError::BadPublicKey)?;
            wrapped.extend_from_slice(&sealed);
            Ok(wrapped)
        }
        Wrapping::RsaAesKwp => wrap_rsa(public_key, material),
    }
}

fn wrap_rsa(public_key: &[u8], material: &[u8]) -> Result<Vec<u8>, ImportError> {
    let key = PublicEncryptingKey::from_der(public_key)
        .ok()
        .filter(|key| key.key_size_bytes() == RSA_BYTES)
        .and_then(|key| OaepPublicEncryptingKey::new(key).ok())
        .ok_or(ImportError::BadPublicKey)?;
    let mut kek = Zeroizing::new([0; KEK_BYTES]);
    aws_lc_rs::rand::fill(kek.as_mut_slice()).map_err(|_| ImportError::Failed)?;
    let mut wrapped = vec![0; RSA_BYTES];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, kek.as_slice(), &mut wrapped, None)
        .map_err(|_| ImportError::Failed)?;
    let mut under_kek = vec![0; material.len().saturating_add(KWP_OVERHEAD)];
    let sealed = AesKek::new(&AES_256, kek.as_slice())
        .and_then(|kek| kek.wrap_with_padding(material, &mut under_kek))
        .map_err(|_| ImportError::Failed)?;
    wrapped.extend_from_slice(sealed);
    Ok(wrapped)
}

/// The private half of an import's key pair; wiped on drop, never printed.
pub struct ImportSecret {
    wrapping: Wrapping,
    bytes: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ImportSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportSecret")
            .field("wrapping", &self.wrapping)
            .finish_non_exhaustive()
    }
}

impl ImportSecret {
    /// Makes a key pair: microseconds for HPKE, a second or more for RSA. Gives the public key as [`ImportParameters`]
    /// carry it.
    ///
    /// # Errors
    ///
    /// [`ImportError::Failed`].
    pub fn generate(wrapping: Wrapping) -> Result<(Self, Vec<u8>), ImportError> {
        let (bytes, public) = match wrapping {
            Wrapping::Hpke => {
                let (recipient, public) = Recipient::generate().map_err(|_| ImportError::Failed)?;
                (recipient.expose_bytes().to_vec(), public.to_vec())
            }
            Wrapping::RsaAesKwp => {
                let failed = |_| ImportError::Failed;
                let key = PrivateDecryptingKey::generate(KeySize::Rsa4096).map_err(failed)?;
                let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(failed)?;
                let public =
                    AsDer::<PublicKeyX509Der<'_>>::as_der(&key.public_key()).map_err(failed)?;
                (private.as_ref().to_vec(), public.as_ref().to_vec())
            }
        };
        let bytes = Zeroizing::new(bytes);
        Ok((Self { wrapping, bytes }, public))
    }

    /// From what [`Self::expose_bytes`] gave.
    #[must_use]
    pub fn from_bytes(wrapping: Wrapping, bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { wrapping, bytes }
    }

    /// The private key: 32 bytes, or PKCS #8 in DER.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Opens what [`wrap`] made.
    ///
    /// # Errors
    ///
    /// [`ImportError::Unauthentic`], whatever is wrong.
    pub fn unwrap(&self, aad: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, ImportError> {
        let open = match self.wrapping {
            Wrapping::Hpke => self.open_hpke(aad, wrapped),
            Wrapping::RsaAesKwp => self.open_rsa(wrapped),
        };
        open.ok_or(ImportError::Unauthentic)
    }

    fn open_hpke(&self, aad: &str, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let private =
            Zeroizing::new(<[u8; hpke::PRIVATE_KEY_BYTES]>::try_from(self.bytes.as_slice()).ok()?);
        let (encapsulated, sealed) = wrapped.split_at_checked(PUBLIC_KEY_BYTES)?;
        Recipient::from_bytes(&private)
            .open(IMPORT_INFO, aad.as_bytes(), encapsulated, sealed)
            .ok()
    }

    fn open_rsa(&self, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (under_rsa, under_kek) = wrapped.split_at_checked(RSA_BYTES)?;
        let key = PrivateDecryptingKey::from_pkcs8(&self.bytes).ok()?;
        let key = OaepPrivateDecryptingKey::new(key).ok()?;
        let mut room = Zeroizing::new([0; RSA_BYTES]);
        let kek = key
            .decrypt(
                &OAEP_SHA256_MGF1SHA256,
                under_rsa,
                room.as_mut_slice(),
                None,
            )
            .ok()
            .filter(|kek| kek.len() == KEK_BYTES)?;
        let mut material = Zeroizing::new(vec![0; under_kek.len()]);
        let length = AesKek::new(&AES_256, kek)
            .and_then(|kek| kek.unwrap_with_padding(under_kek, &mut material))
            .ok()?
            .len();
        material.truncate(length);
        Some(material)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(wrapping: Wrapping, public_key: Vec<u8>) -> ImportParameters {
        ImportParameters {
            key_id: KeyId::from_bytes([7; 16]),
            version: 3,
            wrapping,
            public_key: public_key.into(),
            aad: Vec::new().into(),
            token: Vec::new().into(),
            expires_at: 0,
        }
    }

    fn aad_of(version: u32) -> String {
        let key_id = KeyId::from_bytes([7; 16]);
        aad(
            ImportPurpose::Material,
            "acme",
            "orders",
            &key_id,
            version,
            Algorithm::Aes256Gcm,
        )
    }

    #[test]
    fn what_it_is_bound_to_reads_one_way() {
        assert_eq!(
            aad_of(3),
            "material/acme/orders/07070707070707070707070707070707/3/aes-256-gcm"
        );
    }

    #[test]
    fn both_wrappings_open_with_their_key_only_and_any_changed_byte_refuses() {
        for wrapping in [Wrapping::Hpke, Wrapping::RsaAesKwp] {
            let (secret, public) = ImportSecret::generate(wrapping).unwrap();
            let secret =
                ImportSecret::from_bytes(wrapping, Zeroizing::new(secret.expose_bytes().to_vec()));
            // Not a multiple of eight: with padding.
            let material = [0x5a; 45];
            let wrapped = wrap(&parameters(wrapping, public), &aad_of(3), &material).unwrap();
            assert_eq!(
                secret.unwrap(&aad_of(3), &wrapped).unwrap().as_slice(),
                material
            );
            for at in (0..wrapped.len()).step_by(7).chain([wrapped.len() - 1]) {
                let mut bent = wrapped.clone();
                bent[at] ^= 1;
                assert_eq!(
                    secret.unwrap(&aad_of(3), &bent).unwrap_err(),
                    ImportError::Unauthentic,
                    "{wrapping:?} {at}"
                );
            }
            for short in [0, 31, 32, 511, 512, 513, wrapped.len() - 1] {
                if short < wrapped.len() {
                    assert_eq!(
                        secret.unwrap(&aad_of(3), &wrapped[..short]).unwrap_err(),
                        ImportError::Unauthentic
                    );
                }
            }
        }
    }

    #[test]
    fn hpke_is_bound_to_the_version() {
        let (secret, public) = ImportSecret::generate(Wrapping::Hpke).unwrap();
        let wrapped = wrap(&parameters(Wrapping::Hpke, public), &aad_of(3), &[1; 32]).unwrap();
        assert_eq!(
            secret.unwrap(&aad_of(4), &wrapped).unwrap_err(),
            ImportError::Unauthentic
        );
    }

    #[test]
    fn public_keys_of_another_kind_are_refused() {
        let (_, public) = ImportSecret::generate(Wrapping::Hpke).unwrap();
        for wrapping in [Wrapping::RsaAesKwp, Wrapping::Hpke] {
            let bad = match wrapping {
                Wrapping::RsaAesKwp => public.clone(),
                Wrapping::Hpke => vec![1; 33],
            };
            assert_eq!(
                wrap(&parameters(wrapping, bad), "", &[1; 32]).unwrap_err(),
                ImportError::BadPublicKey
            );
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = ImportSecret::from_bytes(Wrapping::Hpke, Zeroizing::new(vec![0x42; 32]));
        assert_eq!(format!("{secret:?}"), "ImportSecret { wrapping: Hpke, .. }");
    }
}
