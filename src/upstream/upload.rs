//! The request body to the upstream. It enforces a size limit, drops trailers, and records its last progress and its
//! failure, so that a client's fault is not blamed on the upstream.
//!
//! Frames pass unchanged and at once; nothing is buffered, unless a body is to be changed or hashed (`read_ahead`). A small body can be
//! copied while it is sent, for one retry. A turn of the task relays a limited number of frames (`turn`).

mod read_ahead;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::Instant;

use self::read_ahead::Ahead;
pub(super) use self::read_ahead::Budget;
pub use self::read_ahead::{ReadAhead, ReadChecked};
use super::turn;
use crate::admission::BodyReads;

/// The largest body that is copied for a retry, in bytes.
pub const MAX_KEPT: usize = 64 * 1024;

/// Sees a body pass. It changes nothing, and never waits.
pub trait Tap: fmt::Debug + Send + Sync {
    /// The next bytes.
    fn data(&self, data: &[u8]);

    /// The whole body has passed.
    fn end(&self);
}

/// Checks a body while it passes. A body that it refuses is cut before its end, so that the upstream never has all of it.
pub trait BodyCheck: fmt::Debug + Send {
    /// The next bytes. False refuses the body.
    fn data(&mut self, data: &[u8]) -> bool;

    /// The end of the body. False refuses it.
    fn end(&mut self) -> bool;

    /// True if nothing has to be read ahead any more.
    fn is_satisfied(&self) -> bool;
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request.
pub struct Upload {
    /// What was read of the source already, and comes first. Boxed, since it is rare.
    ahead: Option<Box<Ahead>>,
    source: Source,
    limit: u64,
    /// None if there is nothing to watch: no body, or one that is complete in memory.
    progress: Option<Progress>,
    /// None once the body has ended, too.
    tap: Option<Arc<dyn Tap>>,
}

enum Source {
    Empty,
    Kept(Bytes),
    /// A client's body, and the counters of the bytes that its connection has read.
    Client(Incoming, Arc<BodyReads>),
    Other(UnsyncBoxBody<Bytes, BoxError>),
}

/// Why an upload broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// It exceeded its limit.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The check of the body refused it.
    #[error("the body is refused")]
    Refused,
    /// The client's connection broke, or it sent framing without content.
    #[error("the client's body broke off")]
    Broken,
}

/// Watches an [`Upload`] that has been sent.
#[derive(Debug, Clone)]
pub struct UploadWatch(Progress);

#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    bytes: u64,
    moved: Instant,
    /// True if the upstream is ready for more and the client has not sent it.
    starved: bool,
    ended: bool,
    failure: Option<UploadError>,
    rest: Option<Incoming>,
    /// The copy of the bytes sent so far. None if no copy was requested or the body was too large.
    kept: Option<Vec<u8>>,
    /// None once the body has ended.
    check: Option<Box<dyn BodyCheck>>,
}

impl Upload {
    /// No body.
    pub fn empty() -> Self {
        Self { ahead: None, source: Source::Empty, limit: 0, progress: None, tap: None }
    }

    /// A body that is complete in memory.
    pub fn kept(body: Bytes) -> Self {
        if body.is_empty() {
            return Self::empty();
        }
        let (limit, source) = (body.len() as u64, Source::Kept(body));
        Self { ahead: None, limit, source, progress: None, tap: None }
    }

    /// A client's body of at most `limit` bytes. `reads` counts the bytes that its connection reads.
    pub fn incoming(body: Incoming, limit: u64, reads: Arc<BodyReads>) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        reads.unframed.store(0, Ordering::Relaxed);
        Self {
            ahead: None,
            source: Source::Client(body, reads),
            limit,
            progress: Some(Progress::new()),
            tap: None,
        }
    }

    /// Any other body of at most `limit` bytes.
    pub fn other<B>(body: B, limit: u64) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let body = body.map_err(Into::into).boxed_unsync();
        let (source, progress) = (Source::Other(body), Some(Progress::new()));
        Self { ahead: None, source, limit, progress, tap: None }
    }

    /// The same body; a copy is kept while it has at most [`MAX_KEPT`] bytes.
    #[must_use]
    pub fn keep(self) -> Self {
        let small = self.size_hint().lower() <= MAX_KEPT as u64;
        if let Some(progress) = self.progress.as_ref().filter(|_| small) {
            progress.lock().kept = Some(Vec::new());
        }
        self
    }

    /// The same body, with a tap that sees it pass.
    #[must_use]
    pub fn tapped(mut self, tap: Option<Arc<dyn Tap>>) -> Self {
        self.tap = tap;
        self
    }

    /// The same body, with a check of all of it. Nothing of it may have been read. There is nothing to check of one that is empty.
    #[must_use]
    pub fn checked(self, check: Box<dyn BodyCheck>) -> Self {
        if let Some(progress) = &self.progress {
            progress.lock().check = Some(check);
        }
        self
    }

    /// A handle to watch the upload after it was handed over. None if it is empty or complete in memory.
    pub fn watch(&self) -> Option<UploadWatch> {
        self.progress().map(UploadWatch)
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        self.progress.clone()
    }

    /// The size, if the client announced one.
    pub fn size(&self) -> Option<u64> {
        self.exact_size()
    }

    /// The size, if the client announced one.
    pub(super) fn exact_size(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Fails if the announced size exceeds the limit.
    pub(super) fn check_size(&self) -> Result<(), UploadError> {
        if self.size_hint().lower() > self.limit {
            return Err(self.fail(UploadError::TooLarge { limit: self.limit }));
        }
        Ok(())
    }

    /// The next frame, within the task's turn.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        ready!(turn::poll_frame(cx));
        if let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.len() > 0) {
            return Poll::Ready(Some(Ok(Frame::data(ahead.piece()))));
        }
        self.ahead = None;
        let polled = self.poll_source(cx);
        if polled.is_pending() && self.source.floods() {
            // Without a rest to read, the client's connection ends with the response.
            self.source = Source::Empty;
            return Poll::Ready(Some(Err(self.fail(UploadError::Broken))));
        }
        if let (Poll::Pending, Some(progress)) = (&polled, &self.progress) {
            progress.lock().starved = true;
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) if !self.passes(&frame) => {
                self.source = Source::Empty;
                Poll::Ready(Some(Err(self.fail(UploadError::Refused))))
            }
            Poll::Ready(None) if !self.ends_well() => Poll::Ready(Some(Err(self.fail(UploadError::Refused)))),
            polled => polled.map_err(|_| self.fail(UploadError::Broken)),
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Kept(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Client(body, reads) => {
                let polled = Pin::new(body).poll_frame(cx);
                if let Poll::Ready(frame) = &polled {
                    let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                    reads.add_frame(data.map_or(0, Bytes::len));
                }
                polled.map_err(Into::into)
            }
            Source::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }

    /// True if the check lets a frame pass, and the end of the body if nothing follows.
    fn passes(&self, frame: &Frame<Bytes>) -> bool {
        let Some(progress) = &self.progress else { return true };
        let lets_data = match (&mut progress.lock().check, frame.data_ref()) {
            (Some(check), Some(data)) => check.data(data),
            (None, _) | (_, None) => true,
        };
        lets_data && (!self.source.is_end_stream() || self.ends_well())
    }

    /// True if the check lets the end of the body pass.
    fn ends_well(&self) -> bool {
        let check = self.progress.as_ref().and_then(|progress| progress.lock().check.take());
        check.is_none_or(|mut check| check.end())
    }

    /// True if the check needs more of the body.
    fn is_checking(&self) -> bool {
        let is_checking =
            |progress: &Progress| progress.lock().check.as_ref().is_some_and(|check| !check.is_satisfied());
        self.progress.as_ref().is_some_and(is_checking)
    }

    fn end(&mut self) {
        self.source = Source::Empty;
        if let Some(progress) = &self.progress {
            progress.lock().ended = true;
        }
        if let Some(tap) = self.tap.take() {
            tap.end();
        }
    }

    fn fail(&self, error: UploadError) -> UploadError {
        if let Some(progress) = &self.progress {
            progress.lock().failure = Some(error);
        }
        error
    }

    fn count(&mut self, data: Bytes) -> Result<Frame<Bytes>, UploadError> {
        let Some(progress) = &self.progress else {
            self.source = Source::Empty;
            return Ok(Frame::data(data));
        };
        let total = progress.advance(&data);
        if total > self.limit {
            return Err(self.fail(UploadError::TooLarge { limit: self.limit }));
        }
        if let Some(tap) = &self.tap {
            tap.data(&data);
        }
        if self.is_end_stream() {
            self.end();
        }
        Ok(Frame::data(data))
    }
}

impl Source {
    /// True if the client sends framing and no content.
    fn floods(&self) -> bool {
        match self {
            Self::Client(_, reads) => reads.unframed.load(Ordering::Relaxed) > turn::MAX_FRAMING,
            Self::Empty | Self::Kept(_) | Self::Other(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Kept(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Client(body, _) => body.size_hint(),
            Self::Other(body) => body.size_hint(),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept(bytes) => bytes.is_empty(),
            Self::Client(body, _) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let frame = ready!(self.poll_next(cx)).transpose()?;
        // Trailers come last. They are not sent upstream.
        let data = frame.and_then(|frame| frame.into_data().ok());
        if data.is_none() {
            self.end();
        }
        Poll::Ready(data.map(|data| self.count(data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.as_ref().is_none_or(|ahead| ahead.len() == 0) && self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.as_ref().map_or(0, |ahead| ahead.len() as u64);
        let left = self.source.size_hint();
        let mut all = SizeHint::new();
        all.set_lower(left.lower().saturating_add(ahead));
        if let Some(upper) = left.upper() {
            all.set_upper(upper.saturating_add(ahead));
        }
        all
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Source::Client(..), Some(progress)) = (&self.source, &self.progress)
            && let Source::Client(body, _) = std::mem::replace(&mut self.source, Source::Empty)
        {
            progress.lock().rest = Some(body);
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upload").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Progress {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            bytes: 0,
            moved: Instant::now(),
            starved: false,
            ended: false,
            failure: None,
            rest: None,
            kept: None,
            check: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, data: &[u8]) -> u64 {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_add(data.len() as u64);
        if state.bytes > MAX_KEPT as u64 {
            state.kept = None;
        } else if let Some(kept) = &mut state.kept {
            kept.extend_from_slice(data);
        }
        state.moved = Instant::now();
        state.starved = false;
        state.bytes
    }

    /// Time of the last progress.
    pub(super) fn moved(&self) -> Instant {
        self.lock().moved
    }

    /// True if the upstream waits for the client, and not the client for the upstream.
    pub(super) fn is_starved(&self) -> bool {
        let state = self.lock();
        state.starved && !state.ended
    }

    pub(super) fn failure(&self) -> Option<UploadError> {
        self.lock().failure
    }
}

impl UploadWatch {
    /// Bytes sent upstream so far.
    pub fn bytes(&self) -> u64 {
        self.0.lock().bytes
    }

    /// The failure; none if it has not failed.
    pub fn failure(&self) -> Option<UploadError> {
        self.0.failure()
    }

    /// The copy of the body, if all of it was sent and it was small enough.
    pub fn take_kept(&self) -> Option<Bytes> {
        let mut state = self.0.lock();
        let kept = state.kept.take().filter(|_| state.ended && state.failure.is_none());
        kept.map(Bytes::from)
    }

    /// The unread rest of a client's body after an early response. It has to be read, or else the client may not see
    /// that response.
    pub fn take_rest(&self) -> Option<Incoming> {
        self.0.lock().rest.take()
    }
}
