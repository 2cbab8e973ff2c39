//! Logging and the access log. Lines go to standard error through a bounded queue and a thread of their own, so that no
//! request waits for a terminal or a full pipe. Lines that do not fit are dropped and counted.
//!
//! Each event is one line, with its values escaped ([`output::log_line`]). Only events of this crate are logged, at any level: those of other crates may contain secrets. It never looks at a
//! body or a header.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use tracing_subscriber::{
    filter::Targets,
    fmt::{
        self, MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    access_record::AccessRecord,
    escape,
    fault::FaultKind,
    numbers::millis,
    output,
    recorder::{DropCount, Drops, Sink},
    settings::LogFormat,
};

/// Capacity of the queue of lines.
const MAX_LINES: usize = 4096;
/// Time limit for writing the last lines when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The running log. `close` flushes it.
#[derive(Debug)]
pub struct Log {
    lines: SyncSender<Message>,
    ended: Receiver<()>,
    /// True if the format is for people.
    pub human: bool,
}

/// A message to the log's thread.
enum Message {
    Text(Vec<u8>),
    End,
}

/// Starts logging for the whole process. Dropped lines are counted in `drops`.
pub fn start(level: tracing::Level, format: Option<LogFormat>, drops: &Drops) -> Log {
    let human = match format {
        Some(LogFormat::Human) => true,
        Some(LogFormat::Json) => false,
        None => output::errors_on_terminal(),
    };
    let (lines, queued) = sync_channel(MAX_LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let (ending, ended) = sync_channel(1);
    let count = dropped.clone();
    let write = move || {
        write_lines(&queued, &count, human);
        let _ = ending.send(());
    };
    std::thread::Builder::new()
        .name("log".into())
        .spawn(write)
        .expect("a process that starts can start a thread");
    let writer = Queue { lines: lines.clone(), dropped, drops: drops.queue("log") };
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
    /// Flushes the queue, for at most a second: the reader of the pipe may be gone.
    #[expect(clippy::disallowed_methods, reason = "the process is ending: no runtime is left to stop")]
    pub fn close(self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while self.lines.try_send(Message::End).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn write_lines(queued: &Receiver<Message>, dropped: &AtomicU64, human: bool) {
    while let Ok(Message::Text(text)) = queued.recv() {
        // A failing log does not stop the service.
        let _ = output::log_line(&text, !human);
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = output::log_line(dropped_line(human, count).as_bytes(), !human);
        }
    }
}

/// The line about dropped lines, in the format of the others. It does not go through `tracing`, whose queue is full.
fn dropped_line(human: bool, lines: u64) -> String {
    let mut now = String::new();
    // Writing to a string cannot fail; without a time the line still counts.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    if human {
        format!("{now}  WARN log lines were dropped lines={lines}\n")
    } else {
        let line = serde_json::json!({
            "timestamp": now, "level": "WARN", "message": "log lines were dropped", "lines": lines,
        });
        format!("{line}\n")
    }
}

/// The writer of one event: collects the line and queues it whole.
#[derive(Debug, Clone)]
struct Queue {
    lines: SyncSender<Message>,
    /// Those that no line has reported yet.
    dropped: Arc<AtomicU64>,
    drops: DropCount,
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
        if !text.is_empty() && self.queue.lines.try_send(Message::Text(text)).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
            self.queue.drops.add(1);
        }
    }
}

/// The access log: one line for each exchange.
#[derive(Debug)]
pub struct AccessLog;

impl Sink for AccessLog {
    fn record(&mut self, records: &[AccessRecord]) {
        for record in records {
            access_line(record);
        }
    }
}

fn access_line(record: &AccessRecord) {
    tracing::info!(
        request_id = %record.request_id,
        peer = %record.peer,
        method = %record.method,
        path = %shown(&record.path),
        user = record.user.as_ref().map(tracing::field::display),
        provider = record.provider.as_ref().map(tracing::field::display),
        endpoint = record.endpoint.as_deref(),
        status = record.status.map(|status| status.as_u16()),
        fault = record.fault.map(FaultKind::code),
        bytes_out = record.bytes_out,
        ms = millis(record.duration),
        end = record.end.as_str(),
        "request"
    );
}

/// Foreign text for a log line: at most 300 bytes, hidden characters escaped.
pub fn shown(text: &str) -> Cow<'_, str> {
    escape::value(&text[..text.floor_char_boundary(300)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_lines_are_reported_in_the_format_of_the_log() {
        let human = dropped_line(true, 3);
        assert!(human.ends_with("Z  WARN log lines were dropped lines=3\n"), "{human}");
        let json: serde_json::Value = serde_json::from_str(&dropped_line(false, 3)).unwrap();
        assert_eq!((json["level"].as_str(), json["lines"].as_u64()), (Some("WARN"), Some(3)));
        assert!(json["timestamp"].is_string());
    }
}
