//! `tollgate rekey`: rotates the master key, in the running server or, without one, in this process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::sleep;

use super::{context::Report, serve_lock::acquire_serve_lock};
use crate::{
    accounts::{
        Actor, KeyError, KeySources, MasterKey, NextKeyFile, RekeyError, RekeyProgress, RekeyState,
        RekeyStatus, prepare_rekey, rekey,
    },
    control::{self, CallError},
    numbers::counted,
    store::{DATABASE, Store},
};

const PATH: &str = "/admin/rekey";
const OLD_KEY_ELSEWHERE: &str =
    "every backup that was made before now needs the old key: keep it with them, apart from the database\n";
/// Interval of progress requests to a server.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Rotate the master key: re-encrypt all credentials with a new key, also while tollgate serves
///
/// The new key is in `master-key.next` in the data directory until the rotation is complete. After an interruption, the same
/// command resumes it, and so does the next start. Earlier backups need the old key: it is kept beside the new one, as
/// `master-key.old-ID`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file with the new key, 64 hex digits, readable by its owner alone [default: a new random key]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(args: &Args, data: &Path, keys: &KeySources) -> anyhow::Result<()> {
    ensure!(
        data.join(DATABASE).is_file(),
        "`{}` has no database yet: `tollgate serve` creates one, and a master key",
        data.display()
    );
    let done = match control::call(data, Method::GET, PATH, Bytes::new()).await {
        Ok((StatusCode::OK, _)) => rekey_on_server(args, data).await?,
        Ok((status, _)) => {
            bail!("the running tollgate returned {status}: does its version differ from this command's?")
        }
        Err(CallError::NotRunning { .. }) => rekey_locally(args, data, keys).await?,
        Err(error) => return Err(error.into()),
    };
    Report::note(summary(&done, data)).print()
}

async fn rekey_locally(args: &Args, data: &Path, keys: &KeySources) -> anyhow::Result<RekeyProgress> {
    let _lock = acquire_serve_lock(data)?;
    MasterKey::check(keys, data).await?;
    let store = Store::open(data).await.context("failed to open the store")?;
    let key = MasterKey::load(keys, data, &store).await?;
    prepare_rekey(&store, data, args.to.as_deref()).await?;
    let done = rekey(&store, &key, keys, data, &Actor::command(), |_| {}).await?;
    store.close().await;
    Ok(done)
}

async fn rekey_on_server(args: &Args, data: &Path) -> anyhow::Result<RekeyProgress> {
    let store = Store::open(data).await.context("failed to open the store")?;
    match prepare_rekey(&store, data, args.to.as_deref()).await {
        // The server ends an earlier rotation, or reports the source of its key that still has the previous one.
        Err(RekeyError::Key(KeyError::NotMovedYet { .. })) if args.to.is_none() => {}
        prepared => drop(prepared?),
    }
    let mut method = Method::POST;
    loop {
        let (_, document) = control::call(data, method, PATH, Bytes::new()).await?;
        let status: RekeyStatus = serde_json::from_slice(&document).context(
            "failed to read the response of the running tollgate: does its version differ from this command's?",
        )?;
        match status.state {
            RekeyState::Done => return Ok(status.done),
            RekeyState::Failed => bail!("{}", status.problem.unwrap_or_default()),
            RekeyState::Idle | RekeyState::Running => sleep(POLL_INTERVAL).await,
        }
        method = Method::GET;
    }
}

fn summary(done: &RekeyProgress, data: &Path) -> String {
    let RekeyProgress { id, credentials, unreadable, next_key_file } = done;
    let sealed = counted(credentials, "credential");
    let mut lines = vec![format!("the master key is `{id}` now: {sealed} re-encrypted\n")];
    if *unreadable > 0 {
        let them = if *unreadable == 1 { "it" } else { "them" };
        lines.push(format!(
            "{unreadable} left unchanged, since no key decrypts {them}: `tollgate credential list USER` shows {them}\n"
        ));
    }
    let (file, next) = (data.join("master-key"), data.join("master-key.next"));
    lines.push(match next_key_file {
        NextKeyFile::Waits { origin } => format!(
            "before the next start, put the key in `{}` in place of the old one: {origin}; the file is deleted once the key is found there\n{OLD_KEY_ELSEWHERE}",
            next.display()
        ),
        NextKeyFile::Given => format!("the new key is already in place\n{OLD_KEY_ELSEWHERE}"),
        NextKeyFile::InPlace { old } => {
            let stored =
                format!("it is stored in `{}`: back that up, apart from the database\n", file.display());
            let kept = old.as_ref().map(|old| {
                format!(
                    "the old key is kept as `{}`: every backup that was made before now needs it; delete it with the last of them\n",
                    data.join(old).display()
                )
            });
            stored + &kept.unwrap_or_default()
        }
        NextKeyFile::Nothing => {
            format!("it is stored in `{}`: back that up, apart from the database\n", file.display())
        }
    });
    lines.concat()
}
