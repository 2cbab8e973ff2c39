//! Server-sent events for operators (WHATWG HTML, section 9.2): the state of the provider files, and the overview.
//!
//! A stream has no task: its body makes the events while hyper polls it, and all of it ends with the connection. It
//! guarantees: a stream ends within seconds of its token or session, and at the drain; one that its client does not take is cut, and
//! nothing is made ahead of it; the streams of a session and of the process are limited.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, header};
use http_body::Frame;
use tokio::{
    sync::{Notify, mpsc},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Body, InFlight, Worker, context::AccessRecordGuard};
use crate::{
    access_record::End,
    accounts::Actor,
    admin::{self, Principal, StatusEvent, Topics},
    admission::ClientConnection,
    decide::Presented,
    fault::{Fault, FaultKind},
    files::Status,
    name::AdminTokenId,
    store::Right,
    upstream::CutError,
};

/// The streams of a process at once.
const MAX_STREAMS: usize = 16;
/// Those of one token or session.
const MAX_OF_ONE: usize = 4;
/// The time in which a client reconnects, in milliseconds.
const RETRY_MS: u64 = 2000;
/// The interval at which the state of the files is looked at.
const TICK: Duration = Duration::from_millis(500);
/// The ticks between two overviews, and between two authentications.
const TICKS_OF_OVERVIEW: u64 = 4;
/// The ticks without an event after which a comment is sent: 15 s. Proxies close what is silent.
const TICKS_OF_SILENCE: u64 = 30;
/// The longest time of an authentication and of an overview. With a tick of each, a stream ends within 5 s of its session.
const CALL_TIME: Duration = Duration::from_secs(2);
/// The longest time that an event waits for the client, beyond what the socket holds.
const SLOW: Duration = Duration::from_secs(2);

/// The streams of events that run, the oldest first. Shared by all workers.
#[derive(Debug, Clone, Default)]
pub struct EventStreams(Arc<Mutex<Vec<Running>>>);

/// A stream that runs.
#[derive(Debug)]
struct Running {
    holder: AdminTokenId,
    /// Ends it, for a newer one of its holder.
    replaced: Arc<Notify>,
}

/// The place of a stream, which is free again at its end.
struct Place {
    streams: EventStreams,
    replaced: Arc<Notify>,
}

impl EventStreams {
    /// A place for a stream of this token or session. If that has the most already, its oldest stream ends: a browser that
    /// has left a page may be noticed late.
    fn place(&self, holder: AdminTokenId) -> Result<Place, Fault> {
        let mut streams = self.lock();
        if streams.iter().filter(|one| one.holder == holder).count() >= MAX_OF_ONE
            && let Some(oldest) = streams.iter().position(|one| one.holder == holder)
        {
            streams.remove(oldest).replaced.notify_one();
        }
        if streams.len() >= MAX_STREAMS {
            let message = format!(
                "Too many pages are open: {MAX_STREAMS} streams of events run, the most of this tollgate; close a page of the console, then try again"
            );
            return Err(Fault::new(FaultKind::Overloaded, message));
        }
        let replaced = Arc::new(Notify::new());
        streams.push(Running { holder, replaced: Arc::clone(&replaced) });
        Ok(Place { streams: self.clone(), replaced })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.lock().retain(|one| !Arc::ptr_eq(&one.replaced, &self.replaced));
    }
}

/// A stream on its way to the client.
pub struct Events {
    /// Makes the events. None once it has ended.
    source: Option<Pin<Box<dyn Future<Output = Ending> + Send>>>,
    made: mpsc::Receiver<Bytes>,
    is_slow: bool,
    connection: Arc<ClientConnection>,
    pub(super) guard: Option<AccessRecordGuard>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").field("is_slow", &self.is_slow).finish_non_exhaustive()
    }
}

/// The way a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With the event `end`.
    Ended,
    /// The client does not take the events.
    Slow,
}

/// True for a call that is answered by a stream.
pub(super) fn is_asked(request: InFlight<'_>) -> bool {
    let found = admin::find(&request.head.method, request.head.uri.path());
    found.is_some_and(|found| found.operation.streams)
}

/// Opens a stream for an admin. It ends with what was `presented`.
pub(super) fn open(
    request: InFlight<'_>,
    presented: Presented,
    actor: Actor,
    connection: &Arc<ClientConnection>,
) -> Result<Response<Body>, Fault> {
    let InFlight { worker, head, .. } = request;
    let topics = Topics::of(head.uri.query())?;
    if worker.ready.is_draining() {
        return Err(Fault::new(FaultKind::Overloaded, "tollgate is stopping: try again in a moment"));
    }
    if head.method == Method::HEAD {
        // Nothing follows it: it needs no place, and makes nothing.
        return Ok(answer(Body::empty()));
    }
    let Some(Right::Admin(holder)) = &actor.right else { return Err(admin::not_found()) };
    let place = worker.events.place(holder.clone())?;
    let (out, made) = mpsc::channel(1);
    let source =
        Source { worker: Arc::clone(worker), presented, actor, topics, out, seen: None, silent: 0, place };
    let events = Events {
        source: Some(Box::pin(source.run())),
        made,
        is_slow: false,
        connection: Arc::clone(connection),
        guard: None,
    };
    Ok(answer(Body::Events(Box::new(events))))
}

fn answer(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let fixed = HeaderValue::from_static;
    response.headers_mut().insert(header::CONTENT_TYPE, fixed("text/event-stream"));
    // nginx buffers answers unless this forbids it.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), fixed("no"));
    response
}

impl Events {
    /// The next event. The source is polled first: it also ends a stream that its client does not take.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        if let Some(source) = &mut self.source
            && let Poll::Ready(ending) = source.as_mut().poll(cx)
        {
            self.source = None;
            self.is_slow = ending == Ending::Slow;
        }
        if self.is_slow {
            self.end(End::ClientLeft);
            return Poll::Ready(Some(Err(CutError::Broken("the client takes no events".into()))));
        }
        std::task::ready!(self.connection.poll_read_ahead(cx));
        let Some(event) = std::task::ready!(self.made.poll_recv(cx)) else {
            self.end(End::Complete);
            return Poll::Ready(None);
        };
        if let Some(guard) = &mut self.guard {
            guard.pass(&event);
        }
        self.connection.add_unwritten(event.len());
        Poll::Ready(Some(Ok(Frame::data(event))))
    }

    fn end(&mut self, end: End) {
        if let Some(guard) = self.guard.take() {
            guard.end(end);
        }
    }
}

/// Makes the events of a stream.
struct Source {
    worker: Arc<Worker>,
    presented: Presented,
    actor: Actor,
    topics: Topics,
    out: mpsc::Sender<Bytes>,
    /// The status of the last event.
    seen: Option<Arc<Status>>,
    /// Ticks since the last event.
    silent: u64,
    place: Place,
}

impl Source {
    async fn run(mut self) -> Ending {
        let (worker, replaced) = (Arc::clone(&self.worker), Arc::clone(&self.place.replaced));
        let ended = tokio::select! {
            biased;
            () = worker.ready.drained() => Err(Stop::Because("stopping")),
            () = replaced.notified() => Err(Stop::Because("replaced")),
            ended = self.ticks() => ended,
        };
        let Err(stop) = ended;
        match stop {
            Stop::Slow => Ending::Slow,
            Stop::Because(reason) => {
                let last = self.event("end", &format!(r#"{{"reason":"{reason}"}}"#)).await;
                last.map_or(Ending::Slow, |()| Ending::Ended)
            }
        }
    }

    async fn ticks(&mut self) -> Result<std::convert::Infallible, Stop> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.send(format!("retry: {RETRY_MS}\n\n")).await?;
        for number in 0_u64.. {
            ticks.tick().await;
            if number % TICKS_OF_OVERVIEW == 0 {
                self.check_admin().await?;
            }
            if self.topics.status {
                self.status().await?;
            }
            if self.topics.overview && number % TICKS_OF_OVERVIEW == 0 {
                self.overview().await?;
            }
            self.silent += 1;
            if self.silent >= TICKS_OF_SILENCE {
                self.send(":\n\n".to_owned()).await?;
            }
        }
        unreachable!("a stream has no 2^64 ticks")
    }

    /// Authenticates again. No failure counts against the rate limit: nobody guesses here.
    async fn check_admin(&self) -> Result<(), Stop> {
        let (accounts, cache) = (&self.worker.accounts, &self.worker.cache);
        let found = async {
            match &self.presented {
                Presented::Token(token) => accounts.authenticate_admin(cache, token.expose()).await,
                Presented::Session(session) => {
                    accounts.authenticate_admin_session(cache, session.expose()).await
                }
            }
        };
        match timeout(CALL_TIME, found).await {
            Ok(Ok(Some(_))) => Ok(()),
            Ok(Ok(None)) => Err(Stop::Because("session")),
            Ok(Err(_)) | Err(_) => Err(Stop::Because("store")),
        }
    }

    async fn status(&mut self) -> Result<(), Stop> {
        let status = self.worker.live.status();
        if self.seen.as_ref().is_some_and(|seen| is_same(seen, &status)) {
            return Ok(());
        }
        let event = serde_json::to_string(&StatusEvent::new(&status)).expect("the document has text keys");
        self.seen = Some(status);
        self.event("status", &event).await
    }

    /// The document of `GET /admin/overview`. If there is none now, the next tick has one.
    async fn overview(&mut self) -> Result<(), Stop> {
        let call = admin::Request {
            method: Method::GET,
            path: "/admin/overview".to_owned(),
            query: None,
            body: Bytes::new(),
            table: self.worker.live.snapshot(),
            principal: Principal::Admin,
            actor: self.actor.clone(),
            sessions: Vec::new(),
        };
        match timeout(CALL_TIME, self.worker.api_queue.call(call)).await {
            Ok(Ok(response)) => self.event("overview", &response.body).await,
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Sends an event. Its data have no line breaks: they are compact JSON.
    async fn event(&mut self, name: &str, data: &str) -> Result<(), Stop> {
        self.send(format!("event: {name}\ndata: {data}\n\n")).await
    }

    async fn send(&mut self, text: String) -> Result<(), Stop> {
        self.silent = 0;
        hand_on(&self.out, text, SLOW).await
    }
}

/// Hands an event on to the body, which takes it within this time.
async fn hand_on(out: &mpsc::Sender<Bytes>, text: String, limit: Duration) -> Result<(), Stop> {
    match timeout(limit, out.send(text.into())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Stop::Slow),
    }
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The client does not take the events.
    Slow,
    /// For this reason, which the last event has.
    Because(&'static str),
}

/// True if two documents say the same of the files, however often they were scanned.
fn is_same(one: &Arc<Status>, other: &Arc<Status>) -> bool {
    let parts =
        |status: &Status| (status.ok, status.generation, status.counts, status.watching, status.omitted);
    Arc::ptr_eq(one, other)
        || parts(one) == parts(other)
            && one.hash == other.hash
            && one.problem == other.problem
            && one.files == other.files
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Long enough for a client that reads.
    const LIMIT: Duration = Duration::from_millis(200);

    /// A stream of events without end, for a client that takes nothing once this is full.
    fn endless(connection: &Arc<ClientConnection>) -> Events {
        let (out, made) = mpsc::channel(1);
        let source = async move {
            while hand_on(&out, "x".repeat(1 << 10), LIMIT).await.is_ok() {}
            Ending::Slow
        };
        let source: Pin<Box<dyn Future<Output = Ending> + Send>> = Box::pin(source);
        Events { source: Some(source), made, is_slow: false, connection: Arc::clone(connection), guard: None }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_and_nothing_is_made_ahead_of_it() {
        let connection = ClientConnection::of_tollgate();
        let mut events = endless(&connection);
        let mut bytes = 0;
        loop {
            match poll_fn(|cx| events.poll(cx)).await {
                Some(Ok(frame)) => bytes += frame.into_data().unwrap().len(),
                Some(Err(_)) => break,
                None => panic!("it has no end"),
            }
        }
        assert_eq!(bytes, 16 << 10);
        assert!(events.source.is_none(), "its place is free");
    }

    #[tokio::test]
    async fn a_client_that_reads_gets_all() {
        let connection = ClientConnection::of_tollgate();
        let mut events = endless(&connection);
        for _ in 0..1000 {
            assert!(matches!(poll_fn(|cx| events.poll(cx)).await, Some(Ok(_))));
            connection.flushed();
        }
    }

    #[tokio::test]
    async fn the_last_event_is_handed_on_before_the_end() {
        let (out, made) = mpsc::channel(1);
        let source = async move {
            hand_on(&out, "last".to_owned(), LIMIT).await.map_or(Ending::Slow, |()| Ending::Ended)
        };
        let connection = ClientConnection::of_tollgate();
        let mut events =
            Events { source: Some(Box::pin(source)), made, is_slow: false, connection, guard: None };
        let last = poll_fn(|cx| events.poll(cx)).await.unwrap().unwrap();
        assert_eq!(last.into_data().unwrap(), "last");
        assert!(poll_fn(|cx| events.poll(cx)).await.is_none());
    }

    #[test]
    fn a_scan_that_changes_nothing_is_no_event() {
        let check = |change: fn(&mut Status), expected: bool| {
            let mut other = Status::default();
            change(&mut other);
            assert_eq!(is_same(&Arc::new(Status::default()), &Arc::new(other)), expected);
        };
        check(|status| status.checked = "2026-11-29T13:00:00Z".to_owned(), true);
        check(|status| status.missed = 1, true);
        check(|status| status.generation = 2, false);
        check(|status| status.problem = Some("gone".to_owned()), false);
        check(|status| status.counts.rejected = 1, false);
    }
}
