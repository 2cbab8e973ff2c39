//! The TCP socket below an upstream connection. It charges a task for the bytes that it reads and writes (`turn`), and
//! checks an idle connection for unread bytes.
//!
//! The check asks the kernel. tokio's own readiness is as old as the worker's last poll of its sockets, and a task without
//! budget reads nothing: a late response could be taken for that of the next request.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::turn;

/// A TCP socket.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    check: IdleCheck,
}

/// The handle for the check of an idle connection. The socket itself belongs to hyper.
#[derive(Debug, Clone, Default)]
pub(super) struct IdleCheck(Arc<CheckState>);

/// Relaxed orderings suffice: only the worker's own thread uses them.
#[derive(Debug, Default)]
struct CheckState {
    /// The next read asks the kernel and takes nothing.
    armed: AtomicBool,
    /// The kernel had neither bytes nor the end of the stream.
    empty: AtomicBool,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, check: IdleCheck::default() }
    }

    pub(super) fn idle_check(&self) -> IdleCheck {
        self.check.clone()
    }

    /// Pending if nothing is unread. No waker is kept: an idle connection wakes nobody.
    fn check_unread(&self) -> Poll<io::Result<()>> {
        match SockRef::from(&self.tcp).peek(&mut [MaybeUninit::uninit()]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.check.0.empty.store(true, Ordering::Relaxed);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
            Ok(0) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "bytes without a request"))),
        }
    }
}

impl IdleCheck {
    /// Lets `drive` poll the connection once. True if its poll reached the socket, and nothing was unread there.
    pub(super) fn run(&self, drive: impl FnOnce()) -> bool {
        self.0.empty.store(false, Ordering::Relaxed);
        self.0.armed.store(true, Ordering::Relaxed);
        drive();
        self.0.armed.store(false, Ordering::Relaxed);
        self.0.empty.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.check.0.armed.load(Ordering::Relaxed) {
            return self.check_unread();
        }
        let before = buf.filled().len();
        let polled = ready!(Pin::new(&mut self.tcp).poll_read(cx, buf));
        turn::charge_bytes(buf.filled().len() - before);
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
