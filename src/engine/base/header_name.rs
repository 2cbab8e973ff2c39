//! Header names as upstreams compare them. CGI and many application servers read `_` as `-`: to them `x_api_key` is
//! `x-api-key`. Every comparison that keeps a client's header from an upstream is made here.

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

/// The name with `-` for every `_`.
pub fn dashed(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
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
        assert_eq!((&*dashed("x_api-key"), &*dashed("accept")), ("x-api-key", "accept"));
    }
}
