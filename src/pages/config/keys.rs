//! The keys of a user: a form with the fields that the provider files declare. Saving sends only what was typed or cleared.

use std::collections::BTreeMap;

use askama::Template;
use http::{Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::super::{
    client::{Api, Client},
    form::Form,
    frame::Frame,
    response::PageResponse,
    shown,
};
use crate::{
    admin::{CredentialField, CredentialFields, CredentialKind, FieldSection, Holder, UndeclaredField},
    fault::Fault,
    numbers::counted,
    rewrite::value_of,
};

/// The group that stands open at the top.
const MAIN_GROUP: &str = "main";
/// The beginning of the names of the form's fields for new values, and for those to remove.
const SET: &str = "set.";
const CLEAR: &str = "clear";
/// A login whose expiry nobody can read is refused: it would fail some day without a warning.
const SAVE: &str = "/auth/creds?expiry=required";

#[derive(Template)]
#[template(path = "config/keys.html")]
struct KeysPage<'p> {
    frame: &'p Frame,
    groups: Vec<Group<'p>>,
    undeclared: &'p [UndeclaredField],
    moved: Vec<Key<'p>>,
    /// Problems of the last save: by field, and those of no field.
    problems: &'p Problems,
    saved: bool,
}

/// The sections of one group.
struct Group<'p> {
    title: &'static str,
    is_main: bool,
    providers: usize,
    keys: Vec<Key<'p>>,
}

/// One field, with the section that it is in.
#[derive(Clone, Copy)]
struct Key<'p> {
    section: &'p FieldSection,
    field: &'p CredentialField,
    problem: Option<&'p str>,
    /// The text that the refused form had for it.
    typed: &'p str,
    /// True if the refused form would remove it.
    is_cleared: bool,
}

/// The reasons why nothing was saved.
#[derive(Debug, Default)]
struct Problems {
    by_field: BTreeMap<String, String>,
    other: Option<String>,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let saved = value_of(query, "saved").is_some();
    page(client, frame, saved, &Problems::default(), &Form::default()).await
}

/// Saves what the form holds: all of it, or nothing.
pub(in super::super) async fn save(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let fields: CredentialFields = client.get("/auth/fields").await?;
    let outcome = match document(form, &fields) {
        Ok(document) => {
            let saved: Result<IgnoredAny, Fault> = client.send(Method::PUT, SAVE, &document).await;
            saved.map(drop).map_err(|fault| Problems::of(&fault))
        }
        Err(problems) => Err(problems),
    };
    match outcome {
        Ok(()) => Ok(PageResponse::see_other(&frame.path("?saved=1"))),
        Err(problems) => page(client, frame, false, &problems, form).await,
    }
}

/// Confirms that a credential may go to the hosts that the form names.
pub(in super::super) async fn confirm(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let origins: Vec<&str> = form.all("origin").collect();
    let body = serde_json::json!({ "origins": { form.text("place"): origins } });
    let _: IgnoredAny = client.send(Method::POST, "/auth/creds/confirm", &body).await?;
    Ok(PageResponse::see_other(&frame.path("")))
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    saved: bool,
    problems: &Problems,
    refused: &Form,
) -> Result<PageResponse, Fault> {
    let fields: CredentialFields = client.get("/auth/fields").await?;
    let keys = || {
        let of_section = |section| keys(section, problems, refused);
        fields.sections.iter().flat_map(of_section)
    };
    let group = |title, is_main| {
        let of_group = |key: &Key<'_>| (key.section.group.as_deref() == Some(MAIN_GROUP)) == is_main;
        let sections =
            fields.sections.iter().filter(|one| (one.group.as_deref() == Some(MAIN_GROUP)) == is_main);
        Group { title, is_main, providers: sections.count(), keys: keys().filter(of_group).collect() }
    };
    let mut groups = vec![group("Main providers", true), group("Additional providers", false)];
    groups.retain(|group| !group.keys.is_empty());
    let page = KeysPage {
        frame,
        groups,
        undeclared: &fields.undeclared,
        moved: keys().filter(|key| key.field.unconfirmed.is_some()).collect(),
        problems,
        saved,
    };
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok(PageResponse::html(status, &page))
}

fn keys<'p>(
    section: &'p FieldSection,
    problems: &'p Problems,
    refused: &'p Form,
) -> impl Iterator<Item = Key<'p>> {
    section.fields.iter().map(move |field| {
        let place = format!("{}.{}", section.section, field.field);
        Key {
            section,
            field,
            problem: problems.by_field.get(&place).map(String::as_str),
            typed: refused.below(SET).find(|(one, _)| *one == place).map_or("", |(_, text)| text),
            is_cleared: refused.all(CLEAR).any(|one| one == place),
        }
    })
}

/// The document that sets what was typed and removes what was marked.
fn document(form: &Form, fields: &CredentialFields) -> Result<Value, Problems> {
    let (mut document, mut problems) = (Map::new(), Problems::default());
    for place in form.all(CLEAR) {
        put(&mut document, place, Value::Null);
    }
    for (place, text) in form.below(SET).filter(|(_, text)| !text.is_empty()) {
        if !is_login(fields, place) {
            put(&mut document, place, text.into());
            continue;
        }
        match serde_json::from_str::<Value>(text) {
            Ok(value) => put(&mut document, place, value),
            Err(error) => {
                let problem = format!(
                    "this is not JSON: line {}, column {}: paste the whole file",
                    error.line(),
                    error.column()
                );
                problems.by_field.insert(place.to_owned(), problem);
            }
        }
    }
    if problems.is_empty() { Ok(Value::Object(document)) } else { Err(problems) }
}

fn is_login(fields: &CredentialFields, place: &str) -> bool {
    let all =
        fields.sections.iter().flat_map(|section| section.fields.iter().map(move |field| (section, field)));
    let mut named = all.filter(|(section, field)| format!("{}.{}", section.section, field.field) == place);
    named.any(|(_, field)| field.kind == CredentialKind::Oauth2)
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
    fn is_empty(&self) -> bool {
        self.by_field.is_empty() && self.other.is_none()
    }

    /// The problem of a refused document, at the field that it is about.
    fn of(fault: &Fault) -> Self {
        let place = fault.at.as_deref().and_then(|pointer| pointer.strip_prefix('/'));
        match place {
            Some(place) => {
                let place = place.replace('/', ".").replace("~1", "/").replace("~0", "~");
                let message = fault.message.split_once(": ").map_or(&*fault.message, |(_, message)| message);
                Self { by_field: BTreeMap::from([(place, message.to_owned())]), other: None }
            }
            None => Self { by_field: BTreeMap::new(), other: Some(fault.message.to_string()) },
        }
    }
}

impl Group<'_> {
    fn stored(&self) -> usize {
        self.keys.iter().filter(|key| key.field.stored.is_some()).count()
    }

    /// True if the refused form would change something in it.
    fn is_changed(&self) -> bool {
        self.keys.iter().any(|key| key.is_cleared || !key.typed.is_empty())
    }
}

impl Key<'_> {
    /// Section and field, as the form and the API name them.
    fn place(&self) -> String {
        format!("{}.{}", self.section.section, self.field.field)
    }

    /// The id of its control in the page.
    fn id(&self) -> String {
        format!("key-{}", self.place().replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
    }

    fn is_login(&self) -> bool {
        self.field.kind == CredentialKind::Oauth2
    }

    fn hosts(&self) -> Vec<&str> {
        self.field.origins.iter().map(|origin| shown::host(origin)).collect()
    }

    /// The text in the empty control: the mask of the stored value, or an example.
    fn placeholder(&self) -> String {
        match &self.field.stored {
            Some(Value::String(mask)) => mask.clone(),
            Some(_) if self.is_login() => "a login is stored; paste another one to replace it".to_owned(),
            _ => self.field.placeholder.clone().or_else(|| self.field.hint.clone()).unwrap_or_default(),
        }
    }

    /// The holder whose credential requests are sent with, if it is not the user's own.
    fn shared_by(&self) -> Option<&'static str> {
        match self.field.used? {
            Holder::Own => None,
            Holder::Group => Some("Shared by your group"),
            Holder::Everybody => Some("Shared by everybody"),
        }
    }

    fn is_unreadable(&self) -> bool {
        self.field
            .stored
            .as_ref()
            .is_some_and(|value| value.get("status").is_some_and(|one| one == "unreadable"))
    }
}
