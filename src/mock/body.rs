//! Response bodies: one chunk, or a paced stream of events. Either may be truncated.
//!
//! A truncated body sets the connection's `AbortHandle` and stays pending. It must not end early: hyper would then
//! complete the message.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{
    abort::{Abort, AbortHandle},
    answers::Events,
    behaviour::Ending,
    counts::Guard,
};

/// A response body.
pub(super) struct Body {
    source: Source,
    limit: Option<Limit>,
    trailers: Option<Box<HeaderMap>>,
    guard: Guard,
}

/// The truncation point of a body.
pub(super) struct Limit {
    /// Bytes left to send.
    pub(super) left: u64,
    pub(super) ending: Ending,
    pub(super) abort: AbortHandle,
}

enum Source {
    Whole(Bytes),
    Stream(Box<Stream>),
    End,
}

struct Stream {
    events: Events,
    stage: Stage,
    interval: Duration,
    pace: Option<Pin<Box<Sleep>>>,
}

enum Stage {
    Head,
    Delta(u32),
    Tail,
    End,
}

impl Body {
    pub(super) fn whole(bytes: Bytes, guard: Guard) -> Self {
        Self { source: Source::Whole(bytes), limit: None, trailers: None, guard }
    }

    pub(super) fn stream(events: Events, interval: Duration, guard: Guard) -> Self {
        let stream = Stream { events, stage: Stage::Head, interval, pace: None };
        Self { source: Source::Stream(Box::new(stream)), limit: None, trailers: None, guard }
    }

    /// For a response to HEAD, or a status without a body: only the head is sent.
    pub(super) fn head_only(mut self) -> Self {
        self.guard.finish();
        self
    }

    pub(super) fn truncated_at(self, limit: Option<Limit>) -> Self {
        Self { limit, ..self }
    }

    pub(super) fn with_trailers(self, trailers: Option<Box<HeaderMap>>) -> Self {
        Self { trailers, ..self }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(limit) = &this.limit
            && limit.left == 0
        {
            limit.stop(&mut this.guard);
            return Poll::Pending;
        }
        let chunk = ready!(this.source.poll_next(cx));
        let Some(chunk) = chunk else {
            this.guard.finish();
            return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))));
        };
        let sent = this.limit.as_mut().map_or_else(|| chunk.clone(), |limit| limit.take(&chunk));
        // hyper does not poll a body of known length again after its last byte.
        if this.source.is_done() && sent.len() == chunk.len() {
            this.guard.finish();
        }
        Poll::Ready(Some(Ok(Frame::data(sent))))
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_done() && self.trailers.is_none() && self.limit.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) if self.trailers.is_none() => SizeHint::with_exact(bytes.len() as u64),
            Source::Whole(_) | Source::Stream(_) | Source::End => SizeHint::default(),
        }
    }
}

impl Limit {
    fn take(&mut self, chunk: &Bytes) -> Bytes {
        let size = usize::try_from(self.left).unwrap_or(usize::MAX).min(chunk.len());
        self.left -= size as u64;
        chunk.slice(..size)
    }

    fn stop(&self, guard: &mut Guard) {
        stop(self.ending, &self.abort, guard);
    }
}

/// Ends a response early. The caller must stay pending. A hanging response ends when the client closes.
pub(super) fn stop(ending: Ending, abort: &AbortHandle, guard: &mut Guard) {
    match ending {
        Ending::Cut => abort.set(Abort::Close),
        Ending::Reset => abort.set(Abort::Reset),
        Ending::Hang => return,
    }
    guard.finish();
}

impl Source {
    fn is_done(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(stream) => matches!(stream.stage, Stage::End),
            Self::End => true,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self {
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::End;
                Poll::Ready(Some(bytes).filter(|bytes| !bytes.is_empty()))
            }
            Self::Stream(stream) => stream.poll_next(cx),
            Self::End => Poll::Ready(None),
        }
    }
}

impl Stream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let after = |next: u32, count: u32| if next < count { Stage::Delta(next) } else { Stage::Tail };
        let chunk = match self.stage {
            Stage::Head => {
                self.stage = after(0, self.events.count);
                self.events.head.clone()
            }
            Stage::Delta(number) => {
                ready!(self.poll_pace(cx));
                self.stage = after(number + 1, self.events.count);
                self.events.delta.number(number)
            }
            Stage::Tail => {
                self.stage = Stage::End;
                self.events.tail.clone()
            }
            Stage::End => return Poll::Ready(None),
        };
        Poll::Ready(Some(chunk))
    }

    /// Waits for the interval. One timer at a fixed rate serves the whole stream.
    fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.interval.is_zero() {
            return Poll::Ready(());
        }
        let interval = self.interval;
        let pace = self.pace.get_or_insert_with(|| Box::pin(tokio::time::sleep(interval)));
        ready!(pace.as_mut().poll(cx));
        let next = (pace.deadline() + interval).max(Instant::now());
        pace.as_mut().reset(next);
        Poll::Ready(())
    }
}
