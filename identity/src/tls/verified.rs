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
#[derive(Debug)]
pub(super) struct VerifiedChains {
    capacity: usize,
    // INVARIANT (verified): holds only what `verify_peer` returned for the chain behind the key.
    principals: Mutex<HashMap<[u8; 32], Principal>>,
}

impl Default for VerifiedChains {
    fn default() -> Self {
        Self::with_capacity(MAX_VERIFIED_CHAINS)
    }
}

impl VerifiedChains {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity,
            principals: Mutex::default(),
        }
    }

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
                // Another path may carry it by now: verify afresh.
                Err(VerifyError::AnchorRemoved | VerifyError::IssuerRevoked) => {}
                Err(error) => return Err(error),
            }
        }
        let principal = verify_peer(chain, bundle, usage, now)?;
        let mut principals = self.lock();
        if principals.len() >= self.capacity {
            principals.retain(|_, principal| principal.deadline() >= now);
        }
        if principals.len() >= self.capacity {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spiffe_id::SiteName;
    use crate::testing::{HOUR, NOW, Realm, id};

    type Chain = Vec<CertificateDer<'static>>;

    fn remembered(chains: &VerifiedChains) -> usize {
        chains.lock().len()
    }

    fn chain(realm: &Realm, name: &str, seed: u64) -> Chain {
        let mut request = realm.request();
        request.spiffe_id = id(name);
        realm.document(&request, seed).chain().to_vec()
    }

    #[test]
    fn remembered_is_what_was_verified() {
        let realm = Realm::acme();
        let chains = VerifiedChains::default();
        for (name, seed) in [
            ("spiffe://acme.example/paris/a", 1),
            ("spiffe://acme.example/paris/b", 2),
        ] {
            let chain = chain(&realm, name, seed);
            for usage in [Usage::Client, Usage::Server] {
                let verified = verify_peer(&chain, &realm.bundle, usage, NOW);
                for _ in 0..2 {
                    assert_eq!(chains.verify(&chain, &realm.bundle, usage, NOW), verified);
                }
            }
        }
        assert_eq!(remembered(&chains), 4);
    }

    #[test]
    fn time_and_disabled_sites_count_on_every_hit() {
        let realm = Realm::acme();
        let chains = VerifiedChains::default();
        let chain = chain(&realm, "spiffe://acme.example/paris/a", 1);
        let verify =
            |bundle: &TrustBundle, now| chains.verify(&chain, bundle, Usage::Client, now).err();
        assert_eq!(verify(&realm.bundle, NOW), None);
        assert_eq!(
            verify(&realm.bundle, NOW + HOUR + 1),
            Some(VerifyError::Expired {
                not_after: NOW + HOUR
            })
        );
        assert_eq!(
            verify(&realm.bundle, NOW - 301),
            Some(VerifyError::NotYetValid {
                not_before: NOW - 300
            })
        );
        let disabled = realm
            .bundle
            .clone()
            .with_disabled_sites([SiteName::parse("paris").unwrap()])
            .unwrap();
        assert_eq!(verify(&disabled, NOW), Some(VerifyError::SiteDisabled));
        let other = Realm::new("acme.example", 2);
        assert_eq!(verify(&other.bundle, NOW), Some(VerifyError::UnknownIssuer));
        assert_eq!(
            verify(&Realm::new("other.example", 2).bundle, NOW),
            Some(VerifyError::TrustDomain)
        );
        assert_eq!(verify(&realm.bundle, NOW), None);
    }

    /// A hit is by the whole chain: nothing of a known one vouches for a part of another.
    #[test]
    fn bent_chains_miss() {
        let realm = Realm::acme();
        let chains = VerifiedChains::default();
        let good = chain(&realm, "spiffe://acme.example/paris/a", 1);
        assert!(
            chains
                .verify(&good, &realm.bundle, Usage::Client, NOW)
                .is_ok()
        );
        assert!(
            chains
                .verify(&good[..1], &realm.bundle, Usage::Client, NOW)
                .is_err()
        );
        let glued = vec![CertificateDer::from(
            [good[0].as_ref(), good[1].as_ref()].concat(),
        )];
        assert!(
            chains
                .verify(&glued, &realm.bundle, Usage::Client, NOW)
                .is_err()
        );
        let stranger = chain(
            &Realm::new("acme.example", 2),
            "spiffe://acme.example/paris/a",
            1,
        );
        let mixed = vec![stranger[0].clone(), good[1].clone()];
        assert!(
            chains
                .verify(&mixed, &realm.bundle, Usage::Client, NOW)
                .is_err()
        );
        assert_eq!(remembered(&chains), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let realm = Realm::acme();
        let chains = VerifiedChains::with_capacity(3);
        for seed in 0..10 {
            let chain = chain(&realm, &format!("spiffe://acme.example/paris/{seed}"), seed);
            assert!(
                chains
                    .verify(&chain, &realm.bundle, Usage::Client, NOW)
                    .is_ok()
            );
            assert!((1..=3).contains(&remembered(&chains)));
        }
    }
}
