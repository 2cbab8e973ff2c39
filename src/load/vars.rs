//! The values of vars: from the environment as it was when this process started, or from a file below the
//! secrets directory. Remembers which were asked for and whether they changed, never what they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    env::VarError,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::tree::{Hash, contents, hash, open};
use crate::{bind, compile::VarSource};

/// The largest file that a var is read from, in bytes.
const MAX_VAR_BYTES: u64 = 64 << 10;

/// The vars that were asked for.
#[derive(Debug)]
pub struct Vars {
    secrets: PathBuf,
    files: BTreeMap<VarSource, Hash>,
    env: BTreeMap<String, bool>,
}

impl Vars {
    /// With files below `secrets`.
    pub fn new(secrets: PathBuf) -> Self {
        Self { secrets, files: BTreeMap::new(), env: BTreeMap::new() }
    }

    /// A var's value now.
    pub fn value(&mut self, source: &VarSource) -> bind::Lookup {
        let value = var_value(source, &self.secrets);
        match source {
            VarSource::Env(name) => {
                self.env.insert(name.clone(), matches!(&value, Ok(Some(value)) if !value.is_empty()));
            }
            VarSource::File(_) => {
                self.files.insert(source.clone(), hash_of(&value));
            }
        }
        value
    }

    /// The files that have another value than when they were last asked for. The environment has none: it is
    /// this process's own.
    pub fn changed(&self) -> BTreeSet<VarSource> {
        let other = |source: &VarSource, known: &Hash| hash_of(&var_value(source, &self.secrets)) != *known;
        self.files.iter().filter(|(source, known)| other(source, known)).map(|(one, _)| one.clone()).collect()
    }

    /// The variables of the environment that were asked for, and whether they are set.
    pub fn env(&self) -> &BTreeMap<String, bool> {
        &self.env
    }

    /// Whether any file was asked for.
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }
}

fn hash_of(value: &bind::Lookup) -> Hash {
    match value {
        Ok(Some(value)) => hash(&[b"value", value.as_bytes()]),
        Ok(None) => hash(&[b"unset"]),
        Err(problem) => hash(&[b"problem", problem.as_bytes()]),
    }
}

/// A var's value: from the environment of this process, or from a file below `secrets`, less the line's end.
/// Only what is not there is unset: what is there and cannot be read may be what keeps requests off the
/// direct way.
pub fn var_value(source: &VarSource, secrets: &Path) -> bind::Lookup {
    match source {
        VarSource::Env(name) => match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err("is not UTF-8".into()),
        },
        VarSource::File(name) => match open(&secrets.join(name), OFlags::empty()) {
            Ok(file) => {
                let text = String::from_utf8(contents(file, MAX_VAR_BYTES)?);
                let text = text.map_err(|_| "is not UTF-8")?;
                Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot be read: {error}")),
        },
    }
}
