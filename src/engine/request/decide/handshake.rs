//! The handshake of a WebSocket as the client sends it (RFC 6455, section 4.2.1). tollgate sends one of its own upstream, with
//! the client's key, so that the upstream's answer to the key is good for the client.

use http::{HeaderMap, HeaderName, Version, header, request::Parts};

use crate::base::{
    fault::{Fault, FaultKind},
    websocket,
};

/// Refuses a handshake that no upstream could answer.
pub(super) fn check(head: &Parts) -> Result<(), Fault> {
    let headers = &head.headers;
    if head.version != Version::HTTP_11 {
        return Err(invalid("it begins with HTTP/1.1"));
    }
    if !websocket::has_member(headers, &header::CONNECTION, "upgrade") {
        return Err(invalid("it has no `Connection: Upgrade`, which a proxy on the way may have removed"));
    }
    let is_empty = one(headers, &header::CONTENT_LENGTH).is_none_or(|length| length == "0");
    if !is_empty || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(invalid("it has a body"));
    }
    if one(headers, &header::SEC_WEBSOCKET_VERSION) != Some(websocket::VERSION) {
        let message = format!("WebSocket is served in version {} alone", websocket::VERSION);
        return Err(Fault::new(FaultKind::WebsocketVersion, message));
    }
    if !one(headers, &header::SEC_WEBSOCKET_KEY).is_some_and(websocket::is_key) {
        return Err(invalid("its `Sec-WebSocket-Key` is not the base64 of 16 bytes"));
    }
    Ok(())
}

fn invalid(problem: &str) -> Fault {
    Fault::new(FaultKind::InvalidHandshake, format!("The request is no handshake of a WebSocket: {problem}"))
}

/// The value of a header that occurs once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().unwrap_or_default();
    Some(if values.next().is_some() { "" } else { value.trim_matches([' ', '\t']) })
}
