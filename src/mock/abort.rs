//! Fault injection below HTTP: sends non-HTTP bytes, closes mid-message, or resets. It knows nothing of requests; an
//! `AbortHandle` triggers it.
//!
//! hyper flushes after it has written its whole buffer, at the end of each poll, also while a service or body is
//! pending. A task that sets an abort and stays pending can therefore rely on it: all earlier bytes are sent, no later ones.

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

/// The way the mock aborts a connection.
#[derive(Debug)]
pub(super) enum Abort {
    /// Close it; over TLS without `close_notify`.
    Close,
    /// Reset it.
    Reset,
    /// Send these bytes, then close.
    Garbage(Bytes),
}

/// The abort of one connection, shared with its requests. It is set at most once; later calls have no effect.
#[derive(Debug, Clone, Default)]
pub(super) struct AbortHandle(Arc<OnceLock<Abort>>);

impl AbortHandle {
    /// Aborts the connection at its next flush. The caller must stay pending.
    pub(super) fn set(&self, stop: Abort) {
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

/// A connection that executes its abort when it is flushed.
pub(super) struct AbortableIo<S> {
    io: TokioIo<S>,
    abort: AbortHandle,
    garbage_sent: usize,
}

impl<S: Socket> AbortableIo<S> {
    pub(super) fn new(socket: S, abort: AbortHandle) -> Self {
        Self { io: TokioIo::new(socket), abort, garbage_sent: 0 }
    }

    /// Executes the abort. Always returns an error, on which hyper drops the connection.
    fn execute(&mut self, stop: &Abort, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match stop {
            Abort::Close => {}
            Abort::Reset => self.io.inner().tcp().set_zero_linger()?,
            Abort::Garbage(bytes) => ready!(self.send_garbage(bytes.clone(), cx))?,
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

impl<S: Socket> Read for AbortableIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: Socket> Write for AbortableIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if self.abort.0.get().is_none() {
            return Poll::Ready(Ok(()));
        }
        let abort = self.abort.clone();
        abort.0.get().map_or(Poll::Ready(Ok(())), |stop| self.execute(stop, cx))
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
