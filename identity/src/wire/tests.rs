use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::document::DocumentKey;
use crate::join::JoinToken;
use crate::testing::{Realm, id, rng};

/// Changes one thing.
type Bend = fn(&mut Value);

fn csr() -> CsrDer {
    let mut rng = rng(1);
    CsrDer::new(DocumentKey::generate(&mut rng).csr_der(&mut rng).unwrap()).unwrap()
}

#[test]
fn join_request_round_trip() {
    let request = JoinRequest {
        token_secret: JoinSecret::generate(&mut rng(2)),
        csr: csr(),
    };
    let body = request.expose_json();
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        json.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["csr", "token_secret"]
    );
    let again: JoinRequest = parse_request(&body).unwrap();
    assert_eq!(again.token_secret.hash(), request.token_secret.hash());
    assert_eq!(again.csr, request.csr);
    assert!(again.csr.verify().is_ok());
}

#[test]
fn join_request_bent() {
    let request = JoinRequest {
        token_secret: JoinSecret::generate(&mut rng(2)),
        csr: csr(),
    };
    let good: Value = serde_json::from_slice(&request.expose_json()).unwrap();
    let faults: &[(&str, Bend)] = &[
        ("unknown_member", |json| json["more"] = json!(1)),
        ("no_csr", |json| {
            drop(json.as_object_mut().unwrap().remove("csr"))
        }),
        ("secret_short", |json| json["token_secret"] = json!("AAAA")),
        ("secret_padded", |json| {
            json["token_secret"] = json!(format!("{}=", "A".repeat(43)))
        }),
        ("secret_long", |json| {
            json["token_secret"] = json!("A".repeat(44))
        }),
        ("csr_not_base64", |json| json["csr"] = json!("*")),
        ("csr_too_long", |json| {
            json["csr"] = json!("A".repeat(MAX_CSR_BYTES * 2))
        }),
        ("csr_one_byte_too_long", |json| {
            json["csr"] = json!(Base64::encode_string(&vec![0; MAX_CSR_BYTES + 1]))
        }),
    ];
    for (fault, bend) in faults {
        let mut json = good.clone();
        bend(&mut json);
        let refused = parse_request::<JoinRequest>(json.to_string().as_bytes()).unwrap_err();
        assert!(matches!(refused, WireError::Json(_)), "{fault}");
    }
}

#[test]
fn debug_and_errors_show_no_secret() {
    let secret = JoinSecret::generate(&mut rng(2));
    let text = Base64UrlUnpadded::encode_string(secret.expose_bytes());
    let request = JoinRequest {
        token_secret: secret,
        csr: csr(),
    };
    assert!(format!("{request:?}").contains("token_secret: JoinSecret { .. }"));
    let bad = format!("{{\"token_secret\":\"{text}x\",\"csr\":\"\"}}");
    let refused = parse_request::<JoinRequest>(bad.as_bytes()).unwrap_err();
    let shown = format!("{refused} {refused:?}");
    assert!(!shown.contains(&text), "{shown}");
}

#[test]
fn document_response_round_trip() {
    let realm = Realm::acme();
    let document = realm.document(&realm.request(), 1);
    let response = DocumentResponse::new(document.chain(), realm.bundle.clone());
    let again: DocumentResponse = parse_response(&serde_json::to_vec(&response).unwrap()).unwrap();
    assert_eq!(again.bundle, realm.bundle);
    let key = DocumentKey::from_pem(&document.key().expose_pem().unwrap()).unwrap();
    assert!(crate::IdentityDocument::from_chain_pem(&again.document, key).is_ok());
}

#[test]
fn token_response_round_trip() {
    let secret = JoinSecret::generate(&mut rng(2));
    let authority = id("spiffe://acme.example/identity-authority");
    let token = JoinToken::new(
        "https://[::1]:8443",
        authority,
        Realm::acme().bundle.fingerprint(),
        secret,
    )
    .unwrap();
    let text = token.expose_text();
    let request = JoinRequest::new(&token, csr());
    assert_eq!(request.token_secret.hash(), token.secret().hash());
    let response = CreateTokenResponse {
        token,
        expires_at: 77,
    };
    let again: CreateTokenResponse = parse_response(&response.expose_json()).unwrap();
    assert_eq!(
        (again.token.expose_text(), again.expires_at),
        (text.clone(), 77)
    );
    assert!(!format!("{again:?}").contains(&text[60..]));
    assert!(
        parse_response::<CreateTokenResponse>(b"{\"token\":\"bfjoin1:\",\"expires_at\":1}")
            .is_err()
    );
    let long = format!(
        "{{\"token\":\"{}\",\"expires_at\":1}}",
        "b".repeat(MAX_JOIN_TOKEN_BYTES + 1)
    );
    assert!(parse_response::<CreateTokenResponse>(long.as_bytes()).is_err());
}

#[test]
fn admin_bodies() {
    let site = json!({
        "name": "paris",
        "rules": {
            "spiffe_id_prefix": "spiffe://acme.example/paris/ns",
            "attributes": {"environment": ["production", "test"], "pod": []},
            "max_lifetime_seconds": 3600,
            "issues_per_minute": 60
        }
    });
    let request: CreateSiteRequest = parse_request(site.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&request).unwrap(), site);
    let listed = SiteList {
        sites: vec![Site {
            name: request.name,
            rules: request.rules,
            disabled: true,
        }],
    };
    let again: SiteList = parse_response(&serde_json::to_vec(&listed).unwrap()).unwrap();
    assert_eq!(again, listed);
    let token = r#"{"spiffe_id":"spiffe://acme.example/paris/api","lifetime_seconds":600}"#;
    let request: CreateTokenRequest = parse_request(token.as_bytes()).unwrap();
    assert!(request.attributes.is_empty() && request.document_lifetime_seconds.is_none());
    for bad in [
        r#"{"name":"paris"}"#,
        r#"{"name":"identity-authority","rules":{}}"#,
        r#"{"spiffe_id":"spiffe://acme.example/paris/","lifetime_seconds":600}"#,
        r#"{"spiffe_id":"spiffe://acme.example/paris","lifetime_seconds":-1}"#,
        r#"{"spiffe_id":"spiffe://acme.example/paris","lifetime_seconds":1,"more":1}"#,
    ] {
        assert!(
            parse_request::<CreateSiteRequest>(bad.as_bytes()).is_err(),
            "{bad}"
        );
        assert!(
            parse_request::<CreateTokenRequest>(bad.as_bytes()).is_err(),
            "{bad}"
        );
    }
    assert_eq!(
        disable_site_path(&SiteName::parse("paris").unwrap()),
        "/v1/admin/sites/paris/disable"
    );
}

#[test]
fn error_codes_are_stable() {
    for (code, text, status) in [
        (ErrorCode::BadRequest, "bad_request", 400),
        (ErrorCode::BadCsr, "bad_csr", 400),
        (ErrorCode::Unauthenticated, "unauthenticated", 401),
        (ErrorCode::Denied, "denied", 403),
        (ErrorCode::NotFound, "not_found", 404),
        (ErrorCode::Conflict, "conflict", 409),
        (ErrorCode::RateLimited, "rate_limited", 429),
        (ErrorCode::Internal, "internal", 500),
        (ErrorCode::Unavailable, "unavailable", 503),
    ] {
        assert_eq!((code.as_str(), code.http_status()), (text, status));
        let body = ErrorBody::new(code, "try again");
        let json = serde_json::to_string(&body).unwrap();
        assert_eq!(
            json,
            format!("{{\"error\":\"{text}\",\"message\":\"try again\"}}")
        );
        assert_eq!(parse_response::<ErrorBody>(json.as_bytes()).unwrap(), body);
    }
}

#[test]
fn error_messages_are_bounded_and_printed_safely() {
    let body = ErrorBody::new(ErrorCode::Denied, "ä".repeat(MAX_WIRE_MESSAGE_BYTES));
    assert_eq!(body.message.len(), MAX_WIRE_MESSAGE_BYTES);
    let body = ErrorBody {
        error: ErrorCode::Denied,
        message: "no\u{1b}[2J\n".to_owned(),
    };
    assert_eq!(body.to_string(), "denied: no\\u{1b}[2J\\n");
}

#[test]
fn bodies_are_bounded() {
    let spaces = vec![b' '; MAX_WIRE_REQUEST_BYTES + 1];
    let refused = parse_request::<RenewRequest>(&spaces).unwrap_err();
    assert!(matches!(
        refused,
        WireError::TooLong {
            limit: MAX_WIRE_REQUEST_BYTES
        }
    ));
    let spaces = vec![b' '; MAX_WIRE_RESPONSE_BYTES + 1];
    assert!(matches!(
        parse_response::<ErrorBody>(&spaces).unwrap_err(),
        WireError::TooLong { .. }
    ));
}

proptest! {
    #[test]
    fn any_body_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_request::<JoinRequest>(&body);
        let _ = parse_request::<RenewRequest>(&body);
        let _ = parse_request::<CreateSiteRequest>(&body);
        let _ = parse_request::<CreateTokenRequest>(&body);
        let _ = parse_response::<DocumentResponse>(&body);
    }
}
