//! The gateway: takes a request from its head to the head of its answer. It does the waits (authentication, refresh,
//! upstream) between the decisions of `decide`, and makes the responses.
//!
//! It guarantees: one configuration snapshot per request, taken when its head is complete. It decides no order of
//! checks, and parses no configuration. Bodies to and from upstreams stream; only bodies of API calls are collected.
//!
//! Read next: `decide` for the order, `relay` for calls to providers, `api` for calls of tollgate's own API, `session` for
//! browsers.

mod admission;
mod api;
mod asking;
mod authenticate;
mod body;
mod coding;
mod credential;
mod events;
mod judging;
mod limits;
mod fault;
mod own_address;
mod own_answers;
mod pages;
mod client_address;
mod metered;
mod probe;
mod readiness;
mod relay;
mod context;
mod session;
mod signing;
mod staged_close;
mod websocket;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response, Version, header, request::Parts};
use hyper::body::{Body as _, Incoming};
use ipnet::IpNet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use api::administer;
pub use body::Body;
pub use coding::Budget as DecodingBudget;
pub use events::{EventStreams, Events};
pub use fault::refuse;
pub use judging::JudgedBodies;
pub use readiness::Readiness;
pub use session::PageRequest;
pub use staged_close::{brief_close, staged_close};
pub use websocket::{LEAVE_TIME, WebSocket, WebSocketSlot, WebSockets};

use crate::{
    accounts::{Actor, AuthRateLimit, Authenticated, Authenticator, Caller, LocalCache, Refresher},
    admin::{ApiQueue, Principal},
    admission::{Admission, ClientConnection},
    cors::{Readers, TrustedOrigins},
    decide::{self, Begun, Listener, ListenerRole, Routed, Site},
    fault::Fault,
    files::Live,
    hex,
    limits::LimitStates,
    metrics::Metrics,
    origin::Origin,
    recorder::Recorder,
    settings::TraceHeaders,
    table::Table,
    upstream::{self, Upstream},
};
use context::{Persistence, RequestContext};
use relay::{CallBody, Outbound};

/// Everything that one worker serves requests with. No worker waits for another.
#[derive(Debug)]
pub struct Worker {
    /// The requests that its listener serves.
    pub role: ListenerRole,
    /// True if its listener takes TLS alone.
    pub is_tls: bool,
    /// The current route table.
    pub live: Arc<Live>,
    /// The queues of API calls to the control runtime.
    pub api_queue: ApiQueue,
    /// The readiness flag.
    pub ready: Arc<Readiness>,
    /// Authenticates tokens.
    pub accounts: Authenticator,
    /// Admission control, of all workers.
    pub admission: Arc<Admission>,
    /// This worker's cache of callers.
    pub cache: LocalCache,
    /// Refreshes logins.
    pub refresher: Refresher,
    /// The authentication rate limit.
    pub auth_rate_limit: AuthRateLimit,
    /// Proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Sends requests to upstreams; has this worker's connection pool.
    pub upstream: Upstream,
    /// Memory for request bodies that are decoded for the meter.
    pub decoding: DecodingBudget,
    /// The counters of limits, of all workers.
    pub limits: LimitStates,
    /// The most bytes of a body that are read for limits and rules before it is sent.
    pub judged_body: usize,
    /// The bodies that are read for limits and rules.
    pub judging: JudgedBodies,
    /// True if answers say what is left of limits.
    pub limit_headers: bool,
    /// Tasks that a graceful shutdown waits for.
    pub tasks: TaskTracker,
    /// Takes access records.
    pub recorder: Recorder,
    /// Answers scrapes.
    pub metrics: Metrics,
    /// The streams of events that may run at once.
    pub events: EventStreams,
    /// The WebSockets that run.
    pub websockets: WebSockets,
    /// Origins whose pages may send any header.
    pub trusted_origins: Arc<TrustedOrigins>,
    /// The pages that may read responses of providers.
    pub page_readers: Arc<Readers>,
    /// The address at which people reach tollgate in a browser.
    pub public_url: Option<Origin>,
    /// The treatment of the trace context that clients send.
    pub trace_context: TraceHeaders,
    /// `Keep-Alive`: the time that a connection may idle. None if it is too short for that header.
    pub keep_alive: Option<HeaderValue>,
    /// The longest time of a probe.
    pub probe_timeout: Duration,
    /// The most bytes of a request's head.
    pub max_head: usize,
    /// Cancelled once the process shuts down.
    pub stop: CancellationToken,
    /// True after the grace period: responses that end now are cut by tollgate.
    pub cuts: AtomicBool,
    /// The number of the next request; request ids derive from it.
    pub next_id: AtomicU64,
}

impl Worker {
    fn request_id(&self) -> String {
        hex::encode(&self.unique_id())
    }

    /// The next unique id.
    fn unique_id(&self) -> [u8; 8] {
        // splitmix64 is a bijection: ids of consecutive numbers look random, and no two are equal.
        let mut id = self.next_id.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (id ^ (id >> 31)).to_be_bytes()
    }
}

/// A request in flight: the worker that serves it, the one configuration snapshot that decides about it, its head.
#[derive(Debug, Clone, Copy)]
struct InFlight<'r> {
    worker: &'r Arc<Worker>,
    table: &'r Arc<Table>,
    head: &'r Parts,
    /// The peer of the connection.
    peer: IpAddr,
}

impl<'r> InFlight<'r> {
    /// True if the connection comes from this machine, and from no proxy that the settings name.
    fn is_from_loopback(&self) -> bool {
        self.peer.to_canonical().is_loopback() && !self.is_from_proxy()
    }

    /// True if the connection comes from a proxy that the settings name.
    fn is_from_proxy(&self) -> bool {
        let peer = self.peer.to_canonical();
        self.worker.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    /// What is known of the address in people's browsers. Only a proxy knows by what it was called itself.
    fn site(&self) -> Site<'r> {
        let worker = self.worker;
        Site { public_url: worker.public_url.as_ref(), is_tls: worker.is_tls && !self.is_from_proxy() }
    }
}

/// Answers one request on a connection from `peer`. A connection that switches to WebSocket has it in `switched` then.
pub async fn handle(
    worker: Arc<Worker>,
    peer: IpAddr,
    connection: Arc<ClientConnection>,
    switched: &WebSocketSlot,
    request: Request<Incoming>,
) -> Response<Body> {
    if connection.is_pipelined() {
        // A client that pipelines requests has no longer turns than others.
        upstream::begin_pipelined().await;
    }
    let (mut head, incoming) = request.into_parts();
    let client = client_address::find(peer, &head.headers, &worker.trusted_proxies);
    // One snapshot for the whole decision. It is dropped with this future, at the head of the answer: a stream of hours
    // does not keep an old table alive.
    let table = worker.live.snapshot();
    let mut context = RequestContext::begin(&worker, client, connection, &head);
    context.apply_trace_context(&mut head.headers);
    let request = InFlight { worker: &worker, table: &table, head: &head, peer };
    let mut incoming = Some(incoming);
    let response = match answer(request, &mut incoming, &mut context).await {
        Ok(response) => response,
        Err(fault) => fault::response(&fault, &table, &head, &mut context),
    };
    if let Some(tunnel) = context.take_switched() {
        let (response, guard) = context.finish_switched(response, &table);
        switched.fill(WebSocket::new(worker, tunnel, guard));
        return response;
    }
    let ends = !incoming.is_none_or(|unread| leave(&worker, &head, unread, &context));
    context.finish(response, &table, if ends { Persistence::Ends } else { persistence(&head) })
}

/// Leaves a body that was not read. Returns false if the connection ends with the response: the rest is too large to
/// wait for, or may never come, since the client waits for `100 Continue`. One with several requests at a time goes on.
fn leave(worker: &Arc<Worker>, head: &Parts, unread: Incoming, context: &RequestContext) -> bool {
    let connection = context.connection();
    let stays = connection.is_stream()
        || !head.headers.contains_key(header::EXPECT) && body::is_short(&unread)
        || unread.is_end_stream();
    if stays {
        body::read_rest(worker, unread, connection.clone());
    }
    stays
}

/// The end of the connection as the client wants it.
fn persistence(head: &Parts) -> Persistence {
    let closes = |value: &HeaderValue| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    if head.version != Version::HTTP_11 {
        Persistence::Unannounced
    } else if head.headers.get_all(header::CONNECTION).iter().any(closes) {
        Persistence::Ends
    } else {
        Persistence::GoesOn
    }
}

/// Takes the steps of `decide`, and waits between them.
async fn answer(
    request: InFlight<'_>,
    incoming: &mut Option<Incoming>,
    context: &mut RequestContext,
) -> Result<Response<Body>, Fault> {
    let InFlight { worker, table, head, .. } = request;
    let listener = Listener { role: worker.role, site: request.site(), max_head: worker.max_head };
    let begun = decide::begin(head, table, listener)?;
    // Neither health checks nor metrics end where load shedding begins.
    match &begun {
        Begun::Own(own) => {
            context.hide_token(head, table);
            return Ok(own_answers::answer(*own, request));
        }
        Begun::Metrics(call) if call.is_open(request.is_from_loopback()) => {
            return own_answers::metrics(request).await;
        }
        Begun::Page(_) => context.hide_token(head, table),
        Begun::Metrics(_) | Begun::Admin(_) | Begun::SelfService(_) | Begun::Provider(_) => {}
    }
    admission::connection(context.connection())?;
    match begun {
        Begun::Own(_) => unreachable!("it was answered"),
        // Boxed, since it is rare: other requests should not carry its state.
        Begun::Page(cookie) => Ok(Box::pin(pages::answer(request, incoming, cookie, context)).await),
        Begun::Metrics(call) => {
            authenticate::admin_token(worker, call.token()?, context.sender(table)).await?;
            own_answers::metrics(request).await
        }
        Begun::Admin(call) => {
            let presented = call.presented()?.clone();
            let admin = authenticate::admin(worker, &presented, context.sender(table)).await?;
            let call = call.authenticated()?;
            let actor = Actor::admin(&admin, context.client());
            if events::is_asked(request) {
                return events::open(request, presented, actor, context.connection());
            }
            api::call(request, incoming, call, Principal::Admin, actor, context.connection()).await
        }
        Begun::SelfService(call) => {
            let Authenticated { caller, part } =
                authenticate::self_service(worker, call.presented()?, context.sender(table)).await?;
            let call = call.authenticated(caller.facts(part))?;
            let actor = Actor::user(&caller, context.client());
            api::call(request, incoming, call, Principal::User(caller), actor, context.connection()).await
        }
        Begun::Provider(call) => {
            let Authenticated { caller, part } =
                authenticate::user(worker, call.token()?, context.sender(table)).await?;
            context.set_caller(&caller);
            let routed = call.authenticated(caller.facts(part))?;
            forward(request, &caller, routed, CallBody::Client(incoming), context).await
        }
    }
}

/// Takes the steps of a call to a provider from its endpoint on.
async fn forward(
    request: InFlight<'_>,
    caller: &Caller,
    routed: Routed<'_>,
    body: CallBody<'_>,
    context: &mut RequestContext,
) -> Result<Response<Body>, Fault> {
    context.set_route(&routed.hit);
    let call = routed.in_scope()?;
    context.set_admitted(admission::request(request.worker, caller)?);
    relay::relay(Outbound { request, call: &call, caller }, body, context).await
}
