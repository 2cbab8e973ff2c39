//! The files that serve at one moment, for tools that look at them: what becomes of a request, and what a text would
//! change if it were the text of a file.
//!
//! It changes nothing, and holds all that it needs: a reload meanwhile makes no difference. The work is heavy for a worker
//! thread. Read next: [`crate::explain`], [`crate::diff`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use http::request::Parts;

use super::{
    Config, SourceTree, built_in::BUILT_IN, served::ServedInputs, source_file::SourceFile, tree::Inputs,
    vars::var_value,
};
use crate::{
    bind::VarOwner,
    clock::now_ms,
    compile::{self, Clients, Compiled, Limits, Prices},
    day::Day,
    diag::{Diagnostic, MAX_FINDINGS, Sources},
    diff::{self, Diff},
    explain::{self, Caller, Context, Counting, Explanation},
    name::FileName,
    pipeline::{self, Folder, InputFile, Loaded},
    settings::Source,
    table::{self, Table},
};

/// The files that serve at one moment.
#[derive(Debug)]
pub struct ServingFiles {
    pub(super) served: Arc<ServedInputs>,
    /// The shared files of the last scan. Some may serve nowhere yet.
    pub(super) shared: Arc<Inputs>,
    pub(super) config: Arc<Config>,
}

/// A file by its path below the providers directory, such as `acme.toml` or `apis/acme.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    folder: Folder,
    file: String,
}

/// The findings about a text, and what it would change.
#[derive(Debug)]
pub struct CheckedText {
    /// The path of the file, as findings show it.
    pub file: Arc<str>,
    /// All texts, for places.
    pub sources: Sources,
    /// The findings about the text, and the errors that it causes in files that serve. At most 1,000.
    pub found: Vec<Diagnostic>,
    /// The number of findings beyond those.
    pub omitted: usize,
    /// The differences to the files that serve. None if there is an error.
    pub diff: Option<Diff>,
}

impl FilePlace {
    /// Parses a path below the providers directory. None if no file of providers can be there.
    pub fn parse(path: &str) -> Option<Self> {
        let (folder, file) = Folder::of_path(path)?;
        let stem = file.strip_suffix(".toml")?;
        let is_plain = stem.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
            && !stem.contains(['\\', '\0']);
        is_plain.then(|| Self { folder, file: file.to_owned() })
    }

    fn path(&self, source: &Source) -> PathBuf {
        let root = match source {
            _ if self.folder == Folder::Limits => return source.limits().join(&self.file),
            Source::Directory { path: dir, .. } => dir.clone(),
            Source::Embedded { .. } => BUILT_IN.into(),
        };
        root.join(self.folder.name()).join(&self.file)
    }

    /// The name of the provider, if the file is one.
    fn provider(&self) -> Option<FileName> {
        let stem = self.file.strip_suffix(".toml").filter(|_| self.folder == Folder::Providers)?;
        FileName::new(stem)
    }
}

impl ServingFiles {
    /// The route table.
    pub fn table(&self) -> &Table {
        &self.served.table
    }

    /// Explains a request.
    pub fn explain(&self, head: &Parts, caller: &Caller, counting: &dyn Counting) -> Explanation {
        let loaded = self.loaded_for(head);
        let providers: Vec<_> = self.served.compiled.values().cloned().collect();
        let context = Context {
            files: &loaded.files,
            sources: &loaded.sources,
            table: self.table(),
            providers: &providers,
            fixture: None,
        };
        let secrets = &self.config.secrets;
        let value = |_: VarOwner<'_>, _: &str, var: &compile::Var| var_value(&var.source, secrets);
        explain::explain_counted(context, head, &value, caller, counting)
    }

    /// The files that places in an explanation are about: those of the provider that has the endpoint or the nearest one,
    /// and other providers' files that name further locations of tokens.
    fn loaded_for(&self, head: &Parts) -> Loaded {
        let (table, path) = (self.table(), head.uri.path());
        let hit = table.find_canonical(&head.method, path).map(|hit| hit.provider.name.clone());
        let name = hit.or_else(|| Some(table.nearest(&head.method, path)?.provider.name.clone()));
        let own = name.as_ref().and_then(|name| self.served.compiled.get(name));
        let names_more = |other: &compile::Provider| {
            own.is_some_and(|own| {
                other.caller.headers.iter().any(|header| !own.caller.headers.contains(header))
                    || other.caller.query.iter().any(|parameter| !own.caller.query.contains(parameter))
            })
        };
        let others = self.served.compiled.values().filter(|one| names_more(one));
        let names = others.map(|one| &one.name).chain(&name);
        // The own files come last: another provider may serve with another text of a shared file.
        let inputs = names.filter_map(|name| self.served.providers.get(name)).flatten();
        let inputs = inputs.chain(&self.served.limits);
        let tree = SourceTree(inputs.map(|(file, text)| (file.clone(), text.clone())).collect());
        let parsed = tree.input_files().filter(|(_, one)| one.folder != Folder::Limits);
        Loaded { sources: tree.sources(), ..pipeline::parse(parsed, |_| true) }
    }

    /// Checks a text as that of a file among those that serve.
    pub fn check(&self, place: &FilePlace, text: &str) -> CheckedText {
        let path = place.path(&self.config.source);
        let file: Arc<str> = path.to_string_lossy().into();
        let checked = self.check_in(&self.tree(), place, &path, text);
        // A file that is stale through a shared file serves with an older text of that: a text that is good with either is.
        let name = checked.diff.is_none().then(|| place.provider()).flatten();
        let Some(inputs) = name.and_then(|name| self.served.providers.get(&name)) else { return checked };
        let mut tree = self.tree();
        let shared = inputs.iter().filter(|(_, text)| text.folder.is_shared());
        tree.0.extend(shared.map(|(file, text)| (file.clone(), text.clone())));
        if tree.has_same_texts(&self.tree()) {
            return checked;
        }
        let with_older = self.check_in(&tree, place, &path, text);
        let is_about_others = || checked.found.iter().all(|one| one.at.file != file);
        if with_older.diff.is_some() || is_about_others() { with_older } else { checked }
    }

    /// The same, among the files of a tree. An error that is there without the text is not reported, unless it keeps the
    /// text itself from serving: the file that has it is stale, and goes on with its last good text.
    fn check_in(&self, before: &SourceTree, place: &FilePlace, path: &Path, text: &str) -> CheckedText {
        let file: Arc<str> = path.to_string_lossy().into();
        let mut tree = before.clone();
        tree.replace_in(&self.config.source, place.folder, path, text.as_bytes().to_vec());
        let (loaded, compiled, mut found) = self.judge(&tree, place.folder, &file);
        found.extend(self.clashes(&compiled, &tree, &file));
        pipeline::sort(&mut found);
        let served = self.served_paths();
        found.retain(|one| {
            let is_about = one.at.file == file || one.related.iter().any(|(at, _)| at.file == file);
            is_about || (one.is_error() && served.contains(&one.at.file))
        });
        let is_of_others = |one: &Diagnostic| one.is_error() && one.at.file != file;
        let is_compiled =
            place.provider().is_none_or(|name| compiled.providers.iter().any(|one| one.name == name));
        if found.iter().any(is_of_others)
            && (is_compiled || found.iter().any(|one| one.at.file == file && one.is_error()))
        {
            let (_, _, known) = self.judge(before, place.folder, &file);
            let known: BTreeSet<_> = known.iter().map(|one| (&one.at, one.code, &one.message)).collect();
            found.retain(|one| !is_of_others(one) || !known.contains(&(&one.at, one.code, &one.message)));
        }
        let is_good = !found.iter().any(Diagnostic::is_error);
        let diff = is_good.then(|| self.diff(&compiled, &tree, place.folder, &file));
        found.sort_by_key(|one| (one.at.file != file, one.severity));
        let omitted = found.len().saturating_sub(MAX_FINDINGS);
        found.truncate(MAX_FINDINGS);
        CheckedText { file, sources: loaded.sources, found, omitted, diff }
    }

    /// Compiles all files of a tree. Of those that the file does not concern, tests do not run again.
    fn judge(
        &self,
        tree: &SourceTree,
        folder: Folder,
        file: &Arc<str>,
    ) -> (Loaded, Compiled, Vec<Diagnostic>) {
        let users = self.users(tree, folder, file);
        let is_judged = |shown: &Arc<str>, input: &InputFile<'_>| match input.folder {
            Folder::Providers => shown != file && !users.contains(shown),
            _ => shown != file && !folder.is_shared(),
        };
        let inputs = tree.input_files().map(|(shown, input)| {
            let is_judged = is_judged(shown, &input);
            (shown, InputFile { is_judged, ..input })
        });
        let loaded = Loaded {
            sources: tree.sources(),
            levels: self.config.lints.clone(),
            env_allow: self.config.env_allow.clone(),
            today: Some(Day::of_seconds(now_ms() / 1000)),
            ..pipeline::parse(inputs, |_| true)
        };
        let (compiled, _, found) = pipeline::check(&loaded);
        (loaded, compiled, found)
    }

    /// The conflicts of what uses the file with the providers that serve on with a last good text.
    fn clashes(&self, compiled: &Compiled, tree: &SourceTree, file: &Arc<str>) -> Vec<Diagnostic> {
        let stale: Vec<_> = self.stale(compiled, tree, file).cloned().collect();
        if stale.is_empty() {
            return Vec::new();
        }
        let changed = compiled.providers.iter().filter(|one| one.inputs.contains(file)).cloned();
        let conflicts = table::link(&stale, &changed.collect::<Vec<_>>(), &[], &compiled.budgets);
        conflicts.into_iter().map(|one| one.diagnostic).collect()
    }

    /// The providers that serve, and do not compile with the other files of a tree, which has the files of each.
    fn stale<'s>(
        &'s self,
        compiled: &'s Compiled,
        tree: &'s SourceTree,
        file: &'s Arc<str>,
    ) -> impl Iterator<Item = &'s Arc<compile::Provider>> {
        let names: BTreeSet<_> = compiled.providers.iter().map(|one| &one.name).collect();
        let is_there = move |(shown, text): (&Arc<str>, &Arc<SourceFile>)| {
            text.folder == Folder::Providers && shown != file && tree.0.contains_key(shown)
        };
        let serving = self.served.compiled.values().filter(move |one| !names.contains(&one.name));
        serving.filter(move |one| {
            self.served.providers.get(&one.name).is_some_and(|inputs| inputs.iter().any(is_there))
        })
    }

    /// One tree of what serves, with the shared files of the last scan. If a provider is stale through one of those, it
    /// serves with another text of it.
    fn tree(&self) -> SourceTree {
        let served =
            self.served.providers.values().flatten().filter(|(_, text)| text.folder != Folder::Policy);
        let independent = self.served.prices.iter().chain(&self.served.clients).chain(&self.served.limits);
        let all = served.chain(independent).chain(&*self.shared);
        SourceTree(all.map(|(file, text)| (file.clone(), text.clone())).collect())
    }

    fn served_paths(&self) -> BTreeSet<&Arc<str>> {
        let independent = [&self.served.prices, &self.served.clients, &self.served.limits];
        self.served.providers.values().chain(independent).flat_map(BTreeMap::keys).collect()
    }

    /// The provider files that use a shared file, or may use it once its text is in place.
    fn users<'t>(&self, tree: &'t SourceTree, folder: Folder, file: &str) -> BTreeSet<&'t Arc<str>> {
        if !folder.is_shared() {
            return BTreeSet::new();
        }
        let uses = |text: &SourceFile| {
            let inputs = text.name.as_ref().and_then(|name| self.served.providers.get(name));
            inputs.is_none_or(|inputs| inputs.contains_key(file))
        };
        let providers = tree.0.iter().filter(|(_, text)| text.folder == Folder::Providers && uses(text));
        providers.map(|(shown, _)| shown).collect()
    }

    /// The differences to what serves. A provider that does not use the file is the same.
    fn diff(&self, compiled: &Compiled, tree: &SourceTree, folder: Folder, file: &Arc<str>) -> Diff {
        let old: Vec<_> = self.served.compiled.values().cloned().collect();
        let known = |name: &FileName| self.served.compiled.get(name);
        let new = compiled.providers.iter().map(|one| match known(&one.name) {
            Some(old) if !one.inputs.contains(file) && !old.inputs.contains(file) => old,
            _ => one,
        });
        let new: Vec<_> = new.chain(self.stale(compiled, tree, file)).cloned().collect();
        let diff = diff::diff(&old, &new);
        let table = self.table();
        match folder {
            Folder::Prices => diff.with_prices(&table.prices, &Prices::new(compiled.prices.clone())),
            Folder::Clients => diff.with_clients(&table.clients, &Clients::new(compiled.clients.clone())),
            Folder::Limits => diff.with_limits(&table.limits, &Limits::new(&compiled.limits)),
            _ => diff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_file_of_the_directory() {
        for (path, expected) in [
            ("acme.toml", Some((Folder::Providers, "acme.toml"))),
            ("apis/acme.toml", Some((Folder::Apis, "acme.toml"))),
            ("prices/acme.toml", Some((Folder::Prices, "acme.toml"))),
            ("clients/acme.toml", Some((Folder::Clients, "acme.toml"))),
            ("limits.d/acme.toml", Some((Folder::Limits, "acme.toml"))),
            ("endpoints/acme.toml", Some((Folder::Endpoints, "acme.toml"))),
            ("endpoints/acme/files.toml", Some((Folder::Endpoints, "acme/files.toml"))),
            ("endpoints/../files.toml", None),
            ("endpoints//files.toml", None),
            ("apis/acme/files.toml", None),
            ("B ad.toml", Some((Folder::Providers, "B ad.toml"))),
        ] {
            let expected = expected.map(|(folder, file)| FilePlace { folder, file: file.to_owned() });
            assert_eq!(FilePlace::parse(path), expected, "{path}");
        }
        for path in [
            "",
            ".toml",
            "acme",
            "acme.txt",
            "../policy.toml",
            "/acme.toml",
            "apis/../acme.toml",
            "a/b.toml",
            "apis/x/y.toml",
            "./acme.toml",
            ".hidden.toml",
            "providers/acme.toml",
            "a\\b.toml",
            "apis/",
        ] {
            assert_eq!(FilePlace::parse(path), None, "{path}");
        }
    }
}
