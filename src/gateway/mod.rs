//! The gateway: one function that a request goes through, each step on the value before it. What is decided
//! is decided in the pure modules; here is the order, the waiting, and what becomes of a failure.
//!
//! Never reads a body, never parses configuration, never keeps anything of a request after its end.

mod body;
mod credential;
mod face;
mod fault;
mod own;
mod peer;
mod ready;
mod visit;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{Method, Request, Response, StatusCode, Uri, Version, header, request::Parts};
use hyper::body::{Body as _, Incoming};
use ipnet::IpNet;
use tokio_util::task::TaskTracker;

pub use body::Body;
pub use face::Face;
pub use fault::refuse;
pub use own::administer;
pub use ready::Readiness;

use crate::{
    accounts::{Accounts, Attempts, Caller, LocalCache, Refresher, TooMany},
    admin::Desk,
    fault::{Fault, Kind},
    files::Live,
    origin::is_host,
    rewrite::{self, Answered},
    store::StoreError,
    table::{Hit, Table},
    telemetry::{Recorder, shown},
    upstream::{Deadlines, Download, SendError, Upload, UploadWatch, Upstream},
};
use credential::Granted;
use visit::Visit;

/// What one worker serves with. Nothing in it is waited for by another worker.
#[derive(Debug)]
pub struct Worker {
    /// What is shown where it listens.
    pub face: Face,
    /// The current table.
    pub live: Arc<Live>,
    /// Where calls of the API are handed in.
    pub desk: Desk,
    /// Whether more requests are wanted.
    pub ready: Arc<Readiness>,
    /// Who callers are.
    pub accounts: Accounts,
    /// What this worker knows of callers.
    pub cache: LocalCache,
    /// Who keeps logins alive.
    pub refresher: Refresher,
    /// The wrong tokens that it was shown.
    pub attempts: Attempts,
    /// Proxies whose word for where a request came from is taken.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The way to upstreams.
    pub upstream: Upstream,
    /// Tasks that the drain waits for.
    pub tasks: TaskTracker,
    /// Where finished requests go, if anyone wants them.
    pub recorder: Option<Recorder>,
    /// The next request's number; ids are made from it.
    pub next_id: AtomicU64,
}

impl Worker {
    fn request_id(&self) -> String {
        // splitmix64: numbers in a row give ids that look unlike each other, and no two are the same.
        let mut id = self.next_id.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:016x}", id ^ (id >> 31))
    }
}

/// A request on its way: the worker that serves it, the one configuration snapshot that decides about it, its head.
#[derive(Debug, Clone, Copy)]
struct InFlight<'r> {
    worker: &'r Arc<Worker>,
    table: &'r Arc<Table>,
    head: &'r Parts,
}

/// Answers one request that came over a connection from `peer`.
pub async fn handle(worker: Arc<Worker>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
    let (head, incoming) = request.into_parts();
    let from = peer::address(peer, &head.headers, &worker.trusted_proxies);
    // One snapshot for the whole decision. It is dropped with this future, at the head of the answer: a stream of hours
    // does not keep an old table alive.
    let table = worker.live.snapshot();
    let request = InFlight { worker: &worker, table: &table, head: &head };
    let mut visit = Visit::begin(&worker, from, &head);
    let mut incoming = Some(incoming);
    let answer = match answer(request, &mut incoming, &mut visit).await {
        Ok(answer) => answer,
        Err(fault) => fault::response(&fault, &table, &head, &mut visit),
    };
    // An early answer. A client that still waits for `100 Continue` sends nothing.
    if let Some(unread) = incoming
        && !head.headers.contains_key(header::EXPECT)
    {
        body::read_rest(&worker.tasks, unread);
    }
    visit.answered(answer, &table)
}

/// The order of decisions.
async fn answer(
    request: InFlight<'_>,
    incoming: &mut Option<Incoming>,
    visit: &mut Visit,
) -> Result<Response<Body>, Fault> {
    let InFlight { worker, table, head } = request;
    check_head(head)?;
    let path = head.uri.path();
    if !worker.face.shows(path) {
        return Err(Fault::new(Kind::NotFound, "Not found"));
    }
    if head.method == Method::OPTIONS {
        return Ok(own::preflight());
    }
    if let Some(answer) = own::answer(request, incoming, visit).await? {
        return Ok(answer);
    }
    let caller = authenticate(request, visit).await?;
    visit.caller(&caller);
    own::may_proxy(&caller)?;
    if let Some(refused) = rewrite::refused(head) {
        return Err(refused);
    }
    let hit = find(table, head, path)?;
    visit.route(&hit);
    own::in_scope(&caller, &hit)?;
    relay(request, &hit, &caller, incoming, visit).await
}

/// From the endpoint to the head of the answer.
async fn relay(
    request: InFlight<'_>,
    hit: &Hit,
    caller: &Caller,
    incoming: &mut Option<Incoming>,
    visit: &mut Visit,
) -> Result<Response<Body>, Fault> {
    let InFlight { worker, table, head } = request;
    let granted = credential::find(worker, &table.fields, caller, hit).await?;
    let upload = upload(head, hit, incoming)?;
    // So that it can go once more, with another access token.
    let refreshable = granted.as_ref().is_some_and(|granted| granted.can_be_refreshed);
    let upload = if refreshable { upload.keep() } else { upload };
    let watch = upload.watch();
    let sent = send(request, hit, granted.as_ref(), upload).await?;
    let reply = match sent {
        Ok(reply) if refreshable && reply.status() == StatusCode::UNAUTHORIZED => {
            let another = again(request, hit, caller, granted, watch.as_ref(), visit).await;
            another.unwrap_or(reply)
        }
        Ok(reply) => reply,
        Err(error) => {
            body::read_rest_of(&worker.tasks, watch);
            return Err(send_fault(&error, hit, visit));
        }
    };
    let (reply, download) = reply.into_parts();
    let trailers = rewrite::takes_trailers(&head.headers);
    match rewrite::answer(hit, reply.status, reply.headers, trailers) {
        Answered::Relayed(headers) => {
            let mut answer = Response::new(Body::relay(download, trailers, watch, worker.tasks.clone()));
            *answer.status_mut() = reply.status;
            *answer.headers_mut() = headers;
            // hyper keeps a reason here that is not the status's own; without it, it invents `<none>`.
            if let Some(reason) = reply.extensions.get::<hyper::ext::ReasonPhrase>() {
                answer.extensions_mut().insert(reason.clone());
            }
            Ok(answer)
        }
        Answered::Replaced(rule) => {
            // The connection goes, and lets go of what is left of the request's body.
            drop(download);
            body::read_rest_of(&worker.tasks, watch);
            visit.fault(Kind::ResponseRule);
            Ok(fault::reply(rule, hit, visit.request_id()))
        }
    }
}

/// Sends the request with a credential, up to the head of the upstream's answer.
async fn send(
    InFlight { worker, table, head }: InFlight<'_>,
    hit: &Hit,
    granted: Option<&Granted<'_>>,
    upload: Upload,
) -> Result<Result<Response<Download>, SendError>, Fault> {
    let request = rewrite::request(hit, head, granted.map(|granted| &granted.chosen), &table.carriers)?;
    let timeouts = hit.endpoint().timeouts;
    let deadlines =
        Deadlines { connect: timeouts.connect, first_byte: timeouts.first_byte, idle: timeouts.idle };
    let origin = request.origin;
    Ok(worker.upstream.send(origin, outgoing(request, upload)?, deadlines).await)
}

/// The upstream's answer to a request that it has refused, sent with another access token: once, if there is one,
/// and if all of the body was kept. None, and what it answered at first stands.
async fn again(
    request: InFlight<'_>,
    hit: &Hit,
    caller: &Caller,
    granted: Option<Granted<'_>>,
    watch: Option<&UploadWatch>,
    visit: &Visit,
) -> Option<Response<Download>> {
    let upload = match watch {
        None => Upload::empty(),
        Some(watch) => Upload::kept(watch.take_kept()?),
    };
    let granted = granted?.another(request.worker, &request.table.fields, caller, hit).await?;
    // Boxed, since it is rare: a warm request should not carry its state.
    let sent = Box::pin(send(request, hit, Some(&granted), upload)).await;
    sent.ok()?.inspect_err(|error| drop(send_fault(error, hit, visit))).ok()
}

/// HTTP that a proxy can pass on without guessing: RFC 9112, sections 3.2 and 6.1.
fn check_head(head: &Parts) -> Result<(), Fault> {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        // hyper undoes the last `chunked` and takes what is under it, coded or not, for the body.
        let message = "The request's transfer encoding is not `chunked` alone";
        return Err(Fault::new(Kind::MalformedRequest, message));
    }
    if head.method == Method::CONNECT {
        return Err(Fault::new(Kind::MalformedRequest, "CONNECT is not served here"));
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.next());
    let good = |host: &http::HeaderValue| host.to_str().is_ok_and(is_host);
    match (first, more) {
        (None, None) if head.version <= Version::HTTP_10 => Ok(()),
        (Some(host), None) if good(host) => Ok(()),
        (None, None) => Err(Fault::new(Kind::MalformedRequest, "The request has no Host header")),
        (Some(_), None) => Err(Fault::new(Kind::MalformedRequest, "The request's Host header is malformed")),
        (_, Some(_)) => Err(Fault::new(Kind::MalformedRequest, "The request has more than one Host header")),
    }
}

async fn authenticate(
    InFlight { worker, table, head }: InFlight<'_>,
    visit: &Visit,
) -> Result<Arc<Caller>, Fault> {
    let token = rewrite::token(head, table).ok_or_else(Fault::invalid_token)?;
    let caller = worker.accounts.authenticate(&worker.cache, token.expose()).await;
    match caller.map_err(|error| store_fault(&error, visit))? {
        Some(caller) => Ok(caller),
        None => Err(wrong_token(worker, visit, Fault::invalid_token()).await),
    }
}

/// The refusal of a wrong token, when it is time for it. No token at all is no guess, and is answered at once.
async fn wrong_token(worker: &Worker, visit: &Visit, refused: Fault) -> Fault {
    match worker.attempts.wrong(visit.from()).await {
        Ok(()) => refused,
        Err(TooMany) => {
            Fault::new(Kind::TooManyAttempts, "Too many wrong tokens came from your network: try again later")
        }
    }
}

fn store_fault(error: &StoreError, visit: &Visit) -> Fault {
    tracing::error!(request_id = visit.request_id(), error = %shown(&error.to_string()), "the store did not answer");
    Fault::new(Kind::StoreUnavailable, "Who you are cannot be looked up now: try again")
}

fn find(table: &Table, head: &Parts, path: &str) -> Result<Hit, Fault> {
    table.find_canonical(&head.method, path).ok_or_else(|| rewrite::no_endpoint(table, path))
}

/// The request's body on its way up. A GET never carries one.
fn upload(head: &Parts, hit: &Hit, incoming: &mut Option<Incoming>) -> Result<Upload, Fault> {
    let limit = hit.provider.max_body;
    if incoming.as_ref().is_some_and(|body| body.size_hint().lower() > limit) {
        return Err(Fault::new(
            Kind::BodyTooLarge,
            format!("The request's body is larger than {limit} bytes"),
        ));
    }
    if matches!(head.method, Method::GET | Method::HEAD) {
        return Ok(Upload::empty());
    }
    Ok(incoming.take().map_or_else(Upload::empty, |body| Upload::incoming(body, limit)))
}

fn outgoing(request: rewrite::Outgoing<'_>, upload: Upload) -> Result<Request<Upload>, Fault> {
    let target = request.target.parse::<Uri>();
    let target = target
        .map_err(|_| Fault::new(Kind::RewriteFailed, "The request's path makes no URL at the upstream"))?;
    let mut outgoing = Request::new(upload);
    *outgoing.method_mut() = request.method;
    *outgoing.uri_mut() = target;
    *outgoing.headers_mut() = request.headers;
    Ok(outgoing)
}

/// What a client is told when there is no answer, and what the log says.
fn send_fault(error: &SendError, hit: &Hit, visit: &Visit) -> Fault {
    let kind = error.kind();
    let provider = &hit.provider.name;
    let what = match kind {
        Kind::UpstreamDns => "its name does not resolve",
        Kind::UpstreamForbidden => "its name leads to an address that must not be called",
        Kind::UpstreamRefused => "it refused the connection or cannot be reached",
        Kind::UpstreamConnectTimeout => "it did not accept a connection in time",
        Kind::UpstreamTls => "the TLS handshake failed",
        Kind::UpstreamReset => "it closed the connection before it answered",
        Kind::UpstreamMalformed => "its answer is not valid HTTP",
        Kind::UpstreamTimeout => "it did not begin its answer in time",
        Kind::BodyTooLarge => {
            return Fault::new(
                kind,
                format!("The request's body is larger than {} bytes", hit.provider.max_body),
            );
        }
        Kind::BodyTimeout => return Fault::new(kind, "The request's body did not arrive in time"),
        _ => return Fault::new(kind, "The request's body broke off"),
    };
    tracing::warn!(
        request_id = visit.request_id(), %provider, code = kind.code(), error = %shown(&error.to_string()), "no answer"
    );
    Fault::new(kind, format!("Upstream {provider} failed: {what}"))
}

impl Body {
    fn relay(download: Download, trailers: bool, watch: Option<UploadWatch>, tasks: TaskTracker) -> Self {
        Self::Relay(Box::new(body::Relay::new(download, trailers, watch, tasks)))
    }
}
