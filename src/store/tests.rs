//! Tests of what is specific to `SQLite`: files and their permissions, several processes, errors.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::{Child, Command},
    task::Poll,
};

use tempfile::TempDir;

use super::{
    conformance::{act, create, put, token, try_create, user},
    *,
};

const BRIEF: Duration = Duration::from_millis(20);

#[tokio::test]
async fn conforms() {
    let dirs = std::sync::Mutex::new(Vec::new());
    conformance::all(async || {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        dirs.lock().unwrap().push(dir);
        store
    })
    .await;
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn files_are_readable_by_their_owner_only() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("a/data");
    let store = Store::open(&dir).await.unwrap();
    assert_eq!(mode(&dir), 0o700);
    for file in fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    fs::set_permissions(&*store.path, fs::Permissions::from_mode(0o644)).unwrap();
    Store::open(&dir).await.unwrap();
    assert_eq!(mode(&store.path), 0o600);
}

#[tokio::test]
async fn data_survives_a_restart_and_other_processes_see_it() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (Store::open(dir.path()).await.unwrap(), Store::open(dir.path()).await.unwrap());
    let before = (two.data_version().await.unwrap(), two.invalidations().current());
    create(&one, &user(1), &token("a"), DuplicateNames::Allow).await;
    assert_ne!(two.data_version().await.unwrap(), before.0);
    assert_eq!(
        two.invalidations().current(),
        before.1,
        "only `accounts` counts the changes of other processes"
    );
    assert_eq!(two.users().await.unwrap(), [user(1)]);
    drop((one, two));
    assert_eq!(Store::open(dir.path()).await.unwrap().users().await.unwrap(), [user(1)]);
}

const CHILD: &str = "STORE_TEST_CHILD";

/// Runs in the child processes of the test below. Alone it does nothing.
#[tokio::test]
async fn child_creates_users() {
    let Ok(job) = env::var(CHILD) else { return };
    let (number, dir) = job.split_once(' ').unwrap();
    let number: u64 = number.parse().unwrap();
    for index in 0..5 {
        // Opened each time, as a command does.
        let store = Store::open(Path::new(dir)).await.unwrap();
        let number = number * 100 + index;
        create(&store, &user(number), &token(&number.to_string()), DuplicateNames::Refuse).await;
    }
}

#[tokio::test]
async fn creates_by_several_processes_all_survive() {
    let dir = TempDir::new().unwrap();
    let spawn = |number: u64| -> Child {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "store::tests::child_creates_users"]);
        child.env(CHILD, format!("{number} {}", dir.path().display())).spawn().unwrap()
    };
    let children: Vec<_> = (0..6).map(spawn).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(Store::open(dir.path()).await.unwrap().users().await.unwrap().len(), 30);
}

/// The error's variant starts with `expected`, and its message has `advice`.
fn check_error(error: &StoreError, expected: &str, advice: &str) {
    assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    assert!(error.to_string().contains(advice), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_kept() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    run(&store, "PRAGMA user_version = 99").await;
    let error = Store::open(dir.path()).await.unwrap_err();
    check_error(&error, "NewerSchema", "schema 99, this one knows 11");
    let row = store.begin().await.unwrap().fetch_optional(sqlx::query("PRAGMA user_version")).await.unwrap();
    assert_eq!(row.unwrap().get::<i64, _>(0), 99);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_kept() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(DATABASE);
    let garbage = "this is not a database ".repeat(1000);
    fs::write(&path, &garbage).unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    check_error(&error, "Corrupt", "from a backup");
    assert_eq!(fs::read_to_string(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_file_instead_of_the_directory_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    for path in [path.join("data"), path] {
        check_error(&Store::open(&path).await.unwrap_err(), "NoDirectory", "`--data`");
    }
}

#[tokio::test]
async fn a_lost_database_is_not_replaced_by_an_empty_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(DATABASE);
    let check = async |traces: &[&str], lost: bool| {
        for name in traces {
            fs::write(dir.path().join(name), "x").unwrap();
            let opened = Store::open(dir.path()).await;
            assert_eq!(matches!(opened, Err(StoreError::Lost { .. })), lost, "{name} {opened:?}");
            assert_eq!(path.exists(), !lost);
            for entry in fs::read_dir(dir.path()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    };
    check(&["tollgate.db-wal", "tollgate.db-shm"], true).await;
    // The operator may put a key or a token there before the first start.
    check(&["master-key", "admin-token"], false).await;
}

#[tokio::test]
async fn a_replaced_database_is_not_used() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    create(&store, &user(1), &token("a"), DuplicateNames::Allow).await;
    let away = dir.path().join("away");
    fs::rename(&store.path, &away).unwrap();
    let errors = [
        store.data_version().await.unwrap_err(),
        store.users().await.unwrap_err(),
        try_create(&store, &user(2), &token("b"), DuplicateNames::Allow).await.unwrap_err(),
        store.delete_user(&user(1).id, &act()).await.unwrap_err(),
    ];
    for error in errors {
        check_error(&error, "Moved", "put that file back");
    }
    fs::rename(&away, &store.path).unwrap();
    assert_eq!(store.users().await.unwrap(), [user(1)]);
}

#[tokio::test]
async fn a_closed_store_is_one_file() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    create(&store, &user(1), &token("a"), DuplicateNames::Allow).await;
    store.close().await;
    let beside = |name: &str| dir.path().join(name).exists();
    assert!(beside("tollgate.db") && !beside("tollgate.db-wal") && !beside("tollgate.db-shm"));
}

#[tokio::test]
async fn a_held_lock_is_an_error_after_the_timeout() {
    let dir = TempDir::new().unwrap();
    let store = with_short_timeout(&dir, "PRAGMA user_version").await;
    let other = Store::open(dir.path()).await.unwrap();
    let held = other.begin().await.unwrap();
    let error = try_create(&store, &user(1), &token("a"), DuplicateNames::Allow).await.unwrap_err();
    check_error(&error, "Locked", "fuser");
    // Readers wait for no lock.
    assert_eq!(store.users().await.unwrap(), []);
    drop(held);
    let _lock = DirLock::acquire(dir.path()).await.unwrap();
    let error = Store::open_within(dir.path(), BRIEF).await.unwrap_err();
    check_error(&error, "Locked", "setup.lock");
}

/// With more waiting writers than connections.
#[tokio::test]
async fn reads_do_not_wait_for_writers_that_wait() {
    let dir = TempDir::new().unwrap();
    let (store, other) = (Store::open(dir.path()).await.unwrap(), Store::open(dir.path()).await.unwrap());
    let held = other.begin().await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = store.clone();
        writers.spawn(async move {
            create(&store, &user(number), &token(&number.to_string()), DuplicateNames::Allow).await
        });
    }
    // Until one writer waits for the lock, and the others wait for its connection.
    while !store.writer.is_taken() {
        tokio::task::yield_now().await;
    }
    let started = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(store.users().await.unwrap(), []);
        assert_eq!(store.lookup_token(&TokenHash::of("0")).await.unwrap(), None);
    }
    assert!(started.elapsed() < data_dir::LOCK_TIMEOUT / 5, "{:?}", started.elapsed());
    drop(held);
    writers.join_all().await;
    assert_eq!(store.users().await.unwrap().len(), 20);
}

/// A store whose writer has a short lock timeout and a pragma.
async fn with_short_timeout(dir: &TempDir, pragma: &'static str) -> Store {
    let mut store = Store::open(dir.path()).await.unwrap();
    let options = options(&store.path, BRIEF);
    store.writer = Writer::open(&store.path, options, data_dir::LOCK_TIMEOUT).await.unwrap();
    run(&store, pragma).await;
    store
}

/// Runs a statement on the writing connection.
async fn run(store: &Store, sql: &'static str) {
    let mut transaction = store.begin().await.unwrap();
    transaction.execute(sqlx::query(sql)).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_rolls_back() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    run(&store, "PRAGMA max_page_count = 1").await;
    store.adopt_master_key("key", ReplaceKey::Never).await.unwrap();
    create(&store, &user(1), &token("a"), DuplicateNames::Allow).await;
    let owner = Owner::User(user(1).id);
    let changes = [put("demo", "small", b"1"), put("demo", "large", &vec![0; 100_000])];
    let error = store.change_credentials(&owner, "key", &changes, &act()).await.unwrap_err();
    check_error(&error, "Full", "no space");
    assert_eq!(store.credentials(&owner).await.unwrap(), []);
    // The limit was one of the connection, which is not used again.
    store.change_credentials(&owner, "key", &changes, &act()).await.unwrap();
    assert_eq!(store.credentials(&owner).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_change_that_fails_at_its_commit_leaves_the_next_one_alone() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    // Checked at the commit only.
    run(&store, "CREATE TABLE late (user_id TEXT REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)").await;
    let mut transaction = store.begin().await.unwrap();
    transaction.execute(sqlx::query("INSERT INTO late VALUES ('nobody')")).await.unwrap();
    let before = store.invalidations().current();
    let error = store.commit(transaction, Invalidates::Everybody).await.unwrap_err();
    check_error(&error, "Unconfirmed", "FOREIGN KEY constraint failed");
    assert_eq!(store.invalidations().current(), before + 1, "the outcome is not known here");
    create(&store, &user(1), &token("a"), DuplicateNames::Allow).await;
}

#[tokio::test]
async fn a_refused_change_keeps_the_connection() {
    let dir = TempDir::new().unwrap();
    let store = with_short_timeout(&dir, "PRAGMA cache_size = 77").await;
    for _ in 0..3 {
        assert!(!store.delete_user(&user(1).id, &act()).await.unwrap());
    }
    let row = store.begin().await.unwrap().fetch_optional(sqlx::query("PRAGMA cache_size")).await.unwrap();
    assert_eq!(row.unwrap().get::<i64, _>(0), 77);
}

/// Polls a future at most so often. Returns `None` if it is not ready by then, and drops it.
async fn polled<F: Future>(future: F, mut times: u32) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if times == 0 => Poll::Ready(None),
        Poll::Pending => {
            times -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_change_whose_caller_leaves_is_made_whole_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let counter = store.invalidations();
    let mut made = 0;
    for number in 0..40 {
        let (one, name) = (user(number * 2), token(&number.to_string()));
        let times = u32::try_from(number % 8).unwrap();
        let done = polled(try_create(&store, &one, &name, DuplicateNames::Allow), times).await;
        assert!(done.is_none() || times > 0, "nothing is made at the first poll");
        // The next change waits for a commit that has begun.
        let next = token(&format!("next {number}"));
        create(&store, &user(number * 2 + 1), &next, DuplicateNames::Allow).await;
        let found = store.lookup_token(&name.hash).await.unwrap().is_some();
        assert!(found || done.is_none());
        assert_eq!(store.user(&one.id).await.unwrap().is_some(), found);
        assert_eq!(counter.last_for(&one.id) > 0, found, "after {times} polls");
        made += 1 + u64::from(found);
    }
    assert_eq!(store.audit_head().await.unwrap().0, made);
}

#[tokio::test]
async fn a_read_only_database_is_an_error() {
    let dir = TempDir::new().unwrap();
    let store = with_short_timeout(&dir, "PRAGMA query_only = ON").await;
    let error = store.delete_user(&user(1).id, &act()).await.unwrap_err();
    check_error(&error, "Forbidden", "no permission");
}

#[tokio::test]
async fn a_malformed_row_is_an_error() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    run(&store, "INSERT INTO users (id, name, created_at) VALUES ('x', 'x', 1)").await;
    check_error(&store.users().await.unwrap_err(), "Corrupt", "`x` is not a user id");
}

#[tokio::test]
async fn private_files_are_new_and_complete() {
    let dir = TempDir::new().unwrap();
    let lock = DirLock::acquire(dir.path()).await.unwrap();
    let path = dir.path().join("file");
    write_private(&lock, &path, b"one").unwrap();
    check_error(&write_private(&lock, &path, b"two").unwrap_err(), "File", "exists");
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"one".to_vec(), 0o600));
    let names = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 2, "the file and the lock, no draft");
}

#[test]
fn debug_output_of_a_token_hash_is_masked() {
    assert_eq!(format!("{:?}", TokenHash::of("a")), "TokenHash(***)");
}
