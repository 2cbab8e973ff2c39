//! Holds `prove` against the real rewrite: if it says that a rule holds, no request breaks the rule, under any setting.
//! Each kind of rule has an oracle here that looks at requests alone.

use std::{collections::BTreeMap, sync::Arc};

use super::{Claim, Outcome, Rule, compile, prove};
use crate::{
    base::{budget::Budgets, origin::Origin},
    language::{
        compile::{Compiled, Glob, HeaderGlob, Provider, VarSource, metering::WhenMissing},
        syntax::Policy,
    },
    tools::{
        filetest,
        generated::{
            FileSet, Outcome as Observed, Random, SECRET, Sent, Setting, VALUES, observe, parse, requests,
            setting,
        },
    },
};

const SEED: u64 = 9;
/// Sets of files of each test: 10,000 in all.
const CASES: u64 = 2500;
const REQUESTS: usize = 4;
const POLICIES: u64 = 500;

const ORIGINS: &[&str] = &[
    "https://*",
    "*",
    "https://api.example",
    "https://*.example",
    "https://front.example",
    "https://gw.example",
    "https://gw2.example",
    "https://auth.example",
    "*://auth.example",
    "*://*api.example",
    "{front}",
    "{proxy}",
    "*front*",
    "*ro*",
    "https://{region}.api.example",
    "https://{region}",
    "https://*.api.example",
    "https://*region*",
    "https://out.example",
    "https://else.example",
    "https://other.example",
    "https://{pass}",
    "http://plain.example:*",
    "http://gw.example",
    "https://free.api.example",
    "https://paid.api.example",
    "https://{zone}.api.example",
    "https://{plan}.api.example",
    "{server}",
];
const PATHS: &[&str] = &[
    "*",
    "/demo/*",
    "/demo/v1/*",
    "/demo/v1/chat/*",
    "*chat*",
    "*model*",
    "*{model}",
    "/demo/*/v1/*",
    "/alias/*",
    "*/files/*",
    "*rest*",
    "*all",
    "*:run",
    "*}",
];
const NEVER: &[&str] = &[
    "x-forwarded-for",
    "x_forwarded_*",
    "x-forwarded*",
    "cf-*",
    "cf_ray",
    "via",
    "origin",
    "x-in-*",
    "x_in_a",
    "x-in-b",
    "x-fixed",
    "x_fixed",
    "*fix*",
    "x-version",
    "x_version",
    "*-id",
    "request_id",
    "user-agent",
    "x-gw",
    "x-e",
    "x-out",
    "x-pass",
    "cookie",
    "authorization",
    "x-login",
    "x_login",
    "x-*",
    "x-part",
    "x-api-key",
    "x-other",
];

/// A random policy with a rule of each kind.
fn policy(random: &mut Random) -> (String, Vec<Rule>) {
    let most = *random.pick(&[1, 3, 20]);
    let mut list = |all: &[&str], most: usize| {
        let number = 1 + random.below(most);
        let texts: Vec<String> = (0..number).map(|_| format!("\"{}\"", random.pick(all))).collect();
        texts.join(", ")
    };
    let (origins, allow, never) = (list(ORIGINS, most), list(ORIGINS, most), list(NEVER, 2));
    let methods = list(&["GET", "POST", "PUT", "DELETE"], 6);
    let endpoints = match most {
        1 => format!("methods = [{methods}]"),
        _ => format!("methods = [\"GET\", \"POST\", \"PUT\"], paths = [{}]", list(PATHS, most / 2)),
    };
    let refusals = list(&["credential_missing", "route_not_found", "response_rule"], 1);
    let sections = list(&["s", "*", "x"], 2);
    let variables =
        list(&["*", "T*", "REGION", "FRONT", "PROXY*", "PASS", "OTHER", "{provider}_*", "*R*"], most);
    let text = format!(
        r#"
        credentials = [{{ name = "a", origins = [{origins}], sections = [{sections}] }}]
        endpoints = [{{ name = "b", {endpoints} }}]
        https = [{{ name = "c", allow = [{allow}] }}]
        headers = [{{ name = "d", never = [{never}] }}]
        tests = [{{ name = "e", refusals = [{refusals}] }}]
        variables = [{{ name = "f", allow = [{variables}] }}]
        bodies = [{{ name = "g" }}]
        "#
    );
    let (rules, found) = compile(&parse::<Policy>("policy", &text));
    assert_eq!(found, [], "{text}");
    (text, rules.unwrap())
}

// Four tests, so that they run side by side.

#[test]
fn what_holds_is_broken_by_no_request() {
    check(0);
}

#[test]
fn what_holds_is_broken_by_no_request_of_the_second_quarter() {
    check(1);
}

#[test]
fn what_holds_is_broken_by_no_request_of_the_third_quarter() {
    check(2);
}

#[test]
fn what_holds_is_broken_by_no_request_of_the_last_quarter() {
    check(3);
}

fn check(quarter: u64) {
    let mut held: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    let policies: Vec<(String, Vec<Rule>)> =
        (0..POLICIES).map(|case| policy(&mut Random::new(case))).collect();
    // Choices that do not fit are no case.
    let seeds = (0..).map(|number| SEED + quarter + 4 * number);
    let cases = seeds.filter_map(|case| {
        let mut random = Random::new(case);
        let files = FileSet::random(&mut random);
        let compiled = files.compile()?;
        filetest::run(&compiled).diagnostics.is_empty().then_some((case, random, files, compiled))
    });
    for (case, mut random, files, compiled) in cases.take(usize::try_from(CASES).unwrap()) {
        let (text, rules) = random.pick(&policies);
        let (setting, requests) = (setting(&mut random), requests(&mut random, REQUESTS));
        let provider = &compiled.providers[0];
        let observed = observe(provider, &setting, &requests);
        for result in prove(rules.clone(), &compiled.providers, &Budgets::default()) {
            let holds = result.outcome() == Outcome::Holds;
            let seen = Seen { provider, setting: &setting, observed: observed.as_ref(), compiled: &compiled };
            let broken = seen.breaks(&result.rule);
            let kind = format!("{:?}", result.rule.kind).split(['(', ' ']).next().unwrap().to_owned();
            held.entry(kind).or_default()[usize::from(!holds)] += 1;
            if let (true, Some(how)) = (holds, broken) {
                panic!(
                    "seed {case}: \"{}\" is said to hold, but {how}\nset: {setting:?}\n{text}\n{}",
                    result.rule.name,
                    files.text()
                );
            }
        }
    }
    // A kind that never holds, or always, would prove nothing.
    assert_eq!(held.len(), 7, "{held:?}");
    assert!(held.values().all(|[holds, broken]| *holds > 200 && *broken > 200), "{held:?}");
}

/// The facts that an oracle looks at.
struct Seen<'s> {
    provider: &'s Arc<Provider>,
    setting: &'s Setting,
    observed: Option<&'s Observed>,
    compiled: &'s Compiled,
}

impl Seen<'_> {
    /// A sentence about a breach of the rule.
    fn breaks(&self, rule: &Rule) -> Option<String> {
        let mut sent = self.observed.into_iter().flat_map(|observed| &observed.sent);
        match &rule.kind {
            Claim::Credentials { origins, .. } if rule.applies_to(self.provider) => {
                let bad = |origin: &String| !self.allows(origins, origin);
                let urls = self.provider.section.iter().flat_map(|section| &section.fields);
                let mut urls = urls.filter_map(|field| field.value.token_url.as_deref());
                if let Some(url) = urls.find(|url| bad(&origin_of(url))) {
                    return Some(format!("a login is refreshed at {url}"));
                }
                let mut sent = sent.filter(|sent| holds_secret(sent));
                sent.find_map(|sent| Some(format!("{} gets it", sent.origins.iter().find(|one| bad(one))?)))
            }
            // Limits have a test of their own, with calls.
            Claim::Credentials { .. } | Claim::Limits(_) => None,
            Claim::Https(allow) => sent.find_map(|sent| {
                let bad = |one: &&String| one.starts_with("http://") && !self.allows(allow, one);
                Some(format!("{} is called", sent.origins.iter().find(bad)?))
            }),
            Claim::Endpoints { methods, paths } => sent.find_map(|sent| {
                let method =
                    methods.as_ref().is_none_or(|all| all.iter().any(|one| one.as_str() == sent.method));
                let path = paths.as_ref().is_none_or(|all| all.iter().any(|one| one.matches(&sent.path)));
                (!method || !path).then(|| format!("{} {} is served", sent.method, sent.path))
            }),
            Claim::Headers(never) => sent.find_map(|sent| {
                let own = |name: &str| ["host", "te", "connection"].contains(&name);
                let bad = |name: &&http::HeaderName| {
                    // Folded by hand: the oracle shares nothing with what it checks.
                    let folded = name.as_str().replace('_', "-");
                    let glob = |glob: &HeaderGlob| Glob::new(&glob.as_str().replace('_', "-"));
                    !own(name.as_str()) && never.iter().any(|one| glob(one).matches(&folded))
                };
                Some(format!("`{}` goes out", sent.headers.keys().find(bad)?))
            }),
            Claim::Variables(allow) => self.observed?.read.iter().find_map(|source| {
                let VarSource::Env(env) = source else { return None };
                let allowed =
                    allow.iter().any(|glob| Glob::new(&glob.replace("{provider}", "DEMO")).matches(env));
                (!allowed).then(|| format!("{env} is read"))
            }),
            Claim::Bodies => self.provider.endpoints.iter().find_map(|endpoint| {
                let metering = endpoint.metering.as_ref()?;
                let asks = metering.when_missing == WhenMissing::Ask && metering.ask.is_some();
                asks.then(|| format!("`{}` changes bodies", endpoint.name))
            }),
            Claim::Tests(refusals) => refusals.iter().find_map(|refusal| {
                let code = super::check::kind_of(*refusal).code();
                let tests = self.compiled.providers[0].tests.iter();
                let mut runner = filetest::Runner::default();
                let mut tested = tests.filter_map(|test| runner.refusal(self.provider, test));
                let tested = tested.any(|one| one == code);
                let is_possible = match code {
                    "credential_missing" => self.provider.needs_credential(),
                    "response_rule" => self.provider.endpoints.iter().any(|one| !one.responses.is_empty()),
                    _ => true,
                };
                (is_possible && !tested).then(|| format!("no test is refused with {code}"))
            }),
        }
    }

    /// True if one of the globs on origins, with the values of vars filled in, matches the origin.
    fn allows(&self, globs: &[Glob], origin: &str) -> bool {
        let vars =
            self.provider.vars.iter().chain(self.provider.gateways.iter().flat_map(|one| &one.gateway.vars));
        let vars: Vec<(String, String)> = vars
            .filter_map(|(name, var)| {
                let default = var.value.default.as_deref();
                let value = self.setting.get(&var.value.source).copied().or(default)?;
                let value = Origin::split(value).map_or(value.to_owned(), |(origin, _)| origin.to_string());
                Some((super::unknown::with_vars(&format!("{{{name}}}")), value))
            })
            .collect();
        // Those of any user.
        let users = VALUES.iter().map(|values| ["zone", "plan", "server"].into_iter().zip(values));
        let mut filled = users.flat_map(|values| {
            let atom = |name: &str| super::unknown::with_vars(&format!("{{{name}}}"));
            let values: Vec<_> =
                values.map(|(name, value)| (atom(name), value.to_ascii_lowercase())).collect();
            globs.iter().map(move |glob| (glob, values.clone()))
        });
        filled.any(|(glob, values)| {
            let mut text = glob.as_str().to_owned();
            for (name, value) in vars.iter().chain(&values) {
                text = text.replace(name, value);
            }
            // What follows the first var of an egress's URL is unknown.
            Glob::new(&text).matches(origin)
                || glob.as_str().ends_with('\u{E07D}') && origin.starts_with(&text)
        })
    }
}

fn origin_of(url: &str) -> String {
    Origin::split(url).unwrap().0.to_string()
}

fn holds_secret(sent: &Sent) -> bool {
    sent.url.contains(SECRET)
        || sent.headers.values().any(|value| value.to_str().is_ok_and(|value| value.contains(SECRET)))
}
