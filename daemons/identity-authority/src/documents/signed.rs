//! Remembers which documents this authority signed, so that its own are told from forgeries after an issuing key was
//! stolen.
//!
//! A renewal is remembered only if the document before it is: otherwise a forgery, renewed while its issuing certificate was
//! still believed, would come out as one of ours.
//!
//! Written behind: a signature does not wait for the store. What was signed in the last moments before a crash is
//! forgotten; those few attest or join anew, should their issuing certificate ever be revoked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use crate::limits;
use crate::tables::{CertificateRow, Tables, TablesError};

/// Documents whose records wait for the store.
#[derive(Debug, Default)]
pub(super) struct Signed(Mutex<Vec<CertificateRow>>);

/// Name of a document in the store.
pub(super) fn hash_of(leaf: &[u8]) -> [u8; 32] {
    Sha256::digest(leaf).into()
}

impl Signed {
    /// Notes a document that was signed, by its issuer and its end, and the one that it renews.
    pub(super) fn note(
        &self,
        chain: &[CertificateDer<'_>],
        (issuer, not_after): ([u8; 32], u64),
        predecessor: Option<[u8; 32]>,
    ) {
        let Some(leaf) = chain.first() else {
            return;
        };
        let mut waiting = self.waiting();
        if waiting.len() < limits::CERTIFICATES_WAITING {
            waiting.push(CertificateRow {
                hash: hash_of(leaf),
                issuer,
                not_after,
                predecessor,
            });
        }
    }

    /// Stores what waits; what can't be stored waits on.
    pub(super) async fn flush(&self, tables: &Tables) -> Result<(), TablesError> {
        loop {
            let block: Vec<_> = {
                let mut waiting = self.waiting();
                let count = waiting.len().min(limits::CERTIFICATES_BLOCK);
                waiting.drain(..count).collect()
            };
            if block.is_empty() {
                return Ok(());
            }
            if let Err(error) = tables.insert_certificates(&block).await {
                // In their order: a document comes after the one that it renews.
                self.waiting().splice(0..0, block);
                return Err(error);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<CertificateRow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
