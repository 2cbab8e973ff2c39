//! A call to a provider, from its authorization to the head of the answer: credential, upstream, at most one retry after
//! a 401 with a refreshed login. A 401 to a body that cannot be sent again refreshes the login for later requests. The body
//! of the answer is relayed as it comes (`body`). Few endpoints change bodies (`asking`), and few kinds of authentication
//! need them before the head is sent (`signing`).

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
    request::Parts,
};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use super::{
    Body, InFlight, Worker,
    asking::{self, Asked},
    body,
    context::RequestContext,
    credential::{self, RefreshAttempts},
    fault,
    limits::{self, Limiting},
    own_address, signing, websocket,
};
use crate::{
    accounts::{Caller, RefreshRequest, random},
    admission::{ClientConnection, LocalError},
    clock::now_ms,
    compile::metering::Ask,
    decide::{
        Authorized, BodyHash, BodyInput, Credential, RefreshReason, Sendable, UpstreamRequest, body_too_large,
    },
    fault::{Fault, FaultKind},
    generator::RandomBytes,
    meter::ask::remove_digests,
    rewrite::{self, Chosen, Fresh, RewrittenResponse},
    table::Hit,
    telemetry::shown,
    upstream::{Deadlines, Download, Identity, ProxyError, SendError, Target, Upload, UploadWatch},
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

    /// Its size, if it is known. That of a GET or HEAD is not sent.
    fn exact_bytes(&self, head: &Parts) -> Option<u64> {
        match self {
            _ if matches!(head.method, Method::GET | Method::HEAD) => Some(0),
            // The size with a content coding says little of the size without it.
            _ if head.headers.contains_key(CONTENT_ENCODING) => None,
            Self::Client(incoming) => incoming.as_ref().map_or(Some(0), |body| body.size_hint().exact()),
            Self::Own(bytes) => Some(bytes.len() as u64),
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
    /// The hash of the body, if the credential needs it.
    hash: Option<BodyHash>,
}

/// A request that is ready to be sent.
#[derive(Debug)]
struct Prepared<'c> {
    upstream: UpstreamRequest<'c>,
    upload: Upload,
    /// The change of the body, if it was changed.
    asked: Option<Asked>,
}

/// Sends the call upstream, and makes the head of the answer.
pub(super) async fn relay(
    outbound: Outbound<'_>,
    body: CallBody<'_>,
    context: &mut RequestContext,
) -> Result<Response<Body>, Fault> {
    let Outbound { request: InFlight { worker, head, .. }, call, caller } = outbound;
    let mut attempts = RefreshAttempts::default();
    let mut sendable = loop {
        match call.credential(credential::owners(caller, &call.hit, &attempts), now_ms())? {
            Credential::Ready(sendable) => {
                sendable.check_readable(|section| caller.unreadable.iter().any(|one| **one == *section))?;
                break sendable;
            }
            Credential::Refresh(refresh, _) => {
                let request = credential::refresh_request(refresh, &call.hit);
                let begun = Instant::now();
                attempts.refresh(&worker.refresher, request).await;
                context.set_refreshed(begun);
            }
        }
    };
    context.set_key_owner(sendable.owner());
    let limiting = limits::select(outbound, sendable.owner())?;
    if call.hit.endpoint().upgrade.is_some() {
        if let Some(limiting) = limiting {
            Box::pin(limiting.admit(0, outbound.request, context)).await?;
        }
        // Boxed, since few endpoints switch: other requests should not carry its state. A handshake has no body.
        let sendable = sendable.with_body(&[]);
        let refused = sendable.refresh(RefreshReason::Refused);
        let refused = refused.map(|refused| credential::refresh_request(refused, &call.hit));
        let reply = Box::pin(websocket::open(outbound, &sendable, context)).await?;
        let answered = websocket::answer(outbound, &sendable, reply, (refused, attempts.clone()), context);
        return Ok(Box::pin(answered).await);
    }
    let size = body.exact_bytes(head);
    let limiting = match limiting {
        Some(limiting) if !limiting.needs_body(size) => {
            Box::pin(limiting.admit(size.unwrap_or_default(), outbound.request, context)).await?;
            None
        }
        limiting => limiting,
    };
    let wanted = asking::wanted(&call.hit, head);
    let Prepared { upstream, upload, asked } = match (sendable.body_input(), wanted) {
        (BodyInput::Nothing, None) if limiting.is_none() => {
            let upstream = request_of(&sendable, body.min_bytes())?;
            let upload = metered_upload(outbound, body, &sendable, context);
            Prepared { upstream, upload, asked: None }
        }
        // Boxed, since few requests need their body first: others should not carry its state.
        (_, wanted) => Box::pin(prepare((wanted, limiting), outbound, body, &mut sendable, context)).await?,
    };
    // Small bodies are copied, so that the request can be sent once more with another access token.
    let upload = if sendable.is_refreshable() { upload.keep() } else { upload };
    let watch = upload.watch();
    context.set_sent(&upstream.origin);
    let sent = send(worker, &call.hit, upstream, upload).await;
    if let Ok(reply) = &sent {
        context.set_connected(reply.body().connect_time());
    }
    let reply = match sent {
        Ok(reply) if reply.status() == StatusCode::UNAUTHORIZED => {
            match sendable.refresh(RefreshReason::Refused) {
                Some(refused) => {
                    let refused = credential::refresh_request(refused, &call.hit);
                    context.meter_refused();
                    let hash = sendable.body_hash();
                    let sent = Sent { watch: watch.as_ref(), asked: asked.as_ref(), hash };
                    retry(outbound, attempts.clone(), refused, sent, context).await.unwrap_or(reply)
                }
                None => reply,
            }
        }
        Ok(reply) => reply,
        Err(error) => {
            body::read_rest_of(worker, watch, context.connection());
            return Err(send_fault(&error, &call.hit, context));
        }
    };
    Ok(response(outbound, &sendable, reply, watch, asked.as_ref(), context))
}

/// The upstream request, with the values that it generates.
pub(super) fn request_of<'c>(sendable: &Sendable<'c>, body_bytes: u64) -> Result<UpstreamRequest<'c>, Fault> {
    let random: Vec<RandomBytes> = (0..sendable.generated()).map(|_| random()).collect();
    let now_ms = if random.is_empty() { 0 } else { now_ms() };
    sendable.request(body_bytes, Fresh { random: &random, now_ms })
}

/// The body on its way upstream, with the meter that sees it pass.
fn metered_upload(
    Outbound { request: InFlight { head, .. }, call, .. }: Outbound<'_>,
    body: CallBody<'_>,
    sendable: &Sendable<'_>,
    context: &mut RequestContext,
) -> Upload {
    let metered = context.meter(&call.hit, head);
    context.hide(sendable.secrets());
    body.upload(head, &call.hit, context.connection()).tapped(metered)
}

/// Prepares a request whose body is needed before it is sent: to be changed, or for its hash. On a fault, the rest of the
/// client's body is read, as after any early response.
async fn prepare<'c>(
    (wanted, limiting): (Option<&Arc<Ask>>, Option<Limiting<'_>>),
    outbound: Outbound<'_>,
    body: CallBody<'_>,
    sendable: &mut Sendable<'c>,
    context: &mut RequestContext,
) -> Result<Prepared<'c>, Fault> {
    sendable.check_size(body.min_bytes())?;
    let mut upload = metered_upload(outbound, body, sendable, context);
    let watch = upload.watch();
    if let Some(limiting) = limiting {
        upload = match limiting.admit_body(upload, outbound.request, context).await {
            Ok(upload) => upload,
            Err(fault) => {
                body::read_rest_of(outbound.request.worker, watch, context.connection());
                return Err(fault);
            }
        };
    }
    match with_body(wanted, outbound, &mut upload, sendable, context).await {
        Ok((upstream, asked)) => Ok(Prepared { upstream, upload, asked }),
        Err(fault) => {
            drop(upload);
            body::read_rest_of(outbound.request.worker, watch, context.connection());
            Err(fault)
        }
    }
}

/// Changes the body so that it asks for usage, if it allows that; then makes the head, with the hash of the final body if
/// the credential needs it.
async fn with_body<'c>(
    wanted: Option<&Arc<Ask>>,
    Outbound { request, call, .. }: Outbound<'_>,
    upload: &mut Upload,
    sendable: &mut Sendable<'c>,
    context: &RequestContext,
) -> Result<(UpstreamRequest<'c>, Option<Asked>), Fault> {
    let is_signed = sendable.body_input() == BodyInput::Sha256;
    if is_signed {
        signing::read(request, &call.hit, upload, context).await?;
    }
    let asked = match wanted {
        Some(wanted) => asking::insert(wanted, request, &call.hit, upload, context).await?,
        None => None,
    };
    if is_signed {
        let hash = signing::hash(upload.ahead()).await;
        // A large body takes its time, and a signature is valid for minutes.
        sendable.set_body(hash, now_ms());
    }
    let mut upstream = request_of(sendable, 0)?;
    if let Some(asked) = &asked {
        asked.change_headers(&mut upstream.headers, |name| sendable.writes(name));
    }
    Ok((upstream, asked))
}

/// The response to the client: the upstream's answer, or the reply that a rule of the provider's file puts in its place.
pub(super) fn response(
    Outbound { request, call, .. }: Outbound<'_>,
    sent: &Sendable<'_>,
    reply: Response<Download>,
    watch: Option<UploadWatch>,
    asked: Option<&Asked>,
    context: &mut RequestContext,
) -> Response<Body> {
    let InFlight { worker, head, .. } = request;
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
            if call.hit.provider.returned_urls.is_some() {
                sent.return_urls(own_address::find(request).as_ref(), &mut headers);
            }
            sent.conceal(&mut headers);
            let (worker, connection) = (Arc::clone(worker), context.connection().clone());
            let mut answer = Response::new(Body::relay(download, extra, trailers, watch, worker, connection));
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
            body::read_rest_of(worker, watch, context.connection());
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
    let UpstreamRequest { origin, entered, method, target, headers } = upstream;
    let timeouts = hit.endpoint().timeouts;
    let deadlines =
        Deadlines { connect: timeouts.connect, first_byte: timeouts.first_byte, idle: timeouts.idle };
    let mut request = Request::new(upload);
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    let identity = hit.provider.tls.as_ref().and_then(|tls| tls.made::<Identity>());
    let entered = entered.as_ref();
    worker.upstream.send(Target { origin: &origin, identity, entered }, request, deadlines).await
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
    let mut sendable = call.credential(owners, now_ms()).ok()?.without_refresh();
    let place = &refused.credential;
    if !sendable.replaces(&place.owner, &place.field, refused.seen()) {
        return None;
    }
    context.hide(sendable.chosen.iter().flat_map(Chosen::secrets));
    if let Some(hash) = sent.hash {
        sendable.set_body(hash, now_ms());
    }
    let mut upstream = request_of(&sendable, 0).ok()?;
    if let Some(asked) = sent.asked {
        asked.change_headers(&mut upstream.headers, |name| sendable.writes(name));
    }
    context.meter_retry();
    // Boxed, since it is rare: a warm request should not carry its state.
    let sent = Box::pin(send(worker, &call.hit, upstream, upload)).await;
    let mut reply = sent.inspect_err(|error| drop(send_fault(error, &call.hit, context))).ok()?;
    // Another access token was sent than the one that the caller of this function knows.
    sendable.conceal(reply.headers_mut());
    Some(reply)
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
        SendError::NotAllowed { .. } => "a user entered its origin, and the operator does not allow it",
        SendError::ForbiddenName { .. } => "a proxy would resolve its name, and such names are private",
        SendError::Proxy { error, .. } => proxy_failure(error),
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
        SendError::HeadTooLarge => {
            "the head of its answer is too large: it may have 256 header fields and 64 KiB"
        }
        SendError::Malformed(_) => "its answer is not valid HTTP",
        SendError::Handshake(_) => "it answered the handshake of the WebSocket wrongly",
        SendError::TooManyInterim { .. } => "it sent too many interim (1xx) responses",
        SendError::Timeout(_) => "it did not begin its answer in time",
        SendError::BodyTooLarge { .. } => return body_too_large(hit.provider.max_body),
        SendError::BodyStalled(_) => return Fault::new(kind, "The request's body did not arrive in time"),
        SendError::ClientGone => return Fault::new(kind, "The request's body broke off"),
        SendError::BodyRefused => return limits::refused(context),
    };
    tracing::warn!(
        request_id = context.request_id(), %provider, code = kind.code(), error = %shown(&error.to_string()), "upstream request failed"
    );
    Fault::new(kind, format!("Upstream {provider} failed: {what}"))
}

/// A proxy's failure for a client, who knows neither the proxy nor its credentials.
fn proxy_failure(error: &ProxyError) -> &'static str {
    match error {
        ProxyError::Unreachable(_) | ProxyError::Tls(_) => "the outgoing proxy cannot be reached",
        ProxyError::Unauthorized { .. } => "the outgoing proxy wants other credentials (407)",
        ProxyError::Refused(_) => "the outgoing proxy refused the way to it",
        ProxyError::Malformed(_) => "the outgoing proxy gave an answer that cannot be used",
        ProxyError::Closed => "the outgoing proxy closed the connection",
        ProxyError::Timeout(_) => "the outgoing proxy did not open a connection in time",
    }
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
