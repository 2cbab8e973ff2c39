//! A body that is read before it is sent, so that it can be changed or hashed.
//!
//! It guarantees: bounded memory, for each body and for all bodies of a worker, and a deadline for each read. A body beyond
//! a bound loses nothing: what was read of it comes first when it is sent.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::timeout;

use super::{Source, Upload, UploadError};
use crate::upstream::SendError;

/// The most that a worker holds of such bodies, in bytes.
const MAX_HELD: usize = 64 << 20;
/// The largest piece in which such a body is sent: each is progress for the deadline of the answer.
const MAX_PIECE: usize = 64 << 10;

/// The memory for such bodies of one worker.
#[derive(Debug, Clone, Default)]
pub(in crate::upstream) struct Budget(Arc<AtomicUsize>);

/// A body that was to be read ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAhead<'u> {
    /// All of it.
    Whole(&'u [u8]),
    /// It is larger than the limit.
    TooLarge,
    /// The worker holds as much of such bodies as it may.
    NoRoom,
}

/// The outcome of reading a body for its check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadChecked {
    /// The check has what it needs; more of the body may follow.
    Satisfied,
    /// All of the body was read.
    Whole,
    /// The check needs more than the limit.
    TooLarge,
    /// The worker holds as much of such bodies as it may.
    NoRoom,
}

/// The error of a body that cannot be read on.
fn read_fault(error: UploadError) -> SendError {
    match error {
        UploadError::Refused => SendError::BodyRefused,
        UploadError::Broken | UploadError::TooLarge { .. } => SendError::ClientGone,
    }
}

/// Bytes that were read ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    bytes: Bytes,
    held: Held,
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
    /// Reads the body, up to `limit` bytes, and `wait` for each piece. What was read ahead before is a part of it; a body
    /// that was read as a whole is returned again.
    pub(in crate::upstream) async fn read_ahead(
        &mut self,
        budget: &Budget,
        limit: usize,
        wait: Duration,
    ) -> Result<ReadAhead<'_>, SendError> {
        let rest = self.source.size_hint().lower();
        if rest.saturating_add(self.ahead_len() as u64) > limit as u64 {
            return Ok(ReadAhead::TooLarge);
        }
        if matches!(self.source, Source::Empty) {
            return Ok(ReadAhead::Whole(self.ahead.as_ref().map_or(&[], |ahead| &ahead.bytes)));
        }
        let exact = self.exact_size().and_then(|size| usize::try_from(size).ok());
        let expected = exact.unwrap_or(limit).min(limit);
        let (mut read, mut held) = self.take_ahead(budget);
        let mut is_whole = false;
        while !is_whole {
            let next = timeout(wait, poll_fn(|cx| self.poll_next(cx))).await;
            let next = next.map_err(|_| SendError::BodyStalled(wait))?.transpose();
            let frame = next.map_err(read_fault)?;
            is_whole = frame.is_none() || self.source.is_end_stream();
            // Trailers are not sent.
            let Some(Ok(data)) = frame.map(http_body::Frame::into_data) else { continue };
            let has_room = held.grow(reserve(&mut read, data.len(), expected));
            read.extend_from_slice(&data);
            if !has_room || read.len() > limit {
                let is_larger = read.len() > limit;
                self.ahead = Some(Box::new(Ahead { bytes: read.into(), held }));
                return Ok(if is_larger { ReadAhead::TooLarge } else { ReadAhead::NoRoom });
            }
        }
        self.source = Source::Empty;
        if read.is_empty() {
            self.end();
            return Ok(ReadAhead::Whole(&[]));
        }
        let ahead = self.ahead.insert(Box::new(Ahead { bytes: read.into(), held }));
        Ok(ReadAhead::Whole(&ahead.bytes))
    }

    /// Reads the body until its check is satisfied, up to `limit` bytes, and `wait` for each piece.
    pub(in crate::upstream) async fn read_checked(
        &mut self,
        budget: &Budget,
        limit: usize,
        wait: Duration,
    ) -> Result<ReadChecked, SendError> {
        let (mut read, mut held) = self.take_ahead(budget);
        let mut outcome = ReadChecked::Satisfied;
        while self.is_checking() {
            let next = timeout(wait, poll_fn(|cx| self.poll_next(cx))).await;
            let next = next.map_err(|_| SendError::BodyStalled(wait))?.transpose();
            let frame = next.map_err(read_fault)?;
            if frame.is_none() || self.source.is_end_stream() {
                self.source = Source::Empty;
                outcome = ReadChecked::Whole;
            }
            let Some(Ok(data)) = frame.map(http_body::Frame::into_data) else { continue };
            let has_room = held.grow(reserve(&mut read, data.len(), limit));
            read.extend_from_slice(&data);
            if outcome != ReadChecked::Whole && (!has_room || read.len() > limit) {
                outcome = if read.len() > limit { ReadChecked::TooLarge } else { ReadChecked::NoRoom };
                break;
            }
        }
        if matches!(self.source, Source::Empty) {
            outcome = ReadChecked::Whole;
        }
        if read.is_empty() && outcome == ReadChecked::Whole {
            self.end();
        } else {
            self.ahead = Some(Box::new(Ahead { bytes: read.into(), held }));
        }
        Ok(outcome)
    }

    /// What was read ahead so far, with its part of the budget.
    fn take_ahead(&mut self, budget: &Budget) -> (Vec<u8>, Held) {
        match self.ahead.take() {
            Some(ahead) => (ahead.bytes.into(), ahead.held),
            None => (Vec::new(), Held { bytes: 0, budget: budget.clone() }),
        }
    }

    fn ahead_len(&self) -> usize {
        self.ahead.as_ref().map_or(0, |ahead| ahead.len())
    }

    /// The bytes that were read ahead.
    pub fn ahead(&self) -> Bytes {
        self.ahead.as_ref().map(|ahead| ahead.bytes.clone()).unwrap_or_default()
    }

    /// Puts another body in the place of one that was read as a whole. A limit that the client kept holds no longer.
    pub fn replace(&mut self, body: Vec<u8>) {
        self.limit = self.limit.max(body.len() as u64);
        if let Some(ahead) = self.ahead.as_mut().filter(|_| matches!(self.source, Source::Empty)) {
            ahead.bytes = body.into();
        }
    }
}

/// Makes room for more bytes: twice as much each time, but no more than is expected in all. Returns the memory that is added.
fn reserve(read: &mut Vec<u8>, more: usize, expected: usize) -> usize {
    let (before, needed) = (read.capacity(), read.len() + more);
    if needed > before {
        let target = before.saturating_mul(2).min(expected).max(needed);
        read.reserve_exact(target - read.len());
    }
    read.capacity() - before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_no_more_memory_than_is_expected() {
        let (mut read, mut added) = (Vec::new(), 0);
        for piece in [8, 100, 300, 500, 92, 1] {
            added += reserve(&mut read, piece, 1000);
            read.extend(vec![0; piece]);
            assert!(read.capacity() == added && added <= read.len().max(1000), "{added}");
        }
    }

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
