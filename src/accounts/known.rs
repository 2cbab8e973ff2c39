//! `KnownFields`: which credentials the provider files declare, so that a mistyped one is refused with
//! a hint instead of being stored where nothing looks for it.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{compile::Section, spec};

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldKind {
    /// A plain secret.
    Plain,
    /// An OAuth login.
    OAuth2 {
        /// JSON pointers into what users paste: `accessToken`, `refreshToken`, `expiresAt` to pointer.
        paste: BTreeMap<String, String>,
    },
}

/// The fields that there are: section, field, kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownFields(pub BTreeMap<String, BTreeMap<String, FieldKind>>);

/// A field that no provider file declares.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnknownField {
    /// No file has such a section.
    #[error("no provider file has credentials in the section `{section}`{hint}")]
    Section {
        /// The section.
        section: String,
        /// The nearest, and all that there are.
        hint: String,
    },
    /// The section has no such field.
    #[error("the section `{section}` has no field `{field}`{hint}")]
    Field {
        /// The section.
        section: String,
        /// The field.
        field: String,
        /// The nearest, and all that there are.
        hint: String,
    },
}

impl FieldKind {
    fn of(field: &spec::Field) -> Self {
        match field.kind {
            Some(spec::FieldKind::Oauth2) => Self::OAuth2 { paste: field.paste.clone().unwrap_or_default() },
            Some(spec::FieldKind::Secret) | None => Self::Plain,
        }
    }
}

impl KnownFields {
    /// Those that sections declare.
    pub fn of<'s>(sections: impl Iterator<Item = &'s Section>) -> Self {
        let mut known: BTreeMap<String, BTreeMap<String, FieldKind>> = BTreeMap::new();
        for section in sections {
            let fields = known.entry(section.name.clone()).or_default();
            fields
                .extend(section.fields.iter().map(|one| (one.value.name.clone(), FieldKind::of(&one.value))));
        }
        Self(known)
    }

    /// The kind of a field.
    pub fn find(&self, section: &str, field: &str) -> Result<&FieldKind, UnknownField> {
        let fields = self.0.get(section).ok_or_else(|| UnknownField::Section {
            section: section.to_owned(),
            hint: hint(section, self.0.keys()),
        })?;
        fields.get(field).ok_or_else(|| UnknownField::Field {
            section: section.to_owned(),
            field: field.to_owned(),
            hint: hint(field, fields.keys()),
        })
    }
}

fn hint<'a>(name: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    let nearest = known.clone().map(|other| (distance(name, other), other)).min();
    let list: Vec<_> = known.map(|other| format!("`{other}`")).collect();
    let suggestion = match nearest {
        Some((distance, other)) if distance <= name.len().max(3) / 3 => format!("; did you mean `{other}`?"),
        Some(_) => String::new(),
        None => return "; there are none at all".to_owned(),
    };
    format!("{suggestion} (known: {})", list.join(", "))
}

/// How far apart two names are, in letters. What stands before the last dot is easily left out.
fn distance(name: &str, other: &str) -> usize {
    let last = other.rsplit('.').next().unwrap_or(other);
    let letters = |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    letters(other).min(letters(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_named_with_the_nearest() {
        let plain = || BTreeMap::from([("apiKey".to_owned(), FieldKind::Plain)]);
        let sections = ["example", "providers.demo"].map(|section| (section.to_owned(), plain()));
        let known = KnownFields(sections.into());
        assert_eq!(known.find("example", "apiKey"), Ok(&FieldKind::Plain));
        let check = |section, field, expected: &str| {
            assert_eq!(known.find(section, field).unwrap_err().to_string(), expected);
        };
        let sections = "(known: `example`, `providers.demo`)";
        let none = "no provider file has credentials in the section";
        check("exmaple", "apiKey", &format!("{none} `exmaple`; did you mean `example`? {sections}"));
        check("demo", "apiKey", &format!("{none} `demo`; did you mean `providers.demo`? {sections}"));
        check("zzz", "apiKey", &format!("{none} `zzz` {sections}"));
        let field = "the section `example` has no field `apikey`; did you mean `apiKey`? (known: `apiKey`)";
        check("example", "apikey", field);
        let error = KnownFields::default().find("demo", "apiKey").unwrap_err();
        assert_eq!(error.to_string(), format!("{none} `demo`; there are none at all"));
    }
}
