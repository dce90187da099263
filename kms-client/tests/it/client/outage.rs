//! Times: refreshed before the end, through an outage for as long as the terms say, and not a moment longer.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    thread,
    time::{Duration, Instant},
};

use identity::http::HttpError;
use kms_client::{Algorithm, Kms, KmsError, wire::ErrorCode};

use super::world::{Service, World, id, until};

#[test]
fn a_key_is_refreshed_without_anybody_noticing() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    service.rules().terms = (1, 60, 60);
    let kms = service.client();
    until("it is refreshed twice", || {
        kms.encrypt("orders", b"x", b"").unwrap();
        service.fetches() >= 3
    });
    assert!(service.operations().is_empty());
}

#[test]
fn a_key_that_nobody_works_with_ends_by_itself() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    service.rules().terms = (600, 600, 600);
    let kms = service.client();
    service.rules().terms = (1, 2, 600);
    kms.encrypt("orders", b"x", b"").unwrap();
    // Refreshed once, since it was worked with; after that nobody does.
    until("it has ended", || kms.keys_in_hand().is_empty());
    assert!(service.fetches() <= 2);
}

#[test]
fn an_outage_is_worked_through_until_the_terms_end() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    service.rules().terms = (1, 2, 8);
    let kms = service
        .builder()
        .deadline(Duration::from_millis(200))
        .attempt_timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    let start = Instant::now();
    // Asked again, in case this machine is too busy for the first attempt.
    until("the key is in hand", || {
        let _ = kms.encrypt("orders", b"x", b"");
        !kms.keys_in_hand().is_empty()
    });
    service.server.stop();
    // Beyond its end, it works on.
    let mut worked_in_outage = false;
    until("it has ended", || {
        let in_hand = kms.keys_in_hand();
        let worked = kms.encrypt("orders", b"x", b"").is_ok();
        if let [key] = in_hand.as_slice()
            && key.outage
            && key.valid_for.is_zero()
        {
            worked_in_outage |= worked;
        }
        in_hand.is_empty() && !worked
    });
    assert!(worked_in_outage);
    assert!(
        start.elapsed() >= Duration::from_secs(7),
        "{:?}",
        start.elapsed()
    );
    let error = kms.encrypt("orders", b"x", b"").unwrap_err();
    assert!(error.code().is_none() && error.may_pass(), "{error}");
}

#[test]
fn a_service_that_fails_is_an_outage_and_one_that_denies_is_not() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    {
        let mut rules = service.rules();
        (rules.terms, rules.pushes) = ((1, 2, 3600), false);
    }
    let kms = service.client();
    kms.encrypt("orders", b"x", b"").unwrap();
    service.rules().failing = Some((ErrorCode::Unavailable, 503, usize::MAX));
    until("the outage is noticed", || {
        kms.encrypt("orders", b"x", b"").unwrap();
        kms.keys_in_hand()[0].outage
    });
    thread::sleep(Duration::from_secs(2));
    kms.encrypt("orders", b"x", b"").unwrap();

    let mut rules = service.rules();
    rules.allowed.clear();
    rules.failing = None;
    drop(rules);
    until("the key is withdrawn", || kms.keys_in_hand().is_empty());
    let denied = kms.encrypt("orders", b"x", b"").unwrap_err();
    assert_eq!(denied.code(), Some(ErrorCode::Denied));
}

#[test]
fn an_answer_that_can_not_be_used_is_no_outage() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    {
        let mut rules = service.rules();
        (rules.terms, rules.pushes) = ((1, 3600, 3600), false);
    }
    let kms = service.client();
    kms.encrypt("orders", b"x", b"").unwrap();
    service.rules().forge = Some(|lease| lease.name = "invoices".to_owned());
    until("the key is withdrawn", || kms.keys_in_hand().is_empty());
    // The service does the work, and is not asked for the key again and again.
    let fetches = service.fetches();
    for _ in 0..10 {
        kms.encrypt("orders", b"x", b"").unwrap();
    }
    assert_eq!(
        (service.fetches(), service.operations().len()),
        (fetches, 10)
    );
}

/// Answers every connection with `alert` in the clear, as anybody on the way can.
fn answers_with_an_alert(alert: u8) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut hello = [0; 1024];
            let _ = stream.read(&mut hello);
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, alert]);
            // Its end, so that nothing unread breaks the connection before the alert was seen.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    url
}

#[test]
fn an_alert_in_the_clear_decides_nothing() {
    const CERTIFICATE_EXPIRED: u8 = 45;
    let world = World::new();
    let kms = Kms::builder(&answers_with_an_alert(CERTIFICATE_EXPIRED), id("kms"))
        .identity(world.tls("app"))
        .build()
        .unwrap();
    let error = kms.encrypt("orders", b"x", b"").unwrap_err();
    let KmsError::Http { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(**source, HttpError::Tls { .. }), "{source:?}");
}

#[test]
fn a_service_that_comes_back_is_asked_again() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    service.rules().terms = (1, 3600, 3600);
    let kms = service.client();
    kms.encrypt("orders", b"x", b"").unwrap();
    service.rules().failing = Some((ErrorCode::Unavailable, 503, usize::MAX));
    until("the outage is noticed", || kms.keys_in_hand()[0].outage);
    service.rules().failing = None;
    until("it is over", || !kms.keys_in_hand()[0].outage);
    assert!(service.fetches() >= 2);
}
