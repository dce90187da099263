//! The life of issuing CAs and roots.
//!
//! | state | in the bundle | signs | until |
//! |---|---|---|---|
//! | prepared | yes | no | every verifier has read of it |
//! | active | yes | yes | six lifetimes of the longest document are left |
//! | retiring | yes | no | the last document that it signed has ended |
//! | revoked | no | no | its own end; the store remembers it to tell its documents from forged ones |
//!
//! Every step is one transaction of the store that another replica may win; whoever loses reads what happened.
//!
//! INVARIANT (newer): each issuing CA begins later than all that the store knows, revoked ones included. That is what a
//! verifier which slept through a replacement goes by, see [`TrustBundle::is_before_issuer_of`].
//!
//! [`TrustBundle::is_before_issuer_of`]: identity::TrustBundle::is_before_issuer_of

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use identity::TrustDomain;
use identity::issue::{CaCertificate, Issuer, IssuerKey};
use identity::limits::BACKDATE_SECONDS;
use identity::wire::{IssuerInfo, IssuerList, IssuerState};
use service::audit::{AuditContext, AuditLog};
use service::root_key::RootKeys;

use crate::call::Admission;
use crate::certificates::{self, CertificateError};
use crate::config::{CertificatesConfig, Config};
use crate::error::AuthorityError;
use crate::limits;
use crate::random;
use crate::registry::{Registry, Snapshot};
use crate::tables::{IssuerChange, IssuerRequestRow, IssuerRow, KnownCas, RootRow};

mod plan;
mod roots;

use plan::{Due, Timing, in_state};

/// Issuing CAs and roots of the trust domain, as the store has them.
#[derive(Debug)]
pub(crate) struct Issuers {
    registry: Arc<Registry>,
    admission: Arc<Admission>,
    root_key: RootKeys,
    config: CertificatesConfig,
    timing: Timing,
    /// Since when this process has known each issuing CA.
    seen: Mutex<HashMap<[u8; 32], u64>>,
}

/// How it stands with the issuing CA that signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outlook {
    /// The next one comes in time by itself, or is there.
    Fine,
    /// The root is elsewhere and has to sign the next one.
    Due {
        /// From when on documents are cut short, Unix seconds.
        replace_at: u64,
    },
    /// As before, and documents are cut short already, or nothing signs.
    Overdue,
}

impl Issuers {
    pub(crate) fn new(
        registry: Arc<Registry>,
        admission: Arc<Admission>,
        root_key: RootKeys,
        config: &Config,
    ) -> Self {
        let timing = Timing {
            horizon: config.issuer_horizon(),
            longest_document: config.documents.greatest_lifetime.as_secs() + BACKDATE_SECONDS,
            unreachable: config.store.max_unreachable.as_secs(),
        };
        Self {
            registry,
            admission,
            root_key,
            config: config.certificates.clone(),
            timing,
            seen: Mutex::default(),
        }
    }

    /// All issuing CAs, newest first.
    pub(crate) fn list(&self) -> IssuerList {
        let snapshot = self.registry.snapshot();
        let info = |row: &IssuerRow| IssuerInfo {
            fingerprint: fingerprint_text(&row.fingerprint),
            state: row.state,
            not_before: row.not_before,
            not_after: row.not_after,
            last_document_not_after: row.last_document_not_after,
        };
        IssuerList {
            issuers: snapshot.issuers.iter().map(info).collect(),
        }
    }

    /// The issuing CA that signs, with its key.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::NoIssuer`], or its key does not unwrap.
    pub(crate) fn load_active(&self) -> Result<Issuer, AuthorityError> {
        let snapshot = self.registry.snapshot();
        let active =
            in_state(&snapshot.issuers, IssuerState::Active).ok_or(AuthorityError::NoIssuer)?;
        Ok(certificates::load_issuer(
            active,
            self.trust_domain(),
            &self.root_key,
        )?)
    }

    /// Whether `issuer` is the one that signs, by the latest snapshot.
    pub(crate) fn is_active(&self, issuer: &Issuer) -> bool {
        let snapshot = self.registry.snapshot();
        in_state(&snapshot.issuers, IssuerState::Active)
            .is_some_and(|active| active.fingerprint == issuer.fingerprint())
    }

    /// Does everything that is due at `now`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]; what was done stays done, and the rest is due again.
    pub(crate) async fn advance(&self, now: u64) -> Result<(), AuthorityError> {
        for _ in 0..limits::ISSUER_STEPS {
            let snapshot = self.registry.snapshot();
            let root_here = with_key(&snapshot.roots).is_some();
            let due = {
                let seen = self.note_seen(&snapshot, now);
                plan::due(&snapshot.issuers, &seen, root_here, &self.timing, now)
            };
            let Some(due) = due else {
                return self.ask_root_if_due(&snapshot, now).await;
            };
            self.step(&snapshot, due, now).await?;
        }
        Ok(())
    }

    /// How it stands with the issuing CA that signs.
    pub(crate) fn outlook(&self, now: u64) -> Outlook {
        let snapshot = self.registry.snapshot();
        let next = in_state(&snapshot.issuers, IssuerState::Prepared).is_some();
        let here = with_key(&snapshot.roots).is_some();
        match in_state(&snapshot.issuers, IssuerState::Active) {
            None => Outlook::Overdue,
            Some(_) if next => Outlook::Fine,
            Some(active) if now >= self.timing.replace_at(active) => Outlook::Overdue,
            Some(active) if !here && now >= self.timing.request_at(active) => Outlook::Due {
                replace_at: self.timing.replace_at(active),
            },
            Some(_) => Outlook::Fine,
        }
    }

    async fn step(&self, snapshot: &Snapshot, due: Due, now: u64) -> Result<(), AuthorityError> {
        let (why, fingerprint, steps) = match due {
            Due::Forget(from, fingerprint) => (
                "forgetting an issuing certificate whose documents have ended",
                fingerprint,
                vec![IssuerChange::Remove { fingerprint, from }],
            ),
            Due::Activate(fingerprint) => {
                let mut steps = Vec::new();
                if let Some(active) = in_state(&snapshot.issuers, IssuerState::Active) {
                    steps.push(self.retire(active, now).await?);
                }
                steps.push(IssuerChange::Move {
                    fingerprint,
                    from: IssuerState::Prepared,
                    to: IssuerState::Active,
                    last_document_not_after: None,
                });
                (
                    "signing with the next issuing certificate",
                    fingerprint,
                    steps,
                )
            }
            Due::Prepare => {
                let row = self.make(snapshot, IssuerState::Prepared, now)?;
                (
                    "preparing the next issuing certificate",
                    row.fingerprint,
                    vec![given(snapshot), IssuerChange::Insert(row)],
                )
            }
            Due::Replace => {
                let row = self.make(snapshot, IssuerState::Active, now)?;
                (
                    "making an issuing certificate, since none signs",
                    row.fingerprint,
                    vec![given(snapshot), IssuerChange::Insert(row)],
                )
            }
        };
        self.change(why, &fingerprint, &steps, now).await
    }

    /// Makes a new issuing CA sign. Without `revoke_former` the others live on, and the new one is prepared first.
    ///
    /// With it, they leave the bundle at once: whatever they signed is refused by everybody who has read it.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: the root is elsewhere; or the next one is prepared already.
    pub(crate) async fn rotate(&self, revoke_former: bool, now: u64) -> Result<(), AuthorityError> {
        let snapshot = self.registry.snapshot();
        if with_key(&snapshot.roots).is_none() {
            return Err(AuthorityError::Refused(
                "the root's key is elsewhere: run `identity-authority issuer request`, have the root sign it \
                 (`blindfold ca sign`), then `identity-authority issuer install`, with --revoke-former after a compromise"
                    .to_owned(),
            ));
        }
        let state = if revoke_former {
            IssuerState::Active
        } else {
            IssuerState::Prepared
        };
        let row = self.make(&snapshot, state, now)?;
        self.put_in_force(&snapshot, row, Vec::new(), revoke_former, now)
            .await
    }

    /// Puts an issuing CA in force: after the others in their time, or in their place at once.
    async fn put_in_force(
        &self,
        snapshot: &Snapshot,
        row: IssuerRow,
        more: Vec<IssuerChange>,
        revoke_former: bool,
        now: u64,
    ) -> Result<(), AuthorityError> {
        let fingerprint = row.fingerprint;
        let mut steps = vec![given(snapshot)];
        steps.extend(more);
        if revoke_former {
            let former = snapshot
                .issuers
                .iter()
                .filter(|issuer| issuer.state != IssuerState::Revoked);
            steps.extend(former.map(|issuer| IssuerChange::Move {
                fingerprint: issuer.fingerprint,
                from: issuer.state,
                to: IssuerState::Revoked,
                last_document_not_after: None,
            }));
        } else if in_state(&snapshot.issuers, IssuerState::Prepared).is_some() {
            return Err(AuthorityError::Refused(
                "the next issuing certificate is prepared already, and signs as soon as every verifier knows it".to_owned(),
            ));
        }
        steps.push(IssuerChange::Insert(row));
        let why = if revoke_former {
            "revoking all issuing certificates for a new one"
        } else {
            "preparing the next issuing certificate"
        };
        self.change(why, &fingerprint, &steps, now).await?;
        let installed = self.registry.snapshot();
        if installed
            .issuers
            .iter()
            .any(|issuer| issuer.fingerprint == fingerprint)
        {
            return Ok(());
        }
        Err(AuthorityError::Refused(
            "another replica changed the roots or issuing certificates at the same time: look at them, then try again"
                .to_owned(),
        ))
    }

    /// The request for a root elsewhere: the newest that waits, or one for a new key.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]: the store can't be written.
    pub(crate) async fn request(
        &self,
        fresh_key: bool,
        now: u64,
    ) -> Result<IssuerRequestRow, AuthorityError> {
        let tables = self.registry.tables();
        let waiting = tables.issuer_requests().await?;
        if let Some(newest) = waiting.first()
            && !fresh_key
        {
            return Ok(newest.clone());
        }
        let row = certificates::create_request(self.trust_domain(), &self.root_key, now)?;
        if !tables
            .insert_issuer_request(&row, limits::ISSUER_REQUESTS)
            .await?
        {
            return Err(AuthorityError::Refused(format!(
                "{} requests wait for a signature already: have one signed and install it",
                limits::ISSUER_REQUESTS
            )));
        }
        let context = AuditContext::new().with_hex("key_sha256", &row.csr_key_sha256);
        self.audit()
            .notice("making the request for an issuing certificate", context)
            .await?;
        Ok(row)
    }

    /// Takes the chain that a root elsewhere has signed for one of the requests; says whose key it is.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Refused`]: for no request of this authority, too short a life, or refused by verifiers.
    pub(crate) async fn install(
        &self,
        chain: &str,
        revoke_former: bool,
        now: u64,
    ) -> Result<[u8; 32], AuthorityError> {
        let refused = |why: String| AuthorityError::Refused(why);
        let snapshot = self.registry.snapshot();
        let certificates =
            CaCertificate::all_from_pem(chain).map_err(|e| refused(chain_text(&e)))?;
        let first = certificates
            .first()
            .ok_or_else(|| refused("the chain is empty".to_owned()))?;
        let known = |issuer: &IssuerRow| issuer.fingerprint == first.fingerprint();
        if snapshot.issuers.iter().any(known) {
            return Err(refused(
                "this issuing certificate is installed already".to_owned(),
            ));
        }
        let requests = self.registry.tables().issuer_requests().await?;
        let request = requests
            .iter()
            .find(|request| request.csr_key_sha256 == first.public_key_sha256())
            .ok_or_else(|| {
                refused(
                    "no request of this authority has the key of this certificate: give the signer the file of \
                     `identity-authority issuer request`, and install what it signed, issuing certificate first"
                        .to_owned(),
                )
            })?;
        let key = certificates::load_request(request, self.trust_domain(), &self.root_key)?;
        let issuer = self.try_chain(&snapshot, chain, &key, now)?;
        let state = if revoke_former {
            IssuerState::Active
        } else {
            IssuerState::Prepared
        };
        let row = certificates::issuer_row(&issuer, self.trust_domain(), &self.root_key, state)?;
        let fingerprint = row.fingerprint;
        let steps = vec![IssuerChange::RemoveRequest {
            csr_key_sha256: request.csr_key_sha256,
        }];
        self.put_in_force(&snapshot, row, steps, revoke_former, now)
            .await?;
        // After a compromise, keys that lay in the same store are as good as stolen.
        if revoke_former {
            for other in requests
                .iter()
                .filter(|other| other.csr_key_sha256 != request.csr_key_sha256)
            {
                self.registry
                    .tables()
                    .remove_issuer_request(&other.csr_key_sha256)
                    .await?;
            }
        }
        Ok(fingerprint)
    }

    /// Fails unless verifiers accept what this chain signs, for long enough.
    fn try_chain(
        &self,
        snapshot: &Snapshot,
        chain: &str,
        key: &IssuerKey,
        now: u64,
    ) -> Result<Issuer, AuthorityError> {
        let refused = |why: String| AuthorityError::Refused(why);
        let key = key.expose_pem().map_err(|e| refused(chain_text(&e)))?;
        let issuer = Issuer::from_pem(chain, &key).map_err(|e| refused(chain_text(&e)))?;
        let roots = roots_of(snapshot)?;
        issuer
            .verify_under(&roots, now, &mut random::system())
            .map_err(|e| refused(chain_text(&e)))?;
        // INVARIANT (newer)
        if issuer.not_before() <= newest(snapshot) {
            return Err(refused(
                "the certificate begins no later than one that is known: have the request signed again, now".to_owned(),
            ));
        }
        let least = self
            .timing
            .longest_document
            .saturating_mul(2 * identity::limits::MIN_DOCUMENT_LIFETIMES_PER_ISSUER);
        if issuer.not_after().saturating_sub(now) < least {
            return Err(refused(format!(
                "the certificate ends too soon for documents of {} seconds: have it signed for at least {least} seconds, \
                 or lower documents.greatest_lifetime",
                self.timing.longest_document
            )));
        }
        Ok(issuer)
    }

    /// Makes an issuing CA below the newest root whose key is here and whose life is long enough.
    fn make(
        &self,
        snapshot: &Snapshot,
        state: IssuerState,
        now: u64,
    ) -> Result<IssuerRow, AuthorityError> {
        let root = with_key(&snapshot.roots).ok_or(CertificateError::NoRootKey)?;
        let root = certificates::load_root(root, self.trust_domain(), &self.root_key)?;
        // INVARIANT (newer)
        let not_before = now
            .saturating_sub(BACKDATE_SECONDS)
            .max(newest(snapshot).saturating_add(1));
        Ok(certificates::create_issuer(
            &root,
            &self.root_key,
            &self.config,
            (not_before, now),
            state,
        )?)
    }

    async fn retire(&self, active: &IssuerRow, now: u64) -> Result<IssuerChange, AuthorityError> {
        let known = self
            .registry
            .tables()
            .latest_certificate(&active.fingerprint)
            .await?;
        let last = self.timing.last_document(active, now, known);
        Ok(IssuerChange::Move {
            fingerprint: active.fingerprint,
            from: IssuerState::Active,
            to: IssuerState::Retiring,
            last_document_not_after: Some(last),
        })
    }

    /// One change of the store, recorded before; whether this replica or another made it, the snapshot is new then.
    async fn change(
        &self,
        why: &'static str,
        fingerprint: &[u8; 32],
        steps: &[IssuerChange],
        now: u64,
    ) -> Result<(), AuthorityError> {
        let context = AuditContext::new().with_hex("fingerprint", fingerprint);
        self.audit().notice(why, context).await?;
        let changed = self.registry.tables().change_issuers(steps, now).await?;
        self.registry.reload().await?;
        if changed {
            tracing::info!(fingerprint = fingerprint_text(fingerprint), "{why}");
        }
        Ok(())
    }

    /// Lays the request out when the root is elsewhere and the next certificate is due.
    async fn ask_root_if_due(&self, snapshot: &Snapshot, now: u64) -> Result<(), AuthorityError> {
        let next = in_state(&snapshot.issuers, IssuerState::Prepared).is_some();
        if next || with_key(&snapshot.roots).is_some() {
            return Ok(());
        }
        let due = in_state(&snapshot.issuers, IssuerState::Active)
            .is_none_or(|active| now >= self.timing.request_at(active));
        if due && self.registry.tables().issuer_requests().await?.is_empty() {
            self.request(true, now).await?;
            tracing::warn!(
                "the issuing certificate has to be renewed by the root, which is elsewhere: \
                 take its request with `identity-authority issuer request --out FILE`"
            );
        }
        Ok(())
    }

    fn note_seen(
        &self,
        snapshot: &Snapshot,
        now: u64,
    ) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], u64>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|known, _| {
            let known = |issuer: &IssuerRow| issuer.fingerprint == *known;
            snapshot.issuers.iter().any(known)
        });
        for issuer in &snapshot.issuers {
            // A clock that was set back makes the wait longer, not shorter.
            seen.entry(issuer.fingerprint).or_insert(now);
        }
        seen
    }

    fn trust_domain(&self) -> &TrustDomain {
        self.registry.trust_domain()
    }

    fn audit(&self) -> &AuditLog {
        self.admission.authorizer().audit()
    }
}

/// That roots and issuing CAs are those of the snapshot.
fn given(snapshot: &Snapshot) -> IssuerChange {
    IssuerChange::Given(KnownCas::of(&snapshot.roots, &snapshot.issuers))
}

/// The newest root whose key is here.
fn with_key(roots: &[RootRow]) -> Option<&RootRow> {
    roots.iter().find(|root| root.key_wrapped.is_some())
}

/// Start of the newest issuing CA.
fn newest(snapshot: &Snapshot) -> u64 {
    let starts = snapshot.issuers.iter().map(|issuer| issuer.not_before);
    starts.max().unwrap_or_default()
}

fn roots_of(snapshot: &Snapshot) -> Result<Vec<CaCertificate>, AuthorityError> {
    let read = |row: &RootRow| certificates::root_of(row);
    Ok(snapshot
        .roots
        .iter()
        .map(read)
        .collect::<Result<_, CertificateError>>()?)
}

/// A fingerprint as bundles and people write it.
pub(crate) fn fingerprint_text(fingerprint: &[u8; 32]) -> String {
    identity::BundleFingerprint(*fingerprint).to_string()
}

/// An error and its causes on one line.
fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
