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

use super::{AuditContext, AuditUnavailable, Command, Entry, Record, RecordId, file::Repair};
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
    /// Makes the next write begin on a clean line of the file at the path.
    fn reopen(&mut self) -> io::Result<()>;
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
    group: Vec<Entry>,
    bytes: Vec<u8>,
}

impl<S: Sink> Writer<S> {
    pub(super) fn new(
        sink: S,
        service: &str,
        healthy: Condition,
        reopen: Arc<AtomicBool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        healthy.set(true);
        Self {
            sink,
            service: service.to_owned(),
            healthy,
            reopen,
            metrics,
            state: State::Working,
            refused: 0,
            group: Vec::new(),
            bytes: Vec::new(),
        }
    }

    pub(super) fn run(mut self, receiver: &Receiver<Command>) {
        // A repair made while opening is told at once, not with the first request.
        self.commit();
        loop {
            let first = match self.state {
                State::Failed { retry } => {
                    match receiver.recv_timeout(retry.saturating_duration_since(Instant::now())) {
                        Ok(command) => Some(command),
                        Err(RecvTimeoutError::Timeout) => None,
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
                State::Working | State::Lost => match receiver.recv() {
                    Ok(command) => Some(command),
                    Err(_) => break,
                },
            };
            let mut closing = first.and_then(|command| self.take(command));
            while closing.is_none() && self.group.len() < limits::AUDIT_GROUP {
                let Ok(command) = receiver.try_recv() else {
                    break;
                };
                closing = self.take(command);
            }
            self.commit();
            if let Some(closed) = closing {
                self.healthy.set(false);
                // The file is unlocked before anybody hears that it is.
                drop(self);
                let _ = closed.send(());
                return;
            }
        }
        // Senders may still be there; with the receiver gone their records are refused.
        self.healthy.set(false);
    }

    fn take(&mut self, command: Command) -> Option<tokio::sync::oneshot::Sender<()>> {
        match command {
            Command::Write(entry) => self.group.push(entry),
            Command::Wake => {}
            Command::Close(done) => return Some(done),
        }
        None
    }

    /// Writes the group durably or refuses all of it.
    fn commit(&mut self) {
        let written = self.write();
        if written {
            self.metrics
                .audit_written(self.group.iter().map(|entry| entry.since.elapsed()));
        } else if !self.group.is_empty() {
            self.refused += self.group.len() as u64;
            for _ in &self.group {
                self.metrics.audit_failed();
            }
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

    fn write(&mut self) -> bool {
        match self.state {
            State::Lost => return false,
            State::Failed { retry } if Instant::now() < retry => return false,
            State::Failed { .. } => {
                if let Err(error) = self.sink.reopen() {
                    return self.failed(&error);
                }
            }
            State::Working => {
                if (self.reopen.swap(false, Ordering::AcqRel) || !self.group.is_empty())
                    && self.sink.moved()
                {
                    if let Err(error) = self.sink.reopen() {
                        return self.failed(&error);
                    }
                    tracing::info!("audit log was moved: began a new one");
                }
            }
        }
        self.bytes.clear();
        self.add_notices();
        for entry in &self.group {
            self.bytes.extend_from_slice(&entry.lines.bytes);
        }
        if self.bytes.is_empty() {
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
        if self.state != State::Working {
            tracing::warn!(refused = self.refused, "audit log works again");
            self.state = State::Working;
            self.refused = 0;
            self.healthy.set(true);
        }
        true
    }

    /// Puts what happened to the log itself before the group.
    fn add_notices(&mut self) {
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
            self.add_notice(why, AuditContext::new().with("bytes", bytes));
        }
        if self.state != State::Working {
            let refused = self.refused;
            self.add_notice(
                "writing failed for a while; requests were refused meanwhile",
                AuditContext::new().with("records_refused", refused),
            );
        }
    }

    fn add_notice(&mut self, why: &str, context: AuditContext) {
        let Ok(id) = RecordId::random() else { return };
        let record = Record::notice(clock::now(), id, why.to_owned(), context);
        self.bytes
            .extend_from_slice(&record.to_lines(&self.service).bytes);
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
