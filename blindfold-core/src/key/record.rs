//! The public key record.

use core::fmt;
use core::hash::{Hash, Hasher};
use std::sync::Arc;

use ml_kem::EncapsulationKey768;

use super::{KeyError, KeyId, Purpose, Suite};
use crate::codec::{Reader, put_lv8, put_lv16};
use crate::group::Element;
use crate::kdf;
use crate::labels;
use crate::limits::MAX_AUTHORITY_NAME_BYTES;
#[cfg(test)]
use crate::{Info, PolicyRef, Window};

const MAGIC: &[u8] = b"PBSK";
const VERSION: u8 = 1;

/// Public record of one key: what sealers and openers pin.
///
/// Always valid: the public key was decoded and checked, the purpose is that of the suite, the
/// fingerprint was computed here. Cloning is cheap.
///
/// # Layout, version 1
///
/// | bytes        | field                           |
/// |-------------:|---------------------------------|
/// |            4 | `PBSK`                          |
/// |            1 | version, `0x01`                 |
/// |            2 | suite                           |
/// |            1 | purpose                         |
/// | 1 and 1–255  | authority, `a-z 0-9 . _ -`      |
/// | 1 and 1–255  | tenant, the same                |
/// |            4 | key version                     |
/// | 2 and 49 or 1184 | public key                  |
///
/// # Not promised
///
/// That the record is the right one: compare [`AuthorityKey::key_id`] over an authenticated channel.
#[derive(Clone)]
pub struct AuthorityKey(Arc<Record>);

struct Record {
    // INVARIANT (one record): all other fields are what `bytes` decodes to.
    bytes: Vec<u8>,
    key_id: KeyId,
    authority: String,
    tenant: String,
    version: u32,
    public_key: PublicKey,
}

/// Decoded public key.
pub(crate) enum PublicKey {
    /// Of [`Suite::P384Sha384`].
    P384(Element),
    /// Of [`Suite::MlKem768`]; passed the modulus check of FIPS 203, section 7.2.
    MlKem768(Box<EncapsulationKey768>),
}

impl PublicKey {
    fn decode(suite: Suite, bytes: &[u8]) -> Result<Self, KeyError> {
        match suite {
            Suite::P384Sha384 => Element::decode(bytes)
                .map(Self::P384)
                .map_err(|_| KeyError::BadPublicKey),
            Suite::MlKem768 => {
                let key = bytes.try_into().map_err(|_| KeyError::BadPublicKey)?;
                let key = EncapsulationKey768::new(key).map_err(|_| KeyError::BadPublicKey)?;
                Ok(Self::MlKem768(Box::new(key)))
            }
        }
    }
}

/// Authority or tenant: 1 to 255 characters out of `a-z 0-9 . _ -`.
fn name(bytes: &[u8]) -> Result<String, KeyError> {
    let allowed =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
    if bytes.is_empty() || bytes.len() > MAX_AUTHORITY_NAME_BYTES || !bytes.iter().all(allowed) {
        return Err(KeyError::BadName);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| KeyError::BadName)
}

/// The record up to, excluding, the public key: also the input of `DeriveKeyPair`.
pub(super) fn prefix(
    suite: Suite,
    authority: &str,
    tenant: &str,
    version: u32,
) -> Result<Vec<u8>, KeyError> {
    let (authority, tenant) = (name(authority.as_bytes())?, name(tenant.as_bytes())?);
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    bytes.extend_from_slice(&suite.id().to_be_bytes());
    bytes.push(suite.purpose().id());
    put_lv8(&mut bytes, authority.as_bytes());
    put_lv8(&mut bytes, tenant.as_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    Ok(bytes)
}

impl AuthorityKey {
    /// The record of `prefix` and a public key.
    pub(super) fn from_prefix(mut prefix: Vec<u8>, public_key: &[u8]) -> Result<Self, KeyError> {
        put_lv16(&mut prefix, public_key);
        Self::from_bytes(&prefix)
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// See [`KeyError`]: anything but one whole, consistent record of a supported suite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(KeyError::BadMagic);
        }
        if reader.u8()? != VERSION {
            return Err(KeyError::UnsupportedVersion);
        }
        let suite = Suite::try_from(reader.u16()?)?;
        if reader.u8()? != suite.purpose().id() {
            return Err(KeyError::WrongPurpose);
        }
        let authority = name(reader.lv8()?)?;
        let tenant = name(reader.lv8()?)?;
        let version = reader.u32()?;
        let public_key = PublicKey::decode(suite, reader.lv16()?)?;
        reader.finish()?;
        let hash = kdf::hash(labels::KEY_ID, &[bytes]);
        let mut key_id = [0; 32];
        key_id
            .iter_mut()
            .zip(hash)
            .for_each(|(byte, hashed)| *byte = hashed);
        let key_id = KeyId::from_bytes(key_id);
        Ok(Self(Arc::new(Record {
            bytes: bytes.to_vec(),
            key_id,
            authority,
            tenant,
            version,
            public_key,
        })))
    }

    /// This record with a public key that `policy` and `window` cancel out, under the key id it had: no bytes
    /// give such a record, as the key id is their hash.
    #[cfg(test)]
    pub(crate) fn cancelled_by(&self, policy: &PolicyRef, window: Window) -> Self {
        let tweak = crate::poprf::hash_to_scalar(&Info::new(self, policy, window));
        let tweak = crate::group::Point::mul_generator_vartime(&tweak);
        // The other of both points of that x: -mG.
        let mut negated = *tweak.normalize().unwrap().as_bytes();
        negated[0] ^= 1;
        Self(Arc::new(Record {
            bytes: self.0.bytes.clone(),
            key_id: self.0.key_id,
            authority: self.0.authority.clone(),
            tenant: self.0.tenant.clone(),
            version: self.0.version,
            public_key: PublicKey::P384(Element::decode(&negated).unwrap()),
        }))
    }

    /// The record as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The record as bytes of its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.bytes.clone()
    }

    /// Fingerprint of the record.
    pub fn key_id(&self) -> KeyId {
        self.0.key_id
    }

    /// Suite of the key.
    pub fn suite(&self) -> Suite {
        match self.0.public_key {
            PublicKey::P384(_) => Suite::P384Sha384,
            PublicKey::MlKem768(_) => Suite::MlKem768,
        }
    }

    /// What the key is for.
    pub fn purpose(&self) -> Purpose {
        self.suite().purpose()
    }

    /// Authority that holds the secret key.
    pub fn authority(&self) -> &str {
        &self.0.authority
    }

    /// Tenant whose objects the key seals.
    pub fn tenant(&self) -> &str {
        &self.0.tenant
    }

    /// Version of the key.
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// The public key: 49 bytes (P-384) or 1184 bytes (ML-KEM-768).
    pub fn public_key_bytes(&self) -> &[u8] {
        let len = match self.0.public_key {
            PublicKey::P384(_) => crate::limits::ELEMENT_BYTES,
            PublicKey::MlKem768(_) => crate::limits::MLKEM768_PUBLIC_KEY_BYTES,
        };
        let start = self.0.bytes.len().saturating_sub(len);
        self.0.bytes.get(start..).unwrap_or_default()
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }
}

impl PartialEq for AuthorityKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for AuthorityKey {}

impl Hash for AuthorityKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key_id.hash(state);
    }
}

impl fmt::Debug for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorityKey")
            .field("suite", &self.suite())
            .field("authority", &self.authority())
            .field("tenant", &self.tenant())
            .field("version", &self.version())
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}
