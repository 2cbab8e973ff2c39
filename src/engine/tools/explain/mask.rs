//! Stand-ins for secrets. A request rewritten with them can be shown.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use crate::{
    base::{origin::Origin, secret::Secret},
    language::compile::Var,
};

/// Replaces a secret in the output.
pub(super) const MASKED: &str = "***";

/// Replaces a secret while the request is rewritten. Valid and unchanged in any encoding, a host name and a header.
pub(super) const STAND_IN: &str = "x0tollgate0hides0this0x";

/// [`STAND_IN`] as a secret.
pub(super) static STAND_IN_SECRET: LazyLock<Secret> = LazyLock::new(|| Secret::new(STAND_IN));

/// The masking of a rewritten request.
pub(super) enum Mask {
    /// Mask stand-ins: the request holds no secrets.
    StandIns,
    /// Mask everything: the request may hold secrets.
    All,
}

impl Mask {
    pub(super) fn shown(&self, text: &str) -> String {
        match self {
            Self::StandIns => without_stand_ins(text),
            Self::All => MASKED.to_owned(),
        }
    }
}

/// Masks stand-ins as templates write them: in the case of the filters `upper` and `lower`, and in base64.
fn without_stand_ins(text: &str) -> String {
    let is_of_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/-_".contains(&b);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.bytes().take_while(|b| is_of_base64(*b)).count();
        let gap = rest[word..].bytes().take_while(|b| !is_of_base64(*b)).count();
        let (one, after) = rest.split_at(word);
        let (between, after) = after.split_at(gap);
        if is_encoded_stand_in(one) {
            shown.push_str(MASKED);
            shown.push_str(between.trim_start_matches('='));
        } else {
            mask(&mut shown, one);
            shown.push_str(between);
        }
        rest = after;
    }
    shown
}

/// Appends a word with its stand-ins masked.
fn mask(shown: &mut String, word: &str) {
    let mut rest = word;
    while let Some(at) = rest.to_ascii_lowercase().find(STAND_IN) {
        shown.push_str(&rest[..at]);
        shown.push_str(MASKED);
        rest = &rest[at + STAND_IN.len()..];
    }
    shown.push_str(rest);
}

/// True for base64 of a text with a stand-in.
fn is_encoded_stand_in(word: &str) -> bool {
    if word.len() < STAND_IN.len() * 4 / 3 {
        return false;
    }
    let standard = word.replace('-', "+").replace('_', "/");
    let decoded = STANDARD_NO_PAD.decode(standard).unwrap_or_default();
    decoded.to_ascii_lowercase().windows(STAND_IN.len()).any(|window| window == STAND_IN.as_bytes())
}

/// A var's value, or its stand-in. An unset var stays unset and a URL stays a URL: gateways and egresses depend on both.
pub(super) fn stand_in(var: &Var, value: String) -> String {
    if !var.secret || value.is_empty() {
        return value;
    }
    match Origin::split(&value) {
        Ok(_) => format!("{}://{STAND_IN}", value.split("://").next().unwrap_or("https")),
        Err(_) => STAND_IN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn stand_ins_are_masked_as_templates_write_them() {
        let check = |text: &str, expected: &str| assert_eq!(Mask::StandIns.shown(text), expected, "{text}");
        check("", "");
        check("a text", "a text");
        check(&format!("Bearer {STAND_IN}"), "Bearer ***");
        check(&format!("https://{STAND_IN}.example/a?k={STAND_IN}&b=ü"), "https://***.example/a?k=***&b=ü");
        check(&format!("a{}b{STAND_IN}", STAND_IN.to_uppercase()), "a***b***");
        for user in ["", "u", "us", "use", "user"] {
            let text = format!("{user}:{STAND_IN}");
            check(&format!("Basic {}", STANDARD.encode(&text)), "Basic ***");
            check(&format!("a.{}", URL_SAFE_NO_PAD.encode(&text)), "a.***");
        }
        check(
            &format!("Basic {}", STANDARD.encode("no stand-in, but a text of some length")),
            &format!("Basic {}", STANDARD.encode("no stand-in, but a text of some length")),
        );
    }
}
