//! A stored key goes only to the hosts it was saved for, however the provider files change, until its owner or an
//! admin confirms another. Also keys shared by a group or everybody. All hosts are one upstream, which sees the host
//! and the key.

use std::{fs, sync::Arc, time::Instant};

use serde_json::{Value, json};
use tollgate::mock::Authority;

use crate::harness::{Api, Gateway, Home, LIMIT, Next, Upstream, Wire, over_socket};

/// A provider `name` at a host, which sends a key of the section `s`.
fn file(name: &str, host: &str, more: &str) -> String {
    format!(
        r#"title = "{name}"
base_url = "https://{host}"
path_prefix = "/{name}"
{more}
[credentials]
section = "s"
[[credentials.field]]
name = "key"
[[auth]]
field = "key"
set = {{ x-key = "{{secret}}" }}
[endpoint.get]
method = "GET"
path = "/get"
"#
    )
}

const GATEWAY: &str = r#"title = "Relay"
base_url = "https://{zone}.relay.example/v1"
vars = { zone = { env = "ZONE" } }
"#;

struct Place {
    upstream: Upstream,
    home: Home,
    args: Vec<String>,
    gateway: Option<Gateway>,
    ada: String,
}

impl Place {
    /// With these provider files, not running; `ada` has stored a key.
    fn new(files: &[(&str, &str)]) -> Self {
        let authority = Arc::new(Authority::new(&[]).unwrap());
        let upstream = Upstream::tls(Arc::clone(&authority));
        let home = Home::new(files);
        let ca = home.path("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        let rule = format!("*={}", upstream.address());
        let args = ["--connect-to", &rule, "--ca-file", ca.to_str().unwrap()].map(str::to_owned).to_vec();
        let ada = home.user("ada");
        home.credential("ada", "s.key", "adas");
        Self { upstream, home, args, gateway: None, ada }
    }

    /// Starts `serve` with these variables.
    fn serve(&mut self, env: &[(&str, &str)]) {
        self.gateway = None;
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.gateway = Some(self.home.serve_with(&args, env));
    }

    /// Changes a file while it serves.
    fn write(&self, name: &str, text: &str) {
        self.home.write(name, text);
        self.reload();
    }

    fn reload(&self) {
        let (code, status) = over_socket(&self.home.data(), "POST /admin/reload");
        assert_eq!(code, 200, "{status}");
    }

    /// The outcome of a request: the host called and its key, or a fault's code and message.
    fn answer(&mut self, name: &str, token: &str) -> (String, String) {
        let mut client = Wire::connect(self.gateway.as_ref().unwrap().address);
        client.send(format!("GET /{name}/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"));
        if let Next::Request(mut wire) = self.upstream.next_or(&client) {
            let request = wire.request().unwrap();
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            self.upstream.keep(wire);
            assert_eq!(client.answer().unwrap().head.status(), 200);
            let header = |name: &str| request.head.get(name).unwrap_or_default().to_owned();
            return (header("host"), header("x-key"));
        }
        let answer = client.answer().unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let text = |key: &str| body["error"][key].as_str().unwrap().to_owned();
        assert_eq!(answer.head.status() == 403, text("code") == "credential_moved", "{body}");
        (text("code"), text("message"))
    }

    fn check(&mut self, name: &str, token: &str, expected: (&str, &str)) {
        let (first, second) = self.answer(name, token);
        assert_eq!((first.as_str(), second.as_str()), expected);
    }

    /// The same; a change by another process may take a moment to be noticed.
    fn eventually(&mut self, name: &str, token: &str, expected: (&str, &str)) {
        let start = Instant::now();
        loop {
            let (first, second) = self.answer(name, token);
            if (first.as_str(), second.as_str()) == expected {
                return;
            }
            assert!(start.elapsed() < LIMIT, "it comes to {first} {second}, not to {expected:?}");
        }
    }

    /// Checks that `ada`'s key is bound to `old` and held back from `new`.
    fn is_kept_from(&mut self, name: &str, old: &str, new: &str) {
        let ada = self.id("ada");
        let message = format!(
            "The credential stored for {name} was saved for {old}, and {name} now leads to {new}: confirm that with \
             `POST /auth/creds/confirm`, or have an admin run `tollgate credential confirm {ada}`"
        );
        let ada = self.ada.clone();
        self.check(name, &ada, ("credential_moved", &message));
        self.upstream.saw_nothing();
    }

    fn api(&self) -> Api {
        let token = fs::read_to_string(self.home.data().join("admin-token")).unwrap();
        Api::new(self.gateway.as_ref().unwrap().address, token.trim_end())
    }

    fn id(&self, name: &str) -> String {
        let users = self.api().done("GET /admin/users", &Value::Null);
        let user = users.as_object().unwrap().iter().find(|(_, user)| user["name"] == name);
        user.unwrap().0.clone()
    }

    /// `ada` confirms all. Returns the confirmed fields.
    fn confirms(&self) -> Value {
        self.api().with(&self.ada).confirms("/auth/creds")
    }

    /// An admin confirms, below this path.
    fn admin_confirms(&self, path: &str) -> Value {
        self.api().confirms(&format!("/admin/{path}"))
    }

    /// Stores a shared key.
    fn share(&self, path: &str, key: &str) {
        self.api().done(&format!("PATCH /admin/credentials/{path}"), &json!({ "s": { "key": key } }));
    }
}

/// A confirmation's description of the key.
fn from_to(from: &[&str], to: &[&str]) -> Value {
    json!({ "s.key": { "from": from, "to": to } })
}

// === A provider moves ===

#[test]
fn a_key_stays_behind_when_its_provider_moves() {
    let mut place = Place::new(&[("a", &file("a", "one.example", ""))]);
    place.serve(&[]);
    let ada = place.ada.clone();
    place.check("a", &ada, ("one.example", "adas"));
    place.write("a", &file("a", "two.example", ""));
    place.is_kept_from("a", "https://one.example", "https://two.example");
    let waiting = "stored credentials are blocked: the files name origins that they were not saved for; requests get `credential_moved`";
    let line = place.gateway.as_ref().unwrap().wait_for_log(waiting);
    assert_eq!(
        (&line["credential"], &line["owners"], &line["to"]),
        (&json!("s.key"), &json!(1), &json!("https://two.example"))
    );
    let id = place.id("ada");
    assert_eq!((&line["whose"], &line["from"]), (&json!(id), &json!("https://one.example")));
    let waits = format!(
        "1 stored credential of 1 owner waits for a confirmation: requests that would send them to a new host are refused until then\n  \
         `s.key` of ada ({id}): stored for https://one.example, leads to https://two.example now\n  help: "
    );
    for command in ["status", "reload"] {
        let said = place.home.run(&[command], "");
        assert!(said.code == 5 && said.out.starts_with("ok: ") && said.out.contains(&waits), "{said:?}");
    }
    let said = place.home.run(&["status", "--json"], "");
    assert!(said.code == 5 && said.err.starts_with(&waits), "{said:?}");
    place.home.write("bad", "title = 1\n");
    let said = place.home.run(&["reload"], "");
    assert!(said.code == 1 && said.out.starts_with("NOT OK: ") && said.out.contains(&waits), "{said:?}");
    fs::remove_file(place.home.providers().join("bad.toml")).unwrap();
    assert_eq!(place.home.run(&["reload"], "").code, 5);
    let new = from_to(&["https://one.example"], &["https://two.example"]);
    assert_eq!(place.confirms(), new);
    assert_eq!(place.home.run(&["status"], "").code, 0);
    place.check("a", &ada, ("two.example", "adas"));
    assert_eq!(place.confirms(), json!({}));
    let audit = place.api().done("GET /admin/audit", &Value::Null);
    let entries =
        audit.as_object().unwrap().values().filter(|entry| entry["action"] == "credentials.confirm");
    assert_eq!(entries.count(), 1, "{audit}");
    // The key was bound to the new one, not to both.
    place.write("a", &file("a", "one.example", ""));
    place.is_kept_from("a", "https://two.example", "https://one.example");
    // A key that is set again is bound to the files' current hosts.
    place.home.credential("ada", "s.key", "another");
    place.eventually("a", &ada, ("one.example", "another"));
    // Another path or spelling is the same origin.
    place.write("a", &file("a", "ONE.example:443/base", ""));
    place.check("a", &ada, ("one.example", "another"));
    place.write("a", &file("a", "one.example:8443", ""));
    place.is_kept_from("a", "https://one.example", "https://one.example:8443");
}

#[test]
fn another_file_that_takes_a_section_does_not_get_its_keys() {
    let mut place = Place::new(&[("a", &file("a", "one.example", ""))]);
    place.serve(&[]);
    let ada = place.ada.clone();
    place.check("a", &ada, ("one.example", "adas"));
    // Beside the first it is rejected: the two do not name each other.
    place.home.write("b", &file("b", "two.example", ""));
    over_socket(&place.home.data(), "POST /admin/reload");
    let out = "Provider b is out of service: its configuration is rejected";
    place.check("b", &ada, ("config_rejected", out));
    fs::remove_file(place.home.providers().join("a.toml")).unwrap();
    place.reload();
    place.is_kept_from("b", "https://one.example", "https://two.example");
    let said = place.home.run(&["credential", "list", "ada"], "");
    assert!(said.out.contains(", blocked: it leads to an origin that it was not stored for\n"), "{said:?}");
    let said = place.home.run(&["credential", "confirm", "ada"], "");
    let id = place.id("ada");
    let advice = format!(
        "nothing was confirmed: `tollgate credential confirm {id} --to ORIGIN` confirms a new origin\n"
    );
    assert_eq!((said.code, said.err), (0, advice));
    assert!(said.out.contains("\ns.key       https://one.example  https://two.example\n"), "{}", said.out);
    let said = place.home.run(&["credential", "confirm", "ada", "--to", "https://evil.example"], "");
    assert!(
        said.code == 1 && said.err.contains("no credential has the new origin `https://evil.example`"),
        "{said:?}"
    );
    place.is_kept_from("b", "https://one.example", "https://two.example");
    let said = place.home.run(&["credential", "confirm", "ada", "--to", "https://two.example"], "");
    let expected = "confirmed `s.key`: it may go to https://two.example; until now to https://one.example";
    assert!(said.code == 0 && (said.out.contains(expected) || said.err.contains(expected)), "{said:?}");
    place.check("b", &ada, ("two.example", "adas"));
}

#[test]
fn a_saved_key_is_allowed_for_all_providers_of_its_section() {
    let shared = |name: &str, host: &str, other: &str| {
        file(name, host, "")
            .replace("section = \"s\"", &format!("section = \"s\"\nshared_with = [\"{other}\"]"))
    };
    let mut place =
        Place::new(&[("a", &shared("a", "one.example", "b")), ("b", &shared("b", "two.example", "a"))]);
    place.serve(&[]);
    let ada = place.ada.clone();
    place.check("a", &ada, ("one.example", "adas"));
    place.check("b", &ada, ("two.example", "adas"));
    // A third provider that both name was not there when the key was saved.
    let three = shared("c", "three.example", "a\", \"b");
    place.home.write("a", &shared("a", "one.example", "b\", \"c"));
    place.home.write("b", &shared("b", "two.example", "a\", \"c"));
    place.write("c", &three);
    place.check("a", &ada, ("one.example", "adas"));
    place.is_kept_from("c", "https://one.example, https://two.example", "https://three.example");
}

#[test]
fn a_gateway_may_be_switched_on() {
    let uses = "gateway.relay = { path = \"/x{path}\" }";
    let mut place = Place::new(&[("gateways/relay", GATEWAY), ("a", &file("a", "one.example", uses))]);
    let ada = place.ada.clone();
    place.serve(&[]);
    place.check("a", &ada, ("one.example", "adas"));
    place.serve(&[("ZONE", "eu")]);
    place.check("a", &ada, ("eu.relay.example", "adas"));
    place.serve(&[("ZONE", "us")]);
    place.check("a", &ada, ("us.relay.example", "adas"));
    // A gateway of the same name with another URL is another one.
    place.write("gateways/relay", &GATEWAY.replace("relay.example", "evil.example"));
    place.is_kept_from(
        "a",
        "https://one.example, https://{env:ZONE}.relay.example",
        "https://{env:ZONE}.evil.example",
    );
    // Without it the base URL serves as before.
    place.serve(&[]);
    place.check("a", &ada, ("one.example", "adas"));
}

#[test]
fn an_egress_is_the_operators_or_the_files() {
    let egress = |url: &str| {
        let vars = "vars.proxy = { env = \"PROXY\", optional = true }";
        file("a", "one.example", &format!("{vars}\negress = [{{ when = [\"proxy\"], url = \"{url}\" }}]"))
    };
    let mut place = Place::new(&[("a", &egress("{proxy}/?to={url|urlencode}"))]);
    let ada = place.ada.clone();
    place.serve(&[]);
    place.check("a", &ada, ("one.example", "adas"));
    place.serve(&[("PROXY", "https://proxy.example")]);
    place.check("a", &ada, ("proxy.example", "adas"));
    place.serve(&[("PROXY", "https://another.example")]);
    place.check("a", &ada, ("another.example", "adas"));
    // A host that the file names, or whose end it sets, is the file's.
    place.write("a", &egress("https://evil.example/?to={url|urlencode}"));
    place.is_kept_from("a", "https://one.example", "https://evil.example");
    place.write("a", &egress("{proxy}.evil.example/?to={url|urlencode}"));
    place.is_kept_from("a", "https://one.example", "{env:PROXY}.evil.example");
    // The wrapped URL counts too.
    place.write("a", &egress("{proxy}/?to={url|urlencode}").replace("one.example", "two.example"));
    place.is_kept_from("a", "https://one.example", "https://two.example");
    assert_eq!(place.confirms(), from_to(&["https://one.example"], &["https://two.example"]));
    place.check("a", &ada, ("another.example", "adas"));
}

#[test]
fn a_token_url_that_moves_is_confirmed_too() {
    let login = |auth: &str| {
        let field =
            format!("kind = \"oauth2\"\ntoken_url = \"https://{auth}/token\"\nclient_id = \"c\"\n[[auth]]");
        file("a", "one.example", "").replace("[[auth]]", &field)
    };
    let mut place = Place::new(&[("a", &file("a", "one.example", ""))]);
    place.home.write("a", &login("auth.example"));
    place.home.credential("ada", "s.key", r#"{"accessToken":"adas","expiresAt":4102444800000}"#);
    place.serve(&[]);
    let ada = place.ada.clone();
    place.check("a", &ada, ("one.example", "adas"));
    // A valid access token still goes to the old host; nothing goes to the new one.
    place.write("a", &login("evil.example"));
    place.check("a", &ada, ("one.example", "adas"));
    let (old, new) = ("https://auth.example", "https://evil.example");
    let base = "https://one.example";
    assert_eq!(place.confirms(), from_to(&[old, base], &[new, base]));
    assert_eq!(place.confirms(), json!({}));
    place.check("a", &ada, ("one.example", "adas"));
}

// === Shared keys ===

#[test]
fn a_users_key_precedes_the_groups_and_that_everybodys() {
    let mut place = Place::new(&[("a", &file("a", "one.example", ""))]);
    let (ada, bob, eve) = (place.ada.clone(), place.home.user("bob"), place.home.user("eve"));
    place.serve(&[]);
    let missing = (
        "credential_missing",
        "No API key configured for a. Store one on the page `/config`, or with `tollgate credential set USER s.key`",
    );
    place.check("a", &bob, missing);
    place.share("everybody", "everybodys");
    for (token, key) in [(&ada, "adas"), (&bob, "everybodys"), (&eve, "everybodys")] {
        place.check("a", token, ("one.example", key));
    }
    for name in ["ada", "bob"] {
        place.api().done(&format!("PATCH /admin/users/{}", place.id(name)), &json!({ "group": "team" }));
    }
    place.share("groups/team", "teams");
    place.share("groups/others", "others");
    for (token, key) in [(&ada, "adas"), (&bob, "teams"), (&eve, "everybodys")] {
        place.check("a", token, ("one.example", key));
    }
    for (name, whose) in [("ada", " for `ada`"), ("bob", " for the group `team`"), ("eve", " for everybody")]
    {
        let said = place.home.done(&["explain", "GET", "/a/get", "--as", name], "");
        assert!(said.contains(&format!("auth      `key`: it is stored{whose}  (")), "{said}");
    }
    // A user's own key that has moved still excludes the shared ones: the key in use is never accidental.
    place.write("a", &file("a", "two.example", ""));
    place.share("groups/others", "others");
    place.is_kept_from("a", "https://one.example", "https://two.example");
    let moved = "was saved for https://one.example, and a now leads to https://two.example: an admin has to \
                 confirm that with `tollgate credential confirm";
    let shared = |whose: &str, how: &str| format!("The credential that {whose} for a {moved} {how}`");
    let teams = shared("the group `team` shares", "--group team");
    let everybodys = shared("everybody shares", "--everybody");
    place.check("a", &bob, ("credential_moved", &teams));
    place.check("a", &eve, ("credential_moved", &everybodys));
    let said = place.home.done(&["explain", "GET", "/a/get", "--as", "eve"], "");
    assert!(said.contains(&format!("refused   403 credential_moved: {everybodys}\n")), "{said}");
    // Users of a shared key cannot confirm it.
    let seen = json!({ "origins": { "s.key": ["https://two.example"] } });
    assert_eq!(place.api().with(&eve).done("POST /auth/creds/confirm", &seen), json!({ "confirmed": {} }));
    place.check("a", &eve, ("credential_moved", &everybodys));
    let done = from_to(&["https://one.example"], &["https://two.example"]);
    assert_eq!(place.admin_confirms("credentials/everybody"), done);
    assert_eq!(place.admin_confirms("credentials/groups/team"), done);
    assert_eq!(place.admin_confirms("credentials/groups/others"), json!({}));
    place.check("a", &eve, ("two.example", "everybodys"));
    place.check("a", &bob, ("two.example", "teams"));
    place.is_kept_from("a", "https://one.example", "https://two.example");
    place.api().with(&ada).done("PUT /auth/creds", &json!({ "s": null }));
    place.check("a", &ada, ("two.example", "teams"));
}

#[test]
fn a_confirmation_can_be_narrowed() {
    let two = |host: &str| {
        let more = "[[credentials.field]]\nname = \"key\"\n[[credentials.field]]\nname = \"more\"\n[[auth]]\nfield = \"more\"\nset = { x-more = \"{secret}\" }";
        file("a", host, "").replace("[[credentials.field]]\nname = \"key\"", more)
    };
    let mut place = Place::new(&[("a", &two("one.example"))]);
    place.home.credential("ada", "s.more", "more");
    place.serve(&[]);
    place.write("a", &two("two.example"));
    let ada = place.api().with(&place.ada);
    let confirm =
        |place: &str, origins: &[&str]| (place.to_owned(), json!({ "origins": { place: origins } }));
    let fails = |(_, body): (String, Value), fault: (u16, &str, &str)| {
        ada.fails("POST /auth/creds/confirm", &body, fault);
    };
    let two = ["https://two.example"];
    let unknown = |message| (400, "invalid_request", message);
    fails(
        confirm("t.key", &two),
        unknown("/origins/t.key: no provider file has credentials in the section `t` (known: `s`)"),
    );
    fails(
        confirm("s.x", &two),
        unknown("/origins/s.x: the section `s` has no field `x` (known: `key`, `more`)"),
    );
    ada.fails("POST /auth/creds/confirm", &json!({}), unknown("/origins: it is missing"));
    // The files have changed since they were looked at.
    let changed = "`s.key` leads to https://two.example: look at it again, then confirm that";
    for other in [&["https://one.example"][..], &[], &["https://two.example", "https://three.example"]] {
        fails(confirm("s.key", other), (409, "origins_changed", changed));
    }
    let done = |(_, body): (String, Value)| ada.done("POST /auth/creds/confirm", &body)["confirmed"].clone();
    let all = from_to(&["https://one.example"], &two);
    assert_eq!(done(confirm("s.key", &two)), all);
    assert_eq!(done(confirm("s.key", &two)), json!({}));
    assert_eq!(ada.confirms("/auth/creds").as_object().unwrap().keys().collect::<Vec<_>>(), ["s.more"]);
    assert_eq!(ada.confirms("/auth/creds"), json!({}));
}
