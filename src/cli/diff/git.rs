//! Reads the files of a directory in a Git revision with the installed `git`, which resolves every kind of revision.
//!
//! It reads what a server would read in a checkout of that revision: links are followed within its tree, and a file that
//! only a checkout has (a submodule, a file of Git LFS or of another filter) is an error. Checks out nothing, fetches nothing
//! and runs no filter. Read next: `checkout`, the tree as a file system.

mod checkout;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::timeout,
};

use checkout::{Checkout, Entry, EntryKind, Listed};

use crate::files::MAX_FILE_BYTES;

/// Timeout of one git command.
const DEADLINE: Duration = Duration::from_secs(30);
/// The most links in a revision.
const MAX_LINKS: usize = 10_000;
/// The longest target of a link, in bytes.
const MAX_TARGET_BYTES: u64 = 4096;
/// The first line of a pointer of Git LFS.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";
/// The attributes that make a checkout differ from the revision in more than line ends.
const ATTRIBUTES: [&str; 3] = ["filter", "working-tree-encoding", "ident"];

type File = (String, Result<Vec<u8>, String>);

/// The files below `REV:PATH`, by path.
pub(super) fn read(revision: &str) -> anyhow::Result<Vec<File>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (rev, path) = split(revision);
        let tree = format!("{rev}^{{tree}}");
        let tree = run_git(&["rev-parse", "--verify", "--end-of-options", &tree], Vec::new()).await;
        let tree = tree.with_context(|| format!("cannot read `{revision}`"))?;
        let tree = String::from_utf8_lossy(&tree).trim().to_owned();
        let path = from_root(path).await?;
        let checkout = list(&tree).await.with_context(|| format!("cannot read `{revision}`"))?;
        let listed =
            checkout.files(&path).map_err(|problem| anyhow!("cannot read `{revision}`: {problem}"))?;
        contents(&tree, &checkout, listed)
            .await
            .with_context(|| format!("cannot read the files of `{revision}`"))
    })
}

/// Splits at the first colon that is in no braces, as in `HEAD^{/fix: it}:providers.d`.
fn split(revision: &str) -> (&str, &str) {
    let mut depth = 0_usize;
    for (at, c) in revision.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => return (&revision[..at], &revision[at + 1..]),
            _ => {}
        }
    }
    (revision, "")
}

/// The path from the root of the repository. As in git, `./` and `../` begin at the working directory.
async fn from_root(path: &str) -> anyhow::Result<String> {
    if !(matches!(path, "." | "..") || path.starts_with("./") || path.starts_with("../")) {
        return Ok(path.trim_end_matches('/').to_owned());
    }
    let prefix = run_git(&["rev-parse", "--show-prefix"], Vec::new()).await?;
    let prefix = String::from_utf8_lossy(&prefix);
    let mut parts: Vec<&str> = Vec::new();
    for part in prefix.trim_end_matches('\n').split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().with_context(|| format!("`{path}` leads out of the repository"))?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// The whole tree, with the targets of its links.
async fn list(tree: &str) -> anyhow::Result<Checkout> {
    let listed = run_git(&["ls-tree", "-r", "-t", "-z", "--full-tree", tree], Vec::new()).await?;
    let entries: BTreeMap<_, _> = listed.split(|byte| *byte == 0).filter_map(entry).collect();
    let links = entries.values().filter(|entry| entry.kind == EntryKind::Link);
    let links: Vec<String> = links.map(|entry| entry.object.clone()).collect();
    anyhow::ensure!(links.len() <= MAX_LINKS, "the revision has more than {MAX_LINKS} symbolic links");
    let mut targets = BTreeMap::new();
    for (object, target) in links.iter().zip(objects(&links, MAX_TARGET_BYTES).await?) {
        let target = target.map_err(|problem| anyhow!("a link {problem}"))?;
        targets.insert(object.clone(), String::from_utf8_lossy(&target).into_owned());
    }
    Ok(Checkout { entries, targets })
}

/// Parses `MODE TYPE OBJECT<tab>PATH`. A name that is not UTF-8 is read as a server reads it.
fn entry(line: &[u8]) -> Option<(String, Entry)> {
    let text = String::from_utf8_lossy(line);
    let (metadata, path) = text.split_once('\t')?;
    let mut metadata = metadata.split(' ');
    let (mode, kind, object) = (metadata.next()?, metadata.next()?, metadata.next()?);
    let kind = match (mode, kind) {
        (_, "tree") => EntryKind::Directory,
        (_, "commit") => EntryKind::Submodule,
        ("120000", _) => EntryKind::Link,
        _ => EntryKind::File,
    };
    Some((path.to_owned(), Entry { kind, object: object.to_owned() }))
}

/// The contents of the files, as a checkout would have them.
async fn contents(tree: &str, checkout: &Checkout, listed: Vec<Listed>) -> anyhow::Result<Vec<File>> {
    let readable: Vec<(String, String)> = listed.iter().filter_map(|one| one.found.clone().ok()).collect();
    let wanted: Vec<String> = readable.iter().map(|(object, _)| object.clone()).collect();
    let read = objects(&wanted, MAX_FILE_BYTES).await?;
    let has_attributes =
        checkout.entries.keys().any(|path| path.rsplit('/').next() == Some(".gitattributes"));
    let attributes = if has_attributes { attributes(tree, &readable).await? } else { BTreeMap::new() };
    let checked =
        read.into_iter().zip(&readable).map(|(text, (_, path))| as_checked_out(text?, attributes.get(path)));
    let mut checked = checked.collect::<Vec<_>>().into_iter();
    let file = |one: Listed| {
        let text = match one.found {
            Ok(_) => checked.next().expect("each readable file was read"),
            Err(problem) => Err(problem),
        };
        (one.path, text)
    };
    Ok(listed.into_iter().map(file).collect())
}

/// The contents that a checkout would have. The error is a fragment.
fn as_checked_out(text: Vec<u8>, attributes: Option<&BTreeMap<String, String>>) -> Result<Vec<u8>, String> {
    let value = |name| attributes.and_then(|known| known.get(name)).map(String::as_str);
    if text.starts_with(LFS) {
        return Err(
            "is a pointer of Git LFS: its contents are not in the revision; compare a checkout".into()
        );
    }
    if let Some(filter) = value("filter") {
        return Err(format!("has the Git filter `{filter}`, which is not run: compare a checkout"));
    }
    if let Some(encoding) = value("working-tree-encoding").filter(|one| !one.eq_ignore_ascii_case("utf-8")) {
        return Err(format!("is checked out as {encoding}: save it as UTF-8"));
    }
    if value("ident").is_some() && text.windows(3).any(|part| part == b"$Id") {
        return Err("has the attribute `ident`: a checkout replaces `$Id$`; compare a checkout".into());
    }
    Ok(text)
}

/// The attributes that are set, by path. The index of a repository is its own: git reads the revision into another one, since
/// older versions read attributes from an index alone.
async fn attributes(
    tree: &str,
    files: &[(String, String)],
) -> anyhow::Result<BTreeMap<String, BTreeMap<String, String>>> {
    let index = TemporaryIndex::new()?;
    run_git_on(&index.file(), &["read-tree", tree], Vec::new()).await?;
    // Paths begin at the working directory.
    let up = run_git(&["rev-parse", "--show-cdup"], Vec::new()).await?;
    let up = String::from_utf8_lossy(&up);
    let up = if up.trim_end().is_empty() { "." } else { up.trim_end() };
    let args = [&["-C", up, "check-attr", "--cached", "-z", "--stdin"], &ATTRIBUTES[..]].concat();
    let paths: String = files.iter().flat_map(|(_, path)| [path.as_str(), "\0"]).collect();
    let said = run_git_on(&index.file(), &args, paths.into_bytes()).await?;
    let said = String::from_utf8_lossy(&said);
    let mut found = BTreeMap::<String, BTreeMap<String, String>>::new();
    let fields: Vec<&str> = said.split('\0').collect();
    for [path, name, value] in fields.as_chunks().0 {
        if !matches!(*value, "unspecified" | "unset") {
            found.entry((*path).to_owned()).or_default().insert((*name).to_owned(), (*value).to_owned());
        }
    }
    Ok(found)
}

/// The contents of objects of at most `max` bytes, in their order. The inner error is a fragment.
async fn objects(wanted: &[String], max: u64) -> anyhow::Result<Vec<Result<Vec<u8>, String>>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names = |objects: &[&String]| objects.iter().flat_map(|one| [one.as_str(), "\n"]).collect::<String>();
    let all: Vec<&String> = wanted.iter().collect();
    let sizes = run_git(&["cat-file", "--batch-check=%(objectsize)"], names(&all).into_bytes()).await?;
    let sizes = String::from_utf8_lossy(&sizes);
    // Git has no size for an object that it lacks: reading it returns the reason.
    let is_small = |size: &str| size.parse::<u64>().map_or(true, |size| size <= max);
    let small: Vec<bool> = sizes.lines().map(is_small).collect();
    anyhow::ensure!(small.len() == wanted.len(), "git returned unexpected output");
    let read: Vec<&String> =
        all.into_iter().zip(&small).filter(|(_, small)| **small).map(|(one, _)| one).collect();
    let contents = run_git(&["cat-file", "--batch"], names(&read).into_bytes()).await?;
    let mut rest = contents.as_slice();
    let one =
        |small: bool| if small { next(&mut rest) } else { Ok(Err(format!("is larger than {max} bytes"))) };
    small.into_iter().map(one).collect()
}

/// Parses the next `OBJECT blob SIZE<newline>CONTENTS<newline>`.
fn next(rest: &mut &[u8]) -> anyhow::Result<Result<Vec<u8>, String>> {
    let broken = || anyhow!("git returned unexpected output");
    let line = rest.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
    let head = str::from_utf8(&rest[..line]).map_err(|_| broken())?;
    *rest = &rest[line + 1..];
    let Some((_, size)) = head.split_once(" blob ") else {
        return Ok(Err(format!("cannot be read: git returned `{head}`")));
    };
    let size: usize = size.parse().map_err(|_| broken())?;
    let contents = rest.get(..size).ok_or_else(broken)?.to_vec();
    *rest = rest.get(size + 1..).ok_or_else(broken)?;
    Ok(Ok(contents))
}

/// A directory for an index, removed at the end.
struct TemporaryIndex(PathBuf);

impl TemporaryIndex {
    fn new() -> anyhow::Result<Self> {
        let name = format!("tollgate-index-{:016x}", getrandom::u64()?);
        let dir = std::env::temp_dir().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.with_context(|| format!("cannot create `{}`", dir.display()))?;
        Ok(Self(dir))
    }

    fn file(&self) -> PathBuf {
        self.0.join("index")
    }
}

impl Drop for TemporaryIndex {
    fn drop(&mut self) {
        // It has no secret, and the system clears the directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs git with an input. Returns its output.
async fn run_git(args: &[&str], input: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    run(Command::new("git"), args, input).await
}

/// The same, with another index.
async fn run_git_on(index: &Path, args: &[&str], input: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new("git");
    command.env("GIT_INDEX_FILE", index);
    run(command, args, input).await
}

async fn run(mut command: Command, args: &[&str], input: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // No prompt for a password, no lazy fetch of missing objects.
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_NO_LAZY_FETCH", "1").kill_on_drop(true);
    let child =
        command.spawn().context("cannot run `git`: it has to be installed to compare with a Git revision")?;
    let output = timeout(DEADLINE, exchange(child, input)).await;
    let output = output.map_err(|_| anyhow!("git did not answer within {} s", DEADLINE.as_secs()))??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git failed: {}", said.lines().next().unwrap_or("nothing").escape_debug());
    }
    Ok(output.stdout)
}

/// Writes and reads at once: git responds before it has all input, and a full pipe would block both.
async fn exchange(mut child: Child, input: Vec<u8>) -> anyhow::Result<Output> {
    let stdin = child.stdin.take();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // If git closes its input early, its standard error has the reason.
            let _ = stdin.write_all(&input).await;
        }
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    output.context("cannot read the output of git")
}
