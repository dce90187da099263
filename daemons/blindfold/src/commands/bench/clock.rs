//! Time, and how often something is measured.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use super::stop::Stop;
use crate::failure::Outcome;

/// A round repeats its work until it takes this long, so that the clock's own cost does not show.
const ROUND: Duration = Duration::from_millis(1);

/// Repetitions in a round at most.
const MAX_REPEAT: u32 = 4096;

/// Rounds at least, however long one takes.
const MIN_ROUNDS: usize = 3;

/// Rounds at most: more say nothing new and take memory.
const MAX_ROUNDS: usize = 100_000;

/// CPU time of the calling thread: what others do on the machine hardly shows in it.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// CPU time of the calling thread in `work`.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = cpu_time();
    let done = work();
    (done, cpu_time().saturating_sub(before))
}

/// CPU time of `repeat` times `work`.
pub(super) fn repeated(repeat: u32, mut work: impl FnMut() -> Outcome) -> Outcome<Duration> {
    let (outcome, took) = timed(|| (0..repeat).try_for_each(|_| work()));
    outcome.map(|()| took)
}

/// A reader whose own time is told apart: it stands for whatever a stream comes from.
#[derive(Debug)]
pub(super) struct Apart<R> {
    inner: R,
    took: Duration,
}

impl<R: Read> Apart<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            took: Duration::ZERO,
        }
    }

    /// CPU time that the calling thread spent in reading.
    pub(super) fn took(&self) -> Duration {
        self.took
    }
}

impl<R: Read> Read for Apart<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (read, took) = timed(|| self.inner.read(into));
        self.took += took;
        read
    }
}

/// What rounds showed, in nanoseconds for one piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// The best round.
    pub(super) best: f64,
    /// The middle one.
    pub(super) median: f64,
    /// The floor's best round.
    pub(super) floor: f64,
    /// How many there were.
    pub(super) rounds: usize,
}

/// Work that is done `repeat` times and says how long that took.
pub(super) type Work<'w> = dyn FnMut(u32) -> Outcome<Duration> + 'w;

/// How long each row is measured.
#[derive(Debug)]
pub(super) struct Rounds<'a> {
    duration: Duration,
    stop: &'a Stop,
}

impl<'a> Rounds<'a> {
    /// Rounds for `duration`, unless stopped before.
    pub(super) fn new(duration: Duration, stop: &'a Stop) -> Self {
        Self { duration, stop }
    }

    /// What ends the rounds early, for those who work long.
    pub(super) fn stop(&self) -> &'a Stop {
        self.stop
    }

    /// Measures `floor` and `work` in turn; nothing when stopped before the first round was over.
    pub(super) fn run(
        &self,
        floor: &mut Work<'_>,
        work: &mut Work<'_>,
    ) -> Outcome<Option<Measured>> {
        let first = self.unless_stopped(work(1))?;
        let Some(work_repeat) = first.map(repetitions) else {
            return Ok(None);
        };
        let floor_repeat = floor(1).map(repetitions)?;
        let deadline = Instant::now() + self.duration;
        let (mut floors, mut times) = (Vec::new(), Vec::new());
        while times.len() < MAX_ROUNDS && (times.len() < MIN_ROUNDS || Instant::now() < deadline) {
            floors.push(each(floor(floor_repeat)?, floor_repeat));
            match self.unless_stopped(work(work_repeat))? {
                Some(took) => times.push(each(took, work_repeat)),
                None => break,
            }
            if self.stop.is_set() {
                break;
            }
        }
        times.sort_unstable_by(f64::total_cmp);
        let middle = times.get(times.len() / 2).copied();
        Ok(times.first().zip(middle).map(|(best, median)| Measured {
            best: *best,
            median,
            floor: floors.iter().copied().fold(f64::INFINITY, f64::min),
            rounds: times.len(),
        }))
    }

    /// Work that failed because it was stopped has not failed.
    fn unless_stopped(&self, took: Outcome<Duration>) -> Outcome<Option<Duration>> {
        match took {
            Err(_) if self.stop.is_set() => Ok(None),
            took => took.map(Some),
        }
    }
}

fn repetitions(once: Duration) -> u32 {
    let once = once.as_nanos().max(1);
    u32::try_from(ROUND.as_nanos() / once)
        .unwrap_or(MAX_REPEAT)
        .clamp(1, MAX_REPEAT)
}

fn each(took: Duration, repeat: u32) -> f64 {
    took.as_secs_f64() * 1e9 / f64::from(repeat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    fn takes(each: Duration) -> impl FnMut(u32) -> Outcome<Duration> {
        move |repeat| Ok(each * repeat)
    }

    #[test]
    fn short_work_is_repeated_and_long_work_is_not() {
        assert_eq!(repetitions(Duration::from_micros(10)), 100);
        assert_eq!(repetitions(Duration::ZERO), MAX_REPEAT);
        assert_eq!(repetitions(Duration::from_secs(1)), 1);
    }

    #[test]
    fn best_median_and_floor_are_of_one_piece() {
        let stop = Stop::default();
        let rounds = Rounds::new(Duration::ZERO, &stop);
        let mut call = 0_u32;
        let mut work = |repeat: u32| {
            // The first call finds out how long it takes.
            call += 1;
            Ok(Duration::from_millis(u64::from(10 * call)) * repeat)
        };
        let measured = rounds
            .run(&mut takes(Duration::from_micros(5)), &mut work)
            .unwrap()
            .unwrap();
        assert_eq!(measured.rounds, MIN_ROUNDS);
        assert!((measured.best - 20e6).abs() < 1.0, "{measured:?}");
        assert!((measured.median - 30e6).abs() < 1.0, "{measured:?}");
        assert!((measured.floor - 5e3).abs() < 1.0, "{measured:?}");
    }

    #[test]
    fn stopping_keeps_what_was_measured_and_failing_does_not_hide() {
        let stop = Stop::default();
        let rounds = Rounds::new(Duration::from_secs(3600), &stop);
        let mut calls = 0;
        let mut work = |_| {
            calls += 1;
            if calls == 3 {
                stop.set();
                return Err(Failure::usage("stopped"));
            }
            Ok(Duration::from_millis(1))
        };
        let floor = &mut takes(Duration::from_millis(1));
        let measured = rounds.run(floor, &mut work).unwrap().unwrap();
        assert_eq!(measured.rounds, 1);
        let nothing = rounds.run(floor, &mut |_| Err(Failure::usage("stopped")));
        assert!(nothing.unwrap().is_none());

        let going = Stop::default();
        let rounds = Rounds::new(Duration::ZERO, &going);
        let failed = rounds.run(floor, &mut |_| Err(Failure::usage("broken")));
        assert!(failed.is_err());
    }

    #[test]
    fn cpu_time_counts_work_and_not_sleep() {
        let ((), slept) = timed(|| std::thread::sleep(Duration::from_millis(50)));
        assert!(slept < Duration::from_millis(40), "{slept:?}");
        let ((), worked) = timed(|| {
            let until = Instant::now() + Duration::from_secs(10);
            let began = cpu_time();
            while cpu_time() < began + Duration::from_millis(5) && Instant::now() < until {}
        });
        assert!(worked >= Duration::from_millis(5), "{worked:?}");
    }
}
