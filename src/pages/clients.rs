//! Clients: the tools and libraries that people connect to tollgate. Each is a data file, built in, with the wire formats that
//! it speaks and the steps to set it up; a new one needs no code.
//!
//! Parsing reports each error with place, reason and help. Nothing here knows a token: texts show a stand-in for it.
//! Read next: `config/connect`, the page that shows them.

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    admin::ReachableProvider,
    diag::{Code, Diagnostic},
    files,
    suggest::{backticked, nearest},
    syntax::{self, Checker, Document, Draft},
};

/// The name of the token in texts: nobody's token is shown.
pub(super) const TOKEN: &str = "TOKEN";
/// The name of the model in texts, if the user has used none.
const MODEL: &str = "MODEL";
/// The longest name of a model that is put into code.
const MAX_MODEL: usize = 100;

/// A client, as its file describes it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate client")]
pub struct ClientFile {
    /// The name on pages.
    #[schemars(example = &"Acme Code", length(min = 1, max = 60))]
    title: String,
    /// The kind of client. Pages show the kinds in the order of this list.
    #[schemars(example = &"tool")]
    kind: ClientKind,
    /// Its documentation.
    #[schemars(example = &"https://code.acme.example/docs", regex(pattern = "^https?://"))]
    docs: Option<String>,
    /// A limit that people should know before they begin.
    #[schemars(example = &"Acme Code calls from its maker's servers: they have to reach this address.")]
    note: Option<String>,
    /// The wire formats that it speaks. For a provider, the first counts that one of its endpoints has.
    #[schemars(length(min = 1, max = 16), example = [serde_json::json!({ "api": "messages", "path": "/v1/messages" })])]
    speaks: Vec<Speaks>,
}

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum ClientKind {
    /// A program in a shell, for a first try.
    Shell,
    /// A program that people work with.
    Tool,
    /// A library that programs use.
    Library,
}

/// A wire format that a client speaks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Speaks {
    /// The api of the endpoint: the stem of a file in `providers.d/apis`.
    #[schemars(example = &"messages")]
    api: String,
    /// The path that the client puts after its base URL. A capture stands for one of any name.
    #[schemars(example = &"/v1/messages", regex(pattern = "^/"))]
    path: String,
    /// The steps to set it up.
    #[schemars(length(min = 1, max = 16), example = [serde_json::json!({ "language": "sh", "code": "export ACME_URL={base_url}" })])]
    step: Vec<Step>,
}

/// A step to set a client up. Its texts may have `{base_url}`, `{token}`, `{provider}` and `{model}`; other braces are text.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Step {
    /// A sentence before the code.
    #[schemars(example = &"Install it, and run:")]
    text: Option<String>,
    /// The file that the code goes into.
    #[schemars(example = &"~/.acme/config.toml")]
    file: Option<String>,
    /// The language of the code.
    #[schemars(example = &"sh")]
    language: String,
    /// The code.
    #[schemars(example = &"export ACME_URL={base_url}")]
    code: String,
}

static CHECKER: LazyLock<Checker> = LazyLock::new(Checker::of::<ClientFile>);

impl Document for ClientFile {
    fn checker() -> &'static Checker {
        &CHECKER
    }
}

/// The schema of a client's file, as in `schema/`.
pub fn schema_text(draft: Draft) -> String {
    CHECKER.text(draft)
}

/// The built-in clients: by kind, then by title.
static CLIENTS: LazyLock<Vec<ClientFile>> = LazyLock::new(|| {
    let parsed = files::clients().map(|(file, text)| ClientFile::parse(&file.into(), text));
    let mut clients: Vec<_> = parsed.map(|one| one.expect("tests parse all built-in clients")).collect();
    clients.sort_by_cached_key(|client| (client.kind, client.title.to_lowercase()));
    clients
});

/// The text of a placeholder, by its name.
type Placeholder = (&'static str, fn(&Values) -> &str);

/// The placeholders of steps.
const PLACEHOLDERS: [Placeholder; 4] = [
    ("base_url", |values| &values.base_url),
    ("token", |_| TOKEN),
    ("provider", |values| &values.provider),
    ("model", |values| &values.model),
];

/// The values of placeholders.
struct Values {
    base_url: String,
    provider: String,
    model: String,
}

/// The steps of one client for one provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) kind: ClientKind,
    pub(super) title: &'static str,
    pub(super) docs: Option<&'static str>,
    pub(super) note: Option<&'static str>,
    /// The address that the client puts its paths after.
    pub(super) base_url: String,
    pub(super) steps: Vec<ShownStep>,
}

/// A step with its placeholders filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShownStep {
    pub(super) text: Option<String>,
    pub(super) file: Option<&'static str>,
    pub(super) language: &'static str,
    pub(super) code: String,
}

/// The steps of each client that speaks a wire format of the provider. `server` is tollgate's own address, `model` one that
/// the user has used.
pub(super) fn setups(provider: &ReachableProvider, server: &str, model: Option<&str>) -> Vec<Setup> {
    let model = model.filter(|model| is_plain(model)).unwrap_or(MODEL);
    CLIENTS.iter().filter_map(|client| client.setup(provider, server, model)).collect()
}

/// True for a name that is harmless in the code of every language. Upstreams choose the names of models.
fn is_plain(model: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte);
    (1..=MAX_MODEL).contains(&model.len()) && model.bytes().all(plain) && !model.starts_with('-')
}

impl ClientKind {
    /// True for a first try in a shell.
    pub(super) fn is_shell(self) -> bool {
        self == Self::Shell
    }

    /// The heading above the clients of this kind.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Shell => "Shell",
            Self::Tool => "Tools",
            Self::Library => "Libraries",
        }
    }
}

impl ClientFile {
    /// Parses a file. Returns all errors otherwise.
    pub fn parse(file: &Arc<str>, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let (parsed, found) = syntax::parse::<Self>(file, text);
        let Ok(parsed) = parsed else { return Err(found) };
        let texts = parsed.document.texts();
        let unknown = texts.flat_map(|(pointer, text)| {
            let at = parsed.spans.value(file, &pointer);
            unknown_placeholders(text).map(move |name| placeholder_fault(name, at.clone()))
        });
        let found: Vec<_> = found.into_iter().chain(unknown).collect();
        if found.is_empty() { Ok(parsed.document) } else { Err(found) }
    }

    /// All texts with placeholders, by JSON pointer.
    fn texts(&self) -> impl Iterator<Item = (String, &str)> {
        self.speaks.iter().enumerate().flat_map(|(format, speaks)| {
            speaks.step.iter().enumerate().flat_map(move |(number, step)| {
                let code = (format!("/speaks/{format}/step/{number}/code"), step.code.as_str());
                let text = step.text.as_deref();
                let text = text.map(|text| (format!("/speaks/{format}/step/{number}/text"), text));
                [code].into_iter().chain(text)
            })
        })
    }

    fn setup(&'static self, provider: &ReachableProvider, server: &str, model: &str) -> Option<Setup> {
        let (speaks, base) = self.speaks.iter().find_map(|one| Some((one, one.base_path(provider)?)))?;
        let base_url = format!("{server}{base}");
        let values =
            Values { base_url: base_url.clone(), provider: provider.name.clone(), model: model.to_owned() };
        let steps = speaks.step.iter().map(|step| ShownStep {
            text: step.text.as_ref().map(|text| fill(text, &values)),
            file: step.file.as_deref(),
            language: &step.language,
            code: fill(step.code.trim_end(), &values),
        });
        Some(Setup {
            kind: self.kind,
            title: &self.title,
            docs: self.docs.as_deref(),
            note: self.note.as_deref(),
            base_url,
            steps: steps.collect(),
        })
    }
}

impl Speaks {
    /// The path that the client's own paths follow, if an endpoint of the provider has this format at such a path.
    fn base_path(&self, provider: &ReachableProvider) -> Option<String> {
        let speaking = provider.endpoints.iter().filter(|one| one.api.as_deref() == Some(&*self.api));
        let paths = speaking.flat_map(|endpoint| {
            let path = format!("{}{}", provider.base_path, endpoint.path);
            [path].into_iter().chain(endpoint.aliases.iter().cloned())
        });
        let mut bases = paths.filter_map(|path| Some(before(&path, &self.path)?.to_owned()));
        // A base URL is fixed: a client cannot fill in a capture.
        bases.find(|base| !base.contains('{'))
    }
}

/// The part of a path before its end, if it has that end. Captures are equal whatever their names.
fn before<'p>(path: &'p str, end: &str) -> Option<&'p str> {
    let mut rest = path;
    for expected in end.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
        let (before, segment) = rest.rsplit_once('/')?;
        if shape(segment) != shape(expected) {
            return None;
        }
        rest = before;
    }
    Some(rest)
}

/// A segment with nameless captures.
fn shape(segment: &str) -> String {
    let mut parts = segment.split('{');
    let mut shape = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shape.push('{');
        shape.push_str(part.split_once('}').map_or(part, |(_, rest)| rest));
    }
    shape
}

/// The placeholders of a text: a name of lower-case letters and `_` in braces. Other braces belong to the code.
fn placeholders(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    text.match_indices('{').filter_map(|(start, _)| {
        let name = text[start + 1..].split_once('}')?.0;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_name.then_some((start..start + name.len() + 2, name))
    })
}

fn unknown_placeholders(text: &str) -> impl Iterator<Item = &str> {
    let known = |name: &str| PLACEHOLDERS.iter().any(|(one, _)| *one == name);
    placeholders(text).map(|(_, name)| name).filter(move |name| !known(name))
}

fn placeholder_fault(name: &str, at: crate::diag::Location) -> Diagnostic {
    let known = PLACEHOLDERS.map(|(name, _)| name);
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None => format!("placeholders are {}; a space after the brace makes it text", backticked(known)),
    };
    Diagnostic::new(Code::Template, at, format!("`{{{name}}}` is no placeholder")).help(help)
}

/// A text with its placeholders filled in.
fn fill(text: &str, values: &Values) -> String {
    let (mut filled, mut end) = (String::with_capacity(text.len()), 0);
    for (range, name) in placeholders(text) {
        let Some((_, value)) = PLACEHOLDERS.iter().find(|(one, _)| *one == name) else { continue };
        filled.push_str(&text[end..range.start]);
        filled.push_str(value(values));
        end = range.end;
    }
    filled.push_str(&text[end..]);
    filled
}

#[cfg(test)]
mod tests;
