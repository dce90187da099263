//! The workload's own identity: obtained, stored, renewed.
//!
//! An [`IdentitySource`] yields one [`TlsIdentity`], which rustls configurations follow: a renewed document or a refreshed
//! bundle takes effect at the next connection, without a restart. It comes from
//!
//! - a directory, which a join token fills the first time ([`IdentitySource::from_config`]),
//! - a join token alone, for processes that keep nothing ([`IdentitySource::from_join_token`]),
//! - a document already held ([`IdentitySource::held`]).
//!
//! Nothing is read, started or sent until asked: [`IdentitySource::obtain`] makes the identity available,
//! [`IdentitySource::start_renewal`] keeps it fresh in a background thread, which ends when the last clone of
//! the source is dropped.
//!
//! ```no_run
//! use wingman_sdk::identity::{IdentityConfig, IdentitySource};
//!
//! # fn main() -> Result<(), wingman_sdk::identity::IdentityError> {
//! let config = IdentityConfig::new("/var/lib/unsealer/identity").join_token_file("/run/secrets/join-token");
//! let source = IdentitySource::from_config(&config);
//! let tls_identity = source.obtain()?; // reads the directory, or joins
//! source.start_renewal()?;             // renews at half-life, refreshes the bundle
//! assert!(source.status().spiffe_id.is_some());
//! # let _ = tls_identity;
//! # Ok(())
//! # }
//! ```
//!
//! # First contact
//!
//! A join token carries the authority's URL and the SHA-256 of its trust bundle. The bundle is fetched first and must
//! match; the token's secret is sent only to a server that proved the authority's SPIFFE ID under that bundle. The
//! key of the request is on disk before the request leaves, so a lost answer is not a lost token.
//!
//! # Not promised
//!
//! An authority that cannot be reached keeps the bundle from being refreshed, and the last one stays in force:
//! [`IdentityStatus::bundle_refreshed`] tells since when.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use ::identity::{
    DocumentKey, IdentityDocument, SpiffeId, TrustBundle, join::JoinToken, tls::TlsIdentity,
};
use serde::Deserialize;

pub use self::{directory::AuthorityContact, error::IdentityError};
use self::{directory::Directory, renewal::StopOnDrop};
use crate::{error::Chain, files, http::HttpClient, limits};

mod authority;
mod directory;
mod error;
mod renewal;
pub(crate) mod time;

/// Where an identity is kept and what it is first obtained with; the `[identity]` section of a configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// The identity directory; made with mode 0700 when needed.
    pub directory: PathBuf,
    /// A file of mode 0600 with a join token, read when the directory holds no valid document.
    #[serde(default)]
    pub join_token_file: Option<PathBuf>,
}

impl IdentityConfig {
    /// An identity directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            join_token_file: None,
        }
    }

    /// Names the file of a join token.
    #[must_use]
    pub fn join_token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.join_token_file = Some(file.into());
        self
    }

    /// The same with relative paths taken from `base`.
    #[must_use]
    pub fn relative_to(&self, base: &Path) -> Self {
        Self {
            directory: base.join(&self.directory),
            join_token_file: self.join_token_file.as_ref().map(|file| base.join(file)),
        }
    }
}

/// The workload's identity and what keeps it fresh. Clones share it.
#[derive(Clone, Debug)]
pub struct IdentitySource {
    shared: Arc<Shared>,
    // Dropped with the last clone; the thread has none.
    _stop: Arc<StopOnDrop>,
}

/// How the identity is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IdentityStatus {
    /// Who this workload is; nothing before [`IdentitySource::obtain`].
    pub spiffe_id: Option<SpiffeId>,
    /// When the document expires.
    pub not_after: Option<SystemTime>,
    /// The sequence number of the trust bundle in force.
    pub bundle_sequence: Option<u64>,
    /// When the bundle was last confirmed by the identity authority, or read from the directory.
    pub bundle_refreshed: Option<SystemTime>,
    /// Why the last refresh of the bundle failed, if it did.
    pub bundle_error: Option<String>,
    /// What the background thread is doing.
    pub renewal: RenewalState,
}

/// What the background thread is doing.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RenewalState {
    /// [`IdentitySource::start_renewal`] was not called.
    NotStarted,
    /// The document is fresh.
    Waiting {
        /// When it will be renewed.
        until: Option<SystemTime>,
    },
    /// Renewing failed and is tried again.
    Retrying {
        /// How often in a row.
        failures: u32,
        /// Why, the last time.
        last_error: String,
        /// When it is tried again.
        next: Option<SystemTime>,
    },
    /// The thread has ended.
    Stopped,
}

/// A document with what is needed to use and to renew it.
#[derive(Debug)]
struct Obtained {
    document: IdentityDocument,
    bundle: TrustBundle,
    authority: Option<AuthorityContact>,
}

#[derive(Debug)]
struct Shared {
    origin: Origin,
    /// Held while joining, renewing or reading the directory; never together with waiting for `state`.
    work: Mutex<()>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
enum Origin {
    Directory {
        directory: Directory,
        join_token_file: Option<PathBuf>,
    },
    Token(JoinToken),
    Held,
}

#[derive(Debug)]
struct State {
    tls: Option<Arc<TlsIdentity>>,
    authority: Option<(AuthorityContact, Arc<HttpClient>)>,
    bundle_refreshed: Option<SystemTime>,
    bundle_error: Option<String>,
    renewal: RenewalState,
    stop: bool,
}

/// What a refresh found new.
#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    document: bool,
}

impl IdentitySource {
    /// An identity kept in a directory. Reads nothing yet.
    pub fn from_config(config: &IdentityConfig) -> Self {
        Self::new(Origin::Directory {
            directory: Directory::new(config.directory.clone()),
            join_token_file: config.join_token_file.clone(),
        })
    }

    /// An identity that lives in this process only. Sends nothing yet.
    ///
    /// After a restart the token is spent: use a directory for anything that restarts.
    pub fn from_join_token(token: JoinToken) -> Self {
        Self::new(Origin::Token(token))
    }

    /// A document already held; renewed only if its authority is given.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Unverified`], [`IdentityError::Expired`], [`IdentityError::NotYetValid`],
    /// [`IdentityError::SiteDisabled`]: the document cannot be used under the bundle.
    pub fn held(
        document: IdentityDocument,
        bundle: TrustBundle,
        authority: Option<AuthorityContact>,
    ) -> Result<Self, IdentityError> {
        let source = Self::new(Origin::Held);
        let obtained = Obtained {
            document,
            bundle,
            authority,
        };
        obtained.check(time::now())?;
        source.shared.adopt(obtained)?;
        Ok(source)
    }

    fn new(origin: Origin) -> Self {
        let state = State {
            tls: None,
            authority: None,
            bundle_refreshed: None,
            bundle_error: None,
            renewal: RenewalState::NotStarted,
            stop: false,
        };
        let shared = Shared {
            origin,
            work: Mutex::new(()),
            state: Mutex::new(state),
            wake: Condvar::new(),
        };
        let shared = Arc::new(shared);
        let stop = Arc::new(StopOnDrop(Arc::downgrade(&shared)));
        Self {
            shared,
            _stop: stop,
        }
    }

    /// Makes the identity available: the one at hand if it is valid, else that of the directory, else a new one by
    /// the join token. Always yields the same object, so that whoever holds it sees every change.
    ///
    /// # Errors
    ///
    /// Every [`IdentityError`] but [`IdentityError::NotRenewable`], [`IdentityError::RenewalRefused`] and
    /// [`IdentityError::Thread`].
    pub fn obtain(&self) -> Result<Arc<TlsIdentity>, IdentityError> {
        self.shared.obtain()
    }

    /// Renews now, whatever the document's age.
    ///
    /// # Errors
    ///
    /// Every [`IdentityError`] but [`IdentityError::Thread`].
    pub fn renew(&self) -> Result<(), IdentityError> {
        self.obtain()?;
        self.shared.renew()
    }

    /// Refreshes the trust bundle now, and takes over what another process stored in the directory.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Authority`], [`IdentityError::Answer`], [`IdentityError::File`].
    pub fn refresh(&self) -> Result<(), IdentityError> {
        self.obtain()?;
        self.shared.refresh().map(drop)
    }

    /// Starts the thread that renews at half-life, with jitter, and refreshes the bundle at its refresh hint.
    /// Failures are retried with backoff and shown by [`IdentitySource::status`]. Starting twice is no error.
    ///
    /// # Errors
    ///
    /// Those of [`IdentitySource::obtain`], and [`IdentityError::Thread`].
    pub fn start_renewal(&self) -> Result<(), IdentityError> {
        self.obtain()?;
        let mut state = self.shared.state();
        if state.renewal != RenewalState::NotStarted {
            return Ok(());
        }
        state.renewal = RenewalState::Waiting { until: None };
        drop(state);
        renewal::spawn(Arc::clone(&self.shared))
            .inspect_err(|_| self.shared.state().renewal = RenewalState::NotStarted)
    }

    /// How the identity is doing.
    pub fn status(&self) -> IdentityStatus {
        let state = self.shared.state();
        let document = state.tls.as_ref().map(|tls| tls.document());
        IdentityStatus {
            spiffe_id: document
                .as_ref()
                .map(|document| document.spiffe_id().clone()),
            not_after: document
                .as_ref()
                .map(|document| time::point(document.not_after())),
            bundle_sequence: state.tls.as_ref().map(|tls| tls.bundle().sequence()),
            bundle_refreshed: state.bundle_refreshed,
            bundle_error: state.bundle_error.clone(),
            renewal: state.renewal.clone(),
        }
    }

    /// Who renews this identity, if that is known yet.
    pub fn authority(&self) -> Option<AuthorityContact> {
        self.shared
            .state()
            .authority
            .as_ref()
            .map(|(contact, _)| contact.clone())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, ()> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obtain(&self) -> Result<Arc<TlsIdentity>, IdentityError> {
        if let Some(tls) = self.usable() {
            return Ok(tls);
        }
        let _work = self.work();
        // Another thread may have been at it.
        if let Some(tls) = self.usable() {
            return Ok(tls);
        }
        match &self.origin {
            Origin::Held => self.current(),
            Origin::Token(token) => match self.current() {
                Ok(tls) => Ok(tls),
                Err(IdentityError::NotRenewable) => {
                    self.adopt(authority::join(token, &new_key()?)?)
                }
                Err(error) => Err(error),
            },
            Origin::Directory {
                directory,
                join_token_file,
            } => self.obtain_from(directory, join_token_file.as_deref()),
        }
    }

    fn obtain_from(
        &self,
        directory: &Directory,
        token: Option<&Path>,
    ) -> Result<Arc<TlsIdentity>, IdentityError> {
        // A directory that others fill may be read-only, or not there yet.
        let unlocked = directory.load();
        if let Ok(Some(obtained)) = unlocked
            && obtained.check(time::now()).is_ok()
        {
            return self.adopt(obtained);
        }
        let lock = directory.lock()?;
        directory.settle(&lock)?;
        let problem = match directory.load()? {
            None => IdentityError::Nothing {
                directory: directory.path().into(),
            },
            Some(obtained) => match obtained.check(time::now()) {
                Ok(()) => return self.adopt(obtained),
                // A new document would not help either of these.
                Err(
                    error
                    @ (IdentityError::SiteDisabled { .. } | IdentityError::NotYetValid { .. }),
                ) => return Err(error),
                Err(error) => error,
            },
        };
        let Some(path) = token else {
            return Err(problem);
        };
        let token = read_token(path)?;
        let key = directory.next_key(&lock)?;
        let obtained = authority::join(&token, &key)?;
        directory.save(&lock, &obtained)?;
        self.adopt(obtained)
    }

    fn renew(&self) -> Result<(), IdentityError> {
        if self.usable().is_none() {
            // Too late to renew: what the directory or a join token yields is new enough.
            return self.obtain().map(drop);
        }
        let _work = self.work();
        let tls = self.current()?;
        let (contact, client) = self
            .state()
            .authority
            .clone()
            .ok_or(IdentityError::NotRenewable)?;
        let Origin::Directory { directory, .. } = &self.origin else {
            return self
                .adopt(authority::renew(&client, &contact, &tls, &new_key()?)?)
                .map(drop);
        };
        let lock = directory.lock()?;
        directory.settle(&lock)?;
        if self.adopt_newer(directory)?.document {
            return Ok(());
        }
        let key = directory.next_key(&lock)?;
        let obtained = authority::renew(&client, &contact, &tls, &key)?;
        directory.save(&lock, &obtained)?;
        self.adopt(obtained).map(drop)
    }

    /// Refreshes the bundle and notes how it went.
    fn refresh(&self) -> Result<Changed, IdentityError> {
        let _work = self.work();
        let refreshed = self.try_refresh();
        let mut state = self.state();
        match &refreshed {
            Ok(_) => {
                state.bundle_refreshed = Some(SystemTime::now());
                state.bundle_error = None;
            }
            Err(error) => state.bundle_error = Some(Chain(error).to_string()),
        }
        refreshed
    }

    fn try_refresh(&self) -> Result<Changed, IdentityError> {
        let mut changed = Changed::default();
        let directory = match &self.origin {
            Origin::Directory { directory, .. } => Some(directory),
            _ => None,
        };
        if let Some(directory) = directory {
            changed = self.adopt_newer(directory)?;
        }
        let (tls, client) = {
            let state = self.state();
            (
                state.tls.clone(),
                state
                    .authority
                    .as_ref()
                    .map(|(_, client)| Arc::clone(client)),
            )
        };
        if let (Some(tls), Some(client)) = (tls, client) {
            let known = tls.bundle();
            let bundle = authority::refresh(&client, &known)?;
            if bundle != *known {
                // In force first: a directory that cannot be written must not keep a site enabled.
                replace_bundle(&tls, bundle.clone())?;
                if let Some(directory) = directory {
                    directory.save_bundle(&bundle)?;
                }
            }
        }
        Ok(changed)
    }

    /// Takes over what another process stored: a later document, a later bundle.
    fn adopt_newer(&self, directory: &Directory) -> Result<Changed, IdentityError> {
        let (Some(stored), Some(tls)) = (directory.load()?, self.state().tls.clone()) else {
            return Ok(Changed::default());
        };
        if stored.bundle.sequence() > tls.bundle().sequence()
            && stored.bundle.trust_domain() == tls.bundle().trust_domain()
        {
            replace_bundle(&tls, stored.bundle.clone())?;
        }
        let document = stored.document.not_after() > tls.document().not_after()
            && stored.check(time::now()).is_ok();
        if document {
            self.adopt(stored)?;
        }
        Ok(Changed { document })
    }

    /// The identity at hand, provided it is usable now.
    fn usable(&self) -> Option<Arc<TlsIdentity>> {
        self.current().ok()
    }

    /// The identity at hand, or why it cannot be used.
    fn current(&self) -> Result<Arc<TlsIdentity>, IdentityError> {
        let tls = self
            .state()
            .tls
            .clone()
            .ok_or(IdentityError::NotRenewable)?;
        let (document, bundle, now) = (tls.document(), tls.bundle(), time::now());
        let spiffe_id = || document.spiffe_id().clone();
        if !document.is_valid_at(now) {
            authority::check(&document, &bundle, now)?;
        }
        if bundle.is_disabled(document.spiffe_id()) {
            return Err(IdentityError::SiteDisabled {
                spiffe_id: spiffe_id(),
            });
        }
        Ok(tls)
    }

    /// Puts an identity into use.
    fn adopt(&self, obtained: Obtained) -> Result<Arc<TlsIdentity>, IdentityError> {
        let Obtained {
            document,
            bundle,
            authority,
        } = obtained;
        let spiffe_id = document.spiffe_id().clone();
        let refuse = |error: ::identity::tls::TlsError| IdentityError::Unverified {
            spiffe_id,
            why: error.to_string(),
        };
        let held = self.state().tls.clone();
        let tls = match held {
            None => TlsIdentity::new(document, bundle).map_err(refuse)?,
            Some(tls) => {
                if bundle.sequence() > tls.bundle().sequence() {
                    replace_bundle(&tls, bundle)?;
                }
                tls.replace_document(document).map_err(refuse)?;
                tls
            }
        };
        let mut state = self.state();
        if let Some(contact) = authority
            && state
                .authority
                .as_ref()
                .is_none_or(|(known, _)| *known != contact)
        {
            let client = HttpClient::new(Arc::clone(&tls), &contact.url, &contact.spiffe_id)
                .map_err(IdentityError::Authority)?;
            state.authority = Some((contact, Arc::new(client)));
        }
        state.tls = Some(Arc::clone(&tls));
        state.bundle_refreshed.get_or_insert_with(SystemTime::now);
        Ok(tls)
    }
}

fn replace_bundle(tls: &TlsIdentity, bundle: TrustBundle) -> Result<(), IdentityError> {
    tls.replace_bundle(bundle)
        .map_err(|error| IdentityError::Answer {
            why: error.to_string(),
        })
}

fn new_key() -> Result<DocumentKey, IdentityError> {
    Ok(DocumentKey::generate(&mut crate::random::system()))
}

fn read_token(path: &Path) -> Result<JoinToken, IdentityError> {
    let refuse = |why: String| IdentityError::Token {
        path: path.into(),
        why,
    };
    let bytes = files::read_secret(path, limits::MAX_TOKEN_BYTES)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refuse("it is not text".to_owned()))?;
    JoinToken::parse(text.trim_ascii()).map_err(|error| refuse(error.to_string()))
}
