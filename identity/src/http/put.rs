//! Replacing what a path names.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Exchange, HttpClient, HttpError, JSON, configured};
use crate::limits;

impl HttpClient {
    /// Puts JSON and gets JSON.
    ///
    /// # Errors
    ///
    /// Every [`HttpError`] but [`HttpError::Url`].
    pub fn put_json<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, HttpError> {
        let failed = |why: String| HttpError::Request { why };
        let exchange = Exchange {
            path,
            body: None,
            accept: JSON,
            limit: limits::MAX_JSON_ANSWER_BYTES,
            timeout: self.timeout,
        };
        let body = serde_json::to_vec(body).map_err(|error| failed(error.to_string()))?;
        let url = self
            .base
            .join(path)
            .map_err(|_| failed("bad path".to_owned()))?;
        let response = configured(self.agent()?.put(url.as_str()), &exchange)
            .content_type(JSON)
            .send(&body)
            .map_err(|error| self.classify(error, exchange.limit))?;
        let answer = self.check(response, &exchange)?;
        serde_json::from_slice(&answer.body).map_err(|error| HttpError::Malformed {
            server: self.server.clone(),
            why: super::shorten(&error.to_string()),
        })
    }
}
