//! How a document is obtained: from the directory, by evidence or a join token, by renewal.

use std::{path::Path, sync::Arc};

use ::identity::{
    DocumentKey, TrustBundle, document::DocumentError, join::JoinToken, tls::TlsIdentity,
};
use tracing::{debug, info};

use super::{
    IdentityError,
    authority::{self, Patience},
    directory::{Directory, DirectoryLock},
    freshness::Confirmed,
    shared::{Entry, Obtained, Shared, Work, new_key},
};
use crate::{error::Chain, files, limits};

impl Shared {
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
        let obtained = self.enter(token.as_ref(), known, &key, patience, problem)?;
        directory.save(lock, &obtained)?;
        self.expect_next(|| directory.next_key(lock));
        self.adopt(obtained)
    }

    fn enter_in_memory(
        &self,
        work: &mut Work,
        patience: Patience,
        problem: IdentityError,
    ) -> Result<Arc<TlsIdentity>, IdentityError> {
        let known = self.state().tls.as_ref().map(|tls| tls.bundle());
        let key = work.next_key()?;
        let obtained = self.enter(None, known.as_deref(), &key, patience, problem)?;
        work.next_key = None;
        self.expect_next(|| work.next_key());
        self.adopt(obtained)
    }

    fn enter(
        &self,
        token: Option<&JoinToken>,
        known: Option<&TrustBundle>,
        key: &DocumentKey,
        patience: Patience,
        problem: IdentityError,
    ) -> Result<Obtained, IdentityError> {
        match (&self.origin.entry, token) {
            (Entry::Attestation(attestation), _) => authority::attempts(patience, || {
                // Before the evidence is read: what changes in between is shown again.
                self.note_evidence(true);
                attestation.attest(known, key, &self.clocks)
            }),
            (Entry::Token(token), _) | (_, Some(token)) => {
                // In memory a token serves for the first document only: afterwards it is spent.
                if self.origin.directory.is_none() && self.state().tls.is_some() {
                    return Err(problem);
                }
                self.note_evidence(true);
                authority::attempts(patience, || authority::join(token, key, &self.clocks))
            }
            _ => Err(problem),
        }
    }

    /// Tells whoever makes the evidence which key comes next. Before the new document is used: whoever sees that finds
    /// the next key.
    fn expect_next(&self, key: impl FnOnce() -> Result<DocumentKey, IdentityError>) {
        let Entry::Attestation(attestation) = &self.origin.entry else {
            return;
        };
        match key() {
            Ok(key) => attestation.source().expect(&key.public_key_sha256(), false),
            Err(error) => debug!(%error, "the next key is not known yet"),
        }
    }

    /// The number of the evidence at hand; nothing where none is shown.
    fn evidence_generation(&self) -> Option<u64> {
        match &self.origin.entry {
            Entry::Attestation(attestation) => Some(attestation.source().generation()),
            Entry::TokenFile(path) => Some(files::generation(path)),
            _ => None,
        }
    }

    /// Whether the evidence at hand is another than the one that was shown, by whichever process.
    pub(super) fn has_new_evidence(&self) -> bool {
        let at_hand = self.evidence_generation();
        at_hand != self.state().evidence_shown
    }

    /// Takes the evidence at hand for shown; unless `again`, only if none was.
    pub(super) fn note_evidence(&self, again: bool) {
        let at_hand = self.evidence_generation();
        let mut state = self.state();
        if again || state.evidence_shown.is_none() {
            state.evidence_shown = at_hand;
        }
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
            // A join token that was not tried yet, for a document that nobody takes any more.
            Err(_) if self.current().is_err() && self.has_new_evidence() => {
                self.obtain(patience).map(drop)
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
            self.expect_next(|| work.next_key());
            return self.adopt(obtained).map(drop);
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
        self.expect_next(|| directory.next_key(&lock));
        self.adopt(obtained).map(drop)
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

fn read_token(path: &Path) -> Result<JoinToken, IdentityError> {
    let refuse = |why: String| IdentityError::Token {
        path: path.into(),
        why,
    };
    let bytes = files::read_secret(path, limits::MAX_TOKEN_BYTES)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refuse("it is not text".to_owned()))?;
    JoinToken::parse(text.trim_ascii()).map_err(|error| refuse(error.to_string()))
}
