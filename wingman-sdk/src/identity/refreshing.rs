//! How the trust bundle is kept fresh, and what other processes store is taken over.

use ::identity::{IdentityDocument, TrustBundle, tls::TlsIdentity};

use super::{
    IdentityError, authority,
    directory::Directory,
    freshness::Confirmed,
    shared::{Changed, Shared, replace_bundle},
};
use crate::error::Chain;

impl Shared {
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
        }
        Ok(Changed { document })
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
