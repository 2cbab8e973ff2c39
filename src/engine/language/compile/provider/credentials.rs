//! Compiles `credentials`, `auth`, `caller` and `paste_token`: stored credentials, their use, and token locations.

use std::collections::BTreeMap;

use http::{HeaderName, header::SEC_WEBSOCKET_PROTOCOL};

use super::Compiler;
use crate::{
    base::{
        diag::{Code, Diagnostic},
        name::FileName,
        own_paths,
        suggest::{backticked, nearest},
        websocket,
    },
    language::{
        auth,
        compile::{Auth, Glob, Located, Section, TokenLocations, Vars, safety},
        generator::Generator,
        syntax::{self, pointer_step},
        token,
    },
};

impl Compiler<'_> {
    pub(super) fn section(&mut self, spec: &syntax::Credentials, vars: &Vars) -> Option<Section> {
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
        let specs = spec.field.as_deref().unwrap_or_default();
        let (fields, values) = self.fields(specs);
        let client_secrets = self.client_secrets(specs, vars);
        Some(Section { name, at, shared_with, fields, values, client_secrets })
    }

    pub(super) fn auth(
        &mut self,
        spec: &syntax::Provider,
        (section, tokens): (Option<&Section>, &[token::Compiled]),
        vars: &Vars,
    ) -> Vec<Auth> {
        let specs = spec.auth.as_deref().unwrap_or_default();
        let names = endpoint_names(spec);
        let known: Vec<&str> =
            section.iter().flat_map(|s| &s.fields).map(|field| field.value.name.as_str()).collect();
        let mut entries = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let pointer = format!("/auth/{index}");
            self.auth_field(&pointer, spec, &known);
            self.auth_document(&pointer, spec, section);
            let token = self.auth_token(&pointer, spec, tokens);
            let made = token.map(|index| &tokens[index]);
            let kind = auth::Compiled::new(self, &pointer, spec, (section, made, vars));
            if spec.r#match.as_deref() == Some("") {
                let at = self.value(&format!("{pointer}/match"));
                let help = "leave `match` out for any secret, or write how it starts: \"sk-*\"";
                self.report_with_help(Code::Condition, at, "no secret is empty", help);
            }
            let endpoints = self.auth_endpoints(&pointer, spec, &names);
            let matches = spec.r#match.as_deref().map(Glob::new);
            let (field, at) = (spec.field.clone(), self.key(&pointer));
            let entry = Auth { field, token, matches, endpoints, kind, at };
            if let Some((first, field)) = shadowed_by((&specs[..index], &entries), &entry, &names) {
                let message = format!("never reached: an entry above takes every `{field}`");
                let at = self.key(&format!("/auth/{first}"));
                let diagnostic = Diagnostic::new(Code::Condition, self.key(&pointer), message);
                let help = if entry.endpoints.is_some() || entries[first].endpoints.is_some() {
                    "give that one a `match`, put it last, or name other `endpoints`"
                } else {
                    "give that one a `match`, or put it last"
                };
                self.add(diagnostic.related(at, "this one").help(help));
            }
            entries.push(entry);
        }
        self.check_optional(&entries);
        for (index, token) in tokens.iter().enumerate() {
            if !entries.iter().any(|entry| entry.token == Some(index)) {
                let message = format!("no entry of `auth` uses token `{}`", token.name);
                let help = format!("write one with token = \"{}\", or drop the token", token.name);
                self.report_with_help(Code::Condition, token.at.clone(), message, help);
            }
        }
        self.check_covered(&entries, &names);
        entries
    }

    /// The endpoints that an entry counts for.
    fn auth_endpoints(&mut self, pointer: &str, spec: &syntax::Auth, names: &[&str]) -> Option<Vec<Glob>> {
        let written = spec.endpoints.as_ref()?;
        let mut globs = Vec::new();
        for (index, text) in written.iter().enumerate() {
            let pointer = format!("{pointer}/endpoints/{index}");
            if let Err(problem) = Glob::check(text) {
                self.report(Code::BadValue, self.value(&pointer), format!("a glob that {problem}"));
                continue;
            }
            let glob = Glob::new(text);
            // A preset names endpoints that this file may have removed.
            if self.is_own(&pointer) && !names.iter().any(|name| glob.matches(name)) {
                let message = if text.contains('*') {
                    format!("no endpoint has a name like `{text}`")
                } else {
                    format!("there is no endpoint `{text}`")
                };
                let help = match nearest(text, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known endpoints: {}", backticked(names)),
                };
                self.report_with_help(Code::Reference, self.value(&pointer), message, help);
            }
            globs.push(glob);
        }
        let _ = self.budget.work(1 + globs.len() * names.len());
        Some(globs)
    }

    /// Checks that `none` is the last entry, and not the only one.
    fn check_optional(&mut self, entries: &[Auth]) {
        let Some(index) = entries.iter().position(|entry| entry.kind.is_none()) else { return };
        let at = self.key(&format!("/auth/{index}/none"));
        if index + 1 < entries.len() {
            let help = "put it last: it counts only where no credential is stored";
            self.report_with_help(Code::Condition, at, "an entry with `none` before another one", help);
        } else if index == 0 {
            let help = "write `auth = []` for a provider that takes no credential";
            self.report_with_help(
                Code::Condition,
                at,
                "`none` without an entry that sends a credential",
                help,
            );
        }
    }

    /// Reports endpoints that no entry counts for: each request would be refused.
    fn check_covered(&mut self, entries: &[Auth], names: &[&str]) {
        let is_lost =
            |name: &&&str| !entries.is_empty() && !entries.iter().any(|entry| entry.counts_for(name));
        let lost: Vec<&str> = names.iter().filter(is_lost).copied().collect();
        let Some(first) = lost.first() else { return };
        let own = format!("/endpoint/{}", pointer_step(first));
        let at = if self.is_own(&own) { self.key(&own) } else { self.key("/auth") };
        let what = if lost.len() == 1 { "endpoint" } else { "endpoints" };
        let message = format!("no entry of `auth` counts for the {what} {}", backticked(&lost));
        let help = format!(
            "name it in the `endpoints` of an entry, or add a last entry for no credential: {{ endpoints = [\"{first}\"], none = true }}"
        );
        self.report_with_help(Code::Condition, at, message, help);
    }

    /// Reports an entry whose `field` is a whole document: no header holds one.
    fn auth_document(&mut self, pointer: &str, spec: &syntax::Auth, section: Option<&Section>) {
        let fields = section.iter().flat_map(|section| &section.fields).map(|field| &field.value);
        let mut documents = fields.filter(|field| field.kind == Some(syntax::FieldKind::Json));
        let Some(field) = documents.find(|field| spec.field.as_ref() == Some(&field.name)) else { return };
        let message = format!("`{}` is a document, which cannot be sent as a whole", field.name);
        let part = field.parts.iter().flatten().next().map_or("key", |(part, _)| part.as_str());
        let help = format!("leave `field` out, and name a part of it: `{{{}.{part}}}`", field.name);
        self.report_with_help(Code::Condition, self.value(&format!("{pointer}/field")), message, help);
    }

    pub(super) fn tokens(
        &mut self,
        specs: Option<&BTreeMap<String, token::syntax::Token>>,
        section: Option<&Section>,
        vars: &Vars,
    ) -> Vec<token::Compiled> {
        let mut compiled = Vec::new();
        for (name, spec) in specs.into_iter().flatten() {
            let pointer = format!("/token/{}", pointer_step(name));
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if name.is_empty() || name.len() > 64 || !name.bytes().all(word) {
                let message = "a token's name is made of at most 64 letters, digits, `-` and `_`";
                self.report(Code::Name, self.key(&pointer), message);
            }
            let fields = section.iter().flat_map(|section| &section.fields);
            if fields.clone().any(|field| field.value.name == *name) {
                let message = format!("`{name}` is a field of the credentials section too");
                let help = "give the token another name: templates name its fields by it";
                self.report_with_help(Code::Name, self.key(&pointer), message, help);
            }
            compiled.push(token::Compiled::new(self, (&pointer, name), spec, (section, vars)));
        }
        compiled
    }

    /// The token of an entry, by its index.
    fn auth_token(
        &mut self,
        pointer: &str,
        spec: &syntax::Auth,
        tokens: &[token::Compiled],
    ) -> Option<usize> {
        let name = spec.token.as_ref()?;
        let at = format!("{pointer}/token");
        if spec.field.is_some() {
            let message = "an auth entry has `field` or `token`, not both: `{secret}` is one of them";
            let help = "leave `field` out: the token names the fields that it is made from";
            self.report_with_help(Code::Condition, self.key(&at), message, help);
        }
        let found = tokens.iter().position(|token| token.name == *name);
        if found.is_none() {
            let known: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => format!("declare it under `[token.{name}]`"),
                None => format!("known tokens: {}", backticked(known)),
            };
            self.report_with_help(
                Code::Reference,
                self.value(&at),
                format!("there is no token `{name}`"),
                help,
            );
        }
        found
    }

    /// Checks the `field` of an entry, and the keys that need one.
    fn auth_field(&mut self, pointer: &str, spec: &syntax::Auth, known: &[&str]) {
        let Some(field) = &spec.field else {
            if spec.r#match.is_some() {
                let message = "`match` is a glob on the value of `field`, and the entry has no `field`";
                let help = "name the field: field = \"apiKey\"";
                self.report_with_help(Code::Condition, self.key(&format!("{pointer}/match")), message, help);
            }
            return;
        };
        if known.contains(&field.as_str()) {
            return;
        }
        let help = match nearest(field, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "declare it under `[[credentials.field]]`".to_owned(),
            None => format!("known fields: {}", backticked(known)),
        };
        let message = format!("`{field}` is no field of the credentials section");
        self.report_with_help(Code::Reference, self.value(&format!("{pointer}/field")), message, help);
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
            if *name == SEC_WEBSOCKET_PROTOCOL {
                let at = self.value(&format!("/caller/headers/{index}"));
                let message = format!("`{name}` is a list, of which one item holds the token");
                let help = "name the prefix of that item: subprotocol = [\"example-api-key.\"]";
                self.report_with_help(Code::Header, at, message, help);
            }
        }
        let subprotocol = spec.subprotocol.clone().unwrap_or_default();
        for (index, prefix) in subprotocol.iter().enumerate() {
            self.check_subprotocol(index, prefix, &subprotocol[..index]);
        }
        let schemes = self.schemes(spec.schemes.as_deref().unwrap_or_default());
        TokenLocations { headers, query: spec.query.clone().unwrap_or_default(), subprotocol, schemes }
    }

    /// Reports a prefix that no subprotocol can begin with (RFC 6455, section 4.1), or that hides another one.
    fn check_subprotocol(&mut self, index: usize, prefix: &str, before: &[String]) {
        let at = self.value(&format!("/caller/subprotocol/{index}"));
        if prefix.is_empty() {
            let help = "name the front of the item that holds the token, such as \"example-api-key.\"";
            let message = "a token without a prefix cannot be distinguished from a subprotocol";
            self.report_with_help(Code::BadValue, at, message, help);
        } else if !websocket::is_token(prefix) {
            let help =
                "a subprotocol is of visible ASCII characters without separators such as `,`, `:` and `/`";
            let message = format!("no subprotocol can begin with `{}`", prefix.escape_debug());
            self.report_with_help(Code::BadValue, at, message, help);
        } else if let Some(other) = before.iter().position(|other| prefix.starts_with(other.as_str())) {
            let message = format!("never reached: `{}` is checked before it", before[other]);
            let related = self.value(&format!("/caller/subprotocol/{other}"));
            let diagnostic = Diagnostic::new(Code::Condition, at, message).related(related, "that one");
            self.add(diagnostic.help("write the longer prefix first, or drop it"));
        }
    }

    /// Schemes of `Authorization`, in lower case.
    fn schemes(&mut self, specs: &[String]) -> Vec<String> {
        let mut schemes: Vec<String> = Vec::new();
        for (index, written) in specs.iter().enumerate() {
            let at = self.value(&format!("/caller/schemes/{index}"));
            let scheme = written.to_ascii_lowercase();
            if let Some((message, help)) = bad_scheme(written, &scheme) {
                self.report_with_help(Code::BadValue, at, message, help);
            } else if schemes.contains(&scheme) {
                self.report(Code::Name, at, format!("the scheme `{written}` is named twice"));
            } else {
                schemes.push(scheme);
            }
        }
        schemes
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
        if generator.as_str().and_then(Generator::find).is_none() {
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
    let subprotocol = spec.subprotocol.into_iter().flatten().filter(|prefix| websocket::is_token(prefix));
    let schemes = spec.schemes.iter().flatten().map(|scheme| scheme.to_ascii_lowercase()).collect();
    TokenLocations {
        headers: headers.collect(),
        query: spec.query.unwrap_or_default(),
        subprotocol: subprotocol.collect(),
        schemes,
    }
}

/// The reason why a scheme cannot be one of a gateway token, and the help.
fn bad_scheme(written: &str, scheme: &str) -> Option<(String, &'static str)> {
    // RFC 9110, section 5.6.2.
    let is_word = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    match scheme {
        "bearer" => {
            let help = "drop it: `schemes` names further ones";
            Some((format!("`{written}` is accepted from every client"), help))
        }
        "basic" | "digest" | "negotiate" => {
            let help =
                "name a scheme that the token follows as it is: `Token`, `Key`, or \"\" for a token alone";
            Some((format!("`{written}` has no token after it: it encodes other credentials"), help))
        }
        _ if !is_word => {
            let help = "write the scheme alone, without the token: \"Token\"";
            Some((format!("`{}` cannot be a scheme of `Authorization`", written.escape_debug()), help))
        }
        _ => None,
    }
}

/// The names of the endpoints of a file, its preset and its endpoint sets.
fn endpoint_names(spec: &syntax::Provider) -> Vec<&str> {
    let tables = spec.endpoint.iter().flatten().filter(|(_, entry)| match entry {
        syntax::EndpointEntry::Table(_) => true,
        syntax::EndpointEntry::Removed => false,
    });
    tables.map(|(name, _)| name.as_str()).collect()
}

/// The first of the earlier entries that match every secret of a field, at all endpoints of an entry, and the field. One that
/// also needs other fields does not.
fn shadowed_by<'s>(
    (specs, before): (&[syntax::Auth], &[Auth]),
    entry: &'s Auth,
    names: &[&str],
) -> Option<(usize, &'s str)> {
    let field = entry.field.as_deref()?;
    let takes_all = |(spec, _): &(&syntax::Auth, &Auth)| {
        spec.field.as_deref() == Some(field) && spec.r#match.is_none() && auth::reads_field_alone(spec)
    };
    let earlier = || specs.iter().zip(before).filter(takes_all);
    let is_taken = |name: &&str| earlier().any(|(_, one)| one.counts_for(name));
    let own: Vec<&&str> = names.iter().filter(|name| entry.counts_for(name)).collect();
    let is_dead =
        !own.is_empty() && own.into_iter().all(is_taken) || earlier().any(|(_, one)| one.endpoints.is_none());
    let mut all = specs.iter().zip(before);
    let first = all.position(|pair| takes_all(&pair)).filter(|_| is_dead)?;
    Some((first, field))
}
