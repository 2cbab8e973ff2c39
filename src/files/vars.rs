//! The values of vars: environment variables as they were when this process started, and files below the secrets
//! directory.
//!
//! It remembers the names and hashes of the values that were read, never the values. Read next: `compiler`.

use std::{collections::BTreeMap, ffi::OsStr, fs, io, os::unix::ffi::OsStrExt, path::PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::source_file::{Hash, hash_parts, open_nonblocking, read_bounded};
use crate::{bind, compile::VarSource, settings::SecretsDir, written};

/// The size of the largest secret file, in bytes.
const MAX_VAR_BYTES: u64 = 64 << 10;

/// The vars that provider files name.
#[derive(Debug)]
pub(super) struct Vars {
    secrets: SecretsDir,
    /// Hashes of the secret files, as read in this scan.
    files: BTreeMap<VarSource, Hash>,
    env: BTreeMap<String, Variable>,
}

/// An environment variable that a provider file names.
#[derive(Debug)]
struct Variable {
    is_set: bool,
    /// True once [`Vars::new_variables`] returned it.
    returned: bool,
}

/// The secret files that a provider uses, each with a hash of its value.
pub(super) type Fingerprints = BTreeMap<VarSource, Hash>;

impl Vars {
    /// Reads secret files below `secrets`.
    pub(super) fn new(secrets: SecretsDir) -> Self {
        Self { secrets, files: BTreeMap::new(), env: BTreeMap::new() }
    }

    /// Reads all secret files again that the last scan used. Returns true if none of them changed.
    pub fn refresh(&mut self) -> bool {
        self.note_directory();
        let secrets = &self.secrets;
        let now = self.files.keys().map(|source| (source.clone(), hash_wiped(var_value(source, secrets))));
        let now = now.collect();
        let is_same = self.files == now;
        self.files = now;
        is_same
    }

    /// Forgets all hashes, so that only the secret files which this scan uses are known after it.
    pub fn forget(&mut self) {
        self.files.clear();
    }

    /// A secrets directory that was there once has to stay.
    fn note_directory(&mut self) {
        self.secrets.required |= self.secrets.path.is_dir();
    }

    /// The value of a var.
    pub fn value(&mut self, source: &VarSource) -> bind::Lookup {
        self.note_directory();
        let value = var_value(source, &self.secrets);
        if let VarSource::Env(name) = source {
            let is_set = matches!(&value, Ok(Some(value)) if !value.is_empty());
            let variable = Variable { is_set, returned: false };
            self.env.entry(name.clone()).or_insert(variable).is_set = is_set;
        } else {
            // If the file changes during a scan, the hash of the first value stays. The next scan then sees a change, and
            // binds again the providers that got the first value.
            self.files.entry(source.clone()).or_insert_with(|| hash_value(&value));
        }
        value
    }

    /// Hashes of those sources that are secret files. The environment is left out: it never changes while the process
    /// runs.
    pub fn fingerprints<'s>(&mut self, sources: impl IntoIterator<Item = &'s VarSource>) -> Fingerprints {
        let files = sources.into_iter().filter(|source| matches!(source, VarSource::File(_))).cloned();
        files.map(|source| (source.clone(), self.fingerprint(&source))).collect()
    }

    fn fingerprint(&mut self, source: &VarSource) -> Hash {
        if let Some(known) = self.files.get(source) {
            return *known;
        }
        let hash = hash_wiped(var_value(source, &self.secrets));
        self.files.insert(source.clone(), hash);
        hash
    }

    /// The environment variables that files name and no earlier call returned, each with `true` if it is set.
    pub fn new_variables(&mut self) -> Vec<(String, bool)> {
        let new = self.env.iter_mut().filter(|(_, variable)| !variable.returned);
        let new = new.map(|(name, variable)| {
            variable.returned = true;
            (name.clone(), variable.is_set)
        });
        new.collect()
    }

    /// The paths of the secret files that were read in this scan.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.files.keys().filter_map(|source| match source {
            VarSource::File(name) => Some(self.secrets.path.join(name)),
            VarSource::Env(_) => None,
        })
    }
}

/// The hash of a value that is needed for nothing else: it may be a private key.
fn hash_wiped(value: bind::Lookup) -> Hash {
    let hash = hash_value(&value);
    drop(value.map(|value| value.map(Zeroizing::new)));
    hash
}

fn hash_value(value: &bind::Lookup) -> Hash {
    match value {
        Ok(Some(value)) => hash_parts(&[b"value", value.as_bytes()]),
        Ok(None) => hash_parts(&[b"unset"]),
        Err(problem) => hash_parts(&[b"problem", problem.as_bytes()]),
    }
}

/// The value of a var: an environment variable, or a file below `secrets`, both without their line end. `None` if it is
/// unset: a variable that is absent or empty, a file that is absent. A value that exists and cannot be used is an error,
/// never `None`: an unset var may turn off a gateway or an egress, and requests would go directly to the provider.
pub fn var_value(source: &VarSource, secrets: &SecretsDir) -> bind::Lookup {
    match source {
        VarSource::Env(name) => std::env::var_os(name).as_deref().map(variable).transpose(),
        VarSource::File(name) => file(name, secrets),
    }
}

fn variable(value: &OsStr) -> Result<String, String> {
    let text = value.to_str().ok_or_else(|| written::not_utf8(value.as_bytes()))?;
    Ok(written::line(text).to_owned())
}

fn file(name: &str, secrets: &SecretsDir) -> bind::Lookup {
    let path = secrets.path.join(name);
    match open_nonblocking(&path, OFlags::empty()) {
        Ok(file) => {
            let bytes = Zeroizing::new(read_bounded(file, MAX_VAR_BYTES)?);
            let text = str::from_utf8(&bytes).map_err(|_| written::not_utf8(&bytes))?;
            let text = written::line(text);
            // A program that writes the file in place empties it first.
            if text.is_empty() { Err("is empty".into()) } else { Ok(Some(text.to_owned())) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(&path).is_ok() {
                Err("is a link to a file that does not exist".into())
            } else if secrets.required && !secrets.path.is_dir() {
                Err("cannot be read: the secrets directory does not exist".into())
            } else {
                Ok(None)
            }
        }
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::source_file::pipe;

    #[test]
    fn only_a_missing_file_leaves_a_var_unset() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, expected: Result<Option<&str>, &str>| {
            let found = var_value(&VarSource::File(name.into()), &SecretsDir::optional(dir.path()));
            assert_eq!(found, expected.map(|text| text.map(str::to_owned)).map_err(str::to_owned), "{name}");
        };
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("good", b"value\r\n");
        write("empty", b"\n");
        write("bare", b"");
        write("marked", b"\xef\xbb\xbfvalue\r\n");
        write("two", b"value\n\n");
        write("wide", b"\xff\xfev\0");
        write("binary", b"\xff");
        write("full", &vec![b'x'; 64 << 10]);
        write("large", &vec![b'x'; (64 << 10) + 1]);
        fs::create_dir(dir.path().join("directory")).unwrap();
        std::os::unix::fs::symlink("good", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        pipe(&dir.path().join("pipe"));
        check("missing", Ok(None));
        check("good", Ok(Some("value")));
        check("link", Ok(Some("value")));
        check("empty", Err("is empty"));
        check("bare", Err("is empty"));
        check("marked", Ok(Some("value")));
        check("two", Ok(Some("value\n")));
        check("wide", Err("is UTF-16, as PowerShell writes it, and not UTF-8"));
        check("dangling", Err("is a link to a file that does not exist"));
        check("full", Ok(Some(&"x".repeat(64 << 10))));
        check("large", Err("is larger than 65536 bytes"));
        check("binary", Err("is not UTF-8"));
        check("directory", Err("is a directory, not a file"));
        check("pipe", Err("is a pipe, not a file"));
        check("loop", Err("cannot be read: Too many levels of symbolic links (os error 40)"));
        check("good/below", Err("cannot be read: Not a directory (os error 20)"));
    }

    #[test]
    fn a_variable_and_a_file_are_read_alike() {
        let dir = tempfile::tempdir().unwrap();
        let check = |text: &str, expected: Result<&str, &str>| {
            fs::write(dir.path().join("v"), text).unwrap();
            let read = file("v", &SecretsDir::optional(dir.path())).map(Option::unwrap_or_default);
            assert_eq!(read.as_deref().map_err(String::as_str), expected, "{text:?}");
            assert_eq!(variable(OsStr::new(text)).as_deref().map_err(String::as_str), expected, "{text:?}");
        };
        check("value", Ok("value"));
        check("value\r", Ok("value"));
        check("value\r\n", Ok("value"));
        check("\u{feff}value\n", Ok("value"));
        check("value\n\n", Ok("value\n"));
        check(" value ", Ok(" value "));
        check("\"value\"", Ok("\"value\""));
        assert_eq!(variable(OsStr::new("\r")).as_deref(), Ok(""));
    }

    #[test]
    fn a_secrets_directory_that_goes_missing_leaves_no_var_unset() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = dir.path().join("secrets");
        let source = VarSource::File("v".into());
        let mut vars = Vars::new(SecretsDir::optional(&secrets));
        assert_eq!(vars.value(&source), Ok(None));
        fs::create_dir(&secrets).unwrap();
        assert_eq!(vars.value(&source), Ok(None));
        fs::remove_dir(&secrets).unwrap();
        assert_eq!(vars.value(&source), Err("cannot be read: the secrets directory does not exist".into()));
        let named = SecretsDir { path: secrets, required: true };
        assert!(var_value(&source, &named).is_err());
    }

    #[test]
    fn the_next_scan_sees_a_secret_file_that_changed_during_a_scan() {
        let dir = tempfile::tempdir().unwrap();
        let source = VarSource::File("v".into());
        let mut vars = Vars::new(SecretsDir::optional(dir.path()));
        let read = |vars: &mut Vars, text: &str| {
            fs::write(dir.path().join("v"), text).unwrap();
            assert_eq!(vars.value(&source), Ok(Some(text.into())));
            vars.fingerprint(&source)
        };
        let first = read(&mut vars, "1");
        // With the second hash, a provider bound to the first value would pass for one bound to the second.
        assert_eq!(read(&mut vars, "2"), first);
        vars.forget();
        assert_ne!(read(&mut vars, "2"), first);
    }
}
