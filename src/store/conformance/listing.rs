//! Lists of users, groups and owners: their orders, filters and pages.

use super::{act, create, own, put, token, user};
use crate::{
    name::{GroupName, Owner},
    store::{
        CredentialChange, DuplicateNames, ListedGroup, ListedUser, NewToken, ReplaceKey, SealedCredential,
        SortKey, Store, StoredField, TokenHash, TokenKind, User, UserCount, UserFilter, UserOrder, UserPage,
    },
};

/// Runs every test, each on a new store.
pub(super) async fn all(open: &impl AsyncFn() -> Store) {
    users_are_searched(open().await).await;
    users_are_ordered(open().await).await;
    a_user_is_shown_with_tokens_and_fields(open().await).await;
    groups_are_listed(open().await).await;
    credentials_are_found_by_their_origins(open().await).await;
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

/// A user with a name and a group, whose token has the text `token NUMBER`.
async fn named(store: &Store, number: u64, name: &str, in_group: Option<&str>) -> User {
    let one = User { name: name.to_owned(), group: in_group.map(group), ..user(number) };
    create(store, &one, &token(&format!("token {number}")), DuplicateNames::Allow).await;
    one
}

/// The numbers of the users of a page.
async fn numbers(store: &Store, page: &UserPage) -> Vec<u64> {
    let found = store.listed_users(page).await.unwrap();
    found.iter().map(|one| one.user.created_at_ms - 1000).collect()
}

async fn users_are_searched(store: Store) {
    let names = [
        ("Ada", None),
        ("bob 100%", Some("research")),
        ("Éva_[x]*?", Some("sales")),
        ("adam", Some("sales")),
    ];
    for (number, (name, in_group)) in (1..).zip(names) {
        named(&store, number, name, in_group).await;
    }
    let check = async |search: Option<&str>, in_group: Option<&str>, expected: &[u64]| {
        let filter = UserFilter { search: search.map(str::to_owned), group: in_group.map(group) };
        let page = UserPage { filter: filter.clone(), ..UserPage::default() };
        assert_eq!(numbers(&store, &page).await, expected, "{filter:?}");
        let count = UserCount { users: u64::try_from(expected.len()).unwrap(), disabled: 0 };
        assert_eq!(store.count_users(&filter).await.unwrap(), count, "{filter:?}");
    };
    check(None, None, &[1, 2, 3, 4]).await;
    check(Some("ADA"), None, &[1, 4]).await;
    check(Some("éVA"), None, &[3]).await;
    check(Some("ALE"), None, &[3, 4]).await;
    check(Some("000002"), None, &[2]).await;
    check(Some("%"), None, &[2]).await;
    check(Some("_[X]*?"), None, &[3]).await;
    check(Some("*"), None, &[3]).await;
    check(Some("a*m"), None, &[]).await;
    check(None, Some("sales"), &[3, 4]).await;
    check(Some("ad"), Some("sales"), &[4]).await;
    check(None, Some("nobody"), &[]).await;
}

async fn users_are_ordered(store: Store) {
    for (number, name) in (1..).zip(["carol", "Bob", "alice", "bob", "Alice"]) {
        named(&store, number, name, None).await;
    }
    store
        .record_last_use(&[
            (TokenHash::of("token 2"), 70),
            (TokenHash::of("token 5"), 90),
            (TokenHash::of("token 4"), 70),
        ])
        .await
        .unwrap();
    let check = async |order: UserOrder, expected: [u64; 5]| {
        let all = UserPage { order, ..UserPage::default() };
        assert_eq!(numbers(&store, &all).await, expected, "{order:?}");
        for limit in [1, 2, 3] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = UserPage { order, after, limit: Some(limit), ..UserPage::default() };
                let found = store.listed_users(&page).await.unwrap();
                let Some(last) = found.last() else { break };
                after = Some((last.sort_key(order), last.user.id.clone()));
                seen.extend(found.iter().map(|one| one.user.created_at_ms - 1000));
            }
            assert_eq!(seen, expected, "{order:?} by {limit}");
        }
    };
    check(UserOrder::Created, [1, 2, 3, 4, 5]).await;
    check(UserOrder::Name, [3, 5, 2, 4, 1]).await;
    check(UserOrder::LastUsed, [5, 2, 4, 1, 3]).await;
    // The place of a user who is gone is still one.
    let after = Some((SortKey::Name("Bob".to_owned()), user(2).id));
    store.delete_user(&user(2).id, &act()).await.unwrap();
    let page = UserPage { order: UserOrder::Name, after, ..UserPage::default() };
    assert_eq!(numbers(&store, &page).await, [4, 1]);
}

async fn a_user_is_shown_with_tokens_and_fields(store: Store) {
    let one = named(&store, 1, "Ada", None).await;
    let expired = NewToken { expires_at_ms: Some(40), ..token("expired") };
    let session = NewToken { kind: TokenKind::Session, ..token("session") };
    for more in [expired, session, token("second")] {
        store.add_token(&one.id, &more, &act()).await.unwrap();
    }
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    let puts = [put("providers.demo", "apiKey", b"1"), put("demo", "z", b"2"), put("demo", "a", b"3")];
    store.change_credentials(&own(&one), "key", &puts, &act()).await.unwrap();
    let shown = async || store.show_user(&one.id, 50).await.unwrap().unwrap();
    let stored = ["demo.a", "demo.z", "providers.demo.apiKey"].map(str::to_owned).to_vec();
    let expected = ListedUser { user: one.clone(), last_used_at_ms: None, valid_tokens: 2, stored };
    assert_eq!(shown().await, expected);
    store.record_last_use(&[(TokenHash::of("second"), 60), (TokenHash::of("session"), 61)]).await.unwrap();
    assert_eq!(shown().await.last_used_at_ms, Some(61), "a session counts");
    let listed = store.listed_users(&UserPage { now_ms: 50, ..UserPage::default() }).await.unwrap();
    assert_eq!(listed, [shown().await]);
    assert_eq!(store.show_user(&user(9).id, 50).await.unwrap(), None);
}

async fn groups_are_listed(store: Store) {
    assert_eq!(store.listed_groups(None, None).await.unwrap(), []);
    for (number, in_group) in [(1, Some("b")), (2, Some("b")), (3, Some("a")), (4, None)] {
        named(&store, number, "one", in_group).await;
    }
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    for owner in [Owner::Group(group("b")), Owner::Group(group("c")), Owner::Everybody] {
        store.change_credentials(&owner, "key", &[put("demo", "apiKey", b"1")], &act()).await.unwrap();
    }
    let one = |name, users, stored: &[&str]| ListedGroup {
        name: group(name),
        users,
        stored: stored.iter().map(|one| (*one).to_owned()).collect(),
    };
    let all = [one("a", 1, &[]), one("b", 2, &["demo.apiKey"]), one("c", 0, &["demo.apiKey"])];
    assert_eq!(store.listed_groups(None, None).await.unwrap(), all);
    assert_eq!(store.listed_groups(Some(&group("a")), Some(1)).await.unwrap(), all[1..2]);
    assert_eq!(store.listed_groups(Some(&group("b")), Some(9)).await.unwrap(), all[2..]);
}

async fn credentials_are_found_by_their_origins(store: Store) {
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    let (ada, bob) = (named(&store, 1, "Ada", None).await, named(&store, 2, "Bob", None).await);
    let bound = |field: &str, origins: Option<&[&str]>| {
        let origins = origins.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
        let CredentialChange::Put(one) = put("demo", field, b"1") else { panic!("it puts one") };
        CredentialChange::Put(SealedCredential { origins, ..one })
    };
    let (one, two): (&[&str], &[&str]) =
        (&["https://one.example"], &["https://one.example", "https://two.example"]);
    for (owner, changes) in [
        (Owner::Everybody, vec![bound("a", Some(one)), bound("b", Some(two))]),
        (own(&ada), vec![bound("a", Some(two))]),
        (own(&bob), vec![bound("a", Some(one)), bound("c", None)]),
    ] {
        store.change_credentials(&owner, "key", &changes, &act()).await.unwrap();
    }
    let wanted = |field: &str, origins: &[&str]| StoredField {
        section: "demo".to_owned(),
        field: field.to_owned(),
        origins: origins.iter().map(|one| (*one).to_owned()).collect(),
        owners: 0,
    };
    let check = async |wanted: &[StoredField], after: Option<Owner>, limit, expected: &str| {
        let found = store.credentials_bound_as(wanted, after.as_ref(), limit).await.unwrap();
        let shown = found.iter().map(|one| {
            format!("{} {} to {}", one.owner_name.as_deref().unwrap_or("-"), one.field, one.origins.len())
        });
        assert_eq!(shown.collect::<Vec<_>>().join(", "), expected, "{wanted:?}");
    };
    check(&[], None, 9, "").await;
    check(&[wanted("a", one)], None, 9, "- a to 1, Bob a to 1").await;
    let all = [wanted("a", one), wanted("a", two), wanted("b", two), wanted("c", &[])];
    check(&all, None, 9, "- a to 1, - b to 2, Ada a to 2, Bob a to 1, Bob c to 0").await;
    check(&all, None, 2, "- a to 1, - b to 2, Ada a to 2").await;
    check(&all, Some(own(&ada)), 9, "Bob a to 1, Bob c to 0").await;
    check(&all, None, 0, "").await;
}
