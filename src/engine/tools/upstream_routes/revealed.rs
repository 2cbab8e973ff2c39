//! The place in a route's requests that shows a credential to the upstream: a header of `auth`, or a rule whose template
//! names a secret of the section.

use super::UpstreamRoute;
use crate::{
    base::diag::Location,
    language::{
        compile::{Auth, Endpoint, HeaderRules, Placeholder, Provider, ProviderTemplate},
        token::TokenWord,
    },
};

/// A place in requests.
#[derive(Debug, Clone)]
pub struct Revealed<'p> {
    /// `auth`, `header`, `query` or `path`.
    pub kind: &'static str,
    /// The header, the query parameter, or the path's template, for people.
    pub what: String,
    /// Its position in a file.
    pub at: &'p Location,
    /// The endpoint, if it is not in the requests of all.
    pub endpoint: Option<&'p Endpoint>,
}

impl<'p> UpstreamRoute<'p> {
    /// The first place that shows a credential.
    pub fn revealed(&self) -> Option<Revealed<'p>> {
        let provider = self.provider;
        let counts = |auth: &&Auth| self.endpoints().any(|endpoint| auth.counts_for(&endpoint.name));
        let entries = provider.auth.iter().filter(counts);
        let mut outputs =
            entries.flat_map(|auth| auth.kind.outputs().into_iter().map(move |output| (output, &auth.at)));
        let of_auth = outputs.find(|(output, _)| output.reveals && self.passes_output(output.place));
        let of_auth = of_auth.map(|(output, at)| Revealed {
            kind: "auth",
            what: output.place.to_string(),
            at,
            endpoint: None,
        });
        let of_all = || {
            let header = self.header(&provider.headers, &provider.at, None);
            let base = self.base_url();
            let is_called = self.gateway.is_none() && is_secret(provider, &base.value);
            header.or_else(|| is_called.then(|| path(&base.value, &base.at, None)))
        };
        let of_one = || self.endpoints().find_map(|endpoint| self.of_endpoint(endpoint));
        of_auth.or_else(of_all).or_else(of_one)
    }

    fn of_endpoint(&self, endpoint: &'p Endpoint) -> Option<Revealed<'p>> {
        let provider = self.provider;
        let mut query = endpoint.query.default.iter().chain(&endpoint.query.set);
        let query = query.find(|(_, text)| is_secret(provider, text)).map(|(name, _)| Revealed {
            kind: "query",
            what: format!("`{name}`"),
            at: &endpoint.at,
            endpoint: Some(endpoint),
        });
        let in_path = is_secret(provider, &endpoint.upstream_path);
        let header = self.header(&endpoint.headers, &endpoint.at, Some(endpoint));
        header
            .or(query)
            .or_else(|| in_path.then(|| path(&endpoint.upstream_path, &endpoint.at, Some(endpoint))))
    }

    fn header(
        &self,
        rules: &'p HeaderRules,
        else_at: &'p Location,
        endpoint: Option<&'p Endpoint>,
    ) -> Option<Revealed<'p>> {
        let is_shown = |(name, text): &&(http::HeaderName, ProviderTemplate)| {
            is_secret(self.provider, text) && self.passes_value(name)
        };
        let (name, _) = rules.written().find(is_shown)?;
        let at = rules.at.as_ref().unwrap_or(else_at);
        Some(Revealed { kind: "header", what: format!("`{name}`"), at, endpoint })
    }
}

fn path<'p>(text: &ProviderTemplate, at: &'p Location, endpoint: Option<&'p Endpoint>) -> Revealed<'p> {
    Revealed { kind: "path", what: format!("`{}`", super::shown(text, &[])), at, endpoint }
}

/// True if a template names a value of the section that is a secret, or a part of one.
fn is_secret(provider: &Provider, text: &ProviderTemplate) -> bool {
    text.placeholders().any(|name| match name {
        Placeholder::Secret | Placeholder::Token(TokenWord::Reply(_)) => true,
        Placeholder::Field(field) => provider.values()[usize::from(field.index)].rule.is_none(),
        Placeholder::Token(TokenWord::Jwt | TokenWord::Fingerprint)
        | Placeholder::Var(_)
        | Placeholder::Capture(_)
        | Placeholder::Host
        | Placeholder::Generated(_)
        | Placeholder::Path
        | Placeholder::Url => false,
    })
}
