//! The voucher's half: signing tokens.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use identity::wire::VoucherKey;
use p256::ecdsa::signature::RandomizedSigner;
use p256::elliptic_curve::Generate;
use pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Algorithm, Claims, Header, TYPE, VoucherError, is_key_id};
use crate::limits::MAX_VOUCHER_TOKEN_BYTES;

/// A voucher's private key and its name; wiped on drop, never printed.
///
/// Stack copies the compiler makes are *not* wiped.
pub struct Signer {
    kid: String,
    key: Box<SigningKey>,
}

enum SigningKey {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

/// Reason a signer was not made, or did not sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// Not a name.
    #[error("kid is not 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'")]
    KeyId,
    /// Not a private key of one of the two curves.
    #[error("not one PEM block PRIVATE KEY (PKCS #8) with a P-256 or P-384 key")]
    PrivateKey,
    /// A key that does not encode, or does not sign.
    #[error("key cannot be used")]
    Key,
    /// Claims that every authority would refuse.
    #[error("claims make no token: {0}")]
    Claims(VoucherError),
}

impl Signer {
    /// Draws a new key.
    ///
    /// # Errors
    ///
    /// [`SignerError::KeyId`]: `kid` is not a name.
    pub fn generate(
        kid: &str,
        algorithm: Algorithm,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, SignerError> {
        let key = match algorithm {
            Algorithm::Es256 => SigningKey::P256(p256::ecdsa::SigningKey::generate_from_rng(rng)),
            Algorithm::Es384 => SigningKey::P384(p384::ecdsa::SigningKey::generate_from_rng(rng)),
        };
        Self::new(kid, key)
    }

    /// Reads PKCS #8 PEM.
    ///
    /// # Errors
    ///
    /// - [`SignerError::KeyId`]: `kid` is not a name.
    /// - [`SignerError::PrivateKey`]: not a whole key of one of the two curves.
    pub fn from_pem(kid: &str, pem: &str) -> Result<Self, SignerError> {
        let p256 = p256::ecdsa::SigningKey::from_pkcs8_pem(pem).map(SigningKey::P256);
        let key = p256
            .or_else(|_| p384::ecdsa::SigningKey::from_pkcs8_pem(pem).map(SigningKey::P384))
            .map_err(|_| SignerError::PrivateKey)?;
        Self::new(kid, key)
    }

    fn new(kid: &str, key: SigningKey) -> Result<Self, SignerError> {
        if !is_key_id(kid) {
            return Err(SignerError::KeyId);
        }
        Ok(Self {
            kid: kid.to_owned(),
            key: Box::new(key),
        })
    }

    /// The private key as PKCS #8 PEM.
    ///
    /// # Errors
    ///
    /// [`SignerError::Key`]: it does not encode.
    pub fn expose_pem(&self) -> Result<Zeroizing<String>, SignerError> {
        let pem = match &*self.key {
            SigningKey::P256(key) => key.to_pkcs8_pem(LineEnding::LF),
            SigningKey::P384(key) => key.to_pkcs8_pem(LineEnding::LF),
        };
        pem.map_err(|_| SignerError::Key)
    }

    /// Name of the key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Algorithm of its signatures.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &*self.key {
            SigningKey::P256(_) => Algorithm::Es256,
            SigningKey::P384(_) => Algorithm::Es384,
        }
    }

    /// What the site's rules say of this key.
    ///
    /// # Errors
    ///
    /// [`SignerError::Key`]: the public key does not encode.
    pub fn voucher_key(&self) -> Result<VoucherKey, SignerError> {
        let pem = match &*self.key {
            SigningKey::P256(key) => key.verifying_key().to_public_key_pem(LineEnding::LF),
            SigningKey::P384(key) => key.verifying_key().to_public_key_pem(LineEnding::LF),
        };
        Ok(VoucherKey {
            kid: self.kid.clone(),
            public_key: pem.map_err(|_| SignerError::Key)?,
        })
    }

    /// Signs a token, which is a secret until it was used.
    ///
    /// # Errors
    ///
    /// - [`SignerError::Claims`]: a claim without its form, or all of them too long.
    /// - [`SignerError::Key`]: the key does not sign.
    pub fn sign(
        &self,
        claims: &Claims,
        rng: &mut impl CryptoRng,
    ) -> Result<Zeroizing<String>, SignerError> {
        claims.check_form().map_err(SignerError::Claims)?;
        let header = Header {
            alg: self.algorithm(),
            kid: self.kid.clone(),
            typ: TYPE.to_owned(),
        };
        let header = serde_json::to_vec(&header).map_err(|_| SignerError::Key)?;
        let payload =
            serde_json::to_vec(claims).map_err(|_| SignerError::Claims(VoucherError::Claims))?;
        let token = self.sign_parts(&header, &payload, rng)?;
        if token.len() > MAX_VOUCHER_TOKEN_BYTES {
            return Err(SignerError::Claims(VoucherError::TooLong));
        }
        Ok(token)
    }

    /// Signs any header and payload, for tests of verifiers.
    #[doc(hidden)]
    pub fn sign_parts(
        &self,
        header: &[u8],
        payload: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Zeroizing<String>, SignerError> {
        let mut token = Zeroizing::new(format!(
            "{}.{}",
            Base64UrlUnpadded::encode_string(header),
            Base64UrlUnpadded::encode_string(payload)
        ));
        // RFC 7518, section 3.4: R and S, each in the curve's length.
        let signature = match &*self.key {
            SigningKey::P256(key) => key
                .try_sign_with_rng(rng, token.as_bytes())
                .map(|signature: p256::ecdsa::Signature| signature.to_bytes().to_vec()),
            SigningKey::P384(key) => key
                .try_sign_with_rng(rng, token.as_bytes())
                .map(|signature: p384::ecdsa::Signature| signature.to_bytes().to_vec()),
        };
        let signature = signature.map_err(|_| SignerError::Key)?;
        token.push('.');
        token.push_str(&Base64UrlUnpadded::encode_string(&signature));
        Ok(token)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
