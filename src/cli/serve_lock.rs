//! The lock of a data directory: for one `serve`, or one command that needs the directory alone. The system releases it
//! when the process ends or crashes. The locked file names the process that holds it.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use anyhow::bail;

use crate::{
    clock::{now_ms, utc},
    store::{SETUP_LOCK, StoreError, open_private},
};

/// Name of the lock file.
const SERVE_LOCK: &str = "serve.lock";

/// Locks the directory for as long as the returned file is open. If another process has the lock, the error names it.
pub(super) fn acquire_serve_lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join(SERVE_LOCK);
    let failed = |error| StoreError::from_io(&path, error);
    let mut file = open_private(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            write_holder(&mut file).map_err(failed)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => bail!(
            "another tollgate serves from `{}`{}: stop it, or choose another data directory with `--data`",
            data.display(),
            read_holder(&mut file)
        ),
        Err(TryLockError::Error(error)) => Err(failed(error).into()),
    }
}

/// Removes a data directory that holds locks only. What else is in it stays, and so does the directory.
pub(super) fn remove_unused(data: &Path) {
    for lock in [SERVE_LOCK, SETUP_LOCK] {
        let _ = fs::remove_file(data.join(lock));
    }
    let _ = fs::remove_dir(data);
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{}\n{}\n", std::process::id(), utc(now_ms())).as_bytes())
}

/// The lock holder's process and start, for messages. Empty if it has not written them yet.
fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.take(100).read_to_string(&mut text);
    match text.lines().collect::<Vec<_>>()[..] {
        [process, since] => format!(", as process {process} since {since}"),
        _ => String::new(),
    }
}
