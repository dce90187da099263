//! YAML reader: YAML 1.2, the part of it that people write policies in.
//!
//! Block and flow style, plain, quoted and block scalars, comments. Refused: anchors, aliases, tags, directives, merge
//! keys, more than one document, names that are no scalars, and duplicate names. A scalar without quotes has no type
//! here; the schema gives it that of its place, so no `no` turns into a truth value.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::error::{Fault, Mark, Place, PolicyError, PolicyErrorKind};
use super::tree::{Member, Node, Value, check_depth, check_member, check_text};

/// Reads the one YAML document that is the whole of `text`.
pub(crate) fn read(text: &str) -> Result<Node, PolicyError> {
    check_text(text)?;
    check_lines(text)?;
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        last: Mark::START,
    };
    let place = Place::Document;
    // The stream's and the document's start.
    let mut event = reader.next(&place)?;
    while matches!(event.event, Event::StreamStart | Event::DocumentStart(_)) {
        event = reader.next(&place)?;
    }
    if event.event == Event::StreamEnd {
        return Err(syntax(
            event.mark,
            &place,
            "document is empty",
            "write a policy, beginning with v: 1",
        ));
    }
    let node = reader.node(event, &place, 1)?;
    let mut event = reader.next(&place)?;
    while event.event == Event::DocumentEnd {
        event = reader.next(&place)?;
    }
    if event.event != Event::StreamEnd {
        return Err(syntax(
            event.mark,
            &place,
            "a second document follows",
            "keep one policy in a file",
        ));
    }
    Ok(node)
}

/// Refuses directives, which the parser would follow without a word, and characters YAML does not have.
fn check_lines(text: &str) -> Result<(), PolicyError> {
    let mut mark = Mark::START;
    for character in text.chars() {
        if character == '%' && mark.column == 1 {
            return Err(syntax(
                mark,
                &Place::Document,
                "line begins with a directive",
                "remove it: policies are YAML 1.2",
            ));
        }
        // YAML 1.2.2, section 5.1: c-printable.
        if character.is_control() && !matches!(character, '\t' | '\n' | '\r' | '\u{85}') {
            return Err(syntax(
                mark,
                &Place::Document,
                "control character",
                "remove it",
            ));
        }
        mark.advance(character);
    }
    Ok(())
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    last: Mark,
}

struct Located<'t> {
    event: Event<'t>,
    mark: Mark,
}

impl<'t> Reader<'t> {
    /// Builds the value that begins with `located`.
    fn node(
        &mut self,
        located: Located<'t>,
        place: &Place<'_>,
        depth: usize,
    ) -> Result<Node, PolicyError> {
        let Located { event, mark } = located;
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if anchor != 0 {
            return Err(syntax(
                mark,
                place,
                "anchor",
                "remove it; put a text that begins with & in quotes",
            ));
        }
        if tag {
            return Err(syntax(
                mark,
                place,
                "tag",
                "remove it; put a text that begins with ! in quotes",
            ));
        }
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => Value::Plain(text.into_owned()),
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => {
                check_depth(depth, mark, place)?;
                self.list(place, depth)?
            }
            Event::MappingStart(..) => {
                check_depth(depth, mark, place)?;
                self.object(place, depth)?
            }
            Event::Alias(_) => return Err(alias(mark, place)),
            _ => {
                return Err(syntax(
                    mark,
                    place,
                    "document ends where a value is expected",
                    "write the value",
                ));
            }
        };
        Ok(Node::new(mark, value))
    }

    fn list(&mut self, place: &Place<'_>, depth: usize) -> Result<Value, PolicyError> {
        let mut entries = Vec::new();
        loop {
            let place = place.entry(entries.len());
            let located = self.next(&place)?;
            if located.event == Event::SequenceEnd {
                return Ok(Value::List(entries));
            }
            entries.push(self.node(located, &place, depth + 1)?);
        }
    }

    fn object(&mut self, place: &Place<'_>, depth: usize) -> Result<Value, PolicyError> {
        let mut members = Vec::new();
        loop {
            let located = self.next(place)?;
            if located.event == Event::MappingEnd {
                return Ok(Value::Object(members));
            }
            // A name obeys the rules of values as to anchors and tags.
            let Node { mark, value } = self.node(located, place, depth + 1)?;
            let (Value::Plain(name) | Value::Text(name)) = value else {
                return Err(syntax(
                    mark,
                    place,
                    "name of a member is no text",
                    "write name: value",
                ));
            };
            let member = place.member(&name);
            if name == "<<" {
                return Err(syntax(mark, &member, "merge key", "write the members out"));
            }
            check_member(&members, &name, mark, &member)?;
            let located = self.next(&member)?;
            let node = self.node(located, &member, depth + 1)?;
            members.push(Member { mark, name, node });
        }
    }

    fn next(&mut self, place: &Place<'_>) -> Result<Located<'t>, PolicyError> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => {
                self.last = mark(start);
                Ok(Located {
                    event,
                    mark: self.last,
                })
            }
            Some(Err(error)) => Err(scan_error(&error, place)),
            None => Ok(Located {
                event: Event::StreamEnd,
                mark: self.last,
            }),
        }
    }
}

/// The parser's columns begin at 0.
fn mark(marker: Marker) -> Mark {
    Mark {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

fn scan_error(error: &ScanError, place: &Place<'_>) -> PolicyError {
    let mark = mark(*error.marker());
    let info = error.info();
    if info.contains("anchor") || info.contains("alias") {
        return alias(mark, place);
    }
    let remedy = if info.contains("tag") || info.contains("TAG") || info.contains("handle") {
        "put a text that begins with ! in quotes; policies have no tags"
    } else if info.contains("tab") {
        "indent with spaces"
    } else if info.contains("mapping values are not allowed") {
        "indent the line as its siblings, and put a text that holds \": \" in quotes"
    } else {
        "correct the YAML there or above; put a text with special characters in quotes"
    };
    syntax(mark, place, format!("no YAML: {info}"), remedy)
}

fn alias(mark: Mark, place: &Place<'_>) -> PolicyError {
    syntax(
        mark,
        place,
        "alias or anchor",
        "write the value out; put a text that begins with * or & in quotes",
    )
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
