//! Lists a provider's meaning as facts that are compared one by one. A fact has a key; a list in a file is one fact per
//! entry. Defaults are no facts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::Subject;
use crate::{
    base::{name::FileName, secret_scan, suggest::backticked},
    language::{
        auth::Output,
        compile::{
            Auth, Egress, Endpoint, GatewayUse, Glob, HeaderRules, Overlay, Placeholder, Provider,
            ProviderTemplate, Section, Timeouts, Var, VarSource, Vars,
            safety::{self, HeaderClass},
        },
    },
    tools::upstream_routes,
};

pub(super) type Key = (Subject, String);
pub(super) type Facts = BTreeMap<Key, Fact>;

/// Stands for every credential of a field, of any shape.
pub(super) const ANY: &str = "any credential";

/// One fact about a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fact {
    /// Its text for people.
    pub value: String,
    /// More to compare that is not shown.
    pub detail: String,
    /// The secrets that it sends. One more widens exposure.
    pub secrets: BTreeSet<String>,
    /// Conditions for sending them. One less widens exposure.
    pub guards: BTreeSet<String>,
    /// The reason why adding it widens exposure.
    pub added: Option<&'static str>,
    /// The reason why removing it widens exposure.
    pub removed: Option<&'static str>,
    /// The fact that it belongs to. If that is removed, this one is not reported.
    pub owner: Option<Key>,
    /// Its list of globs and its glob. A change that another glob of the list covers exposes nothing.
    pub glob: Option<(String, String)>,
}

/// Pairs of a secret and an origin that it is sent to.
pub(super) fn pairs(provider: &Provider) -> BTreeSet<(String, String)> {
    let reached = reached(provider).into_iter();
    reached.flat_map(|(origin, secrets)| secrets.into_iter().map(move |one| (one, origin.clone()))).collect()
}

pub(super) fn facts(provider: &Provider) -> Facts {
    let mut listing = Listing { provider, facts: Facts::new() };
    listing.all();
    listing.facts
}

/// The upstream path of an endpoint, below the base URL.
pub(super) fn upstream(endpoint: &Endpoint) -> String {
    let names = endpoint.paths.first().map(|path| path.pattern.captures()).unwrap_or_default();
    upstream_routes::shown(&endpoint.upstream_path, names)
}

/// Replaces a provider's name by `{provider}` where it is a whole word.
pub(super) fn without(text: &str, name: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(name) {
        let (front, tail) = (&rest[..at], &rest[at + name.len()..]);
        let before = front.chars().next_back().or_else(|| out.chars().next_back());
        let whole = !before.is_some_and(word) && !tail.starts_with(word);
        out.push_str(front);
        out.push_str(if whole { "{provider}" } else { name });
        rest = tail;
    }
    out + rest
}

struct Listing<'p> {
    provider: &'p Provider,
    facts: Facts,
}

impl Listing<'_> {
    fn add(&mut self, subject: Subject, name: impl Into<String>, fact: Fact) {
        self.facts.entry((subject, name.into())).or_insert(fact);
    }

    fn all(&mut self) {
        let provider = self.provider;
        provider.endpoints.iter().for_each(|endpoint| self.endpoint(endpoint));
        for (origin, secrets) in reached(provider) {
            let list: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let value = if list.is_empty() { String::new() } else { format!("with {}", list.join(", ")) };
            self.add(Subject::Origin, origin, Fact { value, secrets, ..Fact::default() });
        }
        provider.section.iter().for_each(|section| self.section(section));
        self.auth(&provider.auth);
        self.headers("", None, &provider.headers);
        provider.gateways.iter().for_each(|used| self.gateway(used));
        self.egresses(&provider.egress);
        self.vars("", &provider.vars);
        for name in &provider.caller.headers {
            self.token_location(format!("header `{name}`"));
        }
        for name in &provider.caller.query {
            self.token_location(format!("query parameter `{name}`"));
        }
        for name in &provider.cors_headers {
            self.add(Subject::CorsHeaders, name.as_str(), Fact::default());
        }
        if provider.max_body != 256 << 20 {
            self.add(Subject::Limits, "max_body", Fact::of(format!("{} bytes", provider.max_body)));
        }
        if let Some(paste) = provider.paste_token.as_ref().map(|paste| &paste.value) {
            let detail = format!("{paste:?}");
            self.add(Subject::PasteToken, paste.path.clone(), Fact { detail, ..Fact::default() });
        }
        if let Some(probe) = &provider.probe {
            let detail = format!("{probe:?}");
            self.add(
                Subject::Probe,
                "probe",
                Fact { detail, ..Fact::of(format!("endpoint `{}`", probe.endpoint)) },
            );
        }
    }

    fn token_location(&mut self, name: String) {
        let removed = Some("a gateway token there reaches the upstream");
        self.add(Subject::Caller, name, Fact { removed, ..Fact::default() });
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let paths: Vec<&str> = endpoint.paths.iter().map(|path| path.text.as_str()).collect();
        let value = format!("{} {} (upstream {})", endpoint.method, paths.join(", "), upstream(endpoint));
        let name = endpoint.name.as_str();
        self.add(Subject::Endpoint, name, Fact::of(value));
        if endpoint.timeouts != Timeouts::default() {
            let Timeouts { connect, first_byte, idle } = endpoint.timeouts;
            let value = format!("connect {connect:?}, first_byte {first_byte:?}, idle {idle:?}");
            self.add(Subject::Timeouts, name, Fact::of(value));
        }
        if let Some(api) = &endpoint.api {
            self.add(Subject::Api, name, Fact { detail: api.shape(), ..Fact::of(format!("`{}`", api.name)) });
        }
        let front = format!("{name}: ");
        let owner = Some((Subject::Endpoint, name.to_owned()));
        self.headers(&front, owner.as_ref(), &endpoint.headers);
        let removed = Some("the client's value reaches the upstream");
        for parameter in &endpoint.query.remove {
            self.add(
                Subject::Query,
                format!("{front}remove `{parameter}`"),
                Fact { removed, owner: owner.clone(), ..Fact::default() },
            );
        }
        for (kind, rules) in [("default", &endpoint.query.default), ("set", &endpoint.query.set)] {
            for (parameter, text) in rules {
                let fact = self.text(text);
                self.add(Subject::Query, format!("{front}{kind} `{parameter}`"), fact);
            }
        }
        for rule in &endpoint.responses {
            let status = rule.status.map_or_else(|| "any status".to_owned(), |status| status.to_string());
            let kind =
                rule.content_type.as_ref().map(|glob| format!(" `{}`", glob.as_str())).unwrap_or_default();
            let value =
                format!("{}: {}", rule.reply_status.as_u16(), upstream_routes::shown(&rule.message, &[]));
            let fact = Fact { detail: value.clone(), ..Fact::of(masked(&value)) };
            self.add(Subject::Response, format!("{front}{status}{kind}"), fact);
        }
    }

    fn headers(&mut self, front: &str, owner: Option<&Key>, rules: &HeaderRules) {
        for glob in &rules.pass {
            let added = Some("headers that the engine removes reach the upstream");
            let kind = Some((format!("{front}pass"), glob.as_str().to_owned()));
            let fact = Fact { added, glob: kind, ..Fact::default() };
            self.add(Subject::Headers, format!("{front}pass `{}`", glob.as_str()), fact);
        }
        self.removes(front, owner, &rules.remove);
        for (kind, rules) in [("default", &rules.default), ("set", &rules.set)] {
            for (name, text) in rules {
                // A client's own header of a name that the file sets is removed: `set` closes it.
                let opens = kind == "set" && safety::request(name.as_str()) == HeaderClass::Plain;
                let removed = Some("the client's value reaches the upstream").filter(|_| opens);
                let glob = (kind == "set").then(|| ("set".to_owned(), name.to_string()));
                let fact = Fact { removed, glob, owner: owner.cloned(), ..self.text(text) };
                self.add(Subject::Headers, format!("{front}{kind} `{name}`"), fact);
            }
        }
    }

    fn removes(&mut self, front: &str, owner: Option<&Key>, globs: &[Glob]) {
        let removed = Some("headers that were removed reach the upstream");
        for glob in globs {
            let kind = Some((format!("{front}remove"), glob.as_str().to_owned()));
            let fact = Fact { removed, glob: kind, owner: owner.cloned(), ..Fact::default() };
            self.add(Subject::Headers, format!("{front}remove `{}`", glob.as_str()), fact);
        }
    }

    fn overlay(&mut self, front: &str, owner: &Key, overlay: &Overlay, vars: &Vars) {
        self.removes(front, Some(owner), &overlay.remove);
        for (name, text) in &overlay.set {
            let fact = Fact { secrets: secrets(text, vars), ..Fact::text(text) };
            self.add(Subject::Headers, format!("{front}set `{name}`"), fact);
        }
    }

    fn text(&self, text: &ProviderTemplate) -> Fact {
        let secrets = secrets(text, &self.provider.vars);
        Fact { secrets, ..Fact::text(text) }
    }

    fn section(&mut self, section: &Section) {
        let shared: Vec<&str> = section.shared_with.iter().map(FileName::as_str).collect();
        let shared =
            if shared.is_empty() { String::new() } else { format!(", shared with {}", backticked(&shared)) };
        self.add(Subject::Credentials, "section", Fact::of(format!("`{}`{shared}", section.name)));
        for field in &section.fields {
            let value = match &field.value.token_url {
                Some(url) => format!("a login, refreshed at `{url}`"),
                None => "a key".to_owned(),
            };
            let detail = format!("{:?}", field.value);
            self.add(
                Subject::Credentials,
                format!("field `{}`", field.value.name),
                Fact { detail, ..Fact::of(value) },
            );
        }
    }

    fn auth(&mut self, entries: &[Auth]) {
        if entries.len() > 1 {
            let order: Vec<&str> = entries.iter().map(|entry| entry.field.as_str()).collect();
            self.add(Subject::Auth, "order", Fact::of(order.join(", ")));
        }
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for entry in entries {
            for Output { header: name, text, reveals } in entry.kind.outputs() {
                let key = format!("`{}` into `{name}`", entry.field);
                let times = times.entry(key.clone()).or_default();
                *times += 1;
                let key = if *times == 1 { key } else { format!("{key} ({times})") };
                let mut fact = self.text(text);
                if reveals {
                    let like =
                        entry.matches.as_ref().map(|glob| format!("a credential like `{}`", glob.as_str()));
                    fact.secrets.insert(like.clone().unwrap_or_else(|| ANY.to_owned()));
                    fact.value.push_str(&like.map(|like| format!(", for {like}")).unwrap_or_default());
                }
                self.add(Subject::Auth, key, fact);
            }
        }
    }

    fn gateway(&mut self, used: &GatewayUse) {
        let name = &used.gateway.name;
        let own = used.gateway.vars.keys().map(|var| format!("{name}.{var}"));
        let when = used.when.iter().cloned().chain(own);
        let mut value = format!("path `{}`", upstream_routes::shown(&used.path, &[]));
        if !used.strip.is_empty() {
            write!(value, ", strip `{}`", used.strip).expect("a string takes all that is written to it");
        }
        if let Some(order) = used.order {
            write!(value, ", order {order}").expect("a string takes all that is written to it");
        }
        let detail = upstream_routes::shown(&used.gateway.base_url.value, &[]);
        let sends = self.sends_credentials() || sets_secret(&used.gateway.overlay, &used.gateway.vars);
        let fact = Fact { detail, ..conditional(&value, when, sends) };
        self.add(Subject::Gateway, name.as_str(), fact);
        let owner = (Subject::Gateway, name.to_string());
        self.overlay(&format!("gateway {name}: "), &owner, &used.gateway.overlay, &used.gateway.vars);
        self.vars(&format!("{name}."), &used.gateway.vars);
    }

    fn egresses(&mut self, egresses: &[Egress]) {
        let mut order = Vec::new();
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for egress in egresses {
            let url =
                egress.url.as_ref().map(|url| format!("`{}`", masked(&upstream_routes::shown(url, &[]))));
            let mut name = url.unwrap_or_else(|| "headers".into());
            let times = times.entry(name.clone()).or_default();
            *times += 1;
            if *times > 1 {
                write!(name, " ({times})").expect("a string takes all that is written to it");
            }
            let sends = egress.url.is_some() && self.sends_credentials();
            let sends = sends || sets_secret(&egress.overlay, &self.provider.vars);
            let fact = conditional("", egress.when.iter().cloned(), sends);
            let owner = (Subject::Egress, name.clone());
            self.overlay(&format!("egress {name}: "), &owner, &egress.overlay, &self.provider.vars);
            order.push(name.clone());
            self.add(Subject::Egress, name, fact);
        }
        if order.len() > 1 {
            self.add(Subject::Egress, "order", Fact::of(order.join(", ")));
        }
    }

    fn sends_credentials(&self) -> bool {
        !self.provider.auth.is_empty()
    }

    fn vars(&mut self, front: &str, vars: &Vars) {
        for (name, var) in vars {
            let Var { source, optional, secret } = &var.value;
            let mut value = match source {
                VarSource::Env(name) => format!("environment variable `{name}`"),
                VarSource::File(name) => format!("file `{name}`"),
            };
            value.push_str(if *optional { ", optional" } else { "" });
            value.push_str(if *secret { ", secret" } else { "" });
            let guards = secret.then(|| "secret".to_owned()).into_iter().collect();
            self.add(Subject::Var, format!("{front}{name}"), Fact { guards, ..Fact::of(value) });
        }
    }
}

/// A fact that holds only if vars are set.
fn conditional(value: &str, when: impl Iterator<Item = String>, sends_secrets: bool) -> Fact {
    let guards: BTreeSet<String> = when.collect();
    let list: Vec<&String> = guards.iter().collect();
    let when = if list.is_empty() { "always".to_owned() } else { format!("when {} set", backticked(&list)) };
    let value = if value.is_empty() { when } else { format!("{value}, {when}") };
    Fact { guards: if sends_secrets { guards } else { BTreeSet::new() }, ..Fact::of(value) }
}

fn sets_secret(overlay: &Overlay, vars: &Vars) -> bool {
    overlay.set.iter().any(|(_, text)| !secrets(text, vars).is_empty())
}

impl Fact {
    /// A literal that looks like a key is compared, and masked where it is shown.
    fn text(text: &ProviderTemplate) -> Self {
        let detail = upstream_routes::shown(text, &[]);
        Self { value: masked(&detail), detail, ..Self::default() }
    }

    fn of(value: String) -> Self {
        Self { value, ..Self::default() }
    }
}

/// The secrets that reach each origin.
fn reached(provider: &Provider) -> BTreeMap<String, BTreeSet<String>> {
    let mut reached: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let section = provider.section.as_ref();
    let credential = || section.map(|section| format!("credentials of `{}`", section.name));
    for route in upstream_routes::all(provider) {
        let mut sent = BTreeSet::new();
        let auth: Vec<Output<'_>> = provider.auth.iter().flat_map(|auth| auth.kind.outputs()).collect();
        if auth.iter().any(|output| output.reveals && route.passes_value(output.header.as_str())) {
            sent.extend(credential());
        }
        let own = provider.endpoints.iter().map(|endpoint| &endpoint.headers).chain([&provider.headers]);
        let own = own.flat_map(|rules| rules.default.iter().chain(&rules.set)).map(|(_, text)| text);
        let own = own.chain(auth.iter().map(|output| output.text));
        sent.extend(own.flat_map(|text| secrets(text, &provider.vars)));
        if let Some(used) = route.gateway {
            sent.extend(
                used.gateway.overlay.set.iter().flat_map(|(_, text)| secrets(text, &used.gateway.vars)),
            );
        }
        let origins = route.called();
        // Headers that an egress adds are for the origin that is called, not for the one in a wrapping URL.
        let added = route.egresses.iter().flat_map(|egress| &egress.overlay.set);
        let added = added.flat_map(|(_, text)| secrets(text, &provider.vars));
        reached.entry(origins[0].origin.clone()).or_default().extend(added);
        for called in origins {
            reached.entry(called.origin).or_default().extend(sent.clone());
        }
    }
    for url in
        section.iter().flat_map(|section| &section.fields).filter_map(|field| field.value.token_url.as_ref())
    {
        reached
            .entry(upstream_routes::origin(&ProviderTemplate::text(url), true))
            .or_default()
            .extend(credential());
    }
    reached
}

/// The secret vars in a text, named by their sources.
fn secrets(text: &ProviderTemplate, vars: &Vars) -> BTreeSet<String> {
    let var = |name: &Placeholder| match name {
        Placeholder::Var(var) => vars.get(&**var).filter(|var| var.value.secret),
        Placeholder::Capture(_)
        | Placeholder::Host
        | Placeholder::Secret
        | Placeholder::Path
        | Placeholder::Url => None,
    };
    let source = |source: &VarSource| match source {
        VarSource::Env(name) => format!("secret `{name}`"),
        VarSource::File(name) => format!("secret file `{name}`"),
    };
    text.placeholders().filter_map(var).map(|var| source(&var.value.source)).collect()
}

/// The text with everything masked that looks like a key.
fn masked(text: &str) -> String {
    secret_scan::mask(text).into_owned()
}
