//! The check of a request's body for rules and limits: which model it names, and how much it lets the answer have.
//!
//! It guarantees: a copy is read, without its content coding; no byte is changed. A body that could be read in two ways is
//! refused, and if that shows late, the upload is cut before its end. Read next: `judge` in the engine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, header};

use super::coding::{Budget, Decoder, Plain, Room};
use crate::{
    call_limits::call,
    compile::metering::Metering,
    fault::{Fault, FaultKind},
    judge::{Judge, Needs, Progress, Unjudgeable},
    upstream::BodyCheck,
};

/// What was found in a body so far. Shared by the check, which the upload has, and by the request.
#[derive(Debug, Clone)]
pub(super) struct Judged(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    model: Option<String>,
    cap: Option<u64>,
    /// Bytes without the content coding.
    bytes: u64,
    /// All that is needed was found.
    is_found: bool,
    refused: Option<Refused>,
}

#[derive(Debug)]
enum Refused {
    Unjudgeable(Unjudgeable),
    /// The content coding is unknown or damaged, or expands too far.
    Coding,
}

/// The check of a body.
#[derive(Debug)]
struct Check {
    /// None after the end.
    decoder: Option<Decoder<Reading>>,
    judged: Judged,
    _room: Option<Room>,
}

/// Takes the bytes of a body without its content coding.
#[derive(Debug)]
struct Reading {
    judge: Judge,
    judged: Judged,
    wants_size: bool,
}

/// The check of a body that has such headers and such a query, for what is needed of it. `wants_size`: all of it is read for its
/// size, as far as it may be.
pub(super) fn check(
    metering: Option<&Metering>,
    headers: &HeaderMap,
    query: Option<&str>,
    (needs, wants_size): (Needs, bool),
    budget: &Budget,
) -> Result<(Box<dyn BodyCheck>, Judged), Fault> {
    let content_type = only(headers, &header::CONTENT_TYPE, "Content-Type")?;
    let coding = only(headers, &header::CONTENT_ENCODING, "Content-Encoding")?;
    let judge = call::judge(metering, content_type, query, needs)?;
    let judged = Judged(Arc::default());
    let mut decoder = Decoder::new(Reading { judge, judged: judged.clone(), wants_size });
    let mut room = None;
    if let Some(coding) = coding {
        let taken = budget.take(coding).ok_or_else(|| {
            let message =
                "Too many bodies with a content coding are read now: try again, or send it without one";
            Fault::new(FaultKind::Overloaded, message)
        })?;
        room = Some(taken);
        decoder.set_coding(coding);
    }
    let check = Check { decoder: Some(decoder), judged: judged.clone(), _room: room };
    Ok((Box::new(check), judged))
}

/// The value of a header that a body may have once.
fn only<'h>(
    headers: &'h HeaderMap,
    name: &header::HeaderName,
    shown: &str,
) -> Result<Option<&'h [u8]>, Fault> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        let message = format!(
            "The request has `{shown}` twice, so that its body could be read in two ways: send it once"
        );
        return Err(Fault::new(FaultKind::UnjudgeableBody, message));
    }
    Ok(first.map(http::HeaderValue::as_bytes))
}

impl Judged {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model, so far.
    pub(super) fn model(&self) -> Option<String> {
        self.lock().model.clone()
    }

    /// The cap on the tokens of the answer, so far.
    pub(super) fn cap(&self) -> Option<u64> {
        self.lock().cap
    }

    /// Bytes that were read, without the content coding.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The reason for which the body was refused, if it was.
    pub(super) fn fault(&self) -> Option<Fault> {
        match &self.lock().refused {
            None => None,
            Some(Refused::Unjudgeable(problem)) => Some(call::unjudgeable(problem)),
            Some(Refused::Coding) => {
                let message = "The content coding of the body is unknown or damaged, or it expands too far. A limit or a rule of this \
                               tollgate needs what the body says: send it without a content coding";
                Some(Fault::new(FaultKind::UnjudgeableBody, message))
            }
        }
    }
}

impl BodyCheck for Check {
    fn data(&mut self, data: &[u8]) -> bool {
        if let Some(decoder) = &mut self.decoder {
            decoder.decode(data);
        }
        self.judged.lock().refused.is_none()
    }

    fn end(&mut self) -> bool {
        if let Some(mut reading) = self.decoder.take().and_then(|decoder| decoder.finish(true)) {
            reading.end();
        }
        self.judged.lock().refused.is_none()
    }

    fn is_satisfied(&self) -> bool {
        self.judged.lock().is_found
    }
}

impl Reading {
    fn end(&mut self) {
        let ended = self.judge.end();
        self.note(ended.map(|()| Progress::Found));
    }

    fn note(&mut self, read: Result<Progress, Unjudgeable>) {
        let mut state = self.judged.lock();
        match read {
            Ok(progress) => {
                state.is_found = progress == Progress::Found && !self.wants_size;
                if state.model.as_deref() != self.judge.model() {
                    state.model = self.judge.model().map(str::to_owned);
                }
                state.cap = self.judge.max_output();
            }
            Err(problem) => drop(state.refused.get_or_insert(Refused::Unjudgeable(problem))),
        }
    }
}

impl Plain for Reading {
    fn bytes(&mut self, bytes: &[u8]) {
        self.judged.lock().bytes += bytes.len() as u64;
        let read = self.judge.feed(bytes);
        self.note(read);
    }

    fn undecodable(&mut self) {
        self.judged.lock().refused.get_or_insert(Refused::Coding);
    }
}
