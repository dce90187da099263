//! The commands that proving takes.
//!
//! Whatever was loaded is flushed when [`Commands`] is dropped: a TPM without resource manager has room for three objects.
//!
//! Specification: TPM 2.0 Library, part 3.

use std::thread;

use zeroize::Zeroizing;

use super::bytes::{Reader, Writer};
use super::constants::{NULL, SHA256};
use super::device::{Device, HEADER_BYTES};
use super::prover::ProverError;
use super::quote::Registers;
use crate::limits::{
    MAX_TPM_NV_BYTES, MAX_TPM_PUBLIC_BYTES, MAX_TPM_QUOTE_BYTES, MAX_TPM_REGISTERS,
    MAX_TPM_RETRIES, TPM_NV_CHUNK_BYTES, TPM_RETRY_PAUSE,
};

/// An open TPM with what was loaded into it.
#[derive(Debug)]
pub(super) struct Commands {
    device: Device,
    loaded: Vec<u32>,
}

/// Parameters of an answer, and its handle.
struct Answer {
    handle: Option<u32>,
    parameters: Zeroizing<Vec<u8>>,
}

/// A command by name and code.
#[derive(Clone, Copy)]
struct Command(&'static str, u32);

const NV_READ: Command = Command("TPM2_NV_Read", 0x14e);
const NV_READ_PUBLIC: Command = Command("TPM2_NV_ReadPublic", 0x169);
const CREATE_PRIMARY: Command = Command("TPM2_CreatePrimary", 0x131);
const ACTIVATE_CREDENTIAL: Command = Command("TPM2_ActivateCredential", 0x147);
const POLICY_SECRET: Command = Command("TPM2_PolicySecret", 0x151);
const QUOTE: Command = Command("TPM2_Quote", 0x158);
const FLUSH_CONTEXT: Command = Command("TPM2_FlushContext", 0x165);
const READ_PUBLIC: Command = Command("TPM2_ReadPublic", 0x173);
const START_AUTH_SESSION: Command = Command("TPM2_StartAuthSession", 0x176);
const PCR_READ: Command = Command("TPM2_PCR_Read", 0x17e);

impl Commands {
    pub(super) fn new(device: Device) -> Self {
        Self {
            device,
            loaded: Vec::new(),
        }
    }

    /// Makes the primary object of `template` (`TPMT_PUBLIC`) in the endorsement hierarchy: handle and `TPM2B_PUBLIC`.
    pub(super) fn create_primary(
        &mut self,
        template: &[u8],
    ) -> Result<(u32, Vec<u8>), ProverError> {
        // TPM2B_SENSITIVE_CREATE without password and data; no outside information, no registers.
        let parameters = Writer::new()
            .u16(4)
            .u16(0)
            .u16(0)
            .sized(template)
            .u16(0)
            .u32(0)
            .finish();
        let answer = self.run(CREATE_PRIMARY, &[ENDORSEMENT], &[PASSWORD], &parameters)?;
        let handle = answer.handle.ok_or(ProverError::Answer(CREATE_PRIMARY.0))?;
        self.loaded.push(handle);
        let public = first_sized(&answer.parameters, MAX_TPM_PUBLIC_BYTES)
            .ok_or(ProverError::Answer(CREATE_PRIMARY.0))?;
        Ok((handle, Writer::new().sized(public).finish()))
    }

    /// `TPM2B_PUBLIC` of a persistent object, if there is one.
    pub(super) fn read_public(&mut self, handle: u32) -> Result<Option<Vec<u8>>, ProverError> {
        let Some(answer) = absent(self.run(READ_PUBLIC, &[handle], &[], &[]))? else {
            return Ok(None);
        };
        let public = first_sized(&answer.parameters, MAX_TPM_PUBLIC_BYTES)
            .ok_or(ProverError::Answer(READ_PUBLIC.0))?;
        Ok(Some(Writer::new().sized(public).finish()))
    }

    /// What stands in an NV index, if there is one.
    pub(super) fn read_nv(&mut self, index: u32) -> Result<Option<Vec<u8>>, ProverError> {
        let Some(answer) = absent(self.run(NV_READ_PUBLIC, &[index], &[], &[]))? else {
            return Ok(None);
        };
        let size = nv_size(&answer.parameters)
            .filter(|size| usize::from(*size) <= MAX_TPM_NV_BYTES)
            .ok_or(ProverError::Answer(NV_READ_PUBLIC.0))?;
        let mut contents = Vec::with_capacity(usize::from(size));
        let mut offset = 0;
        while offset < size {
            let length = TPM_NV_CHUNK_BYTES.min(size - offset);
            let parameters = Writer::new().u16(length).u16(offset).finish();
            let answer = self.run(NV_READ, &[index, index], &[PASSWORD], &parameters)?;
            let chunk = first_sized(&answer.parameters, usize::from(length))
                .filter(|chunk| chunk.len() == usize::from(length))
                .ok_or(ProverError::Answer(NV_READ.0))?;
            contents.extend_from_slice(chunk);
            offset += length;
        }
        Ok(Some(contents))
    }

    /// The secret in a credential for the object `attestation` under the endorsement key `endorsement`.
    pub(super) fn activate_credential(
        &mut self,
        attestation: u32,
        endorsement: u32,
        credential_blob: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ProverError> {
        let session = self.start_policy_session()?;
        // "PolicySecret(TPM_RH_ENDORSEMENT)": no nonce, no command, no reference, no expiry.
        let parameters = Writer::new().u16(0).u16(0).u16(0).u32(0).finish();
        self.run(
            POLICY_SECRET,
            &[ENDORSEMENT, session],
            &[PASSWORD],
            &parameters,
        )?;
        let parameters = Writer::new()
            .raw(credential_blob)
            .raw(encrypted_secret)
            .finish();
        let answer = self.run(
            ACTIVATE_CREDENTIAL,
            &[attestation, endorsement],
            &[PASSWORD, session],
            &parameters,
        )?;
        // Without continueSession the session ends with the command it was for.
        self.loaded.retain(|handle| *handle != session);
        let secret = first_sized(&answer.parameters, 64)
            .ok_or(ProverError::Answer(ACTIVATE_CREDENTIAL.0))?;
        Ok(Zeroizing::new(secret.to_vec()))
    }

    /// `TPMS_ATTEST` and `TPMT_SIGNATURE` of a quote by the object `attestation`.
    pub(super) fn quote(
        &mut self,
        attestation: u32,
        qualifying_data: &[u8; 32],
        registers: Registers,
    ) -> Result<(Vec<u8>, Vec<u8>), ProverError> {
        // The scheme is the key's own.
        let parameters = Writer::new()
            .sized(qualifying_data)
            .u16(NULL)
            .raw(&registers.selection())
            .finish();
        let answer = self.run(QUOTE, &[attestation], &[PASSWORD], &parameters)?;
        let mut reader = Reader::new(&answer.parameters);
        let attest = reader
            .sized(MAX_TPM_QUOTE_BYTES)
            .ok_or(ProverError::Answer(QUOTE.0))?;
        Ok((attest.to_vec(), reader.rest().to_vec()))
    }

    /// Values of the SHA-256 registers, ascending by number.
    pub(super) fn read_registers(
        &mut self,
        registers: Registers,
    ) -> Result<Vec<[u8; 32]>, ProverError> {
        let mut values = Vec::with_capacity(MAX_TPM_REGISTERS);
        for number in registers.numbers() {
            // One at a time: a TPM answers as many as it likes.
            let selection = Registers::of(&[number]).ok_or(ProverError::Answer(PCR_READ.0))?;
            let answer = self.run(PCR_READ, &[], &[], &selection.selection())?;
            let value =
                register_value(&answer.parameters, selection).ok_or(ProverError::NoRegisters)?;
            values.push(value);
        }
        Ok(values)
    }

    fn start_policy_session(&mut self) -> Result<u32, ProverError> {
        // Neither salted nor bound: the session has no key, and nothing depends on its nonces.
        let parameters = Writer::new()
            .sized(&[0; 32])
            .u16(0)
            .u8(POLICY_SESSION)
            .u16(NULL)
            .u16(SHA256)
            .finish();
        let answer = self.run(
            START_AUTH_SESSION,
            &[NO_HANDLE, NO_HANDLE],
            &[],
            &parameters,
        )?;
        let handle = answer
            .handle
            .ok_or(ProverError::Answer(START_AUTH_SESSION.0))?;
        self.loaded.push(handle);
        Ok(handle)
    }

    fn run(
        &mut self,
        command: Command,
        handles: &[u32],
        sessions: &[u32],
        parameters: &[u8],
    ) -> Result<Answer, ProverError> {
        let bytes = command.encode(handles, sessions, parameters);
        for _ in 0..MAX_TPM_RETRIES {
            let answer = self
                .device
                .transact(&bytes)
                .map_err(|error| ProverError::Io(command.0, error))?;
            match command.decode(&answer, !sessions.is_empty())? {
                Ok(answer) => return Ok(answer),
                Err(RETRY | YIELDED | TESTING) => thread::sleep(TPM_RETRY_PAUSE),
                Err(code) => return Err(ProverError::Refused(command.0, code)),
            }
        }
        Err(ProverError::Refused(command.0, RETRY))
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        for handle in std::mem::take(&mut self.loaded) {
            let parameters = Writer::new().u32(handle).finish();
            // What can't be flushed, the resource manager flushes when the device is closed.
            drop(self.run(FLUSH_CONTEXT, &[], &[], &parameters));
        }
    }
}

impl Command {
    fn encode(self, handles: &[u32], sessions: &[u32], parameters: &[u8]) -> Vec<u8> {
        let mut body = Writer::new();
        for handle in handles {
            body = body.u32(*handle);
        }
        if !sessions.is_empty() {
            // Handle; no nonce; no attributes; no HMAC, that is an empty password.
            let mut area = Writer::new();
            for session in sessions {
                area = area.u32(*session).u16(0).u8(0).u16(0);
            }
            let area = area.finish();
            body = body.u32(length(&area)).raw(&area);
        }
        let body = body.raw(parameters).finish();
        let tag = if sessions.is_empty() { PLAIN } else { SESSIONS };
        Writer::new()
            .u16(tag)
            .u32(length(&body).saturating_add(HEADER_LENGTH))
            .u32(self.1)
            .raw(&body)
            .finish()
    }

    /// The answer's parameters, or its code; malformed answers are errors.
    fn decode(self, answer: &[u8], sessions: bool) -> Result<Result<Answer, u32>, ProverError> {
        self.read(answer, sessions)
            .ok_or(ProverError::Answer(self.0))
    }

    fn read(self, answer: &[u8], sessions: bool) -> Option<Result<Answer, u32>> {
        let mut reader = Reader::new(answer);
        let tag = reader.u16()?;
        (usize::try_from(reader.u32()?).ok()? == answer.len()).then_some(())?;
        let code = reader.u32()?;
        if code != 0 {
            return Some(Err(code));
        }
        (tag == if sessions { SESSIONS } else { PLAIN }).then_some(())?;
        let handle = match self.1 {
            code if code == CREATE_PRIMARY.1 || code == START_AUTH_SESSION.1 => Some(reader.u32()?),
            _ => None,
        };
        let parameters = if sessions {
            let length = usize::try_from(reader.u32()?).ok()?;
            reader.take(length)?
        } else {
            reader.rest()
        };
        Some(Ok(Answer {
            handle,
            parameters: Zeroizing::new(parameters.to_vec()),
        }))
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn first_sized(parameters: &[u8], max: usize) -> Option<&[u8]> {
    Reader::new(parameters).sized(max)
}

fn nv_size(parameters: &[u8]) -> Option<u16> {
    let mut reader = Reader::new(first_sized(parameters, 128)?);
    let _index_algorithm_attributes: &[u8; 10] = reader.array()?;
    let _policy = reader.sized(64)?;
    let size = reader.u16()?;
    reader.end()?;
    Some(size)
}

fn register_value(parameters: &[u8], asked: Registers) -> Option<[u8; 32]> {
    let mut reader = Reader::new(parameters);
    let _update_counter = reader.u32()?;
    let selection = asked.selection();
    (reader.take(selection.len())? == selection).then_some(())?;
    (reader.u32()? == 1).then_some(())?;
    let value = reader.sized(32)?.try_into().ok()?;
    reader.end()?;
    Some(value)
}

/// `None` where the handle is of nothing (`TPM_RC_HANDLE`, whichever handle).
fn absent(answer: Result<Answer, ProverError>) -> Result<Option<Answer>, ProverError> {
    match answer {
        Err(ProverError::Refused(_, code)) if code & 0x0bf == RC_HANDLE => Ok(None),
        Err(error) => Err(error),
        Ok(answer) => Ok(Some(answer)),
    }
}

// TPM_ST.
const PLAIN: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
// TPM_RH.
const ENDORSEMENT: u32 = 0x4000_000b;
const NO_HANDLE: u32 = 0x4000_0007;
const PASSWORD: u32 = 0x4000_0009;
// TPM_SE.
const POLICY_SESSION: u8 = 1;
// TPM_RC: warnings that ask for the command again, and a format-one error without its position.
const RETRY: u32 = 0x922;
const YIELDED: u32 = 0x908;
const TESTING: u32 = 0x90a;
const RC_HANDLE: u32 = 0x08b;

const HEADER_LENGTH: u32 = 10;
const _: () = assert!(HEADER_LENGTH as usize == HEADER_BYTES, "one header");
