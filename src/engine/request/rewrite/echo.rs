//! A credential in the query that an upstream repeats in headers of its response, such as in a redirect, is removed there: the
//! client does not know it. Only requests with such a credential are looked at, and answers to the handshake of a WebSocket.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Chosen, TokenSearch, query};
use crate::{base::secret::Secret, language::auth::WrittenParameter, request::table::Hit};

/// Removes the parameters with secrets that the credential wrote into the query from all URLs in headers. A header with such a value in
/// any other place is removed with all its lines, and so is one with another secret of the credential. A value of less than eight
/// bytes is found in its parameter alone.
pub fn conceal(chosen: &Chosen<'_>, hit: &Hit, headers: &mut HeaderMap) {
    let written = chosen.auth.kind.secret_query(&chosen.inputs());
    let fields = hit.provider.section.as_ref().map(|section| &*section.values).unwrap_or_default();
    let is_secret = |index: u16| fields.get(usize::from(index)).is_none_or(|field| field.rule.is_none());
    let stored: Vec<&Secret> = chosen.values.stored_at(is_secret).collect();
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names {
        let lines: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        let changed: Vec<Option<HeaderValue>> = lines.iter().map(|line| without(line, &written)).collect();
        let holds = |line: &HeaderValue| {
            let search =
                |(_, value): &WrittenParameter<'_>| TokenSearch::of_text(Some(value)).is_in(line.as_bytes());
            // The credential may stand in other text there.
            let made = || chosen.secret.into_iter().chain(chosen.reply.iter().map(|(_, text)| text));
            let of_chosen = || made().chain(stored.iter().copied());
            let is_held = |secret: &Secret| TokenSearch::new(Some(secret)).is_in(line.as_bytes());
            !written.is_empty() && (written.iter().any(search) || of_chosen().any(is_held))
        };
        let is_held =
            lines.iter().zip(&changed).any(|(line, changed)| holds(changed.as_ref().unwrap_or(line)));
        if !is_held && changed.iter().all(Option::is_none) {
            continue;
        }
        headers.remove(&name);
        if !is_held {
            for (line, changed) in lines.into_iter().zip(changed) {
                headers.append(name.clone(), changed.unwrap_or(line));
            }
        }
    }
}

/// Removes the subprotocol and the extensions that an upstream has chosen if a secret of the credential stands there.
pub fn conceal_choices(chosen: &Chosen<'_>, headers: &mut HeaderMap) {
    for name in [header::SEC_WEBSOCKET_PROTOCOL, header::SEC_WEBSOCKET_EXTENSIONS] {
        let holds = |secret: &Secret| {
            let search = TokenSearch::new(Some(secret));
            headers.get_all(&name).iter().any(|line| search.is_in(line.as_bytes()))
        };
        if chosen.secrets().any(holds) {
            headers.remove(&name);
        }
    }
}

/// A URL without the parameters; none if it has none of them.
fn without(line: &HeaderValue, written: &[WrittenParameter<'_>]) -> Option<HeaderValue> {
    let text = line.to_str().ok()?;
    let (before, after) = text.split_once('?')?;
    let (query, fragment) = after.split_at(after.find('#').unwrap_or(after.len()));
    let is_written = |pair: &str| {
        let mut same = written.iter().filter(|(name, _)| query::name_of(pair) == **name);
        same.any(|(_, value)| query::decoded_value_of(pair).is_some_and(|one| one == **value))
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_written(pair)).collect();
    if kept.len() == query.split('&').count() {
        return None;
    }
    let mut url = before.to_owned();
    for (index, pair) in kept.into_iter().enumerate() {
        let front = if index == 0 { '?' } else { '&' };
        write!(url, "{front}{pair}").ok()?;
    }
    HeaderValue::from_str(&(url + fragment)).ok()
}
