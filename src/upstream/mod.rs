//! The HTTP client: sends one finished request to one origin and returns the response, streaming both ways. It owns
//! connect rules, DNS lookups, the SSRF guard (`destination`), TLS, connection pools, deadlines and the one safe retry.
//!
//! It speaks HTTP/1.1 only. It never follows a redirect, logs or spawns a task. The task that awaits a
//! response drives its connection, so that dropping the future of [`Upstream::send`] or the [`Download`] cancels the
//! request upstream at once.
//!
//! Read next: `exchange` (one request on one connection), `pool`, `connect`, `resolver`, `destination`, `turn` (fairness).

mod answer;
mod bounded_read;
mod connect;
mod counts;
mod download;
mod error;
mod exchange;
mod destination;
mod pool;
mod resolver;
mod rule;
mod socket;
#[cfg(test)]
mod tests;
mod timer;
mod tls;
mod tls_records;
mod turn;
mod upload;

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout_at};

use crate::origin::Origin;

pub use self::{
    counts::ConnectionCounts,
    download::{CutError, Download},
    error::SendError,
    rule::{ConnectRule, RuleError},
    tls::{CaError, load_ca_file},
    turn::begin_pipelined,
    upload::{MAX_KEPT, Tap, Upload, UploadError, UploadWatch},
};
use self::{
    counts::StreamGuard,
    exchange::Exchanged,
    pool::{Heads, Live, Pool},
    resolver::Resolver,
    upload::Budget,
};

/// Attempts per request. The second one happens only if the first wrote nothing, and on a fresh connection.
const ATTEMPTS: usize = 2;

/// Configuration of all upstreams of a process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Connect rules. The first that matches decides where a connection goes.
    pub connect_to: Vec<ConnectRule>,
    /// Certificate authorities in addition to those of the system.
    pub extra_ca: Vec<CertificateDer<'static>>,
    /// True if a name may resolve to a private or loopback address.
    pub allow_private: bool,
    /// Idle timeout of a pooled connection.
    pub pool_idle_timeout: Duration,
    /// Maximum idle connections per origin and worker.
    pub pool_max_idle_per_origin: usize,
    /// Maximum idle connections per worker.
    pub pool_max_idle: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_to: Vec::new(),
            extra_ca: Vec::new(),
            allow_private: false,
            pool_idle_timeout: Duration::from_mins(1),
            pool_max_idle_per_origin: 256,
            pool_max_idle: 1024,
        }
    }
}

/// Deadlines of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For DNS lookup, TCP and TLS together.
    pub connect: Duration,
    /// From the last progress of the upload to the head of the response.
    pub first_byte: Duration,
    /// Between two frames of the response; runs only while a frame is awaited.
    pub idle: Duration,
}

/// The compiled [`Config`]: one per process, shared by the workers.
#[derive(Debug)]
pub struct Shared {
    config: Config,
    tls: Arc<rustls::ClientConfig>,
    resolver: Resolver,
}

impl Shared {
    /// Compiles `config`; reads the system's certificate authorities.
    pub fn new(config: Config) -> Result<Self, CaError> {
        let tls = tls::client_config(&config.extra_ca)?;
        Ok(Self { config, tls, resolver: Resolver::new() })
    }

    /// The same authorities for receivers that the operator names in settings, such as those of exporters: they may have
    /// private addresses, and connect rules, which are for URLs of provider files, do not apply.
    #[must_use]
    pub fn for_operator(&self) -> Self {
        let config = Config { connect_to: Vec::new(), allow_private: true, ..self.config.clone() };
        Self { config, tls: self.tls.clone(), resolver: self.resolver.clone() }
    }
}

/// The HTTP client of one worker, with its own connection pool. It stays on one runtime, since connections belong to
/// the runtime that opened them.
#[derive(Debug)]
pub struct Upstream {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    heads: Heads,
    counts: Arc<ConnectionCounts>,
    /// The memory for bodies that are read ahead.
    ahead: Budget,
}

impl Upstream {
    /// A client with an empty pool.
    pub fn new(shared: Arc<Shared>) -> Self {
        let counts = Arc::new(ConnectionCounts::default());
        let pool = Arc::new(Pool::new(&shared.config, Arc::clone(&counts)));
        Self { shared, pool, heads: Heads::Strict, counts, ahead: Budget::default() }
    }

    /// A client for one call whose answer must not be lost: its head may be larger and less exact.
    pub fn for_token_endpoint(shared: Arc<Shared>) -> Self {
        Self { heads: Heads::Lenient, ..Self::new(shared) }
    }

    /// Sends `request` to `origin` and waits for the head of the response.
    ///
    /// The request's URI is in origin form and `Host` is set. Its framing headers are replaced by those of the
    /// [`Upload`]. If a pooled connection turns out to be closed and nothing was written, the request is sent once more
    /// on a fresh one, whatever its method.
    pub async fn send(
        &self,
        origin: &Origin,
        mut request: Request<Upload>,
        deadlines: Deadlines,
    ) -> Result<Response<Download>, SendError> {
        exchange::frame(&mut request)?;
        let mut idle = self.pool.checkout(origin);
        for _ in 0..ATTEMPTS {
            let started = Instant::now();
            let (live, connected_in) = match idle.take() {
                Some(live) => {
                    self.counts.count_reused();
                    (live, None)
                }
                None => (self.open(origin, deadlines).await?, Some(started)),
            };
            let connected_in = connected_in.map(|started| started.elapsed());
            match exchange::exchange(live, request, deadlines).await? {
                Exchanged::Answer(answer, live) => {
                    let answer = self.accept(answer, live, deadlines.idle)?;
                    return Ok(answer.map(|download| download.with_connect_time(connected_in)));
                }
                Exchanged::Unsent(unsent) => request = *unsent,
            }
        }
        Err(SendError::Reset("closed each connection before the request was written".into()))
    }

    /// Reads a client's body before it is sent, within bounds of bytes and memory, and `wait` for each piece. Returns it if
    /// that is all of it. Else it is sent as it is.
    pub async fn read_ahead<'u>(
        &self,
        upload: &'u mut Upload,
        wait: Duration,
    ) -> Result<Option<&'u [u8]>, SendError> {
        upload.read_ahead(&self.ahead, wait).await
    }

    /// Closes connections that have been idle for too long. Call it every few seconds.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    /// Number of idle connections.
    pub fn idle_connections(&self) -> usize {
        self.pool.len()
    }

    /// The numbers of its connections.
    pub fn counts(&self) -> &Arc<ConnectionCounts> {
        &self.counts
    }

    async fn open(&self, origin: &Origin, deadlines: Deadlines) -> Result<Box<Live>, SendError> {
        // Boxed: connecting is rare and its state is large, so that a warm request does not carry it.
        Box::pin(async {
            let limit = deadlines.connect;
            let due = timer::after(Instant::now(), limit);
            let target = connect::target(&self.shared, origin);
            let addresses = timeout_at(due, connect::resolve(&self.shared, target))
                .await
                .unwrap_or_else(|_| Err(SendError::DnsTimeout { host: target.host().into(), limit }))?;
            let opening = async {
                let (io, watch) = connect::connect(&self.shared, origin, target, addresses).await?;
                Live::open(origin, io, watch, deadlines.idle, self.heads).await
            };
            timeout_at(due, opening)
                .await
                .unwrap_or_else(|_| Err(SendError::ConnectTimeout { host: origin.host().into(), limit }))
                .inspect(|_| self.counts.count_opened())
        })
        .await
    }

    fn accept(
        &self,
        mut answer: Response<hyper::body::Incoming>,
        mut live: Box<Live>,
        idle: Duration,
    ) -> Result<Response<Download>, SendError> {
        if self.heads == Heads::Strict {
            answer::check(&mut answer).map_err(|what| SendError::Malformed(what.into()))?;
        }
        live.keep_alive = answer::keep_alive_timeout(answer.headers());
        // hyper would use HTTP/1.0 on this connection from now on, and drop a chunked body.
        let pool = (answer.version() == http::Version::HTTP_11).then(|| Arc::clone(&self.pool));
        let stream = StreamGuard::new(&self.counts);
        Ok(answer.map(|body| Download::new(body, live, pool, stream, idle)))
    }
}
