//! Building a [`Wingman`].

use std::{fmt, marker::PhantomData, path::Path, time::Duration};

use blindfold_core::{AcceptanceProfile, AuthorityKey, PinnedKeys, Purpose, SealerKeys, SecretKey};
use kms_client::{IdentityFault, Kms};

use crate::{
    Wingman,
    config::{self, Config, ConfigError, KmsConfig, UnsealerConfig},
    gather::Unsealers,
    identity::{IdentityError, IdentitySource},
    limits,
    wingman::Inner,
};

/// A builder that wants to know about the identity first.
#[derive(Debug)]
pub enum WantsIdentity {}

/// A builder that may build.
#[derive(Debug)]
pub enum Ready {}

/// Builds a [`Wingman`]; whether it has an identity must be said first.
///
/// ```
/// use wingman_sdk::Wingman;
///
/// # fn main() -> Result<(), wingman_sdk::ConfigError> {
/// let offline = Wingman::builder().without_identity().build()?; // opens with local keys only
/// # let _ = offline;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0599
/// use wingman_sdk::Wingman;
///
/// let undecided = Wingman::builder().build(); // neither `identity` nor `without_identity`
/// ```
pub struct WingmanBuilder<State = WantsIdentity> {
    identity: Option<IdentitySource>,
    unsealers: Vec<UnsealerConfig>,
    pinned: Vec<AuthorityKey>,
    profile: AcceptanceProfile,
    least_threshold: u8,
    site_keys: Vec<SecretKey>,
    recovery_keys: Vec<SecretKey>,
    kms: Option<KmsConfig>,
    open_deadline: Duration,
    attempt_timeout: Duration,
    hedge_after: Duration,
    state: PhantomData<State>,
}

impl WingmanBuilder<WantsIdentity> {
    pub(crate) fn new() -> Self {
        Self {
            identity: None,
            unsealers: Vec::new(),
            pinned: Vec::new(),
            profile: AcceptanceProfile::default(),
            least_threshold: 1,
            site_keys: Vec::new(),
            recovery_keys: Vec::new(),
            kms: None,
            open_deadline: limits::OPEN_DEADLINE,
            attempt_timeout: limits::ATTEMPT_TIMEOUT,
            hedge_after: limits::HEDGE_AFTER,
            state: PhantomData,
        }
    }

    /// The identity to show to the unsealing authorities.
    #[must_use]
    pub fn identity(self, source: IdentitySource) -> WingmanBuilder<Ready> {
        self.ready(Some(source))
    }

    /// No identity: only objects that local keys open can be opened.
    #[must_use]
    pub fn without_identity(self) -> WingmanBuilder<Ready> {
        self.ready(None)
    }

    /// Everything that a configuration file says; see [`crate::config`].
    ///
    /// # Errors
    ///
    /// [`ConfigError::File`], [`ConfigError::Syntax`], [`ConfigError::Key`], [`ConfigError::Sealer`],
    /// [`ConfigError::Credential`], [`ConfigError::CredentialKey`].
    pub fn config(self, path: impl AsRef<Path>) -> Result<WingmanBuilder<Ready>, ConfigError> {
        let config = Config::read(path.as_ref())?;
        let mut builder = self.ready(config.identity);
        builder.unsealers = config.unsealers;
        builder.pinned = config.pinned;
        builder.least_threshold = config.profile.least_threshold();
        builder.profile = config.profile.to_profile();
        if let Some(sealers) = config.sealers {
            builder.profile = builder.profile.require_signature_by(sealers);
        }
        builder.site_keys = config.site_keys;
        builder.kms = config.kms;
        builder.open_deadline = config.open_deadline.unwrap_or(builder.open_deadline);
        builder.attempt_timeout = config.attempt_timeout.unwrap_or(builder.attempt_timeout);
        builder.hedge_after = config.hedge_after.unwrap_or(builder.hedge_after);
        Ok(builder)
    }

    fn ready(self, identity: Option<IdentitySource>) -> WingmanBuilder<Ready> {
        WingmanBuilder {
            identity,
            unsealers: self.unsealers,
            pinned: self.pinned,
            profile: self.profile,
            least_threshold: self.least_threshold,
            site_keys: self.site_keys,
            recovery_keys: self.recovery_keys,
            kms: self.kms,
            open_deadline: self.open_deadline,
            attempt_timeout: self.attempt_timeout,
            hedge_after: self.hedge_after,
            state: PhantomData,
        }
    }
}

impl WingmanBuilder<Ready> {
    /// Adds an unsealing authority; its keys are pinned.
    #[must_use]
    pub fn unsealer(mut self, unsealer: UnsealerConfig) -> Self {
        self.unsealers.push(unsealer);
        self
    }

    /// Sets the key management service, in place of a configured one.
    #[must_use]
    pub fn kms(mut self, kms: KmsConfig) -> Self {
        self.kms = Some(kms);
        self
    }

    /// Pins a key record that objects may name although nobody is asked for it.
    #[must_use]
    pub fn pin(mut self, record: AuthorityKey) -> Self {
        self.pinned.push(record);
        self
    }

    /// Sets which objects are accepted, in place of the configured or default profile.
    #[must_use]
    pub fn profile(mut self, profile: AcceptanceProfile) -> Self {
        self.profile = profile;
        self.least_threshold = 1;
        self
    }

    /// Adds the secret key of this site, which opens site locks without asking anybody. Its record is pinned.
    #[must_use]
    pub fn site_key(mut self, key: SecretKey) -> Self {
        self.site_keys.push(key);
        self
    }

    /// As [`WingmanBuilder::site_key`], from a file that only its owner may read.
    ///
    /// # Errors
    ///
    /// [`ConfigError::File`], [`ConfigError::Key`].
    pub fn site_key_file(self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let key = config::read_secret_key(path.as_ref())?;
        Ok(self.site_key(key))
    }

    /// As [`WingmanBuilder::site_key`], from the file `name` of the directory that `CREDENTIALS_DIRECTORY` names:
    /// what systemd hands over with `LoadCredential=`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Credential`], [`ConfigError::CredentialKey`].
    pub fn site_credential(self, name: &str) -> Result<Self, ConfigError> {
        let key = config::read_credential_key(name)?;
        Ok(self.site_key(key))
    }

    /// Demands a signature of one of `sealers`. Where the profile demands one already, only those that are in both
    /// lists remain: a configuration is narrowed, never widened.
    #[must_use]
    pub fn require_signature_by(mut self, sealers: SealerKeys) -> Self {
        let sealers = match self.profile.sealers() {
            None => sealers,
            Some(before) => {
                let both = sealers.iter().filter(|key| before.contains(key));
                both.cloned().collect()
            }
        };
        self.profile = self.profile.require_signature_by(sealers);
        self
    }

    /// Adds a recovery key, which opens RECOVERY locks alone, whatever the threshold. For break-glass tools; a
    /// workload should not have one. Its record is pinned, and the profile allows recovery from now on.
    #[must_use]
    pub fn recovery_key(mut self, key: SecretKey) -> Self {
        self.recovery_keys.push(key);
        self
    }

    /// Sets the time for all attempts of one call together.
    #[must_use]
    pub fn open_deadline(mut self, deadline: Duration) -> Self {
        self.open_deadline = deadline;
        self
    }

    /// Sets the time for one request.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Sets the silence after which the next authority of a threshold is asked too.
    #[must_use]
    pub fn hedge_after(mut self, silence: Duration) -> Self {
        self.hedge_after = silence;
        self
    }

    /// Checks everything and builds. Starts and sends nothing.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NoIdentity`], [`ConfigError::NoKey`], [`ConfigError::DuplicateKey`],
    /// [`ConfigError::WrongPurpose`], [`ConfigError::Threshold`], [`ConfigError::Url`], [`ConfigError::NoSealer`],
    /// [`ConfigError::Kms`].
    pub fn build(self) -> Result<Wingman, ConfigError> {
        if self.identity.is_none() && !(self.unsealers.is_empty() && self.kms.is_none()) {
            return Err(ConfigError::NoIdentity);
        }
        let kms = client_of_kms(self.kms, self.identity.as_ref(), self.attempt_timeout)?;
        let authorities = self.unsealers.len();
        if authorities > 0 && usize::from(self.least_threshold) > authorities {
            return Err(ConfigError::Threshold {
                threshold: self.least_threshold,
                authorities,
            });
        }
        if self.profile.sealers().is_some_and(SealerKeys::is_empty) {
            return Err(ConfigError::NoSealer);
        }
        let mut pinned: PinnedKeys = self.pinned.into_iter().collect();
        let mut unsealers = Unsealers::default();
        for config in self.unsealers {
            check(&config, &unsealers)?;
            pinned.extend(config.keys.iter().cloned());
            unsealers.push(config, self.attempt_timeout, self.hedge_after);
        }
        if let Some(key) = self
            .site_keys
            .iter()
            .find(|key| !matches!(key, SecretKey::Static(_)))
        {
            return Err(ConfigError::WrongPurpose {
                key_id: key.record().key_id(),
                why: "is an unsealing key and cannot open site locks: name a static key",
            });
        }
        pinned.extend(
            self.site_keys
                .iter()
                .chain(&self.recovery_keys)
                .map(|key| key.record().clone()),
        );
        let mut profile = self.profile;
        if !self.recovery_keys.is_empty() {
            profile = profile.allow_recovery(true);
        }
        Ok(Wingman::from_inner(Inner {
            identity: self.identity,
            unsealers,
            pinned,
            profile,
            site_keys: self.site_keys,
            recovery_keys: self.recovery_keys,
            kms,
            open_deadline: self.open_deadline,
            hedge_after: self.hedge_after,
        }))
    }
}

/// The client of the key management service; of none if none is configured.
fn client_of_kms(
    config: Option<KmsConfig>,
    identity: Option<&IdentitySource>,
    attempt_timeout: Duration,
) -> Result<Kms, ConfigError> {
    let (Some(config), Some(identity)) = (config, identity) else {
        return Ok(Kms::not_configured());
    };
    let identity = identity.clone();
    let mut builder = Kms::builder(&config.url, config.spiffe_id)
        .attempt_timeout(attempt_timeout)
        .identity_from(move || {
            let fault = |error: IdentityError| {
                let may_pass = error.may_pass();
                IdentityFault::new(error, may_pass)
            };
            identity.obtain().map_err(fault)
        });
    if let Some(tenant) = &config.tenant {
        builder = builder.tenant(tenant);
    }
    if config.keys_in_hand == Some(false) {
        builder = builder.without_keys_in_hand();
    }
    builder.build().map_err(ConfigError::Kms)
}

fn check(config: &UnsealerConfig, before: &Unsealers) -> Result<(), ConfigError> {
    crate::http::check_url(&config.url)?;
    if config.keys.is_empty() {
        return Err(ConfigError::NoKey {
            url: config.url.clone(),
        });
    }
    for key in &config.keys {
        let key_id = key.key_id();
        if key.purpose() != Purpose::PolicyUnseal {
            let why = "is a static key, which no unsealing authority has: name the authority's own record";
            return Err(ConfigError::WrongPurpose { key_id, why });
        }
        if before.knows(&key_id) {
            return Err(ConfigError::DuplicateKey { key_id });
        }
    }
    Ok(())
}

impl<State> fmt::Debug for WingmanBuilder<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WingmanBuilder")
            .field("identity", &self.identity)
            .field("unsealers", &self.unsealers)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}
