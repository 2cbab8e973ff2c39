//! Tests with a fake store and a fake token endpoint.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::{Notify, Semaphore};

use super::{
    login_store::{Login, SectionState},
    *,
};
use crate::{
    accounts::{
        MadeCredential, StoredCredential, UnreadAnswer,
        oauth::{Grant, NewTokens, ReceivedAnswer, TokenEndpointError},
    },
    clock::now_ms,
    fields::OAuth,
    name::Owner,
    secret::Secret,
    store::{KeepOutcome, SealedCredential, StoreError, SwapReason},
    token::TokenCall,
};

const TOKEN_URL: &str = "https://auth.example.com/token";

/// The fake. All clones share its state.
#[derive(Clone, Default)]
struct Fake(Arc<FakeState>);

struct FakeState {
    login: Mutex<Option<Login>>,
    /// A counter, so that no two blobs are equal.
    blobs: AtomicUsize,
    /// The holder of the lease.
    leased: Mutex<Option<&'static str>>,
    /// A lease was not granted.
    refused: Notify,
    /// The number of replacements that fail before one succeeds.
    failures: AtomicUsize,
    replaced: Notify,
    kept: Mutex<Vec<UnreadAnswer>>,
    answers: Mutex<VecDeque<Result<Grant, TokenEndpointError>>>,
    /// The refresh tokens that the endpoint received.
    spent: Mutex<Vec<String>>,
    /// The number of calls that the endpoint may answer.
    open: Semaphore,
    called: Notify,
}

impl Default for FakeState {
    fn default() -> Self {
        Self {
            login: Mutex::default(),
            blobs: AtomicUsize::default(),
            leased: Mutex::default(),
            refused: Notify::default(),
            failures: AtomicUsize::default(),
            replaced: Notify::default(),
            kept: Mutex::default(),
            answers: Mutex::default(),
            spent: Mutex::default(),
            open: Semaphore::new(1000),
            called: Notify::default(),
        }
    }
}

impl Fake {
    fn start(&self) -> Refresher {
        let (refresher, task) = Refresher::start(self.clone(), self.clone(), CancellationToken::new());
        #[expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
        tokio::spawn(task);
        refresher
    }

    /// Stores a login.
    fn put(&self, access: &str, refresh: &str, expires_at_ms: u64) {
        let number = self.0.blobs.fetch_add(1, SeqCst);
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

    /// Re-encrypts the login.
    fn re_encrypt(&self) {
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

impl LoginStore for Fake {
    async fn read(&self, _: &CredentialId) -> Result<Option<Login>, StoreError> {
        Ok(self.0.login.lock().unwrap().clone())
    }

    async fn replace(
        &self,
        old: &Login,
        new: &StoredCredential,
        reason: SwapReason,
    ) -> Result<bool, StoreError> {
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
        if matches!(reason, SwapReason::Refresh) {
            self.0.kept.lock().unwrap().clear();
        }
        self.0.replaced.notify_one();
        Ok(true)
    }

    async fn keep(&self, _: &CredentialId, answer: &UnreadAnswer) -> Result<KeepOutcome, StoreError> {
        if self.0.failures.load(SeqCst) > 0 {
            self.0.failures.fetch_sub(1, SeqCst);
            return Err(StoreError::Unanswered);
        }
        self.0.kept.lock().unwrap().push(answer.clone());
        self.0.replaced.notify_one();
        Ok(KeepOutcome::Kept)
    }

    async fn read_section(&self, _: &CredentialId, _: &[TokenSource]) -> Result<SectionState, StoreError> {
        panic!("a login is no made token")
    }

    async fn put_made(
        &self,
        _: &CredentialId,
        _: &MadeCredential,
        _: &[String],
        _: &SectionState,
    ) -> Result<bool, StoreError> {
        panic!("a login is no made token")
    }

    async fn lease(&self, _: &CredentialId, _: u64) -> Result<bool, StoreError> {
        let is_free = self.0.leased.lock().unwrap().get_or_insert("us") == &"us";
        if !is_free {
            self.0.refused.notify_one();
        }
        Ok(is_free)
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

impl TokenEndpoint for Fake {
    async fn refresh(&self, oauth: &OAuth, token: &Secret) -> Result<Grant, TokenEndpointError> {
        assert!(oauth.token_url == TOKEN_URL && oauth.client_id.starts_with("app_"), "{oauth:?}");
        self.0.spent.lock().unwrap().push(token.expose().to_owned());
        self.0.called.notify_one();
        self.0.open.acquire().await.unwrap().forget();
        self.0.answers.lock().unwrap().pop_front().unwrap_or(Err(TokenEndpointError::Status(418)))
    }

    async fn call(&self, _: TokenCall, _: bool) -> Result<ReceivedAnswer, TokenEndpointError> {
        panic!("a login is no made token")
    }
}

fn login(access: &str, refresh: &str, expires_at_ms: u64) -> Grant {
    let tokens = NewTokens::Login(StoredCredential::OAuth {
        access_token: Secret::new(access),
        refresh_token: Some(Secret::new(refresh)),
        expires_at_ms: Some(expires_at_ms),
    });
    Grant { tokens, unread: None }
}

/// An answer that was not understood.
fn unread() -> UnreadAnswer {
    let answer = ReceivedAnswer {
        status: 200,
        content_type: String::new(),
        content_encoding: String::new(),
        body: b"canary".to_vec().into(),
        incomplete: None,
    };
    UnreadAnswer { received_at_ms: 7, problem: "x".into(), spent: "digest".into(), answer }
}

fn later() -> u64 {
    now_ms() + 3_600_000
}

fn tokens(access: &str, refresh: &str) -> TokenPair {
    TokenPair { access_token: Secret::new(access), refresh_token: Secret::new(refresh) }
}

fn request(seen: &str) -> RefreshRequest {
    RefreshRequest {
        provider: "demo".into(),
        credential: CredentialId { owner: Owner::Everybody, section: "demo".into(), field: "login".into() },
        reason: RefreshReason::Due,
        how: RefreshHow::Login(LoginRefresh {
            seen: tokens(seen, &seen.replace('a', "r").replace('b', "s")),
            oauth: OAuth {
                paste: BTreeMap::new(),
                token_url: TOKEN_URL.into(),
                client_id: "app_1".into(),
                client_secret: None,
                scope: None,
                refresh_before: Duration::from_mins(5),
            },
        }),
    }
}

/// The same, seen with other tokens.
fn request_of(access: &str, refresh: &str) -> RefreshRequest {
    let mut request = request(access);
    let RefreshHow::Login(login) = &mut request.how else { panic!("it is a login") };
    login.seen = tokens(access, refresh);
    request
}

/// The same, with another client id.
fn request_by(client_id: &str) -> RefreshRequest {
    let mut request = request("a1");
    let RefreshHow::Login(login) = &mut request.how else { panic!("it is a login") };
    login.oauth.client_id = client_id.into();
    request
}

async fn refresh(refresher: &Refresher, seen: &str) -> Result<String, RefreshError> {
    refresher.refresh(request(seen)).await.map(|fresh| fresh.token.expose().to_owned())
}

#[tokio::test]
async fn concurrent_requests_share_one_refresh() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", 0);
    fake.answers(Ok(("a2", "r2")));
    fake.shut();
    let all = async {
        tokio::join!(refresh(&refresher, "a1"), refresh(&refresher, "a1"), refresh(&refresher, "a1"))
    };
    let open = async {
        fake.0.called.notified().await;
        fake.0.open.add_permits(1000);
    };
    let (all, ()) = tokio::join!(all, open);
    assert_eq!(all, (Ok("a2".into()), Ok("a2".into()), Ok("a2".into())));
    assert_eq!(fake.spent(), ["r1"]);
    // A later request with the old token gets the stored one.
    assert_eq!(refresh(&refresher, "a1").await, Ok("a2".into()));
    assert_eq!(refresh(&refresher, "a2").await, Err(RefreshError::Recent), "the token is not due");
    assert_eq!(fake.spent(), ["r1"]);
    assert_eq!(fake.stored(), ("a2".into(), "r2".into()));
    assert_eq!(*fake.0.leased.lock().unwrap(), None);
}

#[tokio::test]
async fn a_recent_token_is_not_refreshed_after_a_refusal() {
    let fake = Fake::default();
    let refresher = fake.start();
    let refused = async |seen| {
        let request = RefreshRequest { reason: RefreshReason::Refused, ..request(seen) };
        refresher.refresh(request).await.map(|fresh| fresh.token.expose().to_owned())
    };
    fake.put("a1", "r1", later());
    fake.answers(Ok(("a2", "r2")));
    assert_eq!(refused("a1").await, Ok("a2".into()));
    for _ in 0..10 {
        assert_eq!(refused("a2").await, Err(RefreshError::Recent));
        assert_eq!(refused("a1").await, Ok("a2".into()), "a request with the old token gets the recent one");
    }
    assert_eq!(fake.spent(), ["r1"]);
    // Another login is refreshed.
    fake.put("b1", "s1", later());
    fake.answers(Ok(("b2", "s2")));
    assert_eq!(refused("b1").await, Ok("b2".into()));
    assert_eq!(fake.spent(), ["r1", "s1"]);
}

#[test]
fn the_minimum_age_doubles_with_each_refusal() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut recent = RecentTokens::default();
    let due = request("a1");
    let refused = |seen: &str| RefreshRequest { reason: RefreshReason::Refused, ..request(seen) };
    let fresh = |access: &str, seconds: Option<u64>| {
        let expires_at_ms = seconds.map(|seconds| now_ms() + seconds * 1000);
        Refreshed::login(Secret::new(access), expires_at_ms, Vec::new())
    };
    recent.insert(&due, &fresh("a2", None), start);
    let mut check = |seen: &str, from: u64, stays: u64, next: &str| {
        assert!(recent.is_recent(&refused(seen), after(from + stays - 1)), "{seen}");
        assert!(!recent.is_recent(&refused(seen), after(from + stays)), "{seen}");
        recent.insert(&refused(seen), &fresh(next, None), after(from + stays));
    };
    check("a2", 0, 60, "a3");
    check("a3", 60, 120, "a4");
    check("a4", 180, 240, "a5");
    check("a5", 420, 480, "a6");
    check("a6", 900, 960, "a7");
    check("a7", 1860, 1920, "a8");
    check("a8", 3780, 3600, "a9");
    check("a9", 7380, 3600, "b1");
    // Nor does one of a token that was good for longer than twice its least age.
    recent.insert(&refused("b1"), &fresh("b2", None), after(7380 + 3600 + 7200));
    assert!(!recent.is_recent(&refused("b2"), after(7380 + 3600 + 7200 + 120)));
    // A refresh that was due does not count as caused by a refusal.
    recent.insert(&request("b1"), &fresh("b2", None), start);
    assert!(!recent.is_recent(&refused("b2"), after(60)));
    assert!(!recent.is_recent(&refused("a2"), start), "another token");
    // A token is due `refresh_before` its expiry, but not before half of its lifetime.
    let mut check = |lasts: Option<u64>, due_after: u64| {
        recent.insert(&request("c1"), &fresh("c2", lasts), start);
        assert!(recent.is_recent(&request("c2"), after(due_after - 2)), "{lasts:?}");
        assert!(recent.serving(&request("c1"), after(due_after - 2)).is_some(), "{lasts:?}");
        if lasts.is_some() {
            assert!(!recent.is_recent(&request("c2"), after(due_after)), "{lasts:?}");
            assert_eq!(recent.serving(&request("c1"), after(due_after)), None, "{lasts:?}");
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
async fn a_lifetime_shorter_than_refresh_before_causes_one_refresh() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", now_ms() + 300_000);
    fake.0.answers.lock().unwrap().push_back(Ok(login("a2", "r2", now_ms() + 300_000)));
    for _ in 0..5 {
        assert_eq!(refresh(&refresher, "a1").await, Ok("a2".into()));
        assert_eq!(refresh(&refresher, "a2").await, Err(RefreshError::Recent));
    }
    assert_eq!(fake.spent(), ["r1"]);
}

#[test]
fn the_number_of_recent_tokens_is_bounded() {
    let mut recent = RecentTokens::default();
    for index in 0..=10_000 {
        let mut request = request("a1");
        request.credential.field = format!("f{index}");
        let fresh = Refreshed::login(Secret::new("a2"), None, Vec::new());
        recent.insert(&request, &fresh, Instant::now());
    }
    assert_eq!(recent.len(), 10_000);
}

#[tokio::test]
async fn a_refresh_continues_when_its_waiter_is_dropped() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", 0);
    fake.answers(Ok(("a2", "r2")));
    fake.shut();
    tokio::select! {
        outcome = refresh(&refresher, "a1") => panic!("{outcome:?}"),
        () = fake.0.called.notified() => {}
    }
    fake.0.open.add_permits(1);
    fake.0.replaced.notified().await;
    assert_eq!(refresh(&refresher, "a1").await, Ok("a2".into()));
    assert_eq!(fake.spent(), ["r1"]);
}

#[tokio::test]
async fn a_failed_login_is_in_backoff_until_another_one_is_stored() {
    let check = async |refused: TokenEndpointError, again: RefreshError| {
        let fake = Fake::default();
        let refresher = fake.start();
        fake.put("a1", "r1", 0);
        fake.answers(Err(refused));
        assert_eq!(refresh(&refresher, "a1").await, Err(refused.into()));
        for _ in 0..3 {
            assert_eq!(refresh(&refresher, "a1").await, Err(again));
        }
        assert_eq!(fake.stored(), ("a1".into(), "r1".into()), "the stored login is unchanged");
        assert_eq!(fake.spent(), ["r1"]);
        fake.put("b1", "s1", 0);
        fake.answers(Ok(("b2", "s2")));
        assert_eq!(refresh(&refresher, "b1").await, Ok("b2".into()));
        assert_eq!(fake.spent(), ["r1", "s1"]);
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
async fn a_corrected_login_or_client_id_is_tried_at_once() {
    let check = async |correct: fn(&Fake) -> RefreshRequest, spends: [&str; 2]| {
        let fake = Fake::default();
        let refresher = fake.start();
        fake.put("a1", "r1", 0);
        fake.answers(Err(TokenEndpointError::Rejected));
        assert_eq!(refresh(&refresher, "a1").await, Err(TokenEndpointError::Rejected.into()));
        let request = correct(&fake);
        fake.answers(Ok(("a2", "r2")));
        let fresh = refresher.refresh(request).await.unwrap();
        assert_eq!(fresh.token.expose(), "a2");
        assert_eq!(fake.spent(), spends);
    };
    let another_refresh_token = |fake: &Fake| {
        fake.put("a1", "s1", 0);
        request_of("a1", "s1")
    };
    check(another_refresh_token, ["r1", "s1"]).await;
    check(|_| request_by("app_2"), ["r1", "r1"]).await;
}

#[tokio::test]
async fn a_rotated_refresh_token_is_stored_even_without_an_access_token() {
    let why = TokenEndpointError::InvalidResponse("x");
    for failures in [0, 1] {
        let fake = Fake::default();
        let refresher = fake.start();
        fake.put("a1", "r1", later());
        fake.0.answers.lock().unwrap().push_back(Ok(Grant {
            tokens: NewTokens::RefreshToken(Secret::new("r2"), why),
            unread: Some(unread()),
        }));
        fake.0.failures.store(failures, SeqCst);
        if failures > 0 {
            assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::Store));
        }
        assert_eq!(refresh(&refresher, "a1").await, Err(why.into()));
        assert_eq!(fake.stored(), ("a1".into(), "r2".into()));
        assert_eq!(*fake.0.kept.lock().unwrap(), [unread()]);
        // The next refresh token is in backoff too.
        let rotated = request_of("a1", "r2");
        assert_eq!(refresher.refresh(rotated).await, Err(RefreshError::Backoff));
        assert_eq!(fake.spent(), ["r1"]);
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_respond_is_in_backoff_for_all_logins() {
    let check = async |refused: TokenEndpointError, expected: Result<(), RefreshError>, calls: usize| {
        let fake = Fake::default();
        let refresher = fake.start();
        fake.put("a1", "r1", 0);
        fake.answers(Err(refused));
        fake.answers(Ok(("a2", "r2")));
        assert_eq!(refresh(&refresher, "a1").await, Err(refused.into()));
        let mut other = request("a1");
        other.credential.field = "other".into();
        assert_eq!(refresher.refresh(other).await.map(drop), expected);
        assert_eq!(fake.spent().len(), calls);
    };
    check(TokenEndpointError::NoResponse, Err(RefreshError::Backoff), 1).await;
    check(TokenEndpointError::Status(500), Ok(()), 2).await;
}

#[tokio::test]
async fn logins_that_cannot_be_refreshed_are_not_sent() {
    let fake = Fake::default();
    let refresher = fake.start();
    assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::NotFound));
    fake.put("a1", "", 0);
    assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::NoRefreshToken));
    fake.put("a1", "r1", 0);
    for origins in [None, Some(vec!["https://api.example.com".to_owned()])] {
        fake.0.login.lock().unwrap().as_mut().unwrap().row.origins = origins;
        assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::OriginMismatch));
    }
    assert_eq!(fake.spent(), Vec::<String>::new());
}

#[tokio::test]
async fn a_login_that_is_stored_meanwhile_wins() {
    for answer in [Ok(("a2", "r2")), Err(TokenEndpointError::Rejected)] {
        let fake = Fake::default();
        let refresher = fake.start();
        fake.put("a1", "r1", 0);
        fake.answers(answer);
        fake.shut();
        let change = async {
            fake.0.called.notified().await;
            fake.put("b1", "s1", later());
            fake.0.open.add_permits(1);
        };
        let (outcome, ()) = tokio::join!(refresh(&refresher, "a1"), change);
        assert_eq!(outcome, Ok("b1".into()));
        assert_eq!(fake.stored(), ("b1".into(), "s1".into()));
    }
}

#[tokio::test]
async fn a_login_that_is_re_encrypted_meanwhile_gets_the_new_tokens() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", 0);
    fake.answers(Ok(("a2", "r2")));
    fake.shut();
    let re_encrypt = async {
        fake.0.called.notified().await;
        fake.re_encrypt();
        fake.0.open.add_permits(1);
    };
    let (outcome, ()) = tokio::join!(refresh(&refresher, "a1"), re_encrypt);
    assert_eq!(outcome, Ok("a2".into()));
    assert_eq!(fake.stored(), ("a2".into(), "r2".into()));
}

#[tokio::test]
async fn tokens_that_cannot_be_stored_are_returned_only_after_they_are() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", 0);
    fake.answers(Ok(("a2", "r2")));
    fake.0.failures.store(2, SeqCst);
    assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::Store));
    assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::Store));
    assert_eq!(refresh(&refresher, "a1").await, Ok("a2".into()));
    assert_eq!(fake.stored(), ("a2".into(), "r2".into()));
    assert_eq!(fake.spent(), ["r1"], "the spent refresh token is not sent again");
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_kept_once_the_store_works() {
    let why = TokenEndpointError::InvalidResponse("x");
    for failures in [0, 1] {
        let fake = Fake::default();
        let refresher = fake.start();
        fake.put("a1", "r1", later());
        let grant = Grant { tokens: NewTokens::Nothing(why), unread: Some(unread()) };
        fake.0.answers.lock().unwrap().push_back(Ok(grant));
        fake.0.failures.store(failures, SeqCst);
        if failures > 0 {
            assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::Store));
            fake.0.replaced.notified().await;
        } else {
            assert_eq!(refresh(&refresher, "a1").await, Err(why.into()));
        }
        assert_eq!(*fake.0.kept.lock().unwrap(), [unread()]);
        assert_eq!(fake.stored(), ("a1".into(), "r1".into()));
        assert_eq!(fake.spent(), ["r1"]);
    }
}

/// The tokens that were understood are used. Only an answer that was understood completely ends those that are kept.
#[tokio::test]
async fn an_answer_is_kept_beside_the_tokens_that_it_granted() {
    for failures in [0, 1, 2] {
        let fake = Fake::default();
        let refresher = fake.start();
        fake.put("a1", "r1", 0);
        let grant = Grant { unread: Some(unread()), ..login("a2", "r1", now_ms()) };
        fake.0.answers.lock().unwrap().push_back(Ok(grant));
        fake.0.failures.store(failures, SeqCst);
        for _ in 0..failures {
            assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::Store));
        }
        assert_eq!(refresh(&refresher, "a1").await, Ok("a2".into()));
        assert_eq!(*fake.0.kept.lock().unwrap(), [unread()]);
        fake.answers(Ok(("a3", "r3")));
        let next = RefreshRequest { reason: RefreshReason::Expired, ..request_of("a2", "r1") };
        assert_eq!(refresher.refresh(next).await.unwrap().token.expose(), "a3");
        assert_eq!(*fake.0.kept.lock().unwrap(), []);
        assert_eq!(fake.spent(), ["r1", "r1"]);
    }
}

/// An answer is kept though another login was stored meanwhile, which may be an old copy.
#[tokio::test]
async fn an_answer_is_kept_beside_a_login_that_is_stored_meanwhile() {
    for refresh_token in ["r1", "s1"] {
        let fake = Fake::default();
        let refresher = fake.start();
        fake.put("a1", "r1", 0);
        let nothing = NewTokens::Nothing(TokenEndpointError::InvalidResponse("x"));
        let grant = Grant { tokens: nothing, unread: Some(unread()) };
        fake.0.answers.lock().unwrap().push_back(Ok(grant));
        fake.shut();
        let change = async {
            fake.0.called.notified().await;
            fake.put("b1", refresh_token, later());
            fake.0.open.add_permits(1);
        };
        let (outcome, ()) = tokio::join!(refresh(&refresher, "a1"), change);
        assert_eq!(outcome, Ok("b1".into()));
        assert_eq!(*fake.0.kept.lock().unwrap(), [unread()]);
    }
}

/// The refresh token is spent, so that the login that was stored with it is replaced.
#[tokio::test]
async fn a_login_with_the_same_refresh_token_that_is_stored_meanwhile_is_replaced() {
    let why = TokenEndpointError::InvalidResponse("x");
    let rotated = NewTokens::RefreshToken(Secret::new("r2"), why);
    for (grant, stored) in [
        (login("a2", "r2", later()), ("a2", "r2")),
        (Grant { tokens: rotated, unread: Some(unread()) }, ("b1", "r2")),
    ] {
        let fake = Fake::default();
        let refresher = fake.start();
        fake.put("a1", "r1", 0);
        fake.0.answers.lock().unwrap().push_back(Ok(grant));
        fake.shut();
        let change = async {
            fake.0.called.notified().await;
            fake.put("b1", "r1", 0);
            fake.0.open.add_permits(1);
        };
        let (_, ()) = tokio::join!(refresh(&refresher, "a1"), change);
        assert_eq!(fake.stored(), (stored.0.into(), stored.1.into()));
    }
}

#[tokio::test]
async fn a_refresh_can_be_ordered_without_a_waiter() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", later());
    fake.answers(Ok(("a2", "r2")));
    refresher.order(RefreshRequest { reason: RefreshReason::Refused, ..request("a1") });
    fake.0.replaced.notified().await;
    assert_eq!(fake.stored(), ("a2".into(), "r2".into()));
    // Orders are bounded: those that do not fit are dropped.
    for _ in 0..2 * QUEUE {
        refresher.order(RefreshRequest { reason: RefreshReason::Refused, ..request("a2") });
    }
    assert_eq!(refresh(&refresher, "a1").await, Ok("a2".into()));
    assert_eq!(fake.spent(), ["r1"]);
}

#[tokio::test]
async fn storing_tokens_is_retried_without_a_request() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", 0);
    fake.answers(Ok(("a2", "r2")));
    fake.0.failures.store(1, SeqCst);
    assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::Store));
    fake.0.replaced.notified().await;
    assert_eq!(fake.stored(), ("a2".into(), "r2".into()));
}

#[tokio::test]
async fn the_task_ends_after_running_refreshes() {
    let fake = Fake::default();
    let (refresher, task) = Refresher::start(fake.clone(), fake.clone(), CancellationToken::new());
    fake.put("a1", "r1", 0);
    fake.answers(Ok(("a2", "r2")));
    fake.0.failures.store(1, SeqCst);
    fake.shut();
    let ask = async move {
        tokio::select! {
            outcome = refresh(&refresher, "a1") => panic!("{outcome:?}"),
            () = fake.0.called.notified() => fake.0.open.add_permits(1),
        }
        fake
    };
    let ((), fake) = tokio::join!(task, ask);
    assert_eq!(fake.stored(), ("a2".into(), "r2".into()));
}

/// A stop ends the task, though callers are left: after the refreshes whose token is spent, and without the others.
#[tokio::test]
async fn the_task_stops_after_the_refreshes_that_have_begun() {
    for is_sent in [true, false] {
        let (fake, stop) = (Fake::default(), CancellationToken::new());
        let (refresher, task) = Refresher::start(fake.clone(), fake.clone(), stop.clone());
        fake.put("a1", "r1", 0);
        fake.answers(Ok(("a2", "r2")));
        fake.shut();
        let ask = async {
            tokio::select! {
                outcome = refresh(&refresher, "a1") => panic!("{outcome:?}"),
                () = async {
                    if is_sent {
                        fake.0.called.notified().await;
                    } else {
                        // The task has dropped the leases; another process takes one before it reads the message.
                        *fake.0.leased.lock().unwrap() = Some("them");
                        fake.0.refused.notified().await;
                    }
                } => stop.cancel(),
            }
            fake.0.open.add_permits(1);
        };
        tokio::join!(task, ask);
        let stored = if is_sent { ("a2".into(), "r2".into()) } else { ("a1".into(), "r1".into()) };
        assert_eq!(fake.stored(), stored);
        assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::Timeout), "no task is left");
    }
}

#[tokio::test]
async fn a_refresh_by_another_node_is_awaited() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", 0);
    // After the task has started.
    tokio::task::yield_now().await;
    *fake.0.leased.lock().unwrap() = Some("them");
    let them = async {
        // Polled again after the task has found the lease taken.
        tokio::task::yield_now().await;
        fake.put("a2", "r2", later());
    };
    let (outcome, ()) = tokio::join!(refresh(&refresher, "a1"), them);
    assert_eq!(outcome, Ok("a2".into()));
    assert_eq!(fake.spent(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lease_of_a_dead_process_is_not_awaited() {
    let fake = Fake::default();
    *fake.0.leased.lock().unwrap() = Some("dead");
    let refresher = fake.start();
    fake.put("a1", "r1", 0);
    fake.answers(Ok(("a2", "r2")));
    assert_eq!(refresh(&refresher, "a1").await, Ok("a2".into()));
}

/// Only requests without a valid access token wait for a slow refresh.
#[tokio::test]
async fn a_request_with_a_valid_access_token_waits_briefly() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", 0);
    fake.answers(Ok(("a2", "r2")));
    fake.shut();
    let expired = RefreshRequest { reason: RefreshReason::Expired, ..request("a1") };
    let waiting = async { refresher.refresh(expired).await.map(|fresh| fresh.token) };
    let others = async {
        let start = Instant::now();
        assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::Timeout));
        assert!(start.elapsed() < WAIT_WHILE_GOOD * 3, "{:?}", start.elapsed());
        // Later requests do not wait.
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(refresh(&refresher, "a1").await, Err(RefreshError::Timeout));
        }
        assert!(start.elapsed() < WAIT_WHILE_GOOD * 3, "{:?}", start.elapsed());
        fake.0.open.add_permits(1);
    };
    let (outcome, ()) = tokio::join!(waiting, others);
    assert_eq!(outcome, Ok(Secret::new("a2")));
    assert_eq!(fake.spent(), ["r1"]);
}

#[tokio::test]
async fn a_panic_does_not_block_later_refreshes() {
    let fake = Fake::default();
    let refresher = fake.start();
    fake.put("a1", "r1", 0);
    // A plain secret, which this fake cannot store: it panics.
    let plain = NewTokens::Login(StoredCredential::Plain(Secret::new("a2")));
    let plain = Grant { tokens: plain, unread: None };
    fake.0.answers.lock().unwrap().push_back(Ok(plain));
    let expired = || RefreshRequest { reason: RefreshReason::Expired, ..request("a1") };
    assert_eq!(refresher.refresh(expired()).await, Err(RefreshError::Timeout));
    fake.answers(Ok(("a2", "r2")));
    let fresh = refresher.refresh(expired()).await.unwrap();
    assert_eq!(fresh.token.expose(), "a2");
}
