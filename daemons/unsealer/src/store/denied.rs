//! Digests of documents under which nothing is evaluated any more.

use sqlx::SqliteConnection;

use super::{By, StoreError, bounded, digest, tenants, unsigned};
use crate::limits::{LIST_PAGE, MAX_DENIED_DIGESTS};

/// One denied digest.
#[derive(Clone, Debug)]
pub(crate) struct DeniedRow {
    pub(crate) tenant: String,
    pub(crate) digest: [u8; 48],
    pub(crate) note: String,
    pub(crate) changed_at: u64,
    pub(crate) changed_by: String,
}

type Columns = (String, Vec<u8>, String, i64, String);

fn row(columns: Columns) -> Result<DeniedRow, StoreError> {
    let (tenant, bytes, note, changed_at, changed_by) = columns;
    Ok(DeniedRow {
        tenant,
        digest: digest(bytes)?,
        note,
        changed_at: unsigned(changed_at)?,
        changed_by,
    })
}

/// Denies a digest; the note of one already denied is replaced.
pub(crate) async fn add(
    connection: &mut SqliteConnection,
    tenant: &str,
    digest: &[u8; 48],
    note: &str,
    by: By<'_>,
) -> Result<(), StoreError> {
    tenants::require(connection, tenant).await?;
    let (count, present): (i64, bool) = sqlx::query_as(
        "SELECT count(*), coalesce(max(digest = ?2), 0) FROM denied_digest WHERE tenant = ?1",
    )
    .bind(tenant)
    .bind(digest.as_slice())
    .fetch_one(&mut *connection)
    .await?;
    if !present {
        bounded(count, "denied digests of one tenant", MAX_DENIED_DIGESTS)?;
    }
    sqlx::query(
        "INSERT INTO denied_digest (tenant, digest, note, changed_at, changed_by)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (tenant, digest) DO UPDATE
         SET note = ?3, changed_at = ?4, changed_by = ?5",
    )
    .bind(tenant)
    .bind(digest.as_slice())
    .bind(note)
    .bind(by.at())
    .bind(by.who)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a digest off the list; answers whether it was on it.
pub(crate) async fn remove(
    connection: &mut SqliteConnection,
    tenant: &str,
    digest: &[u8; 48],
) -> Result<bool, StoreError> {
    tenants::require(connection, tenant).await?;
    let done = sqlx::query("DELETE FROM denied_digest WHERE tenant = ?1 AND digest = ?2")
        .bind(tenant)
        .bind(digest.as_slice())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// A page of a tenant's denied digests.
pub(crate) async fn list(
    connection: &mut SqliteConnection,
    tenant: &str,
    after: &[u8],
) -> Result<Vec<DeniedRow>, StoreError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT tenant, digest, note, changed_at, changed_by
         FROM denied_digest WHERE tenant = ?1 AND digest > ?2 ORDER BY digest LIMIT ?3",
    )
    .bind(tenant)
    .bind(after)
    .bind(LIST_PAGE)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(row).collect()
}

/// All denied digests of all tenants.
pub(crate) async fn all(connection: &mut SqliteConnection) -> Result<Vec<DeniedRow>, StoreError> {
    let rows: Vec<Columns> =
        sqlx::query_as("SELECT tenant, digest, note, changed_at, changed_by FROM denied_digest")
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{BY, store};

    #[tokio::test]
    async fn denying_is_per_tenant_and_repeatable() {
        let mut store = store().await;
        tenants::create(&mut store, "acme", None, BY).await.unwrap();
        tenants::create(&mut store, "other", None, BY)
            .await
            .unwrap();
        add(&mut store, "acme", &[1; 48], "leaked", BY)
            .await
            .unwrap();
        add(&mut store, "acme", &[1; 48], "leaked in March", BY)
            .await
            .unwrap();
        let page = list(&mut store, "acme", &[]).await.unwrap();
        assert_eq!(page.len(), 1);
        assert_eq!(page[0].note, "leaked in March");
        assert!(list(&mut store, "other", &[]).await.unwrap().is_empty());
        assert_eq!(all(&mut store).await.unwrap()[0].tenant, "acme");
        assert!(remove(&mut store, "acme", &[1; 48]).await.unwrap());
        assert!(!remove(&mut store, "acme", &[1; 48]).await.unwrap());
    }
}
