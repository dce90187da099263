//! Operations of keys in a token: through the service's path, and as bare PKCS #11 calls.

use std::time::Instant;

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::{Mechanism, aead::GcmParams},
    object::Attribute,
    session::UserType,
    types::AuthPin,
};
use kms::hsm::{Hsm, HsmConfig};
use kms_client::{Algorithm, KeyId};

use crate::{PLAINTEXT, quantile};

const OPERATIONS: usize = 3000;

/// Median of one call, in microseconds.
fn median(mut call: impl FnMut()) -> f64 {
    for _ in 0..200 {
        call();
    }
    let mut times: Vec<u64> = (0..OPERATIONS)
        .map(|_| {
            let began = Instant::now();
            call();
            u64::try_from(began.elapsed().as_nanos()).unwrap()
        })
        .collect();
    times.sort_unstable();
    quantile(&times, 500) as f64 / 1e3
}

/// Encrypts 64 bytes both ways.
pub(crate) fn run(module: &str, token: &str, pin_file: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = HsmConfig {
        module: module.into(),
        token: token.to_owned(),
        pin_file: pin_file.into(),
        workers: 1,
    };
    let hsm = Hsm::open(&config).unwrap();
    let id = KeyId::from_bytes([9; 16]);
    let ours = runtime.block_on(async {
        let reference = hsm.generate(id, 1, Algorithm::Aes256Gcm).await.unwrap();
        let key = hsm
            .key(id, 1, Algorithm::Aes256Gcm, reference.as_bytes())
            .unwrap();
        let sealed = key.encrypt(b"", &PLAINTEXT).await.unwrap();
        assert_eq!(
            key.decrypt(b"", &sealed).await.unwrap().as_slice(),
            PLAINTEXT
        );
        key
    });
    let encrypt = median(|| {
        runtime.block_on(ours.encrypt(b"", &PLAINTEXT)).unwrap();
    });

    // A second context on a module that is initialized already.
    let pkcs11 = Pkcs11::new(module).unwrap();
    // It may be: the service's path is open in this process.
    let _ = pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slot = pkcs11
        .get_slots_with_token()
        .unwrap()
        .into_iter()
        .find(|slot| pkcs11.get_token_info(*slot).unwrap().label() == token)
        .expect("the token");
    let session = pkcs11.open_rw_session(slot).unwrap();
    let pin = std::fs::read_to_string(pin_file).unwrap();
    // The same: logged in per process.
    let _ = session.login(
        UserType::User,
        Some(&AuthPin::from(String::from(pin.trim()).into_boxed_str())),
    );
    let bare = session
        .generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::ValueLen(32.into()),
                Attribute::Token(false),
                Attribute::Encrypt(true),
                Attribute::Sensitive(true),
            ],
        )
        .unwrap();
    // What the service's path encrypts: 32 zero bytes before the plaintext, its header as associated data.
    let padded = [&[0; 32][..], &PLAINTEXT[..]].concat();
    let mut counter = 0_u64;
    let bare = median(|| {
        counter += 1;
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_be_bytes());
        let params = GcmParams::new(&mut nonce, &[0; 32], 128.into()).unwrap();
        session
            .encrypt(&Mechanism::AesGcm(params), bare, &padded)
            .unwrap();
    });
    crate::print(&serde_json::json!({
        "service_path_us": encrypt,
        "bare_call_us": bare,
        "added_us": encrypt - bare,
    }));
}
