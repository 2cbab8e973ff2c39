//! Binding: fills the values of vars into a provider. Chooses the active gateway and egresses, and resolves every template
//! as far as possible without a request.
//!
//! Requests use the result. All values of a `bind::Provider` that do not depend on the request are valid. Reads neither
//! environment nor files: the caller (`files`, or a file's own test) supplies the values. Read next: `parts`.

mod fill;
mod origins;
mod parts;
mod size;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::{HeaderName, HeaderValue, header};

use crate::{
    base::{
        budget::Budget,
        diag::{Code, Diagnostic, Location},
        name::FileName,
        origin::Origin,
        written::defect,
    },
    language::{
        compile::{self, Captures, GatewayUse, ProviderTemplate, Resolved, Template, UnusableVar, Var, Vars},
        syntax,
    },
};

pub use parts::*;
pub use size::max_size;

pub(crate) use fill::Filler;
use fill::{good_path, good_target, is_labels, plain_target, sendable, through, vars_in_host};

/// The text of a capture.
pub fn capture<'p>(path: &'p str, captures: &Captures, index: u8) -> &'p str {
    let (start, end) = captures[usize::from(index)];
    path.get(start as usize..end as usize).unwrap_or_default()
}

/// The file that declares a var: a gateway, or none for the provider itself.
pub type VarOwner<'a> = Option<&'a FileName>;

/// The value of a var; none if it is unset. The error says why it cannot be read, as a part of a sentence.
pub type Lookup = Result<Option<String>, String>;

/// Binds a provider to the values of its vars and of its gateways' vars. An empty value counts as unset.
pub fn bind(
    provider: &compile::Provider,
    value: impl Fn(VarOwner<'_>, &str, &Var) -> Option<String>,
) -> (Option<Provider>, Vec<Diagnostic>) {
    try_bind(provider, |owner, name, var| Ok(value(owner, name, var)), &Budget::default())
}

/// Binds a provider to values that may be unreadable. An unreadable value is an error and does not count as unset:
/// otherwise requests would bypass the gateway or egress that depends on it. Templates repeat long values: what is kept is
/// charged to the budget before it is made.
pub fn try_bind(
    provider: &compile::Provider,
    value: impl Fn(VarOwner<'_>, &str, &Var) -> Lookup,
    budget: &Budget,
) -> (Option<Provider>, Vec<Diagnostic>) {
    let mut binder = Binder { value: &value, found: Vec::new(), budget };
    let bound = binder.provider(provider);
    (bound.filter(|_| binder.found.is_empty()), binder.found)
}

/// The first var that keeps a provider from being bound.
pub fn unusable_var(provider: &compile::Provider, value: impl Fn(&Var) -> Lookup) -> Option<UnusableVar> {
    // Required: it may not be unset.
    let found = |vars: &Vars, required: &dyn Fn(&Var) -> bool| {
        let unusable = |var: &Var| match value(var) {
            Ok(Some(text)) if !text.is_empty() => defect(&text).is_some(),
            Ok(_) => required(var),
            Err(_) => true,
        };
        let (name, var) = vars.iter().find(|(_, var)| unusable(&var.value))?;
        Some(UnusableVar { file: var.at.file.clone(), name: name.clone() })
    };
    let is_set =
        |var: &compile::Located<Var>| matches!(value(&var.value), Ok(Some(text)) if !text.is_empty());
    found(&provider.vars, &|var| !var.optional).or_else(|| {
        provider.gateways.iter().find_map(|one| {
            let is_wanted = one.gateway.vars.values().any(is_set);
            found(&one.gateway.vars, &|_| is_wanted)
        })
    })
}

struct Binder<'a, F> {
    value: &'a F,
    found: Vec<Diagnostic>,
    budget: &'a Budget,
}

/// The values of the vars of one file that are set.
type VarValues = BTreeMap<String, SetVar>;

/// A var's value.
struct SetVar {
    text: String,
    secret: bool,
}

impl<F: Fn(VarOwner<'_>, &str, &Var) -> Lookup> Binder<'_, F> {
    fn report(&mut self, code: Code, at: &Location, message: String) {
        self.found.push(Diagnostic::new(code, at.clone(), message));
    }

    fn provider(&mut self, provider: &compile::Provider) -> Option<Provider> {
        let set = self.values(None, &provider.vars);
        self.report_unset(&provider.vars, &set);
        if !self.found.is_empty() {
            return None;
        }
        let (base, base_path) = self.base(&provider.base_url, &set)?;
        let host = base.host().to_owned();
        let filler = Filler { set: &set, host: &host };
        let active = self.active_gateway(&provider.gateways, &set);
        let via = match &active {
            Some((used, values)) => Some((*used, self.base(&used.gateway.base_url, values)?)),
            None => None,
        };
        let largest = set.values().map(|var| var.text.len()).chain([host.len()]).max().unwrap_or(0);
        let base_len = base_path.len() + via.as_ref().map_or(0, |(_, (_, path))| path.len());
        let gateway = via.as_ref().map(|(used, _)| *used);
        if !self.budget.keep(size::of_bound(provider, gateway, base_len, largest)) {
            self.found.extend(self.budget.finding(&provider.at));
            return None;
        }
        let endpoints = provider.endpoints.iter();
        let telemetry_name = provider.telemetry_name.clone();
        let telemetry_name = telemetry_name.unwrap_or_else(|| provider.name.as_str().into());
        let reach = UpstreamBase { base_path: &base_path, via: via.as_ref(), telemetry_name };
        let endpoints = endpoints.filter_map(|endpoint| self.endpoint(endpoint, &filler, &reach)).collect();
        let mut overlays = Vec::new();
        if let Some((used, values)) = &active {
            let filler = Filler { set: values, host: &host };
            overlays.push(self.overlay(OverlaySource::Gateway, &used.gateway.overlay, &filler, &used.at));
        }
        let mut egress = None;
        let active = |one: &&compile::Egress| one.when.iter().all(|var| set.contains_key(var));
        for (index, one) in provider.egress.iter().enumerate().filter(|(_, one)| active(one)) {
            overlays.push(self.overlay(OverlaySource::Egress(index), &one.overlay, &filler, &one.at));
            if let Some(url) = &one.url {
                if egress.is_some() {
                    let message = "two active egresses have a `url`";
                    let help = "only one of those whose `when` holds at once may have it";
                    self.found.push(Diagnostic::new(Code::Condition, one.at.clone(), message).help(help));
                }
                egress = self.egress_url(index, url, &filler, &one.at);
            }
        }
        let wrap = egress.as_ref().map(|egress: &EgressUrl| &provider.egress[egress.index]);
        // Origins are shown to users: no secret may occur in them.
        let base_url = &provider.base_url.value;
        let shown = if filler.is_secret(base_url) {
            origins::written(base_url, &provider.vars)
        } else {
            base.to_string()
        };
        let origin = via.as_ref().map_or(base, |(_, (origin, _))| origin.clone());
        let called = egress.as_ref().map_or(&origin, |egress| &egress.origin);
        let Ok(host_header) = HeaderValue::from_str(&called.authority()) else {
            self.unsendable(&provider.at, &header::HOST);
            return None;
        };
        Some(Provider {
            allowed: origins::allowed(provider, &shown),
            used: origins::used(provider, &shown, via.as_ref().map(|(used, _)| *used), wrap),
            name: provider.name.clone(),
            shown: provider.shown.clone(),
            prefix: provider.prefix.clone(),
            gateway: via.as_ref().map(|(used, _)| used.gateway.name.clone()),
            origin,
            host_header,
            egress,
            section: provider.section.clone(),
            auth: provider.auth.iter().map(|auth| filler.auth(auth, &overlays)).collect(),
            claimed: claimed(provider),
            headers: self.headers(&provider.headers, &filler, &provider.at),
            overlays,
            endpoints,
            caller: provider.caller.clone(),
            max_body: provider.max_body,
            paste_token: paste_token(provider),
            probe: provider.probe.clone(),
            host,
        })
    }

    /// Reports the vars that have to be set and are not.
    fn report_unset(&mut self, vars: &Vars, set: &VarValues) {
        for (name, var) in vars {
            let reported = self.found.iter().any(|one| one.at == var.at);
            if !var.value.optional && !reported && !set.contains_key(name) {
                let message = format!("var `{name}` is not set: {}", source_of(&var.value));
                let diagnostic = Diagnostic::new(Code::Var, var.at.clone(), message);
                self.found.push(diagnostic.help("set it and start again, or mark the var `optional`"));
            }
        }
    }

    fn values(&mut self, owner: VarOwner<'_>, vars: &Vars) -> VarValues {
        let mut set = VarValues::new();
        for (name, var) in vars {
            let value = match (self.value)(owner, name, &var.value) {
                Ok(Some(value)) if !value.is_empty() => value,
                Ok(_) => continue,
                Err(problem) => {
                    let message = format!("var `{name}` {problem}: {}", source_of(&var.value));
                    let diagnostic = Diagnostic::new(Code::Var, var.at.clone(), message);
                    self.found.push(
                        diagnostic.help("a var is unset only where it is absent, not where it is unusable"),
                    );
                    continue;
                }
            };
            if let Some(defect) = defect(&value) {
                let message = format!("var `{name}` {defect} ({})", source_of(&var.value));
                self.report(Code::Var, &var.at, message);
            }
            set.insert(name.clone(), SetVar { text: value, secret: var.value.secret });
        }
        set
    }

    /// The active gateway with the lowest order, and the values of its vars.
    fn active_gateway<'g>(
        &mut self,
        uses: &'g [GatewayUse],
        set: &VarValues,
    ) -> Option<(&'g GatewayUse, VarValues)> {
        let (mut active, mut incomplete) = (Vec::new(), Vec::new());
        for one in uses {
            let values = self.values(Some(&one.gateway.name), &one.gateway.vars);
            if values.len() < one.gateway.vars.len() {
                incomplete.extend(self.incomplete(&one.gateway, &values));
            } else if one.when.iter().all(|var| set.contains_key(var)) {
                active.push((one, values));
            }
        }
        if active.is_empty() {
            self.found.extend(incomplete);
        }
        let orders: BTreeSet<_> = active.iter().filter_map(|(one, _)| one.order).collect();
        if active.len() > 1 && orders.len() < active.len() {
            let (first, second) = (&active[0].0, &active[1].0);
            let message =
                format!("gateways `{}` and `{}` are both active", first.gateway.name, second.gateway.name);
            let diagnostic = Diagnostic::new(Code::GatewayOrder, second.at.clone(), message);
            let help = "give each an `order` of its own: the lowest is used";
            self.found.push(diagnostic.related(first.at.clone(), "the other one").help(help));
        }
        active.into_iter().min_by_key(|(one, _)| one.order)
    }

    /// The finding about a gateway with some of its vars set and some not: it was wanted, and requests would bypass it.
    fn incomplete(&self, gateway: &compile::Gateway, set: &VarValues) -> Option<Diagnostic> {
        let unset = |(name, var): &(&String, &compile::Located<Var>)| {
            !set.contains_key(*name) && !self.found.iter().any(|one| one.at == var.at)
        };
        let (name, var) = gateway.vars.iter().find(unset).filter(|_| !set.is_empty())?;
        let (gateway, source) = (&gateway.name, source_of(&var.value));
        let message = format!("gateway `{gateway}` is set in part: its var `{name}` is not set ({source})");
        let help = "set all vars of a gateway, or none: without it, requests go to the provider directly";
        Some(Diagnostic::new(Code::Var, var.at.clone(), message).help(help))
    }

    /// The origin and the path of a base URL, without a trailing slash.
    fn base(
        &mut self,
        url: &compile::Located<ProviderTemplate>,
        set: &VarValues,
    ) -> Option<(Origin, String)> {
        if let Some(var) =
            vars_in_host(&url.value).find(|var| !set.get(*var).is_some_and(|v| is_labels(&v.text)))
        {
            let message = format!("var `{var}` stands in the host, and its value is no part of one");
            let help = "a part of a host is made of letters, digits, `-` and `.`";
            self.found.push(Diagnostic::new(Code::Var, url.at.clone(), message).help(help));
            return None;
        }
        let mut text = String::new();
        Filler { set, host: "" }.vars(&url.value).render(&mut text, |never| match *never {});
        let problem = match Origin::split(&text) {
            Ok((origin, path)) if good_path(path) => {
                return Some((origin, path.trim_end_matches('/').to_owned()));
            }
            Ok(_) => "its path has characters or segments that a path cannot have",
            Err(problem) => problem,
        };
        self.report(Code::Var, &url.at, format!("with the vars filled in this is no base URL: {problem}"));
        None
    }

    fn endpoint(
        &mut self,
        endpoint: &compile::Endpoint,
        filler: &Filler<'_>,
        reach: &UpstreamBase<'_>,
    ) -> Option<Endpoint> {
        let mut path = Template::text(reach.base_path);
        path.append(&filler.captures(&endpoint.upstream_path), false);
        let target = match reach.via {
            None => path,
            Some((used, (_, gateway_path))) => {
                if let Some(path) = path.strip_prefix(&used.strip) {
                    through(gateway_path, &used.path, &path, filler)
                } else {
                    let message = format!(
                        "`{}` is not the front of endpoint `{}`'s upstream path",
                        used.strip, endpoint.name
                    );
                    self.report(Code::Strip, &used.at, message);
                    return None;
                }
            }
        };
        if !good_target(&target) {
            self.report(Code::Var, &endpoint.at, "with the vars filled in this is no path".into());
        }
        let responses = endpoint.responses.iter().map(|rule| {
            let mut message = String::new();
            filler.vars(&rule.message).render(&mut message, |never| match *never {});
            let (status, content_type) = (rule.status, rule.content_type.clone());
            ResponseRule { status, content_type, reply_status: rule.reply_status, message }
        });
        let name: Arc<str> = endpoint.name.as_str().into();
        Some(Endpoint {
            name: name.clone(),
            method: endpoint.method.clone(),
            paths: endpoint.paths.clone(),
            target,
            query: Query {
                remove: endpoint.query.remove.clone(),
                default: filler.query(&endpoint.query.default),
                set: filler.query(&endpoint.query.set),
            },
            headers: self.headers(&endpoint.headers, filler, &endpoint.at),
            timeouts: endpoint.timeouts,
            responses: responses.collect(),
            api: endpoint.api.clone(),
            telemetry: Arc::new(TelemetryNames {
                provider: reach.telemetry_name.clone(),
                operation: endpoint.operation.clone().unwrap_or_else(|| name.clone()),
                is_metered: endpoint.metering.is_some(),
            }),
            metering: endpoint.metering.clone(),
        })
    }

    fn headers(&mut self, rules: &compile::HeaderRules, filler: &Filler<'_>, at: &Location) -> Headers {
        Headers {
            pass: rules.pass.clone(),
            remove: rules.remove.clone(),
            default: self.header_values(&rules.default, filler, at),
            set: self.header_values(&rules.set, filler, at),
        }
    }

    fn header_values(
        &mut self,
        rules: &[(HeaderName, ProviderTemplate)],
        filler: &Filler<'_>,
        at: &Location,
    ) -> Vec<(HeaderName, Value)> {
        let mut values = Vec::new();
        for (name, text) in rules {
            let template = filler.captures(text);
            match template.as_text().map(sendable) {
                None => values.push((name.clone(), Value::Made(template))),
                Some(Ok(mut value)) => {
                    value.set_sensitive(filler.is_secret(text));
                    values.push((name.clone(), Value::Fixed(value)));
                }
                Some(Err(())) => self.unsendable(at, name),
            }
        }
        values
    }

    fn unsendable(&mut self, at: &Location, name: &HeaderName) {
        let message = format!("with the vars filled in header `{name}` cannot be sent");
        let help = "a header's value holds ASCII without control characters";
        self.found.push(Diagnostic::new(Code::Var, at.clone(), message).help(help));
    }

    fn overlay(
        &mut self,
        of: OverlaySource,
        overlay: &compile::Overlay,
        filler: &Filler<'_>,
        at: &Location,
    ) -> Overlay {
        let mut set = Vec::new();
        for (name, text) in &overlay.set {
            let mut value = String::new();
            filler.vars(text).render(&mut value, |never| match *never {});
            match sendable(&value) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    set.push((name.clone(), value));
                }
                Err(()) => self.unsendable(at, name),
            }
        }
        Overlay { of, remove: overlay.remove.clone(), set }
    }

    fn egress_url(
        &mut self,
        index: usize,
        url: &ProviderTemplate,
        filler: &Filler<'_>,
        at: &Location,
    ) -> Option<EgressUrl> {
        let template = filler.fill(url, |_| Resolved::Placeholder(UrlPlaceholder));
        let lead = template.leading_text().to_owned();
        let problem = match Origin::split(&lead) {
            Ok((_, "")) if template.placeholders().next().is_some() => {
                "the upstream URL would stand in its host"
            }
            Ok((_, tail)) if !plain_target(tail) => "it has characters that a URL cannot have",
            Ok(_) if template.mixes_queries(|UrlPlaceholder| true) => {
                "`{url}` as it is would stand beside its query"
            }
            Ok((origin, tail)) => {
                let front = &lead[..lead.len() - tail.len()];
                let rest = template.strip_prefix(front)?;
                let mut target = Template::text(if tail.starts_with('/') { "" } else { "/" });
                target.append(&rest, false);
                return Some(EgressUrl { index, origin, target });
            }
            Err(problem) => problem,
        };
        self.report(Code::Var, at, format!("with the vars filled in the egress's `url` is none: {problem}"));
        None
    }
}

/// The base path of the upstream, the active gateway with its origin and base path, and the provider's name in OpenTelemetry.
struct UpstreamBase<'a> {
    base_path: &'a str,
    via: Option<&'a (&'a GatewayUse, (Origin, String))>,
    telemetry_name: Arc<str>,
}

/// The paste token, with the first login that an `auth` entry uses, or else the first login.
fn paste_token(provider: &compile::Provider) -> Option<PasteToken> {
    let fields = provider.section.iter().flat_map(|section| &section.fields).map(|field| &field.value);
    let is_login = |field: &&syntax::Field| field.kind == Some(syntax::FieldKind::Oauth2);
    let mut logins = fields.filter(is_login).map(|field| &field.name);
    let sent = |name: &&String| provider.auth.iter().any(|auth| auth.field == **name);
    let field = logins.clone().find(sent).or_else(|| logins.next())?.clone();
    Some(PasteToken { spec: provider.paste_token.as_ref()?.value.clone(), field })
}

/// All headers that the file sets anywhere, also in inactive gateways and egresses.
pub fn claimed(provider: &compile::Provider) -> Vec<HeaderName> {
    let rules = provider.endpoints.iter().map(|endpoint| &endpoint.headers.set);
    let rules = rules.chain([&provider.headers.set]);
    let rules = rules.chain(provider.gateways.iter().map(|one| &one.gateway.overlay.set));
    let rules = rules.chain(provider.egress.iter().map(|one| &one.overlay.set));
    let auth = provider.auth.iter().flat_map(|auth| auth.kind.outputs()).map(|output| output.header);
    let mut names: Vec<HeaderName> = rules.flatten().map(|(name, _)| name).chain(auth).cloned().collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}

fn source_of(var: &Var) -> String {
    var.source.to_string()
}

#[cfg(test)]
mod tests;
