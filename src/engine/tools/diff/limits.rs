//! Compares limits and rules, and rates what loosens them: a limit that is gone, a larger amount, fewer requests that it is for,
//! a rule that allows more.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Subject};
use crate::language::{
    compile::{Allow, Limit, LimitFilter, Limits},
    syntax::{NoPriceValue, OverValue, ReserveValue},
};

pub(super) fn changes(old: &Limits, new: &Limits) -> Vec<Change> {
    let mut changes = limits(old, new);
    changes.extend(rules(old, new));
    changes.sort_by_key(|change| change.widens.is_none());
    changes
}

fn limits(old: &Limits, new: &Limits) -> Vec<Change> {
    let ids: BTreeSet<&str> = old.all().iter().chain(new.all()).map(|limit| limit.id.as_str()).collect();
    let renamed = renamed(old, new);
    let new_names: BTreeSet<&str> = renamed.values().copied().collect();
    let mut changes = Vec::new();
    for id in ids {
        let (was, is) = (old.get(id), new.get(id));
        let [old, new] = [was, is].map(|one| one.map(|limit| words(limit)));
        if old == new || new_names.contains(id) {
            continue;
        }
        let (new, widens) = match (was, is) {
            (Some(_), None) => match renamed.get(id) {
                Some(name) => (
                    old.as_ref().map(|words| format!("`{name}`: {words}")),
                    Some("renamed: what was used begins again".to_owned()),
                ),
                None => (new, Some("nothing has this limit any more".to_owned())),
            },
            (Some(was), Some(is)) => (new, loosened(was, is)),
            (None, _) => (new, None),
        };
        changes.push(Change { subject: Subject::Limit, name: id.to_owned(), old, new, widens });
    }
    changes
}

/// The new ids of limits that are gone while another came that says the same, by the old ids. What was used belongs to the id.
fn renamed<'l>(old: &'l Limits, new: &'l Limits) -> BTreeMap<&'l str, &'l str> {
    let mut came: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for limit in new.all().iter().rev().filter(|limit| old.get(limit.id.as_str()).is_none()) {
        came.entry(words(limit)).or_default().push(limit.id.as_str());
    }
    let gone = old.all().iter().filter(|limit| new.get(limit.id.as_str()).is_none());
    gone.filter_map(|limit| Some((limit.id.as_str(), came.get_mut(&words(limit))?.pop()?))).collect()
}

/// The reason for which a limit holds less than before.
fn loosened(was: &Limit, is: &Limit) -> Option<String> {
    let reasons = [
        (was.measure != is.measure, "it counts something else"),
        (was.measure == is.measure && is.amount > was.amount, "the amount is larger"),
        (was.window != is.window, "the amount is for another time"),
        (was.per != is.per, "the amount is shared in another way"),
        (was.over == OverValue::Reject && is.over == OverValue::Warn, "nothing is refused any more"),
        (looser_reserve(was.reserve, is.reserve), "less is reserved before a request"),
        (
            was.no_price == NoPriceValue::Reject && is.no_price == NoPriceValue::Free,
            "models without a price are free",
        ),
        (is_narrower(&was.filter, &is.filter), "it may be for fewer requests"),
        (has_more_exceptions(was, is), "a user has a larger amount, or no limit"),
    ];
    let reasons: Vec<&str> =
        reasons.into_iter().filter(|(applies, _)| *applies).map(|(_, text)| text).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn looser_reserve(was: ReserveValue, is: ReserveValue) -> bool {
    let rank = |reserve| match reserve {
        ReserveValue::None => 0,
        ReserveValue::Learned => 1,
        ReserveValue::Max => 2,
    };
    rank(is) < rank(was)
}

/// True unless every part of the filter is equal or was widened to everything.
fn is_narrower(was: &LimitFilter, is: &LimitFilter) -> bool {
    let same_or_any = [
        was.caller == is.caller || is.caller.is_any(),
        was.provider == is.provider || is.provider.is_any(),
        was.endpoint == is.endpoint || is.endpoint.is_any(),
        was.model == is.model || is.model.is_any(),
        was.key == is.key || is.key.is_none(),
    ];
    same_or_any.contains(&false)
}

fn has_more_exceptions(was: &Limit, is: &Limit) -> bool {
    if was.measure != is.measure {
        return false;
    }
    let users: BTreeSet<_> = was.except.keys().chain(is.except.keys()).collect();
    users.into_iter().any(|user| match (was.amount_of(user), is.amount_of(user)) {
        (Some(before), Some(after)) => after > before && is.except.contains_key(user),
        (Some(_), None) => true,
        (None, _) => false,
    })
}

/// A limit in words.
fn words(limit: &Limit) -> String {
    let mut words =
        format!("{} {} {}", limit.measure.shown(limit.amount), limit.window_text(), limit.owner_text());
    words = words.replace("  ", " ");
    let filter = filter_words(&limit.filter);
    if !filter.is_empty() {
        words = format!("{words}, for {filter}");
    }
    if limit.measure.needs_usage() {
        words = format!("{words}, reserves {}", reserve_name(limit.reserve));
    }
    if limit.over == OverValue::Warn {
        words += ", warns alone";
    }
    if matches!(limit.measure, crate::language::compile::Measure::Cost(_))
        && limit.no_price == NoPriceValue::Free
    {
        words += ", without a price free";
    }
    for share in &limit.warn_at {
        words = format!("{words}, warns at {} %", f64::from(*share) / 10.0);
    }
    for (user, amount) in &limit.except {
        let amount = amount.map_or_else(|| "no limit".to_owned(), |amount| limit.measure.shown(amount));
        words = format!("{words}, {user}: {amount}");
    }
    words
}

fn reserve_name(reserve: ReserveValue) -> &'static str {
    match reserve {
        ReserveValue::None => "nothing",
        ReserveValue::Learned => "an estimate",
        ReserveValue::Max => "the most that is possible",
    }
}

fn filter_words(filter: &LimitFilter) -> String {
    let mut parts = caller_parts(&filter.caller);
    let named = [("provider", &filter.provider), ("endpoint", &filter.endpoint), ("model", &filter.model)];
    for (kind, names) in named.into_iter().filter(|(_, names)| !names.globs().is_empty()) {
        parts.push(format!("{kind} {}", names.text()));
    }
    parts.extend(filter.key.map(|key| format!("{key:?} keys").to_lowercase()));
    parts.join(", ")
}

fn caller_parts(caller: &crate::language::compile::CallerFilter) -> Vec<String> {
    let mut parts = Vec::new();
    for (kind, names) in [("user", &caller.user), ("group", &caller.group)] {
        if !names.globs().is_empty() {
            parts.push(format!("{kind} {}", names.text()));
        }
    }
    parts.extend(caller.token.iter().map(|kind| format!("{kind:?} tokens").to_lowercase()));
    parts
}

/// The rules of each set of callers, in words.
fn by_caller(limits: &Limits) -> BTreeMap<String, BTreeSet<String>> {
    let mut rules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in limits.allows() {
        let callers = caller_parts(&rule.caller).join(", ");
        let callers = if callers.is_empty() { "everybody".to_owned() } else { callers };
        rules.entry(callers).or_default().insert(allowed(rule));
    }
    rules
}

fn allowed(rule: &Allow) -> String {
    let named = [("providers", &rule.providers), ("endpoints", &rule.endpoints), ("models", &rule.models)];
    let parts = named.into_iter().filter(|(_, names)| !names.globs().is_empty());
    parts.map(|(kind, names)| format!("{kind} {}", names.text())).collect::<Vec<_>>().join(", ")
}

fn rules(old: &Limits, new: &Limits) -> Vec<Change> {
    let (old, new) = (by_caller(old), by_caller(new));
    let callers: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for callers in callers {
        let (was, is) = (old.get(callers), new.get(callers));
        if was == is {
            continue;
        }
        let widens = match (was, is) {
            (Some(_), None) => Some("these callers may call all models and endpoints".to_owned()),
            // Any other text may allow something that the old ones do not.
            (Some(was), Some(is)) if !is.is_subset(was) => {
                Some("other models or endpoints are allowed".to_owned())
            }
            (None, _) if !old.is_empty() => {
                Some("callers who have another rule, too, may call more".to_owned())
            }
            (Some(_), Some(_)) | (None, _) => None,
        };
        let joined = |rules: &BTreeSet<String>| rules.iter().cloned().collect::<Vec<_>>().join("; or ");
        changes.push(Change {
            subject: Subject::Allow,
            name: callers.clone(),
            old: was.map(joined),
            new: is.map(joined),
            widens,
        });
    }
    changes
}

#[cfg(test)]
mod tests;
