//! What it is all for: sealed offline, opened through the unsealer.

use blindfold_core::{LockSpec, OpenError, PolicyRef, Refusal, SealOptions, Sealer, Window};

use crate::support::*;

#[tokio::test]
async fn opens_what_was_sealed_under_an_inline_policy() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let sealed = seal(&record, inline(&lets_open(API)), b"hunter2");
    assert_eq!(
        world
            .client(&running, API)
            .open(&sealed, &record)
            .await
            .unwrap(),
        b"hunter2"
    );
    let denied = world
        .client(&running, BATCH)
        .open(&sealed, &record)
        .await
        .unwrap_err();
    assert!(
        matches!(
            denied,
            OpenError::Refused {
                refusal: Refusal::Denied,
                ..
            }
        ),
        "{denied:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn opens_what_was_sealed_under_a_name() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let sealed = seal(&record, named("prod/db@1"), b"hunter2");
    let client = world.client(&running, API);
    assert!(
        client.open(&sealed, &record).await.is_err(),
        "no such name yet"
    );
    let operator = &running.operator;
    operator
        .put_policy(TENANT, "prod/db@1", &text(&lets_open(API)), 0)
        .await
        .unwrap();
    assert_eq!(client.open(&sealed, &record).await.unwrap(), b"hunter2");
    running.stop().await;
}

#[tokio::test]
async fn digest_mode_opens_inline_objects_once_registered() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let policy = lets_open(API);
    let sealed = seal(&record, PolicyRef::Digest(*policy.digest()), b"hunter2");
    let client = world.client(&running, API);
    let unknown = client.open(&sealed, &record).await.unwrap_err();
    assert!(matches!(
        unknown,
        OpenError::Refused {
            refusal: Refusal::PolicyUnknown,
            ..
        }
    ));
    // Registered as YAML with comments; the digest is of the canonical form.
    let yaml = format!(
        "# payments\nv: 1\nrules:\n- name: the one\n  effect: allow\n  actions: [open]\n  principal:\n    spiffe_id: {API}\n"
    );
    let document = running
        .operator
        .register_document(TENANT, &yaml)
        .await
        .unwrap();
    assert_eq!(document.digest, hex::encode(policy.digest()));
    assert_eq!(client.open(&sealed, &record).await.unwrap(), b"hunter2");
    running.stop().await;
}

#[tokio::test]
async fn two_unsealers_open_what_needs_both() {
    let (first, second) = (
        World::new().await,
        World::with_authority("unsealer-2").await,
    );
    let running = (first.start().await, second.start().await);
    let admit = ADMIT_PARIS.replace("unsealer-1", "*");
    let mut records = Vec::new();
    for running in [&running.0, &running.1] {
        running
            .operator
            .create_tenant(TENANT, Some(&admit))
            .await
            .unwrap();
        let key = running.operator.generate_key(TENANT, 1).await.unwrap();
        let json = key.record.to_string();
        records.push(blindfold_core::AuthorityKey::from_json(&json).unwrap());
    }
    let policy = inline(&lets_open(API));
    let locks = records
        .iter()
        .map(|record| LockSpec::share(record, policy.clone(), Window::unbounded()))
        .collect();
    let sealer = Sealer::new(locks, SealOptions::new().threshold(2)).unwrap();
    let sealed = sealer.seal(b"two keys", &mut rng()).unwrap();
    let clients = (
        first.client(&running.0, API),
        second.client(&running.1, API),
    );
    let both = [(&clients.0, &records[0]), (&clients.1, &records[1])];
    assert_eq!(open_with(&sealed, &both).await.unwrap(), b"two keys");
    running.1.stop().await;
    running.0.stop().await;
}

#[tokio::test]
async fn an_answer_under_a_rewritten_policy_opens_nothing() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let sealed = seal(&record, inline(&lets_open(API)), b"hunter2");
    // The refused workload writes a policy of the same length that lets itself in.
    let (own, other) = (text(&lets_open(BATCH)), text(&lets_open(API)));
    let at = sealed
        .windows(other.len())
        .position(|window| window == other.as_bytes())
        .unwrap();
    let mut forged = sealed[..at - 2].to_vec();
    forged.extend(u16::try_from(own.len()).unwrap().to_be_bytes());
    forged.extend(own.as_bytes());
    forged.extend(&sealed[at + other.len()..]);
    // The lock is longer now; its length stands before it.
    let lock_at = 12 + 32 + 2;
    let length = u16::from_be_bytes([forged[lock_at], forged[lock_at + 1]]);
    let grown = usize::from(length) + own.len() - other.len();
    forged[lock_at..lock_at + 2].copy_from_slice(&u16::try_from(grown).unwrap().to_be_bytes());
    let client = world.client(&running, BATCH);
    let error = client.open(&forged, &record).await.unwrap_err();
    assert_eq!(
        error.name(),
        "LOCK_AUTH",
        "the unsealer answered, in vain: {error:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn v14_another_policy_than_the_authorized_one_is_never_evaluated() {
    // The same element under two policies gives two results. That it is the authorized policy
    // which is evaluated is shown beside the evaluation itself, on the request it is given.
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let mut bodies = Vec::new();
    for policy in [
        lets_open(API),
        canonical(&format!(
            "v: 1\nname: other\nrules: [{{effect: allow, principal: {{spiffe_id: '{API}'}}}}]\n"
        )),
    ] {
        let request = RawRequest::new(&record, &inline(&policy));
        let response = client.evaluate(&request.bytes()).await;
        assert_eq!(code(&response), 0);
        bodies.push(response.to_bytes()[24..73].to_vec());
    }
    assert_ne!(bodies[0], bodies[1]);
    running.stop().await;
}

#[tokio::test]
async fn windows_are_held_against_the_servers_clock() {
    let world = World::new().await;
    let (running, record) = world.start_with_key().await;
    let client = world.client(&running, API);
    let today = Window::day_of(now());
    let policy = inline(&lets_open(API));
    for (window, opens) in [
        (Window::new(today - 1, today + 1).unwrap(), true),
        (Window::new(today - 9, today - 2).unwrap(), false),
        (Window::new(today + 2, 0).unwrap(), false),
    ] {
        let sealed = seal_in(&record, policy.clone(), window, b"hunter2");
        match client.open(&sealed, &record).await {
            Ok(plaintext) => assert!(opens && plaintext == b"hunter2", "{window:?}"),
            Err(error) => {
                assert!(!opens, "{window:?}: {error}");
                assert!(matches!(
                    error,
                    OpenError::Refused {
                        refusal: Refusal::NotValidNow,
                        ..
                    }
                ));
            }
        }
    }
    running.stop().await;
}
