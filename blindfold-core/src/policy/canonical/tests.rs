//! What is canonical, what is refused and as what, and a comparison with another JSON library.

use proptest::prelude::*;

use super::*;

fn error(document: &str) -> PolicyError {
    CanonicalPolicy::parse(document.as_bytes()).unwrap_err()
}

#[test]
fn canonical_documents_are_taken_as_they_are() {
    for document in [
        r#"{"v":1}"#,
        r#"{"allow":[{"app":"web","site":"eu-*"}],"v":1}"#,
        r#"{"":-1,"a":[],"b":{},"v":false}"#,
        r#"{"v":9007199254740991,"w":-9007199254740991}"#,
        "{\"v\":\"\\b\\t\\n\\f\\r\\u0000\\u001f\\\"\\\\/\u{7f}\u{80}é€😀\"}",
    ] {
        assert_eq!(
            CanonicalPolicy::parse(document.as_bytes())
                .unwrap()
                .as_bytes(),
            document.as_bytes()
        );
    }
}

#[test]
fn members_stand_in_the_order_of_utf_16() {
    // U+FB33 lies above the surrogates that U+1F600 is written with, but below U+1F600 itself.
    assert!(CanonicalPolicy::parse("{\"v\":1,\"😀\":1,\"\u{fb33}\":1}".as_bytes()).is_ok());
    assert_eq!(
        error("{\"v\":1,\"\u{fb33}\":1,\"😀\":1}"),
        PolicyError::NotCanonical
    );
    assert_eq!(error(r#"{"v":1,"a":1}"#), PolicyError::NotCanonical);
}

#[test]
fn other_forms_of_the_same_values_are_not_canonical() {
    for document in [
        " {\"v\":1}",
        "{\"v\":1}\n",
        "{\"v\" :1}",
        "{\"v\":[1, 2]}",
        r#"{"v":-0}"#,
        r#"{"v":"\u0041"}"#,
        r#"{"v":"\/"}"#,
        r#"{"v":"\u001F"}"#,
        r#"{"v":"\u000a"}"#,
        r#"{"v":"\u00e9"}"#,
        r#"{"v":"\ud83d\ude00"}"#,
    ] {
        assert_eq!(error(document), PolicyError::NotCanonical, "{document}");
    }
}

#[test]
fn what_is_no_json_is_a_syntax_error() {
    for document in [
        "",
        "{",
        "}",
        "{\"v\"",
        "{\"v\":",
        "{\"v\":1",
        "{\"v\":1,",
        "{\"v\":1,}",
        "{v:1}",
        "{'v':1}",
        "[1,]",
        "[,1]",
        "{\"v\":1}}",
        "{\"v\":1} x",
        "{\"v\":01}",
        "{\"v\":-}",
        "{\"v\":+1}",
        "{\"v\":tru}",
        "{\"v\":True}",
        "{\"v\":\"\n\"}",
        "{\"v\":\"\\x\"}",
        "{\"v\":\"\\u12\"}",
        "{\"v\":\"\\u12é\"}",
        "{\"v\":\"\\ud800\"}",
        "{\"v\":\"\\ud800\\u0041\"}",
        "{\"v\":\"\\udc00\"}",
        "{\"v\":\"",
        "\u{feff}{\"v\":1}",
        "{\"v\":NaN}",
        "{\"v\":\"\\u+123\"}",
    ] {
        assert!(
            matches!(error(document), PolicyError::Syntax { .. }),
            "{document}: {:?}",
            error(document)
        );
    }
}

#[test]
fn excluded_values_are_refused() {
    for document in [
        r#"{"v":null}"#,
        r#"{"v":1.0}"#,
        r#"{"v":1e3}"#,
        r#"{"v":1E3}"#,
        r#"{"v":9007199254740992}"#,
        r#"{"v":-9007199254740992}"#,
        r#"{"v":99999999999999999999999}"#,
    ] {
        assert_eq!(
            error(document),
            PolicyError::Value { offset: 5 },
            "{document}"
        );
    }
}

#[test]
fn member_given_twice_is_refused() {
    assert_eq!(
        error(r#"{"v":1,"v":1}"#),
        PolicyError::DuplicateMember { offset: 13 }
    );
    assert_eq!(
        error(r#"{"a":{"b":1,"\u0062":2},"v":1}"#),
        PolicyError::DuplicateMember { offset: 23 }
    );
}

#[test]
fn top_is_an_object_with_a_version() {
    for document in [
        "{}",
        "[]",
        "1",
        "\"v\"",
        "true",
        r#"{"a":{"v":1}}"#,
        r#"["v"]"#,
    ] {
        assert_eq!(error(document), PolicyError::NoVersion, "{document}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| {
        format!(
            "{{\"v\":{}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
    };
    assert!(CanonicalPolicy::parse(nested(16).as_bytes()).is_ok());
    assert_eq!(error(&nested(17)), PolicyError::TooDeep { offset: 5 + 15 });
    assert_eq!(
        error(&"[".repeat(32 * 1024)),
        PolicyError::TooDeep { offset: 16 }
    );
}

#[test]
fn length_is_bounded() {
    let long = |len: usize| format!("{{\"v\":\"{}\"}}", "a".repeat(len - 8));
    assert_eq!(long(MAX_POLICY_BYTES).len(), MAX_POLICY_BYTES);
    assert!(CanonicalPolicy::parse(long(MAX_POLICY_BYTES).as_bytes()).is_ok());
    assert_eq!(error(&long(MAX_POLICY_BYTES + 1)), PolicyError::TooLarge);
}

#[test]
fn bytes_that_are_not_utf_8_are_refused() {
    assert_eq!(
        CanonicalPolicy::parse(b"{\"v\":\"\xff\"}").unwrap_err(),
        PolicyError::NotUtf8
    );
    // A surrogate in UTF-8.
    assert_eq!(
        CanonicalPolicy::parse(b"{\"v\":\"\xed\xa0\x80\"}").unwrap_err(),
        PolicyError::NotUtf8
    );
}

/// Any value of the restriction, for the other library.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let limit = (1_i64 << 53) - 1;
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        (-limit..=limit).prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            // Letters only: the other library orders members by bytes, which is the same order there.
            prop::collection::btree_map("[a-z]{0,3}", inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn another_library_writes_the_same_form(value in json()) {
        let document = serde_json::json!({ "a": value, "v": 1 });
        let compact = serde_json::to_string(&document).unwrap();
        let policy = CanonicalPolicy::parse(compact.as_bytes());
        prop_assert_eq!(policy.map(|policy| policy.document), Ok(compact.into_bytes()));
        // Written with white space it has the same values, and only the form is refused.
        let pretty = serde_json::to_string_pretty(&document).unwrap();
        prop_assert_eq!(error(&pretty), PolicyError::NotCanonical);
    }

    #[test]
    fn what_is_taken_is_json_to_another_library_too(text in "[\\[\\]{}\",:v0-9a\\\\u\\- ]{0,24}") {
        if let Ok(value) = decode::decode(&text) {
            let other: serde_json::Value = serde_json::from_str(&text).unwrap();
            let again: serde_json::Value = serde_json::from_str(&encode::encode(&value)).unwrap();
            prop_assert_eq!(other, again);
        }
    }

    #[test]
    fn decoding_ends_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = CanonicalPolicy::parse(&bytes);
    }
}
