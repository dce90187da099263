//! Key encapsulation of both suites: 32 bytes that only the right key and policy give back.
//!
//! The shared secret binds everything: suite, Info, public side and ciphertext go into it, so that
//! no part can be exchanged for another.
//!
//! Specification: PBSEAL, section 9.5; FIPS 203.

use ml_kem::kem::Decapsulate;
use ml_kem::{B32, DecapsulationKey768, EncapsulationKey768};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::codec::len16;
use crate::group::{BadElement, Element, SecretElement, SecretScalar};
use crate::info::Info;
use crate::kdf;
use crate::key::{AuthorityKey, PublicKey, StaticKey, Suite, UnsealingKey};
use crate::labels;
use crate::policy::{PolicyRef, Window};
use crate::poprf::{self, BadPolicyPoint};
use crate::secret::secret_bytes;

secret_bytes! {
    /// Secret that encapsulation and decapsulation share; a lock's key is derived from it.
    pub struct SharedSecret([u8; 32]);
}

/// Reason an encapsulation or decapsulation was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KemError {
    /// The key has another suite than the operation.
    #[error("the key is of another suite: give the key that the lock names")]
    WrongSuite,
    /// Key and policy cancel out.
    #[error(transparent)]
    BadPolicyPoint(#[from] BadPolicyPoint),
    /// The ciphertext is no element.
    #[error(transparent)]
    BadElement(#[from] BadElement),
    /// The ciphertext does not have the length of its suite.
    #[error("the encapsulated key does not have the length of its suite")]
    BadLength,
}

/// `Encap(PK, Info; r)` for T = `tweaked`: U = rT and the shared secret of Z = rG.
///
/// `r` must be fresh for every lock: r under two policies of one key gives Z away.
///
/// # Errors
///
/// [`BadPolicyPoint`]: unreachable for a tweaked key that [`poprf::tweaked_key`] gave.
pub fn encap(
    tweaked: &Element,
    info: &Info,
    r: &SecretScalar,
) -> Result<(Element, SharedSecret), BadPolicyPoint> {
    let enc = tweaked
        .point()
        .mul(r)
        .normalize()
        .map_err(|_| BadPolicyPoint)?;
    let z = r
        .mul_generator()
        .normalize_secret()
        .map_err(|_| BadPolicyPoint)?;
    let secret = decap(tweaked, info, &enc, &z);
    Ok((enc, secret))
}

/// The shared secret of Z, which the client gets by unblinding.
pub fn decap(tweaked: &Element, info: &Info, enc: &Element, z: &SecretElement) -> SharedSecret {
    shared_secret(
        Suite::P384Sha384,
        z.expose(),
        info,
        tweaked.as_bytes(),
        enc.as_bytes(),
    )
}

/// `ss = X(Extract(DS("kem"), ikm), "kem-ss", u16 suite ‖ H("kem-ctx", LV16(Info) ‖ LV16(public) ‖ LV16(enc)), 32)`.
fn shared_secret(suite: Suite, ikm: &[u8], info: &Info, public: &[u8], enc: &[u8]) -> SharedSecret {
    let info = info.as_bytes();
    let context = kdf::hash(
        labels::KEM_CTX,
        &[&len16(info), info, &len16(public), public, &len16(enc), enc],
    );
    let prk = kdf::extract(labels::KEM_SALT, &[ikm]);
    SharedSecret::fill(|secret| {
        prk.expand(
            labels::KEM_SS,
            &[&suite.id().to_be_bytes(), &context],
            secret,
        )
    })
}

/// Encapsulates to a static key; the ciphertext is drawn from `rng`, 32 bytes.
///
/// # Errors
///
/// [`KemError::WrongSuite`]: not an ML-KEM-768 key.
pub fn encap_static(
    key: &AuthorityKey,
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, SharedSecret), KemError> {
    let PublicKey::MlKem768(public_key) = key.public_key() else {
        return Err(KemError::WrongSuite);
    };
    let mut message = Zeroizing::new([0; 32]);
    rng.fill_bytes(message.as_mut_slice());
    let (enc, shared_key) = encaps(public_key, &message);
    let public_key = key.public_key_bytes();
    let info = Info::for_static(key);
    let secret = shared_secret(
        Suite::MlKem768,
        shared_key.as_slice(),
        &info,
        public_key,
        &enc,
    );
    Ok((enc, secret))
}

/// `ML-KEM.Encaps_internal(ek, m)` of FIPS 203.
fn encaps(public_key: &EncapsulationKey768, message: &[u8; 32]) -> (Vec<u8>, Zeroizing<[u8; 32]>) {
    let mut message = B32::from(*message);
    let (enc, mut shared_key) = public_key.encapsulate_deterministic(&message);
    let kept = Zeroizing::new(shared_key.into());
    message.as_mut_slice().zeroize();
    shared_key.as_mut_slice().zeroize();
    (enc.to_vec(), kept)
}

/// `ML-KEM.Decaps(dk, c)` of FIPS 203; implicit rejection, so only the length can be wrong.
fn decaps(key: &DecapsulationKey768, enc: &[u8]) -> Result<Zeroizing<[u8; 32]>, KemError> {
    let mut shared_key = key
        .decapsulate_slice(enc)
        .map_err(|_| KemError::BadLength)?;
    let kept = Zeroizing::new(shared_key.into());
    shared_key.as_mut_slice().zeroize();
    Ok(kept)
}

impl StaticKey {
    /// The shared secret of `enc`. A wrong ciphertext of right length gives a wrong secret, not an error.
    ///
    /// # Errors
    ///
    /// [`KemError::BadLength`]: not 1088 bytes.
    ///
    /// # Timing
    ///
    /// Constant in key and ciphertext.
    pub(crate) fn decap(&self, enc: &[u8]) -> Result<SharedSecret, KemError> {
        let shared_key = decaps(self.expose_key(), enc)?;
        let public_key = self.record().public_key_bytes();
        let info = Info::for_static(self.record());
        Ok(shared_secret(
            Suite::MlKem768,
            shared_key.as_slice(),
            &info,
            public_key,
            enc,
        ))
    }
}

impl UnsealingKey {
    /// The shared secret of a lock under this key, without a service: for recovery by the holder of the key.
    ///
    /// # Errors
    ///
    /// - [`KemError::BadElement`]: `enc` is no element.
    /// - [`KemError::BadPolicyPoint`]: key and policy cancel out.
    ///
    /// # Timing
    ///
    /// Constant in the key.
    pub(crate) fn decap(
        &self,
        policy: &PolicyRef,
        window: Window,
        enc: &[u8],
    ) -> Result<SharedSecret, KemError> {
        let enc = Element::decode(enc)?;
        let info = Info::new(self.record(), policy, window);
        let tweaked = poprf::tweaked_key(self.public_key(), &info)?;
        let t = self
            .expose_secret()
            .add(&poprf::hash_to_scalar(&info))
            .ok_or(BadPolicyPoint)?;
        let z = enc
            .point()
            .mul(&t.invert())
            .normalize_secret()
            .map_err(|_| BadPolicyPoint)?;
        Ok(decap(&tweaked, &info, &enc, &z))
    }
}

impl AuthorityKey {
    /// Info and T of a policy lock under this key.
    ///
    /// # Errors
    ///
    /// - [`KemError::WrongSuite`]: not a key for policy locks.
    /// - [`KemError::BadPolicyPoint`]: key and policy cancel out.
    pub(crate) fn tweak(
        &self,
        policy: &PolicyRef,
        window: Window,
    ) -> Result<(Info, Element), KemError> {
        let PublicKey::P384(public_key) = self.public_key() else {
            return Err(KemError::WrongSuite);
        };
        let info = Info::new(self, policy, window);
        let tweaked = poprf::tweaked_key(public_key, &info)?;
        Ok((info, tweaked))
    }
}

#[cfg(test)]
mod tests;
