//! What an operator is shown at the start: the addresses, the admin token once, and the next commands to run.

use std::net::SocketAddr;

use anyhow::Context as _;

use crate::{
    accounts::{self, AdminTokenPlace},
    cli::{check, context::absolute},
    escape::Lines,
    files::{self, Live},
    output,
    secret::Secret,
    settings::Settings,
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
    let first = "
next, in another terminal:
  tollgate user add alice                      # prints alice's token
  tollgate credential set alice SECTION.FIELD  # asks for a key
  tollgate routes                              # what can be called
";
    let next = if no_users { first } else { "" };
    let http = if settings.tls.is_some() { "https" } else { "http" };
    let admin = admin_address.map(|admin| format!("  admin      {http}://{admin}\n")).unwrap_or_default();
    let console = admin_address.unwrap_or(address);
    let text = format!(
        "\ntollgate listens on {http}://{address}\n{admin}  operators  {http}://{console}/console\n  users      {http}://{address}/config\n  providers  {providers}\n  data       {data}\n{next}"
    );
    output::note(&Lines::split(&text)).context("failed to print")
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
