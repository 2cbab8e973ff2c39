//! A guard against a second store: a command that would create one in the default directory first looks whether a tollgate
//! answers at the address of clients. That one has another data directory, and would never see what the command stores.
//!
//! It asks this machine only, by one request with a short timeout, and sends no secret. Read next: `context`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::context::absolute;
use crate::settings::Places;

/// The timeout of the whole exchange. A server of this machine answers within milliseconds.
const TIMEOUT: Duration = Duration::from_millis(500);
/// More than the answer has.
const MAX_BYTES: u64 = 4096;
/// A header of every answer of tollgate.
const MARK: &str = "\r\ntollgate-request-id:";
/// The beginning of an alert, which a listener with TLS answers to a plain request (RFC 8446, section 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];

/// Refuses a new store in the default data directory while a tollgate answers that serves from another one. A directory that
/// is named is meant.
pub(super) async fn refuse_second_store(places: &Places, data: &Path) -> anyhow::Result<()> {
    if places.names_data() {
        return Ok(());
    }
    let Ok(Some(answering)) = timeout(TIMEOUT, answering(places)).await else { return Ok(()) };
    anyhow::bail!(
        "a tollgate answers at {answering}, and it does not serve from `{}`, where there is no store: it would not see what is stored there. Run the command in the directory in which that server was started, or name the server's data directory with `--data` (its log names it as `data`); for a second store, name `--data` too",
        absolute(data)
    )
}

/// The URL of a tollgate that answers at the address of clients.
async fn answering(places: &Places) -> Option<String> {
    let listen = places.listen().ok()?;
    for address in lookup_host(&listen).await.ok()?.filter_map(local) {
        match asked(address).await {
            Ok(Answer::Tollgate) => return Some(format!("http://{address}")),
            // Whose it is, only a handshake would tell. These settings have tollgate take TLS there.
            Ok(Answer::Tls) if places.has_tls() => return Some(format!("https://{address}")),
            Ok(Answer::Tls | Answer::Other) | Err(_) => {}
        }
    }
    None
}

/// The address at which this machine reaches a listener of its own. None if that may be another machine.
fn local(listen: SocketAddr) -> Option<SocketAddr> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    (ip.is_loopback() && listen.port() != 0).then_some(SocketAddr::new(ip, listen.port()))
}

/// What answers to a plain request.
enum Answer {
    /// A tollgate.
    Tollgate,
    /// A listener with TLS.
    Tls,
    /// Anything else.
    Other,
}

async fn asked(address: SocketAddr) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).await?;
    if answer.starts_with(&TLS_ALERT) {
        return Ok(Answer::Tls);
    }
    let has_mark = String::from_utf8_lossy(&answer).to_ascii_lowercase().contains(MARK);
    Ok(if has_mark { Answer::Tollgate } else { Answer::Other })
}
