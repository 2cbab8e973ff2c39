use std::sync::Arc;

use http::{Method, Request, Version};

use super::*;
use crate::{
    base::name::{FileName, Owner},
    language::{
        auth::{FieldValue, FieldValues},
        bind, compile,
        fields::StoredKind,
        syntax,
        token::{MadeFrom, TokenProblem},
    },
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
    table_of(DEMO)
}

fn table_of(text: &str) -> Table {
    let mut files = compile::Files::default();
    files.providers.insert(FileName::new("demo").unwrap(), syntax::parse(&"demo.toml".into(), text).0);
    let compiled = compile::compile(&files);
    assert_eq!(compiled.diagnostics, []);
    let bound = bind::bind(&compiled.providers[0], |_, _, _| None).0.unwrap();
    Table::new(vec![Arc::new(bound)], Vec::new(), &[])
}

fn head(line: &str) -> Parts {
    let (method, target) = line.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(target).version(Version::HTTP_10);
    request.body(()).unwrap().into_parts().0
}

fn authorized<'r>(head: &'r Parts, table: &'r Table) -> Authorized<'r> {
    let Ok(Begun::Provider(call)) = begin(head, table, Listener::ANY) else { panic!("{head:?}") };
    call.authenticated(CallerFacts::UNRESTRICTED).unwrap().in_scope().unwrap()
}

fn owners() -> [Owner; 3] {
    ["usr_0123456789abcdef", "group:team", "everybody"].map(|text| Owner::parse(text).unwrap())
}

fn origins(hosts: &str) -> Vec<String> {
    hosts.split('+').map(|host| format!("https://{host}.example")).collect()
}

/// The choice for a request, by owner `field=secret@host`: the position of the owner and the secret, or the code of the fault.
fn chosen<const N: usize>(table: &Table, path: &str, stored: [&str; N]) -> String {
    let hit = table.find(&Method::GET, path).unwrap();
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
            if field == "region" {
                return Some(Candidate::given(secret));
            }
            let expired = Login { expires_at_ms: Some(NOW_MS), refresh_token: None, attempt: None };
            let login = (secret.expose() == "expired").then_some(expired);
            Some(Candidate { login, bound: Some(Bound { owner, origins }), ..Candidate::given(secret) })
        }
    });
    match choose(&hit, &table.fields, owners, NOW_MS) {
        Ok(Some(one)) => format!("{} {}", one.owner, one.secret.map_or("without", Secret::expose)),
        Ok(None) => "none".to_owned(),
        Err(fault) => fault.kind.code().to_owned(),
    }
}

#[test]
fn the_first_owner_that_has_anything_decides() {
    let table = table();
    let check = |stored: [&str; 3], expected: &str| {
        assert_eq!(chosen(&table, "/demo/get", stored), expected, "{stored:?}");
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

#[test]
fn a_request_goes_without_a_credential_only_if_nobody_has_stored_one() {
    let none = "    { endpoints = [\"get\", \"open\"], none = true },\n]\nendpoint.open = { method = \"GET\", path = \"/open\" }\n";
    let text = DEMO.replace("]\nendpoint", &format!("{none}endpoint"));
    let text = text.replace("{ field = \"login\",", "{ field = \"login\", endpoints = [\"get\"],");
    let text = text.replace("{ field = \"key\",", "{ field = \"key\", endpoints = [\"g*\"],");
    let table = table_of(&text);
    let check = |path: &str, stored: [&str; 3], expected: &str| {
        assert_eq!(chosen(&table, path, stored), expected, "{path} {stored:?}");
    };
    check("/demo/get", ["", "", ""], "0 without");
    check("/demo/get", ["key=a@one", "", ""], "0 a");
    check("/demo/get", ["", "", "key=c@one"], "2 c");
    for (stored, code) in [
        ("key=a@two", "credential_moved"),
        ("login=a@one", "credential_missing"),
        ("login=expired@one", "credential_expired"),
        ("login=expired@one key=a@two", "credential_moved"),
    ] {
        check("/demo/get", [stored, "", ""], code);
        check("/demo/get", ["", stored, ""], code);
        check("/demo/get", ["", "", stored], code);
        check("/demo/get", [stored, "key=b@one", "key=c@one"], code);
    }
    // No other entry counts there, so that no key is spared or spent.
    check("/demo/open", ["", "", ""], "0 without");
    check("/demo/open", ["key=a@one", "login=expired@one", ""], "0 without");
}

#[test]
fn a_request_without_a_credential_has_the_values_of_the_first_owner_with_all() {
    let text = DEMO
        .replace("https://one.example", "https://{region}.one.example")
        .replace(
            "{ name = \"key\" }",
            "{ name = \"key\" }, { name = \"region\", kind = \"text\", pattern = \"[a-z]+\" }",
        )
        .replace("]\nendpoint", "    { none = true },\n]\nendpoint");
    let table = table_of(&text);
    let check = |stored: [&str; 3], expected: &str| {
        assert_eq!(chosen(&table, "/demo/get", stored), expected, "{stored:?}");
    };
    check(["region=eu@one", "", ""], "0 without");
    check(["", "region=eu@one", "region=us@one"], "1 without");
    check(["", "", ""], "credential_missing");
    check(["region=eu@one", "key=b@eu.one", ""], "credential_missing");
    // A value that cannot be used is no reason to leave another owner's credential.
    check(["region=1@one", "", "key=c@eu.one region=eu@one"], "2 c");
    check(["region=1@one", "", ""], "credential_missing");
}

/// The server lists an owner who has stored something for another provider alone; tools do not.
#[test]
fn an_owner_who_has_stored_nothing_for_the_provider_changes_nothing() {
    let check = |(fields, auth, base): (&str, &str, &str), stored: &str, expected: &str| {
        let table = table_of(&format!(
            "title = \"Demo\"\nbase_url = \"{base}\"\npath_prefix = \"/demo\"\ncredentials = {{ field = [{fields}] }}\n\
             auth = [{auth}]\nendpoint.get = {{ method = \"GET\", path = \"/get\" }}\n"
        ));
        let is_first = stored.is_empty();
        let with = |place: &str| expected.replace('#', if is_first { "0" } else { place });
        assert_eq!(chosen(&table, "/demo/get", [stored]), with("0"), "{auth} {stored}");
        assert_eq!(chosen(&table, "/demo/get", ["", "", stored]), with("2"), "{auth} {stored}");
        if is_first {
            assert_eq!(chosen(&table, "/demo/get", []), with("0"), "{auth}");
        }
    };
    let base = "https://one.example";
    // A secret that need not be stored is no leave to go without one.
    let optional = ("{ name = \"key\", optional = true }", "{ set = { x = \"{key}\" } }", base);
    check(optional, "", "credential_missing");
    check(optional, "key=a@one", "# without");
    let field =
        "{ name = \"region\", kind = \"text\", pattern = \"[a-z]+\", default = \"eu\" }, { name = \"key\" }";
    let none = (
        field,
        "{ field = \"key\", set = { x = \"{secret}\" } }, { none = true }",
        "https://{region}.one.example",
    );
    check(none, "", "0 without");
    check(none, "region=us@one", "# without");
    check(none, "region=1@one", "credential_missing");
    check(none, "key=a@eu.one", "# a");
    // No entry: the host is made of a value all the same.
    let keyless = (field, "", "https://{region}.one.example");
    check(keyless, "", "0 without");
    check(keyless, "region=us@one", "# without");
    let entered =
        ("{ name = \"region\", kind = \"text\", pattern = \"[a-z]+\" }", "", "https://{region}.one.example");
    check(entered, "", "credential_missing");
    check(entered, "region=us@one", "# without");
    // A secret in a header is bound to its origins there too.
    let header = (
        "{ name = \"key\" }",
        "",
        "https://one.example\"\nheaders = { set = { y = \"{key}\" } }\ntelemetry_name = \"demo",
    );
    check(header, "", "credential_missing");
    check(header, "key=a@one", "# without");
    check(header, "key=a@two", "credential_moved");
    // A text of the operator's for everybody who has none of their own.
    let literal = (field, "{ field = \"key\", set = { x = \"{secret}\" } }, { set = { x = \"all\" } }", base);
    check(literal, "", "0 without");
    check(literal, "key=a@one", "# a");
    check(literal, "key=a@two", "credential_moved");
    // A value alone is no credential.
    let value =
        (field, "{ set = { x = \"{region}\" } }, { field = \"key\", set = { x = \"{secret}\" } }", base);
    check(value, "", "0 without");
    check(value, "region=us@one", "# without");
    check(value, "key=a@one", "# a");
}

/// What a user enters has to be allowed; the file's own default is not entered.
#[test]
fn a_default_is_entered_by_nobody() {
    let table = table_of(
        "title = \"Demo\"\nbase_url = \"{server}\"\npath_prefix = \"/demo\"\n\
         credentials.field = [{ name = \"server\", kind = \"origin\", default = \"https://one.example\" }]\n\
         auth = []\nendpoint.get = { method = \"GET\", path = \"/get\" }\n",
    );
    let (head, own) = (head("GET /demo/get"), Secret::new("https://two.example"));
    let authorized = authorized(&head, &table);
    let entered = |stored: Option<&Secret>| {
        let stored = |_: &str| stored.map(Candidate::given);
        let sendable = authorized.credential([stored], NOW_MS).unwrap().without_refresh();
        let request = sendable.request(0, Fresh::STAND_IN).unwrap();
        (request.origin.to_string(), request.entered.map(|origin| origin.to_string()))
    };
    assert_eq!(entered(None), ("https://one.example".to_owned(), None));
    assert_eq!(
        entered(Some(&own)),
        ("https://two.example".to_owned(), Some("https://two.example".to_owned()))
    );
}

#[test]
fn the_owner_is_known_where_an_entry_has_no_field_of_its_own() {
    let table = table_of(
        "title = \"Demo\"\nbase_url = \"https://one.example\"\npath_prefix = \"/demo\"\n\
         credentials.field = [{ name = \"user\" }, { name = \"key\" }]\n\
         auth = [{ basic = { username = \"{user}\", password = \"{key}\" } }]\n\
         endpoint.get = { method = \"GET\", path = \"/get\" }\n",
    );
    let (head, owner, key, saved_for) =
        (head("GET /demo/get"), Owner::Everybody, Secret::new("k"), origins("one"));
    let authorized = authorized(&head, &table);
    let bound = Some(Bound { owner: &owner, origins: &saved_for });
    let stored = |_: &str| Some(Candidate { bound, ..Candidate::given(&key) });
    let sendable = authorized.credential([stored], NOW_MS).unwrap().without_refresh();
    assert_eq!(sendable.owner(), Some(&owner));
}

/// A file declares another kind for a field than its credential was stored as: alone in an entry, beside another field, in a host,
/// and for a token.
#[test]
fn a_credential_of_another_kind_than_declared_is_refused() {
    let alone = "auth = [{ field = \"one\", set = { x = \"{secret}\" } }]";
    let named = "auth = [{ field = \"key\", set = { x = \"{secret}\", y = \"{one}\" } }]";
    let part = "auth = [{ field = \"key\", set = { x = \"{secret}\", y = \"{one.p}\" } }]";
    let none = "auth = [{ field = \"key\", set = { x = \"{secret}\" } }, { none = true }]\nheaders.set = { y = \"{one}\" }";
    let token = "token.t.request = { url = \"https://one.example/t\", form = { one = \"{one}\", key = \"{key}\" } }\ntoken.t.reply = { token = \"/t\" }\n\
         auth = [{ token = \"t\", set = { x = \"{secret}\" } }]";
    let (secret, text, json) =
        ("kind = \"secret\"", "kind = \"text\"", "kind = \"json\", parts = { p = \"/p\" }");
    let origin = "kind = \"origin\"";
    let login =
        "kind = \"oauth2\", token_url = \"https://one.example/t\", client_id = \"c\", parts = { p = \"/p\" }";
    let (owner, saved_for, key) = (Owner::Everybody, origins("one"), Secret::new("canary"));
    let bound = Some(Bound { owner: &owner, origins: &saved_for });
    let all = [StoredKind::Secret, StoredKind::Value, StoredKind::Document, StoredKind::Login];
    let check = |declared: &str, auth: &str, kind: StoredKind| {
        let table = table_of(&format!(
            "title = \"Demo\"\nbase_url = \"https://one.example\"\npath_prefix = \"/demo\"\n\
             credentials.field = [{{ name = \"one\", {declared} }}, {{ name = \"key\", optional = true }}]\n{auth}\n\
             endpoint.get = {{ method = \"GET\", path = \"/get\" }}\n"
        ));
        let hit = table.find(&Method::GET, "/demo/get").unwrap();
        for stored_as in all.into_iter().filter(|stored| *stored != kind) {
            // A value is bound to no origins.
            let bound = bound.filter(|_| stored_as != StoredKind::Value);
            let one = Candidate { stored_as: Some(stored_as), bound, ..Candidate::given(&key) };
            let key = Candidate { stored_as: Some(StoredKind::Secret), bound, ..Candidate::given(&key) };
            let stored = |field: &str| match field {
                "one" => Some(one),
                _ => (auth != none).then_some(key),
            };
            let fault = choose(&hit, &table.fields, [stored], NOW_MS).unwrap_err();
            assert_eq!(fault.kind.code(), "credential_missing", "{declared} {auth} {stored_as}");
            let expected = format!(
                "The value stored as `one` for demo was stored as {stored_as}, and the file declares {kind}: store it again"
            );
            assert_eq!(fault.message, expected, "{declared} {auth}");
        }
    };
    for auth in [alone, named, token] {
        check(secret, auth, StoredKind::Secret);
    }
    for auth in [alone, named, none, token] {
        check(text, auth, StoredKind::Value);
        check(origin, auth, StoredKind::Value);
    }
    check(json, part, StoredKind::Document);
    check(login, part, StoredKind::Login);
    check(login, alone, StoredKind::Login);
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
            "login" => Some(Candidate { login: Some(login), bound, ..Candidate::given(old) }),
            _ => stored.key.then_some(Candidate { bound, ..Candidate::given(key) }),
        };
        let seen = match authorized.credential([offer], NOW_MS) {
            Ok(Credential::Ready(sendable)) => {
                let can = if sendable.is_refreshable() { "refreshable" } else { "final" };
                format!("{} {can}", sendable.chosen.unwrap().secret.unwrap().expose())
            }
            Ok(Credential::Refresh(refresh, sendable)) => {
                let RefreshOf::Login { access_token, refresh_token: seen, oauth } = refresh.how else {
                    panic!("it is a login")
                };
                assert_eq!((access_token, seen), (old, refresh_token));
                assert_eq!(
                    (refresh.field, refresh.section),
                    ("login", table.providers[0].section.as_ref().unwrap().name.as_str())
                );
                assert_eq!((&*oauth.client_id, sendable.chosen.unwrap().secret), ("app", Some(old)));
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
    let stored = |field: &str| {
        (field == "login").then_some(Candidate { login: Some(login), bound, ..Candidate::given(&secret) })
    };
    let sendable = authorized.credential([stored], NOW_MS).unwrap().without_refresh();
    let check = |owner: &str, field: &str, refused: &str, expected: bool| {
        let owner = Owner::parse(owner).unwrap();
        assert_eq!(
            sendable.replaces(&owner, field, Some(&Secret::new(refused))),
            expected,
            "{owner} {field} {refused}"
        );
    };
    check("everybody", "login", "l-1", true);
    check("everybody", "login", "l-2", false);
    check("everybody", "key", "l-1", false);
    check("group:team", "login", "l-1", false);
}

/// What an owner has for an entry with a made token.
struct TokenOwner<'h> {
    fields: &'h [(&'static str, Secret)],
    bound: Bound<'h>,
    state: TokenState<'h>,
}

impl<'h> StoredBy<'h> for TokenOwner<'h> {
    fn value(&self, field: &str) -> Option<Candidate<'h>> {
        let (_, secret) = self.fields.iter().find(|(name, _)| *name == field)?;
        Some(Candidate { bound: Some(self.bound), ..Candidate::given(secret) })
    }

    fn token(&self, stored_as: &str) -> TokenState<'h> {
        assert_eq!(stored_as, "token:demo:t");
        self.state
    }
}

/// The request is sent with the stored token, or another one is made first, or the request is refused.
#[test]
fn made_tokens_are_sent_made_or_refused() {
    let text = r#"
title = "Demo"
path_prefix = "/demo"
base_url = "https://one.example"
credentials.field = [{ name = "key" }, { name = "extra", optional = true }]
token.t.request = { url = "https://login.example/token", form = { key = "{key}", extra = "{extra}" } }
token.t.reply = { token = "/access_token" }
auth = [{ token = "t", set = { authorization = "Bearer {secret}" } }]
endpoint.get = { method = "GET", path = "/get" }
"#;
    let table = table_of(text);
    let (head, owner) = (head("GET /demo/get"), Owner::Everybody);
    let authorized = authorized(&head, &table);
    let both = ["https://one.example".to_owned(), "https://login.example".to_owned()];
    let all = [("key", Secret::new("k")), ("extra", Secret::new("x"))];
    let made_from = {
        let token = &table.providers[0].tokens[0];
        let mut values = FieldValues::default();
        (0..).zip(&all).for_each(|(index, (_, secret))| values.push(index, FieldValue::stored(secret)));
        token.made_from(&values)
    };
    let (first, second) = (Secret::new("t-1"), Secret::new("t-2"));
    let made = |token, lasts_ms: u64, made_from| Made {
        token,
        fields: &[],
        expires_at_ms: NOW_MS + lasts_ms,
        made_from,
    };
    let check = |fields: &[(&'static str, Secret)],
                 origins: &[String],
                 state: TokenState<'_>,
                 expected: &str| {
        let owner = TokenOwner { fields, bound: Bound { owner: &owner, origins }, state };
        let seen = match authorized.credential([owner], NOW_MS) {
            Ok(Credential::Ready(sendable)) => sendable.chosen.unwrap().secret.unwrap().expose().to_owned(),
            Ok(Credential::Refresh(refresh, _)) => {
                let RefreshOf::Token { seen, .. } = refresh.how else { panic!("it is a token") };
                format!("{:?} after {:?}", refresh.reason, seen.map(Secret::expose))
            }
            Err(fault) => fault.kind.code().to_owned(),
        };
        assert_eq!(seen, expected, "{state:?}");
    };
    let stored = |made| TokenState { stored: Some(made), attempt: None };
    let after = |stored, attempt| TokenState { stored, attempt: Some(attempt) };
    let long = 2 * REFRESH_BEFORE_MS;
    check(&all, &both, TokenState::default(), "Expired after None");
    check(&all, &both, stored(made(&first, long, made_from)), "t-1");
    check(&all, &both, stored(made(&first, REFRESH_BEFORE_MS, made_from)), r#"Due after Some("t-1")"#);
    check(&all, &both, stored(made(&first, 1000, made_from)), r#"Expired after Some("t-1")"#);
    check(&all, &both, stored(made(&first, 0, made_from)), "Expired after None");
    // That of another key or of another definition.
    check(&all, &both, stored(made(&first, long, MadeFrom([0; 32]))), "Expired after None");
    let fresh = TokenAttempt::Made(made(&second, long, made_from));
    check(&all, &both, after(Some(made(&first, long, made_from)), fresh), "t-2");
    check(&all, &both, after(None, fresh), "t-2");
    // A token that is good still serves after a failure.
    check(&all, &both, after(Some(made(&first, 1, made_from)), TokenAttempt::FailedForNow), "t-1");
    for (attempt, expected) in [
        (TokenAttempt::FailedForNow, "token_unavailable"),
        (TokenAttempt::Failed(TokenProblem::Status(500)), "token_unavailable"),
        (TokenAttempt::Failed(TokenProblem::InvalidReply("is no JSON")), "token_unavailable"),
        (TokenAttempt::Failed(TokenProblem::Refused(401)), "token_refused"),
        (TokenAttempt::Failed(TokenProblem::BadKey("is no key")), "token_refused"),
        (TokenAttempt::StoreFailed, "store_unavailable"),
        (TokenAttempt::Moved, "credential_moved"),
    ] {
        check(&all, &both, after(None, attempt), expected);
    }
    // Nothing is asked for with keys that were not saved for the token endpoint, or without all of them.
    check(&all, &both[..1], TokenState::default(), "credential_moved");
    check(&all[..1], &both, TokenState::default(), "credential_missing");
    check(&[], &both, TokenState::default(), "credential_missing");
}
