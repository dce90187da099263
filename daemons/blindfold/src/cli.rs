//! The words of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::control_plane::MAX_AUTHORITIES;

mod audit;
mod bench;
mod ca;
mod config;
mod identity;
mod kms;
mod locks;
mod reseal;
mod root;
mod sign;
mod site;
mod unsealer;

pub(crate) use audit::*;
pub(crate) use bench::*;
pub(crate) use ca::*;
pub(crate) use config::*;
pub(crate) use identity::*;
pub(crate) use kms::*;
pub(crate) use locks::*;
pub(crate) use reseal::*;
pub(crate) use root::*;
pub(crate) use sign::*;
pub(crate) use site::*;
pub(crate) use unsealer::*;

/// Seal secrets offline under a policy; open them with help that sees nothing.
#[derive(Debug, Parser)]
#[command(name = "blindfold", version, about, long_about = None, disable_help_subcommand = true, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Print machine-readable JSON, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done · 64 wrong usage or configuration · 65 bad object, key or policy · 66 input not readable ·
69 service not reachable · 70 internal · 73 output not creatable · 74 reading or writing failed · 75 try again later · 77 denied

Examples:
  blindfold demo                                        see the whole of it in a minute
  blindfold dev                                         run the control plane on this machine
  blindfold seal --key unsealer.pub --policy db.yaml < password > password.sealed
  blindfold open password.sealed                        as a workload, with BLINDFOLD_CONFIG set";

/// What else to say to somebody whose words are refused: where a missing configuration may come from.
pub(crate) fn remedy(error: &clap::Error) -> Option<&'static str> {
    if error.kind() != clap::error::ErrorKind::MissingRequiredArgument {
        return None;
    }
    let missing = match error.get(clap::error::ContextKind::InvalidArg)? {
        clap::error::ContextValue::Strings(words) => words.join(" "),
        _ => return None,
    };
    if missing.contains("--config") {
        Some(
            "set BLINDFOLD_CONFIG to the configuration of a workload (wingman.toml), or name it with --config",
        )
    } else if missing.contains("--admin") {
        Some(
            "set BLINDFOLD_ADMIN to the configuration of an administrator (admin.toml), or name it with --admin",
        )
    } else {
        None
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make and show keys
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold key generate --authority unsealer.acme.example --tenant acme --out unsealer.key > unsealer.pub
  blindfold key show unsealer.pub"
    )]
    Key(KeyCommand),
    /// Check, digest and explain policies
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold policy check payments.yaml
  blindfold policy explain payments.yaml --spiffe-id spiffe://acme.example/paris/api --attribute environment=production"
    )]
    Policy(PolicyCommand),
    /// Seal a secret offline, for one or several unsealing authorities
    Seal(SealArgs),
    /// Show everything public about a sealed object
    Inspect(InspectArgs),
    /// Open a sealed object as a workload
    Open(OpenArgs),
    /// Sign files as their sealer, for openers that demand it
    Sign(SignArgs),
    /// Check the sealer's signature of files
    VerifySignature(VerifySignatureArgs),
    /// Open a sealed object offline with secret keys (break-glass)
    Recover(RecoverArgs),
    /// Seal values anew in a tree of files: to a new version of a key, or under a new policy
    Reseal(ResealArgs),
    /// Seal, edit, verify and compare values inside configuration files
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold config seal config/prod.yaml --key unsealer.pub --policy payments.yaml --pattern '*password*'
  blindfold config edit config/prod.yaml
  blindfold config verify config/*.yaml
  blindfold config git-setup"
    )]
    Config(ConfigCommand),
    /// Make single-use join tokens
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold token create --spiffe-id spiffe://acme.example/paris/api -o api.token"
    )]
    Token(TokenCommand),
    /// Add, disable and list the sites of the trust domain
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold site add paris --attribute environment=production,staging
  blindfold site disable paris"
    )]
    Site(SiteCommand),
    /// Revoke launched instances, and see what is revoked
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold identity revoke --document document.pem --reason 'laptop stolen'
  blindfold identity revocations"
    )]
    Identity(IdentityCommand),
    /// See the trust domains that this one is federated with
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold federation list
  blindfold federation bundle > acme.example.json"
    )]
    Federation(FederationCommand),
    /// Administer an unsealer: tenants, keys, named policies, documents, denied digests
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold unsealer tenant create acme --admission workloads.yaml
  blindfold unsealer key generate --tenant acme
  blindfold unsealer policy put --tenant acme prod/db payments.yaml"
    )]
    Unsealer(UnsealerCommand),
    /// Manage keys with versions and policies, and encrypt, sign and authenticate with them
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold kms tenant create acme --admission workloads.yaml                              as an administrator
  blindfold kms key create orders --tenant acme --algorithm aes-256-gcm --policy orders.yaml
  printf 4111111111111111 | blindfold kms encrypt orders > card.enc                        as a workload
  blindfold kms decrypt orders card.enc"
    )]
    Kms(KmsCommand),
    /// Check audit logs
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold audit verify audit.jsonl --key audit.jsonl.key.pub
  blindfold audit verify audit.jsonl.1 audit.jsonl --key audit.jsonl.key.pub --sealed"
    )]
    Audit(AuditCommand),
    /// Make, open and rotate the root keys of services: key slots, custodians, HSM
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold root init root.slots --new-key-file root.kek --custodian alice --custodian bob --custodian carol --threshold 2 --shares-folder shares
  blindfold root unseal --socket /run/kms/unseal.sock < alice.share
  blindfold root rotate root.slots --key-file root.kek"
    )]
    Root(RootCommand),
    /// The root of a trust domain: key ceremony, signing, issuing certificates
    #[command(
        subcommand,
        after_help = "\
Examples:
  blindfold ca init --offline --trust-domain acme.example --out root --new-passphrase
  blindfold ca sign --ca root --csr issuer.csr --out issuer.crt --passphrase
  blindfold ca rotate --revoke-former"
    )]
    Ca(CaCommand),
    Bench(BenchArgs),
    /// Run the whole control plane in one process on loopback
    Dev(DevArgs),
    /// Show the main job from end to end, with real processes
    Demo(DemoArgs),
    /// Print shell completions
    #[command(
        after_help = "Example:\n  blindfold completions bash > /etc/bash_completion.d/blindfold"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// `blindfold key …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Generate a secret key file and its public record
    #[command(after_help = "\
Examples:
  blindfold key generate --authority unsealer.acme.example --tenant acme --out unsealer.key > unsealer.pub
  blindfold key generate --kind site --authority site.paris --tenant acme --out site.key > site.pub
  blindfold key generate --kind sealer --passphrase --out sealer.key > sealer.pub

The public record is for everybody; give its fingerprint to those who seal over a channel they trust.
The secret key file is readable by its owner only. Who has it opens everything sealed to the key.")]
    Generate(KeyGenerateArgs),
    /// Show the public record and fingerprint of a key (secret or public file)
    #[command(after_help = "Example:\n  blindfold key show unsealer.pub")]
    Show {
        /// Key file; standard input when absent or -
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
}

/// Words of `key generate`.
#[derive(Args, Debug)]
pub(crate) struct KeyGenerateArgs {
    /// What the key is for
    #[arg(long, value_enum, default_value_t = KeyKind::Unsealing)]
    pub(crate) kind: KeyKind,
    /// Name of the authority (a-z 0-9 . _ -); not for a sealer
    #[arg(long)]
    pub(crate) authority: Option<String>,
    /// Tenant the key belongs to (a-z 0-9 . _ -); not for a sealer
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Version of the key; goes up by one at each rotation
    #[arg(long, default_value_t = 1)]
    pub(crate) key_version: u32,
    /// Where the secret key goes; never overwritten
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
    /// Where the public record goes; standard output when absent
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub(crate) public: Option<PathBuf>,
    /// Ask for a passphrase that protects the secret key; for a sealer only
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) passphrase: bool,
    /// File with that passphrase, readable by its owner only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum KeyKind {
    /// Unsealing authority: policy locks on P-384
    Unsealing,
    /// Site or recovery key: static locks with ML-KEM-768
    Site,
    /// Sealer: signatures with Ed25519; both files are those of minisign
    Sealer,
}

/// `blindfold policy …`
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a policy document; errors name line, column and remedy
    #[command(after_help = "Example:\n  blindfold policy check payments.yaml")]
    Check {
        /// YAML or JSON document; standard input when absent or -
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Print the canonical form (RFC 8785), the bytes that are sealed in
        #[arg(long)]
        canonical: bool,
    },
    /// Print the digest by which a policy is named in digest mode
    #[command(after_help = "Example:\n  blindfold policy digest payments.yaml")]
    Digest {
        /// YAML or JSON document; standard input when absent or -
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Say whether an identity would be allowed, and why
    #[command(after_help = "\
Examples:
  blindfold policy explain payments.yaml --identity document.pem --resource unseal/acme/unsealer.acme.example
  blindfold policy explain payments.yaml --spiffe-id spiffe://acme.example/paris/api --attribute environment=production

Exit code 0 when allowed, 77 when denied.")]
    Explain(PolicyExplainArgs),
}

/// Words of `policy explain`.
#[derive(Args, Debug)]
pub(crate) struct PolicyExplainArgs {
    /// YAML or JSON document; standard input when absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Identity document (PEM) of the workload; it is read, not verified
    #[arg(long, value_hint = ValueHint::FilePath, conflicts_with_all = ["spiffe_id", "attributes"], required_unless_present = "spiffe_id")]
    pub(crate) identity: Option<PathBuf>,
    /// SPIFFE ID of the workload
    #[arg(long)]
    pub(crate) spiffe_id: Option<String>,
    /// Attribute of the workload, KEY=VALUE; may be repeated
    #[arg(long = "attribute", value_name = "KEY=VALUE")]
    pub(crate) attributes: Vec<String>,
    /// The action asked for
    #[arg(long, default_value = "open")]
    pub(crate) action: String,
    /// The resource it is asked for; unseal/TENANT/AUTHORITY for `open`
    #[arg(long, default_value = "")]
    pub(crate) resource: String,
    /// The time of asking (RFC 3339); now when absent
    #[arg(long)]
    pub(crate) at: Option<String>,
}

/// Words of `seal`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold seal --key unsealer.pub --policy payments.yaml --label db/password < password
  blindfold seal --key unsealer.pub --policy-name prod/db --format armor -o tls.key.sealed tls.key
  blindfold seal --key a.pub --key b.pub --key c.pub --threshold 2 --policy p.yaml --site-lock site.pub < secret
  blindfold seal --key unsealer.pub --policy p.yaml --format binary -o backup.sealed backup.tar
  blindfold seal --key unsealer.pub --policy p.yaml --sign sealer.key -o password.sealed < password

Sealing needs no network and no account. Check the key's fingerprint once, over a channel you trust:
--fingerprint refuses any other key.")]
#[command(mut_arg("keys", |arg| arg.required(true)), mut_group("PolicyChoice", |group| group.required(true)))]
pub(crate) struct SealArgs {
    /// The secret; standard input when absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) locks: LockArgs,
    /// What the object is, for people and for checks at opening; public
    #[arg(long, short, default_value = "")]
    pub(crate) label: String,
    /// File with external data that must be given again at opening
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) aad_file: Option<PathBuf>,
    /// Form of the object
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub(crate) format: Form,
    /// Where the object goes; standard output when absent
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) signing: SignOutputArgs,
    /// Replace an existing output file
    #[arg(long)]
    pub(crate) force: bool,
}

/// Form of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Form {
    /// One line, pbseal1:…
    Text,
    /// Lines of 64 characters between BEGIN and END
    Armor,
    /// Bytes; streams of any size
    Binary,
}

/// Words of `inspect`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  blindfold inspect password.sealed\n  blindfold inspect --json < password.sealed | jq .locks"
)]
pub(crate) struct InspectArgs {
    /// Sealed object in any form; standard input when absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

/// What is expected of an object that is opened.
#[derive(Args, Debug)]
pub(crate) struct ExpectationArgs {
    /// Refuse an object with another label
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// File with the external data given at sealing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) aad_file: Option<PathBuf>,
    /// Where the secret goes, readable by its owner only; standard output when absent
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Replace an existing output file
    #[arg(long)]
    pub(crate) force: bool,
}

/// Words of `open`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  export BLINDFOLD_CONFIG=/etc/blindfold/wingman.toml
  blindfold open password.sealed
  blindfold open --label db/password -o password < password.sealed
  blindfold open --signer sealer.pub password.sealed    # with password.sealed.minisig beside it")]
pub(crate) struct OpenArgs {
    /// Sealed object in any form; standard input when absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// The workload's configuration: identity, unsealers, acceptance profile
    #[arg(long, env = "BLINDFOLD_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) expect: ExpectationArgs,
    #[command(flatten)]
    pub(crate) signed: SignerArgs,
}

/// Words of `recover`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold recover --secret-key recovery.key -o tls.key tls.key.sealed
  blindfold recover --secret-key a.key --secret-key b.key --secret-key site.key password.sealed

No network is used and no policy is asked: who holds enough secret keys opens. The keys decide by themselves
which locks they fit.")]
pub(crate) struct RecoverArgs {
    /// Sealed object in any form; standard input when absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Secret key file; repeat for as many as the object needs
    #[arg(long = "secret-key", short, required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) secret_keys: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) expect: ExpectationArgs,
}

/// How to reach a service as an administrator.
#[derive(Args, Debug)]
pub(crate) struct AdminArgs {
    /// The administrator's configuration; `blindfold dev` writes one
    #[arg(long, env = "BLINDFOLD_ADMIN", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) admin: PathBuf,
}

/// `blindfold token …`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a join token that becomes one identity, once
    #[command(after_help = "\
Example:
  blindfold token create --spiffe-id spiffe://acme.example/paris/api --attribute environment=production -o api.token

The token is a secret until it is redeemed: it goes to a file of its owner or to standard output, never to a log.")]
    Create(TokenCreateArgs),
}

/// Words of `token create`.
#[derive(Args, Debug)]
pub(crate) struct TokenCreateArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// SPIFFE ID that the token becomes
    #[arg(long)]
    pub(crate) spiffe_id: String,
    /// Attribute of the identity, KEY=VALUE; may be repeated
    #[arg(long = "attribute", value_name = "KEY=VALUE")]
    pub(crate) attributes: Vec<String>,
    /// How long the token may wait to be redeemed, in seconds
    #[arg(long, default_value_t = 600)]
    pub(crate) ttl: u64,
    /// Lifetime of the identity documents, in seconds; the site's greatest when absent
    #[arg(long, value_name = "SECONDS")]
    pub(crate) document_lifetime: Option<u64>,
    /// Where the token goes, readable by its owner only; standard output when absent
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

/// Words of `dev`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  blindfold dev --dir ./dev
  (in another terminal)  export BLINDFOLD_CONFIG=$PWD/dev/wingman.toml BLINDFOLD_ADMIN=$PWD/dev/admin.toml
                         printf 'hunter2' | blindfold seal --key dev/unsealer.pub --policy dev/policy.yaml > password.sealed
                         blindfold open password.sealed
                         printf 4111 | blindfold kms encrypt orders | blindfold kms decrypt orders
  blindfold dev --dir ./dev --authorities 3    three unsealing authorities, to seal with --threshold 2

State is kept in the folder and survives a restart; remove the folder to begin anew. For development only:
the root key lies beside what it protects.")]
pub(crate) struct DevArgs {
    /// Folder that holds all state
    #[arg(long, default_value = "blindfold-dev", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Where the identity authority listens; port 0 picks a free one at first start and keeps it
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) authority_listen: std::net::SocketAddr,
    /// Where the (first) unsealer listens; port 0 picks a free one at first start and keeps it
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) unsealer_listen: std::net::SocketAddr,
    /// Where the key management service listens; port 0 picks a free one at first start and keeps it
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) kms_listen: std::net::SocketAddr,
    /// How many independent unsealing authorities run, 1 to 8; as many as the folder has when absent, one at first
    #[arg(long, value_name = "N")]
    pub(crate) authorities: Option<std::num::NonZeroU8>,
    /// Trust domain of the identities, fixed at first start; dev.blindfold.example when absent
    #[arg(long)]
    pub(crate) trust_domain: Option<String>,
}

/// Words of `demo`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  blindfold demo
  blindfold demo --json | jq .
  blindfold demo --authorities 3 --threshold 2    no single service has to be trusted: one is stopped, one lies")]
pub(crate) struct DemoArgs {
    /// Show several independent unsealing authorities, this many of them (2 to 8), in place of the main job
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=i64::from(MAX_AUTHORITIES)))]
    pub(crate) authorities: Option<u8>,
    /// How many of them are needed to open; a majority when absent
    #[arg(long, value_name = "T", requires = "authorities")]
    pub(crate) threshold: Option<std::num::NonZeroU8>,
    /// Keep the folder with everything the demo made
    #[arg(long)]
    pub(crate) keep: bool,
    /// Internal: run as one of the demo's workloads with the given configuration
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) workload: Option<PathBuf>,
    /// Internal: the workload rewrites the policy first
    #[arg(long, hide = true, requires = "workload")]
    pub(crate) rewrite_policy: bool,
    /// Internal: the workload opens this many times and tells who helped
    #[arg(long, hide = true, requires = "workload", value_name = "TIMES")]
    pub(crate) count: Option<u16>,
}
