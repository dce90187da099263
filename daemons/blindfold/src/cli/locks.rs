//! Words that say how something is sealed: keys, policy, threshold, window, cipher.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// With which locks.
#[derive(Args, Debug)]
pub(crate) struct LockArgs {
    /// Public record of an unsealing authority's key; repeat for several authorities
    #[arg(long = "key", short, value_hint = ValueHint::FilePath)]
    pub(crate) keys: Vec<PathBuf>,
    /// Expected fingerprint of a key, 64 hex digits; repeat for several keys
    #[arg(long = "fingerprint", value_name = "HEX", requires = "keys")]
    pub(crate) fingerprints: Vec<String>,
    #[command(flatten)]
    pub(crate) policy: PolicyChoice,
    /// How many of the authorities are needed to open
    #[arg(long, short, default_value_t = 1, requires = "keys")]
    pub(crate) threshold: u8,
    /// Public record of a site key without which nothing opens; may be repeated
    #[arg(long = "site-lock", value_name = "KEY", value_hint = ValueHint::FilePath, requires = "keys")]
    pub(crate) site_locks: Vec<PathBuf>,
    /// Public record of a recovery key that opens alone (keep its secret key offline); may be repeated
    #[arg(long = "recovery", value_name = "KEY", value_hint = ValueHint::FilePath, requires = "keys")]
    pub(crate) recovery: Vec<PathBuf>,
    /// First day on which it may be opened (UTC, YYYY-MM-DD)
    #[arg(long, value_name = "DATE", requires = "keys")]
    pub(crate) not_before: Option<String>,
    /// Last day on which it may be opened (UTC, YYYY-MM-DD)
    #[arg(long, value_name = "DATE", requires = "keys")]
    pub(crate) not_after: Option<String>,
    /// Payload cipher
    #[arg(long, value_enum, default_value_t = Cipher::Aes256GcmSiv, requires = "keys")]
    pub(crate) cipher: Cipher,
    /// Do not round the length up
    #[arg(long, requires = "keys")]
    pub(crate) no_pad: bool,
}

/// Under which policy.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct PolicyChoice {
    /// Policy document (YAML or JSON), sealed in whole
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,
    /// Name of a policy in the unsealer's store; its rules may change later
    #[arg(long, value_name = "NAME")]
    pub(crate) policy_name: Option<String>,
    /// Policy document of which only the digest is sealed in; register it with the unsealer
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy_digest_of: Option<PathBuf>,
}

/// Payload cipher.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum, serde::Deserialize)]
pub(crate) enum Cipher {
    /// AES-256-GCM-SIV (RFC 8452)
    #[default]
    #[serde(rename = "aes256-gcm-siv")]
    Aes256GcmSiv,
    /// ChaCha20-Poly1305 (RFC 8439)
    #[serde(rename = "chacha20-poly1305")]
    Chacha20Poly1305,
}
