//! Where a row belongs: what its ciphertext is bound to.
//!
//! A context is `blindfold-kms-store-v1`, the store's identifier, a byte for the kind, and the row's other columns, each
//! with its length in front (four bytes, big-endian), so that no two rows ever have the same one. Another form gets
//! another label.

use kms_client::KeyId;

use super::records::{Key, Tenant, Version};

const LABEL: &[u8] = b"blindfold-kms-store-v1";

/// Identifier of a store: random, so that rows of one can't be put into another one under the same root key.
pub(super) type StoreId = [u8; 16];

/// Which row.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum RowId {
    Tenant(String),
    Key(KeyId),
    Version(KeyId, u32),
    Usage(KeyId, u32),
}

impl std::fmt::Display for RowId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tenant(name) => write!(f, "tenant {name:?}"),
            Self::Key(id) => write!(f, "key {id}"),
            Self::Version(id, version) => write!(f, "version {version} of key {id}"),
            Self::Usage(id, version) => write!(f, "usage of version {version} of key {id}"),
        }
    }
}

fn context(store: &StoreId, kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut context = Vec::with_capacity(256);
    context.extend_from_slice(LABEL);
    context.extend_from_slice(store);
    context.push(kind);
    for field in fields {
        // No column comes near 4 GiB; a length that did not fit would only make the row unreadable.
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        context.extend_from_slice(&length.to_be_bytes());
        context.extend_from_slice(field);
    }
    context
}

pub(super) fn ledger(store: &StoreId, epoch: u64) -> Vec<u8> {
    context(store, 0, &[&epoch.to_be_bytes()])
}

pub(super) fn tenant(store: &StoreId, tenant: &Tenant, epoch: u64) -> Vec<u8> {
    context(
        store,
        1,
        &[
            tenant.name.as_bytes(),
            &tenant.revision.to_be_bytes(),
            &epoch.to_be_bytes(),
        ],
    )
}

pub(super) fn key(store: &StoreId, key: &Key, epoch: u64) -> Vec<u8> {
    context(
        store,
        2,
        &[
            key.id.as_bytes(),
            key.tenant.as_bytes(),
            key.name.as_bytes(),
            key.algorithm.name().as_bytes(),
            key.sensitivity.name().as_bytes(),
            &key.primary.to_be_bytes(),
            &key.revision.to_be_bytes(),
            &epoch.to_be_bytes(),
        ],
    )
}

pub(super) fn version(store: &StoreId, key: &Key, version: &Version, epoch: u64) -> Vec<u8> {
    context(
        store,
        3,
        &[
            key.tenant.as_bytes(),
            key.id.as_bytes(),
            &version.version.to_be_bytes(),
            version.state.name().as_bytes(),
            &epoch.to_be_bytes(),
        ],
    )
}

pub(super) fn usage(store: &StoreId, key: &KeyId, version: u32, epoch: u64) -> Vec<u8> {
    context(
        store,
        4,
        &[key.as_bytes(), &version.to_be_bytes(), &epoch.to_be_bytes()],
    )
}

/// Material never moves and never changes, so neither state nor epoch is part of its place.
pub(super) fn material(store: &StoreId, key: &Key, version: u32) -> Vec<u8> {
    context(
        store,
        5,
        &[
            key.tenant.as_bytes(),
            key.id.as_bytes(),
            &version.to_be_bytes(),
            key.algorithm.name().as_bytes(),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_columns_are_told_apart() {
        let store = [7; 16];
        assert_ne!(
            context(&store, 1, &[b"ab", b"c"]),
            context(&store, 1, &[b"a", b"bc"])
        );
        assert_ne!(
            context(&store, 1, &[b"a", b""]),
            context(&store, 1, &[b"a"])
        );
        assert_ne!(context(&store, 1, &[b"a"]), context(&store, 2, &[b"a"]));
        assert_ne!(context(&store, 1, &[b"a"]), context(&[8; 16], 1, &[b"a"]));
    }

    #[test]
    fn form_is_fixed() {
        let shown = hex::encode(context(&[0xaa; 16], 4, &[&[1, 2], b""]));
        let expected = format!(
            "{}{}04000000020102{}",
            hex::encode(LABEL),
            "aa".repeat(16),
            "00000000"
        );
        assert_eq!(shown, expected);
    }
}
