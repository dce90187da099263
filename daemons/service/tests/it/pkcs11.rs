//! Tokens: finding them, logging in, losing sessions, and the wrapping key.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::aead;
use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, KeyType, ObjectClass},
};
use service::pkcs11::{Token, TokenConfig, TokenError, TokenSession, WrappingKey, gcm, template};

use crate::token::{Function, LABEL, TestToken, ckr, runtime, with_token};

fn wrapping_key(token: &TestToken) -> WrappingKey {
    WrappingKey::create(&Token::open(&token.config()).unwrap(), "root").unwrap()
}

/// Works, and so does everything before it.
fn works(key: &WrappingKey) {
    let wrapped = key.wrap(b"context", b"secret").unwrap();
    assert_eq!(*key.unwrap(b"context", &wrapped).unwrap(), b"secret");
}

#[test]
fn token_is_found_by_label_and_by_serial_number() {
    with_token(
        "pkcs11::token_is_found_by_label_and_by_serial_number",
        |token| {
            let opened = Token::open(&token.config()).unwrap();
            assert_eq!(
                format!("{opened:?}"),
                format!("Token {{ token: \"{LABEL}\", workers: 1, .. }}")
            );
            let unknown = |name: &str| TokenConfig {
                token: name.to_owned(),
                ..token.config()
            };
            let refused = Token::open(&unknown("another")).unwrap_err().to_string();
            assert!(refused.contains("0 tokens"), "{refused}");
            // It says which there are, and by the serial number one is found too.
            let serial = refused
                .split_once("`test token` (")
                .and_then(|(_, rest)| rest.split_once(')'))
                .map(|(serial, _)| serial.to_owned())
                .unwrap();
            Token::open(&unknown(&serial)).unwrap();
        },
    );
}

#[test]
fn two_tokens_of_one_label_are_refused() {
    with_token("pkcs11::two_tokens_of_one_label_are_refused", |token| {
        token.init(LABEL);
        let refused = Token::open(&token.config()).unwrap_err();
        assert!(
            matches!(refused, TokenError::Token { count: 2, .. }),
            "{refused}"
        );
    });
}

#[test]
fn module_has_to_be_one() {
    with_token("pkcs11::module_has_to_be_one", |token| {
        let missing = token.folder().join("missing.so");
        let config = |module: &std::path::Path| TokenConfig {
            module: module.into(),
            ..token.config()
        };
        let refused = Token::open(&config(&missing)).unwrap_err();
        assert!(matches!(refused, TokenError::Module { .. }), "{refused}");
        assert!(refused.to_string().contains("missing.so"), "{refused}");
        let text = token.folder().join("text.so");
        fs::write(&text, "not a library").unwrap();
        let refused = Token::open(&config(&text)).unwrap_err();
        assert!(refused.to_string().contains("`module`"), "{refused}");
    });
}

#[test]
fn wrong_pin_is_tried_once() {
    with_token("pkcs11::wrong_pin_is_tried_once", |token| {
        token.write_pin("00000000");
        let refused = Token::open(&token.config()).unwrap_err();
        assert!(
            refused.to_string().contains("CKR_PIN_INCORRECT"),
            "{refused}"
        );
        assert!(!refused.to_string().contains("00000000"), "{refused}");
        assert!(!format!("{refused:?}").contains("00000000"), "{refused:?}");
        // A second try would meet this fault, and it stays.
        token.fail(&[(Function::Login, ckr::DEVICE_ERROR, 1)]);
        let refused = Token::open(&token.config()).unwrap_err();
        assert!(refused.to_string().contains("earlier"), "{refused}");
        assert_eq!(token.faults_left(), 1);
        token.fail(&[]);
        token.write_pin("12345678");
        Token::open(&token.config()).unwrap();
    });
}

#[test]
fn the_last_try_of_a_token_is_left_to_people() {
    with_token(
        "pkcs11::the_last_try_of_a_token_is_left_to_people",
        |token| {
            const USER_PIN_FINAL_TRY: u64 = 0x0002_0000;
            // The PIN is right; a login would meet the second fault, and say so.
            token.fail(&[
                (Function::GetTokenInfo, USER_PIN_FINAL_TRY, 1000),
                (Function::Login, ckr::DEVICE_ERROR, 1),
            ]);
            let refused = Token::open(&token.config()).unwrap_err();
            assert!(refused.to_string().contains("by hand"), "{refused}");
            token.fail(&[]);
            Token::open(&token.config()).unwrap();
        },
    );
}

#[test]
fn pin_file_has_to_be_private_and_one_line() {
    with_token("pkcs11::pin_file_has_to_be_private_and_one_line", |token| {
        let path = token.folder().join("pin");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Token::open(&token.config()).unwrap_err();
        assert!(matches!(refused, TokenError::PinFile { .. }), "{refused}");
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in [b"".as_slice(), b"\n", b"1234\n5678\n", b"\xff\xfe"] {
            fs::write(&path, bad).unwrap();
            let refused = Token::open(&token.config()).unwrap_err();
            assert!(refused.to_string().contains("one line"), "{refused}");
        }
        fs::write(&path, [b'1'; 2000]).unwrap();
        let refused = Token::open(&token.config()).unwrap_err();
        assert!(matches!(refused, TokenError::PinFile { .. }), "{refused}");
        fs::write(&path, "12345678\r\n").unwrap();
        Token::open(&token.config()).unwrap();
    });
}

#[test]
fn wraps_and_unwraps() {
    with_token("pkcs11::wraps_and_unwraps", |token| {
        let opened = Token::open(&token.config()).unwrap();
        let missing = WrappingKey::find(&opened, "root").unwrap_err();
        assert!(
            matches!(missing, TokenError::Object { count: 0, .. }),
            "{missing}"
        );
        let key = WrappingKey::create(&opened, "root").unwrap();
        let twice = WrappingKey::create(&opened, "root").unwrap_err();
        assert!(matches!(twice, TokenError::Unfit { .. }), "{twice}");
        for bad in ["", &"a".repeat(65)] {
            assert!(WrappingKey::create(&opened, bad).is_err());
        }
        let other = WrappingKey::create(&opened, "other").unwrap();
        let secret = [7; 32];
        let wrapped = key.wrap(b"context", &secret).unwrap();
        assert_eq!(wrapped.len(), 32 + gcm::OVERHEAD_BYTES);
        assert_ne!(wrapped, key.wrap(b"context", &secret).unwrap());
        let found = WrappingKey::find(&opened, "root").unwrap();
        assert_eq!(*found.unwrap(b"context", &wrapped).unwrap(), secret);
        let unauthentic = |unwrapped: Result<_, TokenError>| {
            assert!(
                matches!(unwrapped, Err(TokenError::Unauthentic)),
                "{unwrapped:?}"
            );
        };
        unauthentic(key.unwrap(b"contexts", &wrapped));
        unauthentic(other.unwrap(b"context", &wrapped));
        for length in [0, 11, 12, 43, 59, wrapped.len() - 1] {
            unauthentic(key.unwrap(b"context", &wrapped[..length]));
        }
        for bit in 0..wrapped.len() * 8 {
            let mut bent = wrapped.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            unauthentic(key.unwrap(b"context", &bent));
        }
        assert!(format!("{key:?}").contains("root"));
    });
}

#[test]
fn keys_that_could_leave_are_refused() {
    with_token("pkcs11::keys_that_could_leave_are_refused", |token| {
        let opened = Token::open(&token.config()).unwrap();
        for (label, change, reason) in [
            (
                "imported",
                Attribute::Sensitive(true),
                "not always sensitive",
            ),
            ("readable", Attribute::Sensitive(false), "not sensitive"),
            ("extractable", Attribute::Extractable(true), "extractable"),
            ("public", Attribute::Private(false), "sensitive"),
        ] {
            opened
                .run_blocking(move |session| put_key(session, label, change.clone()))
                .unwrap();
            let refused = WrappingKey::find(&opened, label).unwrap_err();
            assert!(matches!(refused, TokenError::Unfit { .. }), "{refused}");
            assert!(refused.to_string().contains(reason), "{label}: {refused}");
        }
    });
}

/// A key whose value is known, with one attribute changed.
fn put_key(session: &mut TokenSession, label: &str, change: Attribute) -> Result<(), TokenError> {
    let mut attributes: Vec<Attribute> = template::kept_inside(label.as_bytes(), label)
        .into_iter()
        .filter(|attribute| attribute.attribute_type() != change.attribute_type())
        .collect();
    attributes.extend([
        change,
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Value(vec![7; 32]),
    ]);
    attributes.extend(template::only_for(template::Use::Encryption));
    session
        .raw()
        .create_object(&attributes)
        .map(|_| ())
        .map_err(|error| session.failed(error))
}

#[test]
fn sealed_bytes_are_as_documented() {
    with_token("pkcs11::sealed_bytes_are_as_documented", |token| {
        let opened = Token::open(&token.config()).unwrap();
        let sealed = opened
            .run_blocking(|session| {
                put_key(session, "known", Attribute::Sensitive(true))?;
                let [key] = session.search(ObjectClass::SECRET_KEY, b"known")?[..] else {
                    panic!("one key");
                };
                // And the other way: what was made by the layout, without the zeros or with others, is refused.
                for (prefix, opens) in [
                    (vec![0; 32], true),
                    (vec![0; 31], false),
                    (vec![1; 32], false),
                ] {
                    let made = seal_outside(&prefix);
                    let (nonce, body) = made.split_first_chunk().unwrap();
                    let opened = gcm::open(session, key, b"aad", nonce, body);
                    assert_eq!(opened.is_ok(), opens, "{opened:?}");
                }
                gcm::seal(session, key, b"aad", b"plaintext")
            })
            .unwrap();
        let (nonce, body) = sealed.split_first_chunk::<12>().unwrap();
        let mut body = body.to_vec();
        let plaintext = outside()
            .open_in_place(
                aead::Nonce::assume_unique_for_key(*nonce),
                aead::Aad::from(b"aad"),
                &mut body,
            )
            .unwrap();
        assert_eq!(*plaintext, [[0; 32].as_slice(), b"plaintext"].concat());
    });
}

fn outside() -> aead::LessSafeKey {
    aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &[7; 32]).unwrap())
}

fn seal_outside(prefix: &[u8]) -> Vec<u8> {
    let mut body = [prefix, b"plaintext"].concat();
    outside()
        .seal_in_place_append_tag(
            aead::Nonce::assume_unique_for_key([9; 12]),
            aead::Aad::from(b"aad"),
            &mut body,
        )
        .unwrap();
    [[9; 12].as_slice(), &body].concat()
}

#[test]
fn lost_session_is_opened_anew() {
    with_token("pkcs11::lost_session_is_opened_anew", |token| {
        let key = wrapping_key(token);
        for function in [Function::EncryptInit, Function::Encrypt, Function::Decrypt] {
            for code in [
                ckr::SESSION_HANDLE_INVALID,
                ckr::DEVICE_REMOVED,
                ckr::DEVICE_ERROR,
                ckr::TOKEN_NOT_PRESENT,
                ckr::USER_NOT_LOGGED_IN,
                ckr::OPERATION_ACTIVE,
                ckr::KEY_HANDLE_INVALID,
            ] {
                token.fail(&[(function, code, 1)]);
                works(&key);
                assert_eq!(token.faults_left(), 0, "{function:?} {code:#x}");
            }
        }
    });
}

#[test]
fn session_lost_twice_is_an_error_and_heals() {
    with_token(
        "pkcs11::session_lost_twice_is_an_error_and_heals",
        |token| {
            let key = wrapping_key(token);
            for (function, code, name) in [
                (Function::Encrypt, ckr::DEVICE_REMOVED, "CKR_DEVICE_REMOVED"),
                (
                    Function::Encrypt,
                    ckr::KEY_HANDLE_INVALID,
                    "CKR_KEY_HANDLE_INVALID",
                ),
                (
                    Function::EncryptInit,
                    ckr::SESSION_HANDLE_INVALID,
                    "CKR_SESSION_HANDLE_INVALID",
                ),
            ] {
                token.fail(&[(function, code, 2)]);
                let failed = key.wrap(b"context", b"secret").unwrap_err().to_string();
                assert!(failed.contains(name) && failed.contains(LABEL), "{failed}");
                assert_eq!(token.faults_left(), 0);
                works(&key);
            }
            for function in [
                Function::OpenSession,
                Function::Login,
                Function::GetSlotList,
            ] {
                token.fail(&[
                    (Function::Encrypt, ckr::DEVICE_REMOVED, 1),
                    (function, ckr::DEVICE_ERROR, 1),
                ]);
                let failed = key.wrap(b"context", b"secret").unwrap_err().to_string();
                assert!(
                    failed.contains("CKR_DEVICE_ERROR"),
                    "{function:?}: {failed}"
                );
                works(&key);
            }
        },
    );
}

#[test]
fn broken_token_is_not_taken_for_a_wrong_tag() {
    with_token(
        "pkcs11::broken_token_is_not_taken_for_a_wrong_tag",
        |token| {
            let key = wrapping_key(token);
            let wrapped = key.wrap(b"context", b"secret").unwrap();
            // A general error on a session that is dead: a new one is opened, and the answer is there.
            token.fail(&[
                (Function::Decrypt, ckr::GENERAL_ERROR, 1),
                (Function::GetSessionInfo, ckr::SESSION_HANDLE_INVALID, 1),
            ]);
            assert_eq!(*key.unwrap(b"context", &wrapped).unwrap(), b"secret");
            assert_eq!(token.faults_left(), 0);
            // On one that lives it is about the input, and costs no login.
            token.fail(&[
                (Function::Decrypt, ckr::GENERAL_ERROR, 1),
                (Function::Login, ckr::DEVICE_ERROR, 1),
            ]);
            let refused = key.unwrap(b"context", &wrapped).unwrap_err();
            assert!(matches!(refused, TokenError::Unauthentic), "{refused}");
            assert_eq!(token.faults_left(), 1);
        },
    );
}

#[test]
fn finalized_logged_out_and_removed_tokens_heal() {
    with_token(
        "pkcs11::finalized_logged_out_and_removed_tokens_heal",
        |token| {
            let opened = Token::open(&token.config()).unwrap();
            let key = WrappingKey::create(&opened, "root").unwrap();
            works(&key);
            token.finalize();
            works(&key);
            opened
                .run_blocking(|session| {
                    session
                        .raw()
                        .logout()
                        .map_err(|error| session.failed(error))
                })
                .unwrap();
            works(&key);
            token.remove();
            let failed = key.wrap(b"context", b"secret").unwrap_err();
            assert!(
                matches!(failed, TokenError::Token { count: 0, .. }),
                "{failed}"
            );
            token.put_back();
            works(&key);
        },
    );
}

#[test]
fn attributes_that_a_token_lacks_are_left_away() {
    with_token(
        "pkcs11::attributes_that_a_token_lacks_are_left_away",
        |token| {
            token.fail(&[(Function::GenerateKey, ckr::ATTRIBUTE_TYPE_INVALID, 1)]);
            works(&wrapping_key(token));
            assert_eq!(token.faults_left(), 0);
        },
    );
}

#[test]
fn queue_is_bounded_and_forgets_who_left() {
    with_token("pkcs11::queue_is_bounded_and_forgets_who_left", |token| {
        let opened = Token::open(&token.config()).unwrap();
        let (begun, hold) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let runtime = runtime();
        runtime.block_on(async {
            let first = tokio::spawn({
                let (opened, begun, hold) = (opened.clone(), Arc::clone(&begun), Arc::clone(&hold));
                async move {
                    opened
                        .run(move |_| {
                            begun.fetch_add(1, Ordering::SeqCst);
                            wait_until(|| hold.load(Ordering::SeqCst) == 1);
                            Ok(())
                        })
                        .await
                }
            });
            wait_until(|| begun.load(Ordering::SeqCst) == 1);
            let ran = Arc::new(AtomicUsize::new(0));
            let mut waiting = Vec::new();
            for _ in 0..service::limits::PKCS11_QUEUE {
                let (opened, ran) = (opened.clone(), Arc::clone(&ran));
                waiting.push(tokio::spawn(async move {
                    opened
                        .run(move |_| {
                            ran.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        })
                        .await
                }));
            }
            wait_until(|| opened.waiting() == service::limits::PKCS11_QUEUE);
            let refused = opened.run(|_| Ok(())).await.unwrap_err();
            assert!(matches!(refused, TokenError::Busy { .. }), "{refused}");
            // Half of them leave: there is room again, and what they wanted is not done.
            for task in waiting.drain(..512) {
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
            }
            let last = tokio::spawn({
                let opened = opened.clone();
                async move { opened.run(|_| Ok(())).await }
            });
            wait_until(|| opened.waiting() <= 513);
            hold.store(1, Ordering::SeqCst);
            first.await.unwrap().unwrap();
            last.await.unwrap().unwrap();
            for task in waiting {
                task.await.unwrap().unwrap();
            }
            assert_eq!(ran.load(Ordering::SeqCst), 512);
        });
    });
}

#[test]
fn panic_costs_one_job() {
    with_token("pkcs11::panic_costs_one_job", |token| {
        let opened = Token::open(&token.config()).unwrap();
        let key = WrappingKey::create(&opened, "root").unwrap();
        for _ in 0..3 {
            let died = opened.run_blocking(|_| -> Result<(), _> { panic!("of a test") });
            assert!(matches!(died, Err(TokenError::Internal(_))), "{died:?}");
            works(&key);
        }
    });
}

#[test]
fn several_workers_work_at_once() {
    with_token("pkcs11::several_workers_work_at_once", |token| {
        let opened = Token::open(&TokenConfig {
            workers: 4,
            ..token.config()
        })
        .unwrap();
        let inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (opened, inside) = (opened.clone(), Arc::clone(&inside));
                std::thread::spawn(move || {
                    opened
                        .run_blocking(move |session| {
                            inside.fetch_add(1, Ordering::SeqCst);
                            // Each waits for the others, in a session of its own.
                            wait_until(|| inside.load(Ordering::SeqCst) == 4);
                            session
                                .raw()
                                .digest(&Mechanism::Sha256, b"x")
                                .map_err(|error| session.failed(error))
                        })
                        .unwrap()
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().len(), 32);
        }
    });
}

fn wait_until(done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "waited too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}
