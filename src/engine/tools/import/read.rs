//! The formats of the projects: each of their files becomes claims about providers. A claim keeps the place of each value.
//!
//! What cannot be used becomes a finding, and the other values and providers go on. A value that may be a secret is not read.
//! Read next: `merge`, which compares the claims.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Finding, Project, SourceText,
    tree::{self, Spot},
};
use crate::base::{escape, name::FileName, origin::Origin, origin::Scheme};

/// The longest title and the longest name of a mark, in bytes.
const MAX_TEXT: usize = 200;
/// Ends of names that are resolved on one machine or in one network.
const LOCAL: [&str; 6] = ["localhost", "local", "internal", "lan", "intranet", "arpa"];

/// A place in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    pub(super) file: Arc<str>,
    pub(super) line: usize,
}

impl At {
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Fact<T> {
    pub(super) value: T,
    pub(super) at: At,
}

/// What one file says about one provider.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) name: FileName,
    pub(super) project: Project,
    /// The file, relative to the project's directory.
    pub(super) path: Arc<str>,
    pub(super) at: At,
    pub(super) title: Option<Fact<String>>,
    pub(super) url: Option<Fact<String>>,
    /// The reason why its base URL cannot be used.
    pub(super) refused: Option<String>,
    pub(super) docs: Option<Fact<String>>,
    pub(super) marks: Option<Fact<Vec<String>>>,
    pub(super) env: Option<Fact<Vec<String>>>,
    /// The header that carries the key.
    pub(super) header: Option<Fact<String>>,
    /// The ids of its models.
    pub(super) models: BTreeSet<String>,
    /// The files with the ids of models.
    pub(super) model_files: BTreeSet<String>,
}

impl Claim {
    /// Its file, as in `sources`.
    pub(super) fn source(&self) -> String {
        source_line(self.project, &self.path)
    }

    fn add_models(&mut self, models: impl IntoIterator<Item = String>) {
        self.models.extend(models);
        if !self.models.is_empty() {
            self.model_files.insert(self.source());
        }
    }
}

/// The line of a file of a project, as in `sources`.
pub(super) fn source_line(project: Project, path: &str) -> String {
    format!("{} {path}", project.name())
}

/// A model of a provider, from a list of models that says nothing else.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) project: Project,
    pub(super) provider: FileName,
    pub(super) id: String,
    /// The file or directory with the list.
    pub(super) path: String,
}

/// All claims, and the findings about values that cannot be used.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) all: Vec<Claim>,
    pub(super) findings: Vec<Finding>,
    /// Models from lists of models.
    pub(super) models: Vec<Model>,
}

/// Reads the files of all projects.
pub(super) fn read(texts: &[SourceText]) -> Claims {
    let mut claims = Claims::default();
    for text in texts {
        claims.read(text);
    }
    claims
}

/// The name of the provider with an id: lower case, `-` for `_`. None if it has other characters.
fn name(id: &str) -> Option<FileName> {
    FileName::new(&id.to_ascii_lowercase().replace('_', "-"))
}

impl Claims {
    fn read(&mut self, source: &SourceText) {
        let steps: Vec<&str> = source.path.split('/').collect();
        let Some(text) = &source.text else {
            // A file whose name is the id of a model.
            if let ["providers", id, "models", model @ ..] = steps.as_slice() {
                let model = model.join("/");
                let model = model.strip_suffix(".toml").unwrap_or(&model).to_owned();
                let path = format!("providers/{id}/models");
                let of = |provider| Model { project: source.project, provider, id: model, path };
                self.models.extend(name(id).map(of));
            }
            return;
        };
        let is_toml = source.path.ends_with(".toml");
        let root = match if is_toml { tree::toml(text) } else { tree::json(text) } {
            Ok(root) => root,
            Err(tree::Unreadable { line, problem }) => {
                let at = At { file: source.shown.clone(), line };
                let format = if is_toml { "TOML" } else { "JSON" };
                return self.find(source.project, &at, format!("it is not {format}: {problem}"));
            }
        };
        let before = (self.all.len(), self.findings.len());
        match (source.project, steps.as_slice()) {
            (Project::ModelsDev, ["providers", id, _]) => self.models_dev(source, id, &root),
            (Project::ModelsDev, _) => {
                for (id, entry) in root.entries() {
                    self.models_dev(source, id, entry);
                }
            }
            (Project::Litellm, [_]) => return self.litellm_models(source, &root),
            (Project::Litellm, _) => {
                for (id, entry) in root.entries() {
                    self.litellm(source, id, entry);
                }
            }
            (Project::Catwalk, _) => self.catwalk(source, &root),
            (Project::Bitrouter, _) if is_toml => self.bitrouter(source, &root),
            (Project::Bitrouter, _) => {
                let entries = root.get("data").map(Spot::list).unwrap_or_default();
                for entry in entries {
                    self.bitrouter(source, entry);
                }
            }
        }
        if before == (self.all.len(), self.findings.len()) {
            let at = At { file: source.shown.clone(), line: 1 };
            self.find(
                source.project,
                &at,
                "it names no provider: it is not of the form that is read".to_owned(),
            );
        }
    }

    fn find(&mut self, project: Project, at: &At, message: String) {
        self.findings.push(Finding { project, place: at.shown(), message });
    }

    /// A claim about the provider with an id. None, with a finding, if the id is no name.
    fn claim(&mut self, source: &SourceText, id: Option<&str>, entry: &Spot) -> Option<Claim> {
        let at = At { file: source.shown.clone(), line: entry.line };
        let Some(name) = id.and_then(name) else {
            let shown =
                id.map_or_else(|| "no id".to_owned(), |id| format!("the id `{}`", escape::value(cut(id))));
            let message = format!("{shown} is not the name of a provider: use `[a-z0-9][a-z0-9-]*`");
            self.find(source.project, &at, message);
            return None;
        };
        Some(Claim {
            name,
            project: source.project,
            path: source.path.clone(),
            at,
            title: None,
            url: None,
            refused: None,
            docs: None,
            marks: None,
            env: None,
            header: None,
            models: BTreeSet::new(),
            model_files: BTreeSet::new(),
        })
    }

    fn models_dev(&mut self, source: &SourceText, id: &str, entry: &Spot) {
        let Some(mut claim) = self.claim(source, Some(id), entry) else { return };
        self.common(&mut claim, entry, ["name", "api", "doc", "npm"]);
        self.variables(&mut claim, entry.get("env"));
        let models = entry.get("models").map(Spot::entries).unwrap_or_default();
        claim.add_models(models.iter().map(|(id, _)| id.clone()));
        self.all.push(claim);
    }

    fn litellm(&mut self, source: &SourceText, id: &str, entry: &Spot) {
        let Some(mut claim) = self.claim(source, Some(id), entry) else { return };
        self.common(&mut claim, entry, ["display_name", "base_url", "docs", "base_class"]);
        let at = claim.at.clone();
        // The list stands in the folder of one kind of API.
        let kind = source.path.split('/').rev().nth(1).unwrap_or_default().to_owned();
        claim.marks.get_or_insert(Fact { value: vec![kind], at });
        self.variables(&mut claim, entry.get("api_key_env"));
        let headers = entry.get("headers").map(Spot::entries).unwrap_or_default();
        let header =
            headers.iter().find(|(_, value)| value.text().is_some_and(|text| text.contains("{api_key}")));
        self.header(&mut claim, header.map(|(name, spot)| (name.as_str(), spot)));
        self.all.push(claim);
    }

    fn litellm_models(&mut self, source: &SourceText, root: &Spot) {
        for (model, entry) in root.entries() {
            let provider = entry.get("litellm_provider").and_then(Spot::text).and_then(name);
            let (project, path) = (source.project, source.path.to_string());
            self.models.extend(provider.map(|provider| Model { project, provider, id: model.clone(), path }));
        }
    }

    fn catwalk(&mut self, source: &SourceText, root: &Spot) {
        let id = root.get("id").and_then(Spot::text);
        let Some(mut claim) = self.claim(source, id, root) else { return };
        let endpoint = root.get("api_endpoint").and_then(Spot::text).unwrap_or_default();
        let keys = ["name", "api_endpoint", "docs", "type"];
        // A variable, with which a user can set another URL, says nothing about the URL.
        let is_variable = endpoint.starts_with('$') && !endpoint.contains("://") || endpoint.is_empty();
        self.common(&mut claim, root, if is_variable { [keys[0], "", keys[2], keys[3]] } else { keys });
        if let Some(key) = root.get("api_key") {
            let at = At { file: source.shown.clone(), line: key.line };
            match key.text().and_then(|text| text.strip_prefix('$')) {
                Some(variable) => self.variable_names(&mut claim, &[variable], &at),
                None if key.text().is_none_or(str::is_empty) => {}
                None => {
                    let message =
                        "`api_key` is not the name of a variable, `$NAME`: it is not read".to_owned();
                    self.find(source.project, &at, message);
                }
            }
        }
        let models = root.get("models").map(Spot::list).unwrap_or_default();
        claim.add_models(models.iter().filter_map(|model| Some(model.get("id")?.text()?.to_owned())));
        self.all.push(claim);
    }

    fn bitrouter(&mut self, source: &SourceText, entry: &Spot) {
        let id = entry.get("id").or_else(|| entry.get("name")).and_then(Spot::text);
        let Some(mut claim) = self.claim(source, id, entry) else { return };
        self.common(&mut claim, entry, ["display_name", "api_base", "doc_url", ""]);
        let models = entry.get("models").map(Spot::list).unwrap_or_default();
        let own = |model: &Spot| {
            Some(model.get("provider_model_id").or_else(|| model.get("id"))?.text()?.to_owned())
        };
        claim.add_models(models.iter().filter_map(own));
        let marks = entry.get("api_protocol").into_iter().flat_map(protocols);
        let of_models = models.iter().filter_map(|model| model.get("api_protocol")).flat_map(protocols);
        let mut all: Vec<(String, usize)> = Vec::new();
        for (mark, line) in marks.chain(of_models) {
            if !all.iter().any(|(known, _)| *known == mark) {
                all.push((mark, line));
            }
        }
        if let Some((_, line)) = all.first() {
            let at = At { file: source.shown.clone(), line: *line };
            claim.marks = Some(Fact { value: all.into_iter().map(|(mark, _)| mark).collect(), at });
        }
        self.variables(&mut claim, entry.at(&["auth", "env"]));
        let kind = entry.at(&["auth", "kind"]);
        match kind.and_then(Spot::text) {
            Some("bearer") => self.header(&mut claim, kind.map(|spot| ("authorization", spot))),
            Some("header") => {
                let header = entry.at(&["auth", "header"]);
                self.header(&mut claim, header.and_then(|spot| Some((spot.text()?, spot))));
            }
            Some(_) => claim.refused = Some("its users log in, and have no key".to_owned()),
            None => {}
        }
        if entry.get("status").and_then(Spot::text).is_some_and(|status| status != "active") {
            claim.refused = Some("it is listed as not active".to_owned());
        }
        if claim.refused.is_some() {
            claim.url = None;
        }
        self.all.push(claim);
    }

    /// The title, the base URL, the documentation and the mark, by their keys.
    fn common(&mut self, claim: &mut Claim, entry: &Spot, [title, url, docs, mark]: [&str; 4]) {
        let fact = |key: &str| {
            let spot = entry.get(key)?;
            let at = At { file: claim.at.file.clone(), line: spot.line };
            Some(Fact { value: spot.text()?.trim().to_owned(), at }).filter(|fact| !fact.value.is_empty())
        };
        let (title, url, docs, mark) = (fact(title), fact(url), fact(docs), fact(mark));
        let project = claim.project;
        let mut usable = |what: &str, fact: Option<Fact<String>>, is_usable: fn(&str) -> bool| {
            let fact = fact?;
            if is_usable(&fact.value) {
                return Some(fact);
            }
            self.find(project, &fact.at, format!("the {what} cannot be used, and is left out"));
            None
        };
        claim.title = usable("title", title, is_text);
        claim.docs = usable("address of the documentation", docs, is_page);
        claim.marks = usable("mark", mark, is_text).map(|Fact { value, at }| Fact { value: vec![value], at });
        match url.map(|fact| (base_url(&fact.value), fact.at)) {
            Some((Ok(value), at)) => claim.url = Some(Fact { value, at }),
            Some((Err(problem), at)) => {
                self.find(project, &at, format!("the base URL cannot be used: {problem}"));
                claim.refused = Some(problem);
            }
            None => {}
        }
    }

    fn variables(&mut self, claim: &mut Claim, spot: Option<&Spot>) {
        let Some(spot) = spot else { return };
        let at = At { file: claim.at.file.clone(), line: spot.line };
        self.variable_names(claim, &spot.texts(), &at);
    }

    fn variable_names(&mut self, claim: &mut Claim, names: &[&str], at: &At) {
        let is_name = |name: &&&str| {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !name.is_empty() && name.bytes().all(is_word) && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        let good: Vec<String> = names.iter().filter(is_name).map(|name| (*name).to_owned()).collect();
        if good.len() < names.len() {
            let message = "a name of an environment variable that no shell can set is left out".to_owned();
            self.find(claim.project, at, message);
        }
        if !good.is_empty() {
            claim.env = Some(Fact { value: good, at: at.clone() });
        }
    }

    fn header(&mut self, claim: &mut Claim, header: Option<(&str, &Spot)>) {
        let Some((name, spot)) = header else { return };
        let at = At { file: claim.at.file.clone(), line: spot.line };
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > MAX_TEXT || !name.bytes().all(is_token) {
            return self.find(
                claim.project,
                &at,
                "the header of the key cannot be used, and is left out".to_owned(),
            );
        }
        claim.header = Some(Fact { value: name.to_ascii_lowercase(), at });
    }
}

/// The protocols that a value names: a text, a list, or a table of patterns.
fn protocols(spot: &Spot) -> Vec<(String, usize)> {
    let own = spot.text().filter(|text| is_text(text)).map(|text| (text.to_owned(), spot.line));
    let below = spot.list().iter().chain(spot.entries().iter().map(|(_, value)| value));
    own.into_iter().chain(below.flat_map(protocols)).collect()
}

/// The start of a text that is quoted in a message.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT / 2)]
}

/// True for a text of one line without hidden characters.
fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.chars().any(escape::is_hidden)
}

/// True for the address of a web page.
fn is_page(text: &str) -> bool {
    is_text(text)
        && !text.contains(|c: char| c.is_whitespace() || "\"'<>`{}".contains(c))
        && Origin::split(text).is_ok_and(|(origin, _)| is_public(&origin))
}

/// A base URL without a `/` at its end. The error is a fragment, without the URL, which may have a key in it.
fn base_url(text: &str) -> Result<String, String> {
    if text.contains('@') {
        return Err("it has user information before the host".to_owned());
    }
    if text.contains(['$', '{', '}']) {
        return Err(
            "it has a variable: `tollgate new NAME --base-url URL` makes a field of a name in braces"
                .to_owned(),
        );
    }
    let (origin, path) = Origin::split(text)?;
    match origin.scheme {
        Scheme::Http => return Err("it does not start with `https://`".to_owned()),
        Scheme::Https if !is_public(&origin) => {
            return Err(format!("its host `{}` is an address or a local name", origin.host()));
        }
        Scheme::Https => {}
    }
    let path = path.trim_end_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    if !path.bytes().all(is_plain) || path.split('/').any(|step| step == "..") || path.contains("//") {
        return Err("its path has other characters than letters, digits, `-`, `.`, `_` and `~`".to_owned());
    }
    Ok(format!("https://{}{path}", origin.authority()))
}

/// True for a name that can be resolved anywhere.
fn is_public(origin: &Origin) -> bool {
    let host = origin.host().trim_end_matches('.');
    origin.ip().is_none()
        && host.contains('.')
        && !host.rsplit('.').next().is_some_and(|end| LOCAL.contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        let check = |url: &str, expected: &str| {
            assert_eq!(base_url(url).unwrap_or_else(|problem| format!("! {problem}")), expected, "{url}");
        };
        check("https://API.demo.example:443/v1/", "https://api.demo.example/v1");
        check("https://api.demo.example", "https://api.demo.example");
        check("https://u:p@api.demo.example", "! it has user information before the host");
        check("http://api.demo.example", "! it does not start with `https://`");
        check("ftp://api.demo.example", "! it does not start with `https://` or `http://`");
        for host in ["10.0.0.1", "[::1]", "localhost", "a.internal", "8.8.8.8", "host"] {
            let shown = host.trim_matches(['[', ']']);
            check(
                &format!("https://{host}/v1"),
                &format!("! its host `{shown}` is an address or a local name"),
            );
        }
        let odd = "! its path has other characters than letters, digits, `-`, `.`, `_` and `~`";
        for path in ["/v1?key=x", "/v1#x", "/../x", "/a//b", "/a b", "/%2e"] {
            check(&format!("https://api.demo.example{path}"), odd);
        }
        let variable =
            "! it has a variable: `tollgate new NAME --base-url URL` makes a field of a name in braces";
        check("https://api.demo.example/${ACCOUNT}/v1", variable);
    }
}
