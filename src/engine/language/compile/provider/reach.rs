//! Compiles the way to the upstream: base URL, gateways and egresses.

use std::collections::BTreeMap;

use super::{
    Compiler, FieldScope, Layer, RESERVED_NAMES, Shared, TemplateScope, authority,
    endpoints::check_upstream_path, resolve,
};
use crate::{
    base::{
        budget::Budgets,
        diag::{Code, Diagnostic},
        name::FileName,
        origin::Origin,
        suggest::backticked,
    },
    language::{
        compile::{
            Compilation, Egress, Endpoint, Gateway, GatewayUse, Located, Placeholder, ProviderTemplate,
            Section, Template, Vars, template::Resolved,
        },
        syntax::{self, Parsed, pointer_step},
    },
};

/// Compiles a gateway file.
pub(crate) fn gateway(
    name: &FileName,
    parsed: &Parsed<syntax::Gateway>,
    budgets: &Budgets,
) -> Compilation<Gateway> {
    let shared = Shared::default();
    let layer = Layer::whole(parsed);
    let budget = &*budgets.of(&parsed.file);
    let mut compiler = Compiler { name, layers: vec![layer], shared: &shared, found: Vec::new(), budget };
    let document = &parsed.document;
    let vars = compiler.vars(Some(&document.vars), RESERVED_NAMES);
    // A gateway is active only if all its vars are set.
    let all: Vec<String> = vars.keys().cloned().collect();
    let scope = TemplateScope { vars: Some(&vars), when: &all, ..TemplateScope::default() };
    let base_url = compiler.url("/base_url", &document.base_url, scope);
    let overlay = compiler.overlay("/headers", document.headers.as_ref(), scope);
    if vars.values().all(|var| var.value.default.is_some()) && vars.len() == document.vars.len() {
        let message = "a gateway without vars, or with a default for each, would always be used";
        compiler.report_with_help(
            Code::Condition,
            compiler.key("/vars"),
            message,
            "give it at least one var",
        );
    }
    let gateway = base_url.filter(|_| compiler.found.is_empty());
    let file = parsed.file.clone();
    (gateway.map(|base_url| Gateway { name: name.clone(), file, vars, base_url, overlay }), compiler.found)
}

impl Compiler<'_> {
    pub(super) fn base_url(
        &mut self,
        spec: &syntax::Provider,
        vars: &Vars,
        fields: Option<&Section>,
    ) -> Option<Located<ProviderTemplate>> {
        let text = self.required("base_url", spec.base_url.as_ref())?;
        self.base_url_at("/base_url", &text, vars, fields)
    }

    /// A base URL with the fields of the section.
    pub(super) fn base_url_at(
        &mut self,
        pointer: &str,
        text: &str,
        vars: &Vars,
        fields: Option<&Section>,
    ) -> Option<Located<ProviderTemplate>> {
        let scope = TemplateScope {
            vars: Some(vars),
            fields: FieldScope::of_url(fields),
            ..TemplateScope::default()
        };
        let url = self.url(pointer, text, scope)?;
        let good = fields.is_none_or(|section| self.check_authority(pointer, &url.value, section, vars));
        good.then_some(url)
    }

    /// The URL of a request to a token endpoint.
    pub(crate) fn token_url(
        &mut self,
        pointer: &str,
        text: &str,
        (vars, section): (&Vars, Option<&Section>),
    ) -> Option<Located<ProviderTemplate>> {
        let scope = TemplateScope {
            vars: Some(vars),
            fields: FieldScope::of_url(section),
            ..TemplateScope::default()
        };
        let url = self.url(pointer, text, scope)?;
        let good = section.is_none_or(|section| self.check_authority(pointer, &url.value, section, vars));
        good.then_some(url)
    }

    /// Checks the fields in the authority of a base URL: a whole origin at its start, or a part of a label before a fixed
    /// suffix, so that no value can lead to another domain.
    fn check_authority(
        &mut self,
        pointer: &str,
        url: &ProviderTemplate,
        section: &Section,
        vars: &Vars,
    ) -> bool {
        let problem = match authority::check(url, &section.values, vars) {
            Ok(()) => return true,
            Err(problem) => problem,
        };
        let (message, help) = (problem.to_string(), problem.help());
        self.report_with_help(Code::Url, self.value(pointer), message, help);
        false
    }

    /// Compiles a base URL: no placeholders but vars, no query.
    fn url(
        &mut self,
        pointer: &str,
        text: &str,
        scope: TemplateScope<'_>,
    ) -> Option<Located<ProviderTemplate>> {
        let template = self.template(pointer, text, scope)?;
        match Origin::split(&assume(&template)) {
            Err(message) => {
                let message = format!("cannot be a base URL: {message}");
                let help = if text.contains("${") {
                    "a name is written without `$`: `{name}`"
                } else {
                    "for example: \"https://api.example.com/v1\""
                };
                self.report_with_help(Code::Url, self.value(pointer), message, help);
                None
            }
            Ok((_, tail)) if tail.contains(['?', '#']) => {
                let (message, help) = if pointer.starts_with("/token/") {
                    (
                        "a token endpoint's URL has no query and no fragment",
                        "send it as `form`, `json` or `headers`",
                    )
                } else {
                    let help = "what each request carries in its query stands in an endpoint's `query`";
                    ("a base URL has no query and no fragment", help)
                };
                self.report_with_help(Code::Url, self.value(pointer), message, help);
                None
            }
            Ok((_, tail)) if !tail.is_empty() && check_upstream_path(tail).is_err() => {
                self.report(
                    Code::Url,
                    self.value(pointer),
                    "a base URL's path is plain: no `//`, no `..`, no space or control character",
                );
                None
            }
            Ok(_) => Some(Located { value: template, at: self.value(pointer) }),
        }
    }

    pub(super) fn gateways(
        &mut self,
        specs: Option<&BTreeMap<String, syntax::GatewayUse>>,
        vars: &Vars,
        fields: Option<&Section>,
    ) -> Vec<GatewayUse> {
        let mut uses = Vec::new();
        for (name, spec) in specs.into_iter().flatten() {
            let pointer = format!("/gateway/{}", pointer_step(name));
            let when = spec.when.clone().unwrap_or_default();
            self.check_when(&pointer, &when, vars);
            let scope = TemplateScope {
                vars: Some(vars),
                when: &when,
                words: &[("path", Placeholder::Path)],
                fields: FieldScope::of_url(fields),
                ..TemplateScope::default()
            };
            let path = self.template(&format!("{pointer}/path"), &spec.path, scope);
            self.check_gateway_path(&format!("{pointer}/path"), spec, path.as_ref());
            let strip = spec.strip.clone().unwrap_or_default();
            if !is_whole_segments(&strip) {
                let at = self.value(&format!("{pointer}/strip"));
                let message =
                    "`strip` is made of whole segments: it starts with `/` and does not end with one";
                self.report(Code::Strip, at, message);
            }
            let gateway = match resolve("gateway", name, &self.shared.gateways, || self.key(&pointer)) {
                Ok(gateway) => gateway.clone(),
                Err(unresolved) => {
                    self.add(unresolved);
                    continue;
                }
            };
            let at = self.key(&pointer);
            uses.extend(path.map(|path| GatewayUse { gateway, strip, path, when, order: spec.order, at }));
        }
        uses
    }

    fn check_gateway_path(
        &mut self,
        pointer: &str,
        spec: &syntax::GatewayUse,
        path: Option<&ProviderTemplate>,
    ) {
        let holds_path = path.is_none_or(|path| path.placeholders().any(|name| *name == Placeholder::Path));
        let problem = match check_upstream_path(&spec.path) {
            Ok(()) if holds_path => return,
            Ok(()) => "it does not hold `{path}`, the upstream's path",
            Err(_) if spec.path.contains('?') => "it cannot have a query",
            Err(problem) => problem,
        };
        let help = "for example: \"/example{path}\"";
        self.report_with_help(
            Code::Path,
            self.value(pointer),
            format!("cannot be a gateway's path: {problem}"),
            help,
        );
    }

    /// Checks that `strip` is a prefix of every endpoint's upstream path. `bind` checks base paths with vars.
    pub(super) fn check_strips(
        &mut self,
        uses: &[GatewayUse],
        base: Option<&Located<ProviderTemplate>>,
        endpoints: &[Endpoint],
    ) {
        let Some(base) = base else { return };
        let Some(base) = base.value.as_text() else { return };
        let base_path = Origin::split(base).map_or("", |(_, path)| path.trim_end_matches('/'));
        for one in uses.iter().filter(|one| is_whole_segments(&one.strip)) {
            for endpoint in endpoints {
                if !self.budget.work(1 + base_path.len() / 32) {
                    return;
                }
                let front = format!("{base_path}{}", endpoint.upstream_path.leading_text());
                let after = front.strip_prefix(one.strip.as_str());
                let fits = after.is_some_and(|after| after.is_empty() || after.starts_with('/'));
                if !fits {
                    let name = one.gateway.name.as_str();
                    let at = self.value(&format!("/gateway/{}/strip", pointer_step(name)));
                    let message = format!(
                        "`{}` is not the front of endpoint `{}`'s upstream path",
                        one.strip, endpoint.name
                    );
                    let diagnostic = Diagnostic::new(Code::Strip, at, message);
                    self.add(
                        diagnostic
                            .related(endpoint.at.clone(), format!("its upstream path starts `{front}`")),
                    );
                }
            }
        }
    }

    pub(super) fn egresses(&mut self, specs: &[syntax::Egress], vars: &Vars) -> Vec<Egress> {
        let mut egresses = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let pointer = format!("/egress/{index}");
            let when = spec.when.clone().unwrap_or_default();
            self.check_when(&pointer, &when, vars);
            let scope = TemplateScope { vars: Some(vars), when: &when, ..TemplateScope::default() };
            let overlay = self.overlay(&format!("{pointer}/headers"), spec.headers.as_ref(), scope);
            let url =
                spec.url.as_ref().and_then(|text| self.egress_url(&format!("{pointer}/url"), text, scope));
            let at = self.key(&pointer);
            if spec.url.is_none() && spec.headers.as_ref().is_none_or(is_empty) {
                let help = "give it a `url`, or `headers` to set or remove";
                self.report_with_help(Code::Condition, at.clone(), "an egress that changes nothing", help);
            }
            egresses.push(Egress { when, url, overlay, at });
        }
        egresses
    }

    fn egress_url(
        &mut self,
        pointer: &str,
        text: &str,
        scope: TemplateScope<'_>,
    ) -> Option<ProviderTemplate> {
        let scope = TemplateScope { words: &[("url", Placeholder::Url)], ..scope };
        let template = self.template(pointer, text, scope)?;
        // The whole authority must precede `{url}`: no upstream URL may become part of it.
        match Origin::split(&assume(&template)) {
            Err(_) | Ok((_, "")) if matches!(first_name(&template), Some(Placeholder::Url)) => {
                let help = "for example: \"https://egress.example.com/?target={url|urlencode}\"";
                self.report_with_help(
                    Code::Url,
                    self.value(pointer),
                    "`{url}` cannot stand in a URL's host: what the proxy is called comes before it",
                    help,
                );
                None
            }
            Err(message) => {
                self.report(Code::Url, self.value(pointer), format!("cannot be a URL: {message}"));
                None
            }
            Ok(_) if template.mixes_queries(|name| *name == Placeholder::Url) => {
                let message =
                    "`{url}` as it is cannot stand beside a query: the client's own would add to it";
                self.report_with_help(Code::Url, self.value(pointer), message, "write `{url|urlencode}`");
                None
            }
            Ok(_) => Some(template),
        }
    }

    fn check_when(&mut self, pointer: &str, when: &[String], vars: &Vars) {
        for (index, name) in when.iter().enumerate() {
            if !vars.contains_key(name) {
                let at = self.value(&format!("{pointer}/when/{index}"));
                let known: Vec<_> = vars.keys().collect();
                let help = if known.is_empty() {
                    "declare it under `[vars]`".into()
                } else {
                    format!("known vars: {}", backticked(&known))
                };
                self.report_with_help(Code::Reference, at, format!("there is no var `{name}`"), help);
            } else if vars.get(name).is_some_and(|var| var.value.default.is_some()) {
                let at = self.value(&format!("{pointer}/when/{index}"));
                let message = format!("var `{name}` has a default, so that it is always set");
                self.report_with_help(Code::Condition, at, message, "remove the default, or this condition");
            }
        }
    }
}

/// The first placeholder that is neither var nor field.
fn first_name(template: &ProviderTemplate) -> Option<&Placeholder> {
    template.placeholders().find(|name| !matches!(name, Placeholder::Var(_) | Placeholder::Field(_)))
}

fn is_empty(overlay: &syntax::Overlay) -> bool {
    overlay.remove.as_ref().is_none_or(Vec::is_empty)
        && overlay.set.as_ref().is_none_or(syntax::StringMap::is_empty)
}

fn is_whole_segments(strip: &str) -> bool {
    strip.is_empty() || strip.starts_with('/') && !strip.ends_with('/')
}

/// The URL up to the first placeholder that is no var, with a sample value for each var, to check that it can be a URL. A
/// var at the front holds a whole origin.
fn assume(template: &ProviderTemplate) -> String {
    let mut first = true;
    let known: Template<()> = template.resolve(|name| match name {
        Placeholder::Var(_) | Placeholder::Field(_)
            if std::mem::take(&mut first) && template.leading_text().is_empty() =>
        {
            Resolved::Text("https://x".into())
        }
        Placeholder::Var(_) | Placeholder::Field(_) => Resolved::Text("x".into()),
        Placeholder::Capture(_)
        | Placeholder::Host
        | Placeholder::Generated(_)
        | Placeholder::Secret
        | Placeholder::Token(_)
        | Placeholder::Path
        | Placeholder::Url => Resolved::Placeholder(()),
    });
    known.leading_text().to_owned()
}
