//! The reloader: one thread that looks at the files when something may have happened to them, and puts what is
//! good of them in place of the current table. It alone replaces the table, so that reloads never overlap.
//!
//! Never decides what is good: `load` says what the files are, `reconcile` what serves. Never holds a request up.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::{
    Finding, Live, Status, Watching,
    live::{Command, MAX_WAITING},
    state::{Files, Look},
    watch::{Places, Watch},
};
use crate::{
    diag::{Diagnostic, Severity, Sources},
    lint::Levels,
    settings::Source,
    table::Table,
};

/// How long nothing must happen before files are looked at: a save is several events.
const QUIET: Duration = Duration::from_millis(150);
/// How long to wait for that at most, where changes never end.
const LONGEST: Duration = Duration::from_millis(700);
/// How often to look where the system does not tell of changes.
const POLL: Duration = Duration::from_millis(500);
/// Of a look's own time, how much to wait until the next where looking is all there is.
const POLL_SHARE: u32 = 20;
/// How often to ask the system for events again where it had none to give.
const REARM: Duration = Duration::from_mins(1);
/// How long an event may take to arrive after the change that it tells of.
const LATE: Duration = Duration::from_millis(100);
/// How long a look that is under way at the end may take.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// Findings that are logged of one reload.
const MAX_LOGGED: usize = 50;

/// What a reloader works with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the files come from.
    pub source: Source,
    /// Where vars with `file` are read.
    pub secrets: PathBuf,
    /// The data directory, where what was last good is kept.
    pub data: PathBuf,
    /// Whether an error in any file refuses all. A warning never does.
    pub strict: bool,
    /// How bad what lints find is.
    pub lints: Levels,
    /// How long a last good text may serve.
    pub max_stale: Option<Duration>,
    /// How often to look without an event.
    pub sweep: Duration,
}

/// Why there is nothing to start with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory is missing, empty or unreadable, and nothing was ever good, or all was to be right. A fragment.
    #[error("{0}")]
    Nothing(String),
    /// Something is wrong, and all was to be right.
    #[error("there are errors")]
    Strict(First),
    /// The system refuses a thread.
    #[error("failed to start a thread: {0}")]
    Thread(io::Error),
}

/// What the first look found, for showing to a person.
#[derive(Debug)]
pub struct First {
    /// The texts.
    pub sources: Sources,
    /// What is wrong with them.
    pub diagnostics: Vec<Diagnostic>,
}

/// Keeps the reloader going; `stop` ends it.
#[derive(Debug)]
pub struct Reloader {
    commands: SyncSender<Command>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

/// Looks at the files for the first time, then whenever something may have happened to them.
pub fn start(config: Config) -> Result<(Arc<Live>, Reloader, First), StartError> {
    let (commands, waiting) = mpsc::sync_channel(MAX_WAITING);
    let watched = matches!(config.source, Source::Directory(_));
    let mut watching = Events::new(&commands, watched);
    let mut files = Files::new(config.clone());
    // Armed first, so that nothing falls between the look and the events.
    watching.arm(&files);
    let (look, first) = files.start(watching.mode())?;
    // The look told which links there are: what they lead to may have changed since it was read.
    let heard = watching.arm(&files).then(|| (Instant::now(), Instant::now()));
    let live = Arc::new(Live {
        table: ArcSwap::new(look.table),
        status: ArcSwap::from_pointee(look.status),
        served: ArcSwap::from_pointee(files.served()),
        commands: commands.clone(),
    });
    let (ending, ended) = mpsc::sync_channel(1);
    let worker = Worker {
        config,
        files,
        watching,
        waiting,
        live: live.clone(),
        old: Vec::new(),
        asked: Vec::new(),
        stopping: false,
        heard,
    };
    let shown = live.clone();
    let work = move || {
        watched_over(&shown, || worker.run());
        let _ = ending.send(());
    };
    let thread = std::thread::Builder::new().name("reload".into()).spawn(work);
    Ok((live, Reloader { commands, ended, thread: thread.map_err(StartError::Thread)? }, first))
}

/// Does the reloader's work. Should it ever fail, the status says so: nobody would notice until a change is missed.
fn watched_over(live: &Live, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        let problem = "the reloader has failed, as the log says: what served before goes on serving, and no file is looked at any more; start tollgate anew";
        tracing::error!("{problem}");
        let status = Status::clone(&live.status());
        let problem = Some(problem.into());
        live.status.store(Arc::new(Status { ok: false, watching: Watching::Nothing, problem, ..status }));
    }
}

impl Reloader {
    /// Ends it. A look that is under way is waited for, but not for ever: what it keeps is whole at any time.
    pub fn stop(self) {
        let _ = self.commands.try_send(Command::Stop);
        if self.ended.recv_timeout(LAST_LOOK).is_ok() {
            let _ = self.thread.join();
        }
    }
}

/// How changes are heard of.
struct Events {
    commands: SyncSender<Command>,
    /// Whether a `Command::Changed` is on its way already.
    pending: Arc<AtomicBool>,
    watched: bool,
    watch: Option<Watch>,
    tried: Instant,
    problem: Option<String>,
}

impl Events {
    fn new(commands: &SyncSender<Command>, watched: bool) -> Self {
        let pending = Arc::new(AtomicBool::new(false));
        let (commands, tried) = (commands.clone(), Instant::now());
        Self { commands, pending, watched, watch: None, tried, problem: None }
    }

    fn mode(&self) -> Watching {
        match (self.watched, &self.watch) {
            (false, _) => Watching::Nothing,
            (true, Some(_)) => Watching::Events,
            (true, None) => Watching::Polling,
        }
    }

    /// Watches what the files hang on now; whether that is more than before.
    fn arm(&mut self, files: &Files) -> bool {
        if !self.watched || (self.watch.is_none() && self.problem.is_some() && self.tried.elapsed() < REARM) {
            return false;
        }
        self.tried = Instant::now();
        let mut places = Places::default();
        files.places(&mut places);
        let watch = match self.watch.take() {
            Some(watch) => Ok(watch),
            None => self.open(),
        };
        let armed = watch.and_then(|mut watch| watch.arm(&places).map(|more| (watch, more)));
        match armed {
            Ok((watch, more)) => {
                if self.problem.take().is_some() {
                    tracing::info!("the system tells of changes to files again");
                }
                self.watch = Some(watch);
                more
            }
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        %problem, every_ms = millis(POLL),
                        "the system cannot tell of changes to files: they are looked at again and again instead"
                    );
                }
                self.problem = Some(problem);
                false
            }
        }
    }

    fn open(&self) -> Result<Watch, String> {
        let (commands, pending) = (self.commands.clone(), self.pending.clone());
        Watch::new(move || {
            // One that waits stands for all: it is taken before files are looked at.
            if !pending.swap(true, Ordering::AcqRel) && commands.try_send(Command::Changed).is_err() {
                pending.store(false, Ordering::Release);
            }
        })
    }
}

/// Why files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Event,
    Sweep,
    Asked,
}

struct Worker {
    config: Config,
    files: Files,
    watching: Events,
    waiting: Receiver<Command>,
    live: Arc<Live>,
    /// Tables that a request may still read: let go of here, where it takes nobody's time.
    old: Vec<Arc<Table>>,
    asked: Vec<oneshot::Sender<Arc<Status>>>,
    stopping: bool,
    /// When the first and the last change was heard of since files were last looked at.
    heard: Option<(Instant, Instant)>,
}

impl Worker {
    fn run(mut self) {
        // Requests go first. Where a sandbox forbids this, reloads take their share.
        let _ = rustix::process::setpriority_process(None, 10);
        // What the first look found good is kept now, when requests are being answered already.
        self.files.save();
        let mut next = Instant::now() + self.pause(Duration::ZERO);
        while !self.stopping {
            let due = self.heard.map_or(next, |(first, last)| (last + QUIET).min(first + LONGEST));
            let why = if self.asked.is_empty() {
                match self.waiting.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Ok(command) => {
                        self.take(command);
                        continue;
                    }
                    Err(RecvTimeoutError::Timeout) if self.heard.is_none() => Why::Sweep,
                    Err(RecvTimeoutError::Timeout) => Why::Event,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                Why::Asked
            };
            let began = Instant::now();
            self.look(why);
            next = Instant::now() + self.pause(began.elapsed());
        }
    }

    /// How long until files are looked at although nothing was heard.
    fn pause(&self, took: Duration) -> Duration {
        match self.watching.mode() {
            Watching::Polling => (took * POLL_SHARE).clamp(POLL, self.config.sweep.max(POLL)),
            Watching::Events | Watching::Nothing => self.config.sweep.min(self.files.until_expiry()),
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Changed => {
                self.watching.pending.store(false, Ordering::Release);
                let now = Instant::now();
                self.heard = Some((self.heard.map_or(now, |(first, _)| first), now));
            }
            Command::Reload(tell) => self.asked.push(tell),
            Command::Stop => self.stopping = true,
        }
    }

    fn look(&mut self, why: Why) {
        // Who asked before a look begins is answered by it.
        while let Ok(command) = self.waiting.try_recv() {
            self.take(command);
        }
        let asked = std::mem::take(&mut self.asked);
        self.heard = None;
        self.watching.arm(&self.files);
        let mut look = self.files.look(self.watching.mode());
        if why == Why::Sweep
            && self.watching.mode() == Watching::Events
            && look.differs > 0
            && !self.heard_late()
        {
            look.status.missed = self.files.missed(look.differs);
            tracing::warn!(
                files = look.differs,
                missed = look.status.missed,
                sweep_ms = millis(self.config.sweep),
                "files changed and no event told of it: a network or bind mount may not pass them on; changes there are seen by the sweep alone"
            );
        }
        let status = Arc::new(look.status.clone());
        if look.swap {
            self.old.push(self.live.table.swap(look.table.clone()));
            self.live.served.store(Arc::new(self.files.served()));
        }
        self.live.status.store(status.clone());
        report(&look, why, &status);
        for tell in asked {
            // Who asked may have given up waiting.
            let _ = tell.send(status.clone());
        }
        self.files.save();
        if self.watching.arm(&self.files) {
            // What was read before it was watched may have changed since.
            self.heard = Some((Instant::now(), Instant::now()));
        }
        self.old.retain(|table| Arc::strong_count(table) > 1);
    }

    /// Whether an event was only late. It may tell of a later change too: files are looked at once more.
    fn heard_late(&mut self) -> bool {
        let until = Instant::now() + LATE;
        while self.heard.is_none()
            && let Ok(command) = self.waiting.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.take(command);
        }
        self.heard.is_some()
    }
}

/// One line on what a look did, and what is wrong below it.
fn report(look: &Look, why: Why, status: &Status) {
    if !look.news && why != Why::Asked {
        return;
    }
    let done = &look.done;
    let (generation, routes, ms) = (status.generation, status.counts.routes, millis(look.took));
    let (added, removed, changed) = (names(&done.added), names(&done.removed), names(&done.changed));
    let (stale, rejected, problem) = (names(&done.stale), names(&done.rejected), status.problem.as_deref());
    macro_rules! line {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                generation, added, removed, changed, stale, rejected, routes, ms, problem, $message
            )
        };
    }
    match (status.ok, look.news) {
        (true, true) => line!(info, "reloaded"),
        (true, false) => line!(info, "reloaded: nothing to change"),
        (false, _) => line!(warn, "reloaded: not all is good"),
    }
    // A warning is told once, an error for as long as it is there.
    let told = |one: &&Finding| one.severity == Severity::Error || look.fresh_warnings.contains(one);
    let told: Vec<_> = look.findings.iter().filter(told).collect();
    for one in told.iter().take(MAX_LOGGED) {
        let (file, row, column, code, help) =
            (&one.file, one.line, one.column, &one.code, one.help.as_deref());
        match one.severity {
            Severity::Error => tracing::error!(file, line = row, column, code, help, "{}", one.message),
            Severity::Warning => tracing::warn!(file, line = row, column, code, help, "{}", one.message),
        }
    }
    if told.len() > MAX_LOGGED {
        tracing::warn!(more = told.len() - MAX_LOGGED, "further findings: `tollgate status` shows them");
    }
}

/// Names for a log line; of many only the first.
fn names(names: &[String]) -> Option<String> {
    const MAX_NAMES: usize = 20;
    let (first, more) = names.split_at(names.len().min(MAX_NAMES));
    let mut text = first.join(" ");
    if !more.is_empty() {
        text = format!("{text} and {} more", more.len());
    }
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(dir: &std::path::Path) -> Worker {
        std::fs::write(dir.join("a.toml"), "").unwrap();
        let config = Config {
            source: Source::Directory(dir.into()),
            secrets: dir.into(),
            data: dir.into(),
            strict: false,
            max_stale: None,
            sweep: Duration::from_hours(1),
            lints: Levels::default(),
        };
        let (commands, waiting) = mpsc::sync_channel(MAX_WAITING);
        let mut files = Files::new(config.clone());
        let (look, _) = files.start(Watching::Events).unwrap();
        let watching = Events::new(&commands, true);
        let (table, status) = (ArcSwap::new(look.table), ArcSwap::from_pointee(look.status));
        let live = Arc::new(Live { table, status, served: ArcSwap::default(), commands });
        let (old, asked) = (Vec::new(), Vec::new());
        Worker { config, files, watching, waiting, live, old, asked, stopping: false, heard: None }
    }

    #[test]
    fn what_comes_while_a_late_event_is_waited_for_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = worker(dir.path());
        assert!(!worker.heard_late() && worker.heard.is_none());
        let (tell, mut told) = oneshot::channel();
        worker.live.commands.send(Command::Reload(tell)).unwrap();
        assert!(!worker.heard_late() && !worker.asked.is_empty());
        worker.live.commands.send(Command::Changed).unwrap();
        assert!(worker.heard_late() && worker.heard.is_some());
        worker.look(Why::Asked);
        assert!(told.try_recv().is_ok() && worker.asked.is_empty() && worker.heard.is_none());
    }

    #[test]
    fn a_reloader_that_failed_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let live = worker(dir.path()).live;
        let shown = |live: &Live| (live.status().ok, live.status().watching, live.status().problem.is_some());
        live.status.store(Arc::new(Status { ok: true, watching: Watching::Events, ..Status::default() }));
        watched_over(&live, || {});
        assert_eq!(shown(&live), (true, Watching::Events, false));
        watched_over(&live, || panic!("on purpose"));
        assert_eq!(shown(&live), (false, Watching::Nothing, true));
    }
}
