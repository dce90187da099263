//! Operations on tenants.

use std::sync::Arc;

use kms_client::wire::admin::{
    CreateTenant, GetTenant, ListTenants, SetAdmission, Tenant, TenantDetail, Tenants,
};
use service::audit::AuditContext;

use super::{AdminError, Operation, canonical, check_name, digest, note_policy, of_tenant, view};
use crate::{
    engine::Engine,
    limits::LIST_PAGE,
    store::{self, NewTenant},
};

fn wire(row: &store::Tenant, keys: u64) -> Tenant {
    Tenant {
        tenant: row.name.clone(),
        revision: row.revision,
        admission_digest: digest(row.admission.as_deref()),
        keys,
    }
}

/// How many keys a tenant has.
fn count(engine: &Engine, tenant: &str) -> u64 {
    let count = view(engine).map_or(0, |view| view.count_of(tenant));
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn find(engine: &Engine, tenant: &str) -> Result<Arc<store::Tenant>, AdminError> {
    let found = view(engine)?.tenant(tenant).cloned();
    found.ok_or_else(|| AdminError::not_found(format_args!("tenant {tenant}")))
}

impl Operation for CreateTenant {
    type Reply = Tenant;
    const ACTION: &'static str = "create-tenant";

    fn resource(&self, _: &Engine) -> String {
        of_tenant(&self.tenant)
    }

    fn context(&self) -> AuditContext {
        let context = AuditContext::new().with("tenant", self.tenant.as_str());
        note_policy(context, self.admission.as_deref())
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Tenant, AdminError> {
        check_name("tenant", &self.tenant)?;
        let new = NewTenant {
            admission: canonical("admission policy", self.admission.as_deref())?,
            name: self.tenant,
            created_at: engine.unix_seconds(),
        };
        let made = engine.store().create_tenant(new).await?;
        engine.changed().await;
        Ok(wire(&made, 0))
    }
}

impl Operation for SetAdmission {
    type Reply = Tenant;
    const ACTION: &'static str = "set-admission";

    fn resource(&self, _: &Engine) -> String {
        of_tenant(&self.tenant)
    }

    fn context(&self) -> AuditContext {
        let context = AuditContext::new()
            .with("tenant", self.tenant.as_str())
            .with("expected_revision", self.expected_revision);
        note_policy(context, self.admission.as_deref())
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Tenant, AdminError> {
        let admission = canonical("admission policy", self.admission.as_deref())?;
        let set = engine
            .store()
            .set_admission(&self.tenant, self.expected_revision, admission)
            .await?;
        engine.changed().await;
        Ok(wire(&set, count(engine, &self.tenant)))
    }
}

impl Operation for GetTenant {
    type Reply = TenantDetail;
    const ACTION: &'static str = "get-tenant";

    fn resource(&self, _: &Engine) -> String {
        of_tenant(&self.tenant)
    }

    fn context(&self) -> AuditContext {
        AuditContext::new().with("tenant", self.tenant.as_str())
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<TenantDetail, AdminError> {
        let found = find(engine, &self.tenant)?;
        Ok(TenantDetail {
            tenant: wire(&found, count(engine, &self.tenant)),
            admission: found.admission.clone(),
        })
    }
}

impl Operation for ListTenants {
    type Reply = Tenants;
    const ACTION: &'static str = "list-tenants";

    fn resource(&self, _: &Engine) -> String {
        "kms".to_owned()
    }

    fn context(&self) -> AuditContext {
        AuditContext::new()
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Tenants, AdminError> {
        let view = view(engine)?;
        let after = self.after.as_deref().unwrap_or_default();
        let tenants: Vec<_> = view
            .tenants()
            .skip_while(|row| row.name.as_str() <= after)
            .take(LIST_PAGE)
            .map(|row| wire(row, count(engine, &row.name)))
            .collect();
        let next = tenants.last().filter(|_| tenants.len() == LIST_PAGE);
        Ok(Tenants {
            next: next.map(|last| last.tenant.clone()),
            tenants,
        })
    }
}
