//! What the store holds, as its users see it: tenants, keys, versions, usage, and what new ones are made of.

use std::{collections::BTreeMap, fmt, sync::Arc};

use kms_client::{
    Algorithm, KeyId, Sensitivity, State,
    wire::admin::{Origin, Settings},
};
use zeroize::Zeroizing;

/// A tenant: a name space of keys with an admission policy of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Who may ask for any of its keys at all, as a policy document; none admits nobody.
    pub admission: Option<String>,
    /// When it was made, Unix seconds.
    pub created_at: u64,
    /// Rises with every change, and never repeats.
    pub revision: u64,
}

/// A key and its versions; material stays wrapped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// Its identifier, which its ciphertexts carry.
    pub id: KeyId,
    /// The tenant's name.
    pub tenant: String,
    /// Its name, unique in its tenant.
    pub name: String,
    /// Fixed for its life.
    pub algorithm: Algorithm,
    /// Fixed for its life.
    pub sensitivity: Sensitivity,
    /// Who may do what with it, as a policy document; none: nobody anything.
    pub policy: Option<String>,
    /// The rest of what administrators set.
    pub settings: Settings,
    /// The version that protects.
    // INVARIANT (one primary): one of `versions`.
    pub primary: u32,
    /// When it was made or brought here, Unix seconds.
    pub created_at: u64,
    /// Rises with every change of the key or of one of its versions, and never repeats: also not after the store was
    /// restored from a backup.
    pub revision: u64,
    /// Its versions by number.
    pub versions: BTreeMap<u32, Version>,
}

impl Key {
    /// The version that protects.
    #[must_use]
    pub fn primary_version(&self) -> Option<&Version> {
        self.versions.get(&self.primary)
    }

    /// The number that the next version gets: one above the greatest there ever was.
    #[must_use]
    pub fn next_version(&self) -> u32 {
        self.versions
            .last_key_value()
            .map_or(1, |(greatest, _)| greatest.saturating_add(1))
    }
}

/// One version of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// Its number, from 1.
    pub version: u32,
    /// Its state.
    pub state: State,
    /// Where it came from.
    pub origin: Origin,
    /// When it was made or brought here, Unix seconds.
    pub created_at: u64,
    /// When it will be destroyed, Unix seconds: in the state `pending-destruction` only.
    pub destroy_at: Option<u64>,
    /// Where the material is.
    pub held: Held,
    /// Time of operation at which it was scheduled and after which it may be destroyed; see
    /// [`KmsStore::destroy_version`](super::KmsStore::destroy_version).
    pub(super) destroy_uptime: Option<u64>,
}

/// Where the material of a version is.
#[derive(Clone, Eq, PartialEq)]
pub enum Held {
    /// Here, wrapped under a root key; [`KmsStore::material`](super::KmsStore::material) opens it.
    Software(Wrapped),
    /// In an HSM, under this reference; the store knows nothing else of it.
    Hsm(Vec<u8>),
    /// Nowhere: destroyed.
    Gone,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Software(_) => f.write_str("Software"),
            Self::Hsm(reference) => write!(f, "Hsm({})", hex::encode(reference)),
            Self::Gone => f.write_str("Gone"),
        }
    }
}

/// Material wrapped under a root key; what it is bound to is the store's affair.
#[derive(Clone, Eq, PartialEq)]
pub struct Wrapped(pub(super) Arc<[u8]>);

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped({} bytes)", self.0.len())
    }
}

/// How much a version was used, summed over all replicas.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Upper bound of how often it has protected something: reserved in blocks before use, so never too low.
    pub reserved: u64,
    /// How often it has read something; what was counted since the last report of a replica that died is missing.
    pub read: u64,
    /// When it last did either, Unix seconds; 0: never seen.
    pub last_used_at: u64,
}

/// What a replica has counted since its last report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsageReport {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: u32,
    /// Reads to add.
    pub read: u64,
    /// Time of the last use, Unix seconds.
    pub last_used_at: u64,
}

/// Uses that may be spent: numbers `first ..= last` of the version's uses; durable, and no other replica has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reserved {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl Reserved {
    /// How many.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// Material of a new version.
pub enum NewMaterial {
    /// Bytes to be kept wrapped: a secret key, or a private key as PKCS #8 DER.
    Software(Zeroizing<Vec<u8>>),
    /// The reference of an object that an HSM made and keeps.
    Hsm(Vec<u8>),
}

impl fmt::Debug for NewMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Software(_) => f.write_str("Software"),
            Self::Hsm(reference) => write!(f, "Hsm({})", hex::encode(reference)),
        }
    }
}

/// A version to add.
#[derive(Debug)]
pub struct NewVersion {
    /// Its number: [`Key::next_version`], or with an import from elsewhere any that is free.
    pub version: u32,
    /// Any state but `pending-destruction` and `destroyed`.
    pub state: State,
    /// Where it came from.
    pub origin: Origin,
    /// When it was made, Unix seconds.
    pub created_at: u64,
    /// Its material.
    pub material: NewMaterial,
    /// Uses it has behind it already, elsewhere.
    pub uses: u64,
}

/// A tenant to make.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Its name.
    pub name: String,
    /// Its admission policy.
    pub admission: Option<String>,
    /// Now, Unix seconds.
    pub created_at: u64,
}

/// A key to make, with its versions.
#[derive(Debug)]
pub struct NewKey {
    /// Random, or that of the key elsewhere that this is a copy of.
    pub id: KeyId,
    /// The tenant, which must exist.
    pub tenant: String,
    /// The name, free in that tenant.
    pub name: String,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The sensitivity.
    pub sensitivity: Sensitivity,
    /// The policy.
    pub policy: Option<String>,
    /// The settings.
    pub settings: Settings,
    /// Now, Unix seconds.
    pub created_at: u64,
    /// At least one.
    pub versions: Vec<NewVersion>,
    /// The one that protects, which must be enabled.
    pub primary: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_is_not_printed() {
        let new = NewMaterial::Software(Zeroizing::new(b"MATERIAL".to_vec()));
        assert_eq!(format!("{new:?}"), "Software");
        let held = Held::Software(Wrapped(Arc::from(&b"WRAPPED"[..])));
        assert_eq!(format!("{held:?}"), "Software");
        let wrapped = Wrapped(Arc::from(&b"WRAPPED"[..]));
        assert_eq!(format!("{wrapped:?}"), "Wrapped(7 bytes)");
    }

    #[test]
    fn blocks_know_their_size() {
        let reserved = Reserved {
            first: 11,
            last: 20,
        };
        assert_eq!(reserved.count(), 10);
    }
}
