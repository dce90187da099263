//! Large data: encrypted here under a data key, which travels with it, encrypted under the named key.

use std::{
    io::{Read, Seek, Write},
    sync::Arc,
};

use super::Key;
use crate::{
    KmsError,
    local::OperationError,
    stream::{
        self, ChunkKey, DATA_KEY_BYTES, DataKey, DecryptReader, SeekableReader, StreamError,
        StreamHeader,
    },
};

impl Key {
    /// Encrypts everything that `reader` gives, bound to `aad`, in constant memory; gives the number of bytes read.
    ///
    /// The policy is asked for `generate-data-key`, once. Of a key of high sensitivity, the HSM wraps the data key.
    ///
    /// # Errors
    ///
    /// See [`Key`]; [`KmsError::Stream`]: reading or writing failed. What was written is then to be discarded.
    pub fn encrypt_stream(
        &self,
        reader: impl Read,
        writer: impl Write,
        aad: &[u8],
    ) -> Result<u64, KmsError> {
        let data_key = self.stream_key(aad)?;
        stream::encrypt_stream(&data_key, aad, reader, writer).map_err(|error| self.broken(error))
    }

    /// Decrypts what [`Key::encrypt_stream`] made with the same `aad`, in constant memory; gives the number of bytes
    /// written.
    ///
    /// The policy is asked for `decrypt`, once.
    ///
    /// # Errors
    ///
    /// See [`Key`]; [`KmsError::Stream`]: reading, writing or decrypting failed. What was written is then a prefix at
    /// most, and to be discarded.
    pub fn decrypt_stream(
        &self,
        mut reader: impl Read,
        writer: impl Write,
        aad: &[u8],
    ) -> Result<u64, KmsError> {
        let key = self.chunk_key(&mut reader, aad)?;
        stream::decrypt_stream(key, reader, writer).map_err(|error| self.broken(error))
    }

    /// A reader of the plaintext of what [`Key::encrypt_stream`] made with the same `aad`, from its beginning.
    ///
    /// # Errors
    ///
    /// As [`Key::decrypt_stream`].
    pub fn open_stream<R: Read>(
        &self,
        mut reader: R,
        aad: &[u8],
    ) -> Result<DecryptReader<R>, KmsError> {
        let key = self.chunk_key(&mut reader, aad)?;
        Ok(DecryptReader::new(key, reader))
    }

    /// A reader of the plaintext at any place of what [`Key::encrypt_stream`] made with the same `aad`.
    ///
    /// # Errors
    ///
    /// As [`Key::decrypt_stream`].
    pub fn open_seekable<R: Read + Seek>(
        &self,
        mut reader: R,
        aad: &[u8],
    ) -> Result<SeekableReader<R>, KmsError> {
        let key = self.chunk_key(&mut reader, aad)?;
        SeekableReader::new(key, reader).map_err(|error| self.broken(error))
    }

    /// A data key for [`stream::EncryptWriter`], for those who push their data.
    ///
    /// # Errors
    ///
    /// See [`Key`].
    pub fn stream_key(&self, aad: &[u8]) -> Result<DataKey, KmsError> {
        let (plaintext, encrypted) = self.generate_data_key(DATA_KEY_BYTES, aad)?;
        DataKey::new(&plaintext, encrypted).map_err(|error| self.broken(error))
    }

    /// Reads the header and has the data key decrypted.
    fn chunk_key(&self, reader: &mut impl Read, aad: &[u8]) -> Result<ChunkKey, KmsError> {
        let header = StreamHeader::read_from(reader).map_err(|error| self.broken(error))?;
        let data_key = self.decrypt(header.encrypted_data_key(), aad)?;
        header
            .accept(&data_key, aad)
            .map_err(|error| self.broken(error))
    }

    fn broken(&self, error: StreamError) -> KmsError {
        let what = match error {
            StreamError::Read(_) => "the source can't be read",
            StreamError::Write(_) => "the destination can't be written",
            // One form, wherever in the data the fault is.
            StreamError::DecryptionFailed => {
                return KmsError::operation(&self.place, OperationError::DecryptionFailed);
            }
            StreamError::Operation(reason) => return KmsError::operation(&self.place, reason),
            _ => "the stream is not usable",
        };
        KmsError::Stream {
            place: self.place.clone(),
            what,
            source: Arc::new(error),
        }
    }
}
