//! Key paths, labels, patterns and formats.

use std::path::Path;

use wingman_sdk::document::{Format, KeyPath, KeyPattern, Kind, Label, Segment};

#[test]
fn key_paths_and_labels_have_one_spelling() {
    for text in [
        "a",
        "a.b-c_d[0][12].e",
        "\"\"",
        "\"a.b\".c",
        "\"a:b\".c",
        "\"a:integer\"",
        "\"a:integer\".c[0]",
        "[0].x",
        "\"ü\\n\\\"\"[3]",
    ] {
        let path: KeyPath = text.parse().unwrap();
        assert_eq!(path.to_string(), text);
        for kind in [
            Kind::String,
            Kind::Integer,
            Kind::Float,
            Kind::Boolean,
            Kind::DateTime,
            Kind::Null,
        ] {
            let label = Label::of(&path, kind);
            assert_eq!(label.to_string().parse::<Label>().unwrap(), label);
        }
    }
    for text in [
        "a..b", ".a", "a.", "a[", "a[x]", "a[01]", "a[+1]", "a[-1]", "a]b", "a b", "\"a", "a\"b\"",
        "[0]a", "ü",
    ] {
        assert!(text.parse::<KeyPath>().is_err(), "{text}");
    }
    for text in [
        "",
        "a:string",
        "a:INTEGER",
        "a:",
        "\"a\".b",
        "a :integer",
        "payments/token",
    ] {
        assert!(text.parse::<Label>().is_err(), "{text}");
    }
    assert_eq!("\"a\".b".parse::<KeyPath>().unwrap().to_string(), "a.b");
    assert_eq!(
        "\"x:integer\"".parse::<Label>().unwrap().kind(),
        Kind::String
    );
    let path: KeyPath = "a[0].b[1]".parse().unwrap();
    assert_eq!(path.last_key(), Some("b"));
    assert!(
        path.starts_with(&"a[0]".parse().unwrap()) && !path.starts_with(&"a[1]".parse().unwrap())
    );
    assert!(KeyPath::from_segments(vec![Segment::Index(0); 65]).is_err());
    assert!(KeyPath::from_segments([Segment::Key("k".repeat(999) + "\n")]).is_err());
}

#[test]
fn patterns_choose_by_name() {
    let cases: [(&str, &[&str], &[&str]); 9] = [
        (
            "*password*",
            &["DB_PASSWORD", "a.b.dbPassword", "passwords[0].x"],
            &["pass", "user"],
        ),
        (
            "token",
            &["token", "a.TOKEN", "token.x"],
            &["tokens", "a.tok"],
        ),
        (
            "db.*",
            &["db.a", "DB.a.b", "db.x[0]"],
            &["db", "db[0]", "x.db.a"],
        ),
        (
            "servers[*].token",
            &["servers[0].token", "servers[9].token.x"],
            &["servers.token", "servers[0].tokens"],
        ),
        (
            "servers[1]",
            &["servers[1]", "servers[1].a"],
            &["servers[10]", "servers"],
        ),
        ("**.key", &["key", "a.key", "a[0].b.key.c"], &["a.keys"]),
        ("a.**.z", &["a.z", "a.b[0].z"], &["z", "b.a.z"]),
        ("\"a.b\".?", &["\"A.B\".x"], &["a.b.x", "\"a.b\".xy"]),
        ("a*b*c?", &["aXbYcZ", "abcd"], &["abc", "bcd"]),
    ];
    for (pattern, chosen, others) in cases {
        let pattern: KeyPattern = pattern.parse().unwrap();
        for (paths, expected) in [(chosen, true), (others, false)] {
            for path in paths {
                assert_eq!(
                    pattern.matches(&path.parse().unwrap()),
                    expected,
                    "{pattern} {path}"
                );
            }
        }
    }
    for text in ["", "a..b", "a[x]", "\"a", "a b"] {
        assert!(text.parse::<KeyPattern>().is_err(), "{text}");
    }
    // A pattern that backtracks is no way to stop the program.
    let slow: KeyPattern = format!("{}b", "*a".repeat(300)).parse().unwrap();
    assert!(!slow.matches(&"a".repeat(900).parse().unwrap()));
}

#[test]
fn formats_are_told_by_names() {
    for (name, format) in [
        ("a.toml", Some(Format::Toml)),
        ("a/b.YAML", Some(Format::Yaml)),
        ("b.yml", Some(Format::Yaml)),
        ("package.json", Some(Format::Json)),
        (".env", Some(Format::Env)),
        (".env.local", Some(Format::Env)),
        ("prod.env", Some(Format::Env)),
        (".envrc", None),
        ("a.jsonc", None),
        ("toml", None),
    ] {
        assert_eq!(Format::of_path(Path::new(name)), format, "{name}");
    }
}
