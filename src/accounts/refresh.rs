//! Refresh of OAuth logins, on the control runtime. A worker that needs another access token sends a message and waits.
//! Single flight: each login is refreshed by one task (`once`), however many wait. Failures lead to a backoff per login
//! and per token endpoint. New tokens that cannot be stored are kept in memory and retried.
//!
//! A waiter that leaves does not cancel the refresh, since the old refresh token may be spent already.

mod endpoint;
mod recent;
mod once;
mod login_store;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    task::{self, JoinError, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};

pub use self::{
    endpoint::{HttpTokenEndpoints, TokenEndpoint},
    login_store::{LoginStore, StoredLogins},
};
use self::{
    once::{Ended, Unsaved, once},
    recent::RecentTokens,
};
use super::oauth::{self, TokenEndpointError};
pub use crate::decide::{RefreshReason, WAIT_WHILE_GOOD};
use crate::{clock, decide::expires_within, name::Owner, origin::Origin, secret::Secret};

/// Deadline of a waiter: a little longer than a refresh by another node may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// Interval of retries for tokens that could not be stored.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
const MAX_WAITING: usize = 1024;
/// Maximum concurrent refreshes.
const MAX_RUNNING: usize = 64;
/// Maximum logins in backoff.
const MAX_BACKOFFS: usize = 10_000;
/// Maximum logins whose tokens could not be stored. Then no refresh starts.
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
    /// The login.
    pub credential: CredentialId,
    /// The version whose access token does not do.
    pub seen: TokenPair,
    /// The reason.
    pub reason: RefreshReason,
    /// The token endpoint.
    pub token_url: String,
    /// The client id there.
    pub client_id: String,
    /// Time before its expiry from which an access token counts as expired.
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

/// Why a refresh brought no access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefreshError {
    /// The token endpoint refused, or gave no valid response.
    #[error(transparent)]
    TokenEndpoint(#[from] TokenEndpointError),
    /// The login is in backoff after a failure.
    #[error("it failed a moment ago, and is not tried again yet")]
    Backoff,
    /// The login was refreshed a moment ago.
    #[error("it was refreshed a moment ago, and is not yet again")]
    Recent,
    /// The login has been removed.
    #[error("the login is gone")]
    NotFound,
    /// The login has no refresh token.
    #[error("the login has no refresh token")]
    NoRefreshToken,
    /// The login is not bound to the token endpoint that the files name now.
    #[error("the login was not stored for this token endpoint")]
    OriginMismatch,
    /// The store could not be read or written.
    #[error("the store does not answer")]
    Store,
    /// Another node's refresh takes too long, or too many refreshes are running.
    #[error("it takes too long")]
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

type Outcome = Result<Refreshed, RefreshError>;

/// The handle for refreshes. Cheap to clone; each worker has one.
#[derive(Debug, Clone)]
pub struct Refresher(mpsc::Sender<Ask>);

#[derive(Debug)]
struct Ask {
    wanted: RefreshRequest,
    reply: oneshot::Sender<Outcome>,
}

impl Refresher {
    /// The handle, and the task for the control runtime. The task ends after the last handle and all running refreshes.
    pub fn start(
        logins: impl LoginStore,
        endpoint: impl TokenEndpoint,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (asks, waiting) = mpsc::channel(MAX_WAITING);
        (Self(asks), Queue::new(logins, endpoint).run(waiting))
    }

    /// Gets another access token. Dropping the future does not cancel the refresh.
    pub async fn refresh(&self, wanted: RefreshRequest) -> Outcome {
        let patience = if wanted.reason == RefreshReason::Due { WAIT_WHILE_GOOD } else { DEADLINE };
        let asked = async {
            let (reply, answer) = oneshot::channel();
            self.0.send(Ask { wanted, reply }).await.map_err(|_| RefreshError::Timeout)?;
            answer.await.map_err(|_| RefreshError::Timeout)?
        };
        timeout(patience, asked).await.unwrap_or(Err(RefreshError::Timeout))
    }
}

/// The state of the task.
struct Queue<V, E> {
    logins: Arc<V>,
    endpoint: Arc<E>,
    /// Running refreshes and their waiters.
    waiting: HashMap<CredentialId, Waiting>,
    running: JoinSet<(RefreshRequest, Ended)>,
    backoffs: HashMap<CredentialId, Backoff>,
    /// Token endpoints in backoff, by URL.
    silent: HashMap<String, EndpointBackoff>,
    unsaved: HashMap<CredentialId, Unsaved>,
    obtained: RecentTokens,
}

/// A running refresh and its waiters.
#[derive(Debug)]
struct Waiting {
    task: task::Id,
    since: Instant,
    replies: Vec<oneshot::Sender<Outcome>>,
}

/// The backoff of a login after a failure.
#[derive(Debug)]
struct Backoff {
    /// The login that it happened to. Of another one it says nothing,
    login: TokenPair,
    /// nor of another place to refresh it,
    token_url: String,
    /// or as another client.
    client_id: String,
    /// How many there were in a row.
    failures: u32,
    outcome: RefreshError,
    /// Until when it is let alone; until another login is stored, if absent.
    until: Option<Instant>,
}

/// The backoff of a token endpoint that did not respond, for all its logins.
#[derive(Debug)]
struct EndpointBackoff {
    /// Failures in a row.
    failures: u32,
    /// Its end.
    until: Instant,
}

impl<V: LoginStore, E: TokenEndpoint> Queue<V, E> {
    fn new(logins: V, endpoint: E) -> Self {
        Self {
            logins: Arc::new(logins),
            endpoint: Arc::new(endpoint),
            waiting: HashMap::new(),
            running: JoinSet::new(),
            backoffs: HashMap::new(),
            silent: HashMap::new(),
            unsaved: HashMap::new(),
            obtained: RecentTokens::default(),
        }
    }

    async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        if let Err(error) = self.logins.drop_leases().await {
            tracing::warn!(%error, "dropping the leases of an earlier process failed; they expire by themselves");
        }
        let mut ticks = interval(SAVE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(ended) = self.running.join_next() => self.ended(ended),
                ask = asks.recv(), if self.running.len() < MAX_RUNNING => match ask {
                    Some(ask) => self.take(ask),
                    None => break,
                },
                _ = ticks.tick(), if !self.unsaved.is_empty() => self.save_again(),
            }
        }
        // Shutdown: running refreshes end, and unsaved tokens are stored in one more attempt.
        while let Some(ended) = self.running.join_next().await {
            self.ended(ended);
        }
        self.save_again();
        while self.running.join_next().await.is_some() {}
    }

    fn take(&mut self, Ask { wanted, reply }: Ask) {
        if reply.is_closed() {
            return;
        }
        if let Some(waiting) = self.waiting.get_mut(&wanted.credential) {
            if wanted.reason == RefreshReason::Due && waiting.since.elapsed() >= WAIT_WHILE_GOOD {
                let _ = reply.send(Err(RefreshError::Timeout));
            } else {
                waiting.replies.push(reply);
            }
            return;
        }
        let unsaved = self.unsaved.remove(&wanted.credential);
        if unsaved.is_none()
            && let Some(refused) = self.refusal(&wanted)
        {
            // A receiver that is gone needs no reply.
            let _ = reply.send(Err(refused));
            return;
        }
        self.begin(wanted, vec![reply], unsaved);
    }

    /// The reason not to try now, if any.
    fn refusal(&self, wanted: &RefreshRequest) -> Option<RefreshError> {
        if self.obtained.is_recent(wanted, Instant::now()) {
            return Some(RefreshError::Recent);
        }
        match self.backoffs.get(&wanted.credential) {
            Some(setback) if setback.holds(wanted) => return Some(setback.outcome),
            _ => {}
        }
        if self.silent.get(&wanted.token_url).is_some_and(|silence| Instant::now() < silence.until) {
            return Some(RefreshError::Backoff);
        }
        (self.unsaved.len() >= MAX_UNSAVED).then_some(RefreshError::Store)
    }

    fn begin(
        &mut self,
        wanted: RefreshRequest,
        replies: Vec<oneshot::Sender<Outcome>>,
        unsaved: Option<Unsaved>,
    ) {
        let place = wanted.credential.clone();
        let (logins, endpoint) = (Arc::clone(&self.logins), Arc::clone(&self.endpoint));
        let serving = self.obtained.serving(&wanted, Instant::now()).cloned();
        let running = self.running.spawn(async move {
            let ended = once(&*logins, &*endpoint, &wanted, serving, unsaved).await;
            (wanted, ended)
        });
        self.waiting.insert(place, Waiting { task: running.id(), since: Instant::now(), replies });
    }

    fn save_again(&mut self) {
        let room = MAX_RUNNING.saturating_sub(self.running.len());
        let places: Vec<CredentialId> = self.unsaved.keys().take(room).cloned().collect();
        for place in places {
            if let Some(unsaved) = self.unsaved.remove(&place) {
                self.begin(unsaved.wanted.clone(), Vec::new(), Some(unsaved));
            }
        }
    }

    fn ended(&mut self, ended: Result<(RefreshRequest, Ended), JoinError>) {
        match ended {
            Ok((wanted, ended)) => self.land(wanted, ended),
            // The task has panicked, which is logged. Its waiters get `Slow`; the next request starts a new refresh.
            Err(error) => self.waiting.retain(|_, waiting| waiting.task != error.id()),
        }
    }

    fn land(&mut self, wanted: RefreshRequest, Ended { outcome, obtained, refused, unsaved }: Ended) {
        for reply in self.waiting.remove(&wanted.credential).into_iter().flat_map(|waiting| waiting.replies) {
            let _ = reply.send(outcome.clone());
        }
        if let Some(unsaved) = unsaved {
            self.unsaved.insert(wanted.credential.clone(), unsaved);
        }
        let CredentialId { owner, section, field } = &wanted.credential;
        match &outcome {
            Ok(fresh) => {
                if obtained {
                    self.obtained.note(&wanted, fresh, Instant::now());
                }
                tracing::debug!(%owner, section, field, "a login was refreshed");
                self.backoffs.remove(&wanted.credential);
                self.silent.remove(&wanted.token_url);
            }
            Err(why) => {
                tracing::warn!(%owner, section, field, %why, "refreshing a login failed");
                if let (RefreshError::TokenEndpoint(why), Some(login)) = (*why, refused) {
                    self.back_off(wanted, login, why);
                }
            }
        }
    }

    fn back_off(&mut self, wanted: RefreshRequest, login: TokenPair, refused: TokenEndpointError) {
        let RefreshRequest { credential: place, token_url, client_id, .. } = wanted;
        if refused == TokenEndpointError::NoResponse {
            let before = self.silent.get(&token_url).map_or(0, |silence| silence.failures);
            let failures = before.saturating_add(1);
            let until = Instant::now() + oauth::pause(failures);
            self.silent.insert(token_url.clone(), EndpointBackoff { failures, until });
        }
        let before =
            self.backoffs.get(&place).filter(|before| before.login.access_token == login.access_token);
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        if self.backoffs.len() >= MAX_BACKOFFS {
            self.backoffs.retain(|_, setback| !setback.is_over());
            // Dropping one costs one more failing call.
            if let Some(any) =
                self.backoffs.keys().next().filter(|_| self.backoffs.len() >= MAX_BACKOFFS).cloned()
            {
                self.backoffs.remove(&any);
            }
        }
        let (outcome, until) = match refused {
            TokenEndpointError::Rejected => (refused.into(), None),
            _ => (RefreshError::Backoff, Some(Instant::now() + oauth::pause(failures))),
        };
        self.backoffs.insert(place, Backoff { login, token_url, client_id, failures, outcome, until });
    }
}

impl Backoff {
    /// True if the backoff applies to this request.
    fn holds(&self, wanted: &RefreshRequest) -> bool {
        let Self { login, token_url, client_id, .. } = self;
        (login, token_url, client_id) == (&wanted.seen, &wanted.token_url, &wanted.client_id)
            && self.until.is_none_or(|until| Instant::now() < until)
    }

    /// True if it ended so long ago that its count of failures does not matter any more.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until + oauth::MAX_BACKOFF < Instant::now())
    }
}

#[cfg(test)]
mod tests;
