//! A machine that proves itself with its TPM 2.0.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ::attest::tpm::{KeyKind, ProverError, Registers, TpmAddress, TpmOptions, TpmProver};
use ::identity::wire::{Evidence, Prover};

use super::{EvidenceError, EvidenceRequest, EvidenceSource};
use crate::{files, limits};

/// Credential activation and a quote by the machine's TPM, which is opened for each request and closed after it.
///
/// The user of this process must be allowed to open the device; on Debian that is the group `tss`.
#[derive(Debug)]
pub struct TpmMachine {
    options: TpmOptions,
    certificate_file: Option<PathBuf>,
    intermediates_file: Option<PathBuf>,
    /// Between challenge and evidence.
    open: Mutex<Option<TpmProver>>,
}

impl TpmMachine {
    /// The TPM at `address`, which shows its RSA endorsement key and quotes the registers 0 to 7.
    pub fn new(address: TpmAddress) -> Self {
        Self {
            options: TpmOptions {
                address,
                ..TpmOptions::default()
            },
            certificate_file: None,
            intermediates_file: None,
            open: Mutex::default(),
        }
    }

    /// Shows the other endorsement key; each is a subject of its own.
    #[must_use]
    pub fn endorsement_key(mut self, kind: KeyKind) -> Self {
        self.options.endorsement_key = kind;
        self
    }

    /// Quotes these registers.
    #[must_use]
    pub fn registers(mut self, registers: Registers) -> Self {
        self.options.registers = registers;
        self
    }

    /// A file with the endorsement key's certificate (PEM), in place of the one in the TPM.
    #[must_use]
    pub fn certificate_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.certificate_file = Some(file.into());
        self
    }

    /// A file with the certificates (PEM) between the endorsement key's and the anchors of the site.
    #[must_use]
    pub fn intermediates_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.intermediates_file = Some(file.into());
        self
    }

    fn read_options(&self) -> Result<TpmOptions, EvidenceError> {
        let mut options = self.options.clone();
        if let Some(file) = &self.certificate_file {
            options.certificate = read_certificates(file)?.into_iter().next();
        }
        if let Some(file) = &self.intermediates_file {
            options.intermediates = read_certificates(file)?;
        }
        Ok(options)
    }
}

impl EvidenceSource for TpmMachine {
    fn prover(&self) -> Result<Option<Prover>, EvidenceError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // What an attempt that came to nothing left open; a TPM without resource manager has room for one.
        *open = None;
        let prover = TpmProver::open(&self.read_options()?).map_err(told)?;
        let shown = prover.prover();
        *open = Some(prover);
        Ok(Some(shown))
    }

    fn evidence(&self, request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(prover), Some(challenge)) = (open.take(), request.challenge) else {
            return Err(EvidenceError::later("the TPM answers challenges only"));
        };
        prover
            .answer(challenge, request.csr_key_sha256)
            .map_err(told)
    }

    /// Told after each attempt: whatever a refused challenge left open is closed, for other programs.
    fn expect(&self, _csr_key_sha256: &[u8; 32], _wanted: bool) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn read_certificates(file: &Path) -> Result<Vec<Vec<u8>>, EvidenceError> {
    let pem =
        files::read_text(file, limits::MAX_FOREIGN_PEM_BYTES).map_err(EvidenceError::never)?;
    let chain = ::identity::pem::decode_chain(&pem).ok_or_else(|| {
        EvidenceError::never(format_args!(
            "{} is not a file of certificates as PEM and nothing else",
            file.display()
        ))
    })?;
    Ok(chain.iter().map(|der| der.to_vec()).collect())
}

/// What may pass without anybody doing anything: a TPM that is busy, or does not answer.
fn told(error: ProverError) -> EvidenceError {
    let why = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match error {
        ProverError::Io(..) | ProverError::Refused(..) | ProverError::RegistersChange => {
            EvidenceError::later(why)
        }
        _ => EvidenceError::never(why),
    }
}
