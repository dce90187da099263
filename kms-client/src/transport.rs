//! One service, asked over mTLS: connections that follow the identity, attempts that respect a deadline.
//!
//! Every operation of the data API may be repeated: one that was done twice has made a second ciphertext, code or
//! signature, of which the caller never saw the first.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use identity::{
    SpiffeId,
    http::{Backoff, Deadline, Exchange, HttpClient, JSON},
    tls::TlsIdentity,
};
use serde::{Serialize, de::DeserializeOwned};
use tracing::debug;
use zeroize::Zeroizing;

use crate::{
    error::{IdentityFault, KmsError, Place},
    limits::{
        BACKOFF_FIRST, BACKOFF_LONGEST, MAX_ANSWER_BYTES, MAX_ATTEMPTS, WATCH_TIMEOUT_MARGIN,
    },
    wire::WATCH_SECONDS,
};

/// Gives the identity to ask with; called before every exchange, so it should be cheap once there is one.
pub(crate) type IdentityProvider =
    dyn Fn() -> Result<Arc<TlsIdentity>, IdentityFault> + Send + Sync;

/// Where the service is, and how patient the client is with it.
pub(crate) struct Transport {
    /// Nothing if no service is configured.
    service: Option<Service>,
    pub(crate) deadline: Duration,
    pub(crate) attempt_timeout: Duration,
    client: OnceLock<Arc<HttpClient>>,
}

/// The service, and the identity it is asked with.
pub(crate) struct Service {
    pub(crate) identity: Box<IdentityProvider>,
    pub(crate) url: String,
    pub(crate) server: SpiffeId,
}

impl Transport {
    pub(crate) fn new(
        service: Option<Service>,
        deadline: Duration,
        attempt_timeout: Duration,
    ) -> Self {
        Self {
            service,
            deadline,
            attempt_timeout,
            client: OnceLock::new(),
        }
    }

    /// Asks until there is an answer, a decision, or no time.
    pub(crate) fn ask(
        &self,
        place: &Place,
        path: &str,
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let mut attempts = Attempts::new(self.deadline);
        loop {
            let error = match self.ask_once(place, path, body, attempts.time(self.attempt_timeout))
            {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match attempts.pause_after(&error) {
                Some(pause) if attempts.deadline.sleep(pause) => {
                    debug!(%error, "the key management service is asked again");
                }
                _ => return Err(error),
            }
        }
    }

    /// Asks once.
    pub(crate) fn ask_once(
        &self,
        place: &Place,
        path: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let client = self.client(place)?;
        let exchange = Exchange {
            path,
            body: Some((JSON, body)),
            accept: JSON,
            limit: MAX_ANSWER_BYTES,
            timeout,
        };
        client
            .exchange(&exchange)
            .map(|answer| answer.body)
            .map_err(|error| KmsError::exchange(place, error))
    }

    /// Asks once, with JSON both ways.
    pub(crate) fn call_once<B: Serialize, T: DeserializeOwned>(
        &self,
        place: &Place,
        path: &str,
        body: &B,
    ) -> Result<T, KmsError> {
        let body = encode(place, body, 0)?;
        decode(
            place,
            &self.ask_once(place, path, &body, self.attempt_timeout)?,
        )
    }

    /// Asks until there is an answer, with JSON both ways.
    pub(crate) fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        place: &Place,
        path: &str,
        body: &B,
    ) -> Result<T, KmsError> {
        let body = encode(place, body, 0)?;
        decode(place, &self.ask(place, path, &body)?)
    }

    /// Asks once, and gives the service as long as it may hold a watch.
    pub(crate) fn wait<B: Serialize, T: DeserializeOwned>(
        &self,
        place: &Place,
        path: &str,
        body: &B,
    ) -> Result<T, KmsError> {
        let body = encode(place, body, 0)?;
        let timeout = Duration::from_secs(WATCH_SECONDS) + WATCH_TIMEOUT_MARGIN;
        decode(place, &self.ask_once(place, path, &body, timeout)?)
    }

    fn client(&self, place: &Place) -> Result<Arc<HttpClient>, KmsError> {
        let service = self.service.as_ref().ok_or(KmsError::NotConfigured)?;
        // Asked for every time: the source may have to renew it.
        let identity = (service.identity)().map_err(|source| KmsError::Identity {
            place: place.clone(),
            source,
        })?;
        if let Some(client) = self.client.get() {
            return Ok(Arc::clone(client));
        }
        let client = HttpClient::new(identity, &service.url, &service.server)
            .map_err(|error| KmsError::exchange(place, error))?;
        Ok(Arc::clone(self.client.get_or_init(|| Arc::new(client))))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.service.as_ref();
        f.debug_struct("Transport")
            .field("url", &service.map(|service| &service.url))
            .field("server", &service.map(|service| &service.server))
            .finish_non_exhaustive()
    }
}

/// The attempts of one call.
pub(crate) struct Attempts {
    pub(crate) deadline: Deadline,
    backoff: Backoff,
    left: u32,
}

impl Attempts {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            deadline: Deadline::after(limit),
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST),
            left: MAX_ATTEMPTS,
        }
    }

    /// Time of the next attempt.
    pub(crate) fn time(&self, attempt: Duration) -> Duration {
        // The first attempt is made in any case, with the least time that is not none at all.
        let left = self.deadline.left().unwrap_or(Duration::from_millis(1));
        attempt.min(left)
    }

    /// How long to wait before another attempt, if there is to be one.
    pub(crate) fn pause_after(&mut self, error: &KmsError) -> Option<Duration> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || !error.may_pass() {
            return None;
        }
        let pause = self.backoff.pause();
        Some(error.retry_after().map_or(pause, |asked| asked.max(pause)))
    }
}

/// JSON in room that was made for `about` bytes, so that it does not grow and leave copies behind.
pub(crate) fn encode<B: Serialize>(
    place: &Place,
    body: &B,
    about: usize,
) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(about));
    serde_json::to_writer(&mut *bytes, body)
        .map_err(|_| KmsError::answer(place, "the request can't be written"))?;
    Ok(bytes)
}

pub(crate) fn decode<T: DeserializeOwned>(place: &Place, bytes: &[u8]) -> Result<T, KmsError> {
    // What the parser says may repeat the text, so it is not passed on.
    serde_json::from_slice(bytes).map_err(|_| KmsError::answer(place, "not the expected JSON"))
}
