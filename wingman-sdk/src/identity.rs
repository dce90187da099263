//! The workload's own identity: obtained, stored, renewed.
//!
//! An [`IdentitySource`] yields one [`TlsIdentity`], which rustls configurations follow: a renewed document or a refreshed
//! bundle takes effect at the next connection, without a restart. It comes from
//!
//! - a directory, which a join token fills the first time ([`IdentitySource::from_config`]),
//! - a join token alone, for processes that keep nothing ([`IdentitySource::from_join_token`]),
//! - evidence, in a directory or in memory ([`IdentitySource::attested_in`], [`IdentitySource::from_attestation`]),
//! - a document already held ([`IdentitySource::held`]).
//!
//! Nothing is read, started or sent until asked: [`IdentitySource::obtain`] makes the identity available,
//! [`IdentitySource::start_renewal`] keeps it fresh in two background threads, one for the document and one for the
//! bundle, which end when the last clone of the source is dropped.
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
//! # When things go wrong
//!
//! Failures are repeated with full jitter, and as late as the authority asks for. A machine that slept, or whose clock
//! was set, looks at once. A document that has expired is shown to nobody; one that is refused under a newer bundle is
//! replaced at once where there is evidence to show. The authority's clock is compared with this machine's
//! ([`IdentityStatus::clock_skew`]); beyond five minutes nothing is spent that is good only once.
//!
//! # Not promised
//!
//! An authority that cannot be reached keeps the bundle from being refreshed, and the last one stays in force. Nothing here
//! refuses on its own: a daemon that decides by it calls [`IdentitySource::refresh`] before it serves, and looks at
//! [`IdentitySource::freshness`] while it does.

use std::{sync::Arc, time::SystemTime};

use ::identity::{IdentityDocument, SpiffeId, TrustBundle, join::JoinToken, tls::TlsIdentity};

pub use self::{
    attestation::{Attestation, BundlePin},
    clock::{Clock, ClockSkew, SystemClock},
    config::{AttestationConfig, AttestorConfig, IdentityConfig},
    directory::AuthorityContact,
    error::IdentityError,
    evidence::{
        AwsInstance, EvidenceError, EvidenceRequest, EvidenceSource, TpmMachine, UnixProcess,
        VoucherFile, X509Certificate,
    },
    freshness::Freshness,
};
use self::{
    authority::Patience,
    directory::Directory,
    renewal::StopOnDrop,
    shared::{Entry, Obtained, Shared},
};

mod attestation;
mod authority;
mod bundle_refresh;
mod clock;
mod config;
mod directory;
mod error;
mod evidence;
mod freshness;
mod obtaining;
mod refreshing;
mod renewal;
mod schedule;
mod shared;
pub(crate) mod time;

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
    /// When the identity authority last confirmed the bundle. Reading it from the directory does not count.
    pub bundle_refreshed: Option<SystemTime>,
    /// Why the last refresh of the bundle failed, if it did.
    pub bundle_error: Option<String>,
    /// Why the directory could not be read or written at the last refresh or renewal, if so. What is in memory stays
    /// in use, and the authority is asked all the same.
    pub directory_error: Option<String>,
    /// How far this machine's clock is from the authority's, since that was measured.
    pub clock_skew: Option<ClockSkew>,
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
    /// The document is fresh, but newer evidence was refused.
    EvidenceRefused {
        /// Why.
        last_error: String,
        /// When the document will be renewed.
        until: Option<SystemTime>,
    },
    /// The thread has ended.
    Stopped,
}

impl IdentitySource {
    /// An identity kept in a directory. Reads nothing yet.
    pub fn from_config(config: &IdentityConfig) -> Self {
        let entry = match (&config.attestation, &config.join_token_file) {
            (Some(attestation), _) => Entry::Attestation(attestation.to_attestation()),
            (None, Some(file)) => Entry::TokenFile(file.clone()),
            (None, None) => Entry::None,
        };
        Self::new(Some(Directory::new(config.directory.clone())), entry)
    }

    /// An identity that lives in this process only. Sends nothing yet.
    ///
    /// After a restart the token is spent: use a directory for anything that restarts.
    pub fn from_join_token(token: JoinToken) -> Self {
        Self::new(None, Entry::Token(token))
    }

    /// An identity that lives in this process only, by evidence. Sends nothing yet.
    pub fn from_attestation(attestation: Attestation) -> Self {
        Self::new(None, Entry::Attestation(attestation))
    }

    /// An identity kept in a directory, by evidence of an own [`EvidenceSource`]. Reads nothing yet.
    pub fn attested_in(directory: impl Into<std::path::PathBuf>, attestation: Attestation) -> Self {
        Self::new(
            Some(Directory::new(directory.into())),
            Entry::Attestation(attestation),
        )
    }

    /// The same, by other clocks than the machine's: for tests and simulations. The first ones given count, for all
    /// clones; give them before anything is obtained.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.shared.clocks.replace(Arc::new(clock));
        self
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
        let source = Self::new(None, Entry::None);
        let obtained = Obtained {
            document,
            bundle,
            authority,
            confirmed: None,
        };
        obtained.check(source.shared.clocks.now())?;
        source.shared.adopt(obtained)?;
        Ok(source)
    }

    fn new(directory: Option<Directory>, entry: Entry) -> Self {
        let shared = Arc::new(Shared::new(directory, entry));
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
        self.shared.obtain(Patience::Several)
    }

    /// Renews now, whatever the document's age.
    ///
    /// # Errors
    ///
    /// Every [`IdentityError`] but [`IdentityError::Thread`].
    pub fn renew(&self) -> Result<(), IdentityError> {
        self.obtain()?;
        self.shared.renew(Patience::Several)
    }

    /// Shows the evidence again and takes over the new document, whatever the one at hand. Renews where nothing is
    /// configured that evidence could be made from.
    ///
    /// # Errors
    ///
    /// Every [`IdentityError`] but [`IdentityError::Thread`].
    pub fn attest(&self) -> Result<(), IdentityError> {
        if self.shared.can_attest() {
            self.shared.attest(Patience::Several)
        } else {
            self.renew()
        }
    }

    /// Says that there is something new, such as evidence: the background thread looks at once instead of within a
    /// fraction of a second.
    pub fn nudge(&self) {
        self.shared.nudge();
    }

    /// Refreshes the trust bundle now, and takes over what another process stored in the directory.
    ///
    /// A directory that cannot be read or written does not keep the authority from being asked; it shows in
    /// [`IdentityStatus::directory_error`]. Where no authority is known, the directory is all there is, and nothing
    /// is confirmed ([`Freshness::bundle_age`]).
    ///
    /// # Errors
    ///
    /// [`IdentityError::Authority`], [`IdentityError::Answer`]; those of [`IdentitySource::obtain`] before the first
    /// one; where no authority is known, [`IdentityError::File`] and [`IdentityError::Damaged`].
    pub fn refresh(&self) -> Result<(), IdentityError> {
        if self.shared.state().tls.is_none() {
            self.obtain()?;
        }
        self.shared.refresh(std::time::Duration::ZERO).map(drop)
    }

    /// Refreshes the trust bundle, and replaces a document that is refused under it: for programs that run for a moment
    /// and keep their identity in a directory, before they talk to somebody or once nobody knows them any more. Their
    /// document may look sound under the bundle of last time, and be of an issuing CA that was revoked since.
    ///
    /// # Errors
    ///
    /// Those of [`IdentitySource::refresh`] and [`IdentitySource::renew`].
    pub fn catch_up(&self) -> Result<(), IdentityError> {
        self.refresh()?;
        match self.shared.current() {
            Ok(_) => Ok(()),
            Err(_) => self.shared.renew(Patience::Once),
        }
    }

    /// Starts the thread that renews at half-life, with jitter, and refreshes the bundle at its refresh hint; at once
    /// if the bundle comes from the directory.
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
        bundle_refresh::spawn(Arc::clone(&self.shared))
            .and_then(|()| renewal::spawn(Arc::clone(&self.shared)))
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
            bundle_refreshed: state.confirmed.map(|confirmed| confirmed.at()),
            bundle_error: state.bundle_error.clone(),
            directory_error: state.directory_error.clone(),
            clock_skew: self.shared.clocks.skew(),
            renewal: state.renewal.clone(),
        }
    }

    /// Whether document and bundle are still worth relying on, by this machine's clocks. Reads no file and sends
    /// nothing: cheap enough for every request.
    ///
    /// ```no_run
    /// # use wingman_sdk::identity::{IdentityError, IdentitySource};
    /// # fn serve(source: IdentitySource) -> Result<(), IdentityError> {
    /// source.refresh()?; // before serving: the bundle of the directory may be years old
    /// source.start_renewal()?;
    /// let ready = || source.freshness().is_fresh(5);
    /// assert!(ready());
    /// # Ok(())
    /// # }
    /// ```
    pub fn freshness(&self) -> Freshness {
        self.shared.freshness()
    }

    /// Whether peers can be told by this identity, for services: its document is valid, and its bundle was confirmed by
    /// the identity authority within `bundle_age`.
    ///
    /// Where no authority is known, whoever fills the identity directory vouches for the bundle's age.
    pub fn can_tell_peers(&self, bundle_age: std::time::Duration) -> bool {
        let freshness = self.freshness();
        let bundle = match freshness.bundle_age {
            Some(age) => age <= bundle_age,
            None => self.authority().is_none(),
        };
        freshness.document_valid && bundle
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
