//! Shared by the commands: opening the store, finding a user, reading a secret, printing a result.
//!
//! A secret is read from stdin or a prompt, never from an argument: other users and the shell's history see those.

use std::{
    fmt::Write as _,
    fs,
    io::{self, IsTerminal, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::Context as _;
use zeroize::Zeroizing;

use super::neighbour::refuse_second_store;
use crate::{
    accounts::KeySources,
    escape::{self, Lines},
    output,
    secret::Secret,
    settings::Places,
    store::{self, DATABASE, Store, StoreError, User},
    written::not_utf8,
};

/// Places and master-key sources of an account command.
pub struct Context<'a> {
    /// All directories.
    pub places: &'a Places,
    /// The possible sources of the master key, or the reason why they cannot be read, for a command that needs them.
    pub keys: anyhow::Result<KeySources>,
}

/// The result of a command. Not `Debug`: it may hold a new token.
#[derive(Default)]
pub(super) struct Report {
    /// The result, for stdout.
    pub(super) out: String,
    /// Messages for the user, for stderr.
    pub(super) note: String,
}

impl Context<'_> {
    /// Opens the store, also while a server runs. Never creates one.
    pub(super) async fn store(&self) -> anyhow::Result<Store> {
        open(&self.places.data()?).await
    }

    /// The possible sources of the master key.
    pub(super) fn keys(&self) -> anyhow::Result<&KeySources> {
        self.keys.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    /// Opens the store, or creates one. Reports a new store, since the path may be wrong.
    pub(super) async fn store_or_new(&self) -> anyhow::Result<Store> {
        let data = &self.places.data()?;
        let new = has_no_store(data);
        if new {
            refuse_second_store(self.places, data).await?;
            refuse_other_user(data)?;
        }
        let store = Store::open(data).await.map_err(|error| unusable(data, error))?;
        if new {
            // A hint that cannot be printed does not stop the command.
            let _ = output::note_line(format_args!("created a new store in {}", absolute(data)));
        }
        Ok(store)
    }
}

/// Opens the store in a data directory. Never creates one: a command that reads expects stored data.
pub(super) async fn open(data: &Path) -> anyhow::Result<Store> {
    anyhow::ensure!(
        !has_no_store(data),
        "there is no store in {}: no tollgate has served from there; name its data directory with --data or TOLLGATE_DATA",
        absolute(data)
    );
    Store::open(data).await.map_err(|error| unusable(data, error))
}

/// True if the directory has no file of a store. If that cannot be read, false: opening returns a better error.
pub(super) fn has_no_store(data: &Path) -> bool {
    let wal = format!("{DATABASE}-wal");
    [DATABASE, &wal].iter().all(|name| data.join(name).try_exists().is_ok_and(|exists| !exists))
}

/// The absolute path, for messages.
pub(super) fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    escape::value(&path.to_string_lossy()).into_owned()
}

/// The error for an unusable data directory, with advice: another directory, or another system user.
pub(super) fn unusable(data: &Path, error: StoreError) -> anyhow::Error {
    match &error {
        StoreError::File { path, reason } if path == data => anyhow::anyhow!(
            "the data directory `{}` cannot be created: {reason}; name another with `--data`",
            absolute(data)
        ),
        StoreError::Forbidden { .. } if let Some((mode, owner)) = of_another(data) => anyhow::anyhow!(
            "no right to use `{}` (mode {mode:04o}, owner uid {owner}): run this as that user, or as root",
            absolute(data)
        ),
        StoreError::Forbidden { path } if let Some((mode, owner)) = of_another(path) => anyhow::anyhow!(
            "no right to use `{}` (mode {mode:04o}, owner uid {owner}): a command that ran as that user left it; as root, run `chown -R --reference={} {1}`",
            absolute(path),
            absolute(data)
        ),
        _ => anyhow::Error::from(error).context("failed to open the store"),
    }
}

/// Refuses to create files in the data directory of another user, who could not open them.
pub(super) fn refuse_other_user(data: &Path) -> anyhow::Result<()> {
    match store::is_of_other_user(data) {
        Some(user) => anyhow::bail!(
            "`{}` is the data directory of the user with uid {user}, who could not use what this command creates there: run this as that user, or as root",
            absolute(data)
        ),
        None => Ok(()),
    }
}

/// The permission bits and the owner of a file or directory, if that is another user.
fn of_another(path: &Path) -> Option<(u32, u32)> {
    let found = fs::metadata(path).ok()?;
    let owner = found.uid();
    (owner != rustix::process::geteuid().as_raw()).then_some((found.mode() & 0o7777, owner))
}

impl Report {
    pub(super) fn note(note: impl Into<String>) -> Self {
        Self { out: String::new(), note: note.into() }
    }

    /// Prints both parts. Values with foreign text have been escaped. The note comes last, so that advice follows the result.
    pub(super) fn print(self) -> anyhow::Result<()> {
        self.print_result().and_then(|()| self.print_note()).context("failed to print")
    }

    /// Prints the result to stdout.
    pub(super) fn print_result(&self) -> io::Result<()> {
        output::print(&Lines::split(&self.out))
    }

    /// Prints the note to stderr; without a result, to stdout if stderr does not take it.
    pub(super) fn print_note(&self) -> io::Result<()> {
        let note = Lines::split(&self.note);
        let printed = output::note(&note);
        if printed.is_ok() || !self.out.is_empty() { printed } else { output::print(&note) }
    }
}

/// The user with this id or name. Errors if there is none, or several.
pub(super) async fn find_user(store: &Store, id_or_name: &str) -> anyhow::Result<User> {
    let mut users = store.find_users(id_or_name).await?;
    match (users.pop(), users.as_slice()) {
        (Some(user), []) => Ok(user),
        (None, _) => {
            anyhow::bail!("no user has the id or name `{id_or_name}`: `tollgate user list` shows all")
        }
        (Some(last), others) => {
            let ids: Vec<_> = others.iter().chain([&last]).map(|user| format!("`{}`", user.id)).collect();
            anyhow::bail!("several users are named `{id_or_name}`: give an id, one of {}", ids.join(", "))
        }
    }
}

/// The look of a value while it is typed at a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// It does not appear.
    Hidden,
    /// It appears: it is no secret.
    Shown,
}

/// Reads a value: from a prompt if stdin is a terminal, otherwise all of stdin.
pub(super) fn read_value(prompt: &str, typed: Typed) -> anyhow::Result<Secret> {
    if typed == Typed::Hidden || !io::stdin().is_terminal() {
        return read_secret(prompt);
    }
    output::prompt(prompt).context("failed to write to the terminal")?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("failed to read from the terminal")?;
    Ok(Secret::new(line))
}

/// Reads a secret: from a prompt if stdin is a terminal, otherwise all of stdin.
pub(super) fn read_secret(prompt: &str) -> anyhow::Result<Secret> {
    const MAX_BYTES: u64 = 256 * 1024;
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let text = rpassword::prompt_password(escape::value(&format!("{prompt}: ")))
            .context("failed to read from the terminal")?;
        return Ok(Secret::new(text));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    stdin.lock().take(MAX_BYTES + 1).read_to_end(&mut bytes).context("failed to read stdin")?;
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "stdin holds more than {MAX_BYTES} bytes: give one value alone"
    );
    // The conversion's own error would contain the bytes.
    let text = str::from_utf8(&bytes).map_err(|_| anyhow::anyhow!("stdin {}", not_utf8(&bytes)))?;
    Ok(Secret::new(text))
}

/// The names that a line of many has.
const FIRST_NAMES: usize = 3;

/// The first of several names, and the number of the others.
pub(super) fn first_names(names: &[&str]) -> String {
    let first = names.iter().take(FIRST_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(FIRST_NAMES) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// A text table; hidden characters are escaped, and each column is as wide as its widest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<_> =
        rows.iter().map(|row| row.each_ref().map(|cell| escape::line(cell).into_owned())).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in [head.map(str::to_owned)].iter().chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:width$}  ").expect("a string takes all that is written to it");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Places for tests: all below one directory, with the provider `demo` and two sections.
#[cfg(test)]
pub(super) fn places(dir: &std::path::Path) -> Places {
    use crate::settings::Arguments;
    let providers = dir.join("providers.d");
    std::fs::create_dir_all(&providers).unwrap();
    let demo = r#"
        title = "Demo"
        path_prefix = "/demo"
        base_url = "https://demo.example"
        endpoint.one = { method = "GET", path = "/one" }
        credentials.field = [{ name = "apiKey" }]
        auth = [{ field = "apiKey", set = { x-key = "{secret}" } }]
    "#;
    let login = r#"
        title = "Login"
        path_prefix = "/login"
        base_url = "https://login.example"
        endpoint.one = { method = "GET", path = "/one" }
        auth = [{ field = "oauth", set = { x-key = "{secret}" } }]
        [credentials]
        section = "example"
        [[credentials.field]]
        name = "oauth"
        kind = "oauth2"
        token_url = "https://login.example/token"
        client_id = "app"
        paste = { accessToken = "/tokens/access" }
    "#;
    for (name, text) in [("demo", demo), ("login", login)] {
        std::fs::write(providers.join(format!("{name}.toml")), text).unwrap();
    }
    std::fs::create_dir_all(dir.join("secrets")).unwrap();
    let text = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let given = Arguments::default().with("providers", &text("providers.d")).with("data", &text("data"));
    Places::new(given.with("secrets", &text("secrets")))
}
