//! The byte stream of an upstream connection, as hyper reads and writes it.
//!
//! It holds no bytes of its own: TLS and the socket do.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio_rustls::client::TlsStream;

use super::socket::{Socket, Tunnel};

/// A stream to an origin, or to the proxy that forwards requests to it.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every connection has TLS: a box would cost an allocation each"
)]
pub(super) enum Io {
    /// Without TLS.
    Plain(TokioIo<Socket>),
    /// TLS with the origin, directly or in a tunnel; or TLS with a proxy that forwards requests.
    Tls(TokioIo<TlsStream<Socket>>),
    /// TLS with the origin in a tunnel through TLS with a proxy.
    Nested(Box<TokioIo<TlsStream<Tunnel<TlsStream<Socket>>>>>),
}

/// Calls a method of the stream within.
macro_rules! within {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io {
            Io::Plain($stream) => $call,
            Io::Tls($stream) => $call,
            Io::Nested($stream) => $call,
        }
    };
}

impl Read for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        within!(self, stream => stream.is_write_vectored())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        within!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }
}
