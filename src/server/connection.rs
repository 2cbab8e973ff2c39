//! One client's connection, from its first byte to its close: TLS if the listener has it, then HTTP/1.1 or HTTP/2. Without
//! TLS the first bytes decide, with it ALPN does.
//!
//! It guarantees: the handshake has the timeout of a request's head; a connection without a request ends at the begin of a
//! graceful shutdown. Read next: `http2`, `client_stream`.

use std::{convert::Infallible, net::IpAddr, sync::Arc, task::Context};

use bytes::Bytes;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    CLIENT_STALL, Shared,
    client_stream::{ClientStream, ClientTimeouts},
    http2::{self, Io, PREFACE},
    refusal::WithRefusals,
};
use crate::{
    admission::{Admitted, Arrival, ClientConnection},
    decide::MAX_FIELDS,
    fault::{Fault, FaultKind},
    gateway::{self, WebSocketSlot, Worker},
    listener_tls::ListenerTls,
    settings::HalfClosed,
    upstream::Remains,
};

/// The protocols of all listeners.
#[derive(Clone)]
pub(super) struct Protocols {
    http1: http1::Builder,
    max_head: usize,
    tls: Option<ListenerTls>,
}

impl Protocols {
    pub(super) fn new(shared: &Shared) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // `ClientStream` has that timeout: hyper takes an idle connection for one with a slow head.
            .header_read_timeout(None)
            .half_close(shared.half_closed == HalfClosed::Answer)
            .max_buf_size(shared.max_head.max(64 << 10))
            .max_header_size(shared.max_head)
            // Up to this number, `decide` refuses what is beyond its limit, in the format of the API that is called.
            .max_headers(2 * MAX_FIELDS)
            // RFC 9110, section 6.6.1: adds a `Date` to responses without one.
            .auto_date_header(true);
        Self { http1, max_head: shared.max_head, tls: shared.tls.clone() }
    }
}

/// A client's connection.
pub(super) struct Client {
    pub(super) stream: tokio::net::TcpStream,
    pub(super) peer: IpAddr,
    pub(super) arrival: Arrival,
    pub(super) admitted: Admitted,
    pub(super) timeouts: ClientTimeouts,
}

/// What a connection is served with.
#[derive(Clone, Copy)]
struct Serving<'c> {
    protocols: &'c Protocols,
    worker: &'c Arc<Worker>,
    peer: IpAddr,
    arrival: Arrival,
    state: &'c Arc<ClientConnection>,
    timeouts: ClientTimeouts,
    stop: &'c CancellationToken,
}

/// The close of a connection.
#[derive(Default, PartialEq, Eq)]
enum Close {
    /// In stages, so that the client gets the last response.
    #[default]
    Staged,
    /// The same, within tight bounds: the client broke the protocol.
    Brief,
    /// At once: no response could be lost by that, or its client has forfeited it.
    Now,
}

/// What is left of a connection that has served its last request.
#[derive(Default)]
struct Left {
    close: Close,
    /// The upstream's connection of its WebSocket, and the place among those that run.
    websocket: Option<(Remains, TaskTrackerToken)>,
}

/// Serves one client's connection, to its end.
pub(super) async fn serve(
    protocols: Protocols,
    client: Client,
    worker: Arc<Worker>,
    stop: CancellationToken,
) {
    let Client { stream, peer, arrival, admitted, timeouts } = client;
    let state = &admitted.connection;
    let stream = ClientStream::new(stream, state.clone(), timeouts);
    let serving =
        Serving { protocols: &protocols, worker: &worker, peer, arrival, state, timeouts, stop: &stop };
    match &protocols.tls {
        None => serving.plain(stream).await,
        // Boxed: connections without TLS should not carry its state.
        Some(tls) => Box::pin(serving.with_tls(tls, stream)).await,
    }
}

impl Serving<'_> {
    async fn plain(self, mut stream: ClientStream) {
        let is_enough = |bytes: &[u8]| bytes.len() == PREFACE.len() || !PREFACE.starts_with(bytes);
        let Some(first) = self.look_ahead(&mut stream, is_enough).await else { return };
        let left = if *first == *PREFACE {
            stream.share();
            Box::pin(self.http2(&mut stream)).await
        } else {
            self.http1(&mut stream).await
        };
        self.close(stream, left).await;
    }

    async fn with_tls(self, tls: &ListenerTls, mut stream: ClientStream) {
        let Some(first) = self.look_ahead(&mut stream, |bytes| !bytes.is_empty()).await else { return };
        // A TLS record of a handshake begins with 22.
        if first[0].is_ascii_alphabetic() {
            self.refuse_plain(&mut stream).await;
            return self.close(stream, Left::default()).await;
        }
        let Some(mut stream) = self.handshake(tls, stream).await else { return };
        let left = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            stream.get_mut().0.share();
            self.http2(&mut stream).await
        } else {
            self.http1(&mut stream).await
        };
        self.close(stream.into_inner().0, left).await;
    }

    /// The first bytes. None if the connection ends before it has begun.
    async fn look_ahead(
        self,
        stream: &mut ClientStream,
        is_enough: impl Fn(&[u8]) -> bool + Copy,
    ) -> Option<Bytes> {
        let seen = tokio::select! {
            biased;
            seen = stream.look_ahead(is_enough) => seen,
            () = self.stop.cancelled() => {
                if stream.is_untouched() {
                    return None;
                }
                stream.look_ahead(is_enough).await
            }
        };
        seen.ok().filter(|bytes| !bytes.is_empty())
    }

    async fn handshake(self, tls: &ListenerTls, stream: ClientStream) -> Option<TlsStream<ClientStream>> {
        let Self { peer, timeouts, stop, .. } = self;
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        let shaken = tokio::select! {
            shaken = timeout(timeouts.head, handshake) => shaken,
            () = stop.cancelled() => return None,
        };
        match shaken {
            Ok(Ok(stream)) => {
                self.state.progress();
                return Some(stream);
            }
            Ok(Err(error)) => tracing::debug!(peer = %peer, %error, "a client's TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %peer, "a client's TLS handshake took too long"),
        }
        None
    }

    /// Answers a request without TLS, which a browser or a wrong base URL has sent.
    async fn refuse_plain(self, stream: &mut ClientStream) {
        let message = "This address is served over TLS: call it with `https://`";
        let service = service_fn(|_| async move {
            let fault = Fault::new(FaultKind::MalformedRequest, message);
            Ok::<_, Infallible>(gateway::refuse(&fault))
        });
        let io = TokioIo::new(WithRefusals::new(stream, self.state));
        let refused = self.protocols.http1.serve_connection(io, service);
        if let Err(error) = refused.await {
            tracing::debug!(peer = %self.peer, %error, "a client's connection ended early");
        }
    }

    async fn http2(self, stream: &mut (dyn Io + '_)) -> Left {
        let served = http2::Served {
            worker: self.worker,
            peer: self.peer,
            arrival: self.arrival,
            connection: self.state,
            idle: self.timeouts.idle,
            stall: CLIENT_STALL,
            max_head: self.protocols.max_head,
            stop: self.stop,
        };
        let close = match http2::serve(stream, served).await {
            http2::Ended::InOrder => Close::Staged,
            http2::Ended::Broken(error) => {
                tracing::debug!(peer = %self.peer, %error, "a client's connection ended early");
                Close::Brief
            }
            http2::Ended::Dropped => Close::Now,
        };
        Left { close, websocket: None }
    }

    async fn http1(self, stream: &mut impl Io) -> Left {
        let Self { worker, peer, state, stop, .. } = self;
        let slot = WebSocketSlot::default();
        let switched = &slot;
        let service = service_fn(|request| {
            // Here, not in the future: hyper polls the socket once more before it polls that, and an idle connection may end.
            state.begin_request();
            let (worker, state) = (worker.clone(), state.clone());
            async move { Ok::<_, Infallible>(gateway::handle(worker, peer, state, switched, request).await) }
        });
        let mut is_unused = false;
        let (ended, early) = {
            let io = TokioIo::new(WithRefusals::new(stream, state));
            let mut connection = self.protocols.http1.serve_connection(io, service);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = stop.cancelled() => {
                    is_unused = state.is_between_requests();
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            };
            (ended, connection.into_parts().read_buf)
        };
        let websocket = slot.take().filter(|_| ended.is_ok());
        log_end(peer, ended);
        let mut remains = None;
        if let Some(websocket) = websocket {
            // Boxed, since few connections become one.
            remains = Some(Box::pin(websocket.run(stream, early)).await);
        }
        // An unused one has no response that could be lost.
        let close = if is_unused && state.is_between_requests() { Close::Now } else { Close::Staged };
        Left { close, websocket: remains }
    }

    async fn close(self, stream: ClientStream, left: Left) {
        let Self { state, stop, .. } = self;
        let (remains, running) = left.websocket.unzip();
        let upstream = async {
            if let Some(remains) = remains {
                remains.close().await;
            }
        };
        let client = async {
            let Some(socket) = stream.into_socket().filter(|_| left.close != Close::Now) else { return };
            state.end_requests();
            let evicted = |cx: &Context<'_>| state.poll_evicted(cx);
            match left.close {
                Close::Staged | Close::Now => gateway::staged_close(socket, evicted, stop.cancelled()).await,
                Close::Brief => gateway::brief_close(socket, evicted, stop.cancelled()).await,
            }
        };
        tokio::join!(client, upstream);
        drop(running);
    }
}

fn log_end(peer: IpAddr, ended: hyper::Result<()>) {
    match ended {
        // hyper answers such requests itself: this line is their only trace.
        Err(error) if error.is_parse() => {
            tracing::info!(peer = %peer, %error, "a request was refused: not valid HTTP, or its head is too large");
        }
        Err(error) => tracing::debug!(peer = %peer, %error, "a client's connection ended early"),
        Ok(()) => {}
    }
}
