//! What would become of a request: the verdict, then the request as it would be sent, each header with the rule that
//! decided about it. The address may hold a question, so that a person can send it to another; never headers, which may
//! hold a token.

use std::{borrow::Borrow, collections::BTreeMap};

use askama::Template;
use http::{Method, StatusCode};
use serde_json::json;

use super::{
    super::{
        client::{Api, Client, with_query},
        form::Form,
        frame::Frame,
        refused::form_status,
        response::PageResponse,
        shown,
    },
    file_name, file_page,
};
use crate::{
    explain::{Action, Explanation, Header, Nearest, Position, Route},
    fault::{Fault, FaultKind},
    rewrite::value_of,
};

/// The methods that the form offers.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

#[derive(Template)]
#[template(path = "console/explain.html")]
struct ExplainPage<'p> {
    frame: &'p Frame,
    methods: &'static [&'static str],
    asked: &'p Asked,
    explained: Option<&'p Explanation>,
    problem: Problem,
}

/// The headers of the form at first: those of an ordinary client, with a stand-in for its token.
const HEADERS: &str =
    "authorization: Bearer YOUR-TOKEN\ncontent-type: application/json\nuser-agent: example-client/1.0";

/// The question, as typed.
#[derive(Debug, Default)]
struct Asked {
    method: String,
    path: String,
    user: String,
    /// One a line.
    headers: String,
}

/// What is wrong with the question, by its field.
#[derive(Debug, Default)]
struct Problem {
    path: Option<String>,
    user: Option<String>,
    headers: Option<String>,
    other: Option<String>,
}

/// The form, or the explanation of the request that the address names.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let value = |name: &str| value_of(query, name);
    answer(client, frame, &Asked::of(value, HEADERS.to_owned())).await
}

/// Explains the request of a form.
pub(in super::super) async fn explain(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let value = |name: &str| form.get(name).map(str::to_owned);
    answer(client, frame, &Asked::of(value, form.exact("headers").replace("\r\n", "\n"))).await
}

async fn answer(client: &Client<'_, impl Api>, frame: &Frame, asked: &Asked) -> Result<PageResponse, Fault> {
    let page = ExplainPage { frame, methods: &METHODS, asked, explained: None, problem: Problem::default() };
    if asked.path.is_empty() {
        return Ok(PageResponse::html(StatusCode::OK, &page));
    }
    let headers = match asked.headers() {
        Ok(headers) => headers,
        Err(problem) => {
            let problem = Problem { headers: Some(problem), ..Problem::default() };
            return Ok(PageResponse::html(
                StatusCode::UNPROCESSABLE_ENTITY,
                &ExplainPage { problem, ..page },
            ));
        }
    };
    let mut body = json!({ "method": asked.method, "path": asked.path, "headers": headers });
    if !asked.user.is_empty() {
        body["user"] = asked.user.as_str().into();
    }
    match client.send::<Explanation>(Method::POST, "/admin/explain", &body).await {
        Ok(explained) => {
            let explained = Some(&explained);
            Ok(PageResponse::html(StatusCode::OK, &ExplainPage { explained, ..page }))
        }
        Err(fault) => {
            let problem = Problem::of(&fault);
            Ok(PageResponse::html(form_status(&fault), &ExplainPage { problem, ..page }))
        }
    }
}

impl Asked {
    fn of(value: impl Fn(&str) -> Option<String>, headers: String) -> Self {
        let text = |name| value(name).unwrap_or_default().trim().to_owned();
        let method = Some(text("method").to_ascii_uppercase()).filter(|method| !method.is_empty());
        Self {
            method: method.unwrap_or_else(|| "POST".to_owned()),
            path: text("path"),
            user: text("user"),
            headers,
        }
    }

    /// The headers by name. An error is about the first line that is none.
    fn headers(&self) -> Result<BTreeMap<String, String>, String> {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (index, line) in self.headers.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| format!("line {} is not of the form `name: value`", index + 1))?;
            let known = headers.entry(name.trim().to_ascii_lowercase()).or_default();
            // Lines of one name are one list (RFC 9110, section 5.2).
            let comma = if known.is_empty() { "" } else { ", " };
            *known = format!("{known}{comma}{}", value.trim());
        }
        Ok(headers)
    }

    /// True for a method that the form does not offer: the address may name any.
    fn is_other_method(&self) -> bool {
        !METHODS.contains(&self.method.as_str())
    }
}

impl Problem {
    fn of(fault: &Fault) -> Self {
        let pointer = fault.at.as_deref().unwrap_or_default();
        let plain = fault.message.strip_prefix(pointer).and_then(|rest| rest.strip_prefix(": "));
        let message = Some(plain.unwrap_or(&fault.message).to_owned());
        match pointer {
            "/path" => Self { path: message, ..Self::default() },
            pointer if pointer.starts_with("/headers") => Self { headers: message, ..Self::default() },
            "/user" => Self { user: message, ..Self::default() },
            _ if fault.kind == FaultKind::InvalidRequest => {
                Self { other: Some(fault.message.clone().into_owned()), ..Self::default() }
            }
            _ => Self { other: message, ..Self::default() },
        }
    }

    fn is_any(&self) -> bool {
        self.path.is_some() || self.user.is_some() || self.headers.is_some() || self.other.is_some()
    }
}

/// The address of the explanation of a request.
pub(super) fn address(frame: &Frame, method: &str, path: &str, user: &str) -> String {
    with_query(&frame.path("/explain"), &[("method", method), ("path", path), ("user", user)])
}

/// The address of the same question, with the headers of an ordinary client.
fn own_address(frame: &Frame, asked: &Asked) -> String {
    address(frame, &asked.method, &asked.path, &asked.user)
}

/// A path of an endpoint as a request could have it: each `{name}` is its name.
pub(super) fn example_path(path: &str) -> String {
    path.replace(['{', '}'], "")
}

/// An action in a word.
fn word(action: impl Borrow<Action>) -> &'static str {
    match action.borrow() {
        Action::Kept => "kept",
        Action::LetThrough => "let through",
        Action::Removed => "removed",
        Action::Added => "added",
        Action::Appended => "appended",
        Action::Set => "set",
    }
}

/// The owner of the credential that is used, in words.
fn owner(route: &Route, explained: &Explanation) -> String {
    let user = explained.caller.user.as_deref();
    match (route.owner.as_deref(), user) {
        (Some("everybody"), _) => "shared with everybody".to_owned(),
        (Some(owner), user) => match owner.strip_prefix("group:") {
            Some(group) => format!("shared with the group {group}"),
            None => format!("{}'s own", user.unwrap_or(owner)),
        },
        (None, _) if route.auth.is_empty() => "the provider takes none".to_owned(),
        (None, _) => "none".to_owned(),
    }
}

/// The headers that are sent, or those that are removed.
fn headers(route: &Route, sent: bool) -> Vec<Header> {
    route.headers.iter().filter(|one| one.values.is_empty() != sent).cloned().collect()
}

/// The explanation of the nearest endpoint.
fn nearest_address(frame: &Frame, near: &Nearest, asked: &Asked) -> String {
    address(frame, &near.method, &example_path(&near.path), &asked.user)
}

/// A position as `file:line`.
fn place(at: &Position) -> String {
    format!("{}:{}", file_name(&at.file), at.line)
}

/// Milliseconds of a timeout, in seconds.
fn seconds(ms: &u128) -> String {
    if ms.is_multiple_of(1000) { format!("{} s", ms / 1000) } else { format!("{ms} ms") }
}

/// A size in bytes, in the largest unit that is whole.
fn size(bytes: impl Borrow<u64>) -> String {
    match *bytes.borrow() {
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}
