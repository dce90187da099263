//! Signatures of the sealer: what they cover, who may make them, and what a profile demands.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: whatever does not fit is a failed test"
)]

use blindfold_core::{
    AcceptanceProfile, Expectation, Header, OpenError, SealOptions, Sealed, SealerKey, SealerKeys,
    SealerSignature, SignatureError, Signed,
};
use proptest::prelude::*;

use crate::ring::{Ring, SECRET, authority, seal, share};

/// A key of minisign 0.11, and its signatures over `test`, of both kinds.
const MINISIGN_KEY: &str = "untrusted comment: minisign public key 424DC157E270384B\n\
    RWRLOHDiV8FNQkoBMqMM0Ob59RRUmGJa4XhgQt6BPFGVQu1ofeWp6LoT\n";
const MINISIGN_SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
    RURLOHDiV8FNQrPl2qRtJzR8gjIH1F4X7XnoO3C3WLKyV+zpoHPKTk/2KS4CNk/cF6U7r69IgtpDY/LD1Q0KFr2xQL47LcThtQc=\n\
    trusted comment: timestamp:1795336166\tfile:t\thashed\n\
    IqvVLAEyI7J3pojaZAFwREg2SmPYwSiTCGg34aBiRvIB/JjXzRXhePYBPXLAk9kKEiPhP4anN2mMvnHywfXUBQ==\n";
const MINISIGN_LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
    RWRLOHDiV8FNQnqhogDhWkr+HnIEG3IXxRclbzXtBsv/wH+H0iUHqE5Zi3gYKLZYAxOVeuyOCuUATVf+v0HHv3mbDRmNrvOn6gY=\n\
    trusted comment: timestamp:1795336166\tfile:t\n\
    H4emZ4SObYERm18EsGg45cMw0cnXUgROVNQuenHRDC3uofDaJwiCkvCHRvfDC4Z/gpE0aSW9cm9+XJT3iI/7Dg==\n";

/// One who signs.
pub(crate) struct Signer(minisign::KeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(minisign::KeyPair::generate_unencrypted_keypair().unwrap())
    }

    pub(crate) fn key(&self) -> SealerKey {
        SealerKey::parse(&self.0.pk.to_box().unwrap().to_string()).unwrap()
    }

    pub(crate) fn keys(&self) -> SealerKeys {
        [self.key()].into_iter().collect()
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> String {
        let signature = minisign::sign(
            Some(&self.0.pk),
            &self.0.sk,
            bytes,
            Some("timestamp:1\tfile:x"),
            None,
        );
        signature.unwrap().to_string()
    }
}

fn minisign_keys() -> SealerKeys {
    [SealerKey::parse(MINISIGN_KEY).unwrap()]
        .into_iter()
        .collect()
}

fn refusal(bytes: &[u8], signature: &str, keys: &SealerKeys) -> SignatureError {
    Signed::verify(bytes, signature, keys).unwrap_err()
}

fn ring() -> Ring {
    Ring::of(vec![authority(1)], Vec::new())
}

fn object(ring: &Ring) -> Vec<u8> {
    seal(
        vec![share(&ring.unsealing[0])],
        SealOptions::new().label("db"),
    )
}

/// How opening ends under a profile that demands a signature of `keys`.
fn open(ring: &Ring, sealed: &Sealed, keys: SealerKeys) -> Result<Vec<u8>, OpenError> {
    let profile = AcceptanceProfile::new().require_signature_by(keys);
    let accepted = sealed.accept(&ring.pinned(), &profile, &Expectation::new())?;
    let opened = accepted.open(&ring.unlock(&accepted)?)?;
    Ok(opened.expose().to_vec())
}

#[test]
fn signature_of_minisign_itself_holds_over_its_file_only() {
    let keys = minisign_keys();
    let signed = Signed::verify(b"test", MINISIGN_SIGNATURE, &keys).unwrap();
    assert_eq!(signed.bytes(), b"test");
    assert_eq!(
        signed.trusted_comment(),
        "timestamp:1795336166\tfile:t\thashed"
    );
    assert_eq!(signed.signer().id().to_string(), "424DC157E270384B");
    assert_eq!(signed.signer().to_file_text(), MINISIGN_KEY);
    for other in [&b"Test"[..], b"test\n", b"tes", b""] {
        assert_eq!(
            refusal(other, MINISIGN_SIGNATURE, &keys),
            SignatureError::Invalid
        );
    }
    let windows = MINISIGN_SIGNATURE.replace('\n', "\r\n");
    assert!(Signed::verify(b"test", &windows, &keys).is_ok());
}

#[test]
fn legacy_signature_is_refused_although_it_holds() {
    let key = minisign_verify::PublicKey::decode(MINISIGN_KEY).unwrap();
    let legacy = minisign_verify::Signature::decode(MINISIGN_LEGACY).unwrap();
    assert!(key.verify(b"test", &legacy, true).is_ok());
    assert_eq!(
        refusal(b"test", MINISIGN_LEGACY, &minisign_keys()),
        SignatureError::Legacy
    );
    // Renamed to the other kind, it does not hold: it is over other bytes.
    let renamed = MINISIGN_LEGACY.replace("\nRWR", "\nRUR");
    assert_eq!(
        refusal(b"test", &renamed, &minisign_keys()),
        SignatureError::Invalid
    );
}

#[test]
fn every_signed_character_of_a_signature_counts() {
    let keys = minisign_keys();
    let lines: Vec<_> = MINISIGN_SIGNATURE.lines().collect();
    // The algorithm (two characters and a half) and the key id stand before the signature.
    for (line, from) in [(1, 14), (2, 0), (3, 0)] {
        for at in from..lines[line].len() {
            let mut bent: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
            let other = if bent[line].as_bytes()[at] == b'A' {
                "B"
            } else {
                "A"
            };
            bent[line].replace_range(at..=at, other);
            let bent = bent.join("\n");
            assert!(
                matches!(
                    refusal(b"test", &bent, &keys),
                    SignatureError::Invalid | SignatureError::Malformed
                ),
                "line {line}, character {at}"
            );
        }
    }
    // The first line is nobody's word.
    let other = MINISIGN_SIGNATURE.replace("signature from minisign secret key", "anything");
    assert!(Signed::verify(b"test", &other, &keys).is_ok());
}

#[test]
fn what_is_no_signature_is_refused() {
    let [untrusted, signature, trusted, global] =
        MINISIGN_SIGNATURE.lines().collect::<Vec<_>>()[..]
    else {
        panic!("a signature has four lines");
    };
    let join = |lines: &[&str]| lines.join("\n");
    let long = format!("{trusted}{}", "x".repeat(16 * 1024));
    for (what, text) in [
        ("empty", String::new()),
        ("three lines", join(&[untrusted, signature, trusted])),
        (
            "five lines",
            join(&[untrusted, signature, trusted, global, "x"]),
        ),
        (
            "no untrusted comment",
            join(&["", signature, trusted, global]),
        ),
        (
            "no trusted comment",
            join(&[untrusted, signature, "", global]),
        ),
        (
            "comments exchanged",
            join(&[trusted, signature, untrusted, global]),
        ),
        (
            "white space",
            join(&[untrusted, &format!(" {signature}"), trusted, global]),
        ),
        (
            "no padding",
            join(&[untrusted, &signature[..99], trusted, global]),
        ),
        ("cut", join(&[untrusted, &signature[..96], trusted, global])),
        (
            "global cut",
            join(&[untrusted, signature, trusted, &global[..84]]),
        ),
        (
            "unknown algorithm",
            join(&[untrusted, &signature.replace("RUR", "RVR"), trusted, global]),
        ),
        (
            "escape sequence",
            join(&[untrusted, signature, "trusted comment: \u{1b}[2J", global]),
        ),
        ("too long", join(&[untrusted, signature, &long, global])),
        ("a key", MINISIGN_KEY.to_owned()),
    ] {
        assert_eq!(
            SealerSignature::parse(&text).unwrap_err(),
            SignatureError::Malformed,
            "{what}"
        );
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let line = MINISIGN_KEY.lines().nth(1).unwrap();
    assert_eq!(SealerKey::parse(line), SealerKey::parse(MINISIGN_KEY));
    let long = format!("untrusted comment: {}\n{line}\n", "x".repeat(2048));
    for (what, text) in [
        ("empty", String::new()),
        ("other first line", format!("comment\n{line}\n")),
        ("three lines", format!("{MINISIGN_KEY}x\n")),
        ("cut", line[..52].to_owned()),
        ("white space", format!(" {line}")),
        ("algorithm of a signature", line.replace("RWR", "RUR")),
        ("a signature", MINISIGN_SIGNATURE.to_owned()),
        ("too long", long),
    ] {
        assert_eq!(
            SealerKey::parse(&text),
            Err(SignatureError::MalformedKey),
            "{what}"
        );
    }
}

#[test]
fn only_the_accepted_sealers_count() {
    let (alice, mallory) = (Signer::new(), Signer::new());
    let signature = mallory.sign(b"test");
    assert_eq!(
        refusal(b"test", &signature, &alice.keys()),
        SignatureError::UnknownSigner {
            key_id: mallory.key().id()
        }
    );
    assert!(matches!(
        refusal(b"test", &signature, &SealerKeys::new()),
        SignatureError::UnknownSigner { .. }
    ));
    let both: SealerKeys = [alice.key(), mallory.key(), alice.key()]
        .into_iter()
        .collect();
    assert_eq!(both.len(), 2);
    let signed = Signed::verify(b"test", &signature, &both).unwrap();
    assert_eq!(signed.signer(), &mallory.key());
}

/// The id of a key is no fingerprint: anybody can make a key of a given id.
#[test]
fn key_of_the_same_id_is_another_key() {
    use base64ct::{Base64, Encoding as _};

    let (alice, mallory) = (Signer::new(), Signer::new());
    let bytes = |key: &SealerKey| Base64::decode_vec(&key.to_base64()).unwrap();
    let imitated = [&bytes(&alice.key())[..10], &bytes(&mallory.key())[10..]].concat();
    let imitation = SealerKey::parse(&Base64::encode_string(&imitated)).unwrap();
    assert_eq!(imitation.id(), alice.key().id());
    assert_ne!(imitation, alice.key());
    let signature = alice.sign(b"test");
    let only: SealerKeys = [imitation.clone()].into_iter().collect();
    assert_eq!(refusal(b"test", &signature, &only), SignatureError::Invalid);
    for order in [[imitation.clone(), alice.key()], [alice.key(), imitation]] {
        let both: SealerKeys = order.into_iter().collect();
        let signed = Signed::verify(b"test", &signature, &both).unwrap();
        assert_eq!(signed.signer(), &alice.key());
    }
}

#[test]
fn c9_profile_refuses_what_no_accepted_sealer_signed() {
    let ring = ring();
    let (alice, mallory) = (Signer::new(), Signer::new());
    let bytes = object(&ring);
    let unsigned = Sealed::parse(&bytes).unwrap();
    let by_alice = alice.sign(&bytes);
    let by_alice = Signed::verify(&bytes, &by_alice, &alice.keys()).unwrap();
    let by_mallory = mallory.sign(&bytes);
    let by_mallory = Signed::verify(&bytes, &by_mallory, &mallory.keys()).unwrap();

    let signed = by_alice.object().unwrap();
    assert_eq!(signed.signer(), Some(&alice.key()));
    assert_eq!(open(&ring, &signed, alice.keys()).unwrap(), SECRET);
    assert_eq!(open(&ring, &signed.clone(), alice.keys()).unwrap(), SECRET);
    let reparsed = Sealed::parse(signed.as_bytes()).unwrap();
    for (what, sealed, keys) in [
        ("unsigned", &unsigned, alice.keys()),
        ("parsed again", &reparsed, alice.keys()),
        ("another's", &by_mallory.object().unwrap(), alice.keys()),
        ("nobody accepted", &signed, SealerKeys::new()),
    ] {
        let error = open(&ring, sealed, keys).unwrap_err();
        assert_eq!(error.name(), "PROFILE_VIOLATION", "{what}");
        assert!(error.to_string().contains("signature"), "{what}: {error}");
    }
    // A header alone carries no proof, whoever signed its object.
    let profile = AcceptanceProfile::new().require_signature_by(alice.keys());
    let (header, _) = Header::parse_prefix(&bytes).unwrap();
    let error = header.accept(&ring.pinned(), &profile, &Expectation::new());
    assert_eq!(error.unwrap_err().name(), "PROFILE_VIOLATION");
    // Where nothing is demanded, a signature is no hindrance.
    let accepted = signed.accept(
        &ring.pinned(),
        &AcceptanceProfile::new(),
        &Expectation::new(),
    );
    assert!(accepted.is_ok());
    assert_eq!(signed, unsigned, "objects are equal by their bytes");
}

#[test]
fn signature_covers_the_form_that_is_stored() {
    let ring = ring();
    let alice = Signer::new();
    let sealed = Sealed::parse(&object(&ring)).unwrap();
    let forms = [
        sealed.as_bytes().to_vec(),
        format!("{}\n", sealed.to_text()).into_bytes(),
        sealed.to_armor().into_bytes(),
    ];
    for (index, form) in forms.iter().enumerate() {
        let signature = alice.sign(form);
        let signed = Signed::verify(form, &signature, &alice.keys()).unwrap();
        assert_eq!(
            open(&ring, &signed.object().unwrap(), alice.keys()).unwrap(),
            SECRET
        );
        for other in forms.iter().skip(index + 1) {
            assert_eq!(
                refusal(other, &signature, &alice.keys()),
                SignatureError::Invalid
            );
        }
    }
}

#[test]
fn values_of_a_signed_file_are_signed_and_no_others() {
    let ring = ring();
    let alice = Signer::new();
    let make = |label: &str| {
        let locks = vec![share(&ring.unsealing[0])];
        Sealed::parse(&seal(locks, SealOptions::new().label(label))).unwrap()
    };
    let (password, token, foreign) = (make("password"), make("token"), make("foreign"));
    let indented = token.to_armor().replace('\n', "\n    ");
    let escaped = token.to_armor().replace('\n', "\\n");
    let file = format!(
        "port: 1\npassword: \"{}\" # sealed\ntoken: |\n    {indented}\njson: \"{escaped}\"\n",
        password.to_text()
    );
    let signature = alice.sign(file.as_bytes());
    let signed = Signed::verify(file.as_bytes(), &signature, &alice.keys()).unwrap();

    let line = file.find('"').unwrap()..file.find(" # sealed").unwrap();
    let block = file.find("|\n").unwrap()..file.find("json").unwrap();
    let string = file.find("json").unwrap()..file.len();
    for (range, text) in [
        (line.clone(), password.to_text()),
        (0..file.len(), password.to_text()),
        (block.clone(), token.to_armor()),
        (string, token.to_armor()),
    ] {
        let value = signed.object_at(range, &text).unwrap();
        assert_eq!(open(&ring, &value, alice.keys()).unwrap(), SECRET);
    }
    let not_inside = OpenError::Signature(SignatureError::NotInside);
    for (what, range, text) in [
        ("another value", line.clone(), foreign.to_text()),
        ("another place", line.clone(), token.to_text()),
        (
            "half of it",
            line.start..line.start + 100,
            password.to_text(),
        ),
        (
            "beyond the end",
            file.len()..file.len() + 1,
            password.to_text(),
        ),
        (
            "an inverted range",
            std::ops::Range { start: 9, end: 3 },
            password.to_text(),
        ),
    ] {
        assert_eq!(
            signed.object_at(range, &text).unwrap_err(),
            not_inside,
            "{what}"
        );
    }
    assert_eq!(signed.object().unwrap_err(), OpenError::BadMagic);
    assert_eq!(
        signed.object_at(line, "plain").unwrap_err(),
        OpenError::BadMagic
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn signature_holds_over_the_same_bytes_only(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let alice = Signer::new();
        let signature = alice.sign(&bytes);
        prop_assert!(Signed::verify(&bytes, &signature, &alice.keys()).is_ok());
        let mut bent = bytes.clone();
        if let Some(at) = (!bytes.is_empty()).then(|| at.index(bytes.len())) {
            bent[at] ^= 1 << bit;
            prop_assert_eq!(refusal(&bent, &signature, &alice.keys()), SignatureError::Invalid);
        }
        bent = bytes;
        bent.push(0);
        prop_assert_eq!(refusal(&bent, &signature, &alice.keys()), SignatureError::Invalid);
    }

    #[test]
    fn nothing_that_is_read_as_a_signature_panics(text in "(?s).{0,400}") {
        let _ = SealerSignature::parse(&text);
        let _ = SealerKey::parse(&text);
        let lines = text.replace('\r', "");
        let framed = MINISIGN_SIGNATURE.replace("signature from minisign secret key", &lines);
        let _ = Signed::verify(b"test", &framed, &minisign_keys());
    }
}
