//! `Secret`: a string that must not be seen. Redacted in `Debug`, zeroed when dropped, without
//! `Display`, and with exactly one way to read it. It never leaves the process except into an
//! upstream request head or a sealed blob.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text: a gateway token, a provider's API key, a master key in hex.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text; the caller drops its own copies.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Every use of this is a place where a secret can leak: keep them few.
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
