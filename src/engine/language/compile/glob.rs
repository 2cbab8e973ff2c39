//! Globs: `*` matches any run of characters, also an empty one. Globs on header names compare them as upstreams do.

use crate::base::header_name::FoldedName;

/// The most stars of a glob on names: proofs search through their combinations.
const MAX_STARS: usize = 8;
/// The length of the longest glob on names, in bytes.
const MAX_BYTES: usize = 256;

/// A glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// A glob that respects case.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Checks the size of a glob on names. The error is a fragment.
    pub fn check(pattern: &str) -> Result<(), String> {
        if pattern.len() > MAX_BYTES {
            Err(format!("has more than {MAX_BYTES} characters"))
        } else if pattern.matches('*').count() > MAX_STARS {
            Err(format!("has more than {MAX_STARS} `*`"))
        } else {
            Ok(())
        }
    }

    /// The glob as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star = None;
        while t < text.len() {
            if p < pattern.len() && pattern[p] == b'*' {
                star = Some((p, t));
                p += 1;
            } else if p < pattern.len() && pattern[p] == text[t] {
                p += 1;
                t += 1;
            } else if let Some((star_p, star_t)) = star {
                p = star_p + 1;
                t = star_t + 1;
                star = Some((star_p, t));
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|b| *b == b'*')
    }
}

/// A glob on header names. It matches a name whatever its case, and reads `_` as `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderGlob {
    /// As written, in lower case.
    written: Box<str>,
    folded: Glob,
}

impl HeaderGlob {
    /// The glob of a pattern.
    pub fn new(pattern: &str) -> Self {
        let folded = Glob::new(FoldedName::of(pattern).as_str());
        Self { written: pattern.to_ascii_lowercase().into(), folded }
    }

    /// The glob as written, in lower case, for people.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The glob on folded names.
    pub fn folded(&self) -> &Glob {
        &self.folded
    }

    /// True if the whole name matches.
    pub fn matches(&self, name: &FoldedName<'_>) -> bool {
        self.folded.matches(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        let check = |pattern: &str, expected: Result<(), &str>| {
            assert_eq!(Glob::check(pattern), expected.map_err(str::to_owned), "{pattern}");
        };
        check(&"a*".repeat(8), Ok(()));
        check(&"a*".repeat(9), Err("has more than 8 `*`"));
        check(&"a".repeat(256), Ok(()));
        check(&"a".repeat(257), Err("has more than 256 characters"));
    }

    #[test]
    fn names_of_headers_are_compared_as_upstreams_do() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(HeaderGlob::new(pattern).matches(&FoldedName::of(name)), expected, "{pattern} {name}");
        };
        check("x-forwarded-*", "x_forwarded_for", true);
        check("X_Forwarded-*", "x-forwarded_for", true);
        check("x-a", "x.a", false);
    }

    #[test]
    fn matches() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} {text}");
        };
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "x"),
            ("a*", "a"),
            ("a*c", "abbc"),
            ("*b*", "abc"),
            ("a*b*c", "axbxbc"),
            ("a", "a"),
        ] {
            check(pattern, text, true);
        }
        for (pattern, text) in
            [("", "x"), ("a", "ab"), ("a*c", "ab"), ("*b", "abc"), ("A", "a"), ("a**b", "ac")]
        {
            check(pattern, text, false);
        }
    }
}
