//! The task that empties one queue: takes batches, posts them one after the other, and tries again with backoff where the
//! answer allows it. It runs on the control runtime.
//!
//! It guarantees: an attempt has ten seconds; a batch is given up after [`MAX_ATTEMPTS`]; the task ends once its queue is
//! closed and empty. A shutdown leaves each batch one attempt, and ends the task at once when no time is left: the rest is
//! counted as given up. It never looks into a piece; pieces with content are encoded on a thread of their own. Problems are
//! logged when they begin, when they first cost data, and when they end.

use std::{mem::take, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    queue::{Counts, Piece, Trouble},
    receiver::{PostError, Receiver, client},
};
use crate::upstream::{self, Upstream};

/// Attempts for one batch: with the pauses between them, two minutes for a receiver that restarts.
const MAX_ATTEMPTS: u32 = 10;
/// The first pause between two attempts; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two attempts, also if the receiver asks for more.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Interval at which an idle task closes idle connections.
const SWEEP: Duration = Duration::from_mins(1);

/// The form of a request's body, and the meaning of answers.
pub(super) trait Protocol: Send + Sync {
    /// A body of these pieces.
    fn body(&self, pieces: &[Bytes]) -> Bytes;

    /// True if a request may be sent again after this status.
    fn is_temporary(&self, status: StatusCode) -> bool;

    /// The number of pieces that a successful answer reports as refused.
    fn refused(&self, _answer: &[u8]) -> u64 {
        0
    }
}

/// The bounds of a batch. A piece that is larger than the bytes is a batch of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSize {
    /// Number of pieces.
    pub(super) pieces: usize,
    /// Size of the pieces.
    pub(super) bytes: usize,
}

/// All that one delivery task needs, before it has a client.
pub(super) struct Delivery {
    pub(super) receiver: Receiver,
    pub(super) protocol: Box<dyn Protocol>,
    pub(super) size: BatchSize,
    pub(super) queued: mpsc::Receiver<Piece>,
    pub(super) counts: Arc<Counts>,
}

/// The two steps of a shutdown.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    /// Cancelled when each batch has one attempt left, without a pause before it.
    pub(super) last_attempts: CancellationToken,
    /// Cancelled when no time is left.
    pub(super) give_up: CancellationToken,
}

/// Consecutive pieces, sent in one request.
#[derive(Default)]
struct Batch {
    pieces: Vec<Piece>,
    /// Number of pieces, also once they are encoded.
    number: usize,
    bytes: usize,
}

/// The result of all attempts for one batch.
enum Outcome {
    Delivered {
        refused: u64,
    },
    GivenUp(PostError),
    /// The shutdown has no time left.
    Ended,
}

impl Batch {
    fn add(&mut self, piece: Piece) {
        self.bytes += piece.size();
        self.number += 1;
        self.pieces.push(piece);
    }

    fn len(&self) -> u64 {
        self.number as u64
    }
}

impl Delivery {
    /// Delivers until the queue is closed and empty, or no time is left.
    pub(super) async fn run(mut self, shared: Arc<upstream::Shared>, ending: Ending) {
        let client = client(&shared);
        let (mut next, mut lost) = (None, 0);
        while let Some(mut batch) = self.batch(&mut next, &client).await {
            match self.deliver(take(&mut batch.pieces), &client, &ending).await {
                Outcome::Delivered { refused } => self.delivered(&batch, refused),
                Outcome::GivenUp(error) => {
                    self.gave_up(&batch, &error);
                    if ending.last_attempts.is_cancelled() {
                        lost += batch.len();
                    }
                }
                Outcome::Ended => {
                    lost += self.give_up_rest(batch, next);
                    break;
                }
            }
        }
        if lost > 0 {
            tracing::warn!(
                exporter = self.counts.exporter(),
                signal = self.counts.signal(),
                lost,
                "the process ends: an exporter gives up what it has not delivered"
            );
        }
    }

    /// The next batch. Waits for its first piece only. `next` keeps a piece that did not fit.
    async fn batch(&mut self, next: &mut Option<Piece>, client: &Upstream) -> Option<Batch> {
        let mut batch = Batch::default();
        match next.take() {
            Some(piece) => batch.add(piece),
            None => batch.add(self.first(client).await?),
        }
        while batch.number < self.size.pieces
            && let Ok(piece) = self.queued.try_recv()
        {
            if batch.bytes + piece.size() > self.size.bytes {
                *next = Some(piece);
                break;
            }
            batch.add(piece);
        }
        Some(batch)
    }

    async fn first(&mut self, client: &Upstream) -> Option<Piece> {
        loop {
            match timeout(SWEEP, self.queued.recv()).await {
                Ok(piece) => return piece,
                Err(_) => client.sweep(),
            }
        }
    }

    async fn deliver(&self, pieces: Vec<Piece>, client: &Upstream, ending: &Ending) -> Outcome {
        let attempts = self.attempts(pieces, client, &ending.last_attempts);
        tokio::select! {
            // A batch that was delivered counts as such.
            biased;
            outcome = attempts => outcome,
            () = ending.give_up.cancelled() => Outcome::Ended,
        }
    }

    async fn attempts(&self, pieces: Vec<Piece>, client: &Upstream, last: &CancellationToken) -> Outcome {
        let Some(pieces) = encoded(pieces).await else { return Outcome::GivenUp(PostError::Unencoded) };
        let body = self.protocol.body(&pieces);
        drop(pieces);
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let error = match self.receiver.post(client, body.clone()).await {
                Ok(answer) => return Outcome::Delivered { refused: self.protocol.refused(&answer) },
                Err(error) => error,
            };
            if attempt == MAX_ATTEMPTS || last.is_cancelled() || !self.may_repeat(&error) {
                return Outcome::GivenUp(error);
            }
            self.warn(&error);
            let asked = match error {
                PostError::Status { retry_after, .. } => retry_after,
                PostError::Unreachable(_) | PostError::TimedOut | PostError::Unencoded => None,
            };
            // A shutdown ends the pause: the next attempt is the last one.
            let _ = timeout(spread(asked.unwrap_or(pause).min(MAX_PAUSE)), last.cancelled()).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    /// True if a request may be sent again after this error.
    fn may_repeat(&self, error: &PostError) -> bool {
        match error {
            PostError::Status { status, .. } => self.protocol.is_temporary(*status),
            PostError::Unreachable(_) | PostError::TimedOut => true,
            PostError::Unencoded => false,
        }
    }

    fn delivered(&self, batch: &Batch, refused: u64) {
        self.counts.delivered(batch.len(), batch.bytes, refused);
        if refused > 0 {
            let (exporter, signal) = (self.counts.exporter(), self.counts.signal());
            tracing::warn!(exporter, signal, refused, "an exporter's receiver refused a part of the data");
        }
        if self.counts.clear_problem() {
            tracing::info!(
                exporter = self.counts.exporter(),
                signal = self.counts.signal(),
                "an exporter delivers again"
            );
        }
    }

    fn gave_up(&self, batch: &Batch, error: &PostError) {
        self.counts.gave_up(batch.len(), batch.bytes);
        if self.counts.set_problem(Trouble::Lost, error.to_string()) {
            let reason =
                if self.may_repeat(error) { "no attempt succeeded" } else { "the receiver refuses it" };
            tracing::warn!(
                exporter = self.counts.exporter(), signal = self.counts.signal(), receiver = %self.receiver, %error,
                lost = batch.len(), "an exporter gave up data: {reason}"
            );
        }
    }

    /// Reports a problem to the status; to the log only if there was none before.
    fn warn(&self, error: &PostError) {
        if self.counts.set_problem(Trouble::Waits, error.to_string()) {
            tracing::warn!(
                exporter = self.counts.exporter(), signal = self.counts.signal(), receiver = %self.receiver, %error,
                "an exporter cannot deliver: data waits in its queue, and is dropped beyond its bound"
            );
        }
    }

    /// Counts all that is left as given up. Returns its number.
    fn give_up_rest(&mut self, mut batch: Batch, next: Option<Piece>) -> u64 {
        if let Some(piece) = next {
            batch.add(piece);
        }
        while let Ok(piece) = self.queued.try_recv() {
            batch.add(piece);
        }
        self.counts.gave_up(batch.len(), batch.bytes);
        batch.len()
    }
}

/// Encodes pieces. None if that fails. Raw ones are encoded on a thread of their own: the control runtime has but one.
async fn encoded(pieces: Vec<Piece>) -> Option<Vec<Bytes>> {
    let encode = |pieces: Vec<Piece>| pieces.into_iter().map(Piece::encode).collect();
    if pieces.iter().all(|piece| matches!(piece, Piece::Encoded(_))) {
        return Some(encode(pieces));
    }
    let (sender, encoded) = oneshot::channel();
    let work = move || {
        // Without a receiver, the shutdown has no time left.
        let _ = sender.send(encode(pieces));
    };
    thread::Builder::new().name("encode".into()).spawn(work).ok()?;
    encoded.await.ok()
}

/// A pause that is up to a quarter longer, so that nodes do not call a receiver at the same time.
fn spread(pause: Duration) -> Duration {
    // Without random numbers, the pause is as it is.
    let share = getrandom::u32().unwrap_or(0) % 256;
    pause + pause * share / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_within_a_bound() {
        for _ in 0..100 {
            let pause = spread(FIRST_PAUSE);
            assert!((FIRST_PAUSE..FIRST_PAUSE * 5 / 4).contains(&pause), "{pause:?}");
        }
    }
}
