//! WebSocket as far as a proxy knows it (RFC 6455): the boundaries of frames ([`Frames`]), and the lists of the handshake.
//!
//! It changes no byte of a frame, and keeps none. Pure.

mod frames;

pub use frames::{Close, Frames, close_frame};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts};

/// The only version (RFC 6455, section 4.1).
pub const VERSION: &str = "13";

/// The text that a server appends to a client's key, for its answer (RFC 6455, section 1.3).
pub const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of the example in RFC 6455, section 1.3: for requests that are explained and never sent.
const EXAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// True for a text that can be a subprotocol (RFC 9110, section 5.6.2).
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte))
}

/// True for the base64 of 16 bytes (RFC 6455, section 4.2.1).
pub fn is_key(text: &str) -> bool {
    let digits = text.strip_suffix("==").unwrap_or_default();
    digits.len() == 22 && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

/// The members of a list header, without the blanks around them. A line that is no text has none.
pub fn members<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|one| one.trim_matches([' ', '\t']))
        .filter(|one| !one.is_empty())
}

/// True if a list header has a member, in any case.
pub fn has_member(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    members(headers, name).any(|one| one.eq_ignore_ascii_case(wanted))
}

/// True if the client asks for a WebSocket. Any other `Upgrade` is ignored, as RFC 9110, section 7.8 allows.
pub fn is_asked(headers: &HeaderMap) -> bool {
    has_member(headers, &header::UPGRADE, "websocket")
}

/// Completes a handshake that nobody sends: with `Upgrade: websocket` alone, a request for `explain` and a file's own test is
/// one. What it has stays.
pub fn complete(head: &mut Parts) {
    if !is_asked(&head.headers) {
        return;
    }
    head.version = Version::HTTP_11;
    for (name, value) in [
        (header::HOST, "tollgate.example"),
        (header::CONNECTION, "Upgrade"),
        (header::SEC_WEBSOCKET_VERSION, VERSION),
        (header::SEC_WEBSOCKET_KEY, EXAMPLE_KEY),
    ] {
        head.headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_handshake() {
        for (text, expected) in [
            ("realtime", true),
            ("a.b-c_d!", true),
            ("", false),
            ("a b", false),
            ("a,b", false),
            ("a/b", false),
            ("é", false),
        ] {
            assert_eq!(is_token(text), expected, "{text}");
        }
        for (text, expected) in [
            (EXAMPLE_KEY, true),
            ("dGhlIHNhbXBsZSBub25jZQ=", false),
            ("dGhlIHNhbXBsZSBub25jZ===", false),
            ("dGhlIHNhbXBsZSBub25j", false),
            ("dGhlIHNhbXBsZSBub25j!Q==", false),
            ("", false),
        ] {
            assert_eq!(is_key(text), expected, "{text}");
        }
    }

    #[test]
    fn members_of_all_lines() {
        let mut headers = HeaderMap::new();
        for line in ["a, b", "", ",c ,", "D"] {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(line));
        }
        let found: Vec<_> = members(&headers, &header::SEC_WEBSOCKET_PROTOCOL).collect();
        assert_eq!(found, ["a", "b", "c", "D"]);
        assert!(has_member(&headers, &header::SEC_WEBSOCKET_PROTOCOL, "d"));
    }

    #[test]
    fn only_a_handshake_is_completed() {
        let head = |upgrade: &'static str| {
            let request = http::Request::builder().version(Version::HTTP_10).header("upgrade", upgrade);
            let mut head = request.header("sec-websocket-version", "8").body(()).unwrap().into_parts().0;
            complete(&mut head);
            head
        };
        assert_eq!(head("h2c").headers.len(), 2);
        let completed = head("WebSocket");
        assert_eq!(completed.version, Version::HTTP_11);
        assert_eq!(completed.headers[header::SEC_WEBSOCKET_VERSION], "8");
        assert_eq!(completed.headers[header::CONNECTION], "Upgrade");
    }
}
