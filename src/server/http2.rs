//! A client's HTTP/2 connection: by prior knowledge, or by ALPN on a listener with TLS. Each request is a task of its own
//! (`streams`); this one reads and writes the frames, and ends the connection.
//!
//! It guarantees: bounds on requests at a time, on heads, and on what is read and not used; an idle connection ends with
//! GOAWAY, and soon, if the client does not go by itself. A WebSocket needs HTTP/1.1: extended CONNECT (RFC 8441) is not
//! offered. It decides nothing about a request.
//!
//! The library bounds the rest: header blocks in many frames, settings and pings without end, resets before a request
//! begins, and errors of streams.

use std::{
    convert::Infallible,
    future::{Future as _, poll_fn},
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, header};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::streams::{Executor, StreamBody, Streams};
use crate::{
    admission::{Arrival, ClientConnection},
    gateway::{self, WebSocketSlot, Worker},
};

/// Requests at a time on one connection.
pub(super) const MAX_STREAMS: u32 = 100;
/// The same on a connection beyond a limit, which gets a refusal and ends.
const MAX_REFUSED_STREAMS: u32 = 4;
/// Bytes of a request's body that wait for the upstream: as many as a request's memory is reckoned for.
const STREAM_WINDOW: u32 = 128 << 10;
/// The same of all requests of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of a response that wait for the socket, beside the last piece.
const SEND_BUFFER: usize = 16 << 10;
/// Errors of a client that cost it one request each, until they cost it the connection.
const MAX_ERRORS: usize = 256;
/// The longest wait for a client to close a connection that has no request and is to end.
const LEAVE_TIME: Duration = Duration::from_secs(5);

/// The bytes that begin a connection (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection is served with.
pub(super) struct Served<'c> {
    pub(super) worker: &'c Arc<Worker>,
    pub(super) peer: IpAddr,
    pub(super) arrival: Arrival,
    pub(super) connection: &'c Arc<ClientConnection>,
    /// The longest time without a request.
    pub(super) idle: Duration,
    /// The longest time that a client may take nothing of a response.
    pub(super) stall: Duration,
    pub(super) max_head: usize,
    pub(super) stop: &'c CancellationToken,
}

/// The way in which a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// All responses were sent.
    InOrder,
    /// It broke.
    Broken(hyper::Error),
    /// The client has cancelled too many requests, or does not go: the socket is closed at once.
    Dropped,
}

/// Serves a connection to its end.
pub(super) async fn serve(io: &mut (dyn Io + '_), served: Served<'_>) -> Ended {
    let Served { worker, peer, connection: state, stop, .. } = served;
    let streams = Streams::new(Arc::clone(state), Arc::clone(&worker.admission), served.arrival);
    let executor = Executor { tasks: worker.tasks.clone(), newest: Arc::default(), stall: served.stall };
    let service = service_fn(|request| {
        let stream = streams.begin();
        let answer = answer(Arc::clone(worker), peer, stream.body(), request);
        executor.leave(stream);
        answer
    });
    let io = TokioIo::new(Counted { io, streams: &streams });
    let mut connection = pin!(builder(&executor, &served).serve_connection(io, service));
    let mut stalled = pin!(stalled(&streams, served.stall));
    tokio::select! {
        ended = &mut connection => return of(ended),
        () = &mut stalled => return Ended::Dropped,
        is_answered = streams.is_answered() => {
            if !is_answered {
                return cancelled(peer);
            }
        }
        () = stop.cancelled() => {}
        () = idle(&streams, served.idle) => {}
        () = poll_fn(|cx| state.poll_evicted(cx)) => {}
    }
    connection.as_mut().graceful_shutdown();
    // This writes GOAWAY. A connection that is to make room for another one waits for nothing else.
    if let Poll::Ready(ended) = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await {
        return of(ended);
    }
    tokio::select! {
        ended = &mut connection => of(ended),
        () = too_many_cancelled(&streams) => cancelled(peer),
        () = stalled => Ended::Dropped,
        () = quiet(&streams) => Ended::Dropped,
        // Nothing waits for the client, and what it still sends should not break what the kernel has of its responses.
        () = poll_fn(|cx| state.poll_evicted(cx)) => Ended::InOrder,
    }
}

fn of(ended: hyper::Result<()>) -> Ended {
    ended.map_or_else(Ended::Broken, |()| Ended::InOrder)
}

fn cancelled(peer: IpAddr) -> Ended {
    tracing::info!(peer = %peer, "a connection was closed: its client began and cancelled requests without end");
    Ended::Dropped
}

async fn too_many_cancelled(streams: &Streams) {
    while streams.is_answered().await {}
}

/// Waits until no request has been running for a time.
async fn idle(streams: &Streams, limit: Duration) {
    loop {
        let now = Instant::now();
        let due = streams.idle_since().unwrap_or(now) + limit;
        if due <= now {
            return;
        }
        // A request that ends in the meantime begins a time that ends later.
        sleep_until(due).await;
    }
}

/// Waits until something of a response has waited for the client for a time, in which the socket took nothing at all.
async fn stalled(streams: &Streams, limit: Duration) {
    loop {
        let (before, was_waiting) = (streams.written(), streams.has_unsent());
        sleep(limit).await;
        if was_waiting && streams.has_unsent() && streams.written() == before {
            return;
        }
    }
}

/// Waits until no request is running, and the client takes nothing of what was sent.
async fn quiet(streams: &Streams) {
    loop {
        let written = streams.written();
        sleep(LEAVE_TIME).await;
        if streams.idle_since().is_some() && streams.written() == written {
            return;
        }
    }
}

/// The largest head that the library takes: the refusal of one beyond `max_head` is tollgate's own up to here.
fn most_of_head(max_head: usize) -> usize {
    max_head.saturating_mul(4).min(max_head.saturating_add(1 << 20))
}

fn builder(executor: &Executor, served: &Served<'_>) -> http2::Builder<Executor> {
    let is_refused = served.connection.refusal().is_some();
    let mut http = http2::Builder::new(executor.clone());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(if is_refused { MAX_REFUSED_STREAMS } else { MAX_STREAMS })
        .max_header_list_size(u32::try_from(most_of_head(served.max_head)).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_local_error_reset_streams(MAX_ERRORS)
        .auto_date_header(true);
    http
}

/// Answers one request.
async fn answer(
    worker: Arc<Worker>,
    peer: IpAddr,
    body: StreamBody,
    mut request: Request<Incoming>,
) -> Result<Response<StreamBody>, Infallible> {
    add_host(&mut request);
    let is_head = request.method() == Method::HEAD;
    // Nothing switches here: `Upgrade` is no header of HTTP/2.
    let slot = WebSocketSlot::default();
    let connection = Arc::clone(body.connection());
    let mut response = gateway::handle(worker, peer, connection, &slot, request).await;
    if !is_head {
        return Ok(response.map(|own| body.set(Some(own))));
    }
    // hyper sends bodies to HEAD, too.
    if let Some(length) = response.body().size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Ok(response.map(|_| body.set(None)))
}

/// Adds `Host` where there is none, as every program that passes a request on to HTTP/1.1 has to (RFC 9113, section 8.3.1).
fn add_host(request: &mut Request<Incoming>) {
    if request.headers().contains_key(header::HOST) {
        return;
    }
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = authority {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// A connection's bytes.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Counts the bytes that the socket takes.
struct Counted<'s> {
    io: &'s mut (dyn Io + 's),
    streams: &'s Streams,
}

impl Counted<'_> {
    fn count(&self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &wrote {
            self.streams.wrote(*bytes);
        }
        wrote
    }
}

impl AsyncRead for Counted<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut *self.io).poll_write(cx, bytes);
        self.count(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut *self.io).poll_write_vectored(cx, slices);
        self.count(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}
