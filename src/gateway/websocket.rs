//! WebSockets: the handshake with the upstream, and the relay after it. A WebSocket runs in the task of its client's connection,
//! and counts as one request for its whole life.
//!
//! It guarantees: an upstream that does not switch answers as at any endpoint; at the end of the grace period a close frame is
//! sent, and the connection ends soon after it. It never looks into a frame.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::{
    Body, InFlight, Worker,
    context::{AccessRecordGuard, RequestContext},
    credential::{self, RefreshAttempts},
    relay::{self, Outbound},
};
use crate::{
    access_record::{ClosedBy, End, WebSocketEnd},
    accounts::RefreshRequest,
    clock::now_ms,
    decide::{Sendable, UpstreamRequest},
    fault::{Fault, FaultKind},
    rewrite,
    table::Hit,
    upstream::{Deadlines, Ended, Identity, Party, Remains, SendError, SwitchReply, Target, Tunnel, Upload},
};

/// The longest wait for WebSockets to end after the grace period.
pub const LEAVE_TIME: Duration = Duration::from_secs(3);

/// The WebSockets of a worker.
#[derive(Debug, Default)]
pub struct WebSockets {
    running: TaskTracker,
    leave: CancellationToken,
}

impl WebSockets {
    /// Ends all of them with a close frame, and waits for that, within a bound.
    pub async fn end(&self) {
        self.leave.cancel();
        self.running.close();
        // One that does not end is cut with the worker.
        let _ = timeout(LEAVE_TIME, self.running.wait()).await;
    }
}

/// The place of a connection's WebSocket, between the answer to the handshake and its relay.
#[derive(Debug, Default)]
pub struct WebSocketSlot {
    is_filled: AtomicBool,
    socket: Mutex<Option<WebSocket>>,
}

impl WebSocketSlot {
    pub(super) fn fill(&self, socket: WebSocket) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        self.is_filled.store(true, Ordering::Relaxed);
    }

    /// The WebSocket, if the connection has switched to one.
    pub fn take(&self) -> Option<WebSocket> {
        if !self.is_filled.load(Ordering::Relaxed) {
            return None;
        }
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A WebSocket whose handshake is answered.
#[derive(Debug)]
pub struct WebSocket {
    worker: Arc<Worker>,
    tunnel: Box<Tunnel>,
    guard: AccessRecordGuard,
}

impl WebSocket {
    pub(super) fn new(worker: Arc<Worker>, tunnel: Box<Tunnel>, guard: AccessRecordGuard) -> Self {
        Self { worker, tunnel, guard }
    }

    /// Relays to the end. `early`: what was read of the client already. Returns what is left of the upstream's connection, to be
    /// closed beside that of the client, and the place among those that run, which lasts until then.
    pub async fn run<C: AsyncRead + AsyncWrite + Unpin>(
        self,
        client: &mut C,
        early: Bytes,
    ) -> (Remains, TaskTrackerToken) {
        let Self { worker, tunnel, mut guard } = self;
        let running = worker.websockets.running.token();
        let passed = |party, bytes| match party {
            Party::Client => guard.pass_client(bytes),
            Party::Upstream | Party::Tollgate => guard.pass_bytes(bytes),
        };
        let leave = worker.websockets.leave.cancelled();
        let (ended, remains) = tunnel.relay(client, early, leave, passed).await;
        guard.end_websocket(record(ended), end(ended));
        (remains, running)
    }
}

fn end(ended: Ended) -> End {
    match (ended.by, ended.close) {
        (Party::Client | Party::Upstream, Some(_)) => End::Complete,
        (Party::Client, None) => End::ClientLeft,
        (Party::Upstream, None) | (Party::Tollgate, _) => End::Cut,
    }
}

fn record(ended: Ended) -> WebSocketEnd {
    let closed_by = match ended.by {
        Party::Client => ClosedBy::Client,
        Party::Upstream => ClosedBy::Upstream,
        Party::Tollgate => ClosedBy::Tollgate,
    };
    let code = ended.close.map_or(WebSocketEnd::BROKEN, |close| close.code.unwrap_or(WebSocketEnd::NO_CODE));
    let (frames_in, frames_out) = ended.frames;
    WebSocketEnd { closed_by, code, frames_in, frames_out }
}

/// Sends the handshake upstream.
pub(super) async fn open(
    Outbound { request: InFlight { worker, head, .. }, call, .. }: Outbound<'_>,
    sendable: &Sendable<'_>,
    context: &mut RequestContext,
) -> Result<SwitchReply, Fault> {
    if worker.ready.is_draining() {
        return Err(Fault::new(FaultKind::Overloaded, "tollgate is stopping: try again in a moment"));
    }
    let upstream = relay::request_of(sendable, 0)?;
    context.set_sent(&upstream.origin);
    let sent = send(worker, &call.hit, upstream, &head.headers).await;
    sent.map_err(|error| relay::send_fault(&error, &call.hit, context))
}

/// Makes the answer to the client. After a 401, a refreshed login is sent once more.
pub(super) async fn answer(
    outbound: Outbound<'_>,
    sendable: &Sendable<'_>,
    reply: SwitchReply,
    (refused, attempts): (Option<RefreshRequest>, RefreshAttempts),
    context: &mut RequestContext,
) -> Response<Body> {
    let reply = match (reply, refused) {
        (SwitchReply::Answered(answer), Some(refused)) if answer.status() == StatusCode::UNAUTHORIZED => {
            let again = retry(outbound, refused, attempts, context).await;
            again.unwrap_or(SwitchReply::Answered(answer))
        }
        (reply, _) => reply,
    };
    match reply {
        SwitchReply::Switched(headers, tunnel) => {
            context.set_connected(tunnel.connect_time());
            context.set_switched(tunnel);
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let mut headers = rewrite::switched(headers);
            sendable.conceal_switched(&mut headers);
            *answer.headers_mut() = headers;
            answer
        }
        SwitchReply::Answered(answer) => {
            context.set_connected(answer.body().connect_time());
            relay::response(outbound, sendable, answer, None, None, context)
        }
    }
}

/// Refreshes the login and sends the handshake once more. None if that brought no other access token, or no answer.
async fn retry(
    Outbound { request: InFlight { worker, head, .. }, call, caller }: Outbound<'_>,
    refused: RefreshRequest,
    mut attempts: RefreshAttempts,
    context: &mut RequestContext,
) -> Option<SwitchReply> {
    let begun = Instant::now();
    attempts.refresh(&worker.refresher, refused.clone()).await;
    context.set_refreshed(begun);
    let owners = credential::owners(caller, &call.hit, &attempts);
    let sendable = call.credential(owners, now_ms()).ok()?.without_refresh().with_body(&[]);
    let place = &refused.credential;
    if !sendable.replaces(&place.owner, &place.field, refused.seen()) {
        return None;
    }
    let sent = send(worker, &call.hit, relay::request_of(&sendable, 0).ok()?, &head.headers).await;
    let mut reply = sent.inspect_err(|error| drop(relay::send_fault(error, &call.hit, context))).ok()?;
    match &mut reply {
        SwitchReply::Switched(headers, _) => sendable.conceal_switched(headers),
        SwitchReply::Answered(answer) => sendable.conceal(answer.headers_mut()),
    }
    Some(reply)
}

/// `client`: the headers of the client's handshake.
async fn send(
    worker: &Worker,
    hit: &Hit,
    upstream: UpstreamRequest<'_>,
    client: &HeaderMap,
) -> Result<SwitchReply, SendError> {
    let UpstreamRequest { origin, entered, method, target, headers } = upstream;
    let timeouts = hit.endpoint().timeouts;
    let deadlines =
        Deadlines { connect: timeouts.connect, first_byte: timeouts.first_byte, idle: timeouts.idle };
    let mut request = Request::new(Upload::empty());
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    let identity = hit.provider.tls.as_ref().and_then(|tls| tls.made::<Identity>());
    let entered = entered.as_ref();
    worker.upstream.switch(Target { origin: &origin, identity, entered }, request, client, deadlines).await
}
