//! `Secret`: a string that must not be shown. `Debug` is redacted, there is no `Display`, the memory is zeroed on drop,
//! and [`Secret::expose`] is the only way to read it.
//!
//! A secret leaves the process only in an upstream request's head, in the cookie of a session, or encrypted in the store.

use std::fmt;

use zeroize::Zeroizing;

/// A gateway token, a provider's API key, or a master key in hex.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text. The caller must drop its own copies.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text. Every use can leak the secret: keep them few.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_redacted() {
        assert_eq!(format!("{:?}", Secret::new("sk-123")), "Secret(***)");
    }
}
