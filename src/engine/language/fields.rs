//! The credential fields that provider files declare, each with its kind and its allowed origins.
//!
//! A misspelt section or field is rejected with a suggestion: nothing would ever read it. A stored credential is bound to
//! the origins that the files define at that time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use thiserror::Error;

use crate::{
    base::{
        origin::Origin,
        suggest::{backticked, nearest},
    },
    language::{bind, compile, syntax},
};

/// A login is refreshed this long before it expires, if the file has no `refresh_before`.
const REFRESH_BEFORE: Duration = Duration::from_mins(5);

/// The kind of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldKind {
    /// A plain secret.
    Plain,
    /// An OAuth login.
    OAuth2(OAuth),
}

/// The keys of an OAuth login: import and refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// JSON pointers into the document that users paste, by `accessToken`, `refreshToken` and `expiresAt`.
    pub paste: BTreeMap<String, String>,
    /// The token endpoint.
    pub token_url: String,
    /// The client id at the token endpoint.
    pub client_id: String,
    /// The login is refreshed this long before it expires.
    pub refresh_before: Duration,
}

/// A field that a file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its kind.
    pub kind: FieldKind,
    /// The origins that its credential may be sent to: those of all providers that send it, and of the token endpoint. Sorted.
    pub origins: Vec<String>,
}

/// All declared fields, by section and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredFields(pub BTreeMap<String, BTreeMap<String, Field>>);

/// A field that no provider file declares.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnknownField {
    /// No file declares the section.
    #[error("no provider file has credentials in the section `{section}`{hint}")]
    Section {
        /// The section.
        section: String,
        /// The most similar name, and all names.
        hint: String,
    },
    /// No file declares the field in the section.
    #[error("the section `{section}` has no field `{field}`{hint}")]
    Field {
        /// The section.
        section: String,
        /// The field.
        field: String,
        /// The most similar name, and all names.
        hint: String,
    },
}

impl DeclaredFields {
    /// The fields of these providers.
    pub fn of<'p>(providers: impl IntoIterator<Item = &'p bind::Provider>) -> Self {
        let mut known = Self::default();
        for provider in providers {
            let Some(section) = &provider.section else { continue };
            let fields = known.0.entry(section.name.clone()).or_default();
            for declared in &section.fields {
                let declared = &declared.value;
                let field = fields.entry(declared.name.clone()).or_insert_with(|| Field::of(declared));
                if provider.auth.iter().any(|auth| auth.reads(&declared.name)) {
                    let both: BTreeSet<_> = field.origins.drain(..).chain(provider.allowed.clone()).collect();
                    field.origins = both.into_iter().collect();
                }
            }
        }
        known
    }

    /// The fields of a section.
    pub fn section(&self, section: &str) -> Result<&BTreeMap<String, Field>, UnknownField> {
        self.0.get(section).ok_or_else(|| UnknownField::Section {
            section: section.to_owned(),
            hint: hint(section, &self.0),
        })
    }

    /// A field.
    pub fn find(&self, section: &str, field: &str) -> Result<&Field, UnknownField> {
        let fields = self.section(section)?;
        fields.get(field).ok_or_else(|| UnknownField::Field {
            section: section.to_owned(),
            field: field.to_owned(),
            hint: hint(field, fields),
        })
    }
}

impl Field {
    /// A field as declared, without the origins of providers.
    fn of(declared: &syntax::Field) -> Self {
        match (declared.kind, &declared.token_url) {
            (Some(syntax::FieldKind::Oauth2), Some(token_url)) => {
                let before = declared.refresh_before.as_deref();
                let oauth = OAuth {
                    paste: declared.paste.clone().unwrap_or_default(),
                    token_url: token_url.clone(),
                    client_id: declared.client_id.clone().unwrap_or_default(),
                    refresh_before: before
                        .and_then(|text| compile::duration(text).ok())
                        .unwrap_or(REFRESH_BEFORE),
                };
                let origins = oauth.origin().into_iter().collect();
                Self { kind: FieldKind::OAuth2(oauth), origins }
            }
            // A login without a token endpoint does not compile.
            (Some(_) | None, _) => Self { kind: FieldKind::Plain, origins: Vec::new() },
        }
    }
}

impl OAuth {
    /// The origin of its token endpoint, as one of the field's origins.
    pub fn origin(&self) -> Option<String> {
        Origin::split(&self.token_url).ok().map(|(origin, _)| origin.to_string())
    }
}

/// The most similar known name, and all of them.
fn hint<T>(name: &str, known: &BTreeMap<String, T>) -> String {
    let names = || known.keys().map(String::as_str);
    let Some(_) = names().next() else { return "; there are none at all".to_owned() };
    // Users leave out what precedes the last dot of a section's name.
    let by_last_part = || {
        let part = nearest(name, names().map(last_part))?;
        names().find(|name| last_part(name) == part)
    };
    let near = nearest(name, names()).or_else(by_last_part);
    let suggestion = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    format!("{suggestion} (known: {})", backticked(names()))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::name::FileName, language::compile::Files};

    /// The fields declared by the files `(name, text)`.
    fn known(files: &[(&str, &str)]) -> DeclaredFields {
        let mut all = Files::default();
        for (name, text) in files {
            let head = "title = \"X\"\npath_prefix = \"/{provider}\"\nendpoint.one = { method = \"GET\", path = \"/one\" }\n";
            let (parsed, found) = syntax::parse(&(*name).into(), &format!("{head}{text}"));
            assert_eq!(found, []);
            all.providers.insert(FileName::new(name).unwrap(), parsed);
        }
        let compiled = compile::compile(&all);
        assert_eq!(compiled.diagnostics, []);
        let bound: Vec<_> =
            compiled.providers.iter().map(|one| bind::bind(one, |_, _, _| None).0.unwrap()).collect();
        DeclaredFields::of(&bound)
    }

    const LOGIN: &str = "{ name = \"oauth\", kind = \"oauth2\", token_url = \"https://auth.example.com/token\", client_id = \"app_1\" }";
    const KEY: &str = "{ name = \"apiKey\" }";
    const SEND: &str = "set = { authorization = \"{secret}\" }";

    #[test]
    fn a_field_has_the_origins_of_the_providers_that_send_it() {
        let file = |host: &str, fields: &str, auth: &str| {
            format!(
                "base_url = \"https://{host}.example.com\"\ncredentials = {{ section = \"s\", field = [{fields}] }}\nauth = [{auth}]"
            )
        };
        let send = |field: &str| format!("{{ field = \"{field}\", {SEND} }}");
        let both = file("one", &format!("{KEY}, {LOGIN}"), &format!("{}, {}", send("oauth"), send("apiKey")));
        let login_alone = file("two", LOGIN, &send("oauth"));
        let known = known(&[("a", &both), ("b", &login_alone), ("c", &file("three", KEY, ""))]);
        let (one, two, auth) =
            ("https://one.example.com", "https://two.example.com", "https://auth.example.com");
        let check = |field: &str, expected: &[&str]| {
            assert_eq!(known.find("s", field).unwrap().origins, expected, "{field}");
        };
        check("apiKey", &[one]);
        check("oauth", &[auth, one, two]);
        let FieldKind::OAuth2(login) = &known.find("s", "oauth").unwrap().kind else {
            panic!("it is a login")
        };
        let expected = OAuth {
            paste: BTreeMap::new(),
            token_url: format!("{auth}/token"),
            client_id: "app_1".to_owned(),
            refresh_before: REFRESH_BEFORE,
        };
        assert_eq!((login, login.origin().as_deref()), (&expected, Some(auth)));
    }

    #[test]
    fn unknown_fields_come_with_a_suggestion() {
        let file = format!("base_url = \"https://x.example.com\"\ncredentials.field = [{KEY}]");
        let known =
            known(&[("demo", &file), ("example", &format!("{file}\ncredentials.section = \"example\""))]);
        assert_eq!(known.find("example", "apiKey").unwrap().kind, FieldKind::Plain);
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
        let error = DeclaredFields::default().find("demo", "apiKey").unwrap_err();
        assert_eq!(error.to_string(), format!("{none} `demo`; there are none at all"));
    }
}
