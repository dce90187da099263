//! Against the `voprf` crate 0.5 on elliptic-curve 0.13: bytes are exchanged, never types.

use ::voprf::{
    BlindedElement, CipherSuite, EvaluationElement, PoprfClient, PoprfServer, Proof as OtherProof,
};
use blindfold_core::hazmat::{
    Element, Proof, SecretScalar, blind, blind_evaluate, raw_info, tweaked_key, unblind,
    verify_proof,
};
use p384_0_13::NistP384;
use p384_0_13::elliptic_curve::group::GroupEncoding;
use p384_0_13::elliptic_curve::rand_core as rand_core_0_6;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use crate::common::rng;

/// A generator of this generation, for a crate of the last one.
struct OldRng(ChaCha20Rng);

impl rand_core_0_6::RngCore for OldRng {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_0_6::Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl rand_core_0_6::CryptoRng for OldRng {}

fn suite_is_the_same<CS: CipherSuite>() -> bool {
    CS::ID == "P384-SHA384"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Their client against our server.
    #[test]
    fn their_client_accepts_our_server(
        seed: u8,
        inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
        info in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        prop_assert!(suite_is_the_same::<NistP384>());
        let (mut ours, mut theirs) = (rng(seed), OldRng(rng(seed.wrapping_add(1))));
        let secret = SecretScalar::random(&mut ours);
        let server = PoprfServer::<NistP384>::new_with_key(secret.expose_bytes().as_slice()).unwrap();
        let public_key = server.get_public_key();
        let clients: Vec<_> = inputs.iter().map(|input| PoprfClient::<NistP384>::blind(input, &mut theirs).unwrap()).collect();
        let blinded: Vec<_> = clients.iter().map(|client| Element::decode(&client.message.serialize()).unwrap()).collect();
        let evaluation = blind_evaluate(
            &secret,
            &Element::decode(&public_key.to_bytes()).unwrap(),
            &raw_info(&info).unwrap(),
            &blinded,
            &mut ours,
        ).unwrap();
        let evaluated: Vec<_> = evaluation.elements.iter()
            .map(|element| EvaluationElement::<NistP384>::deserialize(element.as_bytes()).unwrap())
            .collect();
        let proof = OtherProof::<NistP384>::deserialize(&evaluation.proof.to_bytes()).unwrap();
        let states: Vec<_> = clients.into_iter().map(|client| client.state).collect();
        let outputs = PoprfClient::batch_finalize(
            inputs.iter().map(Vec::as_slice), &states, &evaluated, &proof, public_key, Some(&info),
        ).unwrap();
        for (input, output) in inputs.iter().zip(outputs) {
            prop_assert_eq!(output.unwrap(), server.evaluate(input, Some(&info)).unwrap());
        }
    }

    /// Our client against their server.
    #[test]
    fn our_client_accepts_their_server(
        seed: u8,
        count in 1..5_usize,
        info in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let (mut ours, mut theirs) = (rng(seed), OldRng(rng(seed.wrapping_add(1))));
        let secret = SecretScalar::random(&mut ours);
        let server = PoprfServer::<NistP384>::new_with_key(secret.expose_bytes().as_slice()).unwrap();
        let public_key = Element::decode(&server.get_public_key().to_bytes()).unwrap();
        let info_ours = raw_info(&info).unwrap();
        let tweaked = tweaked_key(&public_key, &info_ours).unwrap();
        // Some elements of unknown logarithm.
        let elements: Vec<_> = (0..count)
            .map(|_| PoprfClient::<NistP384>::blind(b"x", &mut theirs).unwrap().message.serialize())
            .map(|bytes| Element::decode(&bytes).unwrap())
            .collect();
        let (blinds, blinded) = blind(&elements, &mut ours).unwrap();
        let requests: Vec<_> = blinded.iter()
            .map(|element| BlindedElement::<NistP384>::deserialize(element.as_bytes()).unwrap())
            .collect();
        let answer = server.batch_blind_evaluate(&mut theirs, &requests, Some(&info)).unwrap();
        let evaluated: Vec<_> = answer.messages.iter().map(|x| Element::decode(&x.serialize()).unwrap()).collect();
        let proof = Proof::from_bytes(&answer.proof.serialize()[..].try_into().unwrap()).unwrap();
        let verified = verify_proof(&tweaked, evaluated, &blinded, &proof).unwrap();
        let unblinded = unblind(blinds, verified).unwrap();
        // t^-1·U without blinding is the same.
        let direct = blind_evaluate(&secret, &public_key, &info_ours, &elements, &mut ours).unwrap();
        for (z, direct) in unblinded.iter().zip(&direct.elements) {
            prop_assert_eq!(z.expose(), direct.as_bytes());
        }
    }
}
