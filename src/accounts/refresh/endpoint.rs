//! One call to a token endpoint: sends a small request and reads a small answer, within a deadline. Redirects are not
//! followed: a secret is sent to the URL in the file only.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::{
    accounts::oauth::{self, Grant, ReceivedAnswer, TokenEndpointError},
    clock,
    fields::OAuth,
    origin::Origin,
    secret::Secret,
    token::TokenCall,
    upstream::{Deadlines, Download, Shared, Target, Upload, Upstream},
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
        oauth: &OAuth,
        refresh_token: &Secret,
    ) -> impl Future<Output = Result<Grant, TokenEndpointError>> + Send;
    /// Makes a call for a token that is made from fields. `by_user`: a user entered its origin.
    fn call(
        &self,
        call: TokenCall,
        by_user: bool,
    ) -> impl Future<Output = Result<ReceivedAnswer, TokenEndpointError>> + Send;
}

/// Real token endpoints, called by the HTTP client of upstreams.
#[derive(Debug)]
pub struct HttpTokenEndpoints(Arc<Shared>);

impl HttpTokenEndpoints {
    /// With this configuration of the HTTP client.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    async fn send(&self, call: TokenCall, by_user: bool) -> Result<ReceivedAnswer, TokenEndpointError> {
        let (origin, request) = request(call)?;
        // Calls are rare: each opens a connection, and none is pooled.
        let upstream = Upstream::for_token_endpoint(Arc::clone(&self.0));
        let deadlines = Deadlines { connect: DEADLINE, first_byte: DEADLINE, idle: DEADLINE };
        let until = Instant::now() + DEADLINE;
        let to = Target { origin: &origin, identity: None, entered: by_user.then_some(&origin) };
        let answer = timeout_at(until, upstream.send(to, request, deadlines)).await;
        let answer = answer.map_err(|_| TokenEndpointError::NoResponse)?.map_err(|error| {
            tracing::warn!(%error, "a token endpoint did not respond");
            TokenEndpointError::NoResponse
        })?;
        Ok(read(answer, until).await)
    }
}

impl TokenEndpoint for HttpTokenEndpoints {
    async fn refresh(&self, oauth: &OAuth, refresh_token: &Secret) -> Result<Grant, TokenEndpointError> {
        let (origin, target) = Origin::split(&oauth.token_url).map_err(|_| TokenEndpointError::InvalidUrl)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let headers = HeaderMap::from_iter([
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
        ]);
        let body = oauth::form(refresh_token, oauth);
        let call = TokenCall { method: Method::POST, origin, target, headers, body, jwt: None };
        oauth::interpret(self.send(call, false).await?, refresh_token, clock::now_ms())
    }

    async fn call(&self, call: TokenCall, by_user: bool) -> Result<ReceivedAnswer, TokenEndpointError> {
        self.send(call, by_user).await
    }
}

fn request(call: TokenCall) -> Result<(Origin, Request<Upload>), TokenEndpointError> {
    let TokenCall { method, origin, target, headers, body, jwt: _ } = call;
    let upload = if body.is_empty() { Upload::empty() } else { Upload::kept(Bytes::from_owner(body)) };
    let mut request = Request::new(upload);
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().map_err(|_| TokenEndpointError::InvalidUrl)?;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(&origin.authority()).map_err(|_| TokenEndpointError::InvalidUrl)?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
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
