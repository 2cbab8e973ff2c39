//! One request's stay: its id, and the record of it that is handed on at its end, whichever way it ends.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderValue, Method, Response, header, request::Parts};

use super::{Body, Worker};
use crate::{
    access_record::{AccessRecord, End, bounded_path},
    accounts::Caller,
    decide::ListenerRole,
    fault::Kind,
    own_paths, rewrite,
    table::{Hit, Table},
    telemetry::shown,
    upstream::CutError,
};

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Visit {
    /// Whether the answer is for pages of other origins; one that is not is for nobody to keep.
    cors: bool,
    /// Whether the answer has no body whatever its head says.
    is_head: bool,
    from: IpAddr,
    finish: Finish,
}

/// The record in the making. Dropped before its end, it tells that the client left.
#[derive(Debug)]
pub struct Finish {
    worker: Arc<Worker>,
    request_id: String,
    started: Instant,
    record: Option<Box<AccessRecord>>,
}

impl Visit {
    pub(super) fn begin(worker: &Arc<Worker>, from: IpAddr, head: &Parts) -> Self {
        let request_id = worker.request_id();
        let record = worker.recorder.is_some().then(|| Box::new(exchange(from, head)));
        let finish = Finish { worker: worker.clone(), request_id, started: Instant::now(), record };
        let cors = worker.role != ListenerRole::Admin && own_paths::find(head.uri.path()).is_none();
        Self { cors, is_head: head.method == Method::HEAD, from, finish }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.finish.request_id
    }

    /// Where the request came from, as far as that can be known.
    pub(super) fn from(&self) -> IpAddr {
        self.from
    }

    pub(super) fn caller(&mut self, caller: &Caller) {
        if let Some(exchange) = self.exchange() {
            exchange.user = Some(caller.id.clone());
        }
    }

    pub(super) fn route(&mut self, hit: &Hit) {
        if let Some(exchange) = self.exchange() {
            exchange.provider = Some(hit.provider.name.clone());
            exchange.endpoint = Some(hit.endpoint().name.clone());
        }
    }

    pub(super) fn fault(&mut self, kind: Kind) {
        if let Some(exchange) = self.exchange() {
            exchange.fault = Some(kind.code());
        }
    }

    /// Puts on what every answer carries, and hands the record to the body, which sees the end.
    pub(super) fn answered(mut self, mut answer: Response<Body>, table: &Table) -> Response<Body> {
        let headers = answer.headers_mut();
        if self.cors {
            rewrite::cors(headers, &table.cors_headers);
        } else {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Ok(id) = HeaderValue::from_str(self.request_id()) {
            headers.insert("tollgate-request-id", id);
        }
        let status = answer.status();
        if let Some(exchange) = self.exchange() {
            exchange.status = Some(status);
        }
        if self.is_head {
            // Nobody asks such a body for anything.
            self.finish.end(End::Complete);
        } else {
            answer.body_mut().set_finish(self.finish);
        }
        answer
    }

    fn exchange(&mut self) -> Option<&mut AccessRecord> {
        self.finish.record.as_deref_mut()
    }
}

impl Finish {
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.bytes_out += bytes as u64;
        }
    }

    /// The upstream's answer broke off, and so does the client's.
    pub(super) fn cut(self, error: &CutError) {
        tracing::warn!(request_id = self.request_id, error = %shown(&error.to_string()), "the answer is cut");
        self.end(End::Cut);
    }

    pub(super) fn end(mut self, end: End) {
        self.hand_on(end);
    }

    fn hand_on(&mut self, end: End) {
        if let (Some(mut exchange), Some(recorder)) = (self.record.take(), &self.worker.recorder) {
            exchange.request_id = std::mem::take(&mut self.request_id);
            exchange.end = end;
            exchange.duration = self.started.elapsed();
            recorder.record(*exchange);
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.hand_on(End::ClientLeft);
    }
}

fn exchange(from: IpAddr, head: &Parts) -> AccessRecord {
    AccessRecord {
        request_id: String::new(),
        peer: from,
        method: head.method.clone(),
        path: bounded_path(head.uri.path()),
        user: None,
        provider: None,
        endpoint: None,
        status: None,
        fault: None,
        bytes_out: 0,
        duration: std::time::Duration::ZERO,
        end: End::ClientLeft,
    }
}
