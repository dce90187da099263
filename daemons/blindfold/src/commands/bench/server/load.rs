//! Callers that open, all at a time, for a while.

use std::{
    io::IsTerminal,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use blindfold_core::Sealed;
use indicatif::{ProgressBar, ProgressStyle};
use wingman_sdk::Wingman;

use super::{super::stop::Stop, tally::Tally};
use crate::{
    commands::open::failed,
    failure::{Context, Failure, Kind, Outcome},
};

/// How often a sleeper looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// How long calls under way are waited for when the time is up.
const GRACE: Duration = Duration::from_secs(3);

/// What every caller does.
#[derive(Debug)]
pub(super) struct Load {
    /// Opened at once, in one call.
    pub(super) objects: Vec<Sealed>,
    /// For how long.
    pub(super) duration: Duration,
    /// Calls per second of all callers; as many as go when absent.
    pub(super) rate: Option<u32>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) tally: Tally,
    /// From the first call to the last answer.
    pub(super) elapsed: Duration,
    /// Opens that succeeded, those before the time began included.
    pub(super) all_opens: u64,
    /// Calls without an answer when everybody had gone.
    pub(super) unfinished: u64,
    /// Whether a signal ended it.
    pub(super) interrupted: bool,
}

/// What callers share.
struct Shared {
    load: Load,
    tally: Mutex<Tally>,
    over: Stop,
    /// Calls begun, by which calls at a rate have their times.
    begun: AtomicU64,
    under_way: AtomicU64,
}

/// Has every caller connect, then open until the time is up or `stop` is set.
///
/// # Errors
///
/// The first caller can't open at all.
pub(super) fn run(load: Load, callers: Vec<Wingman>, stop: &Stop) -> Outcome<Loaded> {
    let duration = load.duration;
    let shared = Arc::new(Shared {
        load,
        tally: Mutex::new(Tally::new()?),
        over: Stop::default(),
        begun: AtomicU64::new(0),
        under_way: AtomicU64::new(0),
    });
    let mut all_opens = 0;
    if let Some(first) = callers.first() {
        shared.open(first).map_err(|error| failed(&error))?;
        all_opens += 1;
    }
    let (ready, connected) = mpsc::channel();
    let (done, gone) = mpsc::channel::<()>();
    let mut starts = Vec::new();
    for (number, wingman) in callers.into_iter().enumerate() {
        let (start, started) = mpsc::channel::<Instant>();
        let (shared, ready, done) = (Arc::clone(&shared), ready.clone(), done.clone());
        let caller = move || {
            // The first one has connected already.
            let connected = number == 0 || shared.open(&wingman).is_ok();
            // Both ends are gone only when the run is.
            let _ = ready.send(u64::from(connected && number > 0));
            if let Ok(start) = started.recv() {
                shared.call(&wingman, start);
            }
            drop(done);
        };
        std::thread::Builder::new()
            .name("bench-caller".to_owned())
            .spawn(caller)
            .about(Kind::Internal, "no thread for another caller")?;
        starts.push(start);
    }
    drop((ready, done));
    all_opens += connect(&connected, starts.len(), stop)?;
    let start = Instant::now();
    for caller in starts {
        // A caller that is gone shows as one that opens nothing.
        let _ = caller.send(start);
    }
    let bar = progress(duration);
    while start.elapsed() < duration && !stop.is_set() {
        std::thread::sleep(LOOK.min(duration.saturating_sub(start.elapsed())));
        bar.set_position(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!("{} opened", shared.tally().done()));
    }
    bar.finish_and_clear();
    let interrupted = stop.is_set() && start.elapsed() < duration;
    shared.over.set();
    // Nothing is ever sent: the channel ends with the last caller.
    let _ = gone.recv_timeout(GRACE);
    let elapsed = start.elapsed();
    let tally = shared.tally().clone();
    Ok(Loaded {
        all_opens: all_opens + tally.done(),
        tally,
        elapsed,
        unfinished: shared.under_way.load(Ordering::Acquire),
        interrupted,
    })
}

/// Waits until every caller has tried to connect; gives how many opens that were.
fn connect(connected: &mpsc::Receiver<u64>, callers: usize, stop: &Stop) -> Outcome<u64> {
    let (mut ready, mut opens) = (0, 0);
    while ready < callers {
        match connected.recv_timeout(LOOK) {
            Ok(opened) => {
                ready += 1;
                opens += opened;
            }
            Err(mpsc::RecvTimeoutError::Timeout) if !stop.is_set() => {}
            Err(_) => {
                return Err(Failure::new(
                    Kind::Temporary,
                    "stopped before every caller had connected",
                ));
            }
        }
    }
    Ok(opens)
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, wingman: &Wingman) -> Result<(), wingman_sdk::Error> {
        wingman.open_all(&self.load.objects).map(drop)
    }

    /// One caller's calls.
    fn call(&self, wingman: &Wingman, start: Instant) {
        while let Some(due) = self.next(start) {
            self.under_way.fetch_add(1, Ordering::AcqRel);
            let opened = self.open(wingman);
            // From when it was due: a call that had to wait for a caller is late, not fast.
            let took = due.elapsed();
            let mut tally = self.tally();
            match opened {
                Ok(()) => tally.done_in(took),
                Err(error) => tally.failed(&error),
            }
            drop(tally);
            self.under_way.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// When the next call is due, once it is; nothing when it is over.
    fn next(&self, start: Instant) -> Option<Instant> {
        let Some(rate) = self.load.rate else {
            return (!self.over.is_set()).then(Instant::now);
        };
        let number = self.begun.fetch_add(1, Ordering::AcqRel);
        let due = start + Duration::from_secs_f64(number as f64 / f64::from(rate));
        if due >= start + self.load.duration {
            return None;
        }
        loop {
            if self.over.is_set() {
                return None;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(due);
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

fn progress(duration: Duration) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {elapsed} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).with_style(style)
}
