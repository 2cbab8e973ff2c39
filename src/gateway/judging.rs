//! The check of a request's body for rules and limits: which model it names, and how much it lets the answer have.
//!
//! It guarantees: a copy is read, without its content coding; no byte is changed. A body that could be read in two ways is
//! refused, and if that shows late, the upload is cut before its end. Read next: `judge` in the engine.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, header, request::Parts};

use super::coding::{Budget, Decoder, Plain, Room};
use crate::{
    call_limits::call::{self, BodyFacts, Selected},
    compile::metering::Metering,
    fault::{Fault, FaultKind},
    judge::{Judge, Needs, Progress, Unjudgeable},
    name::UserId,
    upstream::BodyCheck,
};

/// What was found in a body so far. Shared by the check, which the upload has, and by the request.
#[derive(Debug, Clone)]
pub(super) struct Judged(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    model: Option<String>,
    other_models: Vec<String>,
    cap: Option<u64>,
    /// Bytes without the content coding.
    bytes: u64,
    /// What the call was admitted with, if the body went on then.
    admitted: Option<Admitted>,
    /// All that is needed was found.
    is_found: bool,
    is_strict: bool,
    refused: Option<Refused>,
}

/// A call that was admitted before the end of its body.
#[derive(Debug)]
struct Admitted {
    selected: Arc<Selected>,
    body: BodyFacts,
}

#[derive(Debug)]
enum Refused {
    Unjudgeable(Unjudgeable),
    /// What comes late is beyond what the call was admitted with.
    Late(Fault),
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
    _share: Share,
}

/// Takes the bytes of a body without its content coding.
#[derive(Debug)]
struct Reading {
    judge: Judge,
    judged: Judged,
    wants_size: bool,
}

/// What is wanted of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// What has to be found.
    pub(super) needs: Needs,
    /// All of it is read for its size, as far as it may be.
    pub(super) wants_size: bool,
    /// A body that could be read in two ways is refused. Else it passes, and nothing is known of it.
    pub(super) is_strict: bool,
}

/// The requests of each user whose bodies are read, so that no user takes the memory of all.
#[derive(Debug, Clone, Default)]
pub struct JudgedBodies(Arc<Mutex<HashMap<UserId, usize>>>);

/// The most bodies of one user that a worker reads at once. One with a content coding counts as several.
const MAX_BODIES: usize = 32;
const ENCODED_WEIGHT: usize = 8;

/// A place among the bodies that are read.
#[derive(Debug)]
pub(super) struct Share {
    bodies: JudgedBodies,
    user: UserId,
    weight: usize,
}

impl JudgedBodies {
    /// A place for a body with such headers.
    pub(super) fn enter(&self, user: &UserId, headers: &HeaderMap) -> Result<Share, Fault> {
        let weight = if headers.contains_key(header::CONTENT_ENCODING) { ENCODED_WEIGHT } else { 1 };
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = users.get(user).copied().unwrap_or(0);
        if taken + weight > MAX_BODIES {
            let message = "Too many of your requests are sending bodies that a limit or a rule has to read: wait until one has ended";
            return Err(Fault::new(FaultKind::UserConcurrency, message));
        }
        users.insert(user.clone(), taken + weight);
        Ok(Share { bodies: self.clone(), user: user.clone(), weight })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut users = self.bodies.0.lock().unwrap_or_else(PoisonError::into_inner);
        match users.get_mut(&self.user) {
            Some(taken) if *taken > self.weight => *taken -= self.weight,
            _ => drop(users.remove(&self.user)),
        }
    }
}

/// The check of the body of a request, for what is wanted of it.
pub(super) fn check(
    metering: Option<&Metering>,
    head: &Parts,
    Wanted { needs, wants_size, is_strict }: Wanted,
    (share, budget): (Share, &Budget),
) -> Result<(Box<dyn BodyCheck>, Judged), Fault> {
    let content_type = only(&head.headers, &header::CONTENT_TYPE, "Content-Type")?;
    let coding = only(&head.headers, &header::CONTENT_ENCODING, "Content-Encoding")?;
    let judge = call::judge(metering, content_type, head.uri.query(), needs)?;
    let judged = Judged(Arc::new(Mutex::new(State { is_strict, ..State::default() })));
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
    let check = Check { decoder: Some(decoder), judged: judged.clone(), _room: room, _share: share };
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

impl State {
    fn passes(&self) -> bool {
        self.refused.is_none() || !self.is_strict
    }

    fn other_model(&mut self, model: &str) {
        self.other_models.push(model.to_owned());
        let Some(Admitted { selected, body }) = &self.admitted else { return };
        if let Err(fault) = selected.check_late_model(body, model) {
            self.refused.get_or_insert(Refused::Late(fault));
        }
    }

    /// A cap that grows after a limit has reserved the most would let the request use more.
    fn check_cap(&mut self) {
        let Some(Admitted { selected, body }) = &self.admitted else { return };
        if selected.has_bound() && body.cap.is_some_and(|cap| self.cap > Some(cap)) {
            let message = "The body asks for more answers, or has more prompts, than its first part says, and a limit of this tollgate reserves the most: send a smaller body";
            self.refused.get_or_insert(Refused::Late(Fault::new(FaultKind::BodyTooLargeToJudge, message)));
        }
    }
}

impl Judged {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found so far. It is not known whether the size is that of all.
    pub(super) fn found(&self) -> BodyFacts {
        let State { model, other_models, cap, bytes, .. } = &*self.lock();
        BodyFacts {
            model: model.clone(),
            other_models: other_models.clone(),
            cap: *cap,
            bytes: *bytes,
            is_exact: false,
        }
    }

    /// The call is admitted with what is known of its body, and the rest of the body has to agree.
    pub(super) fn admit(&self, selected: &Arc<Selected>, body: &BodyFacts) {
        self.lock().admitted = Some(Admitted { selected: Arc::clone(selected), body: body.clone() });
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
            Some(Refused::Late(fault)) => Some(fault.clone()),
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
        self.judged.lock().passes()
    }

    fn end(&mut self) -> bool {
        if let Some(mut reading) = self.decoder.take().and_then(|decoder| decoder.finish(true)) {
            reading.end();
        }
        self.judged.lock().passes()
    }

    fn is_satisfied(&self) -> bool {
        let state = self.judged.lock();
        state.is_found || state.refused.is_some()
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
                for model in &self.judge.other_models()[state.other_models.len()..] {
                    state.other_model(model);
                }
                state.check_cap();
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
