//! The answer to a request whose head hyper refuses: not valid HTTP, or too large. hyper's own answer has no body, and nobody
//! is asked about it, so that it is replaced on its way to the socket.
//!
//! It knows neither path nor method of such a request: the error has the plain format. The status and the headers of hyper's
//! answer stay, `Connection: close` among them.

use http::StatusCode;

use crate::{compile::ErrorValues, decide, fault::Fault, gateway};

/// The line of hyper's answer that is replaced.
const NO_CONTENT: &str = "content-length: 0\r\n";

/// The bytes of an answer, and how many of them are written.
#[derive(Debug)]
pub(super) struct Refusal {
    bytes: Vec<u8>,
    written: usize,
}

impl Refusal {
    /// The answer in place of hyper's. None for anything else.
    pub(super) fn in_place_of(hypers: &[u8]) -> Option<Self> {
        let bytes = fault(hypers).and_then(|fault| replaced(hypers, &fault))?;
        Some(Self { bytes, written: 0 })
    }

    /// The bytes that are not written yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Some of the rest are written.
    pub(super) fn advance(&mut self, written: usize) {
        self.written += written;
    }
}

/// The fault that hyper answers, by its status.
fn fault(hypers: &[u8]) -> Option<Fault> {
    let status = hypers.strip_prefix(b"HTTP/1.1 ").or_else(|| hypers.strip_prefix(b"HTTP/1.0 "))?;
    match StatusCode::from_bytes(status.get(..3)?).ok()? {
        StatusCode::BAD_REQUEST => Some(decide::not_http()),
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            Some(decide::head_too_large())
        }
        _ => None,
    }
}

fn replaced(hypers: &[u8], fault: &Fault) -> Option<Vec<u8>> {
    let hypers = std::str::from_utf8(hypers).ok().filter(|text| text.ends_with("\r\n\r\n"))?;
    let (before, after) = hypers.split_once(NO_CONTENT)?;
    let body = ErrorValues::of(fault, "").body(None);
    let mut head = format!("{before}content-length: {}\r\n", body.len());
    for (name, value) in gateway::refuse(fault).headers() {
        if *name != http::header::CONNECTION {
            head.extend([name.as_str(), ": ", value.to_str().ok()?, "\r\n"]);
        }
    }
    Some([head.as_bytes(), after.as_bytes(), body.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_hypers_gets_a_body() {
        let check = |hypers: &str, code: Option<&str>| {
            let made = Refusal::in_place_of(hypers.as_bytes());
            let Some(code) = code else { return assert!(made.is_none(), "{hypers}") };
            let made = made.unwrap();
            let text = std::str::from_utf8(made.rest()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let body_value: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body_value["error"]["code"], code, "{text}");
            assert_eq!(head.lines().next(), hypers.lines().next());
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            assert!(head.contains("x-should-retry: false") && head.contains("date: today"), "{head}");
        };
        let own = |status: &str| {
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: today\r\n\r\n")
        };
        check(&own("431 Request Header Fields Too Large"), Some("head_too_large"));
        check(&own("414 URI Too Long"), Some("head_too_large"));
        check(&own("400 Bad Request"), Some("malformed_request"));
        check(&own("505 HTTP Version Not Supported"), None);
        check("HTTP/1.1 400 Bad Request\r\n\r\n", None);
        check("HTTP/1.1 100 Continue\r\n\r\n", None);
        check("", None);
    }
}
