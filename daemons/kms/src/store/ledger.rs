//! The ledger: one row that knows how far the store has come and what all its rows add up to.
//!
//! # Layout of its content, version 1, inside the root key's wrapping
//!
//! | bytes | field |
//! |------:|-------|
//! | 1 | version, `0x01` |
//! | 16 | incarnation: random, drawn anew when a restored backup is accepted |
//! | 32 | key of the digest |
//! | 32 | digest over all rows |
//! | 8 | rows |
//! | 8 | seconds of operation |
//! | 1 | recent changes, at most 64 |
//! | 8 each | identifiers of recent changes, newest first |
//!
//! Numbers are big-endian. The context is the store's identifier and the epoch.

use service::root_key::RootKeys;
use zeroize::Zeroizing;

use super::{
    StoreError,
    digest::{Digest, DigestKey},
    place::{self, StoreId},
};
use crate::limits;

const VERSION: u8 = 1;

/// Identifier of one change: random, so that whoever lost a connection during a commit finds out whether it was made.
pub(super) type ChangeId = [u8; 8];

/// Identifier of the store between two restorations.
pub(super) type Incarnation = [u8; 16];

/// The ledger, opened.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) store: StoreId,
    pub(super) epoch: u64,
    pub(super) incarnation: Incarnation,
    pub(super) key: DigestKey,
    pub(super) digest: Digest,
    pub(super) rows: u64,
    pub(super) uptime: u64,
    pub(super) recent: Vec<ChangeId>,
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| StoreError::NoRandomness)?;
    Ok(bytes)
}

impl Ledger {
    /// Of an empty store.
    pub(super) fn new() -> Result<Self, StoreError> {
        Ok(Self {
            store: random()?,
            epoch: 1,
            incarnation: random()?,
            key: DigestKey::from_bytes(random()?),
            digest: Digest::default(),
            rows: 0,
            uptime: 0,
            recent: Vec::new(),
        })
    }

    pub(super) fn seal(&self, roots: &RootKeys) -> Result<Vec<u8>, StoreError> {
        let size = 98 + 8 * limits::RECENT_CHANGES;
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.incarnation);
        bytes.extend_from_slice(self.key.expose());
        bytes.extend_from_slice(&self.digest.to_bytes());
        bytes.extend_from_slice(&self.rows.to_be_bytes());
        bytes.extend_from_slice(&self.uptime.to_be_bytes());
        let recent = self.recent.iter().take(limits::RECENT_CHANGES);
        bytes.push(u8::try_from(recent.len()).unwrap_or(u8::MAX));
        for id in recent {
            bytes.extend_from_slice(id);
        }
        roots
            .wrap(&place::ledger(&self.store, self.epoch), &bytes)
            .map_err(StoreError::root_key("the store's ledger"))
    }

    pub(super) fn open(
        roots: &RootKeys,
        store: StoreId,
        epoch: u64,
        sealed: &[u8],
    ) -> Result<Self, StoreError> {
        let bytes = roots
            .unwrap(&place::ledger(&store, epoch), sealed)
            .map_err(StoreError::root_key("the store's ledger"))?;
        Self::parse(store, epoch, &bytes)
            .ok_or_else(|| StoreError::Damaged("its ledger is of an unknown form".to_owned()))
    }

    fn parse(store: StoreId, epoch: u64, bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (digest, rest) = rest.split_first_chunk()?;
        let (rows, rest) = rest.split_first_chunk()?;
        let (uptime, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first()?;
        let (recent, end) = rest.as_chunks();
        if recent.len() != usize::from(*count) || !end.is_empty() {
            return None;
        }
        Some(Self {
            store,
            epoch,
            incarnation: *incarnation,
            key: DigestKey::from_bytes(*key),
            digest: Digest::from_bytes(digest),
            rows: u64::from_be_bytes(*rows),
            uptime: u64::from_be_bytes(*uptime),
            recent: recent.to_vec(),
        })
    }

    /// Notes the change that leads to this ledger.
    pub(super) fn note(&mut self, id: ChangeId) {
        self.recent.insert(0, id);
        self.recent.truncate(limits::RECENT_CHANGES);
    }
}

#[cfg(test)]
mod tests {
    use service::root_key::RootKey;

    use super::*;

    fn roots() -> (tempfile::TempDir, RootKeys) {
        let folder = tempfile::tempdir().unwrap();
        let key = RootKey::create(&folder.path().join("root")).unwrap();
        (folder, RootKeys::from(key))
    }

    #[test]
    fn comes_back_as_it_was_and_only_at_its_epoch() {
        let (_folder, roots) = roots();
        let mut ledger = Ledger::new().unwrap();
        for i in 0..100_u64 {
            ledger.note(i.to_be_bytes());
        }
        ledger.digest = Digest::from_bytes(&[9; 32]);
        (ledger.rows, ledger.uptime, ledger.epoch) = (3, 4, 5);
        let sealed = ledger.seal(&roots).unwrap();
        let back = Ledger::open(&roots, ledger.store, 5, &sealed).unwrap();
        assert_eq!(back.recent.len(), limits::RECENT_CHANGES);
        assert_eq!(back.recent[0], 99_u64.to_be_bytes());
        assert_eq!((back.digest, back.rows, back.uptime), (ledger.digest, 3, 4));
        assert_eq!(back.incarnation, ledger.incarnation);
        assert_eq!(back.key.expose(), ledger.key.expose());
        assert!(Ledger::open(&roots, ledger.store, 6, &sealed).is_err());
        assert!(Ledger::open(&roots, [0; 16], 5, &sealed).is_err());
        assert!(!format!("{back:?}").contains(&format!("{:?}", back.key.expose())));
    }

    #[test]
    fn other_forms_are_refused() {
        let ledger = Ledger::new().unwrap();
        let mut bytes = vec![1];
        bytes.extend_from_slice(&[0; 97]);
        assert!(Ledger::parse(ledger.store, 1, &bytes).is_some());
        bytes[0] = 2;
        assert!(Ledger::parse(ledger.store, 1, &bytes).is_none());
        bytes[0] = 1;
        bytes.push(0);
        assert!(Ledger::parse(ledger.store, 1, &bytes).is_none());
        bytes.truncate(97);
        assert!(Ledger::parse(ledger.store, 1, &bytes).is_none());
    }
}
