use std::{fs, time::Duration};

use serde::Deserialize;

use super::*;
use crate::listener::Limits;

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    listen: ListenConfig,
    audit: AuditConfig,
    #[serde(default)]
    metrics: MetricsConfig,
    #[serde(default)]
    names: Vec<Name>,
    #[serde(default)]
    label: String,
}

/// Without `deny_unknown_fields`, on purpose.
#[derive(Debug, Deserialize)]
struct Name {
    name: String,
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(n, v)| ((*n).into(), (*v).into()))
        .collect()
}

fn load_text(
    text: &str,
    pairs: &[(&str, &str)],
) -> (tempfile::TempDir, Result<Config, ConfigError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.toml");
    fs::write(&path, text).unwrap();
    let config = load_with(Some(&path), "TEST", environment(pairs));
    (folder, config)
}

const GOOD: &str = "[audit]\npath = \"audit.jsonl\"\n\n[listen]\naddress = \"127.0.0.1:8500\"\n\n[listen.limits]\nhandshake_timeout = \"250ms\"\n";

#[test]
fn file_and_defaults_and_paths_from_its_folder() {
    let (folder, config) = load_text(GOOD, &[]);
    let config = config.unwrap();
    assert_eq!(config.listen.address.port(), 8500);
    assert_eq!(
        config.listen.limits.handshake_timeout,
        Duration::from_millis(250)
    );
    assert_eq!(
        config.listen.limits.max_connections,
        Limits::default().max_connections
    );
    assert_eq!(
        config.audit.path.as_path(),
        folder.path().join("audit.jsonl")
    );
    assert!(config.metrics.address.ip().is_loopback());
}

#[test]
fn environment_overrides_and_adds() {
    let (_folder, config) = load_text(
        GOOD,
        &[
            ("TEST__LISTEN__ADDRESS", "127.0.0.1:9999"),
            ("TEST__LISTEN__LIMITS__MAX_CONNECTIONS", "7"),
            ("TEST__METRICS__ALLOW_REMOTE", "true"),
            ("TEST__AUDIT__PATH", "/var/log/audit"),
            ("TEST__NAMES", "[{name = \"a\"}, {name = \"b\"}]"),
            ("OTHER__LISTEN__ADDRESS", "garbage"),
            ("TESTING", "garbage"),
        ],
    );
    let config = config.unwrap();
    assert_eq!(config.listen.address.port(), 9999);
    assert_eq!(config.listen.limits.max_connections, 7);
    assert!(config.metrics.allow_remote);
    assert_eq!(config.audit.path.as_path(), Path::new("/var/log/audit"));
    assert_eq!(
        config
            .names
            .iter()
            .map(|n| n.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[test]
fn environment_alone_is_enough() {
    let config: Config =
        load_with(None, "TEST", environment(&[("TEST__AUDIT__PATH", "a")])).unwrap();
    assert_eq!(config.audit.path.as_path(), Path::new("a"));
}

#[test]
fn a_value_that_looks_like_a_number_may_be_text() {
    for value in [
        "8080",
        "true",
        "1979-05-27",
        "[1]",
        "plain",
        "a = b",
        "\"quoted",
    ] {
        let (_folder, config) = load_text(GOOD, &[("TEST__LABEL", value)]);
        assert_eq!(config.unwrap().label, value);
    }
    let (_folder, config) = load_text(GOOD, &[("TEST__LABEL", "\"quoted\"")]);
    assert_eq!(config.unwrap().label, "quoted");
}

#[test]
fn unknown_key_is_refused_with_file_line_column_and_name() {
    let (folder, config) = load_text(
        "[audit]\npath = \"a\"\n[listen]\n  adress = \"127.0.0.1:1\"\n",
        &[],
    );
    let error = config.unwrap_err();
    let path = folder.path().join("test.toml");
    assert_eq!(
        error.place(),
        &Place::File {
            path: path.clone(),
            line: 4,
            column: 3
        }
    );
    assert_eq!(error.key(), "listen.adress");
    assert!(
        error
            .to_string()
            .starts_with(&format!("{}:4:3: listen.adress: ", path.display())),
        "{error}"
    );
    assert!(error.to_string().contains("address"), "{error}");
}

#[test]
fn unknown_key_is_refused_where_the_type_does_not_ask_for_it() {
    for (text, key, line) in [
        ("extra = 1\n[audit]\npath = \"a\"\n", "extra", 1),
        ("[audit]\npath = \"a\"\n[extra.deep]\nx = 1\n", "extra", 3),
        (
            "[audit]\npath = \"a\"\n[[names]]\nname = \"n\"\n[[names]]\nname = \"m\"\nnick = \"x\"\n",
            "names.1.nick",
            7,
        ),
    ] {
        let (_folder, config) = load_text(text, &[]);
        let error = config.unwrap_err();
        assert_eq!(error.key(), key, "{error}");
        assert!(
            matches!(error.place(), Place::File { line: l, .. } if *l == line),
            "{error}"
        );
    }
}

#[test]
fn unknown_variable_is_refused_by_its_name() {
    for name in [
        "TEST__LISTEN__ADRESS",
        "TEST__LISTN__ADDRESS",
        "TEST__EXTRA",
    ] {
        let (_folder, config) = load_text(GOOD, &[(name, "1")]);
        let error = config.unwrap_err();
        assert_eq!(
            error.place(),
            &Place::Variable {
                name: name.to_owned()
            },
            "{error}"
        );
    }
    for name in ["TEST__", "TEST__A__", "TEST____B"] {
        let (_folder, config) = load_text(GOOD, &[(name, "1")]);
        assert_eq!(
            config.unwrap_err().place(),
            &Place::Variable {
                name: name.to_owned()
            }
        );
    }
}

#[test]
fn wrong_types_are_refused_at_their_place() {
    let (_folder, config) = load_text("[audit]\npath = \"a\"\n[listen]\naddress = 5\n", &[]);
    let error = config.unwrap_err();
    assert_eq!(error.key(), "listen.address");
    assert!(
        matches!(error.place(), Place::File { line: 4, .. }),
        "{error}"
    );

    let (_folder, config) = load_text(GOOD, &[("TEST__LISTEN__LIMITS__MAX_CONNECTIONS", "many")]);
    let error = config.unwrap_err();
    assert_eq!(error.key(), "listen.limits.max_connections");
    assert!(
        error
            .to_string()
            .contains("TEST__LISTEN__LIMITS__MAX_CONNECTIONS"),
        "{error}"
    );

    let (_folder, config) = load_text(GOOD, &[("TEST__LISTEN__ADDRESS__PORT", "1")]);
    let error = config.unwrap_err();
    assert_eq!(
        error.place(),
        &Place::Variable {
            name: "TEST__LISTEN__ADDRESS__PORT".to_owned()
        }
    );

    let (_folder, config) = load_text(
        "[audit]\npath = \"a\"\n[listen.limits]\nhandshake_timeout = \"soon\"\n",
        &[],
    );
    let error = config.unwrap_err();
    assert_eq!(error.key(), "listen.limits.handshake_timeout");
    assert!(error.to_string().contains("\"10s\""), "{error}");
}

#[test]
fn not_toml_and_missing_sections_and_missing_files() {
    let (_folder, config) = load_text("[audit\n", &[]);
    assert!(matches!(
        config.unwrap_err().place(),
        Place::File { line: 1, .. }
    ));

    let (_folder, config) = load_text("", &[]);
    let error = config.unwrap_err();
    assert!(error.to_string().contains("audit"), "{error}");

    let (_folder, config) = load_text("[audit]\npath = \"\"\n", &[]);
    assert_eq!(config.unwrap_err().key(), "audit.path");

    let missing = load_with::<Config>(
        Some(Path::new("/nonexistent/test.toml")),
        "TEST",
        Vec::new(),
    );
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("/nonexistent/test.toml")
    );
}

#[test]
fn not_utf8_and_too_large_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.toml");
    fs::write(&path, b"label = \"\xff\"").unwrap();
    let error = load_with::<Config>(Some(&path), "TEST", Vec::new()).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
    fs::write(&path, vec![b'#'; limits::CONFIG_BYTES + 1]).unwrap();
    let error = load_with::<Config>(Some(&path), "TEST", Vec::new()).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn metrics_on_other_addresses_only_on_purpose() {
    let (_folder, config) = load_text(GOOD, &[("TEST__METRICS__ADDRESS", "0.0.0.0:9090")]);
    let config = config.unwrap();
    let error = config.metrics.validate().unwrap_err();
    assert_eq!(error.key(), "metrics.address");
    MetricsConfig {
        allow_remote: true,
        ..config.metrics
    }
    .validate()
    .unwrap();
    MetricsConfig::default().validate().unwrap();
}
