//! `upstream`: sends one finished request to one origin and hands back the answer, streaming both
//! ways. It owns connect rules, the judging of addresses, TLS, connection pools, deadlines and the
//! one safe retry.
//!
//! It speaks HTTP/1.1 only, never follows a redirect, never buffers a body, never logs and never
//! spawns a task: a connection is driven by whoever waits for it, so dropping the future of
//! [`Upstream::send`] or the [`Download`] cancels the request upstream at once.
//!
//! Read next: `exchange` (one request on one connection), `pool`, `connect`, `judge`.

mod answer;
mod connect;
mod download;
mod error;
mod exchange;
mod judge;
mod pool;
mod rule;
#[cfg(test)]
mod tests;
mod timer;
mod tls;
mod upload;

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use rustls::pki_types::CertificateDer;

use crate::origin::Origin;

pub use self::{
    download::{CutError, Download},
    error::SendError,
    rule::{ConnectRule, RuleError},
    tls::{CaError, load_ca_file},
    upload::{MAX_KEPT, Upload, UploadError, UploadWatch},
};
use self::{
    exchange::Exchanged,
    pool::{Live, Pool},
};

/// How often one request may be put on a connection: the second time only if nothing was written the
/// first time, and then on a fresh one.
const ATTEMPTS: usize = 2;

/// What is common to all upstreams of a process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where connections really go; the first rule that matches counts.
    pub connect_to: Vec<ConnectRule>,
    /// Certificate authorities besides those of the system.
    pub extra_ca: Vec<CertificateDer<'static>>,
    /// Whether a name may lead to a private or loopback address.
    pub allow_private: bool,
    /// How long a connection may wait unused.
    pub pool_idle_timeout: Duration,
    /// How many unused connections one origin may have, per worker.
    pub pool_max_idle_per_origin: usize,
    /// How many unused connections all origins together may have, per worker.
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

/// How long each part of an exchange may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For name lookup, TCP and TLS together.
    pub connect: Duration,
    /// From the last progress of the upload to the head of the answer.
    pub first_byte: Duration,
    /// Between two frames of the answer, counted only while somebody waits for one.
    pub idle: Duration,
}

/// The compiled [`Config`]: one per process, shared by the workers.
#[derive(Debug)]
pub struct Shared {
    config: Config,
    tls: Arc<rustls::ClientConfig>,
}

impl Shared {
    /// Compiles `config`; reads the system's certificate authorities.
    pub fn new(config: Config) -> Result<Self, CaError> {
        let tls = tls::client_config(&config.extra_ca)?;
        Ok(Self { config, tls })
    }
}

/// The way to all origins for one worker, with its own pool of connections. Its connections belong to
/// the runtime that opened them, so it stays on one runtime.
#[derive(Debug)]
pub struct Upstream {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
}

impl Upstream {
    /// An upstream without any connection yet.
    pub fn new(shared: Arc<Shared>) -> Self {
        let pool = Arc::new(Pool::new(&shared.config));
        Self { shared, pool }
    }

    /// Sends `request` to `origin` and waits for the head of the answer.
    ///
    /// The request's URI is in origin form and `Host` is set. Its framing headers are replaced by what
    /// the [`Upload`] knows of itself. When nothing of the request was written, since the connection
    /// turned out to be closed, it goes once more on a fresh one, whatever its method.
    pub async fn send(
        &self,
        origin: &Origin,
        mut request: Request<Upload>,
        deadlines: Deadlines,
    ) -> Result<Response<Download>, SendError> {
        exchange::frame(&mut request)?;
        let mut idle = self.pool.checkout(origin);
        for _ in 0..ATTEMPTS {
            let live = match idle.take() {
                Some(live) => live,
                None => self.open(origin, deadlines).await?,
            };
            match exchange::exchange(live, request, deadlines).await? {
                Exchanged::Answer(answer, live) => return self.accept(answer, live, deadlines.idle),
                Exchanged::Unsent(unsent) => request = *unsent,
            }
        }
        Err(SendError::Reset("closed each connection before the request was written".into()))
    }

    /// Drops the connections that have waited too long. Call it every few seconds.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    /// How many connections wait unused.
    pub fn idle_connections(&self) -> usize {
        self.pool.len()
    }

    async fn open(&self, origin: &Origin, deadlines: Deadlines) -> Result<Box<Live>, SendError> {
        // Boxed, since connecting is rare and its state large: a warm request should not carry it.
        let opening = Box::pin(async {
            let io = connect::connect(&self.shared, origin).await?;
            Live::open(origin, io, deadlines.idle).await
        });
        tokio::time::timeout(deadlines.connect, opening).await.unwrap_or_else(|_| {
            Err(SendError::ConnectTimeout { host: origin.host().into(), limit: deadlines.connect })
        })
    }

    fn accept(
        &self,
        mut answer: Response<hyper::body::Incoming>,
        mut live: Box<Live>,
        idle: Duration,
    ) -> Result<Response<Download>, SendError> {
        answer::check(&mut answer).map_err(|what| SendError::Malformed(what.into()))?;
        live.patience = answer::patience(answer.headers());
        // hyper would speak HTTP/1.0 on this connection from now on, and so drop a chunked body.
        let pool = (answer.version() == http::Version::HTTP_11).then(|| Arc::clone(&self.pool));
        Ok(answer.map(|body| Download::new(body, live, pool, idle)))
    }
}
