//! The provider files that are built into the binary. They serve without a directory, and stand in for those that a
//! directory lacks. A file of the directory with the same text shares it, so that the text of a shipped file takes no memory.
//!
//! It reads no directory. Read next: `source_file`, `tree`.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use crate::{pipeline::Folder, suggest::nearest};

/// A SHA-256. That of a text is what `sha256sum` prints.
pub type Hash = [u8; 32];

/// The directory in the shown path of a built-in file.
pub const BUILT_IN: &str = "built-in";

/// The files of `providers.d` when this binary was built.
pub(super) static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/providers.d");

/// All built-in files by folder and hash. They are hashed once, not at each scan.
static FILES: LazyLock<Vec<BuiltIn>> = LazyLock::new(|| {
    let in_folder = |folder: Folder| {
        let dir = if folder.name().is_empty() { Some(&EMBEDDED) } else { EMBEDDED.get_dir(folder.name()) };
        let mut dirs: Vec<&'static Dir<'static>> = dir.into_iter().collect();
        let mut files = Vec::new();
        while let Some(dir) = dirs.pop() {
            files.extend(dir.files().map(|file| BuiltIn::new(folder, file)));
            dirs.extend(dir.dirs().filter(|_| folder.has_folders()));
        }
        files
    };
    let mut files: Vec<_> = Folder::ALL.into_iter().flat_map(in_folder).collect();
    files.sort_by_key(BuiltIn::key);
    files
});

/// A built-in file. Tests hold that none has errors.
#[derive(Debug)]
pub struct BuiltIn {
    pub(super) folder: Folder,
    /// Below the directory.
    pub(super) path: &'static Path,
    pub(super) text: &'static str,
    pub(super) hash: Hash,
}

impl BuiltIn {
    fn new(folder: Folder, file: &'static include_dir::File<'static>) -> Self {
        let text = file.contents_utf8().expect("tests parse all built-in files");
        Self { folder, path: file.path(), text, hash: Sha256::digest(text).into() }
    }

    fn key(&self) -> (Folder, Hash) {
        (self.folder, self.hash)
    }

    /// Its path, as shown.
    pub(super) fn shown(&self) -> PathBuf {
        Path::new(BUILT_IN).join(self.path)
    }
}

/// All built-in files.
pub(super) fn files() -> &'static [BuiltIn] {
    &FILES
}

/// The names of the built-in providers.
pub(super) fn provider_names() -> Vec<&'static str> {
    let providers = FILES.iter().filter(|file| file.folder == Folder::Providers);
    let mut names: Vec<&str> = providers.filter_map(|file| file.path.file_stem()?.to_str()).collect();
    names.sort_unstable();
    names
}

/// The text of a built-in provider. The error is the nearest name, if there is one.
pub fn provider(name: &str) -> Result<&'static str, Option<&'static str>> {
    let mut providers = FILES.iter().filter(|file| file.folder == Folder::Providers);
    let found = providers.find(|file| file.path.file_stem().is_some_and(|stem| stem == name));
    found.map(|file| file.text).ok_or_else(|| nearest(name, provider_names()))
}

/// The built-in providers: the name, the path as shown, and the text.
pub fn providers() -> impl Iterator<Item = (&'static str, PathBuf, &'static str)> {
    let providers = FILES.iter().filter(|file| file.folder == Folder::Providers);
    providers.filter_map(|file| Some((file.path.file_stem()?.to_str()?, file.shown(), file.text)))
}

/// The built-in file of a folder with a text of this hash.
pub(super) fn find(folder: Folder, hash: Hash) -> Option<&'static BuiltIn> {
    let found = FILES.binary_search_by_key(&(folder, hash), BuiltIn::key).ok()?;
    Some(&FILES[found])
}
