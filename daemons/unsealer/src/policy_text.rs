//! Policies as administrators write them, brought into the form that is kept.

use blindfold_core::CanonicalPolicy;
use identity::policy::{Policy, PolicyError};

use crate::compiled::Digest;

/// A policy in the form that is stored, hashed and bound into sealed objects.
#[derive(Debug)]
pub(crate) struct PolicyText {
    /// Canonical bytes of the document as written.
    pub(crate) canonical: Vec<u8>,
    /// `H("policy", canonical)`.
    pub(crate) digest: Digest,
}

impl PolicyText {
    /// Document and digest.
    pub(crate) fn parts(&self) -> (&[u8], &Digest) {
        (&self.canonical, &self.digest)
    }
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyTextError {
    /// The policy engine can't read it.
    #[error(transparent)]
    Engine(#[from] PolicyError),
    /// The engine reads it, but no sealed object could name it.
    #[error("the policy can't be named by sealed objects: {0}")]
    Format(blindfold_core::PolicyError),
}

/// Reads a policy written as YAML or JSON.
///
/// # Errors
///
/// [`PolicyTextError`] with the place and the remedy.
pub(crate) fn read(text: &str) -> Result<PolicyText, PolicyTextError> {
    let policy = Policy::from_text(text)?;
    let canonical = policy.canonical();
    let format = CanonicalPolicy::parse(&canonical).map_err(PolicyTextError::Format)?;
    Ok(PolicyText {
        digest: *format.digest(),
        canonical,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_of_one_policy_are_one_document() {
        let yaml = read("v: 1\nname: p\nrules:\n  - effect: allow\n    actions: [open]\n").unwrap();
        let json =
            read(r#" {"rules": [{"actions": ["open"], "effect": "allow"}], "v": 1, "name": "p"}"#)
                .unwrap();
        assert_eq!(yaml.canonical, json.canonical);
        assert_eq!(yaml.digest, json.digest);
    }

    #[test]
    fn engine_and_format_agree_on_the_digest() {
        let text = "v: 1\nname: p\nrules: [{effect: deny}]\n";
        assert_eq!(
            read(text).unwrap().digest,
            Policy::from_text(text).unwrap().digest()
        );
    }

    #[test]
    fn refusals_name_the_place() {
        let error = read("v: 1\nrules:\n  - effect: maybe\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("rules[0]"), "{error}");
    }
}
