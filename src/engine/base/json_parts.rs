//! Single strings of a JSON document by their JSON pointers (RFC 6901): what templates can name of a pasted document, and of the
//! claims of an access token.
//!
//! The text is kept once, and walked along the pointer: an index of all pointers could take a thousand times its size.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use zeroize::Zeroizing;

use super::secret::Secret;

/// The string or number of a document at a pointer. None if it has none there, for an empty string, and if the text is no JSON.
pub fn json_part(text: &str, pointer: &str) -> Option<Secret> {
    part(text, Walk { pointer, numbers: true })
}

/// The claims of a token that is a JSON Web Token (RFC 7519), as JSON. The signature is not verified: its holder may send
/// it in any case.
pub fn token_payload(token: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = token.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    Some(Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?))
}

/// The string among the claims of an access token at a pointer. None if it has none there, for an empty one, and for a token
/// that is no JSON Web Token.
pub fn token_claim(token: &str, pointer: &str) -> Option<Secret> {
    let payload = token_payload(token)?;
    part(str::from_utf8(&payload).ok()?, Walk { pointer, numbers: false })
}

fn part(text: &str, walk: Walk<'_>) -> Option<Secret> {
    let mut document = serde_json::Deserializer::from_str(text);
    let found = walk.deserialize(&mut document).ok()?;
    document.end().ok()?;
    found
}

/// Reads the value at the rest of a pointer, and skips all others.
#[derive(Clone, Copy)]
struct Walk<'p> {
    pointer: &'p str,
    /// True if a number counts as its text.
    numbers: bool,
}

impl Walk<'_> {
    /// The first step of the pointer, and the walk below it; none at its end.
    fn step(self) -> Option<(String, Self)> {
        let rest = self.pointer.strip_prefix('/')?;
        let (step, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Some((step.replace("~1", "/").replace("~0", "~"), Self { pointer: below, ..self }))
    }

    fn number(self, number: impl Into<Number>) -> Option<Secret> {
        (self.numbers && self.pointer.is_empty()).then(|| Secret::new(number.into().to_string()))
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<Secret>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<Secret>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (step, below) = self.step().unzip();
        let mut found = None;
        while let Some(is_step) = map.next_key_seed(Key(step.as_deref()))? {
            match below.filter(|_| is_step) {
                Some(below) => found = map.next_value_seed(below)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (step, below) = self.step().unzip();
        let index = step.and_then(|step| step.parse::<usize>().ok().filter(|at| at.to_string() == step));
        let mut found = None;
        for at in 0.. {
            let item = match below.filter(|_| index == Some(at)) {
                Some(below) => items.next_element_seed(below)?.map(|part| found = part),
                None => items.next_element::<IgnoredAny>()?.map(drop),
            };
            if item.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((self.pointer.is_empty() && !text.is_empty()).then(|| Secret::new(text)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.number(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).and_then(|number| self.number(number)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Compares a key, without a copy.
struct Key<'k>(Option<&'k str>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0 == Some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_numbers_are_found_by_their_pointers() {
        let check = |text: &str, pointer: &str, expected: Option<&str>| {
            let part = json_part(text, pointer);
            assert_eq!(part.as_ref().map(Secret::expose), expected, "{text} {pointer}");
        };
        let text = r#"{"a":"x","b":{"c/d":["y",{"e~":7}]},"n":null,"t":true,"":"z","empty":"","f":-1.5,"\u0061b":"\n"}"#;
        for (pointer, expected) in [
            ("/a", "x"),
            ("/b/c~1d/0", "y"),
            ("/b/c~1d/1/e~0", "7"),
            ("/", "z"),
            ("/f", "-1.5"),
            ("/ab", "\n"),
        ] {
            check(text, pointer, Some(expected));
        }
        for absent in
            ["", "/b", "/b/c~1d", "/b/c~1d/00", "/b/c~1d/2", "/a/x", "/n", "/t", "/empty", "/x", "a"]
        {
            check(text, absent, None);
        }
        check("{\"a\":\"x\"", "/a", None);
        check(r#"{"a":"x"} {}"#, "/a", None);
        check(r#"{"a":"x","a":"y"}"#, "/a", Some("y"));
        // However much stands before it.
        let items = "0,".repeat(2000);
        check(&format!(r#"{{"a":[{items}0],"key":"k"}}"#), "/key", Some("k"));
    }

    #[test]
    fn the_claims_of_an_access_token_are_its_strings() {
        let check = |token: &str, pointer: &str, expected: Option<&str>| {
            let claim = token_claim(token, pointer);
            assert_eq!(claim.as_ref().map(Secret::expose), expected, "{token} {pointer}");
        };
        let token = |claims: &str| format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims));
        let nested = token(r#"{"https://a.example/auth":{"account":"x"},"exp":7,"ok":true,"none":""}"#);
        check(&nested, "/https:~1~1a.example~1auth/account", Some("x"));
        for pointer in ["/exp", "/ok", "/none", "/account"] {
            check(&nested, pointer, None);
        }
        for none in
            [token("[\"x\"]"), token("{"), "access".to_owned(), "h.!.s".to_owned(), token("{}") + ".x"]
        {
            check(&none, "/account", None);
        }
    }
}
