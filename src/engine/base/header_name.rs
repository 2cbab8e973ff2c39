//! Header names as upstreams compare them. CGI and many application servers read `_` as `-`: to them `x_api_key` is
//! `x-api-key`. Every comparison that keeps a client's header from an upstream, or proves that, is made here.

use std::borrow::Cow;

use http::HeaderName;

/// True if an upstream may take the two for the same header.
pub fn is_same(a: &HeaderName, b: &HeaderName) -> bool {
    a == b || is_same_bytes(a.as_str().as_bytes(), b.as_str().as_bytes())
}

/// The same for names in any case.
pub fn is_same_bytes(a: &[u8], b: &[u8]) -> bool {
    let folded = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    a.len() == b.len() && a.iter().map(folded).eq(b.iter().map(folded))
}

/// A header's name as upstreams compare it: in lower case, with `-` for every `_`. Globs on names, and the engine's own
/// rules, take no other form of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoldedName<'n>(Cow<'n, str>);

impl<'n> FoldedName<'n> {
    /// Folds a name, or a glob on names.
    pub fn of(name: &'n str) -> Self {
        let folds = |byte: u8| byte == b'_' || byte.is_ascii_uppercase();
        Self(if name.bytes().any(folds) {
            Cow::Owned(name.to_ascii_lowercase().replace('_', "-"))
        } else {
            Cow::Borrowed(name)
        })
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'n> From<&'n HeaderName> for FoldedName<'n> {
    fn from(name: &'n HeaderName) -> Self {
        Self::of(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_and_case_do_not_tell_names_apart() {
        let check = |a: &str, b: &str, same: bool| {
            assert_eq!(is_same_bytes(a.as_bytes(), b.as_bytes()), same, "{a} {b}");
            assert_eq!(is_same(&a.parse().unwrap(), &b.parse().unwrap()), same, "{a} {b}");
        };
        check("x-api-key", "X_Api-Key", true);
        check("accept", "accept", true);
        check("x-api-key", "x-api-keys", false);
        check("x-api-key", "xaapi-key", false);
        let folded = |name| FoldedName::of(name).as_str().to_owned();
        assert_eq!((folded("X_Api-key"), folded("accept")), ("x-api-key".into(), "accept".into()));
    }
}
