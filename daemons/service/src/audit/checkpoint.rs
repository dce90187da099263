//! The writer's side of the chain: what is not signed yet, and when it is time to.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    AuditContext, AuditError, RecordId,
    chain::Head,
    record::checkpoint_line,
    signer::Signer,
    state::{Resumed, StateFile},
};
use crate::{clock, limits};

/// Where the chain is.
pub(super) struct Chain {
    /// The last durable line.
    pub(super) head: Head,
    signer: Signer,
    state: Option<StateFile>,
    finding: Option<(&'static str, AuditContext)>,
    /// Whether the file ending in `.chain` still says what it said before the finding was recorded.
    unsaved: bool,
    unsigned: u64,
    unsigned_since: Option<Instant>,
    every: Duration,
    saved: Instant,
    /// Where the line of `head` ends, and its length.
    place: (u64, u64),
}

impl Chain {
    /// Finds where the chain of the log at `path` goes on, and writes down that it is being written from now on.
    pub(super) fn open(path: &Path, file: &mut File, signer: Signer) -> Result<Self, AuditError> {
        let state = StateFile::beside(path);
        let resumed = state.resume(path, file)?;
        let place = (resumed.end, resumed.length);
        // Not before a finding is on the disk: who kills the daemon in between would hide it.
        if resumed.finding.is_none() {
            state.save(&resumed.head, place.0, place.1, false)?;
        }
        tracing::info!(
            key_sha256 = signer.key_id(),
            "audit log: signed by this key"
        );
        Ok(Self {
            state: Some(state),
            place,
            ..Self::new(signer, resumed)
        })
    }

    fn new(signer: Signer, resumed: Resumed) -> Self {
        Self {
            head: resumed.head,
            signer,
            state: None,
            unsaved: resumed.finding.is_some(),
            finding: resumed.finding,
            unsigned: resumed.unsigned,
            unsigned_since: (resumed.unsigned > 0).then(Instant::now),
            every: limits::AUDIT_CHECKPOINT_INTERVAL,
            saved: Instant::now(),
            place: (0, 0),
        }
    }

    /// A chain of its own for a log that is no file.
    #[cfg(test)]
    pub(super) fn ephemeral() -> Self {
        let head = Head::new_chain().unwrap();
        Self::new(Signer::ephemeral(), Resumed::at(head))
    }

    #[cfg(test)]
    pub(super) fn with_finding(mut self, why: &'static str) -> Self {
        self.finding = Some((why, AuditContext::new()));
        self.unsaved = true;
        self
    }

    pub(super) fn take_finding(&mut self) -> Option<(&'static str, AuditContext)> {
        self.finding.take()
    }

    pub(super) fn has_unsigned(&self) -> bool {
        self.unsigned > 0
    }

    /// When what is there has to be signed.
    pub(super) fn checkpoint_due(&self) -> Option<Instant> {
        self.unsigned_since.map(|since| since + self.every)
    }

    /// Whether a checkpoint follows after `records` more.
    pub(super) fn wants_checkpoint(&self, records: u64, now: bool) -> bool {
        let unsigned = self.unsigned.saturating_add(records);
        unsigned > 0
            && (now
                || self.unsaved
                || unsigned >= limits::AUDIT_CHECKPOINT_RECORDS
                || self
                    .checkpoint_due()
                    .is_some_and(|due| due <= Instant::now()))
    }

    /// Adds a checkpoint to `bytes`; false if it could not be signed.
    pub(super) fn checkpoint(
        &self,
        head: &mut Head,
        bytes: &mut Vec<u8>,
        service: &str,
        records: u64,
    ) -> bool {
        let Ok(id) = RecordId::random() else {
            return false;
        };
        let context = AuditContext::new()
            .with("records", self.unsigned.saturating_add(records))
            .with("key_sha256", self.signer.key_id());
        let line = checkpoint_line(clock::now(), id, service, &context);
        head.checkpoint(bytes, &line, &self.signer)
    }

    /// The chain ends in `head` now: `records` more, the last line perhaps a checkpoint of so many bytes.
    pub(super) fn advance(
        &mut self,
        head: Head,
        records: u64,
        checkpoint: Option<u64>,
        end: u64,
        closing: bool,
    ) {
        self.head = head;
        let Some(length) = checkpoint else {
            self.unsigned = self.unsigned.saturating_add(records);
            self.unsigned_since.get_or_insert_with(Instant::now);
            return;
        };
        self.unsigned = 0;
        self.unsigned_since = None;
        self.place = (end, length);
        if closing || self.unsaved || self.saved.elapsed() >= self.every / 2 {
            self.save(closing);
        }
    }

    /// Lines were found after the last durable one: `head` is the last.
    pub(super) fn recovered(&mut self, head: Head) {
        if head != self.head {
            self.unsigned = self
                .unsigned
                .saturating_add(head.seq.saturating_sub(self.head.seq));
            self.unsigned_since.get_or_insert_with(Instant::now);
            self.head = head;
        }
    }

    /// Nothing was written since the last checkpoint, and nothing will be.
    pub(super) fn save_closed(&mut self) {
        if !self.has_unsigned() {
            self.save(true);
        }
    }

    /// Writes down where the chain is. Not being able to is no reason to stop: the log itself is durable, and what is
    /// missed is that records cut off its end while the daemon does not run are noticed at the next start.
    fn save(&mut self, closed: bool) {
        self.saved = Instant::now();
        self.unsaved = false;
        let Some(state) = &self.state else { return };
        let (end, length) = self.place;
        if let Err(error) = state.save(&self.head, end, length, closed) {
            tracing::warn!(%error, "audit log: can't write down where its chain is");
        }
    }
}
