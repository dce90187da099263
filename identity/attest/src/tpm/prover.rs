//! The machine's side: showing the keys of a TPM, and answering a challenge with it.
//!
//! The attestation key is made anew each time from the TPM's endorsement seed, so it is always the same key and takes no
//! room in the TPM; so is the endorsement key, unless the machine keeps it at its usual handle. Passwords of the
//! hierarchies are not supported: the endorsement hierarchy must have none, as it comes.

use std::io;

use base64ct::{Base64, Encoding};
use der::Decode;
use der::asn1::AnyRef;
use identity::wire::{ChallengeResponse, Evidence, Prover};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::commands::Commands;
use super::device::{Device, TpmAddress};
use super::error::TpmError;
use super::public::{
    AttestationKey, EndorsementKey, KeyKind, PublicKey, attestation_area, endorsement_area,
    normalised_endorsement_key,
};
use super::quote::{Quote, Registers, qualifying_data};
use crate::limits::{
    MAX_TPM_CERTIFICATE_BYTES, MAX_TPM_CHAIN_CERTIFICATES, MAX_TPM_PUBLIC_BYTES, MAX_TPM_QUOTES,
};

/// What a machine proves itself with.
#[derive(Clone, Debug)]
pub struct TpmOptions {
    /// Where the TPM is.
    pub address: TpmAddress,
    /// Which of its endorsement keys is shown; each is a subject of its own.
    pub endorsement_key: KeyKind,
    /// Which registers are quoted.
    pub registers: Registers,
    /// Certificate of the endorsement key, DER, in place of the one that the TPM holds: some makers give it out over the
    /// network only.
    pub certificate: Option<Vec<u8>>,
    /// Certificates between the endorsement key's and the anchors of the site; DER.
    pub intermediates: Vec<Vec<u8>>,
}

impl Default for TpmOptions {
    fn default() -> Self {
        Self {
            address: TpmAddress::default(),
            endorsement_key: KeyKind::default(),
            registers: Registers::boot(),
            certificate: None,
            intermediates: Vec::new(),
        }
    }
}

/// An open TPM with both keys loaded; they are flushed when it is dropped.
#[derive(Debug)]
pub struct TpmProver {
    commands: Commands,
    endorsement: (u32, EndorsementKey),
    attestation: (u32, AttestationKey),
    chain: Vec<Vec<u8>>,
    registers: Registers,
}

/// Reason a machine cannot prove itself with its TPM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProverError {
    /// Not a place where a TPM can be.
    #[error(
        "no place of a TPM: {0:?}: write /dev/tpmrm0, unix:/path/of/socket or tcp:127.0.0.1:port"
    )]
    Address(String),
    /// It could not be opened.
    #[error(
        "TPM at {0} can't be opened: it must exist, and this user must be in the group of the device"
    )]
    Open(TpmAddress, #[source] io::Error),
    /// It did not answer.
    #[error("TPM did not answer {0}")]
    Io(&'static str, #[source] io::Error),
    /// Its answer makes no sense.
    #[error("TPM answered {0} with something else than an answer to it")]
    Answer(&'static str),
    /// It refused.
    #[error("TPM refused {0} with the code 0x{1:03x}{hint}", hint = hint(*.1))]
    Refused(&'static str, u32),
    /// It has no SHA-256 registers, or not those asked for.
    #[error("TPM has no such SHA-256 registers: switch its SHA-256 bank on in the firmware")]
    NoRegisters,
    /// Its registers changed each time they were quoted.
    #[error(
        "registers of the TPM keep changing: quote others, or try again when the machine is up"
    )]
    RegistersChange,
    /// A certificate that does not fit.
    #[error("certificates of the endorsement key are malformed, too long or too many")]
    Certificates,
    /// One of its keys is unusual.
    #[error("TPM has made an unusual key: {0}")]
    Key(TpmError),
    /// The authority's challenge is not one for a TPM.
    #[error("the authority's challenge has no {0}")]
    Challenge(&'static str),
}

impl TpmProver {
    /// Opens the TPM and loads both keys.
    ///
    /// # Errors
    ///
    /// [`ProverError`], saying what to do about it.
    pub fn open(options: &TpmOptions) -> Result<Self, ProverError> {
        let device = Device::open(&options.address)
            .map_err(|error| ProverError::Open(options.address.clone(), error))?;
        let mut commands = Commands::new(device);
        let endorsement = load_endorsement_key(&mut commands, options.endorsement_key)?;
        let (handle, public) =
            commands.create_primary(&attestation_area(&attestation_template(), false))?;
        let attestation = AttestationKey::parse(&public).map_err(ProverError::Key)?;
        let chain = read_chain(&mut commands, options)?;
        Ok(Self {
            commands,
            endorsement,
            attestation: (handle, attestation),
            chain,
            registers: options.registers,
        })
    }

    /// What the authority makes a challenge for.
    #[must_use]
    pub fn prover(&self) -> Prover {
        Prover::Tpm {
            endorsement_key: Base64::encode_string(&self.endorsement.1.to_bytes()),
            endorsement_chain: self
                .chain
                .iter()
                .map(|der| Base64::encode_string(der))
                .collect(),
            attestation_key: Base64::encode_string(&self.attestation.1.to_bytes()),
        }
    }

    /// The endorsement key that is shown; its hash can be listed in a site's rules.
    #[must_use]
    pub fn endorsement_key(&self) -> &EndorsementKey {
        &self.endorsement.1
    }

    /// Certificates of the endorsement key, leaf first, DER; empty when the TPM holds none.
    #[must_use]
    pub fn endorsement_chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Answers `challenge`, for a document of the key with the hash `csr_key_sha256`.
    ///
    /// # Errors
    ///
    /// - [`ProverError::Challenge`]: the authority answered something else than a challenge for a TPM.
    /// - [`ProverError::Refused`]: among others, the credential was made for other keys.
    /// - [`ProverError::RegistersChange`]: no quote had the values that were read after it.
    pub fn answer(
        mut self,
        challenge: &ChallengeResponse,
        csr_key_sha256: &[u8; 32],
    ) -> Result<Evidence, ProverError> {
        let nonce: [u8; 32] = decode("nonce", Some(&challenge.nonce))?
            .try_into()
            .map_err(|_| ProverError::Challenge("nonce"))?;
        let blob = decode("credential_blob", challenge.credential_blob.as_ref())?;
        let encrypted = decode("encrypted_secret", challenge.encrypted_secret.as_ref())?;
        let (attestation, key) = &self.attestation;
        let secret = self.commands.activate_credential(
            *attestation,
            self.endorsement.0,
            &blob,
            &encrypted,
        )?;
        let data = qualifying_data(&nonce, csr_key_sha256);
        for _ in 0..MAX_TPM_QUOTES {
            let (attest, signature) = self.commands.quote(*attestation, &data, self.registers)?;
            let values = self.commands.read_registers(self.registers)?;
            let quote = Quote::verify(key, &attest, &signature).map_err(ProverError::Key)?;
            if quote.with_values(&values).is_err() {
                continue;
            }
            return Ok(Evidence::Tpm {
                challenge: challenge.challenge.clone(),
                secret: Zeroizing::new(Base64::encode_string(&secret)),
                quote: Base64::encode_string(&attest),
                signature: Base64::encode_string(&signature),
                pcrs: values.iter().map(hex::encode).collect(),
            });
        }
        Err(ProverError::RegistersChange)
    }
}

/// The key that the machine keeps at its usual handle, or the same made anew.
fn load_endorsement_key(
    commands: &mut Commands,
    kind: KeyKind,
) -> Result<(u32, EndorsementKey), ProverError> {
    let (persistent, template) = match kind {
        KeyKind::Rsa2048 => (PERSISTENT_RSA, PublicKey::Rsa2048(vec![0; 256])),
        KeyKind::P256 => {
            let (x, y) = (vec![0; 32], vec![0; 32]);
            (PERSISTENT_P256, PublicKey::P256 { x, y })
        }
    };
    if let Some(public) = commands.read_public(persistent)?
        && let Ok(key) = normalised_endorsement_key(&public)
        && key.kind() == kind
    {
        return Ok((persistent, key));
    }
    let (handle, public) = commands.create_primary(&endorsement_area(&template))?;
    let key = normalised_endorsement_key(&public).map_err(ProverError::Key)?;
    Ok((handle, key))
}

fn read_chain(commands: &mut Commands, options: &TpmOptions) -> Result<Vec<Vec<u8>>, ProverError> {
    let leaf = match &options.certificate {
        Some(certificate) => Some(certificate.clone()),
        None => read_certificate(commands, options.endorsement_key)?,
    };
    let Some(leaf) = leaf else {
        return Ok(Vec::new());
    };
    let mut chain = vec![leaf];
    chain.extend(options.intermediates.iter().cloned());
    let fits = |der: &Vec<u8>| der.len() <= MAX_TPM_CERTIFICATE_BYTES;
    if chain.len() > MAX_TPM_CHAIN_CERTIFICATES || !chain.iter().all(fits) {
        return Err(ProverError::Certificates);
    }
    Ok(chain)
}

fn read_certificate(
    commands: &mut Commands,
    kind: KeyKind,
) -> Result<Option<Vec<u8>>, ProverError> {
    let index = match kind {
        KeyKind::Rsa2048 => CERTIFICATE_RSA,
        KeyKind::P256 => CERTIFICATE_P256,
    };
    let Some(stored) = commands.read_nv(index)? else {
        return Ok(None);
    };
    // Some makers fill the rest of the index.
    let (_, padding) = AnyRef::from_der_partial(&stored).map_err(|_| ProverError::Certificates)?;
    let certificate = stored.get(..stored.len() - padding.len());
    Ok(certificate.map(<[u8]>::to_vec))
}

/// P-256, which every TPM makes fast. Its unique value keeps it apart from keys of other programs.
fn attestation_template() -> PublicKey {
    PublicKey::P256 {
        x: Sha256::digest(ATTESTATION_KEY_LABEL).to_vec(),
        y: Vec::new(),
    }
}

fn decode(name: &'static str, text: Option<&String>) -> Result<Vec<u8>, ProverError> {
    text.filter(|text| text.len() <= 4 * MAX_TPM_PUBLIC_BYTES)
        .and_then(|text| Base64::decode_vec(text).ok())
        .ok_or(ProverError::Challenge(name))
}

fn hint(code: u32) -> &'static str {
    match code {
        // TPM_RC_AUTH_FAIL, TPM_RC_BAD_AUTH, of the first session.
        0x98e | 0x9a2 => ": the endorsement hierarchy has a password; it must have none",
        0x921 => ": it is locked for a while after wrong passwords",
        0x902 => ": its memory is full; use /dev/tpmrm0",
        // TPM_RC_INTEGRITY of a parameter.
        0x1df | 0x2df => ": the credential was made for other keys",
        _ => "",
    }
}

/// Usual handles and indices (TCG EK Credential Profile, section 2.2.1.4; TCG Provisioning Guidance, table 2).
const PERSISTENT_RSA: u32 = 0x8101_0001;
const PERSISTENT_P256: u32 = 0x8101_0002;
const CERTIFICATE_RSA: u32 = 0x01c0_0002;
const CERTIFICATE_P256: u32 = 0x01c0_000a;

const ATTESTATION_KEY_LABEL: &[u8] = b"blindfold attest tpm attestation key v1";
