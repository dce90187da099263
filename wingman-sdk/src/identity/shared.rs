//! What the handles of an identity and its background thread share.
//!
//! One lock, `work`, is held while joining, renewing or refreshing, so that one process does one of these at a
//! time; another, `state`, for moments only, so that nobody who asks how things are waits for the network.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use ::identity::{
    DocumentKey, IdentityDocument, TrustBundle,
    join::JoinToken,
    tls::{TlsError, TlsIdentity},
};

use tracing::{info, warn};

use super::{
    AuthorityContact, Freshness, IdentityError, RenewalState, authority,
    directory::{Directory, DirectoryLock},
    freshness::Confirmed,
    time,
};
use crate::{error::Chain, files, http::HttpClient, limits};

/// A document with what is needed to use and to renew it.
#[derive(Debug)]
pub(super) struct Obtained {
    pub(super) document: IdentityDocument,
    pub(super) bundle: TrustBundle,
    pub(super) authority: Option<AuthorityContact>,
    /// When the authority was asked for the bundle, unless it comes from elsewhere.
    pub(super) confirmed: Option<Confirmed>,
}

#[derive(Debug)]
pub(super) struct Shared {
    origin: Origin,
    /// Held while joining, renewing or reading the directory; never together with waiting for `state`.
    work: Mutex<()>,
    state: Mutex<State>,
    pub(super) wake: Condvar,
}

/// Where the identity comes from.
#[derive(Debug)]
pub(super) enum Origin {
    Directory {
        directory: Directory,
        join_token_file: Option<PathBuf>,
    },
    Token(JoinToken),
    Held,
}

/// How things are.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tls: Option<Arc<TlsIdentity>>,
    pub(super) authority: Option<(AuthorityContact, Arc<HttpClient>)>,
    pub(super) confirmed: Option<Confirmed>,
    pub(super) bundle_error: Option<String>,
    pub(super) directory_error: Option<String>,
    pub(super) renewal: RenewalState,
    pub(super) stop: bool,
}

/// What a refresh found new.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changed {
    pub(super) document: bool,
}

impl Shared {
    pub(super) fn new(origin: Origin) -> Self {
        let state = State {
            tls: None,
            authority: None,
            confirmed: None,
            bundle_error: None,
            directory_error: None,
            renewal: RenewalState::NotStarted,
            stop: false,
        };
        Self {
            origin,
            work: Mutex::new(()),
            state: Mutex::new(state),
            wake: Condvar::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, ()> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn obtain(&self) -> Result<Arc<TlsIdentity>, IdentityError> {
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
            Some(mut obtained) => match check_or_enable(directory, &lock, &mut obtained) {
                Ok(()) => return self.adopt(obtained),
                // A new document would not help either of these.
                Err(
                    error
                    @ (IdentityError::SiteDisabled { .. } | IdentityError::NotYetValid { .. }),
                ) => {
                    return Err(error);
                }
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

    pub(super) fn renew(&self) -> Result<(), IdentityError> {
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
        // What is damaged there is replaced by what the authority answers.
        let stored = self.adopt_newer(directory);
        self.note_directory(stored.as_ref().err());
        if stored.is_ok_and(|changed| changed.document) {
            return Ok(());
        }
        let key = directory.next_key(&lock)?;
        let obtained = authority::renew(&client, &contact, &tls, &key)?;
        directory.save(&lock, &obtained)?;
        self.adopt(obtained).map(drop)
    }

    /// Refreshes the bundle and notes how it went.
    pub(super) fn refresh(&self) -> Result<Changed, IdentityError> {
        let _work = self.work();
        let directory = match &self.origin {
            Origin::Directory { directory, .. } => Some(directory),
            _ => None,
        };
        let stored = directory.map_or(Ok(Changed::default()), |own| self.adopt_newer(own));
        // The bundle in memory is enough to ask with: a damaged file must not keep a site enabled.
        let refreshed = match self.ask() {
            Ok(None) => {
                self.note_directory(stored.as_ref().err());
                stored
            }
            Ok(Some(bundle)) => {
                // In force already: a directory that cannot be written must not keep a site enabled either.
                let saved = directory.map_or(Ok(()), |own| own.store_bundle(&bundle));
                self.note_directory(stored.as_ref().err().or(saved.as_ref().err()));
                Ok(stored.unwrap_or_default())
            }
            Err(error) => {
                self.note_directory(stored.as_ref().err());
                Err(error)
            }
        };
        let error = refreshed.as_ref().err();
        self.state().bundle_error = error.map(|error| Chain(error).to_string());
        refreshed
    }

    /// Asks the authority, if one is known, for its bundle and puts it into force.
    fn ask(&self) -> Result<Option<TrustBundle>, IdentityError> {
        let (tls, client) = {
            let state = self.state();
            let client = state.authority.as_ref();
            (
                state.tls.clone(),
                client.map(|(_, client)| Arc::clone(client)),
            )
        };
        let (Some(tls), Some(client)) = (tls, client) else {
            return Ok(None);
        };
        let asked = Confirmed::now();
        let known = tls.bundle();
        let bundle = authority::refresh(&client, &known)?;
        // Of the same number with another content too, which is refused.
        replace_bundle(&tls, bundle.clone())?;
        self.state().confirmed = Some(asked);
        Ok(Some(bundle))
    }

    /// Notes how the directory is; told once, as it is looked at every few seconds.
    fn note_directory(&self, error: Option<&IdentityError>) {
        let error = error.map(|error| Chain(error).to_string());
        let mut state = self.state();
        if state.directory_error == error {
            return;
        }
        let before = std::mem::replace(&mut state.directory_error, error.clone());
        drop(state);
        match error {
            Some(error) => {
                warn!(%error, "the identity directory cannot be used; memory is used instead")
            }
            None if before.is_some() => info!("the identity directory can be used again"),
            None => {}
        }
    }

    /// Takes over what another process stored: a later document, a later bundle.
    fn adopt_newer(&self, directory: &Directory) -> Result<Changed, IdentityError> {
        let Some(tls) = self.state().tls.clone() else {
            return Ok(Changed::default());
        };
        let stored = match directory.load() {
            Ok(None) => return Ok(Changed::default()),
            Ok(Some(stored)) => stored,
            Err(error) => {
                // Its bundle may be sound, and switch somebody off.
                if let Ok(bundle) = directory.load_bundle() {
                    adopt_bundle(&tls, bundle)?;
                }
                return Err(error);
            }
        };
        adopt_bundle(&tls, stored.bundle.clone())?;
        let document = stored.document.not_after() > tls.document().not_after()
            && stored.check(time::now()).is_ok();
        if document {
            self.adopt(stored)?;
        }
        Ok(Changed { document })
    }

    pub(super) fn freshness(&self) -> Freshness {
        let confirmed = self.state().confirmed;
        Freshness {
            document_valid: self.current().is_ok(),
            bundle_age: confirmed.map(|confirmed| confirmed.age(&Confirmed::now())),
            refresh_interval: self.refresh_interval(),
        }
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
    pub(super) fn adopt(&self, obtained: Obtained) -> Result<Arc<TlsIdentity>, IdentityError> {
        let Obtained {
            document,
            bundle,
            authority,
            confirmed,
        } = obtained;
        let spiffe_id = document.spiffe_id().clone();
        let refuse = |error: TlsError| IdentityError::Unverified {
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
        if confirmed.is_some() {
            state.confirmed = confirmed;
        }
        Ok(tls)
    }
}

/// Checks an identity from the directory. If its site is disabled, asks whether it still is.
fn check_or_enable(
    directory: &Directory,
    lock: &DirectoryLock,
    obtained: &mut Obtained,
) -> Result<(), IdentityError> {
    let disabled = match obtained.check(time::now()) {
        Err(error @ IdentityError::SiteDisabled { .. }) => error,
        other => return other,
    };
    let Some(contact) = &obtained.authority else {
        return Err(disabled);
    };
    let asked = Confirmed::now();
    let Ok(bundle) = authority::refresh_anonymously(contact, &obtained.bundle) else {
        return Err(disabled);
    };
    directory.save_bundle(lock, &bundle)?;
    obtained.bundle = bundle;
    obtained.confirmed = Some(asked);
    obtained.check(time::now())
}

/// Puts a bundle of the directory into force if it is later.
fn adopt_bundle(tls: &TlsIdentity, bundle: TrustBundle) -> Result<(), IdentityError> {
    let known = tls.bundle();
    if bundle.sequence() > known.sequence() && bundle.trust_domain() == known.trust_domain() {
        replace_bundle(tls, bundle)?;
    }
    Ok(())
}

fn replace_bundle(tls: &TlsIdentity, bundle: TrustBundle) -> Result<(), IdentityError> {
    tls.replace_bundle(bundle)
        .map_err(|error| IdentityError::Answer {
            why: error.to_string(),
        })
}

/// A new key for a document.
pub(super) fn new_key() -> Result<DocumentKey, IdentityError> {
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
