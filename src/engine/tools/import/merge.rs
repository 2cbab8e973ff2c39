//! The claims of all projects about one provider become one provider: for each key the value that most projects have, at a tie
//! that of the project named first. What they disagree about is kept, with the reason of the choice.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Conflict, Project, Statement, masked,
    read::{At, Claim, Fact},
};
use crate::{
    base::{escape, name::FileName, suggest::backticked},
    language::{auth, syntax},
};

/// A preset, as an import sees it.
pub(super) struct Preset<'p> {
    pub(super) name: &'p FileName,
    pub(super) document: &'p syntax::Provider,
}

impl Preset<'_> {
    /// The part of its paths that base URLs of a project with one of these marks end with. None if it is for none of them.
    fn end_for(&self, project: Project, marks: &[String]) -> Option<&str> {
        let imports = self.document.catalogue.as_ref()?.imports.as_ref()?.get(project.name())?;
        marks.iter().find_map(|mark| imports.get(mark)).map(String::as_str)
    }

    /// The first endpoint: its name and its path upstream.
    pub(super) fn first(&self) -> Option<(&str, &str)> {
        self.paths().next()
    }

    /// All endpoints with their paths upstream.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, &str)> {
        self.document.endpoint.iter().flatten().filter_map(|(name, entry)| match entry {
            syntax::EndpointEntry::Removed => None,
            syntax::EndpointEntry::Table(table) => {
                Some((name.as_str(), table.upstream_path.as_deref().or(table.path.as_deref())?))
            }
        })
    }

    /// The header that carries its key.
    pub(super) fn header(&self) -> Option<String> {
        let entry = self.document.auth.iter().flatten().next()?;
        auth::templates(entry).next().map(|(name, _)| name.to_ascii_lowercase())
    }

    /// The field with its key.
    pub(super) fn field(&self) -> Option<&str> {
        self.document.auth.iter().flatten().next()?.field.as_deref()
    }
}

/// What a file that is there already says.
#[derive(Debug, Default)]
pub(super) struct There {
    pub(super) title: Option<Fact<String>>,
    pub(super) extends: Option<Fact<String>>,
    pub(super) base_url: Option<Fact<String>>,
    /// The URL of the preset's first endpoint.
    pub(super) called: Option<String>,
    pub(super) docs: Option<Fact<String>>,
    pub(super) env: Option<Fact<Vec<String>>>,
}

/// A value, the projects that confirm it, and the files that they do it in.
#[derive(Debug, Clone, Default)]
pub(super) struct Agreed<T> {
    pub(super) value: T,
    pub(super) projects: BTreeSet<Project>,
    pub(super) files: Vec<String>,
}

/// A provider of which a file can be made.
pub(super) struct Merged<'p> {
    pub(super) preset: &'p Preset<'p>,
    pub(super) title: Option<Agreed<String>>,
    pub(super) extends: Agreed<String>,
    /// The base URL as the project has it.
    pub(super) url: Agreed<String>,
    /// The URL of the preset's first endpoint.
    pub(super) called: String,
    /// The part of the preset's paths that the project's base URLs end with.
    pub(super) end: String,
    pub(super) docs: Option<Agreed<String>>,
    pub(super) env: Option<Agreed<Vec<String>>>,
    pub(super) header: Option<Agreed<String>>,
    pub(super) models: BTreeSet<String>,
    /// The files with the ids of models.
    pub(super) model_files: Vec<String>,
    /// All files of the projects.
    pub(super) sources: Vec<String>,
    pub(super) conflicts: Vec<Conflict>,
    /// What the sources leave open.
    pub(super) open: Vec<String>,
}

/// One project's value of a key.
struct Vote {
    project: Project,
    path: String,
    /// Equal for values that mean the same.
    same: String,
    shown: String,
    at: At,
}

impl Vote {
    fn new(claim: &Claim, at: &At, same: String, shown: &str) -> Self {
        let path = claim.source();
        Self { project: claim.project, path, same, shown: shown.to_owned(), at: at.clone() }
    }

    fn statement(&self) -> Statement {
        Statement {
            by: self.project.name().to_owned(),
            value: masked(self.shown.clone()),
            place: self.at.shown(),
        }
    }
}

/// The value that is taken: the index of its first vote, who agrees, and the reason if others differ.
struct Choice {
    index: usize,
    projects: BTreeSet<Project>,
    why: Option<String>,
}

fn choose(votes: &[Vote]) -> Option<Choice> {
    let mut groups: Vec<(usize, BTreeSet<Project>)> = Vec::new();
    for (index, vote) in votes.iter().enumerate() {
        match groups.iter_mut().find(|(first, _)| votes[*first].same == vote.same) {
            Some((_, projects)) => drop(projects.insert(vote.project)),
            None => groups.push((index, BTreeSet::from([vote.project]))),
        }
    }
    let most = groups.iter().map(|(_, projects)| projects.len()).max()?;
    let mut best = groups.iter().filter(|(_, projects)| projects.len() == most);
    let (index, projects) = best.next()?.clone();
    let all: BTreeSet<Project> = votes.iter().map(|vote| vote.project).collect();
    let why = (groups.len() > 1).then(|| match best.next() {
        Some(_) if all.len() > 1 => {
            format!("as many say so as say otherwise, and {} is named first", votes[index].project.name())
        }
        Some(_) => "it stands first".to_owned(),
        None => format!("{most} of {} projects say so", all.len()),
    });
    Some(Choice { index, projects, why })
}

fn agreed(votes: &[Vote], choice: &Choice) -> Agreed<String> {
    let chosen = &votes[choice.index];
    let same = votes.iter().filter(|vote| vote.same == chosen.same);
    Agreed {
        value: chosen.shown.clone(),
        projects: choice.projects.clone(),
        files: same.map(|vote| vote.path.clone()).collect(),
    }
}

/// Merges the claims about one provider. The error is the reason why no file can be made.
pub(super) fn merge<'p>(
    claims: &[Claim],
    presets: &'p [Preset<'p>],
    there: &[(&str, &There)],
) -> Result<Merged<'p>, String> {
    let mut conflicts = Vec::new();
    // The preset of a claim.
    let fits = |claim: &Claim| {
        let marks = &claim.marks.as_ref()?.value;
        presets.iter().find_map(|preset| preset.end_for(claim.project, marks).map(|_| preset))
    };
    let with_url: Vec<&Claim> = claims.iter().filter(|claim| claim.url.is_some()).collect();
    let kinds: Vec<Vote> = with_url
        .iter()
        .filter_map(|claim| {
            let marks = claim.marks.as_ref()?;
            let (same, shown) = match fits(claim) {
                Some(preset) => (format!("preset {}", preset.name), preset.name.to_string()),
                None => (format!("mark {}", marks.value.join(" ")), marks.value.join(", ")),
            };
            Some(Vote::new(claim, &marks.at, same, &shown))
        })
        .collect();
    let known: Vec<&Claim> = with_url.iter().copied().filter(|claim| fits(claim).is_some()).collect();
    if known.is_empty() {
        return Err(no_file(claims));
    }
    let (of_presets, others): (Vec<Vote>, Vec<Vote>) =
        kinds.into_iter().partition(|vote| vote.same.starts_with("preset "));
    let choice = choose(&of_presets).ok_or_else(|| no_file(claims))?;
    let extends = agreed(&of_presets, &choice);
    let preset = presets.iter().find(|preset| preset.name.as_str() == extends.value);
    let preset = preset.ok_or_else(|| no_file(claims))?;
    let why = choice.why.or_else(|| (!others.is_empty()).then(|| "no preset is for the other".to_owned()));
    let kinds: Vec<Vote> = of_presets.into_iter().chain(others).collect();
    add_conflict(&mut conflicts, "extends", &kinds, &extends.value, why, there, |there| {
        there.extends.clone()
    });

    let called = add_urls(&mut conflicts, &known, preset, there).ok_or_else(|| no_file(claims))?;
    let Upstream { url, called, end } = called;
    let mut merged = Merged {
        preset,
        title: None,
        extends,
        url,
        called,
        end,
        docs: None,
        env: None,
        header: None,
        models: claims.iter().flat_map(|claim| claim.models.iter().cloned()).collect(),
        model_files: claims.iter().flat_map(|claim| claim.model_files.iter().cloned()).collect(),
        sources: Vec::new(),
        conflicts,
        open: Vec::new(),
    };
    let lists = claims.iter().flat_map(|claim| claim.model_files.iter().cloned());
    for line in claims.iter().map(Claim::source).chain(lists) {
        if !merged.sources.contains(&line) {
            merged.sources.push(line);
        }
    }
    merged.texts(claims, there);
    merged.variables(claims, there);
    merged.header(claims);
    Ok(merged)
}

/// The base URL that is taken.
struct Upstream {
    url: Agreed<String>,
    /// The URL of the preset's first endpoint.
    called: String,
    /// The part of the preset's paths that the project's base URLs end with.
    end: String,
}

/// Chooses the base URL among the claims that fit a preset: those mean the same that call the same URL.
fn add_urls(
    conflicts: &mut Vec<Conflict>,
    claims: &[&Claim],
    preset: &Preset<'_>,
    there: &[(&str, &There)],
) -> Option<Upstream> {
    let path = preset.first().map(|(_, path)| path).unwrap_or_default();
    let (mut ends, mut urls) = (Vec::new(), Vec::new());
    for claim in claims {
        let (Some(url), Some(marks)) = (&claim.url, &claim.marks) else { continue };
        if let Some(end) = preset.end_for(claim.project, &marks.value) {
            let called = format!("{}{}", url.value, path.strip_prefix(end).unwrap_or(path));
            ends.push(end);
            urls.push(Vote::new(claim, &url.at, called, &url.value));
        }
    }
    let choice = choose(&urls)?;
    let (url, called) = (agreed(&urls, &choice), urls[choice.index].same.clone());
    let end = ends[choice.index].to_owned();
    let differs = |there: &There| there.called.as_ref().is_some_and(|own| *own != called);
    add_conflict(conflicts, "base_url", &urls, &url.value, choice.why, there, |there| {
        let at = &there.base_url.as_ref().filter(|_| differs(there))?.at;
        Some(Fact { value: there.called.clone()?, at: at.clone() })
    });
    Some(Upstream { url, called, end })
}

/// The reason why no file can be made.
fn no_file(claims: &[Claim]) -> String {
    if let Some(claim) = claims.iter().find(|claim| claim.url.is_some()) {
        let marks = claim
            .marks
            .as_ref()
            .map(|marks| marks.value.iter().map(|mark| escape::value(mark)).collect::<Vec<_>>());
        return match marks {
            Some(marks) => format!(
                "no preset is for {} of {}: `catalogue.imports` of a preset says which it is for",
                backticked(&marks),
                claim.project.name()
            ),
            None => format!("{} does not say which kind of API it is", claim.project.name()),
        };
    }
    if let Some((claim, reason)) = claims.iter().find_map(|claim| Some((claim, claim.refused.as_ref()?))) {
        return format!("{} has no base URL that can be used: {reason}", claim.project.name());
    }
    let marks = claims.iter().find_map(|claim| Some((claim, claim.marks.as_ref()?.value.first()?)));
    let marks = marks
        .map(|(claim, mark)| format!(": {} names `{}` alone", claim.project.name(), escape::value(mark)));
    format!("no base URL{}", marks.unwrap_or_default())
}

/// Adds a conflict if values differ: those of the projects, or those of the files that are there.
fn add_conflict(
    conflicts: &mut Vec<Conflict>,
    key: &str,
    votes: &[Vote],
    taken: &str,
    why: Option<String>,
    there: &[(&str, &There)],
    differing: impl Fn(&There) -> Option<Fact<String>>,
) {
    let own = there.iter().filter_map(|(by, there)| {
        let fact = differing(there)?;
        Some(Statement { by: (*by).to_owned(), value: masked(fact.value), place: fact.at.shown() })
    });
    let own: Vec<Statement> = own.filter(|own| own.value != taken).collect();
    if why.is_none() && own.is_empty() {
        return;
    }
    let why = why.unwrap_or_else(|| "the projects agree".to_owned());
    let statements = votes.iter().map(Vote::statement).chain(own).collect();
    conflicts.push(Conflict { key: key.to_owned(), statements, taken: masked(taken.to_owned()), why });
}

/// Letters and digits alone, in lower case.
pub(super) fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// An address without its scheme and the `/` at its end.
fn page(text: &str) -> String {
    text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/').to_lowercase()
}

impl Merged<'_> {
    /// The title and the documentation.
    fn texts(&mut self, claims: &[Claim], there: &[(&str, &There)]) {
        let votes = |fact: fn(&Claim) -> &Option<Fact<String>>, same: fn(&str) -> String| -> Vec<Vote> {
            let vote = |claim: &Claim| {
                let fact = fact(claim).as_ref()?;
                Some(Vote::new(claim, &fact.at, same(&fact.value), &fact.value))
            };
            claims.iter().filter_map(vote).collect()
        };
        let titles = votes(|claim| &claim.title, letters);
        if let Some(choice) = choose(&titles) {
            let title = agreed(&titles, &choice);
            let other = |there: &There| {
                there.title.clone().filter(|own| letters(&own.value) != letters(&title.value))
            };
            add_conflict(&mut self.conflicts, "title", &titles, &title.value, choice.why, there, other);
            self.title = Some(title);
        }
        let pages = votes(|claim| &claim.docs, page);
        if let Some(choice) = choose(&pages) {
            let docs = agreed(&pages, &choice);
            let other =
                |there: &There| there.docs.clone().filter(|own| page(&own.value) != page(&docs.value));
            add_conflict(&mut self.conflicts, "docs", &pages, &docs.value, choice.why, there, other);
            self.docs = Some(docs);
        }
    }

    /// The variables of the key: all that a project names. They conflict if two have none in common.
    fn variables(&mut self, claims: &[Claim], there: &[(&str, &There)]) {
        let named: Vec<(&Claim, &Fact<Vec<String>>)> =
            claims.iter().filter_map(|claim| Some((claim, claim.env.as_ref()?))).collect();
        if named.is_empty() {
            return;
        }
        let mut env = Agreed::<Vec<String>>::default();
        let mut counts: BTreeMap<&str, BTreeSet<Project>> = BTreeMap::new();
        let mut is_several = false;
        for (claim, fact) in &named {
            for name in &fact.value {
                counts.entry(name).or_default().insert(claim.project);
                if !env.value.contains(name) {
                    env.value.push(name.clone());
                }
            }
            env.files.push(claim.source());
            if fact.value.len() > 1 && !is_several {
                is_several = true;
                let sentence = "names several variables, and not which one has the key.";
                self.open.push(format!("{} {sentence}", claim.project.name()));
            }
        }
        // What two projects name is confirmed; otherwise each has its own.
        env.projects = counts.values().max_by_key(|projects| projects.len()).cloned().unwrap_or_default();
        let shares = |a: &[String], b: &[String]| a.iter().any(|name| b.contains(name));
        let differ = named.iter().any(|(_, a)| named.iter().any(|(_, b)| !shares(&a.value, &b.value)));
        let votes: Vec<Vote> = named
            .iter()
            .map(|(claim, fact)| {
                let shown = fact.value.join(", ");
                Vote::new(claim, &fact.at, shown.clone(), &shown)
            })
            .collect();
        let why = differ.then(|| "people may keep the key in any of them".to_owned());
        let taken = env.value.join(", ");
        let other = |there: &There| {
            let own = there.env.as_ref().filter(|own| !shares(&own.value, &env.value))?;
            Some(Fact { value: own.value.join(", "), at: own.at.clone() })
        };
        add_conflict(&mut self.conflicts, "catalogue.env", &votes, &taken, why, there, other);
        self.env = Some(env);
    }

    /// The header of the key. That of the preset is taken: a file of an import has no `[[auth]]` of its own.
    fn header(&mut self, claims: &[Claim]) {
        let vote = |claim: &Claim| {
            let fact = claim.header.as_ref()?;
            Some(Vote::new(claim, &fact.at, fact.value.clone(), &fact.value))
        };
        let votes: Vec<Vote> = claims.iter().filter_map(vote).collect();
        let Some(header) = self.preset.header() else { return };
        let same = votes.iter().filter(|vote| vote.same == header);
        let projects: BTreeSet<Project> = same.clone().map(|vote| vote.project).collect();
        let files = same.map(|vote| vote.path.clone()).collect();
        if votes.iter().any(|vote| vote.same != header) {
            let why = format!("preset `{}` sends the key in it: change `[[auth]]` by hand", self.preset.name);
            let statements: Vec<Statement> = votes.iter().map(Vote::statement).collect();
            let by = "preset".to_owned();
            let own = Statement { by, value: header.clone(), place: self.preset.name.to_string() };
            let (key, taken) = ("auth".to_owned(), header.clone());
            let statements = statements.into_iter().chain([own]).collect();
            self.conflicts.push(Conflict { key, statements, taken, why });
        }
        self.header =
            Some(Agreed { value: header, projects, files }).filter(|agreed| !agreed.projects.is_empty());
    }
}
