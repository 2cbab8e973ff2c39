//! Filters of placeholders: `{name|upper}`, `{name|lower|urlencode}`. A closed set, applied in the order of the text.
//!
//! A value may be a secret: no copy of it stays behind in memory.

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::template::push_urlencoded;

/// The names of all filters, for messages.
pub const NAMES: &str = "`urlencode`, `base64`, `lower`, `upper`";

/// A change to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
    Urlencode,
    /// Base64 with padding (RFC 4648, section 4).
    Base64,
    /// ASCII letters in lower case.
    Lower,
    /// ASCII letters in upper case.
    Upper,
}

/// The filters of a placeholder, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(Vec<Filter>);

impl Filter {
    /// The filter of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Urlencode, Self::Base64, Self::Lower, Self::Upper].into_iter().find(|one| one.name() == name)
    }

    /// Its name in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Urlencode => "urlencode",
            Self::Base64 => "base64",
            Self::Lower => "lower",
            Self::Upper => "upper",
        }
    }

    fn push_to(self, out: &mut String, value: &str) {
        match self {
            Self::Urlencode => push_urlencoded(out, value),
            Self::Base64 => BASE64_STANDARD.encode_string(value, out),
            Self::Lower => out.extend(value.chars().map(|one| one.to_ascii_lowercase())),
            Self::Upper => out.extend(value.chars().map(|one| one.to_ascii_uppercase())),
        }
    }

    /// An upper bound of the length of its result.
    fn max_len(self, len: usize) -> usize {
        match self {
            Self::Urlencode => 3 * len,
            Self::Base64 => len.div_ceil(3) * 4,
            Self::Lower | Self::Upper => len,
        }
    }
}

impl Filters {
    /// True if one of them is this filter.
    pub fn contains(&self, filter: Filter) -> bool {
        self.0.contains(&filter)
    }

    /// Adds a filter at the end.
    pub fn push(&mut self, filter: Filter) {
        self.0.push(filter);
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the filtered value.
    pub fn push_to(&self, out: &mut String, value: &str) {
        let Some((last, first)) = self.0.split_last() else { return out.push_str(value) };
        if first.is_empty() {
            return last.push_to(out, value);
        }
        let mut made = Zeroizing::new(value.to_owned());
        for filter in first {
            let mut next = Zeroizing::new(String::with_capacity(filter.max_len(made.len())));
            filter.push_to(&mut next, &made);
            made = next;
        }
        last.push_to(out, &made);
    }

    /// An upper bound of the length of a filtered value.
    pub fn max_len(&self, len: usize) -> usize {
        self.0.iter().fold(len, |len, filter| filter.max_len(len))
    }

    /// As written after the name: `|lower|urlencode`.
    pub fn written(&self) -> String {
        self.0.iter().flat_map(|filter| ["|", filter.name()]).collect()
    }
}

impl FromIterator<Filter> for Filters {
    fn from_iter<I: IntoIterator<Item = Filter>>(filters: I) -> Self {
        Self(filters.into_iter().collect())
    }
}
