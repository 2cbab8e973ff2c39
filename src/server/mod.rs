//! Workers: accept client connections, hand requests to `gateway`, and shut down gracefully. One current-thread runtime
//! per worker.
//!
//! Each accepted connection is counted by `admission`, which may close an idle one for it or have it refused.
//!
//! It decides nothing about a request. Requests that hyper refuses (`400`, `414`, `431`) never reach `gateway`: `refusal` has
//! their answers. Read next: `connection`.

mod client_stream;
mod connection;
mod http2;
mod refusal;
pub mod listen;
mod request_wait;
mod streams;

use std::{
    io,
    net::{IpAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use ipnet::IpNet;
use socket2::{SockRef, TcpKeepalive};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use client_stream::ClientTimeouts;
use connection::{Client, Protocols};

use crate::{
    accounts::{AuthRateLimit, Authenticator, LocalCache, Refresher},
    admin::ApiQueue,
    admission::{Admission, Arrival, Entrance, LocalError},
    cors::{Readers, TrustedOrigins},
    decide::ListenerRole,
    files::Live,
    gateway::{DecodingBudget, EventStreams, JudgedBodies, Readiness, WebSockets, Worker},
    limits::LimitStates,
    listener_tls::ListenerTls,
    metrics::{Metrics, WorkerCounts},
    origin::Origin,
    recorder::Recorder,
    settings::{HalfClosed, TraceHeaders},
    systemd::Heartbeat,
    traffic::Traffic,
    upstream::{self, Upstream},
};

/// Interval at which a worker closes idle upstream connections.
const SWEEP: Duration = Duration::from_secs(5);
/// Pause after a failed accept, as when the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Timeout for the head of a request on a connection that is refused, and for the wait for it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Minimum interval between two warnings about that.
const WARN_INTERVAL: Duration = Duration::from_mins(1);
/// Write timeout of client connections.
const CLIENT_STALL: Duration = Duration::from_mins(10);
/// TCP keep-alive: idle time before the first probe.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Shared by all workers.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The current table.
    pub live: Arc<Live>,
    /// The queue for calls of the API.
    pub api_queue: ApiQueue,
    /// The readiness flag.
    pub ready: Arc<Readiness>,
    /// Authentication of callers.
    pub accounts: Authenticator,
    /// Refresh of OAuth logins.
    pub refresher: Refresher,
    /// Networks of proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Origins whose pages may send any header.
    pub trusted_origins: Arc<TrustedOrigins>,
    /// The pages that may read responses of providers.
    pub page_readers: Arc<Readers>,
    /// Admission control.
    pub admission: Arc<Admission>,
    /// The counters of limits.
    pub limits: LimitStates,
    /// The most bytes of a body that limits and rules read before it is sent.
    pub judged_body: usize,
    /// True if answers say what is left of limits.
    pub limit_headers: bool,
    /// Configuration of the HTTP client.
    pub upstream: Arc<upstream::Shared>,
    /// Answers scrapes.
    pub metrics: Metrics,
    /// Figures of finished calls.
    pub traffic: Traffic,
    /// The streams of events that may run at once.
    pub events: EventStreams,
    /// Timeout for a request head, from its first byte.
    pub head_timeout: Duration,
    /// Timeout for a connection without a request.
    pub idle_timeout: Duration,
    /// The longest time of a probe.
    pub probe_timeout: Duration,
    /// Whether a client that has closed its side of the connection gets its answer.
    pub half_closed: HalfClosed,
    /// The address at which people reach tollgate in a browser.
    pub public_url: Option<Origin>,
    /// The treatment of the trace context that clients send.
    pub trace_context: TraceHeaders,
    /// Maximum size of a request head, in bytes.
    pub max_head: usize,
    /// Grace period for streams after `stop`.
    pub grace: Duration,
    /// The certificate of the listeners; none for plain HTTP.
    pub tls: Option<ListenerTls>,
    /// Cancelled to stop accepting connections.
    pub stop: CancellationToken,
}

/// A worker's own configuration.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Its listener.
    pub listener: TcpListener,
    /// The number of the listener, from 0.
    pub number: usize,
    /// The requests that it serves.
    pub role: ListenerRole,
    /// Its heartbeat for the watchdog.
    pub heartbeat: Heartbeat,
    /// Takes its access records.
    pub recorder: Recorder,
    /// Number of its first request.
    pub first_id: u64,
}

/// Runs one worker until its graceful shutdown is complete.
pub fn work(config: WorkerConfig, shared: &Shared) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let heartbeat = config.heartbeat.clone();
    let served = runtime.block_on(async {
        tokio::select! {
            served = serve(config, shared) => served,
            never = heartbeat.run() => match never {},
        }
    });
    if served.is_ok() {
        heartbeat.stop();
    }
    served
}

async fn sweep(shared: &Shared, worker: &Worker) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = tick.tick() => {
                worker.upstream.sweep();
                shared.admission.tick();
            }
        }
    }
}

async fn serve(config: WorkerConfig, shared: &Shared) -> io::Result<()> {
    let listener =
        Listener { socket: tokio::net::TcpListener::from_std(config.listener)?, number: config.number };
    let tasks = TaskTracker::new();
    let worker = Arc::new(Worker {
        role: config.role,
        is_tls: shared.tls.is_some(),
        live: shared.live.clone(),
        api_queue: shared.api_queue.clone(),
        ready: shared.ready.clone(),
        accounts: shared.accounts.clone(),
        cache: LocalCache::default(),
        refresher: shared.refresher.clone(),
        auth_rate_limit: AuthRateLimit::default(),
        trusted_proxies: shared.trusted_proxies.clone(),
        admission: shared.admission.clone(),
        upstream: Upstream::new(shared.upstream.clone()),
        decoding: DecodingBudget::default(),
        limits: shared.limits.clone(),
        judging: JudgedBodies::default(),
        judged_body: shared.judged_body,
        limit_headers: shared.limit_headers,
        tasks: tasks.clone(),
        trusted_origins: shared.trusted_origins.clone(),
        page_readers: shared.page_readers.clone(),
        public_url: shared.public_url.clone(),
        trace_context: shared.trace_context,
        keep_alive: keep_alive(shared.idle_timeout),
        recorder: config.recorder,
        metrics: shared.metrics.clone(),
        events: shared.events.clone(),
        websockets: WebSockets::default(),
        probe_timeout: shared.probe_timeout,
        max_head: shared.max_head,
        stop: shared.stop.clone(),
        cuts: AtomicBool::new(false),
        next_id: AtomicU64::new(config.first_id),
    });
    let (upstream, callers) = (worker.upstream.counts().clone(), worker.cache.counts().clone());
    shared.traffic.add_worker(upstream.clone());
    shared.metrics.add_worker(WorkerCounts { upstream, callers });
    tokio::join!(accept(listener, shared, &worker), sweep(shared, &worker));
    tasks.close();
    if tokio::time::timeout(shared.grace, tasks.wait()).await.is_err() {
        worker.cuts.store(true, Ordering::Relaxed);
        worker.websockets.end().await;
        if !tasks.is_empty() {
            tracing::warn!(unfinished = tasks.len(), "the grace period is over: unfinished requests are cut");
        }
    }
    Ok(())
}

/// The listening socket of a worker.
struct Listener {
    socket: tokio::net::TcpListener,
    number: usize,
}

async fn accept(listener: Listener, shared: &Shared, worker: &Arc<Worker>) {
    let protocols = Protocols::new(shared);
    let timeouts =
        ClientTimeouts { head: shared.head_timeout, idle: shared.idle_timeout, stall: CLIENT_STALL };
    let brief = |timeout: Duration| timeout.min(REFUSAL_TIMEOUT);
    let refusing = ClientTimeouts { head: brief(timeouts.head), idle: brief(timeouts.idle), ..timeouts };
    let mut warned: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let arrival = arrival(worker, listener.number, peer.ip());
                if let Some(admitted) = worker.admission.connect(arrival) {
                    let is_served = admitted.connection.refusal().is_none();
                    tune(&stream);
                    let timeouts = if is_served { timeouts } else { refusing };
                    let client = Client { stream, peer: peer.ip(), arrival, admitted, timeouts };
                    worker.tasks.spawn(connection::serve(
                        protocols.clone(),
                        client,
                        worker.clone(),
                        shared.stop.clone(),
                    ));
                }
                // Connections that were asked to close get a turn before more are accepted.
                if shared.admission.is_crowded() {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                if warned.is_none_or(|warned| warned.elapsed() >= WARN_INTERVAL) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "accepting connections failed; they wait in the backlog: if too many files are open, raise the limit (`ulimit -n`, or `LimitNOFILE=` of the service)");
                }
                if let Some(local) = LocalError::of(&error) {
                    shared.admission.local_error(local);
                }
                shared.admission.evict_idle(listener.number);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The header that announces the idle timeout, in whole seconds.
fn keep_alive(idle_timeout: Duration) -> Option<HeaderValue> {
    let seconds = idle_timeout.as_secs();
    (seconds > 0).then(|| HeaderValue::try_from(format!("timeout={seconds}")).ok())?
}

/// The origin of a new connection. Trusted proxies have the connections of many clients, and no limit of their own.
fn arrival(worker: &Worker, listener: usize, peer: IpAddr) -> Arrival {
    let entrance = match worker.role {
        ListenerRole::Admin => Entrance::Admin,
        ListenerRole::Public | ListenerRole::All => Entrance::Clients,
    };
    let address = peer.to_canonical();
    let exempt = worker.trusted_proxies.iter().any(|net| net.contains(&address));
    Arrival { entrance, listener, peer: address, exempt }
}

fn tune(stream: &tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
}
