//! RFC 9497, appendix A.4.3: P384-SHA384, POPRF mode, all three vectors.
//!
//! The figures were taken from `poc/vectors/allVectors.json` of
//! <https://github.com/cfrg/draft-irtf-cfrg-voprf> at commit 43da59f797c92248c0362e4c74cc10a8bd2b7b7d.

use blindfold_core::Info;
use blindfold_core::hazmat::{
    Element, Proof, SecretScalar, blind_evaluate_with_nonce, compute_composites, derive_secret,
    raw_info, tweaked_key, unblind, verify_proof,
};
use sha2::{Digest, Sha384};

use crate::common::{rng, unhex};

const SEED: &str = "a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3";
const KEY_INFO: &[u8] = b"test key";
const SK_SM: &str = "5b2690d6954b8fbb159f19935d64133f12770c00b68422559c65431942d721ff79d47d7a75906c30b7818ec0f38b7fb2";
const PK_SM: &str = "02f00f0f1de81e5d6cf18140d4926ffdc9b1898c48dc49657ae36eb1e45deb8b951aaf1f10c82d2eaa6d02aafa3f10d2b6";
const INFO: &[u8] = b"test info";

const BLIND_1: &str = "504650f53df8f16f6861633388936ea23338fa65ec36e0290022b48eb562889d89dbfa691d1cde91517fa222ed7ad364";
const BLIND_2: &str = "803d955f0e073a04aa5d92b3fb739f56f9db001266677f62c095021db018cd8cbb55941d4073698ce45c405d1348b7b1";

/// One element of a vector.
struct Item {
    input: &'static [u8],
    blind: &'static str,
    blinded_element: &'static str,
    evaluation_element: &'static str,
    output: &'static str,
}

/// One vector.
struct Vector {
    name: &'static str,
    items: &'static [Item],
    proof: &'static str,
    proof_random_scalar: &'static str,
}

const VECTORS: [Vector; 3] = [
    Vector {
        name: "A.4.3.1, batch size 1",
        items: &[Item {
            input: &[0x00],
            blind: BLIND_1,
            blinded_element: "03859b36b95e6564faa85cd3801175eda2949707f6aa0640ad093cbf8ad2f58e762f08b56b2a1b42a64953aaf49cbf1ae3",
            evaluation_element: "0220710e2e00306453f5b4f574cb6a512453f35c45080d09373e190c19ce5b185914fbf36582d7e0754bb7c8b683205b91",
            output: "0188653cfec38119a6c7dd7948b0f0720460b4310e40824e048bf82a16527303ed449a08caf84272c3bbc972ede797df",
        }],
        proof: "82a17ef41c8b57f1e3122311b4d5cd39a63df0f67443ef18d961f9b659c1601ced8d3c64b294f604319ca80230380d437a49c7af0d620e22116669c008ebb767d90283d573b49cdb49e3725889620924c2c4b047a2a6225a3ba27e640ebddd33",
        proof_random_scalar: BLIND_2,
    },
    Vector {
        name: "A.4.3.2, batch size 1",
        items: &[Item {
            input: &[0x5a; 17],
            blind: BLIND_1,
            blinded_element: "03f7efcb4aaf000263369d8a0621cb96b81b3206e99876de2a00699ed4c45acf3969cd6e2319215395955d3f8d8cc1c712",
            evaluation_element: "034993c818369927e74b77c400376fd1ae29b6ac6c6ddb776cf10e4fbc487826531b3cf0b7c8ca4d92c7af90c9def85ce6",
            output: "ff2a527a21cc43b251a567382677f078c6e356336aec069dea8ba36995343ca3b33bb5d6cf15be4d31a7e6d75b30d3f5",
        }],
        proof: "693471b5dff0cd6a5c00ea34d7bf127b2795164e3bdb5f39a1e5edfbd13e443bc516061cd5b8449a473c2ceeccada9f3e5b57302e3d7bc5e28d38d6e3a3056e1e73b6cc030f5180f8a1ffa45aa923ee66d2ad0a07b500f2acc7fb99b5506465c",
        proof_random_scalar: BLIND_2,
    },
    Vector {
        name: "A.4.3.3, batch size 2",
        items: &[
            Item {
                input: &[0x00],
                blind: BLIND_1,
                blinded_element: "03859b36b95e6564faa85cd3801175eda2949707f6aa0640ad093cbf8ad2f58e762f08b56b2a1b42a64953aaf49cbf1ae3",
                evaluation_element: "0220710e2e00306453f5b4f574cb6a512453f35c45080d09373e190c19ce5b185914fbf36582d7e0754bb7c8b683205b91",
                output: "0188653cfec38119a6c7dd7948b0f0720460b4310e40824e048bf82a16527303ed449a08caf84272c3bbc972ede797df",
            },
            Item {
                input: &[0x5a; 17],
                blind: BLIND_2,
                blinded_element: "021a65d618d645f1a20bc33b06deaa7e73d6d634c8a56a3d02b53a732b69a5c53c5a207ea33d5afdcde9a22d59726bce51",
                evaluation_element: "02017657b315ec65ef861505e596c8645d94685dd7602cdd092a8f1c1c0194a5d0485fe47d071d972ab514370174cc23f5",
                output: "ff2a527a21cc43b251a567382677f078c6e356336aec069dea8ba36995343ca3b33bb5d6cf15be4d31a7e6d75b30d3f5",
            },
        ],
        proof: "4a0b2fe96d5b2a046a0447fe079b77859ef11a39a3520d6ff7c626aad9b473b724fb0cf188974ec961710a62162a83e97e0baa9eeada73397032d928b3e97b1ea92ad9458208302be3681b8ba78bcc17745bac00f84e0fdc98a6a8cba009c080",
        proof_random_scalar: "a097e722ed2427de86966910acba9f5c350e8040f828bf6ceca27405420cdf3d63cb3aef005f40ba51943c8026877963",
    },
];

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests: a wrong vector is a failed test"
)]
fn element(text: &str) -> Element {
    Element::decode(&unhex::<49>(text)).unwrap()
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests: a wrong vector is a failed test"
)]
fn scalar(text: &str) -> SecretScalar {
    SecretScalar::from_bytes(&unhex(text)).unwrap()
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests: nine bytes are a valid input"
)]
fn info() -> Info {
    raw_info(INFO).unwrap()
}

#[test]
fn derive_key_pair() {
    let secret = derive_secret(&unhex(SEED), KEY_INFO).unwrap();
    assert_eq!(hex::encode(secret.expose_bytes().as_slice()), SK_SM);
}

#[test]
fn blind_evaluate() {
    for vector in &VECTORS {
        let blinded: Vec<_> = vector
            .items
            .iter()
            .map(|item| element(item.blinded_element))
            .collect();
        let evaluation = blind_evaluate_with_nonce(
            &scalar(SK_SM),
            &element(PK_SM),
            &info(),
            &blinded,
            scalar(vector.proof_random_scalar),
            &mut rng(1),
        )
        .unwrap();
        for (item, evaluated) in vector.items.iter().zip(&evaluation.elements) {
            assert_eq!(
                hex::encode(evaluated.as_bytes()),
                item.evaluation_element,
                "{}",
                vector.name
            );
        }
        assert_eq!(evaluation.elements.len(), vector.items.len());
        assert_eq!(
            hex::encode(evaluation.proof.to_bytes()),
            vector.proof,
            "{}",
            vector.name
        );
    }
}

#[test]
fn verify_and_finalize() {
    for vector in &VECTORS {
        let tweaked = tweaked_key(&element(PK_SM), &info()).unwrap();
        let blinded: Vec<_> = vector
            .items
            .iter()
            .map(|item| element(item.blinded_element))
            .collect();
        let evaluated: Vec<_> = vector
            .items
            .iter()
            .map(|item| element(item.evaluation_element))
            .collect();
        let proof = Proof::from_bytes(&unhex(vector.proof)).unwrap();
        let verified = verify_proof(&tweaked, evaluated, &blinded, &proof).unwrap();
        let blinds = vector.items.iter().map(|item| scalar(item.blind)).collect();
        let unblinded = unblind(blinds, verified).unwrap();
        for (item, unblinded) in vector.items.iter().zip(unblinded) {
            // "hashInput = I2OSP(len(input), 2) || input || I2OSP(len(info), 2) || info ||
            //    I2OSP(len(unblindedElement), 2) || unblindedElement || "Finalize""
            let mut hash = Sha384::new();
            for field in [item.input, INFO, unblinded.expose()] {
                hash.update(u16::try_from(field.len()).unwrap().to_be_bytes());
                hash.update(field);
            }
            hash.update(b"Finalize");
            assert_eq!(hex::encode(hash.finalize()), item.output, "{}", vector.name);
        }
    }
}

#[test]
fn composites_are_those_of_the_secret() {
    // ComputeComposites and ComputeCompositesFast agree: Z = t·M is the proof's own statement, so
    // a batch of the composites alone verifies nothing new, but exists and differs from its parts.
    let [_, _, batch] = &VECTORS;
    let tweaked = tweaked_key(&element(PK_SM), &info()).unwrap();
    let blinded: Vec<_> = batch
        .items
        .iter()
        .map(|item| element(item.blinded_element))
        .collect();
    let evaluated: Vec<_> = batch
        .items
        .iter()
        .map(|item| element(item.evaluation_element))
        .collect();
    let (m, z) = compute_composites(&tweaked, &evaluated, &blinded).unwrap();
    // t^-1·Z = M.
    let evaluation = blind_evaluate_with_nonce(
        &scalar(SK_SM),
        &element(PK_SM),
        &info(),
        &[z],
        scalar(BLIND_1),
        &mut rng(2),
    )
    .unwrap();
    assert_eq!(evaluation.elements, [m]);
}

#[test]
fn proof_of_another_batch_info_or_key_is_refused() {
    let [first, second, _] = &VECTORS;
    let tweaked = tweaked_key(&element(PK_SM), &info()).unwrap();
    let other_info = tweaked_key(&element(PK_SM), &raw_info(b"test info.").unwrap()).unwrap();
    let other_key = tweaked_key(&Element::generator(), &info()).unwrap();
    let proof = unhex::<96>(first.proof);
    let (w, x) = (
        element(first.items[0].blinded_element),
        element(first.items[0].evaluation_element),
    );
    let (w2, x2) = (
        element(second.items[0].blinded_element),
        element(second.items[0].evaluation_element),
    );
    let verify = |tweaked: &Element, x: Vec<Element>, w: &[Element], proof: &[u8; 96]| {
        Proof::from_bytes(proof).is_ok_and(|proof| verify_proof(tweaked, x, w, &proof).is_ok())
    };
    assert!(verify(&tweaked, vec![x], &[w], &proof));
    assert!(!verify(&other_info, vec![x], &[w], &proof));
    assert!(!verify(&other_key, vec![x], &[w], &proof));
    assert!(!verify(&tweaked, vec![x2], &[w], &proof));
    assert!(!verify(&tweaked, vec![x], &[w2], &proof));
    assert!(!verify(&tweaked, vec![w], &[x], &proof));
    assert!(!verify(&tweaked, vec![x, x2], &[w, w2], &proof));
    assert!(!verify(&tweaked, vec![x], &[w, w], &proof));
    assert!(!verify(&tweaked, vec![], &[], &proof));
    for at in 0..proof.len() {
        let mut bent = proof;
        bent[at] ^= 1;
        assert!(!verify(&tweaked, vec![x], &[w], &bent), "byte {at}");
    }
}
