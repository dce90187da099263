//! A sealed stream whose signature is checked as it is read.
//!
//! The reader answers "end of input" only if the signature holds, and the last chunk of a stream is known to be the
//! last one only by the end of the input: so it is not handed out before.

use core::fmt;
use std::io::{self, Read, Write};

use super::{Check, SealerKey, SealerKeys, SealerSignature, SignatureError};
use crate::batch::PolicyLock;
use crate::key::{KeyId, StaticKey, UnsealingKey};
use crate::object::{Header, Role};
use crate::open::{AcceptedHeader, LockSecrets, Missing, OpenError, OpenReader, StreamError};
use crate::profile::{AcceptanceProfile, Expectation, PinnedKeys};

/// A reader that hashes what it hands out, and ends without an error only if the signature over all of it holds.
///
/// An error of a bad signature stays: every later read repeats it.
pub struct SignedReader<'a, R> {
    reader: R,
    signature: &'a SealerSignature,
    state: State<'a>,
}

enum State<'a> {
    Reading(Check<'a>),
    Held(&'a SealerKey),
    Failed(SignatureError),
}

impl<'a, R: Read> SignedReader<'a, R> {
    /// Reads `reader` under `signature`, by one of `keys`.
    ///
    /// # Errors
    ///
    /// [`SignatureError::UnknownSigner`]: of none of the keys; nothing was read.
    pub fn new(
        reader: R,
        signature: &'a SealerSignature,
        keys: &'a SealerKeys,
    ) -> Result<Self, SignatureError> {
        let state = State::Reading(Check::new(signature, keys)?);
        Ok(Self {
            reader,
            signature,
            state,
        })
    }

    /// Who signed, once all was read and the signature held.
    #[must_use]
    pub fn signer(&self) -> Option<&'a SealerKey> {
        match self.state {
            State::Held(signer) => Some(signer),
            _ => None,
        }
    }

    /// What the signer said beside the bytes, once all was read and the signature held; see
    /// [`Signed::trusted_comment`](super::Signed::trusted_comment).
    #[must_use]
    pub fn trusted_comment(&self) -> Option<&'a str> {
        self.signer()
            .map(|_| self.signature.inner.trusted_comment())
    }
}

impl<R: Read> Read for SignedReader<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let check = match &mut self.state {
            State::Reading(check) => check,
            State::Held(_) => return Ok(0),
            State::Failed(error) => return Err(refused(*error)),
        };
        let count = self.reader.read(out)?;
        if count > 0 {
            check.update(out.get(..count).unwrap_or_default());
            return Ok(count);
        }
        match check.finish() {
            Ok(signer) => {
                self.state = State::Held(signer);
                Ok(0)
            }
            Err(error) => {
                self.state = State::Failed(error);
                Err(refused(error))
            }
        }
    }
}

fn refused(error: SignatureError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R> fmt::Debug for SignedReader<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state: &dyn fmt::Debug = match &self.state {
            State::Reading(_) => &"Reading",
            State::Held(signer) => signer,
            State::Failed(error) => error,
        };
        f.debug_struct("SignedReader")
            .field("state", state)
            .finish_non_exhaustive()
    }
}

/// A sealed stream under a signature: its header is read, its payload is to come.
pub struct SignedStream<'a, R> {
    reader: SignedReader<'a, R>,
    header: Header,
}

impl<'a, R: Read> SignedStream<'a, R> {
    /// Reads the header of the binary object in `reader`.
    ///
    /// # Errors
    ///
    /// [`StreamError::Refused`] with [`SignatureError::UnknownSigner`]; those of [`Header::read_from`].
    pub fn read_from(
        reader: R,
        signature: &'a SealerSignature,
        keys: &'a SealerKeys,
    ) -> Result<Self, StreamError> {
        let mut reader = SignedReader::new(reader, signature, keys).map_err(OpenError::from)?;
        let header = Header::read_from(&mut reader)?;
        Ok(Self { reader, header })
    }

    /// The header: a claim, until the stream was read to its end.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Checks the header against what this opener accepts.
    ///
    /// # Errors
    ///
    /// Those of [`Sealed::accept`](crate::Sealed::accept).
    pub fn accept(
        self,
        pinned: &PinnedKeys,
        profile: &AcceptanceProfile,
        expectation: &Expectation,
    ) -> Result<AcceptedStream<'a, R>, OpenError> {
        let signers: Vec<_> = match &self.reader.state {
            State::Reading(check) => check.keys().collect(),
            State::Held(signer) => vec![*signer],
            State::Failed(error) => return Err((*error).into()),
        };
        let header = self
            .header
            .accept_signed(pinned, profile, expectation, &signers)?;
        Ok(AcceptedStream {
            reader: self.reader,
            header,
        })
    }
}

impl<R> fmt::Debug for SignedStream<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedStream")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// A signed stream that the opener accepts; the header can't be taken out, so it opens nothing but this stream.
pub struct AcceptedStream<'a, R> {
    reader: SignedReader<'a, R>,
    header: AcceptedHeader,
}

impl<'a, R: Read> AcceptedStream<'a, R> {
    /// The header: a claim, until the stream was read to its end.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.header.header()
    }

    /// See [`AcceptedHeader::policy_locks`].
    #[must_use]
    pub fn policy_locks(&self) -> Vec<PolicyLock> {
        self.header.policy_locks()
    }

    /// See [`AcceptedHeader::static_locks`].
    pub fn static_locks(&self) -> impl Iterator<Item = (Role, KeyId)> {
        self.header.static_locks()
    }

    /// See [`AcceptedHeader::static_secret`].
    ///
    /// # Errors
    ///
    /// Those of [`AcceptedHeader::static_secret`].
    pub fn static_secret(&self, key: &StaticKey) -> Result<LockSecrets, OpenError> {
        self.header.static_secret(key)
    }

    /// See [`AcceptedHeader::recovery_secret`].
    ///
    /// # Errors
    ///
    /// Those of [`AcceptedHeader::recovery_secret`].
    pub fn recovery_secret(&self, key: &UnsealingKey) -> Result<LockSecrets, OpenError> {
        self.header.recovery_secret(key)
    }

    /// See [`AcceptedHeader::missing`].
    #[must_use]
    pub fn missing(&self, secrets: &LockSecrets) -> Missing {
        self.header.missing(secrets)
    }

    /// Opens the rest of the stream; gives the number of plaintext bytes written. Constant memory.
    ///
    /// Written are verified chunks only, the last one only if the signature holds. An error after bytes were written
    /// means that they are a prefix: discard them. A program that writes a file renames it into place after `Ok`.
    ///
    /// # Errors
    ///
    /// [`StreamError::Refused`] with [`OpenError::Signature`]: the signature does not hold. Those of
    /// [`AcceptedHeader::open_stream`].
    pub fn open_stream(
        self,
        secrets: &LockSecrets,
        writer: &mut impl Write,
    ) -> Result<u64, StreamError> {
        self.open_reader(secrets)?.copy_to(writer)
    }

    /// As [`AcceptedStream::open_stream`], but gives a reader of the plaintext.
    ///
    /// # Errors
    ///
    /// Those of [`AcceptedHeader::open_reader`]; the reader's own errors are of kind `InvalidData` and hold a
    /// [`StreamError`].
    pub fn open_reader(
        self,
        secrets: &LockSecrets,
    ) -> Result<OpenReader<SignedReader<'a, R>>, StreamError> {
        self.header.open_reader(secrets, self.reader)
    }
}

impl<R> fmt::Debug for AcceptedStream<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptedStream")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
