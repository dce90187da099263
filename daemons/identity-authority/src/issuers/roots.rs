//! Roots: seen, added, removed while the authority runs.

use identity::issue::CaCertificate;
use identity::limits::MAX_TRUST_ANCHORS;
use identity::wire::IssuerState;
use service::audit::AuditContext;

use super::{Issuers, roots_of};
use crate::certificates;
use crate::error::AuthorityError;
use crate::random;
use crate::tables::{KnownCas, RootRemoval};

impl Issuers {
    /// The roots, the one that was added last first, and whether each has its key here.
    pub(crate) fn roots(&self) -> Result<Vec<(CaCertificate, bool)>, AuthorityError> {
        let snapshot = self.registry.snapshot();
        let here = snapshot.roots.iter().map(|root| root.key_wrapped.is_some());
        Ok(roots_of(&snapshot)?.into_iter().zip(here).collect())
    }

    /// Adds a root beside the others: the one of `certificate`, whose key is elsewhere, or a new one with its key here.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: no root, of another trust domain, about to end, or one too many.
    pub(crate) async fn add_root(
        &self,
        certificate: Option<&str>,
        now: u64,
    ) -> Result<[u8; 32], AuthorityError> {
        let row = match certificate {
            Some(pem) => certificates::root_elsewhere(pem, self.trust_domain(), &self.config, now)
                .map_err(|error| AuthorityError::Refused(error.to_string()))?,
            None => {
                certificates::create_root(self.trust_domain(), &self.root_key, &self.config, now)?.1
            }
        };
        let context = AuditContext::new()
            .with_hex("fingerprint", &row.fingerprint)
            .with("key_is_here", row.key_wrapped.is_some())
            .with("not_after", row.not_after);
        self.audit().notice("adding a root", context).await?;
        let tables = self.registry.tables();
        let added = tables.insert_root(&row, MAX_TRUST_ANCHORS, now).await?;
        self.registry.reload().await?;
        if added {
            return Ok(row.fingerprint);
        }
        Err(AuthorityError::Refused(format!(
            "there are {MAX_TRUST_ANCHORS} roots already: remove one first"
        )))
    }

    /// Removes a root: nothing below it is accepted any more by whoever has read the bundle.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: unknown, the last one, or an issuing CA in force is below it.
    pub(crate) async fn remove_root(
        &self,
        fingerprint: &[u8; 32],
        now: u64,
    ) -> Result<(), AuthorityError> {
        let refused = |why: &str| Err(AuthorityError::Refused(why.to_owned()));
        self.registry.reload().await?;
        let snapshot = self.registry.snapshot();
        let roots = roots_of(&snapshot)?;
        if !roots.iter().any(|root| root.fingerprint() == *fingerprint) {
            return refused("no root has this fingerprint: see `identity-authority root list`");
        }
        let rest: Vec<_> = roots
            .into_iter()
            .filter(|root| root.fingerprint() != *fingerprint)
            .collect();
        if rest.is_empty() {
            return refused("it is the only root: add the next one first");
        }
        for row in &snapshot.issuers {
            if row.state == IssuerState::Revoked {
                continue;
            }
            let issuer = certificates::load_issuer(row, self.trust_domain(), &self.root_key)?;
            if issuer
                .verify_under(
                    &rest,
                    now.clamp(row.not_before, row.not_after),
                    &mut random::system(),
                )
                .is_err()
            {
                return refused(
                    "an issuing certificate in force was signed by it: rotate to one below another root first \
                     (`identity-authority issuer rotate`), and wait until the former one is gone from `issuer list`",
                );
            }
        }
        let context = AuditContext::new().with_hex("fingerprint", fingerprint);
        self.audit().notice("removing a root", context).await?;
        // INVARIANT (no issuing CA below a root that is gone): what was checked above is still so when it goes.
        let known = KnownCas::of(&snapshot.roots, &snapshot.issuers);
        let tables = self.registry.tables();
        let removal = tables.remove_root(fingerprint, &known, now).await?;
        self.registry.reload().await?;
        match removal {
            RootRemoval::Done => Ok(()),
            RootRemoval::Last => refused("it is the only root: add the next one first"),
            RootRemoval::Interfered => refused(
                "another replica changed the roots or issuing certificates at the same time: look at them, then try again",
            ),
        }
    }
}
