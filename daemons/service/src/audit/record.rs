//! One audit record and its line.

use std::{fmt, time::SystemTime};

use identity::Principal;
use serde::Serialize;

use super::{AuditContext, AuditUnavailable, Lines, context::clip};
use crate::{clock, limits};

/// Joins a decision and its outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RecordId([u8; 16]);

impl RecordId {
    pub(crate) fn random() -> Result<Self, AuditUnavailable> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| AuditUnavailable)?;
        Ok(Self(id))
    }

    /// Its hexadecimal digits.
    pub(super) fn digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        // Two digits for each byte: it always fits.
        let _ = hex::encode_to_slice(self.0, &mut digits);
        digits
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Decision,
    Outcome,
    Refusal,
    Notice,
    Checkpoint,
}

/// Who asked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RecordPrincipal {
    spiffe_id: String,
    certificate_sha256: String,
}

impl From<&Principal> for RecordPrincipal {
    fn from(principal: &Principal) -> Self {
        Self {
            spiffe_id: principal.spiffe_id().to_string(),
            certificate_sha256: hex::encode(principal.fingerprint()),
        }
    }
}

/// One record; texts are cut to size when it is written.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) time: SystemTime,
    pub(crate) id: RecordId,
    pub(crate) kind: Kind,
    pub(crate) principal: Option<RecordPrincipal>,
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) decision: Option<&'static str>,
    pub(crate) policies: Vec<String>,
    pub(crate) policy: Option<String>,
    pub(crate) rule: Option<String>,
    pub(crate) outcome: Option<&'static str>,
    pub(crate) code: Option<&'static str>,
    pub(crate) why: String,
    pub(crate) context: AuditContext,
}

/// The line's members, in the order in which they are written.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: String,
    kind: Kind,
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Option<&'a RecordPrincipal>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    why: String,
    context: &'a AuditContext,
}

impl Record {
    pub(crate) fn notice(
        time: SystemTime,
        id: RecordId,
        why: String,
        context: AuditContext,
    ) -> Self {
        Self {
            time,
            id,
            kind: Kind::Notice,
            principal: None,
            action: String::new(),
            resource: String::new(),
            decision: None,
            policies: Vec::new(),
            policy: None,
            rule: None,
            outcome: None,
            code: None,
            why,
            context,
        }
    }

    /// The JSON object and its line end.
    pub(super) fn to_lines(&self, service: &str) -> Lines {
        let about_request = !matches!(self.kind, Kind::Notice | Kind::Checkpoint);
        let decided = self.kind == Kind::Decision;
        let line = Line {
            time: clock::rfc3339_micros(self.time),
            id: self.id.to_string(),
            kind: self.kind,
            service,
            principal: about_request.then_some(self.principal.as_ref()),
            action: about_request.then(|| clip(&self.action, limits::AUDIT_TEXT)),
            resource: about_request.then(|| clip(&self.resource, limits::AUDIT_TEXT)),
            decision: self.decision,
            policies: decided.then_some(self.policies.as_slice()),
            policy: self.policy.as_deref(),
            rule: self.rule.as_deref().map(|r| clip(r, limits::AUDIT_TEXT)),
            outcome: self.outcome,
            code: self.code,
            why: clip(&self.why, limits::AUDIT_TEXT),
            context: &self.context,
        };
        // Strings, numbers and flags always serialize. JSON escapes line ends, so a line is a record.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        Lines { bytes, count: 1 }
    }
}

/// A checkpoint, still without its place in the chain and its signature.
pub(super) fn checkpoint_line(
    time: SystemTime,
    id: RecordId,
    service: &str,
    context: &AuditContext,
) -> Vec<u8> {
    let record = Record {
        kind: Kind::Checkpoint,
        ..Record::notice(
            time,
            id,
            "every record up to here".to_owned(),
            context.clone(),
        )
    };
    record.to_lines(service).bytes
}
