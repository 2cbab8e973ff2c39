//! Compiles `credentials`, `auth`, `caller` and `paste_token`: stored credentials, their use, and token locations.

use http::HeaderName;

use super::Compiler;
use crate::{
    base::{
        diag::{Code, Diagnostic},
        name::FileName,
        own_paths,
        suggest::{backticked, nearest},
    },
    language::{
        auth,
        compile::{Auth, Glob, Located, Section, TokenLocations, Vars, quantity, safety},
        syntax::{self, pointer_step},
    },
};

impl Compiler<'_> {
    pub(super) fn section(&mut self, spec: &syntax::Credentials) -> Option<Section> {
        let name = section_name(self.name, spec);
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let at = self.own_value("/credentials/section");
        if !name.split('.').all(|part| !part.is_empty() && part.bytes().all(word)) {
            let message =
                format!("`{name}` cannot be a section: use words of letters, digits, `-` and `_`, with dots");
            self.report(Code::BadValue, at, message);
            return None;
        }
        let shared_with = spec.shared_with.iter().flatten().enumerate();
        let shared_with = shared_with.filter_map(|(index, other)| {
            let found = FileName::new(other);
            if found.is_none() {
                let at = self.value(&format!("/credentials/shared_with/{index}"));
                self.report(Code::Reference, at, format!("`{other}` cannot be a provider's name"));
            }
            found
        });
        let shared_with = shared_with.collect();
        let fields = self.fields(spec.field.as_deref().unwrap_or_default());
        Some(Section { name, at, shared_with, fields })
    }

    fn fields(&mut self, specs: &[syntax::Field]) -> Vec<Located<syntax::Field>> {
        let mut fields: Vec<Located<syntax::Field>> = Vec::new();
        for (index, field) in specs.iter().enumerate() {
            let pointer = format!("/credentials/field/{index}");
            let at = self.own_value(&format!("{pointer}/name"));
            let good = field.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if field.name.is_empty() || !good {
                self.report(
                    Code::BadValue,
                    at.clone(),
                    "a field's name is made of letters, digits, `-` and `_`",
                );
            }
            if let Some(first) = fields.iter().find(|known| known.value.name == field.name) {
                let message = format!("two fields are named `{}`", field.name);
                let first = first.at.clone();
                self.add(
                    Diagnostic::new(Code::Name, at.clone(), message).related(first, "first declared here"),
                );
            }
            self.oauth_field(&pointer, field);
            fields.push(Located { value: field.clone(), at });
        }
        fields
    }

    /// Checks the keys of an `oauth2` field, and reports them on other fields.
    fn oauth_field(&mut self, pointer: &str, field: &syntax::Field) {
        let given = [
            ("token_url", field.token_url.is_some()),
            ("client_id", field.client_id.is_some()),
            ("grant", field.grant.is_some()),
            ("refresh_before", field.refresh_before.is_some()),
            ("paste", field.paste.is_some()),
        ];
        let is_oauth = field.kind == Some(syntax::FieldKind::Oauth2);
        for (key, there) in given {
            if there && !is_oauth {
                let message = format!("`{key}` means nothing here: the field's kind is not `oauth2`");
                self.report(Code::Condition, self.key(&format!("{pointer}/{key}")), message);
            }
            if !there && is_oauth && matches!(key, "token_url" | "client_id") {
                let example = if key == "client_id" { "app_123" } else { "https://auth.example.com/token" };
                let message = format!("an `oauth2` field has to have `{key}`");
                let help = format!("for example: {key} = \"{example}\"");
                self.report_with_help(Code::MissingKey, self.key(pointer), message, help);
            }
        }
        if let Some(url) = &field.token_url
            && let Err(message) = callable(url)
        {
            self.report(
                Code::Url,
                self.value(&format!("{pointer}/token_url")),
                format!("cannot be a URL: {message}"),
            );
        }
        if let Some(text) = &field.refresh_before {
            self.quantity(&format!("{pointer}/refresh_before"), quantity::duration(text));
        }
        for (key, target) in field.paste.iter().flatten() {
            if !target.starts_with('/') {
                let at = self.value(&format!("{pointer}/paste/{}", pointer_step(key)));
                self.report(Code::BadValue, at, "a JSON pointer starts with `/` (RFC 6901)");
            }
        }
    }

    pub(super) fn auth(
        &mut self,
        specs: &[syntax::Auth],
        section: Option<&Section>,
        vars: &Vars,
    ) -> Vec<Auth> {
        let known: Vec<&str> =
            section.iter().flat_map(|s| &s.fields).map(|field| field.value.name.as_str()).collect();
        let mut entries = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let pointer = format!("/auth/{index}");
            if !known.contains(&spec.field.as_str()) {
                let at = self.value(&format!("{pointer}/field"));
                let help = match nearest(&spec.field, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => "declare it under `[[credentials.field]]`".to_owned(),
                    None => format!("known fields: {}", backticked(&known)),
                };
                let message = format!("`{}` is no field of the credentials section", spec.field);
                self.report_with_help(Code::Reference, at, message, help);
            }
            let kind = auth::Compiled::new(self, &pointer, spec, vars);
            if spec.r#match.as_deref() == Some("") {
                let at = self.value(&format!("{pointer}/match"));
                let help = "leave `match` out for any secret, or write how it starts: \"sk-*\"";
                self.report_with_help(Code::Condition, at, "no secret is empty", help);
            }
            if let Some(first) = shadowed_by(&specs[..index], &spec.field) {
                let message = format!("never reached: an entry above takes every `{}`", spec.field);
                let at = self.key(&format!("/auth/{first}"));
                let diagnostic = Diagnostic::new(Code::Condition, self.key(&pointer), message);
                self.add(diagnostic.related(at, "this one").help("give that one a `match`, or put it last"));
            }
            let matches = spec.r#match.as_deref().map(Glob::new);
            entries.push(Auth { field: spec.field.clone(), matches, kind, at: self.key(&pointer) });
        }
        entries
    }

    pub(super) fn token_locations(&mut self, spec: Option<&syntax::Caller>) -> TokenLocations {
        let Some(spec) = spec else { return TokenLocations::default() };
        let headers = self.names("/caller/headers", spec.headers.as_deref().unwrap_or_default());
        for (index, name) in headers.iter().enumerate() {
            if matches!(safety::request(&name.into()), safety::HeaderClass::Managed) {
                let at = self.value(&format!("/caller/headers/{index}"));
                self.report(
                    Code::Header,
                    at,
                    format!("`{name}` belongs to the connection and cannot carry a token"),
                );
            }
        }
        TokenLocations { headers, query: spec.query.clone().unwrap_or_default() }
    }

    pub(super) fn paste_token(
        &mut self,
        paste: Option<&syntax::PasteToken>,
        section: Option<&Section>,
    ) -> Option<Located<syntax::PasteToken>> {
        let paste = paste?;
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let name = paste.path.strip_prefix("/auth/");
        if !name.is_some_and(|name| !name.is_empty() && name.bytes().all(word)) {
            let message = "it has to be `/auth/` and one segment of lower-case letters, digits and `-`";
            self.report(Code::Path, self.value("/paste_token/path"), message);
        }
        if name.is_some_and(|name| own_paths::SELF_SERVICE.contains(&name)) {
            let message = format!("`{}` is a path of tollgate's own", paste.path);
            self.report(Code::Path, self.value("/paste_token/path"), message);
        }
        let login =
            section.iter().flat_map(|s| &s.fields).any(|f| f.value.kind == Some(syntax::FieldKind::Oauth2));
        if !login {
            let message =
                "a paste token stands for a login, but the credentials section has no `oauth2` field";
            self.report(Code::Reference, self.key("/paste_token"), message);
        }
        for (claim, value) in &paste.claims {
            self.check_claim(&format!("/paste_token/claims/{}", pointer_step(claim)), value);
        }
        Some(Located { value: paste.clone(), at: self.value("/paste_token/path") })
    }

    fn check_claim(&mut self, pointer: &str, value: &serde_json::Value) {
        let Some(table) = value.as_object() else { return };
        let Some(generator) = table.get("gen") else {
            table.iter().for_each(|(key, value)| {
                self.check_claim(&format!("{pointer}/{}", pointer_step(key)), value);
            });
            return;
        };
        if !matches!(generator.as_str(), Some("uuid" | "hex24" | "now")) {
            let at = self.value(&format!("{pointer}/gen"));
            self.report(Code::BadValue, at, "`gen` is none of `uuid`, `hex24`, `now`");
        }
        for (key, value) in table {
            if key != "gen" && !(key == "prefix" && value.is_string()) {
                let at = self.key(&format!("{pointer}/{}", pointer_step(key)));
                self.report(
                    Code::UnknownKey,
                    at,
                    format!("a generated claim has `gen` and a text `prefix`, not `{key}`"),
                );
            }
        }
    }
}

/// The path of a provider's section in the credentials document.
pub(super) fn section_name(provider: &FileName, spec: &syntax::Credentials) -> String {
    spec.section.as_deref().unwrap_or("providers.{provider}").replace("{provider}", provider.as_str())
}

/// The valid token locations of a file with errors.
pub(super) fn readable_token_locations(spec: Option<syntax::Caller>) -> TokenLocations {
    let spec = spec.unwrap_or_default();
    let name = |name: &String| HeaderName::from_bytes(name.as_bytes()).ok();
    let headers = spec.headers.iter().flatten().filter_map(name);
    let headers =
        headers.filter(|name| !matches!(safety::request(&name.into()), safety::HeaderClass::Managed));
    TokenLocations { headers: headers.collect(), query: spec.query.unwrap_or_default() }
}

/// Checks that a request can be sent to a URL as written.
fn callable(url: &str) -> Result<(), &'static str> {
    let (_, target) = crate::base::origin::Origin::split(url)?;
    let plain = target.bytes().all(|b| b.is_ascii_graphic() && !b"#\\\"<>{}".contains(&b));
    if plain { Ok(()) } else { Err("it has characters that a URL to call cannot have") }
}

/// The earlier entry that matches every secret of a field.
fn shadowed_by(before: &[syntax::Auth], field: &str) -> Option<usize> {
    before.iter().position(|auth| auth.field == field && auth.r#match.is_none())
}
