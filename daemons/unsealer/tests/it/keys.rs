//! Keys: versions, states, and the counter that outlives restarts and crashes.

use blindfold_core::{KeyState, Refusal};
use unsealer::limits::{COUNTER_BLOCK, MAX_KEY_EVALUATIONS};
use unsealer::wire::ErrorCode;

use crate::support::*;

#[tokio::test]
async fn states_decide_whether_a_key_evaluates() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let request = RawRequest::new(&record, &inline(&lets_open(API))).bytes();
    let key_id = record.key_id().to_string();
    let mut state = KeyState::Active;
    for (next, evaluates) in [
        (KeyState::OpenOnly, true),
        (KeyState::Retired, false),
        (KeyState::Active, true),
        (KeyState::Compromised, false),
    ] {
        running
            .operator
            .set_key_state(&key_id, state, next)
            .await
            .unwrap();
        state = next;
        let expected = if evaluates {
            0
        } else {
            Refusal::KeyRetired.code()
        };
        assert_eq!(code(&client.evaluate(&request).await), expected, "{next:?}");
    }
    let back = running
        .operator
        .set_key_state(&key_id, state, KeyState::Active)
        .await
        .unwrap_err();
    assert_eq!(back.code(), ErrorCode::Conflict);
    running.stop().await;
    // Compromised stays compromised over a restart.
    let running = world.start().await;
    let client = world.client(&running, API);
    assert_eq!(
        code(&client.evaluate(&request).await),
        Refusal::KeyRetired.code()
    );
    running.stop().await;
}

#[tokio::test]
async fn versions_of_a_key_open_what_was_sealed_with_them() {
    let world = World::new().await;
    let (running, first) = world.start_with_key().await;
    let policy = inline(&lets_open(API));
    let old = seal(&first, policy.clone(), b"old");
    let second = running.operator.generate_key(TENANT, 2).await.unwrap();
    let second = blindfold_core::AuthorityKey::from_json(&second.record.to_string()).unwrap();
    let key_id = first.key_id().to_string();
    running
        .operator
        .set_key_state(&key_id, KeyState::Active, KeyState::OpenOnly)
        .await
        .unwrap();
    let new = seal(&second, policy, b"new");
    let client = world.client(&running, API);
    assert_eq!(client.open(&old, &first).await.unwrap(), b"old");
    assert_eq!(client.open(&new, &second).await.unwrap(), b"new");
    let again = running.operator.generate_key(TENANT, 2).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::Conflict);
    running.stop().await;
    let running = world.start().await;
    let client = world.client(&running, API);
    assert_eq!(client.open(&old, &first).await.unwrap(), b"old");
    assert_eq!(client.open(&new, &second).await.unwrap(), b"new");
    running.stop().await;
}

#[tokio::test]
async fn v6_the_count_survives_an_orderly_restart_exactly() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let request = RawRequest::new(&record, &inline(&lets_open(API)))
        .of(5)
        .bytes();
    let client = world.client(&running, API);
    for _ in 0..3 {
        assert_eq!(code(&client.evaluate(&request).await), 0);
    }
    assert_eq!(
        running.operator.list_keys(None).await.unwrap()[0].evaluations,
        COUNTER_BLOCK
    );
    running.stop().await;
    let running = world.start().await;
    assert_eq!(
        running.operator.list_keys(None).await.unwrap()[0].evaluations,
        15
    );
    running.stop().await;
}

#[tokio::test]
async fn v6_a_crash_counts_at_most_one_block_too_many() {
    let mut world = World::new().await;
    let (mut running, record) = world.start_with_key().await;
    let request = RawRequest::new(&record, &inline(&lets_open(API)))
        .of(5)
        .bytes();
    for crash in 1..=3 {
        assert_eq!(
            code(&world.client(&running, API).evaluate(&request).await),
            0
        );
        let next = world.after_power_cut();
        running.stop().await;
        world = next;
        running = world.start().await;
        let counted = running.operator.list_keys(None).await.unwrap()[0].evaluations;
        assert_eq!(
            counted,
            crash * COUNTER_BLOCK,
            "reserved before use, one block each time"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn v6_a_worn_out_key_says_so() {
    let world = World::new().await;
    let running = world.start().await;
    running
        .operator
        .create_tenant(TENANT, Some(ADMIT_PARIS))
        .await
        .unwrap();
    let key = new_key(TENANT, 1);
    let file = key_file(&key);
    let too_many = running
        .operator
        .import_key(file.clone(), MAX_KEY_EVALUATIONS + 1)
        .await;
    assert_eq!(too_many.unwrap_err().code(), ErrorCode::BadRequest);
    running
        .operator
        .import_key(file, MAX_KEY_EVALUATIONS - 10)
        .await
        .unwrap();
    let client = world.client(&running, API);
    let request = RawRequest::new(key.record(), &inline(&lets_open(API)));
    assert_eq!(
        code(&client.evaluate(&request.clone().of(9).bytes()).await),
        0
    );
    let response = client.evaluate(&request.clone().of(2).bytes()).await;
    let (refused, retry) = refusal(&response).unwrap();
    assert_eq!(refused.code(), Refusal::KeyExhausted.code());
    assert!(retry > 0);
    assert_eq!(
        code(&client.evaluate(&request.clone().of(1).bytes()).await),
        0
    );
    assert_eq!(
        code(&client.evaluate(&request.of(1).bytes()).await),
        Refusal::KeyExhausted.code()
    );
    running.stop().await;
    let audit = world.audit();
    assert!(
        audit.contains("KEY_EXHAUSTED"),
        "the log tells it apart from RATE_LIMITED"
    );
}

#[tokio::test]
async fn an_imported_key_comes_in_once_and_from_its_own_authority() {
    let world = World::new().await;
    let (running, _) = world.start_with_key().await;
    let key = new_key(TENANT, 2);
    running
        .operator
        .import_key(key_file(&key), 0)
        .await
        .unwrap();
    let again = running
        .operator
        .import_key(key_file(&key), 0)
        .await
        .unwrap_err();
    assert_eq!(again.code(), ErrorCode::Conflict);
    let foreign =
        blindfold_core::UnsealingKey::generate("unsealer-2", TENANT, 3, &mut rng()).unwrap();
    let refused = running
        .operator
        .import_key(key_file(&foreign), 0)
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        ErrorCode::BadRequest,
        "one unsealer must not count as two"
    );
    let homeless = new_key("no-such-tenant", 1);
    let refused = running
        .operator
        .import_key(key_file(&homeless), 0)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NotFound);
    let mut bent = key_file(&new_key(TENANT, 4));
    let last = bent.len() - 1;
    bent[last] ^= 1;
    let refused = running.operator.import_key(bent, 0).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BadRequest);
    running.stop().await;
}
