use proptest::prelude::*;

use super::*;
use crate::testing::rng;

fn two() -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert("b", vec![0xff, 0]).unwrap();
    attributes.insert("a", "x").unwrap();
    attributes
}

/// Annotated bytes of version 1: if this fails, change the code.
#[test]
fn golden_der() {
    let der = b"\
        \x30\x11\
          \x30\x06 \x0c\x01a \x0c\x01x\
          \x30\x07 \x0c\x01b \x04\x02\xff\x00";
    let der: Vec<u8> = der.iter().copied().filter(|&byte| byte != b' ').collect();
    assert_eq!(two().to_der(), der);
    assert_eq!(Attributes::from_der(&der), Ok(two()));
    assert_eq!(Attributes::new().to_der(), [0x30, 0]);
    assert_eq!(Attributes::from_der(&[0x30, 0]), Ok(Attributes::new()));
}

#[test]
fn object_identifier_is_the_uuid() {
    let [first, rest @ ..] = EXTENSION_OID;
    assert_eq!(first, 2 * 40 + 25);
    let arc = rest
        .iter()
        .fold(0u128, |arc, byte| (arc << 7) | u128::from(byte & 0x7f));
    assert_eq!(arc, 0x7c77_7983_f892_4a35_a79c_0b7c_6220_6a93);
    assert_eq!(EXTENSION_OID_TEXT, format!("2.25.{arc}"));
    // Every octet but the last goes on.
    assert!(rest.iter().rev().skip(1).all(|byte| byte & 0x80 != 0) && rest[18] & 0x80 == 0);
}

#[test]
fn one_set_has_one_encoding() {
    for (fault, der, error) in [
        ("empty_input", &b""[..], AttributesError::Encoding),
        ("trailing_byte", b"\x30\x00\x00", AttributesError::Encoding),
        (
            "long_form_length",
            b"\x30\x81\x00",
            AttributesError::Encoding,
        ),
        (
            "indefinite_length",
            b"\x30\x80\x00\x00",
            AttributesError::Encoding,
        ),
        (
            "set_instead_of_sequence",
            b"\x31\x00",
            AttributesError::Encoding,
        ),
        (
            "keys_falling",
            b"\x30\x10\x30\x06\x0c\x01b\x0c\x01x\x30\x06\x0c\x01a\x0c\x01x",
            AttributesError::Order,
        ),
        (
            "key_twice",
            b"\x30\x10\x30\x06\x0c\x01a\x0c\x01x\x30\x06\x0c\x01a\x0c\x01y",
            AttributesError::Duplicate,
        ),
        (
            "key_printable_string",
            b"\x30\x08\x30\x06\x13\x01a\x0c\x01x",
            AttributesError::Encoding,
        ),
        (
            "value_printable_string",
            b"\x30\x08\x30\x06\x0c\x01a\x13\x01x",
            AttributesError::Encoding,
        ),
        (
            "value_integer",
            b"\x30\x08\x30\x06\x0c\x01a\x02\x01\x01",
            AttributesError::Encoding,
        ),
        (
            "value_constructed_octets",
            b"\x30\x0a\x30\x08\x0c\x01a\x24\x03\x04\x01x",
            AttributesError::Encoding,
        ),
        (
            "value_missing",
            b"\x30\x05\x30\x03\x0c\x01a",
            AttributesError::Encoding,
        ),
        (
            "third_member",
            b"\x30\x0b\x30\x09\x0c\x01a\x0c\x01x\x0c\x01y",
            AttributesError::Encoding,
        ),
        (
            "text_not_utf8",
            b"\x30\x08\x30\x06\x0c\x01a\x0c\x01\xff",
            AttributesError::Encoding,
        ),
        (
            "text_overlong_utf8",
            b"\x30\x09\x30\x07\x0c\x01a\x0c\x02\xc0\x80",
            AttributesError::Encoding,
        ),
        (
            "text_with_newline",
            b"\x30\x08\x30\x06\x0c\x01a\x0c\x01\n",
            AttributesError::ControlCharacter,
        ),
        (
            "text_with_nul",
            b"\x30\x08\x30\x06\x0c\x01a\x0c\x01\0",
            AttributesError::ControlCharacter,
        ),
        (
            "empty_key",
            b"\x30\x07\x30\x05\x0c\x00\x0c\x01x",
            AttributesError::Key,
        ),
        (
            "key_with_space",
            b"\x30\x08\x30\x06\x0c\x01 \x0c\x01x",
            AttributesError::Key,
        ),
        (
            "length_past_the_end",
            b"\x30\x09\x30\x06\x0c\x01a\x0c\x01x",
            AttributesError::Encoding,
        ),
    ] {
        assert_eq!(Attributes::from_der(der), Err(error), "{fault}");
    }
}

#[test]
fn keys() {
    let insert = |key: &str| Attributes::new().insert(key, "x");
    for key in [
        "a",
        "A9",
        "instance",
        "app.kubernetes.io/name",
        "a_b-c.d/e",
        &"k".repeat(317),
    ] {
        assert_eq!(insert(key), Ok(()), "{key}");
    }
    for key in [
        "",
        ".a",
        "a.",
        "-a",
        "a/",
        "a b",
        "a=b",
        "a,b",
        "!a",
        "ä",
        "a\n",
        &"k".repeat(318),
    ] {
        assert_eq!(insert(key), Err(AttributesError::Key), "{key}");
    }
}

#[test]
fn values() {
    let mut attributes = Attributes::new();
    attributes.insert("text", "Zürich, 日本").unwrap();
    attributes.insert("empty", "").unwrap();
    attributes.insert("none", vec![]).unwrap();
    assert_eq!(
        attributes.insert("tab", "a\tb"),
        Err(AttributesError::ControlCharacter)
    );
    assert_eq!(
        attributes.insert("c1", "a\u{85}b"),
        Err(AttributesError::ControlCharacter)
    );
    assert_eq!(attributes.text("text"), Some("Zürich, 日本"));
    assert_eq!(attributes.text("none"), None);
    assert!(attributes.contains_key("none") && !attributes.contains_key("tab"));
    assert_eq!(Attributes::from_der(&attributes.to_der()), Ok(attributes));
}

#[test]
fn at_most_sixty_four() {
    let mut attributes = Attributes::new();
    for index in 0..64 {
        attributes.insert(&format!("k{index}"), "x").unwrap();
    }
    assert_eq!(
        attributes.insert("one-more", "x"),
        Err(AttributesError::TooMany)
    );
    assert_eq!(
        attributes.insert("k0", "y"),
        Err(AttributesError::Duplicate)
    );
    assert_eq!(attributes.text("k0"), Some("x"));
    assert_eq!(Attributes::from_der(&attributes.to_der()), Ok(attributes));
    // Sixty-five of them in DER, each `SEQUENCE { "kNN", "" }`.
    let entries: Vec<u8> = (10..75)
        .flat_map(|index| {
            [
                &b"\x30\x07\x0c\x03k"[..],
                index.to_string().as_bytes(),
                b"\x0c\x00",
            ]
            .concat()
        })
        .collect();
    let length = u16::try_from(entries.len()).unwrap().to_be_bytes();
    let der = [&[0x30, 0x82][..], &length, &entries].concat();
    assert_eq!(Attributes::from_der(&der), Err(AttributesError::TooMany));
}

#[test]
fn at_most_eight_kibibytes() {
    let mut attributes = Attributes::new();
    // Two headers of four bytes, the entry's, the key's three, and the value's four.
    let most = MAX_ATTRIBUTES_DER_BYTES - 4 - 4 - 3 - 4;
    assert_eq!(
        attributes.insert("a", vec![0; most + 1]),
        Err(AttributesError::TooLong)
    );
    assert!(attributes.is_empty());
    attributes.insert("a", vec![0; most]).unwrap();
    let der = attributes.to_der();
    assert_eq!(der.len(), MAX_ATTRIBUTES_DER_BYTES);
    assert_eq!(Attributes::from_der(&der), Ok(attributes.clone()));
    assert_eq!(attributes.insert("b", ""), Err(AttributesError::TooLong));
    assert_eq!(attributes.len(), 1);
    assert_eq!(
        Attributes::from_der(&[&der[..], &[0]].concat()),
        Err(AttributesError::TooLong)
    );
    assert_eq!(
        Attributes::new().insert("a", "x".repeat(1 << 20)),
        Err(AttributesError::TooLong)
    );
}

#[test]
fn every_instance_has_its_own() {
    let mut rng = rng(1);
    let mut attributes = two();
    attributes.set_new_instance(&mut rng).unwrap();
    let first = attributes.text(INSTANCE).unwrap().to_owned();
    assert!(first.len() == 32 && first.bytes().all(|byte| byte.is_ascii_hexdigit()));
    attributes.set_new_instance(&mut rng).unwrap();
    assert_ne!(attributes.text(INSTANCE), Some(&*first));
    assert_eq!(attributes.len(), 3);
    let mut full = Attributes::new();
    for index in 0..64 {
        full.insert(&format!("k{index}"), "x").unwrap();
    }
    let before = full.clone();
    assert_eq!(
        full.set_new_instance(&mut rng),
        Err(AttributesError::TooMany)
    );
    assert_eq!(full, before);
}

#[test]
fn json_form() {
    let json = r#"{"a":"x","b":{"binary":"/wA="}}"#;
    assert_eq!(serde_json::to_string(&two()).unwrap(), json);
    assert_eq!(serde_json::from_str::<Attributes>(json).unwrap(), two());
    for bad in [
        r#"{"a":"x","a":"y"}"#,
        r#"{"a":1}"#,
        r#"{"a":null}"#,
        r#"{"a":["x"]}"#,
        r#"{"a":{"binary":"/wA"}}"#,
        r#"{"a":{"binary":"_wA="}}"#,
        r#"{"a":{"binary":"/wA=","more":1}}"#,
        r#"{"a b":"x"}"#,
        r#"{"a":"x\ny"}"#,
        r#"[]"#,
    ] {
        assert!(serde_json::from_str::<Attributes>(bad).is_err(), "{bad}");
    }
}

#[test]
fn debug_form() {
    assert_eq!(
        format!("{:?}", two()),
        r#"Attributes { entries: {"a": "x", "b": 0xff00}, withheld: false }"#
    );
}

fn value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        "[^\\x00-\\x1f\\x7f-\\x9f]{0,40}".prop_map(AttributeValue::Text),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(AttributeValue::Binary),
    ]
}

proptest! {
    #[test]
    fn parse_print_parse(entries in proptest::collection::btree_map("[A-Za-z0-9]([A-Za-z0-9._/-]{0,20}[A-Za-z0-9])?", value(), 0..70)) {
        let mut attributes = Attributes::new();
        for (key, value) in &entries {
            match attributes.insert(key, value.clone()) {
                Ok(()) => prop_assert_eq!(attributes.get(key), Some(value)),
                Err(error) => prop_assert!(matches!(error, AttributesError::TooMany | AttributesError::TooLong)),
            }
        }
        let der = attributes.to_der();
        prop_assert!(der.len() <= MAX_ATTRIBUTES_DER_BYTES);
        prop_assert_eq!(Attributes::from_der(&der), Ok(attributes.clone()));
        let json = serde_json::to_string(&attributes).unwrap();
        prop_assert_eq!(serde_json::from_str::<Attributes>(&json).unwrap(), attributes);
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(der in proptest::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(attributes) = Attributes::from_der(&der) {
            prop_assert_eq!(attributes.to_der(), der);
        }
    }

    #[test]
    fn any_changed_byte_is_refused_or_canonical(index in 0usize..100, flip in 1u8..) {
        let mut attributes = two();
        attributes.insert("environment", "production").unwrap();
        attributes.insert("measurement", vec![1; 40]).unwrap();
        let mut der = attributes.to_der();
        let index = index % der.len();
        der[index] ^= flip;
        if let Ok(bent) = Attributes::from_der(&der) {
            prop_assert_eq!(bent.to_der(), der);
            prop_assert_ne!(bent, attributes);
        }
    }
}
