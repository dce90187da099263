//! JSON reader: RFC 8259 to the letter, every value with its place.
//!
//! Refused besides what is no JSON: duplicate names (compared after unescaping), lone surrogates, numbers with a
//! fraction or exponent, integers beyond 2^53 - 1, `-0`, a byte order mark, and anything behind the value.

use std::str::Chars;

use super::error::{Fault, Mark, Place, PolicyError, PolicyErrorKind, quoted};
use super::limits::MAX_INTEGER;
use super::tree::{Member, Node, Value, check_depth, check_member, check_text};

/// Reads one JSON value that is the whole of `text`.
pub(crate) fn read(text: &str) -> Result<Node, PolicyError> {
    check_text(text)?;
    let mut reader = Reader {
        rest: text.chars(),
        mark: Mark::START,
    };
    reader.skip_blanks();
    let node = reader.node(&Place::Document, 1)?;
    reader.skip_blanks();
    if reader.peek().is_some() {
        return Err(reader.unexpected(
            &Place::Document,
            "the end",
            "remove what follows the policy",
        ));
    }
    Ok(node)
}

struct Reader<'t> {
    rest: Chars<'t>,
    mark: Mark,
}

impl Reader<'_> {
    fn node(&mut self, place: &Place<'_>, depth: usize) -> Result<Node, PolicyError> {
        let mark = self.mark;
        let value = match self.peek() {
            Some('{') => {
                check_depth(depth, mark, place)?;
                self.object(place, depth)?
            }
            Some('[') => {
                check_depth(depth, mark, place)?;
                self.list(place, depth)?
            }
            Some('"') => Value::Text(self.string(place)?),
            Some('-' | '0'..='9') => Value::Integer(self.integer(place)?),
            Some('a'..='z') => self.word(place)?,
            _ => return Err(self.unexpected(place, "a value", "write a JSON value there")),
        };
        Ok(Node::new(mark, value))
    }

    fn object(&mut self, place: &Place<'_>, depth: usize) -> Result<Value, PolicyError> {
        let mut members = Vec::new();
        self.bump();
        self.skip_blanks();
        if self.take('}') {
            return Ok(Value::Object(members));
        }
        loop {
            let mark = self.mark;
            if self.peek() != Some('"') {
                return Err(self.unexpected(
                    place,
                    "a name in double quotes",
                    "write \"name\": value; no last comma",
                ));
            }
            let name = self.string(place)?;
            let member = place.member(&name);
            check_member(&members, &name, mark, &member)?;
            self.skip_blanks();
            if !self.take(':') {
                return Err(self.unexpected(&member, "a colon", "write a colon behind the name"));
            }
            self.skip_blanks();
            let node = self.node(&member, depth + 1)?;
            members.push(Member { mark, name, node });
            self.skip_blanks();
            if self.take('}') {
                return Ok(Value::Object(members));
            }
            if !self.take(',') {
                return Err(self.unexpected(
                    place,
                    "a comma or '}'",
                    "part members by commas and close the object",
                ));
            }
            self.skip_blanks();
        }
    }

    fn list(&mut self, place: &Place<'_>, depth: usize) -> Result<Value, PolicyError> {
        let mut entries = Vec::new();
        self.bump();
        self.skip_blanks();
        if self.take(']') {
            return Ok(Value::List(entries));
        }
        loop {
            entries.push(self.node(&place.entry(entries.len()), depth + 1)?);
            self.skip_blanks();
            if self.take(']') {
                return Ok(Value::List(entries));
            }
            if !self.take(',') {
                return Err(self.unexpected(
                    place,
                    "a comma or ']'",
                    "part entries by commas and close the list",
                ));
            }
            self.skip_blanks();
        }
    }

    fn string(&mut self, place: &Place<'_>) -> Result<String, PolicyError> {
        let mut text = String::new();
        self.bump();
        loop {
            let mark = self.mark;
            match self.bump() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(mark, place)?),
                // RFC 8259, section 7: "characters that MUST be escaped: [...] the control characters (U+0000 through
                // U+001F)".
                Some('\0'..='\u{1f}') => {
                    return Err(syntax(
                        mark,
                        place,
                        "string holds a control character",
                        "write it as \\n, \\t or \\u00XX",
                    ));
                }
                Some(character) => text.push(character),
                None => {
                    return Err(syntax(
                        mark,
                        place,
                        "document ends within a string",
                        "close it with a double quote",
                    ));
                }
            }
        }
    }

    /// The character for an escape whose backslash stood at `mark`.
    fn escape(&mut self, mark: Mark, place: &Place<'_>) -> Result<char, PolicyError> {
        let unknown = || {
            syntax(
                mark,
                place,
                "unknown escape",
                r#"use \" \\ \/ \b \f \n \r \t or \uXXXX"#,
            )
        };
        let surrogate = || {
            syntax(
                mark,
                place,
                "lone surrogate",
                "write the character itself or both halves of its pair",
            )
        };
        match self.bump() {
            Some(character @ ('"' | '\\' | '/')) => Ok(character),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => {
                let unit = self.four_digits().ok_or_else(unknown)?;
                let code = match unit {
                    0xd800..=0xdbff => {
                        if self.bump() != Some('\\') || self.bump() != Some('u') {
                            return Err(surrogate());
                        }
                        match self.four_digits().ok_or_else(unknown)? {
                            low @ 0xdc00..=0xdfff => {
                                0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                            }
                            _ => return Err(surrogate()),
                        }
                    }
                    _ => unit,
                };
                char::from_u32(code).ok_or_else(surrogate)
            }
            _ => Err(unknown()),
        }
    }

    fn four_digits(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |code, _| Some(code << 4 | self.bump()?.to_digit(16)?))
    }

    fn integer(&mut self, place: &Place<'_>) -> Result<i64, PolicyError> {
        const REMEDY: &str = "write an integer between -9007199254740991 and 9007199254740991";
        let mark = self.mark;
        let negative = self.take('-');
        let leading_zero = self.peek() == Some('0');
        let mut magnitude = 0_i64;
        let mut digits = 0;
        while let Some(digit) = self.peek().and_then(|character| character.to_digit(10)) {
            self.bump();
            digits += 1;
            magnitude = magnitude.saturating_mul(10).saturating_add(digit.into());
        }
        if digits == 0 || (leading_zero && digits > 1) {
            return Err(syntax(
                mark,
                place,
                "number without digits or with a leading zero",
                REMEDY,
            ));
        }
        if matches!(self.peek(), Some('.' | 'e' | 'E')) {
            return Err(syntax(
                mark,
                place,
                "number with a fraction or exponent",
                REMEDY,
            ));
        }
        if magnitude > MAX_INTEGER || (negative && magnitude == 0) {
            return Err(syntax(
                mark,
                place,
                "number beyond what every JSON reader holds exactly, or -0",
                REMEDY,
            ));
        }
        Ok(if negative { -magnitude } else { magnitude })
    }

    fn word(&mut self, place: &Place<'_>) -> Result<Value, PolicyError> {
        let mark = self.mark;
        let mut word = String::new();
        while let Some(character @ ('a'..='z' | 'A'..='Z' | '0'..='9' | '_')) = self.peek() {
            self.bump();
            word.push(character);
        }
        match word.as_str() {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(syntax(
                mark,
                place,
                format!("{} is no JSON value", quoted(&word)),
                "put texts in double quotes",
            )),
        }
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.bump();
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn bump(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        self.mark.advance(character);
        Some(character)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.bump();
        }
        found
    }

    fn unexpected(&self, place: &Place<'_>, expected: &str, remedy: &'static str) -> PolicyError {
        let problem = match self.peek() {
            Some(character) => {
                format!(
                    "{} stands where {expected} is expected",
                    quoted(character.encode_utf8(&mut [0; 4]))
                )
            }
            None => format!("document ends where {expected} is expected"),
        };
        syntax(self.mark, place, problem, remedy)
    }
}

fn syntax(
    mark: Mark,
    place: &Place<'_>,
    problem: impl Into<std::borrow::Cow<'static, str>>,
    remedy: &'static str,
) -> PolicyError {
    PolicyError::new(
        PolicyErrorKind::Syntax,
        mark,
        place,
        Fault::new(problem, remedy),
    )
}

#[cfg(test)]
mod tests;
