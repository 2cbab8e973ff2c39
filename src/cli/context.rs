//! What the account commands share: where the data is, how a user is named, how a secret is read and
//! how a result is printed. A secret is read from stdin or a prompt, never from the arguments, where
//! other users and the shell's history would see it.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Read, Write},
};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::{
    accounts::KeySources,
    secret::Secret,
    settings::Settings,
    store::{Store, User},
};

/// What a command is given by its caller, who reads settings, environment and provider files.
pub struct Context<'a> {
    /// Where things are.
    pub settings: &'a Settings,
    /// What was given to find the master key by.
    pub keys: KeySources,
}

/// What a command has to say. Without `Debug`, since a new token is a result too.
#[derive(Default)]
pub(super) struct Report {
    /// For the next program: stdout.
    pub(super) out: String,
    /// For the person: stderr.
    pub(super) note: String,
}

impl Context<'_> {
    /// Opens the store, beside a running server.
    pub(super) async fn store(&self) -> anyhow::Result<Store> {
        Store::open(&self.settings.data).await.context("failed to open the store")
    }
}

impl Report {
    pub(super) fn note(note: impl Into<String>) -> Self {
        Self { out: String::new(), note: note.into() }
    }

    /// Prints both parts. The note comes last, so that advice stands below what it is about.
    pub(super) fn print(self) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(self.out.as_bytes()).and_then(|()| stdout.flush()).context("failed to print")?;
        io::stderr().write_all(self.note.as_bytes()).context("failed to print")
    }
}

/// The one user with this id or name.
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

/// Asks for a secret if stdin is a terminal, and takes all of stdin if it is not.
pub(super) fn read_secret(prompt: &str) -> anyhow::Result<Secret> {
    const MAX_BYTES: u64 = 64 * 1024;
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let text =
            rpassword::prompt_password(format!("{prompt}: ")).context("failed to read from the terminal")?;
        return Ok(Secret::new(text));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    stdin.lock().take(MAX_BYTES + 1).read_to_end(&mut bytes).context("failed to read stdin")?;
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "stdin holds more than {MAX_BYTES} bytes: give one secret alone"
    );
    // The error of the conversion would hold the bytes.
    let text = str::from_utf8(&bytes).map_err(|_| anyhow::anyhow!("stdin is not valid UTF-8: give text"))?;
    Ok(Secret::new(text))
}

/// Columns of text, each as wide as its widest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in [head.map(str::to_owned)].iter().chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:width$}  ").expect("a string takes all that is written to it");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How many of what, in words.
pub(super) fn counted(number: i64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The settings of a test: all below one directory, with the provider `demo` and two sections.
#[cfg(test)]
pub(super) fn settings(dir: &std::path::Path) -> Settings {
    use crate::settings::{Given, Places, resolve};
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
    let places = Places {
        providers: Some(providers),
        data: Some(dir.join("data")),
        secrets: Some(dir.join("secrets")),
        ..Places::default()
    };
    resolve(&places, Given::default()).unwrap()
}
