//! JSON Web Tokens (RFC 7519) in compact form (RFC 7515, section 7.1). The signature comes from a [`Signer`], since this package
//! has no cryptography of its own.

use std::time::Duration;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{TokenInput, TokenProblem, Values, json_template::JsonTemplate, syntax};
use crate::{
    base::numbers::millis,
    language::{
        compile::{Compiler, Placeholder, ProviderTemplate, Template, TemplateScope, quantity},
        syntax::pointer_step,
    },
};

/// The default of `ttl`.
const TTL: Duration = Duration::from_mins(10);
/// The key that it is signed with, as [`super::Compiled::keys`] lists it.
pub const SIGNING_KEY: &str = "jwt.key";
/// The key of its time of validity there.
pub const LIFETIME: &str = "jwt.ttl";
/// The claims that are added.
const ISSUED_AT: &str = "iat";
const EXPIRES: &str = "exp";

/// Signs texts with private keys.
pub trait Signer {
    /// The signature of a text, in the form of RFC 7518.
    fn sign(&self, alg: syntax::Algorithm, key: &str, text: &[u8]) -> Result<Vec<u8>, BadKey>;
    /// The SHA-256 of the key's public half, as `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
    fn fingerprint(&self, alg: syntax::Algorithm, key: &str) -> Result<[u8; 32], BadKey>;
}

/// A stored key that cannot sign, and the reason, as the end of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadKey(pub &'static str);

/// A JWT, over names of type `N`.
#[derive(Debug, Clone)]
pub(super) struct Jwt<N> {
    alg: syntax::Algorithm,
    key: Template<N>,
    /// Texts of the header, in order.
    headers: Vec<(String, Template<N>)>,
    ttl: Duration,
    claims: JsonTemplate<N>,
}

impl Jwt<Placeholder> {
    /// Compiles the table at the JSON pointer `pointer`.
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        pointer: &str,
        spec: &syntax::Jwt,
        scope: TemplateScope<'_>,
    ) -> Option<Self> {
        let key = compiler.template(&format!("{pointer}/key"), &spec.key, scope);
        let words: &[_] = match spec.alg {
            // A shared secret has no public half.
            syntax::Algorithm::Hs256 => &[],
            syntax::Algorithm::Rs256 | syntax::Algorithm::Es256 | syntax::Algorithm::EdDsa => {
                &[("fingerprint", Placeholder::Token(super::TokenWord::Fingerprint))]
            }
        };
        let scope = TemplateScope { words, ..scope };
        let mut headers = Vec::new();
        let written = spec.headers.iter().flatten();
        let written = written.map(|(name, text)| (name, format!("headers/{}", pointer_step(name)), text));
        let kid = "kid".to_owned();
        let kid = spec.kid.iter().map(|text| (&kid, "kid".to_owned(), text));
        for (name, below, text) in kid.chain(written) {
            let template = compiler.template(&format!("{pointer}/{below}"), text, scope);
            headers.extend(template.map(|template| (name.clone(), template)));
        }
        let ttl = spec.ttl.as_deref();
        let ttl = ttl.and_then(|text| compiler.quantity(&format!("{pointer}/ttl"), quantity::duration(text)));
        let claims = Value::Object(spec.claims.clone().into_iter().collect());
        let claims = JsonTemplate::new(compiler, &format!("{pointer}/claims"), &claims, (scope, true))?;
        Some(Self { alg: spec.alg, key: key?, headers, ttl: ttl.unwrap_or(TTL), claims })
    }

    /// Its keys with their values.
    pub(super) fn keys(&self) -> Vec<(String, ProviderTemplate)> {
        let Self { alg, key, headers, ttl, claims } = self;
        let mut keys = vec![
            ("jwt.alg".to_owned(), Template::text(alg.name())),
            (SIGNING_KEY.to_owned(), key.clone()),
            (LIFETIME.to_owned(), Template::text(&format!("{ttl:?}"))),
        ];
        keys.extend(headers.iter().map(|(name, text)| (format!("jwt.headers.{name}"), text.clone())));
        claims.keys("jwt.claims", &mut keys);
        keys
    }
}

impl<N> Jwt<N> {
    pub(super) fn map<M>(&self, with: &impl Fn(&Template<N>) -> Template<M>) -> Jwt<M> {
        let header = |(name, text): &(String, Template<N>)| (name.clone(), with(text));
        Jwt {
            alg: self.alg,
            key: with(&self.key),
            headers: self.headers.iter().map(header).collect(),
            ttl: self.ttl,
            claims: self.claims.map(with),
        }
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = &Template<N>> {
        let headers = self.headers.iter().map(|(_, text)| text);
        [&self.key].into_iter().chain(headers).chain(self.claims.templates())
    }

    /// The time from `iat` to `exp`.
    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The algorithm.
    pub(super) fn alg(&self) -> syntax::Algorithm {
        self.alg
    }
}

/// A JWT, and when it expires, in milliseconds since 1970.
pub(super) struct Signed {
    pub(super) text: Zeroizing<String>,
    pub(super) expires_at_ms: u64,
}

impl Jwt<TokenInput> {
    /// The signed token.
    pub(super) fn signed(&self, values: &Values<'_>, signer: &dyn Signer) -> Result<Signed, TokenProblem> {
        let key = values.text(&self.key)?;
        let bad = |BadKey(why): BadKey| TokenProblem::BadKey(why);
        let with_fingerprint =
            self.templates().any(|text| text.placeholders().any(|input| input.is_fingerprint()));
        let fingerprint = with_fingerprint.then(|| signer.fingerprint(self.alg, &key)).transpose();
        let fingerprint = fingerprint.map_err(bad)?.map(|digest| BASE64_STANDARD.encode(digest));
        let values = Values { fingerprint: fingerprint.as_deref(), ..*values };
        let mut header = Map::from_iter([
            ("alg".to_owned(), Value::from(self.alg.name())),
            ("typ".to_owned(), Value::from("JWT")),
        ]);
        for (name, text) in &self.headers {
            header.insert(name.clone(), Value::from(values.text(text)?.as_str()));
        }
        let text = |template: &Template<TokenInput>| values.text(template).ok().map(|text| text.to_string());
        let claims = self.claims.rendered(values.fresh, &text);
        let Some(Value::Object(mut claims)) = claims else { return Err(TokenProblem::Malformed) };
        let (_, now_ms) = values.fresh;
        let issued = now_ms / 1000;
        claims.entry(ISSUED_AT).or_insert(json!(issued));
        let expires = claims.entry(EXPIRES).or_insert(json!(issued + millis(self.ttl).div_ceil(1000)));
        let expires_at_ms = expires.as_u64().map_or(now_ms + millis(self.ttl), |at| at.saturating_mul(1000));
        let part = |part: Map<String, Value>| {
            BASE64_URL_SAFE_NO_PAD.encode(Zeroizing::new(Value::Object(part).to_string()).as_bytes())
        };
        let front = Zeroizing::new(format!("{}.{}", part(header), part(claims)));
        let signature = signer.sign(self.alg, &key, front.as_bytes()).map_err(bad)?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        Ok(Signed { text: Zeroizing::new(format!("{}.{signature}", *front)), expires_at_ms })
    }
}
