//! Which text of each file serves. What served before goes before what is new: a file that broke, or that
//! now clashes with another, falls back to what it last was when it was good, and a file that never was good
//! is out. Falling back may free or take a path that others use, so that it goes on until nothing clashes.
//!
//! Pure: what the files are now, and what they last were, is handed in. Never reads one, and keeps nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    base::{diag::Diagnostic, name::FileName},
    language::{
        bind,
        compile::{self, Rejected},
    },
    request::table::{self, Conflict},
};

/// A provider that can serve.
#[derive(Debug, Clone)]
pub struct Good {
    /// What its files mean.
    pub compiled: Arc<compile::Provider>,
    /// The same under the vars of this process.
    pub bound: Arc<bind::Provider>,
    /// What lints say of its file, though it can serve.
    pub warnings: Vec<Diagnostic>,
}

/// What a provider's files are now, each for itself.
#[derive(Debug)]
pub enum Fresh {
    /// What they were when they last were good.
    Same,
    /// Good, and another than before, or new.
    New(Good),
    /// Not good.
    Bad(Rejected),
}

/// A provider that serves.
#[derive(Debug, Clone)]
pub struct Serving {
    /// As what.
    pub good: Good,
    /// Whether its files are not that any more.
    pub stale: bool,
}

/// Which providers serve, as what, and why not all do.
#[derive(Debug, Default)]
pub struct Settled {
    /// Those that serve.
    pub serving: BTreeMap<FileName, Serving>,
    /// Those that do not, by name.
    pub rejected: Vec<Rejected>,
    /// What was found of files that are good each for itself.
    pub diagnostics: Vec<Diagnostic>,
}

/// What is added to the name of a file where an older text of it is meant.
pub const LAST_GOOD: &str = " (last good)";

/// What a name stands for, while it is being settled.
enum Seat {
    Serves(Serving),
    New(Good),
    Out(Rejected),
}

/// Settles what serves. A name that `fresh` does not have is gone, whatever it last was.
pub fn settle(fresh: BTreeMap<FileName, Fresh>, last: &BTreeMap<FileName, Good>) -> Settled {
    let mut seats = Seats { seats: BTreeMap::new(), last };
    for (name, fresh) in fresh {
        let seat = match (fresh, last.get(&name)) {
            (Fresh::Same, Some(good)) => Seat::Serves(Serving { good: good.clone(), stale: false }),
            (Fresh::New(good), _) => Seat::New(good),
            (Fresh::Bad(_), Some(good)) => Seat::Serves(Serving { good: good.clone(), stale: true }),
            (Fresh::Bad(rejected), None) => Seat::Out(rejected),
            (Fresh::Same, None) => continue,
        };
        seats.seats.insert(name, seat);
    }
    let mut diagnostics = Vec::new();
    loop {
        let found = seats.round();
        if found.is_empty() {
            break;
        }
        diagnostics.extend(found);
    }
    let mut settled = Settled { diagnostics, ..Settled::default() };
    for (name, seat) in seats.seats {
        let serving = match seat {
            Seat::Serves(serving) => serving,
            Seat::New(good) => Serving { good, stale: false },
            Seat::Out(rejected) => {
                settled.rejected.push(rejected);
                continue;
            }
        };
        settled.serving.insert(name, serving);
    }
    settled
}

struct Seats<'a> {
    seats: BTreeMap<FileName, Seat>,
    last: &'a BTreeMap<FileName, Good>,
}

impl Seats<'_> {
    /// Of every two that conflict, lets one give way, or both. What is told of those that did; nothing once
    /// all that serve go together.
    fn round(&mut self) -> Vec<Diagnostic> {
        // Who served before comes first, so that of two that clash the new one is the later.
        let (mut providers, mut new, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
        for seat in self.seats.values() {
            match seat {
                Seat::Serves(one) => providers.push(one.good.compiled.clone()),
                Seat::New(good) => new.push(good.compiled.clone()),
                Seat::Out(one) => rejected.push(one.clone()),
            }
        }
        providers.append(&mut new);
        let mut moved = BTreeSet::new();
        let mut found = Vec::new();
        for conflict in table::link(&providers, &rejected) {
            // One that gave way may have settled it: the next round tells.
            if !moved.contains(&conflict.loser) && !moved.contains(&conflict.other) {
                self.give_way(conflict, &mut moved, &mut found);
            }
        }
        found
    }

    fn give_way(&mut self, conflict: Conflict, moved: &mut BTreeSet<FileName>, found: &mut Vec<Diagnostic>) {
        let (loser, other) = (conflict.loser.clone(), conflict.other.clone());
        let (loser_falls, other_falls) =
            match (self.moved_into(&loser, &other), self.moved_into(&other, &loser)) {
                // Neither has anything to fall back on that would help.
                (false, false) if self.is_newcomer(&loser) => (true, false),
                (false, false) if self.is_newcomer(&other) => (false, true),
                // One that is out takes nothing from one that served before.
                (false, false) => (!matches!(self.seats.get(&other), Some(Seat::Out(_))), false),
                moved => moved,
            };
        // Both are told before either falls, of the texts that they had.
        let told = loser_falls.then(|| self.told(&conflict));
        let turned = conflict.turn().filter(|_| other_falls).map(|turned| self.told(&turned));
        for (name, told) in [(loser, told), (other, turned)] {
            if let Some(told) = told {
                found.push(told);
                self.fall(&name);
                moved.insert(name);
            }
        }
    }

    /// Whether it never was good before.
    fn is_newcomer(&self, name: &FileName) -> bool {
        matches!(self.seats.get(name), Some(Seat::New(_))) && !self.last.contains_key(name)
    }

    /// Whether it is new, and goes together with the other as what it was before.
    fn moved_into(&self, name: &FileName, other: &FileName) -> bool {
        let (Some(Seat::New(_)), Some(last), Some(other)) =
            (self.seats.get(name), self.last.get(name), self.seats.get(other))
        else {
            return false;
        };
        let last = last.compiled.clone();
        match other {
            Seat::Serves(Serving { good, .. }) | Seat::New(good) => {
                table::link(&[last, good.compiled.clone()], &[]).is_empty()
            }
            Seat::Out(rejected) => table::link(&[last], std::slice::from_ref(rejected)).is_empty(),
        }
    }

    fn fall(&mut self, name: &FileName) {
        let Some(seat) = self.seats.get_mut(name) else { return };
        *seat = match (&*seat, self.last.get(name)) {
            (Seat::New(_), Some(good)) => Seat::Serves(Serving { good: good.clone(), stale: true }),
            (Seat::New(good) | Seat::Serves(Serving { good, .. }), _) => {
                Seat::Out(Rejected::from(&*good.compiled))
            }
            (Seat::Out(_), _) => return,
        };
    }

    /// The other's places are in the text that it serves as.
    fn told(&self, conflict: &Conflict) -> Diagnostic {
        let mut diagnostic = conflict.diagnostic.clone();
        if let Some(Seat::Serves(Serving { stale: true, .. })) = self.seats.get(&conflict.other) {
            for (at, _) in &mut diagnostic.related {
                at.file = format!("{}{LAST_GOOD}", at.file).into();
            }
        }
        diagnostic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::{compile::Files, syntax};

    /// Providers with the path `GET /{path}` each, `!` where the file is bad, and more keys after a space.
    fn made(files: &str) -> BTreeMap<FileName, Fresh> {
        let mut all = Files::default();
        for (name, rest) in files.split_terminator(';').filter_map(|one| one.trim().split_once('=')) {
            let (path, more) = rest.split_once(' ').unwrap_or((rest, ""));
            let bad = if path == "!" { "wrong = 1\n" } else { "" };
            let text = format!(
                "{bad}title = \"X\"\nbase_url = \"https://x.example\"\npath_prefix = \"/p\"\n{more}\n[endpoint.one]\nmethod = \"GET\"\npath = \"/{path}\"\n"
            );
            let (parsed, _) = syntax::parse(&format!("{name}.toml").into(), &text);
            all.providers.insert(FileName::new(name).unwrap(), parsed);
        }
        let compiled = compile::compile(&all);
        let bad = compiled.rejected.into_iter().map(|one| (one.name.clone(), Fresh::Bad(one)));
        let good = compiled.providers.into_iter().map(|compiled| {
            let bound = Arc::new(bind::bind(&compiled, |_, _, _| None).0.unwrap());
            (compiled.name.clone(), Fresh::New(Good { compiled, bound, warnings: Vec::new() }))
        });
        bad.chain(good).collect()
    }

    /// What serves as what, `~` where stale, then `-` and what is out; and the findings.
    fn outcome(last: &str, now: &str) -> (String, Vec<Diagnostic>) {
        let same: BTreeSet<&str> = last.split_terminator(';').map(str::trim).collect();
        let same = now.split_terminator(';').map(str::trim).filter(|one| same.contains(one));
        let same: Vec<&str> = same.filter_map(|one| Some(one.split_once('=')?.0)).collect();
        let last = made(last).into_iter().filter_map(|(name, fresh)| match fresh {
            Fresh::New(good) => Some((name, good)),
            _ => None,
        });
        let fresh = made(now).into_iter().map(|(name, fresh)| {
            let fresh = if same.contains(&name.as_str()) { Fresh::Same } else { fresh };
            (name, fresh)
        });
        let settled = settle(fresh.collect(), &last.collect());
        let shown = settled.serving.iter().map(|(name, one)| {
            let path = &one.good.compiled.endpoints[0].paths[0].text;
            format!("{name}{}{}", if one.stale { "~" } else { "=" }, path.trim_start_matches("/p/"))
        });
        let out = settled.rejected.iter().map(|one| format!("-{}", one.name));
        (shown.chain(out).collect::<Vec<_>>().join(" "), settled.diagnostics)
    }

    #[test]
    fn what_served_before_goes_before_what_is_new() {
        let check = |last: &str, now: &str, expected: &str, files: &[&str]| {
            let (found, diagnostics) = outcome(last, now);
            let told: Vec<&str> = diagnostics.iter().map(|one| &*one.at.file).collect();
            assert_eq!((found.as_str(), &told[..]), (expected, files), "{last} -> {now}");
        };
        // Each for itself.
        check("", "a=x;b=y;", "a=x b=y", &[]);
        check("a=x;", "a=x;b=!;", "a=x -b", &[]);
        check("a=x;", "a=!;", "a~x", &[]);
        check("a=x;", "a=y;", "a=y", &[]);
        check("a=x;b=y;", "b=y;", "b=y", &[]);
        // Of two new ones the later name loses; of three in a row only the one in the middle.
        check("", "a=x;b=x;", "a=x -b", &["b.toml"]);
        check("", "a=x;b=x;c=x;", "a=x -b -c", &["b.toml", "c.toml"]);
        // A new one loses to one that served, whatever its name, and is told so itself.
        check("b=x;", "a=x;b=x;", "b=x -a", &["a.toml"]);
        check("b=x;", "a=x;b=!;", "b~x -a", &["a.toml"]);
        // One that changed falls back, and what never changed does not.
        check("a=x;b=y;", "a=y;b=y;", "a~x b=y", &["a.toml"]);
        check("a=x;b=y;", "a=x;b=x;", "a=x b~y", &["b.toml"]);
        // Two that changed at once into a clash both fall back.
        check("a=x;b=y;", "a=z;b=z;", "a~x b~y", &["b.toml", "a.toml"]);
        // To swap is no clash, a move neither.
        check("a=x;b=y;", "a=y;b=x;", "a=y b=x", &[]);
        check("a=x;", "b=x;", "b=x", &[]);
        // Falling back takes a path again that another took, so that this one falls back too.
        check("a=x;b=y;c=z;", "a=z;b=x;c=z;", "a~x b~y c=z", &["a.toml", "b.toml"]);
        check("a=x;b=y;", "a=!;b=x;", "a~x b~y", &["b.toml"]);
        check("a=x;", "a=!;b=x;", "a~x -b", &["b.toml"]);
        // One that changed elsewhere keeps what it had, and its change is taken over: it is not in the way.
        check("a=x;", "a=x #;b=x;", "a=x -b", &["b.toml"]);
        check("b=x;", "a=x;b=x #;", "b=x -a", &["a.toml"]);
        check("a=x;b=y;", "a=x #;b=x;", "a=x b~y", &["b.toml"]);
        // One that moves to where a new one is gives way, for it has somewhere to go back to.
        check("a=x;", "a=y;b=y;", "a~x b=y", &["a.toml"]);
    }

    #[test]
    fn a_stored_key_stays_where_it_was() {
        let own = "credentials = { section = \"s\", field = [{ name = \"key\" }] }";
        let knows = |name: &str| own.replace("\"s\",", &format!("\"s\", shared_with = [\"{name}\"],"));
        let check = |last: &str, now: &str, expected: &str, codes: usize| {
            let text = |files: &str| {
                let files = files.replace("OWN", own).replace("KNOWS-B", &knows("b"));
                files.replace("KNOWS-A", &knows("a"))
            };
            let (found, diagnostics) = outcome(&text(last), &text(now));
            assert_eq!(
                (found.as_str(), diagnostics.len()),
                (expected, codes),
                "{last} -> {now}: {diagnostics:?}"
            );
        };
        check("", "a=x OWN;b=y OWN;", "-a -b", 2);
        check("b=y OWN;", "a=x OWN;b=y OWN;", "b=y -a", 1);
        check("b=y OWN;", "a=x KNOWS-B;b=y OWN;", "b=y -a", 1);
        check("b=y OWN;", "a=x KNOWS-B;b=y KNOWS-A;", "a=x b=y", 0);
        // A bad newcomer takes nothing from the one that has the section, which keeps others out when bad.
        check("b=y OWN;", "a=! OWN;b=y OWN;", "b=y -a", 0);
        check("b=y OWN;", "a=x OWN;b=! OWN;", "b~y -a", 1);
        // Nor does it keep a change out, or one that is good; but nobody comes to have it by a change.
        check("b=y OWN;", "a=! OWN;b=z OWN;", "b=z -a", 0);
        check("b=y OWN;", "a=x OWN;b=z OWN;", "b=z -a", 1);
        check("b=y;", "a=! OWN;b=y OWN;", "b~y -a", 1);
        check("a=x OWN;b=y;", "a=x OWN;b=y OWN;", "a=x b~y", 1);
    }

    #[test]
    fn the_place_in_an_older_text_is_marked() {
        let (found, diagnostics) = outcome("b=x;", "a=x;b=!;");
        let related: Vec<&str> = diagnostics[0].related.iter().map(|(at, _)| &*at.file).collect();
        assert_eq!((found.as_str(), related), ("b~x -a", vec!["b.toml (last good)"]));
    }
}
