use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;

use super::{super::*, *};
use crate::store::{ChangeOutcome, CredentialChange, TokenHash};

const CANARY: &str = "sk-canary-0123456789";

async fn open(dir: &Path) -> Store {
    Store::open(dir).await.unwrap()
}

async fn user(store: &Store, name: &str) -> (UserId, Secret) {
    match create_user(store, &Actor::own(), &DisplayName::new(name).unwrap(), DuplicateNames::Allow)
        .await
        .unwrap()
    {
        NewUser::Created { id, token } => (id, token),
        NewUser::NameTaken(other) => panic!("{other} has that name"),
        NewUser::OtherKey => panic!("the key is the current one"),
    }
}

fn own(user: &UserId) -> Owner {
    Owner::User(user.clone())
}

async fn is_admin(store: &Store, token: &str) -> bool {
    store.find_admin_token(&TokenHash::of(token)).await.unwrap().is_some()
}

fn set(section: &str, text: &str) -> Edit {
    let stored = StoredCredential::plain(text).unwrap();
    Edit::Set { section: section.to_owned(), field: "apiKey".to_owned(), stored, origins: Vec::new() }
}

#[test]
fn names_are_short_and_printable() {
    let check = |text: &str, expected| assert_eq!(DisplayName::new(text).err(), expected, "{text:?}");
    for good in ["a", "Ada Lovelace", "日本", "usr_", &"é".repeat(100)] {
        check(good, None);
    }
    for bad in ["", &"x".repeat(101)] {
        check(bad, Some(BadName::Length));
    }
    for bad in [" ", "a ", "\ta", "a\nb", "a\u{202e}b", "a\u{200b}", "\u{7f}"] {
        check(bad, Some(BadName::Character));
    }
    check("usr_0123456789abcdef", Some(BadName::LooksLikeId));
}

#[tokio::test]
async fn no_secret_is_in_the_database_files() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    let key = MasterKey::load(&KeySources::default(), dir.path(), &store).await.unwrap();
    let (id, first) = user(&store, "ada").await;
    let second = issue_token(&store, &Actor::own(), &id, None).await.unwrap().unwrap();
    let admin = shown_admin_token(&store, dir.path()).await;
    let login = StoredCredential::OAuth {
        access_token: Secret::new(CANARY.to_uppercase()),
        refresh_token: Some(Secret::new(CANARY)),
        expires_at_ms: Some(5),
    };
    let login = Edit::Set {
        section: "demo".to_owned(),
        field: "oauth".to_owned(),
        stored: login,
        origins: Vec::new(),
    };
    let done = change_credentials(&store, &Actor::own(), &key, &own(&id), &[set("demo", CANARY), login])
        .await
        .unwrap();
    assert_eq!(done, ChangeOutcome::Done { rows: 2 });
    let upper = Secret::new(CANARY.to_uppercase());
    let secrets = [&first, &second, &admin, &key.to_hex(), &Secret::new(CANARY), &upper];
    let mut files = 0;
    for file in fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension == "lock") {
            continue; // the key's own file, and the empty lock
        }
        files += 1;
        let bytes = fs::read(&path).unwrap();
        for secret in secrets {
            let found = bytes.windows(secret.expose().len()).any(|part| part == secret.expose().as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert_eq!(files, 3, "the database, -wal and -shm");
}

#[tokio::test]
async fn credentials_decrypt_again_and_a_row_of_another_owner_does_not() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    let key = MasterKey::load(&KeySources::default(), dir.path(), &store).await.unwrap();
    let ((ada, _), (bob, _)) = (user(&store, "ada").await, user(&store, "bob").await);
    change_credentials(&store, &Actor::own(), &key, &own(&ada), &[set("demo", CANARY)]).await.unwrap();
    let (credentials, unreadable) = read_credentials(&store, &key, &own(&ada)).await.unwrap();
    assert_eq!(credentials.get("demo", "apiKey"), Some(&StoredCredential::plain(CANARY).unwrap()));
    assert_eq!(unreadable.len(), 0);

    let stolen = store.credentials(&own(&ada)).await.unwrap().remove(0);
    let stolen = CredentialChange::Put(stolen);
    store
        .change_credentials(
            &own(&bob),
            &key.id(),
            &[stolen],
            &Actor::own().act("credentials.change", "it", json!({})),
        )
        .await
        .unwrap();
    change_credentials(&store, &Actor::own(), &key, &own(&bob), &[set("example", "key")]).await.unwrap();
    let (credentials, unreadable) = read_credentials(&store, &key, &own(&bob)).await.unwrap();
    assert_eq!(credentials.iter().count(), 1, "the one that decrypts");
    assert_eq!((unreadable[0].section.as_str(), unreadable[0].reason), ("demo", DecryptError::Altered));
}

#[tokio::test]
async fn changes_are_atomic() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    let key = MasterKey::load(&KeySources::default(), dir.path(), &store).await.unwrap();
    let (ada, _) = user(&store, "ada").await;
    let outcome = change_credentials(
        &store,
        &Actor::own(),
        &key,
        &own(&token::generate_user_id()),
        &[set("demo", "k")],
    )
    .await;
    assert_eq!(outcome.unwrap(), ChangeOutcome::UnknownUser);
    let other =
        change_credentials(&store, &Actor::own(), &MasterKey::generate(), &own(&ada), &[set("demo", "k")])
            .await;
    assert_eq!(other.unwrap(), ChangeOutcome::OtherKey);
    change_credentials(&store, &Actor::own(), &key, &own(&ada), &[set("demo", "k")]).await.unwrap();
    let replace = [Edit::RemoveAll, set("example", "k")];
    change_credentials(&store, &Actor::own(), &key, &own(&ada), &replace).await.unwrap();
    let (section, field) = ("example".to_owned(), "apiKey".to_owned());
    let remove = [Edit::Remove { section, field }];
    assert_eq!(store.credentials(&own(&ada)).await.unwrap().len(), 1);
    change_credentials(&store, &Actor::own(), &key, &own(&ada), &remove).await.unwrap();
    assert_eq!(store.credentials(&own(&ada)).await.unwrap(), []);
}

#[tokio::test]
async fn names_are_unique_only_on_request() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    let (ada, _) = user(&store, "ada").await;
    let again = create_user(&store, &Actor::own(), &DisplayName::new("ada").unwrap(), DuplicateNames::Refuse)
        .await
        .unwrap();
    assert!(matches!(again, NewUser::NameTaken(other) if other == ada));
    user(&store, "ada").await;
    assert!(issue_token(&store, &Actor::own(), &token::generate_user_id(), None).await.unwrap().is_none());
}

async fn shown_admin_token(store: &Store, dir: &Path) -> Secret {
    let mut shown = None;
    let place = ensure_admin_token(store, dir, |token| {
        shown = Some(Secret::new(token.expose()));
        true
    });
    assert_eq!(place.await.unwrap(), Some(AdminTokenPlace::Shown));
    shown.unwrap()
}

#[tokio::test]
async fn the_first_admin_token_is_shown_or_written_once() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    let path = dir.path().join("admin-token");
    let shown = shown_admin_token(&store, dir.path()).await;
    assert!(is_admin(&store, shown.expose()).await);
    assert_eq!(ensure_admin_token(&store, dir.path(), |_| panic!("a second one")).await.unwrap(), None);
    assert!(!path.exists());

    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    let path = dir.path().join("admin-token");
    let place = ensure_admin_token(&store, dir.path(), |_| false).await.unwrap();
    assert_eq!(place, Some(AdminTokenPlace::File(path.clone())));
    let line = fs::read_to_string(&path).unwrap();
    assert!(is_admin(&store, line.trim()).await);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn an_admin_token_file_from_a_crash_is_used() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await;
    let path = dir.path().join("admin-token");
    fs::write(&path, "something else").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let error = ensure_admin_token(&store, dir.path(), |_| false).await.unwrap_err();
    assert!(error.to_string().contains("move it away"), "{error}");
    assert!(!store.has_admin_token().await.unwrap());
    let left = token::generate();
    fs::write(&path, left.expose()).unwrap();
    ensure_admin_token(&store, dir.path(), |_| false).await.unwrap();
    assert!(is_admin(&store, left.expose()).await);
}
