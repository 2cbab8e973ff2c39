//! Fills vars into templates, and checks the results for use in a host, a path, a query or a header.

use http::{HeaderName, HeaderValue};

use super::{Auth, Overlay, VarValues};
use crate::language::compile::{
    self, Part, Placeholder, ProviderTemplate, Resolved, Template, is_dots, percent_encode,
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
                Resolved::Text(self.set.get(&**var).map(|held| held.text.clone()).unwrap_or_default())
            }
            Placeholder::Host => Resolved::Text(self.host.to_owned()),
            Placeholder::Capture(_) | Placeholder::Secret | Placeholder::Path | Placeholder::Url => {
                other(name)
            }
        })
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

    /// For templates that may also hold captures.
    pub(super) fn captures(&self, text: &ProviderTemplate) -> Template<u8> {
        self.fill(text, |name| match name {
            Placeholder::Capture(index) => Resolved::Placeholder(*index),
            Placeholder::Var(_)
            | Placeholder::Host
            | Placeholder::Secret
            | Placeholder::Path
            | Placeholder::Url => Resolved::Text(String::new()),
        })
    }

    /// Binds an `[[auth]]` entry. Headers that an active gateway or egress removes or replaces are theirs.
    pub(super) fn auth(&self, auth: &compile::Auth, overlays: &[Overlay]) -> Auth {
        let overridden = |name: &HeaderName| overlays.iter().any(|overlay| overlay.overrides(name));
        let kind = auth.kind.bind(self, overridden);
        Auth { field: auth.field.clone(), matches: auth.matches.clone(), kind }
    }

    /// Literal text in query values is percent-encoded here, once.
    pub(super) fn query(&self, rules: &[(String, ProviderTemplate)]) -> Vec<(String, Template<u8>)> {
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/,@".contains(&b);
        let one = |(name, text): &(String, ProviderTemplate)| {
            let mut encoded = Template::text("");
            for part in self.captures(text).parts() {
                let part = match part {
                    Part::Text(text) => Template::text(&percent_encode(text, unreserved)),
                    Part::Placeholder { name, urlencode } => Template::placeholder(*name, *urlencode),
                };
                encoded.append(&part, false);
            }
            (name.clone(), encoded)
        };
        rules.iter().map(one).collect()
    }
}

/// The gateway's path with the upstream path filled in.
pub(super) fn through(
    base_path: &str,
    written: &ProviderTemplate,
    path: &Template<u8>,
    filler: &Filler<'_>,
) -> Template<u8> {
    let mut target = Template::text(base_path);
    let marked: Template<()> = filler.fill(written, |_| Resolved::Placeholder(()));
    for part in marked.parts() {
        match part {
            Part::Text(text) => target.append(&Template::text(text), false),
            Part::Placeholder { urlencode, .. } => target.append(path, *urlencode),
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

/// True for a valid path at the origin: plain characters and no dot segment, for any captures. Captures are never dot
/// segments.
pub(super) fn good_target(target: &Template<u8>) -> bool {
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
