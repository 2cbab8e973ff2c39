//! The made token of a test: the request to the token endpoint, and its scripted reply.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::HeaderMap;
use serde_json::Value;

use super::{Mismatch, all_values};
use crate::{
    base::name::Owner,
    language::{
        syntax::{ExpectJwt, ExpectTokenRequest, TokenReply},
        token::{
            BadKey, MadeFrom, MadeToken, OwnedValues, Signer, Token, TokenCall, TokenProblem, TokenStep,
            syntax::Algorithm,
        },
    },
    request::{
        decide::{Candidate, Made, StoredBy, TokenAttempt, TokenState},
        rewrite::value_of,
    },
};

/// The owner of a test's credentials: a token is made for an owner.
static OWNER: Owner = Owner::Everybody;

/// Signs nothing, so that tests need no key and no randomness.
struct NoSigner;

impl Signer for NoSigner {
    fn sign(&self, _: Algorithm, _: &str, _: &[u8]) -> Result<Vec<u8>, BadKey> {
        Ok(b"signature".to_vec())
    }

    fn fingerprint(&self, _: Algorithm, _: &str) -> Result<[u8; 32], BadKey> {
        Ok([0; 32])
    }
}

/// The attempt of a test to make a token.
pub(super) struct Attempt {
    made_from: MadeFrom,
    made: Result<MadeToken, TokenProblem>,
    call: Option<TokenCall>,
}

impl Attempt {
    /// Makes a token of these values. `scripted`: the reply of the token endpoint.
    pub(super) fn new(
        token: &Token,
        (values, made_from): (&OwnedValues, MadeFrom),
        scripted: Option<&TokenReply>,
        now_ms: u64,
    ) -> Self {
        let (made, call) = match token.step(&values.values(), ([0; 16], now_ms), &NoSigner) {
            Err(problem) => (Err(problem), None),
            Ok(TokenStep::Made(made)) => (Ok(made), None),
            Ok(TokenStep::Call(call)) => {
                let made = match scripted {
                    Some(TokenReply { status, body }) => {
                        let body = body.as_ref().map(super::Payload::text).unwrap_or_default();
                        token.reply(status.unwrap_or(200), body.as_bytes(), now_ms)
                    }
                    None => Ok(token.stand_in().clone()),
                };
                (made, Some(call))
            }
        };
        Self { made_from, made, call }
    }

    fn state(&self) -> TokenState<'_> {
        let attempt = match &self.made {
            Ok(MadeToken { token, fields, expires_at_ms }) => TokenAttempt::Made(Made {
                token,
                fields,
                expires_at_ms: *expires_at_ms,
                made_from: self.made_from,
            }),
            Err(problem) => TokenAttempt::Failed(*problem),
        };
        TokenState { stored: None, attempt: Some(attempt) }
    }

    /// The request to the token endpoint, and the JWT.
    pub(super) fn seen(&self) -> Seen {
        let held = self.call.as_ref().and_then(|call| call.jwt.as_ref().map(|jwt| jwt.to_string()));
        let made = || Some(self.made.as_ref().ok()?.token.expose().to_owned());
        let jwt = if self.call.is_some() { held } else { made() };
        let request = self.call.as_ref().map(|call| SeenRequest {
            method: call.method.to_string(),
            url: format!("{}{}", call.origin, call.target),
            headers: call.headers.clone(),
            body: String::from_utf8_lossy(&call.body).into_owned(),
        });
        Seen { request, jwt }
    }
}

/// The credentials of a test: the values by field, and the made token.
pub(super) struct Held<'h, F> {
    pub(super) value: F,
    pub(super) attempt: Option<&'h Attempt>,
}

impl<'h, F: Fn(&str) -> Option<Candidate<'h>>> StoredBy<'h> for Held<'h, F> {
    fn value(&self, field: &str) -> Option<Candidate<'h>> {
        (self.value)(field)
    }

    fn token(&self, _stored_as: &str) -> TokenState<'h> {
        self.attempt.map(Attempt::state).unwrap_or_default()
    }

    fn owner(&self) -> Option<&'h Owner> {
        Some(&OWNER)
    }
}

/// The request to a token endpoint and the JWT that a test observes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    request: Option<SeenRequest>,
    jwt: Option<String>,
}

#[derive(Debug)]
struct SeenRequest {
    method: String,
    url: String,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    /// Differences from the expected request.
    pub(super) fn compare_request(&self, expect: &ExpectTokenRequest) -> Vec<Mismatch> {
        let Some(request) = &self.request else {
            return vec![Mismatch::Other("no request to a token endpoint is made".to_owned())];
        };
        let mut differences = Differences::default();
        differences.add("the URL of the token request", expect.url.as_deref(), Some(&request.url));
        differences.add("the method of the token request", expect.method.as_deref(), Some(&request.method));
        for (name, value) in expect.headers.iter().flatten() {
            let found = all_values(&request.headers, name);
            differences.add(&format!("header `{name}` of the token request"), Some(value), found.as_deref());
        }
        for (name, value) in expect.form.iter().flatten() {
            let found = value_of(Some(&request.body), name);
            differences.add(
                &format!("`{name}` in the form of the token request"),
                Some(value),
                found.as_deref(),
            );
        }
        if let Some(json) = &expect.json {
            let found = serde_json::from_str(&request.body).ok().map(super::in_order);
            differences.add_json("the JSON of the token request", &serde_json::json!(json), found);
        }
        differences.0
    }

    /// Differences from the expected JWT.
    pub(super) fn compare_jwt(&self, expect: &ExpectJwt) -> Vec<Mismatch> {
        let Some(jwt) = &self.jwt else {
            return vec![Mismatch::Other("no JWT is made".to_owned())];
        };
        let part = |index: usize| {
            let part = BASE64_URL_SAFE_NO_PAD.decode(jwt.split('.').nth(index)?).ok()?;
            serde_json::from_slice::<Value>(&part).ok().map(super::in_order)
        };
        let mut differences = Differences::default();
        if let Some(header) = &expect.header {
            differences.add_json("the header of the JWT", &serde_json::json!(header), part(0));
        }
        if let Some(claims) = &expect.claims {
            differences.add_json("the claims of the JWT", &serde_json::json!(claims), part(1));
        }
        differences.0
    }
}

#[derive(Default)]
struct Differences(Vec<Mismatch>);

impl Differences {
    fn add(&mut self, what: &str, expected: Option<&str>, found: Option<&str>) {
        if let Some(expected) = expected
            && found != Some(expected)
        {
            let (expected, actual) = (expected.to_owned(), found.map(str::to_owned));
            self.0.push(Mismatch::Differs { what: what.to_owned(), expected, actual });
        }
    }

    fn add_json(&mut self, what: &str, expected: &Value, found: Option<Value>) {
        let expected = super::in_order(expected.clone()).to_string();
        self.add(what, Some(&expected), found.map(|found| found.to_string()).as_deref());
    }
}
