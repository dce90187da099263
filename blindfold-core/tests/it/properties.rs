//! Properties over drawn objects: which sets of secrets open, and that nothing else does.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

use std::sync::LazyLock;

use blindfold_core::{
    AcceptanceProfile, Dem, Expectation, Header, LockSecrets, LockSpec, OpenError, PolicyRef,
    SealOptions, Sealed, Sealer, Window,
};
use proptest::prelude::*;

use crate::common::rng;
use crate::ring::{POLICY, Parts, Ring, authority, inline, named, static_key};

/// Five authorities and two sites, made once.
static RING: LazyLock<Ring> = LazyLock::new(|| {
    Ring::of(
        (1..=5).map(authority).collect(),
        vec![static_key(1), static_key(2)],
    )
});

/// What an object is made with.
#[derive(Clone, Debug)]
struct Shape {
    shares: usize,
    threshold: usize,
    required: usize,
    dem: Dem,
    padded: bool,
    label: String,
    ext_aad: Option<Vec<u8>>,
    text: Vec<u8>,
    seed: u8,
}

prop_compose! {
    fn shape()(shares in 1_usize..=5)(
        shares in Just(shares),
        threshold in 1..=shares,
        required in 0_usize..=2,
        chacha in any::<bool>(),
        padded in any::<bool>(),
        label in "[a-z/é]{0,20}",
        ext_aad in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        text in proptest::collection::vec(any::<u8>(), 0..600),
        seed in any::<u8>(),
    ) -> Shape {
        let dem = if chacha { Dem::ChaCha20Poly1305 } else { Dem::Aes256GcmSiv };
        Shape { shares, threshold, required, dem, padded, label, ext_aad, text, seed }
    }
}

impl Shape {
    fn seal_with(&self, policy: &PolicyRef, window: Window) -> Vec<u8> {
        let mut options = SealOptions::new()
            .threshold(self.threshold as u8)
            .dem(self.dem)
            .pad(self.padded)
            .label(self.label.clone());
        if let Some(ext_aad) = &self.ext_aad {
            options = options.ext_aad(ext_aad.clone());
        }
        let shares = RING.unsealing[..self.shares].iter();
        let mut locks: Vec<_> = shares
            .map(|key| LockSpec::share(key.record(), policy.clone(), window))
            .collect();
        locks.extend(
            RING.statics[..self.required]
                .iter()
                .map(|key| LockSpec::required_static(key.record())),
        );
        Sealer::new(locks, options)
            .unwrap()
            .seal(&self.text, &mut rng(self.seed))
            .unwrap()
    }

    fn seal(&self) -> Vec<u8> {
        self.seal_with(&inline(POLICY), Window::unbounded())
    }

    fn expectation(&self) -> Expectation {
        Expectation {
            label: Some(self.label.clone()),
            ext_aad: self.ext_aad.clone(),
        }
    }

    /// The name of the error that opening with all keys ends with.
    fn refusal(&self, object: &[u8], expectation: &Expectation) -> Option<&'static str> {
        RING.open_offline(object, expectation)
            .err()
            .map(|error: OpenError| error.name())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_threshold_of_shares_opens_and_fewer_never(shape in shape(), order in Just([0, 1, 2, 3, 4]).prop_shuffle()) {
        let sealed = Sealed::parse(&shape.seal()).unwrap();
        let accepted = sealed.accept(&RING.pinned(), &AcceptanceProfile::new(), &shape.expectation()).unwrap();
        let mut secrets = LockSecrets::new();
        for key in &RING.statics {
            secrets.merge(accepted.static_secret(key).unwrap());
        }
        prop_assert_eq!(secrets.len(), shape.required);
        let drawn: Vec<_> = order.into_iter().filter(|index| *index < shape.shares).collect();
        for (have, index) in drawn.into_iter().enumerate() {
            let lacking = shape.threshold.saturating_sub(have);
            prop_assert_eq!(accepted.missing(&secrets).shares, lacking);
            match accepted.open(&secrets) {
                Ok(opened) => prop_assert!(lacking == 0 && opened.expose() == shape.text),
                Err(error) => prop_assert_eq!(error, OpenError::MissingSecrets { shares: lacking, required: 0 }),
            }
            secrets.merge(accepted.recovery_secret(&RING.unsealing[index]).unwrap());
        }
        let opened = accepted.open(&secrets).unwrap();
        prop_assert_eq!(opened.expose(), &shape.text[..]);
    }

    #[test]
    fn whole_way_through_requests_opens(shape in shape()) {
        let opened = RING.open(&shape.seal(), &shape.expectation()).unwrap();
        prop_assert_eq!(opened.expose(), &shape.text[..]);
    }

    #[test]
    fn stream_form_opens_to_the_same(shape in shape()) {
        let object = shape.seal();
        let sealed = Sealed::parse(&object).unwrap();
        let accepted = sealed.accept(&RING.pinned(), &AcceptanceProfile::new(), &shape.expectation()).unwrap();
        let secrets = RING.unlock(&accepted).unwrap();
        let (written, result) = RING.open_streamed(&object, &secrets, shape.ext_aad.as_deref());
        prop_assert_eq!(result.unwrap(), shape.text.len() as u64);
        prop_assert_eq!(written, shape.text);
    }

    #[test]
    fn wrong_policy_tenant_version_window_label_or_aad_never_opens(shape in shape(), at in 0_usize..5, digest in any::<[u8; 48]>()) {
        let window = Window::new(20_000, 20_365).unwrap();
        let object = shape.seal_with(&named("prod/db"), window);
        prop_assert_eq!(shape.refusal(&object, &shape.expectation()), None);
        // One lock, drawn, in the place of which something else is claimed; the others are as they were.
        let at = at % shape.shares;
        let bent = |bend: &dyn Fn(&mut crate::ring::LockParts)| Parts::bent(&object, |parts| bend(&mut parts.locks[at]));
        let changes = [
            ("policy name", bent(&|lock| lock.policy = b"prod/dc".to_vec())),
            ("policy mode", bent(&|lock| (lock.mode, lock.policy) = (3, digest.to_vec()))),
            ("inline policy", bent(&|lock| (lock.mode, lock.policy) = (1, POLICY.as_bytes().to_vec()))),
            ("tenant", bent(&|lock| lock.tenant = b"acmf".to_vec())),
            ("version", bent(&|lock| lock.key_version += 1)),
            ("first day", bent(&|lock| lock.not_before_day = 0)),
            ("last day", bent(&|lock| lock.not_after_day += 1)),
            ("key", bent(&|lock| lock.key_id = [7; 32])),
            ("salt", Parts::bent(&object, |parts| parts.salt[at] ^= 1)),
        ];
        for (what, bent) in changes {
            let refusal = shape.refusal(&bent, &shape.expectation());
            let with_fewer = shape.threshold < shape.shares;
            // Locks that are left over make up for the bad one; then the commitment over the whole header refuses.
            let expected: &[&str] = match what {
                _ if with_fewer && what != "salt" => &["COMMIT_MISMATCH"],
                "tenant" | "version" => &["KEY_MISMATCH"],
                "key" => &["UNKNOWN_KEY"],
                _ => &["LOCK_AUTH"],
            };
            prop_assert!(refusal.is_some_and(|name| expected.contains(&name)), "{}: {:?}", what, refusal);
        }
        let relabelled = Parts::bent(&object, |parts| parts.label = b"another".to_vec());
        prop_assert_eq!(shape.refusal(&relabelled, &shape.expectation()), Some("LABEL_MISMATCH"));
        let mut expectation = shape.expectation();
        expectation.label = None;
        prop_assert_eq!(shape.refusal(&relabelled, &expectation), Some("LOCK_AUTH"));
        expectation.ext_aad = Some([&shape.ext_aad.clone().unwrap_or_default()[..], b"x"].concat());
        let refusal = if shape.ext_aad.is_some() { "COMMIT_MISMATCH" } else { "AAD_MISMATCH" };
        prop_assert_eq!(shape.refusal(&object, &expectation), Some(refusal));
    }

    #[test]
    fn text_forms_give_back_the_object(shape in shape()) {
        let sealed = Sealed::parse(&shape.seal()).unwrap();
        prop_assert_eq!(&Sealed::from_text(&sealed.to_text()).unwrap(), &sealed);
        prop_assert_eq!(&Sealed::from_text(&sealed.to_armor()).unwrap(), &sealed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic_and_never_half_parse(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let framed = [&b"PBSEAL\x00\x01\x01\x00"[..], &bytes].concat();
        for bytes in [&bytes, &framed] {
            if let Ok((header, rest)) = Header::parse_prefix(bytes) {
                prop_assert_eq!([header.as_bytes(), rest].concat(), bytes.clone());
            }
            let _ = Sealed::from_bytes_any(bytes);
            let _ = Sealed::from_text(&String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn spliced_objects_never_panic_and_never_open(cut in 0_usize..2000, paste in proptest::collection::vec(any::<u8>(), 0..8), drop in 0_usize..8) {
        static OBJECT: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let locks = vec![LockSpec::share(RING.unsealing[0].record(), named("p"), Window::unbounded()),
                LockSpec::required_static(RING.statics[0].record())];
            Sealer::new(locks, SealOptions::new()).unwrap().seal(b"text", &mut rng(1)).unwrap()
        });
        let cut = cut % OBJECT.len();
        let spliced = [&OBJECT[..cut], &paste, OBJECT.get(cut + drop..).unwrap_or_default()].concat();
        prop_assume!(spliced != *OBJECT);
        prop_assert!(RING.open_offline(&spliced, &Expectation::new()).is_err());
    }
}
