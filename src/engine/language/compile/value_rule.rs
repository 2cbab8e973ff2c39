//! Rules for the values that users store in fields which are no secrets: `text` and `origin`.
//!
//! A value passes before it is stored, and again before a request is made from it: the rule of the file may have changed
//! since. No message contains the value.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::is_dots;
use crate::{
    base::{origin::Origin, suggest::backticked},
    language::syntax::{self, FieldKind},
};

/// The maximum length of a value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024;
/// The memory of a compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 256 << 10;

/// The rule for the values of a field.
#[derive(Debug, Clone)]
pub enum ValueRule {
    /// Printable ASCII without spaces.
    Plain,
    /// Text that matches a regular expression as a whole.
    Pattern(Arc<Regex>),
    /// One of these texts.
    OneOf(Vec<String>),
    /// An origin: scheme, host and port.
    Origin,
}

impl PartialEq for ValueRule {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) | (Self::Origin, Self::Origin) => true,
            (Self::Pattern(one), Self::Pattern(other)) => one.as_str() == other.as_str(),
            (Self::OneOf(one), Self::OneOf(other)) => one == other,
            (Self::Plain | Self::Pattern(_) | Self::OneOf(_) | Self::Origin, _) => false,
        }
    }
}

impl Eq for ValueRule {}

impl ValueRule {
    /// The rule of a field; none for kinds whose values are secrets. The error says why `pattern` is none, as a fragment.
    pub fn of(field: &syntax::Field) -> Result<Option<Self>, String> {
        match (field.kind, &field.pattern, &field.one_of) {
            (Some(FieldKind::Origin), ..) => Ok(Some(Self::Origin)),
            (Some(FieldKind::Text), Some(pattern), _) => Self::pattern(pattern).map(Some),
            (Some(FieldKind::Text), None, Some(values)) => Ok(Some(Self::OneOf(values.clone()))),
            (Some(FieldKind::Text), None, None) => Ok(Some(Self::Plain)),
            (None | Some(FieldKind::Secret | FieldKind::Json | FieldKind::Oauth2), ..) => Ok(None),
        }
    }

    fn pattern(text: &str) -> Result<Self, String> {
        let build = |text: &str| {
            let built = RegexBuilder::new(text).unicode(false).size_limit(MAX_PATTERN_BYTES).build();
            // The parser's own message has several lines, with the pattern in it.
            built.map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => "it takes too much memory".to_owned(),
                other => {
                    let text = other.to_string();
                    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
                }
            })
        };
        // The text has to be an expression by itself: `a)|(?:b` would end the group around it.
        build(text)?;
        build(&format!("^(?:{text})$")).map(|pattern| Self::Pattern(Arc::new(pattern)))
    }

    /// Checks a value. The error is a fragment that begins with a verb.
    pub fn check(&self, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err("is empty".to_owned());
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(format!("has {} bytes: at most {MAX_VALUE_BYTES} are stored", value.len()));
        }
        if let Some(at) = value.chars().position(|one| !one.is_ascii_graphic()) {
            let position = at + 1;
            return Err(format!(
                "has a forbidden character at position {position}: printable ASCII only, without spaces"
            ));
        }
        if is_dots(value) {
            return Err("is a dot segment of a path".to_owned());
        }
        match self {
            Self::Plain => Ok(()),
            Self::Pattern(pattern) if pattern.is_match(value) => Ok(()),
            Self::Pattern(pattern) => Err(format!("does not match `{}`", written(pattern))),
            Self::OneOf(values) if values.iter().any(|one| one == value) => Ok(()),
            Self::OneOf(values) => Err(format!("is none of {}", backticked(values))),
            Self::Origin => check_origin(value),
        }
    }
}

/// The pattern as the file has it.
pub fn written(pattern: &Regex) -> &str {
    let text = pattern.as_str();
    text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
}

/// Checks an origin that a user enters: nothing but scheme, host and port.
fn check_origin(value: &str) -> Result<(), String> {
    match Origin::split(value) {
        Ok((_, "")) => Ok(()),
        Ok((_, "/")) => Err("ends with `/`: leave it out".to_owned()),
        Ok(_) => Err("has more than scheme, host and port: leave the rest out".to_owned()),
        Err(problem) => Err(format!("is no origin, such as `https://host.example:8000`: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: FieldKind, pattern: Option<&str>, one_of: &[&str]) -> Result<Option<ValueRule>, String> {
        let one_of = (!one_of.is_empty()).then(|| one_of.iter().map(ToString::to_string).collect());
        let pattern = pattern.map(str::to_owned);
        ValueRule::of(&syntax::Field { kind: Some(kind), pattern, one_of, ..syntax::Field::default() })
    }

    #[test]
    fn values_are_checked_by_their_rule() {
        let check = |rule: &ValueRule, value: &str, expected: Result<(), &str>| {
            assert_eq!(rule.check(value), expected.map_err(str::to_owned), "{value}");
        };
        let plain = rule(FieldKind::Text, None, &[]).unwrap().unwrap();
        check(&plain, "a/b", Ok(()));
        check(&plain, "", Err("is empty"));
        check(&plain, "..", Err("is a dot segment of a path"));
        check(&plain, "%2e.", Err("is a dot segment of a path"));
        let character = "has a forbidden character at position 2: printable ASCII only, without spaces";
        for bad in ["a b", "a\n", "a\u{0}", "aü"] {
            check(&plain, bad, Err(character));
        }
        let label = rule(FieldKind::Text, Some("[a-z]{2}|x-[0-9]"), &[]).unwrap().unwrap();
        check(&label, "eu", Ok(()));
        check(&label, "x-1", Ok(()));
        for bad in ["eu1", "xeu", "x-1/", "EU", "eu."] {
            check(&label, bad, Err("does not match `[a-z]{2}|x-[0-9]`"));
        }
        let one_of = rule(FieldKind::Text, None, &["eu", "us"]).unwrap().unwrap();
        check(&one_of, "us", Ok(()));
        check(&one_of, "USA", Err("is none of `eu`, `us`"));
        let origin = rule(FieldKind::Origin, None, &[]).unwrap().unwrap();
        check(&origin, "http://gpu.lan:8000", Ok(()));
        check(&origin, "https://[::1]", Ok(()));
        check(&origin, "https://a.example/", Err("ends with `/`: leave it out"));
        check(
            &origin,
            "https://a.example/v1",
            Err("has more than scheme, host and port: leave the rest out"),
        );
        let none = "is no origin, such as `https://host.example:8000`: ";
        check(&origin, "https://u@a.example", Err(&format!("{none}it has user information before the host")));
        check(&origin, "ftp://a", Err(&format!("{none}it does not start with `https://` or `http://`")));
        assert!(rule(FieldKind::Secret, None, &[]).unwrap().is_none());
        assert_eq!(rule(FieldKind::Text, Some("("), &[]).unwrap_err(), "unclosed group");
        for outside in ["eu)|(?:us", "eu)|(us", ")", "a)(?:b"] {
            assert_eq!(rule(FieldKind::Text, Some(outside), &[]).unwrap_err(), "unopened group", "{outside}");
        }
        assert_eq!(
            rule(FieldKind::Text, Some("(a{99}){9999}"), &[]).unwrap_err(),
            "it takes too much memory"
        );
    }
}
