//! The API of a running gateway as a client calls it. Every answer is checked against the `OpenAPI` document: an
//! undocumented call, status or shape fails the test.

use std::{collections::BTreeMap, net::SocketAddr, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{exchange::Fault, gateway::root, wire::Wire, world::World};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(root().join("schema/openapi.json")).expect("the document is there");
    serde_json::from_str(&text).expect("the document is JSON")
});

/// By method, path and status.
static SCHEMAS: LazyLock<BTreeMap<(String, String, u16), Validator>> = LazyLock::new(|| {
    let paths = DOCUMENT["paths"].as_object().expect("it has paths");
    let calls = paths.iter().flat_map(|(path, calls)| {
        let calls = calls.as_object().expect("paths have calls");
        calls.iter().map(move |(method, call)| (method.to_ascii_uppercase(), path.clone(), call))
    });
    let answers = calls.flat_map(|(method, path, call)| {
        let answers = call["responses"].as_object().expect("calls have answers");
        answers.iter().map(move |(status, answer)| {
            let mut schema = answer["content"]["application/json"]["schema"].clone();
            schema["components"] = DOCUMENT["components"].clone();
            let status = status.parse().expect("a status is a number");
            let validator = jsonschema::validator_for(&schema).expect("schemas are valid");
            ((method.clone(), path.clone(), status), validator)
        })
    });
    answers.collect()
});

/// The answer to a call.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The document.
    pub body: Value,
    /// `Link`, if there is one.
    pub link: Option<String>,
    /// The values of `Set-Cookie`.
    pub cookies: Vec<String>,
}

/// A caller: a token, and the address to call.
#[derive(Debug, Clone)]
pub struct Api {
    address: SocketAddr,
    token: String,
    /// The header lines of its requests.
    lines: String,
}

impl Api {
    /// A caller with this token.
    pub fn new(address: SocketAddr, token: &str) -> Self {
        let lines = format!("Authorization: Bearer {token}\r\n");
        Self { address, token: token.to_owned(), lines }
    }

    /// The admin of a world.
    pub fn admin(world: &World) -> Self {
        let token =
            std::fs::read_to_string(world.home.data().join("admin-token")).expect("it was made at the start");
        Self::new(world.gateway.address, token.trim_end())
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The same address with another token.
    pub fn with(&self, token: &str) -> Self {
        Self::new(self.address, token)
    }

    /// The same address with these header lines in place of a token.
    pub fn with_lines(&self, lines: &str) -> Self {
        Self { address: self.address, token: String::new(), lines: lines.to_owned() }
    }

    /// A page of tollgate's own, after a sign-in at this path with the token.
    pub fn signed_in(&self, path: &str) -> Self {
        let reply = self.get(&format!("POST {path}"));
        let [cookie] = reply.cookies.as_slice() else { panic!("{path}: {reply:?}") };
        let (pair, _) = cookie.split_once(';').expect("a cookie has attributes");
        let lines = format!("Cookie: {pair}\r\nSec-Fetch-Site: same-origin\r\n");
        Self { token: pair.split_once('=').expect("a value").1.to_owned(), ..self.with_lines(&lines) }
    }

    /// A call with a raw body.
    pub fn send(&self, line: &str, body: &[u8]) -> Reply {
        let mut client = self.begin(line, body);
        Self::finish(&mut client, line)
    }

    /// Sends a call with a raw body. Returns its connection.
    pub fn begin(&self, line: &str, body: &[u8]) -> Wire {
        let mut client = Wire::connect(self.address);
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let lines = &self.lines;
        let head = format!("{line} HTTP/1.1\r\nHost: gateway.test\r\n{lines}{length}\r\n");
        client.send([head.as_bytes(), body].concat());
        client
    }

    /// The answer to a call that was sent.
    pub fn finish(client: &mut Wire, line: &str) -> Reply {
        let answer = client.answer().unwrap_or_else(|broken| panic!("{line}: {broken:?}; {client:?}"));
        assert_eq!(answer.head.get("cache-control"), Some("no-store"), "{line}");
        assert_eq!(answer.head.get("content-type"), Some("application/json"), "{line}");
        assert_eq!(answer.head.get("access-control-allow-origin"), None, "{line}");
        let status = answer.head.status();
        let body = serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{line}: {error}"));
        let next = answer.head.get("link").map(str::to_owned);
        hold(line, status, &body);
        let cookies = answer.head.all("set-cookie");
        Reply { status, body, link: next, cookies }
    }

    /// A call with a document.
    pub fn call(&self, line: &str, body: &Value) -> Reply {
        self.send(line, body.to_string().as_bytes())
    }

    /// A call without a body.
    pub fn get(&self, line: &str) -> Reply {
        self.send(line, b"")
    }

    /// A call that must succeed. Returns its document.
    pub fn done(&self, line: &str, body: &Value) -> Value {
        let reply = if body.is_null() { self.get(line) } else { self.call(line, body) };
        assert!(reply.status < 300, "{line} {body}: {reply:?}");
        reply.body
    }

    /// Confirms all that waits for it, below this path. Returns what was confirmed.
    pub fn confirms(&self, path: &str) -> Value {
        let waiting = self.done(&format!("GET {path}/confirm"), &Value::Null);
        let moved = waiting["unconfirmed"].as_object().expect("an object").iter();
        let origins: Value = moved.map(|(place, moved)| (place.clone(), moved["to"].clone())).collect();
        let origins = if origins.is_null() { json!({}) } else { origins };
        self.done(&format!("POST {path}/confirm"), &json!({ "origins": origins }))["confirmed"].clone()
    }

    /// A call that must fail with this status, code and message.
    pub fn fails<'f>(&self, line: &str, body: &Value, fault: impl Into<Fault<'f>>) {
        let fault @ Fault(status, code, _) = fault.into();
        let reply = if body.is_null() { self.get(line) } else { self.call(line, body) };
        let error = &reply.body["error"];
        assert_eq!((reply.status, error["code"].as_str()), (status, Some(code)), "{line} {body}");
        fault.check_message(error["message"].as_str());
        assert!(error["type"].is_string(), "{line} {body}");
    }

    /// Creates a user. Returns the id and the token.
    pub fn user(&self, name: &str) -> (String, String) {
        let made = self.done("POST /admin/users", &json!({ "name": name }));
        let text = |key: &str| made[key].as_str().expect("it is a text").to_owned();
        (text("userId"), text("token"))
    }
}

/// Checks an answer against the document.
fn hold(line: &str, status: u16, body: &Value) {
    let (method, target) = line.split_once(' ').expect("a line has a method and a path");
    let path = target.split('?').next().unwrap_or_default();
    let matches = |template: &str| {
        template.split('/').count() == path.split('/').count()
            && template
                .split('/')
                .zip(path.split('/'))
                .all(|(wanted, step)| wanted == step || wanted.starts_with('{'))
    };
    // Paths with literal segments precede those with captures.
    let templates = DOCUMENT["paths"].as_object().expect("it has paths").iter();
    let known =
        templates.filter(|(path, calls)| matches(path) && calls.get(method.to_ascii_lowercase()).is_some());
    let Some((template, _)) = known.min_by_key(|(path, _)| path.matches('{').count()) else {
        assert!([401, 403, 404].contains(&status), "{line} is not documented, and answered {status}");
        return;
    };
    let schema = SCHEMAS.get(&(method.to_owned(), template.clone(), status));
    let schema = schema.unwrap_or_else(|| panic!("{line}: {status} is not documented: {body}"));
    assert!(schema.is_valid(body), "{line}: {status} has another shape: {body}");
}
