//! The tokens whose ids a caller may see in reports. Pure.

use std::collections::BTreeSet;

use super::model_names::OTHER;

/// The ids of tokens that a caller may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisibleTokens(BTreeSet<String>);

/// The name of all other tokens.
const HIDDEN: &str = "(hidden)";

impl VisibleTokens {
    /// These tokens.
    pub fn new(ids: impl IntoIterator<Item = String>) -> Self {
        Self(ids.into_iter().collect())
    }

    /// The id, or the name that hides it. No token and the tokens beyond the bound have nothing to hide.
    pub fn shown<'t>(&self, token: &'t str) -> &'t str {
        if token.is_empty() || token == OTHER || self.0.contains(token) { token } else { HIDDEN }
    }
}
