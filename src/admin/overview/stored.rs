//! The facts of the overview that come from the store. Reading them is bounded in time, and no dearer for many readers: they
//! share one result for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, time::timeout};

use super::{
    super::{Admin, Request},
    document::{OverviewDay, OverviewSetup},
};
use crate::{
    accounts::{StoredCredential, decrypt_credential, waiting},
    clock::now_ms,
    fault::Fault,
    fields::FieldKind,
    name::Owner,
    store::{StoreError, StoredField},
    table::Table,
};

/// The shortest time for which a result is shared.
const SHARED_FOR: Duration = Duration::from_secs(2);
/// A result is shared for so many times as long as it took to read it.
const COST: u32 = 20;
/// The longest time of a read.
const DEADLINE: Duration = Duration::from_secs(8);
/// The owners of shared credentials whose logins are read.
const MAX_OWNERS: usize = 100;
/// The owners whose values are read to know if their credentials wait for a confirmation.
const MAX_LOOKED_AT: u64 = 1000;
/// The origins of such credentials that are named.
const MAX_NEW: usize = 5;
/// A login that ends within this time is named.
const SOON_MS: u64 = 24 * 3_600_000;

/// Facts of the store.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) day: OverviewDay,
    pub(super) setup: OverviewSetup,
    pub(super) moved: Vec<MovedField>,
    pub(super) expiring: Vec<ExpiringLogin>,
}

/// A field whose stored credentials wait for a confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MovedField {
    /// Its `section.field`.
    pub(super) place: String,
    /// Owners that have it so.
    pub(super) owners: u64,
    /// The origins that it was not stored for.
    pub(super) to: Vec<String>,
}

/// A shared login that ends soon, and has no refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpiringLogin {
    pub(super) owner: Owner,
    /// Its `section.field`.
    pub(super) place: String,
    /// Its end, in milliseconds since 1970.
    pub(super) at_ms: u64,
}

/// The last result, for all readers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StoredFacts(Arc<Mutex<Option<Shared>>>);

#[derive(Debug)]
struct Shared {
    /// None if the read failed.
    facts: Option<Arc<Stored>>,
    until: Instant,
}

impl StoredFacts {
    /// The facts, read again if they are too old. None if the store cannot be read. Of several readers, one reads and the others
    /// wait.
    pub(super) async fn get(&self, admin: &Admin, request: &Request) -> Option<Arc<Stored>> {
        let mut shared = self.0.lock().await;
        if let Some(Shared { facts, until }) = &*shared
            && Instant::now() < *until
        {
            return facts.clone();
        }
        let begun = Instant::now();
        let read = timeout(DEADLINE, admin.stored_facts(request)).await;
        let facts = read.ok().and_then(Result::ok).map(Arc::new);
        let until = Instant::now() + SHARED_FOR.max(begun.elapsed() * COST);
        *shared = Some(Shared { facts: facts.clone(), until });
        facts
    }
}

impl Admin {
    async fn stored_facts(&self, request: &Request) -> Result<Stored, Fault> {
        let asked = Request { query: Some("since=24h&by=none&every=hour".to_owned()), ..request.clone() };
        let day = OverviewDay::new(self.usage_report(&asked, None).await?);
        let fault = super::super::store_fault;
        let fields = self.store.stored_fields().await.map_err(fault)?;
        let setup = OverviewSetup {
            users: !self.store.users_page(None, Some(1)).await.map_err(fault)?.is_empty(),
            credentials: !fields.is_empty(),
            exchanges: day.total.requests > 0 || self.store.last_exchange_number().await.map_err(fault)? > 0,
        };
        let owners = self.store.sharing_owners().await.map_err(fault)?;
        let shared = self.shared_logins(&owners, &request.table).await.map_err(fault)?;
        let mut all = moved(&request.table, &fields);
        all.extend(self.moved_by_values(&request.table, &fields).await.map_err(fault)?);
        Ok(Stored { day, setup, moved: all, expiring: shared })
    }

    /// The same of fields whose origins depend on values of their owners. Of many owners, it looks at the first ones.
    async fn moved_by_values(
        &self,
        table: &Table,
        fields: &[StoredField],
    ) -> Result<Vec<MovedField>, StoreError> {
        let is_made = |one: &&StoredField| has_made(table, one);
        let fields: Vec<_> = fields.iter().filter(is_made).cloned().collect();
        let found = waiting(&self.store, &self.key, &table.fields, &fields, None, MAX_LOOKED_AT).await?;
        let mut by_place: BTreeMap<String, (u64, BTreeSet<String>)> = BTreeMap::new();
        for (place, new) in found.owners.iter().flat_map(|owner| &owner.unconfirmed) {
            let (owners, to) = by_place.entry(place.clone()).or_default();
            *owners += 1;
            to.extend(new.added().take(MAX_NEW.saturating_sub(to.len())).map(str::to_owned));
        }
        let field = |(place, (owners, to)): (String, (u64, BTreeSet<String>))| MovedField {
            place,
            owners,
            to: to.into_iter().collect(),
        };
        Ok(by_place.into_iter().map(field).collect())
    }

    /// The shared logins that end soon.
    async fn shared_logins(&self, owners: &[Owner], table: &Table) -> Result<Vec<ExpiringLogin>, StoreError> {
        let (soon_ms, mut found) = (now_ms().saturating_add(SOON_MS), Vec::new());
        for owner in owners.iter().take(MAX_OWNERS) {
            for one in self.store.credentials(owner).await? {
                let field = table.fields.find(&one.section, &one.field);
                if !field.is_ok_and(|field| matches!(field.kind, FieldKind::OAuth2(_))) {
                    continue;
                }
                if let Ok(StoredCredential::OAuth { refresh_token: None, expires_at_ms: Some(at_ms), .. }) =
                    decrypt_credential(&self.key, &one)
                    && at_ms <= soon_ms
                {
                    let place = format!("{}.{}", one.section, one.field);
                    found.push(ExpiringLogin { owner: owner.clone(), place, at_ms });
                }
            }
        }
        Ok(found)
    }
}

/// The fields whose credentials the files lead to origins that they were not stored for.
fn moved(table: &Table, fields: &[StoredField]) -> Vec<MovedField> {
    let fields = fields.iter().filter(|one| !has_made(table, one));
    let one = |field: &StoredField| {
        let current = &table.fields.find(&field.section, &field.field).ok()?.origins;
        let new = current.iter().filter(|origin| !field.origins.contains(origin));
        let to: Vec<String> = new.cloned().collect();
        let place = format!("{}.{}", field.section, field.field);
        (!to.is_empty()).then_some(MovedField { place, owners: field.owners, to })
    };
    fields.filter_map(one).collect()
}

/// True for a field whose origins depend on values of its owner.
fn has_made(table: &Table, one: &StoredField) -> bool {
    table.fields.find(&one.section, &one.field).is_ok_and(|field| !field.made.is_empty())
}
