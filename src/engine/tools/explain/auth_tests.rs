//! `explain` of entries of `[[auth]]` for some endpoints, of an optional credential and one in the query, of origins, and of values.

use http::{Request, Version};

use super::*;
use crate::{pipeline, shipped};

const FILE: &str = r#"title = "Demo"
base_url = "https://demo.example"
origins = { queue = "https://queue.example/v1" }
path_prefix = "/demo"
credentials.field = [{ name = "key" }, { name = "admin" }]
[[auth]]
field = "admin"
endpoints = ["job*"]
query = { key = "{secret}" }
[[auth]]
field = "key"
endpoints = ["chat"]
set = { x-key = "{secret}" }
add = { x-beta = "a" }
[[auth]]
endpoints = ["chat"]
none = true
[endpoint.chat]
method = "GET"
path = "/chat"
[endpoint.jobs]
method = "GET"
path = "/jobs"
origin = "queue"
"#;

/// Asserts that the explanation of a request has these lines, without indentation, and no secret.
fn check(request: &str, stored: &[&str], there: &[&str]) {
    let loaded = shipped::load_with(&[("demo.toml", FILE)]);
    let made = pipeline::assemble(&loaded, |_| Ok(None));
    let context = Context {
        files: &loaded.files,
        sources: &loaded.sources,
        table: &made.table,
        providers: &made.providers,
        fixture: None,
    };
    let head = Request::builder().uri(request).version(Version::HTTP_10).header("x-beta", "b").body(());
    let value = |field: &&str| ((*field).to_owned(), StoredValue::Value(Secret::new(format!("s-{field}"))));
    let caller = Caller::given(stored.iter().map(value), "nothing is stored");
    let text = explain(context, &head.unwrap().into_parts().0, &|_, _, _| Ok(None), &caller).to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for line in there {
        assert!(lines.contains(line), "{request} {stored:?}: `{line}` is missing in\n{text}");
    }
    assert!(!text.contains("s-key") && !text.contains("s-admin"), "{text}");
}

#[test]
fn an_entry_counts_for_its_endpoints() {
    check(
        "/demo/chat",
        &["key", "admin"],
        &[
            "auth      `key`: it is stored  (demo.toml:10)",
            "skipped `admin`: it counts for the endpoints `job*` alone  (demo.toml:6)",
            "skipped `none`: not checked: an earlier entry is used  (demo.toml:15)",
            "x-beta: b, a",
            "appended by auth[1].add.x-beta  (demo.toml:14)",
        ],
    );
}

#[test]
fn a_credential_may_be_optional() {
    check(
        "/demo/chat",
        &[],
        &[
            "auth      `none`: no secret is stored, and the endpoint needs none  (demo.toml:15)",
            "skipped `key`: nothing is stored  (demo.toml:10)",
        ],
    );
    check(
        "/demo/chat",
        &["admin"],
        &[
            "auth      none",
            "skipped `none`: it counts only where no secret of the section is stored  (demo.toml:15)",
            "refused   401 credential_missing: No API key configured for demo. Store one on the page `/config`, or with `tollgate credential set USER providers.demo.key`",
        ],
    );
}

#[test]
fn a_credential_in_the_query_is_masked() {
    check(
        "/demo/jobs?a=1&key=mine",
        &["admin"],
        &[
            "it calls the origin `queue`, and not `base_url`",
            "url       GET https://queue.example/v1/jobs?a=1&key=***",
            "removed by the engine: a file sets it: the client's value is ignored  (demo.toml:9)",
            "set by auth[0].query.key  (demo.toml:9)",
        ],
    );
}

/// A value is shown only if it was stored as one, and is declared as one still: in a header, a host and a path.
#[test]
fn a_secret_is_not_shown_where_its_field_became_a_value() {
    let explained = |base: &str, kind: &str, stored_as: StoredKind| {
        let text = format!(
            r#"title = "Demo"
base_url = "{base}"
path_prefix = "/demo"
credentials.field = [{{ name = "one", {kind} }}]
auth = [{{ set = {{ x-one = "{{one}}" }} }}]
endpoint.get = {{ method = "GET", path = "/get" }}
"#
        );
        let loaded = shipped::load_with(&[("demo.toml", &text)]);
        let made = pipeline::assemble(&loaded, |_| Ok(None));
        let context = Context {
            files: &loaded.files,
            sources: &loaded.sources,
            table: &made.table,
            providers: &made.providers,
            fixture: None,
        };
        let value = StoredValue::Value(Secret::new("canary"));
        // It was saved for another host.
        let origins = vec!["https://old.example".to_owned()];
        let one = StoredField { value, stored_as: Some(stored_as), origins };
        let fields = BTreeMap::from([("one".to_owned(), one)]);
        let owners = vec![OwnerCredentials { owner: Some(Owner::Everybody), fields }];
        let caller = Caller { owners, ..Caller::default() };
        let head = Request::builder().uri("/demo/get").version(Version::HTTP_10).body(()).unwrap();
        let explained = explain(context, &head.into_parts().0, &|_, _, _| Ok(None), &caller);
        explained.to_string() + &serde_json::to_string(&explained).unwrap()
    };
    let bases = ["https://api.example", "https://{one}.api.example", "https://api.example/{one}"];
    let label = "kind = \"text\", pattern = \"[a-z]+\"";
    for base in bases {
        let text = explained(base, label, StoredKind::Value);
        assert!(text.contains("x-one: canary"), "{text}");
        for stored_as in [StoredKind::Secret, StoredKind::Document, StoredKind::Login] {
            let text = explained(base, label, stored_as);
            assert!(!text.contains("canary"), "{base} {stored_as}: {text}");
            let refused = "was stored as a secret, and the file declares a value that is shown";
            assert!(stored_as != StoredKind::Secret || text.contains(refused), "{text}");
        }
    }
    for stored_as in [StoredKind::Secret, StoredKind::Value] {
        let text = explained("https://api.example", "label = \"One\"", stored_as);
        assert!(!text.contains("canary"), "{stored_as}: {text}");
    }
}
