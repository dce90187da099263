use proptest::prelude::*;

use super::super::json;
use super::*;

fn canonical(text: &str) -> String {
    write(&json::read(text).unwrap_or_else(|error| panic!("{text}: {error}")))
}

/// RFC 8785, section 3.2.3: the sorting example, with its names and their order.
#[test]
fn names_are_sorted_by_utf16_code_units() {
    let input = r#"{
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\ud83d\ude00": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let sorted = "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
                  \"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\
                  \"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}";
    assert_eq!(canonical(input), sorted);
}

/// RFC 8785, section 3.2.2: the string and literals of the serialization example.
#[test]
fn strings_and_literals_are_written_as_in_the_rfc() {
    let input = r#"{ "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] }"#;
    let written =
        "{\"literals\":[null,true,false],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
    assert_eq!(canonical(input), written);
}

#[test]
fn every_control_has_its_escape_and_nothing_else_has_one() {
    let all: String = ('\0'..='\u{ff}')
        .chain(['\u{2028}', '\u{feff}', '\u{10ffff}'])
        .collect();
    let node = Node::new(super::super::error::Mark::START, Value::Text(all.clone()));
    let written = write(&node);
    let head = concat!(
        r"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f\u0010\u0011",
        r"\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f !",
        "\\\"#",
    );
    let tail = all.trim_start_matches(|c: char| c <= '#');
    assert_eq!(written, format!("\"{head}{}\"", tail.replace('\\', r"\\")));
    assert_eq!(
        json::read(&written).unwrap().value,
        Value::Text(all.clone())
    );
    // A second opinion on the escapes.
    assert_eq!(serde_json::from_str::<String>(&written).unwrap(), all);
    assert_eq!(serde_json::to_string(&all).unwrap(), written);
}

#[test]
fn integers_are_written_in_full() {
    for text in ["0", "-1", "9007199254740991", "-9007199254740991"] {
        assert_eq!(canonical(text), text);
    }
}

/// The inline and the digest case of PBSEAL's draft vectors hold one policy (`kem_and_evaluate[0]` and `[2]` of
/// `pbseal-v1-draft.json`); the other value was worked out with Python's hashlib.
#[test]
fn digest_is_the_specifications() {
    for (document, expected) in [
        (
            r#"{"allow":[{"app":"web","site":"eu-*"}],"v":1}"#,
            "9788dd3c61a4ad9b6ca89d5a5f3daef3d62555c3c9d37b774b25111119621c3b5736f440dafae4e9dd0adcf74948239d",
        ),
        (
            "{}",
            "1dcc1e3bcca9edf76d64785737da98563da3014409c5ea0ac9e7f08abffcf5982aa3353de57f9786591070758197504f",
        ),
    ] {
        assert_eq!(canonical(document), document);
        assert_eq!(hex::encode(digest(document.as_bytes())), expected);
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-(1_i64 << 53) + 1..1 << 53).prop_map(Into::into),
        ".*".prop_map(|text: String| text.into()),
    ];
    leaf.prop_recursive(6, 48, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            proptest::collection::hash_map("\\PC{0,3}", inner, 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_form_keeps_the_value_and_is_its_own(value in any_json()) {
        let compact = canonical(&serde_json::to_string(&value).unwrap());
        let pretty = canonical(&serde_json::to_string_pretty(&value).unwrap());
        prop_assert_eq!(&compact, &pretty);
        prop_assert_eq!(&canonical(&compact), &compact);
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&compact).unwrap(), value);
    }
}
