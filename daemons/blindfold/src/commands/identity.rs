//! `blindfold identity` and `blindfold federation`: revocations, and other trust domains.

use std::path::Path;

use identity::{
    SiteName,
    attributes::INSTANCE,
    document::read_facts_unverified,
    http::{ANY, Conditional},
    limits::{MAX_BUNDLE_BYTES, MAX_CHAIN_PEM_BYTES},
    wire::{
        FEDERATIONS_PATH, FederationList, REVOCATIONS_PATH, RevocationList, RevokeRequest,
        SPIFFE_BUNDLE_PATH,
    },
};

use super::{print, print_json};
use crate::{
    admin::{Admin, http_failure},
    cli::{FederationCommand, IdentityCommand, RevokeArgs},
    failure::{Context, Failure, Kind, Outcome},
    files::Source,
};

/// Runs `blindfold identity …`.
pub(crate) fn run(command: IdentityCommand, json: bool) -> Outcome {
    match command {
        IdentityCommand::Revoke(args) => {
            let (site, instance) = whose(&args)?;
            let request = RevokeRequest::Instance {
                site,
                instance,
                reason: args.reason,
            };
            revoke(&args.admin.admin, &request, json)
        }
        IdentityCommand::RevokeIssuer {
            admin,
            fingerprint,
            reason,
        } => {
            let request = RevokeRequest::Issuer {
                fingerprint,
                reason,
            };
            revoke(&admin.admin, &request, json)
        }
        IdentityCommand::Revocations { admin } => {
            let client = Admin::read(&admin.admin)?.identity_authority()?;
            let list: RevocationList = client
                .get_json(REVOCATIONS_PATH)
                .map_err(|e| http_failure(&e))?;
            shown(&list, json)
        }
    }
}

/// Runs `blindfold federation …`.
pub(crate) fn federation(command: FederationCommand, json: bool) -> Outcome {
    match command {
        FederationCommand::List { admin } => {
            let client = Admin::read(&admin.admin)?.identity_authority()?;
            let list: FederationList = client
                .get_json(FEDERATIONS_PATH)
                .map_err(|e| http_failure(&e))?;
            federations(&list, json)
        }
        FederationCommand::Bundle { admin } => {
            let client = Admin::read(&admin.admin)?.identity_authority()?;
            let question = Conditional {
                path: SPIFFE_BUNDLE_PATH,
                etag: None,
                wait: std::time::Duration::ZERO,
                limit: MAX_BUNDLE_BYTES as u64,
                accept: ANY,
            };
            let answer = client
                .get_conditionally(&question)
                .map_err(|e| http_failure(&e))?;
            let body = answer.content.map(|content| content.body.to_vec());
            let document: serde_json::Value = serde_json::from_slice(&body.unwrap_or_default())
                .about(Kind::Data, "the answer")?;
            // Nothing but JSON is asked for, with or without --json.
            print_json(&document)
        }
    }
}

fn line(text: std::fmt::Arguments<'_>) -> Outcome {
    print(format_args!("{text}\n"))
}

fn revoke(admin: &Path, request: &RevokeRequest, json: bool) -> Outcome {
    let client = Admin::read(admin)?.identity_authority()?;
    let list: RevocationList = client
        .post_json(REVOCATIONS_PATH, request)
        .map_err(|e| http_failure(&e))?;
    if json {
        return print_json(&list);
    }
    let what = match request {
        RevokeRequest::Instance { site, instance, .. } => {
            format!("instance {instance} of site {site}")
        }
        RevokeRequest::Issuer { fingerprint, .. } => format!("issuing certificate {fingerprint}"),
        _ => "it".to_owned(),
    };
    line(format_args!(
        "{what} is revoked; {} instances and {} issuing certificates are",
        list.instances.len(),
        list.issuers.len()
    ))
}

/// Site and instance, as given or as a document says.
fn whose(args: &RevokeArgs) -> Outcome<(SiteName, String)> {
    if let (Some(site), Some(instance)) = (&args.site, &args.instance) {
        let site = SiteName::parse(site).about(Kind::Usage, "--site")?;
        return Ok((site, instance.clone()));
    }
    let source = Source::of(args.document.as_deref());
    let bytes = source.read("document")?;
    let text = std::str::from_utf8(&bytes)
        .ok()
        .filter(|text| text.len() <= MAX_CHAIN_PEM_BYTES)
        .ok_or_else(|| Failure::data(format_args!("{} is not a PEM chain", source.name())))?;
    let (spiffe_id, attributes) = read_facts_unverified(text).about(Kind::Data, source.name())?;
    let site = spiffe_id.site().unwrap_or_default();
    let site = SiteName::parse(site).about(Kind::Data, source.name())?;
    let instance = attributes.text(INSTANCE).ok_or_else(|| {
        Failure::data(format_args!(
            "the document in {} has no attribute `{INSTANCE}`",
            source.name()
        ))
        .remedy("it ends by itself; a whole site is switched off with: blindfold site disable")
    })?;
    Ok((site, instance.to_owned()))
}

fn shown(list: &RevocationList, json: bool) -> Outcome {
    if json {
        return print_json(list);
    }
    for revoked in &list.instances {
        let who = revoked
            .spiffe_id
            .as_ref()
            .map_or("-", identity::SpiffeId::as_str);
        let which = match revoked.before {
            Some(before) => format!("documents from before {before}"),
            None => "all documents".to_owned(),
        };
        line(format_args!(
            "instance {} {who} {which}, listed until {} {}",
            revoked.instance,
            revoked.until,
            revoked.reason.escape_debug()
        ))?;
    }
    for issuer in &list.issuers {
        line(format_args!("issuing certificate {issuer}"))?;
    }
    for site in &list.sites {
        line(format_args!("site {site}"))?;
    }
    Ok(())
}

fn federations(list: &FederationList, json: bool) -> Outcome {
    if json {
        return print_json(list);
    }
    for federation in &list.federations {
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        line(format_args!(
            "{} {} {}: {} anchors, sequence {}, fetched at {}{}",
            federation.trust_domain,
            federation.profile,
            federation.endpoint.escape_debug(),
            federation.anchors,
            number(federation.sequence),
            number(federation.fetched_at),
            federation
                .problem
                .as_ref()
                .map_or_else(String::new, |problem| format!(
                    "; last attempt failed: {}",
                    problem.escape_debug()
                ))
        ))?;
    }
    Ok(())
}
