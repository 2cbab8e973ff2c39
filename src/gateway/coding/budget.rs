//! The memory of a worker for request bodies that it decodes: clients choose how many there are at once, and their windows.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::content_coding::{ContentCoding, content_codings};

/// The most memory, in MiB.
const MAX_MIB: usize = 128;

/// What is left of it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

/// A part of the budget, until it is dropped.
pub(in crate::gateway) type Room = OwnedSemaphorePermit;

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_MIB)))
    }
}

impl Budget {
    /// Room for the decoder of a `Content-Encoding`. None if that is more than there is.
    pub(in crate::gateway) fn take(&self, content_encoding: &[u8]) -> Option<Room> {
        let mib = content_codings(content_encoding).map(|coding| match coding {
            ContentCoding::Zstd => 8,
            ContentCoding::Brotli => 16,
            ContentCoding::Gzip | ContentCoding::Deflate => 1,
            ContentCoding::Unknown => 0,
        });
        Arc::clone(&self.0).try_acquire_many_owned(mib.max().unwrap_or(0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_decodes_within_its_budget() {
        let budget = Budget::default();
        let mut held: Vec<_> = (0..7).map(|_| budget.take(b"br")).collect();
        held.push(budget.take(b"ZSTD, identity"));
        assert!(held.iter().all(Option::is_some) && budget.take(b"br").is_none());
        held.extend((0..8).map(|_| budget.take(b"gzip")));
        assert!(held.iter().all(Option::is_some) && budget.take(b"deflate").is_none());
        assert!(budget.take(b"identity").is_some() && budget.take(b"unknown").is_some());
        held.pop();
        assert!(budget.take(b"gzip").is_some());
    }
}
