//! `Download`: the answer's body on its way down. It holds the connection, drives it while somebody
//! waits for a frame, and gives it back when the body has ended; dropped earlier, it closes it, which
//! cancels the request upstream.
//!
//! Frames pass as they are, trailers too. A cut shows as an error, so that the client's answer is cut
//! as well.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    error::Chain,
    pool::{Live, Pool},
    timer,
};

/// The body of an answer.
#[derive(Debug)]
pub struct Download {
    body: Incoming,
    /// None once the body has ended or broken.
    lease: Option<Lease>,
    idle: Duration,
    /// Since when somebody waits for a frame.
    waiting: Option<Instant>,
}

#[derive(Debug)]
struct Lease {
    live: Box<Live>,
    /// None if the connection is not to be used again.
    pool: Option<Arc<Pool>>,
}

/// Why an answer has no proper end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The connection broke, or what came is not a body.
    #[error("the upstream's answer broke off: {0}")]
    Broken(Box<str>),
    /// Nothing came for too long.
    #[error("the upstream sent nothing more of its answer for {0:?}")]
    Idle(Duration),
}

impl Download {
    pub(super) fn new(body: Incoming, live: Box<Live>, pool: Option<Arc<Pool>>, idle: Duration) -> Self {
        let mut download = Self { body, lease: Some(Lease { live, pool }), idle, waiting: None };
        // Without a body nobody may ever ask for a frame.
        if download.body.is_end_stream() {
            download.give_back();
        }
        download
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
        self.poll_idle(cx).map(|error| Some(Err(error)))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        let cut = |error: hyper::Error| CutError::Broken(Chain(&error).to_string().into());
        Pin::new(&mut self.body).poll_frame(cx).map_err(cut)
    }

    /// The time runs only while somebody waits: a client that does not read is not the upstream's fault.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<CutError> {
        let Some(lease) = &mut self.lease else { return Poll::Pending };
        let waiting = *self.waiting.get_or_insert_with(Instant::now);
        let deadline = timer::after(waiting, self.idle);
        lease.live.timer.poll(cx, deadline).map(|()| CutError::Idle(self.idle))
    }

    fn give_back(&mut self) {
        if let Some(Lease { live, pool: Some(pool) }) = self.lease.take() {
            pool.give_back(live);
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
        let polled = self.poll_inner(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(_))) => self.lease = None,
            // With a known length, whoever reads may not ask again after the last byte.
            Poll::Ready(Some(Ok(_))) if !self.body.is_end_stream() => self.waiting = None,
            Poll::Ready(Some(Ok(_)) | None) => self.give_back(),
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
