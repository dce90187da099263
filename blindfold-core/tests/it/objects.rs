//! The five draft objects in both directions, and the twelve negative ones.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

use blindfold_core::{
    CanonicalPolicy, Dem, Expectation, Header, LockSpec, PolicyRef, SealOptions, Sealed, Sealer,
    Window,
};
use serde_json::Value;
use sha2::{Digest, Sha384};

use crate::common::{DRAFT, draft_key, hex};
use crate::ring::{Parts, Scripted, draft_ring, named};

/// The plaintext, or what its rule makes.
fn plaintext(object: &Value) -> Vec<u8> {
    match object["plaintext_rule"].as_str() {
        None => hex(&object["plaintext"]),
        Some("byte i = i mod 251") => (0..object["plaintext_len"].as_u64().unwrap())
            .map(|i| (i % 251) as u8)
            .collect(),
        Some(rule) => panic!("unknown rule {rule}"),
    }
}

fn expectation(object: &Value) -> Expectation {
    let expectation = Expectation::new().label(object["label"].as_str().unwrap());
    match object["flags"].as_u64().unwrap() & 2 {
        0 => expectation,
        _ => expectation.ext_aad(hex(&object["ext_aad"])),
    }
}

/// Seals what the vector says with the randomness that it says.
fn reseal(index: usize, object: &Value) -> Vec<u8> {
    let key = draft_key();
    let policy = match index {
        1 => named("prod/db-readers"),
        _ => PolicyRef::Inline(
            CanonicalPolicy::parse(&hex(&DRAFT["kem_and_evaluate"][0]["policy"])).unwrap(),
        ),
    };
    let flags = object["flags"].as_u64().unwrap();
    let mut options = SealOptions::new()
        .threshold(object["threshold"].as_u64().unwrap() as u8)
        .dem(Dem::from_id(object["dem"].as_u64().unwrap() as u8).unwrap())
        .pad(flags & 1 != 0)
        .label(object["label"].as_str().unwrap());
    if flags & 2 != 0 {
        options = options.ext_aad(hex(&object["ext_aad"]));
    }
    let sealer = Sealer::new(
        vec![LockSpec::share(key.record(), policy, Window::unbounded())],
        options,
    )
    .unwrap();
    let mut rng = Scripted::new(&hex(&object["rnd"]));
    let sealed = sealer.seal(&plaintext(object), &mut rng).unwrap();
    assert_eq!(
        rng.given(),
        64,
        "the sealer draws rnd[64] and nothing before it"
    );
    let mut streamed = Vec::new();
    let mut rng = Scripted::new(&hex(&object["rnd"]));
    let written = sealer
        .seal_stream(&plaintext(object)[..], &mut streamed, &mut rng)
        .unwrap();
    assert_eq!(
        (written, &streamed),
        (sealed.len() as u64, &sealed),
        "both forms make the same object"
    );
    sealed
}

#[test]
fn four_draft_objects_are_reproduced_byte_for_byte() {
    for (index, object) in DRAFT["objects"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .take(4)
    {
        let sealed = reseal(index, object);
        let name = &object["name"];
        assert_eq!(
            sealed.len() as u64,
            object["object_len"].as_u64().unwrap(),
            "{name}"
        );
        if object["object"].is_string() {
            assert_eq!(
                hex::encode(&sealed),
                object["object"].as_str().unwrap(),
                "{name}"
            );
        }
        assert_eq!(
            hex::encode(Sha384::digest(&sealed)),
            object["object_sha384"].as_str().unwrap(),
            "{name}"
        );
    }
}

#[test]
fn five_draft_objects_open() {
    let ring = draft_ring();
    let objects = DRAFT["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 5);
    for (index, object) in objects.iter().enumerate() {
        // The two large ones are given by their digest, which the sealing test compares.
        let sealed = if object["object"].is_string() {
            hex(&object["object"])
        } else {
            reseal(index, object)
        };
        assert_eq!(
            hex::encode(Sha384::digest(&sealed)),
            object["object_sha384"].as_str().unwrap()
        );
        let opened = ring.open(&sealed, &expectation(object)).unwrap();
        assert_eq!(opened.expose(), plaintext(object), "{}", object["name"]);
        assert_eq!(opened.faults(), []);
    }
}

#[test]
fn draft_object_header_reads_as_its_vector_says() {
    let object = hex(&DRAFT["objects"][4]["object"]);
    let sealed = Sealed::parse(&object).unwrap();
    let header = sealed.header();
    assert_eq!(
        (header.threshold(), header.dem(), header.is_padded()),
        (2, Dem::Aes256GcmSiv, true)
    );
    assert!(!header.requires_ext_aad());
    assert_eq!(sealed.label(), "db/password");
    let roles: Vec<_> = sealed
        .locks()
        .iter()
        .map(|lock| (lock.role().name(), lock.suite_id()))
        .collect();
    assert_eq!(
        roles,
        [
            ("SHARE", 1),
            ("SHARE", 1),
            ("SHARE", 1),
            ("REQUIRED", 0x0201)
        ]
    );
    assert_eq!(
        sealed.locks()[0].policy().unwrap(),
        Some(named("prod/db-readers"))
    );
    assert_eq!(sealed.locks()[3].policy().unwrap(), None);
    assert_eq!(sealed.locks()[3].enc().len(), 1088);
    assert_eq!(sealed.as_bytes(), object);
    let (prefix, rest) = Header::parse_prefix(&object).unwrap();
    assert_eq!(
        (&prefix, prefix.as_bytes().len() + rest.len()),
        (header, object.len())
    );
    assert_eq!(
        Parts::of(&object).join(),
        object,
        "the tests' own reader agrees"
    );
}

#[test]
fn twelve_negative_objects_are_refused_with_their_error() {
    let ring = draft_ring();
    let negatives = DRAFT["negative_objects"].as_array().unwrap();
    assert_eq!(negatives.len(), 12);
    for negative in negatives {
        let error = ring
            .open(&hex(&negative["object"]), &Expectation::new())
            .unwrap_err();
        assert_eq!(
            error.name(),
            negative["expect"].as_str().unwrap(),
            "{}",
            negative["name"]
        );
    }
}

#[test]
fn draft_objects_survive_both_text_forms() {
    for object in DRAFT["objects"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|object| object["object"].is_string())
    {
        let sealed = Sealed::parse(&hex(&object["object"])).unwrap();
        for text in [sealed.to_text(), sealed.to_armor()] {
            assert_eq!(Sealed::from_text(&text).unwrap(), sealed);
            assert_eq!(Sealed::from_bytes_any(text.as_bytes()).unwrap(), sealed);
        }
        assert_eq!(Sealed::from_bytes_any(sealed.as_bytes()).unwrap(), sealed);
        // What `echo` leaves behind a value is the file's line end.
        assert_eq!(
            Sealed::from_bytes_any(format!("{}\n", sealed.to_text()).as_bytes()).unwrap(),
            sealed
        );
        assert!(Sealed::from_text(&format!("{}\n", sealed.to_text())).is_err());
        assert!(Sealed::from_bytes_any(format!("{}\n\n", sealed.to_text()).as_bytes()).is_err());
        assert_eq!(
            Sealed::from_bytes_any(b"PBSEAK").unwrap_err().name(),
            "BAD_MAGIC"
        );
        assert_eq!(
            Sealed::from_bytes_any(b"pbseal1:\xff").unwrap_err().name(),
            "BAD_FIELD"
        );
    }
}
