//! One request's stay: its id, and the record of it that is handed on at its end, whichever way it ends.

use std::{sync::Arc, time::Instant};

use http::{HeaderValue, Response, request::Parts};

use super::{Body, Worker};
use crate::{
    accounts::Caller,
    exchange::{End, Exchange, bounded_path},
    fault::Kind,
    rewrite,
    table::Hit,
    telemetry::{Recorder, shown},
    upstream::CutError,
};

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Visit {
    worker: Arc<Worker>,
    /// Whether the answer is for pages of other origins.
    cors: bool,
    finish: Finish,
}

/// The record in the making. Dropped before its end, it tells that the client left.
#[derive(Debug)]
pub struct Finish {
    request_id: String,
    started: Instant,
    record: Option<Box<(Exchange, Recorder)>>,
}

impl Visit {
    pub(super) fn begin(worker: &Arc<Worker>, head: &Parts) -> Self {
        let request_id = worker.request_id();
        let record = worker.recorder.as_ref();
        let record = record.map(|recorder| Box::new((exchange(&request_id, head), recorder.clone())));
        let finish = Finish { request_id, started: Instant::now(), record };
        Self { worker: worker.clone(), cors: !super::own::is_reserved(head.uri.path()), finish }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.finish.request_id
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
    pub(super) fn answered(mut self, mut answer: Response<Body>) -> Response<Body> {
        let headers = answer.headers_mut();
        if self.cors {
            rewrite::cors(headers, &self.worker.live.current().cors_headers);
        }
        if let Ok(id) = HeaderValue::from_str(self.request_id()) {
            headers.insert("tollgate-request-id", id);
        }
        let status = answer.status();
        if let Some(exchange) = self.exchange() {
            exchange.status = Some(status);
        }
        answer.body_mut().set_finish(self.finish);
        answer
    }

    fn exchange(&mut self) -> Option<&mut Exchange> {
        self.finish.record.as_mut().map(|record| &mut record.0)
    }
}

impl Finish {
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.0.bytes_out += bytes as u64;
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
        if let Some(record) = self.record.take() {
            let (mut exchange, recorder) = *record;
            exchange.end = end;
            exchange.duration = self.started.elapsed();
            recorder.record(exchange);
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.hand_on(End::ClientLeft);
    }
}

fn exchange(request_id: &str, head: &Parts) -> Exchange {
    Exchange {
        request_id: request_id.to_owned(),
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
