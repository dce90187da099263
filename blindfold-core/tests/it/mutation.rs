//! A change at every byte position of an object is refused, by the whole form and by the stream form alike.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

use blindfold_core::{
    AcceptanceProfile, Dem, Expectation, LockSecrets, LockSpec, SealOptions, Sealed, Sealer, Window,
};

use crate::common::{DRAFT, hex, rng};
use crate::golden::{self, OWN};
use crate::ring::{POLICY, Ring, authority, draft_ring, inline, seal, share, static_key};

/// Opens `object`; the name of the error, or `None` if it opened.
fn refusal(
    ring: &Ring,
    profile: &AcceptanceProfile,
    object: &[u8],
    ext_aad: Option<&[u8]>,
) -> Option<&'static str> {
    let expectation = Expectation {
        label: None,
        ext_aad: ext_aad.map(<[u8]>::to_vec),
    };
    let pinned = ring.pinned();
    let mut got = LockSecrets::new();
    let whole = Sealed::parse(object)
        .and_then(|sealed| sealed.accept(&pinned, profile, &expectation))
        .and_then(|accepted| {
            got = ring.unlock(&accepted)?;
            accepted.open(&got)
        });
    let (written, streamed) = ring.open_streamed_with(object, &got, profile, ext_aad);
    let names = (
        whole.as_ref().err().map(|error| error.name()),
        streamed.as_ref().err().and_then(|error| error.name()),
    );
    assert_eq!(
        names.0, names.1,
        "the whole form and the stream form disagree"
    );
    if let Ok(opened) = whole {
        assert_eq!(opened.expose(), written);
    }
    names.0
}

/// Changes each of `positions` by each of `masks`.
fn assert_every_change_refused(
    name: &str,
    ring: &Ring,
    object: &[u8],
    ext_aad: Option<&[u8]>,
    positions: impl Iterator<Item = usize>,
    masks: &[u8],
) {
    let profile = AcceptanceProfile::new();
    assert_every_change_refused_under(&profile, name, ring, object, ext_aad, positions, masks);
}

fn assert_every_change_refused_under(
    profile: &AcceptanceProfile,
    name: &str,
    ring: &Ring,
    object: &[u8],
    ext_aad: Option<&[u8]>,
    positions: impl Iterator<Item = usize>,
    masks: &[u8],
) {
    assert_eq!(
        refusal(ring, profile, object, ext_aad),
        None,
        "{name} unchanged"
    );
    let mut bent = object.to_vec();
    for position in positions {
        for mask in masks {
            bent[position] ^= mask;
            let refused = refusal(ring, profile, &bent, ext_aad);
            assert!(
                refused.is_some(),
                "{name} opened with byte {position} changed by {mask:#04x}"
            );
            bent[position] ^= mask;
        }
    }
    assert_eq!(bent, object);
}

#[test]
fn every_byte_of_the_padded_draft_object() {
    let object = hex(&DRAFT["objects"][0]["object"]);
    assert_every_change_refused(
        "object 0",
        &draft_ring(),
        &object,
        None,
        0..object.len(),
        &[0x01, 0x80, 0xff],
    );
}

#[test]
fn every_byte_of_the_empty_draft_object() {
    let object = hex(&DRAFT["objects"][1]["object"]);
    let ext_aad = Some(&b"env=prod"[..]);
    assert_every_change_refused(
        "object 1",
        &draft_ring(),
        &object,
        ext_aad,
        0..object.len(),
        &[0x01, 0x80, 0xff],
    );
}

#[test]
fn every_byte_of_the_two_of_three_draft_object() {
    let object = hex(&DRAFT["objects"][4]["object"]);
    assert_every_change_refused(
        "object 4",
        &draft_ring(),
        &object,
        None,
        0..object.len(),
        &[0x01],
    );
}

#[test]
fn every_byte_of_an_object_with_all_kinds_of_locks() {
    // The required policy lock comes into play, and the static recovery lock stands by without being used.
    let ring = Ring::of(vec![authority(1), authority(2)], vec![static_key(1)]);
    let locks = vec![
        share(&ring.unsealing[0]),
        LockSpec::required_policy(
            ring.unsealing[1].record(),
            inline(POLICY),
            Window::new(20_000, 0).unwrap(),
        ),
        LockSpec::recovery_static(ring.statics[0].record()),
    ];
    let object = seal(
        locks,
        SealOptions::new().label("all").dem(Dem::ChaCha20Poly1305),
    );
    assert!(object.len() < 8192);
    assert_every_change_refused("all kinds", &ring, &object, None, 0..object.len(), &[0x40]);
    let recovery = ring.statics[0].record().authority().to_owned();
    assert_every_change_refused_under(
        &AcceptanceProfile::new().allow_recovery(true),
        "all kinds, by the recovery lock",
        &ring.only(&recovery),
        &object,
        None,
        0..object.len(),
        &[0x40],
    );
}

/// Own object `index`, and the name of who holds its RECOVERY key.
fn own(index: usize) -> (Vec<u8>, Option<Vec<u8>>, &'static str) {
    let object = &OWN["objects"][index];
    let bound = object["flags"].as_u64().unwrap() & 2 != 0;
    let mut locks = object["locks"].as_array().unwrap().iter();
    let recovery = locks.find(|lock| lock["role"] == "RECOVERY").unwrap();
    (
        hex(&object["object"]),
        bound.then(|| hex(&object["ext_aad"])),
        recovery["authority"].as_str().unwrap(),
    )
}

fn every_byte_of_own(index: usize) {
    let (object, ext_aad, _) = own(index);
    let ring = golden::ring();
    let name = format!("own object {index}");
    let positions = 0..object.len();
    assert_every_change_refused(&name, &ring, &object, ext_aad.as_deref(), positions, &[1]);
}

/// A RECOVERY lock opens alone, so nothing but the commitment stands between it and a changed header.
fn every_byte_of_own_by_its_recovery_lock(index: usize) {
    let (object, ext_aad, recovery) = own(index);
    assert_every_change_refused_under(
        &AcceptanceProfile::new().allow_recovery(true),
        &format!("own object {index}, by {recovery}"),
        &golden::ring().only(recovery),
        &object,
        ext_aad.as_deref(),
        0..object.len(),
        &[0x01, 0x80],
    );
}

#[test]
fn every_byte_of_the_first_own_object() {
    every_byte_of_own(0);
}

#[test]
fn every_byte_of_the_second_own_object() {
    every_byte_of_own(1);
}

#[test]
fn every_byte_of_the_first_own_object_by_its_static_recovery_lock() {
    every_byte_of_own_by_its_recovery_lock(0);
}

#[test]
fn every_byte_of_the_second_own_object_by_its_recovery_policy_lock() {
    every_byte_of_own_by_its_recovery_lock(1);
}

#[test]
fn header_bytes_and_sampled_chunk_bytes_of_large_objects() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    for (padded, len) in [(false, 131_072), (false, 131_073), (true, 200_000)] {
        let sealer = Sealer::new(
            vec![share(&ring.unsealing[0])],
            SealOptions::new().pad(padded),
        )
        .unwrap();
        let object = sealer.seal(&vec![5; len], &mut rng(3)).unwrap();
        let payload = Sealed::parse(&object).unwrap().header().as_bytes().len() + 32;
        let edges = (0..=3).flat_map(|chunk| {
            let edge = payload + chunk * 65_552;
            edge.saturating_sub(17)..edge + 17
        });
        let sampled = (0..payload)
            .chain(edges)
            .chain((payload..object.len()).step_by(4999))
            .chain([object.len() - 1]);
        let positions = sampled.filter(|position| *position < object.len());
        assert_every_change_refused("large", &ring, &object, None, positions, &[0x01]);
    }
}
