//! Requests and responses: strict parsing in both directions.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a wrong vector or answer is a failed test"
)]

use blindfold_core::hazmat::{BadBatch, Element, blind};
use blindfold_core::limits::{MAX_BATCH, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use blindfold_core::{
    CanonicalPolicy, KeyId, MessageError, Outcome, PolicyName, PolicyRef, Refusal, Request,
    Response, Window, request_id_or_zero,
};
use proptest::prelude::*;

use crate::common::{draft_key, rng};

const ID: [u8; 16] = *b"sixteen bytes id";

fn named() -> PolicyRef {
    PolicyRef::Name("prod/db-readers".parse::<PolicyName>().unwrap())
}

fn elements(count: usize) -> Vec<Element> {
    blind(&vec![Element::generator(); count], &mut rng(6))
        .unwrap()
        .1
}

fn request(policy: &PolicyRef, window: Window, count: usize) -> Request {
    Request::new(
        ID,
        KeyId::from_bytes([7; 32]),
        policy,
        window,
        &elements(count),
    )
    .unwrap()
}

/// A request put together from its fields, right or wrong.
fn raw(mode: u8, policy: &[u8], not_before: u32, not_after: u32) -> Vec<u8> {
    let mut bytes = b"PBSQ\x01".to_vec();
    bytes.extend(ID);
    bytes.extend([7; 32]);
    bytes.push(mode);
    bytes.extend(u16::try_from(policy.len()).unwrap().to_be_bytes());
    bytes.extend(policy);
    bytes.extend(not_before.to_be_bytes());
    bytes.extend(not_after.to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    bytes.extend(Element::generator().as_bytes());
    bytes
}

fn check(bytes: &[u8]) -> Result<(), Refusal> {
    Request::parse(bytes).unwrap().check().map(|_| ())
}

#[test]
fn request_layout_is_that_of_the_specification() {
    let policy = named();
    let request = Request::new(
        ID,
        KeyId::from_bytes([7; 32]),
        &policy,
        Window::new(1, 2).unwrap(),
        &[Element::generator()],
    );
    assert_eq!(
        request.unwrap().to_bytes(),
        raw(2, b"prod/db-readers", 1, 2)
    );
}

#[test]
fn request_is_read_back() {
    let document = CanonicalPolicy::parse(br#"{"v":1}"#).unwrap();
    for policy in [
        named(),
        PolicyRef::Digest([9; 48]),
        PolicyRef::Inline(document),
    ] {
        let window = Window::new(20_000, 20_365).unwrap();
        let request = request(&policy, window, 3);
        let parsed = Request::parse(&request.to_bytes()).unwrap();
        assert_eq!(parsed, request);
        assert_eq!(
            (parsed.request_id(), parsed.key_id(), parsed.count()),
            (ID, KeyId::from_bytes([7; 32]), 3)
        );
        let checked = parsed.check().unwrap();
        assert_eq!(
            (checked.policy(), checked.window(), checked.count()),
            (&policy, window, 3)
        );
        assert_eq!(
            (checked.request_id(), checked.key_id()),
            (ID, KeyId::from_bytes([7; 32]))
        );
    }
}

#[test]
fn request_cut_at_any_byte_is_truncated() {
    let bytes = request(&named(), Window::unbounded(), 2).to_bytes();
    for len in 0..bytes.len() {
        assert_eq!(
            Request::parse(&bytes[..len]),
            Err(MessageError::Truncated),
            "{len} bytes"
        );
    }
}

#[test]
fn request_with_a_trailing_byte_is_refused() {
    let mut bytes = request(&named(), Window::unbounded(), 2).to_bytes();
    bytes.push(0);
    assert_eq!(Request::parse(&bytes), Err(MessageError::Trailing));
}

#[test]
fn request_of_the_greatest_size_is_taken_and_none_above() {
    let document = format!("{{\"v\":\"{}\"}}", "a".repeat(32 * 1024 - 8));
    let policy = PolicyRef::Inline(CanonicalPolicy::parse(document.as_bytes()).unwrap());
    let bytes = request(&policy, Window::unbounded(), MAX_BATCH).to_bytes();
    assert_eq!(bytes.len(), MAX_REQUEST_BYTES);
    assert!(Request::parse(&bytes).unwrap().check().is_ok());
    assert_eq!(
        Request::parse(&[&bytes[..], &[0]].concat()),
        Err(MessageError::TooLarge)
    );
    assert_eq!(
        Request::parse(&vec![0; 1 << 20]),
        Err(MessageError::TooLarge)
    );
}

#[test]
fn count_outside_1_to_256_is_refused() {
    assert_eq!(
        Request::new(
            ID,
            KeyId::from_bytes([7; 32]),
            &named(),
            Window::unbounded(),
            &[]
        ),
        Err(BadBatch)
    );
    let many = vec![Element::generator(); MAX_BATCH + 1];
    assert_eq!(
        Request::new(
            ID,
            KeyId::from_bytes([7; 32]),
            &named(),
            Window::unbounded(),
            &many
        ),
        Err(BadBatch)
    );
    let mut bytes = raw(2, b"name", 0, 0);
    let at = bytes.len() - 49 - 2;
    for count in [0_u16, 257, u16::MAX] {
        bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
        assert_eq!(
            Request::parse(&bytes),
            Err(MessageError::BadCount),
            "{count}"
        );
    }
    bytes[at..at + 2].copy_from_slice(&0_u16.to_be_bytes());
    bytes.truncate(at + 2);
    assert_eq!(Request::parse(&bytes), Err(MessageError::BadCount));
}

#[test]
fn request_of_another_format_or_version_is_refused() {
    let mut bytes = raw(2, b"name", 0, 0);
    bytes[4] = 2;
    assert_eq!(
        Request::parse(&bytes),
        Err(MessageError::UnsupportedVersion)
    );
    bytes[3] = b'R';
    assert_eq!(Request::parse(&bytes), Err(MessageError::BadMagic));
    assert_eq!(
        Request::parse(b"GET / HTTP/1.1\r\n"),
        Err(MessageError::BadMagic)
    );
}

#[test]
fn v3_policy_that_is_not_canonical_is_refused() {
    for document in [
        &b"{\"v\": 1}"[..],
        b"{\"v\":1,\"a\":2}",
        b"{\"a\":1}",
        b"{\"v\":1.0}",
        b"{\"v\":1,\"v\":1}",
        b"{\"v\":null}",
        b"not json",
        b"",
        b"\xff",
    ] {
        assert_eq!(
            check(&raw(1, document, 0, 0)),
            Err(Refusal::PolicyNotCanonical),
            "{document:?}"
        );
    }
    let long = format!("{{\"v\":\"{}\"}}", "a".repeat(32 * 1024));
    assert_eq!(
        check(&raw(1, long.as_bytes(), 0, 0)),
        Err(Refusal::PolicyNotCanonical)
    );
    assert_eq!(check(&raw(1, b"{\"a\":2,\"v\":1}", 0, 0)), Ok(()));
}

#[test]
fn other_bad_fields_are_bad_requests() {
    for (mode, policy) in [
        (0, &b""[..]),
        (0, b"name"),
        (4, b"name"),
        (255, b"name"),
        (2, b""),
        (2, b"no space"),
        (2, &[b'a'; 513]),
        (3, &[0; 47]),
        (3, &[0; 49]),
        (3, b""),
    ] {
        assert_eq!(
            check(&raw(mode, policy, 0, 0)),
            Err(Refusal::BadRequest),
            "mode {mode}"
        );
    }
    assert_eq!(check(&raw(2, b"name", 6, 5)), Err(Refusal::BadRequest));
    assert_eq!(check(&raw(2, b"name", 5, 5)), Ok(()));
}

#[test]
fn v4_window_is_that_of_the_request() {
    let checked = Request::parse(&raw(2, b"name", 20_000, 20_365))
        .unwrap()
        .check()
        .unwrap();
    let day = 86_400;
    for (now, inside) in [
        (20_000 * day - 1, false),
        (20_000 * day, true),
        (20_365 * day, true),
        (20_366 * day - 1, true),
        (20_366 * day, false),
    ] {
        assert_eq!(
            checked.window().contains(Window::day_of(now)),
            inside,
            "{now}"
        );
    }
}

#[test]
fn request_id_is_found_or_zero() {
    let bytes = raw(2, b"name", 0, 0);
    assert_eq!(request_id_or_zero(&bytes), ID);
    assert_eq!(request_id_or_zero(&bytes[..21]), ID);
    for bytes in [
        &bytes[..20],
        b"",
        b"PBSQ",
        b"PBSR\x01sixteen bytes id",
        b"PBSQ\x02sixteen bytes id",
    ] {
        assert_eq!(request_id_or_zero(bytes), [0; 16]);
    }
}

#[test]
fn refusals_have_the_codes_of_the_specification() {
    let codes = [
        (1, "BAD_REQUEST"),
        (2, "KEY_UNKNOWN"),
        (2, "KEY_RETIRED"),
        (3, "POLICY_UNKNOWN"),
        (3, "POLICY_NOT_CANONICAL"),
        (4, "DENIED"),
        (5, "NOT_VALID_NOW"),
        (6, "RATE_LIMITED"),
        (6, "KEY_EXHAUSTED"),
        (7, "BAD_ELEMENT"),
        (8, "INTERNAL"),
        (8, "FATAL_KEY_EXPOSED"),
    ];
    assert_eq!(
        Refusal::ALL.map(|refusal| (refusal.code(), refusal.name())),
        codes
    );
}

#[test]
fn refusal_is_read_back_as_the_first_of_its_code() {
    for refusal in Refusal::ALL {
        let bytes = Response::refused(ID, refusal, 30).to_bytes();
        assert_eq!(
            bytes,
            [
                &b"PBSR\x01"[..],
                &ID,
                &[refusal.code()],
                &30_u32.to_be_bytes()
            ]
            .concat()
        );
        let response = Response::parse(&bytes).unwrap();
        assert_eq!(response.request_id(), ID);
        match response.outcome() {
            Outcome::Refused {
                refusal: read,
                retry_after_s: 30,
            } => assert_eq!(read.code(), refusal.code()),
            other => panic!("{other:?}"),
        }
        for len in 0..bytes.len() {
            assert_eq!(
                Response::parse(&bytes[..len]),
                Err(MessageError::Truncated),
                "{len} bytes"
            );
        }
        assert_eq!(
            Response::parse(&[&bytes[..], &[0]].concat()),
            Err(MessageError::Trailing)
        );
    }
    // What a client is told of a fatal state is that of any other fault.
    let bytes = Response::refused(ID, Refusal::FatalKeyExposed, 0).to_bytes();
    assert_eq!(
        Response::parse(&bytes),
        Ok(Response::refused(ID, Refusal::Internal, 0))
    );
}

#[test]
fn response_of_unknown_status_format_or_version_is_refused() {
    let good = Response::refused(ID, Refusal::Denied, 0).to_bytes();
    let bend = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        Response::parse(&bytes)
    };
    for status in 9..=255 {
        assert_eq!(bend(21, status), Err(MessageError::BadStatus), "{status}");
    }
    assert_eq!(bend(4, 2), Err(MessageError::UnsupportedVersion));
    assert_eq!(bend(3, b'Q'), Err(MessageError::BadMagic));
    assert_eq!(
        Response::parse(&vec![0; MAX_RESPONSE_BYTES + 1]),
        Err(MessageError::TooLarge)
    );
}

#[test]
fn evaluated_response_is_strict_too() {
    let key = draft_key();
    for count in [1, 2, MAX_BATCH] {
        let request = Request::new(
            ID,
            key.record().key_id(),
            &named(),
            Window::unbounded(),
            &elements(count),
        )
        .unwrap();
        let response = key
            .blind_evaluate(&request.check().unwrap(), &mut rng(8))
            .unwrap();
        let bytes = response.to_bytes();
        assert_eq!(bytes.len(), 5 + 16 + 1 + 2 + count * 49 + 96);
        assert!(bytes.len() <= MAX_RESPONSE_BYTES);
        assert_eq!(Response::parse(&bytes).as_ref(), Ok(&response));
        match response.outcome() {
            Outcome::Evaluated { elements, proof } => {
                assert_eq!(elements.len(), count);
                assert_eq!(bytes[bytes.len() - 96..], proof[..]);
            }
            other => panic!("{other:?}"),
        }
        if count < 3 {
            for len in 0..bytes.len() {
                assert_eq!(
                    Response::parse(&bytes[..len]),
                    Err(MessageError::Truncated),
                    "{len} bytes"
                );
            }
            assert_eq!(
                Response::parse(&[&bytes[..], &[0]].concat()),
                Err(MessageError::Trailing)
            );
        }
    }
    let mut bytes = [&b"PBSR\x01"[..], &ID, &[0, 0, 0]].concat();
    assert_eq!(Response::parse(&bytes), Err(MessageError::BadCount));
    bytes[22..24].copy_from_slice(&257_u16.to_be_bytes());
    assert_eq!(Response::parse(&bytes), Err(MessageError::BadCount));
}

#[test]
fn messages_do_not_print_elements() {
    let key = draft_key();
    let blinded = elements(2);
    let id = key.record().key_id();
    let request = Request::new(ID, id, &named(), Window::unbounded(), &blinded).unwrap();
    let checked = request.clone().check().unwrap();
    let response = key.blind_evaluate(&checked, &mut rng(9)).unwrap();
    let shown = format!(
        "{request:?} {checked:?} {response:?} {:?}",
        response.outcome()
    );
    for bytes in [request.to_bytes(), response.to_bytes()] {
        // Neither as hexadecimal text nor as a list of numbers.
        let element = &bytes[bytes.len() - 49..];
        assert!(!shown.contains(&hex::encode(&element[1..9])), "{shown}");
        assert!(
            !shown.contains(&format!("{:?}", &element[1..5])[1..]),
            "{shown}"
        );
    }
    assert!(shown.contains("Evaluated { count: 2, .. }"), "{shown}");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_printed_the_same(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let request = [b"PBSQ\x01", &bytes[..]].concat();
        if let Ok(parsed) = Request::parse(&request) {
            prop_assert_eq!(parsed.to_bytes(), request);
        }
        let response = [b"PBSR\x01", &bytes[..]].concat();
        if let Ok(parsed) = Response::parse(&response) {
            prop_assert_eq!(parsed.to_bytes(), response);
        }
        prop_assert!(Request::parse(&bytes).is_err());
        prop_assert!(Response::parse(&bytes).is_err());
    }
}
