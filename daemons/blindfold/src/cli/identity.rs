//! Words of `blindfold identity` and `blindfold federation`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::AdminArgs;

/// `blindfold identity …`
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Revoke one launched instance: its documents are refused everywhere within seconds, its connections cut
    #[command(after_help = "\
Examples:
  blindfold identity revoke --site paris --instance 0123456789abcdef0123456789abcdef --reason 'laptop stolen'
  blindfold identity revoke --document document.pem --reason 'laptop stolen'

A whole site is switched off with `blindfold site disable`, an issuing certificate with `blindfold ca rotate --revoke-former`.")]
    Revoke(RevokeArgs),
    /// Revoke an issuing certificate that does not sign (any more): whatever it signed is refused
    #[command(after_help = "\
Example:
  blindfold identity revoke-issuer 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef --reason 'backup lost'

The one that signs is replaced in the same step: blindfold ca rotate --revoke-former")]
    RevokeIssuer {
        #[command(flatten)]
        admin: AdminArgs,
        /// SHA-256 of the certificate's DER, 64 lower-case hex digits
        fingerprint: String,
        /// Why, one line for people
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// List all revocations in force
    #[command(after_help = "Example:\n  blindfold identity revocations")]
    Revocations {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Words of `identity revoke`.
#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Site of the instance
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "document",
        requires = "instance"
    )]
    pub(crate) site: Option<String>,
    /// The attribute `instance` of its documents
    #[arg(long, value_name = "TEXT", requires = "site")]
    pub(crate) instance: Option<String>,
    /// One of its documents (PEM), from which site and instance are read
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["site", "instance"])]
    pub(crate) document: Option<PathBuf>,
    /// Why, one line for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// `blindfold federation …`
#[derive(Debug, Subcommand)]
pub(crate) enum FederationCommand {
    /// List the federated trust domains: what is known of each, and when it was fetched
    #[command(after_help = "Example:\n  blindfold federation list")]
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Print this trust domain's bundle document (JWKS), for the administrators of another one
    #[command(after_help = "\
Example:
  blindfold federation bundle > acme.example.json

Hand it over in a way that both can rely upon: the other side begins with it, and fetches later ones from
/v1/spiffe-bundle by the profile https_spiffe.")]
    Bundle {
        #[command(flatten)]
        admin: AdminArgs,
    },
}
