//! Reads a sealed object in any of its forms.
//!
//! The two text forms are held in memory and are bounded; the binary form is parsed up to the end of its header, and
//! its payload stays in the reader, so that objects of any size can be opened.

use std::io::{Cursor, Read};

use blindfold_core::{Header, OpenError, Sealed, StreamError};

use crate::{
    failure::{Failure, Kind},
    files::MAX_WHOLE,
};

/// First bytes of the binary form.
const BINARY_MAGIC: &[u8] = b"PBSEAL";

/// An object, whole or as a stream.
pub(crate) enum Object<R> {
    /// A text form, or anything small.
    Whole(Sealed),
    /// The binary form: its header is read, its payload follows in the reader.
    Stream {
        /// The header.
        header: Header,
        /// The rest of the object.
        payload: R,
    },
}

impl<R> Object<R> {
    /// The header.
    pub(crate) fn header(&self) -> &Header {
        match self {
            Self::Whole(sealed) => sealed.header(),
            Self::Stream { header, .. } => header,
        }
    }
}

/// Why an object could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Reading failed.
    Io(std::io::Error),
    /// It is no object.
    Refused(OpenError),
    /// A text form beyond what is held in memory.
    TooLarge,
}

impl ReadError {
    /// The failure, with the name of the input.
    pub(crate) fn named(self, name: &str) -> Failure {
        match self {
            Self::Io(error) => Failure::new(Kind::Io, format_args!("{name}: {error}")),
            Self::Refused(error) => {
                Failure::data(format_args!("{name}: {} ({error})", error.name()))
            }
            Self::TooLarge => Failure::data(format_args!(
                "{name}: a text form over {} MiB",
                MAX_WHOLE >> 20
            ))
            .remedy("seal large secrets with --format binary"),
        }
    }
}

/// The payload of the binary form: what was looked at, then the rest.
pub(crate) type Payload<R> = std::io::Chain<Cursor<Vec<u8>>, R>;

/// Reads an object; see the module.
pub(crate) fn read<R: Read>(reader: R) -> Result<Object<Payload<R>>, ReadError> {
    let mut payload = match stored(reader)? {
        Stored::Text(bytes) => {
            return Sealed::from_bytes_any(&bytes)
                .map(Object::Whole)
                .map_err(ReadError::Refused);
        }
        Stored::Binary(payload) => payload,
    };
    let header = Header::read_from(&mut payload).map_err(|error| match error {
        StreamError::Refused(error) => ReadError::Refused(error),
        StreamError::Read(error) | StreamError::Write(error) => ReadError::Io(error),
        other => ReadError::Io(std::io::Error::other(other.to_string())),
    })?;
    Ok(Object::Stream { header, payload })
}

/// An object as it is stored, not parsed yet.
pub(crate) enum Stored<R> {
    /// All bytes of a text form, or of what is none.
    Text(Vec<u8>),
    /// The binary form from its first byte on.
    Binary(Payload<R>),
}

/// Tells the binary form from the text forms, and reads those.
pub(crate) fn stored<R: Read>(mut reader: R) -> Result<Stored<R>, ReadError> {
    let mut start = Vec::new();
    reader
        .by_ref()
        .take(BINARY_MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(ReadError::Io)?;
    if start == BINARY_MAGIC {
        return Ok(Stored::Binary(Cursor::new(start).chain(reader)));
    }
    reader
        .take(MAX_WHOLE + 1)
        .read_to_end(&mut start)
        .map_err(ReadError::Io)?;
    if start.len() as u64 > MAX_WHOLE {
        return Err(ReadError::TooLarge);
    }
    Ok(Stored::Text(start))
}
