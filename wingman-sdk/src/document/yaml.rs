//! YAML 1.2 with the core schema; what makes a value depend on other places of the file is refused.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::{
    entry::{Kind, Style},
    error::DocumentError,
    number::yaml_kind,
    tree::{Builder, Names, Node},
};

/// Indentation of a block below a name.
const INDENT: usize = 2;

/// What may stand behind the content of a line.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

pub(super) fn read(text: &str, builder: &mut Builder) -> Result<Node, DocumentError> {
    check_characters(text, builder)?;
    check_directives(text, builder)?;
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str(text),
        offsets: Offsets::of(text),
        end: 0,
        flow: 0,
        builder,
    };
    let mut event = reader.next()?;
    while matches!(event.0, Event::StreamStart | Event::DocumentStart(_)) {
        event = reader.next()?;
    }
    let empty = Node::Map(Vec::new());
    let root = match &event.0 {
        Event::StreamEnd => return Ok(empty),
        Event::Scalar(value, ScalarStyle::Plain, 0, None) if value.is_empty() => empty,
        _ => reader.node(event)?,
    };
    loop {
        match reader.next()? {
            (Event::DocumentEnd, _) => {}
            (Event::StreamEnd, _) => return Ok(root),
            (_, span) => {
                return Err(reader.refuse(
                    span,
                    "a second document follows",
                    "keep each document in a file of its own",
                ));
            }
        }
    }
}

/// The parser takes a NUL for the end of the text.
fn check_characters(text: &str, builder: &Builder) -> Result<(), DocumentError> {
    // YAML 1.2.2, section 5.1: c-printable.
    let allowed = |character: char| {
        matches!(character, '\t' | '\n' | '\r' | '\u{85}')
            || !(character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}'))
    };
    match text.find(|character| !allowed(character)) {
        Some(at) => Err(builder.error(
            at,
            "control character",
            "remove it, or write it as an escape in double quotes",
        )),
        None => Ok(()),
    }
}

fn check_directives(text: &str, builder: &Builder) -> Result<(), DocumentError> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with('%') {
            return Err(builder.error(at, "directive", "remove it: the file is read as YAML 1.2"));
        }
        let content = line.trim();
        if !content.is_empty() && !content.starts_with('#') {
            break;
        }
        at += line.len();
    }
    Ok(())
}

struct Reader<'t, 'b> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    offsets: Offsets,
    /// Where the last event ended, in bytes.
    end: usize,
    /// How many flow collections the present place is in.
    flow: usize,
    builder: &'b mut Builder,
}

type Located<'t> = (Event<'t>, Span);

impl<'t> Reader<'t, '_> {
    fn node(&mut self, (event, span): Located<'t>) -> Result<Node, DocumentError> {
        self.check_properties(&event, span)?;
        match event {
            Event::Scalar(value, style, ..) => self.scalar(&value, style, span),
            Event::SequenceStart(..) => self.collection(span, Self::list),
            Event::MappingStart(..) => self.collection(span, Self::map),
            _ => Err(self.refuse(span, "a value is missing", "write it")),
        }
    }

    fn check_properties(&self, event: &Event<'_>, span: Span) -> Result<(), DocumentError> {
        let (anchor, tag) = match event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::Alias(_) => (true, false),
            _ => (false, false),
        };
        if anchor {
            return Err(self.alias(span));
        }
        if tag {
            return Err(self.refuse(
                span,
                "tag",
                "remove it; put a text that begins with ! in quotes",
            ));
        }
        Ok(())
    }

    fn collection(
        &mut self,
        span: Span,
        read: fn(&mut Self) -> Result<Node, DocumentError>,
    ) -> Result<Node, DocumentError> {
        let start = self.offsets.byte(span.start.index());
        let flow = self.flow > 0 || self.after(start).starts_with(['[', '{']);
        self.flow += usize::from(flow);
        let node = read(self);
        self.flow -= usize::from(flow);
        node
    }

    fn list(&mut self) -> Result<Node, DocumentError> {
        let mut elements = Vec::new();
        loop {
            let located = self.next()?;
            if located.0 == Event::SequenceEnd {
                return Ok(Node::List(elements));
            }
            let at = self.start_of(&located);
            self.builder.enter_index(elements.len(), at)?;
            // Whatever stands right of the dash is indented enough.
            self.builder.indent = Some(self.column(at));
            elements.push(self.node(located)?);
            self.builder.leave();
        }
    }

    fn map(&mut self) -> Result<Node, DocumentError> {
        let mut names = Names::new();
        let mut members = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Node::Map(members));
            }
            self.check_properties(&event, span)?;
            let Event::Scalar(name, style, ..) = event else {
                return Err(self.refuse(span, "a name is no scalar", "write name: value"));
            };
            let plain = style == ScalarStyle::Plain;
            if plain && name.is_empty() {
                return Err(self.refuse(span, "a name is missing", "write name: value"));
            }
            if plain && name == "<<" {
                return Err(self.refuse(span, "merge key", "write the members out"));
            }
            let at = self.offsets.byte(span.start.index());
            self.end = self.offsets.byte(span.end.index());
            self.builder.enter_key(&mut names, &name, at)?;
            let located = self.next()?;
            self.builder.indent = Some(self.column(at) + INDENT);
            members.push((name.into_owned(), self.node(located)?));
            self.builder.leave();
        }
    }

    fn scalar(
        &mut self,
        value: &str,
        style: ScalarStyle,
        span: Span,
    ) -> Result<Node, DocumentError> {
        let range = self.offsets.byte(span.start.index())..self.offsets.byte(span.end.index());
        let written = self.text.get(range.clone()).unwrap_or_default();
        // The scanner counts blanks and a comment behind the quotes as a part of the value.
        let quoted = |quote: char| in_quotes(written, quote);
        let inside = |length: usize| range.start..range.start + length;
        if self.flow > 0 {
            self.builder.indent = None;
        }
        let (kind, range, style) = match style {
            ScalarStyle::Plain if value.is_empty() => {
                (Kind::Null, self.end..self.end, Style::Absent)
            }
            ScalarStyle::Plain if value == written || written.contains(['\n', '\r']) => {
                let style = match self.flow {
                    0 => Style::Plain,
                    _ => Style::PlainInFlow,
                };
                (yaml_kind(value), range, style)
            }
            ScalarStyle::SingleQuoted => {
                let length = quoted('\'').ok_or_else(|| self.lost(span))?;
                (Kind::String, inside(length), Style::Single)
            }
            ScalarStyle::DoubleQuoted => {
                let length = quoted('"').ok_or_else(|| self.lost(span))?;
                (Kind::String, inside(length), Style::Double)
            }
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let (range, comment) = self.block(&range).ok_or_else(|| self.lost(span))?;
                (Kind::String, range, Style::Block { comment })
            }
            _ => return Err(self.lost(span)),
        };
        self.end = self.end.max(range.end);
        self.builder.scalar(kind, value, range, style)
    }

    /// The bytes of a block scalar from its `|` on, and those of the comment behind it; the parser tells where its lines are.
    fn block(&self, lines: &Range<usize>) -> Option<(Range<usize>, (usize, usize))> {
        let start = self.block_start()?;
        let header = self.after(start).split(['\n', '\r']).next()?;
        let indicators = header
            .bytes()
            .take_while(|byte| b"|>+-123456789".contains(byte))
            .count();
        let content = self.text.get(start..lines.end)?.trim_end_matches(BLANKS);
        if content.len() <= header.len() {
            let end = start + indicators;
            return Some((start..end, (end, end)));
        }
        let comment = header.get(indicators..)?.trim_matches(BLANKS);
        let comment_start = start + indicators + header.get(indicators..)?.find(comment)?;
        Some((
            start..start + content.len(),
            (comment_start, comment_start + comment.len()),
        ))
    }

    /// Finds the `|` or `>` of the block scalar that comes next: only blanks, comments and indicators stand before it.
    fn block_start(&self) -> Option<usize> {
        let mut at = self.end;
        loop {
            let rest = self.after(at);
            match rest.bytes().next()? {
                b'|' | b'>' => return Some(at),
                b'#' => at += rest.find(['\n', '\r'])?,
                byte if b" \t\r\n-?:,[]{}".contains(&byte) => at += 1,
                _ => return None,
            }
        }
    }

    fn start_of(&self, (event, span): &Located<'_>) -> usize {
        let block = matches!(
            event,
            Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..)
        );
        block
            .then(|| self.block_start())
            .flatten()
            .unwrap_or_else(|| self.offsets.byte(span.start.index()))
    }

    fn after(&self, at: usize) -> &'t str {
        self.text.get(at..).unwrap_or_default()
    }

    /// How many characters stand before a byte in its line.
    fn column(&self, at: usize) -> usize {
        self.builder.column(at) - 1
    }

    fn next(&mut self) -> Result<Located<'t>, DocumentError> {
        match self.parser.next_event() {
            Some(Ok(located)) => Ok(located),
            Some(Err(error)) => Err(self.scan_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn scan_error(&self, error: &ScanError) -> DocumentError {
        let at = self.offsets.byte(error.marker().index());
        let info = error.info();
        let remedy = if info.contains("anchor") || info.contains("alias") {
            "write the value out; put a text that begins with * or & in quotes"
        } else if info.contains("tag") || info.contains("TAG") || info.contains("handle") {
            "put a text that begins with ! in quotes; tags are not supported"
        } else if info.contains("tab") {
            "indent with spaces"
        } else {
            "correct it there or above; put a text with special characters in quotes"
        };
        self.builder.error(at, format!("no YAML: {info}"), remedy)
    }

    fn alias(&self, span: Span) -> DocumentError {
        self.refuse(
            span,
            "alias or anchor",
            "write the value out; put a text that begins with * or & in quotes",
        )
    }

    fn lost(&self, span: Span) -> DocumentError {
        self.refuse(
            span,
            "it can't be told where this value begins and ends",
            "write it in double quotes on one line",
        )
    }

    fn refuse(&self, span: Span, message: &str, remedy: &str) -> DocumentError {
        let at = self.offsets.byte(span.start.index());
        self.builder.error(at, message, remedy)
    }
}

/// Bytes from the opening quote that `text` begins with up to and with the closing one.
fn in_quotes(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.strip_prefix(quote)?.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && quote == '"' {
            characters.next();
        } else if character == quote {
            // Two single quotes are one in the value.
            if quote == '\'' && characters.next_if(|(_, next)| *next == quote).is_some() {
                continue;
            }
            return Some(quote.len_utf8() + at + quote.len_utf8());
        }
    }
    None
}

/// Bytes of characters, by their number; the parser counts characters.
struct Offsets {
    /// Empty where all of them are single bytes.
    bytes: Vec<usize>,
    length: usize,
}

impl Offsets {
    fn of(text: &str) -> Self {
        let bytes = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().map(|(byte, _)| byte).collect(),
        };
        Self {
            bytes,
            length: text.len(),
        }
    }

    fn byte(&self, character: usize) -> usize {
        if self.bytes.is_empty() {
            return character.min(self.length);
        }
        self.bytes.get(character).copied().unwrap_or(self.length)
    }
}
