//! Clients on pages: the steps to set up each client that speaks a wire format of a provider, with this server's address
//! and the provider's base path filled in. The clients themselves are files.
//!
//! Nothing here knows a token: texts show a stand-in for it. Read next: `config/connect`, the page that shows them.

use std::{fmt::Write, sync::Arc};

use crate::{
    admin::ReachableProvider,
    compile::{ClientFile, Clients, SetupValue, Speaks, Step, Template},
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

/// The steps of each client that takes a paste token of the provider.
pub(super) fn paste_setups<'c>(
    clients: &'c Clients,
    provider: &ReachableProvider,
    server: &str,
) -> Vec<Setup<'c>> {
    let files = clients.files().iter().map(Arc::as_ref);
    let setups = files.filter_map(|client| {
        let speaks = client.speaks.iter().filter(|one| !one.paste_steps.is_empty());
        let (speaks, base) = speaking(speaks, provider)?;
        Some(filled(client, &speaks.paste_steps, &base, (provider, server, MODEL)))
    });
    setups.collect()
}

fn setup<'c>(
    client: &'c ClientFile,
    provider: &ReachableProvider,
    server: &str,
    model: &str,
) -> Option<Setup<'c>> {
    let (speaks, base) = speaking(client.speaks.iter(), provider)?;
    Some(filled(client, &speaks.steps, &base, (provider, server, model)))
}

/// The first format that the provider has too, with the path that the client's own paths follow.
fn speaking<'c>(
    mut speaks: impl Iterator<Item = &'c Speaks>,
    provider: &ReachableProvider,
) -> Option<(&'c Speaks, String)> {
    speaks.find_map(|one| Some((one, base_path(one, provider)?)))
}

fn filled<'c>(
    client: &'c ClientFile,
    steps: &'c [Step],
    base: &str,
    (provider, server, model): (&ReachableProvider, &str, &str),
) -> Setup<'c> {
    let base_url = escaped(&format!("{server}{base}"));
    let values = Values { base_url: &base_url, provider: &provider.name, model };
    let steps = steps.iter().map(|step| ShownStep {
        text: step.text.as_ref().map(|text| values.fill(text)),
        file: step.file.as_deref(),
        language: &step.language,
        code: values.fill(&step.code),
    });
    let steps = steps.collect();
    let (title, docs, note) = (&client.title, client.docs.as_deref(), client.note.as_deref());
    Setup { kind: client.kind, title, docs, note, base_url, steps }
}

/// An address for double quotes in code: signs that end them, or that a shell reads within them, are percent-encoded.
pub(super) fn escaped(address: &str) -> String {
    let mut escaped = String::new();
    for sign in address.chars() {
        match sign {
            '"' | '\'' | '`' | '$' | '\\' | '!' | ' ' | '<' | '>' => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "%{:02X}", u32::from(sign));
            }
            _ => escaped.push(sign),
        }
    }
    escaped
}

/// The path that the client's own paths follow, if an endpoint of the provider has this format at such a path.
fn base_path(speaks: &Speaks, provider: &ReachableProvider) -> Option<String> {
    let speaking = provider.endpoints.iter().filter(|one| one.api.as_deref() == Some(&*speaks.api.value));
    let mut paths = speaking.flat_map(|endpoint| {
        let path = format!("{}{}", provider.base_path, endpoint.path);
        [path].into_iter().chain(endpoint.aliases.iter().cloned())
    });
    paths.find_map(|path| speaks.base_path(&path).map(str::to_owned))
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

/// The shipped clients, for tests.
#[cfg(test)]
pub(super) fn shipped() -> Clients {
    let loaded =
        crate::files::load(&crate::settings::Source::Embedded(crate::settings::Catalogue::All)).unwrap();
    Clients::new(crate::compile::compile(&loaded.files).clients)
}

#[cfg(test)]
mod tests;
