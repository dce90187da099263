//! Large data in one request, while it arrives.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use kms_client::{
    Algorithm, Hash, Operation, Sensitivity,
    stream::{CHUNK_BYTES, StreamHeader, decrypt_stream},
    wire::{self, AAD_HEADER, ErrorCode, ToSign},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

fn path(key: &str, operation: Operation) -> String {
    format!("{}{TENANT}/{key}/{operation}", wire::path::STREAMS)
}

/// Sends a body in pieces and reads the answer meanwhile.
async fn send(client: &Client, path: &str, aad: &[u8], body: &[u8]) -> Option<Reply> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{AAD_HEADER}: {}\r\ncontent-length: {}\r\n\r\n",
        Base64::encode_string(aad),
        body.len()
    );
    let (mut reader, mut writer) = tokio::io::split(client.connect().await.unwrap());
    let bytes = [head.as_bytes(), body].concat();
    let sending = tokio::spawn(async move {
        for piece in bytes.chunks(50_000) {
            // A server that refuses stops reading.
            if writer.write_all(piece).await.is_err() {
                break;
            }
        }
        writer
    });
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer)).await;
    // An answer that breaks off has no goodbye.
    drop(read.expect("an answer in time"));
    drop(sending.await.unwrap());
    Reply::parse(&answer)
}

fn film(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| (place % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_data_is_encrypted_and_decrypted_while_it_arrives() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    running.key("films", Algorithm::Aes256Gcm).await;
    let api = world.client(&running, API);
    let (to, from) = (
        path("films", Operation::Encrypt),
        path("films", Operation::Decrypt),
    );
    for size in [
        0,
        1,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        5 * CHUNK_BYTES,
        3_000_000,
    ] {
        let film = film(size);
        let sealed = send(&api, &to, b"film 1", &film).await.unwrap();
        assert_eq!(sealed.status, 200, "{size}");
        // The client opens it with the data key alone.
        let (header, mut chunks) = StreamHeader::parse(&sealed.body).unwrap();
        let data_key = api
            .decrypt("films", header.encrypted_data_key(), b"film 1")
            .await;
        let mut opened = Vec::new();
        let key = header.accept(&data_key, b"film 1").unwrap();
        decrypt_stream(key, &mut chunks, &mut opened).unwrap();
        assert!(opened == film, "{size}");
        // And so does the service.
        let opened = send(&api, &from, b"film 1", &sealed.body).await.unwrap();
        assert_eq!(opened.status, 200, "{size}");
        assert!(opened.body == film, "{size}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_streams_break_off_and_are_recorded() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    running.key("films", Algorithm::Aes256Gcm).await;
    running
        .create_key(
            TENANT,
            "others",
            Algorithm::Aes256Gcm,
            Sensitivity::Medium,
            &lets(BATCH),
        )
        .await;
    let api = world.client(&running, API);
    let sealed = send(
        &api,
        &path("films", Operation::Encrypt),
        b"a",
        &film(200_000),
    )
    .await
    .unwrap()
    .body;
    let from = path("films", Operation::Decrypt);
    // Refused before the first byte: other associated data, another header, no stream at all.
    for (aad, body) in [
        (&b"b"[..], sealed.clone()),
        (b"a", sealed[..60].to_vec()),
        (b"a", vec![0; 5000]),
        (b"a", Vec::new()),
    ] {
        let reply = send(&api, &from, aad, &body).await.unwrap();
        assert_eq!(reply.status, 400);
        assert_eq!(
            reply.json::<wire::ErrorBody>().code,
            ErrorCode::DecryptionFailed
        );
    }
    let reply = send(&api, &path("others", Operation::Encrypt), b"", b"x")
        .await
        .unwrap();
    assert_eq!(reply.status, 403);
    // Begun, and then broken: the answer has no end.
    let mut bent = sealed.clone();
    *bent.last_mut().unwrap() ^= 1;
    for body in [bent, sealed[..sealed.len() - 20_000].to_vec()] {
        assert!(send(&api, &from, b"a", &body).await.is_none());
    }
    until("both are recorded", async || {
        let broken = world.records().into_iter().filter(|record| {
            record["kind"] == "refusal"
                && record["action"] == "decrypt"
                && record["why"]
                    .as_str()
                    .is_some_and(|why| why.contains("broke off"))
        });
        broken.count() == 2
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_messages_have_the_same_codes_and_signatures() {
    let world = World::new().await;
    let running = world.start_with_tenant().await;
    running.key("csrf", Algorithm::Hmac(Hash::Sha384)).await;
    running.key("release", Algorithm::EcdsaP256).await;
    running.key("ed25519", Algorithm::Ed25519).await;
    let api = world.client(&running, API);
    let message = film(60_000);
    let reply = send(&api, &path("csrf", Operation::Hmac), b"", &message)
        .await
        .unwrap();
    let streamed: wire::Mac = reply.json();
    let item = wire::Hmac {
        message: bytes(&message),
    };
    let whole: wire::Mac = api.one("csrf", Operation::Hmac, item).await;
    assert_eq!(streamed.mac.0, whole.mac.0);

    let reply = send(&api, &path("release", Operation::Sign), b"", &message)
        .await
        .unwrap();
    let mut results = reply.json::<wire::Response<wire::Signed>>().results;
    let Some(wire::Outcome::Ok(signed)) = results.pop() else {
        panic!("{results:?}")
    };
    let item = wire::Verify {
        input: ToSign::Message(bytes(&message)),
        signature: signed.signature,
        version: None,
    };
    let verified: wire::Verified = api.one("release", Operation::Verify, item).await;
    assert!(verified.valid);

    let reply = send(&api, &path("ed25519", Operation::Sign), b"", &message)
        .await
        .unwrap();
    assert_eq!(
        reply.json::<wire::ErrorBody>().code,
        ErrorCode::WrongOperation
    );
    let reply = send(&api, &path("csrf", Operation::Encrypt), b"", &message)
        .await
        .unwrap();
    assert_eq!(
        reply.json::<wire::ErrorBody>().code,
        ErrorCode::WrongOperation
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_streams_end_and_hold_nobody_up() {
    let mut world = World::new().await;
    world.config.listen.limits.body_timeout = Duration::from_millis(500);
    let running = world.start_with_tenant().await;
    running.key("films", Algorithm::Aes256Gcm).await;
    let api = world.client(&running, API);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nonly this",
        path("films", Operation::Encrypt)
    );
    let mut slow = api.connect().await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    let made = api.encrypt("films", b"meanwhile", b"").await;
    assert_eq!(made.version, 1);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut answer)).await;
    drop(read.expect("it is ended by the service"));
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "begun, since the key was there"
    );
    assert!(Reply::parse(&answer).is_none(), "and without an end");
    running.stop().await;
}
