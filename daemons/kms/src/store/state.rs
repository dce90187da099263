//! The store as this replica knows it: every row, verified against the ledger.
//!
//! What is decided, is decided from here and never from a row that was just read: a transaction first brings this up to
//! the ledger in force, which vouches for every row, and then writes.

use std::{collections::HashMap, sync::Arc, time::Instant};

use kms_client::KeyId;

use super::{
    StoreError,
    anchor::Seen,
    digest::{Digest, Hasher},
    ledger::Ledger,
    place::RowId,
    records::{Key, Usage},
    rows::{Meta, Record},
    snapshot::Snapshot,
};

/// The store as this replica knows it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    /// The ledger as it is in the database.
    pub(super) sealed: Vec<u8>,
    pub(super) hasher: Hasher,
    pub(super) view: Arc<Snapshot>,
    pub(super) usage: HashMap<(KeyId, u32), Usage>,
    pub(super) rows: HashMap<RowId, Meta>,
    /// Seconds of operation that some replica had counted, and when this one heard of them.
    uptime: (u64, Instant),
}

/// Rows as read, with what is remembered of them.
pub(super) type Records = Vec<(Record, Meta)>;

impl State {
    pub(super) fn new(ledger: Ledger, sealed: Vec<u8>) -> Self {
        Self {
            hasher: ledger.key.hasher(),
            uptime: (ledger.uptime, Instant::now()),
            ledger,
            sealed,
            view: Arc::default(),
            usage: HashMap::new(),
            rows: HashMap::new(),
        }
    }

    pub(super) fn seen(&self) -> Seen {
        Seen::of(&self.ledger, &self.sealed)
    }

    /// Seconds in which at least one replica was at work, whatever the clock of the day says.
    ///
    /// Replicas that run at once count the same seconds: the greatest count holds, not the sum.
    pub(super) fn uptime(&self) -> u64 {
        let (base, since) = self.uptime;
        base.saturating_add(since.elapsed().as_secs())
    }

    /// The digest and the count of rows once `records` have replaced those of the same identifiers.
    pub(super) fn sums(&self, records: &Records) -> (Digest, u64) {
        let (mut digest, mut rows) = (self.ledger.digest, self.ledger.rows);
        // Of a row that is written twice, the later one counts.
        let mut last: HashMap<RowId, Meta> = HashMap::with_capacity(records.len());
        for (record, meta) in records {
            last.insert(record.id(), *meta);
        }
        for (id, meta) in last {
            match self.rows.get(&id) {
                Some(former) => digest = digest.minus(former.item),
                None => rows += 1,
            }
            digest = digest.plus(meta.item);
        }
        (digest, rows)
    }

    /// Takes over `records` and the ledger that vouches for them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if the ledger does not; nothing is taken over then.
    pub(super) fn advance(
        &mut self,
        ledger: Ledger,
        sealed: Vec<u8>,
        records: Records,
    ) -> Result<(), StoreError> {
        if self.sums(&records) != (ledger.digest, ledger.rows) {
            return Err(StoreError::Damaged(format!(
                "its rows are not those of epoch {}",
                ledger.epoch
            )));
        }
        if ledger.uptime > self.uptime() {
            self.uptime = (ledger.uptime, Instant::now());
        }
        if records
            .iter()
            .any(|(record, _)| !matches!(record, Record::Usage(..)))
        {
            // Whoever holds the former snapshot keeps it as it is.
            let view = Arc::make_mut(&mut self.view);
            view.epoch = ledger.epoch;
        }
        for (record, meta) in records {
            self.rows.insert(record.id(), meta);
            self.put(record);
        }
        self.ledger = ledger;
        self.sealed = sealed;
        Ok(())
    }

    fn put(&mut self, record: Record) {
        match record {
            Record::Tenant(tenant) => {
                let view = Arc::make_mut(&mut self.view);
                view.tenants.insert(tenant.name.clone(), Arc::new(tenant));
            }
            Record::Key(mut key) => {
                let view = Arc::make_mut(&mut self.view);
                if let Some(former) = view.keys.get(&key.id) {
                    key.versions.clone_from(&former.versions);
                }
                let names = view.names.entry(key.tenant.clone()).or_default();
                names.insert(key.name.clone(), key.id);
                view.keys.insert(key.id, Arc::new(key));
            }
            Record::Version(id, version) => {
                let view = Arc::make_mut(&mut self.view);
                if let Some(key) = view.keys.get_mut(&id) {
                    let versions = &mut Arc::make_mut(key).versions;
                    versions.insert(version.version, version);
                }
            }
            Record::Usage(id, version, usage) => {
                self.usage.insert((id, version), usage);
            }
        }
    }

    /// The key of that identifier.
    pub(super) fn key(&self, id: &KeyId) -> Result<&Arc<Key>, StoreError> {
        self.view
            .keys
            .get(id)
            .ok_or_else(|| StoreError::NotFound(format!("key {id}")))
    }

    /// Checks what the digest does not: that every version has a key, and every key its primary version.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for key in self.view.keys.values() {
            if key.primary_version().is_none() {
                return Err(StoreError::Damaged(format!(
                    "key {} has no version {}, its primary one",
                    key.id, key.primary
                )));
            }
        }
        Ok(())
    }
}
