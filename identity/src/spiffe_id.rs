//! SPIFFE IDs and trust domains, in canonical form only.
//!
//! Accepted is exactly what the standard lets an issuer write: `spiffe://`, a lower-case trust domain, and path
//! segments of letters, digits, `.`, `-` and `_`. Nothing is normalized: a text that differs from its canonical form
//! by a single byte is refused, so equality of texts is equality of identities.
//!
//! Specification: SPIFFE-ID, section 2 (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{MAX_SITE_NAME_BYTES, MAX_SPIFFE_ID_BYTES, MAX_TRUST_DOMAIN_BYTES};

/// Name of a trust domain: 1 to 255 bytes of `a-z`, `0-9`, `.`, `-` and `_`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// Parses the bare name, without `spiffe://`.
    ///
    /// # Errors
    ///
    /// - [`SpiffeIdError::EmptyTrustDomain`]: the name is empty.
    /// - [`SpiffeIdError::TrustDomainTooLong`]: it is over 255 bytes.
    /// - [`SpiffeIdError::TrustDomainCharacter`]: another character; capitals, ports and user names fall under this.
    pub fn parse(name: &str) -> Result<Self, SpiffeIdError> {
        if name.is_empty() {
            return Err(SpiffeIdError::EmptyTrustDomain);
        }
        if name.len() > MAX_TRUST_DOMAIN_BYTES {
            return Err(SpiffeIdError::TrustDomainTooLong);
        }
        // SPIFFE-ID 2.1: "The trust domain name MUST be [...] lowercase letters, numbers, dots, dashes, and underscores".
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if !name.bytes().all(allowed) {
            return Err(SpiffeIdError::TrustDomainCharacter);
        }
        Ok(Self(name.into()))
    }

    /// The bare name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SPIFFE ID of the trust domain itself, without a path.
    #[must_use]
    pub fn spiffe_id(&self) -> SpiffeId {
        SpiffeId {
            text: format!("{SCHEME}{self}").into(),
            trust_domain: self.clone(),
        }
    }

    /// SPIFFE ID of this trust domain's identity authority, unless a join token names another.
    #[must_use]
    pub fn identity_authority(&self) -> SpiffeId {
        SpiffeId {
            text: format!("{SCHEME}{self}/{IDENTITY_AUTHORITY}").into(),
            trust_domain: self.clone(),
        }
    }
}

/// An identity: trust domain and path, at most 2,048 bytes.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SpiffeId {
    // INVARIANT (canonical): begins with `spiffe://` and `trust_domain`, then only segments.
    text: Box<str>,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// Parses the canonical text.
    ///
    /// # Errors
    ///
    /// The rule of the standard that the text breaks, see [`SpiffeIdError`].
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > MAX_SPIFFE_ID_BYTES {
            return Err(SpiffeIdError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        let trust_domain = TrustDomain::parse(domain)?;
        if let Some(path) = path {
            path.split('/').try_for_each(check_segment)?;
        }
        Ok(Self {
            text: text.into(),
            trust_domain,
        })
    }

    /// Builds an ID from a trust domain and path segments.
    ///
    /// # Errors
    ///
    /// As [`SpiffeId::parse`]; a segment that holds a slash is a bad segment.
    pub fn from_segments<'a>(
        trust_domain: &TrustDomain,
        segments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, SpiffeIdError> {
        let mut text = format!("{SCHEME}{trust_domain}");
        for segment in segments {
            check_segment(segment)?;
            text.push('/');
            text.push_str(segment);
            if text.len() > MAX_SPIFFE_ID_BYTES {
                return Err(SpiffeIdError::TooLong);
            }
        }
        Ok(Self {
            text: text.into(),
            trust_domain: trust_domain.clone(),
        })
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path with its leading slash, or the empty text.
    #[must_use]
    pub fn path(&self) -> &str {
        // INVARIANT (canonical)
        self.text
            .get(SCHEME.len() + self.trust_domain.0.len()..)
            .unwrap_or_default()
    }

    /// Whether there is a path; a workload's ID always has one.
    #[must_use]
    pub fn has_path(&self) -> bool {
        !self.path().is_empty()
    }

    /// The path's segments, none for a trust domain's own ID.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path().split('/').skip(1)
    }

    /// The first segment: the site this identity belongs to.
    #[must_use]
    pub fn site(&self) -> Option<&str> {
        self.segments().next()
    }

    /// Whether this ID is `prefix` or lies below it, compared segment by segment.
    ///
    /// `spiffe://a/paris2` does not lie below `spiffe://a/paris`.
    #[must_use]
    pub fn is_within(&self, prefix: &Self) -> bool {
        self.text
            .strip_prefix(&*prefix.text)
            .is_some_and(|rest| rest.is_empty() || (rest.starts_with('/')))
    }
}

/// Name of a site: one path segment of at most 63 bytes, and not the identity authority's own.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SiteName(Box<str>);

impl SiteName {
    /// Parses a site name.
    ///
    /// # Errors
    ///
    /// - [`SpiffeIdError::SiteNameTooLong`], [`SpiffeIdError::EmptySegment`], [`SpiffeIdError::DotSegment`],
    ///   [`SpiffeIdError::SegmentCharacter`]: not a path segment.
    /// - [`SpiffeIdError::ReservedSiteName`]: the identity authority's own place.
    pub fn parse(name: &str) -> Result<Self, SpiffeIdError> {
        if name.len() > MAX_SITE_NAME_BYTES {
            return Err(SpiffeIdError::SiteNameTooLong);
        }
        check_segment(name)?;
        if name == IDENTITY_AUTHORITY {
            return Err(SpiffeIdError::ReservedSiteName);
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reason a text is no SPIFFE ID, trust domain or site name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpiffeIdError {
    /// Over 2,048 bytes.
    #[error("SPIFFE ID is longer than 2048 bytes: shorten its path")]
    TooLong,
    /// Does not begin with `spiffe://`, written so.
    #[error("SPIFFE ID does not begin with spiffe:// in lower case")]
    Scheme,
    /// No trust domain.
    #[error("trust domain is empty: write spiffe://<trust-domain>/<path>")]
    EmptyTrustDomain,
    /// Trust domain over 255 bytes.
    #[error("trust domain is longer than 255 bytes")]
    TrustDomainTooLong,
    /// A character no trust domain may hold.
    #[error(
        "trust domain may hold only a-z, 0-9, '.', '-' and '_' (no capitals, port or user name)"
    )]
    TrustDomainCharacter,
    /// An empty path segment; a slash at the end makes one.
    #[error("path of the SPIFFE ID has an empty segment: remove the doubled or last slash")]
    EmptySegment,
    /// A segment `.` or `..`.
    #[error("path of the SPIFFE ID has a '.' or '..' segment: write the path it stands for")]
    DotSegment,
    /// A character no path segment may hold; `%`, `?` and `#` among them.
    #[error(
        "path segments may hold only a-z, A-Z, 0-9, '.', '-' and '_' (no percent-encoding, query or fragment)"
    )]
    SegmentCharacter,
    /// Site name over 63 bytes.
    #[error("site name is longer than 63 bytes")]
    SiteNameTooLong,
    /// The name of the identity authority's own path.
    #[error("site name 'identity-authority' is reserved: choose another")]
    ReservedSiteName,
}

fn check_segment(segment: &str) -> Result<(), SpiffeIdError> {
    // SPIFFE-ID 2.2: "Segments MUST NOT be empty [...] '.' and '..' MUST NOT be included"; the characters are
    // "letters, numbers, dots, dashes, and underscores".
    if segment.is_empty() {
        return Err(SpiffeIdError::EmptySegment);
    }
    if matches!(segment, "." | "..") {
        return Err(SpiffeIdError::DotSegment);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !segment.bytes().all(allowed) {
        return Err(SpiffeIdError::SegmentCharacter);
    }
    Ok(())
}

/// `Display`, `Debug`, `FromStr` and serde forms, all of them the text.
macro_rules! text_forms {
    ($type:ident, |$this:ident| $text:expr) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $this = self;
                f.pad($text)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self)
            }
        }

        impl FromStr for $type {
            type Err = SpiffeIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_forms!(TrustDomain, |this| &this.0);
text_forms!(SpiffeId, |this| &this.text);
text_forms!(SiteName, |this| &this.0);

/// Equality and order of a site name are those of its text, so sets of them are searched by `&str`.
impl std::borrow::Borrow<str> for SiteName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

const SCHEME: &str = "spiffe://";

/// Path of the identity authority in its trust domain.
pub const IDENTITY_AUTHORITY: &str = "identity-authority";

#[cfg(test)]
mod tests;
