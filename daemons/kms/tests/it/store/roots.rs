//! Root keys: others open nothing, and a new one takes over while the service works.

use kms::store::{KmsStore, StoreError};
use service::root_key::RootKeys;

use super::{
    Bench,
    keys::{filled, key, revision, version},
};

pub(super) async fn rows_are_wrapped_anew_online(bench: &Bench) {
    let store = bench.open("a").await;
    let id = filled(&store, &["orders"]).await[0];
    let mut many = key("many");
    many.versions = (1..=150)
        .map(|number| version(number, &number.to_be_bytes()))
        .collect();
    let many = store.create_key(many).await.unwrap();
    let before = store.snapshot();
    assert_eq!(store.root_keys().await.len(), 1);
    store.close().await;

    let ring = RootKeys::new(bench.root("second"), vec![bench.root("first")]);
    let newest = ring.newest().to_string();
    let rotated = KmsStore::open(&bench.config("a"), ring.clone())
        .await
        .unwrap();
    let other = KmsStore::open(&bench.config("b"), ring).await.unwrap();
    // Another replica changes keys while rows are wrapped.
    let changing = async {
        for _ in 0..5 {
            other.refresh().await.unwrap();
            other
                .set_policy(&id, revision(&other, &id), Some("changed".into()))
                .await
                .unwrap();
        }
    };
    let (rows, ()) = tokio::join!(rotated.rewrap_all(), changing);
    assert!(rows.unwrap() >= 300);
    assert_eq!(rotated.rewrap_all().await.unwrap(), 0);
    let counts = rotated.root_keys().await;
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&newest]);
    let after = rotated.snapshot();
    assert_eq!(
        after.key(&many.id).unwrap().revision,
        before.key(&many.id).unwrap().revision
    );

    // The former root key is needed no more, and is worth nothing any more.
    let alone = KmsStore::open(&bench.config("c"), RootKeys::from(bench.root("second")))
        .await
        .unwrap();
    let found = alone.snapshot();
    for number in 1..=150_u32 {
        let material = alone
            .material(found.key(&many.id).unwrap(), number)
            .unwrap();
        assert_eq!(*material, number.to_be_bytes());
    }
    let error = bench.try_open("d").await.unwrap_err();
    assert!(matches!(error, StoreError::RootKey { .. }), "{error}");
}

pub(super) async fn other_root_keys_open_nothing(bench: &Bench) {
    bench.open("a").await.close().await;
    let error = KmsStore::open(&bench.config("b"), RootKeys::from(bench.root("other")))
        .await
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("wrapped under root key"), "{message}");
    // An empty store under a former root key is wrapped anew as well.
    let ring = RootKeys::new(bench.root("other"), vec![bench.root("first")]);
    let store = KmsStore::open(&bench.config("b"), ring).await.unwrap();
    filled(&store, &["orders"]).await;
    store.rewrap_all().await.unwrap();
    store.close().await;
    KmsStore::open(&bench.config("b"), RootKeys::from(bench.root("other")))
        .await
        .unwrap();
}
