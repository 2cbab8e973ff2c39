//! The audit log: filters, orders and pages.

use super::{act, add};
use crate::store::{Act, AuditActor, AuditFilter, AuditOrder, AuditQuery, Store, UserChange};

/// Adds an entry.
async fn entry(store: &Store, number: u64, at_ms: u64, actor: &str, action: &'static str, target: &str) {
    let (actor, target, source) = (actor.to_owned(), target.to_owned(), format!("192.0.2.{}", number % 2));
    let act = Act { at_ms, actor, source, action, target, ..act() };
    let user = super::user(1).id;
    assert!(store.update_user(&user, &UserChange::default(), &act).await.unwrap().is_some());
}

pub(super) async fn it_is_searched(store: Store) {
    add(&store, 1, "a").await;
    // The clock steps back at the fifth entry.
    for (number, at_ms, actor, action, target) in [
        (2, 100, "user usr_1 token tok_1", "token.create", "usr_1"),
        (3, 200, "user usr_1 token tok_2", "token.revoke", "usr_1"),
        (4, 300, "user usr_12 token tok_3", "token.create", "usr_12"),
        (5, 150, "admin adm_1", "user.change", "usr_1"),
        (6, 400, "uid 1000", "user.change", "everybody"),
        (7, 400, "tollgate", "user.change", "usr_1"),
    ] {
        entry(&store, number, at_ms, actor, action, target).await;
    }
    let text = |text: &str| Some(text.to_owned());
    let none = AuditFilter::default;
    let any = |actor: &str| AuditFilter { actor: Some(AuditActor::Any(actor.to_owned())), ..none() };
    let of_token = |id: &str| AuditFilter { actor: Some(AuditActor::Token(id.to_owned())), ..none() };
    let between = |since, until| AuditFilter { since_ms: since, until_ms: until, ..none() };
    for (filter, expected) in [
        (none(), &[1, 2, 3, 4, 5, 6, 7][..]),
        (any("user usr_1"), &[2, 3]),
        (any("user usr_12"), &[4]),
        (any("admin adm_1"), &[5]),
        (any("uid 1000"), &[6]),
        (any("tollgate"), &[7]),
        (any("user"), &[]),
        (of_token("tok_2"), &[3]),
        (of_token("tollgate"), &[]),
        (AuditFilter { action: text("user.change"), ..none() }, &[5, 6, 7]),
        (AuditFilter { target: text("usr_1"), ..none() }, &[2, 3, 5, 7]),
        (AuditFilter { source: text("192.0.2.0"), ..none() }, &[2, 4, 6]),
        (AuditFilter { action: text("token.create"), ..any("user usr_1") }, &[2]),
        (
            AuditFilter { action: text("user.change"), target: text("usr_1"), ..between(Some(160), None) },
            &[7],
        ),
        (between(Some(150), None), &[3, 4, 5, 6, 7]),
        (between(None, Some(200)), &[1, 2, 5]),
        (between(Some(200), Some(400)), &[3, 4]),
        (between(Some(500), None), &[]),
        (between(Some(9), Some(9)), &[]),
    ] {
        for (order, expected) in [
            (AuditOrder::OldestFirst, expected.to_vec()),
            (AuditOrder::NewestFirst, expected.iter().rev().copied().collect()),
        ] {
            for limit in [1, 2, 100] {
                let query = AuditQuery { filter: filter.clone(), order, after: None, limit };
                assert_eq!(pages(&store, query.clone()).await, expected, "{query:?}");
            }
        }
    }
    let page = store.search_audit(&AuditQuery { limit: 0, ..AuditQuery::default() }).await.unwrap();
    assert!(page.entries.is_empty() && page.more);
    assert_eq!(
        store.search_audit(&AuditQuery { limit: 7, ..AuditQuery::default() }).await.unwrap().entries,
        store.audit_page(0, None).await.unwrap()
    );
}

/// The numbers of all pages.
async fn pages(store: &Store, mut query: AuditQuery) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        let page = store.search_audit(&query).await.unwrap();
        numbers.extend(page.entries.iter().map(|one| one.seq));
        query.after = numbers.last().copied();
        if !page.more {
            return numbers;
        }
    }
}
