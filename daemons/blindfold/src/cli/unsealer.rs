//! The words of `blindfold unsealer …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::AdminArgs;

/// `blindfold unsealer …`
#[derive(Debug, Subcommand)]
pub(crate) enum UnsealerCommand {
    /// Tenants and whom they admit
    #[command(
        subcommand,
        after_help = "Examples:\n  blindfold unsealer tenant create acme --admission workloads.yaml\n  blindfold unsealer tenant list"
    )]
    Tenant(TenantCommand),
    /// Keys and their states
    #[command(
        subcommand,
        after_help = "Examples:\n  blindfold unsealer key generate --tenant acme --key-version 2\n  blindfold unsealer key list --tenant acme"
    )]
    Key(UnsealerKeyCommand),
    /// Named policies
    #[command(
        subcommand,
        after_help = "Examples:\n  blindfold unsealer policy put --tenant acme prod/db payments.yaml\n  blindfold unsealer policy list --tenant acme"
    )]
    Policy(NamedPolicyCommand),
    /// Documents for digest mode
    #[command(
        subcommand,
        after_help = "Example:\n  blindfold unsealer document register --tenant acme payments.yaml"
    )]
    Document(DocumentCommand),
    /// Digests of policies that are refused whatever they say
    #[command(
        subcommand,
        after_help = "Example:\n  blindfold unsealer deny add --tenant acme $(blindfold policy digest leaked.yaml) --reason 'repository was public'"
    )]
    Deny(DenyCommand),
}

/// A tenant's name.
#[derive(Args, Debug)]
pub(crate) struct TenantArg {
    /// The tenant
    #[arg(long)]
    pub(crate) tenant: String,
}

/// `blindfold unsealer tenant …`
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Create a tenant; without an admission policy it admits nobody
    #[command(
        after_help = "Example:\n  blindfold unsealer tenant create acme --admission workloads.yaml"
    )]
    Create {
        #[command(flatten)]
        admin: AdminArgs,
        /// Name of the tenant
        name: String,
        /// Admission policy (YAML or JSON)
        #[arg(long, value_hint = ValueHint::FilePath)]
        admission: Option<PathBuf>,
    },
    /// Replace a tenant's admission policy
    #[command(
        after_help = "Example:\n  blindfold unsealer tenant set-admission acme workloads.yaml"
    )]
    SetAdmission {
        #[command(flatten)]
        admin: AdminArgs,
        /// Name of the tenant
        name: String,
        /// Admission policy (YAML or JSON); without it the tenant admits nobody
        #[arg(value_hint = ValueHint::FilePath)]
        admission: Option<PathBuf>,
    },
    /// List the tenants
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// `blindfold unsealer key …`
#[derive(Debug, Subcommand)]
pub(crate) enum UnsealerKeyCommand {
    /// Generate a key inside the unsealer; it never leaves it (keep recovery locks!)
    #[command(
        after_help = "Example:\n  blindfold unsealer key generate --tenant acme --key-version 2"
    )]
    Generate {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
        /// Version of the key
        #[arg(long, default_value_t = 1)]
        key_version: u32,
    },
    /// Import a secret key file made by `key generate`
    #[command(after_help = "Example:\n  blindfold unsealer key import unsealer.key")]
    Import {
        #[command(flatten)]
        admin: AdminArgs,
        /// Secret key file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Evaluations the key has answered elsewhere
        #[arg(long, default_value_t = 0)]
        evaluations: u64,
    },
    /// Change the state of a key
    #[command(
        after_help = "Example:\n  blindfold unsealer key set-state $(blindfold key show --json unsealer.pub | jq -r .key_id) open-only"
    )]
    SetState {
        #[command(flatten)]
        admin: AdminArgs,
        /// Fingerprint of the key
        key_id: String,
        /// The new state
        state: KeyStateWord,
    },
    /// List the keys
    List {
        #[command(flatten)]
        admin: AdminArgs,
        /// Of this tenant only
        #[arg(long)]
        tenant: Option<String>,
    },
}

/// State of an unsealing key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum KeyStateWord {
    /// Seals and opens
    Active,
    /// Opens what was sealed before
    OpenOnly,
    /// Answers no more
    Retired,
    /// Known to others; answers no more
    Compromised,
}

/// `blindfold unsealer policy …`
#[derive(Debug, Subcommand)]
pub(crate) enum NamedPolicyCommand {
    /// Store a policy under a name, or replace it
    #[command(
        after_help = "Example:\n  blindfold unsealer policy put --tenant acme prod/db payments.yaml"
    )]
    Put {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
        /// The name that objects are sealed to
        name: String,
        /// Policy document (YAML or JSON)
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Print a named policy
    #[command(
        after_help = "Example:\n  blindfold unsealer policy get --tenant acme prod/db > payments.json"
    )]
    Get {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
        /// The name
        name: String,
    },
    /// List the named policies of a tenant
    List {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Remove a named policy: what is sealed to the name does not open any more
    Remove {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
        /// The name
        name: String,
    },
}

/// `blindfold unsealer document …`
#[derive(Debug, Subcommand)]
pub(crate) enum DocumentCommand {
    /// Register a policy document, so that objects may name it by digest
    #[command(
        after_help = "Example:\n  blindfold unsealer document register --tenant acme payments.yaml"
    )]
    Register {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
        /// Policy document (YAML or JSON)
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// List the registered documents of a tenant
    List {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// `blindfold unsealer deny …`
#[derive(Debug, Subcommand)]
pub(crate) enum DenyCommand {
    /// Refuse a policy from now on
    #[command(
        after_help = "Example:\n  blindfold unsealer deny add --tenant acme $(blindfold policy digest leaked.yaml) --reason 'repository was public'"
    )]
    Add {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
        /// Digest, as `policy digest` prints it
        digest: String,
        /// Why, for those who read the list
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a digest off the list
    Remove {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
        /// The digest
        digest: String,
    },
    /// Print the list
    List {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        tenant: TenantArg,
    },
}
