//! A stored credential: validation of input, the plaintext inside an encrypted blob, and the mask for people. No message
//! contains a value.

mod made;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use zeroize::Zeroizing;

pub use self::made::MadeCredential;
use super::{expiry, json_secret::JsonSecret};
use crate::{
    clock::utc,
    compile::ValueRule,
    fields::{Field, StoredKind},
    secret::Secret,
    written::{Defect, defect, line},
};

/// Maximum length of a secret, in bytes. Many servers limit the whole request head to 8 KiB.
pub const MAX_SECRET_BYTES: usize = 8192;
/// Maximum length of a refresh token, in bytes. It is sent in a body, never in a header.
pub const MAX_REFRESH_TOKEN_BYTES: usize = 64 << 10;

/// Maximum length of a JSON document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 10;

/// A smaller number of milliseconds since 1970 (spring of 1973) is taken for seconds.
const EARLIEST_MS: u64 = 100_000_000_000;

const CANONICAL_KEYS: [&str; 3] = ["accessToken", "refreshToken", "expiresAt"];
// The first byte of a plaintext is its kind.
const PLAIN: u8 = b'P';
const OAUTH: u8 = b'O';
const VALUE: u8 = b'V';
const DOCUMENT: u8 = b'J';
const MADE: u8 = b'T';

/// One stored credential, in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredCredential {
    /// A secret that is sent as it is.
    Plain(Secret),
    /// An OAuth login.
    OAuth {
        /// The access token.
        access_token: Secret,
        /// The refresh token.
        refresh_token: Option<Secret>,
        /// Expiry of the access token, in milliseconds since 1970.
        expires_at_ms: Option<u64>,
    },
    /// A value that is no secret: of a `text` or `origin` field. It is shown.
    Value(Secret),
    /// The text of a JSON document.
    Document(Secret),
    /// A token that was made from the other fields of its section.
    Made(MadeCredential),
}

/// One owner's credentials, by section and field. A sorted vector: most owners have one or two, and 100,000 owners are
/// cached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials(Vec<BoundCredential>);

/// A stored credential, and the origins that it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BoundCredential {
    section: Box<str>,
    field: Box<str>,
    stored: StoredCredential,
    origins: Vec<String>,
}

/// A stored credential as a request finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundCredential<'c> {
    /// The credential.
    pub stored: &'c StoredCredential,
    /// The origins that it is bound to.
    pub origins: &'c [String],
}

/// Why a credential is refused: the reason and the position, never the value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadCredential {
    /// An empty secret.
    #[error("{what} is empty: give at least one character")]
    Empty {
        /// The part that is refused.
        what: String,
    },
    /// A secret that is too long.
    #[error("{what} has {bytes} bytes: at most {max} are stored")]
    TooLong {
        /// The part that is refused.
        what: String,
        /// Its length.
        bytes: usize,
        /// The maximum.
        max: usize,
    },
    /// A character that a header cannot contain.
    #[error(
        "{what} has a forbidden character at position {position}: printable ASCII only, without spaces or line breaks"
    )]
    Character {
        /// The part that is refused.
        what: String,
        /// Counted from one, in characters.
        position: usize,
    },
    /// Quotes around a secret.
    #[error("{what} is in quotes: leave them out")]
    Quoted {
        /// The part that is refused.
        what: String,
    },
    /// A character that a refresh token cannot contain.
    #[error("{what} has a forbidden character at position {position}: printable ASCII and spaces only")]
    NotVisible {
        /// The part that is refused.
        what: String,
        /// Counted from one, in characters.
        position: usize,
    },
    /// A mask from a list, and not a secret.
    #[error("this is a mask, not a {what}: leave the field out to keep what is stored")]
    Mask {
        /// The word for what is expected.
        what: &'static str,
    },
    /// A value that the rule of its field refuses.
    #[error("the value {problem}")]
    Rule {
        /// The problem.
        problem: String,
    },
    /// Not the JSON document that is expected.
    #[error("a JSON document is expected: {problem}")]
    Document {
        /// The problem.
        problem: String,
    },
    /// Not the JSON of an OAuth login.
    #[error(
        "an OAuth login is given as JSON, `{{\"accessToken\", \"refreshToken\", \"expiresAt\"}}`: {problem}"
    )]
    Json {
        /// The problem.
        problem: String,
    },
}

// === impl Stored ===

impl StoredCredential {
    /// A secret as typed or piped in. One line break at its end is removed.
    pub fn plain(text: &str) -> Result<Self, BadCredential> {
        Self::exact(line(text))
    }

    /// A secret, unchanged.
    pub fn exact(text: &str) -> Result<Self, BadCredential> {
        if is_mask(text) {
            return Err(BadCredential::Mask { what: "secret" });
        }
        given("the secret", text).map(Self::Plain)
    }

    /// A value of a `text` or `origin` field. A mask is none, unless the file says that the field takes such a text.
    pub fn value(text: &str, rule: &ValueRule) -> Result<Self, BadCredential> {
        match rule.check(text) {
            Ok(()) if *rule == ValueRule::Plain && is_mask(text) => {
                Err(BadCredential::Mask { what: "value" })
            }
            Ok(()) => Ok(Self::Value(Secret::new(text))),
            Err(problem) => Err(BadCredential::Rule { problem }),
        }
    }

    /// A JSON document with these parts: JSON pointers by name.
    pub fn document(value: &Value, parts: &BTreeMap<String, String>) -> Result<Self, BadCredential> {
        let refused = |problem: String| Err(BadCredential::Document { problem });
        match value {
            Value::Object(object) if is_mask_of_login(object) => {
                return Err(BadCredential::Mask { what: "secret" });
            }
            Value::Object(_) => {}
            _ => return refused("it is no object: paste the whole file".to_owned()),
        }
        let text = Zeroizing::new(value.to_string());
        check_length("the document", &text, MAX_DOCUMENT_BYTES)?;
        for (part, pointer) in parts {
            if let Err((problem, advice)) = check_part(value.pointer(pointer)) {
                return refused(format!(
                    "it has {problem} at `{pointer}`, which is its part `{part}`: {advice}"
                ));
            }
        }
        Ok(Self::Document(Secret::new(text.as_str())))
    }

    /// An OAuth login in the canonical JSON, or in another document. The JSON pointers of `paste` then lead to the values of
    /// the canonical keys.
    pub fn oauth(text: &str, paste: &BTreeMap<String, String>) -> Result<Self, BadCredential> {
        Self::oauth_value(&parsed(text)?, paste)
    }

    /// An OAuth login that is parsed already; otherwise as [`Self::oauth`].
    pub fn oauth_value(value: &Value, paste: &BTreeMap<String, String>) -> Result<Self, BadCredential> {
        match Self::login(value, paste)? {
            Self::OAuth { expires_at_ms: Some(1..EARLIEST_MS), .. } => {
                Err(json_error("`expiresAt` looks like seconds: milliseconds since 1970 are needed"))
            }
            login => Ok(login),
        }
    }

    fn login(value: &Value, paste: &BTreeMap<String, String>) -> Result<Self, BadCredential> {
        let Value::Object(object) = value else { return Err(json_error("it is not an object")) };
        let unknown = object.keys().find(|key| !CANONICAL_KEYS.contains(&key.as_str()));
        let pasted = paste.get("accessToken").and_then(|pointer| value.pointer(pointer));
        match (unknown, pasted) {
            (Some(_), Some(_)) => {
                Self::from_parts(|key| paste.get(key).and_then(|pointer| value.pointer(pointer)))
            }
            (Some(_), None) if is_mask_of_login(object) => Err(BadCredential::Mask { what: "secret" }),
            (Some(_), None) if object.keys().any(|key| starts_with_key(paste, key)) => {
                let pointer = paste.get("accessToken").map(String::as_str).unwrap_or_default();
                Err(json_error(format!("`{pointer}` is missing: is the text complete?")))
            }
            (Some(key), None) => Err(unknown_key(key)),
            (None, _) => Self::from_parts(|key| object.get(key)),
        }
    }

    fn from_parts<'a>(part: impl Fn(&str) -> Option<&'a Value>) -> Result<Self, BadCredential> {
        let part = |key: &str| part(key).filter(|value| !value.is_null());
        let secret = |key: &str| -> Result<Option<Secret>, BadCredential> {
            let Some(value) = part(key) else { return Ok(None) };
            let text = value.as_str().ok_or_else(|| json_error(format!("`{key}` is not a string")))?;
            given(&format!("`{key}`"), text).map(Some)
        };
        let expires_at = part("expiresAt").map(|value| {
            value.as_u64().ok_or_else(|| json_error("`expiresAt` is not a number of milliseconds since 1970"))
        });
        let access_token = secret("accessToken")?.ok_or_else(|| json_error("`accessToken` is missing"))?;
        let expires_at_ms = expires_at.transpose()?.or_else(|| expiry::expiry_of(&access_token));
        let refresh_token = part("refreshToken").map(|value| {
            let text = value.as_str().ok_or_else(|| json_error("`refreshToken` is not a string"))?;
            checked_refresh_token("`refreshToken`", text)
        });
        Ok(Self::OAuth { access_token, refresh_token: refresh_token.transpose()?, expires_at_ms })
    }

    /// The plaintext to encrypt.
    pub(super) fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let with_kind =
            |kind: u8, secret: &Secret| Zeroizing::new([&[kind], secret.expose().as_bytes()].concat());
        match self {
            Self::Plain(secret) => with_kind(PLAIN, secret),
            Self::Value(value) => with_kind(VALUE, value),
            Self::Document(document) => with_kind(DOCUMENT, document),
            Self::Made(made) => made.to_plaintext(),
            Self::OAuth { access_token, refresh_token, expires_at_ms } => {
                let login = PlainLogin {
                    access_token: access_token.expose().into(),
                    refresh_token: refresh_token.as_ref().map(|secret| secret.expose().into()),
                    expires_at: *expires_at_ms,
                };
                let secrets =
                    access_token.expose().len() + refresh_token.as_ref().map_or(0, |one| one.expose().len());
                // An escaped byte takes two; the buffer must not grow, or else a copy of the secret stays behind.
                let mut plaintext = Zeroizing::new(Vec::with_capacity(128 + 2 * secrets));
                plaintext.push(OAUTH);
                serde_json::to_writer(&mut *plaintext, &login).expect("a vector takes every byte");
                plaintext
            }
        }
    }

    /// Parses a decrypted plaintext.
    pub(super) fn from_plaintext(plaintext: &[u8]) -> Option<Self> {
        let (kind, text) = plaintext.split_first()?;
        let text = str::from_utf8(text).ok()?;
        match *kind {
            PLAIN => Some(Self::Plain(Secret::new(text))),
            VALUE => Some(Self::Value(Secret::new(text))),
            DOCUMENT => Some(Self::Document(Secret::new(text))),
            MADE => MadeCredential::from_plaintext(text).map(Self::Made),
            OAUTH => {
                let login: PlainLogin<'_> = serde_json::from_str(text).ok()?;
                let access_token = checked("`accessToken`", &login.access_token).ok()?;
                let refresh_token =
                    login.refresh_token.map(|text| checked_refresh_token("`refreshToken`", &text));
                let expires_at_ms = login.expires_at.or_else(|| expiry::expiry_of(&access_token));
                Some(Self::OAuth {
                    access_token,
                    refresh_token: refresh_token.transpose().ok()?,
                    expires_at_ms,
                })
            }
            _ => None,
        }
    }

    /// The secret to send; none for a token that has expired, and for a document.
    pub fn usable(&self, now_ms: u64) -> Option<&Secret> {
        match self {
            Self::Plain(secret) | Self::Value(secret) => Some(secret),
            Self::Document(_) => None,
            Self::OAuth { access_token, expires_at_ms, .. } => {
                expires_at_ms.is_none_or(|at| at > now_ms).then_some(access_token)
            }
            Self::Made(made) => (made.expires_at_ms > now_ms).then_some(&made.token),
        }
    }

    /// The access token of a login that has a refresh token.
    pub fn refreshable(&self) -> Option<&Secret> {
        match self {
            Self::OAuth { access_token, refresh_token: Some(_), .. } => Some(access_token),
            Self::OAuth { refresh_token: None, .. }
            | Self::Plain(_)
            | Self::Value(_)
            | Self::Document(_)
            | Self::Made(_) => None,
        }
    }

    /// The kind that it was stored as; none for a made token, which no field is declared for.
    pub fn kind(&self) -> Option<StoredKind> {
        match self {
            Self::Plain(_) => Some(StoredKind::Secret),
            Self::Value(_) => Some(StoredKind::Value),
            Self::Document(_) => Some(StoredKind::Document),
            Self::OAuth { .. } => Some(StoredKind::Login),
            Self::Made(_) => None,
        }
    }

    /// The mask for people. A value that is no secret is shown, if its field is declared as one still.
    pub fn mask(&self, declared: Option<&Field>) -> String {
        match self {
            Self::Value(value) if declared.is_some_and(|field| !field.is_secret()) => {
                value.expose().to_owned()
            }
            Self::Plain(secret) | Self::Value(secret) => mask(secret.expose()),
            Self::OAuth { expires_at_ms: Some(ms), .. } => format!("configured, expires {}", utc(*ms)),
            Self::Document(_) | Self::Made(_) | Self::OAuth { expires_at_ms: None, .. } => {
                "configured".to_owned()
            }
        }
    }
}

/// An OAuth login inside a blob. Borrowed, so that the secrets are not copied.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlainLogin<'a> {
    #[serde(borrow)]
    access_token: JsonSecret<'a>,
    #[serde(borrow)]
    refresh_token: Option<JsonSecret<'a>>,
    expires_at: Option<u64>,
}

fn parsed(text: &str) -> Result<Value, BadCredential> {
    serde_json::from_str(text).map_err(|error| {
        // serde_json's own message is left out: some quote the input.
        json_error(format!("line {}, column {} is not valid JSON", error.line(), error.column()))
    })
}

/// Characters that a mask shows of a secret, and the replacement of the rest.
const HEAD: usize = 8;
const TAIL: usize = 4;
const GAP: &str = "...";
const HIDDEN: &str = "***";

/// Masks a secret: a short one completely, a long one except for its ends.
fn mask(secret: &str) -> String {
    const HIDDEN_WHOLE: usize = 16;
    let shown = secret.get(..HEAD).zip(secret.len().checked_sub(TAIL).and_then(|at| secret.get(at..)));
    match shown {
        Some((head, tail)) if secret.len() > HIDDEN_WHOLE => format!("{head}{GAP}{tail}"),
        Some(_) | None => HIDDEN.to_owned(),
    }
}

/// True if a text is such a mask, sent back by mistake.
fn is_mask(text: &str) -> bool {
    text == HIDDEN || text.len() == HEAD + GAP.len() + TAIL && text.get(HEAD..HEAD + GAP.len()) == Some(GAP)
}

/// True if an object is the mask of a login.
fn is_mask_of_login(object: &Map<String, Value>) -> bool {
    object.contains_key("status") && object.keys().all(|key| ["status", "expiresAt"].contains(&key.as_str()))
}

/// True if one of the pointers starts with this key.
fn starts_with_key(paste: &BTreeMap<String, String>, key: &str) -> bool {
    paste.values().any(|pointer| pointer.split('/').nth(1) == Some(key))
}

/// A secret that a person gives. Unlike one of a token endpoint, it may be in the quotes of a script or of JSON.
fn given(what: &str, text: &str) -> Result<Secret, BadCredential> {
    if defect(text) == Some(Defect::Quoted) {
        return Err(BadCredential::Quoted { what: what.to_owned() });
    }
    if text.starts_with(PEM) { checked_pem(what, text) } else { checked(what, text) }
}

/// The start of a PEM text (RFC 7468, section 2): a private key that signs tokens, and is sent nowhere.
const PEM: &str = "-----BEGIN ";

/// A PEM text, which has spaces and lines.
fn checked_pem(what: &str, text: &str) -> Result<Secret, BadCredential> {
    let what = what.to_owned();
    check_length(&what, text, MAX_SECRET_BYTES)?;
    match text.chars().position(|character| !matches!(character, ' '..='~' | '\r' | '\n')) {
        Some(index) => Err(BadCredential::Character { what, position: index + 1 }),
        None => Ok(Secret::new(text)),
    }
}

/// Checks a part of a document. The error says what it is, and what to do. Only a PEM text has lines: it is sent nowhere.
fn check_part(part: Option<&Value>) -> Result<(), (&'static str, &'static str)> {
    const INCOMPLETE: &str = "is this the right file, and complete?";
    match part {
        Some(Value::Number(_)) => Ok(()),
        Some(Value::String(text)) if text.is_empty() => Err(("an empty string", INCOMPLETE)),
        Some(Value::String(text)) => {
            let is_line_end = |one: char| text.starts_with(PEM) && matches!(one, '\r' | '\n');
            if text.chars().any(|one| one.is_control() && !is_line_end(one)) {
                return Err(("a string with control characters", "no line breaks and no tabs"));
            }
            Ok(())
        }
        _ => Err(("no string or number", INCOMPLETE)),
    }
}

/// A secret that is sent in a header.
pub(super) fn checked(what: &str, text: &str) -> Result<Secret, BadCredential> {
    let what = what.to_owned();
    check_length(&what, text, MAX_SECRET_BYTES)?;
    match text.chars().position(|character| !character.is_ascii_graphic()) {
        Some(index) => Err(BadCredential::Character { what, position: index + 1 }),
        None => Ok(Secret::new(text)),
    }
}

/// A refresh token: any printable ASCII characters and spaces (RFC 6749, appendix A.17).
pub(super) fn checked_refresh_token(what: &str, text: &str) -> Result<Secret, BadCredential> {
    let what = what.to_owned();
    check_length(&what, text, MAX_REFRESH_TOKEN_BYTES)?;
    match text.chars().position(|character| !matches!(character, ' '..='~')) {
        Some(index) => Err(BadCredential::NotVisible { what, position: index + 1 }),
        None => Ok(Secret::new(text)),
    }
}

fn check_length(what: &str, text: &str, max: usize) -> Result<(), BadCredential> {
    match text.len() {
        0 => Err(BadCredential::Empty { what: what.to_owned() }),
        bytes if bytes > max => Err(BadCredential::TooLong { what: what.to_owned(), bytes, max }),
        _ => Ok(()),
    }
}

fn json_error(problem: impl Into<String>) -> BadCredential {
    BadCredential::Json { problem: problem.into() }
}

/// The error for an unknown key. A long key is not quoted: it may be a misplaced secret.
fn unknown_key(key: &str) -> BadCredential {
    const MAX_NAME_BYTES: usize = 32;
    let name = key.len() <= MAX_NAME_BYTES && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    json_error(if name {
        format!("the key `{key}` is not known")
    } else {
        format!("a key of {} bytes is not known", key.len())
    })
}

// === impl Credentials ===

impl Credentials {
    /// The credential of a field.
    pub fn get(&self, section: &str, field: &str) -> Option<&StoredCredential> {
        self.bound(section, field).map(|bound| &bound.stored)
    }

    /// The credential of a field, and all that a request needs to know of it.
    pub fn find(&self, section: &str, field: &str) -> Option<FoundCredential<'_>> {
        let BoundCredential { stored, origins, .. } = self.bound(section, field)?;
        Some(FoundCredential { stored, origins })
    }

    /// The origins that a field's credential is bound to. Empty if there is none, or if it is older than origin binding.
    pub fn origins(&self, section: &str, field: &str) -> &[String] {
        self.bound(section, field).map(|bound| &*bound.origins).unwrap_or_default()
    }

    fn bound(&self, section: &str, field: &str) -> Option<&BoundCredential> {
        self.position(section, field).ok().map(|at| &self.0[at])
    }

    /// The index of a field, or the index to insert it at.
    fn position(&self, section: &str, field: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|bound| (&*bound.section, &*bound.field).cmp(&(section, field)))
    }

    /// Sets a field.
    pub fn insert(&mut self, section: String, field: String, stored: StoredCredential, origins: Vec<String>) {
        let position = self.position(&section, &field);
        let bound = BoundCredential { section: section.into(), field: field.into(), stored, origins };
        match position {
            Ok(at) => self.0[at] = bound,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, bound);
            }
        }
    }

    /// All fields (section, field, credential), ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &StoredCredential)> {
        self.0.iter().map(|bound| (&*bound.section, &*bound.field, &bound.stored))
    }
}

#[cfg(test)]
mod tests;
