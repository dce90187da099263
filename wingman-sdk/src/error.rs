//! Why a sealed value was not opened, and what to do.
//!
//! Three kinds are kept apart: what is wrong with the object or with what is accepted here ([`Error::Object`],
//! [`Error::UnknownKey`], …), what an unsealing authority answered or failed to ([`UnsealerFault`]), and what is
//! wrong with this workload ([`Error::Identity`], [`Error::NoSiteKey`]). No error holds a secret.

use std::{fmt, sync::Arc, time::Duration};

use ::identity::SpiffeId;
use blindfold_core::{KeyId, LockFault, OpenError, StreamError, Window};

use crate::{
    http::HttpError,
    identity::{IdentityError, time},
    sealed::NotDecoded,
};

/// Reason a sealed value was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object is malformed, altered, or not what is accepted here.
    #[error("{0} ({name})", name = .0.name())]
    Object(OpenError),
    /// A needed lock is of a key that is not pinned.
    #[error(
        "the object is sealed to key {key_id} of tenant `{tenant}`, which is not pinned here{}: add the authority's public key \
         record to the configuration after comparing its fingerprint, or have the object sealed to a pinned key", pinned_list(.pinned)
    )]
    UnknownKey {
        /// The key that the lock names.
        key_id: KeyId,
        /// The tenant that the lock names.
        tenant: String,
        /// The keys that are pinned.
        pinned: Vec<KeyId>,
    },
    /// The one authority that was needed did not help.
    #[error("{0}")]
    Unsealer(Arc<UnsealerFault>),
    /// Too few authorities of a threshold helped.
    #[error(
        "{missing} of {threshold} shares are missing: {}", fault_list(.faults, .locks)
    )]
    TooFew {
        /// How many shares are needed.
        threshold: u8,
        /// How many of them are missing.
        missing: usize,
        /// What the authorities answered.
        faults: Vec<Arc<UnsealerFault>>,
        /// Locks that could not be used at all.
        locks: Vec<LockFault>,
    },
    /// A site lock needs a key that is not here.
    #[error(
        "the object has a site lock of key {key_id}, whose secret key is not here: name its file under [site] key_file, \
         or its credential under [site] credential, if this workload is meant to open it"
    )]
    NoSiteKey {
        /// The site's key.
        key_id: KeyId,
    },
    /// There is no identity to show to the authorities.
    #[error("the workload's identity is not usable")]
    Identity(#[source] Arc<IdentityError>),
    /// The configuration has unsealing authorities, but no identity.
    #[error(
        "no identity is configured, and the object needs the help of an unsealing authority: add an [identity] section"
    )]
    NoIdentity,
    /// A signed object is to be opened, and no sealer is accepted.
    #[error(
        "whose signatures are accepted is not configured: name the sealers' public keys under [profile] signers"
    )]
    NoSealers,
    /// The opened content is not of the type that was asked for.
    #[error(transparent)]
    Content(#[from] NotDecoded),
    /// One of several values was not opened.
    #[error("the sealed value {place} was not opened")]
    Value {
        /// Which one: its field or its place in the list, and its label.
        place: String,
        /// Why.
        source: Box<Error>,
    },
    /// The sealed stream could not be read, or the plaintext not written.
    #[error("{what}: discard what was written and try again")]
    Stream {
        /// What failed.
        what: &'static str,
        /// The reason.
        source: std::io::Error,
    },
}

impl Error {
    /// The specification's name of the error (PBSEAL v1, section 9.9), where it has one.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Object(error) => Some(error.name()),
            Self::UnknownKey { .. } => Some("UNKNOWN_KEY"),
            Self::Unsealer(fault) => fault.reason.name(),
            Self::Value { source, .. } => source.name(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unsealer(fault) => fault.reason.may_pass(),
            Self::TooFew {
                missing, faults, ..
            } => {
                faults
                    .iter()
                    .filter(|fault| fault.reason.may_pass())
                    .count()
                    >= *missing
            }
            Self::Identity(error) => error.may_pass(),
            Self::Value { source, .. } => source.may_pass(),
            _ => false,
        }
    }

    /// What the asked authorities answered.
    pub fn faults(&self) -> &[Arc<UnsealerFault>] {
        match self {
            Self::Unsealer(fault) => std::slice::from_ref(fault),
            Self::TooFew { faults, .. } => faults,
            Self::Value { source, .. } => source.faults(),
            _ => &[],
        }
    }

    /// The same about one value of several.
    pub(crate) fn at(self, place: impl Into<String>) -> Self {
        Self::Value {
            place: place.into(),
            source: Box::new(self),
        }
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Refused(error) => Self::Object(error),
            StreamError::Read(source) => Self::Stream {
                what: "the sealed stream could not be read",
                source,
            },
            StreamError::Write(source) => Self::Stream {
                what: "the plaintext could not be written",
                source,
            },
            _ => Self::Stream {
                what: "the stream failed",
                source: std::io::Error::other(error),
            },
        }
    }
}

/// Reason [`Wingman::load`](crate::Wingman::load) failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E> {
    /// The deserializer failed; nothing was opened. Its message may quote what it read.
    #[error("the configuration could not be read")]
    Deserialize(#[source] E),
    /// A sealed value was not opened.
    #[error(transparent)]
    Open(Error),
}

/// What kept one unsealing authority from helping.
#[derive(Debug)]
pub struct UnsealerFault {
    /// The authority's name in its pinned key record.
    pub authority: String,
    /// Its URL; empty where none is configured.
    pub server: String,
    /// The key it was asked for.
    pub key_id: KeyId,
    /// What happened.
    pub reason: UnsealerError,
}

impl fmt::Display for UnsealerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the unsealing authority `{}`", self.authority)?;
        if !self.server.is_empty() {
            write!(f, " at {}", self.server)?;
        }
        write!(f, ": {}", Chain(&self.reason))
    }
}

impl std::error::Error for UnsealerFault {}

/// Why an unsealing authority did not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealerError {
    /// This workload may not open the object.
    #[error(
        "denied: {spiffe_id} does not satisfy {policy}, or is not admitted to tenant `{tenant}`; compare with \
         `blindfold policy explain`, and have the tenant's admission (`blindfold unsealer tenant set-admission`) looked at: the \
         authority's audit log has the reason"
    )]
    Denied {
        /// Who asked.
        spiffe_id: SpiffeId,
        /// The policy that decided.
        policy: String,
        /// The tenant of the key.
        tenant: String,
    },
    /// Outside the window that the object was sealed for.
    #[error("not valid now: the object can be opened {}{}", show_window(*.window), skew_hint(*.window, *.here, *.there))]
    NotValidNow {
        /// The days on which the object can be opened.
        window: Window,
        /// The time here, in Unix seconds.
        here: u64,
        /// The time at the authority, in Unix seconds, if it told.
        there: Option<u64>,
    },
    /// A quota is used up.
    #[error("rate limited{}: open fewer objects at a time, or have the quota raised (a key at the end of its life answers the same)", retry_hint(*.retry_after))]
    RateLimited {
        /// When a repetition may succeed.
        retry_after: Option<Duration>,
    },
    /// The authority does not have the key, or retired it.
    #[error(
        "it does not know the key, or has retired it: check that URL and key belong together; seal again to its current key"
    )]
    KeyUnknown,
    /// The authority does not have the policy.
    #[error(
        "it does not know {policy}, or does not allow it any more: have the policy registered with the authority"
    )]
    PolicyUnknown {
        /// The policy of the object.
        policy: String,
    },
    /// The authority found the request malformed.
    #[error(
        "it refused the request as malformed ({name}): authority and library may be of different versions"
    )]
    BadRequest {
        /// The specification's name of the refusal.
        name: &'static str,
    },
    /// The authority failed.
    #[error("it reports an internal error: its log says more; try again later")]
    Internal,
    /// The authority did not use the key and the policy it should have. Its answer was thrown away.
    #[error(
        "its answer does not prove that it used the pinned key and this policy, and was thrown away: do not trust this server, tell its operator"
    )]
    ProofInvalid,
    /// The authority's answer makes no sense.
    #[error("its answer is unusable ({why}): tell its operator")]
    Answer {
        /// What is wrong with it.
        why: String,
    },
    /// Nothing was sent: key and policy of the object cannot be used.
    #[error("it was not asked, since {why}")]
    NotAsked {
        /// Why.
        why: String,
    },
    /// The key is pinned, but no server is configured for it.
    #[error(
        "no server is configured for it: add an [[unsealer]] section with its URL and SPIFFE ID"
    )]
    NoServer,
    /// The exchange failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The time for the whole call ran out.
    #[error("it did not answer within the time for the whole call")]
    OutOfTime,
}

impl UnsealerError {
    /// Whether the same request may succeed later without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Internal | Self::OutOfTime => true,
            Self::Http(error) => error.may_pass(),
            _ => false,
        }
    }

    /// When a repetition may succeed, if the server told.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => *retry_after,
            Self::Http(error) => error.retry_after(),
            _ => None,
        }
    }

    /// The specification's name of the error (PBSEAL v1, section 9.9), where it has one.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Denied { .. } => Some("DENIED"),
            Self::NotValidNow { .. } => Some("NOT_VALID_NOW"),
            Self::RateLimited { .. } => Some("RATE_LIMITED"),
            Self::KeyUnknown => Some("KEY_UNKNOWN"),
            Self::PolicyUnknown { .. } => Some("POLICY_UNKNOWN"),
            Self::BadRequest { name } => Some(name),
            Self::Internal => Some("INTERNAL"),
            Self::ProofInvalid => Some("PROOF_INVALID"),
            _ => None,
        }
    }
}

/// An error with its causes, in one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

fn pinned_list(pinned: &[KeyId]) -> String {
    const SHOWN: usize = 8;
    if pinned.is_empty() {
        return " (nothing is pinned)".to_owned();
    }
    let shown: Vec<_> = pinned.iter().take(SHOWN).map(KeyId::to_string).collect();
    let more = if pinned.len() > SHOWN { ", …" } else { "" };
    format!(" (pinned: {}{more})", shown.join(", "))
}

fn fault_list(faults: &[Arc<UnsealerFault>], locks: &[LockFault]) -> String {
    let faults = faults.iter().map(|fault| fault.to_string());
    let locks = locks.iter().map(|lock| {
        format!(
            "lock {} of key {}: {}",
            lock.position, lock.key_id, lock.error
        )
    });
    faults.chain(locks).collect::<Vec<_>>().join("; ")
}

fn show_window(window: Window) -> String {
    match (window.not_before_day(), window.not_after_day()) {
        (0, 0) => "on any day".to_owned(),
        (first, 0) => format!("from {} on", show_day(first)),
        (0, last) => format!("until the end of {}", show_day(last)),
        (first, last) => format!(
            "from {} until the end of {}",
            show_day(first),
            show_day(last)
        ),
    }
}

fn show_day(day: u32) -> String {
    let text = time::show(u64::from(day).saturating_mul(86_400));
    let date = text.split('T').next().unwrap_or_default();
    format!("{date} (UTC)")
}

fn skew_hint(window: Window, here: u64, there: Option<u64>) -> String {
    const NOTABLE_SECONDS: u64 = 300;
    let inside = window.contains(Window::day_of(here));
    match there {
        Some(there) if here.abs_diff(there) > NOTABLE_SECONDS => format!(
            "; it is {} at the authority and {} here: one of the two clocks is wrong",
            time::show(there),
            time::show(here)
        ),
        _ if inside => "; it is that time here, so the authority's clock may be wrong".to_owned(),
        _ => format!(
            "; it is {} here: have the object sealed anew for another time",
            time::show(here)
        ),
    }
}

fn retry_hint(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |after| {
        format!(", try again in {} s", after.as_secs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_valid(here: u64, there: Option<u64>) -> String {
        // 2026-01-01 to 2026-12-31.
        let window = Window::new(20_454, 20_818).unwrap();
        UnsealerError::NotValidNow {
            window,
            here,
            there,
        }
        .to_string()
    }

    #[test]
    fn not_valid_now_tells_the_window_and_whose_clock_is_wrong() {
        const IN_2025: u64 = 1_750_000_000;
        const IN_2026: u64 = 1_780_000_000;
        let expired = not_valid(IN_2025, Some(IN_2025 + 2));
        assert!(
            expired.contains("from 2026-01-01 (UTC) until the end of 2026-12-31 (UTC)"),
            "{expired}"
        );
        assert!(expired.contains("sealed anew"), "{expired}");
        assert!(not_valid(IN_2026, Some(IN_2025)).contains("one of the two clocks is wrong"));
        assert!(not_valid(IN_2026, None).contains("the authority's clock may be wrong"));
    }

    #[test]
    fn pinned_keys_are_listed_up_to_a_bound() {
        assert_eq!(pinned_list(&[]), " (nothing is pinned)");
        let many: Vec<_> = (0..20).map(|byte| KeyId::from_bytes([byte; 32])).collect();
        let list = pinned_list(&many);
        assert!(
            list.ends_with(", …)") && list.matches(',').count() == 8,
            "{list}"
        );
    }

    #[test]
    fn whole_threshold_may_pass_only_if_enough_of_it_may() {
        let fault = |reason| {
            let key_id = KeyId::from_bytes([1; 32]);
            Arc::new(UnsealerFault {
                authority: "a".into(),
                server: "https://a".into(),
                key_id,
                reason,
            })
        };
        let too_few = |missing, faults| Error::TooFew {
            threshold: 2,
            missing,
            faults,
            locks: Vec::new(),
        };
        assert!(
            too_few(
                1,
                vec![
                    fault(UnsealerError::ProofInvalid),
                    fault(UnsealerError::Internal)
                ]
            )
            .may_pass()
        );
        assert!(
            !too_few(
                2,
                vec![
                    fault(UnsealerError::ProofInvalid),
                    fault(UnsealerError::Internal)
                ]
            )
            .may_pass()
        );
    }
}
