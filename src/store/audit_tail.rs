//! Log lines of the audit log in a server: each entry once, in order, also those that commands write to the store beside it.
//!
//! An own entry is logged at its commit, if all before it are logged. Otherwise, and for entries of other processes, the
//! poll of the store reads what is missing, a page at a time. Other processes than a server log nothing from here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    AuditEntry, Result, Store,
    audit::{self, Writer},
};

/// The most lines of one poll: an import of many users must not fill the queue of the log.
const PAGE: u64 = 100;

/// The state of the log lines. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct AuditTail(Arc<Mutex<Option<Tail>>>);

#[derive(Debug)]
struct Tail {
    /// The number of the last entry that was logged.
    logged: u64,
    /// Numbers and hashes of own entries after that. One whose transaction failed has the number of another entry.
    own: BTreeMap<u64, String>,
    /// True if the store may have more entries to log.
    behind: bool,
}

impl AuditTail {
    fn with<T>(&self, change: impl FnOnce(&mut Option<Tail>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes an entry of this process, before its commit.
    pub(super) fn note_own(&self, entry: &AuditEntry) {
        self.with(|tail| {
            if let Some(tail) = tail {
                tail.own.insert(entry.seq, entry.hash.clone());
            }
        });
    }

    /// Logs an entry of this process, after its commit.
    pub(super) fn log_own(&self, entry: &AuditEntry) {
        self.with(|tail| match tail {
            None => audit::log(entry, Writer::Own),
            Some(tail) if entry.seq == tail.logged + 1 => tail.log(entry),
            // Entries of others are to be logged first.
            Some(tail) => tail.behind |= entry.seq > tail.logged,
        });
    }
}

impl Tail {
    fn log(&mut self, entry: &AuditEntry) {
        let is_own = self.own.get(&entry.seq) == Some(&entry.hash);
        audit::log(entry, if is_own { Writer::Own } else { Writer::Command });
        self.logged = entry.seq;
        self.own = self.own.split_off(&(entry.seq + 1));
    }
}

impl Store {
    /// Begins to log the entries of other processes, from now on.
    pub async fn follow_audit(&self) -> Result<()> {
        let (logged, _) = self.audit_head().await?;
        self.audit_tail.with(|tail| *tail = Some(Tail { logged, own: BTreeMap::new(), behind: false }));
        Ok(())
    }

    /// Logs entries that are not logged yet, at most a page. `changed` if the store has changed since the last call.
    pub async fn log_others_acts(&self, changed: bool) -> Result<()> {
        let after = self.audit_tail.with(|tail| {
            let tail = tail.as_mut()?;
            // Until it is known: the caller may leave meanwhile.
            tail.behind |= changed;
            tail.behind.then_some(tail.logged)
        });
        let Some(after) = after else { return Ok(()) };
        let page = self.audit_page(after, Some(PAGE)).await?;
        self.audit_tail.with(|tail| {
            let Some(tail) = tail else { return };
            for entry in &page {
                if entry.seq > tail.logged {
                    tail.log(entry);
                }
            }
            let last_known = tail.own.last_key_value().map_or(0, |(seq, _)| *seq);
            tail.behind = page.len() as u64 == PAGE || last_known > tail.logged;
        });
        Ok(())
    }
}
