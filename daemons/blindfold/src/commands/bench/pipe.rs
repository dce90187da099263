//! A bounded pipe between two threads: what one writes, the other reads.
//!
//! One large block goes to and fro. So one side works at a time, and neither is slowed by the other on a core that they
//! share.

use std::{
    io::{self, Read, Write},
    sync::mpsc::{Receiver, Sender, channel},
};

/// Bytes of a block: eight chunks of the format.
const BLOCK: usize = 512 * 1024;

/// The end that is written to; dropping it ends the stream.
#[derive(Debug)]
pub(super) struct PipeWriter {
    block: Vec<u8>,
    full: Sender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

/// The end that is read from.
#[derive(Debug)]
pub(super) struct PipeReader {
    block: Vec<u8>,
    at: usize,
    full: Receiver<Vec<u8>>,
    empty: Sender<Vec<u8>>,
}

/// Both ends.
pub(super) fn pipe() -> (PipeWriter, PipeReader) {
    let (full, filled) = channel();
    let (empty, emptied) = channel();
    let writer = PipeWriter {
        block: Vec::with_capacity(BLOCK),
        full,
        empty: emptied,
    };
    let reader = PipeReader {
        block: Vec::new(),
        at: 0,
        full: filled,
        empty,
    };
    (writer, reader)
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.flush()?;
        }
        let room = BLOCK - self.block.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.block.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.full
            .send(std::mem::take(&mut self.block))
            .map_err(|_| closed())?;
        self.block = self.empty.recv().map_err(|_| closed())?;
        Ok(())
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        // Without a reader there is nobody to tell.
        let _ = self.flush();
    }
}

impl Read for PipeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            let mut done = std::mem::take(&mut self.block);
            self.at = 0;
            if done.capacity() > 0 {
                done.clear();
                // A writer that has ended needs no more.
                let _ = self.empty.send(done);
            }
            let Ok(next) = self.full.recv() else {
                return Ok(0);
            };
            self.block = next;
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let taken = rest.get(..into.len()).unwrap_or(rest);
        if let Some(room) = into.get_mut(..taken.len()) {
            room.copy_from_slice(taken);
        }
        self.at += taken.len();
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_arrives_in_order_and_then_the_end() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK + 11] {
            let sent: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let (mut writer, mut reader) = pipe();
            let got = std::thread::scope(|scope| {
                scope.spawn(|| {
                    for piece in sent.chunks(70_001) {
                        writer.write_all(piece).unwrap();
                    }
                    drop(writer);
                });
                let mut got = Vec::new();
                reader.read_to_end(&mut got).unwrap();
                got
            });
            assert!(got == sent, "{length}");
        }
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_and_no_wait() {
        let (mut writer, reader) = pipe();
        drop(reader);
        let error = writer.write_all(&vec![0; 8 * BLOCK]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
