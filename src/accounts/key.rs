//! Loads the master key from the environment, a file or a systemd credential. If none is given, the key is in the file
//! `master-key` in the data directory, which is created at first use.
//!
//! The store records the key's id. After that, no key is created, and a key with another id is refused. This module reads
//! no environment variables: their values are arguments.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::encryption::MasterKey;
use crate::{
    secret::Secret,
    store::{
        DirLock, KeyIds, PrivateFile, Readers, ReplaceKey, Store, StoreError, keep_private, probe,
        read_private, read_small, remove_private, replace_private, write_private,
    },
    written::{defect, without_mark},
};

/// File name in the data directory.
const FILE: &str = "master-key";
/// File name of the next key, during a rotation.
const NEXT_FILE: &str = "master-key.next";
/// Name of the systemd credential.
const CREDENTIAL: &str = "tollgate-master-key";
const VARIABLE: &str = "TOLLGATE_MASTER_KEY";

/// File name, in the data directory, of a key that was replaced: backups from before that need it.
pub fn old_key_file(id: &str) -> String {
    format!("{FILE}.old-{id}")
}

/// Given sources of the master key.
#[derive(Debug, Clone, Default)]
pub struct KeySources {
    /// `TOLLGATE_MASTER_KEY`, if it is set.
    pub variable: Option<Secret>,
    /// The file that the settings name.
    pub file: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`, with systemd's decrypted credentials.
    pub credentials: Option<PathBuf>,
}

/// Why the master key cannot be loaded.
#[derive(Debug, Error)]
pub enum KeyError {
    /// A source contains no key.
    #[error(
        "{origin} does not hold a master key: it takes 64 hex digits, as `openssl rand -hex 32` prints{problem}"
    )]
    Malformed {
        /// The source.
        origin: String,
        /// The defect of the text, as the rest of a sentence.
        problem: String,
    },
    /// Others can read the file.
    #[error(
        "`{}` is readable by others (mode {mode:o}): run `chmod 600 {0}`; if somebody may have read it, replace the key with `tollgate rekey`",
        path.display()
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The settings name a missing file.
    #[error("`{}`, named by `master_key_file`, is missing: create it, or name another file", path.display())]
    SettingsFileMissing {
        /// The file.
        path: PathBuf,
    },
    /// Two sources give different keys.
    #[error("{one} holds the master key with id `{one_id}`, and {other} the one with id `{other_id}`{}: remove the wrong one", of_store(recorded.as_deref()))]
    Conflict {
        /// One source.
        one: String,
        /// Its id.
        one_id: String,
        /// The other source.
        other: String,
        /// Its id.
        other_id: String,
        /// The id of the key that the store records.
        recorded: Option<String>,
    },
    /// The recorded key is missing.
    #[error(
        "the store was set up with the master key `{id}`, and `{}` is missing: set {VARIABLE} to it, or put the file back",
        path.display()
    )]
    Missing {
        /// The key file.
        path: PathBuf,
        /// The id of the key that the store records.
        id: String,
    },
    /// Another key than the one that the store records.
    #[error(
        "{origin} holds the master key with id `{given}`, but the store was set up with `{recorded}`: provide that key, or remove all credentials and start the server with the other key"
    )]
    Mismatch {
        /// The source of the key.
        origin: String,
        /// Its id.
        given: String,
        /// The id of the key that the store records.
        recorded: String,
    },
    /// A rotation is in progress, and its next key is missing.
    #[error(
        "a master-key rotation to `{id}` is in progress, but `{}` is missing or holds another key. Restore it: some credentials are already encrypted with that key only",
        path.display()
    )]
    NextKeyMissing {
        /// The file of the next key.
        path: PathBuf,
        /// The id of the key that is missing.
        id: String,
    },
    /// The named file with the next key is missing.
    #[error("`{}` is missing: name a file with the new key, or none to create a new key", path.display())]
    NamedKeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// The source of the key still has the previous one.
    #[error(
        "an earlier rotation is incomplete: the current master key `{id}` is only in `{}`. Copy it to where the old key comes from, and restart the server, before another rotation",
        path.display()
    )]
    NotMovedYet {
        /// The file of the key.
        path: PathBuf,
        /// Its id.
        id: String,
    },
    /// A rotation to a third key is in progress.
    #[error(
        "a master-key rotation to `{id}` is already in progress: finish it with `tollgate rekey`, without a file"
    )]
    RotationInProgress {
        /// Its id.
        id: String,
    },
    /// The new key is the old one.
    #[error("the master key `{id}` is the current one: give another key")]
    AlreadyCurrent {
        /// Its id.
        id: String,
    },
    /// The store or the data directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn of_store(recorded: Option<&str>) -> String {
    recorded.map(|id| format!(" (the store was set up with `{id}`)")).unwrap_or_default()
}

/// A key and its source.
#[derive(Debug, Clone)]
pub(super) struct SourcedKey {
    pub(super) key: MasterKey,
    pub(super) origin: String,
}

// === impl MasterKey: load ===

impl MasterKey {
    /// Checks that the key which the server would load matches the store, before the store is opened. Opening migrates an
    /// older store, which must not happen without its key. The caller holds the lock of the directory.
    pub async fn check(sources: &KeySources, data_dir: &Path) -> Result<(), KeyError> {
        let _lock = DirLock::acquire(data_dir).await?;
        // `Store::open` reports errors of the store itself.
        let probe = probe(data_dir).await.ok().flatten().unwrap_or_default();
        let available = AvailableKeys::read(sources, data_dir, &probe.keys)?;
        if let Some(id) = &probe.keys.next {
            available.next(id, data_dir)?;
        }
        match choose(available, &probe.keys)? {
            Some(found) if probe.sealed => fits(&found, probe.keys.current),
            Some(_) => Ok(()),
            None => missing(data_dir, probe.keys.current),
        }
    }

    /// Loads the server's key: the given one, or the one in the data directory. That one is created if the store has never
    /// recorded a key. While nothing is encrypted, the key may differ from the recorded one. Also finishes the cleanup of a
    /// completed rotation.
    pub async fn load(sources: &KeySources, data_dir: &Path, store: &Store) -> Result<Self, KeyError> {
        let key = Self::load_as(sources, data_dir, store, ReplaceKey::IfNothingSealed).await?;
        if let Some(why) = key.lock_error() {
            tracing::warn!(
                why,
                "the master key may be written to swap: raise the limit of locked memory (`ulimit -l`, `LimitMEMLOCK=`)"
            );
        }
        let ids = store.key_ids().await?;
        if let (Some(current), None) = (&ids.current, &ids.next) {
            let lock = DirLock::acquire(data_dir).await?;
            if let NextKeyFile::Waits { origin } = clean_up_next_key_file(&lock, sources, data_dir, current)?
            {
                let next = data_dir.join(NEXT_FILE).display().to_string();
                tracing::warn!(
                    next,
                    "{origin} holds a master key that was replaced: copy the key from the file `next` there; the next start then removes that file"
                );
            } else if private(&data_dir.join(FILE))?.is_some_and(|unused| unused.key.id() != key.id()) {
                tracing::warn!(
                    file = %data_dir.join(FILE).display(),
                    current = key.id(),
                    "a master key that is not in use was found: remove the file"
                );
            }
        }
        Ok(key)
    }

    /// Loads the key for a command, beside a server or before its first start. It never replaces a key: the server could
    /// not decrypt what another key encrypts.
    pub async fn load_beside(sources: &KeySources, data_dir: &Path, store: &Store) -> Result<Self, KeyError> {
        Self::load_as(sources, data_dir, store, ReplaceKey::Never).await
    }

    async fn load_as(
        sources: &KeySources,
        data_dir: &Path,
        store: &Store,
        replace: ReplaceKey,
    ) -> Result<Self, KeyError> {
        // Two processes at their first start must not each create a key.
        let lock = DirLock::acquire(data_dir).await?;
        let ids = store.key_ids().await?;
        let available = AvailableKeys::read(sources, data_dir, &ids)?;
        let next = ids.next.as_deref().map(|id| available.next(id, data_dir)).transpose()?;
        let found = if let Some(found) = choose(available, &ids)? {
            found
        } else {
            missing(data_dir, ids.current)?;
            let path = data_dir.join(FILE);
            SourcedKey { key: make_file(&lock, &path)?, origin: quoted(&path) }
        };
        if !store.adopt_master_key(&found.key.id(), replace).await? {
            fits(&found, store.master_key_id().await?)?;
        }
        if let Some(next) = next {
            found.key.replace_with(&next.key);
        }
        Ok(found.key)
    }
}

/// The keys that are available.
struct AvailableKeys {
    /// The given key, or that of the data directory.
    first: Option<SourcedKey>,
    /// The others.
    others: Vec<SourcedKey>,
}

impl AvailableKeys {
    fn read(sources: &KeySources, data_dir: &Path, ids: &KeyIds) -> Result<Self, KeyError> {
        let given = sources.given(ids.current.as_deref())?;
        let mut others = Vec::new();
        // During a rotation of the data directory's key, either key may be given already.
        let file = if given.is_none() || ids.next.is_some() { private(&data_dir.join(FILE))? } else { None };
        let first = match given {
            Some(given) => {
                others.extend(file);
                Some(given)
            }
            None => file,
        };
        others.extend(private(&data_dir.join(NEXT_FILE))?);
        Ok(Self { first, others })
    }

    fn with(&self, id: &str) -> Option<&SourcedKey> {
        self.first.iter().chain(&self.others).find(|found| found.key.id() == id)
    }

    /// The next key of a rotation in progress.
    fn next(&self, id: &str, data_dir: &Path) -> Result<SourcedKey, KeyError> {
        let missing = || KeyError::NextKeyMissing { path: data_dir.join(NEXT_FILE), id: id.to_owned() };
        self.with(id).cloned().ok_or_else(missing)
    }
}

/// The key that the store records, or the first available one.
fn choose(available: AvailableKeys, ids: &KeyIds) -> Result<Option<SourcedKey>, KeyError> {
    let known = ids.current.as_deref().and_then(|id| available.with(id)).cloned();
    if known.is_none() && ids.next.is_some() {
        // During a rotation only these two keys are valid.
        return available.first.map(|found| fits(&found, ids.current.clone()).map(|()| found)).transpose();
    }
    Ok(known.or(available.first))
}

fn fits(found: &SourcedKey, recorded: Option<String>) -> Result<(), KeyError> {
    let given = found.key.id();
    match recorded {
        Some(recorded) if recorded != given => {
            Err(KeyError::Mismatch { origin: found.origin.clone(), given, recorded })
        }
        _ => Ok(()),
    }
}

/// Fails if the store records a key, but none is available.
fn missing(data_dir: &Path, recorded: Option<String>) -> Result<(), KeyError> {
    recorded.map_or(Ok(()), |id| Err(KeyError::Missing { path: data_dir.join(FILE), id }))
}

// === the file of the next key ===

/// Location of the new key after a rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NextKeyFile {
    /// No next key's file, or the rotation is not complete.
    #[default]
    Nothing,
    /// It replaced the file in the data directory.
    InPlace {
        /// The name of the file, in the data directory, that keeps the key before.
        old: Option<String>,
    },
    /// The source of the key has it: the next key's file was removed.
    Given,
    /// The next key's file stays until the source of the key has it.
    Waits {
        /// The source that still has the old key.
        origin: String,
    },
}

/// Cleans up the next key's file, if that key is now the store's, `id`. The key that it replaces is kept beside it.
pub(super) fn clean_up_next_key_file(
    lock: &DirLock,
    sources: &KeySources,
    data_dir: &Path,
    id: &str,
) -> Result<NextKeyFile, KeyError> {
    let next = data_dir.join(NEXT_FILE);
    if private(&next)?.is_none_or(|found| found.key.id() != id) {
        return Ok(NextKeyFile::Nothing);
    }
    match sources.given(Some(id))? {
        None => {
            let file = data_dir.join(FILE);
            let old = private(&file)?.map(|old| old_key_file(&old.key.id()));
            if let Some(old) = &old {
                keep_private(lock, &file, &data_dir.join(old))?;
            }
            replace_private(lock, &next, &file)?;
            Ok(NextKeyFile::InPlace { old })
        }
        Some(given) if given.key.id() == id => {
            remove_private(lock, &next)?;
            Ok(NextKeyFile::Given)
        }
        Some(given) => Ok(NextKeyFile::Waits { origin: given.origin }),
    }
}

/// A key that became that of the data directory again.
#[derive(Debug)]
pub struct PutBack {
    /// Its file.
    pub file: PathBuf,
    /// The file that keeps the key before it; none if there was none.
    pub before: Option<PathBuf>,
}

/// Makes the kept key `id` that of the data directory again, and keeps the one before it under its id: a database from before
/// a rotation needs the one, that from after it the other. None if no such key is kept, or the key comes from elsewhere.
pub async fn put_back_key(
    sources: &KeySources,
    data_dir: &Path,
    id: &str,
) -> Result<Option<PutBack>, KeyError> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (file, kept) = (data_dir.join(FILE), data_dir.join(old_key_file(id)));
    let lock = DirLock::acquire(data_dir).await?;
    if !is_id
        || sources.given(Some(id))?.is_some()
        || private(&kept)?.is_none_or(|found| found.key.id() != id)
    {
        return Ok(None);
    }
    let before = private(&file)?.map(|before| data_dir.join(old_key_file(&before.key.id())));
    if let Some(before) = &before {
        keep_private(&lock, &file, before)?;
    }
    replace_private(&lock, &kept, &file)?;
    Ok(Some(PutBack { file, before }))
}

/// Ensures that the next key's file holds a key: that of `from`, or the one already there, or a new one.
pub(super) fn provide_next(
    lock: &DirLock,
    data_dir: &Path,
    from: Option<&Path>,
    ids: &KeyIds,
) -> Result<MasterKey, KeyError> {
    let path = data_dir.join(NEXT_FILE);
    let wanted =
        from.map(|from| private(from)?.ok_or_else(|| KeyError::NamedKeyMissing { path: from.to_owned() }));
    let wanted = wanted.transpose()?.map(|found| found.key);
    let there = private(&path)?.map(|found| found.key);
    if let Some(there) = &there {
        let id = there.id();
        if ids.current.as_ref() == Some(&id) {
            return Err(KeyError::NotMovedYet { path, id });
        }
        let other = wanted.as_ref().is_some_and(|wanted| wanted.id() != id);
        if other && ids.next.as_ref() == Some(&id) {
            return Err(KeyError::RotationInProgress { id });
        }
        if !other {
            return Ok(there.clone());
        }
        // A leftover that was never used.
        remove_private(lock, &path)?;
    }
    if let Some(id) = &ids.next
        && wanted.as_ref().is_none_or(|wanted| wanted.id() != *id)
    {
        return Err(KeyError::NextKeyMissing { path, id: id.clone() });
    }
    let next = wanted.unwrap_or_else(MasterKey::generate);
    if ids.current == Some(next.id()) {
        return Err(KeyError::AlreadyCurrent { id: next.id() });
    }
    write_key(lock, &path, &next)?;
    Ok(next)
}

/// The error for a rotation that is complete, but for the source of the key, which has the previous one.
pub(super) fn not_moved_yet(data_dir: &Path, id: String) -> KeyError {
    KeyError::NotMovedYet { path: data_dir.join(NEXT_FILE), id }
}

/// The key in the next key's file.
pub(super) fn next(data_dir: &Path) -> Result<Option<MasterKey>, KeyError> {
    Ok(private(&data_dir.join(NEXT_FILE))?.map(|found| found.key))
}

// === impl KeySources: read ===

impl KeySources {
    /// The given key, from any source. Fails if sources differ.
    pub(super) fn given(&self, recorded: Option<&str>) -> Result<Option<SourcedKey>, KeyError> {
        let mut given = self.read()?.into_iter();
        let Some(first) = given.next() else { return Ok(None) };
        match given.find(|other| other.key.id() != first.key.id()) {
            Some(other) => Err(KeyError::Conflict {
                one: first.origin,
                one_id: first.key.id(),
                other: other.origin,
                other_id: other.key.id(),
                recorded: recorded.map(str::to_owned),
            }),
            None => Ok(Some(first)),
        }
    }

    /// All given keys, in order of precedence.
    fn read(&self) -> Result<Vec<SourcedKey>, KeyError> {
        let variable = self.variable.as_ref().map(|text| parse(text, VARIABLE.to_owned())).transpose()?;
        let file = self.file.as_deref().map(|path| self.named(path)).transpose()?;
        let credential = match &self.credentials {
            Some(dir) => credential(&dir.join(CREDENTIAL))?,
            None => None,
        };
        Ok([variable, file, credential].into_iter().flatten().collect())
    }

    fn named(&self, path: &Path) -> Result<SourcedKey, KeyError> {
        let below = self.credentials.as_deref().is_some_and(|dir| path.starts_with(dir));
        let found = if below { credential(path)? } else { private(path)? };
        found.ok_or_else(|| KeyError::SettingsFileMissing { path: path.to_owned() })
    }
}

/// Reads a systemd credential. Its mode is not checked. Systemd grants access by an access control list, which the mode
/// shows as a right of the group.
fn credential(path: &Path) -> Result<Option<SourcedKey>, KeyError> {
    match read_small(path, Readers::Any)? {
        PrivateFile::Text(text) => parse(&text, quoted(path)).map(Some),
        PrivateFile::Missing | PrivateFile::Exposed { .. } => Ok(None),
    }
}

fn private(path: &Path) -> Result<Option<SourcedKey>, KeyError> {
    match read_private(path)? {
        PrivateFile::Text(text) => parse(&text, quoted(path)).map(Some),
        PrivateFile::Exposed { mode } => Err(KeyError::Exposed { path: path.to_owned(), mode }),
        PrivateFile::Missing => Ok(None),
    }
}

fn parse(text: &Secret, origin: String) -> Result<SourcedKey, KeyError> {
    let text = without_mark(text.expose()).trim_ascii();
    let problem = || defect(text).map(|defect| format!("; the text {defect}")).unwrap_or_default();
    match MasterKey::from_hex(text) {
        Some(key) => Ok(SourcedKey { key, origin }),
        None => Err(KeyError::Malformed { origin, problem: problem() }),
    }
}

fn quoted(path: &Path) -> String {
    format!("`{}`", path.display())
}

fn make_file(lock: &DirLock, path: &Path) -> Result<MasterKey, StoreError> {
    let key = MasterKey::generate();
    write_key(lock, path, &key)?;
    Ok(key)
}

fn write_key(lock: &DirLock, path: &Path, key: &MasterKey) -> Result<(), StoreError> {
    let line = Secret::new(format!("{}\n", key.to_hex().expose()));
    write_private(lock, path, line.expose().as_bytes())
}

#[cfg(test)]
mod tests;
