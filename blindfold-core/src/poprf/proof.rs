//! The proof that the same t made every element of a batch (DLEQ).
//!
//! Specification: RFC 9497, section 2.2, with A = G, B = T, C = evaluated, D = blinded.

use super::{EvaluationFailure, Faults, check_count};
use crate::codec::{Reader, len16};
use crate::group::{Element, Identity, Point, Scalar, SecretScalar};
use crate::kdf;
use crate::labels::{HASH_TO_SCALAR_DST, SEED_DST};
use crate::limits::{PROOF_BYTES, SCALAR_BYTES};
use crate::secret::{wiped, wiped_on_drop};

/// Proof of one batch: the challenge c and the response s, both reduced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Proof {
    challenge: Scalar,
    response: Scalar,
}

/// The proof does not hold for the pinned key, this Info and this batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the unsealing authority's proof does not hold: its answer was not used")]
pub struct ProofInvalid;

impl Proof {
    /// Reads a proof.
    ///
    /// # Errors
    ///
    /// [`ProofInvalid`]: a scalar is not below the group order.
    pub fn from_bytes(bytes: &[u8; PROOF_BYTES]) -> Result<Self, ProofInvalid> {
        let mut reader = Reader::new(bytes);
        let mut scalar = || {
            let bytes = reader.array::<SCALAR_BYTES>().ok()?;
            Scalar::from_bytes(&bytes)
        };
        let challenge = scalar().ok_or(ProofInvalid)?;
        let response = scalar().ok_or(ProofInvalid)?;
        Ok(Self {
            challenge,
            response,
        })
    }

    /// `Ser(c) ‖ Ser(s)`.
    pub fn to_bytes(self) -> [u8; PROOF_BYTES] {
        let mut bytes = [0; PROOF_BYTES];
        let (challenge, response) = bytes.split_at_mut(SCALAR_BYTES);
        challenge.copy_from_slice(&self.challenge.to_bytes());
        response.copy_from_slice(&self.response.to_bytes());
        bytes
    }
}

/// Evaluated elements whose proof was verified; only [`verify_proof`] makes them.
#[derive(Clone, Debug)]
pub struct VerifiedElements(Vec<Element>);

impl VerifiedElements {
    /// Elements that nothing verified.
    #[cfg(test)]
    pub(super) fn of(elements: Vec<Element>) -> Self {
        Self(elements)
    }

    pub(super) fn into_elements(self) -> Vec<Element> {
        self.0
    }
}

/// The proof's nonce, with the second copy that was made when it was drawn.
pub(super) struct Nonce {
    nonce: SecretScalar,
    copy: SecretScalar,
}

wiped_on_drop!(Nonce, |nonce| {
    wiped(&nonce.nonce);
    wiped(&nonce.copy);
});

impl Nonce {
    pub(super) fn given(nonce: SecretScalar) -> Self {
        let copy = nonce.second_copy();
        Self { nonce, copy }
    }

    #[cfg(test)]
    pub(super) fn expose_bytes(&self) -> zeroize::Zeroizing<[u8; SCALAR_BYTES]> {
        self.nonce.expose_bytes()
    }
}

/// `GenerateProof(t, G, T, X, W)`, with the check of the own output.
///
/// A caller has a say in M. So t does not multiply it: it is split in t + r and -r, with the nonce r, which is fresh and
/// uniform, for the random part. -r·M costs nothing, as r·M is t3. Whoever learnt both parts would know t, as with any
/// split; whoever learnt one of them, or bits of it, would know no more than from the nonce, which the proof's s ties to t
/// in the same way.
pub(super) fn prove(
    t: &SecretScalar,
    tweaked: &Element,
    evaluated: &[Element],
    blinded: &[Element],
    nonce: Nonce,
    faults: &mut impl Faults,
) -> Result<Proof, EvaluationFailure> {
    let Nonce { mut nonce, copy } = nonce;
    // "(M, Z) = ComputeCompositesFast(k, B, C, D)"
    let weights = weights(tweaked, evaluated, blinded);
    let m = weighted_sum(&weights, evaluated);
    // "t2 = r * A; t3 = r * M"
    let (t2, t3) = (nonce.mul_generator(), m.mul(&nonce));
    // t·M as (t + r)·M - r·M; t + r is zero with probability 2^-384.
    let masked = t.add_secret(&nonce).ok_or(EvaluationFailure::Fault)?;
    let mut z = m.mul(&masked).sub(&t3);
    faults.composite(&mut z);
    // Step 10: "the composite Z computed as t·M must equal Σ d_i·W_i"
    if !z.same_element(&weighted_sum(&weights, blinded)) {
        return Err(EvaluationFailure::Fault);
    }
    let challenge = challenge(tweaked, [m, z, t2, t3])?;
    faults.nonce(&mut nonce);
    // "s = r - c * k mod G.Order()"
    let response = t.respond(&nonce, &challenge);
    // Step 10: "s + c·t must equal the nonce r, held in a second copy […] and ≠ 0"
    if !bool::from(t.answers(&response, &challenge, &copy)) {
        return Err(EvaluationFailure::Fault);
    }
    Ok(Proof {
        challenge,
        response,
    })
}

/// `VerifyProof(G, T, X, W, proof)`; the elements are given on only if it holds.
///
/// # Errors
///
/// [`ProofInvalid`]: the proof does not hold, the counts differ, or the batch is empty or too large.
///
/// # Timing
///
/// Variable: everything here was on the wire.
pub fn verify_proof(
    tweaked: &Element,
    evaluated: Vec<Element>,
    blinded: &[Element],
    proof: &Proof,
) -> Result<VerifiedElements, ProofInvalid> {
    let (m, z) = composites(tweaked, &evaluated, blinded).ok_or(ProofInvalid)?;
    let Proof {
        challenge: c,
        response: s,
    } = *proof;
    // "t2 = ((s * A) + (c * B)); t3 = ((s * M) + (c * Z))"
    let t2 = Point::mul_generator_vartime(&s).add(&tweaked.point().mul_vartime(&c));
    let t3 = Point::sum_vartime([(m.clone(), s), (z.clone(), c)]);
    let expected = challenge(tweaked, [m, z, t2, t3]).map_err(|Identity| ProofInvalid)?;
    if expected == c {
        Ok(VerifiedElements(evaluated))
    } else {
        Err(ProofInvalid)
    }
}

/// `ComputeComposites(T, X, W)`: the pair (M, Z) that stands for the whole batch.
///
/// `None` if the counts differ, the batch is empty or too large, or a composite is the identity.
#[cfg(feature = "hazmat")]
pub fn compute_composites(
    tweaked: &Element,
    evaluated: &[Element],
    blinded: &[Element],
) -> Option<(Element, Element)> {
    let (m, z) = composites(tweaked, evaluated, blinded)?;
    Some((m.normalize().ok()?, z.normalize().ok()?))
}

fn composites(
    tweaked: &Element,
    evaluated: &[Element],
    blinded: &[Element],
) -> Option<(Point, Point)> {
    check_count(evaluated).ok()?;
    if evaluated.len() != blinded.len() {
        return None;
    }
    let weights = weights(tweaked, evaluated, blinded);
    Some((
        weighted_sum(&weights, evaluated),
        weighted_sum(&weights, blinded),
    ))
}

fn weighted_sum(weights: &[Scalar], elements: &[Element]) -> Point {
    let points = elements.iter().map(Element::point);
    Point::sum_vartime(points.zip(weights.iter().copied()))
}

/// The weights d_i of ComputeComposites.
fn weights(tweaked: &Element, evaluated: &[Element], blinded: &[Element]) -> Vec<Scalar> {
    // "seedTranscript = I2OSP(len(Bm), 2) || Bm || I2OSP(len(seedDST), 2) || seedDST"
    let tweaked = tweaked.as_bytes();
    let seed = kdf::sha384(&[&len16(tweaked), tweaked, &len16(SEED_DST), SEED_DST]);
    let pairs = evaluated.iter().zip(blinded).zip(0_u16..);
    // "compositeTranscript = I2OSP(len(seed), 2) || seed || I2OSP(i, 2) ||
    //    I2OSP(len(Ci), 2) || Ci || I2OSP(len(Di), 2) || Di || "Composite""
    pairs
        .map(|((evaluated, blinded), index)| {
            let (evaluated, blinded) = (evaluated.as_bytes(), blinded.as_bytes());
            let transcript: [&[u8]; 8] = [
                &len16(&seed),
                &seed,
                &index.to_be_bytes(),
                &len16(evaluated),
                evaluated,
                &len16(blinded),
                blinded,
                b"Composite",
            ];
            Scalar::hash(&transcript, HASH_TO_SCALAR_DST)
        })
        .collect()
}

/// The challenge over B and the four points M, Z, t2, t3.
fn challenge(tweaked: &Element, points: [Point; 4]) -> Result<Scalar, Identity> {
    // "challengeTranscript = I2OSP(len(Bm), 2) || Bm || I2OSP(len(a0), 2) || a0 || … || "Challenge""
    let encoded = Point::normalize_each(points)?;
    let mut transcript = Vec::with_capacity(5 * (2 + tweaked.as_bytes().len()) + 9);
    for element in core::iter::once(tweaked).chain(&encoded) {
        transcript.extend_from_slice(&len16(element.as_bytes()));
        transcript.extend_from_slice(element.as_bytes());
    }
    transcript.extend_from_slice(b"Challenge");
    Ok(Scalar::hash(&[&transcript], HASH_TO_SCALAR_DST))
}
