//! What root does in the directory of another user, it does with the rights of that user.
//!
//! It guarantees: a link which that user made leads root to nothing that the user cannot reach, also if it is made between
//! two system calls, and what is created belongs to that user. Read next: `files`, which reads and writes.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, anyhow};
use rustix::{
    process::{Gid, Uid, geteuid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

/// The group of files in a directory of the group root: with that group, a link would lead to what only root's group reads.
const NO_GROUP: u32 = 65534;

/// A user who is not root, with a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    user: u32,
    group: u32,
}

/// The user with whose rights root is to change the file at `path`, below `base`. None if this is not root, or if all
/// directories on the way are root's.
pub(super) fn owner(base: &Path, path: &Path) -> Option<Owner> {
    if !geteuid().is_root() {
        return None;
    }
    let mut places = vec![base.to_owned()];
    if let Ok(below) = path.strip_prefix(base) {
        let mut place = base.to_owned();
        for part in below.parent().into_iter().flat_map(Path::components) {
            place.push(part);
            places.push(place.clone());
        }
    }
    // A link of root's own may lead into the directory of another user.
    let target = fs::canonicalize(path).ok();
    places.extend(target.as_deref().and_then(Path::parent).map(PathBuf::from));
    places.iter().find_map(|place| owner_of(place))
}

fn owner_of(dir: &Path) -> Option<Owner> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let found = fs::metadata(dir).ok()?;
    let group = if found.gid() == 0 { NO_GROUP } else { found.gid() };
    (found.uid() != 0).then_some(Owner { user: found.uid(), group })
}

/// Runs `act` with the rights of a user. They are those of a thread, which ends with it: no other thread loses its own.
pub(super) fn run<T: Send>(
    owner: Option<Owner>,
    act: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let Some(owner) = owner else { return act() };
    let ran = thread::scope(|scope| {
        let running = scope.spawn(|| {
            take_rights(owner).context("cannot take the rights of the user of the directory")?;
            act().with_context(|| {
                format!("root acts with the rights of the user {} here, whose directory it is", owner.user)
            })
        });
        running.join()
    });
    ran.unwrap_or_else(|_| Err(anyhow!("a thread with the rights of the user {} ended early", owner.user)))
}

fn take_rights(Owner { user, group }: Owner) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    // The user last: the rest needs the rights of root.
    set_thread_groups(&[group])?;
    set_thread_res_gid(None, group, None)?;
    Ok(set_thread_res_uid(None, user, None)?)
}
