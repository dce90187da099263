//! t of n: any t suffice, whoever is dead, slow or lying.

use std::time::{Duration, Instant};

use blindfold_core::{LockSpec, Refusal, SealOptions, UnsealingKey, Window};
use wingman_sdk::{Error, ExposeSecret, SealedObject, UnsealerError, UnsealerHealth, Wingman};

use crate::{
    server::Reply,
    unsealing::{Behaviour, TestUnsealer, named, object, threshold, wingman},
    world::{World, rng},
};

fn three(world: &World, first: Behaviour) -> [TestUnsealer; 3] {
    [
        TestUnsealer::start(world, "a", first),
        TestUnsealer::start(world, "b", Behaviour::default()),
        TestUnsealer::start(world, "c", Behaviour::default()),
    ]
}

/// Claims to have the key of its record, and has another one.
fn liar(world: &World) -> TestUnsealer {
    let claimed = UnsealingKey::generate("a", "acme", 1, &mut rng()).unwrap();
    TestUnsealer::lying(world, "a", claimed.record().clone())
}

/// Opens until this one was asked too: who is asked first is left to chance. Every open succeeds.
fn open_until_asked(wingman: &Wingman, sealed: &SealedObject, one: &TestUnsealer) {
    for _ in 0..200 {
        assert_eq!(wingman.open(sealed).unwrap().expose_secret(), b"secret");
        if !one.server.received().is_empty() {
            return;
        }
    }
    panic!("never asked: the load is not spread");
}

fn asked(unsealers: [&TestUnsealer; 3]) -> [usize; 3] {
    unsealers.map(|unsealer| unsealer.server.received().len())
}

#[test]
fn only_as_many_as_needed_are_asked() {
    let world = World::new();
    let [a, b, c] = three(&world, Behaviour::default());
    let sealed = threshold(2, &[&a, &b, &c], b"secret");
    assert_eq!(
        wingman(&world, &[&a, &b, &c])
            .open(&sealed)
            .unwrap()
            .expose_secret(),
        b"secret"
    );
    let mut asked = asked([&a, &b, &c]);
    asked.sort_unstable();
    assert_eq!(asked, [0, 1, 1]);
}

#[test]
fn lying_server_is_named_and_the_others_go_on() {
    let world = World::new();
    let a = liar(&world);
    let b = TestUnsealer::start(&world, "b", Behaviour::default());
    let c = TestUnsealer::start(&world, "c", Behaviour::default());
    let sealed = threshold(2, &[&a, &b, &c], b"secret");
    let all = wingman(&world, &[&a, &b, &c]);
    open_until_asked(&all, &sealed, &a);
    for _ in 0..10 {
        all.open(&sealed).unwrap();
    }
    assert_eq!(a.server.received().len(), 1, "the liar is remembered");
    let status = &all.unsealer_status()[0];
    assert_eq!((status.authority.as_str(), status.lied), ("a", 1));
    assert_eq!(status.health, UnsealerHealth::Lying);
    let incident = status.last_fault.as_ref().unwrap();
    assert!(incident.reason.contains("do not trust"), "{incident:?}");

    // With too few honest ones left, the culprit is named.
    let few = wingman(&world, &[&a, &b]);
    let error = few.open(&sealed).unwrap_err();
    let Error::TooFew {
        threshold: 2,
        faults,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    let culprit = faults.iter().find(|fault| fault.authority == "a").unwrap();
    assert!(
        matches!(culprit.reason, UnsealerError::ProofInvalid),
        "{error}"
    );
    assert!(
        error.to_string().contains("do not trust this server"),
        "{error}"
    );
}

#[test]
fn lying_single_server_is_an_error_and_never_a_secret() {
    let world = World::new();
    let a = liar(&world);
    let sealed = crate::unsealing::simple(&a.record, "", b"secret");
    let error = wingman(&world, &[&a]).open(&sealed).unwrap_err();
    assert_eq!(error.name(), Some("PROOF_INVALID"));
    assert!(!error.may_pass());
    assert_eq!(a.server.received().len(), 1, "a liar is not asked again");
}

#[test]
fn dead_server_is_survived_without_waiting_for_its_repetitions() {
    let world = World::new();
    let [a, b, c] = three(&world, Behaviour::default());
    let sealed = threshold(2, &[&a, &b, &c], b"secret");
    let wingman = wingman(&world, &[&a, &b, &c]);
    a.server.stop();
    for _ in 0..8 {
        let start = Instant::now();
        assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
        // Six attempts with their pauses would take some three seconds, hedging twenty.
        assert!(
            start.elapsed() < Duration::from_millis(2500),
            "{:?}",
            start.elapsed()
        );
    }
    assert_eq!(asked([&a, &b, &c]), [0, 8, 8]);
    let status = &wingman.unsealer_status()[0];
    // Noticed once, and not asked again for a while.
    assert_eq!(status.health, UnsealerHealth::Down, "{status:?}");
    assert!(status.failed <= 2, "{status:?}");
    assert!(status.retry_at.is_some());
}

#[test]
fn slow_server_is_survived_by_asking_the_next_one() {
    let world = World::new();
    let late = Behaviour::twist(|_, reply| Reply::Late(Duration::from_secs(20), Box::new(reply)));
    let [a, b, c] = three(&world, late);
    let sealed = threshold(2, &[&a, &b, &c], b"secret");
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(a.config())
        .unsealer(b.config())
        .unsealer(c.config())
        .hedge_after(Duration::from_millis(200))
        .build()
        .unwrap();
    let start = Instant::now();
    open_until_asked(&wingman, &sealed, &a);
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    // From now on nobody waits for it.
    for _ in 0..5 {
        wingman.open(&sealed).unwrap();
    }
    assert_eq!(a.server.received().len(), 1);
    let status = &wingman.unsealer_status()[0];
    assert_eq!(status.health, UnsealerHealth::Slow);
    assert_eq!(status.in_flight, 1, "its answer is still awaited by nobody");
}

#[test]
fn refusing_server_is_survived() {
    let world = World::new();
    let [a, b, c] = three(&world, Behaviour::rule(|_, _| Err((Refusal::Denied, 0))));
    let sealed = threshold(2, &[&a, &b, &c], b"secret");
    let wingman = wingman(&world, &[&a, &b, &c]);
    open_until_asked(&wingman, &sealed, &a);
    wingman.open(&sealed).unwrap();
    assert_eq!(a.server.received().len(), 1, "a denial is not repeated");
    let status = &wingman.unsealer_status()[0];
    assert_eq!(status.health, UnsealerHealth::Refusing);
    assert_eq!((status.refused, status.failed), (1, 0));
}

#[test]
fn two_failures_of_three_are_both_told() {
    let world = World::new();
    let [a, b, c] = three(&world, Behaviour::rule(|_, _| Err((Refusal::Denied, 0))));
    let sealed = threshold(2, &[&a, &b, &c], b"secret");
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(a.config())
        .unsealer(b.config())
        .unsealer(c.config())
        .open_deadline(Duration::from_secs(2))
        .build()
        .unwrap();
    b.server.stop();
    let error = wingman.open(&sealed).unwrap_err();
    let Error::TooFew {
        threshold: 2,
        missing: 1,
        faults,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    let names: Vec<_> = faults
        .iter()
        .map(|fault| fault.authority.as_str())
        .collect();
    assert!(names.contains(&"a") && names.contains(&"b"), "{error}");
    assert!(!names.contains(&"c"), "{error}");
}

#[test]
fn many_objects_share_one_request_for_each_authority() {
    let world = World::new();
    let [a, b, c] = three(&world, Behaviour::default());
    let objects: Vec<_> = (0..30).map(|n| threshold(2, &[&a, &b, &c], &[n])).collect();
    let opened = wingman(&world, &[&a, &b, &c]).open_all(&objects).unwrap();
    assert!(
        opened
            .iter()
            .zip(0..)
            .all(|(secret, n)| secret.expose_secret() == [n])
    );
    let requests: Vec<_> = [&a, &b, &c]
        .iter()
        .flat_map(|unsealer| unsealer.requests())
        .map(|request| request.count())
        .collect();
    assert_eq!(requests, [30, 30]);
}

#[test]
fn required_policy_lock_is_asked_for_besides_the_shares() {
    let world = World::new();
    let [a, b, c] = three(&world, Behaviour::default());
    let lock = |unsealer: &TestUnsealer| {
        LockSpec::share(&unsealer.record, named("payments"), Window::unbounded())
    };
    let required = LockSpec::required_policy(&c.record, named("audit"), Window::unbounded());
    let sealed = object(
        vec![lock(&a), lock(&b), required],
        SealOptions::new().threshold(1),
        b"secret",
    );
    assert_eq!(
        wingman(&world, &[&a, &b, &c])
            .open(&sealed)
            .unwrap()
            .expose_secret(),
        b"secret"
    );
    let [of_a, of_b, of_c] = asked([&a, &b, &c]);
    assert_eq!((of_a + of_b, of_c), (1, 1));
}

#[test]
fn refused_required_lock_is_the_error() {
    let world = World::new();
    let a = TestUnsealer::start(&world, "a", Behaviour::default());
    let c = TestUnsealer::start(
        &world,
        "c",
        Behaviour::rule(|_, _| Err((Refusal::Denied, 0))),
    );
    let share = LockSpec::share(&a.record, named("payments"), Window::unbounded());
    let required = LockSpec::required_policy(&c.record, named("audit"), Window::unbounded());
    let sealed = object(vec![share, required], SealOptions::new(), b"secret");
    let error = wingman(&world, &[&a, &c]).open(&sealed).unwrap_err();
    let Error::Unsealer(fault) = &error else {
        panic!("{error}")
    };
    assert_eq!(fault.authority, "c");
}

#[test]
fn any_two_of_three_open() {
    let world = World::new();
    let [a, b, c] = three(&world, Behaviour::default());
    let sealed = threshold(2, &[&a, &b, &c], b"secret");
    for pair in [[&a, &b], [&b, &c], [&a, &c]] {
        let rest = [&a, &b, &c]
            .into_iter()
            .find(|one| !pair.iter().any(|two| two.record == one.record))
            .unwrap();
        let wingman = Wingman::builder()
            .identity(world.workload("paris/api"))
            .unsealer(pair[0].config())
            .unsealer(pair[1].config())
            .pin(rest.record.clone())
            .build()
            .unwrap();
        assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
    }
}
