//! Certificates of other CAs, and possession of their keys.

use attest::x509::{Prover, ProverError, X509, X509Error};
use attest::{
    AttestError, Attested, Attestor, Challenge, ChallengeContext, Claim, OpenedChallenge,
};
use base64ct::{Base64, Encoding};
use identity::limits::MAX_CLOCK_SKEW_SECONDS;
use identity::wire::{ChallengeResponse, Evidence, Prover as WireProver};
use identity::{SiteName, SpiffeId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    RsaKeySize, SanType, date_time_ymd,
};
use sha2::{Digest, Sha256};

use crate::support::{CSR_KEY, NOW, Place, openssl, rng};

/// A CA of somebody else's.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new(name: &str) -> Self {
        Self::until(name, 14 * 365 * 86_400)
    }

    /// Ends `seconds` after [`NOW`].
    fn until(name: &str, seconds: u64) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2026, 1, 1) + std::time::Duration::from_secs(seconds);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn issue(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = leaf();
        change(&mut params);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
}

/// What a host's certificate looks like.
fn leaf() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["db1.paris.example".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "db1");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Acme, Inc.");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.serial_number = Some(vec![0x0a, 0xbc].into());
    params.not_before = date_time_ymd(2025, 12, 1);
    // Three hours after now.
    params.not_after = date_time_ymd(2026, 1, 1) + std::time::Duration::from_secs(3 * 3600);
    params
}

fn keys() -> [(&'static str, KeyPair); 4] {
    [
        (
            "p256",
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        ),
        (
            "p384",
            KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        ),
        ("ed25519", KeyPair::generate_for(&PKCS_ED25519).unwrap()),
        (
            "rsa",
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
        ),
    ]
}

/// Both halves of a challenge.
fn challenge(attestor: &X509, place: &Place, seed: u64) -> (ChallengeResponse, OpenedChallenge) {
    let context = ChallengeContext {
        now: NOW,
        csr_key_sha256: &CSR_KEY,
        site: &place.site,
        trust_domain: &place.domain,
        audience: &place.authority,
    };
    let Challenge { nonce, state, .. } = attestor
        .challenge(&WireProver::X509 {}, &context, &mut rng(seed))
        .unwrap();
    let response = ChallengeResponse {
        challenge: "sealed".to_owned(),
        nonce: Base64::encode_string(&nonce),
        credential_blob: None,
        encrypted_secret: None,
    };
    let opened = OpenedChallenge {
        nonce,
        state,
        expires_at: NOW + 120,
    };
    (response, opened)
}

fn answer(place: &Place, prover: &Prover, response: &ChallengeResponse) -> Evidence {
    prover
        .evidence(response, &CSR_KEY, &place.site, &place.authority)
        .unwrap()
}

/// Shows a chain with a good proof.
fn show(ca_pem: &str, chain: &str, key: &KeyPair) -> Result<Attested, AttestError> {
    let place = Place::new();
    let attestor = X509::new(&[ca_pem.to_owned()]).unwrap();
    let (response, opened) = challenge(&attestor, &place, 1);
    let prover = Prover::from_pem(chain, &key.serialize_pem()).unwrap();
    let evidence = answer(&place, &prover, &response);
    attestor.verify(&evidence, &place.answering(&opened))
}

fn path_error(result: &Result<Attested, AttestError>) -> bool {
    matches!(result, Err(AttestError::X509(X509Error::Path(_))))
}

#[test]
fn every_kind_of_key_proves_possession() {
    let ca = Ca::new("Acme Hosts");
    for (kind, key) in keys() {
        let pem = ca.issue(&key, |_| {});
        let attested = show(&ca.pem, &pem, &key).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let der = der::pem::decode_vec(pem.as_bytes()).unwrap().1;
        let fingerprint = hex::encode(Sha256::digest(&der));
        assert_eq!(attested.subject.as_deref(), Some(fingerprint.as_str()));
        assert_eq!(attested.lifetime, Some(3 * 3600), "{kind}");
        assert_eq!(
            attested.single_use.unwrap().expires_at,
            NOW + 120 + 2 * MAX_CLOCK_SKEW_SECONDS
        );
        let Claim::Facts(facts) = attested.claim else {
            panic!("facts");
        };
        for (name, value) in [
            ("common_name", "db1"),
            ("dns_san", "db1.paris.example"),
            ("dns_sans", "db1.paris.example"),
            ("subject", r"O=Acme\, Inc.,CN=db1"),
            ("issuer", "CN=Acme Hosts"),
            ("serial", "0abc"),
            ("certificate_sha256", &fingerprint),
        ] {
            assert_eq!(facts.text(name), Some(value), "{kind}: {name}");
        }
        assert_eq!(facts.len(), X509::FACTS.len());
    }
}

#[test]
fn openssl_makes_certificates_and_proofs_that_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| openssl(folder.path(), arguments);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    for (algorithm, option) in [
        ("RSA", "rsa_keygen_bits:3072"),
        ("EC", "ec_paramgen_curve:P-256"),
        ("EC", "ec_paramgen_curve:P-384"),
    ] {
        run(&[
            "genpkey",
            "-algorithm",
            algorithm,
            "-pkeyopt",
            option,
            "-out",
            "ca.key",
        ]);
        run(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "ca.key",
            "-subj",
            "/CN=Other CA",
            "-days",
            "30000",
            "-out",
            "ca.crt",
        ]);
        run(&[
            "genpkey",
            "-algorithm",
            algorithm,
            "-pkeyopt",
            option,
            "-out",
            "leaf.key",
        ]);
        run(&[
            "req",
            "-new",
            "-key",
            "leaf.key",
            "-subj",
            "/O=Acme/CN=host-7",
            "-out",
            "leaf.csr",
        ]);
        std::fs::write(
            folder.path().join("ext"),
            "subjectAltName=DNS:host-7.example,DNS:alias.example\nkeyUsage=digitalSignature\n",
        )
        .unwrap();
        run(&[
            "x509", "-req", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days",
            "20000", "-extfile", "ext", "-out", "leaf.crt",
        ]);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let place = Place::new();
        let attestor = X509::new(&[read("ca.crt")]).unwrap();
        let (response, mut opened) = challenge(&attestor, &place, 1);
        opened.expires_at = now + 120;
        let prover = Prover::from_pem(&read("leaf.crt"), &read("leaf.key")).unwrap();
        let mut context = place.answering(&opened);
        context.now = now;
        let attested = attestor
            .verify(&answer(&place, &prover, &response), &context)
            .unwrap();
        let Claim::Facts(facts) = attested.claim else {
            panic!("facts");
        };
        assert_eq!(facts.text("common_name"), Some("host-7"));
        assert_eq!(facts.text("dns_san"), None, "two names are none");
        assert_eq!(facts.text("dns_sans"), Some("host-7.example,alias.example"));
        // The signature is what OpenSSL says it is.
        if algorithm == "RSA" {
            let Evidence::X509 { signature, .. } = answer(&place, &prover, &response) else {
                panic!("x509");
            };
            let mut hash = Sha256::new_with_prefix(opened.nonce);
            hash.update(CSR_KEY);
            for text in ["paris", "spiffe://acme.example/identity-authority"] {
                hash.update(u32::try_from(text.len()).unwrap().to_be_bytes());
                hash.update(text);
            }
            let mut message = vec![b' '; 64];
            message.extend_from_slice(b"blindfold attest x509 proof of possession v1\0");
            message.extend_from_slice(&hash.finalize());
            std::fs::write(folder.path().join("message"), message).unwrap();
            std::fs::write(
                folder.path().join("signature"),
                Base64::decode_vec(&signature).unwrap(),
            )
            .unwrap();
            let public = run(&["x509", "-in", "leaf.crt", "-noout", "-pubkey"]);
            std::fs::write(folder.path().join("public.pem"), public).unwrap();
            run(&[
                "dgst",
                "-sha256",
                "-verify",
                "public.pem",
                "-sigopt",
                "rsa_padding_mode:pss",
                "-sigopt",
                "rsa_pss_saltlen:32",
                "-signature",
                "signature",
                "message",
            ]);
        }
    }
}

#[test]
fn certificates_that_are_not_for_this_are_refused() {
    let ca = Ca::new("Acme Hosts");
    let other = Ca::new("Acme Hosts");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    assert!(show(&ca.pem, &ca.issue(&key, |_| {}), &key).is_ok());
    let shown = |change: fn(&mut CertificateParams)| show(&ca.pem, &ca.issue(&key, change), &key);
    // Another CA of the same name.
    assert!(path_error(&show(&other.pem, &ca.issue(&key, |_| {}), &key)));
    assert!(path_error(&shown(
        |leaf| leaf.not_after = date_time_ymd(2025, 12, 31)
    )));
    assert!(path_error(&shown(
        |leaf| leaf.not_before = date_time_ymd(2026, 1, 2)
    )));
    assert!(path_error(&shown(
        |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]
    )));
    assert!(path_error(&shown(|leaf| {
        leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    })));
    // Its own CA: signed by itself.
    let alone = leaf().self_signed(&key).unwrap().pem();
    assert!(path_error(&show(&ca.pem, &alone, &key)));
    for usage in [
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyAgreement,
    ] {
        let pem = ca.issue(&key, |leaf| leaf.key_usages = vec![usage]);
        assert_eq!(
            show(&ca.pem, &pem, &key),
            Err(AttestError::X509(X509Error::KeyUsage))
        );
    }
    // Without any usage it is for all of them.
    assert!(
        shown(|leaf| {
            leaf.key_usages.clear();
            leaf.extended_key_usages.clear();
        })
        .is_ok()
    );
    assert!(
        shown(|leaf| leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::CodeSigning,
            ExtendedKeyUsagePurpose::ClientAuth
        ])
        .is_ok()
    );
    // Names with what no name has.
    for name in ["a,b.example", "a b", "a/b", ""] {
        let san = SanType::DnsName(name.to_owned().try_into().unwrap());
        let pem = ca.issue(&key, |leaf| leaf.subject_alt_names = vec![san]);
        assert_eq!(
            show(&ca.pem, &pem, &key),
            Err(AttestError::X509(X509Error::DnsName)),
            "{name:?}"
        );
    }
    let many = (0..33).map(|i| SanType::DnsName(format!("h{i}.example").try_into().unwrap()));
    let pem = ca.issue(&key, |leaf| leaf.subject_alt_names = many.collect());
    assert_eq!(
        show(&ca.pem, &pem, &key),
        Err(AttestError::X509(X509Error::DnsName))
    );
    let pem = ca.issue(&key, |leaf| {
        leaf.distinguished_name
            .push(DnType::CommonName, "line\nbreak")
    });
    assert!(matches!(
        show(&ca.pem, &pem, &key),
        Err(AttestError::X509(X509Error::Facts(_)))
    ));
}

#[test]
fn short_rsa_keys_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| openssl(folder.path(), arguments);
    run(&[
        "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", "key", "-subj", "/CN=x",
        "-days", "9", "-out", "crt",
    ]);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(matches!(
        Prover::from_pem(&read("crt"), &read("key")).unwrap_err(),
        ProverError::PrivateKey | ProverError::OtherKey
    ));
}

#[test]
fn intermediate_bounds_the_lifetime_too() {
    let ca = Ca::new("Root");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let between = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Between");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2026, 1, 1) + std::time::Duration::from_secs(600);
    let intermediate = params.signed_by(&between, &ca.issuer).unwrap().pem();
    let issuer = Issuer::new(params, between);
    let leaf = leaf().signed_by(&key, &issuer).unwrap().pem();
    let chain = format!("{leaf}{intermediate}");
    assert_eq!(show(&ca.pem, &chain, &key).unwrap().lifetime, Some(600));
    assert!(path_error(&show(&ca.pem, &leaf, &key)));
    // A leaf that signs another leaf.
    let host = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let host_pem = ca.issue(&host, |_| {});
    let below = Issuer::new(self::leaf(), host);
    let forged = self::leaf().signed_by(&key, &below).unwrap().pem();
    assert!(path_error(&show(
        &ca.pem,
        &format!("{forged}{host_pem}"),
        &key
    )));
}

#[test]
fn anchors_are_cas_within_their_dates() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let ending = Ca::until("Ending", 90);
    let attested = show(&ending.pem, &ending.issue(&key, |_| {}), &key).unwrap();
    assert_eq!(attested.lifetime, Some(90));
    // A second after its end, at which the leaf is valid.
    let place = Place::new();
    let attestor = X509::new(std::slice::from_ref(&ending.pem)).unwrap();
    let (response, opened) = challenge(&attestor, &place, 1);
    let leaf = ending.issue(&key, |_| {});
    let prover = Prover::from_pem(&leaf, &key.serialize_pem()).unwrap();
    let evidence = answer(&place, &prover, &response);
    let mut context = place.answering(&opened);
    for (after, good) in [(90, true), (91, false)] {
        context.now = NOW + after;
        let result = attestor.verify(&evidence, &context);
        assert_eq!(result.is_ok(), good, "{result:?}");
        assert_eq!(path_error(&result), !good);
    }
    // A host's own certificate: its key could make any other.
    let host = ending.issue(&key, |_| {});
    let refused = X509::new(&[host]).unwrap_err();
    assert!(refused.ends_with("certificate is not a CA's"), "{refused}");
}

#[test]
fn proof_is_good_for_one_challenge_key_site_and_authority() {
    let place = Place::new();
    let ca = Ca::new("Acme Hosts");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let prover = Prover::from_pem(&ca.issue(&key, |_| {}), &key.serialize_pem()).unwrap();
    let attestor = X509::new(std::slice::from_ref(&ca.pem)).unwrap();
    let (response, opened) = challenge(&attestor, &place, 1);
    let evidence = answer(&place, &prover, &response);
    let wrong = || Err(AttestError::X509(X509Error::Signature));
    assert!(
        attestor
            .verify(&evidence, &place.answering(&opened))
            .is_ok()
    );
    let (_, another) = challenge(&attestor, &place, 2);
    assert_ne!(opened.nonce, another.nonce);
    assert_eq!(
        attestor.verify(&evidence, &place.answering(&another)),
        wrong()
    );
    let mut context = place.answering(&opened);
    context.csr_key_sha256 = &[1; 32];
    assert_eq!(attestor.verify(&evidence, &context), wrong());
    let lyon = SiteName::parse("lyon").unwrap();
    let mut context = place.answering(&opened);
    context.site = &lyon;
    assert_eq!(attestor.verify(&evidence, &context), wrong());
    let authority = SpiffeId::parse("spiffe://acme.example/identity-authority-2").unwrap();
    let mut context = place.answering(&opened);
    context.audience = &authority;
    assert_eq!(attestor.verify(&evidence, &context), wrong());
    let mut context = place.answering(&opened);
    context.now = opened.expires_at;
    assert_eq!(
        attestor.verify(&evidence, &context),
        Err(AttestError::X509(X509Error::Expired))
    );
    assert_eq!(
        attestor.verify(&evidence, &place.context()),
        Err(AttestError::ChallengeMissing)
    );
    assert_eq!(
        attestor.verify(&Evidence::Unix {}, &place.answering(&opened)),
        Err(AttestError::OtherKind("x509"))
    );
}

#[test]
fn every_flipped_bit_is_refused() {
    let place = Place::new();
    let ca = Ca::new("Acme Hosts");
    for (kind, key) in keys() {
        let prover = Prover::from_pem(&ca.issue(&key, |_| {}), &key.serialize_pem()).unwrap();
        let attestor = X509::new(std::slice::from_ref(&ca.pem)).unwrap();
        let (response, opened) = challenge(&attestor, &place, 1);
        let Evidence::X509 {
            chain,
            challenge,
            signature,
        } = answer(&place, &prover, &response)
        else {
            panic!("x509");
        };
        let verify = |leaf: &[u8], signature: &[u8]| {
            let evidence = Evidence::X509 {
                chain: vec![Base64::encode_string(leaf)],
                challenge: challenge.clone(),
                signature: Base64::encode_string(signature),
            };
            attestor.verify(&evidence, &place.answering(&opened))
        };
        let leaf = Base64::decode_vec(&chain[0]).unwrap();
        let signature = Base64::decode_vec(&signature).unwrap();
        assert!(verify(&leaf, &signature).is_ok());
        for bit in 0..signature.len() * 8 {
            let mut bent = signature.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(
                verify(&leaf, &bent).is_err(),
                "{kind}: signature, bit {bit}"
            );
        }
        for bit in 0..leaf.len() * 8 {
            let mut bent = leaf.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(
                verify(&bent, &signature).is_err(),
                "{kind}: leaf, bit {bit}"
            );
        }
        for bad in [&[][..], &[0; 64], &signature[1..]] {
            assert!(verify(&leaf, bad).is_err());
        }
    }
}

#[test]
fn chains_and_texts_are_bounded() {
    let place = Place::new();
    let ca = Ca::new("Acme Hosts");
    let attestor = X509::new(std::slice::from_ref(&ca.pem)).unwrap();
    let (_, opened) = challenge(&attestor, &place, 1);
    let verify = |chain: Vec<String>, signature: String| {
        let evidence = Evidence::X509 {
            chain,
            challenge: String::new(),
            signature,
        };
        attestor.verify(&evidence, &place.answering(&opened))
    };
    let chain_error = || Err(AttestError::X509(X509Error::Chain));
    assert_eq!(verify(vec![], String::new()), chain_error());
    assert_eq!(verify(vec![String::new(); 5], String::new()), chain_error());
    assert_eq!(verify(vec!["*".to_owned()], String::new()), chain_error());
    assert_eq!(
        verify(vec!["A".repeat(24 * 1024)], String::new()),
        chain_error()
    );
    assert!(path_error(&verify(vec![String::new()], String::new())));
    let signature = || Err(AttestError::X509(X509Error::Signature));
    assert_eq!(verify(vec![], "A".repeat(1372)), signature());
    assert_eq!(verify(vec![], "A".to_owned()), signature());
    assert!(X509::new(&[]).is_err());
    assert!(X509::new(&vec![ca.pem.clone(); 17]).is_err());
    assert!(X509::new(&["-----BEGIN".to_owned()]).is_err());
}

#[test]
fn prover_needs_the_certificate_and_its_key() {
    let ca = Ca::new("Acme Hosts");
    let all = keys();
    for (kind, key) in &all {
        let pem = ca.issue(key, |_| {});
        let prover = Prover::from_pem(&pem, &key.serialize_pem()).unwrap();
        let shown = format!("{prover:?}");
        assert!(
            shown.starts_with("Prover { kind: ") && shown.len() < 40,
            "{shown}"
        );
        let place = Place::new();
        let malformed = ChallengeResponse {
            challenge: String::new(),
            nonce: "AAAA".to_owned(),
            credential_blob: None,
            encrypted_secret: None,
        };
        assert_eq!(
            prover
                .evidence(&malformed, &CSR_KEY, &place.site, &place.authority)
                .unwrap_err(),
            ProverError::Challenge
        );
        for (other, wrong) in &all {
            let made = Prover::from_pem(&pem, &wrong.serialize_pem());
            assert_eq!(made.is_ok(), kind == other);
        }
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let same_kind = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let pem = ca.issue(&key, |_| {});
    assert_eq!(
        Prover::from_pem(&pem, &same_kind.serialize_pem()).unwrap_err(),
        ProverError::OtherKey
    );
    assert_eq!(
        Prover::from_pem("", &key.serialize_pem()).unwrap_err(),
        ProverError::Chain
    );
    assert_eq!(
        Prover::from_pem(&pem, &pem).unwrap_err(),
        ProverError::PrivateKey
    );
}
