//! Compiles rules for headers, query and responses, and timeouts.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{Compiler, TemplateScope};
use crate::{
    base::{
        diag::{Code, Diagnostic},
        header_name::FoldedName,
    },
    language::{
        auth,
        compile::{
            Glob, HeaderGlob, HeaderRules, Overlay, Placeholder, Provider, ProviderTemplate, QueryRules,
            ResponseRule, Timeouts,
            filter::Filters,
            quantity::duration,
            safety::{self, HeaderClass},
        },
        syntax::{self, pointer_step},
    },
};

impl Compiler<'_> {
    pub(crate) fn header_name(&mut self, pointer: &str, text: &str) -> Option<HeaderName> {
        self.header_name_of(pointer, text, text)
    }

    /// Parses a header's name. `written`: its text in the file, for messages.
    fn header_name_of(&mut self, pointer: &str, text: &str, written: &str) -> Option<HeaderName> {
        let name = HeaderName::from_bytes(text.as_bytes());
        if name.is_err() {
            let message = if written.is_empty() {
                "a header's name cannot be empty".to_owned()
            } else {
                format!("`{}` cannot be a header's name", written.escape_debug())
            };
            let help = "a name is of letters, digits, `-` and `_`, without spaces or `:`";
            self.report_with_help(Code::Header, self.key(pointer), message, help);
        }
        name.ok()
    }

    pub(super) fn header_rules(
        &mut self,
        pointer: &str,
        spec: Option<&syntax::Headers>,
        scope: TemplateScope<'_>,
    ) -> HeaderRules {
        let Some(spec) = spec else { return HeaderRules::default() };
        let pass = self.globs(&format!("{pointer}/pass"), spec.pass.as_deref());
        for (index, glob) in pass.iter().enumerate() {
            if !safety::may_pass(glob.as_str()) {
                let at = self.value(&format!("{pointer}/pass/{index}"));
                let message = format!("`{}` cannot be let through", glob.as_str());
                let help = "only forwarding and client-address headers, `cf-*`, `origin` and `referer` can";
                self.report_with_help(Code::Header, at, message, help);
            }
        }
        HeaderRules {
            at: Some(self.key(pointer)),
            pass,
            remove: self.globs(&format!("{pointer}/remove"), spec.remove.as_deref()),
            default: self.header_texts(&format!("{pointer}/default"), spec.default.as_ref(), scope),
            set: self.header_texts(&format!("{pointer}/set"), spec.set.as_ref(), scope),
            add: self.list_members(&format!("{pointer}/add"), spec.add.as_ref(), scope),
        }
    }

    pub(super) fn overlay(
        &mut self,
        pointer: &str,
        spec: Option<&syntax::Overlay>,
        scope: TemplateScope<'_>,
    ) -> Overlay {
        let Some(spec) = spec else { return Overlay::default() };
        Overlay {
            remove: self.globs(&format!("{pointer}/remove"), spec.remove.as_deref()),
            set: self.header_values(&format!("{pointer}/set"), spec.set.as_ref(), scope),
        }
    }

    /// Globs on header names.
    pub(super) fn globs(&mut self, pointer: &str, globs: Option<&[String]>) -> Vec<HeaderGlob> {
        let mut compiled = Vec::new();
        for (index, text) in globs.unwrap_or_default().iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            if let Err(problem) = Glob::check(text) {
                self.report(Code::Header, self.value(&pointer), format!("a glob that {problem}"));
                continue;
            }
            let stand_in = text.replace('*', "x");
            if self.header_name_of(&pointer, &stand_in, text).is_some() {
                compiled.push(HeaderGlob::new(text));
            }
        }
        compiled
    }

    pub(crate) fn header_values(
        &mut self,
        pointer: &str,
        values: Option<&syntax::StringMap>,
        scope: TemplateScope<'_>,
    ) -> Vec<(HeaderName, ProviderTemplate)> {
        let mut compiled: Vec<(HeaderName, ProviderTemplate)> = Vec::new();
        for (key, text) in values.into_iter().flatten() {
            let pointer = format!("{pointer}/{}", pointer_step(key));
            let Some(name) = self.written_name(&pointer, key, &compiled) else { continue };
            if self.is_value(&pointer, text)
                && let Some(template) = self.template(&pointer, text, scope)
            {
                compiled.push((name, template));
            }
        }
        compiled
    }

    /// Values that may be generated.
    fn header_texts(
        &mut self,
        pointer: &str,
        values: Option<&BTreeMap<String, syntax::HeaderText>>,
        scope: TemplateScope<'_>,
    ) -> Vec<(HeaderName, ProviderTemplate)> {
        let mut compiled: Vec<(HeaderName, ProviderTemplate)> = Vec::new();
        for (key, value) in values.into_iter().flatten() {
            let pointer = format!("{pointer}/{}", pointer_step(key));
            let Some(name) = self.written_name(&pointer, key, &compiled) else { continue };
            let template = match value {
                syntax::HeaderText::Text(text) if self.is_value(&pointer, text) => {
                    self.template(&pointer, text, scope)
                }
                syntax::HeaderText::Generated(generated) => self.generated(&pointer, generated),
                syntax::HeaderText::Text(_) => None,
            };
            compiled.extend(template.map(|template| (name, template)));
        }
        compiled
    }

    /// The template of a generated value: its prefix, which is no template, and the placeholder of its generator.
    fn generated(&mut self, pointer: &str, generated: &syntax::Generated) -> Option<ProviderTemplate> {
        let syntax::Generated { generator, prefix } = generated;
        let prefix = prefix.as_deref().unwrap_or_default();
        if !self.is_value(&format!("{pointer}/prefix"), prefix) {
            return None;
        }
        let mut template = ProviderTemplate::text(prefix);
        template.append(
            &ProviderTemplate::placeholder(Placeholder::Generated(*generator), Filters::default()),
            false,
        );
        Some(template)
    }

    /// The name of a header that a rule writes, beside others of its table.
    fn written_name(
        &mut self,
        pointer: &str,
        key: &str,
        others: &[(HeaderName, ProviderTemplate)],
    ) -> Option<HeaderName> {
        let name = self.header_name(pointer, key)?;
        if safety::request(&(&name).into()) == HeaderClass::Managed {
            let message = format!("`{name}` is the engine's own: framing and connection cannot be set");
            self.report(Code::Header, self.key(pointer), message);
            return None;
        }
        if others.iter().any(|(known, _)| *known == name) {
            let message = format!("`{name}` is set twice, in different cases");
            self.report(Code::Name, self.key(pointer), message);
        }
        Some(name)
    }

    /// Reports a text that no header can have.
    fn is_value(&mut self, pointer: &str, text: &str) -> bool {
        let is_good = text.is_ascii() && HeaderValue::from_str(text).is_ok();
        if !is_good {
            let message = "a header's value cannot hold control or non-ASCII characters";
            self.report(Code::Header, self.value(pointer), message);
        }
        is_good
    }

    /// Members for headers that are lists.
    pub(crate) fn list_members(
        &mut self,
        pointer: &str,
        values: Option<&syntax::StringMap>,
        scope: TemplateScope<'_>,
    ) -> Vec<(HeaderName, ProviderTemplate)> {
        let compiled = self.header_values(pointer, values, scope);
        for (key, text) in values.into_iter().flatten() {
            let pointer = format!("{pointer}/{}", pointer_step(key));
            if text.split(',').all(|member| member.trim_ascii().is_empty()) {
                let help = "write the member to add, for example: \"feature-1\"";
                self.report_with_help(Code::Condition, self.value(&pointer), "it adds nothing", help);
            }
            if safety::request(&FoldedName::of(key)) == HeaderClass::Stripped {
                let message = format!("`{key}` of the client is always removed: there is no list to add to");
                let help = "write it in `set`";
                self.report_with_help(Code::Header, self.key(&pointer), message, help);
            }
        }
        compiled
    }

    /// A header that the file sets anywhere is removed from every client's request: nothing is there to add to.
    pub(super) fn check_added(&mut self, spec: &syntax::Provider, provider: &Provider) {
        let claimed = provider.claimed();
        let tables = spec.endpoint.iter().flatten().filter_map(|(name, entry)| match entry {
            syntax::EndpointEntry::Table(endpoint) => {
                Some((format!("/endpoint/{}/headers", pointer_step(name)), endpoint.headers.as_ref()?))
            }
            syntax::EndpointEntry::Removed => None,
        });
        let tables = tables.chain(spec.headers.iter().map(|headers| ("/headers".to_owned(), headers)));
        let added = |(table, headers): (String, &'_ syntax::Headers)| {
            let keys: Vec<String> = headers.add.iter().flat_map(|added| added.keys().cloned()).collect();
            (table, keys)
        };
        let auth = spec.auth.iter().flatten().enumerate();
        let auth =
            auth.map(|(index, entry)| (format!("/auth/{index}"), auth::added(entry).cloned().collect()));
        for (table, keys) in tables.map(added).chain(auth) {
            for key in &keys {
                let folded = FoldedName::of(key);
                if claimed.iter().any(|name| FoldedName::from(name) == folded) {
                    let message = format!("`{key}` is set elsewhere, so that the client's own is removed");
                    let help = "write it in `add` alone, or all of its value in `set`";
                    let at = self.key(&format!("{table}/add/{}", pointer_step(key)));
                    self.report_with_help(Code::Condition, at, message, help);
                }
            }
        }
    }

    /// A query parameter that a credential sets, and an endpoint too: the upstream would get two of one name.
    pub(super) fn check_parameters(&mut self, spec: &syntax::Provider) {
        let auth = spec.auth.iter().flatten().enumerate();
        let written: Vec<(usize, &String)> = auth
            .flat_map(|(index, entry)| auth::parameters(entry).map(move |(name, _)| (index, name)))
            .collect();
        for (name, entry) in spec.endpoint.iter().flatten().filter(|_| !written.is_empty()) {
            let syntax::EndpointEntry::Table(endpoint) = entry else { continue };
            let Some(query) = &endpoint.query else { continue };
            let front = format!("/endpoint/{}/query", pointer_step(name));
            for (key, rules) in [("default", &query.default), ("set", &query.set)] {
                for parameter in rules.iter().flatten().map(|(parameter, _)| parameter) {
                    let Some((index, _)) = written.iter().find(|(_, known)| *known == parameter) else {
                        continue;
                    };
                    let message =
                        format!("`{parameter}` is set by `[[auth]]` too: the upstream would get both");
                    let step = pointer_step(parameter);
                    let at = self.key(&format!("{front}/{key}/{step}"));
                    let other = self.key(&format!("/auth/{index}/query/{step}"));
                    let finding = Diagnostic::new(Code::Condition, at, message);
                    self.add(finding.related(other, "the credential").help("drop one of the two"));
                }
            }
        }
    }

    /// Headers of responses whose URLs come back through tollgate.
    pub(super) fn rewrite_urls(&mut self, spec: Option<&syntax::ResponseHeaders>) -> Vec<HeaderName> {
        let pointer = "/response_headers/rewrite_urls";
        let mut names: Vec<HeaderName> = Vec::new();
        for (index, text) in spec.iter().flat_map(|spec| spec.rewrite_urls.iter().flatten()).enumerate() {
            let pointer = format!("{pointer}/{index}");
            let Some(name) = self.header_name(&pointer, text) else { continue };
            let problem = if names.contains(&name) {
                Some((Code::Name, format!("`{name}` is named twice")))
            } else if safety::is_removed_from_response(name.as_str()) {
                Some((Code::Header, format!("`{name}` is removed from every response")))
            } else if safety::request(&(&name).into()) == HeaderClass::Managed {
                Some((Code::Header, format!("`{name}` is the engine's own, and no URL")))
            } else {
                None
            };
            match problem {
                Some((code, message)) => self.report(code, self.value(&pointer), message),
                None => names.push(name),
            }
        }
        names
    }

    pub(super) fn query_rules(
        &mut self,
        pointer: &str,
        spec: Option<&syntax::Query>,
        scope: TemplateScope<'_>,
    ) -> QueryRules {
        let Some(spec) = spec else { return QueryRules::default() };
        let mut values = |kind: &str, values: Option<&syntax::StringMap>| {
            let each = |(key, text): (&String, &String)| {
                let template =
                    self.template(&format!("{pointer}/{kind}/{}", pointer_step(key)), text, scope)?;
                Some((key.clone(), template))
            };
            values.into_iter().flatten().filter_map(each).collect()
        };
        let default = values("default", spec.default.as_ref());
        let set = values("set", spec.set.as_ref());
        QueryRules { remove: spec.remove.clone().unwrap_or_default(), default, set }
    }

    pub(super) fn timeouts(
        &mut self,
        pointer: &str,
        spec: Option<&syntax::Timeouts>,
        base: Timeouts,
    ) -> Timeouts {
        let Some(spec) = spec else { return base };
        let mut one = |key: &str, text: Option<&String>, base| match text {
            Some(text) => self.quantity(&format!("{pointer}/{key}"), duration(text)).unwrap_or(base),
            None => base,
        };
        Timeouts {
            connect: one("connect", spec.connect.as_ref(), base.connect),
            first_byte: one("first_byte", spec.first_byte.as_ref(), base.first_byte),
            idle: one("idle", spec.idle.as_ref(), base.idle),
        }
    }

    pub(super) fn responses(
        &mut self,
        pointer: &str,
        specs: Option<&[syntax::Response]>,
    ) -> Vec<ResponseRule> {
        let mut rules = Vec::new();
        for (index, rule) in specs.unwrap_or_default().iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            let scope = TemplateScope { words: &[("host", Placeholder::Host)], ..TemplateScope::default() };
            let message = self.template(&format!("{pointer}/reply/message"), &rule.reply.message, scope);
            let Ok(reply_status) = StatusCode::from_u16(rule.reply.status) else { continue };
            if rule.when.content_type.as_deref() == Some("") {
                let at = self.value(&format!("{pointer}/when/content_type"));
                self.report_with_help(
                    Code::Condition,
                    at,
                    "no content type is empty",
                    "for example: \"text/html*\"",
                );
            }
            if rule.when.status.is_none() && rule.when.content_type.is_none() {
                let help = "name a `status`, a `content_type`, or both";
                self.report_with_help(
                    Code::Condition,
                    self.key(&format!("{pointer}/when")),
                    "it holds for every answer",
                    help,
                );
            }
            if let Some(Err(problem)) = rule.when.content_type.as_deref().map(Glob::check) {
                let at = self.value(&format!("{pointer}/when/content_type"));
                self.report(Code::BadValue, at, format!("a glob that {problem}"));
            }
            let content_type =
                rule.when.content_type.as_ref().map(|glob| Glob::new(&glob.to_ascii_lowercase()));
            if let Some(message) = message {
                rules.push(ResponseRule { status: rule.when.status, content_type, reply_status, message });
            }
        }
        rules
    }
}
