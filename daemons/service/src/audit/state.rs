//! Where the chain was when the log was last known to be whole: the file ending in `.chain`.
//!
//! It is written when the log is opened, after checkpoints, and when the log is closed, always after the records it
//! speaks of. So a log that ends before it has lost records, and a log that is gone is continued where it ended.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    AuditContext, AuditError,
    chain::{self, Head},
};
use crate::{
    files::{self, FileError, MODE_SECRET},
    limits,
};

/// What the file says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChainState {
    v: u8,
    /// Number of the last record that is known to be there; 0 before the first.
    seq: u64,
    /// Digest of its line.
    #[serde(with = "digest")]
    sha256: [u8; 32],
    /// Where its line ends in the log.
    end: u64,
    /// How long it is, with its line end.
    length: u64,
    /// Whether it was the last one when the log was closed.
    closed: bool,
}

/// A digest as hexadecimal digits.
mod digest {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(digest: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let mut digest = [0; 32];
        hex::decode_to_slice(String::deserialize(from)?, &mut digest).map_err(D::Error::custom)?;
        Ok(digest)
    }
}

/// The file ending in `.chain`.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
}

/// Where to go on, and what has to be said about it first.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) head: Head,
    pub(super) finding: Option<(&'static str, AuditContext)>,
    /// Where the line of `head` ends in the file, and its length; 0 if it is not there.
    pub(super) end: u64,
    pub(super) length: u64,
    /// Records that may be there and not be signed.
    pub(super) unsigned: u64,
}

impl StateFile {
    pub(super) fn beside(log: &Path) -> Self {
        let mut name = log.as_os_str().to_owned();
        name.push(".chain");
        Self { path: name.into() }
    }

    fn load(&self) -> Result<Option<ChainState>, AuditError> {
        let bytes = match files::read_secret(&self.path, limits::AUDIT_CHAIN_STATE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match serde_json::from_slice::<ChainState>(&bytes) {
            Ok(state) if state.v == 1 => Ok(Some(state)),
            _ => Err(AuditError::State {
                path: self.path.clone(),
            }),
        }
    }

    /// Writes down that the chain is at `head`, whose line of `length` bytes ends at `end` of the log.
    pub(super) fn save(
        &self,
        head: &Head,
        end: u64,
        length: u64,
        closed: bool,
    ) -> Result<(), FileError> {
        let state = ChainState {
            v: 1,
            seq: head.seq,
            sha256: head.sha256,
            end,
            length,
            closed,
        };
        // A struct of numbers and text always serializes.
        let mut bytes = serde_json::to_vec(&state).unwrap_or_default();
        bytes.push(b'\n');
        files::write_atomic(&self.path, &bytes, MODE_SECRET)
    }

    /// Finds where the chain of the log `file` at `path` goes on.
    pub(super) fn resume(&self, path: &Path, file: &mut File) -> Result<Resumed, AuditError> {
        let io = |cause| {
            AuditError::File(FileError::Io {
                doing: "read",
                path: path.to_owned(),
                cause,
            })
        };
        let state = self.load()?;
        let last = last_line(file).map_err(io)?;
        let end = file.metadata().map_err(io)?.len();
        let resumed = match (&last, &state) {
            (None, None) => Resumed::new_chain()?,
            (None, Some(state)) if state.seq == 0 || state.closed => Resumed::at(state.head()),
            (None, Some(state)) => Resumed::new_chain()?.because(
                "the log was moved away after the daemon had ended without closing it: a new chain begins",
                state.context(),
            ),
            (Some(line), state) => match (chain::parse(line), state) {
                (Some((seq, ..)), None) => Resumed::after(seq, line, end).because(
                    "the file ending in .chain was missing: it is not known whether records are missing at the end",
                    AuditContext::new().with("seq", seq),
                ),
                (Some((seq, ..)), Some(state)) if seq < state.seq => Resumed::at(state.head())
                    .because(
                        "records were removed at the end of the log while the daemon did not run",
                        state.context().with("found_seq", seq),
                    ),
                (Some((seq, ..)), Some(state)) => {
                    let resumed = Resumed::after(seq, line, end);
                    if state.still_in(file).map_err(io)? {
                        resumed
                    } else {
                        resumed.because(
                            "records were changed at the end of the log while the daemon did not run",
                            state.context().with("found_seq", seq),
                        )
                    }
                }
                (None, Some(state)) if state.seq > 0 => Resumed::at(state.head()).because(
                    "the log ends in a line that is no record of its chain",
                    state.context(),
                ),
                (None, _) => Resumed::new_chain()?.because(
                    "the records before this one are of no chain: nothing shows whether they were changed",
                    AuditContext::new(),
                ),
            },
        };
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(resumed)
    }
}

impl Resumed {
    pub(super) fn at(head: Head) -> Self {
        Self {
            head,
            finding: None,
            end: 0,
            length: 0,
            unsigned: 0,
        }
    }

    /// After the last line of the file.
    fn after(seq: u64, line: &[u8], end: u64) -> Self {
        Self {
            end,
            length: line.len() as u64 + 1,
            // A checkpoint signs itself and all before.
            unsigned: u64::from(chain::parse_checkpoint(line).is_none()),
            ..Self::at(Head::after(seq, line))
        }
    }

    fn new_chain() -> Result<Self, AuditError> {
        Head::new_chain()
            .map(Self::at)
            .map_err(|_| AuditError::Random)
    }

    fn because(self, why: &'static str, context: AuditContext) -> Self {
        Self {
            finding: Some((why, context)),
            ..self
        }
    }
}

impl ChainState {
    fn head(&self) -> Head {
        Head {
            seq: self.seq,
            sha256: self.sha256,
        }
    }

    fn context(&self) -> AuditContext {
        AuditContext::new()
            .with("known_seq", self.seq)
            .with_hex("known_sha256", &self.sha256)
    }

    /// Whether the known record is where it was and the chain is whole from there to the end; also if the log was rotated
    /// since, so that the record is in another file.
    fn still_in(&self, file: &mut File) -> io::Result<bool> {
        if self.seq == 0 {
            return Ok(true);
        }
        let start = self.end.saturating_sub(self.length);
        let known = self.length > 0
            && self.length <= limits::AUDIT_LINE as u64
            && file.metadata()?.len() >= self.end
            && {
                file.seek(SeekFrom::Start(start))?;
                let mut line = Vec::new();
                Read::by_ref(file)
                    .take(self.length)
                    .read_to_end(&mut line)?;
                line.strip_suffix(b"\n")
                    .is_some_and(|line| Head::after(self.seq, line) == self.head())
            };
        if !known {
            // In another file by now, if this one begins after it.
            file.seek(SeekFrom::Start(0))?;
            let mut first = Vec::new();
            BufReader::new(Read::by_ref(file).take(limits::AUDIT_LINE as u64))
                .read_until(b'\n', &mut first)?;
            return Ok(chain::parse(&first).is_some_and(|(seq, ..)| seq > self.seq));
        }
        file.seek(SeekFrom::Start(self.end))?;
        follow(&mut BufReader::new(file), self.head()).map(|(_, whole)| whole)
    }
}

/// Follows the chain from `head` through `lines`: where it ends, and whether that is the end of them.
pub(super) fn follow(lines: &mut impl BufRead, mut head: Head) -> io::Result<(Head, bool)> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines
            .take(limits::AUDIT_LINE as u64)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok((head, true));
        }
        let Some(record) = line.strip_suffix(b"\n") else {
            return Ok((head, false));
        };
        match chain::parse(record) {
            Some((seq, prev, _)) if Some(seq) == head.seq.checked_add(1) && prev == head.sha256 => {
                head = Head::after(seq, record);
            }
            _ => return Ok((head, false)),
        }
    }
}

/// The last whole line of a file that ends in a line end, without that; `None` if it is empty.
fn last_line(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    let Some(end) = length.checked_sub(1) else {
        return Ok(None);
    };
    let mut span = 4096_u64;
    loop {
        let start = end.saturating_sub(span);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        Read::by_ref(file)
            .take(end - start)
            .read_to_end(&mut bytes)?;
        if let Some(line_end) = bytes.iter().rposition(|b| *b == b'\n') {
            return Ok(Some(bytes.split_off(line_end + 1)));
        }
        // Longer than any record: what it holds does not matter, it is none.
        if start == 0 || span >= limits::AUDIT_LINE as u64 {
            return Ok(Some(bytes));
        }
        span = span.saturating_mul(4);
    }
}
