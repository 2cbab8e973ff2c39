//! Claims about providers whose hosts, headers and paths have values of users: they hold for every value, or are broken.

use super::check;

/// The lines of a provider with fields of all kinds, and this base URL.
fn with(base_url: &str, more: &str) -> String {
    format!(
        r#"base_url = "{base_url}"
credentials = {{ section = "s", field = [{{ name = "key" }}, {{ name = "zone", kind = "text", pattern = "[a-z]{{2}}" }}, {{ name = "plan", kind = "text", one_of = ["free", "Paid"] }}, {{ name = "server", kind = "origin" }}, {{ name = "account", kind = "json", parts = {{ email = "/email" }} }}] }}
{more}"#
    )
}

#[test]
fn a_host_with_a_field_is_proven_by_its_fixed_end() {
    let check = |base_url: &str, origins: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|origin| format!("a credential of section `s` reaches `{origin}`")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&with(base_url, ""), &format!("credentials origins = [{origins}]"), &expected);
    };
    let zone = "https://{zone}.api.example/v1";
    check(zone, "\"https://*.api.example\"", &[]);
    check(zone, "\"https://{zone}.api.example\"", &[]);
    check(zone, "\"https://eu.api.example\", \"https://us.api.example\"", &["https://{zone}.api.example"]);
    check(zone, "\"https://*.other.example\"", &["https://{zone}.api.example"]);
    check(zone, "\"https://*-x.api.example\"", &["https://{zone}.api.example"]);
    // A user's origin is any.
    check("{server}", "\"https://*.lan\"", &["{server}"]);
    check("{server}", "\"{server}\"", &[]);
    check("{server}", "\"*\"", &[]);
}

#[test]
fn a_field_with_few_values_is_proven_for_each() {
    let check = |base_url: &str, origins: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|origin| format!("a credential of section `s` reaches `{origin}`")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&with(base_url, ""), &format!("credentials origins = [{origins}]"), &expected);
    };
    let plan = "https://{plan}.api.example";
    check(plan, "\"https://free.api.example\", \"https://paid.api.example\"", &[]);
    check(plan, "\"https://free.api.example\"", &["https://paid.api.example"]);
    check(plan, "\"https://*.api.example\"", &[]);
    check(plan, "\"https://{plan}.api.example\"", &[]);
    let both = "https://{plan}-{zone}.api.example";
    check(both, "\"https://free-*.api.example\"", &["https://paid-{zone}.api.example"]);
    check(both, "\"https://free-*.api.example\", \"https://paid-*.api.example\"", &[]);
}

#[test]
fn a_var_with_the_name_of_a_field_is_none() {
    let lines = with(
        "https://{plan}.api.example",
        "vars = { plan = { env = \"PLAN\" }, region = { env = \"REGION\" } }",
    );
    let both = "credentials origins = [\"https://free.api.example\", \"https://paid.api.example\"]";
    check(&lines, both, &["a credential of section `s` reaches `https://{plan}.api.example`"]);
}

#[test]
fn no_value_makes_https_plain() {
    check(&with("https://{zone}.api.example", ""), "https", &[]);
    check(&with("{server}", ""), "https", &["`{server}` is called, which may be plain http"]);
    check(
        &with("{server}", ""),
        "https allow = [\"http://*.lan\"]",
        &["`{server}` is called, which may be plain http"],
    );
    let plain = with("http://{plan}.lan.example", "");
    check(&plain, "https allow = [\"http://free.lan.example\", \"http://paid.lan.example\"]", &[]);
    check(
        &plain,
        "https allow = [\"http://free.lan.example\"]",
        &["`http://paid.lan.example` is called over plain http"],
    );
}

#[test]
fn a_rule_that_names_a_secret_sends_it() {
    let reaches = "a credential of section `s` reaches `https://api.example`";
    let check = |more: &str, expected: &[&str]| {
        let auth = "auth = [{ field = \"key\", set = { x-a = \"fixed\" } }]\n";
        check(&with("https://api.example", &format!("{auth}{more}")), "credentials origins = []", expected);
    };
    let chat = |keys: &str| format!("endpoint.chat = {{ method = \"POST\", path = \"/v1/chat\", {keys} }}");
    check("", &[]);
    check("headers = { set = { x-b = \"{key}\" } }", &[reaches]);
    check("headers = { add = { x-b = \"{account.email}\" } }", &[reaches]);
    check(&chat("headers.default = { x-b = \"{key}\" }"), &[reaches]);
    check(&chat("query.set = { b = \"{account.email}\" }"), &[reaches]);
    check(&chat("upstream_path = \"/{account.email}/chat\""), &[reaches]);
    // These are no secrets.
    check(
        &chat(
            "headers.set = { x-b = \"{zone}\" }, query.set = { b = \"{plan}\" }, upstream_path = \"/{zone}\"",
        ),
        &[],
    );
    // An egress removes it.
    check("headers = { set = { x-b = \"{key}\" } }\negress = [{ headers = { remove = [\"x-b\"] } }]", &[]);
}
