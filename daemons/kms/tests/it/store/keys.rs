//! Tenants and keys to work with.

use kms::store::{KmsStore, NewKey, NewMaterial, NewTenant, NewVersion};
use kms_client::{
    Algorithm, KeyId, Sensitivity, State,
    wire::admin::{Origin, Settings},
};
use zeroize::Zeroizing;

pub(super) const NOW: u64 = 1_800_000_000;

pub(super) fn version(number: u32, material: &[u8]) -> NewVersion {
    NewVersion {
        version: number,
        state: State::Enabled,
        origin: Origin::Generated,
        created_at: NOW,
        material: NewMaterial::Software(Zeroizing::new(material.to_vec())),
        uses: 0,
    }
}

pub(super) fn key(name: &str) -> NewKey {
    NewKey {
        id: KmsStore::new_key_id().unwrap(),
        tenant: "acme".to_owned(),
        name: name.to_owned(),
        algorithm: Algorithm::Aes256Gcm,
        sensitivity: Sensitivity::Medium,
        policy: Some(format!("policy of {name}")),
        settings: Settings::default(),
        created_at: NOW,
        versions: vec![version(1, format!("material of {name}").as_bytes())],
        primary: 1,
    }
}

pub(super) async fn tenant(store: &KmsStore) {
    let tenant = NewTenant {
        name: "acme".to_owned(),
        admission: None,
        created_at: NOW,
    };
    store.create_tenant(tenant).await.unwrap();
}

/// The tenant, and keys of these names.
pub(super) async fn filled(store: &KmsStore, names: &[&str]) -> Vec<KeyId> {
    tenant(store).await;
    let mut ids = Vec::new();
    for name in names {
        ids.push(store.create_key(key(name)).await.unwrap().id);
    }
    ids
}

pub(super) fn revision(store: &KmsStore, id: &KeyId) -> u64 {
    store.snapshot().key(id).unwrap().revision
}
