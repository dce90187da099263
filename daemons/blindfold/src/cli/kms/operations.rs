//! The words of the operations with keys, which are a workload's.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// A key, and how to reach the service as a workload.
#[derive(Args, Debug)]
pub(crate) struct WorkloadKeyArgs {
    #[command(flatten)]
    pub(crate) workload: KmsWorkloadArgs,
    /// Name or identifier of the key
    pub(crate) key: String,
}

/// How to reach the service as a workload.
#[derive(Args, Debug)]
pub(crate) struct KmsWorkloadArgs {
    /// The workload's configuration, with a section [kms]; `blindfold dev` writes one
    #[arg(long, env = "BLINDFOLD_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

/// What goes in.
#[derive(Args, Debug)]
pub(crate) struct InputArg {
    /// Input; standard input when absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

/// Where the output goes.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// Where the output goes; standard output when absent
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Replace an existing output file
    #[arg(long)]
    pub(crate) force: bool,
}

/// Associated data (encryption context).
#[derive(Args, Debug)]
pub(crate) struct AadArgs {
    /// Associated data: public, not part of the ciphertext, and needed again to decrypt
    #[arg(long, value_name = "TEXT", conflicts_with = "aad_file")]
    pub(crate) aad: Option<String>,
    /// File with the associated data
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) aad_file: Option<PathBuf>,
}

/// How bytes are written and read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Encoding {
    /// As they are
    Raw,
    /// Base64 with padding, on one line
    Base64,
    /// Hexadecimal digits, on one line
    Hex,
}

/// Words of `kms encrypt`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  export BLINDFOLD_CONFIG=/etc/blindfold/wingman.toml
  printf 4111111111111111 | blindfold kms encrypt orders --aad order/17 --encoding base64
  blindfold kms encrypt backups -o dump.sql.enc dump.sql

More than 64 KiB are encrypted in chunks under a data key, in constant memory; `decrypt` tells both forms apart.")]
pub(crate) struct EncryptArgs {
    #[command(flatten)]
    pub(crate) key: WorkloadKeyArgs,
    #[command(flatten)]
    pub(crate) input: InputArg,
    #[command(flatten)]
    pub(crate) aad: AadArgs,
    /// How the ciphertext is written; large data as it is only
    #[arg(long, value_enum, default_value_t = Encoding::Raw)]
    pub(crate) encoding: Encoding,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Words of `kms decrypt`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold kms decrypt orders --aad order/17 --encoding base64 < card.enc
  blindfold kms decrypt backups -o dump.sql dump.sql.enc

A file appears whole or not at all: nothing is left of a ciphertext that was altered. On standard output, large data
appears chunk by chunk as it is verified: look at the exit code before it is used.")]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    pub(crate) key: WorkloadKeyArgs,
    #[command(flatten)]
    pub(crate) input: InputArg,
    #[command(flatten)]
    pub(crate) aad: AadArgs,
    /// How the ciphertext is written
    #[arg(long, value_enum, default_value_t = Encoding::Raw)]
    pub(crate) encoding: Encoding,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Words of `kms hmac`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  blindfold kms hmac sessions < token > token.mac")]
pub(crate) struct HmacArgs {
    #[command(flatten)]
    pub(crate) key: WorkloadKeyArgs,
    #[command(flatten)]
    pub(crate) input: InputArg,
    /// How the code is written
    #[arg(long, value_enum, default_value_t = Encoding::Hex)]
    pub(crate) encoding: Encoding,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Words of `kms hmac-verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  blindfold kms hmac-verify sessions --mac token.mac < token

Exit code 0 when the code is good, 65 when it is not.")]
pub(crate) struct HmacVerifyArgs {
    #[command(flatten)]
    pub(crate) key: WorkloadKeyArgs,
    #[command(flatten)]
    pub(crate) input: InputArg,
    /// File with the code
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) mac: PathBuf,
    /// The version that made it; every one that may verify when absent
    #[arg(long, value_name = "N")]
    pub(crate) key_version: Option<u32>,
    /// How the code is written
    #[arg(long, value_enum, default_value_t = Encoding::Hex)]
    pub(crate) encoding: Encoding,
}

/// Whether the input is the message, or what is left of it.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DigestArg {
    /// The input is the digest of the message under the hash of the key's algorithm, as raw bytes
    #[arg(long)]
    pub(crate) digest: bool,
}

/// Words of `kms sign`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold kms sign releases -o app.tar.sig < app.tar.digest --digest
  blindfold kms sign releases --encoding base64 < message

Messages of more than 64 KiB: hash them, and sign with --digest.")]
pub(crate) struct KmsSignArgs {
    #[command(flatten)]
    pub(crate) key: WorkloadKeyArgs,
    #[command(flatten)]
    pub(crate) input: InputArg,
    #[command(flatten)]
    pub(crate) digest: DigestArg,
    /// How the signature is written
    #[arg(long, value_enum, default_value_t = Encoding::Raw)]
    pub(crate) encoding: Encoding,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Words of `kms verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  blindfold kms verify releases --digest --signature app.tar.sig < app.tar.digest

Exit code 0 when the signature is good, 65 when it is not.")]
pub(crate) struct KmsVerifyArgs {
    #[command(flatten)]
    pub(crate) key: WorkloadKeyArgs,
    #[command(flatten)]
    pub(crate) input: InputArg,
    #[command(flatten)]
    pub(crate) digest: DigestArg,
    /// File with the signature
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) signature: PathBuf,
    /// The version that made it; every one that may verify when absent
    #[arg(long, value_name = "N")]
    pub(crate) key_version: Option<u32>,
    /// How the signature is written
    #[arg(long, value_enum, default_value_t = Encoding::Raw)]
    pub(crate) encoding: Encoding,
}

/// Words of `kms data-key`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold kms data-key backups --ciphertext data.key.enc --plaintext data.key
  blindfold kms data-key backups --ciphertext data.key.enc         (encrypted only: for somebody who may decrypt)
  blindfold kms decrypt backups data.key.enc -o data.key")]
pub(crate) struct DataKeyArgs {
    #[command(flatten)]
    pub(crate) key: WorkloadKeyArgs,
    /// Its size in bytes, 16 to 64
    #[arg(long, default_value_t = 32)]
    pub(crate) bytes: usize,
    #[command(flatten)]
    pub(crate) aad: AadArgs,
    /// Where its ciphertext goes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ciphertext: PathBuf,
    /// Where it goes in the clear, readable by its owner only; not asked for when absent
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plaintext: Option<PathBuf>,
}

/// Words of `kms re-encrypt`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold kms re-encrypt orders < card.enc > card.new
  blindfold kms re-encrypt orders --to archive -o card.archived card.enc

The plaintext does not leave the service. Large data that was encrypted as a stream is decrypted and encrypted anew.")]
pub(crate) struct ReEncryptArgs {
    #[command(flatten)]
    pub(crate) key: WorkloadKeyArgs,
    #[command(flatten)]
    pub(crate) input: InputArg,
    /// The key it goes to; the same one, in its newest version, when absent
    #[arg(long, value_name = "KEY")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) aad: AadArgs,
    /// Associated data of the new ciphertext; the same when absent
    #[arg(long, value_name = "TEXT")]
    pub(crate) new_aad: Option<String>,
    /// How the ciphertexts are written
    #[arg(long, value_enum, default_value_t = Encoding::Raw)]
    pub(crate) encoding: Encoding,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Words of `kms public-key`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  blindfold kms public-key releases > releases.pem")]
pub(crate) struct PublicKeyArgs {
    #[command(flatten)]
    pub(crate) key: WorkloadKeyArgs,
    /// The version; the primary one when absent
    #[arg(long, value_name = "N")]
    pub(crate) key_version: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Words of `kms random`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  blindfold kms random 32 --encoding base64")]
pub(crate) struct RandomArgs {
    #[command(flatten)]
    pub(crate) workload: KmsWorkloadArgs,
    /// How many, 1 to 4096
    pub(crate) bytes: usize,
    /// How they are written
    #[arg(long, value_enum, default_value_t = Encoding::Hex)]
    pub(crate) encoding: Encoding,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
