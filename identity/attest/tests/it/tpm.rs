//! Machines with a TPM, and those that only say so; every TPM is a `swtpm`.

use std::time::{SystemTime, UNIX_EPOCH};

use attest::tpm::testing::{Maker, Swtpm};
use attest::tpm::{EndorsementKey, KeyKind, ProverError, Registers, TpmError, TpmProver};
use attest::{
    AttestError, Attestors, Challenge, ChallengeContext, Context, OpenedChallenge, RuleError,
    Vouched,
};
use base64ct::{Base64, Encoding};
use identity::SpiffeId;
use identity::wire::{AttestorRule, ChallengeResponse, Evidence, Mapping, Prover, SiteRules};
use p256::ecdsa::signature::Signer;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData,
    SignatureAlgorithm,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::support::{CSR_KEY, Place, rng};

mod forgery;
mod raw;
mod site;

use forgery::{
    Ca, NULL_HIERARCHY, PASSWORD, attestation_area, der, endorsement_primary, endorsement_session,
    forged_quote, point, software_signature,
};
use raw::{Raw, sized};
use site::{Parts, Site, mapping};

#[test]
fn machine_whose_maker_certified_its_tpm() {
    let maker = Maker::new();
    let tpm = Swtpm::certified_by(&maker);
    for anchor in [maker.issuer(), maker.root()] {
        let intermediates = if anchor == maker.root() {
            vec![der(&maker.issuer())]
        } else {
            Vec::new()
        };
        let site = Site::new(vec![anchor], Vec::new());
        let mut options = tpm.options(KeyKind::Rsa2048);
        options.intermediates = intermediates;
        let prover = TpmProver::open(&options).unwrap();
        let ek = hex::encode(prover.endorsement_key().sha256());
        let leaf = prover.endorsement_chain()[0].clone();
        let vouched = site.attest(prover).unwrap();
        assert_eq!(vouched.kind, "tpm");
        assert_eq!(
            vouched.spiffe_id.to_string(),
            format!("spiffe://acme.example/paris/machine/{ek}")
        );
        assert_eq!(vouched.attributes.text("ek"), Some("rsa2048"));
        // Nothing was booted.
        assert_eq!(
            vouched.attributes.text("secure-boot"),
            Some("0".repeat(64).as_str())
        );
        assert_eq!(vouched.subject, Some(ek));
        let facts = vouched.facts;
        assert_eq!(facts.text("tpm_model"), Some("swtpm"));
        assert_eq!(facts.text("tpm_manufacturer"), Some("id:00001014"));
        assert!(facts.text("tpm_version").is_some());
        assert!(facts.text("ek_certificate_serial").is_some());
        let sha256 = hex::encode(Sha256::digest(leaf));
        assert_eq!(facts.text("ek_certificate_sha256"), Some(sha256.as_str()));
        for number in 0..8 {
            assert!(facts.text(&format!("pcr_sha256_{number}")).is_some());
        }
        assert_eq!(facts.text("pcr_sha256_8"), None);
    }
}

#[test]
fn listed_keys_of_both_kinds_need_no_certificate() {
    let tpm = Swtpm::start();
    for kind in [KeyKind::Rsa2048, KeyKind::P256] {
        let prover = tpm.open(kind);
        assert!(prover.endorsement_chain().is_empty());
        let site = Site::listing(&[prover.endorsement_key()]);
        let vouched = site.attest(prover).unwrap();
        assert_eq!(vouched.attributes.text("ek"), Some(kind.name()));
        // Remembered for as long as a replica's clock may find the challenge good.
        let forgotten = vouched.single_use.unwrap().expires_at;
        assert_eq!(forgotten, site.now + 60 + 600);
    }
    // The keys stay the same, whatever was flushed.
    let (first, second) = (tpm.open(KeyKind::P256), ());
    let key = first.endorsement_key().clone();
    let Prover::Tpm {
        attestation_key, ..
    } = first.prover()
    else {
        panic!("not of a TPM");
    };
    drop((first, second));
    // More often than a TPM has room for objects.
    for _ in 0..6 {
        let again = tpm.open(KeyKind::P256);
        assert_eq!(*again.endorsement_key(), key);
        let Prover::Tpm {
            attestation_key: same,
            ..
        } = again.prover()
        else {
            panic!("not of a TPM");
        };
        assert_eq!(same, attestation_key);
    }
}

#[test]
fn registers_are_what_was_extended() {
    let tpm = Swtpm::start();
    let event = Sha256::digest(b"a kernel");
    // TPM2_PCR_Extend of register 7, one digest.
    let mut digests = 1_u32.to_be_bytes().to_vec();
    digests.extend_from_slice(&[0, 0x0b]);
    digests.extend_from_slice(&event);
    Raw::open(&tpm).succeed(0x182, &[7], &[PASSWORD], &digests);
    let mut options = tpm.options(KeyKind::P256);
    options.registers = Registers::of(&[7, 23]).unwrap();
    let prover = TpmProver::open(&options).unwrap();
    let site = Site::listing(&[prover.endorsement_key()]);
    let facts = site.attest(prover).unwrap().facts;
    let extended = hex::encode(
        Sha256::new()
            .chain_update([0; 32])
            .chain_update(event)
            .finalize(),
    );
    assert_eq!(facts.text("pcr_sha256_7"), Some(extended.as_str()));
    assert_eq!(facts.text("pcr_sha256_23"), Some("0".repeat(64).as_str()));
    assert_eq!(facts.text("pcr_sha256_0"), None);
    // A mapping that names a register which was not quoted refuses.
    options.registers = Registers::of(&[0]).unwrap();
    let prover = TpmProver::open(&options).unwrap();
    assert!(matches!(site.attest(prover), Err(AttestError::Mapping(_))));
}

#[test]
fn certificates_of_p256_keys_and_of_strangers() {
    let tpm = Swtpm::start();
    let prover = tpm.open(KeyKind::P256);
    let key = prover.endorsement_key().clone();
    drop(prover);
    let (ca, stranger) = (Ca::new("maker"), Ca::new("stranger"));
    let site = Site::new(vec![ca.pem.clone()], Vec::new());
    let ek_purpose = ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1]);
    let attest = |certificate: Vec<u8>| {
        let mut options = tpm.options(KeyKind::P256);
        options.certificate = Some(certificate);
        site.attest(TpmProver::open(&options).unwrap())
    };
    let refusal = |error| Err(AttestError::Tpm(error));
    assert!(attest(ca.certify(&point(&key), vec![ek_purpose.clone()])).is_ok());
    assert!(attest(ca.certify(&point(&key), Vec::new())).is_ok());
    // For another purpose; by a stranger; of another key; garbage.
    let tls = ca.certify(&point(&key), vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(attest(tls), refusal(TpmError::UnknownEndorsementKey));
    let strange = stranger.certify(&point(&key), vec![ek_purpose.clone()]);
    assert_eq!(attest(strange), refusal(TpmError::UnknownEndorsementKey));
    // For signatures only: its key may be one in software, which opens whatever is encrypted to it.
    for (usages, admitted) in [
        (vec![KeyUsagePurpose::DigitalSignature], false),
        (vec![KeyUsagePurpose::KeyAgreement], true),
        (vec![KeyUsagePurpose::KeyEncipherment], true),
    ] {
        let outcome = attest(ca.certify_for(&point(&key), Vec::new(), usages));
        match outcome {
            Ok(_) => assert!(admitted),
            refused => {
                assert!(!admitted);
                assert_eq!(refused, refusal(TpmError::EndorsementCertificate));
            }
        }
    }
    let other = Swtpm::start().open(KeyKind::P256).endorsement_key().clone();
    let of_other = ca.certify(&point(&other), vec![ek_purpose]);
    assert_eq!(attest(of_other), refusal(TpmError::EndorsementCertificate));
    assert_eq!(
        attest(vec![0x30, 0]),
        refusal(TpmError::UnknownEndorsementKey)
    );
    // None at all.
    assert_eq!(
        site.attest(tpm.open(KeyKind::P256)),
        refusal(TpmError::UnknownEndorsementKey)
    );
    // Too many.
    let prover = tpm.open(KeyKind::P256).prover();
    let Prover::Tpm {
        endorsement_key,
        attestation_key,
        ..
    } = prover
    else {
        panic!("not of a TPM");
    };
    let many = Prover::Tpm {
        endorsement_key,
        attestation_key,
        endorsement_chain: vec![String::new(); 7],
    };
    assert_eq!(
        site.challenge(&many).map(drop),
        Err(AttestError::Tpm(TpmError::ChainTooLong))
    );
}

#[test]
fn maker_that_is_unknown() {
    let (maker, other) = (Maker::new(), Ca::new("another maker"));
    let tpm = Swtpm::certified_by(&maker);
    let site = Site::new(vec![other.pem], Vec::new());
    assert_eq!(
        site.attest(tpm.open(KeyKind::Rsa2048)),
        Err(AttestError::Tpm(TpmError::UnknownEndorsementKey))
    );
}

#[test]
fn attestation_key_of_another_tpm_is_given_no_secret() {
    let (good, bad) = (Swtpm::start(), Swtpm::start());
    for kind in [KeyKind::Rsa2048, KeyKind::P256] {
        let (victim, attacker) = (good.open(kind), bad.open(kind));
        let site = Site::listing(&[victim.endorsement_key()]);
        // The attacker shows the victim's endorsement key, which is public, and its own attestation key.
        let Prover::Tpm {
            endorsement_key,
            endorsement_chain,
            ..
        } = victim.prover()
        else {
            panic!("not of a TPM");
        };
        let Prover::Tpm {
            attestation_key, ..
        } = attacker.prover()
        else {
            panic!("not of a TPM");
        };
        let mixed = Prover::Tpm {
            endorsement_key,
            endorsement_chain,
            attestation_key,
        };
        let (response, _) = site.challenge(&mixed).unwrap();
        // Neither its own TPM nor the victim's opens the credential.
        for prover in [attacker, victim] {
            let refused = prover.answer(&response, &CSR_KEY).unwrap_err();
            assert!(
                matches!(refused, ProverError::Refused("TPM2_ActivateCredential", _)),
                "{refused}"
            );
        }
    }
}

#[test]
fn attestation_key_in_software_is_given_no_secret() {
    let tpm = Swtpm::start();
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let prover = tpm.open(KeyKind::P256);
    let site = Site::listing(&[prover.endorsement_key()]);
    let Prover::Tpm {
        endorsement_key,
        endorsement_chain,
        ..
    } = prover.prover()
    else {
        panic!("not of a TPM");
    };
    drop(prover);
    let area = attestation_area(0x0005_0072, &[], &key);
    let software = Prover::Tpm {
        endorsement_key: endorsement_key.clone(),
        endorsement_chain: endorsement_chain.clone(),
        attestation_key: Base64::encode_string(&sized(&area)),
    };
    let (response, opened) = site.challenge(&software).unwrap();
    let blob = Base64::decode_vec(response.credential_blob.as_deref().unwrap()).unwrap();
    let encrypted = Base64::decode_vec(response.encrypted_secret.as_deref().unwrap()).unwrap();

    // Whoever has the whole TPM loads the public half of the key, whose name is then right.
    let mut raw = Raw::open(&tpm);
    let endorsement = endorsement_primary(&mut raw);
    let mut parameters = sized(&[]);
    parameters.extend_from_slice(&sized(&area));
    parameters.extend_from_slice(&NULL_HIERARCHY.to_be_bytes());
    let loaded = raw.succeed(0x167, &[], &[], &parameters);
    let loaded = u32::from_be_bytes(loaded[..4].try_into().unwrap());
    let parameters = [blob.clone(), encrypted.clone()].concat();
    let activate = |raw: &mut Raw, attestation, first| {
        let session = endorsement_session(raw);
        raw.run(
            0x147,
            &[attestation, endorsement],
            &[first, session],
            &parameters,
        )
        .0
    };
    let refused = activate(&mut raw, loaded, PASSWORD);
    assert_eq!(refused & 0xfff, 0x12f, "TPM_RC_AUTH_UNAVAILABLE");
    // With a policy in place of the password: the key allows none.
    let session = endorsement_session(&mut raw);
    assert_ne!(activate(&mut raw, loaded, session), 0);

    // With its private half, no TPM takes a key that says it was made there.
    let scalar = key.to_bytes();
    let mut sensitive = vec![0, 0x23, 0, 0, 0, 0];
    sensitive.extend_from_slice(&sized(&scalar));
    let mut parameters = sized(&sensitive);
    parameters.extend_from_slice(&sized(&area));
    parameters.extend_from_slice(&NULL_HIERARCHY.to_be_bytes());
    assert_ne!(raw.run(0x167, &[], &[], &parameters).0, 0);

    // So the secret can only be guessed, though the key signs what looks like a quote.
    let quote = forged_quote(&opened.nonce);
    let signature = software_signature(&key, &quote);
    let mut parts = Parts {
        secret: Base64::encode_string(&[0; 32]),
        quote,
        signature,
        pcrs: vec!["0".repeat(64)],
    };
    let guessed = site.verify(&parts.evidence(), &opened);
    assert_eq!(guessed, Err(AttestError::Tpm(TpmError::Secret)));
    // The forgery itself is sound: with the secret, which only the authority has, it would pass.
    parts.secret = Base64::encode_string(&opened.state[3..35]);
    let passed = site.verify(&parts.evidence(), &opened);
    assert!(matches!(passed, Err(AttestError::Mapping(_))), "{passed:?}");
}

#[test]
fn keys_that_sign_anything_are_refused() {
    let tpm = Swtpm::start();
    let prover = tpm.open(KeyKind::P256);
    let site = Site::listing(&[prover.endorsement_key()]);
    let Prover::Tpm {
        endorsement_key,
        endorsement_chain,
        attestation_key,
    } = prover.prover()
    else {
        panic!("not of a TPM");
    };
    let ask = |area: &[u8]| {
        site.challenge(&Prover::Tpm {
            endorsement_key: endorsement_key.clone(),
            endorsement_chain: endorsement_chain.clone(),
            attestation_key: Base64::encode_string(&sized(area)),
        })
        .map(drop)
    };
    let good = Base64::decode_vec(&attestation_key).unwrap()[2..].to_vec();
    assert_eq!(ask(&good), Ok(()));
    let attributes = u32::from_be_bytes(good[4..8].try_into().unwrap());
    assert_eq!(attributes, 0x0005_0072);
    // noDA is the one attribute that may differ.
    for bit in 0..32 {
        let mut other = good.clone();
        other[4..8].copy_from_slice(&(attributes ^ (1 << bit)).to_be_bytes());
        assert_eq!(ask(&other).is_ok(), bit == 10, "attribute {bit} changed");
    }
    // Any other byte changed refuses too, but for the coordinates, which then lie on no curve, most often.
    for bit in (0..22 * 8).filter(|bit| !(32..64).contains(bit)) {
        let mut other = good.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(ask(&other).is_err(), "bit {bit} changed");
    }
    for length in 0..good.len() {
        assert!(ask(&good[..length]).is_err(), "{length} bytes");
    }
    assert!(ask(&[&good[..], &[0]].concat()).is_err());
    // With a policy, or as a decryption key, or the endorsement key itself.
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    assert_eq!(ask(&attestation_area(0x0005_0072, &[], &key)), Ok(()));
    let refusal = Err(AttestError::Tpm(TpmError::AttestationKey));
    assert_eq!(ask(&attestation_area(0x0005_0072, &[1; 32], &key)), refusal);
    let endorsement = Base64::decode_vec(&endorsement_key).unwrap();
    assert_eq!(ask(&endorsement[2..]), refusal);
    // And the attestation key is no endorsement key.
    let swapped = Prover::Tpm {
        endorsement_key: attestation_key.clone(),
        endorsement_chain,
        attestation_key,
    };
    assert_eq!(
        site.challenge(&swapped).map(drop),
        Err(AttestError::Tpm(TpmError::EndorsementKey))
    );
}

#[test]
fn quotes_are_for_one_challenge_and_one_request() {
    let tpm = Swtpm::start();
    let prover = tpm.open(KeyKind::P256);
    let site = Site::listing(&[prover.endorsement_key()]);
    let (first, first_opened) = site.challenge(&prover.prover()).unwrap();
    let old = prover.answer(&first, &CSR_KEY).unwrap();
    assert!(site.verify(&old, &first_opened).is_ok());
    let refusal = |error| Err(AttestError::Tpm(error));

    // Answer to another challenge, with the secret of this one.
    let prover = tpm.open(KeyKind::P256);
    let (second, second_opened) = site.challenge(&prover.prover()).unwrap();
    let new = prover.answer(&second, &CSR_KEY).unwrap();
    assert_eq!(
        site.verify(&old, &second_opened),
        refusal(TpmError::Secret),
        "the whole answer"
    );
    let mut replayed = Parts::of(&old);
    replayed.secret = Parts::of(&new).secret;
    assert_eq!(
        site.verify(&replayed.evidence(), &second_opened),
        refusal(TpmError::QualifyingData)
    );
    // For another certificate request.
    assert_eq!(
        site.verify_for(&new, &second_opened, &[1; 32]),
        refusal(TpmError::QualifyingData)
    );
    // Other values of the registers, fewer, more, none.
    let honest = Parts::of(&new);
    for pcrs in [
        [&honest.pcrs[1..], &["1".repeat(64)]].concat(),
        honest.pcrs[1..].to_vec(),
        [&honest.pcrs[..], &["0".repeat(64)]].concat(),
        Vec::new(),
        vec!["0".repeat(64); 100],
    ] {
        let lied = Parts {
            pcrs,
            ..Parts::of(&new)
        };
        assert_eq!(
            site.verify(&lied.evidence(), &second_opened),
            refusal(TpmError::Registers)
        );
    }
    let upper = Parts {
        pcrs: vec!["A".repeat(64); 8],
        ..Parts::of(&new)
    };
    assert_eq!(
        site.verify(&upper.evidence(), &second_opened),
        refusal(TpmError::Encoding("register"))
    );
    // The site changed its mind in between.
    let changed = Site::listing(&[Swtpm::start().open(KeyKind::P256).endorsement_key()]);
    assert_eq!(
        changed.verify(&new, &second_opened),
        refusal(TpmError::UnknownEndorsementKey)
    );
    // Without a challenge there is nothing to answer.
    assert_eq!(
        site.attestors.verify(&new, &site.place.context()),
        Err(AttestError::ChallengeMissing)
    );
    assert!(site.verify(&new, &second_opened).is_ok());
}

#[test]
fn evidence_is_refused_whatever_the_bit() {
    let tpm = Swtpm::start();
    let prover = tpm.open(KeyKind::P256);
    let site = Site::listing(&[prover.endorsement_key()]);
    let (response, opened) = site.challenge(&prover.prover()).unwrap();
    let honest = prover.answer(&response, &CSR_KEY).unwrap();
    assert!(site.verify(&honest, &opened).is_ok());
    for bit in 0..Parts::of(&honest).quote.len() * 8 {
        let mut bent = Parts::of(&honest);
        bent.quote[bit / 8] ^= 1 << (bit % 8);
        let refused = site.verify(&bent.evidence(), &opened);
        assert_eq!(
            refused,
            Err(AttestError::Tpm(TpmError::Signature)),
            "quote, bit {bit}"
        );
    }
    for bit in 0..Parts::of(&honest).signature.len() * 8 {
        let mut bent = Parts::of(&honest);
        bent.signature[bit / 8] ^= 1 << (bit % 8);
        assert!(
            site.verify(&bent.evidence(), &opened).is_err(),
            "signature, bit {bit}"
        );
    }
    for bit in 0..256 {
        let mut bent = Parts::of(&honest);
        let mut secret = Base64::decode_vec(&bent.secret).unwrap();
        secret[bit / 8] ^= 1 << (bit % 8);
        bent.secret = Base64::encode_string(&secret);
        let refused = site.verify(&bent.evidence(), &opened);
        assert_eq!(
            refused,
            Err(AttestError::Tpm(TpmError::Secret)),
            "secret, bit {bit}"
        );
    }
    for secret in [String::new(), "*".to_owned(), "A".repeat(10_000)] {
        let bent = Parts {
            secret,
            ..Parts::of(&honest)
        };
        assert!(site.verify(&bent.evidence(), &opened).is_err());
    }
    // The state is the authority's; one of another layout is none of this attestor's.
    for state in [&[][..], &[2; 300], &opened.state[..opened.state.len() - 1]] {
        let strange = OpenedChallenge {
            nonce: opened.nonce,
            state: Zeroizing::new(state.to_vec()),
            expires_at: opened.expires_at,
        };
        assert_eq!(
            site.verify(&honest, &strange),
            Err(AttestError::Tpm(TpmError::Challenge))
        );
    }
}

#[test]
fn rules_that_trust_nothing_or_make_no_sense() {
    let member = |anchors: &[&str], keys: &[&str]| {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        match Site::compile(own(anchors), own(keys), mapping()).map(drop) {
            Err(RuleError::Member {
                index: 0, member, ..
            }) => member,
            other => panic!("{other:?}"),
        }
    };
    let key = "0".repeat(64);
    assert_eq!(member(&[], &[]), "anchors");
    assert_eq!(member(&["no certificate"], &[&key]), "anchors");
    let (first, second) = (Ca::new("first").pem, Ca::new("second").pem);
    assert!(Site::compile(vec![format!("{first}{second}")], Vec::new(), mapping()).is_ok());
    assert_eq!(member(&[&format!("{first}and more")], &[]), "anchors");
    assert_eq!(member(&vec![first.as_str(); 65], &[]), "anchors");
    assert_eq!(member(&[], &["abc"]), "endorsement_keys");
    assert_eq!(member(&[], &[&"A".repeat(64)]), "endorsement_keys");
    assert_eq!(member(&[], &vec![key.as_str(); 1025]), "endorsement_keys");
    let mut unknown = mapping();
    unknown
        .attributes
        .insert("x".to_owned(), "{pcr_sha256_24}".to_owned());
    assert!(matches!(
        Site::compile(Vec::new(), vec![key], unknown),
        Err(RuleError::Template { .. })
    ));
}

#[test]
fn places_of_tpms() {
    for good in [
        "/dev/tpmrm0",
        "unix:/run/tpm.sock",
        "tcp:127.0.0.1:2321",
        "tcp:[::1]:2321",
    ] {
        let address: attest::tpm::TpmAddress = good.parse().unwrap();
        assert_eq!(address.to_string(), good);
    }
    for bad in [
        "",
        "tpm",
        "unix:x",
        "tcp:192.0.2.1:2321",
        "tcp:localhost:1",
        "file:/dev/tpm0",
    ] {
        let refused = bad.parse::<attest::tpm::TpmAddress>();
        assert!(matches!(refused, Err(ProverError::Address(_))), "{bad}");
    }
    let nowhere = attest::tpm::TpmOptions {
        address: "/nonexistent/tpm".parse().unwrap(),
        ..Default::default()
    };
    let refused = TpmProver::open(&nowhere).unwrap_err();
    assert!(
        refused.to_string().contains("/nonexistent/tpm"),
        "{refused}"
    );
}
