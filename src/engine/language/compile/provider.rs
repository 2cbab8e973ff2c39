//! Compiles a provider file and its preset to a `Provider`. Each module below compiles some of the tables and adds its
//! findings to the [`Compiler`].

mod authority;
mod catalogue;
mod credentials;
mod endpoints;
mod fields;
mod layers;
mod metered;
mod names;
mod origins;
mod source_map;
mod reach;
mod rules;
mod tls;

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Compilation, Compiled, Files, Fixtures, PageTexts, Placeholder, Provider, Rejected, Shared, Sharing,
    Test, default_preset, quantity, resolve,
};
use crate::{
    base::{
        budget::Budget,
        diag::{Code, Diagnostic, Location},
        name::FileName,
        own_paths,
        suggest::{backticked, nearest},
        time,
    },
    language::syntax::{self, Outline, Parsed, Slot},
};

use source_map::Layer;

pub use endpoints::http_method;
pub(crate) use names::{FieldScope, TemplateScope};
pub(super) use reach::gateway;
pub use source_map::SourceMap;

/// The name of the provider in the test of a shared file.
pub const FIXTURE: &str = "fixture";

/// Names that no var and no capture can have, since templates define them.
const RESERVED_NAMES: &[&str] = &["provider", "secret", "path", "url", "host"];

const MAX_BODY_DEFAULT: u64 = 256 << 20;
/// The default of `limits.signed_body`.
const SIGNED_BODY_DEFAULT: u64 = 16 << 20;

/// Compiles one provider file.
pub(super) fn compile(
    name: &FileName,
    parsed: &Parsed<syntax::Provider>,
    shared: &Shared<'_>,
) -> Compilation<Provider> {
    let layer = Layer::whole(parsed);
    let budget = shared.budgets.of(&parsed.file);
    let work = Work { budget: &budget, size: parsed.size };
    compile_document(name, &parsed.document, layer, shared, work)
}

/// The budget to charge, and the size of the text that the document is a part of.
#[derive(Clone, Copy)]
struct Work<'a> {
    budget: &'a Budget,
    size: usize,
}

/// The readable part of a provider with errors. Requests below its prefix get a fault, and its credentials section is not
/// free for others. If no section is readable, the default one is assumed.
pub(super) fn rejected(name: &FileName, slot: &Slot<syntax::Provider>, files: &Files) -> Rejected {
    let own = outline(slot);
    let preset = own.extends.as_deref().and_then(FileName::new);
    let preset = preset.and_then(|preset| files.presets.get(&preset)).map(outline);
    // A misspelt name most likely stands for the preset that files extend by default.
    let is_unknown = own.extends.is_some() && preset.is_none();
    let meant =
        if is_unknown { default_preset(files).and_then(|name| files.presets.get(name)) } else { None };
    let meant = meant.map(outline).unwrap_or_default();
    let preset = preset.unwrap_or_default();
    let first = own.path_prefix.or(preset.path_prefix).or(meant.path_prefix);
    let further = own.path_prefixes.or(preset.path_prefixes).or(meant.path_prefixes);
    let prefixes = first.into_iter().chain(further.into_iter().flatten());
    let prefixes = prefixes.map(|prefix| prefix.replace("{provider}", name.as_str()));
    let credentials = own.credentials.or(preset.credentials).unwrap_or_default();
    let shared_with = credentials.shared_with.iter().flatten().filter_map(|other| FileName::new(other));
    let sharing = Sharing {
        section: credentials::section_name(name, &credentials),
        shared_with: shared_with.collect(),
    };
    Rejected {
        name: name.clone(),
        prefixes: prefixes.filter(|prefix| check_prefix(prefix).is_ok()).collect(),
        sharing: Some(sharing),
        caller: credentials::readable_token_locations(own.caller.or(preset.caller)),
        unusable_var: None,
    }
}

fn outline(slot: &Slot<syntax::Provider>) -> Outline {
    match slot {
        Ok(Parsed { document, .. }) => Outline {
            extends: document.extends.clone(),
            path_prefix: document.path_prefix.clone(),
            path_prefixes: document.path_prefixes.clone(),
            credentials: document.credentials.clone(),
            caller: document.caller.clone(),
        },
        Err(outline) => outline.clone(),
    }
}

/// Compiles the providers that a shared file's tests bring along.
pub(super) fn fixtures(source: &Fixtures<'_>, shared: &Shared<'_>, compiled: &mut Compiled) {
    let name = FileName::new(FIXTURE).expect("the fixture's name is well-formed");
    let budget = shared.budgets.of(source.file);
    for (index, test) in source.tests.iter().enumerate() {
        let root = format!("/test/{index}");
        if budget.is_exceeded() {
            break;
        }
        let own = test.provider.as_deref().map(|own| (own, format!("{root}/provider")));
        let Some((document, place)) = own.or_else(|| Some((source.fixture?, "/fixture".to_owned()))) else {
            let at = source.spans.key(source.file, &root);
            let message = format!("test `{}` brings no provider", test.name);
            let help = "a file that is no provider is tested through a provider of the test's own: add `[test.provider]`";
            compiled.diagnostics.push(Diagnostic::new(Code::MissingKey, at, message).help(help));
            continue;
        };
        let mut document = document.clone();
        document.extends = document.extends.or_else(|| source.extends.map(str::to_owned));
        document.include = with_set(document.include, source.includes);
        let layer = Layer { file: source.file, spans: source.spans, root: place, endpoints_only: false };
        let work = Work { budget: &budget, size: source.size };
        let (provider, found) = compile_document(&name, &document, layer, shared, work);
        compiled.diagnostics.extend(found);
        if let Some(provider) = provider {
            let at = source.spans.key(source.file, &format!("{root}/expect"));
            let now_ms = now_of(test).unwrap_or_else(|problem| {
                let at = source.spans.value(source.file, &format!("{root}/now"));
                compiled.diagnostics.push(Diagnostic::new(Code::BadValue, at, problem));
                0
            });
            compiled.fixtures.push((Arc::new(provider), Test { spec: test.clone(), index, now_ms, at }));
        }
    }
}

/// The `include` of a test's provider: that of an endpoint set includes the set.
pub(super) fn with_set(include: Option<Vec<String>>, set: Option<&str>) -> Option<Vec<String>> {
    let Some(set) = set else { return include };
    let mut include = include.unwrap_or_default();
    if !include.iter().any(|known| known == set) {
        include.push(set.to_owned());
    }
    Some(include)
}

/// The time of a test's request, in milliseconds since 1970.
fn now_of(test: &syntax::Test) -> Result<u64, String> {
    let Some(now) = &test.now else { return Ok(0) };
    time::millis_of(now).map_err(|problem| format!("`{now}` {problem}"))
}

fn compile_document(
    name: &FileName,
    own: &syntax::Provider,
    layer: Layer<'_>,
    shared: &Shared<'_>,
    work: Work<'_>,
) -> Compilation<Provider> {
    let Work { budget, size } = work;
    let before = budget.used().bytes;
    // The document is copied for the merge.
    let _ = budget.work(size / 16);
    let mut compiler = Compiler { name, layers: vec![layer], shared, found: Vec::new(), budget };
    let merged = compiler.merge(own);
    // Without its preset, findings about missing keys would be noise.
    let provider = merged.and_then(|merged| compiler.provider(&merged));
    let kept = usize::try_from(budget.used().bytes - before).unwrap_or(usize::MAX);
    let provider = provider.map(|provider| Provider { size: size.saturating_add(kept), ..provider });
    let mut found = compiler.found;
    found.sort();
    found.dedup();
    (provider.filter(|_| found.is_empty()), found)
}

pub(crate) struct Compiler<'a> {
    name: &'a FileName,
    layers: Vec<Layer<'a>>,
    shared: &'a Shared<'a>,
    found: Vec<Diagnostic>,
    /// The budget of the provider's own file.
    budget: &'a Budget,
}

impl Compiler<'_> {
    fn provider(&mut self, spec: &syntax::Provider) -> Option<Provider> {
        self.check_default(spec.default);
        let mut vars = self.vars(spec.vars.as_ref(), RESERVED_NAMES);
        let tls = self.tls(spec.tls.as_ref(), &mut vars);
        self.required("title", spec.title.as_ref());
        let prefix = self.required("path_prefix", spec.path_prefix.as_ref());
        let prefix = prefix.and_then(|text| self.prefix("/path_prefix", &text));
        let prefixes = self.further_prefixes(spec.path_prefixes.as_deref(), prefix.as_deref());
        let strip = self.strip(spec.strip.as_deref());
        let section = spec.credentials.as_ref().and_then(|credentials| self.section(credentials, &vars));
        let section = section.map(Arc::new);
        let fields = section.as_deref();
        let base_url = self.base_url(spec, &vars, fields);
        let origins = self.origins(spec, &vars, fields);
        self.check_tls_scheme(tls.as_ref(), base_url.as_ref());
        self.check_tls_schemes(tls.as_ref(), &origins);
        let tokens = self.tokens(spec.token.as_ref(), fields, &vars);
        let auth = self.auth(spec, (fields, &tokens), &vars);
        let scope = TemplateScope {
            vars: Some(&vars),
            fields: FieldScope::all(fields),
            words: &[("host", Placeholder::Host)],
            ..TemplateScope::default()
        };
        let headers = self.header_rules("/headers", spec.headers.as_ref(), scope);
        let responses = self.responses("/response", spec.response.as_deref());
        let timeouts = self.timeouts("/timeouts", spec.timeouts.as_ref(), super::Timeouts::default());
        let provider_wide = endpoints::ProviderWide {
            responses: &responses,
            timeouts,
            vars: &vars,
            fields,
            prefixes: prefix.iter().chain(&prefixes).map(String::as_str).collect(),
            strip: strip.as_deref(),
        };
        let endpoints = self.endpoints(spec.endpoint.as_ref(), &provider_wide);
        self.check_strip(strip.as_deref(), spec.endpoint.as_ref());
        let gateways = self.gateways(spec.gateway.as_ref(), &vars, fields);
        self.check_origins(spec, &origins, &gateways);
        self.check_clashes(&endpoints);
        self.check_strips(&gateways, base_url.as_ref(), &endpoints);
        let egress = self.egresses(spec.egress.as_deref().unwrap_or_default(), &vars);
        let rewrite_urls = self.rewrite_urls(spec.response_headers.as_ref());
        let BodyLimits { max_body, signed_body } = self.body_limits(spec.limits.as_ref());
        let caller = self.token_locations(spec.caller.as_ref());
        let cors_headers = self.globs("/cors_headers", spec.cors_headers.as_deref());
        self.check_link("keys_url", spec.keys_url.as_deref());
        self.check_key_prefixes(spec.key_prefixes.as_deref().unwrap_or_default());
        self.check_link("docs", spec.docs.as_deref());
        self.check_catalogue(spec.catalogue.as_ref(), fields);
        self.check_probe(spec.probe.as_ref(), &endpoints);
        let paste_token = self.paste_token(spec.paste_token.as_ref(), fields);
        let provider = Provider {
            name: self.name.clone(),
            inputs: self.inputs(&gateways, &endpoints),
            at: Location::file(self.layers[0].file),
            shown: page_texts(spec),
            prefix: prefix?,
            prefixes,
            base_url: base_url?,
            origins,
            vars,
            tls,
            caller,
            section,
            tokens,
            auth,
            headers,
            endpoints,
            gateways,
            egress,
            rewrite_urls,
            cors_headers,
            telemetry_name: spec.telemetry_name.as_deref().map(Arc::from),
            max_body,
            signed_body,
            paste_token,
            probe: spec.probe.clone(),
            tests: self.tests(spec.test.as_deref().unwrap_or_default()),
            size: 0,
        };
        self.check_added(spec, &provider);
        self.check_parameters(spec);
        Some(provider)
    }

    /// Reports the mark of a preset in a provider file.
    fn check_default(&mut self, default: Option<bool>) {
        if default.is_some() {
            let at = self.key("/default");
            let help = "remove it: it says which preset a new file extends";
            self.report_with_help(Code::Condition, at, "only a preset can be the default", help);
        }
    }

    fn body_limits(&mut self, limits: Option<&syntax::Limits>) -> BodyLimits {
        let max_body = limits.and_then(|limits| limits.max_body.as_deref());
        let max_body = max_body.and_then(|text| self.quantity("/limits/max_body", quantity::size(text)));
        let signed_body = limits.and_then(|limits| limits.signed_body.as_deref());
        let signed_body =
            signed_body.and_then(|text| self.quantity("/limits/signed_body", quantity::held_size(text)));
        BodyLimits {
            max_body: max_body.unwrap_or(MAX_BODY_DEFAULT),
            signed_body: signed_body.unwrap_or(SIGNED_BODY_DEFAULT),
        }
    }

    /// The files that the provider is made of.
    fn inputs(&self, gateways: &[super::GatewayUse], endpoints: &[super::Endpoint]) -> BTreeSet<Arc<str>> {
        let own = self.layers.iter().map(|layer| layer.file.clone());
        let gateways = gateways.iter().map(|used| used.gateway.file.clone());
        let apis = endpoints.iter().filter_map(|endpoint| Some(endpoint.api.as_ref()?.file.clone()));
        own.chain(gateways).chain(apis).collect()
    }

    fn tests(&mut self, tests: &[syntax::Test]) -> Vec<Test> {
        let one = |(index, test): (usize, &syntax::Test)| {
            let at = self.key(&format!("/test/{index}/expect"));
            let now_ms = now_of(test).unwrap_or_else(|problem| {
                self.report(Code::BadValue, self.value(&format!("/test/{index}/now")), problem);
                0
            });
            Test { spec: test.clone(), index, now_ms, at }
        };
        tests.iter().enumerate().map(one).collect()
    }

    fn required(&mut self, key: &str, value: Option<&String>) -> Option<String> {
        // A preset with errors might have supplied the key.
        let unknown =
            self.found.iter().any(|one| one.at == self.value("/extends") && one.code == Code::Reference);
        if value.is_none() && !unknown {
            let extended =
                if self.layers.len() > 1 && key != "title" { ", and its preset has none" } else { "" };
            let message = format!("the file has no `{key}`{extended}");
            let help = match key {
                "title" => "for example: title = \"Example AI\"",
                "path_prefix" => "for example: path_prefix = \"/proxy/{provider}\"; a preset may have it too",
                _ => "for example: base_url = \"https://api.example.com\"",
            };
            self.report_with_help(Code::MissingKey, Location::file(self.layers[0].file), message, help);
        }
        value.cloned()
    }

    pub(crate) fn quantity<T>(&mut self, pointer: &str, made: Result<T, String>) -> Option<T> {
        match made {
            Ok(value) => Some(value),
            Err(message) => {
                let key = pointer.rsplit('/').next().unwrap_or_default();
                self.report(Code::BadValue, self.value(pointer), format!("`{key}`: {message}"));
                None
            }
        }
    }

    fn prefix(&mut self, pointer: &str, written: &str) -> Option<String> {
        let prefix = written.replace("{provider}", self.name.as_str());
        match check_prefix(&prefix) {
            Ok(()) => Some(prefix),
            Err(message) => {
                let help = "for example: \"/proxy/{provider}\"";
                let message = format!("cannot be a prefix: {message}");
                self.report_with_help(Code::Path, self.value(pointer), message, help);
                None
            }
        }
    }

    /// The further prefixes. One that is there twice would make every endpoint clash with itself.
    fn further_prefixes(&mut self, written: Option<&[String]>, first: Option<&str>) -> Vec<String> {
        let mut prefixes: Vec<String> = Vec::new();
        for (index, text) in written.into_iter().flatten().enumerate() {
            let pointer = format!("/path_prefixes/{index}");
            let Some(prefix) = self.prefix(&pointer, text) else { continue };
            if Some(&*prefix) == first || prefixes.contains(&prefix) {
                let message = format!("`{prefix}` is a prefix already");
                self.report_with_help(Code::Path, self.value(&pointer), message, "remove it");
            } else {
                prefixes.push(prefix);
            }
        }
        prefixes
    }

    /// The front to cut from paths; none if it is empty.
    fn strip(&mut self, written: Option<&str>) -> Option<String> {
        let strip = written.filter(|text| !text.is_empty())?;
        let problem = match super::Pattern::parse(strip) {
            Ok(pattern) if pattern.captures().is_empty() => return Some(strip.to_owned()),
            Ok(_) => "it holds a capture".to_owned(),
            Err(problem) => problem,
        };
        let message = format!("cannot be cut from paths: {problem}");
        self.report_with_help(Code::Path, self.value("/strip"), message, "for example: strip = \"/v1\"");
        None
    }

    /// Reports a `strip` of the file that is the front of no path. That of a preset is for other files too.
    fn check_strip(&mut self, strip: Option<&str>, endpoints: Option<&endpoints::Entries>) {
        let Some(strip) = strip else { return };
        let tables = endpoints.into_iter().flatten().filter_map(|(_, entry)| match entry {
            syntax::EndpointEntry::Table(table) if table.upstream_path.is_none() => table.path.as_deref(),
            syntax::EndpointEntry::Table(_) | syntax::EndpointEntry::Removed => None,
        });
        let mut paths = tables.filter(|path| endpoints::cut(path, Some(strip)) != *path);
        if paths.next().is_none() && self.is_own("/strip") {
            let message = format!(
                "`strip` cuts nothing: no endpoint without `upstream_path` has a path below `{strip}`"
            );
            self.report_with_help(Code::Condition, self.value("/strip"), message, "correct it, or remove it");
        }
    }

    /// Pages link to it: a `javascript:` URL would run there.
    fn check_link(&mut self, key: &str, url: Option<&str>) {
        if url.is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            let help = format!("for example: {key} = \"https://example.com\"");
            let message = format!("`{key}` does not start with `https://` or `http://`");
            self.report_with_help(Code::Url, self.value(&format!("/{key}")), message, help);
        }
    }

    /// Checks the beginnings of keys. One that is too short fits other texts too.
    fn check_key_prefixes(&mut self, prefixes: &[String]) {
        for (index, prefix) in prefixes.iter().enumerate() {
            let is_visible = prefix.bytes().all(|byte| byte.is_ascii_graphic());
            if (3..=64).contains(&prefix.len()) && is_visible {
                continue;
            }
            let problem = "the beginning of a key has 3 to 64 visible ASCII characters";
            let at = self.value(&format!("/key_prefixes/{index}"));
            self.report_with_help(
                Code::BadValue,
                at,
                problem,
                "for example: key_prefixes = [\"sk-example-\"]",
            );
        }
    }

    fn check_probe(&mut self, probe: Option<&syntax::Probe>, endpoints: &[super::Endpoint]) {
        let Some(probe) = probe else { return };
        let at = self.value("/probe/endpoint");
        let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.name == probe.endpoint) else {
            let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
            let message = format!("there is no endpoint `{}`", probe.endpoint);
            let help = match nearest(&probe.endpoint, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known endpoints: {}", backticked(&names)),
            };
            self.report_with_help(Code::Reference, at, message, help);
            return;
        };
        if endpoint.paths.first().is_some_and(|path| !path.pattern.captures().is_empty()) {
            let message = format!("the path of `{}` has captures, which a probe cannot fill", probe.endpoint);
            let help = "name an endpoint whose path has none";
            self.report_with_help(Code::Reference, at.clone(), message, help);
        }
        if let Some(upgrade) = endpoint.upgrade {
            let (name, protocol) = (&probe.endpoint, upgrade.as_str());
            let message = format!("`{name}` switches to `{protocol}`, which a probe cannot");
            self.report_with_help(Code::Reference, at, message, "name an endpoint without `upgrade`");
        }
    }
}

/// The limits of request bodies, in bytes.
struct BodyLimits {
    max_body: u64,
    signed_body: u64,
}

fn page_texts(spec: &syntax::Provider) -> PageTexts {
    PageTexts {
        title: spec.title.clone().unwrap_or_default(),
        group: spec.group.clone(),
        keys_url: spec.keys_url.clone(),
        key_prefixes: spec.key_prefixes.clone().unwrap_or_default(),
        docs: spec.docs.clone(),
    }
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    let pattern = super::Pattern::parse(prefix)?;
    if !pattern.captures().is_empty() {
        return Err("it holds a capture".into());
    }
    check_reserved(prefix)
}

fn check_reserved(path: &str) -> Result<(), String> {
    match own_paths::find(path) {
        Some((first, _)) => Err(format!("`/{first}` is tollgate's own: choose another first segment")),
        None => Ok(()),
    }
}
