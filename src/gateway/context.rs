//! The context of one request: its id, its client, and the access record in the making.
//!
//! It guarantees: the access record is emitted exactly once, when the response ends, breaks off or is dropped.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::{Body, Worker, authenticate::Client, judging::Judged, limits::Limited, metered::Metered};
use crate::{
    access_record::{AccessRecord, End, HIDDEN, Wait, WebSocketEnd, logged_path},
    accounts::Caller,
    admission::{ClientConnection, LocalError, RequestGuard},
    clock::now_ms,
    cors::Readers,
    decide::{self, ListenerRole},
    fault::FaultKind,
    hex,
    name::{LimitId, Owner},
    origin::Origin,
    own_paths,
    secret::Secret,
    settings::TraceHeaders,
    table::{Hit, Table},
    telemetry::shown,
    trace_context::{BAGGAGE, TRACEPARENT, TRACESTATE, TraceContext},
    upstream::{CutError, Tap, Tunnel},
};

/// The header that names a limit, and what is left of it.
pub(super) const LIMIT: HeaderName = HeaderName::from_static("tollgate-limit");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The readers of a response, besides the client that sent the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// None: the path is tollgate's own. Caches may not store the response.
    Clients,
    /// Pages of other origins.
    Pages,
    /// A browser that asks what such a page may send.
    Preflight,
}

impl Audience {
    pub(super) fn of(worker: &Worker, head: &Parts) -> Self {
        if worker.role == ListenerRole::Admin || own_paths::find(head.uri.path()).is_some() {
            Self::Clients
        } else if head.method == Method::OPTIONS {
            Self::Preflight
        } else {
            Self::Pages
        }
    }
}

/// The connection after a response, as the response announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It is closed.
    Ends,
    /// It takes another request.
    GoesOn,
    /// As hyper has it: HTTP/1.0 has no announcement.
    Unannounced,
}

/// The context of a request up to the head of its response.
#[derive(Debug)]
pub(super) struct RequestContext {
    audience: Audience,
    /// The origin of the page that sent the request, where only some may read the response.
    page: Option<HeaderValue>,
    /// The response has no body, even where its head announces one.
    is_head: bool,
    client: IpAddr,
    guard: AccessRecordGuard,
    /// The upstream's connection, once it has switched to WebSocket.
    switched: Option<Box<Tunnel>>,
    /// What limits and rules found in the body.
    judged: Option<Judged>,
}

/// Emits the access record. Dropped before the end of the response, it records that the client left. The request counts
/// as running while this lives.
#[derive(Debug)]
pub struct AccessRecordGuard {
    worker: Arc<Worker>,
    request_id: String,
    started: Instant,
    record: Option<Box<AccessRecord>>,
    /// The meter, if the endpoint is metered.
    metered: Option<Metered>,
    connection: Arc<ClientConnection>,
    /// The call in its limits. None before it is admitted by them, and without any.
    limited: Option<Limited>,
    /// The place among concurrent requests. None before admission, and for requests that are not counted.
    admitted: Option<RequestGuard>,
}

impl RequestContext {
    pub(super) fn begin(
        worker: &Arc<Worker>,
        client: IpAddr,
        connection: Arc<ClientConnection>,
        head: &Parts,
    ) -> Self {
        let request_id = worker.request_id();
        let record = AccessRecord::begun(client, head.method.clone(), logged_path(head.uri.path()), now_ms());
        let guard = AccessRecordGuard {
            worker: worker.clone(),
            request_id,
            started: Instant::now(),
            record: Some(Box::new(record)),
            metered: None,
            connection,
            limited: None,
            admitted: None,
        };
        let (audience, is_head) = (Audience::of(worker, head), head.method == Method::HEAD);
        let page = match *worker.page_readers {
            Readers::All => None,
            Readers::Only(_) => head.headers.get(header::ORIGIN).cloned(),
        };
        Self { audience, page, is_head, client, guard, switched: None, judged: None }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.guard.request_id
    }

    /// The client's address, as far as trusted proxies say it.
    pub(super) fn client(&self) -> IpAddr {
        self.client
    }

    /// The client, for authentication.
    pub(super) fn sender<'c>(&'c self, table: &'c Table) -> Client<'c> {
        Client { address: self.client, request_id: self.request_id(), table }
    }

    /// The connection that the request came on.
    pub(super) fn connection(&self) -> &Arc<ClientConnection> {
        &self.guard.connection
    }

    /// Counts an error of this machine.
    pub(super) fn count_local_error(&self, error: LocalError) {
        self.guard.worker.admission.local_error(error);
    }

    /// The request is admitted: its place is given back at the end of the response.
    pub(super) fn set_admitted(&mut self, admitted: RequestGuard) {
        self.guard.connection.set_admitted();
        self.guard.admitted = Some(admitted);
    }

    /// The call is admitted by its limits: it is settled at the end of the response.
    pub(super) fn set_limited(&mut self, limited: Limited) {
        self.guard.limited = Some(limited);
    }

    /// The body is judged.
    pub(super) fn set_judged(&mut self, judged: Judged) {
        self.judged = Some(judged);
    }

    /// What was found in the body.
    pub(super) fn judged(&self) -> Option<&Judged> {
        self.judged.as_ref()
    }

    pub(super) fn set_caller(&mut self, caller: &Caller) {
        if let Some(record) = self.record() {
            record.user = Some(caller.id.clone());
            record.group.clone_from(&caller.group);
            record.token = Some(caller.token.id.clone());
        }
    }

    pub(super) fn set_route(&mut self, hit: &Hit) {
        if let Some(record) = self.record() {
            record.provider = Some(hit.provider.name.clone());
            record.endpoint = Some(hit.endpoint().name.clone());
            record.telemetry = Some(hit.endpoint().telemetry.clone());
        }
    }

    pub(super) fn set_key_owner(&mut self, owner: Option<&Owner>) {
        if let Some(record) = self.record() {
            record.key_owner = owner.cloned();
        }
    }

    /// Takes the trace that the client names, and applies the setting to the headers that go on.
    pub(super) fn apply_trace_context(&mut self, headers: &mut HeaderMap) {
        let mut context = TraceContext::of_client(headers);
        match self.guard.worker.trace_context {
            TraceHeaders::Pass => {}
            TraceHeaders::Remove => {
                for name in [TRACEPARENT, TRACESTATE, BAGGAGE] {
                    headers.remove(name);
                }
            }
            TraceHeaders::Own => {
                let span = hex::decode::<8>(self.request_id()).unwrap_or_default();
                if context.is_none() {
                    // Its companion belongs to a trace that is not continued.
                    headers.remove(TRACESTATE);
                }
                let own = *context.get_or_insert_with(|| TraceContext::begun(self.new_trace(span)));
                if let Some(header) = own.header(span) {
                    headers.insert(TRACEPARENT, header);
                }
            }
        }
        if let Some(record) = self.record() {
            record.trace = context.map(Box::new);
        }
    }

    /// The id of a new trace: two unique ids, that of this request last.
    fn new_trace(&self, span: [u8; 8]) -> [u8; 16] {
        let mut id = [0; 16];
        let (first, last) = id.split_at_mut(8);
        first.copy_from_slice(&self.guard.worker.unique_id());
        last.copy_from_slice(&span);
        id
    }

    /// A login was refreshed, from `begun` to now. Only the first refresh counts.
    pub(super) fn set_refreshed(&mut self, begun: Instant) {
        let after = begun.saturating_duration_since(self.guard.started);
        if let Some(record) = self.record() {
            record.waits.refresh.get_or_insert(Wait { after, length: begun.elapsed() });
        }
    }

    /// The request is sent to this origin now.
    pub(super) fn set_sent(&mut self, origin: &Origin) {
        let after = self.guard.started.elapsed();
        if let Some(record) = self.record() {
            record.waits.sent = Some(after);
            record.upstream = Some(origin.clone());
        }
    }

    /// The upstream began its answer, on a connection that took this time to open, if it is a new one.
    pub(super) fn set_connected(&mut self, length: Option<Duration>) {
        if let Some(record) = self.record() {
            let after = record.waits.sent.unwrap_or_default();
            record.waits.connect = length.map(|length| Wait { after, length });
        }
    }

    /// The upstream's connection has switched to WebSocket.
    pub(super) fn set_switched(&mut self, tunnel: Box<Tunnel>) {
        self.switched = Some(tunnel);
    }

    /// The upstream's connection, if it has switched.
    pub(super) fn take_switched(&mut self) -> Option<Box<Tunnel>> {
        self.switched.take()
    }

    pub(super) fn set_fault(&mut self, kind: FaultKind) {
        if let Some(record) = self.record() {
            record.fault = Some(kind);
        }
    }

    /// A limit refuses the request.
    pub(super) fn set_limit(&mut self, limit: &LimitId) {
        if let Some(record) = self.record() {
            record.limit = Some(limit.clone());
        }
    }

    /// The fault, if the response is tollgate's own.
    pub(super) fn fault(&self) -> Option<FaultKind> {
        self.guard.record.as_ref()?.fault
    }

    /// Begins to meter a request, if its endpoint is metered. Returns what is to see its body.
    pub(super) fn meter(&mut self, hit: &Hit, head: &Parts) -> Option<Arc<dyn Tap>> {
        let worker = &self.guard.worker;
        self.guard.metered = Metered::new(hit, head, worker.recorder.text_room(), &worker.decoding);
        self.guard.metered.as_ref().map(Metered::tap)
    }

    /// The request is sent with these secrets, which its usage must not show.
    pub(super) fn hide<'s>(&self, secrets: impl Iterator<Item = &'s Secret>) {
        if let Some(metered) = &self.guard.metered {
            metered.hide(secrets);
        }
    }

    /// Meters the upstream's answer from its head on.
    pub(super) fn meter_answer(&self, status: StatusCode, headers: &HeaderMap) {
        if let Some(metered) = &self.guard.metered {
            metered.answer(status, headers);
        }
    }

    /// The upstream's answer is not passed on yet: the request may be sent once more.
    pub(super) fn meter_refused(&self) {
        if let Some(metered) = &self.guard.metered {
            metered.head_came();
        }
    }

    /// The request is sent once more.
    pub(super) fn meter_retry(&self) {
        if let Some(metered) = &self.guard.metered {
            metered.sent_again();
        }
    }

    /// Meters no answer: the upstream's is not passed on.
    pub(super) fn meter_no_answer(&self) {
        if let Some(metered) = &self.guard.metered {
            metered.no_answer();
        }
    }

    /// Leaves the path out of the access record if it holds the token that the client presents. Needed wherever nothing has
    /// authenticated the request: a token is in no path then.
    pub(super) fn hide_token(&mut self, head: &Parts, table: &Table) {
        if let Some(record) = self.record()
            && decide::path_shows_token(head, table)
        {
            HIDDEN.clone_into(&mut record.path);
        }
    }

    /// Adds the headers of every response, and passes the access record on to the body, which sees the end.
    pub(super) fn finish(
        mut self,
        mut response: Response<Body>,
        table: &Table,
        persistence: Persistence,
    ) -> Response<Body> {
        self.announce(response.headers_mut(), persistence);
        self.mark(&mut response, table);
        if self.is_head {
            // hyper never polls such a body.
            self.guard.end(End::Complete);
        } else {
            response.body_mut().set_guard(self.guard);
        }
        response
    }

    /// The same for the answer that switches to WebSocket: the access record goes on with that.
    pub(super) fn finish_switched(
        mut self,
        mut response: Response<Body>,
        table: &Table,
    ) -> (Response<Body>, AccessRecordGuard) {
        self.mark(&mut response, table);
        let after = self.guard.started.elapsed();
        if let Some(record) = self.record() {
            record.first_byte = Some(after);
        }
        (response, self.guard)
    }

    /// Adds the headers of every response that say nothing of its connection.
    fn mark(&mut self, response: &mut Response<Body>, table: &Table) {
        let headers = response.headers_mut();
        match self.audience {
            Audience::Pages => {
                table.cors.mark(headers, self.page.as_ref(), &self.guard.worker.page_readers);
            }
            Audience::Preflight => {}
            Audience::Clients => {
                headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
            }
        }
        if let Ok(id) = HeaderValue::from_str(self.request_id()) {
            headers.insert("tollgate-request-id", id);
        }
        if self.guard.worker.limit_headers
            && let Some(limited) = &self.guard.limited
        {
            // Those of an upstream that is a tollgate, too, are not this one's.
            headers.remove(LIMIT);
            let values = limited.header().into_iter().filter_map(|value| HeaderValue::from_str(&value).ok());
            headers.extend(values.map(|value| (LIMIT, value)));
        }
        let status = response.status();
        if let Some(record) = self.record() {
            record.status = Some(status);
        }
    }

    /// Announces the end of the connection, or the time that it may idle. RFC 9110, section 7.6.1: `Connection` has to name
    /// the header with that time.
    fn announce(&self, headers: &mut HeaderMap, persistence: Persistence) {
        if self.connection().refusal().is_some() || persistence == Persistence::Ends {
            // Beside another option, such as that of a 426.
            headers.append(header::CONNECTION, HeaderValue::from_static("close"));
        } else if persistence == Persistence::GoesOn
            && let Some(announced) = &self.guard.worker.keep_alive
            && !headers.contains_key(header::CONNECTION)
            && !self.guard.worker.ready.is_draining()
        {
            headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
            headers.insert(KEEP_ALIVE, announced.clone());
        }
    }

    fn record(&mut self) -> Option<&mut AccessRecord> {
        self.guard.record.as_deref_mut()
    }
}

impl AccessRecordGuard {
    /// Bytes of the upstream's answer came.
    pub(super) fn meter(&self, bytes: &[u8]) {
        if let Some(metered) = &self.metered {
            metered.bytes(bytes);
        }
    }

    /// Bytes of the response's body pass.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        if let Some(record) = &mut self.record {
            record.bytes_out += bytes.len() as u64;
            if record.first_byte.is_none() {
                record.first_byte = Some(self.started.elapsed());
            }
        }
    }

    /// Bytes of the upstream pass, in frames.
    pub(super) fn pass_bytes(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.bytes_out += bytes as u64;
        }
    }

    /// Bytes of the client pass, in frames.
    pub(super) fn pass_client(&self, bytes: usize) {
        self.connection.reads().add_frame(bytes);
    }

    /// Ends with the WebSocket that the request became.
    pub(super) fn end_websocket(mut self, websocket: WebSocketEnd, end: End) {
        if let Some(record) = &mut self.record {
            record.websocket = Some(websocket);
        }
        self.end(end);
    }

    /// Ends with the upstream's response, which broke off.
    pub(super) fn cut(self, error: &CutError) {
        tracing::warn!(request_id = self.request_id, error = %shown(&error.to_string()), "response cut");
        self.end(End::Cut);
    }

    pub(super) fn end(mut self, end: End) {
        self.emit(end);
    }

    fn emit(&mut self, end: End) {
        if let Some(mut record) = self.record.take() {
            record.request_id = std::mem::take(&mut self.request_id);
            record.end = end;
            record.duration = self.started.elapsed();
            record.bytes_in = self.connection.reads().content.load(Ordering::Relaxed);
            if end == End::Complete && record.bytes_out == 0 && record.websocket.is_none() {
                record.first_byte = Some(record.duration);
            }
            let usage = self.metered.take().and_then(|metered| metered.finish(end == End::Complete));
            if let Some(limited) = self.limited.take() {
                limited.settle(&self.worker, &record, usage.as_ref());
            }
            record.usage = usage.map(Box::new);
            self.worker.recorder.record(*record);
        }
    }
}

impl Drop for AccessRecordGuard {
    fn drop(&mut self) {
        let cuts = self.worker.cuts.load(Ordering::Relaxed);
        self.emit(if cuts { End::Cut } else { End::ClientLeft });
        drop(self.admitted.take());
        self.connection.end_response();
    }
}
