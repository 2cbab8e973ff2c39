//! The socket of a client: reads of framing without content are bounded, the wait for a request and writes have timeouts,
//! the response's body learns when everything is written, and an idle connection ends when it has to go. A client that
//! stops reading holds its upstream connection; TCP keeps such a peer for as long as it lives.
//!
//! The first bytes are looked at, and put back, to find the protocol. With several requests at a time (HTTP/2) the
//! connection's own task sees to its idle time: nothing here ends one.
//!
//! The read of a request's body has a timeout of its own: that of the upload. The socket is closed by
//! `gateway::staged_close`, never here.

use std::{
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::yield_now,
    time::{Instant, Sleep, sleep_until},
};

use super::request_wait::RequestWait;
use crate::admission::ClientConnection;

/// Bytes without the head of a request or a frame of a body after which the task ends its turn for the first time: more
/// than hyper reads for one frame. hyper parses a chunk's size byte by byte, and it may have digits without end. The task's
/// budget is not used up by it: a response, and the deadline of the upload, need the rest.
const FIRST_TURN_BYTES: usize = 64 << 10;
/// Such bytes of each turn that follows.
const TURN_BYTES: usize = 32 << 10;

/// Bytes that a connection may read without the head of a request or a frame of a body that is sent upstream. More than any
/// head, and than what is read of a body that is not sent. It ends chunk sizes without end wherever no upload watches.
const MAX_UNFRAMED: usize = 4 << 20;

/// Bytes that decide about the protocol: those of HTTP/2's preface.
pub(super) const LOOK_AHEAD: usize = 24;

/// The timeouts of a client's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientTimeouts {
    /// From the first byte of a head to its end.
    pub(super) head: Duration,
    /// Without a request, and without a byte of one.
    pub(super) idle: Duration,
    /// For a write that makes no progress.
    pub(super) stall: Duration,
}

/// A socket whose waits have deadlines.
#[derive(Debug)]
pub(super) struct ClientStream {
    stream: TcpStream,
    connection: Arc<ClientConnection>,
    timeouts: ClientTimeouts,
    wait: RequestWait,
    /// Bytes that were looked at, and are read again first.
    looked_at: Bytes,
    /// Several requests at a time: the waits for one are not watched here.
    is_shared: bool,
    /// The client closed its side, the socket failed, or a deadline has passed: there is nothing left to read or write.
    is_over: bool,
    /// The number of bytes without a head or a frame at which the turn ends.
    turn_end: usize,
    /// The time since which a write is blocked.
    waiting: Option<Instant>,
    /// Created when a write first blocks, and reset for later ones.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub(super) fn new(
        stream: TcpStream,
        connection: Arc<ClientConnection>,
        timeouts: ClientTimeouts,
    ) -> Self {
        Self {
            stream,
            wait: RequestWait::new(),
            looked_at: Bytes::new(),
            is_shared: false,
            connection,
            timeouts,
            is_over: false,
            turn_end: FIRST_TURN_BYTES,
            waiting: None,
            timer: None,
        }
    }

    /// The socket, to be closed in stages. None if its client is gone: then closing it at once loses nothing.
    pub(super) fn into_socket(self) -> Option<TcpStream> {
        (!self.is_over).then_some(self.stream)
    }

    /// Reads the first bytes, until `is_enough` of them, and puts them back. It can be dropped and called again. Returns those
    /// that came, which may be too few at the end of the connection.
    pub(super) async fn look_ahead(&mut self, is_enough: impl Fn(&[u8]) -> bool) -> io::Result<Bytes> {
        while !is_enough(&self.looked_at) {
            let mut space = [0; LOOK_AHEAD];
            let mut piece = ReadBuf::new(&mut space);
            // As much as may be needed: the rest is left to the protocol.
            let mut piece = piece.take(LOOK_AHEAD - self.looked_at.len());
            poll_fn(|cx| self.poll_socket(cx, &mut piece)).await?;
            if piece.filled().is_empty() {
                break;
            }
            self.looked_at = [&self.looked_at, piece.filled()].concat().into();
        }
        Ok(self.looked_at.clone())
    }

    /// True if the client has sent nothing so far.
    pub(super) fn is_untouched(&self) -> bool {
        self.looked_at.is_empty()
    }

    /// Several requests at a time follow.
    pub(super) fn share(&mut self) {
        self.is_shared = true;
    }

    /// Ends the connection, as if the client had: hyper closes one that waits for a request then.
    fn end(&mut self) -> Poll<io::Result<()>> {
        self.is_over = true;
        Poll::Ready(Ok(()))
    }

    /// Asks the kernel: tokio's readiness is as old as the last poll of all sockets, and a request may have come since then.
    fn has_nothing_unread(&self) -> bool {
        let peeked = SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn timed(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &polled {
            self.waiting = None;
            self.is_over |= result.is_err();
            return polled;
        }
        self.connection.write_blocked();
        if self.connection.poll_evicted(cx).is_ready() {
            self.is_over = true;
            let evicted =
                io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing, and others wait");
            return Poll::Ready(Err(evicted));
        }
        let deadline = *self.waiting.get_or_insert_with(Instant::now) + self.timeouts.stall;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| {
            self.is_over = true;
            Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing"))
        })
    }

    /// Reads from the socket, within the turn of the task.
    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let unframed = self.connection.reads().unframed.load(Ordering::Relaxed);
        if unframed > MAX_UNFRAMED {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "framing without content")));
        }
        if unframed < FIRST_TURN_BYTES {
            self.turn_end = FIRST_TURN_BYTES;
        } else if unframed >= self.turn_end {
            self.turn_end = unframed + TURN_BYTES;
            // Goes on after a poll of all sockets: a plain wake would put that off.
            return pin!(yield_now()).poll(cx).map(Ok);
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if let Poll::Ready(result) = &read {
            self.connection.received(bytes);
            self.is_over |= result.is_err() || bytes == 0 && buf.remaining() > 0;
            return read;
        }
        if self.is_shared {
            return Poll::Pending;
        }
        let Self { connection, wait, timeouts, .. } = &mut *self;
        let is_due =
            connection.poll_evicted(cx).is_ready() || wait.poll(connection, cx, *timeouts).is_ready();
        if is_due && self.has_nothing_unread() { self.end() } else { read }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.looked_at.is_empty() {
            let bytes = self.looked_at.len().min(buf.remaining());
            buf.put_slice(&self.looked_at.split_to(bytes));
            return Poll::Ready(Ok(()));
        }
        self.poll_socket(cx, buf)
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

    /// The caller closes the socket, once hyper's buffers are free.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::coop::has_budget_remaining,
    };

    use super::*;
    use crate::admission::{Admission, Admitted, Arrival, Entrance, Limits, Overrides, Resources};

    /// The socket of a client, and the client.
    async fn connected(limit: Duration) -> (ClientStream, TcpStream, Admitted) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let resources = Resources { open_files: 1000, memory: 1 << 30 };
        let admission = Admission::new(Limits::derive(resources, &Overrides::default(), 1, 8 << 10), 1);
        let admitted = admission
            .connect(Arrival { entrance: Entrance::Clients, listener: 0, peer: peer.ip(), exempt: false })
            .unwrap();
        let timeouts = ClientTimeouts { head: limit, idle: limit * 10, stall: limit };
        (ClientStream::new(stream, admitted.connection.clone(), timeouts), client, admitted)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut writer, client, _admitted) = connected(Duration::from_millis(50)).await;
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

    /// hyper parses all that it reads: a client that sends a chunk's size without end takes no turn for long, and leaves budget
    /// for the response.
    #[tokio::test]
    async fn a_turn_reads_a_bounded_number_of_bytes() {
        let (mut reader, client, admitted) = connected(Duration::from_secs(20)).await;
        let mut sent = 0;
        while sent < 1 << 18 {
            client.writable().await.unwrap();
            sent += client.try_write(&[b'0'; 1 << 13]).unwrap_or_default();
        }
        reader.stream.readable().await.unwrap();
        tokio::task::yield_now().await;
        let read = poll_fn(|cx| {
            let mut total = 0;
            let mut space = [0; 1 << 13];
            loop {
                let mut piece = ReadBuf::new(&mut space);
                if Pin::new(&mut reader).poll_read(cx, &mut piece).is_pending() {
                    return Poll::Ready((total, has_budget_remaining()));
                }
                total += piece.filled().len();
            }
        });
        let read = read.await;
        assert_eq!(read, (FIRST_TURN_BYTES, true));
        assert_eq!(admitted.connection.reads().unframed.load(Ordering::Relaxed), FIRST_TURN_BYTES);
        admitted.connection.received(MAX_UNFRAMED);
        assert_eq!(reader.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        admitted.connection.begin_request();
        assert_eq!(reader.read_u8().await.unwrap(), b'0');
    }
}
