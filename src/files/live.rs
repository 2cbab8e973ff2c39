//! The current table and what became of each file: one pointer that every request reads once, at its
//! first byte, and a reload replaces whole; and the status document beside it. A request in flight keeps its
//! snapshot up to the head of the answer. Nothing that a request does here ever waits.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::{ServedFiles, Status, served};
use crate::table::Table;

/// Reloads that may wait to be done.
pub(super) const MAX_QUEUED: usize = 64;
/// How long whoever asks for a reload waits for its end.
pub(super) const RELOAD_DEADLINE: Duration = Duration::from_mins(1);

/// The table that requests are looked up in now, and how it came about.
#[derive(Debug)]
pub struct Live {
    table: ArcSwap<Table>,
    status: ArcSwap<Status>,
    served: ArcSwap<served::InputsByProvider>,
    commands: mpsc::SyncSender<Command>,
}

/// What the reloader is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Something may have happened to the files.
    Changed,
    /// Look at all files now, and tell what came of it.
    Reload(oneshot::Sender<Arc<Status>>),
    /// Look at nothing any more.
    Stop,
}

/// Why a reload that was asked for has no outcome. What serves is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// More wait for one than can be told of it.
    #[error("too many wait for a reload already: try again")]
    Busy,
    /// It goes on, but not within the time that one waits.
    #[error("the reload is not done after {} s: `tollgate status` tells when it is", RELOAD_DEADLINE.as_secs())]
    TimedOut,
    /// The process is about to end, or the reloader has failed.
    #[error("nothing is read any more: tollgate is stopping, or else `tollgate status` says why")]
    NotRunning,
}

impl Live {
    /// The outcome of the first scan. Reloads are requested through `commands`.
    pub(super) fn new(
        table: Arc<Table>,
        status: Status,
        served: served::InputsByProvider,
        commands: mpsc::SyncSender<Command>,
    ) -> Self {
        let (table, status) = (ArcSwap::new(table), ArcSwap::from_pointee(status));
        Self { table, status, served: ArcSwap::from_pointee(served), commands }
    }

    /// Replaces the table and the texts that it was built from. Returns the old table, which requests may still hold.
    pub(super) fn replace(&self, table: Arc<Table>, served: served::InputsByProvider) -> Arc<Table> {
        let old = self.table.swap(table);
        self.served.store(Arc::new(served));
        old
    }

    /// Replaces the status document.
    pub(super) fn set_status(&self, status: Arc<Status>) {
        self.status.store(status);
    }

    /// The route table of this moment. A request takes it once, at its first byte, and passes it on by argument:
    /// two snapshots in one request could disagree, say on which headers may hold the caller's token.
    pub fn snapshot(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// What became of each file, as of the last look at them.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// The texts that serve.
    pub fn served_files(&self) -> ServedFiles {
        ServedFiles::of(&self.served.load())
    }

    /// Looks at all files anew, and waits until what is good of them serves.
    pub async fn reload(&self) -> Result<Arc<Status>, ReloadError> {
        let (tell, told) = oneshot::channel();
        self.commands.try_send(Command::Reload(tell)).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => ReloadError::Busy,
            mpsc::TrySendError::Disconnected(_) => ReloadError::NotRunning,
        })?;
        match tokio::time::timeout(RELOAD_DEADLINE, told).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(_)) => Err(ReloadError::NotRunning),
            Err(_) => Err(ReloadError::TimedOut),
        }
    }
}
