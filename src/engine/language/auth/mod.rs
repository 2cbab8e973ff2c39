//! Kinds of authentication: how a stored credential is put into a request. Everything about a kind is here: its keys in
//! `[[auth]]`, its compiled and its bound form, what it needs, and how it is applied.
//!
//! A kind is applied to the finished head, after the rules of the file and after gateway and egress. No other module can
//! match on kinds: the two enums below are private. CONTRIBUTING.md lists the files that a new kind touches.

mod headers;
mod inputs;
pub mod syntax;

use http::HeaderName;

use crate::language::{
    bind::Filler,
    compile::{Compiler, ProviderTemplate, Vars},
};

pub use inputs::{BodyInput, FinishedHead, Inputs, Needs, SecretFields};

/// The keys whose templates may use `{secret}`, for messages.
pub(crate) const SECRET_SCOPE: &str = "`set` of an `[[auth]]`";

/// A kind, compiled from an entry.
#[derive(Debug, Clone)]
pub struct Compiled(CompiledKind);

/// A kind, bound to the values of the vars: what requests run on.
#[derive(Debug)]
pub struct Bound {
    kind: BoundKind,
    /// Headers that an active gateway or egress removes or replaces, with their index among the outputs.
    overridden: Vec<(usize, HeaderName)>,
}

#[derive(Debug, Clone)]
enum CompiledKind {
    /// Static headers.
    Headers(headers::Compiled),
}

#[derive(Debug)]
enum BoundKind {
    /// Static headers.
    Headers(headers::Bound),
}

/// A header that a kind writes, as tools see it.
#[derive(Debug, Clone, Copy)]
pub struct Output<'k> {
    /// Its name.
    pub header: &'k HeaderName,
    /// Its value, as far as it is known without a request.
    pub text: &'k ProviderTemplate,
    /// True if the upstream can read the credential from it.
    pub reveals: bool,
}

/// The credential cannot be put into the request: the value would be malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Compiled {
    /// Compiles the keys of an entry at the JSON pointer `pointer`; findings go to the compiler.
    pub(crate) fn new(compiler: &mut Compiler<'_>, pointer: &str, spec: &syntax::Auth, vars: &Vars) -> Self {
        Self(CompiledKind::Headers(headers::Compiled::new(compiler, pointer, &spec.set, vars)))
    }

    /// The headers that it writes. A client's own headers of these names are removed.
    pub fn outputs(&self) -> Vec<Output<'_>> {
        match &self.0 {
            CompiledKind::Headers(kind) => kind.outputs(),
        }
    }

    /// The JSON pointer, below the entry, of the key that makes it write a header.
    pub fn pointer(&self, header: &HeaderName) -> String {
        match &self.0 {
            CompiledKind::Headers(_) => headers::pointer(header),
        }
    }

    /// Fills in the vars. `overridden`: headers that an active gateway or egress removes or replaces.
    pub(crate) fn bind(&self, filler: &Filler<'_>, overridden: impl Fn(&HeaderName) -> bool) -> Bound {
        let outputs = self.outputs().into_iter().enumerate();
        let yielded = outputs.filter(|(_, output)| overridden(output.header));
        let yielded = yielded.map(|(index, output)| (index, output.header.clone())).collect();
        let kind = match &self.0 {
            CompiledKind::Headers(kind) => BoundKind::Headers(kind.bind(filler, overridden)),
        };
        Bound { kind, overridden: yielded }
    }
}

impl Bound {
    /// The inputs that have to be obtained before the head is made.
    pub fn needs(&self) -> Needs {
        match &self.kind {
            BoundKind::Headers(_) => headers::NEEDS,
        }
    }

    /// Headers that it does not write since a gateway or an egress removes or replaces them, with their index.
    pub fn overridden(&self) -> &[(usize, HeaderName)] {
        &self.overridden
    }

    /// Authenticates the finished head, and reports each header that it writes with its index. On an error the request
    /// must not be sent.
    pub fn apply(
        &self,
        head: FinishedHead<'_>,
        inputs: Inputs<'_>,
        wrote: impl FnMut(usize, &HeaderName),
    ) -> Result<(), Malformed> {
        match &self.kind {
            BoundKind::Headers(kind) => kind.apply(head, inputs, wrote),
        }
    }
}

/// The headers that an `[[auth]]` entry sets, as unparsed templates. `tollgate new` writes a test from them.
pub(crate) fn templates(spec: &syntax::Auth) -> impl Iterator<Item = (&String, &String)> {
    spec.set.iter()
}

#[cfg(test)]
mod tests;
