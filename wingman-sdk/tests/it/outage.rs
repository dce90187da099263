//! The authority is away, the machine sleeps, the clocks differ.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use identity::{
    tls::ClientAuth,
    wire::{ATTEST_PATH, JOIN_PATH},
};
use wingman_sdk::{
    http::HttpClient,
    identity::{IdentityError, IdentitySource, RenewalState},
};

use crate::{
    attesting::Launcher,
    clock::TestClock,
    issuing::{TestAuthority, directory_with_token},
    server::{Reply, TestServer},
    world::{World, id},
};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(40), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The thread has planned its next renewal: whatever happens to the clocks from now on happens to a plan.
fn planned(source: &IdentitySource) {
    until("a plan", || {
        matches!(
            source.status().renewal,
            RenewalState::Waiting { until: Some(_) }
        )
    });
}

fn failures(source: &IdentitySource) -> Option<(u32, SystemTime)> {
    match source.status().renewal {
        RenewalState::Retrying { failures, next, .. } => Some((failures, next?)),
        _ => None,
    }
}

#[test]
fn authority_away_for_a_day_is_outlived_by_documents_of_three() {
    let clock = TestClock::default();
    let authority = TestAuthority::start_by(&clock);
    authority.desk.lock().unwrap().lifetime = 3 * DAY;
    let source =
        IdentitySource::from_join_token(authority.token("paris/api")).with_clock(clock.clone());
    source.start_renewal().unwrap();
    planned(&source);
    let tls = source.obtain().unwrap();
    let first = tls.document();
    // Past the greatest half-life, so that every hour of the day finds the renewal due.
    authority.desk.lock().unwrap().away = true;
    clock.pass(2 * DAY - 2 * HOUR);
    for hour in 0..24 {
        until("tries", || failures(&source).is_some());
        let before = failures(&source).unwrap().1;
        clock.pass(HOUR);
        until("tries again", || {
            failures(&source).is_some_and(|(_, next)| next > before)
        });
        assert!(source.obtain().is_ok(), "hour {hour}");
        let freshness = source.freshness();
        assert!(freshness.document_valid);
        assert!(!freshness.is_fresh(5), "who decides by the bundle is told");
        assert!(freshness.bundle_age.unwrap() >= Duration::from_secs((hour + 1) * HOUR));
    }
    let status = source.status();
    assert!(status.bundle_error.is_some());
    assert!(status.not_after.unwrap() > SystemTime::now());
    assert_eq!(tls.document().chain(), first.chain());
    authority.desk.lock().unwrap().away = false;
    until("renewed", || tls.document().chain() != first.chain());
    until("fresh", || source.freshness().is_fresh(5));
    assert!(matches!(
        source.status().renewal,
        RenewalState::Waiting { .. }
    ));
}

#[test]
fn document_that_ends_meanwhile_is_used_no_more_and_replaced_as_soon_as_can_be() {
    let clock = TestClock::default();
    let authority = TestAuthority::start_by(&clock);
    let launcher = Launcher::new();
    let source =
        IdentitySource::attested_in(launcher.directory(), launcher.attestation(&authority))
            .with_clock(clock.clone());
    thread::scope(|scope| {
        let obtaining = scope.spawn(|| source.obtain().map(drop));
        launcher.launch(&authority, 1, "silver");
        obtaining.join().unwrap().unwrap();
    });
    source.start_renewal().unwrap();
    planned(&source);
    let tls = source.obtain().unwrap();
    let first = tls.document();
    authority.desk.lock().unwrap().away = true;
    clock.pass(DAY);
    until("it shows", || failures(&source).is_some());
    assert!(!source.freshness().document_valid);
    assert_eq!(tls.document().chain(), first.chain());
    // Who asks for the identity hears why there is none; nothing was used that has expired.
    until("a token is wanted", || launcher.request().unwrap().1);
    authority.desk.lock().unwrap().away = false;
    launcher.launch(&authority, 2, "silver");
    until("attested anew", || source.freshness().document_valid);
    assert_ne!(tls.document().chain(), first.chain());
    assert!(source.obtain().is_ok());
}

#[test]
fn machine_asleep_past_expiry_attests_at_once_when_it_wakes() {
    let clock = TestClock::default();
    let authority = TestAuthority::start_by(&clock);
    let launcher = Launcher::new();
    let source = IdentitySource::from_attestation(launcher.attestation(&authority))
        .with_clock(clock.clone());
    thread::scope(|scope| {
        let obtaining = scope.spawn(|| source.obtain().map(drop));
        launcher.launch(&authority, 1, "silver");
        obtaining.join().unwrap().unwrap();
    });
    source.start_renewal().unwrap();
    planned(&source);
    let tls = source.obtain().unwrap();
    let mut took = Vec::new();
    for sequence in 2..7 {
        let before = tls.document();
        clock.pass(10 * HOUR);
        let woke = Instant::now();
        until("a token is wanted", || launcher.request().unwrap().1);
        launcher.launch(&authority, sequence, "silver");
        until("a new document", || {
            tls.document().chain() != before.chain()
        });
        took.push(woke.elapsed());
        assert!(source.freshness().document_valid);
    }
    took.sort();
    println!(
        "awake to a new document: median {:?}, most {:?}",
        took[2], took[4]
    );
}

#[test]
fn expired_document_is_shown_to_nobody() {
    let (clock, world) = (TestClock::default(), World::new());
    let authority = TestAuthority::start_by(&clock);
    let source =
        IdentitySource::from_join_token(authority.token("paris/api")).with_clock(clock.clone());
    let tls = source.obtain().unwrap();
    let server = TestServer::start(tls.clone(), ClientAuth::Optional, |_| {
        Reply::json(200, "null")
    });
    let peer = authority.desk.lock().unwrap().world.tls("paris/peer");
    let ask = |to: &TestServer| {
        let client = HttpClient::new(peer.clone(), &to.url(), &id("paris/api")).unwrap();
        client.get_json::<serde_json::Value>("/")
    };
    ask(&server).unwrap();
    assert_eq!(server.handshakes(), 1);
    clock.pass(2 * HOUR);
    ask(&server).unwrap_err();
    assert_eq!(
        server.handshakes(),
        1,
        "a server without a document serves nobody"
    );
    let error = source.obtain().unwrap_err();
    assert!(matches!(error, IdentityError::Expired { .. }), "{error}");
    // As a client it comes as a stranger, whom a server that wants a document turns away.
    let other = TestServer::start(
        authority.desk.lock().unwrap().world.tls("paris/other"),
        ClientAuth::Optional,
        |received| {
            Reply::json(
                200,
                if received.peer.is_some() {
                    "true"
                } else {
                    "false"
                },
            )
        },
    );
    let seen: Result<bool, _> = HttpClient::new(tls, &other.url(), &id("paris/other"))
        .unwrap()
        .get_json("/");
    // Its peers have expired by its clock, too: both ends refuse.
    assert!(!matches!(seen, Ok(true)), "an expired document was shown");
    drop(world);
}

#[test]
fn five_minutes_of_skew_work_and_are_told() {
    for ahead in [-298_i64, -60, 60, 298] {
        let clock = TestClock::default();
        let authority = TestAuthority::start();
        authority.desk.lock().unwrap().backdate = 300;
        clock.set(ahead);
        let source =
            IdentitySource::from_join_token(authority.token("paris/api")).with_clock(clock.clone());
        source.obtain().unwrap();
        source.renew().unwrap();
        source.refresh().unwrap();
        let skew = source.status().clock_skew.unwrap();
        assert!(
            (skew.ahead_seconds - ahead).abs() <= 2,
            "{skew} instead of {ahead}"
        );
        assert!(skew.is_bearable());
    }
}

#[test]
fn more_skew_is_refused_before_anything_is_spent() {
    for ahead in [-1200_i64, -310, 310, 1200] {
        let clock = TestClock::default();
        let authority = TestAuthority::start();
        authority.desk.lock().unwrap().backdate = 300;
        clock.set(ahead);
        let base = tempfile::tempdir().unwrap();
        let config = directory_with_token(base.path(), &authority.token("paris/api"));
        let source = IdentitySource::from_config(&config).with_clock(clock.clone());
        let error = source.obtain().unwrap_err();
        assert!(matches!(error, IdentityError::ClockSkew { .. }), "{error}");
        let side = if ahead < 0 { "behind" } else { "ahead" };
        assert!(error.to_string().contains(side), "{error}");
        assert!(error.to_string().contains("synchronise"), "{error}");
        assert_eq!(authority.count(JOIN_PATH), 0, "the token is not spent");

        let launcher = Launcher::new();
        launcher.write("a.b.c");
        let error = IdentitySource::from_attestation(launcher.attestation(&authority))
            .with_clock(clock.clone())
            .obtain()
            .unwrap_err();
        assert!(matches!(error, IdentityError::ClockSkew { .. }), "{error}");
        assert_eq!(authority.count(ATTEST_PATH), 0);
        // Right again, everything goes on.
        clock.set(-ahead);
        source.obtain().unwrap();
    }
}

#[test]
fn clock_set_while_running_is_noticed() {
    let clock = TestClock::default();
    let authority = TestAuthority::start_by(&clock);
    let source =
        IdentitySource::from_join_token(authority.token("paris/api")).with_clock(clock.clone());
    source.start_renewal().unwrap();
    planned(&source);
    let tls = source.obtain().unwrap();
    let first = tls.document();
    // Forward beyond half-life, for authority and workload alike.
    clock.set(i64::try_from(HOUR * 3 / 4).unwrap());
    until("renewed", || tls.document().chain() != first.chain());
}
