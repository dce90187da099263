//! Domain-separation labels, version included.
//!
//! Two types, so that a label of the hash H can't be used for the expansion X.
//! The strings of RFC 9497 stand here too: they must stay exactly as published.

/// Label of H: `SHA-384(LV8(label) ‖ data)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashLabel(pub(crate) &'static [u8]);

/// Label of X: `Expand(prk, LV8(label) ‖ context, L)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpandLabel(pub(crate) &'static [u8]);

pub(crate) const KEY_ID: HashLabel = HashLabel(b"PBSEAL-V1-key-id");
pub(crate) const POLICY: HashLabel = HashLabel(b"PBSEAL-V1-policy");
pub(crate) const KEM_CTX: HashLabel = HashLabel(b"PBSEAL-V1-kem-ctx");
pub(crate) const LOCK: HashLabel = HashLabel(b"PBSEAL-V1-lock");
pub(crate) const HEADER: HashLabel = HashLabel(b"PBSEAL-V1-header");
pub(crate) const HEDGE: HashLabel = HashLabel(b"PBSEAL-V1-hedge");

pub(crate) const KEM_SS: ExpandLabel = ExpandLabel(b"PBSEAL-V1-kem-ss");
pub(crate) const KEK: ExpandLabel = ExpandLabel(b"PBSEAL-V1-kek");
pub(crate) const FILE_KEY: ExpandLabel = ExpandLabel(b"PBSEAL-V1-file-key");
pub(crate) const COMMIT: ExpandLabel = ExpandLabel(b"PBSEAL-V1-commit");
pub(crate) const PAYLOAD: ExpandLabel = ExpandLabel(b"PBSEAL-V1-payload");
pub(crate) const DRAW: ExpandLabel = ExpandLabel(b"PBSEAL-V1-draw");

/// First context field of each draw of sealing (spec 9.4).
pub(crate) const DRAW_SALT: &[u8] = b"salt";
pub(crate) const DRAW_GROUP_SECRET: &[u8] = b"gs";
pub(crate) const DRAW_REQUIRED_SECRET: &[u8] = b"rs";
pub(crate) const DRAW_COEFFICIENT: &[u8] = b"coef";
pub(crate) const DRAW_R: &[u8] = b"r";

/// Salt of the extraction that every KEM's secret goes through.
pub(crate) const KEM_SALT: &[u8] = b"PBSEAL-V1-kem";
/// First field of every Info.
pub(crate) const INFO: &[u8] = b"PBSEAL-V1-INFO";

/// RFC 9497, section 4: `"HashToScalar-" || contextString`, mode 0x02, P384-SHA384.
pub(crate) const HASH_TO_SCALAR_DST: &[u8] = b"HashToScalar-OPRFV1-\x02-P384-SHA384";
/// RFC 9497, section 3.2.1: `"DeriveKeyPair" || contextString`.
pub(crate) const DERIVE_KEY_PAIR_DST: &[u8] = b"DeriveKeyPairOPRFV1-\x02-P384-SHA384";
/// RFC 9497, section 2.2: `"Seed-" || contextString`.
pub(crate) const SEED_DST: &[u8] = b"Seed-OPRFV1-\x02-P384-SHA384";
