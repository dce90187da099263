//! Who is let in, and who is cut: revoked instances and issuers, and members of other trust domains.

use std::time::{Duration, Instant};

use identity::tls::{AcceptedDomains, Alpn, ClientAuth, ForeignAttributes, TlsIdentity};
use identity::{Attributes, TrustBundle, TrustDomain};
use sha2::{Digest, Sha256};

use crate::harness::{PATIENCE, Realm, Running, ends, get, limits, until};

const REVOKED: &str = r#"connections_closed_total{service="test",kind="revoked"}"#;

fn instance(name: &str) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert("instance", name).unwrap();
    attributes
}

fn following(bundle: &TrustBundle) -> TrustBundle {
    let anchors = bundle.trust_anchors().to_vec();
    TrustBundle::new(
        bundle.trust_domain().clone(),
        bundle.sequence() + 1,
        anchors,
    )
    .unwrap()
}

#[tokio::test]
async fn connections_of_a_revoked_instance_are_cut_and_others_are_not() {
    let server = Running::required().await;
    let connect = async |name: &str| {
        let document = server
            .realm
            .document("/paris/api", |request| request.attributes = instance(name));
        let identity = TlsIdentity::new(document, server.realm.bundle.clone()).unwrap();
        let stream = server.connect_as(&identity, Alpn::Http11).await.unwrap();
        (identity, stream)
    };
    let (revoked_identity, mut revoked) = connect("a").await;
    let (_, mut stays) = connect("b").await;
    for stream in [&mut revoked, &mut stays] {
        assert_eq!(get(stream, "/who").await.unwrap().status, 200);
    }
    let bundle = following(&server.realm.bundle)
        .with_revoked_instances([("a".to_owned(), None)])
        .unwrap();
    let since = Instant::now();
    server.identity.replace_bundle(bundle).unwrap();
    ends(&mut revoked).await;
    let took = since.elapsed();
    println!("from the new bundle to the cut connection: {took:?}");
    assert!(took < PATIENCE);
    until("the cut is counted", || {
        server.counted(&format!("{REVOKED} 1"))
    })
    .await;
    assert_eq!(get(&mut stays, "/who").await.unwrap().status, 200);
    // A new connection is refused as well; in TLS 1.3 the client hears of it with its first read.
    if let Ok(mut again) = server.connect_as(&revoked_identity, Alpn::Http11).await {
        assert!(get(&mut again, "/who").await.is_err());
    }
}

#[tokio::test]
async fn connections_under_a_revoked_issuer_are_cut() {
    let server = Running::required().await;
    let mut client = server.client("/paris/api").await;
    assert_eq!(get(&mut client, "/who").await.unwrap().status, 200);
    let issuer = |realm: &Realm| -> [u8; 32] {
        let document = realm.document("/paris/any", |_| ());
        Sha256::digest(&document.chain()[1]).into()
    };
    let own = following(&server.realm.bundle)
        .with_issuers([issuer(&server.realm)])
        .unwrap();
    let other = following(&own)
        .with_issuers([issuer(&Realm::acme())])
        .unwrap();
    server.identity.replace_bundle(own).unwrap();
    assert_eq!(get(&mut client, "/who").await.unwrap().status, 200);
    server.identity.replace_bundle(other).unwrap();
    ends(&mut client).await;
    until("the cut is counted", || {
        server.counted(&format!("{REVOKED} 1"))
    })
    .await;
}

#[tokio::test]
async fn members_of_other_trust_domains_come_only_where_they_are_accepted() {
    let foreign = Realm::new("other.example");
    let stranger = Realm::new("stranger.example");
    let domain = |name: &str| TrustDomain::parse(name).unwrap();
    let accepted = AcceptedDomains::own().and(domain("other.example"), ForeignAttributes::Ignored);
    let closed = Running::required().await;
    let open = Running::start_accepting(ClientAuth::Required, limits(), accepted).await;
    let bundles = || [foreign.bundle.clone(), stranger.bundle.clone()];
    for server in [&closed, &open] {
        server.identity.replace_federated(bundles()).unwrap();
    }
    let as_member = |realm: &Realm, server: &Running| {
        let identity = realm.identity("/rome/api");
        // The client expects the server of another trust domain by its name.
        let of_the_server = server.realm.bundle.clone();
        identity.replace_federated([of_the_server]).unwrap();
        identity
    };

    let mut client = open
        .connect_as(&as_member(&foreign, &open), Alpn::Http11)
        .await
        .unwrap();
    let answer = get(&mut client, "/who").await.unwrap();
    assert_eq!(answer.body, "spiffe://other.example/rome/api");
    for (realm, server) in [(&foreign, &closed), (&stranger, &open)] {
        let identity = as_member(realm, server);
        if let Ok(mut refused) = server.connect_as(&identity, Alpn::Http11).await {
            assert!(get(&mut refused, "/who").await.is_err());
        }
        until("the refusal is counted", || {
            server.counted(
                r#"handshake_failures_total{service="test",kind="certificate_of_other_trust_domain"} 1"#,
            )
        })
        .await;
    }

    // The end of the federation is the end of its connections.
    open.identity
        .replace_federated([stranger.bundle.clone()])
        .unwrap();
    ends(&mut client).await;
    tokio::time::timeout(Duration::from_secs(20), open.still_serves())
        .await
        .unwrap();
}
