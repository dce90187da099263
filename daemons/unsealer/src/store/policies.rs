//! Named policies with their history.

use sqlx::SqliteConnection;

use super::{By, StoreError, bounded, bytes_in_force, digest, integer, tenants, unsigned};
use crate::limits::{LIST_PAGE, MAX_POLICY_NAMES, MAX_POLICY_VERSIONS};

/// One version of a named policy; without a document it is a removal.
#[derive(Clone, Debug)]
pub(crate) struct PolicyRow {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) document: Option<Vec<u8>>,
    pub(crate) digest: Option<[u8; 48]>,
    pub(crate) changed_at: u64,
    pub(crate) changed_by: String,
}

type Columns = (String, i64, Option<Vec<u8>>, Option<Vec<u8>>, i64, String);

fn row(columns: Columns) -> Result<PolicyRow, StoreError> {
    let (name, version, document, bytes, changed_at, changed_by) = columns;
    Ok(PolicyRow {
        name,
        version: unsigned(version)?,
        document,
        digest: bytes.map(digest).transpose()?,
        changed_at: unsigned(changed_at)?,
        changed_by,
    })
}

/// The latest version of a name, removals included; `None` for a name never used.
async fn latest(
    connection: &mut SqliteConnection,
    tenant: &str,
    name: &str,
) -> Result<Option<PolicyRow>, StoreError> {
    let columns: Option<Columns> = sqlx::query_as(
        "SELECT name, version, document, digest, changed_at, changed_by
         FROM policy_version WHERE tenant = ?1 AND name = ?2 ORDER BY version DESC LIMIT 1",
    )
    .bind(tenant)
    .bind(name)
    .fetch_optional(connection)
    .await?;
    columns.map(row).transpose()
}

/// Puts a document in force under a name, provided the latest version is still `expected`.
pub(crate) async fn put(
    connection: &mut SqliteConnection,
    tenant: &str,
    name: &str,
    document: &[u8],
    digest: &[u8; 48],
    expected: u64,
    by: By<'_>,
) -> Result<u64, StoreError> {
    tenants::require(connection, tenant).await?;
    let version = next(connection, tenant, name, expected).await?;
    bytes_in_force(connection, document.len()).await?;
    write(
        connection,
        tenant,
        name,
        version,
        Some((document, digest)),
        by,
    )
    .await?;
    Ok(version)
}

/// Takes a name out of force, provided the latest version is still `expected`.
pub(crate) async fn remove(
    connection: &mut SqliteConnection,
    tenant: &str,
    name: &str,
    expected: u64,
    by: By<'_>,
) -> Result<u64, StoreError> {
    match latest(connection, tenant, name).await? {
        Some(PolicyRow {
            document: Some(_), ..
        }) => {}
        _ => return Err(StoreError::NotFound("the policy")),
    }
    let version = next(connection, tenant, name, expected).await?;
    write(connection, tenant, name, version, None, by).await?;
    Ok(version)
}

async fn next(
    connection: &mut SqliteConnection,
    tenant: &str,
    name: &str,
    expected: u64,
) -> Result<u64, StoreError> {
    let current = latest(connection, tenant, name)
        .await?
        .map_or(0, |row| row.version);
    if current != expected {
        return Err(StoreError::Conflict {
            what: "the policy was changed meanwhile: read it again",
            current: Some(current.to_string()),
        });
    }
    if current == 0 {
        let (names,): (i64,) =
            sqlx::query_as("SELECT count(DISTINCT name) FROM policy_version WHERE tenant = ?1")
                .bind(tenant)
                .fetch_one(connection)
                .await?;
        bounded(names, "policy names of one tenant", MAX_POLICY_NAMES)?;
    }
    Ok(current.saturating_add(1))
}

async fn write(
    connection: &mut SqliteConnection,
    tenant: &str,
    name: &str,
    version: u64,
    content: Option<(&[u8], &[u8; 48])>,
    by: By<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO policy_version (tenant, name, version, document, digest, changed_at, changed_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(tenant)
    .bind(name)
    .bind(integer(version))
    .bind(content.map(|(document, _)| document))
    .bind(content.map(|(_, digest)| digest.as_slice()))
    .bind(by.at())
    .bind(by.who)
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM policy_version WHERE tenant = ?1 AND name = ?2 AND version <= ?3")
        .bind(tenant)
        .bind(name)
        .bind(integer(version.saturating_sub(MAX_POLICY_VERSIONS)))
        .execute(connection)
        .await?;
    Ok(())
}

/// One kept version of a name, or its latest.
pub(crate) async fn get(
    connection: &mut SqliteConnection,
    tenant: &str,
    name: &str,
    version: Option<u64>,
) -> Result<PolicyRow, StoreError> {
    let found = match version {
        None => latest(connection, tenant, name).await?,
        Some(version) => {
            let columns: Option<Columns> = sqlx::query_as(
                "SELECT name, version, document, digest, changed_at, changed_by
                 FROM policy_version WHERE tenant = ?1 AND name = ?2 AND version = ?3",
            )
            .bind(tenant)
            .bind(name)
            .bind(integer(version))
            .fetch_optional(connection)
            .await?;
            columns.map(row).transpose()?
        }
    };
    found.ok_or(StoreError::NotFound("the policy"))
}

/// A page of a tenant's policies in force, by name.
pub(crate) async fn list(
    connection: &mut SqliteConnection,
    tenant: &str,
    after: &str,
) -> Result<Vec<PolicyRow>, StoreError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT name, version, document, digest, changed_at, changed_by
         FROM policy_version p
         WHERE tenant = ?1 AND name > ?2 AND document IS NOT NULL
           AND version = (SELECT max(version) FROM policy_version l
                          WHERE l.tenant = p.tenant AND l.name = p.name)
         ORDER BY name LIMIT ?3",
    )
    .bind(tenant)
    .bind(after)
    .bind(LIST_PAGE)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(row).collect()
}

/// Every kept version of a name, newest first.
pub(crate) async fn history(
    connection: &mut SqliteConnection,
    tenant: &str,
    name: &str,
) -> Result<Vec<PolicyRow>, StoreError> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT name, version, document, digest, changed_at, changed_by
         FROM policy_version WHERE tenant = ?1 AND name = ?2 ORDER BY version DESC",
    )
    .bind(tenant)
    .bind(name)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(row).collect()
}

/// Tenant, name and digest of every policy in force.
pub(crate) async fn in_force(
    connection: &mut SqliteConnection,
) -> Result<Vec<(String, String, [u8; 48])>, StoreError> {
    let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "SELECT tenant, name, digest
         FROM policy_version p
         WHERE digest IS NOT NULL
           AND version = (SELECT max(version) FROM policy_version l
                          WHERE l.tenant = p.tenant AND l.name = p.name)",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(tenant, name, bytes)| Ok((tenant, name, digest(bytes)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{BY, store};

    async fn with_tenant() -> SqliteConnection {
        let mut store = store().await;
        tenants::create(&mut store, "acme", None, BY).await.unwrap();
        tenants::create(&mut store, "other", None, BY)
            .await
            .unwrap();
        store
    }

    #[tokio::test]
    async fn versions_count_puts_and_removals() {
        let mut store = with_tenant().await;
        assert_eq!(
            put(&mut store, "acme", "p", b"one", &[1; 48], 0, BY)
                .await
                .unwrap(),
            1
        );
        assert_eq!(
            put(&mut store, "acme", "p", b"two", &[2; 48], 1, BY)
                .await
                .unwrap(),
            2
        );
        assert_eq!(remove(&mut store, "acme", "p", 2, BY).await.unwrap(), 3);
        let gone = remove(&mut store, "acme", "p", 3, BY).await;
        assert!(matches!(gone, Err(StoreError::NotFound(_))), "{gone:?}");
        assert!(in_force(&mut store).await.unwrap().is_empty());
        assert!(list(&mut store, "acme", "").await.unwrap().is_empty());
        // Coming back goes on counting: version 1 never means two things.
        assert_eq!(
            put(&mut store, "acme", "p", b"four", &[4; 48], 3, BY)
                .await
                .unwrap(),
            4
        );
        let versions: Vec<u64> = history(&mut store, "acme", "p")
            .await
            .unwrap()
            .iter()
            .map(|row| row.version)
            .collect();
        assert_eq!(versions, [4, 3, 2, 1]);
        assert_eq!(
            get(&mut store, "acme", "p", Some(2))
                .await
                .unwrap()
                .document
                .as_deref(),
            Some(&b"two"[..])
        );
        assert_eq!(get(&mut store, "acme", "p", None).await.unwrap().version, 4);
    }

    #[tokio::test]
    async fn of_two_changes_from_one_version_the_second_is_refused() {
        let mut store = with_tenant().await;
        put(&mut store, "acme", "p", b"one", &[1; 48], 0, BY)
            .await
            .unwrap();
        for expected in [0, 2] {
            let late = put(&mut store, "acme", "p", b"two", &[2; 48], expected, BY).await;
            assert!(
                matches!(&late, Err(StoreError::Conflict { current: Some(v), .. }) if v == "1"),
                "{late:?}"
            );
        }
        let late = remove(&mut store, "acme", "p", 0, BY).await;
        assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    }

    #[tokio::test]
    async fn names_are_the_tenants_own() {
        let mut store = with_tenant().await;
        put(&mut store, "acme", "p", b"one", &[1; 48], 0, BY)
            .await
            .unwrap();
        let foreign = get(&mut store, "other", "p", None).await;
        assert!(
            matches!(foreign, Err(StoreError::NotFound(_))),
            "{foreign:?}"
        );
        assert_eq!(in_force(&mut store).await.unwrap()[0].0, "acme");
    }

    #[tokio::test]
    async fn history_is_bounded_and_loses_the_oldest() {
        let mut store = with_tenant().await;
        for version in 0..MAX_POLICY_VERSIONS + 3 {
            put(&mut store, "acme", "p", b"x", &[1; 48], version, BY)
                .await
                .unwrap();
        }
        let kept = history(&mut store, "acme", "p").await.unwrap();
        assert_eq!(kept.len() as u64, MAX_POLICY_VERSIONS);
        assert_eq!(kept.last().unwrap().version, 4);
    }

    #[tokio::test]
    async fn names_are_bounded_and_listed_in_pages() {
        let mut store = with_tenant().await;
        for n in 0..MAX_POLICY_NAMES {
            put(
                &mut store,
                "acme",
                &format!("p{n:05}"),
                b"x",
                &[1; 48],
                0,
                BY,
            )
            .await
            .unwrap();
        }
        let refused = put(&mut store, "acme", "q", b"x", &[1; 48], 0, BY).await;
        assert!(
            matches!(refused, Err(StoreError::Limit { .. })),
            "{refused:?}"
        );
        // A new version of a known name still fits, another tenant is not concerned.
        put(&mut store, "acme", "p00000", b"y", &[1; 48], 1, BY)
            .await
            .unwrap();
        put(&mut store, "other", "q", b"x", &[1; 48], 0, BY)
            .await
            .unwrap();
        let (mut after, mut seen) = (String::new(), 0);
        loop {
            let page = list(&mut store, "acme", &after).await.unwrap();
            let Some(last) = page.last() else { break };
            after = last.name.clone();
            seen += page.len() as u64;
            assert!(page.len() <= LIST_PAGE as usize);
        }
        assert_eq!(seen, MAX_POLICY_NAMES);
    }
}
