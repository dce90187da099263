//! The operator on this host: administration in process, without a network identity.
//!
//! Whoever runs the process or embeds it can do what an administrator can. Calls go the same way as an administrator's,
//! under a policy of their own: the audit log has decision and outcome, with `operator: host` in place of a principal.

use std::sync::Arc;

use kms_client::wire::admin as wire;

use crate::{
    admin::{self, AdminError, Caller, Operation},
    engine::Engine,
};

/// Administration in process; clones share the service.
#[derive(Clone, Debug)]
pub struct Operator {
    engine: Arc<Engine>,
}

/// One function for each call.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $request:ident => $reply:ident;)*) => {
        impl Operator {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                ///
                /// [`AdminError`], as on the wire.
                pub async fn $name(&self, request: wire::$request) -> Result<wire::$reply, AdminError> {
                    self.perform(request).await
                }
            )*
        }
    };
}

calls! {
    /// Creates a tenant; without an admission policy it admits nobody.
    create_tenant: CreateTenant => Tenant;
    /// Replaces a tenant's admission policy.
    set_admission: SetAdmission => Tenant;
    /// One tenant with its admission policy.
    get_tenant: GetTenant => TenantDetail;
    /// A page of tenants.
    list_tenants: ListTenants => Tenants;
    /// Creates a key with its first version.
    create_key: CreateKey => Key;
    /// One key with its policy.
    get_key: GetKey => KeyDetail;
    /// A page of a tenant's keys.
    list_keys: ListKeys => Keys;
    /// Makes a new version, which becomes the primary one.
    rotate_key: RotateKey => Key;
    /// Replaces a key's policy.
    set_policy: SetPolicy => Key;
    /// Changes the state of a version.
    set_state: SetState => Key;
    /// Makes another version the primary one.
    set_primary: SetPrimary => Key;
    /// Replaces a key's settings.
    set_settings: SetSettings => Key;
    /// How much each version is still used.
    get_usage: GetUsage => Usage;
    /// A public key that material can be wrapped to, for one import.
    get_import_parameters: GetImportParameters => ImportParameters;
    /// Brings the material of one version.
    import_key: ImportKey => Key;
    /// Makes a sealed export.
    export_key: ExportKey => ExportedKey;
    /// Restores a key, or brings a copy up to date.
    restore_key: RestoreKey => Key;
}

impl Operator {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    async fn perform<O: Operation>(&self, operation: O) -> Result<O::Reply, AdminError> {
        admin::perform(&self.engine, Caller::Host, operation).await
    }
}
