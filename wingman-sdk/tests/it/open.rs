//! Opening: one object, several in one round trip, options, local keys, refusals.

use blindfold_core::{
    AcceptanceProfile, Expectation, LockSpec, OpenError, Refusal, SealOptions, SecretKey,
    StaticKey, UnsealingKey, Window,
};
use wingman_sdk::{Error, ExposeSecret, UnsealerError, Wingman};

use crate::{
    unsealing::{Behaviour, TestUnsealer, inline, named, object, setup, simple, threshold},
    world::{World, id, rng},
};

#[test]
fn opens_bytes_and_text() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let bytes = simple(&unsealer.record, "", &[0, 255, 7]);
    assert_eq!(wingman.open(&bytes).unwrap().expose_secret(), [0, 255, 7]);
    let text = simple(&unsealer.record, "", "pässword".as_bytes());
    assert_eq!(
        wingman.open_string(&text).unwrap().expose_secret(),
        "pässword"
    );
    let empty = simple(&unsealer.record, "", b"");
    assert_eq!(wingman.open(&empty).unwrap().expose_secret(), b"");
}

#[test]
fn content_that_is_not_text_is_refused_as_text() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let error = wingman
        .open_string(&simple(&unsealer.record, "", &[255]))
        .unwrap_err();
    assert!(matches!(error, Error::Content(_)), "{error}");
}

#[test]
fn server_sees_the_identity_and_policy_and_neither_label_nor_object() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let sealed = simple(&unsealer.record, "database-password", b"secret");
    wingman.open(&sealed).unwrap();
    let received = unsealer.server.received();
    assert_eq!(
        received[0].peer.as_ref().unwrap().spiffe_id(),
        &id("paris/api")
    );
    let body = &received[0].body;
    let contains = |needle: &[u8]| body.windows(needle.len()).any(|window| window == needle);
    assert!(contains(b"payments"));
    assert!(!contains(b"database-password") && !contains(b"secret"));
    // Nothing of the object but its key id and policy: neither salt nor enc nor wrapped key.
    assert!(!contains(&sealed.as_bytes()[12..44]));
    assert!(!contains(sealed.locks()[0].enc()));
}

#[test]
fn objects_of_one_key_policy_and_window_share_one_request() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let objects: Vec<_> = (0..20)
        .map(|n| simple(&unsealer.record, "", format!("secret {n}").as_bytes()))
        .collect();
    let opened = wingman.open_all(&objects).unwrap();
    for (n, secret) in opened.iter().enumerate() {
        assert_eq!(secret.expose_secret(), format!("secret {n}").as_bytes());
    }
    let requests = unsealer.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].count(), 20);
}

#[test]
fn another_policy_or_window_is_another_request() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let sealed = |policy, window| {
        object(
            vec![LockSpec::share(&unsealer.record, policy, window)],
            SealOptions::new(),
            b"secret",
        )
    };
    let window = Window::new(1, 60_000).unwrap();
    let document = r#"{"name":"payments","rules":[],"v":1}"#;
    let objects = [
        sealed(named("payments"), Window::unbounded()),
        sealed(named("orders"), Window::unbounded()),
        sealed(named("payments"), window),
        sealed(inline(document), Window::unbounded()),
        sealed(named("payments"), Window::unbounded()),
        sealed(inline(document), Window::unbounded()),
    ];
    assert_eq!(wingman.open_all(&objects).unwrap().len(), 6);
    let mut counts: Vec<_> = unsealer
        .requests()
        .iter()
        .map(blindfold_core::Request::count)
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 2, 2]);
}

#[test]
fn more_than_256_objects_make_several_requests() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let objects: Vec<_> = (0..257_u16)
        .map(|n| simple(&unsealer.record, "", &n.to_be_bytes()))
        .collect();
    let opened = wingman.open_all(&objects).unwrap();
    assert!(
        opened
            .iter()
            .zip(0_u16..)
            .all(|(secret, n)| secret.expose_secret() == n.to_be_bytes())
    );
    let mut counts: Vec<_> = unsealer
        .requests()
        .iter()
        .map(blindfold_core::Request::count)
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 256]);
}

#[test]
fn same_object_twice_is_asked_for_once() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let sealed = simple(&unsealer.record, "", b"secret");
    let opened = wingman.open_all([&sealed, &sealed, &sealed]).unwrap();
    assert!(
        opened.len() == 3
            && opened
                .iter()
                .all(|secret| secret.expose_secret() == b"secret")
    );
    assert_eq!(unsealer.requests()[0].count(), 1);
}

#[test]
fn nothing_is_sent_for_an_empty_list() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    assert!(wingman.open_all(&[]).unwrap().is_empty());
    assert_eq!(unsealer.server.connections(), 0);
}

#[test]
fn connection_is_kept_between_calls() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let sealed = simple(&unsealer.record, "", b"secret");
    for _ in 0..5 {
        wingman.open(&sealed).unwrap();
    }
    assert_eq!(unsealer.server.received().len(), 5);
    assert_eq!(unsealer.server.connections(), 1);
}

#[test]
fn label_and_external_aad_must_be_the_expected_ones() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let lock = LockSpec::share(&unsealer.record, named("payments"), Window::unbounded());
    let sealed = object(
        vec![lock],
        SealOptions::new().label("db").ext_aad(*b"host 7"),
        b"secret",
    );
    let right = Expectation::new().label("db").ext_aad(*b"host 7");
    assert_eq!(
        wingman.open_with(&sealed, &right).unwrap().expose_secret(),
        b"secret"
    );
    for (wrong, name) in [
        (
            Expectation::new().label("cache").ext_aad(*b"host 7"),
            "LABEL_MISMATCH",
        ),
        (
            Expectation::new().label("db").ext_aad(*b"host 8"),
            "COMMIT_MISMATCH",
        ),
        (Expectation::new().label("db"), "AAD_MISMATCH"),
    ] {
        assert_eq!(
            wingman.open_with(&sealed, &wrong).unwrap_err().name(),
            Some(name)
        );
    }
}

#[test]
fn key_that_is_not_pinned_is_named_with_those_that_are() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let foreign = UnsealingKey::generate("other", "acme", 1, &mut rng()).unwrap();
    let error = wingman
        .open(&simple(foreign.record(), "", b"secret"))
        .unwrap_err();
    let Error::UnknownKey {
        key_id,
        tenant,
        pinned,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*key_id, foreign.record().key_id());
    assert_eq!(tenant, "acme");
    assert_eq!(pinned, &[unsealer.record.key_id()]);
    let text = error.to_string();
    assert!(
        text.contains(&key_id.to_string()) && text.contains(&unsealer.record.key_id().to_string()),
        "{text}"
    );
    assert_eq!(
        unsealer.server.connections(),
        0,
        "nothing is sent for an object that is not accepted"
    );
}

#[test]
fn profile_refuses_before_anything_is_sent() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let strict = |profile| {
        Wingman::builder()
            .identity(world.workload("paris/api"))
            .unsealer(unsealer.config())
            .profile(profile)
            .build()
            .unwrap()
    };
    let sealed = simple(&unsealer.record, "", b"secret");
    for profile in [
        AcceptanceProfile::new().minimum_threshold(2),
        AcceptanceProfile::new().require_site_lock(true),
        AcceptanceProfile::new().allow_dems([blindfold_core::Dem::ChaCha20Poly1305]),
    ] {
        let error = strict(profile).open(&sealed).unwrap_err();
        assert!(
            matches!(error, Error::Object(OpenError::ProfileViolation(_))),
            "{error}"
        );
    }
    assert_eq!(unsealer.server.connections(), 0);
}

#[test]
fn denied_names_the_workload_and_the_policy() {
    let rule = |_: &_, _: &identity::Principal| Err((Refusal::Denied, 0));
    let (_world, unsealer, wingman) = setup(Behaviour::rule(rule));
    let error = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    assert_eq!(error.name(), Some("DENIED"));
    assert!(!error.may_pass());
    let text = error.to_string();
    for part in [
        "spiffe://test.example/paris/api",
        "payments",
        "acme",
        "blindfold policy explain",
    ] {
        assert!(text.contains(part), "{part} in: {text}");
    }
}

#[test]
fn rewritten_policy_is_answered_and_opens_nothing() {
    // The server allows the rewritten name and denies the original one.
    let rule = |request: &blindfold_core::CheckedRequest, _: &identity::Principal| {
        if request.policy().value() == b"payments" {
            Err((Refusal::Denied, 0))
        } else {
            Ok(())
        }
    };
    let (_world, unsealer, wingman) = setup(Behaviour::rule(rule));
    let sealed = simple(&unsealer.record, "", b"secret");
    let mut bytes = sealed.as_bytes().to_vec();
    let at = bytes
        .windows(8)
        .position(|window| window == b"payments")
        .unwrap();
    bytes[at..at + 8].copy_from_slice(b"everyone");
    let rewritten = wingman_sdk::SealedObject::parse(&bytes).unwrap();
    assert_eq!(wingman.open(&sealed).unwrap_err().name(), Some("DENIED"));
    assert_eq!(
        wingman.open(&rewritten).unwrap_err().name(),
        Some("LOCK_AUTH")
    );
    assert_eq!(unsealer.server.received().len(), 2);
}

#[test]
fn one_bad_object_of_several_is_named_and_the_others_open() {
    let rule = |request: &blindfold_core::CheckedRequest, _: &identity::Principal| {
        if request.policy().value() == b"closed" {
            Err((Refusal::Denied, 0))
        } else {
            Ok(())
        }
    };
    let (_world, unsealer, wingman) = setup(Behaviour::rule(rule));
    let sealed = |policy| {
        let lock = LockSpec::share(&unsealer.record, named(policy), Window::unbounded());
        object(vec![lock], SealOptions::new().label(policy), b"secret")
    };
    let (open, closed) = (sealed("open"), sealed("closed"));
    let any = Expectation::new();
    let each = wingman.open_each(&[(&open, &any), (&closed, &any), (&open, &any)]);
    assert_eq!(each[0].as_ref().unwrap().expose_secret(), b"secret");
    assert_eq!(each[1].as_ref().unwrap_err().name(), Some("DENIED"));
    assert_eq!(each[2].as_ref().unwrap().expose_secret(), b"secret");
    let error = wingman.open_all([&open, &closed]).unwrap_err();
    assert_eq!(error.name(), Some("DENIED"));
    assert!(
        error.to_string().contains("`1` (label `closed`)"),
        "{error}"
    );
}

#[test]
fn site_lock_is_opened_here_and_missed_with_a_hint() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let site = StaticKey::generate("paris", "acme", 1, &mut rng()).unwrap();
    let locks = vec![
        LockSpec::share(&unsealer.record, named("payments"), Window::unbounded()),
        LockSpec::required_static(site.record()),
    ];
    let sealed = object(locks, SealOptions::new(), b"secret");
    let builder = || {
        Wingman::builder()
            .identity(world.workload("paris/api"))
            .unsealer(unsealer.config())
    };
    let without = builder().pin(site.record().clone()).build().unwrap();
    let error = without.open(&sealed).unwrap_err();
    assert!(
        matches!(error, Error::NoSiteKey { key_id } if key_id == site.record().key_id()),
        "{error}"
    );
    assert!(error.to_string().contains("[site] key_file"), "{error}");
    assert_eq!(unsealer.server.connections(), 0, "nobody is asked in vain");
    let with = builder()
        .site_key(SecretKey::Static(site))
        .profile(AcceptanceProfile::new().require_site_lock(true))
        .build()
        .unwrap();
    assert_eq!(with.open(&sealed).unwrap().expose_secret(), b"secret");
}

#[test]
fn recovery_key_opens_alone_and_asks_nobody() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    for recovery in [
        SecretKey::Static(StaticKey::generate("vault", "acme", 1, &mut rng()).unwrap()),
        SecretKey::Unsealing(UnsealingKey::generate("vault", "acme", 1, &mut rng()).unwrap()),
    ] {
        let lock = match &recovery {
            SecretKey::Static(key) => LockSpec::recovery_static(key.record()),
            _ => {
                LockSpec::recovery_policy(recovery.record(), named("payments"), Window::unbounded())
            }
        };
        let locks = vec![
            LockSpec::share(&unsealer.record, named("payments"), Window::unbounded()),
            lock,
        ];
        let sealed = object(locks, SealOptions::new(), b"secret");
        let wingman = Wingman::builder()
            .without_identity()
            .pin(unsealer.record.clone())
            .recovery_key(recovery)
            .build()
            .unwrap();
        assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
    }
    assert_eq!(unsealer.server.connections(), 0);
}

#[test]
fn pinned_key_without_a_server_is_told_apart() {
    let world = World::new();
    let known = TestUnsealer::start(&world, "a", Behaviour::default());
    let other = UnsealingKey::generate("b", "acme", 1, &mut rng()).unwrap();
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(known.config())
        .pin(other.record().clone())
        .build()
        .unwrap();
    let error = wingman
        .open(&simple(other.record(), "", b"secret"))
        .unwrap_err();
    let Error::Unsealer(fault) = &error else {
        panic!("{error}")
    };
    assert!(matches!(fault.reason, UnsealerError::NoServer), "{error}");
}

#[test]
fn not_valid_now_tells_both_clocks() {
    let rule = |_: &_, _: &identity::Principal| Err((Refusal::NotValidNow, 0));
    let twist = |_, reply| match reply {
        crate::server::Reply::Http {
            status,
            content_type,
            mut headers,
            body,
        } => {
            headers.push(("date", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()));
            crate::server::Reply::Http {
                status,
                content_type,
                headers,
                body,
            }
        }
        other => other,
    };
    let behaviour = Behaviour {
        rule: Box::new(rule),
        twist: Box::new(twist),
    };
    let (_world, unsealer, wingman) = setup(behaviour);
    let error = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    assert_eq!(error.name(), Some("NOT_VALID_NOW"));
    assert!(
        error
            .to_string()
            .contains("1994-11-06T08:49:37Z at the authority"),
        "{error}"
    );
    assert_eq!(unsealer.server.received().len(), 1);
}

#[test]
fn each_further_refusal_has_its_own_error_and_is_not_repeated() {
    for (refusal, name) in [
        (Refusal::BadRequest, "BAD_REQUEST"),
        (Refusal::KeyUnknown, "KEY_UNKNOWN"),
        (Refusal::KeyRetired, "KEY_UNKNOWN"),
        (Refusal::PolicyUnknown, "POLICY_UNKNOWN"),
        (Refusal::BadElement, "BAD_ELEMENT"),
        (Refusal::Denied, "DENIED"),
    ] {
        let (_world, unsealer, wingman) = setup(Behaviour::rule(move |_, _| Err((refusal, 0))));
        let error = wingman
            .open(&simple(&unsealer.record, "", b"secret"))
            .unwrap_err();
        assert_eq!(error.name(), Some(name));
        assert_eq!(unsealer.server.received().len(), 1, "{name}");
    }
}

#[test]
fn threads_open_at_once_over_shared_connections() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let sealed = simple(&unsealer.record, "", b"secret");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
                }
            });
        }
    });
    assert!(
        unsealer.server.connections() <= 8,
        "{}",
        unsealer.server.connections()
    );
}

#[test]
fn object_of_an_unreachable_threshold_asks_nobody() {
    let world = World::new();
    let (a, b) = (
        TestUnsealer::start(&world, "a", Behaviour::default()),
        TestUnsealer::start(&world, "b", Behaviour::default()),
    );
    let sealed = threshold(2, &[&a, &b], b"secret");
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(a.config())
        .pin(b.record.clone())
        .build()
        .unwrap();
    let error = wingman.open(&sealed).unwrap_err();
    let Error::TooFew {
        threshold: 2,
        missing: 2,
        faults,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(matches!(faults[0].reason, UnsealerError::NoServer));
    assert_eq!(a.server.connections(), 0);
    // With both, it opens.
    let both = crate::unsealing::wingman(&world, &[&a, &b]);
    assert_eq!(both.open(&sealed).unwrap().expose_secret(), b"secret");
}
