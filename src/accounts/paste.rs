//! Paste tokens: gateway tokens in a vendor's format, for clients that accept no other. They contain the claims from a
//! provider file, are signed with a throwaway key, and hold no real secret.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::{Caller, actor::Actor, random, token::generate_id};
use crate::{
    bind,
    generator::Generator,
    name::Scope,
    secret::Secret,
    store::{NewPasteToken, PasteTokenIssue, Store, StoreError, TokenHash},
};

/// Remaining validity of a paste token after it is replaced.
const REPLACED_VALIDITY_MS: u64 = 3_600_000;

/// Creates a paste token for a user's login with this provider. None if no such login is stored.
pub async fn issue_paste_token(
    store: &Store,
    actor: &Actor,
    caller: &Caller,
    provider: &bind::Provider,
) -> Result<Option<Secret>, StoreError> {
    let Some((token, issue)) = draft_paste_token(actor, caller, provider) else { return Ok(None) };
    let PasteTokenIssue { token: record, old_expires_at_ms, act } = issue;
    Ok(store.replace_paste_token(&record, old_expires_at_ms, &act).await?.then_some(token))
}

/// A paste token that is not stored yet. It has no more scopes than the calling token, and expires no later. The user's
/// earlier ones for this provider expire within an hour. None if the provider has no paste tokens.
pub fn draft_paste_token(
    actor: &Actor,
    caller: &Caller,
    provider: &bind::Provider,
) -> Option<(Secret, PasteTokenIssue)> {
    let (Some(paste), Some(section)) = (&provider.paste_token, &provider.section) else { return None };
    let id = generate_id();
    let detail = json!({ "token": id.as_str(), "provider": provider.name.as_str() });
    let act = actor.act("paste_token.create", &caller.id, detail);
    let token = generate(&paste.spec.claims, act.at_ms);
    let whole = Scope { provider: provider.name.clone(), endpoint: None };
    let within = caller.token.scopes.iter().flatten().filter(|scope| whole.includes(scope));
    let scopes = if caller.token.scopes.is_some() { within.cloned().collect() } else { vec![whole.clone()] };
    let record = NewPasteToken {
        id,
        hash: TokenHash::of(token.expose()),
        user: caller.id.clone(),
        provider: provider.name.clone(),
        scopes,
        section: section.name.clone(),
        field: paste.field.clone(),
        created_at_ms: act.at_ms,
        expires_at_ms: caller.token.limit_ms(),
    };
    let old_expires_at_ms = act.at_ms.saturating_add(REPLACED_VALIDITY_MS);
    Some((token, PasteTokenIssue { token: record, old_expires_at_ms, act }))
}

/// A new paste token.
fn generate(claims: &BTreeMap<String, Value>, now_ms: u64) -> Secret {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims: Map<String, Value> =
        claims.iter().map(|(name, claim)| (name.clone(), filled(claim, now_ms))).collect();
    let text = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&claims.into()));
    let mut signer = Hmac::<Sha256>::new_from_slice(&random::<32>()).expect("HMAC takes a key of any length");
    signer.update(text.as_bytes());
    Secret::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signer.finalize().into_bytes())))
}

/// A claim, with its generated parts filled in.
fn filled(claim: &Value, now_ms: u64) -> Value {
    let Value::Object(table) = claim else { return claim.clone() };
    let prefix = table.get("prefix").and_then(Value::as_str).unwrap_or_default();
    match table.get("gen").and_then(Value::as_str).and_then(Generator::find) {
        Some(Generator::Now) if prefix.is_empty() => (now_ms / 1000).into(),
        Some(generator) => format!("{prefix}{}", generator.text(random(), now_ms)).into(),
        None => {
            let inner = table.iter().map(|(name, claim)| (name.clone(), filled(claim, now_ms)));
            Value::Object(inner.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_token_contains_the_claims_of_the_file() {
        let claims = json!({
            "exp": 9_999_999_999_u64,
            "iat": { "gen": "now" },
            "id": { "gen": "uuid" },
            "plain": { "prefix": "p", "list": [1, { "gen": "now" }] },
            "user": { "inner": { "gen": "hex24", "prefix": "user-" } },
            "when": { "gen": "now", "prefix": "t" },
        });
        let claims: BTreeMap<String, Value> = serde_json::from_value(claims).unwrap();
        let token = generate(&claims, 1_700_000_000_999);
        let parts: Vec<&str> = token.expose().split('.').collect();
        let [header, payload, signature] = parts[..] else { panic!("{parts:?}") };
        assert_eq!(decoded(header).to_string(), r#"{"alg":"HS256","typ":"JWT"}"#);
        assert_eq!(URL_SAFE_NO_PAD.decode(signature).unwrap().len(), 32);
        let mut payload = decoded(payload);
        let id = payload["id"].take();
        let groups: Vec<usize> = id.as_str().unwrap().split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(&id.as_str().unwrap()[14..15], "4");
        let user = payload["user"]["inner"].take();
        let digits = user.as_str().unwrap().strip_prefix("user-").unwrap();
        assert!(digits.len() == 24 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let expected = json!({
            "exp": 9_999_999_999_u64,
            "iat": 1_700_000_000,
            "id": null,
            "plain": { "prefix": "p", "list": [1, { "gen": "now" }] },
            "user": { "inner": null },
            "when": "t1700000000",
        });
        assert_eq!(payload, expected);
    }

    #[test]
    fn two_tokens_differ() {
        let make = || generate(&BTreeMap::new(), 0);
        assert_ne!(make(), make());
    }
}
