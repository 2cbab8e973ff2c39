//! Provider files from facts. No vendor is a case of its own here: what one has alone stands in `additions.toml`.

use serde_json::{Map, Value, json};

use crate::facts::{Addition, Facts, KeyPlace, fill, placeholders, split};

/// The wire formats that are built in.
const APIS: [&str; 9] = [
    "chat-completions",
    "responses",
    "completions",
    "embeddings",
    "images",
    "models",
    "messages",
    "rerank",
    "bedrock-converse",
];

/// Names that a capture cannot have.
const RESERVED: [&str; 5] = ["provider", "host", "path", "url", "secret"];

/// A capture of a client path for a placeholder of the facts.
pub fn capture(name: &str) -> String {
    let bare = name.trim_end_matches("...");
    let lower = bare.to_ascii_lowercase();
    let lower = if RESERVED.contains(&bare) { format!("the_{lower}") } else { lower };
    name.replacen(bare, &lower, 1)
}

/// The whole upstream URL of an endpoint, with the facts' placeholders.
pub fn upstream_url(facts: &Facts, path: &str) -> String {
    if path.starts_with('/') {
        return format!("{}{path}", facts.base_url);
    }
    path.replacen("wss://", "https://", 1)
}

/// Path and query of it.
fn target(url: &str) -> (String, Option<String>) {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    (split(path).1.to_owned(), query.map(str::to_owned))
}

/// The provider file of one vendor.
pub fn file(facts: &Facts, addition: &Addition, without: &[&str]) -> Map<String, Value> {
    let (origin, _) = split(&facts.base_url);
    let mut file = Map::new();
    file.insert("title".into(), json!(facts.name));
    file.insert("path_prefix".into(), json!("/proxy/{provider}"));
    let servers = servers(facts, addition);
    let mut fields = key_fields(facts);
    fields.extend(addition.fields.iter().map(|one| Value::Object(one.clone())));
    if servers.is_empty() {
        file.insert("base_url".into(), json!(template(addition, origin)));
    } else {
        file.insert("base_url".into(), json!("{server}"));
        let default = fill(origin, |name| value(addition, name));
        fields.push(json!({ "name": "server", "kind": "origin", "default": default }));
    }
    if !fields.is_empty() {
        file.insert("credentials".into(), json!({ "field": fields }));
    }
    if let Some(caller) = caller(facts) {
        file.insert("caller".into(), caller);
    }
    file.insert("auth".into(), auth(facts, addition));
    let literal = |(_, value): &(&String, &String)| !value.contains('{') && !value.contains(' ');
    let headers: Map<String, Value> = facts
        .required_headers
        .iter()
        .filter(literal)
        .map(|(name, value)| (name.to_ascii_lowercase(), json!(value)))
        .collect();
    if !headers.is_empty() {
        file.insert("headers".into(), json!({ "default": headers }));
    }
    if let Some(front) = sdk_front(facts) {
        file.insert("path_prefixes".into(), json!([format!("/proxy/{{provider}}{front}")]));
    }
    endpoints(facts, addition, without, &mut file);
    merge(&mut file, &addition.file);
    file
}

/// The value of a placeholder that is no capture.
pub fn value(addition: &Addition, name: &str) -> String {
    addition.values.get(name).cloned().unwrap_or_else(|| format!("{{{name}}}"))
}

/// Origins besides those of the endpoints, for which the origin is a value of the user.
pub fn servers(facts: &Facts, addition: &Addition) -> Vec<String> {
    if addition.file.contains_key("base_url") {
        return Vec::new();
    }
    let scheme = facts.base_url.split("://").next().unwrap_or_default();
    let mut used = vec![split(&facts.base_url).0.to_owned()];
    used.extend(facts.endpoints.values().map(|one| split(&upstream_url(facts, &one.1)).0.to_owned()));
    used.extend(token_hosts(facts, addition).iter().map(|host| format!("{scheme}://{host}")));
    let spare = facts.hosts.iter().map(|host| format!("{scheme}://{host}")).filter(|one| !used.contains(one));
    let mut servers: Vec<String> = spare.map(|one| fill(&one, |name| value(addition, name))).collect();
    let whole = facts.per_user_fields.iter().any(|one| one.place.starts_with("whole origin"));
    servers.extend(whole.then(|| "http://gpu.lan:8000".to_owned()));
    servers.extend(addition.servers.iter().cloned());
    servers
}

/// The hosts that tokens are fetched from.
pub fn token_hosts(facts: &Facts, addition: &Addition) -> Vec<String> {
    let made = addition.file.get("token").and_then(Value::as_object).into_iter().flat_map(Map::values);
    let made = made.filter_map(|one| one["request"]["url"].as_str());
    made.chain(facts.auth("token_url"))
        .filter_map(|url| Some(split(url).0.split_once("://")?.1.to_owned()))
        .collect()
}

/// The part of the base URL's path that some SDKs put before the version.
pub fn sdk_front(facts: &Facts) -> Option<String> {
    let (_, path) = split(&facts.base_url);
    let front = path.strip_suffix("/v1").filter(|front| !front.is_empty())?;
    facts.needs("sdk-prefix").then(|| front.to_owned())
}

/// The fields of the kind of key that the vendor has.
fn key_fields(facts: &Facts) -> Vec<Value> {
    match facts.style() {
        "bearer" | "header" | "scheme" | "query" => vec![json!({ "name": "apiKey" })],
        "none" if facts.needs("optional-key") => vec![json!({ "name": "apiKey" })],
        "aws_sigv4" => vec![
            json!({ "name": "accessKeyId" }),
            json!({ "name": "secretAccessKey" }),
            json!({ "name": "sessionToken", "optional": true }),
        ],
        "oauth2_refresh" => {
            let mut field = json!({ "name": "oauth", "kind": "oauth2", "grant": "refresh_token" });
            for key in ["token_url", "client_id", "scope"] {
                if let Some(text) = facts.auth(key) {
                    field[key] = json!(text);
                }
            }
            vec![field]
        }
        _ => Vec::new(),
    }
}

/// The places where the vendor's clients put their key.
fn caller(facts: &Facts) -> Option<Value> {
    if let Some(query) = facts.auth("query") {
        return Some(json!({ "query": [query] }));
    }
    let (header, format) = facts.key_place()?;
    match facts.style() {
        "header" if header != "x-api-key" => Some(json!({ "headers": [header] })),
        "scheme" => Some(json!({ "schemes": [format.trim_end_matches("{key}").trim_end()] })),
        _ => None,
    }
}

/// The places of the key that some endpoints have.
pub fn key_places(facts: &Facts, addition: &Addition) -> Vec<KeyPlace> {
    if addition.keys.is_empty() && facts.needs("auth-by-endpoint") {
        let (header, format) = ("x-api-key".to_owned(), "{key}".to_owned());
        return vec![KeyPlace { endpoints: Vec::new(), api: Some("messages".into()), header, format }];
    }
    addition.keys.clone()
}

/// The endpoints of a place.
pub fn endpoints_of<'f>(facts: &'f Facts, place: &KeyPlace) -> Vec<&'f String> {
    let names = facts.endpoints.iter();
    names
        .filter(|(name, one)| place.endpoints.contains(name) || place.api.as_ref() == Some(&one.3))
        .map(|(name, _)| name)
        .collect()
}

fn auth(facts: &Facts, addition: &Addition) -> Value {
    let mut entries = Vec::new();
    for place in key_places(facts, addition) {
        let endpoints = endpoints_of(facts, &place);
        if !endpoints.is_empty() {
            let set = json!({ place.header: place.format.replace("{key}", "{secret}") });
            entries.push(json!({ "field": "apiKey", "endpoints": endpoints, "set": set }));
        }
    }
    let query_key: Vec<(&String, String)> = facts
        .endpoints
        .iter()
        .filter_map(|(name, one)| {
            let (_, query) = target(&one.1);
            let key = query?.split('&').find_map(|pair| Some(pair.strip_suffix("={key}")?.to_owned()))?;
            Some((name, key))
        })
        .collect();
    for (name, key) in query_key {
        entries.push(json!({ "field": "apiKey", "endpoints": [name], "query": { key: "{secret}" } }));
    }
    match facts.style() {
        "bearer" | "header" | "scheme" => {
            let (header, format) = facts.key_place().expect("the facts have a place for the key");
            entries
                .push(json!({ "field": "apiKey", "set": { header: format.replace("{key}", "{secret}") } }));
        }
        "query" => {
            let query = facts.auth("query").expect("the facts have a parameter");
            entries.push(json!({ "field": "apiKey", "query": { query: "{secret}" } }));
        }
        "none" if facts.needs("optional-key") => {
            entries.push(json!({ "field": "apiKey", "set": { "authorization": "Bearer {secret}" } }));
            entries.push(json!({ "none": true }));
        }
        "aws_sigv4" => {
            let service = facts.auth("service").expect("the facts have a service");
            entries.push(json!({ "sign": {
                "kind": "aws-sigv4", "service": service, "region": "{region}", "key_id": "{accessKeyId}",
                "key": "{secretAccessKey}", "session": "{sessionToken}",
            }}));
        }
        "oauth2_refresh" => {
            entries.push(json!({ "field": "oauth", "set": { "authorization": "Bearer {secret}" } }));
        }
        _ => {}
    }
    json!(entries)
}

fn endpoints(facts: &Facts, addition: &Addition, without: &[&str], file: &mut Map<String, Value>) {
    let (base_origin, base_path) = split(&facts.base_url);
    let (mut all, mut origins) = (Map::new(), Map::new());
    for (name, one) in facts.endpoints.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
        let url = upstream_url(facts, &one.1);
        let (origin, _) = split(&url);
        let (upstream, query) = target(&url);
        let mut entry = Map::new();
        let below = if origin == base_origin {
            String::new()
        } else {
            let label = origin
                .split("://")
                .last()
                .unwrap_or_default()
                .split(['.', '{', '}'])
                .next()
                .unwrap_or_default();
            let label = label.trim_end_matches('-').to_owned();
            origins.insert(label.clone(), json!(template(addition, origin)));
            entry.insert("origin".into(), json!(label));
            format!("/{label}")
        };
        let client = match one.1.strip_prefix('/') {
            Some(_) if facts.client_has_version() && !one.1.starts_with("/v1/") => format!("/v1{}", one.1),
            Some(_) if facts.client_has_version() => one.1.clone(),
            Some(_) => format!("{base_path}{}", one.1),
            None => upstream.clone(),
        };
        let client =
            format!("{below}{}", client_path(addition, client.split('?').next().unwrap_or_default()));
        let upstream = template(addition, &upstream);
        entry.insert("method".into(), json!(one.0));
        if fill(&client, |name| format!("{{{}}}", name.trim_end_matches("..."))) != upstream {
            entry.insert("upstream_path".into(), json!(upstream));
        }
        entry.insert("path".into(), json!(client));
        if one.2 == "websocket" {
            entry.insert("upgrade".into(), json!("websocket"));
        }
        if APIS.contains(&one.3.as_str()) && one.2 != "websocket" {
            entry.insert("api".into(), json!(one.3));
        }
        let defaults = query_defaults(addition, query.as_deref());
        if !defaults.is_empty() {
            entry.insert("query".into(), json!({ "default": defaults }));
        }
        all.insert(name.clone(), Value::Object(entry));
    }
    if !origins.is_empty() {
        file.insert("origins".into(), Value::Object(origins));
    }
    file.insert("endpoint".into(), Value::Object(all));
}

/// A template for a part of an upstream URL.
fn template(addition: &Addition, text: &str) -> String {
    fill(text, |name| match (addition.templates.get(name), addition.values.get(name)) {
        (Some(field), _) => format!("{{{field}}}"),
        (None, Some(value)) if !is_field(addition, name) => value.clone(),
        (None, Some(_)) => format!("{{{name}}}"),
        (None, None) => format!("{{{}}}", capture(name).trim_end_matches("...")),
    })
}

/// A client path: values of users are not in it, and captures have names that they may have.
fn client_path(addition: &Addition, path: &str) -> String {
    let own = |segment: &&str| !placeholders(segment).iter().any(|name| addition.values.contains_key(*name));
    let segments: Vec<&str> = path.split('/').filter(own).collect();
    fill(&segments.join("/"), |name| format!("{{{}}}", capture(name)))
}

/// Query parameters whose value is known. The client sends the others.
fn query_defaults(addition: &Addition, query: Option<&str>) -> Map<String, Value> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter_map(|(name, text)| {
            let text = fill(text, |placeholder| value(addition, placeholder));
            (!text.contains('{')).then(|| (name.to_owned(), json!(text)))
        })
        .collect()
}

/// True if a placeholder of the facts is a field.
pub fn is_field(addition: &Addition, name: &str) -> bool {
    addition.fields.iter().any(|field| field.get("name").is_some_and(|one| one == name))
}

/// Replaces keys, in tables key by key. `false` removes an endpoint's key.
pub fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, Value::Null) => drop(into.remove(key)),
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

/// A file as TOML: one line for each key, endpoint and test.
pub fn toml(file: &Map<String, Value>) -> String {
    let mut text = String::new();
    let line = |key: &str, value: &Value| format!("{key} = {}\n", inline(value));
    for (key, value) in file.iter().filter(|(key, _)| *key != "endpoint" && *key != "test") {
        text += &line(&quoted(key), value);
    }
    for (name, endpoint) in file["endpoint"].as_object().expect("endpoints are a table") {
        text += &line(&format!("endpoint.{}", quoted(name)), endpoint);
    }
    for test in file["test"].as_array().expect("tests are a list") {
        text += "[[test]]\n";
        for (key, value) in test.as_object().expect("a test is a table") {
            text += &line(&quoted(key), value);
        }
    }
    text
}

fn quoted(key: &str) -> String {
    let bare = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if bare && !key.is_empty() { key.to_owned() } else { Value::from(key).to_string() }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let pairs: Vec<_> =
                table.iter().map(|(key, one)| format!("{} = {}", quoted(key), inline(one))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
