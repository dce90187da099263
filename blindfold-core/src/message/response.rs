//! The response, and the reasons of a refusal.

use core::fmt;

use super::request::{put_elements, read_elements};
use super::{MessageError, VERSION};
use crate::codec::Reader;
use crate::limits::{ELEMENT_BYTES, MAX_RESPONSE_BYTES, PROOF_BYTES};
use crate::poprf::Evaluation;

const MAGIC: [u8; 4] = *b"PBSR";

/// Reason an authority refuses. Several share a number on the wire, so that less is told than recorded.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// Framing.
    BadRequest,
    /// No such key, or not one for policies.
    KeyUnknown,
    /// The key is out of use.
    KeyRetired,
    /// No policy of this name or digest, or it is on the deny-list.
    PolicyUnknown,
    /// The inline document is not restricted canonical JSON.
    PolicyNotCanonical,
    /// One answer for "no access to this tenant" and "the policy says no".
    Denied,
    /// Outside the window.
    NotValidNow,
    /// A quota is used up; try later.
    RateLimited,
    /// The key was used as often as a key may be.
    KeyExhausted,
    /// An element of the request is none.
    BadElement,
    /// A fault; nothing was released.
    Internal,
    /// The policy gives the key away; the wire says [`Refusal::Internal`].
    FatalKeyExposed,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::BadRequest,
        Self::KeyUnknown,
        Self::KeyRetired,
        Self::PolicyUnknown,
        Self::PolicyNotCanonical,
        Self::Denied,
        Self::NotValidNow,
        Self::RateLimited,
        Self::KeyExhausted,
        Self::BadElement,
        Self::Internal,
        Self::FatalKeyExposed,
    ];

    /// Number on the wire, 1 to 8.
    pub const fn code(self) -> u8 {
        match self {
            Self::BadRequest => 1,
            Self::KeyUnknown | Self::KeyRetired => 2,
            Self::PolicyUnknown | Self::PolicyNotCanonical => 3,
            Self::Denied => 4,
            Self::NotValidNow => 5,
            Self::RateLimited | Self::KeyExhausted => 6,
            Self::BadElement => 7,
            Self::Internal | Self::FatalKeyExposed => 8,
        }
    }

    /// The first reason of number `code`: all that a client can know.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    /// Name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::KeyUnknown => "KEY_UNKNOWN",
            Self::KeyRetired => "KEY_RETIRED",
            Self::PolicyUnknown => "POLICY_UNKNOWN",
            Self::PolicyNotCanonical => "POLICY_NOT_CANONICAL",
            Self::Denied => "DENIED",
            Self::NotValidNow => "NOT_VALID_NOW",
            Self::RateLimited => "RATE_LIMITED",
            Self::KeyExhausted => "KEY_EXHAUSTED",
            Self::BadElement => "BAD_ELEMENT",
            Self::Internal => "INTERNAL",
            Self::FatalKeyExposed => "FATAL_KEY_EXPOSED",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Response to one request.
///
/// # Layout, version 1
///
/// | bytes       | field                                             |
/// |------------:|---------------------------------------------------|
/// |           4 | `PBSR`                                            |
/// |           1 | version, `0x01`                                   |
/// |          16 | request id                                        |
/// |           1 | status: 0, or the number of the refusal           |
/// | status 0: 2 | number of elements, 1 to 256                      |
/// | 49 for each | evaluated elements                                |
/// |          96 | proof                                             |
/// | else: 4     | seconds after which a new attempt can help, or 0  |
#[derive(Clone, Eq, PartialEq)]
pub struct Response {
    request_id: [u8; 16],
    body: Body,
}

#[derive(Clone, Eq, PartialEq)]
enum Body {
    // INVARIANT (bounded): 1 to 256 elements.
    Evaluated {
        elements: Vec<[u8; ELEMENT_BYTES]>,
        proof: [u8; PROOF_BYTES],
    },
    Refused {
        refusal: Refusal,
        retry_after_s: u32,
    },
}

/// What a response says; the elements are neither decoded nor verified.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Outcome<'a> {
    /// Evaluated.
    Evaluated {
        /// X_i, undecoded.
        elements: &'a [[u8; ELEMENT_BYTES]],
        /// Proof, undecoded.
        proof: &'a [u8; PROOF_BYTES],
    },
    /// Refused.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Seconds after which a new attempt can help; 0 where none was told.
        retry_after_s: u32,
    },
}

impl Response {
    /// A refusal. `retry_after_s` is 0 unless waiting helps.
    pub fn refused(request_id: [u8; 16], refusal: Refusal, retry_after_s: u32) -> Self {
        Self {
            request_id,
            body: Body::Refused {
                refusal,
                retry_after_s,
            },
        }
    }

    /// The answer of an evaluation, which holds 1 to 256 elements.
    pub(crate) fn evaluated(request_id: [u8; 16], evaluation: &Evaluation) -> Self {
        let elements = evaluation
            .elements
            .iter()
            .map(|element| *element.as_bytes())
            .collect();
        Self {
            request_id,
            body: Body::Evaluated {
                elements,
                proof: evaluation.proof.to_bytes(),
            },
        }
    }

    /// Reads a response.
    ///
    /// # Errors
    ///
    /// See [`MessageError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_RESPONSE_BYTES {
            return Err(MessageError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(MessageError::BadMagic);
        }
        if reader.u8()? != VERSION {
            return Err(MessageError::UnsupportedVersion);
        }
        let request_id = reader.array()?;
        let body = match reader.u8()? {
            0 => Body::Evaluated {
                elements: read_elements(&mut reader)?,
                proof: reader.array()?,
            },
            code => {
                let refusal = Refusal::from_code(code).ok_or(MessageError::BadStatus)?;
                Body::Refused {
                    refusal,
                    retry_after_s: reader.u32()?,
                }
            }
        };
        reader.finish()?;
        Ok(Self { request_id, body })
    }

    /// The response as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.request_id);
        match &self.body {
            Body::Evaluated { elements, proof } => {
                bytes.push(0);
                put_elements(&mut bytes, elements);
                bytes.extend_from_slice(proof);
            }
            Body::Refused {
                refusal,
                retry_after_s,
            } => {
                bytes.push(refusal.code());
                bytes.extend_from_slice(&retry_after_s.to_be_bytes());
            }
        }
        bytes
    }

    /// Identifier of the request that is answered.
    pub fn request_id(&self) -> [u8; 16] {
        self.request_id
    }

    /// What the response says.
    pub fn outcome(&self) -> Outcome<'_> {
        match &self.body {
            Body::Evaluated { elements, proof } => Outcome::Evaluated { elements, proof },
            Body::Refused {
                refusal,
                retry_after_s,
            } => Outcome::Refused {
                refusal: *refusal,
                retry_after_s: *retry_after_s,
            },
        }
    }
}

/// Shows the outcome; elements are never logged.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("outcome", &self.outcome())
            .finish_non_exhaustive()
    }
}

/// Shows the number of elements, never the elements.
impl fmt::Debug for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluated { elements, .. } => f
                .debug_struct("Evaluated")
                .field("count", &elements.len())
                .finish_non_exhaustive(),
            Self::Refused {
                refusal,
                retry_after_s,
            } => f
                .debug_struct("Refused")
                .field("refusal", refusal)
                .field("retry_after_s", retry_after_s)
                .finish(),
        }
    }
}
