//! The settings file, `tollgate.toml`: all of it for `serve`, single keys for the other commands.
//!
//! A command that needs one key fails on errors of that key only. A text that is no TOML stops every command that needs
//! a key.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

use super::{
    DEFAULT_FILE, Given, SettingsError,
    arguments::{Origin, checked},
};
use crate::{
    diag::{Code, Diagnostic, Location, Sources},
    escape::Lines,
    suggest::nearest,
    syntax,
    written::not_utf8,
};

/// Checks a settings file, and returns the directories of providers and of limits that it names.
pub fn source_in(path: &Path) -> Result<(Option<PathBuf>, Option<PathBuf>), SettingsError> {
    let origin = Origin::File { key: String::new(), file: path.display().to_string() };
    let file = SettingsFile::read(Some((path, &origin)))?;
    file.all()?;
    Ok((file.path("providers")?, file.path("limits")?))
}

/// The settings file.
#[derive(Debug)]
pub(super) struct SettingsFile {
    /// The file, for messages.
    shown: String,
    /// Its values, if it is TOML.
    values: Value,
    /// Its settings, or the rendered errors.
    parsed: Result<Given, Lines>,
}

impl SettingsFile {
    /// Reads the named file, or the default one if that exists.
    pub fn read(named: Option<(&Path, &Origin)>) -> Result<Self, SettingsError> {
        let path = named.map_or(Path::new(DEFAULT_FILE), |(path, _)| path);
        let failed = |error| SettingsError::Read {
            path: path.into(),
            by: named.map(|(_, origin)| format!(", named by {origin}")).unwrap_or_default(),
            error,
        };
        match fs::read(path) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(|error| {
                    failed(io::Error::new(io::ErrorKind::InvalidData, not_utf8(error.as_bytes())))
                })?;
                Ok(Self::parse(path, &text))
            }
            // A link to nothing is there.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && named.is_none()
                    && fs::symlink_metadata(path).is_err() =>
            {
                let shown = path.display().to_string();
                Ok(Self { shown, values: Value::Null, parsed: Ok(Given::default()) })
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn parse(path: &Path, text: &str) -> Self {
        let file: Arc<str> = path.to_string_lossy().into();
        let shown = file.to_string();
        let values = syntax::values(&file, text).unwrap_or_default();
        let (parsed, mut found) = syntax::parse::<Given>(&file, text);
        if let Ok(parsed) = parsed {
            return Self { shown, values, parsed: Ok(parsed.document) };
        }
        if found.is_empty() {
            found.push(Diagnostic::new(Code::BadValue, Location::file(&file), "cannot be used"));
        }
        for one in found.iter_mut().filter(|one| one.code == Code::UnknownKey) {
            if let Some(name) = table_of_settings(&values, &one.message) {
                one.help = Some(format!("settings stand at the top of the file: remove the line `[{name}]`"));
            }
        }
        let mut sources = Sources::default();
        sources.insert(file, text.into());
        Self { shown, values, parsed: Err(sources.render(&found, false)) }
    }

    /// The origin of a key.
    pub fn origin(&self, key: &str) -> Origin {
        Origin::File { key: key.to_owned(), file: self.shown.clone() }
    }

    /// True if the file has this key.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some()
    }

    /// All settings.
    pub fn all(&self) -> Result<&Given, SettingsError> {
        self.parsed.as_ref().map_err(|errors| SettingsError::File(errors.clone()))
    }

    /// The value of a key, if no error of the file concerns it.
    fn about(&self, key: &str) -> Result<Option<&Value>, SettingsError> {
        let value = self.values.get(key);
        let Err(errors) = &self.parsed else { return Ok(value) };
        let known = super::schema()["properties"].as_object();
        let known: Vec<&str> = known.into_iter().flat_map(|keys| keys.keys().map(String::as_str)).collect();
        let misspelt = |given: &String| {
            !known.contains(&given.as_str()) && nearest(given, known.iter().copied()) == Some(key)
        };
        let concerned = match (&self.values, value) {
            // The file is no TOML.
            (Value::Object(_), Some(value)) => !(value.is_string() || value.is_object()),
            (Value::Object(keys), None) => keys.keys().any(misspelt),
            _ => true,
        };
        if concerned { Err(SettingsError::File(errors.clone())) } else { Ok(value) }
    }

    /// A path, if no error of the file concerns it.
    pub fn path(&self, key: &str) -> Result<Option<PathBuf>, SettingsError> {
        let Some(text) = self.about(key)?.and_then(Value::as_str) else { return Ok(None) };
        checked(OsStr::new(text), &self.origin(key)).map(|text| Some(text.into()))
    }

    /// A text, if no error of the file concerns it.
    pub fn text(&self, key: &str) -> Result<Option<String>, SettingsError> {
        Ok(self.about(key)?.and_then(Value::as_str).map(str::to_owned))
    }

    /// A list of texts, or the one text that a setting takes in place of a list, if no error of the file concerns it.
    pub fn list(&self, key: &str) -> Result<Option<Vec<String>>, SettingsError> {
        let items = match self.about(key)? {
            Some(Value::Array(items)) => items,
            Some(Value::String(text)) => return Ok(Some(vec![text.clone()])),
            _ => return Ok(None),
        };
        Ok(Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect()))
    }

    /// The levels of lints, if no error of the file concerns them.
    pub fn lints(&self) -> Result<crate::lint::Levels, SettingsError> {
        if let Ok(given) = &self.parsed {
            return Ok(given.lints.clone().unwrap_or_default());
        }
        let Some(levels) = self.about("lints")? else { return Ok(crate::lint::Levels::default()) };
        serde_json::from_value(levels.clone())
            .or_else(|_| self.all().map(|given| given.lints.clone().unwrap_or_default()))
    }
}

/// The table that an unknown key begins, if it holds settings.
fn table_of_settings<'v>(values: &'v Value, message: &str) -> Option<&'v String> {
    let known = super::schema()["properties"].as_object()?;
    let (name, table) =
        values.as_object()?.iter().find(|(name, _)| message.contains(&format!("`{name}`")))?;
    table.as_object()?.keys().any(|key| known.contains_key(key)).then_some(name)
}
