//! The probe of a provider: a request of tollgate's own, sent for a caller of the self-service API. It takes the same steps
//! as a call of that caller, from its endpoint on: scope, limits, credential, rewriting, metering, access record.
//!
//! It guarantees: an end before the deadline, and at most 1 MiB read of the answer. Nothing of the call's own head goes
//! upstream. Read next: `admin::probe` for the call and its answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header, request::Parts};
use http_body_util::BodyExt;
use tokio::time::{Instant as Deadline, timeout_at};

use super::{
    Body, InFlight, client_address,
    context::{Persistence, RequestContext},
    fault, forward,
    relay::CallBody,
};
use crate::{
    admin::{self, ProbeEnd, ProbeFault, ProbeResult, ProbeTarget},
    admission::ClientConnection,
    decide::ApiCall,
    fault::{Fault, FaultKind},
    rewrite::TokenPart,
};

/// Bytes of the answer that are shown.
const SHOWN_BYTES: usize = 2 << 10;
/// Bytes of the answer that are read, so that it is metered.
const READ_BYTES: usize = 1 << 20;
/// The sender of the request, for the upstream.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION")));

/// Sends a probe, and waits for its answer.
pub(super) async fn send(
    call: InFlight<'_>,
    authorized: &ApiCall,
    target: &ProbeTarget,
) -> Result<admin::Response, Fault> {
    let begun = Instant::now();
    let deadline = Deadline::now() + call.worker.probe_timeout;
    let (mut head, body) = request(target)?;
    let connection = ClientConnection::of_tollgate();
    let client = client_address::find(call.peer, &call.head.headers, &call.worker.trusted_proxies);
    let mut context = RequestContext::begin(call.worker, client, Arc::clone(&connection), &head);
    context.apply_trace_context(&mut head.headers);
    let request_id = context.request_id().to_owned();
    let probe = InFlight { head: &head, ..call };
    let answer = answer(probe, authorized, target, body, &mut context);
    let answer = timeout_at(deadline, answer).await.unwrap_or_else(|_| Err(late(call.worker.probe_timeout)));
    let first_byte = begun.elapsed();
    let (response, fault) = match answer {
        Ok(response) => {
            let rule = context.fault().map(|kind| ProbeFault {
                code: kind.code().to_owned(),
                message: "A rule of the provider's file replaced the upstream's answer".to_owned(),
            });
            (response, rule)
        }
        Err(fault) => (fault::response(&fault, call.table, &head, &mut context), Some(shown(&fault))),
    };
    let response = context.finish(response, call.table, Persistence::Unannounced);
    let (parts, body) = response.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let read = read(body, &connection, deadline).await;
    let result = ProbeResult {
        endpoint: target.probe.endpoint.clone(),
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        request_id,
        status: parts.status.as_u16(),
        ms: ProbeResult::ms(begun.elapsed()),
        first_byte_ms: ProbeResult::ms(first_byte),
        content_type: content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        body: String::from_utf8_lossy(&read.shown).into_owned(),
        truncated: read.is_cut || read.end != ProbeEnd::Complete,
        end: read.end,
        fault,
    };
    Ok(result.into_response())
}

/// The request that the provider's file names.
fn request(target: &ProbeTarget) -> Result<(Parts, Bytes), Fault> {
    let no_request = || Fault::new(FaultKind::RewriteFailed, "The provider's probe makes no request");
    let endpoint = target.endpoint().ok_or_else(no_request)?;
    let path = endpoint.paths.first().map(|path| path.text.as_str()).ok_or_else(no_request)?;
    let json = |body| serde_json::to_vec(body).expect("keys are text");
    let body = target.probe.body.as_ref().map(json).map(Bytes::from).unwrap_or_default();
    let request = Request::builder().method(endpoint.method.clone()).uri(path);
    let request = request.header(header::USER_AGENT, USER_AGENT).header(header::ACCEPT, "*/*");
    let request =
        if body.is_empty() { request } else { request.header(header::CONTENT_TYPE, "application/json") };
    let (head, ()) = request.body(()).map_err(|_| no_request())?.into_parts();
    Ok((head, body))
}

/// The head of the answer, by the steps of a call to a provider.
async fn answer(
    probe: InFlight<'_>,
    authorized: &ApiCall,
    target: &ProbeTarget,
    body: Bytes,
    context: &mut RequestContext,
) -> Result<Response<Body>, Fault> {
    let caller = &target.caller;
    context.set_caller(caller);
    let routed = authorized.provider_call(probe.head, probe.table, caller.facts(TokenPart::Whole))?;
    forward(probe, caller, routed, CallBody::Own(body), context).await
}

fn late(after: Duration) -> Fault {
    let message = format!("The upstream did not answer within {after:?}: the probe was given up");
    Fault::new(FaultKind::UpstreamTimeout, message)
}

fn shown(fault: &Fault) -> ProbeFault {
    ProbeFault { code: fault.kind.code().to_owned(), message: fault.message.clone().into_owned() }
}

/// What was read of an answer.
struct Sample {
    shown: Vec<u8>,
    /// True if more than that was read.
    is_cut: bool,
    end: ProbeEnd,
}

/// Reads an answer to its end, within the bounds.
async fn read(mut body: Body, connection: &Arc<ClientConnection>, deadline: Deadline) -> Sample {
    let mut sample = Sample { shown: Vec::new(), is_cut: false, end: ProbeEnd::Complete };
    let mut left = READ_BYTES;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return sample,
            Ok(Some(Err(_))) => return Sample { end: ProbeEnd::Broken, ..sample },
            Err(_) => return Sample { end: ProbeEnd::Deadline, ..sample },
        };
        // Nothing is written to a client: what was taken makes room for more.
        connection.flushed();
        let Ok(data) = frame.into_data() else { continue };
        let room = SHOWN_BYTES - sample.shown.len();
        sample.is_cut |= data.len() > room;
        sample.shown.extend_from_slice(&data[..data.len().min(room)]);
        left = left.saturating_sub(data.len());
        if left == 0 {
            return Sample { end: ProbeEnd::Limit, ..sample };
        }
    }
}
