//! What the fuzz targets call: one function for each parser that meets bytes from outside.
//!
//! A parser must not panic, and what it accepts must come back byte for byte (or, where the form for people is
//! freer than the canonical one, must come back as the same value). The functions hold real keys, so that fuzzing
//! does not stop at the first authentication.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fuzz target reports by panicking"
)]

use std::{
    io::{Cursor, Read},
    sync::{Arc, LazyLock},
};

use blindfold_core::{
    AcceptanceProfile, AcceptedHeader, AuthorityKey, Batch, CanonicalPolicy, Expectation, Header,
    LockSecrets, PinnedKeys, Request, Response, Sealed, SealerKey, SealerKeys, SealerSignature,
    SecretKey, Signed, SignedReader,
};
use identity::{
    Attributes, SpiffeId,
    policy::{Facts, Policy, Query, Selector},
};
use kms_client::{
    Algorithm, KeyId, State,
    ciphertext::{Ciphertext, HEADER_BYTES},
    keyring::Keyring,
    local::VersionKey,
    material::Material,
    stream::{SeekableReader, StreamHeader, decrypt_stream},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use wingman_sdk::document::{Document, Format, KeyPath, Label, NewValue};

mod attestation;
mod tpm;

pub use attestation::{aws_document, voucher_token};
pub use tpm::tpm_structures;

/// The secret keys that the seed objects are sealed to: those of the draft vectors, known to everybody.
static KEYS: LazyLock<Vec<SecretKey>> = LazyLock::new(|| {
    [
        include_bytes!("../keys/draft.key").as_slice(),
        include_bytes!("../keys/draft-0.key"),
        include_bytes!("../keys/draft-1.key"),
        include_bytes!("../keys/draft-2.key"),
        include_bytes!("../keys/draft-site.key"),
    ]
    .into_iter()
    .map(|bytes| SecretKey::from_file_bytes(bytes).unwrap())
    .collect()
});

static PINNED: LazyLock<PinnedKeys> = LazyLock::new(|| {
    let mut pinned = PinnedKeys::new();
    for key in KEYS.iter() {
        pinned.insert(key.record().clone());
    }
    pinned
});

/// The sealer who signed the seeds; nobody keeps his secret key.
static SEALERS: LazyLock<SealerKeys> = LazyLock::new(|| {
    let key = SealerKey::parse(include_str!("../keys/sealer.pub")).unwrap();
    [key].into_iter().collect()
});

/// A signature, a zero byte, and the signed file: whole and as a stream, which agree. Or a sealer's key.
pub fn signature(data: &[u8]) {
    let zero = data.iter().position(|byte| *byte == 0);
    let (text, file) = data.split_at(zero.unwrap_or(data.len()));
    let file = file.get(1..).unwrap_or_default();
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    if let Ok(key) = SealerKey::parse(text) {
        assert_eq!(SealerKey::parse(&key.to_file_text()), Ok(key));
    }
    let whole = Signed::verify(file, text, &SEALERS);
    let Ok(parsed) = SealerSignature::parse(text) else {
        assert!(whole.is_err());
        return;
    };
    let streamed = SignedReader::new(file, &parsed, &SEALERS).is_ok_and(|mut reader| {
        let held = reader.read_to_end(&mut Vec::new()).is_ok();
        assert_eq!(held, reader.signer().is_some());
        held
    });
    assert_eq!(whole.is_ok(), streamed);
    if let Ok(Ok(object)) = whole.map(|signed| signed.object()) {
        assert!(object.signer().is_some());
    }
}

/// A sealed object in any form: parse, print, parse; then open it with real keys, whole and as a stream.
pub fn object(data: &[u8]) {
    let Ok(sealed) = Sealed::from_bytes_any(data) else {
        return;
    };
    let again = Sealed::parse(sealed.as_bytes()).unwrap();
    assert_eq!(again.as_bytes(), sealed.as_bytes());
    assert_eq!(
        Sealed::from_text(&sealed.to_text()).unwrap().as_bytes(),
        sealed.as_bytes()
    );
    assert_eq!(
        Sealed::from_text(&sealed.to_armor()).unwrap().as_bytes(),
        sealed.as_bytes()
    );
    for lock in sealed.locks() {
        let _ = lock.policy();
    }
    let mut expectation = Expectation::new();
    if sealed.header().requires_ext_aad() {
        expectation = expectation.ext_aad("env=prod");
    }
    let profile = AcceptanceProfile::new().allow_recovery(true);
    let mut reader = sealed.as_bytes();
    let header = Header::read_from(&mut reader).unwrap();
    let streamed = header.accept(&PINNED, &profile, &expectation);
    let whole = sealed.accept(&PINNED, &profile, &expectation);
    assert_eq!(
        whole.is_ok(),
        streamed.is_ok(),
        "whole object and stream are accepted alike"
    );
    let (Ok(whole), Ok(streamed)) = (whole, streamed) else {
        return;
    };
    let secrets = secrets(&streamed);
    let opened = whole
        .open(&secrets)
        .ok()
        .map(|opened| opened.expose().to_vec());
    let mut plaintext = Vec::new();
    let read = streamed
        .open_reader(&secrets, reader)
        .ok()
        .and_then(|mut reader| reader.read_to_end(&mut plaintext).ok());
    assert_eq!(
        opened,
        read.map(|_| plaintext),
        "whole object and stream open alike"
    );
}

/// What the keys at hand open.
fn secrets(header: &AcceptedHeader) -> LockSecrets {
    let mut secrets = LockSecrets::new();
    for key in KEYS.iter() {
        let opened = match key {
            SecretKey::Unsealing(key) => header.recovery_secret(key),
            SecretKey::Static(key) => header.static_secret(key),
            _ => continue,
        };
        if let Ok(opened) = opened {
            secrets.merge(opened);
        }
    }
    secrets
}

/// A request of the evaluation protocol.
pub fn request(data: &[u8]) {
    let Ok(request) = Request::parse(data) else {
        return;
    };
    assert_eq!(request.to_bytes(), data);
    let _ = request.check();
}

/// A response of the evaluation protocol.
pub fn response(data: &[u8]) {
    let Ok(response) = Response::parse(data) else {
        return;
    };
    assert_eq!(response.to_bytes(), data);
    // The same as the answer to a request of ours, so that the proof is reached.
    let sealed = Sealed::parse(include_bytes!("../corpus/object/seed-draft-0")).unwrap();
    let accepted = sealed
        .accept(&PINNED, &AcceptanceProfile::new(), &Expectation::new())
        .unwrap();
    let batch = Batch::group(accepted.policy_locks()).pop().unwrap();
    let (_, pending) = batch.blind(&mut ChaCha20Rng::from_seed([7; 32])).unwrap();
    let mut answer = data.to_vec();
    if let Some(id) = answer.get_mut(5..21) {
        id.copy_from_slice(&pending.request_id());
    }
    if let Ok(response) = Response::parse(&answer) {
        assert!(
            pending.finalize(response).is_err(),
            "an answer without the secret key was proven"
        );
    }
}

/// A public key record, in binary or JSON, or a secret key file.
pub fn key_record(data: &[u8]) {
    if let Ok(record) = AuthorityKey::from_bytes(data) {
        assert_eq!(record.to_bytes(), data);
        assert_eq!(
            AuthorityKey::from_json(&record.to_json()).unwrap().key_id(),
            record.key_id()
        );
    }
    if let Some(Ok(record)) = std::str::from_utf8(data).ok().map(AuthorityKey::from_json) {
        assert_eq!(
            AuthorityKey::from_bytes(&record.to_bytes())
                .unwrap()
                .key_id(),
            record.key_id()
        );
    }
    if let Ok(key) = SecretKey::from_file_bytes(data) {
        assert_eq!(key.to_file_bytes().as_slice(), data);
    }
}

/// Canonical JSON, as the format decodes it: accepted only in its one form.
fn canonical_policy(data: &[u8]) {
    if let Ok(policy) = CanonicalPolicy::parse(data) {
        assert_eq!(policy.as_bytes(), data);
    }
}

/// A policy document: YAML, JSON and canonical; what one accepts the format accepts, and a decision is total.
pub fn policy_document(data: &[u8]) {
    canonical_policy(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let spiffe_id: SpiffeId = "spiffe://acme.example/paris/ns/payments/sa/api"
        .parse()
        .unwrap();
    let attributes = Attributes::new();
    for policy in [
        Policy::from_yaml(text),
        Policy::from_json(text),
        Policy::from_canonical(data),
    ]
    .into_iter()
    .flatten()
    {
        let canonical = policy.canonical();
        let again = Policy::from_canonical(&canonical).unwrap();
        assert_eq!(again.canonical(), canonical);
        assert_eq!(again.digest(), policy.digest());
        let sealed = CanonicalPolicy::parse(&canonical).unwrap();
        assert_eq!(*sealed.digest(), policy.digest());
        let query = Query {
            facts: Facts {
                spiffe_id: &spiffe_id,
                attributes: &attributes,
            },
            action: "open",
            resource: "unseal/acme/unsealer.acme.example",
            now: 1_795_305_600,
        };
        assert_eq!(policy.decide(&query).effect, policy.explain(&query).effect);
    }
}

/// A selector: parse, print, parse.
pub fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(selector) = text.parse::<Selector>() else {
        return;
    };
    let again: Selector = selector
        .to_string()
        .parse()
        .unwrap_or_else(|e| panic!("{selector}: {e}"));
    assert_eq!(again.to_string(), selector.to_string());
}

/// A SPIFFE ID: accepted only in its one form.
pub fn spiffe_id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(id) = text.parse::<SpiffeId>() else {
        return;
    };
    assert_eq!(id.to_string(), text);
}

/// The attribute extension of a certificate: accepted only in its one DER form.
pub fn certificate_extension(data: &[u8]) {
    let Ok(attributes) = Attributes::from_der(data) else {
        return;
    };
    assert_eq!(attributes.to_der(), data);
}

/// A configuration file, its format told by the first byte: values change in place, and nothing else does.
pub fn document(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let formats = [Format::Toml, Format::Yaml, Format::Json, Format::Env];
    let format = formats[usize::from(*first) % formats.len()];
    let Ok(document) = Document::parse(format, text) else {
        return;
    };
    assert_eq!(document.as_str(), text);
    for (index, entry) in document.entries().iter().enumerate() {
        let path = entry.path().to_string();
        assert_eq!(path.parse::<KeyPath>().unwrap(), *entry.path());
        let label = Label::of(entry.path(), entry.kind());
        assert_eq!(label.to_string().parse::<Label>().unwrap(), label);
        // The first ones will do: a replacement reads the whole file again.
        if index >= 4 {
            continue;
        }
        let sealed = NewValue::Sealed("pbseal1:UEJTRUFM".to_owned());
        let Ok(changed) = document.replace(&[(index, sealed)]) else {
            continue;
        };
        assert!(changed.starts_with(&text[..entry.span().start]));
        assert!(changed.ends_with(&text[entry.span().end..]));
        let again = Document::parse(format, &changed).unwrap();
        assert_eq!(again.entries().len(), document.entries().len());
        assert_eq!(again.entries()[index].path(), entry.path());
        assert_eq!(again.entries()[index].text(), "pbseal1:UEJTRUFM");
    }
}

/// Keyrings of the known ciphertexts, by their identifier and versions; everybody knows their material.
static KEYRINGS: LazyLock<Vec<Keyring>> = LazyLock::new(|| {
    let id = KeyId::from_bytes(std::array::from_fn(|i| 0x10 + i as u8));
    [
        (Algorithm::Aes256Gcm, 0x60),
        (Algorithm::Aes256GcmSiv, 0x61),
        (Algorithm::ChaCha20Poly1305, 0x62),
    ]
    .into_iter()
    .map(|(algorithm, fill)| {
        let material = Material::from_bytes(algorithm, &[fill; 32]).unwrap();
        let key = Arc::new(VersionKey::new(id, 70_001, material).unwrap());
        let mut keyring = Keyring::new(id, "known", algorithm);
        keyring.insert(70_001, State::Enabled, Some(key)).unwrap();
        keyring.set_primary(70_001).unwrap();
        keyring
    })
    .collect()
});

/// A ciphertext of a key, or a stream: parse, print, parse; then decrypt with real keys, a stream both ways.
pub fn kms_ciphertext(data: &[u8]) {
    if let Ok(parsed) = Ciphertext::parse(data) {
        assert_eq!(parsed.header.to_bytes(), data[..HEADER_BYTES]);
        for keyring in KEYRINGS.iter() {
            for aad in [b"".as_slice(), b"order 17"] {
                if let Ok((plaintext, version)) = keyring.decrypt(aad, data) {
                    assert_eq!(version, parsed.header.version());
                    let (again, _) = keyring.encrypt(aad, &plaintext).unwrap();
                    assert_eq!(again.len(), data.len());
                }
            }
        }
    }
    let Ok((header, chunks)) = StreamHeader::parse(data) else {
        return;
    };
    assert_eq!([&header.to_bytes(), chunks].concat(), data);
    for (data_key, aad) in [
        ([0x2b; 32], b"".as_slice()),
        ([0x2b; 32], b"film 1"),
        ([0x2c; 32], b"film 2"),
    ] {
        let Ok(key) = header.accept(&data_key, aad) else {
            continue;
        };
        let mut whole = Vec::new();
        let whole = decrypt_stream(key, chunks, &mut whole).ok().map(|_| whole);
        let key = header.accept(&data_key, aad).unwrap();
        let mut parts = Vec::new();
        let parts = SeekableReader::new(key, Cursor::new(chunks))
            .ok()
            .and_then(|mut reader| reader.read_to_end(&mut parts).ok())
            .map(|_| parts);
        assert_eq!(whole, parts, "a stream decrypts alike both ways");
    }
}
