//! The control socket: `control.sock` in the data directory. It serves the admin API without a token, to the user that runs
//! the server and to root only: the file has mode 0600, and the uid of every peer is checked. Commands that talk to a
//! running tollgate use it, by `call`.
//!
//! It knows no operation of the API. The process that binds it holds `serve.lock`, so a socket that exists already is left
//! over from a dead process.

mod call;

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    task::Poll,
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockAddr, Type};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use call::{CallError, Page, call, call_page, next_page};

use crate::{
    accounts::Actor,
    admin::Admin,
    fault::{Fault, FaultKind},
    gateway,
};

const NAME: &str = "control.sock";
/// The name of the socket until it is ready.
const DRAFT: &str = "control.new";
/// Connections that are served at once. Further ones wait in the backlog.
const MAX_CONNECTIONS: usize = 16;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// The timeout for a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout for a whole exchange: longer than that for a reload.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(70);
/// The grace period for exchanges in progress at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
/// The pause after a failed accept, such as with too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The listening socket. Dropping it removes the file and stops the server.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    stop: CancellationToken,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A file that stays behind does no harm: the next server replaces it.
        let _ = fs::remove_file(&self.path);
        self.stop.cancel();
    }
}

/// Creates the socket in the data directory. Calls are served while the future runs.
pub fn start(data: &Path, admin: Admin) -> io::Result<(Socket, impl Future<Output = ()> + use<>)> {
    let listener = bind(data)?;
    let socket = Socket { path: data.join(NAME), stop: CancellationToken::new() };
    let calls = serve(listener, admin, socket.stop.clone());
    Ok((socket, calls))
}

/// Binds under a draft name, sets the mode, listens, then renames: at no time can another user connect.
fn bind(data: &Path) -> io::Result<UnixListener> {
    let (draft, path) = (data.join(DRAFT), data.join(NAME));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let (address, _held) = address(data, DRAFT)?;
    socket.bind(&address)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    fs::rename(&draft, &path)?;
    UnixListener::from_std(socket.into())
}

/// The address of a socket, and a directory handle to hold while it is used. A socket path has room for about 100 bytes;
/// a longer one is written as `/proc/self/fd/N/NAME`.
fn address(dir: &Path, name: &str) -> io::Result<(SockAddr, Option<fs::File>)> {
    if let Ok(address) = SockAddr::unix(dir.join(name)) {
        return Ok((address, None));
    }
    let held = fs::File::open(dir)?;
    let address = SockAddr::unix(format!("/proc/self/fd/{}/{name}", held.as_raw_fd()))?;
    Ok((address, Some(held)))
}

/// Serves until `stop`, and exchanges in progress for a grace period longer.
async fn serve(listener: UnixListener, admin: Admin, stop: CancellationToken) {
    let mut exchanges = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = exchanges.join_next() => {}
            accepted = listener.accept(), if exchanges.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(exchanges.spawn(serve_connection(stream, admin.clone(), stop.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection on the control socket");
                    sleep(ACCEPT_BACKOFF).await;
                }
            },
        }
    }
    drop(listener);
    let _ = timeout(SHUTDOWN_GRACE, async { while exchanges.join_next().await.is_some() {} }).await;
    exchanges.shutdown().await;
}

/// Serves one connection, which has one exchange.
async fn serve_connection(mut stream: UnixStream, admin: Admin, stop: CancellationToken) {
    let actor = peer(&stream);
    let service = service_fn(|request: Request<Incoming>| {
        let (admin, actor) = (&admin, actor.clone());
        async move {
            let response = match actor {
                Ok(actor) => gateway::administer(admin, admin.files.snapshot(), request, actor).await,
                Err(fault) => Err(fault),
            };
            Ok::<_, std::convert::Infallible>(response.unwrap_or_else(|fault| gateway::refuse(&fault)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false);
    let exchange = async {
        let served = http.serve_connection(TokioIo::new(&mut stream), service).await;
        // A client that sent no request has no response to lose.
        if !served.as_ref().is_err_and(hyper::Error::is_timeout) {
            gateway::staged_close(stream, |_| Poll::Pending, stop.cancelled()).await;
        }
        served
    };
    match timeout(EXCHANGE_TIMEOUT, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an exchange on the control socket failed"),
        Err(_) => tracing::debug!("an exchange on the control socket timed out"),
    }
}

/// The user at the other end, if it has the right to call: the mode of the file may have been changed.
fn peer(stream: &UnixStream) -> Result<Actor, Fault> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => Ok(Actor::local(peer.uid())),
        _ => {
            let message =
                format!("Only the user that runs the server (uid {own}) and root may use this socket");
            Err(Fault::new(FaultKind::Forbidden, message))
        }
    }
}

#[cfg(test)]
mod tests;
