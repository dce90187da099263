//! The operator on this host: administration in process, without a network identity.
//!
//! Whoever runs the process, embeds it, or calls its offline commands can do
//! what an administrator can. Calls go the same way as an administrator's, under a
//! policy of their own: the audit log has decision and outcome, with
//! `operator: host` in place of a principal.

use std::sync::Arc;

use blindfold_core::KeyState;
use zeroize::Zeroizing;

use crate::admin::{self, AdminError, Caller, ImportKey, Operation};
use crate::engine::Engine;
use crate::wire;

/// Administration in process; clones share the unsealer.
#[derive(Clone, Debug)]
pub struct Operator {
    engine: Arc<Engine>,
}

impl Operator {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Creates a tenant, with an admission policy in YAML or JSON; without one nobody is admitted.
    ///
    /// # Errors
    ///
    /// [`AdminError`], as for each function here.
    pub async fn create_tenant(
        &self,
        tenant: &str,
        admission: Option<&str>,
    ) -> Result<wire::Tenant, AdminError> {
        let admission = admission.map(str::to_owned);
        self.perform(wire::CreateTenant {
            tenant: tenant.to_owned(),
            admission,
        })
        .await
    }

    /// Replaces the admission policy, whose version must still be `expected_version`.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn set_admission(
        &self,
        tenant: &str,
        admission: Option<&str>,
        expected_version: u64,
    ) -> Result<wire::Tenant, AdminError> {
        let (tenant, admission) = (tenant.to_owned(), admission.map(str::to_owned));
        self.perform(wire::SetAdmission {
            tenant,
            expected_version,
            admission,
        })
        .await
    }

    /// One tenant with its admission policy.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn get_tenant(&self, tenant: &str) -> Result<wire::TenantDetail, AdminError> {
        self.perform(wire::GetTenant {
            tenant: tenant.to_owned(),
        })
        .await
    }

    /// All tenants.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn list_tenants(&self) -> Result<Vec<wire::Tenant>, AdminError> {
        Ok(self.perform(wire::ListTenants {}).await?.tenants)
    }

    /// Imports a secret key file (`PBSS`) that has made `evaluations` evaluations elsewhere.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn import_key(
        &self,
        file: Zeroizing<Vec<u8>>,
        evaluations: u64,
    ) -> Result<wire::Key, AdminError> {
        self.perform(ImportKey { file, evaluations }).await
    }

    /// Generates a key inside the unsealer.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn generate_key(
        &self,
        tenant: &str,
        key_version: u32,
    ) -> Result<wire::Key, AdminError> {
        self.perform(wire::GenerateKey {
            tenant: tenant.to_owned(),
            key_version,
        })
        .await
    }

    /// Changes a key's state, which must still be `expected`.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn set_key_state(
        &self,
        key_id: &str,
        expected: KeyState,
        state: KeyState,
    ) -> Result<wire::Key, AdminError> {
        let request = wire::SetKeyState {
            key_id: key_id.to_owned(),
            expected_state: expected.as_str().to_owned(),
            state: state.as_str().to_owned(),
        };
        self.perform(request).await
    }

    /// All keys, or those of one tenant.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn list_keys(&self, tenant: Option<&str>) -> Result<Vec<wire::Key>, AdminError> {
        Ok(self
            .perform(wire::ListKeys {
                tenant: tenant.map(str::to_owned),
            })
            .await?
            .keys)
    }

    /// Puts a named policy in force; 0 as `expected_version` for a name never used.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn put_policy(
        &self,
        tenant: &str,
        name: &str,
        document: &str,
        expected_version: u64,
    ) -> Result<wire::NamedPolicy, AdminError> {
        let request = wire::PutPolicy {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            document: document.to_owned(),
            expected_version,
        };
        self.perform(request).await
    }

    /// The latest version of a named policy.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn get_policy(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<wire::NamedPolicyDetail, AdminError> {
        let (tenant, name) = (tenant.to_owned(), name.to_owned());
        self.perform(wire::GetPolicy {
            tenant,
            name,
            version: None,
        })
        .await
    }

    /// Takes a named policy out of force.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn remove_policy(
        &self,
        tenant: &str,
        name: &str,
        expected_version: u64,
    ) -> Result<wire::NamedPolicy, AdminError> {
        let (tenant, name) = (tenant.to_owned(), name.to_owned());
        self.perform(wire::RemovePolicy {
            tenant,
            name,
            expected_version,
        })
        .await
    }

    /// Registers a document for digest mode.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn register_document(
        &self,
        tenant: &str,
        document: &str,
    ) -> Result<wire::Document, AdminError> {
        let (tenant, document) = (tenant.to_owned(), document.to_owned());
        self.perform(wire::RegisterDocument { tenant, document })
            .await
    }

    /// Denies a document by its digest of 96 hex digits.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn deny_digest(
        &self,
        tenant: &str,
        digest: &str,
        note: &str,
    ) -> Result<wire::DeniedDigest, AdminError> {
        let (tenant, digest, note) = (tenant.to_owned(), digest.to_owned(), note.to_owned());
        self.perform(wire::DenyDigest {
            tenant,
            digest,
            note,
        })
        .await
    }

    /// Takes a digest off the deny-list; answers whether it was on it.
    ///
    /// # Errors
    ///
    /// As [`Operator::create_tenant`].
    pub async fn allow_digest(&self, tenant: &str, digest: &str) -> Result<bool, AdminError> {
        let (tenant, digest) = (tenant.to_owned(), digest.to_owned());
        Ok(self
            .perform(wire::AllowDigest { tenant, digest })
            .await?
            .removed)
    }

    /// Decides, does, records: in a task that a dropped future does not stop half way.
    pub(crate) async fn perform<O: Operation>(&self, operation: O) -> Result<O::Reply, AdminError> {
        admin::perform(&self.engine, Caller::Host, operation).await
    }
}
