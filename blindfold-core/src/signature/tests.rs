use base64ct::{Base64, Encoding as _};
use minisign_verify::{PublicKey, Signature};

use super::*;

fn key_line(point: [u8; 32]) -> String {
    Base64::encode_string(&[&b"Ed"[..], &[1; 8], &point].concat())
}

/// The y-coordinates of all points whose order divides 8, as RFC 8032 encodes them.
fn small_order_points() -> Vec<[u8; 32]> {
    let hex = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let point = |text: &&str| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
    let mut points: Vec<_> = hex.iter().map(point).collect();
    for index in 0..points.len() {
        let mut signed = points[index];
        signed[31] |= 0x80;
        points.push(signed);
    }
    points
}

#[test]
fn keys_of_small_order_are_refused() {
    for point in small_order_points() {
        let line = key_line(point);
        assert_eq!(
            SealerKey::parse(&line),
            Err(SignatureError::WeakKey),
            "{}",
            hex::encode(point)
        );
    }
}

/// Why they are: with R the identity and S zero, a signature verifies whenever the hash is a multiple of the order.
#[test]
fn anybody_signs_under_a_key_of_small_order() {
    let point = small_order_points()[3];
    let key = PublicKey::from_base64(&key_line(point)).unwrap();
    let mut identity_and_zero = [0; 64];
    identity_and_zero[0] = 1;
    let forged = |text: &str| {
        let first = [&b"ED"[..], &[1; 8], &identity_and_zero].concat();
        let text = format!(
            "untrusted comment: \n{}\ntrusted comment: {text}\n{}\n",
            Base64::encode_string(&first),
            Base64::encode_string(&identity_and_zero)
        );
        Signature::decode(&text).unwrap()
    };
    // File and trusted comment each fit one time in eight.
    let verifies = (0..2_000_u32).any(|number| {
        let (file, comment) = ((number % 45).to_string(), (number / 45).to_string());
        key.verify(file.as_bytes(), &forged(&comment), false)
            .is_ok()
    });
    assert!(verifies, "the check would not be needed");
}

#[test]
fn pieces_are_found_in_their_order_only() {
    let line = |letter: &str| letter.repeat(PIECE_CHARS);
    let (a, b) = (line("a"), line("b"));
    let text = format!("{a}{b}cc");
    for whole in [
        text.clone(),
        format!("x = \"{text}\""),
        format!("  {a}\n  {b}\n  cc\n"),
        format!("\"{a}\\n{b}\\ncc\""),
    ] {
        assert!(holds_pieces(whole.as_bytes(), &text), "{whole}");
    }
    for other in [
        String::new(),
        format!("{b}{a}cc"),
        format!("{a}{b}"),
        format!("cc{a}{b}c"),
        format!("{a}{}ccc", &b[1..]),
        format!("{} {}", &text[..30], &text[30..]),
    ] {
        assert!(!holds_pieces(other.as_bytes(), &text), "{other}");
    }
}
