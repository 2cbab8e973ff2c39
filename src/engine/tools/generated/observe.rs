//! Runs requests against a compiled provider, with the functions that serve requests.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use http::{HeaderMap, Request, StatusCode, Version, request::Parts};

use super::{Random, Setting};
use crate::{
    base::{fault::Fault, secret::Secret},
    language::{
        auth::{FieldValue, FieldValues},
        bind,
        compile::{ErrorValues, Provider, VarSource},
    },
    request::{
        decide::{self, Begun, CallerFacts, Candidate, Listener, ProviderCall},
        rewrite::{self, Fresh, RewrittenResponse},
        table::{Hit, Table},
    },
};

/// The stored credentials: a key, a login that some entries match, and a field that no file has.
const KEYS: &[(&str, &str)] =
    &[("key", "k-SECRET"), ("login", "l-SECRET"), ("login", "l-a-SECRET"), ("nothing", "n-SECRET")];
/// The values that users store in the fields `zone`, `plan` and `server`.
pub(in crate::tools) const VALUES: &[[&str; 3]] = &[
    ["de", "free", "https://gpu.lan:8000"],
    ["NL", "PAID", "http://gpu.lan"],
    ["it", "PAID", "https://api.example"],
    ["de", "free", "https://de.api.example"],
];
/// The mark of every stored credential.
pub(in crate::tools) const SECRET: &str = "SECRET";
const TOKEN: &str = "caller-token-0123";

/// A request that was sent.
#[derive(Debug)]
pub(in crate::tools) struct Sent {
    /// The method and the path of the client.
    pub method: String,
    pub path: String,
    /// The origin that the connection goes to, and the one of the URL before a wrapping egress.
    pub origins: [String; 2],
    pub url: String,
    pub headers: HeaderMap,
}

/// All that a provider does with some requests under one setting.
#[derive(Debug, Default)]
pub(in crate::tools) struct Outcome {
    /// The requests that were sent.
    pub sent: Vec<Sent>,
    /// Everything as text, to compare.
    pub text: String,
    /// The sources of vars that were read.
    pub read: BTreeSet<VarSource>,
}

/// Random requests for the paths that generated files have.
pub(in crate::tools) fn requests(random: &mut Random, number: usize) -> Vec<Parts> {
    (0..number).map(|_| request(random)).collect()
}

fn request(random: &mut Random) -> Parts {
    let methods = &["POST", "POST", "PUT", "GET", "DELETE"];
    let paths = &[
        "chat/all",
        "chat/m",
        "chat/m:run",
        "m/chat",
        "files/a/b",
        "files/a",
        "files/a/b/c",
        "chat/m%2Fb",
        "nope",
    ];
    let prefix = random.pick(&["/demo", "/demo", "/demo/x", "/demo/x", "/demo/more"]);
    let path = match random.below(8) {
        0 => "/alias/m".to_owned(),
        _ => format!("{prefix}/v1/{}", random.pick(paths)),
    };
    let query = random.pick(&["", "?k=1", "?safe=9&k=2", "?key=caller-token-0123"]);
    let mut request = Request::builder()
        .method(*random.pick(methods))
        .uri(format!("{path}{query}"))
        .version(Version::HTTP_10)
        .header(*random.pick(&["authorization", "x-api-key", "x-demo-key", "x-fixed"]), TOKEN);
    if random.below(4) == 0 {
        request = request.header("authorization", format!("Token {TOKEN}"));
    }
    let names = &[
        "x-forwarded-for",
        "x_forwarded_for",
        "X-Forwarded_Proto",
        "cf-ray",
        "cf_ray",
        "x-in-a",
        "x_in_a",
        "x-in_b",
        "x-fixed",
        "x_fixed",
        "x-version",
        "x_version",
        "origin",
        "via",
        "user-agent",
        "request-id",
        "request_id",
        "x-gw",
        "x-e",
        "x_e",
        "x-out",
        "x-pass",
        "cookie",
        "x-login",
        "x_login",
        "te",
        "x-other",
    ];
    for _ in 0..random.below(12) {
        request = request.header(*random.pick(names), *random.pick(&["1", "2", "trailers"]));
    }
    if random.below(4) == 0 {
        request = request.header("content-length", *random.pick(&["10", "2000", "2000000000"]));
    }
    request.body(()).unwrap().into_parts().0
}

/// Runs requests under a setting. None if the provider cannot be bound under it: then it does not serve.
pub(in crate::tools) fn observe(
    provider: &Provider,
    setting: &Setting,
    requests: &[Parts],
) -> Option<Outcome> {
    let values = VALUES.iter().cycle();
    let stored = KEYS.iter().cycle().zip(values).map(|((field, secret), [zone, plan, server])| {
        Stored::of(&[("zone", zone), ("plan", plan), ("server", server), (field, secret)])
    });
    observe_with(provider, setting, requests.iter().zip(stored))
}

/// The same, with all that the user of each request has stored.
pub(in crate::tools) fn observe_with<'r>(
    provider: &Provider,
    setting: &Setting,
    requests: impl Iterator<Item = (&'r Parts, Stored)>,
) -> Option<Outcome> {
    let read = RefCell::new(BTreeSet::new());
    let (bound, _) = bind::bind(provider, |_, _, var| {
        read.borrow_mut().insert(var.source.clone());
        setting.get(&var.source).map(|value| (*value).to_owned())
    });
    let table = Table::new(vec![Arc::new(bound?)], Vec::new(), &[provider]);
    let mut outcome = Outcome { read: read.into_inner(), ..Outcome::default() };
    writeln!(outcome.text, "{:?}", table.cors).unwrap();
    for (head, stored) in requests {
        let text = one(&table, head, &stored, &mut outcome.sent);
        writeln!(outcome.text, "{text}").unwrap();
    }
    Some(outcome)
}

/// All that a user has stored: the value of each field.
pub(in crate::tools) struct Stored(BTreeMap<String, Secret>);

impl Stored {
    pub(in crate::tools) fn of(values: &[(&str, &str)]) -> Self {
        Self(values.iter().map(|(field, text)| ((*field).to_owned(), Secret::new(*text))).collect())
    }

    fn get(&self, field: &str) -> Option<Candidate<'_>> {
        self.0.get(field).map(Candidate::given)
    }
}

fn one(table: &Table, head: &Parts, stored: &Stored, sent: &mut Vec<Sent>) -> String {
    let token = rewrite::token(head, table).map(|token| token.expose().to_owned());
    let api = table.error_format(head);
    let refused = |fault: Fault| {
        let values = ErrorValues { status: fault.kind.status(), ..ErrorValues::of(&fault, "id") };
        let body = values.body(api.as_deref());
        format!("refused {} {body}", fault.kind.code())
    };
    let text = match decide::begin(head, table, Listener::ANY) {
        Ok(Begun::Provider(call)) => upstream(call, head, stored, sent).unwrap_or_else(refused),
        Ok(Begun::Own(_) | Begun::Page(_) | Begun::Metrics(_) | Begun::Admin(_) | Begun::SelfService(_)) => {
            "own".to_owned()
        }
        Err(fault) => refused(fault),
    };
    format!("{token:?} {text}")
}

fn upstream(
    call: ProviderCall<'_>,
    head: &Parts,
    stored: &Stored,
    sent: &mut Vec<Sent>,
) -> Result<String, Fault> {
    call.token()?;
    let authorized = call.authenticated(CallerFacts::UNRESTRICTED)?.in_scope()?;
    let candidate = |field: &str| stored.get(field);
    let sendable = authorized.credential([candidate], 0)?.without_refresh();
    let out = sendable.with_body(b"").request(decide::body_bytes(head), Fresh::STAND_IN)?;
    let hit = &authorized.hit;
    let origins = [out.origin.to_string(), before_egress(hit, stored)];
    let metering = hit.endpoint().metering.as_ref().map(|metering| metering.shape());
    let text = format!(
        "{} {} {:?} {:?} {metering:?}\n{}",
        out.method,
        out.url(),
        out.headers,
        hit.endpoint().timeouts,
        answers(hit)
    );
    let (method, path) = (head.method.to_string(), head.uri.path().to_owned());
    sent.push(Sent { method, path, origins, url: out.url(), headers: out.headers });
    Ok(text)
}

/// The client's answers for some answers of the upstream.
fn answers(hit: &Hit) -> String {
    let mut text = String::new();
    for (status, kind) in [(200, "text/html"), (403, "text/html"), (403, "application/json"), (500, "x/y")] {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, kind.parse().unwrap())]);
        let answer = match rewrite::response(hit, StatusCode::from_u16(status).unwrap(), headers, false) {
            RewrittenResponse::Relayed(headers) => format!("{headers:?}"),
            RewrittenResponse::Replaced(rule) => format!("{} {}", rule.reply_status, rule.message),
        };
        writeln!(text, "  {status} {kind}: {answer}").unwrap();
    }
    text
}

/// The origin of the upstream URL, before an egress.
fn before_egress(hit: &Hit, stored: &Stored) -> String {
    let mut values = FieldValues::default();
    for (index, value) in (0..).zip(hit.provider.section.iter().flat_map(|section| &section.values)) {
        match (stored.get(&value.field), &value.default) {
            (Some(candidate), _) => values.push(index, FieldValue::stored(candidate.secret)),
            (None, Some(default)) => values.push(index, FieldValue::Default(default)),
            (None, None) => {}
        }
    }
    hit.provider.destination_of(hit.endpoint()).origin(&values).expect("the request was sent").to_string()
}
