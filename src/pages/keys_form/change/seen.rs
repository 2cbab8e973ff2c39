//! What the page of a form showed, and what was typed there. Another tab, another person or the provider files may have changed
//! what is stored, or where it leads, since the page was loaded.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{super::form::Form, shown_value};
use crate::admin::CredentialField;

/// The beginnings of the names of a form's entries, each followed by a place: a new value, the stored value and the default that
/// the page showed, and an origin that it showed, as the file has it. An empty origin says that it showed none.
const SET: &str = "set.";
const WAS: &str = "was.";
const DEFAULT: &str = "default.";
const ORIGIN: &str = "origin.";
/// The name of the places to remove.
const CLEAR: &str = "clear";

/// The entries of a form, by place.
pub(in super::super) struct Seen<'f> {
    pub(in super::super) set: BTreeMap<&'f str, &'f str>,
    pub(in super::super) cleared: BTreeSet<&'f str>,
    was: BTreeMap<&'f str, &'f str>,
    defaults: BTreeMap<&'f str, &'f str>,
    origins: BTreeMap<&'f str, Vec<&'f str>>,
}

impl<'f> Seen<'f> {
    pub(in super::super) fn of(form: &'f Form) -> Self {
        let mut origins = BTreeMap::<_, Vec<_>>::new();
        for (place, origin) in form.below(ORIGIN) {
            origins.entry(place).or_default().extend((!origin.is_empty()).then_some(origin));
        }
        Self {
            set: form.below(SET).collect(),
            cleared: form.all(CLEAR).collect(),
            was: form.below(WAS).collect(),
            defaults: form.below(DEFAULT).collect(),
            origins,
        }
    }

    /// True if a shown value was left as the page showed it.
    pub(in super::super) fn is_unchanged(&self, place: &str) -> bool {
        self.was.get(place).is_some_and(|was| self.set.get(place) == Some(was))
    }

    /// The problem of a change to a value of which another one is stored by now.
    pub(super) fn changed_since(&self, place: &str, field: &CredentialField) -> Option<String> {
        let was = self.was.get(place)?;
        let stored = shown_value(field).unwrap_or_default();
        let now = if stored.is_empty() { "nothing".to_owned() } else { format!("`{stored}`") };
        (*was != stored).then(|| {
            format!("{now} is stored now: it was changed since this page was loaded. Save again if your change is to replace it")
        })
    }

    /// The origins that the page showed for a field, with what was typed; none if the form does not say.
    pub(super) fn origins(&self, place: &str) -> Option<Vec<String>> {
        let value = |at: &str| self.typed(at).or_else(|| self.defaults.get(at).copied());
        Some(filled(self.origins.get(place)?.iter().copied(), place, value))
    }

    /// The problem of a new value that leads to other origins by now than the page showed.
    pub(super) fn leads_elsewhere(
        &self,
        place: &str,
        field: &CredentialField,
        fields: &BTreeMap<String, &CredentialField>,
    ) -> Option<String> {
        let value = |at: &str| {
            let now = *fields.get(at)?;
            let kept = || if self.cleared.contains(at) { None } else { shown_value(now) };
            let value = if self.is_unchanged(at) { kept() } else { self.typed(at) };
            value.or(now.default.as_deref())
        };
        let (seen, now) = (self.origins(place)?, filled(field.written_origins(), place, value));
        let shown = |origins: &[String]| match origins {
            [] => "no host".to_owned(),
            origins => origins.join(", "),
        };
        (seen != now).then(|| {
            format!(
                "it would go to {} now, and not to {}, as this page showed: look at it, then save again",
                shown(&now),
                shown(&seen)
            )
        })
    }

    fn typed(&self, place: &str) -> Option<&'f str> {
        let text = self.set.get(place).copied().filter(|text| !text.is_empty());
        text.filter(|_| !self.cleared.contains(place))
    }
}

/// Origins as the file has them, with the values of the section of a place. One that lacks a value stays as it is. Sorted.
fn filled<'v>(
    written: impl Iterator<Item = &'v str>,
    place: &str,
    value: impl Fn(&str) -> Option<&'v str>,
) -> Vec<String> {
    let section = place.rsplit_once('.').map_or("", |(section, _)| section);
    let one = |written: &str| {
        let mut text = String::new();
        // Every second piece is the name of a field.
        for (index, piece) in written.split(['{', '}']).enumerate() {
            if index % 2 == 0 {
                text.push_str(piece);
                continue;
            }
            let is_whole = piece.len() + 2 == written.len();
            let is_part = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            text.push_str(value(&format!("{section}.{piece}")).filter(|text| is_whole || is_part(text))?);
        }
        Some(text)
    };
    let all: BTreeSet<String> =
        written.map(|written| one(written).unwrap_or_else(|| written.to_owned())).collect();
    all.into_iter().collect()
}
