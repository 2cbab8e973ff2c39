//! The request to a token endpoint.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{TokenCall, TokenInput, TokenProblem, Values, json_template::JsonTemplate, syntax};
use crate::{
    base::diag::Code,
    language::{
        auth::syntax::Basic,
        bind::{Destination, Input},
        compile::{
            Compiler, Located, Placeholder, ProviderTemplate, Section, Template, TemplateScope, Vars,
            is_dots, urlencode,
        },
        syntax::pointer_step,
    },
};

/// A request, over names of type `N`, to a URL of type `U`.
#[derive(Debug, Clone)]
pub(super) struct Request<N, U> {
    method: Method,
    pub(super) url: U,
    headers: Vec<(HeaderName, Template<N>)>,
    /// User name and password.
    basic: Option<(Template<N>, Template<N>)>,
    body: Body<N>,
}

/// A body.
#[derive(Debug, Clone)]
enum Body<N> {
    None,
    Form(Vec<(String, Template<N>)>),
    Json(JsonTemplate<N>),
}

/// A request as compiled.
pub(super) type CompiledRequest = Request<Placeholder, Located<ProviderTemplate>>;
/// A request with the vars filled in.
pub(super) type BoundRequest = Request<TokenInput, BoundUrl>;

/// The URL of a request with the vars filled in.
#[derive(Debug, Clone)]
pub(super) struct BoundUrl {
    pub(super) destination: Destination,
    pub(super) path: Template<Input>,
}

impl CompiledRequest {
    /// Compiles the table at the JSON pointer `pointer`.
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        pointer: &str,
        spec: &syntax::Request,
        (scope, section, vars): (TemplateScope<'_>, Option<&Section>, &Vars),
    ) -> Option<Self> {
        let url = compiler.token_url(&format!("{pointer}/url"), &spec.url, (vars, section));
        let headers = compiler.header_values(&format!("{pointer}/headers"), spec.headers.as_ref(), scope);
        let basic = match &spec.basic {
            Some(basic) => Some(basic_of(compiler, &format!("{pointer}/basic"), basic, scope)?),
            None => None,
        };
        let method = match spec.method.unwrap_or_default() {
            syntax::RequestMethod::Get => Method::GET,
            syntax::RequestMethod::Post => Method::POST,
        };
        Self::check_body(compiler, pointer, spec, &method);
        let body = Self::body(compiler, pointer, spec, scope)?;
        Some(Self { method, url: url?, headers, basic, body })
    }

    /// Its keys with their values.
    pub(super) fn keys(&self) -> Vec<(String, ProviderTemplate)> {
        let Self { method, url, headers, basic, body } = self;
        let mut keys = vec![
            ("request.method".to_owned(), Template::text(method.as_str())),
            ("request.url".to_owned(), url.value.clone()),
        ];
        keys.extend(headers.iter().map(|(name, text)| (format!("request.headers.{name}"), text.clone())));
        if let Some((username, password)) = basic {
            keys.push(("request.basic.username".to_owned(), username.clone()));
            keys.push(("request.basic.password".to_owned(), password.clone()));
        }
        match body {
            Body::None => {}
            Body::Form(fields) => {
                keys.extend(fields.iter().map(|(name, text)| (format!("request.form.{name}"), text.clone())));
            }
            Body::Json(json) => json.keys("request.json", &mut keys),
        }
        keys
    }

    fn check_body(compiler: &mut Compiler<'_>, pointer: &str, spec: &syntax::Request, method: &Method) {
        let key = if spec.json.is_some() { "json" } else { "form" };
        let at = || compiler.key(&format!("{pointer}/{key}"));
        if spec.form.is_some() && spec.json.is_some() {
            let (at, message) = (at(), "a request has `form` or `json`, not both");
            compiler.report(Code::Condition, at, message);
        } else if *method == Method::GET && (spec.form.is_some() || spec.json.is_some()) {
            let (at, message) = (at(), format!("a request with `GET` has no body, and `{key}` is one"));
            compiler.report_with_help(Code::Condition, at, message, "write method = \"POST\"");
        }
    }

    fn body(
        compiler: &mut Compiler<'_>,
        pointer: &str,
        spec: &syntax::Request,
        scope: TemplateScope<'_>,
    ) -> Option<Body<Placeholder>> {
        if let Some(json) = &spec.json {
            let json = Value::Object(json.clone().into_iter().collect());
            let pointer = format!("{pointer}/json");
            return JsonTemplate::new(compiler, &pointer, &json, (scope, false)).map(Body::Json);
        }
        let Some(form) = &spec.form else { return Some(Body::None) };
        let mut fields = Vec::new();
        for (name, text) in form {
            let pointer = format!("{pointer}/form/{}", pointer_step(name));
            fields.push((name.clone(), compiler.template(&pointer, text, scope)?));
        }
        Some(Body::Form(fields))
    }
}

fn basic_of(
    compiler: &mut Compiler<'_>,
    pointer: &str,
    basic: &Basic,
    scope: TemplateScope<'_>,
) -> Option<(ProviderTemplate, ProviderTemplate)> {
    let username = compiler.template(&format!("{pointer}/username"), &basic.username, scope);
    let password = compiler.template(&format!("{pointer}/password"), &basic.password, scope);
    Some((username?, password?))
}

impl<N, U> Request<N, U> {
    pub(super) fn map<M, V>(&self, url: V, with: &impl Fn(&Template<N>) -> Template<M>) -> Request<M, V> {
        let one = |(name, text): &(HeaderName, Template<N>)| (name.clone(), with(text));
        let field = |(name, text): &(String, Template<N>)| (name.clone(), with(text));
        Request {
            method: self.method.clone(),
            url,
            headers: self.headers.iter().map(one).collect(),
            basic: self.basic.as_ref().map(|(name, password)| (with(name), with(password))),
            body: match &self.body {
                Body::None => Body::None,
                Body::Form(fields) => Body::Form(fields.iter().map(field).collect()),
                Body::Json(json) => Body::Json(json.map(with)),
            },
        }
    }

    /// The templates of headers and body.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template<N>> {
        let headers = self.headers.iter().map(|(_, text)| text);
        let basic = self.basic.iter().flat_map(|(name, password)| [name, password]);
        let body = match &self.body {
            Body::None => Vec::new(),
            Body::Form(fields) => fields.iter().map(|(_, text)| text).collect(),
            Body::Json(json) => json.templates(),
        };
        headers.chain(basic).chain(body)
    }

    /// The method.
    pub(super) fn method(&self) -> &Method {
        &self.method
    }
}

impl BoundRequest {
    /// The call with all values filled in.
    pub(super) fn call(&self, values: &Values<'_>) -> Result<TokenCall, TokenProblem> {
        let origin = self.url.destination.origin(values.fields).map_err(|_| TokenProblem::NoOrigin)?;
        let mut target = String::new();
        let field = |input: &Input| input.field().and_then(|index| values.fields.get(index));
        if !self.url.path.placeholders().all(|input| field(input).is_some()) {
            return Err(TokenProblem::Malformed);
        }
        self.url.path.render(&mut target, |input| field(input).unwrap_or_default());
        if target.split('/').any(is_dots) {
            return Err(TokenProblem::Malformed);
        }
        if target.is_empty() {
            target.push('/');
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        for (name, text) in &self.headers {
            headers.insert(name.clone(), sensitive(&values.text(text)?)?);
        }
        if let Some((name, password)) = &self.basic {
            headers.insert(header::AUTHORIZATION, basic(&values.text(name)?, &values.text(password)?)?);
        }
        let (body, kind) = match &self.body {
            Body::None => (Zeroizing::default(), None),
            Body::Form(fields) => {
                (form(fields, values)?, Some(HeaderValue::from_static("application/x-www-form-urlencoded")))
            }
            Body::Json(json) => {
                let text = |text: &Template<TokenInput>| values.text(text).ok().map(|text| text.to_string());
                let json = json.rendered(values.fresh, &text).ok_or(TokenProblem::Malformed)?;
                let body = Zeroizing::new(json.to_string().into_bytes());
                (body, Some(HeaderValue::from_static("application/json")))
            }
        };
        if let Some(kind) = kind {
            headers.entry(header::CONTENT_TYPE).or_insert(kind);
        }
        Ok(TokenCall {
            method: self.method.clone(),
            origin: origin.into_owned(),
            target,
            headers,
            body,
            jwt: None,
        })
    }
}

/// HTTP Basic authentication. The first colon ends the user name (RFC 7617, section 2). Its buffers never grow.
fn basic(name: &str, password: &str) -> Result<HeaderValue, TokenProblem> {
    const SCHEME: &str = "Basic ";
    if name.contains(':') {
        return Err(TokenProblem::Malformed);
    }
    let mut pair = Zeroizing::new(String::with_capacity(name.len() + 1 + password.len()));
    pair.push_str(name);
    pair.push(':');
    pair.push_str(password);
    let mut value = Zeroizing::new(String::with_capacity(SCHEME.len() + pair.len().div_ceil(3) * 4));
    value.push_str(SCHEME);
    BASE64_STANDARD.encode_string(pair.as_bytes(), &mut value);
    sensitive(&value)
}

fn sensitive(text: &str) -> Result<HeaderValue, TokenProblem> {
    let mut value = HeaderValue::from_str(text).map_err(|_| TokenProblem::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A form (WHATWG URL, section 5.2). Its buffer never grows, so that no copy of a secret stays behind in memory.
fn form(
    fields: &[(String, Template<TokenInput>)],
    values: &Values<'_>,
) -> Result<Zeroizing<Vec<u8>>, TokenProblem> {
    let mut texts = Vec::with_capacity(fields.len());
    for (name, text) in fields {
        texts.push((urlencode(name), values.text(text)?));
    }
    // A byte becomes three at most.
    let room = texts.iter().map(|(name, text)| name.len() + 3 * text.len() + 2).sum();
    let mut form = Zeroizing::new(Vec::with_capacity(room));
    for (index, (name, text)) in texts.iter().enumerate() {
        if index > 0 {
            form.push(b'&');
        }
        form.extend_from_slice(name.as_bytes());
        form.push(b'=');
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => form.push(byte),
                b' ' => form.push(b'+'),
                _ => {
                    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                    form.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
                }
            }
        }
    }
    Ok(form)
}
