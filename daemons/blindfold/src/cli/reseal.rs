//! The words of `blindfold reseal`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::PolicyChoice;

/// Words of `reseal`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold reseal --report --key unsealer-2.pub .               what is still on an old key (offline)
  blindfold reseal --report --check --key unsealer-2.pub .       the same for CI: exit code 65 while anything is
  blindfold reseal --dry-run --key unsealer-2.pub deploy/        what would be done (offline)
  blindfold reseal --key unsealer-2.pub --verify deploy/         a new version of the key
  blindfold reseal --policy payments.yaml config/prod.yaml       a new policy, the same keys

Reads every file below PATH: sealed objects in any form, and each pbseal1:… or armored value inside a text file. What
is sealed to a lower version of a --key of the same authority and tenant, or under another policy, is opened as the
workload of BLINDFOLD_CONFIG, all values in as few requests as possible, and sealed anew. Label, threshold, windows,
cipher, padding and all other bytes of the file stay. Each file is replaced as a whole; what is current already is left
alone, so an interrupted run is simply run again. Symbolic links are never followed; .git, .hg, .svn and .jj are left out.

Exit code 0 when nothing is left to do; what could not be resealed is named, the rest goes on.")]
pub(crate) struct ResealArgs {
    /// Files and folders
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Public record of the new key version; or of a key that stays and BLINDFOLD_CONFIG does not pin. May be repeated
    #[arg(long = "key", short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) keys: Vec<PathBuf>,
    /// Expected fingerprint of a --key, 64 hex digits; when any is given, each --key must have its own
    #[arg(long = "fingerprint", value_name = "HEX")]
    pub(crate) fingerprints: Vec<String>,
    #[command(flatten)]
    pub(crate) policy: PolicyChoice,
    /// The workload's configuration: identity, unsealers, pinned keys; not needed for --report and --dry-run
    #[arg(long, env = "BLINDFOLD_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// File with the external data of those objects that were sealed with it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) aad_file: Option<PathBuf>,
    /// Open what was sealed anew before its file is replaced: BLINDFOLD_CONFIG must pin the new key and be allowed to
    #[arg(long)]
    pub(crate) verify: bool,
    /// Only say what would be done; nothing is opened or written
    #[arg(long, conflicts_with = "verify")]
    pub(crate) dry_run: bool,
    /// Only say which keys and policies are in use, and what is still on an old key; nothing is opened or written
    #[arg(long, conflicts_with_all = ["verify", "dry_run"])]
    pub(crate) report: bool,
    /// With --report: fail with exit code 65 while anything is on an old key or another policy
    #[arg(long, requires = "report")]
    pub(crate) check: bool,
}
