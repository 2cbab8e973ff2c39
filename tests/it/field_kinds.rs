//! Fields of kinds: values that are no secrets, several fields of a section in one change, pasted documents. A secret goes to
//! the host that the values of its section make, and to another one only after a confirmation. All hosts are one upstream,
//! which sees the host and the headers.

use std::{fs, sync::Arc};

use serde_json::{Value, json};
use tollgate::mock::Authority;

use crate::harness::{Api, Gateway, Home, Next, Upstream, Wire, over_socket};

const REGIONAL: &str = r#"
title = "Regional"
base_url = "https://{region}.api.example"
path_prefix = "/regional"

[credentials]
section = "regional"

[[credentials.field]]
name = "region"
kind = "text"
pattern = "[a-z]{2}"

[[credentials.field]]
name = "apiKey"

[[auth]]
field = "apiKey"
set = { x-key = "{secret}" }

[endpoint.get]
method = "GET"
path = "/get"
"#;

const ACCOUNT: &str = r#"
title = "Account"
base_url = "https://account.example"
path_prefix = "/account"

[credentials]
section = "account"

[[credentials.field]]
name = "file"
kind = "json"
parts = { email = "/client/email", key = "/key" }

[[auth]]
set = { x-key = "{file.key}", x-email = "{file.email}" }

[endpoint.get]
method = "GET"
path = "/get"
"#;

const LAN: &str = r#"
title = "Lan"
base_url = "{server}"
path_prefix = "/lan"

[credentials]
section = "lan"

[[credentials.field]]
name = "server"
kind = "origin"

[[credentials.field]]
name = "apiKey"

[[auth]]
field = "apiKey"
set = { x-key = "{secret}" }

[endpoint.get]
method = "GET"
path = "/get"
"#;

const KEY: &str = "canary-0123456789abcdef";

struct Place {
    upstream: Upstream,
    home: Home,
    gateway: Gateway,
    ada: String,
}

impl Place {
    fn new() -> Self {
        let authority = Arc::new(Authority::new(&[]).unwrap());
        let upstream = Upstream::tls(Arc::clone(&authority));
        let home = Home::new(&[("regional", REGIONAL), ("account", ACCOUNT), ("lan", LAN)]);
        let ca = home.path("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        let ada = home.user("ada");
        let rule = format!("*={}", upstream.address());
        let allowed = "https://*.lan.example:8443";
        let gateway = home.serve(&[
            "--connect-to",
            &rule,
            "--ca-file",
            ca.to_str().unwrap(),
            "--user-origins",
            allowed,
        ]);
        Self { upstream, home, gateway, ada }
    }

    fn admin(&self) -> Api {
        let token = fs::read_to_string(self.home.data().join("admin-token")).unwrap();
        Api::new(self.gateway.address, token.trim_end())
    }

    fn own(&self) -> Api {
        self.admin().with(&self.ada)
    }

    /// The headers that the upstream gets for a request, or the code and the message of a fault.
    fn get(&mut self, provider: &str, headers: [&str; 2]) -> (String, String) {
        let mut client = Wire::connect(self.gateway.address);
        let token = &self.ada;
        client.send(format!(
            "GET /{provider}/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        if let Next::Request(mut wire) = self.upstream.next_or(&client) {
            let request = wire.request().unwrap();
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            self.upstream.keep(wire);
            assert_eq!(client.answer().unwrap().head.status(), 200);
            let [first, second] = headers.map(|name| request.head.get(name).unwrap_or_default().to_owned());
            return (first, second);
        }
        let body: Value = serde_json::from_slice(&client.answer().unwrap().body).unwrap();
        let text = |key: &str| body["error"][key].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }

    /// Replaces the file `account`.
    fn account(&self, text: &str) {
        self.home.write("account", text);
        let (code, status) = over_socket(&self.home.data(), "POST /admin/reload");
        assert_eq!(code, 200, "{status}");
    }

    fn goes_to(&mut self, host: &str) {
        let got = self.get("regional", ["host", "x-key"]);
        assert_eq!(got, (host.to_owned(), KEY.to_owned()));
    }
}

#[test]
fn fields_of_a_section_are_set_in_one_change_or_not_at_all() {
    let mut place = Place::new();
    let own = place.own();
    let bad = json!({ "regional": { "region": "EU/canary", "apiKey": KEY } });
    let message = "/regional/region: the value does not match `[a-z]{2}`";
    own.fails("PUT /auth/creds", &bad, (400, "invalid_request", message));
    assert_eq!(own.done("GET /auth/creds", &Value::Null), json!({}));
    let (code, _) = place.get("regional", ["host", "x-key"]);
    assert_eq!(code, "credential_missing");

    own.done("PUT /auth/creds", &json!({ "regional": { "region": "eu", "apiKey": KEY } }));
    place.goes_to("eu.api.example");
    // A value is shown, a secret is not.
    let stored = own.done("GET /auth/creds", &Value::Null);
    assert_eq!(stored, json!({ "regional": { "region": "eu", "apiKey": "canary-0...cdef" } }));
    let fields = own.done("GET /auth/fields", &Value::Null);
    let sections = fields["sections"].as_array().unwrap();
    let regional = sections.iter().find(|one| one["section"] == "regional").unwrap();
    let (region, key) = (&regional["fields"][0], &regional["fields"][1]);
    assert_eq!((&region["kind"], &region["pattern"]), (&json!("text"), &json!("[a-z]{2}")));
    for field in [region, key] {
        assert_eq!(field["origins"], json!(["https://eu.api.example"]));
        assert_eq!(field["wanted"], "required");
    }
}

#[test]
fn a_changed_value_holds_stored_keys_back_until_that_is_confirmed() {
    let mut place = Place::new();
    let (own, admin) = (place.own(), place.admin());
    own.done("PUT /auth/creds", &json!({ "regional": { "region": "eu", "apiKey": KEY } }));
    own.done("PUT /auth/creds", &json!({ "regional": { "region": "us" } }));
    let (code, message) = place.get("regional", ["host", "x-key"]);
    assert_eq!(code, "credential_moved");
    assert!(message.contains("was saved for https://eu.api.example") && !message.contains(KEY), "{message}");
    place.upstream.saw_nothing();

    let new = json!({ "from": ["https://eu.api.example"], "to": ["https://us.api.example"] });
    let waiting = json!({ "regional.apiKey": new });
    assert_eq!(own.done("GET /auth/creds/confirm", &Value::Null)["unconfirmed"], waiting);
    let all = admin.done("GET /admin/credentials/unconfirmed", &Value::Null);
    let owners: Vec<_> = all.as_object().unwrap().values().collect();
    assert_eq!(owners, [&json!({ "name": "ada", "unconfirmed": waiting })]);
    let overview = admin.done("GET /admin/overview", &Value::Null).to_string();
    assert!(overview.contains("`regional.apiKey` of 1 owner waits for a confirmation"), "{overview}");

    // What the owner has not seen is not confirmed.
    let other = json!({ "origins": { "regional.apiKey": ["https://eu.api.example"] } });
    assert_eq!(own.call("POST /auth/creds/confirm", &other).status, 409);
    assert_eq!(own.confirms("/auth/creds"), waiting);
    place.goes_to("us.api.example");
    assert_eq!(admin.done("GET /admin/credentials/unconfirmed", &Value::Null), json!({}));
    // All fields in one call: the key is bound to the new host.
    own.done("PUT /auth/creds", &json!({ "regional": { "apiKey": KEY, "region": "de" } }));
    place.goes_to("de.api.example");
}

#[test]
fn the_first_value_completes_the_host_of_a_key_that_was_stored_before() {
    let mut place = Place::new();
    let own = place.own();
    own.done("PUT /auth/creds", &json!({ "regional": { "apiKey": KEY } }));
    let (code, message) = place.get("regional", ["host", "x-key"]);
    assert_eq!(code, "credential_missing");
    assert!(message.contains("`region` of the section `regional` is missing"), "{message}");
    own.done("PUT /auth/creds", &json!({ "regional": { "region": "eu" } }));
    place.goes_to("eu.api.example");
    let audit = place.admin().done("GET /admin/audit", &Value::Null).to_string();
    assert!(audit.contains(r#""bind":"regional.apiKey""#), "{audit}");
    assert!(!audit.contains(KEY), "{audit}");
}

#[test]
fn the_command_sets_fields_of_a_section_and_lists_them() {
    let mut place = Place::new();
    let fields = json!({ "region": "eu", "apiKey": KEY }).to_string();
    let done = |args: &[&str], stdin: &str| {
        let ran = place.home.run(args, stdin);
        (ran.out.clone() + &ran.err, ran)
    };
    let (said, _) = done(&["credential", "set", "ada", "regional"], &fields);
    assert!(said.starts_with("stored `regional.region`, `regional.apiKey` for `ada`"), "{said}");
    let (said, _) = done(&["credential", "set", "ada", "regional"], r#"{"region":"zz","apiKey":" "}"#);
    assert!(said.contains("/apiKey: the secret has a forbidden character"), "{said}");
    let (said, _) = done(&["credential", "set", "ada", "regional"], "eu");
    assert!(said.contains("give a JSON object of its fields, as in"), "{said}");
    let (listed, _) = done(&["credential", "list", "ada"], "");
    assert!(listed.contains("regional.region  own    eu\n"), "{listed}");
    let (said, _) = done(&["credential", "set", "ada", "regional.regoin"], "eu");
    assert!(said.contains("did you mean `regional.region`?"), "{said}");
    assert!(said.contains("regional.apiKey  secret  required"), "{said}");
    assert!(said.contains("regional.region  text    required  matches `[a-z]{2}`  eu"), "{said}");
    let (listed, _) = done(&["credential", "fields", "ada"], "");
    assert!(listed.contains("account.file     json"), "{listed}");
    let (listed, _) = done(&["credential", "fields", "--json"], "");
    assert!(listed.contains(r#""section": "regional""#) && !listed.contains("canary"), "{listed}");

    // A value that moves a key is reported, and explained.
    let (said, _) = done(&["credential", "set", "ada", "regional.region"], "us\n");
    assert!(said.contains("`regional.apiKey` was stored for another host"), "{said}");
    let (explained, _) = done(&["explain", "GET", "/regional/get", "--as", "ada"], "");
    assert!(explained.contains("https://us.api.example/get") && !explained.contains("canary"), "{explained}");
    assert!(explained.contains("credential_moved"), "{explained}");
    let confirm = ["credential", "confirm", "ada", "--to", "https://us.api.example"];
    let (said, _) = done(&confirm, "");
    assert!(said.contains("confirmed `regional.apiKey`"), "{said}");
    place.goes_to("us.api.example");
}

#[test]
fn a_document_is_stored_whole_and_its_parts_are_sent() {
    let mut place = Place::new();
    let own = place.own();
    let lacks = json!({ "account": { "file": { "key": "canary" } } });
    let message = "/account/file: a JSON document is expected: it has no string or number at `/client/email`, which is its part `email`: is this the right file, and complete?";
    own.fails("PUT /auth/creds", &lacks, (400, "invalid_request", message));
    let file = json!({ "client": { "email": "a@account.example" }, "key": 7, "more": [true, null] });
    own.done("PUT /auth/creds", &json!({ "account": { "file": file } }));
    let stored = own.done("GET /auth/creds", &Value::Null);
    assert_eq!(stored, json!({ "account": { "file": { "status": "configured" } } }));
    let got = place.get("account", ["x-email", "x-key"]);
    assert_eq!(got, ("a@account.example".to_owned(), "7".to_owned()));
    let explained = place.home.done(&["explain", "GET", "/account/get", "--as", "ada"], "");
    assert!(explained.contains("x-email") && !explained.contains("a@account.example"), "{explained}");
    // A change of the master key keeps all of it.
    place.home.done(&["rekey"], "");
    let got = place.get("account", ["x-email", "x-key"]);
    assert_eq!(got, ("a@account.example".to_owned(), "7".to_owned()));
}

#[test]
fn an_origin_is_refused_unless_the_operator_allows_it() {
    let place = Place::new();
    let lan = json!({ "lan": { "server": "http://127.0.0.1:9", "apiKey": KEY } });
    let message = "/lan/server: the value is an origin that the operator does not allow: the setting `user_origins` has to name it";
    place.own().fails("PUT /auth/creds", &lan, (400, "invalid_request", message));
    let path = json!({ "lan": { "server": "http://gpu.lan:8000/v1" } });
    let message = "/lan/server: the value has more than scheme, host and port: leave the rest out";
    place.own().fails("PUT /auth/creds", &path, (400, "invalid_request", message));
    let mut place = place;
    let good = json!({ "lan": { "server": "https://gpu.lan.example:8443", "apiKey": KEY } });
    assert_eq!(place.own().call("PUT /auth/creds", &good).status, 200);
    let got = place.get("lan", ["host", "x-key"]);
    assert_eq!(got, ("gpu.lan.example:8443".to_owned(), KEY.to_owned()));
}

/// A file that declares another kind for a field leads no stored credential anywhere, and shows none.
#[test]
fn what_was_stored_as_another_kind_is_refused_and_not_shown() {
    let mut place = Place::new();
    let (own, admin) = (place.own(), place.admin());
    let file = |host: &str, kind: &str, value: &str| {
        ACCOUNT
            .replace("https://account.example", host)
            .replace("kind = \"json\"\nparts = { email = \"/client/email\", key = \"/key\" }", kind)
            .replace("{ x-key = \"{file.key}\", x-email = \"{file.email}\" }", value)
    };
    let (text, named) = ("kind = \"text\"", "{ x-key = \"{file}\" }");
    let (document, part) = ("kind = \"json\"\nparts = { key = \"/key\" }", "{ x-key = \"{file.key}\" }");
    let (here, moved, made) =
        ("https://account.example", "https://other.example", "https://{file}.other.example");
    let label = "kind = \"text\"\npattern = \"[a-z0-9-]+\"";
    let entry = |host: &str| {
        file(host, "", "{ x-key = \"{secret}\" }").replace("[[auth]]", "[[auth]]\nfield = \"file\"")
    };
    let mut check = |was: &str, value: Value, becomes: &str, stored_as: &str, declared: &str| {
        place.account(was);
        own.done("PUT /auth/creds", &json!({ "account": { "file": value } }));
        place.account(becomes);
        let (code, message) = place.get("account", ["host", "x-key"]);
        assert_eq!(code, "credential_missing", "{message}");
        let expected = format!(
            "The value stored as `file` for account was stored as {stored_as}, and the file declares {declared}: store it again"
        );
        assert_eq!(message, expected);
        place.upstream.saw_nothing();
        let asked = json!({ "method": "GET", "path": "/account/get", "user": "ada" });
        let explained = admin.done("POST /admin/explain", &asked).to_string();
        assert!(explained.contains(stored_as), "{explained}");
        let command = place.home.done(&["explain", "GET", "/account/get", "--as", "ada"], "");
        assert!(command.contains(stored_as), "{command}");
        let creds = own.done("GET /auth/creds", &Value::Null).to_string();
        let fields = own.done("GET /auth/fields", &Value::Null).to_string();
        let listed = place.home.done(&["credential", "fields", "ada"], "");
        for shown in [explained, command, creds, fields, listed] {
            assert!(!shown.contains(KEY), "{shown}");
        }
    };
    let (secret, value, json) = ("a secret", "a value that is shown", "a JSON document");
    let whole = json!({ "key": KEY });
    check(&file(here, text, named), KEY.into(), &file(moved, "", named), value, secret);
    check(&file(here, text, named), KEY.into(), &entry(moved), value, secret);
    check(&file(here, text, named), KEY.into(), &file(moved, document, part), value, json);
    check(&entry(here), KEY.into(), &file(here, text, named), secret, value);
    check(&entry(here), KEY.into(), &file(made, label, named), secret, value);
    check(&entry(here), KEY.into(), &file(moved, document, part), secret, json);
    check(&file(here, document, part), whole.clone(), &entry(here), json, secret);
    check(&file(here, document, part), whole, &file(here, text, named), json, value);
    // Stored again, it is sent.
    place.account(&entry(here));
    place.own().done("PUT /auth/creds", &json!({ "account": { "file": KEY } }));
    assert_eq!(place.get("account", ["x-key", "host"]), (KEY.to_owned(), "account.example".to_owned()));
}

/// What no header can have is refused at saving. Files that name another part of a stored document later find it at its use.
#[test]
fn a_part_that_no_request_can_have_is_the_owners_to_mend() {
    let mut place = Place::new();
    let own = place.own();
    let lines = json!({ "account": { "file": { "client": { "email": "a" }, "key": "a\r\nx-evil: 1" } } });
    let message = "/account/file: a JSON document is expected: it has a string with control characters at `/key`, which is its part `key`: no line breaks and no tabs";
    own.fails("PUT /auth/creds", &lines, (400, "invalid_request", message));
    let file = json!({ "client": { "email": "a" }, "key": "k", "other": "a\r\nx-evil: 1", "none": "" });
    own.done("PUT /auth/creds", &json!({ "account": { "file": file } }));
    let incomplete =
        "The credential stored for account is incomplete: `file.key` of the section `account` is missing";
    let malformed = "The credential stored for account makes no valid header: store it again";
    for (pointer, expected) in [("/other", malformed), ("/none", incomplete), ("/nowhere", incomplete)] {
        place.account(&ACCOUNT.replace("key = \"/key\"", &format!("key = \"{pointer}\"")));
        let (code, message) = place.get("account", ["host", "x-key"]);
        assert_eq!((code.as_str(), message.as_str()), ("credential_missing", expected), "{pointer}");
    }
    place.account(
        &ACCOUNT
            .replace("https://account.example", "https://account.example/{file.key}")
            .replace("key = \"/key\"", "key = \"/other\""),
    );
    let (code, message) = place.get("account", ["host", "x-key"]);
    assert_eq!(code, "credential_missing", "{message}");
}
