//! Text forms of a sealed object: armor for files, one line for configuration values.
//!
//! Decoding is strict, so that one object has exactly one text in each form (but for the optional last LF of the
//! armor): no white space, no padding characters, spare bits zero, lines of exactly 64 characters.
//!
//! # Layout
//!
//! ```text
//! pbseal1:<unpadded base64url>
//!
//! -----BEGIN PBSEAL-----
//! <unpadded base64url, 64 characters a line, the last line may be shorter>
//! -----END PBSEAL-----
//! ```
//!
//! Specification: PBSEAL v1, section 9.6; alphabet of RFC 4648, section 5.

use base64ct::{Base64UrlUnpadded, Encoding as _};

use crate::limits::ARMOR_LINE_CHARS;
use crate::open::OpenError;

/// What the one-line form begins with.
pub(crate) const LINE_PREFIX: &str = "pbseal1:";
/// First line of the armor, without its LF.
pub(crate) const ARMOR_BEGIN: &str = "-----BEGIN PBSEAL-----";
/// Last line of the armor, without its optional LF.
pub(crate) const ARMOR_END: &str = "-----END PBSEAL-----";
/// Bytes that fill one line of the armor.
const ARMOR_LINE_BYTES: usize = ARMOR_LINE_CHARS / 4 * 3;

/// The one-line form of `object`.
pub(crate) fn to_line(object: &[u8]) -> String {
    let mut text =
        String::with_capacity(LINE_PREFIX.len() + Base64UrlUnpadded::encoded_len(object));
    text.push_str(LINE_PREFIX);
    text.push_str(&to_base64(object));
    text
}

/// What both text forms hold, without the one's prefix and the other's lines.
pub(crate) fn to_base64(object: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(object)
}

/// The armored form of `object`, ended by an LF.
pub(crate) fn to_armor(object: &[u8]) -> String {
    let mut text =
        String::with_capacity(object.len() / ARMOR_LINE_BYTES * (ARMOR_LINE_CHARS + 1) + 128);
    text.push_str(ARMOR_BEGIN);
    text.push('\n');
    for line in object.chunks(ARMOR_LINE_BYTES) {
        text.push_str(&Base64UrlUnpadded::encode_string(line));
        text.push('\n');
    }
    text.push_str(ARMOR_END);
    text.push('\n');
    text
}

/// The object bytes of either text form.
///
/// # Errors
///
/// - [`OpenError::BadMagic`]: begins like neither form.
/// - [`OpenError::Truncated`]: armor without its last line, or nothing inside.
/// - [`OpenError::Trailing`]: anything but one LF after the armor.
/// - [`OpenError::BadField`]: bad alphabet, line length or spare bits.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, OpenError> {
    if let Some(line) = text.strip_prefix(LINE_PREFIX) {
        return decode_base64(line);
    }
    let armored = text.strip_prefix(ARMOR_BEGIN).ok_or(OpenError::BadMagic)?;
    let armored = armored
        .strip_prefix('\n')
        .ok_or(OpenError::BadField("the first line of the armor"))?;
    // The END line holds a space, which the alphabet lacks: its first occurrence ends the armor.
    let (body, rest) = armored.split_once(ARMOR_END).ok_or(OpenError::Truncated)?;
    if !matches!(rest, "" | "\n") {
        return Err(OpenError::Trailing);
    }
    let body = body.strip_suffix('\n').ok_or(OpenError::Truncated)?;
    let mut object = Vec::with_capacity(body.len() / 4 * 3);
    let mut lines = body.split('\n').peekable();
    while let Some(line) = lines.next() {
        let whole = line.len() == ARMOR_LINE_CHARS;
        let last = lines.peek().is_none() && (1..ARMOR_LINE_CHARS).contains(&line.len());
        if !(whole || last) {
            return Err(OpenError::BadField("a line length of the armor"));
        }
        object.extend_from_slice(&decode_base64(line)?);
    }
    Ok(object)
}

pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, OpenError> {
    if text.is_empty() {
        return Err(OpenError::Truncated);
    }
    // `decode_vec` refuses padding, white space and spare bits that are not zero.
    Base64UrlUnpadded::decode_vec(text).map_err(|_| OpenError::BadField("the base64url text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 % 256) as u8).collect()
    }

    #[test]
    fn both_forms_round_trip_at_every_line_length() {
        for len in 1..=200 {
            let object = bytes(len);
            assert_eq!(
                decode(&to_line(&object)),
                Ok(object.clone()),
                "line, {len} bytes"
            );
            let armor = to_armor(&object);
            assert_eq!(decode(&armor), Ok(object.clone()), "armor, {len} bytes");
            assert_eq!(
                decode(armor.strip_suffix('\n').unwrap()),
                Ok(object),
                "armor without its last LF"
            );
        }
    }

    #[test]
    fn armor_is_what_the_specification_draws() {
        let armor = to_armor(&bytes(49));
        let lines: Vec<&str> = armor.split('\n').collect();
        assert_eq!(lines.len(), 5);
        assert_eq!((lines[0], lines[3], lines[4]), (ARMOR_BEGIN, ARMOR_END, ""));
        assert_eq!((lines[1].len(), lines[2].len()), (64, 2));
    }

    #[test]
    fn any_other_white_space_is_refused() {
        let line = to_line(&bytes(60));
        for (at, _) in line.char_indices().skip(LINE_PREFIX.len()) {
            for space in [" ", "\n", "\t", "\r"] {
                let mut bent = line.clone();
                bent.insert_str(at, space);
                assert!(decode(&bent).is_err(), "{space:?} at {at}");
            }
        }
        for text in [format!("{line}\n"), format!(" {line}"), format!("{line} ")] {
            assert!(decode(&text).is_err(), "{text:?}");
        }
        let armor = to_armor(&bytes(120));
        for (at, _) in armor.char_indices() {
            for space in [" ", "\n", "\t", "\r"] {
                let mut bent = armor.clone();
                bent.insert_str(at, space);
                assert!(decode(&bent).is_err(), "{space:?} at {at}");
            }
        }
        assert_eq!(decode(&format!("{armor}\n")), Err(OpenError::Trailing));
        assert_eq!(
            decode(&armor.replace('\n', "\r\n")).unwrap_err().name(),
            "BAD_FIELD"
        );
    }

    #[test]
    fn spare_bits_and_padding_are_refused() {
        assert_eq!(decode("pbseal1:AA"), Ok(vec![0]));
        for text in [
            "pbseal1:AB",
            "pbseal1:AAB",
            "pbseal1:AA==",
            "pbseal1:A",
            "pbseal1:A+",
            "pbseal1:A/",
        ] {
            assert_eq!(
                decode(text),
                Err(OpenError::BadField("the base64url text")),
                "{text}"
            );
        }
    }

    #[test]
    fn other_beginnings_and_missing_ends_are_named() {
        assert_eq!(decode("PBSEAL1:AA"), Err(OpenError::BadMagic));
        assert_eq!(decode(""), Err(OpenError::BadMagic));
        assert_eq!(decode("pbseal1:"), Err(OpenError::Truncated));
        assert_eq!(
            decode("-----BEGIN PBSEAL-----\nAA\n"),
            Err(OpenError::Truncated)
        );
        assert_eq!(
            decode("-----BEGIN PBSEAL-----\n-----END PBSEAL-----"),
            Err(OpenError::Truncated)
        );
        assert_eq!(
            decode("-----BEGIN PBSEAL-----\nAA-----END PBSEAL-----"),
            Err(OpenError::Truncated)
        );
        assert_eq!(
            decode("-----BEGIN PBSEAL-----\nAA\n-----END PBSEAL-----x"),
            Err(OpenError::Trailing)
        );
        let short_then_long = format!(
            "{ARMOR_BEGIN}\n{}\n{}\n{ARMOR_END}",
            "A".repeat(60),
            "A".repeat(64)
        );
        assert_eq!(
            decode(&short_then_long),
            Err(OpenError::BadField("a line length of the armor"))
        );
        let too_long = format!("{ARMOR_BEGIN}\n{}\n{ARMOR_END}", "A".repeat(68));
        assert_eq!(
            decode(&too_long),
            Err(OpenError::BadField("a line length of the armor"))
        );
    }
}
