//! Reads the unsealer's audit log: decisions on `open`.

use std::fmt;

use serde::Deserialize;

use crate::failure::{Context, Kind, Outcome};

/// One decision on a request to evaluate.
#[derive(Debug)]
pub(super) struct Evaluation {
    pub(super) spiffe_id: String,
    pub(super) allowed: bool,
    pub(super) count: u64,
    policy: String,
    why: String,
}

#[derive(Deserialize)]
struct Record {
    kind: String,
    action: Option<String>,
    principal: Option<Who>,
    decision: Option<String>,
    #[serde(default)]
    why: String,
    #[serde(default)]
    context: Asked,
}

#[derive(Deserialize)]
struct Who {
    spiffe_id: String,
}

#[derive(Default, Deserialize)]
struct Asked {
    #[serde(default)]
    count: u64,
    #[serde(default)]
    policy: String,
}

/// The decisions on `open`, oldest first.
pub(super) fn evaluations(log: &[u8]) -> Outcome<Vec<Evaluation>> {
    let mut found = Vec::new();
    for line in log
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let record: Record = serde_json::from_slice(line).about(Kind::Internal, "audit log")?;
        let (Some(who), Some(decision)) = (record.principal, record.decision) else {
            continue;
        };
        if record.kind != "decision" || record.action.as_deref() != Some("open") {
            continue;
        }
        found.push(Evaluation {
            spiffe_id: who.spiffe_id,
            allowed: decision == "allow",
            count: record.context.count,
            policy: record.context.policy,
            why: record.why,
        });
    }
    Ok(found)
}

/// Length of a group element in base64; in hex it has 98 digits, two more than the digest of a policy.
const ELEMENT_BASE64: usize = 66;
const DIGEST_HEX: usize = 96;

/// Whether some word of the log is long enough to be a group element in hex or base64.
pub(super) fn may_hold_an_element(log: &[u8]) -> bool {
    log.split(|byte| *byte == b'\n')
        .map(without_signature)
        .flat_map(|line| {
            line.split(|byte| !(byte.is_ascii_alphanumeric() || b"+/_-".contains(byte)))
        })
        .any(|word| {
            word.len() > DIGEST_HEX
                || (word.len() >= ELEMENT_BASE64 && !word.iter().all(u8::is_ascii_hexdigit))
        })
}

/// A line up to the signature that a checkpoint ends in: 88 digits of Base64.
fn without_signature(line: &[u8]) -> &[u8] {
    const MEMBER: &[u8] = br#","signature":""#;
    line.len()
        .checked_sub(MEMBER.len() + 88 + 2)
        .and_then(|at| line.split_at_checked(at))
        .filter(|(_, end)| end.starts_with(MEMBER))
        .map_or(line, |(before, _)| before)
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decision = if self.allowed { "allow" } else { "deny" };
        let policy = self.policy.get(..16).unwrap_or(&self.policy);
        let values = if self.count == 1 { "value" } else { "values" };
        write!(
            f,
            "{decision} {} · {} blinded {values} · policy {policy}… · {}",
            self.spiffe_id, self.count, self.why
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_noticed_and_digests_are_not() {
        let (digest, hex, base64) = ("0a".repeat(48), "02".repeat(49), "Ab9_".repeat(17));
        assert!(!may_hold_an_element(
            format!("{{\"policy\":\"{digest}\"}}").as_bytes()
        ));
        assert!(may_hold_an_element(
            format!("{{\"w\":\"{hex}\"}}").as_bytes()
        ));
        assert!(may_hold_an_element(
            format!("{{\"w\":\"{base64}\"}}").as_bytes()
        ));
        // The signature of a checkpoint is none, and hides none.
        let signature = "A".repeat(88);
        let checkpoint =
            |why: &str| format!("{{\"why\":\"{why}\",\"signature\":\"{signature}\"}}\n");
        assert!(!may_hold_an_element(checkpoint("all").as_bytes()));
        assert!(may_hold_an_element(checkpoint(&base64).as_bytes()));
    }
}
