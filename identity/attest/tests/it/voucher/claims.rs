//! Claims that are signed well, and are no token's.

use attest::voucher::{Algorithm, VoucherError};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use super::{claims, refused, signer, verify, vouchers};
use crate::support::{NOW, Place, rng};

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
