//! `blindfold site`: register, change, disable and list sites.

use std::{collections::BTreeMap, path::Path};

use identity::{
    SiteName, SpiffeId, TrustDomain,
    http::HttpClient,
    wire::{
        AttestorRule, CreateSiteRequest, SITES_PATH, Site, SiteList, SiteRules, disable_site_path,
        enable_site_path,
    },
};
use serde::de::DeserializeOwned;

use super::{canonical_text, key_value, print, print_json};
use crate::{
    admin::{Admin, http_failure},
    cli::{SiteAddArgs, SiteCommand},
    failure::{Context, Failure, Kind, Outcome},
    files::Source,
};

/// Runs `blindfold site …`.
pub(crate) fn run(command: SiteCommand, json: bool) -> Outcome {
    match command {
        SiteCommand::Add(args) => add(&args, json),
        SiteCommand::Rules { admin, name, set } => {
            let name = site_name(&name)?;
            let client = Admin::read(&admin.admin)?.identity_authority()?;
            match set {
                Some(path) => {
                    let rules: SiteRules = read_json(&Source::of(Some(&path)), "rules")?;
                    let site: Site = client
                        .put_json(&format!("{SITES_PATH}/{name}"), &rules)
                        .map_err(|e| http_failure(&e))?;
                    shown(&site, json)
                }
                None => rules_of(&client, &name),
            }
        }
        SiteCommand::Disable { admin, name } => {
            let name = site_name(&name)?;
            let client = Admin::read(&admin.admin)?.identity_authority()?;
            let site: Site = client
                .post_json_bytes(&disable_site_path(&name), b"")
                .map_err(|e| http_failure(&e))?;
            shown(&site, json)
        }
        SiteCommand::Enable { admin, name } => {
            let name = site_name(&name)?;
            let client = Admin::read(&admin.admin)?.identity_authority()?;
            let site: Site = client
                .post_json_bytes(&enable_site_path(&name), b"")
                .map_err(|e| http_failure(&e))?;
            shown(&site, json)
        }
        SiteCommand::List { admin } => {
            let client = Admin::read(&admin.admin)?.identity_authority()?;
            let list: SiteList = client.get_json(SITES_PATH).map_err(|e| http_failure(&e))?;
            if json {
                return print_json(&list.sites);
            }
            list.sites.iter().try_for_each(|site| shown(site, false))
        }
    }
}

fn add(args: &SiteAddArgs, json: bool) -> Outcome {
    let name = site_name(&args.name)?;
    let admin = Admin::read(&args.admin.admin)?;
    let prefix = match &args.prefix {
        Some(text) => text.parse().about(Kind::Usage, "--prefix")?,
        None => whole_site(&admin.trust_domain()?, &name)?,
    };
    let rules = SiteRules {
        spiffe_id_prefix: prefix,
        attributes: allowed_attributes(&args.attributes)?,
        max_lifetime_seconds: args.max_lifetime,
        issues_per_minute: args.rate,
        issues_per_day: args.per_day,
        policy: args.policy.as_deref().map(policy_value).transpose()?,
        attestors: args
            .attestors
            .as_deref()
            .map(|path| read_json::<Vec<AttestorRule>>(&Source::of(Some(path)), "attestors"))
            .transpose()?,
    };
    let request = CreateSiteRequest { name, rules };
    let site: Site = admin
        .identity_authority()?
        .post_json(SITES_PATH, &request)
        .map_err(|e| http_failure(&e))?;
    shown(&site, json)
}

/// Prints the rules of one site, as `--set` takes them.
fn rules_of(client: &HttpClient, name: &SiteName) -> Outcome {
    let mut path = SITES_PATH.to_owned();
    loop {
        let list: SiteList = client.get_json(&path).map_err(|e| http_failure(&e))?;
        if let Some(site) = list.sites.iter().find(|site| site.name == *name) {
            return print_json(&site.rules);
        }
        // Pages go by name.
        match list.sites.last() {
            Some(last) if last.name < *name => {
                path = format!("{SITES_PATH}?after={}", last.name);
            }
            _ => {
                return Err(Failure::data(format_args!("no site {name} is registered"))
                    .remedy("see which there are: blindfold site list"));
            }
        }
    }
}

fn read_json<T: DeserializeOwned>(source: &Source, what: &str) -> Outcome<T> {
    let bytes = source.read(what)?;
    serde_json::from_slice(&bytes).about(Kind::Data, source.name())
}

/// A policy file, checked here so that errors name its lines.
fn policy_value(path: &Path) -> Outcome<serde_json::Value> {
    serde_json::from_str(&canonical_text(path)?).kind(Kind::Internal)
}

fn whole_site(trust_domain: &TrustDomain, name: &SiteName) -> Outcome<SpiffeId> {
    format!("spiffe://{trust_domain}/{name}")
        .parse()
        .kind(Kind::Usage)
}

fn site_name(text: &str) -> Outcome<SiteName> {
    text.parse()
        .about(Kind::Usage, format_args!("site {text:?}"))
}

/// `KEY=VALUE,VALUE` words; `*` allows any value.
fn allowed_attributes(words: &[String]) -> Outcome<BTreeMap<String, Vec<String>>> {
    let mut allowed = BTreeMap::new();
    for word in words {
        let (key, values) = key_value(word)?;
        let values = match values {
            "*" => Vec::new(),
            values => values.split(',').map(str::to_owned).collect(),
        };
        if values.iter().any(String::is_empty) {
            return Err(
                Failure::usage(format_args!("attribute {word:?} allows an empty value"))
                    .remedy("write KEY=VALUE,VALUE or KEY='*'"),
            );
        }
        if allowed.insert(key.to_owned(), values).is_some() {
            return Err(Failure::usage(format_args!(
                "attribute {key:?} is given twice"
            )));
        }
    }
    Ok(allowed)
}

fn shown(site: &Site, json: bool) -> Outcome {
    if json {
        return print_json(site);
    }
    print(format_args!(
        "{}\t{}\t{}\n",
        site.name,
        if site.disabled { "disabled" } else { "enabled" },
        site.rules.spiffe_id_prefix
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_allows_any_value_and_lists_are_split() {
        let words = ["tier=gold,silver".to_owned(), "team=*".to_owned()];
        let allowed = allowed_attributes(&words).unwrap();
        assert_eq!(allowed["tier"], ["gold", "silver"]);
        assert!(allowed["team"].is_empty());
        assert!(allowed_attributes(&["tier=gold,".to_owned()]).is_err());
        assert!(allowed_attributes(&["tier=a".to_owned(), "tier=b".to_owned()]).is_err());
    }
}
