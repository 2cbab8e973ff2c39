//! The body of a response on its way to the client, and the rest of a request's body after an early response.
//!
//! It guarantees: frames pass as they are, at once, unless an event is to be taken out (`asking`); nothing is read ahead of a client that stalls, beyond a few KiB; every
//! read of a rest is bounded in bytes and time.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Worker,
    asking::{Extra, Next},
    context::AccessRecordGuard,
    events::Events,
    staged_close::{BOUNDS, Bounds},
};
use crate::{
    access_record::End,
    admission::ClientConnection,
    fault::{Fault, FaultKind},
    rewrite,
    upstream::{CutError, Download, UploadWatch},
};

/// The most that is read of a request's body after an early response for the next request, in bytes.
const REST_BYTES: u64 = 1 << 20;
/// The longest time that it is read.
const REST_TIME: Duration = Duration::from_secs(2);
/// Those bounds.
const REST: Bounds = Bounds { bytes: REST_BYTES, time: REST_TIME, pause: REST_TIME, at_stop: REST_TIME };

/// Frames up to this size are copied. Each holds the whole buffer that it was read into, of which it is a small part; a
/// client that stalls would hold one buffer for each event.
const SMALL_FRAME: usize = 2 << 10;
/// The least memory that any other frame holds: the smallest buffer that an upstream is read into.
const MIN_BUFFER: usize = 8 << 10;

/// The longest time that the body of an API call may take.
const CALL_TIME: Duration = Duration::from_secs(10);

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// Nothing, or bytes of our own.
    Own(Option<Bytes>, Option<AccessRecordGuard>),
    /// The body of an upstream's response.
    Relay(Box<Relay>),
    /// Events of our own.
    Events(Box<Events>),
}

/// The body of an upstream's response on its way.
#[derive(Debug)]
pub struct Relay {
    download: Download,
    /// Takes events out of it, where the request was changed to ask for them.
    extra: Option<Box<Extra>>,
    trailers: bool,
    /// The request's body, if it may still be coming.
    watch: Option<UploadWatch>,
    /// Reads the rest of that.
    worker: Arc<Worker>,
    /// The client's connection, whose pace the upstream is read at.
    connection: Arc<ClientConnection>,
    guard: Option<AccessRecordGuard>,
    /// Why it was cut. hyper gets this once all that came before is written.
    cut: Option<CutError>,
}

impl Relay {
    fn end(&mut self, cut: Option<&CutError>) {
        read_rest_of(&self.worker, self.watch.take(), &self.connection);
        match (self.guard.take(), cut) {
            (Some(guard), Some(error)) => guard.cut(error),
            (Some(guard), None) => guard.end(End::Complete),
            (None, _) => {}
        }
    }
}

impl Body {
    /// Our own bytes.
    pub(super) fn own(bytes: impl Into<Bytes>) -> Self {
        Self::Own(Some(bytes.into()), None)
    }

    /// The body of an upstream's response. `trailers`: whether the client takes them.
    pub(super) fn relay(
        download: Download,
        extra: Option<Box<Extra>>,
        trailers: bool,
        watch: Option<UploadWatch>,
        worker: Arc<Worker>,
        connection: Arc<ClientConnection>,
    ) -> Self {
        let (guard, cut) = (None, None);
        Self::Relay(Box::new(Relay { download, extra, trailers, watch, worker, connection, guard, cut }))
    }

    /// No bytes.
    pub(super) fn empty() -> Self {
        Self::Own(None, None)
    }

    /// Passes the access record on, to be emitted at the end of the body.
    pub(super) fn set_guard(&mut self, new: AccessRecordGuard) {
        match self {
            Self::Own(None, _) => new.end(End::Complete),
            Self::Own(Some(_), guard) => *guard = Some(new),
            Self::Relay(relay) if relay.download.is_end_stream() => {
                relay.guard = Some(new);
                relay.end(None);
            }
            Self::Relay(relay) => relay.guard = Some(new),
            Self::Events(events) => events.guard = Some(new),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = CutError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        match self.get_mut() {
            Self::Own(bytes, guard) => {
                let Some(bytes) = bytes.take() else { return Poll::Ready(None) };
                if let Some(mut guard) = guard.take() {
                    guard.pass(&bytes);
                    guard.end(End::Complete);
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Relay(relay) => relay.poll(cx),
            Self::Events(events) => events.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes, _) => bytes.is_none(),
            Self::Relay(relay) => relay.cut.is_none() && relay.is_at_end(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            // The size is not known while events are taken out.
            Self::Relay(relay) if relay.extra.is_some() => SizeHint::default(),
            Self::Events(_) => SizeHint::default(),
            Self::Relay(relay) => relay.download.size_hint(),
        }
    }
}

impl Relay {
    /// Counts the memory that a frame holds until it is written; small frames are copied, and hold no more than their size.
    fn hand_on(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Some(data) = frame.data_ref() else { return frame };
        if data.len() > SMALL_FRAME {
            self.connection.add_unwritten(data.len().max(MIN_BUFFER));
            return frame;
        }
        self.connection.add_unwritten(data.len());
        Frame::data(Bytes::copy_from_slice(data))
    }

    /// True if nothing follows.
    fn is_at_end(&self) -> bool {
        self.extra.as_ref().is_none_or(|extra| !extra.has_more()) && self.download.is_end_stream()
    }

    /// The next part that passes. The meter sees all parts.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Some(late) = self.extra.as_mut().and_then(|extra| extra.take_late()) {
            return Poll::Ready(late);
        }
        loop {
            let next = std::task::ready!(Pin::new(&mut self.download).poll_frame(cx));
            if let (Some(Ok(frame)), Some(guard)) = (&next, &self.guard)
                && let Some(data) = frame.data_ref()
            {
                guard.meter(data);
            }
            let ends = self.download.is_end_stream();
            let Some(extra) = &mut self.extra else { return Poll::Ready(next) };
            if let Some(passed) = extra.pass(next, ends) {
                return Poll::Ready(passed);
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        if let Some(error) = self.cut.take() {
            return Poll::Ready(Some(Err(error)));
        }
        std::task::ready!(self.connection.poll_read_ahead(cx));
        loop {
            match std::task::ready!(self.poll_next(cx)) {
                Some(Ok(frame)) => {
                    if let (Some(data), Some(guard)) = (frame.data_ref(), &mut self.guard) {
                        guard.pass(data);
                    }
                    let unwanted = frame.is_trailers() && !self.trailers;
                    let frame = match frame.into_trailers() {
                        Ok(trailers) => Frame::trailers(rewrite::trailers(&trailers)),
                        Err(frame) => frame,
                    };
                    // With a known length, hyper may not poll again after the last byte.
                    if self.is_at_end() {
                        self.end(None);
                    }
                    if !unwanted {
                        return Poll::Ready(Some(Ok(self.hand_on(frame))));
                    }
                }
                Some(Err(error)) => {
                    self.end(Some(&error));
                    // Once a body fails, hyper drops what it has not written yet, the head too. While the body
                    // is pending, it writes that first.
                    self.cut = Some(error);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    self.end(None);
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// The whole body of an API call, of at most `limit` bytes. On a fault, the rest stays in `incoming`.
pub(super) async fn collect(incoming: &mut Option<Incoming>, limit: usize) -> Result<Bytes, Fault> {
    let too_large =
        || Fault::new(FaultKind::BodyTooLarge, format!("The request's body is larger than {limit} bytes"));
    let Some(body) = incoming else { return Ok(Bytes::new()) };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let all = async {
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let broken = |_| Fault::new(FaultKind::MalformedRequest, "The request's body broke off");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if all.len() + data.len() > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    };
    let slow = |_| Fault::new(FaultKind::BodyTimeout, "The request's body did not arrive in time");
    let all = timeout(CALL_TIME, all).await.map_err(slow)??;
    *incoming = None;
    Ok(all)
}

/// False if the rest of a request's body is too large to be read for the next request on its connection.
pub(super) fn is_short(rest: &Incoming) -> bool {
    rest.size_hint().lower() <= REST_BYTES
}

/// Reads the rest of a request's body after an early response, within bounds, so that the connection can go on. Beyond
/// them, it ends: `staged_close` then sees to it that the client gets the response. Over HTTP/2 the stream is
/// reset instead, which makes many clients lose the response: the rest has the bounds of that close.
pub(super) fn read_rest(worker: &Arc<Worker>, rest: Incoming, connection: Arc<ClientConnection>) {
    if !rest.is_end_stream() {
        connection.begin_rest();
        let bounds = if connection.is_stream() { BOUNDS } else { REST };
        worker.tasks.spawn(discard(bounds, rest, connection, worker.stop.clone()));
    }
}

/// The same for the rest that an upload gave back.
pub(super) fn read_rest_of(
    worker: &Arc<Worker>,
    upload: Option<UploadWatch>,
    connection: &Arc<ClientConnection>,
) {
    if let Some(rest) = upload.and_then(|upload| upload.take_rest()) {
        read_rest(worker, rest, connection.clone());
    }
}

async fn discard(
    bounds: Bounds,
    mut rest: Incoming,
    connection: Arc<ClientConnection>,
    stop: CancellationToken,
) {
    let mut left = bounds.bytes;
    let all = async {
        while let Ok(Some(Ok(frame))) = timeout(bounds.pause, rest.frame()).await {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(bytes) {
                Some(fewer) => left = fewer,
                None => return,
            }
            // Frames without content count as bytes without a request.
            if bytes > 0 {
                connection.reads().discarded();
            }
        }
    };
    // After its bounds the connection is closed, or the stream reset, and there is nothing to report.
    tokio::select! {
        () = all => {}
        () = sleep(bounds.time) => {}
        () = async { stop.cancelled().await; sleep(bounds.at_stop).await } => {}
    }
    connection.end_rest();
}
