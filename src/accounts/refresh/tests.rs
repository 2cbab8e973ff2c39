//! Against a store and a token endpoint that a test plays.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::{Notify, Semaphore};

use super::{login_store::Login, *};
use crate::{
    accounts::{StoredCredential, oauth::Grant},
    clock::now_ms,
    store::{SealedCredential, StoreError},
};

const TOKEN_URL: &str = "https://auth.example.com/token";

/// What all clones share.
#[derive(Clone, Default)]
struct Play(Arc<State>);

struct State {
    login: Mutex<Option<Login>>,
    /// Counts up, so that no two rows are sealed alike.
    seals: AtomicUsize,
    /// Who has the lease.
    leased: Mutex<Option<&'static str>>,
    /// Replacements that fail before one works; each that does not is told.
    failures: AtomicUsize,
    replaced: Notify,
    answers: Mutex<VecDeque<Result<Grant, TokenEndpointError>>>,
    /// The refresh tokens that came to the endpoint.
    spent: Mutex<Vec<String>>,
    /// How many calls the endpoint may answer.
    open: Semaphore,
    called: Notify,
}

impl Default for State {
    fn default() -> Self {
        Self {
            login: Mutex::default(),
            seals: AtomicUsize::default(),
            leased: Mutex::default(),
            failures: AtomicUsize::default(),
            replaced: Notify::default(),
            answers: Mutex::default(),
            spent: Mutex::default(),
            open: Semaphore::new(1000),
            called: Notify::default(),
        }
    }
}

impl Play {
    fn start(&self) -> Refresher {
        let (refresher, task) = Refresher::start(self.clone(), self.clone());
        #[expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
        tokio::spawn(task);
        refresher
    }

    /// Stores a login.
    fn put(&self, access: &str, refresh: &str, expires_at_ms: u64) {
        let number = self.0.seals.fetch_add(1, SeqCst);
        let row = SealedCredential {
            owner: Owner::Everybody,
            section: "demo".into(),
            field: "login".into(),
            sealed: number.to_be_bytes().into(),
            origins: Some(vec!["https://api.example.com".into(), "https://auth.example.com".into()]),
            updated_at_ms: 0,
        };
        let refresh_token = Some(Secret::new(refresh)).filter(|token| !token.expose().is_empty());
        *self.0.login.lock().unwrap() = Some(Login {
            access_token: Secret::new(access),
            refresh_token,
            expires_at_ms: Some(expires_at_ms),
            row,
        });
    }

    /// The same login, sealed anew.
    fn reseal(&self) {
        let login = self.0.login.lock().unwrap().clone().unwrap();
        self.put(
            login.access_token.expose(),
            login.refresh_token.unwrap().expose(),
            login.expires_at_ms.unwrap(),
        );
    }

    fn stored(&self) -> (String, String) {
        let login = self.0.login.lock().unwrap().clone().unwrap();
        (login.access_token.expose().to_owned(), login.refresh_token.unwrap().expose().to_owned())
    }

    fn answers(&self, answer: Result<(&str, &str), TokenEndpointError>) {
        let answer = answer.map(|(access, refresh)| login(access, refresh, later()));
        self.0.answers.lock().unwrap().push_back(answer);
    }

    fn spent(&self) -> Vec<String> {
        self.0.spent.lock().unwrap().clone()
    }

    fn shut(&self) {
        self.0.open.try_acquire_many(1000).unwrap().forget();
    }
}

impl LoginStore for Play {
    async fn read(&self, _: &CredentialId) -> Result<Option<Login>, StoreError> {
        Ok(self.0.login.lock().unwrap().clone())
    }

    async fn replace(&self, old: &Login, new: &StoredCredential) -> Result<bool, StoreError> {
        if self.0.failures.load(SeqCst) > 0 {
            self.0.failures.fetch_sub(1, SeqCst);
            return Err(StoreError::Unanswered);
        }
        if self.0.login.lock().unwrap().as_ref().is_none_or(|login| login.row != old.row) {
            return Ok(false);
        }
        let StoredCredential::OAuth {
            access_token,
            refresh_token: Some(refresh),
            expires_at_ms: Some(expires),
        } = new
        else {
            panic!("{new:?}")
        };
        self.put(access_token.expose(), refresh.expose(), *expires);
        self.0.replaced.notify_one();
        Ok(true)
    }

    async fn lease(&self, _: &CredentialId, _: u64) -> Result<bool, StoreError> {
        Ok(self.0.leased.lock().unwrap().get_or_insert("us") == &"us")
    }

    async fn drop_leases(&self) -> Result<(), StoreError> {
        *self.0.leased.lock().unwrap() = None;
        Ok(())
    }

    async fn release(&self, _: &CredentialId) -> Result<(), StoreError> {
        assert_eq!(self.0.leased.lock().unwrap().take(), Some("us"));
        Ok(())
    }
}

impl TokenEndpoint for Play {
    async fn refresh(
        &self,
        token_url: &str,
        client_id: &str,
        token: &Secret,
    ) -> Result<Grant, TokenEndpointError> {
        assert!(token_url == TOKEN_URL && client_id.starts_with("app_"), "{token_url} {client_id}");
        self.0.spent.lock().unwrap().push(token.expose().to_owned());
        self.0.called.notify_one();
        self.0.open.acquire().await.unwrap().forget();
        self.0.answers.lock().unwrap().pop_front().unwrap_or(Err(TokenEndpointError::Status(418)))
    }
}

fn login(access: &str, refresh: &str, expires_at_ms: u64) -> Grant {
    Grant::Login(StoredCredential::OAuth {
        access_token: Secret::new(access),
        refresh_token: Some(Secret::new(refresh)),
        expires_at_ms: Some(expires_at_ms),
    })
}

fn later() -> u64 {
    now_ms() + 3_600_000
}

fn tokens(access: &str, refresh: &str) -> TokenPair {
    TokenPair { access_token: Secret::new(access), refresh_token: Secret::new(refresh) }
}

fn wanted(seen: &str) -> RefreshRequest {
    RefreshRequest {
        credential: CredentialId { owner: Owner::Everybody, section: "demo".into(), field: "login".into() },
        seen: tokens(seen, &seen.replace('a', "r").replace('b', "s")),
        reason: RefreshReason::Due,
        token_url: TOKEN_URL.into(),
        client_id: "app_1".into(),
        refresh_before: Duration::from_mins(5),
    }
}

async fn asked(refresher: &Refresher, seen: &str) -> Result<String, RefreshError> {
    refresher.refresh(wanted(seen)).await.map(|fresh| fresh.access_token.expose().to_owned())
}

#[tokio::test]
async fn many_who_ask_at_once_are_answered_by_one_refresh() {
    let play = Play::default();
    let refresher = play.start();
    play.put("a1", "r1", 0);
    play.answers(Ok(("a2", "r2")));
    play.shut();
    let all =
        async { tokio::join!(asked(&refresher, "a1"), asked(&refresher, "a1"), asked(&refresher, "a1")) };
    let open = async {
        play.0.called.notified().await;
        play.0.open.add_permits(1000);
    };
    let (all, ()) = tokio::join!(all, open);
    assert_eq!(all, (Ok("a2".into()), Ok("a2".into()), Ok("a2".into())));
    assert_eq!(play.spent(), ["r1"]);
    // Who comes late with the old token gets what is stored.
    assert_eq!(asked(&refresher, "a1").await, Ok("a2".into()));
    assert_eq!(asked(&refresher, "a2").await, Err(RefreshError::Recent), "it will do");
    assert_eq!(play.spent(), ["r1"]);
    assert_eq!(play.stored(), ("a2".into(), "r2".into()));
    assert_eq!(*play.0.leased.lock().unwrap(), None);
}

#[tokio::test]
async fn what_was_obtained_a_moment_ago_is_not_replaced_because_it_is_refused() {
    let play = Play::default();
    let refresher = play.start();
    let refused = async |seen| {
        let wanted = RefreshRequest { reason: RefreshReason::Refused, ..wanted(seen) };
        refresher.refresh(wanted).await.map(|fresh| fresh.access_token.expose().to_owned())
    };
    play.put("a1", "r1", later());
    play.answers(Ok(("a2", "r2")));
    assert_eq!(refused("a1").await, Ok("a2".into()));
    for _ in 0..10 {
        assert_eq!(refused("a2").await, Err(RefreshError::Recent));
        assert_eq!(refused("a1").await, Ok("a2".into()), "whoever has seen the old one only");
    }
    assert_eq!(play.spent(), ["r1"]);
    // Another login is another matter.
    play.put("b1", "s1", later());
    play.answers(Ok(("b2", "s2")));
    assert_eq!(refused("b1").await, Ok("b2".into()));
    assert_eq!(play.spent(), ["r1", "s1"]);
}

#[test]
fn how_long_what_was_obtained_stays() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut obtained = RecentTokens::default();
    let due = wanted("a1");
    let refused = |seen: &str| RefreshRequest { reason: RefreshReason::Refused, ..wanted(seen) };
    let fresh = |access: &str, seconds: Option<u64>| {
        let expires_at_ms = seconds.map(|seconds| now_ms() + seconds * 1000);
        Refreshed { access_token: Secret::new(access), expires_at_ms, origins: Vec::new() }
    };
    obtained.note(&due, &fresh("a2", None), start);
    let mut check = |seen: &str, from: u64, stays: u64, next: &str| {
        assert!(obtained.is_recent(&refused(seen), after(from + stays - 1)), "{seen}");
        assert!(!obtained.is_recent(&refused(seen), after(from + stays)), "{seen}");
        obtained.note(&refused(seen), &fresh(next, None), after(from + stays));
    };
    check("a2", 0, 60, "a3");
    check("a3", 60, 120, "a4");
    check("a4", 180, 240, "a5");
    check("a5", 420, 480, "a6");
    check("a6", 900, 960, "a7");
    check("a7", 1860, 1920, "a8");
    check("a8", 3780, 3600, "a9");
    check("a9", 7380, 3600, "b1");
    // What time has brought about counts for nothing.
    obtained.note(&wanted("b1"), &fresh("b2", None), start);
    assert!(!obtained.is_recent(&refused("b2"), after(60)));
    assert!(!obtained.is_recent(&refused("a2"), start), "another one");
    // It is due `refresh_before` its end, but not before half of its time.
    let mut check = |lasts: Option<u64>, due_after: u64| {
        obtained.note(&wanted("c1"), &fresh("c2", lasts), start);
        assert!(obtained.is_recent(&wanted("c2"), after(due_after - 2)), "{lasts:?}");
        assert!(obtained.serving(&wanted("c1"), after(due_after - 2)).is_some(), "{lasts:?}");
        if lasts.is_some() {
            assert!(!obtained.is_recent(&wanted("c2"), after(due_after)), "{lasts:?}");
            assert_eq!(obtained.serving(&wanted("c1"), after(due_after)), None, "{lasts:?}");
        }
    };
    check(Some(3600), 3300);
    check(Some(600), 300);
    check(Some(400), 200);
    check(Some(300), 150);
    check(Some(10), 5);
    check(None, 1_000_000);
}

#[tokio::test]
async fn what_never_lasts_as_long_as_the_file_wants_is_refreshed_once() {
    let play = Play::default();
    let refresher = play.start();
    play.put("a1", "r1", now_ms() + 300_000);
    play.0.answers.lock().unwrap().push_back(Ok(login("a2", "r2", now_ms() + 300_000)));
    for _ in 0..5 {
        assert_eq!(asked(&refresher, "a1").await, Ok("a2".into()));
        assert_eq!(asked(&refresher, "a2").await, Err(RefreshError::Recent));
    }
    assert_eq!(play.spent(), ["r1"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut obtained = RecentTokens::default();
    for index in 0..=10_000 {
        let mut wanted = wanted("a1");
        wanted.credential.field = format!("f{index}");
        let fresh = Refreshed { access_token: Secret::new("a2"), expires_at_ms: None, origins: Vec::new() };
        obtained.note(&wanted, &fresh, Instant::now());
    }
    assert_eq!(obtained.known(), 10_000);
}

#[tokio::test]
async fn a_refresh_goes_on_when_who_asked_has_gone() {
    let play = Play::default();
    let refresher = play.start();
    play.put("a1", "r1", 0);
    play.answers(Ok(("a2", "r2")));
    play.shut();
    tokio::select! {
        outcome = asked(&refresher, "a1") => panic!("{outcome:?}"),
        () = play.0.called.notified() => {}
    }
    play.0.open.add_permits(1);
    play.0.replaced.notified().await;
    assert_eq!(asked(&refresher, "a1").await, Ok("a2".into()));
    assert_eq!(play.spent(), ["r1"]);
}

#[tokio::test]
async fn what_fails_is_let_alone_until_another_login_is_stored() {
    let check = async |refused: TokenEndpointError, again: RefreshError| {
        let play = Play::default();
        let refresher = play.start();
        play.put("a1", "r1", 0);
        play.answers(Err(refused));
        assert_eq!(asked(&refresher, "a1").await, Err(refused.into()));
        for _ in 0..3 {
            assert_eq!(asked(&refresher, "a1").await, Err(again));
        }
        assert_eq!(play.stored(), ("a1".into(), "r1".into()), "nothing is destroyed");
        assert_eq!(play.spent(), ["r1"]);
        play.put("b1", "s1", 0);
        play.answers(Ok(("b2", "s2")));
        assert_eq!(asked(&refresher, "b1").await, Ok("b2".into()));
        assert_eq!(play.spent(), ["r1", "s1"]);
    };
    check(TokenEndpointError::Rejected, TokenEndpointError::Rejected.into()).await;
    for refused in [
        TokenEndpointError::Status(429),
        TokenEndpointError::Status(500),
        TokenEndpointError::InvalidResponse("x"),
    ] {
        check(refused, RefreshError::Backoff).await;
    }
}

#[tokio::test]
async fn what_was_corrected_is_tried_again() {
    let check = async |correct: fn(&Play) -> RefreshRequest, spends: [&str; 2]| {
        let play = Play::default();
        let refresher = play.start();
        play.put("a1", "r1", 0);
        play.answers(Err(TokenEndpointError::Rejected));
        assert_eq!(asked(&refresher, "a1").await, Err(TokenEndpointError::Rejected.into()));
        let wanted = correct(&play);
        play.answers(Ok(("a2", "r2")));
        let fresh = refresher.refresh(wanted).await.unwrap();
        assert_eq!(fresh.access_token.expose(), "a2");
        assert_eq!(play.spent(), spends);
    };
    let another_refresh_token = |play: &Play| {
        play.put("a1", "s1", 0);
        RefreshRequest { seen: tokens("a1", "s1"), ..wanted("a1") }
    };
    check(another_refresh_token, ["r1", "s1"]).await;
    check(|_| RefreshRequest { client_id: "app_2".into(), ..wanted("a1") }, ["r1", "r1"]).await;
}

#[tokio::test]
async fn a_rotated_refresh_token_is_stored_even_without_an_access_token() {
    let why = TokenEndpointError::InvalidResponse("x");
    for failures in [0, 1] {
        let play = Play::default();
        let refresher = play.start();
        play.put("a1", "r1", later());
        play.0.answers.lock().unwrap().push_back(Ok(Grant::RefreshToken(Secret::new("r2"), why)));
        play.0.failures.store(failures, SeqCst);
        if failures > 0 {
            assert_eq!(asked(&refresher, "a1").await, Err(RefreshError::Store));
        }
        assert_eq!(asked(&refresher, "a1").await, Err(why.into()));
        assert_eq!(play.stored(), ("a1".into(), "r2".into()));
        // It has failed, and is not tried again at once with the next one.
        let rotated = RefreshRequest { seen: tokens("a1", "r2"), ..wanted("a1") };
        assert_eq!(refresher.refresh(rotated).await, Err(RefreshError::Backoff));
        assert_eq!(play.spent(), ["r1"]);
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_let_alone_by_all() {
    let check = async |refused: TokenEndpointError, expected: Result<(), RefreshError>, calls: usize| {
        let play = Play::default();
        let refresher = play.start();
        play.put("a1", "r1", 0);
        play.answers(Err(refused));
        play.answers(Ok(("a2", "r2")));
        assert_eq!(asked(&refresher, "a1").await, Err(refused.into()));
        let mut other = wanted("a1");
        other.credential.field = "other".into();
        assert_eq!(refresher.refresh(other).await.map(drop), expected);
        assert_eq!(play.spent().len(), calls);
    };
    check(TokenEndpointError::NoResponse, Err(RefreshError::Backoff), 1).await;
    check(TokenEndpointError::Status(500), Ok(()), 2).await;
}

#[tokio::test]
async fn what_is_not_refreshed_at_all() {
    let play = Play::default();
    let refresher = play.start();
    assert_eq!(asked(&refresher, "a1").await, Err(RefreshError::NotFound));
    play.put("a1", "", 0);
    assert_eq!(asked(&refresher, "a1").await, Err(RefreshError::NoRefreshToken));
    play.put("a1", "r1", 0);
    for origins in [None, Some(vec!["https://api.example.com".to_owned()])] {
        play.0.login.lock().unwrap().as_mut().unwrap().row.origins = origins;
        assert_eq!(asked(&refresher, "a1").await, Err(RefreshError::OriginMismatch));
    }
    assert_eq!(play.spent(), Vec::<String>::new());
}

#[tokio::test]
async fn a_login_that_is_stored_meanwhile_wins() {
    for answer in [Ok(("a2", "r2")), Err(TokenEndpointError::Rejected)] {
        let play = Play::default();
        let refresher = play.start();
        play.put("a1", "r1", 0);
        play.answers(answer);
        play.shut();
        let change = async {
            play.0.called.notified().await;
            play.put("b1", "s1", later());
            play.0.open.add_permits(1);
        };
        let (outcome, ()) = tokio::join!(asked(&refresher, "a1"), change);
        assert_eq!(outcome, Ok("b1".into()));
        assert_eq!(play.stored(), ("b1".into(), "s1".into()));
    }
}

#[tokio::test]
async fn a_login_that_is_only_sealed_anew_gets_its_new_tokens() {
    let play = Play::default();
    let refresher = play.start();
    play.put("a1", "r1", 0);
    play.answers(Ok(("a2", "r2")));
    play.shut();
    let reseal = async {
        play.0.called.notified().await;
        play.reseal();
        play.0.open.add_permits(1);
    };
    let (outcome, ()) = tokio::join!(asked(&refresher, "a1"), reseal);
    assert_eq!(outcome, Ok("a2".into()));
    assert_eq!(play.stored(), ("a2".into(), "r2".into()));
}

#[tokio::test]
async fn tokens_that_cannot_be_stored_are_kept_and_handed_out_once_they_are() {
    let play = Play::default();
    let refresher = play.start();
    play.put("a1", "r1", 0);
    play.answers(Ok(("a2", "r2")));
    play.0.failures.store(2, SeqCst);
    assert_eq!(asked(&refresher, "a1").await, Err(RefreshError::Store));
    assert_eq!(asked(&refresher, "a1").await, Err(RefreshError::Store));
    assert_eq!(asked(&refresher, "a1").await, Ok("a2".into()));
    assert_eq!(play.stored(), ("a2".into(), "r2".into()));
    assert_eq!(play.spent(), ["r1"], "the spent one is not sent again");
}

#[tokio::test]
async fn tokens_that_could_not_be_stored_are_tried_again_unasked() {
    let play = Play::default();
    let refresher = play.start();
    play.put("a1", "r1", 0);
    play.answers(Ok(("a2", "r2")));
    play.0.failures.store(1, SeqCst);
    assert_eq!(asked(&refresher, "a1").await, Err(RefreshError::Store));
    play.0.replaced.notified().await;
    assert_eq!(play.stored(), ("a2".into(), "r2".into()));
}

#[tokio::test]
async fn the_task_ends_with_what_is_under_way() {
    let play = Play::default();
    let (refresher, task) = Refresher::start(play.clone(), play.clone());
    play.put("a1", "r1", 0);
    play.answers(Ok(("a2", "r2")));
    play.0.failures.store(1, SeqCst);
    play.shut();
    let ask = async move {
        tokio::select! {
            outcome = asked(&refresher, "a1") => panic!("{outcome:?}"),
            () = play.0.called.notified() => play.0.open.add_permits(1),
        }
        play
    };
    let ((), play) = tokio::join!(task, ask);
    assert_eq!(play.stored(), ("a2".into(), "r2".into()));
}

#[tokio::test]
async fn another_nodes_refresh_is_waited_for() {
    let play = Play::default();
    let refresher = play.start();
    play.put("a1", "r1", 0);
    // Once ours has begun.
    tokio::task::yield_now().await;
    *play.0.leased.lock().unwrap() = Some("them");
    let them = async {
        // Polled once more after we have looked, and found the lease taken.
        tokio::task::yield_now().await;
        play.put("a2", "r2", later());
    };
    let (outcome, ()) = tokio::join!(asked(&refresher, "a1"), them);
    assert_eq!(outcome, Ok("a2".into()));
    assert_eq!(play.spent(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lease_that_a_dead_process_has_left_is_not_waited_for() {
    let play = Play::default();
    *play.0.leased.lock().unwrap() = Some("dead");
    let refresher = play.start();
    play.put("a1", "r1", 0);
    play.answers(Ok(("a2", "r2")));
    assert_eq!(asked(&refresher, "a1").await, Ok("a2".into()));
}

/// A refresh that takes its time is waited for only by those who have nothing else.
#[tokio::test]
async fn who_has_a_good_access_token_waits_a_moment() {
    let play = Play::default();
    let refresher = play.start();
    play.put("a1", "r1", 0);
    play.answers(Ok(("a2", "r2")));
    play.shut();
    let expired = RefreshRequest { reason: RefreshReason::Expired, ..wanted("a1") };
    let patient = async { refresher.refresh(expired).await.map(|fresh| fresh.access_token) };
    let others = async {
        let start = Instant::now();
        assert_eq!(asked(&refresher, "a1").await, Err(RefreshError::Timeout));
        assert!(start.elapsed() < WAIT_WHILE_GOOD * 3, "{:?}", start.elapsed());
        // The next ones need not try.
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(asked(&refresher, "a1").await, Err(RefreshError::Timeout));
        }
        assert!(start.elapsed() < WAIT_WHILE_GOOD * 3, "{:?}", start.elapsed());
        play.0.open.add_permits(1);
    };
    let (outcome, ()) = tokio::join!(patient, others);
    assert_eq!(outcome, Ok(Secret::new("a2")));
    assert_eq!(play.spent(), ["r1"]);
}

#[tokio::test]
async fn a_refresh_that_panics_blocks_nobody() {
    let play = Play::default();
    let refresher = play.start();
    play.put("a1", "r1", 0);
    // Nothing that can be stored here.
    let plain = Grant::Login(StoredCredential::Plain(Secret::new("a2")));
    play.0.answers.lock().unwrap().push_back(Ok(plain));
    let expired = || RefreshRequest { reason: RefreshReason::Expired, ..wanted("a1") };
    assert_eq!(refresher.refresh(expired()).await, Err(RefreshError::Timeout));
    play.answers(Ok(("a2", "r2")));
    let fresh = refresher.refresh(expired()).await.unwrap();
    assert_eq!(fresh.access_token.expose(), "a2");
}
