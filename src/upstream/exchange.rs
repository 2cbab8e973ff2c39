//! One request on one connection, up to the head of the answer.
//!
//! The connection is driven by the task that waits: the same poll writes the request, moves the upload
//! and reads the head. Interim responses (1xx) are skipped, up to a limit.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::{
    HeaderMap, Method, Request, Response, Version,
    header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING},
};
use http_body::Body;
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::Instant;

use super::{
    Deadlines,
    error::SendError,
    pool::Live,
    timer, turn,
    upload::{Progress, Upload, UploadError},
};

/// Maximum interim responses per request.
const MAX_INTERIM: usize = 32;

/// Counts the interim responses of one connection. Relaxed orderings suffice: only the worker's own thread uses it.
#[derive(Debug, Clone, Default)]
pub(super) struct InterimCount(Arc<AtomicUsize>);

impl InterimCount {
    /// Counts those to `request`, from zero.
    fn begin(&self, request: &mut Request<Upload>) {
        self.0.store(0, Ordering::Relaxed);
        let count = self.0.clone();
        hyper::ext::on_informational(request, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            turn::charge_interim();
        });
    }

    fn check(&self) -> Result<(), SendError> {
        if self.0.load(Ordering::Relaxed) > MAX_INTERIM {
            return Err(SendError::TooManyInterim { limit: MAX_INTERIM });
        }
        Ok(())
    }
}

/// The outcome of one request on one connection.
pub(super) enum Exchanged {
    /// The head of an answer.
    Answer(Response<Incoming>, Box<Live>),
    /// The connection was already closed, and nothing was written.
    Unsent(Box<Request<Upload>>),
}

/// Replaces the client's framing headers by those of the body, so that no ambiguous framing reaches the upstream
/// (request smuggling). Refuses a body that announces more than its limit.
pub(super) fn frame(request: &mut Request<Upload>) -> Result<(), SendError> {
    if let Err(UploadError::TooLarge { limit }) = request.body().check_size() {
        return Err(SendError::BodyTooLarge { limit });
    }
    *request.version_mut() = Version::HTTP_11;
    // hyper reads settings from request extensions.
    request.extensions_mut().clear();
    let size = request.body().exact_size();
    let bodyless = request.body().is_end_stream();
    let expects_body = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    let headers = request.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    set_framing(headers, size, bodyless, expects_body);
    Ok(())
}

fn set_framing(headers: &mut HeaderMap, size: Option<u64>, bodyless: bool, expects_body: bool) {
    match size {
        // RFC 9110, section 8.6: for a method that expects a body, `Content-Length: 0` announces that there is none.
        _ if bodyless && !expects_body => {}
        _ if bodyless => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(0))),
        Some(size) => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(size))),
        // Set explicitly, since hyper silently drops a chunked body of a GET.
        None => drop(headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
    }
}

/// Puts `request` on the connection and waits for the head of the answer.
pub(super) async fn exchange(
    mut live: Box<Live>,
    mut request: Request<Upload>,
    deadlines: Deadlines,
) -> Result<Exchanged, SendError> {
    let started = Instant::now();
    live.interim.begin(&mut request);
    let upload = request.body().progress();
    let mut answer = pin!(live.sender.try_send_request(request));
    let result = poll_fn(|cx| {
        live.drive(cx);
        // Also if the final response is there already: hyper parses all that it has read at once.
        live.interim.check()?;
        if let Poll::Ready(result) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(result));
        }
        poll_deadline(&mut live, cx, started, upload.as_ref(), deadlines).map(Err)
    });
    match result.await? {
        Ok(answer) => Ok(Exchanged::Answer(answer, live)),
        Err(error) => unsent_or_failed(live.host(), error, upload.as_ref()),
    }
}

/// The first-byte deadline, extended by each progress of the upload, so that a long upload is not cut.
fn poll_deadline(
    live: &mut Live,
    cx: &mut Context<'_>,
    started: Instant,
    upload: Option<&Progress>,
    deadlines: Deadlines,
) -> Poll<SendError> {
    let moved = upload.map_or(started, |upload| upload.moved().max(started));
    live.timer.poll(cx, timer::after(moved, deadlines.first_byte)).map(|()| {
        if upload.is_some_and(Progress::is_starved) {
            SendError::BodyStalled(deadlines.first_byte)
        } else {
            SendError::Timeout(deadlines.first_byte)
        }
    })
}

fn unsent_or_failed(
    host: &str,
    mut error: TrySendError<Request<Upload>>,
    upload: Option<&Progress>,
) -> Result<Exchanged, SendError> {
    match error.take_message() {
        Some(request) => Ok(Exchanged::Unsent(Box::new(request))),
        None => Err(SendError::classify(host, error.error(), upload.and_then(Progress::failure))),
    }
}
