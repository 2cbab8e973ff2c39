//! Rates a change: it widens exposure if, under some setting of the vars, a request, a credential or the value of a var
//! reaches what it did not reach under the same setting before.
//!
//! A change that cannot be rated counts as widening. `docs/tooling.md` lists the cases.

use std::collections::BTreeSet;

use super::{
    Subject,
    facts::{self, Fact, Facts},
};
use crate::language::compile::{Auth, ClientPath, Endpoint, Glob, Provider, Relation};

/// A provider before and after, with the facts about both.
#[derive(Clone, Copy)]
pub(super) struct Rating<'a> {
    /// The provider before; none if it is new.
    pub old: Option<&'a Provider>,
    /// The provider after.
    pub new: &'a Provider,
    /// The facts before.
    pub before: &'a Facts,
    /// The facts after.
    pub after: &'a Facts,
    /// The values that reached an origin before, through any provider.
    pub reached: &'a BTreeSet<(String, String)>,
}

impl Rating<'_> {
    /// The reason why a changed fact widens exposure; none if it does not.
    pub(super) fn widens(
        self,
        subject: Subject,
        name: &str,
        was: Option<&Fact>,
        is: Option<&Fact>,
    ) -> Option<String> {
        match (subject, name) {
            (Subject::Endpoint, _) => self.endpoint(name),
            (Subject::Origin, _) => self.origin(name, is?),
            (Subject::Upstream, _) => self.upstream().or_else(|| self.fact(subject, was, is)),
            (Subject::Auth, "order") => self.order_of_auth(),
            (Subject::Limits, _) => self.limit(),
            _ => self.fact(subject, was, is),
        }
    }

    fn fact(self, subject: Subject, was: Option<&Fact>, is: Option<&Fact>) -> Option<String> {
        match (was, is) {
            (None, Some(is)) => self.added(subject, is),
            (Some(was), None) => self.removed(was),
            (Some(was), Some(is)) => changed(subject, was, is),
            (None, None) => None,
        }
    }

    fn added(self, subject: Subject, is: &Fact) -> Option<String> {
        if subject == Subject::Var {
            let known = self.before.iter().filter(|((subject, _), _)| *subject == Subject::Var);
            let known: BTreeSet<&String> = known.flat_map(|(_, fact)| &fact.values).collect();
            let new = is.values.iter().find(|value| !known.contains(value))?;
            return Some(format!("{new} is newly read"));
        }
        let reason = is.added.filter(|_| !is_covered(is, self.before));
        gains(&Fact::default(), is).or_else(|| reason.map(str::to_owned))
    }

    fn removed(self, was: &Fact) -> Option<String> {
        let orphan = was.owner.as_ref().is_some_and(|owner| !self.after.contains_key(owner));
        was.removed.filter(|_| !orphan && !is_covered(was, self.after)).map(str::to_owned)
    }

    fn origin(self, origin: &str, is: &Fact) -> Option<String> {
        let is_new = |value: &str| !self.reached.contains(&(value.to_owned(), origin.to_owned()));
        let new = is.values.iter().find(|value| is_new(value));
        new.map(String::as_str)
            .or_else(|| Some("requests").filter(|_| is_new("")))
            .map(|new| format!("a new host for {new}"))
    }

    /// An endpoint allows requests that its predecessor did not, or sends them to another URL.
    fn endpoint(self, name: &str) -> Option<String> {
        let endpoint = self.new.endpoints.iter().find(|endpoint| endpoint.name == name)?;
        let old = self.old.and_then(|old| Some((old, old.endpoints.iter().find(|one| one.name == name)?)));
        let Some((provider, before)) = old else { return Some("a new endpoint".to_owned()) };
        let known = |path: &ClientPath| {
            let allows = |one: &ClientPath| {
                matches!(path.pattern.relation(&one.pattern), Relation::Equal | Relation::Subset)
            };
            before.method == endpoint.method && before.paths.iter().any(allows)
        };
        if !endpoint.paths.iter().all(known) {
            Some("it allows what was not allowed".to_owned())
        } else if path_of(provider, before) != path_of(self.new, endpoint) {
            Some("it calls another path of the upstream".to_owned())
        } else {
            None
        }
    }

    /// The base URL leads endpoints to URLs that none of them called.
    fn upstream(self) -> Option<String> {
        let urls = |provider: &Provider| -> BTreeSet<String> {
            let one = |endpoint: &Endpoint| format!("{} {}", endpoint.method, facts::url(provider, endpoint));
            provider.endpoints.iter().map(one).collect()
        };
        let old = urls(self.old?);
        let is_more = urls(self.new).iter().any(|url| !old.contains(url));
        is_more.then(|| "requests reach other URLs of the upstream".to_owned())
    }

    /// The first entry whose credential is stored and matches is used: another one before it, or one less, moves
    /// credentials to the entries after it. The last entry has none after it.
    fn order_of_auth(self) -> Option<String> {
        let (old, new) = (&self.old?.auth, &self.new.auth);
        let is_same =
            |(one, other): &(&Auth, &Auth)| one.field == other.field && one.matches == other.matches;
        let same = old.iter().zip(new).take_while(is_same).count();
        let is_moved = same < old.len().min(new.len()) && same + 1 < old.len().max(new.len());
        is_moved.then(|| "an entry is used for credentials that another one was used for".to_owned())
    }

    fn limit(self) -> Option<String> {
        let (old, new) = (self.old?.max_body, self.new.max_body);
        (new > old).then(|| format!("bodies of up to {new} bytes reach the upstream, not {old}"))
    }
}

/// The URL without the base URL's origin, which is rated by itself.
fn path_of(provider: &Provider, endpoint: &Endpoint) -> String {
    let url = facts::url(provider, endpoint);
    let path = url.split_once("://").and_then(|(_, rest)| Some(rest.split_once('/')?.1.to_owned()));
    path.unwrap_or(url)
}

fn changed(subject: Subject, was: &Fact, is: &Fact) -> Option<String> {
    if subject == Subject::Var {
        if was.is_secret && !is.is_secret {
            return Some("it is no longer secret".to_owned());
        }
        let new = is.values.difference(&was.values).next()?;
        return Some(format!("{new} is newly read"));
    }
    let other = was.fixed.is_some() && is.fixed.is_some() && was.fixed != is.fixed;
    let other = other.then(|| "the upstream gets another value, which no client can send".to_owned());
    gains(was, is).or(other).or_else(|| is.changed.map(str::to_owned))
}

/// True if another glob of its list matches everything that its own matches.
fn is_covered(fact: &Fact, others: &Facts) -> bool {
    let Some((kind, glob)) = &fact.glob else { return false };
    let mut globs = others.values().filter_map(|other| other.glob.as_ref());
    globs.any(|(other, wider)| other == kind && covers(wider, glob))
}

/// True if a glob matches all that the other one matches. Only a `*` matches a `*`.
fn covers(wide: &str, narrow: &str) -> bool {
    Glob::new(wide).matches(&narrow.replace('*', "\u{1}"))
}

fn gains(was: &Fact, is: &Fact) -> Option<String> {
    let like = |value: &str| Some(value.strip_prefix(facts::LIKE)?.strip_suffix('`')?.to_owned());
    let is_known = |value: &String| {
        let credential = value == facts::ANY || like(value).is_some();
        was.values.contains(value)
            || credential && was.values.contains(facts::ANY)
            || was
                .values
                .iter()
                .any(|old| like(old).zip(like(value)).is_some_and(|(wide, narrow)| covers(&wide, &narrow)))
    };
    let more = is.values.iter().find(|value| !is_known(value))?;
    Some(format!("{more} is sent in a new place"))
}
