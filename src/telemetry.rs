//! What the process says of itself: log lines, and a line for every finished request. Lines go to standard
//! error through a bounded queue and a thread of its own, so that no request ever waits for a terminal or a
//! full pipe; lines that do not fit are dropped and counted.
//!
//! Only this crate's own events are logged, at any level: what other crates say may hold what must not be
//! seen. Nothing here looks at a body or a header.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use tokio::sync::mpsc;
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{exchange::Exchange, settings::LogFormat};

/// Lines that may wait to be written.
const MAX_LINES: usize = 4096;
/// Finished requests that may wait to be recorded.
const MAX_EXCHANGES: usize = 8192;

/// Keeps the log going; `close` writes what still waits.
#[derive(Debug)]
pub struct Log {
    lines: SyncSender<Line>,
    thread: JoinHandle<()>,
    /// Whether lines are for a person.
    pub human: bool,
}

/// Something for the log's thread.
enum Line {
    Text(Vec<u8>),
    End,
}

/// Starts logging for the whole process.
pub fn start(level: tracing::Level, format: Option<LogFormat>) -> Log {
    let human = match format {
        Some(LogFormat::Human) => true,
        Some(LogFormat::Json) => false,
        None => io::stderr().is_terminal(),
    };
    let (lines, waiting) = sync_channel(MAX_LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let thread = {
        let dropped = dropped.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || write_lines(&waiting, &dropped))
    };
    let writer = Queue { lines: lines.clone(), dropped };
    let only_ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    let registry = tracing_subscriber::registry().with(only_ours);
    let layer = fmt::layer().with_writer(writer).with_target(false).with_ansi(false);
    if human {
        registry.with(layer).init();
    } else {
        registry.with(layer.json().flatten_event(true).with_current_span(false).with_span_list(false)).init();
    }
    Log { lines, thread: thread.expect("a process that starts can start a thread"), human }
}

impl Log {
    /// Writes what still waits.
    pub fn close(self) {
        // The thread ends at this mark; a queue that is full drains first.
        let _ = self.lines.send(Line::End);
        let _ = self.thread.join();
    }
}

fn write_lines(waiting: &Receiver<Line>, dropped: &AtomicU64) {
    while let Ok(Line::Text(text)) = waiting.recv() {
        let mut out = io::stderr().lock();
        // A log that cannot be written is no reason to stop serving.
        let _ = out.write_all(&text);
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(
                out,
                "{{\"level\":\"WARN\",\"message\":\"log lines were dropped\",\"lines\":{lost}}}"
            );
        }
    }
}

/// One event's writer: collects the line and queues it whole.
#[derive(Debug, Clone)]
struct Queue {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

struct Collected<'q> {
    queue: &'q Queue,
    text: Vec<u8>,
}

impl<'q> MakeWriter<'q> for Queue {
    type Writer = Collected<'q>;

    fn make_writer(&'q self) -> Collected<'q> {
        Collected { queue: self, text: Vec::new() }
    }
}

impl Write for Collected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Collected<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() && self.queue.lines.try_send(Line::Text(text)).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where finished requests go. Never waits: a record that does not fit is dropped.
#[derive(Debug, Clone)]
pub struct Recorder(mpsc::Sender<Exchange>);

impl Recorder {
    /// Hands on a record.
    pub fn record(&self, exchange: Exchange) {
        let _ = self.0.try_send(exchange);
    }
}

/// The recorder, and what runs until the last recorder is gone.
pub fn recorder() -> (Recorder, impl Future<Output = ()> + Send + 'static) {
    let (sender, mut waiting) = mpsc::channel::<Exchange>(MAX_EXCHANGES);
    let task = async move {
        while let Some(exchange) = waiting.recv().await {
            access_line(&exchange);
        }
    };
    (Recorder(sender), task)
}

fn access_line(exchange: &Exchange) {
    tracing::info!(
        request_id = %exchange.request_id,
        method = %exchange.method,
        path = %shown(&exchange.path),
        user = exchange.user.as_ref().map(tracing::field::display),
        provider = exchange.provider.as_ref().map(tracing::field::display),
        endpoint = exchange.endpoint.as_deref(),
        status = exchange.status.map(|status| status.as_u16()),
        fault = exchange.fault,
        bytes_out = exchange.bytes_out,
        ms = u64::try_from(exchange.duration.as_millis()).unwrap_or(u64::MAX),
        end = exchange.end.as_str(),
        "request"
    );
}

/// What others sent, for a log line: control characters escaped, at most 300 characters.
pub fn shown(text: &str) -> String {
    text.chars()
        .take(300)
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
