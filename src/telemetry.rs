//! Logging and the access log. Lines go to standard error through a bounded queue and a thread of their own, so that no
//! request waits for a terminal or a full pipe. Lines that do not fit, or that cannot be written, are dropped and counted.
//!
//! Each event is one line, with its values escaped ([`LogOutput`]). Only events of this crate are logged, at any
//! level: those of other crates may contain secrets. It never looks at a body or a header. Read next: `access_log`.

mod access_log;

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
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

pub use access_log::AccessLog;

use crate::{
    escape,
    output::{self, LogLines, LogOutput},
    recorder::{DropCount, Drops},
    settings::{self, LogFormat},
};

/// Capacity of the queue of lines.
const MAX_LINES: usize = 4096;
/// Bytes of lines of the access log that may wait for the log's thread.
const MAX_WAITING: usize = 4 << 20;
/// Time limit for writing the last lines when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The running log. `close` flushes it.
#[derive(Debug)]
pub struct Log {
    queue: Queue,
    ended: Receiver<()>,
    /// The drop counters of all queues.
    pub drops: Drops,
    /// True if the format is for people.
    pub human: bool,
}

/// A message to the log's thread.
enum Message {
    Text(Vec<u8>),
    Lines(LogLines),
    End,
}

/// Starts logging for the whole process.
pub fn start(level: tracing::Level, format: Option<LogFormat>) -> Log {
    let human = match format {
        Some(LogFormat::Human) => true,
        Some(LogFormat::Json) => false,
        None => output::errors_on_terminal(),
    };
    let (lines, queued) = sync_channel(MAX_LINES);
    let drops = Drops::default();
    let count = drops.queue("log");
    let queue = Queue { lines, dropped: Arc::default(), waiting: Arc::default(), drops: count };
    let (ending, ended) = sync_channel(1);
    let of_thread = queue.clone();
    let write = move || {
        write_lines(&queued, &of_thread, human);
        let _ = ending.send(());
    };
    std::thread::Builder::new()
        .name("log".into())
        .spawn(write)
        .expect("a process that starts can start a thread");
    let only_ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    let registry = tracing_subscriber::registry().with(only_ours);
    let layer = fmt::layer().with_writer(queue.clone()).with_target(false).with_ansi(false);
    if human {
        registry.with(layer).init();
    } else {
        registry.with(layer.json().flatten_event(true).with_current_span(false).with_span_list(false)).init();
    }
    Log { queue, ended, drops, human }
}

impl Log {
    /// The access log, in the format of the log.
    pub fn access_log(&self, settings: settings::AccessLog) -> AccessLog {
        AccessLog::new(self.queue.clone(), self.human, settings, self.drops.queue("access_log_rate"))
    }

    /// Flushes the queue, for at most a second: the reader of the pipe may be gone.
    #[expect(clippy::disallowed_methods, reason = "the process is ending: no runtime is left to stop")]
    pub fn close(self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while self.queue.lines.try_send(Message::End).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn write_lines(queued: &Receiver<Message>, queue: &Queue, human: bool) {
    let mut out = LogOutput::default();
    loop {
        let lost = match queued.recv() {
            Ok(Message::Text(text)) => out.line(&text, !human),
            Ok(Message::Lines(lines)) => {
                let lost = out.lines(&lines);
                queue.waiting.fetch_sub(lines.len(), Ordering::Relaxed);
                lost
            }
            Ok(Message::End) | Err(_) => return,
        };
        if lost > 0 {
            // A failing log does not stop the service.
            queue.drop_lines(lost);
            continue;
        }
        let count = queue.dropped.swap(0, Ordering::Relaxed);
        if count > 0 && out.line(dropped_line(human, count).as_bytes(), !human) > 0 {
            queue.dropped.fetch_add(count, Ordering::Relaxed);
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

/// The way to the log's thread.
#[derive(Debug, Clone)]
struct Queue {
    lines: SyncSender<Message>,
    /// Those that no line has reported yet.
    dropped: Arc<AtomicU64>,
    /// Bytes of [`Message::Lines`] that wait.
    waiting: Arc<AtomicUsize>,
    drops: DropCount,
}

impl Queue {
    /// Queues lines of the access log. Without room they are dropped and counted.
    fn lines(&self, lines: LogLines) {
        let (count, size) = (lines.count(), lines.len());
        let has_room = self.waiting.load(Ordering::Relaxed) + size <= MAX_WAITING;
        self.waiting.fetch_add(size, Ordering::Relaxed);
        if !has_room || self.lines.try_send(Message::Lines(lines)).is_err() {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.drop_lines(count);
        }
    }

    fn drop_lines(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.drops.add(count);
    }
}

/// The writer of one event: collects the line and queues it whole.
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
            self.queue.drop_lines(1);
        }
    }
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
