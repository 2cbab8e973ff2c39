//! The connection pool of one worker. A connection is a hyper `SendRequest` with the `Connection` future that drives it.
//! The owner of the [`Live`] polls that future; no task is spawned for it.
//!
//! A connection is kept only if hyper can send another request on it. It is checked right before reuse: one that was
//! closed meanwhile, or that has unread bytes, is discarded. A late or second response is never that of the next request.
//!
//! Connections are kept by origin, which fixes the way to it, by TLS identity, and by what vouches for the address: an origin that
//! a user entered may have a private one.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use hyper::client::conn::http1::{self, Parts, SendRequest};
use tokio::time::Instant;

use crate::{decide::MAX_FIELDS, origin::Origin};

use super::{
    Config, ConnectionCounts, Target,
    bounded_read::BoundedRead,
    error::{Chain, SendError},
    exchange::InterimCount,
    identity::IdentityId,
    io::Io,
    socket::SocketWatch,
    timer::Timer,
    upload::Upload,
};

/// Maximum size of a response head and of trailers, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// hyper's buffer size. Approximate, so that it cannot serve as the limit of a head.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// Maximum size of the head of a token endpoint's response, in bytes, and maximum number of its fields.
const MAX_LENIENT_HEAD_BYTES: usize = 256 * 1024;
const MAX_LENIENT_FIELDS: usize = 1000;

/// The rules for the heads of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heads {
    /// Those of responses that are relayed.
    Strict,
    /// Those of token endpoints, whose connections are used once, and whose answers go nowhere. A field that is not valid is
    /// ignored.
    Lenient,
}

impl Heads {
    fn builder(self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        match self {
            Self::Strict => {
                builder.max_header_size(MAX_HEAD_BYTES).max_buf_size(MAX_BUFFER_BYTES).max_headers(MAX_FIELDS)
            }
            Self::Lenient => builder
                .max_header_size(MAX_LENIENT_HEAD_BYTES)
                .max_buf_size(MAX_LENIENT_HEAD_BYTES)
                .max_headers(MAX_LENIENT_FIELDS)
                .allow_spaces_after_header_name_in_responses(true)
                .allow_obsolete_multiline_headers_in_responses(true)
                .ignore_invalid_headers_in_responses(true),
        };
        builder
    }
}

/// What becomes of the bytes of a connection that has ended.
#[derive(Debug, Default)]
enum Switched {
    /// They are dropped.
    #[default]
    Never,
    /// They are kept, since a switch was asked for.
    Asked,
    /// The stream, and what was read of it already.
    Done(Box<(Io, Bytes)>),
}

/// What connections to one origin differ in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct ConnectionKind {
    /// The TLS identity, if it has one of its own.
    identity: Option<IdentityId>,
    /// True if a user entered the origin.
    is_entered: bool,
}

impl ConnectionKind {
    fn of(to: Target<'_>) -> Self {
        Self { identity: to.identity(), is_entered: to.is_entered() }
    }

    fn is_plain(self) -> bool {
        self == Self::default()
    }
}

/// One open connection. Dropping it closes it.
pub(super) struct Live {
    origin: Arc<Origin>,
    kind: ConnectionKind,
    pub(super) sender: SendRequest<Upload>,
    /// None once the connection has ended.
    wire: Option<http1::Connection<BoundedRead<Io>, Upload>>,
    /// The bytes of the connection, once it has switched to another protocol. Only where that was asked for.
    switched: Switched,
    pub(super) watch: SocketWatch,
    pub(super) interim: InterimCount,
    pub(super) timer: Timer,
    /// The upstream's announced keep-alive timeout, if any.
    pub(super) keep_alive: Option<Duration>,
}

impl Live {
    /// A connection over `io`. Its timer first fires after `first_wait` at the latest.
    pub(super) async fn open(
        to: Target<'_>,
        io: Io,
        watch: SocketWatch,
        first_wait: Duration,
        heads: Heads,
    ) -> Result<Box<Self>, SendError> {
        let (sender, wire) = heads
            .builder()
            .handshake(BoundedRead(io))
            .await
            .map_err(|error| SendError::Reset(Chain(&error).to_string().into()))?;
        let (origin, timer) = (Arc::new(to.origin.clone()), Timer::new(first_wait));
        let (kind, interim) = (ConnectionKind::of(to), InterimCount::default());
        let switched = Switched::Never;
        Ok(Box::new(Self {
            origin,
            kind,
            sender,
            wire: Some(wire),
            switched,
            watch,
            interim,
            timer,
            keep_alive: None,
        }))
    }

    /// The host called.
    pub(super) fn host(&self) -> &str {
        self.origin.host()
    }

    /// Drives reads and writes. Errors surface where the response or body is awaited; a connection that has ended is
    /// dropped, so that they do.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(wire) = &mut self.wire
            && let Poll::Ready(ended) = wire.poll_without_shutdown(cx)
        {
            let wire = self.wire.take();
            if matches!(self.switched, Switched::Asked)
                && let (Ok(()), Some(wire)) = (ended, wire)
            {
                let Parts { io: BoundedRead(io), read_buf, .. } = wire.into_parts();
                self.switched = Switched::Done(Box::new((io, read_buf)));
            }
        }
    }

    /// Keeps the bytes of the connection when it ends: the next request asks for another protocol.
    pub(super) fn ask_to_switch(&mut self) {
        self.switched = Switched::Asked;
    }

    /// The bytes of a connection whose answer was 101.
    pub(super) fn poll_switched(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Io, Bytes)>> {
        self.drive(cx);
        match std::mem::take(&mut self.switched) {
            Switched::Done(bytes) => Poll::Ready(Some(*bytes)),
            Switched::Asked if self.wire.is_some() => {
                self.switched = Switched::Asked;
                Poll::Pending
            }
            Switched::Asked | Switched::Never => Poll::Ready(None),
        }
    }

    /// True if it can take another request. Polls with a no-op waker, so that an idle connection keeps no memory of a
    /// finished task.
    fn is_ready(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.wire.is_some() && self.sender.is_ready()
    }

    /// The same, right before a request: true only if nothing is unread, in any buffer, in TLS or in the kernel.
    fn is_clean(&mut self) -> bool {
        let watch = self.watch.clone();
        let mut ready = false;
        watch.is_drained(|| ready = self.is_ready()) && ready
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Live").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The idle connections of one worker.
#[derive(Debug)]
pub(super) struct Pool {
    idle_timeout: Duration,
    max_per_origin: usize,
    max_total: usize,
    idle: Mutex<Idle>,
    counts: Arc<ConnectionCounts>,
}

#[derive(Debug, Default)]
struct Idle {
    plain: ByOrigin,
    others: HashMap<ConnectionKind, ByOrigin, foldhash::fast::RandomState>,
    total: usize,
}

/// Oldest first. An empty queue stays until the next sweep: its origin is most likely called again.
type ByOrigin = HashMap<Arc<Origin>, VecDeque<IdleConnection>, foldhash::fast::RandomState>;

#[derive(Debug)]
struct IdleConnection {
    since: Instant,
    live: Box<Live>,
}

impl Pool {
    pub(super) fn new(config: &Config, counts: Arc<ConnectionCounts>) -> Self {
        Self {
            idle_timeout: config.pool_idle_timeout,
            max_per_origin: config.pool_max_idle_per_origin,
            max_total: config.pool_max_idle,
            idle: Mutex::default(),
            counts,
        }
    }

    /// An idle connection of this origin and kind that can take a request. Last in, first out: the one used last is the most likely
    /// to be open, and surplus ones time out.
    pub(super) fn checkout(&self, to: Target<'_>) -> Option<Box<Live>> {
        loop {
            let mut waiting = self.change(|idle| idle.pop(to))?;
            let timeout = waiting.live.keep_alive.unwrap_or(Duration::MAX).min(self.idle_timeout);
            if waiting.since.elapsed() < timeout && waiting.live.is_clean() {
                return Some(waiting.live);
            }
        }
    }

    /// Returns a connection to the pool if it can take another request, else closes it.
    pub(super) fn checkin(&self, mut live: Box<Live>) {
        if self.max_per_origin > 0 && live.is_ready() {
            self.change(|idle| idle.push(live, self.max_per_origin, self.max_total));
        }
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.change(|idle| {
            let mut dropped = 0;
            let mut sweep = |origins: &mut ByOrigin| {
                origins.retain(|_, queue| {
                    let old = queue.partition_point(|waiting| now - waiting.since >= self.idle_timeout);
                    queue.drain(..old);
                    dropped += old;
                    !queue.is_empty()
                });
            };
            sweep(&mut idle.plain);
            idle.others.retain(|_, origins| {
                sweep(origins);
                !origins.is_empty()
            });
            idle.total -= dropped;
        });
    }

    /// Changes the idle connections, and publishes their number.
    fn change<T>(&self, change: impl FnOnce(&mut Idle) -> T) -> T {
        let mut idle = self.lock();
        let changed = change(&mut idle);
        self.counts.set_idle(idle.total);
        changed
    }

    pub(super) fn len(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        // No panic under the lock can leave the pool inconsistent.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn pop(&mut self, to: Target<'_>) -> Option<IdleConnection> {
        let kind = ConnectionKind::of(to);
        let origins = if kind.is_plain() { &mut self.plain } else { self.others.get_mut(&kind)? };
        let waiting = origins.get_mut(to.origin)?.pop_back()?;
        self.total -= 1;
        Some(waiting)
    }

    fn push(&mut self, live: Box<Live>, max_per_origin: usize, max_total: usize) {
        let room = self.total < max_total;
        let waiting = IdleConnection { since: Instant::now(), live };
        let kind = waiting.live.kind;
        let origins = if kind.is_plain() { &mut self.plain } else { self.others.entry(kind).or_default() };
        if let Some(queue) = origins.get_mut(&waiting.live.origin) {
            queue.push_back(waiting);
            if queue.len() > max_per_origin || !room {
                queue.pop_front();
            } else {
                self.total += 1;
            }
        } else if room {
            origins.insert(Arc::clone(&waiting.live.origin), VecDeque::from([waiting]));
            self.total += 1;
        }
    }
}
