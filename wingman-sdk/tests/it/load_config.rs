//! Configuration files with sealed values, loaded in four formats and through two other crates.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use blindfold_core::Refusal;
use serde::{Deserialize, Deserializer, de};
use wingman_sdk::{
    ExposeSecret, LoadConfigError, Sealed, SecretBytes, SecretString, Wingman,
    document::{Document, Format, Kind, Label, NewValue},
    sealed::Text,
};

use crate::unsealing::{Behaviour, TestUnsealer, setup, simple};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    listen: String,
    port: u16,
    ratio: f64,
    on: bool,
    password: SecretString,
    plain: String,
    kept: Sealed<SecretString>,
    number: Sealed<u32, Text>,
    db: Database,
    absent: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Database {
    hosts: Vec<IpAddr>,
    #[serde(flatten)]
    rest: Rest,
    login: Login,
    mode: Mode,
    limits: BTreeMap<u8, i64>,
}

#[derive(Debug, Deserialize)]
struct Rest {
    token: Sealed<SecretString>,
    pin: Sealed<u16, Text>,
    user: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Login {
    Number {
        #[expect(dead_code, reason = "never met: tried and thrown away")]
        number: u64,
    },
    Word {
        word: Sealed<SecretString>,
    },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Slow { seconds: u32 },
}

pub(crate) const TOML: &str = r#"
listen = "127.0.0.1"
port = 5432
ratio = 2.5
on = true
password = "hunter2"
plain = "open"
kept = "kept secret"
number = 70_000
[db]
hosts = ["10.0.0.1", "10.0.0.2"]
token = "same"
pin = 1234
user = "same"
login = { word = "same" }
mode = { slow = { seconds = 3 } }
limits = { 1 = -1 }
"#;

pub(crate) const YAML: &str = "
listen: 127.0.0.1
port: 5432
ratio: 2.5
on: true
password: hunter2
plain: open
kept: kept secret
number: 70000
absent: ~
db:
  hosts: [10.0.0.1, 10.0.0.2]
  token: same
  pin: 1234
  user: same
  login: {word: same}
  mode:
    slow:
      seconds: 3
  limits: {1: -1}
";

const JSON: &str = r#"{"listen": "127.0.0.1", "port": 5432, "ratio": 2.5, "on": true, "password": "hunter2",
  "plain": "open", "kept": "kept secret", "number": 70000, "absent": null, "db": {"hosts": ["10.0.0.1", "10.0.0.2"],
  "token": "same", "pin": 1234, "user": "same", "login": {"word": "same"}, "mode": {"slow": {"seconds": 3}},
  "limits": {"1": -1}}}"#;

pub(crate) const SEALED: [&str; 13] = [
    "port",
    "ratio",
    "on",
    "password",
    "kept",
    "number",
    "db.hosts[1]",
    "db.token",
    "db.pin",
    "db.user",
    "db.login.word",
    "db.mode.slow.seconds",
    "db.limits.1",
];

/// The text with the values at these paths sealed for their places.
pub(crate) fn seal(unsealer: &TestUnsealer, format: Format, text: &str, paths: &[&str]) -> String {
    let document = Document::parse(format, text).unwrap();
    let edits: Vec<_> = paths
        .iter()
        .map(|path| {
            let index = document.find(&path.parse().unwrap()).unwrap();
            let entry = &document.entries()[index];
            (
                index,
                sealed(
                    unsealer,
                    &entry.label().to_string(),
                    entry.text().as_bytes(),
                ),
            )
        })
        .collect();
    document.replace(&edits).unwrap().to_string()
}

fn sealed(unsealer: &TestUnsealer, label: &str, content: &[u8]) -> NewValue {
    NewValue::Sealed(token(unsealer, label, content))
}

pub(crate) fn token(unsealer: &TestUnsealer, label: &str, content: &[u8]) -> String {
    simple(&unsealer.record, label, content).to_text()
}

pub(crate) fn file(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// The error of a file that is not loaded, with its causes.
pub(crate) fn refusal<T: de::DeserializeOwned>(
    wingman: &Wingman,
    name: &str,
    text: &str,
) -> (LoadConfigError, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), name, text);
    let Err(error) = wingman.load_config::<T>(path) else {
        panic!("{name} was loaded")
    };
    let mut shown = format!("{error:?} {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        shown.push_str(&format!(": {source}"));
        cause = source.source();
    }
    (error, shown)
}

fn check(config: &Config) {
    assert_eq!(
        (config.listen.as_str(), config.port, config.ratio, config.on),
        ("127.0.0.1", 5432, 2.5, true)
    );
    assert_eq!(config.password.expose_secret(), "hunter2");
    assert_eq!(config.plain, "open");
    assert_eq!(
        config.kept.expose_labelled("kept").unwrap().expose_secret(),
        "kept secret"
    );
    assert_eq!(config.number.expose_labelled("number:integer"), Ok(&70_000));
    assert_eq!(config.absent, None);
    assert_eq!(
        config.db.hosts,
        [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])]
    );
    // Three values have the same content; each field still gets the one of its place.
    assert_eq!(
        config
            .db
            .rest
            .token
            .expose_labelled("db.token")
            .unwrap()
            .expose_secret(),
        "same"
    );
    assert_eq!(config.db.rest.pin.expose(), Ok(&1234));
    assert_eq!(config.db.rest.user, "same");
    let Login::Word { word } = &config.db.login else {
        panic!()
    };
    assert_eq!(word.expose().unwrap().expose_secret(), "same");
    assert_eq!(config.db.mode, Mode::Slow { seconds: 3 });
    assert_eq!(config.db.limits[&1], -1);
}

#[test]
fn values_of_each_format_are_opened_to_their_kinds_in_one_round_trip() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let directory = tempfile::tempdir().unwrap();
    let formats = [("a.toml", TOML), ("a.yaml", YAML), ("a.json", JSON)];
    for (number, (name, text)) in formats.into_iter().enumerate() {
        let format = Format::of_path(Path::new(name)).unwrap();
        let path = file(
            directory.path(),
            name,
            &seal(&unsealer, format, text, &SEALED),
        );
        check(&wingman.load_config(path).unwrap());
        let requests = unsealer.requests();
        assert_eq!(requests.len(), number + 1);
        assert_eq!(requests[number].count(), SEALED.len());
    }
}

#[test]
fn unsealed_files_need_nobody_and_sealed_fields_refuse_plain_text() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let sealed = ["kept", "number", "db.token", "db.pin", "db.login.word"];
    let text = seal(&unsealer, Format::Toml, TOML, &sealed);
    let directory = tempfile::tempdir().unwrap();
    check(
        &wingman
            .load_config(file(directory.path(), "a.toml", &text))
            .unwrap(),
    );
    let plain: toml::Table = wingman
        .load_config(file(directory.path(), "b.toml", TOML))
        .unwrap();
    assert_eq!(plain, toml::from_str(TOML).unwrap());
    assert_eq!(unsealer.requests().len(), 1);

    let text = seal(&unsealer, Format::Toml, TOML, &SEALED[5..]);
    let (_, shown) = refusal::<Config>(&wingman, "service.toml", &text);
    assert!(
        shown.contains("service.toml:8: `kept`") && shown.contains("plain text is refused"),
        "{shown}"
    );
    assert!(!shown.contains("kept secret"), "{shown}");
}

#[test]
fn env_files_give_text_and_what_reads_as_more() {
    #[derive(Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    struct Env {
        listen: IpAddr,
        port: u16,
        ratio: f32,
        whole: f64,
        on: bool,
        mode: Mode,
        password: SecretString,
        kept: Sealed<SecretString>,
    }
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let text = "LISTEN=::1\nexport PORT=5432\nRATIO='1.5'\nWHOLE=3\nON=true\nMODE=fast\nPASSWORD=\"a\\n$\"\nKEPT=x # y\n";
    let sealed = seal(
        &unsealer,
        Format::Env,
        text,
        &["PORT", "ON", "PASSWORD", "KEPT"],
    );
    let directory = tempfile::tempdir().unwrap();
    let env: Env = wingman
        .load_config(file(directory.path(), ".env", &sealed))
        .unwrap();
    assert_eq!(
        (env.port, env.ratio, env.whole, env.on),
        (5432, 1.5, 3.0, true)
    );
    assert_eq!(
        (env.listen, env.mode),
        (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), Mode::Fast)
    );
    assert_eq!(env.password.expose_secret(), "a\n$");
    assert_eq!(env.kept.expose().unwrap().expose_secret(), "x");
    let (_, shown) = refusal::<Env>(&wingman, "x.env", &sealed.replace("WHOLE=3", "WHOLE=three"));
    assert!(
        shown.contains("x.env:4: `WHOLE`: here is a text"),
        "{shown}"
    );
}

#[test]
fn value_at_another_place_is_refused_with_both_places() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let text = seal(&unsealer, Format::Yaml, YAML, &SEALED);
    let password = token(&unsealer, "password", b"hunter2");
    let moved = text.replace("plain: open", &format!("plain: {password}"));
    let (error, shown) = refusal::<Config>(&wingman, "service.yaml", &moved);
    assert!(
        matches!(&error, LoadConfigError::Misplaced { label, .. } if label == "password"),
        "{shown}"
    );
    assert!(
        shown.contains("service.yaml:7: `plain`") && shown.contains("belongs to `password`"),
        "{shown}"
    );
    // The whole collection under another name, another index, no label, and labels of other customs.
    let renamed = text.replace("\ndb:", "\ndatabase:");
    let (_, shown) = refusal::<Config>(&wingman, "a.yaml", &renamed);
    assert!(
        shown.contains("`database.hosts[1]` holds a sealed value that belongs to `db.hosts[1]`"),
        "{shown}"
    );
    let (_, shown) = refusal::<Config>(&wingman, "a.yaml", &text.replace("[10.0.0.1, ", "["));
    assert!(
        shown.contains("`db.hosts[0]`") && shown.contains("`db.hosts[1]`"),
        "{shown}"
    );
    for label in [
        "",
        "payments/password",
        "PASSWORD",
        "\"password\"",
        "password:string",
        "\u{1b}[2Jpassword\nloaded",
    ] {
        let token = token(&unsealer, label, b"x");
        let (error, shown) =
            refusal::<Config>(&wingman, "a.toml", &format!("password = '{token}'"));
        assert!(
            matches!(&error, LoadConfigError::Misplaced { label: found, .. } if found == label),
            "{shown}"
        );
        assert!(!error.to_string().contains(char::is_control), "{shown}");
    }
    assert_eq!(
        unsealer.requests().len(),
        0,
        "nothing is asked for before the places are right"
    );
}

#[test]
fn value_opens_to_the_kind_it_was_sealed_as() {
    #[derive(Debug, Deserialize)]
    struct Port {
        #[expect(dead_code, reason = "never read: it is refused")]
        port: u16,
    }
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let text = |label: &str, content: &str| {
        format!("port = '{}'\n", token(&unsealer, label, content.as_bytes()))
    };
    let cases = [
        // Sealed as text: stays text.
        ("port", "5432", "here is a text, expected u16"),
        // The label lies about the content.
        (
            "port:integer",
            "secret-x",
            "not an integer, as its label says",
        ),
        ("port:boolean", "secret-x", "not true or false"),
        ("port:datetime", "secret-x", "not a TOML date"),
        (
            "port:integer",
            "70000",
            "an integer does not fit, expected u16",
        ),
        ("port:null", "", "no value"),
    ];
    for (label, content, expected) in cases {
        let (_, shown) = refusal::<Port>(&wingman, "p.toml", &text(label, content));
        assert!(shown.contains(expected), "{label}: {shown}");
        assert!(
            shown.contains("p.toml") && shown.contains("`port`"),
            "{shown}"
        );
        assert!(
            !content.starts_with("secret") || !shown.contains("secret-x"),
            "{shown}"
        );
    }
    let date = text("port:datetime", "1979-05-27");
    let directory = tempfile::tempdir().unwrap();
    let table: BTreeMap<String, toml::value::Datetime> = wingman
        .load_config(file(directory.path(), "d.toml", &date))
        .unwrap();
    assert_eq!(table["port"].to_string(), "1979-05-27");
}

#[test]
fn bytes_that_are_no_text_open_into_fields_that_take_them() {
    #[derive(Debug, Deserialize)]
    struct Keys {
        key: Sealed<SecretBytes>,
    }
    #[derive(Debug, Deserialize)]
    struct Plain {
        #[expect(dead_code, reason = "never read: it is refused")]
        key: String,
    }
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let text = format!("{{\"key\":\"{}\"}}", token(&unsealer, "key", b"\xff\x00"));
    let directory = tempfile::tempdir().unwrap();
    let keys: Keys = wingman
        .load_config(file(directory.path(), "a.json", &text))
        .unwrap();
    assert_eq!(keys.key.expose().unwrap().expose_secret(), b"\xff\x00");
    let (_, shown) = refusal::<Plain>(&wingman, "a.json", &text);
    assert!(shown.contains("bytes that are no text"), "{shown}");

    let armor = simple(&unsealer.record, "key", b"k").to_armor();
    let text = format!("key: |\n  {}\n", armor.trim_end().replace('\n', "\n  "));
    let keys: Keys = wingman
        .load_config(file(directory.path(), "a.yaml", &text))
        .unwrap();
    assert_eq!(keys.key.expose().unwrap().expose_secret(), b"k");
}

/// A type whose error quotes what it was given, as many do.
#[derive(Debug)]
struct Quoting;

impl<'de> Deserialize<'de> for Quoting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Err(de::Error::custom(format!("cannot read {text}")))
    }
}

#[test]
fn no_error_quotes_what_was_opened() {
    #[derive(Debug, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        _inner: BTreeMap<String, Quoting>,
    }
    #[derive(Debug, Deserialize)]
    struct Variant {
        _a: Mode,
    }
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let text = seal(&unsealer, Format::Yaml, "_a: hunter2\nb: plain\n", &["_a"]);
    type Map = BTreeMap<String, Quoting>;
    for (_, shown) in [
        refusal::<Map>(&wingman, "a.yaml", &text),
        refusal::<Flat>(&wingman, "a.yaml", &text),
        refusal::<Variant>(&wingman, "a.yaml", &text),
        refusal::<BTreeMap<String, u8>>(&wingman, "a.yaml", &text),
        refusal::<BTreeMap<String, Sealed<IpAddr, Text>>>(&wingman, "a.yaml", &text),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("a.yaml:1"), "{shown}");
    }
    // What is no secret is told.
    let (_, shown) = refusal::<Map>(&wingman, "a.yaml", "b: plain\n");
    assert!(
        shown.contains("a.yaml:1: `b`: cannot read plain"),
        "{shown}"
    );
}

#[test]
fn errors_name_file_line_and_key_path() {
    let rule = |_: &_, _: &_| Err((Refusal::Denied, 0));
    let (_world, unsealer, wingman) = setup(Behaviour::rule(rule));
    let text = seal(&unsealer, Format::Toml, TOML, &["db.hosts[1]"]);
    let (error, shown) = refusal::<Config>(&wingman, "s.toml", &text);
    assert!(matches!(error, LoadConfigError::Open { .. }));
    assert!(
        shown.contains("s.toml:11: `db.hosts[1]` was not opened") && shown.contains("denied"),
        "{shown}"
    );
    assert!(!error.may_pass());

    let cases = [
        ("s.toml", "a = \n", "s.toml:1:5: no TOML"),
        ("s.yaml", "a: [\n", "s.yaml:"),
        ("s.conf", "a = 1\n", "does not tell the format"),
        ("s.toml", "[db]\nhosts = ['x']\n", "s.toml:2: `db.hosts[0]`"),
        ("s.toml", "listen = '1'\nlisen = '2'\n", "s.toml:2: `lisen`"),
        (
            "s.json",
            "{\"db\": {\"hosts\": [], \"mode\": 5}}",
            "s.json:1: `db.mode`",
        ),
        (
            "s.toml",
            "a = 'pbseal1:UEJTRUFM'\n",
            "s.toml:1: `a` looks like a sealed value and is none (TRUNCATED)",
        ),
        ("s.toml", "listen = 'a'\n", "`port` is missing"),
        (
            "s.json",
            "{\"db\": 5}",
            "s.json:1: `db`: here is an integer",
        ),
    ];
    for (name, text, expected) in cases {
        let (_, shown) = refusal::<Config>(&wingman, name, text);
        assert!(shown.contains(expected), "{text}: {shown}");
    }
    let missing = wingman
        .load_config::<Config>("/nonexistent/a.toml")
        .unwrap_err();
    assert!(missing.to_string().contains("does not exist"), "{missing}");
}

#[test]
fn many_files_are_opened_together() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..20)
        .map(|number| {
            let text = format!("{{\"a\":\"{number}\",\"b\":{{\"c\":{number}}},\"d\":[true]}}");
            let text = seal(&unsealer, Format::Json, &text, &["a", "b.c", "d[0]"]);
            file(directory.path(), &format!("{number}.json"), &text)
        })
        .collect();
    let all: Vec<serde_json::Value> = wingman.load_configs(&paths).unwrap();
    for (number, value) in all.iter().enumerate() {
        assert_eq!(
            *value,
            serde_json::json!({"a": number.to_string(), "b": {"c": number}, "d": [true]})
        );
    }
    assert_eq!(unsealer.requests().len(), 1);
    assert_eq!(unsealer.requests()[0].count(), 60);
    // One that is wrong spoils all, before anything is asked for.
    fs::write(&paths[7], fs::read(&paths[8]).unwrap().repeat(2)).unwrap();
    let error = wingman
        .load_configs::<serde_json::Value, _>(&paths)
        .unwrap_err();
    assert!(error.to_string().contains("7.json:1:"), "{error}");
    assert_eq!(unsealer.requests().len(), 1);
    assert!(
        wingman
            .load_configs::<Config, PathBuf>([])
            .unwrap()
            .is_empty()
    );
}

#[test]
fn label_of_an_entry_is_what_loading_demands() {
    let document = Document::parse(Format::Json, "{\"a\":[{\"b c\":1.5}]}").unwrap();
    let label = document.entries()[0].label();
    assert_eq!(label.to_string(), "a[0].\"b c\":float");
    assert_eq!(label, Label::of(document.entries()[0].path(), Kind::Float));
}
