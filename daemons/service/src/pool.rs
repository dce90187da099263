//! Threads for work that would hold up connections, and the bound on what waits for them.
//!
//! An evaluation or an RSA signature of a whole batch holds a core for long, so it never runs
//! on the threads that serve connections. Work is bounded in units, waiting
//! and under way together; beyond the bound a caller is told to come back
//! instead of being made to wait. One principal has a part of the queue only,
//! so that it can't keep all others out.
//!
//! A caller that goes away while its work waits costs nothing; a panic in one
//! piece of work ends that piece only.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::limits::{MAX_POOL_THREADS, POOL_QUEUE_PARTS};

/// Size of a [`Pool`].
#[derive(Clone, Copy, Debug)]
pub struct PoolSize {
    /// Name of its threads, up to 11 bytes.
    pub name: &'static str,
    /// Threads; 0: one per core.
    pub threads: usize,
    /// Units waiting or under way at most; 0: `per_thread` for each thread.
    pub queue: usize,
    /// Units per thread if `queue` is 0.
    pub per_thread: usize,
    /// Units of the greatest request, which always has room in an empty queue.
    pub greatest: u32,
}

/// A place in the queue, given back when the work is done or dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

/// No place in the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Busy {
    /// For anybody.
    #[error("the queue is full")]
    Full,
    /// For this principal.
    #[error("the principal's part of the queue is full")]
    Part,
}

/// Units in the queue by principal.
// INVARIANT (bounded): every entry holds a unit in the queue at least, which bounds them.
type Shares = Arc<Mutex<HashMap<String, u32>>>;

/// A principal's units in the queue, given back when dropped.
#[derive(Debug)]
struct Share {
    shares: Shares,
    principal: String,
    units: u32,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = shares.get_mut(&self.principal) {
            *held = held.saturating_sub(self.units);
            if *held == 0 {
                shares.remove(&self.principal);
            }
        }
    }
}

/// The work ended without a result: it panicked, or the pool is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lost;

type Work = Box<dyn FnOnce() + Send>;

/// Work in the order in which it came; a piece wakes one thread, and no other.
#[derive(Default)]
struct Line {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    // Nothing enters without a `Place`, so it never holds more pieces than there are units allowed.
    pieces: VecDeque<Work>,
    /// No more will come.
    closed: bool,
}

impl Line {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, piece: Work) {
        self.waiting().pieces.push_back(piece);
        self.more.notify_one();
    }

    /// The next piece, once there is one; none when the pool was dropped.
    fn next(&self) -> Option<Work> {
        let mut waiting = self.waiting();
        loop {
            if let Some(piece) = waiting.pieces.pop_front() {
                return Some(piece);
            }
            if waiting.closed {
                return None;
            }
            waiting = self
                .more
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Threads with a bounded queue.
pub struct Pool {
    places: Arc<Semaphore>,
    shares: Shares,
    size: usize,
    greatest: u32,
    line: Arc<Line>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.line.waiting().closed = true;
        self.line.more.notify_all();
    }
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// The operating system refuses a thread.
    pub fn start(size: PoolSize) -> Result<Self, std::io::Error> {
        let PoolSize { name, greatest, .. } = size;
        let threads = match size.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            threads => threads,
        };
        let threads = threads.clamp(1, MAX_POOL_THREADS);
        let size = match size.queue {
            0 => threads.saturating_mul(size.per_thread),
            queue => queue,
        };
        // The greatest request must fit into an empty queue, and a semaphore bounds the rest.
        let size = size
            .max(usize::try_from(greatest).unwrap_or(usize::MAX))
            .min(Semaphore::MAX_PERMITS);
        let line = Arc::<Line>::default();
        let pool = Self {
            places: Arc::new(Semaphore::new(size)),
            shares: Shares::default(),
            size,
            greatest,
            line: Arc::clone(&line),
        };
        for number in 0..threads {
            let line = Arc::clone(&line);
            std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || {
                    while let Some(piece) = line.next() {
                        piece();
                    }
                })?;
        }
        Ok(pool)
    }

    /// Takes places for `units` of `principal`, at once or not at all.
    ///
    /// # Errors
    ///
    /// [`Busy`] when the queue, or the principal's part of it, has no room for that many.
    pub fn reserve(&self, principal: &str, units: u32) -> Result<Place, Busy> {
        let permit = Arc::clone(&self.places)
            .try_acquire_many_owned(units)
            .map_err(|_| Busy::Full)?;
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let held = shares.get(principal).copied().unwrap_or(0);
        let after = held.saturating_add(units);
        if after > self.part() {
            return Err(Busy::Part);
        }
        shares.insert(principal.to_owned(), after);
        Ok(Place {
            _permit: permit,
            _share: Share {
                shares: Arc::clone(&self.shares),
                principal: principal.to_owned(),
                units,
            },
        })
    }

    /// Units of one principal at most: its part of the queue, the greatest request at least.
    fn part(&self) -> u32 {
        u32::try_from(self.size / POOL_QUEUE_PARTS)
            .unwrap_or(u32::MAX)
            .max(self.greatest)
    }

    /// Runs `task` on one of the threads and waits for its result.
    ///
    /// Dropping the future before a thread has begun cancels the task.
    ///
    /// # Errors
    ///
    /// [`Lost`] when the task panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        place: Place,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Lost> {
        let (answer, answered) = oneshot::channel();
        let piece: Work = Box::new(move || {
            if answer.is_closed() {
                // What it holds goes before its place does, for `idle`.
                drop(task);
                return;
            }
            // The task owns what it touches, except for keys, which it only reads.
            let done = catch_unwind(AssertUnwindSafe(task));
            // Before the answer: whoever has it finds the place free.
            drop(place);
            if let Ok(result) = done {
                // The caller may have gone meanwhile.
                drop(answer.send(result));
            }
        });
        self.line.push(piece);
        answered.await.map_err(|_| Lost)
    }

    /// Waits until nothing waits and nothing is under way; nothing new is taken meanwhile.
    ///
    /// What the work of callers that left was holding has been dropped by then.
    pub async fn idle(&self) {
        // The size is far below this bound in every configuration.
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        // It is never closed.
        drop(self.places.acquire_many(all).await);
    }

    /// Units waiting or under way.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Elements of the greatest request.
    const GREATEST: u32 = 256;

    fn start(threads: usize, queue: usize) -> Result<Pool, std::io::Error> {
        Pool::start(PoolSize {
            name: "test",
            threads,
            queue,
            per_thread: 2048,
            greatest: GREATEST,
        })
    }

    const API: &str = "spiffe://acme.example/paris/api";

    #[tokio::test]
    async fn runs_off_the_calling_thread() {
        let pool = start(2, 0).unwrap();
        let here = std::thread::current().id();
        let there = pool
            .run(pool.reserve(API, 1).unwrap(), || {
                std::thread::current().id()
            })
            .await
            .unwrap();
        assert_ne!(here, there);
    }

    #[tokio::test]
    async fn full_queue_is_refused_at_once_and_frees_up() {
        let pool = Arc::new(start(1, 300).unwrap());
        let (release, gate) = mpsc::channel::<()>();
        let first = pool.reserve("first", 200).unwrap();
        let running = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(first, move || gate.recv().is_ok()).await }
        });
        assert_eq!(pool.in_use(), 200);
        assert_eq!(pool.reserve(API, 101).unwrap_err(), Busy::Full);
        let second = pool.reserve(API, 100).unwrap();
        assert_eq!(pool.reserve(API, 1).unwrap_err(), Busy::Full);
        drop(second);
        release.send(()).unwrap();
        assert!(running.await.unwrap().unwrap());
        pool.reserve(API, 256).unwrap();
    }

    #[tokio::test]
    async fn a_panic_ends_one_task_only() {
        let pool = start(1, 0).unwrap();
        let lost = pool
            .run(pool.reserve(API, 1).unwrap(), || -> u8 {
                panic!("on purpose")
            })
            .await;
        assert_eq!(lost, Err(Lost));
        assert_eq!(pool.run(pool.reserve(API, 1).unwrap(), || 7).await, Ok(7));
        assert_eq!(pool.in_use(), 0);
    }

    #[tokio::test]
    async fn work_of_a_caller_that_left_is_not_done() {
        let pool = Arc::new(start(1, 0).unwrap());
        let (release, gate) = mpsc::channel::<()>();
        let blocker = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run(pool.reserve(API, 1).unwrap(), move || gate.recv().is_ok())
                    .await
            }
        });
        while pool.in_use() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let done = Arc::new(AtomicUsize::new(0));
        let waiting = tokio::spawn({
            let (pool, done) = (Arc::clone(&pool), Arc::clone(&done));
            async move {
                let place = pool.reserve(API, 1).unwrap();
                pool.run(place, move || done.fetch_add(1, Ordering::SeqCst))
                    .await
            }
        });
        while pool.in_use() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waiting.abort();
        drop(waiting.await);
        release.send(()).unwrap();
        assert!(blocker.await.unwrap().unwrap());
        pool.run(pool.reserve(API, 1).unwrap(), || ())
            .await
            .unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn threads_work_side_by_side_and_end_with_the_pool() {
        let pool = Arc::new(start(2, 0).unwrap());
        let meeting = Arc::new(std::sync::Barrier::new(2));
        let mut both = Vec::new();
        for _ in 0..2 {
            let (pool, meeting) = (Arc::clone(&pool), Arc::clone(&meeting));
            // Neither ends before both have begun.
            both.push(tokio::spawn(async move {
                let place = pool.reserve(API, 1).unwrap();
                pool.run(place, move || meeting.wait().is_leader()).await
            }));
        }
        let mut leaders = 0;
        for one in both {
            leaders += u32::from(one.await.unwrap().unwrap());
        }
        assert_eq!(leaders, 1);
        let line = Arc::downgrade(&pool.line);
        drop(pool);
        while line.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_full_request_always_fits_into_an_empty_queue() {
        let pool = start(1, 1).unwrap();
        pool.reserve(API, GREATEST).unwrap();
    }

    #[tokio::test]
    async fn one_principal_has_a_quarter_of_the_queue_and_others_the_rest() {
        let pool = start(1, 2000).unwrap();
        let mut held = vec![
            pool.reserve(API, 256).unwrap(),
            pool.reserve(API, 244).unwrap(),
        ];
        assert_eq!(pool.reserve(API, 1).unwrap_err(), Busy::Part);
        assert_eq!(pool.in_use(), 500, "a refusal takes nothing");
        for other in ["b", "c", "d"] {
            held.push(pool.reserve(other, 256).unwrap());
            held.push(pool.reserve(other, 244).unwrap());
        }
        assert_eq!(pool.reserve("e", 1).unwrap_err(), Busy::Full);
        held.remove(1);
        assert_eq!(pool.reserve(API, 245).unwrap_err(), Busy::Full);
        held.push(pool.reserve(API, 244).unwrap());
        drop(held);
        assert_eq!(pool.in_use(), 0);
        assert!(pool.shares.lock().unwrap().is_empty(), "nothing is kept");
    }
}
