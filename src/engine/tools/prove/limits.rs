//! Rules for limits: everybody who may call a provider has a limit of a measure, whatever the request.
//!
//! It is sound: a limit counts only if it is for every request of these callers to the provider, and refuses what is beyond it.
//! Several limits that are for all of them only beside each other are a breach.

use http::Method;

use super::{Breach, Note, Rule};
use crate::{
    base::{budget::Budget, money::Currency, name::FileName, suggest::backticked},
    language::{
        compile::{Endpoint, Glob, Limit, LimitFile, Measure, NameFilter, Provider},
        syntax::{LimitMeasure, NoPriceValue, OverValue},
    },
};

/// The work of comparing a limit with the callers of a provider, in steps.
const LIMIT_STEPS: usize = 64;
/// The most names of endpoints in a note.
const SHOWN_ENDPOINTS: usize = 8;
/// The bytes that are kept of a note, beside the names in it.
const NOTE_BYTES: usize = 1024;

/// The limit that callers must have.
#[derive(Debug, Clone)]
pub struct Required {
    /// What it counts.
    pub measure: LimitMeasure,
    /// The greatest amount, and its currency if it is a cost; any if there is none.
    pub amount: Option<(i128, Option<Currency>)>,
    /// Globs on providers; all if there is none.
    pub providers: Option<Vec<Glob>>,
    /// Groups of the callers, as globs; everybody if there is none.
    pub groups: Option<Vec<Glob>>,
}

impl Required {
    /// True if the rule is about the provider of this name.
    pub(super) fn is_about(&self, provider: &FileName) -> bool {
        self.providers.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.matches(provider.as_str())))
    }

    /// What the callers of a provider lack.
    pub(super) fn breaches(
        &self,
        rule: &Rule,
        provider: &Provider,
        files: &[std::sync::Arc<LimitFile>],
        budget: &Budget,
    ) -> Vec<Breach> {
        let groups: Vec<Option<&Glob>> = match &self.groups {
            Some(globs) => globs.iter().map(Some).collect(),
            None => vec![None],
        };
        let limits = || files.iter().flat_map(|file| &file.limits);
        let work = groups.len() * limits().count() * (LIMIT_STEPS + provider.endpoints.len());
        let is_decided = budget.work(work);
        let lacks = |group: Option<&Glob>| {
            !is_decided || !limits().any(|limit| self.is_met_by(limit, provider, group))
        };
        let breach = |group: Option<&Glob>| {
            Breach {
            provider: provider.name.clone(),
            own: rule.at.clone(),
            at: rule.at.clone(),
            what: self.lacking(provider, group),
            help: "write a limit for all their requests: it filters by nothing but their group and the provider, has `over = \
                   \"reject\"`, exempts nobody, and of cost has `no_price = \"reject\"`"
                .to_owned(),
            example: None,
            is_undecided: !is_decided,
        }
        };
        groups.into_iter().filter(|group| lacks(*group)).map(breach).collect()
    }

    /// The calls of a provider that no limit of the measure counts, whatever the limits are. None if all are counted.
    pub(super) fn note(&self, provider: &Provider, budget: &Budget) -> Option<Note> {
        if !budget.work(provider.endpoints.len()) {
            return None;
        }
        // Without a body, a request asks no model for anything.
        let asks =
            |one: &Endpoint| one.upgrade.is_some() || !matches!(one.method, Method::GET | Method::HEAD);
        let uncounted = |one: &&Endpoint| asks(one) && !one.counts(self.measure);
        let uncounted: Vec<_> = provider.endpoints.iter().filter(uncounted).collect();
        let first = uncounted.first()?;
        let mut names = backticked(uncounted.iter().take(SHOWN_ENDPOINTS).map(|one| &one.name));
        match uncounted.len().saturating_sub(SHOWN_ENDPOINTS) {
            0 => {}
            1 => names += " and another one",
            more => names = format!("{names} and {more} others"),
        }
        let what = format!(
            "no limit of `{}` counts calls of {names} of provider `{}`: no api file says where their answers have what it counts",
            self.measure.name(),
            provider.name
        );
        budget.keep(NOTE_BYTES + 2 * what.len()).then(|| Note {
            provider: provider.name.clone(),
            at: first.at.clone(),
            what,
            help: "name an `api` that has `usage`, or limit their `requests`, too".to_owned(),
        })
    }

    fn lacking(&self, provider: &Provider, group: Option<&Glob>) -> String {
        let callers =
            group.map_or("callers".to_owned(), |group| format!("callers of the group `{}`", group.as_str()));
        let amount = self.amount.as_ref().map(|(amount, currency)| {
            let measure = currency.map_or(Measure::Requests, Measure::Cost);
            format!(
                " of at most {}",
                match currency {
                    Some(_) => measure.shown(*amount),
                    None => amount.to_string(),
                }
            )
        });
        let measure = self.measure.name();
        format!(
            "{callers} of provider `{}` have no limit of `{measure}`{}",
            provider.name,
            amount.unwrap_or_default()
        )
    }

    /// True if a limit is for every request of these callers to the provider, and refuses what is beyond it.
    fn is_met_by(&self, limit: &Limit, provider: &Provider, group: Option<&Glob>) -> bool {
        let Limit {
            id: _,
            counter_id: _,
            at: _,
            filter,
            per: _,
            measure,
            amount,
            window: _,
            reserve: _,
            over,
            warn_at: _,
            no_price,
            except,
        } = limit;
        let is_unpriced_refused = !matches!(measure, Measure::Cost(_)) || *no_price == NoPriceValue::Reject;
        let is_low = |amount: i128| match (&self.amount, measure) {
            (None, _) => true,
            (Some((most, Some(currency))), Measure::Cost(own)) => own == currency && amount <= *most,
            (Some((_, Some(_))), _) | (Some((_, None)), Measure::Cost(_)) => false,
            (Some((most, None)), _) => amount <= *most,
        };
        measure.name() == self.measure.name()
            && *over == OverValue::Reject
            && is_unpriced_refused
            && is_low(*amount)
            && except.values().all(|amount| amount.is_some_and(is_low))
            && filter.key.is_none()
            && filter.model.is_any()
            && filter.provider.matches(provider.name.as_str())
            && provider.endpoints.iter().all(|endpoint| filter.endpoint.matches(&endpoint.name))
            && filter.caller.user.is_any()
            && filter.caller.token.is_empty()
            && covers(&filter.caller.group, group)
    }
}

/// True if a filter of groups is for all callers in the groups of a glob. None: for everybody, also without a group.
fn covers(filter: &NameFilter, group: Option<&Glob>) -> bool {
    if filter.globs().is_empty() {
        return true;
    }
    let Some(group) = group else { return false };
    let is_name = !group.as_str().contains('*');
    filter.is_any()
        || filter.globs().iter().any(|glob| glob.as_str() == group.as_str())
        || is_name && filter.matches(group.as_str())
}
