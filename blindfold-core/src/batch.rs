//! Asking an authority: locks in batches, each batch in a request, each request with its own blinds.
//!
//! # Guarantees
//!
//! - What goes out is `W = b·U` with a fresh uniform `b` for every lock and every attempt: the authority learns key,
//!   policy, window and count, and nothing else.
//! - What comes back is used only after its proof held: [`Pending::finalize`] is the only way on.
//! - [`Pending`] is consumed by the answer, right or wrong: a blind serves one request.
//!
//! # Not promised
//!
//! That count and time of the requests tell nothing: a batch of three is recognisable as one.
//!
//! Specification: PBSEAL v1, sections 9.7 (Blind, Finalize) and 9.8.

use core::fmt;

use rand_core::CryptoRng;

use crate::group::{Element, SecretScalar};
use crate::info::Info;
use crate::kem;
use crate::key::AuthorityKey;
use crate::limits::MAX_BATCH;
use crate::message::{Outcome, Refusal, Request, Response, UNREAD_REQUEST_ID};
use crate::object::Role;
use crate::open::{LockSecrets, OpenError, Place};
use crate::policy::{PolicyRef, Window};
use crate::poprf::{self, Proof};
use crate::secret::{wiped, wiped_on_drop};

/// A policy lock of an accepted object, ready to ask its authority for.
#[derive(Clone, Debug)]
pub struct PolicyLock {
    pub(crate) key: AuthorityKey,
    pub(crate) policy: PolicyRef,
    pub(crate) window: Window,
    pub(crate) role: Role,
    pub(crate) element: Element,
    pub(crate) place: Place,
}

impl PolicyLock {
    /// The pinned record of the lock's key.
    #[must_use]
    pub fn key(&self) -> &AuthorityKey {
        &self.key
    }

    /// The policy that the opener has to satisfy.
    #[must_use]
    pub fn policy(&self) -> &PolicyRef {
        &self.policy
    }

    /// The days on which the authority answers.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// What the lock is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Place of the lock in its object, from 0.
    #[must_use]
    pub fn position(&self) -> u8 {
        self.place.position
    }
}

/// Locks of one or several objects that one request can ask for: same key, policy and window.
#[derive(Clone, Debug)]
pub struct Batch {
    // INVARIANT (askable): 1 to 256 elements, each with its place, all of them of `info`.
    key: AuthorityKey,
    policy: PolicyRef,
    window: Window,
    info: Info,
    places: Vec<Place>,
    elements: Vec<Element>,
}

impl Batch {
    /// Sorts locks into as few batches as the specification allows, in the order in which they come.
    ///
    /// An inline policy and the digest of the same document are one policy; the request then carries the document.
    #[must_use]
    pub fn group(locks: Vec<PolicyLock>) -> Vec<Self> {
        let mut batches: Vec<Self> = Vec::new();
        for lock in locks {
            let info = Info::new(&lock.key, &lock.policy, lock.window);
            let open = batches
                .iter_mut()
                .find(|batch| batch.info == info && batch.elements.len() < MAX_BATCH);
            match open {
                Some(batch) => {
                    batch.places.push(lock.place);
                    batch.elements.push(lock.element);
                    if matches!(lock.policy, PolicyRef::Inline(_)) {
                        batch.policy = lock.policy;
                    }
                }
                None => batches.push(Self {
                    key: lock.key,
                    policy: lock.policy,
                    window: lock.window,
                    info,
                    places: vec![lock.place],
                    elements: vec![lock.element],
                }),
            }
        }
        batches
    }

    /// The pinned record of the key to ask for; it names the authority.
    #[must_use]
    pub fn key(&self) -> &AuthorityKey {
        &self.key
    }

    /// The policy that the opener has to satisfy.
    #[must_use]
    pub fn policy(&self) -> &PolicyRef {
        &self.policy
    }

    /// The days on which the authority answers.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// How many locks the batch asks for, 1 to 256.
    #[must_use]
    pub fn count(&self) -> usize {
        self.elements.len()
    }

    /// Blinds the batch anew: a request to send, and what its answer needs.
    ///
    /// To retry, call it again; nothing of the first attempt is used.
    ///
    /// # Errors
    ///
    /// [`OpenError::BadPolicyPoint`]: key and policy cancel out.
    ///
    /// # Timing
    ///
    /// Constant in the blinds.
    pub fn blind(&self, rng: &mut impl CryptoRng) -> Result<(Request, Pending), OpenError> {
        let bad_point = OpenError::BadPolicyPoint {
            key_id: self.key.key_id(),
        };
        let (info, tweaked) = self
            .key
            .tweak(&self.policy, self.window)
            .map_err(|_| bad_point)?;
        let mut request_id = [0; 16];
        rng.fill_bytes(&mut request_id);
        let (blinds, blinded) =
            poprf::blind(&self.elements, rng).map_err(|_| OpenError::BadElement)?;
        let request = Request::of(
            request_id,
            self.key.key_id(),
            &self.policy,
            self.window,
            &blinded,
        )
        .map_err(|_| OpenError::BadElement)?;
        let pending = Pending {
            key: self.key.clone(),
            info,
            tweaked,
            request_id,
            places: self.places.clone(),
            elements: self.elements.clone(),
            blinds,
            blinded,
        };
        Ok((request, pending))
    }
}

/// A request that waits for its answer: the blinds and what the proof is checked against.
///
/// Consumed by the answer, wiped on drop, never printed, not cloned. A blind serves one request:
///
/// ```compile_fail,E0382
/// use blindfold_core::{OpenError, Pending, Response};
///
/// fn twice(pending: Pending, first: Response, second: Response) -> Result<(), OpenError> {
///     pending.finalize(first)?;
///     pending.finalize(second)?; // moved above
///     Ok(())
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn copy<T: Clone>(pending: &T) -> T {
///     pending.clone()
/// }
/// let _ = copy::<blindfold_core::Pending>; // not `Clone`
/// ```
///
/// and no secret of a lock is made without its proof:
///
/// ```compile_fail,E0451
/// use blindfold_core::LockSecrets;
///
/// let secrets = LockSecrets { secrets: Default::default() }; // private
/// ```
///
/// The right way differs from the first example in one line:
///
/// ```
/// use blindfold_core::{LockSecrets, OpenError, Pending, Response};
///
/// fn once(pending: Pending, first: Response) -> Result<LockSecrets, OpenError> {
///     pending.finalize(first)
/// }
/// ```
pub struct Pending {
    key: AuthorityKey,
    info: Info,
    tweaked: Element,
    request_id: [u8; 16],
    places: Vec<Place>,
    elements: Vec<Element>,
    blinds: Vec<SecretScalar>,
    blinded: Vec<Element>,
}

impl Pending {
    /// The request's id.
    #[must_use]
    pub fn request_id(&self) -> [u8; 16] {
        self.request_id
    }

    /// The pinned record of the key that was asked for.
    #[must_use]
    pub fn key(&self) -> &AuthorityKey {
        &self.key
    }

    /// Checks the answer and removes the blinds.
    ///
    /// # Errors
    ///
    /// - [`OpenError::Refused`]: the authority refused; a retry needs [`Batch::blind`] again. A refusal for bad framing
    ///   may carry the id zero, as the authority could not read ours.
    /// - [`OpenError::ResponseMismatch`]: another request's id, or another number of elements.
    /// - [`OpenError::BadElement`]: an element is malformed.
    /// - [`OpenError::ProofInvalid`]: the authority did not use the pinned key and this policy.
    ///
    /// # Timing
    ///
    /// Constant in the blinds and the secrets.
    pub fn finalize(self, response: Response) -> Result<LockSecrets, OpenError> {
        let Self {
            key,
            info,
            tweaked,
            request_id,
            places,
            elements,
            blinds,
            blinded,
        } = self;
        // "count and request_id match; DeserializeElement(X_i); VerifyProof(G,T,X,W,proof) … else PROOF_INVALID"
        // An authority that could not read the request does not know its id; nothing of such an answer is used.
        let unread = response.request_id() == UNREAD_REQUEST_ID
            && matches!(
                response.outcome(),
                Outcome::Refused {
                    refusal: Refusal::BadRequest,
                    ..
                }
            );
        if response.request_id() != request_id && !unread {
            return Err(OpenError::ResponseMismatch);
        }
        let proof_invalid = || OpenError::ProofInvalid {
            authority: key.authority().to_owned(),
        };
        let (evaluated, proof) = match response.outcome() {
            Outcome::Refused {
                refusal,
                retry_after_s,
            } => {
                return Err(OpenError::Refused {
                    refusal,
                    retry_after_seconds: retry_after_s,
                });
            }
            Outcome::Evaluated { elements, proof } => (elements, proof),
        };
        if evaluated.len() != blinded.len() {
            return Err(OpenError::ResponseMismatch);
        }
        let evaluated = evaluated
            .iter()
            .map(|bytes| Element::decode(bytes))
            .collect::<Result<Vec<_>, _>>();
        let evaluated = evaluated.map_err(|_| OpenError::BadElement)?;
        let proof = Proof::from_bytes(proof).map_err(|_| proof_invalid())?;
        let verified = poprf::verify_proof(&tweaked, evaluated, &blinded, &proof)
            .map_err(|_| proof_invalid())?;
        // "Z_i=b_i^-1·X_i; ss by 9.5"
        let unblinded = poprf::unblind(blinds, verified).map_err(|_| proof_invalid())?;
        let mut secrets = LockSecrets::new();
        for ((place, element), z) in places.into_iter().zip(&elements).zip(&unblinded) {
            secrets.push(place, kem::decap(&tweaked, &info, element, z));
        }
        Ok(secrets)
    }
}

wiped_on_drop!(Pending, |pending| wiped(&pending.blinds));

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("request_id", &hex::encode(self.request_id))
            .field("key_id", &self.key.key_id())
            .field("count", &self.blinded.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use getrandom::SysRng;
    use getrandom::rand_core::UnwrapErr;

    use super::*;
    use crate::key::UnsealingKey;

    fn lock(key: &AuthorityKey, policy: &PolicyRef, window: Window) -> PolicyLock {
        PolicyLock {
            key: key.clone(),
            policy: policy.clone(),
            window,
            role: Role::Share,
            element: Element::generator(),
            place: Place {
                binding: [0; 48],
                position: 0,
            },
        }
    }

    #[test]
    fn c4_key_and_policy_that_cancel_out_are_not_asked_for() {
        let rng = &mut UnwrapErr(SysRng);
        let key = UnsealingKey::generate("a.example", "acme", 1, rng).unwrap();
        let policy = PolicyRef::parse(2, b"p").unwrap();
        let window = Window::new(20_000, 0).unwrap();
        let key = key.record().cancelled_by(&policy, window);
        let [batch] = &Batch::group(vec![lock(&key, &policy, window)])[..] else {
            panic!("one lock makes one batch");
        };
        let error = batch.blind(rng).unwrap_err();
        let key_id = key.key_id();
        assert_eq!(error, OpenError::BadPolicyPoint { key_id });
        assert_eq!(error.name(), "BAD_POLICY_POINT");
        // Any other window is another T.
        let other = Batch::group(vec![lock(&key, &policy, Window::unbounded())]);
        assert!(other[0].blind(rng).is_ok());
    }

    #[test]
    fn locks_and_batches_print_no_element() {
        let rng = &mut UnwrapErr(SysRng);
        let key = UnsealingKey::generate("a.example", "acme", 1, rng).unwrap();
        let policy = PolicyRef::parse(2, b"p").unwrap();
        let lock = lock(key.record(), &policy, Window::unbounded());
        let encoded = hex::encode(&lock.element.as_bytes()[1..]);
        let batch = Batch::group(vec![lock.clone()]);
        for printed in [format!("{lock:?}"), format!("{batch:?}")] {
            assert!(printed.contains("Element { .. }"), "{printed}");
            assert!(!printed.contains(&encoded), "{printed}");
        }
    }
}
