//! Attributes of an identity document: what was attested about a workload besides its name.
//!
//! Keys are unique and ascending, so one set of attributes has exactly one encoding; anything else is refused. There
//! are at most 64, and 8 KiB of DER.
//!
//! # Layout of the certificate extension
//!
//! Object identifier 2.25.165444619430875679998848749002758843027, that is the UUID
//! `7c777983-f892-4a35-a79c-0b7c62206a93`; never critical. Its value is the DER of
//!
//! ```text
//! Attributes ::= SEQUENCE OF Attribute                    -- keys ascending by bytes, unique
//! Attribute  ::= SEQUENCE {
//!     key   UTF8String,                                   -- [A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?, 1 to 317 bytes
//!     value CHOICE { UTF8String, OCTET STRING } }         -- no control characters in text
//! ```
//!
//! A change of meaning takes a new object identifier; this one stays as it is.
//!
//! # Not promised
//!
//! That all X.509 software reads such a certificate: Go's `crypto/x509` and RustCrypto's `const-oid` hold no arc as
//! long as a UUID and refuse it as a whole. OpenSSL and webpki take it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use der::asn1::OctetString;
use der::{Choice, Decode, Encode, Sequence};
use rand_core::CryptoRng;

use crate::limits::{MAX_ATTRIBUTE_KEY_BYTES, MAX_ATTRIBUTES, MAX_ATTRIBUTES_DER_BYTES};

mod json;

/// Key of the attribute that tells the launched instances of one workload apart.
pub const INSTANCE: &str = "instance";

/// Key of the attribute that tells laptop, test and production apart.
pub const ENVIRONMENT: &str = "environment";

/// Content octets of the extension's object identifier.
///
/// `const-oid` holds no arc above 2^32, so the identifier is handled as bytes.
pub const EXTENSION_OID: [u8; 20] = [
    0x69, 0x81, 0xf8, 0xf7, 0xbc, 0xe0, 0xff, 0x89, 0x92, 0xa8, 0xeb, 0xa7, 0xce, 0x82, 0xef, 0xc6,
    0x91, 0x81, 0xd5, 0x13,
];

/// The extension's object identifier as people and OpenSSL write it.
pub const EXTENSION_OID_TEXT: &str = "2.25.165444619430875679998848749002758843027";

/// Value of an attribute.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AttributeValue {
    /// Text without control characters; what selectors compare.
    Text(String),
    /// Bytes; selectors see only that the key is there.
    Binary(Vec<u8>),
}

impl AttributeValue {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }
}

impl fmt::Debug for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Binary(bytes) => write!(f, "0x{}", hex::encode(bytes)),
        }
    }
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for AttributeValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

/// An ordered set of attributes within the bounds of a certificate.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Attributes {
    // INVARIANT (bounded): every insertion keeps count, keys, values and DER length within limits.
    entries: BTreeMap<String, AttributeValue>,
    withheld: bool,
}

impl Attributes {
    /// No attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of somebody whose attributes are not believed: none, and no answer about any. Selectors find neither that a key
    /// is there nor that it is not; in a document they are as if there were none.
    #[must_use]
    pub fn withheld() -> Self {
        Self {
            withheld: true,
            ..Self::default()
        }
    }

    /// Whether nothing may be concluded from what is not there.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.withheld
    }

    /// Adds one attribute.
    ///
    /// # Errors
    ///
    /// - [`AttributesError::Key`]: not a key.
    /// - [`AttributesError::ControlCharacter`]: text with a control character.
    /// - [`AttributesError::Duplicate`]: the key is already there; nothing was replaced.
    /// - [`AttributesError::TooMany`], [`AttributesError::TooLong`]: over the bounds of a document.
    pub fn insert(
        &mut self,
        key: &str,
        value: impl Into<AttributeValue>,
    ) -> Result<(), AttributesError> {
        self.insert_unmeasured(key, value.into())?;
        match self.encode() {
            Ok(der) if der.len() <= MAX_ATTRIBUTES_DER_BYTES => Ok(()),
            _ => {
                self.entries.remove(key);
                Err(AttributesError::TooLong)
            }
        }
    }

    /// Takes one attribute out.
    pub fn remove(&mut self, key: &str) -> Option<AttributeValue> {
        self.entries.remove(key)
    }

    /// The value of `key`, if present.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&AttributeValue> {
        self.entries.get(key)
    }

    /// The text of `key`, if present and a text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(AttributeValue::as_text)
    }

    /// Whether `key` is present.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Key and value pairs, keys ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &AttributeValue)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Number of attributes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives this set an `instance` of its own, 128 random bits in hex, replacing the one that it has.
    ///
    /// Called once per launched instance; a renewal keeps it.
    ///
    /// # Errors
    ///
    /// [`AttributesError::TooMany`], [`AttributesError::TooLong`]: no room for it; the set is as it was.
    pub fn set_new_instance(&mut self, rng: &mut impl CryptoRng) -> Result<(), AttributesError> {
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let former = self.remove(INSTANCE);
        let inserted = self.insert(INSTANCE, hex::encode(id));
        if let (Err(_), Some(former)) = (inserted, former) {
            self.entries.insert(INSTANCE.to_owned(), former);
        }
        inserted
    }

    /// Encodes the extension's value.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        // INVARIANT (bounded): whatever is in the set was encoded once on its way in.
        self.encode().unwrap_or_default()
    }

    /// Decodes the extension's value; the only accepted encoding is the one [`Attributes::to_der`] makes.
    ///
    /// # Errors
    ///
    /// - [`AttributesError::TooLong`], [`AttributesError::TooMany`]: over the bounds.
    /// - [`AttributesError::Encoding`]: not this structure, not DER, or trailing bytes.
    /// - [`AttributesError::Order`], [`AttributesError::Duplicate`]: keys not ascending or not unique.
    /// - [`AttributesError::Key`], [`AttributesError::ControlCharacter`]: a bad key or text.
    pub fn from_der(der: &[u8]) -> Result<Self, AttributesError> {
        if der.len() > MAX_ATTRIBUTES_DER_BYTES {
            return Err(AttributesError::TooLong);
        }
        let decoded = Vec::<AttributeDer>::from_der(der).map_err(|_| AttributesError::Encoding)?;
        let mut attributes = Self::new();
        for AttributeDer { key, value } in decoded {
            if attributes
                .entries
                .last_key_value()
                .is_some_and(|(last, _)| *last > key)
            {
                return Err(AttributesError::Order);
            }
            attributes.insert_unmeasured(&key, value.into())?;
        }
        // One set has one encoding, whatever the decoder lets through.
        if attributes.to_der() != der {
            return Err(AttributesError::Encoding);
        }
        Ok(attributes)
    }

    fn encode(&self) -> der::Result<Vec<u8>> {
        self.entries
            .iter()
            .map(AttributeDer::try_from)
            .collect::<der::Result<Vec<_>>>()?
            .to_der()
    }

    fn insert_unmeasured(
        &mut self,
        key: &str,
        value: AttributeValue,
    ) -> Result<(), AttributesError> {
        check_key(key)?;
        let length = match &value {
            AttributeValue::Text(text) => text.len(),
            AttributeValue::Binary(bytes) => bytes.len(),
        };
        if length > MAX_ATTRIBUTES_DER_BYTES {
            return Err(AttributesError::TooLong);
        }
        if value
            .as_text()
            .is_some_and(|text| text.contains(char::is_control))
        {
            return Err(AttributesError::ControlCharacter);
        }
        let count = self.entries.len();
        match self.entries.entry(key.to_owned()) {
            Entry::Occupied(_) => Err(AttributesError::Duplicate),
            Entry::Vacant(_) if count >= MAX_ATTRIBUTES => Err(AttributesError::TooMany),
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                Ok(())
            }
        }
    }
}

/// Reason attributes were refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributesError {
    /// A bad key.
    #[error(
        "attribute key must be 1 to 317 bytes of A-Z, a-z, 0-9, '.', '_', '/' and '-', its first and last a letter or digit"
    )]
    Key,
    /// Text with a control character.
    #[error("attribute text holds a control character: use a binary value")]
    ControlCharacter,
    /// The key occurs twice.
    #[error("attribute key occurs twice: keep one")]
    Duplicate,
    /// Keys are not ascending.
    #[error("attribute keys are not in ascending order")]
    Order,
    /// Over 64 attributes.
    #[error("more than 64 attributes: drop some")]
    TooMany,
    /// Over 8 KiB of DER.
    #[error("attributes are longer than 8 KiB together: shorten or drop some")]
    TooLong,
    /// Not the DER of attributes.
    #[error("attributes are not in their DER form")]
    Encoding,
}

fn check_key(key: &str) -> Result<(), AttributesError> {
    let inner =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = key.as_bytes();
    let good = bytes.len() <= MAX_ATTRIBUTE_KEY_BYTES
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().copied().all(inner);
    if good {
        Ok(())
    } else {
        Err(AttributesError::Key)
    }
}

#[derive(Sequence)]
struct AttributeDer {
    key: String,
    value: ValueDer,
}

#[derive(Choice)]
enum ValueDer {
    Text(String),
    Binary(OctetString),
}

impl TryFrom<(&String, &AttributeValue)> for AttributeDer {
    type Error = der::Error;

    fn try_from((key, value): (&String, &AttributeValue)) -> der::Result<Self> {
        let value = match value {
            AttributeValue::Text(text) => ValueDer::Text(text.clone()),
            AttributeValue::Binary(bytes) => ValueDer::Binary(OctetString::new(bytes.as_slice())?),
        };
        Ok(Self {
            key: key.clone(),
            value,
        })
    }
}

impl From<ValueDer> for AttributeValue {
    fn from(value: ValueDer) -> Self {
        match value {
            ValueDer::Text(text) => Self::Text(text),
            ValueDer::Binary(bytes) => Self::Binary(bytes.into_bytes().into()),
        }
    }
}

#[cfg(test)]
mod tests;
