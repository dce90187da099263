//! PBSEAL: seal secrets offline under a policy, open them with blinded help.
//!
//! A secret is sealed without any network, travels in the open, and is opened with the help of an
//! unsealing authority that authenticates the opener and checks the policy, but sees neither the
//! secret nor which object is opened.
//!
//! # Guarantees
//!
//! - No I/O but the readers and writers that are passed in, no clock, no global state; randomness is
//!   an argument everywhere.
//! - No unsafe code. Secrets are wiped on drop and never printed.
//! - Everything from outside is bounded before it is used, and parsed completely or refused.
//!
//! # Not promised
//!
//! Copies that the compiler leaves on the stack are not wiped.
//!
//! Specification: PBSEAL version 1; RFC 9497 for the evaluation.

mod batch;
mod codec;
mod dem;
mod evaluate;
mod group;
mod info;
mod kdf;
mod kem;
mod key;
mod labels;
pub mod limits;
mod message;
mod object;
mod open;
mod policy;
mod poprf;
mod profile;
mod schedule;
mod seal;
mod secret;
mod shamir;
mod stream;
mod text;

pub use batch::{Batch, Pending, PolicyLock};
pub use dem::Dem;
pub use evaluate::EvaluateError;
pub use group::BadElement;
pub use info::Info;
pub use key::{
    AuthorityKey, BadKeyId, BadKeyState, KeyError, KeyId, KeyState, Purpose, SecretKey, StaticKey,
    Suite, UnsealingKey, UnsupportedSuite,
};
pub use message::{
    CONTENT_TYPE, CheckedRequest, MessageError, Outcome, PATH, Refusal, Request, Response,
    request_id_or_zero,
};
pub use object::{Header, Lock, Role, Sealed};
pub use open::{
    Accepted, AcceptedHeader, LockFault, LockSecrets, Missing, OpenError, OpenReader, Opened, StreamError,
};
pub use policy::{
    BadPolicyName, BadWindow, CanonicalPolicy, PolicyError, PolicyName, PolicyRef, PolicyRefError,
    Window,
};

pub use profile::{AcceptanceProfile, Expectation, PinnedKeys};
pub use seal::{LockSpec, SealError, SealOptions, Sealer};

/// The raw pieces, for tests, vectors and other implementations of the same protocol.
///
/// Nothing here checks that its pieces are put together rightly: a reused r or b, a known nonce, or
/// a proof that was not verified gives secrets away. Applications need none of it.
pub mod hazmat {
    pub use crate::group::{Element, Scalar, SecretElement, SecretScalar};
    pub use crate::kem::{KemError, SharedSecret, decap, encap, encap_static};
    pub use crate::poprf::{
        BadBatch, BadPolicyPoint, Evaluation, EvaluationFailure, Proof, ProofInvalid,
        VerifiedElements, blind, blind_evaluate, blind_evaluate_with_nonce, compute_composites,
        derive_secret, hash_to_scalar, tweaked_key, unblind, verify_proof,
    };

    /// Info of arbitrary bytes, for published vectors; `None` above 65,535 bytes.
    pub fn raw_info(bytes: &[u8]) -> Option<crate::Info> {
        crate::Info::from_bytes_unchecked(bytes)
    }
}
