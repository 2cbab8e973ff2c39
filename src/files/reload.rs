//! The reloader: one thread that scans the files after a change and replaces the current table (hot reload). Only this
//! thread replaces it, so that reloads never overlap.
//!
//! It guarantees that a reload neither delays a request nor changes one in flight. It decides nothing about files. Read
//! next: `state` for one scan.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    Config, InitialDiagnostics, Live, StartError, Status, Watching,
    change_events::{ChangeEvents, POLL_INTERVAL},
    live::{Command, MAX_QUEUED},
    log,
    scan::{ScanReport, Trigger},
    state::ReloadState,
};
use crate::{settings::Source, table::Table};

/// The debounce time: a scan begins after this time without an event, since one save causes several events.
const DEBOUNCE: Duration = Duration::from_millis(150);
/// The longest time from the first event to a scan, while events go on.
const MAX_DEBOUNCE: Duration = Duration::from_millis(700);
/// While polling, the pause after a scan in multiples of its duration.
const POLL_FACTOR: u32 = 20;
/// The longest time from a change to its event.
const EVENT_LATENCY: Duration = Duration::from_millis(100);
/// The time from a scan to the return of its memory to the system. mimalloc returns no block that was freed less than 1 s ago.
const RELEASE_DELAY: Duration = Duration::from_millis(1500);
/// The size of a block that mimalloc always takes from fresh memory, in bytes.
const FRESH_BLOCK: usize = 1 << 20;
/// Timeout for a running scan at shutdown.
const LAST_SCAN: Duration = Duration::from_secs(2);

/// The handle of the reloader's thread.
#[derive(Debug)]
pub struct Reloader {
    commands: SyncSender<Command>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

/// Scans the files once, then starts the thread that scans them after every change.
pub fn start(config: Config) -> Result<(Arc<Live>, Reloader, InitialDiagnostics), StartError> {
    let (commands, queue) = mpsc::sync_channel(MAX_QUEUED);
    let is_watched = matches!(config.source, Source::Directory { .. }) || config.source.limits().is_dir();
    let mut events = ChangeEvents::new(&commands, is_watched);
    let mut state = ReloadState::new(config.clone());
    // Armed before the scan, so that no change falls between the two.
    events.arm(&state);
    let (scan, first) = state.start(events.mode())?;
    let live = Arc::new(Live::new(&config, &state, scan.status, commands.clone()));
    let mut worker = ReloadThread::new(config, state, events, queue, live.clone());
    worker.arm();
    let (ending, ended) = mpsc::sync_channel(1);
    let shown = live.clone();
    let work = move || {
        report_panic(&shown, || worker.run());
        let _ = ending.send(());
    };
    let thread = std::thread::Builder::new().name("reload".into()).spawn(work);
    Ok((live, Reloader { commands, ended, thread: thread.map_err(StartError::Thread)? }, first))
}

/// Runs the reloader, and reports a panic in the status document: it would otherwise go unnoticed until a change has no
/// effect.
fn report_panic(live: &Live, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        let problem = "the reloader panicked, see the log: the current providers go on serving, and changes to files have no effect until tollgate is restarted";
        log::reloader_failed(problem);
        let status = Status::clone(&live.status());
        let problem = Some(problem.into());
        live.set_status(Arc::new(Status { ok: false, watching: Watching::Nothing, problem, ..status }));
    }
}

impl Reloader {
    /// Stops the thread. Waits up to 2 s for a running scan: a longer one is abandoned, which leaves no half-written file.
    pub fn stop(self) {
        let _ = self.commands.try_send(Command::Stop);
        if self.ended.recv_timeout(LAST_SCAN).is_ok() {
            let _ = self.thread.join();
        }
    }
}

/// The thread's state.
struct ReloadThread {
    config: Config,
    state: ReloadState,
    events: ChangeEvents,
    queue: Receiver<Command>,
    live: Arc<Live>,
    /// Old tables that requests may still hold. They are freed on this thread, not on a worker, since that takes time.
    old: Vec<Arc<Table>>,
    /// Requests for a reload that wait for the next scan.
    requests: Vec<oneshot::Sender<Arc<Status>>>,
    is_stopping: bool,
    /// The times of the first and the last event since the last scan.
    changed: Option<(Instant, Instant)>,
}

impl ReloadThread {
    fn new(
        config: Config,
        state: ReloadState,
        events: ChangeEvents,
        queue: Receiver<Command>,
        live: Arc<Live>,
    ) -> Self {
        let (old, requests) = (Vec::new(), Vec::new());
        Self { config, state, events, queue, live, old, requests, is_stopping: false, changed: None }
    }

    fn run(mut self) {
        // Requests have priority. A sandbox may forbid this; reloads then compete with them.
        let _ = rustix::process::setpriority_process(None, 10);
        // Stored here and not in `start`, which would delay the first request.
        self.state.save();
        let mut next = Instant::now() + self.pause(Duration::ZERO);
        while let Some(trigger) = self.wait(next) {
            let began = Instant::now();
            self.reload(trigger);
            next = Instant::now() + self.pause(began.elapsed());
        }
    }

    /// Waits for the reason of the next scan, at `next` at the latest. Returns `None` when the thread is to stop.
    fn wait(&mut self, next: Instant) -> Option<Trigger> {
        let mut release = Some(Instant::now() + RELEASE_DELAY);
        while !self.is_stopping {
            if !self.requests.is_empty() {
                return Some(Trigger::Request);
            }
            let due = self.changed.map_or(next, |(first, last)| (last + DEBOUNCE).min(first + MAX_DEBOUNCE));
            let until = release.map_or(due, |release| release.min(due));
            match self.queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) if release.take_if(|release| *release < due).is_some() => {
                    release_memory();
                }
                Err(RecvTimeoutError::Timeout) if self.changed.is_none() => return Some(Trigger::Sweep),
                Err(RecvTimeoutError::Timeout) => return Some(Trigger::Event),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }

    /// The time until the next scan without an event.
    fn pause(&self, took: Duration) -> Duration {
        match self.events.mode() {
            Watching::Polling => {
                (took * POLL_FACTOR).clamp(POLL_INTERVAL, self.config.sweep.max(POLL_INTERVAL))
            }
            Watching::Events | Watching::Nothing => self.config.sweep.min(self.state.until_expiry()),
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Changed => {
                self.events.received();
                self.mark_changed();
            }
            Command::Reload(reply) => self.requests.push(reply),
            Command::Stop => self.is_stopping = true,
        }
    }

    fn mark_changed(&mut self) {
        let now = Instant::now();
        self.changed = Some((self.changed.map_or(now, |(first, _)| first), now));
    }

    /// Watches the paths that the files depend on now. A new path may have changed between the scan and the watch, so it
    /// counts as an event.
    fn arm(&mut self) {
        if self.events.arm(&self.state) {
            self.mark_changed();
        }
    }

    fn reload(&mut self, trigger: Trigger) {
        // The scan answers all requests that arrived before it begins.
        while let Ok(command) = self.queue.try_recv() {
            self.take(command);
        }
        let requests = std::mem::take(&mut self.requests);
        self.changed = None;
        self.events.arm(&self.state);
        let mut scan = self.state.scan(self.events.mode());
        if trigger == Trigger::Sweep {
            self.count_missed(&mut scan);
        }
        self.publish(&scan, trigger, requests);
        // Before the save, which waits for the disk.
        self.arm();
        self.state.save();
        self.old.retain(|table| Arc::strong_count(table) > 1);
    }

    /// Counts the changes that a sweep found and no event reported.
    fn count_missed(&mut self, scan: &mut ScanReport) {
        if self.events.mode() == Watching::Events && scan.changed_files > 0 && !self.wait_for_late_event() {
            scan.status.missed = self.state.add_missed(scan.changed_files);
            log::missed(scan.changed_files, scan.status.missed, self.config.sweep);
        }
    }

    /// Waits up to [`EVENT_LATENCY`] for an event. Returns true if one arrives: the sweep was only faster. The event may
    /// also report a later change, so another scan follows.
    fn wait_for_late_event(&mut self) -> bool {
        let until = Instant::now() + EVENT_LATENCY;
        while self.changed.is_none()
            && let Ok(command) = self.queue.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.take(command);
        }
        self.changed.is_some()
    }

    fn publish(&mut self, scan: &ScanReport, trigger: Trigger, requests: Vec<oneshot::Sender<Arc<Status>>>) {
        if scan.table_changed {
            self.old.push(self.live.replace(self.state.served()));
        }
        self.live.set_shared(self.state.shared_files());
        self.live.set_found(self.state.found());
        let status = Arc::new(scan.status.clone());
        self.live.set_status(status.clone());
        log::scanned(scan, trigger);
        for reply in requests {
            // The client may have given up waiting.
            let _ = reply.send(status.clone());
        }
    }
}

/// Returns the memory that a scan freed to the system. mimalloc does so when it takes a block from fresh memory, and an idle
/// server takes none. The block itself is never written, so that it has no memory.
fn release_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(FRESH_BLOCK)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lint::Levels, settings::SecretsDir, variables::EnvAllow};

    /// A worker on a directory with one file, and the queue to it.
    fn worker(dir: &std::path::Path) -> (ReloadThread, SyncSender<Command>) {
        std::fs::write(dir.join("a.toml"), "").unwrap();
        let config = Config {
            source: Source::directory(dir),
            secrets: SecretsDir::optional(dir),
            data: dir.into(),
            strict: false,
            max_stale: None,
            sweep: Duration::from_hours(1),
            lints: Levels::default(),
            env_allow: EnvAllow::default(),
        };
        let (commands, queue) = mpsc::sync_channel(MAX_QUEUED);
        let mut state = ReloadState::new(config.clone());
        let (scan, _) = state.start(Watching::Events).unwrap();
        let events = ChangeEvents::new(&commands, true);
        let live = Arc::new(Live::new(&config, &state, scan.status, commands.clone()));
        (ReloadThread::new(config, state, events, queue, live), commands)
    }

    #[test]
    fn commands_during_the_wait_for_a_late_event_are_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (mut worker, commands) = worker(dir.path());
        assert!(!worker.wait_for_late_event() && worker.changed.is_none());
        let (reply, mut outcome) = oneshot::channel();
        commands.send(Command::Reload(reply)).unwrap();
        assert!(!worker.wait_for_late_event() && !worker.requests.is_empty());
        commands.send(Command::Changed).unwrap();
        assert!(worker.wait_for_late_event() && worker.changed.is_some());
        worker.reload(Trigger::Request);
        assert!(outcome.try_recv().is_ok() && worker.requests.is_empty() && worker.changed.is_none());
    }

    #[test]
    fn the_status_reports_a_reloader_that_panicked() {
        let dir = tempfile::tempdir().unwrap();
        let live = worker(dir.path()).0.live;
        let shown = |live: &Live| (live.status().ok, live.status().watching, live.status().problem.is_some());
        live.set_status(Arc::new(Status { ok: true, watching: Watching::Events, ..Status::default() }));
        report_panic(&live, || {});
        assert_eq!(shown(&live), (true, Watching::Events, false));
        report_panic(&live, || panic!("on purpose"));
        assert_eq!(shown(&live), (false, Watching::Nothing, true));
    }
}
