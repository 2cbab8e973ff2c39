//! The watched paths, and the inotify watches on them.
//!
//! A watch on a file ends when an editor renames another file over it. So every directory on the path is watched too,
//! symbolic links followed, since any of them may be replaced. Such a directory is watched for new, moved and deleted
//! entries only: a log file in it may be written to all the time.
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

use notify::{Config, ErrorKind, Event, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher};

/// The most symbolic links that are followed on one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// The events on the entries of a directory itself.
const NAMES: EventKindMask =
    EventKindMask::CREATE.union(EventKindMask::REMOVE).union(EventKindMask::MODIFY_NAME);
/// The events on contents too. A write through a memory map causes no event but the close. A read is no change, and the
/// scan's own reads would cause the next scan.
const CONTENTS: EventKindMask = EventKindMask::CORE.union(EventKindMask::ACCESS_CLOSE);

/// The events on a path that count.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Interest {
    /// A directory: those on all its entries, and on their contents.
    All,
    /// A directory: new, moved and deleted entries with these names.
    Names(BTreeSet<OsString>),
    /// A file: those on its contents.
    File,
}

/// The paths to watch, each with the events that count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WatchPaths(BTreeMap<PathBuf, Interest>);

impl WatchPaths {
    /// Adds a directory with all its entries, and every directory and link on the path to it.
    pub(super) fn add_directory(&mut self, path: &Path) {
        let real = self.add_path(path);
        self.0.insert(real, Interest::All);
    }

    /// Adds a file, and every directory and link on the path to it.
    pub(super) fn add_file(&mut self, path: &Path) {
        let real = self.add_path(path);
        self.0.entry(real).or_insert(Interest::File);
    }

    /// Adds every directory and link on a path. Returns its real path.
    fn add_path(&mut self, path: &Path) -> PathBuf {
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

    fn add_name(&mut self, dir: &Path, name: &OsStr) {
        let interest = self.0.entry(dir.to_owned()).or_insert_with(|| Interest::Names(BTreeSet::new()));
        if let Interest::Names(names) = interest {
            names.insert(name.to_owned());
        }
    }

    /// True if every event that `other` includes is included here.
    fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(dir, interest)| match (self.0.get(dir), interest) {
            (Some(Interest::All), _) | (Some(Interest::File), Interest::File) => true,
            (Some(Interest::Names(known)), Interest::Names(names)) => names.is_subset(known),
            (Some(Interest::Names(_) | Interest::File) | None, _) => false,
        })
    }

    fn includes(&self, path: &Path) -> bool {
        let below = |(dir, name): (&Path, &OsStr)| match self.0.get(dir) {
            Some(Interest::All) => true,
            Some(Interest::Names(names)) => names.contains(name),
            Some(Interest::File) | None => false,
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
    /// Of the paths with [`Interest::Names`].
    names: RecommendedWatcher,
    /// Of the others.
    contents: RecommendedWatcher,
    paths: Arc<Mutex<WatchPaths>>,
    armed: BTreeMap<PathBuf, Armed>,
}

/// A watched file or directory.
#[derive(Debug, PartialEq, Eq)]
struct Armed {
    device: u64,
    inode: u64,
    /// True if its watch is one of [`Watch::names`].
    names_only: bool,
}

impl Watch {
    /// Calls `wake` at each event on a watched path. There are none before [`Watch::arm`]. The error is a fragment.
    pub(super) fn new(wake: impl Fn() + Clone + Send + 'static) -> Result<Self, String> {
        let paths = Arc::new(Mutex::new(WatchPaths::default()));
        let watcher = |kinds| {
            let (known, wake) = (paths.clone(), wake.clone());
            let on_event = move |event: notify::Result<Event>| {
                let is_watched = match event {
                    Ok(event) if event.need_rescan() => true,
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
            RecommendedWatcher::new(on_event, Config::default().with_event_kinds(kinds))
                .map_err(|error| problem(&error))
        };
        let (names, contents) = (watcher(NAMES)?, watcher(CONTENTS)?);
        Ok(Self { names, contents, paths, armed: BTreeMap::new() })
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
        for (path, interest) in &paths.0 {
            let names_only = matches!(interest, Interest::Names(_));
            let found = fs::metadata(path).ok();
            let found = found.map(|one| Armed { device: one.dev(), inode: one.ino(), names_only });
            if self.armed.get(path).is_some_and(|known| Some(known) != found.as_ref()) {
                self.disarm(path);
            }
            let Some(found) = found else { continue };
            match self.watcher(names_only).watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => more |= self.armed.insert(path.clone(), found).is_none(),
                // A path that vanished or may not be watched: its parents' watches and the sweep cover it.
                Err(error) if !is_limit(&error) => {}
                Err(error) => return Err(problem(&error)),
            }
        }
        Ok(more)
    }

    fn watcher(&mut self, names_only: bool) -> &mut RecommendedWatcher {
        if names_only { &mut self.names } else { &mut self.contents }
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
        let Some(known) = self.armed.remove(path) else { return };
        // The system may have ended the watch itself, for instance when the directory was removed.
        let _ = self.watcher(known.names_only).unwatch(path);
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
                    Interest::File => "file".to_owned(),
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

    /// A log file beside the providers directory would wake the watcher once per line.
    #[test]
    fn the_directories_on_a_path_are_not_watched_for_contents() {
        let mut paths = WatchPaths::default();
        paths.add_directory(Path::new("/nowhere/p"));
        paths.add_file(Path::new("/nowhere/policy.toml"));
        let names = |path: &str| matches!(paths.0.get(Path::new(path)), Some(Interest::Names(_)));
        assert!(names("/") && names("/nowhere"));
        assert_eq!(paths.0.get(Path::new("/nowhere/policy.toml")), Some(&Interest::File));
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
        paths.add_file(Path::new("/mounts/a.toml"));
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
