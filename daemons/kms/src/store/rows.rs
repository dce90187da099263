//! Rows: what is in their ciphertext, and how they are sealed and opened.

use std::sync::Arc;

use kms_client::{
    KeyId,
    wire::admin::{Origin, Settings},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use service::root_key::{RootKeyId, RootKeys};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    StoreError,
    digest::{Digest, Hasher},
    place::{self, RowId, StoreId},
    records::{Held, Key, Tenant, Usage, Version, Wrapped},
};

/// What a row says.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Tenant(Tenant),
    /// Without its versions, which are rows of their own.
    Key(Key),
    Version(KeyId, Version),
    Usage(KeyId, u32, Usage),
}

/// What is remembered of a row as it is in the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    /// Epoch in which it was last written.
    pub(super) epoch: u64,
    /// Its summand in the digest.
    pub(super) item: Digest,
    /// The root key that wrapped it.
    pub(super) root: Option<RootKeyId>,
}

/// A row to be written.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) record: Record,
    pub(super) sealed: Vec<u8>,
    pub(super) meta: Meta,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TenantBody {
    admission: Option<String>,
    created_at: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    policy: Option<String>,
    settings: Settings,
    created_at: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct VersionBody {
    origin: Origin,
    created_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destroy_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destroy_uptime: Option<u64>,
    held: HeldBody,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum HeldBody {
    /// SHA-256 of the wrapped material, hex: so the row vouches for the column beside it.
    Software(String),
    /// The reference, hex.
    Hsm(String),
    Gone,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct UsageBody {
    reserved: u64,
    read: u64,
    last_used_at: u64,
}

impl Record {
    pub(super) fn id(&self) -> RowId {
        match self {
            Self::Tenant(tenant) => RowId::Tenant(tenant.name.clone()),
            Self::Key(key) => RowId::Key(key.id),
            Self::Version(key, version) => RowId::Version(*key, version.version),
            Self::Usage(key, version, _) => RowId::Usage(*key, *version),
        }
    }
}

/// Seals and opens the rows of one store.
#[derive(Clone, Copy)]
pub(super) struct Sealer<'a> {
    pub(super) roots: &'a RootKeys,
    pub(super) store: &'a StoreId,
    pub(super) hasher: &'a Hasher,
}

impl Sealer<'_> {
    /// Seals a record into its row of `epoch`; `key` is the one that a version belongs to.
    pub(super) fn seal(
        &self,
        record: Record,
        key: Option<&Key>,
        epoch: u64,
    ) -> Result<Row, StoreError> {
        let id = record.id();
        let (place, body) = match &record {
            Record::Tenant(tenant) => (
                place::tenant(self.store, tenant, epoch),
                json(&TenantBody {
                    admission: tenant.admission.clone(),
                    created_at: tenant.created_at,
                }),
            ),
            Record::Key(key) => (
                place::key(self.store, key, epoch),
                json(&KeyBody {
                    policy: key.policy.clone(),
                    settings: key.settings.clone(),
                    created_at: key.created_at,
                }),
            ),
            Record::Version(_, version) => {
                let key = key.ok_or_else(|| StoreError::Damaged(format!("{id} has no key")))?;
                (
                    place::version(self.store, key, version, epoch),
                    json(&VersionBody::of(version)),
                )
            }
            Record::Usage(key, version, usage) => (
                place::usage(self.store, key, *version, epoch),
                json(&UsageBody {
                    reserved: usage.reserved,
                    read: usage.read,
                    last_used_at: usage.last_used_at,
                }),
            ),
        };
        let body =
            body.map_err(|_| StoreError::Invalid(format!("{id} can't be written as JSON")))?;
        let sealed = self
            .roots
            .wrap(&place, &body)
            .map_err(StoreError::root_key(id.to_string()))?;
        let meta = self.meta(&place, &sealed, epoch);
        Ok(Row {
            record,
            sealed,
            meta,
        })
    }

    fn meta(&self, place: &[u8], sealed: &[u8], epoch: u64) -> Meta {
        Meta {
            epoch,
            item: self.hasher.row(place, sealed),
            root: RootKeyId::of_wrapped(sealed),
        }
    }

    fn open<T: DeserializeOwned>(
        &self,
        id: &RowId,
        place: &[u8],
        epoch: u64,
        sealed: &[u8],
    ) -> Result<(T, Meta), StoreError> {
        let body = self
            .roots
            .unwrap(place, sealed)
            .map_err(StoreError::root_key(id.to_string()))?;
        let body = serde_json::from_slice(&body)
            .map_err(|_| StoreError::Damaged(format!("{id} is of an unknown form")))?;
        Ok((body, self.meta(place, sealed, epoch)))
    }

    /// Fills what the ciphertext says into `tenant`, whose other columns are set.
    pub(super) fn open_tenant(
        &self,
        mut tenant: Tenant,
        epoch: u64,
        sealed: &[u8],
    ) -> Result<(Tenant, Meta), StoreError> {
        let place = place::tenant(self.store, &tenant, epoch);
        let id = RowId::Tenant(tenant.name.clone());
        let (body, meta): (TenantBody, _) = self.open(&id, &place, epoch, sealed)?;
        tenant.admission = body.admission;
        tenant.created_at = body.created_at;
        Ok((tenant, meta))
    }

    /// As [`Sealer::open_tenant`].
    pub(super) fn open_key(
        &self,
        mut key: Key,
        epoch: u64,
        sealed: &[u8],
    ) -> Result<(Key, Meta), StoreError> {
        let place = place::key(self.store, &key, epoch);
        let (body, meta): (KeyBody, _) = self.open(&RowId::Key(key.id), &place, epoch, sealed)?;
        key.policy = body.policy;
        key.settings = body.settings;
        key.created_at = body.created_at;
        Ok((key, meta))
    }

    /// As [`Sealer::open_tenant`]; `material` is the column beside the ciphertext.
    pub(super) fn open_version(
        &self,
        key: &Key,
        mut version: Version,
        epoch: u64,
        sealed: &[u8],
        material: Option<Vec<u8>>,
    ) -> Result<(Version, Meta), StoreError> {
        let id = RowId::Version(key.id, version.version);
        let place = place::version(self.store, key, &version, epoch);
        let (body, meta): (VersionBody, _) = self.open(&id, &place, epoch, sealed)?;
        version.origin = body.origin;
        version.created_at = body.created_at;
        version.destroy_at = body.destroy_at;
        version.destroy_uptime = body.destroy_uptime;
        version.held = match (body.held, material) {
            (HeldBody::Software(hash), Some(material))
                if hash == hex::encode(Sha256::digest(&material)) =>
            {
                Held::Software(Wrapped(Arc::from(material)))
            }
            (HeldBody::Hsm(reference), None) => Held::Hsm(
                hex::decode(reference)
                    .map_err(|_| StoreError::Damaged(format!("{id} is of an unknown form")))?,
            ),
            (HeldBody::Gone, None) => Held::Gone,
            _ => {
                return Err(StoreError::Damaged(format!(
                    "the material beside {id} is not the one that belongs there"
                )));
            }
        };
        Ok((version, meta))
    }

    /// As [`Sealer::open_tenant`].
    pub(super) fn open_usage(
        &self,
        key: KeyId,
        version: u32,
        epoch: u64,
        sealed: &[u8],
    ) -> Result<(Usage, Meta), StoreError> {
        let place = place::usage(self.store, &key, version, epoch);
        let id = RowId::Usage(key, version);
        let (body, meta): (UsageBody, _) = self.open(&id, &place, epoch, sealed)?;
        let usage = Usage {
            reserved: body.reserved,
            read: body.read,
            last_used_at: body.last_used_at,
        };
        Ok((usage, meta))
    }

    /// Wraps material for its place.
    pub(super) fn wrap_material(
        &self,
        key: &Key,
        version: u32,
        material: &[u8],
    ) -> Result<Wrapped, StoreError> {
        let place = place::material(self.store, key, version);
        let wrapped = self
            .roots
            .wrap(&place, material)
            .map_err(StoreError::root_key("new key material"))?;
        Ok(Wrapped(Arc::from(wrapped)))
    }
}

/// Opens material from its place.
pub(super) fn unwrap_material(
    roots: &RootKeys,
    store: &StoreId,
    key: &Key,
    version: u32,
    wrapped: &Wrapped,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    roots
        .unwrap(&place::material(store, key, version), &wrapped.0)
        .map_err(StoreError::root_key(format!(
            "the material of version {version} of key {}",
            key.id
        )))
}

fn json(body: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(body)
}

impl VersionBody {
    fn of(version: &Version) -> Self {
        Self {
            origin: version.origin,
            created_at: version.created_at,
            destroy_at: version.destroy_at,
            destroy_uptime: version.destroy_uptime,
            held: match &version.held {
                Held::Software(wrapped) => {
                    HeldBody::Software(hex::encode(Sha256::digest(&wrapped.0)))
                }
                Held::Hsm(reference) => HeldBody::Hsm(hex::encode(reference)),
                Held::Gone => HeldBody::Gone,
            },
        }
    }
}
