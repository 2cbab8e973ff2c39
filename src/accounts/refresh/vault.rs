//! Logins as the store has them, opened, and the leases on them.

use std::future::Future;

use super::Place;
use crate::{
    accounts::{MasterKey, Stored, clock, people, seal, token::random},
    secret::Secret,
    store::{Resealing, SealedCredential, Store, StoreError, hex},
};

/// A login, and the sealed row that it came from.
#[derive(Debug, Clone)]
pub struct Login {
    /// What is sent.
    pub access_token: Secret,
    /// What gets the next access token.
    pub refresh_token: Option<Secret>,
    /// Until when the access token is good, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// The row.
    pub row: SealedCredential,
}

impl Login {
    /// Whether another row holds the same tokens: sealed anew, but not set anew.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.access_token == other.access_token && self.refresh_token == other.refresh_token
    }
}

/// What is asked of the store. A trait only so that tests can count and fail.
pub trait Vault: Send + Sync + 'static {
    /// What is stored at a place, if that is a login that opens.
    fn read(&self, place: &Place) -> impl Future<Output = Result<Option<Login>, StoreError>> + Send;
    /// Puts new tokens in the place of those of `old`, sealed for the same origins. False if `old` is not what
    /// is stored.
    fn replace(&self, old: &Login, new: &Stored) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Takes the lease on a place; false if another node has it.
    fn lease(&self, place: &Place, ms: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Gives it back.
    fn release(&self, place: &Place) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The store, with the key that opens what is in it.
#[derive(Debug)]
pub struct Vaults {
    store: Store,
    key: MasterKey,
    /// What this process is known by to other nodes.
    holder: String,
}

impl Vaults {
    /// Of this store.
    pub fn new(store: Store, key: MasterKey) -> Self {
        Self { store, key, holder: hex(&random::<8>()) }
    }
}

fn lease_name(Place { owner, section, field }: &Place) -> String {
    format!("refresh {owner} {section} {field}")
}
