//! The three causes of a refused token: there is none, it has not the form of one, or it is not valid here. Each has a code
//! and a message of its own.
//!
//! It guarantees: the cause depends on the request and on provider files alone, never on the tokens that exist, so that a
//! guesser learns nothing; and no message repeats a part of the token. It never looks a token up.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    base::fault::{Fault, FaultKind},
    language::generator::Generator,
    request::{
        rewrite::{GENERATED_PREFIX, TokenPart},
        table::Table,
    },
};

/// The side whose token a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOf {
    /// A user.
    User,
    /// An admin.
    Admin,
}

impl TokenOf {
    /// The fault of a request without a token.
    pub fn missing(self) -> Fault {
        let message = format!(
            "{}. No token was found in the request: send yours as `Authorization: Bearer TOKEN`, \
             or where the client has its API key",
            self.sentence()
        );
        Fault::new(FaultKind::MissingToken, message)
    }

    /// The fault of a token that nobody has. `table`: the files that know the beginnings of vendors' keys.
    pub fn unknown(self, presented: &str, table: &Table) -> Fault {
        if has_form(presented) || is_pasted(presented, table) {
            return match self {
                Self::User => Fault::invalid_token(),
                Self::Admin => Fault::invalid_admin_token(),
            };
        }
        let kind = match table.vendor_of_key(presented) {
            Some(title) => format!("it looks like a key of {title}"),
            None => "it may be a vendor's key".to_owned(),
        };
        let message = format!(
            "{}. The token does not look like one of tollgate's (`{GENERATED_PREFIX}...`): {kind}. Send a token \
             of tollgate: vendors' keys are stored there, and no client needs them",
            self.sentence()
        );
        Fault::new(FaultKind::ForeignToken, message)
    }

    /// The sentence that all three causes begin with.
    fn sentence(self) -> &'static str {
        match self {
            Self::User => "Invalid or missing auth credentials",
            Self::Admin => "Invalid or missing admin credentials",
        }
    }
}

/// True for a text that begins like a token that tollgate makes, also after a vendor's prefix.
fn has_form(presented: &str) -> bool {
    let mut parts = TokenPart::ALL.into_iter().filter_map(|part| part.text(presented));
    parts.any(|part| part.starts_with(GENERATED_PREFIX))
}

/// True for a text with the claims of a paste token that a file describes. Other texts of that form are vendors' own.
fn is_pasted(presented: &str, table: &Table) -> bool {
    let Some(payload) = payload(presented) else { return false };
    let pasted = table.providers.iter().filter_map(|provider| provider.paste_token.as_ref());
    pasted.map(|paste| &paste.spec.claims).any(|claims| {
        claims.len() == payload.len()
            && claims.iter().all(|(name, claim)| is_filled(claim, payload.get(name)))
    })
}

/// The claims of a JSON web token (RFC 7519).
fn payload(token: &str) -> Option<Map<String, Value>> {
    let [_, payload, _] = *token.split('.').take(4).collect::<Vec<_>>() else { return None };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// True if a value may be this claim with its generated parts filled in.
fn is_filled(claim: &Value, value: Option<&Value>) -> bool {
    let Some(value) = value else { return false };
    let Value::Object(table) = claim else { return claim == value };
    let prefix = table.get("prefix").and_then(Value::as_str).unwrap_or_default();
    match (table.get("gen").and_then(Value::as_str).and_then(Generator::find), value) {
        (Some(Generator::Now), value) if prefix.is_empty() => value.is_number(),
        (Some(_), value) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
        (None, Value::Object(inner)) => {
            table.len() == inner.len() && table.iter().all(|(name, claim)| is_filled(claim, inner.get(name)))
        }
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_of_a_token() {
        let digits = "0123456789abcdef".repeat(3);
        let check =
            |presented: &str, expected: bool| assert_eq!(has_form(presented), expected, "{presented}");
        check(&format!("tg_{digits}"), true);
        check(&format!("sk-ant-oat-tg_{digits}"), true);
        check("eyJh.eyJz.c2ln", false);
        check("tg_cut", true);
        check("sk-tg_-1", false);
        check("sk-ant-api03-abc", false);
        check(&digits, false);
        check("", false);
    }

    #[test]
    fn the_claims_of_a_paste_token() {
        let claims = json!({
            "exp": 9, "iat": { "gen": "now" }, "when": { "gen": "now", "prefix": "t" },
            "in": { "id": { "gen": "uuid" }, "user": { "gen": "hex24", "prefix": "user-" }, "list": [1] },
        });
        let check = |token: &str, expected: bool| {
            let found =
                payload(token).is_some_and(|payload| is_filled(&claims, Some(&Value::Object(payload))));
            assert_eq!(found, expected, "{token}");
        };
        let token = |payload: &Value| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()));
        let made =
            json!({ "exp": 9, "iat": 5, "when": "t5", "in": { "id": "1", "user": "user-1", "list": [1] } });
        check(&token(&made), true);
        for (pointer, value) in [
            ("/exp", json!(8)),
            ("/iat", json!("now")),
            ("/when", json!("5")),
            ("/in", json!(1)),
            ("/in/user", json!("u-1")),
            ("/in/list", json!([])),
        ] {
            let mut other = made.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            check(&token(&other), false);
        }
        let mut more = made.clone();
        more["aud"] = json!("a");
        check(&token(&more), false);
        check(&token(&json!({ "exp": 9 })), false);
        check(&token(&json!([])), false);
        for other in ["a.b.c", "..", "", "e30.e30", "e30.e30.c2ln.x", "e30.!.c2ln"] {
            check(other, false);
        }
    }
}
