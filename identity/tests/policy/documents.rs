//! Documents: what is read, what is refused and where, canonical forms and digests.
#![expect(clippy::panic, reason = "helper of tests")]

use std::fmt::Write;

use identity::policy::{Combine, Policy, PolicyErrorKind};

use super::support::yaml;

/// The document of the architecture.
const PAYMENTS: &str = "\
v: 1
name: payments-db
combine: first-match            # or deny-overrides, allow-overrides
rules:
  - name: payments API in production
    effect: allow
    actions: [open]              # default: all
    principal:
      spiffe_id: spiffe://acme.example/paris/ns/payments/sa/api    # the site is written out
      selector: environment=production,tier in (gold,silver),!quarantined   # Kubernetes selector syntax
    when: {not_before: 2026-01-01T00:00:00Z, not_after: 2027-01-01T00:00:00Z}
";

const PAYMENTS_CANONICAL: &str = concat!(
    r#"{"combine":"first-match","name":"payments-db","rules":[{"actions":["open"],"effect":"allow","#,
    r#""name":"payments API in production","principal":{"#,
    r#""selector":"environment=production,tier in (gold,silver),!quarantined","#,
    r#""spiffe_id":"spiffe://acme.example/paris/ns/payments/sa/api"},"#,
    r#""when":{"not_after":"2027-01-01T00:00:00Z","not_before":"2026-01-01T00:00:00Z"}}],"v":1}"#,
);

fn refusal(text: &str) -> String {
    match Policy::from_yaml(text) {
        Ok(policy) => panic!("{text:?} gave {policy:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn yaml_and_json_have_one_canonical_form_and_digest() {
    let policy = yaml(PAYMENTS);
    assert_eq!(policy.name(), Some("payments-db"));
    assert_eq!(policy.combine(), Combine::FirstMatch);
    assert_eq!(policy.rule_count(), 1);
    assert_eq!(
        String::from_utf8(policy.canonical()).unwrap(),
        PAYMENTS_CANONICAL
    );
    // Python: hashlib.sha384(b"\x10PBSEAL-V1-policy" + canonical).
    assert_eq!(hex::encode(policy.digest()), DIGEST);
    let value: serde_json::Value = serde_json::from_str(PAYMENTS_CANONICAL).unwrap();
    for json in [
        PAYMENTS_CANONICAL.to_owned(),
        serde_json::to_string_pretty(&value).unwrap(),
    ] {
        let same = Policy::from_json(&json).unwrap();
        assert_eq!(
            (same.canonical(), same.digest()),
            (policy.canonical(), policy.digest())
        );
        assert_eq!(same, policy);
        // JSON is YAML.
        assert_eq!(yaml(&json), policy);
    }
    assert_eq!(Policy::from_canonical(&policy.canonical()).unwrap(), policy);
    assert_eq!(
        format!("{policy:?}"),
        format!("Policy({PAYMENTS_CANONICAL:?})")
    );
}

const DIGEST: &str = "7b5c7742cad1e36f7e9ee4f2045324cc709afbd25ef10b47e2cb1fa3b61898549f67db47da2bf64490aec1a680c28226";

#[test]
fn text_is_json_if_it_begins_with_a_brace() {
    let policy = yaml("v: 1\nrules: []");
    for text in [
        "v: 1\nrules: []",
        "{\"v\": 1, \"rules\": []}",
        " \n{\"rules\": [], \"v\": 1}",
    ] {
        assert_eq!(Policy::from_text(text).as_ref(), Ok(&policy), "{text}");
    }
    let flow = "{v: 1, rules: []}";
    assert_eq!(yaml(flow), policy);
    let error = Policy::from_text(flow).unwrap_err();
    assert!(
        error.message().contains("a name in double quotes"),
        "{error}"
    );
}

/// Two ways of saying the same are two documents.
#[test]
fn canonical_form_is_of_the_document_as_written() {
    let texts = [
        "v: 1\nrules: [{effect: deny, actions: open}]",
        "v: 1\nrules: [{effect: deny, actions: [open]}]",
        "v: 1\nrules: [{effect: deny, actions: [open, open]}]",
        "v: 1\ncombine: deny-overrides\nrules: [{effect: deny, actions: open}]",
        "v: 1\nname: x\nrules: [{effect: deny, actions: open}]",
    ];
    let canonical: Vec<String> = texts
        .iter()
        .map(|text| String::from_utf8(yaml(text).canonical()).unwrap())
        .collect();
    assert_eq!(
        canonical[0],
        r#"{"rules":[{"actions":"open","effect":"deny"}],"v":1}"#
    );
    assert_eq!(
        canonical[1],
        r#"{"rules":[{"actions":["open"],"effect":"deny"}],"v":1}"#
    );
    for (index, form) in canonical.iter().enumerate() {
        assert!(!canonical[..index].contains(form), "{form}");
        assert_eq!(
            Policy::from_canonical(form.as_bytes()).unwrap().canonical(),
            form.as_bytes()
        );
    }
}

#[test]
fn only_the_canonical_form_is_canonical() {
    let canonical = yaml("v: 1\nname: é\nrules: []").canonical();
    assert_eq!(
        canonical,
        "{\"name\":\"é\",\"rules\":[],\"v\":1}".as_bytes()
    );
    assert!(Policy::from_canonical(&canonical).is_ok());
    for (text, column) in [
        ("{\"name\":\"é\",\"rules\":[],\"v\":1}\n", 30),
        (" {\"name\":\"é\",\"rules\":[],\"v\":1}", 1),
        ("{\"name\": \"é\",\"rules\":[],\"v\":1}", 9),
        ("{\"rules\":[],\"name\":\"é\",\"v\":1}", 3),
        ("{\"name\":\"\\u00e9\",\"rules\":[],\"v\":1}", 10),
        ("{\"name\":\"é\",\"rules\":[ ],\"v\":1}", 22),
        ("{\"n\\u0061me\":\"é\",\"rules\":[],\"v\":1}", 4),
    ] {
        assert!(Policy::from_json(text).is_ok(), "{text}");
        let error = Policy::from_canonical(text.as_bytes()).unwrap_err();
        assert_eq!(
            error.kind(),
            PolicyErrorKind::NotCanonical,
            "{text}: {error}"
        );
        assert_eq!(
            (error.line(), error.column(), error.place()),
            (1, column, "document"),
            "{text}"
        );
    }
    // YAML, other encodings and broken ones are no canonical form of anything.
    for bytes in [
        &b"v: 1\nrules: []"[..],
        b"",
        b"{\"name\":\"\xff\",\"rules\":[],\"v\":1}",
        b"\xef\xbb\xbf{}",
        b"{\0}",
    ] {
        assert_eq!(
            Policy::from_canonical(bytes).unwrap_err().kind(),
            PolicyErrorKind::Syntax,
            "{bytes:?}"
        );
    }
    let error = Policy::from_canonical(b"{\"name\":\"\xc3\xa9\xff").unwrap_err();
    assert_eq!((error.line(), error.column()), (1, 11));
}

/// Every bit of a canonical form counts: a flip is refused or is another policy.
#[test]
fn a_flipped_bit_never_gives_the_same_policy() {
    let policy = yaml(PAYMENTS);
    let canonical = policy.canonical();
    for bit in 0..canonical.len() * 8 {
        let mut bent = canonical.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = Policy::from_canonical(&bent) {
            assert_eq!(other.canonical(), bent);
            assert_ne!(other.digest(), policy.digest(), "bit {bit}");
        }
    }
}

#[test]
fn scalars_have_the_type_of_their_place() {
    for name in [
        "1",
        "no",
        "true",
        "0x10",
        "1.5",
        "2026-01-01T00:00:00Z",
        ".inf",
        "'null'",
        "\"~\"",
        "|-\n  x",
    ] {
        let policy = yaml(&format!("v: 1\nrules: []\nname: {name}"));
        let expected = name.trim_matches(['\'', '"']).trim_start_matches("|-\n  ");
        assert_eq!(policy.name(), Some(expected), "{name}");
        assert!(Policy::from_canonical(&policy.canonical()).is_ok());
    }
    for name in ["", "~", "null", "Null", "NULL"] {
        let error = refusal(&format!("v: 1\nrules: []\nname: {name}"));
        assert!(error.contains("name: no value"), "{name}: {error}");
    }
    for version in [
        "'1'", "\"1\"", "1.0", "+1", "01", "0x1", "0o1", "1e0", "one", "true", "", "~", "[1]",
        "|-\n 1",
    ] {
        let error = refusal(&format!("v: {version}\nrules: []"));
        assert!(
            error.contains("is no version: write v: 1"),
            "{version}: {error}"
        );
    }
    for version in ["0", "2", "-1", "9007199254740993"] {
        assert!(
            refusal(&format!("v: {version}\nrules: []")).contains("is unknown: write v: 1"),
            "{version}"
        );
    }
    for json in [
        r#"{"v":"1","rules":[]}"#,
        r#"{"v":true,"rules":[]}"#,
        r#"{"v":1,"name":1,"rules":[]}"#,
        r#"{"v":1,"name":null,"rules":[]}"#,
    ] {
        assert_eq!(
            Policy::from_json(json).unwrap_err().kind(),
            PolicyErrorKind::Schema,
            "{json}"
        );
    }
}

/// Line, column and place of what is no policy, and what to do.
#[test]
fn refusals_name_place_and_remedy() {
    for (text, expected) in [
        (
            "a",
            "line 1, column 1: document: a text is no policy: write its members as name: value",
        ),
        (
            "- a",
            "line 1, column 1: document: a list is no policy: write its members as name: value",
        ),
        (
            "rules: []",
            "line 1, column 1: document: member v is missing: write v: 1, the version of the document form",
        ),
        (
            "v: 1",
            "line 1, column 1: document: member rules is missing: write the list of rules; an empty list, [], denies everything",
        ),
        (
            "v: 1\nrules:",
            "line 2, column 6: rules: an empty value is no list of rules: begin every rule with a dash",
        ),
        (
            "v: 1\nrules: {effect: deny}",
            "line 2, column 8: rules: an object is no list of rules: begin every rule with a dash",
        ),
        (
            "v: 1\nrules: [deny]",
            "line 2, column 9: rules[0]: a text is no rule: write its members as name: value",
        ),
        (
            "v: 1\nrule: []",
            "line 2, column 1: rule: unknown member \"rule\": write rules",
        ),
        (
            "v: 1\nrules: []\nversion: 1",
            "line 3, column 1: version: unknown member \"version\": remove it; known are v, name, combine, rules",
        ),
        (
            "v: 1\nrules: []\nV: 1",
            "line 3, column 1: V: unknown member \"V\": write v",
        ),
        (
            "v: 1\neffect: deny\nrules: []",
            "line 2, column 1: effect: unknown member \"effect\": effect belongs in a rule",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  spiffe_id: x",
            "line 4, column 3: rules[0].spiffe_id: unknown member \"spiffe_id\": spiffe_id belongs below principal",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  not_after: x",
            "line 4, column 3: rules[0].not_after: unknown member \"not_after\": not_after belongs below when",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  combine: x",
            "line 4, column 3: rules[0].combine: unknown member \"combine\": combine belongs at the top of the document",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  resources: x",
            "line 4, column 3: rules[0].resources: unknown member \"resources\": write resource",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  principal: {spiffeId: x}",
            "line 4, column 15: rules[0].principal.spiffeId: unknown member \"spiffeId\": write spiffe_id",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  principal: {selector: a=b,c=d}",
            "line 4, column 29: rules[0].principal.c=d: unknown member \"c=d\": put a selector that holds a comma in quotes",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  when: {notBefore: x}",
            "line 4, column 10: rules[0].when.notBefore: unknown member \"notBefore\": write not_before",
        ),
        (
            "v: 1\ncombine: deny_overrides\nrules: []",
            "line 2, column 10: combine: unknown value \"deny_overrides\": write deny-overrides",
        ),
        (
            "v: 1\ncombine: best\nrules: []",
            "line 2, column 10: combine: unknown value \"best\": write first-match or deny-overrides or allow-overrides",
        ),
        (
            "v: 1\nrules:\n- effect: Allow",
            "line 3, column 11: rules[0].effect: unknown value \"Allow\": write allow",
        ),
        (
            "v: 1\nrules:\n- effect: permit",
            "line 3, column 11: rules[0].effect: unknown value \"permit\": write allow or deny",
        ),
        (
            "v: 1\nrules:\n- effect: [allow]",
            "line 3, column 11: rules[0].effect: a list stands where a text is expected: write one text",
        ),
        (
            "v: 1\nrules:\n- actions: open",
            "line 3, column 3: rules[0]: member effect is missing: write effect: allow or effect: deny",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n- effect: deny\n  actions: []",
            "line 5, column 12: rules[1].actions: list is empty: leave it out if there is nothing to restrict",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  actions: [open, '*']",
            "line 4, column 19: rules[0].actions[1]: action \"*\" holds a wildcard: write the actions out, or leave actions out for all of them",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  actions: op en",
            "line 4, column 12: rules[0].actions: \"op en\" is no action: write 1 to 64 letters, digits, '-', '_', '.', ':' and '/'",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  actions: ''",
            "line 4, column 12: rules[0].actions: \"\" is no action: write 1 to 64 letters, digits, '-', '_', '.', ':' and '/'",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  principal: {}",
            "line 4, column 14: rules[0].principal: principal is empty: leave it out if the rule is for everyone",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  principal:\n",
            "line 4, column 12: rules[0].principal: an empty value is no principal: write its members as name: value",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  principal: {spiffe_id: []}",
            "line 4, column 26: rules[0].principal.spiffe_id: list is empty: leave it out if there is nothing to restrict",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  principal: {spiffe_id: acme.example/x}",
            "line 4, column 26: rules[0].principal.spiffe_id: pattern \"acme.example/x\" does not begin with spiffe://: write spiffe://<trust-domain>/<path>",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  principal: {selector: ''}",
            "line 4, column 25: rules[0].principal.selector: selector is empty: leave it out if every attribute will do",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  principal: {selector: [a, b]}",
            "line 4, column 25: rules[0].principal.selector: a list stands where a text is expected: write one text",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  principal: {selector: 'a=b,c>d'}",
            "line 4, column 25: rules[0].principal.selector: \">\" stands where an operator is expected, at character 6 of the selector: compare for equality only: =, ==, !=, in or notin",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  resource: a/**b",
            "line 4, column 13: rules[0].resource: segment \"**b\" holds ** beside other characters: give ** a segment of its own, or write * to stay within the segment",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  when: {}",
            "line 4, column 9: rules[0].when: time window is empty: leave when out if the rule holds at all times",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  when: {not_before: 2026-01-01}",
            "line 4, column 22: rules[0].when.not_before: \"2026-01-01\" is no RFC 3339 date and time: write it as 2026-01-01T00:00:00Z or with an offset such as +02:00",
        ),
        (
            "v: 1\nrules:\n- effect: deny\n  when: {not_before: 2026-01-01T00:00:01Z, not_after: 2026-01-01T00:00:00Z}",
            "line 4, column 9: rules[0].when: time window ends before it begins: swap not_before and not_after",
        ),
        (
            "v: 1\nrules:\n- {effect: deny, name: x}\n- {effect: deny}\n- {effect: deny, name: x}",
            "line 5, column 3: rules[2]: rule has the name of rules[0]: give every rule a name of its own, for the audit log",
        ),
        (
            "v: 1\nrules: []\nname: ' '",
            "line 3, column 7: name: name is blank: write one line of plain text, or leave the name out",
        ),
        (
            "v: 1\nrules: []\nname: \"a\\nb\"",
            "line 3, column 7: name: name \"a\\nb\" holds a control character or one that turns the writing around: write one line of plain text, or leave the name out",
        ),
        (
            "v: 1\nrules: []\nname: a\u{202e}b",
            "line 3, column 7: name: name \"a\\u{202e}b\" holds a control character or one that turns the writing around: write one line of plain text, or leave the name out",
        ),
        (
            "v: 1\nv: 1\nrules: []",
            "line 2, column 1: v: member \"v\" occurs twice, first on line 1: keep one of them",
        ),
    ] {
        assert_eq!(refusal(text), expected, "{text:?}");
    }
}

#[test]
fn error_gives_its_parts() {
    let error = Policy::from_yaml("v: 1\nrules:\n- effect: alow").unwrap_err();
    assert_eq!(
        (error.line(), error.column(), error.place()),
        (3, 11, "rules[0].effect")
    );
    assert_eq!(
        (error.message(), error.remedy()),
        ("unknown value \"alow\"", "write allow")
    );
    assert_eq!(error.kind(), PolicyErrorKind::Schema);
    assert_eq!(
        Policy::from_yaml("a: [").unwrap_err().kind(),
        PolicyErrorKind::Syntax
    );
}

#[test]
fn limits_are_kept() {
    let kind = |text: &str| Policy::from_yaml(text).unwrap_err().kind();
    let rules = |number: usize| {
        format!(
            "v: 1\nrules: [{}]",
            ["{effect: deny}"].repeat(number).join(", ")
        )
    };
    assert_eq!(yaml(&rules(256)).rule_count(), 256);
    assert_eq!(kind(&rules(257)), PolicyErrorKind::Limit);

    let actions = |number: usize| {
        format!(
            "v: 1\nrules: [{{effect: deny, actions: [{}]}}]",
            ["a"].repeat(number).join(", ")
        )
    };
    yaml(&actions(64));
    assert_eq!(kind(&actions(65)), PolicyErrorKind::Limit);

    let name = |length: usize| format!("v: 1\nrules: []\nname: {}", "a".repeat(length));
    yaml(&name(512));
    assert_eq!(kind(&name(513)), PolicyErrorKind::Limit);
    let rule_name = |length: usize| {
        format!(
            "v: 1\nrules: [{{effect: deny, name: {}}}]",
            "a".repeat(length)
        )
    };
    yaml(&rule_name(128));
    assert_eq!(kind(&rule_name(129)), PolicyErrorKind::Limit);

    let action = |length: usize| {
        format!(
            "v: 1\nrules: [{{effect: deny, actions: {}}}]",
            "a".repeat(length)
        )
    };
    yaml(&action(64));
    refusal(&action(65));

    let comment = |length: usize| format!("v: 1\nrules: []\n#{}", "x".repeat(length - 16));
    yaml(&comment(32_768));
    assert_eq!(kind(&comment(32_769)), PolicyErrorKind::Limit);
}

/// Quotes and backslashes take more room in JSON than in YAML.
#[test]
fn canonical_form_is_bounded_too() {
    let mut text = "v: 1\nrules:\n".to_owned();
    for number in 0..200 {
        writeln!(
            text,
            "- {{effect: deny, name: '{number:03}{}'}}",
            "\\".repeat(100)
        )
        .unwrap();
    }
    assert!(text.len() < 32_768);
    let error = Policy::from_yaml(&text).unwrap_err();
    assert_eq!(error.kind(), PolicyErrorKind::Limit);
    assert!(error.message().starts_with("canonical form is "), "{error}");
}
