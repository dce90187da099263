//! Worker threads, each with one logged-in session, behind one bounded queue.

use std::{
    collections::VecDeque,
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use cryptoki::mechanism::MechanismType;
use tokio::sync::oneshot;

use super::{TokenConfig, TokenError, TokenSession, module};
use crate::limits;

/// What became of one run of a job.
enum Ran {
    /// It was answered.
    Answered,
    /// It was answered, and the session is of no more use.
    AnsweredLost(TokenError),
    /// It was not answered: a new session, on which objects are looked up anew, may help.
    Again(TokenError),
}

/// A job with its answer's way back.
trait Job: Send {
    /// Whether nobody waits any more.
    fn is_abandoned(&self) -> bool;
    /// Runs once; with `last` it is answered in any case.
    fn run(&mut self, session: &mut TokenSession, last: bool) -> Ran;
    /// Answers with an error, without a session.
    fn fail(&mut self, error: TokenError);
}

/// A work and where its answer goes.
struct Work<F, A> {
    work: F,
    answer: A,
}

/// Where an answer goes.
trait Answer<T>: Send {
    fn is_abandoned(&self) -> bool;
    fn send(&mut self, answer: Result<T, TokenError>);
}

/// To a task.
struct ToTask<T>(Option<oneshot::Sender<Result<T, TokenError>>>);

impl<T: Send> Answer<T> for ToTask<T> {
    fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn send(&mut self, answer: Result<T, TokenError>) {
        if let Some(sender) = self.0.take() {
            // Whoever asked may have gone.
            let _ = sender.send(answer);
        }
    }
}

/// To a waiting thread.
struct ToThread<T> {
    sender: mpsc::SyncSender<Result<T, TokenError>>,
    gone: Arc<AtomicBool>,
}

impl<T: Send> Answer<T> for ToThread<T> {
    fn is_abandoned(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn send(&mut self, answer: Result<T, TokenError>) {
        let _ = self.sender.try_send(answer);
    }
}

impl<T, F, A> Job for Work<F, A>
where
    F: FnMut(&mut TokenSession) -> Result<T, TokenError> + Send,
    A: Answer<T>,
{
    fn is_abandoned(&self) -> bool {
        self.answer.is_abandoned()
    }

    fn run(&mut self, session: &mut TokenSession, last: bool) -> Ran {
        match (self.work)(session) {
            Err(error) if !last && (error.is_lost() || error.is_stale()) => Ran::Again(error),
            Err(error) if error.is_lost() || error.is_stale() => {
                let reason = error.copy();
                self.answer.send(Err(error));
                Ran::AnsweredLost(reason)
            }
            answer => {
                self.answer.send(answer);
                Ran::Answered
            }
        }
    }

    fn fail(&mut self, error: TokenError) {
        self.answer.send(Err(error));
    }
}

/// What callers and workers share.
struct Shared {
    config: TokenConfig,
    queue: Mutex<Queue>,
    more: Condvar,
    destroyed: Arc<AtomicU64>,
}

struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    closed: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held but a failing allocation, which leaves the queue as it was.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token with its worker threads; cheap to clone. The threads end when the last clone is dropped.
#[derive(Clone)]
pub struct Token(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.more.notify_all();
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("token", &self.0.0.config.token)
            .field("workers", &self.0.0.config.workers)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Finds the token, logs in once, and starts the worker threads. Blocks on the token.
    ///
    /// # Errors
    ///
    /// [`TokenError::Module`], [`TokenError::Token`], [`TokenError::PinFile`], [`TokenError::Pin`], or a failed call.
    pub fn open(config: &TokenConfig) -> Result<Self, TokenError> {
        let destroyed = Arc::new(AtomicU64::new(0));
        let mut first = Some(connect(config, &destroyed)?);
        let shared = Arc::new(Shared {
            config: config.clone(),
            queue: Mutex::new(Queue {
                jobs: VecDeque::with_capacity(limits::PKCS11_QUEUE),
                closed: false,
            }),
            more: Condvar::new(),
            destroyed,
        });
        // Made before the threads, so that those that started end if another can't.
        let token = Self(Arc::new(Handle(Arc::clone(&shared))));
        for number in 0..config.workers.clamp(1, limits::PKCS11_MAX_WORKERS) {
            let mut worker = Worker {
                shared: Arc::clone(&shared),
                session: first.take(),
            };
            thread::Builder::new()
                .name(format!("pkcs11-{number}"))
                .spawn(move || worker.run())
                .map_err(|_| TokenError::Internal("can't start a thread for the token"))?;
        }
        Ok(token)
    }

    /// Name of the token, as it is configured.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.0.config.token
    }

    /// Jobs that wait for a worker: a metric.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.0.queue().jobs.len()
    }

    /// Runs `work` on a worker's session, and again once on a new one if the first was lost.
    ///
    /// `work` has to bear being run twice. Dropping the future abandons a job that has not begun.
    ///
    /// # Errors
    ///
    /// What `work` returns; [`TokenError::Busy`], [`TokenError::TimedOut`], or why there is no session.
    pub async fn run<T, F>(&self, work: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnMut(&mut TokenSession) -> Result<T, TokenError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.push(Box::new(Work {
            work,
            answer: ToTask(Some(sender)),
        }))?;
        match tokio::time::timeout(limits::PKCS11_ANSWER, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.died()),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// As [`Self::run`], for threads that may block.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_blocking<T, F>(&self, work: F) -> Result<T, TokenError>
    where
        T: Send + 'static,
        F: FnMut(&mut TokenSession) -> Result<T, TokenError> + Send + 'static,
    {
        let (sender, receiver) = mpsc::sync_channel(1);
        let gone = Arc::new(AtomicBool::new(false));
        self.push(Box::new(Work {
            work,
            answer: ToThread {
                sender,
                gone: Arc::clone(&gone),
            },
        }))?;
        let answer = receiver.recv_timeout(limits::PKCS11_ANSWER);
        gone.store(true, Ordering::Relaxed);
        match answer {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(self.died()),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(self.timed_out()),
        }
    }

    /// Key sizes that the token offers for a mechanism, in the mechanism's unit; nothing when it lacks it. Blocks on the
    /// token.
    ///
    /// # Errors
    ///
    /// The token is not there.
    pub fn key_sizes(
        &self,
        mechanism: MechanismType,
    ) -> Result<Option<(usize, usize)>, TokenError> {
        Ok(module::find(&self.0.0.config)?.key_sizes(mechanism))
    }

    fn push(&self, job: Box<dyn Job>) -> Result<(), TokenError> {
        let shared = &self.0.0;
        let mut queue = shared.queue();
        if queue.jobs.len() >= limits::PKCS11_QUEUE {
            // Places of those who have gone are free.
            queue.jobs.retain(|job| !job.is_abandoned());
        }
        if queue.jobs.len() >= limits::PKCS11_QUEUE {
            return Err(TokenError::Busy {
                token: shared.config.token.clone(),
                waiting: queue.jobs.len(),
            });
        }
        queue.jobs.push_back(job);
        drop(queue);
        shared.more.notify_one();
        Ok(())
    }

    /// A worker that panicked took the job with it.
    fn died(&self) -> TokenError {
        TokenError::Internal("a worker of the token ended without an answer")
    }

    fn timed_out(&self) -> TokenError {
        TokenError::TimedOut {
            token: self.name().to_owned(),
            seconds: limits::PKCS11_ANSWER.as_secs(),
        }
    }
}

fn connect(config: &TokenConfig, destroyed: &Arc<AtomicU64>) -> Result<TokenSession, TokenError> {
    let found = module::find(config)?;
    let session = found.log_in(config)?;
    Ok(TokenSession::new(
        session,
        config.token.clone(),
        Arc::clone(destroyed),
    ))
}

/// One thread.
struct Worker {
    shared: Arc<Shared>,
    session: Option<TokenSession>,
}

impl Worker {
    fn run(&mut self) {
        while let Some(mut job) = self.next() {
            if job.is_abandoned() {
                continue;
            }
            // A panic costs this job and this session, not the thread.
            let ended = panic::catch_unwind(AssertUnwindSafe(|| self.work(job.as_mut())));
            if ended.is_err() {
                self.session = None;
            }
        }
    }

    fn next(&self) -> Option<Box<dyn Job>> {
        let mut queue = self.shared.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self
                .shared
                .more
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&mut self, job: &mut dyn Job) {
        // What fails on a session that is new would fail on another one.
        let mut last = self.session.is_none();
        loop {
            let session = match self.session() {
                Ok(session) => session,
                Err(error) => return job.fail(error),
            };
            match job.run(session, last) {
                Ran::Answered => return,
                Ran::AnsweredLost(error) => return self.lose(&error),
                Ran::Again(error) => self.lose(&error),
            }
            last = true;
        }
    }

    fn lose(&mut self, error: &TokenError) {
        tracing::warn!(token = %self.shared.config.token, %error, "session with the token lost");
        self.session = None;
    }

    /// The session, opened anew when there is none.
    fn session(&mut self) -> Result<&mut TokenSession, TokenError> {
        match &mut self.session {
            Some(session) => Ok(session),
            none => {
                let session = connect(&self.shared.config, &self.shared.destroyed)?;
                tracing::info!(token = %self.shared.config.token, "logged in to the token");
                Ok(none.insert(session))
            }
        }
    }
}
