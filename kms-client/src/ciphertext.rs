//! Ciphertexts: which key, version and algorithm made them comes first, before any key is touched.
//!
//! # Layout
//!
//! Every ciphertext begins with a header of 25 bytes:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |      0 |     3 | `BFK` |
//! |      3 |     1 | format |
//! |      4 |     1 | algorithm |
//! |      5 |    16 | key identifier |
//! |     21 |     4 | version of the key, big-endian |
//!
//! What follows is told by the format:
//!
//! | format | is | follows |
//! |---|---|---|
//! | `01` derived | AEAD under a key derived for this message | salt (32), commitment (32), ciphertext, tag (16) |
//! | `02` token | AES-256-GCM inside a PKCS #11 token | nonce (12), ciphertext of 32 zero bytes and the plaintext, tag (16) |
//! | `03` RSA-OAEP | RSAES-OAEP | one block as long as the modulus |
//! | `04` stream | chunks under a data key | see [`crate::stream`] |
//!
//! The associated data of every format is the header followed by the caller's; the header has a fixed length, so that
//! the two can't be taken for each other.
//!
//! # Evolution
//!
//! A format never changes: what must change gets a new format byte, and old ones stay readable for ever.

use std::borrow::Cow;

use crate::{
    Algorithm, KeyId, RsaBits,
    limits::{KEY_ID_BYTES, MAX_VERSION},
};

/// First bytes of every ciphertext.
pub const MAGIC: [u8; 3] = *b"BFK";
/// Bytes of a header.
pub const HEADER_BYTES: usize = 25;
/// Bytes of the salt that a message's key is derived with.
pub const SALT_BYTES: usize = 32;
/// Bytes of the commitment to a message's key.
pub const COMMITMENT_BYTES: usize = 32;
/// Bytes of the tag of every AEAD in use.
pub const TAG_BYTES: usize = 16;
/// Bytes of the nonce of a token's AES-GCM.
pub const TOKEN_NONCE_BYTES: usize = 12;
/// Zero bytes before the plaintext inside a token's AES-GCM: they commit to the key.
pub const TOKEN_PADDING_BYTES: usize = 32;

/// How a ciphertext was made.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Format {
    /// AEAD under a key derived for this message.
    Derived,
    /// AES-256-GCM inside a PKCS #11 token, under the key itself.
    Token,
    /// RSAES-OAEP.
    RsaOaep,
}

impl Format {
    const fn byte(self) -> u8 {
        match self {
            Self::Derived => 1,
            Self::Token => 2,
            Self::RsaOaep => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Derived),
            2 => Some(Self::Token),
            3 => Some(Self::RsaOaep),
            _ => None,
        }
    }

    /// Whether a ciphertext of `algorithm` may have this format.
    const fn fits(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Derived => matches!(
                algorithm,
                Algorithm::Aes256Gcm | Algorithm::Aes256GcmSiv | Algorithm::ChaCha20Poly1305
            ),
            Self::Token => matches!(algorithm, Algorithm::Aes256Gcm),
            Self::RsaOaep => matches!(algorithm, Algorithm::RsaOaep(_)),
        }
    }
}

/// Algorithms that make ciphertexts, each with its byte.
const ALGORITHMS: [(Algorithm, u8); 6] = [
    (Algorithm::Aes256Gcm, 0x01),
    (Algorithm::Aes256GcmSiv, 0x02),
    (Algorithm::ChaCha20Poly1305, 0x03),
    (Algorithm::RsaOaep(RsaBits::B2048), 0x11),
    (Algorithm::RsaOaep(RsaBits::B3072), 0x12),
    (Algorithm::RsaOaep(RsaBits::B4096), 0x13),
];

/// Which key, version and algorithm made a ciphertext, and how. Not authenticated before the ciphertext is decrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CiphertextHeader {
    format: Format,
    algorithm: Algorithm,
    key_id: KeyId,
    version: u32,
}

impl CiphertextHeader {
    /// Header of a ciphertext; none if the algorithm makes no ciphertexts of that format, or no key has such a version.
    #[must_use]
    pub fn new(format: Format, algorithm: Algorithm, key_id: KeyId, version: u32) -> Option<Self> {
        (format.fits(algorithm) && (1..=MAX_VERSION).contains(&version)).then_some(Self {
            format,
            algorithm,
            key_id,
            version,
        })
    }

    /// Header of one whole ciphertext.
    ///
    /// # Errors
    ///
    /// [`MalformedCiphertext`] if it is not one whole ciphertext of a known format.
    pub fn parse(ciphertext: &[u8]) -> Result<Self, MalformedCiphertext> {
        Ok(Ciphertext::parse(ciphertext)?.header)
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let algorithm = ALGORITHMS
            .iter()
            .find(|(algorithm, _)| *algorithm == self.algorithm)
            .map_or(0, |(_, byte)| *byte);
        let [m0, m1, m2] = MAGIC;
        let mut bytes = [0; HEADER_BYTES];
        let (fixed, rest) = bytes.split_at_mut(5);
        fixed.copy_from_slice(&[m0, m1, m2, self.format.byte(), algorithm]);
        let (id, version) = rest.split_at_mut(KEY_ID_BYTES);
        id.copy_from_slice(self.key_id.as_bytes());
        version.copy_from_slice(&self.version.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<3>()?;
        let ([format, algorithm], rest) = rest.split_first_chunk::<2>()?;
        let (key_id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>()?;
        let version = u32::from_be_bytes(*rest.first_chunk::<4>()?);
        let format = Format::from_byte(*format).filter(|_| *magic == MAGIC)?;
        let (algorithm, _) = ALGORITHMS.iter().find(|(_, byte)| byte == algorithm)?;
        Self::new(format, *algorithm, KeyId::from_bytes(*key_id), version)
    }

    /// How the ciphertext was made.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Algorithm of the key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Identifier of the key.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Version of the key.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }
}

/// One whole ciphertext, taken apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ciphertext<'a> {
    /// Which key made it, and how.
    pub header: CiphertextHeader,
    /// What follows.
    pub body: Body<'a>,
}

/// What follows the header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Body<'a> {
    /// Of [`Format::Derived`].
    Derived {
        /// The message's key was derived with it.
        salt: &'a [u8; SALT_BYTES],
        /// Commits to the message's key.
        commitment: &'a [u8; COMMITMENT_BYTES],
        /// As long as the plaintext.
        sealed: &'a [u8],
        /// Authenticates ciphertext and associated data.
        tag: &'a [u8; TAG_BYTES],
    },
    /// Of [`Format::Token`].
    Token {
        /// Random.
        nonce: &'a [u8; TOKEN_NONCE_BYTES],
        /// Ciphertext of 32 zero bytes and the plaintext, then the tag: as a token takes and gives it.
        sealed: &'a [u8],
    },
    /// Of [`Format::RsaOaep`].
    RsaOaep {
        /// As long as the modulus.
        block: &'a [u8],
    },
}

impl<'a> Ciphertext<'a> {
    /// Takes a ciphertext apart; a body that is too short, or a block of another size, is refused.
    ///
    /// # Errors
    ///
    /// [`MalformedCiphertext`] if it is not one whole ciphertext of a known format.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MalformedCiphertext> {
        Self::split(bytes).ok_or(MalformedCiphertext)
    }

    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let header = CiphertextHeader::from_bytes(header)?;
        let body = match header.format {
            Format::Derived => {
                let (salt, rest) = rest.split_first_chunk()?;
                let (commitment, rest) = rest.split_first_chunk()?;
                let (sealed, tag) = rest.split_last_chunk()?;
                Body::Derived {
                    salt,
                    commitment,
                    sealed,
                    tag,
                }
            }
            Format::Token => {
                let (nonce, sealed) = rest.split_first_chunk()?;
                if sealed.len() < TOKEN_PADDING_BYTES + TAG_BYTES {
                    return None;
                }
                Body::Token { nonce, sealed }
            }
            Format::RsaOaep => match header.algorithm {
                Algorithm::RsaOaep(bits) if rest.len() == bits.bytes() => {
                    Body::RsaOaep { block: rest }
                }
                _ => return None,
            },
        };
        Some(Self { header, body })
    }
}

/// Not one whole ciphertext of a known format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not one whole ciphertext of a known format")]
pub struct MalformedCiphertext;

/// The associated data of a ciphertext: its header, then the caller's.
#[must_use]
pub fn associated_data<'a>(header: &'a [u8; HEADER_BYTES], aad: &[u8]) -> Cow<'a, [u8]> {
    if aad.is_empty() {
        return Cow::Borrowed(header);
    }
    let mut data = Vec::with_capacity(header.len() + aad.len());
    data.extend_from_slice(header);
    data.extend_from_slice(aad);
    Cow::Owned(data)
}
