//! The answer to the handshake of a WebSocket (RFC 6455, section 4.1): what a client would have to refuse is refused here,
//! before it reaches the client. tollgate's own offer differs from that of the client where a file's rules and the stored
//! credential change it: the answer has to fit the one, and the client gets only what fits the other.
//!
//! Of an extension the name is checked; its parameters are between the two peers.

use http::{HeaderMap, HeaderName, Version, header};
use ring::digest;

use crate::websocket;

/// The part of a handshake that its answer depends on.
#[derive(Debug)]
pub(super) struct Offer {
    accept: String,
    protocols: Vec<String>,
    extensions: Vec<String>,
}

impl Offer {
    /// That of a request.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
        let owned = |name: &HeaderName| websocket::members(headers, name).map(str::to_owned).collect();
        Self {
            accept: accept(key.unwrap_or_default()),
            protocols: owned(&header::SEC_WEBSOCKET_PROTOCOL),
            extensions: extensions(headers).map(str::to_owned).collect(),
        }
    }

    /// Refuses an answer 101 that does not fit. The error is a fragment.
    pub(super) fn check(&self, version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
        if version != Version::HTTP_11 {
            return Err("it switches protocols with another version than HTTP/1.1");
        }
        if !websocket::has_member(headers, &header::UPGRADE, "websocket") {
            return Err("it switches to another protocol than `websocket`");
        }
        if !websocket::has_member(headers, &header::CONNECTION, "upgrade") {
            return Err("it has no `Connection: Upgrade`");
        }
        let mut accepts = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
        if accepts.next().is_none_or(|value| value.as_bytes() != self.accept.as_bytes())
            || accepts.next().is_some()
        {
            return Err("its `Sec-WebSocket-Accept` does not fit the key");
        }
        let mut protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let is_offered = |text: &str| self.protocols.iter().any(|offered| offered == text.trim());
        if protocols.next().is_some_and(|one| !one.to_str().is_ok_and(is_offered))
            || protocols.next().is_some()
        {
            return Err("its `Sec-WebSocket-Protocol` is none that was offered");
        }
        let offered: Vec<&str> = self.extensions.iter().map(String::as_str).collect();
        check_extensions(headers, &offered, "its `Sec-WebSocket-Extensions` has one that was not offered")
    }
}

/// Makes an answer that fits tollgate's offer one that fits the client's. A subprotocol that the client did not offer is
/// removed. An extension that it did not offer is refused, since it changes the form of frames. The error is a fragment.
pub(super) fn answer_client(client: &HeaderMap, answer: &mut HeaderMap) -> Result<(), &'static str> {
    let offered: Vec<&str> = extensions(client).collect();
    let what = "it takes an extension that the provider's file offers, and the client does not";
    check_extensions(answer, &offered, what)?;
    let name = header::SEC_WEBSOCKET_PROTOCOL;
    let is_offered = |chosen: &str| websocket::members(client, &name).any(|offered| offered == chosen.trim());
    if !answer.get(&name).and_then(|chosen| chosen.to_str().ok()).is_some_and(is_offered) {
        answer.remove(&name);
    }
    Ok(())
}

/// Refuses extensions that were not `offered`, with the error `otherwise`, and lists that two peers may read differently.
fn check_extensions(
    answer: &HeaderMap,
    offered: &[&str],
    otherwise: &'static str,
) -> Result<(), &'static str> {
    let name = header::SEC_WEBSOCKET_EXTENSIONS;
    if answer.get_all(&name).iter().any(|line| line.to_str().is_err()) {
        return Err("its `Sec-WebSocket-Extensions` is no text");
    }
    let mut seen: Vec<&str> = Vec::new();
    for one in extensions(answer) {
        let is_one = |other: &&str| other.eq_ignore_ascii_case(one);
        if !websocket::is_token(one) || !offered.iter().any(is_one) {
            return Err(otherwise);
        }
        if seen.iter().any(is_one) {
            return Err("its `Sec-WebSocket-Extensions` has one twice");
        }
        seen.push(one);
    }
    Ok(())
}

/// The names of the extensions that a header lists.
fn extensions(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = websocket::members(headers, &header::SEC_WEBSOCKET_EXTENSIONS);
    all.filter_map(|one| one.split(';').next()).map(str::trim)
}

/// The answer to a key.
fn accept(key: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    let hash = digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{}", websocket::ACCEPT_GUID).as_bytes(),
    );
    BASE64_STANDARD.encode(hash)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept(KEY), ACCEPT);
    }

    #[test]
    fn answers() {
        const GOOD: [(&str, &str); 3] = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", ACCEPT),
        ];
        let offer = Offer::of(&headers(&[
            ("sec-websocket-key", KEY),
            ("sec-websocket-protocol", "chat, realtime"),
            (
                "sec-websocket-extensions",
                "permessage-deflate; client_max_window_bits, x-second; a=\"x, y\", ;b",
            ),
        ]));
        let check = |lines: &[(&'static str, &'static str)], expected: bool| {
            assert_eq!(offer.check(Version::HTTP_11, &headers(lines)).is_ok(), expected, "{lines:?}");
        };
        let with = |more: &[(&'static str, &'static str)], expected| check(&[&GOOD, more].concat(), expected);
        with(&[], true);
        with(&[("sec-websocket-protocol", "realtime")], true);
        with(&[("sec-websocket-extensions", "permessage-deflate; server_no_context_takeover")], true);
        with(&[("sec-websocket-protocol", "other")], false);
        with(&[("sec-websocket-protocol", "chat, realtime")], false);
        with(&[("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "chat")], false);
        for (answer, expected) in [
            ("", true),
            ("PERMESSAGE-deflate; client_max_window_bits=10", true),
            ("x-second", true),
            ("permessage-deflate, x-second", true),
            ("x-other", false),
            ("permessage-deflate, x-other", false),
            ("permessage-deflate, permessage-deflate; a", false),
            (";a", false),
            ("y\"", false),
        ] {
            with(&[("sec-websocket-extensions", answer)], expected);
        }
        let deflate = ("sec-websocket-extensions", "permessage-deflate");
        with(&[deflate, ("sec-websocket-extensions", "x-second")], true);
        with(&[deflate, deflate], false);
        let mut unread = headers(&GOOD);
        let line = HeaderValue::from_bytes(b"permessage-deflate, \xe9").unwrap();
        unread.append(header::SEC_WEBSOCKET_EXTENSIONS, line);
        assert!(offer.check(Version::HTTP_11, &unread).is_err());
        with(&[("sec-websocket-accept", ACCEPT)], false);
        for missing in 0..GOOD.len() {
            let rest: Vec<_> =
                GOOD.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, line)| *line).collect();
            check(&rest, false);
        }
        check(&[GOOD[0], GOOD[1], ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=")], false);
        check(&[("upgrade", "h2c"), GOOD[1], GOOD[2]], false);
        assert!(offer.check(Version::HTTP_10, &headers(&GOOD)).is_err());
        let none = Offer::of(&headers(&[("sec-websocket-key", KEY)]));
        assert!(
            none.check(
                Version::HTTP_11,
                &headers(&[&GOOD[..], &[("sec-websocket-protocol", "chat")]].concat())
            )
            .is_err()
        );
    }
}
