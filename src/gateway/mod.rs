//! The gateway: takes a request from its head to the head of its answer. It does the waits (authentication, refresh,
//! upstream) between the decisions of `decide`, and makes the responses.
//!
//! It guarantees: one configuration snapshot per request, taken at its first byte. It never decides in which order a
//! request is checked, never buffers a body, never parses configuration.
//!
//! Read next: `decide` for the order, `relay` for calls to providers, `api` for calls of tollgate's own API.

mod api;
mod authenticate;
mod body;
mod credential;
mod fault;
mod own;
mod peer;
mod ready;
mod relay;
mod visit;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{Request, Response, header, request::Parts};
use hyper::body::Incoming;
use ipnet::IpNet;
use tokio_util::task::TaskTracker;

pub use api::administer;
pub use body::Body;
pub use fault::refuse;
pub use ready::Readiness;

use crate::{
    accounts::{Accounts, Actor, Attempts, LocalCache, Refresher},
    admin::{Asker, Desk},
    decide::{self, Begun, ListenerRole},
    fault::Fault,
    files::Live,
    table::Table,
    telemetry::Recorder,
    upstream::Upstream,
};
use relay::Outbound;
use visit::Visit;

/// What one worker serves with. Nothing in it is waited for by another worker.
#[derive(Debug)]
pub struct Worker {
    /// Which requests its listener serves.
    pub role: ListenerRole,
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

/// The waits between the decisions of `decide`.
async fn answer(
    request: InFlight<'_>,
    incoming: &mut Option<Incoming>,
    visit: &mut Visit,
) -> Result<Response<Body>, Fault> {
    let InFlight { worker, table, head } = request;
    match decide::begin(head, table, worker.role)? {
        Begun::Own(own) => Ok(own::answer(own, request)),
        Begun::Admin(call) => {
            let admin = authenticate::admin(worker, call.token()?, visit).await?;
            let actor = Actor::admin(&admin, visit.from());
            api::call(request, incoming, call.authenticated(), Asker::Admin, actor).await
        }
        Begun::SelfService(call) => {
            let caller = authenticate::user(worker, call.token()?, visit).await?;
            let call = call.authenticated(caller.facts())?;
            let actor = Actor::user(&caller, visit.from());
            api::call(request, incoming, call, Asker::User(caller), actor).await
        }
        Begun::Provider(call) => {
            let caller = authenticate::user(worker, call.token()?, visit).await?;
            visit.caller(&caller);
            let routed = call.authenticated(caller.facts())?;
            visit.route(&routed.hit);
            let call = routed.in_scope()?;
            relay::relay(Outbound { request, call: &call, caller: &caller }, incoming, visit).await
        }
    }
}
