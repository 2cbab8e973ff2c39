//! The size of a bound provider, known before it is made: each template repeats the values of its vars.

use crate::language::compile::{
    GatewayUse, HeaderRules, Overlay, Part, Placeholder, Provider, ProviderTemplate,
};

/// The bytes that are kept of an endpoint and of a rule, beside their texts.
const ENDPOINT_BYTES: usize = 1024;
const RULE_BYTES: usize = 128;

/// An upper bound in bytes. `base_len`: the length of the base paths before each endpoint's path. `value_len`: the length of
/// the longest value.
pub(super) fn of_bound(
    provider: &Provider,
    gateway: Option<&GatewayUse>,
    base_len: usize,
    value_len: usize,
) -> usize {
    let text = |template: &ProviderTemplate| template.max_len(|_| value_len);
    let headers = |rules: &HeaderRules| -> usize {
        let values = rules.written().map(|(_, value)| RULE_BYTES + text(value));
        values.sum::<usize>() + RULE_BYTES * (rules.pass.len() + rules.remove.len())
    };
    let overlay = |overlay: &Overlay| -> usize {
        let values = overlay.set.iter().map(|(_, value)| RULE_BYTES + text(value));
        values.sum::<usize>() + RULE_BYTES * overlay.remove.len()
    };
    // The URLs of responses have further templates of the paths.
    let copies = if provider.rewrite_urls.is_empty() { 1 } else { 3 };
    let repeats = gateway.map_or(1, |used| paths_in(&used.path));
    let gateway_path = gateway.map_or(0, |used| text(&used.path));
    let endpoints = provider.endpoints.iter().map(|one| {
        let paths: usize = one.paths.iter().map(|path| RULE_BYTES + 3 * path.text.len()).sum();
        let path = base_len + text(&one.upstream_path) + 3 * 8 * one.upstream_path.parts().len();
        let query = one.query.default.iter().chain(&one.query.set);
        let query: usize = query.map(|(_, value)| RULE_BYTES + 3 * text(value)).sum();
        let responses: usize = one.responses.iter().map(|rule| RULE_BYTES + text(&rule.message)).sum();
        ENDPOINT_BYTES
            + paths
            + copies * gateway_path
            + 3 * copies * repeats * path
            + query
            + headers(&one.headers)
            + responses
    });
    let auth = provider.auth.iter().flat_map(|auth| auth.kind.outputs());
    let auth: usize = auth.map(|output| RULE_BYTES + text(output.text)).sum();
    let egress = provider.egress.iter();
    let egress: usize = egress.map(|one| overlay(&one.overlay) + one.url.as_ref().map_or(0, text)).sum();
    let gateways = gateway.map_or(0, |used| overlay(&used.gateway.overlay));
    endpoints.sum::<usize>() + auth + egress + gateways + headers(&provider.headers)
}

/// An upper bound in bytes, whichever gateway is active. `value_len`: the length of the longest value of a var.
pub fn max_size(provider: &Provider, value_len: usize) -> usize {
    let base = |url: &ProviderTemplate| url.max_len(|_| value_len);
    let bases = provider.origins.values().chain([&provider.base_url]);
    let direct = bases.map(|url| base(&url.value)).max().unwrap_or(0);
    let by_gateway = provider
        .gateways
        .iter()
        .map(|used| of_bound(provider, Some(used), direct + base(&used.gateway.base_url.value), value_len));
    by_gateway.chain([of_bound(provider, None, direct, value_len)]).max().unwrap_or(0)
}

/// The number of upstream paths in a gateway's path.
fn paths_in(template: &ProviderTemplate) -> usize {
    let is_path =
        |part: &&Part<Placeholder>| matches!(part, Part::Placeholder { name: Placeholder::Path, .. });
    template.parts().iter().filter(is_path).count().max(1)
}
