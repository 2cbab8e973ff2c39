//! The end of a client's connection in stages (RFC 9112, section 9.6): the write side is closed, then what the client still
//! sends is read and discarded, and only then the socket is closed. Closing it at once would reset the connection, and
//! a client that sends its whole request before it reads would lose the response.
//!
//! It guarantees: no memory besides the socket's; bounds on bytes and time. The connection counts as idle meanwhile: it
//! is closed when its place is needed.

use std::{
    future::poll_fn,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    task::yield_now,
    time::{sleep, timeout},
};

/// The bounds of the read after a response.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// The most that is read.
    bytes: u64,
    /// The longest time.
    time: Duration,
    /// The longest pause of the client in that time.
    pause: Duration,
    /// The time that is left once a graceful shutdown wants the connection closed.
    at_stop: Duration,
}

/// Twice the default of `max_body`, and less time than a connection may idle.
const BOUNDS: Bounds = Bounds {
    bytes: 512 << 20,
    time: Duration::from_mins(2),
    pause: Duration::from_secs(5),
    at_stop: Duration::from_secs(2),
};

/// Bytes of one read.
const READ_BYTES: usize = 16 << 10;
/// Bytes after which other tasks have a turn.
const TURN_BYTES: u64 = 256 << 10;

/// Closes a connection. `evicted` is ready once its place is needed, and `stop` once the process shuts down.
pub async fn staged_close<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    evicted: impl Fn(&Context<'_>) -> Poll<()>,
    stop: impl Future<Output = ()>,
) {
    close_within(BOUNDS, stream, evicted, stop).await;
}

async fn close_within<S: AsyncRead + AsyncWrite + Unpin>(
    bounds: Bounds,
    mut stream: S,
    evicted: impl Fn(&Context<'_>) -> Poll<()>,
    stop: impl Future<Output = ()>,
) {
    if stream.shutdown().await.is_err() {
        return;
    }
    tokio::select! {
        () = discard(bounds, &mut stream, evicted) => {}
        () = sleep(bounds.time) => {}
        () = async { stop.await; sleep(bounds.at_stop).await } => {}
    }
}

async fn discard<S: AsyncRead + Unpin>(
    bounds: Bounds,
    stream: &mut S,
    evicted: impl Fn(&Context<'_>) -> Poll<()>,
) {
    let (mut total, mut turn) = (0, 0);
    while total < bounds.bytes {
        let read = poll_fn(|cx| poll_discard(stream, &evicted, cx));
        // Nothing, an error and a pause are the end alike: the client has what it takes of the response.
        let Ok(Some(bytes)) = timeout(bounds.pause, read).await else { return };
        total += bytes;
        turn += bytes;
        if turn >= TURN_BYTES {
            turn = 0;
            yield_now().await;
        }
    }
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
        io::{AsyncReadExt, duplex},
        time::Instant,
    };

    use super::*;

    const LONG: Duration = Duration::from_mins(10);
    const SHORT: Duration = Duration::from_millis(30);
    const FREE: Bounds = Bounds { bytes: u64::MAX, time: LONG, pause: LONG, at_stop: LONG };

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

    #[tokio::test]
    async fn a_client_that_closes_ends_it() {
        let (client, server) = duplex(64);
        drop(client);
        close_within(FREE, server, stays, pending()).await;
    }
}
