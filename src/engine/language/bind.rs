//! Binding: fills the values of vars into a provider. Chooses the active gateway and egresses, and resolves every template
//! as far as possible without a request.
//!
//! Requests use the result. All values of a `bind::Provider` that do not depend on the request are valid. Reads neither
//! environment nor files: the caller (`files`, or a file's own test) supplies the values. Read next: `parts`.

mod base;
mod destination;
mod fill;
mod origins;
mod others;
mod parts;
mod size;
mod tls;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::{HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use crate::{
    base::{
        budget::Budget,
        diag::{Code, Diagnostic, Location},
        name::FileName,
        origin::{Origin, Scheme},
        written::defect,
    },
    language::{
        compile::{self, Captures, GatewayUse, ProviderTemplate, Resolved, Template, UnusableVar, Var, Vars},
        syntax,
        token::Token,
    },
};

pub use destination::{Destination, NoOrigin, Origins, made as made_origin};
pub use parts::*;
pub use size::max_size;
pub use tls::{Tls, TlsMade, TlsMaker, TlsPart, TlsProblem, TlsTexts};

use base::Base;
pub(crate) use fill::Filler;
use fill::{generated, good_target, is_labels, plain_target, sendable, sorted, through, vars_in_host};
use others::{Other, shown_others};

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
    let value = |owner: VarOwner<'_>, name: &str, var: &Var| Ok(value(owner, name, var));
    try_bind(provider, value, TlsMaker::default(), &Budget::default())
}

/// Binds a provider to values that may be unreadable. An unreadable value is an error and does not count as unset:
/// otherwise requests would bypass the gateway or egress that depends on it. Templates repeat long values: what is kept is
/// charged to the budget before it is made.
pub fn try_bind(
    provider: &compile::Provider,
    value: impl Fn(VarOwner<'_>, &str, &Var) -> Lookup,
    make_tls: TlsMaker,
    budget: &Budget,
) -> (Option<Provider>, Vec<Diagnostic>) {
    let mut binder = Binder { value: &value, make_tls, found: Vec::new(), budget };
    let bound = binder.provider(provider);
    (bound.filter(|_| binder.found.is_empty()), binder.found)
}

/// The first var that keeps a provider from being bound.
pub fn unusable_var(provider: &compile::Provider, value: impl Fn(&Var) -> Lookup) -> Option<UnusableVar> {
    // Required: it may not be unset.
    let found = |vars: &Vars, required: &dyn Fn(&Var) -> bool| {
        let unusable = |var: &Var| match value(var).map(|text| text.map(Zeroizing::new)) {
            Ok(Some(text)) if !text.is_empty() => !var.is_pem && defect(&text).is_some(),
            Ok(_) => var.default.is_none() && required(var),
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
    make_tls: TlsMaker,
    found: Vec<Diagnostic>,
    budget: &'a Budget,
}

/// The values of the vars of one file that are set.
type VarValues = BTreeMap<String, SetVar>;

/// A var's value. It may be a private key.
struct SetVar {
    text: Zeroizing<String>,
    secret: bool,
    /// True if its source has none.
    is_default: bool,
    /// It stands in no template.
    is_pem: bool,
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
        let base = self.base(&provider.base_url, &set)?;
        let host = base.host(&provider.base_url.value);
        let others = self.others(provider, &set)?;
        let filler = Filler { set: &set, host: &host };
        let active = self.active_gateway(&provider.gateways, &set);
        let via = match &active {
            Some((used, values)) => Some((*used, self.base(&used.gateway.base_url, values)?)),
            None => None,
        };
        if !self.fits(provider, &filler, (&base, &others, via.as_ref())) {
            return None;
        }
        let telemetry_name = provider.telemetry_name.clone();
        let telemetry_name = telemetry_name.unwrap_or_else(|| provider.name.as_str().into());
        let reach = UpstreamBase { base_path: &base.path, via: via.as_ref(), telemetry_name };
        let shared = provider.headers.generated();
        let endpoints = provider.endpoints.iter().filter_map(|endpoint| match Other::of(endpoint, &others) {
            None => self.endpoint(endpoint, &filler, &reach, shared),
            Some(other) => self.endpoint_of(other, endpoint, (&set, &reach, shared)),
        });
        let mut endpoints: Box<[Endpoint]> = endpoints.collect();
        let returned_urls = returned_urls(provider, &endpoints, &filler, (&base, &others, &reach));
        let gateway = active.as_ref().map(|(used, values)| (*used, values));
        let (overlays, egress) = self.layers(provider, gateway, &filler);
        let wrap = egress.as_ref().map(|egress: &EgressUrl| &provider.egress[egress.index]);
        let shown = base.shown(&provider.base_url.value, &provider.vars, &filler);
        // A gateway and an egress are called with the TLS of the system.
        let is_direct = via.is_none() && egress.is_none();
        let all = others.iter().map(|other| &other.base.destination).chain([&base.destination]);
        let tls = provider.tls.as_ref().and_then(|tls| self.tls(tls, &all.collect::<Vec<_>>(), &set));
        let tls = tls.filter(|_| is_direct);
        let destination = via.as_ref().map_or(base.destination, |(_, via)| via.destination.clone());
        let host_header = self.host_header(egress.as_ref(), &destination, &provider.at).ok()?;
        let shown_others = shown_others(&others, (provider, &filler));
        let via_gateway = via.as_ref().map(|(used, _)| *used);
        let used = |shown: &origins::Base| origins::used(provider, shown, via_gateway, wrap);
        self.bind_others(
            others.into_iter().zip(shown_others.iter().map(used)),
            egress.as_ref(),
            &provider.at,
        )?
        .assign(provider, &mut endpoints);
        let tokens = self.tokens(provider, &filler)?;
        let headers = self.headers(&provider.headers, &filler, &provider.at, 0);
        let reads = sorted(headers.reads().chain(destination.reads()));
        let mut auth = filler.auths(provider, &tokens, &overlays);
        if auth.is_empty() && !(reads.is_empty() && endpoints.iter().all(|one| one.reads.is_empty())) {
            auth.push(Auth::nothing());
        }
        Some(Provider {
            allowed: origins::allowed(provider, shown_others.iter().chain([&shown])),
            gateway_origins: provider
                .gateways
                .iter()
                .map(|used| (origins::through(used), used.gateway.name.clone()))
                .collect(),
            used: used(&shown),
            reads,
            name: provider.name.clone(),
            shown: provider.shown.clone(),
            prefix: provider.prefix.clone(),
            prefixes: provider.prefixes.clone(),
            gateway: via.as_ref().map(|(used, _)| used.gateway.name.clone()),
            tls,
            destination,
            host_header,
            egress,
            section: provider.section.clone(),
            client_secrets: filler.client_secrets(provider.section.as_deref()),
            auth,
            tokens,
            claimed: claimed(provider),
            claimed_query: provider.claimed_query(),
            headers,
            overlays,
            endpoints,
            returned_urls,
            caller: provider.caller.clone(),
            max_body: provider.max_body,
            signed_body: provider.signed_body,
            paste_token: paste_token(provider),
            probe: provider.probe.clone(),
            host,
        })
    }

    /// The tokens with the vars filled in.
    fn tokens(&mut self, provider: &compile::Provider, filler: &Filler<'_>) -> Option<Vec<Arc<Token>>> {
        let mut tokens = Vec::with_capacity(provider.tokens.len());
        for token in &provider.tokens {
            let (url, origin) = match token.url() {
                None => (None, None),
                Some(url) => {
                    let base = self.base_by(url, filler.set, Base::whole)?;
                    let origin = base.shown(&url.value, &provider.vars, filler);
                    (Some((base.destination, base.path)), Some(origin))
                }
            };
            let url = url.zip(origin.as_ref().map(origins::of));
            tokens.push(Arc::new(token.bind(&provider.name, url, |text| filler.provider_text(text))));
        }
        Some(tokens)
    }

    /// Charges what a bound provider keeps to the budget. The base paths stand before each endpoint's path.
    fn fits(
        &mut self,
        provider: &compile::Provider,
        filler: &Filler<'_>,
        (base, others, via): (&Base, &[Other<'_>], Option<&(&GatewayUse, Base)>),
    ) -> bool {
        let len = |base: &Base| base.path.max_len(|_| 0);
        let direct = others.iter().map(|other| &other.base).chain([base]).map(len).max().unwrap_or(0);
        let base_len = direct + via.map_or(0, |(_, via)| len(via));
        let values = filler.set.values().filter(|var| !var.is_pem).map(|var| var.text.len());
        let hosts = others.iter().map(|other| other.host.len()).chain([filler.host.len()]);
        let largest = values.chain(hosts).max().unwrap_or(0);
        let gateway = via.map(|(used, _)| *used);
        let fits = self.budget.keep(size::of_bound(provider, gateway, base_len, largest));
        if !fits {
            self.found.extend(self.budget.finding(&provider.at));
        }
        fits
    }

    /// The headers of the active gateway and egresses, and the URL of the egress that has one.
    fn layers(
        &mut self,
        provider: &compile::Provider,
        gateway: Option<(&GatewayUse, &VarValues)>,
        filler: &Filler<'_>,
    ) -> (Vec<Overlay>, Option<EgressUrl>) {
        let mut overlays = Vec::new();
        if let Some((used, set)) = gateway {
            let filler = Filler { set, host: filler.host };
            overlays.push(self.overlay(OverlaySource::Gateway, &used.gateway.overlay, &filler, &used.at));
        }
        let mut egress = None;
        let active = |one: &&compile::Egress| one.when.iter().all(|var| filler.set.contains_key(var));
        for (index, one) in provider.egress.iter().enumerate().filter(|(_, one)| active(one)) {
            overlays.push(self.overlay(OverlaySource::Egress(index), &one.overlay, filler, &one.at));
            if let Some(url) = &one.url {
                if egress.is_some() {
                    let message = "two active egresses have a `url`";
                    let help = "only one of those whose `when` holds at once may have it";
                    self.found.push(Diagnostic::new(Code::Condition, one.at.clone(), message).help(help));
                }
                egress = self.egress_url(index, url, filler, &one.at);
            }
        }
        (overlays, egress)
    }

    /// The value of `host` for the origin that is called, if it is known before a request. An error is reported.
    fn host_header(
        &mut self,
        egress: Option<&EgressUrl>,
        destination: &Destination,
        at: &Location,
    ) -> Result<Option<HeaderValue>, ()> {
        let called = match (egress, destination) {
            (Some(egress), _) => &egress.origin,
            (None, Destination::Fixed(origin)) => origin,
            (None, Destination::Made(_)) => return Ok(None),
        };
        let value = HeaderValue::from_str(&called.authority());
        value.map(Some).map_err(|_| self.unsendable(at, &header::HOST))
    }

    /// Makes the TLS of a table, also if it is not used now: a bad text is found before it is.
    fn tls(&mut self, tls: &compile::Tls, bases: &[&Destination], set: &VarValues) -> Option<Tls> {
        let is_plain =
            |base: &&Destination| matches!(base, Destination::Fixed(origin) if origin.scheme == Scheme::Http);
        if bases.iter().any(is_plain) {
            let message = "a `tls` table, and with the vars filled in a base URL begins with `http://`";
            let help = "write `https://` in `base_url` and `origins`, or remove the table";
            self.found.push(Diagnostic::new(Code::Var, tls.at.clone(), message).help(help));
            return None;
        }
        match tls::bind(tls, set, self.make_tls) {
            Ok(tls) => Some(tls),
            Err(problem) => {
                self.found.push(problem);
                None
            }
        }
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
            let (value, is_default) = match ((self.value)(owner, name, &var.value), &var.value.default) {
                (Ok(Some(value)), _) if !value.is_empty() => (Zeroizing::new(value), false),
                (Ok(_), Some(default)) => (Zeroizing::new(default.clone()), true),
                (Ok(_), None) => continue,
                (Err(problem), _) => {
                    let message = format!("var `{name}` {problem}: {}", source_of(&var.value));
                    let diagnostic = Diagnostic::new(Code::Var, var.at.clone(), message);
                    self.found.push(
                        diagnostic.help("a var is unset only where it is absent, not where it is unusable"),
                    );
                    continue;
                }
            };
            if let Some(defect) = defect(&value).filter(|_| !var.value.is_pem) {
                let message = format!("var `{name}` {defect} ({})", source_of(&var.value));
                self.report(Code::Var, &var.at, message);
            }
            let Var { secret, is_pem, .. } = var.value;
            set.insert(name.clone(), SetVar { text: value, secret, is_default, is_pem });
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
        let is_wanted = set.values().any(|var| !var.is_default);
        let (name, var) = gateway.vars.iter().find(unset).filter(|_| is_wanted)?;
        let (gateway, source) = (&gateway.name, source_of(&var.value));
        let message = format!("gateway `{gateway}` is set in part: its var `{name}` is not set ({source})");
        let help = "set all vars of a gateway, or none: without it, requests go to the provider directly";
        Some(Diagnostic::new(Code::Var, var.at.clone(), message).help(help))
    }

    /// The origin and the path of a base URL, without a trailing slash.
    fn base(&mut self, url: &compile::Located<ProviderTemplate>, set: &VarValues) -> Option<Base> {
        self.base_by(url, set, Base::of)
    }

    fn base_by(
        &mut self,
        url: &compile::Located<ProviderTemplate>,
        set: &VarValues,
        of: impl Fn(&Template<Input>) -> Result<Base, &'static str>,
    ) -> Option<Base> {
        if let Some(var) =
            vars_in_host(&url.value).find(|var| !set.get(*var).is_some_and(|v| is_labels(&v.text)))
        {
            let message = format!("var `{var}` stands in the host, and its value is no part of one");
            let help = "a part of a host is made of letters, digits, `-` and `.`";
            self.found.push(Diagnostic::new(Code::Var, url.at.clone(), message).help(help));
            return None;
        }
        let problem = match of(&Filler { set, host: "" }.inputs(&url.value)) {
            Ok(base) => return Some(base),
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
        shared: usize,
    ) -> Option<Endpoint> {
        let path = with_base(reach.base_path, &filler.url_inputs(&endpoint.upstream_path));
        let target = match reach.via {
            None => path,
            Some((used, via)) => {
                if let Some(path) = path.strip_prefix(&used.strip) {
                    through(&via.path, &used.path, &path, filler)
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
        let query = Query {
            remove: endpoint.query.remove.clone(),
            default: filler.query(&endpoint.query.default),
            set: filler.query(&endpoint.query.set),
        };
        let headers = self.headers(&endpoint.headers, filler, &endpoint.at, shared);
        let in_path = target.placeholders().filter_map(Input::field);
        let reads = sorted(in_path.chain(query.reads()).chain(headers.reads()));
        Some(Endpoint {
            name: name.clone(),
            method: endpoint.method.clone(),
            paths: endpoint.paths.clone(),
            target,
            origin: None,
            upgrade: endpoint.upgrade,
            reads,
            query,
            headers,
            generated: shared + endpoint.headers.generated(),
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

    /// `slot`: the number of generated values before these.
    fn headers(
        &mut self,
        rules: &compile::HeaderRules,
        filler: &Filler<'_>,
        at: &Location,
        mut slot: usize,
    ) -> Headers {
        Headers {
            pass: rules.pass.clone(),
            remove: rules.remove.clone(),
            default: self.header_values(&rules.default, filler, at, &mut slot),
            set: self.header_values(&rules.set, filler, at, &mut slot),
            add: self.header_values(&rules.add, filler, at, &mut slot),
        }
    }

    fn header_values(
        &mut self,
        rules: &[(HeaderName, ProviderTemplate)],
        filler: &Filler<'_>,
        at: &Location,
        slot: &mut usize,
    ) -> Vec<(HeaderName, Value)> {
        let mut values = Vec::new();
        for (name, text) in rules {
            if let Some((prefix, generator)) = generated(text) {
                let value = Value::Generated { prefix: prefix.to_owned(), generator, slot: *slot };
                values.push((name.clone(), value));
                *slot += 1;
                continue;
            }
            let template = filler.inputs(text);
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

/// The base path of the upstream, the active gateway with its base URL, and the provider's name in OpenTelemetry.
#[derive(Clone)]
struct UpstreamBase<'a> {
    base_path: &'a Template<Input>,
    via: Option<&'a (&'a GatewayUse, Base)>,
    telemetry_name: Arc<str>,
}

/// An upstream path below its base path.
fn with_base(base_path: &Template<Input>, path: &Template<Input>) -> Template<Input> {
    let mut whole = base_path.clone();
    whole.append(path, false);
    whole
}

/// The URLs of responses that endpoints reach: at the active gateway first, since it is called, then at the base URL, which
/// a response names all the same.
fn returned_urls(
    provider: &compile::Provider,
    endpoints: &[Endpoint],
    filler: &Filler<'_>,
    (base, others, reach): (&Base, &[Other<'_>], &UpstreamBase<'_>),
) -> Option<ReturnedUrls> {
    let UpstreamBase { base_path, via, telemetry_name: _ } = reach;
    if provider.rewrite_urls.is_empty() {
        return None;
    }
    let through = via.map(|(_, via)| ReturnedOrigin {
        name: None,
        destination: via.destination.clone(),
        targets: endpoints.iter().map(|endpoint| Some(endpoint.target.clone())).collect(),
    });
    let at = |name: Option<&String>, base: &Base, base_path: &Template<Input>| {
        let path = |one: &compile::Endpoint| with_base(base_path, &filler.url_inputs(&one.upstream_path));
        let is_there = |one: &&compile::Endpoint| one.origin.as_ref() == name;
        let targets = provider.endpoints.iter().map(|one| Some(one).filter(is_there).map(path));
        let targets = targets.collect();
        ReturnedOrigin { name: name.cloned(), destination: base.destination.clone(), targets }
    };
    let others = others.iter().map(|other| at(Some(other.name), &other.base, &other.base.path));
    let origins = through.into_iter().chain([at(None, base, base_path)]).chain(others).collect();
    Some(ReturnedUrls { headers: provider.rewrite_urls.clone(), origins })
}

/// The paste token, with the first login that an `auth` entry uses, or else the first login.
fn paste_token(provider: &compile::Provider) -> Option<PasteToken> {
    let fields = provider.section.iter().flat_map(|section| &section.fields).map(|field| &field.value);
    let is_login = |field: &&syntax::Field| field.kind == Some(syntax::FieldKind::Oauth2);
    let mut logins = fields.filter(is_login).map(|field| &field.name);
    let sent = |name: &&String| provider.auth.iter().any(|auth| auth.field.as_ref() == Some(*name));
    let field = logins.clone().find(sent).or_else(|| logins.next())?.clone();
    Some(PasteToken { spec: provider.paste_token.as_ref()?.value.clone(), field })
}

/// All headers that the file sets anywhere, also in inactive gateways and egresses.
pub fn claimed(provider: &compile::Provider) -> Vec<HeaderName> {
    provider.claimed()
}

fn source_of(var: &Var) -> String {
    var.source.to_string()
}

#[cfg(test)]
mod tests;
