//! Documents of the four formats: what is read, what is refused, and that replacing touches nothing else.

use wingman_sdk::document::{Document, DocumentError, Entry, Format, Kind, NewValue};

const TOKEN: &str = "pbseal1:UEJTRUFMAAEBAQEB_-x";

fn parse(format: Format, text: &str) -> Document {
    Document::parse(format, text).unwrap()
}

fn refusal(format: Format, text: &str) -> DocumentError {
    match Document::parse(format, text) {
        Err(error) => error,
        Ok(document) => panic!("{format} was read: {:?}", document.entries()),
    }
}

fn list(document: &Document) -> Vec<(String, Kind, String)> {
    let row = |entry: &Entry| {
        (
            entry.path().to_string(),
            entry.kind(),
            entry.text().to_owned(),
        )
    };
    document.entries().iter().map(row).collect()
}

fn row(path: &str, kind: Kind, text: &str) -> (String, Kind, String) {
    (path.to_owned(), kind, text.to_owned())
}

fn at(document: &Document, path: &str) -> usize {
    document.find(&path.parse().unwrap()).unwrap()
}

/// Seals the values at these paths.
fn seal(document: &Document, paths: &[&str]) -> String {
    let edits: Vec<_> = paths
        .iter()
        .map(|path| (at(document, path), NewValue::Sealed(TOKEN.to_owned())))
        .collect();
    document.replace(&edits).unwrap().to_string()
}

fn set(document: &Document, path: &str, value: NewValue) -> Result<String, DocumentError> {
    let changed = document.replace(&[(at(document, path), value)])?;
    Ok(changed.to_string())
}

const TOML: &str = r##"# Oddly formatted on purpose.
  title   =  'a "quoted" title'   # comment = "x"
"ключ"."a b" = "\u00e9\t"
numbers = [ 0xFF, # first
  1_000,
    -1, ]
when=1979-05-27T07:32:00Z
[ server . "x.y" ]
ratio = 6.626e-34; 
"##;

#[test]
fn toml_in_odd_formatting_is_read_and_only_values_change() {
    let text = TOML.replace("; \n", "\n")
        + "on = true\r\n[[user]]\nname = '''\nmulti\nline'''\n\
        pem = \"\"\"\\\n  a\nb\"\"\" # behind\n[[user]]\nname = \"second\"\ninline = { a = 1, b = { c = \"x\" } }";
    let document = parse(Format::Toml, &text);
    let expected = vec![
        row("title", Kind::String, "a \"quoted\" title"),
        row("\"ключ\".\"a b\"", Kind::String, "é\t"),
        row("numbers[0]", Kind::Integer, "0xFF"),
        row("numbers[1]", Kind::Integer, "1_000"),
        row("numbers[2]", Kind::Integer, "-1"),
        row("when", Kind::DateTime, "1979-05-27T07:32:00Z"),
        row("server.\"x.y\".ratio", Kind::Float, "6.626e-34"),
        row("server.\"x.y\".on", Kind::Boolean, "true"),
        row("user[0].name", Kind::String, "multi\nline"),
        row("user[0].pem", Kind::String, "a\nb"),
        row("user[1].name", Kind::String, "second"),
        row("user[1].inline.a", Kind::Integer, "1"),
        row("user[1].inline.b.c", Kind::String, "x"),
    ];
    assert_eq!(list(&document), expected);
    assert_eq!(document.entries()[0].line(), 2);
    assert_eq!(document.entries()[0].column(), 14);

    let paths: Vec<&str> = expected.iter().map(|(path, ..)| path.as_str()).collect();
    let sealed = seal(&document, &paths);
    let expected = text
        .replace("'a \"quoted\" title'", &format!("'{TOKEN}'"))
        .replace("\"\\u00e9\\t\"", &format!("\"{TOKEN}\""))
        .replace("0xFF", &format!("\"{TOKEN}\""))
        .replace("1_000", &format!("\"{TOKEN}\""))
        .replace("-1,", &format!("\"{TOKEN}\","))
        .replace("1979-05-27T07:32:00Z", &format!("\"{TOKEN}\""))
        .replace("6.626e-34", &format!("\"{TOKEN}\""))
        .replace("true", &format!("\"{TOKEN}\""))
        .replace("'''\nmulti\nline'''", &format!("\"{TOKEN}\""))
        .replace("\"\"\"\\\n  a\nb\"\"\"", &format!("\"{TOKEN}\""))
        .replace("\"second\"", &format!("\"{TOKEN}\""))
        .replace("a = 1", &format!("a = \"{TOKEN}\""))
        .replace("c = \"x\"", &format!("c = \"{TOKEN}\""));
    assert_eq!(sealed, expected);
}

const YAML: &str = "---
# head
title:   'it''s'   # why
\"quoted key\" : \"a\\tb\"
list:
- one # first
-   two
- - nested: |2 # kept
      indented
    other: >-
      folded
      text

# between
plain: several
  lines
flow: {a: 1, \"b\": [x, 'y',
   0x1F], c: ~, d: { } }
empty:
null_value: null
ratio: 1.5e3
on: yes
yes: true
key with spaces: \u{e9}\u{20ac} # \u{1f600}
last: |
  block
  text
";

#[test]
fn yaml_in_odd_formatting_is_read_and_only_values_change() {
    let document = parse(Format::Yaml, YAML);
    let expected = vec![
        row("title", Kind::String, "it's"),
        row("\"quoted key\"", Kind::String, "a\tb"),
        row("list[0]", Kind::String, "one"),
        row("list[1]", Kind::String, "two"),
        row("list[2][0].nested", Kind::String, "indented\n"),
        row("list[2][0].other", Kind::String, "folded text"),
        row("plain", Kind::String, "several lines"),
        row("flow.a", Kind::Integer, "1"),
        row("flow.b[0]", Kind::String, "x"),
        row("flow.b[1]", Kind::String, "y"),
        row("flow.b[2]", Kind::Integer, "0x1F"),
        row("flow.c", Kind::Null, "~"),
        row("empty", Kind::Null, ""),
        row("null_value", Kind::Null, "null"),
        row("ratio", Kind::Float, "1.5e3"),
        row("on", Kind::String, "yes"),
        row("yes", Kind::Boolean, "true"),
        row("\"key with spaces\"", Kind::String, "\u{e9}\u{20ac}"),
        row("last", Kind::String, "block\ntext\n"),
    ];
    assert_eq!(list(&document), expected);

    let paths: Vec<&str> = expected
        .iter()
        .map(|(path, ..)| path.as_str())
        .filter(|path| *path != "empty")
        .collect();
    let sealed = seal(&document, &paths);
    let expected = format!(
        "---
# head
title:   '{TOKEN}'   # why
\"quoted key\" : \"{TOKEN}\"
list:
- {TOKEN} # first
-   {TOKEN}
- - nested: {TOKEN} # kept
    other: {TOKEN}

# between
plain: {TOKEN}
flow: {{a: \"{TOKEN}\", \"b\": [\"{TOKEN}\", '{TOKEN}',
   \"{TOKEN}\"], c: \"{TOKEN}\", d: {{ }} }}
empty:
null_value: {TOKEN}
ratio: {TOKEN}
on: {TOKEN}
yes: {TOKEN}
key with spaces: {TOKEN} # \u{1f600}
last: {TOKEN}
"
    );
    assert_eq!(sealed, expected);

    let absent = set(&document, "empty", NewValue::clear_string("x")).unwrap_err();
    assert_eq!(absent.line, 19, "{absent}");
}

#[test]
fn text_of_several_lines_becomes_a_block_and_comes_back() {
    let pem = "-----BEGIN KEY-----\nabc=\n\n  def\n-----END KEY-----\n";
    let text = format!("a:\n  key: {TOKEN}\n  list:\n  - {TOKEN}\nz: 1\n");
    let document = parse(Format::Yaml, &text);
    let edits = [
        (at(&document, "a.key"), NewValue::clear_string(pem)),
        (
            at(&document, "a.list[0]"),
            NewValue::clear_string(pem.trim_end()),
        ),
    ];
    let clear = document.replace(&edits).unwrap();
    assert_eq!(
        *clear,
        "a:\n  key: |\n    -----BEGIN KEY-----\n    abc=\n\n      def\n    -----END KEY-----\n  list:\n  \
         - |-\n    -----BEGIN KEY-----\n    abc=\n\n      def\n    -----END KEY-----\nz: 1\n"
    );
    let again = parse(Format::Yaml, &clear);
    assert_eq!(seal(&again, &["a.key", "a.list[0]"]), text);

    let text = format!("key = \"{TOKEN}\" # c\n");
    let document = parse(Format::Toml, &text);
    let clear = set(&document, "key", NewValue::clear_string("a\n\"\"\"b\\\n")).unwrap();
    assert_eq!(clear, "key = \"\"\"\na\n\\\"\\\"\"b\\\\\n\"\"\" # c\n");
    assert_eq!(seal(&parse(Format::Toml, &clear), &["key"]), text);
}

const JSON: &str = "\t{ \"a\" :\"x\\u0041\\n\",\r\n  \"b\\\"c\":[ 1,-2.5e3 , true,null,{}, [] ],\n\"é\":{\"d\":\"\"}}  \n";

#[test]
fn json_in_odd_formatting_is_read_and_only_values_change() {
    let document = parse(Format::Json, JSON);
    let expected = vec![
        row("a", Kind::String, "xA\n"),
        row(r#""b\"c"[0]"#, Kind::Integer, "1"),
        row(r#""b\"c"[1]"#, Kind::Float, "-2.5e3"),
        row(r#""b\"c"[2]"#, Kind::Boolean, "true"),
        row(r#""b\"c"[3]"#, Kind::Null, "null"),
        row(r#""é".d"#, Kind::String, ""),
    ];
    assert_eq!(list(&document), expected);
    let paths: Vec<&str> = expected.iter().map(|(path, ..)| path.as_str()).collect();
    let t = format!("\"{TOKEN}\"");
    assert_eq!(
        seal(&document, &paths),
        format!(
            "\t{{ \"a\" :{t},\r\n  \"b\\\"c\":[ {t},{t} , {t},{t},{{}}, [] ],\n\"é\":{{\"d\":{t}}}}}  \n"
        )
    );
}

const ENV: &str = "# comment\n\n  export  A=one # note\r\nB = 'two # $x\nlines'\nC=\"a\\n\\\"\\$\\\\\"\nD=\nE=a b=c\t# x\nF= # none\n_g.h-i=${A}";

#[test]
fn env_in_odd_formatting_is_read_and_only_values_change() {
    let document = parse(Format::Env, ENV);
    let expected = vec![
        row("A", Kind::String, "one"),
        row("B", Kind::String, "two # $x\nlines"),
        row("C", Kind::String, "a\n\"$\\"),
        row("D", Kind::String, ""),
        row("E", Kind::String, "a b=c"),
        row("F", Kind::String, ""),
        row("\"_g.h-i\"", Kind::String, "${A}"),
    ];
    assert_eq!(list(&document), expected);
    let paths: Vec<&str> = expected.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(
        seal(&document, &paths),
        format!(
            "# comment\n\n  export  A={TOKEN} # note\r\nB = '{TOKEN}'\nC=\"{TOKEN}\"\nD={TOKEN}\nE={TOKEN}\t# x\nF={TOKEN} # none\n_g.h-i={TOKEN}"
        )
    );
}

#[test]
fn what_is_refused_names_place_and_remedy() {
    let cases = [
        (Format::Toml, "a = 1\na = 2\n", 2, 1),
        (Format::Toml, "a = b\n", 1, 5),
        (Format::Toml, "[a]\nb = \"x\n", 2, 7),
        (Format::Json, "{\"a\": 1, \"a\": 2}", 1, 10),
        (Format::Json, "{\"a\": 1, // x\n}", 1, 10),
        (Format::Json, "{\"a\": 1,}", 1, 9),
        (Format::Json, "{\"a\": \"\\ud800\"}", 1, 8),
        (Format::Json, "\"a\"", 1, 1),
        (Format::Json, "", 1, 1),
        (Format::Json, "{\"a\": 01}", 1, 8),
        (Format::Json, "{\"a\": 1} {}", 1, 10),
        (Format::Yaml, "a: 1\nb: 2\na: 3\n", 3, 1),
        (Format::Yaml, "a: &x 1\n", 1, 4),
        (Format::Yaml, "a: 1\nb: *x\n", 2, 4),
        (Format::Yaml, "a: !!str 1\n", 1, 4),
        (Format::Yaml, "<<: {a: 1}\n", 1, 1),
        (Format::Yaml, "a: 1\n---\nb: 2\n", 2, 1),
        (Format::Yaml, "%YAML 1.1\n---\na: 1\n", 1, 1),
        (Format::Yaml, "? [a]\n: 1\n", 1, 3),
        (Format::Yaml, "a: \0\n", 1, 4),
        (Format::Yaml, "just text\n", 1, 1),
        (Format::Env, "A=1\nA=2\n", 2, 1),
        (Format::Env, "A=1\nB\n", 2, 1),
        (Format::Env, "1A=1\n", 1, 1),
        (Format::Env, "A='x\n", 1, 3),
        (Format::Env, "A=\"x\\q\"\n", 1, 5),
        (Format::Env, "A=x'y'\n", 1, 4),
        (Format::Env, "A=x#y\n", 1, 4),
        (Format::Env, "A=#y\n", 1, 3),
        (Format::Env, "A='x'y\n", 1, 6),
        (Format::Env, "A='x'#y\n", 1, 6),
        (Format::Toml, "\u{feff}a = 1\n", 1, 1),
    ];
    let mut wrong = Vec::new();
    for (format, text, line, column) in cases {
        let error = refusal(format, text);
        if (error.line, error.column) != (line, column) {
            wrong.push(format!("{format} {text:?} not at {line}:{column}: {error}"));
        }
        assert!(
            !error.message.is_empty() && !error.remedy.is_empty(),
            "{text:?}"
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn errors_and_debug_never_quote_values() {
    let secret = "hunter2";
    for (format, text) in [
        (Format::Toml, "a = hunter2\n"),
        (Format::Toml, "a = \"hunter2\n"),
        (Format::Toml, "a = \"hunter2\"\na = 1"),
        (Format::Json, "{\"a\": hunter2}"),
        (Format::Json, "{\"a\": \"\\ud800hunter2\"}"),
        (Format::Json, "{\"a\": \"hunter2\""),
        (Format::Yaml, "a: \"hunter2\n"),
        (Format::Yaml, "a: !hunter2 x\n"),
        (Format::Yaml, "a: *hunter2\n"),
        (Format::Yaml, "hunter2\n"),
        (Format::Env, "A='hunter2\n"),
        (Format::Env, "hunter2 hunter2\n"),
        (Format::Env, "A=hunter2'\n"),
    ] {
        let error = refusal(format, text);
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
    let document = parse(Format::Toml, "a = \"hunter2\"");
    let shown = format!(
        "{document:?} {:?} {:?}",
        document.entries(),
        NewValue::clear_string(secret)
    );
    assert!(!shown.contains(secret), "{shown}");
    let error = set(&document, "a", NewValue::clear(Kind::Integer, secret)).unwrap_err();
    assert!(!error.to_string().contains(secret), "{error}");
}

#[test]
fn depth_number_and_size_are_bounded() {
    let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(Document::parse(Format::Json, &deep(63)).is_ok());
    assert!(refusal(Format::Json, &deep(64)).message.contains("deeper"));
    refusal(Format::Json, &deep(100_000));
    refusal(Format::Yaml, &format!("a: {}", "[".repeat(200_000)));
    refusal(Format::Yaml, &"- ".repeat(200_000));
    refusal(Format::Yaml, &"{a: ".repeat(200_000));
    refusal(Format::Toml, &format!("a = {}", "[".repeat(200_000)));
    refusal(
        Format::Toml,
        &format!("{} = 1", vec!["a"; 100_000].join(".")),
    );
    refusal(Format::Toml, &format!("[{}]", vec!["a"; 100_000].join(".")));
    let many = |number: usize| format!("[{}1]", "1,".repeat(number - 1));
    assert!(Document::parse(Format::Json, &many(40_000)).is_ok());
    assert!(
        refusal(Format::Json, &many(40_001))
            .message
            .contains("40000 values")
    );
    let long = |length: usize| format!("{} = 1", "k".repeat(length));
    assert!(Document::parse(Format::Toml, &long(1000)).is_ok());
    assert!(
        refusal(Format::Toml, &long(1001))
            .message
            .contains("longer")
    );
    let large = format!("a = '{}'", "x".repeat(4 * 1024 * 1024));
    assert!(refusal(Format::Toml, &large).message.contains("larger"));
}

#[test]
fn edits_that_make_no_sense_are_refused() {
    let document = parse(Format::Json, "{\"a\":1,\"b\":\"x\"}");
    let edit = |index| (index, NewValue::clear_string("y"));
    assert!(document.replace(&[edit(2)]).is_err());
    assert!(document.replace(&[edit(0), edit(0)]).is_err());
    assert_eq!(
        *document.replace(&[edit(1), edit(0)]).unwrap(),
        "{\"a\":\"y\",\"b\":\"y\"}"
    );
    assert_eq!(*document.replace(&[]).unwrap(), document.as_str());
    for (format, kind, text) in [
        (Format::Json, Kind::Float, "nan"),
        (Format::Json, Kind::DateTime, "1979-05-27"),
        (Format::Json, Kind::Integer, "1.5"),
        (Format::Json, Kind::Integer, "1, \"c\": 2"),
        (Format::Toml, Kind::Null, "null"),
        (Format::Toml, Kind::Integer, "1\nb = 2"),
        (Format::Yaml, Kind::Boolean, "yes"),
        (Format::Env, Kind::Null, ""),
        (Format::Env, Kind::String, "a\0b"),
        (Format::Env, Kind::Integer, "1\nB=2"),
    ] {
        let text_of = match format {
            Format::Toml => "a = 1",
            Format::Yaml => "a: 1",
            Format::Json => "{\"a\":1}",
            Format::Env => "a=1",
        };
        let document = parse(format, text_of);
        assert!(
            set(&document, "a", NewValue::clear(kind, text)).is_err(),
            "{format} {kind} {text}"
        );
    }
}

#[test]
fn numbers_keep_their_spelling_where_the_format_has_it() {
    let cases = [
        (Format::Toml, Kind::Integer, "0xFF", "a = 0xFF"),
        (Format::Yaml, Kind::Integer, "0xFF", "a: 0xFF"),
        (Format::Json, Kind::Integer, "0xFF", "{\"a\":255}"),
        (Format::Json, Kind::Integer, "-7", "{\"a\":-7}"),
        (Format::Yaml, Kind::Integer, "1_000", "a: 1000"),
        (Format::Toml, Kind::Integer, "0123", "a = 123"),
        (Format::Yaml, Kind::Float, "inf", "a: .inf"),
        (Format::Toml, Kind::Float, "-.inf", "a = -inf"),
        (Format::Toml, Kind::Float, ".5", "a = 0.5"),
        (Format::Json, Kind::Float, "1_0.5", "{\"a\":10.5}"),
        (Format::Toml, Kind::Boolean, "True", "a = true"),
        (Format::Yaml, Kind::Boolean, "True", "a: True"),
        (Format::Toml, Kind::DateTime, "1979-05-27", "a = 1979-05-27"),
        (Format::Yaml, Kind::Null, "~", "a: ~"),
        (Format::Json, Kind::Null, "~", "{\"a\":null}"),
        (Format::Env, Kind::Integer, "5", "a=5"),
    ];
    for (format, kind, text, expected) in cases {
        let from = match format {
            Format::Toml => format!("a = \"{TOKEN}\""),
            Format::Yaml => format!("a: {TOKEN}"),
            Format::Json => format!("{{\"a\":\"{TOKEN}\"}}"),
            Format::Env => format!("a={TOKEN}"),
        };
        let changed = set(&parse(format, &from), "a", NewValue::clear(kind, text)).unwrap();
        assert_eq!(changed, expected);
    }
}

#[test]
fn sealed_values_are_recognised() {
    let text =
        format!("a = \"{TOKEN}\"\nb = \"x\"\nc = 1\nd = \"\"\"\n-----BEGIN PBSEAL-----\n\"\"\"\n");
    let document = parse(Format::Toml, &text);
    let sealed: Vec<bool> = document.entries().iter().map(Entry::is_sealed).collect();
    assert_eq!(sealed, [true, false, false, true]);
    assert!(
        document.entries()[0].sealed().unwrap().is_err(),
        "it is cut short"
    );
    assert!(document.entries()[1].sealed().is_none());
}

#[test]
fn reading_takes_no_longer_than_its_length() {
    let member = |number: usize| format!("\"k{number}\": \"{}\"", "v".repeat(280));
    let flow = format!(
        "{{{}}}",
        (0..13_000).map(member).collect::<Vec<_>>().join(", ")
    );
    let env: String = (0..39_000)
        .map(|i| format!("K{i}=\"{}\"\n", "v".repeat(80)))
        .collect();
    let toml: String = (0..39_000)
        .map(|i| format!("k{i}.a = \"\"\"{}\"\"\"\n", "v".repeat(70)))
        .collect();
    let before = std::time::Instant::now();
    parse(Format::Json, &flow);
    parse(Format::Yaml, &flow);
    parse(Format::Env, &env);
    assert!(toml.len() < 4 * 1024 * 1024);
    refusal(Format::Toml, &toml);
    // Quadratic, this would take hours.
    assert!(before.elapsed() < std::time::Duration::from_secs(60));
}
