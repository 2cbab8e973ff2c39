//! The queue between the recorder's thread and a delivery task: bounded in pieces and in bytes. A piece that does not fit
//! is dropped and counted; nothing waits.
//!
//! Bytes count from `push` until the piece is delivered or given up, so that the bound holds for batches in flight too.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::recorder::{DropCount, Drops};

/// Maximum number of pieces in a queue.
pub(super) const MAX_PIECES: usize = 8192;
/// Maximum size of the pieces in a queue, in bytes.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// A part of a request's body: an exchange, or a set of metrics.
pub(super) enum Piece {
    /// An encoded one.
    Encoded(Bytes),
    /// One that takes long to encode, since it has content.
    Raw(Box<dyn Encode>),
}

/// A part of a request's body that is encoded when it is sent.
pub(super) trait Encode: Send {
    /// The size, in bytes: about that of the encoded form.
    fn size(&self) -> usize;

    /// The encoded form.
    fn encode(self: Box<Self>) -> Vec<u8>;
}

impl Piece {
    /// The size for the bounds of queues and batches, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Encoded(bytes) => bytes.len(),
            Self::Raw(raw) => raw.size(),
        }
    }

    /// The encoded form.
    pub(super) fn encode(self) -> Bytes {
        match self {
            Self::Encoded(bytes) => bytes,
            Self::Raw(raw) => raw.encode().into(),
        }
    }
}

/// The sending side of a queue.
pub(super) struct Queue {
    pieces: mpsc::Sender<Piece>,
    counts: Arc<Counts>,
}

/// Numbers of one queue, which its two sides and the status share.
#[derive(Debug)]
pub(super) struct Counts {
    exporter: String,
    signal: &'static str,
    bytes: AtomicUsize,
    queued: AtomicU64,
    sent: AtomicU64,
    dropped: DropCount,
    failed: AtomicU64,
    problem: Mutex<Option<(Trouble, String)>>,
}

/// The effect of a problem on the data, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// It waits for another attempt.
    Waits,
    /// It was given up.
    Lost,
}

/// State of one queue of an exporter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Exporter")]
pub struct ExporterStatus {
    /// Name of the exporter.
    pub exporter: String,
    /// The data in this queue, such as `spans`.
    pub signal: String,
    /// Entries that wait or are being sent.
    pub queued: u64,
    /// Entries that were accepted since the process started.
    pub sent: u64,
    /// Entries that were dropped since the queue was full.
    pub dropped: u64,
    /// Entries that were given up: the receiver refused them, or did not accept them in time.
    pub failed: u64,
    /// The reason for which the last attempt failed; none after a successful one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A queue: its sending side and its receiving one.
pub(super) fn queue(
    exporter: &str,
    signal: &'static str,
    drops: &Drops,
) -> (Queue, mpsc::Receiver<Piece>, Arc<Counts>) {
    let (pieces, queued) = mpsc::channel(MAX_PIECES);
    let counts = Arc::new(Counts {
        exporter: exporter.to_owned(),
        signal,
        bytes: AtomicUsize::new(0),
        queued: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        dropped: drops.queue(&format!("exporter.{exporter}.{signal}")),
        failed: AtomicU64::new(0),
        problem: Mutex::default(),
    });
    (Queue { pieces, counts: counts.clone() }, queued, counts)
}

impl Queue {
    /// Queues an encoded piece, or drops and counts it.
    pub(super) fn push(&self, bytes: impl Into<Bytes>) {
        self.push_piece(Piece::Encoded(bytes.into()));
    }

    /// Queues a piece that is encoded when it is sent, or drops and counts it.
    pub(super) fn push_raw(&self, raw: impl Encode + 'static) {
        self.push_piece(Piece::Raw(Box::new(raw)));
    }

    fn push_piece(&self, piece: Piece) {
        let size = piece.size();
        let counts = &self.counts;
        // Added first: the receiver may be done with the piece before this returns.
        let before = counts.bytes.fetch_add(size, Ordering::Relaxed);
        counts.queued.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(size) > MAX_BYTES || self.pieces.try_send(piece).is_err() {
            counts.leave(1, size);
            counts.dropped.add(1);
        }
    }
}

impl Counts {
    fn leave(&self, pieces: u64, bytes: usize) {
        self.queued.fetch_sub(pieces, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a batch as delivered. `refused` of its pieces were not accepted.
    pub(super) fn delivered(&self, pieces: u64, bytes: usize, refused: u64) {
        let refused = refused.min(pieces);
        self.leave(pieces, bytes);
        self.sent.fetch_add(pieces - refused, Ordering::Relaxed);
        self.failed.fetch_add(refused, Ordering::Relaxed);
    }

    /// Counts a batch as given up.
    pub(super) fn gave_up(&self, pieces: u64, bytes: usize) {
        self.leave(pieces, bytes);
        self.failed.fetch_add(pieces, Ordering::Relaxed);
    }

    /// Sets the problem. Returns true if there was none as bad since the last success.
    pub(super) fn set_problem(&self, trouble: Trouble, problem: String) -> bool {
        let mut known = self.lock_problem();
        let worst = known.as_ref().map(|(worst, _)| *worst);
        *known = Some((worst.map_or(trouble, |worst| worst.max(trouble)), problem));
        worst.is_none_or(|worst| worst < trouble)
    }

    /// Clears the problem. Returns true if there was one.
    pub(super) fn clear_problem(&self) -> bool {
        self.lock_problem().take().is_some()
    }

    fn lock_problem(&self) -> MutexGuard<'_, Option<(Trouble, String)>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the exporter.
    pub(super) fn exporter(&self) -> &str {
        &self.exporter
    }

    /// The data in the queue.
    pub(super) fn signal(&self) -> &'static str {
        self.signal
    }

    /// The state, for the status document.
    pub(super) fn status(&self) -> ExporterStatus {
        ExporterStatus {
            exporter: self.exporter.clone(),
            signal: self.signal.to_owned(),
            queued: self.queued.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            dropped: self.dropped.get(),
            failed: self.failed.load(Ordering::Relaxed),
            problem: self.lock_problem().as_ref().map(|(_, problem)| problem.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(counts: &Counts) -> (u64, u64, u64, u64) {
        let ExporterStatus { queued, sent, dropped, failed, .. } = counts.status();
        (queued, sent, dropped, failed)
    }

    #[test]
    fn pieces_beyond_the_bytes_are_dropped_until_others_are_done() {
        let (queue, mut queued, counts) = queue("demo", "spans", &Drops::default());
        queue.push(vec![0; MAX_BYTES - 10]);
        queue.push(vec![0; 11]);
        queue.push(vec![0; 10]);
        assert_eq!(numbers(&counts), (2, 0, 1, 0));
        // Taken out of the queue, the first one still counts.
        let first = queued.try_recv().unwrap();
        queue.push(vec![0; 1]);
        assert_eq!(numbers(&counts), (2, 0, 2, 0));
        counts.delivered(1, first.size(), 0);
        queue.push(vec![0; 1]);
        assert_eq!(numbers(&counts), (2, 1, 2, 0));
    }

    #[test]
    fn pieces_beyond_the_number_are_dropped() {
        let (queue, queued, counts) = queue("demo", "spans", &Drops::default());
        for _ in 0..MAX_PIECES + 5 {
            queue.push(vec![0]);
        }
        assert_eq!(numbers(&counts), (MAX_PIECES as u64, 0, 5, 0));
        counts.gave_up(MAX_PIECES as u64, MAX_PIECES);
        drop(queued);
        queue.push(vec![0]);
        assert_eq!(numbers(&counts), (0, 0, 6, MAX_PIECES as u64));
    }

    #[test]
    fn only_a_first_or_worse_problem_and_the_end_are_changes() {
        let (_queue, _queued, counts) = queue("demo", "spans", &Drops::default());
        assert!(!counts.clear_problem());
        for (trouble, problem, is_change) in [
            (Trouble::Waits, "a", true),
            (Trouble::Waits, "b", false),
            (Trouble::Lost, "c", true),
            (Trouble::Waits, "d", false),
            (Trouble::Lost, "e", false),
        ] {
            assert_eq!(counts.set_problem(trouble, problem.into()), is_change, "{problem}");
            assert_eq!(counts.status().problem.as_deref(), Some(problem));
        }
        assert!(counts.clear_problem());
        assert_eq!(counts.status().problem, None);
        assert!(counts.set_problem(Trouble::Lost, "f".into()));
    }
}
