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
    accounts::{MasterKey, WaitingOwners, section_and_field, waiting},
    files::Live,
    store::{Store, StoreError, StoredField},
    table::Table,
};

/// Interval of polls for a new table.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of logged fields per table.
const MAX_LOGGED: usize = 20;
/// Maximum number of named owners per field.
const MAX_NAMED: usize = 10;
/// The owners whose values are read to know if their credentials are blocked.
const MAX_LOOKED_AT: u64 = 1000;

/// Polls until `stop` is cancelled.
pub(super) async fn watch(live: Arc<Live>, store: Store, key: MasterKey, stop: CancellationToken) {
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
        if let Ok(changes) = read_changes(&store, &key, &table).await {
            log_changes(&changes);
            seen = Some(table);
        }
    }
}

async fn read_changes(
    store: &Store,
    key: &MasterKey,
    table: &Table,
) -> Result<Vec<OriginChange>, StoreError> {
    let (made, fixed): (Vec<_>, Vec<_>) =
        store.stored_fields().await?.into_iter().partition(|one| has_made(table, one));
    let found = waiting(store, key, &table.fields, &made, None, MAX_LOOKED_AT).await?;
    let mut changes = origin_changes(table, &fixed);
    if !changes.is_empty() {
        let owners = waiting(store, key, &table.fields, &fixed, None, MAX_LOOKED_AT).await?;
        for change in &mut changes {
            change.whose = whose(&owners, &change.credential);
        }
    }
    changes.extend(changes_by_values(table, &found));
    Ok(changes)
}

/// True for a field whose origins depend on values of its owner.
fn has_made(table: &Table, one: &StoredField) -> bool {
    table.fields.find(&one.section, &one.field).is_ok_and(|field| !field.made.is_empty())
}

/// The changes of fields whose origins depend on values of their owners.
fn changes_by_values(table: &Table, found: &WaitingOwners) -> Vec<OriginChange> {
    let used = used_origins(table);
    let is_used = |place: &str, origin: &str| {
        let (section, field) = section_and_field(place);
        let declared = table.fields.find(section, field);
        let is_fixed = declared.is_ok_and(|field| field.origins.iter().any(|one| one == origin));
        !is_fixed || used.get(&(section, field)).is_some_and(|used| used.contains(origin))
    };
    let mut by_place: BTreeMap<&str, (u64, BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for (place, moved) in found.owners.iter().flat_map(|owner| &owner.unconfirmed) {
        let mut new = moved.added().filter(|origin| is_used(place, origin)).peekable();
        if new.peek().is_some() {
            let (owners, from, to) = by_place.entry(place).or_default();
            *owners += 1;
            from.extend(moved.from.iter().map(String::as_str).take(MAX_LOGGED.saturating_sub(from.len())));
            to.extend(new.take(MAX_LOGGED.saturating_sub(to.len())));
        }
    }
    let joined = |origins: BTreeSet<&str>| origins.into_iter().collect::<Vec<_>>().join(", ");
    let change = |(place, (owners, from, to)): (&str, (u64, BTreeSet<&str>, BTreeSet<&str>))| OriginChange {
        credential: place.to_owned(),
        owners,
        whose: whose(found, place),
        from: joined(from),
        to: joined(to),
    };
    by_place.into_iter().map(change).collect()
}

/// The first owners of a field's credentials that wait.
fn whose(found: &WaitingOwners, place: &str) -> String {
    let waiting = found.owners.iter().filter(|owner| owner.unconfirmed.contains_key(place));
    waiting.take(MAX_NAMED).map(|one| one.owner.to_string()).collect::<Vec<_>>().join(", ")
}

/// A field whose stored credentials would now go to new origins.
#[derive(Debug, PartialEq, Eq)]
struct OriginChange {
    credential: String,
    /// The number of owners.
    owners: u64,
    /// The first of them.
    whose: String,
    from: String,
    to: String,
}

fn log_changes(changes: &[OriginChange]) {
    for OriginChange { credential, owners, whose, from, to } in changes.iter().take(MAX_LOGGED) {
        tracing::warn!(
            credential,
            owners,
            whose,
            from,
            to,
            help = "each owner confirms with `POST /auth/creds/confirm`; for shared ones run `tollgate credential confirm`; or revert the files",
            "stored credentials are blocked: the files name origins that they were not saved for; requests get `credential_moved`"
        );
    }
    if let Some(more) = changes.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
        tracing::warn!(more, "further fields have blocked credentials");
    }
}

/// The fixed origins that requests with a field reach, by section and field.
fn used_origins(table: &Table) -> BTreeMap<(&str, &str), BTreeSet<&str>> {
    let mut used: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for provider in &table.providers {
        let Some(section) = &provider.section else { continue };
        // A value that is no secret is bound to no origin.
        let bound = section.fields.iter().filter(|field| field.value.is_secret());
        for field in bound.filter(|field| provider.sends(&field.value.name)) {
            let origins = used.entry((&section.name, &field.value.name)).or_default();
            origins.extend(provider.used.fixed.iter().map(|origin| &**origin));
            let others = provider.endpoints.iter().filter_map(|endpoint| endpoint.origin.as_ref());
            origins.extend(others.flat_map(|other| &other.used.fixed).map(|origin| &**origin));
            let tokens = provider.tokens.iter();
            let tokens = tokens.filter(|token| token.is_made_from(section, &field.value.name));
            origins.extend(tokens.flat_map(|token| &token.origins.fixed).map(|origin| &**origin));
        }
    }
    used
}

fn origin_changes(table: &Table, fields: &[StoredField]) -> Vec<OriginChange> {
    let used = used_origins(table);
    let one = |field: &StoredField| {
        let used = used.get(&(field.section.as_str(), field.field.as_str()))?;
        let new: Vec<&str> = used
            .iter()
            .copied()
            .filter(|origin| !field.origins.iter().any(|saved| saved == origin))
            .collect();
        let credential = format!("{}.{}", field.section, field.field);
        (!new.is_empty()).then(|| OriginChange {
            credential,
            owners: field.owners,
            whose: String::new(),
            from: field.origins.join(", "),
            to: new.join(", "),
        })
    };
    fields.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bind, compile, name::FileName, syntax};

    const FILE: &str = r#"
title = "Demo"
base_url = "https://one.example"
path_prefix = "/demo"
credentials = { field = [{ name = "key" }, { name = "project", kind = "text" }] }
auth = [{ field = "key", set = { x-key = "{secret}", x-project = "{project}" } }]
endpoint.get = { method = "GET", path = "/get" }
"#;

    #[test]
    fn only_secrets_are_bound_to_origins() {
        let mut files = compile::Files::default();
        files.providers.insert(FileName::new("demo").unwrap(), syntax::parse(&"demo.toml".into(), FILE).0);
        let bound = bind::bind(&compile::compile(&files).providers[0], |_, _, _| None).0.unwrap();
        let table = Table::new(vec![Arc::new(bound)], Vec::new(), &[]);
        let check = |field: &str, origins: &[&str], expected: &[&str]| {
            let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
            let stored =
                StoredField { section: "providers.demo".into(), field: field.into(), origins, owners: 1 };
            let changes = origin_changes(&table, &[stored]);
            assert_eq!(changes.iter().map(|one| &*one.to).collect::<Vec<_>>(), expected, "{field}");
        };
        check("key", &["https://one.example"], &[]);
        check("key", &["https://two.example"], &["https://one.example"]);
        check("project", &[], &[]);
    }
}
