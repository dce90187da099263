//! Keyrings against a model, over random sequences of everything that may happen to them.
#![expect(clippy::indexing_slicing, reason = "the model knows its versions")]

use std::{collections::BTreeMap, sync::Arc};

use kms_client::{
    Algorithm, KeyId, Operation, State,
    keyring::{Keyring, KeyringError},
    limits::{MAX_VERSION, MAX_VERSIONS},
    local::OperationError,
};
use proptest::{prelude::*, sample::select};

use crate::common::{AEADS, ID, MACS, fixed, keyring};

const STATES: [State; 5] = [
    State::Enabled,
    State::DecryptOnly,
    State::Disabled,
    State::PendingDestruction,
    State::Destroyed,
];

#[derive(Clone, Debug)]
enum Step {
    /// A new version, made primary.
    Rotate,
    SetState(u32, State),
    SetPrimary(u32),
    Encrypt(Vec<u8>),
    /// Of an earlier step, counted from the newest; with its associated data or another one.
    Decrypt(usize, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let version = 1..6_u32;
    let step = prop_oneof![
        1 => Just(Step::Rotate),
        2 => (version.clone(), select(&STATES[..])).prop_map(|(v, s)| Step::SetState(v, s)),
        1 => version.prop_map(Step::SetPrimary),
        3 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Step::Encrypt),
        4 => (0..20_usize, any::<bool>()).prop_map(|(i, same)| Step::Decrypt(i, same)),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What a keyring should know.
#[derive(Default)]
struct Model {
    states: BTreeMap<u32, State>,
    primary: Option<u32>,
}

impl Model {
    fn set_state(&mut self, version: u32, state: State) -> Result<(), KeyringError> {
        match self.states.get_mut(&version) {
            None => Err(KeyringError::Unknown(version)),
            Some(State::Destroyed) if state != State::Destroyed => {
                Err(KeyringError::Destroyed(version))
            }
            Some(old) => {
                *old = state;
                Ok(())
            }
        }
    }

    fn set_primary(&mut self, version: u32) -> Result<(), KeyringError> {
        match self.states.get(&version) {
            None => Err(KeyringError::Unknown(version)),
            Some(State::Enabled) => {
                self.primary = Some(version);
                Ok(())
            }
            Some(_) => Err(KeyringError::NotEnabled(version)),
        }
    }

    fn refusal(&self, version: u32, operation: Operation) -> Option<OperationError> {
        let state = self.states[&version];
        (!state.allows(operation)).then_some(OperationError::WrongState {
            version,
            state,
            operation,
        })
    }

    fn protect(&self, operation: Operation) -> Result<u32, OperationError> {
        let version = self.primary.ok_or(OperationError::NoPrimary)?;
        self.refusal(version, operation).map_or(Ok(version), Err)
    }
}

proptest! {
    #[test]
    fn keyrings_do_what_the_model_says(algorithm in select(&AEADS[..]), steps in steps()) {
        let mut ring = Keyring::new(ID, "orders", algorithm);
        let mut model = Model::default();
        let mut made: Vec<(u32, Vec<u8>, Vec<u8>)> = Vec::new();
        for step in steps {
            match step {
                Step::Rotate => {
                    let version = model.states.len() as u32 + 1;
                    let key = Arc::new(fixed(algorithm, version as u8, version));
                    prop_assert_eq!(ring.insert(version, State::Enabled, Some(key)), Ok(()));
                    prop_assert_eq!(ring.set_primary(version), Ok(()));
                    model.states.insert(version, State::Enabled);
                    model.primary = Some(version);
                }
                Step::SetState(version, state) => {
                    prop_assert_eq!(ring.set_state(version, state), model.set_state(version, state));
                }
                Step::SetPrimary(version) => {
                    prop_assert_eq!(ring.set_primary(version), model.set_primary(version));
                }
                Step::Encrypt(plaintext) => {
                    let sealed = ring.encrypt(b"aad", &plaintext);
                    let expected = model.protect(Operation::Encrypt);
                    prop_assert_eq!(sealed.as_ref().map(|(_, version)| *version), expected.as_ref().copied());
                    if let Ok((sealed, version)) = sealed {
                        made.push((version, plaintext, sealed));
                    }
                }
                Step::Decrypt(index, same) => {
                    let Some((version, plaintext, sealed)) = made.iter().rev().nth(index) else { continue };
                    let opened = ring.decrypt(if same { b"aad" } else { b"other" }, sealed);
                    match (model.refusal(*version, Operation::Decrypt), same) {
                        (Some(refusal), _) => prop_assert_eq!(opened.err(), Some(refusal)),
                        (None, false) => prop_assert_eq!(opened.err(), Some(OperationError::DecryptionFailed)),
                        (None, true) => {
                            let (opened, by) = opened.unwrap();
                            prop_assert_eq!((opened.as_slice(), by), (plaintext.as_slice(), *version));
                        }
                    }
                }
            }
            prop_assert_eq!(ring.primary(), model.primary);
            prop_assert_eq!(
                ring.versions().collect::<Vec<_>>(),
                model.states.clone().into_iter().collect::<Vec<_>>()
            );
        }
        // Nothing that a state forbids comes back in a copy, which shares the keys.
        let copy = ring.clone();
        for (version, plaintext, sealed) in made {
            let opened = copy.decrypt(b"aad", &sealed).ok().map(|(opened, _)| opened.to_vec());
            let expected = model.refusal(version, Operation::Decrypt).is_none().then_some(plaintext);
            prop_assert_eq!(opened, expected);
        }
    }

    #[test]
    fn codes_are_checked_by_the_versions_that_may(
        algorithm in select(&MACS[..]),
        states in proptest::collection::vec(select(&STATES[..]), 1..6),
        message in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut ring = Keyring::new(ID, "tokens", algorithm);
        let mut made = Vec::new();
        for version in 1..=states.len() as u32 {
            let key = Arc::new(fixed(algorithm, version as u8, version));
            ring.insert(version, State::Enabled, Some(key)).unwrap();
            ring.set_primary(version).unwrap();
            made.push(ring.mac(&message).unwrap());
        }
        for (version, state) in (1..).zip(&states) {
            ring.set_state(version, *state).unwrap();
        }
        for ((mac, version), state) in made.iter().zip(&states) {
            let allowed = state.allows(Operation::HmacVerify);
            let any = ring.mac_verify(&message, mac, None).unwrap();
            prop_assert_eq!((any.valid, any.version), (allowed, allowed.then_some(*version)));
            let named = ring.mac_verify(&message, mac, Some(*version));
            prop_assert_eq!(named.is_ok_and(|verified| verified.valid), allowed);
            for other in (1..=states.len() as u32).filter(|other| other != version) {
                let wrong = ring.mac_verify(&message, mac, Some(other));
                prop_assert!(!wrong.is_ok_and(|verified| verified.valid));
            }
        }
    }
}

#[test]
fn foreign_keys_and_bad_versions_do_not_get_in() {
    let algorithm = Algorithm::Aes256Gcm;
    let key = |version| Some(Arc::new(fixed(algorithm, 1, version)));
    let mut ring = Keyring::new(ID, "orders", algorithm);
    let mut insert = |version, state, key| ring.insert(version, state, key);
    assert_eq!(
        insert(0, State::Enabled, key(1)),
        Err(KeyringError::Version(0))
    );
    let above = MAX_VERSION + 1;
    assert_eq!(
        insert(above, State::Disabled, None),
        Err(KeyringError::Version(above))
    );
    assert_eq!(
        insert(2, State::Enabled, key(1)),
        Err(KeyringError::Foreign(2))
    );
    let other = Arc::new(fixed(Algorithm::ChaCha20Poly1305, 1, 2));
    assert_eq!(
        insert(2, State::Enabled, Some(other)),
        Err(KeyringError::Foreign(2))
    );
    assert_eq!(
        insert(1, State::Enabled, None),
        Err(KeyringError::KeyMissing(1))
    );
    assert_eq!(
        insert(1, State::DecryptOnly, None),
        Err(KeyringError::KeyMissing(1))
    );
    assert_eq!(
        insert(1, State::Destroyed, key(1)),
        Err(KeyringError::Destroyed(1))
    );
    assert_eq!(insert(1, State::Enabled, key(1)), Ok(()));
    assert_eq!(
        insert(1, State::Enabled, key(1)),
        Err(KeyringError::Exists(1))
    );
    assert_eq!(insert(2, State::Disabled, None), Ok(()));
    assert_eq!(insert(3, State::Destroyed, None), Ok(()));
    assert_eq!(
        ring.set_state(2, State::Enabled),
        Err(KeyringError::KeyMissing(2))
    );
    assert_eq!(
        ring.set_state(3, State::Disabled),
        Err(KeyringError::Destroyed(3))
    );
    for version in 4..=MAX_VERSIONS as u32 {
        ring.insert(version, State::Destroyed, None).unwrap();
    }
    let next = MAX_VERSIONS as u32 + 1;
    assert_eq!(
        ring.insert(next, State::Destroyed, None),
        Err(KeyringError::Full)
    );
}

#[test]
fn a_destroyed_versions_key_is_wiped_at_once() {
    let key = Arc::new(fixed(Algorithm::Aes256Gcm, 1, 1));
    let held = Arc::downgrade(&key);
    let mut ring = Keyring::new(ID, "orders", Algorithm::Aes256Gcm);
    ring.insert(1, State::Enabled, Some(key)).unwrap();
    ring.set_state(1, State::PendingDestruction).unwrap();
    assert!(held.upgrade().is_some(), "kept: it may be recovered");
    ring.set_state(1, State::Destroyed).unwrap();
    assert!(held.upgrade().is_none());
}

#[test]
fn ciphertexts_of_other_keys_and_versions_are_one_error() {
    let ring = keyring(Algorithm::Aes256Gcm);
    let (sealed, _) = ring.encrypt(b"", b"plaintext").unwrap();
    let unknown_version = fixed(Algorithm::Aes256Gcm, 1, 9)
        .encrypt(b"", b"plaintext")
        .unwrap();
    let mut other_key = sealed.clone();
    other_key[5] ^= 1;
    let other_algorithm = fixed(Algorithm::Aes256GcmSiv, 1, 1)
        .encrypt(b"", b"plaintext")
        .unwrap();
    for foreign in [
        unknown_version,
        other_key,
        other_algorithm,
        b"BFK".to_vec(),
        Vec::new(),
    ] {
        let refused = ring.decrypt(b"", &foreign).err();
        assert_eq!(refused, Some(OperationError::DecryptionFailed));
    }
    assert_eq!(ring.id(), ID);
    assert_ne!(ring.id(), KeyId::from_bytes([0; 16]));
}

#[test]
fn without_a_primary_nothing_is_protected() {
    let mut ring = Keyring::new(ID, "orders", Algorithm::Aes256Gcm);
    assert_eq!(
        ring.encrypt(b"", b"").err(),
        Some(OperationError::NoPrimary)
    );
    let key = Arc::new(fixed(Algorithm::Aes256Gcm, 1, 1));
    ring.insert(1, State::Enabled, Some(key)).unwrap();
    assert_eq!(
        ring.encrypt(b"", b"").err(),
        Some(OperationError::NoPrimary)
    );
    assert!(matches!(
        ring.mac(b""),
        Err(OperationError::WrongOperation { .. })
    ));
    assert!(matches!(
        ring.public_key_spki(None),
        Err(OperationError::WrongOperation { .. })
    ));
}

#[test]
fn data_keys_have_the_asked_size_and_come_back() {
    let ring = keyring(Algorithm::Aes256Gcm);
    for bytes in [16, 32, 64] {
        let made = ring.generate_data_key(b"aad", bytes).unwrap();
        assert_eq!((made.plaintext.len(), made.version), (bytes, 1));
        let (opened, _) = ring.decrypt(b"aad", &made.ciphertext).unwrap();
        assert_eq!(opened, made.plaintext);
        assert_eq!(format!("{made:?}"), "GeneratedDataKey { version: 1, .. }");
    }
    for bytes in [0, 15, 65] {
        let refused = ring.generate_data_key(b"aad", bytes).err();
        assert_eq!(refused, Some(OperationError::DataKeySize(bytes)));
    }
    let debug = format!("{ring:?}");
    assert!(
        debug.contains("name: \"orders\"")
            && debug.ends_with("versions: 1, primary: Some(1), .. }"),
        "{debug}"
    );
}
