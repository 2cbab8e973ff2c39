//! The values of vars: from the environment as it was when this process started, or from a file below the
//! secrets directory. Remembers which were asked for and whether they changed, never what they are.

use std::{
    collections::BTreeMap,
    env::VarError,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::source_file::{Hash, hash_parts, open_nonblocking, read_bounded};
use crate::{
    bind,
    compile::{self, VarSource},
};

/// The largest file that a var is read from, in bytes.
const MAX_VAR_BYTES: u64 = 64 << 10;

/// The vars that files name.
#[derive(Debug)]
pub struct Vars {
    secrets: PathBuf,
    /// What files held when they were last looked at.
    files: BTreeMap<VarSource, Hash>,
    env: BTreeMap<String, Variable>,
}

/// A variable of the environment that a file names.
#[derive(Debug)]
struct Variable {
    is_set: bool,
    /// True once [`Vars::new_variables`] returned it.
    returned: bool,
}

/// Which files below the secrets directory a provider was made with, and what tells their values from others.
pub type Fingerprints = BTreeMap<VarSource, Hash>;

impl Vars {
    /// With files below `secrets`.
    pub fn new(secrets: PathBuf) -> Self {
        Self { secrets, files: BTreeMap::new(), env: BTreeMap::new() }
    }

    /// Forgets what files held, so that they are looked at anew.
    pub fn refresh(&mut self) {
        self.files.clear();
    }

    /// A var's value.
    pub fn value(&mut self, source: &VarSource) -> bind::Lookup {
        let value = var_value(source, &self.secrets);
        if let VarSource::Env(name) = source {
            let is_set = matches!(&value, Ok(Some(value)) if !value.is_empty());
            let variable = Variable { is_set, returned: false };
            self.env.entry(name.clone()).or_insert(variable).is_set = is_set;
        } else {
            // Of two values the first counts, so that the next look finds whoever was made with it changed.
            self.files.entry(source.clone()).or_insert_with(|| hash_value(&value));
        }
        value
    }

    /// What tells the values of a provider's vars from others. The environment is left out: it is this
    /// process's own, and never another.
    pub fn fingerprints(&mut self, provider: &compile::Provider) -> Fingerprints {
        let gateways = provider.gateways.iter().map(|one| &one.gateway.vars);
        let vars = gateways.chain([&provider.vars]).flat_map(BTreeMap::values).map(|var| &var.value.source);
        let files: Vec<_> = vars.filter(|source| matches!(source, VarSource::File(_))).cloned().collect();
        files.into_iter().map(|source| (source.clone(), self.fingerprint(&source))).collect()
    }

    fn fingerprint(&mut self, source: &VarSource) -> Hash {
        if let Some(known) = self.files.get(source) {
            return *known;
        }
        let hash = hash_value(&var_value(source, &self.secrets));
        self.files.insert(source.clone(), hash);
        hash
    }

    /// The variables of the environment that files name for the first time since the last call, each with `true` if
    /// it is set.
    pub fn new_variables(&mut self) -> Vec<(String, bool)> {
        let new = self.env.iter_mut().filter(|(_, variable)| !variable.returned);
        let new = new.map(|(name, variable)| {
            variable.returned = true;
            (name.clone(), variable.is_set)
        });
        new.collect()
    }

    /// The files that files named, with their directory.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.files.keys().filter_map(|source| match source {
            VarSource::File(name) => Some(self.secrets.join(name)),
            VarSource::Env(_) => None,
        })
    }
}

fn hash_value(value: &bind::Lookup) -> Hash {
    match value {
        Ok(Some(value)) => hash_parts(&[b"value", value.as_bytes()]),
        Ok(None) => hash_parts(&[b"unset"]),
        Err(problem) => hash_parts(&[b"problem", problem.as_bytes()]),
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
        VarSource::File(name) => match open_nonblocking(&secrets.join(name), OFlags::empty()) {
            Ok(file) => {
                let text = String::from_utf8(read_bounded(file, MAX_VAR_BYTES)?);
                let text = text.map_err(|_| "is not UTF-8")?;
                Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot be read: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::source_file::pipe;

    #[test]
    fn a_var_is_unset_only_where_it_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, expected: Result<Option<&str>, &str>| {
            let found = var_value(&VarSource::File(name.into()), dir.path());
            assert_eq!(found, expected.map(|text| text.map(str::to_owned)).map_err(str::to_owned), "{name}");
        };
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("good", b"value\r\n");
        write("empty", b"\n");
        write("binary", b"\xff");
        write("full", &vec![b'x'; 64 << 10]);
        write("large", &vec![b'x'; (64 << 10) + 1]);
        fs::create_dir(dir.path().join("directory")).unwrap();
        std::os::unix::fs::symlink("good", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        pipe(&dir.path().join("pipe"));
        check("missing", Ok(None));
        check("good", Ok(Some("value")));
        check("link", Ok(Some("value")));
        check("empty", Ok(Some("")));
        check("full", Ok(Some(&"x".repeat(64 << 10))));
        check("large", Err("is larger than 65536 bytes"));
        check("binary", Err("is not UTF-8"));
        check("directory", Err("is a directory, not a file"));
        check("pipe", Err("is a pipe, not a file"));
        check("loop", Err("cannot be read: Too many levels of symbolic links (os error 40)"));
        check("good/below", Err("cannot be read: Not a directory (os error 20)"));
    }

    #[test]
    fn a_file_that_changes_during_a_look_is_found_changed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let source = VarSource::File("v".into());
        let mut vars = Vars::new(dir.path().into());
        let read = |vars: &mut Vars, text: &str| {
            fs::write(dir.path().join("v"), text).unwrap();
            assert_eq!(vars.value(&source), Ok(Some(text.into())));
            vars.fingerprint(&source)
        };
        let first = read(&mut vars, "1");
        // Whoever was bound to the first value would else pass for being bound to the second.
        assert_eq!(read(&mut vars, "2"), first);
        vars.refresh();
        assert_ne!(read(&mut vars, "2"), first);
    }
}
