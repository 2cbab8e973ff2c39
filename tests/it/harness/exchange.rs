//! Exchanges as data, checked in one way: the upstream gets exactly the expected request headers, and the client
//! exactly the expected response headers. Sent headers pass unless the case expects otherwise. An unexpected
//! header fails the test.

use http::StatusCode;
use tollgate::fault::FaultKind;

use super::wire::{Framing, Head, Lines, Message};

/// The expected treatment of a header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    Removed,
    Added,
}

/// The header lines of a message on both sides of the gateway.
#[derive(Debug, Clone, Default)]
struct Fates(Vec<(Fate, String, String)>);

/// A client's request, and the request that the upstream is to get.
#[derive(Debug, Clone)]
pub struct Exchange {
    method: String,
    target: String,
    upstream_target: String,
    lines: Fates,
    body: Vec<u8>,
    framing: Framing,
    upstream_framing: Framing,
    /// The upstream's answer.
    pub answer: Answer,
}

/// An upstream's answer, and the answer that the client is to get.
#[derive(Debug, Clone)]
pub struct Answer {
    status: String,
    lines: Fates,
    body: Vec<u8>,
    framing: Framing,
    client_framing: Framing,
}

/// An answer that the gateway itself generates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault<'a>(pub u16, pub &'a str, pub &'a str);

impl Fates {
    fn push(&mut self, fate: Fate, name: &str, value: &str) {
        self.0.push((fate, name.to_owned(), value.to_owned()));
    }

    fn sent(&self) -> Lines {
        self.on(Fate::Removed)
    }

    fn received(&self) -> Lines {
        self.on(Fate::Added)
    }

    fn on(&self, side: Fate) -> Lines {
        let here = self.0.iter().filter(|(fate, ..)| matches!(fate, Fate::Passes) || *fate == side);
        here.map(|(_, name, value)| (name.clone(), value.clone())).collect()
    }
}

impl Exchange {
    /// A request without a body, answered by `200` and `ok`. `target` is below the provider's prefix.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.into(),
            target: format!("/t{target}"),
            upstream_target: target.into(),
            lines: Fates::default(),
            body: Vec::new(),
            framing: Framing::None,
            upstream_framing: Framing::None,
            answer: Answer::new("200 OK").body("ok"),
        }
    }

    /// `GET /get`.
    pub fn get() -> Self {
        Self::new("GET", "/get")
    }

    /// `POST /post` with a body of known length.
    pub fn post(body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/post").body(body)
    }

    /// Changes the client's path.
    pub fn at(mut self, target: &str, upstream_target: &str) -> Self {
        self.target = target.into();
        self.upstream_target = upstream_target.into();
        self
    }

    /// A body of known length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.framing = Framing::Length(self.body.len() as u64);
        self.upstream_framing = self.framing;
        self
    }

    /// A body in chunks.
    pub fn chunked(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.framing = Framing::Chunked;
        self.upstream_framing = Framing::Chunked;
        self
    }

    /// Keeps the framing on both sides, for a test that writes the body itself.
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self.framed_up(framing)
    }

    /// The framing that the upstream is to get; `Framing::None` means no body.
    pub fn framed_up(mut self, framing: Framing) -> Self {
        self.upstream_framing = framing;
        self
    }

    /// A header that the client sends, and the upstream gets.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.lines.push(Fate::Passes, name, value);
        self
    }

    /// A header that the client sends, and the upstream never gets.
    pub fn removed(mut self, name: &str, value: &str) -> Self {
        self.lines.push(Fate::Removed, name, value);
        self
    }

    /// A header that the upstream gets, though the client did not send it.
    pub fn added(mut self, name: &str, value: &str) -> Self {
        self.lines.push(Fate::Added, name, value);
        self
    }

    /// Sets the upstream's answer.
    pub fn answer(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }

    /// The bytes of the client's request.
    pub fn bytes(&self) -> Vec<u8> {
        let (start, lines) = self.first_lines();
        message(&start, &lines, self.framing, &self.body)
    }

    /// The bytes of its head.
    pub fn head_bytes(&self) -> Vec<u8> {
        let (start, lines) = self.first_lines();
        head(&start, &lines, self.framing)
    }

    fn first_lines(&self) -> (String, Lines) {
        let mut lines = self.lines.sent();
        if !lines.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            lines.insert(0, ("Host".into(), "gateway.test".into()));
        }
        (format!("{} {} HTTP/1.1", self.method, self.target), lines)
    }

    /// Checks the request that the upstream received.
    pub fn check(&self, host: &str, seen: &Message) {
        self.check_head(host, &seen.head);
        assert_eq!(seen.framing, self.upstream_framing);
        let body = if self.upstream_framing == Framing::None { &[][..] } else { &self.body };
        same_bytes(&seen.body, body);
        assert_eq!(seen.trailers, [], "no trailer is sent upstream");
    }

    /// Checks its head alone.
    pub fn check_head(&self, host: &str, seen: &Head) {
        assert_eq!(seen.start, format!("{} {} HTTP/1.1", self.method, self.upstream_target));
        let mut expected = self.lines.received();
        expected.push(("host".into(), host.into()));
        compare("the upstream's request", seen, expected, self.upstream_framing);
    }
}

impl Answer {
    /// An answer with a date and no body.
    pub fn new(status: &str) -> Self {
        let mut lines = Fates::default();
        lines.push(Fate::Passes, "Date", "Tue, 15 Nov 1994 08:12:31 GMT");
        let none = Framing::Length(0);
        Self { status: status.into(), lines, body: Vec::new(), framing: none, client_framing: none }
    }

    /// A body of known length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len() as u64;
        self.framed(Framing::Length(length))
    }

    /// A body in chunks.
    pub fn chunked(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.framed(Framing::Chunked)
    }

    /// A body that ends with the connection; the client gets it in chunks.
    pub fn until_close(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.framing = Framing::Close;
        self.client_framing = Framing::Chunked;
        self
    }

    /// Without any framing header.
    pub fn bare(self) -> Self {
        self.framed(Framing::None)
    }

    /// Keeps the framing on both sides.
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self.client_framing = framing;
        self
    }

    /// A header that the upstream sends, and the client gets.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.lines.push(Fate::Passes, name, value);
        self
    }

    /// A header that the upstream sends, and the client never gets.
    pub fn removed(mut self, name: &str, value: &str) -> Self {
        self.lines.push(Fate::Removed, name, value);
        self
    }

    /// A header that the client gets, though the upstream did not send it.
    pub fn added(mut self, name: &str, value: &str) -> Self {
        self.lines.push(Fate::Added, name, value);
        self
    }

    /// True if the upstream closes the connection after it.
    pub fn closes(&self) -> bool {
        self.framing == Framing::Close
    }

    /// The bytes of the upstream's answer.
    pub fn bytes(&self) -> Vec<u8> {
        message(&format!("HTTP/1.1 {}", self.status), &self.lines.sent(), self.framing, &self.body)
    }

    /// The bytes of its head, for a test that writes the body itself.
    pub fn head_bytes(&self) -> Vec<u8> {
        head(&format!("HTTP/1.1 {}", self.status), &self.lines.sent(), self.framing)
    }

    /// Checks the answer that the client received.
    pub fn check(&self, cors: &str, seen: &Message) {
        self.check_head(cors, &seen.head);
        same_bytes(&seen.body, &self.body);
        assert_eq!(seen.trailers, [], "no trailer that nobody asked for");
    }

    /// Checks its head alone.
    pub fn check_head(&self, cors: &str, seen: &Head) {
        assert_eq!(seen.start, format!("HTTP/1.1 {}", self.status));
        let mut expected = self.lines.received();
        expected.extend(own_lines(cors));
        compare("the client's answer", seen, expected, self.client_framing);
    }
}

const CALLER: &str = "Invalid or missing auth credentials";
const ADMIN: &str = "Invalid or missing admin credentials";

/// The refusals of a token, for users and for admins: there is none, it looks like none of tollgate's, it is not valid.
pub const NO_TOKEN: Fault<'static> = Fault(401, "missing_token", CALLER);
/// See [`NO_TOKEN`].
pub const FOREIGN_TOKEN: Fault<'static> = Fault(401, "foreign_token", CALLER);
/// See [`NO_TOKEN`].
pub const WRONG_TOKEN: Fault<'static> = Fault(401, "invalid_token", CALLER);
/// See [`NO_TOKEN`].
pub const NO_ADMIN: Fault<'static> = Fault(401, "missing_token", ADMIN);
/// See [`NO_TOKEN`].
pub const FOREIGN_ADMIN: Fault<'static> = Fault(401, "foreign_token", ADMIN);
/// See [`NO_TOKEN`].
pub const WRONG_ADMIN: Fault<'static> = Fault(401, "invalid_admin_token", ADMIN);

/// The codes whose messages go on after the first sentence, with advice. `own_errors` checks that.
const ADVISED: [&str; 6] = [
    "route_not_found",
    "missing_token",
    "foreign_token",
    "invalid_token",
    "invalid_admin_token",
    "credential_missing",
];

impl<'a> From<(u16, &'a str, &'a str)> for Fault<'a> {
    fn from((status, code, message): (u16, &'a str, &'a str)) -> Self {
        Self(status, code, message)
    }
}

impl<'a> From<(u16, &'a str, &'a String)> for Fault<'a> {
    fn from((status, code, message): (u16, &'a str, &'a String)) -> Self {
        Self(status, code, message)
    }
}

impl Fault<'_> {
    /// Checks a message, of which advice is left out here.
    pub fn check_message(self, said: Option<&str>) {
        let Self(_, code, text) = self;
        let advice = said.and_then(|said| said.strip_prefix(text));
        let is_same = |advice: &str| advice.is_empty() || ADVISED.contains(&code) && advice.starts_with(". ");
        assert!(advice.is_some_and(is_same), "{said:?} is not {text:?}");
    }

    /// Checks an answer of the gateway's own: status, code and message. The error has the shape of most APIs,
    /// unless a file defines another. `cors` is empty below reserved prefixes.
    pub fn check(self, cors: Option<&str>, seen: &Message) {
        let Self(status, code, _) = self;
        let kind = FaultKind::ALL.iter().find(|kind| kind.code() == code);
        let kind = kind.unwrap_or_else(|| panic!("`{code}` is no code"));
        assert_eq!(seen.head.status(), status, "{:?} {}", seen.head, seen.body.escape_ascii());
        let body: serde_json::Value = serde_json::from_slice(&seen.body).expect("a fault is JSON");
        self.check_message(body["error"]["message"].as_str());
        if body["type"] == "error" {
            assert_eq!(body["request_id"].as_str(), seen.head.get("tollgate-request-id"));
        }
        assert_eq!(body["error"]["code"], code);
        let mut expected: Lines = cors.map_or_else(|| own_lines("").split_off(5), own_lines);
        if cors.is_none() {
            expected.push(("cache-control".into(), "no-store".into()));
        }
        expected.push(("content-type".into(), "application/json".into()));
        let proxy_status = format!("tollgate; error={}; details=\"{code}\"", kind.proxy_error());
        expected.push(("proxy-status".into(), proxy_status));
        for name in ["x-request-id", "request-id"] {
            expected.push((name.into(), seen.head.get("tollgate-request-id").unwrap().into()));
        }
        let is_final = kind.is_final(StatusCode::from_u16(status).unwrap());
        if is_final {
            expected.push(("x-should-retry".into(), "false".into()));
        }
        match status {
            401 => expected.push(("www-authenticate".into(), "Bearer realm=\"tollgate\"".into())),
            429 | 503 if !is_final => {
                let pause = if *kind == FaultKind::TooManyCalls { "1" } else { "5" };
                expected.push(("retry-after".into(), pause.into()));
            }
            _ => {}
        }
        if *kind == FaultKind::UpgradeRefused {
            expected.push(("upgrade".into(), "HTTP/1.1".into()));
            expected.push(("connection".into(), "upgrade".into()));
        }
        let mut head = seen.head.clone();
        // The gateway generates this answer, so its clock counts. The end may be the connection's too.
        head.lines.retain(|line| line.0 != "date" && *line != ("connection".into(), "close".into()));
        compare("the gateway's own answer", &head, expected, Framing::Length(seen.body.len() as u64));
    }
}

/// The lines of every answer: CORS, then the request id with any value.
fn own_lines(cors: &str) -> Lines {
    let lines = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        ("access-control-allow-headers", cors),
        ("access-control-expose-headers", "*"),
        ("access-control-max-age", "86400"),
        ("tollgate-request-id", "*"),
    ];
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Compares header lines as sets, ignoring the case of names. Framing headers follow the framing.
fn compare(what: &str, seen: &Head, mut expected: Lines, framing: Framing) {
    match framing {
        Framing::Length(length) => expected.push(("content-length".into(), length.to_string())),
        Framing::Chunked => expected.push(("transfer-encoding".into(), "chunked".into())),
        Framing::None | Framing::Close => {}
    }
    let (unexpected, missing) = differences(seen, expected);
    assert!(
        unexpected.is_empty() && missing.is_empty(),
        "{what}: nobody asked for {unexpected:?}; missing {missing:?}"
    );
}

/// The unexpected lines, and the missing ones.
fn differences(seen: &Head, mut expected: Lines) -> (Lines, Lines) {
    let mut seen = seen.lines.clone();
    // Every answer on a connection that goes on has both; `closing` checks the value, and when they are absent.
    let is_announced = |line: &(String, String)| match line.0.as_str() {
        "connection" => line.1 == "keep-alive",
        "keep-alive" => line.1.starts_with("timeout="),
        _ => false,
    };
    if seen.iter().filter(|line| is_announced(line)).count() == 2 {
        seen.retain(|line| !is_announced(line));
    }
    for line in &mut seen {
        if line.0 == "tollgate-request-id" && !line.1.is_empty() {
            line.1 = "*".into();
        }
    }
    for line in &mut expected {
        line.0 = line.0.to_ascii_lowercase();
    }
    (without(&seen, &expected), without(&expected, &seen))
}

/// The lines that have no counterpart in `others`.
fn without(lines: &Lines, others: &Lines) -> Lines {
    let mut others = others.clone();
    let mut alone = lines.clone();
    alone.retain(|line| match others.iter().position(|other| other == line) {
        Some(at) => {
            others.remove(at);
            false
        }
        None => true,
    });
    alone
}

/// A plain comparison: `assert_eq` would print both bodies.
fn same_bytes(seen: &[u8], expected: &[u8]) {
    let differ = seen.iter().zip(expected).position(|(a, b)| a != b);
    let (seen_len, expected_len) = (seen.len(), expected.len());
    assert!(seen == expected, "{seen_len} bytes for {expected_len}, the first difference at {differ:?}");
}

fn message(start: &str, lines: &Lines, framing: Framing, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(start, lines, framing);
    match framing {
        Framing::Length(_) | Framing::Close => bytes.extend_from_slice(body),
        Framing::Chunked => {
            for piece in body.chunks(16 * 1024) {
                bytes.extend(chunk(piece));
            }
            bytes.extend(b"0\r\n\r\n");
        }
        Framing::None => {}
    }
    bytes
}

fn head(start: &str, lines: &Lines, framing: Framing) -> Vec<u8> {
    let lines = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let framing = match framing {
        Framing::Length(length) => format!("Content-Length: {length}\r\n"),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::None | Framing::Close => String::new(),
    };
    let text = format!("{start}\r\n{}{framing}\r\n", lines.collect::<String>());
    text.chars().map(|c| u8::try_from(c).expect("tests write Latin-1")).collect()
}

/// One chunk.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unexpected_or_missing_header_is_found() {
        let lines = |text: &str| -> Lines {
            let pairs = text.split_terminator(';').map(|line| line.split_once('=').unwrap());
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let check = |seen: &str, expected: &str, unexpected: &str, missing: &str| {
            let head = Head { start: String::new(), lines: lines(seen) };
            assert_eq!(differences(&head, lines(expected)), (lines(unexpected), lines(missing)), "{seen}");
        };
        check("", "", "", "");
        check("a=1;b=2;", "b=2;A=1;", "", "");
        check("a=1;b=2;", "a=1;", "b=2;", "");
        check("a=1;", "a=1;b=2;", "", "b=2;");
        check("a=1;a=1;", "a=1;", "a=1;", "");
        check("a=1;", "a=1;a=1;", "", "a=1;");
        check("a=1;", "a=2;", "a=1;", "a=2;");
        check("tollgate-request-id=x;", "tollgate-request-id=*;", "", "");
        check(
            "tollgate-request-id=;",
            "tollgate-request-id=*;",
            "tollgate-request-id=;",
            "tollgate-request-id=*;",
        );
    }
}
