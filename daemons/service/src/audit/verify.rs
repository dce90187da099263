//! Checks audit logs: that no record is missing, changed or out of place, and who signed them.
//!
//! Files are read once, line by line, in the order in which they were written. What is checked:
//!
//! - every line is one record in the one form, and continues the line before: its number is the next, and it holds the
//!   digest of the line before;
//! - every checkpoint is signed by one of the given keys;
//! - a record known from elsewhere (a syslog server, an earlier check) is there, unchanged.
//!
//! - no more than [`limits::AUDIT_UNSIGNED_RECORDS`] follow one another without a checkpoint.
//!
//! What no check of the files alone can see: records cut off the end together with the checkpoint after them, and what was
//! done to the records after the last checkpoint, which nothing signs yet. [`Report::unsigned`] counts the latter, and
//! [`Report::unsigned_since`] says how old they claim to be; a [`Known`] record shows the former.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, BufRead, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Serialize;

use super::{
    AuditPublicKey,
    chain::{self, Head},
};
use crate::limits;

/// Something wrong with a log, at one line of one file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// Not a record of a chain: added by hand, damaged, or written before logs had chains.
    NotARecord,
    /// The last line has no line end: it was cut short.
    CutShort,
    /// Records between the line before and this one are not there.
    Removed {
        /// How many.
        records: u64,
        /// Number of the first of them.
        first: u64,
    },
    /// A record whose number was there before: repeated, moved, or of a second log.
    OutOfOrder {
        /// Its number.
        seq: u64,
        /// The number that belongs here.
        expected: u64,
    },
    /// This record continues another line than the one before it: that one was changed, or this one was.
    Changed {
        /// Number of this record.
        seq: u64,
    },
    /// A chain begins in the middle of a log: files were moved away after a crash, or somebody began a log of their own.
    NewChain,
    /// A checkpoint that none of the given keys signed.
    BadSignature {
        /// Number of the checkpoint.
        seq: u64,
        /// SHA-256 of the key that it names, if it names one.
        key_sha256: Option<String>,
    },
    /// More records than any daemon writes without a checkpoint: who rewrites a log without its key leaves them out.
    Unsigned {
        /// How many there are up to here.
        records: u64,
    },
    /// No line is of a chain, so nothing was checked: the chain was taken out, or it is a log older than chains.
    NoChain,
    /// A record that was known from elsewhere is another one here.
    NotAsKnown {
        /// Its number.
        seq: u64,
    },
    /// A record that was known from elsewhere is not there; at the last line of the last file.
    KnownMissing {
        /// Its number.
        seq: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord => {
                f.write_str("not a record of this chain: added, damaged, or older than chains")
            }
            Self::CutShort => f.write_str("cut short: the line has no end"),
            Self::Removed { records: 1, first } => {
                write!(f, "record {first} was removed before this line")
            }
            Self::Removed { records, first } => {
                write!(
                    f,
                    "{records} records, from {first} on, were removed before this line"
                )
            }
            Self::OutOfOrder { seq, expected } => {
                write!(f, "record {seq} is out of order: {expected} belongs here")
            }
            Self::Changed { seq } => {
                write!(
                    f,
                    "record {seq} does not continue the line before: one of the two was changed"
                )
            }
            Self::NewChain => {
                f.write_str("a new chain begins here: nothing ties it to the records before")
            }
            Self::BadSignature {
                seq,
                key_sha256: Some(key),
            } => {
                write!(
                    f,
                    "checkpoint {seq} is not signed by a given key; it names the key {key}"
                )
            }
            Self::BadSignature {
                seq,
                key_sha256: None,
            } => {
                write!(f, "checkpoint {seq} is not signed by a given key")
            }
            Self::Unsigned { records } => {
                write!(
                    f,
                    "{records} records up to here without a checkpoint: a daemon signs long before, so checkpoints were left out"
                )
            }
            Self::NoChain => f.write_str(
                "no line is of a chain: nothing could be checked, and the chain may have been taken out",
            ),
            Self::NotAsKnown { seq } => write!(f, "record {seq} is not the one that is known"),
            Self::KnownMissing { seq } => {
                write!(
                    f,
                    "record {seq} is known and not there: the log was cut off before it"
                )
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.fault)
    }
}

/// A record known from elsewhere, written `SEQ:SHA256`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Known {
    seq: u64,
    sha256: [u8; 32],
}

/// Not `SEQ:SHA256`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "write the number of a record, a colon, and the 64 hexadecimal digits of its line's SHA-256, as an earlier check printed them"
)]
pub struct BadKnown;

impl FromStr for Known {
    type Err = BadKnown;

    fn from_str(text: &str) -> Result<Self, BadKnown> {
        let (seq, digits) = text.split_once(':').ok_or(BadKnown)?;
        let mut sha256 = [0; 32];
        hex::decode_to_slice(digits, &mut sha256).map_err(|_| BadKnown)?;
        let seq = seq.parse().map_err(|_| BadKnown)?;
        Ok(Self { seq, sha256 })
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex::encode(self.sha256))
    }
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Whether nothing is wrong.
    pub good: bool,
    /// Files that were read.
    pub files: u64,
    /// Lines that were read.
    pub lines: u64,
    /// Records of a chain, checkpoints included.
    pub records: u64,
    /// Checkpoints with a good signature.
    pub checkpoints: u64,
    /// Records after the last good checkpoint, which nothing signs.
    pub unsigned: u64,
    /// Time that the first of them names: long ago in a log that is being written means that checkpoints were left out.
    pub unsigned_since: Option<String>,
    /// Lines before the chain begins, written before logs had chains: nothing shows whether they were changed.
    pub before_chain: u64,
    /// Number of the first record; if it is not 1, the files before were not given.
    pub first_seq: Option<u64>,
    /// The last record, as `SEQ:SHA256`: what the next file continues.
    pub last: Option<String>,
    /// How much is wrong; only the first of it is listed.
    pub faults: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// A check in progress.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<AuditPublicKey>,
    known: BTreeSet<Known>,
    head: Option<Head>,
    report: Report,
    place: (PathBuf, u64),
    /// The first line that came before the chain.
    before: Option<(PathBuf, u64)>,
}

impl Verifier {
    /// Begins a check with the keys that may have signed, and records known from elsewhere.
    ///
    /// Without keys every checkpoint is a finding.
    #[must_use]
    pub fn new(keys: Vec<AuditPublicKey>, known: impl IntoIterator<Item = Known>) -> Self {
        Self {
            keys,
            known: known.into_iter().collect(),
            head: None,
            report: Report {
                good: true,
                files: 0,
                lines: 0,
                records: 0,
                checkpoints: 0,
                unsigned: 0,
                unsigned_since: None,
                before_chain: 0,
                first_seq: None,
                last: None,
                faults: 0,
                findings: Vec::new(),
            },
            place: (PathBuf::new(), 0),
            before: None,
        }
    }

    /// Reads the next file, in constant memory.
    ///
    /// # Errors
    ///
    /// What reading fails with.
    pub fn read(&mut self, file: &Path, lines: &mut impl BufRead) -> io::Result<()> {
        self.report.files += 1;
        self.place = (file.to_owned(), 0);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = Read::by_ref(lines)
                .take(limits::AUDIT_LINE as u64)
                .read_until(b'\n', &mut line)?;
            if length == 0 {
                return Ok(());
            }
            self.report.lines += 1;
            self.place.1 += 1;
            match line.strip_suffix(b"\n") {
                Some(record) => self.line(record),
                None if length < limits::AUDIT_LINE => self.fault(Fault::CutShort),
                None => {
                    self.fault(Fault::NotARecord);
                    skip_line(lines)?;
                }
            }
        }
    }

    /// Ends the check.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if self.head.is_none()
            && let Some(place) = self.before.take()
        {
            let here = std::mem::replace(&mut self.place, place);
            self.fault(Fault::NoChain);
            self.place = here;
        }
        let missing: Vec<Known> = std::mem::take(&mut self.known).into_iter().collect();
        for Known { seq, .. } in missing {
            self.fault(Fault::KnownMissing { seq });
        }
        self.report.last = self
            .head
            .map(|Head { seq, sha256 }| Known { seq, sha256 }.to_string());
        self.report.good = self.report.faults == 0;
        self.report
    }

    fn line(&mut self, line: &[u8]) {
        let Some((seq, prev, _)) = chain::parse(line) else {
            // Lines of a log that is older than chains come first, and only there.
            if self.head.is_none() && Members::of(line).is_some() {
                self.report.before_chain += 1;
                self.before.get_or_insert_with(|| self.place.clone());
            } else {
                self.fault(Fault::NotARecord);
            }
            return;
        };
        let members = Members::of(line);
        if members.is_none() {
            self.fault(Fault::NotARecord);
        }
        self.report.records += 1;
        self.report.unsigned += 1;
        if self.report.unsigned == 1 {
            self.report.unsigned_since = members.as_ref().and_then(|m| m.time.clone());
        }
        if self.report.unsigned == limits::AUDIT_UNSIGNED_RECORDS {
            self.fault(Fault::Unsigned {
                records: limits::AUDIT_UNSIGNED_RECORDS,
            });
        }
        match self.head {
            None => {
                self.report.first_seq = Some(seq);
                // Before the first record of all there may be lines; before any other it was a record.
                if let Some(place) = self.before.take().filter(|_| seq != 1) {
                    let here = std::mem::replace(&mut self.place, place);
                    self.fault(Fault::NotARecord);
                    self.place = here;
                }
                self.known_before(seq, prev);
            }
            Some(head) => self.continues(head, seq, prev),
        }
        let here = Head::after(seq, line);
        self.known(here);
        if members.is_some_and(|members| members.kind.as_deref() == Some("checkpoint")) {
            self.checkpoint(seq, line);
        }
        self.head = Some(here);
    }

    fn continues(&mut self, head: Head, seq: u64, prev: [u8; 32]) {
        let expected = head.seq.saturating_add(1);
        if seq == expected {
            if prev != head.sha256 {
                self.fault(Fault::Changed { seq });
            }
        } else if seq > expected {
            self.fault(Fault::Removed {
                records: seq - expected,
                first: expected,
            });
        } else if seq == 1 {
            self.fault(Fault::NewChain);
        } else {
            self.fault(Fault::OutOfOrder { seq, expected });
        }
    }

    /// A record known from elsewhere may be the last one of the file before the first.
    fn known_before(&mut self, seq: u64, prev: [u8; 32]) {
        if let Some(before) = seq.checked_sub(1) {
            self.known(Head {
                seq: before,
                sha256: prev,
            });
        }
    }

    fn known(&mut self, here: Head) {
        let of_number = Known {
            seq: here.seq,
            sha256: [0; 32],
        }..=Known {
            seq: here.seq,
            sha256: [0xff; 32],
        };
        let wanted: Vec<Known> = self.known.range(of_number).copied().collect();
        for known in wanted {
            self.known.remove(&known);
            if known.sha256 != here.sha256 {
                self.fault(Fault::NotAsKnown { seq: here.seq });
            }
        }
    }

    fn checkpoint(&mut self, seq: u64, line: &[u8]) {
        let signed = chain::parse_checkpoint(line).is_some_and(|(signed, signature)| {
            let message = [limits::AUDIT_CHECKPOINT_LABEL, signed].concat();
            self.keys.iter().any(|key| key.verify(&message, &signature))
        });
        if signed {
            self.report.checkpoints += 1;
            self.report.unsigned = 0;
            self.report.unsigned_since = None;
        } else {
            let key_sha256 = named_key(line);
            self.fault(Fault::BadSignature { seq, key_sha256 });
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.report.good = false;
        self.report.faults += 1;
        if self.report.findings.len() < limits::AUDIT_FINDINGS {
            self.report.findings.push(Finding {
                file: self.place.0.clone(),
                line: self.place.1,
                fault,
            });
        }
    }
}

/// Members of a line that are looked at; none if it is no JSON object, or has one of them twice.
#[derive(serde::Deserialize)]
struct Members {
    kind: Option<String>,
    time: Option<String>,
}

impl Members {
    fn of(line: &[u8]) -> Option<Self> {
        // A struct would be read from an array as well.
        line.starts_with(b"{")
            .then(|| serde_json::from_slice(line).ok())
            .flatten()
    }
}

fn named_key(line: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        context: Context,
    }
    #[derive(serde::Deserialize)]
    struct Context {
        key_sha256: String,
    }
    let key = serde_json::from_slice::<Named>(line)
        .ok()?
        .context
        .key_sha256;
    // What a stranger wrote is not passed on.
    (key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit())).then_some(key)
}

/// Passes over the rest of a line that is too long to be a record.
fn skip_line(lines: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = lines.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = bytes.iter().position(|b| *b == b'\n');
        let used = end.map_or(bytes.len(), |at| at + 1);
        lines.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}
