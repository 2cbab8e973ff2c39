//! Secret scanning: finds likely API keys in a text, and masks them.
//!
//! Looks at the text alone, so that it also works for comments, messages and files that cannot be parsed. Reports and
//! masks only; the lint `literal_key` rejects files.

use std::{borrow::Cow, ops::Range};

/// Prefixes of known kinds of keys, with the least number of bytes that follow.
const PREFIXES: &[(&str, usize)] = &[
    ("sk-", 16),
    ("sk_", 16),
    ("rk_live_", 16),
    ("gsk_", 16),
    ("csk-", 16),
    ("nvapi-", 16),
    ("pplx-", 16),
    ("hf_", 16),
    ("r8_", 16),
    ("ghp_", 16),
    ("gho_", 16),
    ("ghu_", 16),
    ("ghs_", 16),
    ("ghr_", 16),
    ("github_pat_", 16),
    ("glpat-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("AIza", 30),
    ("tg_", 32),
    ("hvs.", 20),
    ("ya29.", 20),
];

/// The least length of a key after an unknown prefix, as in `vendor-...`.
const LONG_RUN: usize = 32;
/// Shorter words do not count as random.
const SHORTEST: usize = 20;
/// Authentication schemes that precede a key in a header's value.
const SCHEMES: &[&str] = &["bearer ", "basic ", "token "];
/// Parts of names whose values are often keys.
const SENSITIVE_NAMES: &[&str] = &["authorization", "key", "token", "secret", "password", "cookie"];

/// The ranges of likely keys, in order, without overlaps. Their bytes are ASCII.
pub fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = words(text);
    found.extend(after_schemes(text));
    found.extend(values(text));
    found.extend(passwords(text));
    found.retain(|range| !is_computed(text, range));
    merged(found)
}

/// True for a signature and for a hash under its name, such as a test expects them: they are computed, and open nothing.
fn is_computed(text: &str, range: &Range<usize>) -> bool {
    let word = &text[range.clone()];
    let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = || text[..range.start].trim_end_matches([' ', '\t', '=', '"', '\'']).ends_with("sha256");
    word.strip_prefix("Signature=").is_some_and(is_hash) || is_hash(word) && name()
}

/// The text with `*` for every byte of a likely key; its length stays the same. Stricter than [`find`]: masks every long
/// random word, whatever its name.
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut found = find(text);
    found.extend(runs(text, is_word).filter(|range| is_random(&text[range.clone()])));
    let whole =
        |range: &Range<usize>| !text[range.clone()].starts_with('/') && is_random(&text[range.clone()]);
    found.extend(runs(text, is_token).filter(whole));
    masked(text, merged(found))
}

fn masked(text: &str, found: Vec<Range<usize>>) -> Cow<'_, str> {
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = text.to_owned();
    for range in found {
        out.replace_range(range.clone(), &"*".repeat(range.len()));
    }
    Cow::Owned(out)
}

fn merged(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in found {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

// === keys recognised by their form ===

fn words(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<_> = runs(text, is_word).filter(|range| is_key(&text[range.clone()])).collect();
    let dotted = runs(text, |b| is_word(b) || b == b'.');
    found.extend(dotted.filter(|range| is_jwt(&text[range.clone()]) || known_prefix(&text[range.clone()])));
    found
}

fn is_key(word: &str) -> bool {
    known_prefix(word) || is_access_key_id(word) || any_prefix(word)
}

fn known_prefix(word: &str) -> bool {
    let tail =
        |(prefix, least): &(&str, usize)| word.strip_prefix(prefix).filter(|tail| tail.len() >= *least);
    PREFIXES.iter().filter_map(tail).any(|tail| distinct(tail) >= 8)
}

/// `AKIA` or `ASIA`, and sixteen capitals or digits.
fn is_access_key_id(word: &str) -> bool {
    let tail = word.strip_prefix("AKIA").or_else(|| word.strip_prefix("ASIA"));
    tail.is_some_and(|tail| {
        tail.len() == 16 && tail.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    })
}

/// A short word, `-` or `_`, and a long random run: the form of most vendors' keys.
fn any_prefix(word: &str) -> bool {
    let Some((prefix, tail)) = word.split_once(['-', '_']) else { return false };
    let short = (2..=10).contains(&prefix.len()) && prefix.starts_with(|c: char| c.is_ascii_lowercase());
    short && tail.len() >= LONG_RUN && tail.bytes().all(|b| b.is_ascii_alphanumeric()) && is_random(tail)
}

/// A JSON web token: three parts, of which the first is an object in base64.
fn is_jwt(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    matches!(parts.as_slice(), [head, body, _] if head.starts_with("eyJ") && head.len() >= 12 && body.len() >= 12)
}

// === keys recognised by the text before them ===

fn after_schemes(text: &str) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let starts =
        SCHEMES.iter().flat_map(|scheme| lower.match_indices(scheme).map(|(at, _)| at + scheme.len()));
    let value = |start: usize| {
        let length = text[start..].bytes().take_while(|b| is_token(*b)).count();
        start..start + length
    };
    starts.map(value).filter(|range| is_random(&text[range.clone()])).collect()
}

/// Values of headers and of sensitive names: `name = "value"`.
fn values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (equals, _) in text.match_indices('=') {
        let after = &text[equals + 1..];
        let start = equals + 1 + (after.len() - after.trim_start_matches([' ', '\t']).len());
        let Some(quote) = text[start..].chars().next().filter(|c| matches!(c, '"' | '\'')) else { continue };
        let before = text[..equals].trim_end_matches([' ', '\t', '"', '\'']);
        let name = &before[before.len() - before.bytes().rev().take_while(|b| is_word(*b)).count()..];
        if !is_sensitive(name) {
            continue;
        }
        let mut at = start + text[start..].bytes().take(3).take_while(|b| char::from(*b) == quote).count();
        if at == start + 2 {
            continue; // an empty string
        }
        let value = text[at..].split(quote).next().unwrap_or_default();
        for part in value.split([' ', ',', ';', '\n']) {
            found.extend(is_random(part).then(|| at..at + part.len()));
            at += part.len() + 1;
        }
    }
    found
}

/// No key of the language has a `-`: names with one are headers or query parameters.
fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains('-') || SENSITIVE_NAMES.iter().any(|word| name.contains(word))
}

/// `https://user:password@host`.
fn passwords(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let start = at + 3;
        let end = |b: &u8| matches!(b, b'/' | b'?' | b'#' | b'"' | b'\'' | b'`') || b.is_ascii_whitespace();
        let length = text.as_bytes()[start..].iter().take_while(|b| !end(b)).count();
        let authority = &text[start..start + length];
        if let Some((user, _)) = authority.rsplit_once('@')
            && let Some((name, password)) = user.split_once(':')
            && !password.is_empty()
            && password.is_ascii()
            && !password.contains('{')
        {
            let start = start + name.len() + 1;
            found.push(start..start + password.len());
        }
    }
    found
}

// === character classes ===

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_token(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}

/// True for a long word that often changes between capitals, small letters and digits, as generated keys do.
fn is_random(text: &str) -> bool {
    let kind = |b: u8| match b {
        b'a'..=b'z' => Some(0),
        b'A'..=b'Z' => Some(1),
        b'0'..=b'9' => Some(2),
        _ => None,
    };
    let kinds: Vec<_> = text.bytes().map(kind).collect();
    let changes =
        kinds.windows(2).filter(|two| two[0] != two[1] && two[0].is_some() && two[1].is_some()).count();
    let digits = kinds.iter().filter(|kind| **kind == Some(2)).count();
    let all_tokens = text.bytes().all(is_token);
    all_tokens
        && text.len() >= SHORTEST
        && digits > 0
        && digits < text.len()
        && changes * 5 >= text.len()
        && distinct(text) >= 8
}

fn distinct(text: &str) -> usize {
    text.bytes().collect::<std::collections::BTreeSet<_>>().len()
}

/// The maximal runs of bytes of a class.
fn runs(text: &str, kind: impl Fn(u8) -> bool + Copy) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        at += bytes[at..].iter().position(|b| kind(*b))?;
        let start = at;
        at += bytes[at..].iter().take_while(|b| kind(**b)).count();
        Some(start..at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_are_masked() {
        let check = |text: &str, expected: &str| assert_eq!(mask(text), expected, "{text}");
        let same = |text: &str| check(text, text);
        check("k = \"sk-0123456789abcdef\" # x", "k = \"*******************\" # x");
        check("sk-ant-api03-AbCdEf_0123456789-x", &"*".repeat(32));
        check("ä AKIAIOSFODNN7EXAMPLE", "ä ********************");
        check("ghp_16C7e42F292c6912E7710c838347Ae178B4a", &"*".repeat(40));
        check("(vendor-9fK2mQ7xL4pR8tW1zB6nC3vD5gH0jS2a)", &format!("({})", "*".repeat(39)));
        check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0xyz.sig", &"*".repeat(43));
        check("x-api-key = '9fK2mQ7xL4pR8tW1zB6n'", "x-api-key = '********************'");
        check("a = \"Bearer 9fK2mQ7xL4pR8tW1zB6n\"", "a = \"Bearer ********************\"");
        check("\"https://me:pa55@host/x\"", "\"https://me:****@host/x\"");
        check(
            "authorization = \"Basic dXNlcjpwYXNzd29yZDEyMzQ1Ng==\"",
            &format!("authorization = \"Basic {}\"", "*".repeat(28)),
        );
        same("placeholder = \"sk-...\"");
        same("match = \"sk-ant-oat*\"");
        same("credentials = { apiKey = \"sk-ant-api03-1\" }");
        same("set = { authorization = \"Bearer {secret}\" }");
        same("default = { example-beta = \"tools-2025-04-20,code-20250219\" }");
        same("url = \"https://{user}:{pass}@host/\"");
        same("xxxxxxxx sk-xxxxxxxxxxxxxxxxxxxxxxxxxx");
        same("path = \"/v1/chat/completions\"");
        same("test `a stream of 2025-04-20` fails: the URL is `https://x.example/v1/models/demo-2.5-pro`");
        check("is `9fK2mQ7xL4pR8tW1zB6n`", "is `********************`");
        check("key = \"\"\"\n9fK2mQ7xL4pR8tW1zB6n\"\"\"", "key = \"\"\"\n********************\"\"\"");
    }

    #[test]
    fn signatures_and_hashes_are_not_reported() {
        let hash = "90885c885222610d60785474b2dc1648acb630dd8c7bc6833c0704374fa0daf7";
        assert_eq!(
            find(&format!("authorization = \"A Signature={hash}\"\nx-amz-content-sha256 = \"{hash}\"")),
            Vec::<std::ops::Range<usize>>::new()
        );
        for key in [format!("x-key = \"{hash}\""), format!("authorization = \"Signature={hash}0\"")] {
            assert_eq!(find(&key).len(), 1, "{key}");
        }
    }

    #[test]
    fn random_words_that_may_be_public_are_masked_but_not_reported() {
        for text in [
            "client_id = \"app_EMoamEEZ73f0CkXaXp7hrann\"",
            "# sha256 d41d8cd98f00b204e9800998ecf8427e",
            "a = \"hvs....\"",
        ] {
            assert_eq!(find(text), Vec::<Range<usize>>::new(), "{text}");
        }
        assert_eq!(mask("# sha256 d41d8cd98f00b204e9800998ecf8427e"), format!("# sha256 {}", "*".repeat(32)));
    }
}
