//! The workload's side of PBSEAL.

use std::{
    fmt,
    io::{Read, Write},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use blindfold_core::{
    AcceptanceProfile, Accepted, AcceptedHeader, Expectation, Header, LockSecrets, OpenError,
    OpenReader, PinnedKeys, SecretKey,
};
use kms_client::Kms;

use crate::{
    Error, LoadError, SealedObject, SecretBytes, SecretString, UnsealerFault, UnsealerStatus,
    builder::{WantsIdentity, WingmanBuilder},
    config::ConfigError,
    explain::explain,
    gather::{self, Gathered, Locked, Unsealers},
    http::Deadline,
    identity::{IdentitySource, IdentityStatus, RenewalState},
    sealed::{self, Fields, NotDecoded, SealedFields},
    secret,
    unsealer::{Call, Unsealer},
};

/// Opens sealed values as this workload. Clones share everything.
///
/// Made from a configuration file ([`Wingman::from_config`]) or by [`Wingman::builder`]. It starts and sends nothing until
/// asked: the identity is obtained at the first [`Wingman::open`] that needs it, and renewed in the background only after
/// [`Wingman::start_renewal`].
///
/// # Guarantees
///
/// - A secret exists only in this process; no authority learns it, its key, or which object is opened.
/// - Only objects within the acceptance profile are opened, and only with keys pinned here.
/// - An authority's answer is used only with a proof that it used the pinned key and the object's policy.
///
/// # Not promised
///
/// Wiped secrets may have left copies in swap or in a core dump: turn both off where that matters.
#[derive(Clone)]
pub struct Wingman {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) identity: Option<IdentitySource>,
    pub(crate) unsealers: Unsealers,
    pub(crate) pinned: PinnedKeys,
    pub(crate) profile: AcceptanceProfile,
    pub(crate) site_keys: Vec<SecretKey>,
    pub(crate) recovery_keys: Vec<SecretKey>,
    pub(crate) kms: Kms,
    pub(crate) open_deadline: Duration,
    pub(crate) hedge_after: Duration,
}

impl Wingman {
    /// Starts to build one.
    pub fn builder() -> WingmanBuilder<WantsIdentity> {
        WingmanBuilder::new()
    }

    /// Reads a configuration file; see [`crate::config`] for its format. Starts and sends nothing.
    ///
    /// # Errors
    ///
    /// Every [`ConfigError`]; each names the file and what to do.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::builder().config(path)?.build()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn from_inner(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The identity source, for those who need the identity elsewhere too.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`]: none is configured.
    pub fn identity(&self) -> Result<&IdentitySource, Error> {
        self.inner.identity.as_ref().ok_or(Error::NoIdentity)
    }

    /// How the identity is doing; nothing if none is configured.
    pub fn identity_status(&self) -> Option<IdentityStatus> {
        self.inner.identity.as_ref().map(IdentitySource::status)
    }

    /// Obtains the identity if need be, and keeps it fresh in a background thread until the last clone is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`], [`Error::Identity`].
    pub fn start_renewal(&self) -> Result<(), Error> {
        self.identity()?
            .start_renewal()
            .map_err(|error| Error::Identity(Arc::new(error)))
    }

    /// The key management service: `wingman.kms().encrypt("orders", plaintext, aad)` and its siblings.
    ///
    /// Without a `[kms]` section every operation fails with [`KmsError::NotConfigured`](crate::kms::KmsError).
    pub fn kms(&self) -> &Kms {
        &self.inner.kms
    }

    /// The keys that objects may be sealed to.
    pub fn pinned_keys(&self) -> &PinnedKeys {
        &self.inner.pinned
    }

    /// Opens an object.
    ///
    /// # Errors
    ///
    /// Every [`Error`] but [`Error::Content`], [`Error::Value`] and [`Error::Stream`].
    pub fn open(&self, object: &SealedObject) -> Result<SecretBytes, Error> {
        self.open_with(object, &Expectation::new())
    }

    /// Opens an object of which label or external AAD are known.
    ///
    /// # Errors
    ///
    /// Those of [`Wingman::open`]; another label or AAD is an [`Error::Object`].
    pub fn open_with(
        &self,
        object: &SealedObject,
        expectation: &Expectation,
    ) -> Result<SecretBytes, Error> {
        self.open_each(&[(object, expectation)])
            .pop()
            .unwrap_or(Err(Error::Object(OpenError::Truncated)))
    }

    /// Opens an object that holds text.
    ///
    /// # Errors
    ///
    /// Those of [`Wingman::open`], and [`Error::Content`]: the content is not UTF-8.
    pub fn open_string(&self, object: &SealedObject) -> Result<SecretString, Error> {
        let opened = self.open(object)?;
        Ok(secret::string(&opened).ok_or(NotDecoded::new("UTF-8 text"))?)
    }

    /// Opens several objects in as few requests as possible: one for each key, policy and window (and 256 objects).
    ///
    /// # Errors
    ///
    /// [`Error::Value`]: names the first object that was not opened, and why. Nothing is returned then; use
    /// [`Wingman::open_each`] to get what did open.
    pub fn open_all<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a SealedObject>,
    ) -> Result<Vec<SecretBytes>, Error> {
        let any = Expectation::new();
        let objects: Vec<_> = objects.into_iter().map(|object| (object, &any)).collect();
        let opened = self.open_each(&objects);
        let place = |index: usize| {
            sealed::show_place(
                &index.to_string(),
                objects.get(index).map_or("", |(object, _)| object.label()),
            )
        };
        opened
            .into_iter()
            .enumerate()
            .map(|(index, result)| result.map_err(|error| error.at(place(index))))
            .collect()
    }

    /// How each configured unsealing authority is doing, as far as this process has seen; in the order of the
    /// configuration. Asks nobody.
    pub fn unsealer_status(&self) -> Vec<UnsealerStatus> {
        self.inner.unsealers.iter().map(Unsealer::status).collect()
    }

    /// Opens several objects as [`Wingman::open_all`] does; each has its own result.
    pub fn open_each(
        &self,
        objects: &[(&SealedObject, &Expectation)],
    ) -> Vec<Result<SecretBytes, Error>> {
        self.open_each_with_faults(objects).0
    }

    /// Opens as [`Wingman::open_each`] does, and tells what authorities answered instead of helping, also where others
    /// of a threshold made up for it.
    ///
    /// An authority that was not waited for, since enough others had answered, is not among them; see
    /// [`Wingman::unsealer_status`].
    pub fn open_each_with_faults(
        &self,
        objects: &[(&SealedObject, &Expectation)],
    ) -> (Vec<Result<SecretBytes, Error>>, Vec<Arc<UnsealerFault>>) {
        let inner = &*self.inner;
        let accepted: Vec<Result<Accepted, Error>> = objects
            .iter()
            .map(|(object, expectation)| {
                object
                    .accept(&inner.pinned, &inner.profile, expectation)
                    .map_err(|error| inner.refused(error, object.header()))
            })
            .collect();
        let locked: Vec<&dyn Locked> = accepted
            .iter()
            .flatten()
            .map(|accepted| accepted as &dyn Locked)
            .collect();
        let gathered = inner.gather(&locked);
        let open = |accepted: Accepted| {
            inner.check_gathered(&accepted, &gathered)?;
            accepted
                .open(&gathered.secrets)
                .map(|opened| secret::bytes(&opened.into_plaintext()))
                .map_err(Error::Object)
        };
        let opened = accepted
            .into_iter()
            .map(|accepted| accepted.and_then(open))
            .collect();
        (opened, gathered.into_faults())
    }

    /// Opens every sealed field that `holder` names, in as few requests as possible. Those already open are skipped.
    ///
    /// # Errors
    ///
    /// [`Error::Value`]: names the first field that was not opened, and why; then no field is. A content that is not of
    /// the field's type ([`Error::Content`] within) leaves the other fields open.
    pub fn open_fields(&self, holder: &(impl SealedFields + ?Sized)) -> Result<(), Error> {
        let fields: Vec<_> = Fields::of(holder)
            .into_iter()
            .filter(|field| !field.value.is_open())
            .collect();
        let expectations: Vec<_> = fields
            .iter()
            .map(|field| Expectation {
                label: field.label.clone(),
                ext_aad: None,
            })
            .collect();
        let objects: Vec<_> = fields
            .iter()
            .map(|field| field.value.object())
            .zip(&expectations)
            .collect();
        let opened = self.open_each(&objects).into_iter().zip(&fields);
        let place = |field: &sealed::Field<'_>| {
            sealed::show_place(&field.place, field.value.object().label())
        };
        let opened: Vec<_> = opened
            .map(|(result, field)| result.map_err(|error| error.at(place(field))))
            .collect::<Result<_, _>>()?;
        let filled = opened.into_iter().zip(&fields).map(|(secret, field)| {
            field
                .value
                .fill(secret)
                .map_err(|error| Error::Content(error).at(place(field)))
        });
        // Each field is filled, whatever the others say; the first problem is reported.
        filled.fold(Ok(()), Result::and)
    }

    /// Runs a deserializer and opens every [`Sealed`](crate::Sealed) value in what it made, however deep, in as few
    /// requests as possible. See [`crate::sealed`].
    ///
    /// The deserializer must run on this thread and inside of `deserialize`.
    ///
    /// ```
    /// # use wingman_sdk::{LoadError, Wingman};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wingman = Wingman::builder().without_identity().build()?;
    /// #[derive(serde::Deserialize)]
    /// struct Config {
    ///     listen: String,
    ///     password: Option<wingman_sdk::Sealed<wingman_sdk::SecretString>>,
    /// }
    ///
    /// let config: Config = wingman.load(|| toml::from_str("listen = '127.0.0.1:80'"))?;
    /// assert_eq!(config.listen, "127.0.0.1:80");
    ///
    /// // A secret that was left in plain text is refused.
    /// let plain = wingman.load(|| toml::from_str::<Config>("listen = ''\npassword = 'hunter2'"));
    /// assert!(matches!(plain, Err(LoadError::Deserialize(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`LoadError::Deserialize`]: what the deserializer said. Beware of printing it: many show the line they could
    ///   not read, which may hold a secret that somebody left in plain text.
    /// - [`LoadError::Open`]: as [`Wingman::open_all`].
    pub fn load<C, E>(
        &self,
        deserialize: impl FnOnce() -> Result<C, E>,
    ) -> Result<C, LoadError<E>> {
        let (made, values) = sealed::collect(deserialize);
        let made = made.map_err(LoadError::Deserialize)?;
        // Those of a configuration file that was read meanwhile are open already.
        let values: Vec<_> = values
            .into_iter()
            .filter(|value| !value.is_open())
            .collect();
        let opened = self
            .open_all(values.iter().map(|value| value.object()))
            .map_err(LoadError::Open)?;
        for (index, (value, secret)) in values.iter().zip(opened).enumerate() {
            let place = || sealed::show_place(&index.to_string(), value.object().label());
            value
                .fill(secret)
                .map_err(|error| LoadError::Open(Error::Content(error).at(place())))?;
        }
        Ok(made)
    }

    /// Opens an object of any size from `reader` into `writer`, in constant memory; gives the number of bytes written.
    ///
    /// Only verified bytes are written. They are complete only after `Ok`: write into a new file, and rename it then.
    ///
    /// # Errors
    ///
    /// Those of [`Wingman::open_with`], and [`Error::Stream`].
    pub fn open_stream(
        &self,
        mut reader: impl Read,
        writer: &mut impl Write,
        expectation: &Expectation,
    ) -> Result<u64, Error> {
        let (header, secrets) = self.open_header(&mut reader, expectation)?;
        Ok(header.open_stream(&secrets, reader, writer)?)
    }

    /// Opens an object of any size as a reader of its plaintext, in constant memory.
    ///
    /// Only verified bytes are read. They are complete only when the reader ends without an error.
    ///
    /// # Errors
    ///
    /// Those of [`Wingman::open_with`], and [`Error::Stream`]; what follows comes from the reader, of kind
    /// `InvalidData`.
    pub fn open_reader<R: Read>(
        &self,
        mut reader: R,
        expectation: &Expectation,
    ) -> Result<OpenReader<R>, Error> {
        let (header, secrets) = self.open_header(&mut reader, expectation)?;
        Ok(header.open_reader(&secrets, reader)?)
    }

    fn open_header(
        &self,
        reader: &mut impl Read,
        expectation: &Expectation,
    ) -> Result<(AcceptedHeader, LockSecrets), Error> {
        let inner = &*self.inner;
        let header = Header::read_from(reader)?;
        let accepted = header
            .clone()
            .accept(&inner.pinned, &inner.profile, expectation)
            .map_err(|error| inner.refused(error, &header))?;
        let gathered = inner.gather(&[&accepted]);
        inner.check_gathered(&accepted, &gathered)?;
        Ok((accepted, gathered.secrets))
    }
}

impl Inner {
    /// Gathers the secrets of all locks that are needed: with the keys at hand, then from the authorities.
    pub(crate) fn gather(&self, objects: &[&dyn Locked]) -> Gathered {
        let mut local = Gathered::default();
        for object in objects {
            self.unlock_here(*object, &mut local.secrets);
        }
        let wanting: Vec<_> = objects
            .iter()
            .copied()
            .filter(|object| gather::needs_help(*object, &local.secrets))
            .collect();
        if wanting.is_empty() || self.unsealers.len() == 0 {
            return local;
        }
        let identity = match self.identity.as_ref().map(IdentitySource::obtain) {
            Some(Ok(identity)) => identity,
            Some(Err(error)) => return local.blocked(Some(error)),
            None => return local.blocked(None),
        };
        let deadline = Deadline::after(self.open_deadline);
        let over = Arc::new(AtomicBool::new(false));
        let call = Call {
            identity,
            deadline,
            hedge_after: self.hedge_after,
            over,
        };
        let gathered = gather::gather(&self.unsealers, &wanting, &call, local);
        if !gathered.met_strangers() || !self.catch_up() {
            return gathered;
        }
        // The identity at hand is the same object.
        let again = Call {
            over: Arc::new(AtomicBool::new(false)),
            ..call
        };
        gather::gather(&self.unsealers, &wanting, &again, gathered.without_faults())
    }

    /// Whether the identity is another one now, or the bundle is. A background thread sees to that by itself.
    fn catch_up(&self) -> bool {
        let Some(source) = &self.identity else {
            return false;
        };
        let freshness = source.freshness();
        let is_recent = |age| age < freshness.refresh_interval;
        if source.status().renewal != RenewalState::NotStarted
            || freshness.bundle_age.is_some_and(is_recent)
        {
            return false;
        }
        let state = || {
            let status = source.status();
            (status.bundle_sequence, status.not_after)
        };
        let before = state();
        // What is wrong with the identity is told by the next call that needs it.
        drop(source.catch_up());
        state() != before
    }

    /// Opens the locks whose keys are here.
    fn unlock_here(&self, object: &dyn Locked, secrets: &mut LockSecrets) {
        for key in self.site_keys.iter().chain(&self.recovery_keys) {
            let unlocked = match key {
                SecretKey::Static(key) => object.static_secret(key),
                SecretKey::Unsealing(key) => object.recovery_secret(key),
                // A kind that opens no lock known here.
                _ => continue,
            };
            // A lock that this key does not open is shown as missing later on.
            if let Ok(unlocked) = unlocked {
                secrets.merge(unlocked);
            }
        }
    }

    pub(crate) fn check_gathered(
        &self,
        object: &dyn Locked,
        gathered: &Gathered,
    ) -> Result<(), Error> {
        let missing = object.missing(&gathered.secrets);
        if missing.is_empty() {
            return Ok(());
        }
        Err(gathered.block().unwrap_or_else(|| {
            explain(
                object,
                &missing,
                &gathered.faults_of(object, &self.unsealers),
            )
        }))
    }

    /// An object that is not accepted.
    pub(crate) fn refused(&self, error: OpenError, header: &Header) -> Error {
        match error {
            OpenError::UnknownKey { key_id } => {
                let lock = header.locks().iter().find(|lock| lock.key_id() == key_id);
                let tenant = lock.map_or("", |lock| lock.tenant()).to_owned();
                Error::UnknownKey {
                    key_id,
                    tenant,
                    pinned: self.pinned.iter().map(|key| key.key_id()).collect(),
                }
            }
            other => Error::Object(other),
        }
    }
}

impl fmt::Debug for Wingman {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self
            .inner
            .unsealers
            .iter()
            .map(|unsealer| unsealer.url())
            .collect();
        f.debug_struct("Wingman")
            .field("identity", &self.inner.identity)
            .field("unsealers", &servers)
            .field("profile", &self.inner.profile)
            .field("site_keys", &self.inner.site_keys.len())
            .finish_non_exhaustive()
    }
}
