//! No secret, and no blinded or evaluated element, in any file, log or answer.

use std::io::Write;
use std::sync::{Arc, Mutex};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use blindfold_core::{KeyState, Outcome, Response};
use tracing_subscriber::fmt::MakeWriter;
use unsealer::wire::{self, path};

use crate::support::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Every way these bytes could be written down.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let decimal: Vec<String> = bytes.iter().map(u8::to_string).collect();
    vec![
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
        Base64::encode_string(&bytes[..bytes.len() / 3 * 3]).into_bytes(),
        Base64UrlUnpadded::encode_string(&bytes[..bytes.len() / 3 * 3]).into_bytes(),
        decimal.join(", ").into_bytes(),
        decimal.join(",").into_bytes(),
    ]
}

#[tokio::test]
async fn nothing_secret_is_written_anywhere() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .init();
    let world = World::new().await;
    let running = world.start().await;
    let ada = world.client(&running, ADMIN);
    let mut answers = Vec::new();
    answers.extend(
        ada.admin(
            path::CREATE_TENANT,
            &wire::CreateTenant {
                tenant: TENANT.to_owned(),
                admission: Some(ADMIT_PARIS.to_owned()),
            },
        )
        .await
        .body,
    );
    // One key over HTTP, one that is damaged, one in process.
    let key = new_key(TENANT, 1);
    let import = path::import_key(0);
    let kind = Some(wire::KEY_FILE_CONTENT_TYPE);
    answers.extend(
        ada.request("POST", &import, kind, &key_file(&key))
            .await
            .body,
    );
    answers.extend(
        ada.request("POST", &import, kind, &key_file(&key))
            .await
            .body,
    );
    let damaged = new_key(TENANT, 3);
    let mut file = key_file(&damaged);
    file[10] ^= 1;
    answers.extend(ada.request("POST", &import, kind, &file).await.body);
    let second = new_key(TENANT, 2);
    running
        .operator
        .import_key(key_file(&second), 0)
        .await
        .unwrap();
    answers.extend(
        ada.admin(path::LIST_KEYS, &wire::ListKeys::default())
            .await
            .body,
    );

    // Requests that are answered, refused and broken, with elements that tell themselves apart.
    let client = world.client(&running, API);
    let policy = inline(&lets_open(API));
    let sealed = seal(key.record(), policy.clone(), b"the plaintext of the test");
    let pinned = {
        let mut pinned = blindfold_core::PinnedKeys::new();
        pinned.insert(key.record().clone());
        pinned
    };
    let accepted = blindfold_core::Sealed::parse(&sealed)
        .unwrap()
        .accept(&pinned, &Default::default(), &Default::default())
        .unwrap();
    let batch = blindfold_core::Batch::group(accepted.policy_locks()).remove(0);
    let mut elements: Vec<Vec<u8>> = Vec::new();
    for who in [API, BATCH, STRANGER] {
        let (request, _pending) = batch.blind(&mut rng()).unwrap();
        let bytes = request.to_bytes();
        elements.push(bytes[bytes.len() - 49..].to_vec());
        let body = world.client(&running, who).evaluate_bytes(&bytes).await;
        if let Outcome::Evaluated {
            elements: evaluated,
            proof,
        } = Response::parse(&body).unwrap().outcome()
        {
            elements.extend(evaluated.iter().map(|element| element.to_vec()));
            elements.push(proof.to_vec());
        }
        client.evaluate(&bytes[..bytes.len() - 1]).await;
    }
    let mut bad = RawRequest::new(key.record(), &policy);
    bad.elements = vec![[0xa5; 49]];
    elements.push(vec![0xa5; 49]);
    client.evaluate(&bad.bytes()).await;
    let key_id = second.record().key_id().to_string();
    running
        .operator
        .set_key_state(&key_id, KeyState::Active, KeyState::Compromised)
        .await
        .unwrap();

    // Both while it runs, with the write-ahead log, and after it ended.
    let mut places = world.every_byte();
    running.stop().await;
    places.extend(world.every_byte());
    places.push(("log".to_owned(), log.0.lock().unwrap().clone()));
    places.push(("administrative answers".to_owned(), answers));
    let names: Vec<_> = places.iter().map(|(name, _)| name.clone()).collect();
    for wanted in ["unsealer.db", "unsealer.db-wal", "audit.jsonl", "root.key"] {
        assert!(
            names.iter().any(|name| name.ends_with(wanted)),
            "{wanted} not in {names:?}"
        );
    }
    assert!(
        contains(&places.last().unwrap().1, b"key_id"),
        "the answers are there"
    );
    let log = &places[places.len() - 2].1;
    assert!(contains(log, b"serving"), "the log is there");

    for key in [&key, &second, &damaged] {
        for spelling in spellings(&scalar(key)) {
            for (place, bytes) in &places {
                assert!(!contains(bytes, &spelling), "a scalar in {place}");
            }
        }
    }
    for element in &elements {
        // Sixteen bytes of an element are enough to know it again.
        for spelling in spellings(&element[1..19]) {
            for (place, bytes) in &places {
                assert!(!contains(bytes, &spelling), "an element in {place}");
            }
        }
    }
}
