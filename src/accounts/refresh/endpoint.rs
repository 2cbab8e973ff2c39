//! One call to a token endpoint: sends a form and reads a small JSON document, within a deadline. Redirects are not
//! followed: a refresh token is sent to the URL in the file only.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{
    accounts::oauth::{self, Grant, MAX_RESPONSE, TokenEndpointError},
    clock,
    origin::Origin,
    secret::Secret,
    upstream::{Deadlines, Download, Shared, Upload, Upstream},
};

/// Deadline of the whole call.
const DEADLINE: Duration = Duration::from_secs(10);

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
    ) -> Result<(u16, Zeroizing<Vec<u8>>), TokenEndpointError> {
        // Calls are rare: each opens a connection, and none is pooled.
        let upstream = Upstream::new(Arc::clone(&self.0));
        let deadlines = Deadlines { connect: DEADLINE, first_byte: DEADLINE, idle: DEADLINE };
        let answer = upstream.send(origin, request, deadlines).await.map_err(|error| {
            tracing::warn!(%error, "a token endpoint did not respond");
            TokenEndpointError::NoResponse
        })?;
        read(answer).await
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
        let called = timeout(DEADLINE, self.call(&origin, request)).await;
        let (status, body) = called.unwrap_or(Err(TokenEndpointError::NoResponse))?;
        oauth::parse_response(status, &body, refresh_token, clock::now_ms())
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
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    Ok((origin, request))
}

/// The status and the whole body.
async fn read(answer: Response<Download>) -> Result<(u16, Zeroizing<Vec<u8>>), TokenEndpointError> {
    let status = answer.status().as_u16();
    let mut download = answer.into_body();
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_RESPONSE));
    while let Some(frame) = download.frame().await {
        let frame = frame.map_err(|_| TokenEndpointError::InvalidResponse("is cut"))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if body.len() + data.len() > MAX_RESPONSE {
            return Err(TokenEndpointError::InvalidResponse("is too long"));
        }
        body.extend_from_slice(data);
    }
    Ok((status, body))
}
