//! How the trust bundle is kept fresh, and what other processes store is taken over.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use ::identity::{IdentityDocument, TrustBundle, tls::TlsIdentity};

use super::{
    IdentityError,
    authority::{self, Watched},
    directory::Directory,
    freshness::Confirmed,
    shared::{Changed, Shared, replace_bundle},
};
use crate::{
    error::Chain,
    http::{HttpClient, HttpError},
};

impl Shared {
    /// Refreshes the bundle and notes how it went. The authority may hold the question for `wait` as long as nothing
    /// has changed.
    pub(super) fn refresh(&self, wait: Duration) -> Result<Changed, IdentityError> {
        // The authority may take its time to answer: nothing is held meanwhile.
        let asked = self.ask(wait);
        let _work = self.work();
        let directory = self.origin.directory.as_ref();
        let stored = directory.map_or(Ok(Changed::default()), |own| self.adopt_newer(own));
        // The bundle in memory is enough to ask with: a damaged file must not keep a site enabled.
        let refreshed = match asked {
            Ok(None) => {
                self.note_directory(stored.as_ref().err());
                stored
            }
            Ok(Some(asked)) => {
                // In force already: a directory that cannot be written must not keep a site enabled either. Also when
                // nothing is new: the last attempt to store it may have failed.
                let in_force = self.state().tls.as_ref().map(|tls| tls.bundle());
                let store =
                    |(own, bundle): (&Directory, Arc<TrustBundle>)| own.store_bundle(&bundle);
                let saved = directory.zip(in_force).map_or(Ok(()), store);
                self.note_directory(stored.as_ref().err().or(saved.as_ref().err()));
                Ok(Changed {
                    bundle: asked.bundle.is_some(),
                    waited: asked.waited,
                    turned_away: asked.turned_away,
                    ..stored.unwrap_or_default()
                })
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
    fn ask(&self, wait: Duration) -> Result<Option<Watched>, IdentityError> {
        let (tls, authority) = {
            let state = self.state();
            (state.tls.clone(), state.authority.clone())
        };
        let (Some(tls), Some((contact, client))) = (tls, authority) else {
            return Ok(None);
        };
        let asked = Confirmed::now(&self.clocks);
        let known = tls.bundle();
        // Whoever shows a document that is refused is not answered. Where only the authority knows that it is, the bundle
        // that says so never arrived here.
        let watched = self.current().map(|_| {
            let validator = self.state().validators.of_bundle(&known);
            authority::watch(&client, &known, validator.as_deref(), wait)
        });
        let answer = match watched {
            Err(_) | Ok(Err(IdentityError::Authority(HttpError::IdentityRefused { .. }))) => {
                let bundle = authority::refresh_anonymously(&contact, &known, &self.clocks)?;
                Watched {
                    bundle: (bundle != *known).then_some(bundle),
                    validator: None,
                    federation: self.state().validators.federation.clone(),
                    waited: false,
                    turned_away: false,
                }
            }
            Ok(watched) => watched?,
        };
        if let Some(bundle) = &answer.bundle {
            match replace_bundle(&tls, bundle.clone()) {
                // Somebody was faster with a later one.
                Err(_) if tls.bundle().sequence() > bundle.sequence() => {}
                // Of the same number with another content is refused.
                other => other?,
            }
            let validator = answer.validator.clone();
            self.state().validators.bundle = validator.map(|etag| (etag, bundle.sequence()));
            if bundle.sequence() > known.sequence() {
                self.nudge();
            }
        }
        // What did not change was asked about the bundle that was known then, or an older one.
        self.state().confirmed = Some(asked);
        // Whatever another trust domain publishes, the own bundle is fresh.
        let followed = self.follow_federation(&tls, &client, answer.federation.as_deref());
        let failed_before = {
            let mut state = self.state();
            std::mem::replace(&mut state.validators.federation_fails, followed.is_err())
        };
        if let Err(error) = followed
            && !failed_before
        {
            let error = Chain(&error);
            warn!(%error, "the bundles of federated trust domains can't be fetched; trying again");
        }
        Ok(Some(answer))
    }

    /// Gets the bundles of federated trust domains if the authority has others than those at hand.
    fn follow_federation(
        &self,
        tls: &TlsIdentity,
        client: &HttpClient,
        validator: Option<&str>,
    ) -> Result<(), IdentityError> {
        if self.state().validators.federation.as_deref() == validator {
            return Ok(());
        }
        let bundles = match validator {
            Some(_) => authority::federated(client)?,
            None => Vec::new(),
        };
        tls.replace_federated(bundles)
            .map_err(|error| IdentityError::Answer {
                why: error.to_string(),
            })?;
        self.state().validators.federation = validator.map(str::to_owned);
        Ok(())
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

    /// Takes over what another process stored: a later document, a later bundle.
    pub(super) fn adopt_newer(&self, directory: &Directory) -> Result<Changed, IdentityError> {
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
            // Whoever stored it looks after the evidence, too.
            self.note_evidence(true);
        }
        Ok(Changed {
            document,
            ..Changed::default()
        })
    }
}

/// Puts a bundle of the directory into force if it is later.
fn adopt_bundle(tls: &TlsIdentity, bundle: TrustBundle) -> Result<(), IdentityError> {
    let known = tls.bundle();
    if bundle.sequence() > known.sequence() && bundle.trust_domain() == known.trust_domain() {
        replace_bundle(tls, bundle)?;
    }
    Ok(())
}
