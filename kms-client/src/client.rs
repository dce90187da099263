//! The client of the key management service: the same calls for keys of every sensitivity.
//!
//! A key of low sensitivity is handed out at its first use and worked with in this process from then on; keys of medium
//! and high sensitivity stay where they are, and the data goes to them. Nothing of that shows in the calls.
//!
//! ```no_run
//! # fn example(identity: std::sync::Arc<identity::tls::TlsIdentity>) -> Result<(), Box<dyn std::error::Error>> {
//! use kms_client::{Kms, wire::ToSign};
//!
//! let kms = Kms::builder("https://127.0.0.1:7445", "spiffe://dev.example/blindfold/kms".parse()?)
//!     .tenant("acme")
//!     .identity(identity)
//!     .build()?;
//!
//! let sealed = kms.encrypt("orders", b"4 pears", b"order 17")?;
//! assert_eq!(kms.decrypt("orders", &sealed, b"order 17")?.as_slice(), b"4 pears");
//!
//! let release = kms.key("releases");
//! let signed = release.sign(&ToSign::Message(b"v1.2".to_vec().into()))?;
//! # let _ = signed;
//! # Ok(())
//! # }
//! ```
//!
//! # Not promised
//!
//! That the HTTP client's buffers are wiped: what goes to the service and comes from it has been in them. That a
//! version-less check of a code or signature knows a version that was made within the last second: pass the version
//! along with the code. That a child of `fork` hears of changes: its copies of keys end with their validity; let each
//! process make its own [`Kms`]. That threads end with the last [`Kms`] at once: a watch on the service ends within half a minute.

use std::{fmt, sync::Arc, time::Duration};

use identity::{SpiffeId, http::check_url, tls::TlsIdentity};
use zeroize::Zeroizing;

use crate::{
    cache::{AtHand, Cache, Slot},
    error::{IdentityFault, KmsError, Place, names_a_key},
    job::Job,
    key::is_name,
    limits::{ATTEMPT_TIMEOUT, CALL_DEADLINE, MAX_RANDOM_BYTES},
    local::OperationError,
    remote,
    transport::{IdentityProvider, Service, Transport},
    wire::{self, path},
};

#[cfg(feature = "async")]
mod asynchronous;
mod key;
mod stream;

#[cfg(feature = "async")]
pub use asynchronous::{AsyncKey, AsyncKms};
pub use key::Key;

/// Tenant of a client that names none.
pub const DEFAULT_TENANT: &str = "default";

/// A client of one service and tenant. Clones share connections and keys in hand. Sends nothing before it is asked.
#[derive(Clone)]
pub struct Kms {
    cache: Arc<Cache>,
}

/// Builds a [`Kms`].
pub struct KmsBuilder {
    url: String,
    server: SpiffeId,
    tenant: String,
    identity: Option<Box<IdentityProvider>>,
    deadline: Duration,
    attempt_timeout: Duration,
    takes_keys: bool,
}

/// Reason no client was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] identity::http::HttpError),
    /// No tenant has such a name.
    #[error(
        "`{0}` names no tenant: 1 to 64 characters out of a-z, 0-9, `.`, `_`, `-`, the first a letter or a digit"
    )]
    Tenant(String),
    /// There is no identity to ask with.
    #[error("the key management service wants an identity")]
    NoIdentity,
}

/// A key in hand, to be looked at by people and tests.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeyInHand {
    /// As the application calls it.
    pub name: String,
    /// Its revision.
    pub revision: u64,
    /// How long it is valid yet, unless the service can't be reached then.
    pub valid_for: Duration,
    /// How often it may protect something yet.
    pub uses_left: u64,
    /// Whether the service could not be asked when it was last to be refreshed.
    pub outage: bool,
}

impl KmsBuilder {
    /// The identity to ask with.
    #[must_use]
    pub fn identity(self, identity: Arc<TlsIdentity>) -> Self {
        self.identity_from(move || Ok(Arc::clone(&identity)))
    }

    /// Where the identity comes from. Asked before every request, and gives the same object every time.
    #[must_use]
    pub fn identity_from(
        mut self,
        source: impl Fn() -> Result<Arc<TlsIdentity>, IdentityFault> + Send + Sync + 'static,
    ) -> Self {
        self.identity = Some(Box::new(source));
        self
    }

    /// The tenant whose keys are meant; [`DEFAULT_TENANT`] otherwise.
    #[must_use]
    pub fn tenant(mut self, tenant: &str) -> Self {
        tenant.clone_into(&mut self.tenant);
        self
    }

    /// Sets the time for all attempts of one call together.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the time for one attempt.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Takes no keys into this process, whatever their sensitivity.
    #[must_use]
    pub fn without_keys_in_hand(mut self) -> Self {
        self.takes_keys = false;
        self
    }

    /// Checks and builds.
    ///
    /// # Errors
    ///
    /// Every [`BuildError`].
    pub fn build(self) -> Result<Kms, BuildError> {
        check_url(&self.url)?;
        if !is_name(&self.tenant) {
            return Err(BuildError::Tenant(self.tenant));
        }
        let identity = self.identity.ok_or(BuildError::NoIdentity)?;
        let service = Service {
            identity,
            url: self.url,
            server: self.server,
        };
        let transport = Transport::new(Some(service), self.deadline, self.attempt_timeout);
        let tenant = self.tenant.as_str().into();
        Ok(Kms {
            cache: Cache::new(Arc::new(transport), tenant, self.takes_keys),
        })
    }
}

impl Kms {
    /// Begins to build a client of the service at `url`, which must prove to be `server`.
    #[must_use]
    pub fn builder(url: &str, server: SpiffeId) -> KmsBuilder {
        KmsBuilder {
            url: url.to_owned(),
            server,
            tenant: DEFAULT_TENANT.to_owned(),
            identity: None,
            deadline: CALL_DEADLINE,
            attempt_timeout: ATTEMPT_TIMEOUT,
            takes_keys: true,
        }
    }

    /// A client of no service: every operation fails with [`KmsError::NotConfigured`].
    #[must_use]
    pub fn not_configured() -> Self {
        let transport = Transport::new(None, CALL_DEADLINE, ATTEMPT_TIMEOUT);
        Self {
            cache: Cache::new(Arc::new(transport), DEFAULT_TENANT.into(), false),
        }
    }

    /// A key by its name or identifier. Asks nobody: whether there is such a key shows when it is worked with.
    #[must_use]
    pub fn key(&self, name: &str) -> Key {
        match self.cache.slot(name) {
            Some(slot) => Key::new(self.clone(), slot.place.clone(), Some(slot)),
            None => {
                let place = Place::of_key(&self.cache.tenant, &name.into());
                Key::new(self.clone(), place, None)
            }
        }
    }

    /// Encrypts at most 64 KiB; larger data goes through [`Key::encrypt_stream`]. See [`Key::encrypt`].
    ///
    /// # Errors
    ///
    /// Those of [`Key::encrypt`].
    pub fn encrypt(&self, key: &str, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, KmsError> {
        self.key(key).encrypt(plaintext, aad)
    }

    /// Decrypts what [`Kms::encrypt`] made. See [`Key::decrypt`].
    ///
    /// # Errors
    ///
    /// Those of [`Key::decrypt`].
    pub fn decrypt(
        &self,
        key: &str,
        ciphertext: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.key(key).decrypt(ciphertext, aad)
    }

    /// Random bytes of the service, 1 to 4096.
    ///
    /// # Errors
    ///
    /// [`KmsError::Refused`], [`KmsError::Http`], [`KmsError::Identity`], [`KmsError::Answer`].
    pub fn random(&self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let place = Place::of_tenant(&self.cache.tenant);
        let (path, request) = random_request(&place, bytes)?;
        let response = self.cache.transport.call(&place, &path, &request)?;
        random_answer(&place, bytes, response)
    }

    /// The keys in hand now.
    #[must_use]
    pub fn keys_in_hand(&self) -> Vec<KeyInHand> {
        let slots = self.cache.all();
        let in_hand = slots.iter().filter_map(|slot| {
            let key = slot.handed()?;
            Some(KeyInHand {
                name: slot.name().to_owned(),
                revision: key.revision,
                valid_for: key.left(key.age()),
                uses_left: key.uses_left(),
                outage: slot.is_in_outage(),
            })
        });
        in_hand.collect()
    }

    /// Takes the keys in hand away; each is wiped when the last operation with it has ended. They are fetched again when
    /// they are needed.
    pub fn forget_keys(&self) {
        self.cache.withdraw_all();
    }

    /// Does a job with the key in hand, fetching it first if need be, or asks the service.
    fn run<J: Job>(
        &self,
        place: &Place,
        slot: Option<&Arc<Slot>>,
        job: &J,
    ) -> Result<J::Output, KmsError> {
        if let Err(reason) = job.check() {
            return Err(KmsError::operation(place, reason));
        }
        if let Some(done) = self.here(place, slot, job) {
            return done;
        }
        self.ask(place, &[job])
            .pop()
            .unwrap_or_else(|| Err(KmsError::answer(place, "no result")))
    }

    /// Does several jobs, each with its own result.
    fn run_all<J: Job>(
        &self,
        place: &Place,
        slot: Option<&Arc<Slot>>,
        jobs: &[J],
    ) -> Vec<Result<J::Output, KmsError>> {
        let mut results: Vec<_> = jobs
            .iter()
            .map(|job| match job.check() {
                Ok(()) => self.here(place, slot, job),
                Err(reason) => Some(Err(KmsError::operation(place, reason))),
            })
            .collect();
        let open: Vec<&J> = (jobs.iter().zip(&results))
            .filter_map(|(job, result)| result.is_none().then_some(job))
            .collect();
        let mut answers = self.ask(place, &open).into_iter();
        results
            .iter_mut()
            .map(|result| {
                result
                    .take()
                    .or_else(|| answers.next())
                    .unwrap_or_else(|| Err(KmsError::answer(place, "no result")))
            })
            .collect()
    }

    /// Does a job here, if the key is or can be handed out; nothing if the service is to be asked.
    #[inline]
    fn here<J: Job>(
        &self,
        place: &Place,
        slot: Option<&Arc<Slot>>,
        job: &J,
    ) -> Option<Result<J::Output, KmsError>> {
        // Another key takes part, which the service has to look at anyway.
        let slot = slot.filter(|_| job.to().is_none())?;
        let mut at_hand = try_here(&self.cache, slot, job);
        if self.cache.wants_fetch(slot, &at_hand) {
            self.cache.fetch(slot);
            at_hand = try_here(&self.cache, slot, job);
        }
        settle(place, at_hand)
    }

    /// Has the service do jobs, in as few requests as possible.
    fn ask<J: Job>(&self, place: &Place, jobs: &[&J]) -> Vec<Result<J::Output, KmsError>> {
        let name = place.key().unwrap_or_default();
        if !names_a_key(name) {
            return jobs
                .iter()
                .map(|_| Err(KmsError::Name(name.to_owned())))
                .collect();
        }
        let path = remote::job_path::<J>(&self.cache.tenant, name);
        remote::requests(jobs)
            .flat_map(|request| {
                let answer = remote::body(place, request)
                    .and_then(|body| self.cache.transport.ask(place, &path, &body));
                remote::results::<J>(place, request.len(), answer)
            })
            .collect()
    }
}

/// What came of a job with a key in hand, and whether the service may know better.
type Tried<J> = (Result<<J as Job>::Output, OperationError>, bool);

#[inline]
fn try_here<J: Job>(cache: &Cache, slot: &Slot, job: &J) -> AtHand<Tried<J>> {
    cache.at_hand(slot, J::OPERATIONS, |key| match job.work(key) {
        Ok(output) => (Ok(output), false),
        Err(reason) => {
            let better = matches!(
                reason,
                OperationError::WrongState { .. }
                    | OperationError::NoPrimary
                    | OperationError::Unavailable
            );
            (Err(reason), better || job.may_lack_version(key))
        }
    })
}

/// The result, if it stands.
#[inline]
fn settle<T>(
    place: &Place,
    at_hand: AtHand<(Result<T, OperationError>, bool)>,
) -> Option<Result<T, KmsError>> {
    match at_hand {
        AtHand::Done((Ok(output), _)) => Some(Ok(output)),
        AtHand::Done((Err(reason), false)) => Some(Err(KmsError::operation(place, reason))),
        AtHand::Done((Err(_), true)) | AtHand::Missing | AtHand::UsedUp | AtHand::InService => None,
    }
}

fn random_request(place: &Place, bytes: usize) -> Result<(String, wire::RandomRequest), KmsError> {
    if !(1..=MAX_RANDOM_BYTES).contains(&bytes) {
        let reason = OperationError::TooLong {
            what: "random number",
            bytes,
            limit: MAX_RANDOM_BYTES,
        };
        return Err(KmsError::operation(place, reason));
    }
    let path = path::RANDOM.replace("{tenant}", place.tenant());
    Ok((path, wire::RandomRequest { bytes }))
}

fn random_answer(
    place: &Place,
    bytes: usize,
    mut response: wire::RandomResponse,
) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    if response.random.0.len() != bytes {
        return Err(KmsError::answer(place, "another number of random bytes"));
    }
    Ok(Zeroizing::new(std::mem::take(&mut response.random.0)))
}

impl fmt::Debug for Kms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kms")
            .field("transport", &self.cache.transport)
            .field("cache", &self.cache)
            .finish()
    }
}

impl fmt::Debug for KmsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsBuilder")
            .field("url", &self.url)
            .field("server", &self.server)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}
