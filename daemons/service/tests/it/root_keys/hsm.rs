//! Root keys that an HSM opens, with SoftHSM.

use service::{
    config::RootKeyConfig,
    root_key::{NewSlots, RootKeyError, RootKeys, Sources, create, open_to_change},
};

use crate::token::{Function, TestToken, ckr, with_token};

const LABEL: &str = "blindfold root";

/// Slots for the HSM and for two of three custodians; the shares are not kept.
fn made(token: &TestToken) -> RootKeyConfig {
    let path = token.folder().join("slots");
    let new = NewSlots {
        hsm: Some((token.config(), LABEL.to_owned())),
        ..super::custodians(2)
    };
    create(&path, None, &new).unwrap().commit().unwrap();
    RootKeyConfig {
        hsm: Some(token.config()),
        ..RootKeyConfig::at(path)
    }
}

#[test]
fn an_hsm_opens_root_keys_and_keeps_its_own_key() {
    with_token(
        "root_keys::hsm::an_hsm_opens_root_keys_and_keeps_its_own_key",
        |token| {
            let config = made(token);
            let keys = RootKeys::load(&config).unwrap();
            assert_eq!(keys.opened_by(), "HSM");
            let wrapped = keys.wrap(b"row", b"secret").unwrap();

            // Rotation and new slots, with the HSM as the only source: the key in it is used again.
            let sources = || Sources {
                hsm: Some(token.config()),
                ..Sources::default()
            };
            let change = || open_to_change(&config.path, &sources()).unwrap();
            change().rotate(false).unwrap();
            change()
                .rekey(&sources(), &super::custodians(3), &[])
                .unwrap()
                .commit()
                .unwrap();
            assert!(keys.reload().unwrap());
            assert_eq!(keys.ids().len(), 3);
            assert_eq!(keys.unwrap(b"row", &wrapped).unwrap().as_slice(), b"secret");

            // A second file takes the same key of the HSM, and the slot of one is no use in the other.
            let second = token.folder().join("second");
            let new = NewSlots {
                hsm: Some((token.config(), LABEL.to_owned())),
                ..NewSlots::default()
            };
            create(&second, None, &new).unwrap().commit().unwrap();
            let read = |path: &std::path::Path| -> serde_json::Value {
                serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
            };
            let (mut one, two) = (read(&config.path), read(&second));
            one["body"]["slots"][0] = two["body"]["slots"][0].clone();
            super::write_private(&config.path, one.to_string().as_bytes());
            assert!(matches!(
                RootKeys::load(&config),
                Err(RootKeyError::Sealed { .. })
            ));
        },
    );
}

#[test]
fn an_hsm_that_fails_leaves_the_keys_sealed_and_says_why() {
    with_token(
        "root_keys::hsm::an_hsm_that_fails_leaves_the_keys_sealed_and_says_why",
        |token| {
            let config = made(token);
            // Twice: the job is run again on a new session.
            token.fail(&[(Function::DecryptInit, ckr::DEVICE_ERROR, 2)]);
            let refused = RootKeys::load(&config).unwrap_err().to_string();
            assert!(
                refused.contains("HSM: C_DecryptInit") && refused.contains("CKR_DEVICE_ERROR"),
                "{refused}"
            );
            RootKeys::load(&config).unwrap();
        },
    );
}
