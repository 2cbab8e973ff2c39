//! TLS of a provider's own: the PEM texts that its `tls` table names, and what is made of them.
//!
//! The engine knows no TLS: the caller of `try_bind` supplies the maker, which checks the texts. What it makes is opaque here,
//! holds the private key, and is never shown.

use std::{any::Any, fmt, sync::Arc};

use crate::{
    base::diag::{Code, Diagnostic},
    language::{compile, syntax::Roots},
};

use super::{VarValues, source_of};

/// The PEM texts of a `tls` table.
#[derive(Clone, Copy)]
pub struct TlsTexts<'t> {
    /// The certificates of authorities.
    pub ca: Option<&'t str>,
    /// The authorities that are trusted.
    pub roots: Roots,
    /// The client certificate with its chain, and its private key.
    pub client: Option<(&'t str, &'t str)>,
}

/// The text with a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPart {
    /// The certificates of authorities.
    Ca,
    /// The client certificate.
    Certificate,
    /// The private key.
    Key,
}

/// Why TLS cannot be made of the texts. It never contains a part of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProblem {
    /// The text.
    pub part: TlsPart,
    /// The rest of a sentence about the text.
    pub what: String,
    /// What to do.
    pub help: &'static str,
}

/// What a maker made, for connections.
pub type TlsMade = Arc<dyn Any + Send + Sync>;

/// Checks PEM texts and makes TLS of them.
#[derive(Debug, Clone, Copy)]
pub struct TlsMaker(pub fn(&TlsTexts<'_>) -> Result<TlsMade, TlsProblem>);

/// Takes any texts and makes nothing of them: for callers that do not connect.
impl Default for TlsMaker {
    fn default() -> Self {
        Self(|_| Ok(Arc::new(())))
    }
}

/// The TLS of a provider.
#[derive(Clone)]
pub struct Tls(TlsMade);

impl Tls {
    /// What the maker made, if it is of this type.
    pub fn made<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tls(***)")
    }
}

/// Makes the TLS of a table whose vars are all set.
pub(super) fn bind(tls: &compile::Tls, set: &VarValues, maker: TlsMaker) -> Result<Tls, Diagnostic> {
    let text = |var: &str| set.get(var).map_or("", |var| var.text.as_str());
    let texts = TlsTexts {
        ca: tls.ca.as_ref().map(|ca| text(&ca.var)),
        roots: tls.roots,
        client: tls.client.as_ref().map(|client| (text(&client.certificate.var), text(&client.key.var))),
    };
    (maker.0)(&texts).map(Tls).map_err(|TlsProblem { part, what, help }| {
        let client = tls.client.as_ref();
        let named = match part {
            TlsPart::Ca => tls.ca.as_ref(),
            TlsPart::Certificate => client.map(|client| &client.certificate),
            TlsPart::Key => client.map(|client| &client.key),
        };
        let at = named.map_or(&tls.at, |named| &named.declared).clone();
        let (name, source) =
            named.map_or_else(Default::default, |one| (one.var.clone(), source_of(&one.source)));
        Diagnostic::new(Code::Var, at, format!("var `{name}` {what}: {source}")).help(help)
    })
}
