//! Compiles rules for headers, query and responses, and timeouts.

use http::{HeaderName, HeaderValue, StatusCode};

use super::{Compiler, TemplateScope};
use crate::{
    base::diag::Code,
    language::{
        compile::{
            Glob, HeaderGlob, HeaderRules, Overlay, Placeholder, ProviderTemplate, QueryRules, ResponseRule,
            Timeouts,
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
            default: self.header_values(&format!("{pointer}/default"), spec.default.as_ref(), scope),
            set: self.header_values(&format!("{pointer}/set"), spec.set.as_ref(), scope),
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
            let Some(name) = self.header_name(&pointer, key) else { continue };
            if safety::request(&(&name).into()) == HeaderClass::Managed {
                let message = format!("`{name}` is the engine's own: framing and connection cannot be set");
                self.report(Code::Header, self.key(&pointer), message);
                continue;
            }
            if compiled.iter().any(|(known, _)| *known == name) {
                self.report(
                    Code::Name,
                    self.key(&pointer),
                    format!("`{name}` is set twice, in different cases"),
                );
            }
            if !text.is_ascii() || HeaderValue::from_str(text).is_err() {
                let message = "a header's value cannot hold control or non-ASCII characters";
                self.report(Code::Header, self.value(&pointer), message);
                continue;
            }
            if let Some(template) = self.template(&pointer, text, scope) {
                compiled.push((name, template));
            }
        }
        compiled
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
