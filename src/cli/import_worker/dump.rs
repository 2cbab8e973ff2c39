//! Parser of the dump of the hosted worker's key-value store. No IO. Messages must not contain a token or a credential.
//!
//! `users` has the users by id. `token:<token>` has the id of the token's user. 64 hex digits are the hash of a
//! paste token, unless the user's own record has them as `token`. `creds:<id>` is a user's credentials document.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::{
    accounts::{
        AddressNote, DisplayName, Edit, ImportedPasteToken, ImportedToken, ImportedUser, is_printable,
    },
    admin::credential_edits,
    clock::from_utc,
    fields::DeclaredFields,
    name::{FileName, UserId},
    secret::Secret,
    store::TokenHash,
    written::odd_character,
};

/// The login that a paste token uses, and the provider that issues the token.
#[derive(Debug, Clone)]
pub(super) struct PasteLogin {
    pub(super) provider: FileName,
    pub(super) section: String,
    pub(super) field: String,
}

/// A parsed dump.
#[derive(Debug, Default)]
pub(super) struct Dump {
    pub(super) users: Vec<ImportedUser>,
    /// Errors, each with its key.
    pub(super) problems: Vec<String>,
    /// Skipped entries, each with the reason.
    pub(super) notes: Vec<String>,
}

struct Entry {
    value: Value,
    expires_at_ms: Option<u64>,
}

/// Parses a dump.
pub(super) fn read(
    text: &str,
    known: &DeclaredFields,
    pastes: &[PasteLogin],
    now_ms: u64,
) -> anyhow::Result<Dump> {
    // The parser's own message may quote the input.
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let place = || format!("see line {}, column {}", error.line(), error.column());
        anyhow::anyhow!("the dump is not JSON: {}", odd_character(text).unwrap_or_else(place))
    })?;
    let mut dump = Dump::default();
    let mut entries = entries(value, &mut dump)?;
    let users = entries.remove("users").context("the dump has no key `users`: it is not from the worker")?;
    let Value::Object(users) = users.value else { anyhow::bail!("users: expected an object, by user id") };
    let mut imported = BTreeMap::new();
    for (id, record) in &users {
        match parse_user(id, record, now_ms) {
            Ok(one) => drop(imported.insert(one.id.to_string(), one)),
            Err(problem) => dump.problems.push(format!("users/{}: {problem}", truncated(id))),
        }
    }
    // Credentials first: a paste token needs its user's login.
    let (creds, others): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(key, _)| key.starts_with("creds:"));
    for (key, entry) in creds {
        let id = &key["creds:".len()..];
        match (imported.get_mut(id), users.contains_key(id)) {
            (Some(one), _) => match edits(entry.value, known) {
                Ok(edits) => one.edits = edits,
                Err(problem) => dump.problems.push(format!("creds:{}{problem}", truncated(id))),
            },
            (None, true) => {}
            (None, false) => {
                dump.notes.push(format!("creds:{}: left out, since there is no such user", truncated(id)));
            }
        }
    }
    for (key, entry) in others {
        if let Some(token) = key.strip_prefix("token:") {
            take_token(token, &entry, &users, &mut imported, pastes, now_ms, &mut dump);
        } else {
            // The text after the first `:` may be secret.
            let kind = truncated(key.split(':').next().unwrap_or_default());
            dump.notes.push(format!("{kind}...: left out, since this kind of key is unknown"));
        }
    }
    dump.users = imported.into_values().collect();
    Ok(dump)
}

/// The entries by key. A value may be JSON, or a string of JSON.
fn entries(value: Value, dump: &mut Dump) -> anyhow::Result<BTreeMap<String, Entry>> {
    let list: Vec<(String, Value, Option<u64>)> = match value {
        Value::Object(all) => all.into_iter().map(|(key, value)| (key, value, None)).collect(),
        Value::Array(all) => {
            all.into_iter().enumerate().filter_map(|(at, one)| listed(at, one, dump)).collect()
        }
        _ => anyhow::bail!("the dump is neither a list of entries nor an object"),
    };
    let mut found = BTreeMap::new();
    for (key, value, expires_at_ms) in list {
        let value = match value {
            Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            value => value,
        };
        if found.insert(key.clone(), Entry { value, expires_at_ms }).is_some() {
            dump.problems.push(format!("{}: duplicate key", redacted_key(&key)));
        }
    }
    Ok(found)
}

fn listed(at: usize, entry: Value, dump: &mut Dump) -> Option<(String, Value, Option<u64>)> {
    let Value::Object(mut entry) = entry else {
        dump.problems.push(format!("entry {at}: expected an object with `key` and `value`"));
        return None;
    };
    let key = entry.remove("key").or_else(|| entry.remove("name"));
    let (Some(Value::String(key)), Some(value)) = (key, entry.remove("value")) else {
        dump.problems.push(format!("entry {at}: has no `key`, or no `value`"));
        return None;
    };
    if entry.get("base64").is_some_and(|base64| base64 == true) {
        dump.problems.push(format!("{}: its value is base64: dump it as text", redacted_key(&key)));
        return None;
    }
    // The worker's store has seconds.
    let expires = entry.get("expiration").and_then(Value::as_u64).map(|seconds| seconds.saturating_mul(1000));
    Some((key, value, expires))
}

fn parse_user(id: &str, record: &Value, now_ms: u64) -> Result<ImportedUser, String> {
    let id = UserId::new(id).ok_or("a user's id is `usr_` and 16 hex digits")?;
    let Value::Object(record) = record else { return Err("expected an object".to_owned()) };
    let name = record.get("name").and_then(Value::as_str).ok_or("name: expected a string")?;
    let name = DisplayName::new(name.trim()).map_err(|error| format!("name: {error}"))?;
    let ip = match record.get("ip") {
        None | Some(Value::Null) => None,
        Some(Value::String(ip)) if ip.is_empty() => None,
        Some(Value::String(ip)) => Some(AddressNote::new(ip).map_err(|error| format!("ip: {error}"))?),
        Some(_) => return Err("ip: expected a string".to_owned()),
    };
    let created_at_ms = match record.get("createdAt") {
        None | Some(Value::Null) => now_ms,
        Some(at) => time(at)
            .ok_or("createdAt: expected milliseconds since 1970, or a text as `2026-01-02T03:04:05Z`")?,
    };
    let (tokens, pastes, edits) = Default::default();
    Ok(ImportedUser { id, name, ip, created_at_ms, tokens, pastes, edits })
}

fn time(value: &Value) -> Option<u64> {
    match value {
        Value::Number(ms) => ms.as_u64(),
        Value::String(text) => from_utc(text),
        _ => None,
    }
}

fn edits(document: Value, known: &DeclaredFields) -> Result<Vec<Edit>, String> {
    let Value::Object(document) = document else { return Err(": expected an object".to_owned()) };
    let edits = credential_edits(&document, known).map_err(|fault| fault.message.into_owned())?;
    Ok(edits.into_iter().filter(|edit| matches!(edit, Edit::Set { .. })).collect())
}

fn take_token(
    token: &str,
    entry: &Entry,
    users: &Map<String, Value>,
    imported: &mut BTreeMap<String, ImportedUser>,
    pastes: &[PasteLogin],
    now_ms: u64,
    dump: &mut Dump,
) {
    let key = redacted_key(&format!("token:{token}"));
    let (id, expires) = match &entry.value {
        Value::String(id) => (Some(id.as_str()), None),
        Value::Object(record) => (record.get("userId").and_then(Value::as_str), record.get("expiresAt")),
        _ => (None, None),
    };
    let Some(id) = id else {
        return dump.problems.push(format!("{key}: expected a user's id, or an object with `userId`"));
    };
    let expires_at_ms = match expires.filter(|at| !at.is_null()).map(time) {
        Some(None) => return dump.problems.push(format!("{key}: expiresAt is not a time")),
        Some(at) => at,
        None => entry.expires_at_ms,
    };
    let Some(one) = imported.get_mut(id) else {
        if !users.contains_key(id) {
            dump.notes.push(format!("{key}: left out, since its user does not exist"));
        }
        return;
    };
    if expires_at_ms.is_some_and(|at| at <= now_ms) {
        return dump.notes.push(format!("{key}: left out, since it has expired"));
    }
    let own = users.get(id).and_then(|user| user.get("token")).is_some_and(|own| own == token);
    if !own && let Some(hash) = TokenHash::from_hex(token) {
        let login = |paste: &&PasteLogin| {
            one.edits.iter().any(|edit| {
                matches!(edit, Edit::Set { section, field, .. } if *section == paste.section && *field == paste.field)
            })
        };
        match pastes.iter().find(login).cloned() {
            Some(PasteLogin { provider, section, field }) => {
                one.pastes.push(ImportedPasteToken { hash, provider, section, field, expires_at_ms });
            }
            None => {
                dump.notes
                    .push(format!("{key}: a paste token, left out, since its user has no login for it"));
            }
        }
        return;
    }
    // No header carries another token.
    if token.is_empty()
        || !token.bytes().all(|byte| byte.is_ascii_graphic())
        || token.matches('.').count() == 2
    {
        return dump
            .problems
            .push(format!("{key}: is not a token: one word of ASCII, without two dots in it"));
    }
    one.tokens.push(ImportedToken { token: Secret::new(token), expires_at_ms });
}

/// A key for messages: of a token, only the first characters.
fn redacted_key(key: &str) -> String {
    const SHOWN: usize = 6;
    match key.strip_prefix("token:") {
        Some(token) => {
            let shown: String = token.chars().take(SHOWN.min(token.chars().count() / 4)).collect();
            format!("token:{shown}...")
        }
        None => truncated(key),
    }
}

/// Untrusted text for messages: printable, and at most 40 characters.
fn truncated(text: &str) -> String {
    const SHOWN: usize = 40;
    let plain: String =
        text.chars().take(SHOWN).map(|one| if is_printable(one) { one } else { '?' }).collect();
    if plain.len() < text.len() { format!("{plain}...") } else { plain }
}

#[cfg(test)]
mod tests;
