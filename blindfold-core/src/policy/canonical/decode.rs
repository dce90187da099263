//! The decoder: JSON of RFC 8259, less what the restriction excludes.

use super::{PolicyError, Value};
use crate::limits::{MAX_POLICY_DEPTH, MAX_POLICY_INTEGER};

/// Decodes one value that is the whole of `text`.
pub(super) fn decode(text: &str) -> Result<Value, PolicyError> {
    let mut decoder = Decoder { text, at: 0 };
    decoder.white_space();
    let value = decoder.value(0)?;
    decoder.white_space();
    if decoder.at == text.len() {
        Ok(value)
    } else {
        Err(decoder.syntax())
    }
}

struct Decoder<'a> {
    text: &'a str,
    // INVARIANT (boundary): between two characters of `text`.
    at: usize,
}

impl<'a> Decoder<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Result<char, PolicyError> {
        let next = self.peek().ok_or(self.syntax())?;
        self.at += next.len_utf8();
        Ok(next)
    }

    /// Skips `token` if it comes next.
    fn skip(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), PolicyError> {
        if self.skip(token) {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn white_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn syntax(&self) -> PolicyError {
        PolicyError::Syntax { offset: self.at }
    }

    /// A value inside `depth` arrays and objects.
    fn value(&mut self, depth: usize) -> Result<Value, PolicyError> {
        match self.peek().ok_or(self.syntax())? {
            '{' | '[' if depth == MAX_POLICY_DEPTH => Err(PolicyError::TooDeep { offset: self.at }),
            '{' => self.object(depth + 1),
            '[' => self.array(depth + 1),
            '"' => self.string().map(Value::String),
            '-' | '0'..='9' => self.integer(),
            't' => self.expect("true").map(|()| Value::Bool(true)),
            'f' => self.expect("false").map(|()| Value::Bool(false)),
            'n' if self.rest().starts_with("null") => Err(PolicyError::Value { offset: self.at }),
            _ => Err(self.syntax()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, PolicyError> {
        let mut members = Vec::new();
        self.expect("{")?;
        self.white_space();
        if !self.skip("}") {
            loop {
                self.white_space();
                let name = self.string()?;
                self.white_space();
                self.expect(":")?;
                self.white_space();
                members.push((name, self.value(depth)?));
                self.white_space();
                if self.skip("}") {
                    break;
                }
                self.expect(",")?;
            }
        }
        // RFC 8785, section 3.2.3: by UTF-16 code units.
        members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
        let twice = members
            .iter()
            .zip(members.iter().skip(1))
            .any(|((one, _), (next, _))| one == next);
        if twice {
            Err(PolicyError::DuplicateMember { offset: self.at })
        } else {
            Ok(Value::Object(members))
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, PolicyError> {
        let mut values = Vec::new();
        self.expect("[")?;
        self.white_space();
        if !self.skip("]") {
            loop {
                self.white_space();
                values.push(self.value(depth)?);
                self.white_space();
                if self.skip("]") {
                    break;
                }
                self.expect(",")?;
            }
        }
        Ok(Value::Array(values))
    }

    fn integer(&mut self) -> Result<Value, PolicyError> {
        let start = self.at;
        let negative = self.skip("-");
        let digits = self.rest();
        let count = digits.len()
            - digits
                .trim_start_matches(|digit: char| digit.is_ascii_digit())
                .len();
        let digits = digits.get(..count).unwrap_or("");
        if digits.is_empty() || (digits.starts_with('0') && count > 1) {
            return Err(self.syntax());
        }
        self.at += count;
        let small = digits
            .parse::<i64>()
            .ok()
            .filter(|magnitude| *magnitude < MAX_POLICY_INTEGER);
        match (small, self.peek()) {
            (Some(magnitude), next) if !matches!(next, Some('.' | 'e' | 'E')) => {
                Ok(Value::Integer(if negative {
                    -magnitude
                } else {
                    magnitude
                }))
            }
            _ => Err(PolicyError::Value { offset: start }),
        }
    }

    fn string(&mut self) -> Result<String, PolicyError> {
        self.expect("\"")?;
        let mut string = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(string),
                '\\' => string.push(self.escape()?),
                '\0'..='\x1f' => return Err(self.syntax()),
                other => string.push(other),
            }
        }
    }

    fn escape(&mut self) -> Result<char, PolicyError> {
        Ok(match self.next()? {
            literal @ ('"' | '\\' | '/') => literal,
            'b' => '\x08',
            't' => '\t',
            'n' => '\n',
            'f' => '\x0c',
            'r' => '\r',
            'u' => {
                let unit = self.code_unit()?;
                let low = if matches!(unit, 0xd800..=0xdbff) {
                    self.expect("\\u")?;
                    Some(self.code_unit()?)
                } else {
                    None
                };
                // A surrogate without its other half is no character.
                let mut decoded = char::decode_utf16(core::iter::once(unit).chain(low));
                match (decoded.next(), decoded.next()) {
                    (Some(Ok(character)), None) => character,
                    _ => return Err(self.syntax()),
                }
            }
            _ => return Err(self.syntax()),
        })
    }

    fn code_unit(&mut self) -> Result<u16, PolicyError> {
        let digits = self
            .rest()
            .get(..4)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let unit = digits
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
            .ok_or(self.syntax())?;
        self.at += 4;
        Ok(unit)
    }
}
