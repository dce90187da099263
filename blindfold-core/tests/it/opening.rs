//! Opening with several locks, several objects, several authorities, and with what was kept for the bad day.

use blindfold_core::{
    AcceptanceProfile, Accepted, Batch, Expectation, LockSecrets, LockSpec, OpenError, PinnedKeys,
    PolicyRef, Role, SealOptions, Sealed, Sealer, UnsealingKey, Window,
};

use crate::common::{draft_key, rng};
use crate::ring::{
    POLICY, Parts, Ring, SECRET, answer, authority, inline, named, seal, share, static_key,
    unsealing_key,
};

fn ring(authorities: u8) -> Ring {
    Ring::of(
        (1..=authorities).map(authority).collect(),
        vec![static_key(1), static_key(2)],
    )
}

fn threshold(ring: &Ring, t: u8) -> Vec<u8> {
    seal(
        ring.unsealing.iter().map(share).collect(),
        SealOptions::new().threshold(t),
    )
}

#[test]
fn locks_that_agree_share_a_request_and_others_do_not() {
    let ring = ring(2);
    let [one, two] = [0, 1].map(|index| ring.unsealing[index].record());
    let window = Window::new(20_000, 20_365).unwrap();
    let objects = [
        vec![LockSpec::share(one, inline(POLICY), Window::unbounded())],
        vec![LockSpec::share(one, named("p"), Window::unbounded())],
        vec![LockSpec::share(one, inline(POLICY), window)],
        vec![LockSpec::share(two, inline(POLICY), Window::unbounded())],
        vec![LockSpec::share(one, inline(POLICY), Window::unbounded())],
    ];
    let objects = objects.map(|locks| ring.accept(&seal(locks, SealOptions::new())).unwrap());
    let batches = Batch::group(objects.iter().flat_map(Accepted::policy_locks).collect());
    let shapes: Vec<_> = batches
        .iter()
        .map(|batch| {
            (
                batch.key().authority(),
                batch.policy().mode(),
                batch.count(),
            )
        })
        .collect();
    assert_eq!(
        shapes,
        [
            ("a1.example", 1, 2),
            ("a1.example", 2, 1),
            ("a1.example", 1, 1),
            ("a2.example", 1, 1)
        ]
    );
    assert_eq!(
        (batches[2].window(), batches[0].window()),
        (window, Window::unbounded())
    );
    let mut secrets = LockSecrets::new();
    for batch in batches {
        let key = ring
            .unsealing
            .iter()
            .find(|key| key.record() == batch.key())
            .unwrap();
        let (request, pending) = batch.blind(&mut rng(1)).unwrap();
        assert_eq!(
            (request.count(), request.key_id()),
            (batch.count(), batch.key().key_id())
        );
        assert_eq!(pending.key(), batch.key());
        secrets.merge(pending.finalize(answer(&request, key)).unwrap());
    }
    // The first object and the last are one and the same: its lock has its secret once.
    assert_eq!(secrets.len(), 4);
    for accepted in objects {
        assert_eq!(accepted.open(&secrets).unwrap().expose(), SECRET);
    }
}

#[test]
fn inline_policy_and_its_digest_are_one_policy() {
    let ring = ring(1);
    let PolicyRef::Inline(document) = inline(POLICY) else {
        panic!("inline")
    };
    let digest = PolicyRef::Digest(*document.digest());
    for order in [[digest.clone(), inline(POLICY)], [inline(POLICY), digest]] {
        let locks = order
            .map(|policy| LockSpec::share(ring.unsealing[0].record(), policy, Window::unbounded()));
        let accepted = ring
            .accept(&seal(locks.into(), SealOptions::new()))
            .unwrap();
        let batches = Batch::group(accepted.policy_locks());
        assert_eq!(batches.len(), 1);
        assert_eq!(
            (batches[0].count(), batches[0].policy()),
            (2, &inline(POLICY)),
            "the document is what is sent"
        );
        let secrets = ring.ask(&accepted).unwrap();
        assert_eq!(accepted.open(&secrets).unwrap().expose(), SECRET);
    }
}

#[test]
fn more_than_256_elements_make_several_requests() {
    let ring = ring(1);
    let sealer = Sealer::new(vec![share(&ring.unsealing[0])], SealOptions::new()).unwrap();
    let mut rng = rng(1);
    let objects: Vec<_> = (0..300_u16)
        .map(|number| {
            ring.accept(&sealer.seal(&number.to_be_bytes(), &mut rng).unwrap())
                .unwrap()
        })
        .collect();
    let batches = Batch::group(objects.iter().flat_map(Accepted::policy_locks).collect());
    assert_eq!(
        batches.iter().map(Batch::count).collect::<Vec<_>>(),
        [256, 44]
    );
    let mut secrets = LockSecrets::new();
    for batch in &batches {
        let (request, pending) = batch.blind(&mut rng).unwrap();
        secrets.merge(
            pending
                .finalize(answer(&request, &ring.unsealing[0]))
                .unwrap(),
        );
    }
    for (number, accepted) in (0..300_u16).zip(&objects) {
        assert_eq!(
            accepted.open(&secrets).unwrap().expose(),
            number.to_be_bytes()
        );
    }
}

#[test]
fn secrets_of_one_object_open_no_other() {
    let ring = ring(1);
    let sealer = Sealer::new(vec![share(&ring.unsealing[0])], SealOptions::new()).unwrap();
    let (one, other) = (
        sealer.seal(b"one", &mut rng(1)).unwrap(),
        sealer.seal(b"other", &mut rng(2)).unwrap(),
    );
    let (one, other) = (ring.accept(&one).unwrap(), ring.accept(&other).unwrap());
    let secrets = ring.ask(&one).unwrap();
    assert_eq!(one.open(&secrets).unwrap().expose(), b"one");
    assert_eq!(
        other.open(&secrets).unwrap_err(),
        OpenError::MissingSecrets {
            shares: 1,
            required: 0
        }
    );
    // The same locks in another object: what binds the secrets is the whole header, not the lock.
    let relabelled = Parts::bent(one.sealed().as_bytes(), |parts| parts.label = b"x".to_vec());
    let relabelled = ring.accept(&relabelled).unwrap();
    assert_eq!(
        relabelled.open(&secrets).unwrap_err().name(),
        "MISSING_SECRETS"
    );
    assert_eq!(
        ring.ask(&relabelled)
            .and_then(|secrets| relabelled.open(&secrets))
            .unwrap_err()
            .name(),
        "LOCK_AUTH"
    );
}

#[test]
fn two_of_three_opens_with_any_two() {
    let ring = ring(3);
    let accepted = ring.accept(&threshold(&ring, 2)).unwrap();
    for left_out in 0..3 {
        let mut secrets = LockSecrets::new();
        for (index, key) in ring
            .unsealing
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != left_out)
        {
            assert!(!accepted.missing(&secrets).is_empty(), "before {index}");
            secrets.merge(accepted.recovery_secret(key).unwrap());
        }
        assert!(accepted.missing(&secrets).is_empty());
        let opened = accepted.open(&secrets).unwrap();
        assert_eq!((opened.expose(), opened.faults()), (SECRET, &[][..]));
    }
    let one = accepted.recovery_secret(&ring.unsealing[1]).unwrap();
    assert_eq!(accepted.missing(&one).shares, 1);
    assert_eq!(
        accepted.open(&one).unwrap_err(),
        OpenError::MissingSecrets {
            shares: 1,
            required: 0
        }
    );
    let none = accepted.recovery_secret(&authority(9)).unwrap();
    assert!(none.is_empty());
}

#[test]
fn bad_share_is_named_and_the_others_are_used() {
    let ring = ring(5);
    let object = threshold(&ring, 2);
    // Lock 0 was altered so that it does not unwrap, lock 1 so that its element is none, lock 2 so that its suite is
    // unknown; 3 and 4 are good. The commitment binds the whole header, so such an object is refused in the end, but not
    // before. One whose sealer committed to a bad share opens: see `seal/tests.rs`.
    let bent = Parts::bent(&object, |parts| {
        parts.locks[0].wrapped[0] ^= 1;
        parts.locks[1].enc[0] = 5;
        parts.locks[2].suite = 0x0002;
    });
    let accepted = ring.accept(&bent).unwrap();
    let secrets = ring.ask(&accepted).unwrap();
    let missing = accepted.missing(&secrets);
    assert!(missing.is_empty());
    let faults = missing.faults.iter();
    let faults: Vec<_> = faults
        .map(|f| (f.position, f.authority.as_deref().unwrap(), f.error.name()))
        .collect();
    let expected = [
        (1, "a2.example", "BAD_ELEMENT"),
        (2, "a3.example", "UNSUPPORTED"),
        (0, "a1.example", "LOCK_AUTH"),
    ];
    assert_eq!(faults, expected);
    assert_eq!(
        accepted.open(&secrets).unwrap_err(),
        OpenError::CommitMismatch
    );
}

#[test]
fn unpinned_share_is_named_and_the_others_are_used() {
    let ring = ring(3);
    let object = threshold(&ring, 2);
    let two_pinned: PinnedKeys = [0, 2]
        .map(|index| ring.unsealing[index].record().clone())
        .into_iter()
        .collect();
    let sealed = Sealed::parse(&object).unwrap();
    let accepted = sealed
        .accept(&two_pinned, &AcceptanceProfile::new(), &Expectation::new())
        .unwrap();
    let opened = accepted.open(&ring.unlock(&accepted).unwrap()).unwrap();
    assert_eq!(opened.expose(), SECRET);
    let [fault] = opened.faults() else {
        panic!("{:?}", opened.faults())
    };
    let key_id = ring.unsealing[1].record().key_id();
    assert_eq!(
        (fault.position, fault.role, fault.key_id, &fault.authority),
        (1, Role::Share, key_id, &None)
    );
    assert_eq!(fault.error, OpenError::UnknownKey { key_id });
}

#[test]
fn missing_and_bad_authorities_do_not_stop_the_others() {
    // Of five authorities one is silent, one answers with another key, one refuses; the threshold of two is met.
    let ring = ring(5);
    let accepted = ring.accept(&threshold(&ring, 2)).unwrap();
    let mut secrets = LockSecrets::new();
    let mut errors = Vec::new();
    for (index, batch) in Batch::group(accepted.policy_locks())
        .into_iter()
        .enumerate()
    {
        let (request, pending) = batch.blind(&mut rng(index as u8)).unwrap();
        let response = match index {
            0 => continue,
            1 => {
                let mut bytes = answer(&request, &ring.unsealing[1]).to_bytes();
                let end = bytes.len();
                bytes[end - 1] ^= 1;
                blindfold_core::Response::parse(&bytes).unwrap()
            }
            2 => blindfold_core::Response::refused(
                request.request_id(),
                blindfold_core::Refusal::Denied,
                0,
            ),
            _ => answer(&request, &ring.unsealing[index]),
        };
        match pending.finalize(response) {
            Ok(got) => secrets.merge(got),
            Err(error) => errors.push(error.name()),
        }
    }
    assert_eq!(errors, ["PROOF_INVALID", "DENIED"]);
    assert_eq!(accepted.open(&secrets).unwrap().expose(), SECRET);
}

#[test]
fn every_required_lock_is_needed() {
    let ring = ring(2);
    let locks = vec![
        share(&ring.unsealing[0]),
        LockSpec::required_static(ring.statics[0].record()),
        LockSpec::required_policy(
            ring.unsealing[1].record(),
            named("audit"),
            Window::unbounded(),
        ),
        LockSpec::required_static(ring.statics[1].record()),
    ];
    let accepted = ring.accept(&seal(locks, SealOptions::new())).unwrap();
    let roles: Vec<_> = accepted
        .static_locks()
        .map(|(role, key_id)| (role.name(), key_id))
        .collect();
    assert_eq!(
        roles,
        [0, 1].map(|index| ("REQUIRED", ring.statics[index].record().key_id()))
    );
    let parts = || {
        let statics = ring
            .statics
            .iter()
            .map(|key| accepted.static_secret(key).unwrap());
        ring.unsealing
            .iter()
            .map(|key| accepted.recovery_secret(key).unwrap())
            .chain(statics)
            .collect::<Vec<_>>()
    };
    let lacking = [(1, 0), (0, 1), (0, 1), (0, 1)];
    for (left_out, (shares, required)) in lacking.into_iter().enumerate() {
        let mut secrets = LockSecrets::new();
        parts()
            .into_iter()
            .enumerate()
            .filter(|(index, _)| *index != left_out)
            .for_each(|(_, part)| secrets.merge(part));
        assert_eq!(
            accepted.open(&secrets).unwrap_err(),
            OpenError::MissingSecrets { shares, required }
        );
    }
    let mut all = LockSecrets::new();
    parts().into_iter().for_each(|part| all.merge(part));
    assert_eq!(all.len(), 4);
    assert_eq!(accepted.missing(&all).required, [0_u8; 0]);
    assert_eq!(accepted.open(&all).unwrap().expose(), SECRET);
}

#[test]
fn recovery_lock_opens_alone_where_the_profile_allows_it() {
    let ring = ring(3);
    let mut locks: Vec<_> = ring.unsealing[..2].iter().map(share).collect();
    locks.push(LockSpec::required_static(ring.statics[0].record()));
    locks.push(LockSpec::recovery_static(ring.statics[1].record()));
    locks.push(LockSpec::recovery_policy(
        ring.unsealing[2].record(),
        named("break-glass"),
        Window::unbounded(),
    ));
    let object = Sealed::parse(&seal(locks, SealOptions::new().threshold(2))).unwrap();
    let allow = AcceptanceProfile::new().allow_recovery(true);

    // The offline holder pins nothing but his own key.
    let only = |record: &blindfold_core::AuthorityKey| {
        [record.clone()].into_iter().collect::<PinnedKeys>()
    };
    let accepted = object
        .accept(&only(ring.statics[1].record()), &allow, &Expectation::new())
        .unwrap();
    let secrets = accepted.static_secret(&ring.statics[1]).unwrap();
    assert!(accepted.missing(&secrets).recovered);
    assert_eq!(accepted.open(&secrets).unwrap().expose(), SECRET);

    // The recovery policy lock through its authority.
    let keys = only(ring.unsealing[2].record());
    let accepted = object.accept(&keys, &allow, &Expectation::new()).unwrap();
    assert_eq!(
        accepted
            .policy_locks()
            .iter()
            .map(|lock| lock.role().name())
            .collect::<Vec<_>>(),
        ["RECOVERY"]
    );
    assert_eq!(
        accepted
            .open(&ring.ask(&accepted).unwrap())
            .unwrap()
            .expose(),
        SECRET
    );

    // Without leave of the profile nothing of this works, and nobody is asked.
    let error = object
        .accept(&keys, &AcceptanceProfile::new(), &Expectation::new())
        .unwrap_err();
    assert_eq!(error.name(), "UNKNOWN_KEY");
    let accepted = object
        .accept(
            &ring.pinned(),
            &AcceptanceProfile::new(),
            &Expectation::new(),
        )
        .unwrap();
    assert_eq!(accepted.policy_locks().len(), 2);
    let secrets = accepted.static_secret(&ring.statics[1]).unwrap();
    assert!(secrets.is_empty());
    assert!(accepted.open(&secrets).is_err());
}

#[test]
fn authority_keys_alone_recover_offline() {
    let ring = ring(2);
    let accepted = ring.accept(&threshold(&ring, 2)).unwrap();
    assert_eq!(
        accepted
            .open(&ring.unlock(&accepted).unwrap())
            .unwrap()
            .expose(),
        SECRET
    );
}

#[test]
fn policy_rewritten_inside_the_object_opens_nothing() {
    // The demo's attack: the service answers honestly under the rewritten policy, and the answer is worth nothing.
    let ring = ring(1);
    let object = threshold(&ring, 1);
    let bent = Parts::bent(&object, |parts| {
        parts.locks[0].policy = br#"{"allow":[{"app":"evil"}],"v":1}"#.to_vec()
    });
    let accepted = ring.accept(&bent).unwrap();
    let secrets = ring.ask(&accepted).unwrap();
    assert_eq!(secrets.len(), 1, "the authority evaluated, and proved it");
    assert_eq!(
        accepted.open(&secrets).unwrap_err(),
        OpenError::LockAuth { position: 0 }
    );
}

#[test]
fn policy_that_is_not_canonical_is_refused_when_its_lock_is_used() {
    let ring = ring(1);
    let bent = Parts::bent(&threshold(&ring, 1), |parts| {
        parts.locks[0].policy = br#"{"v":1, "allow":[]}"#.to_vec()
    });
    assert_eq!(
        Sealed::parse(&bent).unwrap().locks()[0]
            .policy()
            .unwrap_err()
            .name(),
        "BAD_FIELD"
    );
    assert_eq!(ring.refusal(&bent), "BAD_FIELD");
}

#[test]
fn same_scalar_under_another_record_opens_nothing() {
    // A tenant's operator files the same secret scalar under another tenant, version or name: another key, another Info.
    let key = draft_key();
    let object = seal(vec![share(&key)], SealOptions::new());
    let record = key.record().to_bytes();
    let file = key.to_file_bytes();
    let secret = &file[file.len() - 48..];
    let at = record
        .windows(4)
        .position(|window| window == b"acme")
        .unwrap();
    for (what, position, mask) in [
        ("authority", 9, 2),
        ("tenant", at + 2, 3),
        ("version", at + 7, 1),
    ] {
        let mut other = record.clone();
        other[position] ^= mask;
        let twin = unsealing_key(&other, secret);
        assert_ne!(twin.record().key_id(), key.record().key_id(), "{what}");
        let bent = Parts::bent(&object, |parts| {
            parts.locks[0].key_id = *twin.record().key_id().as_bytes();
            parts.locks[0].tenant = twin.record().tenant().as_bytes().to_vec();
            parts.locks[0].key_version = twin.record().version();
        });
        let ring = Ring::of(vec![twin], vec![]);
        assert_eq!(ring.refusal(&bent), "LOCK_AUTH", "{what}");
        assert_eq!(ring.refusal(&object), "UNKNOWN_KEY", "{what}");
    }
}

#[test]
fn share_of_another_object_does_not_fit() {
    let ring = ring(2);
    let seal = |seed| {
        let sealer = Sealer::new(
            ring.unsealing.iter().map(share).collect(),
            SealOptions::new().threshold(2),
        )
        .unwrap();
        sealer.seal(SECRET, &mut rng(seed)).unwrap()
    };
    let other = Parts::of(&seal(2));
    let mixed = Parts::bent(&seal(1), |parts| parts.locks[1] = other.locks[1].clone());
    assert_eq!(ring.refusal(&mixed), "LOCK_AUTH");
}

#[test]
fn a_lock_moved_to_another_place_does_not_open() {
    let ring = ring(2);
    let object = seal(
        ring.unsealing.iter().map(share).collect(),
        SealOptions::new(),
    );
    let swapped = Parts::bent(&object, |parts| parts.locks.swap(0, 1));
    assert_eq!(ring.refusal(&swapped), "LOCK_AUTH");
}

#[test]
fn batches_and_requests_carry_nothing_of_the_object() {
    // Two objects with the same key, policy and window: all that differs in their requests is drawn at random.
    let ring = ring(1);
    let ask = |label: &str, text: &[u8], seed: u8| {
        let sealer = Sealer::new(
            vec![share(&ring.unsealing[0])],
            SealOptions::new().label(label),
        )
        .unwrap();
        let accepted = ring
            .accept(&sealer.seal(text, &mut rng(seed)).unwrap())
            .unwrap();
        Batch::group(accepted.policy_locks())
            .remove(0)
            .blind(&mut rng(seed))
            .unwrap()
            .0
            .to_bytes()
    };
    let (one, other) = (ask("one", b"1", 1), ask("other", &[2; 10_000], 2));
    assert_eq!(one.len(), other.len());
    let drawn = |position: usize| (5..21).contains(&position) || position >= one.len() - 49;
    for position in (0..one.len()).filter(|position| !drawn(*position)) {
        assert_eq!(one[position], other[position], "byte {position}");
    }
}

#[test]
fn keys_are_pinned_once() {
    let (one, two) = (authority(1), authority(2));
    let mut keys = PinnedKeys::new();
    assert!(keys.is_empty());
    assert!(keys.insert(one.record().clone()));
    assert!(!keys.insert(one.record().clone()));
    keys.extend([two.record().clone()]);
    assert_eq!(
        (keys.len(), keys.get(&two.record().key_id())),
        (2, Some(two.record()))
    );
    assert_eq!(keys.iter().count(), 2);
    let unknown = UnsealingKey::derive(&[5; 32], "x", "acme", 1).unwrap();
    assert_eq!(keys.get(&unknown.record().key_id()), None);
}
