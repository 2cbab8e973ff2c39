//! Templates: text with placeholders, `{name}` and `{name|urlencode}`. Parsed once, rendered for each request.
//!
//! The caller defines the names, so that URLs, headers, messages and error bodies share one parser. Nothing else is
//! supported: no conditions, no loops, no escape for a brace.

use std::borrow::Cow;

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
        /// True if the value is percent-encoded, all but RFC 3986's unreserved characters.
        urlencode: bool,
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
    /// A filter other than `urlencode`.
    #[error("unknown filter `{0}`: the only one is `urlencode`")]
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
            let (name, urlencode) = match inside[..end].split_once('|') {
                None => (&inside[..end], false),
                Some((name, "urlencode")) => (name, true),
                Some((_, filter)) => return Err(TemplateError::UnknownFilter(filter.to_owned())),
            };
            template.push(known(name).map_err(TemplateError::Name)?, urlencode);
            rest = &inside[end + 1..];
        }
        template.push_text(rest);
        Ok(template)
    }

    /// Resolves the placeholders to values or to other placeholders.
    pub fn resolve<M>(&self, mut known: impl FnMut(&N) -> Resolved<M>) -> Template<M> {
        let mut template = Template { parts: Vec::new() };
        for part in &self.parts {
            match part {
                Part::Text(text) => template.push_text(text),
                Part::Placeholder { name, urlencode } => template.push(known(name), *urlencode),
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
    pub fn placeholder(name: N, urlencode: bool) -> Self {
        Self { parts: vec![Part::Placeholder { name, urlencode }] }
    }

    /// Appends the text with all values filled in.
    pub fn render<'v>(&self, out: &mut String, value: impl Fn(&N) -> &'v str) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Placeholder { name, urlencode: false } => out.push_str(value(name)),
                Part::Placeholder { name, urlencode: true } => out.push_str(&urlencode(value(name))),
            }
        }
    }

    /// An upper bound of the rendered length in bytes. `len`: the length of a value.
    pub fn max_len(&self, len: impl Fn(&N) -> usize) -> usize {
        let part = |part: &Part<N>| match part {
            Part::Text(text) => text.len(),
            Part::Placeholder { name, urlencode: false } => len(name),
            Part::Placeholder { name, urlencode: true } => 3 * len(name),
        };
        self.parts.iter().map(part).sum()
    }

    /// Appends the text with the placeholders in braces, for messages.
    pub fn render_names<'v>(&self, out: &mut String, name_of: impl Fn(&N) -> &'v str) {
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
        let bare =
            |part: &Part<N>| matches!(part, Part::Placeholder { name, urlencode: false } if whole(name));
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

    /// Appends another template. `encode`: percent-encodes all of it.
    pub fn append(&mut self, other: &Self, encode: bool)
    where
        N: Clone,
    {
        for part in &other.parts {
            match part {
                Part::Text(text) => self.push(Resolved::Text(text.clone()), encode),
                Part::Placeholder { name, urlencode } => {
                    self.push(Resolved::Placeholder(name.clone()), *urlencode || encode);
                }
            }
        }
    }

    fn push(&mut self, known: Resolved<N>, encode: bool) {
        match known {
            Resolved::Text(text) if encode => self.push_text(&urlencode(&text)),
            Resolved::Text(text) => self.push_text(&text),
            Resolved::Placeholder(name) => self.parts.push(Part::Placeholder { name, urlencode: encode }),
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

/// Percent-encodes all bytes but those that `keep` accepts.
pub fn percent_encode(text: &str, keep: impl Fn(u8) -> bool) -> Cow<'_, str> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if text.bytes().all(&keep) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii() && keep(byte) {
            out.push(byte.into());
        } else {
            out.extend(['%', HEX[usize::from(byte >> 4)].into(), HEX[usize::from(byte & 15)].into()]);
        }
    }
    Cow::Owned(out)
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
        check("{x|upper}", Err("unknown filter `upper`: the only one is `urlencode`"));
    }
}
