//! Listeners: one per worker on one address, among which the kernel shares connections out.
//! Never accepts: that is whoever listens.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per listener.
const BACKLOG: i32 = 1024;

/// One listener per worker on the same address. Port 0 takes a free one, the same for all.
pub fn listen(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // With `SO_REUSEPORT` alone, a second process of the same user would silently share the port.
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
