//! The tests of a generated file: the upstream requests that the facts say, for each endpoint, each way to authenticate and
//! each host. Of the file, they use the client paths alone.

use serde_json::{Map, Value, json};

use crate::{
    facts::{Addition, Alternative, Endpoint, Facts, fill, placeholders, split},
    generate::{capture, endpoints_of, is_field, key_places, sdk_front, servers, upstream_url},
};

/// A request for an endpoint, and the upstream request that the facts say.
struct Case {
    name: String,
    request: Map<String, Value>,
    credentials: Map<String, Value>,
    url: String,
    method: String,
    headers: Map<String, Value>,
    absent: Vec<String>,
    token: Option<&'static str>,
    /// Further keys of the test.
    test: Map<String, Value>,
    /// Further expectations.
    expect: Map<String, Value>,
}

/// All tests of a file.
pub fn tests(facts: &Facts, addition: &Addition, file: &Map<String, Value>) -> Vec<Value> {
    let endpoints = file["endpoint"].as_object().expect("endpoints are a table");
    let known = || facts.endpoints.iter().filter(|(name, _)| endpoints.contains_key(*name));
    let case = |name: &str, one: &Endpoint| Case::new(facts, addition, name, one, &endpoints[name]);
    let mut cases: Vec<Case> = known().map(|(name, one)| case(name, one)).collect();
    let (first, plain) = known().find(|(_, one)| one.2 != "websocket").expect("a plain endpoint");
    let first_case = || case(first, plain);
    cases.push(first_case().with_clients_own_key(facts));
    cases.push(first_case().with_optional_headers(facts, file));
    if let Some(front) = sdk_front(facts) {
        cases.push(first_case().below(facts, &front));
    }
    for server in servers(facts, addition) {
        cases.push(first_case().at(&server));
    }
    for (at, alternative) in addition.alt.iter().enumerate() {
        let name = alternative.endpoint.as_ref().unwrap_or(first);
        let case = case(name, &facts.endpoints[name]);
        cases.push(case.another_way(at, alternative));
    }
    if facts.needs("optional-key") {
        cases.push(first_case().without_key());
    }
    cases.into_iter().map(Case::into_test).collect()
}

impl Case {
    fn new(facts: &Facts, addition: &Addition, name: &str, one: &Endpoint, endpoint: &Value) -> Self {
        let url = upstream_url(facts, &one.1);
        let sample = |name: &str| sample(addition, name);
        let (url, query) = url.split_once('?').map_or((&*url, None), |(url, query)| (url, Some(query)));
        let mut url = fill(url, sample);
        let path = endpoint["path"].as_str().expect("an endpoint has a path");
        let mut path = format!("/proxy/{}{}", facts.id, fill(path, sample));
        let mut credentials = credentials(facts, addition);
        let (mut of_client, mut added) = (Vec::new(), Vec::new());
        for pair in query.into_iter().flat_map(|query| query.split('&')) {
            let known = |name: &&str| *name == "key" || addition.values.contains_key(*name);
            let list = if placeholders(pair).iter().all(known) { &mut added } else { &mut of_client };
            list.push(fill(&pair.replace("{key}", "key"), sample));
        }
        path += &query_of(&of_client);
        added.extend(addition.query.iter().map(|(name, value)| format!("{name}={value}")));
        added.extend(facts.auth("query").map(|name| format!("{name}=key")));
        url += &query_of(&[of_client, added].concat());
        let mut headers = key_header(facts, addition, name);
        let mut sent = Map::new();
        for (header, value) in required(facts, addition) {
            if value.is_empty() {
                sent.insert(header.clone(), json!("of-the-client"));
                headers.insert(header, json!("of-the-client"));
            } else {
                headers.insert(header, json!(value));
            }
        }
        if one.2 == "websocket" {
            sent.insert("upgrade".into(), json!("websocket"));
            headers.insert("upgrade".into(), json!("websocket"));
        }
        let mut request = Map::from_iter([("method".into(), json!(one.0)), ("path".into(), json!(path))]);
        if !sent.is_empty() {
            request.insert("headers".into(), json!(sent));
        }
        if let Some(own) = &addition.credentials {
            credentials.extend(own.clone());
        }
        let absent = Vec::new();
        let mut test = Map::new();
        if !addition.vars.is_empty() {
            test.insert("vars".into(), json!(addition.vars));
        }
        test.extend(addition.token_reply.iter().map(|reply| ("token_reply".to_owned(), reply.clone())));
        let expect = addition.expect.clone();
        let (name, method) = (name.to_owned(), one.0.clone());
        Self { name, request, credentials, url, method, headers, absent, token: None, test, expect }
    }

    fn header(&mut self, name: &str, value: &str) {
        let headers = self.request.entry("headers").or_insert_with(|| json!({}));
        headers[name] = json!(value);
    }

    /// The client puts its token where the vendor's clients put their key.
    fn with_clients_own_key(mut self, facts: &Facts) -> Self {
        self.name = "the client's token, in the vendor's own place".into();
        self.token = Some("client-token");
        if let Some(query) = facts.auth("query") {
            let path = self.request["path"].as_str().unwrap_or_default();
            let separator = if path.contains('?') { '&' } else { '?' };
            self.request["path"] = json!(format!("{path}{separator}{query}=client-token"));
            return self;
        }
        match facts.key_place() {
            Some((header, format)) if format.contains("{key}") => {
                self.header(&header, &format.replace("{key}", "client-token"));
            }
            _ => self.header("authorization", "Bearer client-token"),
        }
        self
    }

    /// Headers that clients may send pass, unless the file sets them.
    fn with_optional_headers(mut self, facts: &Facts, file: &Map<String, Value>) -> Self {
        self.name = "optional headers".into();
        let written =
            format!("{}{}", file["auth"], file.get("headers").unwrap_or(&Value::Null)).to_ascii_lowercase();
        for header in facts.optional_headers.keys().map(|one| one.to_ascii_lowercase()) {
            if !written.contains(&format!("\"{header}\"")) {
                self.header(&header, "of-the-client");
                self.headers.insert(header, json!("of-the-client"));
            }
        }
        self
    }

    /// The path that an SDK makes.
    fn below(mut self, facts: &Facts, front: &str) -> Self {
        self.name = "the path of the vendor's SDK".into();
        let prefix = format!("/proxy/{}", facts.id);
        let path = self.request["path"].as_str().unwrap_or_default();
        self.request["path"] = json!(path.replacen(&prefix, &format!("{prefix}{front}"), 1));
        self
    }

    /// Another origin of the vendor's.
    fn at(mut self, server: &str) -> Self {
        self.name = format!("at {server}");
        self.url = format!("{server}{}", split(&self.url).1);
        self.credentials.insert("server".into(), json!(server));
        self
    }

    fn another_way(mut self, at: usize, alternative: &Alternative) -> Self {
        self.name = format!("another way, {}", at + 1);
        self.credentials.clone_from(&alternative.credentials);
        self.headers.extend(alternative.headers.iter().map(|(name, value)| (name.clone(), json!(value))));
        self.headers.retain(|name, value| !alternative.absent.contains(name) && value != "");
        self.absent.clone_from(&alternative.absent);
        self.expect.clone_from(&alternative.expect);
        self.test.remove("token_reply");
        let reply = alternative.token_reply.iter();
        self.test.extend(reply.map(|reply| ("token_reply".to_owned(), reply.clone())));
        if let Some(host) = &alternative.host {
            self.url = format!("https://{host}{}", split(&self.url).1);
        }
        self
    }

    fn without_key(mut self) -> Self {
        self.name = "without a key".into();
        self.credentials.remove("apiKey");
        self.headers.remove("authorization");
        self.absent.push("authorization".into());
        self
    }

    fn into_test(self) -> Value {
        let mut expect = json!({ "url": self.url, "method": self.method, "headers": self.headers });
        for (name, value) in self.expect {
            expect[name] = value;
        }
        if !self.absent.is_empty() {
            expect["absent"] = json!(self.absent);
        }
        if let Some(token) = self.token {
            expect["token"] = json!(token);
        }
        let mut test = json!({ "name": self.name, "request": self.request, "expect": expect });
        for (name, value) in self.test {
            test[name] = value;
        }
        if !self.credentials.is_empty() {
            test["credentials"] = json!(self.credentials);
        }
        test
    }
}

fn query_of(pairs: &[String]) -> String {
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// The text of a placeholder in a test.
fn sample(addition: &Addition, name: &str) -> String {
    let bare = capture(name.trim_end_matches("..."));
    let texts = addition.samples.iter().chain(&addition.values);
    let known = texts.into_iter().find(|(name, _)| **name == bare || capture(name) == bare);
    let several = if name.ends_with("...") { "/1" } else { "-1" };
    known.map_or_else(|| format!("{bare}{several}"), |(_, text)| text.clone())
}

/// What is stored: the key, and the values of users.
fn credentials(facts: &Facts, addition: &Addition) -> Map<String, Value> {
    let mut stored = Map::new();
    match facts.style() {
        "bearer" | "header" | "scheme" | "query" => drop(stored.insert("apiKey".into(), json!("key"))),
        "none" if facts.needs("optional-key") => drop(stored.insert("apiKey".into(), json!("key"))),
        "oauth2_refresh" => drop(stored.insert("oauth".into(), json!("login"))),
        "aws_sigv4" => {
            stored.insert("accessKeyId".into(), json!("AKIDEXAMPLE"));
            stored.insert("secretAccessKey".into(), json!("secret"));
        }
        _ => {}
    }
    let fields = addition.values.iter().filter(|(name, _)| is_field(addition, name));
    stored.extend(fields.map(|(name, value)| (name.clone(), json!(value))));
    stored
}

/// The header with the key, for an endpoint.
fn key_header(facts: &Facts, addition: &Addition, endpoint: &str) -> Map<String, Value> {
    let mut headers = key_header_of_facts(facts, addition, endpoint);
    let own = addition.headers.iter().filter(|(name, _)| !is_required(facts, name));
    headers.extend(own.map(|(name, value)| (name.clone(), json!(value))));
    headers.retain(|_, value| value != "");
    headers
}

fn is_required(facts: &Facts, header: &str) -> bool {
    facts.required_headers.keys().any(|one| one.eq_ignore_ascii_case(header))
}

fn key_header_of_facts(facts: &Facts, addition: &Addition, endpoint: &str) -> Map<String, Value> {
    let mut headers = Map::new();
    let places = key_places(facts, addition);
    if let Some(place) =
        places.iter().find(|place| endpoints_of(facts, place).iter().any(|one| *one == endpoint))
    {
        headers.insert(place.header.clone(), json!(place.format.replace("{key}", "key")));
        return headers;
    }
    match facts.key_place() {
        _ if facts.endpoints[endpoint].1.contains("={key}") => {}
        Some((header, format)) if format == "Bearer {access_token}" && facts.style() == "oauth2_refresh" => {
            headers.insert(header, json!("Bearer login"));
        }
        Some((header, format)) if format.contains("{key}") => {
            headers.insert(header, json!(format.replace("{key}", "key")));
        }
        None if facts.needs("optional-key") => {
            drop(headers.insert("authorization".into(), json!("Bearer key")));
        }
        _ => {}
    }
    headers
}

/// The headers that the vendor demands. Prose needs an addition.
fn required(facts: &Facts, addition: &Addition) -> Vec<(String, String)> {
    let one = |(name, value): (&String, &String)| {
        let name = name.to_ascii_lowercase();
        let prose = value.contains('{') || value.contains(' ');
        let value = match addition.headers.get(&name) {
            Some(said) => said.clone(),
            None if prose => panic!("{}: the header `{name}` needs an addition", facts.id),
            None => value.clone(),
        };
        (name, value)
    };
    facts.required_headers.iter().map(one).collect()
}
