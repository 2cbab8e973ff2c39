//! Master-key rotation while serving, in three steps:
//!
//! 1. The new key's file is written.
//! 2. The store records its id, and from then on accepts no blob of another key.
//! 3. Everything is re-encrypted in batches, each blob by compare-and-swap.
//!
//! A rotation can be interrupted at any point and resumed; both keys decrypt until its end. This module also binds
//! credentials to origins that were stored before origin binding existed.

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
    credentials::reencrypted,
    key::{self, NextKeyFile},
    unread_answer,
};
use crate::store::{DirLock, Store, StoreError};

/// Batch size: the store accepts no other change during a batch.
const BATCH: u64 = 200;
const ANSWER_BATCH: u64 = 20;

/// Progress or result of a rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RekeyProgress {
    /// The id of the new key.
    pub id: String,
    /// Number of re-encrypted credentials.
    pub credentials: u64,
    /// Number of unchanged credentials, since no key decrypts them.
    pub unreadable: u64,
    /// The state of the next key's file.
    #[serde(rename = "settled")]
    pub next_key_file: NextKeyFile,
}

/// Why a rotation is incomplete. Finished parts stay finished.
#[derive(Debug, Error)]
pub enum RekeyError {
    /// The keys do not fit.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another process changed the keys.
    #[error("another process replaced the master key meanwhile: try again")]
    Replaced,
    /// There is no rotation to resume.
    #[error("no rotation of the master key `{id}` is in progress: start one with `tollgate rekey`")]
    NotBegun {
        /// The id of the current key.
        id: String,
    },
}

impl From<StoreError> for RekeyError {
    fn from(error: StoreError) -> Self {
        Self::Key(error.into())
    }
}

/// Status of a server's rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RekeyStatus {
    /// Its state.
    pub state: RekeyState,
    /// Its progress.
    pub done: RekeyProgress,
    /// The problem that stopped it.
    pub problem: Option<String>,
}

/// State of a rotation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RekeyState {
    /// Not requested.
    #[default]
    Idle,
    /// Running.
    Running,
    /// Complete.
    Done,
    /// Stopped by a problem. Another request resumes it.
    Failed,
}

/// The handle for rotations of a running server.
#[derive(Debug, Clone)]
pub struct Rekeyer {
    requests: mpsc::Sender<Actor>,
    status: Arc<watch::Sender<RekeyStatus>>,
}

impl Rekeyer {
    /// The handle, and the task for the control runtime, which ends with the last handle. An interrupted rotation is
    /// resumed at once.
    pub fn start(
        store: Store,
        key: MasterKey,
        sources: KeySources,
        data_dir: PathBuf,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, receiver) = mpsc::channel(1);
        let status = Arc::new(watch::Sender::new(RekeyStatus::default()));
        let task = run(store, key, sources, data_dir, receiver, Arc::clone(&status));
        (Self { requests, status }, task)
    }

    /// Requests a rotation to the key in the next key's file. A running one satisfies the request.
    pub fn ask(&self, actor: Actor) -> RekeyStatus {
        let begin = |status: &mut RekeyStatus| {
            let begins = status.state != RekeyState::Running && self.requests.try_send(actor).is_ok();
            if begins {
                *status = RekeyStatus { state: RekeyState::Running, ..RekeyStatus::default() };
            }
            begins
        };
        self.status.send_if_modified(begin);
        self.status()
    }

    /// The status.
    pub fn status(&self) -> RekeyStatus {
        self.status.borrow().clone()
    }
}

async fn run(
    store: Store,
    key: MasterKey,
    sources: KeySources,
    data_dir: PathBuf,
    mut requests: mpsc::Receiver<Actor>,
    publish: Arc<watch::Sender<RekeyStatus>>,
) {
    let begun = store.key_ids().await.is_ok_and(|ids| ids.next.is_some());
    let mut next = if begun { Some(Actor::own()) } else { requests.recv().await };
    while let Some(actor) = next {
        let report = |done: &RekeyProgress| {
            let (state, done) = (RekeyState::Running, done.clone());
            publish.send_replace(RekeyStatus { state, done, problem: None });
        };
        report(&RekeyProgress::default());
        let status = match rekey(&store, &key, &sources, &data_dir, &actor, report).await {
            Ok(done) => {
                let RekeyProgress { id, credentials, unreadable, .. } = &done;
                tracing::info!(id, credentials, unreadable, "master-key rotation completed");
                RekeyStatus { state: RekeyState::Done, done, problem: None }
            }
            Err(error) => {
                tracing::error!(%error, "master-key rotation failed; another request resumes it");
                let done = publish.borrow().done.clone();
                RekeyStatus { state: RekeyState::Failed, done, problem: Some(error.to_string()) }
            }
        };
        publish.send_replace(status);
        next = requests.recv().await;
    }
}

/// Writes the next key's file: the key of a named file, or a new one. From then on the rotation can be resumed by anyone
/// with the current key.
pub async fn prepare_rekey(
    store: &Store,
    data_dir: &Path,
    from: Option<&Path>,
) -> Result<String, RekeyError> {
    let lock = DirLock::acquire(data_dir).await?;
    let ids = store.key_ids().await?;
    Ok(key::provide_next(&lock, data_dir, from, &ids)?.id())
}

/// Re-encrypts everything with the next key and makes it the current one. Calls `report` with the progress.
pub async fn rekey(
    store: &Store,
    key: &MasterKey,
    sources: &KeySources,
    data_dir: &Path,
    actor: &Actor,
    report: impl Fn(&RekeyProgress) + Send,
) -> Result<RekeyProgress, RekeyError> {
    let ids = store.key_ids().await?;
    let current = ids.current.unwrap_or_default();
    let next = key::next(data_dir)?.filter(|next| next.id() != current);
    let Some(next) = next else { return resume_clean_up(sources, data_dir, current).await };
    let ids = json!({ "from": current, "to": next.id() });
    let act = |action| actor.act(action, "master_key", ids.clone());
    if !store.begin_rekey(&current, &next.id(), &act("master_key.replace")).await? {
        return Err(RekeyError::Replaced);
    }
    key.replace_with(&next);
    let mut done = RekeyProgress { id: next.id(), ..RekeyProgress::default() };
    // The store refuses blobs of the old key from now on, so that one pass is enough.
    reencrypt_all(store, key, &mut done, report).await?;
    if !store.finish_rekey(&next.id(), &act("master_key.replaced")).await? {
        return Err(RekeyError::Replaced);
    }
    key.drop_previous();
    let lock = DirLock::acquire(data_dir).await?;
    done.next_key_file = key::clean_up_next_key_file(&lock, sources, data_dir, &next.id())?;
    Ok(done)
}

/// Without a key to rotate to, an earlier rotation may have failed at its last step, the cleanup of its file.
async fn resume_clean_up(
    sources: &KeySources,
    data_dir: &Path,
    current: String,
) -> Result<RekeyProgress, RekeyError> {
    let lock = DirLock::acquire(data_dir).await?;
    match key::clean_up_next_key_file(&lock, sources, data_dir, &current)? {
        NextKeyFile::Nothing => Err(RekeyError::NotBegun { id: current }),
        NextKeyFile::Waits { .. } => Err(key::not_moved_yet(data_dir, current).into()),
        next_key_file @ (NextKeyFile::InPlace { .. } | NextKeyFile::Given) => {
            Ok(RekeyProgress { id: current, next_key_file, ..RekeyProgress::default() })
        }
    }
}

async fn reencrypt_all(
    store: &Store,
    key: &MasterKey,
    done: &mut RekeyProgress,
    report: impl Fn(&RekeyProgress) + Send,
) -> Result<(), RekeyError> {
    let mut last = None;
    loop {
        let batch = store.credentials_after(last.as_ref(), BATCH).await?;
        let Some(end) = batch.last().cloned() else { break };
        last = Some(end);
        let mut swaps = Vec::new();
        for old in batch.into_iter().filter(|one| !key.encrypted(&one.sealed)) {
            if let Some(new) = reencrypted(key, &old, old.origins.clone()) {
                swaps.push((new, old.sealed));
            } else {
                let (owner, section, field) = (&old.owner, &old.section, &old.field);
                tracing::error!(%owner, section, field, "no key decrypts this credential; it is left unchanged");
                done.unreadable += 1;
            }
        }
        if !swaps.is_empty() {
            let swapped =
                store.swap_credentials(&swaps, &key.id(), None).await?.ok_or(RekeyError::Replaced)?;
            done.credentials += swapped;
        }
        report(done);
    }
    reencrypt_answers(store, key, done).await
}

/// The same for the kept answers of token endpoints, which are larger and rare.
async fn reencrypt_answers(
    store: &Store,
    key: &MasterKey,
    done: &mut RekeyProgress,
) -> Result<(), RekeyError> {
    let mut last = None;
    loop {
        let batch = store.kept_answers_after(last.as_ref(), ANSWER_BATCH).await?;
        let Some(end) = batch.last().cloned() else { return Ok(()) };
        last = Some(end);
        let mut swaps = Vec::new();
        for old in batch.into_iter().filter(|one| !key.encrypted(&one.sealed)) {
            if let Some(new) = unread_answer::reencrypted(key, &old) {
                swaps.push((new, old.sealed));
            } else {
                let (owner, section, field) = (&old.owner, &old.section, &old.field);
                tracing::error!(%owner, section, field, "no key decrypts a kept answer of this login; it is left unchanged");
                done.unreadable += 1;
            }
        }
        if !swaps.is_empty() {
            store.swap_answers(&swaps, &key.id()).await?.ok_or(RekeyError::Replaced)?;
        }
    }
}

/// Binds credentials of version 1 to the origins of their section and field. A credential that no file declares is bound
/// to none. Otherwise the first file to declare it would receive it. Returns the number of bound credentials.
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
                Some((reencrypted(&key, &old, Some(origins))?, old.sealed))
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
