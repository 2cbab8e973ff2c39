//! Who presents this token? A worker's cache answers; what it does not know goes as a message to the
//! one task that touches the store, on the control runtime. That task also watches for changes that
//! other processes make. Every wait here has a deadline, every queue a bound.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout, timeout_at},
};

use super::{
    Caller, CallerToken, MasterKey,
    cache::{Answers, Known, LocalCache, Memory, Now, Recall},
    clock,
    flight::{NoAnswer, Turn},
    people,
    token::Candidates,
};
use crate::name::AdminTokenId;
use crate::store::{AdminToken, Found, FoundToken, Generation, Store, StoreError, TokenHash, TokenKind};

/// How often we ask whether another process has changed the store.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long we wait for the answer to that.
const POLL_DEADLINE: Duration = Duration::from_millis(500);
/// How long a caller that is not known waits for the store.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a caller waits whom we could serve without the store.
const STALE_DEADLINE: Duration = Duration::from_millis(500);
const MAX_WAITING: usize = 1024;
const MAX_RUNNING: usize = 16;

/// What is asked of the store. A trait only so that tests can count and fail.
pub trait Directory: Send + Sync + 'static {
    /// See [`Store::lookup_token`].
    fn lookup_token(
        &self,
        hash: &TokenHash,
    ) -> impl Future<Output = Result<Option<Found>, StoreError>> + Send;
    /// See [`Store::find_admin_token`].
    fn find_admin_token(
        &self,
        hash: &TokenHash,
    ) -> impl Future<Output = Result<Option<AdminToken>, StoreError>> + Send;
    /// See [`Store::data_version`].
    fn data_version(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// See [`Store::generation`].
    fn generation(&self) -> Generation;
}

impl Directory for Store {
    async fn lookup_token(&self, hash: &TokenHash) -> Result<Option<Found>, StoreError> {
        self.lookup_token(hash).await
    }

    async fn find_admin_token(&self, hash: &TokenHash) -> Result<Option<AdminToken>, StoreError> {
        self.find_admin_token(hash).await
    }

    async fn data_version(&self) -> Result<i64, StoreError> {
        self.data_version().await
    }

    fn generation(&self) -> Generation {
        self.generation()
    }
}

/// The way to ask who somebody is. Cheap to clone; each worker has one, and a `LocalCache`.
#[derive(Debug, Clone)]
pub struct Accounts {
    asks: mpsc::Sender<Ask>,
    /// About callers who were known. They go first, so that a flood of wrong tokens can neither hold up
    /// known callers nor keep a revoked one alive.
    rechecks: mpsc::Sender<Ask>,
    pulse: Arc<Pulse>,
}

/// The other end of it.
#[derive(Debug)]
struct Waiting {
    asks: mpsc::Receiver<Ask>,
    rechecks: mpsc::Receiver<Ask>,
}

/// What the workers see of the store without asking.
#[derive(Debug)]
struct Pulse {
    generation: Generation,
    started: Instant,
    /// When the store last answered a poll, in milliseconds since `started`.
    confirmed_ms: AtomicU64,
}

#[derive(Debug)]
enum Ask {
    Caller { candidates: Candidates, reply: oneshot::Sender<Reply<Arc<Caller>>> },
    Admin { hash: TokenHash, reply: oneshot::Sender<Reply<Arc<AdminTokenId>>> },
}

type Reply<T> = Result<Answer<T>, StoreError>;

#[derive(Debug)]
struct Answer<T> {
    /// Which of the candidates is known, and as what.
    known: Option<(TokenHash, Known<T>)>,
    /// The generation before the store was read.
    generation: u64,
}

// === impl Accounts ===

impl Accounts {
    /// The handle, and what the control runtime runs until the last handle is gone.
    pub fn start<D: Directory>(
        directory: D,
        key: MasterKey,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (accounts, waiting) = Self::new(directory.generation());
        let task = run(Arc::new(directory), key, waiting, Arc::clone(&accounts.pulse));
        (accounts, task)
    }

    fn new(generation: Generation) -> (Self, Waiting) {
        let (asks, waiting_asks) = mpsc::channel(MAX_WAITING);
        let (rechecks, waiting_rechecks) = mpsc::channel(MAX_WAITING);
        let pulse = Pulse { generation, started: Instant::now(), confirmed_ms: AtomicU64::new(0) };
        let accounts = Self { asks, rechecks, pulse: Arc::new(pulse) };
        (accounts, Waiting { asks: waiting_asks, rechecks: waiting_rechecks })
    }

    /// Who presents this token; `None` if nobody known. An error only if that could not be found out.
    pub async fn authenticate(
        &self,
        cache: &LocalCache,
        presented: &str,
    ) -> Result<Option<Arc<Caller>>, StoreError> {
        let Some(candidates) = Candidates::of(presented) else { return Ok(None) };
        self.answer(&cache.callers, candidates, |candidates, reply| Ask::Caller { candidates, reply }).await
    }

    /// Which admin token this is; exactly, without a vendor's prefix.
    pub async fn authenticate_admin(
        &self,
        cache: &LocalCache,
        presented: &str,
    ) -> Result<Option<Arc<AdminTokenId>>, StoreError> {
        let Some(hash) = Candidates::exactly(presented) else { return Ok(None) };
        let ask = |hash: Candidates, reply| Ask::Admin { hash: hash.whole, reply };
        self.answer(&cache.admins, hash, ask).await
    }

    async fn answer<T: Clone>(
        &self,
        memory: &Memory<T>,
        candidates: Candidates,
        ask: impl Fn(Candidates, oneshot::Sender<Reply<T>>) -> Ask,
    ) -> Result<Option<T>, StoreError> {
        let now = self.pulse.now();
        let question = |candidates, queue, deadline| Question {
            candidates,
            generation: now.generation,
            queue,
            until: tokio::time::Instant::now() + deadline,
        };
        let recalled = lock(&memory.answers).recall(candidates, now);
        match recalled {
            Recall::Fresh(answer) => return Ok(answer),
            Recall::Stale(key, value) => {
                let known = Candidates::one(key);
                match ask_once(memory, question(known, &self.rechecks, STALE_DEADLINE), &ask).await {
                    Ok(None) if known != candidates => {} // another one may be, by now
                    Ok(answer) => return Ok(answer),
                    Err(_) => {
                        lock(&memory.answers).pause(Instant::now());
                        return Ok(Some(value));
                    }
                }
            }
            Recall::Unknown => {}
        }
        ask_once(memory, question(candidates, &self.asks, DEADLINE), &ask).await
    }
}

/// What to ask of the store, and how.
#[derive(Debug, Clone, Copy)]
struct Question<'a> {
    candidates: Candidates,
    /// No answer from before this generation will do.
    generation: u64,
    queue: &'a mpsc::Sender<Ask>,
    until: tokio::time::Instant,
}

/// Asks, or waits for the answer to who has asked the same.
async fn ask_once<T: Clone>(
    memory: &Memory<T>,
    question: Question<'_>,
    ask: &impl Fn(Candidates, oneshot::Sender<Reply<T>>) -> Ask,
) -> Result<Option<T>, StoreError> {
    loop {
        match memory.flights.join(question.candidates, question.generation) {
            Turn::Ask(asking) => {
                let asked = send(question, ask).await.map(|answer| keep(memory, question.candidates, answer));
                asking.tell(asked.as_ref().map(Clone::clone).map_err(|_| NoAnswer));
                return asked;
            }
            Turn::Wait(mut landed) => {
                let landed = timeout_at(question.until, landed.wait_for(Option::is_some)).await;
                let landed = landed.map_err(|_| StoreError::Unanswered)?;
                // If who asked has gone away, this one goes on.
                if let Some(landed) = landed.ok().and_then(|landed| landed.clone()) {
                    // Why not is in the log, with the request that asked.
                    return landed.map_err(|NoAnswer| StoreError::Unanswered);
                }
            }
        }
    }
}

fn keep<T: Clone>(memory: &Memory<T>, candidates: Candidates, answer: Answer<T>) -> Option<T> {
    let Answer { known, generation } = answer;
    let value = known.as_ref().map(|(_, known)| known.value.clone());
    lock(&memory.answers).keep(candidates, known, generation, Instant::now());
    value
}

async fn send<T>(
    question: Question<'_>,
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

fn lock<T>(answers: &Mutex<Answers<T>>) -> MutexGuard<'_, Answers<T>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Pulse ===

impl Pulse {
    fn now(&self) -> Now {
        let confirmed = Duration::from_millis(self.confirmed_ms.load(Ordering::Relaxed));
        Now {
            at: Instant::now(),
            wall_ms: clock::now_ms(),
            generation: self.generation.current(),
            confirmed: self.started + confirmed,
        }
    }

    fn confirm(&self, at: Instant) {
        let elapsed = at.saturating_duration_since(self.started).as_millis();
        self.confirmed_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

// === the task ===

async fn run<D: Directory>(directory: Arc<D>, key: MasterKey, waiting: Waiting, pulse: Arc<Pulse>) {
    tokio::select! {
        () = serve(&directory, key, waiting) => {}
        () = watch(&*directory, &pulse) => {}
    }
}

/// Answers until the last handle is gone.
async fn serve<D: Directory>(directory: &Arc<D>, key: MasterKey, mut waiting: Waiting) {
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        if running.len() >= MAX_RUNNING {
            running.join_next().await;
        }
        let ask = tokio::select! {
            biased;
            Some(ask) = waiting.rechecks.recv() => ask,
            Some(ask) = waiting.asks.recv() => ask,
            else => return,
        };
        running.spawn(answer(Arc::clone(directory), key.clone(), ask));
    }
}

/// Raises the generation when another process has changed the store, or may have. Never ends.
async fn watch(directory: &impl Directory, pulse: &Pulse) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watcher = Watcher::default();
    loop {
        ticks.tick().await;
        watcher.poll(directory, pulse).await;
    }
}

#[derive(Debug, Default)]
struct Watcher {
    version: Option<i64>,
    failing: bool,
}

impl Watcher {
    async fn poll(&mut self, directory: &impl Directory, pulse: &Pulse) {
        let asked = Instant::now();
        let answered = timeout(POLL_DEADLINE, directory.data_version()).await;
        match answered.unwrap_or(Err(StoreError::Unanswered)) {
            Ok(version) => {
                // The first one is a change too: what was read before it has no date.
                if self.version.replace(version) != Some(version) {
                    pulse.generation.raise();
                }
                pulse.confirm(asked);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the store answers again");
                }
            }
            Err(error) => {
                // Whether something has changed is not known. So all is looked up again, by whom that
                // still works for: a token revoked meanwhile must not stay good.
                pulse.generation.raise();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the store does not answer; known callers are served on");
                }
            }
        }
    }
}

async fn answer<D: Directory>(directory: Arc<D>, key: MasterKey, ask: Ask) {
    let generation = directory.generation().current();
    // Whoever no longer waits has gone: there is nobody to tell.
    match ask {
        Ask::Caller { candidates, reply } if !reply.is_closed() => {
            let known = find_caller(&*directory, &key, candidates).await;
            let _ = reply.send(known.map(|known| Answer { known, generation }));
        }
        Ask::Admin { hash, reply } if !reply.is_closed() => {
            let known = directory.find_admin_token(&hash).await.map(|found| found.map(admin));
            let known = known.map(|known| known.filter(|known| !known.expired(clock::now_ms())));
            let known = known.map(|known| known.map(|known| (hash, known)));
            let _ = reply.send(known.map(|known| Answer { known, generation }));
        }
        Ask::Caller { .. } | Ask::Admin { .. } => {}
    }
}

fn admin(token: AdminToken) -> Known<Arc<AdminTokenId>> {
    Known { value: Arc::new(token.id), expires_at_ms: token.expires_at_ms }
}

async fn find_caller(
    directory: &impl Directory,
    key: &MasterKey,
    candidates: Candidates,
) -> Result<Option<(TokenHash, Known<Arc<Caller>>)>, StoreError> {
    for hash in candidates.iter() {
        let Some(found) = directory.lookup_token(&hash).await? else { continue };
        let expires_at_ms = found.token.expires_at_ms();
        let known = Known { value: found, expires_at_ms };
        if !known.expired(clock::now_ms()) {
            let value = Arc::new(open_caller(key, hash, known.value));
            return Ok(Some((hash, Known { value, expires_at_ms })));
        }
    }
    Ok(None)
}

/// What cannot be opened is left out, so that a user's other credentials go on working.
fn open_caller(key: &MasterKey, hash: TokenHash, found: Found) -> Caller {
    let Found { user, token, credentials } = found;
    let (credentials, unreadable) = people::open_all(key, credentials);
    for people::Unreadable { section, field, reason } in unreadable {
        tracing::error!(user = %user.id, section, field, %reason, "a stored credential cannot be opened");
    }
    let expires_at_ms = token.expires_at_ms();
    let token = match token {
        FoundToken::Own(token) => CallerToken {
            id: Some(token.id),
            hash,
            kind: token.kind,
            scopes: token.scopes,
            replaced: token.replaced_at_ms.is_some(),
            expires_at_ms,
            paste: None,
        },
        FoundToken::Paste { provider, .. } => CallerToken {
            id: None,
            hash,
            kind: TokenKind::Proxy,
            scopes: None,
            replaced: false,
            expires_at_ms,
            paste: Some(provider),
        },
    };
    let disabled = user.disabled_at_ms.is_some();
    Caller { id: user.id, name: user.name, group: user.group, disabled, token, credentials }
}

#[cfg(test)]
mod tests;
