//! The change that a form of credentials asks for: its document, and the reasons why it was refused.
//!
//! It guarantees: what the page showed decides. A value that the form has as the page showed it stays as it is stored. A change
//! is refused if the value was changed since the page was loaded, or if what it sets would lead to other hosts than the page
//! showed.

mod seen;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub(super) use self::seen::Seen;
use super::{
    super::{form::Form, refused::Refused},
    places, shown_value,
};
use crate::{
    admin::{CredentialField, CredentialFields, CredentialKind, EXPECTED_ORIGINS},
    fault::Fault,
};

/// The entries of a form for each field, without its origins: a new value, a removal, what the page showed, and one to spare.
const ENTRIES_PER_FIELD: usize = 5;
/// The entries that are read in any case: the fields of a form may have gone with their files.
const MIN_ENTRIES: usize = 1000;

/// The reasons why nothing was saved.
#[derive(Debug, Default)]
pub(in super::super) struct Problems {
    /// By place: section and field, and for a part of a login what lies below.
    pub(in super::super) by_place: BTreeMap<String, String>,
    pub(in super::super) other: Option<Refused>,
}

/// A change that a form asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    pub(super) document: Value,
    /// True if it sets a login that paste tokens stand for.
    pub(super) has_pasted_login: bool,
}

/// The change that sets what was typed and removes what was marked.
pub(super) fn change(form: &Form, fields: &CredentialFields) -> Result<Change, Problems> {
    let places = places(fields);
    let entries = |field: &CredentialField| ENTRIES_PER_FIELD + field.origins.len() + field.templates.len();
    let known = places.values().map(|field| entries(field)).sum::<usize>() + fields.undeclared.len();
    if form.len() > MIN_ENTRIES.max(known) {
        let message = "The form has more entries than there are fields: load the page again".to_owned();
        return Err(Problems { other: Some(message.into()), ..Problems::default() });
    }
    let seen = Seen::of(form);
    let (mut document, mut has_pasted_login) = (Map::new(), false);
    let (mut by_place, mut gone, mut origins) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    for place in &seen.cleared {
        put(&mut document, place, Value::Null);
        let changed = places.get(*place).and_then(|field| seen.changed_since(place, field));
        by_place.extend(changed.map(|problem| ((*place).to_owned(), problem)));
    }
    for (&place, &text) in &seen.set {
        let Some(field) = places.get(place) else {
            gone.extend((!text.is_empty()).then(|| format!("`{place}`")));
            continue;
        };
        let is_cleared = seen.cleared.contains(place);
        // A text that is shown comes back as it is, or was emptied.
        let stored = shown_value(field);
        let is_same = text == stored.unwrap_or_default() || seen.is_unchanged(place);
        if is_same || stored.is_some() && is_cleared {
            continue;
        }
        let is_login = field.kind == CredentialKind::Oauth2;
        let elsewhere = || seen.leads_elsewhere(place, field, &places);
        match value(text, field.kind, is_cleared) {
            Ok(value) => {
                put(&mut document, place, value);
                let problem = seen.changed_since(place, field).or_else(elsewhere);
                by_place.extend(problem.map(|problem| (place.to_owned(), problem)));
                origins.extend(seen.origins(place).map(|seen| (place.to_owned(), seen)));
            }
            Err(problem) => drop(by_place.insert(place.to_owned(), problem)),
        }
        has_pasted_login |= is_login && !field.paste_tokens.is_empty();
    }
    if !origins.is_empty() {
        document.insert(EXPECTED_ORIGINS.to_owned(), json!(origins));
    }
    let other = (!gone.is_empty()).then(|| Refused::from(gone_message(&gone)));
    let problems = Problems { by_place, other };
    if problems.is_empty() {
        Ok(Change { document: Value::Object(document), has_pasted_login })
    } else {
        Err(problems)
    }
}

fn gone_message(places: &[String]) -> String {
    format!(
        "No provider file has {} any more, and what you typed there is no longer in the form. The rest is: save it again",
        places.join(", ")
    )
}

/// The value that was typed for a field.
fn value(text: &str, kind: CredentialKind, is_cleared: bool) -> Result<Value, String> {
    if is_cleared {
        return Err("`Clear` is chosen, and a new value is typed: undo one of them".to_owned());
    }
    match kind {
        CredentialKind::Text | CredentialKind::Origin if text.is_empty() => return Ok(Value::Null),
        CredentialKind::Secret | CredentialKind::Text | CredentialKind::Origin => return Ok(text.into()),
        CredentialKind::Json | CredentialKind::Oauth2 => {}
    }
    match serde_json::from_str::<Value>(text) {
        Ok(login @ Value::Object(_)) => Ok(login),
        // `null` would remove the login: `Clear` alone does that.
        Ok(_) => Err("this JSON is no object: paste the whole file".to_owned()),
        Err(error) => Err(format!(
            "this is not JSON: line {}, column {}: paste the whole file",
            error.line(),
            error.column()
        )),
    }
}

/// Puts a value at its dotted place.
fn put(document: &mut Map<String, Value>, place: &str, value: Value) {
    let (steps, last) = place.rsplit_once('.').unwrap_or(("", place));
    let mut at = document;
    for step in steps.split('.').filter(|step| !step.is_empty()) {
        let next = at.entry(step).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else { return };
        at = next;
    }
    at.insert(last.to_owned(), value);
}

impl Problems {
    pub(in super::super) fn is_empty(&self) -> bool {
        self.by_place.is_empty() && self.other.is_none()
    }

    /// The problem of a refused document, at the place that it is about.
    pub(super) fn of(fault: Fault) -> Self {
        let place = fault.at.as_deref().and_then(|pointer| pointer.strip_prefix('/'));
        match place {
            Some(place) => {
                let place = place.replace('/', ".").replace("~1", "/").replace("~0", "~");
                let message = fault.message.split_once(": ").map_or(&*fault.message, |(_, message)| message);
                Self { by_place: BTreeMap::from([(place, message.to_owned())]), other: None }
            }
            None => Self { by_place: BTreeMap::new(), other: Some(fault.into()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn field(name: &str, kind: &str) -> Value {
        let pastes = [json!({ "provider": "p", "path": "/auth/p", "name": "p" })];
        let pastes = if kind == "oauth2" { json!(pastes) } else { json!([]) };
        json!({
            "field": name, "label": name, "kind": kind, "providers": [], "origins": [], "wanted": "required",
            "pasteTokens": pastes,
        })
    }

    fn fields() -> CredentialFields {
        let fields = [field("key", "secret"), field("login", "oauth2")];
        let sections = [json!({ "section": "a.b", "title": "A", "fields": fields })];
        let left =
            json!({ "section": "c", "field": "old", "stored": "***", "storedAt": "2026-11-29T00:00:00Z" });
        serde_json::from_value(json!({ "sections": sections, "undeclared": [left] })).unwrap()
    }

    #[test]
    fn a_form_is_a_document_or_has_problems() {
        let check = |form: &str, expected: Result<Value, &[(&str, &str)]>| {
            let change = change(&Form::parse(form.as_bytes()), &fields());
            match (change, expected) {
                (Ok(change), Ok(document)) => assert_eq!(change.document, document, "{form}"),
                (Err(problems), Err(expected)) => {
                    let other = problems.other.iter().map(|other| ("", other.message.as_str()));
                    let all = problems.by_place.iter().map(|(place, text)| (place.as_str(), text.as_str()));
                    let all: Vec<_> = all.chain(other).collect();
                    let found = all
                        .iter()
                        .zip(expected)
                        .all(|(one, other)| one.0 == other.0 && one.1.contains(other.1));
                    assert!(found && all.len() == expected.len(), "{form}: {all:?}");
                }
                (change, expected) => panic!("{form}: {change:?}, not {expected:?}"),
            }
        };
        check("", Ok(json!({})));
        check("set.a.b.key=+x+&set.a.b.login=", Ok(json!({ "a": { "b": { "key": "x" } } })));
        check("set.a.b.login=%7B%22x%22:1%7D", Ok(json!({ "a": { "b": { "login": { "x": 1 } } } })));
        check(
            "clear=a.b.login&clear=c.old",
            Ok(json!({ "a": { "b": { "login": null } }, "c": { "old": null } })),
        );
        // Only `Clear` removes.
        check("set.a.b.key=null", Ok(json!({ "a": { "b": { "key": "null" } } })));
        for text in ["null", "+null+", "1", "true", "%22x%22", "[]", "[%7B%7D]"] {
            check(&format!("set.a.b.login={text}"), Err(&[("a.b.login", "no object")]));
        }
        check("set.a.b.login=%7B", Err(&[("a.b.login", "not JSON: line 1, column 1")]));
        check("set.a.b.key=x&clear=a.b.key", Err(&[("a.b.key", "undo one of them")]));
        check("set.a.b.login=null&set.gone.x=y", Err(&[("a.b.login", "no object"), ("", "`gone.x`")]));
    }

    #[test]
    fn a_shown_value_is_changed_emptied_or_left() {
        let mut region = field("region", "text");
        region["stored"] = json!("eu");
        let all = json!({ "sections": [{ "section": "a", "title": "A", "fields": [region, field("zone", "text"), field("doc", "json")] }] });
        let fields: CredentialFields = serde_json::from_value(all).unwrap();
        let check = |form: &str, expected: Value| {
            let change = change(&Form::parse(form.as_bytes()), &fields).unwrap();
            assert_eq!(change.document, expected, "{form}");
        };
        check("set.a.region=eu&set.a.zone=", json!({}));
        check("set.a.region=us", json!({ "a": { "region": "us" } }));
        check("set.a.region=", json!({ "a": { "region": null } }));
        // The value that is shown is in the form also where it is cleared.
        check("set.a.region=eu&clear=a.region", json!({ "a": { "region": null } }));
        check("set.a.zone=1&set.a.doc=%7B%22x%22:1%7D", json!({ "a": { "zone": "1", "doc": { "x": 1 } } }));
    }

    #[test]
    fn a_login_that_paste_tokens_stand_for_is_known() {
        let of = |form: &str| change(&Form::parse(form.as_bytes()), &fields()).unwrap().has_pasted_login;
        assert!(of("set.a.b.login=%7B%7D") && !of("set.a.b.key=x") && !of("clear=a.b.login"));
    }

    #[test]
    fn the_entries_of_a_form_are_limited() {
        let form = |entries: usize| {
            (0..entries).fold(String::new(), |mut form, number| {
                let _ = write!(form, "set.a.b.key{number}=&");
                form
            })
        };
        assert!(change(&Form::parse(form(MIN_ENTRIES).as_bytes()), &fields()).is_ok());
        let refused = change(&Form::parse(form(MIN_ENTRIES + 1).as_bytes()), &fields()).unwrap_err();
        assert!(refused.other.unwrap().message.contains("more entries"), "one more");
    }

    #[test]
    fn a_fault_is_at_its_place() {
        let check = |pointer: &str, expected: &str| {
            let fault = Fault::invalid_at(pointer, crate::fault::Cause::LoginMissing, "it is wrong");
            let problems = Problems::of(fault);
            let (place, message) = problems.by_place.first_key_value().unwrap();
            assert_eq!((place.as_str(), message.as_str()), (expected, "it is wrong"));
        };
        check("/a/b/key", "a.b.key");
        check("/a/x~1y~0z", "a.x/y~z");
    }
}
