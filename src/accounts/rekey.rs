//! Another master key takes the place of the one there is, while all goes on: its file first, then the store knows
//! its id and takes no blob of another, then all that the old one sealed is sealed anew, a batch at a time, and each
//! blob only if it is still the one that was read. Stopped at any point it goes on from there; both keys open until
//! the end.
//!
//! Also binds what was sealed before credentials had origins.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::{
    Actor, KeyError, KeySources, MasterKey,
    key::{self, Settled},
    seal::RowIdentity,
};
use crate::store::{DirLock, SealedCredential, Store, StoreError};

/// Blobs that are sealed anew at once: the store takes no other change meanwhile.
const BATCH: u64 = 200;

/// What has become of it so far, or in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rekeyed {
    /// The id of the new key.
    pub id: String,
    /// How many credentials were sealed anew.
    pub credentials: u64,
    /// How many are as they were, since no key opens them.
    pub unreadable: u64,
    /// Where the new key is.
    pub settled: Settled,
}

/// Why it has not come to its end. What was done stays done.
#[derive(Debug, Error)]
pub enum RekeyError {
    /// The keys are not what they have to be.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Somebody else has done something with the keys.
    #[error("the master key has been replaced meanwhile: try again")]
    Replaced,
    /// There is nothing to go on with.
    #[error("no master key is to take the place of `{id}`: `tollgate rekey` begins")]
    NotBegun {
        /// The id of the key there is.
        id: String,
    },
}

impl From<StoreError> for RekeyError {
    fn from(error: StoreError) -> Self {
        Self::Key(error.into())
    }
}

/// How it stands with a server's key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RekeyStatus {
    /// Where it is.
    pub state: RekeyState,
    /// What has become of it.
    pub done: Rekeyed,
    /// Why it has not come to its end.
    pub problem: Option<String>,
}

/// Where a change of the key is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RekeyState {
    /// Nobody has asked for one.
    #[default]
    Idle,
    /// On its way.
    Running,
    /// At its end.
    Done,
    /// Stopped by a problem: to ask again goes on from there.
    Failed,
}

/// The way to have a server change its key while it serves.
#[derive(Debug, Clone)]
pub struct Rekeyer {
    asks: mpsc::Sender<Actor>,
    status: Arc<watch::Sender<RekeyStatus>>,
}

impl Rekeyer {
    /// The handle, and what the control runtime runs until the last handle is gone. One that was begun before is
    /// gone on with at once.
    pub fn start(
        store: Store,
        key: MasterKey,
        sources: KeySources,
        data_dir: PathBuf,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (asks, asked) = mpsc::channel(1);
        let status = Arc::new(watch::Sender::new(RekeyStatus::default()));
        let task = run(store, key, sources, data_dir, asked, Arc::clone(&status));
        (Self { asks, status }, task)
    }

    /// Asks for one, whose key's file is there. One that is under way is the one that is asked for.
    pub fn ask(&self, actor: Actor) -> RekeyStatus {
        let begin = |status: &mut RekeyStatus| {
            let begins = status.state != RekeyState::Running && self.asks.try_send(actor).is_ok();
            if begins {
                *status = RekeyStatus { state: RekeyState::Running, ..RekeyStatus::default() };
            }
            begins
        };
        self.status.send_if_modified(begin);
        self.status()
    }

    /// How it stands.
    pub fn status(&self) -> RekeyStatus {
        self.status.borrow().clone()
    }
}

async fn run(
    store: Store,
    key: MasterKey,
    sources: KeySources,
    data_dir: PathBuf,
    mut asked: mpsc::Receiver<Actor>,
    tell: Arc<watch::Sender<RekeyStatus>>,
) {
    let begun = store.key_ids().await.is_ok_and(|ids| ids.next.is_some());
    let mut next = if begun { Some(Actor::own()) } else { asked.recv().await };
    while let Some(actor) = next {
        let told = |done: &Rekeyed| {
            let (state, done) = (RekeyState::Running, done.clone());
            tell.send_replace(RekeyStatus { state, done, problem: None });
        };
        told(&Rekeyed::default());
        let status = match rekey(&store, &key, &sources, &data_dir, &actor, told).await {
            Ok(done) => {
                let Rekeyed { id, credentials, unreadable, .. } = &done;
                tracing::info!(id, credentials, unreadable, "the master key was replaced");
                RekeyStatus { state: RekeyState::Done, done, problem: None }
            }
            Err(error) => {
                tracing::error!(%error, "the master key is not replaced yet");
                let done = tell.borrow().done.clone();
                RekeyStatus { state: RekeyState::Failed, done, problem: Some(error.to_string()) }
            }
        };
        tell.send_replace(status);
        next = asked.recv().await;
    }
}

/// Puts the next key into its file: that of another file if one is named, else a new one. From then on whoever has
/// the key there is can go on.
pub async fn prepare_rekey(
    store: &Store,
    data_dir: &Path,
    from: Option<&Path>,
) -> Result<String, RekeyError> {
    let lock = DirLock::acquire(data_dir).await?;
    let ids = store.key_ids().await?;
    Ok(key::provide_next(&lock, data_dir, from, &ids)?.id())
}

/// Seals all with the next key, whose file is there, and makes it the one there is. `told` hears how it goes on.
pub async fn rekey(
    store: &Store,
    key: &MasterKey,
    sources: &KeySources,
    data_dir: &Path,
    actor: &Actor,
    told: impl Fn(&Rekeyed) + Send,
) -> Result<Rekeyed, RekeyError> {
    let ids = store.key_ids().await?;
    let current = ids.current.unwrap_or_default();
    let next = key::next(data_dir)?.filter(|next| next.id() != current);
    let Some(next) = next else { return Err(RekeyError::NotBegun { id: current }) };
    let ids = json!({ "from": current, "to": next.id() });
    let act = |action| actor.act(action, "master_key", ids.clone());
    if !store.begin_rekey(&current, &next.id(), &act("master_key.replace")).await? {
        return Err(RekeyError::Replaced);
    }
    key.replace_with(&next);
    let mut done = Rekeyed { id: next.id(), ..Rekeyed::default() };
    // What was sealed by the old key before it gave way, and stored after, was refused: once is enough.
    reseal_all(store, key, &mut done, told).await?;
    if !store.finish_rekey(&next.id(), &act("master_key.replaced")).await? {
        return Err(RekeyError::Replaced);
    }
    key.drop_previous();
    let lock = DirLock::acquire(data_dir).await?;
    done.settled = key::settle(&lock, sources, data_dir, &next.id())?;
    Ok(done)
}

async fn reseal_all(
    store: &Store,
    key: &MasterKey,
    done: &mut Rekeyed,
    told: impl Fn(&Rekeyed) + Send,
) -> Result<(), RekeyError> {
    let mut last = None;
    loop {
        let batch = store.credentials_after(last.as_ref(), BATCH).await?;
        let Some(end) = batch.last().cloned() else { return Ok(()) };
        last = Some(end);
        let mut swaps = Vec::new();
        for old in batch.into_iter().filter(|one| !key.sealed(&one.sealed)) {
            if let Some(new) = resealed(key, &old, old.origins.clone()) {
                swaps.push((new, old.sealed));
            } else {
                let (owner, section, field) = (&old.owner, &old.section, &old.field);
                tracing::error!(%owner, section, field, "no key opens this credential: it stays as it is");
                done.unreadable += 1;
            }
        }
        if !swaps.is_empty() {
            let swapped =
                store.swap_credentials(&swaps, &key.id(), None).await?.ok_or(RekeyError::Replaced)?;
            done.credentials += swapped;
        }
        told(done);
    }
}

/// The same credential, sealed by the key that seals now, for these origins. None if it does not open.
fn resealed(
    key: &MasterKey,
    old: &SealedCredential,
    origins: Option<Vec<String>>,
) -> Option<SealedCredential> {
    let SealedCredential { owner, section, field, .. } = old;
    let place = |origins| RowIdentity { owner, section, field, origins };
    let plaintext = key.open(place(old.origins.as_deref()), &old.sealed).ok()?;
    let sealed = key.seal(place(origins.as_deref()), &plaintext);
    Some(SealedCredential { sealed, origins, ..old.clone() })
}

/// Binds what was sealed before credentials had origins to those that `origins` gives for its section and field: to
/// none where no file declares it, or whichever comes to do that would get it. How many were bound.
pub async fn bind_origins(
    store: &Store,
    key: &MasterKey,
    actor: &Actor,
    origins: impl Fn(&str, &str) -> Vec<String>,
) -> Result<u64, StoreError> {
    let (mut last, mut bound) = (None, 0);
    loop {
        let batch = store.unbound_credentials_after(last.as_ref(), BATCH).await?;
        let Some(end) = batch.last().cloned() else { return Ok(bound) };
        last = Some(end);
        let key = key.snapshot();
        let swaps: Vec<_> = batch
            .into_iter()
            .filter_map(|old| {
                let origins = origins(&old.section, &old.field);
                Some((resealed(&key, &old, Some(origins))?, old.sealed))
            })
            .collect();
        if !swaps.is_empty() {
            let act = actor.act("credentials.bind", "credentials", json!({ "count": swaps.len() }));
            bound += store.swap_credentials(&swaps, &key.id(), Some(&act)).await?.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests;
