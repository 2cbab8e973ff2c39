//! Listening sockets: one per worker on the same address (`SO_REUSEPORT`). The kernel spreads connections among them.
//! It never accepts: workers do.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// Backlog of connections to accept, per listener.
const BACKLOG: i32 = 1024;

/// Why listening failed.
#[derive(Debug, Error)]
#[error("failed to listen on {address}: {reason}; {}", advice(*address, flag, reason))]
pub struct ListenError {
    address: SocketAddr,
    /// The setting with the address.
    flag: &'static str,
    reason: io::Error,
}

/// The fix, as a fragment.
fn advice(address: SocketAddr, flag: &str, reason: &io::Error) -> String {
    let other = format!("choose another address with `{flag}`");
    match reason.kind() {
        io::ErrorKind::AddrInUse => {
            format!("end what listens there (`ss -ltnp sport = :{}` shows it), or {other}", address.port())
        }
        io::ErrorKind::AddrNotAvailable => format!("this machine does not have the address: {other}"),
        io::ErrorKind::PermissionDenied => {
            format!("a port below 1024 takes the right to it (CAP_NET_BIND_SERVICE): grant that, or {other}")
        }
        _ => other,
    }
}

/// Opens one listener per worker on the address of the setting `flag`. Port 0 takes one free port for all.
pub fn listen(
    address: SocketAddr,
    workers: usize,
    flag: &'static str,
) -> Result<Vec<TcpListener>, ListenError> {
    sockets(address, workers).map_err(|reason| ListenError { address, flag, reason })
}

fn sockets(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // Without this probe a second process of the same user would silently share the port.
    let probe = socket(address, false)?;
    let address = probe.local_addr()?;
    drop(probe);
    (0..workers).map(|_| socket(address, true)).collect()
}

fn socket(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
