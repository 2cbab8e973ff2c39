//! `tollgate import`: reads the files of other projects about providers, makes provider files of them, and reports where the
//! projects, and the files that are there already, disagree.
//!
//! It guarantees: nothing is guessed without saying so, a line that a person wrote stays, and the order is always the same. It
//! names no provider: presets say which marks of the projects they are for. It reads no files. Read next: `read` (the formats of
//! the projects), `merge`, `file`, `report`.

mod file;
mod merge;
mod read;
mod report;
mod tree;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;

use self::{
    merge::{Merged, Preset, There, letters},
    read::{At, Claim, Claims, Fact, Model},
    tree::Spot,
};
use crate::{
    base::{name::FileName, origin::Origin, secret_scan},
    language::{
        format::{self, stamped},
        syntax::{self, FileKind, PROJECTS},
    },
};

pub use report::text;

/// A project whose files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Project {
    /// The catalogue of models.dev.
    #[serde(rename = "models.dev")]
    ModelsDev,
    /// The proxy litellm.
    #[serde(rename = "litellm")]
    Litellm,
    /// The catalogue catwalk.
    #[serde(rename = "catwalk")]
    Catwalk,
    /// The registry of bitrouter.
    #[serde(rename = "bitrouter")]
    Bitrouter,
}

/// Files of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    /// Below the project's directory. `*` is any name; `**` at the end is all files below.
    pub path: &'static str,
    /// True if the names of the files are read, and not their texts.
    pub names_only: bool,
}

impl Project {
    /// All projects.
    pub const ALL: [Self; 4] = [Self::ModelsDev, Self::Litellm, Self::Catwalk, Self::Bitrouter];

    /// Its name in arguments, reports and presets.
    pub fn name(self) -> &'static str {
        match self {
            Self::ModelsDev => PROJECTS[0],
            Self::Litellm => PROJECTS[1],
            Self::Catwalk => PROJECTS[2],
            Self::Bitrouter => PROJECTS[3],
        }
    }

    /// The project of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|project| project.name() == name)
    }

    /// The files that are read.
    pub fn patterns(self) -> &'static [Pattern] {
        const fn texts(path: &'static str) -> Pattern {
            Pattern { path, names_only: false }
        }
        const MODELS_DEV: &[Pattern] = &[
            texts("providers/*/provider.toml"),
            texts("api.json"),
            Pattern { path: "providers/*/models/**", names_only: true },
        ];
        const LITELLM: &[Pattern] =
            &[texts("litellm/llms/*/providers.json"), texts("model_prices_and_context_window.json")];
        const CATWALK: &[Pattern] = &[texts("internal/providers/configs/*.json")];
        const BITROUTER: &[Pattern] =
            &[texts("dist/registry/providers.json"), texts("crates/bitrouter-providers/providers/*.toml")];
        match self {
            Self::ModelsDev => MODELS_DEV,
            Self::Litellm => LITELLM,
            Self::Catwalk => CATWALK,
            Self::Bitrouter => BITROUTER,
        }
    }
}

/// A file of a project, or its name alone.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// The project.
    pub project: Project,
    /// Its path below the project's directory.
    pub path: Arc<str>,
    /// Its path in messages.
    pub shown: Arc<str>,
    /// Its text; none if only its name counts.
    pub text: Option<Arc<str>>,
}

/// A provider file that is there already.
#[derive(Debug, Clone)]
pub struct ThereText {
    /// Its path in messages.
    pub shown: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
}

/// What an import starts from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'i> {
    /// The files of the projects, in the order in which the projects were named.
    pub texts: &'i [SourceText],
    /// The presets; of two for one mark, the first counts.
    pub presets: &'i [(&'i FileName, &'i syntax::Provider)],
    /// The files of the directory that is written to.
    pub there: &'i BTreeMap<FileName, ThereText>,
    /// The providers that are built in.
    pub built_in: &'i BTreeMap<FileName, ThereText>,
    /// The known families of models.
    pub families: &'i BTreeSet<String>,
    /// The day for `checked`.
    pub checked: &'i str,
    /// True if the caller named the day: it is written even if nothing else changed.
    pub is_dated: bool,
    /// The wanted providers; all if there are none.
    pub only: &'i [FileName],
    /// The directory that is written to, in messages.
    pub out: &'i str,
    /// The line of new files that names the schema.
    pub header: &'i str,
}

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The project.
    pub project: Project,
    /// The file and the line.
    pub place: String,
    /// What was wrong.
    pub message: String,
}

/// What a project or a file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// The project; `file` for a file of the directory, `catalogue` for one that is built in.
    pub by: String,
    /// The value.
    pub value: String,
    /// The file and the line.
    pub place: String,
}

/// A disagreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The key, with dots between the steps.
    pub key: String,
    /// All values.
    pub statements: Vec<Statement>,
    /// The value that is taken.
    pub taken: String,
    /// The reason.
    pub why: String,
}

/// A line that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptLine {
    /// The key; `test NAME` for a test.
    pub key: String,
    /// Its value; none if the person removed it.
    pub value: Option<String>,
    /// What the projects say.
    pub wanted: String,
    /// The file and the line.
    pub place: String,
}

/// A line that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedLine {
    /// The key; `test NAME` for a test.
    pub key: String,
    /// The value before; none for a new line.
    pub before: Option<String>,
    /// The value now; none for a line that was removed.
    pub after: Option<String>,
}

/// What became of a provider's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is new.
    Made,
    /// It was there from an import, and changes.
    Changed,
    /// It was there from an import, and stays as it is.
    Unchanged,
    /// It was there from people: it was only compared.
    Compared,
    /// There is none.
    NotMade,
}

/// The report about a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderReport {
    /// Its name.
    pub name: String,
    /// What became of its file.
    pub outcome: Outcome,
    /// The file.
    pub file: Option<String>,
    /// The reason why there is none.
    pub reason: Option<String>,
    /// The projects that have its base URL.
    pub confirmed_by: Vec<Project>,
    /// The keys that no project confirms.
    pub assumed: Vec<String>,
    /// True if the catalogue has a provider of this name.
    pub in_catalogue: bool,
    /// The disagreements.
    pub conflicts: Vec<Conflict>,
    /// The lines that people wrote and that differ.
    pub kept: Vec<KeptLine>,
    /// The lines that changed.
    pub changes: Vec<ChangedLine>,
}

/// Providers that may be one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Alias {
    /// What they share: a base URL, or the letters of their names.
    pub shared: String,
    /// Their names; `NAME (catalogue)` for one that only the catalogue has.
    pub names: Vec<String>,
}

/// The numbers of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Providers that the projects name.
    pub seen: usize,
    /// New files.
    pub made: usize,
    /// Files that change.
    pub changed: usize,
    /// Files of earlier imports that stay as they are.
    pub unchanged: usize,
    /// Files of people, which are only compared.
    pub compared: usize,
    /// Providers without a file.
    pub not_made: usize,
    /// Providers whose base URL two projects have.
    pub confirmed: usize,
    /// Disagreements.
    pub conflicts: usize,
    /// Lines of people that differ from what the projects say.
    pub kept: usize,
    /// Values that cannot be used.
    pub findings: usize,
    /// Providers of the new files that the catalogue has too.
    pub in_catalogue: usize,
}

/// The report of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The numbers.
    pub counts: Counts,
    /// The providers, by name.
    pub providers: Vec<ProviderReport>,
    /// Providers that may be one.
    pub aliases: Vec<Alias>,
    /// Values that cannot be used.
    pub findings: Vec<Finding>,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The provider.
    pub name: FileName,
    /// Its path in messages.
    pub shown: Arc<str>,
    /// The whole text.
    pub text: String,
}

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The files to write.
    pub files: Vec<Planned>,
    /// The report.
    pub report: Report,
}

/// Reads the projects' files, merges what they say, and returns the files to write, with the report. Writes nothing.
pub fn plan(input: Input<'_>, findings: Vec<Finding>) -> Plan {
    let Claims { all: claims, findings: found, models } = read::read(input.texts);
    let mut by_name: BTreeMap<FileName, Vec<Claim>> = BTreeMap::new();
    for claim in claims {
        let is_wanted = input.only.is_empty() || input.only.contains(&claim.name);
        if is_wanted {
            by_name.entry(claim.name.clone()).or_default().push(claim);
        }
    }
    for Model { project, provider, id, path } in models {
        if let Some(claim) = by_name.get_mut(&provider).and_then(|claims| claims.first_mut()) {
            claim.models.insert(id);
            claim.model_files.insert(read::source_line(project, &path));
        }
    }
    let presets: Vec<Preset<'_>> =
        input.presets.iter().map(|(name, document)| Preset { name, document }).collect();
    let mut plan = Plan::default();
    let mut called: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, claims) in &by_name {
        let (report, file) = provider(input, &presets, name, claims, &mut called);
        plan.report.providers.push(report);
        plan.files.extend(file);
    }
    for name in input.only.iter().filter(|name| !by_name.contains_key(*name)) {
        let mut report = ProviderReport::new(input, name);
        report.reason = Some("no project names it".to_owned());
        plan.report.providers.push(report);
    }
    plan.report.providers.sort_by(|a, b| a.name.cmp(&b.name));
    plan.report.aliases = aliases(input, &presets, &by_name, called);
    plan.report.findings = findings.into_iter().chain(found).collect();
    plan.report.count();
    plan
}

/// The report about a provider, and its file if it has to be written.
fn provider(
    input: Input<'_>,
    presets: &[Preset<'_>],
    name: &FileName,
    claims: &[Claim],
    called: &mut BTreeMap<String, BTreeSet<String>>,
) -> (ProviderReport, Option<Planned>) {
    let shown: Arc<str> = format!("{}/{name}.toml", input.out.trim_end_matches('/')).into();
    let own = input.there.get(name);
    let is_ours = own.is_some_and(|own| stamped::is_stamped(&own.text));
    let persons = own.filter(|_| !is_ours).map(|own| there(own, presets));
    let same_text = |built_in: &&ThereText| own.is_none_or(|own| own.text != built_in.text);
    let built_in = input.built_in.get(name).filter(same_text).map(|one| there(one, presets));
    let others = [("file", &persons), ("catalogue", &built_in)];
    let others: Vec<(&str, &There)> =
        others.into_iter().filter_map(|(by, there)| Some((by, there.as_ref()?))).collect();
    let mut report = ProviderReport::new(input, name);
    let merged = match merge::merge(claims, presets, &others) {
        Ok(merged) => merged,
        Err(reason) => {
            report.reason = Some(reason);
            return (report, None);
        }
    };
    called.entry(merged.called.clone()).or_default().insert(name.to_string());
    report.confirmed_by = merged.url.projects.iter().copied().collect();
    report.assumed = file::assumed(&merged);
    report.conflicts.clone_from(&merged.conflicts);
    if persons.is_some() {
        for conflict in &mut report.conflicts {
            let own = conflict.statements.iter().find(|one| one.by == "file");
            if let Some(own) = own {
                conflict.taken.clone_from(&own.value);
                "the file was written by people, and stays as it is".clone_into(&mut conflict.why);
            }
        }
        (report.outcome, report.file) = (Outcome::Compared, Some(shown.to_string()));
        return (report, None);
    }
    match written(input, name, &shown, own, &merged) {
        Ok((outcome, renewed, text)) => {
            report.outcome = outcome;
            report.file = Some(shown.to_string());
            report.take(renewed, own);
            let file = text.map(|text| Planned { name: name.clone(), shown, text });
            (report, file)
        }
        Err(reason) => {
            report.reason = Some(reason);
            (report, None)
        }
    }
}

/// The file's text if it has to be written. The error is the reason why it cannot be.
fn written(
    input: Input<'_>,
    name: &FileName,
    shown: &Arc<str>,
    own: Option<&ThereText>,
    merged: &Merged<'_>,
) -> Result<(Outcome, stamped::Renewed, Option<String>), String> {
    const RULES: stamped::Rules<'_> = stamped::Rules {
        leading: &["base_url", "extends"],
        following: &["endpoint.", "test "],
        quiet: &["catalogue.checked"],
    };
    let families = families(&merged.models, input.families);
    let text = |persons: &BTreeSet<String>| {
        file::text(name, merged, file::Extras { families: &families, checked: input.checked, persons })
    };
    let quiet = if input.is_dated { &[] } else { RULES.quiet };
    let rules = stamped::Rules { quiet, ..RULES };
    let renew = |fresh: &str| own.and_then(|own| stamped::renew(&own.text, fresh, rules));
    let mut fresh = text(&BTreeSet::new())?;
    let mut renewed = renew(&fresh);
    let kept = renewed.iter().flat_map(|renewed| &renewed.kept);
    let persons: BTreeSet<String> = kept.map(|kept| kept.key.clone()).collect();
    if !persons.is_empty() {
        fresh = text(&persons)?;
        renewed = renew(&fresh);
    }
    let (outcome, renewed, text) = match renewed {
        None => (Outcome::Made, stamped::Renewed::default(), fresh),
        Some(mut renewed) => match renewed.text.take() {
            None => return Ok((Outcome::Unchanged, renewed, None)),
            Some(text) => (Outcome::Changed, renewed, text),
        },
    };
    if !secret_scan::find(&text).is_empty() {
        return Err("one of its values looks like a key".to_owned());
    }
    let schema = syntax::schema(FileKind::Provider);
    let formatted = format::format(shown, &text, schema, Some(input.header));
    let text = formatted.map_err(|_| "its text cannot be formatted".to_owned())?;
    Ok((outcome, renewed, Some(text)))
}

/// The families of models: the known ones with which an id, or a part of it, begins.
fn families(models: &BTreeSet<String>, known: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for id in models {
        let id = id.to_ascii_lowercase();
        let starts = id.match_indices(['/', '.', ':', '@']).map(|(at, _)| at + 1);
        for start in [0].into_iter().chain(starts) {
            let rest = &id[start..];
            let fits = |family: &&String| {
                let tail = rest.strip_prefix(family.as_str());
                tail.is_some_and(|tail| !tail.starts_with(|c: char| c.is_ascii_alphabetic()))
            };
            found.extend(known.iter().filter(fits).max_by_key(|family| family.len()).cloned());
        }
    }
    found
}

/// What a provider file says.
fn there(file: &ThereText, presets: &[Preset<'_>]) -> There {
    let Ok(root) = tree::toml(&file.text) else { return There::default() };
    let at = |spot: &Spot| At { file: file.shown.clone(), line: spot.line };
    let fact = |keys: &[&str]| {
        let spot = root.at(keys)?;
        Some(Fact { value: spot.text()?.to_owned(), at: at(spot) })
    };
    let (extends, base_url) = (fact(&["extends"]), fact(&["base_url"]));
    let own =
        extends.as_ref().and_then(|own| presets.iter().find(|preset| preset.name.as_str() == own.value));
    let first = own.or(presets.first()).and_then(Preset::first);
    let called = first.and_then(|(endpoint, path)| {
        let own_path =
            ["upstream_path", "path"].into_iter().find_map(|key| fact(&["endpoint", endpoint, key]));
        let path = own_path.map(|fact| fact.value).or_else(|| own.map(|_| path.to_owned()))?;
        Some(format!("{}{path}", plain_url(&base_url.as_ref()?.value)?))
    });
    let env = root.at(&["catalogue", "env"]).and_then(|env| {
        let names = env.entries().iter().flat_map(|(_, names)| names.texts()).map(str::to_owned).collect();
        Some(Fact { value: names, at: at(env) }).filter(|fact: &Fact<Vec<String>>| !fact.value.is_empty())
    });
    There { title: fact(&["title"]), extends, called, base_url, docs: fact(&["docs"]), env }
}

/// A base URL in one form. None if it has a value of a user in it.
fn plain_url(url: &str) -> Option<String> {
    let (origin, path) = Origin::split(url).ok()?;
    Some(format!("{}://{}{}", origin.scheme.as_str(), origin.authority(), path.trim_end_matches('/')))
}

/// Providers of different names with the same URL, or with names of the same letters.
fn aliases(
    input: Input<'_>,
    presets: &[Preset<'_>],
    seen: &BTreeMap<FileName, Vec<Claim>>,
    mut called: BTreeMap<String, BTreeSet<String>>,
) -> Vec<Alias> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in seen.keys() {
        names.entry(letters(name.as_str())).or_default().insert(name.to_string());
    }
    for (name, file) in input.built_in.iter().filter(|(name, _)| !seen.contains_key(*name)) {
        let shown = format!("{name} (catalogue)");
        if let Some(known) = there(file, presets).called.and_then(|url| called.get_mut(&url)) {
            known.insert(shown.clone());
        }
        if let Some(known) = names.get_mut(&letters(name.as_str())) {
            known.insert(shown);
        }
    }
    let several = called.into_iter().chain(names).filter(|(_, names)| names.len() > 1);
    let mut all: Vec<Alias> =
        several.map(|(shared, names)| Alias { shared, names: names.into_iter().collect() }).collect();
    all.sort();
    all
}

impl ProviderReport {
    fn new(input: Input<'_>, name: &FileName) -> Self {
        Self {
            name: name.to_string(),
            outcome: Outcome::NotMade,
            file: None,
            reason: None,
            confirmed_by: Vec::new(),
            assumed: Vec::new(),
            in_catalogue: input.built_in.contains_key(name),
            conflicts: Vec::new(),
            kept: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Takes what became of the lines of a file that was there.
    fn take(&mut self, renewed: stamped::Renewed, own: Option<&ThereText>) {
        let root = own.and_then(|own| tree::toml(&own.text).ok());
        let line = |key: &str| {
            let root = root.as_ref()?;
            if let Some(name) = key.strip_prefix("test ") {
                let tests = root.get("test")?.list();
                let name =
                    tests.iter().filter_map(|test| test.get("name")).find(|one| one.text() == Some(name));
                return name.map(|name| name.line);
            }
            root.at(&key.split('.').collect::<Vec<_>>()).map(|spot| spot.line)
        };
        let shown = own.map(|own| own.shown.to_string()).unwrap_or_default();
        self.kept = renewed
            .kept
            .into_iter()
            .map(|stamped::Kept { key, value, wanted }| {
                let line = line(&key).map(|line| format!(":{line}")).unwrap_or_default();
                let (value, place) = (value.map(masked), format!("{shown}{line}"));
                KeptLine { key, value, wanted: masked(wanted), place }
            })
            .collect();
        let change = |stamped::Change { key, before, after }| ChangedLine {
            key,
            before: before.map(masked),
            after: after.map(masked),
        };
        self.changes = renewed.changes.into_iter().map(change).collect();
    }
}

/// A value for the report. One that looks like a key is not shown.
fn masked(value: String) -> String {
    if secret_scan::find(&value).is_empty() { value } else { "(looks like a key)".to_owned() }
}

impl Report {
    /// Takes a file back that cannot be written.
    pub fn refuse(&mut self, name: &FileName, reason: String) {
        let found = self.providers.iter_mut().find(|provider| provider.name == name.as_str());
        if let Some(provider) = found {
            (provider.outcome, provider.reason) = (Outcome::NotMade, Some(reason));
            provider.file = None;
            provider.changes.clear();
        }
        self.count();
    }

    /// True if nothing is left to look at.
    pub fn is_clean(&self) -> bool {
        let Counts { conflicts, kept, not_made, findings, .. } = &self.counts;
        [conflicts, kept, not_made, findings].into_iter().all(|count| *count == 0)
    }

    fn count(&mut self) {
        let of = |outcome: Outcome| self.providers.iter().filter(|one| one.outcome == outcome).count();
        let is_confirmed = |one: &&ProviderReport| one.confirmed_by.len() >= file::CONFIRMED;
        let in_both = |one: &&ProviderReport| one.in_catalogue && one.outcome == Outcome::Made;
        self.counts = Counts {
            seen: self.providers.len(),
            made: of(Outcome::Made),
            changed: of(Outcome::Changed),
            unchanged: of(Outcome::Unchanged),
            compared: of(Outcome::Compared),
            not_made: of(Outcome::NotMade),
            confirmed: self.providers.iter().filter(is_confirmed).count(),
            conflicts: self.providers.iter().map(|one| one.conflicts.len()).sum(),
            kept: self.providers.iter().map(|one| one.kept.len()).sum(),
            findings: self.findings.len(),
            in_catalogue: self.providers.iter().filter(in_both).count(),
        };
    }
}
