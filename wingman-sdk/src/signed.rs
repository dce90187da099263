//! Objects and files that a sealer signed.
//!
//! Which sealers are accepted says the acceptance profile (`[profile] signers`); once it names any, an object that none
//! of them signed is refused wherever it is opened. The signature is detached, as `minisign` writes it, and stands
//! beside the file under the same name with `.minisig` behind it.

use std::{
    ffi::OsString,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use blindfold_core::{
    AcceptanceProfile, AcceptedStream, Expectation, Header, LockSecrets, Missing, OpenError,
    OpenReader, PolicyLock, SealerKeys, SealerSignature, SignatureError, Signed, SignedReader,
    SignedStream, StaticKey, UnsealingKey,
};

use crate::{Error, FileError, SecretBytes, Wingman, files, gather::Locked, limits};

/// What stands behind the name of a file in the name of its signature.
const SUFFIX: &str = ".minisig";

/// Where the signature of a file stands: beside it, with `.minisig` behind its name.
///
/// ```
/// use std::path::Path;
///
/// let signature = wingman_sdk::signature_path(Path::new("/etc/api/config.toml"));
/// assert_eq!(signature, Path::new("/etc/api/config.toml.minisig"));
/// ```
pub fn signature_path(file: &Path) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(SUFFIX);
    path.into()
}

/// Why a file is not taken for signed by an accepted sealer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignedFileError {
    /// There is no signature, or it can't be read.
    #[error("{} must be signed by a sealer of the profile, and its signature can't be used", file.display())]
    Unreadable {
        /// The file that must be signed.
        file: PathBuf,
        /// What is the matter with the signature's file.
        source: FileError,
    },
    /// The signature does not hold, or is of somebody else.
    #[error("{} is not taken for signed by a sealer of the profile", file.display())]
    Refused {
        /// The file that must be signed.
        file: PathBuf,
        /// Why.
        source: SignatureError,
    },
}

/// Checks the signature beside `file`, of which `bytes` were read, if the profile demands one.
///
/// The caller reads the file once and goes on with the bytes of what is returned, so that nothing else is used than
/// what was signed.
pub(crate) fn verify_beside<'a>(
    profile: &AcceptanceProfile,
    file: &Path,
    bytes: &'a [u8],
) -> Result<Option<Signed<'a>>, SignedFileError> {
    let Some(sealers) = profile.sealers() else {
        return Ok(None);
    };
    let path = signature_path(file);
    let signature = files::read_text(&path, limits::MAX_SIGNATURE_BYTES);
    let signature = signature.map_err(|source| SignedFileError::Unreadable {
        file: file.into(),
        source,
    })?;
    let refused = |source| SignedFileError::Refused {
        file: file.into(),
        source,
    };
    Signed::verify(bytes, &signature, sealers)
        .map(Some)
        .map_err(refused)
}

impl Wingman {
    /// Checks the signature over `bytes`, by a sealer of the profile; `signature` is the text of a `.minisig` file.
    ///
    /// What is parsed from the result may be opened under a profile that demands a signature.
    ///
    /// # Errors
    ///
    /// - [`Error::NoSealers`]: the profile names none.
    /// - [`Error::Object`]: the signature is malformed, of somebody else, or does not hold.
    pub fn verify_signed<'a>(&self, bytes: &'a [u8], signature: &str) -> Result<Signed<'a>, Error> {
        Signed::verify(bytes, signature, self.needed_sealers()?).map_err(refused)
    }

    /// Opens a signed object: its bytes as they are stored, in any form, and the text of its `.minisig` file.
    ///
    /// # Errors
    ///
    /// Those of [`Wingman::verify_signed`] and [`Wingman::open`].
    pub fn open_signed(&self, bytes: &[u8], signature: &str) -> Result<SecretBytes, Error> {
        self.open_signed_with(bytes, signature, &Expectation::new())
    }

    /// Opens a signed object of which label or external AAD are known.
    ///
    /// # Errors
    ///
    /// Those of [`Wingman::verify_signed`] and [`Wingman::open_with`].
    pub fn open_signed_with(
        &self,
        bytes: &[u8],
        signature: &str,
        expectation: &Expectation,
    ) -> Result<SecretBytes, Error> {
        let signed = self.verify_signed(bytes, signature)?;
        let object = signed.object().map_err(Error::Object)?;
        self.open_with(&object, expectation)
    }

    /// Opens a signed binary object of any size from `reader` into `writer`, in constant memory; gives the number of
    /// bytes written.
    ///
    /// What is written is the sealer's only after `Ok`: the signature is checked at the end, before the last chunk is
    /// written. Write into a new file, and rename it then.
    ///
    /// # Errors
    ///
    /// Those of [`Wingman::verify_signed`] and [`Wingman::open_stream`].
    pub fn open_signed_stream(
        &self,
        reader: impl Read,
        signature: &str,
        writer: &mut impl Write,
        expectation: &Expectation,
    ) -> Result<u64, Error> {
        let signature = SealerSignature::parse(signature).map_err(refused)?;
        let (stream, secrets) = self.accept_signed(reader, &signature, expectation)?;
        Ok(stream.open_stream(&secrets, writer)?)
    }

    /// Opens a signed binary object of any size as a reader of its plaintext, in constant memory.
    ///
    /// What is read is the sealer's only when the reader has ended without an error.
    ///
    /// # Errors
    ///
    /// Those of [`Wingman::open_signed_stream`]; what follows comes from the reader, of kind `InvalidData`.
    pub fn open_signed_reader<'a, R: Read>(
        &'a self,
        reader: R,
        signature: &'a SealerSignature,
        expectation: &Expectation,
    ) -> Result<OpenReader<SignedReader<'a, R>>, Error> {
        let (stream, secrets) = self.accept_signed(reader, signature, expectation)?;
        Ok(stream.open_reader(&secrets)?)
    }

    fn accept_signed<'a, R: Read>(
        &'a self,
        reader: R,
        signature: &'a SealerSignature,
        expectation: &Expectation,
    ) -> Result<(AcceptedStream<'a, R>, LockSecrets), Error> {
        let inner = self.inner();
        let stream = SignedStream::read_from(reader, signature, self.needed_sealers()?)?;
        let header = stream.header().clone();
        let accepted = stream
            .accept(&inner.pinned, &inner.profile, expectation)
            .map_err(|error| inner.refused(error, &header))?;
        let gathered = inner.gather(&[&accepted]);
        inner.check_gathered(&accepted, &gathered)?;
        Ok((accepted, gathered.secrets))
    }

    /// The sealers one of whom must have signed whatever is opened; `None` where no signature is asked for.
    pub fn sealers(&self) -> Option<&SealerKeys> {
        self.inner().profile.sealers()
    }

    fn needed_sealers(&self) -> Result<&SealerKeys, Error> {
        self.sealers().ok_or(Error::NoSealers)
    }
}

fn refused(error: SignatureError) -> Error {
    Error::Object(OpenError::Signature(error))
}

impl<R: Read> Locked for AcceptedStream<'_, R> {
    fn header(&self) -> &Header {
        AcceptedStream::header(self)
    }
    fn policy_locks(&self) -> Vec<PolicyLock> {
        AcceptedStream::policy_locks(self)
    }
    fn static_secret(&self, key: &StaticKey) -> Result<LockSecrets, OpenError> {
        AcceptedStream::static_secret(self, key)
    }
    fn recovery_secret(&self, key: &UnsealingKey) -> Result<LockSecrets, OpenError> {
        AcceptedStream::recovery_secret(self, key)
    }
    fn missing(&self, secrets: &LockSecrets) -> Missing {
        AcceptedStream::missing(self, secrets)
    }
}
