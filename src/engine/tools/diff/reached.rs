//! The places that credentials and the values of vars reach: origins, under any setting of the vars.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    language::{
        auth::Output,
        compile::{Part, Placeholder, Provider, ProviderTemplate, VarSource, Vars},
    },
    tools::upstream_routes::{self, UpstreamRoute},
};

/// Origins, each with the values that reach it.
type Reached = BTreeMap<String, BTreeSet<String>>;

/// Pairs of a value and an origin that it reaches. The empty value stands for requests.
pub(super) fn pairs(provider: &Provider) -> BTreeSet<(String, String)> {
    let reached = reached(provider).into_iter();
    let with = |(origin, values): (String, BTreeSet<String>)| {
        values.into_iter().chain([String::new()]).map(move |one| (one, origin.clone()))
    };
    reached.flat_map(with).collect()
}

/// The values that reach each origin.
pub(super) fn reached(provider: &Provider) -> Reached {
    let mut reached = Reached::new();
    let section = provider.section.as_ref();
    let credential = || section.map(|section| format!("credentials of `{}`", section.name));
    for route in upstream_routes::all(provider) {
        by_route(provider, &route, credential(), &mut reached);
    }
    for url in section.iter().flat_map(|one| &one.fields).filter_map(|field| field.value.token_url.as_ref()) {
        let origin = upstream_routes::origin(&ProviderTemplate::text(url), true);
        reached.entry(origin).or_default().extend(credential());
    }
    reached
}

fn by_route(
    provider: &Provider,
    route: &UpstreamRoute<'_>,
    credential: Option<String>,
    reached: &mut Reached,
) {
    let vars = &provider.vars;
    let auth: Vec<Output<'_>> = provider.auth.iter().flat_map(|auth| auth.kind.outputs()).collect();
    let mut sent = BTreeSet::new();
    if auth.iter().any(|output| output.reveals && route.passes_value(output.header)) {
        sent.extend(credential);
    }
    sent.extend(
        of_requests(provider).chain(auth.iter().map(|one| one.text)).flat_map(|text| values(text, vars)),
    );
    if let Some(used) = route.gateway {
        let own = used.gateway.overlay.set.iter().map(|(_, text)| text).chain([&used.gateway.base_url.value]);
        sent.extend(own.flat_map(|text| values(text, &used.gateway.vars)));
        sent.extend(values(&used.path, vars));
    } else {
        sent.extend(values(&provider.base_url.value, vars));
    }
    let origins = route.called();
    // What an egress adds is for the origin that is called, not for the one in a wrapping URL.
    let own = route.egresses.iter().flat_map(|egress| {
        egress.overlay.set.iter().map(|(_, text)| text).chain(egress.url.iter()).collect::<Vec<_>>()
    });
    reached.entry(origins[0].origin.clone()).or_default().extend(own.flat_map(|text| values(text, vars)));
    for called in origins {
        reached.entry(called.origin).or_default().extend(sent.clone());
    }
}

/// The templates of headers, query and paths that are the same on every route.
fn of_requests(provider: &Provider) -> impl Iterator<Item = &ProviderTemplate> {
    let headers = provider.endpoints.iter().map(|endpoint| &endpoint.headers).chain([&provider.headers]);
    let headers = headers.flat_map(|rules| rules.default.iter().chain(&rules.set)).map(|(_, text)| text);
    let query = provider.endpoints.iter().map(|endpoint| &endpoint.query);
    let query = query.flat_map(|rules| rules.default.iter().chain(&rules.set)).map(|(_, text)| text);
    headers.chain(query).chain(provider.endpoints.iter().map(|endpoint| &endpoint.upstream_path))
}

/// The values of vars in a text, named by their sources.
pub(super) fn values(text: &ProviderTemplate, vars: &Vars) -> BTreeSet<String> {
    let var = |name: &Placeholder| match name {
        Placeholder::Var(var) => vars.get(&**var),
        Placeholder::Capture(_)
        | Placeholder::Host
        | Placeholder::Secret
        | Placeholder::Path
        | Placeholder::Url => None,
    };
    text.placeholders().filter_map(var).map(|var| source(&var.value.source)).collect()
}

/// A source of a var, for people.
pub(super) fn source(source: &VarSource) -> String {
    match source {
        VarSource::Env(name) => format!("environment variable `{name}`"),
        VarSource::File(name) => format!("secret file `{name}`"),
    }
}

/// The sources of some vars, sorted: vars with the same source are one.
pub(super) fn sources<'n>(names: impl IntoIterator<Item = &'n String>, vars: &Vars) -> String {
    let sources = names.into_iter().filter_map(|name| Some(source(&vars.get(name)?.value.source)));
    format!("{:?}", sources.collect::<BTreeSet<_>>())
}

/// A template with the sources of its vars for their names, and the numbers of captures for theirs: equal for equal
/// meaning.
pub(super) fn exact(text: &ProviderTemplate, vars: &Vars) -> String {
    let mut exact = String::new();
    for part in text.parts() {
        let (name, urlencode) = match part {
            Part::Text(text) => {
                exact.push_str(text);
                continue;
            }
            Part::Placeholder { name, urlencode } => (name, urlencode),
        };
        let name = match name {
            Placeholder::Var(var) => {
                vars.get(&**var).map_or_else(String::new, |var| source(&var.value.source))
            }
            Placeholder::Capture(index) => format!("#{index}"),
            Placeholder::Host => "host".to_owned(),
            Placeholder::Secret => "secret".to_owned(),
            Placeholder::Path => "path".to_owned(),
            Placeholder::Url => "url".to_owned(),
        };
        exact.extend(["{", &name, if *urlencode { "|urlencode}" } else { "}" }]);
    }
    exact
}
