//! A scripted server, byte for byte, and a request body that a test feeds chunk by chunk.

#![expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::origin::Origin;

/// A scripted server. Drop stops it.
pub(super) struct Server {
    pub(super) origin: Origin,
    pub(super) port: u16,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// One accepted connection.
pub(super) struct Peer<S = TcpStream> {
    pub(super) stream: S,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Listens, and runs `script` with the index of each connection, from 0.
    pub(super) async fn run<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Peer) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, heads) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (counter, log) = (Arc::clone(&connections), Arc::clone(&heads));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(number, Peer { stream, heads: Arc::clone(&log) }));
            }
        });
        let (origin, _) = Origin::split(&format!("http://127.0.0.1:{port}")).unwrap();
        Self { origin, port, connections, heads, task }
    }

    /// Answers every request on every connection with the same pieces, one write each.
    pub(super) async fn answering(pieces: &'static [&'static str]) -> Self {
        Self::run(move |_, mut peer| async move {
            while peer.head().await.is_some() {
                for piece in pieces {
                    peer.write(piece).await;
                }
            }
        })
        .await
    }

    /// Answers the first request of each connection, then closes it.
    pub(super) async fn answering_once(pieces: &'static [&'static str]) -> Self {
        Self::run(move |_, mut peer| async move {
            peer.head().await;
            for piece in pieces {
                peer.write(piece).await;
            }
        })
        .await
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// A peer whose heads are not listed.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, heads: Arc::default() }
    }

    /// Reads up to the blank line; `None` at the end of the stream.
    pub(super) async fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        self.heads.lock().unwrap().push(head.clone());
        Some(head)
    }

    pub(super) async fn read(&mut self, length: usize) -> String {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // In some tests the client has disconnected.
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Reads until the client closes or resets. Returns the bytes.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        rest
    }

    /// Never returns: the connection stays open and silent.
    pub(super) async fn hang(self) {
        std::future::pending::<()>().await;
    }
}

impl Peer {
    /// Accepts TLS; `None` if the client aborts the handshake.
    pub(super) async fn secure(self, acceptor: TlsAcceptor) -> Option<Peer<TlsStream<TcpStream>>> {
        let stream = acceptor.accept(self.stream).await.ok()?;
        Some(Peer { stream, heads: self.heads })
    }

    /// Closes with RST instead of FIN.
    pub(super) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}

pub(super) type Sent = Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>;

/// A body fed through a channel. It ends when the sender is dropped.
pub(super) struct Fed {
    frames: mpsc::Receiver<Sent>,
    size: SizeHint,
}

impl Fed {
    pub(super) fn new(size: Option<u64>) -> (mpsc::Sender<Sent>, Self) {
        let (feed, frames) = mpsc::channel(16);
        (feed, Self { frames, size: size.map_or_else(SizeHint::default, SizeHint::with_exact) })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is fed to a body beside errors")]
pub(super) fn data(text: &'static str) -> Sent {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

impl Body for Fed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        self.frames.poll_recv(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}
