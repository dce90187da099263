//! The attestors of a site, from its rules.

use attest::unix::UnixPeer;
use attest::voucher::{Algorithm, Signer};
use attest::{AttestError, Attestors, ChallengeContext, RuleError};
use identity::join::{JoinSecret, JoinTokenRecord, RedemptionRefusal};
use identity::wire::{Evidence, Prover, SiteRules};
use identity::{Attributes, SpiffeId};
use serde_json::{Value, json};

use crate::support::{CSR_KEY, NOW, Place, rng};

fn rules(attestors: Value) -> SiteRules {
    let mut rules = json!({
        "spiffe_id_prefix": "spiffe://acme.example/paris",
        "max_lifetime_seconds": 3600,
        "issues_per_minute": 60,
    });
    if !attestors.is_null() {
        rules["attestors"] = attestors;
    }
    serde_json::from_value(rules).unwrap()
}

fn compile(attestors: Value) -> Result<Attestors, RuleError> {
    let place = Place::new();
    Attestors::compile(&place.site, &place.domain, &rules(attestors))
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid()
}

#[test]
fn rules_without_attestors_allow_join_tokens_only() {
    let attestors = compile(Value::Null).unwrap();
    assert_eq!(attestors.kinds().collect::<Vec<_>>(), ["join_token"]);
    assert!(attestors.allows("join_token") && !attestors.allows("voucher"));
    let place = Place::new();
    assert_eq!(
        attestors.verify(&Evidence::Unix {}, &place.context()),
        Err(AttestError::NotAllowed("unix"))
    );
    let context = ChallengeContext {
        now: NOW,
        csr_key_sha256: &CSR_KEY,
        site: &place.site,
        trust_domain: &place.domain,
        audience: &place.authority,
    };
    assert_eq!(
        attestors
            .challenge(&Prover::X509 {}, &context, &mut rng(1))
            .unwrap_err(),
        AttestError::NotAllowed("x509")
    );
    // An empty list allows nothing.
    assert!(!compile(json!([])).unwrap().allows("join_token"));
}

#[test]
fn rules_say_which_member_is_wrong() {
    let mapping = json!({"spiffe_id": "spiffe://acme.example/paris/u/{uid}"});
    let unix = json!({"type": "unix", "uids": [0], "mapping": mapping});
    for (attestors, message) in [
        (json!([unix, unix]), "rules.attestors[1]: a second \"unix\""),
        (
            json!(vec![json!({"type": "join_token"}); 17]),
            "rules.attestors: more than 16",
        ),
        (
            json!([{"type": "join_token"}, {"type": "voucher", "keys": []}]),
            "rules.attestors[1].keys: give 1 to 8",
        ),
        (
            json!([{"type": "x509", "anchors": ["x"], "mapping": mapping}]),
            "rules.attestors[0].anchors: [0] is not PEM",
        ),
        (
            json!([{"type": "x509", "anchors": [], "mapping": mapping}]),
            "rules.attestors[0].anchors: give 1 to 16",
        ),
        (
            json!([{"type": "aws", "certificates": [], "accounts": ["123456789012"], "mapping": mapping}]),
            "rules.attestors[0].certificates",
        ),
        (
            json!([{"type": "unix", "uids": [], "mapping": mapping}]),
            "rules.attestors[0].uids: give 1 to 1024",
        ),
        (
            json!([{"type": "unix", "uids": [0], "mapping": {"spiffe_id": "spiffe://acme.example/paris/{serial}"}}]),
            "rules.attestors[0]: mapping names the fact \"serial\"",
        ),
        (
            json!([{"type": "unix", "uids": [0], "mapping": {"spiffe_id": "spiffe://acme.example/lyon/x"}}]),
            "rules.attestors[0]: mapping.spiffe_id must begin with spiffe://acme.example/paris/",
        ),
    ] {
        let error = compile(attestors).unwrap_err().to_string();
        assert!(
            error.starts_with(message),
            "{error:?} instead of {message:?}"
        );
    }
}

#[test]
fn evidence_finds_its_attestor_and_its_mapping() {
    let place = Place::new();
    let signer = Signer::generate("v", Algorithm::Es256, &mut rng(1)).unwrap();
    let attestors = compile(json!([
        {"type": "voucher", "keys": [signer.voucher_key().unwrap()]},
        {"type": "unix", "uids": [own_uid()], "mapping": {
            "spiffe_id": "spiffe://acme.example/paris/uid/{uid}",
            "attributes": {"program": "{executable_sha256}"},
        }},
    ]))
    .unwrap();
    let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
    let peer = UnixPeer::of(&here).unwrap();
    let vouched = attestors
        .verify(&Evidence::Unix {}, &place.from(&peer))
        .unwrap();
    assert_eq!(vouched.kind, "unix");
    assert_eq!(
        vouched.spiffe_id.as_str(),
        format!("spiffe://acme.example/paris/uid/{}", own_uid())
    );
    // The mapping names the digest, so it was measured though the rules list none.
    assert_eq!(
        vouched.attributes.text("program"),
        peer.executable_sha256().ok()
    );
    assert_eq!(
        vouched.facts.text("pid"),
        Some(std::process::id().to_string().as_str())
    );
}

#[test]
fn join_token_is_good_for_its_row_only() {
    let place = Place::new();
    let attestors = compile(json!([{"type": "join_token"}])).unwrap();
    let secret = JoinSecret::generate(&mut rng(1));
    let spiffe_id = SpiffeId::parse("spiffe://acme.example/paris/a").unwrap();
    let mut record = JoinTokenRecord::new(
        &secret,
        spiffe_id.clone(),
        Attributes::new(),
        NOW,
        60,
        &mut rng(2),
    )
    .unwrap();
    let evidence = Evidence::JoinToken {
        secret_hash: secret.hash(),
    };
    let verify = |evidence: &Evidence, record: Option<&JoinTokenRecord>, now: u64| {
        let mut context = place.context();
        context.join_token = record;
        context.now = now;
        attestors.verify(evidence, &context)
    };
    let vouched = verify(&evidence, Some(&record), NOW).unwrap();
    assert_eq!(
        (vouched.kind, &vouched.spiffe_id),
        ("join_token", &spiffe_id)
    );
    assert!(vouched.attributes.contains_key("instance"));
    assert_eq!(vouched.single_use.unwrap().id, *secret.hash().as_bytes());
    assert_eq!(
        verify(&evidence, None, NOW),
        Err(AttestError::JoinTokenUnknown)
    );
    let other = Evidence::JoinToken {
        secret_hash: JoinSecret::generate(&mut rng(3)).hash(),
    };
    assert_eq!(
        verify(&other, Some(&record), NOW),
        Err(AttestError::JoinTokenUnknown)
    );
    assert_eq!(
        verify(&evidence, Some(&record), NOW + 60),
        Err(AttestError::JoinToken(RedemptionRefusal::Expired))
    );
    record.redeemed = Some(identity::join::Redeemed {
        csr_key_sha256: [0; 32],
        at: NOW,
    });
    assert_eq!(
        verify(&evidence, Some(&record), NOW),
        Err(AttestError::JoinToken(RedemptionRefusal::OtherKey))
    );
    // It never comes from outside: there is no such evidence in JSON.
    let json = json!({"type": "join_token", "secret_hash": secret.hash()});
    assert!(serde_json::from_value::<Evidence>(json).is_err());
    assert!(serde_json::to_value(&evidence).is_err());
}

#[test]
fn debug_shows_no_secret_of_a_challenge() {
    let state = || zeroize::Zeroizing::new(b"secret".to_vec());
    let made = attest::Challenge {
        nonce: [7; 32],
        state: state(),
        credential_blob: None,
        encrypted_secret: None,
    };
    let opened = attest::OpenedChallenge {
        nonce: [7; 32],
        state: state(),
        expires_at: 9,
    };
    assert_eq!(format!("{made:?}"), "Challenge { .. }");
    assert_eq!(
        format!("{opened:?}"),
        "OpenedChallenge { expires_at: 9, .. }"
    );
}
