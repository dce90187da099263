//! Operations on the documents that requests name by digest.

use service::audit::AuditContext;
use sqlx::SqliteConnection;

use super::{AdminError, Operation, below, checked_digest, next_page, page_after, text};
use crate::engine::Engine;
use crate::policy_text;
use crate::store::documents::{self, DocumentRow};
use crate::store::{By, tenants};
use crate::wire::{
    Document, DocumentDetail, Documents, GetDocument, ListDocuments, RegisterDocument,
    RemoveDocument, Removed,
};

fn wire(row: &DocumentRow) -> Document {
    Document {
        digest: hex::encode(row.digest),
        changed_at: row.changed_at,
        changed_by: row.changed_by.clone(),
    }
}

impl Operation for RegisterDocument {
    type Reply = Document;
    const ACTION: &'static str = "register-document";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        format!("tenant/{}/documents", self.tenant)
    }

    fn context(&self) -> AuditContext {
        let context = AuditContext::new().with("tenant", self.tenant.as_str());
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
    ) -> Result<Document, AdminError> {
        let document = policy_text::read(&self.document)?;
        let (tenant, digest) = (self.tenant.as_str(), &document.digest);
        documents::register(connection, tenant, &document.canonical, digest, by).await?;
        Ok(wire(&documents::get(connection, tenant, digest).await?))
    }
}

impl Operation for GetDocument {
    type Reply = DocumentDetail;
    const ACTION: &'static str = "get-document";
    const CHANGES: bool = false;

    fn resource(&self, _: &Engine) -> String {
        below(&self.tenant, "document", &self.digest)
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<DocumentDetail, AdminError> {
        let digest = checked_digest(&self.digest)?;
        let row = documents::get(connection, &self.tenant, &digest).await?;
        let registration = wire(&row);
        Ok(DocumentDetail {
            registration,
            document: text(row.document)?,
        })
    }
}

impl Operation for ListDocuments {
    type Reply = Documents;
    const ACTION: &'static str = "list-documents";
    const CHANGES: bool = false;

    fn resource(&self, _: &Engine) -> String {
        format!("tenant/{}/documents", self.tenant)
    }

    async fn apply(
        self,
        _: &Engine,
        connection: &mut SqliteConnection,
        _: By<'_>,
    ) -> Result<Documents, AdminError> {
        tenants::require(connection, &self.tenant).await?;
        let after = page_after(self.after.as_deref())?;
        let rows = documents::list(connection, &self.tenant, &after).await?;
        let next = next_page(&rows, |row| hex::encode(row.digest));
        Ok(Documents {
            documents: rows.iter().map(wire).collect(),
            next,
        })
    }
}

impl Operation for RemoveDocument {
    type Reply = Removed;
    const ACTION: &'static str = "remove-document";
    const CHANGES: bool = true;

    fn resource(&self, _: &Engine) -> String {
        below(&self.tenant, "document", &self.digest)
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
            removed: documents::remove(connection, &self.tenant, &digest).await?,
        })
    }
}
