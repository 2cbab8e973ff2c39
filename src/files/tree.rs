//! The texts of provider files: as they stand in a directory, or in the copy compiled into this binary. What
//! has not changed since the last time is not read again.
//!
//! Never looks into a text: what it means is `spec`'s and `compile`'s.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use include_dir::{Dir, include_dir};
use rustix::{
    fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags, statx},
    io::Errno,
};
use sha2::{Digest, Sha256};

use crate::{
    accounts::now_ms,
    diag::Sources,
    name::FileName,
    pipeline::{Folder, InputFile},
    settings::Source,
};

/// The files as they were when this binary was built.
pub(super) static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/providers.d");

/// Where files are shown that a directory lacks and the binary has.
pub const BUILT_IN: &str = "built-in";
/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// How long after its last change a file is read again although it looks the same: another change may have
/// got the same time stamp. Some file systems keep whole seconds.
const RACY_MS: u64 = 3_000;
/// How often files are looked at until two looks find the same.
const MAX_LOOKS: usize = 4;

/// The file with the policy.
const POLICY: &str = "policy.toml";

/// A SHA-256: of a text, as `sha256sum` prints it.
pub type Hash = [u8; 32];

/// A file.
#[derive(Debug)]
pub struct Text {
    /// Where it stands.
    pub folder: Folder,
    /// Its name; none if its stem cannot be one.
    pub name: Option<FileName>,
    /// Its text. The error is a fragment.
    pub text: Result<Arc<str>, String>,
    /// Tells it from any other text.
    pub hash: Hash,
    /// Whether it is the binary's, where a directory lacks it.
    pub filled_in: bool,
    /// Whether its directory does not tell of all its changes: it is a link, or a mount of its own.
    pub apart: bool,
    stamp: Option<Stamp>,
}

/// All files, by path as shown.
#[derive(Debug, Clone, Default)]
pub struct Tree(pub BTreeMap<Arc<str>, Arc<Text>>);

/// What changes when a file does: device, inode, size, and the times of change in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64, u64),
    times: (i128, i128),
    /// Whether it may change once more without a trace.
    racy: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let times =
            (nanos(metadata.mtime(), metadata.mtime_nsec()), nanos(metadata.ctime(), metadata.ctime_nsec()));
        let age_ms = i128::from(now_ms()) - times.0.max(times.1) / 1_000_000;
        let racy = age_ms < i128::from(RACY_MS);
        Self { file: (metadata.dev(), metadata.ino(), metadata.size()), times, racy }
    }

    fn is_still(&self, now: &Self) -> bool {
        !self.racy && self.file == now.file && self.times == now.times
    }
}

impl Tree {
    /// Reads all files. What `before` has, and looks the same, is taken from there. The error is about the
    /// directory itself.
    pub fn read(source: &Source, before: &Self) -> io::Result<Self> {
        let mut tree = Self::default();
        match source {
            Source::Embedded => {
                for (folder, file) in embedded(&Folder::ALL) {
                    tree.insert(&Path::new(BUILT_IN).join(file.path()), built_in(folder, file, false));
                }
            }
            Source::Directory(dir) => {
                let root = fs::canonicalize(dir)?;
                for folder in Folder::ALL {
                    tree.read_folder(folder, &dir.join(folder.name()), &root, before)?;
                }
                tree.read_policy(&policy_of(dir), before);
                tree.fill_in();
            }
        }
        Ok(tree)
    }

    /// The files of a directory that is none on this machine: folder, path below the directory, and contents.
    pub fn of(dir: &str, files: impl IntoIterator<Item = (String, Result<Vec<u8>, String>)>) -> Self {
        let mut tree = Self::default();
        for (path, contents) in files {
            let (below, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let folder = Folder::ALL.into_iter().find(|folder| folder.name() == below);
            let Some(folder) = folder.filter(|_| is_wanted(name)) else { continue };
            let contents = contents.and_then(|bytes| {
                let large = bytes.len() as u64 > MAX_FILE_BYTES;
                if large { Err(format!("is larger than {MAX_FILE_BYTES} bytes")) } else { Ok(bytes) }
            });
            let shown = Path::new(dir).join(&path);
            tree.insert(&shown, Arc::new(Text::new(folder, &shown, contents, false)));
        }
        tree.fill_in();
        tree
    }

    /// The policy that stands beside the directory, if one does.
    pub fn policy(&self) -> Option<(&Arc<str>, &Arc<Text>)> {
        self.0.iter().find(|(_, text)| text.folder == Folder::Policy)
    }

    /// Takes another policy than the one beside the directory.
    pub fn set_policy(&mut self, path: &Path) {
        self.0.retain(|_, text| text.folder != Folder::Policy);
        self.read_policy(path, &Self::default());
    }

    fn read_policy(&mut self, path: &Path, before: &Self) {
        let metadata = fs::symlink_metadata(path);
        // One that is there and cannot be read is not taken for none.
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
                self.insert(path, Arc::new(Text::new(Folder::Policy, path, Err(problem), false)));
            }
        }
    }

    /// The same, once two looks find the same: not half of what is being written or swapped. Where writing
    /// goes on and on, what the last look found.
    pub fn settled(source: &Source, before: &Self) -> io::Result<Self> {
        let mut tree = Self::read(source, before)?;
        for _ in 1..MAX_LOOKS {
            let again = Self::read(source, &tree)?;
            let same = again.is(&tree);
            tree = again;
            if same {
                break;
            }
        }
        Ok(tree)
    }

    /// Whether both hold the same texts.
    pub fn is(&self, other: &Self) -> bool {
        let mut both = self.0.iter().zip(&other.0);
        self.0.len() == other.0.len()
            && both.all(|(one, other)| one.0 == other.0 && one.1.hash == other.1.hash)
    }

    /// The files, as the pipeline takes them.
    pub fn inputs(&self) -> impl Iterator<Item = (&Arc<str>, InputFile<'_>)> {
        self.0.iter().map(|(file, text)| {
            let contents = text.text.as_ref().map(|text| &**text).map_err(String::as_str);
            let (folder, name, filled_in) = (text.folder, text.name.as_ref(), text.filled_in);
            (file, InputFile { folder, name, text: contents, filled_in })
        })
    }

    /// The hash of a file.
    pub fn hash_of(&self, shown: &str) -> Option<&Hash> {
        self.0.get(shown).map(|text| &text.hash)
    }

    /// Whether it has any provider file, good or not.
    pub fn has_providers(&self) -> bool {
        self.0.values().any(|text| text.folder == Folder::Providers)
    }

    /// All texts, for showing findings.
    pub fn sources(&self) -> Sources {
        let mut sources = Sources::default();
        for (shown, text) in &self.0 {
            if let Ok(text) = &text.text {
                sources.insert(shown.clone(), text.clone());
            }
        }
        sources
    }

    fn read_folder(&mut self, folder: Folder, dir: &Path, root: &Path, before: &Self) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // Only the providers' own folder has to be there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder != Folder::Providers => {
                return Ok(());
            }
            Err(error) if folder == Folder::Providers => return Err(error),
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("`{}`: {error}", folder.name())));
            }
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !is_wanted(&name) {
                continue;
            }
            self.read_file(folder, &path, root, before);
        }
        Ok(())
    }

    fn read_file(&mut self, folder: Folder, path: &Path, root: &Path, before: &Self) {
        let stamp = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        let known = before.0.get(&*path.to_string_lossy());
        let known =
            known.filter(|known| matches!((&known.stamp, &stamp), (Some(a), Some(b)) if a.is_still(b)));
        let link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        // Where a link leads, and whether a file can be read, is not the file's alone.
        let known = known.filter(|known| !link && known.text.is_ok());
        let text = known.cloned().unwrap_or_else(|| {
            let apart = link || is_mount(path);
            Arc::new(Text { apart, stamp, ..Text::new(folder, path, read(path, root), false) })
        });
        self.insert(path, text);
    }

    /// Presets, gateways and apis that a directory lacks are those of the binary, so that a provider file works
    /// wherever it is put. Their tests were run when the binary was made.
    fn fill_in(&mut self) {
        let has =
            |text: &Text| self.0.values().any(|one| (one.folder, &one.name) == (text.folder, &text.name));
        let missing = embedded(&Folder::ALL[1..]).map(|(folder, file)| (file, built_in(folder, file, true)));
        let missing: Vec<_> = missing.filter(|(_, text)| !has(text)).collect();
        for (file, text) in missing {
            self.insert(&Path::new(BUILT_IN).join(file.path()), text);
        }
    }

    /// Puts a text in the place of a file, or of the binary's where the directory lacks it.
    pub(super) fn replace(&mut self, path: &Path, bytes: Vec<u8>) {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let folder = Folder::ALL[1..].iter().find(|one| one.name() == folder).copied();
        let folder = folder.unwrap_or(Folder::Providers);
        let contents =
            if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large(MAX_FILE_BYTES)) } else { Ok(bytes) };
        let text = Text::new(folder, path, contents, false);
        self.0.retain(|_, one| !(one.filled_in && one.folder == folder && one.name == text.name));
        self.insert(path, Arc::new(text));
    }

    fn insert(&mut self, path: &Path, text: Arc<Text>) {
        self.0.insert(path.to_string_lossy().into(), text);
    }
}

impl Text {
    /// A text that was read before.
    pub fn known(folder: Folder, name: FileName, text: &str, filled_in: bool) -> Self {
        let (name, text, hash) = (Some(name), Ok(text.into()), Sha256::digest(text).into());
        Self { folder, name, text, hash, filled_in, apart: false, stamp: None }
    }

    fn new(folder: Folder, path: &Path, contents: Result<Vec<u8>, String>, filled_in: bool) -> Self {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = contents.and_then(utf8);
        let hash = match &text {
            Ok(text) => Sha256::digest(text).into(),
            Err(problem) => hash(&[b"problem", problem.as_bytes()]),
        };
        let name = FileName::new(&stem);
        Self { folder, name, text: text.map(Arc::from), hash, filled_in, apart: false, stamp: None }
    }
}

/// Whether a file of this name is one of ours.
fn is_wanted(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "toml") && !name.starts_with('.')
}

/// Where the policy of a providers directory stands: beside it, as its path is given, links not followed.
pub fn policy_of(dir: &Path) -> PathBuf {
    match dir.file_name() {
        Some(_) => dir.with_file_name(POLICY),
        None => dir.join("..").join(POLICY),
    }
}

fn embedded(folders: &[Folder]) -> impl Iterator<Item = (Folder, &'static include_dir::File<'static>)> {
    folders.iter().flat_map(|folder| {
        let dir = if folder.name().is_empty() { Some(&EMBEDDED) } else { EMBEDDED.get_dir(folder.name()) };
        dir.into_iter().flat_map(Dir::files).map(|file| (*folder, file))
    })
}

fn built_in(folder: Folder, file: &include_dir::File<'_>, filled_in: bool) -> Arc<Text> {
    Arc::new(Text::new(folder, file.path(), Ok(file.contents().to_vec()), filled_in))
}

/// Whether a file is a mount of its own, as a single file that is mounted into a container.
fn is_mount(path: &Path) -> bool {
    let stat = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The path of a file below `root`, as shown.
pub fn shown(root: &Path, folder: Folder, name: &FileName) -> Arc<str> {
    root.join(folder.name()).join(format!("{name}.toml")).to_string_lossy().into()
}

/// The SHA-256 of parts, each with its length, so that no two lists of parts are taken for one.
pub fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The text of one file, wherever it stands. The error is a fragment.
pub fn read_text(path: &Path) -> Result<Arc<str>, String> {
    let file = open(path, OFlags::empty()).map_err(|error| format!("cannot be read: {error}"))?;
    contents(file, MAX_FILE_BYTES).and_then(utf8).map(Arc::from)
}

/// The text that bytes are. The error is a fragment.
pub fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| match error.as_bytes() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16: save it as UTF-8".to_owned(),
        _ => format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()),
    })
}

/// Reads one file below `root`. The error is a fragment.
pub(super) fn read(path: &Path, root: &Path) -> Result<Vec<u8>, String> {
    let real = fs::canonicalize(path).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => "a link that leads to itself".to_owned(),
        Some(Errno::NOENT) if path.is_symlink() => "a link that leads nowhere".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if !real.starts_with(root) {
        return Err("a link that leads out of the providers directory is not followed".into());
    }
    // What is looked at is what is read, whoever changes the path in between.
    let file = open(&real, OFlags::NOFOLLOW).map_err(|error| format!("cannot be read: {error}"))?;
    contents(file, MAX_FILE_BYTES)
}

/// Opens a file for reading. A pipe that nobody writes to does not hold the process up.
pub(super) fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    File::options().read(true).custom_flags(flags.cast_signed()).open(path)
}

/// All of a regular file, if it is small enough. The error is a fragment.
pub(super) fn contents(file: File, max: u64) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if !kind.is_file() {
        let what = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a pipe",
            () => "a device or a socket",
        };
        return Err(format!("is {what}, not a file"));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max { Err(too_large(max)) } else { Ok(bytes) }
}

fn too_large(max: u64) -> String {
    format!("is larger than {max} bytes")
}
