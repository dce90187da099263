use proptest::prelude::*;

use super::*;

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

#[test]
fn parts_of_an_id() {
    let id = id("spiffe://acme.example/paris/ns/payments/sa/api_V2.0-x");
    assert_eq!(id.trust_domain().as_str(), "acme.example");
    assert_eq!(id.path(), "/paris/ns/payments/sa/api_V2.0-x");
    assert_eq!(
        id.segments().collect::<Vec<_>>(),
        ["paris", "ns", "payments", "sa", "api_V2.0-x"]
    );
    assert_eq!(id.site(), Some("paris"));
    assert!(id.has_path());
    assert_eq!(id.to_string(), id.as_str());
}

#[test]
fn id_of_a_trust_domain() {
    let id = id("spiffe://acme.example");
    assert_eq!((id.path(), id.site(), id.has_path()), ("", None, false));
    assert_eq!(id.segments().count(), 0);
    let domain = TrustDomain::parse("acme.example").unwrap();
    assert_eq!(domain.spiffe_id(), id);
    assert_eq!(
        domain.identity_authority().as_str(),
        "spiffe://acme.example/identity-authority"
    );
    assert_eq!(
        SpiffeId::parse(domain.identity_authority().as_str()),
        Ok(domain.identity_authority())
    );
}

#[test]
fn canonical_form_only() {
    use SpiffeIdError as E;
    for (text, error) in [
        ("", E::Scheme),
        ("acme.example/a", E::Scheme),
        ("SPIFFE://acme.example/a", E::Scheme),
        ("Spiffe://acme.example/a", E::Scheme),
        ("spiffe:/acme.example/a", E::Scheme),
        ("https://acme.example/a", E::Scheme),
        (" spiffe://acme.example/a", E::Scheme),
        ("spiffe://", E::EmptyTrustDomain),
        ("spiffe:///a", E::EmptyTrustDomain),
        ("spiffe://Acme.example/a", E::TrustDomainCharacter),
        ("spiffe://acme.example:443/a", E::TrustDomainCharacter),
        ("spiffe://user@acme.example/a", E::TrustDomainCharacter),
        ("spiffe://user:pw@acme.example/a", E::TrustDomainCharacter),
        ("spiffe://[::1]/a", E::TrustDomainCharacter),
        ("spiffe://acme%2eexample/a", E::TrustDomainCharacter),
        ("spiffe://äcme.example/a", E::TrustDomainCharacter),
        ("spiffe://acme.example?q", E::TrustDomainCharacter),
        ("spiffe://acme.example#f", E::TrustDomainCharacter),
        ("spiffe://acme.example\\a", E::TrustDomainCharacter),
        ("spiffe://acme.example/", E::EmptySegment),
        ("spiffe://acme.example//", E::EmptySegment),
        ("spiffe://acme.example//a", E::EmptySegment),
        ("spiffe://acme.example/a//b", E::EmptySegment),
        ("spiffe://acme.example/a/", E::EmptySegment),
        ("spiffe://acme.example/.", E::DotSegment),
        ("spiffe://acme.example/..", E::DotSegment),
        ("spiffe://acme.example/a/./b", E::DotSegment),
        ("spiffe://acme.example/a/../b", E::DotSegment),
        ("spiffe://acme.example/%61", E::SegmentCharacter),
        ("spiffe://acme.example/a%2fb", E::SegmentCharacter),
        ("spiffe://acme.example/a?q=1", E::SegmentCharacter),
        ("spiffe://acme.example/a#f", E::SegmentCharacter),
        ("spiffe://acme.example/a b", E::SegmentCharacter),
        ("spiffe://acme.example/a\n", E::SegmentCharacter),
        ("spiffe://acme.example/a\0", E::SegmentCharacter),
        ("spiffe://acme.example/ä", E::SegmentCharacter),
        ("spiffe://acme.example/a:b", E::SegmentCharacter),
        ("spiffe://acme.example/*", E::SegmentCharacter),
        ("spiffe://acme.example/~a", E::SegmentCharacter),
    ] {
        assert_eq!(SpiffeId::parse(text), Err(error), "{text:?}");
    }
    // Three dots are an ordinary segment.
    assert!(SpiffeId::parse("spiffe://acme.example/...").is_ok());
    assert!(SpiffeId::parse("spiffe://1.2.3.4/A_b-c.9").is_ok());
}

#[test]
fn lengths() {
    let domain = "d".repeat(255);
    assert!(TrustDomain::parse(&domain).is_ok());
    assert_eq!(
        TrustDomain::parse(&format!("{domain}d")),
        Err(SpiffeIdError::TrustDomainTooLong)
    );
    let longest = format!("spiffe://{domain}/{}", "p".repeat(2048 - 9 - 255 - 1));
    assert_eq!(longest.len(), 2048);
    assert!(SpiffeId::parse(&longest).is_ok());
    assert_eq!(
        SpiffeId::parse(&format!("{longest}p")),
        Err(SpiffeIdError::TooLong)
    );
    assert!(SiteName::parse(&"s".repeat(63)).is_ok());
    assert_eq!(
        SiteName::parse(&"s".repeat(64)),
        Err(SpiffeIdError::SiteNameTooLong)
    );
}

#[test]
fn ids_from_segments() {
    let domain = TrustDomain::parse("acme.example").unwrap();
    let built = SpiffeId::from_segments(&domain, ["paris", "api"]).unwrap();
    assert_eq!(built, id("spiffe://acme.example/paris/api"));
    assert_eq!(SpiffeId::from_segments(&domain, []), Ok(domain.spiffe_id()));
    for (segment, error) in [
        ("", SpiffeIdError::EmptySegment),
        ("..", SpiffeIdError::DotSegment),
        ("a/b", SpiffeIdError::SegmentCharacter),
        ("a%2fb", SpiffeIdError::SegmentCharacter),
    ] {
        assert_eq!(
            SpiffeId::from_segments(&domain, ["paris", segment]),
            Err(error)
        );
    }
    let long = "x".repeat(1024);
    assert_eq!(
        SpiffeId::from_segments(&domain, [&*long, &*long]),
        Err(SpiffeIdError::TooLong)
    );
}

#[test]
fn within_a_prefix_by_segments() {
    let below = id("spiffe://acme.example/paris/api");
    for prefix in [
        "spiffe://acme.example",
        "spiffe://acme.example/paris",
        "spiffe://acme.example/paris/api",
    ] {
        assert!(below.is_within(&id(prefix)), "{prefix}");
    }
    for prefix in [
        "spiffe://acme",
        "spiffe://acme.example/par",
        "spiffe://acme.example/paris/ap",
        "spiffe://acme.example/paris/api/x",
        "spiffe://acme.example/api",
        "spiffe://acme.exampl",
    ] {
        assert!(!below.is_within(&id(prefix)), "{prefix}");
    }
}

#[test]
fn site_names() {
    assert_eq!(SiteName::parse("paris").unwrap().as_str(), "paris");
    assert_eq!(
        SiteName::parse("identity-authority"),
        Err(SpiffeIdError::ReservedSiteName)
    );
    assert_eq!(SiteName::parse("a/b"), Err(SpiffeIdError::SegmentCharacter));
    assert_eq!(SiteName::parse(""), Err(SpiffeIdError::EmptySegment));
    assert_eq!(SiteName::parse(".."), Err(SpiffeIdError::DotSegment));
}

#[test]
fn serde_goes_through_the_parser() {
    let id = id("spiffe://acme.example/paris");
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json, "\"spiffe://acme.example/paris\"");
    assert_eq!(serde_json::from_str::<SpiffeId>(&json).unwrap(), id);
    for text in ["\"spiffe://acme.example/\"", "\"\"", "7", "null"] {
        assert!(serde_json::from_str::<SpiffeId>(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<TrustDomain>("\"Acme\"").is_err());
    assert!(serde_json::from_str::<SiteName>("\"identity-authority\"").is_err());
}

#[test]
fn debug_names_the_type() {
    assert_eq!(
        format!("{:?}", id("spiffe://a/b")),
        "SpiffeId(spiffe://a/b)"
    );
}

proptest! {
    #[test]
    fn parse_print_parse(text in "spiffe://[a-z0-9._-]{1,40}(/[a-zA-Z0-9._-]{1,12}){0,6}") {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.as_str(), &text);
            prop_assert_eq!(SpiffeId::parse(&format!("{id}")), Ok(id.clone()));
            prop_assert_eq!(SpiffeId::from_segments(id.trust_domain(), id.segments()), Ok(id.clone()));
            prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
        } else {
            let dots = |segment: &str| segment == "." || segment == "..";
            prop_assert!(text.split('/').skip(3).any(dots));
        }
    }

    #[test]
    fn any_text_is_refused_or_canonical(text in "(spiffe://)?\\PC{0,60}") {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.as_str(), &text);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(!text.contains(['%', '?', '#', '@', '\\']));
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = SpiffeId::parse(&text);
        let _ = SpiffeId::parse(&format!("spiffe://{text}"));
        let _ = SpiffeId::parse(&format!("spiffe://a/{text}"));
        let _ = TrustDomain::parse(&text);
        let _ = SiteName::parse(&text);
    }
}
