//! Words of `blindfold site`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::AdminArgs;

/// `blindfold site …`
#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// Register a site and its rules
    #[command(after_help = "\
Examples:
  blindfold site add paris --attribute environment=production,staging --attribute tier='*' --max-lifetime 3600
  blindfold site add edge --attestors edge.json --policy edge.yaml --per-day 100000

The file of --attestors is a JSON list of what may vouch for identities of the site, such as
  [{\"type\": \"join_token\"}, {\"type\": \"voucher\", \"keys\": [{\"kid\": \"1\", \"public_key\": \"-----BEGIN PUBLIC KEY-----…\"}]}]")]
    Add(SiteAddArgs),
    /// Show the rules of a site as JSON, or replace them all
    #[command(after_help = "\
Example:
  blindfold site rules paris > paris.json
  (edit paris.json)
  blindfold site rules paris --set paris.json

Documents that were issued live on until they end; renewals are held against the new rules.")]
    Rules {
        #[command(flatten)]
        admin: AdminArgs,
        /// Name of the site
        name: String,
        /// File with the new rules, JSON; - for standard input
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        set: Option<PathBuf>,
    },
    /// Switch a site off at once: its identities are refused everywhere
    #[command(after_help = "Example:\n  blindfold site disable paris")]
    Disable {
        #[command(flatten)]
        admin: AdminArgs,
        /// Name of the site
        name: String,
    },
    /// Switch a disabled site on again
    Enable {
        #[command(flatten)]
        admin: AdminArgs,
        /// Name of the site
        name: String,
    },
    /// List the sites
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Words of `site add`.
#[derive(Args, Debug)]
pub(crate) struct SiteAddArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Name of the site: the first segment of its SPIFFE IDs
    pub(crate) name: String,
    /// Attribute that the site's identities may carry, KEY=VALUE[,VALUE…], '*' for any value; may be repeated
    #[arg(long = "attribute", value_name = "KEY=VALUES")]
    pub(crate) attributes: Vec<String>,
    /// Greatest lifetime of an identity document, in seconds
    #[arg(long, default_value_t = 3600)]
    pub(crate) max_lifetime: u64,
    /// Identity documents per minute
    #[arg(long, default_value_t = 600)]
    pub(crate) rate: u32,
    /// Identity documents per day (UTC), over all replicas; unbounded when absent
    #[arg(long, value_name = "NUMBER")]
    pub(crate) per_day: Option<u64>,
    /// Only this SPIFFE ID and those below it; all of the site when absent
    #[arg(long, value_name = "SPIFFE_ID")]
    pub(crate) prefix: Option<String>,
    /// What may vouch for identities of the site, a JSON list; join tokens only when absent
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) attestors: Option<PathBuf>,
    /// Policy document (YAML or JSON) that has to allow each identity too, asked with the actions join and renew
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,
}
