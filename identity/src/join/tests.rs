use proptest::prelude::*;

use super::*;
use crate::attributes::{Attributes, INSTANCE};
use crate::limits::{MAX_ATTRIBUTES, MAX_JOIN_TOKEN_LIFETIME_SECONDS};
use crate::testing::{NOW, id, rng};

const URL: &str = "https://authority.acme.example:8443";

fn token() -> JoinToken {
    let authority = id("spiffe://acme.example/identity-authority");
    JoinToken::new(
        URL,
        authority,
        BundleFingerprint([7; 32]),
        JoinSecret::generate(&mut rng(1)),
    )
    .unwrap()
}

fn record() -> JoinTokenRecord {
    let secret = JoinSecret::generate(&mut rng(1));
    let workload = id("spiffe://acme.example/paris/api");
    JoinTokenRecord::new(&secret, workload, Attributes::new(), NOW, 600, &mut rng(2)).unwrap()
}

#[test]
fn text_round_trip() {
    let token = token();
    let text = token.expose_text();
    assert!(text.starts_with("bfjoin1:") && text.len() < 256);
    let again = JoinToken::parse(&text).unwrap();
    assert_eq!(again.authority_url(), URL);
    assert_eq!(again.authority_id(), token.authority_id());
    assert_eq!(again.bundle_fingerprint(), token.bundle_fingerprint());
    assert_eq!(again.secret().expose_bytes(), token.secret().expose_bytes());
    assert_eq!(again.expose_text(), text);
    assert_eq!(again.into_secret().hash(), token.secret().hash());
}

#[test]
fn any_changed_character_is_refused() {
    let text = token().expose_text().to_string();
    for index in 0..text.len() {
        for replacement in ["A", "b", "-", "=", " ", ""] {
            if &text[index..=index] != replacement {
                let bent = format!("{}{replacement}{}", &text[..index], &text[index + 1..]);
                assert!(JoinToken::parse(&bent).is_err(), "accepted: {bent}");
            }
        }
        assert!(
            JoinToken::parse(&text[..index]).is_err(),
            "accepted, cut to {index}"
        );
    }
    for bent in [
        format!("{text}A"),
        format!("{text}\n"),
        format!(" {text}"),
        text.to_uppercase(),
    ] {
        assert!(JoinToken::parse(&bent).is_err(), "accepted: {bent}");
    }
}

#[test]
fn mistakes_are_told_apart() {
    let text = token().expose_text().to_string();
    assert_eq!(
        JoinToken::parse("hello").unwrap_err(),
        JoinTokenError::Prefix
    );
    assert_eq!(
        JoinToken::parse(&text.replace("bfjoin1", "bfjoin2")).unwrap_err(),
        JoinTokenError::Prefix
    );
    assert_eq!(
        JoinToken::parse("bfjoin1:").unwrap_err(),
        JoinTokenError::Encoding
    );
    assert_eq!(
        JoinToken::parse(&format!("{text}\n")).unwrap_err(),
        JoinTokenError::Encoding
    );
    assert_eq!(
        JoinToken::parse(&"b".repeat(MAX_JOIN_TOKEN_BYTES + 1)).unwrap_err(),
        JoinTokenError::TooLong
    );
    let typo = text.replacen(
        &text[20..21],
        if &text[20..21] == "Q" { "R" } else { "Q" },
        1,
    );
    assert!(matches!(
        JoinToken::parse(&typo).unwrap_err(),
        JoinTokenError::Checksum | JoinTokenError::Encoding
    ));
}

/// A token with a right checksum and one wrong field.
#[test]
fn fields_are_checked_behind_the_checksum() {
    let build = |url: &str, spiffe_id: &str, tail: &[u8]| {
        let mut body = Vec::new();
        for text in [url, spiffe_id] {
            body.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        body.extend_from_slice(tail);
        let sum = checksum(&body);
        body.extend_from_slice(&sum);
        JoinToken::parse(&format!(
            "{PREFIX}{}",
            Base64UrlUnpadded::encode_string(&body)
        ))
    };
    let authority = "spiffe://acme.example/identity-authority";
    assert!(build(URL, authority, &[7; 64]).is_ok());
    assert_eq!(
        build(URL, authority, &[7; 63]).unwrap_err(),
        JoinTokenError::Encoding
    );
    assert_eq!(
        build(URL, authority, &[7; 65]).unwrap_err(),
        JoinTokenError::Encoding
    );
    assert_eq!(
        build("https://host/", authority, &[7; 64]).unwrap_err(),
        JoinTokenError::Url
    );
    assert_eq!(
        build("http://host", authority, &[7; 64]).unwrap_err(),
        JoinTokenError::Url
    );
    assert_eq!(
        build(URL, "spiffe://acme.example", &[7; 64]).unwrap_err(),
        JoinTokenError::AuthorityId
    );
    assert_eq!(
        build(URL, "acme", &[7; 64]).unwrap_err(),
        JoinTokenError::AuthorityId
    );
}

#[test]
fn urls() {
    let new = |url: &str| {
        let secret = JoinSecret::generate(&mut rng(1));
        JoinToken::new(url, id("spiffe://a/b"), BundleFingerprint([0; 32]), secret)
            .map(|token| token.authority_url)
    };
    for url in [
        "https://host",
        "https://host:8443",
        "https://127.0.0.1:1",
        "https://[::1]:8443",
        "https://a.b-c.example",
    ] {
        assert_eq!(new(url).as_deref(), Ok(url));
        assert_eq!(new(&format!("{url}/")).as_deref(), Ok(url));
    }
    let long = format!("https://{}", "h".repeat(MAX_AUTHORITY_URL_BYTES));
    for url in [
        "",
        "host",
        "http://host",
        "HTTPS://host",
        "https://Host",
        "https://",
        "https:///",
        "https://host//",
        "https://host/path",
        "https://host?q",
        "https://host#f",
        "https://user@host",
        "https://user:pw@host",
        "https://host:443",
        "https://host:",
        "https://host:99999",
        "https://host\n",
        "https://ho st",
        "file:///etc",
        "https://münchen.example",
        "https://%68ost",
        "https://0x7f.1",
        &long,
    ] {
        assert_eq!(new(url), Err(JoinTokenError::Url), "{url}");
    }
}

#[test]
fn redeemed_once_and_again_by_the_same_key_within_a_minute() {
    let mut record = record();
    let (key, other) = ([1; 32], [2; 32]);
    let Redemption::First(redeemed) = record.redeem(&key, NOW + 599) else {
        panic!("not redeemed")
    };
    assert_eq!(
        redeemed,
        Redeemed {
            csr_key_sha256: key,
            at: NOW + 599
        }
    );
    record.redeemed = Some(redeemed);
    for (seconds, outcome) in [
        (0, Redemption::Repeat),
        // After the token's own end, but within the minute.
        (60, Redemption::Repeat),
        (61, Redemption::Refused(RedemptionRefusal::AlreadyRedeemed)),
        (
            86_400,
            Redemption::Refused(RedemptionRefusal::AlreadyRedeemed),
        ),
    ] {
        assert_eq!(
            record.redeem(&key, NOW + 599 + seconds),
            outcome,
            "after {seconds} seconds"
        );
        assert_eq!(
            record.redeem(&other, NOW + 599 + seconds),
            Redemption::Refused(RedemptionRefusal::OtherKey)
        );
    }
    // The clock was set back.
    assert_eq!(record.redeem(&key, NOW + 539), Redemption::Repeat);
    let early = record.redeem(&key, NOW + 538);
    assert_eq!(
        early,
        Redemption::Refused(RedemptionRefusal::AlreadyRedeemed)
    );
}

#[test]
fn expired() {
    let record = record();
    for now in [NOW + 600, NOW + 601, u64::MAX] {
        assert_eq!(
            record.redeem(&[1; 32], now),
            Redemption::Refused(RedemptionRefusal::Expired)
        );
    }
}

#[test]
fn records_fix_everything_at_creation() {
    let record = record();
    assert_eq!(record.secret_hash, token().secret().hash());
    assert_eq!(record.expires_at, NOW + 600);
    assert!(record.attributes.text(INSTANCE).is_some());
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(
        serde_json::from_str::<JoinTokenRecord>(&json).unwrap(),
        record
    );
    assert!(
        serde_json::from_str::<JoinTokenRecord>(&json.replacen('{', "{\"more\":1,", 1)).is_err()
    );
    let secret_text = Base64UrlUnpadded::encode_string(token().secret().expose_bytes());
    assert!(
        !json.contains(&secret_text)
            && !json.contains(&hex::encode(token().secret().expose_bytes()))
    );
}

#[test]
fn records_refuse() {
    let secret = JoinSecret::generate(&mut rng(1));
    let new = |spiffe_id: &str, attributes: Attributes, lifetime| {
        JoinTokenRecord::new(
            &secret,
            id(spiffe_id),
            attributes,
            NOW,
            lifetime,
            &mut rng(2),
        )
    };
    let month = MAX_JOIN_TOKEN_LIFETIME_SECONDS;
    assert!(new("spiffe://a/b", Attributes::new(), month).is_ok());
    assert_eq!(
        new("spiffe://a/b", Attributes::new(), month + 1),
        Err(JoinTokenError::Lifetime)
    );
    assert_eq!(
        new("spiffe://a/b", Attributes::new(), 0),
        Err(JoinTokenError::Lifetime)
    );
    assert_eq!(
        new("spiffe://a", Attributes::new(), 1),
        Err(JoinTokenError::AuthorityId)
    );
    let mut given = Attributes::new();
    given.insert(INSTANCE, "mine").unwrap();
    let record = new("spiffe://a/b", given, 1).unwrap();
    let drawn = record.attributes.text(INSTANCE).unwrap();
    assert!(drawn != "mine" && drawn.len() == 32, "{drawn}");
    let mut full = Attributes::new();
    for index in 0..MAX_ATTRIBUTES {
        full.insert(&format!("k{index}"), "x").unwrap();
    }
    assert_eq!(
        new("spiffe://a/b", full, 1),
        Err(JoinTokenError::Attributes(AttributesError::TooMany))
    );
}

#[test]
fn debug_shows_no_secret() {
    let token = token();
    let shown = format!("{token:?} {:?}", token.secret());
    assert_eq!(
        shown,
        format!(
            "JoinToken {{ authority_url: \"{URL}\", authority_id: SpiffeId(spiffe://acme.example/identity-authority), \
             bundle: BundleFingerprint({}), .. }} JoinSecret {{ .. }}",
            "07".repeat(32)
        )
    );
}

#[test]
fn hashes_compare_and_print() {
    let (first, second) = (
        JoinSecret::generate(&mut rng(1)),
        JoinSecret::generate(&mut rng(2)),
    );
    assert_eq!(first.hash(), first.hash());
    assert_ne!(first.hash(), second.hash());
    assert_eq!(
        JoinSecretHash::from_bytes(*first.hash().as_bytes()),
        first.hash()
    );
    let expected: [u8; 32] = Sha256::digest(first.expose_bytes()).into();
    assert_eq!(first.hash().to_string(), hex::encode(expected));
}

proptest! {
    #[test]
    fn any_text_never_panics(text in "(bfjoin1:)?\\PC{0,300}") {
        let _ = JoinToken::parse(&text);
    }

    #[test]
    fn any_body_is_refused_or_canonical(mut body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let sum = checksum(&body);
        body.extend_from_slice(&sum);
        let text = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&body));
        if let Ok(token) = JoinToken::parse(&text) {
            prop_assert_eq!(&**token.expose_text(), text.as_str());
        }
    }

    #[test]
    fn parse_print_parse(host in "[a-z]{1,20}(\\.[a-z]{1,10}){0,3}", port in 1u16..443, secret in any::<[u8; 32]>(), pin in any::<[u8; 32]>()) {
        let url = format!("https://{host}:{port}");
        let secret = JoinSecret::from_bytes(&secret);
        let token = JoinToken::new(&url, id("spiffe://acme.example/identity-authority"), BundleFingerprint(pin), secret).unwrap();
        let again = JoinToken::parse(&token.expose_text()).unwrap();
        prop_assert_eq!(again.expose_text(), token.expose_text());
    }
}
