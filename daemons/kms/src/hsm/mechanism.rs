//! Which mechanisms of the token serve an algorithm.

use cryptoki::{
    mechanism::{
        Mechanism, MechanismType,
        eddsa::{EddsaParams, EddsaSignatureScheme},
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    types::Ulong,
};
use kms_client::{Algorithm, Hash, RsaBits};
use service::pkcs11::{Token, TokenError, template::Use};

/// What the token has to have for an algorithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// Makes the key.
    pub(super) generation: MechanismType,
    /// Works with it.
    pub(super) operation: MechanismType,
    /// What for.
    pub(super) purpose: Use,
    /// Size of the key in the unit of its mechanism; none where the mechanism has no sizes.
    size: Option<usize>,
}

/// What an algorithm needs; nothing if no token has a mechanism for it.
pub(super) fn needs(algorithm: Algorithm) -> Option<Needs> {
    let rsa = |bits: RsaBits, operation, purpose| Needs {
        generation: MechanismType::RSA_PKCS_KEY_PAIR_GEN,
        operation,
        purpose,
        size: Some(8 * bits.bytes()),
    };
    let ecdsa = |size| Needs {
        generation: MechanismType::ECC_KEY_PAIR_GEN,
        operation: MechanismType::ECDSA,
        purpose: Use::Signature,
        size: Some(size),
    };
    Some(match algorithm {
        Algorithm::Aes256Gcm => Needs {
            generation: MechanismType::AES_KEY_GEN,
            operation: MechanismType::AES_GCM,
            purpose: Use::Encryption,
            size: Some(32),
        },
        Algorithm::Hmac(hash) => Needs {
            generation: MechanismType::GENERIC_SECRET_KEY_GEN,
            operation: match hash {
                Hash::Sha256 => MechanismType::SHA256_HMAC,
                Hash::Sha384 => MechanismType::SHA384_HMAC,
                Hash::Sha512 => MechanismType::SHA512_HMAC,
            },
            purpose: Use::Signature,
            // Bits with some tokens, bytes with others.
            size: None,
        },
        Algorithm::RsaOaep(bits) => rsa(bits, MechanismType::RSA_X_509, Use::Encryption),
        Algorithm::RsaPss(bits, _) => rsa(bits, MechanismType::RSA_PKCS_PSS, Use::Signature),
        Algorithm::EcdsaP256 => ecdsa(256),
        Algorithm::EcdsaP384 => ecdsa(384),
        Algorithm::Ed25519 => Needs {
            generation: MechanismType::ECC_EDWARDS_KEY_PAIR_GEN,
            operation: MechanismType::EDDSA,
            purpose: Use::Signature,
            size: None,
        },
        Algorithm::Aes256GcmSiv | Algorithm::ChaCha20Poly1305 => return None,
    })
}

/// Checks that the token has all of it.
pub(super) fn check(token: &Token, algorithm: Algorithm) -> Result<(), TokenError> {
    let unsupported = |mechanism: String| TokenError::Unsupported {
        token: token.name().to_owned(),
        what: algorithm.to_string(),
        mechanism,
    };
    let needs = needs(algorithm).ok_or_else(|| {
        unsupported(
            match algorithm {
                Algorithm::Aes256GcmSiv => {
                    "a mechanism for AES-GCM-SIV, which PKCS #11 has not: use aes-256-gcm"
                }
                // CKM_CHACHA20_POLY1305 came with PKCS #11 3.0, and hardly any token has it.
                _ => "a mechanism for ChaCha20-Poly1305 that is in use: use aes-256-gcm",
            }
            .to_owned(),
        )
    })?;
    for mechanism in [needs.generation, needs.operation] {
        let Some((least, greatest)) = token.key_sizes(mechanism)? else {
            return Err(unsupported(mechanism.to_string()));
        };
        // Some tokens answer 0 for what has no sizes.
        if let Some(size) = needs.size
            && greatest > 0
            && !(least..=greatest).contains(&size)
        {
            return Err(unsupported(format!("{mechanism} with keys of size {size}")));
        }
    }
    Ok(())
}

/// RSASSA-PSS over a digest: MGF1 with the same hash, salt as long as the hash.
pub(super) const fn pss(hash: Hash) -> Mechanism<'static> {
    let (hash_alg, mgf, length) = match hash {
        Hash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
        Hash::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
        Hash::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
    };
    Mechanism::RsaPkcsPss(PkcsPssParams {
        hash_alg,
        mgf,
        s_len: Ulong::new(length),
    })
}

/// HMAC with the hash.
pub(super) const fn hmac(hash: Hash) -> Mechanism<'static> {
    match hash {
        Hash::Sha256 => Mechanism::Sha256Hmac,
        Hash::Sha384 => Mechanism::Sha384Hmac,
        Hash::Sha512 => Mechanism::Sha512Hmac,
    }
}

/// PureEdDSA.
pub(super) fn eddsa() -> Mechanism<'static> {
    Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure))
}
