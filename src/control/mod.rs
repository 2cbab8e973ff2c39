//! The control socket: `control.sock` in the data directory, which answers the admin API without a token to
//! the user that serves and to root, and to nobody else. The commands that talk to a running tollgate go
//! through it (`call`).
//!
//! Knows no call of the API. Whoever binds it holds `serve.lock`: a socket that is there already is a dead one's.

mod call;

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
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

pub use call::{CallError, call};

use crate::{
    accounts::Actor,
    admin::Admin,
    fault::{Fault, Kind},
    gateway,
};

const NAME: &str = "control.sock";
/// The socket's name until it is ready.
const DRAFT: &str = "control.new";
/// Connections that are answered at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a whole exchange may take: longer than a reload is waited for.
const EXCHANGE_TIME: Duration = Duration::from_secs(70);
/// How long exchanges that are under way may go on once serving stops.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long to wait when connections cannot be accepted, as when the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket in the data directory. Dropped, it is gone, and nobody is answered any more.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    stop: CancellationToken,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that stays behind does no harm: the next to serve puts its own there.
        let _ = fs::remove_file(&self.path);
        self.stop.cancel();
    }
}

/// Puts the socket into the data directory; whoever calls is answered while the future runs.
pub fn start(data: &Path, admin: Admin) -> io::Result<(Socket, impl Future<Output = ()> + use<>)> {
    let listener = bind(data)?;
    let socket = Socket { path: data.join(NAME), stop: CancellationToken::new() };
    let calls = serve(listener, admin, socket.stop.clone());
    Ok((socket, calls))
}

/// It is its owner's alone before anybody can connect.
fn bind(data: &Path) -> io::Result<UnixListener> {
    let (draft, place) = (data.join(DRAFT), data.join(NAME));
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
    fs::rename(&draft, &place)?;
    UnixListener::from_std(socket.into())
}

/// A socket's address, and what has to be held while it is used: a socket's path has room for some 100
/// bytes, and a longer one is spelled from an open directory.
fn address(dir: &Path, name: &str) -> io::Result<(SockAddr, Option<fs::File>)> {
    if let Ok(address) = SockAddr::unix(dir.join(name)) {
        return Ok((address, None));
    }
    let held = fs::File::open(dir)?;
    let address = SockAddr::unix(format!("/proc/self/fd/{}/{name}", held.as_raw_fd()))?;
    Ok((address, Some(held)))
}

/// Answers until it is told to stop, and a moment longer what is under way.
async fn serve(listener: UnixListener, admin: Admin, stop: CancellationToken) {
    let mut exchanges = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = exchanges.join_next() => {}
            accepted = listener.accept(), if exchanges.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(exchanges.spawn(converse(stream, admin.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection on the control socket");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let _ = timeout(LAST_WORDS, async { while exchanges.join_next().await.is_some() {} }).await;
    exchanges.shutdown().await;
}

/// One connection, one exchange.
async fn converse(stream: UnixStream, admin: Admin) {
    let known = known(&stream);
    let service = service_fn(|request: Request<Incoming>| {
        let (admin, known) = (&admin, known.clone());
        async move {
            let answered = match known {
                Ok(actor) => gateway::administer(admin, admin.files.snapshot(), request, actor).await,
                Err(fault) => Err(fault),
            };
            Ok::<_, std::convert::Infallible>(answered.unwrap_or_else(|fault| gateway::refuse(&fault)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).keep_alive(false);
    let exchange = http.serve_connection(TokioIo::new(stream), service);
    match timeout(EXCHANGE_TIME, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an exchange on the control socket broke off"),
        Err(_) => tracing::debug!("an exchange on the control socket took too long"),
    }
}

/// The other side, if it may ask, whatever rights the socket's file has got meanwhile.
fn known(stream: &UnixStream) -> Result<Actor, Fault> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => Ok(Actor::local(peer.uid())),
        _ => {
            let message = format!("Only the user that serves (uid {own}) and root may use this socket");
            Err(Fault::new(Kind::Forbidden, message))
        }
    }
}

#[cfg(test)]
mod tests;
