//! Lints: valid rules that are most likely mistakes or unsafe. Each has a code, and a level that the operator can set.
//!
//! Lints of a document are in `document`, lints of a compiled provider in `provider`. Each file is read once, so that
//! lints scale to ten thousand files. A lint never changes the meaning of a file.

mod clients;
mod document;
mod limits;
mod prices;
mod provider;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    base::{
        diag::{Code, Diagnostic, Location, MAX_FINDINGS, Severity},
        secret_scan,
    },
    language::{
        compile::{self, Compiled, Files},
        variables::{self, EnvAllow},
    },
};

pub use clients::clients;
pub use limits::limits;
pub use prices::prices;

/// The level of a lint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Level {
    /// Not reported.
    Allow,
    /// A warning.
    Warn,
    /// An error: the file is rejected.
    Deny,
}

/// The levels that differ from the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// A literal that looks like a key [default: deny]
    #[schemars(example = &"warn")]
    pub literal_key: Option<Level>,
    /// A joined path that repeats its version, as in `/v1/v1` [default: warn]
    #[schemars(example = &"deny")]
    pub doubled_path: Option<Level>,
    /// Plain `http://` to another machine [default: warn]
    #[schemars(example = &"deny")]
    pub plain_http: Option<Level>,
    /// A rule that can never apply, since another one precedes it [default: warn]
    #[schemars(example = &"deny")]
    pub dead_rule: Option<Level>,
    /// An endpoint that no test covers [default: warn]
    #[schemars(example = &"allow")]
    pub untested_endpoint: Option<Level>,
    /// A catch-all path that widens the allowlist [default: warn]
    #[schemars(example = &"deny")]
    pub catch_all: Option<Level>,
    /// A gateway that no endpoint can be reached through [default: warn]
    #[schemars(example = &"allow")]
    pub unreachable_gateway: Option<Level>,
    /// `headers.pass` passes headers that tollgate removes by default [default: warn]
    #[schemars(example = &"allow")]
    pub header_pass: Option<Level>,
    /// An environment variable whose name looks like a secret of another system [default: warn]
    #[schemars(example = &"deny")]
    pub foreign_secret: Option<Level>,
    /// Two price files with entries for the same models, neither more specific [default: warn]
    #[schemars(example = &"deny")]
    pub price_overlap: Option<Level>,
    /// A price for a provider that does not exist [default: warn]
    #[schemars(example = &"allow")]
    pub unused_price: Option<Level>,
    /// A tier of a price at a size of prompts by which usage is not stored [default: warn]
    #[schemars(example = &"allow")]
    pub tier_threshold: Option<Level>,
    /// A price file whose prices were read after today [default: warn]
    #[schemars(example = &"deny")]
    pub future_date: Option<Level>,
    /// A place of an answer that two counts of a wire format have [default: warn]
    #[schemars(example = &"deny")]
    pub double_count: Option<Level>,
    /// A wire format whose usage no test covers [default: warn]
    #[schemars(example = &"allow")]
    pub untested_usage: Option<Level>,
    /// A client that speaks a wire format without an api file [default: warn]
    #[schemars(example = &"deny")]
    pub unknown_api: Option<Level>,
    /// What no api file counts, under a limit of tokens or cost [default: warn]
    #[schemars(example = &"allow")]
    pub uncounted_use: Option<Level>,
}

impl Levels {
    fn of(&self, code: Code) -> Option<Level> {
        match code {
            Code::LiteralKey => self.literal_key,
            Code::DoubledPath => self.doubled_path,
            Code::PlainHttp => self.plain_http,
            Code::DeadRule => self.dead_rule,
            Code::UntestedEndpoint => self.untested_endpoint,
            Code::CatchAll => self.catch_all,
            Code::UnreachableGateway => self.unreachable_gateway,
            Code::HeaderPass => self.header_pass,
            Code::ForeignSecret => self.foreign_secret,
            Code::PriceOverlap => self.price_overlap,
            Code::UnusedPrice => self.unused_price,
            Code::TierThreshold => self.tier_threshold,
            Code::FutureDate => self.future_date,
            Code::DoubleCount => self.double_count,
            Code::UntestedUsage => self.untested_usage,
            Code::UnknownApi => self.unknown_api,
            Code::UncountedUse => self.uncounted_use,
            _ => None,
        }
    }

    /// Sets the severity of findings by the levels, and drops those that are allowed.
    pub fn apply(&self, found: impl IntoIterator<Item = Diagnostic>) -> Vec<Diagnostic> {
        let level = |mut one: Diagnostic| {
            one.severity = match self.of(one.code) {
                None => one.severity,
                Some(Level::Allow) => return None,
                Some(Level::Warn) => Severity::Warning,
                Some(Level::Deny) => Severity::Error,
            };
            Some(one)
        };
        found.into_iter().filter_map(level).collect()
    }
}

/// Likely keys in a text, also in comments and in files that cannot be parsed.
pub fn literals(file: &Arc<str>, text: &str) -> Vec<Diagnostic> {
    let help = "let it stand in the environment or a file, `key = { env = \"...\", secret = true }` under `[vars]`, or in the caller's credentials, as `{secret}`; one that was real is to be revoked";
    let one = |range: Range<usize>| {
        Diagnostic::new(Code::LiteralKey, Location::new(file, range), "this looks like a key").help(help)
    };
    secret_scan::find(text).into_iter().take(MAX_FINDINGS + 1).map(one).collect()
}

/// The findings of each file and each provider by itself. Findings about a provider are in its own file.
pub fn each(files: &Files, compiled: &Compiled, allow: &EnvAllow) -> Vec<Diagnostic> {
    let mut found = variables::foreign(files, allow);
    for parsed in files.providers.values().chain(files.presets.values()).flatten() {
        document::provider(parsed, &mut found);
    }
    for parsed in files.gateways.values().flatten() {
        document::gateway(parsed, &mut found);
    }
    for parsed in files.apis.values().flatten() {
        document::api(parsed, &mut found);
    }
    let tested = provider::Tested::of(compiled);
    for one in &compiled.providers {
        let paths: usize = one.endpoints.iter().map(|endpoint| endpoint.paths.len()).sum();
        // Each test looks up its path; each gateway is joined with each endpoint.
        let steps =
            one.size / 8 + one.tests.len() * paths / 4 + one.gateways.len() * one.endpoints.len() * 32;
        if compiled.budgets.of(&one.at.file).work(steps)
            && let Some(Ok(parsed)) = files.providers.get(&one.name)
        {
            provider::provider(one, parsed, &tested, &mut found);
        }
    }
    found
}

/// The gateways that no provider uses.
pub fn unused_gateways<'p>(
    files: &Files,
    providers: impl Iterator<Item = &'p compile::Provider>,
) -> Vec<Diagnostic> {
    let used: BTreeSet<_> =
        providers.flat_map(|one| &one.gateways).map(|one| one.gateway.file.clone()).collect();
    let unused = files.gateways.iter().filter_map(|(name, slot)| Some((name, slot.as_ref().ok()?)));
    let unused = unused.filter(|(_, parsed)| !used.contains(&parsed.file));
    let one = |(name, parsed): (_, &crate::language::syntax::Parsed<crate::language::syntax::Gateway>)| {
        let at = parsed.spans.key(&parsed.file, "/base_url");
        let help = format!("add `[gateway.{name}]` to a provider, or drop the file");
        Diagnostic::new(Code::UnreachableGateway, at, "no provider names this gateway").help(help)
    };
    unused.map(one).collect()
}

#[cfg(test)]
mod tests;
