//! The concepts of the language that a vendor needs, and where a file has them.

use serde_json::{Map, Value};

use crate::facts::{Facts, fill};

/// True if a file uses a concept.
pub fn has(concept: &str, file: &Map<String, Value>) -> bool {
    let auth = list(file, "auth");
    let endpoints = || file["endpoint"].as_object().into_iter().flat_map(Map::values);
    let fields =
        || file.get("credentials").into_iter().flat_map(|one| one["field"].as_array().into_iter().flatten());
    let path_has =
        |text: &str| endpoints().any(|one| one["path"].as_str().is_some_and(|path| path.contains(text)));
    let auth_has = |key: &str| auth.iter().any(|entry| entry.get(key).is_some());
    let tokens = || file.get("token").and_then(Value::as_object).into_iter().flat_map(Map::values);
    match concept {
        "answer-urls" => file.get("response_headers").is_some_and(|one| one.get("rewrite_urls").is_some()),
        "auth-by-endpoint" => auth_has("endpoints"),
        "caller-scheme" => file.get("caller").is_some_and(|one| one.get("schemes").is_some()),
        "encoded-slash" => endpoints().any(|one| one.get("encoded_slash").is_some()),
        "jwt" => tokens().any(|one| one.get("jwt").is_some()),
        "key-in-query" => auth_has("query"),
        "list-header" => auth_has("add"),
        "login" => fields().any(|one| one["kind"] == "oauth2"),
        "multi-field" => fields().count() > 1,
        "multi-origin" => file.contains_key("origins"),
        "optional-key" => auth_has("none"),
        "sdk-prefix" => file.contains_key("path_prefixes") || path_has("/{the_provider}/"),
        "signing" => auth_has("sign"),
        "slash-capture" => path_has("...}"),
        "strip" => endpoints().any(|one| one.get("upstream_path").is_some()),
        "token-exchange" => tokens().any(|one| one.get("request").is_some()),
        "user-field" => fields().any(|one| matches!(one["kind"].as_str(), Some("text" | "origin" | "json"))),
        "websocket" => endpoints().any(|one| one["upgrade"] == "websocket"),
        unknown => panic!("nobody knows the concept `{unknown}`"),
    }
}

/// What the facts say about the request for a token, and no `[token]` of a file has.
pub fn missing_of_token(facts: &Facts, file: &Map<String, Value>) -> Option<String> {
    let url = facts.auth("token_url").filter(|_| facts.style() != "oauth2_refresh")?;
    let any = |text: &str| fill(text, |_| "*".to_owned());
    let tokens = file.get("token").and_then(Value::as_object);
    let at = |one: &&Value| one["request"]["url"].as_str().map(any) == Some(any(url));
    let Some(token) = tokens.into_iter().flat_map(Map::values).find(at) else { return Some(url.to_owned()) };
    let (request, reply) = (&token["request"], &token["reply"]);
    let method = request["method"].as_str().unwrap_or("POST");
    if method != facts.auth("method").unwrap_or("POST") {
        return Some(format!("another method than {method}"));
    }
    if facts.auth("grant_type") != request["form"]["grant_type"].as_str() {
        return Some("the grant type".to_owned());
    }
    let named = |facts_key: &str, table: &Value| {
        let wanted = facts.auth.as_ref().and_then(|auth| auth.get(facts_key)).and_then(Value::as_object);
        let has = |name: &str| table.get(name).or(table.get(name.to_ascii_lowercase())).is_some();
        wanted.into_iter().flat_map(Map::keys).find(|name| !has(name)).cloned()
    };
    let at =
        |name: &str| facts.auth.as_ref().and_then(|auth| auth.get("reply")).and_then(|one| one.get(name));
    let places = ["token", "expires_in", "expires_at"].into_iter().find(|name| at(name) != reply.get(*name));
    named("token_form", &request["form"])
        .or(named("token_headers", &request["headers"]))
        .or(places.map(|name| format!("the reply's `{name}`")))
}

/// What the facts say about a signature or a login, and no entry or field of a file has.
pub fn missing_of_key(facts: &Facts, file: &Map<String, Value>) -> Option<String> {
    let same = |one: &Value, key: &str| facts.auth(key).is_none_or(|text| one[key].as_str() == Some(text));
    let fields = file.get("credentials").and_then(|one| one["field"].as_array()).into_iter().flatten();
    match facts.style() {
        "aws_sigv4" => {
            let signs = list(file, "auth").iter().any(|one| same(&one["sign"], "service"));
            (!signs).then(|| "a signature for the service".to_owned())
        }
        "oauth2_refresh" => {
            let keys = ["token_url", "client_id", "scope"];
            let is_login = |one: &Value| one["kind"] == "oauth2" && keys.iter().all(|key| same(one, key));
            let found = fields.into_iter().any(is_login);
            (!found).then(|| "the login's endpoint, client or scope".to_owned())
        }
        _ => None,
    }
}

fn list<'f>(file: &'f Map<String, Value>, key: &str) -> &'f [Value] {
    file.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
