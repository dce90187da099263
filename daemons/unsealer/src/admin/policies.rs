//! Operations on named policies.

use blindfold_core::PolicyName;
use service::audit::AuditContext;
use sqlx::SqliteConnection;

use super::{AdminError, Operation, below, next_page, text};
use crate::engine::Engine;
use crate::policy_text;
use crate::store::policies::{self, PolicyRow};
use crate::store::{By, tenants};
use crate::wire::{
    GetPolicy, ListPolicies, NamedPolicies, NamedPolicy, NamedPolicyDetail, PolicyHistory,
    PutPolicy, RemovePolicy,
};

fn wire(row: &PolicyRow) -> NamedPolicy {
    NamedPolicy {
        name: row.name.clone(),
        version: row.version,
        digest: row.digest.map(hex::encode),
        changed_at: row.changed_at,
        changed_by: row.changed_by.clone(),
    }
}

fn checked_name(name: &str) -> Result<(), AdminError> {
    match name.parse::<PolicyName>() {
        Ok(_) => Ok(()),
        Err(error) => Err(AdminError::bad_request(error.to_string())),
    }
}

impl Operation for PutPolicy {
    type Reply = NamedPolicy;
    const ACTION: &'static str = "put-policy";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        below(&self.tenant, "policy", &self.name)
    }

    fn context(&self) -> AuditContext {
        let context = AuditContext::new()
            .with("tenant", self.tenant.as_str())
            .with("policy", self.name.as_str())
            .with("expected_version", self.expected_version);
        match policy_text::read(&self.document) {
            Ok(document) => context.with_hex("digest", &document.digest),
            Err(_) => context,
        }
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        by: By<'_>,
    ) -> Result<NamedPolicy, AdminError> {
        checked_name(&self.name)?;
        let document = policy_text::read(&self.document)?;
        let (tenant, name) = (self.tenant.as_str(), self.name.as_str());
        let (bytes, digest) = (document.canonical.as_slice(), &document.digest);
        let version = policies::put(
            connection,
            tenant,
            name,
            bytes,
            digest,
            self.expected_version,
            by,
        )
        .await?;
        Ok(wire(
            &policies::get(connection, tenant, name, Some(version)).await?,
        ))
    }
}

impl Operation for RemovePolicy {
    type Reply = NamedPolicy;
    const ACTION: &'static str = "remove-policy";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        below(&self.tenant, "policy", &self.name)
    }

    fn context(&self) -> AuditContext {
        AuditContext::new()
            .with("tenant", self.tenant.as_str())
            .with("policy", self.name.as_str())
            .with("expected_version", self.expected_version)
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        by: By<'_>,
    ) -> Result<NamedPolicy, AdminError> {
        let (tenant, name) = (self.tenant.as_str(), self.name.as_str());
        let version = policies::remove(connection, tenant, name, self.expected_version, by).await?;
        Ok(wire(
            &policies::get(connection, tenant, name, Some(version)).await?,
        ))
    }
}

impl Operation for GetPolicy {
    type Reply = NamedPolicyDetail;
    const ACTION: &'static str = "get-policy";
    const CHANGES: bool = false;

    fn resource(&self, _: &Engine) -> String {
        below(&self.tenant, "policy", &self.name)
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<NamedPolicyDetail, AdminError> {
        let row = policies::get(connection, &self.tenant, &self.name, self.version).await?;
        let policy = wire(&row);
        Ok(NamedPolicyDetail {
            policy,
            document: row.document.map(text).transpose()?,
        })
    }
}

impl Operation for ListPolicies {
    type Reply = NamedPolicies;
    const ACTION: &'static str = "list-policies";
    const CHANGES: bool = false;

    fn resource(&self, _: &Engine) -> String {
        format!("tenant/{}/policies", self.tenant)
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<NamedPolicies, AdminError> {
        tenants::require(connection, &self.tenant).await?;
        let after = self.after.as_deref().unwrap_or_default();
        let rows = policies::list(connection, &self.tenant, after).await?;
        let next = next_page(&rows, |row| row.name.clone());
        Ok(NamedPolicies {
            policies: rows.iter().map(wire).collect(),
            next,
        })
    }
}

impl Operation for PolicyHistory {
    type Reply = NamedPolicies;
    const ACTION: &'static str = "list-policies";
    const CHANGES: bool = false;

    fn resource(&self, _: &Engine) -> String {
        below(&self.tenant, "policy", &self.name)
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<NamedPolicies, AdminError> {
        tenants::require(connection, &self.tenant).await?;
        let rows = policies::history(connection, &self.tenant, &self.name).await?;
        Ok(NamedPolicies {
            policies: rows.iter().map(wire).collect(),
            next: None,
        })
    }
}
