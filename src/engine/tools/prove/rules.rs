//! Rules of a policy, compiled. Globs and origins are parsed here, once.

use std::collections::BTreeMap;

use http::{HeaderName, Method};

use super::{limits::Required, unknown::with_vars};
use crate::{
    base::{
        diag::{Code, Diagnostic, Location},
        money::{Currency, parse_decimal},
        origin::Origin,
    },
    language::{
        compile::{Glob, HeaderGlob, Provider, http_method},
        syntax::{Amount, LimitMeasure, Parsed, Policy, Refusal},
    },
};

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Its position in the policy.
    pub at: Location,
    /// Providers that are exempt.
    pub except: Vec<Glob>,
    /// Its claim.
    pub kind: Claim,
}

/// The claim of a rule.
#[derive(Debug, Clone)]
pub enum Claim {
    /// Credentials of these sections reach only these origins.
    Credentials {
        /// Globs on sections; all if there is none.
        sections: Option<Vec<Glob>>,
        /// Globs on origins.
        origins: Vec<Glob>,
    },
    /// No endpoint outside these.
    Endpoints {
        /// Methods.
        methods: Option<Vec<Method>>,
        /// Globs on client paths.
        paths: Option<Vec<Glob>>,
    },
    /// Each of these refusals has a test.
    Tests(Vec<Refusal>),
    /// No plain HTTP, but to these.
    Https(Vec<Glob>),
    /// These headers never reach the upstream.
    Headers(Vec<HeaderGlob>),
    /// No environment variables but these are read. `{provider}` stands for the provider's name.
    Variables(Vec<String>),
    /// The bodies of requests pass unchanged.
    Bodies,
    /// Everybody who may call a provider has such a limit.
    Limits(Required),
}

impl Rule {
    /// Its globs on sections.
    pub(super) fn sections(&self) -> &[Glob] {
        match &self.kind {
            Claim::Credentials { sections, .. } => sections.as_deref().unwrap_or_default(),
            Claim::Endpoints { .. }
            | Claim::Tests(_)
            | Claim::Https(_)
            | Claim::Headers(_)
            | Claim::Variables(_)
            | Claim::Bodies
            | Claim::Limits(_) => &[],
        }
    }

    /// True if the rule applies to a provider.
    pub fn applies_to(&self, provider: &Provider) -> bool {
        let excepted = self.except.iter().any(|glob| glob.matches(provider.name.as_str()));
        let section = |sections: &Option<Vec<Glob>>| {
            provider.section.as_ref().is_some_and(|section| {
                sections.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.matches(&section.name)))
            })
        };
        !excepted
            && match &self.kind {
                Claim::Credentials { sections, .. } => section(sections),
                Claim::Endpoints { .. }
                | Claim::Tests(_)
                | Claim::Https(_)
                | Claim::Headers(_)
                | Claim::Variables(_)
                | Claim::Bodies => true,
                Claim::Limits(required) => required.is_about(&provider.name),
            }
    }
}

/// Compiles a policy. Returns no rules if any of them has an error.
pub fn compile(policy: &Parsed<Policy>) -> (Option<Vec<Rule>>, Vec<Diagnostic>) {
    let mut compiler = Compiler { policy, rules: Vec::new(), found: Vec::new() };
    compiler.rules();
    (Some(compiler.rules).filter(|_| compiler.found.is_empty()), compiler.found)
}

/// The greatest amount, in units of its measure. None if it is written in another way.
fn required_amount(measure: LimitMeasure, amount: &Amount) -> Option<(i128, Option<Currency>)> {
    match (measure, amount) {
        (LimitMeasure::Cost, Amount::Text(text)) => {
            let (number, code) = text.trim().split_once(' ')?;
            let currency = Currency::new(code.trim())?;
            Some((i128::try_from(parse_decimal(number)?).ok()?, Some(currency)))
        }
        (LimitMeasure::Cost, Amount::Number(_)) | (_, Amount::Text(_)) => None,
        (_, Amount::Number(number)) => Some((i128::from(*number), None)),
    }
}

struct Compiler<'a> {
    policy: &'a Parsed<Policy>,
    rules: Vec<Rule>,
    found: Vec<Diagnostic>,
}

impl Compiler<'_> {
    fn rules(&mut self) {
        let document = &self.policy.document;
        for (index, rule) in document.credentials.iter().flatten().enumerate() {
            let pointer = format!("/credentials/{index}");
            let origins = self.origins(&format!("{pointer}/origins"), &rule.origins);
            let sections = rule.sections.as_deref().map(globs);
            self.rule(&pointer, &rule.name, rule.except.as_deref(), Claim::Credentials { sections, origins });
        }
        for (index, rule) in document.endpoints.iter().flatten().enumerate() {
            let pointer = format!("/endpoints/{index}");
            if rule.methods.is_none() && rule.paths.is_none() {
                self.forbids_nothing(&pointer, "name the only `methods`, the only `paths`, or both");
            }
            let methods = rule.methods.as_ref();
            let methods = methods.map(|methods| methods.iter().copied().map(http_method).collect());
            let paths = rule.paths.as_deref().map(globs);
            self.rule(&pointer, &rule.name, rule.except.as_deref(), Claim::Endpoints { methods, paths });
        }
        for (index, rule) in document.tests.iter().flatten().enumerate() {
            let usual = || vec![Refusal::CredentialMissing, Refusal::RouteNotFound];
            let kind = Claim::Tests(rule.refusals.clone().unwrap_or_else(usual));
            self.rule(&format!("/tests/{index}"), &rule.name, rule.except.as_deref(), kind);
        }
        for (index, rule) in document.https.iter().flatten().enumerate() {
            let pointer = format!("/https/{index}");
            let allow = self.origins(&format!("{pointer}/allow"), rule.allow.as_deref().unwrap_or_default());
            self.rule(&pointer, &rule.name, rule.except.as_deref(), Claim::Https(allow));
        }
        for (index, rule) in document.headers.iter().flatten().enumerate() {
            let pointer = format!("/headers/{index}");
            if rule.never.is_empty() {
                self.forbids_nothing(&pointer, "name the headers that `never` go out");
            }
            let never = self.headers(&format!("{pointer}/never"), &rule.never);
            self.rule(&pointer, &rule.name, rule.except.as_deref(), Claim::Headers(never));
        }
        for (index, rule) in document.variables.iter().flatten().enumerate() {
            let pointer = format!("/variables/{index}");
            for (at, text) in rule.allow.iter().enumerate() {
                if let Err(problem) = Glob::check(text) {
                    let at = self.value(&format!("{pointer}/allow/{at}"));
                    self.found.push(Diagnostic::new(Code::BadValue, at, format!("a glob that {problem}")));
                }
            }
            self.rule(&pointer, &rule.name, rule.except.as_deref(), Claim::Variables(rule.allow.clone()));
        }
        for (index, rule) in document.bodies.iter().flatten().enumerate() {
            self.rule(&format!("/bodies/{index}"), &rule.name, rule.except.as_deref(), Claim::Bodies);
        }
        self.limits();
        self.names();
    }

    fn limits(&mut self) {
        for (index, rule) in self.policy.document.limits.iter().flatten().enumerate() {
            let pointer = format!("/limits/{index}");
            let amount = rule.amount.as_ref().and_then(|amount| {
                let found = required_amount(rule.measure, amount);
                if found.is_none() {
                    let at = self.value(&format!("{pointer}/amount"));
                    let message = format!("this is no amount of `{}`", rule.measure.name());
                    let help = "write a number, or a cost with its currency, such as `200 USD`";
                    self.found.push(Diagnostic::new(Code::BadValue, at, message).help(help));
                }
                found
            });
            for (key, texts) in [("providers", &rule.providers), ("groups", &rule.groups)] {
                for (at, text) in texts.iter().flatten().enumerate() {
                    if let Err(problem) = Glob::check(text) {
                        let at = self.value(&format!("{pointer}/{key}/{at}"));
                        self.found.push(Diagnostic::new(
                            Code::BadValue,
                            at,
                            format!("a glob that {problem}"),
                        ));
                    }
                }
            }
            let required = Required {
                measure: rule.measure,
                amount,
                providers: rule.providers.as_deref().map(globs),
                groups: rule.groups.as_deref().map(globs),
            };
            self.rule(&pointer, &rule.name, rule.except.as_deref(), Claim::Limits(required));
        }
    }

    fn rule(&mut self, pointer: &str, name: &str, except: Option<&[String]>, kind: Claim) {
        let at = self.value(&format!("{pointer}/name"));
        let except = globs(except.unwrap_or_default());
        self.rules.push(Rule { name: name.to_owned(), at, except, kind });
    }

    fn value(&self, pointer: &str) -> Location {
        self.policy.spans.value(&self.policy.file, pointer)
    }

    fn forbids_nothing(&mut self, pointer: &str, help: &str) {
        let at = self.policy.spans.key(&self.policy.file, pointer);
        self.found.push(Diagnostic::new(Code::Condition, at, "a rule that forbids nothing").help(help));
    }

    /// Names are unique, so that a finding identifies its rule.
    fn names(&mut self) {
        let mut first: BTreeMap<&str, &Location> = BTreeMap::new();
        for rule in &self.rules {
            if let Some(first) = first.get(rule.name.as_str()) {
                let message = format!("two rules are called \"{}\"", rule.name);
                let finding = Diagnostic::new(Code::Name, rule.at.clone(), message);
                self.found.push(finding.related((*first).clone(), "first here"));
            }
            first.entry(&rule.name).or_insert(&rule.at);
        }
    }

    fn headers(&mut self, pointer: &str, texts: &[String]) -> Vec<HeaderGlob> {
        for (index, text) in texts.iter().enumerate() {
            if let Err(problem) = Glob::check(text) {
                let at = self.value(&format!("{pointer}/{index}"));
                self.found.push(Diagnostic::new(Code::Header, at, format!("a glob that {problem}")));
                continue;
            }
            if HeaderName::from_bytes(text.replace('*', "x").as_bytes()).is_err() {
                let at = self.value(&format!("{pointer}/{index}"));
                let message = format!("`{}` cannot be a header's name", text.escape_default());
                self.found.push(Diagnostic::new(Code::Header, at, message));
            }
        }
        texts.iter().map(|text| HeaderGlob::new(text)).collect()
    }

    fn origins(&mut self, pointer: &str, texts: &[String]) -> Vec<Glob> {
        let mut compiled = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match origin(text) {
                Ok(origin) => compiled.push(Glob::new(&with_vars(&origin))),
                Err(problem) => {
                    let at = self.value(&format!("{pointer}/{index}"));
                    let finding = Diagnostic::new(Code::Url, at, format!("cannot be an origin: {problem}"));
                    self.found.push(finding.help(
                        "for example: \"https://api.example.com\", or \"{egress_url}\" for what a var holds",
                    ));
                }
            }
        }
        compiled
    }
}

fn globs(texts: &[String]) -> Vec<Glob> {
    texts.iter().map(|text| Glob::new(text)).collect()
}

/// An origin in the notation of [`crate::tools::upstream_routes`].
fn origin(text: &str) -> Result<String, &'static str> {
    if !text.contains(['*', '{']) {
        return match Origin::split(text)? {
            (origin, "" | "/") => Ok(origin.to_string()),
            _ => Err("it has a path or a query"),
        };
    }
    let host = text.split_once("://").map_or(text, |(_, host)| host);
    match text {
        _ if host.contains(['/', '?', '#', '@']) => return Err("it has more than a host and a port"),
        _ if text.starts_with("https://") || text.starts_with("http://") => {}
        _ if text.starts_with(['*', '{']) => {}
        _ => return Err("it does not start with `https://` or `http://`"),
    }
    let mut inside = false;
    let lower = text.chars().map(|c| {
        inside = c == '{' || inside && c != '}';
        if inside { c } else { c.to_ascii_lowercase() }
    });
    Ok(lower.collect())
}
