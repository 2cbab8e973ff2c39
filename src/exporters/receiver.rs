//! One POST to the receiver of an exporter: the operator's URL, headers that may be secret, an answer that is read within
//! bounds. Redirects are not followed: headers and data go to that URL only.
//!
//! It decides nothing about retries beyond what the answer allows. Read next: `delivery`.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::{
    origin::Origin,
    upstream::{self, CutError, Deadlines, Download, SendError, Upload, Upstream},
};

/// Deadline of one attempt, from the DNS lookup to the last byte of the answer.
pub(super) const ATTEMPT: Duration = Duration::from_secs(10);
/// Maximum size of an answer that is read, in bytes. Of a longer one, the connection is closed.
const MAX_ANSWER: usize = 64 << 10;

/// The URL of a receiver, and the headers of requests to it.
#[derive(Clone)]
pub(super) struct Receiver {
    origin: Origin,
    target: Uri,
    headers: HeaderMap,
}

/// Why an attempt failed. Never contains a header, or text of an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// There was no answer.
    #[error("{0}")]
    Unreachable(String),
    /// The data is at fault, or no thread could be started: nothing was sent.
    #[error("its data could not be encoded")]
    Unencoded,
    /// There was no complete answer in time.
    #[error("it did not answer within {ATTEMPT:?}")]
    TimedOut,
    /// The answer is no success.
    #[error("it answered {status}{}", if status.is_redirection() { ", and redirects are not followed" } else { "" })]
    Status {
        /// The status of the answer.
        status: StatusCode,
        /// The pause that the answer asks for.
        retry_after: Option<Duration>,
    },
}

impl Receiver {
    /// A receiver at an absolute URL without query and fragment. The error is a fragment that names the problem.
    pub(super) fn new(url: &str, content_type: &'static str) -> Result<Self, &'static str> {
        let (origin, target) = Origin::split(url)?;
        if target.contains(['?', '#']) {
            return Err("it has a query or a fragment");
        }
        let target = if target.is_empty() { "/" } else { target };
        let target = target.parse().map_err(|_| "its path is not valid")?;
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(&origin.authority()).map_err(|_| "its host is not valid")?;
        headers.insert(header::HOST, host);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(Self { origin, target, headers })
    }

    /// Adds a header, which may be secret. The error is a fragment without its value.
    pub(super) fn header(&mut self, name: &str, value: &str) -> Result<(), String> {
        // What is no name may be a secret.
        let name: HeaderName = name.parse().map_err(|_| "it has no valid name".to_owned())?;
        if is_managed(&name) {
            return Err(format!("the header `{name}` is set by tollgate"));
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            format!("the value of the header `{name}` has characters that no header may have")
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }

    /// Sends a body. Returns the body of a successful answer, or its first part.
    pub(super) async fn post(&self, client: &Upstream, body: Bytes) -> Result<Vec<u8>, PostError> {
        let until = Instant::now() + ATTEMPT;
        let deadlines = Deadlines { connect: ATTEMPT, first_byte: ATTEMPT, idle: ATTEMPT };
        let mut request = Request::new(Upload::kept(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = timeout_at(until, client.send(&self.origin, request, deadlines)).await;
        let answer = answer.map_err(|_| PostError::TimedOut)?.map_err(|error| not_sent(&error))?;
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        let body = timeout_at(until, read(answer)).await.map_err(|_| PostError::TimedOut)?;
        if status.is_success() { body } else { Err(PostError::Status { status, retry_after }) }
    }
}

/// Without headers: they may be secret.
impl fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Receiver").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The URL, which is not secret.
impl fmt::Display for Receiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.origin, self.target)
    }
}

/// The scheme and host of a URL that is not valid: elsewhere, it may hold a secret. None if even these may be part of one.
pub(super) fn shown(url: &str) -> Option<&str> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme))?;
    let rest = &url[scheme.len()..];
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".:-_[]".contains(c);
    // With `@`, a password may look like a host.
    (!rest.contains('@') && rest[..host].chars().all(is_host)).then(|| &url[..scheme.len() + host])
}

/// A client for one delivery task. An operator's own receiver may be on a private address.
pub(super) fn client(shared: &upstream::Shared) -> Upstream {
    Upstream::new(Arc::new(shared.for_operator()))
}

/// Headers of framing and connection, and those that `new` sets.
fn is_managed(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
        header::ACCEPT_ENCODING,
    ]
    .contains(name)
}

/// The body, read to its end so that the connection can be used again.
async fn read(answer: Response<Download>) -> Result<Vec<u8>, PostError> {
    let mut download = answer.into_body();
    let mut body = Vec::new();
    while let Some(frame) = download.frame().await {
        let frame = frame.map_err(|error| cut(&error))?;
        if let Some(data) = frame.data_ref() {
            if body.len() + data.len() > MAX_ANSWER {
                break;
            }
            body.extend_from_slice(data);
        }
    }
    Ok(body)
}

/// The error of a request without an answer. Here, `it` is the receiver, which is no upstream.
fn not_sent(error: &SendError) -> PostError {
    PostError::Unreachable(match error {
        SendError::Timeout(_) => return PostError::TimedOut,
        SendError::Reset(problem) => format!("it {problem}"),
        SendError::Malformed(problem) => format!("its answer is malformed: {problem}"),
        SendError::TooManyInterim { limit } => format!("it sent more than {limit} interim (1xx) responses"),
        SendError::BodyRefused
        | SendError::Dns { .. }
        | SendError::DnsTimeout { .. }
        | SendError::DnsBusy { .. }
        | SendError::Forbidden { .. }
        | SendError::ForbiddenName { .. }
        | SendError::NotAllowed { .. }
        | SendError::Proxy { .. }
        | SendError::Local { .. }
        | SendError::Unreachable { .. }
        | SendError::Refused { .. }
        | SendError::ConnectTimeout { .. }
        | SendError::Tls { .. }
        | SendError::BodyTooLarge { .. }
        | SendError::BodyStalled(_)
        | SendError::Handshake(_)
        | SendError::HeadTooLarge
        | SendError::ClientGone => error.to_string(),
    })
}

/// The error of an answer that broke off.
fn cut(error: &CutError) -> PostError {
    match error {
        CutError::Broken(problem) => PostError::Unreachable(format!("its answer broke off: {problem}")),
        CutError::Idle(_) => PostError::TimedOut,
    }
}

/// `Retry-After` in seconds. A date is not read: the backoff applies.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_headers_are_understood_or_refused() {
        let check = |url: &str, expected: Result<&str, &str>| {
            let shown = Receiver::new(url, "text/plain").map(|receiver| receiver.to_string());
            assert_eq!(shown.as_deref().map_err(|problem| *problem), expected, "{url}");
        };
        check("http://127.0.0.1:4318", Ok("http://127.0.0.1:4318/"));
        check("https://otel.example/v1/traces", Ok("https://otel.example/v1/traces"));
        check("otel.example:4318", Err("it does not start with `https://` or `http://`"));
        check("http://a.example/?x=1", Err("it has a query or a fragment"));
        check("http://u:p@a.example/", Err("it has user information before the host"));
        check("http://a.example/a b", Err("its path is not valid"));
        let mut receiver = Receiver::new("http://a.example", "text/plain").unwrap();
        assert_eq!(receiver.header("x-key", "s3cret"), Ok(()));
        assert!(!format!("{receiver:?} {receiver}").contains("s3cret"));
        let problem = receiver.header("x-key", "s3cret\n").unwrap_err();
        assert!(problem.contains("`x-key`") && !problem.contains("s3cret"), "{problem}");
        assert_eq!(receiver.header("Bearer s3cret", "x"), Err("it has no valid name".to_owned()));
        assert!(receiver.header("Content-Length", "1").unwrap_err().contains("set by tollgate"));
    }

    #[test]
    fn problems_are_those_of_the_receiver() {
        let check = |error: &PostError, expected: &str| assert_eq!(error.to_string(), expected);
        let sent = |error| not_sent(&error);
        check(&sent(SendError::Timeout(ATTEMPT)), "it did not answer within 10s");
        check(&sent(SendError::Reset("closed the connection".into())), "it closed the connection");
        check(&sent(SendError::Malformed("no status".into())), "its answer is malformed: no status");
        check(&sent(SendError::TooManyInterim { limit: 32 }), "it sent more than 32 interim (1xx) responses");
        let refused = std::io::ErrorKind::ConnectionRefused.into();
        check(
            &sent(SendError::Refused { host: "c.example".into(), error: refused }),
            "`c.example` cannot be reached: connection refused",
        );
        check(&cut(&CutError::Broken("end of file".into())), "its answer broke off: end of file");
        check(&cut(&CutError::Idle(ATTEMPT)), "it did not answer within 10s");
    }

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let check = |url: &str, expected: Option<&str>| assert_eq!(shown(url), expected, "{url}");
        check("https://a.example:x/s3cret?key=s3cret", Some("https://a.example:x"));
        check("http://[::1]#s3cret", Some("http://[::1]"));
        for url in [
            "https://u:s3cret@a.example/",
            "https://u:s3/cret@a.example",
            "https://a/?s3@cret",
            "s3cret",
            "https://é/",
        ] {
            check(url, None);
        }
    }

    #[test]
    fn only_seconds_are_a_pause() {
        let check = |value: &str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{value}");
        };
        check("3", Some(3));
        check(" 3 ", Some(3));
        check("-1", None);
        check("Sun, 29 Nov 2026 09:00:00 GMT", None);
    }
}
