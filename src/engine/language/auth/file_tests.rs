//! Entries of `[[auth]]` in whole files: their own tests are run.

use crate::{language::compile, shipped, tools::filetest};

const FILE: &str = r#"
title = "Demo"
base_url = "https://demo.example/base"
path_prefix = "/demo"
vars = { relay = { env = "RELAY", optional = true } }
credentials.field = [{ name = "key" }, { name = "note", optional = true }]
endpoint.get = { method = "GET", path = "/get", query = { default = { v = "1" } } }
egress = [{ when = ["relay"], url = "https://relay.example/?to={url|urlencode}" }]
gateway.hub = { path = "/g{path}" }
"#;
const HUB: &str = "title = \"Hub\"\nbase_url = \"https://hub.example\"\nvars.token = { env = \"T\" }\nheaders.remove = [\"x-gone\"]\n";

/// Checks a request to `/demo/get` with these entries, and further keys of the test.
fn check(auth: &str, query: &str, more: &str, expect: &str) {
    let test = format!(
        "auth = [{auth}]\n[[test]]\nname = \"t\"\nrequest = {{ path = \"/demo/get{query}\", headers = {{ x-list = \"a, b\", x-gone = \"mine\" }} }}\n{more}\nexpect = {{ {expect} }}\n"
    );
    let files = [("demo.toml", &*format!("{FILE}{test}")), ("gateways/hub.toml", HUB)];
    let compiled = compile::compile(&shipped::load_with(&files).files);
    let tests = filetest::run(&compiled);
    let found: Vec<_> = compiled.diagnostics.iter().chain(&tests.diagnostics).collect();
    assert!(found.is_empty(), "{test} {found:?}");
}

const KEY: &str = "credentials = { key = \"s3cret-key\" }";
const RELAYED: &str = "credentials = { key = \"a b\" }\nvars = { relay = \"on\" }";
const THROUGH: &str = "credentials = { key = \"a b\" }\nvars = { hub = { token = \"t\" } }";

#[test]
fn members_are_added_to_lists() {
    let entry =
        |add: &str| format!("{{ field = \"key\", set = {{ x-key = \"{{secret}}\" }}, add = {{ {add} }} }}");
    let check = |add: &str, expect: &str| check(&entry(add), "", KEY, expect);
    check("x-list = \"b, c\"", "headers = { x-list = \"a, b, c\" }");
    check("X-List = \"a\"", "headers = { x-list = \"a, b\" }");
    check("x-new = \"{secret}\"", "headers = { x-new = \"s3cret-key\" }");
    check("x-new = \"{note}\"", "absent = [\"x-new\"]");
}

#[test]
fn a_list_yields_to_the_gateway() {
    let auth =
        "{ field = \"key\", set = { x-key = \"{secret}\" }, add = { x-gone = \"m\", x-list = \"m\" } }";
    check(auth, "", KEY, "headers = { x-gone = \"mine, m\", x-list = \"a, b, m\" }");
    check(auth, "", THROUGH, "absent = [\"x-gone\"], headers = { x-list = \"a, b, m\" }");
}

#[test]
fn a_parameter_follows_all_others_and_stands_in_the_wrapped_url() {
    let auth = "{ field = \"key\", query = { \"k y\" = \"{secret}\", n = \"{note}\" } }";
    check(auth, "", KEY, "url = \"https://demo.example/base/get?v=1&k%20y=s3cret-key\"");
    check(
        auth,
        "?a=1&k+y=2&k%20y=3&n=4",
        KEY,
        "url = \"https://demo.example/base/get?a=1&v=1&k%20y=s3cret-key\"",
    );
    let wrapped = "https%3A%2F%2Fdemo.example%2Fbase%2Fget%3Fv%3D1%26k%2520y%3Da%2520b";
    check(auth, "", RELAYED, &format!("url = \"https://relay.example/?to={wrapped}\""));
    check(auth, "", THROUGH, "url = \"https://hub.example/g/base/get?v=1&k%20y=a%20b\"");
    let bare = "{ field = \"key\", set = { authorization = \"{secret}\" }, query = { n = \"{note}\" } }";
    check(
        bare,
        "",
        KEY,
        "url = \"https://demo.example/base/get?v=1\", headers = { authorization = \"s3cret-key\" }",
    );
}

#[test]
fn a_credential_that_is_repeated_stays_here() {
    let check = |answer: &str, expect: &str| {
        let more = format!("{KEY}\nanswer = {{ headers = {{ {answer} }} }}");
        check(
            "{ field = \"key\", query = { key = \"{secret}\", w = \"literal-1\" } }",
            "",
            &more,
            &format!("answer_headers = {{ {expect} }}"),
        );
    };
    check("location = \"/x?a=1&key=s3cret-key\"", "location = \"/x?a=1\"");
    check("location = \"/x?key=s3cret-key\"", "location = \"/x\"");
    check("location = \"/x?key=another\"", "location = \"/x?key=another\"");
    check(
        "x-v = \"literal-1\", location = \"/x?w=literal-1\"",
        "x-v = \"literal-1\", location = \"/x?w=literal-1\"",
    );
    check("x-sent = \"https://a.example/?k%65y=s3cret%2Dkey#top\"", "x-sent = \"https://a.example/#top\"");
}

#[test]
fn a_value_with_a_control_character_is_not_sent() {
    let auth = "{ field = \"key\", query = { key = \"{secret}\" } }";
    check(auth, "", "credentials = { key = \"a\\nb\" }", "status = 401, code = \"credential_missing\"");
}
