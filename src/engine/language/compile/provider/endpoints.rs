//! Compiles endpoints: method, client paths, upstream path and rules.

use std::{collections::BTreeMap, sync::Arc};

use super::{Compiler, FieldScope, RESERVED_NAMES, TemplateScope, check_reserved, resolve};
use crate::{
    base::{
        diag::{Code, Diagnostic},
        name::FileName,
        suggest::{backticked, nearest},
    },
    language::{
        compile::{
            Api, CaptureRules, ClientPath, Endpoint, Pattern, Placeholder, ProviderTemplate, ResponseRule,
            Section, Timeouts, Tree, Vars, is_dots, members_problem,
        },
        syntax::{self, EndpointEntry, pointer_step},
    },
};

pub(super) type Entries = BTreeMap<String, EndpointEntry>;

/// The bytes that are kept of an endpoint, of a client path and of a response rule, beside their texts.
const ENDPOINT_BYTES: usize = 1024;
const CLIENT_PATH_BYTES: usize = 512;
const MEMBER_BYTES: usize = 32;
const RESPONSE_BYTES: usize = 160;

/// Settings that all endpoints of a provider inherit.
pub(super) struct ProviderWide<'a> {
    pub(super) responses: &'a [ResponseRule],
    pub(super) timeouts: Timeouts,
    pub(super) vars: &'a Vars,
    pub(super) fields: Option<&'a Section>,
    /// The prefixes of all client paths; none if there is an error in the first.
    pub(super) prefixes: Vec<&'a str>,
    /// The front to cut from paths.
    pub(super) strip: Option<&'a str>,
}

/// Merges endpoints with those of a file of lower precedence: by name, and within an endpoint key by key.
pub(super) fn merge(own: Option<Entries>, base: impl Into<Option<Entries>>) -> Entries {
    let (own, mut merged) = (own.unwrap_or_default(), base.into().unwrap_or_default());
    for (name, entry) in own {
        let entry = match (entry, merged.remove(&name)) {
            (EndpointEntry::Table(table), Some(EndpointEntry::Table(base))) => {
                EndpointEntry::Table(Box::new(merge_one(*table, *base)))
            }
            (entry, _) => entry,
        };
        merged.insert(name, entry);
    }
    merged
}

fn merge_one(own: syntax::Endpoint, base: syntax::Endpoint) -> syntax::Endpoint {
    syntax::Endpoint {
        method: own.method.or(base.method),
        path: own.path.or(base.path),
        captures: own.captures.or(base.captures),
        encoded_slash: own.encoded_slash.or(base.encoded_slash),
        aliases: own.aliases.or(base.aliases),
        origin: own.origin.or(base.origin),
        upstream_path: own.upstream_path.or(base.upstream_path),
        upgrade: own.upgrade.or(base.upgrade),
        api: own.api.or(base.api),
        operation: own.operation.or(base.operation),
        model: own.model.or(base.model),
        when_missing: own.when_missing.or(base.when_missing),
        metered: own.metered.or(base.metered),
        query: own.query.or(base.query),
        headers: own.headers.or(base.headers),
        timeouts: own.timeouts.or(base.timeouts),
        response: own.response.or(base.response),
    }
}

impl Compiler<'_> {
    pub(super) fn endpoints(&mut self, specs: Option<&Entries>, wide: &ProviderWide<'_>) -> Box<[Endpoint]> {
        let mut endpoints = Vec::new();
        for (name, entry) in specs.into_iter().flatten() {
            if self.budget.is_exceeded() {
                break;
            }
            let pointer = format!("/endpoint/{}", pointer_step(name));
            match entry {
                EndpointEntry::Removed => self.check_removed(name, &pointer),
                EndpointEntry::Table(table) => {
                    endpoints.extend(self.endpoint(name, &pointer, table, wide));
                }
            }
        }
        if endpoints.is_empty() && self.found.is_empty() {
            let help = "add an `[endpoint.<name>]`, or a preset that has some";
            self.report_with_help(
                Code::MissingKey,
                self.key("/endpoint"),
                "the provider has no endpoint",
                help,
            );
        }
        endpoints.into()
    }

    /// Reports `false` for an endpoint that the preset does not have: most likely a typing error.
    fn check_removed(&mut self, name: &str, pointer: &str) {
        if self.layers[1..].iter().any(|layer| layer.has(pointer)) {
            return;
        }
        let help = match nearest(name, self.inherited_names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                "`false` removes an endpoint that the preset or an endpoint set has: drop the line".to_owned()
            }
        };
        let message = format!("no preset and no endpoint set of this file has an endpoint `{name}`");
        self.report_with_help(Code::Reference, self.key(pointer), message, help);
    }

    /// The names of the endpoints of the preset and of the endpoint sets.
    fn inherited_names(&self) -> impl Iterator<Item = &str> {
        let is_layer = |file: &Arc<str>| self.layers[1..].iter().any(|layer| layer.file == file);
        let presets = self.shared.presets.values().flatten().filter(move |one| is_layer(&one.file));
        let presets = presets.flat_map(|one| one.document.endpoint.iter().flat_map(BTreeMap::keys));
        let sets = self.shared.endpoint_sets.values().flatten().filter(move |one| is_layer(&one.file));
        let sets = sets.flat_map(|one| one.document.endpoint.keys());
        presets.chain(sets).map(String::as_str)
    }

    fn endpoint(
        &mut self,
        name: &str,
        pointer: &str,
        spec: &syntax::Endpoint,
        wide: &ProviderWide<'_>,
    ) -> Option<Endpoint> {
        for (key, missing) in [("method", spec.method.is_none()), ("path", spec.path.is_none())] {
            if missing {
                let example = if key == "method" { "POST" } else { "/v1/chat/completions" };
                let message = format!("endpoint `{name}` has no `{key}`");
                let help = format!("for example: {key} = \"{example}\"");
                self.report_with_help(Code::MissingKey, self.key(pointer), message, help);
            }
        }
        let (method, path) = (spec.method?, spec.path.as_ref()?);
        let own = self.pattern(&format!("{pointer}/path"), path, wide.vars)?;
        let rules = self.capture_rules(pointer, spec, path)?;
        let captures = own.captures().to_vec();
        let paths = self.client_paths(pointer, &wide.prefixes, spec, (&captures, &rules));
        let scope = TemplateScope {
            vars: Some(wide.vars),
            captures: &captures,
            words: &[("host", Placeholder::Host)],
            fields: FieldScope::of_url(wide.fields),
            ..TemplateScope::default()
        };
        let header_scope = TemplateScope { fields: FieldScope::all(wide.fields), ..scope };
        let responses = self.responses(&format!("{pointer}/response"), spec.response.as_deref());
        let inherited = wide.responses.iter().map(|rule| RESPONSE_BYTES + rule.message.max_len(|_| 0));
        if !self.budget.keep(ENDPOINT_BYTES + inherited.sum::<usize>()) {
            return None;
        }
        self.check_upgrade(pointer, spec);
        let api = self.api(pointer, spec.api.as_deref());
        let metering = self.metering(pointer, spec, api.as_deref(), &captures);
        let own = spec.operation.as_deref().map(Arc::from);
        let of_api = api.as_ref().and_then(|api| api.operation.clone()).filter(|_| metering.is_some());
        Some(Endpoint {
            name: name.to_owned(),
            at: self.value(&format!("{pointer}/path")),
            is_of_set: self.is_of_set(&format!("{pointer}/path")),
            method: http_method(method),
            paths,
            rules,
            upstream_path: self.upstream_path(pointer, spec, cut(path, wide.strip), scope)?,
            origin: spec.origin.clone(),
            upgrade: spec.upgrade,
            api,
            operation: own.or(of_api),
            metering,
            query: self.query_rules(&format!("{pointer}/query"), spec.query.as_ref(), scope),
            headers: self.header_rules(&format!("{pointer}/headers"), spec.headers.as_ref(), header_scope),
            timeouts: self.timeouts(&format!("{pointer}/timeouts"), spec.timeouts.as_ref(), wide.timeouts),
            responses: responses.into_iter().chain(wide.responses.iter().cloned()).collect(),
        })
    }

    /// Reports an upgrade with a method that has none (RFC 6455, section 4.1).
    fn check_upgrade(&mut self, pointer: &str, spec: &syntax::Endpoint) {
        let Some(upgrade) = spec.upgrade else { return };
        if spec.method != Some(syntax::Method::Get) {
            let message = format!("`{}` begins with GET, and no other method", upgrade.as_str());
            let at = self.value(&format!("{pointer}/method"));
            let related = self.value(&format!("{pointer}/upgrade"));
            let help =
                "write `method = \"GET\"`; plain requests to the same path take an endpoint of their own";
            let diagnostic = Diagnostic::new(Code::Condition, at, message);
            self.add(diagnostic.related(related, "the upgrade").help(help));
        }
    }

    /// Reports two client paths of the provider that can match the same request. Conflicts with other providers are found
    /// by `link`.
    pub(super) fn check_clashes(&mut self, endpoints: &[Endpoint]) {
        let mut tree: Tree<(&http::Method, &ClientPath)> = Tree::default();
        for endpoint in endpoints {
            for path in &*endpoint.paths {
                let mut near = Vec::new();
                if !tree.candidates(&path.pattern, &mut near, self.budget) {
                    return;
                }
                let clash = near.into_iter().find(|(method, other)| {
                    **method == endpoint.method && path.pattern.clashes(&other.pattern)
                });
                match clash {
                    None => tree.insert(&path.pattern, (&endpoint.method, path)),
                    Some((method, other)) => self.add(path.clash(method, other, self.name)),
                }
            }
        }
    }

    fn pattern(&mut self, pointer: &str, path: &str, vars: &Vars) -> Option<Pattern> {
        let pattern = match Pattern::parse(path) {
            Ok(pattern) => pattern,
            Err(message) => {
                self.report(Code::Path, self.value(pointer), format!("cannot be a path: {message}"));
                return None;
            }
        };
        for capture in pattern.captures() {
            if RESERVED_NAMES.contains(&capture.as_str()) {
                let message =
                    format!("`{capture}` has a meaning of its own in templates: choose another name");
                self.report(Code::Name, self.value(pointer), message);
            }
            if let Some(var) = vars.get(capture) {
                let message = format!("capture `{capture}` has the name of a var");
                let diagnostic = Diagnostic::new(Code::Name, self.value(pointer), message);
                self.add(diagnostic.related(var.at.clone(), "the var"));
            }
        }
        Some(pattern)
    }

    /// The rules for an endpoint's captures; none if a name or a set is wrong.
    fn capture_rules(&mut self, pointer: &str, spec: &syntax::Endpoint, path: &str) -> Option<CaptureRules> {
        let known = self.found.len();
        let mut rules = CaptureRules::default();
        for (name, members) in spec.captures.iter().flatten() {
            let pointer = format!("{pointer}/captures/{}", pointer_step(name));
            if path.contains(&format!("{{{name}...}}")) {
                let message = format!("`{name}` captures whole segments, and cannot have a set");
                self.report(Code::Condition, self.key(&pointer), message);
            } else {
                self.check_capture(&pointer, name, path);
            }
            if let Some((index, problem)) = members_problem(&members.0) {
                let at = self.value(&format!("{pointer}/{index}"));
                let message =
                    format!("`{}` cannot be in the set: {problem}", members.0[index].escape_debug());
                self.report(Code::Path, at, message);
            }
            rules.sets.insert(name.clone(), members.0.clone());
        }
        for (index, name) in spec.encoded_slash.iter().flatten().enumerate() {
            let pointer = format!("{pointer}/encoded_slash/{index}");
            self.check_capture(&pointer, name, path);
            if rules.sets.contains_key(name) {
                let message =
                    format!("`{name}` has a closed set, and none of its members has an encoded slash");
                self.report(Code::Condition, self.value(&pointer), message);
            }
            rules.slashes.push(name.clone());
        }
        (self.found.len() == known).then_some(rules)
    }

    /// Reports a name that is no capture of the path.
    fn check_capture(&mut self, pointer: &str, name: &str, path: &str) {
        let pattern = Pattern::parse(path);
        let captures = pattern.iter().flat_map(Pattern::captures);
        if captures.clone().any(|known| known == name) {
            return;
        }
        let help = match nearest(name, captures.clone().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if captures.clone().next().is_none() => "the path has no captures".to_owned(),
            None => format!("the captures of the path: {}", backticked(captures)),
        };
        let message = format!("the path has no capture `{name}`");
        self.report_with_help(Code::Reference, self.key(pointer), message, help);
    }

    fn client_paths(
        &mut self,
        pointer: &str,
        prefixes: &[&str],
        spec: &syntax::Endpoint,
        captures: (&[String], &CaptureRules),
    ) -> Arc<[ClientPath]> {
        if prefixes.is_empty() {
            return Arc::default();
        }
        let own = prefixes.iter().flat_map(|prefix| {
            spec.path.iter().map(move |path| (format!("{pointer}/path"), format!("{prefix}{path}")))
        });
        let aliases = spec.aliases.iter().flatten().enumerate();
        let aliases = aliases.map(|(index, path)| (format!("{pointer}/aliases/{index}"), path.clone()));
        let all: Vec<_> = own.chain(aliases).collect();
        all.into_iter().filter_map(|(pointer, text)| self.client_path(&pointer, text, captures)).collect()
    }

    fn client_path(
        &mut self,
        pointer: &str,
        text: String,
        (captures, rules): (&[String], &CaptureRules),
    ) -> Option<ClientPath> {
        let members = rules.sets.values().flatten().map(|member| MEMBER_BYTES + member.len()).sum::<usize>();
        if !self.budget.keep(CLIENT_PATH_BYTES + 3 * (text.len() + members)) {
            return None;
        }
        let at = self.own_value(pointer);
        let pattern = Pattern::parse_with(&text, rules).and_then(|pattern| {
            check_reserved(&text)?;
            if text[1..].starts_with('{') {
                Err("its first segment has to be literal".into())
            } else {
                Ok(pattern)
            }
        });
        let pattern = match pattern {
            Ok(pattern) => pattern,
            Err(message) => {
                self.report(Code::Path, at, format!("cannot be a client path: {message}"));
                return None;
            }
        };
        let slot = |name: &String| captures.iter().position(|known| known == name);
        let slots: Option<Vec<usize>> = pattern.captures().iter().map(slot).collect();
        match slots {
            Some(slots) if slots.len() == captures.len() => {
                let narrow = |slot| u8::try_from(slot).expect("a path has few captures");
                let slots = slots.into_iter().map(narrow).collect();
                Some(ClientPath { text, pattern, slots, at })
            }
            _ => {
                let message = match captures {
                    [] => "an alias has no captures, as `path` has none".to_owned(),
                    _ => format!("an alias needs the captures of `path`: {}", backticked(captures)),
                };
                self.report(Code::Path, at, message);
                None
            }
        }
    }

    fn upstream_path(
        &mut self,
        pointer: &str,
        spec: &syntax::Endpoint,
        path: &str,
        scope: TemplateScope<'_>,
    ) -> Option<ProviderTemplate> {
        let (key, text) = match &spec.upstream_path {
            Some(text) => ("upstream_path", text.clone()),
            None => ("path", path.replace("...}", "}")),
        };
        let pointer = format!("{pointer}/{key}");
        let template = self.template(&pointer, &text, scope)?;
        if let Err(message) = check_upstream_path(&text) {
            self.report(Code::Path, self.value(&pointer), format!("cannot be an upstream path: {message}"));
        }
        Some(template)
    }

    fn api(&mut self, pointer: &str, name: Option<&str>) -> Option<Arc<Api>> {
        let name = name?;
        match resolve("api", name, &self.shared.apis, || self.value(&format!("{pointer}/api"))) {
            Ok(api) => Some(api.clone()),
            Err(unresolved) => {
                self.add(unresolved);
                None
            }
        }
    }
}

/// The path without the front that is cut from it, if that is made of its first segments and is not all of it.
pub(super) fn cut<'p>(path: &'p str, strip: Option<&str>) -> &'p str {
    strip.and_then(|strip| path.strip_prefix(strip)).filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

impl ClientPath {
    /// The finding that some request matches this path and another one, of `owner`.
    pub fn clash(&self, method: &http::Method, other: &Self, owner: &FileName) -> Diagnostic {
        let (mine, theirs) = (&self.text, &other.text);
        let message = format!("`{method} {mine}` and `{theirs}` of `{owner}` can match the same request");
        let help = "change one of the paths, or its `path_prefix`";
        let diagnostic = Diagnostic::new(Code::Clash, self.at.clone(), message);
        diagnostic.related(other.at.clone(), "the other one").help(help)
    }
}

/// Checks that a path with placeholders can be sent as written.
pub(super) fn check_upstream_path(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("it does not start with `/`");
    }
    if text.contains(['?', '#']) {
        return Err("a query is written under `query`");
    }
    if text[1..].split('/').rev().skip(1).any(str::is_empty) {
        return Err("it has an empty segment");
    }
    if text.split('/').any(is_dots) {
        return Err("it has a dot segment");
    }
    if text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`".contains(&b)) {
        Ok(())
    } else {
        Err("it has characters that a path cannot have")
    }
}

/// The method of the `http` crate.
pub fn http_method(method: syntax::Method) -> http::Method {
    match method {
        syntax::Method::Get => http::Method::GET,
        syntax::Method::Head => http::Method::HEAD,
        syntax::Method::Post => http::Method::POST,
        syntax::Method::Put => http::Method::PUT,
        syntax::Method::Patch => http::Method::PATCH,
        syntax::Method::Delete => http::Method::DELETE,
    }
}
