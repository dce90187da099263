//! Chains that were verified lately, so that a peer that connects often costs no chain verification each time.
//!
//! A signature once valid under an anchor stays valid; everything else that can change (time, the anchors, disabled
//! sites) is rechecked on every hit. The key is the hash of role and whole chain, so nothing is remembered about
//! anything but exactly what was verified. Only verified chains enter: a stranger fills nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use crate::bundle::TrustBundle;
use crate::limits::{MAX_CHAIN_CERTIFICATES, MAX_VERIFIED_CHAINS};
use crate::principal::Principal;
use crate::verify::{Usage, VerifyError, verify_peer};

/// Remembered principals by hash of role and chain.
#[derive(Debug, Default)]
pub(super) struct VerifiedChains {
    // INVARIANT (verified): holds only what `verify_peer` returned for the chain behind the key.
    principals: Mutex<HashMap<[u8; 32], Principal>>,
}

impl VerifiedChains {
    /// As [`verify_peer`].
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        bundle: &TrustBundle,
        usage: Usage,
        now: u64,
    ) -> Result<Principal, VerifyError> {
        if chain.len() > MAX_CHAIN_CERTIFICATES {
            return Err(VerifyError::ChainTooLong);
        }
        let key = Self::key(chain, usage);
        let known = self.lock().get(&key).cloned();
        if let Some(principal) = known {
            match principal.recheck(bundle, now) {
                Ok(()) => return Ok(principal),
                // Another anchor may carry it by now: verify afresh.
                Err(VerifyError::AnchorRemoved) => {}
                Err(error) => return Err(error),
            }
        }
        let principal = verify_peer(chain, bundle, usage, now)?;
        let mut principals = self.lock();
        if principals.len() >= MAX_VERIFIED_CHAINS {
            principals.retain(|_, principal| principal.deadline() >= now);
        }
        if principals.len() >= MAX_VERIFIED_CHAINS {
            principals.clear();
        }
        // INVARIANT (verified)
        principals.insert(key, principal.clone());
        Ok(principal)
    }

    fn key(chain: &[CertificateDer<'_>], usage: Usage) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(match usage {
            Usage::Client => b"client",
            Usage::Server => b"server",
        });
        for certificate in chain {
            hash.update(
                u64::try_from(certificate.len())
                    .unwrap_or(u64::MAX)
                    .to_be_bytes(),
            );
            hash.update(certificate);
        }
        hash.finalize().into()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Principal>> {
        self.principals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
