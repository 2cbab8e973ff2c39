//! A service manager played by the test: a notification socket (`NOTIFY_SOCKET`).

use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixDatagram},
};

use tempfile::TempDir;

use super::wire::LIMIT;

/// The socket, and its address.
pub struct Manager {
    socket: UnixDatagram,
    place: String,
    _dir: TempDir,
}

impl Manager {
    /// Listens in a directory of its own.
    pub fn new() -> Self {
        let dir = TempDir::new().expect("the temporary directory is writable");
        let place = dir.path().join("notify").to_str().expect("text").to_owned();
        let socket = UnixDatagram::bind(&place).expect("the directory is ours");
        Self::at(socket, place, dir)
    }

    /// Listens on an abstract address, as container managers may.
    pub fn abstracted() -> Self {
        let dir = TempDir::new().expect("the temporary directory is writable");
        let name = dir.path().join("notify").to_str().expect("text").to_owned();
        let address = SocketAddr::from_abstract_name(&name).expect("a name that is short enough");
        let socket = UnixDatagram::bind_addr(&address).expect("the name is ours");
        Self::at(socket, format!("@{name}"), dir)
    }

    fn at(socket: UnixDatagram, place: String, dir: TempDir) -> Self {
        socket.set_read_timeout(Some(LIMIT)).expect("a socket takes a timeout");
        Self { socket, place, _dir: dir }
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The lines of the next message.
    pub fn next_message(&self) -> Vec<String> {
        let mut block = [0; 4096];
        let count = self.socket.recv(&mut block).expect("a message comes");
        let text = str::from_utf8(&block[..count]).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// Fails the test unless the next message has these lines; one that ends in `=` may have any value.
    pub fn expect(&self, lines: &[&str]) -> Vec<String> {
        let message = self.next_message();
        let same = |(seen, line): (&String, &&str)| {
            seen == line || (line.ends_with('=') && seen.len() > line.len() && seen.starts_with(line))
        };
        let all = message.len() == lines.len() && message.iter().zip(lines).all(same);
        assert!(all, "{message:?} for {lines:?}");
        message
    }

    /// Fails the test if there is another message.
    pub fn expect_no_more(&self) {
        self.socket.set_nonblocking(true).expect("a socket can");
        let mut block = [0; 4096];
        let more = self.socket.recv(&mut block);
        assert!(more.is_err(), "{more:?} bytes: {}", block.escape_ascii());
    }
}
