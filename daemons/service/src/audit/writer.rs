//! The thread that writes the audit log, in groups.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Instant,
};

use super::{
    AuditContext, AuditUnavailable, Command, Entry, Record, RecordId, chain::Head,
    checkpoint::Chain, file::Repair, syslog::Syslog,
};
use crate::{
    clock, limits,
    metrics::{Condition, Metrics},
};

/// Where lines go; a file, or in tests something that fails.
pub(super) trait Sink: Send + 'static {
    /// Writes all bytes or fails, having written any part of them.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;
    /// Makes everything written durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Whether the file is no longer the one at its path.
    fn moved(&self) -> bool;
    /// Makes the next write begin on a clean line of the file at the path; whole lines that a failed write left
    /// continue the chain from `head`, and the last of them is answered.
    fn reopen(&mut self, head: Head) -> io::Result<Head>;
    /// Where the last durable line ends.
    fn end(&self) -> u64;
    /// What opening had to repair, told once.
    fn take_repair(&mut self) -> Option<Repair>;
}

/// State of the sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Working,
    /// A write failed; tried again from `retry` on.
    Failed {
        retry: Instant,
    },
    /// A sync failed: what the kernel holds is no longer known. Only a restart helps.
    Lost,
}

/// Owner of the sink.
pub(super) struct Writer<S> {
    sink: S,
    service: String,
    healthy: Condition,
    reopen: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    state: State,
    /// Records refused since the log last worked.
    refused: u64,
    /// What happened to the log itself, until it is durable there.
    notices: Vec<(&'static str, AuditContext)>,
    group: Vec<Entry>,
    bytes: Vec<u8>,
    chain: Chain,
    syslog: Option<Syslog>,
}

/// What a writer is made of besides its sink.
pub(super) struct Parts {
    pub(super) service: String,
    pub(super) healthy: Condition,
    pub(super) reopen: Arc<AtomicBool>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) chain: Chain,
    pub(super) syslog: Option<Syslog>,
}

impl<S: Sink> Writer<S> {
    pub(super) fn new(sink: S, parts: Parts) -> Self {
        parts.healthy.set(true);
        Self {
            sink,
            service: parts.service,
            healthy: parts.healthy,
            reopen: parts.reopen,
            metrics: parts.metrics,
            state: State::Working,
            refused: 0,
            notices: Vec::new(),
            group: Vec::new(),
            bytes: Vec::new(),
            chain: parts.chain,
            syslog: parts.syslog,
        }
    }

    /// Writes until closed, or until nobody can send any more.
    pub(super) fn run(mut self, receiver: &Receiver<Command>) {
        // What was found while opening is told at once, not with the first request.
        self.commit(false);
        loop {
            let wait = match self.state {
                State::Failed { retry } => Some(retry),
                State::Working => self.chain.checkpoint_due(),
                State::Lost => None,
            };
            let first = match wait {
                Some(until) => {
                    match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                        Ok(command) => Some(command),
                        Err(RecvTimeoutError::Timeout) => None,
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
                None => match receiver.recv() {
                    Ok(command) => Some(command),
                    Err(_) => break,
                },
            };
            let mut records = 0;
            let mut closing = first.and_then(|command| self.take(command, &mut records));
            while closing.is_none() && records < limits::AUDIT_GROUP {
                let Ok(command) = receiver.try_recv() else {
                    break;
                };
                closing = self.take(command, &mut records);
            }
            self.commit(closing.is_some());
            if let Some(closed) = closing {
                self.healthy.set(false);
                // The file is unlocked before anybody hears that it is.
                drop(self);
                let _ = closed.send(());
                return;
            }
        }
        // Senders may still be there; with the receiver gone their records are refused.
        self.commit(true);
        self.healthy.set(false);
    }

    fn take(
        &mut self,
        command: Command,
        records: &mut usize,
    ) -> Option<tokio::sync::oneshot::Sender<()>> {
        match command {
            Command::Write(entry) => {
                *records += entry.lines.count;
                self.group.push(entry);
            }
            Command::Wake => {}
            Command::Close(done) => return Some(done),
        }
        None
    }

    /// Writes the group durably or refuses all of it.
    fn commit(&mut self, closing: bool) {
        let written = self.write(closing);
        let records = |entry: &Entry| entry.lines.count as u64;
        if written {
            self.metrics
                .audit_written(self.group.iter().map(|entry| entry.since.elapsed()));
        } else if !self.group.is_empty() {
            let refused = self.group.iter().map(records).sum();
            self.refused += refused;
            self.metrics.audit_refused(refused);
        }
        let result = if written {
            Ok(())
        } else {
            Err(AuditUnavailable)
        };
        for entry in self.group.drain(..) {
            if let Some(done) = entry.done {
                // The caller may have gone away; its record is as durable as any.
                let _ = done.send(result);
            }
        }
    }

    fn write(&mut self, closing: bool) -> bool {
        match self.state {
            State::Lost => return false,
            State::Failed { retry } if Instant::now() < retry => return false,
            State::Failed { .. } => {
                if let Err(error) = self.reopen_sink() {
                    return self.failed(&error);
                }
            }
            State::Working => {
                if (self.reopen.swap(false, Ordering::AcqRel) || !self.group.is_empty())
                    && self.sink.moved()
                {
                    // The file that was moved ends in a checkpoint of its own.
                    if self.chain.has_unsigned() && !self.append(Append::Checkpoint) {
                        return false;
                    }
                    if let Err(error) = self.reopen_sink() {
                        return self.failed(&error);
                    }
                    tracing::info!("audit log was moved: began a new one");
                }
            }
        }
        self.append(if closing { Append::Last } else { Append::Group })
    }

    fn reopen_sink(&mut self) -> io::Result<()> {
        let head = self.sink.reopen(self.chain.head)?;
        self.chain.recovered(head);
        Ok(())
    }

    /// Writes one group of lines durably, chained, with a checkpoint when it is time for one.
    fn append(&mut self, what: Append) -> bool {
        self.bytes.clear();
        let mut head = self.chain.head;
        let mut records = 0;
        if what != Append::Checkpoint {
            records += self.add_notices(&mut head);
            for entry in &self.group {
                head.chain(&mut self.bytes, &entry.lines.bytes);
                records += entry.lines.count as u64;
            }
        }
        let mut checkpoint = None;
        if self.chain.wants_checkpoint(records, what != Append::Group) {
            let start = self.bytes.len();
            if !self
                .chain
                .checkpoint(&mut head, &mut self.bytes, &self.service, records)
            {
                // No signature, no log.
                return self.failed(&io::Error::other("the checkpoint can't be signed"));
            }
            checkpoint = Some((self.bytes.len() - start) as u64);
        }
        if self.bytes.is_empty() {
            if what == Append::Last {
                self.chain.save_closed();
            }
            return true;
        }
        if let Err(error) = self.sink.write(&self.bytes) {
            return self.failed(&error);
        }
        if let Err(error) = self.sink.sync() {
            tracing::error!(%error, "audit log can't be made durable: refusing everything; check the disk, then restart");
            self.state = State::Lost;
            self.healthy.set(false);
            return false;
        }
        if what != Append::Checkpoint {
            self.notices.clear();
        }
        self.chain.advance(
            head,
            records,
            checkpoint,
            self.sink.end(),
            what == Append::Last,
        );
        if checkpoint.is_some() {
            self.metrics.audit_checkpoint();
        }
        if let Some(syslog) = &self.syslog {
            syslog.offer(&self.bytes);
        }
        if self.state != State::Working {
            tracing::warn!(refused = self.refused, "audit log works again");
            self.state = State::Working;
            self.refused = 0;
            self.healthy.set(true);
        }
        true
    }

    /// Puts what happened to the log itself before the group.
    fn add_notices(&mut self, head: &mut Head) -> u64 {
        let repair = match self.sink.take_repair() {
            Some(Repair::Completed) => {
                Some(("the last record lacked its line end and was completed", 0))
            }
            Some(Repair::Quarantined(bytes)) => Some((
                "the last line was cut short and was moved to the file ending in .partial",
                bytes,
            )),
            None => None,
        };
        if let Some((why, bytes)) = repair {
            tracing::warn!(bytes, "audit log: {why}");
            self.notices
                .push((why, AuditContext::new().with("bytes", bytes)));
        }
        if let Some((why, context)) = self.chain.take_finding() {
            tracing::error!("audit log: {why}");
            self.notices.push((why, context));
        }
        let failed = (self.state != State::Working).then(|| {
            (
                "writing failed for a while; requests were refused meanwhile",
                AuditContext::new().with("records_refused", self.refused),
            )
        });
        let mut records = 0;
        for (why, context) in self.notices.iter().chain(&failed) {
            let Ok(id) = RecordId::random() else { continue };
            let record = Record::notice(clock::now(), id, (*why).to_owned(), context.clone());
            head.chain(&mut self.bytes, &record.to_lines(&self.service).bytes);
            records += 1;
        }
        records
    }

    fn failed(&mut self, error: &io::Error) -> bool {
        if self.state == State::Working {
            tracing::error!(%error, "audit log can't be written: refusing everything until it can; check disk space and permissions");
        }
        self.state = State::Failed {
            retry: Instant::now() + limits::AUDIT_RETRY,
        };
        self.healthy.set(false);
        false
    }
}

/// What is written at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Append {
    /// What is waiting.
    Group,
    /// A checkpoint and nothing else.
    Checkpoint,
    /// What is waiting, and the last checkpoint.
    Last,
}
