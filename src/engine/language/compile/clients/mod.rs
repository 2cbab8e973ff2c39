//! Clients: the compiled files of tools and libraries that people connect to tollgate. Each has the wire formats that it
//! speaks, and steps whose texts have placeholders for an address, a token, a provider and a model.
//!
//! It knows no address and no token: `client_setup` fills the placeholders in. Read next: `snippet`, the placeholders.

mod snippet;

use std::sync::Arc;

use super::{Compilation, Located, Template};
use crate::{
    base::{
        budget::Budget,
        diag::{Code, Diagnostic, MAX_FINDINGS},
        name::FileName,
    },
    language::syntax::{self, ClientKind, Parsed},
};

pub use snippet::SetupValue;

/// A client.
#[derive(Debug)]
pub struct ClientFile {
    /// Its name.
    pub name: FileName,
    /// Its file.
    pub file: Arc<str>,
    /// The name on pages.
    pub title: String,
    /// Its kind.
    pub kind: ClientKind,
    /// Its documentation: a URL.
    pub docs: Option<String>,
    /// A limit that people should know.
    pub note: Option<String>,
    /// The provider that it is set up for if none is named. There may be no such provider.
    pub provider: Option<String>,
    /// The wire formats that it speaks, the preferred one first.
    pub speaks: Vec<Speaks>,
}

/// A wire format that a client speaks.
#[derive(Debug)]
pub struct Speaks {
    /// The name of the api, with its place in the file. There may be no such api.
    pub api: Located<String>,
    /// The path that the client puts after its base URL.
    pub path: String,
    /// The steps to set it up.
    pub steps: Vec<Step>,
    /// The steps with a paste token. None if the client takes any token.
    pub paste_steps: Vec<Step>,
}

/// A step to set a client up.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// A sentence before the code.
    pub text: Option<Template<SetupValue>>,
    /// True if it does what the step before it does.
    pub is_alternative: bool,
    /// The file that the code goes into.
    pub file: Option<String>,
    /// The language of the code.
    pub language: String,
    /// The code.
    pub code: Template<SetupValue>,
}

/// The clients that pages show.
#[derive(Debug, Default)]
pub struct Clients(Vec<Arc<ClientFile>>);

impl Clients {
    /// The clients of these files.
    pub fn new(mut files: Vec<Arc<ClientFile>>) -> Self {
        files.sort_by_cached_key(|client| (client.kind, client.title.to_lowercase(), client.name.clone()));
        Self(files)
    }

    /// The clients by kind, then by title.
    pub fn files(&self) -> &[Arc<ClientFile>] {
        &self.0
    }

    /// The paths that clients put their own paths after, for endpoints that are given by the names of their apis and their
    /// paths: each once, those of most clients first. The provider's prefix if no client has one.
    pub fn base_paths(&self, endpoints: &[(&str, &str)], prefix: &str) -> Vec<String> {
        let mut counted: Vec<(usize, &str)> = Vec::new();
        for client in &self.0 {
            let base = client.speaks.iter().find_map(|speaks| {
                let mut speaking = endpoints.iter().filter(|(api, _)| *api == speaks.api.value);
                speaking.find_map(|(_, path)| speaks.base_path(path))
            });
            let Some(base) = base else { continue };
            match counted.iter_mut().find(|(_, known)| *known == base) {
                Some((clients, _)) => *clients += 1,
                None => counted.push((1, base)),
            }
        }
        if counted.is_empty() {
            return vec![prefix.to_owned()];
        }
        counted.sort_by_key(|(clients, _)| std::cmp::Reverse(*clients));
        counted.into_iter().map(|(_, base)| base.to_owned()).collect()
    }
}

impl Speaks {
    /// The part of an endpoint's path before the client's own path, if it ends with that. Captures are equal whatever their
    /// names, and one that is a whole segment takes a fixed segment of the client, such as a version. None is in a base URL,
    /// which is fixed.
    pub fn base_path<'p>(&self, path: &'p str) -> Option<&'p str> {
        before(path, &self.path).filter(|base| !base.contains('{'))
    }
}

/// The part of a path before its end, if it has that end. The last segment says what a client asks for: no capture takes it.
fn before<'p>(path: &'p str, end: &str) -> Option<&'p str> {
    let mut rest = path;
    for (at, expected) in end.split('/').skip(1).collect::<Vec<_>>().into_iter().rev().enumerate() {
        let (before, segment) = rest.rsplit_once('/')?;
        let shape = shape(segment);
        let takes_any = at > 0 && shape == WHOLE && !expected.contains('{');
        if !takes_any && shape != self::shape(expected) {
            return None;
        }
        rest = before;
    }
    Some(rest)
}

/// The shape of a segment that is one capture.
const WHOLE: &str = "{";

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

/// Compiles a file.
pub fn compile(name: &FileName, parsed: &Parsed<syntax::Client>, budget: &Budget) -> Compilation<ClientFile> {
    let mut reader = Reader { parsed, budget, found: Vec::new() };
    let document = &parsed.document;
    let speaks = (0..).zip(&document.speaks).map(|(index, one)| reader.speaks(one, index)).collect();
    let file = ClientFile {
        name: name.clone(),
        file: parsed.file.clone(),
        title: document.title.clone(),
        kind: document.kind,
        docs: document.docs.clone(),
        note: document.note.clone(),
        provider: document.provider.clone(),
        speaks,
    };
    let good = reader.found.is_empty() && !budget.is_exceeded();
    (good.then_some(file), reader.found)
}

struct Reader<'a> {
    parsed: &'a Parsed<syntax::Client>,
    budget: &'a Budget,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn speaks(&mut self, speaks: &syntax::Speaks, index: usize) -> Speaks {
        let pointer = format!("/speaks/{index}");
        let at = self.parsed.spans.value(&self.parsed.file, &format!("{pointer}/api"));
        let api = Located { value: speaks.api.clone(), at };
        let steps = self.steps(&speaks.step, &format!("{pointer}/step"));
        let paste_steps = self.steps(&speaks.paste_step, &format!("{pointer}/paste_step"));
        Speaks { api, path: speaks.path.clone(), steps, paste_steps }
    }

    fn steps(&mut self, steps: &[syntax::Step], pointer: &str) -> Vec<Step> {
        let steps = (0..).zip(steps).map(|(index, one): (usize, _)| {
            let pointer = format!("{pointer}/{index}");
            let text = one.text.as_deref().map(|text| self.snippet(text, &format!("{pointer}/text")));
            let code = self.snippet(one.code.trim_end(), &format!("{pointer}/code"));
            if let Some(file) = one.file.as_deref() {
                self.file(file, &format!("{pointer}/file"));
            }
            let (file, language) = (one.file.clone(), one.language.clone());
            Step { text, is_alternative: one.alternative == Some(true), file, language, code }
        });
        steps.collect()
    }

    /// Refuses a file that is not below the home directory or the current one: `tollgate setup --write` writes it.
    fn file(&mut self, file: &str, pointer: &str) {
        let below = file.strip_prefix("~/").unwrap_or(file);
        let is_name = |part: &str| !matches!(part, "" | "." | ".." | "~") && !part.contains(char::is_control);
        if below.split('/').all(is_name) || self.found.len() > MAX_FINDINGS {
            return;
        }
        let at = self.parsed.spans.value(&self.parsed.file, pointer);
        let problem = "`file` is not a path below the home directory or the current one";
        let help = "write it as in `~/.acme/config.toml` or `acme.json`: without `/` in front, and without `.` and `..`";
        self.found.push(Diagnostic::new(Code::BadValue, at, problem).help(help));
    }

    /// A text with placeholders.
    fn snippet(&mut self, text: &str, pointer: &str) -> Template<SetupValue> {
        if !self.budget.keep(text.len()) || !self.budget.work(text.len()) {
            return Template::text("");
        }
        let at = self.parsed.spans.value(&self.parsed.file, pointer);
        let (template, found) = snippet::parse(text, &self.parsed.document.source, &at);
        let room = (MAX_FINDINGS + 1).saturating_sub(self.found.len());
        self.found.extend(found.into_iter().take(room));
        template
    }
}

#[cfg(test)]
mod tests;
