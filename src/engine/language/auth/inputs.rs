//! The inputs of a kind: the finished head, the credential, the time, and the further inputs that it declares ([`Needs`]).

use http::{HeaderMap, Method};

use crate::base::{origin::Origin, secret::Secret};

/// The inputs that the gateway has to obtain before it can authenticate the head. A kind declares them; each has one case
/// so far. A further case does not compile until the code that provides the input handles it.
///
/// All else is always there, since it costs nothing: the method, the final URL and the headers ([`FinishedHead`]), and the
/// time ([`Inputs`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The fields of the credentials section whose values it reads.
    pub secrets: SecretFields,
    /// The part of the request's body that the headers depend on.
    pub body: BodyInput,
}

/// Fields of the credentials section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretFields {
    /// The entry's own `field`, alone.
    OfEntry,
}

/// A part of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyInput {
    /// Nothing of it: the head is sent before the body is there.
    Nothing,
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
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'i> {
    /// The key or access token in the entry's `field`.
    pub secret: &'i Secret,
    /// The time of the decision, in milliseconds since 1970.
    pub now_ms: u64,
}
