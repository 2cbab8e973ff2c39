//! The report of one scan, which the reloader logs and publishes: the table, the status document, and the changes.
//!
//! These are plain values. Read next: `state`, which makes the report.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{Finding, Status};
use crate::{
    name::FileName,
    pipeline::IndependentFile,
    reconcile::{Reconciled, ReconciledFiles, ReconciledIndependent, Serving, ServingFile},
    table::Table,
};

/// The reason for a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// The operating system reported a change.
    Event,
    /// The interval between two scans is over.
    Sweep,
    /// A caller of `Live::reload` waits for the outcome.
    Request,
}

/// The report of one scan.
pub(super) struct ScanReport {
    /// True if it differs from the one before.
    pub table_changed: bool,
    /// The new status document.
    pub status: Status,
    /// All findings that are shown, errors first.
    pub findings: Vec<Finding>,
    /// The warnings that the last scan did not have.
    pub fresh_warnings: HashSet<Finding>,
    /// The providers by what happened to them.
    pub changes: Changes,
    /// The number of files that differ from the last scan.
    pub changed_files: usize,
    /// True if the status document differs from the one before in more than the time of the scan.
    pub status_changed: bool,
    /// The work of judging files, in steps of the budget: none if nothing changed.
    pub steps: u64,
    /// The duration of the scan.
    pub duration: Duration,
}

/// Names of providers and independent files: those that differ from the table before, and those that are not live.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
    pub stale: Vec<String>,
    pub rejected: Vec<String>,
}

impl Changes {
    /// Compares a table with the providers and independent files that are to replace it. An independent file is named with its
    /// folder.
    pub(super) fn between(
        table: &Table,
        reconciled: &Reconciled,
        independent: &ReconciledIndependent,
    ) -> Self {
        let before: BTreeMap<_, _> = table.providers.iter().map(|one| (&one.name, one)).collect();
        let mut changes = Self::default();
        for (name, Serving { good, stale }) in &reconciled.serving {
            match before.get(name) {
                None => changes.added.push(name.to_string()),
                Some(known) if !Arc::ptr_eq(known, &good.bound) => changes.changed.push(name.to_string()),
                Some(_) => {}
            }
            if *stale {
                changes.stale.push(name.to_string());
            }
        }
        let removed = before.keys().filter(|name| !reconciled.serving.contains_key(**name));
        changes.removed.extend(removed.map(ToString::to_string));
        changes.rejected.extend(reconciled.rejected.iter().map(|one| one.name.to_string()));
        changes.add(table.prices.files(), &independent.prices);
        changes.add(table.clients.files(), &independent.clients);
        changes.add(table.limits.files(), &independent.limits);
        changes
    }

    fn add<T: IndependentFile>(&mut self, before: &[Arc<T>], outcome: &ReconciledFiles<T>) {
        let shown = |name: &FileName| format!("{}/{name}", T::FOLDER.name());
        let before: BTreeMap<_, _> = before.iter().map(|one| (one.name(), one)).collect();
        for (name, ServingFile { file, stale }) in &outcome.serving {
            match before.get(name) {
                None => self.added.push(shown(name)),
                Some(known) if !Arc::ptr_eq(known, file) => self.changed.push(shown(name)),
                Some(_) => {}
            }
            if *stale {
                self.stale.push(shown(name));
            }
        }
        let removed = before.keys().filter(|name| !outcome.serving.contains_key(**name));
        self.removed.extend(removed.map(|name| shown(name)));
        self.rejected.extend(outcome.rejected.iter().map(shown));
    }

    /// True if other files are to serve than before.
    pub(super) fn any(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty())
    }
}
