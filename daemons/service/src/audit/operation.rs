//! Records of operations on a data path: built from members that were written out ahead.

use std::{io::Write, time::SystemTime};

use serde::Serialize;

use super::{AuditContext, RecordId, RecordPrincipal, context::clip};
use crate::{clock, limits};

/// What came of one item of a permitted request.
#[derive(Clone, Copy, Debug)]
pub struct ItemOutcome<'a> {
    outcome: &'static str,
    code: Option<&'static str>,
    why: &'a str,
    version: Option<u32>,
    context_sha256: Option<[u8; 32]>,
    facts: Option<&'a AuditContext>,
}

impl<'a> ItemOutcome<'a> {
    /// It was done.
    #[must_use]
    pub fn success() -> Self {
        Self {
            outcome: "success",
            code: None,
            why: "",
            version: None,
            context_sha256: None,
            facts: None,
        }
    }

    /// It was not done; `code` is the stable name of the reason.
    #[must_use]
    pub fn failure(code: &'static str) -> Self {
        Self {
            outcome: "failure",
            code: Some(code),
            ..Self::success()
        }
    }

    /// Says more to people.
    #[must_use]
    pub fn because(mut self, why: &'a str) -> Self {
        self.why = why;
        self
    }

    /// Which version of the key was used.
    #[must_use]
    pub fn with_version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    /// SHA-256 of the encryption context (associated data) that the caller gave.
    #[must_use]
    pub fn with_context_sha256(mut self, digest: [u8; 32]) -> Self {
        self.context_sha256 = Some(digest);
        self
    }

    /// Facts about this item that were not known at the decision.
    #[must_use]
    pub fn with_facts(mut self, facts: &'a AuditContext) -> Self {
        self.facts = Some(facts);
        self
    }
}

/// What the records of one request share beyond its ruling.
#[derive(Clone, Debug)]
pub(crate) struct OperationHead {
    pub(crate) time: SystemTime,
    pub(crate) id: RecordId,
    pub(crate) items: u32,
}

/// The members that all records about one ruling have, as JSON between commas.
pub(crate) struct Members {
    /// `"service"` to `"resource"`.
    asked: Box<[u8]>,
    /// `"decision"` to `"rule"`.
    said: Box<[u8]>,
    /// The policy's words.
    why: Box<[u8]>,
    /// `"context"` of what was decided.
    context: Box<[u8]>,
}

impl Members {
    pub(crate) fn new(
        service: &str,
        principal: &RecordPrincipal,
        (action, resource): (&str, &str),
        (decision, policies, policy, rule): (&str, &[&str], Option<&str>, Option<&str>),
        why: &str,
        context: &AuditContext,
    ) -> Self {
        let mut asked = Vec::with_capacity(512);
        member(&mut asked, "service", &service);
        member(&mut asked, "principal", principal);
        member(&mut asked, "action", &clip(action, limits::AUDIT_TEXT));
        member(&mut asked, "resource", &clip(resource, limits::AUDIT_TEXT));
        let mut said = Vec::with_capacity(128);
        member(&mut said, "decision", &decision);
        member(&mut said, "policies", &policies);
        if let Some(policy) = policy {
            member(&mut said, "policy", &policy);
        }
        if let Some(rule) = rule {
            member(&mut said, "rule", &clip(rule, limits::AUDIT_TEXT));
        }
        let mut why_text = Vec::with_capacity(64);
        value(&mut why_text, &clip(why, limits::AUDIT_TEXT));
        let mut context_text = Vec::with_capacity(64);
        value(&mut context_text, context);
        Self {
            asked: asked.into(),
            said: said.into(),
            why: why_text.into(),
            context: context_text.into(),
        }
    }

    /// One line for the request: the policies denied it.
    pub(crate) fn denial(&self, head: &OperationHead) -> Lines {
        let mut line = self.begin(1);
        self.open(&mut line, head, "decision");
        line.extend_from_slice(&self.said);
        member(&mut line, "items", &head.items);
        line.extend_from_slice(br#","why":"#);
        line.extend_from_slice(&self.why);
        self.close(&mut line);
        Lines {
            bytes: line,
            count: 1,
        }
    }

    /// One line for the request: what the policies said does not hold any more, so nothing allows it.
    pub(crate) fn expired(&self, head: &OperationHead) -> Lines {
        let mut line = self.begin(1);
        self.open(&mut line, head, "decision");
        member(&mut line, "decision", &"deny");
        member(&mut line, "policies", &[""; 0]);
        member(&mut line, "items", &head.items);
        member(&mut line, "code", &"RULING_EXPIRED");
        member(&mut line, "why", &"the decision held at another time only");
        self.close(&mut line);
        Lines {
            bytes: line,
            count: 1,
        }
    }

    /// One line per item.
    pub(crate) fn operations(&self, head: &OperationHead, outcomes: &[ItemOutcome<'_>]) -> Lines {
        let mut lines = self.begin(outcomes.len());
        let mut count = 0;
        for (item, outcome) in outcomes.iter().enumerate() {
            self.open(&mut lines, head, "operation");
            lines.extend_from_slice(&self.said);
            if head.items != 1 {
                member(&mut lines, "item", &item);
            }
            member(&mut lines, "items", &head.items);
            if let Some(version) = outcome.version {
                member(&mut lines, "version", &version);
            }
            if let Some(digest) = outcome.context_sha256 {
                let mut digits = [0; 64];
                // Two digits for each byte: it always fits.
                let _ = hex::encode_to_slice(digest, &mut digits);
                lines.extend_from_slice(br#","context_sha256":""#);
                lines.extend_from_slice(&digits);
                lines.push(b'"');
            }
            member(&mut lines, "outcome", &outcome.outcome);
            if let Some(code) = outcome.code {
                member(&mut lines, "code", &code);
            }
            if let Some(facts) = outcome.facts {
                member(&mut lines, "facts", facts);
            }
            if outcome.why.is_empty() {
                lines.extend_from_slice(br#","why":"#);
                lines.extend_from_slice(&self.why);
            } else {
                member(&mut lines, "why", &clip(outcome.why, limits::AUDIT_TEXT));
            }
            self.close(&mut lines);
            count += 1;
        }
        let missing = usize::try_from(head.items).unwrap_or(usize::MAX);
        if outcomes.len() < missing || outcomes.is_empty() {
            self.abandon(&mut lines, head, outcomes.len());
            count += 1;
        }
        Lines {
            bytes: lines,
            count,
        }
    }

    /// One line for all items: nobody said what came of them.
    pub(crate) fn abandoned(&self, head: &OperationHead) -> Lines {
        let mut line = self.begin(1);
        self.abandon(&mut line, head, 0);
        Lines {
            bytes: line,
            count: 1,
        }
    }

    /// One line for the items from `first` on.
    fn abandon(&self, line: &mut Vec<u8>, head: &OperationHead, first: usize) {
        self.open(line, head, "operation");
        line.extend_from_slice(&self.said);
        if first > 0 {
            member(line, "item", &first);
        }
        member(line, "items", &head.items);
        member(line, "outcome", &"abandoned");
        member(line, "code", &"ABANDONED");
        member(
            line,
            "why",
            &"the operation ended without an outcome: the caller went away, or it failed",
        );
        self.close(line);
    }

    fn begin(&self, lines: usize) -> Vec<u8> {
        let one = self.asked.len() + self.said.len() + self.why.len() + self.context.len() + ROOM;
        Vec::with_capacity(one.saturating_mul(lines.max(1)))
    }

    fn open(&self, line: &mut Vec<u8>, head: &OperationHead, kind: &str) {
        line.extend_from_slice(br#"{"time":""#);
        clock::write_rfc3339_micros(line, head.time);
        line.extend_from_slice(br#"","id":""#);
        line.extend_from_slice(&head.id.digits());
        line.extend_from_slice(br#"","kind":""#);
        line.extend_from_slice(kind.as_bytes());
        line.push(b'"');
        line.extend_from_slice(&self.asked);
    }

    fn close(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(br#","context":"#);
        line.extend_from_slice(&self.context);
        line.extend_from_slice(b"}\n");
    }
}

/// Members of one item: time, identifier, digest, outcome.
const ROOM: usize = 320;

/// Whole lines on their way to the log.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) count: usize,
}

/// Adds `,"name":value`; `name` is written in the program and needs no escape.
fn member(line: &mut Vec<u8>, name: &str, of: &impl Serialize) {
    // Writing to memory does not fail.
    let _ = write!(line, ",\"{name}\":");
    value(line, of);
}

fn value(line: &mut Vec<u8>, of: &impl Serialize) {
    let before = line.len();
    // Strings, numbers and flags always serialize. JSON escapes line ends, so a line is a record.
    if serde_json::to_writer(&mut *line, of).is_err() {
        line.truncate(before);
        line.extend_from_slice(b"null");
    }
}
