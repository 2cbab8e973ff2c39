//! The conformance suite: tests that every backend has to pass. Each function gets an empty store.

mod audit;
mod derived;
mod listing;
mod made;
mod sessions;
mod usage;

use tokio::task::JoinSet;

use super::{
    Act, AdminTokenRevocation, Affected, ChangeOutcome, CredentialChange, DuplicateNames, GENESIS_HASH,
    InitialAccess, Invalidated, KeepOutcome, KeyIds, NewAdminToken, NewPasteToken, NewToken, ReplaceKey,
    RevokeExtent, Revoked, Right, Rotated, SealedAnswer, SealedCredential, Store, StoreError, StoredToken,
    SwapReason, TokenHash, TokenKind, TokenRotation, User, UserChange, UserCreation,
};
use crate::name::{AdminTokenId, FileName, GroupName, Owner, Scope, TokenId, UserId};

/// Runs every test, each on a new store.
pub(super) async fn all(open: impl AsyncFn() -> Store) {
    users(open().await).await;
    names(open().await).await;
    names_that_nobody_has(open().await).await;
    pages(open().await).await;
    tokens(open().await).await;
    rotation(open().await).await;
    rights_are_checked_in_the_transaction(open().await).await;
    the_number_of_tokens_is_limited(open().await).await;
    paste_tokens(open().await).await;
    derived::all(&open).await;
    sessions::all(&open).await;
    listing::all(&open).await;
    made::tokens_end_with_their_section(open().await).await;
    made::a_token_is_stored_beside_its_fields_alone(open().await).await;
    credentials(open().await).await;
    shared_credentials(open().await).await;
    credentials_are_swapped(open().await).await;
    credentials_are_confirmed_as_one(open().await).await;
    deleting_a_user_deletes_everything(open().await).await;
    master_key(open().await).await;
    admin_tokens(open().await).await;
    commits_change_the_data_version(open().await).await;
    invalidations_name_the_affected_users(open().await).await;
    audit_entries_are_chained(open().await).await;
    audit::it_is_searched(open().await).await;
    leases(open().await).await;
    answers_are_kept_beside_their_login(open().await).await;
    concurrent_creates_are_all_kept(open().await).await;
    concurrent_changes_are_all_kept(open().await).await;
    usage::batches_count_once(open().await).await;
    usage::usage_is_filtered(open().await).await;
    usage::reads_are_bounded(open().await).await;
    usage::exchanges_are_numbered(open().await).await;
    usage::usage_is_trimmed(open().await).await;
    usage::a_step_of_the_clock_keeps_no_old_exchange(open().await).await;
    usage::sums_are_bounded(open().await).await;
    usage::ratios_are_learned_from_counts(open().await).await;
}

pub(super) fn user(number: u64) -> User {
    let id = UserId::new(&format!("usr_{number:016x}")).unwrap();
    let name = format!("user {number}");
    User { id, name, ip: None, group: None, created_at_ms: 1000 + number, disabled_at_ms: None }
}

pub(super) fn token(text: &str) -> NewToken {
    let hash = TokenHash::of(text);
    NewToken {
        id: TokenId::new(&format!("tok_{}", &hash.hex()[..16])).unwrap(),
        hash,
        prefix: text.chars().take(11).collect(),
        label: None,
        kind: TokenKind::Both,
        scopes: None,
        created_at_ms: 5,
        expires_at_ms: None,
    }
}

pub(super) fn act() -> Act {
    Act {
        at_ms: 50,
        actor: "uid 0".to_owned(),
        source: "local".to_owned(),
        right: None,
        action: "test",
        target: "it".to_owned(),
        detail: serde_json::json!({ "a": 1 }),
    }
}

pub(super) fn put(section: &str, field: &str, sealed: &[u8]) -> CredentialChange {
    CredentialChange::Put(sealed_credential(&Owner::Everybody, section, field, sealed))
}

fn sealed_credential(owner: &Owner, section: &str, field: &str, sealed: &[u8]) -> SealedCredential {
    SealedCredential {
        owner: owner.clone(),
        section: section.to_owned(),
        field: field.to_owned(),
        sealed: sealed.to_owned(),
        origins: Some(vec!["https://demo.example".to_owned()]),
        updated_at_ms: 7,
    }
}

fn own(user: &User) -> Owner {
    Owner::User(user.id.clone())
}

/// Stores a user with a first token only.
pub(super) async fn create(
    store: &Store,
    user: &User,
    token: &NewToken,
    names: DuplicateNames,
) -> UserCreation {
    try_create(store, user, token, names).await.unwrap()
}

/// The same, with the error of the store.
pub(super) async fn try_create(
    store: &Store,
    user: &User,
    token: &NewToken,
    names: DuplicateNames,
) -> Result<UserCreation, StoreError> {
    store.create_user(user, InitialAccess { token, credentials: None }, names, &act()).await
}

async fn names_that_nobody_has(store: Store) {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let unknown =
        async |users: &[&str], groups: &[&str]| store.unknown_names(list(users), list(groups)).await.unwrap();
    assert_eq!(unknown(&[], &[]).await, (vec![], vec![]));
    assert_eq!(unknown(&["user 1"], &["team"]).await, (list(&["user 1"]), list(&["team"])));
    add(&store, 1, "tg_one").await;
    let grouped = User { group: GroupName::new("team"), ..user(2) };
    create(&store, &grouped, &token("tg_two"), DuplicateNames::Allow).await;
    let found = unknown(&["user 3", "user 1", "user 2", "User 1", "5"], &["team", "teams", "user 1"]).await;
    assert_eq!(found, (list(&["5", "User 1", "user 3"]), list(&["teams", "user 1"])));
}

async fn add(store: &Store, number: u64, token_text: &str) -> User {
    let user = user(number);
    assert_eq!(create(store, &user, &token(token_text), DuplicateNames::Allow).await, UserCreation::Created);
    user
}

async fn owner_of(store: &Store, token_text: &str) -> Option<UserId> {
    store.lookup_token(&TokenHash::of(token_text)).await.unwrap().map(|found| found.user.id)
}

async fn users(store: Store) {
    assert_eq!(store.users().await.unwrap(), []);
    let (b, a) = (add(&store, 2, "b").await, add(&store, 1, "a").await);
    assert_eq!(store.users().await.unwrap(), [a.clone(), b.clone()]);
    assert_eq!(store.find_users("user 1").await.unwrap(), std::slice::from_ref(&a));
    assert_eq!(store.find_users(b.id.as_str()).await.unwrap(), std::slice::from_ref(&b));
    assert_eq!(store.find_users("nobody").await.unwrap(), []);
    assert_eq!(store.user(&a.id).await.unwrap(), Some(a.clone()));
    let change = async |change: UserChange| store.update_user(&b.id, &change, &act()).await.unwrap().unwrap();
    let group = GroupName::new("research");
    let all = UserChange {
        name: Some("new".to_owned()),
        ip: Some(Some("note".to_owned())),
        group: Some(group.clone()),
        disabled_at_ms: Some(Some(9)),
    };
    let expected = User {
        name: "new".to_owned(),
        ip: Some("note".to_owned()),
        group,
        disabled_at_ms: Some(9),
        ..b.clone()
    };
    assert_eq!(change(all).await, expected);
    assert_eq!(change(UserChange::default()).await, expected);
    let again = UserChange { disabled_at_ms: Some(Some(10)), ..UserChange::default() };
    assert_eq!(change(again).await.disabled_at_ms, Some(9), "disabled already");
    let less = UserChange { ip: Some(None), group: Some(None), disabled_at_ms: Some(None), name: None };
    assert_eq!(change(less).await, User { name: "new".to_owned(), ..user(2) });
    assert_eq!(store.update_user(&user(9).id, &UserChange::default(), &act()).await.unwrap(), None);
    assert!(store.delete_user(&a.id, &act()).await.unwrap());
    assert!(!store.delete_user(&a.id, &act()).await.unwrap());
}

async fn pages(store: Store) {
    let mut users = Vec::new();
    for number in 0..5 {
        let user = User { created_at_ms: 1000 + number / 2, ..user(number) };
        create(&store, &user, &token(&number.to_string()), DuplicateNames::Allow).await;
        users.push(user);
    }
    let last = users[1].clone();
    let page = store.users_page(Some((last.created_at_ms, &last.id)), Some(2)).await.unwrap();
    assert_eq!(page, users[2..4]);
    assert_eq!(store.users_page(None, Some(0)).await.unwrap(), []);
    store.delete_user(&last.id, &act()).await.unwrap();
    let page = store.users_page(Some((last.created_at_ms, &last.id)), Some(u64::MAX)).await.unwrap();
    assert_eq!(page, users[2..], "a page may start after a deleted user");
    let owner = &users[0].id;
    for text in ["x", "y", "z"] {
        store.add_token(owner, &token(text), &act()).await.unwrap();
    }
    let all = store.tokens_page(owner, None, None).await.unwrap();
    assert_eq!(all.len(), 4);
    let after = Some((all[1].created_at_ms, &all[1].id));
    assert_eq!(store.tokens_page(owner, after, Some(1)).await.unwrap(), all[2..3]);
}

async fn names(store: Store) {
    let first = add(&store, 1, "a").await;
    let twin = User { name: first.name.clone(), ..user(2) };
    let refused = create(&store, &twin, &token("b"), DuplicateNames::Refuse).await;
    assert_eq!(refused, UserCreation::NameTaken(first.id.clone()));
    assert_eq!(owner_of(&store, "b").await, None);
    assert_eq!(create(&store, &twin, &token("b"), DuplicateNames::Allow).await, UserCreation::Created);
    assert_eq!(store.find_users(&first.name).await.unwrap(), [first, twin]);
}

async fn tokens(store: Store) {
    let owner = add(&store, 1, "first").await;
    let scopes = Some(["demo", "demo/chat"].map(|text| Scope::parse(text).unwrap()).to_vec());
    let second = NewToken {
        label: Some("ci".to_owned()),
        expires_at_ms: Some(99),
        kind: TokenKind::Proxy,
        scopes: scopes.clone(),
        ..token("second")
    };
    assert!(store.add_token(&owner.id, &second, &act()).await.unwrap());
    assert!(!store.add_token(&user(9).id, &token("third"), &act()).await.unwrap());
    let found = store.lookup_token(&second.hash).await.unwrap().unwrap();
    assert_eq!((&found.user, found.token.expires_at_ms), (&owner, Some(99)));
    let found = found.token;
    assert_eq!((found.kind, &found.scopes, &found.id), (TokenKind::Proxy, &scopes, &second.id));
    let listed = store.tokens().await.unwrap();
    assert_eq!(listed.len(), 2);
    let listed = listed.iter().find(|token| token.hash == second.hash).unwrap();
    assert_eq!((listed.label.as_deref(), listed.expires_at_ms), (Some("ci"), Some(99)));
    assert_eq!((&listed.user, &listed.user_name), (&owner.id, &owner.name));
    assert_eq!((listed.last_used_at_ms, listed.replaced_at_ms), (None, None));
    store
        .record_last_use(&[(second.hash, 20), (second.hash, 10), (TokenHash::of("never was"), 1)])
        .await
        .unwrap();
    let used = store.tokens_page(&owner.id, None, None).await.unwrap();
    assert_eq!(used.iter().find(|one| one.id == second.id).unwrap().last_used_at_ms, Some(20));
    let hashes = store.token_hashes_after(None, 10).await.unwrap();
    assert_eq!(hashes.len(), 2);
    assert_eq!(store.token_hashes_after(Some(&hashes[0]), 10).await.unwrap(), hashes[1..]);
    assert_eq!(store.count_tokens().await.unwrap(), 2);
    let mut own = store.token_hashes_of(Some(&owner.id)).await.unwrap();
    own.sort_unstable();
    assert_eq!((own, store.token_hashes_of(None).await.unwrap()), (hashes, Vec::new()));
    let revoke = async |user: &UserId| {
        let revoked = store.revoke_token(user, &second.id, RevokeExtent::Alone, &act()).await.unwrap();
        revoked.is_some()
    };
    assert!(!revoke(&user(9).id).await, "the token belongs to another user");
    assert!(revoke(&owner.id).await);
    assert!(!revoke(&owner.id).await);
    assert_eq!(owner_of(&store, "second").await, None);
    assert_eq!(owner_of(&store, "first").await, Some(owner.id));
}

async fn rotation(store: Store) {
    let owner = add(&store, 1, "first").await;
    let rotate = async |old: &str, new: &str, until| {
        store.rotate_token(&TokenHash::of(old), &token(new), until, &act()).await.unwrap()
    };
    assert_eq!(rotate("never was", "x", 90).await, TokenRotation::Gone);
    let done = |old_expires_at_ms| {
        TokenRotation::Done(Rotated { old_expires_at_ms, paste_tokens: 0, handed_over: 0 })
    };
    assert_eq!(rotate("first", "second", 90).await, done(90));
    assert_eq!(rotate("first", "x", 200).await, TokenRotation::Replaced);
    let found = store.lookup_token(&TokenHash::of("first")).await.unwrap().unwrap();
    assert_eq!(found.token.expires_at_ms, Some(90));
    assert_eq!(owner_of(&store, "second").await, Some(owner.id.clone()));
    assert_eq!(owner_of(&store, "x").await, None);
    for (text, ends, expected) in [("early", 70, done(70)), ("over", 50, TokenRotation::Gone)] {
        let ending = NewToken { expires_at_ms: Some(ends), ..token(text) };
        store.add_token(&owner.id, &ending, &act()).await.unwrap();
        assert_eq!(rotate(text, &format!("after {text}"), 90).await, expected, "{text}");
    }
    assert_eq!(owner_of(&store, "after over").await, None);
}

/// A right may be revoked between authentication and the change.
async fn rights_are_checked_in_the_transaction(store: Store) {
    let owner = add(&store, 1, "first").await;
    let by = |right| Act { right: Some(right), ..act() };
    let mut number = 0;
    let mut may = async |text: &str| {
        number += 1;
        let act = by(Right::Token(TokenHash::of(text)));
        match store.add_token(&owner.id, &token(&format!("made {number}")), &act).await {
            Ok(done) => done,
            Err(StoreError::TokenRevoked) => false,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(may("first").await);
    assert!(!may("never was").await);
    let ending = NewToken { expires_at_ms: Some(act().at_ms), ..token("over") };
    store.add_token(&owner.id, &ending, &act()).await.unwrap();
    assert!(!may("over").await);
    store.rotate_token(&TokenHash::of("first"), &token("second"), 90, &act()).await.unwrap();
    assert!(!may("first").await, "it was replaced");
    let rotate = async |right| {
        let act = Act { action: "token.rotate", ..by(right) };
        store.rotate_token(&TokenHash::of("first"), &token("x"), 90, &act).await
    };
    let right = Right::Token(TokenHash::of("first"));
    let refused = rotate(right.clone()).await.unwrap_err();
    assert!(matches!(refused, StoreError::TokenRevoked), "the action gives no right: {refused}");
    assert_eq!(rotate(right.even_if_replaced()).await.unwrap(), TokenRotation::Replaced);
    assert!(may("second").await);
    let disable = |since| UserChange { disabled_at_ms: Some(since), ..UserChange::default() };
    store.update_user(&owner.id, &disable(Some(9)), &act()).await.unwrap();
    assert!(!may("second").await);
    store.update_user(&owner.id, &disable(None), &act()).await.unwrap();
    let own = by(Right::Token(TokenHash::of("second")));
    let revoked = store.revoke_token(&owner.id, &token("second").id, RevokeExtent::Alone, &own).await;
    assert!(revoked.unwrap().is_some(), "a token may revoke itself");
    assert!(!may("second").await);
    let gone = by(Right::Admin(AdminTokenId::new("adm_0123456789abcdef").unwrap()));
    let error = store.delete_user(&owner.id, &gone).await.unwrap_err();
    assert!(matches!(error, StoreError::AdminTokenRevoked), "{error}");
}

async fn the_number_of_tokens_is_limited(store: Store) {
    let owner = add(&store, 1, "first").await;
    let day = 86_400_000;
    let late = Act { at_ms: 2 * day, ..act() };
    let ending = |text: String, ends| NewToken { expires_at_ms: Some(ends), ..token(&text) };
    for number in 1..1000 {
        let token = ending(format!("token {number}"), if number < 10 { day } else { 3 * day });
        assert!(store.add_token(&owner.id, &token, &act()).await.unwrap());
    }
    let one_more = token("one more");
    let error = store.add_token(&owner.id, &one_more, &act()).await.unwrap_err();
    assert!(matches!(error, StoreError::TooManyTokens { limit: 1000 }), "{error}");
    assert!(store.add_token(&owner.id, &one_more, &late).await.unwrap(), "some expired more than a day ago");
    assert_eq!(store.tokens_page(&owner.id, None, None).await.unwrap().len(), 992);
}

async fn paste_tokens(store: Store) {
    let owner = add(&store, 1, "a").await;
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    let change = async |changes: &[CredentialChange]| {
        store.change_credentials(&own(&owner), "key", changes, &act()).await.unwrap()
    };
    change(&[put("demo", "oauth", b"1"), put("demo", "apiKey", b"2")]).await;
    let scopes = ["demo/chat", "demo/models"].map(|text| Scope::parse(text).unwrap()).to_vec();
    let paste = |text: &str, user: &User| NewPasteToken {
        id: token(text).id,
        scopes: scopes.clone(),
        expires_at_ms: None,
        hash: TokenHash::of(text),
        user: user.id.clone(),
        provider: FileName::new("demo").unwrap(),
        section: "demo".to_owned(),
        field: "oauth".to_owned(),
        created_at_ms: 5,
    };
    let replace = async |text: &str, user: &User, until| {
        store.replace_paste_token(&paste(text, user), until, &act()).await.unwrap()
    };
    let ends = async |text: &str| {
        let found = store.lookup_paste_token(&TokenHash::of(text)).await.unwrap()?;
        let StoredToken { paste, scopes: within, expires_at_ms, kind, .. } = found.token;
        assert_eq!((paste.unwrap().as_str(), within, kind), ("demo", Some(scopes.clone()), TokenKind::Proxy));
        assert_eq!((found.user.id, found.credentials.len()), (owner.id.clone(), 2));
        Some(expires_at_ms)
    };
    assert!(!replace("x", &user(9), 90).await);
    assert!(replace("one", &owner, 90).await);
    assert_eq!(
        (ends("one").await, owner_of(&store, "one").await),
        (Some(None), None),
        "a paste token is not found as a token"
    );
    assert!(replace("two", &owner, 90).await);
    assert!(replace("three", &owner, 95).await);
    assert_eq!(
        [ends("one").await, ends("two").await, ends("three").await],
        [Some(Some(90)), Some(Some(95)), Some(None)]
    );
    // Paste tokens are listed and revoked like other tokens.
    store.record_last_use(&[(TokenHash::of("one"), 7)]).await.unwrap();
    let listed = store.tokens_page(&owner.id, None, None).await.unwrap();
    assert_eq!(store.tokens().await.unwrap(), listed);
    let pasted: Vec<_> = listed.iter().filter(|one| one.paste.is_some()).collect();
    assert_eq!(pasted.len(), 3);
    let one = pasted.iter().find(|one| one.id == token("one").id).unwrap();
    assert_eq!((one.prefix.as_str(), one.last_used_at_ms, one.kind_label()), ("", Some(7), "paste"));
    let revoke =
        async |user: &UserId| store.revoke_token(user, &one.id, RevokeExtent::Alone, &act()).await.unwrap();
    assert_eq!(revoke(&user(9).id).await, None);
    assert_eq!(revoke(&owner.id).await, Some(Revoked { paste_tokens: 1, ..Revoked::default() }));
    assert_eq!(ends("one").await, None);
    change(&[put("demo", "oauth", b"3")]).await;
    assert_eq!(ends("three").await, Some(None), "the login still exists");
    change(&[CredentialChange::Remove { section: "demo".to_owned(), field: "oauth".to_owned() }]).await;
    assert_eq!([ends("two").await, ends("three").await], [None; 2]);
    assert!(!replace("four", &owner, 90).await, "the login was removed");
}

async fn credentials(store: Store) {
    let (owner, other) = (add(&store, 1, "a").await, add(&store, 2, "b").await);
    assert!(store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap());
    let change = async |key: &str, changes: &[CredentialChange]| {
        store.change_credentials(&own(&owner), key, changes, &act()).await.unwrap()
    };
    let two = [put("providers.demo", "apiKey", b"1"), put("demo", "oauth", b"2")];
    assert_eq!(change("key", &two).await, ChangeOutcome::Done { rows: 2 });
    let replaced = [put("demo", "oauth", b"3")];
    assert_eq!(change("key", &replaced).await, ChangeOutcome::Done { rows: 1 });
    let stored = store.lookup_token(&TokenHash::of("a")).await.unwrap().unwrap().credentials;
    let sealed = |section, field, sealed| sealed_credential(&own(&owner), section, field, sealed);
    let expected = [sealed("demo", "oauth", b"3"), sealed("providers.demo", "apiKey", b"1")];
    assert_eq!(stored, expected);
    assert_eq!(store.credentials(&own(&owner)).await.unwrap(), expected);
    assert_eq!(store.credentials(&own(&other)).await.unwrap(), []);

    assert_eq!(change("other key", &replaced).await, ChangeOutcome::OtherKey);
    let nobody = store.change_credentials(&own(&user(9)), "key", &replaced, &act()).await.unwrap();
    assert_eq!(nobody, ChangeOutcome::UnknownUser);

    let remove = [CredentialChange::Remove { section: "demo".to_owned(), field: "oauth".to_owned() }];
    let (seq, _) = store.audit_head().await.unwrap();
    assert_eq!(change("", &remove).await, ChangeOutcome::Done { rows: 1 }, "removing needs no key");
    assert_eq!(change("", &remove).await, ChangeOutcome::Done { rows: 0 });
    assert_eq!(store.audit_head().await.unwrap().0, seq + 1, "the second removal changed nothing");
    let document = [CredentialChange::RemoveAll, put("demo", "apiKey", b"4")];
    assert_eq!(change("key", &document).await, ChangeOutcome::Done { rows: 2 });
    let expected = [sealed("demo", "apiKey", b"4")];
    assert_eq!(store.credentials(&own(&owner)).await.unwrap(), expected);

    let begins = [put("demo", "apiKey", b"5")];
    let creation = async |number, key| {
        let token = token(&format!("begins {number}"));
        let beginning = InitialAccess { token: &token, credentials: Some((key, &begins)) };
        store.create_user(&user(number), beginning, DuplicateNames::Allow, &act()).await.unwrap()
    };
    assert_eq!(creation(5, "other key").await, UserCreation::OtherKey);
    assert_eq!(store.user(&user(5).id).await.unwrap(), None);
    assert_eq!(creation(5, "key").await, UserCreation::Created);
    assert_eq!(store.credentials(&own(&user(5))).await.unwrap().len(), 1);
}

async fn shared_credentials(store: Store) {
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    let group = |name: &str| GroupName::new(name).unwrap();
    let owners = [Owner::Everybody, Owner::Group(group("research")), Owner::Group(group("sales"))];
    for owner in &owners {
        let change = [put("demo", "apiKey", owner.to_string().as_bytes())];
        store.change_credentials(owner, "key", &change, &act()).await.unwrap();
    }
    let member = User { group: Some(group("research")), ..user(1) };
    create(&store, &member, &token("a"), DuplicateNames::Allow).await;
    store.change_credentials(&own(&member), "key", &[put("demo", "apiKey", b"own")], &act()).await.unwrap();
    add(&store, 2, "b").await;
    let owners_for = async |text: &str| {
        let found = store.lookup_token(&TokenHash::of(text)).await.unwrap().unwrap();
        found.credentials.into_iter().map(|one| one.owner).collect::<Vec<_>>()
    };
    assert_eq!(owners_for("a").await, [Owner::Everybody, owners[1].clone(), own(&member)]);
    assert_eq!(owners_for("b").await, [Owner::Everybody]);
    assert_eq!(store.sharing_owners().await.unwrap(), owners);
    let places = store.stored_fields().await.unwrap();
    let [place] = places.as_slice() else { panic!("{places:?}") };
    assert_eq!((place.section.as_str(), place.field.as_str(), place.owners), ("demo", "apiKey", 4));
    assert_eq!(place.origins, ["https://demo.example"]);
    let all = store.credentials_after(None, 10).await.unwrap();
    assert_eq!(all.len(), 4);
    assert_eq!(store.credentials_after(Some(&all[1]), 1).await.unwrap(), all[2..3]);
}

async fn credentials_are_swapped(store: Store) {
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    let owner = add(&store, 1, "a").await;
    store.change_credentials(&own(&owner), "key", &[put("demo", "oauth", b"1")], &act()).await.unwrap();
    let replace = async |old: &[u8], new: &[u8], key, why: SwapReason| {
        let new = SealedCredential {
            origins: Some(vec!["https://other.example".to_owned()]),
            ..sealed_credential(&own(&owner), "demo", "oauth", new)
        };
        let done = store.swap_credential(&new, old, key, why).await.unwrap();
        assert_eq!(done, store.credentials(&own(&owner)).await.unwrap() == [new]);
        done
    };
    assert!(replace(b"1", b"2", "key", SwapReason::Refresh).await);
    assert!(!replace(b"1", b"3", "key", SwapReason::Refresh).await, "another blob is stored by now");
    assert!(!replace(b"2", b"3", "other key", SwapReason::Refresh).await);
    assert!(replace(b"2", b"3", "key", SwapReason::Refresh).await);

    assert!(!store.begin_rekey("other key", "next", &act()).await.unwrap());
    assert!(store.begin_rekey("key", "next", &act()).await.unwrap());
    assert!(
        store.begin_rekey("key", "next", &act()).await.unwrap(),
        "an interrupted rotation may be resumed"
    );
    assert!(!store.begin_rekey("key", "third", &act()).await.unwrap());
    let ids = |current: &str, next: Option<&str>| KeyIds {
        current: Some(current.to_owned()),
        next: next.map(str::to_owned),
    };
    assert_eq!(store.key_ids().await.unwrap(), ids("key", Some("next")));
    assert!(!replace(b"3", b"4", "key", SwapReason::Rekey).await, "the next key encrypts now");
    assert!(replace(b"3", b"4", "next", SwapReason::Rekey).await);
    assert!(!store.finish_rekey("third", &act()).await.unwrap());
    assert!(store.finish_rekey("next", &act()).await.unwrap());
    assert_eq!(store.key_ids().await.unwrap(), ids("next", None));
}

async fn credentials_are_confirmed_as_one(store: Store) {
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    let owner = own(&add(&store, 1, "a").await);
    let puts = [put("demo", "one", b"1"), put("demo", "two", b"2")];
    store.change_credentials(&owner, "key", &puts, &act()).await.unwrap();
    let to = |field: &str, old: &[u8], new: &[u8]| {
        (sealed_credential(&owner, "demo", field, new), old.to_vec(), act())
    };
    let (before, entries) = (store.credentials(&owner).await.unwrap(), store.audit_head().await.unwrap().0);
    let other = [to("one", b"1", b"3"), to("two", b"changed", b"4")];
    assert!(!store.confirm_credentials(&owner, &other, "key").await.unwrap());
    let both = [to("one", b"1", b"3"), to("two", b"2", b"4")];
    assert!(!store.confirm_credentials(&owner, &both, "other key").await.unwrap());
    assert_eq!(store.credentials(&owner).await.unwrap(), before);
    assert_eq!(store.audit_head().await.unwrap().0, entries);
    assert!(store.confirm_credentials(&owner, &both, "key").await.unwrap());
    assert!(store.confirm_credentials(&owner, &[], "key").await.unwrap());
    let sealed: Vec<_> = store.credentials(&owner).await.unwrap().into_iter().map(|one| one.sealed).collect();
    assert_eq!(
        (sealed, store.audit_head().await.unwrap().0),
        (vec![b"3".to_vec(), b"4".to_vec()], entries + 2)
    );
}

async fn deleting_a_user_deletes_everything(store: Store) {
    let owner = add(&store, 1, "a").await;
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    store.change_credentials(&own(&owner), "key", &[put("demo", "apiKey", b"1")], &act()).await.unwrap();
    assert!(store.delete_user(&owner.id, &act()).await.unwrap());
    assert_eq!(owner_of(&store, "a").await, None);
    assert_eq!(store.tokens().await.unwrap(), []);
    assert_eq!(store.credentials(&own(&owner)).await.unwrap(), []);
}

async fn master_key(store: Store) {
    assert_eq!(store.master_key_id().await.unwrap(), None);
    assert!(store.adopt_master_key("one", ReplaceKey::IfNothingSealed).await.unwrap());
    // Nothing is encrypted yet, but a server may use the first key.
    assert!(!store.adopt_master_key("two", ReplaceKey::Never).await.unwrap());
    assert!(store.adopt_master_key("one", ReplaceKey::Never).await.unwrap());
    assert_eq!(store.master_key_id().await.unwrap(), Some("one".to_owned()));
    assert!(store.adopt_master_key("two", ReplaceKey::IfNothingSealed).await.unwrap());
    let owner = add(&store, 1, "a").await;
    store.change_credentials(&own(&owner), "two", &[put("demo", "apiKey", b"1")], &act()).await.unwrap();
    assert!(!store.adopt_master_key("one", ReplaceKey::IfNothingSealed).await.unwrap());
    assert!(store.adopt_master_key("two", ReplaceKey::IfNothingSealed).await.unwrap());
    assert_eq!(store.master_key_id().await.unwrap(), Some("two".to_owned()));
}

async fn admin_tokens(store: Store) {
    let admin = |text: &str, ends| {
        let hash = TokenHash::of(text);
        NewAdminToken {
            id: AdminTokenId::new(&format!("adm_{}", &hash.hex()[..16])).unwrap(),
            hash,
            prefix: text.to_owned(),
            label: "first".to_owned(),
            created_at_ms: 1,
            expires_at_ms: ends,
        }
    };
    let one = admin("admin", None);
    assert!(!store.has_admin_token().await.unwrap());
    store.add_admin_token(&one, &act()).await.unwrap();
    assert!(store.has_admin_token().await.unwrap());
    assert_eq!(store.find_admin_token(&one.hash).await.unwrap().unwrap().id, one.id);
    assert_eq!(store.find_admin_token(&TokenHash::of("other")).await.unwrap(), None);
    assert_eq!(owner_of(&store, "admin").await, None);
    store.record_last_use(&[(one.hash, 30)]).await.unwrap();
    assert_eq!(store.admin_tokens().await.unwrap()[0].last_used_at_ms, Some(30));
    let over = admin("over", Some(50));
    store.add_admin_token(&over, &act()).await.unwrap();
    let revoke =
        async |id: &AdminTokenId| store.revoke_admin_token(id, RevokeExtent::Alone, &act()).await.unwrap();
    let done = AdminTokenRevocation::Done(Revoked { admin_tokens: 1, ..Revoked::default() });
    assert_eq!(revoke(&one.id).await, AdminTokenRevocation::Last, "the other one has expired");
    assert_eq!(revoke(&over.id).await, done);
    assert_eq!(revoke(&over.id).await, AdminTokenRevocation::Unknown);
    store.add_admin_token(&admin("second", None), &act()).await.unwrap();
    assert_eq!(revoke(&one.id).await, done);
    assert_eq!(store.find_admin_token(&one.hash).await.unwrap(), None);
}

async fn commits_change_the_data_version(store: Store) {
    let before = (store.data_version().await.unwrap(), store.invalidations().current());
    assert_eq!(store.data_version().await.unwrap(), before.0);
    add(&store, 1, "a").await;
    assert_ne!(store.data_version().await.unwrap(), before.0);
    assert_ne!(store.invalidations().current(), before.1);
}

async fn invalidations_name_the_affected_users(store: Store) {
    let some = |seq, users: &[&User]| {
        let users = users.iter().map(|user| user.id.clone()).collect();
        Invalidated { own: Affected { users, everybody: false }, ..Invalidated::none(seq) }
    };
    let nothing = |seq| some(seq, &[]);
    assert_eq!(store.invalidated_since(0).await.unwrap(), nothing(0));
    let (one, two) = (add(&store, 1, "a").await, add(&store, 2, "b").await);
    assert_eq!(store.invalidated_since(0).await.unwrap(), some(2, &[&one, &two]));
    assert_eq!(store.invalidated_since(1).await.unwrap(), some(2, &[&two]));
    let counter = store.invalidations();
    assert!(counter.last_for(&one.id) < counter.last_for(&two.id));
    store.record_last_use(&[(TokenHash::of("a"), 1)]).await.unwrap();
    assert!(store.try_lease("x", "me", 1, 2).await.unwrap());
    assert_eq!(
        (store.invalidated_since(2).await.unwrap(), store.last_invalidation().await.unwrap()),
        (nothing(2), 2)
    );
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    let change = [put("demo", "apiKey", b"1")];
    store.change_credentials(&Owner::Everybody, "key", &change, &act()).await.unwrap();
    assert_eq!(
        store.invalidated_since(2).await.unwrap(),
        Invalidated { own: Affected { users: Vec::new(), everybody: true }, ..nothing(3) }
    );
    assert_eq!(store.invalidated_since(3).await.unwrap(), nothing(3));
    assert_eq!(counter.last_for(&one.id), counter.last_for_everybody());
}

async fn audit_entries_are_chained(store: Store) {
    assert_eq!(store.audit_head().await.unwrap(), (0, GENESIS_HASH.to_owned()));
    for number in 0..5 {
        add(&store, number, &number.to_string()).await;
    }
    let entries = store.audit_page(0, None).await.unwrap();
    let mut before = GENESIS_HASH.to_owned();
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, u64::try_from(index).unwrap() + 1);
        assert_eq!(entry.hash, entry.hash_after(&before));
        before.clone_from(&entry.hash);
    }
    assert_eq!((entries.len(), &*entries[0].detail), (5, r#"{"a":1}"#));
    assert_eq!(store.audit_head().await.unwrap(), (5, before));
    assert_eq!(store.audit_page(2, Some(2)).await.unwrap(), entries[2..4]);
}

async fn leases(store: Store) {
    let take = async |holder, now, until| store.try_lease("refresh", holder, now, until).await.unwrap();
    assert!(take("one", 10, 20).await);
    assert!(!take("two", 19, 30).await);
    assert!(take("one", 19, 30).await, "the holder may extend it");
    assert!(take("two", 30, 40).await, "it had ended");
    store.release_lease("refresh", "one").await.unwrap();
    assert!(!take("one", 31, 40).await, "only the holder can release it");
    store.release_lease("refresh", "two").await.unwrap();
    assert!(take("one", 31, 40).await);
    assert!(store.try_lease("other", "one", 31, 40).await.unwrap());
    store.drop_leases("ref").await.unwrap();
    assert!(take("two", 31, 40).await);
    assert!(!store.try_lease("other", "two", 31, 40).await.unwrap(), "its name has another prefix");
}

async fn answers_are_kept_beside_their_login(store: Store) {
    let ada = add(&store, 1, "a").await;
    let owner = own(&ada);
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    let answer = |field: &str, received_at_ms| SealedAnswer {
        owner: owner.clone(),
        section: "demo".into(),
        field: field.into(),
        received_at_ms,
        sealed: b"answer".to_vec(),
    };
    let keep = async |field: &str, at, key| store.keep_answer(&answer(field, at), &[], key).await.unwrap();
    let change = async |changes: &[CredentialChange]| {
        store.change_credentials(&owner, "key", changes, &act()).await.unwrap();
    };
    let kept = async || {
        let kept = store.kept_answers(&owner).await.unwrap();
        kept.into_iter().map(|one| (one.field, one.received_at_ms)).collect::<Vec<_>>()
    };
    assert_eq!(keep("login", 1, "key").await, KeepOutcome::NoLogin, "there is no login");
    let logins = [put("demo", "login", b"1"), put("demo", "other", b"1")];
    change(&logins).await;
    assert_eq!(keep("login", 1, "another").await, KeepOutcome::OtherKey);
    for at in 1..=4 {
        assert_eq!(keep("login", at, "key").await, KeepOutcome::Kept);
    }
    assert_eq!(keep("login", 4, "key").await, KeepOutcome::Kept, "the same once more");
    assert_eq!(keep("other", 5, "key").await, KeepOutcome::Kept);
    // One makes room for another.
    let moved = store.keep_answer(&answer("other", 7), &[5], "key").await.unwrap();
    assert_eq!((moved, kept().await.last().unwrap().1), (KeepOutcome::Kept, 7));
    let moved = store.keep_answer(&answer("other", 5), &[7], "key").await.unwrap();
    assert_eq!(moved, KeepOutcome::Kept);
    let of_login = [1, 2, 3, 4].map(|at| ("login".to_owned(), at));
    let of_other = ("other".to_owned(), 5);
    assert_eq!(kept().await, [&of_login[..], std::slice::from_ref(&of_other)].concat());
    // Pages, and compare-and-swap.
    let page = store.kept_answers_after(None, 2).await.unwrap();
    assert_eq!(page, [answer("login", 1), answer("login", 2)]);
    let page = store.kept_answers_after(page.last(), 9).await.unwrap();
    assert_eq!(page, [answer("login", 3), answer("login", 4), answer("other", 5)]);
    let new = SealedAnswer { sealed: b"new".to_vec(), ..answer("other", 5) };
    let swap = async |old: &[u8], key| store.swap_answers(&[(new.clone(), old.to_vec())], key).await.unwrap();
    assert_eq!(swap(b"answer", "another").await, None);
    assert_eq!(swap(b"answer", "key").await, Some(1));
    assert_eq!(swap(b"answer", "key").await, Some(0));
    assert_eq!(store.kept_answers_after(page.get(1), 9).await.unwrap(), std::slice::from_ref(&new));
    // They stay when a login is stored, alone or in a whole document, and when it is refreshed in part.
    let all = kept().await;
    change(&logins[..1]).await;
    assert_eq!(kept().await, all);
    change(&[&[CredentialChange::RemoveAll], &logins[..]].concat()).await;
    assert_eq!(kept().await, all);
    let mut refreshed = store.credentials(&owner).await.unwrap().remove(0);
    assert_eq!(refreshed.field, "login");
    let old = std::mem::replace(&mut refreshed.sealed, b"2".to_vec());
    assert!(store.swap_credential(&refreshed, &old, "key", SwapReason::RefreshInPart).await.unwrap());
    assert_eq!(kept().await, all);
    // A refresh, a document without the login, a removal, and the end of the user.
    let old = std::mem::replace(&mut refreshed.sealed, b"3".to_vec());
    assert!(store.swap_credential(&refreshed, &old, "key", SwapReason::Refresh).await.unwrap());
    assert_eq!(kept().await, [of_other]);
    change(&[CredentialChange::RemoveAll, logins[0].clone()]).await;
    assert_eq!(kept().await, []);
    change(&logins[1..]).await;
    keep("login", 1, "key").await;
    keep("other", 1, "key").await;
    change(&[CredentialChange::Remove { section: "demo".into(), field: "other".into() }]).await;
    assert_eq!(kept().await, [("login".to_owned(), 1)]);
    assert!(store.delete_user(&ada.id, &act()).await.unwrap());
    assert_eq!(kept().await, []);
}

async fn concurrent_creates_are_all_kept(store: Store) {
    let mut running = JoinSet::new();
    for number in 0..20 {
        let store = store.clone();
        running.spawn(async move { add(&store, number, &format!("token {number}")).await });
    }
    assert_eq!(running.join_all().await.len(), 20);
    assert_eq!(store.users().await.unwrap().len(), 20);
    assert_eq!(store.tokens().await.unwrap().len(), 20);
}

async fn concurrent_changes_are_all_kept(store: Store) {
    let owner = own(&add(&store, 1, "a").await);
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    let mut running = JoinSet::new();
    for number in 0..20 {
        let (store, owner) = (store.clone(), owner.clone());
        running.spawn(async move {
            let change = [put(&format!("providers.demo-{number}"), "apiKey", b"1")];
            store.change_credentials(&owner, "key", &change, &act()).await.unwrap()
        });
    }
    assert_eq!(running.join_all().await, [ChangeOutcome::Done { rows: 1 }; 20]);
    assert_eq!(store.credentials(&owner).await.unwrap().len(), 20);
}
