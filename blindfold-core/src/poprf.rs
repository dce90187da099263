//! The POPRF core, used by both sides: RFC 9497, mode 0x02, suite P384-SHA384, unchanged.
//!
//! With secret key k, public key K = kG and public input Info: m = HashToScalar(Info), t = k + m,
//! T = K + mG. The server answers X = t^-1·W with a proof that it used the t behind T; the client
//! asks with W = b·U and takes Z = b^-1·X.
//!
//! # Guarantees
//!
//! - [`unblind`] takes only what [`verify_proof`] gave: a proof can't be skipped.
//! - [`blind_evaluate`] checks its own output before it gives it away: a fault while computing
//!   releases nothing.
//! - The proof's nonce is hedged: it depends on the generator, on t and on the whole request.
//!
//! # Not promised
//!
//! That these pieces are safe alone. A tweaked secret t is as good as k itself (k = t - m): it is
//! never given out, stored or kept between batches.
//!
//! Specification: RFC 9497, sections 2.2, 3.3.3 and 4.4; PBSEAL, section 9.7.

mod proof;
mod tweaks;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use self::proof::{Nonce, prove};
pub use self::proof::{Proof, VerifiedElements, verify_proof};
#[cfg(feature = "hazmat")]
pub use self::proof::{ProofInvalid, compute_composites};
pub(crate) use self::tweaks::Tweaks;
use crate::codec::len16;
use crate::group::{
    Element, Identity, Point, Scalar, SecretElement, SecretScalar, divide_each_masked, invert_each,
    mul_each, mul_each_secret,
};
use crate::info::Info;
use crate::kdf;
use crate::labels::{DERIVE_KEY_PAIR_DST, HASH_TO_SCALAR_DST};
use crate::limits::{DERIVE_SEED_BYTES, MAX_BATCH};

/// The public key tweaked by this Info is the identity: nothing can be sealed under it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the policy and the key cancel out: choose another policy or key version")]
pub struct BadPolicyPoint;

/// A batch holds no element, or more than 256.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a batch holds 1 to 256 elements: split it into several requests")]
pub struct BadBatch;

/// Reason why nothing was evaluated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationFailure {
    /// No element, or more than 256.
    #[error("{BadBatch}")]
    BadBatch,
    /// The tweaked secret is zero, so this Info gives the secret key away.
    #[error("the tweaked secret is zero: the key is exposed, disable it")]
    KeyExposed,
    /// The result did not pass the check of its own output; nothing was released.
    #[error("a fault was detected in the own computation; nothing was released")]
    Fault,
}

impl From<Identity> for EvaluationFailure {
    fn from(_: Identity) -> Self {
        Self::Fault
    }
}

/// Answer to one batch: evaluated elements and one proof for all.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// X_i, in the order of the request.
    pub elements: Vec<Element>,
    /// Proof for the whole batch.
    pub proof: Proof,
}

/// m = `HashToScalar("Info" ‖ I2OSP(len(info), 2) ‖ info)`.
pub fn hash_to_scalar(info: &Info) -> Scalar {
    Scalar::hash(
        &[b"Info", &len16(info.as_bytes()), info.as_bytes()],
        HASH_TO_SCALAR_DST,
    )
}

/// T = PK + mG: the public key that `info` tweaks.
///
/// # Errors
///
/// [`BadPolicyPoint`]: T is the identity (probability 2^-384 unless made on purpose).
pub fn tweaked_key(public_key: &Element, info: &Info) -> Result<Element, BadPolicyPoint> {
    tweaked_point(public_key, &hash_to_scalar(info))
        .normalize()
        .map_err(|Identity| BadPolicyPoint)
}

fn tweaked_point(public_key: &Element, tweak: &Scalar) -> Point {
    public_key.point().add(&Point::mul_generator_vartime(tweak))
}

/// What Info makes of a key, public: m and T.
#[derive(Clone, Copy)]
pub(crate) struct Tweaked {
    // INVARIANT (pair): `key` is the public key plus `tweak`·G.
    tweak: Scalar,
    key: Element,
}

impl Tweaked {
    /// m and T for `info`, from the public key of `secret`.
    ///
    /// # Errors
    ///
    /// - [`EvaluationFailure::KeyExposed`]: t is zero.
    /// - [`EvaluationFailure::Fault`]: T is the identity all the same.
    pub(crate) fn of(
        secret: &SecretScalar,
        public_key: &Element,
        info: &Info,
    ) -> Result<Self, EvaluationFailure> {
        let tweak = hash_to_scalar(info);
        // "m, t=k+m; t=0 => FATAL_KEY_EXPOSED"
        secret.add(&tweak).ok_or(EvaluationFailure::KeyExposed)?;
        let key = tweaked_point(public_key, &tweak).normalize()?;
        Ok(Self { tweak, key })
    }
}

/// `DeriveKeyPair(seed, info)` of RFC 9497, section 3.2.1; `None` where the RFC raises an error.
///
/// `info` is at most 65,535 bytes, else `None`.
pub fn derive_secret(seed: &[u8; DERIVE_SEED_BYTES], info: &[u8]) -> Option<SecretScalar> {
    let len = u16::try_from(info.len()).ok()?.to_be_bytes();
    (0..=u8::MAX).find_map(|counter| {
        SecretScalar::hash(&[seed, &len, info, &[counter]], DERIVE_KEY_PAIR_DST)
    })
}

/// Blinds `elements`: a fresh b for each, W = b·U.
///
/// # Errors
///
/// [`BadBatch`]: no element, or more than 256.
///
/// # Timing
///
/// Constant in the blinds.
pub fn blind(
    elements: &[Element],
    rng: &mut impl CryptoRng,
) -> Result<(Vec<SecretScalar>, Vec<Element>), BadBatch> {
    check_count(elements)?;
    let blinds: Vec<_> = elements.iter().map(|_| SecretScalar::random(rng)).collect();
    // b·U is no identity: b is not zero and the order is prime. It could only come from a fault.
    let blinded = mul_each(&blinds, elements).map_err(|Identity| BadBatch)?;
    Ok((blinds, blinded))
}

/// Removes the blinds: Z = b^-1·X. The elements come from [`verify_proof`] and from nowhere else:
///
/// ```compile_fail,E0308
/// use blindfold_core::hazmat::{Element, unblind};
/// let unverified = vec![Element::generator()];
/// let _ = unblind(Vec::new(), unverified);
/// ```
///
/// # Errors
///
/// [`BadBatch`]: the number of blinds is another than that of the elements.
///
/// # Timing
///
/// Constant in the blinds and in the results.
pub fn unblind(
    blinds: Vec<SecretScalar>,
    verified: VerifiedElements,
) -> Result<Vec<SecretElement>, BadBatch> {
    let elements = verified.into_elements();
    if blinds.len() != elements.len() {
        return Err(BadBatch);
    }
    mul_each_secret(&invert_each(&blinds), &elements).map_err(|Identity| BadBatch)
}

/// Evaluates `blinded` under the key `secret` tweaked by `info`, and proves it.
///
/// `public_key` is that of `secret`. The proof's nonce is hedged with 64 bytes of `rng`.
///
/// # Errors
///
/// See [`EvaluationFailure`]; in every case nothing is released.
///
/// # Timing
///
/// Constant in `secret`; the multiplications by the secret are randomised anew each time.
#[cfg(feature = "hazmat")]
pub fn blind_evaluate(
    secret: &SecretScalar,
    public_key: &Element,
    info: &Info,
    blinded: &[Element],
    rng: &mut impl CryptoRng,
) -> Result<Evaluation, EvaluationFailure> {
    check_count(blinded).map_err(|BadBatch| EvaluationFailure::BadBatch)?;
    let tweaked = Tweaked::of(secret, public_key, info)?;
    evaluate(secret, &tweaked, blinded, None, rng, &mut NoFaults)
}

/// As [`blind_evaluate`], with the proof's nonce given: for published vectors only.
///
/// Two proofs with one nonce, or one whose nonce is known, give the secret key away.
///
/// # Errors
///
/// As [`blind_evaluate`].
#[cfg(feature = "hazmat")]
pub fn blind_evaluate_with_nonce(
    secret: &SecretScalar,
    public_key: &Element,
    info: &Info,
    blinded: &[Element],
    nonce: SecretScalar,
    rng: &mut impl CryptoRng,
) -> Result<Evaluation, EvaluationFailure> {
    check_count(blinded).map_err(|BadBatch| EvaluationFailure::BadBatch)?;
    let tweaked = Tweaked::of(secret, public_key, info)?;
    evaluate(secret, &tweaked, blinded, Some(nonce), rng, &mut NoFaults)
}

/// Steps 8 to 10 of Evaluate, for m and T that were made of Info before.
pub(crate) fn evaluate(
    secret: &SecretScalar,
    tweaked: &Tweaked,
    blinded: &[Element],
    nonce: Option<SecretScalar>,
    rng: &mut impl CryptoRng,
    faults: &mut impl Faults,
) -> Result<Evaluation, EvaluationFailure> {
    check_count(blinded).map_err(|BadBatch| EvaluationFailure::BadBatch)?;
    // "m, t=k+m; t=0 => FATAL_KEY_EXPOSED"
    let mut t = secret
        .add(&tweaked.tweak)
        .ok_or(EvaluationFailure::KeyExposed)?;
    faults.tweaked_secret(&mut t);
    let tweaked = tweaked.key;
    // "ti=t^-1 once; X_i=ti·W_i"
    // T was made from the public key. If it is not t·G, be it by a fault in k, m or t, these are off by T - t·G each, and
    // t·M is off by t·Σ d_i·(T - t·G): never zero, but where Σ d_i is. So step 10 meets that fault, too.
    let mut points = divide_each_masked(&t, &tweaked, blinded, rng);
    faults.evaluated(&mut points);
    let elements = Point::normalize_each(points)?;

    let nonce = match nonce {
        Some(nonce) => Nonce::given(nonce),
        None => hedged_nonce(&t, &tweaked, blinded, rng),
    };
    let proof = prove(&t, &tweaked, &elements, blinded, nonce, faults)?;
    Ok(Evaluation { elements, proof })
}

/// `OS2IP(Expand(Extract(rnd64, I2OSP(t,48) ‖ SHA-384(Ser(tG) ‖ Ser(W_0) ‖ …)), "", 72)) mod n`, not zero.
fn hedged_nonce(
    t: &SecretScalar,
    tweaked: &Element,
    blinded: &[Element],
    rng: &mut impl CryptoRng,
) -> Nonce {
    let mut request: Vec<&[u8]> = Vec::with_capacity(1 + blinded.len());
    request.push(tweaked.as_bytes());
    request.extend(blinded.iter().map(|element| &element.as_bytes()[..]));
    let request = kdf::sha384(&request);
    let mut random = Zeroizing::new([0; 64]);
    let mut wide = Zeroizing::new([0; 72]);
    loop {
        rng.fill_bytes(random.as_mut_slice());
        kdf::extract(random.as_slice(), &[t.expose_bytes().as_slice(), &request])
            .expand_unlabelled(&[], &mut wide);
        if let Some(nonce) = SecretScalar::from_wide_bytes(&wide) {
            return Nonce::given(nonce);
        }
    }
}

fn check_count(elements: &[Element]) -> Result<(), BadBatch> {
    if elements.is_empty() || elements.len() > MAX_BATCH {
        Err(BadBatch)
    } else {
        Ok(())
    }
}

/// Whether `secret·G` is `public_key`.
pub(crate) fn key_matches(secret: &SecretScalar, public_key: &Element) -> bool {
    secret
        .mul_generator()
        .normalize()
        .is_ok_and(|computed| bool::from(computed.as_bytes().ct_eq(public_key.as_bytes())))
}

/// Places where a test bends the computation, to show that the check of the own output holds.
///
/// Outside the tests the only implementation does nothing.
pub(crate) trait Faults {
    /// Bends t after it was computed.
    fn tweaked_secret(&mut self, _: &mut SecretScalar) {}
    /// Bends the evaluated points.
    fn evaluated(&mut self, _: &mut [Point]) {}
    /// Bends the composite Z.
    fn composite(&mut self, _: &mut Point) {}
    /// Bends the nonce while `s` is computed.
    fn nonce(&mut self, _: &mut SecretScalar) {}
}

/// What runs outside the tests.
pub(crate) struct NoFaults;

impl Faults for NoFaults {}

#[cfg(test)]
pub(crate) mod tests;
