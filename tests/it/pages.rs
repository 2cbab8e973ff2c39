//! Pages: sign-in, forms, assets, and texts that come from elsewhere. A browser tests what scripts do: `tests/pages.sh`.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::{Api, Message, Wire, World};

/// The lines of a form that a page of this tollgate posts.
const OWN: &str = "Origin: http://gateway.test\r\nContent-Type: application/x-www-form-urlencoded\r\n";

/// Sends a request for a page.
pub fn ask(address: SocketAddr, line: &str, lines: &str, body: &str) -> Message {
    let mut client = Wire::connect(address);
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    client.send(format!("{line} HTTP/1.1\r\nHost: gateway.test\r\n{lines}{length}\r\n{body}"));
    client.answer().unwrap()
}

/// The text of a page.
pub fn text(answer: &Message) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

/// Posts a form of the area.
pub fn post(address: SocketAddr, path: &str, cookie: &str, form: &str) -> Message {
    ask(address, &format!("POST {path}"), &format!("{OWN}{cookie}"), form)
}

/// The id of the user that a page of `/config` was made for.
pub fn user_of(page: &str) -> &str {
    let from = page.find("data-user=\"").unwrap_or_else(|| panic!("{page}")) + 11;
    page[from..].split('"').next().unwrap()
}

/// Posts a form of `/config`, as a page that was made for the user of the session.
pub fn post_own(address: SocketAddr, path: &str, cookie: &str, form: &str) -> Message {
    let page = ask(address, "GET /config", cookie, "");
    post(address, &format!("{path}?as={}", user_of(text(&page))), cookie, form)
}

/// Signs in. Returns the line of the cookie.
pub fn sign_in(address: SocketAddr, area: &str, token: &str) -> String {
    let answer = post(address, &format!("{area}/sign-in"), "", &format!("token={token}"));
    assert_eq!((answer.head.status(), answer.head.get("location")), (303, Some(area)), "{}", text(&answer));
    let (cookie, _) = answer.head.get("set-cookie").unwrap().split_once(';').unwrap();
    format!("Cookie: {cookie}\r\n")
}

#[test]
fn a_form_signs_in_and_a_wrong_token_does_not() {
    let world = World::new();
    let address = world.gateway.address;
    let form = ask(address, "GET /config", "", "");
    assert!(form.head.status() == 200 && text(&form).contains("name=\"token\""));
    let wrong = post(address, "/config/sign-in", "", "token=tg_0");
    assert_eq!(wrong.head.status(), 401);
    assert!(text(&wrong).contains("This token is not valid here") && !text(&wrong).contains("tg_0"));
    assert_eq!(wrong.head.get("set-cookie"), None);
    let cookie = sign_in(address, "/config", &world.token);
    let keys = ask(address, "GET /config", &cookie, "");
    assert!(keys.head.status() == 200 && text(&keys).contains("<h1>Keys</h1>"), "{}", text(&keys));
    assert!(!text(&keys).contains(&world.token));
    let slash = ask(address, "GET /config/", &cookie, "");
    assert!(text(&slash).contains("<h1>Keys</h1>"), "{}", text(&slash));
    let large = format!("token={}", "x".repeat(5000));
    assert_eq!(
        post(address, "/config/sign-in", "", &large).head.status(),
        413,
        "read before anybody is known"
    );
    let left = post(address, "/config/sign-out", &cookie, "x=");
    assert_eq!((left.head.status(), left.head.get("location")), (303, Some("/config")));
    assert!(
        text(&ask(address, "GET /config", &cookie, "")).contains("name=\"token\""),
        "the session has ended"
    );
}

/// The lines of requests that no page of this tollgate sends.
const CROSS_SITE: [&str; 4] = [
    "",
    "Origin: http://evil.test\r\n",
    "Origin: null\r\n",
    "Origin: http://gateway.test\r\nSec-Fetch-Site: cross-site\r\n",
];

/// The address of every form in an area: the rows of the table of pages, and sign-out.
fn forms(area: &str) -> Vec<String> {
    let row = format!("(Area::{area}, \"POST\", \"");
    let rows = include_str!("../../src/pages/route.rs").split(&row).skip(1);
    let paths = rows.map(|rest| rest.split('"').next().unwrap().replace('*', "x"));
    let paths: Vec<String> = paths.chain(["/sign-out".to_owned()]).collect();
    assert!(paths.len() > 4, "{paths:?}");
    paths.into_iter().map(|path| format!("/{}{path}", area.to_lowercase())).collect()
}

#[test]
fn a_form_without_a_session_or_from_another_site_changes_nothing() {
    let world = World::new();
    let address = world.gateway.address;
    let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    for (area, token) in [("Config", world.token.as_str()), ("Console", admin.trim())] {
        let start = format!("/{}", area.to_lowercase());
        let cookie = sign_in(address, &start, token);
        for path in forms(area) {
            if !path.ends_with("/sign-out") {
                let nobody = post(address, &path, "", "x=");
                assert_eq!(nobody.head.status(), 401, "{path} without a session");
                assert!(text(&nobody).contains("Your sign-in has ended"), "{path}");
            }
            for lines in CROSS_SITE {
                let body = "set.providers.t.apiKey=stolen&clear=providers.t.apiKey&name=eve&kind=both";
                let answer = ask(address, &format!("POST {path}"), &format!("{lines}{cookie}"), body);
                assert_eq!(answer.head.status(), 403, "{path} {lines}");
                assert!(
                    answer.head.get("content-type").unwrap().starts_with("text/html"),
                    "a refusal is a page"
                );
            }
        }
        for lines in CROSS_SITE {
            let answer = ask(address, &format!("POST {start}/sign-in"), lines, &format!("token={token}"));
            assert_eq!((answer.head.status(), answer.head.get("set-cookie")), (403, None), "{lines}");
        }
        let page = ask(address, &format!("GET {start}"), &cookie, "");
        assert!(!text(&page).contains("name=\"token\""), "the session goes on: {start}");
    }
    let keys = ask(address, "GET /config", &sign_in(address, "/config", &world.token), "");
    // The key of the world's user.
    assert!(text(&keys).contains("sk-upstr...6789"), "{}", text(&keys));
}

#[test]
fn a_browser_at_the_root_is_led_to_the_pages() {
    let world = World::with("", &["--admin-listen", "127.0.0.1:0"]);
    let (public, admin) = (world.gateway.address, world.gateway.admin_address);
    for (address, location) in [(public, "/config"), (admin, "/console")] {
        let led = ask(address, "GET /", "Accept: text/html, */*;q=0.8\r\n", "");
        assert_eq!((led.head.status(), led.head.get("location")), (303, Some(location)));
        assert_eq!(led.head.get("vary"), Some("accept"));
        assert!(text(&ask(address, &format!("GET {location}"), "", "")).contains("name=\"token\""));
        let client = ask(address, "GET /", "Accept: application/json\r\n", "");
        assert_eq!(client.head.status(), if address == public { 401 } else { 404 });
    }
}

#[test]
fn signing_in_leads_to_the_page_that_was_asked_for() {
    let world = World::new();
    let address = world.gateway.address;
    let asked = ask(address, "GET /config/usage?range=day", "", "");
    assert!(text(&asked).contains("name=\"then\" value=\"/config/usage?range=day\""), "{}", text(&asked));
    for (then, expected) in [
        ("/config/usage?range=day", "/config/usage?range=day"),
        ("https://evil.example/config", "/config"),
        ("/console", "/config"),
    ] {
        let then: String = form_urlencoded::byte_serialize(then.as_bytes()).collect();
        let form = format!("token={}&then={then}", world.token);
        let answer = post(address, "/config/sign-in", "", &form);
        assert_eq!((answer.head.status(), answer.head.get("location")), (303, Some(expected)));
    }
    let refused = post(address, "/config/sign-in", "", "token=x&then=%2Fconfig%2Ftokens");
    assert!(text(&refused).contains("value=\"/config/tokens\""), "{}", text(&refused));
}

#[test]
fn signing_in_once_more_ends_the_session_before() {
    let world = World::new();
    let address = world.gateway.address;
    let first = sign_in(address, "/config", &world.token);
    let again = post(address, "/config/sign-in", &first, &format!("token={}", world.token));
    assert_eq!(again.head.status(), 303);
    let (second, _) = again.head.get("set-cookie").unwrap().split_once(';').unwrap();
    for (cookie, signed_in) in [(first, false), (format!("Cookie: {second}\r\n"), true)] {
        let page = ask(address, "GET /config", &cookie, "");
        assert_eq!(text(&page).contains("<h1>Keys</h1>"), signed_in, "{cookie}");
    }
}

#[test]
fn connect_shows_the_base_urls_of_clients_and_what_has_a_key_first() {
    let chat =
        "[endpoint.chat]\nmethod = \"POST\"\npath = \"/v1/chat/completions\"\napi = \"chat-completions\"\n";
    let world = World::with(chat, &[]);
    let address = world.gateway.address;
    let other = crate::harness::provider("http://127.0.0.1:1", chat);
    world.home.write(
        "a",
        &other.replace("/t\"", "/a\"").replace("providers.t", "providers.a").replace("Test", "A"),
    );
    world.home.done(&["reload"], "");
    let cookie = sign_in(address, "/config", &world.token);
    let list = ask(address, "GET /config/connect", &cookie, "");
    let list = text(&list);
    let base = |name: &str| format!("<code id=\"address-{name}\">http://gateway.test/{name}/v1</code>");
    let at = |part: &str| list.find(part).unwrap_or_else(|| panic!("{part} is missing in\n{list}"));
    let (ready, folded) =
        (at("<h2>Ready</h2>"), at("<details class=\"card\"><summary><h2>Without a key</h2>"));
    assert!(ready < at(&base("t")) && at(&base("t")) < folded && folded < at(&base("a")), "{list}");
    let one = ask(address, "GET /config/connect/t", &cookie, "");
    assert!(text(&one).contains("<code id=\"address\">http://gateway.test/t/v1</code>"), "{}", text(&one));
    post_own(address, "/config/keys", &cookie, "clear=providers.t.apiKey");
    let none = ask(address, "GET /config/connect", &cookie, "");
    let open = "<details class=\"card\" open><summary><h2>Without a key</h2>";
    assert!(text(&none).contains(open) && !text(&none).contains("<h2>Ready</h2>"), "{}", text(&none));
}

#[test]
fn the_hosts_of_gateways_are_explained() {
    let world = World::shipped(&[]);
    let cookie = sign_in(world.gateway.address, "/config", &world.token);
    let keys = ask(world.gateway.address, "GET /config", &cookie, "");
    let note =
        "<code>gateway.ai.cloudflare.com</code>: only if the gateway <code>cloudflare</code> is configured";
    assert!(text(&keys).contains(note), "{note} is missing");
    let fields = world.home.done(&["credential", "fields", "--json"], "");
    let fields: serde_json::Value = serde_json::from_str(&fields).unwrap();
    let mut sections = fields["sections"].as_array().unwrap().iter();
    let mistral = sections.find(|one| one["section"] == "providers.mistral").unwrap();
    let gateways = &mistral["fields"][0]["gateways"];
    assert_eq!(*gateways, json!({ "https://gateway.ai.cloudflare.com": "cloudflare" }));
}

#[test]
fn forms_set_and_clear_keys() {
    let world = World::new();
    let address = world.gateway.address;
    let cookie = sign_in(address, "/config", &world.token);
    let saved = post_own(address, "/config/keys", &cookie, "set.providers.t.apiKey=a-key-of-twenty-bytes");
    assert_eq!((saved.head.status(), saved.head.get("location")), (303, Some("/config?saved=1")));
    let keys = ask(address, "GET /config?saved=1", &cookie, "");
    let keys = text(&keys);
    assert!(keys.contains("Stored") && keys.contains("a-key-of...ytes") && keys.contains("Saved."), "{keys}");
    assert!(!keys.contains("a-key-of-twenty-bytes"));
    let bad =
        post_own(address, "/config/keys", &cookie, "set.providers.t.nothing=x&clear=providers.t.apiKey");
    assert_eq!(bad.head.status(), 422);
    assert!(
        text(&bad).contains("Nothing was saved") && text(&bad).contains("Stored"),
        "all of it, or nothing"
    );
    let cleared = post_own(address, "/config/keys", &cookie, "clear=providers.t.apiKey");
    assert_eq!(cleared.head.status(), 303);
    assert!(text(&ask(address, "GET /config", &cookie, "")).contains("Not set"));
}

/// Somebody else signs in to the same browser: forms of pages that were made before change nothing for that one.
#[test]
fn a_form_of_another_users_page_changes_nothing() {
    let world = World::new();
    let address = world.gateway.address;
    let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    let api = Api::new(address, admin.trim());
    let other = api.done("POST /admin/users", &json!({ "name": "other" }));
    let mine = sign_in(address, "/config", &world.token);
    let theirs = sign_in(address, "/config", other["token"].as_str().unwrap());
    for page in ["/config", "/config/connect", "/config/connect/t", "/config/tokens"] {
        let page = ask(address, &format!("GET {page}"), &mine, "");
        let (page, user) = (text(&page), user_of(text(&page)));
        let actions =
            page.split("method=\"post\" action=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let own = actions.filter(|action| !action.ends_with("/sign-out"));
        for action in own {
            assert!(action.ends_with(&format!("?as={user}")), "{action}");
            let form = "set.providers.t.apiKey=a-key-of-twenty-bytes&kind=both";
            let without = action.split('?').next().unwrap();
            for action in [action, without, &format!("{without}?as=")] {
                let refused = post(address, action, &theirs, form);
                let shown = text(&refused);
                assert_eq!(refused.head.status(), 409, "{action}: {shown}");
                assert!(
                    shown.contains("other_user") && shown.contains("<h1>Nothing was changed</h1>"),
                    "{shown}"
                );
                assert!(
                    shown.contains("Go back to the page") && !shown.contains("a-key-of-twenty-bytes"),
                    "{shown}"
                );
            }
        }
    }
    let tokens = ask(address, "GET /config/tokens", &theirs, "");
    assert_eq!(
        text(&tokens).matches("/revoke?as=").count(),
        2,
        "the first one and the session: {}",
        text(&tokens)
    );
    assert!(text(&ask(address, "GET /config", &theirs, "")).contains("Not set"));
    assert_eq!(
        post_own(address, "/config/keys", &theirs, "set.providers.t.apiKey=a-key-of-twenty-bytes")
            .head
            .status(),
        303
    );
}

#[test]
fn a_token_is_shown_once() {
    let world = World::new();
    let address = world.gateway.address;
    let cookie = sign_in(address, "/config", &world.token);
    let made = post_own(
        address,
        "/config/tokens",
        &cookie,
        "label=%3Cb%3Elaptop&kind=proxy&reach=some&scope=t%2Fget&days=7",
    );
    let shown = text(&made);
    assert!(made.head.status() == 200 && made.head.get("cache-control") == Some("no-store"));
    let at = shown.find("<code id=\"made\">tg_").unwrap_or_else(|| panic!("{shown}"));
    let token = &shown[at + 16..at + 16 + 51];
    let listed = ask(address, "GET /config/tokens", &cookie, "");
    let listed = text(&listed);
    assert!(!listed.contains(token) && listed.contains(&token[..11]), "{listed}");
    assert!(
        listed.contains("&#60;b&#62;laptop") && !listed.contains("<b>laptop") && listed.contains("t/get"),
        "{listed}"
    );
}

#[test]
fn operators_have_pages_of_their_own() {
    let world = World::new();
    let address = world.gateway.address;
    let admin = std::fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    let wrong = post(address, "/console/sign-in", "", &format!("token={}", world.token));
    assert_eq!((wrong.head.status(), wrong.head.get("set-cookie")), (401, None), "a user is no operator");
    let elsewhere = post(address, "/config/sign-in", "", &format!("token={}", admin.trim()));
    assert_eq!((elsewhere.head.status(), elsewhere.head.get("set-cookie")), (401, None));
    for (answer, advice) in [
        (&wrong, "This is a user&#39;s token: sign in with it at /config"),
        (&elsewhere, "This is an admin token: sign in with it at /console"),
    ] {
        assert!(text(answer).contains(advice), "{}", text(answer));
    }
    let unknown = post(address, "/console/sign-in", "", "token=tg_0");
    assert!(text(&unknown).contains("This token is not valid here"), "{}", text(&unknown));
    let cookie = sign_in(address, "/console", admin.trim());
    for (path, expected) in [
        ("/console", "<h1>Overview</h1>"),
        ("/console/providers", "<h1>Providers</h1>"),
        ("/console/users", "<h1>Users</h1>"),
        ("/console/shared", "<h1>Shared keys</h1>"),
        ("/console/shared/everybody", "<h1>Keys of everybody</h1>"),
        ("/console/tokens", "<h1>Admin tokens</h1>"),
        ("/console/usage", "<h1>Usage</h1>"),
    ] {
        let page = ask(address, &format!("GET {path}"), &cookie, "");
        assert!(page.head.status() == 200 && text(&page).contains(expected), "{path}: {}", text(&page));
    }
    let nobody = ask(address, "GET /config", &cookie, "");
    assert!(text(&nobody).contains("name=\"token\""), "an operator's session is no user's");
    let made = post(address, "/console/users", &cookie, "name=%3Ci%3Eeve&group=");
    assert!(made.head.status() == 200 && text(&made).contains("<code id=\"made\">tg_"), "{}", text(&made));
    assert!(text(&made).contains("&#60;i&#62;eve") && !text(&made).contains("<i>eve"));
}

#[test]
fn assets_are_kept_for_good_and_compressed() {
    let world = World::new();
    let address = world.gateway.address;
    let form = ask(address, "GET /config", "", "");
    let form = text(&form);
    let from = form.find("/config/assets/").unwrap();
    let path = &form[from..from + form[from..].find('"').unwrap()];
    let plain = ask(address, &format!("GET {path}"), "", "");
    assert_eq!(plain.head.status(), 200);
    assert_eq!(plain.head.get("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(plain.head.get("content-encoding"), None);
    let gzip = ask(address, &format!("GET {path}"), "Accept-Encoding: gzip\r\n", "");
    assert_eq!((gzip.head.status(), gzip.head.get("content-encoding")), (200, Some("gzip")));
    assert!(gzip.body.len() * 2 < plain.body.len());
    let old = path.replace(&path[15..27], "000000000000");
    assert_eq!(ask(address, &format!("GET {old}"), "", "").head.status(), 404, "{old}");
    let page = ask(address, "GET /config", "Accept-Encoding: br, gzip\r\n", "");
    assert_eq!(page.head.get("content-encoding"), Some("gzip"));
}
