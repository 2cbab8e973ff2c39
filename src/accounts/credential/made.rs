//! A token that was made from other fields of its section: its plaintext inside an encrypted blob. It is stored beside them,
//! under a name that no declared field can have, and is never shown.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::MADE;
use crate::{accounts::json_secret::JsonSecret, hex, secret::Secret};

/// A token that was made from stored fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeCredential {
    /// The token.
    pub token: Secret,
    /// Further fields of the reply that it came in, by name.
    pub fields: Box<[(Box<str>, Secret)]>,
    /// Its expiry, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// The digest of its definition and of the values that it was made from.
    pub made_from: [u8; 32],
}

impl MadeCredential {
    /// The plaintext to encrypt.
    pub(super) fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let Self { token, fields, expires_at_ms, made_from } = self;
        let made = PlainMade {
            token: token.expose().into(),
            fields: fields.iter().map(|(name, value)| ((&**name).into(), value.expose().into())).collect(),
            expires_at: *expires_at_ms,
            made_from: hex::encode(made_from).into(),
        };
        let texts = fields.iter().map(|(name, value)| 8 + name.len() + value.expose().len());
        // An escaped byte takes six; the buffer must not grow, or else a copy of the secret stays behind.
        let room = 256 + 6 * (token.expose().len() + texts.sum::<usize>());
        let mut plaintext = Zeroizing::new(Vec::with_capacity(room));
        plaintext.push(MADE);
        serde_json::to_writer(&mut *plaintext, &made).expect("a vector takes every byte");
        plaintext
    }

    /// Parses a decrypted plaintext, without its kind.
    pub(super) fn from_plaintext(text: &str) -> Option<Self> {
        let PlainMade { token, fields, expires_at, made_from } = serde_json::from_str(text).ok()?;
        let field =
            |(name, value): &(JsonSecret<'_>, JsonSecret<'_>)| ((**name).into(), Secret::new(&**value));
        Some(Self {
            token: Secret::new(&*token),
            fields: fields.iter().map(field).collect(),
            expires_at_ms: expires_at,
            made_from: hex::decode(&made_from)?,
        })
    }
}

/// A made token inside a blob.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlainMade<'a> {
    #[serde(borrow)]
    token: JsonSecret<'a>,
    #[serde(borrow)]
    fields: Vec<(JsonSecret<'a>, JsonSecret<'a>)>,
    expires_at: u64,
    made_from: JsonSecret<'a>,
}
