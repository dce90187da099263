//! Evidence: what a workload shows to the identity authority to get a document.
//!
//! An [`EvidenceSource`] makes it, each time a document is to be issued that is not a plain renewal: at first, when the
//! evidence changed, and when the document at hand cannot be renewed any more.
//!
//! | source | shows | changes |
//! |---|---|---|
//! | [`VoucherFile`] | a token of the site's voucher, bound to the key of the request | with the file |
//! | [`X509Certificate`] | a certificate of another CA, and its key's signature | with its file |
//! | [`AwsInstance`] | the EC2 instance's identity document | never |
//! | [`TpmMachine`] | credential activation and a quote by the machine's TPM | never |
//! | [`UnixProcess`] | nothing: the kernel says who asks | never |
//! | an [`EvidenceSource`] of your own | whatever a site's attestors take | as it says |

use std::fmt;

use ::identity::{
    SiteName, SpiffeId,
    wire::{ChallengeResponse, Evidence, Prover},
};

mod aws;
mod tpm;
mod unix;
mod voucher;
mod x509;

pub use aws::AwsInstance;
pub use tpm::TpmMachine;
pub use unix::UnixProcess;
pub use voucher::VoucherFile;
pub use x509::X509Certificate;

/// Makes evidence for the identity authority.
///
/// It is called on threads of the identity, never by two at once, and may block; it should give up after some seconds.
///
/// ```
/// use identity::wire::Evidence;
/// use wingman_sdk::identity::{EvidenceError, EvidenceRequest, EvidenceSource};
///
/// /// Asks a voucher of one's own for a token.
/// #[derive(Debug)]
/// struct MyVoucher;
///
/// impl EvidenceSource for MyVoucher {
///     fn evidence(&self, request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError> {
///         let _bound_to = request.csr_key_sha256;
///         Err(EvidenceError::later("the voucher was not asked in this example"))
///     }
/// }
/// ```
pub trait EvidenceSource: fmt::Debug + Send + Sync + 'static {
    /// What a challenge is to be made for; nothing if the evidence answers none.
    ///
    /// # Errors
    ///
    /// Why there is no evidence.
    fn prover(&self) -> Result<Option<Prover>, EvidenceError> {
        Ok(None)
    }

    /// Makes evidence for one request.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn evidence(&self, request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError>;

    /// A number that is another one as soon as there is newer evidence, which then leads to a new document. Asked
    /// several times a second, so it must be cheap. Always the same unless implemented.
    fn generation(&self) -> u64 {
        0
    }

    /// Told, after each document, which key the next one will be requested for, if that is known: for whoever makes
    /// evidence ahead of time. `wanted` says that a document is needed now and evidence is missing.
    fn expect(&self, csr_key_sha256: &[u8; 32], wanted: bool) {
        let _ = (csr_key_sha256, wanted);
    }
}

/// What evidence is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EvidenceRequest<'a> {
    /// SHA-256 of the public key of the request (DER of its `SubjectPublicKeyInfo`), to which evidence is bound.
    pub csr_key_sha256: &'a [u8; 32],
    /// The site that is to vouch.
    pub site: &'a SiteName,
    /// The authority that will see it.
    pub authority: &'a SpiffeId,
    /// The authority's challenge, if [`EvidenceSource::prover`] asked for one.
    pub challenge: Option<&'a ChallengeResponse>,
}

/// Why there is no evidence, and whether there may be later.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct EvidenceError {
    why: String,
    may_pass: bool,
}

impl EvidenceError {
    /// There may be evidence later, without anybody doing anything.
    #[must_use]
    pub fn later(why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            may_pass: true,
        }
    }

    /// Somebody has to do something; `why` says what.
    #[must_use]
    pub fn never(why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            may_pass: false,
        }
    }

    /// Whether there may be evidence later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }
}

#[cfg(test)]
mod tests;
