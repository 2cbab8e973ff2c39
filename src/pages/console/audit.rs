//! The audit log: the newest entries first, with filters.

use askama::Template;
use http::StatusCode;
use serde_json::Value;

use super::{
    super::{
        client::{Api, Client, with_query},
        form::Form,
        frame::Frame,
        response::PageResponse,
        shown,
    },
    user_path,
};
use crate::{
    admin::{AUDIT_ACTIONS, AuditEntry, ById},
    fault::{Fault, FaultKind},
};

/// The entries of one page.
const LIMIT: usize = 100;
/// The most pairs of a detail that are shown.
const MAX_PAIRS: usize = 40;
/// The longest text of one value of a detail, in characters.
const MAX_VALUE: usize = 300;

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage<'p> {
    frame: &'p Frame,
    asked: &'p Asked,
    actions: &'static [&'static str],
    entries: &'p [(String, AuditEntry)],
    /// The address of the next page.
    older: Option<String>,
    /// The address of the first page with the same filters.
    newest: String,
    csv: String,
    problem: Option<&'p str>,
}

/// The fields of the form, as they were typed.
#[derive(Debug, Default)]
struct Asked {
    actor: String,
    action: String,
    target: String,
    source: String,
    since: String,
    until: String,
    /// The entry that the page begins after.
    after: String,
}

impl Asked {
    fn of(form: &Form) -> Self {
        let text = |name| form.text(name).to_owned();
        let (actor, action, target, source) = (text("actor"), text("action"), text("target"), text("source"));
        Self {
            actor,
            action,
            target,
            source,
            since: text("since"),
            until: text("until"),
            after: text("after"),
        }
    }

    fn filters(&self) -> [(&'static str, &str); 6] {
        let Self { actor, action, target, source, since, until, after: _ } = self;
        [
            ("actor", actor),
            ("action", action),
            ("target", target),
            ("source", source),
            ("since", since),
            ("until", until),
        ]
    }

    fn is_filtered(&self) -> bool {
        self.filters().iter().any(|(_, value)| !value.is_empty())
    }

    /// A path with the filters and these pairs.
    fn path(&self, path: &str, more: &[(&str, &str)]) -> String {
        with_query(path, &[&self.filters()[..], more].concat())
    }

    /// A value, percent-encoded for a query.
    #[expect(clippy::unused_self, reason = "templates call functions of values that they have")]
    fn encoded(&self, value: &str) -> String {
        form_urlencoded::byte_serialize(value.as_bytes()).collect()
    }
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let asked = Asked::of(&Form::parse(query.unwrap_or_default().as_bytes()));
    let newest_first = ("order", "newest");
    // One more than is shown, to learn whether another page follows.
    let limit = (LIMIT + 1).to_string();
    let path = asked.path("/admin/audit", &[newest_first, ("limit", &limit), ("after", &asked.after)]);
    let (mut entries, problem) = match client.get::<ById<AuditEntry>>(&path).await {
        Ok(ById(entries)) => (entries, None),
        Err(fault) if fault.kind == FaultKind::InvalidRequest => (Vec::new(), Some(fault.message)),
        Err(fault) => return Err(fault),
    };
    let own = frame.path("/audit");
    let more = entries.len() > LIMIT;
    entries.truncate(LIMIT);
    let older = entries.last().filter(|_| more).map(|(last, _)| asked.path(&own, &[("after", last)]));
    let page = AuditPage {
        frame,
        asked: &asked,
        actions: AUDIT_ACTIONS,
        entries: &entries,
        older,
        newest: asked.path(&own, &[]),
        csv: asked.path("/admin/audit", &[newest_first, ("format", "csv")]),
        problem: problem.as_deref(),
    };
    let status = if problem.is_some() { FaultKind::InvalidRequest.status() } else { StatusCode::OK };
    Ok(PageResponse::html(status, &page))
}

/// A detail as pairs of a name and a text. What is null is left out, and so is what is too much to read.
fn pairs(detail: &Value) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    add_pairs("", detail, &mut pairs);
    if pairs.len() > MAX_PAIRS {
        let more = pairs.len() - MAX_PAIRS;
        pairs.truncate(MAX_PAIRS);
        pairs.push(("…".to_owned(), format!("{more} more: the API has them")));
    }
    pairs
}

fn add_pairs(name: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (key, value) in members {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                add_pairs(&name, value, pairs);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for item in items {
                add_pairs(name, item, pairs);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(text).collect();
            pairs.push((name.to_owned(), cut(&texts.join(", "))));
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            pairs.push((name.to_owned(), cut(&text(value))));
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_detail_is_pairs_of_texts() {
        let check = |detail: Value, expected: &[(&str, &str)]| {
            let pairs = pairs(&detail);
            let seen: Vec<_> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
            assert_eq!(seen, expected, "{detail}");
        };
        check(json!({}), &[]);
        check(json!({ "name": "ada", "group": null, "credentials": [] }), &[("name", "ada")]);
        check(json!({ "disabled": true, "count": 3 }), &[("disabled", "yes"), ("count", "3")]);
        check(
            json!([{ "set": "a.b", "origins": ["x", "y"] }, { "remove": "all" }]),
            &[("set", "a.b"), ("origins", "x, y"), ("remove", "all")],
        );
        check(json!({ "from": { "to": [1, null] } }), &[("from.to", "1, null")]);
        check(json!("text"), &[("", "text")]);
        let many: Vec<_> = (0..100).map(|number| json!({ "set": number })).collect();
        let shown = pairs(&many.into());
        assert_eq!((shown.len(), &*shown[MAX_PAIRS].1), (MAX_PAIRS + 1, "60 more: the API has them"));
        assert_eq!(cut(&"é".repeat(400)).chars().count(), MAX_VALUE + 1);
    }
}
