//! TPM 2.0: a key in the very TPM that its maker certified, or that the site lists, speaks for the machine.
//!
//! 1. The machine shows its endorsement key, its certificates, and an attestation key. The authority checks that the
//!    former is trusted and the latter restricted, and answers with a nonce and a secret that is encrypted to the
//!    endorsement key under the attestation key's name (*credential activation*).
//! 2. The TPM gives the secret out only if the key of that name lives in it. The machine sends it back with a quote of
//!    the attestation key over the nonce and the key of its certificate request.
//!
//! The fact of the quote then holds for the machine with that TPM, at that moment: its registers had these values.
//!
//! # Layout
//!
//! What the authority keeps sealed in the challenge: version `0x01`; `TPM2B` of the secret; SHA-256 of the endorsement
//! key; how it is trusted (`0`: listed; `1` and the hash of the anchor); `TPM2B` of the attestation key's
//! `TPMT_PUBLIC`; kind of the endorsement key (`0`: RSA, `1`: P-256); number of facts of the certificate, each two
//! `TPM2B`.
//!
//! # Not promised
//!
//! - That the machine runs what somebody thinks it does: registers are facts, and a policy decides over them.
//! - Protection from whoever sits on the bus between processor and TPM, or holds the TPM itself: both can activate.
//! - One subject per machine: a TPM has an RSA and a P-256 endorsement key, and each is a subject of its own.
//!
//! Specification: TPM 2.0 Library, version 1.59; TCG EK Credential Profile for TPM Family 2.0.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding};
use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use identity::wire::{Evidence, Prover};
use identity::{AttributeValue, Attributes};
use rand_core::CryptoRng;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::attestor::{Attested, Attestor, Challenge, ChallengeContext, Claim, Context, SingleUse};
use crate::error::{AttestError, RuleError};
use crate::limits::{
    CHALLENGE_USE_LABEL, MAX_TPM_CERTIFICATE_BYTES, MAX_TPM_CHAIN_CERTIFICATES,
    MAX_TPM_PUBLIC_BYTES, MAX_TPM_QUOTE_BYTES, MAX_TPM_REGISTERS, MAX_TPM_SIGNATURE_BYTES,
};

mod bytes;
mod commands;
mod constants;
mod credential;
mod device;
mod endorsement;
mod error;
mod prover;
mod public;
mod quote;
mod state;
#[cfg(feature = "testing")]
pub mod testing;

pub use device::TpmAddress;
pub use error::TpmError;
pub use prover::{ProverError, TpmOptions, TpmProver};
pub use public::{AttestationKey, EndorsementKey, KeyKind};
pub use quote::{Quote, Registers};

use credential::Credential;
use endorsement::{CERTIFICATE_FACTS, Trusted};
use state::State;

/// Verifies credential activation and quotes.
#[derive(Debug)]
pub struct Tpm {
    trusted: Trusted,
}

impl Tpm {
    /// Checks and compiles the rule `rules.attestors[index]`: certificates of makers (PEM), and SHA-256 of endorsement
    /// keys.
    ///
    /// # Errors
    ///
    /// [`RuleError::Member`], naming the member to change.
    pub fn compile(
        index: usize,
        anchors: &[String],
        endorsement_keys: &[String],
    ) -> Result<Self, RuleError> {
        let trusted = Trusted::compile(anchors, endorsement_keys)
            .map_err(|(member, why)| RuleError::Member { index, member, why })?;
        Ok(Self { trusted })
    }

    /// Whether a mapping may name the fact `name`.
    #[must_use]
    pub fn finds(name: &str) -> bool {
        FACTS.contains(&name)
            || CERTIFICATE_FACTS.contains(&name)
            || (0..MAX_TPM_REGISTERS).any(|number| name == register_fact(number))
    }

    fn make_challenge(
        &self,
        prover: &Prover,
        now: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Challenge, TpmError> {
        let Prover::Tpm {
            endorsement_key,
            endorsement_chain,
            attestation_key,
        } = prover
        else {
            return Err(TpmError::Encoding("prover"));
        };
        let public = |name, text| decode(name, text, MAX_TPM_PUBLIC_BYTES + 2);
        let endorsement_key = EndorsementKey::parse(&public("endorsement key", endorsement_key)?)?;
        let attestation_key = AttestationKey::parse(&public("attestation key", attestation_key)?)?;
        if endorsement_chain.len() > MAX_TPM_CHAIN_CERTIFICATES {
            return Err(TpmError::ChainTooLong);
        }
        let chain = endorsement_chain
            .iter()
            .map(|text| decode("certificate", text, MAX_TPM_CERTIFICATE_BYTES))
            .map(|der| der.map(CertificateDer::from))
            .collect::<Result<Vec<_>, _>>()?;
        let (trust, certificate_facts) = self.trusted.check(&endorsement_key, &chain, now)?;
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut_slice());
        let credential = Credential::make(&endorsement_key, &attestation_key.name(), &secret, rng)?;
        let state = State {
            secret,
            endorsement_key: endorsement_key.sha256(),
            endorsement_kind: endorsement_key.kind(),
            trust,
            attestation_key,
            certificate_facts,
        };
        Ok(Challenge {
            nonce,
            state: state.encode(),
            credential_blob: Some(credential.blob),
            encrypted_secret: Some(credential.encrypted_secret),
        })
    }

    fn verify_evidence(
        &self,
        shown: &Shown<'_>,
        nonce: &[u8; 32],
        state: &State,
        csr_key_sha256: &[u8; 32],
    ) -> Result<Attributes, TpmError> {
        // Rules may have changed since the challenge was made.
        if !self.trusted.still(&state.endorsement_key, state.trust) {
            return Err(TpmError::UnknownEndorsementKey);
        }
        let secret = Zeroizing::new(decode("secret", shown.secret, 32)?);
        if !bool::from(secret.ct_eq(state.secret.as_slice())) {
            return Err(TpmError::Secret);
        }
        let quote = decode("quote", shown.quote, MAX_TPM_QUOTE_BYTES)?;
        let signature = decode("signature", shown.signature, MAX_TPM_SIGNATURE_BYTES)?;
        let quote = Quote::verify(&state.attestation_key, &quote, &signature)?;
        quote.answers(nonce, csr_key_sha256)?;
        if shown.pcrs.len() > MAX_TPM_REGISTERS {
            return Err(TpmError::Registers);
        }
        let values = shown
            .pcrs
            .iter()
            .map(|value| lower_hex(value).ok_or(TpmError::Encoding("register")))
            .collect::<Result<Vec<_>, _>>()?;
        let mut facts: BTreeMap<String, AttributeValue> = BTreeMap::new();
        for (number, value) in quote.with_values(&values)? {
            let name = register_fact(usize::from(number));
            facts.insert(name, hex::encode(value).into());
        }
        let name = state.attestation_key.name();
        let [ek, ek_algorithm, ak, pcr_digest] = FACTS;
        for (name, value) in [
            (ek, hex::encode(state.endorsement_key)),
            (ek_algorithm, state.endorsement_kind.name().to_owned()),
            (ak, hex::encode(name.get(2..).unwrap_or_default())),
            (pcr_digest, hex::encode(quote.digest())),
        ] {
            facts.insert(name.to_owned(), value.into());
        }
        for (name, value) in state.certificate_facts.iter() {
            facts.insert(name.to_owned(), value.clone());
        }
        let mut attributes = Attributes::new();
        for (name, value) in facts {
            // They are within the bounds: at most 33 facts of some hundred bytes.
            attributes
                .insert(&name, value)
                .map_err(|_| TpmError::Registers)?;
        }
        Ok(attributes)
    }
}

/// What [`Evidence::Tpm`] shows beside the challenge.
struct Shown<'a> {
    secret: &'a str,
    quote: &'a str,
    signature: &'a str,
    pcrs: &'a [String],
}

impl Attestor for Tpm {
    fn kind(&self) -> &'static str {
        "tpm"
    }

    fn challenge(
        &self,
        prover: &Prover,
        context: &ChallengeContext<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Challenge, AttestError> {
        if prover.kind() != self.kind() {
            return Err(AttestError::OtherKind(self.kind()));
        }
        Ok(self.make_challenge(prover, context.now, rng)?)
    }

    fn verify(&self, evidence: &Evidence, context: &Context<'_>) -> Result<Attested, AttestError> {
        let Evidence::Tpm {
            secret,
            quote,
            signature,
            pcrs,
            ..
        } = evidence
        else {
            return Err(AttestError::OtherKind(self.kind()));
        };
        let challenge = context.challenge.ok_or(AttestError::ChallengeMissing)?;
        let state = State::decode(&challenge.state).ok_or(TpmError::Challenge)?;
        let shown = Shown {
            secret,
            quote,
            signature,
            pcrs,
        };
        let facts =
            self.verify_evidence(&shown, &challenge.nonce, &state, context.csr_key_sha256)?;
        let id = Sha256::new()
            .chain_update(CHALLENGE_USE_LABEL)
            .chain_update(challenge.nonce)
            .finalize();
        Ok(Attested {
            claim: Claim::Facts(facts),
            subject: Some(hex::encode(state.endorsement_key)),
            sequence: None,
            single_use: Some(SingleUse {
                id: id.into(),
                expires_at: challenge
                    .expires_at
                    .saturating_add(2 * MAX_CLOCK_SKEW_SECONDS),
            }),
            lifetime: None,
            clock_ahead: None,
        })
    }
}

/// Facts of every TPM, besides one for each register quoted.
const FACTS: [&str; 4] = ["ek_sha256", "ek_algorithm", "ak_sha256", "pcr_digest"];

fn register_fact(number: usize) -> String {
    format!("pcr_sha256_{number}")
}

fn decode(name: &'static str, text: &str, max: usize) -> Result<Vec<u8>, TpmError> {
    // Base64 of `max` bytes has this length.
    if text.len() > max.div_ceil(3) * 4 {
        return Err(TpmError::Encoding(name));
    }
    let bytes = Base64::decode_vec(text).map_err(|_| TpmError::Encoding(name))?;
    if bytes.len() > max {
        return Err(TpmError::Encoding(name));
    }
    Ok(bytes)
}

fn lower_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 64 || !text.bytes().all(digit) {
        return None;
    }
    hex::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
