//! The requests of one HTTP/2 connection: their tasks, what each of them counts as, and what a client may cancel.
//!
//! It guarantees: the first request at a time has the place of its connection, and each further one takes a place as a
//! connection of its own would; the task of a request ends when the client takes nothing of its response for too long; a
//! client that begins and cancels requests without end loses its connection. The task of a request is on the worker's
//! tracker. A connection is idle once no request is running, and the library holds nothing of a response that a limit of
//! requests was needed for.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::Notify,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::task::TaskTracker;

use crate::{
    admission::{Admission, Admitted, Arrival, Cause, ClientConnection},
    gateway::Body,
};

/// Requests that a client may cancel at once: those of a full connection, twice.
const CANCELS: u32 = 2 * super::http2::MAX_STREAMS;
/// The time after which it may cancel one more (CVE-2023-44487).
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    connection: Arc<ClientConnection>,
    admission: Arc<Admission>,
    arrival: Arrival,
    counts: Mutex<Counts>,
    changed: Notify,
    /// Bytes that the socket took.
    written: AtomicU64,
}

#[derive(Debug)]
struct Counts {
    running: usize,
    /// Pieces of responses that the library holds.
    unsent: usize,
    ended: u64,
    /// The time since which none is running, and nothing is unsent.
    idle_since: Instant,
    cancels: Allowance,
}

impl Counts {
    fn is_idle(&self) -> bool {
        self.running == 0 && self.unsent == 0
    }
}

/// The cancelled requests that are left to a client.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self { left: CANCELS, since: Instant::now() }
    }

    /// Takes one. False if none was left.
    fn take(&mut self, now: Instant) -> bool {
        let more = now.saturating_duration_since(self.since).as_millis() / CANCEL_INTERVAL.as_millis();
        if more > 0 {
            self.left = self.left.saturating_add(u32::try_from(more).unwrap_or(CANCELS)).min(CANCELS);
            self.since = now;
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

impl Streams {
    pub(super) fn new(
        connection: Arc<ClientConnection>,
        admission: Arc<Admission>,
        arrival: Arrival,
    ) -> Arc<Self> {
        let counts =
            Counts { running: 0, unsent: 0, ended: 0, idle_since: Instant::now(), cancels: Allowance::new() };
        let (counts, changed) = (Mutex::new(counts), Notify::new());
        Arc::new(Self { connection, admission, arrival, counts, changed, written: AtomicU64::new(0) })
    }

    /// A request has begun.
    pub(super) fn begin(self: &Arc<Self>) -> Stream {
        let is_first = {
            let mut counts = self.counts();
            counts.running += 1;
            counts.running == 1
        };
        self.connection.progress();
        let (connection, place) = if is_first {
            self.connection.begin_request();
            (self.connection.stream(None), None)
        } else if let Some(place) = self.admission.stream(self.arrival, &self.connection) {
            (Arc::clone(&place.connection), Some(place))
        } else {
            (self.connection.stream(Some(Cause::Connections)), None)
        };
        connection.begin_request();
        let response = Arc::new(ResponseState::default());
        Stream { streams: Arc::clone(self), connection, response, _place: place }
    }

    fn end(&self, is_cancelled: bool) {
        let mut counts = self.counts();
        let now = Instant::now();
        let is_over = is_cancelled && !counts.cancels.take(now);
        counts.running -= 1;
        counts.ended += 1;
        self.note_idle(counts, now);
        if is_over || self.connection.refusal().is_some() {
            self.changed.notify_one();
        }
    }

    /// The library holds one more piece of a response.
    fn hold(self: &Arc<Self>) -> Unsent {
        self.counts().unsent += 1;
        Unsent(Arc::clone(self))
    }

    /// The connection is idle if nothing is left.
    fn note_idle(&self, mut counts: MutexGuard<'_, Counts>, now: Instant) {
        if counts.is_idle() {
            counts.idle_since = now;
            drop(counts);
            self.connection.end_requests();
        }
    }

    /// The time since which no request is running, and nothing of a response waits for the client.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let counts = self.counts();
        counts.is_idle().then_some(counts.idle_since)
    }

    /// True if something of a response waits for the client.
    pub(super) fn has_unsent(&self) -> bool {
        self.counts().unsent > 0
    }

    /// Waits until the client has cancelled too many requests: false; or until a connection that is only there to be refused
    /// has got an answer: true.
    pub(super) async fn is_answered(&self) -> bool {
        loop {
            self.changed.notified().await;
            let counts = self.counts();
            if counts.cancels.left == 0 {
                return false;
            }
            if counts.ended > 0 {
                return true;
            }
        }
    }

    /// The socket took bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The number of bytes that the socket took so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, until its response has ended. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Stream {
    streams: Arc<Streams>,
    /// What the gateway knows as its connection.
    pub(super) connection: Arc<ClientConnection>,
    response: Arc<ResponseState>,
    _place: Option<Admitted>,
}

impl Stream {
    /// A body for its response that is watched. It is empty so far.
    pub(super) fn body(&self) -> StreamBody {
        let (connection, response) = (Arc::clone(&self.connection), Arc::clone(&self.response));
        StreamBody { body: None, connection, streams: Arc::clone(&self.streams), response }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.end(!self.response.has_ended.load(Ordering::Relaxed));
    }
}

/// The response of a request on its way.
#[derive(Debug, Default)]
struct ResponseState {
    /// It has ended, or has failed by no fault of the client.
    has_ended: AtomicBool,
    /// The client has yet to make room for the last frame.
    waits: AtomicBool,
    frames: AtomicU64,
}

/// The body of a response. HTTP/2's flow control asks for its next frame when the client has made room for the last one.
#[derive(Debug)]
pub(super) struct StreamBody {
    body: Option<Body>,
    connection: Arc<ClientConnection>,
    /// The requests beside it.
    streams: Arc<Streams>,
    response: Arc<ResponseState>,
}

/// A piece of a response. The library holds it until the socket has taken it.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// None for a response that may be cut: no limit of requests was needed for it.
    _unsent: Option<Unsent>,
}

/// Counts a piece that the library holds.
#[derive(Debug)]
struct Unsent(Arc<Streams>);

impl Drop for Unsent {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.unsent -= 1;
        self.0.note_idle(counts, Instant::now());
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}

impl StreamBody {
    /// The response is ready. None if it has no body, as to a HEAD.
    pub(super) fn set(mut self, body: Option<Body>) -> Self {
        self.body = body.filter(|body| !body.is_end_stream());
        if self.body.is_none() {
            self.response.has_ended.store(true, Ordering::Relaxed);
        }
        self
    }

    /// What the gateway knows as the connection of the request.
    pub(super) fn connection(&self) -> &Arc<ClientConnection> {
        &self.connection
    }
}

impl HttpBody for StreamBody {
    type Data = Piece;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Self::Error>>> {
        let Self { body, connection, streams, response } = self.get_mut();
        let Some(body) = body else { return Poll::Ready(None) };
        response.waits.store(false, Ordering::Relaxed);
        connection.flushed();
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        let is_last = !matches!(frame, Some(Ok(_))) || body.is_end_stream();
        streams.connection.progress();
        response.frames.fetch_add(1, Ordering::Relaxed);
        response.waits.store(!is_last, Ordering::Relaxed);
        if is_last {
            response.has_ended.store(true, Ordering::Relaxed);
        }
        let piece = |bytes: Bytes| {
            let is_held = connection.is_admitted() && !bytes.is_empty();
            Piece { bytes, _unsent: is_held.then(|| streams.hold()) }
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Starts the tasks of requests. hyper hands each one over right after it has called the service for it, which has left the
/// request here.
#[derive(Debug, Clone)]
pub(super) struct Executor {
    pub(super) tasks: TaskTracker,
    pub(super) newest: Arc<Mutex<Option<Stream>>>,
    /// The longest time that a client may take nothing of a response.
    pub(super) stall: Duration,
}

impl Executor {
    pub(super) fn leave(&self, stream: Stream) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        let stream = self.newest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stall = self.stall;
        match stream {
            Some(stream) => drop(self.tasks.spawn(drive(future, stream, stall))),
            None => drop(self.tasks.spawn(future)),
        }
    }
}

/// Drives a request to its end. Dropped early, hyper's part resets the stream.
async fn drive(request: impl Future<Output = ()>, stream: Stream, stall: Duration) {
    let mut request = pin!(request);
    let mut watch = StallWatch { limit: stall, frames: 0, timer: None };
    poll_fn(|cx| match request.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => watch.poll(&stream.response, cx),
    })
    .await;
}

/// The time that a client takes nothing of a response.
struct StallWatch {
    limit: Duration,
    /// The number of frames when it began.
    frames: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl StallWatch {
    fn poll(&mut self, response: &ResponseState, cx: &mut Context<'_>) -> Poll<()> {
        if !response.waits.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let frames = response.frames.load(Ordering::Relaxed);
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        if self.frames != frames {
            self.frames = frames;
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, net::Ipv4Addr};

    use super::*;
    use crate::admission::{Entrance, Limits, Overrides, Resources};

    fn streams(connections: usize) -> (Admitted, Arc<Streams>) {
        let overrides = Overrides { connections: Some(connections), ..Overrides::default() };
        let resources = Resources { open_files: 1000, memory: 1 << 30 };
        let admission = Admission::new(Limits::derive(resources, &overrides, 1, 8 << 10), 1);
        let peer = Ipv4Addr::LOCALHOST.into();
        let arrival = Arrival { entrance: Entrance::Clients, listener: 0, peer, exempt: true };
        let admitted = admission.connect(arrival).unwrap();
        let streams = Streams::new(admitted.connection.clone(), admission, arrival);
        (admitted, streams)
    }

    #[test]
    fn a_client_may_cancel_some_requests_and_more_with_time() {
        let start = Instant::now();
        let mut allowance = Allowance { left: CANCELS, since: start };
        assert!((0..CANCELS).all(|_| allowance.take(start)));
        assert!(!allowance.take(start));
        assert!(allowance.take(start + CANCEL_INTERVAL) && !allowance.take(start + CANCEL_INTERVAL));
        let later = start + CANCEL_INTERVAL * (CANCELS * 2);
        assert!((0..CANCELS).all(|_| allowance.take(later)) && !allowance.take(later));
    }

    #[tokio::test]
    async fn requests_at_a_time_count_as_connections() {
        let (admitted, streams) = streams(3);
        assert!(streams.idle_since().is_some());
        let running: Vec<_> = (0..4).map(|_| streams.begin()).collect();
        let refusals: Vec<_> = running.iter().map(|one| one.connection.refusal()).collect();
        assert_eq!(refusals, [None, None, None, Some(Cause::Connections)]);
        assert!(streams.idle_since().is_none() && admitted.connection.awaited().is_none());
        drop(running);
        assert!(streams.idle_since().is_some() && admitted.connection.awaited().is_some());
        assert_eq!(streams.begin().connection.refusal(), None);
    }

    /// The library may hold the last piece for as long as the client makes no room.
    #[tokio::test]
    async fn a_connection_with_an_unsent_piece_is_not_idle() {
        let (admitted, streams) = streams(3);
        let stream = streams.begin();
        let unsent = streams.hold();
        drop(stream);
        assert!(streams.has_unsent() && streams.idle_since().is_none());
        assert!(admitted.connection.awaited().is_none());
        // The next request begins and ends beside it.
        drop(streams.begin());
        assert!(streams.idle_since().is_none());
        drop(unsent);
        assert!(streams.idle_since().is_some() && admitted.connection.awaited().is_some());
    }

    #[tokio::test]
    async fn too_many_cancelled_requests_end_the_connection() {
        let (_admitted, streams) = streams(3);
        for _ in 0..=CANCELS {
            drop(streams.begin());
        }
        assert!(!streams.is_answered().await);
    }

    #[tokio::test]
    async fn a_response_that_is_not_taken_ends() {
        let (_admitted, streams) = streams(3);
        let stream = streams.begin();
        stream.response.waits.store(true, Ordering::Relaxed);
        drive(pending(), stream, Duration::from_millis(20)).await;
        assert!(streams.idle_since().is_some());
    }
}
