//! Parameters of `Content-Type` and `Content-Disposition`, strictly: a value that is accepted has one reading.
//!
//! Within quotes there is no backslash, since its meaning differs between parsers.

/// A value without its parameters, and they.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed<'v> {
    pub(super) essence: &'v [u8],
    /// Names as they were sent; values without quotes.
    pub(super) parameters: Vec<(&'v [u8], &'v [u8])>,
}

impl<'v> Parsed<'v> {
    /// The parts of a value. None if its parameters are malformed.
    pub(super) fn of(value: &'v [u8]) -> Option<Self> {
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        let (essence, mut rest) = value.split_at(end);
        let mut parameters = Vec::new();
        loop {
            rest = trim_start(rest);
            let Some(after) = rest.strip_prefix(b";") else { break };
            rest = trim_start(after);
            if rest.is_empty() || rest.starts_with(b";") {
                continue;
            }
            let (name, after) = token(rest)?;
            let (value, after) = value_of(after.strip_prefix(b"=")?)?;
            parameters.push((name, value));
            rest = after;
        }
        rest.is_empty().then_some(Self { essence: essence.trim_ascii(), parameters })
    }

    /// The values of the parameters of a name.
    pub(super) fn all(&self, name: &str) -> Vec<&'v [u8]> {
        let is_it = |one: &&(&[u8], &[u8])| one.0.eq_ignore_ascii_case(name.as_bytes());
        self.parameters.iter().filter(is_it).map(|(_, value)| *value).collect()
    }

    /// True if a charset, if there is one, is UTF-8 or a part of it.
    pub(super) fn is_utf8(&self) -> bool {
        const SAME: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];
        let is_same = |value: &[u8]| SAME.iter().any(|name| value.eq_ignore_ascii_case(name.as_bytes()));
        let charsets = self.all("charset");
        charsets.len() <= 1 && charsets.into_iter().all(is_same)
    }

    /// True if a parameter is written in the way of RFC 2231: `name*`.
    pub(super) fn has_extended(&self, name: &str) -> bool {
        self.parameters.iter().any(|(one, _)| {
            let front = one.get(..name.len());
            front.is_some_and(|front| front.eq_ignore_ascii_case(name.as_bytes()))
                && one.get(name.len()) == Some(&b'*')
        })
    }
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(bytes.len());
    &bytes[start..]
}

/// A token (RFC 9110), and what follows it.
fn token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len());
    (end > 0).then(|| bytes.split_at(end))
}

fn value_of(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(text) = bytes.strip_prefix(b"\"") else { return token(bytes) };
    let end = text.iter().position(|byte| *byte == b'"')?;
    let is_plain = |byte: &u8| !matches!(byte, 0..=0x1F | 0x7F | b'\\');
    text[..end].iter().all(is_plain).then_some((&text[..end], &text[end + 1..]))
}

pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
