//! A host that holds a certificate of another CA.

use std::path::PathBuf;

use ::attest::x509::Prover as Holder;
use ::identity::wire::{Evidence, Prover};

use super::{EvidenceError, EvidenceRequest, EvidenceSource};
use crate::{files, limits};

/// A certificate of another CA and its key, read anew for each request; a certificate that changes leads to a new document.
#[derive(Clone, Debug)]
pub struct X509Certificate {
    certificate_file: PathBuf,
    key_file: PathBuf,
}

impl X509Certificate {
    /// The chain in `certificate_file`, leaf first, and its key in `key_file`, which only its owner may read; both PEM.
    pub fn new(certificate_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            certificate_file: certificate_file.into(),
            key_file: key_file.into(),
        }
    }

    fn holder(&self) -> Result<Holder, EvidenceError> {
        let chain = files::read_text(&self.certificate_file, limits::MAX_FOREIGN_PEM_BYTES)
            .map_err(EvidenceError::never)?;
        let key = files::read_secret(&self.key_file, limits::MAX_FOREIGN_PEM_BYTES)
            .map_err(EvidenceError::never)?;
        let (chain_name, key_name) = (self.certificate_file.display(), self.key_file.display());
        let key = std::str::from_utf8(&key)
            .map_err(|_| EvidenceError::never(format_args!("{key_name} is not text")))?;
        // Whoever replaces both files does it one after the other.
        Holder::from_pem(&chain, key).map_err(|error| {
            EvidenceError::later(format_args!("{chain_name} and {key_name}: {error}"))
        })
    }
}

impl EvidenceSource for X509Certificate {
    fn prover(&self) -> Result<Option<Prover>, EvidenceError> {
        Ok(Some(self.holder()?.request()))
    }

    fn evidence(&self, request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError> {
        let challenge = request
            .challenge
            .ok_or_else(|| EvidenceError::later("a certificate answers challenges only"))?;
        self.holder()?
            .evidence(
                challenge,
                request.csr_key_sha256,
                request.site,
                request.authority,
            )
            .map_err(EvidenceError::later)
    }

    fn generation(&self) -> u64 {
        files::generation(&self.certificate_file)
    }
}
