//! The project's own draft vectors for keys, KEM, evaluation, batches and bad encodings.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a wrong vector or answer is a failed test"
)]

use blindfold_core::hazmat::{
    Element, Proof, SecretScalar, blind_evaluate_with_nonce, decap, decap_with_secret, encap,
    hash_to_scalar, tweak, unblind, verify_proof,
};
use blindfold_core::{AuthorityKey, CanonicalPolicy, Info, PolicyRef, Window};
use serde_json::Value;

use crate::common::{DRAFT, draft_key, hex, hex_array, rng};

fn policy(vector: &Value) -> (PolicyRef, Window) {
    let number = |name: &str| u32::try_from(vector[name].as_u64().unwrap()).unwrap();
    let mode = u8::try_from(number("policy_mode")).unwrap();
    let policy = PolicyRef::parse(mode, &hex(&vector["policy"])).unwrap();
    (
        policy,
        Window::new(number("nbf_day"), number("naf_day")).unwrap(),
    )
}

fn scalar(value: &Value) -> SecretScalar {
    SecretScalar::from_bytes(&hex_array(value)).unwrap()
}

fn element(value: &Value) -> Element {
    Element::decode(&hex(value)).unwrap()
}

#[test]
fn key() {
    let vector = &DRAFT["key"];
    let record = AuthorityKey::from_bytes(&hex(&vector["authority_key_record"])).unwrap();
    assert_eq!(
        record.key_id().to_string(),
        vector["key_id"].as_str().unwrap()
    );
    assert_eq!(record.public_key_bytes(), hex(&vector["pkS"]));
    assert_eq!(
        (record.authority(), record.tenant(), record.version()),
        ("authority.example", "acme", 1)
    );
    assert_eq!(draft_key().record(), &record);
}

#[test]
fn kem_and_evaluate() {
    let key = draft_key();
    let public_key = Element::decode(key.record().public_key_bytes()).unwrap();
    let secret = scalar(&DRAFT["key"]["skS"]);
    for vector in DRAFT["kem_and_evaluate"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let (policy, window) = policy(vector);
        // Sealer.
        let (info, tweaked) = tweak(key.record(), &policy, window).unwrap();
        assert_eq!(info.as_bytes(), hex(&vector["Info"]), "{name}");
        assert_eq!(
            hash_to_scalar(&info).to_bytes().as_slice(),
            hex(&vector["m"]),
            "{name}"
        );
        assert_eq!(tweaked.as_bytes().as_slice(), hex(&vector["T"]), "{name}");
        let (enc, sealed) = encap(&tweaked, &info, &scalar(&vector["r"])).unwrap();
        assert_eq!(enc.as_bytes().as_slice(), hex(&vector["U"]), "{name}");
        assert_eq!(sealed.expose().as_slice(), hex(&vector["ss"]), "{name}");
        // Service, with the nonce of the vector.
        let blinded = [element(&vector["W"])];
        let nonce = scalar(&vector["proof_random_scalar"]);
        let evaluation =
            blind_evaluate_with_nonce(&secret, &public_key, &info, &blinded, nonce, &mut rng(1))
                .unwrap();
        assert_eq!(evaluation.elements, [element(&vector["X"])], "{name}");
        assert_eq!(
            evaluation.proof.to_bytes().as_slice(),
            hex(&vector["proof"]),
            "{name}"
        );
        // Client.
        let proof = Proof::from_bytes(&hex_array(&vector["proof"])).unwrap();
        let verified =
            verify_proof(&tweaked, vec![element(&vector["X"])], &blinded, &proof).unwrap();
        let unblinded = unblind(vec![scalar(&vector["b"])], verified).unwrap();
        assert_eq!(
            unblinded[0].expose().as_slice(),
            hex(&vector["Z"]),
            "{name}"
        );
        let opened = decap(&tweaked, &info, &enc, &unblinded[0]);
        assert_eq!(opened.expose().as_slice(), hex(&vector["ss"]), "{name}");
        // Holder of the key, offline.
        let recovered = decap_with_secret(&key, &policy, window, &hex(&vector["U"])).unwrap();
        assert_eq!(recovered.expose().as_slice(), hex(&vector["ss"]), "{name}");
    }
}

#[test]
fn blinding_is_multiplication_by_b() {
    // W = bU, through the only door that multiplies an element by a given scalar.
    for vector in DRAFT["kem_and_evaluate"].as_array().unwrap() {
        let info = blindfold_core::hazmat::raw_info(b"").unwrap();
        let (blinded, _) = encap(&element(&vector["U"]), &info, &scalar(&vector["b"])).unwrap();
        assert_eq!(blinded, element(&vector["W"]));
    }
}

#[test]
fn digest_and_inline_policy_have_one_info() {
    let key = draft_key();
    let vector = &DRAFT["kem_and_evaluate"][0];
    let document = CanonicalPolicy::parse(&hex(&vector["policy"])).unwrap();
    let digest = PolicyRef::Digest(*document.digest());
    let inline = PolicyRef::Inline(document);
    let window = Window::unbounded();
    assert_eq!(
        Info::new(key.record(), &digest, window),
        Info::new(key.record(), &inline, window)
    );
}

#[test]
fn batch() {
    let vector = &DRAFT["batch"];
    let elements = |name: &str| {
        vector[name]
            .as_array()
            .unwrap()
            .iter()
            .map(element)
            .collect::<Vec<_>>()
    };
    let key = draft_key();
    let public_key = Element::decode(key.record().public_key_bytes()).unwrap();
    let info = blindfold_core::hazmat::raw_info(&hex(&vector["Info"])).unwrap();
    let nonce = scalar(&vector["proof_random_scalar"]);
    let secret = scalar(&DRAFT["key"]["skS"]);
    let evaluation = blind_evaluate_with_nonce(
        &secret,
        &public_key,
        &info,
        &elements("W"),
        nonce,
        &mut rng(1),
    )
    .unwrap();
    assert_eq!(evaluation.elements, elements("X"));
    assert_eq!(
        evaluation.proof.to_bytes().as_slice(),
        hex(&vector["proof"])
    );
    let tweaked = blindfold_core::hazmat::tweaked_key(&public_key, &info).unwrap();
    assert!(verify_proof(&tweaked, elements("X"), &elements("W"), &evaluation.proof).is_ok());
    // The order is part of the proof.
    let mut swapped = elements("X");
    swapped.swap(0, 1);
    assert!(verify_proof(&tweaked, swapped, &elements("W"), &evaluation.proof).is_err());
}

#[test]
fn negative_elements() {
    let vectors = DRAFT["negative_elements"].as_array().unwrap();
    assert_eq!(vectors.len(), 8);
    for vector in vectors {
        assert!(
            Element::decode(&hex(&vector["hex"])).is_err(),
            "{}",
            vector["why"]
        );
    }
}
