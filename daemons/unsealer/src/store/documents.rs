//! Documents that requests may name by digest.

use sqlx::SqliteConnection;

use super::{By, StoreError, bounded, bytes_in_force, digest, tenants, unsigned};
use crate::limits::{LIST_PAGE, MAX_DOCUMENTS};

/// One registered document.
#[derive(Clone, Debug)]
pub(crate) struct DocumentRow {
    pub(crate) digest: [u8; 48],
    pub(crate) document: Vec<u8>,
    pub(crate) changed_at: u64,
    pub(crate) changed_by: String,
}

type Columns = (Vec<u8>, Vec<u8>, i64, String);

fn row(columns: Columns) -> Result<DocumentRow, StoreError> {
    let (bytes, document, changed_at, changed_by) = columns;
    Ok(DocumentRow {
        digest: digest(bytes)?,
        document,
        changed_at: unsigned(changed_at)?,
        changed_by,
    })
}

/// Registers a document; one that is registered stays as it is.
pub(crate) async fn register(
    connection: &mut SqliteConnection,
    tenant: &str,
    document: &[u8],
    digest: &[u8; 48],
    by: By<'_>,
) -> Result<(), StoreError> {
    tenants::require(connection, tenant).await?;
    let (count, present): (i64, bool) = sqlx::query_as(
        "SELECT count(*), coalesce(max(digest = ?2), 0) FROM document WHERE tenant = ?1",
    )
    .bind(tenant)
    .bind(digest.as_slice())
    .fetch_one(&mut *connection)
    .await?;
    if present {
        return Ok(());
    }
    bounded(count, "documents of one tenant", MAX_DOCUMENTS)?;
    bytes_in_force(connection, document.len()).await?;
    sqlx::query(
        "INSERT INTO document (tenant, digest, document, changed_at, changed_by)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(tenant)
    .bind(digest.as_slice())
    .bind(document)
    .bind(by.at())
    .bind(by.who)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a document; answers whether it was there.
pub(crate) async fn remove(
    connection: &mut SqliteConnection,
    tenant: &str,
    digest: &[u8; 48],
) -> Result<bool, StoreError> {
    tenants::require(connection, tenant).await?;
    let done = sqlx::query("DELETE FROM document WHERE tenant = ?1 AND digest = ?2")
        .bind(tenant)
        .bind(digest.as_slice())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// One registered document.
pub(crate) async fn get(
    connection: &mut SqliteConnection,
    tenant: &str,
    digest: &[u8; 48],
) -> Result<DocumentRow, StoreError> {
    let columns: Option<Columns> = sqlx::query_as(
        "SELECT digest, document, changed_at, changed_by
         FROM document WHERE tenant = ?1 AND digest = ?2",
    )
    .bind(tenant)
    .bind(digest.as_slice())
    .fetch_optional(connection)
    .await?;
    row(columns.ok_or(StoreError::NotFound("the document"))?)
}

/// A page of a tenant's documents, by digest.
pub(crate) async fn list(
    connection: &mut SqliteConnection,
    tenant: &str,
    after: &[u8],
) -> Result<Vec<DocumentRow>, StoreError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT digest, document, changed_at, changed_by
         FROM document WHERE tenant = ?1 AND digest > ?2 ORDER BY digest LIMIT ?3",
    )
    .bind(tenant)
    .bind(after)
    .bind(LIST_PAGE)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(row).collect()
}

/// Tenant and digest of every document.
pub(crate) async fn all(
    connection: &mut SqliteConnection,
) -> Result<Vec<(String, [u8; 48])>, StoreError> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT tenant, digest FROM document")
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
    async fn registering_twice_is_one_registration() {
        let mut store = store().await;
        tenants::create(&mut store, "acme", None, BY).await.unwrap();
        tenants::create(&mut store, "other", None, BY)
            .await
            .unwrap();
        register(&mut store, "acme", b"one", &[1; 48], BY)
            .await
            .unwrap();
        register(&mut store, "acme", b"one", &[1; 48], BY)
            .await
            .unwrap();
        assert_eq!(list(&mut store, "acme", &[]).await.unwrap().len(), 1);
        assert!(list(&mut store, "other", &[]).await.unwrap().is_empty());
        let foreign = get(&mut store, "other", &[1; 48]).await;
        assert!(
            matches!(foreign, Err(StoreError::NotFound(_))),
            "{foreign:?}"
        );
        assert!(!remove(&mut store, "other", &[1; 48]).await.unwrap());
        assert!(remove(&mut store, "acme", &[1; 48]).await.unwrap());
        assert!(!remove(&mut store, "acme", &[1; 48]).await.unwrap());
        assert!(all(&mut store).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn documents_are_bounded_and_listed_in_pages() {
        let mut store = store().await;
        tenants::create(&mut store, "acme", None, BY).await.unwrap();
        let digest = |n: u64| {
            let mut digest = [0; 48];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            digest
        };
        for n in 0..MAX_DOCUMENTS {
            register(&mut store, "acme", b"x", &digest(n), BY)
                .await
                .unwrap();
        }
        let refused = register(&mut store, "acme", b"x", &digest(MAX_DOCUMENTS), BY).await;
        assert!(
            matches!(refused, Err(StoreError::Limit { .. })),
            "{refused:?}"
        );
        register(&mut store, "acme", b"x", &digest(0), BY)
            .await
            .unwrap();
        let first = list(&mut store, "acme", &[]).await.unwrap();
        assert_eq!(first.len(), LIST_PAGE as usize);
        let second = list(&mut store, "acme", &first.last().unwrap().digest)
            .await
            .unwrap();
        assert!(second[0].digest > first.last().unwrap().digest);
    }
}
