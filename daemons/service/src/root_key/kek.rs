//! The key of each source of a slot.

use std::path::PathBuf;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use blindfold_core::sharing;
use locked_memory::LockedBytes;
use zeroize::Zeroizing;

use super::{
    RootKey, RootKeyError,
    share::{Share, ShareError},
    slots::Source,
};
use crate::{
    files, limits,
    pkcs11::{Token, TokenConfig, WrappingKey},
};

pub(super) const SALT_BYTES: usize = 16;

/// A passphrase, or where it is.
#[derive(Clone)]
pub enum Passphrase {
    /// In a file that only this user may read; one line end does not count.
    File(PathBuf),
    /// Typed.
    Typed(Zeroizing<Vec<u8>>),
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Typed(_) => f.write_str("Typed(..)"),
        }
    }
}

impl Passphrase {
    pub(super) fn expose(&self) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        let mut bytes = match self {
            Self::File(path) => files::read_secret(path, limits::PASSPHRASE_BYTES + 2)?,
            Self::Typed(bytes) => bytes.clone(),
        };
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
        let length = limits::PASSPHRASE_LEAST_BYTES..=limits::PASSPHRASE_BYTES;
        if !length.contains(&bytes.len()) {
            return Err(RootKeyError::BadSlots(format!(
                "a passphrase for root keys has {} to {} bytes, this one has {}: use six random words or more",
                length.start(),
                length.end(),
                bytes.len()
            )));
        }
        Ok(bytes)
    }
}

/// What is at hand to open a file of key slots.
#[derive(Debug, Default)]
pub struct Sources {
    /// A file with 32 random bytes.
    pub key_file: Option<PathBuf>,
    /// An HSM.
    pub hsm: Option<TokenConfig>,
    /// A passphrase.
    pub passphrase: Option<Passphrase>,
    /// Shares of custodians.
    pub shares: Vec<Share>,
}

/// The key of one source.
#[derive(Debug)]
pub(super) enum Kek {
    /// Bytes in this process.
    Key(RootKey),
    /// A key inside an HSM.
    Token(WrappingKey),
}

impl Kek {
    pub(super) fn wrap(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        match self {
            Self::Key(key) => key.wrap(context, secret),
            Self::Token(key) => Ok(key.wrap(context, secret)?),
        }
    }

    pub(super) fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        match self {
            Self::Key(key) => key.unwrap(context, wrapped).map_err(|error| match error {
                // The ID of a derived key tells nobody anything.
                RootKeyError::OtherKey { .. } => RootKeyError::WrongSource,
                other => other,
            }),
            Self::Token(key) => Ok(key.unwrap(context, wrapped)?),
        }
    }
}

impl Sources {
    /// The key of `source` and who gave it; `None` when that is not at hand.
    pub(super) fn kek(&self, source: &Source) -> Result<Option<(Kek, String)>, RootKeyError> {
        let kind = source.kind().name();
        let kek = match source {
            Source::KeyFile {} => match &self.key_file {
                Some(path) => Kek::Key(RootKey::load(path)?),
                None => return Ok(None),
            },
            Source::Hsm { key } => match &self.hsm {
                Some(config) => Kek::Token(WrappingKey::find(&open_token(config)?, key)?),
                None => return Ok(None),
            },
            Source::Passphrase {
                memory_kib,
                passes,
                lanes,
                salt,
            } => match &self.passphrase {
                Some(passphrase) => {
                    let salt = hex::decode(salt).map_err(|_| RootKeyError::NotWrapped)?;
                    let cost = (*memory_kib, *passes, *lanes);
                    Kek::Key(derive(&passphrase.expose()?, cost, &salt)?)
                }
                None => return Ok(None),
            },
            Source::Custodians { threshold, .. } => {
                if self.shares.is_empty() {
                    return Ok(None);
                }
                let (key, holders) = quorum(source, *threshold, &self.shares)?;
                return Ok(Some((Kek::Key(key), format!("{kind} {holders}"))));
            }
        };
        Ok(Some((kek, kind.to_owned())))
    }
}

/// One worker is enough for one unwrapping.
pub(super) fn open_token(config: &TokenConfig) -> Result<Token, RootKeyError> {
    let config = TokenConfig {
        workers: 1,
        ..config.clone()
    };
    Ok(Token::open(&config)?)
}

/// Puts the key together, once every share was found right.
fn quorum(
    source: &Source,
    threshold: u8,
    shares: &[Share],
) -> Result<(RootKey, String), RootKeyError> {
    let mut places = Vec::new();
    let mut parts = Vec::new();
    let mut holders = Vec::new();
    for share in shares {
        source.check_share(share)?;
        if places.contains(&share.place()) {
            let holder = share.holder().to_owned();
            return Err(ShareError::Again { holder }.into());
        }
        places.push(share.place());
        if parts.len() < usize::from(threshold) {
            parts.push((share.place(), share.expose().ok_or(ShareError::Malformed)?));
            holders.push(share.holder());
        }
    }
    if parts.len() < usize::from(threshold) {
        return Err(RootKeyError::BadSlots(format!(
            "{} of {threshold} shares given",
            parts.len()
        )));
    }
    let key = sharing::combine(&parts).map_err(|_| ShareError::Malformed)?;
    Ok((RootKey::from_bytes(key.as_slice())?, holders.join(", ")))
}

/// Argon2id, RFC 9106; its memory is wiped.
pub(super) fn derive(
    passphrase: &[u8],
    (memory_kib, passes, lanes): (u32, u32, u32),
    salt: &[u8],
) -> Result<RootKey, RootKeyError> {
    let failed = |error: argon2::Error| RootKeyError::BadSlots(format!("Argon2id: {error}"));
    let params =
        Params::new(memory_kib, passes, lanes, Some(super::key::KEY_BYTES)).map_err(failed)?;
    let mut memory = Zeroizing::new(Vec::new());
    let blocks = params.block_count();
    // Asked for, so that too little memory is an error and not the end of the process.
    memory.try_reserve_exact(blocks).map_err(|_| {
        RootKeyError::BadSlots(format!("no {memory_kib} KiB of memory for Argon2id"))
    })?;
    memory.resize(blocks, Block::new());
    let key = LockedBytes::try_fill(super::key::KEY_BYTES, |key| {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase, salt, key, memory.as_mut_slice())
            .map_err(failed)
    })?;
    Ok(RootKey::from_locked(key))
}
