//! Stand-ins for secrets. A request rewritten with them can be shown.

use std::sync::LazyLock;

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
            Self::StandIns => text.replace(STAND_IN, MASKED),
            Self::All => MASKED.to_owned(),
        }
    }
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
