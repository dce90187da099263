//! Keys: public record, wrapped secret, state, and the reserved evaluations.

use sqlx::SqliteConnection;

use super::{By, StoreError, bounded, integer, tenants, unsigned};
use crate::limits::{MAX_KEY_EVALUATIONS, MAX_KEYS};

/// One key, secret wrapped.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) key_id: [u8; 32],
    pub(crate) tenant: String,
    pub(crate) authority: String,
    pub(crate) key_version: u32,
    pub(crate) record: Vec<u8>,
    pub(crate) wrapped: Vec<u8>,
    pub(crate) state: String,
    pub(crate) reserved: u64,
    pub(crate) created_at: u64,
    pub(crate) changed_at: u64,
    pub(crate) changed_by: String,
}

type Columns = (
    Vec<u8>,
    String,
    String,
    i64,
    Vec<u8>,
    Vec<u8>,
    String,
    i64,
    i64,
    i64,
    String,
);

fn row(columns: Columns) -> Result<KeyRow, StoreError> {
    let (
        key_id,
        tenant,
        authority,
        key_version,
        record,
        wrapped,
        state,
        reserved,
        created_at,
        changed_at,
        changed_by,
    ) = columns;
    Ok(KeyRow {
        key_id: key_id
            .try_into()
            .map_err(|_| StoreError::Corrupt("a key ID that is not 32 bytes"))?,
        tenant,
        authority,
        key_version: u32::try_from(key_version)
            .map_err(|_| StoreError::Corrupt("a key version beyond 32 bits"))?,
        record,
        wrapped,
        state,
        reserved: unsigned(reserved)?,
        created_at: unsigned(created_at)?,
        changed_at: unsigned(changed_at)?,
        changed_by,
    })
}

/// A key to add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewKey<'a> {
    pub(crate) key_id: &'a [u8; 32],
    pub(crate) tenant: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) key_version: u32,
    pub(crate) record: &'a [u8],
    pub(crate) wrapped: &'a [u8],
    /// Evaluations already made elsewhere.
    pub(crate) evaluations: u64,
}

/// Adds a key, ACTIVE.
///
/// A key that is there in any state is a conflict: what was retired or
/// compromised does not come back by importing it again.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    key: NewKey<'_>,
    by: By<'_>,
) -> Result<(), StoreError> {
    tenants::require(connection, key.tenant).await?;
    let (count, same_key, same_version): (i64, bool, bool) = sqlx::query_as(
        "SELECT count(*), coalesce(max(key_id = ?1), 0),
                coalesce(max(tenant = ?2 AND authority = ?3 AND key_version = ?4), 0)
         FROM unsealing_key",
    )
    .bind(key.key_id.as_slice())
    .bind(key.tenant)
    .bind(key.authority)
    .bind(i64::from(key.key_version))
    .fetch_one(&mut *connection)
    .await?;
    if same_key {
        return Err(StoreError::Conflict {
            what: "the key exists already",
            current: None,
        });
    }
    if same_version {
        return Err(StoreError::Conflict {
            what: "the tenant has another key of this version: use the next version",
            current: None,
        });
    }
    bounded(count, "keys", MAX_KEYS)?;
    sqlx::query(
        "INSERT INTO unsealing_key (key_id, tenant, authority, key_version, record, wrapped, state,
                                    reserved, created_at, changed_at, changed_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'ACTIVE', ?7, ?8, ?8, ?9)",
    )
    .bind(key.key_id.as_slice())
    .bind(key.tenant)
    .bind(key.authority)
    .bind(i64::from(key.key_version))
    .bind(key.record)
    .bind(key.wrapped)
    .bind(integer(key.evaluations))
    .bind(by.at())
    .bind(by.who)
    .execute(connection)
    .await?;
    Ok(())
}

/// Changes a key's state, provided it is still `expected`; COMPROMISED is final.
pub(crate) async fn set_state(
    connection: &mut SqliteConnection,
    key_id: &[u8; 32],
    state: &str,
    expected: &str,
    by: By<'_>,
) -> Result<(), StoreError> {
    let current = get(connection, key_id).await?.state;
    if current == "COMPROMISED" && state != current {
        return Err(StoreError::Conflict {
            what: "the key is compromised, which is final: make a new version",
            current: Some(current),
        });
    }
    if current != expected {
        return Err(StoreError::Conflict {
            what: "the key's state was changed meanwhile: read it again",
            current: Some(current),
        });
    }
    write_state(connection, key_id, state, by).await
}

/// Marks a key compromised, whatever its state.
pub(crate) async fn compromise(
    connection: &mut SqliteConnection,
    key_id: &[u8; 32],
    by: By<'_>,
) -> Result<(), StoreError> {
    write_state(connection, key_id, "COMPROMISED", by).await
}

async fn write_state(
    connection: &mut SqliteConnection,
    key_id: &[u8; 32],
    state: &str,
    by: By<'_>,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE unsealing_key SET state = ?2, changed_at = ?3, changed_by = ?4 WHERE key_id = ?1",
    )
    .bind(key_id.as_slice())
    .bind(state)
    .bind(by.at())
    .bind(by.who)
    .execute(connection)
    .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(StoreError::NotFound("the key"))
    }
}

const COLUMNS_BY_ID: &str = "SELECT key_id, tenant, authority, key_version, record, wrapped, state,
    reserved, created_at, changed_at, changed_by FROM unsealing_key WHERE key_id = ?1";

const COLUMNS_ALL: &str = "SELECT key_id, tenant, authority, key_version, record, wrapped, state,
    reserved, created_at, changed_at, changed_by FROM unsealing_key
    ORDER BY tenant, authority, key_version";

/// One key.
pub(crate) async fn get(
    connection: &mut SqliteConnection,
    key_id: &[u8; 32],
) -> Result<KeyRow, StoreError> {
    let columns: Option<Columns> = sqlx::query_as(COLUMNS_BY_ID)
        .bind(key_id.as_slice())
        .fetch_optional(connection)
        .await?;
    row(columns.ok_or(StoreError::NotFound("the key"))?)
}

/// All keys, by tenant, authority and version.
pub(crate) async fn list(connection: &mut SqliteConnection) -> Result<Vec<KeyRow>, StoreError> {
    let rows: Vec<Columns> = sqlx::query_as(COLUMNS_ALL).fetch_all(connection).await?;
    rows.into_iter().map(row).collect()
}

/// Reserves up to `wanted` evaluations of a key; answers how many it got, and how many are
/// reserved in all.
///
/// Fewer than wanted near the limit of 2^40, none at it.
pub(crate) async fn reserve(
    connection: &mut SqliteConnection,
    key_id: &[u8; 32],
    wanted: u64,
) -> Result<(u64, u64), StoreError> {
    let before = get(connection, key_id).await?.reserved;
    let got = wanted.min(MAX_KEY_EVALUATIONS.saturating_sub(before));
    // INVARIANT (never under-counts): added in the database to whatever it holds,
    // and refused by its own check beyond 2^40.
    sqlx::query("UPDATE unsealing_key SET reserved = reserved + ?2 WHERE key_id = ?1")
        .bind(key_id.as_slice())
        .bind(integer(got))
        .execute(connection)
        .await?;
    Ok((got, before.saturating_add(got)))
}

/// Gives back evaluations that were reserved and certainly not used.
pub(crate) async fn give_back(
    connection: &mut SqliteConnection,
    key_id: &[u8; 32],
    unused: u64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE unsealing_key SET reserved = reserved - ?2 WHERE key_id = ?1")
        .bind(key_id.as_slice())
        .bind(integer(unused))
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{BY, store};

    fn key(key_id: &[u8; 32], key_version: u32) -> NewKey<'_> {
        NewKey {
            key_id,
            tenant: "acme",
            authority: "unsealer-1",
            key_version,
            record: b"record",
            wrapped: b"wrapped",
            evaluations: 0,
        }
    }

    #[tokio::test]
    async fn a_key_comes_in_once_whatever_its_state() {
        let mut store = store().await;
        assert!(matches!(
            insert(&mut store, key(&[1; 32], 1), BY).await,
            Err(StoreError::NotFound("the tenant"))
        ));
        tenants::create(&mut store, "acme", None, BY).await.unwrap();
        insert(&mut store, key(&[1; 32], 1), BY).await.unwrap();
        assert_eq!(get(&mut store, &[1; 32]).await.unwrap().state, "ACTIVE");
        compromise(&mut store, &[1; 32], BY).await.unwrap();
        let again = insert(&mut store, key(&[1; 32], 1), BY).await;
        assert!(
            matches!(again, Err(StoreError::Conflict { .. })),
            "{again:?}"
        );
        let same_version = insert(&mut store, key(&[2; 32], 1), BY).await;
        assert!(
            matches!(same_version, Err(StoreError::Conflict { .. })),
            "{same_version:?}"
        );
        insert(&mut store, key(&[2; 32], 2), BY).await.unwrap();
        assert_eq!(list(&mut store).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn states_change_from_what_was_seen_and_compromised_is_final() {
        let mut store = store().await;
        tenants::create(&mut store, "acme", None, BY).await.unwrap();
        let id = [1; 32];
        insert(&mut store, key(&id, 1), BY).await.unwrap();
        set_state(&mut store, &id, "OPEN_ONLY", "ACTIVE", BY)
            .await
            .unwrap();
        let late = set_state(&mut store, &id, "RETIRED", "ACTIVE", BY).await;
        assert!(
            matches!(&late, Err(StoreError::Conflict { current: Some(s), .. }) if s == "OPEN_ONLY"),
            "{late:?}"
        );
        set_state(&mut store, &id, "COMPROMISED", "OPEN_ONLY", BY)
            .await
            .unwrap();
        for state in ["ACTIVE", "OPEN_ONLY", "RETIRED"] {
            let back = set_state(&mut store, &id, state, "COMPROMISED", BY).await;
            assert!(matches!(back, Err(StoreError::Conflict { .. })), "{back:?}");
        }
        assert!(
            set_state(&mut store, &id, "SUPER", "COMPROMISED", BY)
                .await
                .is_err()
        );
        let unknown = compromise(&mut store, &[9; 32], BY).await;
        assert!(
            matches!(unknown, Err(StoreError::NotFound(_))),
            "{unknown:?}"
        );
    }

    #[tokio::test]
    async fn reservations_stop_exactly_at_the_limit() {
        let mut store = store().await;
        tenants::create(&mut store, "acme", None, BY).await.unwrap();
        let id = [1; 32];
        let near = NewKey {
            evaluations: MAX_KEY_EVALUATIONS - 100,
            ..key(&id, 1)
        };
        insert(&mut store, near, BY).await.unwrap();
        assert_eq!(reserve(&mut store, &id, 60).await.unwrap().0, 60);
        assert_eq!(reserve(&mut store, &id, 60).await.unwrap().0, 40);
        assert_eq!(reserve(&mut store, &id, 1).await.unwrap().0, 0);
        assert_eq!(
            get(&mut store, &id).await.unwrap().reserved,
            MAX_KEY_EVALUATIONS
        );
        give_back(&mut store, &id, 10).await.unwrap();
        assert_eq!(reserve(&mut store, &id, 60).await.unwrap().0, 10);
    }
}
