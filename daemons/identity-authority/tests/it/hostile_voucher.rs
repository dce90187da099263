//! A hostile holder of one site's voucher key, against two running replicas over real TLS: whatever they sign and send,
//! they get nothing outside the site, and nobody else loses anything.
//!
//! Each attempt is what the key's holder can do: sign any bytes, send any request, any number of times. The tables that
//! are printed say what was tried and what came of it (`--nocapture`).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use std::sync::Arc;

use attest::voucher::{Algorithm, Claims, Signer};
use identity::attributes::INSTANCE;
use identity::verify::{Usage, verify_peer};
use identity::wire::{ATTEST_PATH, DocumentResponse};
use identity::{
    Attributes, DocumentKey, IdentityDocument, Principal, SiteName, SpiffeId, TrustBundle,
};
use identity_authority::Authority;
use serde_json::{Value, json};
use service::clock::Clock as _;
use service::shutdown::Shutdown;

use crate::support::{Answer, Client, Lab, csr, rng};

mod exhaustion;
mod names;
mod replay;
mod tokens;

const AUTHORITY: &str = "spiffe://acme.example/identity-authority";
const PARIS_API: &str = "spiffe://acme.example/paris/ns/api";

/// Two replicas over one store, site `paris` whose voucher is hostile, and `rome` whose voucher is not.
struct Stage {
    lab: Lab,
    paris: Signer,
    rome: Signer,
    /// Without a document, at each replica.
    first: Client,
    second: Client,
    stop: Shutdown,
    attempts: std::sync::Mutex<Vec<(String, u16, String)>>,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&json!({})).await
    }

    /// `change` replaces members of the rules of Paris.
    async fn with(change: &Value) -> Self {
        let lab = Lab::with(|config| {
            // The rates of addresses are not what is tried here.
            config.rates.joins_burst = 1_000_000;
            config.rates.joins_per_second = 1_000_000;
        })
        .await;
        let (paris, rome) = (signer("1", Algorithm::Es256), signer("1", Algorithm::Es384));
        let mut rules = json!({
            "spiffe_id_prefix": "spiffe://acme.example/paris/ns",
            "max_lifetime_seconds": 600,
            "attestors": [{"type": "voucher", "keys": [paris.voucher_key().unwrap()]}],
        });
        for (key, value) in change.as_object().unwrap() {
            rules[key] = value.clone();
        }
        lab.site("paris", &rules).await;
        let rules = json!({"attestors": [
            {"type": "voucher", "keys": [rome.voucher_key().unwrap()]},
            {"type": "join_token"},
        ]});
        lab.site("rome", &rules).await;
        let first = lab.anonymous().await;
        let stop = Shutdown::new();
        let address = second_replica(&lab, stop.clone()).await;
        let second = Client {
            address,
            ..first.clone()
        };
        Self {
            lab,
            paris,
            rome,
            first,
            second,
            stop,
            attempts: std::sync::Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        service::clock::unix_seconds(self.lab.clock.now())
    }

    /// What an honest voucher of Paris would claim for `key`.
    fn claims(&self, key: &DocumentKey) -> Claims {
        let now = self.now();
        Claims {
            site: SiteName::parse("paris").unwrap(),
            audience: SpiffeId::parse(AUTHORITY).unwrap(),
            subject: SpiffeId::parse(PARIS_API).unwrap(),
            uid: format!("pod-{}", Claims::draw_token_id(&mut rng())),
            sequence: 1,
            issued_at: now,
            expires_at: now + 60,
            token_id: Claims::draw_token_id(&mut rng()),
            csr_key_sha256: key.public_key_sha256(),
            attributes: Attributes::new(),
        }
    }

    /// Claims of Paris as JSON, with members replaced, or left out where the value is null.
    fn bent(&self, key: &DocumentKey, change: &Value) -> Value {
        let mut claims = serde_json::to_value(self.claims(key)).unwrap();
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    /// Signs whatever it is with the key of Paris.
    fn forge(&self, payload: &Value) -> String {
        forged(&self.paris, payload)
    }

    /// An attempt of the hostile voucher: anything but a document is what it must get.
    async fn attempt(&self, what: &str, key: &DocumentKey, token: &str) -> Answer {
        let answer = attest(&self.first, "paris", key, token).await;
        self.note(what, &answer);
        answer
    }

    #[track_caller]
    fn note(&self, what: &str, answer: &Answer) {
        assert_ne!(answer.status, 200, "{what}: a document was issued");
        assert!(
            matches!(answer.status, 400 | 403 | 413 | 429),
            "{what}: {answer:?}"
        );
        let code = self.last_code();
        let mut attempts = self.attempts.lock().unwrap();
        attempts.push((what.escape_debug().to_string(), answer.status, code));
    }

    /// Code of the newest record of the first replica.
    fn last_code(&self) -> String {
        let code = self.lab.records().last().map(|last| last["code"].clone());
        code.and_then(|code| code.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// A document that Paris may have; what it says is checked.
    async fn honest(&self, client: &Client, claims: &Claims, key: &DocumentKey) -> Issued {
        let token = self.paris.sign(claims, &mut rng()).unwrap();
        let issued = Issued::of(attest(client, "paris", key, &token).await, key, self.now());
        assert!(
            issued
                .principal
                .spiffe_id()
                .is_within(&SpiffeId::parse("spiffe://acme.example/paris/ns").unwrap())
        );
        issued
    }

    /// Rome is served as ever.
    async fn rome_is_served(&self) {
        let key = DocumentKey::generate(&mut rng());
        let claims = Claims {
            site: SiteName::parse("rome").unwrap(),
            subject: SpiffeId::parse("spiffe://acme.example/rome/api").unwrap(),
            ..self.claims(&key)
        };
        let token = self.rome.sign(&claims, &mut rng()).unwrap();
        for client in [&self.first, &self.second] {
            let answer = attest(client, "rome", &key, &token).await;
            let issued = Issued::of(answer, &key, self.now());
            assert_eq!(
                issued.principal.spiffe_id().as_str(),
                "spiffe://acme.example/rome/api"
            );
        }
    }

    /// Nothing was issued for anybody but those named, as both audit logs have it; prints what was tried.
    fn conclude(&self, title: &str, within: &str) {
        let attempts = self.attempts.lock().unwrap();
        println!("\n{title}: {} attempts", attempts.len());
        for (what, status, code) in attempts.iter() {
            let what: String = what.chars().take(96).collect();
            println!("  {what:<96} {status} {code}");
        }
        let (mut issued, mut outside) = (0, Vec::new());
        for log in ["audit.jsonl", "second.jsonl"] {
            let text = std::fs::read_to_string(self.lab.path(log)).unwrap();
            let records: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            // The decision names whom it is for, the outcome says that a document was signed.
            let signed = records.iter().filter(|record| {
                record["kind"] == "outcome"
                    && record["resource"] == "site/paris"
                    && record["context"]["certificate_sha256"].is_string()
            });
            for outcome in signed {
                let decision = records
                    .iter()
                    .find(|record| record["kind"] == "decision" && record["id"] == outcome["id"])
                    .unwrap();
                let id = decision["context"]["spiffe_id"].as_str().unwrap();
                issued += 1;
                if !id.starts_with(within) {
                    outside.push(id.to_owned());
                }
            }
        }
        println!(
            "  documents of Paris: {issued}, of those outside {within}: {}",
            outside.len()
        );
        assert!(issued > 0, "the records are read");
        assert!(outside.is_empty(), "{outside:?}");
        self.stop.trigger();
    }
}

/// A document that was issued.
struct Issued {
    principal: Principal,
    bundle: TrustBundle,
    response: DocumentResponse,
}

impl Issued {
    #[track_caller]
    fn of(answer: Answer, key: &DocumentKey, now: u64) -> Self {
        let response = answer.document();
        let key = DocumentKey::from_pem(&key.expose_pem().unwrap()).unwrap();
        let document = IdentityDocument::from_chain_pem(&response.document, key).unwrap();
        let bundle = response.bundle.clone();
        let principal = verify_peer(document.chain(), &bundle, Usage::Client, now).unwrap();
        Self {
            principal,
            bundle,
            response,
        }
    }

    fn instance(&self) -> &str {
        self.principal.attributes().text(INSTANCE).unwrap()
    }
}

fn signer(kid: &str, algorithm: Algorithm) -> Signer {
    Signer::generate(kid, algorithm, &mut rng()).unwrap()
}

fn header(signer: &Signer) -> Value {
    json!({"alg": signer.algorithm(), "kid": signer.kid(), "typ": "bfvoucher+jwt"})
}

fn forged(signer: &Signer, payload: &Value) -> String {
    signer
        .sign_parts(
            header(signer).to_string().as_bytes(),
            payload.to_string().as_bytes(),
            &mut rng(),
        )
        .unwrap()
        .to_string()
}

fn body(site: &str, key: &DocumentKey, evidence: &Value) -> Vec<u8> {
    json!({"site": site, "csr": csr(key), "evidence": evidence})
        .to_string()
        .into_bytes()
}

async fn attest(client: &Client, site: &str, key: &DocumentKey, token: &str) -> Answer {
    let evidence = json!({"type": "voucher", "token": token});
    client.post(ATTEST_PATH, &body(site, key, &evidence)).await
}

/// Another process' worth of an authority over the same store, with an audit log of its own.
async fn second_replica(lab: &Lab, stop: Shutdown) -> std::net::SocketAddr {
    let mut config = lab.config.clone();
    config.audit = service::config::AuditConfig::at(lab.path("second.jsonl"));
    let authority = Authority::open_with_clock(config, Arc::new(lab.clock.clone()))
        .await
        .unwrap();
    let address = authority.local_addr();
    tokio::spawn(async move { authority.serve(stop).await.unwrap() });
    address
}

/// Asks until `good`, since a replica hears of the other's changes a moment later.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
