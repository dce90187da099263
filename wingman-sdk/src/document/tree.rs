//! The shape of a document, and what builds it while a format is read.

use std::{collections::HashSet, ops::Range};

use zeroize::Zeroizing;

use super::{
    entry::{Entry, Kind, Style},
    error::DocumentError,
    path::{KeyPath, Segment},
};
use crate::limits;

/// One value: a collection, or a scalar by its place in the list of entries.
#[derive(Debug)]
pub(crate) enum Node {
    /// Members in the order of the file.
    Map(Vec<(String, Node)>),
    /// Elements.
    List(Vec<Node>),
    /// Place in [`super::Document::entries`].
    Value(usize),
}

/// Collects entries while a format is read, and holds the limits.
pub(super) struct Builder {
    lines: Lines,
    path: KeyPath,
    entries: Vec<Entry>,
    values: usize,
    /// For the next scalar: see [`Entry`].
    pub(super) indent: Option<usize>,
}

/// Names of one collection.
pub(super) type Names = HashSet<String>;

impl Builder {
    pub(super) fn new(text: &str) -> Self {
        Self {
            lines: Lines::of(text),
            path: KeyPath::default(),
            entries: Vec::new(),
            values: 0,
            indent: None,
        }
    }

    /// Steps into a member; `at` is where its name begins.
    pub(super) fn enter_key(
        &mut self,
        names: &mut Names,
        name: &str,
        at: usize,
    ) -> Result<(), DocumentError> {
        self.enter(Segment::Key(name.to_owned()), at)?;
        if names.insert(name.to_owned()) {
            return Ok(());
        }
        let message = format!("`{}` stands here a second time", self.path);
        Err(self.error(at, message, "remove one of the two"))
    }

    /// Steps into an element.
    pub(super) fn enter_index(&mut self, index: usize, at: usize) -> Result<(), DocumentError> {
        self.enter(Segment::Index(index), at)
    }

    fn enter(&mut self, segment: Segment, at: usize) -> Result<(), DocumentError> {
        self.values += 1;
        if self.values > limits::MAX_DOCUMENT_VALUES {
            let message = format!(
                "the file has more than {} values",
                limits::MAX_DOCUMENT_VALUES
            );
            return Err(self.error(at, message, "split it"));
        }
        self.path.push(segment).map_err(|error| {
            self.error(
                at,
                error.to_string(),
                "a configuration file is flatter and has shorter names",
            )
        })
    }

    /// Steps out of a member or an element.
    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    /// Adds a scalar at the present place.
    pub(super) fn scalar(
        &mut self,
        kind: Kind,
        text: &str,
        span: Range<usize>,
        style: Style,
    ) -> Result<Node, DocumentError> {
        if self.path.segments().is_empty() {
            return Err(self.error(
                span.start,
                "the file is a single value",
                "give it a name: values are found by their names",
            ));
        }
        let (line, column) = self.lines.position(span.start);
        self.entries.push(Entry {
            path: self.path.clone(),
            kind,
            text: Zeroizing::new(text.to_owned()),
            span,
            line,
            column,
            style,
            indent: self.indent.take(),
        });
        Ok(Node::Value(self.entries.len() - 1))
    }

    /// The column of a byte, from 1.
    pub(super) fn column(&self, at: usize) -> usize {
        self.lines.position(at).1
    }

    /// An error at a byte of the text.
    pub(super) fn error(
        &self,
        at: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> DocumentError {
        let (line, column) = self.lines.position(at);
        DocumentError::new(line, column, message, remedy)
    }

    /// Entries in the order of the file, and the tree that points to them.
    pub(super) fn finish(self, mut root: Node) -> (Vec<Entry>, Node) {
        let mut order: Vec<(usize, Entry)> = self.entries.into_iter().enumerate().collect();
        order.sort_by_key(|(_, entry)| (entry.span.start, entry.span.end));
        let mut place = vec![0; order.len()];
        for (new, (old, _)) in order.iter().enumerate() {
            if let Some(place) = place.get_mut(*old) {
                *place = new;
            }
        }
        renumber(&mut root, &place);
        (order.into_iter().map(|(_, entry)| entry).collect(), root)
    }
}

fn renumber(node: &mut Node, place: &[usize]) {
    match node {
        Node::Map(members) => members
            .iter_mut()
            .for_each(|(_, member)| renumber(member, place)),
        Node::List(elements) => elements
            .iter_mut()
            .for_each(|element| renumber(element, place)),
        Node::Value(index) => *index = place.get(*index).copied().unwrap_or(*index),
    }
}

/// Finds line and column of a byte.
pub(super) struct Lines {
    /// Byte at which each line starts.
    starts: Vec<usize>,
    /// Bytes that are not the first of a character, in order; empty for ASCII.
    continuations: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let inner = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| byte & 0xc0 == 0x80);
        Self {
            starts: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
            continuations: inner.map(|(at, _)| at).collect(),
        }
    }

    /// Line and column, both from 1; columns count characters.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let before = |byte: usize| self.continuations.partition_point(|inner| *inner < byte);
        let inner = before(at) - before(start);
        (line, at - start - inner + 1)
    }
}
