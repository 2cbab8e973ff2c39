//! Change events (inotify), with polling as the fallback: a limit of the system may refuse a watch.
//!
//! It never reads a file: it sends [`Command::Changed`], and the reloader scans. Read next: `watch` for the watched paths.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::{Duration, Instant},
};

use super::{Watching, live::Command, log, state::ReloadState, watch::Watch};

/// The time between two scans where the system gives no events.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The time after which the system is asked for events again.
const EVENTS_RETRY: Duration = Duration::from_mins(1);

/// The source of change events.
pub(super) struct ChangeEvents {
    commands: SyncSender<Command>,
    /// True while a `Command::Changed` waits in the queue: one stands for all events before it.
    pending: Arc<AtomicBool>,
    is_watched: bool,
    watch: Option<Watch>,
    tried: Instant,
    problem: Option<String>,
}

impl ChangeEvents {
    /// Sends events to `commands`. `is_watched` is false for built-in files.
    pub(super) fn new(commands: &SyncSender<Command>, is_watched: bool) -> Self {
        let pending = Arc::new(AtomicBool::new(false));
        let (commands, tried) = (commands.clone(), Instant::now());
        Self { commands, pending, is_watched, watch: None, tried, problem: None }
    }

    pub(super) fn mode(&self) -> Watching {
        match (self.is_watched, &self.watch) {
            (false, _) => Watching::Nothing,
            (true, Some(_)) => Watching::Events,
            (true, None) => Watching::Polling,
        }
    }

    /// Lets the next event send a command. Call this for each `Command::Changed`, before the files are read: an event
    /// during a scan must cause another scan.
    pub(super) fn received(&self) {
        self.pending.store(false, Ordering::Release);
    }

    /// Watches every path that the files depend on now. Returns true if one of them was not watched before.
    pub(super) fn arm(&mut self, state: &ReloadState) -> bool {
        let failed = self.watch.is_none() && self.problem.is_some();
        if !self.is_watched || (failed && self.tried.elapsed() < EVENTS_RETRY) {
            return false;
        }
        self.tried = Instant::now();
        let watch_paths = state.watch_paths();
        let watch = self.watch.take().map_or_else(|| self.open(), Ok);
        match watch.and_then(|mut watch| watch.arm(&watch_paths).map(|more| (watch, more))) {
            Ok((watch, more)) => {
                if self.problem.take().is_some() {
                    log::events_again();
                }
                self.watch = Some(watch);
                more
            }
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    log::polling(&problem, POLL_INTERVAL);
                }
                self.problem = Some(problem);
                false
            }
        }
    }

    fn open(&self) -> Result<Watch, String> {
        let (commands, pending) = (self.commands.clone(), self.pending.clone());
        Watch::new(move || {
            if !pending.swap(true, Ordering::AcqRel) && commands.try_send(Command::Changed).is_err() {
                pending.store(false, Ordering::Release);
            }
        })
    }
}
