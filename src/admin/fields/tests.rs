use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    document::{CredentialField, CredentialKind, Stored, StoredField, Wanted, arrange},
    *,
};
use crate::{
    accounts::NewOrigins,
    bind, compile,
    name::{FileName, Scope},
    syntax,
};

/// The table of the files `(name, text)`. All have a `base_url`, a `path_prefix` and the endpoint `one`.
pub(in crate::admin) fn table(files: &[(&str, &str)]) -> Table {
    let with_head = |(name, text): &(&str, &str)| {
        let head = format!(
            "base_url = \"https://{name}.example\"\npath_prefix = \"/{name}\"\nendpoint.one = {{ method = \"GET\", path = \"/one\" }}\n"
        );
        ((*name).to_owned(), format!("{head}{text}"))
    };
    table_of(&files.iter().map(with_head).collect::<Vec<_>>())
}

/// The table of whole files.
fn table_of(files: &[(String, String)]) -> Table {
    let mut all = compile::Files::default();
    for (name, text) in files {
        let (parsed, found) = syntax::parse(&name.as_str().into(), text);
        assert_eq!(found, [], "{name}");
        all.providers.insert(FileName::new(name).unwrap(), parsed);
    }
    let compiled = compile::compile(&all);
    assert_eq!(compiled.diagnostics, []);
    let bound = compiled.providers.iter().map(|one| Arc::new(bind::bind(one, |_, _, _| None).0.unwrap()));
    Table::new(bound.collect(), compiled.rejected, &[])
}

/// Scopes as text.
pub(in crate::admin) fn scopes(text: &str) -> Vec<Scope> {
    text.split(' ').map(|scope| Scope::parse(scope).unwrap()).collect()
}

const KEY: &str = "{ name = \"key\", label = \"API key\", hint = \"h\", placeholder = \"k-...\" }";
const LOGIN: &str = "{ name = \"login\", kind = \"oauth2\", token_url = \"https://login.example/t\", client_id = \"c\", paste = { accessToken = \"/a\" } }";

/// A provider that shares the section `s` with another one, and sends some of its fields.
fn sharing(title: &str, other: &str, fields: &[&str], sent: &[&str]) -> String {
    let sent =
        sent.iter().map(|field| format!("{{ field = \"{field}\", set = {{ x-key = \"{{secret}}\" }} }}"));
    let sent = sent.collect::<Vec<_>>().join(", ");
    let fields = fields.join(", ");
    format!(
        "title = \"{title}\"\nauth = [{sent}]\ncredentials = {{ section = \"s\", shared_with = [\"{other}\"], field = [{fields}] }}\n"
    )
}

/// Two providers of one section: `api` sends the login or the key, `app` the login alone.
fn two() -> Table {
    let api = sharing("API", "app", &[KEY, LOGIN], &["login", "key"]) + "keys_url = \"https://k.example\"\n";
    let paste = "paste_token = { path = \"/auth/t\", reply = \"tToken\", missing = \"none\", claims = {} }\ngroup = \"main\"\n";
    let app = sharing("The app", "api", &[LOGIN], &["login"]) + paste;
    table(&[("api", &api), ("app", &app)])
}

fn shown(field: &CredentialField) -> String {
    let wanted = if field.wanted == Wanted::Required { "!" } else { "" };
    let kind = if field.kind == CredentialKind::Oauth2 { " login" } else { "" };
    let (providers, origins) = (field.providers.join("+"), field.origins.join("+"));
    let mut parts = vec![format!("{}{wanted}{kind} by {providers} to {origins}", field.field)];
    parts.extend(field.stored.iter().map(|stored| format!("stored {stored}")));
    let unconfirmed = field.unconfirmed.iter();
    parts.extend(
        unconfirmed.map(|NewOrigins { from, to }| format!("from {} to {}", from.join("+"), to.join("+"))),
    );
    let shared = field.shared.iter();
    parts.extend(shared.map(|one| format!("shared {:?}{}", one.by, if one.unconfirmed { "?" } else { "" })));
    parts.extend(field.used.map(|used| format!("used {used:?}")));
    parts.join(" ")
}

fn fields(document: &CredentialFields) -> String {
    let sections = document.sections.iter().map(|section| {
        let fields: Vec<_> = section.fields.iter().map(shown).collect();
        format!("{}: {}", section.section, fields.join("; "))
    });
    sections.collect::<Vec<_>>().join("\n")
}

#[test]
fn sections_are_in_the_order_of_pages() {
    let one = |title: &str, group: &str| {
        let group = if group.is_empty() { String::new() } else { format!("group = \"{group}\"\n") };
        format!(
            "title = \"{title}\"\n{group}credentials.field = [{KEY}]\nauth = [{{ field = \"key\", set = {{ x-key = \"{{secret}}\" }} }}]\n"
        )
    };
    let files = [
        ("a", one("zeta", "additional")),
        ("b", one("Alpha", "")),
        ("c", one("beta", "other")),
        ("d", one("Zulu", "main")),
        ("e", one("alpha", "additional")),
        ("f", "title = \"No credentials\"\n".to_owned()),
        ("g", one("Yankee", "main")),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let document = arrange(&table(&files), Reach(None), None, None);
    let seen: Vec<_> = document.sections.iter().map(|one| format!("{} {}", one.section, one.title)).collect();
    let expected = [
        "providers.g Yankee",
        "providers.d Zulu",
        "providers.b Alpha",
        "providers.e alpha",
        "providers.c beta",
        "providers.a zeta",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_field_has_all_that_its_files_say() {
    let document = arrange(&two(), Reach(None), None, None);
    let login = json!({
        "field": "login", "label": "login", "kind": "oauth2", "paste": { "accessToken": "/a" },
        "pasteTokens": [{ "provider": "app", "path": "/auth/t", "name": "tToken" }],
        "providers": ["app", "api"],
        "origins": ["https://api.example", "https://app.example", "https://login.example"],
        "wanted": "optional",
    });
    let key = json!({
        "field": "key", "label": "API key", "hint": "h", "placeholder": "k-...", "kind": "secret",
        "providers": ["api"], "origins": ["https://api.example"], "wanted": "optional",
    });
    let section = json!({
        "section": "s", "title": "The app", "group": "main", "keysUrl": "https://k.example", "fields": [login, key],
    });
    assert_eq!(serde_json::to_value(&document).unwrap(), json!({ "sections": [section] }));
}

#[test]
fn a_token_with_scopes_sees_the_fields_of_what_it_reaches() {
    let table = two();
    let stored = || Stored { own: [place("s.key"), place("gone.key")].into(), ..Stored::default() };
    let check = |reached: Option<&str>, expected: &str, undeclared: usize| {
        let reached = reached.map(scopes);
        let document = arrange(&table, Reach(reached.as_deref()), None, Some(&stored()));
        assert_eq!(fields(&document), expected, "{reached:?}");
        assert_eq!(document.undeclared.len(), undeclared, "{reached:?}");
    };
    let (api, app, login) = ("https://api.example", "https://app.example", "https://login.example");
    let all = format!("{api}+{app}+{login}");
    let key = format!("key by api to {api} stored \"***\" used Own");
    check(None, &format!("s: login login by app+api to {all}; {key}"), 1);
    check(Some("api/one"), &format!("s: {key}; login login by api to {all}"), 0);
    check(Some("app"), &format!("s: login! login by app to {all}"), 0);
    check(Some("other"), "", 0);
}

fn place(name: &str) -> (FieldKey, StoredField) {
    let (name, unconfirmed) = match name.strip_suffix('?') {
        Some(name) => (name, Some(NewOrigins { from: vec!["old".into()], to: vec!["new".into()] })),
        None => (name, None),
    };
    let (name, is_readable) = name.strip_suffix('~').map_or((name, true), |name| (name, false));
    let (section, field) = name.split_once('.').unwrap();
    let value = if is_readable { Value::from("***") } else { unreadable_value() };
    (
        (section.to_owned(), field.to_owned()),
        StoredField { value, is_readable, updated_at_ms: 0, unconfirmed, bound_to: Vec::new() },
    )
}

/// A request is sent with a credential of the first holder that has one for any field of its provider.
#[test]
fn the_first_holder_with_any_field_of_a_provider_is_used() {
    let table = two();
    let stored = |names: &str| names.split(' ').filter(|name| !name.is_empty()).map(place).collect();
    let check = |own: &str, group: &str, everybody: &str, expected: [&str; 2]| {
        let stored = Stored {
            own: stored(own),
            group: stored(group),
            everybody: stored(everybody),
            ..Stored::default()
        };
        let document = arrange(&table, Reach(None), None, Some(&stored));
        let seen = document.sections[0].fields.iter().map(|field| {
            let text = shown(field);
            let (_, after) = text.split_once(" to ").unwrap();
            after.split_once(' ').map(|(_, stored)| stored.to_owned()).unwrap_or_default()
        });
        assert_eq!(seen.collect::<Vec<_>>(), expected, "{own}, {group}, {everybody}");
    };
    // The login, then the key.
    check("", "", "", ["", ""]);
    check("s.key", "", "", ["", "stored \"***\" used Own"]);
    check("", "s.key", "s.key", ["", "shared Group shared Everybody used Group"]);
    check("", "", "s.login s.key", ["shared Everybody used Everybody", "shared Everybody used Everybody"]);
    // The own key keeps the group's login from `api`, but not from `app`.
    check("s.key", "s.login", "", ["shared Group used Group", "stored \"***\" used Own"]);
    // The own login keeps the group's key from `api`, which alone sends it.
    check("s.login", "s.key", "", ["stored \"***\" used Own", "shared Group"]);
    // One that waits for a confirmation is chosen all the same, and refused.
    check("s.key?", "s.key", "", ["", "stored \"***\" from old to new shared Group used Own"]);
    check("", "s.key?", "", ["", "shared Group? used Group"]);
    // One that cannot be decrypted counts as absent for requests.
    check("s.key~", "s.key", "", ["", "stored {\"status\":\"unreadable\"} shared Group used Group"]);
    check("", "s.key~", "s.key", ["", "shared Everybody used Everybody"]);
    check("s.other", "", "", ["", ""]);
}

#[test]
fn fields_of_kinds_have_their_rules_and_hosts() {
    let fields = r#"title = "API"
    credentials.field = [
        { name = "region", kind = "text", pattern = "[a-z]{2}", optional = true },
        { name = "plan", kind = "text", one_of = ["free", "paid"], default = "free" },
        { name = "file", kind = "json", parts = { email = "/client_email" } },
        { name = "key" },
    ]
    auth = [{ field = "key", set = { x-key = "{secret}", x-plan = "{plan}", x-region = "{region}", x-email = "{file.email}" } }]
    "#;
    let document = arrange(&table(&[("api", fields)]), Reach(None), None, None);
    let shown = serde_json::to_value(&document.sections[0].fields).unwrap();
    let field = |index: usize, name: &str| shown[index][name].clone();
    let kinds: Vec<_> = (0..4).map(|index| field(index, "kind")).collect();
    assert_eq!(kinds, ["text", "text", "json", "secret"]);
    assert_eq!((field(0, "pattern"), field(0, "optional")), ("[a-z]{2}".into(), true.into()));
    assert_eq!(
        (field(1, "oneOf"), field(1, "default")),
        (serde_json::json!(["free", "paid"]), "free".into())
    );
    assert_eq!(field(2, "parts"), serde_json::json!({ "email": "/client_email" }));
    let wanted: Vec<_> = (0..4).map(|index| field(index, "wanted")).collect();
    assert_eq!(wanted, ["optional", "optional", "required", "required"]);
}

/// A field is required where no request of an entry goes without it: in a host, in a path of the base URL, in a header.
#[test]
fn a_field_that_every_request_reads_is_required() {
    let check = |base: &str, more: &str, expected: &str| {
        let text = format!(
            r#"title = "API"
            base_url = "{base}"
            path_prefix = "/api"
            origins.files = "https://files.example/{{other}}"
            credentials.field = [
                {{ name = "place", kind = "text", pattern = "[a-z]+" }},
                {{ name = "other", kind = "text", pattern = "[a-z]+" }},
                {{ name = "key" }},
            ]
            endpoint.one = {{ method = "GET", path = "/one" }}
            endpoint.file = {{ method = "GET", path = "/file", origin = "files" }}
            {more}"#
        );
        let document = arrange(&table_of(&[("api".to_owned(), text)]), Reach(None), None, None);
        let wanted = document.sections[0].fields.iter().filter(|field| field.wanted == Wanted::Required);
        let wanted: Vec<_> = wanted.map(|field| field.field.as_str()).collect();
        assert_eq!(wanted.join(" "), expected, "{base} {more}");
    };
    let auth = "auth = [{ field = \"key\", set = { x-key = \"{secret}\" } }]\n";
    let two = "endpoint.two = { method = \"GET\", path = \"/two\"";
    check("https://{place}.api.example", auth, "place key");
    check("https://api.example/{place}", auth, "place key");
    check("https://api.example/{place}", &format!("{auth}{two} }}"), "place key");
    check("https://api.example", &format!("{auth}{two}, query.set = {{ p = \"{{place}}\" }} }}"), "key");
    let file = "endpoint.three = { method = \"GET\", path = \"/three\", origin = \"files\" }\n";
    check("https://api.example", &format!("{auth}{file}"), "key");
}
