//! `Upload`: the request's body on its way up. It counts against a limit, drops trailers, and notes
//! when it last moved and why it broke, so that a client's fault is not taken for the upstream's.
//!
//! Frames pass as they are, and at once; nothing is held back. A small body can be copied on its way, so
//! that it can be sent again.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::Instant;

/// The largest body that is kept, in bytes.
pub const MAX_KEPT: usize = 64 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request.
pub struct Upload {
    source: Source,
    limit: u64,
    /// None where there is nothing to watch: without a body, or with one that is at hand.
    progress: Option<Progress>,
}

enum Source {
    Empty,
    Kept(Bytes),
    Client(Incoming),
    Other(UnsyncBoxBody<Bytes, BoxError>),
}

/// Why an upload broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// It was larger than allowed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes allowed.
        limit: u64,
    },
    /// The client's side broke.
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
    /// Whether the upstream would take more, but the client has not sent it.
    starved: bool,
    ended: bool,
    failure: Option<UploadError>,
    rest: Option<Incoming>,
    /// What has gone up so far; none if nobody asked for it, or if it was too much.
    kept: Option<Vec<u8>>,
}

impl Upload {
    /// No body.
    pub fn empty() -> Self {
        Self { source: Source::Empty, limit: 0, progress: None }
    }

    /// A body that is at hand.
    pub fn kept(body: Bytes) -> Self {
        if body.is_empty() {
            return Self::empty();
        }
        Self { limit: body.len() as u64, source: Source::Kept(body), progress: None }
    }

    /// A client's body of at most `limit` bytes.
    pub fn incoming(body: Incoming, limit: u64) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self { source: Source::Client(body), limit, progress: Some(Progress::new()) }
    }

    /// Any other body of at most `limit` bytes.
    pub fn other<B>(body: B, limit: u64) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let body = body.map_err(Into::into).boxed_unsync();
        Self { source: Source::Other(body), limit, progress: Some(Progress::new()) }
    }

    /// The same body, of which a copy is kept beside it, as long as it has at most [`MAX_KEPT`] bytes.
    #[must_use]
    pub fn keep(self) -> Self {
        let small = self.size_hint().lower() <= MAX_KEPT as u64;
        if let Some(progress) = self.progress.as_ref().filter(|_| small) {
            progress.lock().kept = Some(Vec::new());
        }
        self
    }

    /// A way to look after the upload once it has been sent; none if it is empty or was at hand.
    pub fn watch(&self) -> Option<UploadWatch> {
        self.progress().map(UploadWatch)
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        self.progress.clone()
    }

    /// The size, if the client announced one.
    pub(super) fn exact_size(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Whether it announces more than is allowed.
    pub(super) fn check_size(&self) -> Result<(), UploadError> {
        if self.size_hint().lower() > self.limit {
            return Err(self.fail(UploadError::TooLarge { limit: self.limit }));
        }
        Ok(())
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Kept(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Client(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Source::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn end(&mut self) {
        self.source = Source::Empty;
        if let Some(progress) = &self.progress {
            progress.lock().ended = true;
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
        if self.source.is_end_stream() {
            self.end();
        }
        Ok(Frame::data(data))
    }
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept(bytes) => bytes.is_empty(),
            Self::Client(body) => body.is_end_stream(),
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
        let polled = self.poll_source(cx);
        if let (Poll::Pending, Some(progress)) = (&polled, &self.progress) {
            progress.lock().starved = true;
        }
        match ready!(polled).map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => Poll::Ready(Some(self.count(data))),
            // Trailers come last, and stop here.
            Some(Ok(Err(_))) | None => {
                self.end();
                Poll::Ready(None)
            }
            Some(Err(_)) => Poll::Ready(Some(Err(self.fail(UploadError::Broken)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Kept(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Client(body) => body.size_hint(),
            Source::Other(body) => body.size_hint(),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Source::Client(_), Some(progress)) = (&self.source, &self.progress)
            && let Source::Client(body) = std::mem::replace(&mut self.source, Source::Empty)
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

    /// When the upload last moved.
    pub(super) fn moved(&self) -> Instant {
        self.lock().moved
    }

    /// Whether the upstream waits for the client, not the other way round.
    pub(super) fn is_starved(&self) -> bool {
        let state = self.lock();
        state.starved && !state.ended
    }

    pub(super) fn failure(&self) -> Option<UploadError> {
        self.lock().failure
    }
}

impl UploadWatch {
    /// How many bytes have gone up.
    pub fn bytes(&self) -> u64 {
        self.0.lock().bytes
    }

    /// Why the upload broke off, if it did.
    pub fn failure(&self) -> Option<UploadError> {
        self.0.failure()
    }

    /// The copy of a body that was to be kept, if all of it has gone up, and it was small enough.
    pub fn take_kept(&self) -> Option<Bytes> {
        let mut state = self.0.lock();
        let kept = state.kept.take().filter(|_| state.ended && state.failure.is_none());
        kept.map(Bytes::from)
    }

    /// What the upstream left of a client's body when its connection was let go, so that it can be
    /// read to the end and the client sees an early answer.
    pub fn take_rest(&self) -> Option<Incoming> {
        self.0.lock().rest.take()
    }
}
