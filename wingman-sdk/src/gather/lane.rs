//! A lane to one authority: batches queue, a few threads work them off.
//!
//! Threads end when the queue is empty. They are not waited for: a call that has what it wants returns, and
//! whoever is still busy ends with its exchange.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering, mpsc},
};

use blindfold_core::{Batch, LockSecrets};

use super::{Group, fault};
use crate::{
    error::UnsealerFault,
    limits::PARALLEL_REQUESTS,
    unsealer::{Call, Unsealer},
};

/// News of a batch.
pub(super) struct Event {
    pub(super) group: Group,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    /// An attempt failed and is repeated.
    Stumbled,
    Answered(LockSecrets),
    Failed(UnsealerFault),
}

pub(super) struct Lane {
    unsealer: Arc<Unsealer>,
    call: Call,
    events: mpsc::Sender<Event>,
    queue: Mutex<Queue>,
}

/// A batch for the authority.
pub(super) struct Job {
    pub(super) group: Group,
    pub(super) batch: Batch,
    /// It tells whether the authority is well again, so it is sent even if the call no longer needs it.
    pub(super) retry: bool,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
}

impl Lane {
    pub(super) fn new(
        unsealer: Arc<Unsealer>,
        call: Call,
        events: mpsc::Sender<Event>,
    ) -> Arc<Self> {
        Arc::new(Self {
            unsealer,
            call,
            events,
            queue: Mutex::new(Queue::default()),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a batch and starts a thread for it, unless enough are at work.
    pub(super) fn submit(self: &Arc<Self>, job: Job) {
        let mut queue = self.queue();
        queue.jobs.push_back(job);
        if queue.threads >= PARALLEL_REQUESTS {
            return;
        }
        queue.threads += 1;
        drop(queue);
        let lane = Arc::clone(self);
        let thread = std::thread::Builder::new().name("wingman-unseal".to_owned());
        if thread.spawn(move || lane.work()).is_err() {
            // No thread to be had: slower, but it works.
            self.work();
        }
    }

    /// Has a batch evaluated by the calling thread.
    pub(super) fn run_here(&self, group: Group, batch: Batch) {
        self.evaluate(group, &batch);
    }

    fn work(&self) {
        loop {
            let mut queue = self.queue();
            if self.call.over.load(Ordering::Relaxed) {
                queue.jobs.retain(|job| job.retry);
            }
            let Some(Job { group, batch, .. }) = queue.jobs.pop_front() else {
                queue.threads -= 1;
                return;
            };
            drop(queue);
            self.evaluate(group, &batch);
        }
    }

    fn evaluate(&self, group: Group, batch: &Batch) {
        let tell = |outcome| {
            // Nobody listens any more once the call has what it wants.
            let _ = self.events.send(Event {
                group: group.clone(),
                outcome,
            });
        };
        match self
            .unsealer
            .evaluate(batch, &self.call, &mut || tell(Outcome::Stumbled))
        {
            Ok(secrets) => tell(Outcome::Answered(secrets)),
            Err(reason) => tell(Outcome::Failed(fault(
                batch.key(),
                self.unsealer.url(),
                reason,
            ))),
        }
    }
}
