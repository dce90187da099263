//! Values in TOML.

use std::fmt::Write;

use zeroize::Zeroizing;

use super::{Place, Style};

pub(super) fn sealed(place: &Place<'_>, sealed: &str) -> Option<Zeroizing<String>> {
    let quote = match place.entry.style {
        Style::Single => '\'',
        _ => '"',
    };
    let plain = sealed
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"'\"\\".contains(&byte));
    match plain {
        true => Some(Zeroizing::new(format!("{quote}{sealed}{quote}"))),
        false => string(place, sealed),
    }
}

pub(super) fn string(place: &Place<'_>, text: &str) -> Option<Zeroizing<String>> {
    let control = |character: char| {
        (character.is_control() && !matches!(character, '\t' | '\n'))
            || matches!(character, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    let lines = text.contains('\n') && !place.carriage_returns;
    let literal = !text.contains(control);
    let mut written = Zeroizing::new(String::with_capacity(text.len() * 6 + 8));
    match place.entry.style {
        Style::Single if literal && !text.contains(['\'', '\n']) => {
            written.push('\'');
            written.push_str(text);
            written.push('\'');
        }
        Style::TripleSingle
            if literal && lines && !text.contains("'''") && !text.ends_with('\'') =>
        {
            written.push_str("'''\n");
            written.push_str(text);
            written.push_str("'''");
        }
        _ if lines => {
            written.push_str("\"\"\"\n");
            escape(&mut written, text, true);
            written.push_str("\"\"\"");
        }
        _ => {
            written.push('"');
            escape(&mut written, text, false);
            written.push('"');
        }
    }
    Some(written)
}

fn escape(written: &mut String, text: &str, lines: bool) {
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' if lines => written.push('\n'),
            // Amid lines a quote is one unless others follow.
            '"' if lines && characters.peek().is_some_and(|next| *next != '"') => {
                written.push('"');
            }
            '"' | '\\' => {
                written.push('\\');
                written.push(character);
            }
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' if lines => written.push('\t'),
            '\t' => written.push_str("\\t"),
            other
                if other.is_control() || matches!(other, '\u{2028}' | '\u{2029}' | '\u{feff}') =>
            {
                // Writing to a string does not fail.
                let _ = write!(written, "\\u{:04X}", u32::from(other));
            }
            other => written.push(other),
        }
    }
}
