//! The TCP socket below an upstream connection. It charges a task for the bytes that it reads and writes (`turn`), counts
//! the bytes of framing, and checks an idle connection for unread bytes.
//!
//! The check asks the kernel. tokio's own readiness is as old as the worker's last poll of its sockets, and a task without
//! budget reads nothing: a late response could be taken for that of the next request.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{tls_records::Records, turn};

/// A TCP socket.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    watch: SocketWatch,
    /// With TLS, the records that arrive.
    records: Option<Records>,
}

/// The handle to watch a socket. The socket itself belongs to hyper.
#[derive(Debug, Clone, Default)]
pub(super) struct SocketWatch(Arc<WatchState>);

/// Relaxed orderings suffice: only the worker's own thread uses them.
#[derive(Debug, Default)]
struct WatchState {
    /// Bytes that were read since the last frame of a body.
    unframed: AtomicUsize,
    /// A part of a TLS record was read, which is no plaintext yet.
    in_record: AtomicBool,
    /// The next read asks the kernel and takes nothing.
    armed: AtomicBool,
    /// The kernel had neither bytes nor the end of the stream.
    empty: AtomicBool,
}

impl Socket {
    /// A socket whose bytes are no TLS records yet.
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, watch: SocketWatch::default(), records: None }
    }

    /// The same socket, whose bytes are TLS records from now on.
    pub(super) fn with_tls(self) -> Self {
        Self { records: Some(Records::default()), ..self }
    }

    pub(super) fn watch(&self) -> SocketWatch {
        self.watch.clone()
    }

    fn received(&mut self, bytes: &[u8]) {
        turn::charge_bytes(bytes.len());
        let state = &self.watch.0;
        state.unframed.fetch_add(bytes.len(), Ordering::Relaxed);
        if let Some(records) = &mut self.records {
            records.pass(bytes);
            state.in_record.store(records.is_partial(), Ordering::Relaxed);
        }
    }

    /// Pending if nothing is unread. No waker is kept: an idle connection wakes nobody.
    fn check_unread(&self) -> Poll<io::Result<()>> {
        match SockRef::from(&self.tcp).peek(&mut [MaybeUninit::uninit()]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.watch.0.empty.store(true, Ordering::Relaxed);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
            Ok(0) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "bytes without a request"))),
        }
    }
}

/// A stream that carries TLS records and is itself within TLS: a tunnel through a proxy with TLS. It notes a record of which a
/// part was read, as the socket below does for its own.
#[derive(Debug)]
pub(super) struct Tunnel<S> {
    stream: S,
    watch: SocketWatch,
    records: Records,
}

impl<S> Tunnel<S> {
    /// `watch` is that of the socket below.
    pub(super) fn new(stream: S, watch: SocketWatch) -> Self {
        Self { stream, watch, records: Records::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tunnel<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.records.pass(&buf.filled()[before..]);
        // The socket below has noted its own records, which may be complete.
        if self.records.is_partial() {
            self.watch.0.in_record.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tunnel<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl SocketWatch {
    /// A frame of a body came through.
    pub(super) fn framed(&self) {
        self.0.unframed.store(0, Ordering::Relaxed);
    }

    /// Bytes that were read since the last frame. While the next one is awaited, all of them are framing.
    pub(super) fn unframed(&self) -> usize {
        self.0.unframed.load(Ordering::Relaxed)
    }

    /// Lets `drive` poll the connection once. True if its poll reached the socket, and nothing was unread there or waits for
    /// the rest of its TLS record.
    pub(super) fn is_drained(&self, drive: impl FnOnce()) -> bool {
        self.0.empty.store(false, Ordering::Relaxed);
        self.0.armed.store(true, Ordering::Relaxed);
        drive();
        self.0.armed.store(false, Ordering::Relaxed);
        self.0.empty.load(Ordering::Relaxed) && !self.0.in_record.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.0.armed.load(Ordering::Relaxed) {
            return self.check_unread();
        }
        let before = buf.filled().len();
        let polled = ready!(Pin::new(&mut self.tcp).poll_read(cx, buf));
        self.received(&buf.filled()[before..]);
        Poll::Ready(polled)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        charged(ready!(Pin::new(&mut self.tcp).poll_write(cx, bytes)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        charged(ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

fn charged(written: io::Result<usize>) -> Poll<io::Result<usize>> {
    if let Ok(bytes) = written {
        turn::charge_bytes(bytes);
    }
    Poll::Ready(written)
}
