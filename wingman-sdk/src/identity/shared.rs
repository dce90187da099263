//! What the handles of an identity and its background thread share.
//!
//! One lock, `work`, is held while joining, renewing or refreshing, so that one process does one of these at a
//! time; another, `state`, for moments only, so that nobody who asks how things are waits for the network.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use ::identity::{
    DocumentKey, IdentityDocument, Principal, TrustBundle,
    join::JoinToken,
    tls::{TlsError, TlsIdentity},
    verify::{Usage, verify_peer},
};
use tracing::{info, warn};

use super::{
    Attestation, AuthorityContact, Freshness, IdentityError, RenewalState, authority,
    clock::Clocks, directory::Directory, freshness::Confirmed,
};
use crate::{error::Chain, http::HttpClient};

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
    pub(super) origin: Origin,
    pub(super) clocks: Clocks,
    /// Held while joining, renewing or reading the directory; never together with waiting for `state`. Holds what is
    /// needed for that alone.
    work: Mutex<Work>,
    state: Mutex<State>,
    pub(super) wake: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Work {
    /// Where nothing is stored: the key of the next request, or of one whose answer never came.
    pub(super) next_key: Option<DocumentKey>,
    /// What was last seen of the directory.
    pub(super) stamp: Option<[u64; 2]>,
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
    pub(super) validators: Validators,
    pub(super) bundle_error: Option<String>,
    pub(super) directory_error: Option<String>,
    pub(super) renewal: RenewalState,
    pub(super) stop: bool,
    /// The number of the evidence that was last shown.
    pub(super) evidence_shown: Option<u64>,
    /// Something happened that the renewing thread has to look at.
    pub(super) nudged: bool,
}

/// What the authority's answers are known by.
#[derive(Debug, Default)]
pub(super) struct Validators {
    /// Of the bundle with this sequence number.
    pub(super) bundle: Option<(String, u64)>,
    /// Of the bundles of federated trust domains.
    pub(super) federation: Option<String>,
    /// The last attempt to fetch them failed.
    pub(super) federation_fails: bool,
}

impl Validators {
    /// The validator of `bundle`, if it came with one.
    pub(super) fn of_bundle(&self, bundle: &TrustBundle) -> Option<String> {
        self.bundle
            .as_ref()
            .filter(|(_, sequence)| *sequence == bundle.sequence())
            .map(|(validator, _)| validator.clone())
    }
}

/// What a refresh found new.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changed {
    pub(super) document: bool,
    /// The authority sent a bundle.
    pub(super) bundle: bool,
    /// The authority held the question until there was something to say.
    pub(super) waited: bool,
    /// The authority could have held the question, and did not: it has no room for those who wait.
    pub(super) turned_away: bool,
}

impl Shared {
    pub(super) fn new(directory: Option<Directory>, entry: Entry) -> Self {
        let state = State {
            tls: None,
            own: None,
            authority: None,
            confirmed: None,
            validators: Validators::default(),
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

    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the renewing thread look at once.
    pub(super) fn nudge(&self) {
        self.state().nudged = true;
        self.wake.notify_all();
    }

    /// Notes how the directory is; told once, as it is looked at every few seconds.
    pub(super) fn note_directory(&self, error: Option<&IdentityError>) {
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

    pub(super) fn freshness(&self) -> Freshness {
        let confirmed = self.state().confirmed;
        Freshness {
            document_valid: self.current().is_ok(),
            bundle_age: confirmed.map(|confirmed| confirmed.age(&self.clocks.moment())),
            refresh_interval: self.refresh_interval(),
        }
    }

    pub(super) fn check(&self, obtained: &Obtained) -> Result<(), IdentityError> {
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
}

/// The own document as peers verify it, whichever role it is for.
fn own_principal(document: &IdentityDocument, bundle: &TrustBundle, now: u64) -> Option<Principal> {
    let verify = |usage| verify_peer(document.chain(), bundle, usage, now).ok();
    verify(Usage::Client).or_else(|| verify(Usage::Server))
}

pub(super) fn replace_bundle(tls: &TlsIdentity, bundle: TrustBundle) -> Result<(), IdentityError> {
    tls.replace_bundle(bundle)
        .map_err(|error| IdentityError::Answer {
            why: error.to_string(),
        })
}

/// A new key for a document.
pub(super) fn new_key() -> Result<DocumentKey, IdentityError> {
    Ok(DocumentKey::generate(&mut crate::random::system()))
}
