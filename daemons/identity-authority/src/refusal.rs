//! A refused request: what the caller hears, and what the audit log says.
//!
//! The two are apart on purpose. Callers get one message for every reason that they must not learn; the audit log gets
//! the reason.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity::wire::{CONTENT_TYPE, ErrorBody, ErrorCode};
use service::audit::AuditUnavailable;
use service::authorize::Denied;
use service::quota::QuotaExceeded;

use crate::clock::ClockWentBack;
use crate::tables::TablesError;

/// Why a request was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// For programs on the other side.
    pub(crate) code: ErrorCode,
    /// Stable name in the audit log and the metrics.
    pub(crate) record: &'static str,
    /// For the caller.
    pub(crate) message: String,
    /// For the audit log.
    pub(crate) why: String,
    /// Seconds, for `Retry-After`.
    pub(crate) retry_after: Option<u32>,
}

impl Refusal {
    /// A request that the caller can put right; the message goes to both sides.
    pub(crate) fn bad_request(record: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code: ErrorCode::BadRequest,
            record,
            why: message.clone(),
            message,
            retry_after: None,
        }
    }

    /// The same, of another kind.
    pub(crate) fn with_code(self, code: ErrorCode) -> Self {
        Self { code, ..self }
    }

    /// Denied: the caller hears `message`, which is the same for every reason, and the audit log `why`.
    pub(crate) fn denied(record: &'static str, message: &str, why: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Denied,
            record,
            message: message.to_owned(),
            why: why.into(),
            retry_after: None,
        }
    }

    /// No identity document where one is needed.
    pub(crate) fn unauthenticated() -> Self {
        Self {
            code: ErrorCode::Unauthenticated,
            record: "UNAUTHENTICATED",
            message: "show an identity document: connect with a TLS client certificate of this trust domain".to_owned(),
            why: "no client certificate".to_owned(),
            retry_after: None,
        }
    }

    /// Too much, for now.
    pub(crate) fn rate_limited(record: &'static str, whose: &str, exceeded: QuotaExceeded) -> Self {
        let seconds = exceeded.retry_after_seconds();
        Self {
            code: ErrorCode::RateLimited,
            record,
            message: format!("too many requests: try again in {seconds} seconds"),
            why: format!("the rate of {whose} is used up"),
            retry_after: Some(seconds),
        }
    }

    /// A site's documents of the day are used up.
    pub(crate) fn day_used_up(site: &str, seconds: u64) -> Self {
        Self {
            code: ErrorCode::RateLimited,
            record: "SITE_DAY",
            message: "the site's documents of today are used up: ask its administrator for a greater bound".to_owned(),
            why: format!("the documents of site {site} for the day are used up"),
            retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
        }
    }

    /// A fault of this side; details go to the audit log only.
    pub(crate) fn internal(record: &'static str, why: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Internal,
            record,
            message: "internal error: the authority's log says more".to_owned(),
            why: why.into(),
            retry_after: None,
        }
    }

    /// A fault of this side that will pass.
    pub(crate) fn unavailable(record: &'static str, why: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Unavailable,
            record,
            message: "temporarily unavailable: try again".to_owned(),
            why: why.into(),
            retry_after: Some(RETRY_SECONDS),
        }
    }
}

impl From<TablesError> for Refusal {
    fn from(error: TablesError) -> Self {
        Self::unavailable("STORE", error.to_string())
    }
}

impl From<ClockWentBack> for Refusal {
    fn from(error: ClockWentBack) -> Self {
        Self::unavailable("CLOCK_WENT_BACK", error.to_string())
    }
}

impl From<AuditUnavailable> for Refusal {
    fn from(error: AuditUnavailable) -> Self {
        Self::unavailable("AUDIT", error.to_string())
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::ByPolicy => Self::denied("DENIED", "denied", "denied by policy"),
            Denied::AuditUnavailable => Self::from(AuditUnavailable),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ErrorBody::new(self.code, self.message);
        // An enumeration and a string always serialize.
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(json));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// When to come back after a fault of this side.
const RETRY_SECONDS: u32 = 5;
