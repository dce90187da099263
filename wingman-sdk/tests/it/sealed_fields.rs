//! Sealed values in configuration structs.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use wingman_sdk::{
    Error, ExposeSecret, LoadError, Sealed, SecretBytes, SecretString,
    sealed::{Decode, Fields, Json, NotDecoded, NotOpened, SealedFields, Text},
};

use crate::unsealing::{Behaviour, setup, simple};

#[derive(Deserialize, Serialize)]
struct Config {
    listen: String,
    password: Sealed<SecretString>,
    tls_key: Sealed<SecretBytes>,
    #[serde(default)]
    nested: Nested,
}

#[derive(Default, Deserialize, Serialize)]
struct Nested {
    optional: Option<Sealed<u16, Text>>,
    #[serde(default)]
    list: Vec<Sealed<SecretString>>,
    #[serde(default)]
    map: BTreeMap<String, Sealed<SecretString>>,
    credentials: Option<Sealed<Credentials, Json>>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Credentials {
    user: String,
    port: u16,
}

impl SealedFields for Config {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        fields.labelled("password", "db", &self.password);
        fields.field("tls_key", &self.tls_key);
        fields.field("nested", &self.nested);
    }
}

impl SealedFields for Nested {
    fn sealed_fields<'a>(&'a self, fields: &mut Fields<'a>) {
        fields.field("optional", &self.optional);
        fields.field("list", &self.list);
        fields.field("map", &self.map);
        fields.field("credentials", &self.credentials);
    }
}

/// The text form of an object with this label and content.
fn text(unsealer: &crate::unsealing::TestUnsealer, label: &str, content: &str) -> String {
    simple(&unsealer.record, label, content.as_bytes()).to_text()
}

fn toml_text(unsealer: &crate::unsealing::TestUnsealer) -> String {
    let armor = simple(&unsealer.record, "tls", b"\x00\xffkey").to_armor();
    format!(
        r#"
        listen = "127.0.0.1:80"
        password = "{}"
        tls_key = """
{armor}"""

        [nested]
        optional = "{}"
        list = ["{}", "{}"]
        map = {{ first = "{}" }}
        credentials = "{}"
        "#,
        text(unsealer, "db", "hunter2"),
        text(unsealer, "", "5432\n"),
        text(unsealer, "", "one"),
        text(unsealer, "", "two"),
        text(unsealer, "", "three"),
        text(unsealer, "", r#"{"user":"api","port":7}"#),
    )
}

fn check(config: &Config) {
    assert_eq!(config.listen, "127.0.0.1:80");
    assert_eq!(config.password.expose().unwrap().expose_secret(), "hunter2");
    assert_eq!(
        config.tls_key.expose().unwrap().expose_secret(),
        b"\x00\xffkey"
    );
    assert_eq!(config.nested.optional.as_ref().unwrap().expose(), Ok(&5432));
    assert_eq!(
        config.nested.list[1].expose().unwrap().expose_secret(),
        "two"
    );
    assert_eq!(
        config.nested.map["first"].expose().unwrap().expose_secret(),
        "three"
    );
    let credentials = Credentials {
        user: "api".to_owned(),
        port: 7,
    };
    assert_eq!(
        config.nested.credentials.as_ref().unwrap().expose(),
        Ok(&credentials)
    );
}

#[test]
fn load_opens_every_value_in_one_round_trip() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let toml_text = toml_text(&unsealer);
    let config: Config = wingman.load(|| toml::from_str(&toml_text)).unwrap();
    check(&config);
    assert_eq!(unsealer.requests().len(), 1);
    assert_eq!(unsealer.requests()[0].count(), 7);
}

#[test]
fn named_fields_open_in_one_round_trip_and_only_once() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let config: Config = toml::from_str(&toml_text(&unsealer)).unwrap();
    assert!(matches!(
        config.password.expose(),
        Err(NotOpened::Sealed { .. })
    ));
    wingman.open_fields(&config).unwrap();
    check(&config);
    assert_eq!(unsealer.requests().len(), 1);
    wingman.open_fields(&config).unwrap();
    assert_eq!(
        unsealer.requests().len(),
        1,
        "open fields are not opened again"
    );
}

#[test]
fn loose_fields_open_without_an_implementation() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let a: Sealed<SecretString> = Sealed::new(simple(&unsealer.record, "", b"a"));
    let b: Sealed<IpAddr, Text> = Sealed::new(simple(&unsealer.record, "", b"10.0.0.1"));
    wingman.open_fields(&[&a as &dyn SealedFields, &b]).unwrap();
    assert_eq!(b.expose(), Ok(&IpAddr::from([10, 0, 0, 1])));
    assert_eq!(a.into_opened().unwrap().expose_secret(), "a");
    assert_eq!(unsealer.requests().len(), 1);
}

#[test]
fn swapped_values_are_refused_where_a_label_is_demanded() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let text = toml_text(&unsealer).replace(&text(&unsealer, "", ""), "");
    let mut config: Config = toml::from_str(&text).unwrap();
    config.password = Sealed::new(simple(&unsealer.record, "cache", b"other"));
    let error = wingman.open_fields(&config).unwrap_err();
    assert_eq!(error.name(), Some("LABEL_MISMATCH"));
    assert!(error.to_string().contains("password"), "{error}");
    assert!(
        !config.tls_key.is_open(),
        "none is filled when one is not opened"
    );
    let lone = &config.tls_key;
    wingman.open_fields(lone).unwrap();
    assert!(lone.expose_labelled("tls").is_ok());
    assert!(matches!(
        lone.expose_labelled("db"),
        Err(NotOpened::Label { .. })
    ));
}

#[test]
fn plain_text_is_refused_and_not_quoted_by_us() {
    let (_world, _unsealer, wingman) = setup(Behaviour::default());
    let error = wingman
        .load(|| serde_json::from_str::<Sealed<SecretString>>(r#""hunter2""#))
        .unwrap_err();
    let LoadError::Deserialize(error) = error else {
        panic!()
    };
    assert!(
        error.to_string().contains("plain text is refused"),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn value_that_a_deserializer_threw_away_is_not_opened() {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        #[expect(dead_code, reason = "only tried")]
        Both {
            password: Sealed<SecretString>,
            missing: u8,
        },
        One {
            password: Sealed<SecretString>,
        },
    }
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let json = format!(r#"{{"password":"{}"}}"#, text(&unsealer, "", "secret"));
    let either: Either = wingman.load(|| serde_json::from_str(&json)).unwrap();
    let Either::One { password } = either else {
        panic!()
    };
    assert_eq!(password.expose().unwrap().expose_secret(), "secret");
    assert_eq!(unsealer.requests()[0].count(), 1);
}

#[test]
fn values_made_outside_of_load_are_left_alone() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let json = format!(r#""{}""#, text(&unsealer, "", "secret"));
    let before: Sealed<SecretString> = serde_json::from_str(&json).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _: Result<(), LoadError<()>> = wingman.load(|| panic!("a deserializer that panics"));
    }));
    assert!(panicked.is_err());
    let inside: Sealed<SecretString> = wingman.load(|| serde_json::from_str(&json)).unwrap();
    let after: Sealed<SecretString> = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (before.is_open(), inside.is_open(), after.is_open()),
        (false, true, false)
    );
}

#[test]
fn content_of_another_type_is_told_without_the_content() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let json = format!(r#"{{"address":"{}"}}"#, text(&unsealer, "addr", "hunter2"));
    #[derive(Debug, Deserialize)]
    struct Config {
        #[expect(dead_code, reason = "never opens")]
        address: Sealed<SocketAddr, Text>,
    }
    let error = wingman
        .load(|| serde_json::from_str::<Config>(&json))
        .unwrap_err();
    let LoadError::Open(error) = error else {
        panic!()
    };
    let Error::Value { place, source } = &error else {
        panic!("{error}")
    };
    assert!(place.contains("addr"));
    assert!(matches!(**source, Error::Content(_)), "{source}");
    assert!(source.to_string().contains("SocketAddr"), "{source}");
    assert!(!format!("{error} {source} {error:?}").contains("hunter2"));
}

#[test]
fn refusal_names_the_value() {
    let (_world, unsealer, wingman) = setup(Behaviour::rule(|_, _| {
        Err((blindfold_core::Refusal::Denied, 0))
    }));
    let config: Config = toml::from_str(&toml_text(&unsealer)).unwrap();
    let error = wingman.open_fields(&config).unwrap_err();
    assert_eq!(error.name(), Some("DENIED"));
    assert!(
        error.to_string().contains("`password` (label `db`)"),
        "{error}"
    );
    let toml_text = toml_text(&unsealer);
    let LoadError::Open(error) = wingman
        .load(|| toml::from_str::<Config>(&toml_text))
        .map(drop)
        .unwrap_err()
    else {
        panic!()
    };
    assert_eq!(error.name(), Some("DENIED"));
}

#[test]
fn written_back_it_is_the_sealed_form_opened_or_not() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let config: Config = toml::from_str(&toml_text(&unsealer)).unwrap();
    let before = serde_json::to_string(&config).unwrap();
    wingman.open_fields(&config).unwrap();
    let after = serde_json::to_string(&config).unwrap();
    assert_eq!(before, after);
    assert!(after.contains(&config.password.object().to_text()) && !after.contains("hunter2"));
    let again: Config = serde_json::from_str(&after).unwrap();
    wingman.open_fields(&again).unwrap();
    check(&again);
}

#[test]
fn clone_shares_the_value() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let first: Sealed<SecretString> = Sealed::new(simple(&unsealer.record, "db", b"secret"));
    let second = first.clone();
    wingman.open_fields(&first).unwrap();
    assert_eq!(second.expose().unwrap().expose_secret(), "secret");
    assert!(matches!(first.into_opened(), Err(NotOpened::Shared { .. })));
    assert_eq!(second.into_opened().unwrap().expose_secret(), "secret");
    let sealed: Sealed<SecretString> = Sealed::new(simple(&unsealer.record, "db", b"secret"));
    assert!(matches!(
        sealed.into_opened(),
        Err(NotOpened::Sealed { .. })
    ));
}

#[test]
fn own_decoding_can_be_plugged_in() {
    enum Hex {}
    impl Decode<Vec<u8>> for Hex {
        fn decode(secret: SecretBytes) -> Result<Vec<u8>, NotDecoded> {
            hex::decode(secret.expose_secret()).map_err(|_| NotDecoded::new("hexadecimal"))
        }
    }
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let value: Sealed<Vec<u8>, Hex> = Sealed::new(simple(&unsealer.record, "", b"00ff"));
    wingman.open_fields(&value).unwrap();
    assert_eq!(value.into_opened().unwrap(), [0, 255]);
    let value: Sealed<Vec<u8>, Hex> = Sealed::new(simple(&unsealer.record, "", b"xyz"));
    assert!(wingman.open_fields(&value).is_err());
}

#[test]
fn binary_formats_carry_the_binary_form() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let object = simple(&unsealer.record, "db", b"secret");
    let value: Sealed<SecretString> = Sealed::new(object.clone());
    let bytes = postcard::to_allocvec(&("api", &value)).unwrap();
    assert!(bytes.ends_with(object.as_bytes()));
    let (name, read): (String, Sealed<SecretString>) =
        wingman.load(|| postcard::from_bytes(&bytes)).unwrap();
    assert_eq!(name, "api");
    assert_eq!(read.expose().unwrap().expose_secret(), "secret");
    assert!(postcard::from_bytes::<Sealed<SecretString>>(b"\x07hunter2").is_err());
}

#[test]
fn bytes_that_are_no_object_name_the_flag_that_makes_them() {
    use serde::de::value;
    let bytes = value::BytesDeserializer::<value::Error>::new(b"hunter2");
    let error = Sealed::<SecretString>::deserialize(bytes).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`blindfold seal --format binary`"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
