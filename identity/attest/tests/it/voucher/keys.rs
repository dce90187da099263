//! Keys of vouchers, ours and other software's.

use attest::voucher::{Algorithm, KeyError, Signer, SignerError, VoucherError, Vouchers};
use base64ct::{Base64UrlUnpadded, Encoding};
use identity::wire::VoucherKey;
use serde_json::json;

use super::{claims, refused, signer, verify, vouchers};
use crate::support::{NOW, Place, openssl, rng};

#[test]
fn two_keys_overlap_and_a_third_is_unknown() {
    let place = Place::new();
    let signers: Vec<Signer> = ["one", "two", "three"]
        .into_iter()
        .enumerate()
        .map(|(seed, kid)| {
            Signer::generate(kid, Algorithm::Es384, &mut rng(seed as u64 + 10)).unwrap()
        })
        .collect();
    let keys: Vec<VoucherKey> = signers
        .iter()
        .map(|signer| signer.voucher_key().unwrap())
        .collect();
    let vouchers = Vouchers::new(&keys[..2]).unwrap();
    for (signer, good) in signers.iter().zip([true, true, false]) {
        let token = signer.sign(&claims(&place), &mut rng(3)).unwrap();
        assert_eq!(
            verify(&vouchers, &token, &place).is_ok(),
            good,
            "{}",
            signer.kid()
        );
    }
    // The name of one key and the signature of another.
    let thief = Signer::generate("one", Algorithm::Es384, &mut rng(99)).unwrap();
    let token = thief.sign(&claims(&place), &mut rng(3)).unwrap();
    assert_eq!(
        verify(&vouchers, &token, &place),
        refused(VoucherError::Signature)
    );
}

#[test]
fn keys_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = signer(Algorithm::Es256).voucher_key().unwrap();
    let key = |pem: &str| VoucherKey {
        kid: "a".to_owned(),
        public_key: pem.to_owned(),
    };
    let made = |algorithm: &[&str]| {
        let mut arguments = vec!["genpkey"];
        arguments.extend(algorithm);
        arguments.extend(["-out", "key.pem"]);
        openssl(folder.path(), &arguments);
        String::from_utf8(openssl(
            folder.path(),
            &["pkey", "-in", "key.pem", "-pubout"],
        ))
        .unwrap()
    };
    // Keys that OpenSSL makes are taken.
    for curve in ["P-256", "P-384"] {
        let pem = made(&[
            "-algorithm",
            "EC",
            "-pkeyopt",
            &format!("ec_paramgen_curve:{curve}"),
        ]);
        assert!(Vouchers::new(&[key(&pem)]).is_ok(), "{curve}");
    }
    let p521 = made(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]);
    let k256 = made(&[
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:secp256k1",
    ]);
    let rsa = made(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let ed25519 = made(&["-algorithm", "ED25519"]);
    let private = signer(Algorithm::Es256).expose_pem().unwrap();
    for (fault, pem) in [
        ("p521", p521.as_str()),
        ("secp256k1", &k256),
        ("rsa", &rsa),
        ("ed25519", &ed25519),
        ("private_key", &private),
        ("empty", ""),
        ("too_long", &" ".repeat(2000)),
    ] {
        assert_eq!(
            Vouchers::new(&[key(pem)]).unwrap_err(),
            KeyError::PublicKey,
            "{fault}"
        );
    }
    assert_eq!(Vouchers::new(&[]).unwrap_err(), KeyError::Count);
    assert_eq!(
        Vouchers::new(&vec![good.clone(); 9]).unwrap_err(),
        KeyError::Count
    );
    assert_eq!(
        Vouchers::new(&[good.clone(), good.clone()]).unwrap_err(),
        KeyError::Twice
    );
    for kid in ["", "a b", "a/b", &"k".repeat(65)] {
        let named = VoucherKey {
            kid: kid.to_owned(),
            ..good.clone()
        };
        assert_eq!(Vouchers::new(&[named]).unwrap_err(), KeyError::KeyId);
    }
}

#[test]
fn openssl_signs_tokens_that_are_taken() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    for (curve, digest, alg) in [("P-256", "-sha256", "ES256"), ("P-384", "-sha384", "ES384")] {
        let parameter = format!("ec_paramgen_curve:{curve}");
        openssl(
            folder.path(),
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                &parameter,
                "-out",
                "key.pem",
            ],
        );
        let public_key = openssl(folder.path(), &["pkey", "-in", "key.pem", "-pubout"]);
        let header = json!({"typ": "bfvoucher+jwt", "kid": "o", "alg": alg}).to_string();
        let payload = serde_json::to_string(&claims(&place)).unwrap();
        let signed = format!(
            "{}.{}",
            Base64UrlUnpadded::encode_string(header.as_bytes()),
            Base64UrlUnpadded::encode_string(payload.as_bytes())
        );
        std::fs::write(folder.path().join("signed"), &signed).unwrap();
        let der = openssl(
            folder.path(),
            &["dgst", digest, "-sign", "key.pem", "signed"],
        );
        let raw = match alg {
            "ES256" => p256::ecdsa::Signature::from_der(&der).unwrap().to_vec(),
            _ => p384::ecdsa::Signature::from_der(&der).unwrap().to_vec(),
        };
        let token = format!("{signed}.{}", Base64UrlUnpadded::encode_string(&raw));
        let vouchers = Vouchers::new(&[VoucherKey {
            kid: "o".to_owned(),
            public_key: String::from_utf8(public_key).unwrap(),
        }])
        .unwrap();
        assert!(verify(&vouchers, &token, &place).is_ok(), "{alg}");
    }
}

#[test]
fn signer_keeps_its_key_and_refuses_what_nobody_takes() {
    let place = Place::new();
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let signer = signer(algorithm);
        let again = Signer::from_pem("paris-1", &signer.expose_pem().unwrap()).unwrap();
        assert_eq!(again.algorithm(), algorithm);
        assert_eq!(again.voucher_key(), signer.voucher_key());
        let token = again.sign(&claims(&place), &mut rng(3)).unwrap();
        assert!(verify(&vouchers(&signer), &token, &place).is_ok());
    }
    let signer = signer(Algorithm::Es256);
    let mut long = claims(&place);
    long.expires_at = NOW + 61;
    assert_eq!(
        signer.sign(&long, &mut rng(3)),
        Err(SignerError::Claims(VoucherError::Lifetime))
    );
    assert_eq!(
        Signer::from_pem("a b", &signer.expose_pem().unwrap()).unwrap_err(),
        SignerError::KeyId
    );
    assert_eq!(
        Signer::from_pem("a", "-----BEGIN").unwrap_err(),
        SignerError::PrivateKey
    );
}
