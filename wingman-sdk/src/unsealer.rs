//! One unsealing authority: asked over mutual TLS, retried where that can help, believed only with proof.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ::identity::{SpiffeId, tls::TlsIdentity};
use blindfold_core::{
    Batch, CONTENT_TYPE, LockSecrets, OpenError, PATH, PolicyRef, Refusal, Response,
};
use tracing::debug;

use crate::{
    error::{Chain, UnsealerError},
    http::{Exchange, HttpClient, HttpError},
    identity::time,
    limits,
    retry::{Backoff, Deadline},
};

/// A configured authority.
#[derive(Debug)]
pub(crate) struct Unsealer {
    url: String,
    spiffe_id: SpiffeId,
    attempt_timeout: Duration,
    client: OnceLock<Arc<HttpClient>>,
    failed_at: Mutex<Option<Instant>>,
}

/// One call of the application, as far as an authority is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) identity: Arc<TlsIdentity>,
    pub(crate) deadline: Deadline,
    /// After this silence the next authority of a threshold is asked too.
    pub(crate) hedge_after: Duration,
    /// Set when the application has what it wants.
    pub(crate) over: Arc<AtomicBool>,
}

impl Unsealer {
    pub(crate) fn new(url: String, spiffe_id: SpiffeId, attempt_timeout: Duration) -> Self {
        Self {
            url,
            spiffe_id,
            attempt_timeout,
            client: OnceLock::new(),
            failed_at: Mutex::new(None),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it failed a short while ago, so that others are asked first.
    pub(crate) fn is_shunned(&self) -> bool {
        self.failed_at()
            .is_some_and(|at| at.elapsed() < limits::SHUN_FAILED_FOR)
    }

    fn failed_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a batch evaluated. Each attempt blinds anew. `stumbled` is called before the first repetition.
    pub(crate) fn evaluate(
        &self,
        batch: &Batch,
        call: &Call,
        stumbled: &mut dyn FnMut(),
    ) -> Result<LockSecrets, UnsealerError> {
        let mut backoff = Backoff::new(limits::BACKOFF_FIRST, limits::BACKOFF_LONGEST);
        let mut attempt = 1;
        loop {
            let error = match self.attempt(batch, call) {
                Ok(secrets) => {
                    *self.failed_at() = None;
                    return Ok(secrets);
                }
                Err(error) => error,
            };
            if error.is_the_servers() {
                *self.failed_at() = Some(Instant::now());
            }
            if !error.may_pass()
                || attempt >= limits::MAX_ATTEMPTS
                || call.over.load(Ordering::Relaxed)
            {
                return Err(error);
            }
            stumbled();
            let pause = error.retry_after().unwrap_or_default().max(backoff.pause());
            debug!(server = self.url, attempt, error = %Chain(&error), "asking again");
            if !call.deadline.sleep(pause) || call.over.load(Ordering::Relaxed) {
                return Err(error);
            }
            attempt += 1;
        }
    }

    fn attempt(&self, batch: &Batch, call: &Call) -> Result<LockSecrets, UnsealerError> {
        let left = call.deadline.left().ok_or(UnsealerError::OutOfTime)?;
        let client = self.client(&call.identity)?;
        let (request, pending) =
            batch
                .blind(&mut crate::random::system())
                .map_err(|error| UnsealerError::NotAsked {
                    why: error.to_string(),
                })?;
        let answer = client.exchange(&Exchange {
            path: PATH,
            body: Some((CONTENT_TYPE, &request.to_bytes())),
            accept: CONTENT_TYPE,
            limit: limits::MAX_EVALUATE_ANSWER_BYTES,
            timeout: left.min(self.attempt_timeout),
        })?;
        let response = Response::parse(&answer.body).map_err(|error| UnsealerError::Answer {
            why: error.to_string(),
        })?;
        let there = answer
            .date
            .and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        pending.finalize(response).map_err(|error| match error {
            OpenError::Refused {
                refusal,
                retry_after_seconds,
            } => refused(
                refusal,
                retry_after_seconds,
                batch,
                call,
                there.map(|there| there.as_secs()),
            ),
            OpenError::ProofInvalid { .. } => UnsealerError::ProofInvalid,
            other => UnsealerError::Answer {
                why: other.to_string(),
            },
        })
    }

    fn client(&self, identity: &Arc<TlsIdentity>) -> Result<&HttpClient, HttpError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = HttpClient::new(Arc::clone(identity), &self.url, &self.spiffe_id)?;
        Ok(self.client.get_or_init(|| Arc::new(client)))
    }
}

impl UnsealerError {
    /// Whether the server is to blame, so that others are asked first for a while.
    fn is_the_servers(&self) -> bool {
        matches!(
            self,
            Self::Internal | Self::ProofInvalid | Self::Answer { .. } | Self::Http(_)
        )
    }
}

fn refused(
    refusal: Refusal,
    retry_after_seconds: u32,
    batch: &Batch,
    call: &Call,
    there: Option<u64>,
) -> UnsealerError {
    match refusal {
        Refusal::Denied => UnsealerError::Denied {
            spiffe_id: call.identity.document().spiffe_id().clone(),
            policy: describe(batch.policy()),
            tenant: batch.key().tenant().to_owned(),
        },
        Refusal::NotValidNow => UnsealerError::NotValidNow {
            window: batch.window(),
            here: time::now(),
            there,
        },
        Refusal::RateLimited | Refusal::KeyExhausted => UnsealerError::RateLimited {
            retry_after: (retry_after_seconds > 0)
                .then(|| Duration::from_secs(retry_after_seconds.into())),
        },
        Refusal::KeyUnknown | Refusal::KeyRetired => UnsealerError::KeyUnknown,
        Refusal::PolicyUnknown | Refusal::PolicyNotCanonical => UnsealerError::PolicyUnknown {
            policy: describe(batch.policy()),
        },
        Refusal::Internal | Refusal::FatalKeyExposed => UnsealerError::Internal,
        Refusal::BadRequest | Refusal::BadElement => UnsealerError::BadRequest {
            name: refusal.name(),
        },
    }
}

fn describe(policy: &PolicyRef) -> String {
    match policy {
        PolicyRef::Inline(document) => {
            format!(
                "the policy inside the object (digest {}…)",
                short_hex(document.digest())
            )
        }
        PolicyRef::Name(name) => format!("the policy named `{}`", name.as_str()),
        PolicyRef::Digest(digest) => format!("the policy with digest {}…", short_hex(digest)),
    }
}

fn short_hex(bytes: &[u8]) -> String {
    hex::encode(bytes.get(..8).unwrap_or(bytes))
}
