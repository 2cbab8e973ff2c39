//! Tokens that are made from stored fields: `[token.NAME]`. A token is the reply to a request, a signed JWT, or the reply to a
//! request with a JWT.
//!
//! Pure: a [`Token`] says which request has to be sent, and reads the reply; the signature comes from a [`Signer`]. The
//! accounts make the calls, and keep the tokens.

mod json_template;
mod jwt;
mod reply;
mod request;
pub mod syntax;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use self::{
    jwt::Jwt,
    reply::Reply,
    request::{BoundRequest, BoundUrl, CompiledRequest},
};
pub use self::{
    jwt::{BadKey, LIFETIME, SIGNING_KEY, Signer},
    reply::{error_codes, is_overload},
};
use super::{
    auth::{FieldValue, FieldValues},
    bind::{Destination, Input, Origins},
    compile::{
        Compiler, FieldScope, Located, Placeholder, ProviderTemplate, Resolved, Section, Template,
        TemplateScope, Vars, quantity,
    },
    generator::RandomBytes,
};
use crate::base::{
    diag::{Code, Location},
    name::FileName,
    origin::Origin,
    secret::Secret,
    suggest::backticked,
};

/// The default of `refresh_before`.
const REFRESH_BEFORE: Duration = Duration::from_mins(5);

/// A name that only tokens define.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenWord {
    /// The JWT, in the request of its token.
    Jwt,
    /// The SHA-256 of the public half of the JWT's key, in its claims.
    Fingerprint,
    /// A field of the reply, in the entry of `auth` that uses the token.
    Reply(ReplyField),
}

/// A field of a token's reply, as a template names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyField {
    /// Its index among the token's fields.
    pub index: u16,
    /// Its name, with that of the token: `token.field`.
    pub name: Box<str>,
}

impl TokenWord {
    /// Its name in templates.
    pub fn name(&self) -> &str {
        match self {
            Self::Jwt => "jwt",
            Self::Fingerprint => "fingerprint",
            Self::Reply(field) => &field.name,
        }
    }
}

/// An open placeholder in a bound template of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenInput {
    Field(u16),
    Jwt,
    Fingerprint,
}

impl TokenInput {
    fn is_fingerprint(self) -> bool {
        matches!(self, Self::Fingerprint)
    }
}

/// A token, compiled.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Its name.
    pub name: String,
    /// Its location.
    pub at: Location,
    request: Option<CompiledRequest>,
    jwt: Option<Jwt<Placeholder>>,
    reply: Option<Reply>,
    refresh_before: Duration,
}

impl Compiled {
    /// Compiles the table at the JSON pointer `pointer`.
    pub(crate) fn new(
        compiler: &mut Compiler<'_>,
        (pointer, name): (&str, &str),
        spec: &syntax::Token,
        (section, vars): (Option<&Section>, &Vars),
    ) -> Self {
        check_keys(compiler, pointer, spec);
        let scope =
            TemplateScope { vars: Some(vars), fields: FieldScope::all(section), ..TemplateScope::default() };
        let jwt = spec.jwt.as_ref();
        let jwt = jwt.and_then(|jwt| Jwt::new(compiler, &format!("{pointer}/jwt"), jwt, scope));
        let words: &[_] =
            if spec.jwt.is_some() { &[("jwt", Placeholder::Token(TokenWord::Jwt))] } else { &[] };
        let in_request = (TemplateScope { words, ..scope }, section, vars);
        let request = spec.request.as_ref().and_then(|request| {
            CompiledRequest::new(compiler, &format!("{pointer}/request"), request, in_request)
        });
        let reply = spec.reply.as_ref().map(|reply| Reply::new(compiler, &format!("{pointer}/reply"), reply));
        let before = spec.refresh_before.as_deref();
        let before = before.and_then(|text| {
            compiler.quantity(&format!("{pointer}/refresh_before"), quantity::duration(text))
        });
        let token = Self {
            name: name.to_owned(),
            at: compiler.key(pointer),
            request,
            jwt,
            reply,
            refresh_before: before.unwrap_or(REFRESH_BEFORE),
        };
        token.check_words(compiler, (pointer, spec), section);
        token
    }

    /// Reports a token that would be the same for everybody, and a JWT that nothing sends.
    fn check_words(
        &self,
        compiler: &mut Compiler<'_>,
        (pointer, spec): (&str, &syntax::Token),
        section: Option<&Section>,
    ) {
        let sends_jwt = self
            .request
            .iter()
            .flat_map(CompiledRequest::templates)
            .any(|text| text.placeholders().any(|name| *name == Placeholder::Token(TokenWord::Jwt)));
        let complete =
            self.request.is_some() == spec.request.is_some() && self.jwt.is_some() == spec.jwt.is_some();
        if !complete {
            return;
        }
        if self.request.is_some() && self.jwt.is_some() && !sends_jwt {
            let at = compiler.key(&format!("{pointer}/jwt"));
            let help = "for example: form = { assertion = \"{jwt}\" }";
            compiler.report_with_help(Code::Condition, at, "the request does not send `{jwt}`", help);
        }
        let secret = |name: &str| {
            section.iter().flat_map(|one| &one.values).any(|value| value.name == name && value.rule.is_none())
        };
        let is_made = self.request.is_some() || self.jwt.is_some();
        if is_made && !self.fields().any(secret) {
            let message = format!("token `{}` is made from no secret of the credentials section", self.name);
            let help =
                "name one, such as `{apiKey}`: a secret of the operator's own is a var in `headers.set`";
            compiler.report_with_help(Code::Condition, compiler.key(pointer), message, help);
        }
    }

    /// The names of the reply's fields in templates, in order: `token.field`.
    pub fn reply_names(&self) -> impl Iterator<Item = String> {
        self.reply.iter().flat_map(Reply::fields).map(|field| format!("{}.{field}", self.name))
    }

    /// The names of the values of the section that it is made from, in the order of the file. Some repeat.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let url = self.request.iter().map(|request| &request.url.value);
        let texts = url.chain(self.templates());
        texts.flat_map(Template::placeholders).filter_map(|name| match name {
            Placeholder::Field(field) => Some(&*field.name),
            _ => None,
        })
    }

    /// The URL of its request.
    pub fn url(&self) -> Option<&Located<ProviderTemplate>> {
        self.request.as_ref().map(|request| &request.url)
    }

    /// The method of its request.
    pub fn method(&self) -> Option<&Method> {
        self.request.as_ref().map(CompiledRequest::method)
    }

    /// The algorithm of its JWT.
    pub fn algorithm(&self) -> Option<syntax::Algorithm> {
        self.jwt.as_ref().map(Jwt::alg)
    }

    /// The time from `iat` to `exp` of its JWT.
    pub fn ttl(&self) -> Option<Duration> {
        self.jwt.as_ref().map(Jwt::ttl)
    }

    /// All its keys with their values, such as `request.url`: equal for equal meaning.
    pub fn keys(&self) -> Vec<(String, ProviderTemplate)> {
        let Self { name: _, at: _, request, jwt, reply, refresh_before } = self;
        let mut keys = vec![("refresh_before".to_owned(), Template::text(&format!("{refresh_before:?}")))];
        keys.extend(request.iter().flat_map(CompiledRequest::keys));
        keys.extend(jwt.iter().flat_map(Jwt::keys));
        keys.extend(reply.iter().flat_map(Reply::keys));
        keys
    }

    /// The way to it, for people: the request, the algorithm of the JWT, and the fields that it is made from.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        if let (Some(method), Some(url)) = (self.method(), self.url()) {
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{method} "));
            url.value.render_names(&mut text, |name| name.written(&[]));
        }
        if let Some(alg) = self.algorithm() {
            let with = if text.is_empty() { "a JWT signed with " } else { ", with a JWT signed with " };
            text.push_str(with);
            text.push_str(alg.name());
        }
        let fields: BTreeSet<&str> = self.fields().collect();
        text.push_str(", of ");
        text.push_str(&backticked(fields));
        text
    }

    /// All templates but that of the URL.
    pub fn templates(&self) -> impl Iterator<Item = &ProviderTemplate> {
        let request = self.request.iter().flat_map(CompiledRequest::templates);
        self.jwt.iter().flat_map(Jwt::templates).chain(request)
    }

    /// Fills in the vars. `url`: origin and path of the request, and the origin as credentials are bound to it. `text`: a
    /// template with its vars filled in.
    pub(crate) fn bind(
        &self,
        provider: &FileName,
        url: Option<((Destination, Template<Input>), Origins)>,
        text: impl Fn(&ProviderTemplate) -> ProviderTemplate,
    ) -> Token {
        let filled = |template: &ProviderTemplate| open(&text(template));
        let (url, origins) = url.unzip();
        let url = url.map(|(destination, path)| BoundUrl { destination, path });
        let request = self.request.as_ref().zip(url).map(|(request, url)| request.map(url, &filled));
        let jwt = self.jwt.as_ref().map(|jwt| jwt.map(&filled));
        let mut definition = Sha256::new();
        let parts = (&self.name, &request, &jwt, &self.reply);
        let _ = fmt::Write::write_fmt(&mut Hashed(&mut definition), format_args!("{parts:?}"));
        let signed = jwt.iter().flat_map(Jwt::templates);
        let mut reads: BTreeSet<u16> = signed.flat_map(reads_of).collect();
        if let Some(request) = &request {
            reads.extend(request.templates().flat_map(reads_of));
            reads.extend(request.url.path.placeholders().filter_map(Input::field));
            reads.extend(request.url.destination.reads());
        }
        let fields = self.reply.iter().flat_map(Reply::fields);
        let fields = fields.map(|name| (name.into(), Secret::new(name))).collect();
        Token {
            stand_in: MadeToken { token: Secret::new("token"), fields, expires_at_ms: u64::MAX },
            name: self.name.as_str().into(),
            stored_as: format!("{STORED_PREFIX}{provider}:{}", self.name),
            definition: definition.finalize().into(),
            reads: reads.into_iter().collect(),
            request,
            jwt,
            reply: self.reply.clone(),
            origins: origins.unwrap_or_default(),
            refresh_before: self.refresh_before,
        }
    }
}

/// Reports a table that makes no token, and keys without those that they need.
fn check_keys(compiler: &mut Compiler<'_>, pointer: &str, spec: &syntax::Token) {
    let request = "request = { url = \"https://login.example.com/token\", form = { key = \"{apiKey}\" } }";
    match (&spec.request, &spec.reply, &spec.jwt) {
        (None, _, None) => {
            let message = "a token has neither `request` nor `jwt`: nothing makes it";
            let help = format!("for example: {request}");
            compiler.report_with_help(Code::MissingKey, compiler.key(pointer), message, help);
        }
        (Some(_), None, _) => {
            let message = "a token with a `request` has to have `reply`: the place of the token in it";
            let help = "for example: reply = { token = \"/access_token\", expires_in = \"/expires_in\" }";
            compiler.report_with_help(Code::MissingKey, compiler.key(pointer), message, help);
        }
        (None, Some(_), Some(_)) => {
            let at = compiler.key(&format!("{pointer}/reply"));
            let message = "`reply` means nothing here: the token is the `jwt`, and no request is sent";
            compiler.report_with_help(Code::Condition, at, message, format!("for example: {request}"));
        }
        (Some(_), Some(_), _) | (None, None, Some(_)) => {}
    }
}

/// A template without vars over the inputs of tokens.
fn open(text: &ProviderTemplate) -> Template<TokenInput> {
    text.resolve(|name| match name {
        Placeholder::Field(field) => Resolved::Placeholder(TokenInput::Field(field.index)),
        Placeholder::Token(TokenWord::Jwt) => Resolved::Placeholder(TokenInput::Jwt),
        Placeholder::Token(TokenWord::Fingerprint) => Resolved::Placeholder(TokenInput::Fingerprint),
        Placeholder::Token(TokenWord::Reply(_))
        | Placeholder::Var(_)
        | Placeholder::Capture(_)
        | Placeholder::Host
        | Placeholder::Generated(_)
        | Placeholder::Secret
        | Placeholder::Path
        | Placeholder::Url => Resolved::Text(String::new()),
    })
}

fn reads_of(text: &Template<TokenInput>) -> impl Iterator<Item = u16> {
    text.placeholders().filter_map(|input| match input {
        TokenInput::Field(index) => Some(*index),
        TokenInput::Jwt | TokenInput::Fingerprint => None,
    })
}

/// Hashes what is written.
struct Hashed<'h>(&'h mut Sha256);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

/// The start of the names under which made tokens are stored. No field's name holds a colon.
pub const STORED_PREFIX: &str = "token:";

/// A token, with the vars filled in.
pub struct Token {
    /// Its name.
    pub name: Arc<str>,
    /// The name under which it is stored, in the place of a field's name.
    pub stored_as: String,
    /// The next one is made this long before the present one expires.
    pub refresh_before: Duration,
    /// The values of the section that it is made from, by index, sorted.
    pub reads: Vec<u16>,
    /// The origin of its token endpoint, as credentials are bound to it; none if it has no request.
    pub origins: Origins,
    /// The digest of its definition.
    definition: [u8; 32],
    request: Option<BoundRequest>,
    jwt: Option<Jwt<TokenInput>>,
    reply: Option<Reply>,
    stand_in: MadeToken,
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secret vars are filled into its templates.
        out.debug_struct("Token").field("stored_as", &self.stored_as).finish_non_exhaustive()
    }
}

/// A made token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeToken {
    /// The token.
    pub token: Secret,
    /// Further fields of the reply, by name.
    pub fields: Vec<(Box<str>, Secret)>,
    /// When it expires, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// The digest of a token's definition and of the values that it is made from. A token of another digest is another token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MadeFrom(pub [u8; 32]);

/// The next step to a token.
#[derive(Debug)]
pub enum TokenStep {
    /// It is made.
    Made(MadeToken),
    /// A call to the token endpoint. [`Token::reply`] reads the reply.
    Call(TokenCall),
}

/// A call to a token endpoint.
pub struct TokenCall {
    /// The method.
    pub method: Method,
    /// The origin of the token endpoint.
    pub origin: Origin,
    /// Path and query, in origin form.
    pub target: String,
    /// The headers, without `Host` and framing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
    /// The JWT that it holds, for tests of files.
    pub jwt: Option<Zeroizing<String>>,
}

impl fmt::Debug for TokenCall {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body and the JWT are secrets. So may be headers and the path.
        write!(out, "{} {}", self.method, self.origin)
    }
}

/// The reason why a token cannot be made. The messages are ends of sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenProblem {
    /// The stored key cannot sign.
    #[error("the stored key {0}")]
    BadKey(&'static str),
    /// A value makes no valid request.
    #[error("a stored value cannot be sent")]
    Malformed,
    /// The values make no host.
    #[error("the stored values make no host")]
    NoOrigin,
    /// The token endpoint refuses the credential.
    #[error("the token endpoint refused the credential with status {0}")]
    Refused(u16),
    /// Another status.
    #[error("the token endpoint responded with status {0}")]
    Status(u16),
    /// The reply holds no token.
    #[error("the token endpoint's reply {0}")]
    InvalidReply(&'static str),
}

/// The values for a token's templates.
#[derive(Clone, Copy)]
struct Values<'v> {
    fields: &'v FieldValues<'v>,
    jwt: Option<&'v str>,
    fingerprint: Option<&'v str>,
    /// Random bytes, and the time in milliseconds since 1970.
    fresh: (RandomBytes, u64),
}

impl Values<'_> {
    /// The text with all values filled in. Its buffer never grows, so that no copy of a secret stays behind in memory.
    fn text(&self, template: &Template<TokenInput>) -> Result<Zeroizing<String>, TokenProblem> {
        let value = |input: &TokenInput| match input {
            TokenInput::Field(index) => self.fields.get(*index),
            TokenInput::Jwt => self.jwt,
            TokenInput::Fingerprint => self.fingerprint,
        };
        if !template.placeholders().all(|input| value(input).is_some()) {
            return Err(TokenProblem::Malformed);
        }
        let value = |input: &TokenInput| value(input).unwrap_or_default();
        let mut text = Zeroizing::new(String::with_capacity(template.max_len(|input| value(input).len())));
        template.render(&mut text, value);
        Ok(text)
    }
}

impl Token {
    /// True if it is made from this field of the section, or from a part of it.
    pub fn is_made_from(&self, section: &Section, field: &str) -> bool {
        self.reads.iter().any(|index| section.values[usize::from(*index)].field == field)
    }

    /// True if a user entered the origin of its token endpoint as a whole.
    pub fn is_entered(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.url.destination.is_entered())
    }

    /// The digest of the token that these values make.
    pub fn made_from(&self, values: &FieldValues<'_>) -> MadeFrom {
        let mut digest = Sha256::new_with_prefix(self.definition);
        for index in &self.reads {
            let value = values.get(*index);
            digest.update(index.to_be_bytes());
            digest.update(value.map_or(u64::MAX, |value| value.len() as u64).to_be_bytes());
            digest.update(value.unwrap_or_default());
        }
        MadeFrom(digest.finalize().into())
    }

    /// The first step to another token.
    pub fn step(
        &self,
        values: &FieldValues<'_>,
        (random, now_ms): (RandomBytes, u64),
        signer: &dyn Signer,
    ) -> Result<TokenStep, TokenProblem> {
        let values = Values { fields: values, jwt: None, fingerprint: None, fresh: (random, now_ms) };
        let jwt = self.jwt.as_ref().map(|jwt| jwt.signed(&values, signer)).transpose()?;
        match (&self.request, jwt) {
            (Some(request), jwt) => {
                let text = jwt.as_ref().map(|jwt| jwt.text.as_str());
                let call = request.call(&Values { jwt: text, ..values })?;
                Ok(TokenStep::Call(TokenCall { jwt: jwt.map(|jwt| jwt.text), ..call }))
            }
            (None, Some(jwt)) => Ok(TokenStep::Made(MadeToken {
                token: Secret::new(jwt.text.as_str()),
                fields: Vec::new(),
                expires_at_ms: jwt.expires_at_ms,
            })),
            (None, None) => Err(TokenProblem::Malformed),
        }
    }

    /// The stand-in for a token that is not made yet: it and the fields of its reply are their own names. It is never sent.
    pub fn stand_in(&self) -> &MadeToken {
        &self.stand_in
    }

    /// The token in a reply of its token endpoint.
    pub fn reply(&self, status: u16, body: &[u8], now_ms: u64) -> Result<MadeToken, TokenProblem> {
        let reply = self.reply.as_ref().ok_or(TokenProblem::Malformed)?;
        reply.read(status, body, now_ms)
    }
}

/// The values of a token, for a task that outlives its request.
#[derive(Debug, Clone, Default)]
pub struct OwnedValues(Vec<(u16, Secret)>);

impl OwnedValues {
    /// Copies the values that a token is made from.
    pub fn of(token: &Token, values: &FieldValues<'_>) -> Self {
        let one = |index: &u16| Some((*index, Secret::new(values.get(*index)?)));
        Self(token.reads.iter().filter_map(one).collect())
    }

    /// The values.
    pub fn values(&self) -> FieldValues<'_> {
        let mut values = FieldValues::default();
        for (index, secret) in &self.0 {
            values.push(*index, FieldValue::stored(secret));
        }
        values
    }
}
