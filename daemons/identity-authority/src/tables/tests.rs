use identity::join::Redeemed;

use super::*;

async fn tables() -> (tempfile::TempDir, Tables) {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        path: folder.path().join("a.db").into(),
    };
    let tables = Tables::open(&config).await.unwrap();
    let row = AuthorityRow {
        trust_domain: "acme.example".into(),
        root_certificate: "root".into(),
        root_key_wrapped: vec![1],
        issuer_chain: "chain".into(),
        issuer_key_wrapped: vec![2],
        latest_time: 100,
    };
    assert!(
        tables
            .create_authority(&row, "paris", "{}", 100)
            .await
            .unwrap()
    );
    (folder, tables)
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

#[tokio::test]
async fn second_authority_changes_nothing() {
    let (_folder, tables) = tables().await;
    let mut other = tables.authority().await.unwrap().unwrap();
    other.trust_domain = "evil.example".into();
    assert!(
        !tables
            .create_authority(&other, "rome", "{}", 200)
            .await
            .unwrap()
    );
    assert_eq!(
        tables.authority().await.unwrap().unwrap().trust_domain,
        "acme.example"
    );
    assert_eq!(tables.sites().await.unwrap().sites.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_hundred_redemptions_wins() {
    let (_folder, tables) = tables().await;
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

#[tokio::test]
async fn expired_unknown_and_disabled_are_not_redeemed() {
    let (_folder, tables) = tables().await;
    assert_eq!(insert(&tables, 1, 1_000).await, TokenInsertion::Done);
    assert!(!redeem(&tables, 1, 1, 1_000).await, "at its end");
    assert!(!redeem(&tables, 2, 1, 200).await, "unknown");
    assert_eq!(insert(&tables, 3, 1_000).await, TokenInsertion::Done);
    sqlx::query("UPDATE sites SET enabled = 0")
        .execute(tables.pool())
        .await
        .unwrap();
    assert!(
        !redeem(&tables, 3, 1, 200).await,
        "disabled, and the token was not removed"
    );
    sqlx::query("UPDATE sites SET enabled = 1")
        .execute(tables.pool())
        .await
        .unwrap();
    assert!(redeem(&tables, 3, 1, 999).await);
}

#[tokio::test]
async fn tokens_per_site_are_bounded() {
    let (_folder, tables) = tables().await;
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

#[tokio::test]
async fn purge_removes_what_expired_and_nothing_else() {
    let (_folder, tables) = tables().await;
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

#[tokio::test]
async fn switching_counts_and_removes_unused_tokens() {
    let (_folder, tables) = tables().await;
    let before = tables.sites().await.unwrap();
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
    let off = tables.sites().await.unwrap();
    assert!(!off.sites[0].enabled);
    assert_eq!(
        (off.revision, off.sequence),
        (before.revision + 1, 300),
        "never below the time"
    );
    assert!(tables.switch_site("paris", true, 10).await.unwrap());
    let on = tables.sites().await.unwrap();
    assert_eq!(
        (on.revision, on.sequence),
        (off.revision + 1, 301),
        "and never back"
    );
}

#[tokio::test]
async fn sites_are_bounded_and_unique() {
    let (_folder, tables) = tables().await;
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
    let view = tables.sites().await.unwrap();
    assert_eq!(
        view.sites
            .iter()
            .map(|site| site.name.as_str())
            .collect::<Vec<_>>(),
        ["paris", "rome"]
    );
    assert_eq!(view.sequence, 100, "a new site does not change the bundle");
    assert_eq!(view.revision, 2);
    assert!(
        tables
            .replace_rules("rome", "{\"a\":1}", 300)
            .await
            .unwrap()
    );
    assert!(!tables.replace_rules("oslo", "{}", 300).await.unwrap());
    assert_eq!(tables.revision().await.unwrap(), 3);
}

#[tokio::test]
async fn latest_time_only_rises_unless_set() {
    let (_folder, tables) = tables().await;
    let latest = async || tables.authority().await.unwrap().unwrap().latest_time;
    tables.raise_latest_time(500).await.unwrap();
    tables.raise_latest_time(400).await.unwrap();
    assert_eq!(latest().await, 500);
    tables.set_latest_time(300).await.unwrap();
    assert_eq!(latest().await, 300);
}

#[tokio::test]
async fn issuer_is_replaced_only_by_who_knows_the_former() {
    let (_folder, tables) = tables().await;
    assert!(
        !tables
            .replace_issuer("another", "next", &[9])
            .await
            .unwrap()
    );
    assert!(tables.replace_issuer("chain", "next", &[9]).await.unwrap());
    let row = tables.authority().await.unwrap().unwrap();
    assert_eq!(
        (row.issuer_chain.as_str(), row.issuer_key_wrapped),
        ("next", vec![9])
    );
}
