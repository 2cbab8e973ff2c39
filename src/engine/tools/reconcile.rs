//! Chooses which version of each provider serves: the current one, its last good one, or none.
//!
//! A provider that is broken now reverts to its last good version; one that never was good is rejected. On a conflict,
//! the provider whose files changed reverts. If that does not resolve it, the newer provider is rejected. A provider that
//! was serving is never displaced. Reverting can create or resolve other conflicts, so it repeats until none is left.
//!
//! It reads nothing and keeps nothing: current and last good versions are arguments. Read next: `docs/adr/0006`.

mod independent;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    base::{
        budget::{Budgets, Used},
        diag::Diagnostic,
        name::FileName,
    },
    language::{
        bind,
        compile::{self, Rejected},
    },
    request::table::{self, Conflict},
};

pub use independent::{ReconciledFiles, ReconciledIndependent, ServingFile, reconcile_files};

/// A provider that can serve.
#[derive(Debug, Clone)]
pub struct Good {
    /// Compiled from its files.
    pub compiled: Arc<compile::Provider>,
    /// Bound to the values of its vars.
    pub bound: Arc<bind::Provider>,
    /// Warnings of lints about its file.
    pub warnings: Vec<Diagnostic>,
    /// What was charged to the budget of its file.
    pub used: Used,
    /// True once it serves: all that serve together were compared with each other.
    pub linked: bool,
}

/// The current version of a provider, compared with its last good one.
#[derive(Debug, Clone)]
pub enum CurrentVersion {
    /// Equal to the last good version.
    Same,
    /// Good, and changed or new.
    New(Good),
    /// Broken.
    Bad(Rejected),
}

/// A provider that serves.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The version that serves.
    pub good: Good,
    /// True if the files have changed since, so that this is the last good version.
    pub stale: bool,
}

/// The providers that serve and those that do not, with the reasons.
#[derive(Debug, Clone, Default)]
pub struct Reconciled {
    /// Serving providers.
    pub serving: BTreeMap<FileName, Serving>,
    /// Rejected providers, by name.
    pub rejected: Vec<Rejected>,
    /// Conflicts between providers.
    pub diagnostics: Vec<Diagnostic>,
    /// The work of comparing providers with each other, in steps.
    pub steps: u64,
}

/// Suffix to a file's name in a finding about its last good version.
pub const LAST_GOOD: &str = " (last good)";

/// The state of one provider between two rounds.
enum Candidate {
    Serves(Serving),
    New(Good),
    Out(Rejected),
}

/// Chooses what serves. A provider that is not in `fresh` is removed, even if it has a last good version.
pub fn reconcile(fresh: BTreeMap<FileName, CurrentVersion>, last: &BTreeMap<FileName, Good>) -> Reconciled {
    let mut candidates = Candidates { by_name: BTreeMap::new(), last, budgets: Budgets::default() };
    let mut before = 0;
    for (name, fresh) in fresh {
        let candidate = match (fresh, last.get(&name)) {
            (CurrentVersion::Same, Some(good)) => {
                Candidate::Serves(Serving { good: good.clone(), stale: false })
            }
            (CurrentVersion::New(good), _) => {
                candidates.budgets.insert(&good.compiled.at.file, good.used);
                before += good.used.steps;
                Candidate::New(good)
            }
            (CurrentVersion::Bad(_), Some(good)) => {
                Candidate::Serves(Serving { good: good.clone(), stale: true })
            }
            (CurrentVersion::Bad(rejected), None) => Candidate::Out(rejected),
            (CurrentVersion::Same, None) => continue,
        };
        candidates.by_name.insert(name, candidate);
    }
    let mut diagnostics = Vec::new();
    loop {
        let found = candidates.round();
        if found.is_empty() {
            break;
        }
        diagnostics.extend(found);
    }
    let mut reconciled =
        Reconciled { diagnostics, steps: candidates.budgets.used().steps - before, ..Reconciled::default() };
    for (name, candidate) in candidates.by_name {
        let serving = match candidate {
            Candidate::Serves(serving) => serving,
            Candidate::New(good) => Serving { good, stale: false },
            Candidate::Out(rejected) => {
                reconciled.rejected.push(rejected);
                continue;
            }
        };
        reconciled.serving.insert(name, serving);
    }
    reconciled
}

struct Candidates<'a> {
    by_name: BTreeMap<FileName, Candidate>,
    last: &'a BTreeMap<FileName, Good>,
    /// The budgets of new providers, for all rounds together.
    budgets: Budgets,
}

impl Candidates<'_> {
    /// Resolves each conflict by reverting or rejecting one of the two, or both. Returns their findings; empty once no
    /// serving providers conflict.
    fn round(&mut self) -> Vec<Diagnostic> {
        // Serving providers come first, since of two that conflict `link` makes the later one lose.
        let (mut linked, mut changed) = (Vec::new(), Vec::new());
        let (mut new, mut rejected) = (Vec::new(), Vec::new());
        for candidate in self.by_name.values() {
            match candidate {
                Candidate::Serves(one) if one.good.linked => linked.push(one.good.compiled.clone()),
                Candidate::Serves(one) => changed.push(one.good.compiled.clone()),
                Candidate::New(good) => new.push(good.compiled.clone()),
                Candidate::Out(one) => rejected.push(one.clone()),
            }
        }
        changed.append(&mut new);
        let mut moved = BTreeSet::new();
        let mut found = Vec::new();
        for conflict in table::link(&linked, &changed, &rejected, &self.budgets) {
            // A provider that already moved in this round may have resolved it. The next round shows.
            if !moved.contains(&conflict.loser) && !moved.contains(&conflict.other) {
                self.resolve(conflict, &mut moved, &mut found);
            }
        }
        found
    }

    fn resolve(&mut self, conflict: Conflict, moved: &mut BTreeSet<FileName>, found: &mut Vec<Diagnostic>) {
        let (loser, other) = (conflict.loser.clone(), conflict.other.clone());
        let (loser_moves, other_moves) =
            match (self.reverting_helps(&loser, &other), self.reverting_helps(&other, &loser)) {
                // Reverting neither would help.
                (false, false) if self.is_newcomer(&loser) => (true, false),
                (false, false) if self.is_newcomer(&other) => (false, true),
                // A rejected provider displaces none that was serving.
                (false, false) => (!matches!(self.by_name.get(&other), Some(Candidate::Out(_))), false),
                moved => moved,
            };
        // Both findings are made before either moves: they are about the versions that conflict.
        let about_loser = loser_moves.then(|| self.finding(&conflict));
        let about_other = conflict.turn().filter(|_| other_moves).map(|turned| self.finding(&turned));
        for (name, finding) in [(loser, about_loser), (other, about_other)] {
            if let Some(finding) = finding {
                found.push(finding);
                self.step_down(&name);
                moved.insert(name);
            }
        }
    }

    /// True if it is new and has no last good version.
    fn is_newcomer(&self, name: &FileName) -> bool {
        matches!(self.by_name.get(name), Some(Candidate::New(_))) && !self.last.contains_key(name)
    }

    /// True if it changed, and its last good version does not conflict with the other.
    fn reverting_helps(&self, name: &FileName, other: &FileName) -> bool {
        let (Some(Candidate::New(_)), Some(last), Some(other)) =
            (self.by_name.get(name), self.last.get(name), self.by_name.get(other))
        else {
            return false;
        };
        let last = last.compiled.clone();
        match other {
            Candidate::Serves(Serving { good, .. }) | Candidate::New(good) => {
                table::link(&[], &[last, good.compiled.clone()], &[], &Budgets::default()).is_empty()
            }
            Candidate::Out(rejected) => {
                table::link(&[], &[last], std::slice::from_ref(rejected), &Budgets::default()).is_empty()
            }
        }
    }

    /// Reverts a changed provider to its last good version, and rejects any other.
    fn step_down(&mut self, name: &FileName) {
        let Some(candidate) = self.by_name.get_mut(name) else { return };
        *candidate = match (&*candidate, self.last.get(name)) {
            (Candidate::New(_), Some(good)) => Candidate::Serves(Serving { good: good.clone(), stale: true }),
            (Candidate::New(good) | Candidate::Serves(Serving { good, .. }), _) => {
                Candidate::Out(Rejected::from(&*good.compiled))
            }
            (Candidate::Out(_), _) => return,
        };
    }

    /// The finding; places in a last good version are marked as such.
    fn finding(&self, conflict: &Conflict) -> Diagnostic {
        let mut diagnostic = conflict.diagnostic.clone();
        if let Some(Candidate::Serves(Serving { stale: true, .. })) = self.by_name.get(&conflict.other) {
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
    fn made(files: &str) -> BTreeMap<FileName, CurrentVersion> {
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
        let bad = compiled.rejected.into_iter().map(|one| (one.name.clone(), CurrentVersion::Bad(one)));
        let good = compiled.providers.into_iter().map(|compiled| {
            let bound = Arc::new(bind::bind(&compiled, |_, _, _| None).0.unwrap());
            (
                compiled.name.clone(),
                CurrentVersion::New(Good {
                    compiled,
                    bound,
                    warnings: Vec::new(),
                    used: Used::default(),
                    linked: false,
                }),
            )
        });
        bad.chain(good).collect()
    }

    /// The serving providers (`~` if stale), then `-` and each rejected one; and the findings.
    fn outcome(last: &str, now: &str) -> (String, Vec<Diagnostic>) {
        let same: BTreeSet<&str> = last.split_terminator(';').map(str::trim).collect();
        let same = now.split_terminator(';').map(str::trim).filter(|one| same.contains(one));
        let same: Vec<&str> = same.filter_map(|one| Some(one.split_once('=')?.0)).collect();
        let last = made(last).into_iter().filter_map(|(name, current)| match current {
            CurrentVersion::New(good) => Some((name, good)),
            _ => None,
        });
        let current = made(now).into_iter().map(|(name, current)| {
            let current = if same.contains(&name.as_str()) { CurrentVersion::Same } else { current };
            (name, current)
        });
        let reconciled = reconcile(current.collect(), &last.collect());
        let shown = reconciled.serving.iter().map(|(name, one)| {
            let path = &one.good.compiled.endpoints[0].paths[0].text;
            format!("{name}{}{}", if one.stale { "~" } else { "=" }, path.trim_start_matches("/p/"))
        });
        let out = reconciled.rejected.iter().map(|one| format!("-{}", one.name));
        (shown.chain(out).collect::<Vec<_>>().join(" "), reconciled.diagnostics)
    }

    #[test]
    fn serving_provider_is_never_displaced() {
        let check = |last: &str, now: &str, expected: &str, files: &[&str]| {
            let (found, diagnostics) = outcome(last, now);
            let at: Vec<&str> = diagnostics.iter().map(|one| &*one.at.file).collect();
            assert_eq!((found.as_str(), &at[..]), (expected, files), "{last} -> {now}");
        };
        // No conflict.
        check("", "a=x;b=y;", "a=x b=y", &[]);
        check("a=x;", "a=x;b=!;", "a=x -b", &[]);
        check("a=x;", "a=!;", "a~x", &[]);
        check("a=x;", "a=y;", "a=y", &[]);
        check("a=x;b=y;", "b=y;", "b=y", &[]);
        // Of two new ones the later name loses; of three in a row only the one in the middle.
        check("", "a=x;b=x;", "a=x -b", &["b.toml"]);
        check("", "a=x;b=x;c=x;", "a=x -b -c", &["b.toml", "c.toml"]);
        // A new one loses to one that served, whatever its name; the finding is about the new one.
        check("b=x;", "a=x;b=x;", "b=x -a", &["a.toml"]);
        check("b=x;", "a=x;b=!;", "b~x -a", &["a.toml"]);
        // The one that changed reverts, the other does not.
        check("a=x;b=y;", "a=y;b=y;", "a~x b=y", &["a.toml"]);
        check("a=x;b=y;", "a=x;b=x;", "a=x b~y", &["b.toml"]);
        // If two change at once into a conflict, both revert.
        check("a=x;b=y;", "a=z;b=z;", "a~x b~y", &["b.toml", "a.toml"]);
        // A swap is no conflict, nor is a move.
        check("a=x;b=y;", "a=y;b=x;", "a=y b=x", &[]);
        check("a=x;", "b=x;", "b=x", &[]);
        // A revert takes a path back from another provider, so that one reverts too.
        check("a=x;b=y;c=z;", "a=z;b=x;c=z;", "a~x b~y c=z", &["a.toml", "b.toml"]);
        check("a=x;b=y;", "a=!;b=x;", "a~x b~y", &["b.toml"]);
        check("a=x;", "a=!;b=x;", "a~x -b", &["b.toml"]);
        // A change that is not about the conflict serves: reverting it would not help.
        check("a=x;", "a=x #;b=x;", "a=x -b", &["b.toml"]);
        check("b=x;", "a=x;b=x #;", "b=x -a", &["a.toml"]);
        check("a=x;b=y;", "a=x #;b=x;", "a=x b~y", &["b.toml"]);
        // One that moves to the path of a new one reverts, since it has a last good version.
        check("a=x;", "a=y;b=y;", "a~x b=y", &["a.toml"]);
    }

    #[test]
    fn section_stays_with_its_provider() {
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
        // A broken newcomer takes no section away; a broken owner keeps its section.
        check("b=y OWN;", "a=! OWN;b=y OWN;", "b=y -a", 0);
        check("b=y OWN;", "a=x OWN;b=! OWN;", "b~y -a", 1);
        // A broken newcomer does not block changes of the owner. No provider gains a section by a change.
        check("b=y OWN;", "a=! OWN;b=z OWN;", "b=z -a", 0);
        check("b=y OWN;", "a=x OWN;b=z OWN;", "b=z -a", 1);
        check("b=y;", "a=! OWN;b=y OWN;", "b~y -a", 1);
        check("a=x OWN;b=y;", "a=x OWN;b=y OWN;", "a=x b~y", 1);
    }

    #[test]
    fn position_in_a_last_good_version_is_marked() {
        let (found, diagnostics) = outcome("b=x;", "a=x;b=!;");
        let related: Vec<&str> = diagnostics[0].related.iter().map(|(at, _)| &*at.file).collect();
        assert_eq!((found.as_str(), related), ("b~x -a", vec!["b.toml (last good)"]));
    }
}
