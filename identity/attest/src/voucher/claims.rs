//! Claims of a token, in JSON.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use identity::{Attributes, SiteName, SpiffeId};
use rand_core::CryptoRng;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{VoucherError, is_name_byte};
use crate::limits::{
    MAX_SEQUENCE, MAX_TOKEN_ID_BYTES, MAX_UID_BYTES, MAX_VOUCHER_LIFETIME_SECONDS,
    MIN_TOKEN_ID_BYTES,
};

/// What a token says.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// `iss`: the site whose voucher signs.
    #[serde(rename = "iss")]
    pub site: SiteName,
    /// `aud`: SPIFFE ID of the authority.
    #[serde(rename = "aud")]
    pub audience: SpiffeId,
    /// `sub`: the SPIFFE ID to be issued.
    #[serde(rename = "sub")]
    pub subject: SpiffeId,
    /// `uid`: the launched instance.
    pub uid: String,
    /// `seq`: may not go back for one `uid`; goes up with every change.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// `iat`: Unix seconds.
    #[serde(rename = "iat")]
    pub issued_at: u64,
    /// `exp`: Unix seconds, at most 60 after `iat`.
    #[serde(rename = "exp")]
    pub expires_at: u64,
    /// `jti`: unique.
    #[serde(rename = "jti")]
    pub token_id: String,
    /// `cnf`: [`identity::DocumentKey::public_key_sha256`] of the key that the document is for.
    #[serde(rename = "cnf", with = "confirmation")]
    pub csr_key_sha256: [u8; 32],
    /// Of the document, without `instance`.
    pub attributes: Attributes,
}

impl Claims {
    /// Draws a `jti`: 128 random bits in hex.
    pub fn draw_token_id(rng: &mut impl CryptoRng) -> String {
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        hex::encode(id)
    }

    /// Whether every claim for itself has its form.
    pub(super) fn check_form(&self) -> Result<(), VoucherError> {
        let uid_byte = |byte| is_name_byte(byte) || matches!(byte, b':' | b'/');
        if !(1..=MAX_UID_BYTES).contains(&self.uid.len()) || !self.uid.bytes().all(uid_byte) {
            return Err(VoucherError::Uid);
        }
        if self.sequence > MAX_SEQUENCE {
            return Err(VoucherError::Sequence);
        }
        if !(MIN_TOKEN_ID_BYTES..=MAX_TOKEN_ID_BYTES).contains(&self.token_id.len())
            || !self.token_id.bytes().all(is_name_byte)
        {
            return Err(VoucherError::TokenId);
        }
        let lifetime = self.expires_at.checked_sub(self.issued_at);
        if !lifetime.is_some_and(|seconds| (1..=MAX_VOUCHER_LIFETIME_SECONDS).contains(&seconds)) {
            return Err(VoucherError::Lifetime);
        }
        Ok(())
    }
}

/// `{"spki#S256": "<43 characters of base64url>"}`, an object of exactly that member.
mod confirmation {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        hash: &[u8; 32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(MEMBER, &Base64UrlUnpadded::encode_string(hash))?;
        map.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 32], D::Error> {
        deserializer.deserialize_map(Confirmation)
    }

    struct Confirmation;

    impl<'de> Visitor<'de> for Confirmation {
        type Value = [u8; 32];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an object with the one member {MEMBER:?}")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<[u8; 32], A::Error> {
            let (member, text) = map
                .next_entry::<String, String>()?
                .ok_or_else(|| A::Error::custom("no member"))?;
            if member != MEMBER || map.next_key::<String>()?.is_some() {
                return Err(A::Error::custom("another member"));
            }
            let mut hash = [0; 32];
            let decoded = Base64UrlUnpadded::decode(&text, &mut hash);
            if decoded.is_ok_and(|bytes| bytes.len() == 32) {
                Ok(hash)
            } else {
                Err(A::Error::custom("not a hash"))
            }
        }
    }

    const MEMBER: &str = "spki#S256";
}
