//! Rewrites the query. A parameter that no rule names keeps its bytes.

use super::{Fate, Reason, RuleKind, RuleTable, TokenSearch, Witness};
use crate::language::{
    bind::{Input, Query, RequestInputs},
    compile::{Template, percent_encode},
};

/// Parameters of the client that are never sent upstream.
#[derive(Clone, Copy)]
pub(super) struct Removed<'r> {
    /// Those that may hold a caller's token.
    pub(super) token_locations: &'r [String],
    /// Those that `[[auth]]` sets.
    pub(super) claimed: &'r [String],
    /// The token of this caller.
    pub(super) token: TokenSearch<'r>,
}

/// The upstream query, without `?`. A rule that names an absent field does not apply.
pub(super) fn rewrite(
    query: Option<&str>,
    rules: &Query,
    removed: Removed<'_>,
    inputs: RequestInputs<'_>,
    witness: &mut impl Witness,
) -> String {
    let sent = query.unwrap_or_default();
    let Removed { token_locations, claimed, token } = removed;
    let named =
        [rules.remove.len(), rules.default.len(), rules.set.len(), token_locations.len(), claimed.len()];
    let holds_token = token.is_in_query(sent.as_bytes());
    if named == [0; 5] && !holds_token {
        return sent.to_owned();
    }
    let mut pairs: Vec<&str> = if sent.is_empty() { Vec::new() } else { sent.split('&').collect() };
    pairs.retain(|pair| {
        let name = name_of(pair);
        let fate = dropped(&name, rules, removed).or_else(|| {
            let found = holds_token && token.is_in_query(pair.as_bytes());
            found.then_some(Fate::Dropped(Reason::CallerToken))
        });
        if let Some(fate) = fate {
            witness.query(&name, fate);
        }
        fate.is_none()
    });
    let mut out = pairs.join("&");
    if holds_token && token.is_in_query(out.as_bytes()) {
        // A token with `&` in it stands in several parameters.
        pairs.drain(..).for_each(|pair| witness.query(&name_of(pair), Fate::Dropped(Reason::CallerToken)));
        out.clear();
    }
    let missing = |name: &String| !pairs.iter().any(|pair| name_of(pair) == *name);
    let mut add = |kind, (index, (name, value)): (usize, &(String, Template<Input>))| {
        if value.placeholders().any(|input| inputs.get(*input).is_none()) {
            return;
        }
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&percent_encode(name, |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
        out.push('=');
        push_value(&mut out, value, inputs);
        witness.query(name, RuleTable::Endpoint.rule(kind, index));
    };
    let defaults = rules.default.iter().enumerate().filter(|(_, (name, _))| missing(name));
    defaults.for_each(|rule| add(RuleKind::Default, rule));
    rules.set.iter().enumerate().for_each(|rule| add(RuleKind::Set, rule));
    out
}

/// The decision that drops a client's parameter, if one does.
fn dropped(name: &str, rules: &Query, removed: Removed<'_>) -> Option<Fate> {
    if removed.token_locations.iter().any(|known| known == name) {
        return Some(Fate::Dropped(Reason::TokenLocation));
    }
    if removed.claimed.iter().any(|known| known == name) {
        return Some(Fate::Dropped(Reason::Claimed));
    }
    let remove = rules.remove.iter().position(|known| known == name);
    let remove = remove.map(|index| RuleTable::Endpoint.rule(RuleKind::Remove, index));
    let set = || rules.set.iter().position(|(known, _)| known == name);
    remove.or_else(|| set().map(|_| Fate::Dropped(Reason::Claimed)))
}

/// Captures keep the client's encoding. Characters that end a value or begin another are encoded too. The template encodes
/// the values of fields.
fn push_value(out: &mut String, value: &Template<Input>, inputs: RequestInputs<'_>) {
    let keep = |b: u8| b.is_ascii_graphic() && !b"&=+;#".contains(&b);
    let capture = |index| percent_encode(inputs.get(Input::Capture(index)).unwrap_or_default(), keep);
    let captures: Vec<_> = (0..8).map(capture).collect();
    value.render(out, |input| match input {
        Input::Capture(index) => &captures[usize::from(*index)],
        Input::Field(_) => inputs.get(*input).unwrap_or_default(),
    });
}

/// The decoded name of a `name=value` pair.
pub(super) fn name_of(pair: &str) -> String {
    decode(pair.split('=').next().unwrap_or_default())
}

/// Form decoding: `+` is a space, `%XX` a byte.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escape = escape.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match (first, escape.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The decoded value of the first parameter of a name.
pub fn value_of(query: Option<&str>, name: &str) -> Option<String> {
    let pair = query?.split('&').find(|pair| name_of(pair) == name)?;
    decoded_value_of(pair)
}

/// The decoded value of a `name=value` pair.
pub(super) fn decoded_value_of(pair: &str) -> Option<String> {
    pair.split_once('=').map(|(_, value)| decode(value))
}
