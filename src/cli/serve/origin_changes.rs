//! Logs stored credentials whose origins in the provider files have changed. Their owners' requests fail until they
//! confirm, so the operator has to know early.
//!
//! Reads each routing table once; changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    files::Live,
    store::{Store, StoredField},
    table::Table,
};

/// Interval of polls for a new table.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of logged fields per table.
const MAX_LOGGED: usize = 20;

/// Polls until `stop` is cancelled.
pub(super) async fn watch(live: Arc<Live>, store: Store, stop: CancellationToken) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<Arc<Table>> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let table = live.snapshot();
        if seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &table)) {
            continue;
        }
        // On a store error, the next poll tries again. The store's other users report it.
        if let Ok(fields) = store.stored_fields().await {
            log_changes(&origin_changes(&table, &fields));
            seen = Some(table);
        }
    }
}

/// A field whose stored credentials would now go to new origins.
#[derive(Debug, PartialEq, Eq)]
struct OriginChange {
    credential: String,
    owners: u64,
    to: String,
}

fn log_changes(changes: &[OriginChange]) {
    for OriginChange { credential, owners, to } in changes.iter().take(MAX_LOGGED) {
        tracing::warn!(
            credential,
            owners,
            to,
            help = "each owner confirms with `POST /auth/creds/confirm`; for shared ones run `tollgate credential confirm`; or revert the files",
            "stored credentials are blocked: the files name origins that they were not saved for; requests get `credential_moved`"
        );
    }
    if let Some(more) = changes.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
        tracing::warn!(more, "further fields have blocked credentials");
    }
}

fn origin_changes(table: &Table, fields: &[StoredField]) -> Vec<OriginChange> {
    let mut used: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for provider in &table.providers {
        let Some(section) = &provider.section else { continue };
        for auth in &provider.auth {
            let origins = used.entry((&section.name, &auth.field)).or_default();
            origins.extend(provider.used.iter().map(|origin| &**origin));
        }
    }
    let one = |field: &StoredField| {
        let used = used.get(&(field.section.as_str(), field.field.as_str()))?;
        let new: Vec<&str> = used
            .iter()
            .copied()
            .filter(|origin| !field.origins.iter().any(|saved| saved == origin))
            .collect();
        let credential = format!("{}.{}", field.section, field.field);
        (!new.is_empty()).then(|| OriginChange { credential, owners: field.owners, to: new.join(", ") })
    };
    fields.iter().filter_map(one).collect()
}
