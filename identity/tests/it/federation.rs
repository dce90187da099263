//! Members of other trust domains: those of ours, and those that other SPIFFE software issues.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding};
use identity::bundle::SpiffeBundle;
use identity::mtls::Authorizer;
use identity::policy::{Facts, Policy, Query};
use identity::tls::{
    AcceptedDomains, Alpn, ClientAuth, ForeignAttributes, TlsError, TlsIdentity, client_config,
    server_config_accepting,
};
use identity::verify::{Usage, VerifyError, verify_peer};
use identity::{TrustBundle, TrustDomain};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::openssl::run;
use crate::support::{API, Connected, NOW, Realm, UNSEALER, connect, id};

fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

/// The CA and the document of another SPIFFE implementation, as SPIRE makes them, for the trust domain
/// `spire.example`.
fn spire_like(directory: &Path) -> (Vec<CertificateDer<'static>>, String) {
    fs::write(
        directory.join("profile.cnf"),
        "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
         subjectKeyIdentifier=hash\nsubjectAltName=URI:spiffe://spire.example\n\
         [svid]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment,keyAgreement\n\
         extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n\
         subjectAltName=URI:spiffe://spire.example/ns/shop/sa/web\n",
    )
    .unwrap();
    for name in ["ca", "leaf"] {
        run(
            directory,
            &format!("ecparam -name prime256v1 -genkey -noout -out {name}.key"),
        );
    }
    run(
        directory,
        "req -x509 -new -key ca.key -sha256 -days 1 -subj /C=US/O=SPIFFE -config profile.cnf -extensions ca -out ca.pem",
    );
    run(
        directory,
        "req -new -key leaf.key -subj /C=US/O=SPIRE -out leaf.csr",
    );
    run(
        directory,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -sha256 -days 1 -extfile profile.cnf -extensions svid \
         -CAcreateserial -out leaf.pem",
    );
    let [leaf, ca] = ["leaf.pem", "ca.pem"]
        .map(|name| CertificateDer::from_pem_file(directory.join(name)).unwrap());
    // Beside the key for documents one for tokens, as SPIRE publishes them.
    let jwks = serde_json::json!({
        "keys": [
            {"use": "x509-svid", "kty": "EC", "crv": "P-256", "x": "", "y": "", "x5c": [Base64::encode_string(&ca)]},
            {"use": "jwt-svid", "kty": "EC", "kid": "C6vs25welZOx6WksNYfbMfiw9l96pMnD", "crv": "P-256", "x": "", "y": ""},
        ],
        "spiffe_sequence": 12,
        "spiffe_refresh_hint": 2419,
    });
    (vec![leaf], jwks.to_string())
}

#[test]
fn documents_of_other_software_are_verified() {
    let directory = tempfile::tempdir().unwrap();
    let (chain, jwks) = spire_like(directory.path());
    let read = SpiffeBundle::from_json(&domain("spire.example"), jwks.as_bytes()).unwrap();
    let bundle = read.bundle.unwrap();
    assert_eq!(
        (bundle.sequence(), read.refresh_hint_seconds),
        (12, Some(2419))
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for usage in [Usage::Client, Usage::Server] {
        let principal = verify_peer(&chain, &bundle, usage, now).unwrap();
        assert_eq!(
            principal.spiffe_id().as_str(),
            "spiffe://spire.example/ns/shop/sa/web"
        );
        assert!(principal.attributes().is_empty());
    }
    // As the bundle of another trust domain the same keys are worth nothing.
    let elsewhere = SpiffeBundle::from_json(&domain("elsewhere.example"), jwks.as_bytes()).unwrap();
    assert_eq!((elsewhere.bundle, elsewhere.skipped), (None, 1));
}

struct Ends {
    ours: Realm,
    theirs: Realm,
    api: std::sync::Arc<TlsIdentity>,
    unsealer: std::sync::Arc<TlsIdentity>,
}

const FOREIGN: &str = "spiffe://other.example/paris/api";

/// A client of `other.example` and the unsealer of ours, who know each other's bundle.
fn ends() -> Ends {
    let (ours, theirs) = (Realm::new(1), Realm::of("other.example", 2));
    let (api, unsealer) = (theirs.identity(FOREIGN, 3), ours.identity(UNSEALER, 4));
    api.replace_federated([ours.bundle.clone()]).unwrap();
    unsealer.replace_federated([theirs.bundle.clone()]).unwrap();
    Ends {
        ours,
        theirs,
        api,
        unsealer,
    }
}

fn handshake(ends: &Ends, accepted: &AcceptedDomains) -> Option<Connected> {
    let client = client_config(&ends.api, id(UNSEALER), &[Alpn::Http11]).unwrap();
    let server =
        server_config_accepting(&ends.unsealer, ClientAuth::Required, accepted.clone()).unwrap();
    connect(&client, &server).ok()
}

#[test]
fn foreign_members_come_where_their_domain_is_named() {
    let ends = ends();
    let named = |attributes| AcceptedDomains::own().and(domain("other.example"), attributes);
    assert!(handshake(&ends, &AcceptedDomains::own()).is_none());
    let third = AcceptedDomains::own().and(domain("third.example"), ForeignAttributes::Believed);
    assert!(handshake(&ends, &third).is_none());

    let accepted = named(ForeignAttributes::Ignored);
    let connected = handshake(&ends, &accepted).unwrap();
    let seen = |accepted| {
        ends.unsealer
            .peer_principal_of(&connected.server, Usage::Client, accepted)
    };
    let principal = seen(&accepted).unwrap().unwrap();
    assert_eq!(principal.spiffe_id().as_str(), FOREIGN);
    // What another trust domain says of its members counts only where that is wanted; what it does not say neither.
    assert!(principal.attributes().is_empty());
    for selector in [
        "environment=test",
        "environment",
        "!quarantined",
        "environment!=laptop",
        "environment notin (laptop, test)",
    ] {
        let within = |id: &str| Authorizer::within(identity::SpiffeId::parse(id).unwrap());
        let authorizer =
            within("spiffe://other.example").with_attributes(selector.parse().unwrap());
        assert!(authorizer.check(&principal, NOW).is_err(), "{selector}");
        let allow =
            format!("{{v: 1, rules: [{{effect: allow, principal: {{selector: '{selector}'}}}}]}}");
        let deny = format!(
            "{{v: 1, rules: [{{effect: allow}}, {{effect: deny, principal: {{selector: '{selector}'}}}}]}}"
        );
        for policy in [allow, deny] {
            let policy = Policy::from_yaml(&policy).unwrap();
            let query = Query {
                facts: Facts::from(&principal),
                action: "connect",
                resource: "db",
                now: NOW,
            };
            assert!(!policy.decide(&query).is_allow(), "{selector}");
        }
    }
    let believed = seen(&named(ForeignAttributes::Believed)).unwrap().unwrap();
    assert_eq!(believed.attributes().text("environment"), Some("test"));
    // Whoever asks without naming it gets nobody.
    assert_eq!(
        ends.unsealer
            .peer_principal(&connected.server, Usage::Client),
        Err(VerifyError::TrustDomain)
    );

    // Open connections end with the federation, or with the CA.
    assert_eq!(ends.unsealer.recheck(&principal), Ok(()));
    let generation = ends.unsealer.generation();
    let other_root = Realm::of("other.example", 9).bundle;
    ends.unsealer.replace_federated([other_root]).unwrap();
    assert_eq!(
        ends.unsealer.recheck(&principal),
        Err(VerifyError::AnchorRemoved)
    );
    ends.unsealer.replace_federated([]).unwrap();
    assert_eq!(
        ends.unsealer.recheck(&principal),
        Err(VerifyError::TrustDomain)
    );
    assert_eq!(ends.unsealer.generation(), generation + 2);
    assert!(handshake(&ends, &accepted).is_none());
}

/// A CA of one trust domain makes no member of another, however the chains and bundles are mixed.
#[test]
fn no_domain_vouches_for_another() {
    let ends = ends();
    let both = AcceptedDomains::own().and(domain("other.example"), ForeignAttributes::Believed);
    // Somebody else's root for our domain, with a document under it.
    let impostor = Realm::of("acme.example", 2);
    let document = impostor.document(API, 5);
    let theirs_for_ours = impostor.bundle.clone();
    // Nobody makes such a bundle but the domain itself: as a federated one it is refused.
    let own = ends.unsealer.replace_federated([theirs_for_ours]);
    assert_eq!(own, Err(TlsError::OwnTrustDomain));
    for bundle in [&ends.ours.bundle, &ends.theirs.bundle] {
        assert!(verify_peer(document.chain(), bundle, Usage::Client, NOW).is_err());
    }
    assert!(handshake(&ends, &both).is_some());
}

#[test]
fn a_client_expects_a_foreign_server_by_name() {
    let ends = ends();
    assert_eq!(
        Authorizer::from(id(UNSEALER)).accepted_domains(),
        AcceptedDomains::of(&id(UNSEALER))
    );
    let everybody = Authorizer::matching("spiffe://other.example/**").unwrap();
    assert_eq!(everybody.accepted_domains(), AcceptedDomains::own());
    let accepted = AcceptedDomains::of(&id(FOREIGN));
    let connected = handshake(&ends, &accepted).unwrap();
    let server = ends
        .api
        .peer_principal_of(
            &connected.client,
            Usage::Server,
            &AcceptedDomains::of(&id(UNSEALER)),
        )
        .unwrap()
        .unwrap();
    assert_eq!(server.spiffe_id().as_str(), UNSEALER);
}

#[test]
fn federated_bundles_never_go_back() {
    let ends = ends();
    let at = |sequence| {
        let anchors = ends.theirs.bundle.trust_anchors().to_vec();
        TrustBundle::new(domain("other.example"), sequence, anchors).unwrap()
    };
    let sequence = || ends.unsealer.federated().first().unwrap().sequence();
    ends.unsealer.replace_federated([at(7)]).unwrap();
    ends.unsealer.replace_federated([at(6)]).unwrap();
    assert_eq!(sequence(), 7);
    // A publisher that does not count is taken as it comes.
    ends.unsealer.replace_federated([at(0)]).unwrap();
    assert_eq!(sequence(), 0);
    let many = (0..65).map(|index| Realm::of(&format!("d{index}.example"), 7).bundle);
    assert_eq!(
        ends.unsealer.replace_federated(many),
        Err(TlsError::TooManyFederations)
    );
    assert_eq!(ends.unsealer.federated().len(), 1);
}
