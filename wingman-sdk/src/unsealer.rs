//! One unsealing authority: asked over mutual TLS, retried where that can help, believed only with proof.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ::identity::{SpiffeId, tls::TlsIdentity};
use blindfold_core::{
    AuthorityKey, Batch, CONTENT_TYPE, LockSecrets, OpenError, PATH, PolicyRef, Refusal, Response,
};
use tracing::{debug, info, warn};

use crate::{
    config::UnsealerConfig,
    error::{Chain, UnsealerError},
    health::{Change, Health, News, Rank, UnsealerHealth, UnsealerStatus},
    http::{Backoff, Deadline, Exchange, HttpClient, HttpError},
    identity::time,
    limits,
};

/// A configured authority.
#[derive(Debug)]
pub(crate) struct Unsealer {
    keys: Vec<AuthorityKey>,
    url: String,
    spiffe_id: SpiffeId,
    attempt_timeout: Duration,
    client: OnceLock<Arc<HttpClient>>,
    health: Health,
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
    /// The authority that `config` describes; it has one key at least.
    pub(crate) fn new(
        config: UnsealerConfig,
        attempt_timeout: Duration,
        slow_after: Duration,
    ) -> Self {
        Self {
            keys: config.keys,
            url: config.url,
            spiffe_id: config.spiffe_id,
            attempt_timeout,
            client: OnceLock::new(),
            health: Health::new(slow_after),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How early it is asked.
    pub(crate) fn rank(&self) -> Rank {
        self.health.rank()
    }

    /// Whether the caller should try it again beside healthy ones.
    pub(crate) fn claim_retry(&self) -> bool {
        self.health.claim_retry()
    }

    /// Notes that somebody else was asked in its place.
    pub(crate) fn note_silence(&self) {
        self.note(News::Silent, &|| {
            "it stayed silent, so another one was asked in its place".to_owned()
        });
    }

    /// How it is doing.
    pub(crate) fn status(&self) -> UnsealerStatus {
        self.health.describe(UnsealerStatus {
            authority: self.name().to_owned(),
            server: self.url.clone(),
            spiffe_id: self.spiffe_id.clone(),
            keys: self.keys.iter().map(AuthorityKey::key_id).collect(),
            health: UnsealerHealth::Healthy,
            retry_at: None,
            in_flight: 0,
            answered: 0,
            refused: 0,
            failed: 0,
            lied: 0,
            last_answer: None,
            last_fault: None,
        })
    }

    fn name(&self) -> &str {
        self.keys.first().map_or("", AuthorityKey::authority)
    }

    fn note(&self, news: News, reason: &dyn Fn() -> String) {
        let Some(Change { from, to }) = self.health.note(news, reason) else {
            return;
        };
        let (authority, server) = (self.name(), self.url.as_str());
        let (from, health) = (from.name(), to.name());
        match to {
            // Told of by itself, each time.
            UnsealerHealth::Lying => {}
            UnsealerHealth::Down => {
                warn!(
                    authority,
                    server,
                    from,
                    health,
                    reason = reason(),
                    "unsealing authority failed; others of a threshold are asked first"
                );
            }
            UnsealerHealth::Healthy => {
                info!(
                    authority,
                    server, from, health, "unsealing authority answers again"
                );
            }
            _ => {
                debug!(
                    authority,
                    server,
                    from,
                    health,
                    reason = reason(),
                    "others of a threshold are asked first"
                );
            }
        }
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
            let error = match self.observed(batch, call) {
                Ok(secrets) => return Ok(secrets),
                Err(error) => error,
            };
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

    /// One attempt, whose outcome is remembered.
    fn observed(&self, batch: &Batch, call: &Call) -> Result<LockSecrets, UnsealerError> {
        let under_way = self.health.begin();
        let start = Instant::now();
        let outcome = self.attempt(batch, call);
        drop(under_way);
        match &outcome {
            Ok(_) => {
                let after = start.elapsed();
                self.note(News::Answered(after), &|| format!("it took {after:?}"));
            }
            Err(error) => {
                if matches!(error, UnsealerError::ProofInvalid) {
                    // Each time, not only the first: this is never an accident of a network.
                    warn!(
                        authority = batch.key().authority(),
                        server = self.url,
                        spiffe_id = %self.spiffe_id,
                        key_id = %batch.key().key_id(),
                        "unsealing authority answered with a wrong proof; its answer was thrown away"
                    );
                }
                if let Some(news) = error.news() {
                    self.note(news, &|| Chain(error).to_string());
                }
            }
        }
        outcome
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
    /// What it says about the server, if anything.
    fn news(&self) -> Option<News> {
        if let Some(patience) = self.retry_after() {
            return Some(News::Busy(patience));
        }
        match self {
            Self::ProofInvalid => Some(News::Lied),
            Self::Internal | Self::Answer { .. } | Self::Http(_) => Some(News::Failed),
            Self::RateLimited { .. } => Some(News::Busy(Duration::ZERO)),
            Self::Denied { .. }
            | Self::KeyUnknown
            | Self::PolicyUnknown { .. }
            | Self::BadRequest { .. } => Some(News::Refused),
            // Of the object, or of this side.
            Self::NotValidNow { .. } | Self::NotAsked { .. } | Self::NoServer | Self::OutOfTime => {
                None
            }
        }
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
