//! Authentication: finds the caller of a presented token. A worker's cache answers; a cold lookup is a message to the one
//! task on the control runtime that reads the store. `watch` runs beside it for cache invalidation.
//!
//! Every wait has a deadline and every queue a bound.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout_at,
};

use super::{
    Caller, CallerToken, MasterKey,
    cache::{Entries, Known, LocalCache, Recall, Remembered, TokenCache},
    credentials,
    directory::Directory,
    last_used::{self, Use},
    single_flight::{NoAnswer, Role},
    token::Candidates,
    watch::{StoreView, fill, watch},
};
use crate::{
    clock,
    name::AdminTokenId,
    store::{InvalidationCounter, StoreError, StoredAdminToken, TokenHash, TokenLookup},
};

/// Deadline of a lookup for an unknown caller.
const DEADLINE: Duration = Duration::from_secs(5);
/// Deadline of a lookup if a stale entry could serve.
const STALE_DEADLINE: Duration = Duration::from_millis(500);
const MAX_WAITING: usize = 1024;
const MAX_RUNNING: usize = 16;

/// The handle for authentication. Cheap to clone; each worker has one, and a [`LocalCache`].
#[derive(Debug, Clone)]
pub struct Authenticator {
    asks: mpsc::Sender<Ask>,
    /// Lookups of callers who were known. They go first, so that a flood of wrong tokens can neither delay known callers
    /// nor keep a revoked one alive.
    rechecks: mpsc::Sender<Ask>,
    /// Uses of tokens.
    used: mpsc::Sender<Use>,
    view: Arc<StoreView>,
}

/// The receiving end.
#[derive(Debug)]
struct Waiting {
    asks: mpsc::Receiver<Ask>,
    rechecks: mpsc::Receiver<Ask>,
    used: mpsc::Receiver<Use>,
}

#[derive(Debug)]
enum Ask {
    Caller { candidates: Candidates, reply: oneshot::Sender<Reply<Arc<Caller>>> },
    Admin { hash: TokenHash, reply: oneshot::Sender<Reply<Arc<AdminTokenId>>> },
}

type Reply<T> = Result<Answer<T>, StoreError>;

#[derive(Debug)]
struct Answer<T> {
    /// The candidate that is known, and its value.
    known: Option<(TokenHash, Known<T>)>,
    /// The invalidation version before the store was read.
    version: u64,
}

// === impl Authenticator ===

impl Authenticator {
    /// The handle, and the task for the control runtime, which ends with the last handle. While the store is down, known
    /// callers are served for `grace`.
    pub fn start<D: Directory>(
        directory: D,
        key: MasterKey,
        grace: Duration,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (accounts, waiting) = Self::new(directory.invalidations(), grace);
        let task = run(Arc::new(directory), key, waiting, Arc::clone(&accounts.view));
        (accounts, task)
    }

    fn new(invalidations: InvalidationCounter, grace: Duration) -> (Self, Waiting) {
        let (asks, waiting_asks) = mpsc::channel(MAX_WAITING);
        let (rechecks, waiting_rechecks) = mpsc::channel(MAX_WAITING);
        let (used, waiting_used) = last_used::channel();
        let view = StoreView::new(invalidations, grace);
        let accounts = Self { asks, rechecks, used, view: Arc::new(view) };
        (accounts, Waiting { asks: waiting_asks, rechecks: waiting_rechecks, used: waiting_used })
    }

    /// The caller with this token; `None` if the token is unknown. An error if the lookup failed.
    pub async fn authenticate(
        &self,
        cache: &LocalCache,
        presented: &str,
    ) -> Result<Option<Arc<Caller>>, StoreError> {
        let Some(candidates) = Candidates::of(presented) else { return Ok(None) };
        self.answer(&cache.callers, candidates, |candidates, reply| Ask::Caller { candidates, reply }).await
    }

    /// The admin token's id; `None` if it is unknown. No vendor's prefix is allowed.
    pub async fn authenticate_admin(
        &self,
        cache: &LocalCache,
        presented: &str,
    ) -> Result<Option<Arc<AdminTokenId>>, StoreError> {
        let Some(hash) = Candidates::exactly(presented) else { return Ok(None) };
        let ask = |hash: Candidates, reply| Ask::Admin { hash: hash.whole, reply };
        self.answer(&cache.admins, hash, ask).await
    }

    async fn answer<T: Remembered>(
        &self,
        memory: &TokenCache<T>,
        candidates: Candidates,
        ask: impl Fn(Candidates, oneshot::Sender<Reply<T>>) -> Ask,
    ) -> Result<Option<T>, StoreError> {
        let answer = self.recall_or_ask(memory, candidates, ask).await;
        for hash in lock(&memory.answers).take_used() {
            // If the queue is full, the next use reports it.
            let _ = self.used.try_send((hash, clock::now_ms()));
        }
        answer
    }

    async fn recall_or_ask<T: Remembered>(
        &self,
        memory: &TokenCache<T>,
        candidates: Candidates,
        ask: impl Fn(Candidates, oneshot::Sender<Reply<T>>) -> Ask,
    ) -> Result<Option<T>, StoreError> {
        let version = self.view.invalidations.current();
        let question = |candidates, queue, deadline| Query {
            candidates,
            version,
            queue,
            until: tokio::time::Instant::now() + deadline,
        };
        let recalled = lock(&memory.answers).recall(candidates, self.view.now());
        match recalled {
            Recall::Fresh(answer) => return Ok(answer),
            Recall::Stale(key, value) => {
                let known = candidates.only(key);
                match ask_once(memory, question(known, &self.rechecks, STALE_DEADLINE), &ask).await {
                    Ok(None) if known != candidates => {} // another one may be, by now
                    Ok(answer) => return Ok(answer),
                    Err(_) => {
                        lock(&memory.answers).pause(&key, Instant::now());
                        return Ok(Some(value));
                    }
                }
            }
            Recall::Unknown => {}
        }
        if !self.view.filter.lets_through(candidates, self.view.started.elapsed()) {
            return Ok(None);
        }
        ask_once(memory, question(candidates, &self.asks, DEADLINE), &ask).await
    }
}

/// A lookup to do.
#[derive(Debug, Clone, Copy)]
struct Query<'a> {
    candidates: Candidates,
    /// The minimum version: older results do not count.
    version: u64,
    queue: &'a mpsc::Sender<Ask>,
    until: tokio::time::Instant,
}

/// Does the lookup, or waits for the same one in flight.
async fn ask_once<T: Remembered>(
    memory: &TokenCache<T>,
    question: Query<'_>,
    ask: &impl Fn(Candidates, oneshot::Sender<Reply<T>>) -> Ask,
) -> Result<Option<T>, StoreError> {
    loop {
        match memory.flights.join(question.candidates, question.version) {
            Role::Ask(asking) => {
                let asked = send(question, ask).await.map(|answer| keep(memory, question.candidates, answer));
                asking.tell(asked.as_ref().map(Clone::clone).map_err(|_| NoAnswer));
                return asked;
            }
            Role::Wait(mut landed) => {
                let landed = timeout_at(question.until, landed.wait_for(Option::is_some)).await;
                let landed = landed.map_err(|_| StoreError::Unanswered)?;
                // If the leader has gone, this request joins again.
                if let Some(landed) = landed.ok().and_then(|landed| landed.clone()) {
                    // The leader's request logs the reason.
                    return landed.map_err(|NoAnswer| StoreError::Unanswered);
                }
            }
        }
    }
}

fn keep<T: Remembered>(memory: &TokenCache<T>, candidates: Candidates, answer: Answer<T>) -> Option<T> {
    let Answer { known, version } = answer;
    let value = known.as_ref().map(|(_, known)| known.value.clone());
    lock(&memory.answers).keep(candidates, known, version, Instant::now());
    value
}

async fn send<T>(
    question: Query<'_>,
    ask: &impl Fn(Candidates, oneshot::Sender<Reply<T>>) -> Ask,
) -> Reply<T> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        let ask = ask(question.candidates, reply);
        question.queue.send(ask).await.map_err(|_| StoreError::Unanswered)?;
        answer.await.map_err(|_| StoreError::Unanswered)?
    };
    timeout_at(question.until, asked).await.map_err(|_| StoreError::Unanswered)?
}

fn lock<T>(answers: &Mutex<Entries<T>>) -> MutexGuard<'_, Entries<T>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

// === the task ===

async fn run<D: Directory>(directory: Arc<D>, key: MasterKey, waiting: Waiting, view: Arc<StoreView>) {
    let Waiting { asks, rechecks, used } = waiting;
    let served = async {
        tokio::select! {
            () = serve(&directory, key, asks, rechecks) => {}
            () = watch(&*directory, &view) => {}
            () = fill(&*directory, &view.filter) => {}
        }
    };
    tokio::join!(served, last_used::note(&*directory, used));
}

/// Serves lookups until the last handle is gone.
async fn serve<D: Directory>(
    directory: &Arc<D>,
    key: MasterKey,
    mut asks: mpsc::Receiver<Ask>,
    mut rechecks: mpsc::Receiver<Ask>,
) {
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        if running.len() >= MAX_RUNNING {
            running.join_next().await;
        }
        let ask = tokio::select! {
            biased;
            Some(ask) = rechecks.recv() => ask,
            Some(ask) = asks.recv() => ask,
            else => return,
        };
        running.spawn(answer(Arc::clone(directory), key.clone(), ask));
    }
}

async fn answer<D: Directory>(directory: Arc<D>, key: MasterKey, ask: Ask) {
    let version = directory.invalidations().current();
    tracing::debug!("a token is looked up");
    // A receiver that is gone needs no reply.
    match ask {
        Ask::Caller { candidates, reply } if !reply.is_closed() => {
            let known = find_caller(&*directory, &key, candidates).await;
            let _ = reply.send(known.map(|known| Answer { known, version }));
        }
        Ask::Admin { hash, reply } if !reply.is_closed() => {
            let known = directory.find_admin_token(&hash).await.map(|found| found.map(admin));
            let known = known.map(|known| known.filter(|known| !known.expired(clock::now_ms())));
            let known = known.map(|known| known.map(|known| (hash, known)));
            let _ = reply.send(known.map(|known| Answer { known, version }));
        }
        Ask::Caller { .. } | Ask::Admin { .. } => {}
    }
}

fn admin(token: StoredAdminToken) -> Known<Arc<AdminTokenId>> {
    Known { value: Arc::new(token.id), expires_at_ms: token.expires_at_ms }
}

async fn find_caller(
    directory: &impl Directory,
    key: &MasterKey,
    candidates: Candidates,
) -> Result<Option<(TokenHash, Known<Arc<Caller>>)>, StoreError> {
    for hash in candidates.iter() {
        let found = match directory.lookup_token(&hash).await? {
            None if candidates.pasted && hash == candidates.whole => {
                directory.lookup_paste_token(&hash).await?
            }
            found => found,
        };
        let Some(found) = found else { continue };
        let expires_at_ms = found.token.expires_at_ms;
        let known = Known { value: found, expires_at_ms };
        if !known.expired(clock::now_ms()) {
            let value = Arc::new(open_caller(key, hash, known.value));
            return Ok(Some((hash, Known { value, expires_at_ms })));
        }
    }
    Ok(None)
}

/// Credentials that cannot be decrypted are left out, so that the others go on working.
fn open_caller(key: &MasterKey, hash: TokenHash, found: TokenLookup) -> Caller {
    let TokenLookup { user, token, credentials } = found;
    let (credentials, unreadable) = credentials::open_all(key, credentials);
    for credentials::Unreadable { section, field, reason } in unreadable {
        tracing::error!(user = %user.id, section, field, %reason, "decrypting a stored credential failed");
    }
    let token = CallerToken {
        id: token.id,
        hash,
        kind: token.kind,
        scopes: token.scopes,
        replaced: token.replaced_at_ms.is_some(),
        expires_at_ms: token.expires_at_ms,
        paste: token.paste,
    };
    let disabled = user.disabled_at_ms.is_some();
    Caller { id: user.id, name: user.name, group: user.group, disabled, token, credentials }
}

#[cfg(test)]
mod tests;
