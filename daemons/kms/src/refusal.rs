//! Why a request, or one item of it, is not answered with what was asked for.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kms_client::{
    local::OperationError,
    wire::{ErrorBody, ErrorCode},
};
use service::{audit::AuditUnavailable, authorize::Denied};

use crate::{
    limits::{MAX_RETRY_AFTER_SECONDS, RETRY_AFTER_SECONDS},
    metrics::code_name,
};

/// A refusal, of a request or of one item.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    code: ErrorCode,
    message: Cow<'static, str>,
    retry_after: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = match code {
            ErrorCode::Unavailable | ErrorCode::TooManyRequests => Some(RETRY_AFTER_SECONDS),
            _ => None,
        };
        Self {
            code,
            message: message.into(),
            retry_after,
        }
    }

    /// The one form of "the policy says no" and "there is no such key".
    pub(crate) fn denied() -> Self {
        Self::new(
            ErrorCode::Denied,
            "denied: no policy allows this, or there is no such key",
        )
    }

    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    pub(crate) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// Says when to come back.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds.min(MAX_RETRY_AFTER_SECONDS));
        self
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// Stable name of the code, for records and metrics.
    pub(crate) fn name(&self) -> &'static str {
        code_name(self.code)
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// As it stands in an answer.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code,
            message: self.message.clone().into_owned(),
        }
    }
}

impl From<OperationError> for Refusal {
    fn from(error: OperationError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<AuditUnavailable> for Refusal {
    fn from(_: AuditUnavailable) -> Self {
        Self::unavailable("the audit log can't be written, so nothing is answered: try again later")
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::ByPolicy => Self::denied(),
            Denied::AuditUnavailable => AuditUnavailable.into(),
        }
    }
}

/// HTTP status of a request that is refused as a whole.
#[must_use]
pub(crate) const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest | ErrorCode::WrongOperation | ErrorCode::DecryptionFailed => {
            StatusCode::BAD_REQUEST
        }
        ErrorCode::Denied => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::WrongState
        | ErrorCode::StaysInService
        | ErrorCode::LimitReached
        | ErrorCode::Conflict
        | ErrorCode::AlreadyExists => StatusCode::CONFLICT,
        ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = crate::http::json(status(self.code), &self.body());
        if let Some(seconds) = self.retry_after {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_when_to_come_back() {
        let response = Refusal::unavailable("the store can't be reached").into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let never = Refusal::new(ErrorCode::TooManyRequests, "x").retry_after(u32::MAX);
        assert_eq!(never.into_response().headers()[header::RETRY_AFTER], "3600");
        let denied = Refusal::denied().into_response();
        assert_eq!(denied.status(), StatusCode::FORBIDDEN);
        assert!(denied.headers().get(header::RETRY_AFTER).is_none());
    }
}
