//! Facts in audit contexts that may be longer than their place there: clipped for reading, and a digest of the whole.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use service::audit::AuditContext;
use service::limits::AUDIT_CONTEXT_TEXT;
use sha2::{Digest, Sha256};

/// Adds a SPIFFE ID, and its SHA-256 if the ID itself will be cut.
pub(crate) fn with_spiffe_id(context: AuditContext, spiffe_id: &str) -> AuditContext {
    let context = context.with("spiffe_id", spiffe_id);
    if spiffe_id.len() <= AUDIT_CONTEXT_TEXT {
        return context;
    }
    context.with_hex("spiffe_id_sha256", &Sha256::digest(spiffe_id))
}

/// Adds the SHA-256 of a value's canonical JSON.
pub(crate) fn with_json_sha256(
    context: AuditContext,
    key: &'static str,
    value: &impl Serialize,
) -> AuditContext {
    context.with_hex(key, &Sha256::digest(canonical_json(value)))
}

/// Compact JSON, members in order of their names: deeper maps of rules and attributes are ordered already.
fn canonical_json(value: &impl Serialize) -> String {
    // Strings, lists and numbers always serialize.
    match serde_json::to_value(value).unwrap_or_default() {
        Value::Object(members) => {
            let ordered: BTreeMap<_, _> = members.into_iter().collect();
            serde_json::to_string(&ordered).unwrap_or_default()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use identity::Attributes;
    use identity::wire::SiteRules;
    use service::audit::AuditValue;

    use super::*;

    fn text<'a>(context: &'a AuditContext, key: &str) -> Option<&'a str> {
        match context.value(key) {
            Some(AuditValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn spiffe_ids_that_are_cut_have_a_digest_of_the_whole() {
        let fits = "x".repeat(AUDIT_CONTEXT_TEXT);
        let context = with_spiffe_id(AuditContext::new(), &fits);
        assert_eq!(text(&context, "spiffe_id"), Some(&*fits));
        assert_eq!(context.value("spiffe_id_sha256"), None);
        let digests = ["a", "b"].map(|end| {
            let context = with_spiffe_id(AuditContext::new(), &format!("{fits}{end}"));
            assert!(
                text(&context, "spiffe_id")
                    .unwrap()
                    .ends_with("…(+1 bytes)")
            );
            let digest = hex::encode(Sha256::digest(format!("{fits}{end}")));
            assert_eq!(text(&context, "spiffe_id_sha256"), Some(&*digest));
            digest
        });
        assert_ne!(digests[0], digests[1]);
    }

    #[test]
    fn json_is_canonical() {
        let json = r#"{"attributes":{"a":["x","y"],"b":[]},"issues_per_minute":2,"max_lifetime_seconds":60,"spiffe_id_prefix":"spiffe://acme.example/paris"}"#;
        let rules: SiteRules = serde_json::from_str(json).unwrap();
        assert_eq!(canonical_json(&rules), json);
        let mut attributes = Attributes::new();
        attributes.insert("b", "2").unwrap();
        attributes.insert("a", "1").unwrap();
        assert_eq!(canonical_json(&attributes), r#"{"a":"1","b":"2"}"#);
        let context = with_json_sha256(AuditContext::new(), "rules_sha256", &rules);
        let digest = hex::encode(Sha256::digest(json));
        assert_eq!(text(&context, "rules_sha256"), Some(&*digest));
    }
}
