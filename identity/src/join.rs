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
use sha2::{Digest, Sha256};
use url::Url;
use zeroize::Zeroizing;

use crate::attributes::AttributesError;
use crate::bundle::BundleFingerprint;
use crate::limits::{MAX_AUTHORITY_URL_BYTES, MAX_JOIN_TOKEN_BYTES};
use crate::spiffe_id::SpiffeId;

mod record;
mod secret;

pub use record::{JoinTokenRecord, Redeemed, Redemption, RedemptionRefusal};
pub use secret::{JoinSecret, JoinSecretHash};

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
        Ok(Self {
            authority_url: authority_url.to_owned(),
            authority_id,
            bundle,
            secret,
        })
    }

    /// Reads the text form; white space around it is the caller's to strip.
    ///
    /// # Errors
    ///
    /// - [`JoinTokenError::TooLong`], [`JoinTokenError::Prefix`]: not a join token at all.
    /// - [`JoinTokenError::Encoding`]: cut, or with characters that no token has.
    /// - [`JoinTokenError::Checksum`], mistyped.
    /// - [`JoinTokenError::Url`], [`JoinTokenError::AuthorityId`]: made by something else than this.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        if text.len() > MAX_JOIN_TOKEN_BYTES {
            return Err(JoinTokenError::TooLong);
        }
        let body = text.strip_prefix(PREFIX).ok_or(JoinTokenError::Prefix)?;
        let bytes = Base64UrlUnpadded::decode_vec(body)
            .map(Zeroizing::new)
            .map_err(|_| JoinTokenError::Encoding)?;
        let (body, found) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(JoinTokenError::Encoding)?;
        if checksum(body) != *found {
            return Err(JoinTokenError::Checksum);
        }
        let (url, rest) = split_text(body).ok_or(JoinTokenError::Encoding)?;
        let (id, rest) = split_text(rest).ok_or(JoinTokenError::Encoding)?;
        let (bundle, rest) = rest
            .split_first_chunk::<32>()
            .ok_or(JoinTokenError::Encoding)?;
        let secret: &[u8; 32] = rest.try_into().map_err(|_| JoinTokenError::Encoding)?;
        let secret = JoinSecret::from_bytes(secret);
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
    #[error(
        "join token is cut or holds characters that no token has: copy it again, without white space"
    )]
    Encoding,
    /// Mistyped.
    #[error("join token is mistyped: its checksum does not fit; copy it again")]
    Checksum,
    /// Not the URL of an authority.
    #[error(
        "authority URL must be https://host or https://host:port, in its canonical form, at most 512 bytes"
    )]
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
    if url.scheme() == "https" && origin && bare {
        Ok(())
    } else {
        Err(JoinTokenError::Url)
    }
}

fn split_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::new_with_prefix(b"bfjoin1")
        .chain_update(body)
        .finalize()
        .into();
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(
        digest
            .first_chunk::<CHECKSUM_BYTES>()
            .unwrap_or(&[0; CHECKSUM_BYTES]),
    );
    sum
}

const PREFIX: &str = "bfjoin1:";
const CHECKSUM_BYTES: usize = 4;

#[cfg(test)]
mod tests;
