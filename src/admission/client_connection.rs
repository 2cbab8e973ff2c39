//! What a client's connection, its requests and the counters share: whether it is idle, and how many bytes of a response
//! are not yet written.
//!
//! A response is read ahead of a client that stalls by no more than [`READ_AHEAD`]. A connection is idle from its start,
//! or from the last byte of a response, to the end of the next request's head. It counts as idle, too, while the client
//! does not take a whole response that no limit of requests was needed for, as that of a health check, and while no more
//! than the rest of a refused request's body is read. Only its own worker changes the state; other threads read it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::{Cause, connections::Place};

/// Bytes of a response that wait for the client's socket before the upstream is read further.
const READ_AHEAD: usize = 16 << 10;

/// A response is being made or written.
const RESPONDING: u64 = 1;
/// The body of the response has ended; the last bytes may not be written yet.
const ENDED: u64 = 2;
/// The request is counted by a limit of requests.
const ADMITTED: u64 = 4;
/// The client does not take the response, which has ended and was not admitted.
const STALLED: u64 = 8;
const CLOSED: u64 = 16;
/// All that concerns one request.
const OF_REQUEST: u64 = RESPONDING | ENDED | ADMITTED | STALLED;
/// The number of the request is above the flags.
const REQUEST: u64 = 32;

/// The number of requests that a connection had when it became idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// A request that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    epoch: Epoch,
    has_begun: bool,
}

impl Awaited {
    /// True once a byte of its head has arrived.
    pub fn has_begun(self) -> bool {
        self.has_begun
    }
}

/// Bytes that a connection has read. Shared with the body of its request.
#[derive(Debug, Default)]
pub struct BodyReads {
    /// Those since the last request, or frame of its body. A body that is sent upstream resets it.
    pub unframed: AtomicUsize,
    /// Those of the request's body, without its framing.
    pub content: AtomicU64,
    /// The counters of the connection, if this is one of several requests on it.
    connection: Option<Arc<BodyReads>>,
}

impl BodyReads {
    /// A frame of the body was read.
    pub fn add_frame(&self, bytes: usize) {
        self.content.fetch_add(bytes as u64, Ordering::Relaxed);
        self.discarded();
    }

    /// A frame of the body was read and thrown away.
    pub fn discarded(&self) {
        self.unframed.store(0, Ordering::Relaxed);
        if let Some(connection) = &self.connection {
            connection.unframed.store(0, Ordering::Relaxed);
        }
    }
}

/// The shared state of a connection.
#[derive(Debug)]
pub struct ClientConnection {
    state: AtomicU64,
    /// Bytes arrived after the head of the last request.
    has_received: AtomicBool,
    is_pipelined: AtomicBool,
    /// The rest of the last request's body is being read.
    has_rest: AtomicBool,
    unwritten: AtomicUsize,
    reads: Arc<BodyReads>,
    /// The body that waits until everything is written.
    body: Mutex<Option<Waker>>,
    /// The connection's task. It has one for its whole life.
    reader: Mutex<Option<Waker>>,
    has_reader: AtomicBool,
    is_evicted: AtomicBool,
    refusal: Option<Cause>,
    /// None if it is no connection of a client.
    place: Option<Place>,
}

impl ClientConnection {
    pub(super) fn new(place: Place, refusal: Option<Cause>, of: Option<&Self>) -> Self {
        Self::with(Some(place), refusal, of)
    }

    /// That of a request beside others on this connection. It has no place of its own: see [`Admission::stream`].
    ///
    /// [`Admission::stream`]: super::Admission::stream
    pub fn stream(&self, refusal: Option<Cause>) -> Arc<Self> {
        Arc::new(Self::with(None, refusal.or(self.refusal), Some(self)))
    }

    /// That of a request which tollgate makes itself: it is none of a client, and counted nowhere.
    pub fn of_tollgate() -> Arc<Self> {
        Arc::new(Self::with(None, None, None))
    }

    /// `of`: the connection that carries this request beside others.
    fn with(place: Option<Place>, refusal: Option<Cause>, of: Option<&Self>) -> Self {
        let connection = of.map(|of| Arc::clone(&of.reads));
        Self {
            state: AtomicU64::new(0),
            has_received: AtomicBool::new(false),
            is_pipelined: AtomicBool::new(false),
            has_rest: AtomicBool::new(false),
            unwritten: AtomicUsize::new(0),
            reads: Arc::new(BodyReads { connection, ..BodyReads::default() }),
            body: Mutex::default(),
            reader: Mutex::default(),
            has_reader: AtomicBool::new(false),
            is_evicted: AtomicBool::new(false),
            refusal,
            place,
        }
    }

    /// True if this is one of several requests at a time on its connection.
    pub fn is_stream(&self) -> bool {
        self.reads.connection.is_some()
    }

    /// The limit that the connection is beyond: it gets refusals and health checks only, and is closed after one answer.
    pub fn refusal(&self) -> Option<Cause> {
        self.refusal
    }

    // === requests ===

    /// The head of a request has arrived. Call it before the socket is polled again: an idle connection may end there.
    pub fn begin_request(&self) {
        let state = self.state();
        self.set(((state & !OF_REQUEST) + REQUEST) | RESPONDING);
        self.reads.unframed.store(0, Ordering::Relaxed);
        self.reads.content.store(0, Ordering::Relaxed);
        self.is_pipelined.store(!self.has_received.swap(false, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// True if the request came together with an earlier one: the client pipelines.
    pub fn is_pipelined(&self) -> bool {
        self.is_pipelined.load(Ordering::Relaxed)
    }

    /// The request is counted by a limit of requests.
    pub fn set_admitted(&self) {
        self.set(self.state() | ADMITTED);
    }

    /// True if the request is counted by a limit of requests.
    pub fn is_admitted(&self) -> bool {
        self.state() & ADMITTED != 0
    }

    /// The response has ended, broken off, or was dropped.
    pub fn end_response(&self) {
        self.set(self.state() | ENDED);
    }

    /// The rest of a request's body is read after an early response.
    pub fn begin_rest(&self) {
        self.has_rest.store(true, Ordering::Relaxed);
    }

    /// The rest was read: the next byte belongs to another request.
    pub fn end_rest(&self) {
        self.reads.unframed.store(0, Ordering::Relaxed);
        self.has_rest.store(false, Ordering::Relaxed);
    }

    /// True if everything of all requests was read, and all responses are written.
    pub fn is_between_requests(&self) -> bool {
        !self.has_rest.load(Ordering::Relaxed) && self.awaited().is_some_and(|awaited| !awaited.has_begun)
    }

    /// No request is served any more: the connection is idle until it is closed, or until another of several requests at a time.
    pub fn end_requests(self: &Arc<Self>) {
        self.set((self.state() & !OF_REQUEST) + REQUEST);
        self.mark_idle();
    }

    // === the socket ===

    /// Bytes of the client have arrived.
    pub fn received(&self, bytes: usize) {
        self.has_received.store(true, Ordering::Relaxed);
        self.reads.unframed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A handshake is over, or a request beside others moves: what was read before is accounted for.
    pub fn progress(&self) {
        self.reads.unframed.store(0, Ordering::Relaxed);
    }

    /// The counters of the bytes that were read of the current request.
    pub fn reads(&self) -> &Arc<BodyReads> {
        &self.reads
    }

    /// The request that the connection waits for. None while a response is being made or written.
    pub fn awaited(&self) -> Option<Awaited> {
        let state = self.state();
        let has_begun =
            self.reads.unframed.load(Ordering::Relaxed) > 0 && !self.has_rest.load(Ordering::Relaxed);
        (state & RESPONDING == 0).then_some(Awaited { epoch: Epoch(state), has_begun })
    }

    /// Ready if the response may be read further. A stalled client's is not, until the socket has taken all of it.
    pub fn poll_read_ahead(&self, cx: &Context<'_>) -> Poll<()> {
        if self.unwritten.load(Ordering::Relaxed) < READ_AHEAD {
            return Poll::Ready(());
        }
        *lock(&self.body) = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Counts the memory of a piece that was handed on to be written.
    pub fn add_unwritten(&self, bytes: usize) {
        let before = self.unwritten.load(Ordering::Relaxed);
        self.unwritten.store(before + bytes, Ordering::Relaxed);
    }

    /// The socket has taken everything that was handed on.
    pub fn flushed(self: &Arc<Self>) {
        if self.unwritten.swap(0, Ordering::Relaxed) >= READ_AHEAD
            && let Some(body) = lock(&self.body).take()
        {
            body.wake();
        }
        let state = self.state();
        if state & ENDED != 0 {
            self.set(state & !OF_REQUEST);
            self.mark_idle();
        }
    }

    /// The socket takes no more at the moment.
    pub fn write_blocked(self: &Arc<Self>) {
        let state = self.state();
        if state & OF_REQUEST == RESPONDING | ENDED {
            self.set(state | STALLED);
            self.mark_idle();
        }
    }

    /// Ready once the connection has to be closed for another one, and is idle. Call it when the client has sent nothing
    /// more, or takes nothing.
    pub fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.has_reader.load(Ordering::Relaxed) {
            *lock(&self.reader) = Some(cx.waker().clone());
            self.has_reader.store(true, Ordering::Relaxed);
        }
        if self.is_evicted.load(Ordering::Acquire) && self.is_idle() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state & CLOSED == 0 && (state & RESPONDING == 0 || state & STALLED != 0)
    }

    // === the pool ===

    /// Lists the connection as idle, if it is.
    pub(super) fn mark_idle(self: &Arc<Self>) {
        if self.is_idle()
            && let Some(place) = &self.place
        {
            place.add_idle(self, Epoch(self.state()));
        }
    }

    pub(super) fn is_idle_since(&self, since: Epoch) -> bool {
        self.state() == since.0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state() & CLOSED != 0
    }

    pub(super) fn evict(&self) {
        self.is_evicted.store(true, Ordering::Release);
        if let Some(reader) = &*lock(&self.reader) {
            reader.wake_by_ref();
        }
    }

    /// The socket is closed. Lists may refer to this for a while longer, but not to the task's memory.
    pub(super) fn close(&self) {
        self.set(self.state() | CLOSED);
        drop([&self.reader, &self.body].map(|waker| lock(waker).take()));
        if let Some(place) = &self.place {
            place.leave();
        }
    }

    fn state(&self) -> u64 {
        self.state.load(Ordering::Relaxed)
    }

    fn set(&self, state: u64) {
        self.state.store(state, Ordering::Relaxed);
    }
}

fn lock(waker: &Mutex<Option<Waker>>) -> MutexGuard<'_, Option<Waker>> {
    waker.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::admission::{Admission, Admitted, Arrival, Entrance, Limits, Overrides, Resources};

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// At most three connections in all.
    fn admission() -> Arc<Admission> {
        let overrides =
            Overrides { connections: Some(3), connections_per_address: Some(3), ..Overrides::default() };
        let resources = Resources { open_files: 100, memory: 1 << 40 };
        Admission::new(Limits::derive(resources, &overrides, 1, 64 << 10), 2)
    }

    fn connect(admission: &Arc<Admission>, listener: usize) -> Option<Admitted> {
        admission.connect(Arrival { entrance: Entrance::Clients, listener, peer: PEER, exempt: true })
    }

    fn is_evicted(admitted: &Admitted) -> bool {
        admitted.connection.poll_evicted(&Context::from_waker(Waker::noop())).is_ready()
    }

    fn serve(admitted: &Admitted) {
        admitted.connection.begin_request();
        admitted.connection.end_response();
        admitted.connection.flushed();
    }

    #[test]
    fn the_connection_that_is_idle_for_longest_goes_first() {
        let admission = admission();
        let connections: Vec<_> = [0, 1, 0].map(|listener| connect(&admission, listener).unwrap()).into();
        assert!(admission.is_crowded());
        serve(&connections[0]);
        // Of its own listener, the one that is idle for longest.
        let next = connect(&admission, 0).unwrap();
        assert_eq!(connections.iter().map(is_evicted).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(next.connection.refusal(), None);
    }

    #[test]
    fn a_connection_with_a_request_stays_and_the_next_is_refused() {
        let admission = admission();
        let connections: Vec<_> = [0, 1, 0].map(|listener| connect(&admission, listener).unwrap()).into();
        for one in &connections {
            one.connection.begin_request();
        }
        let refused = connect(&admission, 0).unwrap();
        assert_eq!(refused.connection.refusal(), Some(Cause::Connections));
        // The end of a body is not enough: its last bytes are not written.
        connections[1].connection.end_response();
        assert_eq!(connect(&admission, 0).unwrap().connection.refusal(), Some(Cause::Connections));
        connections[1].connection.flushed();
        assert_eq!(connect(&admission, 0).unwrap().connection.refusal(), None);
        assert_eq!(connections.iter().map(is_evicted).collect::<Vec<_>>(), [false, true, false]);
        drop(connections);
        assert_eq!(connect(&admission, 0).unwrap().connection.refusal(), None);
        assert!(!admission.is_crowded());
    }

    #[test]
    fn a_client_that_does_not_take_an_own_response_makes_room() {
        let admission = admission();
        let [own, admitted] = [0, 0].map(|listener| connect(&admission, listener).unwrap());
        for one in [&own.connection, &admitted.connection] {
            one.begin_request();
            one.write_blocked();
            assert!(!one.is_idle(), "the response has not ended");
        }
        admitted.connection.set_admitted();
        for one in [&own.connection, &admitted.connection] {
            one.end_response();
            one.write_blocked();
        }
        admission.evict_idle(0);
        assert_eq!([&own, &admitted].map(is_evicted), [true, false]);
        // The next request makes it busy.
        own.connection.begin_request();
        assert!(!is_evicted(&own));
    }

    #[test]
    fn a_full_pool_goes_on_to_close_idle_connections() {
        let admission = admission();
        let mut open: Vec<Admitted> = Vec::new();
        while let Some(next) = connect(&admission, 0).filter(|one| one.connection.refusal().is_none()) {
            // The one before was asked to close for this one, and gets a request before it does.
            for one in &open {
                one.connection.begin_request();
            }
            open.push(next);
        }
        assert!(open.len() > 3, "the pool has connections beyond its limit");
        let idle = open.last().unwrap();
        assert!(connect(&admission, 0).is_none_or(|one| one.connection.refusal().is_some()));
        assert!(is_evicted(idle), "it makes room for the next one");
    }

    #[test]
    fn a_request_without_bytes_of_its_own_is_pipelined() {
        let admission = admission();
        let one = connect(&admission, 0).unwrap().connection.clone();
        one.received(1);
        one.received(1);
        let begin = || {
            one.begin_request();
            one.is_pipelined()
        };
        assert_eq!([begin(), begin(), begin()], [false, true, true]);
        one.received(1);
        assert!(!begin());
    }

    #[test]
    fn a_stalled_client_is_not_read_ahead_for() {
        let admission = admission();
        let one = connect(&admission, 0).unwrap().connection.clone();
        let context = Context::from_waker(Waker::noop());
        one.add_unwritten(READ_AHEAD - 1);
        assert!(one.poll_read_ahead(&context).is_ready());
        one.add_unwritten(1);
        assert!(one.poll_read_ahead(&context).is_pending());
        one.flushed();
        assert!(one.poll_read_ahead(&context).is_ready());
    }

    #[test]
    fn a_request_of_tollgate_is_read_as_fast_as_it_comes() {
        let one = ClientConnection::of_tollgate();
        let context = Context::from_waker(Waker::noop());
        one.add_unwritten(READ_AHEAD);
        assert!(one.poll_read_ahead(&context).is_pending());
        one.flushed();
        assert!(one.poll_read_ahead(&context).is_ready());
        one.end_response();
        one.flushed();
        assert_eq!(one.refusal(), None);
    }

    #[test]
    fn a_request_beside_others_has_a_place_of_its_own() {
        let admission = admission();
        let one = connect(&admission, 0).unwrap();
        one.connection.begin_request();
        let arrival = Arrival { entrance: Entrance::Clients, listener: 0, peer: PEER, exempt: true };
        let begin = |_| {
            let one = admission.stream(arrival, &one.connection)?;
            one.connection.begin_request();
            Some(one)
        };
        let beside: Vec<_> = (0..3).map_while(begin).collect();
        let refusals: Vec<_> = beside.iter().map(|one| one.connection.refusal()).collect();
        assert_eq!(refusals, [None, None, Some(Cause::Connections)]);
        assert_eq!(one.connection.stream(None).refusal(), None, "the first of a connection has its place");
        // What is read of one of them is progress of the connection.
        one.connection.received(100);
        beside[0].connection.reads().add_frame(1);
        assert_eq!(one.connection.reads().unframed.load(Ordering::Relaxed), 0);
        drop(beside);
        assert_eq!(admission.load().connections.now, 1);
    }

    #[test]
    fn a_list_of_idle_connections_does_not_grow_with_requests() {
        let admission = admission();
        let one = connect(&admission, 0).unwrap();
        for _ in 0..10_000 {
            serve(&one);
        }
        assert!(one.connection.place.as_ref().unwrap().listed() < 100);
        // An entry that was closed for is none.
        drop(one);
        admission.evict_idle(0);
    }
}
