//! Hosts that prove themselves to a running authority through the SDK: by TPM, and by another CA's certificate.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::sync::Mutex;

use attest::tpm::KeyKind;
use attest::tpm::testing::{Maker, Swtpm};
use identity::verify::{Usage, verify_peer};
use identity::wire::{AttestRequest, Evidence, Prover};
use identity::{DocumentKey, SiteName, TrustDomain};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use wingman_sdk::identity::{
    Attestation, AuthorityContact, BundlePin, EvidenceError, EvidenceRequest, EvidenceSource,
    IdentityError, IdentitySource, TpmMachine, X509Certificate,
};

use crate::support::{DOMAIN, Lab, csr};

/// The authority as hosts know it before they have anything.
async fn attestation(lab: &Lab, source: impl EvidenceSource) -> Attestation {
    let authority = AuthorityContact {
        url: format!("https://{}", lab.address),
        spiffe_id: TrustDomain::parse(DOMAIN).unwrap().identity_authority(),
    };
    let bundle = lab.fetch_bundle(None).await.unwrap();
    let pin = BundlePin::Fingerprint(bundle.fingerprint());
    Attestation::new(authority, SiteName::parse("paris").unwrap(), pin, source)
}

/// Gets a document, verified under the authority's bundle: SPIFFE ID and the attribute `name`.
async fn document(
    lab: &Lab,
    source: impl EvidenceSource,
    name: &'static str,
) -> Result<(String, String), IdentityError> {
    let attestation = attestation(lab, source).await;
    tokio::task::spawn_blocking(move || {
        let source = IdentitySource::from_attestation(attestation);
        let identity = source.obtain()?;
        let document = identity.document();
        let principal = verify_peer(
            document.chain(),
            &identity.bundle(),
            Usage::Client,
            service::clock::unix_seconds(service::clock::now()),
        )
        .unwrap();
        assert_eq!(principal.spiffe_id(), document.spiffe_id());
        let value = principal.attributes().text(name).unwrap_or_default();
        Ok((principal.spiffe_id().to_string(), value.to_owned()))
    })
    .await
    .unwrap()
}

/// Evidence that was shown, for whoever listened.
#[derive(Debug)]
struct Overheard<S> {
    source: S,
    evidence: &'static Mutex<Option<(DocumentKey, Evidence)>>,
}

impl<S: EvidenceSource> EvidenceSource for Overheard<S> {
    fn prover(&self) -> Result<Option<Prover>, EvidenceError> {
        self.source.prover()
    }

    fn evidence(&self, request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError> {
        let evidence = self.source.evidence(request)?;
        let stolen = (
            DocumentKey::generate(&mut crate::support::rng()),
            evidence.clone(),
        );
        *self.evidence.lock().unwrap() = Some(stolen);
        Ok(evidence)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_with_a_tpm_gets_its_document_and_nobody_else_does() {
    let maker = Maker::new();
    let tpm = Swtpm::certified_by(&maker);
    let lab = Lab::new().await;
    lab.site(
        "paris",
        &json!({
            "attributes": {"secure-boot": []},
            "attestors": [{
                "type": "tpm",
                "anchors": [maker.issuer()],
                "mapping": {
                    "spiffe_id": "spiffe://acme.example/paris/machine/{ek_sha256}",
                    "attributes": {"secure-boot": "{pcr_sha256_7}"},
                },
            }],
        }),
    )
    .await;
    // A fresh certificate of `swtpm_localca` begins this very second.
    lab.clock.advance(std::time::Duration::from_secs(30));
    let ek = hex::encode(tpm.open(KeyKind::Rsa2048).endorsement_key().sha256());
    let heard: &'static Mutex<Option<(DocumentKey, Evidence)>> =
        Box::leak(Box::new(Mutex::new(None)));
    let machine = || TpmMachine::new(tpm.options(KeyKind::Rsa2048).address);
    let overheard = Overheard {
        source: machine(),
        evidence: heard,
    };
    let (spiffe_id, secure_boot) = document(&lab, overheard, "secure-boot").await.unwrap();
    assert_eq!(
        spiffe_id,
        format!("spiffe://acme.example/paris/machine/{ek}")
    );
    assert_eq!(secure_boot, "0".repeat(64), "nothing was booted");
    // Once more, as after a loss of the document.
    assert_eq!(
        document(&lab, machine(), "secure-boot").await.unwrap().0,
        spiffe_id
    );

    // Whoever overheard the evidence has nothing for a key of their own.
    let (key, evidence) = heard.lock().unwrap().take().unwrap();
    let request = AttestRequest {
        site: SiteName::parse("paris").unwrap(),
        csr: csr(&key),
        evidence,
    };
    let client = lab.anonymous().await;
    let answer = client
        .post_json(identity::wire::ATTEST_PATH, &request)
        .await;
    assert_eq!(
        answer.status,
        403,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );

    // A TPM of nobody's.
    let unknown = Swtpm::start();
    let stranger = TpmMachine::new(unknown.options(KeyKind::Rsa2048).address);
    let refused = document(&lab, stranger, "secure-boot").await;
    assert!(
        matches!(refused, Err(IdentityError::EvidenceRefused { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn host_with_a_certificate_of_another_ca_gets_its_document() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = certify("db1", folder.path());
    let lab = Lab::new().await;
    lab.site(
        "paris",
        &json!({
            "attributes": {"serial": []},
            "attestors": [{
                "type": "x509",
                "anchors": [anchor],
                "mapping": {
                    "spiffe_id": "spiffe://acme.example/paris/host/{common_name}",
                    "attributes": {"serial": "{serial}"},
                },
            }],
        }),
    )
    .await;
    let holder = || {
        X509Certificate::new(
            folder.path().join("host.crt"),
            folder.path().join("host.key"),
        )
    };
    let (spiffe_id, serial) = document(&lab, holder(), "serial").await.unwrap();
    assert_eq!(spiffe_id, "spiffe://acme.example/paris/host/db1");
    assert!(!serial.is_empty());
    // The same name by another CA.
    certify("db1", folder.path());
    let refused = document(&lab, holder(), "serial").await;
    assert!(
        matches!(refused, Err(IdentityError::EvidenceRefused { .. })),
        "{refused:?}"
    );
}

/// Writes a host's certificate and key of a new CA, whose certificate it gives back.
fn certify(name: &str, folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "a CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let anchor = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name.push(DnType::CommonName, name);
    let issued = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let key_file = folder.join("host.key");
    std::fs::write(folder.join("host.crt"), issued.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    anchor
}
