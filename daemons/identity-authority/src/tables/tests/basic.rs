//! Sites, join tokens, time.

use identity::join::Redeemed;

use super::{Store, root};
use crate::tables::*;

/// The view, and its sites.
async fn sites(tables: &Tables) -> (View, Vec<SiteRow>) {
    let mut view = tables.view(None).await.unwrap();
    let sites = view.sites.take().unwrap();
    (view, sites)
}

fn token(hash: u8, expires_at: u64) -> NewToken {
    NewToken {
        secret_hash: [hash; 32],
        site: "paris".into(),
        spiffe_id: "spiffe://acme.example/paris/x".into(),
        attributes: vec![0x30, 0],
        lifetime: 60,
        created_at: 100,
        expires_at,
    }
}

const BOUNDS: TokenBounds = TokenBounds { live: 3, rows: 5 };

async fn insert(tables: &Tables, hash: u8, expires_at: u64) -> TokenInsertion {
    tables
        .insert_token(&token(hash, expires_at), BOUNDS)
        .await
        .unwrap()
}

async fn redeem(tables: &Tables, hash: u8, key: u8, at: u64) -> bool {
    tables
        .redeem_token(
            &[hash; 32],
            &Redeemed {
                csr_key_sha256: [key; 32],
                at,
            },
        )
        .await
        .unwrap()
}

pub(super) async fn second_authority_changes_nothing(store: Store) {
    let tables = store.tables;
    let root = root(9);
    let other = NewAuthority {
        trust_domain: "evil.example",
        root: &root,
        issuer: None,
        site: ("rome", "{}"),
    };
    assert!(!tables.create_authority(&other, 200).await.unwrap());
    assert_eq!(
        tables.authority().await.unwrap().unwrap().trust_domain,
        "acme.example"
    );
    let view = tables.view(None).await.unwrap();
    assert_eq!(view.sites.unwrap().len(), 1);
    assert_eq!(view.roots.len(), 1);
}

pub(super) async fn one_of_a_hundred_redemptions_wins(store: Store) {
    let tables = store.tables;
    assert_eq!(insert(&tables, 1, 1_000).await, TokenInsertion::Done);
    let tasks: Vec<_> = (0..100u8)
        .map(|key| {
            let tables = tables.clone();
            tokio::spawn(async move { redeem(&tables, 1, key, 200).await.then_some(key) })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    let row = tables.token(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(
        row.redeemed,
        Some(Redeemed {
            csr_key_sha256: [winners[0]; 32],
            at: 200
        })
    );
}

pub(super) async fn expired_unknown_and_disabled_are_not_redeemed(store: Store) {
    let tables = store.tables;
    assert_eq!(insert(&tables, 1, 1_000).await, TokenInsertion::Done);
    assert!(!redeem(&tables, 1, 1, 1_000).await, "at its end");
    assert!(!redeem(&tables, 2, 1, 200).await, "unknown");
    assert_eq!(insert(&tables, 3, 1_000).await, TokenInsertion::Done);
    sqlx::query("UPDATE sites SET enabled = 0")
        .execute(tables.database.pool())
        .await
        .unwrap();
    assert!(
        !redeem(&tables, 3, 1, 200).await,
        "disabled, and the token was not removed"
    );
    sqlx::query("UPDATE sites SET enabled = 1")
        .execute(tables.database.pool())
        .await
        .unwrap();
    assert!(redeem(&tables, 3, 1, 999).await);
}

pub(super) async fn tokens_per_site_are_bounded(store: Store) {
    let tables = store.tables;
    for hash in 1..=3 {
        assert_eq!(insert(&tables, hash, 1_000).await, TokenInsertion::Done);
    }
    assert_eq!(insert(&tables, 4, 1_000).await, TokenInsertion::Refused);
    for hash in 1..=2 {
        assert!(redeem(&tables, hash, 1, 200).await);
        assert_eq!(
            insert(&tables, 10 + hash, 1_000).await,
            TokenInsertion::Done
        );
    }
    assert!(redeem(&tables, 3, 1, 200).await);
    assert_eq!(
        insert(&tables, 4, 1_000).await,
        TokenInsertion::Refused,
        "redeemed ones count for the rows"
    );
    assert_eq!(tables.live_tokens(500).await.unwrap(), 2);
    assert_eq!(tables.live_tokens(1_000).await.unwrap(), 0);
}

pub(super) async fn purge_removes_what_expired_and_nothing_else(store: Store) {
    let tables = store.tables;
    for (hash, expires_at) in [(1, 300), (2, 400), (3, 500)] {
        assert_eq!(
            insert(&tables, hash, expires_at).await,
            TokenInsertion::Done
        );
    }
    assert_eq!(tables.purge_tokens(400, 10).await.unwrap(), 1);
    assert!(tables.token(&[1; 32]).await.unwrap().is_none());
    assert!(tables.token(&[2; 32]).await.unwrap().is_some());
    assert_eq!(tables.purge_tokens(1_000, 1).await.unwrap(), 1);
    assert_eq!(tables.purge_tokens(1_000, 1).await.unwrap(), 1);
    assert_eq!(tables.purge_tokens(1_000, 1).await.unwrap(), 0);
}

pub(super) async fn switching_counts_and_removes_unused_tokens(store: Store) {
    let tables = store.tables;
    let before = sites(&tables).await;
    assert_eq!(insert(&tables, 1, 1_000).await, TokenInsertion::Done);
    assert_eq!(insert(&tables, 2, 1_000).await, TokenInsertion::Done);
    assert!(redeem(&tables, 2, 1, 200).await);
    assert!(tables.switch_site("paris", false, 300).await.unwrap());
    assert!(
        !tables.switch_site("paris", false, 300).await.unwrap(),
        "already off"
    );
    assert!(
        !tables.switch_site("rome", false, 300).await.unwrap(),
        "unknown"
    );
    assert!(tables.token(&[1; 32]).await.unwrap().is_none());
    assert!(tables.token(&[2; 32]).await.unwrap().is_some());
    assert_eq!(
        insert(&tables, 3, 1_000).await,
        TokenInsertion::Refused,
        "its site is off"
    );
    let off = sites(&tables).await;
    assert!(!off.1[0].enabled);
    assert_eq!(
        (off.0.revision, off.0.bundle_sequence),
        (before.0.revision + 1, 300),
        "never below the time"
    );
    assert!(tables.switch_site("paris", true, 10).await.unwrap());
    let on = sites(&tables).await;
    assert_eq!(
        (on.0.revision, on.0.bundle_sequence),
        (off.0.revision + 1, 301),
        "and never back"
    );
}

pub(super) async fn sites_are_bounded_and_unique(store: Store) {
    let tables = store.tables;
    assert_eq!(
        tables.insert_site("rome", "{}", 200, 2).await.unwrap(),
        SiteInsertion::Done
    );
    assert_eq!(
        tables.insert_site("rome", "{}", 200, 9).await.unwrap(),
        SiteInsertion::NameTaken
    );
    assert_eq!(
        tables.insert_site("oslo", "{}", 200, 2).await.unwrap(),
        SiteInsertion::TooMany
    );
    let view = sites(&tables).await;
    assert_eq!(
        view.1
            .iter()
            .map(|site| site.name.as_str())
            .collect::<Vec<_>>(),
        ["paris", "rome"]
    );
    assert_eq!(
        view.0.bundle_sequence, 100,
        "a new site does not change the bundle"
    );
    assert_eq!(view.0.revision, 2);
    assert!(
        tables
            .replace_rules("rome", "{\"a\":1}", 300)
            .await
            .unwrap()
    );
    assert!(!tables.replace_rules("oslo", "{}", 300).await.unwrap());
    assert_eq!(tables.revision().await.unwrap(), 3);
}

pub(super) async fn latest_time_only_rises_unless_set(store: Store) {
    let tables = store.tables;
    let latest = async || tables.authority().await.unwrap().unwrap().latest_time;
    tables.raise_latest_time(500).await.unwrap();
    tables.raise_latest_time(400).await.unwrap();
    assert_eq!(latest().await, 500);
    tables.set_latest_time(300).await.unwrap();
    assert_eq!(latest().await, 300);
}
