//! Wire formats: the format of errors, so that client libraries understand errors of tollgate itself, and the places of
//! usage. Read next: `places`.

mod places;

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Map, Value};

use super::{
    Compilation,
    filter::Filters,
    glob::{Glob, HeaderGlob},
    metering::Metering,
    template::{Resolved, Template},
};
use crate::{
    base::{
        diag::{Code, Diagnostic, Location},
        fault::{Cause, Fault},
        name::FileName,
    },
    language::syntax::{self, Parsed},
};

pub(super) use places::when_missing;

/// A wire format.
#[derive(Debug)]
pub struct Api {
    /// Its name.
    pub name: FileName,
    /// Its file.
    pub file: Arc<str>,
    /// CORS: headers that clients of the format send from browsers, as names and globs.
    pub cors_headers: Vec<HeaderGlob>,
    /// The operation's name in OpenTelemetry.
    pub operation: Option<Arc<str>>,
    /// The metering of its answers; none if it has no places of usage.
    pub metering: Option<Arc<Metering>>,
    known_by: KnownBy,
    error: Node,
    types: BTreeMap<u16, String>,
    default_type: String,
}

/// The requests that are taken for ones of the format.
#[derive(Debug, Default)]
struct KnownBy {
    headers: Vec<HeaderName>,
    paths: Vec<Glob>,
}

/// The values of an error, for the templates of a format.
#[derive(Debug, Clone, Copy)]
pub struct ErrorValues<'a> {
    /// The HTTP status.
    pub status: StatusCode,
    /// The message for a person.
    pub message: &'a str,
    /// The stable code.
    pub code: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// The code of the exact cause, and the JSON pointer of the part of the body. Only refused calls of tollgate's own
    /// API have them, and only the plain format shows them.
    pub cause: Option<&'a str>,
    /// See `cause`.
    pub at: Option<&'a str>,
}

#[derive(Debug)]
enum Node {
    Text(Template<Word>),
    /// The status as a number.
    Status,
    Fixed(Value),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Message,
    Code,
    Type,
    RequestId,
    Status,
}

impl Api {
    /// A text that is equal for equal formats of errors.
    pub fn shape(&self) -> String {
        // Each endpoint has a metering and an operation of its own.
        let Self {
            name: _,
            file: _,
            cors_headers,
            operation: _,
            metering: _,
            known_by,
            error,
            types,
            default_type,
        } = self;
        format!("{error:?} {types:?} {default_type:?} {cors_headers:?} {known_by:?}")
    }

    /// True if some requests are taken for ones of the format.
    pub fn is_known_by_something(&self) -> bool {
        let KnownBy { headers, paths } = &self.known_by;
        !(headers.is_empty() && paths.is_empty())
    }

    /// True if a request with these headers is taken for one of the format.
    pub fn is_known_by_headers(&self, headers: &HeaderMap) -> bool {
        self.known_by.headers.iter().any(|name| headers.contains_key(name))
    }

    /// True if a request with this path is taken for one of the format. Linear in the path for each of a few globs.
    pub fn is_known_by_path(&self, path: &str) -> bool {
        self.known_by.paths.iter().any(|glob| glob.matches(path))
    }

    /// The body of an error in this format, as compact JSON.
    pub fn error_body(&self, words: &ErrorValues<'_>) -> String {
        let kind = self.types.get(&words.status.as_u16()).unwrap_or(&self.default_type);
        let value = |word: &Word| match word {
            Word::Message => words.message,
            Word::Code => words.code,
            Word::Type => kind,
            Word::RequestId => words.request_id,
            Word::Status => words.status.as_str(),
        };
        self.error.fill(words.status, &value).to_string()
    }
}

/// The body of an error without a wire format.
pub(super) fn plain_error_body(words: &ErrorValues<'_>) -> String {
    let kind = match words.status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    let mut error = serde_json::json!({ "message": words.message, "type": kind, "code": words.code });
    for (key, value) in [("cause", words.cause), ("at", words.at)] {
        if let Some(value) = value {
            error[key] = value.into();
        }
    }
    serde_json::json!({ "error": error }).to_string()
}

impl<'a> ErrorValues<'a> {
    /// The error of a fault.
    pub fn of(fault: &'a Fault, request_id: &'a str) -> Self {
        Self {
            status: fault.kind.status(),
            message: &fault.message,
            code: fault.kind.code(),
            request_id,
            cause: fault.cause.map(Cause::code),
            at: fault.at.as_deref(),
        }
    }

    /// The body in the format of `api`, or in the plain one.
    pub fn body(&self, api: Option<&Api>) -> String {
        api.map_or_else(|| plain_error_body(self), |api| api.error_body(self))
    }
}

impl Node {
    fn fill<'v>(&self, status: StatusCode, value: &impl Fn(&Word) -> &'v str) -> Value {
        match self {
            Self::Status => status.as_u16().into(),
            Self::Text(template) => {
                let mut text = String::new();
                template.render(&mut text, value);
                Value::String(text)
            }
            Self::Fixed(fixed) => fixed.clone(),
            Self::Array(items) => items.iter().map(|item| item.fill(status, value)).collect(),
            Self::Object(fields) => {
                let fill = |(key, node): &(String, Node)| (key.clone(), node.fill(status, value));
                fields.iter().map(fill).collect::<Map<_, _>>().into()
            }
        }
    }
}

pub(super) fn compile(name: &FileName, parsed: &Parsed<syntax::Api>) -> Compilation<Api> {
    let mut found = Vec::new();
    let shape = &parsed.document.error;
    let fields = shape.body.iter().map(|(key, value)| {
        let pointer = format!("/error/body/{}", syntax::pointer_step(key));
        (key.clone(), node(value, &pointer, parsed, &mut found))
    });
    let error = Node::Object(fields.collect());
    let mut types = BTreeMap::new();
    let mut default_type = "api_error".to_owned();
    for (key, text) in shape.types.iter().flatten() {
        match key.parse::<u16>() {
            Ok(status @ 400..=599) => {
                types.insert(status, text.clone());
            }
            _ if key == "default" => default_type.clone_from(text),
            _ => {
                let at =
                    parsed.spans.key(&parsed.file, &format!("/error/types/{}", syntax::pointer_step(key)));
                let message = format!("`{key}` is neither a status from 400 to 599 nor `default`");
                found.push(Diagnostic::new(Code::BadValue, at, message));
            }
        }
    }
    let cors_headers = cors_headers(parsed, &mut found);
    let known_by = known_by(parsed, &mut found);
    let operation = operation(parsed, &mut found);
    let metering = places::compile(parsed, &mut found).map(Arc::new);
    let good = found.is_empty();
    let (name, file) = (name.clone(), parsed.file.clone());
    let api = Api { name, file, cors_headers, operation, metering, known_by, error, types, default_type };
    (good.then_some(api), found)
}

/// The operation's name, which metered endpoints have.
fn operation(parsed: &Parsed<syntax::Api>, found: &mut Vec<Diagnostic>) -> Option<Arc<str>> {
    let name = parsed.document.operation.as_deref()?;
    if parsed.document.usage.is_none() {
        let at = parsed.spans.key(&parsed.file, "/operation");
        let message = "`operation` has no effect: the api has no `[usage]`, so that nothing is metered";
        let help = "drop it, or write `operation` in the endpoints";
        found.push(Diagnostic::new(Code::Condition, at, message).help(help));
    }
    Some(name.into())
}

/// The requests that are taken for ones of the format.
fn known_by(parsed: &Parsed<syntax::Api>, found: &mut Vec<Diagnostic>) -> KnownBy {
    let Some(spec) = &parsed.document.known_by else { return KnownBy::default() };
    let mut made = KnownBy::default();
    let mut report = |code, pointer: String, message: String, help: &str| {
        let at = parsed.spans.value(&parsed.file, &pointer);
        found.push(Diagnostic::new(code, at, message).help(help));
    };
    for (index, text) in spec.headers.iter().flatten().enumerate() {
        match HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) if !text.contains('*') => made.headers.push(name),
            Ok(_) | Err(_) => {
                let message = format!("`{}` cannot be a header's name", text.escape_debug());
                let help = "write the whole name: globs are for `paths`";
                report(Code::Header, format!("/known_by/headers/{index}"), message, help);
            }
        }
    }
    for (index, text) in spec.paths.iter().flatten().enumerate() {
        let problem = match Glob::check(text) {
            Ok(()) if text.starts_with(['/', '*']) && text.trim_start_matches('*').len() > 1 => {
                made.paths.push(Glob::new(text));
                continue;
            }
            Ok(()) => "a glob that is no path".to_owned(),
            Err(problem) => format!("a glob that {problem}"),
        };
        let help = "for example: \"*/v1/example\"";
        report(Code::BadValue, format!("/known_by/paths/{index}"), problem, help);
    }
    made
}

fn cors_headers(parsed: &Parsed<syntax::Api>, found: &mut Vec<Diagnostic>) -> Vec<HeaderGlob> {
    let mut globs = Vec::new();
    for (index, text) in parsed.document.cors_headers.iter().flatten().enumerate() {
        let problem = match HeaderName::from_bytes(text.replace('*', "x").as_bytes()) {
            Ok(_) => Glob::check(text).err().map(|problem| format!("a glob that {problem}")),
            Err(_) => Some(format!("`{}` cannot be a header's name", text.escape_debug())),
        };
        match problem {
            None => globs.push(HeaderGlob::new(text)),
            Some(problem) => {
                let at = parsed.spans.value(&parsed.file, &format!("/cors_headers/{index}"));
                found.push(Diagnostic::new(Code::Header, at, problem));
            }
        }
    }
    globs
}

fn node(value: &Value, pointer: &str, parsed: &Parsed<syntax::Api>, found: &mut Vec<Diagnostic>) -> Node {
    match value {
        Value::String(text) => match Template::parse(text, word) {
            // Some formats have the status as a number, which no text can be.
            Ok(template) if template == Template::placeholder(Word::Status, Filters::default()) => {
                Node::Status
            }
            Ok(template) => Node::Text(template),
            Err(error) => {
                let at: Location = parsed.spans.value(&parsed.file, pointer);
                found.push(Diagnostic::new(Code::Template, at, error.to_string()));
                Node::Fixed(Value::Null)
            }
        },
        Value::Array(items) => {
            let each = |(index, item)| node(item, &format!("{pointer}/{index}"), parsed, found);
            Node::Array(items.iter().enumerate().map(each).collect())
        }
        Value::Object(map) => {
            let each = |(key, item): (&String, &Value)| {
                (key.clone(), node(item, &format!("{pointer}/{}", syntax::pointer_step(key)), parsed, found))
            };
            Node::Object(map.iter().map(each).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Node::Fixed(value.clone()),
    }
}

/// A name that no fault has.
#[derive(Debug, thiserror::Error)]
#[error("`{{{0}}}` stands for nothing here: known are `message`, `code`, `type`, `status`, `request_id`")]
struct UnknownWord(String);

fn word(name: &str) -> Result<Resolved<Word>, UnknownWord> {
    match name {
        "message" => Ok(Resolved::Placeholder(Word::Message)),
        "code" => Ok(Resolved::Placeholder(Word::Code)),
        "type" => Ok(Resolved::Placeholder(Word::Type)),
        "request_id" => Ok(Resolved::Placeholder(Word::RequestId)),
        "status" => Ok(Resolved::Placeholder(Word::Status)),
        _ => Err(UnknownWord(name.to_owned())),
    }
}
