//! The HTTP client: sends one finished request to one origin and returns the response, streaming both ways. It owns
//! connect rules, DNS lookups, the SSRF guard (`destination`), TLS, connection pools, deadlines and the one safe retry.
//!
//! It speaks HTTP/1.1 only. It never follows a redirect, logs or spawns a task. The task that awaits a
//! response drives its connection, so that dropping the future of [`Upstream::send`] or the [`Download`] cancels the
//! request upstream at once.
//!
//! Read next: `exchange` (one request on one connection), `pool`, `connect`, `proxy` (outgoing proxies), `identity` (TLS of one
//! provider), `resolver`, `destination`, `turn` (fairness).

mod answer;
mod bounded_read;
mod connect;
mod counts;
mod download;
mod error;
mod exchange;
mod destination;
mod identity;
mod io;
mod pool;
mod proxy;
mod resolver;
mod rule;
mod socket;
mod switch;
#[cfg(test)]
mod tests;
mod timer;
mod tunnel;
mod tls;
mod tls_records;
mod turn;
mod upload;

use std::{collections::BTreeMap, future::poll_fn, sync::Arc, time::Duration};

use http::{HeaderMap, Request, Response, StatusCode};
use rustls::{RootCertStore, pki_types::CertificateDer};
use tokio::time::{Instant, timeout_at};

use crate::{origin::Origin, settings::UserOrigins};

use self::{
    connect::Due,
    counts::StreamGuard,
    exchange::Exchanged,
    identity::IdentityId,
    pool::{Heads, Live, Pool},
    resolver::Resolver,
    switch::Offer,
    upload::Budget,
};
pub use self::{
    counts::ConnectionCounts,
    download::{CutError, Download},
    error::SendError,
    identity::{Identity, certified_key, make_tls},
    proxy::{Proxies, Proxy, ProxyError},
    rule::{ConnectRule, RuleError},
    tls::{CaError, load_ca_file},
    tunnel::{Ended, Party, Remains, Tunnel},
    turn::begin_pipelined,
    upload::{BodyCheck, MAX_KEPT, ReadAhead, ReadChecked, Tap, Upload, UploadError, UploadWatch},
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
    /// Outgoing proxies, if there are any.
    pub proxies: Option<Proxies>,
    /// The origins that users may enter.
    pub user_origins: UserOrigins,
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
            proxies: None,
            user_origins: UserOrigins::default(),
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
    /// For DNS lookup, TCP, the tunnel of a proxy and TLS together.
    pub connect: Duration,
    /// From the last progress of the upload to the head of the response.
    pub first_byte: Duration,
    /// Between two frames of the response; runs only while a frame is awaited.
    pub idle: Duration,
}

/// The answer to a handshake.
#[derive(Debug)]
pub enum SwitchReply {
    /// The connection has switched. The headers of the answer, which is 101 and fits.
    Switched(HeaderMap, Box<Tunnel>),
    /// Any other answer.
    Answered(Response<Download>),
}

/// The compiled [`Config`]: one per process, shared by the workers.
#[derive(Debug)]
pub struct Shared {
    config: Config,
    roots: Arc<RootCertStore>,
    tls: Arc<rustls::ClientConfig>,
    resolver: Resolver,
}

/// The end of a connection: an origin, and the TLS identity for it, if there is one of its own.
#[derive(Debug, Clone, Copy)]
pub struct Target<'d> {
    /// The origin.
    pub origin: &'d Origin,
    /// The identity.
    pub identity: Option<&'d Identity>,
    /// The upstream's origin, if a user entered it as a whole: the setting `user_origins` has to allow it. An egress is another
    /// origin than that.
    pub entered: Option<&'d Origin>,
}

impl Target<'_> {
    fn identity(self) -> Option<IdentityId> {
        self.identity.map(Identity::id)
    }

    /// True if a user entered the origin of the connection.
    fn is_entered(self) -> bool {
        self.entered == Some(self.origin)
    }
}

impl<'d> From<&'d Origin> for Target<'d> {
    fn from(origin: &'d Origin) -> Self {
        Self { origin, identity: None, entered: None }
    }
}

impl Shared {
    /// Compiles `config`; reads the system's certificate authorities.
    pub fn new(config: Config) -> Result<Self, CaError> {
        let roots = tls::roots(&config.extra_ca)?;
        let tls = tls::client_config(Arc::clone(&roots), None);
        Ok(Self { config, roots, tls, resolver: Resolver::new() })
    }

    /// Checks the origin that a user entered. Before each request: a connection that was opened for another one may wait for it.
    fn permits(&self, to: Target<'_>) -> Result<(), SendError> {
        let denied = to.entered.filter(|entered| !self.config.user_origins.allows(entered));
        denied.map_or(Ok(()), |entered| Err(SendError::NotAllowed { origin: entered.to_string().into() }))
    }

    /// The outgoing proxies by the scheme of the origins that are reached through them, without credentials.
    pub fn proxies_shown(&self) -> BTreeMap<String, String> {
        let Some(Proxies { http, https, .. }) = &self.config.proxies else { return BTreeMap::new() };
        let shown = [("http", http), ("https", https)].into_iter();
        let shown = shown.filter_map(|(scheme, proxy)| Some((scheme, proxy.as_ref()?)));
        shown.map(|(scheme, proxy)| (scheme.to_owned(), proxy.origin().to_string())).collect()
    }

    /// The same authorities for receivers that the operator names in settings, such as those of exporters: they may have
    /// private addresses, and connect rules, which are for URLs of provider files, do not apply.
    #[must_use]
    pub fn for_operator(&self) -> Self {
        let config = Config { connect_to: Vec::new(), allow_private: true, ..self.config.clone() };
        Self { config, roots: self.roots.clone(), tls: self.tls.clone(), resolver: self.resolver.clone() }
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

    /// Sends `request` to an origin and waits for the head of the response.
    ///
    /// The request's URI is in origin form and `Host` is set. Its framing headers are replaced by those of the
    /// [`Upload`]. If a pooled connection turns out to be closed and nothing was written, the request is sent once more
    /// on a fresh one, whatever its method.
    pub async fn send(
        &self,
        to: impl Into<Target<'_>>,
        mut request: Request<Upload>,
        deadlines: Deadlines,
    ) -> Result<Response<Download>, SendError> {
        let to = to.into();
        self.shared.permits(to)?;
        exchange::frame(&mut request)?;
        let proxy = connect::forwarding(&self.shared, to.origin);
        if let Some(proxy) = proxy {
            proxy.forwarded(&mut request, to.origin)?;
        }
        let mut idle = self.pool.checkout(to);
        for _ in 0..ATTEMPTS {
            let started = Instant::now();
            let (live, connected_in) = match idle.take() {
                Some(live) => {
                    self.counts.count_reused();
                    (live, None)
                }
                None => (self.open(to, deadlines).await?, Some(started)),
            };
            let connected_in = connected_in.map(|started| started.elapsed());
            match exchange::exchange(live, request, deadlines).await? {
                Exchanged::Answer(answer, live) => {
                    proxy.map_or(Ok(()), |proxy| proxy.check(to.origin, answer.status()))?;
                    let answer = self.accept(answer, live, deadlines.idle)?;
                    return Ok(answer.map(|download| download.with_connect_time(connected_in)));
                }
                Exchanged::Unsent(unsent) => request = *unsent,
            }
        }
        Err(SendError::Reset("closed each connection before the request was written".into()))
    }

    /// Sends the handshake of a WebSocket to `origin`. The connection is a new one, and belongs to the WebSocket from then on. An
    /// answer other than 101 is returned as [`Upstream::send`] does. `client`: the headers of the client's own handshake. The
    /// answer has nothing that the client did not offer.
    pub async fn switch(
        &self,
        to: impl Into<Target<'_>>,
        mut request: Request<Upload>,
        client: &HeaderMap,
        deadlines: Deadlines,
    ) -> Result<SwitchReply, SendError> {
        let to = to.into();
        self.shared.permits(to)?;
        exchange::frame(&mut request)?;
        let offer = Offer::of(request.headers());
        let proxy = connect::forwarding(&self.shared, to.origin);
        if let Some(proxy) = proxy {
            proxy.forwarded(&mut request, to.origin)?;
        }
        let started = Instant::now();
        let mut live = self.open(to, deadlines).await?;
        let connected_in = Some(started.elapsed());
        live.ask_to_switch();
        let Exchanged::Answer(answer, mut live) = exchange::exchange(live, request, deadlines).await? else {
            return Err(SendError::Reset("closed the connection before the request was written".into()));
        };
        proxy.map_or(Ok(()), |proxy| proxy.check(to.origin, answer.status()))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let answer = self.accept(answer, live, deadlines.idle)?;
            return Ok(SwitchReply::Answered(
                answer.map(|download| download.with_connect_time(connected_in)),
            ));
        }
        let (mut head, _) = answer.into_parts();
        offer.check(head.version, &head.headers).map_err(SendError::Handshake)?;
        switch::answer_client(client, &mut head.headers).map_err(SendError::Handshake)?;
        let due = timer::after(Instant::now(), deadlines.first_byte);
        let switched = timeout_at(due, poll_fn(|cx| live.poll_switched(cx))).await;
        let Some((io, early)) = switched.map_err(|_| SendError::Timeout(deadlines.first_byte))? else {
            return Err(SendError::Reset("closed the connection after it answered the handshake".into()));
        };
        let stream = StreamGuard::new(&self.counts);
        let tunnel = Tunnel { io, early, idle: deadlines.idle, connected_in, stream };
        Ok(SwitchReply::Switched(head.headers, Box::new(tunnel)))
    }

    /// Reads a body before it is sent: at most `limit` bytes, within a bound of memory for the worker, and `wait` for each
    /// piece. Beyond a bound it can still be sent as it is.
    pub async fn read_ahead<'u>(
        &self,
        upload: &'u mut Upload,
        limit: usize,
        wait: Duration,
    ) -> Result<ReadAhead<'u>, SendError> {
        upload.read_ahead(&self.ahead, limit, wait).await
    }

    /// Reads a body before it is sent until its check is satisfied, within the same bounds.
    pub async fn read_checked(
        &self,
        upload: &mut Upload,
        limit: usize,
        wait: Duration,
    ) -> Result<ReadChecked, SendError> {
        upload.read_checked(&self.ahead, limit, wait).await
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

    async fn open(&self, to: Target<'_>, deadlines: Deadlines) -> Result<Box<Live>, SendError> {
        // Boxed: connecting is rare and its state is large, so that a warm request does not carry it.
        Box::pin(async {
            let limit = deadlines.connect;
            let due = Due { at: timer::after(Instant::now(), limit), limit };
            let (io, watch) = connect::connect(&self.shared, to, due).await?;
            let live = Live::open(to, io, watch, deadlines.idle, self.heads);
            timeout_at(due.at, live)
                .await
                .unwrap_or_else(|_| Err(SendError::ConnectTimeout { host: to.origin.host().into(), limit }))
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
