//! Evidence of hosts, made by the sources and judged by the attestors that authorities use.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

use ::attest::{
    Attested, Attestor, ChallengeContext, Claim, Context, OpenedChallenge,
    tpm::{EndorsementKey, KeyKind, Registers, Tpm, TpmAddress, testing::Swtpm},
    x509::X509,
};
use ::identity::{Attributes, TrustDomain, wire::ChallengeResponse};
use base64ct::{Base64, Encoding};
use getrandom::{SysRng, rand_core::UnwrapErr};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

const KEY: [u8; 32] = [3; 32];

/// Everything between a source and an attestor; what the challenge was and what came of it.
fn attest(source: &dyn EvidenceSource, attestor: &dyn Attestor) -> Result<Attested, String> {
    let trust_domain = TrustDomain::parse("test.example").unwrap();
    let (site, authority) = (
        SiteName::parse("paris").unwrap(),
        trust_domain.identity_authority(),
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 60;
    let asking = ChallengeContext {
        now,
        csr_key_sha256: &KEY,
        site: &site,
        trust_domain: &trust_domain,
        audience: &authority,
    };
    let prover = source.prover().map_err(|error| error.to_string())?.unwrap();
    let made = attestor
        .challenge(&prover, &asking, &mut UnwrapErr(SysRng))
        .map_err(|error| error.to_string())?;
    let response = ChallengeResponse {
        challenge: "sealed".to_owned(),
        nonce: Base64::encode_string(&made.nonce),
        credential_blob: made.credential_blob.as_deref().map(Base64::encode_string),
        encrypted_secret: made.encrypted_secret.as_deref().map(Base64::encode_string),
    };
    let request = EvidenceRequest {
        csr_key_sha256: &KEY,
        site: &site,
        authority: &authority,
        challenge: Some(&response),
    };
    let evidence = source
        .evidence(&request)
        .map_err(|error| error.to_string())?;
    let opened = OpenedChallenge {
        nonce: made.nonce,
        state: made.state,
        expires_at: now + 60,
    };
    let context = Context {
        now,
        csr_key_sha256: &KEY,
        site: &site,
        trust_domain: &trust_domain,
        audience: &authority,
        challenge: Some(&opened),
        unix_peer: None,
        join_token: None,
    };
    attestor
        .verify(&evidence, &context)
        .map_err(|error| error.to_string())
}

fn facts(attested: Attested) -> Attributes {
    match attested.claim {
        Claim::Facts(facts) => facts,
        Claim::Named { .. } => panic!("hosts have facts"),
    }
}

#[test]
fn machine_proves_itself_again_and_again() {
    let tpm = Swtpm::start();
    let machine = TpmMachine::new(TpmAddress::Unix(tpm.socket()))
        .endorsement_key(KeyKind::P256)
        .registers(Registers::of(&[0, 7]).unwrap());
    let Some(Prover::Tpm {
        endorsement_key, ..
    }) = machine.prover().unwrap()
    else {
        panic!("a TPM's");
    };
    let key = EndorsementKey::parse(&Base64::decode_vec(&endorsement_key).unwrap()).unwrap();
    let attestor = Tpm::compile(0, &[], &[hex::encode(key.sha256())]).unwrap();
    // The first look was left open, without an answer; nothing keeps later ones from the TPM.
    for _ in 0..3 {
        let facts = facts(attest(&machine, &attestor).unwrap());
        assert_eq!(facts.text("ek_algorithm"), Some("p256"));
        assert!(facts.contains_key("pcr_sha256_7"));
    }
    let other = Tpm::compile(0, &[], &["0".repeat(64)]).unwrap();
    assert!(attest(&machine, &other).is_err());
    // The TPM is for others again, though no evidence was asked for.
    machine.expect(&KEY, true);
    // A certificate from a file, with another one above it: whatever they say, they are shown.
    let folder = tempfile::tempdir().unwrap();
    let (pem, _) = certificate("db1", folder.path());
    let shown = TpmMachine::new(TpmAddress::Unix(tpm.socket()))
        .endorsement_key(KeyKind::P256)
        .certificate_file(&pem)
        .intermediates_file(&pem);
    let Some(Prover::Tpm {
        endorsement_chain, ..
    }) = shown.prover().unwrap()
    else {
        panic!("a TPM's");
    };
    assert_eq!(endorsement_chain.len(), 2);
    drop(shown);
    let missing = TpmMachine::new(TpmAddress::Unix(tpm.socket()))
        .certificate_file(folder.path().join("none"));
    assert!(!missing.prover().unwrap_err().may_pass());
}

#[test]
fn machine_without_tpm_says_where_it_looked() {
    let machine = TpmMachine::new("/nonexistent/tpm0".parse().unwrap());
    let error = machine.prover().unwrap_err();
    assert!(!error.may_pass());
    assert!(error.to_string().contains("/nonexistent/tpm0"), "{error}");
}

/// A CA's certificate (PEM file) and a host's chain of it; its key beside it.
fn certificate(name: &str, folder: &Path) -> (std::path::PathBuf, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "a CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let anchor = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name.push(DnType::CommonName, name);
    let issued = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let (chain, key_file) = (folder.join("host.crt"), folder.join("host.key"));
    fs::write(&chain, issued.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    (chain, anchor)
}

#[test]
fn host_with_a_certificate_of_another_ca() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, anchor) = certificate("db1", folder.path());
    let key = folder.path().join("host.key");
    let holder = X509Certificate::new(&chain, &key);
    let attestor = X509::new(&[anchor]).unwrap();
    let found = facts(attest(&holder, &attestor).unwrap());
    assert_eq!(found.text("common_name"), Some("db1"));
    // Another one in its place: read anew, and told.
    let before = holder.generation();
    let (_, anchor) = certificate("db2", folder.path());
    assert_ne!(holder.generation(), before);
    assert!(attest(&holder, &attestor).is_err());
    let found = facts(attest(&holder, &X509::new(&[anchor]).unwrap()).unwrap());
    assert_eq!(found.text("common_name"), Some("db2"));
    // A key that everybody may read is none; one of another certificate may be replaced soon.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(!holder.prover().unwrap_err().may_pass());
    let stranger = folder.path().join("other.key");
    fs::write(&stranger, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    fs::set_permissions(&stranger, fs::Permissions::from_mode(0o600)).unwrap();
    let mixed = X509Certificate::new(&chain, &stranger);
    assert!(mixed.prover().unwrap_err().may_pass());
}

/// A metadata service that answers `answers` one after the other; what it was asked.
fn metadata(answers: Vec<(&'static str, String)>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let mut asked = Vec::new();
        for (head, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut request = String::new();
            while let Some(Ok(line)) = lines.next() {
                if line.is_empty() {
                    break;
                }
                request.push_str(&line);
                request.push('\n');
            }
            asked.push(request);
            let length = body.len();
            // Whoever had enough hangs up.
            drop(write!(
                stream,
                "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ));
            drop(stream.shutdown(std::net::Shutdown::Write));
            drop(stream.read(&mut [0; 16]));
        }
        asked
    });
    (url, asked)
}

fn ask_aws(url: &str) -> Result<Evidence, EvidenceError> {
    let authority = "spiffe://test.example/identity-authority".parse().unwrap();
    AwsInstance::at(url).evidence(&EvidenceRequest {
        csr_key_sha256: &KEY,
        site: &SiteName::parse("paris").unwrap(),
        authority: &authority,
        challenge: None,
    })
}

#[test]
fn instance_document_is_read_with_a_session_token() {
    let (url, asked) = metadata(vec![
        ("200 OK", "a-token".to_owned()),
        ("200 OK", "{\"instanceId\": \"i-1\"}\n".to_owned()),
        ("200 OK", "MIAG\nCSqG".to_owned()),
    ]);
    let Ok(Evidence::Aws {
        document,
        signature,
    }) = ask_aws(&url)
    else {
        panic!("an instance's");
    };
    assert_eq!(document, "{\"instanceId\": \"i-1\"}\n", "byte by byte");
    assert_eq!(signature, "MIAG\nCSqG");
    let asked = asked.join().unwrap();
    let lower: Vec<_> = asked.iter().map(|request| request.to_lowercase()).collect();
    assert!(
        lower[0].starts_with("put /latest/api/token http"),
        "{asked:?}"
    );
    assert!(lower[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 60"));
    let folder = "/latest/dynamic/instance-identity";
    assert!(lower[1].starts_with(&format!("get {folder}/document http")));
    assert!(lower[2].starts_with(&format!("get {folder}/rsa2048 http")));
    assert!(
        lower[1..]
            .iter()
            .all(|request| request.contains("x-aws-ec2-metadata-token: a-token"))
    );
}

#[test]
fn metadata_service_that_misbehaves_yields_nothing() {
    for answers in [
        vec![("404 Not Found", String::new())],
        vec![("302 Found\r\nLocation: http://127.0.0.1:1/", String::new())],
        vec![("200 OK", "x".repeat(5000))],
        vec![("200 OK", "t".to_owned()), ("200 OK", "x".repeat(9000))],
        vec![
            ("200 OK", "t".to_owned()),
            ("200 OK", "{}".to_owned()),
            ("403 Forbidden", String::new()),
        ],
    ] {
        let (url, asked) = metadata(answers);
        let error = ask_aws(&url).expect_err("refused");
        assert!(error.may_pass());
        assert!(error.to_string().contains(&url), "{error}");
        drop(asked.join().unwrap());
    }
}
