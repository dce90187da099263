//! Operations on tenants.

use service::audit::AuditContext;
use sqlx::SqliteConnection;

use super::{AdminError, Operation, checked_tenant, text};
use crate::engine::Engine;
use crate::policy_text::{self, PolicyText};
use crate::store::By;
use crate::store::tenants::{self, TenantRow};
use crate::wire::{
    CreateTenant, GetTenant, ListTenants, SetAdmission, Tenant, TenantDetail, Tenants,
};

fn wire(row: &TenantRow) -> Tenant {
    Tenant {
        tenant: row.name.clone(),
        version: row.version,
        admission_digest: row.digest.map(hex::encode),
        created_at: row.created_at,
        changed_at: row.changed_at,
        changed_by: row.changed_by.clone(),
    }
}

/// Says in the audit log which admission policy is asked for: by the digest of the whole document.
///
/// A text that is no policy has none; it is refused.
fn note_admission(context: AuditContext, text: Option<&str>) -> AuditContext {
    let context = context.with("admission", text.is_some());
    match text.map(policy_text::read) {
        Some(Ok(policy)) => context.with_hex("admission_digest", &policy.digest),
        _ => context,
    }
}

/// An optional admission policy in the form that is kept.
fn admission(text: Option<&str>) -> Result<Option<PolicyText>, AdminError> {
    Ok(text.map(policy_text::read).transpose()?)
}

impl Operation for CreateTenant {
    type Reply = Tenant;
    const ACTION: &'static str = "create-tenant";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        format!("tenant/{}", self.tenant)
    }

    fn context(&self) -> AuditContext {
        let context = AuditContext::new().with("tenant", self.tenant.as_str());
        note_admission(context, self.admission.as_deref())
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        by: By<'_>,
    ) -> Result<Tenant, AdminError> {
        checked_tenant(&self.tenant)?;
        let admission = admission(self.admission.as_deref())?;
        tenants::create(
            connection,
            &self.tenant,
            admission.as_ref().map(PolicyText::parts),
            by,
        )
        .await?;
        Ok(wire(&tenants::get(connection, &self.tenant).await?))
    }
}

impl Operation for SetAdmission {
    type Reply = Tenant;
    const ACTION: &'static str = "set-admission";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        format!("tenant/{}", self.tenant)
    }

    fn context(&self) -> AuditContext {
        let context = AuditContext::new()
            .with("tenant", self.tenant.as_str())
            .with("expected_version", self.expected_version);
        note_admission(context, self.admission.as_deref())
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        by: By<'_>,
    ) -> Result<Tenant, AdminError> {
        let admission = admission(self.admission.as_deref())?;
        let (tenant, expected) = (self.tenant.as_str(), self.expected_version);
        tenants::set_admission(
            connection,
            tenant,
            admission.as_ref().map(PolicyText::parts),
            expected,
            by,
        )
        .await?;
        Ok(wire(&tenants::get(connection, tenant).await?))
    }
}

impl Operation for GetTenant {
    type Reply = TenantDetail;
    const ACTION: &'static str = "get-tenant";
    const CHANGES: bool = false;

    fn resource(&self, _: &Engine) -> String {
        format!("tenant/{}", self.tenant)
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<TenantDetail, AdminError> {
        let tenant = wire(&tenants::get(connection, &self.tenant).await?);
        let admission = tenants::admission(connection, &self.tenant).await?;
        Ok(TenantDetail {
            tenant,
            admission: admission.map(text).transpose()?,
        })
    }
}

impl Operation for ListTenants {
    type Reply = Tenants;
    const ACTION: &'static str = "list-tenants";
    const CHANGES: bool = false;

    fn resource(&self, _: &Engine) -> String {
        "tenants".to_owned()
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<Tenants, AdminError> {
        Ok(Tenants {
            tenants: tenants::list(connection).await?.iter().map(wire).collect(),
        })
    }
}
