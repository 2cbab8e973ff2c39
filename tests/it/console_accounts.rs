//! The console's pages of users, shared keys and admin tokens: what their forms change, and what they refuse.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    harness::{Api, KEY, Message, World, over_socket, provider},
    pages::{ask, post, sign_in, text},
};

/// A console that an operator is signed in to.
struct Console {
    world: World,
    cookie: String,
    api: Api,
}

impl Console {
    fn new() -> Self {
        let world = World::new();
        let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
        let cookie = sign_in(world.gateway.address, "/console", admin.trim());
        let api = Api::new(world.gateway.address, admin.trim());
        Self { world, cookie, api }
    }

    fn address(&self) -> SocketAddr {
        self.world.gateway.address
    }

    fn get(&self, path: &str) -> String {
        let answer = ask(self.address(), &format!("GET {path}"), &self.cookie, "");
        assert_eq!(answer.head.status(), 200, "{path}: {}", text(&answer));
        text(&answer).to_owned()
    }

    fn post(&self, path: &str, form: &str) -> Message {
        post(self.address(), path, &self.cookie, form)
    }

    /// Posts a form that leads to a page, and returns that page.
    fn done(&self, path: &str, form: &str) -> String {
        let answer = self.post(path, form);
        assert_eq!(answer.head.status(), 303, "{path} {form}: {}", text(&answer));
        self.get(answer.head.get("location").unwrap())
    }

    /// Posts a form that is refused. The page has each of these texts.
    fn refused(&self, path: &str, form: &str, expected: &[&str]) {
        let answer = self.post(path, form);
        assert_eq!(answer.head.status(), 422, "{path} {form}: {}", text(&answer));
        has(text(&answer), expected);
    }

    /// The document of the API.
    fn read(&self, path: &str) -> Value {
        self.api.done(&format!("GET {path}"), &Value::Null)
    }

    /// A new user. Returns the id.
    fn user(&self, name: &str) -> String {
        self.api.user(name).0
    }
}

fn has(page: &str, expected: &[&str]) {
    for expected in expected {
        assert!(page.contains(expected), "no `{expected}`: {page}");
    }
}

/// The token that a page shows once.
fn shown(page: &str) -> String {
    let (_, rest) = page.split_once("<code id=\"made\">").unwrap_or_else(|| panic!("no token: {page}"));
    rest.split_once('<').unwrap().0.to_owned()
}

#[test]
fn a_user_is_created_changed_and_deleted() {
    let console = Console::new();
    let made = console.post("/console/users", "name=%3Ci%3Eeve&group=research");
    let token = shown(text(&made));
    let id = console.api.with(&token).done("GET /auth/me", &Value::Null)["id"].as_str().unwrap().to_owned();
    let path = format!("/console/users/{id}");
    has(&console.get(&path), &["&#60;i&#62;eve", "/shared/groups/research", "never used"]);
    has(&console.done(&path, "name=Eve&group=&ip=192.0.2.7"), &["The user was changed.", "<h1>Eve</h1>"]);
    let user = console.read(&format!("/admin/users/{id}"));
    assert_eq!((&user["name"], user.get("group"), &user["ip"]), (&json!("Eve"), None, &json!("192.0.2.7")));
    let kept =
        ["Nothing was changed.", "a group&#39;s name has", "value=\"Eva\"", "value=\"No!\"", "value=\"x\""];
    console.refused(&path, "name=Eva&group=No%21&ip=x", &kept);
    console.refused(
        "/console/users",
        "name=%3Cb%3E+&group=No%21",
        &["Nothing was changed.", "value=\"No!\""],
    );
    has(&console.done(&format!("{path}/disable"), "x="), &["The user was disabled", "disabled since"]);
    has(&console.done(&format!("{path}/enable"), "x="), &["The user was enabled", ">active<"]);
    has(&console.done(&format!("{path}/delete"), "x="), &["The user was deleted", "<h1>Users</h1>"]);
    for method in ["GET", "POST"] {
        let gone = ask(console.address(), &format!("{method} {path}"), &own(&console.cookie), "");
        assert_eq!(gone.head.status(), 404, "{method}");
        assert!(text(&gone).contains("User not found"));
    }
}

#[test]
fn a_form_of_an_old_page_undoes_no_change() {
    let console = Console::new();
    let id = console.user("bob");
    let path = format!("/console/users/{id}");
    let old = "was_name=bob&was_group=&was_ip=";
    has(&console.get(&path), &["name=\"was_name\" value=\"bob\"", "name=\"was_group\" value=\"\""]);
    // Somebody else changes the user while the page is open.
    console.api.done(&format!("PATCH /admin/users/{id}"), &json!({ "name": "Bob", "group": "ops" }));
    has(&console.done(&path, &format!("{old}&name=bob&group=&ip=desk")), &["The user was changed."]);
    let stored = || {
        let user = console.read(&format!("/admin/users/{id}"));
        ["name", "group", "ip"].map(|field| user[field].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(stored(), ["Bob", "ops", "desk"]);
    let entries = || console.read("/admin/audit").as_object().unwrap().len();
    let before = entries();
    let refused = console.post(&path, &format!("{old}&name=bob&group=dev&ip=desk"));
    assert_eq!(refused.head.status(), 409);
    // What the form changes stays, and the rest is as it is stored.
    let kept = [
        "Nothing was changed.",
        "The group is `ops` by now",
        "id=\"group\" name=\"group\" autocomplete=\"off\" value=\"dev\"",
        "value=\"Bob\"",
        "name=\"was_group\" value=\"ops\"",
    ];
    has(text(&refused), &kept);
    let same = "was_name=Bob&was_group=ops&was_ip=desk&name=Bob&group=ops&ip=desk";
    has(&console.done(&path, same), &["there was nothing to change"]);
    assert_eq!((stored(), entries()), (["Bob", "ops", "desk"].map(str::to_owned), before));
    let again = "was_name=Bob&was_group=ops&was_ip=desk&name=Bob&group=&ip=desk";
    has(&console.done(&path, again), &["The user was changed."]);
    assert_eq!(stored(), ["Bob", "", "desk"]);
}

/// The lines of a form on a page of this tollgate.
fn own(cookie: &str) -> String {
    format!("Origin: http://gateway.test\r\n{cookie}")
}

#[test]
fn users_are_found_in_pages() {
    let console = Console::new();
    for number in 0..103 {
        console.user(&format!("member {number:03}"));
    }
    let first = console.get("/console/users");
    has(&first, &["104 users", ">Next page<", "member 098"]);
    assert!(!first.contains("member 099") && !first.contains("First page"));
    let (before, _) = first.split_once("\" rel=\"next\"").unwrap();
    let next = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
    let second = console.get(&next);
    has(&second, &["member 099", "member 102", "First page"]);
    assert!(!second.contains("member 098") && !second.contains("Next page"));
    let found = console.get("/console/users?search=MEMBER+05&order=name");
    has(&found, &["10 users", "member 051", "value=\"MEMBER 05\""]);
    has(&console.get("/console/users?search=%3Cb%3E"), &["No user matches", "value=\"&#60;b&#62;\""]);
    let bad = ask(console.address(), "GET /console/users?group=No!", &console.cookie, "");
    assert_eq!(bad.head.status(), 422);
    // A NUL would end the text of the search: everybody would match.
    let control = "?search=: no name, id or group has a control character: leave it out";
    for path in ["/admin/users?search=%00", "/admin/users/count?search=a%01b"] {
        console.api.fails(&format!("GET {path}"), &Value::Null, (400, "invalid_request", control));
    }
    let nul = ask(console.address(), "GET /console/users?search=%00", &console.cookie, "");
    assert_eq!(nul.head.status(), 422);
    has(text(&nul), &["has a control character", "No user matches"]);
    has(text(&bad), &["a group&#39;s name has", "value=\"No!\""]);
}

#[test]
fn tokens_of_a_user_are_made_and_revoked() {
    let console = Console::new();
    let (id, first) = console.api.user("bob");
    let path = format!("/console/users/{id}/tokens");
    let form = "label=%3Cb%3Eci&kind=both&reach=some&scope=t%2Fget&scope=t&days=7";
    let made = console.post(&path, form);
    let token = shown(text(&made));
    has(text(&made), &["The new token of this user", "&#60;b&#62;ci", "t/get, t"]);
    assert!(!console.get(&format!("/console/users/{id}")).contains(&token), "it is shown once");
    let all = "label=ci&kind=proxy&reach=all&scope=t&days=0";
    console.refused(
        &path,
        all,
        &["You chose providers, and also everything", "value=\"ci\"", "value=\"t\" data-whole checked"],
    );
    console.refused(
        &path,
        "label=ci&kind=manage&reach=some&scope=nope&days=0",
        &["Nothing was changed.", "value=\"manage\" selected"],
    );
    // A lifetime that cannot be read never becomes none at all.
    for days in ["", "x", "07", "8"] {
        let form = format!("label=ci&kind=proxy&reach=all&days={days}");
        console.refused(&path, &form, &["Nothing was changed.", "Choose when the token ends"]);
    }
    // A token, and one that it made.
    let bob = console.api.with(&first);
    let maker = bob.done("POST /auth/tokens", &json!({ "kind": "both" }));
    let by_maker = console.api.with(maker["token"].as_str().unwrap());
    let made = by_maker.done("POST /auth/tokens", &json!({ "kind": "both" }));
    let revoke = format!("/console/users/{id}/tokens/revoke");
    let token = |token: &Value| format!("token={}", token["id"].as_str().unwrap());
    has(&console.done(&revoke, &token(&maker)), &["The token was revoked."]);
    let made = console.api.with(made["token"].as_str().unwrap());
    let last = made.done("POST /auth/tokens", &json!({ "kind": "both" }));
    let id_of_made = made.done("GET /auth/me", &Value::Null)["token"]["id"].clone();
    let form = format!("{}&with_made=1", token(&json!({ "id": id_of_made })));
    has(&console.done(&revoke, &form), &["with all that came from it"]);
    let last = console.api.with(last["token"].as_str().unwrap());
    last.fails("GET /auth/me", &Value::Null, (401, "invalid_token", "Invalid or missing auth credentials"));
    for token in ["tok_0000000000000000", "..%2F..%2F..%2Ftokens", ""] {
        let answer = console.post(&revoke, &format!("token={token}"));
        assert_eq!(answer.head.status(), 422, "{token}");
        assert!(text(&answer).contains("ot found"), "{token}: {}", text(&answer));
    }
}

#[test]
fn credentials_of_all_owners_are_set_and_cleared_and_no_value_is_shown() {
    let console = Console::new();
    let id = console.user("bob");
    for (page, document) in [
        (format!("/console/users/{id}/keys"), format!("/admin/users/{id}/creds")),
        ("/console/shared/everybody".to_owned(), "/admin/credentials/everybody".to_owned()),
        ("/console/shared/groups/research".to_owned(), "/admin/credentials/groups/research".to_owned()),
    ] {
        let saved = console.done(&page, &format!("set.providers.t.apiKey={KEY}"));
        has(&saved, &["Saved.", ">Stored<", "sk-upstr...6789", &console.world.host]);
        assert!(!saved.contains(KEY));
        assert_eq!(console.read(&document), json!({ "providers": { "t": { "apiKey": "sk-upstr...6789" } } }));
        let bad = "set.providers.t.nothing=x&clear=providers.t.apiKey&set.providers.t.apiKey=typed-again";
        console.refused(&page, bad, &["Nothing was saved", "value=\"typed-again\"", " checked"]);
        has(&console.done(&page, "clear=providers.t.apiKey"), &["Saved.", ">Not set<"]);
        assert_eq!(console.read(&document), json!({}));
    }
    console.done("/console/shared/groups/research", &format!("set.providers.t.apiKey={KEY}"));
    has(
        &console.get("/console/shared"),
        &["/shared/groups/research", "providers.t.apiKey", "Nothing is shared with everybody"],
    );
    let shown = console.get(&format!("/console/users/{id}"));
    has(&shown, &["No key of its own"]);
}

#[test]
fn a_group_is_opened_by_its_name() {
    let console = Console::new();
    has(&console.done("/console/shared", "name=new-one"), &["<h1>Keys of the group new-one</h1>"]);
    console.refused(
        "/console/shared",
        "name=No%21%2F",
        &["No such group.", "a group&#39;s name has", "value=\"No!/\""],
    );
    console.refused("/console/shared", "name=", &["Type the name of a group"]);
    let bad = ask(console.address(), "GET /console/shared/groups/No!", &console.cookie, "");
    assert_eq!(bad.head.status(), 400, "{}", text(&bad));
}

#[test]
fn a_moved_credential_names_both_hosts_and_is_confirmed() {
    let console = Console::new();
    let id = console.read("/admin/users").as_object().unwrap().keys().next().unwrap().clone();
    console.done("/console/shared/everybody", &format!("set.providers.t.apiKey={KEY}"));
    console.world.home.write("t", &provider("http://127.0.0.1:1", ""));
    assert_eq!(over_socket(&console.world.home.data(), "POST /admin/reload").0, 200);
    let both = [console.world.host.as_str(), "http://127.0.0.1:1", "waits for a confirmation"];
    has(&console.get(&format!("/console/users/{id}")), &both);
    let name = console.read(&format!("/admin/users/{id}"))["name"].as_str().unwrap().to_owned();
    let list = console.get("/console/shared/unconfirmed");
    let links =
        [format!("\"/console/users/{id}/keys\""), format!("Look and confirm providers.t.apiKey of {name}")];
    has(&list, &[&both[..2], &["\"/console/shared/everybody\"", &links[0], &links[1]]].concat());
    let overview = console.get("/console");
    has(&overview, &["href=\"/console/shared/unconfirmed\"", "waits for a confirmation"]);
    for page in [format!("/console/users/{id}/keys"), "/console/shared/everybody".to_owned()] {
        has(&console.get(&page), &both);
        let confirm = format!("{page}/confirm");
        let other = "place=providers.t.apiKey&origin=http%3A%2F%2F127.0.0.1%3A2";
        console.refused(&confirm, other, &["Nothing was saved.", "look at it again"]);
        let confirmed = console.done(&confirm, "place=providers.t.apiKey&origin=http%3A%2F%2F127.0.0.1%3A1");
        has(&confirmed, &["Confirmed: ", ">Stored<"]);
        assert!(!confirmed.contains("waits for a confirmation"));
    }
    assert_eq!(console.read("/admin/credentials/unconfirmed"), json!({}));
    has(&console.get("/console/shared/unconfirmed"), &["Nothing waits"]);
}

#[test]
fn every_token_is_on_a_page_and_sessions_are_apart() {
    let console = Console::new();
    let id = console.user("bob");
    for (page, tokens) in [
        ("/console/tokens".to_owned(), "/admin/tokens".to_owned()),
        (format!("/console/users/{id}"), format!("/admin/users/{id}/tokens")),
    ] {
        // One is there already.
        for number in 0..100 {
            console.api.done(&format!("POST {tokens}"), &json!({ "label": format!("label {number:03}") }));
        }
        let first = console.get(&page);
        has(&first, &["1–100 of 101", "Older tokens", "label 000", "label 099"]);
        assert!(!first.contains("Newer tokens"), "{page}");
        let (before, _) = first.split_once("\" rel=\"next\"").unwrap();
        let next = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
        let last = console.get(&next);
        has(&last, &["101–101 of 101", "Newer tokens"]);
        assert!(!last.contains("label 000") && !last.contains("Older tokens"), "{page}");
        // The oldest can be revoked there.
        let (_, row) = last.split_once("name=\"token\" value=\"").unwrap();
        let oldest = row.split_once('"').unwrap().0;
        assert!(console.read(&tokens).as_object().unwrap().contains_key(oldest), "{oldest}");
    }
    let own = console.get("/console/tokens");
    let (tokens, sessions) = own.split_once("<h2>Sessions</h2>").unwrap();
    assert!(!tokens.contains(">session<") && sessions.contains("This sign-in"), "{own}");
}

#[test]
fn admin_tokens_are_made_and_revoked_but_for_the_last() {
    let console = Console::new();
    let tokens = console.read("/admin/tokens");
    let of_kind = |kind: &str| {
        let mut all = tokens.as_object().unwrap().iter().filter(|(_, one)| one["kind"] == kind);
        all.next().unwrap().0.clone()
    };
    let (first, session) = (of_kind("admin"), of_kind("session"));
    has(&console.get("/console/tokens"), &["This sign-in", ">session<", "Your own sign-in ends with it."]);
    let last = format!("token={first}");
    console.refused(
        "/console/tokens/revoke",
        &last,
        &["Nothing was changed.", "This is the last admin token"],
    );
    let made = console.post("/console/tokens", "label=%3Cb%3Eon+call");
    let token = shown(text(&made));
    has(text(&made), &["&#60;b&#62;on call", "It is shown only now"]);
    let listed = console.get("/console/tokens");
    assert!(!listed.contains(&token) && listed.contains(&token[..11]), "{listed}");
    console.refused("/console/tokens", "label=%01", &["Nothing was changed."]);
    let other = console.api.with(&token);
    let tokens = other.done("GET /admin/tokens", &Value::Null);
    let (id, _) = tokens.as_object().unwrap().iter().find(|(_, one)| one["current"] == true).unwrap();
    has(&console.done("/console/tokens/revoke", &format!("token={id}")), &["The token was revoked."]);
    other.fails(
        "GET /admin/tokens",
        &Value::Null,
        (401, "invalid_admin_token", "Invalid or missing admin credentials"),
    );
    let ended = console.post("/console/tokens/revoke", &format!("token={session}"));
    assert_eq!(ended.head.status(), 303);
    let page = ask(console.address(), "GET /console/tokens", &console.cookie, "");
    assert!(text(&page).contains("name=\"token\""), "the sign-in form: {}", text(&page));
}

#[test]
fn a_form_of_the_console_on_another_site_changes_nothing() {
    let console = Console::new();
    let id = console.user("bob");
    let state =
        || ["/admin/users", "/admin/tokens", "/admin/audit", "/admin/groups"].map(|path| console.read(path));
    let before = state();
    let table = include_str!("../../src/pages/route.rs").lines();
    let paths: Vec<String> = table
        .filter_map(|line| line.trim().strip_prefix("(Area::Console, \"POST\", \"")?.split_once('"'))
        .map(|(path, _)| format!("/console{}", path.replace('*', &id)))
        .collect();
    assert!(paths.len() >= 15, "{paths:?}");
    let form = "name=evil&label=evil&kind=both&token=x&set.providers.t.apiKey=theirs";
    for path in &paths {
        for lines in [
            "",
            "Origin: http://evil.test\r\n",
            "Origin: http://gateway.test\r\nSec-Fetch-Site: cross-site\r\n",
        ] {
            let lines = format!("{lines}{}", console.cookie);
            let answer = ask(console.address(), &format!("POST {path}"), &lines, form);
            assert_eq!(answer.head.status(), 403, "{path} {lines}");
            assert!(answer.head.get("content-type").unwrap().starts_with("text/html"), "a refusal is a page");
        }
        let nobody = post(console.address(), path, "", form);
        assert_eq!(nobody.head.status(), 401, "{path} without a session");
    }
    assert_eq!(state(), before);
}

#[test]
fn an_id_in_a_path_reaches_no_other_operation() {
    let console = Console::new();
    for id in ["..", "x", "..%2Ftokens", "usr_0000000000000000", "%3Climit=1", "count", "everybody"] {
        for path in [format!("/console/users/{id}"), format!("/console/users/{id}/keys")] {
            let answer = ask(console.address(), &format!("GET {path}"), &console.cookie, "");
            assert!([400, 404].contains(&answer.head.status()), "{path}: {}", answer.head.status());
        }
    }
}
