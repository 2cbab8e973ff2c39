//! Clients that speak HTTP/2: `Http2` through hyper, as a program would, and frames of any shape for a `Wire`.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll},
    thread,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{io, net::TcpStream, runtime::Runtime, sync::mpsc as channel, time::timeout};
use tokio_rustls::TlsConnector;

use super::wire::{LIMIT, Reading, Wire};

/// A body that the test sends piece by piece. It ends when the sender is dropped.
struct Pieces(channel::UnboundedReceiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// A connection that speaks HTTP/2. A thread drives it.
pub struct Http2 {
    sender: http2::SendRequest<Pieces>,
    runtime: Runtime,
    origin: String,
    ended: mpsc::Receiver<Result<(), String>>,
}

/// The answer to a request that was sent. Dropped early, the request is cancelled.
pub struct Answering {
    future: Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>>>>,
}

/// An answer whose body may still be coming.
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

impl Http2 {
    /// By prior knowledge.
    pub fn connect(address: SocketAddr) -> Self {
        Self::start(address, None)
    }

    /// By ALPN. `ca`: the PEM of the only certificate that is trusted.
    pub fn over_tls(address: SocketAddr, ca: &str) -> Self {
        Self::start(address, Some(client_config(ca, &["h2", "http/1.1"])))
    }

    fn start(address: SocketAddr, tls: Option<ClientConfig>) -> Self {
        let (started, starting) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let scheme = if tls.is_some() { "https" } else { "http" };
        thread::spawn(move || {
            let ended = runtime().block_on(async {
                let socket = TcpStream::connect(address).await.expect("the gateway listens");
                match tls {
                    None => drive(socket, &started).await,
                    Some(config) => {
                        let name = ServerName::try_from("localhost").expect("it is a name");
                        let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
                        let tls = tls.expect("the handshake succeeds");
                        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                        drive(tls, &started).await
                    }
                }
            });
            // The test may be over.
            let _ = ending.send(ended);
        });
        let sender = starting.recv_timeout(LIMIT).expect("the connection begins");
        Self { sender, runtime: runtime(), origin: format!("{scheme}://{address}"), ended }
    }

    /// Sends a request with this whole body.
    pub fn send(&mut self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answering {
        let (answering, pieces) = self.begin(line, headers);
        if !body.is_empty() {
            pieces.send(Bytes::copy_from_slice(body)).expect("the connection is open");
        }
        answering
    }

    /// Sends a head. The body follows piece by piece, until the sender is dropped.
    pub fn begin(
        &mut self,
        line: &str,
        headers: &[(&str, &str)],
    ) -> (Answering, channel::UnboundedSender<Bytes>) {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let (sender, pieces) = channel::unbounded_channel();
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.origin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.runtime.block_on(self.sender.ready()).expect("the connection is open");
        let request = request.body(Pieces(pieces)).expect("it is valid");
        (Answering { future: Box::pin(self.sender.send_request(request)) }, sender)
    }

    /// The head of an answer.
    pub fn head(&self, answering: Answering) -> Answered {
        let (head, body) = self.wait(answering.future).expect("there is an answer").into_parts();
        Answered { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// The status of an answer, or the error instead of one.
    pub fn outcome(&self, answering: Answering) -> Result<u16, String> {
        let answered = self.wait(answering.future);
        answered.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"))
    }

    /// The status of a health check.
    pub fn health(&mut self) -> u16 {
        let answering = self.send("GET /health", &[], b"");
        self.answer(answering).0
    }

    /// The next piece of a body. None at its end.
    pub fn piece(&self, answered: &mut Answered) -> Option<Result<Bytes, String>> {
        let frame = self.wait(answered.body.frame())?;
        Some(frame.map_err(|error| format!("{error:?}")).map(|frame| frame.into_data().expect("data")))
    }

    /// The rest of a body, and its trailers.
    pub fn rest(&self, answered: Answered) -> (Vec<u8>, Option<HeaderMap>) {
        let all = self.wait(answered.body.collect()).expect("the body is whole");
        let trailers = all.trailers().cloned();
        (all.to_bytes().to_vec(), trailers)
    }

    /// The status and the whole body of an answer.
    pub fn answer(&self, answering: Answering) -> (u16, Vec<u8>) {
        let answered = self.head(answering);
        (answered.status, self.rest(answered).0)
    }

    /// Waits for the end of the connection, which the server has to bring about.
    pub fn ends(self) -> Result<(), String> {
        let Self { sender, ended, .. } = self;
        let result = ended.recv_timeout(LIMIT).expect("the connection ends");
        drop(sender);
        result
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(LIMIT, future).await.expect("it comes in time") })
    }
}

async fn drive<S>(stream: S, started: &mpsc::Sender<http2::SendRequest<Pieces>>) -> Result<(), String>
where
    S: io::AsyncRead + io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(64 << 10).initial_connection_window_size(64 << 10);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("it takes the preface");
    started.send(sender).expect("the test waits");
    connection.await.map_err(|error| format!("{error:?}"))
}

/// A configuration that trusts this PEM alone.
pub fn client_config(ca: &str, protocols: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows every version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// The preface, and empty settings.
pub fn opening() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, b"")].concat()
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of headers, without compression.
pub fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 127);
        [&[length.expect("tests send short lines")], text.as_bytes()].concat()
    };
    lines.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// A frame that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Seen {
    /// The status of an answer, if HPACK has an index for it.
    pub fn status(&self) -> Option<u16> {
        let first = self.payload.first()?;
        [200, 204, 206, 304, 400, 404, 500].get(usize::from(first.checked_sub(0x88)?)).copied()
    }

    /// The bytes by which a window grows.
    pub fn increment(&self) -> usize {
        let bytes = self.payload[..4].try_into().expect("a frame of that kind has four bytes");
        usize::try_from(u32::from_be_bytes(bytes)).expect("it fits")
    }

    /// The error code of a reset, or of the end of the connection.
    pub fn code(&self) -> u8 {
        self.payload[if self.kind == GOAWAY { 7 } else { 3 }]
    }
}

impl Wire {
    /// The next frame.
    pub fn frame(&mut self) -> Reading<Seen> {
        let head = self.bytes(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.bytes(usize::try_from(length).expect("a frame is small"))?;
        Ok(Seen { kind: head[3], stream, payload })
    }

    /// The next frame of one of these kinds. Others are read and passed over.
    pub fn frame_of(&mut self, kinds: &[u8]) -> Reading<Seen> {
        loop {
            let frame = self.frame()?;
            if kinds.contains(&frame.kind) {
                return Ok(frame);
            }
        }
    }
}
