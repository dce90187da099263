//! `blindfold ca`: the root of a trust domain on a machine of its own, and what an administrator does to issuing
//! certificates.

mod ceremony;
mod key;
mod show;
mod sign;

use identity::{
    issue::IssueError,
    wire::{ISSUERS_PATH, IssuerInfo, IssuerList, ROTATE_ISSUER_PATH, RotateIssuerRequest},
};

use super::{list, print_json};
use crate::{
    admin::{Admin, http_failure},
    cli::CaCommand,
    failure::{Context, Failure, Kind, Outcome, chain},
};

/// The root's certificate, in its folder.
const CERTIFICATE: &str = "root.crt";
/// The root's private key, wrapped.
const KEY: &str = "root.key";
/// What the key is wrapped with, and what opens that.
const SLOTS: &str = "root.slots";
/// What was done, for witnesses.
const TRANSCRIPT: &str = "ceremony.md";

/// Runs `blindfold ca …`.
pub(crate) fn run(command: CaCommand, json: bool) -> Outcome {
    match command {
        CaCommand::Init(args) => {
            // The root's key passes through this process.
            locked_memory::harden().kind(Kind::Internal)?;
            ceremony::run(&args, json)
        }
        CaCommand::Sign(args) => {
            locked_memory::harden().kind(Kind::Internal)?;
            sign::run(&args, json)
        }
        CaCommand::Inspect { file } => show::run(&file, json),
        CaCommand::Issuers { admin } => {
            let client = Admin::read(&admin.admin)?.identity_authority()?;
            let issuers: IssuerList = client
                .get_json(ISSUERS_PATH)
                .map_err(|e| http_failure(&e))?;
            shown(&issuers, json)
        }
        CaCommand::Rotate {
            admin,
            revoke_former,
        } => {
            let client = Admin::read(&admin.admin)?.identity_authority()?;
            let issuers: IssuerList = client
                .post_json(ROTATE_ISSUER_PATH, &RotateIssuerRequest { revoke_former })
                .map_err(|e| http_failure(&e))?;
            shown(&issuers, json)
        }
    }
}

fn shown(issuers: &IssuerList, json: bool) -> Outcome {
    if json {
        return print_json(&issuers.issuers);
    }
    list(&issuers.issuers, json, |issuer: &IssuerInfo| {
        let state = serde_json::to_value(issuer.state).unwrap_or_default();
        format!(
            "{} {:<8} from {} to {}, last document ends {}",
            issuer.fingerprint,
            state.as_str().unwrap_or_default(),
            time(issuer.not_before),
            time(issuer.not_after),
            time(issuer.last_document_not_after)
        )
    })
}

/// Unix seconds as people read them, in UTC.
fn time(unix_seconds: u64) -> String {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| unix_seconds.to_string(), |time| time.to_string())
}

/// An error of certificates as the person at the terminal sees it.
fn refused(error: &IssueError) -> Failure {
    Failure::data(chain(error))
}
