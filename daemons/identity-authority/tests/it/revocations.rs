//! Revocations from the call to the cut connection, and the bundle as it is pushed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::{Router, routing};
use identity::bundle::SpiffeBundle;
use identity::tls::{Alpn, ClientAuth, TlsIdentity, client_config};
use identity::wire::{
    BUNDLE_PATH, REVOCATIONS_PATH, RevocationList, RevokeRequest, SPIFFE_BUNDLE_PATH,
};
use identity::{SiteName, TrustBundle, TrustDomain};
use rustls::pki_types::ServerName;
use serde_json::json;
use service::audit::AuditLog;
use service::authorize::Authorizer;
use service::listener::{Limits, Peer, Server};
use service::metrics::Metrics;
use service::shutdown::Shutdown;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wingman_sdk::identity::IdentitySource;

use crate::support::{API, DOMAIN, JSON, Lab, Workload, exchange};

const SERVICE: &str = "spiffe://acme.example/rome/service";
const PATIENCE: Duration = Duration::from_secs(20);

fn paris() -> SiteName {
    SiteName::parse("paris").unwrap()
}

fn instance_of(workload: &Workload) -> String {
    let document = workload.document();
    document.attributes().text("instance").unwrap().to_owned()
}

fn revoke_instance(site: &str, instance: &str) -> RevokeRequest {
    RevokeRequest::Instance {
        site: SiteName::parse(site).unwrap(),
        instance: instance.to_owned(),
        reason: "its disk was stolen".to_owned(),
    }
}

/// A service with the listener of all daemons, on `wingman-sdk`: another process than the authority in all but name.
struct Service {
    address: SocketAddr,
    shutdown: Shutdown,
    source: IdentitySource,
}

impl Service {
    async fn start(lab: &Lab) -> Self {
        let token = lab.token_for(SERVICE, &[]).await;
        let (source, tls) = tokio::task::spawn_blocking(move || {
            let source = IdentitySource::from_join_token(token);
            source.start_renewal().unwrap();
            let tls = source.obtain().unwrap();
            (source, tls)
        })
        .await
        .unwrap();
        let metrics = Metrics::new("service");
        let audit = AuditLog::open(&lab.path("service.jsonl"), "service", &metrics).unwrap();
        let router = Router::new().route("/who", routing::get(async |Peer(_): Peer| "you"));
        let server = Server::new(
            tls,
            ClientAuth::Required,
            router,
            Authorizer::new(audit, metrics),
            Limits::default(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { server.serve(listener, stop).await.unwrap() });
        Self {
            address,
            shutdown,
            source,
        }
    }

    /// A connection on which the service has answered.
    async fn connect(&self, identity: &Arc<TlsIdentity>) -> TlsStream<TcpStream> {
        let config = client_config(
            identity,
            SERVICE.parse::<identity::SpiffeId>().unwrap(),
            &[Alpn::Http11],
        )
        .unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::IpAddress(self.address.ip().into());
        let mut stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .unwrap();
        assert_eq!(self.ask(&mut stream).await, Some(200));
        stream
    }

    async fn ask(&self, stream: &mut TlsStream<TcpStream>) -> Option<u16> {
        let answer = exchange(stream, "GET /who HTTP/1.1\r\nhost: a\r\n", b"").await;
        answer.ok().map(|answer| answer.status)
    }

    /// Waits until the service holds the question open that the next change answers.
    async fn follows(&self, lab: &Lab) {
        // The first question after the join has no validator yet and is answered at once.
        let deadline = Instant::now() + PATIENCE;
        let current = TrustBundle::from_json(&lab.anonymous().await.get(BUNDLE_PATH).await.body);
        let current = current.unwrap().sequence();
        loop {
            let held = self.source.obtain().map(|tls| tls.bundle().sequence());
            if held.is_ok_and(|held| held == current) {
                // It pauses for at most half a second before it asks again.
                tokio::time::sleep(Duration::from_millis(700)).await;
                return;
            }
            assert!(Instant::now() < deadline, "the service does not follow");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

async fn ends(stream: &mut TlsStream<TcpStream>) {
    let mut bytes = [0; 64];
    let end = tokio::time::timeout(PATIENCE, async {
        loop {
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    });
    end.await
        .unwrap_or_else(|_| panic!("the connection was not cut"));
}

/// The whole way: call, store, bundle, push, SDK, listener, connection.
#[tokio::test(flavor = "multi_thread")]
async fn from_the_call_to_the_cut_connection() {
    let lab = Lab::new().await;
    lab.paris().await;
    lab.site("rome", &json!({})).await;
    lab.site("oslo", &json!({})).await;
    let service = Service::start(&lab).await;
    let bystander = lab.joined("spiffe://acme.example/rome/other", &[]).await;
    let mut stays = service.connect(&bystander.identity).await;
    let mut took = Vec::new();

    // By instance; another instance with the same name stays.
    let (revoked, twin) = (lab.joined(API, &[]).await, lab.joined(API, &[]).await);
    let mut cut = service.connect(&revoked.identity).await;
    let mut twins = service.connect(&twin.identity).await;
    service.follows(&lab).await;
    let start = Instant::now();
    let request = revoke_instance("paris", &instance_of(&revoked));
    lab.operator.revoke(request).await.unwrap();
    ends(&mut cut).await;
    took.push(("instance", start.elapsed()));
    assert_eq!(service.ask(&mut twins).await, Some(200));
    // The authority takes it no more, for a renewal either.
    let head = "POST /v1/renew HTTP/1.1\r\nhost: a\r\n";
    let again = revoked.client().try_send(head, b"{}").await;
    assert!(
        again.as_ref().map_or(true, |answer| answer.status == 401),
        "{again:?}"
    );

    // By site.
    service.follows(&lab).await;
    let start = Instant::now();
    lab.operator.disable_site(paris()).await.unwrap();
    ends(&mut twins).await;
    took.push(("site", start.elapsed()));
    assert_eq!(service.ask(&mut stays).await, Some(200));

    // By issuer: a forced rotation.
    service.follows(&lab).await;
    let start = Instant::now();
    lab.operator.rotate_issuer(true).await.unwrap();
    ends(&mut stays).await;
    took.push(("issuer", start.elapsed()));

    for (by, took) in &took {
        println!("revoked by {by}: connection at another service cut after {took:?}");
        assert!(*took < Duration::from_secs(10), "{by}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_are_bounded_checked_recorded_and_listed() {
    let lab = Lab::new().await;
    lab.paris().await;
    let admin = lab.admin().await;
    let workload = lab.joined(API, &[]).await;
    let post =
        async |request: &RevokeRequest| admin.client().post_json(REVOCATIONS_PATH, request).await;
    let instance = instance_of(&workload);

    // Only administrators.
    let request = revoke_instance("paris", &instance);
    workload
        .client()
        .post_json(REVOCATIONS_PATH, &request)
        .await
        .expect_error(403, "denied");
    lab.anonymous()
        .await
        .get(REVOCATIONS_PATH)
        .await
        .expect_error(401, "unauthenticated");

    for (bad, status, code) in [
        (revoke_instance("oslo", &instance), 404, "not_found"),
        (revoke_instance("paris", ""), 400, "bad_request"),
        (revoke_instance("paris", "a/b"), 400, "bad_request"),
        (
            revoke_instance("paris", &"a".repeat(65)),
            400,
            "bad_request",
        ),
        (
            RevokeRequest::Instance {
                site: paris(),
                instance: "a".to_owned(),
                reason: "two\nlines".to_owned(),
            },
            400,
            "bad_request",
        ),
        (
            RevokeRequest::Instance {
                site: paris(),
                instance: "a".to_owned(),
                reason: "x".repeat(257),
            },
            400,
            "bad_request",
        ),
        (
            RevokeRequest::Issuer {
                fingerprint: "ab".repeat(32),
                reason: String::new(),
            },
            404,
            "not_found",
        ),
    ] {
        post(&bad).await.expect_error(status, code);
    }
    // The issuing certificate that signs is replaced, not just revoked.
    let signing = lab
        .operator
        .issuers()
        .await
        .unwrap()
        .issuers
        .remove(0)
        .fingerprint;
    let request = RevokeRequest::Issuer {
        fingerprint: signing,
        reason: String::new(),
    };
    post(&request).await.expect_error(409, "conflict");

    let before = TrustBundle::from_json(&admin.client().get(BUNDLE_PATH).await.body).unwrap();
    let answer = post(&revoke_instance("paris", &instance)).await;
    assert_eq!(answer.status, 200);
    let list: RevocationList = serde_json::from_slice(&answer.body).unwrap();
    let again: RevocationList =
        serde_json::from_slice(&admin.client().get(REVOCATIONS_PATH).await.body).unwrap();
    assert_eq!(list, again);
    let [entry] = list.instances.as_slice() else {
        panic!("{list:?}")
    };
    assert_eq!(
        (entry.instance.as_str(), entry.before),
        (instance.as_str(), None)
    );
    assert_eq!(entry.reason, "its disk was stolen");
    let after = TrustBundle::from_json(&admin.client().get(BUNDLE_PATH).await.body).unwrap();
    assert!(after.sequence() > before.sequence());
    assert_eq!(after.revoked_instances().get(&instance), Some(&None));
    let recorded = lab.records().into_iter().find(|record| {
        record["action"] == "revoke" && record["context"]["bundle_sequence"].is_number()
    });
    assert!(recorded.is_some(), "{:?}", lab.records().last());
}

/// A question of somebody with a document is held until there is something else to say; a stranger's is not.
#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_is_pushed() {
    let lab = Lab::new().await;
    lab.paris().await;
    let workload = lab.joined(API, &[]).await;
    let etag = workload
        .client()
        .get(BUNDLE_PATH)
        .await
        .header("etag")
        .unwrap()
        .to_owned();
    let headers = |wait: u64| format!("if-none-match: {etag}\r\nprefer: wait={wait}\r\n");

    let start = Instant::now();
    let stranger = lab
        .anonymous()
        .await
        .send("GET", BUNDLE_PATH, &headers(10), b"")
        .await;
    assert_eq!(
        (stranger.status, stranger.header("preference-applied")),
        (304, None)
    );
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );

    let start = Instant::now();
    let unchanged = workload
        .client()
        .send("GET", BUNDLE_PATH, &headers(1), b"")
        .await;
    assert_eq!(
        (unchanged.status, unchanged.header("preference-applied")),
        (304, Some("wait=1"))
    );
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );

    let client = workload.client();
    let waiting = headers(20);
    let pushed = tokio::spawn(async move {
        let answer = client.send("GET", BUNDLE_PATH, &waiting, b"").await;
        (answer, Instant::now())
    });
    // However late it begins to wait, it hears of the change.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    lab.operator
        .revoke(revoke_instance("paris", "somebody"))
        .await
        .unwrap();
    let (answer, arrived) = pushed.await.unwrap();
    println!(
        "bundle pushed {:?} after the call began",
        arrived.saturating_duration_since(start)
    );
    assert_eq!(answer.status, 200);
    let bundle = TrustBundle::from_json(&answer.body).unwrap();
    assert!(bundle.revoked_instances().contains_key("somebody"));

    // Each instance has a few places; whoever finds none is answered at once.
    let etag = answer.header("etag").unwrap().to_owned();
    let held: Vec<_> = (0..6)
        .map(|_| {
            let (client, etag) = (workload.client(), etag.clone());
            tokio::spawn(async move {
                let headers = format!("if-none-match: {etag}\r\nprefer: wait=3\r\n");
                client.send("GET", BUNDLE_PATH, &headers, b"").await
            })
        })
        .collect();
    let mut waited = 0;
    for task in held {
        waited += usize::from(task.await.unwrap().header("preference-applied").is_some());
    }
    assert!((1..=4).contains(&waited), "{waited}");

    // The drain does not wait for those who only wait.
    let client = workload.client();
    tokio::spawn(async move {
        let headers = format!("if-none-match: {etag}\r\nprefer: wait=20\r\n");
        client
            .try_send(
                &format!("GET {BUNDLE_PATH} HTTP/1.1\r\nhost: a\r\n{headers}"),
                b"",
            )
            .await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    lab.stop().await;
    assert!(
        start.elapsed() < Duration::from_secs(12),
        "{:?}",
        start.elapsed()
    );
}

/// What other SPIFFE software fetches: the issuing CAs in force, and nothing of ours beside them.
#[tokio::test(flavor = "multi_thread")]
async fn the_spiffe_bundle_has_the_issuers_in_force() {
    let lab = Lab::new().await;
    lab.paris().await;
    let domain = TrustDomain::parse(DOMAIN).unwrap();
    let client = lab.anonymous().await;
    let fetch = async || {
        let answer = client.get(SPIFFE_BUNDLE_PATH).await;
        assert_eq!(answer.status, 200);
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 3);
        let read = SpiffeBundle::from_json(&domain, &answer.body).unwrap();
        (
            read.bundle.unwrap(),
            answer.header("etag").unwrap().to_owned(),
        )
    };
    let (before, etag) = fetch().await;
    assert_eq!(
        (before.trust_anchors().len(), before.refresh_hint_seconds()),
        (1, 20)
    );
    let workload = lab.joined(API, &[]).await;
    let chain = workload.document().chain().to_vec();
    let now = service::clock::unix_seconds(service::clock::now());
    let verify = |bundle: &TrustBundle| {
        identity::verify::verify_peer(&chain, bundle, identity::verify::Usage::Client, now)
    };
    assert_eq!(verify(&before).unwrap().spiffe_id().as_str(), API);
    let same = client
        .send(
            "GET",
            SPIFFE_BUNDLE_PATH,
            &format!("if-none-match: {etag}\r\n"),
            b"",
        )
        .await;
    assert_eq!(same.status, 304);

    // After a compromise the former issuer is not among them, and whoever follows refuses its documents.
    lab.operator.rotate_issuer(true).await.unwrap();
    let client = lab.anonymous().await;
    let answer = client.get(SPIFFE_BUNDLE_PATH).await;
    let after = SpiffeBundle::from_json(&domain, &answer.body)
        .unwrap()
        .bundle
        .unwrap();
    assert!(after.sequence() > before.sequence());
    assert_ne!(after.trust_anchors(), before.trust_anchors());
    assert!(verify(&after).is_err());
    // JSON of a request is refused as everywhere.
    let bad = lab
        .admin()
        .await
        .client()
        .send("POST", REVOCATIONS_PATH, JSON, b"{")
        .await;
    bad.expect_error(400, "bad_request");
}
