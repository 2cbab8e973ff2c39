//! Clients on pages: the steps to set up each client that speaks a wire format of a provider, with this server's address
//! and the provider's base path filled in. The clients themselves are files.
//!
//! Nothing here knows a token: texts show a stand-in for it. Read next: `config/connect`, the page that shows them.

use std::sync::Arc;

use crate::{
    admin::ReachableProvider,
    compile::{ClientFile, Clients, SetupValue, Speaks, Template},
    syntax::ClientKind,
};

/// The name of the token in texts: nobody's token is shown.
pub(super) const TOKEN: &str = "TOKEN";
/// The name of the model in texts, if the user has used none.
const MODEL: &str = "MODEL";
/// The longest name of a model that is put into code.
const MAX_MODEL: usize = 100;

/// The values of placeholders.
struct Values<'v> {
    base_url: &'v str,
    provider: &'v str,
    model: &'v str,
}

/// The steps of one client for one provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setup<'c> {
    pub(super) kind: ClientKind,
    pub(super) title: &'c str,
    pub(super) docs: Option<&'c str>,
    pub(super) note: Option<&'c str>,
    /// The address that the client puts its paths after.
    pub(super) base_url: String,
    pub(super) steps: Vec<ShownStep<'c>>,
}

/// A step with its placeholders filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShownStep<'c> {
    pub(super) text: Option<String>,
    pub(super) file: Option<&'c str>,
    pub(super) language: &'c str,
    pub(super) code: String,
}

/// The steps of each client that speaks a wire format of the provider. `server` is tollgate's own address, `model` one that
/// the user has used.
pub(super) fn setups<'c>(
    clients: &'c Clients,
    provider: &ReachableProvider,
    server: &str,
    model: Option<&str>,
) -> Vec<Setup<'c>> {
    let model = model.filter(|model| is_plain(model)).unwrap_or(MODEL);
    let files = clients.files().iter().map(Arc::as_ref);
    files.filter_map(|client| setup(client, provider, server, model)).collect()
}

/// The heading above the clients of a kind.
pub(super) fn kind_title(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Shell => "Shell",
        ClientKind::Tool => "Tools",
        ClientKind::Library => "Libraries",
    }
}

/// True for a name that is harmless in the code of every language. Upstreams choose the names of models.
fn is_plain(model: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte);
    (1..=MAX_MODEL).contains(&model.len()) && model.bytes().all(plain) && !model.starts_with('-')
}

fn setup<'c>(
    client: &'c ClientFile,
    provider: &ReachableProvider,
    server: &str,
    model: &str,
) -> Option<Setup<'c>> {
    let (speaks, base) = client.speaks.iter().find_map(|one| Some((one, base_path(one, provider)?)))?;
    let base_url = format!("{server}{base}");
    let values = Values { base_url: &base_url, provider: &provider.name, model };
    let steps = speaks.steps.iter().map(|step| ShownStep {
        text: step.text.as_ref().map(|text| values.fill(text)),
        file: step.file.as_deref(),
        language: &step.language,
        code: values.fill(&step.code),
    });
    let steps = steps.collect();
    let (title, docs, note) = (&client.title, client.docs.as_deref(), client.note.as_deref());
    Some(Setup { kind: client.kind, title, docs, note, base_url, steps })
}

/// The path that the client's own paths follow, if an endpoint of the provider has this format at such a path.
fn base_path(speaks: &Speaks, provider: &ReachableProvider) -> Option<String> {
    let speaking = provider.endpoints.iter().filter(|one| one.api.as_deref() == Some(&*speaks.api.value));
    let paths = speaking.flat_map(|endpoint| {
        let path = format!("{}{}", provider.base_path, endpoint.path);
        [path].into_iter().chain(endpoint.aliases.iter().cloned())
    });
    let mut bases = paths.filter_map(|path| Some(before(&path, &speaks.path)?.to_owned()));
    // A base URL is fixed: a client cannot fill in a capture.
    bases.find(|base| !base.contains('{'))
}

impl Values<'_> {
    fn fill(&self, template: &Template<SetupValue>) -> String {
        let mut filled = String::new();
        template.render(&mut filled, |value| match value {
            SetupValue::BaseUrl => self.base_url,
            SetupValue::Token => TOKEN,
            SetupValue::Provider => self.provider,
            SetupValue::Model => self.model,
        });
        filled
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

/// The shipped clients, for tests.
#[cfg(test)]
pub(super) fn shipped() -> Clients {
    let loaded = crate::files::load(&crate::settings::Source::Embedded).unwrap();
    Clients::new(crate::compile::compile(&loaded.files).clients)
}

#[cfg(test)]
mod tests;
