//! Lexer and parser of selectors: `Lexer` and `Parser` of `k8s.io/apimachinery/pkg/labels/selector.go`, step by step.
//!
//! ```text
//! selector    = [ requirement *( "," requirement ) ]
//! requirement = key | "!" key | key ( "=" | "==" | "!=" ) [ value ] | key ( "in" | "notin" ) "(" values ")"
//! ```
//!
//! `in` and `notin` are keywords only behind a key. Values may be empty: `()` and `(,)` hold the empty value alone. A
//! list that ends in two commas is refused, as it is there.

use super::super::error::{Fault, quoted};
use super::super::limits::{
    MAX_LABEL_BYTES, MAX_LABEL_PREFIX_BYTES, MAX_REQUIREMENTS, MAX_SELECTOR_BYTES,
    MAX_SELECTOR_VALUES,
};
use super::{Requirement, SelectorError, Test};

pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    if text.len() > MAX_SELECTOR_BYTES {
        return Err(error(
            1,
            format!(
                "selector is {} bytes long, over {MAX_SELECTOR_BYTES}",
                text.len()
            ),
            "spread the requirements over several rules",
        ));
    }
    let mut parser = Parser {
        rest: text,
        character: 1,
    };
    let mut requirements = Vec::new();
    if parser.peek().kind == Kind::End {
        return Ok(requirements);
    }
    loop {
        let character = parser.character;
        if requirements.len() == MAX_REQUIREMENTS {
            return Err(error(
                character,
                format!("selector has over {MAX_REQUIREMENTS} requirements"),
                "spread them over several rules",
            ));
        }
        requirements.push(parser.requirement()?);
        let token = parser.next();
        match token.kind {
            Kind::End => return Ok(requirements),
            Kind::Comma => {}
            _ => return Err(token.unexpected("a comma or the end", "part requirements by commas")),
        }
    }
}

#[derive(Clone, Copy)]
struct Parser<'t> {
    rest: &'t str,
    /// Number of the next character, from 1.
    character: usize,
}

#[derive(Clone, Copy)]
struct Token<'t> {
    kind: Kind,
    text: &'t str,
    character: usize,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    End,
    Open,
    Close,
    Comma,
    Bang,
    Equals,
    NotEquals,
    Comparison,
    /// `in` and `notin` too, which the parser tells apart by their place.
    Identifier,
}

impl<'t> Parser<'t> {
    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.next();
        let negated = token.kind == Kind::Bang;
        if negated {
            token = self.next();
        }
        if token.kind != Kind::Identifier {
            return Err(token.unexpected(
                "a key",
                "write key, !key, key=value, key!=value, key in (…) or key notin (…)",
            ));
        }
        check_key(token)?;
        let key = token.text.into();
        let operator = self.peek();
        if negated || matches!(operator.kind, Kind::End | Kind::Comma) {
            let test = if negated {
                Test::DoesNotExist
            } else {
                Test::Exists
            };
            return Ok(Requirement { key, test });
        }
        self.next();
        let test = match (operator.kind, operator.text) {
            (Kind::Equals, _) => Test::Equals(self.value()?.into()),
            (Kind::NotEquals, _) => Test::NotEquals(self.value()?.into()),
            (Kind::Identifier, "in") => Test::In(self.values()?),
            (Kind::Identifier, "notin") => Test::NotIn(self.values()?),
            (Kind::Comparison, _) => {
                return Err(operator.unexpected(
                    "an operator",
                    "compare for equality only: =, ==, !=, in or notin",
                ));
            }
            _ => {
                return Err(operator
                    .unexpected("an operator", "write =, ==, !=, in or notin behind the key"));
            }
        };
        Ok(Requirement { key, test })
    }

    /// The value behind `=`, `==` or `!=`; an absent one is the empty value.
    fn value(&mut self) -> Result<&'t str, SelectorError> {
        let token = self.peek();
        match token.kind {
            Kind::End | Kind::Comma => Ok(""),
            Kind::Identifier => {
                self.next();
                check_value(token)?;
                Ok(token.text)
            }
            _ => Err(token.unexpected("a value", "write letters, digits, '-', '_' and '.'")),
        }
    }

    /// The values behind `in` or `notin`, with their parentheses, ascending and unique.
    fn values(&mut self) -> Result<Box<[Box<str>]>, SelectorError> {
        const LIST: &str = "write the values as (one,two)";
        let open = self.next();
        if open.kind != Kind::Open {
            return Err(open.unexpected("an opening parenthesis", LIST));
        }
        let mut values: Vec<Box<str>> = Vec::new();
        if self.peek().kind == Kind::Close {
            self.next();
            return Ok(["".into()].into());
        }
        loop {
            let token = self.next();
            match token.kind {
                Kind::Identifier => {
                    check_value(token)?;
                    values.push(token.text.into());
                    let after = self.peek();
                    match after.kind {
                        Kind::Comma => {}
                        Kind::Close => break,
                        _ => return Err(after.unexpected("a comma or a closing parenthesis", LIST)),
                    }
                }
                Kind::Comma => {
                    // "(," begins with an empty value, ",," holds one and ",)" ends with one.
                    if values.is_empty() {
                        values.push("".into());
                    }
                    match self.peek().kind {
                        Kind::Close => {
                            values.push("".into());
                            break;
                        }
                        Kind::Comma => {
                            self.next();
                            values.push("".into());
                        }
                        _ => {}
                    }
                }
                _ => return Err(token.unexpected("a comma or a value", LIST)),
            }
        }
        self.next();
        values.sort_unstable();
        values.dedup();
        if values.len() > MAX_SELECTOR_VALUES {
            return Err(error(
                open.character,
                format!("list holds over {MAX_SELECTOR_VALUES} values"),
                "spread them over several rules",
            ));
        }
        Ok(values.into())
    }

    fn peek(&self) -> Token<'t> {
        let mut ahead = *self;
        ahead.next()
    }

    fn next(&mut self) -> Token<'t> {
        let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        let special = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '<' | '>');
        let blanks = self.rest.find(|c| !blank(c)).unwrap_or(self.rest.len());
        self.take(blanks);
        let character = self.character;
        let first = self.rest.chars().next();
        let (kind, length) = match first {
            None => (Kind::End, 0),
            Some('(') => (Kind::Open, 1),
            Some(')') => (Kind::Close, 1),
            Some(',') => (Kind::Comma, 1),
            Some('=') if self.rest.starts_with("==") => (Kind::Equals, 2),
            Some('=') => (Kind::Equals, 1),
            Some('!') if self.rest.starts_with("!=") => (Kind::NotEquals, 2),
            Some('!') => (Kind::Bang, 1),
            Some('<' | '>') => (Kind::Comparison, 1),
            Some(_) => {
                let end = self.rest.find(|c| blank(c) || special(c));
                (Kind::Identifier, end.unwrap_or(self.rest.len()))
            }
        };
        Token {
            kind,
            text: self.take(length),
            character,
        }
    }

    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.rest = rest;
        self.character += taken.chars().count();
        taken
    }
}

impl Token<'_> {
    fn unexpected(&self, expected: &str, remedy: &'static str) -> SelectorError {
        let problem = match self.kind {
            Kind::End => format!("selector ends where {expected} is expected"),
            _ => format!("{} stands where {expected} is expected", quoted(self.text)),
        };
        error(self.character, problem, remedy)
    }
}

/// A key: `[prefix/]name`, the prefix a DNS subdomain, the name as a value but not empty.
fn check_key(token: Token<'_>) -> Result<(), SelectorError> {
    let (prefix, name) = match token.text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, token.text),
    };
    if prefix.is_some_and(|prefix| !is_dns_subdomain(prefix)) {
        return Err(error(
            token.character,
            format!("prefix of key {} is no DNS subdomain", quoted(token.text)),
            "write lower-case letters, digits, '-' and '.', at most 253, and one slash before the name",
        ));
    }
    if name.is_empty() || !is_label(name) {
        return Err(error(
            token.character,
            format!("{} is no label key", quoted(token.text)),
            "write at most 63 letters, digits, '-', '_' and '.', the first and last a letter or digit",
        ));
    }
    Ok(())
}

fn check_value(token: Token<'_>) -> Result<(), SelectorError> {
    if is_label(token.text) {
        return Ok(());
    }
    Err(error(
        token.character,
        format!("{} is no label value", quoted(token.text)),
        "write at most 63 letters, digits, '-', '_' and '.', the first and last a letter or digit",
    ))
}

/// Kubernetes' label value, `(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?` of at most 63 characters.
fn is_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= MAX_LABEL_BYTES
        && text
            .chars()
            .all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
        && text.chars().next().is_none_or(edge)
        && text.chars().next_back().is_none_or(edge)
}

/// RFC 1123, section 2.1, in lower case: `[a-z0-9]([-a-z0-9]*[a-z0-9])?` parted by dots.
fn is_dns_subdomain(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= MAX_LABEL_PREFIX_BYTES
        && text.split('.').all(|label| {
            label.chars().all(|c| edge(c) || c == '-')
                && label.chars().next().is_some_and(edge)
                && label.chars().next_back().is_some_and(edge)
        })
}

fn error(character: usize, problem: String, remedy: &'static str) -> SelectorError {
    SelectorError {
        character,
        fault: Fault::new(problem, remedy),
    }
}
