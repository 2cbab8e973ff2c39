//! The probe of a provider, "try it" on pages: the request that its file names, sent as the caller's own. Here are the call
//! and its answer; the gateway sends the request, as it sends those of clients.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    OperationId, Request, Response,
    operations::OperationMatch,
    scope::{Reach, check_not_replaced, out_of_scope},
};
use crate::{
    accounts::Caller,
    bind,
    compile::Rejected,
    decide,
    fault::{Fault, FaultKind},
    numbers::millis,
    syntax,
};

/// The result of a probe: the answer that a client would get to the request.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeResult {
    /// The endpoint.
    pub endpoint: String,
    /// The method of the request.
    pub method: String,
    /// The path of the request, as a client would write it.
    pub path: String,
    /// The id of the request in the access log and in usage.
    pub request_id: String,
    /// The status of the answer: the upstream's, or that of tollgate's own.
    pub status: u16,
    /// The time to the end of the answer, in milliseconds.
    pub ms: u64,
    /// The time to the head of the answer, in milliseconds.
    pub first_byte_ms: u64,
    /// The content type of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The first 2 KiB of the body as text. Bytes that are no UTF-8 are replaced.
    pub body: String,
    /// True if the answer has more than that, or may have.
    pub truncated: bool,
    /// The way the answer ended.
    pub end: ProbeEnd,
    /// The fault, if the answer is tollgate's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<ProbeFault>,
}

/// The way an answer ended: it is `complete`, it was `broken` off by the upstream, or tollgate stopped reading at the
/// `deadline` or at the `limit` of 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ProbeEnd {
    /// All of it was read.
    Complete,
    /// It broke off.
    Broken,
    /// It took too long.
    Deadline,
    /// It is too long.
    Limit,
}

/// A fault.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeFault {
    /// The stable code.
    pub code: String,
    /// A message for people.
    pub message: String,
}

/// A probe that its caller may send.
#[derive(Debug)]
pub struct ProbeTarget {
    /// The caller.
    pub caller: Arc<Caller>,
    /// The provider.
    pub provider: Arc<bind::Provider>,
    /// Its probe.
    pub probe: syntax::Probe,
}

impl ProbeTarget {
    /// The target of a call; none if it is no probe.
    pub fn of(request: &Request) -> Result<Option<Self>, Fault> {
        let OperationMatch { operation, captures } = request.operation()?;
        if operation.id != OperationId::ProbeMyProvider {
            return Ok(None);
        }
        let caller = Arc::clone(request.caller()?);
        check_not_replaced(&caller, operation.method)?;
        let name = captures.first().copied().unwrap_or_default();
        let provider = provider(name, request)?;
        let reach = Reach::of(request);
        if !reach.provider(&provider.name) {
            return Err(beyond(name));
        }
        let probe = provider.probe.clone().ok_or_else(|| {
            Fault::new(FaultKind::NotFound, format!("The file of `{name}` names no request in `probe`"))
        })?;
        if !reach.endpoint(&provider.name, &probe.endpoint) {
            return Err(beyond(&format!("{name}/{}", probe.endpoint)));
        }
        Ok(Some(Self { caller, provider, probe }))
    }

    /// The endpoint that it calls. A file with another name in its probe does not compile.
    pub fn endpoint(&self) -> Option<&bind::Endpoint> {
        self.provider.endpoints.iter().find(|endpoint| *endpoint.name == *self.probe.endpoint)
    }
}

fn provider(name: &str, request: &Request) -> Result<Arc<bind::Provider>, Fault> {
    if let Some(provider) = request.table.providers.iter().find(|one| one.name.as_str() == name) {
        return Ok(Arc::clone(provider));
    }
    let rejected = |one: &&Rejected| one.name.as_str() == name;
    Err(match request.table.rejected.iter().find(rejected) {
        Some(rejected) => decide::out_of_service(rejected),
        None => Fault::new(FaultKind::NotFound, "Provider not found"),
    })
}

fn beyond(what: &str) -> Fault {
    out_of_scope(format!("This token does not reach `{what}`"))
}

impl ProbeResult {
    /// The response with it.
    pub fn into_response(self) -> Response {
        Response::json(StatusCode::OK, &self)
    }

    /// A time in the unit of the document.
    pub fn ms(time: Duration) -> u64 {
        millis(time)
    }
}
