use proptest::prelude::*;

use super::*;

fn refusal(text: &str) -> String {
    match read(text) {
        Ok(node) => panic!("{text:?} gave {node:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn values_are_read_with_their_places() {
    let node = read("{\n  \"a\": [1,\r\n \"x\\n\"],\t\"é\": null}").unwrap();
    let Value::Object(members) = &node.value else {
        panic!("{node:?}")
    };
    let places: Vec<_> = members
        .iter()
        .map(|member| (member.mark, member.node.mark))
        .collect();
    let mark = |line, column| Mark { line, column };
    assert_eq!(
        places,
        [(mark(2, 3), mark(2, 8)), (mark(3, 10), mark(3, 15))]
    );
    let Value::List(entries) = &members[0].node.value else {
        panic!("{members:?}")
    };
    assert_eq!(entries[0], Node::new(mark(2, 9), Value::Integer(1)));
    assert_eq!(
        entries[1],
        Node::new(mark(3, 2), Value::Text("x\n".to_owned()))
    );
    assert_eq!(members[1].node.value, Value::Null);
}

#[test]
fn escapes_are_read() {
    for (text, value) in [
        (r#""""#, ""),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u0041\u00e9\u20AC\ud83D\uDe00\u0000""#, "Aé€😀\0"),
        ("\"\u{7f}\u{2028}é😀\"", "\u{7f}\u{2028}é😀"),
    ] {
        assert_eq!(
            read(text).unwrap().value,
            Value::Text(value.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_json_is_refused_in_its_place() {
    for (text, expected) in [
        (
            "",
            "line 1, column 1: document: document ends where a value is expected",
        ),
        (
            " ",
            "line 1, column 2: document: document ends where a value is expected",
        ),
        (
            "{} {}",
            "line 1, column 4: document: \"{\" stands where the end is expected",
        ),
        (
            "{}x",
            "line 1, column 3: document: \"x\" stands where the end is expected",
        ),
        (
            "{}\n,",
            "line 2, column 1: document: \",\" stands where the end is expected",
        ),
        (
            "{\"a\":1,}",
            "line 1, column 8: document: \"}\" stands where a name in double quotes is expected",
        ),
        (
            "{a:1}",
            "line 1, column 2: document: \"a\" stands where a name in double quotes is expected",
        ),
        (
            "{'a':1}",
            "line 1, column 2: document: \"\\'\" stands where a name in double quotes is expected",
        ),
        (
            "{\"a\" 1}",
            "line 1, column 6: a: \"1\" stands where a colon is expected",
        ),
        (
            "{\"a\":}",
            "line 1, column 6: a: \"}\" stands where a value is expected",
        ),
        (
            "{\"a\":1 \"b\":2}",
            "line 1, column 8: document: \"\\\"\" stands where a comma or '}' is expected",
        ),
        (
            "{\"a\":[1,]}",
            "line 1, column 9: a[1]: \"]\" stands where a value is expected",
        ),
        (
            "{\"a\":[1 2]}",
            "line 1, column 9: a: \"2\" stands where a comma or ']' is expected",
        ),
        (
            "{\"a\":[1",
            "line 1, column 8: a: document ends where a comma or ']' is expected",
        ),
        (
            "{\"a\":{\"b\":[{\"c\":!}]}}",
            "line 1, column 17: a.b[0].c: \"!\" stands where a value is expected",
        ),
        (
            "// c\n{}",
            "line 1, column 1: document: \"/\" stands where a value is expected",
        ),
        (
            "{/**/}",
            "line 1, column 2: document: \"/\" stands where a name in double quotes is expected",
        ),
        (
            "[True]",
            "line 1, column 2: [0]: \"T\" stands where a value is expected",
        ),
        (
            "[truex]",
            "line 1, column 2: [0]: \"truex\" is no JSON value",
        ),
        ("[nul]", "line 1, column 2: [0]: \"nul\" is no JSON value"),
        (
            "\u{feff}{}",
            "line 1, column 1: document: policy begins with a byte order mark",
        ),
        (
            "\u{a0}{}",
            "line 1, column 1: document: \"\\u{a0}\" stands where a value is expected",
        ),
        (
            "{\"a\":1,\"a\":1}",
            "line 1, column 8: a: member \"a\" occurs twice, first on line 1",
        ),
        (
            "{\"a\":1,\n\"\\u0061\":1}",
            "line 2, column 1: a: member \"a\" occurs twice, first on line 1",
        ),
        (
            "\"a",
            "line 1, column 3: document: document ends within a string",
        ),
        (
            "\"a\nb\"",
            "line 1, column 3: document: string holds a control character",
        ),
        (
            "\"\t\"",
            "line 1, column 2: document: string holds a control character",
        ),
        (
            "\"\0\"",
            "line 1, column 2: document: string holds a control character",
        ),
        (r#""\x""#, "line 1, column 2: document: unknown escape"),
        (r#""\'""#, "line 1, column 2: document: unknown escape"),
        (r#""\u12g4""#, "line 1, column 2: document: unknown escape"),
        (r#""\u12"#, "line 1, column 2: document: unknown escape"),
        (r#""\"#, "line 1, column 2: document: unknown escape"),
        (
            r#""ab\ud800""#,
            "line 1, column 4: document: lone surrogate",
        ),
        (
            r#""\ud800\n""#,
            "line 1, column 2: document: lone surrogate",
        ),
        (
            r#""\ud800\ud800""#,
            "line 1, column 2: document: lone surrogate",
        ),
        (r#""\udc00""#, "line 1, column 2: document: lone surrogate"),
        (
            "01",
            "line 1, column 1: document: number without digits or with a leading zero",
        ),
        (
            "-",
            "line 1, column 1: document: number without digits or with a leading zero",
        ),
        (
            "-01",
            "line 1, column 1: document: number without digits or with a leading zero",
        ),
        (
            "+1",
            "line 1, column 1: document: \"+\" stands where a value is expected",
        ),
        (
            ".5",
            "line 1, column 1: document: \".\" stands where a value is expected",
        ),
        (
            "1.0",
            "line 1, column 1: document: number with a fraction or exponent",
        ),
        (
            "1e0",
            "line 1, column 1: document: number with a fraction or exponent",
        ),
        (
            "1E0",
            "line 1, column 1: document: number with a fraction or exponent",
        ),
        (
            "-0",
            "line 1, column 1: document: number beyond what every JSON reader holds exactly, or -0",
        ),
        (
            "9007199254740992",
            "line 1, column 1: document: number beyond what every JSON reader holds exactly, or -0",
        ),
        (
            "-9007199254740992",
            "line 1, column 1: document: number beyond what every JSON reader holds exactly, or -0",
        ),
        (
            "99999999999999999999999",
            "line 1, column 1: document: number beyond what every JSON reader holds exactly",
        ),
        (
            "0x1",
            "line 1, column 2: document: \"x\" stands where the end is expected",
        ),
        (
            "NaN",
            "line 1, column 1: document: \"N\" stands where a value is expected",
        ),
    ] {
        let error = refusal(text);
        assert!(error.starts_with(expected), "{text:?}: {error}");
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
    assert!(refusal(&"[".repeat(32_768)).contains("over 16 levels"));
    assert!(refusal(&"{\"a\":".repeat(6_000)).contains("over 16 levels"));
    assert!(read(&format!("1{}", " ".repeat(32_767))).is_ok());
    assert!(refusal(&format!("1{}", " ".repeat(32_768))).contains("over 32768"));
}

/// `serde_json`, wherever this reader is not stricter on purpose.
fn accepted_by_serde_json(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn nothing_is_accepted_that_serde_json_refuses(text in "\\PC{0,32}|[\\[\\]{}:,\"\\\\ \n0-9a-fnrtul.eE+-]{0,16}|(\"[a-c\\\\un0-9dD]{0,12}\"|[\\[\\]{},:0-9-]|true|null){0,12}") {
        match read(&text) {
            Ok(_) => prop_assert!(accepted_by_serde_json(&text), "{}", text),
            Err(error) => {
                let stricter = ["twice", "fraction", "exactly", "byte order mark"];
                let on_purpose = stricter.iter().any(|reason| error.message().contains(reason));
                prop_assert!(on_purpose || !accepted_by_serde_json(&text), "{}: {}", text, error);
            }
        }
    }
}
