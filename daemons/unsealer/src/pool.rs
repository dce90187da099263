//! Threads that evaluate, and the bound on work waiting for them.
//!
//! One evaluation holds a core for up to a fifth of a second, so it never runs
//! on the threads that serve connections. Work is bounded in elements, waiting
//! and under way together; beyond the bound a caller is told to come back
//! instead of being made to wait.
//!
//! A caller that goes away while its work waits costs nothing; a panic in one
//! piece of work ends that piece only.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::limits::{DEFAULT_QUEUE_PER_THREAD, MAX_EVALUATION_THREADS, MAX_REQUEST_ELEMENTS};

/// A place in the queue, given back when the work is done or dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// No place in the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Busy;

/// The work ended without a result: it panicked, or the pool is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lost;

type Work = Box<dyn FnOnce() + Send>;

/// Evaluation threads with a bounded queue.
#[derive(Debug)]
pub(crate) struct Pool {
    places: Arc<Semaphore>,
    size: usize,
    sender: mpsc::Sender<Work>,
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
        // The channel itself is unbounded: nothing enters it without a `Place`,
        // so it never holds more pieces of work than there are elements allowed.
        let (sender, receiver) = mpsc::channel::<Work>();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new()
                .name(format!("evaluate-{number}"))
                .spawn(move || work(&receiver))?;
        }
        Ok(Self {
            places: Arc::new(Semaphore::new(size)),
            size,
            sender,
        })
    }

    /// Takes places for `elements`, at once or not at all.
    ///
    /// # Errors
    ///
    /// [`Busy`] when the queue has no room for that many.
    pub(crate) fn reserve(&self, elements: u32) -> Result<Place, Busy> {
        Arc::clone(&self.places)
            .try_acquire_many_owned(elements)
            .map(|permit| Place { _permit: permit })
            .map_err(|_| Busy)
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
            let _place = place;
            if answer.is_closed() {
                return;
            }
            // The task owns what it touches, except for keys, which it only reads.
            if let Ok(result) = catch_unwind(AssertUnwindSafe(task)) {
                // The caller may have gone meanwhile.
                drop(answer.send(result));
            }
        });
        self.sender.send(piece).map_err(|_| Lost)?;
        answered.await.map_err(|_| Lost)
    }

    /// Elements waiting or under way.
    pub(crate) fn in_use(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }
}

fn work(receiver: &Mutex<mpsc::Receiver<Work>>) {
    loop {
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        match next {
            Ok(piece) => piece(),
            // The pool was dropped.
            Err(mpsc::RecvError) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn runs_off_the_calling_thread() {
        let pool = Pool::start(2, 0).unwrap();
        let here = std::thread::current().id();
        let there = pool
            .run(pool.reserve(1).unwrap(), || std::thread::current().id())
            .await
            .unwrap();
        assert_ne!(here, there);
    }

    #[tokio::test]
    async fn full_queue_is_refused_at_once_and_frees_up() {
        let pool = Arc::new(Pool::start(1, 300).unwrap());
        let (release, gate) = mpsc::channel::<()>();
        let first = pool.reserve(200).unwrap();
        let running = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(first, move || gate.recv().is_ok()).await }
        });
        assert_eq!(pool.in_use(), 200);
        assert_eq!(pool.reserve(101).unwrap_err(), Busy);
        let second = pool.reserve(100).unwrap();
        assert_eq!(pool.reserve(1).unwrap_err(), Busy);
        drop(second);
        release.send(()).unwrap();
        assert!(running.await.unwrap().unwrap());
        pool.reserve(256).unwrap();
    }

    #[tokio::test]
    async fn a_panic_ends_one_task_only() {
        let pool = Pool::start(1, 0).unwrap();
        let lost = pool
            .run(pool.reserve(1).unwrap(), || -> u8 { panic!("on purpose") })
            .await;
        assert_eq!(lost, Err(Lost));
        assert_eq!(pool.run(pool.reserve(1).unwrap(), || 7).await, Ok(7));
        assert_eq!(pool.in_use(), 0);
    }

    #[tokio::test]
    async fn work_of_a_caller_that_left_is_not_done() {
        let pool = Arc::new(Pool::start(1, 0).unwrap());
        let (release, gate) = mpsc::channel::<()>();
        let blocker = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run(pool.reserve(1).unwrap(), move || gate.recv().is_ok())
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
                let place = pool.reserve(1).unwrap();
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
        pool.run(pool.reserve(1).unwrap(), || ()).await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_full_request_always_fits_into_an_empty_queue() {
        let pool = Pool::start(1, 1).unwrap();
        pool.reserve(MAX_REQUEST_ELEMENTS).unwrap();
    }
}
