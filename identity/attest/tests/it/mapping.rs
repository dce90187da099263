//! Facts become a SPIFFE ID and attributes, and never another one.

use std::collections::BTreeMap;

use attest::mapping::{Mapping, MappingError, TemplateError};
use identity::{Attributes, SpiffeIdError, wire};
use proptest::prelude::*;

use crate::support::Place;

const KNOWN: &[&str] = &["a", "b_2", "instance_id"];

fn compile(spiffe_id: &str, attributes: &[(&str, &str)]) -> Result<Mapping, TemplateError> {
    let place = Place::new();
    let source = wire::Mapping {
        spiffe_id: spiffe_id.to_owned(),
        attributes: attributes
            .iter()
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
            .collect::<BTreeMap<_, _>>(),
    };
    Mapping::compile(&place.site, &place.domain, &source, |fact| {
        KNOWN.contains(&fact)
    })
}

fn facts(facts: &[(&str, &str)]) -> Attributes {
    let mut all = Attributes::new();
    for (name, value) in facts {
        all.insert(name, *value).unwrap();
    }
    all
}

#[test]
fn facts_fill_their_places() {
    let mapping = compile(
        "spiffe://acme.example/paris/host/{instance_id}/x-{a}.{b_2}",
        &[
            ("zone", "{a}"),
            ("note", "from {a} and {b_2}"),
            ("fixed", "yes"),
        ],
    )
    .unwrap();
    let found = facts(&[("instance_id", "i-12"), ("a", "A"), ("b_2", "b")]);
    let (spiffe_id, attributes) = mapping.apply(&found).unwrap();
    assert_eq!(
        spiffe_id.as_str(),
        "spiffe://acme.example/paris/host/i-12/x-A.b"
    );
    assert_eq!(
        attributes,
        facts(&[("zone", "A"), ("note", "from A and b"), ("fixed", "yes")])
    );
}

#[test]
fn templates_that_could_leave_the_site_do_not_compile() {
    let outside = || TemplateError::OutsideSite("spiffe://acme.example/paris/".to_owned());
    for text in [
        "",
        "{a}",
        "spiffe://{a}/paris/x",
        "spiffe://acme.example/{a}/x",
        "spiffe://acme.example/paris{a}",
        "spiffe://acme.example/paris",
        "spiffe://acme.example/paris/",
        "spiffe://acme.example/lyon/x",
        "spiffe://evil.example/paris/x",
        "SPIFFE://acme.example/paris/x",
    ] {
        assert_eq!(compile(text, &[]).unwrap_err(), outside(), "{text:?}");
    }
    let base = "spiffe://acme.example/paris/";
    for (below, error) in [
        ("{a", TemplateError::Braces("{a".to_owned())),
        ("a}", TemplateError::Braces("a}".to_owned())),
        ("{}", TemplateError::Braces("{}".to_owned())),
        ("{A}", TemplateError::Braces("{A}".to_owned())),
        ("{a{b_2}}", TemplateError::Braces("{a{b_2}}".to_owned())),
        ("}{a}", TemplateError::Braces("}{a}".to_owned())),
        // A fact across a slash is two halves of braces.
        ("{a/b_2}", TemplateError::Braces("{a".to_owned())),
        (
            "{unknown}",
            TemplateError::UnknownFact("unknown".to_owned()),
        ),
        ("x//y", TemplateError::SpiffeId(SpiffeIdError::EmptySegment)),
        ("x/", TemplateError::SpiffeId(SpiffeIdError::EmptySegment)),
        ("..", TemplateError::SpiffeId(SpiffeIdError::DotSegment)),
        (
            "x/./{a}",
            TemplateError::SpiffeId(SpiffeIdError::DotSegment),
        ),
        (
            "%2e{a}",
            TemplateError::SpiffeId(SpiffeIdError::SegmentCharacter),
        ),
        (
            "{a}?",
            TemplateError::SpiffeId(SpiffeIdError::SegmentCharacter),
        ),
    ] {
        assert_eq!(
            compile(&format!("{base}{below}"), &[]).unwrap_err(),
            error,
            "{below:?}"
        );
    }
    assert_eq!(
        compile(&format!("{base}{}", "x".repeat(2048)), &[]).unwrap_err(),
        TemplateError::TooLong
    );
    assert_eq!(
        compile(&format!("{base}{}", "{a}".repeat(17)), &[]).unwrap_err(),
        TemplateError::TooLong
    );
    for key in ["instance", "", "-", "a b"] {
        assert_eq!(
            compile(&format!("{base}x"), &[(key, "v")]).unwrap_err(),
            TemplateError::AttributeKey(key.to_owned())
        );
    }
    let many: Vec<String> = (0..64).map(|i| format!("k{i}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "v")).collect();
    assert_eq!(
        compile(&format!("{base}x"), &many).unwrap_err(),
        TemplateError::TooManyAttributes
    );
}

#[test]
fn facts_that_do_not_fit_refuse_the_evidence() {
    let mapping = compile("spiffe://acme.example/paris/{a}", &[("k", "{b_2}")]).unwrap();
    let apply = |a: &str, b: &str| mapping.apply(&facts(&[("a", a), ("b_2", b)]));
    assert!(apply("x", "anything at all: /{}").is_ok());
    for bad in ["a/b", "/", "%2f", "a b", "\u{e9}", "a:b", "{b_2}", "*"] {
        assert_eq!(
            apply(bad, "x"),
            Err(MappingError::Characters("a".to_owned())),
            "{bad:?}"
        );
    }
    for bad in [".", ".."] {
        assert_eq!(
            apply(bad, "x"),
            Err(MappingError::SpiffeId(SpiffeIdError::DotSegment))
        );
    }
    assert_eq!(apply("", "x"), Err(MappingError::Absent("a".to_owned())));
    assert_eq!(apply("x", ""), Err(MappingError::Absent("b_2".to_owned())));
    assert_eq!(
        mapping.apply(&facts(&[("a", "x")])),
        Err(MappingError::Absent("b_2".to_owned()))
    );
    assert_eq!(
        apply(&"x".repeat(2048), "x"),
        Err(MappingError::SpiffeId(SpiffeIdError::TooLong))
    );
    let mut binary = facts(&[("a", "x")]);
    binary.insert("b_2", vec![1]).unwrap();
    assert_eq!(
        mapping.apply(&binary),
        Err(MappingError::Absent("b_2".to_owned()))
    );
}

#[test]
fn what_a_fact_holds_is_never_a_template() {
    let mapping = compile(
        "spiffe://acme.example/paris/x",
        &[("k", "{a}"), ("l", "{b_2}")],
    )
    .unwrap();
    let (_, attributes) = mapping
        .apply(&facts(&[("a", "{b_2}"), ("b_2", "{a}")]))
        .unwrap();
    assert_eq!(attributes, facts(&[("k", "{b_2}"), ("l", "{a}")]));
}

proptest! {
    #[test]
    fn no_fact_changes_site_or_number_of_segments(a in "\\PC{0,30}", b in "[./a%-]{0,8}", c in any::<String>()) {
        let mapping = compile("spiffe://acme.example/paris/{a}/y{b_2}/{instance_id}z", &[("k", "{a}")]).unwrap();
        let mut found = Attributes::new();
        for (name, value) in [("a", a), ("b_2", b), ("instance_id", c)] {
            let _ = found.insert(name, value);
        }
        if let Ok((spiffe_id, _)) = mapping.apply(&found) {
            prop_assert_eq!(spiffe_id.segments().count(), 4);
            prop_assert_eq!(spiffe_id.site(), Some("paris"));
            prop_assert_eq!(identity::SpiffeId::parse(spiffe_id.as_str()), Ok(spiffe_id.clone()));
        }
    }

    #[test]
    fn compiling_never_panics_and_stays_in_the_site(text in "[a-z{}/._%-]{0,40}", key in "\\PC{0,12}", value in "[a{}b_2]{0,12}") {
        if let Ok(mapping) = compile(&format!("spiffe://acme.example/paris/{text}"), &[(&key, &value)]) {
            let found = facts(&[("a", "q"), ("b_2", "r"), ("instance_id", "s")]);
            if let Ok((spiffe_id, attributes)) = mapping.apply(&found) {
                prop_assert_eq!(spiffe_id.site(), Some("paris"));
                prop_assert_eq!(attributes.len(), 1);
            }
        }
    }
}
