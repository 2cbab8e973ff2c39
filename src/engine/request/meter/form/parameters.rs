//! Parameters of header fields: the boundary of a form, and the name of a part.

use std::borrow::Cow;

/// The boundary of a `multipart/form-data` content type.
pub(super) fn boundary(content_type: &[u8]) -> Option<Cow<'_, [u8]>> {
    let parameters = of(content_type, b"multipart/form-data")?;
    let mut found = parameters.filter(|(name, _)| name.eq_ignore_ascii_case(b"boundary"));
    found.next().map(|(_, value)| value)
}

/// The `Content-Disposition` of a part.
pub(super) struct Disposition<'a> {
    pub(super) name: Cow<'a, [u8]>,
    /// It has a file name.
    pub(super) is_file: bool,
}

impl<'a> Disposition<'a> {
    /// That of the head of a part. None if it has no name.
    pub(super) fn of(head: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(head).filter_map(|field| {
            let colon = field.iter().position(|byte| *byte == b':')?;
            let is_it = field[..colon].trim_ascii().eq_ignore_ascii_case(b"content-disposition");
            is_it.then_some(&field[colon + 1..])
        });
        let (mut name, mut is_file) = (None, false);
        for (key, value) in of(fields.next()?, b"form-data")? {
            if key.eq_ignore_ascii_case(b"name") {
                name = name.or(Some(value));
            } else {
                is_file |= key.eq_ignore_ascii_case(b"filename") || key.eq_ignore_ascii_case(b"filename*");
            }
        }
        Some(Self { name: name?, is_file })
    }
}

/// The fields of a head. A line that starts with space belongs to the field before it.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let ends = |(_, pair): &(usize, &[u8])| pair[0] == b'\n' && !matches!(pair[1], b' ' | b'\t');
        let end = self.0.windows(2).enumerate().find(ends).map_or(self.0.len(), |(place, _)| place + 1);
        let (field, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(field)
    }
}

/// The parameters of a value of that type; none if it has another.
fn of<'a>(value: &'a [u8], kind: &[u8]) -> Option<Parameters<'a>> {
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let (essence, parameters) = value.split_at(end);
    essence.trim_ascii().eq_ignore_ascii_case(kind).then_some(Parameters(parameters))
}

/// The rest of a value, from `;` on.
struct Parameters<'a>(&'a [u8]);

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.0.iter().position(|byte| *byte != b';' && !byte.is_ascii_whitespace())?;
            let rest = &self.0[start..];
            let end = rest.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let Some(value) = rest.strip_prefix(b"=") else {
                // A name without a value.
                self.0 = rest;
                continue;
            };
            let value = value.trim_ascii_start();
            if let Some(text) = value.strip_prefix(b"\"") {
                let (text, rest) = quoted(text);
                self.0 = rest;
                return Some((name.trim_ascii(), text));
            }
            let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
            let (value, rest) = value.split_at(end);
            self.0 = rest;
            return Some((name.trim_ascii(), Cow::Borrowed(value.trim_ascii())));
        }
    }
}

/// A quoted string after its first quote, and what follows it. A backslash stands only before `"` and `\`: browsers send
/// others as they are.
fn quoted(bytes: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let mut text = Vec::new();
    let mut from = 0;
    let mut at = 0;
    loop {
        match bytes[at..] {
            [b'\\', b'"' | b'\\', ..] => {
                text.extend_from_slice(&bytes[from..at]);
                from = at + 1;
                at += 2;
            }
            [b'"', ..] | [] => break,
            [_, ..] => at += 1,
        }
    }
    let rest = bytes.get(at + 1..).unwrap_or_default();
    if text.is_empty() {
        return (Cow::Borrowed(&bytes[from..at]), rest);
    }
    text.extend_from_slice(&bytes[from..at]);
    (Cow::Owned(text), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries() {
        let check = |content_type: &str, expected: Option<&str>| {
            let found = boundary(content_type.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{content_type}");
        };
        check("multipart/form-data; boundary=abc", Some("abc"));
        check("Multipart/Form-Data;charset=utf-8 ; BOUNDARY = \"a b;c\" ; x", Some("a b;c"));
        check(r#"multipart/form-data; boundary="a\"\\b\c""#, Some(r#"a"\b\c"#));
        check(r#"multipart/form-data; boundary="\"a""#, Some("\"a"));
        check("multipart/form-data; boundary=\"abc", Some("abc"));
        check("multipart/form-data; boundary=", Some(""));
        check("multipart/form-data; boundary; boundary=a; boundary=b", Some("a"));
        check("multipart/form-data", None);
        check("multipart/mixed; boundary=abc", None);
        check("application/json; boundary=abc", None);
        check("", None);
    }

    #[test]
    fn dispositions() {
        let check = |head: &str, expected: Option<(&str, bool)>| {
            let found = Disposition::of(head.as_bytes());
            let found = found.map(|part| (String::from_utf8_lossy(&part.name).into_owned(), part.is_file));
            assert_eq!(found, expected.map(|(name, is_file)| (name.to_owned(), is_file)), "{head}");
        };
        check("Content-Disposition: form-data; name=\"a\"\r\n\r\n", Some(("a", false)));
        check("content-disposition:form-data;name=a;filename=b\r\n\r\n", Some(("a", true)));
        check(
            "Content-Disposition: form-data; filename*=UTF-8''b; name=\"a;b\"\r\n\r\n",
            Some(("a;b", true)),
        );
        check(
            "Content-Type: a/b\r\nCONTENT-DISPOSITION: form-data;\r\n name=\"a\"\r\nx: y\r\n\r\n",
            Some(("a", false)),
        );
        check(
            "Content-Type: a/b; name=\"c\"\nContent-Disposition: form-data; name=\"a\"\n\n",
            Some(("a", false)),
        );
        check("Content-Disposition: form-data; filename=\"name=\\\"a\\\"\"\r\n\r\n", None);
        check("Content-Disposition: attachment; name=\"a\"\r\n\r\n", None);
        check("Content-Type: a/b\r\n\r\n", None);
        check("\r\n", None);
    }
}
