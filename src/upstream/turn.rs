//! Fairness between the tasks of a worker. tokio gives a task a budget of 128 units per turn and takes one for each
//! operation on a socket. Parsing of buffered bytes takes none: a peer that sends many small pieces at once would keep the
//! worker. This module charges for pipelined requests, frames, interim responses and bytes.
//!
//! It guarantees: a turn begins at most 8 pipelined requests, relays at most 16 frames, and reads and writes about 256 KiB of an
//! upstream. A task without budget goes on after all others and after a poll of the sockets.

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use tokio::task::coop::poll_proceed;

/// Units for one frame of a body, or one interim response. hyper also writes at most 16 buffers at once.
const FRAME_UNITS: usize = 8;
/// Units for one request that came together with an earlier one: a client may send many at once.
const REQUEST_UNITS: usize = 16;
/// Bytes of a socket for one unit.
const UNIT_BYTES: usize = 2048;

/// Maximum bytes between two frames of a body that are no content: a chunk's size may have digits without end, and each byte
/// of it is parsed by itself. More than a TLS record, hyper's limit of all chunk extensions, or that of all trailers.
pub(super) const MAX_FRAMING: usize = 64 << 10;

/// Waits until the task may begin a pipelined request in this turn, and charges for it. Any other request was charged for
/// by the read of its head.
pub async fn begin_pipelined() {
    poll_fn(|cx| poll_charged(cx, REQUEST_UNITS)).await;
}

/// Ready, and charged for a frame, if the task may go on in this turn. Else it is woken for its next turn.
pub(super) fn poll_frame(cx: &mut Context<'_>) -> Poll<()> {
    poll_charged(cx, FRAME_UNITS)
}

fn poll_charged(cx: &mut Context<'_>, units: usize) -> Poll<()> {
    poll_proceed(cx).map(|unit| {
        unit.made_progress();
        charge(units - 1);
    })
}

/// Ready if the task may go on in this turn; takes nothing. Else it is woken for its next turn.
pub(super) fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
    poll_proceed(cx).map(drop)
}

/// Charges for one interim response.
pub(super) fn charge_interim() {
    charge(FRAME_UNITS);
}

/// Charges for bytes that were read from or written to a socket.
pub(super) fn charge_bytes(bytes: usize) {
    charge(bytes / UNIT_BYTES);
}

/// Takes up to `units` from the budget; the next operation on a socket waits if there is none left.
fn charge(units: usize) {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..units {
        match poll_proceed(&mut cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => return,
        }
    }
}

/// Takes all that is left.
#[cfg(test)]
pub(super) fn exhaust() {
    charge(usize::from(u8::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often `charge_once` is possible in one turn of a task.
    async fn per_turn(mut charge_once: impl FnMut(&mut Context<'_>) -> Poll<()>) -> usize {
        tokio::task::yield_now().await;
        poll_fn(|cx| {
            let mut count = 0;
            while count < 1000 && charge_once(cx).is_ready() {
                count += 1;
            }
            Poll::Ready(count)
        })
        .await
    }

    #[tokio::test]
    async fn a_turn_is_bounded_in_frames_and_bytes() {
        let bytes = |cx: &mut Context<'_>| {
            poll_proceed(cx).map(|unit| {
                unit.made_progress();
                charge_bytes(64 << 10);
            })
        };
        let interim = |cx: &mut Context<'_>| {
            poll_proceed(cx).map(|unit| {
                drop(unit);
                charge_interim();
            })
        };
        assert_eq!(per_turn(|cx| std::pin::pin!(begin_pipelined()).poll(cx)).await, 8);
        assert_eq!(per_turn(poll_frame).await, 16);
        assert_eq!(per_turn(bytes).await, 4);
        assert_eq!(per_turn(interim).await, 16);
        // The next turn has a budget of its own.
        assert_eq!(per_turn(poll_frame).await, 16);
    }
}
