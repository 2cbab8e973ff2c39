//! A call of the admin API of the tollgate that serves from a data directory. What goes wrong on the way there
//! is told as what to do about it; what the API answers is the caller's to read.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

/// How long to wait for an answer that needs no work.
const READ_TIME: Duration = Duration::from_secs(10);
/// How long to wait for a change: a little longer than the other side does.
const CHANGE_TIME: Duration = Duration::from_secs(75);
/// The largest answer that is taken.
const MAX_ANSWER: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing listens.
    #[error(
        "no tollgate serves from `{}`: start one with `tollgate serve`, or name its data directory with `--data`",
        data.display()
    )]
    Nobody {
        /// The data directory.
        data: PathBuf,
    },
    /// The socket is not ours to use.
    #[error("no right to use `{}` (mode {mode:04o}, owner uid {owner}): run this as that user, or as root", path.display())]
    Forbidden {
        /// What keeps us out: the socket, or a directory above it.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// It listens, but does not answer.
    #[error("the tollgate that serves from `{}` does not answer within {} s: see its log", data.display(), after.as_secs())]
    Slow {
        /// The data directory.
        data: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The answer broke off, or there never was one.
    #[error("failed to talk to the tollgate that serves from `{}`: {detail}: try again, and see its log", data.display())]
    Broken {
        /// The data directory.
        data: PathBuf,
        /// What happened.
        detail: String,
    },
}

/// Asks the tollgate that serves from `data`. `path` may have a query; of a call without a body it is empty.
pub async fn call(
    data: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), CallError> {
    let after = if method == Method::GET { READ_TIME } else { CHANGE_TIME };
    let exchange = async {
        let stream = connect(data).await.map_err(|error| connect_error(data, &error))?;
        let broken = |detail: String| CallError::Broken { data: data.to_owned(), detail };
        exchange(stream, method, path, body).await.map_err(broken)
    };
    timeout(after, exchange).await.unwrap_or_else(|_| Err(CallError::Slow { data: data.to_owned(), after }))
}

async fn connect(data: &Path) -> io::Result<UnixStream> {
    let (address, _held) = super::address(data, super::NAME)?;
    let path = address.as_pathname().expect("it was made of a path");
    UnixStream::connect(path).await
}

fn connect_error(data: &Path, error: &io::Error) -> CallError {
    let path = data.join(super::NAME);
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            CallError::Nobody { data: data.to_owned() }
        }
        io::ErrorKind::PermissionDenied if let Some(closed) = closed(&path) => closed,
        _ => CallError::Broken { data: data.to_owned(), detail: error.to_string() },
    }
}

/// What keeps us out: where the socket's own rights cannot be seen, it is what stands above it.
fn closed(path: &Path) -> Option<CallError> {
    path.ancestors().find_map(|path| {
        let found = fs::metadata(path).ok()?;
        Some(CallError::Forbidden { path: path.to_owned(), mode: found.mode() & 0o7777, owner: found.uid() })
    })
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), String> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let exchange = async move {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    // What ends the connection early shows in the exchange.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}
