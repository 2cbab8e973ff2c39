//! The end of a client's connection in stages (RFC 9112, section 9.6): the write side is closed, then what the client still
//! sends is read and discarded, and only then the socket is closed. Closing it at once would reset the connection, and
//! a client that sends its whole request before it reads would lose the response. So would one that reads slowly, and sends
//! something while the kernel still has a part of the response: the write side is closed once the kernel has sent all of it.
//!
//! It guarantees: no memory besides the socket's; bounds on bytes and time. The connection counts as idle meanwhile: it
//! is closed when its place is needed.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
    task::yield_now,
    time::{sleep, timeout},
};

/// The bounds of the read after a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The most that is read.
    pub(super) bytes: u64,
    /// The longest time.
    pub(super) time: Duration,
    /// The longest pause of the client in that time, once everything is sent.
    pub(super) pause: Duration,
    /// The time that is left once a graceful shutdown wants the connection closed.
    pub(super) at_stop: Duration,
}

/// Twice the default of `max_body`, and less time than a connection may idle.
pub(super) const BOUNDS: Bounds = Bounds {
    bytes: 512 << 20,
    time: Duration::from_mins(2),
    pause: Duration::from_secs(5),
    at_stop: Duration::from_secs(2),
};

/// Those of a connection whose client broke the protocol, or sent too much: time for it to read why.
const BRIEF: Bounds = Bounds { bytes: 1 << 20, time: Duration::from_secs(2), ..BOUNDS };

/// Bytes of one read.
const READ_BYTES: usize = 16 << 10;
/// Bytes after which other tasks have a turn.
const TURN_BYTES: u64 = 256 << 10;

/// A connection that may have bytes to send.
pub trait SendQueue {
    /// Ready once the kernel has sent everything. Call it when nothing more will be written.
    fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl SendQueue for TcpStream {
    fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<()> {
        // With this limit, a socket is writable once nothing waits to be sent: what is on its way has room at the client.
        if SockRef::from(self).set_tcp_notsent_lowat(1).is_err() {
            return Poll::Ready(());
        }
        while ready!(self.poll_write_ready(cx)).is_ok() {
            // tokio's own readiness is that of the limit before.
            let mut asked = [PollFd::new(self, PollFlags::OUT)];
            if poll(&mut asked, Some(&Timespec::default())) != Ok(0) {
                break;
            }
            let _ =
                self.try_io(Interest::WRITABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
        }
        Poll::Ready(())
    }
}

impl SendQueue for UnixStream {
    /// What is written is the peer's at once.
    fn poll_sent(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// Closes a connection. `evicted` is ready once its place is needed, and `stop` once the process shuts down.
pub async fn staged_close<S: AsyncRead + AsyncWrite + SendQueue + Unpin>(
    stream: S,
    evicted: impl Fn(&Context<'_>) -> Poll<()>,
    stop: impl Future<Output = ()>,
) {
    close_within(BOUNDS, stream, evicted, stop).await;
}

/// Closes a connection whose client broke the protocol: it has a moment to read that.
pub async fn brief_close<S: AsyncRead + AsyncWrite + SendQueue + Unpin>(
    stream: S,
    evicted: impl Fn(&Context<'_>) -> Poll<()>,
    stop: impl Future<Output = ()>,
) {
    close_within(BRIEF, stream, evicted, stop).await;
}

async fn close_within<S: AsyncRead + AsyncWrite + SendQueue + Unpin>(
    bounds: Bounds,
    mut stream: S,
    evicted: impl Fn(&Context<'_>) -> Poll<()>,
    stop: impl Future<Output = ()>,
) {
    tokio::select! {
        () = discard(bounds, &mut stream, evicted) => {}
        () = sleep(bounds.time) => {}
        () = async { stop.await; sleep(bounds.at_stop).await } => {}
    }
}

async fn discard<S: AsyncRead + AsyncWrite + SendQueue + Unpin>(
    bounds: Bounds,
    stream: &mut S,
    evicted: impl Fn(&Context<'_>) -> Poll<()>,
) {
    let (mut total, mut turn, mut is_shut) = (0, 0, false);
    while total < bounds.bytes {
        let read = poll_fn(|cx| {
            is_shut = is_shut || poll_shutdown(stream, cx).is_ready();
            poll_discard(stream, &evicted, cx)
        });
        let bytes = match timeout(bounds.pause, read).await {
            Ok(Some(bytes)) => bytes,
            Err(_) if !is_shut => continue,
            // Nothing, an error and a pause are the end alike: the client has what it takes of the response.
            Ok(None) | Err(_) => return,
        };
        total += bytes;
        turn += bytes;
        if turn >= TURN_BYTES {
            turn = 0;
            yield_now().await;
        }
    }
}

/// Closes the write side once everything is sent. A failure shows in the next read.
fn poll_shutdown<S: AsyncWrite + SendQueue + Unpin>(stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
    ready!(stream.poll_sent(cx));
    Pin::new(stream).poll_shutdown(cx).map(drop)
}

/// The number of bytes that were read into nowhere. None at the end of the stream.
fn poll_discard<S: AsyncRead + Unpin>(
    stream: &mut S,
    evicted: impl Fn(&Context<'_>) -> Poll<()>,
    cx: &mut Context<'_>,
) -> Poll<Option<u64>> {
    // On the stack of the thread: a connection that lingers holds no buffer.
    let mut space = [MaybeUninit::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut space);
    match Pin::new(stream).poll_read(cx, &mut buffer) {
        Poll::Ready(read) => {
            let bytes = buffer.filled().len() as u64;
            Poll::Ready((read.is_ok() && bytes > 0).then_some(bytes))
        }
        Poll::Pending => {
            ready!(evicted(cx));
            Poll::Ready(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        net::{TcpListener, TcpSocket},
        time::Instant,
    };

    use super::*;

    const LONG: Duration = Duration::from_mins(10);
    const SHORT: Duration = Duration::from_millis(30);
    const FREE: Bounds = Bounds { bytes: u64::MAX, time: LONG, pause: LONG, at_stop: LONG };

    impl SendQueue for DuplexStream {
        fn poll_sent(&self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    fn stays(_: &Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Each bound ends the wait for a client that keeps the connection open; the write side is closed before it.
    #[tokio::test]
    async fn each_bound_ends_the_wait() {
        let check = async |bounds: Bounds, evicted: bool, stops: bool, least: Duration| {
            let (mut client, server) = duplex(64);
            let start = Instant::now();
            let evicted = |_: &Context<'_>| if evicted { Poll::Ready(()) } else { Poll::Pending };
            let stop = async {
                if stops {
                    ready(()).await;
                } else {
                    pending::<()>().await;
                }
            };
            let ((), read) = tokio::join!(close_within(bounds, server, evicted, stop), async {
                client.read(&mut [0]).await
            });
            assert_eq!(read.unwrap(), 0);
            assert!((least..LONG).contains(&start.elapsed()), "{bounds:?}");
        };
        check(Bounds { time: SHORT, ..FREE }, false, false, SHORT).await;
        check(Bounds { pause: SHORT, ..FREE }, false, false, SHORT).await;
        check(Bounds { at_stop: SHORT, ..FREE }, false, true, SHORT).await;
        check(FREE, true, false, Duration::ZERO).await;
    }

    #[tokio::test]
    async fn a_client_that_sends_for_ever_is_cut() {
        let (mut client, server) = duplex(64);
        let trickle = async { while client.write_all(b"x").await.is_ok() {} };
        let bounds = Bounds { time: SHORT, ..FREE };
        tokio::join!(trickle, close_within(bounds, server, stays, pending()));

        let (mut client, server) = duplex(1 << 10);
        let flood = async {
            let mut sent = 0_u64;
            while client.write_all(&[0; 1 << 10]).await.is_ok() {
                sent += 1 << 10;
            }
            sent
        };
        let bounds = Bounds { bytes: 1 << 20, ..FREE };
        let (sent, ()) = tokio::join!(flood, close_within(bounds, server, stays, pending()));
        assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&sent), "{sent}");
    }

    /// A pause is no end while the kernel holds a part of the response.
    #[tokio::test]
    async fn a_client_that_reads_slowly_gets_everything() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        server.writable().await.unwrap();
        let mut sent = 0;
        while let Ok(bytes) = server.try_write(&[0; 16 << 10]) {
            sent += bytes;
        }
        let reader = async {
            sleep(SHORT * 5).await;
            // At a socket that is closed already, this would reset the connection.
            client.write_all(b"ping").await.unwrap();
            sleep(SHORT).await;
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            received.len()
        };
        let bounds = Bounds { pause: SHORT, ..FREE };
        let (received, ()) = tokio::join!(reader, close_within(bounds, server, stays, pending()));
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn a_client_that_closes_ends_it() {
        let (client, server) = duplex(64);
        drop(client);
        close_within(FREE, server, stays, pending()).await;
    }
}
