//! The key record as JSON, for people and configuration files.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use super::record::prefix;
use super::{AuthorityKey, KeyError, Suite};
use crate::limits::MAX_KEY_JSON_BYTES;

/// Members in the order in which they are written; others are refused.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Json {
    v: u8,
    suite: String,
    purpose: String,
    authority: String,
    tenant: String,
    version: u32,
    public_key: String,
    key_id: String,
}

impl AuthorityKey {
    /// Reads the JSON form, computes the fingerprint again and compares.
    ///
    /// # Errors
    ///
    /// - [`KeyError::BadJson`]: not such a document, unknown members included.
    /// - [`KeyError::KeyIdMismatch`]: it claims a fingerprint that the record does not have.
    /// - The others as [`AuthorityKey::from_bytes`].
    pub fn from_json(json: &str) -> Result<Self, KeyError> {
        if json.len() > MAX_KEY_JSON_BYTES {
            return Err(KeyError::BadJson);
        }
        let json: Json = serde_json::from_str(json).map_err(|_| KeyError::BadJson)?;
        if json.v != 1 {
            return Err(KeyError::UnsupportedVersion);
        }
        let suites = [Suite::P384Sha384, Suite::MlKem768];
        let suite = suites
            .into_iter()
            .find(|suite| suite.name() == json.suite)
            .ok_or(KeyError::BadJson)?;
        if suite.purpose().name() != json.purpose {
            return Err(KeyError::WrongPurpose);
        }
        let public_key =
            Base64UrlUnpadded::decode_vec(&json.public_key).map_err(|_| KeyError::BadJson)?;
        if public_key.len() > usize::from(u16::MAX) {
            return Err(KeyError::BadPublicKey);
        }
        let record = Self::from_prefix(
            prefix(suite, &json.authority, &json.tenant, json.version)?,
            &public_key,
        )?;
        if record.key_id().to_string() != json.key_id {
            return Err(KeyError::KeyIdMismatch);
        }
        Ok(record)
    }

    /// The JSON form, indented, ending in a line feed.
    pub fn to_json(&self) -> String {
        let json = Json {
            v: 1,
            suite: self.suite().name().to_owned(),
            purpose: self.purpose().name().to_owned(),
            authority: self.authority().to_owned(),
            tenant: self.tenant().to_owned(),
            version: self.version(),
            public_key: Base64UrlUnpadded::encode_string(self.public_key_bytes()),
            key_id: self.key_id().to_string(),
        };
        // Strings and numbers always serialize.
        let mut text = serde_json::to_string_pretty(&json).unwrap_or_default();
        text.push('\n');
        text
    }
}
