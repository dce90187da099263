//! Words of `sign` and `verify-signature`, and those of signing in other commands.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Words of `sign`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold sign --secret-key sealer.key password.sealed
  blindfold sign -s sealer.key --passphrase-file /run/secrets/passphrase config/*.yaml

Each FILE gets a FILE.minisig, in place of an older one: a signature as minisign writes it, over the file as it is
stored. Sign a configuration file as a whole: that binds its plain and its sealed values together. Every change of the
file wants a new signature.")]
pub(crate) struct SignArgs {
    /// File to sign: a sealed object in any form, a configuration file, or anything else; repeat for several
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// The sealer's secret key, made by `blindfold key generate --kind sealer` or by `minisign -G`
    #[arg(long, short, value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub(crate) secret_key: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    /// What is signed beside the file, for those who verify; the time and the file's name when absent
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
}

/// Where the passphrase of a sealer's secret key comes from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PassphraseArgs {
    /// File with the passphrase of the sealer's key, readable by its owner only; asked for on the terminal when absent
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Signing what a command has made.
#[derive(Args, Debug)]
pub(crate) struct SignOutputArgs {
    /// Sign the output with this sealer's secret key; the signature goes beside it, with .minisig behind the name
    #[arg(long, value_name = "KEY", requires = "out", value_hint = ValueHint::FilePath)]
    pub(crate) sign: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

/// Words of `verify-signature`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold verify-signature --signer sealer.pub config/*.yaml
  blindfold verify-signature --signer a.pub --signer b.pub --signature backup.sig backup.sealed

Every file is looked at. Exit code 0 when each carries a good signature of one of the sealers, else that of the last
one that does not: 65 for a bad signature, 66 where the file or its signature cannot be read.")]
pub(crate) struct VerifySignatureArgs {
    /// File whose signature is checked, as it is stored; repeat for several
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// Public key of a sealer whose signature is good; repeat for several sealers
    #[arg(long = "signer", required = true, value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub(crate) signers: Vec<PathBuf>,
    /// The signature, for one file; FILE.minisig when absent
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) signature: Option<PathBuf>,
}

/// Whose signature an object must carry that is opened.
#[derive(Args, Debug)]
pub(crate) struct SignerArgs {
    /// Refuse an object that none of these sealers signed, of those that the configuration accepts; may be repeated
    #[arg(long = "signer", value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub(crate) signers: Vec<PathBuf>,
    /// The sealer's signature; the object's name with .minisig behind it when absent
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) signature: Option<PathBuf>,
}
