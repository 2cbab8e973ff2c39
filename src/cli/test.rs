//! `tollgate test`: runs the tests in provider files, shows the explanation of each failure, and reports coverage.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::{check, whole_file};
use crate::{
    compile::{self, Compiled, Glob, PriceFile, Prices},
    diag::{Code, Diagnostic, Location, MAX_SHOWN_FINDINGS},
    escape::Lines,
    explain::{self, Caller, Context, StoredValue},
    files,
    filetest::{self, Case, Coverage, Item, LimitTests, Mismatch, Problem, Runner, Suite, TestResult},
    numbers::counted,
    output,
    pipeline::{Folder, Loaded},
    secret::Secret,
    settings::Source,
};

/// The arguments of `tollgate test`.
///
/// Needs no network, environment or secret. Coverage counts the endpoints, `[[auth]]` entries, gateways and egresses of each
/// provider that its own tests exercise.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all tests pass, 1 one fails or coverage is too low, 2 they cannot be run"
)]
pub struct Args {
    /// Provider directories, or files in one [default: the providers directory]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Run only tests whose `FILE::NAME` contains this text, or matches it as a glob if it has a `*`
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Fail if coverage is below this, in percent
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    fail_under: Option<f64>,
    /// Also write the results as `JUnit` XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number =
        text.trim_end_matches('%').parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "give a number from 0 to 100".to_owned())
}

/// The results of all tests.
#[derive(Default)]
struct Results {
    suites: BTreeMap<String, Suite>,
    coverage: Coverage,
    /// The failures, as printed.
    shown: Lines,
    failed: usize,
    ran: usize,
    broken: usize,
}

/// Runs the tests and prints the results. Returns true if all pass with sufficient coverage.
pub fn run(args: &Args, default: &Source) -> anyhow::Result<bool> {
    let mut results = Results::default();
    let mut missing = Lines::default();
    for (origin, only) in check::selected_files(&args.paths, default)? {
        let what = check::describe(&origin);
        let loaded = files::load(&origin).with_context(|| format!("cannot read {what}"))?;
        let unknown = only.iter().flatten().find(|only| !loaded.sources.has(only));
        ensure!(unknown.is_none(), "`{}` is no provider file", unknown.cloned().unwrap_or_default());
        let mut coverage = Coverage::default();
        TestRun {
            loaded: &loaded,
            only: only.as_ref(),
            filter: args.filter.as_deref(),
            with_texts: args.junit.is_some(),
        }
        .run(&mut results, &mut coverage)?;
        coverage.missing().for_each(|item| not_covered(&mut missing, &loaded, item));
        results.coverage.extend(coverage);
    }
    if let Some(filter) = &args.filter {
        ensure!(results.ran > 0, "no test's `FILE::NAME` matches `{filter}`");
    }
    if let Some(path) = &args.junit {
        let suites: Vec<Suite> = std::mem::take(&mut results.suites).into_values().collect();
        let text = filetest::junit(&suites);
        whole_file::write(path, &text).with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    let enough = args.fail_under.is_none_or(|bar| results.coverage.percent() >= bar);
    // A filtered run covers only a part, so its coverage means little.
    let show_coverage = args.filter.is_none() || args.fail_under.is_some();
    let mut text = std::mem::take(&mut results.shown);
    if show_coverage {
        text.append(&missing);
    }
    text.append(&summary(&results, show_coverage));
    if !enough {
        let bar = args.fail_under.unwrap_or_default();
        text.push(format_args!("coverage is below {bar} %"));
    }
    output::print(&text).context("failed to print")?;
    Ok(results.failed == 0 && results.broken == 0 && enough)
}

/// A run of the selected tests of one providers directory.
struct TestRun<'a> {
    loaded: &'a Loaded,
    only: Option<&'a BTreeSet<String>>,
    filter: Option<&'a str>,
    /// True if the results keep the rendered findings.
    with_texts: bool,
}

impl TestRun<'_> {
    fn run(&self, results: &mut Results, coverage: &mut Coverage) -> anyhow::Result<()> {
        let compiled = compile::compile(&self.loaded.files);
        self.broken(&compiled, results)?;
        for provider in compiled.providers.iter().filter(|one| self.wants(&one.at.file)) {
            coverage.add(provider);
        }
        let mut runner = Runner::default();
        for (provider, test, is_fixture) in filetest::all(&compiled) {
            if !self.wants(&test.at.file) || !self.fits(&test.at.file, &test.spec.name) {
                continue;
            }
            let began = Instant::now();
            let result = runner.run(provider, test);
            let took = began.elapsed();
            if !is_fixture {
                coverage.mark(provider, &result.exercised);
            }
            let problem = (!result.mismatches.is_empty()).then(|| {
                let text = self.failure(provider, test, is_fixture, &result);
                results.failed += 1;
                results.shown.append(&text);
                let message = result.mismatches.first().map(ToString::to_string).unwrap_or_default();
                Problem { ran: true, code: Code::Test.as_str(), message, text: (*text).to_owned() }
            });
            results.ran += 1;
            results.add(&test.at.file, &test.spec.name, took, problem);
        }
        for file in compiled.prices.iter().filter(|file| self.wants(&file.file)) {
            self.prices(file, results);
        }
        self.limits(&compiled, results);
        Ok(())
    }

    /// Runs the tests of limits files, each against all limits.
    fn limits(&self, compiled: &Compiled, results: &mut Results) {
        let files = compiled.limits.iter().filter(|file| self.wants(&file.file));
        let chosen: Vec<_> = files
            .flat_map(|file| file.tests.iter().map(move |test| (file, test)))
            .filter(|(file, test)| self.fits(&file.file, &test.spec.name))
            .collect();
        if chosen.is_empty() {
            return;
        }
        let tests = LimitTests::of(compiled);
        for (file, test) in chosen {
            let budget = compiled.budgets.of(&file.file);
            let began = Instant::now();
            let mut mismatches = tests.run(test, &budget);
            let took = began.elapsed();
            mismatches.extend(budget.problem().map(|problem| Mismatch::Other(format!("the file {problem}"))));
            self.add(results, (&test.at, &test.spec.name), took, &mismatches);
        }
    }

    /// Runs the tests of a price file.
    fn prices(&self, file: &Arc<PriceFile>, results: &mut Results) {
        let prices = Prices::new(vec![file.clone()]);
        for test in file.tests.iter().filter(|test| self.fits(&file.file, &test.spec.name)) {
            let began = Instant::now();
            let mismatches = filetest::run_price_test(file, &prices, test);
            let took = began.elapsed();
            self.add(results, (&test.at, &test.spec.name), took, &mismatches);
        }
    }

    /// Adds the result of a test that has no explanation.
    fn add(&self, results: &mut Results, (at, name): (&Location, &str), took: Duration, wrong: &[Mismatch]) {
        let problem = wrong.first().map(|first| {
            let text = self.mismatches(at, name, wrong);
            results.failed += 1;
            results.shown.append(&text);
            let message = first.to_string();
            Problem { ran: true, code: Code::Test.as_str(), message, text: (*text).to_owned() }
        });
        results.ran += 1;
        results.add(&at.file, name, took, problem);
    }

    fn wants(&self, file: &str) -> bool {
        self.only.is_none_or(|only| only.contains(file))
    }

    fn fits(&self, file: &str, name: &str) -> bool {
        let id = format!("{}::{name}", short(file));
        self.filter.is_none_or(|filter| {
            if filter.contains('*') {
                let glob = Glob::new(filter);
                glob.matches(&id) || glob.matches(name)
            } else {
                id.contains(filter)
            }
        })
    }

    /// Reports files with errors as failures: their tests cannot run, and must not count as passed.
    fn broken(&self, compiled: &Compiled, results: &mut Results) -> anyhow::Result<()> {
        let mut found: Vec<Diagnostic> =
            self.loaded.diagnostics.iter().chain(&compiled.diagnostics).cloned().collect();
        found.retain(|one| self.wants(&one.at.file));
        found.sort();
        check::show(&self.loaded.sources, &found)?;
        results.broken += found.len();
        // A file of results has them too. Rendering them again takes its time.
        for one in found.iter().take(if self.with_texts { MAX_SHOWN_FINDINGS } else { 0 }) {
            let text = (*self.loaded.sources.render(std::slice::from_ref(one), false)).to_owned();
            let code = one.code.as_str();
            let problem = Problem { ran: false, code, message: one.message.clone(), text };
            results.add(&one.at.file, code, Duration::ZERO, Some(problem));
        }
        Ok(())
    }

    /// The report of a failed test: its place, expected and actual values, and the explanation.
    fn failure(
        &self,
        provider: &Arc<compile::Provider>,
        test: &compile::Test,
        is_fixture: bool,
        result: &TestResult,
    ) -> Lines {
        let mut out = self.mismatches(&test.at, &test.spec.name, &result.mismatches);
        if let Ok((table, head)) = filetest::set_up(provider, &test.spec) {
            let context = Context {
                files: &self.loaded.files,
                sources: &self.loaded.sources,
                table: &table,
                providers: std::slice::from_ref(provider),
                fixture: is_fixture.then_some((&*test.at.file, test.index)),
            };
            let held = test.spec.credentials.iter().flatten();
            let held =
                held.map(|(field, value)| (field.clone(), StoredValue::Value(Secret::new(value.text()))));
            let caller = Caller::given(held, "the test's `credentials` have none");
            let values = |owner: crate::bind::VarOwner<'_>, name: &str, _: &compile::Var| {
                Ok(filetest::var(&test.spec, owner, name))
            };
            let explained = explain::explain(context, &head, &values, &caller).to_string();
            out.push(format_args!("  explanation"));
            out.indented("    ", &Lines::split(&explained));
        }
        out.push(format_args!(""));
        out
    }

    /// The place of a failed test, with expected and actual values.
    fn mismatches(&self, at: &Location, name: &str, mismatches: &[Mismatch]) -> Lines {
        let mut out = Lines::one(format_args!("FAIL {}::{name}  ({})", short(&at.file), self.place(at)));
        for wrong in mismatches {
            match wrong {
                Mismatch::Other(sentence) => out.push(format_args!("  {sentence}")),
                Mismatch::Differs { what, expected, actual } => {
                    let actual =
                        actual.as_deref().map_or_else(|| "(missing)".to_owned(), |one| format!("`{one}`"));
                    out.push(format_args!("  {what}"));
                    out.push(format_args!("    - expected `{expected}`"));
                    out.push(format_args!("    + actual   {actual}"));
                }
            }
        }
        out
    }

    fn place(&self, at: &Location) -> String {
        place(self.loaded, at)
    }
}

impl Results {
    fn add(&mut self, file: &str, name: &str, took: Duration, problem: Option<Problem>) {
        let suite = self.suites.entry(file.to_owned()).or_default();
        file.clone_into(&mut suite.name);
        suite.cases.push(Case { name: name.to_owned(), took, problem });
    }
}

fn place(loaded: &Loaded, at: &Location) -> String {
    format!("{}:{}", at.file, loaded.sources.line_column(at).0)
}

/// The name of a file without `.toml`, with its folder if it has one.
fn short(file: &str) -> &str {
    Folder::shown_path(file).trim_end_matches(".toml")
}

fn not_covered(text: &mut Lines, loaded: &Loaded, item: &Item) {
    let Item { kind, name, provider, at, .. } = item;
    text.push(format_args!("not covered: {kind} `{name}` of `{provider}`  ({})", place(loaded, at)));
}

fn summary(results: &Results, coverage: bool) -> Lines {
    let passed = results.ran - results.failed;
    let mut text = format!("{}: {passed} passed, {} failed", counted(results.ran, "test"), results.failed);
    if results.broken > 0 {
        text = format!("{text}; {} in the files", counted(results.broken, "error"));
    }
    let mut text = Lines::one(format_args!("{text}"));
    if coverage {
        let kinds = results
            .coverage
            .kinds()
            .map(|(kind, covered, all)| format!("{covered} of {}", counted(all, kind)));
        let kinds: Vec<String> = kinds.collect();
        let percent = shown_percent(results.coverage.percent());
        text.push(format_args!("coverage {percent} %: {}", kinds.join(", ")));
    }
    text
}

/// Rounded down: only full coverage is 100.
fn shown_percent(percent: f64) -> String {
    let shown = format!("{:.1}", (percent * 10.0).floor() / 10.0);
    shown.trim_end_matches(".0").to_owned()
}
