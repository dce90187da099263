//! Sealed fields get the value of their place, also where another value of the file has the same content.

use serde::{Deserialize, de::DeserializeOwned};
use wingman_sdk::{ExposeSecret, Sealed, SecretString, Wingman, sealed::Text};

use crate::{
    load_config::{file, refusal, token},
    unsealing::{Behaviour, TestUnsealer, setup},
};

#[derive(Debug, Deserialize)]
struct Pair<S> {
    one: S,
    two: S,
}

/// The same behind a buffer of serde's.
#[derive(Debug, Deserialize)]
struct Flat<S> {
    #[serde(flatten)]
    pair: Pair<S>,
}

/// The same content twice: at `one` sealed, at `two` as given.
fn yaml(unsealer: &TestUnsealer, kind: &str, content: &str, two: &str) -> String {
    let one = token(unsealer, &format!("one{kind}"), content.as_bytes());
    format!("one: {one}\ntwo: {two}\n")
}

#[test]
fn values_of_one_content_keep_their_places() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let directory = tempfile::tempdir().unwrap();
    for (kind, content) in [(":integer", "5432"), ("", "5432"), (":float", "1.0")] {
        let two = token(&unsealer, &format!("two{kind}"), content.as_bytes());
        let text = yaml(&unsealer, kind, content, &two);
        let path = file(directory.path(), "a.yaml", &text);
        let pair: Pair<Sealed<f64, Text>> = wingman.load_config(&path).unwrap();
        assert!(pair.one.expose_labelled(&format!("one{kind}")).is_ok());
        assert!(pair.two.expose_labelled(&format!("two{kind}")).is_ok());
    }
    let two = token(&unsealer, "two", b"same");
    let text = yaml(&unsealer, "", "same", &two);
    let path = file(directory.path(), "a.yaml", &text);
    let Flat { pair } = wingman
        .load_config::<Flat<Sealed<SecretString>>>(&path)
        .unwrap();
    assert!(pair.one.expose_labelled("one").is_ok());
    let two = pair.two.expose_labelled("two").unwrap();
    assert_eq!(two.expose_secret(), "same");
}

#[test]
fn plain_value_is_not_taken_for_a_sealed_one_of_its_content() {
    fn refused<S: DeserializeOwned>(wingman: &Wingman, text: &str) {
        let (_, shown) = refusal::<Pair<S>>(wingman, "service.yaml", text);
        assert!(
            shown.contains("service.yaml:2: `two`") && shown.contains("plain text is refused"),
            "{shown}"
        );
        // What a type says about a part with opened values is not shown.
        let (_, shown) = refusal::<Flat<S>>(wingman, "service.yaml", text);
        assert!(shown.contains("not shown"), "{shown}");
    }
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    refused::<Sealed<bool, Text>>(&wingman, &yaml(&unsealer, ":boolean", "true", "True"));
    refused::<Sealed<u32, Text>>(&wingman, &yaml(&unsealer, ":integer", "5432", "5432"));
    refused::<Sealed<f64, Text>>(&wingman, &yaml(&unsealer, ":float", "1.50", "1.5"));
    refused::<Sealed<SecretString>>(&wingman, &yaml(&unsealer, "", "same", "same"));
    refused::<Sealed<SecretString>>(&wingman, &yaml(&unsealer, "", "", "''"));
}

#[test]
fn plain_value_beside_a_sealed_one_of_its_content_is_no_obstacle() {
    #[derive(Deserialize)]
    struct Rest {
        one: Sealed<u16, Text>,
    }
    #[derive(Deserialize)]
    struct Whole {
        #[serde(flatten)]
        rest: Rest,
        two: u16,
    }
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let directory = tempfile::tempdir().unwrap();
    let text = yaml(&unsealer, ":integer", "5432", "5432");
    let path = file(directory.path(), "a.yaml", &text);
    let rest: Rest = wingman.load_config(&path).unwrap();
    assert_eq!(rest.one.expose(), Ok(&5432));
    // A buffer keeps no place of a number: here it is not told apart.
    assert!(wingman.load_config::<Whole>(&path).is_err());
    let text = yaml(&unsealer, "", "5432", "'5432'");
    let path = file(directory.path(), "a.yaml", &text);
    #[derive(Deserialize)]
    struct Texts {
        #[serde(flatten)]
        rest: Rest,
        two: String,
    }
    let texts: Texts = wingman.load_config(&path).unwrap();
    assert_eq!(
        (texts.rest.one.expose(), texts.two.as_str()),
        (Ok(&5432), "5432")
    );
    let other = text.replace("'5432'", "5433");
    let path = file(directory.path(), "a.yaml", &other);
    let whole: Whole = wingman.load_config(&path).unwrap();
    assert_eq!((whole.rest.one.expose(), whole.two), (Ok(&5432), 5433));
}

#[test]
#[expect(clippy::result_large_err, reason = "the error is figment's")]
fn other_crates_do_not_take_a_plain_value_for_a_sealed_one() {
    let (_world, unsealer, wingman) = setup(Behaviour::default());
    let directory = tempfile::tempdir().unwrap();
    let text = yaml(&unsealer, ":boolean", "true", "true");
    let path = file(directory.path(), "a.yaml", &text);
    let read = || {
        figment::Figment::new()
            .merge(wingman.figment(&path))
            .extract::<Pair<Sealed<bool, Text>>>()
    };
    let shown = wingman.load(read).unwrap_err().to_string();
    let cause =
        std::error::Error::source(&wingman.load(read).unwrap_err()).map(ToString::to_string);
    let shown = format!("{shown} {}", cause.unwrap_or_default());
    assert!(shown.contains("can't be told which"), "{shown}");
}
