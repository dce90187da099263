//! Shares of custodians, as lines of text.
//!
//! # Layout, version 1
//!
//! `bfroot1-` and base64url (RFC 4648, section 5, without padding) of
//!
//! | bytes | field |
//! |------:|-------|
//! |     8 | set: names the sharing that the share belongs to |
//! |     1 | place, from 1 |
//! |     1 | threshold |
//! |     1 | number of shares |
//! |     1 | bytes of the holder's name |
//! |     n | holder, UTF-8 |
//! |    32 | the share |
//! |     4 | the first bytes of SHA-256(`blindfold-root-share-v1` ‖ everything before), against typing errors |
//!
//! A file may have comment lines that begin with `#`. Another form gets another number; version 1 does not change.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use locked_memory::LockedBytes;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::RootKeyError;
use crate::limits;

const PREFIX: &str = "bfroot1-";
const CHECKSUM_LABEL: &[u8] = b"blindfold-root-share-v1";
const CHECK_LABEL: &[u8] = b"blindfold-root-share-check-v1";
pub(super) const SET_BYTES: usize = 8;
const SHARE_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// Reason a share was refused; names its holder, never its bytes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// Not a line of the known form.
    #[error(
        "not a share: it has to be one line that begins with {PREFIX}, as `blindfold root init` wrote it"
    )]
    Malformed,
    /// The checksum does not fit.
    #[error("the share has a typing error: compare it with the original, character by character")]
    Mistyped,
    /// It belongs to another sharing.
    #[error(
        "the share of {holder} belongs to sharing {given}, not to {expected}: it was replaced, or is of another service"
    )]
    OtherSet {
        /// Its holder.
        holder: String,
        /// Its set.
        given: String,
        /// The set asked for.
        expected: String,
    },
    /// Well-formed, but not the share that was made for this holder.
    #[error(
        "the share of {holder} is wrong: it is not the one that was made for this holder; the others still count"
    )]
    Wrong {
        /// Its holder.
        holder: String,
    },
    /// Given before.
    #[error("the share of {holder} was given already: another custodian's is needed")]
    Again {
        /// Its holder.
        holder: String,
    },
}

/// One custodian's share of the key that opens a root key file; in locked memory, never printed.
pub struct Share {
    pub(super) set: [u8; SET_BYTES],
    place: u8,
    threshold: u8,
    count: u8,
    holder: String,
    bytes: LockedBytes,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("set", &self.set_name())
            .field("place", &self.place)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

impl Share {
    pub(super) fn new(
        set: [u8; SET_BYTES],
        (place, threshold, count): (u8, u8, u8),
        holder: &str,
        bytes: &[u8; SHARE_BYTES],
    ) -> Result<Self, RootKeyError> {
        Ok(Self {
            set,
            place,
            threshold,
            count,
            holder: holder.to_owned(),
            bytes: LockedBytes::copy_of(bytes)?,
        })
    }

    /// Reads a share from a line, or from a file with comments.
    ///
    /// # Errors
    ///
    /// - [`ShareError::Malformed`], [`ShareError::Mistyped`].
    /// - [`RootKeyError::Memory`].
    pub fn parse(text: &str) -> Result<Self, RootKeyError> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (line, None) = (lines.next().ok_or(ShareError::Malformed)?, lines.next()) else {
            return Err(ShareError::Malformed.into());
        };
        let encoded = line.strip_prefix(PREFIX).ok_or(ShareError::Malformed)?;
        if encoded.len() > limits::SHARE_TEXT_BYTES {
            return Err(ShareError::Malformed.into());
        }
        let mut buffer = Zeroizing::new([0; limits::SHARE_TEXT_BYTES]);
        let payload = Base64UrlUnpadded::decode(encoded, buffer.as_mut_slice())
            .map_err(|_| ShareError::Malformed)?;
        let (content, checksum) = payload
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(ShareError::Malformed)?;
        if checksum_of(content) != *checksum {
            return Err(ShareError::Mistyped.into());
        }
        Self::from_content(content)
    }

    fn from_content(content: &[u8]) -> Result<Self, RootKeyError> {
        let (set, rest) = content.split_first_chunk().ok_or(ShareError::Malformed)?;
        let (&[place, threshold, count, length], rest) =
            rest.split_first_chunk().ok_or(ShareError::Malformed)?;
        let (name, bytes) = rest
            .split_at_checked(usize::from(length))
            .ok_or(ShareError::Malformed)?;
        let holder = std::str::from_utf8(name).map_err(|_| ShareError::Malformed)?;
        let counts = (1..=count).contains(&place) && (1..=count).contains(&threshold);
        if !counts || !is_holder(holder) || bytes.len() != SHARE_BYTES {
            return Err(ShareError::Malformed.into());
        }
        Ok(Self {
            set: *set,
            place,
            threshold,
            count,
            holder: holder.to_owned(),
            bytes: LockedBytes::copy_of(bytes)?,
        })
    }

    /// The line, which is the secret.
    #[must_use]
    pub fn expose_line(&self) -> Zeroizing<String> {
        let mut content = Zeroizing::new(Vec::with_capacity(limits::SHARE_TEXT_BYTES));
        content.extend_from_slice(&self.set);
        let length = u8::try_from(self.holder.len()).unwrap_or(u8::MAX);
        content.extend_from_slice(&[self.place, self.threshold, self.count, length]);
        content.extend_from_slice(self.holder.as_bytes());
        content.extend_from_slice(&self.bytes);
        let checksum = checksum_of(&content);
        content.extend_from_slice(&checksum);
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&content));
        Zeroizing::new([PREFIX, encoded.as_str()].concat())
    }

    /// The line with an explanation, as it is written to a file.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        let comment = format!(
            "# Share {} of {} of the root key, sharing {}, for {}.\n# Any {} of them together open it. Keep it secret, away from the service.\n",
            self.place,
            self.count,
            self.set_name(),
            self.holder,
            self.threshold,
        );
        Zeroizing::new([comment.as_str(), self.expose_line().as_str(), "\n"].concat())
    }

    /// Whom it was made for.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Its place, from 1.
    #[must_use]
    pub fn place(&self) -> u8 {
        self.place
    }

    /// How many are needed.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Name of the sharing that it belongs to.
    #[must_use]
    pub fn set_name(&self) -> String {
        hex::encode(self.set)
    }

    /// What tells the right share of its holder from a wrong one, and tells nothing about it: it has 256 random bits.
    pub(super) fn check(&self) -> String {
        let hash = Sha256::new()
            .chain_update(CHECK_LABEL)
            .chain_update(self.set)
            .chain_update([self.place])
            .chain_update(&self.bytes)
            .finalize();
        hex::encode(hash)
    }

    pub(super) fn expose(&self) -> Option<&[u8; SHARE_BYTES]> {
        self.bytes.first_chunk()
    }
}

/// Whether a name may be a holder's: short, and printable on one line.
pub(super) fn is_holder(name: &str) -> bool {
    (1..=limits::HOLDER_BYTES).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || " ._-@+".contains(c))
        && name.trim() == name
}

fn checksum_of(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Sha256::new()
        .chain_update(CHECKSUM_LABEL)
        .chain_update(content)
        .finalize();
    let mut checksum = [0; CHECKSUM_BYTES];
    for (to, from) in checksum.iter_mut().zip(hash) {
        *to = from;
    }
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Share {
        let bytes: [u8; 32] = core::array::from_fn(|i| u8::try_from(i).unwrap() + 100);
        Share::new([1, 2, 3, 4, 5, 6, 7, 8], (2, 2, 3), "bob", &bytes).unwrap()
    }

    fn refusal(text: &str) -> ShareError {
        match Share::parse(text) {
            Err(RootKeyError::Share(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Made by another program.
    const GOLDEN: &str =
        "bfroot1-AQIDBAUGBwgCAgMDYm9iZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoPRburi";

    #[test]
    fn golden_line_of_version_1() {
        let share = Share::parse(GOLDEN).unwrap();
        assert_eq!(
            (share.holder(), share.place(), share.threshold()),
            ("bob", 2, 2)
        );
        assert_eq!(share.set_name(), "0102030405060708");
        assert_eq!(share.expose_line().as_str(), GOLDEN);
        assert_eq!(sample().expose_line().as_str(), GOLDEN);
    }

    #[test]
    fn text_of_a_file_is_read_back() {
        let share = sample();
        let text = share.expose_text();
        assert!(text.contains("for bob"), "{}", text.as_str());
        let again = Share::parse(&text).unwrap();
        assert_eq!(again.expose_line(), share.expose_line());
        assert_eq!(again.check(), share.check());
    }

    #[test]
    fn every_changed_character_is_seen() {
        for (index, old) in GOLDEN.char_indices() {
            for new in ['A', 'b', '7', '-', 'é', ' '] {
                if new == old {
                    continue;
                }
                let mut bent = GOLDEN.to_owned();
                bent.replace_range(index..=index, &new.to_string());
                assert!(
                    matches!(refusal(&bent), ShareError::Malformed | ShareError::Mistyped),
                    "{bent}"
                );
            }
        }
        for end in 0..GOLDEN.len() {
            refusal(&GOLDEN[..end]);
        }
    }

    #[test]
    fn two_lines_none_and_long_ones_are_refused() {
        for text in [
            "".to_owned(),
            "# only a comment".to_owned(),
            format!("{GOLDEN}\n{GOLDEN}"),
            format!("{PREFIX}{}", "A".repeat(10_000)),
        ] {
            assert_eq!(refusal(&text), ShareError::Malformed);
        }
    }

    #[test]
    fn holders_are_names_of_people() {
        for name in ["alice", "Zoë B.", "ops@example.org"] {
            assert!(is_holder(name), "{name}");
        }
        for name in [
            "",
            " alice",
            "a\nb",
            "a\u{1b}[2J",
            &"x".repeat(limits::HOLDER_BYTES + 1),
        ] {
            assert!(!is_holder(name), "{name:?}");
        }
    }

    #[test]
    fn debug_shows_no_byte_of_the_share() {
        let shown = format!("{:?}", sample());
        assert_eq!(
            shown,
            r#"Share { set: "0102030405060708", place: 2, holder: "bob", .. }"#
        );
    }
}
