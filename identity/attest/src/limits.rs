//! Every bound of this crate, each with the reason for its size; and the labels that keep hashes apart.

/// Greatest length of what an attestor wants sealed into a challenge: two TPM public areas, names and a secret.
pub const MAX_CHALLENGE_STATE_BYTES: usize = 4 * 1024;

/// Greatest number of attestors of a site: one of each type there is, and room.
pub const MAX_ATTESTORS: usize = 16;

/// Greatest length of a template: a SPIFFE ID at its greatest.
pub const MAX_TEMPLATE_BYTES: usize = identity::limits::MAX_SPIFFE_ID_BYTES;

/// Greatest number of facts that one template names.
pub const MAX_TEMPLATE_FACTS: usize = 16;

/// Greatest length of a fact's name, far over the longest there is.
pub const MAX_FACT_NAME_BYTES: usize = 64;

/// Greatest number of attributes a mapping sets, with room for `instance` in a document.
pub const MAX_MAPPING_ATTRIBUTES: usize = identity::limits::MAX_ATTRIBUTES - 1;
