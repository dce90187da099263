//! Operations on denied digests.

use service::audit::AuditContext;
use sqlx::SqliteConnection;

use super::{AdminError, Operation, below, checked_digest, next_page, page_after};
use crate::engine::Engine;
use crate::limits::MAX_NOTE_BYTES;
use crate::store::denied::{self, DeniedRow};
use crate::store::{By, tenants};
use crate::wire::{AllowDigest, DeniedDigest, DeniedDigests, DenyDigest, ListDenied, Removed};

fn wire(row: DeniedRow) -> DeniedDigest {
    DeniedDigest {
        digest: hex::encode(row.digest),
        note: row.note,
        changed_at: row.changed_at,
        changed_by: row.changed_by,
    }
}

impl Operation for DenyDigest {
    type Reply = DeniedDigest;
    const ACTION: &'static str = "deny-digest";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        below(&self.tenant, "denied", &self.digest)
    }

    fn context(&self) -> AuditContext {
        AuditContext::new()
            .with("tenant", self.tenant.as_str())
            .with("digest", self.digest.as_str())
            .with("note", self.note.as_str())
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        by: By<'_>,
    ) -> Result<DeniedDigest, AdminError> {
        let digest = checked_digest(&self.digest)?;
        if self.note.len() > MAX_NOTE_BYTES {
            return Err(AdminError::bad_request("a note has at most 512 bytes"));
        }
        denied::add(connection, &self.tenant, &digest, &self.note, by).await?;
        Ok(wire(DeniedRow {
            digest,
            note: self.note,
            changed_at: by.at,
            changed_by: by.who.to_owned(),
        }))
    }
}

impl Operation for AllowDigest {
    type Reply = Removed;
    const ACTION: &'static str = "allow-digest";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        below(&self.tenant, "denied", &self.digest)
    }

    fn context(&self) -> AuditContext {
        AuditContext::new()
            .with("tenant", self.tenant.as_str())
            .with("digest", self.digest.as_str())
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<Removed, AdminError> {
        let digest = checked_digest(&self.digest)?;
        Ok(Removed {
            removed: denied::remove(connection, &self.tenant, &digest).await?,
        })
    }
}

impl Operation for ListDenied {
    type Reply = DeniedDigests;
    const ACTION: &'static str = "list-denied";
    const CHANGES: bool = false;

    fn resource(&self, _: &Engine) -> String {
        format!("tenant/{}/denied", self.tenant)
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<DeniedDigests, AdminError> {
        tenants::require(connection, &self.tenant).await?;
        let after = page_after(self.after.as_deref())?;
        let rows = denied::list(connection, &self.tenant, &after).await?;
        let next = next_page(&rows, |row| hex::encode(row.digest));
        Ok(DeniedDigests {
            denied: rows.into_iter().map(wire).collect(),
            next,
        })
    }
}
