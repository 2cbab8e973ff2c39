//! Limits that cannot count what they say, beside the providers and prices that they are about: an error, since such a limit would
//! hold nothing. Read next: `free`, for prices that no limit charges.

mod free;

use std::{collections::HashSet, sync::Arc};

use crate::{
    base::{
        diag::{Code, Diagnostic, MAX_FINDINGS},
        suggest::nearest,
    },
    language::{
        compile::{
            Endpoint, Glob, Limit, LimitFile, Limits, Measure, NameFilter, PriceFile, Provider,
            metering::Metering,
        },
        syntax::ReserveValue,
    },
};

/// The findings about files of limits beside each other, providers and prices.
pub fn limits(
    files: &[Arc<LimitFile>],
    providers: &[Arc<Provider>],
    prices: &[Arc<PriceFile>],
) -> Vec<Diagnostic> {
    let mut found = Limits::conflicts(files);
    if files.is_empty() {
        return found;
    }
    let beside = Beside { providers, prices };
    for limit in files.iter().flat_map(|file| &file.limits) {
        found.extend(beside.limit(limit));
    }
    for rule in files.iter().flat_map(|file| &file.allows) {
        found.extend(beside.unknown(&rule.providers, &rule.endpoints, &rule.at));
    }
    found.truncate(MAX_FINDINGS + 1);
    found.extend(free::prices(files.iter().flat_map(|file| &file.limits), providers, prices));
    found
}

/// What limits are about.
struct Beside<'a> {
    providers: &'a [Arc<Provider>],
    prices: &'a [Arc<PriceFile>],
}

impl Beside<'_> {
    fn limit(&self, limit: &Limit) -> Option<Diagnostic> {
        let filter = &limit.filter;
        if let Some(found) = self.unknown(&filter.provider, &filter.endpoint, &limit.at) {
            return Some(found);
        }
        let report = |message: String, help: &str| {
            Some(Diagnostic::new(Code::Limit, limit.at.clone(), message).help(help.to_owned()))
        };
        let id = &limit.id;
        if limit.measure.needs_usage() {
            let uncounted = self.uncounted(filter.endpoint.globs(), limit);
            if let Some(endpoint) = uncounted {
                let message = format!(
                    "limit `{id}` counts {} of `{endpoint}`, and no api file says where its answers have them",
                    limit.measure
                );
                return report(message, "name endpoints with an `api` that has `usage`, or limit `requests`");
            }
            if !self.matched(limit).any(|endpoint| endpoint.counts(limit.measure.kind())) {
                let message =
                    format!("limit `{id}` counts {}, and no endpoint that it is for has them", limit.measure);
                return report(message, "the `api` of an endpoint has to have `usage`; or limit `requests`");
            }
        }
        let names_model =
            |endpoint: &Endpoint| endpoint.metering.as_ref().is_some_and(|one| one.names_model());
        if !limit.filter.model.is_any() && !self.matched(limit).any(names_model) {
            let message = format!("limit `{id}` is for models, and no endpoint that it is for names one");
            return report(message, "the `api` of an endpoint has to have `request.model`");
        }
        let is_bounded = |one: &Metering| one.has_cap() || one.counts_any() && !one.counts_answer();
        let is_bounded = |endpoint: &Endpoint| endpoint.metering.as_deref().is_some_and(is_bounded);
        if limit.needs_cap() && limit.reserve == ReserveValue::Max && !self.matched(limit).any(is_bounded) {
            let message = format!(
                "limit `{id}` reserves the most that a request can use, and no endpoint that it is for has a cap"
            );
            return report(
                message,
                "write `reserve = \"learned\"`, or name the cap in the api file: `request.max_output`",
            );
        }
        if let Measure::Cost(currency) = limit.measure
            && !self.prices.iter().flat_map(|file| &file.prices).any(|price| {
                price.currency == currency && self.is_for_any(&price.providers, &filter.provider)
            })
        {
            let message = format!(
                "limit `{id}` is in {currency}, and no model that it is for has a price in {currency}"
            );
            return report(
                message,
                "write a price file in that currency, or the limit in the currency of the prices",
            );
        }
        None
    }

    /// True if one of the price's providers is one that the filter matches.
    fn is_for_any(&self, priced: &[crate::language::compile::NamePattern], filter: &NameFilter) -> bool {
        let names = self.providers.iter().map(|provider| provider.name.as_str());
        names
            .into_iter()
            .any(|name| filter.matches(name) && priced.iter().any(|pattern| pattern.matches(name)))
    }

    /// A provider or an endpoint that does not exist.
    fn unknown(
        &self,
        providers: &NameFilter,
        endpoints: &NameFilter,
        at: &crate::base::diag::Location,
    ) -> Option<Diagnostic> {
        let names: Vec<&str> = self.providers.iter().map(|one| one.name.as_str()).collect();
        if let Some(glob) = providers.globs().iter().find(|glob| !names.iter().any(|name| glob.matches(name)))
        {
            let message = format!("no provider is named `{}`", glob.as_str());
            return Some(with_nearest(message, glob.as_str(), &names, at));
        }
        let chosen = self.providers.iter().filter(|one| providers.matches(one.name.as_str()));
        let known: HashSet<&str> =
            chosen.flat_map(|one| &one.endpoints).map(|one| one.name.as_str()).collect();
        let glob = endpoints.globs().iter().find(|glob| !known.iter().any(|name| glob.matches(name)))?;
        let message = format!("no endpoint of these providers is named `{}`", glob.as_str());
        let mut known: Vec<&str> = known.into_iter().collect();
        known.sort_unstable();
        Some(with_nearest(message, glob.as_str(), &known, at))
    }

    fn matched<'l>(&'l self, limit: &'l Limit) -> impl Iterator<Item = &'l Endpoint> {
        let providers = self.providers.iter().filter(|one| limit.filter.provider.matches(one.name.as_str()));
        let endpoints = providers.flat_map(|one| &one.endpoints);
        endpoints.filter(|one| limit.filter.endpoint.matches(&one.name))
    }

    /// A name or glob of endpoints of which none has the usage that a limit counts.
    fn uncounted<'g>(&self, globs: &'g [Glob], limit: &Limit) -> Option<&'g str> {
        let is_counted = |glob: &Glob| {
            self.matched(limit)
                .filter(|one| glob.matches(&one.name))
                .any(|one| one.counts(limit.measure.kind()))
        };
        globs.iter().find(|glob| !is_counted(glob)).map(Glob::as_str)
    }
}

fn with_nearest(message: String, name: &str, known: &[&str], at: &crate::base::diag::Location) -> Diagnostic {
    let found = Diagnostic::new(Code::Limit, at.clone(), message);
    match nearest(name, known.iter().copied()) {
        Some(near) => found.help(format!("did you mean `{near}`?")),
        None => found.help("`tollgate routes` lists all"),
    }
}

#[cfg(test)]
mod tests;
