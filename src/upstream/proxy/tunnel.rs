//! `CONNECT`: asks a proxy for a tunnel (RFC 9110, section 9.3.6).
//!
//! Nothing of the answer but its status is used or shown. Bytes after its head are none of the origin's, which is silent
//! until TLS begins: they are an error. It has no deadline of its own.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{Proxy, ProxyError};
use crate::origin::Origin;

/// Maximum size of the answer's head, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// Opens a tunnel to `origin` over a connection to the proxy.
pub(in crate::upstream) async fn establish<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    proxy: &Proxy,
    origin: &Origin,
) -> Result<(), ProxyError> {
    let request = request(proxy, origin);
    let sent = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    // A proxy that answers early may refuse the rest: its answer says why.
    let sent = sent.await;
    match head(stream).await {
        Err(ProxyError::Closed) if sent.is_err() => Err(ProxyError::Closed),
        Err(error) => Err(error),
        Ok(head) => judge(&head, proxy),
    }
}

fn request(proxy: &Proxy, origin: &Origin) -> Zeroizing<String> {
    let host = origin.host();
    // The port is never left out here.
    let authority = if host.contains(':') {
        format!("[{host}]:{}", origin.port)
    } else {
        format!("{host}:{}", origin.port)
    };
    let mut request = Zeroizing::new(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"));
    if let Some(value) = proxy.authorization.as_ref().and_then(|value| value.to_str().ok()) {
        request.push_str("Proxy-Authorization: ");
        request.push_str(value);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

/// Reads the head of the answer, with the blank line.
async fn head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, ProxyError> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = stream.read(&mut piece).await.map_err(|_| ProxyError::Closed)?;
        if read == 0 {
            return Err(ProxyError::Closed);
        }
        // The blank line may begin in an earlier piece.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(&piece[..read]);
        match head[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            Some(at) if is_success(&head) && from + at + 4 < head.len() => {
                return Err(ProxyError::Malformed("bytes follow it that no origin has sent"));
            }
            Some(_) => return Ok(head),
            None if !b"HTTP/1.".starts_with(&head[..head.len().min(7)]) => {
                return Err(ProxyError::Malformed("it is not HTTP/1.1"));
            }
            None if head.len() > MAX_HEAD => return Err(ProxyError::Malformed("its head is too large")),
            None => {}
        }
    }
}

fn judge(head: &[u8], proxy: &Proxy) -> Result<(), ProxyError> {
    match status(head) {
        Some(200..=299) => Ok(()),
        Some(407) => Err(ProxyError::Unauthorized { sent: proxy.has_credentials() }),
        Some(status) => Err(ProxyError::Refused(status)),
        None => Err(ProxyError::Malformed("it is not HTTP/1.1")),
    }
}

fn is_success(head: &[u8]) -> bool {
    status(head).is_some_and(|status| (200..300).contains(&status))
}

fn status(head: &[u8]) -> Option<u16> {
    let (b'0' | b'1', rest) = head.strip_prefix(b"HTTP/1.")?.split_first()? else { return None };
    let (digits, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let is_number = digits.iter().all(u8::is_ascii_digit) && matches!(rest.first(), Some(b' ' | b'\r'));
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens a tunnel through a proxy that sends this, and then closes.
    async fn answered(answer: &'static [&'static str]) -> (Result<(), ProxyError>, String) {
        let proxy = Proxy::parse("http://ada:s3cret@proxy.example:3128").unwrap();
        let (origin, _) = Origin::split("https://api.example.test").unwrap();
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        let proxying = async move {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                seen.push(far.read_u8().await.unwrap());
            }
            for piece in answer {
                // The near side may have gone.
                let _ = far.write_all(piece.as_bytes()).await;
                tokio::task::yield_now().await;
            }
            String::from_utf8(seen).unwrap()
        };
        tokio::join!(async { establish(&mut near, &proxy, &origin).await }, proxying)
    }

    #[tokio::test]
    async fn answers() {
        for good in [
            &["HTTP/1.1 200 Connection established\r\n\r\n"][..],
            &["HTTP/1.0 200\r\nVia: x\r\n\r\n"],
            &["HTT", "P/1.1 200 OK\r\nA: b\r", "\n\r", "\n"],
            &["HTTP/1.1 204 No Content\r\n\r\n"],
        ] {
            let (outcome, request) = answered(good).await;
            outcome.unwrap();
            assert_eq!(
                request,
                "CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test:443\r\nProxy-Authorization: Basic YWRhOnMzY3JldA==\r\n\r\n"
            );
        }
        let large: &'static str = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(MAX_HEAD)).leak();
        let large: &'static [&'static str] = vec![large].leak();
        for (bad, expected) in [
            (
                &["HTTP/1.1 407 Proxy Authentication Required\r\n\r\nbody"][..],
                "refused its credentials (407)",
            ),
            (&["HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno"], "status 502"),
            (&["HTTP/1.1 302 Found\r\n\r\n"], "status 302"),
            (&["HTTP/1.1 100 Continue\r\n\r\n"], "status 100"),
            (&["SSH-2.0-x\r\n"], "it is not HTTP/1.1"),
            (&["HTTP/1.1 2000 OK\r\n\r\n"], "it is not HTTP/1.1"),
            (&["HTTP/1.1 200 OK\r\n\r\nx"], "bytes follow it"),
            (large, "its head is too large"),
            (&["HTTP/1.1 200 OK\r\nA: b"], "closed the connection"),
            (&[], "closed the connection"),
        ] {
            let (outcome, _) = answered(bad).await;
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{bad:?}: {error}");
        }
    }
}
