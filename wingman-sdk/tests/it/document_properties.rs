//! Random documents: what is replaced comes back, and nothing else moves.

use proptest::{collection::vec, prelude::*, sample::select};
use wingman_sdk::document::{Document, Entry, Format, Kind, NewValue};

const TOKEN: &str = "pbseal1:UEJTRUFMAAEBAQEB";

#[derive(Clone, Debug)]
enum Tree {
    Text(String, u8),
    Number(i64),
    Float(f32),
    Truth(bool),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// Text of what formats stumble over.
fn text() -> impl Strategy<Value = String> {
    let pieces = select(vec![
        "a",
        "Z",
        "0",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "\r",
        "'",
        "\"",
        "\"\"\"",
        "'''",
        "\\",
        ": ",
        ":",
        " #",
        "#",
        "- ",
        "-",
        "---",
        "...",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a",
        "*b",
        "!t",
        "|",
        ">",
        "%",
        "@",
        "`",
        "?",
        "~",
        "null",
        "true",
        "yes",
        "0x1F",
        "1e3",
        ".inf",
        "=",
        "$",
        "${A}",
        "\u{e9}",
        "\u{1f600}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{a0}",
        "\u{7f}",
        "\u{1}",
        "<<",
        "pbseal",
        "export ",
        "1979-05-27",
        "\u{fffd}",
    ]);
    prop_oneof![
        vec(pieces, 0..8).prop_map(|pieces| pieces.concat()),
        any::<String>()
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => (text(), any::<u8>()).prop_map(|(text, style)| Tree::Text(text, style)),
        1 => any::<i64>().prop_map(Tree::Number),
        1 => (-1.0e6f32..1.0e6).prop_map(Tree::Float),
        1 => any::<bool>().prop_map(Tree::Truth),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Tree::List),
            vec((text(), inner), 0..5).prop_map(Tree::Map),
        ]
    })
}

fn document() -> impl Strategy<Value = Vec<(String, Tree)>> {
    vec((text(), tree()), 1..6)
}

fn json(tree: &Tree) -> serde_json::Value {
    match tree {
        Tree::Text(text, _) => text.as_str().into(),
        Tree::Number(number) => (*number).into(),
        Tree::Float(number) => f64::from(*number).into(),
        Tree::Truth(truth) => (*truth).into(),
        Tree::List(list) => list.iter().map(json).collect(),
        Tree::Map(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), json(value)))
            .collect(),
    }
}

fn toml(tree: &Tree) -> toml::Value {
    match tree {
        Tree::Text(text, _) => text.as_str().into(),
        Tree::Number(number) => (*number).into(),
        Tree::Float(number) => f64::from(*number).into(),
        Tree::Truth(truth) => (*truth).into(),
        Tree::List(list) => toml::Value::Array(list.iter().map(toml).collect()),
        Tree::Map(map) => toml::Value::Table(
            map.iter()
                .map(|(key, value)| (key.clone(), toml(value)))
                .collect(),
        ),
    }
}

/// Writes YAML in block style, with comments, and quotes as each text's number says.
fn yaml(tree: &Tree, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match tree {
        Tree::Text(text, style) => {
            let printable = !text.chars().any(|c| {
                c.is_control()
                    || matches!(
                        c,
                        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
                    )
            });
            match style % 3 {
                0 if printable => out.push_str(&format!(" '{}'", text.replace('\'', "''"))),
                1 if !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase()) => {
                    out.push_str(&format!("   {text}"));
                }
                2 if text.chars().all(|c| c == '\n' || c.is_ascii_alphanumeric())
                    && text.trim_matches('\n') == text
                    && !text.is_empty() =>
                {
                    out.push_str(" |-  # why\n");
                    let lines: Vec<String> = text
                        .split('\n')
                        .map(|line| {
                            if line.is_empty() {
                                String::new()
                            } else {
                                format!("{pad}   {line}")
                            }
                        })
                        .collect();
                    out.push_str(&lines.join("\n"));
                    out.push('\n');
                    return;
                }
                _ => out.push_str(&format!(" {}", quoted(text))),
            }
            out.push_str(if style & 8 == 0 {
                "\n"
            } else {
                "  # note: 'x' |\n"
            });
        }
        Tree::Number(number) => out.push_str(&format!(" {number}\n")),
        Tree::Float(number) => out.push_str(&format!(" {number:?} # number\n")),
        Tree::Truth(truth) => out.push_str(&format!(" {truth}\n")),
        Tree::List(list) if list.is_empty() => out.push_str(" [ ]\n"),
        Tree::Map(map) if map.is_empty() => out.push_str(" {} # none\n"),
        Tree::List(list) => {
            out.push_str(" # list\n");
            for element in list {
                out.push_str(&format!("{pad}-"));
                yaml(element, indent + 2, out);
            }
        }
        Tree::Map(map) => {
            out.push('\n');
            for (key, value) in map {
                out.push_str(&format!("{pad}{}:", quoted(key)));
                yaml(value, indent + 2, out);
            }
        }
    }
}

fn quoted(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_ascii_graphic() || c == ' ' || c == '\u{e9}' => c.to_string(),
        c => format!("\\U{:08X}", u32::from(c)),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

fn flow(tree: &Tree) -> String {
    match tree {
        Tree::List(list) => format!(
            "[ {} ]",
            list.iter().map(flow).collect::<Vec<_>>().join(" ,\n ")
        ),
        Tree::Map(map) => {
            let members = map
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(key), flow(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Tree::Text(text, _) => quoted(text),
        Tree::Number(number) => number.to_string(),
        Tree::Float(number) => format!("{number:?}"),
        Tree::Truth(truth) => truth.to_string(),
    }
}

fn rows(document: &Document) -> Vec<(String, Kind, String)> {
    let row = |entry: &Entry| {
        (
            entry.path().to_string(),
            entry.kind(),
            entry.text().to_owned(),
        )
    };
    document.entries().iter().map(row).collect()
}

/// What stands between the values.
fn gaps(document: &Document) -> Vec<&str> {
    let (mut gaps, mut from) = (Vec::new(), 0);
    for entry in document.entries() {
        gaps.push(&document.as_str()[from..entry.span().start]);
        from = entry.span().end;
    }
    gaps.push(&document.as_str()[from..]);
    gaps
}

/// Seals some values, checks that only they changed, opens them again, and puts other texts in their place.
fn check(format: Format, text: &str, chosen: &[bool], new: &[String]) -> Result<(), TestCaseError> {
    check_all(format, text, chosen, new, true)
}

/// Unless all has to work, a replacement may be refused, but never be wrong.
fn check_all(
    format: Format,
    text: &str,
    chosen: &[bool],
    new: &[String],
    all: bool,
) -> Result<(), TestCaseError> {
    let document = match Document::parse(format, text) {
        Ok(document) => document,
        Err(error) => {
            // Names may repeat and paths be too long; nothing else may be wrong with what is generated.
            let meant = ["a second time", "longer than", "duplicate key"];
            let meant = meant.iter().any(|meant| error.message.contains(meant));
            prop_assert!(meant || !all, "{error}\n{text}");
            return Ok(());
        }
    };
    let before = rows(&document);
    let places: Vec<usize> = (0..before.len())
        .filter(|index| chosen[index % chosen.len()])
        // A YAML value that is left out can't be replaced.
        .filter(|index| before[*index].1 != Kind::Null || !before[*index].2.is_empty())
        .collect();
    let seal = |index: &usize| (*index, NewValue::Sealed(TOKEN.to_owned()));
    let sealed = match document.replace(&places.iter().map(seal).collect::<Vec<_>>()) {
        Err(_) if !all => return Ok(()),
        other => other.unwrap(),
    };
    let sealed = Document::parse(format, &sealed).unwrap();
    for (index, (old, new)) in before.iter().zip(rows(&sealed)).enumerate() {
        let expected = match places.contains(&index) {
            true => (old.0.clone(), Kind::String, TOKEN.to_owned()),
            false => old.clone(),
        };
        prop_assert_eq!(new, expected);
    }
    // The comment behind a block's indicator lies within the block, and is put behind the sealed value.
    if !text.contains("|-  # why") {
        prop_assert_eq!(gaps(&document), gaps(&sealed));
    }
    let comments = |text: &str| text.matches("# why").count();
    prop_assert_eq!(comments(document.as_str()), comments(sealed.as_str()));

    let clear = |index: &usize| {
        let (_, kind, text) = &before[*index];
        (*index, NewValue::clear(*kind, text))
    };
    let opened = match sealed.replace(&places.iter().map(clear).collect::<Vec<_>>()) {
        Err(_) if !all => return Ok(()),
        other => other.unwrap(),
    };
    prop_assert_eq!(rows(&Document::parse(format, &opened).unwrap()), before);

    let others = |index: &usize| (*index, NewValue::clear_string(&new[index % new.len()]));
    let control = |text: &String| text.contains(|c: char| c.is_control() && !"\t\n\r".contains(c));
    if format == Format::Env && new.iter().any(control) {
        return Ok(());
    }
    for document in [&document, &sealed] {
        let changed = match document.replace(&places.iter().map(others).collect::<Vec<_>>()) {
            Err(_) if !all => return Ok(()),
            other => other.unwrap(),
        };
        let changed = Document::parse(format, &changed).unwrap();
        for index in &places {
            prop_assert_eq!(changed.entries()[*index].text(), &new[index % new.len()]);
        }
    }
    Ok(())
}

fn chosen() -> impl Strategy<Value = Vec<bool>> {
    vec(any::<bool>(), 1..7)
}

fn env_line() -> impl Strategy<Value = String> {
    let bare = "[a-zA-Z0-9 :/.=]{0,12}";
    prop_oneof![
        bare.prop_map(|value| value.trim().to_owned()),
        "[^'\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{7f}-\u{9f}]{0,12}"
            .prop_map(|value| format!("'{value}'")),
        "[a-z#'$ \n]{0,12}".prop_map(|value| format!("\"{value}\\n\\$\"")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn json_comes_back(map in document(), chosen in chosen(), new in vec(text(), 1..4), pretty: bool) {
        let value = json(&Tree::Map(map));
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        check(Format::Json, &text.unwrap(), &chosen, &new)?;
    }

    #[test]
    fn toml_comes_back(map in document(), chosen in chosen(), new in vec(text(), 1..4), pretty: bool) {
        let value = toml(&Tree::Map(map));
        let text = if pretty { toml::to_string_pretty(&value) } else { toml::to_string(&value) };
        check(Format::Toml, &text.unwrap(), &chosen, &new)?;
    }

    #[test]
    fn yaml_blocks_come_back(map in document(), chosen in chosen(), new in vec(text(), 1..4)) {
        let mut text = "# head".to_owned();
        yaml(&Tree::Map(map), 0, &mut text);
        check(Format::Yaml, &text, &chosen, &new)?;
    }

    #[test]
    fn yaml_flow_comes_back(map in document(), chosen in chosen(), new in vec(text(), 1..4)) {
        check(Format::Yaml, &flow(&Tree::Map(map)), &chosen, &new)?;
    }

    #[test]
    fn env_comes_back(lines in vec(env_line(), 1..6), chosen in chosen(), new in vec(text(), 1..4)) {
        let line = |(index, line): (usize, &String)| format!("export V{index}= {line} # c\n");
        let text: String = lines.iter().enumerate().map(line).collect();
        prop_assert!(Document::parse(Format::Env, &text).is_ok(), "{text}");
        check(Format::Env, &text, &chosen, &new)?;
    }

    #[test]
    fn any_text_is_read_or_refused(text in text(), more in any::<String>()) {
        for format in [Format::Toml, Format::Yaml, Format::Json, Format::Env] {
            for text in [text.clone(), format!("a: {text}\nb: {more}"), format!("a = \"{text}\"\n{more}"), more.clone()] {
                check_all(format, &text, &[true, false], std::slice::from_ref(&more), false)?;
            }
        }
    }
}
