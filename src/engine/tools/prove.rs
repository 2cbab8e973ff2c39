//! Whether provider files keep to a policy: `policy.toml` says what has to hold of all of them, and each rule is proved
//! or refuted over all settings of all vars (`ways`). A rule that does not hold comes with a counterexample: a request,
//! what has to be set, and the way it takes.
//!
//! Pure, and static: no request is made up and tried. What a var holds is unknown here and counts as anything.

mod judge;
mod rules;
mod witness;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    base::{
        diag::{At, Code, Diagnostic, Sources},
        name::FileName,
    },
    language::compile::{Files, Provider},
};

pub use rules::{Kind, Rule, compile};

/// What came of a rule.
#[derive(Debug)]
pub struct Verdict {
    /// The rule.
    pub rule: Rule,
    /// How many providers it says something of.
    pub concerns: usize,
    /// Where it does not hold.
    pub breaches: Vec<Breach>,
}

/// A place where a rule does not hold.
#[derive(Debug, Clone)]
pub struct Breach {
    /// Of which provider.
    pub provider: FileName,
    /// What in the provider's own file brings it about.
    pub own: At,
    /// What is to mend, in that file or in one that it is made of.
    pub at: At,
    /// What is wrong: a fragment.
    pub what: String,
    /// How to mend it.
    pub help: String,
    /// How it comes to it; none where no request has to be made for it.
    pub example: Option<Example>,
}

/// A counterexample.
#[derive(Debug, Clone)]
pub struct Example {
    /// The request: method and path.
    pub request: String,
    /// The vars that have to be set; all others need not.
    pub set: Vec<String>,
    /// The way that it takes, in order.
    pub way: Vec<Step>,
}

/// A step of a request's way.
#[derive(Debug, Clone)]
pub struct Step {
    /// What kind of step, in a word.
    pub kind: &'static str,
    /// What it is.
    pub what: String,
    /// Where it is written.
    pub at: Option<At>,
}

/// What came of a policy, where files are checked.
#[derive(Debug, Default)]
pub struct Judged {
    /// What is wrong with the policy itself: nothing is known to keep to it.
    pub policy: Vec<Diagnostic>,
    /// What is wrong with each provider that does not keep to it.
    pub broken: BTreeMap<FileName, Vec<Diagnostic>>,
}

impl Judged {
    /// All findings.
    pub fn into_diagnostics(self) -> impl Iterator<Item = Diagnostic> {
        self.policy.into_iter().chain(self.broken.into_values().flatten())
    }
}

/// Holds providers against the policy that came with their files, if one did.
pub fn judge(files: &Files, providers: &[Arc<Provider>]) -> Judged {
    // What is wrong with its form was told where it was parsed.
    let Some((_, Ok(policy))) = &files.policy else { return Judged::default() };
    let (rules, found) = compile(policy);
    let mut judged = Judged { policy: found, ..Judged::default() };
    for verdict in prove(rules.unwrap_or_default(), providers) {
        for breach in &verdict.breaches {
            let told = breach.diagnostic(&verdict.rule);
            judged.broken.entry(breach.provider.clone()).or_default().push(told);
        }
    }
    judged
}

/// Proves or refutes each rule.
pub fn prove(rules: Vec<Rule>, providers: &[Arc<Provider>]) -> Vec<Verdict> {
    let one = |rule: Rule| {
        let held = providers.iter().filter(|provider| rule.concerns(provider)).collect::<Vec<_>>();
        let breaches = held.iter().flat_map(|provider| judge::breaches(&rule.kind, provider)).collect();
        Verdict { concerns: held.len(), breaches, rule }
    };
    rules.into_iter().map(one).collect()
}

impl Breach {
    /// The breach as a finding about the provider's file.
    pub fn diagnostic(&self, rule: &Rule) -> Diagnostic {
        let at = if self.at.file == self.own.file { &self.at } else { &self.own };
        let message = format!("breaks the policy \"{}\": {}", rule.name, self.what);
        let mut told =
            Diagnostic::new(Code::Policy, at.clone(), message).related(rule.at.clone(), "the rule");
        if at != &self.at {
            told = told.related(self.at.clone(), "what is said there");
        }
        let example = self.example.as_ref().map(|example| format!("\nfor example: {}", example.line()));
        told.help(format!("{}{}", self.help, example.unwrap_or_default()))
    }
}

impl Example {
    /// All of it on a line.
    pub fn line(&self) -> String {
        let steps = self.way.iter().map(|step| format!("{} {}", step.kind, step.what));
        format!("`{}` with {}: {}", self.request, self.vars(), steps.collect::<Vec<_>>().join(", "))
    }

    /// What has to be set, in words.
    pub fn vars(&self) -> String {
        match self.set.as_slice() {
            [] => "no optional var set".to_owned(),
            set => format!("{} set", crate::language::syntax::backticked(set)),
        }
    }
}

/// A place as `file:line:column`.
pub fn place(sources: &Sources, at: &At) -> String {
    let (line, column) = sources.line_column(at);
    format!("{}:{line}:{column}", at.file)
}

#[cfg(test)]
mod tests;
