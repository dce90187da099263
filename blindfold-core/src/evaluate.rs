//! The server half: steps 7 to 10 of Evaluate.
//!
//! What comes before, who asks and whether he may, is the service's; what comes after, the record of
//! the outcome, too. Between them this module decodes the elements, builds Info from the own key
//! record and the policy that was authorized, evaluates, and checks its own output.
//!
//! Specification: PBSEAL, section 9.7.

use rand_core::CryptoRng;

use crate::group::Element;
use crate::info::Info;
use crate::key::UnsealingKey;
use crate::message::{CheckedRequest, Refusal, Response};
use crate::poprf::{self, EvaluationFailure, Faults, NoFaults, Tweaked};

/// Reason a request was not evaluated; nothing was released.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The request asks for another key than this one.
    #[error("the request names another key")]
    OtherKey,
    /// An element of the request is none.
    #[error("an element of the request is not a compressed P-384 point")]
    BadElement,
    /// The policy gives the key away: disable the key and tell a person.
    #[error("the policy cancels the key out: the key is exposed, disable it")]
    KeyExposed,
    /// A fault while computing.
    #[error("a fault was detected in the own computation: check the machine")]
    Fault,
}

impl EvaluateError {
    /// What the caller is told.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::OtherKey => Refusal::KeyUnknown,
            Self::BadElement => Refusal::BadElement,
            Self::KeyExposed => Refusal::FatalKeyExposed,
            Self::Fault => Refusal::Internal,
        }
    }
}

impl From<EvaluateError> for Refusal {
    fn from(error: EvaluateError) -> Self {
        error.refusal()
    }
}

impl From<EvaluationFailure> for EvaluateError {
    fn from(failure: EvaluationFailure) -> Self {
        match failure {
            EvaluationFailure::KeyExposed => Self::KeyExposed,
            EvaluationFailure::BadBatch | EvaluationFailure::Fault => Self::Fault,
        }
    }
}

impl UnsealingKey {
    /// Evaluates an authorized request: decodes all elements, evaluates, proves, checks.
    ///
    /// Info is built here, from this key's record and from the policy and window that
    /// `request` was authorized by.
    ///
    /// # Errors
    ///
    /// See [`EvaluateError`]; the whole request fails and nothing is released.
    ///
    /// # Timing
    ///
    /// Depends on the number of elements, on public values, and on whether the policy was asked for before; never on
    /// the key.
    pub fn blind_evaluate(
        &self,
        request: &CheckedRequest,
        rng: &mut impl CryptoRng,
    ) -> Result<Response, EvaluateError> {
        self.evaluate(request, rng, &mut NoFaults)
    }

    fn evaluate(
        &self,
        request: &CheckedRequest,
        rng: &mut impl CryptoRng,
        faults: &mut impl Faults,
    ) -> Result<Response, EvaluateError> {
        if request.key_id() != self.record().key_id() {
            return Err(EvaluateError::OtherKey);
        }
        // "7. Deserialize all W_i (C-EL); any failure => BAD_ELEMENT for the whole request."
        let blinded = request
            .elements()
            .iter()
            .map(|bytes| Element::decode(bytes))
            .collect::<Result<Vec<_>, _>>();
        let blinded = blinded.map_err(|_| EvaluateError::BadElement)?;
        // "8. Info built from key record + parsed policy + window."
        let info = Info::new(self.record(), request.policy(), request.window());
        let secret = self.expose_secret();
        let kept = self.tweaks().get(&info);
        let tweaked = match kept {
            Some(tweaked) => tweaked,
            None => Tweaked::of(secret, self.public_key(), &info)?,
        };
        let evaluation = poprf::evaluate(secret, &tweaked, &blinded, None, rng, faults);
        // T is kept once it was found to be t·G; after a fault nothing is trusted.
        match (&evaluation, kept) {
            (Ok(_), None) => self.tweaks().keep(info, tweaked),
            (Err(_), Some(_)) => self.tweaks().forget(&info),
            (Ok(_), Some(_)) | (Err(_), None) => {}
        }
        let evaluation = evaluation?;
        Ok(Response::evaluated(request.request_id(), &evaluation))
    }
}

#[cfg(test)]
mod tests;
