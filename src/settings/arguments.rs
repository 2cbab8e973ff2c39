//! Values of settings as they are given: flags of the command line and `TOLLGATE_*` variables, each with its origin.
//!
//! `clap` collects the texts and interprets none, so that a variable that one command cannot use stops no other command.
//! A text with a defect is refused here, for every setting. Read next: `settings`.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    marker::PhantomData,
    os::unix::ffi::OsStrExt,
};

use clap::{Arg, ArgMatches, Command, parser::ValueSource};
use serde_json::{Map, Value};

use super::SettingsError;
use crate::{
    suggest::backticked,
    written::{defect, not_utf8},
};

/// Values of the settings of `T`, whose derived arguments describe the flags and variables.
#[derive(Debug, Clone)]
pub struct Arguments<T> {
    given: BTreeMap<String, GivenValue>,
    of: PhantomData<fn() -> T>,
}

/// A setting's texts: several for a list.
#[derive(Debug, Clone)]
struct GivenValue {
    origin: Origin,
    texts: Vec<OsString>,
}

/// The place that a setting's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A key of the settings file.
    File {
        /// The key.
        key: String,
        /// The file.
        file: String,
    },
    /// The default.
    Default(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) | Self::Default(name) => write!(f, "`{name}`"),
            Self::File { key, file } => write!(f, "`{key}` in `{file}`"),
        }
    }
}

impl Origin {
    /// The name of another setting where this one was given: its flag, its variable, or its key.
    pub fn name_of(&self, other: &str) -> String {
        match self {
            Self::Flag(_) => format!("--{}", other.replace('_', "-")),
            Self::Variable(_) => format!("TOLLGATE_{}", other.to_ascii_uppercase()),
            Self::File { .. } | Self::Default(_) => other.to_owned(),
        }
    }
}

impl<T> Default for Arguments<T> {
    fn default() -> Self {
        Self { given: BTreeMap::new(), of: PhantomData }
    }
}

impl<T: clap::Args> Arguments<T> {
    /// The arguments of `T`, each taking any text.
    fn described() -> impl Iterator<Item = Arg> {
        let own = T::augment_args(Command::new("settings"));
        let own: Vec<Arg> = own.get_arguments().cloned().collect();
        own.into_iter().map(|arg| arg.value_parser(clap::builder::OsStringValueParser::new()))
    }

    /// The environment variables of `T`.
    pub fn variables() -> Vec<String> {
        let name = |arg: Arg| arg.get_env().map(|name| name.to_string_lossy().into_owned());
        Self::described().filter_map(name).collect()
    }
}

impl<T> Arguments<T> {
    /// True if a flag gives a value.
    pub fn flags(&self) -> impl Iterator<Item = &str> {
        self.given.values().filter_map(|given| match &given.origin {
            Origin::Flag(name) => Some(name.as_str()),
            Origin::Variable(_) | Origin::File { .. } | Origin::Default(_) => None,
        })
    }

    /// Takes the flags of `others` that these do not have.
    pub fn add_flags(&mut self, others: Self) {
        for (id, other) in others.given {
            let has_flag = self.given.get(&id).is_some_and(|given| matches!(given.origin, Origin::Flag(_)));
            if matches!(other.origin, Origin::Flag(_)) && !has_flag {
                self.given.insert(id, other);
            }
        }
    }

    /// The origin of a setting's value, if it is given.
    pub fn origin(&self, id: &str) -> Option<&Origin> {
        self.given.get(id).map(|given| &given.origin)
    }

    /// The value of a setting with one text.
    pub fn text(&self, id: &str) -> Result<Option<(String, &Origin)>, SettingsError> {
        let Some(given) = self.given.get(id) else { return Ok(None) };
        let text = given.texts.first().map_or(OsStr::new(""), OsString::as_os_str);
        Ok(Some((checked(text, &given.origin)?.to_owned(), &given.origin)))
    }

    /// The items of a setting that is a list.
    pub fn list(&self, id: &str) -> Result<Option<(Vec<String>, &Origin)>, SettingsError> {
        let Some(given) = self.given.get(id) else { return Ok(None) };
        let items = given.texts.iter().map(|text| checked_item(text, &given.origin).map(str::to_owned));
        Ok(Some((items.collect::<Result<_, _>>()?, &given.origin)))
    }

    /// All values, as the JSON of a document with this schema.
    pub fn document(&self, schema: &Value) -> Result<Value, SettingsError> {
        let mut document = Map::new();
        for (id, GivenValue { origin, texts }) in &self.given {
            let schema = &schema["properties"][id];
            let value = if is_of_type(schema, "array") {
                let items = texts.iter().map(|text| checked_item(text, origin));
                Value::from(items.collect::<Result<Vec<_>, _>>()?)
            } else {
                let text = texts.first().map_or(OsStr::new(""), OsString::as_os_str);
                // Where the empty text has a meaning, the schema says so.
                let may_be_empty = schema["minLength"] == 0;
                if text.is_empty() && may_be_empty {
                    Value::from("")
                } else {
                    parsed(checked(text, origin)?, schema, origin)?
                }
            };
            document.insert(id.clone(), value);
        }
        Ok(document.into())
    }
}

/// Adds settings to tests, as flags.
#[cfg(test)]
impl<T> Arguments<T> {
    /// These, with a further flag.
    #[must_use]
    pub fn with(mut self, id: &str, text: &str) -> Self {
        let origin = Origin::Flag(format!("--{}", id.replace('_', "-")));
        self.given.insert(id.to_owned(), GivenValue { origin, texts: vec![text.into()] });
        self
    }
}

impl<T: clap::Args> clap::Args for Arguments<T> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::described())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: clap::Args> clap::FromArgMatches for Arguments<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = BTreeMap::new();
        for arg in Self::described() {
            let id = arg.get_id().as_str();
            let origin = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => {
                    Origin::Flag(format!("--{}", arg.get_long().unwrap_or_default()))
                }
                Some(ValueSource::EnvVariable) => Origin::Variable(
                    arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                ),
                _ => continue,
            };
            let texts = matches.get_raw(id).into_iter().flatten().map(OsStr::to_owned).collect();
            given.insert(id.to_owned(), GivenValue { origin, texts });
        }
        Ok(Self { given, of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A text without a defect.
pub(super) fn checked<'a>(text: &'a OsStr, origin: &Origin) -> Result<&'a str, SettingsError> {
    let refused = |problem: String| SettingsError::Text { origin: origin.clone(), problem };
    let text = text.to_str().ok_or_else(|| refused(not_utf8(text.as_bytes()).to_owned()))?;
    if text.is_empty() {
        let problem = match origin {
            Origin::Variable(_) => "is set, but empty: give it a value, or unset it",
            Origin::Flag(_) | Origin::File { .. } | Origin::Default(_) => {
                "is empty: give it a value, or leave it out"
            }
        };
        return Err(refused(problem.to_owned()));
    }
    defect(text).map_or(Ok(text), |defect| Err(refused(defect.to_string())))
}

/// An item of a list. Spaces beside the commas belong to the list.
fn checked_item<'a>(text: &'a OsStr, origin: &Origin) -> Result<&'a str, SettingsError> {
    let bytes = text.as_bytes().trim_ascii_start();
    let bytes = bytes.strip_suffix(b" ").unwrap_or(bytes);
    let is_blank = bytes.is_empty() && !text.is_empty();
    checked(if is_blank { text } else { OsStr::from_bytes(bytes) }, origin)
}

/// A text as a value of the type that the schema names.
fn parsed(text: &str, schema: &Value, origin: &Origin) -> Result<Value, SettingsError> {
    let refused = |problem: String| {
        Err(SettingsError::Value { origin: origin.clone(), value: text.to_owned(), problem })
    };
    if is_of_type(schema, "boolean") {
        return text
            .parse::<bool>()
            .map_or_else(|_| refused("use `true` or `false`".to_owned()), |it| Ok(it.into()));
    }
    if is_of_type(schema, "integer") {
        return text
            .parse::<usize>()
            .map_or_else(|_| refused("use a whole number".to_owned()), |it| Ok(it.into()));
    }
    if is_of_type(schema, "number") {
        let number = text.parse().ok().and_then(serde_json::Number::from_f64);
        return number.map_or_else(|| refused("use a number".to_owned()), |it| Ok(it.into()));
    }
    let options: Vec<&str> =
        schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !options.is_empty() && !options.contains(&text) {
        return refused(format!("use one of {}", backticked(&options)));
    }
    Ok(text.into())
}

fn is_of_type(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(all) => all.iter().any(|one| one == name),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
