//! A client's body that is read before it is sent, so that it can be changed.
//!
//! It guarantees: bounded memory, for each body and for all bodies of a worker, and a deadline for each read. A body beyond
//! a bound passes unchanged: what was read of it comes first.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body::Body as _;
use tokio::time::timeout;

use super::{Source, Upload};
use crate::upstream::SendError;

/// The largest body that is read ahead, in bytes.
pub const MAX_AHEAD: usize = 4 << 20;
/// The most that a worker holds of such bodies, in bytes.
const MAX_HELD: usize = 64 << 20;
/// The largest piece in which such a body is sent: each is progress for the deadline of the answer.
const MAX_PIECE: usize = 64 << 10;

/// The memory for such bodies of one worker.
#[derive(Debug, Clone, Default)]
pub(in crate::upstream) struct Budget(Arc<AtomicUsize>);

/// Bytes that were read ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    bytes: Bytes,
    _held: Held,
}

/// A part of the budget, until it is dropped.
#[derive(Debug)]
struct Held {
    bytes: usize,
    budget: Budget,
}

impl Held {
    /// Takes more of the budget. False if that is more than there is.
    fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.budget.0.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_HELD
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Ahead {
    /// The number of bytes that are left.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next piece.
    pub(super) fn piece(&mut self) -> Bytes {
        self.bytes.split_to(self.bytes.len().min(MAX_PIECE))
    }
}

impl Upload {
    /// Reads a client's body, within bounds, and `wait` for each piece. Returns it if that is all of it.
    pub(in crate::upstream) async fn read_ahead(
        &mut self,
        budget: &Budget,
        wait: Duration,
    ) -> Result<Option<&[u8]>, SendError> {
        let limit = MAX_AHEAD.min(usize::try_from(self.limit).unwrap_or(MAX_AHEAD));
        let is_small = self.size_hint().lower() <= limit as u64;
        if !is_small || !matches!(self.source, Source::Client(..)) {
            return Ok(None);
        }
        let mut read = Vec::new();
        let mut held = Held { bytes: 0, budget: budget.clone() };
        let mut is_whole = false;
        while !is_whole {
            let next = timeout(wait, poll_fn(|cx| self.poll_next(cx))).await;
            let next = next.map_err(|_| SendError::BodyStalled(wait))?.transpose();
            let frame = next.map_err(|_| SendError::ClientGone)?;
            is_whole = frame.is_none() || self.source.is_end_stream();
            // Trailers are not sent.
            let Some(Ok(data)) = frame.map(http_body::Frame::into_data) else { continue };
            let before = read.capacity();
            read.extend_from_slice(&data);
            // The memory that it takes, of which a growing vector has more than its bytes.
            if !held.grow(read.capacity() - before) || read.len() > limit {
                self.ahead = Some(Box::new(Ahead { bytes: read.into(), _held: held }));
                return Ok(None);
            }
        }
        self.source = Source::Empty;
        if read.is_empty() {
            self.end();
            return Ok(None);
        }
        let ahead = self.ahead.insert(Box::new(Ahead { bytes: read.into(), _held: held }));
        Ok(Some(&ahead.bytes))
    }

    /// Puts another body in the place of one that was read as a whole. A limit that the client kept holds no longer.
    pub fn replace(&mut self, body: Vec<u8>) {
        self.limit = self.limit.max(body.len() as u64);
        if let Some(ahead) = self.ahead.as_mut().filter(|_| matches!(self.source, Source::Empty)) {
            ahead.bytes = body.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let budget = Budget::default();
        let held = || Held { bytes: 0, budget: budget.clone() };
        let (mut first, mut second) = (held(), held());
        assert!(first.grow(MAX_HELD - 1) && second.grow(1));
        assert!(!second.grow(1));
        drop(second);
        let mut third = held();
        assert!(third.grow(1));
        drop((first, third));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
