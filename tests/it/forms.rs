//! What an owner saw decides what is saved: a form of a page that is older than the store or the files, an incomplete host,
//! shared credentials, large documents. The commands and the API refuse what would be stored by mistake.

use serde_json::{Value, json};

use crate::{
    harness::{Api, Gateway, Home, Message, over_socket},
    pages::{ask, post, sign_in, text, user_of},
};

/// A provider whose host and fields are these.
fn file(name: &str, base: &str, fields: &str) -> String {
    format!(
        r#"title = "{name}"
base_url = "{base}"
path_prefix = "/{name}"
credentials = {{ section = "{name}", field = [{fields}] }}
auth = [{{ field = "apiKey", set = {{ x-key = "{{secret}}" }} }}]
endpoint.get = {{ method = "GET", path = "/get" }}
"#
    )
}

const KEY: &str = "canary-0123456789abcdef";
const HOST: &str = "https://{region}.api.example";
const REGIONAL: &str = r#"{ name = "region", kind = "text", pattern = "[a-z]{2}" }, { name = "apiKey" }"#;
const LAN: &str = r#"{ name = "server", kind = "origin" }, { name = "apiKey" }"#;
const NOTED: &str = r#"{ name = "note", kind = "text", optional = true }, { name = "zone", kind = "text", optional = true }, { name = "apiKey" }"#;
const PAPERS: &str = r#"{ name = "one", kind = "json", parts = { key = "/key" }, optional = true }, { name = "two", kind = "json", parts = { key = "/key" }, optional = true }, { name = "apiKey" }"#;

struct Place {
    home: Home,
    gateway: Gateway,
    ada: String,
}

impl Place {
    fn new() -> Self {
        let files = [
            ("regional", file("regional", HOST, REGIONAL)),
            ("lan", file("lan", "{server}", LAN)),
            ("noted", file("noted", "https://noted.example", NOTED)),
            ("papers", file("papers", "https://papers.example", PAPERS)),
        ];
        let home = Home::new(&files.each_ref().map(|(name, text)| (*name, text.as_str())));
        let ada = home.user("ada");
        let gateway = home.serve(&["--user-origins", "https://*.lan.example"]);
        Self { home, gateway, ada }
    }

    fn admin(&self) -> Api {
        let token = std::fs::read_to_string(self.home.data().join("admin-token")).unwrap();
        Api::new(self.gateway.address, token.trim_end())
    }

    fn own(&self) -> Api {
        self.admin().with(&self.ada)
    }

    fn put(&self, creds: &Value) {
        self.own().done("PUT /auth/creds", creds);
    }

    fn creds(&self) -> Value {
        self.own().done("GET /auth/creds", &Value::Null)
    }

    /// A field as the API shows it.
    fn field(&self, section: &str, field: &str) -> Value {
        let all = self.own().done("GET /auth/fields", &Value::Null);
        let named = |all: &Value, key: &str, name: &str| {
            all.as_array().unwrap().iter().find(|one| one[key] == name).unwrap().clone()
        };
        named(&named(&all["sections"], "section", section)["fields"], "field", field)
    }

    fn write(&self, name: &str, text: &str) {
        self.home.write(name, text);
        let (code, status) = over_socket(&self.home.data(), "POST /admin/reload");
        assert_eq!(code, 200, "{status}");
    }

    /// The page of keys in a browser without scripts.
    fn page(&self) -> Page {
        let address = self.gateway.address;
        let cookie = sign_in(address, "/config", &self.ada);
        let shown = ask(address, "GET /config", &cookie, "");
        let user = user_of(text(&shown)).to_owned();
        Page { entries: entries(text(&shown)), text: text(&shown).to_owned(), address, cookie, user }
    }
}

/// A page that was loaded, with what its form would send.
struct Page {
    entries: Vec<(String, String)>,
    text: String,
    address: std::net::SocketAddr,
    cookie: String,
    user: String,
}

impl Page {
    fn typed(&mut self, place: &str, value: &str) {
        let name = format!("set.{place}");
        let entry = self.entries.iter_mut().find(|(one, _)| *one == name).unwrap();
        value.clone_into(&mut entry.1);
    }

    fn value(&self, place: &str) -> &str {
        let name = format!("set.{place}");
        &self.entries.iter().find(|(one, _)| *one == name).unwrap().1
    }

    fn send(&self) -> Message {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&self.entries);
        post(self.address, &format!("/config/keys?as={}", self.user), &self.cookie, &form.finish())
    }

    fn saves(&self) {
        let answer = self.send();
        assert_eq!(answer.head.status(), 303, "{}", text(&answer));
    }

    /// Nothing is saved. Returns the page with the form.
    fn is_refused(&self, reasons: &[&str]) -> Self {
        let answer = self.send();
        let shown = text(&answer);
        assert_eq!(answer.head.status(), 422, "{shown}");
        for reason in reasons {
            assert!(shown.contains(reason), "{reason}: {shown}");
        }
        Self {
            entries: entries(shown),
            text: shown.to_owned(),
            cookie: self.cookie.clone(),
            user: self.user.clone(),
            ..*self
        }
    }
}

/// The entries that a browser sends for the form of keys.
fn entries(page: &str) -> Vec<(String, String)> {
    let form = page.split("id=\"keys\"").nth(1).unwrap().split("</form>").next().unwrap();
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        Some(rest.split('"').next()?.replace("&#34;", "\"").replace("&#38;", "&").replace("&amp;", "&"))
    };
    let controls = form.split('<').filter_map(|tag| {
        let (tag, inner) = tag.split_once('>')?;
        let name = attribute(tag, "name")?;
        if tag.starts_with("textarea") {
            return Some((name, inner.replace("&#34;", "\"")));
        }
        let is_sent = tag.starts_with("input") && !tag.contains("type=\"checkbox\"");
        is_sent.then(|| (name, attribute(tag, "value").unwrap_or_default()))
    });
    controls.collect()
}

#[test]
fn a_form_of_an_older_page_leaves_what_it_does_not_change() {
    let place = Place::new();
    place.put(&json!({ "noted": { "note": "a", "zone": "1", "apiKey": KEY } }));
    let mut page = place.page();
    // Another tab changes one value, removes another, and sets one that this page showed as absent.
    place.put(&json!({ "noted": { "note": "b", "zone": null }, "regional": { "region": "eu" } }));
    page.typed("papers.apiKey", KEY);
    page.saves();
    let expected = json!({ "noted": { "note": "b", "apiKey": "canary-0...cdef" }, "regional": { "region": "eu" }, "papers": { "apiKey": "canary-0...cdef" } });
    assert_eq!(place.creds(), expected);
}

#[test]
fn a_value_that_changed_since_the_page_was_loaded_is_not_replaced_unseen() {
    let place = Place::new();
    for (typed, now) in [("c", Some("b")), ("", Some("b")), ("c", None)] {
        place.put(&json!({ "noted": { "note": "a", "zone": "1" } }));
        let mut page = place.page();
        place.put(&json!({ "noted": { "note": now, "zone": "2" } }));
        page.typed("noted.note", typed);
        page.typed("noted.apiKey", KEY);
        let reason = now.map_or("nothing is stored now".to_owned(), |now| format!("`{now}` is stored now"));
        let again = page.is_refused(&[&reason, "since this page was loaded"]);
        let stored = json!(now);
        assert_eq!(place.creds()["noted"].get("note").unwrap_or(&Value::Null), &stored, "{typed} {now:?}");
        assert_eq!(place.creds()["noted"].get("apiKey"), None);
        // What was typed is there. What was not typed is as it is stored now.
        let values = ["noted.note", "noted.apiKey", "noted.zone"].map(|place| again.value(place));
        assert_eq!(values, [typed, KEY, "2"]);
        again.saves();
        let typed = if typed.is_empty() { Value::Null } else { json!(typed) };
        assert_eq!(place.creds()["noted"].get("note").unwrap_or(&Value::Null), &typed);
        assert_eq!(place.creds()["noted"]["zone"], "2");
        place.put(&json!({ "noted": null }));
    }
    // The same change in both tabs is none.
    let mut page = place.page();
    place.put(&json!({ "noted": { "note": "x" } }));
    page.typed("noted.note", "x");
    page.saves();
}

#[test]
fn a_key_goes_to_the_host_that_the_page_showed_or_nowhere() {
    let place = Place::new();
    let lan = |host: &str| json!({ "lan": { "server": format!("https://{host}.lan.example") } });
    let check = |place: &Place, typed: &[(&str, &str)], change: &dyn Fn(&Place), reasons: &[&str]| {
        let mut page = place.page();
        change(place);
        for (at, value) in typed {
            page.typed(at, value);
        }
        let before = place.creds();
        let again = page.is_refused(reasons);
        assert_eq!(place.creds(), before);
        for (at, value) in typed {
            assert_eq!(again.value(at), *value);
        }
        again.saves();
        assert_eq!(place.field("regional", "apiKey").get("unconfirmed"), None);
        place.put(&json!({ "regional": null, "lan": null }));
    };
    let key = [("regional.apiKey", KEY)];
    let region = |region: &str| json!({ "regional": { "region": region } });
    // A value, set and changed in another tab.
    place.put(&region("eu"));
    let changed = |place: &Place| place.put(&region("us"));
    check(&place, &key, &changed, &["https://us.api.example", "https://eu.api.example"]);
    check(&place, &key, &changed, &["https://us.api.example", HOST]);
    // The user's own server.
    place.put(&lan("a"));
    let moved = |place: &Place| place.put(&lan("b"));
    check(&place, &[("lan.apiKey", KEY)], &moved, &["https://a.lan.example", "https://b.lan.example"]);
    // Other files: a new host, and a new default.
    place.put(&region("eu"));
    let other =
        |place: &Place| place.write("regional", &file("regional", "https://{region}.evil.example", REGIONAL));
    check(&place, &key, &other, &["https://eu.api.example", "https://eu.evil.example"]);
    let zoned = |zone: &str| {
        let field =
            format!(r#", {{ name = "zone", kind = "text", pattern = "[a-z]+", default = "{zone}" }}"#);
        file("regional", "https://{region}-{zone}.api.example", &format!("{REGIONAL}{field}"))
    };
    place.write("regional", &zoned("one"));
    let other = |place: &Place| place.write("regional", &zoned("two"));
    let both = [("regional.apiKey", KEY), ("regional.region", "eu")];
    check(&place, &both, &other, &["https://eu-one.api.example", "https://eu-two.api.example"]);
    // Nothing changed in between: also where values and hosts are written in other letters.
    place.write(
        "regional",
        &file(
            "regional",
            "https://{region}.API.example:443",
            r#"{ name = "region", kind = "text", pattern = "[A-Z]{2}" }, { name = "apiKey" }"#,
        ),
    );
    let mut page = place.page();
    page.typed("regional.region", "EU");
    page.typed("regional.apiKey", KEY);
    page.typed("lan.server", "https://Gpu.lan.example:443");
    page.typed("lan.apiKey", KEY);
    page.saves();
}

#[test]
fn a_change_names_the_origins_that_it_expects() {
    let place = Place::new();
    let (own, admin) = (place.own(), place.admin());
    let id = own.done("GET /auth/me", &Value::Null)["id"].as_str().unwrap().to_owned();
    let change = |region: &str, expected: &Value| {
        let origins = json!({ "regional.apiKey": expected, "regional.region": expected });
        json!({ "regional": { "region": region, "apiKey": KEY }, "$origins": origins })
    };
    let calls = [
        (&own, "PUT /auth/creds".to_owned(), "GET /auth/creds".to_owned()),
        (&admin, format!("PATCH /admin/users/{id}/creds"), format!("GET /admin/users/{id}/creds")),
        (&admin, format!("PUT /admin/users/{id}/creds"), format!("GET /admin/users/{id}/creds")),
        (
            &admin,
            "PATCH /admin/credentials/everybody".to_owned(),
            "GET /admin/credentials/everybody".to_owned(),
        ),
        (&admin, "PUT /admin/credentials/groups/g".to_owned(), "GET /admin/credentials/groups/g".to_owned()),
    ];
    for (api, line, read) in &calls {
        let message = "`regional.apiKey` would go to https://us.api.example, and not to https://eu.api.example; `regional.region` would lead to https://us.api.example, and not to https://eu.api.example: look at it again, then repeat the call with what you see";
        api.fails(line, &change("us", &json!(["https://eu.api.example"])), (409, "origins_changed", message));
        assert_eq!(api.done(read, &Value::Null), json!({}), "{line}");
        api.done(line, &change("us", &json!(["https://US.api.example:443"])));
        api.done(line, &json!({ "regional": { "region": null, "apiKey": null }, "$origins": {} }));
    }
    // A value that another call left there counts.
    place.put(&json!({ "regional": { "region": "de" } }));
    let key = json!({ "regional": { "apiKey": KEY }, "$origins": { "regional.apiKey": [HOST] } });
    assert_eq!(own.call("PUT /auth/creds", &key).status, 409);
    let message =
        "/$origins/regional.apikey: the section `regional` has no field `apikey` (known: `apiKey`, `region`)";
    let unknown = json!({ "$origins": { "regional.apikey": [] } });
    let reply = own.call("PUT /auth/creds", &unknown);
    assert_eq!(
        (reply.status, reply.body["error"]["cause"].as_str()),
        (400, Some("unknown_credential")),
        "{message}"
    );
    for bad in [json!([]), json!({ "regional.apiKey": "x" }), json!({ "regional.apiKey": [1] })] {
        let reply = own.call("PUT /auth/creds", &json!({ "$origins": bad }));
        assert_eq!((reply.status, reply.body["error"]["cause"].as_str()), (400, Some("wrong_type")), "{bad}");
    }
}

#[test]
fn an_incomplete_host_is_not_confirmed() {
    let place = Place::new();
    let own = place.own();
    place.put(&json!({ "regional": { "region": "eu", "apiKey": KEY } }));
    place.put(&json!({ "regional": { "region": null } }));
    let none = json!({ "unconfirmed": {} });
    assert_eq!(own.done("GET /auth/creds/confirm", &Value::Null), none);
    assert_eq!(place.admin().done("GET /admin/credentials/unconfirmed", &Value::Null), json!({}));
    let braces = json!({ "origins": { "regional.apiKey": [HOST] } });
    assert_eq!(own.call("POST /auth/creds/confirm", &braces).status, 409);
    let key = place.field("regional", "apiKey");
    assert_eq!((key.get("unconfirmed"), &key["missing"]), (None, &json!(["region"])));
    let page = place.page();
    assert!(!page.text.contains("Send it there"), "{}", page.text);
    assert!(page.text.contains("<code>region</code> is missing"), "{}", page.text);
    let said = place.home.run(&["credential", "confirm", "ada"], "").err;
    assert!(said.contains("`regional.apiKey` has no complete host: `regional.region` is missing"), "{said}");
    // Another value takes the key nowhere.
    place.put(&json!({ "regional": { "region": "zz" } }));
    let new = json!({ "from": ["https://eu.api.example"], "to": ["https://zz.api.example"] });
    assert_eq!(place.field("regional", "apiKey")["unconfirmed"], new);
    assert_eq!(place.field("regional", "apiKey").get("missing"), None);
}

#[test]
fn the_origins_of_a_shared_key_are_those_of_its_holder() {
    let place = Place::new();
    let server = |host: &str| format!("https://{host}.lan.example");
    place.put(&json!({ "lan": { "server": server("mine") } }));
    let shared = json!({ "lan": { "server": server("gpu"), "apiKey": KEY } });
    place.admin().done("PATCH /admin/credentials/everybody", &shared);
    let shown = place.field("lan", "apiKey");
    assert_eq!((&shown["used"], &shown["origins"]), (&json!("everybody"), &json!([server("gpu")])));
    let page = place.page();
    let key = page.text.split("data-place=\"lan.apiKey\"").nth(1).unwrap();
    let key = key.split("class=\"state\"").next().unwrap();
    assert!(key.contains("gpu.lan.example"), "{key}");
    // A key of one's own goes to one's own server.
    let mut page = page;
    page.typed("lan.apiKey", KEY);
    page.saves();
    let shown = place.field("lan", "apiKey");
    assert_eq!((&shown["used"], &shown["origins"]), (&json!("own"), &json!([server("mine")])));
}

#[test]
fn the_command_takes_a_section_as_the_api_does() {
    let place = Place::new();
    let check = |stdin: &str, code: i32, expected: &str| {
        let ran = place.home.run(&["credential", "set", "ada", "regional"], stdin);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(ran.code == code && said.contains(expected), "{stdin}: {:?} {said}", ran.code);
        assert!(!said.contains(KEY), "{said}");
    };
    let key = |rest: &str| format!(r#"{{"apiKey":"{KEY}"{rest}}}"#);
    check(r#"{"region":"us","region":"zz"}"#, 1, "/region: the key is there twice");
    check(&key(r#","apiKey":"x""#), 1, "/apiKey: the key is there twice");
    assert_eq!(place.creds(), json!({}));
    check(&key(r#","region":"eu""#), 0, "stored `regional.apiKey`, `regional.region` for `ada`");
    check(r#"{"apiKey":null}"#, 0, "removed `regional.apiKey` of `ada`");
    assert_eq!(place.creds(), json!({ "regional": { "region": "eu" } }));
    check(&key(r#","region":null"#), 0, "stored `regional.apiKey`, and removed `regional.region`, for `ada`");
    check(
        "{}",
        1,
        "the object is empty: give a JSON object of its fields, as in {\"region\": …, \"apiKey\": …}",
    );
    let ran = place.home.run(&["credential", "set", "ada", "papers.one"], r#"{"key":"a","key":"b"}"#);
    assert!(ran.code == 1 && ran.err.contains("/key: the key is there twice"), "{}", ran.err);
}

#[test]
fn a_mask_is_no_value() {
    let place = Place::new();
    for mask in ["***", "12345678...abcd"] {
        let message = "/noted/note: this is a mask, not a value: leave the field out to keep what is stored";
        let note = json!({ "noted": { "note": mask } });
        place.own().fails("PUT /auth/creds", &note, (400, "invalid_request", message));
    }
    // The file may allow just that.
    let fields = r#"{ name = "note", kind = "text", one_of = ["***", "x"] }, { name = "zone", kind = "text", pattern = "[0-9a-d.]+" }, { name = "apiKey" }"#;
    place.write("noted", &file("noted", "https://noted.example", fields));
    place.put(&json!({ "noted": { "note": "***", "zone": "12345678...abcd" } }));
}

#[test]
fn a_form_takes_a_document_in_each_field_of_a_section() {
    let place = Place::new();
    // Of 64 KiB without white space, and all of it encoded.
    let document = format!("{{\"key\":\"k\",\"more\":[{}\"\"]}}", "\"\",".repeat((64 << 10) / 3 - 20));
    assert!(document.len() > 65_000 && document.len() <= 64 << 10);
    let mut page = place.page();
    let pretty = document.replace(',', ",\n  ");
    page.typed("papers.one", &pretty);
    page.typed("papers.two", &pretty);
    page.saves();
    let configured = json!({ "status": "configured" });
    assert_eq!(place.creds(), json!({ "papers": { "one": configured, "two": configured } }));
    let mut page = place.page();
    page.typed("papers.one", &"\"".repeat(4 << 20));
    let answer = page.send();
    let shown = text(&answer);
    assert_eq!(answer.head.status(), 413);
    for part in ["Nothing was changed", "save fewer documents at a time", "Go back to the page"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
