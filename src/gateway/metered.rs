//! The meter of an exchange, between the two bodies that it watches.
//!
//! It guarantees: no byte is changed or held back for it, and none copied, unless a content coding is undone. The request's body and the answer's share it, and one
//! worker polls both: its lock is never waited for. No label of the usage holds a generated token, or a secret that was sent. Read next: `meter` in the engine, `coding`.

use std::{
    mem::take,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, StatusCode, header, request::Parts};

use super::coding::{Budget, Decoder, Plain, Room};
use crate::{
    access_record::Usage,
    meter::{Meter, RequestApart},
    recorder::TextRoom,
    rewrite::SecretStart,
    secret::Secret,
    table::Hit,
    upstream::Tap,
};

/// The meter of one exchange.
#[derive(Debug, Clone)]
pub(super) struct Metered(Arc<Shared>);

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    /// None once the exchange has ended.
    decoder: Option<Decoder<Meter>>,
    /// Reads a request's body that has a content coding, until it ends.
    request: Option<Box<Encoded>>,
    head: Head,
    /// The answer that is passed on uses something.
    has_answer: bool,
    /// Room for the text; none if no text is kept.
    text: Option<TextRoom>,
    /// Secrets that no label may show. A retry may add a third.
    secrets: [Option<SecretStart>; 3],
}

/// The reader of a request's body that has a content coding.
#[derive(Debug)]
struct Encoded {
    decoder: Decoder<RequestApart>,
    _room: Room,
}

/// The head of the upstream's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Nothing of the request's body was sent yet.
    NotAsked,
    /// A part of it was.
    Awaited,
    Came,
}

impl Metered {
    /// The meter of a request to an endpoint. None if it is not metered.
    pub(super) fn new(hit: &Hit, head: &Parts, text: Option<TextRoom>, budget: &Budget) -> Option<Self> {
        let metering = hit.endpoint().metering.as_ref()?;
        let model = hit.captured_model(head.uri.path());
        let meter = Meter::new(Arc::clone(metering), model.as_deref(), text.is_some());
        Some(Self::of(meter, &head.headers, text, budget))
    }

    fn of(mut meter: Meter, request: &HeaderMap, text: Option<TextRoom>, budget: &Budget) -> Self {
        if let Some(content_type) = request.get(header::CONTENT_TYPE) {
            meter.request_type(content_type.as_bytes());
        }
        let encoded = coding(request).and_then(|coding| encoded(&mut meter, coding, budget));
        let state = State {
            decoder: Some(Decoder::new(meter)),
            request: encoded.map(Box::new),
            head: Head::NotAsked,
            has_answer: false,
            text,
            secrets: [const { None }; 3],
        };
        Self(Arc::new(Shared(Mutex::new(state))))
    }

    /// The request is sent with these secrets: labels of its usage do not show them.
    pub(super) fn hide<'s>(&self, secrets: impl Iterator<Item = &'s Secret>) {
        self.0.with(|state| {
            for (secret, free) in secrets.zip(state.secrets.iter_mut().filter(|place| place.is_none())) {
                *free = SecretStart::of(secret);
            }
        });
    }

    /// The part for the request's body.
    pub(super) fn tap(&self) -> Arc<dyn Tap> {
        Arc::clone(&self.0) as Arc<dyn Tap>
    }

    /// The head of the answer that is passed on. Only successful answers use anything.
    pub(super) fn answer(&self, status: StatusCode, headers: &HeaderMap) {
        self.head_came();
        if !status.is_success() {
            return;
        }
        self.0.with(|state| {
            let Some(decoder) = &mut state.decoder else { return };
            state.has_answer = true;
            let content_type = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
            if let Some(meter) = decoder.plain() {
                meter.answer(status.as_u16(), content_type);
            }
            if let Some(coding) = coding(headers) {
                decoder.set_coding(coding);
            }
        });
    }

    /// The head of an answer came, which may not be passed on.
    pub(super) fn head_came(&self) {
        self.0.with(|state| state.head = Head::Came);
    }

    /// The request is sent once more.
    pub(super) fn sent_again(&self) {
        self.0.with(|state| state.head = Head::Awaited);
    }

    /// The next bytes of the answer, as they came.
    pub(super) fn bytes(&self, bytes: &[u8]) {
        self.0.with(|state| {
            if let Some(decoder) = state.decoder.as_mut().filter(|_| state.has_answer) {
                decoder.decode(bytes);
            }
            state.bound_text();
        });
    }

    /// The answer is not passed on.
    pub(super) fn no_answer(&self) {
        self.0.with(|state| state.has_answer = false);
    }

    /// The usage, at the end of the exchange. It is zero if no answer that uses anything was passed on; of a request that was sent
    /// and not answered, it has the prompt.
    pub(super) fn finish(&self, complete: bool) -> Option<Usage> {
        let (decoder, head, has_answer, secrets) = self.0.with(|state| {
            state.join_request(false);
            state.text = None;
            (state.decoder.take(), state.head, state.has_answer, take(&mut state.secrets))
        });
        let mut meter = decoder?.finish(complete)?;
        if head == Head::Awaited {
            meter.lost();
        } else if !has_answer {
            meter.no_answer();
        }
        let mut usage = meter.finish(complete);
        usage.hide(&secrets);
        Some(usage)
    }
}

impl State {
    fn with_meter(&mut self, change: impl FnOnce(&mut Meter)) {
        if let Some(meter) = self.decoder.as_mut().and_then(Decoder::plain) {
            change(meter);
        }
    }

    /// Drops the text of the exchange if there is no room for it.
    fn bound_text(&mut self) {
        let Some(room) = &mut self.text else { return };
        let Some(meter) = self.decoder.as_mut().and_then(Decoder::plain) else { return };
        if !room.set(meter.text_bytes()) {
            meter.drop_text();
            self.text = None;
        }
    }

    /// Gives the meter what was read of a request's body that has a content coding. `complete`: the body has ended.
    fn join_request(&mut self, complete: bool) {
        if let Some(request) = self.request.take().and_then(|encoded| encoded.decoder.finish(complete)) {
            self.with_meter(|meter| meter.join_request(request, complete));
        }
    }
}

/// The reader of such a request's body. Without room for it, the body is not read.
fn encoded(meter: &mut Meter, coding: &[u8], budget: &Budget) -> Option<Encoded> {
    let mut decoder = Decoder::new(meter.part_request()?);
    let room = budget.take(coding)?;
    decoder.set_coding(coding);
    Some(Encoded { decoder, _room: room })
}

/// The content coding of a body. Several lines are one list.
fn coding(headers: &HeaderMap) -> Option<&[u8]> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let coding = codings.next()?;
    Some(if codings.next().is_some() { b"several" } else { coding.as_bytes() })
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tap for Shared {
    fn data(&self, data: &[u8]) {
        self.with(|state| {
            // The answer may begin before the request has ended.
            if state.head == Head::NotAsked {
                state.head = Head::Awaited;
            }
            match &mut state.request {
                Some(encoded) => encoded.decoder.decode(data),
                None => state.with_meter(|meter| meter.request(data)),
            }
            state.bound_text();
        });
    }

    fn end(&self) {
        self.with(|state| match state.request {
            Some(_) => state.join_request(true),
            None => state.with_meter(Meter::request_end),
        });
    }
}

impl Plain for Meter {
    fn bytes(&mut self, bytes: &[u8]) {
        Self::bytes(self, bytes);
    }

    fn undecodable(&mut self) {
        Self::undecodable(self);
    }
}

impl Plain for RequestApart {
    fn bytes(&mut self, bytes: &[u8]) {
        Self::bytes(self, bytes);
    }

    fn undecodable(&mut self) {
        Self::undecodable(self);
    }
}

#[cfg(test)]
mod tests;
