//! Wrapping rows anew, online, after the root key was rotated.

use std::{collections::BTreeMap, sync::Arc};

use service::root_key::RootKeyId;

use super::{
    KmsStore, StoreError,
    place::RowId,
    records::{Held, Key},
    rows::{Record, unwrap_material},
    state::State,
    write::Moment,
};
use crate::limits;

/// How far a rewrapping came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rewrapped {
    /// Rows that were wrapped anew.
    pub rows: usize,
    /// Whether rows are left that the newest root key has not wrapped.
    pub more: bool,
}

impl KmsStore {
    /// Wraps a bounded number of rows anew under the newest root key; others change keys meanwhile.
    ///
    /// Revisions stay: nothing that a user sees has changed.
    ///
    /// # Errors
    ///
    /// The database's, or [`StoreError::RootKey`] if the key that wrapped a row is missing.
    pub async fn rewrap(&self) -> Result<Rewrapped, StoreError> {
        self.transact(|moment| {
            let newest = moment.sealer.roots.newest();
            let mut left = moment.state.rows.iter().filter_map(|(id, meta)| {
                let old = meta.root != Some(newest) || material_is_old(moment, id);
                old.then_some(id)
            });
            let mut records = Vec::new();
            for id in left.by_ref().take(limits::REWRAP_ROWS) {
                records.push(again(moment, id)?);
            }
            let done = Rewrapped {
                rows: records.len(),
                more: left.next().is_some(),
            };
            // An empty store has a ledger all the same, and every write wraps that anew: so one is made.
            let ledger = RootKeyId::of_wrapped(&moment.state.sealed);
            if records.is_empty() && ledger != Some(newest) {
                records.extend(any(moment.state));
            }
            Ok((records, done))
        })
        .await
    }

    /// Wraps every row anew, a bounded number in each transaction, until the newest root key has wrapped them all.
    ///
    /// # Errors
    ///
    /// As [`KmsStore::rewrap`].
    pub async fn rewrap_all(&self) -> Result<usize, StoreError> {
        let mut rows = 0;
        loop {
            let done = self.rewrap().await?;
            rows += done.rows;
            if !done.more {
                return Ok(rows);
            }
        }
    }

    /// How much each root key has wrapped, the ledger included: one that has wrapped nothing is no longer needed.
    pub async fn root_keys(&self) -> BTreeMap<String, usize> {
        let state = self.inner.state.lock().await;
        let mut counts = BTreeMap::new();
        let mut count = |id: Option<RootKeyId>| {
            let name = id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
            *counts.entry(name).or_default() += 1;
        };
        count(RootKeyId::of_wrapped(&state.sealed));
        for meta in state.rows.values() {
            count(meta.root);
        }
        for key in state.view.keys.values() {
            for version in key.versions.values() {
                if let Held::Software(wrapped) = &version.held {
                    count(RootKeyId::of_wrapped(&wrapped.0));
                }
            }
        }
        counts
    }
}

fn material_is_old(moment: &Moment<'_>, id: &RowId) -> bool {
    let RowId::Version(key, version) = id else {
        return false;
    };
    let key = moment.state.view.keys.get(key);
    let version = key.and_then(|key| key.versions.get(version));
    match version.map(|version| &version.held) {
        Some(Held::Software(wrapped)) => !moment.sealer.roots.is_newest(&wrapped.0),
        _ => false,
    }
}

/// The record of a row as it is, its material wrapped anew.
fn again(moment: &Moment<'_>, id: &RowId) -> Result<Record, StoreError> {
    let unknown = || StoreError::Damaged(format!("{id} is not in memory"));
    let view = &moment.state.view;
    Ok(match id {
        RowId::Tenant(name) => {
            let tenant = view.tenants.get(name).ok_or_else(unknown)?;
            Record::Tenant(super::Tenant::clone(tenant))
        }
        RowId::Key(key) => Record::Key(Key::clone(view.keys.get(key).ok_or_else(unknown)?)),
        RowId::Version(key, version) => {
            let key: &Arc<Key> = view.keys.get(key).ok_or_else(unknown)?;
            let mut version = key.versions.get(version).ok_or_else(unknown)?.clone();
            if let Held::Software(wrapped) = &version.held {
                let sealer = &moment.sealer;
                let number = version.version;
                let material = unwrap_material(sealer.roots, sealer.store, key, number, wrapped)?;
                let wrapped = sealer.wrap_material(key, number, &material)?;
                version.held = Held::Software(wrapped);
            }
            Record::Version(key.id, version)
        }
        RowId::Usage(key, version) => {
            let usage = moment.state.usage.get(&(*key, *version));
            Record::Usage(*key, *version, *usage.ok_or_else(unknown)?)
        }
    })
}

/// Some record as it is.
fn any(state: &State) -> Option<Record> {
    let tenant = state.view.tenants.values().next()?;
    Some(Record::Tenant(super::Tenant::clone(tenant)))
}
