//! Requests that ask for usage (`when_missing = "ask"`): one key is inserted into the body, and the event that the upstream
//! sends for it is taken out of the answer.
//!
//! It guarantees: all other bytes of both bodies pass as they are, in order; of an answer, at most one event is held back. A
//! body that cannot be changed passes as it is; so does a signed one. Digests of a body that is changed do not pass.
//! Read next: `meter::ask` in the engine, `read_ahead` in `upstream`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header, request::Parts, response};
use http_body::Frame;

use super::{InFlight, context::RequestContext, relay::send_fault};
use crate::{
    compile::metering::{Ask, WhenMissing},
    fault::{Fault, FaultKind},
    meter::ask::{DIGESTS, ExtraFilter, ask, is_changeable, remove_digests},
    splice::SpliceProblem,
    table::Hit,
    upstream::{CutError, ReadAhead, Upload},
};

/// The largest body that is read to be changed, in bytes.
const MAX_BODY: usize = 4 << 20;

/// The next part of an answer; none at its end.
pub(super) type Next = Option<Result<Frame<Bytes>, CutError>>;

/// A request that was changed to ask for usage.
#[derive(Debug)]
pub(super) struct Asked(Arc<Ask>);

/// The key that the endpoint inserts into such a request.
pub(super) fn wanted<'h>(hit: &'h Hit, head: &Parts) -> Option<&'h Arc<Ask>> {
    let metering = hit.endpoint().metering.as_ref()?;
    let ask = metering.ask.as_ref().filter(|_| metering.when_missing == WhenMissing::Ask)?;
    is_changeable(&head.headers).then_some(ask)
}

/// Inserts the key. None if the body stays as it is: it is to ask for nothing, asks already, is no JSON, has another value
/// where an object is needed, or is too large to be read ahead.
pub(super) async fn insert(
    wanted: &Arc<Ask>,
    request: InFlight<'_>,
    hit: &Hit,
    upload: &mut Upload,
    context: &RequestContext,
) -> Result<Option<Asked>, Fault> {
    let wait = hit.endpoint().timeouts.first_byte;
    let limit = MAX_BODY.min(usize::try_from(hit.provider.max_body).unwrap_or(MAX_BODY));
    let read = request.worker.upstream.read_ahead(upload, limit, wait).await;
    let ReadAhead::Whole(body) = read.map_err(|error| send_fault(&error, hit, context))? else {
        return Ok(None);
    };
    match ask(wanted, body) {
        Ok(Some(splice)) => {
            let changed = splice.apply(body);
            upload.replace(changed);
            Ok(Some(Asked(Arc::clone(wanted))))
        }
        Ok(None) | Err(SpliceProblem::NotJson | SpliceProblem::NotAnObject) => Ok(None),
        Err(SpliceProblem::Repeated) => Err(ambiguous(wanted)),
    }
}

fn ambiguous(wanted: &Ask) -> Fault {
    let when = wanted.when.as_ref().map_or_else(String::new, |when| format!(" or `{when}`"));
    let at = &wanted.at;
    let message = format!(
        "The request's body has a key twice on the way to `{at}`{when}, so that it could be read in two ways: \
         send each key once"
    );
    Fault::new(FaultKind::AmbiguousBody, message)
}

impl Asked {
    /// Removes digests of the body before it was changed, and asks for an answer without a content coding, if an event is to
    /// be taken out of it. `is_ours`: headers of the credential, which belong to the changed body.
    pub(super) fn change_headers(&self, headers: &mut HeaderMap, is_ours: impl Fn(&str) -> bool) {
        for name in DIGESTS.into_iter().filter(|name| !is_ours(name)) {
            headers.remove(name);
        }
        if self.0.extra.is_some() {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
    }

    /// What takes the event out of the answer. None if there is none to take out: an error, no server-sent events, or an
    /// answer with a content coding all the same, or with a signature.
    pub(super) fn extra(&self, answer: &response::Parts) -> Option<Box<Extra>> {
        let extra = self.0.extra.as_ref().filter(|_| answer.status.is_success())?;
        let content_type = answer.headers.get(header::CONTENT_TYPE)?.as_bytes();
        let essence = content_type.split(|byte| *byte == b';').next()?.trim_ascii();
        let is_filtered =
            essence.eq_ignore_ascii_case(b"text/event-stream") && is_changeable(&answer.headers);
        is_filtered.then(|| Box::new(Extra { filter: Some(ExtraFilter::new(extra)), late: None }))
    }
}

/// Takes events out of the body of an answer.
#[derive(Debug)]
pub(super) struct Extra {
    /// None after the end.
    filter: Option<ExtraFilter>,
    /// What follows the last bytes that were held back.
    late: Option<Next>,
}

impl Extra {
    /// True if something is still to come after the end of the answer.
    pub(super) fn has_more(&self) -> bool {
        self.late.is_some()
    }

    /// What follows the last bytes that were held back.
    pub(super) fn take_late(&mut self) -> Option<Next> {
        self.late.take()
    }

    /// What passes of the next part of an answer; none if all of it is held back. `ends`: nothing follows.
    pub(super) fn pass(&mut self, next: Next, ends: bool) -> Option<Next> {
        let mut out = Vec::new();
        match next {
            Some(Ok(frame)) if frame.is_data() => {
                let data = frame.into_data().unwrap_or_default();
                match &mut self.filter {
                    Some(filter) => filter.push(&data, &mut out),
                    None => out.extend_from_slice(&data),
                }
                if ends {
                    self.end(&mut out);
                }
                (!out.is_empty()).then(|| Some(Ok(Frame::data(out.into()))))
            }
            last => {
                let last = last.map(|frame| frame.map(without_digests));
                self.end(&mut out);
                if out.is_empty() {
                    return Some(last);
                }
                self.late = Some(last);
                Some(Some(Ok(Frame::data(out.into()))))
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(filter) = self.filter.take() {
            filter.finish(out);
        }
    }
}

/// A frame of trailers without digests of a body that was changed.
fn without_digests(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            remove_digests(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
