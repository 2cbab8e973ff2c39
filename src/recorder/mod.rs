//! Finished exchanges on their way from the workers to their consumers: the access log, metrics, the usage ledger,
//! exporters.
//!
//! Each worker puts access records into a bounded buffer of its own. The thread `records` takes all buffers every 100 ms,
//! completes estimates of usage, and hands the records to all sinks, in the order of their ends. It guarantees: a worker waits for no sink, formats
//! nothing and does no IO; a record without room is dropped and counted; a record without room for its text loses
//! that alone; at shutdown, sinks get the last records before
//! they are closed.
//!
//! It knows no sink: `cli::serve` assembles them. Read next: `guard`, for sinks that panic; `drops`, the counters of all queues
//! behind it.

mod drops;
mod guard;
mod text_room;

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

pub use drops::{DropCount, Drops, RecentDrops};
pub use guard::SinkProblems;
pub use text_room::TextRoom;

use crate::{
    access_record::{AccessRecord, Content},
    clock,
    meter::Ratios,
    numbers::millis,
};
use drops::DropReport;
use guard::Guarded;
use text_room::TextRooms;

/// Capacity of a worker's buffer: that of 80,000 requests a second.
const MAX_RECORDS: usize = 8192;
/// The most text of exchanges in a worker's buffer, in bytes.
const MAX_TEXT: usize = 64 << 20;
/// Capacity that a buffer keeps after a burst.
const KEPT_CAPACITY: usize = 1024;
/// Interval at which the buffers are taken.
const INTERVAL: Duration = Duration::from_millis(100);
/// Interval of log lines about drops.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// A consumer of finished exchanges.
pub trait Sink: Send {
    /// Takes finished exchanges in the order of their ends. Runs on the recorder's thread: it never waits.
    fn record(&mut self, records: &[AccessRecord]);

    /// True if it takes the text of exchanges: only then meters keep it.
    fn wants_content(&self) -> bool {
        false
    }

    /// Runs about every 100 ms, also without records.
    fn tick(&mut self) {}

    /// Runs once, after the last record: hands on what is collected.
    fn close(&mut self) {}
}

/// A sink with the name that the status has for it.
pub type NamedSink = (String, Box<dyn Sink>);

/// A worker's end of the recorder.
#[derive(Debug, Clone)]
pub struct Recorder {
    buffer: Arc<Buffer>,
    drops: DropCount,
    /// Texts of exchanges that were dropped.
    text_drops: DropCount,
    /// Room for the text of running exchanges; none if no sink takes it.
    text_rooms: Option<TextRooms>,
}

#[derive(Debug, Default)]
struct Buffer(Mutex<Buffered>);

#[derive(Debug, Default)]
struct Buffered {
    records: Vec<AccessRecord>,
    /// Bytes of text in the records.
    text: usize,
}

impl Recorder {
    /// Hands a record on. Without room, it is dropped and counted; without room for its text, only that is.
    pub fn record(&self, mut record: AccessRecord) {
        // Freed after the lock.
        let _dropped;
        let text = text_bytes(&record);
        let mut buffer = self.buffer.lock();
        if buffer.records.len() >= MAX_RECORDS {
            self.drops.add(1);
            return;
        }
        if text > 0 && buffer.text + text > MAX_TEXT {
            self.text_drops.add(1);
            _dropped = drop_text(&mut record);
        } else {
            buffer.text += text;
        }
        buffer.records.push(record);
    }

    /// Room for the text of an exchange that begins. None if no sink takes it.
    pub fn text_room(&self) -> Option<TextRoom> {
        self.text_rooms.as_ref().map(TextRooms::enter)
    }
}

fn text_bytes(record: &AccessRecord) -> usize {
    let content = record.usage.as_ref().and_then(|usage| usage.content.as_deref());
    content.map_or(0, Content::text_bytes)
}

/// Takes the text out of a record, which keeps a mark of that.
fn drop_text(record: &mut AccessRecord) -> Option<Arc<Content>> {
    let content = record.usage.as_mut()?.content.as_mut()?;
    let without = Content { is_dropped: true, ..content.without_text() };
    Some(std::mem::replace(content, Arc::new(without)))
}

impl Buffer {
    /// Only the worker and the recorder's thread take it, the latter for one exchange of pointers.
    fn lock(&self) -> MutexGuard<'_, Buffered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exchanges the records for an empty vector, whose capacity the worker then uses.
    fn take(&self, records: &mut Vec<AccessRecord>) {
        let mut buffer = self.lock();
        buffer.text = 0;
        std::mem::swap(&mut buffer.records, records);
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Records {
    /// Dropped to end the thread.
    stop: mpsc::Sender<Infallible>,
    ended: oneshot::Receiver<()>,
}

impl Records {
    /// Hands on the last records and closes the sinks. Call it after the last worker. False if that took too long.
    pub async fn close(self, limit: Duration) -> bool {
        drop(self.stop);
        timeout(limit, self.ended).await.is_ok()
    }
}

/// Starts the thread, with these sinks and what was learned before. Returns a recorder for each worker.
pub fn start(
    workers: usize,
    sinks: Vec<NamedSink>,
    ratios: Ratios,
    drops: &Drops,
) -> io::Result<(Vec<Recorder>, Records)> {
    let (count, text_drops) = (drops.queue("records"), drops.queue("content"));
    let sinks: Vec<_> = sinks.into_iter().map(|sink| Guarded::new(sink, drops)).collect();
    let keeps_content = sinks.iter().any(Guarded::wants_content);
    let recorder = |_| Recorder {
        buffer: Arc::default(),
        drops: count.clone(),
        text_drops: text_drops.clone(),
        text_rooms: keeps_content.then(|| TextRooms::new(text_drops.clone())),
    };
    let recorders: Vec<_> = (0..workers).map(recorder).collect();
    let buffers = recorders.iter().map(|recorder| Arc::clone(&recorder.buffer)).collect();
    let (stop, stopped) = mpsc::channel();
    let (ending, ended) = oneshot::channel();
    let mut distributor = Distributor {
        buffers,
        spare: Vec::new(),
        batch: Vec::new(),
        ratios,
        sinks,
        report: DropReport::new(drops.clone()),
        reported: Instant::now(),
    };
    thread::Builder::new().name("records".into()).spawn(move || {
        distributor.run(&stopped);
        // Nobody waits for it if the process ends at once.
        let _ = ending.send(());
    })?;
    Ok((recorders, Records { stop, ended }))
}

/// The state of the thread.
struct Distributor {
    buffers: Vec<Arc<Buffer>>,
    /// An empty vector, for the next exchange with a worker.
    spare: Vec<AccessRecord>,
    batch: Vec<AccessRecord>,
    /// Learned from all counted exchanges.
    ratios: Ratios,
    sinks: Vec<Guarded>,
    report: DropReport,
    reported: Instant,
}

impl Distributor {
    fn run(&mut self, stopped: &mpsc::Receiver<Infallible>) {
        loop {
            let goes_on = stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout);
            self.hand_on();
            if !goes_on {
                break;
            }
            if self.reported.elapsed() >= REPORT_INTERVAL {
                self.reported = Instant::now();
                self.report.log();
            }
        }
        for sink in &mut self.sinks {
            sink.close();
        }
        self.report.log();
    }

    /// Hands all finished records to all sinks.
    fn hand_on(&mut self) {
        for buffer in &self.buffers {
            self.spare.shrink_to(KEPT_CAPACITY);
            buffer.take(&mut self.spare);
            self.batch.append(&mut self.spare);
        }
        let now = clock::now_ms();
        for record in &mut self.batch {
            end_by(record, now);
        }
        // The records of one worker are in order: this merges those of several.
        self.batch.sort_by_key(AccessRecord::ended_at_ms);
        for record in &mut self.batch {
            if let (Some(provider), Some(usage)) = (&record.provider, &mut record.usage) {
                self.ratios.learn(provider.as_str(), usage);
                self.ratios.estimate(provider.as_str(), usage);
            }
        }
        for sink in &mut self.sinks {
            let batch = &self.batch;
            sink.run(batch.len(), |sink| {
                if !batch.is_empty() {
                    sink.record(batch);
                }
                sink.tick();
            });
        }
        self.batch.clear();
        self.batch.shrink_to(KEPT_CAPACITY);
    }
}

/// Lets no record end in the future. If the wall clock was set back since the request came, it ends now.
fn end_by(record: &mut AccessRecord, now_ms: u64) {
    if record.ended_at_ms() > now_ms {
        record.started_at_ms = now_ms.saturating_sub(millis(record.duration));
    }
}

#[cfg(test)]
mod tests;
