//! Where the master key comes from: `TOLLGATE_MASTER_KEY`, read by the caller, or the file `master-key`
//! in the data directory, made at first use: before the store has known any. Which one it has known is
//! recorded there, by its id. A key that does not fit changes nothing.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::seal::MasterKey;
use crate::{
    secret::Secret,
    store::{DirLock, PrivateFile, Replace, Store, StoreError, read_private, write_private},
};

const FILE: &str = "master-key";

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
    /// The store knows a key, but it is not here.
    #[error(
        "the store was set up with the master key `{id}`, and `{}` is missing: set TOLLGATE_MASTER_KEY to it, or put the file back",
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

impl MasterKey {
    /// The server's key: from the environment if it is set, else from the data directory, where one is
    /// made if the store has never known any. While nothing is sealed, it may be another than before.
    pub async fn load(given: Option<&Secret>, data_dir: &Path, store: &Store) -> Result<Self, KeyError> {
        Self::load_as(given, data_dir, store, Replace::IfNothingSealed).await
    }

    /// The same key for a command, beside a server or before there is one. It replaces none: the server
    /// could not open what another one seals.
    pub async fn load_beside(
        given: Option<&Secret>,
        data_dir: &Path,
        store: &Store,
    ) -> Result<Self, KeyError> {
        Self::load_as(given, data_dir, store, Replace::Never).await
    }

    async fn load_as(
        given: Option<&Secret>,
        data_dir: &Path,
        store: &Store,
        replace: Replace,
    ) -> Result<Self, KeyError> {
        let path = data_dir.join(FILE);
        let (key, origin) = match given {
            Some(text) => {
                let origin = "TOLLGATE_MASTER_KEY".to_owned();
                (parse(text, &origin)?, origin)
            }
            None => (from_file(data_dir, &path, store).await?, format!("`{}`", path.display())),
        };
        if !store.adopt_master_key(&key.id(), replace).await? {
            let recorded = store.master_key_id().await?.unwrap_or_default();
            return Err(KeyError::Different { origin, given: key.id(), recorded });
        }
        Ok(key)
    }
}

fn parse(text: &Secret, origin: &str) -> Result<MasterKey, KeyError> {
    let key = MasterKey::from_hex(text.expose().trim_ascii());
    key.ok_or_else(|| KeyError::Malformed { origin: origin.to_owned() })
}

async fn from_file(data_dir: &Path, path: &Path, store: &Store) -> Result<MasterKey, KeyError> {
    // Two processes at their first start must not each make a key.
    let lock = DirLock::acquire(data_dir).await?;
    match read_private(path)? {
        PrivateFile::Text(text) => parse(&text, &format!("`{}`", path.display())),
        PrivateFile::Exposed { mode } => Err(KeyError::Exposed { path: path.to_owned(), mode }),
        PrivateFile::Missing => match store.master_key_id().await? {
            Some(id) => Err(KeyError::Missing { path: path.to_owned(), id }),
            None => Ok(make_file(&lock, path)?),
        },
    }
}

fn make_file(lock: &DirLock, path: &Path) -> Result<MasterKey, StoreError> {
    let key = MasterKey::generate();
    let line = Secret::new(format!("{}\n", key.to_hex().expose()));
    write_private(lock, path, line.expose().as_bytes())?;
    Ok(key)
}
