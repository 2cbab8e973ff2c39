//! `Wire`: one end of a connection, exact in both directions. It writes the given bytes unchanged and reads HTTP/1.1
//! as strictly as RFC 9112 allows: anything that two parsers could read differently is `Malformed`. Every read
//! and write has a deadline; reaching it fails the test.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;

/// The deadline of every read and write.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Header lines in order: lower-case name, value as Latin-1.
pub type Lines = Vec<(String, String)>;

/// The head of a request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The first line.
    pub start: String,
    /// The header lines.
    pub lines: Lines,
}

/// The framing of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The end of the connection; answers only.
    Close,
}

/// A whole request or answer.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its head.
    pub head: Head,
    /// The framing of its body.
    pub framing: Framing,
    /// The body without framing.
    pub body: Vec<u8>,
    /// The trailer lines.
    pub trailers: Lines,
}

/// The reason why a message could not be read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The connection ended before the first byte.
    Closed,
    /// The connection ended in the middle.
    Cut,
    /// It is not strict HTTP.
    Malformed(String),
}

/// Anything that `Wire` reads from.
pub type Reading<T> = Result<T, Broken>;

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// One end of a connection.
pub struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects as a client.
    pub fn connect(address: SocketAddr) -> Self {
        Self::plain(TcpStream::connect_timeout(&address, LIMIT).expect("the gateway accepts connections"))
    }

    /// Uses an open connection without TLS.
    pub fn plain(socket: TcpStream) -> Self {
        limit(&socket);
        Self { stream: Stream::Plain(socket), buffer: Vec::new() }
    }

    /// Uses an open connection with TLS, as a server. The handshake happens at the first read.
    pub fn tls(socket: TcpStream, connection: ServerConnection) -> Self {
        limit(&socket);
        let stream = Stream::Tls(Box::new(StreamOwned::new(connection, socket)));
        Self { stream, buffer: Vec::new() }
    }

    /// The underlying socket.
    pub fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => tls.get_ref(),
        }
    }

    /// Writes exactly these bytes; fails the test if the other side does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).expect("the other side takes what is sent");
    }

    /// Writes these bytes, unless the other side has closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Writes until the other side takes nothing for `timeout`, at most `most` bytes. Returns the number taken.
    pub fn push(&mut self, most: usize, timeout: Duration) -> usize {
        let block = vec![b'x'; 64 * 1024];
        self.socket().set_write_timeout(Some(timeout)).expect("a socket takes a timeout");
        let mut taken = 0;
        while taken < most {
            let wanted = block.len().min(most - taken);
            match self.socket().write(&block[..wanted]) {
                Ok(count) => taken += count,
                Err(error) if is_timeout(&error) => break,
                Err(error) => panic!("the other side broke the connection: {error}"),
            }
        }
        self.socket().set_write_timeout(Some(LIMIT)).expect("a socket takes a timeout");
        taken
    }

    /// Another handle of the same plain connection, to send from another thread.
    pub fn twin(&self) -> Self {
        Self::plain(self.socket().try_clone().expect("a socket can be held twice"))
    }

    /// Reads and discards up to `most` bytes. Returns the number read before the end.
    pub fn skip(&mut self, most: usize) -> usize {
        let mut count = 0;
        loop {
            let here = self.buffer.len().min(most - count);
            self.buffer.drain(..here);
            count += here;
            if count == most || !self.fill() {
                return count;
            }
        }
    }

    /// True if nothing arrives for a while, neither bytes nor the end.
    pub fn is_quiet_for(&self, time: Duration) -> bool {
        let mut byte = [0];
        self.socket().set_read_timeout(Some(time)).expect("a socket takes a timeout");
        let quiet = self.socket().peek(&mut byte).is_err_and(|error| is_timeout(&error));
        self.socket().set_read_timeout(Some(LIMIT)).expect("a socket takes a timeout");
        quiet
    }

    /// Ends the connection by an RST.
    pub fn reset(self) {
        SockRef::from(self.socket()).set_linger(Some(Duration::ZERO)).expect("a socket takes a linger time");
    }

    /// Ends this side's sending only.
    pub fn finish(&self) {
        self.socket().shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Waits for the other side to close. Fails the test if it sends anything, or does neither. Returns the time
    /// taken.
    pub fn ends(&mut self) -> Duration {
        let start = Instant::now();
        let more = self.fill();
        assert!(!more && self.buffer.is_empty(), "the end was expected, but there is {self:?}");
        start.elapsed()
    }

    /// All bytes until the other side ends the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Bytes that were read but belong to no message yet.
    pub fn left_over(&self) -> &[u8] {
        &self.buffer
    }

    /// The next `count` bytes as they come.
    pub fn bytes(&mut self, count: usize) -> Reading<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.fill() {
                return Err(Broken::Cut);
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// The next head.
    pub fn head(&mut self) -> Reading<Head> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if !self.fill() {
                return Err(if self.buffer.is_empty() { Broken::Closed } else { Broken::Cut });
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        parse_head(&head[..end])
    }

    /// The next whole request.
    pub fn request(&mut self) -> Reading<Message> {
        let head = self.head()?;
        let framing = head.request_framing()?;
        self.whole(head, framing)
    }

    /// The next whole answer; an interim one counts.
    pub fn answer(&mut self) -> Reading<Message> {
        let head = self.head()?;
        let framing = head.answer_framing()?;
        self.whole(head, framing)
    }

    fn whole(&mut self, head: Head, framing: Framing) -> Reading<Message> {
        let (body, trailers) = self.body(framing)?;
        Ok(Message { head, framing, body, trailers })
    }

    /// The body that follows a head, and its trailers.
    pub fn body(&mut self, framing: Framing) -> Reading<(Vec<u8>, Lines)> {
        match framing {
            Framing::None => Ok((Vec::new(), Vec::new())),
            Framing::Length(length) => {
                let length = usize::try_from(length).expect("tests send less than the address space");
                Ok((self.bytes(length)?, Vec::new()))
            }
            Framing::Close => Ok((self.rest(), Vec::new())),
            Framing::Chunked => {
                let mut body = Vec::new();
                while let Some(chunk) = self.chunk()? {
                    body.extend(chunk);
                }
                Ok((body, self.trailers()?))
            }
        }
    }

    /// The next chunk. None after the last, which trailers follow.
    pub fn chunk(&mut self) -> Reading<Option<Vec<u8>>> {
        let line = self.line()?;
        let digits = !line.is_empty() && line.len() <= 16 && line.bytes().all(|b| b.is_ascii_hexdigit());
        let size = usize::from_str_radix(&line, 16).ok().filter(|_| digits);
        let size = size.ok_or_else(|| Broken::Malformed(format!("chunk size `{line}`")))?;
        if size == 0 {
            return Ok(None);
        }
        let data = self.bytes(size)?;
        if self.bytes(2)? != b"\r\n" {
            return Err(Broken::Malformed("no line end after a chunk".into()));
        }
        Ok(Some(data))
    }

    /// The trailers after the last chunk.
    pub fn trailers(&mut self) -> Reading<Lines> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(lines);
            }
            lines.push(parse_line(&line)?);
        }
    }

    fn line(&mut self) -> Reading<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(latin1(&line[..at]));
            }
            if !self.fill() {
                return Err(Broken::Cut);
            }
        }
    }

    /// Reads the available bytes, and waits for the first. False at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut block = vec![0; 64 * 1024];
        let read = match &mut self.stream {
            Stream::Plain(socket) => socket.read(&mut block),
            Stream::Tls(tls) => tls.read(&mut block),
        };
        match read {
            Ok(count) => {
                self.buffer.extend_from_slice(&block[..count]);
                count > 0
            }
            Err(error) if is_timeout(&error) => panic!("nothing came within {LIMIT:?}; {self:?}"),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.fill(),
            // A reset, or TLS without `close_notify`, is an end as well.
            Err(_) => false,
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.buffer[..self.buffer.len().min(2000)];
        write!(formatter, "so far unread: `{}`", shown.escape_ascii())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl Head {
    /// The only value of a header. None if it is absent or repeated.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.lines.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value);
        values.next().filter(|_| values.next().is_none())
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.lines.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        let status = self.start.strip_prefix("HTTP/1.1 ").or_else(|| self.start.strip_prefix("HTTP/1.0 "));
        let digits = status.and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok());
        digits.unwrap_or_else(|| panic!("`{}` is no status line", self.start))
    }

    fn framing(&self) -> Reading<Framing> {
        let of = |wanted: &str| -> Vec<&str> {
            self.lines.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &**value).collect()
        };
        match (of("content-length").as_slice(), of("transfer-encoding").as_slice()) {
            ([], []) => Ok(Framing::None),
            ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Framing::Length(length.parse().map_err(|_| Broken::Malformed((*length).to_owned()))?))
            }
            ([], ["chunked"]) => Ok(Framing::Chunked),
            other => Err(Broken::Malformed(format!("ambiguous framing {other:?}"))),
        }
    }

    fn request_framing(&self) -> Reading<Framing> {
        let parts: Vec<&str> = self.start.split(' ').collect();
        let token = |text: &str| !text.is_empty() && text.bytes().all(is_token);
        let target =
            |text: &str| text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        match parts.as_slice() {
            [method, path, "HTTP/1.1"] if token(method) && target(path) => {}
            _ => return Err(Broken::Malformed(format!("request line `{}`", self.start))),
        }
        if self.get("host").is_none_or(str::is_empty) {
            return Err(Broken::Malformed("not exactly one host".into()));
        }
        self.framing()
    }

    /// The framing of an answer's body.
    pub fn answer_framing(&self) -> Reading<Framing> {
        let framing = self.framing()?;
        match self.status() {
            100..200 | 204 | 304 => Ok(Framing::None),
            _ if framing == Framing::None => Ok(Framing::Close),
            _ => Ok(framing),
        }
    }
}

fn parse_head(bytes: &[u8]) -> Reading<Head> {
    let text = latin1(bytes);
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    if start.contains(|c: char| c.is_control()) {
        return Err(Broken::Malformed(format!("first line `{}`", start.escape_default())));
    }
    Ok(Head { start, lines: lines.map(parse_line).collect::<Reading<_>>()? })
}

fn parse_line(line: &str) -> Reading<(String, String)> {
    let bad = || Broken::Malformed(format!("header line `{}`", line.escape_default()));
    let (name, value) = line.split_once(':').ok_or_else(bad)?;
    let value = value.trim_matches([' ', '\t']);
    let good = !name.is_empty()
        && name.bytes().all(is_token)
        && value.chars().all(|c| c == '\t' || (c >= ' ' && c != '\u{7f}'));
    if good { Ok((name.to_ascii_lowercase(), value.to_owned())) } else { Err(bad()) }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn limit(socket: &TcpStream) {
    socket.set_read_timeout(Some(LIMIT)).expect("a socket takes a timeout");
    socket.set_write_timeout(Some(LIMIT)).expect("a socket takes a timeout");
    socket.set_nodelay(true).expect("TCP takes nodelay");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        let check = |head: &str, expected: Option<Framing>| {
            let framing = parse_head(head.as_bytes()).and_then(|head| head.request_framing());
            assert_eq!(framing.ok(), expected, "{}", head.escape_debug());
        };
        check("GET / HTTP/1.1\r\nHost: a", Some(Framing::None));
        check("POST /a?b HTTP/1.1\r\nhost: a\r\nContent-Length: 5", Some(Framing::Length(5)));
        check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", Some(Framing::Chunked));
        for bad in [
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a",
            "GET / HTTP/1.1\r\nHost:",
            "GET / HTTP/1.0\r\nHost: a",
            "GET  / HTTP/1.1\r\nHost: a",
            "GET /# HTTP/1.1\r\nHost: a",
            "GET http://a/ HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\nb",
            "GET / HTTP/1.1\r\nHost: a\r\nX : a",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked",
        ] {
            check(bad, None);
        }
    }
}
