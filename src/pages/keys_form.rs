//! The form of an owner's credentials: the fields that the provider files declare. Saving sends only what was typed or cleared.
//! Users have it for their own, operators for those of everybody, groups and users.

use std::collections::BTreeMap;

use http::Method;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::{
    client::{Api, Client},
    form::Form,
    shown,
};
use crate::{
    admin::{CredentialField, CredentialFields, CredentialKind, FieldSection, Holder, UndeclaredField},
    fault::Fault,
};

/// The group that stands open at the top.
const MAIN_GROUP: &str = "main";
/// The beginning of the names of the form's fields for new values, and for those to remove.
const SET: &str = "set.";
const CLEAR: &str = "clear";

/// The credentials that a form changes, in the API and in the pages.
#[derive(Debug)]
pub(super) struct Target {
    /// The path of the operation that shows the fields.
    pub(super) fields: String,
    /// The method of the operation that changes some of them.
    pub(super) method: Method,
    /// Its path. A login whose expiry nobody can read is refused: it would fail some day without a warning.
    pub(super) change: String,
    /// The path of the operation that confirms origins.
    pub(super) confirm: String,
    /// The path that the form is sent to.
    pub(super) action: String,
    /// The path that a confirmation is sent to.
    pub(super) confirm_action: String,
    /// The page that follows a save.
    pub(super) saved: String,
    /// True if the owner fills in the form.
    pub(super) is_own: bool,
}

/// The form.
pub(super) struct KeysForm<'p> {
    pub(super) target: &'p Target,
    pub(super) groups: Vec<Group<'p>>,
    pub(super) undeclared: &'p [UndeclaredField],
    /// The credentials that wait for a confirmation.
    pub(super) moved: Vec<Key<'p>>,
    /// Problems of the last save: by field, and those of no field.
    pub(super) problems: &'p Problems,
}

/// The sections of one group.
pub(super) struct Group<'p> {
    pub(super) title: &'static str,
    pub(super) is_main: bool,
    pub(super) providers: usize,
    pub(super) keys: Vec<Key<'p>>,
}

/// One field, with the section that it is in.
#[derive(Clone, Copy)]
pub(super) struct Key<'p> {
    pub(super) section: &'p FieldSection,
    pub(super) field: &'p CredentialField,
    pub(super) problem: Option<&'p str>,
    /// The text that the refused form had for it.
    pub(super) typed: &'p str,
    /// True if the refused form would remove it.
    pub(super) is_cleared: bool,
    is_own: bool,
}

/// The reasons why nothing was saved.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) by_field: BTreeMap<String, String>,
    pub(super) other: Option<String>,
}

/// Saves what the form holds: all of it, or nothing.
pub(super) async fn save(
    client: &Client<'_, impl Api>,
    target: &Target,
    form: &Form,
) -> Result<Result<(), Problems>, Fault> {
    let fields: CredentialFields = client.get(&target.fields).await?;
    let document = match document(form, &fields) {
        Ok(document) => document,
        Err(problems) => return Ok(Err(problems)),
    };
    let saved: Result<IgnoredAny, Fault> =
        client.send(target.method.clone(), &target.change, &document).await;
    Ok(saved.map(drop).map_err(|fault| Problems::of(&fault)))
}

/// Confirms that a credential may go to the hosts that the form names.
pub(super) async fn confirm(
    client: &Client<'_, impl Api>,
    target: &Target,
    form: &Form,
) -> Result<(), Fault> {
    let origins: Vec<&str> = form.all("origin").collect();
    let body = serde_json::json!({ "origins": { form.text("place"): origins } });
    let _: IgnoredAny = client.send(Method::POST, &target.confirm, &body).await?;
    Ok(())
}

impl<'p> KeysForm<'p> {
    /// The form with what is stored, and what a refused one had.
    pub(super) fn new(
        target: &'p Target,
        fields: &'p CredentialFields,
        problems: &'p Problems,
        refused: &'p Form,
    ) -> Self {
        let keys = || {
            let of_section = |section| keys(section, problems, refused, target.is_own);
            fields.sections.iter().flat_map(of_section)
        };
        let is_in =
            |section: &FieldSection, is_main| (section.group.as_deref() == Some(MAIN_GROUP)) == is_main;
        let group = |title, is_main| {
            let providers = fields.sections.iter().filter(|one| is_in(one, is_main)).count();
            let keys = keys().filter(|key| is_in(key.section, is_main)).collect();
            Group { title, is_main, providers, keys }
        };
        let mut groups = vec![group("Main providers", true), group("Additional providers", false)];
        groups.retain(|group| !group.keys.is_empty());
        let moved = keys().filter(|key| key.field.unconfirmed.is_some()).collect();
        Self { target, groups, undeclared: &fields.undeclared, moved, problems }
    }

    /// True if there is nothing to fill in.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.undeclared.is_empty()
    }

    /// The fields that are stored.
    pub(super) fn stored(&self) -> impl Iterator<Item = &Key<'p>> {
        self.groups.iter().flat_map(|group| &group.keys).filter(|key| key.field.stored.is_some())
    }
}

fn keys<'p>(
    section: &'p FieldSection,
    problems: &'p Problems,
    refused: &'p Form,
    is_own: bool,
) -> impl Iterator<Item = Key<'p>> {
    section.fields.iter().map(move |field| {
        let place = format!("{}.{}", section.section, field.field);
        Key {
            section,
            field,
            problem: problems.by_field.get(&place).map(String::as_str),
            typed: refused.below(SET).find(|(one, _)| *one == place).map_or("", |(_, text)| text),
            is_cleared: refused.all(CLEAR).any(|one| one == place),
            is_own,
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
    pub(super) fn is_empty(&self) -> bool {
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
    pub(super) fn stored(&self) -> usize {
        self.keys.iter().filter(|key| key.field.stored.is_some()).count()
    }

    /// True if the refused form would change something in it.
    pub(super) fn is_changed(&self) -> bool {
        self.keys.iter().any(|key| key.is_cleared || !key.typed.is_empty())
    }
}

impl Key<'_> {
    /// Section and field, as the form and the API name them.
    pub(super) fn place(&self) -> String {
        format!("{}.{}", self.section.section, self.field.field)
    }

    /// The id of its control in the page.
    pub(super) fn id(&self) -> String {
        format!("key-{}", self.place().replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
    }

    pub(super) fn is_login(&self) -> bool {
        self.field.kind == CredentialKind::Oauth2
    }

    pub(super) fn hosts(&self) -> Vec<&str> {
        self.field.origins.iter().map(|origin| shown::host(origin)).collect()
    }

    /// The text in the empty control: the mask of the stored value, or an example.
    pub(super) fn placeholder(&self) -> String {
        match &self.field.stored {
            Some(Value::String(mask)) => mask.clone(),
            Some(_) if self.is_login() => "a login is stored; paste another one to replace it".to_owned(),
            _ => self.field.placeholder.clone().or_else(|| self.field.hint.clone()).unwrap_or_default(),
        }
    }

    /// The holder whose credential requests are sent with, if it is not the user's own.
    pub(super) fn shared_by(&self) -> Option<&'static str> {
        match self.field.used? {
            Holder::Own => None,
            Holder::Group if self.is_own => Some("Shared by your group"),
            Holder::Group => Some("Shared by the group"),
            Holder::Everybody => Some("Shared by everybody"),
        }
    }

    pub(super) fn is_unreadable(&self) -> bool {
        self.field
            .stored
            .as_ref()
            .is_some_and(|value| value.get("status").is_some_and(|one| one == "unreadable"))
    }
}
