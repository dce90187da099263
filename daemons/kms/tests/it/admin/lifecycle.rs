//! What happens by time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use kms_client::{
    Algorithm, Operation, State,
    wire::{ErrorCode, admin::Settings},
};
use service::{clock::ManualClock, testing::Postgres};

use super::{ADA, as_admin, code, create, with_policy};
use crate::support::{API, Running, TENANT, World, decrypt, until};

/// A service that looks often, and lets things happen soon.
fn hasty() -> World {
    let mut world = World::uninitialized();
    with_policy(&mut world);
    world.config.lifecycle.poll = Duration::from_millis(50);
    world.config.lifecycle.least_rotation = Duration::from_secs(1);
    world.config.lifecycle.least_destruction_delay = Duration::ZERO;
    world
}

/// What the schedule did: each decision with its outcome.
fn by_schedule(world: &World, action: &str) -> Vec<(serde_json::Value, serde_json::Value)> {
    let records = world.records();
    let outcome_of = |decision: &serde_json::Value| {
        let mut same = records
            .iter()
            .filter(|record| record["id"] == decision["id"]);
        same.find(|record| record["kind"] == "outcome").cloned()
    };
    records
        .iter()
        .filter(|record| record["action"] == action && record["context"]["operator"] == "schedule")
        .filter(|record| record["kind"] == "decision")
        .map(|decision| (decision.clone(), outcome_of(decision).unwrap()))
        .collect()
}

async fn key_of(
    world: &World,
    running: &Running,
    name: &'static str,
) -> kms_client::wire::admin::Key {
    as_admin(world, running, ADA, move |ada| {
        ada.key(TENANT, name).unwrap().key
    })
    .await
}

#[tokio::test]
async fn keys_rotate_by_their_settings() {
    let world = hasty();
    kms::init(&world.config).await.unwrap();
    let clock = ManualClock::new(SystemTime::now());
    let running = world.start_at(Arc::new(clock.clone())).await;
    running
        .create_tenant(TENANT, Some(crate::support::ADMIT_PARIS))
        .await;
    let day = 86_400;
    let settings = Settings {
        rotate_after_seconds: Some(day),
        ..Settings::default()
    };
    as_admin(&world, &running, ADA, move |ada| {
        let made = ada
            .create_key(&create("daily", Algorithm::Aes256Gcm, settings))
            .unwrap();
        assert_eq!(made.rotate_at, Some(made.versions[0].created_at + day));
        ada.create_key(&create("never", Algorithm::Aes256Gcm, Settings::default()))
            .unwrap();
    })
    .await;
    clock.advance(Duration::from_secs(day + 1));
    until("rotated", async || {
        key_of(&world, &running, "daily").await.primary == 2
    })
    .await;
    let daily = key_of(&world, &running, "daily").await;
    // Once: the new version is young.
    assert_eq!(daily.versions.len(), 2);
    assert_eq!(daily.versions[0].state, State::Enabled);
    assert_eq!(key_of(&world, &running, "never").await.primary, 1);

    // Whoever switched the primary version off does not get another one by themselves.
    as_admin(&world, &running, ADA, move |ada| {
        ada.set_state(TENANT, "daily", 2, daily.revision, State::Disabled, None)
            .unwrap()
    })
    .await;
    clock.advance(Duration::from_secs(2 * day));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(key_of(&world, &running, "daily").await.versions.len(), 2);
    running.stop().await;
    let records = by_schedule(&world, "rotate-key");
    assert_eq!(records.len(), 1, "{records:#?}");
    let (decision, outcome) = &records[0];
    assert!(decision["principal"].is_null());
    assert_eq!(outcome["outcome"], "success");
}

#[tokio::test]
async fn of_several_replicas_exactly_one_rotates() {
    let postgres = Postgres::start();
    postgres.create("rotation").await;
    let settings = Settings {
        rotate_after_seconds: Some(86_400),
        ..Settings::default()
    };
    let clock = ManualClock::new(SystemTime::now());
    let (mut worlds, mut replicas) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let mut world = hasty();
        if let Some(first) = worlds.first() {
            let first: &World = first;
            world.trust = Arc::clone(&first.trust);
            world.config.root_key = first.config.root_key.clone();
        }
        let anchor = world.folder.path().join("anchor");
        world.config.store = kms::store::StoreConfig::postgres(postgres.url("rotation"), anchor);
        world.config.store.password_file = Some(postgres.password_file().into());
        if number == 0 {
            kms::init(&world.config).await.unwrap();
        }
        replicas.push(world.start_at(Arc::new(clock.clone())).await);
        worlds.push(world);
    }
    replicas[0]
        .create_tenant(TENANT, Some(crate::support::ADMIT_PARIS))
        .await;
    as_admin(&worlds[0], &replicas[0], ADA, move |ada| {
        ada.create_key(&create("daily", Algorithm::Aes256Gcm, settings))
            .unwrap();
    })
    .await;
    for round in 2..5 {
        clock.advance(Duration::from_secs(86_401));
        for (world, replica) in worlds.iter().zip(&replicas) {
            until("rotated everywhere", async || {
                key_of_if(world, replica).await == Some(round)
            })
            .await;
        }
    }
    let key = key_of(&worlds[1], &replicas[1], "daily").await;
    assert_eq!(key.versions.len(), 4);
    for replica in replicas {
        replica.stop().await;
    }
    let rotations: usize = worlds
        .iter()
        .map(|world| {
            let records = by_schedule(world, "rotate-key");
            records
                .iter()
                .filter(|(_, outcome)| outcome["outcome"] == "success")
                .count()
        })
        .sum();
    assert_eq!(rotations, 3);
}

/// The primary version, once the replica has heard of the key.
async fn key_of_if(world: &World, running: &Running) -> Option<u32> {
    as_admin(world, running, ADA, |ada| {
        ada.key(TENANT, "daily")
            .ok()
            .map(|detail| detail.key.primary)
    })
    .await
}

#[tokio::test]
async fn destruction_waits_can_be_taken_back_and_is_for_good() {
    let world = hasty();
    kms::init(&world.config).await.unwrap();
    let running = world.start_with_tenant().await;
    let key = running.key("orders", Algorithm::Aes256Gcm).await;
    let api = world.client(&running, API);
    let old = api.encrypt("orders", b"old", b"").await;
    let kept = as_admin(&world, &running, ADA, move |ada| {
        let rotated = ada.rotate_key(TENANT, "orders", key.revision).unwrap();
        let delay = Some(Duration::from_secs(30 * 86_400));
        let pending = ada
            .set_state(
                TENANT,
                "orders",
                1,
                rotated.revision,
                State::PendingDestruction,
                delay,
            )
            .unwrap();
        assert!(pending.versions[0].destroy_at.is_some());
        // Back only to where it does nothing: to use it again is another decision.
        for state in [State::Enabled, State::DecryptOnly] {
            let set = ada.set_state(TENANT, "orders", 1, pending.revision, state, None);
            assert_eq!(code(set), ErrorCode::WrongState);
        }
        let kept = ada
            .set_state(TENANT, "orders", 1, pending.revision, State::Disabled, None)
            .unwrap();
        assert_eq!(kept.versions[0].destroy_at, None);
        ada.set_state(TENANT, "orders", 1, kept.revision, State::Enabled, None)
            .unwrap()
    })
    .await;
    assert_eq!(api.decrypt("orders", &old.ciphertext.0, b"").await, b"old");

    as_admin(&world, &running, ADA, move |ada| {
        let delay = Some(Duration::from_secs(1));
        ada.set_state(
            TENANT,
            "orders",
            1,
            kept.revision,
            State::PendingDestruction,
            delay,
        )
        .unwrap();
    })
    .await;
    until("destroyed", async || {
        key_of(&world, &running, "orders").await.versions[0].state == State::Destroyed
    })
    .await;
    let gone = key_of(&world, &running, "orders").await;
    as_admin(&world, &running, ADA, move |ada| {
        for state in [State::Enabled, State::Disabled, State::PendingDestruction] {
            let set = ada.set_state(TENANT, "orders", 1, gone.revision, state, None);
            assert_eq!(code(set), ErrorCode::WrongState, "{state}");
        }
    })
    .await;
    let failed = api
        .fails(
            "orders",
            Operation::Decrypt,
            decrypt(&old.ciphertext.0, b""),
        )
        .await;
    assert_eq!(failed.code, ErrorCode::WrongState);
    // The other version is not touched.
    let new = api.encrypt("orders", b"new", b"").await;
    assert_eq!(api.decrypt("orders", &new.ciphertext.0, b"").await, b"new");
    running.stop().await;
    let records = by_schedule(&world, "destroy-version");
    assert_eq!(records.len(), 1, "{records:#?}");
    let (decision, outcome) = &records[0];
    assert_eq!(decision["resource"], "kms/payments/orders");
    assert_eq!(decision["context"]["version"], 1);
    assert_eq!(outcome["outcome"], "success");
}

#[tokio::test]
async fn a_clock_that_jumps_destroys_nothing() {
    let world = hasty();
    kms::init(&world.config).await.unwrap();
    let clock = ManualClock::new(SystemTime::now());
    let running = world.start_at(Arc::new(clock.clone())).await;
    running
        .create_tenant(TENANT, Some(crate::support::ADMIT_PARIS))
        .await;
    let key = running.key("orders", Algorithm::Aes256Gcm).await;
    let pending = as_admin(&world, &running, ADA, move |ada| {
        ada.set_state(
            TENANT,
            "orders",
            1,
            key.revision,
            State::PendingDestruction,
            None,
        )
        .unwrap()
    })
    .await;
    clock.advance(Duration::from_secs(365 * 86_400));
    // Several looks.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(key_of(&world, &running, "orders").await, pending);
    running.stop().await;
    // Not even tried.
    assert_eq!(by_schedule(&world, "destroy-version").len(), 0);
}
