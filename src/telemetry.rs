//! What the process says of itself: log lines, and a line for every finished request. Lines go to standard
//! error through a bounded queue and a thread of its own, so that no request ever waits for a terminal or a
//! full pipe; lines that do not fit are dropped and counted.
//!
//! Only this crate's own events are logged, at any level: what other crates say may hold what must not be
//! seen. Nothing here looks at a body or a header.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{access_record::AccessRecord, settings::LogFormat};

/// Lines that may wait to be written.
const MAX_LINES: usize = 4096;
/// Finished requests that may wait to be recorded.
const MAX_EXCHANGES: usize = 8192;
/// How long the last lines may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Keeps the log going; `close` writes what still waits.
#[derive(Debug)]
pub struct Log {
    lines: SyncSender<Line>,
    ended: Receiver<()>,
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
    let (ending, ended) = sync_channel(1);
    let lost = dropped.clone();
    let write = move || {
        write_lines(&waiting, &lost);
        let _ = ending.send(());
    };
    std::thread::Builder::new()
        .name("log".into())
        .spawn(write)
        .expect("a process that starts can start a thread");
    let writer = Queue { lines: lines.clone(), dropped };
    let only_ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    let registry = tracing_subscriber::registry().with(only_ours);
    let layer = fmt::layer().with_writer(writer).with_target(false).with_ansi(false);
    if human {
        registry.with(layer).init();
    } else {
        registry.with(layer.json().flatten_event(true).with_current_span(false).with_span_list(false)).init();
    }
    Log { lines, ended, human }
}

impl Log {
    /// Writes what still waits, for a second at most: nobody may be reading.
    #[expect(clippy::disallowed_methods, reason = "the process is ending: no runtime is left to stop")]
    pub fn close(self) {
        let deadline = Instant::now() + LAST_WORDS;
        while self.lines.try_send(Line::End).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
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

/// Where finished requests go. Never waits: a record that does not fit is dropped and counted.
#[derive(Debug, Clone)]
pub struct Recorder {
    records: mpsc::Sender<AccessRecord>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// Hands on a record.
    pub fn record(&self, exchange: AccessRecord) {
        if self.records.try_send(exchange).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The recorder, and what runs until the last recorder is gone.
pub fn recorder() -> (Recorder, impl Future<Output = ()> + Send + 'static) {
    let (records, mut waiting) = mpsc::channel::<AccessRecord>(MAX_EXCHANGES);
    let dropped = Arc::new(AtomicU64::new(0));
    let lost = dropped.clone();
    let task = async move {
        while let Some(exchange) = waiting.recv().await {
            access_line(&exchange);
            let lost = lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(lost, "requests came faster than they could be logged");
            }
        }
    };
    (Recorder { records, dropped }, task)
}

fn access_line(exchange: &AccessRecord) {
    tracing::info!(
        request_id = %exchange.request_id,
        peer = %exchange.peer,
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

/// What others sent, for a log line: control characters escaped, at most 300 bytes.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(&text[..text.floor_char_boundary(300)])
}

/// A text with control characters escaped, so that it stays on its line and tells a terminal nothing.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for one in text.chars() {
        if one.is_control() { escaped.extend(one.escape_default()) } else { escaped.push(one) }
    }
    Cow::Owned(escaped)
}
