//! Bounds on the names of models: what a client or an upstream chooses cannot grow the ledger without end.
//!
//! A name has at most 200 bytes and no control characters. A name that a price file lists is always kept apart: there are
//! only so many, and no cost disappears. Of the others, also those that a glob of a price file matches, the first 500 of a
//! provider and day are kept; further ones become [`OTHER`]. One user adds at most 200 of them. Names that only failed
//! requests have get the first half of these places: a client that tries many names takes none of the other half from
//! models that answer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::store::UsageKey;

/// The name of all models beyond the bound.
pub(super) const OTHER: &str = "(other)";
/// The name that reports have for the sum of all groups that they do not show.
pub(super) const REST: &str = "(rest)";
/// The word of tables and filters for no name.
pub(super) const NONE: &str = "-";
/// The longest name, in bytes.
const MAX_BYTES: usize = 200;
/// Names of one provider on one day.
const MAX_NAMES: usize = 500;
/// Names of one provider on one day up to which a name is kept that no successful answer has.
const MAX_UNANSWERED: usize = MAX_NAMES / 2;

/// Names that one user adds, of one provider on one day.
const MAX_OF_USER: usize = 200;

/// True if a price file lists the name of a model, not a glob: of a provider, and a model.
pub type IsListed = Box<dyn Fn(&str, &str) -> bool + Send>;

type Names = HashSet<Arc<str>, RandomState>;

/// The names of the current day, by provider.
pub(super) struct ModelNames {
    day: u64,
    names: HashMap<Box<str>, OfProvider, RandomState>,
    is_listed: IsListed,
}

/// The names of a provider.
#[derive(Debug, Default)]
struct OfProvider {
    names: Names,
    /// The number of those that no price file lists.
    unlisted: usize,
    /// The number of names that each user added.
    added: HashMap<Box<str>, usize, RandomState>,
}

impl ModelNames {
    /// A day without names.
    pub(super) fn new(day: u64, is_listed: IsListed) -> Self {
        Self { day, names: HashMap::default(), is_listed }
    }

    /// Adds the name of a key that the store has of this day. The first key with it is that of the user who added it.
    pub(super) fn add_known(&mut self, key: &UsageKey) {
        if key.model.is_empty() || &*key.model == OTHER {
            return;
        }
        let own = self.names.entry((*key.provider).into()).or_default();
        if own.names.insert(Arc::clone(&key.model)) && !(self.is_listed)(&key.provider, &key.model) {
            own.unlisted += 1;
            *own.added.entry((*key.user).into()).or_default() += 1;
        }
    }

    /// The name under which the model of a successful answer is kept.
    pub(super) fn answered(&mut self, day: u64, user: &str, provider: &str, model: &str) -> Arc<str> {
        self.bounded(day, user, provider, model, MAX_NAMES)
    }

    /// The name under which the model of a request without a successful answer is kept.
    pub(super) fn asked(&mut self, day: u64, user: &str, provider: &str, model: &str) -> Arc<str> {
        self.bounded(day, user, provider, model, MAX_UNANSWERED)
    }

    /// The name, if it is known or there are fewer than `max`.
    fn bounded(&mut self, day: u64, user: &str, provider: &str, model: &str, max: usize) -> Arc<str> {
        // Also to an earlier day: the clock may have been ahead.
        if day != self.day {
            self.day = day;
            self.names.clear();
        }
        // Nearly every name is known, and so needs no cleaning.
        if let Some(known) = self.names.get(provider).and_then(|own| own.names.get(model)) {
            return Arc::clone(known);
        }
        let name: Arc<str> = cleaned(model).into();
        if name.is_empty() {
            return name;
        }
        // Providers are the operator's: they are few.
        let own = self.names.entry(provider.into()).or_default();
        if own.names.contains(&name) {
            return name;
        }
        if !(self.is_listed)(provider, &name) {
            let added = own.added.entry(user.into()).or_default();
            if own.unlisted >= max || *added >= MAX_OF_USER {
                return OTHER.into();
            }
            *added += 1;
            own.unlisted += 1;
        }
        own.names.insert(Arc::clone(&name));
        name
    }
}

/// The name, cut at a character. A database or a table may end a text at a NUL. No name is
/// a word of reports.
fn cleaned(model: &str) -> String {
    match model {
        REST => return OTHER.to_owned(),
        NONE => return String::new(),
        _ => {}
    }
    let cut = &model[..model.floor_char_boundary(MAX_BYTES)];
    let clean = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    let clean: String = cut.chars().map(clean).collect();
    clean[..clean.floor_char_boundary(MAX_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> ModelNames {
        ModelNames::new(5, Box::new(|_, model| model == "listed"))
    }

    #[test]
    fn names_are_bounded_for_each_provider_and_day() {
        let mut names = names();
        let known = UsageKey { provider: "p".into(), model: "known".into(), ..UsageKey::default() };
        names.add_known(&known);
        for number in 0..MAX_NAMES - 1 {
            let (user, name) = (format!("u{}", number % 9), format!("m{number}"));
            assert_eq!(*names.answered(5, &user, "p", &name), name);
        }
        let mut check = |day, provider, name: &str, expected: &str| {
            assert_eq!(&*names.answered(day, "u", provider, name), expected);
        };
        check(5, "p", "more", OTHER);
        check(5, "p", "known", "known");
        check(5, "p", "m7", "m7");
        check(5, "q", "more", "more");
        check(5, "p", "listed", "listed");
        check(6, "p", "more", "more");
        check(6, "p", "", "");
        check(4, "p", "earlier", "earlier");
    }

    #[test]
    fn one_user_leaves_room_for_others() {
        let mut names = names();
        for number in 0..MAX_OF_USER {
            let name = format!("m{number}");
            assert_eq!(*names.answered(5, "eve", "p", &name), name);
        }
        let mut check = |user, provider, name: &str, expected: &str| {
            assert_eq!(&*names.answered(5, user, provider, name), expected);
        };
        check("eve", "p", "more", OTHER);
        check("eve", "q", "more", "more");
        check("eve", "p", "listed", "listed");
        check("alice", "p", "more", "more");
        check("eve", "p", "more", "more");
    }

    #[test]
    fn failed_requests_leave_room_for_models_that_answer() {
        let mut names = names();
        for number in 0..MAX_UNANSWERED {
            let (user, name) = (format!("u{}", number % 2), format!("m{number}"));
            assert_eq!(*names.asked(5, &user, "p", &name), name);
        }
        assert_eq!(&*names.asked(5, "u", "p", "guess"), OTHER);
        assert_eq!(&*names.asked(5, "u", "p", "listed"), "listed");
        assert_eq!(&*names.answered(5, "u", "p", "real"), "real");
        assert_eq!(&*names.asked(5, "u", "p", "real"), "real", "it is known");
        assert_eq!(&*names.asked(5, "u", "q", "guess"), "guess");
    }

    #[test]
    fn names_are_cut_and_have_no_control_characters() {
        let check = |name: &str, expected: &str| assert_eq!(cleaned(name), expected);
        check("a\0b\n\u{1b}c", "a\u{fffd}b\u{fffd}\u{fffd}c");
        check(&"é".repeat(150), &"é".repeat(100));
        check(&format!("a{}", "é".repeat(150)), &format!("a{}", "é".repeat(99)));
        check(&"\0".repeat(300), &"\u{fffd}".repeat(66));
        check("gpt \u{202e}x", "gpt \u{202e}x");
        check("(other)", "(other)");
        check("(rest)", "(other)");
        check("-", "");
    }
}
