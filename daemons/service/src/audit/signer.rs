//! The key that signs checkpoints, and its public half.

use std::{fmt, path::Path};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::AuditError;
use crate::{
    files::{self, FileError, MODE_PUBLIC, MODE_SECRET},
    limits,
};

const PRIVATE: (&str, &str) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
const PUBLIC: (&str, &str) = ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----");

/// `SubjectPublicKeyInfo` of an Ed25519 key (RFC 8410, section 4) before its 32 bytes.
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Key of one daemon's audit log: Ed25519 (RFC 8032), PKCS #8 in PEM, mode 0600.
///
/// The key itself is AWS-LC's, wiped when it is freed. Never printed.
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    key_id: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key at `path`, or makes it; writes the public key to `<path>.pub`.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let bad = || AuditError::Signer {
            path: path.to_owned(),
        };
        let pem = match files::read_secret(path, limits::AUDIT_SIGNER_BYTES) {
            Ok(pem) => pem,
            Err(error) if error.is_not_found() => {
                let pem = generate().ok_or_else(bad)?;
                match files::create_new(path, &pem, MODE_SECRET) {
                    Ok(()) => pem,
                    // Another process was first.
                    Err(FileError::Exists { .. }) => {
                        files::read_secret(path, limits::AUDIT_SIGNER_BYTES)?
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        let pkcs8 = from_pem(&pem, PRIVATE).ok_or_else(bad)?;
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| bad())?;
        let signer = Self::new(pair).ok_or_else(bad)?;
        let mut name = path.as_os_str().to_owned();
        name.push(".pub");
        let public = to_pem(&signer.public_key().spki(), PUBLIC);
        let beside = Path::new(&name);
        if !files::read_bounded(beside, limits::AUDIT_SIGNER_BYTES)
            .is_ok_and(|there| there == *public)
        {
            files::write_atomic(beside, &public, MODE_PUBLIC)?;
        }
        Ok(signer)
    }

    /// A key that is nowhere else, for logs that are no file.
    #[cfg(test)]
    pub(super) fn ephemeral() -> Self {
        Self::new(Ed25519KeyPair::generate().unwrap()).unwrap()
    }

    fn new(pair: Ed25519KeyPair) -> Option<Self> {
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        let key_id = hex::encode(Sha256::digest(spki.as_ref()));
        Some(Self { pair, key_id })
    }

    /// SHA-256 of the public key, in hexadecimal digits.
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    pub(super) fn public_key(&self) -> AuditPublicKey {
        let mut bytes = [0; 32];
        let public = self.pair.public_key().as_ref();
        if public.len() == bytes.len() {
            bytes.copy_from_slice(public);
        }
        AuditPublicKey(bytes)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        Some(self.pair.try_sign(message).ok()?.as_ref().to_vec())
    }
}

/// Public key of an audit log's signer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuditPublicKey([u8; 32]);

/// Not the public key of an audit log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not the public key of an audit log: an Ed25519 key in PEM (BEGIN PUBLIC KEY) is expected, as in the file ending in .pub beside the signer's key"
)]
pub struct BadAuditPublicKey;

impl AuditPublicKey {
    /// Reads `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// [`BadAuditPublicKey`] for anything but one Ed25519 key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadAuditPublicKey> {
        let der = from_pem(pem, PUBLIC).ok_or(BadAuditPublicKey)?;
        let bytes = der.strip_prefix(&SPKI).ok_or(BadAuditPublicKey)?;
        bytes.try_into().map(Self).map_err(|_| BadAuditPublicKey)
    }

    /// SHA-256 of its `SubjectPublicKeyInfo`, in hexadecimal digits.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex::encode(Sha256::digest(self.spki()))
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, signature)
            .is_ok()
    }

    fn spki(&self) -> Vec<u8> {
        [&SPKI[..], &self.0[..]].concat()
    }
}

/// PKCS #8 version 1, which `openssl` reads too.
fn generate() -> Option<Zeroizing<Vec<u8>>> {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).ok()?;
    Some(to_pem(pkcs8.as_ref(), PRIVATE))
}

/// Both kinds of key fit on one line of 64 digits.
fn to_pem(der: &[u8], (begin, end): (&str, &str)) -> Zeroizing<Vec<u8>> {
    let digits = Zeroizing::new(Base64::encode_string(der));
    let mut pem = Zeroizing::new(Vec::with_capacity(limits::AUDIT_SIGNER_BYTES));
    for part in [begin, "\n", &digits, "\n", end, "\n"] {
        pem.extend_from_slice(part.as_bytes());
    }
    pem
}

fn from_pem(pem: &[u8], (begin, end): (&str, &str)) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(pem).ok()?.trim_ascii();
    let body = text.strip_prefix(begin)?.strip_suffix(end)?;
    let digits: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    Base64::decode_vec(&digits).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_read_again_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl.key");
        let one = Signer::open(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        let public = folder.path().join("audit.jsonl.key.pub");
        let pem = std::fs::read(&public).unwrap();
        assert_eq!(AuditPublicKey::from_pem(&pem), Ok(one.public_key()));
        std::fs::remove_file(&public).unwrap();
        let two = Signer::open(&path).unwrap();
        assert_eq!(one.key_id(), two.key_id());
        assert_eq!(std::fs::read(&public).unwrap(), pem);
        assert_eq!(one.key_id(), one.public_key().key_id());

        let secret = std::fs::read_to_string(&path).unwrap();
        let digits = secret.lines().nth(1).unwrap();
        let shown = format!("{one:?}");
        assert!(!shown.contains(&digits[22..]), "{shown}");
        let seed = hex::encode(&Base64::decode_vec(digits).unwrap()[16..]);
        assert!(
            !shown.contains(&seed) && shown.contains(one.key_id()),
            "{shown}"
        );
    }

    #[test]
    fn a_signature_is_for_one_message_and_one_key() {
        let (one, two) = (Signer::ephemeral(), Signer::ephemeral());
        let signature = one.sign(b"message").unwrap();
        assert!(one.public_key().verify(b"message", &signature));
        assert!(!one.public_key().verify(b"messagf", &signature));
        assert!(!two.public_key().verify(b"message", &signature));
    }

    #[test]
    fn what_is_no_such_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.key");
        files::create_new(&path, b"nothing", MODE_SECRET).unwrap();
        let error = Signer::open(&path).unwrap_err().to_string();
        assert!(error.contains("audit.key"), "{error}");
        assert_eq!(
            std::fs::read(&path).unwrap(),
            b"nothing",
            "never overwritten"
        );
        let pem = to_pem(&[1; 44], PUBLIC);
        assert_eq!(AuditPublicKey::from_pem(&pem), Err(BadAuditPublicKey));
        assert!(AuditPublicKey::from_pem(b"").is_err());
        let private = generate().unwrap();
        assert!(AuditPublicKey::from_pem(&private).is_err());
    }
}
