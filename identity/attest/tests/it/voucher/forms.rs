//! Headers, signatures and texts that are no token's.

use attest::voucher::{Algorithm, VoucherError};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;

use super::{claims, refused, signer, verify, vouchers};
use crate::support::{Place, rng};

#[test]
fn headers_other_than_the_one_are_refused() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let vouchers = vouchers(&signer);
    let payload = serde_json::to_vec(&claims(&place)).unwrap();
    let good = r#"{"alg":"ES256","kid":"paris-1","typ":"bfvoucher+jwt"}"#;
    let sign = |header: &str| {
        let token = signer.sign_parts(header.as_bytes(), &payload, &mut rng(3));
        verify(&vouchers, &token.unwrap(), &place)
    };
    assert!(sign(good).is_ok());
    // Members may stand in any order.
    assert!(sign(r#"{"typ":"bfvoucher+jwt","kid":"paris-1","alg":"ES256"}"#).is_ok());
    for (fault, header, error) in [
        (
            "alg_none",
            good.replace("ES256", "none"),
            VoucherError::Header,
        ),
        (
            "alg_hs256",
            good.replace("ES256", "HS256"),
            VoucherError::Header,
        ),
        (
            "alg_rs256",
            good.replace("ES256", "RS256"),
            VoucherError::Header,
        ),
        (
            "alg_es512",
            good.replace("ES256", "ES512"),
            VoucherError::Header,
        ),
        (
            "alg_lower_case",
            good.replace("ES256", "es256"),
            VoucherError::Header,
        ),
        (
            "alg_of_other_curve",
            good.replace("ES256", "ES384"),
            VoucherError::Algorithm,
        ),
        (
            "alg_null",
            good.replace("\"ES256\"", "null"),
            VoucherError::Header,
        ),
        (
            "alg_list",
            good.replace("\"ES256\"", "[\"ES256\"]"),
            VoucherError::Header,
        ),
        (
            "kid_unknown",
            good.replace("paris-1", "paris-2"),
            VoucherError::UnknownKey,
        ),
        (
            "kid_empty",
            good.replace("paris-1", ""),
            VoucherError::UnknownKey,
        ),
        (
            "typ_jwt",
            good.replace("bfvoucher+jwt", "JWT"),
            VoucherError::Header,
        ),
        (
            "typ_capitals",
            good.replace("bfvoucher", "BFVOUCHER"),
            VoucherError::Header,
        ),
        (
            "typ_missing",
            r#"{"alg":"ES256","kid":"paris-1"}"#.to_owned(),
            VoucherError::Header,
        ),
        (
            "kid_missing",
            r#"{"alg":"ES256","typ":"bfvoucher+jwt"}"#.to_owned(),
            VoucherError::Header,
        ),
        (
            "alg_twice",
            good.replace("{\"alg\"", "{\"alg\":\"ES256\",\"alg\""),
            VoucherError::Header,
        ),
        (
            "kid_twice_escaped",
            good.replace("{\"alg\"", "{\"\\u006bid\":\"paris-1\",\"alg\""),
            VoucherError::Header,
        ),
        (
            "crit",
            good.replace('}', ",\"crit\":[\"exp\"]}"),
            VoucherError::Header,
        ),
        (
            "b64_false",
            good.replace('}', ",\"b64\":false,\"crit\":[\"b64\"]}"),
            VoucherError::Header,
        ),
        (
            "jwk",
            good.replace('}', ",\"jwk\":{\"kty\":\"EC\"}}"),
            VoucherError::Header,
        ),
        (
            "jku",
            good.replace('}', ",\"jku\":\"https://evil.example/k\"}"),
            VoucherError::Header,
        ),
        (
            "x5c",
            good.replace('}', ",\"x5c\":[]}"),
            VoucherError::Header,
        ),
        (
            "array",
            r#"["ES256","paris-1","bfvoucher+jwt"]"#.to_owned(),
            VoucherError::Header,
        ),
        ("empty", String::new(), VoucherError::Header),
        ("space_before", format!(" {good}"), VoucherError::Header),
        (
            "byte_order_mark",
            format!("\u{feff}{good}"),
            VoucherError::Header,
        ),
        ("trailing", format!("{good}{{}}"), VoucherError::Header),
        (
            "too_long",
            good.replace("paris-1", &"p".repeat(300)),
            VoucherError::Header,
        ),
    ] {
        assert_eq!(sign(&header), refused(error), "{fault}");
    }
}

#[test]
fn algorithm_of_the_header_verifies_nothing() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let vouchers = vouchers(&signer);
    let payload = Base64UrlUnpadded::encode_string(&serde_json::to_vec(&claims(&place)).unwrap());
    let head = |alg: &str| {
        Base64UrlUnpadded::encode_string(
            format!(r#"{{"alg":"{alg}","kid":"paris-1","typ":"bfvoucher+jwt"}}"#).as_bytes(),
        )
    };
    // Unsecured JWS (RFC 7515, appendix A.5).
    let unsecured = format!("{}.{payload}.", head("none"));
    assert_eq!(
        verify(&vouchers, &unsecured, &place),
        refused(VoucherError::Header)
    );
    // The public key as secret of an HMAC.
    let signed = format!("{}.{payload}", head("HS256"));
    let public = signer.voucher_key().unwrap().public_key;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    let token = format!(
        "{signed}.{}",
        Base64UrlUnpadded::encode_string(tag.as_ref())
    );
    assert_eq!(
        verify(&vouchers, &token, &place),
        refused(VoucherError::Header)
    );
    // No signature, and signatures of zeros (CVE-2022-21449), under a good header.
    for signature in [
        vec![],
        vec![0; 64],
        vec![0; 96],
        vec![0; 63],
        vec![0xff; 64],
    ] {
        let signature = Base64UrlUnpadded::encode_string(&signature);
        let token = format!("{}.{payload}.{signature}", head("ES256"));
        assert_eq!(
            verify(&vouchers, &token, &place),
            refused(VoucherError::Signature)
        );
    }
}

#[test]
fn texts_that_are_no_compact_jws_are_refused() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let vouchers = vouchers(&signer);
    let token = signer.sign(&claims(&place), &mut rng(3)).unwrap();
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts");
    };
    for (fault, text, error) in [
        ("empty", String::new(), VoucherError::Form),
        ("one_part", header.to_owned(), VoucherError::Form),
        (
            "two_parts",
            format!("{header}.{payload}"),
            VoucherError::Form,
        ),
        (
            "four_parts",
            format!("{}.{signature}", &**token),
            VoucherError::Form,
        ),
        (
            "padded",
            format!("{header}.{payload}.{signature}="),
            VoucherError::Form,
        ),
        ("line_end", format!("{}\n", &**token), VoucherError::Form),
        ("space", format!(" {}", &**token), VoucherError::Form),
        (
            "other_alphabet",
            format!("{header}.{payload}.{}", signature.replace(['-', '_'], "+")),
            VoucherError::Form,
        ),
        (
            "encrypted",
            format!("{header}.{payload}.a.b.c"),
            VoucherError::Form,
        ),
        (
            "json_serialization",
            json!({"payload": payload, "protected": header, "signature": signature}).to_string(),
            VoucherError::Form,
        ),
        ("too_long", "a".repeat(24 * 1024 + 1), VoucherError::TooLong),
        (
            "der_signature",
            {
                let raw = Base64UrlUnpadded::decode_vec(signature).unwrap();
                let der = p256::ecdsa::Signature::from_slice(&raw).unwrap().to_der();
                format!(
                    "{header}.{payload}.{}",
                    Base64UrlUnpadded::encode_string(der.as_bytes())
                )
            },
            VoucherError::Signature,
        ),
    ] {
        assert_eq!(verify(&vouchers, &text, &place), refused(error), "{fault}");
    }
}
