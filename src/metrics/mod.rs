//! Metrics for Prometheus, at `/metrics`: counts of finished exchanges, and numbers of the process at this moment.
//!
//! Exchanges are counted by a sink on the recorder's thread. A scrape is answered by the thread `metrics`, which copies the
//! counts under a short lock and writes the text: a worker formats nothing, and waits only with the client that scrapes. The
//! number of series is bounded, whatever clients send. No label holds content, a path or a secret.
//!
//! Read next: `table` (all metrics), `counts` (labels and their bounds), `expose` (the values), `exposition` (the formats).

mod counts;
mod expose;
mod exposition;
mod histogram;
mod sources;
mod table;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

pub use exposition::Format;
pub use sources::{Sources, WorkerCounts};
pub use table::{ALL, Kind, Metric};

use crate::{
    access_record::AccessRecord,
    fault::{Fault, FaultKind},
    files::Live,
    recorder::Sink,
    settings::MetricLabels,
};
use counts::Counts;

/// Scrapes that wait for one that runs.
const MAX_WAITING: usize = 8;
/// Deadline of a scrape: half of the usual timeout of a client.
const DEADLINE: Duration = Duration::from_secs(5);

/// The handle for scrapes. Cheap to clone; the thread ends with the last one.
#[derive(Debug, Clone)]
pub struct Metrics {
    scrapes: SyncSender<Scrape>,
    workers: Arc<Mutex<Vec<WorkerCounts>>>,
}

#[derive(Debug)]
struct Scrape {
    format: Format,
    reply: oneshot::Sender<String>,
}

/// The sink that counts finished exchanges.
#[derive(Debug)]
struct Counting {
    counts: Arc<Mutex<Counts>>,
    /// For the current prices.
    live: Arc<Live>,
}

impl Sink for Counting {
    fn record(&mut self, records: &[AccessRecord]) {
        let prices = Arc::clone(&self.live.snapshot().prices);
        let mut counts = lock(&self.counts);
        for record in records {
            counts.add(record, &prices);
        }
    }
}

/// Starts the thread. Returns the handle, the sink that counts, and a future that ends with the thread.
pub fn start(
    labels: MetricLabels,
    sources: Sources,
) -> io::Result<(Metrics, Box<dyn Sink>, impl Future<Output = ()> + Send + 'static)> {
    let counts = Arc::new(Mutex::new(Counts::new(labels)));
    let (scrapes, waiting) = sync_channel(MAX_WAITING);
    let workers = Arc::default();
    let metrics = Metrics { scrapes, workers: Arc::clone(&workers) };
    let sink = Counting { counts: Arc::clone(&counts), live: Arc::clone(&sources.live) };
    let (ending, ended) = oneshot::channel::<()>();
    thread::Builder::new().name("metrics".into()).spawn(move || {
        let _ending = ending;
        answer(&waiting, &counts, &workers, &sources);
    })?;
    Ok((metrics, Box::new(sink), async move { drop(ended.await) }))
}

fn answer(
    waiting: &Receiver<Scrape>,
    counts: &Mutex<Counts>,
    workers: &Mutex<Vec<WorkerCounts>>,
    sources: &Sources,
) {
    while let Ok(Scrape { format, reply }) = waiting.recv() {
        // If the deadline has passed or the client has left, nothing is written.
        if !reply.is_closed() {
            // The recorder's thread waits for this lock, so the text is made from a copy.
            let counts = lock(counts).clone();
            let workers = lock(workers).clone();
            let _ = reply.send(expose::text(&counts, &workers, sources, format));
        }
    }
}

impl Metrics {
    /// Adds the numbers of a worker that starts.
    pub fn add_worker(&self, worker: WorkerCounts) {
        lock(&self.workers).push(worker);
    }

    /// The text of all metrics.
    pub async fn scrape(&self, format: Format) -> Result<String, Fault> {
        let busy = |message: &'static str| Fault::new(FaultKind::Overloaded, message);
        let (reply, text) = oneshot::channel();
        self.scrapes
            .try_send(Scrape { format, reply })
            .map_err(|_| busy("Too many requests for the metrics wait already: try again later"))?;
        match timeout(DEADLINE, text).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(_)) | Err(_) => Err(busy("The metrics were not ready in time: try again later")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
