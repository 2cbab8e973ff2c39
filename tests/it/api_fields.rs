//! What pages draw of the provider files: the fields of credentials with what is stored in each, and the providers that a
//! token reaches.

use serde_json::{Value, json};

use crate::harness::{Api, KEY, World, over_socket, provider};

fn own(world: &World) -> Api {
    Api::new(world.gateway.address, &world.token)
}

fn get(api: &Api, path: &str) -> Value {
    api.done(&format!("GET {path}"), &Value::Null)
}

/// The only field of a section, if it is there.
fn field(document: &Value, section: &str) -> Option<Value> {
    let sections = document["sections"].as_array().unwrap();
    let section = sections.iter().find(|one| one["section"] == section)?;
    assert_eq!(section["fields"].as_array().unwrap().len(), 1, "{section}");
    Some(section["fields"][0].clone())
}

fn write(world: &World, name: &str, text: &str) {
    world.home.write(name, text);
    reload(world);
}

fn reload(world: &World) {
    let (code, status) = over_socket(&world.home.data(), "POST /admin/reload");
    assert_eq!(code, 200, "{status}");
}

/// Another provider than `t`.
fn other(title: &str) -> String {
    format!(
        r#"title = "{title}"
base_url = "https://u.example"
path_prefix = "/u"
group = "main"
credentials.field = [{{ name = "key" }}]
auth = [{{ field = "key", set = {{ x-key = "{{secret}}" }} }}]
endpoint.chat = {{ method = "POST", path = "/chat", api = "chat-completions" }}
"#
    )
}

#[test]
fn a_provider_that_is_dropped_in_is_on_the_next_page() {
    let world = World::new();
    let own = own(&world);
    let names = |document: &Value, list: &str, key: &str| -> Vec<String> {
        let list = document[list].as_array().unwrap().iter();
        list.map(|one| one[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&get(&own, "/auth/fields"), "sections", "section"), ["providers.t"]);
    assert_eq!(names(&get(&own, "/auth/providers"), "providers", "name"), ["t"]);
    write(&world, "u", &other("Zulu"));
    let fields = get(&own, "/auth/fields");
    assert_eq!(names(&fields, "sections", "title"), ["Zulu", "Test"]);
    let expected = json!({
        "field": "key", "label": "key", "kind": "secret", "providers": ["u"], "origins": ["https://u.example"],
        "wanted": "required",
    });
    assert_eq!(field(&fields, "providers.u"), Some(expected));
    let providers = get(&own, "/auth/providers");
    assert_eq!(names(&providers, "providers", "name"), ["u", "t"]);
    let chat = json!({
        "name": "chat", "method": "POST", "path": "/chat", "api": "chat-completions", "streaming": true,
    });
    assert_eq!(providers["providers"][0]["endpoints"], json!([chat]));
    // Its title changes, and it goes. Its stored key stays, and is shown.
    own.done("PUT /auth/creds", &json!({ "providers": { "u": { "key": KEY } } }));
    write(&world, "u", &other("Alpha"));
    assert_eq!(names(&get(&own, "/auth/fields"), "sections", "title"), ["Alpha", "Test"]);
    std::fs::remove_file(world.home.providers().join("u.toml")).unwrap();
    reload(&world);
    let fields = get(&own, "/auth/fields");
    assert_eq!(names(&fields, "sections", "section"), ["providers.t"]);
    let mut undeclared = fields["undeclared"].clone();
    let at = undeclared[0].as_object_mut().unwrap().remove("storedAt").unwrap();
    assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
    let stored = json!([{ "section": "providers.u", "field": "key", "stored": "sk-upstr...6789" }]);
    assert_eq!(undeclared, stored);
    own.done("PUT /auth/creds", &json!({ "providers": { "u": { "key": null } } }));
    assert_eq!(get(&own, "/auth/fields").get("undeclared"), None);
}

#[test]
fn a_field_shows_its_holders() {
    let world = World::new();
    let (own, admin) = (own(&world), Api::admin(&world));
    let id = get(&own, "/auth/me")["id"].as_str().unwrap().to_owned();
    let seen = |document: &Value| {
        let field = field(document, "providers.t").unwrap();
        let shared = field["shared"].as_array().into_iter().flatten();
        let shared: Vec<&str> = shared.map(|one| one["by"].as_str().unwrap()).collect();
        (field["stored"].as_str().unwrap_or("-").to_owned(), shared.join("+"), field["used"].clone())
    };
    let check = |stored: &str, shared: &str, used: Value| {
        let expected = (stored.to_owned(), shared.to_owned(), used);
        assert_eq!(seen(&get(&own, "/auth/fields")), expected);
        let document = get(&admin, &format!("/admin/fields?owner={id}"));
        assert_eq!((seen(&document), document["owner"].as_str()), (expected, Some(&*id)));
    };
    let key = json!({ "providers": { "t": { "apiKey": "short" } } });
    check("sk-upstr...6789", "", json!("own"));
    admin.done("PATCH /admin/credentials/everybody", &key);
    admin.done("PATCH /admin/credentials/groups/lab", &key);
    check("sk-upstr...6789", "everybody", json!("own"));
    admin.done(&format!("PATCH /admin/users/{id}"), &json!({ "group": "lab" }));
    check("sk-upstr...6789", "group+everybody", json!("own"));
    own.done("PUT /auth/creds", &json!({ "providers": null }));
    check("-", "group+everybody", json!("group"));
    admin.done("PUT /admin/credentials/groups/lab", &json!({}));
    check("-", "everybody", json!("everybody"));
    // The owners that share one.
    let of = |owner: &str| seen(&get(&admin, &format!("/admin/fields?owner={owner}")));
    assert_eq!(of("everybody"), ("***".into(), String::new(), json!("own")));
    assert_eq!(of("group:lab"), ("-".into(), "everybody".into(), json!("everybody")));
    assert_eq!(seen(&get(&admin, "/admin/fields")), ("-".into(), String::new(), Value::Null));
    let wrong = "?owner=: give the id of a user, `group:NAME` for a group, or `everybody`";
    admin.fails("GET /admin/fields?owner=ada", &Value::Null, (400, "invalid_request", wrong));
    let unknown = "GET /admin/fields?owner=usr_0123456789abcdef";
    admin.fails(unknown, &Value::Null, (404, "not_found", "User not found"));
    let misspelt = "unknown query parameter; did you mean `owner`?";
    admin.fails("GET /admin/fields?owners=everybody", &Value::Null, (400, "invalid_request", misspelt));
}

#[test]
fn a_moved_credential_shows_both_hosts() {
    let world = World::new();
    let (own, admin) = (own(&world), Api::admin(&world));
    admin.done("PATCH /admin/credentials/everybody", &json!({ "providers": { "t": { "apiKey": KEY } } }));
    let seen = || field(&get(&own, "/auth/fields"), "providers.t").unwrap();
    assert_eq!(seen().get("unconfirmed"), None);
    write(&world, "t", &provider("https://moved.example", ""));
    let field = seen();
    let (old, new) = (format!("http://{}", world.host), "https://moved.example");
    assert_eq!(field["unconfirmed"], json!({ "from": [old], "to": [new] }));
    assert_eq!(field["origins"], json!([new]));
    assert_eq!(field["shared"], json!([{ "by": "everybody", "unconfirmed": true }]));
    own.confirms("/auth/creds");
    assert_eq!(seen().get("unconfirmed"), None);
    admin.confirms("/admin/credentials/everybody");
    assert_eq!(seen()["shared"], json!([{ "by": "everybody" }]));
}

#[test]
fn a_token_with_scopes_sees_what_it_reaches() {
    let world = World::new();
    write(&world, "u", &other("U"));
    let own = own(&world);
    let with = |scopes: &[&str]| {
        let made = own.done("POST /auth/tokens", &json!({ "kind": "manage", "scopes": scopes }));
        own.with(made["token"].as_str().unwrap())
    };
    let check = |scopes: &[&str], expected: &str| {
        let api = with(scopes);
        let fields = get(&api, "/auth/fields");
        let sections = fields["sections"].as_array().unwrap().iter();
        let sections: Vec<&str> = sections.map(|one| one["section"].as_str().unwrap()).collect();
        let providers = get(&api, "/auth/providers");
        let endpoints = providers["providers"].as_array().unwrap().iter().flat_map(|provider| {
            let endpoints = provider["endpoints"].as_array().unwrap().iter();
            endpoints.map(|one| {
                format!("{}/{}", provider["name"].as_str().unwrap(), one["name"].as_str().unwrap())
            })
        });
        let endpoints: Vec<_> = endpoints.collect();
        assert_eq!(format!("{}: {}", sections.join(" "), endpoints.join(" ")), expected);
    };
    check(&["t", "u"], "providers.u providers.t: u/chat t/get t/post");
    check(&["t/get"], "providers.t: t/get");
    check(&["u"], "providers.u: u/chat");
    // Neither is for tokens of another kind, or for admins.
    let (proxy, admin) = (own.done("POST /auth/tokens", &json!({})), Api::admin(&world));
    for path in ["/auth/fields", "/auth/providers"] {
        let get = format!("GET {path}");
        assert_eq!(own.with(proxy["token"].as_str().unwrap()).get(&get).status, 403);
        assert_eq!(admin.get(&get).status, 401);
    }
    assert_eq!(own.get("GET /admin/fields").status, 401);
}

/// The documents of 200 providers are small enough for one page.
#[test]
fn two_hundred_providers_fit_into_a_page() {
    let world = World::new();
    for number in 0..200 {
        let name = format!("provider-{number:03}");
        let text = format!(
            "title = \"Provider {number}\"\nextends = \"openai-compatible\"\nbase_url = \"https://api.{name}.example\"\n\
            keys_url = \"https://console.{name}.example/keys\"\ndocs = \"https://docs.{name}.example\"\n"
        );
        // The preset has a probe, and this file no endpoint for it.
        let text = if number == 0 { text + "endpoint.models = false\n" } else { text };
        world.home.write(&name, &text);
    }
    reload(&world);
    let own = own(&world);
    let providers = get(&own, "/auth/providers");
    let probes = [0, 1].map(|index| providers["providers"][index]["probe"].as_str().map(str::to_owned));
    assert_eq!(probes, [None, Some("models".to_owned())]);
    let size = |path: &str, list: &str| {
        let document = get(&own, path);
        assert_eq!(document[list].as_array().unwrap().len(), 201, "{path}");
        let bytes = document.to_string().len();
        eprintln!("{path}: {bytes} bytes");
        bytes
    };
    assert!(size("/auth/fields", "sections") < 100_000);
    assert!(size("/auth/providers", "providers") < 110_000);
}
