//! Words of `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use service::audit::verify::Known;

/// `blindfold audit …`
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Find removed, changed, reordered and cut off records of audit logs
    Verify(AuditVerifyArgs),
}

/// Words of `audit verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold audit verify audit.jsonl --key audit.jsonl.key.pub
  blindfold audit verify audit.jsonl.2 audit.jsonl.1 audit.jsonl --key audit.jsonl.key.pub --sealed
  blindfold audit verify audit.jsonl --key kms.pub --known 48211:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

Give rotated files oldest first: the chain goes on over them. Every line is read once, in constant memory, and every
fault is named with its file and line. Records after the last checkpoint are signed by nothing yet; --sealed refuses
them, as is right for a log that was closed. A log cut off right behind a checkpoint looks whole: --known, with a record
that a syslog server has or that an earlier check printed as its last, finds that too.

Exit code 0 when nothing is wrong, 65 when something is, 66 where a file cannot be read.")]
pub(crate) struct AuditVerifyArgs {
    /// Audit log; repeat for rotated ones, oldest first; standard input for -
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// Public key of the log's signer (the file ending in .pub beside its key); repeat if it was changed
    #[arg(long = "key", required = true, value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub(crate) keys: Vec<PathBuf>,
    /// A record that must be there unchanged, known from elsewhere; may be repeated
    #[arg(long = "known", value_name = "SEQ:SHA256")]
    pub(crate) known: Vec<Known>,
    /// Refuse records after the last checkpoint
    #[arg(long)]
    pub(crate) sealed: bool,
}
