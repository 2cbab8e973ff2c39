//! Workers: accept client connections, hand requests to `gateway`, and shut down gracefully. One current-thread runtime
//! per worker.
//!
//! It decides nothing about a request. Requests that hyper refuses (`400`, `414`, `431`) never reach `gateway`.

pub mod listen;
mod write_timeout;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use socket2::{SockRef, TcpKeepalive};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use write_timeout::WriteTimeout;

use crate::{
    accounts::{AuthRateLimit, Authenticator, LocalCache, Refresher},
    admin::ApiQueue,
    decide::ListenerRole,
    files::Live,
    gateway::{self, Readiness, Worker},
    systemd::Heartbeat,
    telemetry::Recorder,
    upstream::{self, Upstream},
};

/// Interval at which a worker closes idle upstream connections.
const SWEEP: Duration = Duration::from_secs(5);
/// Pause after a failed accept, as when the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
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
    /// Configuration of the HTTP client.
    pub upstream: Arc<upstream::Shared>,
    /// The access log; none if it is off.
    pub recorder: Option<Recorder>,
    /// Timeout for a request head.
    pub head_timeout: Duration,
    /// Maximum size of a request head, in bytes.
    pub max_head: usize,
    /// Grace period for streams after `stop`.
    pub grace: Duration,
    /// Cancelled to stop accepting connections.
    pub stop: CancellationToken,
}

/// A worker's own configuration.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Its listener.
    pub listener: TcpListener,
    /// The requests that it serves.
    pub role: ListenerRole,
    /// Its heartbeat for the watchdog.
    pub heartbeat: Heartbeat,
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
            _ = tick.tick() => worker.upstream.sweep(),
        }
    }
}

async fn serve(config: WorkerConfig, shared: &Shared) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(config.listener)?;
    let tasks = TaskTracker::new();
    let worker = Arc::new(Worker {
        role: config.role,
        live: shared.live.clone(),
        api_queue: shared.api_queue.clone(),
        ready: shared.ready.clone(),
        accounts: shared.accounts.clone(),
        cache: LocalCache::default(),
        refresher: shared.refresher.clone(),
        auth_rate_limit: AuthRateLimit::default(),
        trusted_proxies: shared.trusted_proxies.clone(),
        upstream: Upstream::new(shared.upstream.clone()),
        tasks: tasks.clone(),
        recorder: shared.recorder.clone(),
        next_id: AtomicU64::new(config.first_id),
    });
    tokio::join!(accept(listener, shared, &worker), sweep(shared, &worker));
    tasks.close();
    if tokio::time::timeout(shared.grace, tasks.wait()).await.is_err() {
        tracing::warn!(unfinished = tasks.len(), "the grace period is over: unfinished requests are cut");
    }
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, shared: &Shared, worker: &Arc<Worker>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(shared.head_timeout)
        .max_buf_size(shared.max_head.max(64 << 10))
        .max_header_size(shared.max_head)
        // RFC 9110, section 6.6.1: adds a `Date` to responses without one.
        .auto_date_header(true);
    let mut warned: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
                worker.tasks.spawn(serve_client(
                    http.clone(),
                    stream,
                    peer,
                    worker.clone(),
                    shared.stop.clone(),
                ));
            }
            Err(error) => {
                if warned.is_none_or(|warned| warned.elapsed() >= WARN_INTERVAL) {
                    warned = Some(Instant::now());
                    tracing::warn!(%error, "accepting connections failed; they wait in the backlog: if too many files are open, raise the limit (`ulimit -n`, or `LimitNOFILE=` of the service)");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One client's connection, to its end.
async fn serve_client(
    http: http1::Builder,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    worker: Arc<Worker>,
    stop: CancellationToken,
) {
    let service = service_fn(move |request| {
        let worker = worker.clone();
        async move { Ok::<_, std::convert::Infallible>(gateway::handle(worker, peer.ip(), request).await) }
    });
    let mut connection =
        std::pin::pin!(http.serve_connection(TokioIo::new(WriteTimeout::new(stream, CLIENT_STALL)), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        // hyper answers such requests itself: this line is their only trace.
        Err(error) if error.is_parse() => {
            tracing::info!(peer = %peer.ip(), %error, "a request was refused: not valid HTTP, or its head is too large");
        }
        Err(error) => tracing::debug!(peer = %peer.ip(), %error, "a client's connection ended early"),
        Ok(()) => {}
    }
}
