//! The bytes of a WebSocket, both ways, in one task. They pass as they are, in pieces: a frame of any size holds no more than
//! one piece of each way, and a peer that does not read stops the other one.
//!
//! It ends with the close frames of both peers, with a peer that leaves, or because tollgate ends it: then a close frame stands
//! between two frames, and nowhere else. A connection that breaks is never ended with a close frame. It logs nothing.

use std::{
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout},
};

use super::{
    counts::StreamGuard,
    io::Io,
    timer::{self, Timer},
};
use crate::websocket::{Close, Frames, close_frame};

/// Bytes of one read.
const PIECE: usize = 16 << 10;
/// The longest silence between the first close frame and the other one.
const CLOSING: Duration = Duration::from_secs(10);
/// The longest time from the first close frame to the other one. What was sent before it may take its time to be read.
const CLOSED_IN: Duration = Duration::from_mins(2);
/// The longest time in which a peer takes nothing of what waits for it.
const STALL: Duration = Duration::from_mins(10);
/// The longest time in which a close frame of tollgate has to find its place between two frames, and to be written.
const LEAVING: Duration = Duration::from_secs(2);
/// The longest wait for the upstream to close its connection after both close frames.
const LINGER: Duration = Duration::from_secs(1);
/// The most that is read in that time.
const LINGER_BYTES: usize = 1 << 20;

/// The code of tollgate's own close frames: it goes away (RFC 6455, section 7.4.1).
pub const GOING_AWAY: u16 = 1001;

/// A connection to an upstream that has switched to WebSocket.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) io: Io,
    /// What the upstream sent right after its answer.
    pub(super) early: Bytes,
    pub(super) idle: Duration,
    pub(super) connected_in: Option<Duration>,
    pub(super) stream: StreamGuard,
}

/// A party of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The client.
    Client,
    /// The upstream.
    Upstream,
    /// tollgate.
    Tollgate,
}

/// The end of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The party that sent the first close frame, or broke the connection.
    pub by: Party,
    /// The first close frame; none if the connection broke.
    pub close: Option<Close>,
    /// Frames of the client, and of the upstream.
    pub frames: (u64, u64),
}

/// A connection to an upstream whose WebSocket has ended.
#[derive(Debug)]
pub struct Remains {
    io: Option<TokioIo<Io>>,
    _stream: StreamGuard,
}

impl Remains {
    /// Closes the connection: the upstream closes first (RFC 6455, section 7.1.1), within a bound. One that broke is closed
    /// already.
    pub async fn close(self) {
        let Some(mut io) = self.io else { return };
        let end = async {
            let mut left = LINGER_BYTES;
            let mut space = [0; 1 << 10];
            // A failure ends the connection too.
            let _ = io.flush().await;
            while let Ok(bytes @ 1..) = io.read(&mut space).await
                && left > bytes
            {
                left -= bytes;
            }
            let _ = io.shutdown().await;
        };
        let _ = timeout(LINGER, end).await;
    }
}

impl Tunnel {
    /// The time that the new connection took.
    pub fn connect_time(&self) -> Option<Duration> {
        self.connected_in
    }

    /// Relays to the end. `early`: what was read of the client already. `leave` is ready once tollgate has to end it. `passed`
    /// sees the number of bytes of each piece, and the party that sent it.
    pub async fn relay<C: AsyncRead + AsyncWrite + Unpin>(
        self,
        client: &mut C,
        early: Bytes,
        leave: impl Future<Output = ()>,
        passed: impl FnMut(Party, usize),
    ) -> (Ended, Remains) {
        let Self { io, early: answered, idle, connected_in: _, stream } = self;
        let mut upstream = TokioIo::new(io);
        let limits = Limits { idle, stall: STALL, closing: CLOSING, closed_in: CLOSED_IN };
        let ended = relay(client, &mut upstream, [early, answered], limits, leave, passed).await;
        let is_broken = ended.close.is_none() && ended.by != Party::Tollgate;
        let io = (!is_broken).then_some(upstream);
        (ended, Remains { io, _stream: stream })
    }
}

/// The times of a WebSocket.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The longest silence.
    idle: Duration,
    /// See [`STALL`].
    stall: Duration,
    /// See [`CLOSING`].
    closing: Duration,
    /// See [`CLOSED_IN`].
    closed_in: Duration,
}

/// Relays between two connections. `early`: what was read already, of the client and of the upstream.
async fn relay<C, U>(
    client: &mut C,
    upstream: &mut U,
    early: [Bytes; 2],
    limits: Limits,
    leave: impl Future<Output = ()>,
    mut passed: impl FnMut(Party, usize),
) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    for (party, early) in [Party::Client, Party::Upstream].into_iter().zip(&early) {
        passed(party, early.len());
    }
    let [up, down] = early.map(Way::new);
    let timer = Timer::new(limits.idle);
    let mut relay = Relay { up, down, limits, timer, phase: Phase::Open, close: None, passed };
    let mut leave = pin!(leave);
    poll_fn(|cx| relay.poll(cx, client, upstream, leave.as_mut())).await
}

/// The state of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes may follow.
    Open,
    /// A close frame has passed: the sender's, or tollgate's own.
    Closed,
    /// The sender has left.
    Left,
    /// The receiver takes nothing any more.
    Refused,
}

/// One way, from one peer to the other.
#[derive(Debug)]
struct Way {
    frames: Frames,
    /// What is read and not written.
    pending: Bytes,
    is_unflushed: bool,
    /// The time of the last byte that was read or written.
    moved: Instant,
    /// tollgate's close frame, until it has its place.
    farewell: Option<Vec<u8>>,
    /// tollgate's close frame is the last one.
    is_over: bool,
    state: State,
}

impl Way {
    fn new(early: Bytes) -> Self {
        let mut frames = Frames::default();
        frames.pass(&early);
        let (farewell, state) = (None, State::Open);
        let (is_unflushed, moved) = (false, Instant::now());
        Self { frames, pending: early, is_unflushed, moved, farewell, is_over: false, state }
    }

    /// True while the receiver has to take something first.
    fn is_blocked(&self) -> bool {
        self.state == State::Open && self.is_unflushed
    }

    /// The close frame that ended it, and its sender: the peer whose way it is, or tollgate.
    fn close(&self, sender: Party) -> Option<(Party, Close)> {
        if self.state != State::Closed {
            return None;
        }
        let own = (Party::Tollgate, Close { code: Some(GOING_AWAY) });
        if self.is_over { Some(own) } else { Some((sender, self.frames.close()?)) }
    }

    /// Moves bytes while there are any. The state is `Open` while more may follow.
    fn advance<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        passed: impl FnMut(usize),
    ) -> State
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.state == State::Open
            && let Poll::Ready(state) = self.poll(cx, from, to, passed)
        {
            (self.state, self.moved) = (state, Instant::now());
        }
        self.state
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        mut passed: impl FnMut(usize),
    ) -> Poll<State>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if ready!(self.poll_write(cx, to)).is_err() {
                return Poll::Ready(State::Refused);
            }
            if self.is_over || self.frames.close().is_some() {
                return Poll::Ready(State::Closed);
            }
            if self.frames.is_between()
                && let Some(farewell) = self.farewell.take()
            {
                (self.pending, self.is_over) = (farewell.into(), true);
                continue;
            }
            let mut space = [MaybeUninit::uninit(); PIECE];
            // Before tollgate's own close frame, no more than the current frame is read.
            let most = if self.farewell.is_some() { self.frames.rest().min(PIECE) } else { PIECE };
            let mut piece = ReadBuf::uninit(&mut space[..most]);
            let read = ready!(Pin::new(&mut *from).poll_read(cx, &mut piece));
            let bytes = piece.filled();
            if read.is_err() || bytes.is_empty() {
                return Poll::Ready(State::Left);
            }
            self.moved = Instant::now();
            self.frames.pass(bytes);
            passed(bytes.len());
            // Written from the stack, as far as it goes: an idle WebSocket holds no buffer.
            let written = match Pin::new(&mut *to).poll_write(cx, bytes) {
                Poll::Ready(Ok(written @ 1..)) => written,
                Poll::Ready(_) => return Poll::Ready(State::Refused),
                Poll::Pending => 0,
            };
            self.is_unflushed = true;
            self.pending = Bytes::copy_from_slice(&bytes[written..]);
        }
    }

    /// Writes what is read, to the last byte: until then nothing more is read.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            self.is_unflushed = true;
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(written);
            self.moved = Instant::now();
        }
        self.pending = Bytes::new();
        if self.is_unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// How far a WebSocket is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Both ways are open.
    Open,
    /// A way has ended. All ends at this time, whatever is missing.
    Closing(Instant),
    /// tollgate ends it, up to this time.
    Leaving(Instant),
}

/// Both ways, and the deadlines.
struct Relay<P> {
    /// From the client to the upstream.
    up: Way,
    /// From the upstream to the client.
    down: Way,
    limits: Limits,
    timer: Timer,
    phase: Phase,
    /// The first close frame, and its sender.
    close: Option<(Party, Close)>,
    passed: P,
}

impl<P: FnMut(Party, usize)> Relay<P> {
    fn poll<C, U>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        upstream: &mut U,
        leave: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Ended>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        // The future is not polled again once it was ready: tollgate has left then.
        if !matches!(self.phase, Phase::Leaving(_)) && leave.poll(cx).is_ready() {
            self.leave("tollgate is stopping");
        }
        loop {
            let states = self.advance(cx, client, upstream);
            if let Some(ended) = self.end(states) {
                return Poll::Ready(ended);
            }
            let deadline = self.deadline();
            ready!(self.timer.poll(cx, deadline));
            if self.phase != Phase::Open {
                return Poll::Ready(self.ended(states));
            }
            let is_blocked = self.up.is_blocked() || self.down.is_blocked();
            self.leave(if is_blocked { "a peer takes nothing" } else { "nothing was sent for too long" });
        }
    }

    fn advance<C, U>(&mut self, cx: &mut Context<'_>, client: &mut C, upstream: &mut U) -> [State; 2]
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { up, down, passed, .. } = self;
        let up = up.advance(cx, client, upstream, |bytes| passed(Party::Client, bytes));
        [up, down.advance(cx, upstream, client, |bytes| passed(Party::Upstream, bytes))]
    }

    /// The time at which it ends if nothing moves. A receiver that takes its time is no silence: while a write is blocked, only
    /// the limit for that runs.
    fn deadline(&self) -> Instant {
        let Limits { idle, stall, closing, closed_in: _ } = self.limits;
        let (silence, end) = match self.phase {
            Phase::Open => (idle, None),
            Phase::Closing(end) => (closing, Some(end)),
            Phase::Leaving(end) => return end,
        };
        let ways = [&self.up, &self.down];
        let blocked = ways.iter().filter(|way| way.is_blocked()).map(|way| timer::after(way.moved, stall));
        let due = blocked.min().unwrap_or_else(|| timer::after(self.up.moved.max(self.down.moved), silence));
        end.map_or(due, |end| due.min(end))
    }

    /// The end, once nothing is left to do. A peer that takes nothing any more may have said why: it is read to its end.
    fn end(&mut self, states: [State; 2]) -> Option<Ended> {
        self.close = self.close.or_else(|| self.up.close(Party::Client));
        self.close = self.close.or_else(|| self.down.close(Party::Upstream));
        if states.contains(&State::Left) || !states.contains(&State::Open) {
            return Some(self.ended(states));
        }
        if states != [State::Open; 2] && self.phase == Phase::Open {
            self.phase = Phase::Closing(Instant::now() + self.limits.closed_in);
        }
        None
    }

    fn ended(&self, states: [State; 2]) -> Ended {
        let broken = match states {
            [State::Left, _] | [_, State::Refused] => Party::Client,
            [_, State::Left] | [State::Refused, _] => Party::Upstream,
            _ => Party::Tollgate,
        };
        let by = self.close.map_or(broken, |(by, _)| by);
        let frames = (self.up.frames.count(), self.down.frames.count());
        Ended { by, close: self.close.map(|(_, close)| close), frames }
    }

    /// Puts a close frame between two frames of each way that is open.
    fn leave(&mut self, reason: &str) {
        let end = Instant::now() + LEAVING;
        self.phase =
            Phase::Leaving(if let Phase::Closing(closing) = self.phase { closing.min(end) } else { end });
        self.down.farewell = Some(close_frame(GOING_AWAY, reason, None));
        // To the upstream, tollgate is a client, which masks its frames (RFC 6455, section 5.3). Without randomness the mask is
        // zero, which is valid too: this text is known to everybody.
        let mut mask = [0; 4];
        let _ = getrandom::fill(&mut mask);
        self.up.farewell = Some(close_frame(GOING_AWAY, reason, Some(mask)));
    }
}

#[cfg(test)]
mod tests;
