//! Deadlines on a connection's bytes.
//!
//! hyper's own head timeout also runs while a kept connection idles, so one number would have to serve
//! for a slow head and for an idle connection. Here a head has its short time from its first byte on.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::Limits;

/// The time in `duration` from now; a duration beyond all bounds counts as a day.
fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration)
        .unwrap_or(now + Duration::from_secs(24 * 3600))
}

/// What a connection is doing; shared between its bytes and its requests.
pub(super) struct Activity {
    under_way: AtomicUsize,
    phase: Mutex<Phase>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

struct Phase {
    /// When the next request must have begun, or the head that is being read must be whole.
    deadline: Instant,
    /// Whether bytes of a head were seen, or the first request is awaited.
    hurried: bool,
    /// Which deadline passed.
    missed: Option<&'static str>,
}

/// One request under way; ends when dropped.
pub(super) struct UnderWay(Arc<Activity>);

impl Activity {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            under_way: AtomicUsize::new(0),
            phase: Mutex::new(Phase {
                deadline: after(limits.header_timeout),
                hurried: true,
                missed: None,
            }),
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
        })
    }

    /// A request's head is whole.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        UnderWay(Arc::clone(self))
    }

    /// Requests under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// Which deadline the peer missed, if one.
    pub(super) fn missed(&self) -> Option<&'static str> {
        self.phase().missed
    }

    fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came. The first ones of a head start its time; further ones don't extend it.
    fn bytes_came(&self) {
        let mut phase = self.phase();
        if self.under_way() == 0 && !phase.hurried {
            phase.hurried = true;
            phase.deadline = after(self.header_timeout);
        }
    }

    /// When the peer must have done something; `None` while it is our turn.
    fn deadline(&self) -> Option<Instant> {
        (self.under_way() == 0).then(|| self.phase().deadline)
    }

    fn miss(&self, what: &'static str) {
        self.phase().missed.get_or_insert(what);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let activity = &self.0;
        if activity.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut phase = activity.phase();
            phase.hurried = false;
            phase.deadline = after(activity.idle_timeout);
        }
    }
}

/// A stream whose reads and writes end in time.
pub(super) struct Timed<S> {
    stream: S,
    activity: Arc<Activity>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
    write_timeout: Duration,
    /// Whether a write is waiting for the peer.
    stalled: bool,
    /// HTTP/2 frames are not heads: its bytes don't start the time of one.
    heads_by_bytes: bool,
}

impl<S> Timed<S> {
    pub(super) fn new(
        stream: S,
        activity: Arc<Activity>,
        write_timeout: Duration,
        heads_by_bytes: bool,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            activity,
            read_timer: Box::pin(tokio::time::sleep_until(now)),
            write_timer: Box::pin(tokio::time::sleep_until(now)),
            write_timeout,
            stalled: false,
            heads_by_bytes,
        }
    }

    /// Passes a write's outcome on, unless it is waiting for longer than it may.
    fn timed_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = false;
            return outcome;
        }
        if !self.stalled {
            self.stalled = true;
            self.write_timer.as_mut().reset(after(self.write_timeout));
        }
        ready!(self.write_timer.as_mut().poll(cx));
        self.activity.miss("write_timeout");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if let Poll::Ready(outcome) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            if this.heads_by_bytes && buffer.filled().len() > before {
                this.activity.bytes_came();
            }
            return Poll::Ready(outcome);
        }
        let Some(deadline) = this.activity.deadline() else {
            return Poll::Pending;
        };
        this.read_timer.as_mut().reset(deadline);
        ready!(this.read_timer.as_mut().poll(cx));
        let hurried = this.activity.phase().hurried;
        this.activity
            .miss(if hurried { "header_timeout" } else { "idle" });
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.timed_write(cx, outcome)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.timed_write(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.timed_write(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.timed_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
