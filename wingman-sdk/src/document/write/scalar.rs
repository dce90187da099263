//! Values that are not text: as they were written where the format has that spelling, in the plainest one elsewhere.

use zeroize::Zeroizing;

use crate::document::{Format, Kind, number};

/// The value in a format; nothing if the text is not of the kind, or the format does not have it.
pub(super) fn written(format: Format, kind: Kind, text: &str) -> Option<Zeroizing<String>> {
    let plain = match kind {
        Kind::String => None,
        Kind::Integer => Some(number::integer(text)?.to_string()),
        Kind::Float => Some(float(format, number::float(text)?)?),
        Kind::Boolean => Some(number::boolean(text)?.to_string()),
        Kind::DateTime => None,
        Kind::Null => Some("null".to_owned()),
    };
    let as_is = match format {
        Format::Toml if kind == Kind::Null => return None,
        Format::Toml => super::super::toml::kind_of(text) == Some(kind),
        Format::Yaml => !text.is_empty() && number::yaml_kind(text) == kind,
        Format::Json => is_json(text, kind),
        // Everything is text there, and so is this.
        Format::Env => {
            let bare = text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.:_".contains(&byte));
            bare && kind != Kind::Null
        }
    };
    match (as_is, plain) {
        (true, _) => Some(Zeroizing::new(text.to_owned())),
        (false, Some(plain)) if format != Format::Env => Some(Zeroizing::new(plain)),
        _ => None,
    }
}

fn float(format: Format, value: f64) -> Option<String> {
    // Debug writes at least one digit after the point.
    let finite = || format!("{value:?}");
    let (infinity, nan) = match format {
        Format::Toml => ("inf", "nan"),
        Format::Yaml => (".inf", ".nan"),
        Format::Json | Format::Env => return value.is_finite().then(finite),
    };
    Some(if value.is_nan() {
        nan.to_owned()
    } else if value.is_infinite() {
        let sign = if value < 0.0 { "-" } else { "" };
        format!("{sign}{infinity}")
    } else {
        finite()
    })
}

fn is_json(text: &str, kind: Kind) -> bool {
    let float = text.contains(['.', 'e', 'E']);
    let number = || {
        serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
            && text
                .bytes()
                .next()
                .is_some_and(|byte| byte == b'-' || byte.is_ascii_digit())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match kind {
        Kind::Integer => !float && number(),
        Kind::Float => float && number(),
        Kind::Boolean => matches!(text, "true" | "false"),
        Kind::Null => text == "null",
        Kind::String | Kind::DateTime => false,
    }
}
