//! Words of `blindfold ca`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{AdminArgs, RootHsmArgs, RootNewArgs, RootOpenArgs};

/// `blindfold ca …`
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make the root of a trust domain on a machine without a network: the key ceremony
    #[command(after_help = "\
Examples:
  blindfold ca init --offline --trust-domain acme.example --out root --new-passphrase
  blindfold ca init --offline --trust-domain acme.example --out root --custodian alice --custodian bob --custodian carol --threshold 2 --shares-folder shares

Makes root.crt (public), root.key (useless without root.slots and one of its sources), root.slots, and ceremony.md, a transcript
for witnesses to sign. Read the fingerprint aloud and compare it on every machine that gets root.crt. The key never leaves OUT.")]
    Init(CaInitArgs),
    /// Show a request, certificate or root key file
    #[command(after_help = "\
Examples:
  blindfold ca inspect issuer.csr
  blindfold ca inspect root/root.crt --json")]
    Inspect {
        /// PEM of a request or of certificates, or the file of a root key
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Sign the request of an identity authority with the root: shows it, asks, signs
    #[command(after_help = "\
Examples:
  blindfold ca sign --ca root --csr issuer.csr --out issuer.crt --passphrase
  blindfold ca sign --ca root --csr issuer.csr --out issuer.crt --share alice.share --share bob.share --key 6fb0…d2

The certificate can sign documents and no further CA, for --days at most. Compare the key with the one that
`identity-authority issuer request` showed; --key compares it here, and nobody is asked then.")]
    Sign(CaSignArgs),
    /// Show the issuing certificates of the identity authority
    #[command(after_help = "Example:\n  blindfold ca issuers")]
    Issuers {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Make another issuing certificate sign, where the root is the authority's own
    #[command(after_help = "\
Examples:
  blindfold ca rotate                        before its time: nobody notices
  blindfold ca rotate --revoke-former        after a compromise: whatever the former ones signed is refused at once

Workloads whose documents are refused get new ones by themselves: by their evidence, or by the document itself if the
authority remembers having signed it.")]
    Rotate {
        #[command(flatten)]
        admin: AdminArgs,
        /// Refuse whatever the former issuing certificates signed
        #[arg(long)]
        revoke_former: bool,
    },
}

/// Words of `ca init`.
#[derive(Args, Debug)]
pub(crate) struct CaInitArgs {
    /// Confirm that this machine is not on a network; the root of a connected authority is made by `identity-authority init`
    #[arg(long, required = true)]
    pub(crate) offline: bool,
    /// The trust domain
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: String,
    /// Folder for everything that is made; must not exist
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
    /// How long the root is valid
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(30..=36_500))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) hsm: RootHsmArgs,
    #[command(flatten)]
    pub(crate) new: RootNewArgs,
}

/// Words of `ca sign`.
#[derive(Args, Debug)]
pub(crate) struct CaSignArgs {
    /// Folder of the root, as `ca init` made it
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) ca: PathBuf,
    /// The request
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) csr: PathBuf,
    /// Where the certificate goes; never overwritten. A transcript goes beside it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
    /// How long it is valid
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// SHA-256 of the key that is to be certified; refuses any other, and asks nobody
    #[arg(long, value_name = "HEX")]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) open: RootOpenArgs,
}
