//! Two trust domains that know each other, by both profiles of the SPIFFE federation.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::bundle::SpiffeBundle;
use identity::http::{ANY, Conditional, HttpClient};
use identity::tls::bootstrap::DangerousUnauthenticatedBundleFetch;
use identity::verify::{Usage, VerifyError, verify_peer};
use identity::wire::{
    BUNDLE_PATH, BUNDLES_PATH, FEDERATION_HEADER, FEDERATIONS_PATH, FederatedBundles,
    FederationList, SPIFFE_BUNDLE_PATH,
};
use identity::{TrustBundle, TrustDomain};
use identity_authority::config::{BundleEndpointConfig, Config, FederationConfig};
use serde_json::json;

use crate::support::{API, Lab};

const OTHER: &str = "other.example";
const PATIENCE: Duration = Duration::from_secs(30);

fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

/// A second trust domain.
async fn other(change: impl FnOnce(&mut Config)) -> Lab {
    Lab::with(|config| {
        config.trust_domain = domain(OTHER);
        change(config);
    })
    .await
}

/// What anybody gets at `address`.
async fn public(address: SocketAddr, path: &'static str) -> Vec<u8> {
    tokio::task::spawn_blocking(move || {
        let config = DangerousUnauthenticatedBundleFetch::new()
            .unwrap()
            .dangerous_client_config();
        let client =
            HttpClient::stranger(&format!("https://{address}"), config, "anybody").unwrap();
        let question = Conditional {
            path,
            etag: None,
            wait: Duration::ZERO,
            limit: 1 << 20,
            accept: ANY,
        };
        let answer = client.get_conditionally(&question).unwrap();
        answer.content.unwrap().body.to_vec()
    })
    .await
    .unwrap()
}

async fn federated(lab: &Lab) -> Vec<TrustBundle> {
    let json = public(lab.address, BUNDLES_PATH).await;
    let answer: FederatedBundles = serde_json::from_slice(&json).unwrap();
    answer.bundles
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn https_spiffe(of: &Lab, bundle: std::path::PathBuf) -> FederationConfig {
    FederationConfig::HttpsSpiffe {
        endpoint: format!("https://{}{SPIFFE_BUNDLE_PATH}", of.address),
        endpoint_spiffe_id: of.config.trust_domain.identity_authority(),
        bundle: bundle.into(),
    }
}

async fn save_bundle(of: &Lab, path: &std::path::Path) {
    std::fs::write(path, public(of.address, SPIFFE_BUNDLE_PATH).await).unwrap();
}

/// A document of the other domain, joined as one is there.
async fn foreign_chain(lab: &Lab) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use identity::DocumentKey;
    use identity::join::JoinToken;
    use identity::tls::{Alpn, ServerExpectation, bootstrap::anonymous_client_config};
    use identity::wire::{CreateSiteRequest, CreateTokenRequest};

    let create: CreateSiteRequest = serde_json::from_value(json!({
        "name": "rome",
        "rules": {"spiffe_id_prefix": format!("spiffe://{OTHER}/rome"), "max_lifetime_seconds": 3600,
                  "issues_per_minute": 600},
    }))
    .unwrap();
    lab.operator.create_site(create).await.unwrap();
    let request: CreateTokenRequest = serde_json::from_value(json!({
        "spiffe_id": format!("spiffe://{OTHER}/rome/api"), "lifetime_seconds": 600,
    }))
    .unwrap();
    let token: JoinToken = lab.operator.create_token(request).await.unwrap().token;
    let pinned = DangerousUnauthenticatedBundleFetch::new().unwrap();
    let bundle = pinned
        .accept(
            &public(lab.address, BUNDLE_PATH).await,
            token.bundle_fingerprint(),
        )
        .unwrap();
    let server = ServerExpectation::from(domain(OTHER).identity_authority());
    let config = anonymous_client_config(Arc::new(bundle), server, &[Alpn::Http11]).unwrap();
    let client = crate::support::Client {
        address: lab.address,
        config,
    };
    let key = DocumentKey::generate(&mut crate::support::rng());
    let response = client.join(token.into_secret(), &key).await.document();
    identity::IdentityDocument::from_chain_pem(&response.document, key)
        .unwrap()
        .chain()
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_authorities_federate_by_their_own_documents() {
    let folder = tempfile::tempdir().unwrap();
    let [theirs, ours] = ["theirs.json", "ours.json"].map(|name| folder.path().join(name));
    let second = other(|_| ()).await;
    save_bundle(&second, &theirs).await;
    let first = Lab::with(|config| {
        let federation = https_spiffe(&second, theirs.clone());
        config.federation.insert(domain(OTHER), federation);
    })
    .await;
    first.paris().await;

    // The other way around: the second one learns of the first.
    save_bundle(&first, &ours).await;
    let (kept, mut config, clock) = second.stop().await;
    config.listen.address = https_address(&first, OTHER);
    config
        .federation
        .insert(domain("acme.example"), https_spiffe(&first, ours));
    let second = Lab::run(kept, config, clock).await;

    let admin = first.admin().await;
    until("the first one fetches", async || {
        let answer = admin.client().get(FEDERATIONS_PATH).await;
        let list: FederationList = serde_json::from_slice(&answer.body).unwrap();
        list.federations[0].fetched_at.is_some() && list.federations[0].anchors == 1
    })
    .await;
    until("the second one has the first one's bundle", async || {
        federated(&second)
            .await
            .iter()
            .any(|bundle| bundle.trust_domain().as_str() == "acme.example")
    })
    .await;

    // Documents of either side verify under what the other side hands out, and under nothing else.
    let now = service::clock::unix_seconds(service::clock::now());
    let verify = |chain: &[_], bundle: &TrustBundle| {
        verify_peer(chain, bundle, Usage::Client, now)
            .map(|principal| principal.spiffe_id().to_string())
    };
    let foreign = foreign_chain(&second).await;
    let own = first.joined(API, &[]).await.document().chain().to_vec();
    let [at_first] = federated(&first).await.try_into().unwrap();
    let [at_second] = federated(&second).await.try_into().unwrap();
    assert_eq!(
        verify(&foreign, &at_first).unwrap(),
        format!("spiffe://{OTHER}/rome/api")
    );
    assert_eq!(verify(&own, &at_second).unwrap(), API);
    assert_eq!(verify(&foreign, &at_second), Err(VerifyError::TrustDomain));
    assert_eq!(verify(&own, &at_first), Err(VerifyError::TrustDomain));
    // Whoever holds the bundle hears that there are others.
    let answer = admin.client().get(BUNDLE_PATH).await;
    assert!(answer.header(FEDERATION_HEADER).is_some());

    // After a compromise over there its endpoint can prove nothing by what is known here: that is said, not ignored.
    second.operator.rotate_issuer(true).await.unwrap();
    first.clock.advance(Duration::from_secs(330));
    until("the endpoint is no longer believed", async || {
        let answer = admin.client().get(FEDERATIONS_PATH).await;
        let list: Result<FederationList, _> = serde_json::from_slice(&answer.body);
        list.is_ok_and(|list| list.federations[0].problem.is_some())
    })
    .await;
    // A new file brings it back, at the next start.
    save_bundle(&second, &theirs).await;
    let first = first.restart().await;
    until("the new file counts", async || {
        let bundles = federated(&first).await;
        bundles.len() == 1
            && bundles
                .iter()
                .all(|bundle| verify(&foreign, bundle).is_err())
    })
    .await;
}

/// The address that the second authority had, from the first one's configuration.
fn https_address(first: &Lab, of: &str) -> SocketAddr {
    let federation = first.config.federation.get(&domain(of)).unwrap();
    let endpoint = federation.endpoint();
    let host = endpoint.strip_prefix("https://").unwrap();
    host.split('/').next().unwrap().parse().unwrap()
}

/// A certificate of the web for `localhost`, and its CA, as PEM.
struct Web {
    ca: String,
    certificate: String,
    key: String,
}

fn web() -> Web {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Web {
        ca: ca.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_web_profile_trusts_the_webs_certificate_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        service::files::create_new(&path, text.as_bytes(), service::files::MODE_SECRET).unwrap();
        path
    };
    let (right, wrong) = (web(), web());
    let [certificate, key] = [
        write("web.crt", &right.certificate),
        write("web.key", &right.key),
    ];
    let roots = [write("ca.crt", &right.ca), write("wrong.crt", &wrong.ca)];
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let second = other(|config| {
        config.bundle_endpoint = Some(BundleEndpointConfig {
            address: ([127, 0, 0, 1], port).into(),
            certificate: certificate.into(),
            key: key.into(),
        });
    })
    .await;
    let federated_by = async |roots: &std::path::Path| {
        Lab::with(|config| {
            let federation = FederationConfig::HttpsWeb {
                endpoint: format!("https://localhost:{port}/"),
                web_roots: roots.to_path_buf().into(),
                bundle: None,
            };
            config.federation.insert(domain(OTHER), federation);
        })
        .await
    };
    let first = federated_by(&roots[0]).await;
    until("the bundle is fetched", async || {
        federated(&first).await.len() == 1
    })
    .await;
    let published = public(second.address, SPIFFE_BUNDLE_PATH).await;
    let published = SpiffeBundle::from_json(&domain(OTHER), &published).unwrap();
    let before = published.bundle.unwrap();
    assert_eq!(federated(&first).await, std::slice::from_ref(&before));
    // A CA that the other side revokes is gone here at the next refresh.
    second.operator.rotate_issuer(true).await.unwrap();
    first.clock.advance(Duration::from_secs(330));
    until("the revoked CA is gone", async || {
        let bundles = federated(&first).await;
        let gone = |bundle: &TrustBundle| {
            bundle.sequence() > before.sequence()
                && bundle.trust_anchors() != before.trust_anchors()
        };
        bundles.len() == 1 && bundles.iter().all(gone)
    })
    .await;

    let deceived = federated_by(&roots[1]).await;
    let admin = deceived.admin().await;
    until("the attempt fails and says why", async || {
        let answer = admin.client().get(FEDERATIONS_PATH).await;
        let list: FederationList = serde_json::from_slice(&answer.body).unwrap();
        list.federations[0].problem.is_some()
    })
    .await;
    assert!(federated(&deceived).await.is_empty());

    // The listener of the web has the bundle, and nothing else.
    let config = DangerousUnauthenticatedBundleFetch::new()
        .unwrap()
        .dangerous_client_config();
    let statuses = tokio::task::spawn_blocking(move || {
        let client =
            HttpClient::stranger(&format!("https://localhost:{port}"), config, "it").unwrap();
        ["/v1/join", "/v1/bundle", "/v1/admin/sites"].map(|path| {
            client
                .get_json::<serde_json::Value>(path)
                .unwrap_err()
                .to_string()
        })
    })
    .await
    .unwrap();
    for status in statuses {
        assert!(status.contains("404"), "{status}");
    }
}

#[test]
fn what_cannot_be_a_federation_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("administration.yaml"),
        crate::support::POLICY,
    )
    .unwrap();
    let refused = |name: &str, federation: serde_json::Value| {
        let mut config = Config::in_folder(domain("acme.example"), folder.path());
        let federation: FederationConfig = serde_json::from_value(federation).unwrap();
        config.federation.insert(domain(name), federation);
        config.validate().unwrap_err().to_string()
    };
    let spiffe = |endpoint: &str, id: &str| json!({"profile": "https_spiffe", "endpoint": endpoint, "endpoint_spiffe_id": id, "bundle": "b.json"});
    let good = "https://other.example/bundle";
    for (why, message) in [
        (
            "own",
            refused("acme.example", spiffe(good, "spiffe://acme.example/a")),
        ),
        (
            "endpoint_spiffe_id",
            refused(OTHER, spiffe(good, "spiffe://third.example/a")),
        ),
        (
            "endpoint_spiffe_id",
            refused(OTHER, spiffe(good, "spiffe://other.example")),
        ),
        (
            "endpoint",
            refused(
                OTHER,
                spiffe("http://other.example/", "spiffe://other.example/a"),
            ),
        ),
        (
            "endpoint",
            refused(
                OTHER,
                spiffe("https://me@other.example/", "spiffe://other.example/a"),
            ),
        ),
    ] {
        assert!(message.contains(why), "{message}");
    }
    for bad in [
        json!({"profile": "https_web"}),
        json!({"profile": "ftp", "endpoint": good}),
        json!({"profile": "https_web", "endpoint": good, "more": 1}),
        json!({"profile": "https_spiffe", "endpoint": good}),
    ] {
        assert!(
            serde_json::from_value::<FederationConfig>(bad.clone()).is_err(),
            "{bad}"
        );
    }
}
