//! The origins of a provider's requests, as its files define them. A stored credential is encrypted for the allowed
//! origins, and every request checks the used ones against them.

use super::{Input, Origins};
use crate::{
    base::origin::Origin,
    language::compile::{self, Part, Placeholder, ProviderTemplate, Template, VarSource, Vars},
};

/// The origin of a base URL.
pub(super) enum Base {
    /// Its written form.
    Fixed(String),
    /// A template over fields.
    Made(Template<Input>),
}

/// The origins of a URL alone.
pub(super) fn of(base: &Base) -> Origins {
    origins(std::iter::once(base), std::iter::empty())
}

/// The origins that a stored credential may be sent to: of the base URLs, and of all gateways and egresses, active or not.
/// Sorted.
pub(super) fn allowed<'b>(provider: &compile::Provider, bases: impl Iterator<Item = &'b Base>) -> Origins {
    let gateways = provider.gateways.iter().map(through);
    let egresses = provider.egress.iter().filter_map(|egress| by_file(egress.url.as_ref()?, &provider.vars));
    origins(bases, gateways.chain(egresses))
}

/// The origins that a request through this gateway and egress reaches. Sorted.
pub(super) fn used(
    provider: &compile::Provider,
    base: &Base,
    gateway: Option<&compile::GatewayUse>,
    egress: Option<&compile::Egress>,
) -> Origins {
    let first = egress.and_then(|egress| by_file(egress.url.as_ref()?, &provider.vars));
    origins(gateway.is_none().then_some(base).into_iter(), first.into_iter().chain(gateway.map(through)))
}

fn origins<'b>(bases: impl Iterator<Item = &'b Base>, others: impl Iterator<Item = String>) -> Origins {
    let (mut fixed, mut made) = (Vec::new(), Vec::new());
    for base in bases {
        match base {
            Base::Fixed(base) => fixed.push(base.clone()),
            Base::Made(template) => made.push(template.clone()),
        }
    }
    Origins { fixed: sorted(fixed.into_iter().chain(others)), made }
}

/// The host of a base URL with its fields in braces, for messages: `{resource}.example.com`.
pub(super) fn host_of(url: &ProviderTemplate) -> String {
    let mut text = String::new();
    url.render_names(&mut text, |name| match name {
        Placeholder::Var(var) => var,
        Placeholder::Field(field) => &field.name,
        Placeholder::Capture(_)
        | Placeholder::Host
        | Placeholder::Generated(_)
        | Placeholder::Secret
        | Placeholder::Token(_)
        | Placeholder::Path
        | Placeholder::Url => "",
    });
    let host = text.split_once("://").map_or(text.as_str(), |(_, host)| host);
    host.split('/').next().unwrap_or_default().to_owned()
}

/// The origin of a gateway, as written.
pub(super) fn through(used: &compile::GatewayUse) -> String {
    written(&used.gateway.base_url.value, &used.gateway.vars)
}

fn sorted(origins: impl Iterator<Item = String>) -> Vec<String> {
    let mut origins: Vec<_> = origins.collect();
    origins.sort();
    origins.dedup();
    origins
}

/// The origin of an egress's URL. None if it consists of vars only: then the operator decides it, not a file.
fn by_file(url: &ProviderTemplate, vars: &Vars) -> Option<String> {
    let origin = written(url, vars);
    let vars_alone = origin.split(['{', '}']).step_by(2).all(str::is_empty);
    (!vars_alone).then_some(origin)
}

/// The origin of a URL with vars as their sources in braces, `{env:NAME}`: a file that reads another variable has another
/// origin. All text before the end of the host is part of it.
pub(super) fn written(url: &ProviderTemplate, vars: &Vars) -> String {
    let mut origin = String::new();
    for part in url.parts() {
        match part {
            Part::Placeholder { name: Placeholder::Var(var), .. } => {
                match vars.get(&**var).map(|var| &var.value.source) {
                    Some(VarSource::Env(name)) => origin.extend(["{env:", name, "}"]),
                    Some(VarSource::File(name)) => origin.extend(["{file:", name, "}"]),
                    None => origin.extend(["{", var, "}"]),
                }
            }
            // `{url}` comes after the host.
            Part::Placeholder { .. } => break,
            Part::Text(text) => {
                let start = if origin.is_empty() { text.find("://").map_or(0, |at| at + 3) } else { 0 };
                let end = text[start..].find(['/', '?', '#']).map(|end| start + end);
                origin.push_str(&text[..end.unwrap_or(text.len())].to_ascii_lowercase());
                if end.is_some() {
                    break;
                }
            }
        }
    }
    // Removes a default port.
    Origin::split(&origin).map_or(origin.clone(), |(plain, _)| plain.to_string())
}
