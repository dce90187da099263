//! Sealed values in the bytes of a text, whatever its format.
//!
//! A value in one line is `pbseal1:` and what of its alphabet follows. An armored value is found with whatever stands
//! between its lines, as long as it is the same everywhere: a line end of either kind, with an indentation (a YAML
//! block), or the `\n` of a quoted string. Everything around the value belongs to the text's format and is not looked at.

use std::ops::Range;

use blindfold_core::{OpenError, Sealed};

use crate::limits::MIN_SEALED_CHARS;

/// What the one-line form begins with.
const LINE: &[u8] = b"pbseal1:";
/// First line of the armor.
const BEGIN: &[u8] = b"-----BEGIN PBSEAL-----";
/// Last line of the armor.
const END: &[u8] = b"-----END PBSEAL-----";

/// How a value stands in its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// `pbseal1:…`
    Line,
    /// Armor, with this between its lines.
    Armor(String),
}

impl Form {
    /// Name for reports.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Line => "text",
            Self::Armor(_) => "armor",
        }
    }

    /// `sealed` in this form.
    pub(super) fn write(&self, sealed: &Sealed) -> String {
        match self {
            Self::Line => sealed.to_text(),
            Self::Armor(between) => sealed.to_armor().trim_end().replace('\n', between),
        }
    }
}

/// A value, or what should be one.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it stands.
    pub(super) range: Range<usize>,
    /// Its line, from 1.
    pub(super) line: usize,
    /// How it stands there.
    pub(super) form: Form,
    /// The object, or why it is none.
    pub(super) object: Result<Sealed, OpenError>,
}

/// All values in `text`, in their order.
pub(super) fn in_text(text: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let (mut at, mut counted, mut line) = (0, 0, 1);
    while let Some(start) = next_candidate(text, at) {
        let Some((length, form, object)) = text.get(start..).and_then(value) else {
            at = start + 1;
            continue;
        };
        let before = text.get(counted..start).unwrap_or_default();
        line += before.iter().filter(|byte| **byte == b'\n').count();
        (counted, at) = (start, start + length);
        found.push(Found {
            range: start..at,
            line,
            form,
            object,
        });
    }
    found
}

/// The next byte at which a value may begin.
fn next_candidate(text: &[u8], from: usize) -> Option<usize> {
    let begins = |byte: &u8| LINE.first() == Some(byte) || BEGIN.first() == Some(byte);
    Some(from + text.get(from..)?.iter().position(begins)?)
}

/// The value at the front of `text`: its length, its form, and what it is.
fn value(text: &[u8]) -> Option<(usize, Form, Result<Sealed, OpenError>)> {
    if let Some(rest) = text.strip_prefix(LINE) {
        let run = run(rest);
        let length = LINE.len() + run.len();
        return (run.len() >= MIN_SEALED_CHARS).then(|| {
            let whole = text.get(..length).unwrap_or_default();
            (length, Form::Line, parse(whole))
        });
    }
    armor(text, text.strip_prefix(BEGIN)?)
}

fn armor(text: &[u8], mut rest: &[u8]) -> Option<(usize, Form, Result<Sealed, OpenError>)> {
    let between = rest.get(..between_lines(rest))?;
    let mut canonical = BEGIN.to_vec();
    let mut characters = 0;
    let whole = loop {
        let Some(line) = rest
            .strip_prefix(between)
            .filter(|line| !between.is_empty() && !line.is_empty())
        else {
            break false;
        };
        canonical.push(b'\n');
        if let Some(after) = line.strip_prefix(END) {
            canonical.extend_from_slice(END);
            rest = after;
            break true;
        }
        let run = run(line);
        if run.is_empty() {
            break false;
        }
        characters += run.len();
        canonical.extend_from_slice(run);
        rest = line.get(run.len()..).unwrap_or_default();
    };
    let length = text.len() - rest.len();
    let form = Form::Armor(String::from_utf8(between.to_vec()).ok()?);
    (characters >= MIN_SEALED_CHARS).then(|| {
        let object = if whole {
            parse(&canonical)
        } else {
            Err(OpenError::Truncated)
        };
        (length, form, object)
    })
}

fn parse(text: &[u8]) -> Result<Sealed, OpenError> {
    let text = std::str::from_utf8(text).map_err(|_| OpenError::BadMagic)?;
    Sealed::from_text(text)
}

/// What of the alphabet of base64url stands at the front.
fn run(text: &[u8]) -> &[u8] {
    let other = |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let length = text.iter().position(other).unwrap_or(text.len());
    text.get(..length).unwrap_or_default()
}

/// Length of a line end with the white space around it, either of which may be escaped.
fn between_lines(text: &[u8]) -> usize {
    let (mut length, mut ended) = (0, false);
    while let Some(rest) = text.get(length..) {
        let backslashes = rest.iter().take_while(|byte| **byte == b'\\').count();
        let step = match (backslashes, rest.get(backslashes)) {
            (_, Some(b'\n')) if backslashes > 0 => break,
            (0, Some(b'\n')) | (1.., Some(b'n')) => {
                ended = true;
                backslashes + 1
            }
            (0, Some(b' ' | b'\t' | b'\r')) | (1.., Some(b'r' | b't')) => backslashes + 1,
            _ => break,
        };
        length += step;
    }
    if ended { length } else { 0 }
}

#[cfg(test)]
mod tests {
    use blindfold_core::{LockSpec, PolicyRef, SealOptions, Sealer, UnsealingKey, Window};

    use super::*;
    use crate::random;

    fn sealed(secret: &[u8]) -> Sealed {
        let rng = &mut random::generator();
        let key = UnsealingKey::generate("a.example", "acme", 1, rng).unwrap();
        let policy = PolicyRef::Name("p".parse().unwrap());
        let lock = LockSpec::share(key.record(), policy, Window::unbounded());
        let sealer = Sealer::new(vec![lock], SealOptions::new()).unwrap();
        Sealed::parse(&sealer.seal(secret, rng).unwrap()).unwrap()
    }

    /// Every value replaced by `other`, in its own form.
    fn replaced(text: &str, other: &Sealed) -> String {
        let mut new = text.to_owned();
        for found in in_text(text.as_bytes()).into_iter().rev() {
            new.replace_range(found.range, &found.form.write(other));
        }
        new
    }

    #[test]
    fn values_are_found_in_every_surrounding() {
        let (old, new) = (sealed(b"old"), sealed(b"new"));
        let escaped = |sealed: &Sealed| sealed.to_armor().replace('\n', "\\n");
        let indented = |sealed: &Sealed| sealed.to_armor().trim_end().replace('\n', "\n    ");
        let windows = |sealed: &Sealed| sealed.to_armor().replace('\n', "\r\n");
        type Write<'a> = &'a dyn Fn(&Sealed) -> String;
        let surroundings: [Write<'_>; 10] = [
            &|s| s.to_text(),
            &|s| format!("a = \"{}\" # comment\nb = 1\n", s.to_text()),
            &|s| {
                format!(
                    "# pbseal1: is the form\n\na: {}\nb: '{}'\n",
                    s.to_text(),
                    s.to_text()
                )
            },
            &|s| format!("{{\"a\":\"x\\n{}\\n\"}}", s.to_text()),
            &|s| format!("export A={}\r\nB=2", s.to_text()),
            &|s| s.to_armor(),
            &|s| format!("key: |\n    {}\nb: 1\n", indented(s)),
            &|s| format!("{{\"a\":\"{}\"}}", escaped(s)),
            &|s| format!("{}{}", windows(s), s.to_text()),
            &|s| format!("{}{}", s.to_armor(), s.to_armor()),
        ];
        for write in surroundings {
            let text = write(&old);
            let found = in_text(text.as_bytes());
            assert!(!found.is_empty(), "{text}");
            for found in &found {
                assert_eq!(found.object.as_ref(), Ok(&old), "{text}");
            }
            assert_eq!(replaced(&text, &old), text);
            assert_eq!(replaced(&text, &new), write(&new));
        }
    }

    #[test]
    fn lines_are_counted_from_one() {
        let value = sealed(b"x");
        let text = format!(
            "{}\n\nb: {} c: {}\n{}",
            value.to_text(),
            value.to_text(),
            value.to_text(),
            value.to_armor()
        );
        let lines: Vec<_> = in_text(text.as_bytes()).iter().map(|f| f.line).collect();
        assert_eq!(lines, [1, 3, 3, 4]);
    }

    #[test]
    fn mentions_of_the_format_are_none() {
        for text in [
            "pbseal1:",
            "the form pbseal1:… and pbseal1:UEJTRUFM...",
            "-----BEGIN PBSEAL-----",
            "\"-----BEGIN PBSEAL-----\" and \"-----END PBSEAL-----\"",
            "-----BEGIN PBSEAL-----\n<base64url>\n-----END PBSEAL-----\n",
            "-----BEGIN PBSEAL-----\nAAAA\n-----END PBSEAL-----\n",
            "ppp---ppp-----",
        ] {
            assert!(in_text(text.as_bytes()).is_empty(), "{text}");
        }
    }

    #[test]
    fn damaged_values_are_named_not_skipped() {
        let value = sealed(b"x");
        let (line, armor) = (value.to_text(), value.to_armor());
        let mut bent = armor.clone();
        bent.insert(armor.find('\n').unwrap() + 70, '\n');
        for text in [
            line.get(..200).unwrap().to_owned(),
            format!("{line}A"),
            format!("{line}_more"),
            armor.get(..200).unwrap().to_owned(),
            armor.replace("-----END PBSEAL-----", ""),
            bent,
        ] {
            let found = in_text(text.as_bytes());
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].object.is_err(), "{text}");
        }
    }

    #[test]
    fn any_bytes_are_searched_without_a_panic() {
        let mut bytes: Vec<u8> = (0..=255).collect();
        for needle in [LINE, BEGIN, END, b"\\\\n", b"\\"] {
            for cut in 0..=needle.len() {
                bytes.extend_from_slice(&needle[..cut]);
                bytes.extend_from_slice(&[b'A'; 70]);
                bytes.push(b'\n');
            }
        }
        for end in 0..bytes.len() {
            for found in in_text(&bytes[..end]) {
                assert!(found.object.is_err());
            }
        }
    }
}
