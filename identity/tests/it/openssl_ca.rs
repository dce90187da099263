//! OpenSSL as the CA above ours, and below it: requests, roots and chains go back and forth as files.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::fs;
use std::path::Path;

use identity::issue::{CaCertificate, IssueError, Issuer, IssuerKey, IssuerRequest, RootAuthority};
use identity::verify::{Usage, verify_peer};
use identity::{IdentityDocument, TrustBundle, TrustDomain};

use crate::openssl::{openssl, run, text};
use crate::support::{API, NOW, Realm, rng};

const DAY: u64 = 86_400;

fn domain() -> TrustDomain {
    TrustDomain::parse("acme.example").unwrap()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn our_request_says_what_it_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut rng = rng(1);
    let key = IssuerKey::generate(&mut rng);
    let pem = key.request_pem(&domain(), &mut rng).unwrap();
    fs::write(directory.path().join("issuer.csr"), pem).unwrap();
    let shown = run(directory.path(), "req -in issuer.csr -verify -noout -text");
    for expected in [
        "verify OK",
        "Subject: CN",
        "Blindfold issuing CA ",
        "ASN1 OID: prime256v1",
        "CA:TRUE, pathlen:0",
        "Certificate Sign",
        "URI:spiffe://acme.example",
    ] {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
}

#[test]
fn its_request_is_signed_by_our_root_and_read_by_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let root = RootAuthority::create(&domain(), NOW - DAY, NOW + 3650 * DAY, &mut rng(1)).unwrap();
    fs::write(path.join("root.pem"), root.certificate_pem()).unwrap();
    for (curve, digest) in [("P-256", "sha256"), ("P-384", "sha384")] {
        run(
            path,
            &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out key.pem"),
        );
        run(
            path,
            &format!(
                "req -new -{digest} -key key.pem -out issuer.csr -subj /CN=evil \
                 -addext subjectAltName=URI:spiffe://acme.example,DNS:evil.example \
                 -addext basicConstraints=critical,CA:TRUE,pathlen:9"
            ),
        );
        let request = IssuerRequest::from_pem(&read(path, "issuer.csr")).unwrap();
        let signed = root
            .sign_issuer(&request, NOW - 60, NOW + 90 * DAY, &mut rng(2))
            .unwrap();
        fs::write(path.join("issuer.pem"), signed.to_pem()).unwrap();
        run(
            path,
            &format!("verify -x509_strict -attime {NOW} -CAfile root.pem issuer.pem"),
        );
        let shown = run(path, "x509 -noout -text -in issuer.pem");
        assert!(
            shown.contains("CA:TRUE, pathlen:0") && !shown.contains("evil"),
            "{shown}"
        );
        // Its PKCS#8 key and our certificate make an issuing CA.
        let issuer = Issuer::from_pem(&signed.to_pem(), &read(path, "key.pem")).unwrap();
        let roots = [CaCertificate::root_from_pem(&root.certificate_pem()).unwrap()];
        issuer.verify_under(&roots, NOW, &mut rng(3)).unwrap();
    }
    run(path, "req -new -key key.pem -out none.csr -subj /CN=none");
    assert!(IssuerRequest::from_pem(&read(path, "none.csr")).is_err());
}

/// A company's own root, and a CA of its own between; both are OpenSSL's, and neither has a SPIFFE ID.
#[test]
fn its_root_signs_our_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    run(
        path,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha384 -noenc -days 3650 -keyout root.key -out root.pem \
         -subj /CN=Company -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign",
    );
    run(
        path,
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout between.key -out between.csr -subj /CN=Between",
    );
    fs::write(
        path.join("between.ext"),
        "basicConstraints=critical,CA:TRUE,pathlen:1\nkeyUsage=critical,keyCertSign\n",
    )
    .unwrap();
    fs::write(
        path.join("issuer.ext"),
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n\
         subjectAltName=URI:spiffe://acme.example\n",
    )
    .unwrap();
    run(
        path,
        "x509 -req -in between.csr -CA root.pem -CAkey root.key -sha384 -days 3000 -extfile between.ext -out between.pem",
    );
    let mut rng = rng(1);
    let key = IssuerKey::generate(&mut rng);
    let request = key.request_pem(&domain(), &mut rng).unwrap();
    fs::write(path.join("issuer.csr"), request).unwrap();
    run(
        path,
        "x509 -req -in issuer.csr -CA between.pem -CAkey between.key -sha256 -days 90 -extfile issuer.ext -out issuer.pem",
    );
    let root = CaCertificate::root_from_pem(&read(path, "root.pem")).unwrap();
    let roots = std::slice::from_ref(&root);
    let now = root.not_before() + DAY / 2;
    assert_eq!((root.trust_domain(), root.subject()), (None, "CN=Company"));
    let chain = read(path, "issuer.pem") + &read(path, "between.pem");
    let issuer = Issuer::from_pem(&chain, &key.expose_pem().unwrap()).unwrap();
    issuer.verify_under(roots, now, &mut rng).unwrap();
    // Without the CA between, nobody finds the root.
    let alone = Issuer::from_pem(&read(path, "issuer.pem"), &key.expose_pem().unwrap()).unwrap();
    let refused = alone.verify_under(roots, now, &mut rng);
    assert!(
        matches!(refused, Err(IssueError::Untrusted(_))),
        "{refused:?}"
    );

    let document_key = identity::DocumentKey::generate(&mut rng);
    let csr = identity::issue::Csr::parse(&document_key.csr_der(&mut rng).unwrap()).unwrap();
    let mut wanted = Realm::new(1).request(API);
    (wanted.not_before, wanted.not_after) = (now, now + 3600);
    let chain = issuer.issue(&csr, &wanted, &mut rng).unwrap();
    let document = IdentityDocument::new(chain, document_key).unwrap();
    let bundle = TrustBundle::new(domain(), 1, [root.certificate().clone()]).unwrap();
    verify_peer(document.chain(), &bundle, Usage::Client, now).unwrap();
    let leaf = identity::issue::chain_to_pem(&document.chain()[..1]);
    fs::write(path.join("leaf.pem"), leaf).unwrap();
    fs::write(path.join("chain.pem"), issuer.chain_pem()).unwrap();
    let verified = openssl(
        path,
        &format!(
            "verify -attime {now} -purpose sslclient -CAfile root.pem -untrusted chain.pem leaf.pem"
        ),
    );
    assert!(verified.status.success(), "{}", text(&verified));
}
