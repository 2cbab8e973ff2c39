//! What an operator is shown at the start: the addresses, the admin token once, and the next commands to run.

use std::{net::SocketAddr, path::Path};

use anyhow::Context as _;

use crate::{
    accounts::{self, AdminTokenPlace},
    cli::{check, context::absolute},
    escape::Lines,
    files::{self, Live},
    output,
    secret::Secret,
    settings::{DEFAULT_DATA, Settings},
    store::Store,
};

/// Logs the addresses. With a log for people, it prints them, and the next commands to run.
pub(super) fn listening(
    settings: &Settings,
    live: &Live,
    (address, admin_address): (SocketAddr, Option<SocketAddr>),
    is_human: bool,
    no_users: bool,
) -> anyhow::Result<()> {
    log_listening(settings, live, address, admin_address);
    if is_human {
        next_steps(address, admin_address, settings, no_users)?;
    }
    Ok(())
}

/// Logs the addresses.
fn log_listening(settings: &Settings, live: &Live, address: SocketAddr, admin_address: Option<SocketAddr>) {
    let (files, data, counts) =
        (check::describe(&settings.providers), absolute(&settings.data), live.status().counts);
    let files::StatusCounts { providers, stale, rejected, routes, .. } = counts;
    let shown = admin_address.map(tracing::field::display);
    tracing::info!(
        %address, admin_address = shown, files, data, providers, stale, rejected, routes,
        workers = settings.workers, "listening"
    );
}

/// Prints the addresses and, without users, the next commands to run.
fn next_steps(
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    settings: &Settings,
    no_users: bool,
) -> anyhow::Result<()> {
    let providers = check::describe(&settings.providers);
    let data = absolute(&settings.data);
    let here = std::env::current_dir().unwrap_or_default();
    let next = if no_users { first_commands(&settings.data, &here) } else { String::new() };
    let http = if settings.tls.is_some() { "https" } else { "http" };
    let admin = admin_address.map(|admin| format!("  admin      {http}://{admin}\n")).unwrap_or_default();
    let console = admin_address.unwrap_or(address);
    let text = format!(
        "\ntollgate listens on {http}://{address}\n{admin}  operators  {http}://{console}/console\n  users      {http}://{address}/config\n  providers  {providers}\n  data       {data}\n{next}"
    );
    output::note(&Lines::split(&text)).context("failed to print")
}

/// The next commands, for a shell in the directory `here`: they name a data directory that is not the default there.
fn first_commands(data: &Path, here: &Path) -> String {
    let data = here.join(data);
    let place = if data.components().eq(here.join(DEFAULT_DATA).components()) {
        String::new()
    } else {
        format!(" --data {}", shell_word(&data.to_string_lossy()))
    };
    let commands = [
        (format!("tollgate user add alice{place}"), "prints alice's token"),
        (format!("tollgate credential set alice SECTION.FIELD{place}"), "asks for a key"),
        ("tollgate routes".to_owned(), "what can be called"),
    ];
    let width = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    let lines = commands.iter().map(|(command, what)| format!("  {command:width$}  # {what}\n"));
    format!("\nnext, in another terminal:\n{}", lines.collect::<String>())
}

/// A word as a shell reads it.
fn shell_word(text: &str) -> String {
    let is_plain = |sign: char| sign.is_alphanumeric() || "/._-+@%:,".contains(sign);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Creates the admin token if there is none, and shows it or the file that holds it.
pub(super) async fn admin_token(store: &Store, settings: &Settings) -> anyhow::Result<()> {
    match accounts::ensure_admin_token(store, &settings.data, show_on_terminal).await? {
        Some(AdminTokenPlace::File(file)) => {
            tracing::info!(file = %file.display(), "admin token created");
        }
        Some(AdminTokenPlace::Shown) | None => {}
    }
    Ok(())
}

fn show_on_terminal(token: &Secret) -> bool {
    let line = Lines::one(format_args!("admin token, shown this once: {}", token.expose()));
    output::is_terminal() && output::print(&line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_commands_reach_the_data_directory() {
        let check = |data: &str, place: &str| {
            let shown = first_commands(Path::new(data), Path::new("/srv/here"));
            let line = format!("\n  tollgate user add alice{place} ");
            assert!(shown.starts_with("\nnext, in another terminal:\n") && shown.contains(&line), "{shown}");
        };
        check("data", " ");
        check("./data", " ");
        check("/srv/here/data", " ");
        check("other", " --data /srv/here/other");
        check("/var/lib/tollgate", " --data /var/lib/tollgate");
        check("/srv/it's here", r" --data '/srv/it'\''s here'");
    }
}
