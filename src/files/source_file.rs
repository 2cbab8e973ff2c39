//! One provider file: its text, the SHA-256 of it, and the stamp by which a later scan sees that it did not change.
//!
//! It reads regular files of a bounded size, never blocks on a pipe or a device, and never parses a text. Read next:
//! `tree` for all files.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    ops::Deref,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags, statx},
    io::Errno,
};
use sha2::{Digest, Sha256};

pub use super::built_in::Hash;
use super::built_in::{self, BuiltIn};
use crate::{clock::now_ms, name::FileName, pipeline::Folder};

/// The size of the largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// The time after a change during which a file is read again even if its stamp is the same: a second change may have got
/// the same time stamp, since some file systems store whole seconds.
const RACY_MS: u64 = 3_000;

/// A provider file, preset, endpoint set, gateway, api, file of prices or of a client, or policy, as read.
#[derive(Debug)]
pub struct SourceFile {
    /// Its folder.
    pub folder: Folder,
    /// Its name, or `None` if its stem is not a valid name.
    pub name: Option<FileName>,
    /// Its text. The error is a fragment.
    pub text: Result<Text, String>,
    /// The SHA-256 of the text, or of the error.
    pub hash: Hash,
    /// True for a built-in file that the directory lacks.
    pub filled_in: bool,
    /// True if its directory does not report all its changes: it is a symbolic link, or a mount of its own.
    pub needs_own_watch: bool,
    stamp: Option<Stamp>,
}

/// The text of a file.
#[derive(Debug, Clone)]
pub enum Text {
    /// That of a file that is built into the binary.
    BuiltIn(&'static BuiltIn),
    /// Another one.
    Own(Arc<str>),
}

impl Text {
    /// A text with its hash.
    fn new(folder: Folder, text: &str, hash: Hash) -> Self {
        built_in::find(folder, hash).map_or_else(|| Self::Own(text.into()), Self::BuiltIn)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::BuiltIn(file) => file.text,
            Self::Own(text) => text,
        }
    }
}

impl From<&Text> for Arc<str> {
    fn from(text: &Text) -> Self {
        match text {
            Text::BuiltIn(file) => Self::from(file.text),
            Text::Own(text) => text.clone(),
        }
    }
}

/// Metadata that changes with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Device, inode and size.
    file: (u64, u64, u64),
    /// `mtime` and `ctime`, in nanoseconds.
    times: (i128, i128),
    /// True if the next change may leave the same stamp.
    is_racy: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let times =
            (nanos(metadata.mtime(), metadata.mtime_nsec()), nanos(metadata.ctime(), metadata.ctime_nsec()));
        let age_ms = i128::from(now_ms()) - times.0.max(times.1) / 1_000_000;
        let is_racy = age_ms < i128::from(RACY_MS);
        Self { file: (metadata.dev(), metadata.ino(), metadata.size()), times, is_racy }
    }

    fn is_unchanged(&self, now: &Self) -> bool {
        !self.is_racy && self.file == now.file && self.times == now.times
    }
}

impl SourceFile {
    /// True for a provider file of the directory.
    pub(super) fn is_own_provider(&self) -> bool {
        self.folder == Folder::Providers && !self.filled_in
    }

    /// True for a text that is built in, wherever it was read.
    pub(super) fn is_built_in(&self) -> bool {
        matches!(self.text, Ok(Text::BuiltIn(_)))
    }

    /// A file with a known text, read elsewhere.
    pub fn from_text(folder: Folder, name: FileName, text: &str, filled_in: bool) -> Self {
        let hash = Sha256::digest(text).into();
        let (name, text) = (Some(name), Ok(Text::new(folder, text, hash)));
        Self { folder, name, text, hash, filled_in, needs_own_watch: false, stamp: None }
    }

    pub(super) fn built_in(file: &'static BuiltIn, filled_in: bool) -> Self {
        let (folder, hash, name) = (file.folder, file.hash, name_of(file.folder, file.path));
        let text = Ok(Text::BuiltIn(file));
        Self { folder, name, text, hash, filled_in, needs_own_watch: false, stamp: None }
    }

    /// Reads the file at `path`, below `root`, or returns `before` if its stamp is the same.
    pub(super) fn read(folder: Folder, path: &Path, root: &Path, before: Option<&Arc<Self>>) -> Arc<Self> {
        let stamp = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        let link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        let is_unchanged =
            |known: &Self| matches!((&known.stamp, &stamp), (Some(a), Some(b)) if a.is_unchanged(b));
        // A link's target, and the right to read a file, may change without the file's stamp.
        let before = before.filter(|known| is_unchanged(known) && !link && known.text.is_ok());
        before.cloned().unwrap_or_else(|| {
            let needs_own_watch = link || is_mount(path);
            Arc::new(Self {
                needs_own_watch,
                stamp,
                ..Self::new(folder, path, read_below(path, root), false)
            })
        })
    }

    pub(super) fn new(
        folder: Folder,
        path: &Path,
        contents: Result<Vec<u8>, String>,
        filled_in: bool,
    ) -> Self {
        let text = contents.and_then(decode_utf8);
        let hash = match &text {
            Ok(text) => Sha256::digest(text).into(),
            Err(problem) => hash_parts(&[b"problem", problem.as_bytes()]),
        };
        let (name, text) = (name_of(folder, path), text.map(|text| Text::new(folder, &text, hash)));
        Self { folder, name, text, hash, filled_in, needs_own_watch: false, stamp: None }
    }
}

/// The name of the file at `path`, or `None` if its stem is not a valid name. In a folder with folders, the name begins below
/// that.
fn name_of(folder: Folder, path: &Path) -> Option<FileName> {
    let stem = path.with_extension("");
    let stem = stem.to_string_lossy();
    folder.file_name(folder.below(&stem).or_else(|| stem.rsplit('/').next())?)
}

/// True if the file is a mount of its own, as a single file that is mounted into a container.
fn is_mount(path: &Path) -> bool {
    let stat = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The SHA-256 of a list of parts. Each part is prefixed with its length, so that different lists cannot collide.
pub(super) fn hash_parts(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Reads the text of any file. The error is a fragment.
pub fn read_text(path: &Path) -> Result<Arc<str>, String> {
    let file = open_nonblocking(path, OFlags::empty()).map_err(|error| format!("cannot be read: {error}"))?;
    read_bounded(file, MAX_FILE_BYTES).and_then(decode_utf8).map(Arc::from)
}

/// Decodes a text. The error is a fragment.
pub fn decode_utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| match error.as_bytes() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16: save it as UTF-8".to_owned(),
        _ => format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()),
    })
}

/// Reads a text of another project, if its real path is below `root`, a real path itself. The error is a fragment.
pub fn read_foreign(path: &Path, root: &Path, max: u64) -> Result<Arc<str>, String> {
    let bytes = read_real(path, root, max, "the directory")?;
    decode_utf8(bytes).map(Arc::from)
}

/// Reads a file, if its real path is below `root`. The error is a fragment.
fn read_below(path: &Path, root: &Path) -> Result<Vec<u8>, String> {
    read_real(path, root, MAX_FILE_BYTES, "the providers directory")
}

/// Reads a file of at most `max` bytes, if its real path is below `root`. `place`: what `root` is. The error is a fragment.
fn read_real(path: &Path, root: &Path, max: u64, place: &str) -> Result<Vec<u8>, String> {
    let real = fs::canonicalize(path).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => "a link that leads to itself".to_owned(),
        Some(Errno::NOENT) if path.is_symlink() => "a link that leads nowhere".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if !real.starts_with(root) {
        return Err(format!("a link that leads out of {place} is not followed"));
    }
    // `NOFOLLOW` on the checked path: a link swapped in since the check is not followed.
    let file =
        open_nonblocking(&real, OFlags::NOFOLLOW).map_err(|error| format!("cannot be read: {error}"))?;
    read_bounded(file, max)
}

/// Opens a file for reading. A pipe without a writer does not block.
pub(super) fn open_nonblocking(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    File::options().read(true).custom_flags(flags.cast_signed()).open(path)
}

/// Reads a regular file of at most `max` bytes. The error is a fragment.
pub(super) fn read_bounded(file: File, max: u64) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let metadata = file.metadata().map_err(unreadable)?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        let what = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a pipe",
            () => "a device or a socket",
        };
        return Err(format!("is {what}, not a file"));
    }
    // Not grown while it is read: a freed part of a secret is not zeroized.
    let capacity = usize::try_from(metadata.len().min(max)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(capacity + 1);
    file.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max { Err(too_large(max)) } else { Ok(bytes) }
}

pub(super) fn too_large(max: u64) -> String {
    format!("is larger than {max} bytes")
}

#[cfg(test)]
pub(super) fn pipe(path: &Path) {
    use rustix::fs::{FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let check = |name: &str, expected: Result<usize, &str>| {
            let found = read_below(&root.join(name), &root).map(|bytes| bytes.len());
            assert_eq!(found, expected.map_err(str::to_owned), "{name}");
        };
        fs::write(root.join("full"), vec![b'#'; 1 << 20]).unwrap();
        fs::write(root.join("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
        fs::create_dir(root.join("directory")).unwrap();
        pipe(&root.join("pipe"));
        check("full", Ok(1 << 20));
        check("large", Err("is larger than 1048576 bytes"));
        check("directory", Err("is a directory, not a file"));
        check("pipe", Err("is a pipe, not a file"));
        check("missing", Err("cannot be read: No such file or directory (os error 2)"));
    }
}
