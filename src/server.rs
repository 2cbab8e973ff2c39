//! Listeners and drain: sockets become requests for `gateway`, on one current-thread runtime per worker, and
//! end in order when the process is told to.
//!
//! Decides nothing about a request; what hyper refuses of one (`400`, `414`, `431`) never comes further.

mod patience;

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

use patience::Patience;

use crate::{
    accounts::{Accounts, Attempts, LocalCache, Refresher},
    admin::Desk,
    files::Live,
    gateway::{self, Face, Readiness, Worker},
    systemd::Pulse,
    telemetry::Recorder,
    upstream::{self, Upstream},
};

/// Name lookups that may run at once, per worker.
const MAX_LOOKUPS: usize = 32;
/// How often a worker drops connections to upstreams that were unused for too long.
const SWEEP: Duration = Duration::from_secs(5);
/// How long to wait when connections cannot be accepted, as when the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long such a failure is not told again.
const TELL_AGAIN: Duration = Duration::from_mins(1);
/// How long a client may take nothing of its answer.
const CLIENT_STALL: Duration = Duration::from_mins(10);
/// How long a client may be silent before the system asks whether it is still there.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// What all workers share.
#[derive(Debug, Clone)]
pub struct House {
    /// The current table.
    pub live: Arc<Live>,
    /// Where calls of the API are handed in.
    pub desk: Desk,
    /// Whether more requests are wanted.
    pub ready: Arc<Readiness>,
    /// Who callers are.
    pub accounts: Accounts,
    /// Who keeps logins alive.
    pub refresher: Refresher,
    /// Proxies whose word for where a request came from is taken.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The way to upstreams.
    pub upstream: Arc<upstream::Shared>,
    /// Where finished requests go, if anyone wants them.
    pub recorder: Option<Recorder>,
    /// How long a head may take.
    pub head_timeout: Duration,
    /// The largest head, in bytes.
    pub max_head: usize,
    /// How long streams may go on once `stop` is told.
    pub grace: Duration,
    /// Told when no more connections are to be accepted.
    pub stop: CancellationToken,
}

/// What a worker has to itself.
#[derive(Debug)]
pub struct Station {
    /// Where its connections come from.
    pub listener: TcpListener,
    /// What it shows there.
    pub face: Face,
    /// What shows that it is alive.
    pub pulse: Pulse,
    /// Its first request's number.
    pub first_id: u64,
}

/// Runs one worker until it has stopped and drained.
pub fn work(station: Station, house: &House) -> io::Result<()> {
    // Name lookups block a thread each; those that nobody waits for any more are not waited for at the end.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(MAX_LOOKUPS).build()?;
    let pulse = station.pulse.clone();
    let served = runtime.block_on(async {
        tokio::select! {
            served = serve(station, house) => served,
            never = pulse.keep() => match never {},
        }
    });
    runtime.shutdown_background();
    if served.is_ok() {
        pulse.rest();
    }
    served
}

async fn sweep(house: &House, worker: &Worker) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = house.stop.cancelled() => return,
            _ = tick.tick() => worker.upstream.sweep(),
        }
    }
}

async fn serve(station: Station, house: &House) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(station.listener)?;
    let tasks = TaskTracker::new();
    let worker = Arc::new(Worker {
        face: station.face,
        live: house.live.clone(),
        desk: house.desk.clone(),
        ready: house.ready.clone(),
        accounts: house.accounts.clone(),
        cache: LocalCache::default(),
        refresher: house.refresher.clone(),
        attempts: Attempts::default(),
        trusted_proxies: house.trusted_proxies.clone(),
        upstream: Upstream::new(house.upstream.clone()),
        tasks: tasks.clone(),
        recorder: house.recorder.clone(),
        next_id: AtomicU64::new(station.first_id),
    });
    tokio::join!(accept(listener, house, &worker), sweep(house, &worker));
    tasks.close();
    if tokio::time::timeout(house.grace, tasks.wait()).await.is_err() {
        tracing::warn!(unfinished = tasks.len(), "the grace period is over: what is unfinished is cut");
    }
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, house: &House, worker: &Arc<Worker>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(house.head_timeout)
        .max_buf_size(house.max_head.max(64 << 10))
        .max_header_size(house.max_head)
        // RFC 9110, section 6.6.1: what has no `Date` gets one on its way down.
        .auto_date_header(true);
    let mut told: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = house.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
                worker.tasks.spawn(converse(http.clone(), stream, peer, worker.clone(), house.stop.clone()));
            }
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
                    told = Some(Instant::now());
                    tracing::warn!(%error, "connections cannot be accepted, and wait: if too many files are open, raise the limit (`ulimit -n`, `LimitNOFILE=` of a service)");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One client's connection, to its end.
async fn converse(
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
        std::pin::pin!(http.serve_connection(TokioIo::new(Patience::new(stream, CLIENT_STALL)), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        // What hyper itself refuses is answered before any code of ours sees it: this is its only trace.
        Err(error) if error.is_parse() => {
            tracing::info!(peer = %peer.ip(), %error, "a request was refused: not valid HTTP, or its head is too large");
        }
        Err(error) => tracing::debug!(peer = %peer.ip(), %error, "a client's connection ended early"),
        Ok(()) => {}
    }
}
