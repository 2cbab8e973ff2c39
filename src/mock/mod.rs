//! A fast mock upstream for tests, benchmarks and users without a key. It speaks the wire formats of the requests in
//! `answers/served`, unary and streamed, echoes the frames of WebSockets, and injects faults on request.
//!
//! Its responses are deterministic. It opens no connection and checks no credential.
//!
//! Read next: `behaviour` (the settings), `service` (the steps of a request), `answers` (the response texts).

mod abort;
mod answers;
mod behaviour;
mod body;
mod counts;
mod echo;
mod receive;
mod rendered;
mod service;
mod tls;
mod websocket;
mod worker;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use tokio_util::sync::CancellationToken;

pub use self::{
    behaviour::{At, Behaviour, Field},
    counts::{Counts, Snapshot},
    tls::Authority,
};
use self::{rendered::Rendered, worker::Worker};

/// The requests that a mock answers: the method, and the end of the path.
pub fn served() -> impl Iterator<Item = (&'static str, &'static str)> {
    answers::SERVED.iter().map(|(method, path, _)| (method.as_str(), *path))
}

/// Options of a mock.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The default behaviour. A request may override it.
    pub behaviour: Behaviour,
    /// Serve TLS with certificates of this authority; `None` serves plain HTTP.
    pub tls: Option<Arc<Authority>>,
}

/// An error at the start of a mock.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be set up.
    #[error("set up the listening socket: {0}")]
    Socket(#[from] io::Error),
    /// A setting exceeds a limit.
    #[error("{0}")]
    Behaviour(String),
    /// The certificate authority or its default certificate could not be created.
    #[error("create a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// A running mock. Drop closes every connection at once.
#[derive(Debug)]
pub struct Mock {
    address: SocketAddr,
    tls: bool,
    counts: Arc<Counts>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// Serves on one listener, with one worker thread, until the returned value is dropped.
pub fn serve(listener: TcpListener, options: Options) -> Result<Mock, StartError> {
    serve_all(vec![listener], options)
}

/// Serves on several listeners, with a worker thread each.
pub fn serve_all(listeners: Vec<TcpListener>, options: Options) -> Result<Mock, StartError> {
    let first = listeners.first().ok_or_else(|| io::Error::other("no listener was given"))?;
    let mut mock = Mock {
        address: first.local_addr()?,
        tls: options.tls.is_some(),
        counts: Arc::default(),
        stop: CancellationToken::new(),
        threads: Vec::with_capacity(listeners.len()),
    };
    let worker = Worker {
        rendered: Rendered::new(options.behaviour).map(Arc::new).map_err(StartError::Behaviour)?,
        tls: options.tls.map(tls::server_config).transpose()?,
        counts: Arc::clone(&mock.counts),
        stop: mock.stop.clone(),
    };
    for listener in listeners {
        mock.threads.push(worker::start(worker.clone(), listener)?);
    }
    Ok(mock)
}

impl Mock {
    /// The listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, without a trailing slash.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its counters.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A worker's panic fails the test that owns the mock, unless that test is panicking already.
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[cfg(test)]
mod tests;
