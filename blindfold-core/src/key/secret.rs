//! The secret keys.

use core::fmt;

use ml_kem::DecapsulationKey768;
use rand_core::CryptoRng;
use zeroize::Zeroize;

use super::record::{PublicKey, prefix};
use super::{AuthorityKey, KeyError, Suite};
use crate::group::{Element, SecretScalar};
use crate::limits::{DERIVE_SEED_BYTES, MLKEM_SEED_BYTES, SCALAR_BYTES};
use crate::poprf::{self, Tweaks};
use crate::secret::{secret_bytes, wiped, wiped_on_drop};

secret_bytes! {
    /// Seed `d ‖ z` of an ML-KEM key.
    pub(crate) struct MlKemSeed([u8; MLKEM_SEED_BYTES]);
}

/// Secret key of an unsealing authority, suite 0x0001.
///
/// Wiped on drop, never printed, not cloned. It serves this format and nothing else: any other use
/// of the scalar would be an oracle on sealed objects.
pub struct UnsealingKey {
    record: AuthorityKey,
    // INVARIANT (pair): `public_key` is that of the record and of `secret`.
    public_key: Element,
    secret: SecretScalar,
    tweaks: Tweaks,
}

impl UnsealingKey {
    /// Draws a new key.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadName`]: authority or tenant outside the rules.
    pub fn generate(
        authority: &str,
        tenant: &str,
        version: u32,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, KeyError> {
        Self::from_secret(
            prefix(Suite::P384Sha384, authority, tenant, version)?,
            SecretScalar::random(rng),
        )
    }

    /// Derives the key of `seed`: `DeriveKeyPair` of RFC 9497 with the record up to its public key as info.
    ///
    /// The seed is as secret as the key.
    ///
    /// # Errors
    ///
    /// - [`KeyError::BadName`]: authority or tenant outside the rules.
    /// - [`KeyError::Underivable`]: the seed gives no key (probability below 2^-98000).
    pub fn derive(
        seed: &[u8; DERIVE_SEED_BYTES],
        authority: &str,
        tenant: &str,
        version: u32,
    ) -> Result<Self, KeyError> {
        let prefix = prefix(Suite::P384Sha384, authority, tenant, version)?;
        let secret = poprf::derive_secret(seed, &prefix).ok_or(KeyError::Underivable)?;
        Self::from_secret(prefix, secret)
    }

    fn from_secret(prefix: Vec<u8>, secret: SecretScalar) -> Result<Self, KeyError> {
        let public_key = secret
            .mul_generator()
            .normalize()
            .map_err(|_| KeyError::BadSecretKey)?;
        let record = AuthorityKey::from_prefix(prefix, public_key.as_bytes())?;
        Ok(Self {
            record,
            public_key,
            secret,
            tweaks: Tweaks::default(),
        })
    }

    /// The key of `record`; its public key is computed again and compared.
    pub(super) fn from_record(
        record: AuthorityKey,
        secret: &[u8; SCALAR_BYTES],
    ) -> Result<Self, KeyError> {
        let PublicKey::P384(public_key) = *record.public_key() else {
            return Err(KeyError::WrongPurpose);
        };
        let secret = SecretScalar::from_bytes(secret).ok_or(KeyError::BadSecretKey)?;
        if !poprf::key_matches(&secret, &public_key) {
            return Err(KeyError::SecretMismatch);
        }
        Ok(Self {
            record,
            public_key,
            secret,
            tweaks: Tweaks::default(),
        })
    }

    /// The public record.
    pub fn record(&self) -> &AuthorityKey {
        &self.record
    }

    pub(crate) fn public_key(&self) -> &Element {
        &self.public_key
    }

    pub(crate) fn tweaks(&self) -> &Tweaks {
        &self.tweaks
    }

    pub(crate) fn expose_secret(&self) -> &SecretScalar {
        &self.secret
    }
}

impl fmt::Debug for UnsealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnsealingKey")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

wiped_on_drop!(UnsealingKey, |key| wiped(&key.secret));

/// Secret key of a site or of a recovery holder, suite 0x0201.
///
/// Wiped on drop, never printed, not cloned.
pub struct StaticKey {
    record: AuthorityKey,
    // INVARIANT (pair): both are of the record's public key.
    seed: MlKemSeed,
    key: Box<DecapsulationKey768>,
}

impl StaticKey {
    /// Draws a new key.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadName`]: authority or tenant outside the rules.
    pub fn generate(
        authority: &str,
        tenant: &str,
        version: u32,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, KeyError> {
        let prefix = prefix(Suite::MlKem768, authority, tenant, version)?;
        let seed = MlKemSeed::fill(|bytes| rng.fill_bytes(bytes));
        let key = expand(&seed);
        let record = AuthorityKey::from_prefix(prefix, &encapsulation_key(&key))?;
        Ok(Self { record, seed, key })
    }

    /// The key of `record`; its public key is computed again and compared.
    pub(super) fn from_record(
        record: AuthorityKey,
        seed: &[u8; MLKEM_SEED_BYTES],
    ) -> Result<Self, KeyError> {
        if record.suite() != Suite::MlKem768 {
            return Err(KeyError::WrongPurpose);
        }
        let seed = MlKemSeed::fill(|bytes| bytes.copy_from_slice(seed));
        let key = expand(&seed);
        if encapsulation_key(&key) != record.public_key_bytes() {
            return Err(KeyError::SecretMismatch);
        }
        Ok(Self { record, seed, key })
    }

    /// The public record.
    pub fn record(&self) -> &AuthorityKey {
        &self.record
    }

    pub(crate) fn expose_key(&self) -> &DecapsulationKey768 {
        &self.key
    }

    pub(super) fn expose_seed(&self) -> &[u8; MLKEM_SEED_BYTES] {
        self.seed.expose()
    }
}

wiped_on_drop!(StaticKey, |key| {
    wiped(&key.seed);
    wiped(&*key.key);
});

/// `ML-KEM.KeyGen_internal(d, z)` of FIPS 203.
fn expand(seed: &MlKemSeed) -> Box<DecapsulationKey768> {
    let mut copy = ml_kem::Seed::from(*seed.expose());
    let key = Box::new(DecapsulationKey768::from_seed(copy));
    copy.as_mut_slice().zeroize();
    key
}

fn encapsulation_key(key: &DecapsulationKey768) -> Vec<u8> {
    use ml_kem::KeyExport;
    key.encapsulation_key().to_bytes().to_vec()
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKey")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// A secret key of either kind, as a file holds it.
#[derive(Debug)]
#[non_exhaustive]
pub enum SecretKey {
    /// Of an unsealing authority.
    Unsealing(UnsealingKey),
    /// Of a site or a recovery holder.
    Static(StaticKey),
}

impl SecretKey {
    /// The public record.
    pub fn record(&self) -> &AuthorityKey {
        match self {
            Self::Unsealing(key) => key.record(),
            Self::Static(key) => key.record(),
        }
    }
}

wiped_on_drop!(SecretKey, |key| match key {
    SecretKey::Unsealing(key) => wiped(key),
    SecretKey::Static(key) => wiped(key),
});

impl From<UnsealingKey> for SecretKey {
    fn from(key: UnsealingKey) -> Self {
        Self::Unsealing(key)
    }
}

impl From<StaticKey> for SecretKey {
    fn from(key: StaticKey) -> Self {
        Self::Static(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;

    #[test]
    fn secret_keys_do_not_print() {
        let rng = &mut UnwrapErr(SysRng);
        let unsealing = UnsealingKey::generate("a.example", "acme", 1, rng).unwrap();
        let fixed = StaticKey::generate("site", "acme", 1, rng).unwrap();
        for (shown, secret) in [
            (
                format!("{unsealing:?}"),
                hex::encode(unsealing.secret.expose_bytes().as_slice()),
            ),
            (format!("{fixed:?}"), hex::encode(fixed.seed.expose())),
        ] {
            assert!(
                shown.ends_with("KeyId({}), .. }, .. }".split("{}").last().unwrap()),
                "{shown}"
            );
            assert!(!shown.contains(&secret[..16]), "{shown}");
        }
        assert_eq!(
            format!("{:?}", unsealing.expose_secret()),
            "SecretScalar { .. }"
        );
        assert_eq!(format!("{:?}", fixed.seed), "MlKemSeed { .. }");
        let shown = format!("{:?}", SecretKey::from(unsealing));
        assert!(
            shown.starts_with("Unsealing(UnsealingKey { record: AuthorityKey {"),
            "{shown}"
        );
    }
}
