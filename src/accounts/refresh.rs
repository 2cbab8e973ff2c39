//! Keeping OAuth logins alive. A worker that meets one about to expire asks here, over a message to the control
//! runtime, where each login is refreshed by one task at a time, whoever waits for it; `once` is that task. A
//! login that failed is let alone for a while; new tokens that cannot be stored are kept until they can.
//!
//! Whoever asks may go away: the refresh goes on, since the old refresh token may be spent already.

mod endpoint;
mod obtained;
mod once;
mod vault;

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
    endpoint::{Endpoints, TokenEndpoint},
    vault::{Vault, Vaults},
};
use self::{
    obtained::Obtained,
    once::{Ended, Unsaved, once},
};
use super::oauth::{self, Refused};
pub use crate::decide::{RefreshReason as Need, WAIT_WHILE_GOOD};
use crate::{clock, decide::expires_within, name::Owner, origin::Origin, secret::Secret};

/// How long whoever asks waits: a little longer than a refresh that another node has begun may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// How often tokens that could not be stored are tried again.
const SAVE_AGAIN: Duration = Duration::from_secs(1);
const MAX_WAITING: usize = 1024;
/// How many logins are refreshed at once.
const MAX_RUNNING: usize = 64;
/// How many logins that failed are remembered.
const MAX_SETBACKS: usize = 10_000;
/// With so many tokens that cannot be stored, none is asked for.
const MAX_UNSAVED: usize = 1_000;

/// Where a login is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Whose it is.
    pub owner: Owner,
    /// Its section.
    pub section: String,
    /// Its field.
    pub field: String,
}

/// A login's two tokens, by which it is known again however it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// What is sent.
    pub access_token: Secret,
    /// What gets the next access token.
    pub refresh_token: Secret,
}

/// What is asked for: another access token than the one that was seen.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where the login is stored.
    pub place: Place,
    /// The login whose access token will not do.
    pub seen: Tokens,
    /// Why it will not.
    pub need: Need,
    /// Where the login is refreshed.
    pub token_url: String,
    /// The client's id there.
    pub client_id: String,
    /// How long before it expires an access token will not do either.
    pub refresh_before: Duration,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// The token.
    pub access_token: Secret,
    /// Until when it is good, in milliseconds since 1970, if that is known.
    pub expires_at_ms: Option<u64>,
    /// The origins that its login was saved for.
    pub origins: Vec<String>,
}

impl Wanted {
    /// Whether an access token that expires then will not do any more.
    fn is_due(&self, expires_at_ms: Option<u64>) -> bool {
        expires_within(expires_at_ms, clock::now_ms(), self.refresh_before)
    }

    /// The token endpoint's origin, as credentials are saved for it.
    fn origin(&self) -> Option<String> {
        Origin::split(&self.token_url).ok().map(|(origin, _)| origin.to_string())
    }
}

/// Why there is no other access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotRefreshed {
    /// The token endpoint refused, or gave no proper answer.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It failed a moment ago, and is let alone.
    #[error("it failed a moment ago, and is not tried again yet")]
    Paused,
    /// It was a moment ago, and that is not repeated yet.
    #[error("it was refreshed a moment ago, and is not yet again")]
    Recent,
    /// There is no login any more.
    #[error("the login is gone")]
    Gone,
    /// There is no way to refresh it.
    #[error("the login has no refresh token")]
    NoRefreshToken,
    /// It was not stored for the token endpoint that the files name now.
    #[error("the login was not stored for this token endpoint")]
    Moved,
    /// The store could not be read or written.
    #[error("the store does not answer")]
    Store,
    /// Another node refreshes it, and takes its time, or too many others are refreshed.
    #[error("it takes too long")]
    Late,
}

impl NotRefreshed {
    /// Whether it may go better another time, with the same login.
    pub fn may_pass(self) -> bool {
        !matches!(self, Self::Refused(Refused::Revoked) | Self::Gone | Self::NoRefreshToken | Self::Moved)
    }
}

type Outcome = Result<Fresh, NotRefreshed>;

/// The way to ask. Cheap to clone; each worker has one.
#[derive(Debug, Clone)]
pub struct Refresher(mpsc::Sender<Ask>);

#[derive(Debug)]
struct Ask {
    wanted: Wanted,
    reply: oneshot::Sender<Outcome>,
}

impl Refresher {
    /// The handle, and what the control runtime runs until the last handle is gone and what is under way is done.
    pub fn start(
        vault: impl Vault,
        endpoint: impl TokenEndpoint,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (asks, waiting) = mpsc::channel(MAX_WAITING);
        (Self(asks), Desk::new(vault, endpoint).run(waiting))
    }

    /// Another access token. Dropping this does not stop a refresh.
    pub async fn refresh(&self, wanted: Wanted) -> Outcome {
        let patience = if wanted.need == Need::Due { WAIT_WHILE_GOOD } else { DEADLINE };
        let asked = async {
            let (reply, answer) = oneshot::channel();
            self.0.send(Ask { wanted, reply }).await.map_err(|_| NotRefreshed::Late)?;
            answer.await.map_err(|_| NotRefreshed::Late)?
        };
        timeout(patience, asked).await.unwrap_or(Err(NotRefreshed::Late))
    }
}

/// What the task knows.
struct Desk<V, E> {
    vault: Arc<V>,
    endpoint: Arc<E>,
    /// Who waits for what is under way.
    waiting: HashMap<Place, Waiting>,
    running: JoinSet<(Wanted, Ended)>,
    setbacks: HashMap<Place, Setback>,
    /// Token endpoints that did not answer, by their URLs.
    silent: HashMap<String, Silence>,
    unsaved: HashMap<Place, Unsaved>,
    obtained: Obtained,
}

/// Who waits for a refresh.
#[derive(Debug)]
struct Waiting {
    task: task::Id,
    since: Instant,
    replies: Vec<oneshot::Sender<Outcome>>,
}

/// A failure.
#[derive(Debug)]
struct Setback {
    /// The login that it happened to. Of another one it says nothing,
    login: Tokens,
    /// nor of another place to refresh it,
    token_url: String,
    /// or as another client.
    client_id: String,
    /// How many there were in a row.
    failures: u32,
    outcome: NotRefreshed,
    /// Until when it is let alone; until another login is stored, if absent.
    until: Option<Instant>,
}

/// That a token endpoint did not answer: others need not wait for it too.
#[derive(Debug)]
struct Silence {
    /// How often in a row.
    failures: u32,
    /// Until when it is let alone.
    until: Instant,
}

impl<V: Vault, E: TokenEndpoint> Desk<V, E> {
    fn new(vault: V, endpoint: E) -> Self {
        Self {
            vault: Arc::new(vault),
            endpoint: Arc::new(endpoint),
            waiting: HashMap::new(),
            running: JoinSet::new(),
            setbacks: HashMap::new(),
            silent: HashMap::new(),
            unsaved: HashMap::new(),
            obtained: Obtained::default(),
        }
    }

    async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        if let Err(error) = self.vault.drop_leases().await {
            tracing::warn!(%error, "leases that an earlier process may have left are waited out");
        }
        let mut ticks = interval(SAVE_AGAIN);
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
        // Nobody asks any more: what is under way comes to its end, and what is not stored is tried once more.
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
        if let Some(waiting) = self.waiting.get_mut(&wanted.place) {
            if wanted.need == Need::Due && waiting.since.elapsed() >= WAIT_WHILE_GOOD {
                let _ = reply.send(Err(NotRefreshed::Late));
            } else {
                waiting.replies.push(reply);
            }
            return;
        }
        let unsaved = self.unsaved.remove(&wanted.place);
        if unsaved.is_none()
            && let Some(refused) = self.refusal(&wanted)
        {
            // Whoever no longer waits has gone.
            let _ = reply.send(Err(refused));
            return;
        }
        self.begin(wanted, vec![reply], unsaved);
    }

    /// Why nothing is tried now.
    fn refusal(&self, wanted: &Wanted) -> Option<NotRefreshed> {
        if self.obtained.is_recent(wanted, Instant::now()) {
            return Some(NotRefreshed::Recent);
        }
        match self.setbacks.get(&wanted.place) {
            Some(setback) if setback.holds(wanted) => return Some(setback.outcome),
            _ => {}
        }
        if self.silent.get(&wanted.token_url).is_some_and(|silence| Instant::now() < silence.until) {
            return Some(NotRefreshed::Paused);
        }
        (self.unsaved.len() >= MAX_UNSAVED).then_some(NotRefreshed::Store)
    }

    fn begin(&mut self, wanted: Wanted, replies: Vec<oneshot::Sender<Outcome>>, unsaved: Option<Unsaved>) {
        let place = wanted.place.clone();
        let (vault, endpoint) = (Arc::clone(&self.vault), Arc::clone(&self.endpoint));
        let serving = self.obtained.serving(&wanted, Instant::now()).cloned();
        let running = self.running.spawn(async move {
            let ended = once(&*vault, &*endpoint, &wanted, serving, unsaved).await;
            (wanted, ended)
        });
        self.waiting.insert(place, Waiting { task: running.id(), since: Instant::now(), replies });
    }

    fn save_again(&mut self) {
        let room = MAX_RUNNING.saturating_sub(self.running.len());
        let places: Vec<Place> = self.unsaved.keys().take(room).cloned().collect();
        for place in places {
            if let Some(unsaved) = self.unsaved.remove(&place) {
                self.begin(unsaved.wanted.clone(), Vec::new(), Some(unsaved));
            }
        }
    }

    fn ended(&mut self, ended: Result<(Wanted, Ended), JoinError>) {
        match ended {
            Ok((wanted, ended)) => self.land(wanted, ended),
            // It has panicked, and told so. Who waits hears that it takes too long; who comes next begins anew.
            Err(error) => self.waiting.retain(|_, waiting| waiting.task != error.id()),
        }
    }

    fn land(&mut self, wanted: Wanted, Ended { outcome, obtained, refused, unsaved }: Ended) {
        for reply in self.waiting.remove(&wanted.place).into_iter().flat_map(|waiting| waiting.replies) {
            let _ = reply.send(outcome.clone());
        }
        if let Some(unsaved) = unsaved {
            self.unsaved.insert(wanted.place.clone(), unsaved);
        }
        let Place { owner, section, field } = &wanted.place;
        match &outcome {
            Ok(fresh) => {
                if obtained {
                    self.obtained.note(&wanted, fresh, Instant::now());
                }
                tracing::debug!(%owner, section, field, "a login is fresh");
                self.setbacks.remove(&wanted.place);
                self.silent.remove(&wanted.token_url);
            }
            Err(why) => {
                tracing::warn!(%owner, section, field, %why, "a login was not refreshed");
                if let (NotRefreshed::Refused(why), Some(login)) = (*why, refused) {
                    self.set_back(wanted, login, why);
                }
            }
        }
    }

    fn set_back(&mut self, wanted: Wanted, login: Tokens, refused: Refused) {
        let Wanted { place, token_url, client_id, .. } = wanted;
        if refused == Refused::Silent {
            let before = self.silent.get(&token_url).map_or(0, |silence| silence.failures);
            let failures = before.saturating_add(1);
            let until = Instant::now() + oauth::pause(failures);
            self.silent.insert(token_url.clone(), Silence { failures, until });
        }
        let before =
            self.setbacks.get(&place).filter(|before| before.login.access_token == login.access_token);
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        if self.setbacks.len() >= MAX_SETBACKS {
            self.setbacks.retain(|_, setback| !setback.is_over());
            // Forgetting one costs a call that fails again.
            if let Some(any) =
                self.setbacks.keys().next().filter(|_| self.setbacks.len() >= MAX_SETBACKS).cloned()
            {
                self.setbacks.remove(&any);
            }
        }
        let (outcome, until) = match refused {
            Refused::Revoked => (refused.into(), None),
            _ => (NotRefreshed::Paused, Some(Instant::now() + oauth::pause(failures))),
        };
        self.setbacks.insert(place, Setback { login, token_url, client_id, failures, outcome, until });
    }
}

impl Setback {
    /// Whether what is wanted is to be let alone.
    fn holds(&self, wanted: &Wanted) -> bool {
        let Self { login, token_url, client_id, .. } = self;
        (login, token_url, client_id) == (&wanted.seen, &wanted.token_url, &wanted.client_id)
            && self.until.is_none_or(|until| Instant::now() < until)
    }

    /// Whether it says nothing any more, not even how many there were in a row.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until + oauth::LONGEST_PAUSE < Instant::now())
    }
}

#[cfg(test)]
mod tests;
