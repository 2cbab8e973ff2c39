//! The places that commands need: provider files, data directory, secrets, master key. Each is resolved when a command
//! asks for it, so that a command fails only on the settings that it needs.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use super::{
    Catalogue, DEFAULT_DATA, DEFAULT_LISTEN, DEFAULT_PROVIDERS, PlaceFlags, SettingsError, Source,
    arguments::{Arguments, Origin},
    settings_file::SettingsFile,
    user_origins::{self, UserOrigins},
};
use crate::{lint::Levels, name::FileName, variables::EnvAllow};

/// The places, from flags, variables, the settings file and defaults.
#[derive(Debug, Default)]
pub struct Places {
    given: Arguments<PlaceFlags>,
    file: OnceCell<SettingsFile>,
    /// The address of the server, from a flag or a variable.
    listen: Option<String>,
}

/// The directory of vars with `file = "..."`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsDir {
    /// The directory.
    pub path: PathBuf,
    /// True if it has to exist: it was named, or it existed at the start. Without it, every var is unusable then.
    pub required: bool,
}

impl SecretsDir {
    /// A directory that has to exist if it exists now.
    pub fn optional(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        // A link to nothing is there, too.
        Self { required: path.symlink_metadata().is_ok(), path }
    }
}

impl Places {
    /// The places that these arguments name.
    pub fn new(given: Arguments<PlaceFlags>) -> Self {
        Self { given, file: OnceCell::new(), listen: None }
    }

    /// The same places, with the address of the server that a flag or a variable gives.
    #[must_use]
    pub fn listening_at(self, listen: Option<String>) -> Self {
        Self { listen, ..self }
    }

    /// The address that a server would listen on with these settings, for messages.
    pub fn listen(&self) -> Result<String, SettingsError> {
        if let Some(listen) = &self.listen {
            return Ok(listen.clone());
        }
        let path = self.file()?.text("listen")?;
        Ok(path.unwrap_or_else(|| DEFAULT_LISTEN.to_owned()))
    }

    /// True if a server with these settings speaks TLS, as far as the settings file says. For messages.
    pub fn has_tls(&self) -> bool {
        self.file().is_ok_and(|file| file.has("tls_cert"))
    }

    /// The settings file.
    pub(super) fn file(&self) -> Result<&SettingsFile, SettingsError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let named = self.given.text("config")?;
        let file = SettingsFile::read(named.as_ref().map(|(path, origin)| (Path::new(path), *origin)))?;
        Ok(self.file.get_or_init(|| file))
    }

    /// A path that is given, and its origin.
    fn path(&self, id: &'static str) -> Result<Option<(PathBuf, Origin)>, SettingsError> {
        if let Some((text, origin)) = self.given.text(id)? {
            return Ok(Some((text.into(), origin.clone())));
        }
        let file = self.file()?;
        Ok(file.path(id)?.map(|path| (path, file.origin(id))))
    }

    /// The source of the provider files.
    pub fn providers(&self) -> Result<Source, SettingsError> {
        let here = Path::new(DEFAULT_PROVIDERS);
        let catalogue = self.catalogue()?;
        let limits = self.limits()?;
        Ok(match self.path("providers")? {
            Some((path, _)) => Source::Directory { path, catalogue, limits },
            None if here.symlink_metadata().is_ok() => {
                Source::Directory { path: here.into(), catalogue, limits }
            }
            None => Source::Embedded { catalogue: catalogue.unwrap_or_default(), limits },
        })
    }

    /// The directory of limits, if it is named. It has to exist: without it, nothing would be limited.
    fn limits(&self) -> Result<Option<PathBuf>, SettingsError> {
        let Some((path, origin)) = self.path("limits")? else { return Ok(None) };
        if !path.is_dir() {
            let problem = if path.exists() { "it is no directory" } else { "there is no such directory" };
            let (value, problem) = (path.display().to_string(), problem.to_owned());
            return Err(SettingsError::Value { origin, value, problem });
        }
        Ok(Some(path))
    }

    /// The built-in providers that serve, if that is set.
    pub fn catalogue(&self) -> Result<Option<Catalogue>, SettingsError> {
        let (names, origin) = match self.given.list("catalogue")? {
            Some((names, origin)) => (names, origin.clone()),
            None => match self.file()?.list("catalogue")? {
                Some(names) => (names, self.file()?.origin("catalogue")),
                None => return Ok(None),
            },
        };
        let names: Vec<String> =
            names.iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_owned()).collect();
        if let Some(bad) = names.iter().find(|name| FileName::new(name).is_none()) {
            let problem = "it cannot be the name of a provider: name one or several, or `all`".to_owned();
            return Err(SettingsError::Value { origin, value: bad.clone(), problem });
        }
        let is_all = names.iter().any(|name| name == "all");
        Ok(Some(if is_all { Catalogue::All } else { Catalogue::Named(names.into_iter().collect()) }))
    }

    /// The data directory.
    pub fn data(&self) -> Result<PathBuf, SettingsError> {
        Ok(self.path("data")?.map_or_else(|| DEFAULT_DATA.into(), |(path, _)| path))
    }

    /// True if the data directory is named, and is not the default one.
    pub fn names_data(&self) -> bool {
        !matches!(self.path("data"), Ok(None))
    }

    /// The directory of vars with `file = "..."`. One that is named has to exist: without it, every such var would be
    /// unset, and requests would bypass the gateways and egresses that depend on one.
    pub fn secrets(&self) -> Result<SecretsDir, SettingsError> {
        let Some((path, origin)) = self.path("secrets")? else { return Ok(SecretsDir::optional("secrets")) };
        if !path.is_dir() {
            let problem = if path.exists() { "it is no directory" } else { "there is no such directory" };
            let (value, problem) = (path.display().to_string(), problem.to_owned());
            return Err(SettingsError::Value { origin, value, problem });
        }
        Ok(SecretsDir { path, required: true })
    }

    /// The file with the master key, if one is named.
    pub fn master_key_file(&self) -> Result<Option<PathBuf>, SettingsError> {
        Ok(self.path("master_key_file")?.map(|(path, _)| path))
    }

    /// The environment variables that provider files may read.
    pub fn env_allow(&self) -> Result<EnvAllow, SettingsError> {
        let (globs, origin) = match self.given.list("env_allow")? {
            Some((globs, origin)) => (globs, origin.clone()),
            None => match self.file()?.list("env_allow")? {
                Some(globs) => (globs, self.file()?.origin("env_allow")),
                None => return Ok(EnvAllow::default()),
            },
        };
        EnvAllow::new(&globs).map_err(|(value, problem)| SettingsError::Value { origin, value, problem })
    }

    /// The origins that users may enter, as the settings file has them: for commands without a server.
    pub fn user_origins(&self) -> Result<UserOrigins, SettingsError> {
        let Some(patterns) = self.file()?.list("user_origins")? else { return Ok(UserOrigins::default()) };
        let origin = self.file()?.origin("user_origins");
        UserOrigins::parse(patterns.iter().map(String::as_str)).map_err(|(value, what)| {
            let problem = format!("{what}; {}", user_origins::FORMS);
            SettingsError::Value { origin, value: value.to_owned(), problem }
        })
    }

    /// Levels of lints.
    pub fn lints(&self) -> Result<Levels, SettingsError> {
        self.file()?.lints()
    }
}
