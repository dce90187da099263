//! Threads that evaluate, and the bound on work waiting for them.
//!
//! One evaluation holds a core for up to a fifth of a second, so it never runs
//! on the threads that serve connections. Work is bounded in elements, waiting
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

use crate::limits::{
    DEFAULT_QUEUE_PER_THREAD, MAX_EVALUATION_THREADS, MAX_REQUEST_ELEMENTS, QUEUE_PARTS,
};

/// A place in the queue, given back when the work is done or dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

/// No place in the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Busy {
    /// For anybody.
    #[error("the evaluation queue is full")]
    Full,
    /// For this principal.
    #[error("the principal's part of the evaluation queue is full")]
    Part,
}

/// Elements in the queue by principal.
// INVARIANT (bounded): every entry holds an element in the queue at least, which bounds them.
type Shares = Arc<Mutex<HashMap<String, u32>>>;

/// A principal's elements in the queue, given back when dropped.
#[derive(Debug)]
struct Share {
    shares: Shares,
    principal: String,
    elements: u32,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = shares.get_mut(&self.principal) {
            *held = held.saturating_sub(self.elements);
            if *held == 0 {
                shares.remove(&self.principal);
            }
        }
    }
}

/// The work ended without a result: it panicked, or the pool is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lost;

type Work = Box<dyn FnOnce() + Send>;

/// Work in the order in which it came; a piece wakes one thread, and no other.
#[derive(Default)]
struct Line {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    // Nothing enters without a `Place`, so it never holds more pieces than there are elements allowed.
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

/// Evaluation threads with a bounded queue.
pub(crate) struct Pool {
    places: Arc<Semaphore>,
    shares: Shares,
    size: usize,
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
    /// Starts the threads: `threads` of them (0: one per core), with room for
    /// `queue` elements (0: two seconds of work).
    ///
    /// # Errors
    ///
    /// The operating system refuses a thread.
    pub(crate) fn start(threads: usize, queue: usize) -> Result<Self, std::io::Error> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            threads => threads,
        };
        let threads = threads.clamp(1, MAX_EVALUATION_THREADS);
        let size = match queue {
            0 => threads.saturating_mul(DEFAULT_QUEUE_PER_THREAD),
            queue => queue,
        };
        // A full request must fit into an empty queue.
        let size = size.max(usize::try_from(MAX_REQUEST_ELEMENTS).unwrap_or(usize::MAX));
        let line = Arc::<Line>::default();
        let pool = Self {
            places: Arc::new(Semaphore::new(size)),
            shares: Shares::default(),
            size,
            line: Arc::clone(&line),
        };
        for number in 0..threads {
            let line = Arc::clone(&line);
            std::thread::Builder::new()
                .name(format!("evaluate-{number}"))
                .spawn(move || {
                    while let Some(piece) = line.next() {
                        piece();
                    }
                })?;
        }
        Ok(pool)
    }

    /// Takes places for `elements` of `principal`, at once or not at all.
    ///
    /// # Errors
    ///
    /// [`Busy`] when the queue, or the principal's part of it, has no room for that many.
    pub(crate) fn reserve(&self, principal: &str, elements: u32) -> Result<Place, Busy> {
        let permit = Arc::clone(&self.places)
            .try_acquire_many_owned(elements)
            .map_err(|_| Busy::Full)?;
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let held = shares.get(principal).copied().unwrap_or(0);
        let after = held.saturating_add(elements);
        if after > self.part() {
            return Err(Busy::Part);
        }
        shares.insert(principal.to_owned(), after);
        Ok(Place {
            _permit: permit,
            _share: Share {
                shares: Arc::clone(&self.shares),
                principal: principal.to_owned(),
                elements,
            },
        })
    }

    /// Elements of one principal at most: its part of the queue, one full request at least.
    fn part(&self) -> u32 {
        u32::try_from(self.size / QUEUE_PARTS)
            .unwrap_or(u32::MAX)
            .max(MAX_REQUEST_ELEMENTS)
    }

    /// Runs `task` on an evaluation thread and waits for its result.
    ///
    /// Dropping the future before a thread has begun cancels the task.
    ///
    /// # Errors
    ///
    /// [`Lost`] when the task panicked.
    pub(crate) async fn run<T: Send + 'static>(
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
    pub(crate) async fn idle(&self) {
        // The size is far below this bound: see `MAX_QUEUE_ELEMENTS`.
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        // It is never closed.
        drop(self.places.acquire_many(all).await);
    }

    /// Elements waiting or under way.
    pub(crate) fn in_use(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const API: &str = "spiffe://acme.example/paris/api";

    #[tokio::test]
    async fn runs_off_the_calling_thread() {
        let pool = Pool::start(2, 0).unwrap();
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
        let pool = Arc::new(Pool::start(1, 300).unwrap());
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
        let pool = Pool::start(1, 0).unwrap();
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
        let pool = Arc::new(Pool::start(1, 0).unwrap());
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
        let pool = Arc::new(Pool::start(2, 0).unwrap());
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
        let pool = Pool::start(1, 1).unwrap();
        pool.reserve(API, MAX_REQUEST_ELEMENTS).unwrap();
    }

    #[tokio::test]
    async fn one_principal_has_a_quarter_of_the_queue_and_others_the_rest() {
        let pool = Pool::start(1, 2000).unwrap();
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
