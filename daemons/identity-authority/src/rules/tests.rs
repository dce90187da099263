use identity::policy::{Effect, Facts, Query};

use super::*;

const GREATEST: u64 = 86_400;

fn domain() -> TrustDomain {
    TrustDomain::parse("acme.example").unwrap()
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn rules() -> SiteRules {
    serde_json::from_value(json!({
        "spiffe_id_prefix": "spiffe://acme.example/paris/ns",
        "attributes": {"environment": ["production", "staging"], "tier": ["gold-*"], "measurement": []},
        "max_lifetime_seconds": 3600,
        "issues_per_minute": 60,
    }))
    .unwrap()
}

fn compile(source: SiteRules) -> Result<Rules, RulesError> {
    Rules::compile(
        &domain(),
        &SiteName::parse("paris").unwrap(),
        source,
        GREATEST,
    )
}

fn attributes(pairs: &[(&str, AttributeValue)]) -> Attributes {
    let mut attributes = Attributes::new();
    for (key, value) in pairs {
        attributes.insert(key, value.clone()).unwrap();
    }
    attributes
}

#[test]
fn only_what_is_named_is_permitted() {
    let rules = compile(rules()).unwrap();
    let api = id("spiffe://acme.example/paris/ns/payments/sa/api");
    let permitted = |pairs: &[(&str, AttributeValue)]| rules.permit(&api, &attributes(pairs));
    assert_eq!(permitted(&[]), Ok(()));
    assert_eq!(
        permitted(&[("environment", "staging".into()), ("tier", "gold-2".into())]),
        Ok(())
    );
    assert_eq!(permitted(&[("instance", "anything".into())]), Ok(()));
    assert_eq!(permitted(&[("measurement", vec![1, 2].into())]), Ok(()));
    assert_eq!(permitted(&[("measurement", "text".into())]), Ok(()));
    assert_eq!(
        permitted(&[("environment", "laptop".into())]),
        Err(Violation::Value("environment".into()))
    );
    assert_eq!(
        permitted(&[("environment", "".into())]),
        Err(Violation::Value("environment".into()))
    );
    assert_eq!(
        permitted(&[("environment", b"staging".to_vec().into())]),
        Err(Violation::Value("environment".into()))
    );
    assert_eq!(
        permitted(&[("tier", "silver".into())]),
        Err(Violation::Value("tier".into()))
    );
    assert_eq!(
        permitted(&[("Environment", "staging".into())]),
        Err(Violation::Attribute("Environment".into()))
    );
    assert_eq!(
        permitted(&[("admin", "yes".into())]),
        Err(Violation::Attribute("admin".into()))
    );
}

#[test]
fn prefix_is_compared_by_segments() {
    let rules = compile(rules()).unwrap();
    for inside in [
        "spiffe://acme.example/paris/ns",
        "spiffe://acme.example/paris/ns/x",
    ] {
        assert_eq!(
            rules.permit(&id(inside), &Attributes::new()),
            Ok(()),
            "{inside}"
        );
    }
    for outside in [
        "spiffe://acme.example/paris",
        "spiffe://acme.example/paris/nsx",
        "spiffe://acme.example/paris/n",
        "spiffe://acme.example/rome/ns/x",
        "spiffe://acme.example/identity-authority",
        "spiffe://evil.example/paris/ns/x",
        "spiffe://acme.example",
    ] {
        assert!(
            rules.permit(&id(outside), &Attributes::new()).is_err(),
            "{outside}"
        );
    }
}

#[test]
fn policy_allows_the_prefix_and_nothing_else() {
    let rules = compile(rules()).unwrap();
    let effect = |who: &str, action: &str, resource: &str| {
        let (spiffe_id, attributes) = (id(who), Attributes::new());
        let facts = Facts {
            spiffe_id: &spiffe_id,
            attributes: &attributes,
        };
        let policies = rules.policies();
        assert_eq!(policies.len(), 1, "no policy of its own");
        let query = Query {
            facts,
            action,
            resource,
            now: 0,
        };
        policies[0].1.decide(&query).effect
    };
    assert_eq!(
        effect("spiffe://acme.example/paris/ns", JOIN, "site/paris"),
        Effect::Allow
    );
    assert_eq!(
        effect("spiffe://acme.example/paris/ns/a/b", RENEW, "site/paris"),
        Effect::Allow
    );
    assert_eq!(
        effect("spiffe://acme.example/paris/nsx", JOIN, "site/paris"),
        Effect::Deny
    );
    assert_eq!(
        effect("spiffe://acme.example/paris", JOIN, "site/paris"),
        Effect::Deny
    );
    assert_eq!(
        effect("spiffe://acme.example/paris/ns", JOIN, "site/rome"),
        Effect::Deny
    );
    assert_eq!(
        effect(
            "spiffe://acme.example/paris/ns",
            "create-token",
            "site/paris"
        ),
        Effect::Deny
    );
}

#[test]
fn prefix_outside_the_site_is_refused() {
    for prefix in [
        "spiffe://acme.example",
        "spiffe://acme.example/rome",
        "spiffe://acme.example/paris2",
        "spiffe://evil.example/paris",
        "spiffe://acme.example/identity-authority",
    ] {
        let source = SiteRules {
            spiffe_id_prefix: id(prefix),
            ..rules()
        };
        assert!(
            matches!(compile(source), Err(RulesError::PrefixOutsideSite(_))),
            "{prefix}"
        );
    }
    let long = format!(
        "spiffe://acme.example/paris/{}",
        "x".repeat(limits::SITE_PREFIX_BYTES)
    );
    assert_eq!(
        compile(SiteRules {
            spiffe_id_prefix: id(&long),
            ..rules()
        })
        .unwrap_err(),
        RulesError::PrefixTooLong
    );
    let greatest = long.get(..limits::SITE_PREFIX_BYTES).unwrap();
    compile(SiteRules {
        spiffe_id_prefix: id(greatest),
        ..rules()
    })
    .unwrap();
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    for lifetime in [0, GREATEST + 1, u64::MAX] {
        let error = compile(SiteRules {
            max_lifetime_seconds: lifetime,
            ..rules()
        })
        .unwrap_err();
        assert_eq!(error, RulesError::Lifetime { greatest: GREATEST });
    }
    for rate in [0, limits::ISSUES_PER_MINUTE + 1] {
        assert_eq!(
            compile(SiteRules {
                issues_per_minute: rate,
                ..rules()
            })
            .unwrap_err(),
            RulesError::Rate
        );
    }
}

#[test]
fn attribute_rules_that_could_never_apply_are_refused() {
    let with = |name: &str, values: Vec<String>| {
        let mut source = rules();
        source.attributes.insert(name.to_owned(), values);
        compile(source)
    };
    assert_eq!(with("instance", vec![]).unwrap_err(), RulesError::Instance);
    assert!(matches!(
        with("bad key", vec![]),
        Err(RulesError::AttributeKey { .. })
    ));
    assert!(matches!(
        with("", vec![]),
        Err(RulesError::AttributeKey { .. })
    ));
    assert!(matches!(
        with("a", vec!["***".into()]),
        Err(RulesError::AttributeValue { .. })
    ));
    assert_eq!(
        with("a", vec!["x".into(); limits::RULE_VALUES + 1]).unwrap_err(),
        RulesError::TooLong
    );
    assert_eq!(
        with("a", vec!["x".repeat(limits::RULES_BYTES)]).unwrap_err(),
        RulesError::TooLong
    );
    let mut source = rules();
    for i in 0..=limits::RULE_ATTRIBUTES {
        source.attributes.insert(format!("a{i}"), Vec::new());
    }
    assert_eq!(compile(source).unwrap_err(), RulesError::TooLong);
}

#[test]
fn lifetime_is_clipped_to_the_sites_greatest() {
    let rules = compile(rules()).unwrap();
    assert_eq!(rules.lifetime(None), 3600);
    assert_eq!(rules.lifetime(Some(60)), 60);
    assert_eq!(rules.lifetime(Some(7200)), 3600);
    assert_eq!(rules.lifetime(Some(u64::MAX)), 3600);
    assert_eq!(rules.lifetime(Some(0)), 1);
}

#[test]
fn the_sites_own_policy_is_asked_too() {
    let with = |policy: serde_json::Value| {
        compile(SiteRules {
            policy: Some(policy),
            ..rules()
        })
    };
    let compiled = with(json!({
        "v": 1,
        "rules": [{"name": "gold only", "effect": "allow",
                   "principal": {"selector": "tier in (gold-1,gold-2)"}}],
    }))
    .unwrap();
    let spiffe_id = id("spiffe://acme.example/paris/ns/x");
    let allows = |tier: &str| {
        let attributes = attributes(&[("tier", tier.into())]);
        let query = Query {
            facts: Facts {
                spiffe_id: &spiffe_id,
                attributes: &attributes,
            },
            action: JOIN,
            resource: "site/paris",
            now: 0,
        };
        let policies = compiled.policies();
        assert_eq!(policies[1].0, "site/paris/policy");
        policies
            .iter()
            .map(|(_, policy)| policy.decide(&query).effect == Effect::Allow)
            .collect::<Vec<_>>()
    };
    assert_eq!(allows("gold-1"), [true, true]);
    assert_eq!(allows("gold-3"), [true, false]);
    for bad in [
        json!({}),
        json!([]),
        json!("v: 1"),
        json!({"v": 2, "rules": []}),
    ] {
        assert!(
            matches!(with(bad.clone()), Err(RulesError::OwnPolicy(_))),
            "{bad}"
        );
    }
}

#[test]
fn attestors_are_those_named_and_join_tokens_otherwise() {
    let kinds = |rules: Rules| rules.attestors().kinds().collect::<Vec<_>>();
    assert_eq!(kinds(compile(rules()).unwrap()), ["join_token"]);
    let with = |attestors: serde_json::Value| {
        compile(SiteRules {
            attestors: Some(serde_json::from_value(attestors).unwrap()),
            ..rules()
        })
    };
    assert_eq!(kinds(with(json!([])).unwrap()), [""; 0]);
    let twice = with(json!([{"type": "join_token"}, {"type": "join_token"}]));
    assert!(matches!(twice, Err(RulesError::Attestors(_))), "{twice:?}");
    let no_key = with(json!([{"type": "voucher", "keys": [{"kid": "a", "public_key": "none"}]}]));
    assert!(
        matches!(no_key, Err(RulesError::Attestors(_))),
        "{no_key:?}"
    );
}

#[test]
fn quota_of_nothing_is_refused() {
    let with = |issues_per_day| {
        compile(SiteRules {
            issues_per_day,
            ..rules()
        })
    };
    assert_eq!(with(Some(0)).unwrap_err(), RulesError::DayQuota);
    with(Some(1)).unwrap();
}

#[test]
fn json_survives_the_store() {
    let compiled = compile(rules()).unwrap();
    let read: SiteRules = serde_json::from_str(&compiled.to_json()).unwrap();
    assert_eq!(&read, compiled.source());
    assert_eq!(read, rules());
}
