//! Rates a change: it widens exposure if, under some setting of the vars, a request, a stored value or the value of a var
//! reaches what it did not reach under the same setting before.
//!
//! A change that cannot be rated counts as widening. `docs/tooling.md` lists the cases.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Subject,
    facts::{self, Fact, Facts},
    reached::{REQUESTS, Reached, reached},
    values::{Names, conditions},
};
use crate::{
    base::name::FileName,
    language::compile::{Auth, ClientPath, Endpoint, Glob, Pattern, Provider, Relation},
};

const ANOTHER: &str = "the upstream gets another value, which no client can send";

type Providers<'a> = BTreeMap<&'a FileName, &'a Provider>;

/// All files before and after.
pub(super) struct Files<'a> {
    pub old: Providers<'a>,
    pub new: Providers<'a>,
    /// The values that origins got before, through any provider: reaching them once more exposes nothing.
    reached: Reached,
    /// The token locations after. They count for the requests to all providers.
    locations: BTreeSet<String>,
}

impl<'a> Files<'a> {
    pub(super) fn new(old: &'a [Arc<Provider>], new: &'a [Arc<Provider>]) -> Self {
        let by_name = |all: &'a [Arc<Provider>]| all.iter().map(|one| (&one.name, &**one)).collect();
        let mut all = Reached::new();
        for (origin, values) in old.iter().flat_map(|provider| reached(provider)) {
            all.entry(origin).or_default().extend(values);
        }
        let locations = new.iter().flat_map(|provider| facts::locations(&provider.caller)).collect();
        Self { old: by_name(old), new: by_name(new), reached: all, locations }
    }
}

/// A provider before and after, with the facts about both.
#[derive(Clone, Copy)]
pub(super) struct Rating<'a> {
    /// The provider before; none if it is new.
    pub old: Option<&'a Provider>,
    /// The provider after; none if it is removed.
    pub new: Option<&'a Provider>,
    /// The facts before.
    pub before: &'a Facts,
    /// The facts after.
    pub after: &'a Facts,
    pub files: &'a Files<'a>,
}

impl<'a> Rating<'a> {
    /// The reason why a changed fact widens exposure; none if it does not.
    pub(super) fn widens(
        self,
        subject: Subject,
        name: &str,
        was: Option<&Fact>,
        is: Option<&Fact>,
    ) -> Option<String> {
        match (subject, name, self.new) {
            (Subject::Endpoint, ..) => self.endpoint(name),
            // Without any provider, no request is answered.
            (Subject::Caller, _, None) if !self.files.new.is_empty() => {
                was?.removed.filter(|_| !self.files.locations.contains(name)).map(str::to_owned)
            }
            // A removed provider exposes nothing else.
            (_, _, None) => None,
            (Subject::Origin, ..) => self.origin(name, is?),
            (Subject::Upstream, _, Some(new)) => {
                self.upstream(new, name).or_else(|| self.fact(subject, was, is))
            }
            (Subject::Auth, "order", Some(new)) => self.order_of_auth(new),
            (Subject::Limits, _, Some(new)) => self.limit(new, name),
            _ => self.fact(subject, was, is),
        }
        .or_else(|| self.opens((subject, name), was?, is))
    }

    fn fact(self, subject: Subject, was: Option<&Fact>, is: Option<&Fact>) -> Option<String> {
        match (was, is) {
            (None, Some(is)) => self.added(subject, is),
            (Some(was), None) => alone(was, was.removed, self.after).map(str::to_owned),
            (Some(was), Some(is)) => changed(subject, was, is),
            (None, None) => None,
        }
    }

    fn added(self, subject: Subject, is: &Fact) -> Option<String> {
        if subject == Subject::Var {
            let known = self.before.iter().filter(|((subject, _), _)| *subject == Subject::Var);
            let known: BTreeSet<_> = known.flat_map(|(_, fact)| &fact.values).collect();
            let new = is.values.iter().find(|value| !known.contains(value))?;
            return Some(format!("{new} is newly read"));
        }
        gains(&Fact::default(), is).or_else(|| alone(is, is.added, self.before).map(str::to_owned))
    }

    /// Nothing went out without a value, and now it does: where a source has none, requests go past the gateways and egresses
    /// that need it, and where a user has stored none, they are not refused.
    fn opens(self, (subject, name): (Subject, &str), was: &Fact, is: Option<&Fact>) -> Option<String> {
        let new = self.new.filter(|_| !was.requires.is_empty())?;
        if was.owner.as_ref().is_some_and(|owner| !self.after.contains_key(owner)) {
            return None;
        }
        let entry = |name: &str| name.split_once("` into ").map(|(entry, _)| entry.to_owned());
        let is_same_entry = |other: &str| subject != Subject::Auth || entry(other) == entry(name);
        let beside = self.after.iter().filter(|((other, key), fact)| {
            // Endpoints have different base URLs.
            let is_kind =
                (*other == Subject::Auth) == (subject == Subject::Auth) && *other != Subject::Upstream;
            let is_kind = is_kind && is_same_entry(key);
            is_kind && (fact.owner.is_none() || fact.owner == was.owner)
        });
        let beside: Vec<&Fact> = beside.map(|(_, fact)| fact).collect();
        // An entry of `auth` that is gone opens nothing.
        if subject == Subject::Auth && beside.is_empty() {
            return None;
        }
        let is_lost = |value: &&String| {
            is.is_none_or(|is| !is.requires.contains(*value))
                && !beside.iter().any(|one| one.requires.contains(*value))
        };
        let lost = was.requires.iter().find(is_lost)?;
        if subject != Subject::Var {
            return Some(format!("requests go out where {lost} is not stored"));
        }
        let is_condition = conditions(new).contains(lost);
        is_condition.then(|| format!("without {lost}, requests go past the gateway or egress that needs it"))
    }

    fn origin(self, origin: &str, is: &Fact) -> Option<String> {
        let known = self.files.reached.get(origin);
        let is_known = |value| known.is_some_and(|all| all.iter().any(|one| one.includes(value)));
        let mut new: Vec<_> = is.values.iter().filter(|value| !is_known(value)).collect();
        new.sort_by_key(|value| value.name == REQUESTS);
        new.first().map(|value| format!("a new host for {value}"))
    }

    /// An endpoint allows requests that its predecessor did not, sends them to another URL, or leaves some to others.
    fn endpoint(self, name: &str) -> Option<String> {
        let before = self.old.and_then(|old| Some((old, named(old, name)?)));
        let after = self.new.and_then(|new| Some((new, named(new, name)?)));
        let (provider, before) = match (before, after) {
            (None, None) => return None,
            (None, Some(_)) => return Some("a new endpoint".to_owned()),
            (Some(before), _) => before,
        };
        let Some((new, endpoint)) = after else { return self.left(before, &[]) };
        let is_known = |path: &ClientPath| {
            let same = |one: &&ClientPath| one.slots.len() != path.slots.len() || one.slots == path.slots;
            before.paths.iter().filter(same).any(|one| is_within(path.pattern.relation(&one.pattern)))
        };
        if before.method != endpoint.method || !endpoint.paths.iter().all(is_known) {
            Some("it allows what was not allowed".to_owned())
        } else if before.upgrade != endpoint.upgrade {
            // A plain request and a handshake are different requests, although their method and path are the same.
            Some(match endpoint.upgrade {
                Some(upgrade) => {
                    format!("it opens a {}: frames pass without a limit of size", upgrade.as_str())
                }
                None => "it takes plain requests, which it did not".to_owned(),
            })
        } else if facts::url(provider, before) != facts::url(new, endpoint) {
            Some("it calls another URL of the upstream".to_owned())
        } else {
            self.left(before, &endpoint.paths)
        }
    }

    /// Requests that an endpoint took, and that another one takes now, since the endpoint has only these paths.
    fn left(self, before: &Endpoint, paths: &[ClientPath]) -> Option<String> {
        let own = self.old?;
        let left = before.paths.iter().map(|path| &path.pattern).filter(|pattern| !allows(paths, pattern));
        let left: Vec<&Pattern> = left.collect();
        let takes = |provider: &Provider, other: &Endpoint| {
            let is_other = provider.name != own.name || other.name != before.name;
            if !is_other || other.method != before.method {
                return false;
            }
            let overlaps = |path: &&ClientPath| left.iter().any(|one| overlap(&path.pattern, one));
            let mut paths = other.paths.iter().filter(overlaps).peekable();
            if paths.peek().is_none() {
                return false;
            }
            // What another endpoint newly allows is marked there.
            let known = self.files.old.get(&provider.name).and_then(|old| named(old, &other.name));
            let Some(known) = known.filter(|known| known.method == other.method) else { return false };
            paths.any(|path| {
                let took = |one: &Pattern| {
                    let more_specific = |was: &&ClientPath| was.pattern.relation(one) == Relation::Subset;
                    let was = known.paths.iter().filter(more_specific);
                    was.map(|was| path.pattern.relation(&was.pattern)).any(is_within)
                };
                let gains = |one: &&Pattern| overlap(&path.pattern, one) && !took(one);
                allows(&known.paths, &path.pattern) && left.iter().any(gains)
            })
        };
        let mut all =
            self.files.new.values().flat_map(|one| one.endpoints.iter().map(move |other| (one, other)));
        let (provider, other) = all.find(|(provider, other)| takes(provider, other))?;
        let of = if provider.name == own.name { String::new() } else { format!(" of `{}`", provider.name) };
        Some(format!("requests that it took go to the endpoint `{}`{of}", other.name))
    }

    /// A base URL leads an endpoint to another URL.
    fn upstream(self, new: &'a Provider, key: &str) -> Option<String> {
        let (old, origin) = (self.old?, key.strip_prefix("origins."));
        let is_moved = |endpoint: &&Endpoint| {
            let before = named(old, &endpoint.name);
            before.is_some_and(|before| facts::url(old, before) != facts::url(new, endpoint))
        };
        let mut endpoints = new.endpoints.iter().filter(|endpoint| endpoint.origin.as_deref() == origin);
        let moved = endpoints.find(is_moved)?;
        Some(format!("requests of the endpoint `{}` go to another URL", moved.name))
    }

    /// The first entry whose credential is stored and matches is used: another one before it, or one less, moves
    /// credentials to the entries after it. The last entry has none after it.
    fn order_of_auth(self, new: &'a Provider) -> Option<String> {
        let old = self.old?;
        let applies = |provider: &'a Provider, auth: &'a Auth| {
            let fields = provider.fields_of(auth);
            let written = facts::written(Names::of(provider), auth);
            (provider.auth_name(auth), fields, auth.matches.clone(), auth.endpoints.clone(), written)
        };
        let is_same = |(one, other): &(&'a Auth, &'a Auth)| applies(old, one) == applies(new, other);
        let same = old.auth.iter().zip(&new.auth).take_while(is_same).count();
        let (old, new) = (old.auth.len(), new.auth.len());
        let is_moved = same < old.min(new) && same + 1 < old.max(new);
        is_moved.then(|| "an entry is used for credentials that another one was used for".to_owned())
    }

    fn limit(self, new: &Provider, name: &str) -> Option<String> {
        let old = self.old?;
        let (what, old, new) = match name {
            "signed_body" => ("signed bodies", old.signed_body, new.signed_body),
            _ => ("bodies", old.max_body, new.max_body),
        };
        (new > old).then(|| format!("{what} of up to {new} bytes reach the upstream, not {old}"))
    }
}

fn named<'p>(provider: &'p Provider, name: &str) -> Option<&'p Endpoint> {
    provider.endpoints.iter().find(|endpoint| endpoint.name == name)
}

fn is_within(relation: Relation) -> bool {
    matches!(relation, Relation::Equal | Relation::Subset)
}

/// True if one of the paths allows all that a pattern matches.
fn allows(paths: &[ClientPath], pattern: &Pattern) -> bool {
    paths.iter().any(|path| is_within(pattern.relation(&path.pattern)))
}

fn overlap(one: &Pattern, other: &Pattern) -> bool {
    one.relation(other) != Relation::Disjoint
}

/// The reason why a fact widens exposure that the other facts do not have: none if what it belongs to is no fact there
/// either, or if others of its kind have the same effect.
fn alone(fact: &Fact, reason: Option<&'static str>, others: &Facts) -> Option<&'static str> {
    if fact.owner.as_ref().is_some_and(|owner| !others.contains_key(owner)) {
        return None;
    }
    let Some((kind, glob)) = &fact.glob else { return reason };
    // Those of other endpoints, gateways and egresses do not count.
    let counts = |other: &&Fact| other.owner.is_none() || other.owner == fact.owner;
    let covers =
        |other: &&Fact| other.glob.as_ref().is_some_and(|(one, wide)| one == kind && covers(wide, glob));
    let covering: Vec<&Fact> = others.values().filter(counts).filter(covers).collect();
    if covering.is_empty() {
        reason
    } else {
        covering.iter().any(|other| other.fixed != fact.fixed).then_some(ANOTHER)
    }
}

/// True if a glob matches all that the other one matches. Only a `*` matches a `*`.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    Glob::new(wide).matches(&narrow.replace('*', "\u{1}"))
}

fn changed(subject: Subject, was: &Fact, is: &Fact) -> Option<String> {
    let is_other = was.fixed != is.fixed;
    if subject == Subject::Var {
        if was.is_secret && !is.is_secret {
            return Some("it is no longer secret".to_owned());
        }
        if let Some(new) = is.values.difference(&was.values).next() {
            return Some(format!("{new} is newly read"));
        }
        // Without a value, a required var ends all requests.
        if is_other && is.requires.is_empty() {
            return Some(
                "requests go out with another value, or another way, where its source has none".to_owned(),
            );
        }
        return None;
    }
    let is_other = is_other && was.fixed.is_some() && is.fixed.is_some();
    let other = is_other.then_some(ANOTHER);
    let longer = (is.lifetime > was.lifetime).then_some("it is valid for longer");
    gains(was, is).or_else(|| other.or(longer).or(is.changed).map(str::to_owned))
}

fn gains(was: &Fact, is: &Fact) -> Option<String> {
    let more = is.values.iter().find(|value| !was.values.iter().any(|old| old.includes(value)))?;
    Some(more.is_new())
}
