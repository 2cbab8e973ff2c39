//! Refresh of OAuth logins, and making of tokens from stored fields, on the control runtime. A worker that needs another token
//! sends a message and waits. Single flight: one task gets it (`attempt`), and all its waiters get the result. After a
//! failure, a credential or a token endpoint is in `backoff`. New tokens that cannot be stored are kept in memory, and storing
//! them is retried.
//!
//! A waiter that leaves does not cancel the refresh, since the old refresh token may be spent already. A request may also
//! order a refresh for later requests, and not wait.

mod attempt;
mod backoff;
mod endpoint;
mod login_store;
mod making;
mod problems;
mod recent;
mod request;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

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
    making::{TokenMaking, TokenSource},
    problems::RefreshProblems,
    request::{CredentialId, LoginRefresh, RefreshError, RefreshHow, RefreshRequest, Refreshed, TokenPair},
};
pub use crate::decide::{RefreshReason, WAIT_WHILE_GOOD};
use crate::token::MadeFrom;

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
/// Maximum concurrent calls for made tokens of one credential: the present values, and those before a change.
const MAX_OF_CREDENTIAL: usize = 2;
/// Maximum concurrent calls for made tokens of one owner: others have the rest.
const MAX_OF_OWNER: usize = 16;
/// Maximum number of logins whose new tokens could not be stored. At the maximum, no refresh starts.
const MAX_UNSAVED: usize = 1_000;

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
    running: HashMap<Flight, RunningRefresh>,
    tasks: JoinSet<(RefreshRequest, Completed)>,
    backoffs: Backoffs,
    unsaved: HashMap<Flight, Unsaved>,
    recent: RecentTokens,
    problems: RefreshProblems,
}

/// The identity of a running refresh. Made tokens of other values or of another definition do not wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Flight {
    credential: CredentialId,
    made_from: Option<MadeFrom>,
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
            for flight in running.map(|(flight, _)| flight).chain(self.unsaved.keys()) {
                log_loss(flight);
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
                        let flight = request.flight();
                        self.running.remove(&flight);
                        if unsaved.is_some() {
                            log_loss(&flight);
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
        let flight = request.flight();
        if let Some(running) = self.running.get_mut(&flight) {
            if request.reason == RefreshReason::Due && running.since.elapsed() >= WAIT_WHILE_GOOD {
                send(reply, Err(RefreshError::Timeout));
            } else {
                running.replies.extend(reply);
            }
            return;
        }
        let unsaved = match self.unsaved.get(&flight) {
            // A made token serves from memory. Storing it is tried in intervals.
            Some(Unsaved::Token(held)) => {
                if let Some(fresh) = held.serving(&request) {
                    send(reply, Ok(fresh));
                    return;
                }
                self.unsaved.remove(&flight);
                None
            }
            Some(Unsaved::Login(_)) | None => self.unsaved.remove(&flight),
        };
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
        // Making a token spends nothing: one that cannot be kept is made again.
        match request.how {
            RefreshHow::Login(_) => {
                let is_login = |flight: &&Flight| flight.made_from.is_none();
                let held = self.unsaved.keys().filter(is_login).count();
                (held >= MAX_UNSAVED).then_some(RefreshError::Store)
            }
            RefreshHow::Token(_) => self.is_crowded(&request.credential).then_some(RefreshError::Timeout),
        }
    }

    /// True if as many calls for tokens of a credential, or of its owner, are running as one user may have: each new value of a
    /// field makes another token.
    fn is_crowded(&self, credential: &CredentialId) -> bool {
        let made = || self.running.keys().filter(|flight| flight.made_from.is_some());
        let of_credential = made().filter(|flight| flight.credential == *credential).count();
        let of_owner = made().filter(|flight| flight.credential.owner == credential.owner).count();
        of_credential >= MAX_OF_CREDENTIAL || of_owner >= MAX_OF_OWNER
    }

    fn start_attempt(
        &mut self,
        request: RefreshRequest,
        replies: Vec<oneshot::Sender<RefreshResult>>,
        unsaved: Option<Unsaved>,
    ) {
        let flight = request.flight();
        let (logins, endpoint) = (Arc::clone(&self.logins), Arc::clone(&self.endpoint));
        let serving = self.recent.serving(&request, Instant::now()).cloned();
        let sent = Arc::new(AtomicBool::new(unsaved.is_some()));
        let begun = Arc::clone(&sent);
        let task = self.tasks.spawn(async move {
            let ended = attempt(&*logins, &*endpoint, &request, serving, unsaved, &begun).await;
            (request, ended)
        });
        self.running.insert(flight, RunningRefresh { task, sent, since: Instant::now(), replies });
    }

    fn retry_saves(&mut self) {
        let room = MAX_RUNNING.saturating_sub(self.tasks.len());
        let flights: Vec<Flight> = self.unsaved.keys().take(room).cloned().collect();
        for flight in flights {
            if let Some(unsaved) = self.unsaved.remove(&flight) {
                self.start_attempt(unsaved.request().clone(), Vec::new(), Some(unsaved));
            }
        }
    }

    fn task_ended(&mut self, ended: Result<(RefreshRequest, Completed), JoinError>) {
        match ended {
            Ok((request, ended)) => self.complete(&request, ended),
            // The task has panicked, which is logged. Its waiters get `Timeout`; the next request starts a new refresh.
            Err(error) => self.running.retain(|_, running| running.task.id() != error.id()),
        }
    }

    fn complete(
        &mut self,
        request: &RefreshRequest,
        Completed { outcome, obtained, refused, unsaved }: Completed,
    ) {
        let flight = request.flight();
        for reply in self.running.remove(&flight).into_iter().flat_map(|running| running.replies) {
            send(Some(reply), outcome.clone());
        }
        if let Some(unsaved) = unsaved
            && (self.unsaved.len() < MAX_UNSAVED || flight.made_from.is_none())
        {
            self.unsaved.insert(flight, unsaved);
        }
        self.problems.note(&request.credential, outcome.as_ref().err().copied(), Instant::now());
        log_outcome(request, &outcome);
        match &outcome {
            Ok(fresh) => {
                // Storing what was obtained before says nothing about the token endpoint.
                if obtained {
                    self.recent.insert(request, fresh, Instant::now());
                    self.backoffs.clear(request);
                }
            }
            Err(why) => {
                if let Some(version) = refused {
                    self.backoffs.fail(request, version, *why, Instant::now());
                }
            }
        }
    }
}

fn log_outcome(request: &RefreshRequest, outcome: &RefreshResult) {
    let CredentialId { owner, section, field } = &request.credential;
    let provider = &request.provider;
    match (outcome, &request.how) {
        (Ok(_), RefreshHow::Login(_)) => {
            tracing::debug!(provider, %owner, section, field, "a login was refreshed");
        }
        (Ok(_), RefreshHow::Token(_)) => {
            tracing::debug!(provider, %owner, section, field, "a token was made");
        }
        (Err(why), RefreshHow::Login(_)) => {
            tracing::warn!(provider, %owner, section, field, %why, "refreshing a login failed");
        }
        (Err(why), RefreshHow::Token(_)) => {
            tracing::warn!(provider, %owner, section, field, %why, "making a token failed");
        }
    }
}

/// Logs new tokens of a login that are lost. With a made token nothing is lost: the next process makes another one.
fn log_loss(Flight { credential, made_from }: &Flight) {
    let CredentialId { owner, section, field } = credential;
    if made_from.is_none() {
        tracing::error!(%owner, section, field, "new tokens of a login could not be stored, and are lost: store the login again");
    }
}

/// A receiver that is gone needs no reply.
fn send(reply: Option<oneshot::Sender<RefreshResult>>, result: RefreshResult) {
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

#[cfg(test)]
mod tests;
