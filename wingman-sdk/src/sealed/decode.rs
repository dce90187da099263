//! What opened bytes become.

use std::str::FromStr;

use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use crate::secret::{self, SecretBytes, SecretString};

/// Turns opened bytes into a value.
///
/// Implementations must not put any of the bytes into the error; [`NotDecoded`] has no room for it.
pub trait Decode<T> {
    /// Decodes the bytes.
    ///
    /// # Errors
    ///
    /// [`NotDecoded`]: they are not such a value.
    fn decode(secret: SecretBytes) -> Result<T, NotDecoded>;
}

/// The opened bytes are not a value of the type that was asked for.
///
/// It says nothing about the content on purpose: parsers quote what they could not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the opened content is not {wanted}: seal the right content, or change the type of the field"
)]
pub struct NotDecoded {
    wanted: &'static str,
}

impl NotDecoded {
    /// Makes the error; `wanted` says what the content should have been, such as "a port number".
    pub fn new(wanted: &'static str) -> Self {
        Self { wanted }
    }
}

/// The bytes as they are: [`SecretBytes`], or [`SecretString`] if they are UTF-8.
#[derive(Clone, Copy, Debug)]
pub enum Raw {}

impl Decode<SecretBytes> for Raw {
    fn decode(secret: SecretBytes) -> Result<SecretBytes, NotDecoded> {
        Ok(secret)
    }
}

impl Decode<SecretString> for Raw {
    fn decode(secret: SecretBytes) -> Result<SecretString, NotDecoded> {
        secret::string(&secret).ok_or(NotDecoded::new("UTF-8 text"))
    }
}

/// Text for [`FromStr`], without one line end at its end (editors and `echo` add one).
#[derive(Clone, Copy, Debug)]
pub enum Text {}

impl<T: FromStr> Decode<T> for Text {
    fn decode(secret: SecretBytes) -> Result<T, NotDecoded> {
        let refuse = || NotDecoded::new(std::any::type_name::<T>());
        let text = std::str::from_utf8(secret.expose_secret()).map_err(|_| refuse())?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.parse().map_err(|_| refuse())
    }
}

/// JSON for serde.
#[derive(Clone, Copy, Debug)]
pub enum Json {}

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(secret: SecretBytes) -> Result<T, NotDecoded> {
        serde_json::from_slice(secret.expose_secret())
            .map_err(|_| NotDecoded::new(std::any::type_name::<T>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::from(Box::<[u8]>::from(text.as_bytes()))
    }

    #[test]
    fn text_loses_one_line_end_and_raw_none() {
        assert_eq!(<Text as Decode<u16>>::decode(secret("5432\n")), Ok(5432));
        assert_eq!(<Text as Decode<u16>>::decode(secret("5432\r\n")), Ok(5432));
        assert!(<Text as Decode<u16>>::decode(secret("5432\n\n")).is_err());
        let raw = <Raw as Decode<SecretString>>::decode(secret("a\n")).unwrap();
        assert_eq!(raw.expose_secret(), "a\n");
    }

    #[test]
    fn json_becomes_any_type() {
        let pair: (String, u8) = Json::decode(secret(r#"["user", 7]"#)).unwrap();
        assert_eq!(pair, ("user".to_owned(), 7));
    }

    #[test]
    fn error_never_quotes_the_content() {
        #[derive(Debug, serde::Deserialize)]
        enum Choice {
            A,
        }
        // serde_json alone would say: unknown variant `hunter2`.
        let error = <Json as Decode<Choice>>::decode(secret("\"hunter2\"")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(matches!(Json::decode(secret("\"A\"")), Ok(Choice::A)));
        let error = <Text as Decode<std::net::IpAddr>>::decode(secret("hunter2")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
