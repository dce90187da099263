//! Keys in hand: small operations, refusals, and bulk data against the bare cipher.
//!
//! `cargo bench -p kms-client --bench local`

#![expect(clippy::unwrap_used, reason = "a benchmark reports by panicking")]

use std::{
    hint::black_box,
    io::{Read, Write, sink},
    sync::Arc,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kms_client::{
    Algorithm, Hash, KeyId, State,
    keyring::Keyring,
    local::{OperationError, VersionKey},
    material::Material,
    stream::{DecryptReader, EncryptWriter, StreamHeader, decrypt_stream, encrypt_stream},
};

const AEADS: [Algorithm; 3] = [
    Algorithm::Aes256Gcm,
    Algorithm::Aes256GcmSiv,
    Algorithm::ChaCha20Poly1305,
];
const AAD: &[u8] = b"order 17";
const BULK_BYTES: usize = 1 << 30;

fn keyring(algorithm: Algorithm) -> Keyring {
    let id = KeyId::from_bytes([7; 16]);
    let mut keyring = Keyring::new(id, "bench", algorithm);
    let key = VersionKey::new(id, 1, Material::generate(algorithm).unwrap()).unwrap();
    keyring
        .insert(1, State::Enabled, Some(Arc::new(key)))
        .unwrap();
    keyring.set_primary(1).unwrap();
    keyring
}

fn small(c: &mut Criterion) {
    for bytes in [64, 1024] {
        let mut group = c.benchmark_group(format!("local/{bytes}"));
        group.throughput(Throughput::Bytes(bytes as u64));
        let plaintext = vec![3; bytes];
        for algorithm in AEADS {
            let key = keyring(algorithm);
            let (sealed, _) = key.encrypt(AAD, &plaintext).unwrap();
            assert_eq!(key.decrypt(AAD, &sealed).unwrap().0.as_slice(), plaintext);
            group.bench_function(format!("{algorithm}/encrypt"), |b| {
                b.iter(|| key.encrypt(black_box(AAD), black_box(&plaintext)).unwrap());
            });
            group.bench_function(format!("{algorithm}/decrypt"), |b| {
                b.iter(|| key.decrypt(black_box(AAD), black_box(&sealed)).unwrap());
            });
            group.bench_function(format!("{algorithm}/refused"), |b| {
                b.iter(|| {
                    let refused = key.decrypt(black_box(b"order 18"), black_box(&sealed));
                    assert_eq!(refused.err(), Some(OperationError::DecryptionFailed));
                });
            });
        }
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let key = keyring(Algorithm::Hmac(hash));
            let name = Algorithm::Hmac(hash);
            group.bench_function(format!("{name}/hmac"), |b| {
                b.iter(|| key.mac(black_box(&plaintext)).unwrap());
            });
        }
        group.finish();
    }
}

/// 1 GiB in chunks of the same size, as bare as it gets: one key, no framing, where it is.
fn bare(cipher: &LessSafeKey, data: &mut [u8]) {
    for (index, chunk) in data.chunks_mut(1 << 16).enumerate() {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&(index as u64).to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = cipher.seal_in_place_separate_tag(nonce, Aad::empty(), chunk);
        black_box(tag.unwrap().as_ref());
    }
}

fn bulk(c: &mut Criterion) {
    let mut group = c.benchmark_group("local/1GiB");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(BULK_BYTES as u64));
    let keys = keyring(Algorithm::Aes256Gcm);
    let data_key = keys.stream_key(AAD).unwrap();
    let mut data = vec![3; BULK_BYTES];
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[5; 32]).unwrap());
    group.bench_function("bare/in-place", |b| {
        b.iter(|| bare(&cipher, black_box(&mut data)))
    });
    group.bench_function("stream/writer", |b| {
        b.iter(|| {
            let mut writer = EncryptWriter::new(&data_key, AAD, sink()).unwrap();
            writer.write_all(black_box(&data)).unwrap();
            writer.finish().unwrap();
        });
    });
    group.bench_function("stream/encrypt_stream", |b| {
        b.iter(|| encrypt_stream(&data_key, AAD, black_box(data.as_slice()), sink()).unwrap());
    });
    let mut sealed = Vec::with_capacity(BULK_BYTES + BULK_BYTES / 1024);
    encrypt_stream(&data_key, AAD, data.as_slice(), &mut sealed).unwrap();
    drop(data);
    let (header, chunks) = StreamHeader::parse(&sealed).unwrap();
    let (plain_key, _) = keys.decrypt(AAD, header.encrypted_data_key()).unwrap();
    let accept = || header.accept(&plain_key, AAD).unwrap();
    group.bench_function("stream/decrypt_stream", |b| {
        b.iter_batched(
            accept,
            |key| decrypt_stream(key, black_box(chunks), sink()).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("stream/reader", |b| {
        let mut room = vec![0; 1 << 20];
        b.iter(|| {
            let mut reader = DecryptReader::new(accept(), black_box(chunks));
            while reader.read(&mut room).unwrap() > 0 {}
        });
    });
    group.finish();
}

criterion_group!(benches, small, bulk);
criterion_main!(benches);
