//! What every backend is held to. Each function gets an empty store; `all` runs them one by one.

use tokio::task::JoinSet;

use super::{
    ChangeOutcome, Creation, CredentialChange, Names, NewToken, Replace, SealedCredential, Store, TokenHash,
    User,
};
use crate::name::UserId;

/// Runs every check, each on a store of its own.
pub(super) async fn all(open: impl AsyncFn() -> Store) {
    users(open().await).await;
    names(open().await).await;
    tokens(open().await).await;
    credentials(open().await).await;
    a_removed_user_leaves_nothing(open().await).await;
    master_key(open().await).await;
    admin_tokens(open().await).await;
    changes_are_noticed(open().await).await;
    concurrent_creates_all_survive(open().await).await;
    concurrent_changes_all_survive(open().await).await;
}

pub(super) fn user(number: u64) -> User {
    let id = UserId::new(&format!("usr_{number:016x}")).unwrap();
    User { id, name: format!("user {number}"), created_at_ms: 1000 + number }
}

pub(super) fn token(text: &str) -> NewToken {
    NewToken {
        hash: TokenHash::of(text),
        prefix: text.chars().take(11).collect(),
        label: None,
        created_at_ms: 5,
        expires_at_ms: None,
    }
}

pub(super) fn put(section: &str, field: &str, sealed: &[u8]) -> CredentialChange {
    CredentialChange::Put(sealed_credential(section, field, sealed))
}

fn sealed_credential(section: &str, field: &str, sealed: &[u8]) -> SealedCredential {
    SealedCredential {
        section: section.to_owned(),
        field: field.to_owned(),
        sealed: sealed.to_owned(),
        updated_at_ms: 7,
    }
}

async fn add(store: &Store, number: u64, token_text: &str) -> User {
    let user = user(number);
    let done = store.create_user(&user, &token(token_text), Names::Any).await.unwrap();
    assert_eq!(done, Creation::Created);
    user
}

async fn finds(store: &Store, token_text: &str) -> Option<UserId> {
    store.lookup_token(&TokenHash::of(token_text)).await.unwrap().map(|found| found.user.id)
}

async fn users(store: Store) {
    assert_eq!(store.users().await.unwrap(), []);
    let (b, a) = (add(&store, 2, "b").await, add(&store, 1, "a").await);
    assert_eq!(store.users().await.unwrap(), [a.clone(), b.clone()]);
    assert_eq!(store.find_users("user 1").await.unwrap(), std::slice::from_ref(&a));
    assert_eq!(store.find_users(b.id.as_str()).await.unwrap(), [b]);
    assert_eq!(store.find_users("nobody").await.unwrap(), []);
    assert!(store.delete_user(&a.id).await.unwrap());
    assert!(!store.delete_user(&a.id).await.unwrap());
}

async fn names(store: Store) {
    let first = add(&store, 1, "a").await;
    let twin = User { name: first.name.clone(), ..user(2) };
    let refused = store.create_user(&twin, &token("b"), Names::Unique).await.unwrap();
    assert_eq!(refused, Creation::NameTaken(first.id.clone()));
    assert_eq!(finds(&store, "b").await, None);
    assert_eq!(store.create_user(&twin, &token("b"), Names::Any).await.unwrap(), Creation::Created);
    assert_eq!(store.find_users(&first.name).await.unwrap(), [first, twin]);
}

async fn tokens(store: Store) {
    let owner = add(&store, 1, "first").await;
    let second = NewToken { label: Some("ci".to_owned()), expires_at_ms: Some(99), ..token("second") };
    assert!(store.add_token(&owner.id, &second).await.unwrap());
    assert!(!store.add_token(&user(9).id, &token("third")).await.unwrap());
    let found = store.lookup_token(&second.hash).await.unwrap().unwrap();
    assert_eq!((found.user, found.expires_at_ms), (owner.clone(), Some(99)));
    let listed = store.tokens().await.unwrap();
    assert_eq!(listed.len(), 2);
    let listed = listed.iter().find(|token| token.hash == second.hash).unwrap();
    assert_eq!((listed.label.as_deref(), listed.expires_at_ms), (Some("ci"), Some(99)));
    assert_eq!((&listed.user, &listed.user_name), (&owner.id, &owner.name));
    let gone = [second.hash, TokenHash::of("never was")];
    assert_eq!(store.revoke_tokens(&gone).await.unwrap(), 1);
    assert_eq!(finds(&store, "second").await, None);
    assert_eq!(finds(&store, "first").await, Some(owner.id));
}

async fn credentials(store: Store) {
    let (owner, other) = (add(&store, 1, "a").await, add(&store, 2, "b").await);
    assert!(store.adopt_master_key("key", Replace::IfNothingSealed).await.unwrap());
    let change = async |key: &str, changes: &[CredentialChange]| {
        store.change_credentials(&owner.id, key, changes).await.unwrap()
    };
    let two = [put("providers.demo", "apiKey", b"1"), put("demo", "oauth", b"2")];
    assert_eq!(change("key", &two).await, ChangeOutcome::Done { rows: 2 });
    let replaced = [put("demo", "oauth", b"3")];
    assert_eq!(change("key", &replaced).await, ChangeOutcome::Done { rows: 1 });
    let stored = store.lookup_token(&TokenHash::of("a")).await.unwrap().unwrap().credentials;
    let expected =
        [sealed_credential("demo", "oauth", b"3"), sealed_credential("providers.demo", "apiKey", b"1")];
    assert_eq!(stored, expected);
    assert_eq!(store.credentials(&owner.id).await.unwrap(), expected);
    assert_eq!(store.credentials(&other.id).await.unwrap(), []);

    assert_eq!(change("other key", &replaced).await, ChangeOutcome::OtherKey);
    let nobody = store.change_credentials(&user(9).id, "key", &replaced).await.unwrap();
    assert_eq!(nobody, ChangeOutcome::UnknownUser);

    assert!(store.delete_credential(&owner.id, "demo", "oauth").await.unwrap());
    assert!(!store.delete_credential(&owner.id, "demo", "oauth").await.unwrap());
    let document = [CredentialChange::RemoveAll, put("demo", "apiKey", b"4")];
    assert_eq!(change("key", &document).await, ChangeOutcome::Done { rows: 2 });
    let expected = [sealed_credential("demo", "apiKey", b"4")];
    assert_eq!(store.credentials(&owner.id).await.unwrap(), expected);
}

async fn a_removed_user_leaves_nothing(store: Store) {
    let owner = add(&store, 1, "a").await;
    store.adopt_master_key("key", Replace::IfNothingSealed).await.unwrap();
    store.change_credentials(&owner.id, "key", &[put("demo", "apiKey", b"1")]).await.unwrap();
    assert!(store.delete_user(&owner.id).await.unwrap());
    assert_eq!(finds(&store, "a").await, None);
    assert_eq!(store.tokens().await.unwrap(), []);
    assert_eq!(store.credentials(&owner.id).await.unwrap(), []);
}

async fn master_key(store: Store) {
    assert_eq!(store.master_key_id().await.unwrap(), None);
    assert!(store.adopt_master_key("one", Replace::IfNothingSealed).await.unwrap());
    // Nothing is sealed yet, so that another key harms nobody but a server that has the first.
    assert!(!store.adopt_master_key("two", Replace::Never).await.unwrap());
    assert!(store.adopt_master_key("one", Replace::Never).await.unwrap());
    assert_eq!(store.master_key_id().await.unwrap(), Some("one".to_owned()));
    assert!(store.adopt_master_key("two", Replace::IfNothingSealed).await.unwrap());
    let owner = add(&store, 1, "a").await;
    store.change_credentials(&owner.id, "two", &[put("demo", "apiKey", b"1")]).await.unwrap();
    assert!(!store.adopt_master_key("one", Replace::IfNothingSealed).await.unwrap());
    assert!(store.adopt_master_key("two", Replace::IfNothingSealed).await.unwrap());
    assert_eq!(store.master_key_id().await.unwrap(), Some("two".to_owned()));
}

async fn admin_tokens(store: Store) {
    let hash = TokenHash::of("admin");
    assert!(!store.has_admin_token().await.unwrap());
    store.add_admin_token(&hash, "first", 1).await.unwrap();
    assert!(store.has_admin_token().await.unwrap());
    assert!(store.is_admin_token(&hash).await.unwrap());
    assert!(!store.is_admin_token(&TokenHash::of("other")).await.unwrap());
    assert_eq!(finds(&store, "admin").await, None);
}

async fn changes_are_noticed(store: Store) {
    let before = (store.data_version().await.unwrap(), store.generation().current());
    assert_eq!(store.data_version().await.unwrap(), before.0);
    add(&store, 1, "a").await;
    assert_ne!(store.data_version().await.unwrap(), before.0);
    assert_ne!(store.generation().current(), before.1);
}

async fn concurrent_creates_all_survive(store: Store) {
    let mut running = JoinSet::new();
    for number in 0..20 {
        let store = store.clone();
        running.spawn(async move { add(&store, number, &format!("token {number}")).await });
    }
    assert_eq!(running.join_all().await.len(), 20);
    assert_eq!(store.users().await.unwrap().len(), 20);
    assert_eq!(store.tokens().await.unwrap().len(), 20);
}

async fn concurrent_changes_all_survive(store: Store) {
    let owner = add(&store, 1, "a").await.id;
    store.adopt_master_key("key", Replace::IfNothingSealed).await.unwrap();
    let mut running = JoinSet::new();
    for number in 0..20 {
        let (store, owner) = (store.clone(), owner.clone());
        running.spawn(async move {
            let change = [put(&format!("providers.demo-{number}"), "apiKey", b"1")];
            store.change_credentials(&owner, "key", &change).await.unwrap()
        });
    }
    assert_eq!(running.join_all().await, [ChangeOutcome::Done { rows: 1 }; 20]);
    assert_eq!(store.credentials(&owner).await.unwrap().len(), 20);
}
