//! How much each version is still used.

use std::sync::Arc;

use kms_client::{
    Sensitivity,
    wire::admin::{GetUsage, Usage, VersionUsage},
};
use service::audit::AuditContext;

use super::{AdminError, Operation, about, find, of_key};
use crate::engine::Engine;

impl Operation for GetUsage {
    type Reply = Usage;
    const ACTION: &'static str = "get-usage";

    fn resource(&self, engine: &Engine) -> String {
        of_key(engine, &self.tenant, &self.key)
    }

    fn context(&self) -> AuditContext {
        about(&self.tenant, &self.key)
    }

    async fn apply(self, engine: &Arc<Engine>) -> Result<Usage, AdminError> {
        // What this replica has counted since its last report belongs to the answer.
        engine.report().await;
        let key = find(engine, &self.tenant, &self.key)?;
        let mut versions = Vec::with_capacity(key.versions.len());
        for version in key.versions.values() {
            let usage = engine.store().usage(&key.id, version.version).await;
            versions.push(VersionUsage {
                version: version.version,
                state: version.state,
                protected: usage.reserved,
                read: usage.read,
                last_used_at: (usage.last_used_at > 0).then_some(usage.last_used_at),
            });
        }
        let reads = |of: &dyn Fn(&VersionUsage) -> bool| {
            let counted = versions.iter().filter(|version| of(version));
            counted.fold(0_u64, |sum, version| sum.saturating_add(version.read))
        };
        Ok(Usage {
            key_id: key.id,
            primary: key.primary,
            reads: reads(&|_| true),
            old_reads: reads(&|version| version.version != key.primary),
            incomplete: key.sensitivity == Sensitivity::Low,
            versions,
        })
    }
}
