//! Quotes: what a TPM says about its platform configuration registers, signed by its attestation key.
//!
//! Specification: TPM 2.0 Library, part 2, sections 10.12 (`TPMS_ATTEST`) and 11.3 (`TPMT_SIGNATURE`); part 3, 18.4.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::bytes::{Reader, Writer};
use super::constants::{ATTEST_QUOTE, ECDSA, GENERATED_VALUE, RSASSA, SHA256};
use super::error::TpmError;
use super::public::{AttestationKey, PublicKey, padded};
use crate::limits::{MAX_TPM_QUOTE_BYTES, MAX_TPM_SIGNATURE_BYTES, TPM_QUOTE_LABEL};

/// What an attestation key signed about the registers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quote {
    qualifying_data: Vec<u8>,
    registers: Registers,
    digest: [u8; 32],
}

/// A choice of SHA-256 registers, not empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Registers([u8; 3]);

impl Quote {
    /// Verifies `signature` (`TPMT_SIGNATURE`) over `attest` (`TPMS_ATTEST`) by `key`, then parses `attest`.
    ///
    /// # Errors
    ///
    /// - [`TpmError::Signature`]: not signed by the key.
    /// - [`TpmError::Quote`]: signed, and not a quote.
    pub fn verify(key: &AttestationKey, attest: &[u8], signature: &[u8]) -> Result<Self, TpmError> {
        if attest.len() > MAX_TPM_QUOTE_BYTES || signature.len() > MAX_TPM_SIGNATURE_BYTES {
            return Err(TpmError::Quote);
        }
        verify_signature(&key.key, attest, signature).ok_or(TpmError::Signature)?;
        Self::parse(attest)
    }

    /// Parses `attest` (`TPMS_ATTEST`) without any signature; [`Quote::verify`] is what attests.
    ///
    /// # Errors
    ///
    /// [`TpmError::Quote`]: not a quote over SHA-256 registers alone.
    pub fn parse(attest: &[u8]) -> Result<Self, TpmError> {
        Self::read(attest).ok_or(TpmError::Quote)
    }

    fn read(attest: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(attest);
        // "magic: indicates that this structure was created by a TPM".
        (*reader.array()? == GENERATED_VALUE).then_some(())?;
        reader.expect_u16(ATTEST_QUOTE)?;
        let _qualified_signer = reader.sized(MAX_NAME_BYTES)?;
        let qualifying_data = reader.sized(MAX_NAME_BYTES)?.to_vec();
        let _clock_and_firmware: &[u8; 17 + 8] = reader.array()?;
        // TPML_PCR_SELECTION: one bank.
        (reader.u32()? == 1).then_some(())?;
        reader.expect_u16(SHA256)?;
        (reader.u8()? == 3).then_some(())?;
        let registers = Registers(*reader.array()?);
        (registers.numbers().count() > 0).then_some(())?;
        let digest = reader.sized(32)?.try_into().ok()?;
        reader.end()?;
        Some(Self {
            qualifying_data,
            registers,
            digest,
        })
    }

    /// Whether the quote was made for this challenge and this key of a certificate request.
    ///
    /// # Errors
    ///
    /// [`TpmError::QualifyingData`]: for another one.
    pub fn answers(&self, nonce: &[u8; 32], csr_key_sha256: &[u8; 32]) -> Result<(), TpmError> {
        let expected = qualifying_data(nonce, csr_key_sha256);
        if bool::from(self.qualifying_data.ct_eq(&expected)) {
            Ok(())
        } else {
            Err(TpmError::QualifyingData)
        }
    }

    /// Pairs the registers with their values, which must have the quoted digest.
    ///
    /// # Errors
    ///
    /// [`TpmError::Registers`]: other values, or other than one for each register.
    pub fn with_values<'v>(
        &self,
        values: &'v [[u8; 32]],
    ) -> Result<impl Iterator<Item = (u8, &'v [u8; 32])> + use<'v>, TpmError> {
        let registers = self.registers;
        let digest: [u8; 32] = Sha256::digest(values.as_flattened()).into();
        if digest != self.digest || values.len() != registers.numbers().count() {
            return Err(TpmError::Registers);
        }
        Ok(registers.numbers().zip(values))
    }

    /// Digest of the values of the registers.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl Registers {
    /// The registers that hold what was booted: 0 to 7, firmware, boot loader and secure boot.
    #[must_use]
    pub fn boot() -> Self {
        Self([0xff, 0, 0])
    }

    /// The registers `numbers`, each below 24.
    #[must_use]
    pub fn of(numbers: &[u8]) -> Option<Self> {
        let mut bits = [0_u8; 3];
        for number in numbers {
            *bits.get_mut(usize::from(number / 8))? |= 1 << (number % 8);
        }
        (bits != [0; 3]).then_some(Self(bits))
    }

    /// Their numbers, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        let bits = self.0;
        (0..24_u8).filter(move |number| {
            bits.get(usize::from(number / 8))
                .is_some_and(|byte| byte & (1 << (number % 8)) != 0)
        })
    }

    /// `TPML_PCR_SELECTION`.
    pub(super) fn selection(self) -> Vec<u8> {
        Writer::new().u32(1).u16(SHA256).u8(3).raw(&self.0).finish()
    }
}

/// What a quote is made over: the challenge, and the key that the document will be issued for.
pub(super) fn qualifying_data(nonce: &[u8; 32], csr_key_sha256: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(TPM_QUOTE_LABEL)
        .chain_update(nonce)
        .chain_update(csr_key_sha256)
        .finalize()
        .into()
}

fn verify_signature(key: &PublicKey, message: &[u8], signature: &[u8]) -> Option<()> {
    let mut reader = Reader::new(signature);
    match key {
        PublicKey::Rsa2048(modulus) => {
            reader.expect_u16(RSASSA)?;
            reader.expect_u16(SHA256)?;
            let signature = reader.sized(256)?;
            reader.end()?;
            PublicKeyComponents {
                n: modulus.as_slice(),
                e: &[1_u8, 0, 1][..],
            }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .ok()
        }
        PublicKey::P256 { .. } => {
            reader.expect_u16(ECDSA)?;
            reader.expect_u16(SHA256)?;
            let (r, s) = (padded(reader.sized(32)?)?, padded(reader.sized(32)?)?);
            reader.end()?;
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point()?)
                .verify(message, [r, s].as_flattened())
                .ok()
        }
    }
}

/// `TPM2B_NAME` and `TPM2B_DATA` at their greatest: an algorithm and a digest of 64 bytes.
const MAX_NAME_BYTES: usize = 66;
