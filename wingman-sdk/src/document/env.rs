//! `.env` files: lines of `NAME=value`.
//!
//! ```text
//! line  = [ "export" blanks ] NAME [ blanks ] "=" [ blanks ] value [ blanks ] [ "#" comment ]
//! NAME  = ( letter | "_" ) { letter | digit | "_" | "." | "-" }
//! value = "'" anything but "'" "'"                              as it stands, also over several lines
//!       | '"' anything, with \n \r \t \" \\ \$ as escapes '"'   also over several lines
//!       | what begins with no quote, to the end of the line or to " #"
//! ```
//!
//! Nothing is substituted. What readers of such files take in different ways (quotes or `#` amid a value without quotes, other
//! escapes) is refused.

use super::{
    entry::{Kind, Style},
    error::DocumentError,
    tree::{Builder, Names, Node},
};
use zeroize::Zeroizing;

pub(super) fn read(text: &str, builder: &mut Builder) -> Result<Node, DocumentError> {
    let mut scanner = Scanner {
        text,
        at: 0,
        builder,
    };
    let mut names = Names::new();
    let mut members = Vec::new();
    loop {
        scanner.skip_blank_lines();
        if scanner.rest().is_empty() {
            return Ok(Node::Map(members));
        }
        let start = scanner.at;
        let name = scanner.name()?;
        scanner.builder.enter_key(&mut names, &name, start)?;
        let node = scanner.value()?;
        scanner.builder.leave();
        members.push((name, node));
    }
}

struct Scanner<'t, 'b> {
    text: &'t str,
    at: usize,
    builder: &'b mut Builder,
}

impl<'t> Scanner<'t, '_> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_while(&mut self, skip: impl Fn(u8) -> bool) {
        self.at += self.rest().bytes().take_while(|byte| skip(*byte)).count();
    }

    fn skip_blanks(&mut self) {
        self.skip_while(is_blank);
    }

    fn skip_blank_lines(&mut self) {
        loop {
            self.skip_while(|byte| is_blank(byte) || matches!(byte, b'\n' | b'\r'));
            if !self.rest().starts_with('#') {
                return;
            }
            self.skip_while(|byte| byte != b'\n');
        }
    }

    /// Reads `NAME =` and what stands around it.
    fn name(&mut self) -> Result<String, DocumentError> {
        if let Some(rest) = self.rest().strip_prefix("export")
            && rest.bytes().next().is_some_and(is_blank)
        {
            self.at += "export".len();
            self.skip_blanks();
        }
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        let name = self.text.get(start..self.at).unwrap_or_default();
        let begins = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let named = name.bytes().next().is_some_and(begins);
        self.skip_blanks();
        if !named || !self.rest().starts_with('=') {
            return Err(self.builder.error(
                start,
                "the line is not NAME=value",
                "write it so, or begin it with # if it is a comment",
            ));
        }
        self.at += 1;
        Ok(name.to_owned())
    }

    fn value(&mut self) -> Result<Node, DocumentError> {
        let equals = self.at;
        self.skip_blanks();
        let mut start = self.at;
        let (content, style) = match self.rest().bytes().next() {
            Some(b'\'') => (self.single()?, Style::Single),
            Some(b'"') => (self.double()?, Style::Double),
            _ => (self.bare(equals < start)?, Style::Plain),
        };
        let mut end = self.at;
        if let Some(at) = content.find(|character: char| {
            character.is_control() && !matches!(character, '\t' | '\n' | '\r')
        }) {
            let message = "the value has a control character";
            return Err(self.builder.error(start + at, message, "remove it"));
        }
        self.skip_blanks();
        let clear = matches!(self.rest().bytes().next(), None | Some(b'#' | b'\n'))
            || self.rest().starts_with("\r\n");
        // A comment that touches the value would be a part of it for other readers.
        let touches = self.rest().starts_with('#') && self.at == end && style != Style::Plain;
        if !clear || touches {
            return Err(self.builder.error(
                self.at,
                "something follows the closing quote",
                "put the whole value in quotes, and a blank before a comment",
            ));
        }
        self.skip_while(|byte| byte != b'\n');
        if style == Style::Plain && content.is_empty() {
            // Before the blanks: those behind it keep a comment apart.
            (start, end) = (equals, equals);
        }
        self.builder
            .scalar(Kind::String, &content, start..end, style)
    }

    fn single(&mut self) -> Result<Zeroizing<String>, DocumentError> {
        let inner = self.rest().get(1..).unwrap_or_default();
        let Some((content, _)) = inner.split_once('\'') else {
            return Err(self.unclosed());
        };
        self.at += content.len() + 2;
        Ok(Zeroizing::new(content.to_owned()))
    }

    fn double(&mut self) -> Result<Zeroizing<String>, DocumentError> {
        let inner = self.rest().get(1..).unwrap_or_default();
        let mut escaped = false;
        let length = inner.bytes().take_while(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            !ends
        });
        // Escapes only shorten it, so it never grows and leaves no copy behind.
        let mut content = Zeroizing::new(String::with_capacity(length.count()));
        let mut characters = inner.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.at += at + 2;
                    return Ok(content);
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => content.push('\n'),
                    Some((_, 'r')) => content.push('\r'),
                    Some((_, 't')) => content.push('\t'),
                    Some((_, plain @ ('"' | '\\' | '$'))) => content.push(plain),
                    _ => {
                        return Err(self.builder.error(
                            self.at + 1 + at,
                            "unknown escape",
                            "in double quotes there are \\n \\r \\t \\\" \\\\ \\$; single quotes take a backslash as it is",
                        ));
                    }
                },
                other => content.push(other),
            }
        }
        Err(self.unclosed())
    }

    /// `blank`: whether a blank stands before it.
    fn bare(&mut self, blank: bool) -> Result<Zeroizing<String>, DocumentError> {
        let line = self.rest().split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        let comment = line
            .match_indices('#')
            .find(|(at, _)| match at.checked_sub(1) {
                Some(before) => line.as_bytes().get(before).copied().is_some_and(is_blank),
                None => blank,
            });
        let value = comment.map_or(line, |(at, _)| line.get(..at).unwrap_or_default());
        let value = value.trim_end_matches([' ', '\t']);
        if let Some(at) = value.find(['\'', '"', '`', '\\', '#', '\r']) {
            return Err(self.builder.error(
                self.at + at,
                "a value without quotes has a character that readers take in different ways",
                "put the value in single quotes",
            ));
        }
        self.at += value.len();
        Ok(Zeroizing::new(value.to_owned()))
    }

    fn unclosed(&self) -> DocumentError {
        self.builder
            .error(self.at, "the quote is not closed", "close it")
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
