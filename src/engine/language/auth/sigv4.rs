//! Signatures of AWS Signature Version 4: `sign = { kind = "aws-sigv4", ... }`. The key signs the head and the hash of the body,
//! and is not sent.
//!
//! Signed are `host`, `content-type` and all `x-amz-*` headers of the finished head: no header that a proxy on the way may
//! change. Read next: `canonical` (the text that is signed), `signature`.

mod canonical;
mod signature;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vector_tests;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use self::{canonical::PathForm, signature::Scope};
use super::{
    AuthInput, BodyInput, FinishedHead, Inputs, Malformed, Needs, Output, Place, headers::reveals, rendered,
};
use crate::{
    base::{diag::Code, hex},
    language::{
        bind::Filler,
        compile::{Compiler, ProviderTemplate, Template, TemplateScope},
    },
};

/// Its key in an entry.
const KEY: &str = "sign";

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The word in the place of the body's hash if the body is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The key's value as written. The names of its kinds are a closed set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sign")]
pub struct Syntax {
    /// The kind of signature.
    #[schemars(example = &"aws-sigv4")]
    kind: SignatureKind,
    /// The name of the service in signatures. A template over vars and fields, as are all other values.
    #[schemars(example = &"execute-api")]
    service: String,
    /// The region.
    #[schemars(example = &"{region}")]
    region: String,
    /// The id of the key.
    #[schemars(example = &"{accessKeyId}")]
    key_id: String,
    /// The secret key. It is not sent.
    #[schemars(example = &"{secretAccessKey}")]
    key: String,
    /// The token of temporary credentials. It is left out where the field is not stored.
    #[schemars(example = &"{sessionToken}")]
    session: Option<String>,
    /// The part of the body that is signed; `sha256` by default.
    #[schemars(example = &"unsigned")]
    payload: Option<Payload>,
    /// The form of the path that is signed; `twice` by default.
    #[schemars(example = &"once")]
    path: Option<PathEncoding>,
}

impl Syntax {
    /// The unparsed templates.
    pub(super) fn templates(&self) -> impl Iterator<Item = &String> {
        let Self {
            kind: SignatureKind::AwsSigv4,
            service,
            region,
            key_id,
            key,
            session,
            payload: _,
            path: _,
        } = self;
        [service, region, key_id, key].into_iter().chain(session)
    }
}

/// The example of the schema.
pub(super) fn example() -> serde_json::Value {
    json!({
        "kind": "aws-sigv4",
        "service": "execute-api",
        "region": "{region}",
        "key_id": "{accessKeyId}",
        "key": "{secretAccessKey}",
    })
}

/// The kinds of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
enum SignatureKind {
    /// AWS Signature Version 4.
    #[serde(rename = "aws-sigv4")]
    AwsSigv4,
}

/// The part of the body that is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Payload {
    /// Its hash. The body is read before it is sent, up to `limits.signed_body`.
    #[default]
    Sha256,
    /// Nothing: the body streams. Few services accept that.
    Unsigned,
}

/// The form of the path that is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum PathEncoding {
    /// The path as it is sent, percent-encoded once more: for most services.
    #[default]
    Twice,
    /// The path as it is sent: for object stores.
    Once,
}

/// Compiled: every template is valid.
#[derive(Debug, Clone)]
pub struct Compiled {
    values: Values<ProviderTemplate>,
    payload: Payload,
    path: PathForm,
    outputs: Vec<Written>,
}

/// A header that it writes: its name, a description of its value, true if that shows a secret, and the number of placeholders at
/// its end that are only signed with.
#[derive(Debug, Clone)]
struct Written {
    name: HeaderName,
    text: ProviderTemplate,
    reveals: bool,
    signs: usize,
}

/// Bound to the vars: only the secret and the fields are open.
#[derive(Debug)]
pub struct Bound {
    values: Values<Template<AuthInput>>,
    payload: Payload,
    path: PathForm,
    /// Its headers that an active gateway or egress removes or replaces.
    overridden: Vec<HeaderName>,
}

/// The templates of a signature.
#[derive(Debug, Clone)]
struct Values<T> {
    service: T,
    region: T,
    key_id: T,
    key: T,
    session: Option<T>,
}

impl<T> Values<T> {
    fn map<U>(&self, one: impl Fn(&T) -> U) -> Values<U> {
        let Self { service, region, key_id, key, session } = self;
        Values {
            service: one(service),
            region: one(region),
            key_id: one(key_id),
            key: one(key),
            session: session.as_ref().map(one),
        }
    }
}

/// The pointer of the key that makes it write a header, below the entry.
pub(super) fn pointer(place: Place<'_>) -> String {
    match place.header().map_or("", HeaderName::as_str) {
        "x-amz-security-token" => format!("/{KEY}/session"),
        "x-amz-content-sha256" => format!("/{KEY}/payload"),
        _ => format!("/{KEY}"),
    }
}

impl Compiled {
    /// Compiles the templates of an entry at the JSON pointer `pointer`. None after a finding.
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        pointer: &str,
        spec: &Syntax,
        scope: TemplateScope<'_>,
    ) -> Option<Self> {
        let Syntax { kind: SignatureKind::AwsSigv4, service, region, key_id, key, session, payload, path } =
            spec;
        let mut value = |name: &str, text: &str| {
            let pointer = format!("{pointer}/{KEY}/{name}");
            if text.is_empty() {
                compiler.report(Code::BadValue, compiler.value(&pointer), format!("`{name}` is empty"));
                return None;
            }
            let template = compiler.template(&pointer, text, scope)?;
            if !matches!(name, "key" | "session") && !is_part(&assumed(&template)) {
                let message =
                    format!("`{name}` has a space, `/`, `,` or another character that no signature can name");
                compiler.report(Code::BadValue, compiler.value(&pointer), message);
                return None;
            }
            if name == "key" && template.placeholders().next().is_none() {
                let help =
                    "name a field of the credentials section, such as `{secretAccessKey}`, or a secret var";
                let message = "the key is written in the file: who reads the file can sign with it";
                compiler.report_with_help(Code::BadValue, compiler.value(&pointer), message, help);
                return None;
            }
            Some(template)
        };
        let (service, region) = (value("service", service), value("region", region));
        let (key_id, key) = (value("key_id", key_id), value("key", key));
        let session = match session.as_deref().map(|text| value("session", text)) {
            Some(None) => return None,
            Some(session) => session,
            None => None,
        };
        let values = Values { service: service?, region: region?, key_id: key_id?, key: key?, session };
        let path = match path.unwrap_or_default() {
            PathEncoding::Twice => PathForm::TWICE,
            PathEncoding::Once => PathForm::ONCE,
        };
        let payload = payload.unwrap_or_default();
        let outputs = written(&values, payload, path);
        Some(Self { values, payload, path, outputs })
    }

    pub(super) fn outputs(&self) -> Vec<Output<'_>> {
        let outputs = self.outputs.iter();
        outputs
            .map(|Written { name, text, reveals, signs }| Output {
                place: Place::Header(name),
                text,
                reveals: *reveals,
                signs: *signs,
            })
            .collect()
    }

    /// Fills in the vars. `overridden`: headers that an active gateway or egress removes or replaces.
    pub(super) fn bind(&self, filler: &Filler<'_>, overridden: impl Fn(&HeaderName) -> bool) -> Bound {
        let names = self.outputs.iter().map(|written| &written.name);
        Bound {
            values: self.values.map(|text| filler.auth_input(text)),
            payload: self.payload,
            path: self.path,
            overridden: names.filter(|name| overridden(name)).cloned().collect(),
        }
    }
}

/// The headers that it writes.
fn written(values: &Values<ProviderTemplate>, payload: Payload, path: PathForm) -> Vec<Written> {
    let Values { service, region, key_id, key, session } = values;
    let mut sent = Template::text(signature::ALGORITHM);
    sent.append(&Template::text(" Credential="), false);
    for (part, after) in [(key_id, "/<day>/"), (region, "/"), (service, "/aws4_request")] {
        sent.append(part, false);
        sent.append(&Template::text(after), false);
    }
    let reveals_secret = reveals(&sent);
    sent.append(&Template::text(", signed with "), false);
    sent.append(key, false);
    if path == PathForm::ONCE {
        sent.append(&Template::text(", path encoded once"), false);
    }
    let content = match payload {
        Payload::Sha256 => "<hash of the body>",
        Payload::Unsigned => UNSIGNED,
    };
    let fixed = |name, text| Written { name, text: Template::text(text), reveals: false, signs: 0 };
    let token = session.iter().map(|text| Written {
        name: TOKEN,
        text: text.clone(),
        reveals: reveals(text),
        signs: 0,
    });
    let signs = key.placeholders().count();
    let mut all = vec![
        Written { name: header::AUTHORIZATION, text: sent, reveals: reveals_secret, signs },
        fixed(DATE, "<time>"),
        fixed(CONTENT, content),
    ];
    all.extend(token);
    all
}

/// The literal text of a template.
fn assumed(template: &ProviderTemplate) -> String {
    let mut text = String::new();
    template.render(&mut text, |_| "x");
    text
}

/// True for a text that can be a part of a credential scope.
fn is_part(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/,=;".contains(&byte))
}

impl Bound {
    pub(super) fn needs(&self) -> Needs {
        let body = match self.payload {
            Payload::Sha256 => BodyInput::Sha256,
            Payload::Unsigned => BodyInput::Nothing,
        };
        Needs { body }
    }

    /// True if it writes a header of this name.
    pub(super) fn writes(&self, name: &str) -> bool {
        let names = [header::AUTHORIZATION, DATE, CONTENT, TOKEN];
        names.iter().any(|known| known == name && !self.overridden.contains(known))
    }

    /// The indices of the values that it reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = u16> {
        let Values { service, region, key_id, key, session } = &self.values;
        let all = [service, region, key_id, key].into_iter().chain(session);
        all.flat_map(Template::placeholders).filter_map(|name| name.field())
    }

    /// Signs the head, and reports each header that it writes with its index among the outputs.
    pub(super) fn apply(
        &self,
        FinishedHead { method, origin: _, target, headers }: FinishedHead<'_>,
        inputs: &Inputs<'_>,
        mut wrote: impl FnMut(usize, Place<'_>),
    ) -> Result<(), Malformed> {
        let Values { service, region, key_id, key, session } = self.values.map(|text| rendered(text, inputs));
        let part = |value: Option<Zeroizing<String>>| value.filter(|text| is_part(text)).ok_or(Malformed);
        let (service, region, key_id) = (part(service)?, part(region)?, part(key_id)?);
        let key = key.filter(|key| !key.is_empty()).ok_or(Malformed)?;
        let payload = match self.payload {
            // The gateway has obtained what the kind needs.
            Payload::Sha256 => hex::encode(&inputs.body.ok_or(Malformed)?.0),
            Payload::Unsigned => UNSIGNED.to_owned(),
        };
        let scope = Scope::new(inputs.now_ms, &region, &service);
        let mut put = |headers: &mut HeaderMap, index, name: HeaderName, value: &str| {
            let mut value = HeaderValue::from_str(value).map_err(|_| Malformed)?;
            if !self.overridden.contains(&name) {
                value.set_sensitive(true);
                wrote(index, Place::Header(&name));
                headers.insert(name, value);
            }
            Ok(())
        };
        put(headers, 1, DATE, &scope.time)?;
        put(headers, 2, CONTENT, &payload)?;
        if let Some(session) = session.flatten() {
            put(headers, 3, TOKEN, &session)?;
        }
        let request = canonical::request(method, target, headers, &payload, self.path, is_signed);
        let signature = scope.signature(&key, &scope.string_to_sign(&request));
        let value = scope.authorization(&key_id, &request.signed_headers, &signature);
        put(headers, 0, header::AUTHORIZATION, &value)
    }
}

/// True for a header that is signed.
fn is_signed(name: &HeaderName) -> bool {
    matches!(*name, header::HOST | header::CONTENT_TYPE) || name.as_str().starts_with("x-amz-")
}
