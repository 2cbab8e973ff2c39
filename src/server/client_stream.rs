//! The socket of a client: writes have a timeout, the response's body learns when everything is written, and an idle
//! connection ends when it has to go. A client that
//! stops reading holds its upstream connection; TCP keeps such a peer for as long as it lives.
//!
//! Reads have other timeouts: hyper's for a head, the upload's for a body.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use crate::admission::ClientConnection;

/// A socket whose writes have a deadline.
#[derive(Debug)]
pub(super) struct ClientStream {
    stream: TcpStream,
    connection: Arc<ClientConnection>,
    limit: Duration,
    /// The time since which a write is blocked.
    waiting: Option<Instant>,
    /// Created when a write first blocks, and reset for later ones.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, connection: Arc<ClientConnection>, limit: Duration) -> Self {
        Self { stream, connection, limit, waiting: None, timer: None }
    }

    fn timed(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let deadline = *self.waiting.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.connection.received();
        }
        // Nothing read is the end: hyper closes an idle connection then, as if the client had.
        if read.is_pending() && self.connection.poll_evicted(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.timed(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes once it has written everything that it had.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.connection.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;
    use crate::admission::{Admission, Entrance, Limits, Overrides, Resources};

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let resources = Resources { open_files: 1000, memory: 1 << 30 };
        let admission = Admission::new(Limits::derive(resources, &Overrides::default(), 1, 8 << 10), 1);
        let admitted = admission.connect(Entrance::Clients, 0, peer.ip(), false).unwrap();
        let mut writer = ClientStream::new(stream, admitted.connection.clone(), Duration::from_millis(50));
        let error = async {
            loop {
                if let Err(error) = writer.write_all(&[0; 1 << 13]).await {
                    return error;
                }
            }
        };
        assert_eq!(error.await.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
