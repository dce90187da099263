//! Values in YAML.

use std::fmt::Write;

use zeroize::Zeroizing;

use super::{Place, Style, number::yaml_kind};
use crate::document::Kind;

pub(super) fn sealed(place: &Place<'_>, sealed: &str) -> Option<Zeroizing<String>> {
    let plain = sealed
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte));
    match place.entry.style {
        Style::Plain | Style::Block { .. } if plain => Some(with_comment(place, sealed)),
        Style::Single if plain => Some(Zeroizing::new(format!("'{sealed}'"))),
        _ if plain => Some(with_comment(place, &format!("\"{sealed}\""))),
        _ => string(place, sealed),
    }
}

/// Puts back the comment of the block that is replaced: it stands within the block's bytes.
pub(super) fn with_comment(place: &Place<'_>, written: &str) -> Zeroizing<String> {
    let comment = match place.entry.style {
        Style::Block {
            comment: (start, end),
        } => place.text.get(start..end).unwrap_or_default(),
        _ => "",
    };
    let mut whole = Zeroizing::new(String::with_capacity(written.len() + comment.len() + 1));
    whole.push_str(written);
    if !comment.is_empty() {
        whole.push(' ');
        whole.push_str(comment);
    }
    whole
}

pub(super) fn string(place: &Place<'_>, text: &str) -> Option<Zeroizing<String>> {
    let style = place.entry.style;
    if let Some(block) = block(place, text) {
        return Some(block);
    }
    let printable = !text.contains(needs_escape);
    Some(match style {
        Style::Single if printable && !text.contains('\n') => {
            let mut written = Zeroizing::new(String::with_capacity(text.len() * 2 + 2));
            written.push('\'');
            for character in text.chars() {
                written.push(character);
                if character == '\'' {
                    written.push('\'');
                }
            }
            written.push('\'');
            written
        }
        Style::Plain | Style::Block { .. } if is_plain(text, false) => with_comment(place, text),
        Style::PlainInFlow if is_plain(text, true) => Zeroizing::new(text.to_owned()),
        _ => with_comment(place, &double(text)),
    })
}

/// Without quotes stands only what no reader takes for anything but text.
fn is_plain(text: &str, flow: bool) -> bool {
    let begins = |byte: u8| byte.is_ascii_alphabetic() || b"_/.".contains(&byte);
    let goes_on = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || b"_/.-+@%=".contains(&byte)
            || (!flow && b":;,()".contains(&byte))
    };
    // What YAML 1.1 takes for truth values.
    const WORDS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "true", "false"];
    text.bytes().next().is_some_and(begins)
        && text.bytes().all(goes_on)
        && !text.ends_with(':')
        && text != "..."
        && yaml_kind(text) == Kind::String
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

fn double(text: &str) -> Zeroizing<String> {
    let mut written = Zeroizing::new(String::with_capacity(text.len() * 6 + 2));
    written.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                written.push('\\');
                written.push(character);
            }
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            other if needs_escape(other) => {
                // Writing to a string does not fail.
                let _ = write!(written, "\\u{:04X}", u32::from(other));
            }
            other => written.push(other),
        }
    }
    written.push('"');
    written
}

/// What a literal block or single quotes would not give back, the line end aside.
fn needs_escape(character: char) -> bool {
    (character.is_control() && character != '\n')
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Text of several lines as a literal block, where one can stand and gives the text back exactly.
fn block(place: &Place<'_>, text: &str) -> Option<Zeroizing<String>> {
    let indent = place.entry.indent?;
    let comment = match place.entry.style {
        Style::Block {
            comment: (start, end),
        } => place.text.get(start..end)?,
        Style::Plain | Style::Double => "",
        _ => return None,
    };
    let content = text.strip_suffix('\n').unwrap_or(text);
    let ends_line = place
        .after
        .split_once('\n')
        .is_some_and(|(rest, _)| rest.bytes().all(|byte| byte == b' '));
    let fits = text.contains('\n')
        && !place.carriage_returns
        && ends_line
        && !text.contains(needs_escape)
        && !content.starts_with([' ', '\n'])
        && !content.ends_with('\n')
        && content
            .split('\n')
            .all(|line| line.is_empty() || !line.trim().is_empty());
    if !fits || content.is_empty() {
        return None;
    }
    let lines = content.split('\n').count();
    let capacity = text.len() + lines * (indent + 1) + comment.len() + 4;
    let mut written = Zeroizing::new(String::with_capacity(capacity));
    written.push_str(if text.ends_with('\n') { "|" } else { "|-" });
    if !comment.is_empty() {
        written.push(' ');
        written.push_str(comment);
    }
    for line in content.split('\n') {
        written.push('\n');
        if !line.is_empty() {
            written.extend(std::iter::repeat_n(' ', indent));
            written.push_str(line);
        }
    }
    Some(written)
}
