//! `tollgate restore`: replaces the database by a backup, and keeps the previous one.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    backup::contents,
    context::{Report, has_no_store, refuse_other_user, unusable},
    neighbour::refuse_second_store,
    serve_lock::{acquire_serve_lock, remove_unused},
};
use crate::{
    accounts::{self, Actor, KeySources, MasterKey, PutBack},
    clock::{now_ms, utc},
    escape,
    settings::Places,
    store::{self, DATABASE, DirLock},
};

/// Replace the database by a backup, while no tollgate serves
///
/// The backup is checked first: undamaged, with a schema that this tollgate knows. The previous database is kept beside it,
/// under another name.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file written by `tollgate backup`; it is not changed
    file: PathBuf,
}

/// Runs the command.
pub async fn run(args: &Args, places: &Places, keys: &KeySources) -> anyhow::Result<()> {
    let data = &*places.data()?;
    if has_no_store(data) {
        refuse_second_store(places, data).await?;
    }
    refuse_other_user(data)?;
    let is_new = !data.exists();
    // Taking this lock also creates the directory.
    drop(DirLock::acquire(data).await.map_err(|error| unusable(data, error))?);
    let _lock = acquire_serve_lock(data)?;
    let act = Actor::command().act("store.restore", &*args.file.to_string_lossy(), json!({}));
    let restored = store::prepare_restore(data, &args.file, &act).await;
    if is_new && restored.is_err() {
        remove_unused(data);
    }
    let restored = restored?;
    let held = contents(&restored.inventory);
    let probe = restored.inventory.probe.clone();
    let has_checksum = restored.has_checksum;
    let moment = utc(now_ms()).replace(['-', ':'], "");
    let kept = restored.activate(&format!("{DATABASE}.before-restore-{moment}")).await?;
    let mut lines = vec![format!("restored `{}`: {held}\n", escape::value(&args.file.to_string_lossy()))];
    if !has_checksum {
        lines.push(
            "it has no checksum, since `tollgate backup` did not write it: damage may have gone unnoticed\n"
                .to_owned(),
        );
    }
    if let Some(kept) = kept {
        lines
            .push(format!("the previous database is kept as `{}`\n", escape::value(&kept.to_string_lossy())));
    }
    if let Some(id) = probe.keys.current.filter(|_| probe.sealed) {
        lines.push(key_line(&id, data, keys).await);
    }
    Report::note(lines.concat()).print()
}

/// The line about the key that the restored credentials need. One that a rotation kept is put back.
async fn key_line(id: &str, data: &Path, keys: &KeySources) -> String {
    let Err(error) = MasterKey::check(keys, data).await else {
        return format!("its master key `{id}` is available\n");
    };
    let shown = |path: &Path| escape::value(&path.to_string_lossy()).to_string();
    match accounts::put_back_key(keys, data, id).await {
        Ok(Some(PutBack { file, before })) => {
            let kept = before.map(|before| {
                format!(
                    "; the one that was there is kept as `{}`: the previous database needs it",
                    shown(&before)
                )
            });
            format!("its master key `{id}` is in `{}` again{}\n", shown(&file), kept.unwrap_or_default())
        }
        Ok(None) => {
            let kept = data.join(accounts::old_key_file(id));
            let is_kept = id.bytes().all(|byte| byte.is_ascii_hexdigit()) && kept.is_file();
            let kept = if is_kept { format!("; `{}` has that key", shown(&kept)) } else { String::new() };
            let problem = error.to_string();
            format!("its credentials cannot be decrypted yet: {}{kept}\n", escape::value(&problem))
        }
        Err(failed) => {
            let (problem, failed) = (error.to_string(), failed.to_string());
            format!(
                "its credentials cannot be decrypted yet: {}; the kept key `{}` was not put back: {}\n",
                escape::value(&problem),
                accounts::old_key_file(id),
                escape::value(&failed)
            )
        }
    }
}
