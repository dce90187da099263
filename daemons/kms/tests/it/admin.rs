//! Administration: who may, what changes do, what they refuse, and what is recorded.

use identity::{SpiffeId, http::HttpError};
use kms_client::{
    Algorithm, Operation, Sensitivity, State,
    admin::{AdminClient, AdminError},
    wire::{
        ErrorCode,
        admin::{self, CreateKey, SetState, Settings, path},
    },
};

use crate::support::{
    API, BATCH, Running, SERVER, STRANGER, TENANT, World, decrypt, encrypt, lets,
};

mod lifecycle;
mod transfer;

pub(crate) const ADA: &str = "spiffe://acme.example/ops/ada";
pub(crate) const BOB: &str = "spiffe://acme.example/ops/bob";

/// Ada may everything; Bob looks, and rotates `orders`.
const POLICY: &str = "
v: 1
rules:
  - name: ada
    effect: allow
    principal: {spiffe_id: 'spiffe://acme.example/ops/ada'}
  - name: bob looks
    effect: allow
    actions: [get-key, list-keys]
    principal: {spiffe_id: 'spiffe://acme.example/ops/bob'}
  - name: bob rotates
    effect: allow
    actions: [rotate-key]
    resource: kms/payments/orders
    principal: {spiffe_id: 'spiffe://acme.example/ops/bob'}
";

/// A service with an administration policy and the tenant.
pub(crate) async fn administrated() -> (World, Running) {
    let mut world = World::uninitialized();
    with_policy(&mut world);
    kms::init(&world.config).await.unwrap();
    let running = world.start_with_tenant().await;
    (world, running)
}

pub(crate) fn with_policy(world: &mut World) {
    let policy = world.folder.path().join("administration.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    world.config.admin.policy = Some(policy.into());
}

/// Makes calls as `who`, on a thread that may block.
pub(crate) async fn as_admin<T: Send + 'static>(
    world: &World,
    running: &Running,
    who: &str,
    calls: impl FnOnce(&AdminClient) -> T + Send + 'static,
) -> T {
    let (identity, address) = (world.trust.identity(who), running.address);
    let work = move || {
        let server = SpiffeId::parse(SERVER).unwrap();
        let client = AdminClient::new(identity, &format!("https://{address}"), &server).unwrap();
        calls(&client)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Status and code of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(
    result: Result<T, AdminError>,
) -> (u16, ErrorCode, String) {
    match result {
        Err(AdminError::Http(HttpError::Status {
            status,
            code,
            message,
            ..
        })) => (
            status,
            serde_json::from_value(code.into()).unwrap(),
            message,
        ),
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, AdminError>) -> ErrorCode {
    refusal(result).1
}

pub(crate) fn create(name: &str, algorithm: Algorithm, settings: Settings) -> CreateKey {
    CreateKey {
        tenant: TENANT.to_owned(),
        name: name.to_owned(),
        algorithm,
        sensitivity: Sensitivity::Medium,
        policy: Some(lets(API)),
        settings,
    }
}

fn aes(name: &str) -> CreateKey {
    create(name, Algorithm::Aes256Gcm, Settings::default())
}

#[tokio::test]
async fn without_a_policy_nobody_administrates() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    for who in [ADA, API, STRANGER] {
        let denied = as_admin(&world, &running, who, |admin| {
            (
                code(admin.tenants()),
                code(admin.create_key(&aes("orders"))),
            )
        });
        assert_eq!(
            denied.await,
            (ErrorCode::Denied, ErrorCode::Denied),
            "{who}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn applications_do_not_administrate_even_if_their_policies_allow_everything() {
    let (world, running) = administrated().await;
    running.key("orders", Algorithm::Aes256Gcm).await;
    // Its admission and the key's policy name no action, so they allow every one that is asked of them.
    let denied = as_admin(&world, &running, API, |admin| {
        [
            code(admin.rotate_key(TENANT, "orders", 1)),
            code(admin.set_policy(TENANT, "orders", 1, None)),
            code(admin.key(TENANT, "orders")),
            code(admin.keys(TENANT)),
            code(admin.create_tenant("own", None)),
        ]
    });
    assert_eq!(denied.await, [ErrorCode::Denied; 5]);
    // Nor does an administrator use keys.
    let ada = world.client(&running, ADA);
    let refused = ada
        .refused_code(
            &kms_client::wire::path::operation(TENANT, "orders", Operation::Encrypt),
            &kms_client::wire::Request {
                items: vec![encrypt(b"x", b"")],
            },
        )
        .await;
    assert_eq!(refused, ErrorCode::Denied);
    running.stop().await;
}

#[tokio::test]
async fn a_rule_about_a_name_holds_for_the_identifier_too() {
    let (world, running) = administrated().await;
    let orders = running.key("orders", Algorithm::Aes256Gcm).await;
    let secret = running.key("secret", Algorithm::Aes256Gcm).await;
    as_admin(&world, &running, BOB, move |bob| {
        let (orders_id, secret_id) = (orders.key_id.to_string(), secret.key_id.to_string());
        assert_eq!(
            code(bob.rotate_key(TENANT, "secret", secret.revision)),
            ErrorCode::Denied
        );
        assert_eq!(
            code(bob.rotate_key(TENANT, &secret_id, secret.revision)),
            ErrorCode::Denied
        );
        // Another tenant's name in front of it does not help either.
        assert_eq!(
            code(bob.rotate_key("other", &secret_id, secret.revision)),
            ErrorCode::Denied
        );
        let rotated = bob.rotate_key(TENANT, &orders_id, orders.revision).unwrap();
        assert_eq!(rotated.primary, 2);
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_key_lives_through_its_versions() {
    let (world, running) = administrated().await;
    let made = as_admin(&world, &running, ADA, |ada| {
        ada.create_key(&aes("orders")).unwrap()
    })
    .await;
    assert_eq!((made.primary, made.versions.len()), (1, 1));
    let api = world.client(&running, API);
    let old = api.encrypt("orders", b"4111", b"order 17").await;
    assert_eq!(old.version, 1);

    let rotated = as_admin(&world, &running, ADA, move |ada| {
        let rotated = ada.rotate_key(TENANT, "orders", made.revision).unwrap();
        // Made from a revision that is not in force any more.
        let (status, code, message) = refusal(ada.rotate_key(TENANT, "orders", made.revision));
        assert_eq!((status, code), (409, ErrorCode::Conflict));
        assert!(message.contains("look again"), "{message}");
        rotated
    })
    .await;
    assert_eq!(rotated.primary, 2);
    // In force when the answer came, and the old version still reads.
    assert_eq!(api.encrypt("orders", b"4111", b"").await.version, 2);
    assert_eq!(
        api.decrypt("orders", &old.ciphertext.0, b"order 17").await,
        b"4111"
    );

    let usage = as_admin(&world, &running, ADA, |ada| {
        ada.usage(TENANT, "orders").unwrap()
    })
    .await;
    assert_eq!((usage.reads, usage.old_reads), (1, 1));
    assert_eq!(usage.versions[0].read, 1);
    assert!(usage.versions[0].last_used_at.is_some());
    assert!(usage.versions[1].protected >= 1);
    assert!(!usage.incomplete);

    let disabled = as_admin(&world, &running, ADA, move |ada| {
        let disabled = ada
            .set_state(TENANT, "orders", 1, rotated.revision, State::Disabled, None)
            .unwrap();
        assert_eq!(
            code(ada.set_primary(TENANT, "orders", 1, disabled.revision)),
            ErrorCode::WrongState
        );
        disabled
    })
    .await;
    let failed = api
        .fails(
            "orders",
            Operation::Decrypt,
            decrypt(&old.ciphertext.0, b"order 17"),
        )
        .await;
    assert_eq!(failed.code, ErrorCode::WrongState);

    as_admin(&world, &running, ADA, move |ada| {
        let enabled = ada
            .set_state(TENANT, "orders", 1, disabled.revision, State::Enabled, None)
            .unwrap();
        let back = ada
            .set_primary(TENANT, "orders", 1, enabled.revision)
            .unwrap();
        assert_eq!(back.primary, 1);
        let without = ada
            .set_policy(TENANT, "orders", back.revision, None)
            .unwrap();
        assert_eq!(without.policy_digest, None);
    })
    .await;
    let refused = api
        .refused_code(
            &kms_client::wire::path::operation(TENANT, "orders", Operation::Encrypt),
            &kms_client::wire::Request {
                items: vec![encrypt(b"x", b"")],
            },
        )
        .await;
    assert_eq!(refused, ErrorCode::Denied);
    running.stop().await;
}

#[tokio::test]
async fn impossible_changes_are_refused_with_their_reason() {
    let (world, running) = administrated().await;
    as_admin(&world, &running, ADA, |ada| {
        let key = ada.create_key(&aes("orders")).unwrap();
        assert_eq!(
            code(ada.create_key(&aes("orders"))),
            ErrorCode::AlreadyExists
        );
        assert_eq!(
            code(ada.create_tenant(TENANT, None)),
            ErrorCode::AlreadyExists
        );
        assert_eq!(code(ada.key(TENANT, "none")), ErrorCode::NotFound);
        assert_eq!(code(ada.keys("none")), ErrorCode::NotFound);
        let mut elsewhere = aes("k");
        elsewhere.tenant = "none".to_owned();
        assert_eq!(code(ada.create_key(&elsewhere)), ErrorCode::NotFound);
        for bad in ["", "A", "a/b", "00112233445566778899aabbccddeeff"] {
            assert_eq!(
                code(ada.create_key(&aes(bad))),
                ErrorCode::BadRequest,
                "{bad}"
            );
            assert_eq!(
                code(ada.create_tenant(bad, None)),
                ErrorCode::BadRequest,
                "{bad}"
            );
        }
        let mut nonsense = aes("k");
        nonsense.policy = Some("v: 1\nrules:\n  - effect: maybe\n".to_owned());
        let (_, code_, message) = refusal(ada.create_key(&nonsense));
        assert_eq!(code_, ErrorCode::BadRequest);
        assert!(message.contains("rules[0]"), "{message}");
        let mut high = aes("k");
        high.sensitivity = Sensitivity::High;
        let (_, _, message) = refusal(ada.create_key(&high));
        assert!(message.contains("HSM"), "{message}");

        for (settings, what) in [
            (
                Settings {
                    rotate_after_seconds: Some(60),
                    ..Settings::default()
                },
                "rotated",
            ),
            (
                Settings {
                    lease: admin::LeaseTerms {
                        seconds: 10,
                        outage_seconds: 9,
                        uses: 1,
                    },
                    ..Settings::default()
                },
                "lease",
            ),
            (
                Settings {
                    lease: admin::LeaseTerms {
                        seconds: 10,
                        outage_seconds: 10,
                        uses: 0,
                    },
                    ..Settings::default()
                },
                "uses",
            ),
        ] {
            let mut create = aes("k");
            create.settings = settings;
            let (_, code, message) = refusal(ada.create_key(&create));
            assert_eq!(code, ErrorCode::BadRequest);
            assert!(message.contains(what), "{message}");
        }
        // What was not exportable never becomes so.
        let exportable = Settings {
            exportable: true,
            ..Settings::default()
        };
        assert_eq!(
            code(ada.set_settings(TENANT, "orders", key.revision, &exportable)),
            ErrorCode::BadRequest
        );
        // Nothing is destroyed at once, nor after less than the least delay.
        for state in [State::Destroyed, State::Enabled] {
            let set = ada.set_state(TENANT, "orders", 1, key.revision, state, None);
            assert_eq!(code(set), ErrorCode::WrongState, "{state}");
        }
        let hour = Some(std::time::Duration::from_secs(3600));
        for (state, delay) in [(State::PendingDestruction, hour), (State::Disabled, hour)] {
            let set = ada.set_state(TENANT, "orders", 1, key.revision, state, delay);
            assert_eq!(code(set), ErrorCode::BadRequest, "{state}");
        }
        assert_eq!(
            code(ada.set_state(TENANT, "orders", 2, key.revision, State::Disabled, None)),
            ErrorCode::NotFound
        );
        // Nothing of all that changed anything.
        assert_eq!(ada.key(TENANT, "orders").unwrap().key, key);
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_refused_and_recorded_without_what_they_say() {
    let (world, running) = administrated().await;
    let ada = world.client(&running, ADA);
    let unknown =
        serde_json::json!({"tenant": TENANT, "key": "orders", "expected_revision": 1, "SECRET": 1});
    let (status, error) = ada.refused(path::ROTATE_KEY, &unknown).await;
    assert_eq!((status, error.code), (400, ErrorCode::BadRequest));
    assert!(!error.message.contains("SECRET"), "{}", error.message);
    let reply = ada
        .request("POST", path::ROTATE_KEY, Some("text/plain"), b"{}")
        .await;
    assert_eq!(reply.status, 400);
    let reply = ada
        .request("POST", path::ROTATE_KEY, Some("application/json"), b"{")
        .await;
    assert_eq!(reply.status, 400);
    assert_eq!(
        ada.request("GET", path::ROTATE_KEY, None, b"").await.status,
        405
    );
    running.stop().await;
    assert!(!world.audit().contains("SECRET"));
    let refusals: Vec<_> = world
        .records()
        .into_iter()
        .filter(|record| record["kind"] == "refusal" && record["action"] == "rotate-key")
        .collect();
    assert_eq!(refusals.len(), 3);
}

#[tokio::test]
async fn every_change_has_a_decision_and_an_outcome() {
    let (world, running) = administrated().await;
    as_admin(&world, &running, ADA, |ada| {
        let key = ada.create_key(&aes("orders")).unwrap();
        code(ada.rotate_key(TENANT, "orders", key.revision + 1));
    })
    .await;
    as_admin(&world, &running, BATCH, |batch| code(batch.keys(TENANT))).await;
    running.stop().await;
    let of = |action: &str| -> Vec<serde_json::Value> {
        let records = world.records().into_iter();
        records
            .filter(|record| record["action"] == action)
            .collect()
    };
    let created = of("create-key");
    assert_eq!(created.len(), 2, "{created:#?}");
    assert_eq!(created[0]["decision"], "allow");
    assert_eq!(created[0]["rule"], "rules[0] \"ada\"");
    assert_eq!(created[0]["resource"], "kms/payments/orders");
    assert_eq!(created[0]["principal"]["spiffe_id"], ADA);
    assert_eq!(created[0]["context"]["algorithm"], "aes-256-gcm");
    assert!(created[0]["context"]["policy_digest"].is_string());
    assert_eq!(created[1]["outcome"], "success");
    assert_eq!(created[1]["id"], created[0]["id"]);
    let rotated = of("rotate-key");
    assert_eq!(rotated.len(), 2);
    assert_eq!(
        (&rotated[1]["outcome"], &rotated[1]["code"]),
        (&"failure".into(), &"CONFLICT".into())
    );
    let listed = of("list-keys");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["decision"], "deny");
    // The tenant was made by whoever runs the service.
    let tenant = of("create-tenant");
    assert_eq!(tenant[0]["context"]["operator"], "host");
}

#[tokio::test]
async fn lists_have_pages_and_stay_with_their_tenant() {
    let (world, running) = administrated().await;
    running.create_tenant("other", None).await;
    running
        .create_key(
            "other",
            "orders",
            Algorithm::Ed25519,
            Sensitivity::Low,
            &lets(API),
        )
        .await;
    for number in 0..260 {
        running
            .key(&format!("key-{number:03}"), Algorithm::Aes256Gcm)
            .await;
    }
    as_admin(&world, &running, ADA, |ada| {
        let keys = ada.keys(TENANT).unwrap();
        let names: Vec<_> = keys.iter().map(|key| key.name.clone()).collect();
        assert_eq!(names.len(), 260);
        assert!(names.is_sorted());
        assert!(keys.iter().all(|key| key.tenant == TENANT));
        let tenants = ada.tenants().unwrap();
        let counts: Vec<_> = tenants
            .iter()
            .map(|tenant| (tenant.tenant.as_str(), tenant.keys))
            .collect();
        assert_eq!(counts, [("other", 1), (TENANT, 260)]);
        let other = ada.key("other", "orders").unwrap().key;
        // Another tenant's key is not found by its identifier.
        assert_eq!(
            code(ada.key(TENANT, &other.key_id.to_string())),
            ErrorCode::NotFound
        );
        let set = ada.set_admission(
            "other",
            ada.tenant("other").unwrap().tenant.revision,
            Some(&lets(API)),
        );
        assert!(set.unwrap().admission_digest.is_some());
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn states_are_as_the_wire_says() {
    // A request in the words of the API, not made by our own types.
    let request = serde_json::json!({
        "tenant": TENANT, "key": "orders", "version": 1, "expected_revision": 7, "state": "decrypt-only",
    });
    let request: SetState = serde_json::from_value(request).unwrap();
    assert_eq!(request.state, State::DecryptOnly);
}
