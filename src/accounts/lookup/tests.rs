//! The setting of the tests: a store that counts lookups and that can fail, and a worker.

mod concurrency;
mod lookups;
mod store_failures;

use std::{
    collections::{HashMap, HashSet},
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
        watch::{POLL_DEADLINE, POLL_INTERVAL, fill_once},
    },
    clock,
    name::{AdminTokenId, FileName, Owner, TokenId, UserId},
    store::{Affected, DuplicateNames, Invalidated, Store, StoredToken, TokenKind, User},
};

const LIMIT: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_hours(1);

/// A store that counts lookups, and that can fail or not respond.
#[derive(Default)]
struct Fake {
    tokens: Mutex<HashMap<TokenHash, TokenLookup>>,
    pasted: Mutex<HashMap<TokenHash, TokenLookup>>,
    sessions: Mutex<HashMap<TokenHash, TokenLookup>>,
    admins: Mutex<HashSet<TokenHash>>,
    admin_sessions: Mutex<HashSet<TokenHash>>,
    calls: Mutex<Vec<TokenHash>>,
    fails: AtomicBool,
    hangs: AtomicBool,
    polls_hang: AtomicBool,
    lists_hang: AtomicBool,
    /// The user of each change.
    changes: Mutex<Vec<UserId>>,
    /// True if older changes were dropped.
    trimmed: AtomicBool,
    used: Mutex<Vec<TokenHash>>,
    invalidations: InvalidationCounter,
}

impl Fake {
    /// A change by another process: only the version of the data shows it.
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
            maker: None,
        };
        let found = TokenLookup { user, token: own, credentials: Vec::new(), session_of: None };
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

fn admin(is_session: bool) -> StoredAdminToken {
    StoredAdminToken {
        id: AdminTokenId::new("adm_0123456789abcdef").unwrap(),
        prefix: String::new(),
        label: String::new(),
        is_session,
        created_at_ms: 1,
        expires_at_ms: None,
        last_used_at_ms: None,
        maker: None,
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

    async fn lookup_session(&self, hash: &TokenHash) -> Result<Option<TokenLookup>, StoreError> {
        self.calls.lock().unwrap().push(*hash);
        self.reached().await?;
        Ok(self.sessions.lock().unwrap().get(hash).cloned())
    }

    async fn find_admin_session(&self, hash: &TokenHash) -> Result<Option<StoredAdminToken>, StoreError> {
        self.calls.lock().unwrap().push(*hash);
        self.reached().await?;
        let found = self.admin_sessions.lock().unwrap().contains(hash);
        Ok(found.then(|| admin(true)))
    }

    async fn find_admin_token(&self, hash: &TokenHash) -> Result<Option<StoredAdminToken>, StoreError> {
        self.calls.lock().unwrap().push(*hash);
        self.reached().await?;
        let found = self.admins.lock().unwrap().contains(hash);
        Ok(found.then(|| admin(false)))
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
        let others = Affected { users, everybody: false };
        Ok(Invalidated { others, gap, ..Invalidated::none(changes.len() as u64) })
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
        hashes.extend(self.pasted.lock().unwrap().keys());
        hashes.extend(self.sessions.lock().unwrap().keys());
        hashes.extend(self.admins.lock().unwrap().iter());
        hashes.extend(self.admin_sessions.lock().unwrap().iter());
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

/// A worker and its store. The tests call `poll`, so that none depends on a clock.
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
        let (accounts, receivers) = Authenticator::new(fake.invalidations.clone(), GRACE);
        let Receivers { lookups, rechecks, used } = receivers;
        let mut tasks = JoinSet::new();
        let directory = Arc::new(Arc::clone(&fake));
        let noted = directory.clone();
        tasks.spawn(async move { serve(&directory, MasterKey::generate(), lookups, rechecks).await });
        tasks.spawn(async move { last_used::collect(&*noted, used).await });
        let (cache, watcher) = (LocalCache::default(), Watcher::default());
        let mut world = Self { fake, accounts, cache, watcher, tasks };
        world.poll().await;
        world
    }

    async fn poll(&mut self) {
        self.watcher.poll(&self.fake, &self.accounts.view).await;
    }

    /// Fills the Bloom filter, as the task `fill` does.
    async fn fill(&self) {
        fill_once(&self.fake, &self.accounts.view.filter).await.unwrap();
    }

    /// The number of store lookups for a thousand wrong tokens.
    async fn calls_of_a_flood(&self) -> usize {
        for number in 0..1000 {
            let wrong = format!("tg_wrong{number}");
            assert!(self.accounts.authenticate(&self.cache, &wrong).await.unwrap().is_none());
        }
        self.fake.calls()
    }

    /// Asserts the result of `authenticate` and the number of store lookups for it.
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
