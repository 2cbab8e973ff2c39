//! A fast fake upstream: it speaks the wire formats of chat completions, messages, responses and
//! embeddings, unary and streamed, and misbehaves on request. For tests, benchmarks and people without
//! a key. Everything it says is the same each time; it never calls anybody and checks no credential.
//!
//! Read next: `behaviour` (what can be set), `service` (a request's way), `answers` (the texts).

mod answers;
mod behaviour;
mod body;
mod counts;
mod echo;
mod receive;
mod service;
mod settled;
mod tls;
mod wire;
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
    counts::{Counts, Tally},
    tls::Authority,
};
use self::{settled::Settled, worker::Worker};

/// How a mock listens and behaves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What every request gets unless it asks for something else itself.
    pub behaviour: Behaviour,
    /// Speak TLS with leaves of this authority; `None` speaks plain HTTP.
    pub tls: Option<Arc<Authority>>,
}

/// Why a mock could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be set up.
    #[error("set up the listening socket: {0}")]
    Socket(#[from] io::Error),
    /// The settings ask for more than the mock gives.
    #[error("{0}")]
    Behaviour(String),
    /// The certificate authority or its default leaf could not be made.
    #[error("make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// A running mock. Dropping it ends every connection at once.
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
        settled: Settled::new(options.behaviour).map(Arc::new).map_err(StartError::Behaviour)?,
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
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// What it has seen so far.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A panic of the worker is a failure of the test that owns the mock, unless it fails already.
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
