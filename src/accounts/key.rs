//! Where the master key comes from: the environment, a file, or a systemd credential, whichever is given;
//! else the file `master-key` in the data directory, made at first use: before the store has known any. Which
//! one it has known is recorded there, by its id. A key that does not fit changes nothing.
//!
//! Reads no environment: what is in it is handed in.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::seal::MasterKey;
use crate::{
    secret::Secret,
    store::{
        DirLock, KeyIds, PrivateFile, Readers, ReplaceKey, Store, StoreError, probe, read_private,
        read_small, remove_private, replace_private, write_private,
    },
};

/// In the data directory.
const FILE: &str = "master-key";
/// Beside it: the key that is to take its place.
const NEXT_FILE: &str = "master-key.next";
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
    /// Another key is taking the place of the one there is, and is not here.
    #[error(
        "all is being sealed anew with the master key `{id}`, and `{}` is missing or holds another: put it back, since some opens with that key alone",
        path.display()
    )]
    NextMissing {
        /// The file of the next key.
        path: PathBuf,
        /// The id of the key that is missing.
        id: String,
    },
    /// What was named as the next key is not there.
    #[error("`{}` is missing: name a file with the new key, or none, and a new key is made", path.display())]
    NoNext {
        /// What was named.
        path: PathBuf,
    },
    /// Where the key is given still has the one before.
    #[error(
        "the master key `{id}` is in use already, from `{}`: put it where the old one is given, and start the server with it; then there can be another",
        path.display()
    )]
    Waiting {
        /// The file of the key.
        path: PathBuf,
        /// Its id.
        id: String,
    },
    /// All is being sealed with a third key.
    #[error(
        "all is being sealed anew with the master key `{id}` already: let that be finished by `tollgate rekey` alone"
    )]
    UnderWay {
        /// Its id.
        id: String,
    },
    /// The new key is the old one.
    #[error("the master key `{id}` is the one that is in use: give another one")]
    Same {
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

/// A key, and where it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) key: MasterKey,
    pub(super) origin: String,
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
        let at_hand = AtHand::read(sources, data_dir, &probe.keys)?;
        if let Some(id) = &probe.keys.next {
            at_hand.next(id, data_dir)?;
        }
        match choose(at_hand, &probe.keys)? {
            Some(found) if probe.sealed => fits(&found, probe.keys.current),
            Some(_) => Ok(()),
            None => missing(data_dir, probe.keys.current),
        }
    }

    /// The server's key: what is given, else that in the data directory, where one is made if the store has
    /// never known any. While nothing is sealed, it may be another than before. What is left to do of a key
    /// that has taken another's place is done.
    pub async fn load(sources: &KeySources, data_dir: &Path, store: &Store) -> Result<Self, KeyError> {
        let key = Self::load_as(sources, data_dir, store, ReplaceKey::IfNothingSealed).await?;
        if let Some(why) = key.unlocked() {
            tracing::warn!(
                why,
                "the master key may be written to swap: raise the limit of locked memory (`ulimit -l`, `LimitMEMLOCK=`)"
            );
        }
        let ids = store.key_ids().await?;
        if let (Some(current), None) = (&ids.current, &ids.next) {
            let lock = DirLock::acquire(data_dir).await?;
            if let Settled::Waits { origin } = settle(&lock, sources, data_dir, current)? {
                let next = data_dir.join(NEXT_FILE).display().to_string();
                tracing::warn!(
                    next,
                    "{origin} holds a master key that was replaced: put the one in `next` there; that file goes when it is found there"
                );
            } else if let Some(left) = private(&data_dir.join(FILE))?.filter(|left| left.key.id() != key.id())
            {
                tracing::warn!(
                    "{} holds another master key than the one that is used: take it away",
                    left.origin
                );
            }
        }
        Ok(key)
    }

    /// The same key for a command, beside a server or before there is one. It replaces none: the server
    /// could not open what another one seals.
    pub async fn load_beside(sources: &KeySources, data_dir: &Path, store: &Store) -> Result<Self, KeyError> {
        Self::load_as(sources, data_dir, store, ReplaceKey::Never).await
    }

    async fn load_as(
        sources: &KeySources,
        data_dir: &Path,
        store: &Store,
        replace: ReplaceKey,
    ) -> Result<Self, KeyError> {
        // Two processes at their first start must not each make a key.
        let lock = DirLock::acquire(data_dir).await?;
        let ids = store.key_ids().await?;
        let at_hand = AtHand::read(sources, data_dir, &ids)?;
        let next = ids.next.as_deref().map(|id| at_hand.next(id, data_dir)).transpose()?;
        let found = if let Some(found) = choose(at_hand, &ids)? {
            found
        } else {
            missing(data_dir, ids.current)?;
            let path = data_dir.join(FILE);
            Found { key: make_file(&lock, &path)?, origin: quoted(&path) }
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

/// The keys that are at hand.
struct AtHand {
    /// The one that was given, else that of the data directory.
    first: Option<Found>,
    /// The others.
    others: Vec<Found>,
}

impl AtHand {
    fn read(sources: &KeySources, data_dir: &Path, ids: &KeyIds) -> Result<Self, KeyError> {
        let given = sources.given(ids.current.as_deref())?;
        let mut others = Vec::new();
        // Where another key takes the place of the one of the data directory, either may be given already.
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

    fn with(&self, id: &str) -> Option<&Found> {
        self.first.iter().chain(&self.others).find(|found| found.key.id() == id)
    }

    /// The key that all is being sealed with anew: some is sealed with it already.
    fn next(&self, id: &str, data_dir: &Path) -> Result<Found, KeyError> {
        let missing = || KeyError::NextMissing { path: data_dir.join(NEXT_FILE), id: id.to_owned() };
        self.with(id).cloned().ok_or_else(missing)
    }
}

/// The key that the store knows, else the first at hand.
fn choose(at_hand: AtHand, ids: &KeyIds) -> Result<Option<Found>, KeyError> {
    let known = ids.current.as_deref().and_then(|id| at_hand.with(id)).cloned();
    if known.is_none() && ids.next.is_some() {
        // Nothing but the two of them will do.
        return at_hand.first.map(|found| fits(&found, ids.current.clone()).map(|()| found)).transpose();
    }
    Ok(known.or(at_hand.first))
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
fn missing(data_dir: &Path, recorded: Option<String>) -> Result<(), KeyError> {
    recorded.map_or(Ok(()), |id| Err(KeyError::Missing { path: data_dir.join(FILE), id }))
}

// === the file of the next key ===

/// What became of the file of the next key, once that is the one of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Settled {
    /// There is none, or it has not yet.
    #[default]
    Nothing,
    /// It took the place of the one of the data directory.
    InPlace,
    /// Where the key is given has it too: the file is gone.
    Given,
    /// It stays until where the key is given has it.
    Waits {
        /// Which still has the old one.
        origin: String,
    },
}

/// Does what is left to do with the file of the next key, if that has become the one of the store, `id`.
pub(super) fn settle(
    lock: &DirLock,
    sources: &KeySources,
    data_dir: &Path,
    id: &str,
) -> Result<Settled, KeyError> {
    let next = data_dir.join(NEXT_FILE);
    if private(&next)?.is_none_or(|found| found.key.id() != id) {
        return Ok(Settled::Nothing);
    }
    match sources.given(Some(id))? {
        None => {
            replace_private(lock, &next, &data_dir.join(FILE))?;
            Ok(Settled::InPlace)
        }
        Some(given) if given.key.id() == id => {
            remove_private(lock, &next)?;
            Ok(Settled::Given)
        }
        Some(given) => Ok(Settled::Waits { origin: given.origin }),
    }
}

/// Sees to it that the file of the next key holds one: that of `from` if it is given, else what is there already,
/// else a new one.
pub(super) fn provide_next(
    lock: &DirLock,
    data_dir: &Path,
    from: Option<&Path>,
    ids: &KeyIds,
) -> Result<MasterKey, KeyError> {
    let path = data_dir.join(NEXT_FILE);
    let wanted = from.map(|from| private(from)?.ok_or_else(|| KeyError::NoNext { path: from.to_owned() }));
    let wanted = wanted.transpose()?.map(|found| found.key);
    let there = private(&path)?.map(|found| found.key);
    if let Some(there) = &there {
        let id = there.id();
        if ids.current.as_ref() == Some(&id) {
            return Err(KeyError::Waiting { path, id });
        }
        let other = wanted.as_ref().is_some_and(|wanted| wanted.id() != id);
        if other && ids.next.as_ref() == Some(&id) {
            return Err(KeyError::UnderWay { id });
        }
        if !other {
            return Ok(there.clone());
        }
        // Of one that never came to be used.
        remove_private(lock, &path)?;
    }
    if let Some(id) = &ids.next
        && wanted.as_ref().is_none_or(|wanted| wanted.id() != *id)
    {
        return Err(KeyError::NextMissing { path, id: id.clone() });
    }
    let next = wanted.unwrap_or_else(MasterKey::generate);
    if ids.current == Some(next.id()) {
        return Err(KeyError::Same { id: next.id() });
    }
    write_key(lock, &path, &next)?;
    Ok(next)
}

/// The key in the file of the next one.
pub(super) fn next(data_dir: &Path) -> Result<Option<MasterKey>, KeyError> {
    Ok(private(&data_dir.join(NEXT_FILE))?.map(|found| found.key))
}

// === impl KeySources: read ===

impl KeySources {
    /// The one key that was given, by whatever ways.
    pub(super) fn given(&self, recorded: Option<&str>) -> Result<Option<Found>, KeyError> {
        let mut given = self.read()?.into_iter();
        let Some(first) = given.next() else { return Ok(None) };
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

    /// All that were given, in the order in which they count.
    fn read(&self) -> Result<Vec<Found>, KeyError> {
        let variable = self.variable.as_ref().map(|text| parse(text, VARIABLE.to_owned())).transpose()?;
        let file = self.file.as_deref().map(|path| self.named(path)).transpose()?;
        let credential = match &self.credentials {
            Some(dir) => credential(&dir.join(CREDENTIAL))?,
            None => None,
        };
        Ok([variable, file, credential].into_iter().flatten().collect())
    }

    fn named(&self, path: &Path) -> Result<Found, KeyError> {
        let below = self.credentials.as_deref().is_some_and(|dir| path.starts_with(dir));
        let found = if below { credential(path)? } else { private(path)? };
        found.ok_or_else(|| KeyError::NoFile { path: path.to_owned() })
    }
}

/// Whom systemd lets read it is systemd's business: to a service's user it gives the right by an access control
/// list, which shows as a right of the group.
fn credential(path: &Path) -> Result<Option<Found>, KeyError> {
    match read_small(path, Readers::Any)? {
        PrivateFile::Text(text) => parse(&text, quoted(path)).map(Some),
        PrivateFile::Missing | PrivateFile::Exposed { .. } => Ok(None),
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
    write_key(lock, path, &key)?;
    Ok(key)
}

fn write_key(lock: &DirLock, path: &Path, key: &MasterKey) -> Result<(), StoreError> {
    let line = Secret::new(format!("{}\n", key.to_hex().expose()));
    write_private(lock, path, line.expose().as_bytes())
}

#[cfg(test)]
mod tests;
