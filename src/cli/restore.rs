//! `tollgate restore`: replaces the database by a backup, and keeps the previous one.

use std::path::PathBuf;

use serde_json::json;

use super::{
    backup::contents,
    context::{Report, has_no_store, refuse_other_user, unusable},
    neighbour::refuse_second_store,
    serve_lock::{acquire_serve_lock, remove_unused},
};
use crate::{
    accounts::{self, Actor, KeySources, MasterKey},
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
        lines.push(match MasterKey::check(keys, data).await {
            Ok(()) => format!("its master key `{id}` is available\n"),
            Err(error) => {
                let old = data.join(accounts::old_key_file(&id));
                let advice = if id.bytes().all(|byte| byte.is_ascii_hexdigit()) && old.is_file() {
                    let (old, file) =
                        (old.display().to_string(), data.join("master-key").display().to_string());
                    format!(
                        "the key is in `{}`: move it to `{}`\n",
                        escape::value(&old),
                        escape::value(&file)
                    )
                } else {
                    String::new()
                };
                let problem = error.to_string();
                format!("its credentials cannot be decrypted yet: {}\n{advice}", escape::value(&problem))
            }
        });
    }
    Report::note(lines.concat()).print()
}
