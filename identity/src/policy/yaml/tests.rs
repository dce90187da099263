use proptest::prelude::*;

use super::super::{canonical, json};
use super::*;

fn refusal(text: &str) -> String {
    match read(text) {
        Ok(node) => panic!("{text:?} gave {node:?}"),
        Err(error) => error.to_string(),
    }
}

/// The value in JSON, with scalars without quotes as texts.
fn value(text: &str) -> String {
    canonical::write(&read(text).unwrap_or_else(|error| panic!("{text:?}: {error}")))
}

#[test]
fn styles_of_yaml_are_read() {
    for (text, expected) in [
        ("a: b", r#"{"a":"b"}"#),
        ("---\na: b\n...\n", r#"{"a":"b"}"#),
        ("# c\n\na: b # c\n# c", r#"{"a":"b"}"#),
        ("a: [b, 'c', \"d\"]\n", r#"{"a":["b","c","d"]}"#),
        (
            "a:\n- b\n- c: d\n  e: f\n",
            r#"{"a":["b",{"c":"d","e":"f"}]}"#,
        ),
        ("{a: b, c: {d: e}}", r#"{"a":"b","c":{"d":"e"}}"#),
        (
            "{\"a\":1,\"b\":[true,null]}",
            r#"{"a":"1","b":["true","null"]}"#,
        ),
        ("a: >-\n  b\n  c\n", r#"{"a":"b c"}"#),
        ("a: |\n  b\n  c\n", r#"{"a":"b\nc\n"}"#),
        ("a: b\n  c\n", r#"{"a":"b c"}"#),
        ("a: 'it''s'\n", r#"{"a":"it's"}"#),
        ("a: \"\\u20ac\\x41\\n\"\n", r#"{"a":"€A\n"}"#),
        ("? a\n: b\n", r#"{"a":"b"}"#),
        ("a:\nb: ~\n", r#"{"a":"","b":"~"}"#),
        ("a: b\r\nc: d\r\n", r#"{"a":"b","c":"d"}"#),
        (
            "a: {not_before: 2026-01-01T00:00:00Z, not_after: 2027-01-01T00:00:00Z}",
            r#"{"a":{"not_after":"2027-01-01T00:00:00Z","not_before":"2026-01-01T00:00:00Z"}}"#,
        ),
        (
            "a: environment=production,tier in (gold,silver),!quarantined",
            r#"{"a":"environment=production,tier in (gold,silver),!quarantined"}"#,
        ),
        (
            "a: spiffe://acme.example/paris/ns/payments/sa/api    # c",
            r#"{"a":"spiffe://acme.example/paris/ns/payments/sa/api"}"#,
        ),
        (
            "a: spiffe://acme.example/*/ns/**",
            r#"{"a":"spiffe://acme.example/*/ns/**"}"#,
        ),
        ("50%: 100%\n", r#"{"50%":"100%"}"#),
        ("- a\n- - b\n  - c\n", r#"["a",["b","c"]]"#),
        ("a", r#""a""#),
    ] {
        assert_eq!(value(text), expected, "{text:?}");
    }
}

#[test]
fn quotes_tell_texts_from_scalars_without_type() {
    assert_eq!(read("1").unwrap().value, Value::Plain("1".to_owned()));
    assert_eq!(read("'1'").unwrap().value, Value::Text("1".to_owned()));
    assert_eq!(read("\"1\"").unwrap().value, Value::Text("1".to_owned()));
    assert_eq!(read("|-\n  1").unwrap().value, Value::Text("1".to_owned()));
}

#[test]
fn places_are_those_of_the_text() {
    let node = read("# c\né: x\nrules:\n  - name: \"é\"\n    effect: allow\n").unwrap();
    let mark = |line, column| Mark { line, column };
    let Value::Object(members) = &node.value else {
        panic!("{node:?}")
    };
    assert_eq!(
        (node.mark, members[0].mark, members[0].node.mark),
        (mark(2, 1), mark(2, 1), mark(2, 4))
    );
    let Value::List(rules) = &members[1].node.value else {
        panic!("{members:?}")
    };
    let Value::Object(rule) = &rules[0].value else {
        panic!("{rules:?}")
    };
    assert_eq!(
        (rules[0].mark, rule[0].node.mark, rule[1].mark),
        (mark(4, 5), mark(4, 11), mark(5, 5))
    );
    assert_eq!(rule[1].node.mark, mark(5, 13));
}

#[test]
fn what_policies_do_not_have_is_refused_in_its_place() {
    for (text, expected) in [
        ("", "line 1, column 1: document: document is empty"),
        ("# c\n", "line 2, column 1: document: document is empty"),
        ("a: &x b", "line 1, column 4: a: anchor"),
        ("a: &x [b]", "line 1, column 4: a: anchor"),
        ("a: &x {b: c}", "line 1, column 4: a: anchor"),
        ("&x a: b", "line 1, column 1: document: anchor"),
        ("a: b\nc: *a", "line 2, column 4: c: alias"),
        ("a: &x b\nc: *x", "line 1, column 4: a: anchor"),
        ("a: *", "line 1, column 4: a: alias"),
        ("a: **", "line 1, column 4: a: alias"),
        ("a: */b", "line 1, column 4: a: alias"),
        ("*a: b", "line 1, column 1: document: alias"),
        ("a: !!str b", "line 1, column 4: a: tag"),
        ("a: !b c", "line 1, column 4: a: tag"),
        ("a: !quarantined", "line 1, column 4: a: tag"),
        ("a: !quarantined,environment=x", "line 1, column 4: a: "),
        ("a: ! b", "line 1, column 4: a: tag"),
        ("!!map {a: b}", "line 1, column 1: document: tag"),
        ("a: !<tag:yaml.org,2002:str> b", "line 1, column 4: a: tag"),
        ("!!str a: b", "line 1, column 1: document: tag"),
        (
            "%YAML 1.1\n---\na: no",
            "line 1, column 1: document: line begins with a directive",
        ),
        (
            "%TAG ! tag:x,2026:\n---\na: b",
            "line 1, column 1: document: line begins with a directive",
        ),
        (
            "a: b\n---\nc: d",
            "line 2, column 1: document: a second document follows",
        ),
        (
            "a: b\n...\n---\n",
            "line 3, column 1: document: a second document follows",
        ),
        ("a: b\n<<: {c: d}", "line 2, column 1: <<: merge key"),
        ("a: b\n'<<': {c: d}", "line 2, column 1: <<: merge key"),
        (
            "a: b\na: c",
            "line 2, column 1: a: member \"a\" occurs twice, first on line 1",
        ),
        (
            "a: b\n\"a\": c",
            "line 2, column 1: a: member \"a\" occurs twice, first on line 1",
        ),
        (
            "x: {a: b, a: c}",
            "line 1, column 11: x.a: member \"a\" occurs twice, first on line 1",
        ),
        (
            "r:\n- a: 1\n  b: 2\n  a: 3",
            "line 4, column 3: r[0].a: member \"a\" occurs twice, first on line 2",
        ),
        (
            "? [a]\n: b",
            "line 1, column 3: document: name of a member is no text",
        ),
        (
            "? {a: b}\n: c",
            "line 1, column 3: document: name of a member is no text",
        ),
        (
            "[a, b]: c",
            "line 1, column 1: document: name of a member is no text",
        ),
        (
            "a: b: c",
            "line 1, column 5: document: no YAML: mapping values are not allowed",
        ),
        (
            "a: [b",
            "line 2, column 1: a[1]: no YAML: while parsing a flow sequence",
        ),
        ("a: 'b", "line 1, column 4: a: no YAML"),
        ("a:\n\tb: c", "line 2, column 2: a: no YAML"),
        (
            "a: b\n c: d",
            "line 2, column 3: document: no YAML: mapping values",
        ),
        (
            "a: @b",
            "line 1, column 4: a: no YAML: unexpected character",
        ),
        (
            "a: `b`",
            "line 1, column 4: a: no YAML: unexpected character",
        ),
        ("a: \u{7}", "line 1, column 4: document: control character"),
        ("a: \"\0\"", "line 1, column 5: document: control character"),
        (
            "a: b\u{7f}",
            "line 1, column 5: document: control character",
        ),
        (
            "\u{feff}a: b",
            "line 1, column 1: document: policy begins with a byte order mark",
        ),
        ("a: b\n\u{feff}c: d", "line 2, column 1: document: no YAML"),
    ] {
        let error = refusal(text);
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
}

#[test]
fn refusals_of_what_people_do_by_mistake_name_the_remedy() {
    for (text, remedy) in [
        ("resource: **", "begins with * or &"),
        ("selector: !quarantined", "begins with ! in quotes"),
        (
            "selector: !quarantined,environment=production",
            "begins with ! in quotes",
        ),
        ("a:\n\t- b", "indent with spaces"),
        (
            "name: payments: production",
            "put a text that holds \": \" in quotes",
        ),
    ] {
        let error = refusal(text);
        assert!(error.contains(remedy), "{text:?}: {error}");
    }
}

#[test]
fn members_of_one_object_are_bounded() {
    let members = |number: usize| {
        let members: Vec<String> = (0..number)
            .map(|number| format!("\"{number}\": 1"))
            .collect();
        format!("{{{}}}", members.join(", "))
    };
    assert!(read(&members(64)).is_ok());
    assert!(refusal(&members(65)).contains("64: over 64 members in one object"));
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(read(&nested(16)).is_ok());
    assert!(refusal(&nested(17)).contains("over 16 levels"));
    // The parser's own bound may come first, when brackets are many on one line.
    refusal(&"[".repeat(32_768));
    refusal(&"{a: ".repeat(8_192));
    refusal(&"- ".repeat(16_384));
    refusal(&"? ".repeat(16_384));
    assert!(read(&format!("a: b{}", " ".repeat(32_764))).is_ok());
    assert!(refusal(&format!("a: b{}", " ".repeat(32_765))).contains("over 32768"));
}

/// Words and signs that YAML is made of.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        ": ",
        "? ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "#",
        " ",
        "&x ",
        "*x ",
        "!t ",
        "!!str ",
        "<<: ",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "\\u0041",
        "\\",
        "\t",
        "\r\n",
        "é",
        "~",
        "v: 1",
        "rules:",
        "|2\n",
        "\u{85}",
        "\u{2028}",
        "@",
        "`",
        "%",
        "\u{feff}",
    ]);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn yaml_like_text_never_panics(text in yaml_like()) {
        let _ = read(&text);
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = read(&text);
    }

    /// JSON is YAML, also to this reader: the same values, but for the types of scalars.
    #[test]
    fn json_means_the_same_in_yaml(members in proptest::collection::btree_map("[ -~]{1,8}", proptest::collection::vec("[ -~é€\n]{0,12}", 0..4), 1..4)) {
        prop_assume!(!members.contains_key("<<"));
        for text in [serde_json::to_string(&members).unwrap(), serde_json::to_string_pretty(&members).unwrap()] {
            prop_assert_eq!(value(&text), canonical::write(&json::read(&text).unwrap()));
        }
    }
}
