//! Where a version works: in this process, or inside an HSM.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use kms_client::{
    Algorithm,
    local::{OperationError, VersionKey},
    wire::ToSign,
};
use zeroize::Zeroizing;

use crate::{hsm::HsmKey, uses::Life};

/// A version that is ready to work; one form for both places.
///
/// In software every operation is done when it is first polled; see [`at_once`].
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// Material in locked memory.
    Software(Arc<VersionKey>),
    /// Inside an HSM, which every operation waits for.
    Hsm(Arc<HsmKey>),
    /// It can't be had now; why is in the log.
    Absent,
}

impl Backend {
    /// How often it may protect something.
    pub(crate) fn life(&self) -> Life {
        match self {
            Self::Hsm(key) if key.algorithm() == Algorithm::Aes256Gcm => Life::TOKEN,
            Self::Software(_) | Self::Hsm(_) | Self::Absent => Life::USUAL,
        }
    }

    pub(crate) async fn encrypt(
        &self,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, OperationError> {
        match self {
            Self::Software(key) => key.encrypt(aad, plaintext),
            Self::Hsm(key) => key.encrypt(aad, plaintext).await,
            Self::Absent => Err(OperationError::Unavailable),
        }
    }

    pub(crate) async fn decrypt(
        &self,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OperationError> {
        match self {
            Self::Software(key) => key.decrypt(aad, ciphertext),
            Self::Hsm(key) => key.decrypt(aad, ciphertext).await,
            Self::Absent => Err(OperationError::Unavailable),
        }
    }

    pub(crate) async fn mac(&self, message: &[u8]) -> Result<Vec<u8>, OperationError> {
        match self {
            Self::Software(key) => key.mac(message),
            Self::Hsm(key) => key.mac(message).await,
            Self::Absent => Err(OperationError::Unavailable),
        }
    }

    pub(crate) async fn mac_verify(
        &self,
        message: &[u8],
        mac: &[u8],
    ) -> Result<bool, OperationError> {
        match self {
            Self::Software(key) => key.mac_verify(message, mac),
            Self::Hsm(key) => key.mac_verify(message, mac).await,
            Self::Absent => Err(OperationError::Unavailable),
        }
    }

    pub(crate) async fn sign(&self, input: &ToSign) -> Result<Vec<u8>, OperationError> {
        match self {
            Self::Software(key) => key.sign(input),
            Self::Hsm(key) => key.sign(input).await,
            Self::Absent => Err(OperationError::Unavailable),
        }
    }

    pub(crate) async fn verify(
        &self,
        input: &ToSign,
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        match self {
            Self::Software(key) => key.verify(input, signature),
            Self::Hsm(key) => key.verify(input, signature).await,
            Self::Absent => Err(OperationError::Unavailable),
        }
    }

    pub(crate) async fn public_key_spki(&self) -> Result<Vec<u8>, OperationError> {
        match self {
            Self::Software(key) => key.public_key_spki(),
            Self::Hsm(key) => key.public_key_spki().await,
            Self::Absent => Err(OperationError::Unavailable),
        }
    }
}

/// The result of a future that does not wait for anything; none if it does, which is a fault of the program.
pub(crate) fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_wait_is_had_at_once() {
        assert_eq!(at_once(async { 7 }), Some(7));
        assert_eq!(at_once(std::future::pending::<u8>()), None);
    }
}
