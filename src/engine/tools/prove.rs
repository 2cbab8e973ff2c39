//! Proves or refutes each rule of `policy.toml` for all providers, over all settings of all vars. A rule that does not
//! hold comes with a counterexample: a request, the vars to set, and its route to the upstream.
//!
//! Static analysis: it tries out no request, and assumes any value for a var. Read next: `check`, one rule against one
//! provider; [`super::upstream_routes`].

mod breaches;
mod glob_automaton;
mod check;
mod limits;
mod rules;
mod name_search;
mod unknown;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    base::{
        budget::Budgets,
        diag::{Code, Diagnostic, Location, Sources},
        name::FileName,
        numbers::counted,
        suggest::backticked,
    },
    language::compile::{Compiled, Files, LimitFile, Provider},
};

pub use limits::Required;
pub use rules::{Claim, Rule, compile};

/// The result for one rule.
#[derive(Debug)]
pub struct RuleResult {
    /// The rule.
    pub rule: Rule,
    /// Number of providers that the rule applies to.
    pub concerns: usize,
    /// Places where it does not hold.
    pub breaches: Vec<Breach>,
    /// What it does not speak of, also where it holds.
    pub notes: Vec<Note>,
}

/// Calls that a rule does not speak of, although a reader may think so. It breaks no rule.
#[derive(Debug, Clone)]
pub struct Note {
    /// The provider.
    pub provider: FileName,
    /// The first of the endpoints.
    pub at: Location,
    /// The message, a fragment.
    pub what: String,
    /// The way to mend it.
    pub help: String,
}

/// A place where a rule does not hold.
#[derive(Debug, Clone)]
pub struct Breach {
    /// The provider.
    pub provider: FileName,
    /// The cause, in the provider's own file.
    pub own: Location,
    /// The place to fix, in that file or in one that it uses.
    pub at: Location,
    /// The message, a fragment.
    pub what: String,
    /// The fix.
    pub help: String,
    /// A counterexample; none if the breach needs no request.
    pub example: Option<Example>,
    /// True if it cannot be decided whether the rule holds there: the search is too large. It counts as broken.
    pub is_undecided: bool,
}

/// The result for one rule, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Holds,
    /// It does not hold.
    Broken,
    /// It cannot be decided whether it holds. It counts as broken.
    Undecided,
}

impl RuleResult {
    /// The result in a word.
    pub fn outcome(&self) -> Outcome {
        match self.breaches.as_slice() {
            [] => Outcome::Holds,
            breaches if breaches.iter().all(|breach| breach.is_undecided) => Outcome::Undecided,
            _ => Outcome::Broken,
        }
    }

    /// What the rule does not speak of, as one finding about it: there may be a note of each provider.
    pub fn noted(&self) -> Option<Diagnostic> {
        let note = self.notes.first()?;
        let mut message = format!("the policy \"{}\" does not see all calls: {}", self.rule.name, note.what);
        if self.notes.len() > 1 {
            let others = counted(self.notes.len() - 1, "further provider");
            message = format!("{message}; likewise at {others}, which `tollgate prove` names");
        }
        let finding = Diagnostic::new(Code::UncountedUse, self.rule.at.clone(), message);
        Some(finding.related(note.at.clone(), "the first of them").help(note.help.clone()))
    }
}

impl Outcome {
    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Broken => "broken",
            Self::Undecided => "undecided",
        }
    }
}

/// A counterexample.
#[derive(Debug, Clone)]
pub struct Example {
    /// The request: method and path.
    pub request: String,
    /// The vars to set. All others are unset.
    pub set: Vec<String>,
    /// Its route, step by step.
    pub route: Vec<Step>,
}

/// A step of a counterexample's route.
#[derive(Debug, Clone)]
pub struct Step {
    /// The kind of step, in a word.
    pub kind: &'static str,
    /// Its text.
    pub what: String,
    /// Its position in a file.
    pub at: Option<Location>,
}

/// The result of a policy for a set of files.
#[derive(Debug, Default)]
pub struct PolicyFindings {
    /// Errors in the policy itself. Then no provider is known to keep it.
    pub policy: Vec<Diagnostic>,
    /// Findings of each provider that breaks it.
    pub broken: BTreeMap<FileName, Vec<Diagnostic>>,
    /// What it does not speak of.
    pub notes: Vec<Diagnostic>,
}

impl PolicyFindings {
    /// All findings.
    pub fn into_diagnostics(self) -> impl Iterator<Item = Diagnostic> {
        self.policy.into_iter().chain(self.broken.into_values().flatten()).chain(self.notes)
    }
}

/// Checks providers and limits against the policy beside their files, if there is one.
pub fn check_policy(files: &Files, compiled: &Compiled) -> PolicyFindings {
    check_rules(files, compiled, |_| true)
}

/// Checks providers alone: rules for limits are left out, so that no limit takes a provider out of service.
pub fn check_providers(files: &Files, compiled: &Compiled) -> PolicyFindings {
    check_rules(files, compiled, |rule| !matches!(rule.kind, Claim::Limits(_)))
}

fn check_rules(files: &Files, compiled: &Compiled, is_wanted: impl Fn(&Rule) -> bool) -> PolicyFindings {
    // Parsing has already reported errors of form.
    let Some((_, Ok(policy))) = &files.policy else { return PolicyFindings::default() };
    let (rules, found) = compile(policy);
    let mut findings = PolicyFindings { policy: found, ..PolicyFindings::default() };
    let rules = rules.into_iter().flatten().filter(is_wanted).collect();
    for verdict in prove_with(rules, &compiled.providers, &compiled.limits, &compiled.budgets) {
        for breach in &verdict.breaches {
            let finding = breach.diagnostic(&verdict.rule);
            findings.broken.entry(breach.provider.clone()).or_default().push(finding);
        }
        findings.notes.extend(verdict.noted());
    }
    findings
}

/// Proves or refutes each rule for providers without limits.
pub fn prove(rules: Vec<Rule>, providers: &[Arc<Provider>], budgets: &Budgets) -> Vec<RuleResult> {
    prove_with(rules, providers, &[], budgets)
}

/// Proves or refutes each rule. The work is charged to each provider's file.
pub fn prove_with(
    rules: Vec<Rule>,
    providers: &[Arc<Provider>],
    limits: &[Arc<LimitFile>],
    budgets: &Budgets,
) -> Vec<RuleResult> {
    let one = |rule: Rule| {
        let globs = [&rule.except, rule.sections()];
        let work: usize = globs.iter().map(|globs| check::glob_steps(globs, FileName::MAX_LEN)).sum();
        let applies = |provider: &&Arc<Provider>| {
            // A provider whose budget does not suffice to find out breaks the rule.
            !budgets.of(&provider.at.file).work(work) || rule.applies_to(provider)
        };
        let held = providers.iter().filter(applies).collect::<Vec<_>>();
        let of = |provider: &&Arc<Provider>| {
            let budget = budgets.of(&provider.at.file);
            match &rule.kind {
                Claim::Limits(required) => required.breaches(&rule, provider, limits, &budget),
                _ => check::breaches(&rule, provider, &budget),
            }
        };
        let breaches = held.iter().flat_map(of).collect();
        let note = |provider: &&Arc<Provider>| match &rule.kind {
            Claim::Limits(required) => required.note(provider, &budgets.of(&provider.at.file)),
            _ => None,
        };
        let notes = held.iter().filter_map(note).collect();
        RuleResult { concerns: held.len(), breaches, notes, rule }
    };
    rules.into_iter().map(one).collect()
}

impl Breach {
    /// The breach as a finding about the provider's file.
    pub fn diagnostic(&self, rule: &Rule) -> Diagnostic {
        let at = if self.at.file == self.own.file { &self.at } else { &self.own };
        let verb = if self.is_undecided { "may break" } else { "breaks" };
        let message = format!("{verb} the policy \"{}\": {}", rule.name, self.what);
        let mut finding = Diagnostic::new(Code::Policy, at.clone(), message);
        if at != &rule.at {
            finding = finding.related(rule.at.clone(), "the rule");
        }
        if at != &self.at {
            finding = finding.related(self.at.clone(), "what is said there");
        }
        let example = self.example.as_ref().map(|example| format!("for example: {}", example.line()));
        finding.help_lines(std::iter::once(self.help.clone()).chain(example))
    }
}

impl Example {
    /// The whole example on one line.
    pub fn line(&self) -> String {
        let steps = self.route.iter().map(|step| format!("{} {}", step.kind, step.what));
        format!("`{}` with {}: {}", self.request, self.vars(), steps.collect::<Vec<_>>().join(", "))
    }

    /// The vars to set, as text.
    pub fn vars(&self) -> String {
        match self.set.as_slice() {
            [] => "no optional var set".to_owned(),
            set => format!("{} set", backticked(set)),
        }
    }
}

/// A position as `file:line:column`.
pub fn position(sources: &Sources, at: &Location) -> String {
    let (line, column) = sources.line_column(at);
    format!("{}:{line}:{column}", at.file)
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
