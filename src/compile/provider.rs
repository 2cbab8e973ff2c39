//! One provider file, with its preset, becomes a `Provider`. The parts are in the modules below; each takes
//! the spec's table and returns the compiled value, and leaves its findings with the `Compiler`.

mod endpoints;
mod reach;
mod rules;

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use http::HeaderName;

use super::{
    Auth, Carriers, Compiled, Fixtures, Located, Made, Name, Provider, Section, Shared, Test, Text, Var,
    VarSource, Vars,
    glob::Glob,
    quantity, refer, safety,
    template::{Known, Template},
};
use crate::{
    diag::{At, Code, Diagnostic},
    name::FileName,
    spec::{self, Parsed, Spans, backticked, nearest, step},
};

pub(super) use reach::gateway;

/// The name of the provider in a shared file's test.
pub const FIXTURE: &str = "fixture";

/// First path segments that are tollgate's own.
const RESERVED: &[&str] = &["admin", "auth", "config", "console", "health", "livez", "readyz", "metrics"];

/// Names that no var and no capture can have: templates give them a meaning of their own.
const RESERVED_NAMES: &[&str] = &["provider", "secret", "path", "url", "host"];

const MAX_BODY_DEFAULT: u64 = 256 << 20;

/// Compiles one provider file.
pub(super) fn compile(
    name: &FileName,
    parsed: &Parsed<spec::Provider>,
    shared: &Shared<'_>,
) -> Made<Provider> {
    let layer = Layer { file: &parsed.file, spans: &parsed.spans, root: String::new() };
    compile_document(name, &parsed.document, layer, shared)
}

/// Where a rejected provider's client paths would have started, where that can be read.
pub(super) fn prefix_of(
    name: &FileName,
    slot: Option<&Parsed<spec::Provider>>,
    shared: &Shared<'_>,
) -> Option<String> {
    let own = slot?;
    let preset = own.document.extends.as_deref().and_then(FileName::new);
    let preset = preset.and_then(|preset| shared.presets.get(&preset)?.as_ref());
    let written = own.document.path_prefix.as_ref().or_else(|| preset?.document.path_prefix.as_ref())?;
    let prefix = written.replace("{provider}", name.as_str());
    check_prefix(&prefix).is_ok().then_some(prefix)
}

/// Compiles the providers that a shared file's tests bring along.
pub(super) fn fixtures(source: &Fixtures<'_>, shared: &Shared<'_>, compiled: &mut Compiled) {
    let name = FileName::new(FIXTURE).expect("the fixture's name is well-formed");
    for (index, test) in source.tests.iter().enumerate() {
        let root = format!("/test/{index}");
        let Some(document) = &test.provider else {
            let at = source.spans.key(source.file, &root);
            let message = format!("test `{}` brings no provider", test.name);
            let help = "a preset, gateway or api is tested through a provider of the test's own: add `[test.provider]`";
            compiled.diagnostics.push(Diagnostic::new(Code::MissingKey, at, message).help(help));
            continue;
        };
        let mut document = (**document).clone();
        document.extends = document.extends.or_else(|| source.extends.map(str::to_owned));
        let layer = Layer { file: source.file, spans: source.spans, root: format!("{root}/provider") };
        let (provider, found) = compile_document(&name, &document, layer, shared);
        compiled.diagnostics.extend(found);
        if let Some(provider) = provider {
            let at = source.spans.key(source.file, &format!("{root}/expect"));
            compiled.fixtures.push((Arc::new(provider), Test { spec: test.clone(), at }));
        }
    }
}

fn compile_document(
    name: &FileName,
    own: &spec::Provider,
    layer: Layer<'_>,
    shared: &Shared<'_>,
) -> Made<Provider> {
    let mut compiler = Compiler { name, layers: vec![layer], shared, found: Vec::new() };
    let merged = compiler.merge(own);
    // Without its preset all else that is missing would be noise.
    let provider = merged.and_then(|merged| compiler.provider(&merged));
    let mut found = compiler.found;
    found.sort();
    found.dedup();
    (provider.filter(|_| found.is_empty()), found)
}

/// A file that says part of what a provider is.
#[derive(Clone)]
struct Layer<'a> {
    file: &'a Arc<str>,
    spans: &'a Spans,
    /// The pointer of the provider's table in the file.
    root: String,
}

/// A pointer and the layer that has it.
struct Place<'l, 'a> {
    layer: &'l Layer<'a>,
    pointer: String,
}

impl Place<'_, '_> {
    fn key(&self) -> At {
        self.layer.spans.key(self.layer.file, &self.pointer)
    }

    fn value(&self) -> At {
        self.layer.spans.value(self.layer.file, &self.pointer)
    }
}

/// The layer that wrote `pointer`, or the nearest above it. The file's own layer comes first, as in merging.
fn nearest_place<'l, 'a>(layers: &'l [Layer<'a>], pointer: &str) -> Place<'l, 'a> {
    let mut pointer = pointer;
    loop {
        for layer in layers {
            let whole = format!("{}{pointer}", layer.root);
            if layer.spans.has(&whole) {
                return Place { layer, pointer: whole };
            }
        }
        match pointer.rfind('/') {
            Some(slash) => pointer = &pointer[..slash],
            None => return Place { layer: &layers[0], pointer: layers[0].root.clone() },
        }
    }
}

struct Compiler<'a> {
    name: &'a FileName,
    layers: Vec<Layer<'a>>,
    shared: &'a Shared<'a>,
    found: Vec<Diagnostic>,
}

/// What names a template may use.
#[derive(Clone, Copy, Default)]
struct Scope<'s> {
    vars: Option<&'s Vars>,
    /// Vars that are known to be set here.
    when: &'s [String],
    captures: &'s [String],
    words: &'s [(&'static str, Name)],
}

impl Compiler<'_> {
    fn key(&self, pointer: &str) -> At {
        nearest_place(&self.layers, pointer).key()
    }

    fn value(&self, pointer: &str) -> At {
        nearest_place(&self.layers, pointer).value()
    }

    /// The value if the file itself has it; else what in the file brought it here: its prefix, its preset.
    /// A clash with another file is this file's to mend, not its preset's.
    fn own_value(&self, pointer: &str) -> At {
        let own = &self.layers[0];
        let mut pointers =
            [pointer, "/path_prefix", "/extends"].into_iter().map(|p| format!("{}{p}", own.root));
        match pointers.find(|pointer| own.spans.has(pointer)) {
            Some(pointer) => own.spans.value(own.file, &pointer),
            None => At::file(own.file),
        }
    }

    fn say(&mut self, code: Code, at: At, message: impl Into<String>) {
        self.found.push(Diagnostic::new(code, at, message));
    }

    fn say_help(&mut self, code: Code, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(Diagnostic::new(code, at, message).help(help));
    }

    /// The file over its preset: a table that the file writes replaces the preset's whole; endpoints are
    /// merged by name, one level deep.
    fn merge(&mut self, own: &spec::Provider) -> Option<spec::Provider> {
        let mut merged = own.clone();
        let Some(extends) = &own.extends else { return Some(merged) };
        let shared = self.shared;
        let known: BTreeMap<_, _> =
            shared.presets.iter().map(|(name, slot)| (name.clone(), slot.as_ref())).collect();
        let preset = match refer("preset", extends, &known) {
            Ok(preset) => *preset,
            Err((code, message, help)) => {
                let mut diagnostic = Diagnostic::new(code, self.value("/extends"), message);
                diagnostic.help = help;
                self.found.push(diagnostic);
                return None;
            }
        };
        if preset.document.extends.is_some() {
            let message =
                format!("preset `{extends}` extends a preset itself, and only one level is allowed");
            self.say(Code::Reference, self.value("/extends"), message);
            return None;
        }
        let layer = Layer { file: &preset.file, spans: &preset.spans, root: String::new() };
        if !self.layers.iter().any(|known| known.file == layer.file && known.root.is_empty()) {
            self.layers.push(layer);
        }
        let base = preset.document.clone();
        macro_rules! inherit {
            ($($field:ident)*) => { $(merged.$field = merged.$field.or(base.$field);)* };
        }
        inherit!(base_url path_prefix group keys_url docs cors_headers vars caller credentials auth headers);
        inherit!(gateway egress response timeouts limits paste_token probe);
        merged.endpoint = endpoints::merge(merged.endpoint, base.endpoint);
        Some(merged)
    }

    fn provider(&mut self, spec: &spec::Provider) -> Option<Provider> {
        let vars = self.vars(spec.vars.as_ref(), RESERVED_NAMES);
        let title = self.required("title", spec.title.as_ref());
        let prefix =
            self.required("path_prefix", spec.path_prefix.as_ref()).and_then(|text| self.prefix(&text));
        let base_url = self.base_url(spec, &vars);
        let section = spec.credentials.as_ref().and_then(|credentials| self.section(credentials));
        let auth = self.auth(spec.auth.as_deref().unwrap_or_default(), section.as_ref(), &vars);
        let scope = Scope { vars: Some(&vars), words: &[("host", Name::Host)], ..Scope::default() };
        let headers = self.header_rules("/headers", spec.headers.as_ref(), scope);
        let responses = self.responses("/response", spec.response.as_deref());
        let timeouts = self.timeouts("/timeouts", spec.timeouts.as_ref(), super::Timeouts::default());
        let provider_wide = endpoints::Wide { responses: &responses, timeouts, vars: &vars };
        let endpoints = self.endpoints(spec.endpoint.as_ref(), prefix.as_deref(), &provider_wide);
        let gateways = self.gateways(spec.gateway.as_ref(), &vars);
        self.check_strips(&gateways, base_url.as_ref(), &endpoints);
        let egress = self.egresses(spec.egress.as_deref().unwrap_or_default(), &vars);
        let max_body = spec.limits.as_ref().and_then(|limits| limits.max_body.as_deref());
        let max_body = max_body.and_then(|text| self.quantity("/limits/max_body", quantity::size(text)));
        let caller = self.carriers(spec.caller.as_ref());
        let cors_headers = self.names("/cors_headers", spec.cors_headers.as_deref().unwrap_or_default());
        self.check_probe(spec.probe.as_ref(), &endpoints);
        self.check_paste_token(spec.paste_token.as_ref(), section.as_ref());
        let own = self.layers.iter().map(|layer| layer.file.clone());
        let inputs = own.chain(gateways.iter().map(|used| used.gateway.file.clone()));
        let inputs =
            inputs.chain(endpoints.iter().filter_map(|endpoint| Some(endpoint.api.as_ref()?.file.clone())));
        Some(Provider {
            name: self.name.clone(),
            inputs: inputs.collect(),
            at: At::file(self.layers[0].file),
            title: title?,
            group: spec.group.clone(),
            keys_url: spec.keys_url.clone(),
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
            max_body: max_body.unwrap_or(MAX_BODY_DEFAULT),
            paste_token: spec.paste_token.clone(),
            probe: spec.probe.clone(),
            tests: self.tests(spec.test.as_deref().unwrap_or_default()),
        })
    }

    fn tests(&self, tests: &[spec::Test]) -> Vec<Test> {
        let place = |index| self.key(&format!("/test/{index}/expect"));
        tests.iter().enumerate().map(|(index, test)| Test { spec: test.clone(), at: place(index) }).collect()
    }

    fn required(&mut self, key: &str, value: Option<&String>) -> Option<String> {
        if value.is_none() {
            let extended =
                if self.layers.len() > 1 && key != "title" { ", and its preset has none" } else { "" };
            let message = format!("the file has no `{key}`{extended}");
            let help = match key {
                "title" => "for example: title = \"Example AI\"",
                "path_prefix" => "for example: path_prefix = \"/proxy/{provider}\"; a preset may have it too",
                _ => "for example: base_url = \"https://api.example.com\"",
            };
            self.say_help(Code::MissingKey, At::file(self.layers[0].file), message, help);
        }
        value.cloned()
    }

    fn quantity<T>(&mut self, pointer: &str, made: Result<T, String>) -> Option<T> {
        match made {
            Ok(value) => Some(value),
            Err(message) => {
                let key = pointer.rsplit('/').next().unwrap_or_default();
                self.say(Code::BadValue, self.value(pointer), format!("`{key}`: {message}"));
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
                self.say_help(Code::Path, self.value("/path_prefix"), message, help);
                None
            }
        }
    }

    fn vars(&mut self, vars: Option<&BTreeMap<String, spec::Var>>, reserved: &[&str]) -> Vars {
        let mut known = Vars::new();
        for (name, var) in vars.into_iter().flatten() {
            let pointer = format!("/vars/{}", step(name));
            let at = self.key(&pointer);
            match compile_var(name, var, reserved) {
                Ok(value) => {
                    known.insert(name.clone(), Located { value, at });
                }
                Err((code, message)) => self.say(code, at, message),
            }
        }
        known
    }

    fn section(&mut self, spec: &spec::Credentials) -> Option<Section> {
        let name = spec
            .section
            .as_deref()
            .unwrap_or("providers.{provider}")
            .replace("{provider}", self.name.as_str());
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let at = self.own_value("/credentials/section");
        if !name.split('.').all(|part| !part.is_empty() && part.bytes().all(word)) {
            let message =
                format!("`{name}` cannot be a section: use words of letters, digits, `-` and `_`, with dots");
            self.say(Code::BadValue, at, message);
            return None;
        }
        let shared_with = spec.shared_with.iter().flatten().enumerate();
        let shared_with = shared_with.filter_map(|(index, other)| {
            let found = FileName::new(other);
            if found.is_none() {
                let at = self.value(&format!("/credentials/shared_with/{index}"));
                self.say(Code::Reference, at, format!("`{other}` cannot be a provider's name"));
            }
            found
        });
        let shared_with = shared_with.collect();
        let fields = self.fields(spec.field.as_deref().unwrap_or_default());
        Some(Section { name, at, shared_with, fields })
    }

    fn fields(&mut self, specs: &[spec::Field]) -> Vec<Located<spec::Field>> {
        let mut fields: Vec<Located<spec::Field>> = Vec::new();
        for (index, field) in specs.iter().enumerate() {
            let pointer = format!("/credentials/field/{index}");
            let at = self.own_value(&format!("{pointer}/name"));
            let good = field.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if field.name.is_empty() || !good {
                self.say(
                    Code::BadValue,
                    at.clone(),
                    "a field's name is made of letters, digits, `-` and `_`",
                );
            }
            if let Some(first) = fields.iter().find(|known| known.value.name == field.name) {
                let message = format!("two fields are named `{}`", field.name);
                let first = first.at.clone();
                self.found.push(
                    Diagnostic::new(Code::Name, at.clone(), message).related(first, "first declared here"),
                );
            }
            self.oauth_field(&pointer, field);
            fields.push(Located { value: field.clone(), at });
        }
        fields
    }

    /// What an `oauth2` field needs, and what any other has no use for.
    fn oauth_field(&mut self, pointer: &str, field: &spec::Field) {
        let given = [
            ("token_url", field.token_url.is_some()),
            ("client_id", field.client_id.is_some()),
            ("grant", field.grant.is_some()),
            ("refresh_before", field.refresh_before.is_some()),
            ("paste", field.paste.is_some()),
        ];
        let is_oauth = field.kind == Some(spec::FieldKind::Oauth2);
        for (key, there) in given {
            if there && !is_oauth {
                let message = format!("`{key}` means nothing here: the field's kind is not `oauth2`");
                self.say(Code::Condition, self.key(&format!("{pointer}/{key}")), message);
            }
            if !there && is_oauth && matches!(key, "token_url" | "client_id") {
                self.say(
                    Code::MissingKey,
                    self.key(pointer),
                    format!("an `oauth2` field has to have `{key}`"),
                );
            }
        }
        if let Some(url) = &field.token_url
            && let Err(message) = crate::origin::Origin::split(url)
        {
            self.say(
                Code::Url,
                self.value(&format!("{pointer}/token_url")),
                format!("cannot be a URL: {message}"),
            );
        }
        if let Some(text) = &field.refresh_before {
            self.quantity(&format!("{pointer}/refresh_before"), quantity::duration(text));
        }
        for (key, target) in field.paste.iter().flatten() {
            if !target.starts_with('/') {
                let at = self.value(&format!("{pointer}/paste/{}", step(key)));
                self.say(Code::BadValue, at, "a JSON pointer starts with `/` (RFC 6901)");
            }
        }
    }

    fn auth(&mut self, specs: &[spec::Auth], section: Option<&Section>, vars: &Vars) -> Vec<Auth> {
        let scope = Scope { vars: Some(vars), words: &[("secret", Name::Secret)], ..Scope::default() };
        let known: Vec<&str> =
            section.iter().flat_map(|s| &s.fields).map(|field| field.value.name.as_str()).collect();
        let mut entries = Vec::new();
        for (index, auth) in specs.iter().enumerate() {
            let pointer = format!("/auth/{index}");
            if !known.contains(&auth.field.as_str()) {
                let at = self.value(&format!("{pointer}/field"));
                let help = match nearest(&auth.field, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => "declare it under `[[credentials.field]]`".to_owned(),
                    None => format!("known fields: {}", backticked(&known)),
                };
                let message = format!("`{}` is no field of the credentials section", auth.field);
                self.say_help(Code::Reference, at, message, help);
            }
            let set = self.header_values(&format!("{pointer}/set"), Some(&auth.set), scope);
            if set.is_empty() && auth.set.is_empty() {
                self.say(
                    Code::Condition,
                    self.key(&format!("{pointer}/set")),
                    "an auth entry that sets no header",
                );
            }
            if let Some(first) = taken_by(&specs[..index], &auth.field) {
                let message = format!("never reached: an entry above takes every `{}`", auth.field);
                let at = self.key(&format!("/auth/{first}"));
                let diagnostic = Diagnostic::new(Code::Condition, self.key(&pointer), message);
                self.found
                    .push(diagnostic.related(at, "this one").help("give that one a `match`, or put it last"));
            }
            let matches = auth.r#match.as_deref().map(Glob::new);
            entries.push(Auth { field: auth.field.clone(), matches, set });
        }
        entries
    }

    fn carriers(&mut self, spec: Option<&spec::Caller>) -> Carriers {
        let Some(spec) = spec else { return Carriers::default() };
        let headers = self.names("/caller/headers", spec.headers.as_deref().unwrap_or_default());
        for (index, name) in headers.iter().enumerate() {
            if matches!(safety::request(name.as_str()), safety::Class::Managed) {
                let at = self.value(&format!("/caller/headers/{index}"));
                self.say(
                    Code::Header,
                    at,
                    format!("`{name}` belongs to the connection and cannot carry a token"),
                );
            }
        }
        Carriers { headers, query: spec.query.clone().unwrap_or_default() }
    }

    fn check_probe(&mut self, probe: Option<&spec::Probe>, endpoints: &[super::Endpoint]) {
        let Some(probe) = probe else { return };
        if !endpoints.iter().any(|endpoint| endpoint.name == probe.endpoint) {
            let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
            let message = format!("there is no endpoint `{}`", probe.endpoint);
            let help = format!("known endpoints: {}", backticked(&names));
            self.say_help(Code::Reference, self.value("/probe/endpoint"), message, help);
        }
    }

    fn check_paste_token(&mut self, paste: Option<&spec::PasteToken>, section: Option<&Section>) {
        let Some(paste) = paste else { return };
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good =
            paste.path.strip_prefix("/auth/").is_some_and(|name| !name.is_empty() && name.bytes().all(word));
        if !good {
            let message = "it has to be `/auth/` and one segment of lower-case letters, digits and `-`";
            self.say(Code::Path, self.value("/paste_token/path"), message);
        }
        let login =
            section.iter().flat_map(|s| &s.fields).any(|f| f.value.kind == Some(spec::FieldKind::Oauth2));
        if !login {
            let message =
                "a paste token stands for a login, but the credentials section has no `oauth2` field";
            self.say(Code::Reference, self.key("/paste_token"), message);
        }
        for (claim, value) in &paste.claims {
            self.check_claim(&format!("/paste_token/claims/{}", step(claim)), value);
        }
    }

    fn check_claim(&mut self, pointer: &str, value: &serde_json::Value) {
        let Some(table) = value.as_object() else { return };
        let Some(generator) = table.get("gen") else {
            table
                .iter()
                .for_each(|(key, value)| self.check_claim(&format!("{pointer}/{}", step(key)), value));
            return;
        };
        if !matches!(generator.as_str(), Some("uuid" | "hex24" | "now")) {
            let at = self.value(&format!("{pointer}/gen"));
            self.say(Code::BadValue, at, "`gen` is none of `uuid`, `hex24`, `now`");
        }
        for (key, value) in table {
            if key != "gen" && !(key == "prefix" && value.is_string()) {
                let at = self.key(&format!("{pointer}/{}", step(key)));
                self.say(
                    Code::UnknownKey,
                    at,
                    format!("a generated claim has `gen` and a text `prefix`, not `{key}`"),
                );
            }
        }
    }

    fn names(&mut self, pointer: &str, names: &[String]) -> Vec<HeaderName> {
        let each = |(index, name): (usize, &String)| self.header_name(&format!("{pointer}/{index}"), name);
        names.iter().enumerate().filter_map(each).collect()
    }

    fn template(&mut self, pointer: &str, text: &str, scope: Scope<'_>) -> Option<Text> {
        match parse_template(text, self.name, scope) {
            Ok(template) => Some(template),
            Err((code, message, help)) => {
                let mut diagnostic = Diagnostic::new(code, self.value(pointer), message);
                diagnostic.help = help;
                self.found.push(diagnostic);
                None
            }
        }
    }
}

/// The entry among those before that takes every secret of a field.
fn taken_by(before: &[spec::Auth], field: &str) -> Option<usize> {
    before.iter().position(|auth| auth.field == field && auth.r#match.is_none())
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    let pattern = super::Pattern::parse(prefix)?;
    if !pattern.captures().is_empty() {
        return Err("it holds a capture".into());
    }
    check_reserved(prefix)
}

fn check_reserved(path: &str) -> Result<(), String> {
    let first = path[1..].split('/').next().unwrap_or_default();
    if RESERVED.contains(&first) {
        Err(format!("`/{first}` is tollgate's own: choose another first segment"))
    } else {
        Ok(())
    }
}

fn compile_var(name: &str, var: &spec::Var, reserved: &[&str]) -> Result<Var, (Code, String)> {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.bytes().all(word) {
        return Err((Code::Name, format!("`{name}` cannot be a var's name: use `[a-z][a-z0-9_]*`")));
    }
    if reserved.contains(&name) {
        return Err((
            Code::Name,
            format!("`{name}` has a meaning of its own in templates: choose another name"),
        ));
    }
    let source = match (&var.env, &var.file) {
        (Some(env), None) if env.starts_with("TOLLGATE_") => {
            return Err((
                Code::Var,
                format!("`{env}` is a setting of tollgate's own, which no file can read"),
            ));
        }
        (Some(env), None) if env.is_empty() || env.contains(['=', '\0']) => {
            return Err((Code::Var, "`env` is not the name of an environment variable".into()));
        }
        (Some(env), None) => VarSource::Env(env.clone()),
        (None, Some(file))
            if file.is_empty() || file.starts_with('.') || file.contains(['/', '\\', '\0']) =>
        {
            return Err((
                Code::Var,
                "`file` is a plain file name below the secrets directory, without slashes".into(),
            ));
        }
        (None, Some(file)) => VarSource::File(file.clone()),
        (None, None) => {
            return Err((Code::Var, format!("var `{name}` has neither `env` nor `file`")));
        }
        (Some(_), Some(_)) => {
            return Err((
                Code::Var,
                format!("var `{name}` has both `env` and `file`: one of them is enough"),
            ));
        }
    };
    Ok(Var { source, optional: var.optional.unwrap_or(false), secret: var.secret.unwrap_or(false) })
}

type TemplateError = (Code, String, Option<String>);

fn parse_template(text: &str, provider: &FileName, scope: Scope<'_>) -> Result<Text, TemplateError> {
    let code = Cell::new(Code::Template);
    let help = Cell::new(None);
    let parsed = Template::parse(text, |name| {
        if name == "provider" {
            return Ok(Known::Text(provider.as_str().to_owned()));
        }
        if let Some((_, word)) = scope.words.iter().find(|(known, _)| *known == name) {
            return Ok(Known::Name(word.clone()));
        }
        if let Some(index) = scope.captures.iter().position(|known| known == name) {
            return Ok(Known::Name(Name::Capture(u8::try_from(index).expect("a path has few captures"))));
        }
        if let Some(var) = scope.vars.and_then(|vars| vars.get(name)) {
            if var.value.optional && !scope.when.iter().any(|set| set == name) {
                code.set(Code::OptionalVar);
                help.set(Some("use it where a `when` names it, or drop `optional`".to_owned()));
                return Err(format!("var `{name}` is optional, and may be unset here"));
            }
            return Ok(Known::Name(Name::Var(name.into())));
        }
        help.set(Some(known_names(name, scope)));
        Err(format!("`{{{name}}}` stands for nothing here"))
    });
    parsed.map_err(|message| (code.get(), message, help.take()))
}

fn known_names(name: &str, scope: Scope<'_>) -> String {
    let mut known = vec!["provider".to_owned()];
    known.extend(scope.words.iter().map(|(word, _)| (*word).to_owned()));
    known.extend(scope.captures.iter().cloned());
    known.extend(scope.vars.into_iter().flatten().map(|(name, _)| name.clone()));
    let vars = if scope.vars.is_some() { "; a var is declared under `[vars]`" } else { "" };
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None => format!("known here: {}{vars}", backticked(&known)),
    }
}
