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
//! - No unsafe code, but with the feature `aws-lc` the calls of AWS-LC's P-384, in one module. Secrets are wiped on drop
//!   and never printed.
//! - Everything from outside is bounded before it is used, and parsed completely or refused.
//!
//! # From sealing to opening
//!
//! ```
//! use blindfold_core::{
//!     AcceptanceProfile, Batch, Expectation, LockSecrets, LockSpec, PinnedKeys, PolicyRef, Refusal,
//!     Request, Response, SealOptions, Sealed, Sealer, UnsealingKey, Window,
//! };
//! # let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
//! # fn authorized(_: &blindfold_core::CheckedRequest) -> bool { true }
//! // The unsealing authority has a key; everybody else pins its public record.
//! let key = UnsealingKey::generate("authority.example", "acme", 1, rng)?;
//! let mut pinned = PinnedKeys::new();
//! pinned.insert(key.record().clone());
//!
//! // Sealing, offline.
//! let policy = PolicyRef::Name("prod/db-readers".parse()?);
//! let lock = LockSpec::share(key.record(), policy, Window::unbounded());
//! let object = Sealer::new(vec![lock], SealOptions::new())?.seal(b"hunter2", rng)?;
//!
//! // Opening: accept the object, blind its locks, one request for each batch.
//! let accepted = Sealed::parse(&object)?.accept(&pinned, &AcceptanceProfile::new(), &Expectation::new())?;
//! let mut secrets = LockSecrets::new();
//! for batch in Batch::group(accepted.policy_locks()) {
//!     let (request, pending) = batch.blind(rng)?;
//!
//!     // The authority, between authorization and audit.
//!     let request = Request::parse(&request.to_bytes())?.check().map_err(Refusal::name)?;
//!     assert!(authorized(&request));
//!     let response = key.blind_evaluate(&request, rng)?;
//!
//!     secrets.merge(pending.finalize(Response::parse(&response.to_bytes())?)?);
//! }
//! assert_eq!(accepted.open(&secrets)?.expose(), b"hunter2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Not promised
//!
//! Copies that the compiler leaves on the stack are not wiped.
//!
//! Specification: PBSEAL version 1; RFC 9497 for the evaluation.

#![cfg_attr(not(feature = "aws-lc"), forbid(unsafe_code))]
#![cfg_attr(
    not(feature = "hazmat"),
    expect(unreachable_pub, reason = "the raw pieces are public in `hazmat` only")
)]

mod batch;
mod codec;
mod dem;
mod evaluate;
pub mod floor;
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
pub mod sharing;
mod signature;
mod stream;
mod text;

pub use batch::{Batch, Pending, PolicyLock};
pub use dem::Dem;
pub use evaluate::EvaluateError;
pub use group::{BadElement, backend};
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
    Accepted, AcceptedHeader, LockFault, LockSecrets, Missing, OpenError, OpenReader, Opened,
    StreamError,
};
pub use policy::{
    BadPolicyName, BadWindow, CanonicalPolicy, PolicyError, PolicyName, PolicyRef, PolicyRefError,
    Window,
};

pub use profile::{AcceptanceProfile, Expectation, PinnedKeys};
pub use seal::{LockSpec, SealError, SealOptions, Sealer};
pub use signature::{
    AcceptedStream, SealerKey, SealerKeyId, SealerKeys, SealerSignature, SignatureError, Signed,
    SignedReader, SignedStream,
};

/// The raw pieces, for tests, vectors and other implementations of the same protocol.
///
/// Nothing here checks that its pieces are put together rightly: a reused r or b, a known nonce, or
/// a proof that was not verified gives secrets away. Applications need none of it, so it is there
/// only with the feature `hazmat`, which is off by default.
#[cfg(feature = "hazmat")]
pub mod hazmat {
    pub use crate::group::{Element, Scalar, SecretElement, SecretScalar};
    pub use crate::kem::{KemError, SharedSecret, decap, encap, encap_static};
    pub use crate::poprf::{
        BadBatch, BadPolicyPoint, Evaluation, EvaluationFailure, Proof, ProofInvalid,
        VerifiedElements, blind, blind_evaluate, blind_evaluate_with_nonce, compute_composites,
        derive_secret, hash_to_scalar, tweaked_key, unblind, verify_proof,
    };

    use crate::{AuthorityKey, Info, PolicyRef, StaticKey, UnsealingKey, Window};

    /// Info and T of a policy lock under `key`.
    ///
    /// # Errors
    ///
    /// - [`KemError::WrongSuite`]: not a key for policy locks.
    /// - [`KemError::BadPolicyPoint`]: key and policy cancel out.
    pub fn tweak(
        key: &AuthorityKey,
        policy: &PolicyRef,
        window: Window,
    ) -> Result<(Info, Element), KemError> {
        key.tweak(policy, window)
    }

    /// The shared secret of a policy lock, from the secret key of the authority.
    ///
    /// # Errors
    ///
    /// - [`KemError::BadElement`]: `enc` is no element.
    /// - [`KemError::BadPolicyPoint`]: key and policy cancel out.
    pub fn decap_with_secret(
        key: &UnsealingKey,
        policy: &PolicyRef,
        window: Window,
        enc: &[u8],
    ) -> Result<SharedSecret, KemError> {
        key.decap(policy, window, enc)
    }

    /// The shared secret of a static lock. A wrong ciphertext gives a wrong secret, not an error.
    ///
    /// # Errors
    ///
    /// [`KemError::BadLength`]: not 1088 bytes.
    pub fn decap_static(key: &StaticKey, enc: &[u8]) -> Result<SharedSecret, KemError> {
        key.decap(enc)
    }

    /// Info of arbitrary bytes, for published vectors; `None` above 65,535 bytes.
    pub fn raw_info(bytes: &[u8]) -> Option<Info> {
        Info::from_bytes_unchecked(bytes)
    }
}
