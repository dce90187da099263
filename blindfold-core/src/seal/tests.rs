//! The sealer's inner values against the draft vectors, and what can't be reached from outside: S5, repeated r.

use elliptic_curve::PrimeField;
use elliptic_curve::sec1::ToSec1Point;
use p384::Scalar;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;

use super::*;
use crate::group::SecretElement;
use crate::kdf::{hash, sha384};
use crate::key::{SecretKey, UnsealingKey};
use crate::object::Sealed;
use crate::open::OpenError;
use crate::policy::{CanonicalPolicy, Window};
use crate::poprf::hash_to_scalar;
use crate::profile::{AcceptanceProfile, Expectation, PinnedKeys};

mod thresholds;

fn draft() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/pbseal-v1-draft.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([1; 32])
}

/// A generator that gives one recorded draw, as a restored snapshot does again and again.
fn replay(draw: &[u8]) -> impl CryptoRng {
    struct Replay(Vec<u8>);
    impl rand_core::TryRng for Replay {
        type Error = core::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            panic!("the sealer draws bytes")
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            panic!("the sealer draws bytes")
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<_>>());
            Ok(())
        }
    }
    impl rand_core::TryCryptoRng for Replay {}
    Replay(draw.to_vec())
}

fn policy(document: &[u8]) -> PolicyRef {
    PolicyRef::Inline(CanonicalPolicy::parse(document).unwrap())
}

/// The sealer of draft object `index`, one of the first four.
fn draft_sealer(draft: &Value, index: usize) -> Sealer {
    let key = AuthorityKey::from_bytes(&hex(&draft["key"]["authority_key_record"])).unwrap();
    let policy = match index {
        1 => PolicyRef::Name("prod/db-readers".parse().unwrap()),
        _ => policy(&hex(&draft["kem_and_evaluate"][0]["policy"])),
    };
    let object = &draft["objects"][index];
    let flags = object["flags"].as_u64().unwrap();
    let mut options = SealOptions::new()
        .dem(Dem::from_id(object["dem"].as_u64().unwrap() as u8).unwrap())
        .pad(flags & 1 != 0)
        .label(object["label"].as_str().unwrap());
    if flags & 2 != 0 {
        options = options.ext_aad(hex(&object["ext_aad"]));
    }
    Sealer::new(
        vec![LockSpec::share(&key, policy, Window::unbounded())],
        options,
    )
    .unwrap()
}

#[test]
fn inner_values_of_the_draft_objects_are_reproduced() {
    let draft = draft();
    for (index, object) in draft["objects"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .take(4)
    {
        let (secrets, vector) = (&object["secrets"], &object["locks"][0]);
        let sealer = draft_sealer(&draft, index);
        let first = match object["plaintext"].as_str() {
            Some(plaintext) => {
                let mut first = hex::decode(plaintext).unwrap();
                let len = first.len() as u64;
                stream::put_padding(
                    &mut first,
                    if sealer.padded {
                        stream::padding_len(len)
                    } else {
                        0
                    },
                );
                first
            }
            None => (0..65_536_u64).map(|i| (i % 251) as u8).collect(),
        };
        let first = sha384(&[&first]);
        assert_eq!(
            sealer.hedge(&first)[..],
            hex(&secrets["hedge"]),
            "hedge of {index}"
        );

        let draws = sealer.draws(&first, &mut replay(&hex(&object["rnd"])));
        let mut salt = [0; SALT_BYTES];
        draws.draw(labels::DRAW_SALT, 0, &mut salt);
        assert_eq!(salt[..], hex(&secrets["salt"]));
        let group = draws.share(labels::DRAW_GROUP_SECRET, 0);
        assert_eq!(group.expose()[..], hex(&secrets["gs"]));
        assert_eq!(draws.r(0).unwrap().expose_bytes()[..], hex(&vector["r"]));
        let file_key = FileKey::derive(&salt, &group, &[]);
        assert_eq!(file_key.expose()[..], hex(&secrets["fk"]));

        let Kem::Policy { info, .. } = &sealer.locks[0].kem else {
            panic!("a policy lock")
        };
        assert_eq!(info.as_bytes(), hex(&vector["Info"]));
        let (enc, shared_secret) = draws.encap(&sealer.locks[0].kem, 0, &mut rng()).unwrap();
        assert_eq!(
            (&enc[..], &shared_secret.expose()[..]),
            (&hex(&vector["enc"])[..], &hex(&vector["ss"])[..])
        );
        let context = LockContext {
            dem: sealer.dem,
            fixed: &sealer.fixed,
            salt: &salt,
            label: sealer.label.as_bytes(),
        };
        let mut bound = sealer.locks[0].prefix.clone();
        put_lv16(&mut bound, &enc);
        let wrapped = context.wrap(0, &bound, shared_secret.expose(), group.expose());
        assert_eq!(wrapped[..], hex(&vector["wrapped"]));
        // The vector's KEK wraps the vector's secret to the same bytes.
        let kek: [u8; 32] = hex(&vector["kek"]).try_into().unwrap();
        let mut body = hex(&vector["secret"]);
        let tag = sealer.dem.cipher(&kek).seal_detached(&[0; 12], &mut body);
        assert_eq!([&body[..], &tag].concat(), wrapped);
        assert!(
            context
                .unwrap(0, &bound, shared_secret.expose(), &wrapped)
                .is_some()
        );
        assert!(
            context
                .unwrap(1, &bound, shared_secret.expose(), &wrapped)
                .is_none(),
            "the position is bound"
        );

        let (header, payload) = sealer
            .lock(&first, &mut replay(&hex(&object["rnd"])))
            .unwrap();
        assert_eq!(payload.commit[..], hex(&secrets["commit"]));
        let payload_key: [u8; 32] = hex(&secrets["payload_key"]).try_into().unwrap();
        let mut mine = *b"one block";
        let mut theirs = mine;
        let tags = [
            payload.cipher.seal_detached(&[3; 12], &mut mine),
            sealer
                .dem
                .cipher(&payload_key)
                .seal_detached(&[3; 12], &mut theirs),
        ];
        assert_eq!((mine, tags[0]), (theirs, tags[1]), "payload key");
        let hh = hash(
            labels::HEADER,
            &[&len32(&header), &header, &sealer.ext_aad_digest],
        );
        assert_eq!(hh[..], hex(&secrets["hh"]));
    }
}

#[test]
fn inner_values_of_the_two_of_three_object_are_reproduced() {
    let draft = draft();
    let object = &draft["objects"][4];
    let sealed = Sealed::parse(&hex(&object["object"])).unwrap();
    let header = sealed.header();
    let context = LockContext {
        dem: header.dem,
        fixed: &header.fixed,
        salt: &header.salt,
        label: header.label.as_bytes(),
    };
    let opened: Vec<Share> = header
        .locks
        .iter()
        .zip(object["locks"].as_array().unwrap())
        .map(|(lock, vector)| {
            let share = context
                .unwrap(
                    lock.position,
                    lock.bound(),
                    &hex(&vector["ss"]),
                    &lock.wrapped,
                )
                .unwrap();
            assert_eq!(share.expose()[..], hex(&vector["secret"]));
            share
        })
        .collect();
    // Any two of the three shares give the group secret.
    for (i, j) in [(0, 1), (0, 2), (1, 2), (2, 0)] {
        let (x, y) = (i as u8 + 1, j as u8 + 1);
        let group = shamir::combine(&[(x, &opened[i]), (y, &opened[j])]).unwrap();
        assert_eq!(group.expose()[..], hex(&object["secrets"]["gs"]));
        let file_key = FileKey::derive(&header.salt, &group, [&opened[3]]);
        assert_eq!(file_key.expose()[..], hex(&object["secrets"]["fk"]));
    }
}

#[test]
fn s5_r_of_zero_is_refused() {
    // What 9.4 reduces is 72 bytes; the order itself, and zero, reduce to zero.
    let order = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
    let mut wide = [0; 72];
    assert!(SecretScalar::from_wide_bytes(&wide).is_none());
    wide[24..].copy_from_slice(&hex::decode(order).unwrap());
    assert!(SecretScalar::from_wide_bytes(&wide).is_none());
    wide[71] += 1;
    assert!(SecretScalar::from_wide_bytes(&wide).is_some());
}

/// Rationale 3.6(1): r under two policies of one key gives Z away, from public data alone.
///
/// With U1 = r1·T1 and U2 = r2·T2, and r1 = r2 = r: U1 - U2 = r·(m1 - m2)·G, so Z = (U1 - U2)/(m1 - m2).
/// Whether the Z found so opens the first and the second lock.
fn public_relation(key: &UnsealingKey, policies: [&[u8]; 2], encs: [&[u8]; 2]) -> [bool; 2] {
    let unbounded = Window::unbounded();
    let point = |bytes: &[u8]| {
        p384::PublicKey::from_sec1_bytes(bytes)
            .unwrap()
            .to_projective()
    };
    let tweaks = policies.map(|document| key.record().tweak(&policy(document), unbounded).unwrap());
    let [m1, m2] = tweaks
        .each_ref()
        .map(|(info, _)| Scalar::from_repr(hash_to_scalar(info).to_bytes().into()).unwrap());
    let z = (point(encs[0]) - point(encs[1])) * (m1 - m2).invert().unwrap();
    let z = z.to_affine().to_sec1_point(true);
    [0, 1].map(|index| {
        let (info, tweaked) = &tweaks[index];
        let z = SecretElement::fill(|bytes| bytes.copy_from_slice(z.as_bytes()));
        let guessed = kem::decap(tweaked, info, &Element::decode(encs[index]).unwrap(), &z);
        let real = key
            .decap(&policy(policies[index]), unbounded, encs[index])
            .unwrap();
        guessed.expose() == real.expose()
    })
}

#[test]
fn repeated_sealing_randomness_under_two_policies_gives_nothing() {
    let key = UnsealingKey::derive(&[1; 32], "a1.example", "acme", 1).unwrap();
    let policies: [&[u8]; 2] = [br#"{"allow":["a"],"v":1}"#, br#"{"allow":["b"],"v":1}"#];
    let lock = |document| LockSpec::share(key.record(), policy(document), Window::unbounded());
    // The attack works where r really is the same …
    let r = SecretScalar::random(&mut rng());
    let encs = policies.map(|document| {
        let (info, tweaked) = key
            .record()
            .tweak(&policy(document), Window::unbounded())
            .unwrap();
        *kem::encap(&tweaked, &info, &r).unwrap().0.as_bytes()
    });
    assert_eq!(
        public_relation(&key, policies, [&encs[0], &encs[1]]),
        [true, true]
    );
    // … and not on two objects whose sealer drew the same 64 bytes for the same text …
    let encs = policies.map(|document| {
        let sealer = Sealer::new(vec![lock(document)], SealOptions::new()).unwrap();
        let object = sealer.seal(b"hunter2", &mut replay(&[42; 64])).unwrap();
        Sealed::parse(&object).unwrap().locks()[0].enc().to_vec()
    });
    assert_eq!(
        public_relation(&key, policies, [&encs[0], &encs[1]]),
        [false, false]
    );
    // … nor on two locks of one object.
    let sealer = Sealer::new(policies.map(lock).into(), SealOptions::new()).unwrap();
    let object = Sealed::parse(&sealer.seal(b"hunter2", &mut rng()).unwrap()).unwrap();
    assert_eq!(
        public_relation(
            &key,
            policies,
            [object.locks()[0].enc(), object.locks()[1].enc()]
        ),
        [false, false]
    );
}

#[test]
fn draws_are_kept_apart_by_label_and_index() {
    let draws = Draws(extract(b"rnd", &[b"hedge"]));
    let mut seen = Vec::new();
    for label in [
        labels::DRAW_SALT,
        labels::DRAW_GROUP_SECRET,
        labels::DRAW_REQUIRED_SECRET,
        labels::DRAW_COEFFICIENT,
        labels::DRAW_R,
    ] {
        for index in [0, 1, 2, 256] {
            let share = *draws.share(label, index).expose();
            assert!(!seen.contains(&share));
            seen.push(share);
        }
    }
    assert!(draws.r(0).unwrap().expose_bytes() != draws.r(1).unwrap().expose_bytes());
}

#[test]
fn secret_key_of_the_vectors_reads() {
    // The unit tests above lean on the vectors' key being the one that they say.
    let draft = draft();
    let (record, secret) = (
        hex(&draft["key"]["authority_key_record"]),
        hex(&draft["key"]["skS"]),
    );
    let len = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let file = [
        b"PBSS\x01",
        &len(&record)[..],
        &record,
        &len(&secret),
        &secret,
    ]
    .concat();
    let key = SecretKey::from_file_bytes(&file).unwrap();
    assert_eq!(
        hex::encode(key.record().key_id().as_bytes()),
        draft["key"]["key_id"].as_str().unwrap()
    );
}

#[test]
fn spoilt_share_that_its_sealer_committed_to_is_named_and_the_others_are_used() {
    // Only a sealer can do this: one lock holds garbage, and the commitment covers it.
    let keys: Vec<_> = (1..=3_u8)
        .map(|number| {
            UnsealingKey::derive(&[number; 32], &format!("a{number}.example"), "acme", 1).unwrap()
        })
        .collect();
    let lock = |key: &UnsealingKey| {
        LockSpec::share(key.record(), policy(br#"{"v":1}"#), Window::unbounded())
    };
    let options = SealOptions::new().threshold(2).pad(false);
    let sealer = Sealer::new(keys.iter().map(lock).collect(), options).unwrap();
    let first = sha384(&[b"text"]);
    let (mut header, _) = sealer.lock(&first, &mut replay(&[1; 64])).unwrap();
    let len = header.len();
    header[len - 1] ^= 1;
    let draws = sealer.draws(&first, &mut replay(&[1; 64]));
    let mut salt = [0; SALT_BYTES];
    draws.draw(labels::DRAW_SALT, 0, &mut salt);
    let file_key = FileKey::derive(&salt, &draws.share(labels::DRAW_GROUP_SECRET, 0), &[]);
    let payload = file_key.payload(sealer.dem, &header, &sealer.ext_aad_digest);
    let mut object = [&header[..], &payload.commit].concat();
    stream::seal_chunks(&payload.cipher, b"text", 0, &mut object);

    let pinned: PinnedKeys = keys.iter().map(|key| key.record().clone()).collect();
    let sealed = Sealed::parse(&object).unwrap();
    let accepted = sealed
        .accept(&pinned, &AcceptanceProfile::new(), &Expectation::new())
        .unwrap();
    let mut secrets = accepted.recovery_secret(&keys[2]).unwrap();
    assert_eq!(
        accepted.missing(&secrets).shares,
        2,
        "the spoilt share does not count"
    );
    secrets.merge(accepted.recovery_secret(&keys[0]).unwrap());
    assert_eq!(
        accepted.open(&secrets).unwrap_err(),
        OpenError::LockAuth { position: 2 }
    );
    secrets.merge(accepted.recovery_secret(&keys[1]).unwrap());
    let opened = accepted.open(&secrets).unwrap();
    assert_eq!(opened.expose(), b"text");
    let [fault] = opened.faults() else {
        panic!("{:?}", opened.faults())
    };
    assert_eq!(
        (
            fault.position,
            fault.authority.as_deref(),
            fault.error.name()
        ),
        (2, Some("a3.example"), "LOCK_AUTH")
    );
}

#[test]
fn subsets_that_disagree_are_a_commitment_mismatch() {
    // The equivocation of rationale 7: shares of one polynomial for some readers, of another for the rest.
    let keys: Vec<_> = (1..=3_u8)
        .map(|number| {
            UnsealingKey::derive(&[number; 32], &format!("a{number}.example"), "acme", 1).unwrap()
        })
        .collect();
    let lock = |key: &UnsealingKey| {
        LockSpec::share(key.record(), policy(br#"{"v":1}"#), Window::unbounded())
    };
    let sealer = Sealer::new(
        keys.iter().map(lock).collect(),
        SealOptions::new().threshold(2),
    )
    .unwrap();
    let first = sha384(&[b"text"]);
    let draws = sealer.draws(&first, &mut replay(&[1; 64]));
    let mut salt = [0; SALT_BYTES];
    draws.draw(labels::DRAW_SALT, 0, &mut salt);
    let group = draws.share(labels::DRAW_GROUP_SECRET, 0);
    let slopes = [1, 1, 2].map(|index| [draws.share(labels::DRAW_COEFFICIENT, index)]);
    let context = LockContext {
        dem: sealer.dem,
        fixed: &sealer.fixed,
        salt: &salt,
        label: b"",
    };
    let mut header = [&sealer.fixed[..], &salt, &[0, 0]].concat();
    for (position, (lock, slope)) in (0_u8..).zip(sealer.locks.iter().zip(&slopes)) {
        let (enc, secret) = draws.encap(&lock.kem, position, &mut rng()).unwrap();
        let mut bytes = lock.prefix.clone();
        put_lv16(&mut bytes, &enc);
        let share = shamir::share(&group, slope, position + 1);
        let wrapped = context.wrap(position, &bytes, secret.expose(), share.expose());
        bytes.extend_from_slice(&wrapped);
        put_lv16(&mut header, &bytes);
    }
    let payload =
        FileKey::derive(&salt, &group, &[]).payload(sealer.dem, &header, &sealer.ext_aad_digest);
    let mut object = [&header[..], &payload.commit].concat();
    stream::seal_chunks(&payload.cipher, b"text", 252, &mut object);

    let pinned: PinnedKeys = keys.iter().map(|key| key.record().clone()).collect();
    let accepted = Sealed::parse(&object)
        .unwrap()
        .accept(&pinned, &AcceptanceProfile::new(), &Expectation::new())
        .unwrap();
    let open = |pair: [usize; 2]| {
        let mut secrets = accepted.recovery_secret(&keys[pair[0]]).unwrap();
        secrets.merge(accepted.recovery_secret(&keys[pair[1]]).unwrap());
        accepted
            .open(&secrets)
            .map(|opened| opened.expose().to_vec())
    };
    assert_eq!(open([0, 1]), Ok(b"text".to_vec()));
    assert_eq!(open([0, 2]), Err(OpenError::CommitMismatch));
    assert_eq!(open([1, 2]), Err(OpenError::CommitMismatch));
}

/// A sealer of `count` SHARE locks and the keys of their authorities.
fn sealer_of(threshold: u8, count: u8) -> (Vec<UnsealingKey>, Sealer) {
    let keys: Vec<_> = (1..=count)
        .map(|number| {
            UnsealingKey::derive(&[number; 32], &format!("a{number}.example"), "acme", 1).unwrap()
        })
        .collect();
    let lock = |key: &UnsealingKey| {
        LockSpec::share(key.record(), policy(br#"{"v":1}"#), Window::unbounded())
    };
    let sealer = Sealer::new(
        keys.iter().map(lock).collect(),
        SealOptions::new().threshold(threshold),
    )
    .unwrap();
    (keys, sealer)
}

#[test]
fn s3_key_and_policy_that_cancel_out_are_refused() {
    let key = UnsealingKey::derive(&[1; 32], "a1.example", "acme", 1).unwrap();
    let policy = policy(br#"{"v":1}"#);
    let window = Window::new(20_000, 20_001).unwrap();
    let cancelled = key.record().cancelled_by(&policy, window);
    let locks = [
        LockSpec::share,
        LockSpec::required_policy,
        LockSpec::recovery_policy,
    ];
    for lock in locks {
        let share = LockSpec::share(key.record(), policy.clone(), window);
        let error = Sealer::new(
            vec![share, lock(&cancelled, policy.clone(), window)],
            SealOptions::new(),
        )
        .unwrap_err();
        assert!(
            matches!(error, SealError::BadPolicyPoint { key_id } if key_id == cancelled.key_id()),
            "{error:?}"
        );
        assert_eq!(error.name(), Some("BAD_POLICY_POINT"));
        // Any other window is another T.
        assert!(
            Sealer::new(
                vec![LockSpec::share(
                    &cancelled,
                    policy.clone(),
                    Window::unbounded()
                )],
                SealOptions::new()
            )
            .is_ok()
        );
    }
}

#[test]
fn external_aad_is_not_printed() {
    let (keys, _) = sealer_of(1, 1);
    let options = SealOptions::new().label("db").ext_aad("env=prod");
    assert_eq!(
        format!("{options:?}"),
        r#"SealOptions { threshold: 1, dem: Aes256GcmSiv, padded: true, label: "db", has_ext_aad: true, .. }"#
    );
    // Nor its digest, which tells a guessable one.
    let lock = LockSpec::share(keys[0].record(), policy(br#"{"v":1}"#), Window::unbounded());
    let sealer = Sealer::new(vec![lock], options).unwrap();
    assert_eq!(
        format!("{sealer:?}"),
        r#"Sealer { dem: Aes256GcmSiv, padded: true, threshold: 1, label: "db", locks: 1, .. }"#
    );
    let object = Sealed::parse(&sealer.seal(b"text", &mut rng()).unwrap()).unwrap();
    let pinned = [keys[0].record().clone()].into_iter().collect();
    let expected = Expectation::new().ext_aad("env=prod");
    let accepted = object
        .accept(&pinned, &AcceptanceProfile::new(), &expected)
        .unwrap();
    let printed = format!("{accepted:?}");
    assert!(
        printed.contains("usable_locks: 1, faults: [], .. }"),
        "{printed}"
    );
    let digest = sealer
        .ext_aad_digest
        .map(|byte| byte.to_string())
        .join(", ");
    assert!(
        !printed.contains(&digest) && !printed.contains("env=prod"),
        "{printed}"
    );
}
