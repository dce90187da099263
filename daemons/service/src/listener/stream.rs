//! Bodies that are too large for memory: passed to the handler as they arrive, for the routes that ask for it.
//!
//! A streamed request takes a fixed piece of the memory for bodies for as long as it lasts, its answer included, so that
//! streams are bounded in all and per peer as other bodies are. It must keep up a least rate, below a greatest size.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, http::Uri, response::Response};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{io::UnderWay, memory::Held};
use crate::limits as bounds;

/// Which requests are streamed, and how much of them.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    /// Whether the body of a request to this URI goes to the handler as it arrives.
    pub is_streamed: fn(&Uri) -> bool,
    /// Greatest body of such a request.
    pub bytes: u64,
    /// Greatest time of such a request, its answer included.
    pub time: Duration,
}

/// In the extensions of a streamed request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streamed(pub(super) Duration);

/// What ends a streamed body before its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StreamFault {
    /// It is larger than allowed.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// It came too slowly.
    #[error("the body came too slowly")]
    TooSlow,
    /// It broke off, or was not framed as announced.
    #[error("the body broke off or was not framed as announced")]
    Broken,
}

/// A body as it arrives, bounded.
pub(super) struct StreamedBody {
    body: Incoming,
    left: u64,
    received: u64,
    began: Instant,
    grace: Duration,
    timer: Pin<Box<Sleep>>,
}

impl StreamedBody {
    pub(super) fn new(body: Incoming, bytes: u64, grace: Duration) -> Self {
        let began = Instant::now();
        Self {
            body,
            left: bytes,
            received: 0,
            began,
            grace,
            timer: Box::pin(tokio::time::sleep_until(began + grace)),
        }
    }

    /// When more must have come: what came bought time.
    fn deadline(&self) -> Instant {
        self.began + self.grace + Duration::from_secs(self.received / bounds::STREAM_RATE)
    }
}

impl HttpBody for StreamedBody {
    type Data = Bytes;
    type Error = StreamFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(left) = this.left.checked_sub(bytes) else {
                    return Poll::Ready(Some(Err(StreamFault::TooLarge)));
                };
                this.left = left;
                this.received = this.received.saturating_add(bytes);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(StreamFault::Broken))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let deadline = this.deadline();
                if this.timer.deadline() != deadline {
                    this.timer.as_mut().reset(deadline);
                }
                ready!(this.timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(StreamFault::TooSlow)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a streamed request holds until its answer has left.
pub(super) struct Holds {
    pub(super) _under_way: UnderWay,
    pub(super) _memory: Held,
}

/// An answer's body that ends in time, and what is held until then.
struct Answer {
    body: Body,
    timer: Pin<Box<Sleep>>,
    holds: Option<Holds>,
}

/// Lets `response` hold on to what its request took.
pub(super) fn holding(response: Response, holds: Holds, time: Duration) -> Response {
    response.map(|body| {
        Body::new(Answer {
            body,
            timer: Box::pin(tokio::time::sleep(time)),
            holds: Some(holds),
        })
    })
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match frame {
            Poll::Pending => {
                ready!(self.timer.as_mut().poll(cx));
                self.holds = None;
                Poll::Ready(Some(Err(axum::Error::new(StreamFault::TooSlow))))
            }
            Poll::Ready(None | Some(Err(_))) => {
                self.holds = None;
                frame
            }
            Poll::Ready(Some(Ok(_))) => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
