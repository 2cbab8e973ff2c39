//! The service manager, played by the test itself: a socket on which the gateway tells how it is.

use std::{os::unix::net::UnixDatagram, path::PathBuf};

use tempfile::TempDir;

use super::wire::LIMIT;

/// The socket, and its place.
pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _dir: TempDir,
}

impl Manager {
    /// Listens in a directory of its own.
    pub fn new() -> Self {
        let dir = TempDir::new().expect("the temporary directory is writable");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the directory is ours");
        socket.set_read_timeout(Some(LIMIT)).expect("a socket takes a timeout");
        Self { socket, path, _dir: dir }
    }

    /// What `NOTIFY_SOCKET` has to say.
    pub fn place(&self) -> &str {
        self.path.to_str().expect("text")
    }

    /// The lines of the next message.
    pub fn hears(&self) -> Vec<String> {
        let mut block = [0; 4096];
        let count = self.socket.recv(&mut block).expect("a message comes");
        let text = str::from_utf8(&block[..count]).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// Fails the test unless the next message has these lines; one that ends in `=` may have any value.
    pub fn expect(&self, lines: &[&str]) -> Vec<String> {
        let heard = self.hears();
        let same = |(heard, line): (&String, &&str)| {
            heard == line || (line.ends_with('=') && heard.len() > line.len() && heard.starts_with(line))
        };
        let all = heard.len() == lines.len() && heard.iter().zip(lines).all(same);
        assert!(all, "{heard:?} for {lines:?}");
        heard
    }

    /// Fails the test if there is a message that was not heard.
    pub fn heard_all(&self) {
        self.socket.set_nonblocking(true).expect("a socket can");
        let mut block = [0; 4096];
        let more = self.socket.recv(&mut block);
        assert!(more.is_err(), "{more:?} bytes: {}", block.escape_ascii());
    }
}
