//! The reply of a token endpoint: the places of the token and its expiry.

use std::time::Duration;

use serde_json::Value;

use super::{MadeToken, TokenProblem, syntax};
use crate::{
    base::{diag::Code, numbers::millis, secret::Secret, time::millis_of},
    language::{
        compile::{Compiler, ProviderTemplate, Template},
        syntax::pointer_step,
    },
};

/// The lifetime of a token whose reply has no expiry.
const LIFETIME: Duration = Duration::from_hours(1);
/// Later times are milliseconds, not seconds: the year 5138.
const MAX_SECONDS: u64 = 100_000_000_000;

/// The places in a reply.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    token: String,
    expires_in: Option<String>,
    expires_at: Option<String>,
    /// By name, in order.
    fields: Vec<(Box<str>, String)>,
}

impl Reply {
    /// Compiles the table at the JSON pointer `pointer`.
    pub(super) fn new(compiler: &mut Compiler<'_>, pointer: &str, spec: &syntax::Reply) -> Self {
        let fields = spec.fields.iter().flatten();
        let places = [
            ("token".to_owned(), Some(&spec.token)),
            ("expires_in".to_owned(), spec.expires_in.as_ref()),
            ("expires_at".to_owned(), spec.expires_at.as_ref()),
        ];
        let further = fields.clone().map(|(name, at)| (format!("fields/{}", pointer_step(name)), Some(at)));
        for (key, place) in places.into_iter().chain(further) {
            if place.is_some_and(|place| !place.starts_with('/')) {
                let at = compiler.value(&format!("{pointer}/{key}"));
                compiler.report(Code::BadValue, at, "a JSON pointer starts with `/` (RFC 6901)");
            }
        }
        if spec.expires_in.is_some() && spec.expires_at.is_some() {
            let at = compiler.key(&format!("{pointer}/expires_at"));
            let message = "a reply has `expires_in` or `expires_at`, not both";
            compiler.report(Code::Condition, at, message);
        }
        for name in fields.clone().map(|(name, _)| name) {
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if name.is_empty() || !name.bytes().all(word) {
                let at = compiler.key(&format!("{pointer}/fields/{}", pointer_step(name)));
                compiler.report(Code::Name, at, "a name is made of letters, digits, `-` and `_`");
            }
        }
        Self {
            token: spec.token.clone(),
            expires_in: spec.expires_in.clone(),
            expires_at: spec.expires_at.clone(),
            fields: fields.map(|(name, at)| (name.as_str().into(), at.clone())).collect(),
        }
    }

    /// Its keys with their values.
    pub(super) fn keys(&self) -> Vec<(String, ProviderTemplate)> {
        let Self { token, expires_in, expires_at, fields } = self;
        let places = [
            ("token", Some(token)),
            ("expires_in", expires_in.as_ref()),
            ("expires_at", expires_at.as_ref()),
        ];
        let places = places.into_iter().filter_map(|(key, place)| Some((format!("reply.{key}"), place?)));
        let fields = fields.iter().map(|(name, place)| (format!("reply.fields.{name}"), place));
        places.chain(fields).map(|(key, place)| (key, Template::text(place))).collect()
    }

    /// The names of its further fields, in order.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name)
    }

    /// The token in a reply with this status.
    pub(super) fn read(&self, status: u16, body: &[u8], now_ms: u64) -> Result<MadeToken, TokenProblem> {
        match status {
            200..300 => {}
            400 | 401 | 403 if !says_overload(body) => return Err(TokenProblem::Refused(status)),
            _ => return Err(TokenProblem::Status(status)),
        }
        let invalid = TokenProblem::InvalidReply;
        let document: Value = serde_json::from_slice(body).map_err(|_| invalid("is no JSON"))?;
        let text = |place: &str| match document.pointer(place) {
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(Secret::new(text)),
            Some(Value::Number(number)) => Some(Secret::new(number.to_string())),
            _ => None,
        };
        let token = text(&self.token).ok_or(invalid("has no token at the place that the file names"))?;
        if !token.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(invalid("has a token that is no valid header value"));
        }
        let field = |(name, place): &(Box<str>, String)| Some((name.clone(), text(place)?));
        let fields: Option<Vec<_>> = self.fields.iter().map(field).collect();
        let fields = fields.ok_or(invalid("lacks one of the `fields` that the file names"))?;
        if fields.iter().any(|(_, text)| text.expose().contains(char::is_control)) {
            return Err(invalid("has control characters in one of its `fields`"));
        }
        Ok(MadeToken { token, fields, expires_at_ms: self.expiry(&document, now_ms) })
    }

    fn expiry(&self, document: &Value, now_ms: u64) -> u64 {
        let at = |place: &Option<String>| document.pointer(place.as_deref()?);
        let lasts = at(&self.expires_in)
            .and_then(number)
            .map(|seconds| now_ms.saturating_add(seconds.saturating_mul(1000)));
        let ends = || at(&self.expires_at).and_then(time);
        lasts.or_else(ends).unwrap_or(now_ms.saturating_add(millis(LIFETIME)))
    }
}

/// Error codes of a token endpoint that is overloaded, or limits the rate: they are common names, of no standard.
const OVERLOAD: [&str; 7] = [
    "rate_limit_exceeded",
    "rate_limited",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "timeout",
    "too_many_requests",
];

/// The error codes in an `error` field (RFC 6749, section 5.2). Some endpoints put them into an object.
pub fn error_codes(error: &Value) -> impl Iterator<Item = &str> {
    let texts = [error, &error["code"], &error["type"]].into_iter().filter_map(Value::as_str);
    texts.map(str::trim).filter(|code| !code.is_empty())
}

/// True if an `error` field says that the same request may succeed later.
pub fn is_overload(error: &Value) -> bool {
    error_codes(error).any(|code| OVERLOAD.iter().any(|one| code.eq_ignore_ascii_case(one)))
}

fn says_overload(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|body| is_overload(&body["error"]))
}

/// A count, also as a text: some endpoints quote it.
fn number(value: &Value) -> Option<u64> {
    match value {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a conversion saturates")]
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|number| number as u64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A time, in milliseconds since 1970.
fn time(value: &Value) -> Option<u64> {
    match number(value) {
        Some(seconds) if seconds < MAX_SECONDS => Some(seconds * 1000),
        Some(millis) => Some(millis),
        None => {
            // Fractions of a second and the offset of UTC in digits mean the same.
            let text = value.as_str()?;
            let whole = text.strip_suffix("+00:00").or_else(|| text.strip_suffix('Z'))?;
            let whole = whole.split('.').next()?;
            millis_of(&format!("{whole}Z")).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read() {
        let places = |expires_in: Option<&str>, expires_at: Option<&str>| Reply {
            token: "/data/token".to_owned(),
            expires_in: expires_in.map(str::to_owned),
            expires_at: expires_at.map(str::to_owned),
            fields: Vec::new(),
        };
        let check = |reply: &Reply, status, body: &str, expected: Result<(&str, u64), TokenProblem>| {
            let made = reply.read(status, body.as_bytes(), 1_000);
            let made =
                made.as_ref().map(|made| (made.token.expose(), made.expires_at_ms)).map_err(|one| *one);
            assert_eq!(made, expected, "{body}");
        };
        let (none, lasts, ends) = (places(None, None), places(Some("/in"), None), places(None, Some("/at")));
        check(&none, 200, r#"{"data":{"token":"t"}}"#, Ok(("t", 3_601_000)));
        check(&lasts, 200, r#"{"data":{"token":"t"},"in":60}"#, Ok(("t", 61_000)));
        check(&lasts, 201, r#"{"data":{"token":"t"},"in":"60"}"#, Ok(("t", 61_000)));
        check(&lasts, 200, r#"{"data":{"token":"t"},"in":60.9}"#, Ok(("t", 61_000)));
        check(&lasts, 200, r#"{"data":{"token":"t"},"in":null}"#, Ok(("t", 3_601_000)));
        check(&ends, 200, r#"{"data":{"token":"t"},"at":1800000000}"#, Ok(("t", 1_800_000_000_000)));
        check(&ends, 200, r#"{"data":{"token":"t"},"at":1800000000123}"#, Ok(("t", 1_800_000_000_123)));
        check(&ends, 200, r#"{"data":{"token":"t"},"at":"1970-01-01T00:01:00.5+00:00"}"#, Ok(("t", 60_000)));
        let invalid = |why| Err(TokenProblem::InvalidReply(why));
        let missing = "has no token at the place that the file names";
        check(&none, 200, r#"{"data":{}}"#, invalid(missing));
        check(&none, 200, r#"{"data":{"token":""}}"#, invalid(missing));
        check(
            &none,
            200,
            r#"{"data":{"token":"a b"}}"#,
            invalid("has a token that is no valid header value"),
        );
        check(&none, 200, "<html>", invalid("is no JSON"));
        check(&none, 401, "{}", Err(TokenProblem::Refused(401)));
        check(&none, 400, r#"{"error":"invalid_client"}"#, Err(TokenProblem::Refused(400)));
        check(&none, 400, r#"{"error":"slow_down"}"#, Err(TokenProblem::Status(400)));
        check(&none, 403, r#"{"error":{"code":"Rate_Limit_Exceeded"}}"#, Err(TokenProblem::Status(403)));
        check(&none, 503, "{}", Err(TokenProblem::Status(503)));
        check(&none, 302, "{}", Err(TokenProblem::Status(302)));
        let with = Reply { fields: vec![("kind".into(), "/kind".to_owned())], ..none };
        check(
            &with,
            200,
            r#"{"data":{"token":"t"}}"#,
            invalid("lacks one of the `fields` that the file names"),
        );
        let fields = with.read(200, br#"{"data":{"token":"t"},"kind":"Bearer"}"#, 0).unwrap().fields;
        assert_eq!(fields, [("kind".into(), Secret::new("Bearer"))]);
    }
}
