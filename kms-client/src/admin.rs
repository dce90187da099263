//! The client of the administration API.
//!
//! Every call is one exchange over mTLS with the service that proved its SPIFFE ID; nothing is repeated by itself, since a
//! change whose answer was lost may have been made: look at the key, and say its revision when trying again.
//!
//! ```no_run
//! use std::sync::Arc;
//! use kms_client::{Algorithm, Sensitivity, admin::AdminClient, wire::admin::CreateKey};
//!
//! # fn example(identity: Arc<identity::tls::TlsIdentity>) -> Result<(), Box<dyn std::error::Error>> {
//! let admin = AdminClient::new(
//!     identity,
//!     "https://127.0.0.1:7445",
//!     &"spiffe://dev.example/blindfold/kms".parse()?,
//! )?;
//! let key = admin.create_key(&CreateKey {
//!     tenant: "acme".to_owned(),
//!     name: "orders".to_owned(),
//!     algorithm: Algorithm::Aes256Gcm,
//!     sensitivity: Sensitivity::Medium,
//!     policy: Some(std::fs::read_to_string("orders.yaml")?),
//!     settings: Default::default(),
//! })?;
//! let rotated = admin.rotate_key("acme", "orders", key.revision)?;
//! assert_eq!(rotated.primary, 2);
//! # Ok(())
//! # }
//! ```

use std::{sync::Arc, time::Duration};

use identity::{
    SpiffeId,
    http::{HttpClient, HttpError},
    tls::TlsIdentity,
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    Algorithm, State,
    import::{self, ImportError},
    limits::{ADMIN_TIMEOUT, MAX_ADMIN_ANSWER_BYTES},
    wire::admin::{
        CreateKey, CreateTenant, ExportKey, ExportedKey, GetImportParameters, GetKey, GetTenant,
        GetUsage, ImportAs, ImportKey, ImportParameters, ImportPurpose, Key, KeyDetail, Keys,
        ListKeys, ListTenants, RestoreKey, RestoreSource, RotateKey, SetAdmission, SetPolicy,
        SetPrimary, SetSettings, SetState, Settings, Tenant, TenantDetail, Tenants, Usage,
        Wrapping, path,
    },
};

/// Reason a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The exchange failed, or the service refused: [`HttpError::Status`] has its code and message.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// What is imported could not be wrapped.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The service's import parameters are for something else than was asked for; nothing was sent.
    #[error(
        "the service answered with parameters for {0}, which were not asked for: nothing was sent"
    )]
    OtherParameters(&'static str),
}

/// A client of one service's administration API.
#[derive(Debug)]
pub struct AdminClient(HttpClient);

/// What material becomes.
#[derive(Clone, Debug)]
pub enum ImportInto {
    /// A new key.
    New(ImportAs),
    /// The next version, and the primary one, of a key that has this revision.
    Existing(u64),
}

impl AdminClient {
    /// Makes a client; connects only when asked for something.
    ///
    /// # Errors
    ///
    /// [`HttpError::Url`]: not `https://host[:port]`.
    pub fn new(
        identity: Arc<TlsIdentity>,
        url: &str,
        server: &SpiffeId,
    ) -> Result<Self, AdminError> {
        Ok(Self::over(HttpClient::new(identity, url, server)?))
    }

    /// Makes a client over a connection's client.
    #[must_use]
    pub fn over(http: HttpClient) -> Self {
        Self(http.with_timeout(ADMIN_TIMEOUT))
    }

    /// Sets the time for one call, from connecting to the last byte of the answer.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self(self.0.with_timeout(timeout))
    }

    fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, AdminError> {
        // A body may carry wrapped material and tokens: wiped once sent.
        let body =
            Zeroizing::new(
                serde_json::to_vec(body).map_err(|error| HttpError::Request {
                    why: error.to_string(),
                })?,
            );
        Ok(self.0.json(path, Some(&body), MAX_ADMIN_ANSWER_BYTES)?)
    }

    /// Creates a tenant; without an admission policy it admits nobody.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn create_tenant(
        &self,
        tenant: &str,
        admission: Option<&str>,
    ) -> Result<Tenant, AdminError> {
        let request = CreateTenant {
            tenant: tenant.to_owned(),
            admission: admission.map(str::to_owned),
        };
        self.call(path::CREATE_TENANT, &request)
    }

    /// Replaces a tenant's admission policy.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn set_admission(
        &self,
        tenant: &str,
        expected_revision: u64,
        admission: Option<&str>,
    ) -> Result<Tenant, AdminError> {
        let request = SetAdmission {
            tenant: tenant.to_owned(),
            expected_revision,
            admission: admission.map(str::to_owned),
        };
        self.call(path::SET_ADMISSION, &request)
    }

    /// One tenant.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn tenant(&self, tenant: &str) -> Result<TenantDetail, AdminError> {
        let tenant = tenant.to_owned();
        self.call(path::GET_TENANT, &GetTenant { tenant })
    }

    /// All tenants, by name.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn tenants(&self) -> Result<Vec<Tenant>, AdminError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page: Tenants = self.call(path::LIST_TENANTS, &ListTenants { after })?;
            all.extend(page.tenants);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Creates a key with its first version.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn create_key(&self, request: &CreateKey) -> Result<Key, AdminError> {
        self.call(path::CREATE_KEY, request)
    }

    /// One key, by name or identifier.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn key(&self, tenant: &str, key: &str) -> Result<KeyDetail, AdminError> {
        let (tenant, key) = (tenant.to_owned(), key.to_owned());
        self.call(path::GET_KEY, &GetKey { tenant, key })
    }

    /// All keys of a tenant, by name.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn keys(&self, tenant: &str) -> Result<Vec<Key>, AdminError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let tenant = tenant.to_owned();
            let page: Keys = self.call(path::LIST_KEYS, &ListKeys { tenant, after })?;
            all.extend(page.keys);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Makes a new version, which becomes the primary one.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn rotate_key(
        &self,
        tenant: &str,
        key: &str,
        expected_revision: u64,
    ) -> Result<Key, AdminError> {
        let request = RotateKey {
            tenant: tenant.to_owned(),
            key: key.to_owned(),
            expected_revision,
        };
        self.call(path::ROTATE_KEY, &request)
    }

    /// Replaces a key's policy.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn set_policy(
        &self,
        tenant: &str,
        key: &str,
        expected_revision: u64,
        policy: Option<&str>,
    ) -> Result<Key, AdminError> {
        let request = SetPolicy {
            tenant: tenant.to_owned(),
            key: key.to_owned(),
            expected_revision,
            policy: policy.map(str::to_owned),
        };
        self.call(path::SET_POLICY, &request)
    }

    /// Changes the state of a version.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn set_state(
        &self,
        tenant: &str,
        key: &str,
        version: u32,
        expected_revision: u64,
        state: State,
        delay: Option<Duration>,
    ) -> Result<Key, AdminError> {
        let request = SetState {
            tenant: tenant.to_owned(),
            key: key.to_owned(),
            version,
            expected_revision,
            state,
            delay_seconds: delay.map(|delay| delay.as_secs()),
        };
        self.call(path::SET_STATE, &request)
    }

    /// Makes another version the primary one.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn set_primary(
        &self,
        tenant: &str,
        key: &str,
        version: u32,
        expected_revision: u64,
    ) -> Result<Key, AdminError> {
        let request = SetPrimary {
            tenant: tenant.to_owned(),
            key: key.to_owned(),
            version,
            expected_revision,
        };
        self.call(path::SET_PRIMARY, &request)
    }

    /// Replaces a key's settings.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn set_settings(
        &self,
        tenant: &str,
        key: &str,
        expected_revision: u64,
        settings: &Settings,
    ) -> Result<Key, AdminError> {
        let request = SetSettings {
            tenant: tenant.to_owned(),
            key: key.to_owned(),
            expected_revision,
            settings: settings.clone(),
        };
        self.call(path::SET_SETTINGS, &request)
    }

    /// How much each version is still used.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn usage(&self, tenant: &str, key: &str) -> Result<Usage, AdminError> {
        let (tenant, key) = (tenant.to_owned(), key.to_owned());
        self.call(path::GET_USAGE, &GetUsage { tenant, key })
    }

    /// A public key that material can be wrapped to, for one import.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn import_parameters(
        &self,
        request: &GetImportParameters,
    ) -> Result<ImportParameters, AdminError> {
        self.call(path::IMPORT_PARAMETERS, request)
    }

    /// Brings material that somebody wrapped to import parameters.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn import_wrapped(&self, request: &ImportKey) -> Result<Key, AdminError> {
        self.call(path::IMPORT_KEY, request)
    }

    /// Brings material: asks for parameters, wraps it by HPKE, sends it. It leaves this process sealed only.
    ///
    /// # Errors
    ///
    /// Every [`AdminError`].
    pub fn import_key(
        &self,
        tenant: &str,
        name: &str,
        algorithm: Algorithm,
        material: &[u8],
        into: ImportInto,
    ) -> Result<Key, AdminError> {
        let parameters = self.import_parameters(&GetImportParameters {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            algorithm,
            wrapping: Wrapping::Hpke,
            purpose: ImportPurpose::Material,
        })?;
        if parameters.wrapping != Wrapping::Hpke {
            return Err(AdminError::OtherParameters("another wrapping"));
        }
        // Made from what was asked for, not from what the answer says.
        let aad = import::aad(
            ImportPurpose::Material,
            tenant,
            name,
            &parameters.key_id,
            parameters.version,
            algorithm,
        );
        let wrapped = import::wrap(&parameters, &aad, material)?;
        let (create, expected_revision) = match into {
            ImportInto::New(create) => (Some(create), None),
            ImportInto::Existing(revision) => (None, Some(revision)),
        };
        self.import_wrapped(&ImportKey {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            token: parameters.token,
            wrapped: wrapped.into(),
            create,
            expected_revision,
        })
    }

    /// A sealed export, to a recipient of the service's configuration.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn export_key(&self, request: &ExportKey) -> Result<ExportedKey, AdminError> {
        self.call(path::EXPORT_KEY, request)
    }

    /// Restores a key, or brings a copy up to date, from an export that is sealed to the service's own key for copies.
    ///
    /// # Errors
    ///
    /// [`AdminError::Http`].
    pub fn restore_sealed(
        &self,
        tenant: &str,
        name: &str,
        sealed: &[u8],
        expected_revision: Option<u64>,
    ) -> Result<Key, AdminError> {
        self.restore(
            tenant,
            name,
            RestoreSource::Sealed(sealed.to_vec().into()),
            expected_revision,
        )
    }

    /// The same from a backup that somebody with a recovery key opened: it leaves this process sealed only.
    ///
    /// `backup` is the JSON of [`Backup`](crate::wire::admin::Backup).
    ///
    /// # Errors
    ///
    /// Every [`AdminError`].
    pub fn restore_opened(
        &self,
        tenant: &str,
        name: &str,
        algorithm: Algorithm,
        backup: &[u8],
        expected_revision: Option<u64>,
    ) -> Result<Key, AdminError> {
        let parameters = self.import_parameters(&GetImportParameters {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            algorithm,
            wrapping: Wrapping::Hpke,
            purpose: ImportPurpose::Backup,
        })?;
        if parameters.wrapping != Wrapping::Hpke || parameters.version != 0 {
            return Err(AdminError::OtherParameters("something else than a backup"));
        }
        let aad = import::aad(
            ImportPurpose::Backup,
            tenant,
            name,
            &parameters.key_id,
            0,
            algorithm,
        );
        let source = RestoreSource::Wrapped {
            wrapped: import::wrap(&parameters, &aad, backup)?.into(),
            token: parameters.token,
        };
        self.restore(tenant, name, source, expected_revision)
    }

    fn restore(
        &self,
        tenant: &str,
        name: &str,
        source: RestoreSource,
        expected_revision: Option<u64>,
    ) -> Result<Key, AdminError> {
        let request = RestoreKey {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            source,
            expected_revision,
        };
        self.call(path::RESTORE_KEY, &request)
    }
}
