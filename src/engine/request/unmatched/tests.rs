//! Tables of many providers: the format of an error, the endpoint that was meant, the vendor of a key.

use http::Request;

use super::*;
use crate::{
    base::name::FileName,
    language::{
        bind,
        compile::{self, Files},
        syntax,
    },
};

const APIS: [(&str, &str); 3] = [
    ("plain", ""),
    ("other", "known_by = { headers = [\"x-other\"], paths = [\"*/v1/other*\"] }"),
    ("third", "known_by = { headers = [\"x-third\"] }"),
];

fn table(providers: &[(&str, &str)]) -> Table {
    let mut files = Files::default();
    for (name, text) in APIS {
        let text = format!("title = \"A\"\n{text}\n[error]\nbody = {{ message = \"{{message}}\" }}\n");
        files.apis.insert(FileName::new(name).unwrap(), syntax::parse(&name.into(), &text).0);
    }
    for (name, text) in providers {
        let text = format!("title = \"{name}\"\nbase_url = \"https://x.example\"\n{text}");
        files.providers.insert(FileName::new(name).unwrap(), syntax::parse(&(*name).into(), &text).0);
    }
    let compiled = compile::compile(&files);
    assert!(compiled.rejected.is_empty(), "{:?}", compiled.diagnostics);
    let bound = compiled.providers.iter().map(|one| Arc::new(bind::bind(one, |_, _, _| None).0.unwrap()));
    Table::new(bound.collect(), compiled.rejected, &[])
}

fn endpoint(name: &str, method: &str, path: &str, api: &str) -> String {
    let api = if api.is_empty() { String::new() } else { format!(", api = \"{api}\"") };
    format!("endpoint.{name} = {{ method = \"{method}\", path = \"{path}\"{api} }}\n")
}

#[test]
fn the_format_of_an_error() {
    let mixed = [
        "path_prefix = \"/mixed\"\n".to_owned(),
        endpoint("a", "GET", "/a", "other"),
        endpoint("b", "GET", "/b", "plain"),
        endpoint("c", "GET", "/c", "plain"),
        endpoint("d", "GET", "/d", ""),
    ];
    let third = format!("path_prefix = \"/third\"\n{}", endpoint("a", "GET", "/a", "third"));
    let table = table(&[("mixed", &mixed.concat()), ("third", &third)]);
    let check = |line: &str, header: Option<&str>, expected: Option<&str>| {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if let Some(name) = header {
            request = request.header(name, "1");
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let found = table.error_format(&head);
        assert_eq!(found.as_ref().map(|api| api.name.as_str()), expected, "{line} {header:?}");
    };
    check("GET /mixed/a", Some("x-third"), Some("other"));
    check("POST /mixed/a", None, Some("other"));
    // An endpoint without a format is no reason for another one than beside it.
    check("GET /mixed/d", None, Some("plain"));
    check("GET /mixed/d", Some("x-other"), Some("other"));
    check("GET /mixed/nowhere", None, Some("plain"));
    check("GET /mixed/nowhere", Some("x-other"), Some("other"));
    check("GET /mixed/v1/other/x", None, Some("other"));
    // No endpoint of that provider has the format.
    check("GET /mixed/nowhere", Some("x-third"), Some("plain"));
    check("GET /third/v1/other", None, Some("third"));
    check("GET /nowhere", None, None);
    check("GET /nowhere", Some("x-third"), Some("third"));
    check("GET /v1/other", Some("x-third"), Some("other"));
    check("GET /mixedx/a", None, None);
    check("GET /auth/v1/other", Some("x-other"), None);
    let long = format!("GET /x/v1/other{}", "a".repeat(MAX_PATH));
    check(&long, None, None);
}

#[test]
fn the_endpoint_that_was_meant() {
    let file = |prefix: &str| {
        let chat = endpoint("chat", "POST", "/v1/chat", "");
        format!("path_prefix = \"{prefix}\"\n{chat}{}", endpoint("list", "GET", "/v1/models/{id}", ""))
    };
    let table = table(&[("alpha", &file("/alpha")), ("bravo", &file("/proxy/bravo"))]);
    let check = |line: &str, expected: Option<&str>| {
        let (method, path) = line.split_once(' ').unwrap();
        let all = |_: &Provider, _: &Endpoint| true;
        let meant = table.meant(&Method::from_bytes(method.as_bytes()).unwrap(), path, all);
        let meant = meant.map(|(method, path)| format!("{method} {path}"));
        assert_eq!(meant.as_deref(), expected, "{line}");
        let none = table.meant(&Method::GET, path, |_, _| false);
        assert_eq!(none, None, "{line}");
    };
    check("GET /alpha/v1/chat", Some("POST /alpha/v1/chat"));
    check("POST /alpha/chat", Some("POST /alpha/v1/chat"));
    check("GET /alpha/v1/model/x", Some("GET /alpha/v1/models/{id}"));
    check("POST /v1/chat", Some("POST /alpha/v1/chat"));
    // The path counts before the method.
    check("GET /alpha/v1/cha", Some("POST /alpha/v1/chat"));
    check("DELETE /alpha/v1/models/x", Some("GET /alpha/v1/models/{id}"));
    // What a client has put before the path, or into it twice.
    check("POST /proxy/alpha/v1/chat", Some("POST /alpha/v1/chat"));
    check("POST /api/proxy/alpha/v1/chat", Some("POST /alpha/v1/chat"));
    check("GET /proxy/alpha/v1/chat", Some("POST /alpha/v1/chat"));
    check("POST /proxy/alpha/v1/chap", Some("POST /alpha/v1/chat"));
    check("POST /alpha/v1/v1/chat", Some("POST /alpha/v1/chat"));
    check("GET /alpha/v1/v1/chat", Some("POST /alpha/v1/chat"));
    check("POST /alpha/v1/alpha/v1/chat", Some("POST /alpha/v1/chat"));
    check("POST /proxy/alpha/v1/v1/chat", Some("POST /alpha/v1/chat"));
    check("POST /alpha/bravo/v1/chat", Some("POST /alpha/v1/chat"));
    check(&format!("GET /alpha/v1{}", "/chat".repeat(20)), None);
    check("POST /bravo/v1/chat", Some("POST /proxy/bravo/v1/chat"));
    check("POST /proxy/brabo/v1/chat", Some("POST /proxy/bravo/v1/chat"));
    check("POST /alpah/v1/chat", Some("POST /alpha/v1/chat"));
    check("GET /", None);
    check("GET /wp-login.php", None);
    check("GET *", None);
    check(&format!("POST /alpha/v1/chat{}", "/x".repeat(200)), None);
    check(&format!("POST /alpha/v1/chat{}", "x".repeat(MAX_PATH)), None);
    check(&format!("POST {}", "/%2e".repeat(100)), None);
}

#[test]
fn the_vendor_of_a_key() {
    let file = |prefix: &str, keys: &str| {
        format!("path_prefix = \"{prefix}\"\nkey_prefixes = [{keys}]\n{}", endpoint("a", "GET", "/a", ""))
    };
    let table = table(&[
        ("alpha", &file("/alpha", "\"sk-\", \"sk-alpha-\"")),
        ("bravo", &file("/bravo", "\"sk-\", \"br_\"")),
    ]);
    let check = |key: &str, expected: Option<&str>| assert_eq!(table.vendor_of_key(key), expected, "{key}");
    check("sk-alpha-1", Some("alpha"));
    check("br_1", Some("bravo"));
    check("sk-1", None);
    check("BR_1", None);
    check("", None);
}
