//! Voucher tokens: what is taken, and what is not.

use attest::voucher::{Algorithm, Claims, KeyError, Signer, SignerError, VoucherError, Vouchers};
use attest::{AttestError, Attested, Attestor, Claim};
use base64ct::{Base64UrlUnpadded, Encoding};
use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use identity::wire::{Evidence, VoucherKey};
use identity::{Attributes, SpiffeId};
use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::support::{CSR_KEY, NOW, Place, openssl, rng};

fn signer(algorithm: Algorithm) -> Signer {
    Signer::generate("paris-1", algorithm, &mut rng(1)).unwrap()
}

fn vouchers(signer: &Signer) -> Vouchers {
    Vouchers::new(&[signer.voucher_key().unwrap()]).unwrap()
}

fn claims(place: &Place) -> Claims {
    let mut attributes = Attributes::new();
    attributes.insert("environment", "production").unwrap();
    attributes.insert("measurement", vec![0, 1, 255]).unwrap();
    Claims {
        site: place.site.clone(),
        audience: place.authority.clone(),
        subject: SpiffeId::parse("spiffe://acme.example/paris/ns/payments/sa/api").unwrap(),
        uid: "4b8f2c1e-6d33-4c55-9a1e-0b9a6d1c2f77".to_owned(),
        sequence: 7,
        issued_at: NOW,
        expires_at: NOW + 60,
        token_id: Claims::draw_token_id(&mut rng(2)),
        csr_key_sha256: CSR_KEY,
        attributes,
    }
}

fn evidence(token: &str) -> Evidence {
    Evidence::Voucher {
        token: Zeroizing::new(token.to_owned()),
    }
}

fn verify(vouchers: &Vouchers, token: &str, place: &Place) -> Result<Attested, AttestError> {
    vouchers.verify(&evidence(token), &place.context())
}

fn refused(error: VoucherError) -> Result<Attested, AttestError> {
    Err(AttestError::Voucher(error))
}

#[test]
fn both_algorithms_vouch_for_what_the_token_names() {
    let place = Place::new();
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let signer = signer(algorithm);
        let claims = claims(&place);
        let token = signer.sign(&claims, &mut rng(3)).unwrap();
        let attested = verify(&vouchers(&signer), &token, &place).unwrap();
        assert_eq!(
            attested.claim,
            Claim::Named {
                spiffe_id: claims.subject.clone(),
                attributes: claims.attributes.clone()
            }
        );
        assert_eq!(attested.subject.as_deref(), Some(claims.uid.as_str()));
        assert_eq!(attested.sequence, Some(7));
        let used = attested.single_use.unwrap();
        assert_eq!(
            used.expires_at,
            claims.expires_at + 2 * MAX_CLOCK_SKEW_SECONDS
        );
        assert_eq!((attested.lifetime, attested.clock_ahead), (None, Some(0)));
    }
}

#[test]
fn use_is_the_token_id_and_nothing_else() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let id = |claims: &Claims| {
        let token = signer.sign(claims, &mut rng(3)).unwrap();
        verify(&vouchers(&signer), &token, &place)
            .unwrap()
            .single_use
            .unwrap()
            .id
    };
    let one = claims(&place);
    let mut other = one.clone();
    other.sequence = 8;
    other.uid = "other".to_owned();
    assert_eq!(id(&one), id(&other));
    other.token_id = Claims::draw_token_id(&mut rng(9));
    assert_ne!(id(&one), id(&other));
}

#[test]
fn every_flipped_bit_is_refused() {
    let place = Place::new();
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let signer = signer(algorithm);
        let vouchers = vouchers(&signer);
        let token = signer.sign(&claims(&place), &mut rng(3)).unwrap();
        let mut tried = 0;
        for bit in 0..token.len() * 8 {
            let mut bent = token.as_bytes().to_vec();
            bent[bit / 8] ^= 1 << (bit % 8);
            let Ok(bent) = String::from_utf8(bent) else {
                continue;
            };
            tried += 1;
            assert!(
                verify(&vouchers, &bent, &place).is_err(),
                "taken, bit {bit} flipped: {bent}"
            );
        }
        assert!(tried > token.len() * 6, "{tried} tried");
    }
}

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

#[test]
fn claims_other_than_the_one_form_are_refused() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let vouchers = vouchers(&signer);
    let header = br#"{"alg":"ES256","kid":"paris-1","typ":"bfvoucher+jwt"}"#;
    let good = serde_json::to_value(claims(&place)).unwrap();
    let sign = |payload: &str| {
        let token = signer.sign_parts(header, payload.as_bytes(), &mut rng(3));
        verify(&vouchers, &token.unwrap(), &place)
    };
    assert!(sign(&good.to_string()).is_ok());
    let members: Vec<&String> = good.as_object().unwrap().keys().collect();
    assert_eq!(members.len(), 10);
    for member in members {
        let mut missing = good.clone();
        missing.as_object_mut().unwrap().remove(member);
        assert_eq!(
            sign(&missing.to_string()),
            refused(VoucherError::Claims),
            "{member} missing"
        );
        let twice = good.to_string().replacen(
            '{',
            &format!("{{\"{member}\":{},", good[member.as_str()]),
            1,
        );
        assert_eq!(
            sign(&twice),
            refused(VoucherError::Claims),
            "{member} twice"
        );
        for bad in [json!(null), json!([good[member.as_str()]]), json!(true)] {
            let mut other = good.clone();
            other[member.as_str()] = bad;
            assert_eq!(
                sign(&other.to_string()),
                refused(VoucherError::Claims),
                "{member} of another type"
            );
        }
    }
    let with = |member: &str, value: Value| {
        let mut other = good.clone();
        other[member] = value;
        sign(&other.to_string())
    };
    let hash = good["cnf"]["spki#S256"].clone();
    for (fault, member, value, error) in [
        ("unknown_member", "nbf", json!(NOW), VoucherError::Claims),
        (
            "lifetime_asked",
            "lifetime",
            json!(86400),
            VoucherError::Claims,
        ),
        (
            "aud_list",
            "aud",
            json!([place.authority]),
            VoucherError::Claims,
        ),
        (
            "aud_other",
            "aud",
            json!("spiffe://acme.example/other"),
            VoucherError::Audience,
        ),
        (
            "aud_other_domain",
            "aud",
            json!("spiffe://evil.example/identity-authority"),
            VoucherError::Audience,
        ),
        ("iss_other", "iss", json!("lyon"), VoucherError::Site),
        (
            "iss_authority",
            "iss",
            json!("identity-authority"),
            VoucherError::Claims,
        ),
        (
            "sub_other_site",
            "sub",
            json!("spiffe://acme.example/lyon/ns/a"),
            VoucherError::OutsideSite,
        ),
        (
            "sub_prefix_of_name",
            "sub",
            json!("spiffe://acme.example/paris2/ns/a"),
            VoucherError::OutsideSite,
        ),
        (
            "sub_site_itself",
            "sub",
            json!("spiffe://acme.example/paris"),
            VoucherError::OutsideSite,
        ),
        (
            "sub_domain_itself",
            "sub",
            json!("spiffe://acme.example"),
            VoucherError::OutsideSite,
        ),
        (
            "sub_other_domain",
            "sub",
            json!("spiffe://evil.example/paris/ns/a"),
            VoucherError::OutsideSite,
        ),
        (
            "sub_authority",
            "sub",
            json!("spiffe://acme.example/identity-authority"),
            VoucherError::OutsideSite,
        ),
        (
            "sub_dots",
            "sub",
            json!("spiffe://acme.example/paris/../lyon"),
            VoucherError::Claims,
        ),
        (
            "sub_percent",
            "sub",
            json!("spiffe://acme.example/paris/%2e%2e/lyon"),
            VoucherError::Claims,
        ),
        (
            "sub_empty_segment",
            "sub",
            json!("spiffe://acme.example/paris//a"),
            VoucherError::Claims,
        ),
        (
            "sub_capital_site",
            "sub",
            json!("spiffe://acme.example/Paris/a"),
            VoucherError::OutsideSite,
        ),
        (
            "sub_unicode",
            "sub",
            json!("spiffe://acme.example/p\u{430}ris/a"),
            VoucherError::Claims,
        ),
        ("uid_empty", "uid", json!(""), VoucherError::Uid),
        ("uid_long", "uid", json!("u".repeat(129)), VoucherError::Uid),
        ("uid_space", "uid", json!("a b"), VoucherError::Uid),
        ("uid_control", "uid", json!("a\u{0}"), VoucherError::Uid),
        ("uid_unicode", "uid", json!("\u{fc}"), VoucherError::Uid),
        ("seq_negative", "seq", json!(-1), VoucherError::Claims),
        ("seq_float", "seq", json!(7.0), VoucherError::Claims),
        ("seq_text", "seq", json!("7"), VoucherError::Claims),
        (
            "seq_greatest",
            "seq",
            json!(u64::MAX),
            VoucherError::Sequence,
        ),
        (
            "seq_over",
            "seq",
            json!(1_u64 << 53),
            VoucherError::Sequence,
        ),
        (
            "jti_short",
            "jti",
            json!("0123456789abcde"),
            VoucherError::TokenId,
        ),
        (
            "jti_long",
            "jti",
            json!("j".repeat(129)),
            VoucherError::TokenId,
        ),
        (
            "jti_slash",
            "jti",
            json!("0123456789abcdef/"),
            VoucherError::TokenId,
        ),
        (
            "exp_before_iat",
            "exp",
            json!(NOW - 1),
            VoucherError::Lifetime,
        ),
        ("exp_is_iat", "exp", json!(NOW), VoucherError::Lifetime),
        ("exp_61", "exp", json!(NOW + 61), VoucherError::Lifetime),
        (
            "exp_overflow",
            "exp",
            json!(u64::MAX),
            VoucherError::Lifetime,
        ),
        (
            "exp_float",
            "exp",
            json!(1.767_225_66e9),
            VoucherError::Claims,
        ),
        ("iat_zero", "iat", json!(0), VoucherError::Lifetime),
        ("cnf_empty", "cnf", json!({}), VoucherError::Claims),
        ("cnf_text", "cnf", hash.clone(), VoucherError::Claims),
        ("cnf_array", "cnf", json!([hash]), VoucherError::Claims),
        ("cnf_jkt", "cnf", json!({"jkt": hash}), VoucherError::Claims),
        (
            "cnf_two",
            "cnf",
            json!({"spki#S256": hash, "jkt": hash}),
            VoucherError::Claims,
        ),
        (
            "cnf_short",
            "cnf",
            json!({"spki#S256": "AAAA"}),
            VoucherError::Claims,
        ),
        (
            "cnf_padded",
            "cnf",
            json!({"spki#S256": format!("{}=", hash.as_str().unwrap())}),
            VoucherError::Claims,
        ),
        (
            "cnf_other",
            "cnf",
            json!({"spki#S256": Base64UrlUnpadded::encode_string(&[1; 32])}),
            VoucherError::OtherKey,
        ),
        (
            "instance_forged",
            "attributes",
            json!({"instance": "00"}),
            VoucherError::Instance,
        ),
        (
            "attribute_number",
            "attributes",
            json!({"a": 1}),
            VoucherError::Claims,
        ),
        (
            "attribute_key",
            "attributes",
            json!({"-": "x"}),
            VoucherError::Claims,
        ),
        (
            "attribute_control",
            "attributes",
            json!({"a": "\n"}),
            VoucherError::Claims,
        ),
    ] {
        assert_eq!(with(member, value), refused(error), "{fault}");
    }
    let text = good.to_string();
    for (fault, payload) in [
        ("empty", String::new()),
        ("array", json!([good]).to_string()),
        (
            "values_in_order",
            json!(good.as_object().unwrap().values().collect::<Vec<_>>()).to_string(),
        ),
        ("space_before", format!(" {text}")),
        ("trailing", format!("{text} x")),
        ("two", format!("{text}{text}")),
        (
            "member_escaped_twice",
            text.replacen('{', "{\"\\u0069ss\":\"paris\",", 1),
        ),
        (
            "cnf_member_twice",
            text.replace(
                "{\"spki#S256\":",
                &format!("{{\"spki#S256\":{hash},\"spki#S256\":"),
            ),
        ),
        (
            "attribute_twice",
            text.replace(
                "{\"environment\":",
                "{\"environment\":\"x\",\"environment\":",
            ),
        ),
        (
            "huge_number",
            text.replace(
                "\"seq\":7",
                "\"seq\":100000000000000000000000000000000000000000",
            ),
        ),
        ("exponent", text.replace("\"seq\":7", "\"seq\":7e0")),
        ("leading_zero", text.replace("\"seq\":7", "\"seq\":07")),
        (
            "deep",
            text.replace("\"seq\":7", &format!("\"seq\":{}", "[".repeat(5000))),
        ),
    ] {
        assert_ne!(payload, text, "{fault}");
        assert_eq!(sign(&payload), refused(VoucherError::Claims), "{fault}");
    }
    let mut bytes = text.into_bytes();
    bytes.push(0xff);
    let token = signer.sign_parts(header, &bytes, &mut rng(3)).unwrap();
    assert_eq!(
        verify(&vouchers, &token, &place),
        refused(VoucherError::Claims)
    );
}

#[test]
fn clocks_may_differ_by_five_minutes_and_it_is_told() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let vouchers = vouchers(&signer);
    let token = signer.sign(&claims(&place), &mut rng(3)).unwrap();
    let at = |now: u64| {
        let mut context = place.context();
        context.now = now;
        vouchers.verify(&evidence(&token), &context)
    };
    let skew = MAX_CLOCK_SKEW_SECONDS;
    assert_eq!(skew, 300);
    assert_eq!(at(NOW - skew).unwrap().clock_ahead, Some(300));
    assert_eq!(
        at(NOW - skew - 1),
        refused(VoucherError::FromTheFuture { ahead: 301 })
    );
    assert_eq!(at(NOW + 60 + skew - 1).unwrap().clock_ahead, Some(-359));
    assert_eq!(
        at(NOW + 60 + skew),
        refused(VoucherError::Expired { behind: 300 })
    );
    assert_eq!(
        at(u64::MAX),
        refused(VoucherError::Expired {
            behind: u64::MAX - NOW - 60
        })
    );
    assert!(matches!(
        at(0),
        Err(AttestError::Voucher(VoucherError::FromTheFuture { .. }))
    ));
}

#[test]
fn token_is_good_for_its_site_authority_and_key_only() {
    let place = Place::new();
    let signer = signer(Algorithm::Es256);
    let vouchers = vouchers(&signer);
    let token = signer.sign(&claims(&place), &mut rng(3)).unwrap();
    let site = identity::SiteName::parse("lyon").unwrap();
    let mut context = place.context();
    context.site = &site;
    assert_eq!(
        vouchers.verify(&evidence(&token), &context),
        refused(VoucherError::Site)
    );
    let authority = SpiffeId::parse("spiffe://acme.example/identity-authority-2").unwrap();
    let mut context = place.context();
    context.audience = &authority;
    assert_eq!(
        vouchers.verify(&evidence(&token), &context),
        refused(VoucherError::Audience)
    );
    let mut context = place.context();
    context.csr_key_sha256 = &[0; 32];
    assert_eq!(
        vouchers.verify(&evidence(&token), &context),
        refused(VoucherError::OtherKey)
    );
    let domain = identity::TrustDomain::parse("other.example").unwrap();
    let mut context = place.context();
    context.trust_domain = &domain;
    assert_eq!(
        vouchers.verify(&evidence(&token), &context),
        refused(VoucherError::OutsideSite)
    );
    assert_eq!(
        vouchers.verify(&Evidence::Unix {}, &place.context()),
        Err(AttestError::OtherKind("voucher"))
    );
}

#[test]
fn two_keys_overlap_and_a_third_is_unknown() {
    let place = Place::new();
    let signers: Vec<Signer> = ["one", "two", "three"]
        .into_iter()
        .enumerate()
        .map(|(seed, kid)| {
            Signer::generate(kid, Algorithm::Es384, &mut rng(seed as u64 + 10)).unwrap()
        })
        .collect();
    let keys: Vec<VoucherKey> = signers
        .iter()
        .map(|signer| signer.voucher_key().unwrap())
        .collect();
    let vouchers = Vouchers::new(&keys[..2]).unwrap();
    for (signer, good) in signers.iter().zip([true, true, false]) {
        let token = signer.sign(&claims(&place), &mut rng(3)).unwrap();
        assert_eq!(
            verify(&vouchers, &token, &place).is_ok(),
            good,
            "{}",
            signer.kid()
        );
    }
    // The name of one key and the signature of another.
    let thief = Signer::generate("one", Algorithm::Es384, &mut rng(99)).unwrap();
    let token = thief.sign(&claims(&place), &mut rng(3)).unwrap();
    assert_eq!(
        verify(&vouchers, &token, &place),
        refused(VoucherError::Signature)
    );
}

#[test]
fn keys_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = signer(Algorithm::Es256).voucher_key().unwrap();
    let key = |pem: &str| VoucherKey {
        kid: "a".to_owned(),
        public_key: pem.to_owned(),
    };
    let made = |algorithm: &[&str]| {
        let mut arguments = vec!["genpkey"];
        arguments.extend(algorithm);
        arguments.extend(["-out", "key.pem"]);
        openssl(folder.path(), &arguments);
        String::from_utf8(openssl(
            folder.path(),
            &["pkey", "-in", "key.pem", "-pubout"],
        ))
        .unwrap()
    };
    // Keys that OpenSSL makes are taken.
    for curve in ["P-256", "P-384"] {
        let pem = made(&[
            "-algorithm",
            "EC",
            "-pkeyopt",
            &format!("ec_paramgen_curve:{curve}"),
        ]);
        assert!(Vouchers::new(&[key(&pem)]).is_ok(), "{curve}");
    }
    let p521 = made(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]);
    let k256 = made(&[
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:secp256k1",
    ]);
    let rsa = made(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let ed25519 = made(&["-algorithm", "ED25519"]);
    let private = signer(Algorithm::Es256).expose_pem().unwrap();
    for (fault, pem) in [
        ("p521", p521.as_str()),
        ("secp256k1", &k256),
        ("rsa", &rsa),
        ("ed25519", &ed25519),
        ("private_key", &private),
        ("empty", ""),
        ("too_long", &" ".repeat(2000)),
    ] {
        assert_eq!(
            Vouchers::new(&[key(pem)]).unwrap_err(),
            KeyError::PublicKey,
            "{fault}"
        );
    }
    assert_eq!(Vouchers::new(&[]).unwrap_err(), KeyError::Count);
    assert_eq!(
        Vouchers::new(&vec![good.clone(); 9]).unwrap_err(),
        KeyError::Count
    );
    assert_eq!(
        Vouchers::new(&[good.clone(), good.clone()]).unwrap_err(),
        KeyError::Twice
    );
    for kid in ["", "a b", "a/b", &"k".repeat(65)] {
        let named = VoucherKey {
            kid: kid.to_owned(),
            ..good.clone()
        };
        assert_eq!(Vouchers::new(&[named]).unwrap_err(), KeyError::KeyId);
    }
}

#[test]
fn openssl_signs_tokens_that_are_taken() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    for (curve, digest, alg) in [("P-256", "-sha256", "ES256"), ("P-384", "-sha384", "ES384")] {
        let parameter = format!("ec_paramgen_curve:{curve}");
        openssl(
            folder.path(),
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                &parameter,
                "-out",
                "key.pem",
            ],
        );
        let public_key = openssl(folder.path(), &["pkey", "-in", "key.pem", "-pubout"]);
        let header = json!({"typ": "bfvoucher+jwt", "kid": "o", "alg": alg}).to_string();
        let payload = serde_json::to_string(&claims(&place)).unwrap();
        let signed = format!(
            "{}.{}",
            Base64UrlUnpadded::encode_string(header.as_bytes()),
            Base64UrlUnpadded::encode_string(payload.as_bytes())
        );
        std::fs::write(folder.path().join("signed"), &signed).unwrap();
        let der = openssl(
            folder.path(),
            &["dgst", digest, "-sign", "key.pem", "signed"],
        );
        let raw = match alg {
            "ES256" => p256::ecdsa::Signature::from_der(&der).unwrap().to_vec(),
            _ => p384::ecdsa::Signature::from_der(&der).unwrap().to_vec(),
        };
        let token = format!("{signed}.{}", Base64UrlUnpadded::encode_string(&raw));
        let vouchers = Vouchers::new(&[VoucherKey {
            kid: "o".to_owned(),
            public_key: String::from_utf8(public_key).unwrap(),
        }])
        .unwrap();
        assert!(verify(&vouchers, &token, &place).is_ok(), "{alg}");
    }
}

#[test]
fn signer_keeps_its_key_and_refuses_what_nobody_takes() {
    let place = Place::new();
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let signer = signer(algorithm);
        let again = Signer::from_pem("paris-1", &signer.expose_pem().unwrap()).unwrap();
        assert_eq!(again.algorithm(), algorithm);
        assert_eq!(again.voucher_key(), signer.voucher_key());
        let token = again.sign(&claims(&place), &mut rng(3)).unwrap();
        assert!(verify(&vouchers(&signer), &token, &place).is_ok());
    }
    let signer = signer(Algorithm::Es256);
    let mut long = claims(&place);
    long.expires_at = NOW + 61;
    assert_eq!(
        signer.sign(&long, &mut rng(3)),
        Err(SignerError::Claims(VoucherError::Lifetime))
    );
    assert_eq!(
        Signer::from_pem("a b", &signer.expose_pem().unwrap()).unwrap_err(),
        SignerError::KeyId
    );
    assert_eq!(
        Signer::from_pem("a", "-----BEGIN").unwrap_err(),
        SignerError::PrivateKey
    );
}

#[test]
fn debug_shows_no_secret() {
    let signer = signer(Algorithm::Es256);
    assert_eq!(format!("{signer:?}"), r#"Signer { kid: "paris-1", .. }"#);
    assert_eq!(
        format!("{:?}", evidence("ey.secret.token")),
        r#"Evidence { kind: "voucher", .. }"#
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_is_what_is_opened(
        sequence in 0..(1_u64 << 53),
        issued_at in 0..u64::MAX - 60,
        lifetime in 1..=60_u64,
        uid in "[A-Za-z0-9._:/-]{1,128}",
        token_id in "[A-Za-z0-9._-]{16,128}",
        key in any::<[u8; 32]>(),
        path in "(/[A-Za-z0-9_-]{1,20}){1,6}",
        texts in proptest::collection::btree_map("[a-z]{1,20}", "\\PC{0,60}", 0..8),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let place = Place::new();
        let mut attributes = Attributes::new();
        for (name, text) in texts {
            attributes.insert(&name, text).unwrap();
        }
        attributes.insert("b/bytes", bytes).unwrap();
        let claims = Claims {
            site: place.site.clone(),
            audience: place.authority.clone(),
            subject: SpiffeId::parse(&format!("spiffe://acme.example/paris{path}")).unwrap(),
            uid,
            sequence,
            issued_at,
            expires_at: issued_at + lifetime,
            token_id,
            csr_key_sha256: key,
            attributes,
        };
        let signer = signer(Algorithm::Es256);
        let token = signer.sign(&claims, &mut rng(5)).unwrap();
        prop_assert_eq!(vouchers(&signer).open(&token), Ok(claims));
    }

    #[test]
    fn arbitrary_text_is_refused(text in "\\PC{0,400}", parts in "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,90}") {
        let vouchers = vouchers(&signer(Algorithm::Es256));
        prop_assert!(vouchers.open(&text).is_err());
        prop_assert!(vouchers.open(&parts).is_err());
    }
}
