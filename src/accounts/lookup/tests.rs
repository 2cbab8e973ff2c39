use std::{
    collections::HashMap,
    path::PathBuf,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
};

use tempfile::TempDir;
use tokio::{task::yield_now, time::timeout};

use super::*;
use crate::{
    accounts::{
        Actor, DisplayName, Edit, KeySources, NewUser, StoredCredential, change_credentials, create_user,
        issue_token,
        watch::{POLL_DEADLINE, POLL_INTERVAL, Watcher, fill_once},
    },
    clock,
    name::{AdminTokenId, FileName, Owner, TokenId, UserId},
    store::{DuplicateNames, Invalidated, Store, StoredToken, TokenKind, User},
};

const LIMIT: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_hours(1);

/// A store that counts and can fail or stay silent.
#[derive(Default)]
struct Fake {
    tokens: Mutex<HashMap<TokenHash, TokenLookup>>,
    pasted: Mutex<HashMap<TokenHash, TokenLookup>>,
    calls: Mutex<Vec<TokenHash>>,
    fails: AtomicBool,
    hangs: AtomicBool,
    polls_hang: AtomicBool,
    lists_hang: AtomicBool,
    /// Whom each change was about.
    changes: Mutex<Vec<UserId>>,
    /// Whether the older ones are not known any more.
    trimmed: AtomicBool,
    used: Mutex<Vec<TokenHash>>,
    invalidations: InvalidationCounter,
}

impl Fake {
    /// As another process would: only the version tells.
    fn add(&self, token: &str, number: u64) {
        let id = UserId::new(&format!("usr_{number:016x}")).unwrap();
        let name = "ada".to_owned();
        let user = User { id, name, ip: None, group: None, created_at_ms: 1, disabled_at_ms: None };
        let own = StoredToken {
            id: TokenId::new(&format!("tok_{number:016x}")).unwrap(),
            hash: TokenHash::of(token),
            prefix: String::new(),
            label: None,
            kind: TokenKind::Both,
            scopes: None,
            paste: None,
            user: user.id.clone(),
            user_name: user.name.clone(),
            created_at_ms: 1,
            expires_at_ms: None,
            replaced_at_ms: None,
            last_used_at_ms: None,
        };
        let found = TokenLookup { user, token: own, credentials: Vec::new() };
        self.changes.lock().unwrap().push(found.user.id.clone());
        self.tokens.lock().unwrap().insert(TokenHash::of(token), found);
    }

    fn revoke(&self, token: &str) {
        let found = self.tokens.lock().unwrap().remove(&TokenHash::of(token)).unwrap();
        self.changes.lock().unwrap().push(found.user.id);
    }

    async fn reached(&self) -> Result<(), StoreError> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Locked { path: PathBuf::from("fake") });
        }
        Ok(())
    }

    fn calls(&self) -> usize {
        std::mem::take(&mut *self.calls.lock().unwrap()).len()
    }
}

impl Directory for Arc<Fake> {
    async fn lookup_token(&self, hash: &TokenHash) -> Result<Option<TokenLookup>, StoreError> {
        self.calls.lock().unwrap().push(*hash);
        self.reached().await?;
        Ok(self.tokens.lock().unwrap().get(hash).cloned())
    }

    async fn lookup_paste_token(&self, hash: &TokenHash) -> Result<Option<TokenLookup>, StoreError> {
        self.calls.lock().unwrap().push(*hash);
        self.reached().await?;
        Ok(self.pasted.lock().unwrap().get(hash).cloned())
    }

    async fn find_admin_token(&self, hash: &TokenHash) -> Result<Option<StoredAdminToken>, StoreError> {
        let found = self.lookup_token(hash).await?;
        Ok(found.map(|_| StoredAdminToken {
            id: AdminTokenId::new("adm_0123456789abcdef").unwrap(),
            prefix: String::new(),
            label: String::new(),
            created_at_ms: 1,
            expires_at_ms: None,
            last_used_at_ms: None,
        }))
    }

    async fn data_version(&self) -> Result<i64, StoreError> {
        if self.polls_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.reached().await?;
        Ok(i64::try_from(self.changes.lock().unwrap().len()).unwrap())
    }

    async fn last_invalidation(&self) -> Result<u64, StoreError> {
        self.reached().await?;
        Ok(self.changes.lock().unwrap().len() as u64)
    }

    async fn invalidated_since(&self, seq: u64) -> Result<Invalidated, StoreError> {
        self.reached().await?;
        let changes = self.changes.lock().unwrap();
        let users = changes[usize::try_from(seq).unwrap()..].to_vec();
        let gap = self.trimmed.load(Ordering::SeqCst);
        Ok(Invalidated { seq: changes.len() as u64, users, everybody: false, gap })
    }

    async fn count_tokens(&self) -> Result<u64, StoreError> {
        self.reached().await?;
        Ok(self.tokens.lock().unwrap().len() as u64)
    }

    async fn token_hashes_after(
        &self,
        after: Option<&TokenHash>,
        limit: u64,
    ) -> Result<Vec<TokenHash>, StoreError> {
        self.reached().await?;
        let mut hashes: Vec<TokenHash> = self.tokens.lock().unwrap().keys().copied().collect();
        hashes.retain(|hash| after.is_none_or(|after| hash > after));
        hashes.sort_unstable();
        hashes.truncate(usize::try_from(limit).unwrap());
        Ok(hashes)
    }

    async fn token_hashes_of(&self, user: Option<&UserId>) -> Result<Vec<TokenHash>, StoreError> {
        if self.lists_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.reached().await?;
        let tokens = self.tokens.lock().unwrap();
        Ok(tokens.iter().filter(|(_, found)| Some(&found.user.id) == user).map(|(hash, _)| *hash).collect())
    }

    async fn record_last_use(&self, used: &[(TokenHash, u64)]) -> Result<(), StoreError> {
        self.reached().await?;
        self.used.lock().unwrap().extend(used.iter().map(|(hash, _)| *hash));
        Ok(())
    }

    fn invalidations(&self) -> InvalidationCounter {
        self.invalidations.clone()
    }
}

/// A worker and its store. The tests poll themselves, so that nothing here waits for a clock.
struct World {
    fake: Arc<Fake>,
    accounts: Authenticator,
    cache: LocalCache,
    watcher: Watcher,
    tasks: JoinSet<()>,
}

impl World {
    async fn new() -> Self {
        let fake = Arc::new(Fake::default());
        let (accounts, waiting) = Authenticator::new(fake.invalidations.clone(), GRACE);
        let Waiting { asks, rechecks, used } = waiting;
        let mut tasks = JoinSet::new();
        let directory = Arc::new(Arc::clone(&fake));
        let noted = directory.clone();
        tasks.spawn(async move { serve(&directory, MasterKey::generate(), asks, rechecks).await });
        tasks.spawn(async move { last_used::note(&*noted, used).await });
        let (cache, watcher) = (LocalCache::default(), Watcher::default());
        let mut world = Self { fake, accounts, cache, watcher, tasks };
        world.poll().await;
        world
    }

    async fn poll(&mut self) {
        self.watcher.poll(&self.fake, &self.accounts.view).await;
    }

    /// As `fill` does when it is told to.
    async fn fill(&self) {
        fill_once(&self.fake, &self.accounts.view.filter).await.unwrap();
    }

    /// How often a thousand wrong tokens reach the store.
    async fn calls_of_a_flood(&self) -> usize {
        for number in 0..1000 {
            let wrong = format!("tg_wrong{number}");
            assert!(self.accounts.authenticate(&self.cache, &wrong).await.unwrap().is_none());
        }
        self.fake.calls()
    }

    /// What `authenticate` says, and how often the store was asked for it.
    async fn check(&self, token: &str, expected: Result<bool, &str>, calls: usize) {
        let got = self.accounts.authenticate(&self.cache, token).await;
        let got = got.map(|caller| caller.is_some()).map_err(|error| format!("{error:?}"));
        match (&got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(*got, expected, "{token}"),
            (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{got}"),
            (got, expected) => panic!("{token}: {got:?} against {expected:?}"),
        }
        assert_eq!(self.fake.calls(), calls, "{token}");
    }
}

#[tokio::test]
async fn a_warm_lookup_asks_nobody() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.check("tg_0", Ok(true), 0).await;
    world.poll().await;
    world.check("tg_0", Ok(true), 0).await;
    // Nor behind whatever prefix: else one user could fill the cache and drive out all others.
    for number in 0..100 {
        world.check(&format!("sk-{number}-tg_0"), Ok(true), 0).await;
    }
    let other = LocalCache::default();
    world.accounts.authenticate(&other, "tg_0").await.unwrap().unwrap();
    assert_eq!(world.fake.calls(), 1, "each worker has its own cache");
}

#[tokio::test]
async fn a_token_behind_a_prefix_is_known_and_revoked_as_itself() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    // Both parts may be a token.
    world.check("sk-tg_0", Ok(true), 2).await;
    world.check("tg_0", Ok(true), 0).await;
    world.fake.invalidations.invalidate_all();
    // Only the part that was known is looked up again.
    world.check("vendor-tg_0", Ok(true), 1).await;
    world.check("sk-tg_0", Ok(true), 0).await;
    world.fake.revoke("tg_0");
    world.poll().await;
    world.check("sk-tg_0", Ok(false), 3).await;
    world.check("sk-tg_0", Ok(false), 0).await;
    world.check("vendor-tg_0", Ok(false), 2).await;
    world.check("tg_0", Ok(false), 0).await;
}

#[tokio::test]
async fn tokens_of_a_vendors_shape_are_looked_up_among_their_own() {
    let mut world = World::new().await;
    for text in ["a.b.c", "a.b", "a.b.c.d"] {
        world.fake.add(text, 1);
        let (hash, mut tokens) = (TokenHash::of(text), world.fake.tokens.lock().unwrap());
        let provider = FileName::new("demo").unwrap();
        let mut found = tokens.remove(&hash).unwrap();
        found.token.paste = Some(provider);
        world.fake.pasted.lock().unwrap().insert(hash, found);
    }
    world.poll().await;
    world.check("a.b", Ok(false), 1).await;
    world.check("a.b.c.d", Ok(false), 1).await;
    world.check("a.b.c", Ok(true), 2).await;
    world.check("a.b.c", Ok(true), 0).await;
    world.fake.invalidations.invalidate_all();
    world.check("a.b.c", Ok(true), 2).await;
    world.fake.pasted.lock().unwrap().clear();
    world.poll().await;
    world.fake.invalidations.invalidate_all();
    world.check("a.b.c", Ok(false), 2).await;
}

#[tokio::test]
async fn a_refused_token_works_once_it_was_added_and_a_revoked_one_no_more() {
    let mut world = World::new().await;
    world.check("tg_0", Ok(false), 1).await;
    world.check("tg_0", Ok(false), 0).await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.fake.revoke("tg_0");
    world.poll().await;
    world.check("tg_0", Ok(false), 1).await;
    world.check("tg_0", Ok(false), 0).await;
}

#[tokio::test]
async fn tokens_of_any_shape_are_not_found() {
    let world = World::new().await;
    let long = "x".repeat(1_000_000);
    let dashes = "-".repeat(10_000);
    for token in ["", "-", "a.b", "é", &long, &dashes] {
        world.check(token, Ok(false), 1).await;
    }
    for token in ["a-b", "a.b.c"] {
        world.check(token, Ok(false), 2).await;
    }
}

#[tokio::test]
async fn what_holds_a_blank_is_nobodys_and_not_looked_up() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    for token in ["some text-tg_0", "tg_0 ", "a\tb-tg_0", "a-b\u{1f}-tg_0", "\0"] {
        world.check(token, Ok(false), 0).await;
        assert!(world.accounts.authenticate_admin(&world.cache, token).await.unwrap().is_none());
        assert_eq!(world.fake.calls(), 0, "{token:?}");
    }
}

#[tokio::test]
async fn a_failing_store_keeps_known_callers() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.fake.add("tg_1", 2);
    world.poll().await;
    world.fake.fails.store(true, Ordering::SeqCst);
    world.poll().await;
    world.check("tg_1", Err("Locked"), 1).await;
    world.check("tg_0", Ok(true), 1).await;
    // Nobody known waits for the store so soon after it failed.
    world.check("tg_0", Ok(true), 0).await;
    world.fake.fails.store(false, Ordering::SeqCst);
    world.check("tg_1", Ok(true), 1).await;
}

#[tokio::test]
async fn a_silent_store_keeps_known_callers() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.fake.invalidations.invalidate_all();
    world.fake.hangs.store(true, Ordering::SeqCst);
    world.check("tg_0", Ok(true), 1).await;
    world.check("tg_0", Ok(true), 0).await;
}

/// One question that failed says nothing about those who were just revoked.
#[tokio::test]
async fn a_failure_about_one_does_not_keep_a_revoked_one_alive() {
    let mut world = World::new().await;
    for number in [0, 1] {
        world.fake.add(&format!("tg_{number}"), number);
    }
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.check("tg_1", Ok(true), 1).await;
    world.fake.revoke("tg_1");
    world.poll().await;
    world.fake.invalidations.invalidate_all();
    world.fake.fails.store(true, Ordering::SeqCst);
    world.check("tg_0", Ok(true), 1).await;
    world.fake.fails.store(false, Ordering::SeqCst);
    world.check("tg_1", Ok(false), 1).await;
    world.check("tg_0", Ok(true), 1).await;
}

/// Lookups still work: what cannot be watched is looked up.
#[tokio::test]
async fn a_silent_watch_does_not_keep_a_revoked_token_alive() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.fake.polls_hang.store(true, Ordering::SeqCst);
    world.fake.revoke("tg_0");
    timeout(POLL_DEADLINE * 10, world.poll()).await.unwrap();
    world.check("tg_0", Ok(false), 1).await;
    world.check("tg_0", Ok(false), 0).await;
    assert!(world.watcher.failing);
    world.fake.polls_hang.store(false, Ordering::SeqCst);
    world.poll().await;
    assert!(!world.watcher.failing);
}

/// What many say who ask for the same token at once.
async fn at_once(world: &Arc<World>, count: usize) -> Vec<Result<bool, String>> {
    let mut running = JoinSet::new();
    for _ in 0..count {
        let world = Arc::clone(world);
        running.spawn(async move {
            let caller = world.accounts.authenticate(&world.cache, "tg_0").await;
            caller.map(|caller| caller.is_some()).map_err(|error| error.to_string())
        });
    }
    running.join_all().await
}

#[tokio::test]
async fn many_who_ask_the_same_at_once_ask_once() {
    let mut world = World::new().await;
    world.check("tg_1", Ok(false), 1).await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    let world = Arc::new(world);
    let check = async |expected: bool| {
        assert_eq!(at_once(&world, 100).await, vec![Ok(expected); 100]);
        assert_eq!(world.fake.calls(), 1);
    };
    check(true).await;
    world.fake.invalidations.invalidate_all();
    check(true).await;
    world.fake.revoke("tg_0");
    world.fake.invalidations.invalidate_all();
    check(false).await;
    // Without an answer all who wait are told so, and known callers are served.
    world.fake.fails.store(true, Ordering::SeqCst);
    world.fake.invalidations.invalidate_all();
    let failed = at_once(&world, 100).await;
    assert!(failed.iter().all(Result::is_err));
    assert_eq!(world.fake.calls(), 1);
    world.fake.fails.store(false, Ordering::SeqCst);
    world.fake.add("tg_0", 1);
    check(true).await;
    world.fake.invalidations.invalidate_all();
    world.fake.fails.store(true, Ordering::SeqCst);
    check(true).await;
}

#[tokio::test]
async fn who_waits_asks_if_the_one_who_asked_goes_away() {
    let world = World::new().await;
    world.fake.add("tg_0", 1);
    world.fake.hangs.store(true, Ordering::SeqCst);
    let mut first = Box::pin(world.accounts.authenticate(&world.cache, "tg_0"));
    tokio::select! {
        biased;
        _ = &mut first => panic!("the store is silent"),
        () = yield_now() => {}
    }
    let mut second = pin!(world.accounts.authenticate(&world.cache, "tg_0"));
    tokio::select! {
        biased;
        _ = &mut second => panic!("the store is silent"),
        () = yield_now() => {}
    }
    world.fake.hangs.store(false, Ordering::SeqCst);
    drop(first);
    assert!(second.await.unwrap().is_some());
}

#[tokio::test]
async fn who_asks_after_a_change_does_not_get_an_answer_from_before() {
    let world = World::new().await;
    world.fake.add("tg_0", 1);
    world.fake.hangs.store(true, Ordering::SeqCst);
    let mut first = Box::pin(world.accounts.authenticate(&world.cache, "tg_0"));
    tokio::select! {
        biased;
        _ = &mut first => panic!("the store is silent"),
        () = yield_now() => {}
    }
    world.fake.revoke("tg_0");
    world.fake.invalidations.invalidate_all();
    world.fake.hangs.store(false, Ordering::SeqCst);
    // The first still waits: its question is lost in the silence.
    assert!(world.accounts.authenticate(&world.cache, "tg_0").await.unwrap().is_none());
    drop(first);
}

#[tokio::test]
async fn many_who_ask_at_once_are_all_answered() {
    let world = World::new().await;
    world.fake.add("tg_0", 1);
    let world = Arc::new(world);
    let mut running = JoinSet::new();
    for number in 0..3000 {
        let world = Arc::clone(&world);
        running.spawn(async move {
            let token = if number % 2 == 0 { "tg_0".to_owned() } else { format!("tg_x{number}") };
            let caller = world.accounts.authenticate(&world.cache, &token).await.unwrap();
            assert_eq!(caller.is_some(), number % 2 == 0);
        });
    }
    running.join_all().await;
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_does_not_keep_a_revoked_one_alive() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.fake.revoke("tg_0");
    world.poll().await;
    let mut flood = Vec::new();
    for number in 0..MAX_WAITING {
        let (reply, answer) = oneshot::channel();
        let candidates = Candidates::of(&number.to_string()).unwrap();
        world.accounts.asks.try_send(Ask::Caller { candidates, reply }).unwrap();
        flood.push(answer);
    }
    assert!(world.accounts.authenticate(&world.cache, "tg_0").await.unwrap().is_none());
    let calls = world.fake.calls.lock().unwrap();
    let before = calls.iter().position(|hash| *hash == TokenHash::of("tg_0")).unwrap();
    assert!(before <= MAX_RUNNING, "{before} of the flood were served first");
}

#[tokio::test]
async fn admin_tokens_are_cached_the_same_way_and_match_exactly() {
    let mut world = World::new().await;
    let check = async |world: &World, token, expected, calls| {
        let got = world.accounts.authenticate_admin(&world.cache, token).await.unwrap().is_some();
        assert_eq!((got, world.fake.calls()), (expected, calls), "{token}");
    };
    check(&world, "tg_a", false, 1).await;
    check(&world, "tg_a", false, 0).await;
    world.fake.add("tg_a", 1);
    world.poll().await;
    check(&world, "tg_a", true, 1).await;
    check(&world, "tg_a", true, 0).await;
    check(&world, "sk-tg_a", false, 1).await;
}

#[tokio::test]
async fn an_expired_token_is_not_found() {
    let world = World::new().await;
    world.fake.add("tg_0", 1);
    let expire = |at| {
        let mut tokens = world.fake.tokens.lock().unwrap();
        let found = tokens.get_mut(&TokenHash::of("tg_0")).unwrap();
        found.token.expires_at_ms = Some(at);
        world.fake.invalidations.invalidate_all();
    };
    expire(clock::now_ms());
    world.check("tg_0", Ok(false), 1).await;
    expire(clock::now_ms() + 3_600_000);
    world.check("tg_0", Ok(true), 1).await;
}

#[tokio::test]
async fn a_change_of_one_costs_the_others_nothing() {
    let mut world = World::new().await;
    for number in 0..3 {
        world.fake.add(&format!("tg_{number}"), number);
    }
    world.poll().await;
    for token in ["tg_0", "tg_1", "tg_2"] {
        world.check(token, Ok(true), 1).await;
    }
    world.fake.add("tg_x", 1);
    world.fake.revoke("tg_2");
    world.poll().await;
    world.check("tg_0", Ok(true), 0).await;
    world.check("tg_1", Ok(true), 1).await;
    world.check("tg_2", Ok(false), 1).await;
    world.check("tg_x", Ok(true), 1).await;
    // A change of this process is known before any poll.
    world.fake.invalidations.invalidate_user(&UserId::new("usr_0000000000000000").unwrap());
    world.check("tg_0", Ok(true), 1).await;
    world.check("tg_1", Ok(true), 0).await;
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_hardly_reaches_the_store() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 0);
    world.fake.add("tg_1", 1);
    world.poll().await;
    world.fill().await;
    for number in 0..10_000 {
        let wrong = format!("tg_wrong{number}");
        assert!(world.accounts.authenticate(&world.cache, &wrong).await.unwrap().is_none());
        assert!(world.accounts.authenticate_admin(&world.cache, &wrong).await.unwrap().is_none());
    }
    let calls = world.fake.calls();
    let seconds = usize::try_from(world.accounts.view.started.elapsed().as_secs()).unwrap();
    assert!((50..=60 * (seconds + 2)).contains(&calls), "the store was asked {calls} times");
    // Right ones are looked up all the same: those that were there, and those that others make.
    world.check("tg_0", Ok(true), 1).await;
    world.fake.add("tg_2", 2);
    world.poll().await;
    world.check("tg_2", Ok(true), 1).await;
    world.check("vendor-tg_1", Ok(true), 2).await;
    // A revoked one is refused, and asked about no more than once.
    world.fake.revoke("tg_1");
    world.poll().await;
    world.check("tg_1", Ok(false), 1).await;
    world.check("tg_1", Ok(false), 0).await;
}

#[tokio::test]
async fn who_is_too_far_behind_asks_about_everybody() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 0);
    world.poll().await;
    world.fill().await;
    world.check("tg_0", Ok(true), 1).await;
    assert!(world.calls_of_a_flood().await < 200);
    world.fake.trimmed.store(true, Ordering::SeqCst);
    world.fake.add("tg_1", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    assert_eq!(world.calls_of_a_flood().await, 1000, "any may be one that was made meanwhile");
    let filter = &world.accounts.view.filter;
    timeout(LIMIT, filter.wanted()).await.expect("it is to be filled anew");
}

#[tokio::test]
async fn a_user_whose_tokens_cannot_be_listed_in_time_opens_the_store_to_nobody() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 0);
    world.poll().await;
    world.fill().await;
    let wanted =
        async |world: &World| timeout(POLL_DEADLINE, world.accounts.view.filter.wanted()).await.is_ok();
    while wanted(&world).await {}
    world.fake.lists_hang.store(true, Ordering::SeqCst);
    world.fake.add("tg_1", 1);
    world.poll().await;
    assert!(world.calls_of_a_flood().await < 200);
    world.check("tg_0", Ok(true), 1).await;
    assert!(wanted(&world).await, "it is to be filled anew");
    world.fill().await;
    world.check("tg_1", Ok(true), 1).await;
}

#[tokio::test]
async fn a_token_that_no_poll_has_told_of_works_within_the_budget() {
    let mut world = World::new().await;
    world.poll().await;
    world.fill().await;
    world.fake.add("tg_0", 0);
    world.check("tg_0", Ok(true), 1).await;
}

#[tokio::test]
async fn uses_are_written_at_the_end() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 0);
    world.poll().await;
    for _ in 0..10 {
        world.accounts.authenticate(&world.cache, "tg_0").await.unwrap().unwrap();
    }
    world.check("tg_1", Ok(false), 2).await;
    let World { fake, accounts, tasks, .. } = world;
    drop(accounts);
    tasks.join_all().await;
    assert_eq!(*fake.used.lock().unwrap(), [TokenHash::of("tg_0")]);
}

#[tokio::test]
async fn the_task_ends_with_the_last_handle() {
    let (accounts, task) = Authenticator::start(Arc::new(Fake::default()), MasterKey::generate(), GRACE);
    let other = accounts.clone();
    drop(accounts);
    let mut task = pin!(task);
    tokio::select! {
        biased;
        () = &mut task => panic!("a handle is left"),
        () = yield_now() => {}
    }
    drop(other);
    task.await;
}

#[tokio::test]
async fn without_the_task_there_is_an_error_not_a_wait() {
    let (accounts, task) = Authenticator::start(Arc::new(Fake::default()), MasterKey::generate(), GRACE);
    drop(task);
    let error = accounts.authenticate(&LocalCache::default(), "tg_0").await.unwrap_err();
    assert!(matches!(error, StoreError::Unanswered));
}

/// The whole way on a real database. A change by another process counts within 250 ms on a machine that
/// is not overloaded; the test holds the interval to that, and the clock to less.
#[tokio::test]
async fn a_change_by_another_process_is_seen_in_time() {
    let dir = TempDir::new().unwrap();
    let (served, other) = (Store::open(dir.path()).await.unwrap(), Store::open(dir.path()).await.unwrap());
    let (accounts, task) = Authenticator::start(served.clone(), MasterKey::generate(), GRACE);
    let mut tasks = JoinSet::new();
    tasks.spawn(task);
    let (cache, name) = (LocalCache::default(), DisplayName::new("ada").unwrap());
    assert!(accounts.authenticate(&cache, "tg_0").await.unwrap().is_none());

    // By this process: at once.
    let own = create_user(&served, &Actor::own(), &name, DuplicateNames::Allow).await.unwrap();
    let NewUser::Created { id, token } = own else { panic!("{own:?}") };
    let caller = accounts.authenticate(&cache, token.expose()).await.unwrap().unwrap();
    assert_eq!((&caller.id, caller.name.as_str()), (&id, "ada"));

    let second = issue_token(&served, &Actor::own(), &id, None).await.unwrap().unwrap();
    let prefixed = format!("sk-{}", second.expose());
    let tokens = [token.expose(), second.expose(), &prefixed];
    for token in tokens {
        assert!(accounts.authenticate(&cache, token).await.unwrap().is_some());
    }

    let changed = Instant::now();
    assert!(
        other.delete_user(&id, &Actor::own().act("user.delete", &id, serde_json::Value::Null)).await.unwrap()
    );
    for token in tokens {
        while accounts.authenticate(&cache, token).await.unwrap().is_some() {
            yield_now().await;
        }
    }
    assert_eq!(lock(&cache.callers.answers).known(), 0, "credentials in clear are left of nobody");
    assert!(POLL_INTERVAL * 2 <= Duration::from_millis(250));
    assert!(changed.elapsed() < Duration::from_secs(5), "{:?}", changed.elapsed());
}

/// As in the server: each worker on a thread and a runtime of its own, the store on the control runtime.
#[tokio::test]
async fn workers_on_other_runtimes_ask_the_control_runtime() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let key = MasterKey::load(&KeySources::default(), dir.path(), &store).await.unwrap();
    let made = create_user(&store, &Actor::own(), &DisplayName::new("ada").unwrap(), DuplicateNames::Allow)
        .await
        .unwrap();
    let NewUser::Created { id, token } = made else { panic!("{made:?}") };
    let stored = StoredCredential::plain("key").unwrap();
    let edit = Edit::Set {
        section: "demo".to_owned(),
        field: "apiKey".to_owned(),
        stored: stored.clone(),
        origins: Vec::new(),
    };
    change_credentials(&store, &Actor::own(), &key, &Owner::User(id.clone()), &[edit]).await.unwrap();
    let (accounts, task) = Authenticator::start(store, key, GRACE);
    let worker = |accounts: Authenticator| {
        let (token, stored, owner) = (token.clone(), stored.clone(), Owner::User(id.clone()));
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let cache = LocalCache::default();
            for _ in 0..100 {
                let caller = runtime.block_on(accounts.authenticate(&cache, token.expose())).unwrap();
                let caller = caller.unwrap();
                let [(whose, credentials)] = &*caller.credentials else { panic!("one owner's") };
                assert_eq!((whose, credentials.get("demo", "apiKey")), (&owner, Some(&stored)));
            }
        }
    };
    let workers: Vec<_> = (0..4).map(|_| std::thread::spawn(worker(accounts.clone()))).collect();
    drop(accounts);
    task.await;
    for worker in workers {
        worker.join().unwrap();
    }
}
