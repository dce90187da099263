//! A site that lets machines with TPMs in, and the evidence shown to it.

use super::*;

/// A site that trusts `anchors` and `keys`.
pub(super) struct Site {
    pub(super) place: Place,
    pub(super) attestors: Attestors,
    pub(super) now: u64,
}

impl Site {
    pub(super) fn new(anchors: Vec<String>, keys: Vec<String>) -> Self {
        Self::compile(anchors, keys, mapping()).unwrap()
    }

    pub(super) fn compile(
        anchors: Vec<String>,
        endorsement_keys: Vec<String>,
        mapping: Mapping,
    ) -> Result<Self, RuleError> {
        let place = Place::new();
        let rules = SiteRules {
            spiffe_id_prefix: SpiffeId::parse("spiffe://acme.example/paris").unwrap(),
            attributes: [].into(),
            max_lifetime_seconds: 3600,
            issues_per_minute: 1000,
            issues_per_day: None,
            policy: None,
            attestors: Some(vec![AttestorRule::Tpm {
                anchors,
                endorsement_keys,
                mapping,
            }]),
        };
        Ok(Self {
            attestors: Attestors::compile(&place.site, &place.domain, &rules)?,
            place,
            // Certificates of `swtpm_setup` begin now.
            now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs()
                + 60,
        })
    }

    /// A site that lists the keys of these TPMs.
    pub(super) fn listing(keys: &[&EndorsementKey]) -> Self {
        Self::new(
            Vec::new(),
            keys.iter().map(|key| hex::encode(key.sha256())).collect(),
        )
    }

    pub(super) fn challenge(
        &self,
        prover: &Prover,
    ) -> Result<(ChallengeResponse, OpenedChallenge), AttestError> {
        let context = ChallengeContext {
            now: self.now,
            csr_key_sha256: &CSR_KEY,
            site: &self.place.site,
            trust_domain: &self.place.domain,
            audience: &self.place.authority,
        };
        let Challenge {
            nonce,
            state,
            credential_blob,
            encrypted_secret,
        } = self.attestors.challenge(prover, &context, &mut fresh())?;
        assert!(state.len() <= attest::limits::MAX_CHALLENGE_STATE_BYTES);
        let response = ChallengeResponse {
            challenge: "sealed by the authority".to_owned(),
            nonce: Base64::encode_string(&nonce),
            credential_blob: credential_blob.as_deref().map(Base64::encode_string),
            encrypted_secret: encrypted_secret.as_deref().map(Base64::encode_string),
        };
        let opened = OpenedChallenge {
            nonce,
            state,
            expires_at: self.now + 60,
        };
        Ok((response, opened))
    }

    pub(super) fn verify(
        &self,
        evidence: &Evidence,
        opened: &OpenedChallenge,
    ) -> Result<Vouched, AttestError> {
        self.verify_for(evidence, opened, &CSR_KEY)
    }

    pub(super) fn verify_for(
        &self,
        evidence: &Evidence,
        opened: &OpenedChallenge,
        csr_key_sha256: &[u8; 32],
    ) -> Result<Vouched, AttestError> {
        let context = Context {
            now: self.now,
            csr_key_sha256,
            ..self.place.answering(opened)
        };
        self.attestors.verify(evidence, &context)
    }

    pub(super) fn attest(&self, prover: TpmProver) -> Result<Vouched, AttestError> {
        let (response, opened) = self.challenge(&prover.prover())?;
        self.verify(&prover.answer(&response, &CSR_KEY).unwrap(), &opened)
    }
}

pub(super) fn mapping() -> Mapping {
    Mapping {
        spiffe_id: "spiffe://acme.example/paris/machine/{ek_sha256}".to_owned(),
        attributes: [
            ("ek".to_owned(), "{ek_algorithm}".to_owned()),
            ("secure-boot".to_owned(), "{pcr_sha256_7}".to_owned()),
        ]
        .into(),
    }
}

pub(super) fn fresh() -> rand_chacha::ChaCha20Rng {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    rng(now.subsec_nanos().into())
}

/// Parts of evidence, to be exchanged.
pub(super) struct Parts {
    pub(super) secret: String,
    pub(super) quote: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) pcrs: Vec<String>,
}

impl Parts {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let Evidence::Tpm {
            secret,
            quote,
            signature,
            pcrs,
            ..
        } = evidence
        else {
            panic!("not of a TPM");
        };
        Self {
            secret: secret.to_string(),
            quote: Base64::decode_vec(quote).unwrap(),
            signature: Base64::decode_vec(signature).unwrap(),
            pcrs: pcrs.clone(),
        }
    }

    pub(super) fn evidence(&self) -> Evidence {
        Evidence::Tpm {
            challenge: String::new(),
            secret: Zeroizing::new(self.secret.clone()),
            quote: Base64::encode_string(&self.quote),
            signature: Base64::encode_string(&self.signature),
            pcrs: self.pcrs.clone(),
        }
    }
}
