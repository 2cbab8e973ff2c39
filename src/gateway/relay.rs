//! A call to a provider, from its authorization to the head of the answer: credential, upstream, at most one retry after
//! a 401 with a refreshed login. A 401 to a body that cannot be sent again refreshes the login for later requests. The body
//! of the answer is relayed as it comes (`body`); `asking` changes the bodies of few endpoints.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH, request::Parts};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use super::{
    Body, InFlight, Worker,
    asking::{self, Asked},
    body,
    context::RequestContext,
    credential::{self, RefreshAttempts},
    fault,
};
use crate::{
    accounts::{Caller, RefreshRequest},
    admission::{ClientConnection, LocalError},
    clock::now_ms,
    compile::metering::Ask,
    decide::{Authorized, BodyInput, Credential, RefreshReason, UpstreamRequest, body_too_large},
    fault::{Fault, FaultKind},
    meter::ask::remove_digests,
    rewrite::{self, RewrittenResponse},
    table::Hit,
    telemetry::shown,
    upstream::{Deadlines, Download, SendError, Upload, UploadWatch},
};

/// An authorized call, with its request and its caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outbound<'r> {
    pub(super) request: InFlight<'r>,
    pub(super) call: &'r Authorized<'r>,
    pub(super) caller: &'r Caller,
}

/// The body of a call, until it is sent.
#[derive(Debug)]
pub(super) enum CallBody<'r> {
    /// The client's. What is not read stays there.
    Client(&'r mut Option<Incoming>),
    /// tollgate's own.
    Own(Bytes),
}

impl CallBody<'_> {
    /// A lower bound of its size.
    fn min_bytes(&self) -> u64 {
        match self {
            Self::Client(incoming) => incoming.as_ref().map_or(0, |body| body.size_hint().lower()),
            Self::Own(bytes) => bytes.len() as u64,
        }
    }

    /// The body on its way upstream. That of a GET or HEAD is not sent.
    fn upload(self, head: &Parts, hit: &Hit, connection: &ClientConnection) -> Upload {
        if matches!(head.method, Method::GET | Method::HEAD) {
            return Upload::empty();
        }
        let limit = hit.provider.max_body;
        match self {
            Self::Client(incoming) => {
                let reads = connection.reads().clone();
                let from_client = |body| Upload::incoming(body, limit, reads);
                incoming.take().map_or_else(Upload::empty, from_client)
            }
            Self::Own(bytes) if bytes.is_empty() => Upload::empty(),
            Self::Own(bytes) => Upload::other(Full::new(bytes), limit),
        }
    }
}

/// What was sent of a request's body.
#[derive(Debug, Clone, Copy)]
struct Sent<'r> {
    /// None if there was no body.
    watch: Option<&'r UploadWatch>,
    /// The change of the body, if it was changed.
    asked: Option<&'r Asked>,
}

/// Sends the call upstream, and makes the head of the answer.
pub(super) async fn relay(
    outbound: Outbound<'_>,
    body: CallBody<'_>,
    context: &mut RequestContext,
) -> Result<Response<Body>, Fault> {
    let Outbound { request: InFlight { worker, head, .. }, call, caller } = outbound;
    let mut attempts = RefreshAttempts::default();
    let sendable = loop {
        match call.credential(credential::owners(caller, &call.hit, &attempts), now_ms())? {
            Credential::Ready(sendable) => break sendable,
            Credential::Refresh(refresh, _) => {
                let request = credential::refresh_request(refresh);
                let begun = Instant::now();
                attempts.refresh(&worker.refresher, request).await;
                context.set_refreshed(begun);
            }
        }
    };
    context.set_key_owner(sendable.owner());
    // A kind of authentication that depends on the body has to wait for it here.
    let BodyInput::Nothing = sendable.body_input();
    let mut upstream = sendable.request(body.min_bytes())?;
    let metered = context.meter(&call.hit, head);
    context.hide(sendable.secrets());
    let mut upload = body.upload(head, &call.hit, context.connection()).tapped(metered);
    let asked = match asking::wanted(&call.hit, head) {
        // Boxed, since few endpoints ask: other requests should not carry its state.
        Some(wanted) => Box::pin(ask(wanted, outbound, &mut upload, &mut upstream, context)).await?,
        None => None,
    };
    // Small bodies are copied, so that the request can be sent once more with another access token.
    let upload = if sendable.is_refreshable() { upload.keep() } else { upload };
    let watch = upload.watch();
    context.set_sent(upstream.origin);
    let sent = send(worker, &call.hit, upstream, upload).await;
    if let Ok(reply) = &sent {
        context.set_connected(reply.body().connect_time());
    }
    let reply = match sent {
        Ok(reply) if reply.status() == StatusCode::UNAUTHORIZED => {
            match sendable.refresh(RefreshReason::Refused).map(credential::refresh_request) {
                Some(refused) => {
                    context.meter_refused();
                    let sent = Sent { watch: watch.as_ref(), asked: asked.as_ref() };
                    retry(outbound, attempts, refused, sent, context).await.unwrap_or(reply)
                }
                None => reply,
            }
        }
        Ok(reply) => reply,
        Err(error) => {
            body::read_rest_of(&worker.tasks, watch, context.connection());
            return Err(send_fault(&error, &call.hit, context));
        }
    };
    Ok(response(outbound, reply, watch, asked.as_ref(), context))
}

/// Changes a request so that it asks for usage, if its body allows that.
async fn ask(
    wanted: &Arc<Ask>,
    Outbound { request, call, .. }: Outbound<'_>,
    upload: &mut Upload,
    upstream: &mut UpstreamRequest<'_>,
    context: &RequestContext,
) -> Result<Option<Asked>, Fault> {
    let watch = upload.watch();
    let asked = asking::insert(wanted, request, &call.hit, upload, context).await.inspect_err(|_| {
        drop(std::mem::replace(upload, Upload::empty()));
        body::read_rest_of(&request.worker.tasks, watch, context.connection());
    })?;
    if let Some(asked) = &asked {
        asked.change_headers(&mut upstream.headers);
    }
    Ok(asked)
}

/// The response to the client: the upstream's answer, or the reply that a rule of the provider's file puts in its place.
fn response(
    Outbound { request: InFlight { worker, head, .. }, call, .. }: Outbound<'_>,
    reply: Response<Download>,
    watch: Option<UploadWatch>,
    asked: Option<&Asked>,
    context: &mut RequestContext,
) -> Response<Body> {
    let (reply, download) = reply.into_parts();
    let extra = asked.and_then(|asked| asked.extra(&reply));
    let trailers = rewrite::takes_trailers(&head.headers);
    context.meter_answer(reply.status, &reply.headers);
    match rewrite::response(&call.hit, reply.status, reply.headers, trailers) {
        RewrittenResponse::Relayed(mut headers) => {
            if extra.is_some() {
                headers.remove(CONTENT_LENGTH);
                remove_digests(&mut headers);
            }
            let (tasks, connection) = (worker.tasks.clone(), context.connection().clone());
            let mut answer = Response::new(Body::relay(download, extra, trailers, watch, tasks, connection));
            *answer.status_mut() = reply.status;
            *answer.headers_mut() = headers;
            // hyper keeps a reason here that is not the status's own; without it, it invents `<none>`.
            if let Some(reason) = reply.extensions.get::<hyper::ext::ReasonPhrase>() {
                answer.extensions_mut().insert(reason.clone());
            }
            answer
        }
        RewrittenResponse::Replaced(rule) => {
            // This closes the upstream connection and ends the upload; the rest of the client's body is then drained.
            drop(download);
            context.meter_no_answer();
            body::read_rest_of(&worker.tasks, watch, context.connection());
            context.set_fault(FaultKind::ResponseRule);
            fault::reply(rule, &call.hit, context.request_id())
        }
    }
}

/// Sends one request, up to the head of the upstream's answer.
async fn send(
    worker: &Worker,
    hit: &Hit,
    upstream: UpstreamRequest<'_>,
    upload: Upload,
) -> Result<Response<Download>, SendError> {
    let UpstreamRequest { origin, method, target, headers } = upstream;
    let timeouts = hit.endpoint().timeouts;
    let deadlines =
        Deadlines { connect: timeouts.connect, first_byte: timeouts.first_byte, idle: timeouts.idle };
    let mut request = Request::new(upload);
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    worker.upstream.send(origin, request, deadlines).await
}

/// Refreshes the login and sends the request once more. Returns none, so that the 401 is relayed, if the refresh brought
/// no other access token, or if the second request fails. If there is no complete copy of the body, the 401 is relayed
/// at once: the refresh is for later requests.
async fn retry(
    Outbound { request: InFlight { worker, .. }, call, caller }: Outbound<'_>,
    mut attempts: RefreshAttempts,
    refused: RefreshRequest,
    sent: Sent<'_>,
    context: &RequestContext,
) -> Option<Response<Download>> {
    let upload = match sent.watch {
        None => Upload::empty(),
        Some(watch) => {
            let Some(kept) = watch.take_kept() else {
                worker.refresher.order(refused);
                return None;
            };
            Upload::kept(kept)
        }
    };
    attempts.refresh(&worker.refresher, refused.clone()).await;
    let owners = credential::owners(caller, &call.hit, &attempts);
    let sendable = call.credential(owners, now_ms()).ok()?.without_refresh();
    let (place, seen) = (&refused.credential, &refused.seen);
    if !sendable.replaces(&place.owner, &place.field, &seen.access_token) {
        return None;
    }
    context.hide(sendable.chosen.map(|chosen| chosen.secret).into_iter());
    let mut upstream = sendable.request(0).ok()?;
    if let Some(asked) = sent.asked {
        asked.change_headers(&mut upstream.headers);
    }
    context.meter_retry();
    // Boxed, since it is rare: a warm request should not carry its state.
    let sent = Box::pin(send(worker, &call.hit, upstream, upload)).await;
    sent.inspect_err(|error| drop(send_fault(error, &call.hit, context))).ok()
}

/// The fault of a request without a response from upstream. Logs it, unless the client is at fault.
pub(super) fn send_fault(error: &SendError, hit: &Hit, context: &RequestContext) -> Fault {
    let kind = error.kind();
    let provider = &hit.provider.name;
    let what = match error {
        SendError::Dns { .. } => "its name does not resolve",
        SendError::DnsTimeout { .. } => "its name was not resolved in time",
        SendError::DnsBusy { .. } => {
            "its name cannot be resolved now, since too many DNS lookups are in flight"
        }
        SendError::Forbidden { .. } => "its name leads to an address that must not be called",
        SendError::Refused { .. } if kind != FaultKind::UpstreamConnectTimeout => {
            "it refused the connection or cannot be reached"
        }
        SendError::Refused { .. } | SendError::ConnectTimeout { .. } => {
            "it did not accept a connection in time"
        }
        SendError::Unreachable { .. } => "there is no route to it",
        SendError::Local { cause, .. } => return local_fault(*cause, error, hit, context),
        SendError::Tls { .. } => "the TLS handshake failed",
        SendError::Reset(_) => "it closed the connection before it answered",
        SendError::Malformed(_) => "its answer is not valid HTTP",
        SendError::TooManyInterim { .. } => "it sent too many interim (1xx) responses",
        SendError::Timeout(_) => "it did not begin its answer in time",
        SendError::BodyTooLarge { .. } => return body_too_large(hit.provider.max_body),
        SendError::BodyStalled(_) => return Fault::new(kind, "The request's body did not arrive in time"),
        SendError::ClientGone => return Fault::new(kind, "The request's body broke off"),
    };
    tracing::warn!(
        request_id = context.request_id(), %provider, code = kind.code(), error = %shown(&error.to_string()), "upstream request failed"
    );
    Fault::new(kind, format!("Upstream {provider} failed: {what}"))
}

/// The fault of a request that this machine could not send. Logs and counts it: no upstream is to blame.
fn local_fault(cause: LocalError, error: &SendError, hit: &Hit, context: &RequestContext) -> Fault {
    let provider = &hit.provider.name;
    context.count_local_error(cause);
    tracing::error!(
        request_id = context.request_id(), %provider, error = %shown(&error.to_string()), "request failed by an error of this machine"
    );
    let message = format!("tollgate could not call {provider}: it {}", cause.what());
    Fault::new(FaultKind::LocalError, message)
}
