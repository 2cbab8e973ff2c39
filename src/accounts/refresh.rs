//! Refresh of OAuth logins, on the control runtime. A worker that needs another access token sends a message and waits.
//! Single flight: one task refreshes a login (`attempt`), and all its waiters get the result. After a failure, a login or
//! a token endpoint is in `backoff`. New tokens that cannot be stored are kept in memory, and storing them is retried.
//!
//! A waiter that leaves does not cancel the refresh, since the old refresh token may be spent already. A request may also
//! order a refresh for later requests, and not wait.

mod attempt;
mod backoff;
mod endpoint;
mod login_store;
mod problems;
mod recent;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::{AbortHandle, JoinError, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    attempt::{Completed, Unsaved, attempt},
    backoff::Backoffs,
    recent::RecentTokens,
};
pub use self::{
    endpoint::{HttpTokenEndpoints, TokenEndpoint},
    login_store::{LoginStore, StoredLogins},
    problems::RefreshProblems,
};
use super::oauth::TokenEndpointError;
pub use crate::decide::{RefreshReason, WAIT_WHILE_GOOD};
use crate::{clock, decide::expires_within, name::Owner, origin::Origin, secret::Secret};

/// Deadline of a waiter: slightly longer than the longest wait for another process's lease.
const DEADLINE: Duration = Duration::from_secs(15);
/// Interval of retries for tokens that could not be stored.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum duration of the shutdown: enough for a call and for storing its result.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(12);
/// Capacity of the queue of requests.
const QUEUE: usize = 1024;
/// Maximum concurrent refreshes.
const MAX_RUNNING: usize = 64;
/// Maximum number of logins whose new tokens could not be stored. At the maximum, no refresh starts.
const MAX_UNSAVED: usize = 1_000;

/// The identity of a stored login.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CredentialId {
    /// Its owner.
    pub owner: Owner,
    /// Its section.
    pub section: String,
    /// Its field.
    pub field: String,
}

/// The two tokens of a login. They identify its version, however it is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// The access token.
    pub access_token: Secret,
    /// The refresh token.
    pub refresh_token: Secret,
}

/// A request for another access token than the one that was seen.
#[derive(Debug, Clone)]
pub struct RefreshRequest {
    /// The name of the provider whose request needs it.
    pub provider: String,
    /// The login.
    pub credential: CredentialId,
    /// The tokens that have to be replaced.
    pub seen: TokenPair,
    /// The reason to replace them.
    pub reason: RefreshReason,
    /// The token endpoint.
    pub token_url: String,
    /// The client id there.
    pub client_id: String,
    /// An access token is due for a refresh this long before it expires.
    pub refresh_before: Duration,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// The token.
    pub access_token: Secret,
    /// Its expiry, in milliseconds since 1970, if known.
    pub expires_at_ms: Option<u64>,
    /// The origins that its login is bound to.
    pub origins: Vec<String>,
}

impl RefreshRequest {
    /// True if an access token with this expiry has to be refreshed.
    fn is_due(&self, expires_at_ms: Option<u64>) -> bool {
        expires_within(expires_at_ms, clock::now_ms(), self.refresh_before)
    }

    /// The origin of the token endpoint, as credentials are bound to it.
    fn origin(&self) -> Option<String> {
        Origin::split(&self.token_url).ok().map(|(origin, _)| origin.to_string())
    }
}

/// The reason why a refresh returned no access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefreshError {
    /// The token endpoint refused, or gave no valid response.
    #[error(transparent)]
    TokenEndpoint(#[from] TokenEndpointError),
    /// The login is in backoff after a failure.
    #[error("an earlier refresh failed; the backoff has not ended")]
    Backoff,
    /// The login was refreshed a moment ago.
    #[error("the login was refreshed only a moment ago")]
    Recent,
    /// The login has been removed.
    #[error("the login was removed")]
    NotFound,
    /// The login has no refresh token.
    #[error("the login has no refresh token")]
    NoRefreshToken,
    /// The login is not bound to the token endpoint that the files name now.
    #[error("the login is not bound to this token endpoint")]
    OriginMismatch,
    /// The store could not be read or written.
    #[error("the store did not respond")]
    Store,
    /// The refresh, in this process or another, takes too long, or too many others are running.
    #[error("the refresh did not finish in time")]
    Timeout,
}

impl RefreshError {
    /// True if a later refresh of the same login may succeed.
    pub fn is_retryable(self) -> bool {
        !matches!(
            self,
            Self::TokenEndpoint(TokenEndpointError::Rejected)
                | Self::NotFound
                | Self::NoRefreshToken
                | Self::OriginMismatch
        )
    }
}

type RefreshResult = Result<Refreshed, RefreshError>;

/// The handle for refreshes. Cheap to clone; each worker has one.
#[derive(Debug, Clone)]
pub struct Refresher {
    messages: mpsc::Sender<Message>,
    problems: RefreshProblems,
}

#[derive(Debug)]
struct Message {
    request: RefreshRequest,
    /// None if nobody waits.
    reply: Option<oneshot::Sender<RefreshResult>>,
}

impl Refresher {
    /// The handle, and the task for the control runtime. The task ends once the last handle is gone or `stop` is cancelled,
    /// and the running refreshes have ended.
    pub fn start(
        logins: impl LoginStore,
        endpoint: impl TokenEndpoint,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (messages, receiver) = mpsc::channel(QUEUE);
        let task = RefreshTask::new(logins, endpoint);
        (Self { messages, problems: task.problems.clone() }, task.run(receiver, stop))
    }

    /// The logins whose last refresh failed.
    pub fn problems(&self) -> &RefreshProblems {
        &self.problems
    }

    /// Gets another access token. Dropping the future does not cancel the refresh.
    pub async fn refresh(&self, request: RefreshRequest) -> RefreshResult {
        let deadline = if request.reason == RefreshReason::Due { WAIT_WHILE_GOOD } else { DEADLINE };
        let refreshed = async {
            let (reply, response) = oneshot::channel();
            self.messages
                .send(Message { request, reply: Some(reply) })
                .await
                .map_err(|_| RefreshError::Timeout)?;
            response.await.map_err(|_| RefreshError::Timeout)?
        };
        timeout(deadline, refreshed).await.unwrap_or(Err(RefreshError::Timeout))
    }

    /// Orders a refresh for later requests, and does not wait. If the queue is full, the next request orders it again.
    pub fn order(&self, request: RefreshRequest) {
        if let Err(TrySendError::Full(Message { request, .. })) =
            self.messages.try_send(Message { request, reply: None })
        {
            let CredentialId { owner, section, field } = &request.credential;
            tracing::warn!(%owner, section, field, "too many refreshes are waiting: a refused login was not refreshed");
        }
    }
}

/// The state of the task.
struct RefreshTask<V, E> {
    logins: Arc<V>,
    endpoint: Arc<E>,
    /// Running refreshes and their waiters.
    running: HashMap<CredentialId, RunningRefresh>,
    tasks: JoinSet<(RefreshRequest, Completed)>,
    backoffs: Backoffs,
    unsaved: HashMap<CredentialId, Unsaved>,
    recent: RecentTokens,
    problems: RefreshProblems,
}

/// A running refresh and its waiters.
#[derive(Debug)]
struct RunningRefresh {
    task: AbortHandle,
    /// True once its refresh token may be spent.
    sent: Arc<AtomicBool>,
    since: Instant,
    replies: Vec<oneshot::Sender<RefreshResult>>,
}

impl<V: LoginStore, E: TokenEndpoint> RefreshTask<V, E> {
    fn new(logins: V, endpoint: E) -> Self {
        Self {
            logins: Arc::new(logins),
            endpoint: Arc::new(endpoint),
            running: HashMap::new(),
            tasks: JoinSet::new(),
            backoffs: Backoffs::default(),
            unsaved: HashMap::new(),
            recent: RecentTokens::default(),
            problems: RefreshProblems::default(),
        }
    }

    async fn run(mut self, mut messages: mpsc::Receiver<Message>, stop: CancellationToken) {
        if let Err(error) = self.logins.drop_leases().await {
            tracing::warn!(%error, "releasing the leases of an earlier process failed; they expire by themselves");
        }
        let mut ticks = interval(SAVE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // An immediate shutdown also ends the last caller, which must not hide it.
                biased;
                () = stop.cancelled() => {
                    self.abort_unsent();
                    break;
                }
                Some(ended) = self.tasks.join_next() => self.task_ended(ended),
                _ = ticks.tick(), if !self.unsaved.is_empty() => self.retry_saves(),
                message = messages.recv(), if self.tasks.len() < MAX_RUNNING => match message {
                    Some(message) => self.accept(message),
                    None => break,
                },
            }
        }
        if timeout(SHUTDOWN_DEADLINE, self.shut_down()).await.is_err() {
            let running = self.running.iter().filter(|(_, running)| running.sent.load(Ordering::Relaxed));
            for id in running.map(|(id, _)| id).chain(self.unsaved.keys()) {
                log_loss(id);
            }
        }
    }

    /// Ends the refreshes that have sent no refresh token: nothing is lost with them.
    fn abort_unsent(&mut self) {
        self.running.retain(|_, running| {
            let sent = running.sent.load(Ordering::Relaxed);
            if !sent {
                running.task.abort();
            }
            sent
        });
        if !self.running.is_empty() {
            tracing::info!(refreshes = self.running.len(), "waiting for the refreshes that have begun");
        }
    }

    /// Running refreshes end, and unsaved tokens are stored in one more attempt.
    async fn shut_down(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            self.task_ended(ended);
        }
        while !self.unsaved.is_empty() {
            self.retry_saves();
            while let Some(ended) = self.tasks.join_next().await {
                match ended {
                    Ok((request, Completed { unsaved, .. })) => {
                        self.running.remove(&request.credential);
                        if unsaved.is_some() {
                            log_loss(&request.credential);
                        }
                    }
                    Err(error) => self.running.retain(|_, running| running.task.id() != error.id()),
                }
            }
        }
    }

    fn accept(&mut self, Message { request, reply }: Message) {
        // A login that its upstream refuses is refreshed, whether its client waits or not.
        if request.reason != RefreshReason::Refused && reply.as_ref().is_some_and(oneshot::Sender::is_closed)
        {
            return;
        }
        if let Some(running) = self.running.get_mut(&request.credential) {
            if request.reason == RefreshReason::Due && running.since.elapsed() >= WAIT_WHILE_GOOD {
                send(reply, Err(RefreshError::Timeout));
            } else {
                running.replies.extend(reply);
            }
            return;
        }
        let unsaved = self.unsaved.remove(&request.credential);
        if unsaved.is_none()
            && let Some(error) = self.reason_to_skip(&request)
        {
            send(reply, Err(error));
            return;
        }
        self.start_attempt(request, Vec::from_iter(reply), unsaved);
    }

    /// The reason not to try now, if any.
    fn reason_to_skip(&self, request: &RefreshRequest) -> Option<RefreshError> {
        if self.recent.is_recent(request, Instant::now()) {
            return Some(RefreshError::Recent);
        }
        if let Some(error) = self.backoffs.error(request, Instant::now()) {
            return Some(error);
        }
        (self.unsaved.len() >= MAX_UNSAVED).then_some(RefreshError::Store)
    }

    fn start_attempt(
        &mut self,
        request: RefreshRequest,
        replies: Vec<oneshot::Sender<RefreshResult>>,
        unsaved: Option<Unsaved>,
    ) {
        let credential = request.credential.clone();
        let (logins, endpoint) = (Arc::clone(&self.logins), Arc::clone(&self.endpoint));
        let serving = self.recent.serving(&request, Instant::now()).cloned();
        let sent = Arc::new(AtomicBool::new(unsaved.is_some()));
        let begun = Arc::clone(&sent);
        let task = self.tasks.spawn(async move {
            let ended = attempt(&*logins, &*endpoint, &request, serving, unsaved, &begun).await;
            (request, ended)
        });
        self.running.insert(credential, RunningRefresh { task, sent, since: Instant::now(), replies });
    }

    fn retry_saves(&mut self) {
        let room = MAX_RUNNING.saturating_sub(self.tasks.len());
        let credentials: Vec<CredentialId> = self.unsaved.keys().take(room).cloned().collect();
        for credential in credentials {
            if let Some(unsaved) = self.unsaved.remove(&credential) {
                self.start_attempt(unsaved.request.clone(), Vec::new(), Some(unsaved));
            }
        }
    }

    fn task_ended(&mut self, ended: Result<(RefreshRequest, Completed), JoinError>) {
        match ended {
            Ok((request, ended)) => self.complete(request, ended),
            // The task has panicked, which is logged. Its waiters get `Timeout`; the next request starts a new refresh.
            Err(error) => self.running.retain(|_, running| running.task.id() != error.id()),
        }
    }

    fn complete(
        &mut self,
        request: RefreshRequest,
        Completed { outcome, obtained, refused, unsaved }: Completed,
    ) {
        for reply in self.running.remove(&request.credential).into_iter().flat_map(|running| running.replies)
        {
            send(Some(reply), outcome.clone());
        }
        if let Some(unsaved) = unsaved {
            self.unsaved.insert(request.credential.clone(), unsaved);
        }
        self.problems.note(&request.credential, outcome.as_ref().err().copied(), Instant::now());
        let CredentialId { owner, section, field } = &request.credential;
        match &outcome {
            Ok(fresh) => {
                if obtained {
                    self.recent.insert(&request, fresh, Instant::now());
                }
                tracing::debug!(%owner, section, field, "a login was refreshed");
                self.backoffs.clear(&request);
            }
            Err(why) => {
                tracing::warn!(%owner, section, field, %why, "refreshing a login failed");
                if let (RefreshError::TokenEndpoint(error), Some(tokens)) = (*why, refused) {
                    self.backoffs.fail(request, tokens, error, Instant::now());
                }
            }
        }
    }
}

fn log_loss(CredentialId { owner, section, field }: &CredentialId) {
    tracing::error!(%owner, section, field, "new tokens of a login could not be stored, and are lost: store the login again");
}

/// A receiver that is gone needs no reply.
fn send(reply: Option<oneshot::Sender<RefreshResult>>, result: RefreshResult) {
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

#[cfg(test)]
mod tests;
