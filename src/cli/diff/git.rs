//! Reads the files of a directory in a Git revision with the installed `git`, which resolves every kind of revision.
//!
//! Checks out nothing and fetches nothing.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::timeout,
};

/// Timeout of one git command.
const DEADLINE: Duration = Duration::from_secs(30);

type File = (String, Result<Vec<u8>, String>);

/// The files below `REV:PATH`, by path.
pub(super) fn files(revision: &str) -> anyhow::Result<Vec<File>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listed =
            run_git(&["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", revision], Vec::new()).await;
        let listed = listed.with_context(|| format!("cannot read `{revision}`"))?;
        let entries: Vec<Entry> = listed.split(|byte| *byte == 0).filter_map(entry).collect();
        let wanted: String = entries.iter().flat_map(|entry| [entry.object.as_str(), "\n"]).collect();
        let contents = run_git(&["cat-file", "--batch"], wanted.into_bytes()).await;
        let contents = contents.with_context(|| format!("cannot read the files of `{revision}`"))?;
        let mut rest = contents.as_slice();
        entries.into_iter().map(|entry| Ok((entry.path, next(&mut rest)?))).collect()
    })
}

/// A file in the output of `git ls-tree`.
struct Entry {
    object: String,
    path: String,
}

/// Parses `MODE TYPE OBJECT<tab>PATH`. Returns plain TOML files only: a symbolic link may point outside the directory.
fn entry(line: &[u8]) -> Option<Entry> {
    let (metadata, path) = str::from_utf8(line).ok()?.split_once('\t')?;
    let mut metadata = metadata.split(' ');
    let (mode, kind, object) = (metadata.next()?, metadata.next()?, metadata.next()?);
    let plain = mode.starts_with("100")
        && kind == "blob"
        && Path::new(path).extension().is_some_and(|one| one == "toml");
    plain.then(|| Entry { object: object.to_owned(), path: path.to_owned() })
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

/// Runs git with an input. Returns its output.
async fn run_git(args: &[&str], input: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new("git");
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
