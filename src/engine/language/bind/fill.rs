//! Fills vars into templates, and checks the results for use in a host, a path, a query or a header.

use std::{collections::BTreeSet, sync::Arc};

use http::{HeaderName, HeaderValue};

use super::{Auth, Input, Overlay, VarValues};
use crate::base::secret::Secret;
use crate::language::{
    auth::AuthInput,
    compile::{
        self, Part, Placeholder, ProviderTemplate, Resolved, Template, filter::Filter, is_dots,
        percent_encode,
    },
    generator::Generator,
    token::{Token, TokenWord},
};

/// Fills in vars and `{host}`.
pub(crate) struct Filler<'a> {
    pub(super) set: &'a VarValues,
    pub(super) host: &'a str,
}

/// The placeholder type of templates without placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Never {}

impl Filler<'_> {
    pub(crate) fn fill<M>(
        &self,
        text: &ProviderTemplate,
        mut other: impl FnMut(&Placeholder) -> Resolved<M>,
    ) -> Template<M> {
        text.resolve(|name| match name {
            Placeholder::Var(var) => {
                Resolved::Text(self.set.get(&**var).map(|held| held.text.to_string()).unwrap_or_default())
            }
            Placeholder::Host => Resolved::Text(self.host.to_owned()),
            Placeholder::Capture(_)
            | Placeholder::Generated(_)
            | Placeholder::Secret
            | Placeholder::Token(_)
            | Placeholder::Field(_)
            | Placeholder::Path
            | Placeholder::Url => other(name),
        })
    }

    /// The same template with the vars filled in, and all else open.
    pub(super) fn provider_text(&self, text: &ProviderTemplate) -> ProviderTemplate {
        self.fill(text, |name| Resolved::Placeholder(name.clone()))
    }

    /// True if a template holds a secret var.
    pub(super) fn is_secret(&self, text: &ProviderTemplate) -> bool {
        let secret = |var: &str| self.set.get(var).is_some_and(|held| held.secret);
        text.placeholders().any(|name| matches!(name, Placeholder::Var(var) if secret(var)))
    }

    /// For templates that may hold vars and the host only.
    pub(super) fn vars(&self, text: &ProviderTemplate) -> Template<Never> {
        self.fill(text, |_| Resolved::Text(String::new()))
    }

    /// The client secrets of a section's logins, by field.
    pub(super) fn client_secrets(&self, section: Option<&compile::Section>) -> Vec<(String, Secret)> {
        let all = section.into_iter().flat_map(|section| &section.client_secrets);
        let text = |var: &str| self.set.get(var).map(|held| Secret::new(held.text.as_str()));
        all.filter_map(|(field, var)| Some((field.clone(), text(var)?))).collect()
    }

    /// For templates that may also hold captures and fields.
    pub(super) fn inputs(&self, text: &ProviderTemplate) -> Template<Input> {
        self.fill(text, |name| match name {
            Placeholder::Capture(index) => Resolved::Placeholder(Input::Capture(*index)),
            Placeholder::Field(field) => Resolved::Placeholder(Input::Field(field.index)),
            Placeholder::Var(_)
            | Placeholder::Host
            | Placeholder::Generated(_)
            | Placeholder::Secret
            | Placeholder::Token(_)
            | Placeholder::Path
            | Placeholder::Url => Resolved::Text(String::new()),
        })
    }

    /// The same for a part of a path or of a query: the values of fields are percent-encoded.
    pub(super) fn url_inputs(&self, text: &ProviderTemplate) -> Template<Input> {
        encode_fields(&self.inputs(text))
    }

    /// For templates of an `[[auth]]` entry.
    pub(crate) fn auth_input(&self, text: &ProviderTemplate) -> Template<AuthInput> {
        self.fill(text, |name| match name {
            Placeholder::Secret => Resolved::Placeholder(AuthInput::Secret),
            Placeholder::Field(field) => Resolved::Placeholder(AuthInput::Field(field.index)),
            Placeholder::Token(TokenWord::Reply(field)) => {
                Resolved::Placeholder(AuthInput::Reply(field.index))
            }
            Placeholder::Token(TokenWord::Jwt | TokenWord::Fingerprint)
            | Placeholder::Var(_)
            | Placeholder::Host
            | Placeholder::Generated(_)
            | Placeholder::Capture(_)
            | Placeholder::Path
            | Placeholder::Url => Resolved::Text(String::new()),
        })
    }

    /// Binds the `[[auth]]` entries.
    pub(super) fn auths(
        &self,
        provider: &compile::Provider,
        tokens: &[Arc<Token>],
        overlays: &[Overlay],
    ) -> Vec<Auth> {
        provider.auth.iter().map(|auth| self.auth(auth, tokens, overlays, provider)).collect()
    }

    /// Binds an `[[auth]]` entry. Headers that an active gateway or egress removes or replaces are theirs.
    pub(super) fn auth(
        &self,
        auth: &compile::Auth,
        tokens: &[Arc<Token>],
        overlays: &[Overlay],
        provider: &compile::Provider,
    ) -> Auth {
        let overridden = |name: &HeaderName| overlays.iter().any(|overlay| overlay.overrides(name));
        let kind = auth.kind.bind(self, overridden);
        let token = auth.token.and_then(|index| tokens.get(index)).cloned();
        let reads = sorted(kind.reads().chain(token.iter().flat_map(|token| token.reads.iter().copied())));
        let values = provider.section.as_ref().map(|section| &*section.values).unwrap_or_default();
        let is_secret = |index: &u16| values[usize::from(*index)].rule.is_none();
        let names_secret = auth.field.is_some() || token.is_some() || reads.iter().any(is_secret);
        let counts = || provider.endpoints.iter().map(|endpoint| auth.counts_for(&endpoint.name)).collect();
        let endpoints = auth.endpoints.as_ref().map(|_| counts());
        let (field, matches) = (auth.field.clone(), auth.matches.clone());
        Auth { field, token, matches, endpoints, reads, names_secret, kind }
    }

    /// Literal text in query values is percent-encoded here, once.
    pub(super) fn query(&self, rules: &[(String, ProviderTemplate)]) -> Vec<(String, Template<Input>)> {
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/,@".contains(&b);
        let one = |(name, text): &(String, ProviderTemplate)| {
            let mut encoded = Template::text("");
            for part in self.url_inputs(text).parts() {
                let part = match part {
                    Part::Text(text) => Template::text(&percent_encode(text, unreserved)),
                    Part::Placeholder { name, filters } => Template::placeholder(*name, filters.clone()),
                };
                encoded.append(&part, false);
            }
            (name.clone(), encoded)
        };
        rules.iter().map(one).collect()
    }
}

/// A template with the values of fields percent-encoded, and captures in base64: its `/` would begin a segment.
fn encode_fields(text: &Template<Input>) -> Template<Input> {
    let mut encoded = Template::text("");
    for part in text.parts() {
        match part {
            Part::Text(text) => encoded.append(&Template::text(text), false),
            Part::Placeholder { name, filters } => {
                let encode = matches!(name, Input::Field(_)) || filters.contains(Filter::Base64);
                encoded.append(&Template::placeholder(*name, filters.clone()), encode);
            }
        }
    }
    encoded
}

/// The indices without repeats.
pub(super) fn sorted(indices: impl Iterator<Item = u16>) -> Vec<u16> {
    indices.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The prefix and the generator of a value that is generated for each request.
pub(super) fn generated(text: &ProviderTemplate) -> Option<(&str, Generator)> {
    match text.parts() {
        [Part::Placeholder { name: Placeholder::Generated(generator), .. }] => Some(("", *generator)),
        [Part::Text(prefix), Part::Placeholder { name: Placeholder::Generated(generator), .. }] => {
            Some((prefix, *generator))
        }
        _ => None,
    }
}

/// The gateway's path with the upstream path filled in.
pub(super) fn through(
    base_path: &Template<Input>,
    written: &ProviderTemplate,
    path: &Template<Input>,
    filler: &Filler<'_>,
) -> Template<Input> {
    let mut target = base_path.clone();
    let marked: Template<Option<Input>> = filler.fill(written, |name| {
        Resolved::Placeholder(match name {
            Placeholder::Field(field) => Some(Input::Field(field.index)),
            Placeholder::Path
            | Placeholder::Var(_)
            | Placeholder::Host
            | Placeholder::Generated(_)
            | Placeholder::Capture(_)
            | Placeholder::Secret
            | Placeholder::Token(_)
            | Placeholder::Url => None,
        })
    });
    for part in marked.parts() {
        match part {
            Part::Text(text) => target.append(&Template::text(text), false),
            Part::Placeholder { name: None, filters } => {
                target.append(path, filters.contains(Filter::Urlencode));
            }
            Part::Placeholder { name: Some(field), filters } => {
                target.append(&Template::placeholder(*field, filters.clone()), true);
            }
        }
    }
    target
}

/// A header's value, if it is plain ASCII: receivers disagree on other values.
pub(super) fn sendable(text: &str) -> Result<HeaderValue, ()> {
    HeaderValue::from_str(text).ok().filter(|_| text.is_ascii()).ok_or(())
}

/// The vars in a URL's host, after literal text with the scheme. A slash in such a value would end the host early, and the
/// request would go to another host.
pub(super) fn vars_in_host(url: &ProviderTemplate) -> impl Iterator<Item = &str> {
    let starts_with_var = url.leading_text().is_empty();
    let still_in_host = |part: &&Part<Placeholder>| match part {
        Part::Text(text) => !text.split_once("://").map_or(&**text, |(_, rest)| rest).contains('/'),
        Part::Placeholder { .. } => true,
    };
    let in_host = url.parts().iter().take_while(still_in_host).filter(move |_| !starts_with_var);
    in_host.filter_map(|part| match part {
        Part::Placeholder { name: Placeholder::Var(var), .. } => Some(&**var),
        Part::Placeholder { .. } | Part::Text(_) => None,
    })
}

pub(super) fn is_labels(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// True for a valid base path: plain characters, no empty and no dot segment.
pub(super) fn good_path(path: &str) -> bool {
    let inner = path.trim_end_matches('/');
    plain(path) && !inner.split('/').skip(1).any(|segment| segment.is_empty() || is_dots(segment))
}

/// True for a valid path at the origin: plain characters and no dot segment, for any captures and fields. Captures are never
/// dot segments; the values of fields are checked with the request.
pub(super) fn good_target(target: &Template<Input>) -> bool {
    let mut assumed = String::new();
    target.render(&mut assumed, |_| "x");
    plain(&assumed) && !assumed.split('/').any(is_dots)
}

/// True if all characters may occur in a path.
fn plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&b))
}

pub(super) fn plain_target(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() && !b"#\\\"<>".contains(&b))
}
