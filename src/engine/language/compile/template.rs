//! Templates: text with placeholders, `{name}` and `{name|filter}`. Parsed once, rendered for each request.
//!
//! The caller defines the names, so that URLs, headers, messages and error bodies share one parser. Nothing else is
//! supported: no conditions, no loops, no escape for a brace. Read next: `filter`.

use std::borrow::Cow;

use super::filter::{self, Filter, Filters};

/// A text with placeholders of type `N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template<N> {
    /// Two texts are never adjacent.
    parts: Vec<Part<N>>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<N> {
    /// Literal text.
    Text(String),
    /// A placeholder.
    Placeholder {
        /// Its name.
        name: N,
        /// The filters that the value goes through.
        filters: Filters,
    },
}

/// The reason why a text is not a template. The messages are fragments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError<E> {
    /// A closing brace without an opening one.
    #[error("`}}` without `{{` before it")]
    Unopened,
    /// An opening brace without a closing one.
    #[error("`{{` without `}}` after it")]
    Unclosed,
    /// A filter that does not exist.
    #[error("unknown filter `{0}`: the filters are {known}", known = filter::NAMES)]
    UnknownFilter(String),
    /// A name that the caller refuses.
    #[error(transparent)]
    Name(E),
}

/// A placeholder, resolved as far as possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved<N> {
    /// Its value is known.
    Text(String),
    /// It remains a placeholder.
    Placeholder(N),
}

impl<N> Template<N> {
    /// Parses a text. `known` resolves each name.
    pub fn parse<E>(
        text: &str,
        known: impl Fn(&str) -> Result<Resolved<N>, E>,
    ) -> Result<Self, TemplateError<E>> {
        let mut template = Self { parts: Vec::new() };
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            template.push_text(&rest[..brace]);
            let inside = rest[brace..].strip_prefix('{').ok_or(TemplateError::Unopened)?;
            let end = inside.find(['{', '}']).filter(|end| inside[*end..].starts_with('}'));
            let end = end.ok_or(TemplateError::Unclosed)?;
            let (name, written) = inside[..end]
                .split_once('|')
                .map_or((&inside[..end], None), |(name, filters)| (name, Some(filters)));
            let filters = written
                .into_iter()
                .flat_map(|filters| filters.split('|'))
                .map(|one| Filter::of(one).ok_or_else(|| TemplateError::UnknownFilter(one.to_owned())));
            let filters = filters.collect::<Result<Filters, _>>()?;
            template.push(known(name).map_err(TemplateError::Name)?, &filters);
            rest = &inside[end + 1..];
        }
        template.push_text(rest);
        template.parts.shrink_to_fit();
        Ok(template)
    }

    /// Resolves the placeholders to values or to other placeholders.
    pub fn resolve<M>(&self, mut known: impl FnMut(&N) -> Resolved<M>) -> Template<M> {
        let mut template = Template { parts: Vec::with_capacity(self.parts.len()) };
        for part in &self.parts {
            match part {
                Part::Text(text) => template.push_text(text),
                Part::Placeholder { name, filters } => template.push(known(name), filters),
            }
        }
        template
    }

    /// A template without placeholders.
    pub fn text(text: &str) -> Self {
        let mut template = Self { parts: Vec::new() };
        template.push_text(text);
        template
    }

    /// A template of one placeholder.
    pub fn placeholder(name: N, filters: Filters) -> Self {
        Self { parts: vec![Part::Placeholder { name, filters }] }
    }

    /// Appends the text with all values filled in.
    pub fn render<'v>(&self, out: &mut String, value: impl Fn(&N) -> &'v str) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Placeholder { name, filters } => filters.push_to(out, value(name)),
            }
        }
    }

    /// An upper bound of the rendered length in bytes. `len`: the length of a value.
    pub fn max_len(&self, len: impl Fn(&N) -> usize) -> usize {
        let part = |part: &Part<N>| match part {
            Part::Text(text) => text.len(),
            Part::Placeholder { name, filters } => filters.max_len(len(name)),
        };
        self.parts.iter().map(part).sum()
    }

    /// Appends the text with the placeholders in braces, for messages.
    pub fn render_names<'v>(&'v self, out: &mut String, name_of: impl Fn(&'v N) -> &'v str) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Placeholder { name, .. } => out.extend(["{", name_of(name), "}"]),
            }
        }
    }

    /// Its placeholders, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &N> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Placeholder { name, .. } => Some(name),
        })
    }

    /// True for a URL with a query that also holds a whole URL (by `whole`) without percent-encoding: the query of the inner
    /// URL would run into its own.
    pub fn mixes_queries(&self, whole: impl Fn(&N) -> bool) -> bool {
        let query = |part: &Part<N>| matches!(part, Part::Text(text) if text.contains('?'));
        let bare = |part: &Part<N>| match part {
            Part::Text(_) => false,
            Part::Placeholder { name, filters } => !filters.contains(Filter::Urlencode) && whole(name),
        };
        self.parts.iter().any(query) && self.parts.iter().any(bare)
    }

    /// Its parts.
    pub fn parts(&self) -> &[Part<N>] {
        &self.parts
    }

    /// The text, if there is no placeholder.
    pub fn as_text(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text before the first placeholder.
    pub fn leading_text(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Placeholder { .. }) | None => "",
        }
    }

    /// The template without this prefix; none if its leading text has another.
    pub fn strip_prefix(mut self, prefix: &str) -> Option<Self> {
        if prefix.is_empty() {
            return Some(self);
        }
        let Some(Part::Text(text)) = self.parts.first_mut() else { return None };
        *text = text.strip_prefix(prefix)?.to_owned();
        if text.is_empty() {
            self.parts.remove(0);
        }
        Some(self)
    }

    /// The template without this text at its end, any number of times.
    #[must_use]
    pub fn without_suffix(mut self, suffix: &str) -> Self {
        if let Some(Part::Text(text)) = self.parts.last_mut() {
            *text = text.trim_end_matches(suffix).to_owned();
            if text.is_empty() {
                self.parts.pop();
            }
        }
        self
    }

    /// Appends another template. `encode`: percent-encodes all of it.
    pub fn append(&mut self, other: &Self, encode: bool)
    where
        N: Clone,
    {
        self.parts.reserve_exact(other.parts.len());
        for part in &other.parts {
            match part {
                Part::Text(text) if encode => self.push_text(&urlencode(text)),
                Part::Text(text) => self.push_text(text),
                Part::Placeholder { name, filters } => {
                    let mut filters = filters.clone();
                    if encode && !filters.contains(Filter::Urlencode) {
                        filters.push(Filter::Urlencode);
                    }
                    self.push(Resolved::Placeholder(name.clone()), &filters);
                }
            }
        }
    }

    fn push(&mut self, known: Resolved<N>, filters: &Filters) {
        match known {
            Resolved::Text(text) => {
                let mut filtered = String::new();
                filters.push_to(&mut filtered, &text);
                self.push_text(&filtered);
            }
            Resolved::Placeholder(name) => {
                self.parts.push(Part::Placeholder { name, filters: filters.clone() });
            }
        }
    }

    fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            Some(Part::Placeholder { .. }) | None => self.parts.push(Part::Text(text.to_owned())),
        }
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
pub fn urlencode(text: &str) -> Cow<'_, str> {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    percent_encode(text, unreserved)
}

/// Appends a text percent-encoded as by [`urlencode`]. Unlike that, it makes no copy: the text may be a secret.
pub fn push_urlencoded(out: &mut String, text: &str) {
    push_encoded(out, text, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
}

/// Percent-encodes all bytes but those that `keep` accepts.
pub fn percent_encode(text: &str, keep: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if text.bytes().all(&keep) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 3);
    push_encoded(&mut out, text, keep);
    Cow::Owned(out)
}

fn push_encoded(out: &mut String, text: &str, keep: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii() && keep(byte) {
            out.push(byte.into());
        } else {
            out.extend(['%', HEX[usize::from(byte >> 4)].into(), HEX[usize::from(byte & 15)].into()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no `{0}`")]
    struct Unknown(String);

    fn known(name: &str) -> Result<Resolved<char>, Unknown> {
        match name {
            "a" => Ok(Resolved::Text("A/B".into())),
            "x" | "y" => Ok(Resolved::Placeholder(name.chars().next().expect("one letter"))),
            other => Err(Unknown(other.to_owned())),
        }
    }

    #[test]
    fn parse_and_render() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let rendered = Template::parse(text, known).map(|template| {
                let mut out = String::new();
                template.render(&mut out, |name| if *name == 'x' { "1&2" } else { "ü" });
                out
            });
            let rendered = rendered.map_err(|error| error.to_string());
            assert_eq!(rendered.as_deref().map_err(String::as_str), expected, "{text}");
        };
        check("", Ok(""));
        check("plain", Ok("plain"));
        check("{a}{x}", Ok("A/B1&2"));
        check("<{a|urlencode}|{x|urlencode}|{y|urlencode}>", Ok("<A%2FB|1%262|%C3%BC>"));
        check("{z}", Err("no `z`"));
        check("{", Err("`{` without `}` after it"));
        check("{a", Err("`{` without `}` after it"));
        check("{{a}}", Err("`{` without `}` after it"));
        check("a}", Err("`}` without `{` before it"));
        check("{}", Err("no ``"));
        check(
            "{a|lower}{x|base64}{a|lower|urlencode}{a|urlencode|lower}",
            Ok("a/bMSYya%2fb".replace("a%2fb", "a%2Fba%2fb").as_str()),
        );
        let filters = "the filters are `urlencode`, `base64`, `lower`, `upper`";
        check("{x|trim}", Err(&format!("unknown filter `trim`: {filters}")));
        check("{x|lower|}", Err(&format!("unknown filter ``: {filters}")));
    }
}
