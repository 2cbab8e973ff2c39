//! The result of a lookup, and the number of reads of the store for it.

use super::*;

#[tokio::test]
async fn a_cached_token_causes_no_lookup() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.check("tg_0", Ok(true), 0).await;
    world.poll().await;
    world.check("tg_0", Ok(true), 0).await;
    world.fill().await;
    // A prefix makes no difference. Otherwise one user could fill the cache and evict all others.
    for number in 0..100 {
        world.check(&format!("sk-{number}-tg_0"), Ok(true), 0).await;
    }
    let other = LocalCache::default();
    world.accounts.authenticate(&other, "tg_0").await.unwrap().unwrap();
    assert_eq!(world.fake.calls(), 0, "a worker knows whom another has looked up");
}

#[tokio::test]
async fn a_prefixed_token_is_cached_and_revoked_like_the_token_itself() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.fill().await;
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
async fn tokens_with_three_parts_are_looked_up_as_paste_tokens_too() {
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
    world.check("a.b.c", Ok(true), 1).await;
    world.check("a.b.c", Ok(true), 0).await;
    world.fake.invalidations.invalidate_all();
    world.check("a.b.c", Ok(true), 1).await;
    world.fake.pasted.lock().unwrap().clear();
    world.poll().await;
    world.fake.invalidations.invalidate_all();
    // The paste token is looked up first, then everything that the text may be.
    world.check("a.b.c", Ok(false), 3).await;
}

#[tokio::test]
async fn a_refused_token_is_accepted_once_it_exists_and_refused_once_it_is_revoked() {
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
async fn unknown_tokens_of_any_form_are_refused() {
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
async fn a_text_with_blanks_is_refused_without_a_lookup() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    for token in ["some text-tg_0", "tg_0 ", "a\tb-tg_0", "a-b\u{1f}-tg_0", "\0"] {
        world.check(token, Ok(false), 0).await;
        assert!(world.accounts.authenticate_admin(&world.cache, token).await.unwrap().is_none());
        assert_eq!(world.fake.calls(), 0, "{token:?}");
    }
}

/// How a text is presented.
#[derive(Debug, Clone, Copy)]
enum As {
    Caller,
    Admin,
    /// In a user's cookie.
    Session,
    /// In an admin's cookie.
    Console,
}

/// Texts, and the user of each that is a token; 0 for an admin. What was presented before never matters.
const PRESENTED: [(As, &str, Option<u64>); 30] = [
    (As::Caller, "tg_0", Some(1)),
    (As::Caller, "x-tg_0", Some(1)),
    (As::Caller, "x-y-tg_0", Some(1)),
    (As::Caller, "TG_0", None),
    (As::Caller, "tg_0-", None),
    (As::Caller, "a.b.c", Some(3)),
    (As::Caller, "x-a.b.c", None),
    (As::Caller, "-a.b.c", None),
    (As::Caller, "A.b.c", None),
    (As::Caller, "a.b.c-tg_0", Some(1)),
    (As::Caller, "my-token", Some(2)),
    (As::Caller, "token", None),
    (As::Caller, "x-my-token", None),
    // A token of its own, whose last part is another one.
    (As::Caller, "own-tg_0", Some(4)),
    (As::Caller, "x-own-tg_0", Some(1)),
    (As::Caller, "tg_a", None),
    (As::Caller, "x-tg_a", None),
    (As::Admin, "tg_a", Some(0)),
    (As::Admin, "x-tg_a", None),
    (As::Admin, "tg_0", None),
    (As::Admin, "a.b.c", None),
    (As::Session, "tg_s", Some(5)),
    (As::Caller, "tg_s", None),
    (As::Caller, "x-tg_s", None),
    (As::Session, "x-tg_s", None),
    (As::Session, "tg_0", None),
    (As::Session, "a.b.c", None),
    (As::Console, "tg_t", Some(0)),
    (As::Admin, "tg_t", None),
    (As::Console, "tg_a", None),
];

impl World {
    /// The tokens of `PRESENTED`: three of users, a paste token, one of an admin, and a session of a user and of an admin.
    async fn with_every_kind(is_filled: bool) -> Self {
        let mut world = Self::new().await;
        world.fake.add("tg_0", 1);
        world.fake.add("my-token", 2);
        world.fake.add("a.b.c", 3);
        world.fake.add("own-tg_0", 4);
        let pasted = world.fake.tokens.lock().unwrap().remove(&TokenHash::of("a.b.c")).unwrap();
        world.fake.pasted.lock().unwrap().insert(TokenHash::of("a.b.c"), pasted);
        world.fake.add("tg_s", 5);
        let session = world.fake.tokens.lock().unwrap().remove(&TokenHash::of("tg_s")).unwrap();
        world.fake.sessions.lock().unwrap().insert(TokenHash::of("tg_s"), session);
        world.fake.admins.lock().unwrap().insert(TokenHash::of("tg_a"));
        world.fake.admin_sessions.lock().unwrap().insert(TokenHash::of("tg_t"));
        world.poll().await;
        if is_filled {
            world.fill().await;
        }
        world
    }

    async fn present(&self, (kind, text, expected): (As, &str, Option<u64>), history: &str) {
        let number =
            |found: Authenticated| found.caller.id.as_str().strip_prefix("usr_").unwrap().parse().unwrap();
        let found = match kind {
            As::Caller => self.accounts.authenticate(&self.cache, text).await.unwrap().map(number),
            As::Admin => self.accounts.authenticate_admin(&self.cache, text).await.unwrap().map(|_| 0),
            As::Session => self.accounts.authenticate_session(&self.cache, text).await.unwrap().map(number),
            As::Console => {
                self.accounts.authenticate_admin_session(&self.cache, text).await.unwrap().map(|_| 0)
            }
        };
        assert_eq!(found, expected, "{kind:?} {text} after {history}");
    }
}

#[tokio::test]
async fn a_token_is_the_same_whatever_was_presented_before() {
    for is_filled in [false, true] {
        for (first, second) in PRESENTED.iter().flat_map(|first| PRESENTED.map(|second| (*first, second))) {
            let mut world = World::with_every_kind(is_filled).await;
            let history = |what: &str| format!("{first:?}, {what}, filter {is_filled}");
            for (round, what) in
                [first, second, first, second].into_iter().zip(["cold", "warm", "warm", "warm"])
            {
                world.present(round, &history(what)).await;
            }
            for invalidate in [InvalidationCounter::invalidate_all, InvalidationCounter::invalidate_unknown] {
                invalidate(&world.fake.invalidations);
                world.present(second, &history("invalidated")).await;
                world.present(first, &history("invalidated")).await;
            }
            world.cache = LocalCache::default();
            world.present(second, &history("another worker")).await;
            world.present(first, &history("another worker")).await;
        }
    }
}

/// The change concerns only one of two tokens that a text may contain.
#[tokio::test]
async fn a_stale_token_is_not_taken_for_its_last_part() {
    for invalidate in [InvalidationCounter::invalidate_user, |counter: &InvalidationCounter, _: &UserId| {
        counter.invalidate_unknown();
    }] {
        let world = World::with_every_kind(true).await;
        let [own, last] = [(As::Caller, "own-tg_0", Some(4)), (As::Caller, "tg_0", Some(1))];
        world.present(own, "nothing").await;
        invalidate(&world.fake.invalidations, &UserId::new("usr_0000000000000004").unwrap());
        world.present(last, "a change of the other").await;
        world.present(own, "a change").await;
        world.fake.fails.store(true, Ordering::SeqCst);
        world.present(own, "a failure").await;
    }
}

#[tokio::test]
async fn admin_tokens_are_cached_the_same_way_and_match_exactly() {
    let world = World::new().await;
    let check = async |world: &World, token, expected, calls| {
        let got = world.accounts.authenticate_admin(&world.cache, token).await.unwrap().is_some();
        assert_eq!((got, world.fake.calls()), (expected, calls), "{token}");
    };
    check(&world, "tg_a", false, 1).await;
    check(&world, "tg_a", false, 0).await;
    world.fake.admins.lock().unwrap().insert(TokenHash::of("tg_a"));
    world.fake.invalidations.invalidate_all();
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
async fn a_change_of_one_user_does_not_invalidate_others() {
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
    // A change by this process invalidates before any poll.
    world.fake.invalidations.invalidate_user(&UserId::new("usr_0000000000000000").unwrap());
    world.check("tg_0", Ok(true), 1).await;
    world.check("tg_1", Ok(true), 0).await;
}

#[tokio::test]
async fn a_token_that_no_poll_has_reported_is_looked_up_within_the_budget() {
    let mut world = World::new().await;
    world.poll().await;
    world.fill().await;
    world.fake.add("tg_0", 0);
    world.check("tg_0", Ok(true), 1).await;
}

#[tokio::test]
async fn times_of_last_use_are_written_at_shutdown() {
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
        () = &mut task => panic!("a handle still exists"),
        () = yield_now() => {}
    }
    drop(other);
    task.await;
}
