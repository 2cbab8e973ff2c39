use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;

use super::{
    super::{Actor, DisplayName, Edit, NewUser, StoredCredential, change_credentials, create_user},
    *,
};
use crate::{name::Owner, store::DuplicateNames};

fn variable(hex: &str) -> KeySources {
    KeySources { variable: Some(Secret::new(hex)), ..KeySources::default() }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The store of a data directory, with one credential that is encrypted with `key`.
async fn encrypted_with(dir: &Path, key: &MasterKey) -> Store {
    let store = Store::open(dir).await.unwrap();
    assert!(store.adopt_master_key(&key.id(), ReplaceKey::Never).await.unwrap());
    let created =
        create_user(&store, &Actor::own(), &DisplayName::new("ada").unwrap(), DuplicateNames::Allow)
            .await
            .unwrap();
    let NewUser::Created { id, .. } = created else { panic!("{created:?}") };
    let stored = StoredCredential::plain("sk-canary").unwrap();
    let set =
        Edit::Set { section: "demo".to_owned(), field: "apiKey".to_owned(), stored, origins: Vec::new() };
    change_credentials(&store, &Actor::own(), key, &Owner::User(id), &[set]).await.unwrap();
    store
}

#[tokio::test]
async fn a_key_is_created_once_if_none_is_given() {
    let dir = TempDir::new().unwrap();
    let (dir, none) = (dir.path(), KeySources::default());
    MasterKey::check(&none, dir).await.unwrap();
    let store = Store::open(dir).await.unwrap();
    let load = || MasterKey::load(&none, dir, &store);
    let (one, two) = tokio::join!(load(), load());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.id(), two.id());
    let path = dir.join("master-key");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", one.to_hex().expose()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(MasterKey::load_beside(&none, dir, &store).await.unwrap().id(), one.id());
    // A key that was there before the first start is used.
    let other = TempDir::new().unwrap();
    write(&other.path().join("master-key"), one.to_hex().expose(), 0o600);
    let store = Store::open(other.path()).await.unwrap();
    assert_eq!(MasterKey::load(&none, other.path(), &store).await.unwrap().id(), one.id());
}

#[tokio::test]
async fn any_source_is_enough_and_several_must_agree() {
    let dir = TempDir::new().unwrap();
    let (right, wrong) = (MasterKey::generate(), MasterKey::generate());
    let data = dir.path().join("data");
    let store = encrypted_with(&data, &right).await;
    let (file, below) = (dir.path().join("key"), dir.path().join("below"));
    let credentials = dir.path().join("credentials");
    fs::create_dir_all(credentials.join("more")).unwrap();
    // Given as `variable file credential`: `+` the right key, `-` the wrong one, `.` none.
    let check = async |given: &str, expected: &str| {
        let hex = |at: usize| match &given[at..=at] {
            "+" => Some(right.to_hex()),
            "-" => Some(wrong.to_hex()),
            _ => None,
        };
        write(&file, &hex(1).map_or_else(|| "none".to_owned(), |hex| format!(" {}\n", hex.expose())), 0o400);
        let credential = credentials.join(CREDENTIAL);
        let _ = fs::remove_file(&credential);
        if let Some(hex) = hex(2) {
            write(&credential, hex.expose(), 0o440);
        }
        let sources = KeySources {
            variable: hex(0),
            file: hex(1).map(|_| file.clone()),
            credentials: Some(credentials.clone()),
        };
        let checked = MasterKey::check(&sources, &data).await.map_err(|error| error.to_string());
        let loaded = MasterKey::load(&sources, &data, &store).await.map_err(|error| error.to_string());
        assert_eq!(checked.as_ref().err(), loaded.as_ref().err(), "{given}");
        match loaded {
            Ok(key) => assert_eq!((key.id(), expected), (right.id(), ""), "{given}"),
            Err(error) => {
                let named = error.contains(&wrong.id()) || !given.contains('-');
                assert!(!expected.is_empty() && error.contains(expected) && named, "{given}: {error}");
                assert!(error.contains(&right.id()), "{given}: {error}");
            }
        }
    };
    for good in ["+..", ".+.", "..+", "++.", ".++", "+++"] {
        check(good, "").await;
    }
    check("...", "and `").await;
    check("-..", "TOLLGATE_MASTER_KEY holds the master key with id").await;
    check(".-.", "key` holds the master key with id").await;
    check("..-", "tollgate-master-key` holds the master key with id").await;
    for (two, other) in
        [("+-.", "key` the one with id"), ("-+.", "key` the one with id"), ("+.-", "key` the one")]
    {
        check(two, other).await;
    }
    check(".+-", "remove the wrong one").await;
    check("-+-", "the store was set up with").await;
    assert_eq!(store.master_key_id().await.unwrap(), Some(right.id()));
    assert!(!data.join("master-key").exists() && !below.exists());
}

#[tokio::test]
async fn malformed_and_exposed_keys_are_refused() {
    let dir = TempDir::new().unwrap();
    let key = MasterKey::generate();
    let data = dir.path().join("data");
    let store = encrypted_with(&data, &key).await;
    let credentials = dir.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let check = async |sources: KeySources, expected: &str| {
        for error in [
            MasterKey::check(&sources, &data).await.unwrap_err(),
            MasterKey::load(&sources, &data, &store).await.err().unwrap(),
        ] {
            let error = error.to_string();
            assert!(error.contains(expected) && !error.contains(key.to_hex().expose()), "{error}");
        }
    };
    let named = |path: &Path| KeySources {
        file: Some(path.to_owned()),
        credentials: Some(credentials.clone()),
        ..KeySources::default()
    };
    check(variable("abc"), "TOLLGATE_MASTER_KEY does not hold a master key: it takes 64 hex digits").await;
    check(variable(&format!("{}0", key.to_hex().expose())), "does not hold a master key").await;
    let file = dir.path().join("key");
    check(named(&file), "key`, named by `master_key_file`, is missing").await;
    for mode in [0o640, 0o604, 0o660] {
        write(&file, key.to_hex().expose(), mode);
        check(named(&file), &format!("is readable by others (mode {mode:o}): run `chmod 600 ")).await;
    }
    write(&file, "not a key", 0o600);
    check(named(&file), "key` does not hold a master key").await;
    // The mode of a systemd credential is not checked, whatever its name.
    let below = credentials.join("mine");
    write(&below, key.to_hex().expose(), 0o440);
    assert_eq!(MasterKey::load(&named(&below), &data, &store).await.unwrap().id(), key.id());
    write(&data.join("master-key"), key.to_hex().expose(), 0o644);
    check(KeySources::default(), "is readable by others (mode 644)").await;
}

/// The server has its key from the environment; the operator's shell does not.
#[tokio::test]
async fn a_command_never_replaces_the_servers_key() {
    let dir = TempDir::new().unwrap();
    let (dir, store) = (dir.path(), Store::open(dir.path()).await.unwrap());
    let hex = |key: &MasterKey| variable(key.to_hex().expose());
    let key = MasterKey::generate();
    MasterKey::load(&hex(&key), dir, &store).await.unwrap();
    let other = MasterKey::generate();
    let check = async |given: &KeySources, expected: &str| {
        let error = MasterKey::load_beside(given, dir, &store).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&key.id()), "{error}");
        assert_eq!(store.master_key_id().await.unwrap(), Some(key.id()));
        assert!(!dir.join("master-key").exists());
    };
    check(&KeySources::default(), "set TOLLGATE_MASTER_KEY to it, or put the file back").await;
    check(&hex(&other), "TOLLGATE_MASTER_KEY holds the master key with id").await;
    assert_eq!(MasterKey::load_beside(&hex(&key), dir, &store).await.unwrap().id(), key.id());
    // Neither does a server create another key. But while nothing is encrypted, another key may be given.
    let error = MasterKey::load(&KeySources::default(), dir, &store).await.unwrap_err();
    assert!(matches!(error, KeyError::Missing { .. }), "{error}");
    MasterKey::check(&hex(&other), dir).await.unwrap();
    let replaced = MasterKey::load(&hex(&other), dir, &store).await.unwrap();
    assert_eq!(store.master_key_id().await.unwrap(), Some(replaced.id()));
}
