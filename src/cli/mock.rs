//! `tollgate mock`: runs the fake upstream until a signal stops it. Owns the flags and the output; the server itself is
//! in `crate::mock`.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::whole_file;
use crate::server::listen::listen;
use crate::{
    escape::{self, Lines},
    mock::{self, Authority, Behaviour, Mock, Options},
    output,
};

/// Run a fast fake upstream, for tests without a key
///
/// It responds to the requests that are listed below, at any prefix. It streams if the request asks for that. The first answer to a
/// request with tools, of which there are at most three, is a call of the first one. It echoes the frames of WebSockets. A request changes any
/// setting of its response with a header `x-mock-NAME: VALUE` or a query parameter `mock_NAME=VALUE`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = served())]
pub struct Args {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8788")]
    listen: SocketAddr,
    /// Number of worker threads
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Use TLS, with a certificate for every requested name
    #[arg(long)]
    tls: bool,
    /// Write the certificate authority's PEM to this file
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_out: Option<PathBuf>,
    /// A further name or address in the certificate for clients without SNI (repeatable)
    #[arg(long, value_name = "HOST", requires = "tls")]
    tls_name: Vec<String>,
    #[command(flatten)]
    behaviour: Behaviour,
}

/// The requests that it answers, for the help.
fn served() -> String {
    let mut text = "It answers, at any prefix:\n".to_owned();
    for (method, path) in mock::served() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {method:<6} *{path}");
    }
    text
}

/// Serves until SIGINT or SIGTERM.
pub fn run(args: Args) -> anyhow::Result<()> {
    let authority = args.tls.then(|| Authority::new(&args.tls_name)).transpose();
    let authority = authority.context("failed to create a certificate authority")?.map(Arc::new);
    let listeners = listen(args.listen, usize::from(args.workers), "--listen")?;
    if let (Some(file), Some(authority)) = (&args.ca_out, &authority) {
        whole_file::write(file, authority.pem()).with_context(|| {
            format!("failed to write `{}`; name a file that can be written", file.display())
        })?;
    }
    let options = Options { behaviour: args.behaviour, tls: authority };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        // Before the announcement: a reader of that line may send a signal at once.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mock = mock::serve_all(listeners, options).context("failed to start the mock")?;
        announce(&mock, args.ca_out.as_ref())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

fn announce(mock: &Mock, ca: Option<&PathBuf>) -> anyhow::Result<()> {
    output::print(&Lines::one(format_args!("mock listening on {}", mock.url())))?;
    let ca = ca.map(|file| escape::value(&file.to_string_lossy()).into_owned());
    output::note(&Lines::split(&next_steps(mock, ca.as_deref())))?;
    Ok(())
}

fn next_steps(mock: &Mock, ca: Option<&str>) -> String {
    let (url, address) = (mock.url(), mock.address());
    let untrusted = if url.starts_with("https:") { " --insecure" } else { "" };
    let trust = ca.map_or(untrusted.to_owned(), |file| format!(" --cacert {file}"));
    let proxied = ca.map(|file| {
        format!(
            "behind tollgate, in place of every upstream:\n  \
             tollgate serve --connect-to '*={address}' --ca-file {file}\n"
        )
    });
    format!(
        "try it:\n  \
         curl{trust} {url}/v1/chat/completions -d '{{\"model\":\"any\"}}'\n  \
         curl{trust} -N {url}/v1/messages -d '{{\"stream\":true}}' -H 'x-mock-interval: 200ms'\n  \
         curl{trust} {url}/v1/models -H 'x-mock-echo: true'\n\
         {}all settings: tollgate mock --help\n",
        proxied.unwrap_or_default()
    )
}
