//! C7 to C10: what is opened, under which profile, and what becomes of it.

use super::*;

#[test]
fn c7_commitment_is_compared_before_the_payload_is_touched() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let sealer = Sealer::new(vec![share(&ring.unsealing[0])], SealOptions::new()).unwrap();
    let object = sealer.seal(&[7; 200_000], &mut rng(1)).unwrap();
    let header = Sealed::parse(&object).unwrap().header().as_bytes().len();
    // Commitment and every chunk are bad: the commitment is what is named, and nothing is written.
    let mut bent = object.clone();
    bent[header] ^= 1;
    for at in (header + 32..bent.len()).step_by(1000) {
        bent[at] ^= 1;
    }
    assert_eq!(ring.refusal(&bent), "COMMIT_MISMATCH");
    let accepted = ring.accept(&bent).unwrap();
    let secrets = ring.unlock(&accepted).unwrap();
    let mut reader = &bent[..];
    let streamed = Header::read_from(&mut reader).unwrap();
    let streamed = streamed
        .accept(
            &ring.pinned(),
            &AcceptanceProfile::new(),
            &Expectation::new(),
        )
        .unwrap();
    let mut written = Vec::new();
    let error = streamed
        .open_stream(&secrets, &mut reader, &mut written)
        .unwrap_err();
    assert_eq!((error.name(), written.len()), (Some("COMMIT_MISMATCH"), 0));
    assert_eq!(
        reader.len(),
        bent.len() - header - 32,
        "no byte of the payload was read"
    );
}

#[test]
fn c8_last_chunk_flag_must_match_the_end() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let sealer = Sealer::new(
        vec![share(&ring.unsealing[0])],
        SealOptions::new().pad(false),
    )
    .unwrap();
    let chunk = 65_552;
    for len in [65_536 * 2, 65_536 * 2 + 1, 65_536 * 3] {
        let object = sealer.seal(&vec![1; len], &mut rng(1)).unwrap();
        let payload = Sealed::parse(&object).unwrap().header().as_bytes().len() + 32;
        assert_eq!(ring.refusal(&object), "opened");
        // Cut at a chunk edge, one and two chunks in.
        assert_eq!(ring.refusal(&object[..payload + chunk]), "PAYLOAD_AUTH");
        assert_eq!(
            ring.refusal(&object[..payload + 2 * chunk]),
            if len == 65_536 * 2 {
                "opened"
            } else {
                "PAYLOAD_AUTH"
            }
        );
        // Chunks exchanged, repeated, left out.
        let mut swapped = object.clone();
        let (one, two) = swapped[payload..].split_at_mut(chunk);
        one.swap_with_slice(&mut two[..chunk]);
        assert_eq!(ring.refusal(&swapped), "PAYLOAD_AUTH");
        let doubled = [&object[..payload + chunk], &object[payload..]].concat();
        assert_eq!(ring.refusal(&doubled), "PAYLOAD_AUTH");
        let lacking = [&object[..payload], &object[payload + chunk..]].concat();
        assert_eq!(ring.refusal(&lacking), "PAYLOAD_AUTH");
        // Anything after the last chunk.
        for tail in [1, 15, 16, 17, chunk] {
            let longer = [&object[..], &vec![0; tail]].concat();
            let refusal = ring.refusal(&longer);
            assert!(
                ["PAYLOAD_AUTH", "TRUNCATED"].contains(&refusal),
                "{tail} bytes after {len}: {refusal}"
            );
        }
    }
}

#[test]
fn c9_acceptance_profile_refuses_what_is_outside() {
    let ring = ring();
    let object = full_object(&ring);
    let weak = seal(
        vec![share(&ring.unsealing[0])],
        SealOptions::new().label("db").dem(Dem::ChaCha20Poly1305),
    );
    let open = |object: &[u8], profile: AcceptanceProfile| match ring.open_with(
        object,
        &profile,
        &Expectation::new(),
    ) {
        Ok(_) => "opened",
        Err(error) => error.name(),
    };
    let profile = AcceptanceProfile::new;
    assert_eq!(
        [open(&object, profile()), open(&weak, profile())],
        ["opened"; 2]
    );
    // The downgrade that rationale and section 11.4 warn of: an own one-of-one in the place of a two-of-three.
    assert_eq!(open(&object, profile().minimum_threshold(2)), "opened");
    assert_eq!(
        open(&weak, profile().minimum_threshold(2)),
        "PROFILE_VIOLATION"
    );
    assert_eq!(open(&object, profile().require_site_lock(true)), "opened");
    assert_eq!(
        open(&weak, profile().require_site_lock(true)),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(&object, profile().allow_dems([Dem::Aes256GcmSiv])),
        "opened"
    );
    assert_eq!(
        open(&weak, profile().allow_dems([Dem::Aes256GcmSiv])),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(&weak, profile().allow_suites([Suite::P384Sha384])),
        "opened"
    );
    assert_eq!(
        open(&object, profile().allow_suites([Suite::P384Sha384])),
        "PROFILE_VIOLATION"
    );
    let ids: Vec<_> = ring
        .unsealing
        .iter()
        .map(|key| key.record().key_id())
        .collect();
    let site = ring.statics[0].record().key_id();
    assert_eq!(open(&weak, profile().allow_keys([ids[0]])), "opened");
    assert_eq!(
        open(&weak, profile().allow_keys([ids[1]])),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(&object, profile().allow_keys([ids[0], ids[2], site])),
        "opened"
    );
    assert_eq!(
        open(&object, profile().allow_keys([ids[0], site])),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(&object, profile().allow_keys([ids[0], ids[1]])),
        "PROFILE_VIOLATION"
    );
    assert_eq!(
        open(
            &object,
            profile()
                .require_site_lock(true)
                .allow_keys([ids[0], ids[1]])
        ),
        "PROFILE_VIOLATION"
    );
    assert_eq!(open(&object, profile().expect_label("db")), "opened");
    assert_eq!(
        open(&object, profile().expect_label("other")),
        "LABEL_MISMATCH"
    );
}

#[test]
fn c9_a_required_policy_lock_is_no_site_lock() {
    let ring = ring();
    let required = LockSpec::required_policy(
        ring.unsealing[1].record(),
        inline(POLICY),
        Window::unbounded(),
    );
    let recovery = LockSpec::recovery_static(ring.statics[0].record());
    let object = seal(
        vec![share(&ring.unsealing[0]), required, recovery],
        SealOptions::new(),
    );
    let profile = AcceptanceProfile::new().require_site_lock(true);
    let error = ring
        .open_with(&object, &profile, &Expectation::new())
        .unwrap_err();
    assert_eq!(error.name(), "PROFILE_VIOLATION");
}

#[test]
fn c9_site_lock_of_an_unpinned_key_is_no_site_lock() {
    // The attacker's own site key: without the profile it would be an unknown key, and it must not count as a site lock.
    let stranger = static_key(9);
    let ring = ring();
    let object = seal(
        vec![
            share(&ring.unsealing[0]),
            LockSpec::required_static(stranger.record()),
        ],
        SealOptions::new(),
    );
    assert_eq!(ring.refusal(&object), "UNKNOWN_KEY");
    let profile = AcceptanceProfile::new().require_site_lock(true);
    let error = ring
        .open_with(&object, &profile, &Expectation::new())
        .unwrap_err();
    assert_eq!(error.name(), "PROFILE_VIOLATION");
}

#[test]
fn c9_label_and_external_aad_must_be_the_expected_ones() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let sealed = |options: SealOptions| {
        seal(
            vec![share(&ring.unsealing[0])],
            options.label("db/password"),
        )
    };
    let (plain, bound) = (
        sealed(SealOptions::new()),
        sealed(SealOptions::new().ext_aad("env=prod")),
    );
    let empty = sealed(SealOptions::new().ext_aad(""));
    let open = |object: &[u8], expectation: Expectation| match ring.open(object, &expectation) {
        Ok(_) => "opened",
        Err(error) => error.name(),
    };
    let expect = Expectation::new;
    assert_eq!(open(&plain, expect()), "opened");
    assert_eq!(open(&plain, expect().label("db/password")), "opened");
    assert_eq!(
        open(&plain, expect().label("db/passworD")),
        "LABEL_MISMATCH"
    );
    assert_eq!(open(&plain, expect().label("")), "LABEL_MISMATCH");
    assert_eq!(open(&plain, expect().ext_aad("env=prod")), "AAD_MISMATCH");
    assert_eq!(open(&plain, expect().ext_aad("")), "AAD_MISMATCH");
    assert_eq!(open(&bound, expect()), "AAD_MISMATCH");
    assert_eq!(open(&bound, expect().ext_aad("env=prod")), "opened");
    assert_eq!(
        open(&bound, expect().ext_aad("env=test")),
        "COMMIT_MISMATCH"
    );
    assert_eq!(open(&bound, expect().ext_aad("")), "COMMIT_MISMATCH");
    assert_eq!(open(&empty, expect().ext_aad("")), "opened");
    assert_eq!(open(&empty, expect()), "AAD_MISMATCH");
    // The flag itself is bound.
    let unflagged = Parts::bent(&bound, |parts| parts.fixed[9] &= !2);
    assert_eq!(open(&unflagged, expect()), "LOCK_AUTH");
}

#[test]
fn c10_what_is_secret_does_not_print() {
    let ring = ring();
    let object = full_object(&ring);
    let accepted = ring.accept(&object).unwrap();
    let batch = Batch::group(accepted.policy_locks()).remove(0);
    let (request, pending) = batch.blind(&mut rng(1)).unwrap();
    let shown = format!("{pending:?}");
    let id = hex::encode(request.request_id());
    let key_id = ring.unsealing[0].record().key_id();
    assert_eq!(
        shown,
        format!("Pending {{ request_id: {id:?}, key_id: KeyId({key_id}), count: 1, .. }}")
    );
    let secrets = pending
        .finalize(answer(&request, &ring.unsealing[0]))
        .unwrap();
    assert_eq!(format!("{secrets:?}"), "LockSecrets { len: 1, .. }");
    assert_eq!(
        format!("{:?}", LockSecrets::new()),
        "LockSecrets { len: 0, .. }"
    );
    let opened = accepted.open(&ring.ask(&accepted).unwrap()).unwrap();
    assert_eq!(format!("{opened:?}"), "Opened { faults: [], .. }");
    let sealed = format!("{:?}", Sealed::parse(&object).unwrap());
    assert!(
        sealed.len() < 2000
            && sealed.ends_with(&format!("len: {}, signer: None, .. }}", object.len())),
        "{sealed}"
    );
    let named = seal(
        vec![LockSpec::share(
            ring.unsealing[0].record(),
            named("p"),
            Window::unbounded(),
        )],
        SealOptions::new(),
    );
    let accepted = ring.accept(&named).unwrap();
    let reader = &named[Sealed::parse(&named).unwrap().header().as_bytes().len()..];
    let header = Sealed::parse(&named).unwrap().header().clone();
    let header = header
        .accept(
            &ring.pinned(),
            &AcceptanceProfile::new(),
            &Expectation::new(),
        )
        .unwrap();
    let reader = header
        .open_reader(&ring.unlock(&accepted).unwrap(), reader)
        .unwrap();
    assert_eq!(format!("{reader:?}"), "OpenReader { .. }");
}

/// Does not compile unless each of these types wipes what it holds.
#[test]
fn c10_what_is_secret_is_wiped_on_drop() {
    use blindfold_core::hazmat::{SecretElement, SecretScalar, SharedSecret};
    use blindfold_core::{OpenReader, Opened, Pending, SecretKey, StaticKey};
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<UnsealingKey>();
    wiped::<StaticKey>();
    wiped::<SecretKey>();
    wiped::<Pending>();
    wiped::<LockSecrets>();
    wiped::<Opened>();
    wiped::<OpenReader<std::fs::File>>();
    wiped::<SecretScalar>();
    wiped::<SecretElement>();
    wiped::<SharedSecret>();
}

#[test]
fn c10_opened_plaintext_is_kept_in_wiped_memory() {
    let ring = Ring::of(vec![authority(1)], vec![]);
    let opened = ring
        .open(
            &seal(vec![share(&ring.unsealing[0])], SealOptions::new()),
            &Expectation::new(),
        )
        .unwrap();
    let plaintext: zeroize::Zeroizing<Vec<u8>> = opened.into_plaintext();
    assert_eq!(*plaintext, SECRET);
}
