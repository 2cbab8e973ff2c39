//! The response body from the upstream. It holds the connection and drives it while a frame is awaited. At the end of
//! the body the connection returns to the pool. Dropped earlier, it closes the connection, which cancels the request.
//!
//! Frames and trailers pass unchanged. A truncated body is an error, so that the client's response is truncated too. A turn
//! of the task relays a limited number of frames (`turn`).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    counts::StreamGuard,
    error::Chain,
    pool::{Live, Pool},
    timer,
    turn::{self, MAX_FRAMING},
};

/// A response body.
#[derive(Debug)]
pub struct Download {
    body: Incoming,
    /// None once the body has ended or broken.
    lease: Option<Lease>,
    idle: Duration,
    /// The time since which a frame is awaited.
    waiting: Option<Instant>,
    connected_in: Option<Duration>,
}

#[derive(Debug)]
struct Lease {
    live: Box<Live>,
    /// None if the connection must not be reused.
    pool: Option<Arc<Pool>>,
    _stream: StreamGuard,
}

/// Why a response body is truncated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The connection broke, or the body's framing is invalid.
    #[error("the upstream's answer broke off: {0}")]
    Broken(Box<str>),
    /// No bytes came within the idle timeout.
    #[error("the upstream sent nothing more of its answer for {0:?}")]
    Idle(Duration),
}

impl Download {
    pub(super) fn new(
        body: Incoming,
        live: Box<Live>,
        pool: Option<Arc<Pool>>,
        stream: StreamGuard,
        idle: Duration,
    ) -> Self {
        live.watch.framed();
        let lease = Lease { live, pool, _stream: stream };
        let mut download = Self { body, lease: Some(lease), idle, waiting: None, connected_in: None };
        // A response without a body may never be polled.
        if download.body.is_end_stream() {
            download.checkin();
        }
        download
    }

    pub(super) fn with_connect_time(self, connected_in: Option<Duration>) -> Self {
        Self { connected_in, ..self }
    }

    /// The time that the new connection for this request took. None if the connection was in use before.
    pub fn connect_time(&self) -> Option<Duration> {
        self.connected_in
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        if let polled @ Poll::Ready(_) = self.poll_body(cx) {
            return polled;
        }
        let Some(lease) = &mut self.lease else { return Poll::Ready(None) };
        lease.live.drive(cx);
        if let polled @ Poll::Ready(_) = self.poll_body(cx) {
            return polled;
        }
        if self.lease.as_ref().is_some_and(|lease| lease.live.watch.unframed() > MAX_FRAMING) {
            let what = format!("more than {MAX_FRAMING} bytes of framing without content");
            return Poll::Ready(Some(Err(CutError::Broken(what.into()))));
        }
        self.poll_idle(cx).map(|error| Some(Err(error)))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        let cut = |error: hyper::Error| CutError::Broken(Chain(&error).to_string().into());
        Pin::new(&mut self.body).poll_frame(cx).map_err(cut)
    }

    /// The idle timeout runs only while a frame is awaited: a client that does not read is not the upstream's fault.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<CutError> {
        let Some(lease) = &mut self.lease else { return Poll::Pending };
        // A task without budget does not wait for the upstream, but for its own next turn.
        ready!(turn::poll_budget(cx));
        let waiting = *self.waiting.get_or_insert_with(Instant::now);
        let deadline = timer::after(waiting, self.idle);
        lease.live.timer.poll(cx, deadline).map(|()| CutError::Idle(self.idle))
    }

    fn checkin(&mut self) {
        if let Some(Lease { live, pool: Some(pool), .. }) = self.lease.take() {
            pool.checkin(live);
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = CutError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        if self.lease.is_none() {
            return Poll::Ready(None);
        }
        ready!(turn::poll_frame(cx));
        let polled = self.poll_inner(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(_))) => self.lease = None,
            // With a known length, the reader may not poll again after the last byte.
            Poll::Ready(Some(Ok(_))) if !self.body.is_end_stream() => {
                self.waiting = None;
                self.lease.iter().for_each(|lease| lease.live.watch.framed());
            }
            Poll::Ready(Some(Ok(_)) | None) => self.checkin(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
