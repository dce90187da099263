//! Values in `.env` files.

use zeroize::Zeroizing;

use super::{Place, Style};

/// In the quotes the old value has, where they can hold the new one; without quotes only what every reader takes alike.
pub(super) fn string(place: &Place<'_>, text: &str) -> Option<Zeroizing<String>> {
    let control =
        |character: char| character.is_control() && !matches!(character, '\t' | '\n' | '\r');
    if text.contains(control) {
        return None;
    }
    let one_line = !text.contains(['\n', '\r']);
    let mut written = Zeroizing::new(String::with_capacity(text.len() * 2 + 2));
    match place.entry.style {
        Style::Plain if is_bare(text) => written.push_str(text),
        Style::Plain | Style::Single if one_line && !text.contains('\'') => {
            written.push('\'');
            written.push_str(text);
            written.push('\'');
        }
        _ => {
            written.push('"');
            for character in text.chars() {
                match character {
                    '\n' => written.push_str("\\n"),
                    '\r' => written.push_str("\\r"),
                    '"' | '\\' | '$' => {
                        written.push('\\');
                        written.push(character);
                    }
                    other => written.push(other),
                }
            }
            written.push('"');
        }
    }
    Some(written)
}

fn is_bare(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&byte))
}
