//! A process that attests itself over the authority's Unix socket.

use ::identity::wire::Evidence;

use super::{EvidenceError, EvidenceRequest, EvidenceSource};

/// Nothing is shown: the kernel tells the authority who is at the other end of its socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnixProcess;

impl EvidenceSource for UnixProcess {
    fn evidence(&self, _request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError> {
        Ok(Evidence::Unix {})
    }
}
