//! `blindfold policy`: check, digest and explain.

use blindfold_core::CanonicalPolicy;
use identity::{
    SpiffeId,
    document::read_facts_unverified,
    policy::{Facts, Query},
};
use serde_json::json;

use super::{attributes, now, print, print_json, read_policy};
use crate::{
    cli::{PolicyCommand, PolicyExplainArgs},
    failure::{Context, Failure, Kind, Outcome},
    files::{self, Source},
};

/// Runs `blindfold policy …`.
pub(crate) fn run(command: PolicyCommand, json: bool) -> Outcome {
    match command {
        PolicyCommand::Check { file, canonical } => {
            check(&Source::of(file.as_deref()), canonical, json)
        }
        PolicyCommand::Digest { file } => digest(&Source::of(file.as_deref()), json),
        PolicyCommand::Explain(args) => explain(&args, json),
    }
}

fn check(source: &Source, canonical: bool, json: bool) -> Outcome {
    let policy = read_policy(source)?;
    let bytes = policy.canonical();
    // What the engine accepts, the format must accept too: both forms are checked here, before anything is sealed.
    CanonicalPolicy::parse(&bytes).about(Kind::Data, source.name())?;
    if canonical {
        return print(String::from_utf8_lossy(&bytes));
    }
    if json {
        return print_json(&json!({
            "ok": true, "name": policy.name(), "rules": policy.rule_count(), "combine": policy.combine().as_str(),
            "bytes": bytes.len(), "digest": hex::encode(policy.digest()),
        }));
    }
    print(format_args!(
        "{}: ok, {} rule{}, {}\n",
        source.name(),
        policy.rule_count(),
        if policy.rule_count() == 1 { "" } else { "s" },
        policy.combine().as_str()
    ))
}

fn digest(source: &Source, json: bool) -> Outcome {
    let digest = hex::encode(read_policy(source)?.digest());
    if json {
        print_json(&json!({ "digest": digest }))
    } else {
        print(format_args!("{digest}\n"))
    }
}

fn explain(args: &PolicyExplainArgs, json: bool) -> Outcome {
    let policy = read_policy(&Source::of(args.file.as_deref()))?;
    let (spiffe_id, attributes) = facts(args)?;
    let now = match &args.at {
        None => now(),
        Some(text) => {
            let at: jiff::Timestamp = text
                .parse()
                .about(Kind::Usage, "--at wants an RFC 3339 time")?;
            u64::try_from(at.as_second()).about(Kind::Usage, "--at lies before 1970")?
        }
    };
    let query = Query {
        facts: Facts {
            spiffe_id: &spiffe_id,
            attributes: &attributes,
        },
        action: &args.action,
        resource: &args.resource,
        now,
    };
    let explanation = policy.explain(&query);
    if json {
        print_json(&explanation)?;
    } else {
        print(&explanation)?;
    }
    if policy.decide(&query).is_allow() {
        Ok(())
    } else {
        Err(Failure::new(Kind::Denied, "the policy does not allow it"))
    }
}

fn facts(args: &PolicyExplainArgs) -> Outcome<(SpiffeId, identity::Attributes)> {
    match (&args.identity, &args.spiffe_id) {
        (Some(path), _) => {
            let pem = files::read(path, "identity document")?;
            let text = std::str::from_utf8(&pem).about(Kind::Data, path.display())?;
            let facts = read_facts_unverified(text).about(Kind::Data, path.display())?;
            Ok(facts)
        }
        (None, Some(text)) => Ok((
            text.parse().about(Kind::Usage, "--spiffe-id")?,
            attributes(&args.attributes)?,
        )),
        (None, None) => {
            Err(Failure::usage("no identity given").remedy("use --identity FILE or --spiffe-id ID"))
        }
    }
}
