//! Public keys of sealers.

use core::fmt;

use base64ct::{Base64, Encoding as _};
use minisign_verify::{PublicKey, Signature, StreamVerifier};

use super::{LEGACY, SignatureError, UNTRUSTED_COMMENT};
use crate::limits::MAX_SEALER_KEY_BYTES;

/// Bytes of a key: algorithm, key id, point.
const KEY_BYTES: usize = 2 + 8 + 32;
/// Algorithm of every key, whichever kind of signature it makes.
const ED25519: [u8; 2] = LEGACY;

/// The y-coordinates of the points whose order divides 8, the cofactor: all encodings of them, sign bit aside.
/// Under such a key anybody makes signatures that verify. As in libsodium's `ge25519_has_small_order`.
const SMALL_ORDER: [[u8; 32]; 7] = [
    with_ends(0x00, 0x00, 0x00),
    with_ends(0x01, 0x00, 0x00),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0xed, 0xff, 0x7f),
    with_ends(0xee, 0xff, 0x7f),
];

const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    let (head, tail) = bytes.split_at_mut(16);
    if let (Some(head), Some(tail)) = (head.first_mut(), tail.last_mut()) {
        *head = first;
        *tail = last;
    }
    bytes
}

/// The id of a sealer's key: 8 random bytes, by which a signature names its key.
///
/// A name, not a fingerprint: whoever makes a key can give it any id. Compare keys as a whole.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SealerKeyId([u8; 8]);

impl SealerKeyId {
    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

/// As minisign shows it: the bytes as one little-endian number.
impl fmt::Display for SealerKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for SealerKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealerKeyId({self})")
    }
}

/// The public key of a sealer: a public key of minisign.
#[derive(Clone, Eq, PartialEq)]
pub struct SealerKey {
    // INVARIANT (same key): `inner` was decoded from `bytes`.
    bytes: [u8; KEY_BYTES],
    inner: PublicKey,
}

impl SealerKey {
    /// Parses the text of a public key file of minisign, or its second line alone.
    ///
    /// # Errors
    ///
    /// - [`SignatureError::MalformedKey`]: not such a text.
    /// - [`SignatureError::WeakKey`]: anybody can sign under it.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        if text.len() > MAX_SEALER_KEY_BYTES {
            return Err(SignatureError::MalformedKey);
        }
        let lines: Vec<_> = text.lines().take(3).collect();
        let line = match lines.as_slice() {
            [line] => *line,
            [comment, line] if comment.starts_with(UNTRUSTED_COMMENT) => *line,
            _ => return Err(SignatureError::MalformedKey),
        };
        let bytes: [u8; KEY_BYTES] = decode(line).ok_or(SignatureError::MalformedKey)?;
        let (head, point) = bytes
            .split_last_chunk::<32>()
            .ok_or(SignatureError::MalformedKey)?;
        if head.first_chunk() != Some(&ED25519) {
            return Err(SignatureError::MalformedKey);
        }
        let mut unsigned = *point;
        if let Some(last) = unsigned.last_mut() {
            *last &= 0x7f;
        }
        if SMALL_ORDER.contains(&unsigned) {
            return Err(SignatureError::WeakKey);
        }
        Ok(Self {
            bytes,
            inner: PublicKey::from_base64(line).map_err(|_| SignatureError::MalformedKey)?,
        })
    }

    /// The id by which signatures name the key.
    #[must_use]
    pub fn id(&self) -> SealerKeyId {
        let id = self.bytes.get(2..).and_then(<[u8]>::first_chunk);
        SealerKeyId(id.copied().unwrap_or_default())
    }

    /// The whole key in one line, to compare with its owner and to give to `minisign -P`.
    #[must_use]
    pub fn to_base64(&self) -> String {
        Base64::encode_string(&self.bytes)
    }

    /// The text of the key's file.
    #[must_use]
    pub fn to_file_text(&self) -> String {
        let (id, key) = (self.id(), self.to_base64());
        format!("{UNTRUSTED_COMMENT}minisign public key {id}\n{key}\n")
    }

    pub(super) fn verifier<'a>(&'a self, signature: &'a Signature) -> Option<StreamVerifier<'a>> {
        self.inner.verify_stream(signature).ok()
    }
}

impl fmt::Debug for SealerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealerKey({})", self.to_base64())
    }
}

/// The sealers that an opener accepts. They come from the operator, like the pinned key records.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SealerKeys(Vec<SealerKey>);

impl SealerKeys {
    /// No sealer: whoever demands a signature by one of them accepts nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key; `false` if it was there already.
    pub fn insert(&mut self, key: SealerKey) -> bool {
        let new = !self.contains(&key);
        if new {
            self.0.push(key);
        }
        new
    }

    /// Whether the key is among them.
    #[must_use]
    pub fn contains(&self, key: &SealerKey) -> bool {
        self.0.contains(key)
    }

    /// All keys, as they were added.
    pub fn iter(&self) -> impl Iterator<Item = &SealerKey> {
        self.0.iter()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<SealerKey> for SealerKeys {
    fn from_iter<I: IntoIterator<Item = SealerKey>>(keys: I) -> Self {
        let mut all = Self::new();
        for key in keys {
            all.insert(key);
        }
        all
    }
}

/// Padded base64 of exactly `N` bytes, strictly.
pub(super) fn decode<const N: usize>(line: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let decoded = Base64::decode(line, &mut bytes).ok()?;
    (decoded.len() == N).then_some(bytes)
}
