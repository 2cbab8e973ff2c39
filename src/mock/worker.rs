//! A worker: one thread, one runtime, one listener. It accepts until `stop` is cancelled, and closes its connections then.
//! Workers share only counters and rendered responses.

use std::{io, net::TcpListener, sync::Arc, thread::JoinHandle, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    abort::{AbortHandle, AbortableIo, Socket},
    counts::Counts,
    rendered::Rendered,
    service::{Connection, answer},
};

/// Pause after a failed accept, usually because the process has too many open files.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// State of a worker.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) rendered: Arc<Rendered>,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) counts: Arc<Counts>,
    pub(super) stop: CancellationToken,
}

/// Starts a worker on a thread of its own.
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
        // Connections end with the runtime: the tracker is not awaited.
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

    /// Serves one connection to its end. TLS and HTTP errors are not reported: the client sees them.
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
        let abort = AbortHandle::default();
        let io = AbortableIo::new(socket, abort.clone());
        let Self { rendered, counts, .. } = self;
        let upgraded = TaskTracker::new();
        let connection = Arc::new(Connection { rendered, counts, number, server_name, abort, upgraded });
        let service = service_fn(|request| answer(Arc::clone(&connection), request));
        // The error is the client's, or an injected fault.
        let _ended = http1::Builder::new().serve_connection(io, service).with_upgrades().await;
    }
}
