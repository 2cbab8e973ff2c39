//! Compiles a provider file and its preset to a `Provider`. Each module below compiles some of the tables and adds its
//! findings to the [`Compiler`].

mod credentials;
mod endpoints;
mod metered;
mod names;
mod source_map;
mod reach;
mod rules;

use std::sync::Arc;

use super::{
    Compilation, Compiled, Files, Fixtures, PageTexts, Placeholder, Provider, Rejected, Shared, Sharing,
    Test, quantity, resolve,
};
use crate::{
    base::{
        budget::Budget,
        diag::{Code, Diagnostic, Location},
        name::FileName,
        own_paths,
        suggest::{backticked, nearest},
    },
    language::syntax::{self, Outline, Parsed, Slot},
};

use source_map::Layer;

pub use endpoints::http_method;
pub(crate) use names::TemplateScope;
pub(super) use reach::gateway;
pub use source_map::SourceMap;

/// The name of the provider in the test of a shared file.
pub const FIXTURE: &str = "fixture";

/// Names that no var and no capture can have, since templates define them.
const RESERVED_NAMES: &[&str] = &["provider", "secret", "path", "url", "host"];

const MAX_BODY_DEFAULT: u64 = 256 << 20;

/// Compiles one provider file.
pub(super) fn compile(
    name: &FileName,
    parsed: &Parsed<syntax::Provider>,
    shared: &Shared<'_>,
) -> Compilation<Provider> {
    let layer = Layer { file: &parsed.file, spans: &parsed.spans, root: String::new() };
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
    let preset = preset.and_then(|preset| files.presets.get(&preset)).map(outline).unwrap_or_default();
    let prefix = own.path_prefix.or(preset.path_prefix);
    let prefix = prefix.map(|prefix| prefix.replace("{provider}", name.as_str()));
    let credentials = own.credentials.or(preset.credentials).unwrap_or_default();
    let shared_with = credentials.shared_with.iter().flatten().filter_map(|other| FileName::new(other));
    let sharing = Sharing {
        section: credentials::section_name(name, &credentials),
        shared_with: shared_with.collect(),
    };
    Rejected {
        name: name.clone(),
        prefix: prefix.filter(|prefix| check_prefix(prefix).is_ok()),
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
            let help = "a preset, gateway or api is tested through a provider of the test's own: add `[test.provider]`";
            compiled.diagnostics.push(Diagnostic::new(Code::MissingKey, at, message).help(help));
            continue;
        };
        let mut document = document.clone();
        document.extends = document.extends.or_else(|| source.extends.map(str::to_owned));
        let layer = Layer { file: source.file, spans: source.spans, root: place };
        let work = Work { budget: &budget, size: source.size };
        let (provider, found) = compile_document(&name, &document, layer, shared, work);
        compiled.diagnostics.extend(found);
        if let Some(provider) = provider {
            let at = source.spans.key(source.file, &format!("{root}/expect"));
            compiled.fixtures.push((Arc::new(provider), Test { spec: test.clone(), index, at }));
        }
    }
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
    /// Merges the file with its preset. A table in the file replaces the preset's table as a whole. Endpoints are merged by
    /// name, and within an endpoint key by key.
    fn merge(&mut self, own: &syntax::Provider) -> Option<syntax::Provider> {
        let mut merged = own.clone();
        let Some(extends) = &own.extends else { return Some(merged) };
        let shared = self.shared;
        let preset = match resolve("preset", extends, &shared.presets) {
            Ok(preset) => *preset,
            Err((code, message, help)) => {
                let diagnostic = Diagnostic::new(code, self.value("/extends"), message);
                self.add(diagnostic.maybe_help(help));
                return None;
            }
        };
        if preset.document.extends.is_some() {
            let message =
                format!("preset `{extends}` extends a preset itself, and only one level is allowed");
            let at = preset.spans.key(&preset.file, "/extends");
            let one = Diagnostic::new(Code::Reference, self.value("/extends"), message);
            let help = "drop that line, and write what it would have brought into the preset itself";
            self.add(one.related(at, "the preset's own").help(help));
            return None;
        }
        let layer = Layer { file: &preset.file, spans: &preset.spans, root: String::new() };
        if !self.layers.iter().any(|known| known.file == layer.file && known.root.is_empty()) {
            self.layers.push(layer);
        }
        let _ = self.budget.work(preset.size / 8);
        let base = preset.document.clone();
        macro_rules! inherit {
            ($($field:ident)*) => { $(merged.$field = merged.$field.or(base.$field);)* };
        }
        inherit!(base_url path_prefix group keys_url docs telemetry_name cors_headers vars caller credentials auth);
        inherit!(headers gateway egress response timeouts limits paste_token);
        // A file that removes an endpoint cannot have the preset's probe of it.
        let is_removed = |probe: &syntax::Probe| {
            let entry = own.endpoint.as_ref().and_then(|endpoints| endpoints.get(&probe.endpoint));
            matches!(entry, Some(syntax::EndpointEntry::Removed))
        };
        merged.probe = merged.probe.or_else(|| base.probe.filter(|probe| !is_removed(probe)));
        merged.endpoint = Some(endpoints::merge(merged.endpoint, base.endpoint));
        Some(merged)
    }

    fn provider(&mut self, spec: &syntax::Provider) -> Option<Provider> {
        if spec.default.is_some() {
            let help = "remove it: it says which preset a new file extends";
            self.report_with_help(
                Code::Condition,
                self.key("/default"),
                "only a preset can be the default",
                help,
            );
        }
        let vars = self.vars(spec.vars.as_ref(), RESERVED_NAMES);
        self.required("title", spec.title.as_ref());
        let prefix =
            self.required("path_prefix", spec.path_prefix.as_ref()).and_then(|text| self.prefix(&text));
        let base_url = self.base_url(spec, &vars);
        let section = spec.credentials.as_ref().and_then(|credentials| self.section(credentials));
        let auth = self.auth(spec.auth.as_deref().unwrap_or_default(), section.as_ref(), &vars);
        let scope = TemplateScope {
            vars: Some(&vars),
            words: &[("host", Placeholder::Host)],
            ..TemplateScope::default()
        };
        let headers = self.header_rules("/headers", spec.headers.as_ref(), scope);
        let responses = self.responses("/response", spec.response.as_deref());
        let timeouts = self.timeouts("/timeouts", spec.timeouts.as_ref(), super::Timeouts::default());
        let provider_wide = endpoints::ProviderWide { responses: &responses, timeouts, vars: &vars };
        let endpoints = self.endpoints(spec.endpoint.as_ref(), prefix.as_deref(), &provider_wide);
        let gateways = self.gateways(spec.gateway.as_ref(), &vars);
        self.check_clashes(&endpoints);
        self.check_strips(&gateways, base_url.as_ref(), &endpoints);
        let egress = self.egresses(spec.egress.as_deref().unwrap_or_default(), &vars);
        let max_body = spec.limits.as_ref().and_then(|limits| limits.max_body.as_deref());
        let max_body = max_body.and_then(|text| self.quantity("/limits/max_body", quantity::size(text)));
        let caller = self.token_locations(spec.caller.as_ref());
        let cors_headers = self.globs("/cors_headers", spec.cors_headers.as_deref());
        self.check_link("keys_url", spec.keys_url.as_deref());
        self.check_link("docs", spec.docs.as_deref());
        self.check_probe(spec.probe.as_ref(), &endpoints);
        let paste_token = self.paste_token(spec.paste_token.as_ref(), section.as_ref());
        let own = self.layers.iter().map(|layer| layer.file.clone());
        let inputs = own.chain(gateways.iter().map(|used| used.gateway.file.clone()));
        let inputs =
            inputs.chain(endpoints.iter().filter_map(|endpoint| Some(endpoint.api.as_ref()?.file.clone())));
        Some(Provider {
            name: self.name.clone(),
            inputs: inputs.collect(),
            at: Location::file(self.layers[0].file),
            shown: PageTexts {
                title: spec.title.clone().unwrap_or_default(),
                group: spec.group.clone(),
                keys_url: spec.keys_url.clone(),
                docs: spec.docs.clone(),
            },
            prefix: prefix?,
            base_url: base_url?,
            vars,
            caller,
            section,
            auth,
            headers,
            endpoints,
            gateways,
            egress,
            cors_headers,
            telemetry_name: spec.telemetry_name.as_deref().map(Arc::from),
            max_body: max_body.unwrap_or(MAX_BODY_DEFAULT),
            paste_token,
            probe: spec.probe.clone(),
            tests: self.tests(spec.test.as_deref().unwrap_or_default()),
            size: 0,
        })
    }

    fn tests(&self, tests: &[syntax::Test]) -> Vec<Test> {
        let one = |(index, test): (usize, &syntax::Test)| {
            let at = self.key(&format!("/test/{index}/expect"));
            Test { spec: test.clone(), index, at }
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

    fn quantity<T>(&mut self, pointer: &str, made: Result<T, String>) -> Option<T> {
        match made {
            Ok(value) => Some(value),
            Err(message) => {
                let key = pointer.rsplit('/').next().unwrap_or_default();
                self.report(Code::BadValue, self.value(pointer), format!("`{key}`: {message}"));
                None
            }
        }
    }

    fn prefix(&mut self, written: &str) -> Option<String> {
        let prefix = written.replace("{provider}", self.name.as_str());
        match check_prefix(&prefix) {
            Ok(()) => Some(prefix),
            Err(message) => {
                let help = "for example: \"/proxy/{provider}\"";
                let message = format!("cannot be a prefix: {message}");
                self.report_with_help(Code::Path, self.value("/path_prefix"), message, help);
                None
            }
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
            self.report_with_help(Code::Reference, at, message, help);
        }
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
