//! Tokens that tokens created: their makers, and what ends with a revocation or a rotation.

use super::{add, own, put, token, user};
use crate::{
    name::{AdminTokenId, FileName, Scope, TokenId},
    store::{
        Act, AdminTokenRevocation, DuplicateNames, InitialAccess, Maker, NewAdminToken, NewPasteToken,
        NewToken, ReplaceKey, RevokeExtent, Revoked, Right, Rotated, Store, TokenHash, TokenKind,
        TokenRotation, User, conformance::act,
    },
};

/// Runs every test, each on a new store.
pub(super) async fn all(open: &impl AsyncFn() -> Store) {
    paste_tokens_end_with_their_maker(open().await).await;
    paste_tokens_without_a_known_maker_end_with_any(open().await).await;
    replaced_paste_tokens_are_bounded(open().await).await;
    a_paste_token_replaces_only_those_within_its_scopes(open().await).await;
    made_tokens_end_on_request(open().await).await;
    a_revoked_maker_hides_nothing(open().await).await;
    a_rotation_hands_over_what_was_made(open().await).await;
    a_revoked_token_leads_to_its_successor(open().await).await;
    what_an_admin_token_made_ends_on_request(open().await).await;
    paste_tokens_end_only_with_a_token_that_may_have_made_them(open().await).await;
    revoked_makers_of_which_nothing_is_left_are_forgotten(open().await).await;
    revoked_makers_are_bounded(open().await).await;
    forgetting_a_revoked_maker_hides_nothing(open().await).await;
    deleting_an_expired_token_hides_nothing(open().await).await;
    revoked_admin_tokens_of_which_nothing_is_left_are_forgotten(open().await).await;
}

/// An act by the right of a token.
fn by(text: &str) -> Act {
    Act { right: Some(Right::Token(TokenHash::of(text))), ..act() }
}

/// A user with the token `first` and a login.
async fn with_login(store: &Store) -> User {
    let owner = add(store, 1, "first").await;
    store.adopt_master_key("key", ReplaceKey::IfNothingSealed).await.unwrap();
    store.change_credentials(&own(&owner), "key", &[put("demo", "oauth", b"1")], &act()).await.unwrap();
    owner
}

/// Creates a token by the right of another one.
async fn make(store: &Store, owner: &User, maker: &str, text: &str) {
    assert!(store.add_token(&owner.id, &token(text), &by(maker)).await.unwrap());
}

/// Creates a paste token by an act.
async fn paste(store: &Store, owner: &User, text: &str, act: &Act) {
    paste_within(store, owner, text, "demo", act).await;
}

async fn paste_within(store: &Store, owner: &User, text: &str, scope: &str, act: &Act) {
    let new = NewPasteToken {
        id: token(text).id,
        hash: TokenHash::of(text),
        user: owner.id.clone(),
        provider: FileName::new("demo").unwrap(),
        scopes: vec![Scope::parse(scope).unwrap()],
        section: "demo".to_owned(),
        field: "oauth".to_owned(),
        created_at_ms: act.at_ms,
        expires_at_ms: None,
    };
    assert!(store.replace_paste_token(&new, 5000, act).await.unwrap());
}

/// The texts among these whose tokens are stored, by creation of the list.
async fn stored<'t>(store: &Store, texts: &[&'t str]) -> Vec<&'t str> {
    let all = store.tokens().await.unwrap();
    texts.iter().copied().filter(|text| all.iter().any(|one| one.hash == TokenHash::of(text))).collect()
}

async fn revoke(store: &Store, owner: &User, text: &str, extent: RevokeExtent) -> Option<Revoked> {
    store.revoke_token(&owner.id, &token(text).id, extent, &act()).await.unwrap()
}

async fn detail_of_the_last_entry(store: &Store) -> serde_json::Value {
    let last = store.audit_page(0, None).await.unwrap().pop().unwrap();
    serde_json::from_str(&last.detail).unwrap()
}

async fn paste_tokens_end_with_their_maker(store: Store) {
    let owner = with_login(&store).await;
    make(&store, &owner, "first", "second").await;
    paste(&store, &owner, "a.b.1", &by("first")).await;
    paste(&store, &owner, "a.b.2", &by("second")).await;
    let found = store.lookup_paste_token(&TokenHash::of("a.b.2")).await.unwrap().unwrap().token;
    assert_eq!(found.maker, Some(Maker::Token(token("second").id)));
    let expected = Revoked { tokens: 1, paste_tokens: 1, admin_tokens: 0, sessions: 0, remaining: 0 };
    assert_eq!(revoke(&store, &owner, "second", RevokeExtent::Alone).await, Some(expected));
    assert_eq!(stored(&store, &["first", "second", "a.b.1", "a.b.2"]).await, ["first", "a.b.1"]);
    let detail = detail_of_the_last_entry(&store).await;
    assert_eq!(
        detail,
        serde_json::json!({ "a": 1, "tokens": 1, "pasteTokens": 1, "adminTokens": 0, "sessions": 0, "remaining": 0 })
    );
    // A rotation lets them end with the old token.
    let rotated =
        store.rotate_token(&TokenHash::of("first"), &token("third"), 90, &by("first")).await.unwrap();
    let expected = Rotated { old_expires_at_ms: 90, paste_tokens: 1, handed_over: 0 };
    assert_eq!(rotated, TokenRotation::Done(expected));
    let ends = store.lookup_paste_token(&TokenHash::of("a.b.1")).await.unwrap().unwrap().token.expires_at_ms;
    assert_eq!(ends, Some(90));
    // Nothing expires later than its maker.
    let ending = NewToken { expires_at_ms: Some(70), ..token("ending") };
    store.add_token(&owner.id, &ending, &act()).await.unwrap();
    paste(&store, &owner, "a.b.3", &by("ending")).await;
    make(&store, &owner, "ending", "made").await;
    let all = store.tokens().await.unwrap();
    for text in ["a.b.3", "made"] {
        let one = all.iter().find(|one| one.hash == TokenHash::of(text)).unwrap();
        assert_eq!(one.expires_at_ms, Some(70), "{text}");
    }
}

/// They are from before makers were recorded, or imported.
async fn paste_tokens_without_a_known_maker_end_with_any(store: Store) {
    let owner = with_login(&store).await;
    for (text, kind) in [("proxy", TokenKind::Proxy), ("manage", TokenKind::Manage)] {
        store.add_token(&owner.id, &NewToken { kind, ..token(text) }, &act()).await.unwrap();
    }
    paste(&store, &owner, "a.b.1", &act()).await;
    revoke(&store, &owner, "proxy", RevokeExtent::Alone).await.unwrap();
    assert_eq!(stored(&store, &["a.b.1"]).await, ["a.b.1"], "a `proxy` token creates none");
    let rotated =
        store.rotate_token(&TokenHash::of("first"), &token("next"), 90, &by("first")).await.unwrap();
    let expected = Rotated { old_expires_at_ms: 90, paste_tokens: 1, handed_over: 0 };
    assert_eq!(rotated, TokenRotation::Done(expected));
    let revoked = revoke(&store, &owner, "manage", RevokeExtent::Alone).await.unwrap();
    assert_eq!((revoked.paste_tokens, stored(&store, &["a.b.1"]).await), (1, vec![]));
}

async fn replaced_paste_tokens_are_bounded(store: Store) {
    let owner = with_login(&store).await;
    for number in 0..110 {
        let act = Act { at_ms: 50 + number, ..by("first") };
        paste(&store, &owner, &format!("a.b.{number}"), &act).await;
    }
    let all = store.tokens_page(&owner.id, None, None).await.unwrap();
    let pasted: Vec<_> = all.iter().filter(|one| one.paste.is_some()).collect();
    assert_eq!(pasted.len(), 101);
    assert_eq!(stored(&store, &["a.b.8", "a.b.9", "a.b.109"]).await, ["a.b.9", "a.b.109"]);
}

async fn a_paste_token_replaces_only_those_within_its_scopes(store: Store) {
    let owner = with_login(&store).await;
    let made = [("a.b.1", "demo"), ("a.b.2", "demo/one"), ("a.b.3", "demo/two"), ("a.b.4", "demo/one")];
    for (text, scope) in made {
        paste_within(&store, &owner, text, scope, &by("first")).await;
    }
    for number in 0..110 {
        paste_within(&store, &owner, &format!("c.d.{number}"), "demo/two", &by("first")).await;
    }
    let ends = async |text: &str| {
        let found = store.lookup_paste_token(&TokenHash::of(text)).await.unwrap();
        found.map(|found| found.token.expires_at_ms)
    };
    assert_eq!(ends("a.b.1").await, Some(None), "it reaches further than all that came later");
    assert_eq!((ends("a.b.2").await, ends("a.b.4").await), (Some(Some(5000)), Some(None)));
    assert_eq!(ends("c.d.109").await, Some(None));
    let all = store.tokens_page(&owner.id, None, None).await.unwrap();
    assert_eq!(all.iter().filter(|one| one.paste.is_some()).count(), 3 + 101);
    paste_within(&store, &owner, "a.b.5", "demo", &by("first")).await;
    assert_eq!((ends("a.b.1").await, ends("a.b.4").await), (Some(Some(5000)), Some(Some(5000))));
}

async fn made_tokens_end_on_request(store: Store) {
    let owner = with_login(&store).await;
    make(&store, &owner, "first", "child").await;
    make(&store, &owner, "child", "grandchild").await;
    store.add_token(&owner.id, &token("stranger"), &act()).await.unwrap();
    paste(&store, &owner, "a.b.1", &by("grandchild")).await;
    let all = ["first", "child", "grandchild", "stranger", "a.b.1"];
    let family = store.family(&token("child").id).await.unwrap();
    assert_eq!(family, ["child", "grandchild"].map(|text| token(text).id).into());
    let expected = Revoked { tokens: 3, paste_tokens: 1, admin_tokens: 0, sessions: 0, remaining: 0 };
    assert_eq!(revoke(&store, &user(9), "first", RevokeExtent::WithMade).await, None);
    assert_eq!(stored(&store, &all).await, all);
    assert_eq!(revoke(&store, &owner, "first", RevokeExtent::WithMade).await, Some(expected));
    assert_eq!(stored(&store, &all).await, ["stranger"]);
    assert_eq!(revoke(&store, &owner, "first", RevokeExtent::WithMade).await, None);
}

async fn a_revoked_maker_hides_nothing(store: Store) {
    let owner = with_login(&store).await;
    make(&store, &owner, "first", "child").await;
    make(&store, &owner, "child", "grandchild").await;
    paste(&store, &owner, "a.b.1", &by("child")).await;
    let expected = Revoked { tokens: 1, paste_tokens: 1, admin_tokens: 0, sessions: 0, remaining: 1 };
    assert_eq!(revoke(&store, &owner, "child", RevokeExtent::Alone).await, Some(expected));
    let all = ["first", "grandchild", "stranger"];
    assert_eq!(stored(&store, &all).await, ["first", "grandchild"]);
    // Both its maker and the revoked one itself still lead to the rest.
    let expected = Revoked { tokens: 1, paste_tokens: 0, admin_tokens: 0, sessions: 0, remaining: 1 };
    assert_eq!(revoke(&store, &owner, "first", RevokeExtent::Alone).await, Some(expected));
    assert_eq!(revoke(&store, &owner, "first", RevokeExtent::Alone).await, None);
    assert_eq!(revoke(&store, &user(9), "first", RevokeExtent::WithMade).await, None);
    let expected = Revoked { remaining: 0, ..expected };
    assert_eq!(revoke(&store, &owner, "first", RevokeExtent::WithMade).await, Some(expected));
    assert_eq!(stored(&store, &all).await, Vec::<&str>::new());
    assert_eq!(remembered(&store).await, 0, "of neither anything is left");
}

async fn a_rotation_hands_over_what_was_made(store: Store) {
    let owner = with_login(&store).await;
    make(&store, &owner, "first", "child").await;
    make(&store, &owner, "child", "grandchild").await;
    let rotated =
        store.rotate_token(&TokenHash::of("child"), &token("next"), 90, &by("child")).await.unwrap();
    let expected = Rotated { old_expires_at_ms: 90, paste_tokens: 0, handed_over: 1 };
    assert_eq!(rotated, TokenRotation::Done(expected));
    let all = store.tokens().await.unwrap();
    let maker = |text: &str| all.iter().find(|one| one.hash == TokenHash::of(text)).unwrap().maker.clone();
    let made_by = |text: &str| Some(Maker::Token(token(text).id));
    assert_eq!([maker("grandchild"), maker("next")], [made_by("next"), made_by("first")]);
    // The old and the new one lead to each other: either may be the one that leaked.
    let family: std::collections::BTreeSet<_> =
        ["child", "next", "grandchild"].map(|text| token(text).id).into();
    for text in ["child", "next"] {
        assert_eq!(store.family(&token(text).id).await.unwrap(), family, "{text}");
    }
    let revoked = revoke(&store, &owner, "child", RevokeExtent::WithMade).await.unwrap();
    assert_eq!((revoked.tokens, revoked.remaining), (3, 0));
}

/// A thief rotates a leaked token, and the owner revokes the old one: the successor is still found by the old id.
async fn a_revoked_token_leads_to_its_successor(store: Store) {
    let owner = with_login(&store).await;
    let rotate = async |old: &str, new: &str| {
        let rotated = store.rotate_token(&TokenHash::of(old), &token(new), 9000, &by(old)).await.unwrap();
        assert!(matches!(rotated, TokenRotation::Done(_)), "{rotated:?}");
    };
    rotate("first", "second").await;
    rotate("second", "third").await;
    make(&store, &owner, "third", "child").await;
    for (text, remaining) in [("first", 3), ("second", 2), ("third", 1)] {
        let revoked = revoke(&store, &owner, text, RevokeExtent::Alone).await.unwrap();
        assert_eq!((revoked.tokens, revoked.remaining), (1, remaining), "{text}");
        for text in ["first", "second", "third"] {
            let family = store.family(&token(text).id).await.unwrap();
            assert!(family.contains(&token("child").id), "{text} {family:?}");
        }
    }
    let revoked = revoke(&store, &owner, "first", RevokeExtent::WithMade).await.unwrap();
    assert_eq!((revoked.tokens, revoked.remaining), (1, 0));
    assert!(store.family(&token("second").id).await.unwrap().len() == 1, "all are forgotten");
}

fn admin(text: &str) -> NewAdminToken {
    let hash = TokenHash::of(text);
    NewAdminToken {
        id: AdminTokenId::new(&format!("adm_{}", &hash.hex()[..16])).unwrap(),
        hash,
        prefix: text.to_owned(),
        label: text.to_owned(),
        created_at_ms: 1,
        expires_at_ms: None,
    }
}

fn by_admin(text: &str) -> Act {
    Act { right: Some(Right::Admin(admin(text).id)), ..act() }
}

async fn what_an_admin_token_made_ends_on_request(store: Store) {
    store.add_admin_token(&admin("root"), &act()).await.unwrap();
    store.add_admin_token(&admin("leaked"), &by_admin("root")).await.unwrap();
    store.add_admin_token(&admin("theirs"), &by_admin("leaked")).await.unwrap();
    let first = token("first");
    let initial = InitialAccess { token: &first, credentials: None };
    store.create_user(&user(1), initial, DuplicateNames::Allow, &by_admin("theirs")).await.unwrap();
    make(&store, &user(1), "first", "child").await;
    add(&store, 2, "other").await;
    let makers: Vec<_> = store.admin_tokens().await.unwrap().into_iter().map(|one| one.maker).collect();
    assert_eq!(makers.iter().flatten().count(), 2);
    let revoke =
        async |text: &str, extent| store.revoke_admin_token(&admin(text).id, extent, &act()).await.unwrap();
    assert_eq!(revoke("root", RevokeExtent::WithMade).await, AdminTokenRevocation::Last);
    let expected = Revoked { tokens: 0, paste_tokens: 0, admin_tokens: 1, sessions: 0, remaining: 2 };
    assert_eq!(revoke("theirs", RevokeExtent::Alone).await, AdminTokenRevocation::Done(expected));
    let expected = Revoked { tokens: 2, paste_tokens: 0, admin_tokens: 1, sessions: 0, remaining: 0 };
    assert_eq!(revoke("leaked", RevokeExtent::WithMade).await, AdminTokenRevocation::Done(expected));
    assert_eq!(stored(&store, &["first", "child", "other"]).await, ["other"]);
    assert_eq!(store.admin_tokens().await.unwrap().len(), 1);
}

/// A scoped token reaches only part of what its user has, so it ends only what it may have made.
async fn paste_tokens_end_only_with_a_token_that_may_have_made_them(store: Store) {
    let owner = with_login(&store).await;
    let scoped = async |text: &str, scopes: &[&str]| {
        let scopes = Some(scopes.iter().map(|scope| Scope::parse(scope).unwrap()).collect());
        let new = NewToken { kind: TokenKind::Manage, scopes, ..token(text) };
        assert!(store.add_token(&owner.id, &new, &act()).await.unwrap());
    };
    scoped("other", &["other", "demon", "demo/one"]).await;
    scoped("whole", &["other", "demo"]).await;
    paste(&store, &owner, "a.b.1", &act()).await;
    let rotated =
        store.rotate_token(&TokenHash::of("other"), &token("next"), 90, &by("other")).await.unwrap();
    let expected = Rotated { old_expires_at_ms: 90, paste_tokens: 0, handed_over: 0 };
    assert_eq!(rotated, TokenRotation::Done(expected));
    for (text, paste_tokens) in [("other", 0), ("whole", 1)] {
        let revoked = revoke(&store, &owner, text, RevokeExtent::Alone).await.unwrap();
        assert_eq!(revoked.paste_tokens, paste_tokens, "{text}");
    }
}

async fn remembered(store: &Store) -> usize {
    store.read(sqlx::query("SELECT 1 FROM revoked_makers")).await.unwrap().len()
}

async fn revoked_makers_of_which_nothing_is_left_are_forgotten(store: Store) {
    let owner = with_login(&store).await;
    let revoke_at = async |text: &str, at_ms| {
        let act = Act { at_ms, ..act() };
        store.revoke_token(&owner.id, &token(text).id, RevokeExtent::Alone, &act).await.unwrap().unwrap()
    };
    // What is left of these expires.
    for text in ["a", "b"] {
        store.add_token(&owner.id, &token(text), &act()).await.unwrap();
        let made = NewToken { expires_at_ms: Some(100), ..token(&format!("{text} made")) };
        store.add_token(&owner.id, &made, &by(text)).await.unwrap();
        assert_eq!(revoke_at(text, 60).await.remaining, 1);
    }
    assert_eq!(remembered(&store).await, 2);
    make(&store, &owner, "first", "child").await;
    assert_eq!(revoke_at("first", 200).await.remaining, 1);
    assert_eq!(remembered(&store).await, 1);
    // The last that is left takes the memory of all of its makers with it.
    make(&store, &owner, "child", "grandchild").await;
    assert_eq!(revoke_at("child", 200).await.remaining, 1);
    assert_eq!(remembered(&store).await, 2);
    revoke_at("grandchild", 200).await;
    assert_eq!(remembered(&store).await, 0);
}

/// Stores a chain of revoked makers: `tok_0…0` made the next one, and so on; the last one made `text`.
async fn chain(store: &Store, owner: &User, links: u64, text: &str) {
    let mut transaction = store.begin().await.unwrap();
    let insert = "WITH RECURSIVE link (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM link WHERE n + 1 < $1)
         INSERT INTO revoked_makers (id, maker, user_id, revoked_at)
         SELECT printf('tok_%016x', n), CASE n WHEN 0 THEN NULL ELSE printf('tok_%016x', n - 1) END, $2, 1 FROM link";
    let insert = sqlx::query(insert).bind(i64::try_from(links).unwrap()).bind(owner.id.to_string());
    transaction.execute(insert).await.unwrap();
    let update = sqlx::query("UPDATE tokens SET maker = printf('tok_%016x', $1) WHERE id = $2");
    let update = update.bind(i64::try_from(links - 1).unwrap()).bind(token(text).id.to_string());
    transaction.execute(update).await.unwrap();
    transaction.commit().await.unwrap();
}

/// A token that makes the next one and is revoked, again and again.
async fn revoked_makers_are_bounded(store: Store) {
    let owner = with_login(&store).await;
    let other = add(&store, 2, "other").await;
    make(&store, &other, "other", "made by the other").await;
    revoke(&store, &other, "other", RevokeExtent::Alone).await.unwrap();
    chain(&store, &owner, 1000, "first").await;
    make(&store, &owner, "first", "second").await;
    revoke(&store, &owner, "first", RevokeExtent::Alone).await.unwrap();
    make(&store, &owner, "second", "third").await;
    revoke(&store, &owner, "second", RevokeExtent::Alone).await.unwrap();
    assert_eq!(remembered(&store).await, 1000 + 1, "1000 of the one user, and one of the other");
    // The oldest are forgotten, and the others lead to what is left.
    for (number, found) in [(0, false), (1, false), (2, true), (999, true)] {
        let id = TokenId::new(&format!("tok_{number:016x}")).unwrap();
        let family = store.family(&id).await.unwrap();
        assert_eq!(family.contains(&token("third").id), found, "{number}");
    }
    let deleted = store.delete_user(&owner.id, &act()).await.unwrap();
    assert_eq!((deleted, remembered(&store).await), (true, 1));
}

/// Living tokens on both sides of a forgotten one still lead to each other.
async fn forgetting_a_revoked_maker_hides_nothing(store: Store) {
    let owner = with_login(&store).await;
    let rotate = async |old: &str, new: &str| {
        let rotated = store.rotate_token(&TokenHash::of(old), &token(new), 9000, &by(old)).await.unwrap();
        assert!(matches!(rotated, TokenRotation::Done(_)), "{rotated:?}");
    };
    // `first` made `a`, which was rotated to `b` and then to `c`; `c` made `child`. `b` and `c` are revoked.
    make(&store, &owner, "first", "a").await;
    rotate("a", "b").await;
    rotate("b", "c").await;
    make(&store, &owner, "c", "child").await;
    for text in ["b", "c"] {
        let act = Act { at_ms: 0, ..act() };
        store.revoke_token(&owner.id, &token(text).id, RevokeExtent::Alone, &act).await.unwrap().unwrap();
    }
    store.add_token(&owner.id, &token("last"), &act()).await.unwrap();
    chain(&store, &owner, 998, "last").await;
    make(&store, &owner, "last", "made by the last").await;
    for text in ["last", "made by the last"] {
        make(&store, &owner, text, &format!("made by {text}")).await;
        revoke(&store, &owner, text, RevokeExtent::Alone).await.unwrap();
    }
    assert_eq!(remembered(&store).await, 1000);
    for text in ["b", "c"] {
        assert_eq!(store.family(&token(text).id).await.unwrap().len(), 1, "{text} is forgotten");
    }
    for text in ["first", "a"] {
        assert!(store.family(&token(text).id).await.unwrap().contains(&token("child").id), "{text}");
    }
}

/// A rotated token is deleted a day after its end.
async fn deleting_an_expired_token_hides_nothing(store: Store) {
    let owner = with_login(&store).await;
    for (old, new) in [("first", "second"), ("second", "third")] {
        store.rotate_token(&TokenHash::of(old), &token(new), 90, &by(old)).await.unwrap();
        if old == "first" {
            assert_eq!(revoke(&store, &owner, "first", RevokeExtent::Alone).await.unwrap().remaining, 1);
        }
    }
    let late = Act { at_ms: 100 + 86_400_000, ..act() };
    store.add_token(&owner.id, &token("another"), &late).await.unwrap();
    assert_eq!(stored(&store, &["first", "second", "third"]).await, ["third"]);
    assert!(store.family(&token("first").id).await.unwrap().contains(&token("third").id));
}

async fn revoked_admin_tokens_of_which_nothing_is_left_are_forgotten(store: Store) {
    for (text, maker) in [("root", None), ("a", Some("root")), ("b", Some("a")), ("c", Some("b"))] {
        store.add_admin_token(&admin(text), &maker.map_or_else(act, by_admin)).await.unwrap();
    }
    for (number, maker) in [(1, "b"), (2, "c")] {
        let first = token(maker);
        let initial = InitialAccess { token: &first, credentials: None };
        store.create_user(&user(number), initial, DuplicateNames::Allow, &by_admin(maker)).await.unwrap();
    }
    let revoke = async |text: &str| {
        let revoked = store.revoke_admin_token(&admin(text).id, RevokeExtent::Alone, &act()).await.unwrap();
        let AdminTokenRevocation::Done(Revoked { remaining, .. }) = revoked else { panic!("{revoked:?}") };
        remaining
    };
    for (text, expected) in [("a", (4, 1)), ("b", (3, 2)), ("c", (1, 3))] {
        assert_eq!((revoke(text).await, remembered(&store).await), expected, "{text}");
    }
    // Those of `c` are gone: `a` and `b` still lead to a user's token.
    assert!(store.delete_user(&user(2).id, &act()).await.unwrap());
    store.add_admin_token(&admin("d"), &act()).await.unwrap();
    store.add_admin_token(&admin("e"), &by_admin("d")).await.unwrap();
    assert_eq!((revoke("d").await, remembered(&store).await), (1, 3));
    store.revoke_token(&user(1).id, &token("b").id, RevokeExtent::Alone, &act()).await.unwrap().unwrap();
    assert_eq!(remembered(&store).await, 1, "`d` is left");
}
