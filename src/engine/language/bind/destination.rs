//! The origin of upstream URLs: fixed, or made from the caller's values.
//!
//! It guarantees: a value is a whole origin, or a part of one label of a host whose rest the file spells out.

use std::borrow::Cow;

use super::Input;
use crate::{
    base::origin::Origin,
    language::{
        auth::FieldValues,
        compile::{Part, Template},
    },
};

/// The origin of upstream URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The same for every request.
    Fixed(Origin),
    /// A template over fields: scheme and authority.
    Made(Template<Input>),
}

/// The caller's values make no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoOrigin;

impl Destination {
    /// The origin of a request with these values.
    pub fn origin(&self, values: &FieldValues<'_>) -> Result<Cow<'_, Origin>, NoOrigin> {
        match self {
            Self::Fixed(origin) => Ok(Cow::Borrowed(origin)),
            Self::Made(template) => made(template, |index| values.get(index)).map(Cow::Owned),
        }
    }

    /// True if a user enters it as a whole.
    pub fn is_entered(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Made(template) => matches!(template.parts(), [Part::Placeholder { .. }]),
        }
    }

    /// The indices of the values that it is made of.
    pub(crate) fn reads(&self) -> impl Iterator<Item = u16> {
        let made = match self {
            Self::Fixed(_) => None,
            Self::Made(template) => Some(template),
        };
        made.into_iter().flat_map(Template::placeholders).filter_map(Input::field)
    }
}

/// Origins, in their written form. Some of them may be templates over fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// Those that are the same for everybody, sorted.
    pub fixed: Vec<String>,
    /// Those that the caller's values make.
    pub made: Vec<Template<Input>>,
}

impl Origins {
    /// All of them, for these values.
    pub fn of<'v>(&self, value: impl Fn(u16) -> Option<&'v str>) -> Result<Cow<'_, [String]>, NoOrigin> {
        if self.made.is_empty() {
            return Ok(Cow::Borrowed(&self.fixed));
        }
        let mut all = self.fixed.clone();
        for template in &self.made {
            all.push(made(template, &value)?.to_string());
        }
        all.sort();
        all.dedup();
        Ok(Cow::Owned(all))
    }
}

/// The origin that values make.
pub fn made<'v>(
    template: &Template<Input>,
    value: impl Fn(u16) -> Option<&'v str>,
) -> Result<Origin, NoOrigin> {
    let get = |input: &Input| input.field().and_then(&value);
    let is_whole = matches!(template.parts(), [Part::Placeholder { .. }]);
    let is_good = |text: &str| is_whole || is_label_part(text);
    if !template.placeholders().all(|input| get(input).is_some_and(is_good)) {
        return Err(NoOrigin);
    }
    let mut text = String::new();
    template.render(&mut text, |input| get(input).unwrap_or_default());
    match Origin::split(&text) {
        Ok((origin, "")) => Ok(origin),
        Ok(_) | Err(_) => Err(NoOrigin),
    }
}

/// True for a text that stays inside one label of a host: letters, digits and `-` (RFC 1123, section 2.1).
fn is_label_part(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Splits a URL behind its authority.
pub(super) fn split(url: &Template<Input>) -> (Template<Input>, Template<Input>) {
    let (mut authority, mut path) = (Template::text(""), Template::text(""));
    let mut in_path = false;
    for (index, part) in url.parts().iter().enumerate() {
        match part {
            Part::Text(text) if !in_path => {
                let host = if index == 0 { text.find("://").map_or(0, |at| at + 3) } else { 0 };
                let end = text[host..].find('/').map(|at| host + at);
                in_path = end.is_some();
                let (before, after) = text.split_at(end.unwrap_or(text.len()));
                authority.append(&Template::text(before), false);
                path.append(&Template::text(after), false);
            }
            Part::Text(text) => path.append(&Template::text(text), false),
            Part::Placeholder { name, filters } => {
                let target = if in_path { &mut path } else { &mut authority };
                target.append(&Template::placeholder(*name, filters.clone()), in_path);
            }
        }
    }
    (authority, path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::language::compile::Resolved;

    fn template(url: &str) -> Template<Input> {
        let known = |name: &str| {
            let index = name.parse().expect("a number");
            Ok::<_, std::convert::Infallible>(Resolved::Placeholder(Input::Field(index)))
        };
        Template::parse(url, known).expect("a template")
    }

    #[test]
    fn a_url_is_split_behind_its_authority() {
        let check = |url: &str, authority: &str, path: &str| {
            let (made, rest) = split(&template(url));
            assert_eq!((made, rest), (template(authority), template(path)), "{url}");
        };
        check("https://{0}.a.example", "https://{0}.a.example", "");
        check("https://{0}.a.example/v1/{1}", "https://{0}.a.example", "/v1/{1|urlencode}");
        check("https://a.example/{0}", "https://a.example", "/{0|urlencode}");
        check("{0}", "{0}", "");
        check("{0}/v1", "{0}", "/v1");
    }

    #[test]
    fn values_stay_inside_their_label() {
        let check = |url: &str, value: &str, expected: Option<&str>| {
            let made = made(&template(url), |_| Some(value)).ok().map(|origin| origin.to_string());
            assert_eq!(made.as_deref(), expected, "{url} {value}");
        };
        let label = "https://{0}-api.example.com:8443";
        check(label, "eu", Some("https://eu-api.example.com:8443"));
        check(label, "EU-1", Some("https://eu-1-api.example.com:8443"));
        for bad in [
            "",
            "a.b",
            "a/",
            "a@b",
            "a#",
            "a?",
            "a:1",
            "a%2e",
            "a\\",
            "[::1]",
            "a ",
            "ü",
            "xn--\u{fc}",
            "a_b",
            "..",
            "evil.example/",
            "evil.example#",
            "a\r\n",
        ] {
            check(label, bad, None);
        }
        check("{0}", "http://gpu.lan:8000", Some("http://gpu.lan:8000"));
        check("{0}", "https://[::1]", Some("https://[::1]"));
        for bad in ["gpu.lan", "http://a/", "http://a/x", "http://a?x", "http://u@a", "ftp://a", "http://a#"]
        {
            check("{0}", bad, None);
        }
        assert_eq!(made(&template(label), |_| None), Err(NoOrigin));
    }

    proptest! {
        /// Whatever a user enters, the request goes to the suffix that the file spells out.
        #[test]
        fn no_value_leaves_the_suffix(one in "\\PC{0,80}|[a-z0-9./@#?:%\\\\-]{0,12}", other in "\\PC{0,8}") {
            let url = template("https://{0}.{1}-x.vendor.example");
            let value = |index: u16| Some(if index == 0 { one.as_str() } else { other.as_str() });
            if let Ok(origin) = made(&url, value) {
                prop_assert!(origin.host().ends_with("-x.vendor.example"), "{origin}");
                prop_assert_eq!(origin.host().split('.').count(), 4);
                prop_assert_eq!(origin.port, 443);
            }
        }
    }
}
