//! The `origins` of a provider: further base URLs, and the endpoints that call them.

use std::sync::Arc;

use super::{
    Base, Binder, EgressUrl, Endpoint, EndpointOrigin, Filler, Lookup, Origins, UpstreamBase, VarOwner,
    VarValues, fill::sorted, origins,
};
use crate::{
    base::diag::Location,
    language::compile::{self, ProviderTemplate, Var},
};

/// One of `origins`, with its vars filled in.
pub(super) struct Other<'p> {
    /// Its name.
    pub(super) name: &'p String,
    pub(super) base: Base,
    /// Its host, for messages.
    pub(super) host: String,
    url: &'p ProviderTemplate,
}

impl Other<'_> {
    /// That of an endpoint; none for `base_url`.
    pub(super) fn of<'o>(endpoint: &compile::Endpoint, others: &'o [Self]) -> Option<&'o Self> {
        let name = endpoint.origin.as_ref()?;
        others.iter().find(|other| other.name == name)
    }
}

/// Those that endpoints call, ready to serve.
pub(super) struct BoundOthers(Vec<Arc<EndpointOrigin>>);

impl BoundOthers {
    pub(super) fn assign(self, provider: &compile::Provider, endpoints: &mut [Endpoint]) {
        for (bound, endpoint) in endpoints.iter_mut().zip(&provider.endpoints) {
            let name = endpoint.origin.as_ref();
            bound.origin = self.0.iter().find(|one| Some(&one.name) == name).cloned();
        }
    }
}

impl<F: Fn(VarOwner<'_>, &str, &Var) -> Lookup> Binder<'_, F> {
    pub(super) fn others<'p>(
        &mut self,
        provider: &'p compile::Provider,
        set: &VarValues,
    ) -> Option<Vec<Other<'p>>> {
        let mut others = Vec::new();
        for (name, url) in &provider.origins {
            let base = self.base(url, set)?;
            others.push(Other { name, host: base.host(&url.value), base, url: &url.value });
        }
        Some(others)
    }

    /// An endpoint that calls one of them. Nothing else of the file has its host and path.
    pub(super) fn endpoint_of(
        &mut self,
        Other { base, host, .. }: &Other<'_>,
        endpoint: &compile::Endpoint,
        (set, reach, shared): (&VarValues, &UpstreamBase<'_>, usize),
    ) -> Option<Endpoint> {
        let reach = UpstreamBase { base_path: &base.path, ..reach.clone() };
        let mut bound = self.endpoint(endpoint, &Filler { set, host }, &reach, shared)?;
        bound.reads = sorted(bound.reads.into_iter().chain(base.destination.reads()));
        Some(bound)
    }

    pub(super) fn bind_others<'p>(
        &mut self,
        others: impl Iterator<Item = (Other<'p>, Origins)>,
        egress: Option<&EgressUrl>,
        at: &Location,
    ) -> Option<BoundOthers> {
        let mut bound = Vec::new();
        for (Other { name, base: Base { destination, .. }, .. }, used) in others {
            let host_header = self.host_header(egress, &destination, at).ok()?;
            bound.push(Arc::new(EndpointOrigin { name: name.clone(), destination, host_header, used }));
        }
        Some(BoundOthers(bound))
    }
}

/// All of them as they are shown to users.
pub(super) fn shown_others(
    others: &[Other<'_>],
    (provider, filler): (&compile::Provider, &Filler<'_>),
) -> Vec<origins::Base> {
    others.iter().map(|other| other.base.shown(other.url, &provider.vars, filler)).collect()
}
