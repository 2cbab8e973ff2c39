//! The tree of a Git revision as a file system: follows symbolic links as a checkout would, and reads the files that a
//! server would read there.
//!
//! Pure: the listing and the targets of the links are given. Whatever a checkout has and the revision lacks is an error that
//! names it: a submodule, a target outside the repository. Read next: `git`, which runs git.

use std::{collections::BTreeMap, path::Path};

use crate::{name::FileName, pipeline::Folder, settings::beside};

/// The most links that are followed for one path, as in Linux.
const MAX_LINKS: usize = 40;

/// The kind of an entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Directory,
    File,
    Link,
    Submodule,
}

/// An entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: EntryKind,
    pub(super) object: String,
}

/// The tree of a revision, by path from its root. The root itself has no entry.
#[derive(Debug, Default)]
pub(super) struct Checkout {
    pub(super) entries: BTreeMap<String, Entry>,
    /// The targets of links, by object.
    pub(super) targets: BTreeMap<String, String>,
}

/// The reason why a path cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unresolved {
    Missing,
    NotADirectory,
    Loop,
    /// A link to this target outside the repository.
    Outside(String),
    /// A path at or below this submodule.
    Submodule(String),
}

impl Unresolved {
    /// A fragment about the path.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Missing => "a link that leads nowhere".to_owned(),
            Self::NotADirectory => "a link through a file".to_owned(),
            Self::Loop => "a link that leads to itself".to_owned(),
            Self::Outside(target) => {
                format!("a link to `{target}`, outside the repository: it cannot be read from a revision")
            }
            Self::Submodule(path) => {
                format!("is in the submodule `{path}`: it cannot be read from a revision of this repository")
            }
        }
    }
}

/// A file that a server would read: its path below the providers directory, or `limits.d/` and its name, and its object and real path, or the reason why
/// it cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) found: Result<(String, String), String>,
}

impl Checkout {
    /// The real path of `path`: all links followed. The empty path is the root.
    pub(super) fn resolve(&self, path: &str) -> Result<String, Unresolved> {
        let mut real = String::new();
        let mut open: Vec<String> = parts(path);
        let mut links = 0;
        while let Some(part) = open.pop() {
            if part == ".." {
                if real.is_empty() {
                    return Err(Unresolved::Outside(path.to_owned()));
                }
                real.truncate(real.rfind('/').unwrap_or(0));
                continue;
            }
            let next = joined(&real, &part);
            let entry = self.entries.get(&next).ok_or(Unresolved::Missing)?;
            match entry.kind {
                EntryKind::Directory => real = next,
                EntryKind::File if open.is_empty() => real = next,
                EntryKind::File => return Err(Unresolved::NotADirectory),
                EntryKind::Submodule => return Err(Unresolved::Submodule(next)),
                EntryKind::Link => {
                    links += 1;
                    let target = self.targets.get(&entry.object).map_or("", String::as_str);
                    if links > MAX_LINKS {
                        return Err(Unresolved::Loop);
                    }
                    if target.starts_with('/') || leaves(&real, target) {
                        return Err(Unresolved::Outside(target.to_owned()));
                    }
                    open.extend(parts(target));
                }
            }
        }
        Ok(real)
    }

    fn is_directory(&self, real: &str) -> bool {
        real.is_empty() || self.entries.get(real).is_some_and(|entry| entry.kind == EntryKind::Directory)
    }

    /// The files that a server would read in the providers directory at `path`. The error is about a directory.
    pub(super) fn files(&self, path: &str) -> Result<Vec<Listed>, String> {
        let root = match self.resolve(path) {
            Ok(root) if self.is_directory(&root) => root,
            Ok(_) => return Err(format!("`{path}` is a file, not a directory")),
            Err(Unresolved::Missing) => {
                return Err(format!("it has no `{path}`, or that is a link that leads nowhere"));
            }
            Err(problem) => return Err(format!("`{path}`: {}", problem.reason())),
        };
        let mut listed = Vec::new();
        for folder in Folder::ALL {
            let dir = match folder {
                // Above the root of the repository, there is none.
                Folder::Limits if path.is_empty() => continue,
                // As a server: links on the way to the providers directory are not followed.
                Folder::Limits => beside(Path::new(path), folder.name()).to_string_lossy().into_owned(),
                folder => joined(&root, folder.name()),
            };
            match self.resolve(&dir) {
                Ok(real) if self.is_directory(&real) => {
                    let depth = if folder.has_folders() { FileName::MAX_DEPTH } else { 1 };
                    let root = if folder == Folder::Limits { &real } else { &root };
                    self.list(root, &real, (folder.name(), depth), &mut listed);
                }
                // As a server: only the directory itself is required.
                Err(Unresolved::Missing) => {}
                Ok(_) => return Err(format!("`{dir}` is a file, not a directory")),
                Err(problem) => return Err(format!("`{dir}`: {}", problem.reason())),
            }
        }
        Ok(listed)
    }

    /// Lists the files of a directory, and of the directories in it down to a depth. `below`: its path as listed.
    fn list(&self, root: &str, real: &str, (below, depth): (&str, usize), listed: &mut Vec<Listed>) {
        for name in self.children(real) {
            listed.push(self.file(root, &joined(real, name), joined(below, name)));
        }
        for name in self.directories(real).filter(|_| depth > 1) {
            if let Ok(dir) = self.resolve(&joined(real, name))
                && self.is_directory(&dir)
            {
                self.list(root, &dir, (&joined(below, name), depth - 1), listed);
            }
        }
    }

    /// The names of TOML files and links in a directory.
    fn children(&self, dir: &str) -> impl Iterator<Item = &str> {
        let front = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let length = front.len();
        let within =
            self.entries.range(front.clone()..).take_while(move |(path, _)| path.starts_with(&front));
        let names = within.map(move |(path, _)| &path[length..]);
        names.filter(|name| !name.contains('/') && is_toml(name))
    }

    /// The names of directories and links in a directory.
    fn directories(&self, dir: &str) -> impl Iterator<Item = &str> {
        let front = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let length = front.len();
        let within =
            self.entries.range(front.clone()..).take_while(move |(path, _)| path.starts_with(&front));
        let names =
            within.filter(|(_, entry)| entry.kind != EntryKind::File).map(move |(path, _)| &path[length..]);
        names.filter(|name| !name.contains('/') && !name.starts_with('.') && !is_toml(name))
    }

    fn file(&self, root: &str, path: &str, below: String) -> Listed {
        let found = match self.resolve(path) {
            Ok(real) if !is_below(&real, root) => {
                Err("a link that leads out of the providers directory is not followed".to_owned())
            }
            Ok(real) => match self.entries.get(&real) {
                Some(Entry { kind: EntryKind::File, object }) => Ok((object.clone(), real)),
                _ => Err("is a directory, not a file".to_owned()),
            },
            Err(problem) => Err(problem.reason()),
        };
        Listed { path: below, found }
    }
}

fn is_toml(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|one| one == "toml")
}

fn is_below(path: &str, root: &str) -> bool {
    root.is_empty() || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
}

/// True if a target leads above the root of the repository, whatever its links are.
fn leaves(from: &str, target: &str) -> bool {
    let mut depth = parts(from).len();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// The parts of a path, the last one first.
fn parts(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.rev().map(str::to_owned).collect()
}

fn joined(dir: &str, name: &str) -> String {
    match (dir, name) {
        ("", name) => name.to_owned(),
        (dir, "") => dir.to_owned(),
        (dir, name) => format!("{dir}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of these entries: `path` is a file, `path/` a directory, `path -> target` a link, `path @` a submodule.
    fn checkout(entries: &[&str]) -> Checkout {
        let mut tree = Checkout::default();
        for text in entries {
            let (path, kind) = match text.split_once(" -> ") {
                Some((path, target)) => {
                    tree.targets.insert(path.to_owned(), target.to_owned());
                    (path, EntryKind::Link)
                }
                None if text.ends_with('/') => (text.trim_end_matches('/'), EntryKind::Directory),
                None if text.ends_with(" @") => (text.trim_end_matches(" @"), EntryKind::Submodule),
                None => (*text, EntryKind::File),
            };
            tree.entries.insert(path.to_owned(), Entry { kind, object: path.to_owned() });
        }
        tree
    }

    #[test]
    fn links_are_followed_as_in_a_checkout() {
        let tree = checkout(&[
            "p/",
            "p/a.toml",
            "p/deep/",
            "p/deep/d.toml",
            "shared/",
            "shared/s.toml",
            "vendor @",
            "p/b.toml -> a.toml",
            "p/c.toml -> b.toml",
            "p/up.toml -> ../p/./deep//d.toml",
            "p/out.toml -> ../shared/s.toml",
            "p/abs.toml -> /etc/passwd",
            "p/far.toml -> ../../x",
            "p/back.toml -> ../../repo/p/a.toml",
            "p/loop.toml -> loop.toml",
            "p/none.toml -> gone.toml",
            "p/sub.toml -> ../vendor/x.toml",
            "p/through.toml -> a.toml/x",
            "p/dir.toml -> deep",
            "q -> p",
            "q/ignored.txt",
            "r -> q",
        ]);
        let check = |path: &str, expected: Result<&str, Unresolved>| {
            assert_eq!(tree.resolve(path), expected.map(str::to_owned), "{path}");
        };
        for (path, real) in [
            ("", ""),
            ("p/a.toml", "p/a.toml"),
            ("p/c.toml", "p/a.toml"),
            ("p/up.toml", "p/deep/d.toml"),
            ("r/c.toml", "p/a.toml"),
            ("p/out.toml", "shared/s.toml"),
            ("p/../q/./a.toml", "p/a.toml"),
        ] {
            check(path, Ok(real));
        }
        check("p/loop.toml", Err(Unresolved::Loop));
        check("p/none.toml", Err(Unresolved::Missing));
        check("p/through.toml", Err(Unresolved::NotADirectory));
        check("p/abs.toml", Err(Unresolved::Outside("/etc/passwd".into())));
        check("p/far.toml", Err(Unresolved::Outside("../../x".into())));
        check("p/back.toml", Err(Unresolved::Outside("../../repo/p/a.toml".into())));
        check("p/sub.toml", Err(Unresolved::Submodule("vendor".into())));
        let listed = tree.files("r").unwrap();
        let found =
            |name: &str| listed.iter().find(|one| one.path == name).map(|one| one.found.clone()).unwrap();
        assert_eq!(found("c.toml"), Ok(("p/a.toml".into(), "p/a.toml".into())));
        assert_eq!(found("up.toml").unwrap().1, "p/deep/d.toml");
        for (name, reason) in [
            ("out.toml", "out of the providers directory"),
            ("abs.toml", "outside the repository"),
            ("loop.toml", "leads to itself"),
            ("none.toml", "leads nowhere"),
            ("dir.toml", "is a directory"),
            ("sub.toml", "the submodule `vendor`"),
        ] {
            let problem = found(name).unwrap_err();
            assert!(problem.contains(reason), "{name}: {problem}");
        }
    }

    #[test]
    fn limits_are_beside_the_path_as_written() {
        let tree = checkout(&[
            "a/",
            "a/p/",
            "a/p/x.toml",
            "a/limits.d/",
            "a/limits.d/one.toml",
            "a/limits.d/out.toml -> ../p/x.toml",
            "a/limits.d/deep/",
            "a/limits.d/deep/no.toml",
            "a/p/limits.d/",
            "a/p/limits.d/no.toml",
            "limits.d -> a/limits.d",
            "b/",
            "b/limits.d",
            "b/p -> ../a/p",
            "p -> a/p",
            "c/",
            "c/p -> ../a/p",
            "q/",
            "q/p/",
            "q/limits.d -> gone",
        ]);
        let check = |path: &str, expected: Result<&[(&str, bool)], &str>| {
            let listed = tree.files(path);
            let limits = listed.map(|all| {
                let limits = all.into_iter().filter(|one| one.path.starts_with("limits.d/"));
                limits.map(|one| (one.path, one.found.is_ok())).collect::<Vec<_>>()
            });
            let expected =
                expected.map(|all| all.iter().map(|(path, ok)| ((*path).to_owned(), *ok)).collect());
            assert_eq!(limits, expected.map_err(str::to_owned), "{path}");
        };
        let both: &[_] = &[("limits.d/one.toml", true), ("limits.d/out.toml", false)];
        check("a/p", Ok(both));
        check("p", Ok(both));
        check("a/../p", Ok(both));
        check("c/p", Ok(&[]));
        check("q/p", Ok(&[]));
        check("", Ok(&[]));
        check("b/p", Err("`b/limits.d` is a file, not a directory"));
    }

    #[test]
    fn directories_may_be_links() {
        let tree = checkout(&[
            "p/",
            "p/presets -> ../base",
            "p/apis -> deep/apis",
            "p/deep/",
            "p/deep/apis/",
            "p/deep/apis/a.toml",
            "base/",
            "base/b.toml",
            "p/.hidden.toml",
        ]);
        let listed = tree.files("p").unwrap();
        let names: Vec<_> = listed.iter().map(|one| (one.path.as_str(), one.found.is_ok())).collect();
        assert_eq!(names, [(".hidden.toml", true), ("presets/b.toml", false), ("apis/a.toml", true)]);
        let check = |more: &str, expected: &str| {
            let error = checkout(&["p/", more, "m @"]).files("p").unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("p/presets -> /etc", "`p/presets`: a link to `/etc`, outside the repository");
        check("p/presets -> presets", "leads to itself");
        check("p/presets -> ../m", "the submodule `m`");
        check("p/presets", "`p/presets` is a file");
        assert_eq!(checkout(&["p/", "p/presets -> gone"]).files("p"), Ok(Vec::new()));
        assert!(checkout(&["x"]).files("x").unwrap_err().contains("is a file"));
        assert!(checkout(&[]).files("x").unwrap_err().contains("it has no `x`"));
        assert!(checkout(&["x @"]).files("x").unwrap_err().contains("the submodule `x`"));
    }
}
