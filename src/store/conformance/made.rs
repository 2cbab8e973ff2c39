//! Tokens that were made from stored fields: what they are stored beside, what ends them, and where they do not show.

use super::{act, create, own, put, sealed_credential, token, user};
use crate::{
    name::Owner,
    store::{
        Act, CredentialChange, DuplicateNames, ReplaceKey, SealedCredential, Store, TokenHash, UserPage,
    },
};

const NAME: &str = "token:t:session";

async fn owner(store: &Store) -> Owner {
    assert!(store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap());
    create(store, &user(1), &token("a"), DuplicateNames::Allow).await;
    own(&user(1))
}

async fn change(store: &Store, owner: &Owner, changes: &[CredentialChange]) {
    store.change_credentials(owner, "key", changes, &act()).await.unwrap();
}

fn made(owner: &Owner) -> SealedCredential {
    sealed_credential(owner, "demo", NAME, b"made")
}

/// Stores a token beside what is stored.
async fn make(store: &Store, owner: &Owner) {
    let beside = beside(store, owner).await;
    assert!(store.put_made_token(&made(owner), &beside, "key").await.unwrap());
    assert!(exists(store, owner).await);
}

async fn beside(store: &Store, owner: &Owner) -> Vec<SealedCredential> {
    let mut rows = store.section_with_tokens(owner, "demo").await.unwrap();
    rows.retain(|row| row.field != NAME);
    rows
}

async fn exists(store: &Store, owner: &Owner) -> bool {
    let rows = store.section_with_tokens(owner, "demo").await.unwrap();
    rows.iter().any(|row| row.field == NAME)
}

pub(super) async fn tokens_end_with_their_section(store: Store) {
    let owner = owner(&store).await;
    let remove =
        |field: &str| CredentialChange::Remove { section: "demo".to_owned(), field: field.to_owned() };
    change(&store, &owner, &[put("demo", "key", b"1"), put("other", "key", b"1")]).await;
    make(&store, &owner).await;
    // Requests have it, and a rotation of the master key finds it. No list does.
    let looked_up = store.lookup_token(&TokenHash::of("a")).await.unwrap().unwrap().credentials;
    assert!(looked_up.contains(&made(&owner)));
    assert!(store.credentials_after(None, 10).await.unwrap().contains(&made(&owner)));
    assert_eq!(store.credentials(&owner).await.unwrap().len(), 2);
    assert_eq!(store.stored_fields().await.unwrap().len(), 2);
    let listed = store.listed_users(&UserPage::default()).await.unwrap();
    assert_eq!(listed[0].stored, ["demo.key", "other.key"]);
    // Another section does not matter.
    change(&store, &owner, &[put("other", "key", b"2")]).await;
    assert!(exists(&store, &owner).await);
    for end in [
        vec![put("demo", "key", b"2")],
        vec![put("demo", "region", b"1")],
        vec![remove("region")],
        vec![CredentialChange::RemoveAll, put("demo", "key", b"3")],
    ] {
        change(&store, &owner, &end).await;
        assert!(!exists(&store, &owner).await, "{end:?}");
        make(&store, &owner).await;
    }
    let confirmed: [(SealedCredential, Vec<u8>, Act); 1] =
        [(sealed_credential(&owner, "demo", "key", b"4"), b"3".to_vec(), act())];
    assert!(store.confirm_credentials(&owner, &confirmed, "key").await.unwrap());
    assert!(!exists(&store, &owner).await);
    make(&store, &owner).await;
    change(&store, &owner, &[remove("key")]).await;
    assert!(!exists(&store, &owner).await);
}

pub(super) async fn a_token_is_stored_beside_its_fields_alone(store: Store) {
    let owner = owner(&store).await;
    change(&store, &owner, &[put("demo", "key", b"1")]).await;
    let seen = beside(&store, &owner).await;
    let try_put =
        async |seen: &[SealedCredential], key| store.put_made_token(&made(&owner), seen, key).await.unwrap();
    assert!(!try_put(&seen, "other key").await);
    assert!(!try_put(&[], "key").await);
    // Another value, one more field, and none at all.
    change(&store, &owner, &[put("demo", "key", b"2")]).await;
    assert!(!try_put(&seen, "key").await);
    let seen = beside(&store, &owner).await;
    change(&store, &owner, &[put("demo", "region", b"1")]).await;
    assert!(!try_put(&seen, "key").await);
    let seen = beside(&store, &owner).await;
    assert!(try_put(&seen, "key").await);
    assert!(try_put(&seen, "key").await, "a token does not matter for the next");
    assert!(store.delete_user(&user(1).id, &act()).await.unwrap());
    assert!(!try_put(&seen, "key").await);
    assert!(!exists(&store, &owner).await);
}
