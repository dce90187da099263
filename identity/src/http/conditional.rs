//! Asking for what may not have changed, and waiting until it does.
//!
//! Specification: RFC 9110, section 13.1.2 (`If-None-Match`); RFC 7240, section 4.3 (`Prefer: wait`).

use std::time::{Duration, SystemTime};

use ureq::http::header;

use super::{Answer, Exchange, HttpClient, HttpError, configured, header_text, http_date};
use crate::limits::MAX_ETAG_BYTES;

/// A question for JSON that may not have changed.
#[derive(Clone, Copy, Debug)]
pub struct Conditional<'a> {
    /// Path and query, from `/` on.
    pub path: &'a str,
    /// The validator of what is known.
    pub etag: Option<&'a str>,
    /// How long the server may hold the question until there is something else to answer; zero for an answer at once.
    pub wait: Duration,
    /// Greatest size of a right answer's body.
    pub limit: u64,
    /// The one content type of a right answer, or [`super::ANY`].
    pub accept: &'static str,
}

/// What came of a [`Conditional`].
#[derive(Debug)]
pub struct Conditioned {
    /// The new content; nothing if it is what was known.
    pub content: Option<Answer>,
    /// Its validator, if the server gave one.
    pub etag: Option<String>,
    /// Whether the server held the question, or would have: whoever asks again at once is not in a hurry.
    pub waited: bool,
    /// The validator of another resource that changes with it, see [`crate::wire::FEDERATION_HEADER`].
    pub federation: Option<String>,
    /// The server's clock, if it told.
    pub date: Option<SystemTime>,
}

impl HttpClient {
    /// Asks for JSON unless it is what is known, for up to `wait` and the time of one exchange.
    ///
    /// # Errors
    ///
    /// Every [`HttpError`] but [`HttpError::Url`].
    pub fn get_conditionally(&self, question: &Conditional<'_>) -> Result<Conditioned, HttpError> {
        let exchange = Exchange {
            path: question.path,
            body: None,
            accept: question.accept,
            limit: question.limit,
            timeout: self.timeout.saturating_add(question.wait),
        };
        let agent = self.agent()?;
        let url = self
            .base
            .join(question.path)
            .map_err(|_| HttpError::Request {
                why: "bad path".to_owned(),
            })?;
        let mut request = configured(agent.get(url.as_str()), &exchange);
        if let Some(etag) = question.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if !question.wait.is_zero() {
            request = request.header("prefer", format!("wait={}", question.wait.as_secs()));
        }
        let response = request
            .call()
            .map_err(|error| self.classify(error, question.limit))?;
        let headers = response.headers();
        let bounded = |name: header::HeaderName| {
            header_text(headers, name)
                .filter(|text| text.len() <= MAX_ETAG_BYTES)
                .map(str::to_owned)
        };
        let etag = bounded(header::ETAG);
        let federation = bounded(header::HeaderName::from_static(
            crate::wire::FEDERATION_HEADER,
        ));
        let waited = header_text(
            headers,
            header::HeaderName::from_static("preference-applied"),
        )
        .is_some_and(|applied| applied.trim_start().starts_with("wait"));
        let date = header_text(headers, header::DATE).and_then(http_date);
        // What nobody asked under a condition has not "not changed".
        let content = if response.status().as_u16() == 304 && question.etag.is_some() {
            None
        } else {
            Some(self.check(response, &exchange)?)
        };
        Ok(Conditioned {
            content,
            etag,
            waited,
            federation,
            date,
        })
    }
}
