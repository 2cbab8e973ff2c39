//! The values of an owner's fields that are no secrets (`text` and `origin`), and the origins that they make.
//!
//! It guarantees: a secret is bound to the origins of the values that are stored beside it when it is set. A value that is
//! changed later binds no secret to another origin: that needs a confirmation ([`super::confirm`]). The one exception is
//! [`bind_edits`]: the first value that completes an origin.

use std::collections::{BTreeMap, BTreeSet};

use super::{Edit, MasterKey, StoredCredential, credentials::decrypt_credential};
use crate::{
    fields::{DeclaredFields, Field, FieldKind, MadeOrigin},
    secret::Secret,
    store::SealedCredential,
};

/// The values of one owner, by section and field. Only those of sections whose values make origins.
#[derive(Debug, Clone, Default)]
pub struct OwnValues(BTreeMap<(String, String), Secret>);

impl OwnValues {
    /// Decrypts the values among an owner's credentials. One that cannot be decrypted is absent, as for requests.
    pub fn decrypt(key: &MasterKey, known: &DeclaredFields, stored: &[SealedCredential]) -> Self {
        let value = |one: &SealedCredential| {
            let fields = known.section(&one.section).ok()?;
            let is_value = matches!(fields.get(&one.field)?.kind, FieldKind::Value(_));
            if !is_value || fields.values().all(|field| field.made.is_empty()) {
                return None;
            }
            match decrypt_credential(key, one) {
                Ok(StoredCredential::Value(value)) => Some(((one.section.clone(), one.field.clone()), value)),
                Ok(_) | Err(_) => None,
            }
        };
        Self(stored.iter().filter_map(value).collect())
    }

    fn get(&self, section: &str, field: &str) -> Option<&str> {
        self.0.get(&(section.to_owned(), field.to_owned())).map(Secret::expose)
    }

    /// The origins that the files lead a field of a section to, with these values. Those that are not complete are as written
    /// in the file. Sorted.
    pub fn origins(&self, section: &str, field: &Field) -> Vec<String> {
        field.origins_with(|name| self.get(section, name))
    }

    /// The same, without those that are not complete: nobody knows yet where they lead.
    pub fn complete_origins(&self, section: &str, field: &Field) -> Vec<String> {
        let made = field.made.iter().filter_map(|made| made.origin(|name| self.get(section, name)));
        let all: BTreeSet<String> = field.origins.iter().cloned().chain(made).collect();
        all.into_iter().collect()
    }

    /// The origins that a secret may go to, or that a value is a part of; as in [`Self::origins`].
    pub fn leads_to(&self, known: &DeclaredFields, section: &str, name: &str) -> Vec<String> {
        match known.find(section, name) {
            Ok(field) if field.is_secret() => self.origins(section, field),
            Ok(_) | Err(_) => {
                let made: BTreeSet<String> = self.templates(known, section, name).into_values().collect();
                made.into_iter().collect()
            }
        }
    }

    /// The same if values of the section make some of them: each by how the file has it. Empty if they make none.
    pub fn templates(&self, known: &DeclaredFields, section: &str, name: &str) -> BTreeMap<String, String> {
        let one = |made: &MadeOrigin| {
            let written = made.written();
            let origin = made.origin(|name| self.get(section, name));
            (written.clone(), origin.unwrap_or(written))
        };
        let mut all: BTreeMap<String, String> = known.made_with(section, name).map(one).collect();
        if let Ok(field) = known.find(section, name)
            && !all.is_empty()
        {
            all.extend(field.origins.iter().map(|fixed| (fixed.clone(), fixed.clone())));
        }
        all
    }

    /// The fields whose values those origins lack that are not complete.
    pub fn missing(&self, known: &DeclaredFields, section: &str, name: &str) -> Vec<String> {
        let missing =
            known.made_with(section, name).flat_map(|made| made.missing(|name| self.get(section, name)));
        let missing: BTreeSet<String> = missing.map(str::to_owned).collect();
        missing.into_iter().collect()
    }

    fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Set { section, field, stored: StoredCredential::Value(value), .. } => {
                self.0.insert((section.clone(), field.clone()), value.clone());
            }
            Edit::Set { section, field, .. } | Edit::Remove { section, field } => {
                self.0.remove(&(section.clone(), field.clone()));
            }
            Edit::RemoveAll => self.0.clear(),
            Edit::Bind { .. } => {}
        }
    }

    /// The origins of a stored secret whose origins are complete for the first time, now that these values follow `before`;
    /// none if there is no such origin. One that is a user's value as a whole is none: only a confirmation sends a stored
    /// secret there.
    fn completed(&self, before: &Self, one: &SealedCredential, field: &Field) -> Option<Vec<String>> {
        let mut origins = one.origins.clone()?;
        let mut is_changed = false;
        for made in field.made.iter().filter(|made| !made.is_whole()) {
            let origin = |values: &Self| made.origin(|name| values.get(&one.section, name));
            let written = made.written();
            if let (Some(at), None, Some(new)) =
                (origins.iter().position(|known| *known == written), origin(before), origin(self))
            {
                origins[at] = new;
                is_changed = true;
            }
        }
        origins.sort();
        origins.dedup();
        is_changed.then_some(origins)
    }
}

/// Binds what `edits` set to the origins that the owner's values make after the change. `stored` is what the owner has
/// before, and `before` are the values among it.
///
/// Adds an [`Edit::Bind`] for each stored secret whose origin is complete for the first time. Such a secret was stored for the
/// origin as the file has it, with braces: its owner knew the rest of the host. A caller that may set the value may set the secret
/// too, since both are in one section.
///
/// Returns the values after the change.
pub fn bind_edits(
    before: &OwnValues,
    known: &DeclaredFields,
    stored: &[SealedCredential],
    edits: &mut Vec<Edit>,
) -> OwnValues {
    let mut after = before.clone();
    for edit in edits.iter() {
        after.apply(edit);
    }
    for edit in &mut *edits {
        if let Edit::Set { section, field, origins, .. } = edit
            && let Ok(declared) = known.find(section, field)
        {
            *origins = after.origins(section, declared);
        }
    }
    let replaces = |one: &SealedCredential, edit: &Edit| match edit {
        Edit::Set { section, field, .. }
        | Edit::Remove { section, field }
        | Edit::Bind { section, field, .. } => *section == one.section && *field == one.field,
        Edit::RemoveAll => true,
    };
    let bound = stored.iter().filter(|one| !edits.iter().any(|edit| replaces(one, edit))).filter_map(|one| {
        let field = known.find(&one.section, &one.field).ok()?;
        let origins = after.completed(before, one, field)?;
        let (section, field) = (one.section.clone(), one.field.clone());
        Some(Edit::Bind { section, field, old: Box::new(one.clone()), origins })
    });
    let bound: Vec<_> = bound.collect();
    edits.extend(bound);
    after
}

#[cfg(test)]
mod tests;
