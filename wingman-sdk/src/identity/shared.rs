//! What the handles of an identity and its background thread share.
//!
//! One lock, `work`, is held while joining, renewing or refreshing, so that one process does one of these at a
//! time; another, `state`, for moments only, so that nobody who asks how things are waits for the network.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use ::identity::{
    DocumentKey, IdentityDocument, Principal, TrustBundle,
    document::DocumentError,
    join::JoinToken,
    tls::{TlsError, TlsIdentity},
    verify::{Usage, verify_peer},
};
use tracing::{info, warn};

use super::{
    Attestation, AuthorityContact, Freshness, IdentityError, RenewalState,
    authority::{self, Patience},
    clock::Clocks,
    directory::{Directory, DirectoryLock},
    freshness::Confirmed,
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
    pub(super) clocks: Clocks,
    /// Held while joining, renewing or reading the directory; never together with waiting for `state`. Holds what is
    /// needed for that alone.
    work: Mutex<Work>,
    state: Mutex<State>,
    pub(super) wake: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    /// Where nothing is stored: the key of the next request, or of one whose answer never came.
    next_key: Option<DocumentKey>,
    /// What was last seen of the directory.
    stamp: Option<[u64; 2]>,
}

/// Where the identity comes from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) directory: Option<Directory>,
    pub(super) entry: Entry,
}

/// What the first document is obtained with.
#[derive(Debug)]
pub(super) enum Entry {
    /// Nothing: the document was handed over, or somebody else fills the directory.
    None,
    TokenFile(PathBuf),
    Token(JoinToken),
    Attestation(Attestation),
}

/// How things are.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tls: Option<Arc<TlsIdentity>>,
    /// The own document as peers verify it.
    own: Option<Principal>,
    pub(super) authority: Option<(AuthorityContact, Arc<HttpClient>)>,
    pub(super) confirmed: Option<Confirmed>,
    pub(super) bundle_error: Option<String>,
    pub(super) directory_error: Option<String>,
    pub(super) renewal: RenewalState,
    pub(super) stop: bool,
    /// The number of the evidence that was last shown.
    evidence_shown: Option<u64>,
    /// Something happened that the renewing thread has to look at.
    pub(super) nudged: bool,
}

/// What a refresh found new.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changed {
    pub(super) document: bool,
}

impl Shared {
    pub(super) fn new(directory: Option<Directory>, entry: Entry) -> Self {
        let state = State {
            tls: None,
            own: None,
            authority: None,
            confirmed: None,
            bundle_error: None,
            directory_error: None,
            renewal: RenewalState::NotStarted,
            stop: false,
            evidence_shown: None,
            nudged: false,
        };
        Self {
            origin: Origin { directory, entry },
            clocks: Clocks::default(),
            work: Mutex::default(),
            state: Mutex::new(state),
            wake: Condvar::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the renewing thread look at once.
    pub(super) fn nudge(&self) {
        self.state().nudged = true;
        self.wake.notify_all();
    }

    pub(super) fn obtain(&self, patience: Patience) -> Result<Arc<TlsIdentity>, IdentityError> {
        if let Ok(tls) = self.current() {
            return Ok(tls);
        }
        let mut work = self.work();
        // Another thread may have been at it.
        let problem = match self.current() {
            Ok(tls) => return Ok(tls),
            Err(problem) => problem,
        };
        match &self.origin.directory {
            Some(directory) => self.obtain_from(directory, patience),
            None if helps(&problem) => self.enter_in_memory(&mut work, patience, problem),
            None => Err(problem),
        }
    }

    fn obtain_from(
        &self,
        directory: &Directory,
        patience: Patience,
    ) -> Result<Arc<TlsIdentity>, IdentityError> {
        // A directory that others fill may be read-only, or not there yet.
        let unlocked = directory.load();
        if let Ok(Some(obtained)) = unlocked
            && self.check(&obtained).is_ok()
        {
            return self.adopt(obtained);
        }
        let lock = directory.lock()?;
        directory.settle(&lock)?;
        let (problem, known) = match directory.load()? {
            None => {
                let problem = IdentityError::Nothing {
                    directory: directory.path().into(),
                };
                (problem, None)
            }
            Some(mut obtained) => match self.check_or_enable(directory, &lock, &mut obtained) {
                Ok(()) => return self.adopt(obtained),
                Err(error) if !helps(&error) => return Err(error),
                Err(error) => (error, Some(obtained.bundle)),
            },
        };
        self.enter_with(directory, &lock, known.as_ref(), patience, problem)
    }

    /// Obtains a new document by what this identity is entered with, and stores it.
    fn enter_with(
        &self,
        directory: &Directory,
        lock: &DirectoryLock,
        known: Option<&TrustBundle>,
        patience: Patience,
        problem: IdentityError,
    ) -> Result<Arc<TlsIdentity>, IdentityError> {
        if matches!(self.origin.entry, Entry::None) {
            return Err(problem);
        }
        let token = match &self.origin.entry {
            Entry::TokenFile(path) => Some(read_token(path)?),
            _ => None,
        };
        let key = directory.next_key(lock)?;
        self.expect(&key, true);
        let obtained = self.enter(token.as_ref(), known, &key, patience, problem)?;
        directory.save(lock, &obtained)?;
        let tls = self.adopt(obtained)?;
        if let Entry::Attestation(_) = self.origin.entry {
            self.expect(&directory.next_key(lock)?, false);
        }
        Ok(tls)
    }

    fn enter_in_memory(
        &self,
        work: &mut Work,
        patience: Patience,
        problem: IdentityError,
    ) -> Result<Arc<TlsIdentity>, IdentityError> {
        let known = self.state().tls.as_ref().map(|tls| tls.bundle());
        let key = work.next_key()?;
        self.expect(&key, true);
        let obtained = self.enter(None, known.as_deref(), &key, patience, problem)?;
        work.next_key = None;
        let tls = self.adopt(obtained)?;
        if let Entry::Attestation(_) = self.origin.entry {
            self.expect(&work.next_key()?, false);
        }
        Ok(tls)
    }

    fn enter(
        &self,
        token: Option<&JoinToken>,
        known: Option<&TrustBundle>,
        key: &DocumentKey,
        patience: Patience,
        problem: IdentityError,
    ) -> Result<Obtained, IdentityError> {
        // Read before the evidence: what changes in between is shown again.
        let generation = self.evidence_generation();
        self.state().evidence_shown = generation;
        match (&self.origin.entry, token) {
            (Entry::Attestation(attestation), _) => {
                authority::attempts(patience, || attestation.attest(known, key, &self.clocks))
            }
            (Entry::Token(token), _) | (_, Some(token)) => {
                // In memory a token serves for the first document only: afterwards it is spent.
                if self.origin.directory.is_none() && self.state().tls.is_some() {
                    return Err(problem);
                }
                authority::attempts(patience, || authority::join(token, key, &self.clocks))
            }
            _ => Err(problem),
        }
    }

    /// Tells whoever makes the evidence which key comes next.
    fn expect(&self, key: &DocumentKey, wanted: bool) {
        if let Entry::Attestation(attestation) = &self.origin.entry {
            attestation
                .source()
                .expect(&key.public_key_sha256(), wanted);
        }
    }

    /// The number of the evidence at hand; nothing where none is shown.
    pub(super) fn evidence_generation(&self) -> Option<u64> {
        match &self.origin.entry {
            Entry::Attestation(attestation) => Some(attestation.source().generation()),
            Entry::TokenFile(path) => Some(files::generation(path)),
            _ => None,
        }
    }

    /// The number of the evidence that was last shown; of the one at hand if none was.
    pub(super) fn evidence_shown(&self) -> Option<u64> {
        let shown = self.state().evidence_shown;
        shown.or_else(|| self.evidence_generation())
    }

    /// Whether evidence can be shown as often as need be.
    pub(super) fn can_attest(&self) -> bool {
        matches!(self.origin.entry, Entry::Attestation(_))
    }

    pub(super) fn renew(&self, patience: Patience) -> Result<(), IdentityError> {
        match self.current() {
            Ok(_) => {}
            // Only the authority can say whether a document that is refused here may still be renewed.
            Err(IdentityError::Unverified { .. }) if !self.can_attest() => {}
            // Too late to renew: what the directory or the evidence yields is new enough.
            Err(_) => return self.obtain(patience).map(drop),
        }
        match self.try_renew() {
            Err(error @ (IdentityError::RenewalRefused { .. } | IdentityError::NotRenewable))
                if self.can_attest() =>
            {
                info!(error = %Chain(&error), "the identity cannot be renewed, attesting instead");
                self.attest(patience)
            }
            other => other,
        }
    }

    fn try_renew(&self) -> Result<(), IdentityError> {
        let mut work = self.work();
        let (tls, client) = {
            let state = self.state();
            (state.tls.clone(), state.authority.clone())
        };
        let (Some(tls), Some((contact, client))) = (tls, client) else {
            return Err(IdentityError::NotRenewable);
        };
        let Some(directory) = &self.origin.directory else {
            let key = work.next_key()?;
            let obtained = authority::renew(&client, &contact, &tls, &key, &self.clocks)?;
            work.next_key = None;
            self.adopt(obtained)?;
            if self.can_attest() {
                self.expect(&work.next_key()?, false);
            }
            return Ok(());
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
        let obtained = authority::renew(&client, &contact, &tls, &key, &self.clocks)?;
        directory.save(&lock, &obtained)?;
        self.adopt(obtained)?;
        if self.can_attest() {
            self.expect(&directory.next_key(&lock)?, false);
        }
        Ok(())
    }

    /// Obtains a new document by evidence, whatever the one at hand.
    pub(super) fn attest(&self, patience: Patience) -> Result<(), IdentityError> {
        let mut work = self.work();
        let Some(directory) = &self.origin.directory else {
            return self
                .enter_in_memory(&mut work, patience, IdentityError::NotRenewable)
                .map(drop);
        };
        let lock = directory.lock()?;
        directory.settle(&lock)?;
        // Another process may have shown the same evidence already.
        let stored = self.adopt_newer(directory);
        self.note_directory(stored.as_ref().err());
        if stored.is_ok_and(|changed| changed.document) {
            return Ok(());
        }
        let known = self.state().tls.as_ref().map(|tls| tls.bundle());
        self.enter_with(
            directory,
            &lock,
            known.as_deref(),
            patience,
            IdentityError::NotRenewable,
        )
        .map(drop)
    }

    /// Refreshes the bundle and notes how it went.
    pub(super) fn refresh(&self) -> Result<Changed, IdentityError> {
        // The authority may take its time to answer: nothing is held meanwhile.
        let asked = self.ask();
        let _work = self.work();
        let directory = self.origin.directory.as_ref();
        let stored = directory.map_or(Ok(Changed::default()), |own| self.adopt_newer(own));
        // The bundle in memory is enough to ask with: a damaged file must not keep a site enabled.
        let refreshed = match asked {
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
        let (tls, authority) = {
            let state = self.state();
            (state.tls.clone(), state.authority.clone())
        };
        let (Some(tls), Some((contact, client))) = (tls, authority) else {
            return Ok(None);
        };
        let asked = Confirmed::now(&self.clocks);
        let known = tls.bundle();
        // Whoever shows a document that is refused is not answered.
        let bundle = match self.current() {
            Ok(_) => authority::refresh(&client, &known)?,
            Err(_) => authority::refresh_anonymously(&contact, &known, &self.clocks)?,
        };
        match replace_bundle(&tls, bundle.clone()) {
            // Somebody was faster with a later one.
            Err(_) if tls.bundle().sequence() > bundle.sequence() => {}
            // Of the same number with another content is refused.
            other => other?,
        }
        self.state().confirmed = Some(asked);
        if bundle.sequence() > known.sequence() {
            self.nudge();
        }
        Ok(Some(bundle))
    }

    /// Looks whether another process stored something; cheap if not.
    pub(super) fn look_at_directory(&self) -> Changed {
        let Some(directory) = &self.origin.directory else {
            return Changed::default();
        };
        let stamp = Some(directory.stamp());
        let mut work = self.work();
        if work.stamp == stamp {
            return Changed::default();
        }
        let stored = self.adopt_newer(directory);
        self.note_directory(stored.as_ref().err());
        work.stamp = stamp;
        stored.unwrap_or_default()
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
        let age = |document: &IdentityDocument| (document.not_before(), document.not_after());
        let document = age(&stored.document) > age(&tls.document()) && self.check(&stored).is_ok();
        if document {
            self.adopt(stored)?;
        }
        Ok(Changed { document })
    }

    pub(super) fn freshness(&self) -> Freshness {
        let confirmed = self.state().confirmed;
        Freshness {
            document_valid: self.current().is_ok(),
            bundle_age: confirmed.map(|confirmed| confirmed.age(&self.clocks.moment())),
            refresh_interval: self.refresh_interval(),
        }
    }

    fn check(&self, obtained: &Obtained) -> Result<(), IdentityError> {
        obtained.check(self.clocks.now())
    }

    /// The identity at hand, or why it cannot be used now.
    pub(super) fn current(&self) -> Result<Arc<TlsIdentity>, IdentityError> {
        let (tls, own) = {
            let state = self.state();
            (state.tls.clone(), state.own.clone())
        };
        let (Some(tls), Some(own)) = (tls, own) else {
            return Err(IdentityError::NotRenewable);
        };
        let (bundle, now) = (tls.bundle(), self.clocks.now());
        // No signature unless something is wrong; another path may carry it by then.
        if own.recheck(&bundle, now).is_err() {
            authority::check(&tls.document(), &bundle, now)?;
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
        let own = own_principal(&document, &bundle, self.clocks.now());
        let held = self.state().tls.clone();
        let tls = match held {
            None => {
                TlsIdentity::with_clock(document, bundle, self.clocks.for_tls()).map_err(refuse)?
            }
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
            let client = authority::hearing(client, &self.clocks);
            state.authority = Some((contact, Arc::new(client)));
        }
        state.tls = Some(Arc::clone(&tls));
        state.own = own;
        if confirmed.is_some() {
            state.confirmed = confirmed;
        }
        Ok(tls)
    }

    /// Checks an identity from the directory. If its site is disabled, asks whether it still is.
    fn check_or_enable(
        &self,
        directory: &Directory,
        lock: &DirectoryLock,
        obtained: &mut Obtained,
    ) -> Result<(), IdentityError> {
        let disabled = match self.check(obtained) {
            Err(error @ IdentityError::SiteDisabled { .. }) => error,
            other => return other,
        };
        let Some(contact) = &obtained.authority else {
            return Err(disabled);
        };
        let asked = Confirmed::now(&self.clocks);
        let Ok(bundle) = authority::refresh_anonymously(contact, &obtained.bundle, &self.clocks)
        else {
            return Err(disabled);
        };
        directory.save_bundle(lock, &bundle)?;
        obtained.bundle = bundle;
        obtained.confirmed = Some(asked);
        self.check(obtained)
    }
}

impl Work {
    /// A copy of the key for the next request.
    fn next_key(&mut self) -> Result<DocumentKey, IdentityError> {
        let refuse = |error: DocumentError| IdentityError::Key {
            why: error.to_string(),
        };
        let key = match self.next_key.take() {
            Some(key) => key,
            None => new_key()?,
        };
        let pem = key.expose_pem().map_err(refuse)?;
        self.next_key = Some(key);
        DocumentKey::from_pem(&pem).map_err(refuse)
    }
}

/// Whether a new document would help.
fn helps(problem: &IdentityError) -> bool {
    !matches!(
        problem,
        IdentityError::SiteDisabled { .. } | IdentityError::NotYetValid { .. }
    )
}

/// The own document as peers verify it, whichever role it is for.
fn own_principal(document: &IdentityDocument, bundle: &TrustBundle, now: u64) -> Option<Principal> {
    let verify = |usage| verify_peer(document.chain(), bundle, usage, now).ok();
    verify(Usage::Client).or_else(|| verify(Usage::Server))
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
