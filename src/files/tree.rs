//! All files of a providers directory, or of the copy that is built into the binary. A file that did not change since the
//! last read is not read again.
//!
//! It never parses a text: [`crate::pipeline`] does. Read next: `source_file` for one file.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use super::{
    built_in::{self, BuiltIn, Hash},
    source_file::{MAX_FILE_BYTES, SourceFile, too_large},
};
use crate::{
    diag::Sources,
    name::FileName,
    pipeline::{Folder, InputFile},
    settings::{Catalogue, Source, beside},
    suggest::nearest,
};

/// The built-in files that stand in for those that a directory lacks, by path as shown.
static STAND_INS: LazyLock<Vec<(PathBuf, Arc<SourceFile>)>> = LazyLock::new(|| built_in(true).collect());

/// The most reads of a directory until two in a row are the same.
const MAX_READS: usize = 4;

/// The name of the policy file.
const POLICY: &str = "policy.toml";

/// All files, by path as shown.
#[derive(Debug, Clone, Default)]
pub struct SourceTree(pub Inputs);

/// The files that one provider was compiled from, by path as shown.
pub(super) type Inputs = BTreeMap<Arc<str>, Arc<SourceFile>>;

impl SourceTree {
    /// Reads all files. Those with the same stamp are taken from `before`. The error is about the directory itself.
    pub fn read(source: &Source, before: &Self) -> io::Result<Self> {
        let mut tree = Self::default();
        match source {
            Source::Embedded { catalogue, .. } => {
                known_names(catalogue)?;
                for (path, text) in built_in(false).filter(|(_, text)| serves(catalogue, text)) {
                    tree.insert(&path, text);
                }
                tree.read_limits(source, before)?;
                if let Some(policy) = policy_of(source) {
                    tree.read_policy(&policy, before);
                }
            }
            Source::Directory { path: dir, catalogue, .. } => {
                catalogue.as_ref().map_or(Ok(()), known_names)?;
                let root = fs::canonicalize(dir)?;
                for folder in Folder::ALL.into_iter().filter(|folder| *folder != Folder::Limits) {
                    tree.read_folder((folder, depth_of(folder)), &dir.join(folder.name()), &root, before)?;
                }
                tree.read_limits(source, before)?;
                if let Some(policy) = policy_of(source) {
                    tree.read_policy(&policy, before);
                }
                tree.fill_in(catalogue.as_ref());
            }
        }
        Ok(tree)
    }

    /// Files that are not in this file system, for instance of a Git revision: each a path below `dir`, or in
    /// `limits.d` beside it, and contents.
    pub fn from_contents(
        dir: &str,
        files: impl IntoIterator<Item = (String, Result<Vec<u8>, String>)>,
    ) -> Self {
        let mut tree = Self::default();
        for (path, contents) in files {
            let Some((folder, _)) = Folder::of_path(&path).filter(|(_, below)| is_wanted(below)) else {
                continue;
            };
            let contents = contents.and_then(|bytes| {
                if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large(MAX_FILE_BYTES)) } else { Ok(bytes) }
            });
            let beside = dir.trim_end_matches('/').rfind(['/', ':']).map_or("", |end| &dir[..=end]);
            let shown = match folder {
                Folder::Limits => PathBuf::from(format!("{beside}{path}")),
                _ => Path::new(dir).join(&path),
            };
            tree.insert(&shown, Arc::new(SourceFile::new(folder, &shown, contents, false)));
        }
        tree.fill_in(None);
        tree
    }

    /// The policy file beside the directory, if there is one.
    pub fn policy(&self) -> Option<(&Arc<str>, &Arc<SourceFile>)> {
        self.0.iter().find(|(_, text)| text.folder == Folder::Policy)
    }

    /// Replaces the policy with the file at `path`.
    pub fn set_policy(&mut self, path: &Path) {
        self.0.retain(|_, text| text.folder != Folder::Policy);
        self.read_policy(path, &Self::default());
    }

    fn read_policy(&mut self, path: &Path, before: &Self) {
        let metadata = fs::symlink_metadata(path);
        // A policy that exists and cannot be read is an error, not a missing policy.
        if metadata.is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        }) {
            return;
        }
        let root = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match fs::canonicalize(root) {
            Ok(root) => self.read_file(Folder::Policy, path, &root, before),
            Err(error) => {
                let problem = format!("cannot be read: {error}");
                self.insert(path, Arc::new(SourceFile::new(Folder::Policy, path, Err(problem), false)));
            }
        }
    }

    /// Reads until two reads in a row are the same, so that half of a write or a swap is not taken for the whole. If
    /// writing never ends, returns the last of a few reads.
    pub fn read_stable(source: &Source, before: &Self) -> io::Result<Self> {
        let mut tree = Self::read(source, before)?;
        for _ in 1..MAX_READS {
            let again = Self::read(source, &tree)?;
            let same = again.has_same_texts(&tree);
            tree = again;
            if same {
                break;
            }
        }
        Ok(tree)
    }

    /// True if both have the same files with the same texts.
    pub fn has_same_texts(&self, other: &Self) -> bool {
        let mut both = self.0.iter().zip(&other.0);
        self.0.len() == other.0.len()
            && both.all(|(one, other)| one.0 == other.0 && one.1.hash == other.1.hash)
    }

    /// The files as input of the pipeline.
    pub fn input_files(&self) -> impl Iterator<Item = (&Arc<str>, InputFile<'_>)> {
        self.0.iter().map(|(file, text)| {
            let contents = text.text.as_ref().map(|text| &**text).map_err(String::as_str);
            let (folder, name, filled_in) = (text.folder, text.name.as_ref(), text.filled_in);
            let is_built_in = text.is_built_in();
            (file, InputFile { folder, name, text: contents, filled_in, is_built_in, is_judged: false })
        })
    }

    /// True if all texts are built in, so that they are the set of files that the binary was built with, or a part of it.
    pub(super) fn is_built_in(&self) -> bool {
        self.0.values().all(|text| text.is_built_in())
    }

    /// The hash of the file with this path.
    pub fn hash_of(&self, shown: &str) -> Option<&Hash> {
        self.0.get(shown).map(|text| &text.hash)
    }

    /// True if there is a file of limits, good or not.
    pub(super) fn has_limits(&self) -> bool {
        self.0.values().any(|text| text.folder == Folder::Limits)
    }

    /// True if there is a provider file, good or not.
    pub fn has_providers(&self) -> bool {
        self.0.values().any(|text| text.folder == Folder::Providers)
    }

    /// True if a provider is the directory's own.
    pub(super) fn has_own_providers(&self) -> bool {
        self.0.values().any(|text| text.is_own_provider())
    }

    /// All texts, to render diagnostics.
    pub fn sources(&self) -> Sources {
        let mut sources = Sources::default();
        for (shown, text) in &self.0 {
            if let Ok(text) = &text.text {
                sources.insert(shown.clone(), text.into());
            }
        }
        sources
    }

    /// Reads the files of limits, if there are any.
    fn read_limits(&mut self, source: &Source, before: &Self) -> io::Result<()> {
        let dir = source.limits();
        match fs::canonicalize(&dir) {
            Ok(root) => self.read_folder((Folder::Limits, depth_of(Folder::Limits)), &dir, &root, before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), format!("`{}`: {error}", dir.display()))),
        }
    }

    /// Reads the files of a folder, and of the folders in it down to a depth.
    fn read_folder(
        &mut self,
        (folder, depth): (Folder, usize),
        dir: &Path,
        root: &Path,
        before: &Self,
    ) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // Only the folder of the providers itself is required.
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder != Folder::Providers => {
                return Ok(());
            }
            Err(error) if folder == Folder::Providers => return Err(error),
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("`{}`: {error}", folder.name())));
            }
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if depth > 1 && is_folder(&path) {
                self.read_folder((folder, depth - 1), &path, root, before)?;
            } else if is_wanted(&name) {
                self.read_file(folder, &path, root, before);
            }
        }
        Ok(())
    }

    fn read_file(&mut self, folder: Folder, path: &Path, root: &Path, before: &Self) {
        let before = before.0.get(&*path.to_string_lossy());
        let text = SourceFile::read(folder, path, root, before);
        self.insert(path, text);
    }

    /// Adds the built-in presets, endpoint sets, gateways, apis, prices and clients that the directory lacks, so that a
    /// provider file works in any directory. Their tests ran when the binary was built. The built-in providers are added to a directory that has files
    /// of other kinds and no provider: a first file of prices or of a client takes no provider out of service. Those of
    /// `catalogue` are added to any directory.
    fn fill_in(&mut self, catalogue: Option<&Catalogue>) {
        let is_own = |folder| self.0.values().any(|one| one.folder == folder);
        let needs_providers = !is_own(Folder::Providers)
            && Folder::ALL[1..].iter().any(|folder| *folder != Folder::Limits && is_own(*folder));
        let is_missing = |text: &SourceFile| match catalogue {
            Some(catalogue) => serves(catalogue, text),
            None => needs_providers || text.folder != Folder::Providers,
        };
        let has = |text: &SourceFile| {
            self.0.values().any(|one| (one.folder, &one.name) == (text.folder, &text.name))
        };
        let missing: Vec<_> =
            STAND_INS.iter().filter(|(_, text)| !has(text) && is_missing(text)).cloned().collect();
        for (path, text) in missing {
            self.insert(&path, text);
        }
    }

    /// Replaces a file of the source, or the built-in one that stands in for it. Its folder is that of the path.
    pub(super) fn replace(&mut self, source: &Source, path: &Path, bytes: Vec<u8>) {
        let folder = Folder::of_any_path(&path.to_string_lossy());
        self.replace_in(source, folder, path, bytes);
    }

    /// The same, for a file of this folder.
    pub(super) fn replace_in(&mut self, source: &Source, folder: Folder, path: &Path, bytes: Vec<u8>) {
        let contents =
            if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large(MAX_FILE_BYTES)) } else { Ok(bytes) };
        let text = SourceFile::new(folder, path, contents, false);
        // A provider of the directory takes the place of all built-in ones, unless some are to serve beside it.
        let replaces_all = folder == Folder::Providers && source.beside().is_none();
        let replaces = |one: &SourceFile| one.folder == folder && (replaces_all || one.name == text.name);
        self.0.retain(|_, one| !(one.filled_in && replaces(one)));
        self.insert(path, Arc::new(text));
    }

    fn insert(&mut self, path: &Path, text: Arc<SourceFile>) {
        self.0.insert(path.to_string_lossy().into(), text);
    }
}

/// The depth of files in a folder, the folder itself included.
fn depth_of(folder: Folder) -> usize {
    if folder.has_folders() { FileName::MAX_DEPTH } else { 1 }
}

/// The folders in a folder whose files are read, empty ones too.
pub(super) fn folders_within(folder: Folder, dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![(dir.to_owned(), depth_of(folder))];
    let mut index = 0;
    while let Some((dir, depth)) = all.get(index).cloned() {
        index += 1;
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        all.extend(paths.filter(|path| depth > 1 && is_folder(path)).map(|path| (path, depth - 1)));
    }
    all.into_iter().skip(1).map(|(dir, _)| dir).collect()
}

fn is_folder(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && path.is_dir()
}

/// True for the names of provider files. Hidden files and editors' backups are ignored.
fn is_wanted(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "toml")
        && !name.split('/').any(|part| part.starts_with('.'))
}

/// The path of the policy file: beside the providers directory, or, of built-in providers, beside the directory of limits if there is
/// one. Links to the directory are not followed.
pub fn policy_of(source: &Source) -> Option<PathBuf> {
    match source {
        Source::Directory { path, .. } => Some(beside(path, POLICY)),
        Source::Embedded { .. } => {
            Some(source.limits()).filter(|dir| dir.is_dir()).map(|dir| beside(&dir, POLICY))
        }
    }
}

/// All built-in files, by path as shown. `filled_in`: a directory lacks them.
fn built_in(filled_in: bool) -> impl Iterator<Item = (PathBuf, Arc<SourceFile>)> {
    let file = move |file: &'static BuiltIn| (file.shown(), Arc::new(SourceFile::built_in(file, filled_in)));
    built_in::files().iter().map(file)
}

/// True for the files of a selection of providers, and for those that providers share. Prices of a provider that is left out
/// would be prices of nobody.
fn serves(catalogue: &Catalogue, text: &SourceFile) -> bool {
    let is_of = |name: &FileName| match text.folder {
        Folder::Providers => catalogue.has(name.as_str()),
        Folder::Prices => catalogue.has(name.as_str()) || built_in::provider(name.as_str()).is_err(),
        _ => true,
    };
    text.name.as_ref().is_none_or(is_of)
}

/// Refuses names that no built-in provider has.
fn known_names(catalogue: &Catalogue) -> io::Result<()> {
    let Catalogue::Named(names) = catalogue else { return Ok(()) };
    let known = built_in::provider_names();
    let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let help = match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`tollgate providers` lists them".to_owned(),
    };
    let problem = format!("`catalogue` names `{unknown}`, and no built-in provider has this name: {help}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// The shown path of a file below `root`.
pub(super) fn display_path(root: &Path, folder: Folder, name: &FileName) -> Arc<str> {
    root.join(folder.name()).join(format!("{name}.toml")).to_string_lossy().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_beside_the_providers_or_the_limits() {
        let root = tempfile::tempdir().unwrap();
        let policy = root.path().join(POLICY);
        fs::write(&policy, "[[bodies]]\nname = \"b\"\n").unwrap();
        let (providers, limits) = (root.path().join("providers.d"), root.path().join("limits.d"));
        let check = |source: &Source, expected: bool| {
            let tree = SourceTree::read(source, &SourceTree::default()).unwrap();
            let found = tree.policy().map(|(file, _)| PathBuf::from(&**file));
            assert_eq!(found, expected.then(|| policy.clone()), "{source:?}");
        };
        let built_in = Source::Embedded { catalogue: Catalogue::All, limits: Some(limits.clone()) };
        check(&built_in, false);
        fs::create_dir(&limits).unwrap();
        check(&built_in, true);
        fs::create_dir(&providers).unwrap();
        check(&Source::directory(&providers), true);
        let elsewhere =
            Source::Embedded { catalogue: Catalogue::All, limits: Some(providers.join("limits.d")) };
        check(&elsewhere, false);
    }

    #[test]
    fn a_built_in_text_is_known_wherever_it_was_read() {
        let api = built_in::EMBEDDED.get_dir(Folder::Apis.name()).unwrap().files().next().unwrap().contents();
        let files = [
            ("apis/copy.toml", api.to_vec()),
            ("apis/changed.toml", [api, b"#"].concat()),
            ("presets/moved.toml", api.to_vec()),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), Ok(text)));
        let tree = SourceTree::from_contents("dir", files);
        let own = tree.input_files().filter(|(_, input)| !input.filled_in);
        let own: Vec<_> = own.map(|(file, input)| (&**file, input.is_built_in)).collect();
        let expected = [
            ("dir/apis/changed.toml", false),
            ("dir/apis/copy.toml", true),
            ("dir/presets/moved.toml", false),
        ];
        assert_eq!(own, expected);
        assert!(tree.input_files().filter(|(_, input)| input.filled_in).all(|(_, input)| input.is_built_in));
    }
}
