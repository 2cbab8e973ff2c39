//! Kinds of authentication: how a stored credential is put into a request. Everything about a kind is here: its keys in
//! `[[auth]]`, its compiled and its bound form, and how it is applied.
//!
//! A kind is applied to the finished request, after the rules of the file and after gateway and egress. No other module
//! matches on kinds. A new kind is a module here and an arm in the two enums below; see CONTRIBUTING.md.

pub mod headers;
pub mod syntax;

use http::{HeaderMap, HeaderName};

use crate::{
    base::secret::Secret,
    language::{
        bind::Filler,
        compile::{Compiler, Name, Text, Vars},
    },
};

/// A kind, compiled from an entry.
#[derive(Debug, Clone)]
pub enum Compiled {
    /// Static headers.
    Headers(headers::Compiled),
}

/// A kind, bound to the values of the vars: what requests run on.
#[derive(Debug)]
pub enum Bound {
    /// Static headers.
    Headers(headers::Bound),
}

/// A header that a kind writes, as tools see it.
#[derive(Debug, Clone, Copy)]
pub struct Output<'k> {
    /// Its name.
    pub header: &'k HeaderName,
    /// Its value, as far as it is known without a request.
    pub text: &'k Text,
    /// True if the upstream can read the credential from it.
    pub reveals: bool,
}

/// The credential cannot be put into the request: the value would be malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Compiled {
    /// Compiles the keys of an entry at the JSON pointer `pointer`; findings go to the compiler.
    pub(crate) fn new(compiler: &mut Compiler<'_>, pointer: &str, spec: &syntax::Auth, vars: &Vars) -> Self {
        Self::Headers(headers::Compiled::new(compiler, pointer, &spec.set, vars))
    }

    /// The headers that it writes. A client's own headers of these names are removed.
    pub fn outputs(&self) -> impl Iterator<Item = Output<'_>> {
        let Self::Headers(headers) = self;
        headers.headers().map(|(header, text)| {
            let reveals = text.names().any(|name| *name == Name::Secret);
            Output { header, text, reveals }
        })
    }

    /// The key of an entry that its headers are written under.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Headers(_) => headers::KEY,
        }
    }

    /// Fills in the vars. `overridden`: headers that an active gateway or egress removes or replaces.
    pub(crate) fn bind(&self, filler: &Filler<'_>, overridden: impl Fn(&HeaderName) -> bool) -> Bound {
        match self {
            Self::Headers(headers) => Bound::Headers(headers.bind(filler, overridden)),
        }
    }
}

impl Bound {
    /// Headers that it does not write since a gateway or an egress removes or replaces them, with their index.
    pub fn overridden(&self) -> impl Iterator<Item = (usize, &HeaderName)> {
        let Self::Headers(headers) = self;
        headers.overridden()
    }

    /// Authenticates a finished request, and reports each header that it writes with its index. On an error the request
    /// must not be sent.
    pub fn apply(
        &self,
        headers: &mut HeaderMap,
        secret: &Secret,
        wrote: impl FnMut(usize, &HeaderName),
    ) -> Result<(), Malformed> {
        match self {
            Self::Headers(kind) => kind.apply(headers, secret, wrote),
        }
    }
}

/// The headers that an entry as written sets, as templates: for the first test of a new file.
pub(crate) fn templates(spec: &syntax::Auth) -> impl Iterator<Item = (&String, &String)> {
    spec.set.iter()
}

#[cfg(test)]
mod tests;
