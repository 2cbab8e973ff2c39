//! The form of an owner's credentials: the fields that the provider files declare. Saving sends only what was typed or cleared.
//! Users have it for their own, operators for those of everybody, groups and users.

mod change;
mod hosts;

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde::de::IgnoredAny;
use serde_json::Value;

pub(super) use self::change::Problems;
use self::change::{Change, Seen, change};
use super::{
    client::{Api, Client},
    form::Form,
    refused::Refused,
};
use crate::{
    accounts::NewOrigins,
    admin::{
        CredentialField, CredentialFields, CredentialKind, FieldSection, Holder, UndeclaredField, Wanted,
    },
    clock::{now_ms, utc},
    fault::Fault,
};

/// The group that stands open at the top.
const MAIN_GROUP: &str = "main";
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
    /// The page that follows a save, and the one that follows the save of a login that paste tokens stand for.
    pub(super) saved: String,
    pub(super) saved_login: String,
    /// True if the owner fills in the form.
    pub(super) is_own: bool,
}

/// The form.
pub(super) struct KeysForm<'p> {
    pub(super) target: &'p Target,
    pub(super) groups: Vec<Group<'p>>,
    pub(super) undeclared: &'p [UndeclaredField],
    /// The credentials that wait for a confirmation.
    pub(super) moved: Vec<Moved<'p>>,
    /// The reason why the last change was refused, if it is about no field.
    pub(super) refused: Option<Refused>,
}

/// The sections of one group.
pub(super) struct Group<'p> {
    pub(super) title: &'static str,
    pub(super) is_main: bool,
    pub(super) providers: usize,
    pub(super) keys: Vec<Key<'p>>,
}

/// Credentials of one section that wait for the confirmation of the same origins.
pub(super) struct Moved<'p> {
    pub(super) section: &'p FieldSection,
    pub(super) keys: Vec<Key<'p>>,
    pub(super) new: &'p NewOrigins,
}

/// One field, with the section that it is in.
#[derive(Clone, Copy)]
pub(super) struct Key<'p> {
    pub(super) section: &'p FieldSection,
    pub(super) field: &'p CredentialField,
    pub(super) problem: Option<&'p str>,
    /// The text that the refused form had for it. Of a value that is shown, what is stored if there was no such form.
    pub(super) typed: &'p str,
    /// True if the refused form would remove it.
    pub(super) is_cleared: bool,
    is_own: bool,
    /// Its number on the page.
    number: usize,
}

/// The parts of a refused form, by place.
struct LastTry<'p> {
    typed: BTreeMap<&'p str, &'p str>,
    cleared: BTreeSet<&'p str>,
    problems: BTreeMap<&'p str, &'p str>,
    /// The problem of no field that the page has.
    other: Option<Refused>,
}

impl<'p> LastTry<'p> {
    fn new(fields: &CredentialFields, problems: &'p Problems, form: &'p Form) -> Self {
        let places = places(fields);
        let (mut by_place, mut other) = (BTreeMap::new(), problems.other.clone());
        for (place, problem) in &problems.by_place {
            // What is wrong with a part of a login is shown at the login.
            let mut field = place.as_str();
            while !places.contains_key(field)
                && let Some((above, _)) = field.rsplit_once('.')
            {
                field = above;
            }
            if places.contains_key(field) {
                by_place.insert(field, problem.as_str());
            } else {
                other.get_or_insert_with(|| format!("`{place}`: {problem}").into());
            }
        }
        let seen = Seen::of(form);
        let typed = seen.set.iter().filter(|(place, _)| !seen.is_unchanged(place));
        Self {
            typed: typed.map(|(place, text)| (*place, *text)).collect(),
            cleared: seen.cleared,
            problems: by_place,
            other,
        }
    }
}

/// Saves what the form holds: all of it, or nothing. Returns the address of the page that follows.
pub(super) async fn save(
    client: &Client<'_, impl Api>,
    target: &Target,
    form: &Form,
) -> Result<Result<String, Problems>, Fault> {
    let fields: CredentialFields = client.get(&target.fields).await?;
    let Change { document, has_pasted_login } = match change(form, &fields) {
        Ok(change) => change,
        Err(problems) => return Ok(Err(problems)),
    };
    let saved: Result<IgnoredAny, Fault> =
        client.send(target.method.clone(), &target.change, &document).await;
    let next = if has_pasted_login { &target.saved_login } else { &target.saved };
    Ok(saved.map(|_| next.clone()).map_err(Problems::of))
}

/// Confirms that credentials may go to the hosts that the form names.
pub(super) async fn confirm(
    client: &Client<'_, impl Api>,
    target: &Target,
    form: &Form,
) -> Result<(), Fault> {
    let origins: Vec<&str> = form.all("origin").collect();
    let places: BTreeMap<&str, &[&str]> = form.all("place").map(|place| (place, &*origins)).collect();
    let body = serde_json::json!({ "origins": places });
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
        let last = LastTry::new(fields, problems, refused);
        let all = fields.sections.iter().flat_map(|one| one.fields.iter().map(move |field| (one, field)));
        let all: Vec<Key<'p>> = (1..)
            .zip(all)
            .map(|(number, (section, field))| key(section, field, &last, (target.is_own, number)))
            .collect();
        let keys = || all.iter().copied();
        let is_in =
            |section: &FieldSection, is_main| (section.group.as_deref() == Some(MAIN_GROUP)) == is_main;
        let group = |title, is_main| {
            let providers = fields.sections.iter().filter(|one| is_in(one, is_main)).count();
            let keys = keys().filter(|key| is_in(key.section, is_main)).collect();
            Group { title, is_main, providers, keys }
        };
        let mut groups = vec![group("Main providers", true), group("Additional providers", false)];
        groups.retain(|group| !group.keys.is_empty());
        let moved = moved(&all);
        Self { target, groups, undeclared: &fields.undeclared, moved, refused: last.other }
    }

    /// True if there is nothing to fill in.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.undeclared.is_empty()
    }

    /// The fields that are stored.
    pub(super) fn stored(&self) -> impl Iterator<Item = &Key<'p>> {
        self.keys().filter(|key| key.field.stored.is_some())
    }

    /// The fields with a problem.
    pub(super) fn marked(&self) -> Vec<&Key<'p>> {
        self.keys().filter(|key| key.problem.is_some()).collect()
    }

    fn keys(&self) -> impl Iterator<Item = &Key<'p>> {
        self.groups.iter().flat_map(|group| &group.keys)
    }
}

/// The keys that wait, those of one move as one.
fn moved<'p>(keys: &[Key<'p>]) -> Vec<Moved<'p>> {
    let mut all: Vec<Moved<'p>> = Vec::new();
    for key in keys {
        let (section, Some(new)) = (key.section, &key.field.unconfirmed) else { continue };
        match all.iter_mut().find(|one| one.section.section == section.section && one.new == new) {
            Some(same) => same.keys.push(*key),
            None => all.push(Moved { section, keys: vec![*key], new }),
        }
    }
    all
}

fn key<'p>(
    section: &'p FieldSection,
    field: &'p CredentialField,
    last: &LastTry<'p>,
    (is_own, number): (bool, usize),
) -> Key<'p> {
    let place = place(section, field);
    let place = place.as_str();
    let stored = shown_value(field).unwrap_or_default();
    Key {
        section,
        field,
        problem: last.problems.get(place).copied(),
        typed: last.typed.get(place).copied().unwrap_or(stored),
        is_cleared: last.cleared.contains(place),
        is_own,
        number,
    }
}

/// The stored value of a field whose values are shown.
fn shown_value(field: &CredentialField) -> Option<&str> {
    match field.kind {
        CredentialKind::Text | CredentialKind::Origin => field.stored.as_ref()?.as_str(),
        CredentialKind::Secret | CredentialKind::Json | CredentialKind::Oauth2 => None,
    }
}

/// Section and field, as the form and the API name them.
fn place(section: &FieldSection, field: &CredentialField) -> String {
    format!("{}.{}", section.section, field.field)
}

/// The fields by place.
fn places(fields: &CredentialFields) -> BTreeMap<String, &CredentialField> {
    let sections = fields.sections.iter();
    let fields = sections.flat_map(|section| section.fields.iter().map(move |field| (section, field)));
    fields.map(|(section, field)| (place(section, field), field)).collect()
}

impl Moved<'_> {
    /// The labels of its fields.
    pub(super) fn labels(&self) -> String {
        let labels: Vec<&str> = self.keys.iter().map(|key| key.field.label.as_str()).collect();
        labels.join(", ")
    }
}

impl Group<'_> {
    pub(super) fn stored(&self) -> usize {
        self.keys.iter().filter(|key| key.field.stored.is_some()).count()
    }

    /// True if the refused form would change something in it.
    pub(super) fn is_changed(&self) -> bool {
        self.keys.iter().any(|key| key.is_cleared || key.typed != key.shown_value())
    }
}

impl Key<'_> {
    /// Section and field, as the form and the API name them.
    pub(super) fn place(&self) -> String {
        place(self.section, self.field)
    }

    /// The id of its control in the page. The names of two fields may differ in a sign alone that no id has.
    pub(super) fn id(&self) -> String {
        format!("key-{}", self.number)
    }

    /// The name of its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self.field.kind {
            CredentialKind::Secret => "secret",
            CredentialKind::Text => "text",
            CredentialKind::Origin => "origin",
            CredentialKind::Json => "json",
            CredentialKind::Oauth2 => "oauth2",
        }
    }

    /// True for a text or an origin, which is no secret.
    pub(super) fn is_shown(&self) -> bool {
        matches!(self.field.kind, CredentialKind::Text | CredentialKind::Origin)
    }

    /// The stored value of a text or an origin; empty if there is none.
    pub(super) fn shown_value(&self) -> &str {
        shown_value(self.field).unwrap_or_default()
    }

    /// The stored value, or the one that a refused form had, if it is none of the choices any more.
    pub(super) fn other_choice(&self) -> Option<&str> {
        Some(self.typed)
            .filter(|typed| !typed.is_empty() && !self.field.one_of.iter().any(|one| one == typed))
    }

    /// True for a document that is pasted: a login or another one.
    pub(super) fn is_document(&self) -> bool {
        matches!(self.field.kind, CredentialKind::Json | CredentialKind::Oauth2)
    }

    /// True if it is absent, and requests with what is stored of the section are not possible without it.
    pub(super) fn is_needed(&self) -> bool {
        let is_absent = self.field.stored.is_none() && self.field.used.is_none();
        let has_other = || self.section.fields.iter().any(|field| field.stored.is_some());
        is_absent && self.field.wanted == Wanted::Required && has_other()
    }

    /// True if requests are possible without it.
    pub(super) fn is_optional(&self) -> bool {
        self.field.optional || self.field.default.is_some()
    }

    pub(super) fn is_login(&self) -> bool {
        self.field.kind == CredentialKind::Oauth2
    }

    /// The text in the empty control: the mask of the stored value, or an example.
    pub(super) fn placeholder(&self) -> String {
        let field = self.field;
        let example = || field.placeholder.clone().or_else(|| field.hint.clone());
        match &field.stored {
            _ if self.is_shown() => {
                let origin =
                    (field.kind == CredentialKind::Origin).then(|| "https://host.example:8000".to_owned());
                field.default.clone().or_else(example).or(origin).unwrap_or_default()
            }
            Some(Value::String(mask)) => mask.clone(),
            Some(_) if self.is_login() => "a login is stored; paste another one to replace it".to_owned(),
            Some(_) if self.is_document() => {
                "a document is stored; paste another one to replace it".to_owned()
            }
            _ => example().unwrap_or_default(),
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

    /// The holders of another one, which is used without the owner's own credentials.
    pub(super) fn also_shared(&self) -> Option<String> {
        let shared = self.field.shared.iter().filter(|_| self.shared_by().is_none());
        let names = shared.map(|one| {
            let name = match one.by {
                Holder::Own => "the owner",
                Holder::Group if self.is_own => "your group",
                Holder::Group => "the group",
                Holder::Everybody => "everybody",
            };
            let state = if one.unconfirmed { " (an operator has to confirm it)" } else { "" };
            format!("{name}{state}")
        });
        let names: Vec<String> = names.collect();
        let own = if self.is_own { "you have none of your own" } else { "there is none here" };
        (!names.is_empty()).then(|| format!("Also shared by {}: used while {own}", names.join(" and ")))
    }

    /// The time at which the access of a stored login expires, and true if it has.
    pub(super) fn expiry(&self) -> Option<(String, bool)> {
        let at = self.field.stored.as_ref()?.get("expiresAt")?.as_u64()?;
        Some((utc(at), at <= now_ms()))
    }

    pub(super) fn is_unreadable(&self) -> bool {
        self.field
            .stored
            .as_ref()
            .is_some_and(|value| value.get("status").is_some_and(|one| one == "unreadable"))
    }
}
