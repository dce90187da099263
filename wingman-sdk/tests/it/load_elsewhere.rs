//! Sealed configuration files through `figment` and `config`.

use std::{fs, path::Path};

use serde::Deserialize;
use wingman_sdk::{ExposeSecret, Sealed, SecretString, document::Format, sealed::Text};

use crate::{
    load_config::{SEALED, TOML, YAML, file, seal},
    unsealing::{Behaviour, setup},
};

#[derive(Debug, Deserialize)]
struct Other {
    listen: String,
    port: u16,
    on: bool,
    password: SecretString,
    kept: Sealed<SecretString>,
    number: Sealed<u32, Text>,
    db: OtherDatabase,
}

#[derive(Debug, Deserialize)]
struct OtherDatabase {
    user: String,
    hosts: Vec<String>,
}

fn check_other(other: &Other) {
    assert_eq!(
        (other.listen.as_str(), other.port, other.on),
        ("::1", 5432, true)
    );
    assert_eq!(other.password.expose_secret(), "hunter2");
    assert_eq!(
        other.kept.expose_labelled("kept").unwrap().expose_secret(),
        "kept secret"
    );
    assert_eq!(other.number.expose(), Ok(&70_000));
    assert_eq!(other.db.user, "same");
    assert_eq!(other.db.hosts, ["10.0.0.1", "10.0.0.2"]);
}

#[test]
#[expect(clippy::result_large_err, reason = "the error is figment's")]
fn figment_takes_a_sealed_file_as_provider() {
    use figment::Figment;
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let directory = tempfile::tempdir().unwrap();
    let path = file(
        directory.path(),
        "a.yaml",
        &seal(&unsealer, Format::Yaml, YAML, &SEALED),
    );
    let read = || {
        Figment::new()
            .merge(wingman.figment(&path))
            .merge(("listen", "::1"))
            .extract::<Other>()
    };
    check_other(&wingman.load(read).unwrap());
    assert_eq!(
        unsealer.requests().len(),
        1,
        "sealed fields are not opened twice"
    );
    let shown = read().unwrap_err().to_string();
    assert!(
        shown.contains("Wingman::load") || shown.contains("plain text is refused"),
        "{shown}"
    );

    let profiled = Figment::new()
        .merge(wingman.figment(&path).profile("prod"))
        .select("prod");
    assert_eq!(profiled.extract_inner::<u16>("port").unwrap(), 5432);
    let moved = fs::read_to_string(&path)
        .unwrap()
        .replace("\npassword:", "\npassphrase:");
    let path = file(directory.path(), "b.yaml", &moved);
    let error = Figment::new()
        .merge(wingman.figment(&path))
        .extract::<Other>()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("b.yaml:6") && error.contains("belongs to `password`"),
        "{error}"
    );
    assert!(!format!("{:?}", wingman.figment(&path)).contains("hunter2"));
}

#[test]
fn config_takes_a_sealed_file_as_source() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let directory = tempfile::tempdir().unwrap();
    let path = file(
        directory.path(),
        "a.toml",
        &seal(&unsealer, Format::Toml, TOML, &SEALED),
    );
    let read = |path: &Path| {
        config::Config::builder()
            .add_source(wingman.config_source(path))
            .set_override("listen", "::1")?
            .build()?
            .try_deserialize::<Other>()
    };
    check_other(&wingman.load(|| read(&path)).unwrap());
    assert_eq!(
        unsealer.requests().len(),
        1,
        "sealed fields are not opened twice"
    );
    assert!(read(&path).is_err(), "sealed fields need `load`");

    let moved = fs::read_to_string(&path)
        .unwrap()
        .replace("\npassword =", "\npassphrase =");
    let error = read(&file(directory.path(), "b.toml", &moved)).unwrap_err();
    assert!(error.to_string().contains("b.toml:6"), "{error}");
    let dotted = file(directory.path(), "c.toml", "\"db.user\" = 'x'\n");
    assert!(read(&dotted).unwrap_err().to_string().contains("`db.user`"));
    assert!(!format!("{:?}", wingman.config_source(&path)).contains("hunter2"));
}
