//! Why the key management service, or a key that it handed out, did not do what was asked.

use std::{fmt, sync::Arc, time::Duration};

use identity::http::{HttpError, shorten};
use locked_memory::LockedMemoryError;

use crate::{
    hpke::HpkeError,
    key::is_name,
    local::OperationError,
    wire::{ErrorBody, ErrorCode},
};

/// Reason an operation was not done. Nothing in it is secret; clones are cheap.
///
/// The same refusal has the same [`KmsError::code`] wherever it was made: in the service, or here with a handed key.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// No key has such a name.
    #[error(
        "`{}` names no key: 1 to 64 characters out of a-z, 0-9, `.`, `_`, `-`, the first a letter or a digit; or an \
         identifier of 32 hexadecimal digits", shorten(.0)
    )]
    Name(String),
    /// The service refused.
    #[error("{place}: {}", told(*.code, .message))]
    Refused {
        /// Key and tenant.
        place: Place,
        /// Why.
        code: ErrorCode,
        /// What the service says about it.
        message: String,
        /// When it says a repetition may succeed.
        retry_after: Option<Duration>,
    },
    /// The key, which is in hand here, can't do it.
    #[error("{place}: {reason}")]
    Operation {
        /// Key and tenant.
        place: Place,
        /// Why.
        reason: OperationError,
    },
    /// The service could not be asked, or did not answer as it should.
    #[error("{place}: the key management service can't be asked")]
    Http {
        /// Key and tenant.
        place: Place,
        /// The reason.
        source: Arc<HttpError>,
    },
    /// There is no usable identity to ask with.
    #[error("{place}: the workload's identity is not usable")]
    Identity {
        /// Key and tenant.
        place: Place,
        /// The reason.
        source: IdentityFault,
    },
    /// The service's answer makes no sense.
    #[error(
        "{place}: the answer of the key management service can't be used ({why}): service and library may be of \
         different versions"
    )]
    Answer {
        /// Key and tenant.
        place: Place,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An HPKE key could not be made, or the handed key not opened.
    #[error("{place}: the handed key can't be opened")]
    Hpke {
        /// Key and tenant.
        place: Place,
        /// The reason.
        source: HpkeError,
    },
    /// A handed key found no locked memory.
    #[error("{place}: the handed key can't be held here ({source})")]
    Memory {
        /// Key and tenant.
        place: Place,
        /// The reason.
        source: LockedMemoryError,
    },
    /// A stream could not be read, written or decrypted.
    #[error("{place}: {what}: discard what was written")]
    Stream {
        /// Key and tenant.
        place: Place,
        /// What failed.
        what: &'static str,
        /// The reason.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The runtime ended before the call did.
    #[cfg(feature = "async")]
    #[error("{place}: the asynchronous runtime has ended")]
    Runtime {
        /// Key and tenant.
        place: Place,
    },
    /// No key management service is configured.
    #[error("no key management service is configured: add a [kms] section")]
    NotConfigured,
}

/// Which key of which tenant; nothing but the tenant where no key is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    tenant: Arc<str>,
    key: Option<Arc<str>>,
}

impl Place {
    pub(crate) fn of_key(tenant: &Arc<str>, key: &Arc<str>) -> Self {
        Self {
            tenant: Arc::clone(tenant),
            key: Some(Arc::clone(key)),
        }
    }

    pub(crate) fn of_tenant(tenant: &Arc<str>) -> Self {
        Self {
            tenant: Arc::clone(tenant),
            key: None,
        }
    }

    /// Name of the key, as it was asked for.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Name of the tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "key `{key}` of tenant `{}`", self.tenant),
            None => write!(f, "tenant `{}`", self.tenant),
        }
    }
}

/// Why there is no identity to ask with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no identity to ask with")]
pub struct IdentityFault {
    #[source]
    source: Arc<dyn std::error::Error + Send + Sync>,
    may_pass: bool,
}

impl IdentityFault {
    /// Wraps what the source of the identity says, and whether a later call may succeed without anybody doing anything.
    pub fn new(source: impl std::error::Error + Send + Sync + 'static, may_pass: bool) -> Self {
        Self {
            source: Arc::new(source),
            may_pass,
        }
    }
}

impl KmsError {
    /// What a program decides by, where the service or the key has decided anything.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Operation { reason, .. } => Some(reason.code()),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(
                code,
                ErrorCode::TooManyRequests | ErrorCode::Unavailable | ErrorCode::Internal
            ),
            Self::Operation { reason, .. } => matches!(reason, OperationError::Unavailable),
            Self::Http { source, .. } => source.may_pass(),
            Self::Identity { source, .. } => source.may_pass,
            _ => false,
        }
    }

    /// How long the service asked to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Http { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    /// Whether the service itself has decided: not an outage, and nothing that somebody on the way can bring about.
    pub(crate) fn is_decision(&self) -> bool {
        match self {
            Self::Http { source, .. } => match &**source {
                HttpError::IdentityRefused { .. } => true,
                HttpError::Status { status, .. } => matches!(status, 400..=407 | 409..=428),
                _ => false,
            },
            Self::Identity { source, .. } => !source.may_pass,
            Self::Refused { .. } => !self.may_pass(),
            _ => false,
        }
    }

    /// Whether the service has answered, with something that can't be used here: no outage, and no decision either.
    pub(crate) fn is_unusable(&self) -> bool {
        matches!(
            self,
            Self::Answer { .. } | Self::Hpke { .. } | Self::Memory { .. }
        )
    }

    /// A refusal in an answer's item.
    pub(crate) fn refused(place: &Place, body: ErrorBody) -> Self {
        Self::Refused {
            place: place.clone(),
            code: body.code,
            message: shorten(&body.message),
            retry_after: None,
        }
    }

    /// A failed exchange: a refusal, if the service said so in its way.
    pub(crate) fn exchange(place: &Place, error: HttpError) -> Self {
        if let HttpError::Status {
            code,
            message,
            retry_after,
            ..
        } = &error
            && let Ok(code) = serde_json::from_value(code.as_str().into())
        {
            return Self::Refused {
                place: place.clone(),
                code,
                message: message.clone(),
                retry_after: *retry_after,
            };
        }
        Self::Http {
            place: place.clone(),
            source: Arc::new(error),
        }
    }

    pub(crate) fn answer(place: &Place, why: &'static str) -> Self {
        Self::Answer {
            place: place.clone(),
            why,
        }
    }

    pub(crate) fn operation(place: &Place, reason: OperationError) -> Self {
        Self::Operation {
            place: place.clone(),
            reason,
        }
    }
}

/// Whether `text` may stand where a key is named.
pub(crate) fn names_a_key(text: &str) -> bool {
    is_name(text) || text.parse::<crate::KeyId>().is_ok()
}

/// What the service says; what it means where it says nothing.
fn told(code: ErrorCode, message: &str) -> String {
    let meaning = match code {
        ErrorCode::Denied => {
            "denied: the policy does not allow it to this workload, or there is no such key"
        }
        ErrorCode::TooManyRequests => "too many requests: try again later",
        ErrorCode::Unavailable => "the key management service can't answer now: try again later",
        ErrorCode::StaysInService => "the key is not handed out",
        _ if message.is_empty() => "refused",
        _ => "",
    };
    match (meaning, message) {
        (meaning, "") => meaning.to_owned(),
        ("", message) => message.to_owned(),
        (meaning, message) => format!("{meaning} ({message})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::of_key(&"acme".into(), &"orders".into())
    }

    fn status(status: u16, code: &str) -> HttpError {
        HttpError::Status {
            server: "https://kms".to_owned(),
            status,
            code: code.to_owned(),
            message: "because".to_owned(),
            retry_after: Some(Duration::from_secs(3)),
        }
    }

    #[test]
    fn refusals_have_their_code_and_name_the_key() {
        let error = KmsError::exchange(&place(), status(403, "DENIED"));
        assert_eq!(error.code(), Some(ErrorCode::Denied));
        assert!(error.is_decision() && !error.may_pass());
        let text = error.to_string();
        assert!(text.contains("`orders`") && text.contains("`acme`") && text.contains("because"));
        let local = KmsError::operation(&place(), OperationError::DecryptionFailed);
        assert_eq!(local.code(), Some(ErrorCode::DecryptionFailed));
    }

    #[test]
    fn outages_are_no_decisions() {
        for (number, code) in [(503, "UNAVAILABLE"), (429, "TOO_MANY_REQUESTS"), (502, "")] {
            let error = KmsError::exchange(&place(), status(number, code));
            assert!(error.may_pass() && !error.is_decision(), "{error}");
            assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        }
        // Whoever stands in between can bring these about, so they decide nothing.
        let wrong = KmsError::exchange(
            &place(),
            HttpError::WrongServer {
                server: String::new(),
                expected: String::new(),
                detail: String::new(),
            },
        );
        assert!(!wrong.is_decision() && !wrong.may_pass());
        let refused = KmsError::exchange(
            &place(),
            HttpError::IdentityRefused {
                server: String::new(),
                alert: String::new(),
            },
        );
        assert!(refused.is_decision());
    }
}
