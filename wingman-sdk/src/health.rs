//! What is remembered of an unsealing authority between calls: how it did lately, how early it is asked, and
//! when it is tried again.
//!
//! Memory only decides whom to ask first. Whoever is needed is asked, whatever is remembered of them, and
//! nobody's answer is believed without its proof.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use ::identity::SpiffeId;
use blindfold_core::KeyId;

use crate::{http, limits};

/// How an unsealing authority did lately. The further down this list, the later it is asked.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum UnsealerHealth {
    /// It answers in time, or was not asked yet.
    Healthy,
    /// It refused (a denial, an unknown key or policy): nothing is wrong with the server itself.
    Refusing,
    /// It stayed silent for so long that another one was asked in its place.
    Slow,
    /// It asked for patience (a quota, HTTP 429).
    Busy,
    /// It cannot be reached, or fails.
    Down,
    /// It answered with a proof that does not hold. Its operator should know.
    Lying,
}

impl UnsealerHealth {
    /// A stable name, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Refusing => "refusing",
            Self::Slow => "slow",
            Self::Busy => "busy",
            Self::Down => "down",
            Self::Lying => "lying",
        }
    }
}

/// How one configured unsealing authority is doing, as far as this process has seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnsealerStatus {
    /// Its name in its pinned key records.
    pub authority: String,
    /// Its URL.
    pub server: String,
    /// The SPIFFE ID that its server must prove.
    pub spiffe_id: SpiffeId,
    /// Its pinned keys.
    pub keys: Vec<KeyId>,
    /// How it did lately.
    pub health: UnsealerHealth,
    /// From then on it is tried again beside healthy ones; nothing while it is healthy.
    pub retry_at: Option<SystemTime>,
    /// Requests under way.
    pub in_flight: usize,
    /// Answers with a proof that held.
    pub answered: u64,
    /// Refusals: denials, quotas, unknown keys and policies.
    pub refused: u64,
    /// Failures: not reached, no answer, an unusable one.
    pub failed: u64,
    /// Answers with a proof that did not hold.
    pub lied: u64,
    /// When it last answered with a proof that held.
    pub last_answer: Option<SystemTime>,
    /// What it last did instead of helping.
    pub last_fault: Option<UnsealerIncident>,
}

/// What an unsealing authority did instead of helping, and when.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnsealerIncident {
    /// When.
    pub at: SystemTime,
    /// What, for people; holds no secret.
    pub reason: String,
}

/// News of an authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum News {
    /// An answer whose proof held, after this time.
    Answered(Duration),
    /// No answer yet, and another authority was asked in its place.
    Silent,
    Refused,
    /// Asked for patience.
    Busy(Duration),
    Failed,
    Lied,
}

/// A change that is worth a line in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) from: UnsealerHealth,
    pub(crate) to: UnsealerHealth,
}

/// How early an authority is asked: the least first. Equals are told apart by chance, which spreads the load.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Rank {
    health: u8,
    in_flight: usize,
    chance: u32,
}

/// The memory.
#[derive(Debug)]
pub(crate) struct Health {
    state: Mutex<State>,
    in_flight: AtomicUsize,
    /// An answer that took longer counts as slow.
    slow_after: Duration,
}

#[derive(Clone, Debug)]
struct State {
    health: UnsealerHealth,
    /// When it is tried again beside healthy ones.
    retry_at: Instant,
    /// A liar is not cleared by an answer before this time.
    lying_until: Instant,
    /// Raises the next pause. Grows with every vain try, halves with every answer, so that one who comes and goes
    /// is kept back longer and longer.
    strikes: u32,
    answered: u64,
    refused: u64,
    failed: u64,
    lied: u64,
    last_answer: Option<SystemTime>,
    last_fault: Option<UnsealerIncident>,
}

impl Health {
    pub(crate) fn new(slow_after: Duration) -> Self {
        Self {
            state: Mutex::new(State::new(Instant::now())),
            in_flight: AtomicUsize::new(0),
            slow_after,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request as under way until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    pub(crate) fn rank(&self) -> Rank {
        Rank {
            health: self.state().health as u8,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            // No secret: a failing generator only means that nothing is spread.
            chance: getrandom::u32().unwrap_or(0),
        }
    }

    /// Notes what happened; `reason` is for people.
    pub(crate) fn note(&self, news: News, reason: &dyn Fn() -> String) -> Option<Change> {
        let mut state = self.state();
        let from = state.health;
        state.take(news, self.slow_after, Instant::now());
        if !matches!(news, News::Answered(_)) {
            state.last_fault = Some(UnsealerIncident {
                at: SystemTime::now(),
                reason: reason(),
            });
        }
        let to = state.health;
        (from != to).then_some(Change { from, to })
    }

    /// Whether it is time to try it again. Whoever is told so tries; others are not, for a while.
    pub(crate) fn claim_retry(&self) -> bool {
        self.state().claim_retry(Instant::now())
    }

    /// Fills in what is known here.
    pub(crate) fn describe(&self, status: UnsealerStatus) -> UnsealerStatus {
        let state = self.state();
        let retry_in = state.retry_at.saturating_duration_since(Instant::now());
        UnsealerStatus {
            health: state.health,
            retry_at: (state.health != UnsealerHealth::Healthy)
                .then(|| SystemTime::now().checked_add(retry_in))
                .flatten(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            answered: state.answered,
            refused: state.refused,
            failed: state.failed,
            lied: state.lied,
            last_answer: state.last_answer,
            last_fault: state.last_fault.clone(),
            ..status
        }
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            health: UnsealerHealth::Healthy,
            retry_at: now,
            lying_until: now,
            strikes: 0,
            answered: 0,
            refused: 0,
            failed: 0,
            lied: 0,
            last_answer: None,
            last_fault: None,
        }
    }

    fn take(&mut self, news: News, slow_after: Duration, now: Instant) {
        match news {
            News::Answered(after) => {
                self.answered += 1;
                self.last_answer = Some(SystemTime::now());
                if after >= slow_after {
                    self.demote(UnsealerHealth::Slow, now);
                } else if self.health != UnsealerHealth::Lying || now >= self.lying_until {
                    self.health = UnsealerHealth::Healthy;
                    self.strikes /= 2;
                }
            }
            // Who is down already does not rise by saying nothing.
            News::Silent if self.health < UnsealerHealth::Slow => {
                self.demote(UnsealerHealth::Slow, now);
            }
            News::Silent => {}
            News::Refused => {
                self.refused += 1;
                self.demote(UnsealerHealth::Refusing, now);
            }
            News::Busy(patience) => {
                self.refused += 1;
                self.demote(UnsealerHealth::Busy, now);
                if self.health == UnsealerHealth::Busy {
                    let patience = patience.min(limits::RETRY_LONGEST);
                    self.retry_at = self.retry_at.max(later(now, patience));
                }
            }
            News::Failed => {
                self.failed += 1;
                self.demote(UnsealerHealth::Down, now);
            }
            News::Lied => {
                self.lied += 1;
                let doublings = u32::try_from(self.lied - 1).unwrap_or(u32::MAX);
                let pause = doubled(limits::LIED_FIRST, doublings, limits::LIED_LONGEST);
                self.health = UnsealerHealth::Lying;
                self.lying_until = later(now, pause);
                self.retry_at = self.lying_until;
            }
        }
    }

    /// Of one outage many requests tell; only the first of them, and each vain try after a pause, raises the pause.
    fn demote(&mut self, to: UnsealerHealth, now: Instant) {
        match self.health {
            UnsealerHealth::Lying => {}
            UnsealerHealth::Healthy => {
                self.health = to;
                self.pause(now);
            }
            _ => self.health = to,
        }
    }

    fn pause(&mut self, now: Instant) {
        let pause = doubled(limits::RETRY_FIRST, self.strikes, limits::RETRY_LONGEST);
        self.strikes = self.strikes.saturating_add(1).min(limits::MOST_STRIKES);
        // Many processes that saw the same outage do not come back in one moment.
        self.retry_at = later(now, pause.mul_f64(0.75 + http::fraction() / 4.0));
    }

    fn claim_retry(&mut self, now: Instant) -> bool {
        if self.health == UnsealerHealth::Healthy || now < self.retry_at {
            return false;
        }
        if self.health == UnsealerHealth::Lying {
            self.retry_at = later(now, limits::LIED_FIRST);
        } else {
            self.pause(now);
        }
        true
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Health);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

fn later(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now)
}

#[cfg(test)]
mod tests;
