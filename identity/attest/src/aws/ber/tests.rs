//! Trees of values, their bounds, and definite forms.

use proptest::prelude::*;

use super::*;

#[test]
fn indefinite_lengths_and_pieces_come_out_definite() {
    // SEQUENCE { INTEGER 1, OCTET STRING in two pieces }, both of indefinite length.
    let indefinite = [
        0x30, 0x80, 0x02, 0x01, 0x01, 0x24, 0x80, 0x04, 0x02, b'a', b'b', 0x04, 0x01, b'c', 0, 0,
        0, 0,
    ];
    let value = Value::parse(&indefinite).unwrap();
    let [integer, octets] = value.children(SEQUENCE).unwrap() else {
        panic!("two values");
    };
    assert_eq!(integer.bytes(INTEGER), Some(&[1][..]));
    assert_eq!(octets.octets(), Some(b"abc".to_vec()));
    assert_eq!(
        value.encode(),
        [
            0x30, 0x0c, 0x02, 0x01, 0x01, 0x24, 0x07, 0x04, 0x02, b'a', b'b', 0x04, 0x01, b'c'
        ]
    );
}

#[test]
fn malformed_values_are_refused() {
    for (fault, bytes) in [
        ("empty", &[][..]),
        ("no_length", &[0x30]),
        ("cut", &[0x30, 0x03, 0x02, 0x01]),
        ("trailing", &[0x05, 0x00, 0x00]),
        ("end_of_contents_as_value", &[0x00, 0x00]),
        ("long_tag", &[0x3f, 0x81, 0x00, 0x00]),
        ("indefinite_primitive", &[0x04, 0x80, 0x00, 0x00]),
        ("indefinite_without_end", &[0x30, 0x80, 0x05, 0x00]),
        (
            "end_across_borders",
            &[0x30, 0x04, 0x30, 0x80, 0x05, 0x00, 0x00, 0x00],
        ),
        ("length_of_five_bytes", &[0x04, 0x85, 0, 0, 0, 0, 1, 0]),
        ("length_over_the_end", &[0x04, 0x84, 0xff, 0xff, 0xff, 0xff]),
    ] {
        assert_eq!(Value::parse(bytes), None, "{fault}");
    }
}

#[test]
fn depth_and_number_are_bounded() {
    let nested = |depth: usize| [[0x30, 0x80].repeat(depth), [0, 0].repeat(depth)].concat();
    assert!(Value::parse(&nested(MAX_BER_DEPTH + 1)).is_some());
    assert!(Value::parse(&nested(MAX_BER_DEPTH + 2)).is_none());
    let wide = |count: usize| [vec![0x30, 0x80], [0x05, 0x00].repeat(count), vec![0, 0]].concat();
    assert!(Value::parse(&wide(MAX_BER_NODES - 1)).is_some());
    assert!(Value::parse(&wide(MAX_BER_NODES)).is_none());
}

#[test]
fn sets_are_encoded_in_ascending_order() {
    let bytes = [
        0x31, 0x80, 0x04, 0x01, 9, 0x02, 0x01, 1, 0x04, 0x01, 8, 0, 0,
    ];
    let value = Value::parse(&bytes).unwrap();
    assert_eq!(
        encode_set_of(value.children(SET).unwrap()),
        [0x31, 0x09, 0x02, 0x01, 1, 0x04, 0x01, 8, 0x04, 0x01, 9]
    );
}

proptest! {
    #[test]
    fn definite_form_is_parsed_as_the_same_value(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Some(value) = Value::parse(&bytes) {
            let definite = value.encode();
            prop_assert_eq!(Value::parse(&definite), Some(value));
            prop_assert!(definite.len() <= bytes.len());
        }
    }

    #[test]
    fn long_contents_survive(length in 0_usize..70_000) {
        let content = vec![7; length];
        let value = Value { tag: OCTET_STRING, content: Content::Primitive(&content) };
        let encoded = value.encode();
        let value = Value::parse(&encoded);
        prop_assert_eq!(value.and_then(|value| value.octets()), Some(content.clone()));
    }
}
