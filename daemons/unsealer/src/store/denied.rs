//! Digests of documents under which nothing is evaluated any more.

use sqlx::SqliteConnection;

use super::{By, StoreError, bounded, digest, tenants, unsigned};
use crate::limits::{LIST_PAGE, MAX_DENIED_DIGESTS, MAX_DENIED_DIGESTS_IN_FORCE};

/// One denied digest.
#[derive(Clone, Debug)]
pub(crate) struct DeniedRow {
    pub(crate) digest: [u8; 48],
    pub(crate) note: String,
    pub(crate) changed_at: u64,
    pub(crate) changed_by: String,
}

type Columns = (Vec<u8>, String, i64, String);

fn row(columns: Columns) -> Result<DeniedRow, StoreError> {
    let (bytes, note, changed_at, changed_by) = columns;
    Ok(DeniedRow {
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
    let (all, own, present): (i64, i64, bool) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(tenant = ?1), 0),
                coalesce(max(tenant = ?1 AND digest = ?2), 0)
         FROM denied_digest",
    )
    .bind(tenant)
    .bind(digest.as_slice())
    .fetch_one(&mut *connection)
    .await?;
    if !present {
        bounded(own, "denied digests of one tenant", MAX_DENIED_DIGESTS)?;
        bounded(all, "denied digests", MAX_DENIED_DIGESTS_IN_FORCE)?;
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
        "SELECT digest, note, changed_at, changed_by
         FROM denied_digest WHERE tenant = ?1 AND digest > ?2 ORDER BY digest LIMIT ?3",
    )
    .bind(tenant)
    .bind(after)
    .bind(LIST_PAGE)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(row).collect()
}

/// Tenant and digest of every denied digest.
pub(crate) async fn all(
    connection: &mut SqliteConnection,
) -> Result<Vec<(String, [u8; 48])>, StoreError> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT tenant, digest FROM denied_digest")
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|(tenant, bytes)| Ok((tenant, digest(bytes)?)))
        .collect()
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
        assert_eq!(all(&mut store).await.unwrap()[0].0, "acme");
        assert!(remove(&mut store, "acme", &[1; 48]).await.unwrap());
        assert!(!remove(&mut store, "acme", &[1; 48]).await.unwrap());
    }
}
