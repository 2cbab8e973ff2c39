//! The query, as bytes: what no rule names passes exactly as sent.

use crate::{
    bind::{Query, capture},
    compile::{Captures, Template, percent_encode},
};

/// The query that goes up, without `?`. `carriers` are the names that may hold a caller's token.
pub(super) fn rewrite(
    query: Option<&str>,
    rules: &Query,
    carriers: &[String],
    path: &str,
    captures: &Captures,
) -> String {
    let sent = query.unwrap_or_default();
    let named = [rules.remove.len(), rules.default.len(), rules.set.len(), carriers.len()];
    if named == [0; 4] {
        return sent.to_owned();
    }
    let mut pairs: Vec<&str> = if sent.is_empty() { Vec::new() } else { sent.split('&').collect() };
    let removed = |name: &str| {
        let listed = |names: &[String]| names.iter().any(|known| known == name);
        listed(carriers) || listed(&rules.remove) || rules.set.iter().any(|(known, _)| known == name)
    };
    pairs.retain(|pair| !removed(&name_of(pair)));
    let missing = |name: &String| !pairs.iter().any(|pair| name_of(pair) == *name);
    let added: Vec<&(String, Template<u8>)> =
        rules.default.iter().filter(|(name, _)| missing(name)).chain(&rules.set).collect();
    let mut out = pairs.join("&");
    for (name, value) in added {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&percent_encode(name, |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
        out.push('=');
        push_value(&mut out, value, path, captures);
    }
    out
}

/// A capture is encoded as the client sent it; what would end a value or begin another is encoded as well.
fn push_value(out: &mut String, value: &Template<u8>, path: &str, captures: &Captures) {
    let keep = |b: u8| b.is_ascii_graphic() && !b"&=+;#".contains(&b);
    let made: Vec<_> = (0..8).map(|index| percent_encode(capture(path, captures, index), keep)).collect();
    value.render(out, |index| &made[usize::from(*index)]);
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
pub(crate) fn value_of(query: Option<&str>, name: &str) -> Option<String> {
    let pair = query?.split('&').find(|pair| name_of(pair) == name)?;
    pair.split_once('=').map(|(_, value)| decode(value))
}
