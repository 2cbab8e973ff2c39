//! Sessions: their makers, their bound, and what ends them.

use super::{act, add, token};
use crate::{
    name::{AdminTokenId, Scope, TokenId},
    store::{
        Act, AdminTokenRevocation, DuplicateNames, InitialAccess, Maker, NewAdminToken, NewSession, NewToken,
        RevokeExtent, Revoked, Right, Store, StoreError, StoredAdminToken, TokenHash, TokenKind,
        TokenRotation, User, UserCreation, sessions::MAX_SESSIONS,
    },
};

/// Runs every test, each on a new store.
pub(super) async fn all(open: &impl AsyncFn() -> Store) {
    a_session_has_the_rights_of_its_maker(open().await).await;
    a_session_is_no_token(open().await).await;
    sessions_are_bounded(open().await).await;
    a_sign_in_ends_the_sessions_of_its_browser(open().await).await;
    sessions_end_with_their_maker(open().await).await;
    a_rotation_takes_sessions_along(open().await).await;
    what_a_session_creates_outlives_it(open().await).await;
    sessions_of_admins(open().await).await;
}

fn by(text: &str) -> Act {
    Act { right: Some(Right::Token(TokenHash::of(text))), ..act() }
}

/// A session that lasts until 1000.
fn session(text: &str) -> NewSession<TokenId> {
    let NewToken { id, hash, prefix, created_at_ms, .. } = token(text);
    NewSession { id, hash, prefix, created_at_ms, expires_at_ms: 1000, replaces: Vec::new() }
}

async fn start(store: &Store, maker: &str, text: &str) -> Option<u64> {
    store.add_session(&session(text), &by(maker)).await.unwrap()
}

async fn is_stored(store: &Store, text: &str) -> bool {
    store.lookup_session(&TokenHash::of(text)).await.unwrap().is_some()
}

async fn detail_of_the_last_entry(store: &Store) -> serde_json::Value {
    let last = store.audit_page(0, None).await.unwrap().pop().unwrap();
    serde_json::from_str(&last.detail).unwrap()
}

async fn a_session_has_the_rights_of_its_maker(store: Store) {
    let owner = add(&store, 1, "first").await;
    let scopes = Some(vec![Scope::parse("demo").unwrap()]);
    let narrow = NewToken {
        scopes: scopes.clone(),
        kind: TokenKind::Manage,
        label: Some("laptop".to_owned()),
        expires_at_ms: Some(900),
        ..token("narrow")
    };
    store.add_token(&owner.id, &narrow, &act()).await.unwrap();
    assert_eq!(
        (start(&store, "first", "s1").await, start(&store, "narrow", "s2").await),
        (Some(1000), Some(900))
    );
    let found = store.lookup_session(&TokenHash::of("s2")).await.unwrap().unwrap();
    let maker = found.session_of.unwrap();
    assert_eq!(
        (maker.id.clone(), maker.hash, maker.expires_at_ms),
        (narrow.id.clone(), narrow.hash, Some(900))
    );
    let one = found.token;
    assert_eq!((found.user, one.kind, one.scopes), (owner.clone(), TokenKind::Session, scopes));
    assert_eq!((one.label.as_deref(), one.maker), (Some("laptop"), Some(Maker::Token(narrow.id))));
    let listed = store.tokens_page(&owner.id, None, None).await.unwrap();
    assert_eq!(listed.iter().filter(|one| one.kind == TokenKind::Session).count(), 2);
    // A token for calls, a session, a revoked token and the machine start none.
    store.add_token(&owner.id, &NewToken { kind: TokenKind::Proxy, ..token("proxy") }, &act()).await.unwrap();
    assert_eq!((start(&store, "proxy", "s3").await, start(&store, "s1", "s4").await), (None, None));
    assert_eq!(store.add_session(&session("s5"), &act()).await.unwrap(), None);
    let unknown = store.add_session(&session("s6"), &by("unknown")).await;
    assert!(matches!(unknown, Err(StoreError::TokenRevoked)), "{unknown:?}");
}

async fn a_session_is_no_token(store: Store) {
    let owner = add(&store, 1, "first").await;
    start(&store, "first", "s1").await.unwrap();
    assert!(store.lookup_token(&TokenHash::of("s1")).await.unwrap().is_none());
    assert!(store.lookup_session(&TokenHash::of("first")).await.unwrap().is_none());
    assert!(!store.end_session(&owner.id, &TokenHash::of("first"), &by("first")).await.unwrap());
    let (other, hash) = (add(&store, 2, "second").await, TokenHash::of("s1"));
    assert!(!store.end_session(&other.id, &hash, &by("second")).await.unwrap(), "it is another user's");
    assert!(store.end_session(&owner.id, &hash, &by("s1")).await.unwrap());
    assert!(
        !is_stored(&store, "s1").await
            && store.lookup_token(&TokenHash::of("first")).await.unwrap().is_some()
    );
}

async fn sessions_are_bounded(store: Store) {
    let owner = add(&store, 1, "first").await;
    let most = usize::try_from(MAX_SESSIONS).unwrap();
    let texts: Vec<String> = (0..=most).map(|number| format!("s{number}")).collect();
    for (number, text) in texts.iter().enumerate() {
        // The clock may step back: the new one stays.
        let created_at_ms = if number == most { 0 } else { 10 + number as u64 };
        let one = NewSession { created_at_ms, ..session(text) };
        assert!(store.add_session(&one, &by("first")).await.unwrap().is_some());
    }
    assert_eq!(detail_of_the_last_entry(&store).await["ended"], 1);
    assert!(!is_stored(&store, "s0").await && is_stored(&store, "s1").await);
    assert!(is_stored(&store, &texts[most]).await);
    // They take no place of tokens, and expired ones are deleted first.
    let late = Act { at_ms: 2000, ..by("first") };
    let one = NewSession { created_at_ms: 2000, expires_at_ms: 3000, ..session("late") };
    assert_eq!(store.add_session(&one, &late).await.unwrap(), Some(3000));
    assert_eq!(detail_of_the_last_entry(&store).await["ended"], most as u64);
    assert_eq!(store.tokens_page(&owner.id, None, None).await.unwrap().len(), 2);
}

async fn a_sign_in_ends_the_sessions_of_its_browser(store: Store) {
    add(&store, 1, "first").await;
    add(&store, 2, "second").await;
    for (maker, text) in [("first", "s1"), ("first", "s2"), ("second", "s3")] {
        start(&store, maker, text).await.unwrap();
    }
    let replaces = ["s1", "s3", "first", "unknown"].map(TokenHash::of).to_vec();
    let before = store.last_invalidation().await.unwrap();
    store.add_session(&NewSession { replaces, ..session("s4") }, &by("first")).await.unwrap().unwrap();
    let stored =
        [is_stored(&store, "s1").await, is_stored(&store, "s2").await, is_stored(&store, "s3").await];
    assert_eq!(stored, [false, true, false]);
    assert!(store.lookup_token(&TokenHash::of("first")).await.unwrap().is_some());
    assert_eq!(detail_of_the_last_entry(&store).await["ended"], 2);
    let changes = store.invalidated_since(before).await.unwrap();
    assert!(changes.own.everybody, "the other user's caller is cached too");
    // A refused sign-in ends nothing.
    let replaces = vec![TokenHash::of("s2")];
    assert_eq!(store.add_session(&NewSession { replaces, ..session("s5") }, &by("s4")).await.unwrap(), None);
    assert!(is_stored(&store, "s2").await);
}

async fn sessions_end_with_their_maker(store: Store) {
    let owner = add(&store, 1, "first").await;
    let make = async |maker: &str, text: &str| {
        assert!(store.add_token(&owner.id, &token(text), &by(maker)).await.unwrap());
    };
    let revoke = async |text: &str, extent| {
        store.revoke_token(&owner.id, &token(text).id, extent, &act()).await.unwrap().unwrap()
    };
    make("first", "second").await;
    make("second", "third").await;
    for (maker, text) in [("first", "s1"), ("second", "s2"), ("second", "s3"), ("third", "s4")] {
        start(&store, maker, text).await.unwrap();
    }
    let alone = revoke("s3", RevokeExtent::Alone).await;
    assert_eq!(alone, Revoked { sessions: 1, ..Revoked::default() });
    let with_its_own = revoke("second", RevokeExtent::Alone).await;
    assert_eq!(with_its_own, Revoked { tokens: 1, sessions: 1, remaining: 1, ..Revoked::default() });
    assert_eq!(detail_of_the_last_entry(&store).await["sessions"], 1);
    assert!(!is_stored(&store, "s2").await && is_stored(&store, "s4").await);
    let all = revoke("first", RevokeExtent::WithMade).await;
    assert_eq!(all, Revoked { tokens: 2, sessions: 2, ..Revoked::default() });
    assert_eq!(store.count_tokens().await.unwrap(), 0);
}

async fn a_rotation_takes_sessions_along(store: Store) {
    let owner = add(&store, 1, "first").await;
    start(&store, "first", "s1").await.unwrap();
    let rotated = store.rotate_token(&TokenHash::of("first"), &token("next"), 90, &by("s1")).await.unwrap();
    let TokenRotation::Done(rotated) = rotated else { panic!("{rotated:?}") };
    assert_eq!(rotated.handed_over, 0);
    let found = store.lookup_session(&TokenHash::of("s1")).await.unwrap().unwrap();
    assert_eq!(
        (found.session_of.unwrap().hash, found.token.expires_at_ms),
        (TokenHash::of("next"), Some(1000))
    );
    store.revoke_token(&owner.id, &token("first").id, RevokeExtent::Alone, &act()).await.unwrap().unwrap();
    assert!(is_stored(&store, "s1").await);
    store.revoke_token(&owner.id, &token("next").id, RevokeExtent::Alone, &act()).await.unwrap().unwrap();
    assert!(!is_stored(&store, "s1").await);
}

async fn what_a_session_creates_outlives_it(store: Store) {
    let owner = add(&store, 1, "first").await;
    start(&store, "first", "s1").await.unwrap();
    assert!(store.add_token(&owner.id, &token("made"), &by("s1")).await.unwrap());
    let made = store.lookup_token(&TokenHash::of("made")).await.unwrap().unwrap().token;
    assert_eq!((made.maker, made.expires_at_ms), (Some(Maker::Token(token("first").id)), None));
    assert!(store.end_session(&owner.id, &TokenHash::of("s1"), &by("s1")).await.unwrap());
    let left = store.revoke_token(&owner.id, &token("first").id, RevokeExtent::Alone, &act()).await;
    assert_eq!(left.unwrap().unwrap().remaining, 1);
}

async fn sessions_of_admins(store: Store) {
    let id = |text: &str| AdminTokenId::new(&format!("adm_{}", &TokenHash::of(text).hex()[..16])).unwrap();
    let admin = |text: &str| NewAdminToken {
        id: id(text),
        hash: TokenHash::of(text),
        prefix: "tg_1".to_owned(),
        label: text.to_owned(),
        created_at_ms: 5,
        expires_at_ms: None,
    };
    let right = |text: &str| Act { right: Some(Right::Admin(id(text))), ..act() };
    let session = |text: &str| NewSession {
        id: id(text),
        hash: TokenHash::of(text),
        prefix: "tg_2".to_owned(),
        created_at_ms: 6,
        expires_at_ms: 1000,
        replaces: Vec::new(),
    };
    let start =
        async |maker: &str, text: &str| store.add_admin_session(&session(text), &right(maker)).await.unwrap();
    let find = async |text: &str| store.find_admin_session(&TokenHash::of(text)).await.unwrap();
    assert!(!store.has_admin_token().await.unwrap());
    store.add_admin_token(&admin("one"), &act()).await.unwrap();
    assert_eq!((start("one", "s1").await, start("s1", "s2").await), (Some(1000), None));
    let StoredAdminToken { is_session, label, maker, expires_at_ms, .. } = find("s1").await.unwrap();
    assert_eq!(
        (is_session, label.as_str(), maker, expires_at_ms),
        (true, "one", Some(id("one")), Some(1000))
    );
    assert!(
        find("one").await.is_none() && store.find_admin_token(&TokenHash::of("s1")).await.unwrap().is_none()
    );
    // What it creates has its maker, and neither it nor a session is an admin token that is left.
    store.add_admin_token(&admin("two"), &right("s1")).await.unwrap();
    let two = store.find_admin_token(&TokenHash::of("two")).await.unwrap().unwrap();
    assert_eq!((two.maker, two.is_session), (Some(id("one")), false));
    let user = User { id: crate::name::UserId::new("usr_0000000000000001").unwrap(), ..super::user(1) };
    let access = InitialAccess { token: &token("first"), credentials: None };
    let made = store.create_user(&user, access, DuplicateNames::Refuse, &right("s1")).await.unwrap();
    assert_eq!(made, UserCreation::Created);
    let made = store.lookup_token(&TokenHash::of("first")).await.unwrap().unwrap().token;
    assert_eq!(made.maker, Some(Maker::Admin(id("one"))));
    let revoke =
        async |text: &str| store.revoke_admin_token(&id(text), RevokeExtent::Alone, &act()).await.unwrap();
    let ended = |revoked: Revoked| AdminTokenRevocation::Done(revoked);
    start("two", "s3").await.unwrap();
    assert_eq!(revoke("s3").await, ended(Revoked { sessions: 1, ..Revoked::default() }));
    start("two", "s4").await.unwrap();
    assert_eq!(revoke("two").await, ended(Revoked { admin_tokens: 1, sessions: 1, ..Revoked::default() }));
    assert!(find("s4").await.is_none() && find("s1").await.is_some());
    assert_eq!(revoke("one").await, AdminTokenRevocation::Last);
    assert!(find("s1").await.is_some(), "a refused revocation ends nothing");
    // A browser that signs in once more, and a sign-out.
    let again = NewSession { replaces: vec![TokenHash::of("s1"), TokenHash::of("one")], ..session("s5") };
    assert_eq!(store.add_admin_session(&again, &right("one")).await.unwrap(), Some(1000));
    assert!(find("s1").await.is_none());
    assert!(store.end_admin_session(&id("s5"), &right("s5")).await.unwrap());
    assert!(!store.end_admin_session(&id("one"), &right("one")).await.unwrap());
    for number in 0..=MAX_SESSIONS {
        start("one", &format!("more {number}")).await.unwrap();
    }
    let all = store.admin_tokens().await.unwrap();
    assert_eq!(all.iter().filter(|one| one.is_session).count(), usize::try_from(MAX_SESSIONS).unwrap());
}
