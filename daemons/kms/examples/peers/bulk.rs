//! 1 GiB as a stream under a data key, beside the bare cipher over the same bytes.

use std::{
    io::{Read, sink},
    sync::Arc,
    time::Instant,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use kms_client::{
    Algorithm, KeyId, State, keyring::Keyring, local::VersionKey, material::Material,
    stream::encrypt_stream,
};

const BYTES: u64 = 1 << 30;
const CHUNK: usize = 64 << 10;
const ROUNDS: usize = 3;

/// Zeros, as `/dev/zero` has them, without the kernel.
struct Zeros;

impl Read for Zeros {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        into.fill(0);
        Ok(into.len())
    }
}

/// The best of a few rounds, in GiB per second: what the code can, not what else ran meanwhile.
fn best(mut round: impl FnMut()) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        round();
        began.elapsed().as_secs_f64()
    });
    times.map(|seconds| 1.0 / seconds).fold(0.0, f64::max)
}

/// Prints both rates.
pub(crate) fn run() {
    let id = KeyId::from_bytes([7; 16]);
    let mut keyring = Keyring::new(id, "bulk", Algorithm::Aes256Gcm);
    let material = Material::generate(Algorithm::Aes256Gcm).unwrap();
    let key = VersionKey::new(id, 1, material).unwrap();
    keyring
        .insert(1, State::Enabled, Some(Arc::new(key)))
        .unwrap();
    keyring.set_primary(1).unwrap();
    let stream = best(|| {
        let data_key = keyring.stream_key(b"").unwrap();
        encrypt_stream(&data_key, b"", Zeros.take(BYTES), sink()).unwrap();
    });
    // The same reading, so that the two differ in nothing but the format.
    let mut chunk = vec![0; CHUNK];
    let bare = best(|| {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
        for index in 0..BYTES / CHUNK as u64 {
            Zeros.read_exact(&mut chunk).unwrap();
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&index.to_be_bytes());
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = key
                .seal_in_place_separate_tag(nonce, Aad::empty(), &mut chunk)
                .unwrap();
            std::hint::black_box(tag.as_ref());
        }
    });
    crate::print(&serde_json::json!({
        "stream_gib_per_second": stream,
        "bare_gib_per_second": bare,
    }));
}
