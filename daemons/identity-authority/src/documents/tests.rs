use identity::policy::Facts;
use identity::wire::{CreateSiteRequest, SiteRules};
use identity::{DocumentKey, SiteName, TrustDomain};
use service::clock::ManualClock;

use super::*;
use crate::authority::Authority;
use crate::config::Config;
use crate::foundation::init_with_clock;
use crate::rules::RENEW;

fn rules(change: &serde_json::Value) -> SiteRules {
    let mut rules = serde_json::json!({
        "spiffe_id_prefix": "spiffe://acme.example/paris",
        "attributes": {"environment": ["production", "staging"]},
        "max_lifetime_seconds": 3600,
        "issues_per_minute": 600,
    });
    for (key, value) in change.as_object().unwrap() {
        rules[key] = value.clone();
    }
    serde_json::from_value(rules).unwrap()
}

#[tokio::test]
async fn site_is_asked_again_after_the_decision_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("administration.yaml");
    std::fs::write(policy, "v: 1\nrules: []\n").unwrap();
    let domain = TrustDomain::parse("acme.example").unwrap();
    let config = Config::in_folder(domain, folder.path());
    let clock = Arc::new(ManualClock::new(service::clock::now()));
    init_with_clock(&config, clock.clone()).await.unwrap();
    let authority = Authority::open_with_clock(config, clock).await.unwrap();
    let (inner, operator) = (&authority.inner, authority.operator());
    let paris = SiteName::parse("paris").unwrap();
    let request = CreateSiteRequest {
        name: paris.clone(),
        rules: rules(&serde_json::json!({})),
    };
    operator.create_site(request).await.unwrap();

    let mut attributes = Attributes::new();
    attributes.insert("environment", "staging").unwrap();
    let key = DocumentKey::generate(&mut random::system());
    let subject = Subject {
        spiffe_id: SpiffeId::parse("spiffe://acme.example/paris/x").unwrap(),
        attributes,
        lifetime: 3600,
        not_before: None,
        attestor: Some("join_token"),
        renews: None,
        csr: Csr::parse(&key.csr_der(&mut random::system()).unwrap()).unwrap(),
        refused: "the one answer",
    };
    let now = inner.admission.clock().now().unwrap();
    let call = Call::new(RENEW, "site/paris", AuditContext::new());
    let snapshot = inner.registry.snapshot();
    let policies = snapshot.sites[&paris].rules.policies();
    let facts = Facts {
        spiffe_id: &subject.spiffe_id,
        attributes: &subject.attributes,
    };
    let grant = inner
        .admission
        .grant_attested(facts, &call, &policies, now)
        .await
        .unwrap();
    let issue = || inner.documents.issue(&grant, &call, &subject, now);
    let not_after = |done: Result<(DocumentResponse, AuditContext), Refusal>| {
        done.unwrap().1.value("not_after").cloned()
    };

    assert_eq!(not_after(issue()), Some((now + 3600).into()));
    operator.disable_site(paris.clone()).await.unwrap();
    let refusal = issue().unwrap_err();
    assert_eq!(refusal.record, "SITE_DISABLED");
    assert_eq!(refusal.message, "the one answer");
    operator.enable_site(paris.clone()).await.unwrap();
    for narrower in [
        serde_json::json!({"attributes": {"environment": ["production"]}}),
        serde_json::json!({"spiffe_id_prefix": "spiffe://acme.example/paris/other"}),
    ] {
        operator
            .replace_site_rules(paris.clone(), rules(&narrower))
            .await
            .unwrap();
        assert_eq!(issue().unwrap_err().record, "OUTSIDE_RULES", "{narrower}");
    }
    let shorter = rules(&serde_json::json!({"max_lifetime_seconds": 300}));
    operator.replace_site_rules(paris, shorter).await.unwrap();
    assert_eq!(not_after(issue()), Some((now + 300).into()));
}
