//! `tollgate prove`: verifies the provider files against each rule of `policy.toml`, over all settings of all vars.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{check, print_error};
use crate::{
    compile,
    diag::{Location, Sources},
    escape::Lines,
    files::{SourceTree, policy_of},
    numbers::counted,
    output::{self, Document},
    pipeline::{self, Loaded},
    prove::{self, Breach, Note, Outcome, RuleResult},
    settings::{Places, Source},
};

/// Prove or refute each rule of `policy.toml` over all provider files and all settings of their vars
///
/// The policy is beside the providers directory, or beside that of limits if the providers are the built-in ones. A rule that does not hold is shown with a counterexample: a request, the vars
/// to set, and its route to the upstream.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all rules hold, 1 one does not or cannot be decided, 2 nothing can be proved"
)]
pub struct Args {
    /// The directory of providers or of limits [default: that of the settings]
    #[arg(value_name = "DIR")]
    path: Option<PathBuf>,
    /// The policy file [default: `policy.toml` beside the directory]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The output format
    #[arg(long, value_enum, default_value_t = ProveFormat::Human)]
    format: ProveFormat,
}

/// Output format of the verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ProveFormat {
    /// Text for people
    Human,
    /// One JSON document
    Json,
}

/// Verifies and prints. Returns the exit code.
pub fn main(args: &Args, places: &Places) -> ExitCode {
    match run(args, places) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            print_error(&error);
            ExitCode::from(2)
        }
    }
}

/// Returns true if all rules hold.
fn run(args: &Args, places: &Places) -> anyhow::Result<bool> {
    let source = match &args.path {
        Some(dir) => check::source_of(dir),
        None => places.providers()?,
    };
    let what = check::describe(&source);
    let mut tree =
        SourceTree::read(&source, &SourceTree::default()).with_context(|| format!("cannot read {what}"))?;
    if let Some(policy) = &args.policy {
        tree.set_policy(policy);
    }
    if tree.policy().is_none() {
        bail!("there is no policy: {}", missing(args, &source));
    }
    let loaded = Loaded { sources: tree.sources(), ..pipeline::parse(tree.input_files(), |_| true) };
    let compiled = compile::compile(&loaded.files);
    let mut found = loaded.diagnostics;
    found.extend(compiled.diagnostics);
    found.extend(compiled.budgets.findings());
    let rules = match &loaded.files.policy {
        Some((_, Ok(policy))) => {
            let (rules, wrong) = prove::compile(policy);
            found.extend(wrong);
            rules
        }
        Some((_, Err(_))) | None => None,
    };
    found.sort();
    let Some(rules) = rules.filter(|_| found.is_empty()) else {
        check::show(&loaded.sources, &found)?;
        bail!("nothing can be proved of files with errors: mend them first");
    };
    let verdicts = prove::prove_with(rules, &compiled.providers, &compiled.limits, &compiled.budgets);
    let printed = match args.format {
        ProveFormat::Human => output::print(&human(&loaded.sources, &verdicts)),
        ProveFormat::Json => output::print_document(&Document::json(&document(&loaded.sources, &verdicts))?),
    };
    printed.context("failed to print")?;
    Ok(verdicts.iter().all(|verdict| verdict.breaches.is_empty()))
}

fn missing(args: &Args, source: &Source) -> String {
    match (&args.policy, policy_of(source)) {
        (Some(path), _) => format!("`{}` does not exist", path.display()),
        (None, Some(path)) => format!("write `{}`, or name one with `--policy`", path.display()),
        (None, None) => "the built-in files have none; name one with `--policy`".into(),
    }
}

fn human(sources: &Sources, verdicts: &[RuleResult]) -> Lines {
    let mut text = Lines::default();
    for verdict in verdicts {
        let RuleResult { rule, concerns, breaches, notes } = verdict;
        let word = match verdict.outcome() {
            Outcome::Holds => "holds ",
            Outcome::Broken => "BROKEN",
            Outcome::Undecided => "CANNOT BE DECIDED",
        };
        let concerns = match concerns {
            0 => "concerns no provider".to_owned(),
            number => counted(number, "provider"),
        };
        text.push(format_args!("{word}  {} ({}): {concerns}", rule.name, prove::position(sources, &rule.at)));
        for breach in breaches {
            show(&mut text, sources, breach);
        }
        for Note { at, what, .. } in notes {
            text.push(format_args!("  note: {what} ({})", prove::position(sources, at)));
        }
        if let Some(note) = notes.first() {
            text.push(format_args!("    help: {}", note.help));
        }
    }
    let broken = verdicts.iter().filter(|verdict| !verdict.breaches.is_empty()).count();
    let holding = verdicts.len() - broken;
    text.push(format_args!(
        "{}: {holding} {}, {broken} broken",
        counted(verdicts.len(), "rule"),
        if holding == 1 { "holds" } else { "hold" }
    ));
    text
}

fn show(text: &mut Lines, sources: &Sources, breach: &Breach) {
    text.push(format_args!("  {}: {}", prove::position(sources, &breach.at), breach.what));
    text.push(format_args!("    provider  {}", breach.provider));
    if let Some(example) = &breach.example {
        text.push(format_args!("    request   `{}`", example.request));
        text.push(format_args!("    vars      {}", example.vars()));
        for step in &example.route {
            let at = step.at.as_ref().map(|at| format!("  ({})", prove::position(sources, at)));
            text.push(format_args!("    {:<9} {}{}", step.kind, step.what, at.unwrap_or_default()));
        }
    }
    text.push(format_args!("    help: {}", breach.help));
}

fn document(sources: &Sources, verdicts: &[RuleResult]) -> Value {
    let rules = verdicts.iter().map(|verdict| {
        let RuleResult { rule, concerns, breaches, notes } = verdict;
        let notes: Vec<Value> = notes.iter().map(|note| note_json(sources, note)).collect();
        let breaches: Vec<Value> = breaches.iter().map(|breach| breach_json(sources, breach)).collect();
        json!({
            "name": rule.name, "at": location_json(sources, &rule.at), "holds": breaches.is_empty(),
            "outcome": verdict.outcome().as_str(), "concerns": concerns, "breaches": breaches,
            "notes": notes,
        })
    });
    let holds = verdicts.iter().all(|verdict| verdict.breaches.is_empty());
    json!({ "holds": holds, "rules": rules.collect::<Vec<_>>() })
}

fn breach_json(sources: &Sources, breach: &Breach) -> Value {
    let example = breach.example.as_ref().map(|example| {
        let way = example.route.iter().map(|step| {
            let at = step.at.as_ref().map(|place| location_json(sources, place));
            json!({ "kind": step.kind, "what": step.what, "at": at })
        });
        json!({ "request": example.request, "set": example.set, "way": way.collect::<Vec<_>>() })
    });
    json!({
        "provider": breach.provider.as_str(), "at": location_json(sources, &breach.at), "what": breach.what, "help": breach.help,
        "example": example,
    })
}

fn note_json(sources: &Sources, Note { provider, at, what, help }: &Note) -> Value {
    json!({ "provider": provider.as_str(), "at": location_json(sources, at), "what": what, "help": help })
}

fn location_json(sources: &Sources, at: &Location) -> Value {
    let (line, column) = sources.line_column(at);
    json!({ "file": &*at.file, "line": line, "column": column })
}
