//! The steps to set a client up for a provider: the texts of the client's file with an address, a provider and a model
//! filled in. Pages show them, and `tollgate setup` prints and writes them.
//!
//! It knows no server and no account: what is filled in is given. Read next: `compile/clients`.

use std::fmt::Write;

use crate::language::{
    compile::{ClientFile, SetupValue, Speaks, Step, Template},
    syntax::ClientKind,
};

/// The stand-in for a token: nobody's token is shown.
pub const TOKEN: &str = "TOKEN";
/// The stand-in for the name of a model.
pub const MODEL: &str = "MODEL";
/// The longest name of a model that is put into code.
const MAX_MODEL: usize = 100;

/// A provider that a client is set up for.
#[derive(Debug, Clone)]
pub struct Called<'p> {
    /// The provider's name.
    pub provider: &'p str,
    /// tollgate's own address.
    pub server: &'p str,
    /// The name of the api and the whole path of each path of its endpoints that has an api.
    pub paths: Vec<(&'p str, String)>,
}

/// What is filled in beside the provider.
#[derive(Debug, Clone, Copy)]
pub struct Given<'v> {
    /// The token.
    pub token: &'v str,
    /// The name of a model.
    pub model: &'v str,
}

impl Given<'static> {
    /// Only stand-ins.
    pub const STAND_INS: Self = Self { token: TOKEN, model: MODEL };
}

/// The steps of one client for one provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Setup<'c> {
    /// The kind of the client.
    pub kind: ClientKind,
    /// Its title.
    pub title: &'c str,
    /// Its documentation.
    pub docs: Option<&'c str>,
    /// A limit that people should know.
    pub note: Option<&'c str>,
    /// The address that the client puts its paths after.
    pub base_url: String,
    /// The steps.
    pub steps: Vec<FilledStep<'c>>,
}

/// A step with its placeholders filled in.
#[derive(Debug, PartialEq, Eq)]
pub struct FilledStep<'c> {
    /// A sentence before the code.
    pub text: Option<String>,
    /// The file that the code goes into.
    pub file: Option<&'c str>,
    /// The language of the code.
    pub language: &'c str,
    /// The code.
    pub code: String,
    /// The placeholders that the code has.
    pub values: Vec<SetupValue>,
    /// True if it does what the step before it does.
    pub is_alternative: bool,
}

/// The steps of a client, if it speaks a wire format of the provider.
pub fn setup<'c>(client: &'c ClientFile, called: &Called<'_>, given: Given<'_>) -> Option<Setup<'c>> {
    let (speaks, base) = speaking(client.speaks.iter(), called)?;
    Some(filled(client, &speaks.steps, &base, (called, given)))
}

/// The steps of a client with a paste token, if it takes one of the provider.
pub fn paste_setup<'c>(client: &'c ClientFile, called: &Called<'_>) -> Option<Setup<'c>> {
    let speaks = client.speaks.iter().filter(|one| !one.paste_steps.is_empty());
    let (speaks, base) = speaking(speaks, called)?;
    Some(filled(client, &speaks.paste_steps, &base, (called, Given::STAND_INS)))
}

/// True for a name that is harmless in the code of every language. Upstreams choose the names of models.
pub fn is_plain(model: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte);
    (1..=MAX_MODEL).contains(&model.len()) && model.bytes().all(plain) && !model.starts_with('-')
}

/// An address for double quotes in code: signs that end them, or that a shell reads within them, are percent-encoded.
pub fn escaped(address: &str) -> String {
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

/// True for a token that is harmless between double quotes in code.
pub fn is_harmless_token(token: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_graphic() && !b"\"'`\\$!".contains(&byte);
    !token.is_empty() && token.bytes().all(harmless)
}

/// The first format that the provider has too, with the path that the client's own paths follow.
fn speaking<'c>(
    mut speaks: impl Iterator<Item = &'c Speaks>,
    called: &Called<'_>,
) -> Option<(&'c Speaks, String)> {
    speaks.find_map(|one| Some((one, base_path(one, called)?)))
}

/// The path that the client's own paths follow, if an endpoint of the provider has this format at such a path.
fn base_path(speaks: &Speaks, called: &Called<'_>) -> Option<String> {
    let mut paths = called.paths.iter().filter(|(api, _)| *api == speaks.api.value);
    paths.find_map(|(_, path)| speaks.base_path(path).map(str::to_owned))
}

fn filled<'c>(
    client: &'c ClientFile,
    steps: &'c [Step],
    base: &str,
    (called, given): (&Called<'_>, Given<'_>),
) -> Setup<'c> {
    let base_url = escaped(&format!("{}{base}", called.server));
    let fill = |template: &Template<SetupValue>| {
        let mut filled = String::new();
        template.render(&mut filled, |value| match value {
            SetupValue::BaseUrl => base_url.as_str(),
            SetupValue::Token => given.token,
            SetupValue::Provider => called.provider,
            SetupValue::Model => given.model,
        });
        filled
    };
    let steps = steps.iter().map(|step| FilledStep {
        text: step.text.as_ref().map(fill),
        file: step.file.as_deref(),
        language: &step.language,
        code: fill(&step.code),
        values: step.code.placeholders().copied().collect(),
        is_alternative: step.is_alternative,
    });
    let steps = steps.collect();
    let (title, docs, note) = (&client.title, client.docs.as_deref(), client.note.as_deref());
    Setup { kind: client.kind, title, docs, note, base_url, steps }
}

#[cfg(test)]
mod tests;
