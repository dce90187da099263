//! What the authority keeps of a challenge until its answer; it travels sealed by the authority.

use std::fmt;

use identity::{AttributeValue, Attributes};
use zeroize::Zeroizing;

use super::bytes::{Reader, Writer};
use super::endorsement::Trust;
use super::public::{AttestationKey, KeyKind};
use crate::limits::MAX_TPM_PUBLIC_BYTES;

/// What is kept; the layout stands in the parent module.
pub(super) struct State {
    pub(super) secret: Zeroizing<[u8; 32]>,
    pub(super) endorsement_key: [u8; 32],
    pub(super) endorsement_kind: KeyKind,
    pub(super) trust: Trust,
    pub(super) attestation_key: AttestationKey,
    pub(super) certificate_facts: Attributes,
}

impl State {
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut public = Writer::new().raw(&self.endorsement_key);
        public = match self.trust {
            Trust::Listed => public.u8(0),
            Trust::Certified(anchor) => public.u8(1).raw(&anchor),
        };
        public = public
            .sized(&self.attestation_key.area())
            .u8(match self.endorsement_kind {
                KeyKind::Rsa2048 => 0,
                KeyKind::P256 => 1,
            });
        let facts: Vec<_> = self
            .certificate_facts
            .iter()
            .filter_map(|(name, value)| value.as_text().map(|text| (name, text)))
            .collect();
        public = public.u16(u16::try_from(facts.len()).unwrap_or(u16::MAX));
        for (name, text) in facts {
            public = public.sized(name.as_bytes()).sized(text.as_bytes());
        }
        let public = public.finish();
        // Of its whole size from the start: nothing of the secret is left behind by growing.
        let mut encoded = Zeroizing::new(Vec::with_capacity(HEAD_BYTES + public.len()));
        encoded.push(VERSION);
        encoded.extend_from_slice(&[0, 32]);
        encoded.extend_from_slice(self.secret.as_slice());
        encoded.extend_from_slice(&public);
        encoded
    }

    pub(super) fn decode(encoded: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(encoded);
        (reader.u8()? == VERSION).then_some(())?;
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(reader.sized(32).filter(|secret| secret.len() == 32)?);
        let endorsement_key = *reader.array()?;
        let trust = match reader.u8()? {
            0 => Trust::Listed,
            1 => Trust::Certified(*reader.array()?),
            _ => return None,
        };
        let attestation_key = AttestationKey::parse_area(reader.sized(MAX_TPM_PUBLIC_BYTES)?)?;
        let endorsement_kind = match reader.u8()? {
            0 => KeyKind::Rsa2048,
            1 => KeyKind::P256,
            _ => return None,
        };
        let mut certificate_facts = Attributes::new();
        for _ in 0..reader.u16()? {
            let name = text(reader.sized(MAX_FACT_BYTES)?)?;
            let value = text(reader.sized(MAX_FACT_BYTES)?)?;
            certificate_facts
                .insert(name, AttributeValue::from(value))
                .ok()?;
        }
        reader.end()?;
        Some(Self {
            secret,
            endorsement_key,
            endorsement_kind,
            trust,
            attestation_key,
            certificate_facts,
        })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("endorsement_key", &hex::encode(self.endorsement_key))
            .field("trust", &self.trust)
            .field("attestation_key", &self.attestation_key)
            .finish_non_exhaustive()
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 2 + 32;
/// Of a certificate, whose length bounds it.
const MAX_FACT_BYTES: usize = crate::limits::MAX_TPM_CERTIFICATE_BYTES;
