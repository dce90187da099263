use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Selector {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refusal(text: &str) -> String {
    match text.parse::<Selector>() {
        Ok(selector) => panic!("{text:?} gave {selector:?}"),
        Err(error) => error.to_string(),
    }
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    let mut attributes = Attributes::new();
    for (key, value) in pairs {
        attributes.insert(key, *value).unwrap();
    }
    attributes
}

/// The strings of `TestSelectorParse` and `TestSetSelectorParser` in apimachinery's `selector_test.go`, and more of
/// the same sort, with what they mean.
#[test]
fn kubernetes_syntax_is_accepted() {
    for (text, printed) in [
        ("", ""),
        (" \t\r\n ", ""),
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("x!=a,y=b", "x!=a,y=b"),
        ("x==a", "x=a"),
        ("x=", "x="),
        ("x= ", "x="),
        ("x=,z= ", "x=,z="),
        ("x= ,z= ", "x=,z="),
        ("x!=", "x!="),
        ("!x", "!x"),
        ("! x", "!x"),
        ("\rx", "x"),
        ("a ", "a"),
        (
            "this-is-a-dns.domain.com/key-with-dash",
            "this-is-a-dns.domain.com/key-with-dash",
        ),
        (
            "this-is-another-dns.domain.com/key-with-dash in (so,what)",
            "this-is-another-dns.domain.com/key-with-dash in (so,what)",
        ),
        (
            "0.1.2.domain/99 notin (10.10.100.1, tick.tack.clock)",
            "0.1.2.domain/99 notin (10.10.100.1,tick.tack.clock)",
        ),
        ("foo  in\t (abc)", "foo in (abc)"),
        ("x notin\n (abc)", "x notin (abc)"),
        ("x  notin\t\t(abc,def)", "x notin (abc,def)"),
        ("x in(b,a)", "x in (a,b)"),
        ("x in (a,a,b,a)", "x in (a,b)"),
        ("x in (abc,)", "x in (,abc)"),
        ("x in (,abc)", "x in (,abc)"),
        ("x in (,)", "x in ()"),
        ("x in ()", "x in ()"),
        ("x notin ( )", "x notin ()"),
        ("x notin (, a)", "x notin (,a)"),
        (
            "x notin (abc,,def),bar,z in (),w",
            "x notin (,abc,def),bar,z in (),w",
        ),
        (
            "x in (foo,,baz),y,z notin ()",
            "x in (,baz,foo),y,z notin ()",
        ),
        ("x in (a,,,b)", "x in (,a,b)"),
        ("x,y in (a)", "x,y in (a)"),
        ("x=a,y!=b,z in (h,i,j)", "x=a,y!=b,z in (h,i,j)"),
        ("a in (x,y,notin, z,in)", "a in (in,notin,x,y,z)"),
        ("in", "in"),
        ("notin,in", "notin,in"),
        ("in in (in)", "in in (in)"),
        ("in=notin", "in=notin"),
        ("!notin", "!notin"),
        ("x=a,x=b", "x=a,x=b"),
        ("A.b-C_9=Z.y-X_0", "A.b-C_9=Z.y-X_0"),
    ] {
        assert_eq!(parse(text).to_string(), printed, "{text:?}");
    }
}

#[test]
fn what_kubernetes_refuses_is_refused() {
    let (long, longer) = ("a".repeat(63), "a".repeat(64));
    let prefix = [
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(61),
    ]
    .join(".");
    parse(&format!("{long}={long},{prefix}/{long}"));
    // Kubernetes bounds a prefix as a whole, not its labels.
    parse(&format!("{longer}/x=a"));
    for text in [
        "x=a||y=b",
        "x==a==b",
        "x===a",
        "!x=a",
        "!x in (a)",
        "!!x",
        "!",
        "=a",
        "x,,y",
        ",x,y",
        "x,",
        ",",
        "x nott in (y)",
        "x not in (y)",
        "x y",
        "a in (xyz),",
        "a in (xyz)b",
        "a in (xyz abc)",
        "a in (x",
        "a in (x,",
        "a in x",
        "a in",
        "a notin(",
        "a in (a,,)",
        "a in (,,)",
        "a in ((b))",
        "a in (b=c)",
        "a (",
        "(",
        ")",
        "x=(a)",
        "x=!a",
        "x!==a",
        "x=!",
        "-x",
        "x-",
        "_x=a",
        "x.",
        "x=-a",
        "x=a-",
        "x in (a,-b)",
        "x=a b",
        "x=a:b",
        "x='a'",
        "x=\"a\"",
        "x=ä",
        "ä=x",
        "x\0=a",
        "x=a;y=b",
        "/x",
        "p/",
        "p/q/r",
        "P/q",
        "p_q/r",
        "p..q/r",
        ".p/q",
        "p./q",
        "-p/q",
        "p-/q",
        &longer,
        &format!("x={longer}"),
        &format!("{prefix}e/x"),
    ] {
        refusal(text);
    }
}

#[test]
fn comparisons_are_refused_with_the_way_out() {
    for text in ["x>1", "x>1,z<5", "x<a"] {
        assert!(
            refusal(text).contains("compare for equality only"),
            "{text}"
        );
    }
}

#[test]
fn refusal_names_the_character() {
    assert_eq!(
        refusal("x in (a,b"),
        "selector ends where a comma or a closing parenthesis is expected at character 10: write the values as (one,two)"
    );
    for (text, character) in [
        ("x=a,=b", 5),
        ("x = ä", 5),
        ("x=a y=b", 5),
        ("é=a", 1),
        ("x in (a, -b)", 10),
        ("!x=a", 3),
    ] {
        assert_eq!(
            text.parse::<Selector>().unwrap_err().character(),
            character,
            "{text}"
        );
    }
}

#[test]
fn limits_are_kept() {
    let many = |number: usize, separator: &str| {
        (0..number)
            .map(|n| format!("k{n}"))
            .collect::<Vec<_>>()
            .join(separator)
    };
    assert_eq!(parse(&many(64, ",")).requirements().len(), 64);
    assert!(refusal(&many(65, ",")).contains("over 64 requirements"));
    parse(&format!("x in ({})", many(64, ",")));
    assert!(refusal(&format!("x in ({})", many(65, ","))).contains("over 64 values"));
    parse(&" ".repeat(4096));
    assert!(refusal(&" ".repeat(4097)).contains("over 4096"));
}

#[test]
fn answers_follow_the_table() {
    let mut attributes = attributes(&[("text", "v"), ("blank", "")]);
    attributes.insert("binary", vec![1, 2]).unwrap();
    use Answer::{Absent, No, Yes};
    for (text, answer) in [
        ("text", Yes),
        ("binary", Yes),
        ("absent", No),
        ("!text", No),
        ("!binary", No),
        ("!absent", Yes),
        ("text=v", Yes),
        ("text==v", Yes),
        ("text=w", No),
        ("text=V", No),
        ("text=", No),
        ("blank=", Yes),
        ("blank in ()", Yes),
        ("binary=v", Absent),
        ("absent=v", Absent),
        ("absent=", Absent),
        ("text in (u,v)", Yes),
        ("text in (u,w)", No),
        ("binary in (v)", Absent),
        ("absent in (v)", Absent),
        ("absent in ()", Absent),
        ("text!=v", No),
        ("text!=w", Yes),
        ("binary!=v", Absent),
        ("absent!=v", Yes),
        ("text notin (u,v)", No),
        ("text notin (u,w)", Yes),
        ("binary notin (v)", Absent),
        ("absent notin (v)", Yes),
        ("", Yes),
        ("text,binary", Yes),
        ("text,absent=v", Absent),
        ("absent=v,text", Absent),
        ("absent=v,!text", No),
        ("!text,absent=v", No),
        ("binary=v,absent", No),
    ] {
        assert_eq!(parse(text).answer(&attributes), answer, "{text}");
    }
}

proptest! {
    #[test]
    fn printed_selectors_are_read_again(text in "[a-c!=(), ]{0,24}|([a-c]{1,3}( ?(=|==|!=) ?[a-c]{0,2}| (in|notin) \\([a-c,]{0,6}\\))?,?){1,4}") {
        if let Ok(selector) = text.parse::<Selector>() {
            let again = selector.to_string().parse::<Selector>();
            prop_assert_eq!(again, Ok(selector));
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,64}|[-a-z0-9./!=<>(), \t\n]{0,64}") {
        let _ = text.parse::<Selector>();
    }

    /// Against Kubernetes' own rule, on keys that are present with a text or absent, where an absent fact is a no.
    #[test]
    fn answers_agree_with_kubernetes(
        key in "[ab]",
        values in proptest::collection::btree_set("[xyz]?", 1..4),
        operator in 0..6_usize,
        labels in proptest::collection::btree_map("[ab]", "[xyz]?", 0..3),
    ) {
        let list = values.iter().cloned().collect::<Vec<_>>().join(",");
        let first = values.first().unwrap();
        let has = labels.get(&key);
        let (text, expected) = match operator {
            0 => (key.clone(), has.is_some()),
            1 => (format!("!{key}"), has.is_none()),
            2 => (format!("{key}={first}"), has == Some(first)),
            3 => (format!("{key}!={first}"), has != Some(first)),
            4 => (format!("{key} in ({list})"), has.is_some_and(|value| values.contains(value))),
            _ => (format!("{key} notin ({list})"), has.is_none_or(|value| !values.contains(value))),
        };
        let pairs: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        prop_assert_eq!(parse(&text).answer(&attributes(&pairs)) == Answer::Yes, expected, "{}", text);
    }
}
