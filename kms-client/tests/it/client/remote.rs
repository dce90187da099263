//! Keys that stay in the service.

use std::{io::Cursor, io::Read, time::Duration};

use kms_client::{Algorithm, Kms, KmsError, Operation, RsaBits, wire::ErrorCode, wire::ToSign};

use super::world::{PATIENCE, Service, id};

#[test]
fn data_of_a_medium_key_goes_to_the_service() {
    let service = Service::start(false, Algorithm::Aes256Gcm);
    let kms = service.client();
    for number in 0..5 {
        let aad = format!("order {number}").into_bytes();
        let sealed = kms.encrypt("orders", b"4 pears", &aad).unwrap();
        let opened = kms.decrypt("orders", &sealed, &aad).unwrap();
        assert_eq!(opened.as_slice(), b"4 pears");
    }
    assert_eq!(service.operations().len(), 10);
    // Once told that the key is not handed out, the client remembers.
    assert_eq!(service.fetches(), 1);
    assert!(kms.keys_in_hand().is_empty());
    // One connection for all of it.
    assert_eq!(service.server.connections(), 1);
}

#[test]
fn a_client_may_take_no_keys_at_all() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = service.builder().without_keys_in_hand().build().unwrap();
    let sealed = kms.encrypt("orders", b"x", b"").unwrap();
    assert_eq!(
        kms.decrypt("orders", &sealed, b"").unwrap().as_slice(),
        b"x"
    );
    assert_eq!((service.fetches(), service.operations().len()), (0, 2));
}

#[test]
fn refusals_tell_their_code_the_key_and_what_the_service_says() {
    let service = Service::start(false, Algorithm::Aes256Gcm);
    let kms = service.client();
    service.rules().allowed.remove(&Operation::Encrypt);
    let denied = kms.encrypt("orders", b"x", b"").unwrap_err();
    assert_eq!(denied.code(), Some(ErrorCode::Denied));
    let text = denied.to_string();
    assert!(
        text.contains("`orders`")
            && text.contains("`acme`")
            && text.contains("said by the service"),
        "{text}"
    );
    let unknown = kms.key("invoices").encrypt(b"x", b"").unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::Denied));
    let wrong = kms.key("orders").hmac(b"x").unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::WrongOperation));
    let bad = kms.decrypt("orders", b"nonsense", b"").unwrap_err();
    assert_eq!(bad.code(), Some(ErrorCode::DecryptionFailed));
}

#[test]
fn what_is_too_long_or_no_name_is_not_sent() {
    let service = Service::start(false, Algorithm::Aes256Gcm);
    let kms = service.client();
    let large = vec![0; 64 * 1024 + 1];
    let refused = kms.encrypt("orders", &large, b"").unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BadRequest));
    let refused = kms.encrypt("orders", b"", &large).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BadRequest));
    assert!(kms.random(0).is_err() && kms.random(4097).is_err());
    for name in ["", "a/b", "../admin", "Orders", "orders%2f", "orders?x"] {
        let error = kms.encrypt(name, b"x", b"").unwrap_err();
        assert!(matches!(error, KmsError::Name(_)), "{name}: {error}");
    }
    assert!(service.server.received().is_empty());
}

#[test]
fn every_operation_reaches_the_service() {
    let macs = Service::start(false, Algorithm::Hmac(kms_client::Hash::Sha256));
    let tokens = macs.client().key("orders");
    let mac = tokens.hmac(b"token").unwrap();
    let good = |message: &[u8], version| tokens.hmac_verify(message, &mac.mac.0, version).unwrap();
    assert!(good(b"token", None) && good(b"token", Some(1)) && !good(b"other", None));
    let codes = tokens.hmac_batch(&[b"a", b"b"]);
    let codes: Vec<_> = codes.into_iter().map(|code| code.unwrap().mac).collect();
    let checked = tokens.hmac_verify_batch(&[
        (b"a", &codes[0].0, None),
        (b"b", &codes[0].0, None),
        (b"b", &codes[1].0, Some(1)),
    ]);
    let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
    assert_eq!(checked, [true, false, true]);

    let signing = Service::start(false, Algorithm::EcdsaP256);
    let releases = signing.client().key("orders");
    let message = ToSign::Message(b"v1".to_vec().into());
    let signed = releases.sign(&message).unwrap();
    assert!(
        releases
            .verify(&message, &signed.signature.0, None)
            .unwrap()
    );
    let other = ToSign::Message(b"v2".to_vec().into());
    assert!(!releases.verify(&other, &signed.signature.0, None).unwrap());
    let public = releases.public_key(None).unwrap();
    assert_eq!(
        (public.algorithm, public.version),
        (Algorithm::EcdsaP256, 1)
    );
    assert_eq!(releases.sign_batch(&[message.clone(), other]).len(), 2);
    let verified = releases.verify_batch(&[(message, &signed.signature.0, Some(1))]);
    assert!(verified[0].as_ref().unwrap());

    let boxes = Service::start(false, Algorithm::RsaOaep(RsaBits::B2048));
    let kms = boxes.client();
    let key = kms.key("orders");
    let (plain, wrapped) = key.generate_data_key(32, b"aad").unwrap();
    assert_eq!(key.decrypt(&wrapped, b"aad").unwrap(), plain);
    assert!(
        key.generate_data_key_without_plaintext(64, b"")
            .unwrap()
            .len()
            > 64
    );
    assert!(key.generate_data_key(15, b"").is_err());
    boxes.rotate();
    let newer = key.re_encrypt(&wrapped, b"aad", None, Some(b"")).unwrap();
    assert_eq!(key.decrypt(&newer, b"").unwrap(), plain);
    assert!(key.decrypt(&newer, b"aad").is_err());
    assert_eq!(kms.random(17).unwrap().len(), 17);
}

#[test]
fn large_data_goes_under_a_data_key() {
    for low in [false, true] {
        let service = Service::start(low, Algorithm::Aes256Gcm);
        let key = service.client().key("orders");
        let film: Vec<u8> = (0..300_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
        let mut sealed = Vec::new();
        let length = key
            .encrypt_stream(film.as_slice(), &mut sealed, b"film")
            .unwrap();
        assert_eq!(length, 300_000);
        let mut opened = Vec::new();
        key.decrypt_stream(sealed.as_slice(), &mut opened, b"film")
            .unwrap();
        assert_eq!(opened, film);
        let mut scene = key.open_seekable(Cursor::new(&sealed), b"film").unwrap();
        std::io::Seek::seek(&mut scene, std::io::SeekFrom::Start(200_000)).unwrap();
        let mut rest = Vec::new();
        scene.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, &film[200_000..]);
        let mut whole = Vec::new();
        key.open_stream(sealed.as_slice(), b"film")
            .unwrap()
            .read_to_end(&mut whole)
            .unwrap();
        assert_eq!(whole, film);

        let fails = |bytes: &[u8], aad: &[u8]| {
            let error = key.decrypt_stream(bytes, std::io::sink(), aad).unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::DecryptionFailed), "{error}");
        };
        fails(&sealed, b"other");
        fails(&sealed[..sealed.len() - 1], b"film");
        // Nothing of the data reached the service: one data key, and its decryption.
        let sent: usize = service
            .server
            .received()
            .iter()
            .map(|received| received.body.len())
            .sum();
        assert!(sent < 10_000, "{sent} bytes sent");
    }
}

#[test]
fn failures_that_pass_are_waited_out_and_others_are_not() {
    let service = Service::start(false, Algorithm::Aes256Gcm);
    let kms = service.builder().without_keys_in_hand().build().unwrap();
    service.rules().failing = Some((ErrorCode::Unavailable, 503, 3));
    kms.encrypt("orders", b"x", b"").unwrap();
    assert_eq!(service.server.received().len(), 4);

    service.rules().failing = Some((ErrorCode::TooManyRequests, 429, 1000));
    let error = kms.encrypt("orders", b"x", b"").unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::TooManyRequests));
    assert_eq!(service.server.received().len(), 4 + 6);

    service.rules().failing = Some((ErrorCode::WrongState, 409, 1000));
    let error = kms.encrypt("orders", b"x", b"").unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::WrongState));
    assert_eq!(service.server.received().len(), 4 + 6 + 1);
}

#[test]
fn a_call_ends_with_its_deadline() {
    let service = Service::start(false, Algorithm::Aes256Gcm);
    let kms = service
        .builder()
        .without_keys_in_hand()
        .deadline(Duration::from_millis(300))
        .attempt_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    service.server.stop();
    let start = std::time::Instant::now();
    let error = kms.encrypt("orders", b"x", b"").unwrap_err();
    assert!(matches!(error, KmsError::Http { .. }), "{error}");
    assert!(error.may_pass() && start.elapsed() < PATIENCE);
}

#[test]
fn a_server_of_another_name_is_sent_nothing() {
    let service = Service::start(true, Algorithm::Aes256Gcm);
    let kms = Kms::builder(&service.server.url(), id("other"))
        .tenant("acme")
        .identity(service.world.tls("app"))
        .build()
        .unwrap();
    let error = kms.encrypt("orders", b"x", b"").unwrap_err();
    assert!(error.code().is_none(), "{error}");
    assert!(service.server.received().is_empty());
}
