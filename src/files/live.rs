//! The current route table and status document, each behind an atomic pointer. A request loads the table once, when its
//! head is complete; a reload replaces it whole.
//!
//! Reading never blocks. A request keeps its snapshot up to the head of the answer. Read next: `reload`, which writes here.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::{
    Config, Found, ServedFiles, Status, served::ServedInputs, snapshot::ServingFiles, state::ReloadState,
    tree::Inputs,
};
use crate::table::Table;

/// The capacity of the reloader's queue.
pub(super) const MAX_QUEUED: usize = 64;
/// The longest time that [`Live::reload`] waits.
pub(super) const RELOAD_DEADLINE: Duration = Duration::from_mins(1);

/// The current route table, the texts that it was built from, and the status document.
#[derive(Debug)]
pub struct Live {
    table: ArcSwap<Table>,
    status: ArcSwap<Status>,
    served: ArcSwap<ServedInputs>,
    /// The shared files of the last scan.
    shared: ArcSwap<Inputs>,
    found: ArcSwap<Found>,
    config: Arc<Config>,
    commands: mpsc::SyncSender<Command>,
}

/// A command to the reloader.
#[derive(Debug)]
pub(super) enum Command {
    /// Scan soon: a file may have changed.
    Changed,
    /// Scan now, and send the status document.
    Reload(oneshot::Sender<Arc<Status>>),
    /// Stop the thread.
    Stop,
}

/// A reload request without an outcome. The current table goes on serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The reloader's queue is full.
    #[error("too many reload requests are waiting: try again")]
    Busy,
    /// The reload is still running.
    #[error("the reload is still running after {} s: `tollgate status` shows its outcome later", RELOAD_DEADLINE.as_secs())]
    TimedOut,
    /// The process is shutting down, or the reloader panicked.
    #[error(
        "the reloader is not running: tollgate is shutting down, or the reloader failed (see `tollgate status`)"
    )]
    NotRunning,
}

impl Live {
    /// The outcome of the first scan. Reloads are requested through `commands`.
    pub(super) fn new(
        config: &Config,
        state: &ReloadState,
        status: Status,
        commands: mpsc::SyncSender<Command>,
    ) -> Self {
        let served = state.served();
        Self {
            table: ArcSwap::new(served.table.clone()),
            status: ArcSwap::from_pointee(status),
            served: ArcSwap::from_pointee(served),
            shared: ArcSwap::from_pointee(state.shared_files()),
            found: ArcSwap::new(state.found()),
            config: Arc::new(config.clone()),
            commands,
        }
    }

    /// Replaces the table and the texts that it was built from. Returns the old table, which requests may still hold.
    pub(super) fn replace(&self, served: ServedInputs) -> Arc<Table> {
        let old = self.table.swap(served.table.clone());
        self.served.store(Arc::new(served));
        old
    }

    /// Replaces the shared files of the last scan.
    pub(super) fn set_shared(&self, shared: Inputs) {
        self.shared.store(Arc::new(shared));
    }

    /// Replaces the findings of the last scan.
    pub(super) fn set_found(&self, found: Arc<Found>) {
        self.found.store(found);
    }

    /// Replaces the status document.
    pub(super) fn set_status(&self, status: Arc<Status>) {
        self.status.store(status);
    }

    /// The current route table. A request takes it once, when its head is complete, and passes it on by argument: two
    /// snapshots in one request could disagree, for instance on which headers may hold the caller's token.
    pub fn snapshot(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The status document of the last scan.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// The findings of the last scan.
    pub fn found(&self) -> Arc<Found> {
        self.found.load_full()
    }

    /// The texts that the current table was built from.
    pub fn served_files(&self) -> ServedFiles {
        ServedFiles::of(&self.served.load())
    }

    /// The files that serve at this moment, for tools that look at them.
    pub fn serving_files(&self) -> ServingFiles {
        ServingFiles {
            served: self.served.load_full(),
            shared: self.shared.load_full(),
            config: self.config.clone(),
        }
    }

    /// Requests a scan and waits until its table serves. Returns the status document.
    pub async fn reload(&self) -> Result<Arc<Status>, ReloadError> {
        let (reply, outcome) = oneshot::channel();
        self.commands.try_send(Command::Reload(reply)).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => ReloadError::Busy,
            mpsc::TrySendError::Disconnected(_) => ReloadError::NotRunning,
        })?;
        match tokio::time::timeout(RELOAD_DEADLINE, outcome).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(_)) => Err(ReloadError::NotRunning),
            Err(_) => Err(ReloadError::TimedOut),
        }
    }
}
