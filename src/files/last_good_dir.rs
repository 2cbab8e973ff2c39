//! The last good versions on disk, for the next start: `data/last-good/index.json` lists the files of each provider, and
//! each independent file, by SHA-256, and each text is a file of that name beside it.
//!
//! The index is replaced atomically, and a text is used only if its hash matches. A killed process loses nothing that was
//! stored. A loss of power may lose a text that was just written, but never yields half of one.
//!
//! It never stores the value of a var, and never decides which version serves. Read next: `last_good`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    SourceFile,
    built_in::BUILT_IN,
    log,
    source_file::Text,
    staleness::Staleness,
    tree::{Inputs, display_path},
};
use crate::{
    hex,
    name::FileName,
    pipeline::Folder,
    store::{create_private, create_private_dir},
};

/// The version of the index format. Other versions are ignored.
const VERSION: u32 = 1;
/// The most new texts that are synced to disk before the index names them. With more, as at a first start, syncing takes
/// too long; a loss of power may lose some of them.
const MAX_SYNCED: usize = 100;
const DIRECTORY: &str = "last-good";
const INDEX: &str = "index.json";

/// The stored form of the last good version of one provider or one independent file.
#[derive(Debug, Clone)]
pub(super) struct LastGoodFiles {
    /// The files that it was compiled from.
    pub inputs: Inputs,
    /// Its current files differ and are bad, since this time.
    pub stale: Option<Staleness>,
}

impl LastGoodFiles {
    /// True if its provider is a file of the directory, and not a built-in one.
    pub(super) fn has_own_provider(&self) -> bool {
        self.inputs.values().any(|text| text.is_own_provider())
    }
}

/// The directory `last-good` in the data directory.
#[derive(Debug)]
pub(super) struct LastGoodDir {
    dir: PathBuf,
    /// The providers directory, spelled as in the paths that are shown.
    providers: PathBuf,
    /// The directory of limits, likewise.
    limits: PathBuf,
    /// The absolute path of the providers directory. The stored versions of another directory do not count.
    source: String,
    /// The index on disk, if it is known and all its texts are intact.
    saved: Option<Index>,
    /// True after a failed save, until one succeeds.
    is_failing: bool,
}

/// The absolute path of the providers directory whose last good files a data directory holds; none if it holds none.
pub fn last_good_source(data: &Path) -> Option<PathBuf> {
    let index = fs::read(data.join(DIRECTORY).join(INDEX)).ok()?;
    let index: Index = serde_json::from_slice(&index).ok()?;
    (!index.providers.is_empty()).then(|| index.source.into())
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Index {
    version: u32,
    source: String,
    providers: BTreeMap<String, IndexEntry>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    prices: BTreeMap<String, IndexEntry>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    clients: BTreeMap<String, IndexEntry>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, IndexEntry>,
}

/// All stored versions, by name.
#[derive(Debug, Default)]
pub(super) struct StoredFiles {
    pub providers: BTreeMap<FileName, LastGoodFiles>,
    pub prices: BTreeMap<FileName, LastGoodFiles>,
    pub clients: BTreeMap<FileName, LastGoodFiles>,
    pub limits: BTreeMap<FileName, LastGoodFiles>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IndexEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stale_since_ms: Option<u64>,
    inputs: Vec<IndexInput>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IndexInput {
    folder: Folder,
    name: String,
    sha256: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    filled_in: bool,
}

impl Index {
    fn is_empty(&self) -> bool {
        let Self { version: _, source: _, providers, prices, clients, limits } = self;
        [providers, prices, clients, limits].iter().all(|files| files.is_empty())
    }
}

impl LastGoodDir {
    /// For the files of `providers` and `limits`, in the data directory `data`.
    pub(super) fn new(data: &Path, providers: &Path, limits: PathBuf) -> Self {
        let source = std::path::absolute(providers).unwrap_or_else(|_| providers.to_owned());
        let source = source.to_string_lossy().into_owned();
        Self {
            dir: data.join(DIRECTORY),
            providers: providers.to_owned(),
            limits,
            source,
            saved: None,
            is_failing: false,
        }
    }

    /// The stored versions; none if they cannot be read, which is logged.
    pub(super) fn load(&mut self) -> StoredFiles {
        self.try_load().unwrap_or_else(|problem| {
            log::last_good_unknown(&problem);
            StoredFiles::default()
        })
    }

    /// The stored versions, without those whose texts are damaged. The error is about the index.
    fn try_load(&mut self) -> Result<StoredFiles, String> {
        let path = self.dir.join(INDEX);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StoredFiles::default()),
            Err(error) => return Err(format!("`{}` cannot be read: {error}", path.display())),
        };
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|error| format!("`{}` is damaged: {error}", path.display()))?;
        if index.version != VERSION || index.source != self.source {
            return Ok(StoredFiles::default());
        }
        let mut texts = Inputs::new();
        let mut intact = |entries: &BTreeMap<String, IndexEntry>| -> BTreeMap<FileName, LastGoodFiles> {
            let files = entries.iter().filter_map(|(name, entry)| {
                let inputs =
                    entry.inputs.iter().map(|input| self.input(input, &mut texts)).collect::<Option<_>>()?;
                let stale = entry.stale_since_ms.map(Staleness::resume);
                Some((FileName::new(name)?, LastGoodFiles { inputs, stale }))
            });
            files.collect()
        };
        let [providers, prices, clients, limits] =
            [&index.providers, &index.prices, &index.clients, &index.limits].map(&mut intact);
        // After any damage, the next save writes every text again.
        let all_intact = providers.len() == index.providers.len()
            && prices.len() == index.prices.len()
            && clients.len() == index.clients.len()
            && limits.len() == index.limits.len();
        self.saved = all_intact.then_some(index);
        Ok(StoredFiles { providers, prices, clients, limits })
    }

    /// Reads a text, if it is intact. Providers that use the same file share it.
    fn input(&self, input: &IndexInput, texts: &mut Inputs) -> Option<(Arc<str>, Arc<SourceFile>)> {
        let name = input.folder.file_name(&input.name)?;
        let file = match input.folder {
            Folder::Limits => self.limits.join(format!("{name}.toml")).to_string_lossy().into(),
            folder if input.filled_in => display_path(Path::new(BUILT_IN), folder, &name),
            folder => display_path(&self.providers, folder, &name),
        };
        let key: Arc<str> = format!("{file} {}", input.sha256).into();
        if let Some(known) = texts.get(&key) {
            return Some((file, known.clone()));
        }
        let text = fs::read_to_string(self.path_of(&input.sha256)).ok()?;
        let text = SourceFile::from_text(input.folder, name, &text, input.filled_in);
        let text = (hex::encode(&text.hash) == input.sha256).then(|| Arc::new(text))?;
        texts.insert(key, text.clone());
        Some((file, text))
    }

    /// Stores these versions and removes all others. A failure is logged once; each scan tries again.
    pub(super) fn save<'k>(
        &mut self,
        providers: impl Iterator<Item = (&'k FileName, &'k LastGoodFiles)> + Clone,
        prices: impl Iterator<Item = (&'k FileName, &'k LastGoodFiles)> + Clone,
        clients: impl Iterator<Item = (&'k FileName, &'k LastGoodFiles)> + Clone,
        limits: impl Iterator<Item = (&'k FileName, &'k LastGoodFiles)> + Clone,
    ) {
        match self.try_save(providers, prices, clients, limits) {
            Ok(()) if std::mem::take(&mut self.is_failing) => log::saved_again(),
            Err(problem) if !std::mem::replace(&mut self.is_failing, true) => log::save_failed(&problem),
            Ok(()) | Err(_) => {}
        }
    }

    /// Writes the versions if they differ from those on disk. The error is a fragment.
    fn try_save<'k>(
        &mut self,
        providers: impl Iterator<Item = (&'k FileName, &'k LastGoodFiles)> + Clone,
        prices: impl Iterator<Item = (&'k FileName, &'k LastGoodFiles)> + Clone,
        clients: impl Iterator<Item = (&'k FileName, &'k LastGoodFiles)> + Clone,
        limits: impl Iterator<Item = (&'k FileName, &'k LastGoodFiles)> + Clone,
    ) -> Result<(), String> {
        let entry = |(name, files): (&FileName, &LastGoodFiles)| (name.to_string(), IndexEntry::of(files));
        let index = Index {
            version: VERSION,
            source: self.source.clone(),
            providers: providers.clone().map(entry).collect(),
            prices: prices.clone().map(entry).collect(),
            clients: clients.clone().map(entry).collect(),
            limits: limits.clone().map(entry).collect(),
        };
        // Without anything to store, those of another directory stay.
        let is_nothing = self.saved.is_none() && index.is_empty();
        if is_nothing || self.saved.as_ref() == Some(&index) {
            return Ok(());
        }
        let all = providers.chain(prices).chain(clients).chain(limits);
        let texts = all.flat_map(|(_, files)| files.inputs.values());
        self.write(&index, texts)
            .map_err(|error| format!("`{}` cannot be written: {error}", self.dir.display()))?;
        self.saved = Some(index);
        Ok(())
    }

    fn write<'k>(&self, index: &Index, texts: impl Iterator<Item = &'k Arc<SourceFile>>) -> io::Result<()> {
        match create_private_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refuse_link_of_other(&self.dir)?,
            created => created?,
        }
        let there = names(&self.dir)?;
        let texts: BTreeMap<String, &Text> = texts
            .filter_map(|text| Some((format!("{}.toml", hex::encode(&text.hash)), text.text.as_ref().ok()?)))
            .collect();
        let is_there = |name: &String| self.saved.is_some() && there.contains(name);
        let fresh: Vec<_> = texts.iter().filter(|(name, _)| !is_there(name)).collect();
        let synced = fresh.len() <= MAX_SYNCED;
        for (name, text) in fresh {
            replace(&self.dir.join(name), text.as_bytes(), synced)?;
        }
        replace(&self.dir.join(INDEX), &serde_json::to_vec(index)?, true)?;
        File::open(&self.dir)?.sync_all()?;
        for old in there.iter().filter(|name| is_own_name(name) && !texts.contains_key(*name)) {
            // A file that cannot be removed does no harm: the index does not name it.
            let _ = fs::remove_file(self.dir.join(old));
        }
        Ok(())
    }

    fn path_of(&self, sha256: &str) -> PathBuf {
        self.dir.join(format!("{sha256}.toml"))
    }
}

impl LastGoodFiles {
    /// True if it has been stale for `max` or longer.
    pub(super) fn is_expired(&self, max: Duration) -> bool {
        self.stale.is_some_and(|stale| stale.left(max).is_zero())
    }
}

impl IndexEntry {
    fn of(files: &LastGoodFiles) -> Self {
        let inputs = files.inputs.values().filter_map(|text| {
            Some(IndexInput {
                folder: text.folder,
                name: text.name.as_ref()?.to_string(),
                sha256: hex::encode(&text.hash),
                filled_in: text.filled_in,
            })
        });
        Self { stale_since_ms: files.stale.map(|stale| stale.since_ms), inputs: inputs.collect() }
    }
}

/// For root: refuses a link that another user made in place of the directory, to have root write and delete elsewhere.
fn refuse_link_of_other(dir: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(dir)?;
    if found.is_symlink() && found.uid() != 0 && rustix::process::geteuid().is_root() {
        return Err(io::Error::other(
            "it is a link of another user: remove it, or run tollgate as that user",
        ));
    }
    Ok(())
}

/// True for the names of texts and of their drafts, which are deleted when no version needs them. Other files stay.
fn is_own_name(name: &str) -> bool {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    matches!(extension, "toml" | "tmp")
        && stem.len() == 64
        && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn names(dir: &Path) -> io::Result<BTreeSet<String>> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    fs::read_dir(dir)?.map(name).collect()
}

/// Replaces a file atomically. Only its owner can read it: a text may contain a key by mistake.
fn replace(path: &Path, content: &[u8], synced: bool) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    // A scan that was killed leaves its draft.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_private(&draft)?;
    file.write_all(content)?;
    if synced {
        file.sync_all()?;
    }
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)], stale_since_ms: Option<u64>) -> LastGoodFiles {
        let text = |(file, text): &(&str, &str)| {
            let name = FileName::new(file.trim_end_matches(".toml")).unwrap();
            ((*file).into(), Arc::new(SourceFile::from_text(Folder::Providers, name, text, false)))
        };
        LastGoodFiles {
            inputs: files.iter().map(text).collect(),
            stale: stale_since_ms.map(Staleness::resume),
        }
    }

    /// The versions that another process loads: of each provider its texts, and the time since which it is stale.
    fn found(data: &Path, providers: &str) -> Result<String, String> {
        let files = LastGoodDir::new(data, Path::new(providers), "limits.d".into()).try_load()?;
        let shown = files.providers.iter().chain(&files.prices).chain(&files.clients).map(|(name, one)| {
            let texts: Vec<&str> = one.inputs.values().map(|text| text.text.as_deref().unwrap()).collect();
            format!("{name}: {} {:?}", texts.join("+"), one.stale.map(|stale| stale.since_ms))
        });
        Ok(shown.collect::<Vec<_>>().join("; "))
    }

    fn save(dir: &mut LastGoodDir, all: &[(&str, LastGoodFiles)]) {
        let all: BTreeMap<FileName, LastGoodFiles> =
            all.iter().map(|(name, files)| (FileName::new(name).unwrap(), files.clone())).collect();
        dir.try_save(all.iter(), std::iter::empty(), std::iter::empty(), std::iter::empty()).unwrap();
    }

    fn texts(data: &Path) -> usize {
        names(&data.join(DIRECTORY)).unwrap().len() - 1
    }

    #[test]
    fn stored_versions_are_loaded_again_and_removed_ones_are_deleted() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(found(data.path(), "p"), Ok(String::new()));
        let mut dir = LastGoodDir::new(data.path(), Path::new("p"), "limits.d".into());
        let (a, b) = (
            files(&[("a.toml", "A"), ("p.toml", "P")], None),
            files(&[("b.toml", "B"), ("p.toml", "P")], Some(5)),
        );
        save(&mut dir, &[("a", a.clone()), ("b", b)]);
        assert_eq!(found(data.path(), "p").unwrap(), "a: A+P None; b: B+P Some(5)");
        assert_eq!((found(data.path(), "q").unwrap().as_str(), texts(data.path())), ("", 3));
        save(&mut dir, &[("a", a)]);
        assert_eq!((found(data.path(), "p").unwrap().as_str(), texts(data.path())), ("a: A+P None", 2));
        // A foreign entry that cannot be removed is ignored.
        fs::create_dir(data.path().join("last-good/lost+found")).unwrap();
        save(&mut dir, &[("a", files(&[("a.toml", "A2")], None))]);
        assert_eq!(found(data.path(), "p").unwrap(), "a: A2 None");
        fs::remove_dir(data.path().join("last-good/lost+found")).unwrap();
        // Another process continues with the same directory.
        let mut other = LastGoodDir::new(data.path(), Path::new("p"), "limits.d".into());
        other.load();
        save(&mut other, &[("c", files(&[("c.toml", "A")], None))]);
        assert_eq!((found(data.path(), "p").unwrap().as_str(), texts(data.path())), ("c: A None", 1));
    }

    #[test]
    fn only_files_of_its_own_are_deleted() {
        let data = tempfile::tempdir().unwrap();
        let mut dir = LastGoodDir::new(data.path(), Path::new("providers.d"), "limits.d".into());
        save(&mut dir, &[("a", files(&[("a.toml", "x = 1")], None))]);
        let kept = data.path().join(DIRECTORY);
        for name in ["foreign.toml", "notes.tmp", "abc"] {
            fs::write(kept.join(name), "of somebody").unwrap();
        }
        let old = format!("{}.toml", "0".repeat(64));
        fs::write(kept.join(&old), "of a version before").unwrap();
        save(&mut dir, &[("a", files(&[("a.toml", "x = 2")], None))]);
        let there = names(&kept).unwrap();
        for name in ["foreign.toml", "notes.tmp", "abc"] {
            assert!(there.contains(name), "{name}: {there:?}");
        }
        assert!(!there.contains(&old), "{there:?}");
    }

    #[test]
    fn damaged_texts_and_indexes_are_ignored() {
        let data = tempfile::tempdir().unwrap();
        let mut dir = LastGoodDir::new(data.path(), Path::new("p"), "limits.d".into());
        save(&mut dir, &[("a", files(&[("a.toml", "A")], None)), ("b", files(&[("b.toml", "B")], None))]);
        let text = SourceFile::from_text(Folder::Providers, FileName::new("a").unwrap(), "A", false);
        fs::write(dir.path_of(&hex::encode(&text.hash)), "another").unwrap();
        assert_eq!(found(data.path(), "p").unwrap(), "b: B None");
        fs::write(data.path().join("last-good/index.json"), "{\"version\":1").unwrap();
        assert!(found(data.path(), "p").unwrap_err().contains("index.json` is damaged"));
        fs::write(
            data.path().join("last-good/index.json"),
            "{\"version\":2,\"source\":\"\",\"providers\":{}}",
        )
        .unwrap();
        assert_eq!(found(data.path(), "p"), Ok(String::new()));
        let error =
            LastGoodDir::new(&data.path().join("last-good/index.json"), Path::new("p"), "limits.d".into())
                .try_save(
                    [(&FileName::new("a").unwrap(), &files(&[("a.toml", "A")], None))].into_iter(),
                    std::iter::empty(),
                    std::iter::empty(),
                    std::iter::empty(),
                );
        assert!(error.unwrap_err().contains("cannot be written"));
    }
}
