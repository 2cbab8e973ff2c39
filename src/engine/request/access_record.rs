//! The access record of one finished request: made once, at its end, for the access log, metrics, the usage ledger and
//! exporters.
//!
//! It never holds a header or a query, and text of a body only in [`Usage::content`], where an exporter asks for it.

use core::net::IpAddr;
use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};

use super::{
    rewrite::{SecretStart, TokenSearch},
    trace_context::TraceContext,
};
use crate::{
    base::{
        fault::{Blame, FaultKind},
        name::{FileName, GroupName, LimitId, Owner, TokenId, UserId},
        numbers::millis,
        origin::Origin,
        usage::{Counters, NotCounted},
    },
    language::bind::TelemetryNames,
};

/// The access record of one finished request.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// The id, as in the response's `tollgate-request-id`.
    pub request_id: String,
    /// The arrival of the request's head, in milliseconds since 1970, UTC.
    pub started_at_ms: u64,
    /// The client's address, as far as trusted proxies say it.
    pub peer: IpAddr,
    /// The client's method.
    pub method: Method,
    /// The client's path as [`logged_path`] has it, without the query.
    pub path: String,
    /// The caller.
    pub user: Option<UserId>,
    /// The group of the caller at that time.
    pub group: Option<GroupName>,
    /// The id of the caller's token.
    pub token: Option<TokenId>,
    /// The owner of the stored credential that the request was sent with.
    pub key_owner: Option<Owner>,
    /// The provider.
    pub provider: Option<FileName>,
    /// The endpoint's name in the provider's file.
    pub endpoint: Option<Arc<str>>,
    /// The names of both in OpenTelemetry.
    pub telemetry: Option<Arc<TelemetryNames>>,
    /// The status of the response; none if the client left before it.
    pub status: Option<StatusCode>,
    /// The kind of the fault, if the response was tollgate's own.
    pub fault: Option<FaultKind>,
    /// The limit that refused the request.
    pub limit: Option<LimitId>,
    /// Bytes of the request's body that were read from the client.
    pub bytes_in: u64,
    /// Bytes of the response's body that were passed on.
    pub bytes_out: u64,
    /// From the request's head to the first byte of the response's body, or to its head if there is no body.
    pub first_byte: Option<Duration>,
    /// From the request's head to the end of the response.
    pub duration: Duration,
    /// The way it ended.
    pub end: End,
    /// The end of the WebSocket that it became. None for a plain request.
    pub websocket: Option<WebSocketEnd>,
    /// The origin that the request was sent to.
    pub upstream: Option<Origin>,
    /// Waits on the way to the answer.
    pub waits: Waits,
    /// The trace that it belongs to. None if the client named none, and none was handed on.
    pub trace: Option<Box<TraceContext>>,
    /// The metered usage. None: nothing was sent to an endpoint that is metered. With an answer that is an error, it is zero, and
    /// has what the request says. Without any answer to a request that was sent, it has the prompt.
    pub usage: Option<Box<Usage>>,
}

/// Waits on the way to the answer, as far as there were any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// The first refresh of a login.
    pub refresh: Option<Wait>,
    /// A new connection to the upstream: DNS lookup, TCP and TLS.
    pub connect: Option<Wait>,
    /// From the request's head to the sending of the request upstream.
    pub sent: Option<Duration>,
}

/// One wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// From the request's head to its begin.
    pub after: Duration,
    /// Its length.
    pub length: Duration,
}

/// The usage of one exchange, as the meter leaves it and the estimate completes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Usage {
    /// All counts, estimates included.
    pub counters: Counters,
    /// The part of `counters` that is an estimate.
    pub estimated: Counters,
    /// The reason for which the exchange was not counted, or not wholly.
    pub not_counted: Option<NotCounted>,
    /// The model of the answer, else that of the request; bounded, as the peer wrote it. None without a successful answer.
    pub model: Option<Box<str>>,
    /// The model of the request.
    pub request_model: Option<Box<str>>,
    /// The upstream's id of the response.
    pub response_id: Option<Box<str>>,
    /// The last finish reason.
    pub finish_reason: Option<Box<str>>,
    /// The greatest number of tokens of the answer that the request allows.
    pub max_output: Option<u64>,
    /// True if the answer was a stream.
    pub streamed: bool,
    /// True if the upstream reported an error within the answer.
    pub failed: bool,
    /// Bytes of text in the prompt.
    pub prompt_bytes: u64,
    /// True if the prompt has parts that are no text, such as images, or text that another one replaces.
    pub prompt_has_other: bool,
    /// Bytes of text in the answer.
    pub answer_bytes: u64,
    /// Sides that carry no counts, and are to be estimated from their bytes of text.
    pub to_estimate: Sides,
    /// True if the api file names content of such exchanges.
    pub has_content: bool,
    /// Parameters of the request, and text of both sides if an exporter asks for it.
    pub content: Option<Arc<Content>>,
}

impl Usage {
    /// The model that prices and estimates are those of: that of the answer, else of the request. Empty without either.
    pub fn charged_model(&self) -> &str {
        self.model.as_deref().or(self.request_model.as_deref()).unwrap_or_default()
    }

    /// Replaces each label that holds a secret by [`HIDDEN`]: a generated token of anyone, or one of these. Clients swap settings,
    /// and upstreams echo headers.
    pub fn hide(&mut self, secrets: &[Option<SecretStart>]) {
        let is_secret = |label: &str| {
            let label = label.as_bytes();
            TokenSearch::generated().is_in(label)
                || secrets.iter().flatten().any(|secret| secret.is_in(label))
        };
        for label in
            [&mut self.model, &mut self.request_model, &mut self.response_id, &mut self.finish_reason]
        {
            if label.as_deref().is_some_and(is_secret) {
                *label = Some(HIDDEN.into());
            }
        }
    }
}

/// Sides of an exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sides {
    /// The request.
    pub prompt: bool,
    /// The response.
    pub answer: bool,
}

/// Text of an exchange, for exporters that ask for it. Bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Values of the request by the names that the api file gives them, as JSON.
    pub prompt: Vec<(Box<str>, String)>,
    /// Numbers, strings and booleans of the request by the names that the api file gives them, as JSON. They are kept also
    /// where no exporter asks for text.
    pub parameters: Vec<(Box<str>, String)>,
    /// The text of the answer.
    pub answer: String,
    /// True if a text was too long, and is cut.
    pub is_cut: bool,
    /// True if the text of both sides had no room on its way to the exporters.
    pub is_dropped: bool,
}

impl Content {
    /// Bytes of text on both sides.
    pub fn text_bytes(&self) -> usize {
        self.prompt.iter().map(|(_, text)| text.len()).sum::<usize>() + self.answer.len()
    }

    /// The parameters alone.
    #[must_use]
    pub fn without_text(&self) -> Self {
        Self { parameters: self.parameters.clone(), is_dropped: self.is_dropped, ..Self::default() }
    }
}

/// The class of an exchange's result, for counts of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole answer was passed on, and is no error.
    Success,
    /// tollgate refused the request, for a reason of the client's.
    Refused,
    /// tollgate could not serve the request, for a reason of its own.
    GatewayError,
    /// The upstream could not be reached, or gave no valid answer.
    UpstreamFailed,
    /// The upstream answered 429 or 529.
    UpstreamLimited,
    /// The upstream answered another status from 400 to 499.
    UpstreamRejected,
    /// The upstream answered another status from 500 on, or reported an error within its answer.
    UpstreamError,
    /// The answer broke off.
    Cut,
    /// The client left before the end.
    ClientLeft,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 9] = [
        Self::Success,
        Self::Refused,
        Self::GatewayError,
        Self::UpstreamFailed,
        Self::UpstreamLimited,
        Self::UpstreamRejected,
        Self::UpstreamError,
        Self::Cut,
        Self::ClientLeft,
    ];

    /// The word for it in documents, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "refused",
            Self::GatewayError => "gateway_error",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamLimited => "upstream_limited",
            Self::UpstreamRejected => "upstream_rejected",
            Self::UpstreamError => "upstream_error",
            Self::Cut => "cut",
            Self::ClientLeft => "client_left",
        }
    }
}

impl AccessRecord {
    /// The record of a request that has just begun, and whose client leaves at once unless something else is set.
    pub fn begun(peer: IpAddr, method: Method, path: String, started_at_ms: u64) -> Self {
        Self {
            request_id: String::new(),
            started_at_ms,
            peer,
            method,
            path,
            user: None,
            group: None,
            token: None,
            key_owner: None,
            provider: None,
            endpoint: None,
            telemetry: None,
            status: None,
            fault: None,
            limit: None,
            bytes_in: 0,
            bytes_out: 0,
            first_byte: None,
            duration: Duration::ZERO,
            end: End::ClientLeft,
            websocket: None,
            upstream: None,
            waits: Waits::default(),
            trace: None,
            usage: None,
        }
    }

    /// The end of the exchange, in milliseconds since 1970, UTC.
    pub fn ended_at_ms(&self) -> u64 {
        self.started_at_ms.saturating_add(millis(self.duration))
    }

    /// The class of its result.
    pub fn outcome(&self) -> Outcome {
        match (self.fault.map(FaultKind::blame), self.end) {
            (Some(Blame::Client), _) => Outcome::Refused,
            (Some(Blame::Gateway), _) => Outcome::GatewayError,
            (Some(Blame::Upstream), _) => Outcome::UpstreamFailed,
            (None, End::Cut) => Outcome::Cut,
            (None, End::ClientLeft) => Outcome::ClientLeft,
            (None, End::Complete) => match self.status.map_or(0, |status| status.as_u16()) {
                429 | 529 => Outcome::UpstreamLimited,
                400..500 => Outcome::UpstreamRejected,
                500.. => Outcome::UpstreamError,
                _ if self.usage.as_ref().is_some_and(|usage| usage.failed) => Outcome::UpstreamError,
                _ => Outcome::Success,
            },
        }
    }
}

/// The way a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The whole response was passed on.
    Complete,
    /// The client left before the end.
    ClientLeft,
    /// The upstream's response broke off, and so did the client's; or tollgate stopped.
    Cut,
}

impl End {
    /// The word for it in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientLeft => "client_left",
            Self::Cut => "cut",
        }
    }
}

/// The end of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocketEnd {
    /// The party that sent the first close frame, or broke the connection.
    pub closed_by: ClosedBy,
    /// The code of the first close frame, or one that stands for none.
    pub code: u16,
    /// Frames of the client.
    pub frames_in: u64,
    /// Frames of the upstream.
    pub frames_out: u64,
}

impl WebSocketEnd {
    /// Stands for a close frame without a code (RFC 6455, section 7.4.1).
    pub const NO_CODE: u16 = 1005;
    /// Stands for no close frame.
    pub const BROKEN: u16 = 1006;
}

/// A party of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client.
    Client,
    /// The upstream.
    Upstream,
    /// tollgate: nothing was sent for too long, or it stopped.
    Tollgate,
}

impl ClosedBy {
    /// The word for it in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Tollgate => "tollgate",
        }
    }
}

/// The most that is kept of a path, in bytes.
pub const MAX_PATH: usize = 256;

/// The text in place of one that contains a secret: a path, or a label of the usage.
pub const HIDDEN: &str = "***";

/// A path as it is kept: bounded, cut at a character; hidden, if it holds a generated token of anyone.
pub fn logged_path(path: &str) -> String {
    if TokenSearch::generated().is_in(path.as_bytes()) {
        return HIDDEN.to_owned();
    }
    path[..path.floor_char_boundary(MAX_PATH)].to_owned()
}
