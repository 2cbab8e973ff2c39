//! The answer to a request whose head hyper refuses: not valid HTTP, or too large. hyper's own answer has no body, and nobody
//! is asked about it, so that it is replaced on its way to the socket, before TLS if there is any.
//!
//! It knows neither path nor method of such a request: the error has the plain format. The status and the headers of hyper's
//! answer stay, `Connection: close` among them.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{admission::ClientConnection, compile::ErrorValues, decide, fault::Fault, gateway};

/// The line of hyper's answer that is replaced.
const NO_CONTENT: &str = "content-length: 0\r\n";

/// A connection that hyper speaks HTTP/1.1 on: its own answers to heads that it refuses are replaced. All else passes.
pub(super) struct WithRefusals<'s, S> {
    io: &'s mut S,
    connection: Arc<ClientConnection>,
    /// The answer in place of one that hyper gives by itself.
    refusal: Option<Refusal>,
}

impl<'s, S: AsyncWrite + Unpin> WithRefusals<'s, S> {
    pub(super) fn new(io: &'s mut S, connection: &Arc<ClientConnection>) -> Self {
        Self { io, connection: Arc::clone(connection), refusal: None }
    }

    /// True if hyper may be writing an answer of its own: no request is answered.
    fn may_be_refusal(&self) -> bool {
        self.connection.awaited().is_some()
    }

    /// Writes tollgate's answer in place of hyper's own to a head that it refuses, the last one of the connection. Anything else is
    /// written as it is. Ready once all is written.
    fn poll_refusal(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { io, refusal, .. } = self;
        if refusal.is_none() {
            *refusal = Refusal::in_place_of(bytes);
        }
        let Some(refusal) = refusal else { return Pin::new(io).poll_write(cx, bytes) };
        while !refusal.rest().is_empty() {
            match Pin::new(&mut *io).poll_write(cx, refusal.rest()) {
                Poll::Ready(Ok(written)) if written > 0 => refusal.advance(written),
                ended => return ended,
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithRefusals<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithRefusals<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.may_be_refusal() {
            self.poll_refusal(cx, bytes)
        } else {
            Pin::new(&mut *self.io).poll_write(cx, bytes)
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.may_be_refusal() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_refusal(cx, first.map_or(&[], |slice| slice));
        }
        Pin::new(&mut *self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}

/// The bytes of an answer, and how many of them are written.
#[derive(Debug)]
struct Refusal {
    bytes: Vec<u8>,
    written: usize,
}

impl Refusal {
    /// The answer in place of hyper's. None for anything else.
    fn in_place_of(hypers: &[u8]) -> Option<Self> {
        let bytes = fault(hypers).and_then(|fault| replaced(hypers, &fault))?;
        Some(Self { bytes, written: 0 })
    }

    /// The bytes that are not written yet.
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Some of the rest are written.
    fn advance(&mut self, written: usize) {
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
