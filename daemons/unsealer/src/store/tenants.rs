//! Tenants and their admission policies.

use sqlx::SqliteConnection;

use super::{By, StoreError, bounded, bytes_in_force, digest, integer, unsigned};
use crate::limits::MAX_TENANTS;

/// A document in canonical form and its digest.
pub(crate) type Document<'a> = (&'a [u8], &'a [u8; 48]);

/// One tenant, without the document of its admission policy.
#[derive(Clone, Debug)]
pub(crate) struct TenantRow {
    pub(crate) name: String,
    /// Digest of the admission policy; none: nobody is admitted.
    pub(crate) digest: Option<[u8; 48]>,
    pub(crate) version: u64,
    pub(crate) created_at: u64,
    pub(crate) changed_at: u64,
    pub(crate) changed_by: String,
}

type Columns = (String, Option<Vec<u8>>, i64, i64, i64, String);

fn row(columns: Columns) -> Result<TenantRow, StoreError> {
    let (name, bytes, version, created_at, changed_at, changed_by) = columns;
    Ok(TenantRow {
        name,
        digest: bytes.map(digest).transpose()?,
        version: unsigned(version)?,
        created_at: unsigned(created_at)?,
        changed_at: unsigned(changed_at)?,
        changed_by,
    })
}

/// Adds a tenant.
pub(crate) async fn create(
    connection: &mut SqliteConnection,
    name: &str,
    admission: Option<Document<'_>>,
    by: By<'_>,
) -> Result<(), StoreError> {
    let (count, present): (i64, bool) =
        sqlx::query_as("SELECT count(*), coalesce(max(name = ?1), 0) FROM tenant")
            .bind(name)
            .fetch_one(&mut *connection)
            .await?;
    if present {
        return Err(StoreError::Conflict {
            what: "the tenant exists already",
            current: None,
        });
    }
    bounded(count, "tenants", MAX_TENANTS)?;
    bytes_in_force(
        connection,
        admission.map_or(0, |(document, _)| document.len()),
    )
    .await?;
    sqlx::query(
        "INSERT INTO tenant (name, admission, digest, version, created_at, changed_at, changed_by)
         VALUES (?1, ?2, ?3, 1, ?4, ?4, ?5)",
    )
    .bind(name)
    .bind(admission.map(|(document, _)| document))
    .bind(admission.map(|(_, digest)| digest.as_slice()))
    .bind(by.at())
    .bind(by.who)
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces the admission policy, provided its version is still `expected`.
pub(crate) async fn set_admission(
    connection: &mut SqliteConnection,
    name: &str,
    admission: Option<Document<'_>>,
    expected: u64,
    by: By<'_>,
) -> Result<(), StoreError> {
    let current = get(connection, name).await?;
    if current.version != expected {
        return Err(StoreError::Conflict {
            what: "the admission policy was changed meanwhile: read it again",
            current: Some(current.version.to_string()),
        });
    }
    bytes_in_force(
        connection,
        admission.map_or(0, |(document, _)| document.len()),
    )
    .await?;
    sqlx::query(
        "UPDATE tenant SET admission = ?2, digest = ?3, version = version + 1, changed_at = ?5,
                           changed_by = ?6
         WHERE name = ?1 AND version = ?4",
    )
    .bind(name)
    .bind(admission.map(|(document, _)| document))
    .bind(admission.map(|(_, digest)| digest.as_slice()))
    .bind(integer(expected))
    .bind(by.at())
    .bind(by.who)
    .execute(connection)
    .await?;
    Ok(())
}

/// One tenant.
pub(crate) async fn get(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<TenantRow, StoreError> {
    let columns: Option<Columns> = sqlx::query_as(
        "SELECT name, digest, version, created_at, changed_at, changed_by
         FROM tenant WHERE name = ?1",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    row(columns.ok_or(StoreError::NotFound("the tenant"))?)
}

/// The admission policy of a tenant.
pub(crate) async fn admission(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let found: Option<(Option<Vec<u8>>,)> =
        sqlx::query_as("SELECT admission FROM tenant WHERE name = ?1")
            .bind(name)
            .fetch_optional(connection)
            .await?;
    found
        .map(|(document,)| document)
        .ok_or(StoreError::NotFound("the tenant"))
}

/// All tenants, by name.
pub(crate) async fn list(connection: &mut SqliteConnection) -> Result<Vec<TenantRow>, StoreError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT name, digest, version, created_at, changed_at, changed_by
         FROM tenant ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(row).collect()
}

/// Refuses a tenant that does not exist.
pub(crate) async fn require(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<(), StoreError> {
    let found: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM tenant WHERE name = ?1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    found.map(|_| ()).ok_or(StoreError::NotFound("the tenant"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{BY, store};

    #[tokio::test]
    async fn a_tenant_is_created_once_and_admits_nobody_at_first() {
        let mut store = store().await;
        create(&mut store, "acme", None, BY).await.unwrap();
        let tenant = get(&mut store, "acme").await.unwrap();
        assert_eq!((tenant.digest, tenant.version), (None, 1));
        assert_eq!(tenant.changed_by, BY.who);
        let again = create(&mut store, "acme", Some((b"{}", &[1; 48])), BY).await;
        assert!(
            matches!(again, Err(StoreError::Conflict { .. })),
            "{again:?}"
        );
    }

    #[tokio::test]
    async fn of_two_changes_from_one_version_the_second_is_refused() {
        let mut store = store().await;
        create(&mut store, "acme", None, BY).await.unwrap();
        set_admission(&mut store, "acme", Some((b"one", &[1; 48])), 1, BY)
            .await
            .unwrap();
        let late = set_admission(&mut store, "acme", Some((b"two", &[2; 48])), 1, BY).await;
        assert!(
            matches!(&late, Err(StoreError::Conflict { current: Some(v), .. }) if v == "2"),
            "{late:?}"
        );
        assert_eq!(get(&mut store, "acme").await.unwrap().digest, Some([1; 48]));
        assert_eq!(
            admission(&mut store, "acme").await.unwrap().as_deref(),
            Some(&b"one"[..])
        );
        set_admission(&mut store, "acme", None, 2, BY)
            .await
            .unwrap();
        assert_eq!(get(&mut store, "acme").await.unwrap().digest, None);
    }

    #[tokio::test]
    async fn tenants_are_bounded() {
        let mut store = store().await;
        for n in 0..MAX_TENANTS {
            create(&mut store, &format!("t{n}"), None, BY)
                .await
                .unwrap();
        }
        let refused = create(&mut store, "one-too-many", None, BY).await;
        assert!(matches!(
            refused,
            Err(StoreError::Limit {
                limit: MAX_TENANTS,
                ..
            })
        ));
        assert_eq!(list(&mut store).await.unwrap().len(), 1024);
    }

    #[tokio::test]
    async fn bytes_of_policies_in_force_are_bounded() {
        let mut store = store().await;
        let big = vec![b' '; crate::limits::MAX_POLICY_BYTES];
        let fit = crate::limits::MAX_POLICY_BYTES_IN_FORCE / big.len() as u64;
        create(&mut store, "acme", Some((&big, &[1; 48])), BY)
            .await
            .unwrap();
        for n in 1..fit {
            let mut digest = [0; 48];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            crate::store::documents::register(&mut store, "acme", &big, &digest, BY)
                .await
                .unwrap();
        }
        let refused =
            crate::store::policies::put(&mut store, "acme", "p", &big, &[1; 48], 0, BY).await;
        assert!(
            matches!(refused, Err(StoreError::Limit { .. })),
            "{refused:?}"
        );
    }
}
