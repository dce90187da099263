//! The example of the documentation does what it says.

use hmac::{Hmac, KeyInit, Mac};

use crate::unsealing::{Behaviour, setup, simple};

#[path = "../../examples/service.rs"]
#[expect(dead_code, reason = "its main and its sockets are not for tests")]
mod service;

#[test]
fn service_opens_both_values_in_one_round_trip_and_uses_them() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let token = simple(&unsealer.record, "service/api-token", b"open sesame").to_text();
    let key = simple(&unsealer.record, "service/signing-key", &[7; 32]).to_text();
    let text = format!("listen = '127.0.0.1:0'\napi_token = '{token}'\nsigning_key = '{key}'\n");
    let service = service::Service::from_config(&wingman, &text).unwrap();
    assert_eq!(unsealer.requests().len(), 1);
    assert_eq!(unsealer.requests()[0].count(), 2);

    let (status, body) = service
        .answer(
            "GET / HTTP/1.1\r\nAuthorization: Bearer open sesame\r\n\r\n",
            1,
        )
        .unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&[7; 32]).unwrap();
    mac.update(&1_u64.to_be_bytes());
    assert_eq!(status, "200 OK");
    assert!(
        body.contains(&hex::encode(mac.finalize().into_bytes())),
        "{body}"
    );
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nauthorization: Bearer open\r\n\r\n",
    ] {
        assert_eq!(service.answer(head, 1).unwrap().0, "401 Unauthorized");
    }
    assert!(!format!("{service:?}").contains("sesame"));
}

#[test]
fn service_with_swapped_values_does_not_start() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let token = simple(&unsealer.record, "service/api-token", b"open sesame").to_text();
    let key = simple(&unsealer.record, "service/signing-key", &[7; 32]).to_text();
    let swapped = format!("listen = '127.0.0.1:0'\napi_token = '{key}'\nsigning_key = '{token}'\n");
    let error = service::Service::from_config(&wingman, &swapped).unwrap_err();
    assert!(error.to_string().contains("api_token"), "{error}");
}
