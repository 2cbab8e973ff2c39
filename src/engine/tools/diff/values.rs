//! The values behind the names in templates: fields of the credentials section and their parts, tokens, and sources of vars.

use std::{collections::BTreeSet, fmt};

use super::widens::covers;
use crate::{
    language::{
        auth::Output,
        compile::{Auth, Part, Placeholder, Provider, ProviderTemplate, Var, VarSource, Vars},
        token::{self, TokenWord},
    },
    tools::upstream_routes,
};

/// A value that reaches the upstream, or a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value {
    /// Its name for people: `field "key"`, for example. Of [`Use::Stated`], a sentence.
    pub name: String,
    /// What becomes of it.
    pub usage: Use,
    /// The glob that the credential has to match; none if any credential does.
    pub like: Option<String>,
    /// The endpoint whose requests have it; none if all have it.
    pub endpoint: Option<String>,
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// It is sent.
    Sent,
    /// Something is signed with it, and it is not sent.
    Signs,
    /// The name is a sentence that says it.
    Stated,
}

impl Value {
    pub(super) fn of(name: impl Into<String>, usage: Use) -> Self {
        Self { name: name.into(), usage, like: None, endpoint: None }
    }

    /// True if what has this value has the other one, too.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let Self { name, usage, like, endpoint } = self;
        let is_used = *usage == other.usage || (*usage, other.usage) == (Use::Sent, Use::Signs);
        let is_like = like.as_ref().is_none_or(|wide| other.like.as_ref().is_some_and(|it| covers(wide, it)));
        *name == other.name && is_used && is_like && (endpoint.is_none() || *endpoint == other.endpoint)
    }

    /// The sentence that it is new in a place.
    pub(super) fn is_new(&self) -> String {
        let Self { name, usage, like, endpoint } = self;
        let verb = match usage {
            Use::Sent => " is newly sent in this place",
            Use::Signs => " newly signs what is sent in this place",
            Use::Stated => "",
        };
        let like = like.as_ref().map(|glob| format!(", with credentials like `{glob}`")).unwrap_or_default();
        let at = endpoint.as_ref().map(|name| format!(", at the endpoint `{name}`")).unwrap_or_default();
        format!("{name}{verb}{like}{at}")
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.usage {
            Use::Sent | Use::Stated => write!(out, "{}", self.name),
            Use::Signs => write!(out, "signatures with {}", self.name),
        }
    }
}

/// What the names in a template stand for.
#[derive(Clone, Copy)]
pub(super) struct Names<'p> {
    provider: &'p Provider,
    vars: &'p Vars,
    auth: Option<&'p Auth>,
    is_with_section: bool,
}

impl<'p> Names<'p> {
    pub(super) fn of(provider: &'p Provider) -> Self {
        Self { provider, vars: &provider.vars, auth: None, is_with_section: false }
    }

    /// With these vars instead of the provider's.
    pub(super) fn vars(self, vars: &'p Vars) -> Self {
        Self { vars, ..self }
    }

    /// With the credential of this entry.
    pub(super) fn entry(self, auth: &'p Auth) -> Self {
        Self { auth: Some(auth), ..self }
    }

    /// With names that hold beyond one provider: those of fields have their section.
    pub(super) fn with_section(self) -> Self {
        Self { is_with_section: true, ..self }
    }

    /// The values in a text.
    pub(super) fn values(self, text: &ProviderTemplate) -> BTreeSet<Value> {
        self.used(text, 0)
    }

    /// The values in a text of which these many placeholders at the end are signed with.
    fn used(self, text: &ProviderTemplate, signs: usize) -> BTreeSet<Value> {
        let sent = text.placeholders().count() - signs;
        let value = |(index, name): (usize, &Placeholder)| {
            let usage = if index < sent { Use::Sent } else { Use::Signs };
            Some(Value::of(self.name(name)?, usage))
        };
        text.placeholders().enumerate().filter_map(value).collect()
    }

    /// The values that an entry of `auth` writes somewhere.
    pub(super) fn written(self, output: &Output<'_>) -> BTreeSet<Value> {
        self.used(output.text, output.signs)
    }

    /// The values that a key of a token uses.
    pub(super) fn made(self, (key, text): &(String, ProviderTemplate)) -> BTreeSet<Value> {
        let is_signing = key == token::SIGNING_KEY;
        self.used(text, if is_signing { text.placeholders().count() } else { 0 })
    }

    /// The fields in a text without whose values nothing is sent.
    pub(super) fn required(self, text: &ProviderTemplate) -> BTreeSet<String> {
        let is_required = |name: &&Placeholder| match name {
            Placeholder::Field(field) => {
                let value = &self.provider.values()[usize::from(field.index)];
                !value.optional && value.default.is_none()
            }
            _ => false,
        };
        text.placeholders().filter(is_required).filter_map(|name| self.name(name)).collect()
    }

    /// A field of the section.
    pub(super) fn field(self, name: &str) -> String {
        self.in_section(format!("field `{name}`"))
    }

    fn in_section(self, name: String) -> String {
        match &self.provider.section {
            Some(section) if self.is_with_section => format!("{name} of `{}`", section.name),
            _ => name,
        }
    }

    /// The value behind a name; none for what is no value of users or operators.
    fn name(self, name: &Placeholder) -> Option<String> {
        match name {
            Placeholder::Var(var) => self.vars.get(&**var).map(|var| source(&var.value.source)),
            Placeholder::Secret => {
                let auth = self.auth?;
                let token = || Some(format!("token `{}`", self.provider.tokens[auth.token?].name));
                let field = auth.field.as_ref().map(|field| self.field(field));
                field.or_else(|| token().map(|token| self.in_section(token)))
            }
            Placeholder::Token(TokenWord::Reply(field)) => {
                Some(self.in_section(format!("the reply's field `{}`", field.name)))
            }
            Placeholder::Field(field) => {
                let value = &self.provider.values()[usize::from(field.index)];
                let part =
                    value.pointer.as_ref().map(|pointer| format!("`{pointer}` of ")).unwrap_or_default();
                Some(format!("{part}{}", self.field(&value.field)))
            }
            Placeholder::Token(TokenWord::Jwt | TokenWord::Fingerprint)
            | Placeholder::Capture(_)
            | Placeholder::Host
            | Placeholder::Generated(_)
            | Placeholder::Path
            | Placeholder::Url => None,
        }
    }

    /// A template with the values for their names, and the numbers of captures for theirs: equal for equal meaning.
    pub(super) fn exact(self, text: &ProviderTemplate) -> String {
        let mut exact = String::new();
        for part in text.parts() {
            let (name, filters) = match part {
                Part::Text(text) => {
                    exact.push_str(text);
                    continue;
                }
                Part::Placeholder { name, filters } => (name, filters),
            };
            let name = match name {
                Placeholder::Var(var) => {
                    self.vars.get(&**var).map_or_else(String::new, |var| source_or_default(&var.value))
                }
                Placeholder::Capture(index) => format!("#{index}"),
                name => self.name(name).unwrap_or_else(|| name.written(&[]).to_owned()),
            };
            exact.extend(["{", &name, &filters.written(), "}"]);
        }
        exact
    }

    /// The sources of some vars, sorted: vars with the same source are one.
    pub(super) fn sources<'n>(self, names: impl IntoIterator<Item = &'n String>) -> String {
        let sources = names.into_iter().filter_map(|name| Some(source(&self.vars.get(name)?.value.source)));
        let sources: BTreeSet<String> = sources.collect();
        sources.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// A source of a var, for people.
pub(super) fn source(source: &VarSource) -> String {
    match source {
        VarSource::Env(name) => format!("environment variable `{name}`"),
        VarSource::File(name) => format!("secret file `{name}`"),
    }
}

/// The source of a var, with the value that it has without one.
fn source_or_default(var: &Var) -> String {
    let default = var.default.as_ref().map(|text| format!(" or {text:?}"));
    format!("{}{}", source(&var.source), default.unwrap_or_default())
}

/// The sources that gateways and egresses need to be active.
pub(super) fn conditions(provider: &Provider) -> BTreeSet<String> {
    let gateways = provider.gateways.iter();
    let own = gateways.clone().flat_map(|used| used.gateway.vars.values()).map(|var| &var.value.source);
    let named = gateways.map(|used| &used.when).chain(provider.egress.iter().map(|egress| &egress.when));
    let named = named.flat_map(|when| upstream_routes::sources(provider, when));
    own.chain(named).map(source).collect()
}
