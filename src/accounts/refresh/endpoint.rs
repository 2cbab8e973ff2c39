//! One call to a token endpoint: sends a form and reads a small answer, within a deadline. Redirects are not
//! followed: a refresh token is sent to the URL in the file only.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::{
    accounts::oauth::{self, Grant, ReceivedAnswer, TokenEndpointError},
    clock,
    origin::Origin,
    secret::Secret,
    upstream::{Deadlines, Download, Shared, Upload, Upstream},
};

/// Deadline of the whole call.
const DEADLINE: Duration = Duration::from_secs(10);
/// Maximum length of a header field that is kept, in characters.
const MAX_FIELD: usize = 256;

/// The call to a token endpoint. A trait only for tests, which fake it.
pub trait TokenEndpoint: Send + Sync + 'static {
    /// Uses a refresh token.
    fn refresh(
        &self,
        token_url: &str,
        client_id: &str,
        refresh_token: &Secret,
    ) -> impl Future<Output = Result<Grant, TokenEndpointError>> + Send;
}

/// Real token endpoints, called by the HTTP client of upstreams.
#[derive(Debug)]
pub struct HttpTokenEndpoints(Arc<Shared>);

impl HttpTokenEndpoints {
    /// With this configuration of the HTTP client.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    async fn call(
        &self,
        origin: &Origin,
        request: Request<Upload>,
    ) -> Result<ReceivedAnswer, TokenEndpointError> {
        // Calls are rare: each opens a connection, and none is pooled.
        let upstream = Upstream::for_token_endpoint(Arc::clone(&self.0));
        let deadlines = Deadlines { connect: DEADLINE, first_byte: DEADLINE, idle: DEADLINE };
        let until = Instant::now() + DEADLINE;
        let answer = timeout_at(until, upstream.send(origin, request, deadlines)).await;
        let answer = answer.map_err(|_| TokenEndpointError::NoResponse)?.map_err(|error| {
            tracing::warn!(%error, "a token endpoint did not respond");
            TokenEndpointError::NoResponse
        })?;
        Ok(read(answer, until).await)
    }
}

impl TokenEndpoint for HttpTokenEndpoints {
    async fn refresh(
        &self,
        token_url: &str,
        client_id: &str,
        refresh_token: &Secret,
    ) -> Result<Grant, TokenEndpointError> {
        let (origin, request) = request(token_url, oauth::form(refresh_token, client_id))?;
        oauth::interpret(self.call(&origin, request).await?, refresh_token, clock::now_ms())
    }
}

fn request(token_url: &str, form: Bytes) -> Result<(Origin, Request<Upload>), TokenEndpointError> {
    let (origin, target) = Origin::split(token_url).map_err(|_| TokenEndpointError::InvalidUrl)?;
    let mut request = Request::new(Upload::kept(form));
    *request.method_mut() = Method::POST;
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    *request.uri_mut() = target.parse().map_err(|_| TokenEndpointError::InvalidUrl)?;
    let host = HeaderValue::from_str(&origin.authority()).map_err(|_| TokenEndpointError::InvalidUrl)?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    Ok((origin, request))
}

/// The head and the body, or as much of it as came within the size and the time.
async fn read(answer: Response<Download>, until: Instant) -> ReceivedAnswer {
    let (head, mut download) = answer.into_parts();
    let mut body = Zeroizing::default();
    let incomplete = loop {
        match timeout_at(until, download.frame()).await {
            Ok(None) => break None,
            Ok(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                if !oauth::push(&mut body, data) {
                    break Some("is too long");
                }
            }
            Ok(Some(Err(_))) => break Some("is cut"),
            Err(_) => break Some("did not end in time"),
        }
    };
    let field = |name| {
        let values = head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        values.collect::<Vec<_>>().join(", ").chars().take(MAX_FIELD).collect()
    };
    let (content_type, content_encoding) = (field(header::CONTENT_TYPE), field(header::CONTENT_ENCODING));
    ReceivedAnswer { status: head.status.as_u16(), content_type, content_encoding, body, incomplete }
}
