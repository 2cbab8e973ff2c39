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
    bind,
    compile::{self, Rejected},
    diag::Diagnostic,
    name::FileName,
    table::{self, Conflict},
};

/// A provider that can serve.
#[derive(Debug, Clone)]
pub struct Good {
    /// What its files mean.
    pub compiled: Arc<compile::Provider>,
    /// The same under the vars of this process.
    pub bound: Arc<bind::Provider>,
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
        let (loser_falls, other_falls) = match (self.changed(&loser), self.changed(&other)) {
            // None of them has anything to fall back on.
            (false, false) if self.is_new(&loser) => (true, false),
            (false, false) if self.is_new(&other) => (false, true),
            // One that is out takes nothing from one that served before.
            (false, false) => (!matches!(self.seats.get(&other), Some(Seat::Out(_))), false),
            changed => changed,
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

    fn is_new(&self, name: &FileName) -> bool {
        matches!(self.seats.get(name), Some(Seat::New(_)))
    }

    /// Whether it is new, and was good before as something else.
    fn changed(&self, name: &FileName) -> bool {
        self.is_new(name) && self.last.contains_key(name)
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
