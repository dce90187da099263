//! The secret key file.
//!
//! # Layout, version 1
//!
//! | bytes           | field                                                     |
//! |----------------:|-----------------------------------------------------------|
//! |               4 | `PBSS`                                                    |
//! |               1 | version, `0x01`                                           |
//! | 2 and record    | the public record                                         |
//! | 2 and 48 or 64  | scalar, big-endian (0x0001), or seed `d ‖ z` (0x0201)     |
//!
//! The file is not encrypted: keep it at mode 0600 or wrapped.

use zeroize::Zeroizing;

use super::{AuthorityKey, KeyError, SecretKey, StaticKey, Suite, UnsealingKey};
use crate::codec::{Reader, put_lv16};
use crate::limits::MAX_KEY_FILE_BYTES;

const MAGIC: &[u8] = b"PBSS";
const VERSION: u8 = 1;

impl SecretKey {
    /// Reads a secret key file; the public key is computed again and compared with the record.
    ///
    /// # Errors
    ///
    /// See [`KeyError`]: anything but one whole file whose halves belong together.
    pub fn from_file_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > MAX_KEY_FILE_BYTES {
            return Err(KeyError::Trailing);
        }
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(KeyError::BadMagic);
        }
        if reader.u8()? != VERSION {
            return Err(KeyError::UnsupportedVersion);
        }
        let record = reader.lv16()?;
        let secret = reader.lv16()?;
        reader.finish()?;
        let record = AuthorityKey::from_bytes(record)?;
        match record.suite() {
            Suite::P384Sha384 => {
                let secret = secret.try_into().map_err(|_| KeyError::BadSecretKey)?;
                UnsealingKey::from_record(record, secret).map(Self::Unsealing)
            }
            Suite::MlKem768 => {
                let seed = secret.try_into().map_err(|_| KeyError::BadSecretKey)?;
                StaticKey::from_record(record, seed).map(Self::Static)
            }
        }
    }

    /// The secret key file, wiped on drop.
    pub fn to_file_bytes(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Unsealing(key) => key.to_file_bytes(),
            Self::Static(key) => key.to_file_bytes(),
        }
    }
}

impl UnsealingKey {
    /// The secret key file, wiped on drop.
    pub fn to_file_bytes(&self) -> Zeroizing<Vec<u8>> {
        file(
            self.record(),
            self.expose_secret().expose_bytes().as_slice(),
        )
    }
}

impl StaticKey {
    /// The secret key file, wiped on drop.
    pub fn to_file_bytes(&self) -> Zeroizing<Vec<u8>> {
        file(self.record(), self.expose_seed())
    }
}

fn file(record: &AuthorityKey, secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let record = record.as_bytes();
    // Room for all of it: growing would leave a copy of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        MAGIC.len() + 1 + 2 + record.len() + 2 + secret.len(),
    ));
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    put_lv16(&mut bytes, record);
    put_lv16(&mut bytes, secret);
    bytes
}
