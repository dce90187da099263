//! The audit log: JSON lines, durable before the caller goes on.
//!
//! - [`AuditLog`] hands records to one writer thread, which writes what is waiting and calls
//!   `fdatasync` once for all of it; every caller waits until its own record is on disk.
//! - The queue is bounded. A caller that finds no place, or whose record can't be made durable, gets
//!   [`AuditUnavailable`] and must not go on; the readiness condition `audit` turns false. Some places
//!   are kept for what administrators were allowed, so that switching off works under any load.
//! - After a failed write the log tries again by itself, every second, on a clean line. After a failed
//!   `fdatasync` it does not: the kernel may have dropped the pages, so somebody has to look.
//! - A renamed file is noticed before the next group and a new one is begun, so that rotating needs a
//!   rename and nothing else; [`AuditLog::reopen`] (SIGHUP) does the same at once.
//! - A line cut short by a crash is completed, or moved to `<file>.partial`, when the log is opened.
//!   No whole record is ever removed.
//!
//! - Lines are a chain: each has its number and the digest of the line before. Every
//!   [`limits::AUDIT_CHECKPOINT_RECORDS`] records, [`limits::AUDIT_CHECKPOINT_INTERVAL`] after a record at the latest, at
//!   each rotation and at the end a checkpoint is signed with the key beside the log. [`verify`] finds what was done to
//!   a log since; what was cut off its end while the daemon was down is noticed when it starts.
//! - A syslog server gets every line as well, if one is configured.
//!
//! # Record
//!
//! | member | in | meaning |
//! |---|---|---|
//! | `seq`, `prev` | all | its number, from 1, and the SHA-256 of the line before; always the first two |
//! | `time` | all | RFC 3339, UTC, six digits of the second |
//! | `id` | all | 32 hexadecimal digits; a decision and its outcome share it, and the items of one request |
//! | `kind` | all | `decision`, `outcome`, `operation` (both in one), `refusal` (before any policy was asked), `notice` (the daemon or the log itself), `checkpoint` |
//! | `service` | all | which daemon |
//! | `principal` | all but notices and checkpoints | `spiffe_id`, `certificate_sha256`; `null` for an anonymous peer |
//! | `action`, `resource` | all but notices and checkpoints | what was asked for |
//! | `decision` | decision, operation | `allow` or `deny` |
//! | `policies` | decision, operation | labels of the policies asked, in order |
//! | `policy`, `rule` | decision, operation | the policy that decided, and its rule |
//! | `items` | operation | how many items the request had |
//! | `item` | operation | which of them this is, from 0, if there are several |
//! | `version` | operation | version of the key |
//! | `context_sha256` | operation | SHA-256 of the caller's encryption context |
//! | `outcome` | outcome, operation | `success`, `failure` or `abandoned` |
//! | `code` | outcome, operation, refusal | stable name of what happened |
//! | `facts` | operation | what was not known at the decision |
//! | `why` | all | for people |
//! | `context` | all | small map of what the daemon adds |
//! | `signature` | checkpoint | Ed25519, Base64; always the last |
//!
//! Refusals of one peer beyond 200 and then 20 per second have no record each: one of code
//! `REFUSALS_SUMMARISED` per peer and minute says in its context how many there were (`refusals`), of
//! whom (`peer`), since when (`since`), and the last one's code (`last_code`).
//!
//! Members may be added; none changes its meaning.
//!
//! # Not promised
//!
//! Evidence against whoever has the signer's key: who takes over the machine can write and sign from then on, and cut off
//! what no checkpoint signed yet. What syslog has of before stays evidence.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

mod chain;
mod checkpoint;
mod context;
mod file;
mod operation;
mod record;
mod signer;
mod state;
mod syslog;
pub mod verify;
mod writer;

pub use context::{AuditContext, AuditValue};
pub use operation::ItemOutcome;
pub(crate) use operation::{Lines, Members, OperationHead};
pub(crate) use record::{Kind, Record, RecordId, RecordPrincipal};
pub use signer::{AuditPublicKey, BadAuditPublicKey};

use crate::{
    clock,
    config::AuditConfig,
    files::FileError,
    limits,
    metrics::{Condition, Metrics},
};

/// The record could not be made durable: the operation must not go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("audit log unavailable")]
pub struct AuditUnavailable;

/// Reason the audit log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process writes it.
    #[error(
        "{path} is being written by another process: give every daemon an audit log of its own"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The end of the file is not a line of ours.
    #[error(
        "{path} ends in more than {limit} bytes without a line end: it is not an audit log; move it away"
    )]
    NotALog {
        /// The file.
        path: PathBuf,
        /// How much was looked at.
        limit: u64,
    },
    /// The writer thread can't be started.
    #[error("can't start the audit writer: {0}")]
    Thread(std::io::Error),
    /// The key that signs checkpoints can't be used.
    #[error(
        "{path} is not the key of an audit log (Ed25519, PKCS #8 in PEM): restore it, or move it away and a new one is made"
    )]
    Signer {
        /// The file.
        path: PathBuf,
    },
    /// The file that says where the chain is can't be read.
    #[error(
        "{path} does not say where the chain of the audit log is: look at the log with `blindfold audit verify`, then move this file away and the next record says that it was missing"
    )]
    State {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes for the audit log")]
    Random,
}

/// Handle to the audit log; clones share one writer.
#[derive(Clone)]
pub struct AuditLog {
    shared: Arc<Shared>,
}

struct Shared {
    service: String,
    sender: mpsc::Sender<Command>,
    places: Arc<Semaphore>,
    administration: Arc<Semaphore>,
    reopen: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

/// What the writer thread is told.
enum Command {
    Write(Entry),
    /// Look at the flags.
    Wake,
    Close(oneshot::Sender<()>),
}

/// Records on their way to the disk, all or none of them.
struct Entry {
    lines: Lines,
    since: Instant,
    done: Option<oneshot::Sender<Result<(), AuditUnavailable>>>,
    /// Their places in the queue; free once the entry is dropped.
    _place: OwnedSemaphorePermit,
}

/// A reserved place in the queue: whoever holds it can always enqueue one record, even while being
/// dropped.
pub(crate) struct Reserved {
    log: AuditLog,
    place: OwnedSemaphorePermit,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("service", &self.shared.service)
            .finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens or creates the log at `path` (mode 0600) as [`AuditLog::open_with`] does, with the signer's key beside it and
    /// no syslog.
    ///
    /// # Errors
    ///
    /// As [`AuditLog::open_with`].
    pub fn open(path: &Path, service: &str, metrics: &Arc<Metrics>) -> Result<Self, AuditError> {
        Self::open_with(&AuditConfig::at(path), service, metrics)
    }

    /// Opens or creates the log, repairs its end, finds where its chain goes on, and starts the writer.
    ///
    /// # Errors
    ///
    /// - [`AuditError::File`]: can't be created, or other users have access to it; the files beside it likewise.
    /// - [`AuditError::InUse`]: another process has it open as its audit log.
    /// - [`AuditError::NotALog`]: its end is not ours.
    /// - [`AuditError::Signer`], [`AuditError::State`]: the files beside it are not what they should be.
    /// - [`AuditError::Thread`]: the operating system refused a thread.
    pub fn open_with(
        config: &AuditConfig,
        service: &str,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, AuditError> {
        let mut sink = file::LogFile::open(&config.path)?;
        let signer = signer::Signer::open(&config.signer_path())?;
        let chain = checkpoint::Chain::open(&config.path, sink.file(), signer)?;
        let syslog = match &config.syslog {
            Some(syslog) => Some(syslog::Syslog::start(syslog, service, metrics)?),
            None => None,
        };
        Self::start(sink, chain, syslog, service, metrics)
    }

    fn start<S: writer::Sink>(
        sink: S,
        chain: checkpoint::Chain,
        syslog: Option<syslog::Syslog>,
        service: &str,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, AuditError> {
        let (sender, receiver) = mpsc::channel();
        let reopen = Arc::new(AtomicBool::new(false));
        let healthy: Condition = metrics.readiness().condition("audit");
        let writer = writer::Writer::new(
            sink,
            writer::Parts {
                service: service.to_owned(),
                healthy,
                reopen: Arc::clone(&reopen),
                metrics: Arc::clone(metrics),
                chain,
                syslog,
            },
        );
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(AuditError::Thread)?;
        Ok(Self {
            shared: Arc::new(Shared {
                service: service.to_owned(),
                sender,
                places: Arc::new(Semaphore::new(limits::AUDIT_QUEUE)),
                administration: Arc::new(Semaphore::new(limits::AUDIT_QUEUE_ADMINISTRATION)),
                reopen,
                metrics: Arc::clone(metrics),
            }),
        })
    }

    /// Which daemon writes here.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.shared.service
    }

    /// Writes an event of the daemon itself (started, key state changed by hand) and waits until it is durable.
    ///
    /// # Errors
    ///
    /// [`AuditUnavailable`] if it is not durable.
    pub async fn notice(&self, why: &str, context: AuditContext) -> Result<(), AuditUnavailable> {
        // The daemon's own events are few, and as urgent as what administrators do.
        let place = self.places(&self.shared.administration, 1).await?;
        let reserved = Reserved {
            log: self.clone(),
            place,
        };
        let record = Record::notice(clock::now(), RecordId::random()?, why.to_owned(), context);
        reserved.append(&record).await
    }

    /// Begins a new file at the configured path if the current one was moved away (for SIGHUP).
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // An error means that the writer is gone, which the next record will notice.
        let _ = self.shared.sender.send(Command::Wake);
    }

    /// Writes what is waiting and ends the writer; later records are refused.
    pub async fn close(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.shared.sender.send(Command::Close(sender)).is_ok() {
            let _ = tokio::time::timeout(limits::AUDIT_COMMIT_WAIT, receiver).await;
        }
    }

    /// Reserves a place in the queue.
    pub(crate) async fn reserve(&self) -> Result<Reserved, AuditUnavailable> {
        let place = self.places(&self.shared.places, 1).await?;
        Ok(Reserved {
            log: self.clone(),
            place,
        })
    }

    /// Reserves places for `count` records that are appended together.
    pub(crate) async fn reserve_many(&self, count: u32) -> Result<Reserved, AuditUnavailable> {
        let place = self.places(&self.shared.places, count).await?;
        Ok(Reserved {
            log: self.clone(),
            place,
        })
    }

    /// Reserves places for a decision and its outcome: both or none, so that many callers that hold
    /// one each never wait for each other. Administration has places that nobody else can take.
    pub(crate) async fn reserve_two(
        &self,
        administration: bool,
    ) -> Result<(Reserved, Reserved), AuditUnavailable> {
        let of = if administration {
            &self.shared.administration
        } else {
            &self.shared.places
        };
        let mut places = self.places(of, 2).await?;
        let place = places.split(1).ok_or(AuditUnavailable)?;
        let first = Reserved {
            log: self.clone(),
            place,
        };
        Ok((
            first,
            Reserved {
                log: self.clone(),
                place: places,
            },
        ))
    }

    async fn places(
        &self,
        of: &Arc<Semaphore>,
        count: u32,
    ) -> Result<OwnedSemaphorePermit, AuditUnavailable> {
        if let Ok(places) = Arc::clone(of).try_acquire_many_owned(count) {
            return Ok(places);
        }
        let places = Arc::clone(of).acquire_many_owned(count);
        if let Ok(Ok(places)) = tokio::time::timeout(limits::AUDIT_QUEUE_WAIT, places).await {
            return Ok(places);
        }
        self.shared.metrics.audit_failed();
        Err(AuditUnavailable)
    }
}

impl Reserved {
    /// Hands the record to the writer now; the returned future completes when it is durable.
    ///
    /// Dropping the future does not take the record back.
    pub(crate) fn append(
        self,
        record: &Record,
    ) -> impl Future<Output = Result<(), AuditUnavailable>> + Send + use<> {
        let lines = record.to_lines(&self.log.shared.service);
        self.append_line(lines)
    }

    /// As [`Reserved::append`], for lines that were written out already.
    pub(crate) fn append_line(
        self,
        lines: Lines,
    ) -> impl Future<Output = Result<(), AuditUnavailable>> + Send + use<> {
        let (done, durable) = oneshot::channel();
        self.enqueue(lines, Some(done));
        async move {
            match tokio::time::timeout(limits::AUDIT_COMMIT_WAIT, durable).await {
                Ok(Ok(result)) => result,
                // The writer is gone, or the disk hangs.
                _ => Err(AuditUnavailable),
            }
        }
    }

    /// Hands the record to the writer and does not wait; for `Drop`, which can't.
    pub(crate) fn append_unattended(self, record: &Record) {
        let lines = record.to_lines(&self.log.shared.service);
        self.append_line_unattended(lines);
    }

    /// As [`Reserved::append_unattended`], for lines that were written out already.
    pub(crate) fn append_line_unattended(self, lines: Lines) {
        self.enqueue(lines, None);
    }

    /// Takes `count` of the places out.
    pub(crate) fn split(&mut self, count: u32) -> Option<Self> {
        let count = usize::try_from(count).ok()?;
        Some(Self {
            log: self.log.clone(),
            place: self.place.split(count)?,
        })
    }

    fn enqueue(self, lines: Lines, done: Option<oneshot::Sender<Result<(), AuditUnavailable>>>) {
        let entry = Entry {
            lines,
            since: Instant::now(),
            done,
            _place: self.place,
        };
        if self.log.shared.sender.send(Command::Write(entry)).is_err() {
            // The entry came back in the error and is dropped with its sender, so a waiter fails closed.
            self.log.shared.metrics.audit_failed();
            tracing::error!("audit record lost: the audit writer has ended");
        }
    }
}

#[cfg(test)]
mod tests;
