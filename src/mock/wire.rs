//! `Wire`: the connection below HTTP, where a mock does what an HTTP library will not: send bytes that
//! are no HTTP, close in the middle, reset. It knows nothing of requests; `Fate` tells it when.
//!
//! hyper flushes after it has written everything it holds, and does so at the end of each turn, also
//! when a service or a body is pending. So whoever sets a fate and then stays pending knows that
//! everything said before went out, and nothing after.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// How a connection ends by the mock's own will.
#[derive(Debug)]
pub(super) enum Stop {
    /// Close it; over TLS without `close_notify`.
    Close,
    /// Reset it.
    Reset,
    /// Send this, then close.
    Garbage(Bytes),
}

/// The end of one connection, once it is decided. The first decision stays.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Arc<OnceLock<Stop>>);

impl Fate {
    /// Decides. The caller stays pending from now on.
    pub(super) fn decide(&self, stop: Stop) {
        self.0.get_or_init(|| stop);
    }
}

/// A byte stream over TCP.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A connection that meets its fate when it is flushed.
pub(super) struct Wire<S> {
    io: TokioIo<S>,
    fate: Fate,
    garbage_sent: usize,
}

impl<S: Socket> Wire<S> {
    pub(super) fn new(socket: S, fate: Fate) -> Self {
        Self { io: TokioIo::new(socket), fate, garbage_sent: 0 }
    }

    /// Does what was decided. Always ends in an error, on which hyper drops the connection.
    fn meet(&mut self, stop: &Stop, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match stop {
            Stop::Close => {}
            Stop::Reset => self.io.inner().tcp().set_zero_linger()?,
            Stop::Garbage(bytes) => ready!(self.send_garbage(bytes.clone(), cx))?,
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    fn send_garbage(&mut self, mut bytes: Bytes, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        bytes.advance(self.garbage_sent);
        while bytes.has_remaining() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &bytes))?;
            bytes.advance(sent);
            self.garbage_sent += sent;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<S: Socket> Read for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: Socket> Write for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if self.fate.0.get().is_none() {
            return Poll::Ready(Ok(()));
        }
        let fate = self.fate.clone();
        fate.0.get().map_or(Poll::Ready(Ok(())), |stop| self.meet(stop, cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
