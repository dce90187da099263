//! Repetitions: only where they can help, with pauses, within a deadline, blinded anew.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use blindfold_core::{CONTENT_TYPE, Refusal, Request};
use wingman_sdk::{Error, ExposeSecret, UnsealerError, Wingman, http::HttpError};

use crate::{
    server::Reply,
    unsealing::{Behaviour, Log, TestUnsealer, setup, simple},
    world::World,
};

type Failure = fn() -> Reply;

/// Fails the first `failures` requests in this way.
fn failing(failures: usize, fail: impl Fn() -> Reply + Send + Sync + 'static) -> Behaviour {
    Behaviour::twist(move |number, reply| if number <= failures { fail() } else { reply })
}

#[test]
fn passing_failures_are_repeated() {
    let failures: [Failure; 5] = [
        || Reply::status(503),
        || Reply::status(500),
        || Reply::status(429),
        || Reply::Close,
        || Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\ncut".to_vec()),
    ];
    for fail in failures {
        let (_world, unsealer, wingman) = setup(failing(2, fail));
        let opened = wingman
            .open(&simple(&unsealer.record, "", b"secret"))
            .unwrap();
        assert_eq!(opened.expose_secret(), b"secret");
        assert_eq!(unsealer.server.received().len(), 3);
    }
}

#[test]
fn each_repetition_is_blinded_anew() {
    let (_world, unsealer, wingman) = setup(failing(3, || Reply::status(503)));
    wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap();
    let requests = unsealer.requests();
    assert_eq!(requests.len(), 4);
    let ids: std::collections::BTreeSet<_> = requests.iter().map(Request::request_id).collect();
    assert_eq!(ids.len(), 4, "every attempt has its own id");
    let elements = |request: &Request| request.to_bytes()[request.to_bytes().len() - 49..].to_vec();
    let elements: std::collections::BTreeSet<_> = requests.iter().map(elements).collect();
    assert_eq!(elements.len(), 4, "every attempt has its own blind");
}

#[test]
fn rate_limit_is_waited_out() {
    let times: Log<Instant> = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let rule = move |_: &_, _: &_| {
        let mut seen = seen.lock().unwrap();
        seen.push(Instant::now());
        if seen.len() == 1 {
            Err((Refusal::RateLimited, 1))
        } else {
            Ok(())
        }
    };
    let (_world, unsealer, wingman) = setup(Behaviour::rule(rule));
    wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap();
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 2);
    assert!(times[1] - times[0] >= Duration::from_secs(1));
}

#[test]
fn rate_limit_beyond_the_deadline_is_told_at_once() {
    let (_world, unsealer, wingman) =
        setup(Behaviour::rule(|_, _| Err((Refusal::RateLimited, 3600))));
    let start = Instant::now();
    let error = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    let Error::Unsealer(fault) = &error else {
        panic!("{error}")
    };
    assert_eq!(fault.reason.retry_after(), Some(Duration::from_secs(3600)));
    assert!(
        error.may_pass() && error.to_string().contains("try again in 3600 s"),
        "{error}"
    );
    assert_eq!(unsealer.server.received().len(), 1);
}

#[test]
fn lasting_failures_are_not_repeated() {
    let oversized = || Reply::ok(CONTENT_TYPE, vec![0; 20_000]);
    let failures: [(&str, Failure); 9] = [
        ("404", || Reply::status(404)),
        ("400", || Reply::status(400)),
        ("a redirect", || Reply::Http {
            status: 307,
            content_type: "",
            headers: vec![("location", "https://127.0.0.1:1/".to_owned())],
            body: Vec::new(),
        }),
        ("another content type", || {
            Reply::ok("text/html", b"<html>".to_vec())
        }),
        ("garbage of the right type", || {
            Reply::ok(CONTENT_TYPE, b"garbage".to_vec())
        }),
        ("an empty answer", || Reply::ok(CONTENT_TYPE, Vec::new())),
        ("an oversized answer", oversized),
        ("endless headers", || Reply::Http {
            status: 200,
            content_type: CONTENT_TYPE,
            headers: vec![("x-padding", "x".repeat(100_000))],
            body: Vec::new(),
        }),
        ("no HTTP", || {
            Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec())
        }),
    ];
    for (what, fail) in failures {
        let (_world, unsealer, wingman) = setup(failing(usize::MAX, fail));
        let error = wingman
            .open(&simple(&unsealer.record, "", b"secret"))
            .unwrap_err();
        assert!(!error.may_pass(), "{what}: {error}");
        assert_eq!(unsealer.server.received().len(), 1, "{what}: {error}");
    }
}

#[test]
fn oversized_answer_is_not_read_whatever_its_header_says() {
    let endless = || {
        let mut raw = b"HTTP/1.1 200 OK\r\ncontent-type: application/pbseal\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..64 {
            raw.extend_from_slice(b"1000\r\n");
            raw.extend_from_slice(&[0; 0x1000]);
            raw.extend_from_slice(b"\r\n");
        }
        Reply::Raw(raw)
    };
    let (_world, unsealer, wingman) = setup(failing(usize::MAX, endless));
    let error = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    let Error::Unsealer(fault) = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(
            fault.reason,
            UnsealerError::Http(HttpError::TooLarge { .. })
        ),
        "{error}"
    );
}

#[test]
fn answer_to_another_request_is_refused() {
    let earlier: Log<Vec<u8>> = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&earlier);
    // Replays the first answer for ever.
    let behaviour = Behaviour::twist(move |_, reply| match reply {
        Reply::Http { body, .. } => {
            let mut kept = kept.lock().unwrap();
            kept.push(body);
            Reply::ok(CONTENT_TYPE, kept[0].clone())
        }
        other => other,
    });
    let (_world, unsealer, wingman) = setup(behaviour);
    let sealed = simple(&unsealer.record, "", b"secret");
    assert_eq!(wingman.open(&sealed).unwrap().expose_secret(), b"secret");
    let error = wingman.open(&sealed).unwrap_err();
    let Error::Unsealer(fault) = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(fault.reason, UnsealerError::Answer { .. }),
        "{error}"
    );
}

#[test]
fn silence_ends_with_the_deadline() {
    let world = World::new();
    let behaviour =
        Behaviour::twist(|_, reply| Reply::Late(Duration::from_secs(30), Box::new(reply)));
    let unsealer = TestUnsealer::start(&world, "a", behaviour);
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(unsealer.config())
        .attempt_timeout(Duration::from_millis(400))
        .open_deadline(Duration::from_millis(1500))
        .build()
        .unwrap();
    let start = Instant::now();
    let error = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert!(error.may_pass(), "{error}");
    let attempts = unsealer.server.received().len();
    assert!((2..=4).contains(&attempts), "{attempts} attempts");
}

#[test]
fn server_that_comes_back_is_reached_within_the_call() {
    // Nobody listens at first: the port is known, the server is not there yet.
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", failing(3, || Reply::Close));
    let wingman = crate::unsealing::wingman(&world, &[&unsealer]);
    assert_eq!(
        wingman
            .open(&simple(&unsealer.record, "", b"secret"))
            .unwrap()
            .expose_secret(),
        b"secret"
    );
}

#[test]
fn closed_port_is_unreachable_with_a_hint() {
    let world = World::new();
    let unsealer = TestUnsealer::start(&world, "a", Behaviour::default());
    let mut config = unsealer.config();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    config.url = format!("https://{free}");
    let wingman = Wingman::builder()
        .identity(world.workload("paris/api"))
        .unsealer(config)
        .open_deadline(Duration::from_millis(500))
        .build()
        .unwrap();
    let error = wingman
        .open(&simple(&unsealer.record, "", b"secret"))
        .unwrap_err();
    let Error::Unsealer(fault) = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(
            fault.reason,
            UnsealerError::Http(HttpError::Unreachable { .. })
        ),
        "{error}"
    );
    assert!(
        error.may_pass() && error.to_string().contains("cannot reach"),
        "{error}"
    );
}
