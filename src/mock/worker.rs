//! A worker: one thread, one runtime, one listener. It accepts until it is told to stop, and takes its
//! connections with it. Workers share nothing but counters and rendered answers.

use std::{io, net::TcpListener, sync::Arc, thread::JoinHandle, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    counts::Counts,
    service::{Peer, answer},
    settled::Settled,
    wire::{Fate, Socket, Wire},
};

/// The wait after a failed accept, which mostly means that the process has no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// What a worker needs.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) settled: Arc<Settled>,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) counts: Arc<Counts>,
    pub(super) stop: CancellationToken,
}

/// Starts a worker on its own thread.
pub(super) fn start(worker: Worker, listener: TcpListener) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    std::thread::Builder::new().name("mock".to_owned()).spawn(move || {
        let stop = worker.stop.clone();
        runtime.block_on(stop.run_until_cancelled(worker.accept(listener)));
    })
}

impl Worker {
    async fn accept(self, listener: tokio::net::TcpListener) {
        // Connections end with the runtime, so nobody waits for the tracker.
        let connections = TaskTracker::new();
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    connections.spawn(self.clone().connection(socket));
                }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
            }
        }
    }

    /// Serves one connection to its end. Clients that fail at TLS or HTTP learn so from the connection.
    async fn connection(self, socket: TcpStream) {
        let number = self.counts.connection();
        if socket.set_nodelay(true).is_err() {
            return;
        }
        let Some(tls) = &self.tls else {
            return self.http(socket, number, None).await;
        };
        if let Ok(stream) = TlsAcceptor::from(Arc::clone(tls)).accept(socket).await {
            let server_name = stream.get_ref().1.server_name().map(str::to_owned);
            self.http(stream, number, server_name).await;
        }
    }

    async fn http<S: Socket>(self, socket: S, number: u64, server_name: Option<String>) {
        let fate = Fate::default();
        let wire = Wire::new(socket, fate.clone());
        let Self { settled, counts, .. } = self;
        let peer = Arc::new(Peer { settled, counts, number, server_name, fate });
        let service = service_fn(|request| answer(Arc::clone(&peer), request));
        // The error is the client's doing, or ours on purpose.
        let _ended = http1::Builder::new().serve_connection(wire, service).await;
    }
}
