//! Join tokens: one secret that makes one instance one identity, once.
//!
//! A token carries everything for a first contact that is authenticated both ways: where the identity authority is,
//! the SHA-256 of its trust bundle, the SPIFFE ID it must prove, and the secret that proves the holder's right. The
//! authority stores the secret's hash only.
//!
//! # Layout of the text
//!
//! `bfjoin1:` and unpadded base64url of
//!
//! | bytes | field |
//! |------:|-------|
//! | 2 + n | length and URL of the authority, `https://host[:port]` |
//! | 2 + n | length and SPIFFE ID of the authority |
//! |    32 | fingerprint of the trust bundle |
//! |    32 | secret |
//! |     4 | checksum: the first bytes of SHA-256 over `bfjoin1` and all before it |
//!
//! Lengths are big-endian. The checksum finds typing errors, it proves nothing. Another layout gets another prefix.
//!
//! # Not promised
//!
//! That a token is redeemed once under a race: [`JoinTokenRecord::redeem`] is the rule, the authority's store makes it
//! atomic.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;
use zeroize::Zeroizing;

use crate::attributes::{Attributes, AttributesError, INSTANCE};
use crate::bundle::BundleFingerprint;
use crate::limits::{
    MAX_AUTHORITY_URL_BYTES, MAX_JOIN_TOKEN_BYTES, MAX_JOIN_TOKEN_LIFETIME_SECONDS, REDEMPTION_REPEAT_SECONDS,
};
use crate::spiffe_id::SpiffeId;

/// Secret of a join token; wiped on drop, never printed.
///
/// Stack copies the compiler makes are *not* wiped.
pub struct JoinSecret(Box<Zeroizing<[u8; 32]>>);

impl JoinSecret {
    /// Draws a new secret.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Self(Box::new(Zeroizing::new([0; 32])));
        rng.fill_bytes(secret.0.as_mut_slice());
        secret
    }

    /// What the authority stores and looks for: SHA-256 of the secret.
    #[must_use]
    pub fn hash(&self) -> JoinSecretHash {
        JoinSecretHash(Sha256::digest(self.0.as_slice()).into())
    }

    /// The secret bytes.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads unpadded base64url of exactly 32 bytes.
    ///
    /// # Errors
    ///
    /// [`JoinTokenError::Encoding`]: anything else.
    pub fn from_base64(text: &str) -> Result<Self, JoinTokenError> {
        let mut secret = Self(Box::new(Zeroizing::new([0; 32])));
        let decoded = Base64UrlUnpadded::decode(text, secret.0.as_mut_slice());
        if decoded.is_ok_and(|bytes| bytes.len() == 32) { Ok(secret) } else { Err(JoinTokenError::Encoding) }
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSecret").finish_non_exhaustive()
    }
}

/// SHA-256 of a join token's secret; written in lower-case hex, compared in constant time.
#[derive(Clone, Copy)]
pub struct JoinSecretHash([u8; 32]);

impl JoinSecretHash {
    /// The hash, for storing it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A stored hash.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for JoinSecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for JoinSecretHash {}

impl fmt::Display for JoinSecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for JoinSecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinSecretHash({self})")
    }
}

impl Serialize for JoinSecretHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JoinSecretHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let BundleFingerprint(bytes) = String::deserialize(deserializer)?
            .parse()
            .map_err(|_| serde::de::Error::custom("hash is not 64 lower-case hex digits"))?;
        Ok(Self(bytes))
    }
}

/// A join token, as handed to a person or a machine.
pub struct JoinToken {
    authority_url: String,
    authority_id: SpiffeId,
    bundle: BundleFingerprint,
    secret: JoinSecret,
}

impl JoinToken {
    /// Puts a token together; `authority_url` is `https://host[:port]`, in its canonical form but for one last slash.
    ///
    /// # Errors
    ///
    /// - [`JoinTokenError::Url`]: not such a URL, or over 512 bytes.
    /// - [`JoinTokenError::AuthorityId`]: the SPIFFE ID has no path.
    pub fn new(
        authority_url: &str,
        authority_id: SpiffeId,
        bundle: BundleFingerprint,
        secret: JoinSecret,
    ) -> Result<Self, JoinTokenError> {
        let authority_url = authority_url.strip_suffix('/').unwrap_or(authority_url);
        check_url(authority_url)?;
        if !authority_id.has_path() {
            return Err(JoinTokenError::AuthorityId);
        }
        Ok(Self { authority_url: authority_url.to_owned(), authority_id, bundle, secret })
    }

    /// Reads the text form; white space around it is the caller's to strip.
    ///
    /// # Errors
    ///
    /// - [`JoinTokenError::TooLong`], [`JoinTokenError::Prefix`]: not a join token at all.
    /// - [`JoinTokenError::Encoding`]: cut, or with characters that no token has.
    /// - [`JoinTokenError::Checksum`]: mistyped.
    /// - [`JoinTokenError::Url`], [`JoinTokenError::AuthorityId`]: made by something else than this.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        if text.len() > MAX_JOIN_TOKEN_BYTES {
            return Err(JoinTokenError::TooLong);
        }
        let body = text.strip_prefix(PREFIX).ok_or(JoinTokenError::Prefix)?;
        let bytes = Base64UrlUnpadded::decode_vec(body).map(Zeroizing::new).map_err(|_| JoinTokenError::Encoding)?;
        let (body, found) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(JoinTokenError::Encoding)?;
        if checksum(body) != *found {
            return Err(JoinTokenError::Checksum);
        }
        let (url, rest) = split_text(body).ok_or(JoinTokenError::Encoding)?;
        let (id, rest) = split_text(rest).ok_or(JoinTokenError::Encoding)?;
        let (bundle, rest) = rest.split_first_chunk::<32>().ok_or(JoinTokenError::Encoding)?;
        let secret: &[u8; 32] = rest.try_into().map_err(|_| JoinTokenError::Encoding)?;
        let secret = JoinSecret(Box::new(Zeroizing::new(*secret)));
        if url.ends_with('/') {
            return Err(JoinTokenError::Url);
        }
        let id = SpiffeId::parse(id).map_err(|_| JoinTokenError::AuthorityId)?;
        Self::new(url, id, BundleFingerprint(*bundle), secret)
    }

    /// The text form, with the secret.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_JOIN_TOKEN_BYTES));
        for text in [self.authority_url.as_str(), self.authority_id.as_str()] {
            // Both are bounded far below 2^16.
            body.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        body.extend_from_slice(&self.bundle.0);
        body.extend_from_slice(self.secret.expose_bytes());
        let sum = checksum(&body);
        body.extend_from_slice(&sum);
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&body));
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + encoded.len()));
        text.push_str(PREFIX);
        text.push_str(&encoded);
        text
    }

    /// Where the authority is: `https://host[:port]`, without a slash at the end.
    #[must_use]
    pub fn authority_url(&self) -> &str {
        &self.authority_url
    }

    /// Who the authority must prove to be; its trust domain is the one to join.
    #[must_use]
    pub fn authority_id(&self) -> &SpiffeId {
        &self.authority_id
    }

    /// Fingerprint of the bundle to accept.
    #[must_use]
    pub fn bundle_fingerprint(&self) -> &BundleFingerprint {
        &self.bundle
    }

    /// The secret, for the join request.
    #[must_use]
    pub fn secret(&self) -> &JoinSecret {
        &self.secret
    }

    /// The secret, out of a token that is not needed any more.
    #[must_use]
    pub fn into_secret(self) -> JoinSecret {
        self.secret
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("authority_url", &self.authority_url)
            .field("authority_id", &self.authority_id)
            .field("bundle", &self.bundle)
            .finish_non_exhaustive()
    }
}

/// What the authority stores of a token: everything but its secret, fixed at creation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRecord {
    /// Hash of the secret.
    pub secret_hash: JoinSecretHash,
    /// Who the instance becomes.
    pub spiffe_id: SpiffeId,
    /// Its attributes, `instance` included, so that a repeated redemption makes the same identity.
    pub attributes: Attributes,
    /// First second at which it is expired, Unix seconds.
    pub expires_at: u64,
    /// The redemption, once there was one.
    #[serde(default)]
    pub redeemed: Option<Redeemed>,
}

/// The one redemption of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redeemed {
    /// SHA-256 of the public key it was redeemed with, see [`crate::issue::Csr::public_key_sha256`].
    pub csr_key_sha256: [u8; 32],
    /// When, Unix seconds.
    pub at: u64,
}

/// What a redemption comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Redemption {
    /// The first one: store this if, and only if, nothing is stored yet, then issue. Who loses that race asks again.
    First(Redeemed),
    /// The same key within a minute, whose answer was lost: issue again, store nothing.
    Repeat,
    /// Refused: the caller hears "denied", the audit log hears this.
    Refused(RedemptionRefusal),
}

/// Why a redemption was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedemptionRefusal {
    /// Too late.
    #[error("join token expired: create a new one")]
    Expired,
    /// Redeemed with another key.
    #[error("join token was redeemed with another key: if that was not you, disable the site; create a new token")]
    OtherKey,
    /// Redeemed with this key, over a minute ago.
    #[error("join token was redeemed over a minute ago: create a new one")]
    AlreadyRedeemed,
}

impl JoinTokenRecord {
    /// Record of a new token; the attributes get an `instance` unless they have one.
    ///
    /// # Errors
    ///
    /// - [`JoinTokenError::AuthorityId`]: the SPIFFE ID has no path.
    /// - [`JoinTokenError::Lifetime`]: zero or over 30 days.
    /// - [`JoinTokenError::Attributes`]: no room for `instance`.
    pub fn new(
        secret: &JoinSecret,
        spiffe_id: SpiffeId,
        mut attributes: Attributes,
        now: u64,
        lifetime_seconds: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, JoinTokenError> {
        if !spiffe_id.has_path() {
            return Err(JoinTokenError::AuthorityId);
        }
        if lifetime_seconds == 0 || lifetime_seconds > MAX_JOIN_TOKEN_LIFETIME_SECONDS {
            return Err(JoinTokenError::Lifetime);
        }
        if !attributes.contains_key(INSTANCE) {
            attributes.set_new_instance(rng).map_err(JoinTokenError::Attributes)?;
        }
        let expires_at = now.saturating_add(lifetime_seconds);
        Ok(Self { secret_hash: secret.hash(), spiffe_id, attributes, expires_at, redeemed: None })
    }

    /// The rule: once, before it expires, and again for the same key within a minute.
    #[must_use]
    pub fn redeem(&self, csr_key_sha256: &[u8; 32], now: u64) -> Redemption {
        match &self.redeemed {
            None if now >= self.expires_at => Redemption::Refused(RedemptionRefusal::Expired),
            None => Redemption::First(Redeemed { csr_key_sha256: *csr_key_sha256, at: now }),
            Some(redeemed) if redeemed.csr_key_sha256 != *csr_key_sha256 => {
                Redemption::Refused(RedemptionRefusal::OtherKey)
            }
            // A clock set back counts as much as one that went on.
            Some(redeemed) if redeemed.at.abs_diff(now) > REDEMPTION_REPEAT_SECONDS => {
                Redemption::Refused(RedemptionRefusal::AlreadyRedeemed)
            }
            Some(_) => Redemption::Repeat,
        }
    }
}

/// Reason a join token was refused or not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinTokenError {
    /// Over 4 KiB.
    #[error("join token is longer than 4 KiB: pass the token and nothing else")]
    TooLong,
    /// Another text.
    #[error("not a join token: it begins with 'bfjoin1:'")]
    Prefix,
    /// Cut or garbled.
    #[error("join token is cut or holds characters that no token has: copy it again, without white space")]
    Encoding,
    /// Mistyped.
    #[error("join token is mistyped: its checksum does not fit; copy it again")]
    Checksum,
    /// Not the URL of an authority.
    #[error("authority URL must be https://host or https://host:port, in its canonical form, at most 512 bytes")]
    Url,
    /// A SPIFFE ID without a path, or none.
    #[error("SPIFFE ID is not valid or has no path")]
    AuthorityId,
    /// Zero or over 30 days.
    #[error("join token must live for 1 second to 30 days")]
    Lifetime,
    /// No room for `instance`.
    #[error("attributes leave no room for 'instance'")]
    Attributes(#[source] AttributesError),
}

/// `https`, host and port in canonical form, and nothing else.
fn check_url(text: &str) -> Result<(), JoinTokenError> {
    if text.len() > MAX_AUTHORITY_URL_BYTES {
        return Err(JoinTokenError::Url);
    }
    let url = Url::parse(text).map_err(|_| JoinTokenError::Url)?;
    // The canonical form of an origin ends with the slash that is left out here; a user name, path, query, fragment
    // or written default port makes the two differ.
    let origin = url.as_str().strip_suffix('/') == Some(text);
    let bare = url.username().is_empty() && url.password().is_none() && url.path() == "/";
    if url.scheme() == "https" && origin && bare { Ok(()) } else { Err(JoinTokenError::Url) }
}

fn split_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::new_with_prefix(b"bfjoin1").chain_update(body).finalize().into();
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(digest.first_chunk::<CHECKSUM_BYTES>().unwrap_or(&[0; CHECKSUM_BYTES]));
    sum
}

const PREFIX: &str = "bfjoin1:";
const CHECKSUM_BYTES: usize = 4;

#[cfg(test)]
mod tests;
