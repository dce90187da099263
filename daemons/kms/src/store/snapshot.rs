//! Everything in the store at one moment.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kms_client::KeyId;

use super::records::{Key, Tenant};

/// Tenants and keys at one moment; what did not change between two of them is shared (`Arc::ptr_eq`).
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(super) epoch: u64,
    pub(super) tenants: BTreeMap<String, Arc<Tenant>>,
    pub(super) keys: HashMap<KeyId, Arc<Key>>,
    /// By tenant and name.
    pub(super) names: BTreeMap<String, BTreeMap<String, KeyId>>,
}

impl Snapshot {
    /// Epoch of the change that led here: no tenant and no key has a greater revision.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The tenant of that name.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(name)
    }

    /// Every tenant, by name.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// The key of that identifier, whatever its tenant.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<&Arc<Key>> {
        self.keys.get(id)
    }

    /// The key of that name.
    #[must_use]
    pub fn key_by_name(&self, tenant: &str, name: &str) -> Option<&Arc<Key>> {
        self.keys.get(self.names.get(tenant)?.get(name)?)
    }

    /// Every key, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values()
    }

    /// Keys of one tenant whose names come after `after`, by name.
    pub fn keys_of<'a>(&'a self, tenant: &str, after: &str) -> impl Iterator<Item = &'a Arc<Key>> {
        let names = self.names.get(tenant);
        let after = after.to_owned();
        names
            .into_iter()
            .flat_map(move |names| {
                names.range((
                    std::ops::Bound::Excluded(after.clone()),
                    std::ops::Bound::Unbounded,
                ))
            })
            .filter_map(|(_, id)| self.keys.get(id))
    }

    /// How many keys a tenant has, destroyed ones included.
    #[must_use]
    pub fn count_of(&self, tenant: &str) -> usize {
        self.names.get(tenant).map_or(0, BTreeMap::len)
    }

    /// Keys that were made or changed after `epoch`.
    pub fn changed_since(&self, epoch: u64) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values().filter(move |key| key.revision > epoch)
    }
}
