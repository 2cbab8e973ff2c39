//! Content codings by their names, as a `Content-Encoding` field lists them (RFC 9110, section 8.4.1). Decodes nothing.

/// A content coding other than `identity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentCoding {
    /// `gzip`, also as `x-gzip`.
    Gzip,
    /// `deflate`.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
    /// A coding that is not known here.
    Unknown,
}

/// The codings of a field's value, in the order in which the sender applied them. `identity` is none.
pub fn content_codings(field: &[u8]) -> impl Iterator<Item = ContentCoding> {
    let names = field.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.filter(|name| !name.is_empty()).filter_map(|name| match &*name.to_ascii_lowercase() {
        b"identity" => None,
        b"gzip" | b"x-gzip" => Some(ContentCoding::Gzip),
        b"deflate" => Some(ContentCoding::Deflate),
        b"br" => Some(ContentCoding::Brotli),
        b"zstd" => Some(ContentCoding::Zstd),
        _ => Some(ContentCoding::Unknown),
    })
}

#[cfg(test)]
mod tests {
    use super::{ContentCoding::*, *};

    #[test]
    fn codings_are_read_from_a_field() {
        let check = |field: &str, expected: &[ContentCoding]| {
            assert_eq!(content_codings(field.as_bytes()).collect::<Vec<_>>(), expected, "{field}");
        };
        check("", &[]);
        check(" , identity,\tIDENTITY ", &[]);
        check("gzip", &[Gzip]);
        check("identity, X-GZIP ,", &[Gzip]);
        check("Deflate,br, zstd", &[Deflate, Brotli, Zstd]);
        check("compress, gzip, utf-8", &[Unknown, Gzip, Unknown]);
        check("gzip br", &[Unknown]);
    }
}
