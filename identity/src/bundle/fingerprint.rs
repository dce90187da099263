//! What a join token pins of a bundle.

use std::fmt;
use std::str::FromStr;

use super::BundleError;

/// Fingerprint of a bundle's trust domain and anchors; written in lower-case hex.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct BundleFingerprint(pub [u8; 32]);

impl fmt::Display for BundleFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for BundleFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleFingerprint({self})")
    }
}

impl FromStr for BundleFingerprint {
    type Err = BundleError;

    /// Reads 64 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, BundleError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BundleError::Fingerprint)?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(BundleError::Fingerprint);
        }
        Ok(Self(bytes))
    }
}
