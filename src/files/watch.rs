//! The watched paths, and the inotify watches on them.
//!
//! Directories are watched, not files: a watch on a file ends when an editor renames another file over it. Every directory
//! on the path is watched too, symbolic links followed, since any of them may be replaced.
//!
//! It never reads a file: an event only causes a scan. Read next: `change_events`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};

/// The most symbolic links that are followed on one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// The event when a writer closes a file.
const WRITTEN: AccessKind = AccessKind::Close(AccessMode::Write);

/// The entries of a directory whose events count.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Interest {
    All,
    Names(BTreeSet<OsString>),
}

/// The directories to watch, each with the entries whose events count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WatchPaths(BTreeMap<PathBuf, Interest>);

impl WatchPaths {
    /// Adds a directory with all its entries, and every directory and link on the path to it.
    pub(super) fn add_directory(&mut self, path: &Path) {
        let real = self.add_file(path);
        self.0.insert(real, Interest::All);
    }

    /// Adds a file as an entry of its directory, and every directory and link on the path to it. Returns its real path.
    pub(super) fn add_file(&mut self, path: &Path) -> PathBuf {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut ahead: Vec<OsString> = Vec::new();
        let mut here = PathBuf::from("/");
        push_parts(&path, &mut ahead, &mut here);
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            if part == ".." {
                here.pop();
                continue;
            }
            self.add_name(&here, &part);
            let next = here.join(&part);
            match fs::read_link(&next) {
                Ok(target) if links < MAX_LINKS => {
                    links += 1;
                    push_parts(&target, &mut ahead, &mut here);
                }
                _ => here = next,
            }
        }
        here
    }

    /// Adds a file that is a mount of its own: a watch on its directory does not report writes to it.
    pub(super) fn add_mount(&mut self, path: &Path) {
        let real = self.add_file(path);
        self.0.entry(real).or_insert(Interest::Names(BTreeSet::new()));
    }

    fn add_name(&mut self, dir: &Path, name: &OsStr) {
        let interest = self.0.entry(dir.to_owned()).or_insert_with(|| Interest::Names(BTreeSet::new()));
        if let Interest::Names(names) = interest {
            names.insert(name.to_owned());
        }
    }

    /// True if every event that `other` includes is included here.
    fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(dir, interest)| match (self.0.get(dir), interest) {
            (Some(Interest::All), _) => true,
            (Some(Interest::Names(known)), Interest::Names(names)) => names.is_subset(known),
            (Some(Interest::Names(_)), Interest::All) | (None, _) => false,
        })
    }

    fn includes(&self, path: &Path) -> bool {
        let below = |(dir, name): (&Path, &OsStr)| match self.0.get(dir) {
            Some(Interest::All) => true,
            Some(Interest::Names(names)) => names.contains(name),
            None => false,
        };
        self.0.contains_key(path) || path.parent().zip(path.file_name()).is_some_and(below)
    }
}

/// Pushes the parts of a path onto the stack of parts to visit.
fn push_parts(path: &Path, ahead: &mut Vec<OsString>, here: &mut PathBuf) {
    for part in path.components().rev() {
        match part {
            Component::RootDir => *here = PathBuf::from("/"),
            Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir | Component::Normal(_) => ahead.push(part.as_os_str().to_owned()),
        }
    }
}

/// The inotify watches.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    paths: Arc<Mutex<WatchPaths>>,
    /// The device and inode that are watched at each path.
    armed: BTreeMap<PathBuf, (u64, u64)>,
}

impl Watch {
    /// Calls `wake` at each event on a watched path. There are none before [`Watch::arm`]. The error is a fragment.
    pub(super) fn new(wake: impl Fn() + Send + 'static) -> Result<Self, String> {
        let paths = Arc::new(Mutex::new(WatchPaths::default()));
        let known = paths.clone();
        let on_event = move |event: notify::Result<Event>| {
            let is_watched = match event {
                Ok(event) if event.need_rescan() => true,
                // A read is no change, and the scan's own reads would cause the next scan. A write through a memory map
                // causes no event but the close.
                Ok(Event { kind: EventKind::Access(kind), .. }) if kind != WRITTEN => false,
                Ok(event) => {
                    let paths = known.lock().unwrap_or_else(PoisonError::into_inner);
                    event.paths.iter().any(|path| paths.includes(path))
                }
                Err(_) => true,
            };
            if is_watched {
                wake();
            }
        };
        let watcher = notify::recommended_watcher(on_event).map_err(|error| problem(&error))?;
        Ok(Self { watcher, paths, armed: BTreeMap::new() })
    }

    /// Watches these paths and no others. Existing watches are armed again: a directory at the same path, even with the
    /// same inode, may be another one by now. Returns true if a path or a name was not watched before: events on it so far
    /// were ignored. The error names the limit that is exhausted.
    pub(super) fn arm(&mut self, paths: &WatchPaths) -> Result<bool, String> {
        let mut more = self.replace_paths(paths);
        let gone: Vec<PathBuf> =
            self.armed.keys().filter(|path| !paths.0.contains_key(*path)).cloned().collect();
        for path in gone {
            self.disarm(&path);
        }
        for path in paths.0.keys() {
            let identity = fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
            if self.armed.get(path).is_some_and(|known| Some(*known) != identity) {
                self.disarm(path);
            }
            let Some(identity) = identity else { continue };
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => more |= self.armed.insert(path.clone(), identity).is_none(),
                // A directory that vanished or may not be watched: its parents' watches and the sweep cover it.
                Err(error) if !is_limit(&error) => {}
                Err(error) => return Err(problem(&error)),
            }
        }
        Ok(more)
    }

    /// Returns true if the new paths include one that the old ones do not.
    fn replace_paths(&self, paths: &WatchPaths) -> bool {
        let mut known = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let more = !known.covers(paths);
        if *known != *paths {
            known.clone_from(paths);
        }
        more
    }

    fn disarm(&mut self, path: &Path) {
        self.armed.remove(path);
        // The system may have ended the watch itself, for instance when the directory was removed.
        let _ = self.watcher.unwatch(path);
    }
}

fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => matches!(error.raw_os_error(), Some(12 | 23 | 24 | 28)),
        _ => false,
    }
}

/// The limit to raise, for the log.
fn problem(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => "the limit fs.inotify.max_user_watches is used up".into(),
        ErrorKind::Io(error) if error.raw_os_error() == Some(28) => {
            "the limit fs.inotify.max_user_watches is used up".into()
        }
        ErrorKind::Io(error) if error.raw_os_error() == Some(24) => {
            "the limit fs.inotify.max_user_instances, or that of open files, is used up".into()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_and_link_on_a_path_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let check = |path: &str, expected: &[(&str, &str)]| {
            let mut paths = WatchPaths::default();
            paths.add_directory(&root.join(path));
            let below =
                |path: &Path| path.strip_prefix(&root).ok().map(|path| path.to_string_lossy().into_owned());
            let found = paths.0.iter().filter_map(|(path, interest)| {
                let names = match interest {
                    Interest::All => "*".to_owned(),
                    Interest::Names(names) => {
                        names.iter().map(|one| one.to_string_lossy()).collect::<Vec<_>>().join(" ")
                    }
                };
                Some((below(path)?, names))
            });
            let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(found.collect::<Vec<_>>(), expected, "{path}");
        };
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).unwrap();
        fs::create_dir_all(root.join("v1/p")).unwrap();
        link("v1", "current");
        link("current/../current/p", "p");
        link("round", "round");
        check("v1/p", &[("", "v1"), ("v1", "p"), ("v1/p", "*")]);
        check("current/p", &[("", "current v1"), ("v1", "p"), ("v1/p", "*")]);
        check("p", &[("", "current p v1"), ("v1", "p"), ("v1/p", "*")]);
        check("missing/p", &[("", "missing"), ("missing", "p"), ("missing/p", "*")]);
        check("round", &[("", "round"), ("round", "*")]);
    }

    /// A name that is added to a watched directory: its event may have come, and been ignored, before it was added.
    #[test]
    fn a_name_that_is_added_counts_as_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(|| {}).unwrap();
        let paths = |names: &[&str]| {
            let mut paths = WatchPaths::default();
            for name in names {
                paths.add_file(&dir.path().join(name));
            }
            paths
        };
        let mut check = |names: &[&str], expected: bool| {
            assert_eq!(watch.arm(&paths(names)), Ok(expected), "{names:?}");
        };
        check(&["a"], true);
        check(&["a"], false);
        check(&["a", "b"], true);
        check(&["b"], false);
        check(&["a"], true);
    }

    #[test]
    fn events_on_other_paths_are_ignored() {
        let mut paths = WatchPaths::default();
        paths.add_directory(Path::new("/nowhere/p"));
        paths.add_mount(Path::new("/mounts/a.toml"));
        let check =
            |path: &str, expected: bool| assert_eq!(paths.includes(Path::new(path)), expected, "{path}");
        check("/nowhere/p/a.toml", true);
        check("/nowhere/p/..data", true);
        check("/nowhere/p", true);
        check("/nowhere/q", false);
        check("/nowhere/p/presets/a.toml", false);
        check("/mounts/a.toml", true);
        check("/mounts/b.toml", false);
        check("/nowhere", true);
        check("/elsewhere", false);
    }
}
