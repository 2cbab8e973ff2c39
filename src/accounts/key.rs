//! Where the master key comes from: the environment, a file, or a systemd credential, whichever is given;
//! else the file `master-key` in the data directory, made at first use: before the store has known any. Which
//! one it has known is recorded there, by its id. A key that does not fit changes nothing.
//!
//! Reads no environment: what is in it is handed in.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::seal::MasterKey;
use crate::{
    secret::Secret,
    store::{
        DirLock, PrivateFile, Readers, Replace, Store, StoreError, probe, read_private, read_small,
        write_private,
    },
};

/// In the data directory.
const FILE: &str = "master-key";
/// In the directory of systemd's credentials.
const CREDENTIAL: &str = "tollgate-master-key";
const VARIABLE: &str = "TOLLGATE_MASTER_KEY";

/// What was given to find the master key by.
#[derive(Debug, Clone, Default)]
pub struct KeySources {
    /// `TOLLGATE_MASTER_KEY`, if it is set.
    pub variable: Option<Secret>,
    /// The file that the settings name.
    pub file: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`, where systemd puts what it has decrypted, and lets in whom it means to.
    pub credentials: Option<PathBuf>,
}

/// Why there is no master key to work with.
#[derive(Debug, Error)]
pub enum KeyError {
    /// What was given is no key.
    #[error("{origin} does not hold a master key: it takes 64 hex digits, as `openssl rand -hex 32` prints")]
    Malformed {
        /// Where it was given.
        origin: String,
    },
    /// Others can read the file.
    #[error(
        "`{}` can be read by others (its mode is {mode:o}): run `chmod 600 {0}`, and if somebody may have read it, replace the key",
        path.display()
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The settings name a file that is not there.
    #[error("`{}` is missing, which `master_key_file` names: put it there, or name another", path.display())]
    NoFile {
        /// What was named.
        path: PathBuf,
    },
    /// Two keys were given.
    #[error("{one} holds the master key with id `{one_id}`, and {other} the one with id `{other_id}`{}: take away the wrong one", of_store(recorded.as_deref()))]
    Two {
        /// Where the one was given.
        one: String,
        /// Its id.
        one_id: String,
        /// Where the other was given.
        other: String,
        /// Its id.
        other_id: String,
        /// The id of the key that the store knows.
        recorded: Option<String>,
    },
    /// The store knows a key, but it is not here.
    #[error(
        "the store was set up with the master key `{id}`, and `{}` is missing: set {VARIABLE} to it, or put the file back",
        path.display()
    )]
    Missing {
        /// The key file.
        path: PathBuf,
        /// The id of the key that the store knows.
        id: String,
    },
    /// There is a key, but not the one that the store knows.
    #[error(
        "{origin} holds the master key with id `{given}`, but the store was set up with `{recorded}`: give that one, or remove all credentials and start the server with the other"
    )]
    Different {
        /// Where the key was given.
        origin: String,
        /// Its id.
        given: String,
        /// The id of the key that the store knows.
        recorded: String,
    },
    /// The store or the data directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn of_store(recorded: Option<&str>) -> String {
    recorded.map(|id| format!(" (the store was set up with `{id}`)")).unwrap_or_default()
}

/// A key, and where it was found.
struct Found {
    key: MasterKey,
    origin: String,
}

// === impl MasterKey: load ===

impl MasterKey {
    /// That the key which the server would load fits the store, before that is even opened: an older one is
    /// brought to today's schema then, and without its key it is to stay as it is. Whoever calls holds the
    /// directory.
    pub async fn check(sources: &KeySources, data_dir: &Path) -> Result<(), KeyError> {
        let _lock = DirLock::acquire(data_dir).await?;
        // What is wrong with the store itself, `Store::open` tells.
        let probe = probe(data_dir).await.ok().flatten().unwrap_or_default();
        let path = data_dir.join(FILE);
        match find(sources, &path, probe.keys.current.as_deref())? {
            Some(found) if probe.sealed => fits(&found, probe.keys.current).map(drop),
            Some(_) => Ok(()),
            None => missing(path, probe.keys.current),
        }
    }

    /// The server's key: what is given, else that in the data directory, where one is made if the store has
    /// never known any. While nothing is sealed, it may be another than before.
    pub async fn load(sources: &KeySources, data_dir: &Path, store: &Store) -> Result<Self, KeyError> {
        let key = Self::load_as(sources, data_dir, store, Replace::IfNothingSealed).await?;
        if let Some(left) = private(&data_dir.join(FILE))?.filter(|left| left.key.id() != key.id()) {
            tracing::warn!(
                "{} holds another master key than the one that is used: take it away",
                left.origin
            );
        }
        if let Some(why) = key.unlocked() {
            tracing::warn!(
                why,
                "the master key may be written to swap: raise the limit of locked memory (`ulimit -l`, `LimitMEMLOCK=`)"
            );
        }
        Ok(key)
    }

    /// The same key for a command, beside a server or before there is one. It replaces none: the server
    /// could not open what another one seals.
    pub async fn load_beside(sources: &KeySources, data_dir: &Path, store: &Store) -> Result<Self, KeyError> {
        Self::load_as(sources, data_dir, store, Replace::Never).await
    }

    async fn load_as(
        sources: &KeySources,
        data_dir: &Path,
        store: &Store,
        replace: Replace,
    ) -> Result<Self, KeyError> {
        let path = data_dir.join(FILE);
        // Two processes at their first start must not each make a key.
        let lock = DirLock::acquire(data_dir).await?;
        let recorded = store.master_key_id().await?;
        let found = match find(sources, &path, recorded.as_deref())? {
            Some(found) => found,
            None => {
                missing(path.clone(), recorded)?;
                Found { key: make_file(&lock, &path)?, origin: quoted(&path) }
            }
        };
        if !store.adopt_master_key(&found.key.id(), replace).await? {
            fits(&found, store.master_key_id().await?)?;
        }
        Ok(found.key)
    }
}

/// The key to work with: the given one, else that of the data directory.
fn find(sources: &KeySources, path: &Path, recorded: Option<&str>) -> Result<Option<Found>, KeyError> {
    let mut given = sources.read()?.into_iter();
    let Some(first) = given.next() else { return private(path) };
    match given.find(|other| other.key.id() != first.key.id()) {
        Some(other) => Err(KeyError::Two {
            one: first.origin,
            one_id: first.key.id(),
            other: other.origin,
            other_id: other.key.id(),
            recorded: recorded.map(str::to_owned),
        }),
        None => Ok(Some(first)),
    }
}

fn fits(found: &Found, recorded: Option<String>) -> Result<(), KeyError> {
    let given = found.key.id();
    match recorded {
        Some(recorded) if recorded != given => {
            Err(KeyError::Different { origin: found.origin.clone(), given, recorded })
        }
        _ => Ok(()),
    }
}

/// Without a key there can be no store that knows one.
fn missing(path: PathBuf, recorded: Option<String>) -> Result<(), KeyError> {
    recorded.map_or(Ok(()), |id| Err(KeyError::Missing { path, id }))
}

// === impl KeySources: read ===

impl KeySources {
    /// All that were given, in the order in which they count.
    fn read(&self) -> Result<Vec<Found>, KeyError> {
        let variable = self.variable.as_ref().map(|text| parse(text, VARIABLE.to_owned())).transpose()?;
        let file = self.file.as_deref().map(|path| self.named(path)).transpose()?;
        let credential = match &self.credentials {
            Some(dir) => self.credential(&dir.join(CREDENTIAL))?,
            None => None,
        };
        Ok([variable, file, credential].into_iter().flatten().collect())
    }

    fn named(&self, path: &Path) -> Result<Found, KeyError> {
        let below = self.credentials.as_deref().is_some_and(|dir| path.starts_with(dir));
        let found = if below { self.credential(path)? } else { private(path)? };
        found.ok_or_else(|| KeyError::NoFile { path: path.to_owned() })
    }

    /// Whom systemd lets read it is systemd's business: to a service's user it gives the right by an access
    /// control list, which shows as a right of the group.
    fn credential(&self, path: &Path) -> Result<Option<Found>, KeyError> {
        match read_small(path, Readers::Any)? {
            PrivateFile::Text(text) => parse(&text, quoted(path)).map(Some),
            PrivateFile::Missing | PrivateFile::Exposed { .. } => Ok(None),
        }
    }
}

fn private(path: &Path) -> Result<Option<Found>, KeyError> {
    match read_private(path)? {
        PrivateFile::Text(text) => parse(&text, quoted(path)).map(Some),
        PrivateFile::Exposed { mode } => Err(KeyError::Exposed { path: path.to_owned(), mode }),
        PrivateFile::Missing => Ok(None),
    }
}

fn parse(text: &Secret, origin: String) -> Result<Found, KeyError> {
    match MasterKey::from_hex(text.expose().trim_ascii()) {
        Some(key) => Ok(Found { key, origin }),
        None => Err(KeyError::Malformed { origin }),
    }
}

fn quoted(path: &Path) -> String {
    format!("`{}`", path.display())
}

fn make_file(lock: &DirLock, path: &Path) -> Result<MasterKey, StoreError> {
    let key = MasterKey::generate();
    let line = Secret::new(format!("{}\n", key.to_hex().expose()));
    write_private(lock, path, line.expose().as_bytes())?;
    Ok(key)
}

#[cfg(test)]
mod tests;
