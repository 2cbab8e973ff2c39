//! The access log: one line for each finished exchange, in the format of the log.
//!
//! It runs on the recorder's thread, and hands whole batches of lines to the log's thread. It guarantees: a line holds no
//! content and no secret; a text that a client or an upstream chose is bounded and escaped; an exchange that did not
//! succeed is always in the sample. It never waits: lines without room are dropped and counted.
//!
//! Read next: `line`, the fields.

mod line;

use std::time::{Duration, Instant};

use super::Queue;
use crate::{
    access_record::{AccessRecord, Outcome},
    output::LogLines,
    recorder::{DropCount, Sink},
    settings::AccessLog as Settings,
};

/// The unit of the rate limit.
const SECOND: Duration = Duration::from_secs(1);
/// Bytes of lines that are handed on at once.
const BATCH: usize = 64 << 10;

/// The access log.
#[derive(Debug)]
pub struct AccessLog {
    queue: Queue,
    human: bool,
    selection: Selection,
    /// Counts lines beyond the rate limit.
    limited: DropCount,
    /// The line in the making, kept for its capacity.
    line: String,
    lines: LogLines,
}

impl AccessLog {
    pub(super) fn new(queue: Queue, human: bool, settings: Settings, limited: DropCount) -> Self {
        let selection = Selection::new(settings);
        Self { queue, human, selection, limited, line: String::new(), lines: LogLines::default() }
    }

    fn hand_on(&mut self) {
        if !self.lines.is_empty() {
            self.queue.lines(std::mem::take(&mut self.lines));
        }
    }
}

impl Sink for AccessLog {
    fn record(&mut self, records: &[AccessRecord]) {
        let now = Instant::now();
        for record in records {
            match self.selection.select(record, now) {
                Selected::Logged => {}
                Selected::LeftOut => continue,
                Selected::Limited => {
                    self.limited.add(1);
                    continue;
                }
            }
            self.line.clear();
            line::write(record, self.human, &mut self.line);
            if self.human {
                self.lines.push_text(&self.line);
            } else {
                self.lines.push_json(&self.line);
            }
            if self.lines.len() >= BATCH {
                self.hand_on();
            }
        }
        self.hand_on();
    }
}

/// Selects the exchanges that get a line.
#[derive(Debug)]
struct Selection {
    settings: Settings,
    /// The start of the second at hand, by the monotonic clock: the wall clock may be set back. None before the first line.
    second: Option<Instant>,
    /// Lines of that second.
    lines: u64,
}

/// A decision about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selected {
    Logged,
    /// It is not in the sample.
    LeftOut,
    /// It is beyond the rate limit.
    Limited,
}

impl Selection {
    fn new(settings: Settings) -> Self {
        Self { settings, second: None, lines: 0 }
    }

    fn select(&mut self, record: &AccessRecord, now: Instant) -> Selected {
        if !self.is_in_sample(record) {
            return Selected::LeftOut;
        }
        let Some(rate) = self.settings.rate else { return Selected::Logged };
        let is_over = |start| now.saturating_duration_since(start) >= SECOND;
        if self.second.is_none_or(is_over) {
            (self.second, self.lines) = (Some(now), 0);
        }
        self.lines += 1;
        if self.lines > rate { Selected::Limited } else { Selected::Logged }
    }

    fn is_in_sample(&self, record: &AccessRecord) -> bool {
        // Request ids are evenly distributed. An id without digits is logged.
        let draw = || record.request_id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let share = || f64::from(draw().unwrap_or_default()) / (f64::from(u32::MAX) + 1.0);
        record.outcome() != Outcome::Success || self.settings.sample >= 1.0 || share() < self.settings.sample
    }
}

#[cfg(test)]
mod tests;
