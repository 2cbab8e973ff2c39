use std::sync::Arc;

use http::{Method, Request, Version};

use super::*;
use crate::{
    base::name::{FileName, Owner},
    language::{bind, compile, syntax},
};

const DEMO: &str = r#"title = "Demo"
base_url = "https://one.example"
path_prefix = "/demo"
credentials.field = [
    { name = "login", kind = "oauth2", token_url = "https://auth.example/token", client_id = "app" },
    { name = "key" },
]
auth = [
    { field = "login", match = "l-*", set = { x = "{secret}" } },
    { field = "key", set = { x = "{secret}" } },
]
endpoint.get = { method = "GET", path = "/get" }
"#;

const NOW_MS: u64 = 1_000_000_000;
/// The default of the files.
const REFRESH_BEFORE_MS: u64 = 300_000;

fn table() -> Table {
    let mut files = compile::Files::default();
    files.providers.insert(FileName::new("demo").unwrap(), syntax::parse(&"demo.toml".into(), DEMO).0);
    let bound = bind::bind(&compile::compile(&files).providers[0], |_, _, _| None).0.unwrap();
    Table::new(vec![Arc::new(bound)], Vec::new(), &[])
}

fn head(line: &str) -> Parts {
    let (method, target) = line.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(target).version(Version::HTTP_10);
    request.body(()).unwrap().into_parts().0
}

fn authorized<'r>(head: &'r Parts, table: &'r Table) -> Authorized<'r> {
    let Ok(Begun::Provider(call)) = begin(head, table, ListenerRole::All, None) else { panic!("{head:?}") };
    call.authenticated(CallerFacts::UNRESTRICTED).unwrap().in_scope().unwrap()
}

fn owners() -> [Owner; 3] {
    ["usr_0123456789abcdef", "group:team", "everybody"].map(|text| Owner::parse(text).unwrap())
}

fn origins(hosts: &str) -> Vec<String> {
    hosts.split('+').map(|host| format!("https://{host}.example")).collect()
}

#[test]
fn the_first_owner_that_has_anything_decides() {
    let table = table();
    let hit = table.find(&Method::GET, "/demo/get").unwrap();
    // By owner `field=secret@host`, and the position of the owner and the secret, or the code of the fault.
    let check = |stored: [&str; 3], expected: &str| {
        let owners = owners();
        let held = stored.iter().zip(&owners).map(|(fields, owner)| {
            let fields = fields.split(' ').filter_map(|field| field.split_once('='));
            let one = |(field, value): (&str, &str)| {
                let (secret, host) = value.split_once('@').unwrap();
                (field.to_owned(), Secret::new(secret), origins(host))
            };
            (owner, fields.map(one).collect::<Vec<_>>())
        });
        let held: Vec<_> = held.collect();
        let owners = held.iter().map(|(owner, fields)| {
            move |field: &str| {
                let (_, secret, origins) = fields.iter().find(|(name, ..)| name == field)?;
                let expired = Login { expires_at_ms: Some(NOW_MS), refresh_token: None, attempt: None };
                let login = (secret.expose() == "expired").then_some(expired);
                Some(Candidate { secret, login, bound: Some(Bound { owner, origins }) })
            }
        });
        let seen = match choose(&hit, &table.fields, owners, NOW_MS) {
            Ok(chosen) => chosen.map(|one| format!("{} {}", one.owner, one.secret.expose())).unwrap(),
            Err(fault) => fault.kind.code().to_owned(),
        };
        assert_eq!(seen, expected, "{stored:?}");
    };
    check(["", "", ""], "credential_missing");
    check(["key=a@one", "key=b@one", "key=c@one"], "0 a");
    check(["", "key=b@one", "key=c@one"], "1 b");
    check(["", "", "key=c@one"], "2 c");
    check(["key=a@one", "login=l-b@one", ""], "0 a");
    check(["key=a@one login=l-a@one", "", ""], "0 l-a");
    // Another owner does not pay for one whose own does not fit or has expired.
    check(["login=a@one", "key=b@one", ""], "credential_missing");
    check(["login=a@two", "key=b@one", ""], "credential_missing");
    check(["login=expired@one", "key=b@one", ""], "credential_expired");
    check(["", "key=expired@one", "key=c@one"], "credential_expired");
    check(["login=a@one key=expired@one", "key=b@one", ""], "credential_expired");
    check(["login=expired@one key=a@one", "key=b@one", ""], "0 a");
    check(["other=a@one", "key=b@one", ""], "1 b");
    // One that was saved for another host is no reason to take the next.
    check(["key=a@two", "key=b@one", "key=c@one"], "credential_moved");
    check(["login=l-a@two key=a@one", "", ""], "credential_moved");
    check(["key=a@one", "key=b@two", ""], "0 a");
    check(["", "key=b@two", "key=c@one"], "credential_moved");
}

/// A login `l-1` that expires after so many milliseconds, and this outcome of a refresh.
struct Stored {
    expires_in_ms: i64,
    refresh_token: bool,
    attempt: &'static str,
    key: bool,
}

const STORED: Stored = Stored { expires_in_ms: 3_600_000, refresh_token: true, attempt: "", key: false };

#[test]
fn logins_are_refreshed_before_they_are_sent() {
    let (head, table) = (head("GET /demo/get"), table());
    let authorized = authorized(&head, &table);
    let (owner, saved_for) = (Owner::Everybody, origins("one+auth"));
    let secrets = ["l-1", "l-2", "refresh", "key"].map(Secret::new);
    let [old, new, refresh_token, key] = &secrets;
    let check = |stored: Stored, expected: &str| {
        let refreshed = |expires_at_ms| {
            Some(Attempt::Refreshed { access_token: new, expires_at_ms, origins: &saved_for })
        };
        let attempt = match stored.attempt {
            "new" => refreshed(Some(NOW_MS + 1)),
            "endless" => refreshed(None),
            "new, expired" => refreshed(Some(NOW_MS)),
            "failed for now" => Some(Attempt::FailedForNow),
            "store failed" => Some(Attempt::StoreFailed),
            "failed" => Some(Attempt::Failed),
            "moved" => Some(Attempt::Moved),
            _ => None,
        };
        let login = Login {
            expires_at_ms: NOW_MS.checked_add_signed(stored.expires_in_ms),
            refresh_token: stored.refresh_token.then_some(refresh_token),
            attempt,
        };
        let bound = Some(Bound { owner: &owner, origins: &saved_for });
        let offer = |field: &str| match field {
            "login" => Some(Candidate { secret: old, login: Some(login), bound }),
            _ => stored.key.then_some(Candidate { secret: key, login: None, bound }),
        };
        let seen = match authorized.credential([offer], NOW_MS) {
            Ok(Credential::Ready(sendable)) => {
                let can = if sendable.is_refreshable() { "refreshable" } else { "final" };
                format!("{} {can}", sendable.chosen.unwrap().secret.expose())
            }
            Ok(Credential::Refresh(refresh, sendable)) => {
                assert_eq!((refresh.access_token, refresh.refresh_token), (old, refresh_token));
                assert_eq!(
                    (refresh.field, refresh.section),
                    ("login", table.providers[0].section.as_ref().unwrap().name.as_str())
                );
                assert_eq!((&*refresh.oauth.client_id, sendable.chosen.unwrap().secret), ("app", old));
                format!("{:?}", refresh.reason)
            }
            Err(fault) => format!("{}: {}", fault.kind.code(), fault.message),
        };
        assert_eq!(seen, expected);
    };
    let ms = |ms: u64| i64::try_from(ms).unwrap();
    check(STORED, "l-1 refreshable");
    check(Stored { refresh_token: false, ..STORED }, "l-1 final");
    // Shortly before its end, and at its end.
    check(Stored { expires_in_ms: ms(REFRESH_BEFORE_MS) + 1, ..STORED }, "l-1 refreshable");
    check(Stored { expires_in_ms: ms(REFRESH_BEFORE_MS), ..STORED }, "Due");
    check(Stored { expires_in_ms: 1001, ..STORED }, "Due");
    check(Stored { expires_in_ms: 1000, ..STORED }, "Expired");
    check(Stored { expires_in_ms: -1, ..STORED }, "Expired");
    check(Stored { expires_in_ms: 1, refresh_token: false, ..STORED }, "l-1 final");
    let expired = "credential_expired: The login stored for demo has expired: store it again";
    check(Stored { expires_in_ms: 0, refresh_token: false, ..STORED }, expired);
    check(Stored { expires_in_ms: 0, refresh_token: false, key: true, ..STORED }, "key final");
    // After a refresh that succeeded, however soon the new one expires.
    check(Stored { expires_in_ms: -1, attempt: "new", ..STORED }, "l-2 refreshable");
    check(Stored { expires_in_ms: -1, attempt: "endless", ..STORED }, "l-2 refreshable");
    check(Stored { expires_in_ms: 2000, attempt: "new, expired", ..STORED }, "l-1 refreshable");
    check(Stored { expires_in_ms: -1, attempt: "new, expired", ..STORED }, expired);
    // After one that failed.
    for attempt in ["failed for now", "store failed", "failed", "moved"] {
        check(Stored { expires_in_ms: 2000, attempt, ..STORED }, "l-1 refreshable");
        check(Stored { expires_in_ms: -1, attempt, key: true, ..STORED }, "key final");
    }
    check(Stored { expires_in_ms: -1, attempt: "failed", ..STORED }, expired);
    let for_now = "credential_expired: The login stored for demo has expired, and could not be refreshed for now: try again, or store it again";
    check(Stored { expires_in_ms: -1, attempt: "failed for now", ..STORED }, for_now);
    let store = "store_unavailable: The login stored for demo has expired, and the store is unavailable, so that it cannot be refreshed: try again";
    check(Stored { expires_in_ms: -1, attempt: "store failed", ..STORED }, store);
    let moved = "credential_moved: The credential that everybody shares for demo was saved for https://one.example, https://auth.example, \
         and demo now leads to https://auth.example: an admin has to confirm that with `tollgate credential confirm --everybody`";
    check(Stored { expires_in_ms: -1, attempt: "moved", ..STORED }, moved);
}

#[test]
fn a_retry_takes_another_access_token_of_the_same_login() {
    let (head, table) = (head("GET /demo/get"), table());
    let authorized = authorized(&head, &table);
    let (owner, saved_for) = (Owner::Everybody, origins("one+auth"));
    let secret = Secret::new("l-2");
    let login = Login { expires_at_ms: None, refresh_token: None, attempt: None };
    let bound = Some(Bound { owner: &owner, origins: &saved_for });
    let stored =
        |field: &str| (field == "login").then_some(Candidate { secret: &secret, login: Some(login), bound });
    let sendable = authorized.credential([stored], NOW_MS).unwrap().without_refresh();
    let check = |owner: &str, field: &str, refused: &str, expected: bool| {
        let owner = Owner::parse(owner).unwrap();
        assert_eq!(
            sendable.replaces(&owner, field, &Secret::new(refused)),
            expected,
            "{owner} {field} {refused}"
        );
    };
    check("everybody", "login", "l-1", true);
    check("everybody", "login", "l-2", false);
    check("everybody", "key", "l-1", false);
    check("group:team", "login", "l-1", false);
}
