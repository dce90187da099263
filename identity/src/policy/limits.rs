//! Bounds of policy documents, each with the reason for its size.
//!
//! Together they bound a decision: at most [`MAX_RULES`] rules, each reading its own text and the facts once.

/// Greatest length of a document, as written and in canonical form (PBSEAL v1, section 9.3).
pub const MAX_DOCUMENT_BYTES: usize = 32 * 1024;

/// Greatest nesting of lists and objects, the document itself being the first level (PBSEAL v1, section 9.3).
pub const MAX_DEPTH: usize = 16;

/// Greatest number of members of one object, known or not; the form needs six, and names are compared each with each.
pub const MAX_MEMBERS: usize = 64;

/// Greatest number of rules: 32 KiB hold 256 rules of 128 bytes, and a longer list is no longer read by people.
pub const MAX_RULES: usize = 256;

/// Greatest number of entries of `actions`, `spiffe_id` or `resource` in one rule; more belong into several rules.
pub const MAX_LIST_ENTRIES: usize = 64;

/// Greatest length of the document's name: that of a named policy (PBSEAL v1, section 9.3).
pub const MAX_NAME_BYTES: usize = 512;

/// Greatest length of a rule's name: one line of an audit record.
pub const MAX_RULE_NAME_BYTES: usize = 128;

/// Greatest length of an action, `kms:generate-data-key` being a long one.
pub const MAX_ACTION_BYTES: usize = 64;

/// Greatest length of a pattern: twice a trust domain of 255 bytes. Longer identities are matched with wildcards.
pub const MAX_PATTERN_BYTES: usize = 512;

/// Greatest number of asterisks in a pattern; four are many, and each one widens a rule.
pub const MAX_ASTERISKS: usize = 16;

/// Greatest length of a selector: twelve of the longest label keys, or fifty usual requirements.
pub const MAX_SELECTOR_BYTES: usize = 4 * 1024;

/// Greatest number of requirements in a selector: one for every attribute a document may hold.
pub const MAX_REQUIREMENTS: usize = 64;

/// Greatest number of values in one `in (…)` or `notin (…)`.
pub const MAX_SELECTOR_VALUES: usize = 64;

/// Greatest length of a label value, and of a label key's name (Kubernetes, "Labels and Selectors").
pub const MAX_LABEL_BYTES: usize = 63;

/// Greatest length of a label key's prefix: a DNS subdomain (Kubernetes, "Labels and Selectors"; RFC 1123).
pub const MAX_LABEL_PREFIX_BYTES: usize = 253;

/// Greatest length of a query's resource that is looked at, that of a SPIFFE ID; a longer one counts as absent.
pub const MAX_RESOURCE_BYTES: usize = 2048;

/// Greatest number of actions of one table of decisions: a machine word of bits; a key has thirteen operations.
pub const MAX_TABLE_ACTIONS: usize = 64;

/// Greatest absolute value of an integer: the last one every JSON reader holds exactly (RFC 8785, appendix D).
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// How much of a refused text an error message repeats, in characters.
pub(crate) const MAX_QUOTED_CHARACTERS: usize = 64;
