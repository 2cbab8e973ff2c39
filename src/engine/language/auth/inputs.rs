//! The inputs of a kind: the finished head, the values of fields, the time, and the further inputs that it declares
//! ([`Needs`]).

use std::borrow::Cow;

use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    base::{origin::Origin, secret::Secret},
    language::compile::Template,
};

/// The inputs that the gateway has to obtain before it can authenticate the head. A kind declares them; each has one case
/// so far. A further case does not compile until the code that provides the input handles it.
///
/// All else is always there, since it costs nothing: the method, the final URL and the headers ([`FinishedHead`]), and the
/// time ([`Inputs`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The part of the request's body that the headers depend on.
    pub body: BodyInput,
}

/// A part of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyInput {
    /// Nothing of it: the head is sent before the body is there.
    Nothing,
    /// The SHA-256 of all of it: the body is read before the head is made.
    Sha256,
}

/// The SHA-256 of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyHash(pub [u8; 32]);

impl BodyHash {
    /// That of a body in memory.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }
}

/// The head that is sent, after the rules of the file and after gateway and egresses.
#[derive(Debug)]
pub struct FinishedHead<'h> {
    /// The method.
    pub method: &'h Method,
    /// The origin that the connection goes to.
    pub origin: &'h Origin,
    /// Path and query in origin form, as they are sent.
    pub target: &'h str,
    /// All headers, `Host` included; framing is the sender's.
    pub headers: &'h mut HeaderMap,
}

/// Inputs from outside the head.
#[derive(Debug, Clone)]
pub struct Inputs<'i> {
    /// The key or access token in the entry's `field`, or the token; none for an entry without either.
    pub secret: Option<&'i Secret>,
    /// The values of the fields that the request reads.
    pub values: &'i FieldValues<'i>,
    /// The fields of the token's reply, in the order of the file.
    pub reply: &'i [(Box<str>, Secret)],
    /// The time of the decision, in milliseconds since 1970.
    pub now_ms: u64,
    /// The hash of the body, for a kind that needs it ([`BodyInput::Sha256`]).
    pub body: Option<BodyHash>,
}

/// The values of the section's fields that a request reads, by their index among
/// [`Section::values`](crate::language::compile::Section). Empty, and without an allocation, where no template names a field.
#[derive(Debug, Clone, Default)]
pub struct FieldValues<'v>(Vec<(u16, FieldValue<'v>)>);

/// The value of a field.
#[derive(Debug, Clone)]
pub enum FieldValue<'v> {
    /// A stored secret, a part of one, or a stored value that is none.
    Stored(Cow<'v, Secret>),
    /// The default of the file.
    Default(&'v str),
}

impl<'v> FieldValues<'v> {
    /// Adds a value.
    pub fn push(&mut self, index: u16, value: FieldValue<'v>) {
        self.0.push((index, value));
    }

    /// True if no template names a field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of an index; none where the field is absent.
    pub fn get(&self, index: u16) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == index)?;
        Some(match value {
            FieldValue::Stored(secret) => secret.expose(),
            FieldValue::Default(text) => text,
        })
    }

    /// All values with their indices.
    pub fn iter(&self) -> impl Iterator<Item = &(u16, FieldValue<'v>)> {
        self.0.iter()
    }

    /// The stored values.
    pub fn stored(&self) -> impl Iterator<Item = &Secret> {
        self.stored_at(|_| true)
    }

    /// The stored values of these indices.
    pub fn stored_at(&self, wanted: impl Fn(u16) -> bool) -> impl Iterator<Item = &Secret> {
        self.0.iter().filter_map(move |(index, value)| match value {
            FieldValue::Stored(secret) => wanted(*index).then_some(&**secret),
            FieldValue::Default(_) => None,
        })
    }
}

impl<'v> FieldValue<'v> {
    /// A stored value.
    pub fn stored(secret: &'v Secret) -> Self {
        Self::Stored(Cow::Borrowed(secret))
    }
}

/// An open placeholder in a bound template of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthInput {
    /// The secret.
    Secret,
    /// A value of the section, by its index.
    Field(u16),
    /// A field of the token's reply, by its index.
    Reply(u16),
}

impl AuthInput {
    /// The index of the value that it stands for.
    pub(super) fn field(self) -> Option<u16> {
        match self {
            Self::Field(index) => Some(index),
            Self::Secret | Self::Reply(_) => None,
        }
    }

    fn value<'i>(self, inputs: &Inputs<'i>) -> Option<&'i str> {
        match self {
            Self::Secret => inputs.secret.map(Secret::expose),
            Self::Field(index) => inputs.values.get(index),
            Self::Reply(index) => inputs.reply.get(usize::from(index)).map(|(_, text)| text.expose()),
        }
    }
}

/// The text with all values filled in; none if one of them is absent. Its buffer never grows, so that no copy of a secret
/// stays behind in memory.
pub(super) fn rendered(template: &Template<AuthInput>, inputs: &Inputs<'_>) -> Option<Zeroizing<String>> {
    if !template.placeholders().all(|name| name.value(inputs).is_some()) {
        return None;
    }
    let value = |name: &AuthInput| name.value(inputs).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(template.max_len(|name| value(name).len())));
    template.render(&mut text, value);
    Some(text)
}
