//! The client of the control socket: calls the admin API of the tollgate that serves from a data directory. Errors here are
//! of the connection, and say what to do. Responses of the API, refusals included, are returned as they are.

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

/// The timeout for a call that reads.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout for a call that changes something: longer than that of the server.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(75);
/// The largest response, in bytes.
const MAX_RESPONSE: usize = 64 << 20;

/// An error of the connection.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No server runs.
    #[error(
        "no tollgate serves from `{}`: start one with `tollgate serve`, or name its data directory with `--data`",
        data.display()
    )]
    NotRunning {
        /// The data directory.
        data: PathBuf,
    },
    /// This user has no permission to connect.
    #[error("no right to use `{}` (mode {mode:04o}, owner uid {owner}): run this as that user, or as root", path.display())]
    Forbidden {
        /// The socket, or the directory above it that denies access.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// The server did not answer within the timeout.
    #[error("the tollgate that serves from `{}` did not answer within {} s: see its log", data.display(), after.as_secs())]
    TimedOut {
        /// The data directory.
        data: PathBuf,
        /// The timeout.
        after: Duration,
    },
    /// The connection failed.
    #[error("the connection to the tollgate that serves from `{}` failed ({detail}): try again, and see its log", data.display())]
    Broken {
        /// The data directory.
        data: PathBuf,
        /// The cause.
        detail: String,
    },
}

/// An answer, which may be a page of a list.
#[derive(Debug)]
pub struct Page {
    /// The status code.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
    /// The path of the next page, if there is one.
    pub next: Option<String>,
}

/// Calls the tollgate that serves from `data`. `path` may have a query; `body` is empty for a call without one.
pub async fn call(
    data: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), CallError> {
    call_page(data, method, path, body).await.map(|Page { status, body, next: _ }| (status, body))
}

/// The same, with the path of the next page of a list.
pub async fn call_page(data: &Path, method: Method, path: &str, body: Bytes) -> Result<Page, CallError> {
    let after = if method == Method::GET { READ_TIMEOUT } else { CHANGE_TIMEOUT };
    let exchange = async {
        let stream = connect(data).await.map_err(|error| connect_error(data, &error))?;
        let broken = |detail: String| CallError::Broken { data: data.to_owned(), detail };
        exchange(stream, method, path, body).await.map_err(broken)
    };
    timeout(after, exchange)
        .await
        .unwrap_or_else(|_| Err(CallError::TimedOut { data: data.to_owned(), after }))
}

async fn connect(data: &Path) -> io::Result<UnixStream> {
    let (address, _held) = super::address(data, super::NAME)?;
    let path = address.as_pathname().expect("the address was made from a path");
    UnixStream::connect(path).await
}

fn connect_error(data: &Path, error: &io::Error) -> CallError {
    let path = data.join(super::NAME);
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            CallError::NotRunning { data: data.to_owned() }
        }
        io::ErrorKind::PermissionDenied if let Some(denied) = denied_by(&path) => denied,
        _ => CallError::Broken { data: data.to_owned(), detail: error.to_string() },
    }
}

/// The file that denies access: the socket, or the nearest directory above it whose mode can be read.
fn denied_by(path: &Path) -> Option<CallError> {
    path.ancestors().find_map(|path| {
        let found = fs::metadata(path).ok()?;
        Some(CallError::Forbidden { path: path.to_owned(), mode: found.mode() & 0o7777, owner: found.uid() })
    })
}

async fn exchange(stream: UnixStream, method: Method, path: &str, body: Bytes) -> Result<Page, String> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let link = response.headers().get(header::LINK).and_then(|link| link.to_str().ok());
        let next = link.and_then(next_page).map(str::to_owned);
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
        Ok(Page { status, body: body.map_err(|error| error.to_string())?.to_bytes(), next })
    };
    // An error of the connection shows in the exchange too.
    let (result, _) = tokio::join!(exchange, connection);
    result
}

/// The path in the `Link` to the next page.
pub fn next_page(link: &str) -> Option<&str> {
    let (path, kind) = link.strip_prefix('<')?.split_once('>')?;
    kind.contains("rel=\"next\"").then_some(path)
}
