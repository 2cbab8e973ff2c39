//! An overview of providers: what the catalogue has, for `tollgate providers` and `docs/catalogue.md`.
//!
//! All of it is in the files. Read next: `language::syntax::Catalogue`, the table of what is known about a provider.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::language::{
    compile::{Auth, Endpoint, Files, Part, Placeholder, Provider, ProviderTemplate},
    syntax::{self, FieldKind},
};

/// What the files say about a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its display name.
    pub title: String,
    /// Its group on pages.
    pub group: Option<String>,
    /// What it is like for the operator: `local`, a server of plain HTTP, or one that users name and that needs no key; `signed`
    /// requests; a `made-token`, from stored fields; a `login`, which is refreshed; else the name of its preset, or `own-api`.
    pub class: String,
    /// The origins of its requests; values of users stand in braces.
    pub origins: BTreeSet<String>,
    /// The wire formats of its endpoints.
    pub apis: BTreeSet<String>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointLine>,
    /// The ways to authenticate, in order: the headers and parameters that carry the secret.
    pub auth: Vec<String>,
    /// The section of its credentials: `SECTION.FIELD` is the place of a field.
    pub section: Option<String>,
    /// The fields of its credentials.
    pub fields: Vec<FieldLine>,
    /// The gateways that its requests can go through.
    pub gateways: Vec<String>,
    /// Families of models that it serves.
    pub models: Vec<String>,
    /// The page where users get a key.
    pub keys_url: Option<String>,
    /// The upstream's documentation.
    pub docs: Option<String>,
    /// Its sources.
    pub sources: Vec<String>,
    /// The day on which the sources were looked at.
    pub checked: Option<String>,
    /// Keys of its file that no source confirms.
    pub unconfirmed: Vec<String>,
    /// What its sources leave open.
    pub doubts: Vec<String>,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointLine {
    /// Its name.
    pub name: String,
    /// Its method.
    pub method: String,
    /// Its first client path.
    pub path: String,
    /// Its wire format.
    pub api: Option<String>,
    /// True if it switches to a WebSocket.
    pub websocket: bool,
}

/// A field of the credentials section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldLine {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// True if requests can do without it.
    pub optional: bool,
    /// The environment variables in which people keep it.
    pub env: Vec<String>,
}

/// The overviews of providers that these files make.
pub fn entries<'p>(files: &Files, providers: impl IntoIterator<Item = &'p Provider>) -> Vec<Entry> {
    providers.into_iter().map(|provider| entry(files, provider)).collect()
}

fn entry(files: &Files, provider: &Provider) -> Entry {
    let own = files.providers.get(&provider.name).and_then(|slot| Some(&slot.as_ref().ok()?.document));
    let preset = own.and_then(|own| own.extends.as_deref());
    // A table of the file replaces that of its preset.
    let of_preset = || {
        let (_, preset) = files.presets.iter().find(|(name, _)| Some(name.as_str()) == preset)?;
        preset.as_ref().ok()?.document.catalogue.as_ref()
    };
    let known = own.and_then(|own| own.catalogue.as_ref()).or_else(of_preset).cloned().unwrap_or_default();
    let syntax::Catalogue { env, models, sources, checked, unconfirmed, doubts, imports: _ } = known;
    let apis = provider.endpoints.iter().filter_map(|one| one.api.as_ref());
    let origins: BTreeSet<String> = provider
        .endpoints
        .iter()
        .map(|endpoint| origin(provider, &provider.base_of(endpoint).value))
        .collect();
    Entry {
        name: provider.name.to_string(),
        title: provider.shown.title.clone(),
        group: provider.shown.group.clone(),
        class: class(provider, &origins, preset),
        origins,
        apis: apis.map(|api| api.name.to_string()).collect(),
        endpoints: provider.endpoints.iter().map(endpoint).collect(),
        auth: provider.auth.iter().map(|entry| auth(provider, entry)).collect(),
        section: provider.section.as_ref().map(|section| section.name.clone()),
        fields: fields(provider, &env.unwrap_or_default()),
        gateways: provider.gateways.iter().map(|used| used.gateway.name.to_string()).collect(),
        models: models.unwrap_or_default(),
        keys_url: provider.shown.keys_url.clone(),
        docs: provider.shown.docs.clone(),
        sources: sources.unwrap_or_default(),
        checked,
        unconfirmed: unconfirmed.unwrap_or_default(),
        doubts: doubts.unwrap_or_default(),
    }
}

fn class(provider: &Provider, origins: &BTreeSet<String>, preset: Option<&str>) -> String {
    let entries = || provider.auth.iter().filter(|entry| !entry.kind.is_none());
    let is_login = |entry: &Auth| {
        let field = field(provider, entry.field.as_deref());
        field.is_some_and(|field| field.kind == Some(FieldKind::Oauth2))
    };
    let needs_no_key = provider.auth.iter().any(|entry| entry.kind.is_none());
    let is_local =
        |origin: &String| origin.starts_with("http://") || (needs_no_key && origin.starts_with('{'));
    let class = if origins.iter().all(is_local) {
        "local"
    } else if entries().any(|entry| entry.kind.outputs().iter().any(|output| output.signs > 0)) {
        "signed"
    } else if entries().any(|entry| entry.token.is_some()) {
        "made-token"
    } else if entries().count() > 0 && entries().all(is_login) {
        "login"
    } else {
        preset.unwrap_or("own-api")
    };
    class.to_owned()
}

fn field<'p>(provider: &'p Provider, name: Option<&str>) -> Option<&'p syntax::Field> {
    let fields = provider.section.iter().flat_map(|section| &section.fields).map(|field| &field.value);
    fields.into_iter().find(|field| Some(field.name.as_str()) == name)
}

/// The origin of a base URL. A value of the user is the default of its field, or else the field's name in braces.
fn origin(provider: &Provider, base: &ProviderTemplate) -> String {
    let mut text = String::new();
    for part in base.parts() {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Placeholder { name, .. } => {
                let written = name.written(&[]);
                let default = match name {
                    Placeholder::Field(_) => {
                        field(provider, Some(written)).and_then(|field| field.default.as_deref())
                    }
                    _ => None,
                };
                match default {
                    Some(default) => text.push_str(default),
                    None => text.extend(["{", written, "}"]),
                }
            }
        }
    }
    let authority = text.find("://").map_or(0, |at| at + 3);
    let end = text[authority..].find('/').map_or(text.len(), |at| authority + at);
    text.truncate(end);
    text
}

fn endpoint(endpoint: &Endpoint) -> EndpointLine {
    EndpointLine {
        name: endpoint.name.clone(),
        method: endpoint.method.to_string(),
        path: endpoint.paths.first().map(|path| path.text.clone()).unwrap_or_default(),
        api: endpoint.api.as_ref().map(|api| api.name.to_string()),
        websocket: endpoint.upgrade.is_some(),
    }
}

/// What an entry writes.
fn auth(provider: &Provider, entry: &Auth) -> String {
    if entry.kind.is_none() {
        return "without a key".to_owned();
    }
    let mut lines = Vec::new();
    for output in entry.kind.outputs() {
        let mut text = String::new();
        output.text.render_names(&mut text, |name| name.written(&[]));
        let token = entry.token.map(|index| format!(" (token `{}`)", provider.tokens[index].name));
        let (place, signed) = (output.place, if output.signs > 0 { " (a signature)" } else { "" });
        lines.push(format!("{place}: `{text}`{signed}{}", token.unwrap_or_default()));
    }
    lines.join(", ")
}

fn fields(provider: &Provider, env: &BTreeMap<String, Vec<String>>) -> Vec<FieldLine> {
    let fields = provider.section.iter().flat_map(|section| &section.fields).map(|field| &field.value);
    let line = |field: &syntax::Field| FieldLine {
        name: field.name.clone(),
        kind: field.kind.unwrap_or(FieldKind::Secret).name(),
        optional: field.optional == Some(true) || field.default.is_some(),
        env: env.get(&field.name).cloned().unwrap_or_default(),
    };
    fields.map(line).collect()
}

impl Entry {
    /// True if every word of a search is in its name, title, class, group, origins, wire formats, models or environment
    /// variables. Upper and lower case are the same.
    pub fn matches(&self, words: &str) -> bool {
        let lists = self.origins.iter().chain(&self.apis).chain(&self.models);
        let lists = lists.chain(self.fields.iter().flat_map(|field| &field.env)).chain(&self.group);
        let own = [self.name.as_str(), &self.title, &self.class];
        let text =
            own.into_iter().chain(lists.map(String::as_str)).collect::<Vec<_>>().join("\n").to_lowercase();
        words.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }
}

/// The table of `docs/catalogue.md`.
pub fn markdown(entries: &[Entry]) -> String {
    let mut text = String::from(
        "# Catalogue\n\nThe providers that are built in. Generated from `providers.d` by `tollgate providers --markdown`; \
         `tollgate providers NAME` shows all that is known about one, and `tollgate new NAME` writes its file. \"Unconfirmed\" lists the \
         keys of a file that no source confirms.\n\n\
         | name | provider | class | hosts | endpoints | the key is sent as | variables | doubts |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for one in entries {
        let title = one
            .docs
            .as_deref()
            .map_or_else(|| cell(&one.title), |docs| format!("[{}]({docs})", cell(&one.title)));
        let hosts: Vec<String> =
            one.origins.iter().map(|origin| format!("`{}`", origin.trim_start_matches("https://"))).collect();
        let endpoints: Vec<&str> = one.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        let env = one.fields.iter().flat_map(|field| &field.env).map(|name| format!("`{name}`"));
        let mut doubts: Vec<String> = one.doubts.iter().map(|doubt| cell(doubt)).collect();
        if !one.unconfirmed.is_empty() {
            doubts.push(format!(
                "Unconfirmed: {}.",
                one.unconfirmed.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
            ));
        }
        let columns = [
            format!("`{}`", one.name),
            title,
            one.class.clone(),
            hosts.join(", "),
            endpoints.join(", "),
            one.auth.iter().map(|entry| cell(entry)).collect::<Vec<_>>().join("; "),
            env.collect::<Vec<_>>().join(", "),
            doubts.join(" "),
        ];
        text.extend(["| ", &columns.join(" | "), " |\n"]);
    }
    text
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
