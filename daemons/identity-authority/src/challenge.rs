//! Challenges: made for one site, attestor and key, given to the client sealed, so that any replica can check the answer.
//!
//! A challenge is bound to all three and to its end; whoever changes a bit of it, or shows it for another site, attestor
//! or key, has none. That it counts once is the store's: see `Documents::attest`.
//!
//! # Layout of what is sealed, version 1
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |      0 |     1 | version, `0x01` |
//! |      1 |     8 | first second at which it is expired, Unix seconds, big endian |
//! |      9 |    32 | nonce: what is to be signed |
//! |     41 | ≤ 4 KiB | what the attestor keeps until the answer |
//!
//! Sealed by a key derived from the root keys for this purpose ([`RootKeys::derived`]); site, attestor and hash of the
//! client's key are the context. The text is base64url without padding.

use attest::limits::MAX_CHALLENGE_STATE_BYTES;
use attest::{Challenge, OpenedChallenge};
use base64ct::{Base64UrlUnpadded, Encoding};
use identity::SiteName;
use service::root_key::{RootKeyError, RootKeys};
use zeroize::Zeroizing;

use crate::limits::CHALLENGE_SECONDS;

/// What a challenge is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'a> {
    pub(crate) site: &'a SiteName,
    /// Name of the attestor.
    pub(crate) kind: &'a str,
    pub(crate) csr_key_sha256: &'a [u8; 32],
}

/// Why a challenge was not sealed or not opened; for the audit log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChallengeError {
    #[error("not a challenge of this authority for this site, attestor and key")]
    Unauthentic,
    #[error("the challenge expired: ask for another one")]
    Expired,
    #[error("the attestor wants more kept than a challenge holds")]
    TooLong,
    #[error("challenge can't be sealed: {0}")]
    Keys(RootKeyError),
}

/// Seals `challenge` for `purpose`.
///
/// # Errors
///
/// [`ChallengeError::TooLong`], [`ChallengeError::Keys`].
pub(crate) fn seal(
    keys: &RootKeys,
    purpose: Purpose<'_>,
    challenge: &Challenge,
    now: u64,
) -> Result<String, ChallengeError> {
    if challenge.state.len() > MAX_CHALLENGE_STATE_BYTES {
        return Err(ChallengeError::TooLong);
    }
    let expires_at = now.saturating_add(CHALLENGE_SECONDS);
    let mut plain = Zeroizing::new(Vec::with_capacity(HEAD_BYTES + challenge.state.len()));
    plain.push(VERSION);
    plain.extend_from_slice(&expires_at.to_be_bytes());
    plain.extend_from_slice(&challenge.nonce);
    plain.extend_from_slice(&challenge.state);
    let sealed = keys
        .derived(PURPOSE)
        .and_then(|keys| keys.wrap(&purpose.context(), &plain))
        .map_err(ChallengeError::Keys)?;
    Ok(Base64UrlUnpadded::encode_string(&sealed))
}

/// Opens a challenge that was sealed for `purpose` and has not expired.
///
/// # Errors
///
/// - [`ChallengeError::Unauthentic`]: not one of this authority, altered, or for something else.
/// - [`ChallengeError::Expired`].
pub(crate) fn open(
    keys: &RootKeys,
    purpose: Purpose<'_>,
    text: &str,
    now: u64,
) -> Result<OpenedChallenge, ChallengeError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(ChallengeError::Unauthentic);
    }
    let sealed = Base64UrlUnpadded::decode_vec(text).map_err(|_| ChallengeError::Unauthentic)?;
    let plain = keys
        .derived(PURPOSE)
        .map_err(ChallengeError::Keys)?
        .unwrap(&purpose.context(), &sealed)
        .map_err(|_| ChallengeError::Unauthentic)?;
    let (expires_at, nonce, state) = parse(&plain).ok_or(ChallengeError::Unauthentic)?;
    if now >= expires_at {
        return Err(ChallengeError::Expired);
    }
    Ok(OpenedChallenge {
        nonce,
        state: Zeroizing::new(state.to_vec()),
        expires_at,
    })
}

fn parse(plain: &[u8]) -> Option<(u64, [u8; 32], &[u8])> {
    let (&version, rest) = plain.split_first()?;
    let (expires_at, rest) = rest.split_first_chunk()?;
    let (nonce, state) = rest.split_first_chunk()?;
    (version == VERSION).then_some((u64::from_be_bytes(*expires_at), *nonce, state))
}

impl Purpose<'_> {
    /// Names have no zero byte, and the hash has a fixed length: one context is one purpose.
    fn context(&self) -> Vec<u8> {
        [
            self.site.as_str().as_bytes(),
            self.kind.as_bytes(),
            self.csr_key_sha256,
        ]
        .join(&0)
    }
}

/// What the keys are derived for.
const PURPOSE: &[u8] = b"identity-authority challenge v1";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 32;
/// Base64 of the longest challenge; the wrapping adds header, nonce and tag, less than a hundred bytes.
const MAX_TEXT_BYTES: usize = (HEAD_BYTES + MAX_CHALLENGE_STATE_BYTES + 100) * 4 / 3;

#[cfg(test)]
mod tests {
    use service::root_key::RootKey;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn keys() -> RootKeys {
        RootKey::generate().unwrap().into()
    }

    fn challenge(state: usize) -> Challenge {
        Challenge {
            nonce: [9; 32],
            state: Zeroizing::new(vec![5; state]),
            credential_blob: None,
            encrypted_secret: None,
        }
    }

    #[test]
    fn opens_only_for_what_it_was_made_and_in_time() {
        let keys = keys();
        let (paris, rome) = (
            SiteName::parse("paris").unwrap(),
            SiteName::parse("rome").unwrap(),
        );
        let purpose = Purpose {
            site: &paris,
            kind: "x509",
            csr_key_sha256: &[1; 32],
        };
        let sealed = seal(&keys, purpose, &challenge(10), NOW).unwrap();
        let opened = open(&keys, purpose, &sealed, NOW + CHALLENGE_SECONDS - 1).unwrap();
        assert_eq!(opened.nonce, [9; 32]);
        assert_eq!(opened.state.as_slice(), [5; 10]);
        assert_eq!(opened.expires_at, NOW + CHALLENGE_SECONDS);
        for other in [
            Purpose {
                site: &rome,
                ..purpose
            },
            Purpose {
                kind: "tpm",
                ..purpose
            },
            Purpose {
                csr_key_sha256: &[2; 32],
                ..purpose
            },
        ] {
            assert!(matches!(
                open(&keys, other, &sealed, NOW),
                Err(ChallengeError::Unauthentic)
            ));
        }
        assert!(matches!(
            open(&keys, purpose, &sealed, NOW + CHALLENGE_SECONDS),
            Err(ChallengeError::Expired)
        ));
        assert!(matches!(
            open(&self::keys(), purpose, &sealed, NOW),
            Err(ChallengeError::Unauthentic)
        ));
    }

    #[test]
    fn altered_challenges_are_refused_whatever_the_bit() {
        let keys = keys();
        let site = SiteName::parse("paris").unwrap();
        let purpose = Purpose {
            site: &site,
            kind: "x509",
            csr_key_sha256: &[1; 32],
        };
        let sealed = seal(&keys, purpose, &challenge(3), NOW).unwrap();
        let bytes = Base64UrlUnpadded::decode_vec(&sealed).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let bent = Base64UrlUnpadded::encode_string(&bent);
            assert!(
                open(&keys, purpose, &bent, NOW).is_err(),
                "opened, bit {bit} flipped"
            );
        }
        // What the root keys themselves wrapped is no challenge, even under the same context.
        let stored = keys.wrap(&purpose.context(), &[1; 60]).unwrap();
        let stored = Base64UrlUnpadded::encode_string(&stored);
        assert!(open(&keys, purpose, &stored, NOW).is_err());
        for bad in ["", "*", "AAAA", &"A".repeat(MAX_TEXT_BYTES + 1)] {
            assert!(open(&keys, purpose, bad, NOW).is_err());
        }
    }

    #[test]
    fn longest_state_fits_and_a_longer_one_does_not() {
        let keys = keys();
        let site = SiteName::parse(&"x".repeat(60)).unwrap();
        let purpose = Purpose {
            site: &site,
            kind: "tpm",
            csr_key_sha256: &[1; 32],
        };
        let sealed = seal(&keys, purpose, &challenge(MAX_CHALLENGE_STATE_BYTES), NOW).unwrap();
        open(&keys, purpose, &sealed, NOW).unwrap();
        assert!(matches!(
            seal(
                &keys,
                purpose,
                &challenge(MAX_CHALLENGE_STATE_BYTES + 1),
                NOW
            ),
            Err(ChallengeError::TooLong)
        ));
    }
}
