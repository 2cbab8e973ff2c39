//! Authentication: finds the caller that a token belongs to. A worker looks into its cache first, then into the entries
//! that all workers share. On a cache miss, it sends a message to the lookup task on the control runtime, which reads the
//! store. `watch` invalidates the caches.
//!
//! Every wait has a deadline, and every queue a bound. Read next: `cache`, `single_flight`, `watch`.

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
    cache::{CacheResult, Cached, Entries, Known, LocalCache, SharedEntries, TokenCache},
    credentials,
    directory::Directory,
    last_used::{self, Use},
    single_flight::{LookupFailed, Role},
    token::{Candidate, Candidates, Shape},
    watch::{StoreView, Watcher, fill, watch},
};
use crate::{
    clock,
    name::AdminTokenId,
    rewrite::TokenPart,
    store::{InvalidationCounter, StoreError, StoredAdminToken, TokenHash, TokenLookup},
};

/// Deadline of a lookup for an unknown caller.
const DEADLINE: Duration = Duration::from_secs(5);
/// Deadline of a lookup if a stale entry could serve.
const STALE_DEADLINE: Duration = Duration::from_millis(500);
/// Capacity of each queue.
const QUEUE: usize = 1024;
/// Maximum concurrent lookups.
const MAX_RUNNING: usize = 16;

/// The handle for authentication. Cheap to clone; each worker has one, and a [`LocalCache`].
#[derive(Debug, Clone)]
pub struct Authenticator {
    lookups: mpsc::Sender<LookupRequest>,
    /// Lookups for stale cache entries. They have priority, so that a flood of wrong tokens neither delays known
    /// callers nor delays the revocation of a token.
    rechecks: mpsc::Sender<LookupRequest>,
    /// Uses of tokens.
    used: mpsc::Sender<Use>,
    view: Arc<StoreView>,
}

/// The state of the store, readable by any thread without a lookup.
#[derive(Debug, Clone)]
pub struct StoreHealth(Arc<StoreView>);

impl StoreHealth {
    /// True if the last poll of the store succeeded.
    pub fn responds(&self) -> bool {
        self.0.responds()
    }

    /// The time since the last poll that succeeded; since the start, if none has.
    pub fn silence(&self) -> Duration {
        self.0.now().silence()
    }
}

/// An authenticated request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// The caller.
    pub caller: Arc<Caller>,
    /// The part of the presented text that is the caller's token.
    pub part: TokenPart,
}

/// The receiving end.
#[derive(Debug)]
struct Receivers {
    lookups: mpsc::Receiver<LookupRequest>,
    rechecks: mpsc::Receiver<LookupRequest>,
    used: mpsc::Receiver<Use>,
}

#[derive(Debug)]
enum LookupRequest {
    Caller { candidates: Candidates, reply: oneshot::Sender<LookupReply<Arc<Caller>>> },
    Admin { candidates: Candidates, reply: oneshot::Sender<LookupReply<Arc<AdminTokenId>>> },
}

type LookupReply<T> = Result<LookupResult<T>, StoreError>;

#[derive(Debug)]
struct LookupResult<T> {
    /// The first candidate that is known, and its value.
    known: Option<(Candidate, Known<T>)>,
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
        let (authenticator, receivers) = Self::new(directory.invalidations(), grace);
        let task = run(Arc::new(directory), key, receivers, Arc::clone(&authenticator.view));
        (authenticator, task)
    }

    fn new(invalidations: InvalidationCounter, grace: Duration) -> (Self, Receivers) {
        let (lookups, lookups_receiver) = mpsc::channel(QUEUE);
        let (rechecks, rechecks_receiver) = mpsc::channel(QUEUE);
        let (used, used_receiver) = last_used::channel();
        let view = StoreView::new(invalidations, grace);
        let authenticator = Self { lookups, rechecks, used, view: Arc::new(view) };
        (
            authenticator,
            Receivers { lookups: lookups_receiver, rechecks: rechecks_receiver, used: used_receiver },
        )
    }

    /// The state of the store, as the polls for changes see it.
    pub fn store_health(&self) -> StoreHealth {
        StoreHealth(Arc::clone(&self.view))
    }

    /// The caller with this token; `None` if the token is unknown. An error if the lookup failed.
    pub async fn authenticate(
        &self,
        cache: &LocalCache,
        presented: &str,
    ) -> Result<Option<Authenticated>, StoreError> {
        let Some(candidates) = Candidates::of(presented) else { return Ok(None) };
        let request = |candidates, reply| LookupRequest::Caller { candidates, reply };
        let caches = Caches { own: &cache.callers, shared: &self.view.callers };
        let found = self.resolve(caches, candidates, request).await?;
        Ok(found.map(|caller| {
            let part = candidates.part(&caller.token.hash);
            Authenticated { caller, part }
        }))
    }

    /// The caller with this session; `None` if the session is unknown.
    pub async fn authenticate_session(
        &self,
        cache: &LocalCache,
        presented: &str,
    ) -> Result<Option<Authenticated>, StoreError> {
        let Some(candidates) = Candidates::session(presented) else { return Ok(None) };
        let request = |candidates, reply| LookupRequest::Caller { candidates, reply };
        let caches = Caches { own: &cache.callers, shared: &self.view.callers };
        let found = self.resolve(caches, candidates, request).await?;
        Ok(found.map(|caller| Authenticated { caller, part: TokenPart::Whole }))
    }

    /// The id of an admin's session; `None` if the session is unknown.
    pub async fn authenticate_admin_session(
        &self,
        cache: &LocalCache,
        presented: &str,
    ) -> Result<Option<Arc<AdminTokenId>>, StoreError> {
        let Some(candidates) = Candidates::session(presented) else { return Ok(None) };
        let request = |candidates, reply| LookupRequest::Admin { candidates, reply };
        self.resolve(Caches { own: &cache.admins, shared: &self.view.admins }, candidates, request).await
    }

    /// The admin token's id; `None` if it is unknown. Unlike a user's token, it cannot have a vendor's prefix.
    pub async fn authenticate_admin(
        &self,
        cache: &LocalCache,
        presented: &str,
    ) -> Result<Option<Arc<AdminTokenId>>, StoreError> {
        let Some(candidates) = Candidates::exactly(presented) else { return Ok(None) };
        let request = |candidates, reply| LookupRequest::Admin { candidates, reply };
        self.resolve(Caches { own: &cache.admins, shared: &self.view.admins }, candidates, request).await
    }

    async fn resolve<T: Cached>(
        &self,
        caches: Caches<'_, T>,
        candidates: Candidates,
        request: impl Fn(Candidates, oneshot::Sender<LookupReply<T>>) -> LookupRequest,
    ) -> Result<Option<T>, StoreError> {
        let found = self.find(caches, candidates, request).await;
        for hash in lock(&caches.own.entries).take_used() {
            // If the queue is full, the next use reports it.
            let _ = self.used.try_send((hash, clock::now_ms()));
        }
        found
    }

    async fn find<T: Cached>(
        &self,
        caches: Caches<'_, T>,
        candidates: Candidates,
        request: impl Fn(Candidates, oneshot::Sender<LookupReply<T>>) -> LookupRequest,
    ) -> Result<Option<T>, StoreError> {
        let version = self.view.invalidations.current();
        let query = |candidates, queue, deadline| Query {
            candidates,
            version,
            queue,
            until: tokio::time::Instant::now() + deadline,
        };
        let seen = self.cached(caches, candidates);
        caches.own.counts.add(&seen);
        match seen {
            CacheResult::Hit(found) => return Ok(found),
            CacheResult::Stale(key, value) => {
                let known = Candidates::only(key);
                let deadline = if value.is_some() { STALE_DEADLINE } else { DEADLINE };
                match lookup_once(caches, query(known, &self.rechecks, deadline), &request).await {
                    Ok(None) if known != candidates => {} // another candidate may be known by now
                    Ok(found) => return Ok(found),
                    Err(error) => {
                        // A change meanwhile may be a revocation.
                        let unchanged = |value: &T| value.changed(&self.view.invalidations) <= version;
                        let value = value.filter(unchanged).ok_or(error)?;
                        lock(&caches.own.entries).back_off(&key, Instant::now());
                        return Ok(Some(value));
                    }
                }
            }
            CacheResult::Miss => {}
        }
        if !self.view.filter.allows_lookup(candidates, self.view.started.elapsed()) {
            return Ok(None);
        }
        lookup_once(caches, query(candidates, &self.lookups, DEADLINE), &request).await
    }

    /// The worker's own entry if it is fresh, else the newest one. Wrong tokens hardly ever get to the shared entries.
    fn cached<T: Cached>(&self, caches: Caches<'_, T>, candidates: Candidates) -> CacheResult<T> {
        let own = lock(&caches.own.entries).get(candidates, self.view.now());
        match own {
            CacheResult::Hit(found) => return CacheResult::Hit(found),
            CacheResult::Miss if !self.view.filter.may_contain(candidates) => return CacheResult::Miss,
            CacheResult::Stale(..) | CacheResult::Miss => {}
        }
        let Some(shared) = caches.shared.find(candidates) else { return own };
        let mut entries = lock(&caches.own.entries);
        if entries.adopt(shared) { entries.get(candidates, self.view.now()) } else { own }
    }
}

/// The cache of a worker, and the entries that all workers share.
#[derive(Debug)]
struct Caches<'c, T> {
    own: &'c TokenCache<T>,
    shared: &'c SharedEntries<T>,
}

impl<T> Clone for Caches<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Caches<'_, T> {}

/// A lookup, and the queue and deadline for it.
#[derive(Debug, Clone, Copy)]
struct Query<'a> {
    candidates: Candidates,
    /// The current invalidation version. A lookup in flight of an older version is not joined.
    version: u64,
    queue: &'a mpsc::Sender<LookupRequest>,
    until: tokio::time::Instant,
}

/// Single flight: does the lookup, or waits for the same one in flight.
async fn lookup_once<T: Cached>(
    caches: Caches<'_, T>,
    query: Query<'_>,
    request: &impl Fn(Candidates, oneshot::Sender<LookupReply<T>>) -> LookupRequest,
) -> Result<Option<T>, StoreError> {
    loop {
        match caches.own.single_flight.join(query.candidates, query.version) {
            Role::Leader(leader) => {
                let result =
                    send(query, request).await.map(|result| store_result(caches, query.candidates, result));
                leader.publish(result.as_ref().map(Clone::clone).map_err(|_| LookupFailed));
                return result;
            }
            Role::Follower(mut result) => {
                let result = timeout_at(query.until, result.wait_for(Option::is_some)).await;
                let result = result.map_err(|_| StoreError::Unanswered)?;
                // If the leader has gone, this request joins again.
                if let Some(result) = result.ok().and_then(|result| result.clone()) {
                    // The leader's request logs the reason.
                    return result.map_err(|LookupFailed| StoreError::Unanswered);
                }
            }
        }
    }
}

fn store_result<T: Cached>(
    caches: Caches<'_, T>,
    candidates: Candidates,
    result: LookupResult<T>,
) -> Option<T> {
    let LookupResult { known, version } = result;
    let (value, now) = (known.as_ref().map(|(_, known)| known.value.clone()), Instant::now());
    caches.shared.insert(candidates, known.as_ref(), version, now);
    lock(&caches.own.entries).insert(candidates, known, version, now);
    value
}

async fn send<T>(
    query: Query<'_>,
    request: &impl Fn(Candidates, oneshot::Sender<LookupReply<T>>) -> LookupRequest,
) -> LookupReply<T> {
    let (reply, response) = oneshot::channel();
    let replied = async {
        let request = request(query.candidates, reply);
        query.queue.send(request).await.map_err(|_| StoreError::Unanswered)?;
        response.await.map_err(|_| StoreError::Unanswered)?
    };
    timeout_at(query.until, replied).await.map_err(|_| StoreError::Unanswered)?
}

fn lock<T>(entries: &Mutex<Entries<T>>) -> MutexGuard<'_, Entries<T>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

// === the task ===

async fn run<D: Directory>(directory: Arc<D>, key: MasterKey, receivers: Receivers, view: Arc<StoreView>) {
    let Receivers { lookups, rechecks, used } = receivers;
    let serving = async {
        // Nothing is looked up before the first poll: it could not tell which changes such an entry has seen.
        let mut watcher = Watcher::default();
        watcher.poll(&*directory, &view).await;
        tokio::select! {
            () = serve(&directory, key, lookups, rechecks) => {}
            () = watch(watcher, &*directory, &view) => {}
            () = fill(&*directory, &view.filter) => {}
        }
    };
    tokio::join!(serving, last_used::collect(&*directory, used));
}

/// Serves lookups until the last handle is gone.
async fn serve<D: Directory>(
    directory: &Arc<D>,
    key: MasterKey,
    mut lookups: mpsc::Receiver<LookupRequest>,
    mut rechecks: mpsc::Receiver<LookupRequest>,
) {
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        if running.len() >= MAX_RUNNING {
            running.join_next().await;
        }
        let request = tokio::select! {
            biased;
            Some(request) = rechecks.recv() => request,
            Some(request) = lookups.recv() => request,
            else => return,
        };
        running.spawn(handle(Arc::clone(directory), key.clone(), request));
    }
}

async fn handle<D: Directory>(directory: Arc<D>, key: MasterKey, request: LookupRequest) {
    let version = directory.invalidations().current();
    tracing::debug!("looking up a token in the store");
    // A receiver that is gone needs no reply.
    match request {
        LookupRequest::Caller { candidates, reply } if !reply.is_closed() => {
            let known = find_caller(&*directory, &key, candidates).await;
            let _ = reply.send(known.map(|known| LookupResult { known, version }));
        }
        LookupRequest::Admin { candidates, reply } if !reply.is_closed() => {
            let known = find_admin(&*directory, candidates).await;
            let _ = reply.send(known.map(|known| LookupResult { known, version }));
        }
        LookupRequest::Caller { .. } | LookupRequest::Admin { .. } => {}
    }
}

async fn find_admin(
    directory: &impl Directory,
    candidates: Candidates,
) -> Result<Option<(Candidate, Known<Arc<AdminTokenId>>)>, StoreError> {
    for candidate in candidates.iter() {
        let found = match candidate.shape {
            Shape::Gateway => directory.find_admin_token(&candidate.hash).await?,
            Shape::Session => directory.find_admin_session(&candidate.hash).await?,
            Shape::Paste => None,
        };
        let Some(StoredAdminToken { id, expires_at_ms, .. }) = found else { continue };
        let known = Known { value: Arc::new(id), expires_at_ms };
        if !known.expired(clock::now_ms()) {
            return Ok(Some((candidate, known)));
        }
    }
    Ok(None)
}

async fn find_caller(
    directory: &impl Directory,
    key: &MasterKey,
    candidates: Candidates,
) -> Result<Option<(Candidate, Known<Arc<Caller>>)>, StoreError> {
    for candidate in candidates.iter() {
        let found = match candidate.shape {
            Shape::Gateway => directory.lookup_token(&candidate.hash).await?,
            Shape::Paste => directory.lookup_paste_token(&candidate.hash).await?,
            Shape::Session => directory.lookup_session(&candidate.hash).await?,
        };
        let Some(found) = found else { continue };
        let expires_at_ms = found.token.expires_at_ms;
        let known = Known { value: found, expires_at_ms };
        if !known.expired(clock::now_ms()) {
            let value = Arc::new(decrypted_caller(key, candidate.hash, known.value));
            return Ok(Some((candidate, Known { value, expires_at_ms })));
        }
    }
    Ok(None)
}

/// Credentials that cannot be decrypted are left out, so that the others go on working.
fn decrypted_caller(key: &MasterKey, hash: TokenHash, found: TokenLookup) -> Caller {
    let TokenLookup { user, token, credentials, session_of } = found;
    let (credentials, unreadable) = credentials::decrypt_all(key, credentials);
    for credentials::Unreadable { section, field, reason } in &unreadable {
        tracing::error!(user = %user.id, section, field, %reason, "decrypting a stored credential failed");
    }
    let unreadable = unreadable.into_iter().map(|one| one.section.into()).collect();
    let token = CallerToken {
        id: token.id,
        hash,
        kind: token.kind,
        scopes: token.scopes,
        replaced: token.replaced_at_ms.is_some(),
        expires_at_ms: token.expires_at_ms,
        paste: token.paste,
        session_of,
    };
    let disabled = user.disabled_at_ms.is_some();
    Caller { id: user.id, name: user.name, group: user.group, disabled, token, credentials, unreadable }
}

#[cfg(test)]
mod tests;
