//! A store that fails, does not respond, or has lost its log of changes.

use super::*;

#[tokio::test]
async fn known_callers_are_served_while_the_store_fails() {
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
    // During the backoff there is no lookup.
    world.check("tg_0", Ok(true), 0).await;
    world.fake.fails.store(false, Ordering::SeqCst);
    world.check("tg_1", Ok(true), 1).await;
}

#[tokio::test]
async fn known_callers_are_served_while_the_store_does_not_respond() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.fake.invalidations.invalidate_unknown();
    world.fake.hangs.store(true, Ordering::SeqCst);
    world.check("tg_0", Ok(true), 1).await;
    world.check("tg_0", Ok(true), 0).await;
}

/// All workers know the same callers, also those that only one of them has looked up.
#[tokio::test]
async fn every_worker_serves_the_known_callers_while_the_store_fails() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.fake.admins.lock().unwrap().insert(TokenHash::of("tg_a"));
    world.fill().await;
    assert!(world.accounts.authenticate_admin(&world.cache, "tg_a").await.unwrap().is_some());
    assert_eq!(world.fake.calls(), 1);
    world.fake.fails.store(true, Ordering::SeqCst);
    world.poll().await;
    for _ in 0..3 {
        world.cache = LocalCache::default();
        for token in ["tg_0", "x-tg_0"] {
            assert!(world.accounts.authenticate(&world.cache, token).await.unwrap().is_some(), "{token}");
        }
        assert!(world.accounts.authenticate_admin(&world.cache, "tg_a").await.unwrap().is_some());
        assert_eq!(world.fake.calls(), 2, "the second lookup of a token is in backoff");
        world.check("tg_1", Err("Locked"), 1).await;
    }
}

/// The change may be the revocation of the token.
#[tokio::test]
async fn after_a_change_a_caller_is_not_served_from_a_cache() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.fake.add("tg_1", 2);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.check("tg_1", Ok(true), 1).await;
    world.fake.revoke("tg_0");
    world.poll().await;
    world.fake.fails.store(true, Ordering::SeqCst);
    world.poll().await;
    world.check("tg_0", Err("Locked"), 1).await;
    world.check("tg_0", Err("Locked"), 1).await;
    world.check("tg_1", Ok(true), 1).await;
    world.cache = LocalCache::default();
    world.check("tg_0", Err("Locked"), 1).await;
    world.fake.fails.store(false, Ordering::SeqCst);
    world.check("tg_0", Ok(false), 1).await;
}

#[tokio::test]
async fn a_change_during_a_failing_lookup_counts() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 1);
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.fake.invalidations.invalidate_unknown();
    world.fake.hangs.store(true, Ordering::SeqCst);
    let mut waiting = pin!(world.accounts.authenticate(&world.cache, "tg_0"));
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("the store does not respond"),
        () = yield_now() => {}
    }
    world.fake.invalidations.invalidate_user(&UserId::new("usr_0000000000000001").unwrap());
    assert!(waiting.await.is_err());
}

/// A failed lookup of one token must not stop the lookup of a revoked one.
#[tokio::test]
async fn a_failed_lookup_does_not_keep_another_revoked_token_valid() {
    let mut world = World::new().await;
    for number in [0, 1] {
        world.fake.add(&format!("tg_{number}"), number);
    }
    world.poll().await;
    world.check("tg_0", Ok(true), 1).await;
    world.check("tg_1", Ok(true), 1).await;
    world.fake.revoke("tg_1");
    world.poll().await;
    world.fake.invalidations.invalidate_unknown();
    world.fake.fails.store(true, Ordering::SeqCst);
    world.check("tg_0", Ok(true), 1).await;
    world.fake.fails.store(false, Ordering::SeqCst);
    world.check("tg_1", Ok(false), 1).await;
    world.check("tg_0", Ok(true), 1).await;
}

/// If polls fail but lookups work, every token is looked up.
#[tokio::test]
async fn failing_polls_do_not_keep_a_revoked_token_valid() {
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

#[tokio::test]
async fn after_a_gap_in_the_changes_everything_is_invalidated() {
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
    assert_eq!(world.calls_of_a_flood().await, 1000, "the filter was cleared: any token may be a new one");
    let filter = &world.accounts.view.filter;
    timeout(LIMIT, filter.fill_requested()).await.expect("a new filter is requested");
}

#[tokio::test]
async fn if_listing_a_users_tokens_times_out_the_filter_still_protects_the_store() {
    let mut world = World::new().await;
    world.fake.add("tg_0", 0);
    world.poll().await;
    world.fill().await;
    let requested = async |world: &World| {
        timeout(POLL_DEADLINE, world.accounts.view.filter.fill_requested()).await.is_ok()
    };
    while requested(&world).await {}
    world.fake.lists_hang.store(true, Ordering::SeqCst);
    world.fake.add("tg_1", 1);
    world.poll().await;
    assert!(world.calls_of_a_flood().await < 200);
    world.check("tg_0", Ok(true), 1).await;
    assert!(requested(&world).await, "a new filter is requested");
    world.fill().await;
    world.check("tg_1", Ok(true), 1).await;
}

#[tokio::test]
async fn without_the_task_lookups_fail_at_once() {
    let (accounts, task) = Authenticator::start(Arc::new(Fake::default()), MasterKey::generate(), GRACE);
    drop(task);
    let error = accounts.authenticate(&LocalCache::default(), "tg_0").await.unwrap_err();
    assert!(matches!(error, StoreError::Unanswered));
}
