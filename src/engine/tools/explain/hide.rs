//! Stand-ins for secrets, so that what is made with them can be shown.

use std::sync::LazyLock;

use crate::{
    base::{origin::Origin, secret::Secret},
    language::compile::Var,
};

/// What stands where a secret would, for a person.
pub const SHOWN: &str = "***";

/// What stands where a secret would, while the request is made: a word that any encoding, a host's name and a
/// header leave as it is.
pub(super) const HIDDEN: &str = "x0tollgate0hides0this0x";

/// The same as a secret.
pub(super) static HIDDEN_SECRET: LazyLock<Secret> = LazyLock::new(|| Secret::new(HIDDEN));

/// How what was made is shown.
pub(super) enum Mask {
    /// It holds stand-ins only.
    StandIns,
    /// It may hold secrets.
    All,
}

impl Mask {
    pub(super) fn shown(&self, text: &str) -> String {
        match self {
            Self::StandIns => text.replace(HIDDEN, SHOWN),
            Self::All => SHOWN.to_owned(),
        }
    }
}

/// A var's value, or what stands in for it. What is unset stays so, and what is a URL stays one, since gateways and
/// egresses hang on both.
pub(super) fn stand_in(var: &Var, value: String) -> String {
    if !var.secret || value.is_empty() {
        return value;
    }
    match Origin::split(&value) {
        Ok(_) => format!("{}://{HIDDEN}", value.split("://").next().unwrap_or("https")),
        Err(_) => HIDDEN.to_owned(),
    }
}
