//! The credential fields that provider files declare, each with its kind and its allowed origins.
//!
//! A misspelt section or field is rejected with a suggestion: nothing would ever read it. A stored credential is bound to
//! the origins that the files define at that time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use thiserror::Error;

use crate::{
    base::{
        origin::Origin,
        secret::Secret,
        suggest::{backticked, nearest},
    },
    language::{
        bind::{self, Input},
        compile::{self, Part, Template, ValueRule},
        syntax,
    },
};

/// A login is refreshed this long before it expires, if the file has no `refresh_before`.
const REFRESH_BEFORE: Duration = Duration::from_mins(5);

/// The kind of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldKind {
    /// A secret.
    Secret,
    /// A value that is no secret, and its rule.
    Value(ValueRule),
    /// A JSON document, and the JSON pointers to its parts, by name.
    Json(BTreeMap<String, String>),
    /// An OAuth login.
    OAuth2(OAuth),
}

/// The kind that a credential was stored as. The file of its field may declare another one meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredKind {
    /// A secret.
    Secret,
    /// A value that is no secret, and is shown.
    Value,
    /// A JSON document.
    Document,
    /// An OAuth login.
    Login,
}

impl StoredKind {
    /// The kind that a field is stored as.
    pub fn of(declared: &syntax::Field) -> Self {
        match declared.kind {
            None | Some(syntax::FieldKind::Secret) => Self::Secret,
            Some(syntax::FieldKind::Text | syntax::FieldKind::Origin) => Self::Value,
            Some(syntax::FieldKind::Json) => Self::Document,
            Some(syntax::FieldKind::Oauth2) => Self::Login,
        }
    }
}

impl fmt::Display for StoredKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Secret => "a secret",
            Self::Value => "a value that is shown",
            Self::Document => "a JSON document",
            Self::Login => "an OAuth login",
        })
    }
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
    /// The client secret there, if it wants one.
    pub client_secret: Option<Secret>,
    /// The scope that a refresh asks for.
    pub scope: Option<String>,
    /// The login is refreshed this long before it expires.
    pub refresh_before: Duration,
}

/// A field that a file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its kind.
    pub kind: FieldKind,
    /// True if an entry of `auth` applies without it.
    pub optional: bool,
    /// The value where none is stored.
    pub default: Option<String>,
    /// The origins that its credential may be sent to: those of all providers that send it, and of the token endpoint. Sorted.
    pub origins: Vec<String>,
    /// Those that depend on values of the section.
    pub made: Vec<MadeOrigin>,
}

/// An origin that the values of a section's fields make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeOrigin {
    template: Template<Input>,
    /// The field and the default of each index of the template.
    fields: Vec<(u16, String, Option<String>)>,
}

impl MadeOrigin {
    fn of(template: &Template<Input>, section: &compile::Section) -> Self {
        let named = |index: u16| {
            let value = section.values.get(usize::from(index))?;
            Some((index, value.field.clone(), value.default.clone()))
        };
        let fields = template.placeholders().filter_map(Input::field).filter_map(named);
        Self { template: template.clone(), fields: fields.collect() }
    }

    /// The fields that it depends on.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(_, field, _)| field.as_str())
    }

    /// True if a user's value is the whole origin: the file spells out no part of the host.
    pub fn is_whole(&self) -> bool {
        matches!(self.template.parts(), [Part::Placeholder { .. }])
    }

    /// The origin with the fields in braces: `https://{resource}.example.com`.
    pub fn written(&self) -> String {
        let mut text = String::new();
        self.template.render_names(&mut text, |input| {
            let field = self.fields.iter().find(|(index, ..)| Some(*index) == input.field());
            field.map_or("", |(_, field, _)| field.as_str())
        });
        text
    }

    /// The fields whose values are absent; if all are there, and make no host, all fields. By field.
    pub fn missing<'v>(&'v self, value: impl Fn(&str) -> Option<&'v str>) -> Vec<&'v str> {
        if self.origin(&value).is_some() {
            return Vec::new();
        }
        let is_absent = |(_, field, default): &&(u16, String, Option<String>)| {
            value(field).is_none() && default.is_none()
        };
        let absent: Vec<_> =
            self.fields.iter().filter(is_absent).map(|(_, field, _)| field.as_str()).collect();
        if absent.is_empty() { self.fields().collect() } else { absent }
    }

    /// The origin for these values, by field; none if one of them is absent or makes no host.
    pub fn origin<'v>(&'v self, value: impl Fn(&str) -> Option<&'v str>) -> Option<String> {
        let get = |index: u16| {
            let (_, field, default) = self.fields.iter().find(|(known, ..)| *known == index)?;
            value(field).or(default.as_deref())
        };
        bind::made_origin(&self.template, get).ok().map(|origin| origin.to_string())
    }
}

/// The fields of a section, by name. They are boxed since a map has room for eleven, and most sections have one.
pub type SectionFields = BTreeMap<String, Box<Field>>;

/// All declared fields, by section and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredFields(pub BTreeMap<String, SectionFields>);

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
                let field = fields
                    .entry(declared.name.clone())
                    .or_insert_with(|| Box::new(Field::of(declared, provider, section)));
                if field.is_secret() && provider.sends(&declared.name) {
                    let sent = provider.allowed.fixed.iter().cloned();
                    let both: BTreeSet<_> = field.origins.drain(..).chain(sent).collect();
                    field.origins = both.into_iter().collect();
                    let made = provider.allowed.made.iter().map(|template| MadeOrigin::of(template, section));
                    field.made.extend(made);
                    field.add_token_endpoints(provider, section, &declared.name);
                }
            }
        }
        known
    }

    /// The documents and logins of the section that has the most of them.
    pub fn most_documents(&self) -> usize {
        let is_document = |field: &Field| matches!(field.kind, FieldKind::Json(_) | FieldKind::OAuth2(_));
        let counts = self.0.values().map(|fields| fields.values().filter(|field| is_document(field)).count());
        counts.max().unwrap_or_default()
    }

    /// The fields of a section.
    pub fn section(&self, section: &str) -> Result<&SectionFields, UnknownField> {
        self.0.get(section).ok_or_else(|| UnknownField::Section {
            section: section.to_owned(),
            hint: hint(section, &self.0),
        })
    }

    /// A field.
    pub fn find(&self, section: &str, field: &str) -> Result<&Field, UnknownField> {
        let fields = self.section(section)?;
        fields.get(field).map(|field| &**field).ok_or_else(|| UnknownField::Field {
            section: section.to_owned(),
            field: field.to_owned(),
            hint: hint(field, fields),
        })
    }
}

impl DeclaredFields {
    /// Of the origins that values make: those that a secret may go to, or that a field's value is a part of.
    pub fn made_with<'m>(&'m self, section: &str, field: &'m str) -> impl Iterator<Item = &'m MadeOrigin> {
        let fields = self.0.get(section).into_iter().flatten();
        fields.flat_map(move |(name, one)| {
            let is_of = move |made: &&MadeOrigin| name == field || made.fields().any(|part| part == field);
            one.made.iter().filter(is_of)
        })
    }
}

impl Field {
    /// A field of a kind that may be sent to these origins.
    pub fn sent_to(kind: FieldKind, origins: Vec<String>) -> Self {
        Self { kind, optional: false, default: None, origins, made: Vec::new() }
    }

    /// A field as declared, without the origins of providers.
    fn of(declared: &syntax::Field, provider: &bind::Provider, section: &compile::Section) -> Self {
        let client_secret = provider.client_secrets.iter().find(|(field, _)| *field == declared.name);
        let (kind, origin) = kind_of(declared, section, client_secret.map(|(_, secret)| secret));
        Self {
            optional: declared.optional == Some(true),
            default: declared.default.clone(),
            ..Self::sent_to(kind, origin.into_iter().collect())
        }
    }

    /// Adds the origins of the token endpoints that are called with the field.
    fn add_token_endpoints(&mut self, provider: &bind::Provider, section: &compile::Section, field: &str) {
        for token in provider.tokens.iter().filter(|token| token.is_made_from(section, field)) {
            let fixed = self.origins.drain(..).chain(token.origins.fixed.iter().cloned());
            let fixed: BTreeSet<_> = fixed.collect();
            self.origins = fixed.into_iter().collect();
            self.made.extend(token.origins.made.iter().map(|template| MadeOrigin::of(template, section)));
        }
    }

    /// True if its value is never shown.
    pub fn is_secret(&self) -> bool {
        match self.kind {
            FieldKind::Secret | FieldKind::Json(_) | FieldKind::OAuth2(_) => true,
            FieldKind::Value(_) => false,
        }
    }

    /// The origins that a credential may be sent to which is stored beside these values of its section. One that they do not
    /// make yet is as written in the file, with braces. Sorted.
    pub fn origins_with<'v>(&'v self, value: impl Fn(&str) -> Option<&'v str>) -> Vec<String> {
        let made = self.made.iter().map(|made| made.origin(&value).unwrap_or_else(|| made.written()));
        let all: BTreeSet<_> = self.origins.iter().cloned().chain(made).collect();
        all.into_iter().collect()
    }
}

/// The kind of a field, and the origin of a login's token endpoint.
fn kind_of(
    declared: &syntax::Field,
    section: &compile::Section,
    client_secret: Option<&Secret>,
) -> (FieldKind, Option<String>) {
    match (declared.kind, &declared.token_url) {
        (Some(syntax::FieldKind::Oauth2), Some(token_url)) => {
            let before = declared.refresh_before.as_deref();
            let oauth = OAuth {
                paste: declared.paste.clone().unwrap_or_default(),
                token_url: token_url.clone(),
                client_id: declared.client_id.clone().unwrap_or_default(),
                client_secret: client_secret.cloned(),
                scope: declared.scope.clone(),
                refresh_before: before
                    .and_then(|text| compile::duration(text).ok())
                    .unwrap_or(REFRESH_BEFORE),
            };
            let origin = oauth.origin();
            (FieldKind::OAuth2(oauth), origin)
        }
        (Some(syntax::FieldKind::Json), _) => {
            (FieldKind::Json(declared.parts.clone().unwrap_or_default()), None)
        }
        // A login without a token endpoint does not compile.
        _ => match section.rule(&declared.name) {
            Some(rule) => (FieldKind::Value(rule.clone()), None),
            None => (FieldKind::Secret, None),
        },
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
            client_secret: None,
            scope: None,
            refresh_before: REFRESH_BEFORE,
        };
        assert_eq!((login, login.origin().as_deref()), (&expected, Some(auth)));
    }

    #[test]
    fn unknown_fields_come_with_a_suggestion() {
        let file = format!("base_url = \"https://x.example.com\"\ncredentials.field = [{KEY}]");
        let known =
            known(&[("demo", &file), ("example", &format!("{file}\ncredentials.section = \"example\""))]);
        assert_eq!(known.find("example", "apiKey").unwrap().kind, FieldKind::Secret);
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
