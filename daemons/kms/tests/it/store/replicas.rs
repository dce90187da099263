//! Several replicas over one database.

use std::time::{Duration, Instant};

use kms::store::{StoreError, UsageReport};

use super::{
    Bench,
    keys::{NOW, filled, revision, version},
};

pub(super) async fn of_many_changes_from_one_revision_one_wins(bench: &Bench) {
    let (one, two) = (bench.open("a").await, bench.open("b").await);
    let id = filled(&one, &["orders"]).await[0];
    two.refresh().await.unwrap();
    // Looked at before anybody begins: who looks after the winner would see the new revision.
    let at = revision(&one, &id);
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..12_u32 {
        let store = if i % 2 == 0 { one.clone() } else { two.clone() };
        tasks.spawn(async move {
            store
                .add_version(&id, at, version(2, &i.to_be_bytes()), true)
                .await
        });
    }
    let mut won = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        match joined.unwrap() {
            Ok(key) => won.push(key),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    for store in [&one, &two] {
        store.refresh().await.unwrap();
        assert_eq!(store.snapshot().key(&id).unwrap(), &won[0]);
        assert_eq!(store.epoch(), store.snapshot().epoch());
    }
    assert_eq!(
        *one.material(&won[0], 2).unwrap(),
        *two.material(&won[0], 2).unwrap()
    );
}

pub(super) async fn changes_are_seen_elsewhere(bench: &Bench) {
    let (one, two) = (bench.open("a").await, bench.open("b").await);
    let _follower = two.follow();
    let mut changes = two.subscribe();
    let id = filled(&one, &["orders", "still"]).await[0];
    let wait = |snapshot: &std::sync::Arc<kms::store::Snapshot>| {
        snapshot.key_by_name("acme", "still").is_some()
    };
    tokio::time::timeout(Duration::from_secs(20), changes.wait_for(wait))
        .await
        .unwrap()
        .unwrap();
    let before = two.snapshot();
    one.set_policy(&id, revision(&one, &id), None)
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while two.snapshot().key(&id).unwrap().policy.is_some() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = two.snapshot();
    let (same, other) = (
        before.key_by_name("acme", "still").unwrap(),
        after.key_by_name("acme", "still").unwrap(),
    );
    assert!(
        std::sync::Arc::ptr_eq(same, other),
        "what did not change is shared"
    );
    let changed: Vec<_> = after
        .changed_since(before.epoch())
        .map(|key| key.id)
        .collect();
    assert_eq!(changed, [id]);
    // A change that starts from what this replica has not seen yet still meets the rules.
    let at = one
        .set_policy(&id, revision(&one, &id), Some("x".into()))
        .await
        .unwrap()
        .revision;
    two.set_policy(&id, at, Some("y".into())).await.unwrap();
}

pub(super) async fn uses_are_reserved_once(bench: &Bench) {
    let (one, two) = (bench.open("a").await, bench.open("b").await);
    let id = filled(&one, &["orders"]).await[0];
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..10 {
        let store = if i % 2 == 0 { one.clone() } else { two.clone() };
        tasks.spawn(async move { store.reserve_uses(&id, 1, 100, 950).await });
    }
    let (mut blocks, mut refused) = (Vec::new(), 0);
    while let Some(joined) = tasks.join_next().await {
        match joined.unwrap() {
            Ok(block) => blocks.push(block),
            Err(StoreError::Limit { limit: 950, .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    blocks.sort_by_key(|block| block.first);
    assert_eq!((blocks.len(), refused), (10, 0));
    let mut next = 1;
    for block in &blocks {
        assert_eq!(
            block.first, next,
            "no use is given twice, none is passed over"
        );
        next = block.last + 1;
    }
    assert_eq!((next, blocks[9].count()), (951, 50));
    assert!(matches!(
        two.reserve_uses(&id, 1, 1, 950).await,
        Err(StoreError::Limit { .. })
    ));
    assert!(matches!(
        two.reserve_uses(&id, 9, 1, 950).await,
        Err(StoreError::NotFound(_))
    ));
    let at = revision(&one, &id);
    one.close().await;
    let again = bench.open("a").await;
    assert_eq!(again.usage(&id, 1).await.reserved, 950);
    assert_eq!(
        revision(&again, &id),
        at,
        "counting is no change of the key"
    );
}

pub(super) async fn reads_are_added_up(bench: &Bench) {
    let (one, two) = (bench.open("a").await, bench.open("b").await);
    let id = filled(&one, &["orders"]).await[0];
    let report = |version, read, last_used_at| UsageReport {
        key: id,
        version,
        read,
        last_used_at,
    };
    one.report_usage(&[report(1, 5, NOW + 9), report(1, 1, NOW), report(8, 1, NOW)])
        .await
        .unwrap();
    two.report_usage(&[report(1, 4, NOW + 3)]).await.unwrap();
    one.refresh().await.unwrap();
    for store in [&one, &two] {
        let usage = store.usage(&id, 1).await;
        assert_eq!(
            (usage.read, usage.last_used_at, usage.reserved),
            (10, NOW + 9, 0)
        );
    }
    one.report_usage(&[]).await.unwrap();
    let many = vec![report(1, 1, NOW); 1025];
    assert!(matches!(
        one.report_usage(&many).await,
        Err(StoreError::Limit { .. })
    ));
}

pub(super) async fn two_founders_make_one_store(bench: &Bench) {
    bench.roots();
    let (one, two, three) = tokio::join!(bench.open("a"), bench.open("b"), bench.open("c"));
    let id = filled(&one, &["orders"]).await[0];
    for store in [&two, &three] {
        store.refresh().await.unwrap();
        assert!(store.snapshot().key(&id).is_some());
    }
}
