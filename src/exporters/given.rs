//! The settings of an exporter as they are given: a table `[exporter.NAME]` of the settings file, and environment variables
//! of the receiver's own ecosystem. Secrets come from a variable or from a file that a key names.
//!
//! It guarantees: no message contains a value of a variable or of a secret file.

use std::{ffi::OsString, fs, io::Read as _, os::unix::ffi::OsStrExt as _, path::Path};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::receiver::shown;
use crate::{
    secret::Secret,
    settings::{ExporterTable, Origin, SettingsError},
    syntax::Checker,
    written,
};

/// Maximum size of a secret file, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// A lookup of an environment variable.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The settings of one exporter.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// The name of the exporter.
    pub(super) name: &'a str,
    /// Its table in the settings file, if there is one.
    pub(super) table: Option<&'a ExporterTable>,
    /// The variables that it reads. None if they are for another exporter of this kind.
    pub(super) variables: Option<Lookup<'a>>,
}

/// An error about a variable, as the rest of a sentence.
pub(super) fn refused_variable(variable: &str, problem: String) -> SettingsError {
    SettingsError::Text { origin: Origin::Variable(variable.to_owned()), problem }
}

/// The value of a process's environment variable.
pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

impl Given<'_> {
    /// The table as its kind's own type, with the default for a missing table.
    pub(super) fn table<T: DeserializeOwned + Default>(&self, checker: &Checker) -> Result<T, SettingsError> {
        let Some(table) = self.table else { return Ok(T::default()) };
        let value = Value::Object(table.keys.clone());
        let problems = checker.problems(&value);
        if !problems.is_empty() {
            return Err(self.refused(format!("has errors: {}", problems.join("; "))));
        }
        serde_json::from_value(value).map_err(|error| self.refused(format!("has an error: {error}")))
    }

    /// The text of a variable. An empty one is unset.
    pub(super) fn text(&self, variable: &str) -> Result<Option<String>, SettingsError> {
        let Some(value) = self.variables.and_then(|lookup| lookup(variable)) else { return Ok(None) };
        let Some(text) = value.to_str() else {
            return Err(refused_variable(variable, written::not_utf8(value.as_bytes()).to_owned()));
        };
        match written::defect(text) {
            Some(defect) => Err(refused_variable(variable, defect.to_string())),
            None => Ok((!text.is_empty()).then(|| text.to_owned())),
        }
    }

    /// ` (or VARIABLE)`, for advice about a missing value. Empty if the exporter does not read variables.
    pub(super) fn or_variable(&self, variable: &str) -> String {
        if self.variables.is_some() { format!(" (or `{variable}`)") } else { String::new() }
    }

    /// A switch that a variable sets. The error is for a value that is none.
    pub(super) fn switch(&self, variable: &str) -> Result<Option<bool>, SettingsError> {
        self.either(variable, "true", "false")
    }

    /// True if a variable has the first value, in any case, and false for the second. The error is for other values.
    pub(super) fn either(
        &self,
        variable: &str,
        one: &str,
        other: &str,
    ) -> Result<Option<bool>, SettingsError> {
        match self.text(variable)? {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case(one) => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case(other) => Ok(Some(false)),
            Some(_) => Err(refused_variable(variable, format!("is neither `{one}` nor `{other}`"))),
        }
    }

    /// An error about the table, or about the exporter if there is none, as the rest of a sentence.
    pub(super) fn refused(&self, problem: impl Into<String>) -> SettingsError {
        let origin = match self.table {
            Some(table) => table.origin.clone(),
            None => Origin::Default(self.name.to_owned()),
        };
        SettingsError::Text { origin, problem: problem.into() }
    }

    /// An error about the URL of a receiver, for that data.
    pub(super) fn bad_url(&self, data: &str, url: &str, problem: &str) -> SettingsError {
        let shown = shown(url).map(|shown| format!(" `{shown}`")).unwrap_or_default();
        self.refused(format!("cannot post {data} to its endpoint{shown}: {problem}"))
    }

    /// The secret in a file that the key names.
    pub(super) fn secret(&self, key: &str, path: &Path) -> Result<Secret, SettingsError> {
        match <[Secret; 1]>::try_from(self.secret_lines(key, path)?) {
            Ok([secret]) => Ok(secret),
            Err(_) => {
                Err(self
                    .refused(format!("has `{key}`, a file with more than one line: `{}`", path.display())))
            }
        }
    }

    /// The lines of a file with secrets, which the key names; without empty lines.
    pub(super) fn secret_lines(&self, key: &str, path: &Path) -> Result<Vec<Secret>, SettingsError> {
        let refused = |problem: &str| {
            Err(self.refused(format!("has `{key}`, a file that {problem}: `{}`", path.display())))
        };
        let bytes = match read_bounded(path) {
            Ok(bytes) => zeroize::Zeroizing::new(bytes),
            Err(error) => return refused(&format!("cannot be read ({error})")),
        };
        if bytes.len() as u64 > MAX_SECRET {
            return refused("is too large");
        }
        let Ok(text) = str::from_utf8(&bytes) else { return refused("is not UTF-8") };
        let mut lines = Vec::new();
        for line in written::without_mark(text).lines().filter(|line| !line.is_empty()) {
            match written::defect(line) {
                Some(defect) => return refused(&format!("has a line that {defect}")),
                None => lines.push(Secret::new(line)),
            }
        }
        if lines.is_empty() { refused("is empty") } else { Ok(lines) }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_SECRET + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `key=value` pairs with commas, and percent-encoded values, as in `OTEL_RESOURCE_ATTRIBUTES`. None if it is not that.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |item: &str| {
        let (key, value) = item.split_once('=')?;
        let key = key.trim();
        (!key.is_empty()).then_some(())?;
        Some((key.to_owned(), percent_decoded(value.trim())?))
    };
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(pair).collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.extend(crate::hex::decode::<1>(&str::from_utf8(digits).ok()?.to_ascii_lowercase())?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_or_refused() {
        let check = |text: &str, expected: Option<&[(&str, &str)]>| {
            let found = pairs(text);
            let found: Option<Vec<(&str, &str)>> = found
                .as_ref()
                .map(|found| found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("a=b", Some(&[("a", "b")]));
        check(" a = b , c=d=e,", Some(&[("a", "b"), ("c", "d=e")]));
        check("authorization=Bearer%20x%2By", Some(&[("authorization", "Bearer x+y")]));
        check("a=%C3%A9", Some(&[("a", "é")]));
        check("", Some(&[]));
        check("a", None);
        check("=b", None);
        check("a=%2", None);
        check("a=%zz", None);
        check("a=%ff", None);
    }
}
