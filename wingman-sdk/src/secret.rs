//! Opened secrets: wiped on drop, redacted in `Debug`, read only through [`ExposeSecret`].
//!
//! The types are those of the `secrecy` crate, so that other libraries take them as they are.
//! [`SecretBytes`] cannot be cloned; [`SecretString`] can, as `secrecy` allows it: each copy is wiped.

pub use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// Secret bytes.
pub type SecretBytes = secrecy::SecretSlice<u8>;

/// Moves bytes into a secret. The buffer may have spare room, so they are copied once, exactly, and the
/// buffer is wiped as it is dropped.
pub(crate) fn bytes(opened: &Zeroizing<Vec<u8>>) -> SecretBytes {
    SecretBytes::from(Box::<[u8]>::from(opened.as_slice()))
}

/// The text of a secret, or nothing if it is not UTF-8. One exact copy is made.
pub(crate) fn string(secret: &SecretBytes) -> Option<SecretString> {
    std::str::from_utf8(secret.expose_secret())
        .ok()
        .map(|text| SecretString::from(Box::<str>::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = bytes(&Zeroizing::new(b"hunter2".to_vec()));
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!format!("{secret:?}").contains("104"));
        let text = string(&secret).unwrap();
        assert!(!format!("{text:?}").contains("hunter2"));
        assert_eq!(text.expose_secret(), "hunter2");
    }

    #[test]
    fn only_utf8_is_text() {
        assert!(string(&bytes(&Zeroizing::new(vec![0xff, 0xfe]))).is_none());
        assert_eq!(
            string(&bytes(&Zeroizing::new(Vec::new())))
                .unwrap()
                .expose_secret(),
            ""
        );
    }
}
