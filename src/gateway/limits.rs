//! Limits and rules of a call: its body is judged as far as they need it, all limits admit it or none counts it, and at its end
//! what it used is settled.
//!
//! It guarantees: a call that is refused was not sent, or its body was cut before its end. Read next: `judging` for bodies,
//! `limits` for the counters, `call` in the engine for the rules.

use std::sync::Arc;

use super::{
    InFlight, Worker,
    context::RequestContext,
    judging::{self, Judged, Wanted},
    relay::{Outbound, send_fault},
};
use crate::{
    access_record::{AccessRecord, Usage},
    accounts::Caller,
    call_limits::{
        call::{BodyFacts, CallOf, Selected, token_kind},
        refuse::exceeded,
        take::{Learned, Reckoning, used},
    },
    clock::now_ms,
    compile::{CallFacts, KeyOwner},
    day::Day,
    fault::{Fault, FaultKind, LimitRefusal},
    judge::{MAX_MODEL, Needs},
    limits::{Admitted, Refusal},
    name::Owner,
    table::{Hit, Table},
    upstream::{ReadChecked, Upload},
};

/// The longest wait that a client is asked to make by itself, in seconds.
const MAX_RETRY_S: u64 = 60;

/// The limits and rules for a call, with what is known of it.
#[derive(Debug)]
pub(super) struct Limiting<'r> {
    selected: Arc<Selected>,
    facts: CallFacts<'r>,
    hit: &'r Hit,
    /// The model in the path.
    path_model: Option<String>,
}

/// A call that its limits admitted.
#[derive(Debug)]
pub(super) struct Limited {
    admitted: Admitted,
    table: Arc<Table>,
    day: Day,
    /// The size of the request's body without a content coding, as far as it was known.
    body_bytes: u64,
    /// What was found in the body, if it was judged.
    judged: Option<Judged>,
}

/// The limits and rules for a call that is sent with the credential of this owner. None if there are none.
pub(super) fn select<'r>(
    Outbound { request: InFlight { table, head, .. }, call, caller }: Outbound<'r>,
    owner: Option<&Owner>,
) -> Result<Option<Limiting<'r>>, Fault> {
    if table.limits.is_empty() {
        return Ok(None);
    }
    let hit = &call.hit;
    let facts = facts(caller, hit, owner);
    let Some(selected) = Selected::of(&table.limits, &facts)? else { return Ok(None) };
    let path_model = hit.captured_model(head.uri.path());
    if path_model.as_ref().is_some_and(|model| model.len() > MAX_MODEL) {
        let message = format!("The path has a model of more than {MAX_MODEL} bytes: send its name");
        return Err(Fault::new(FaultKind::UnjudgeableBody, message));
    }
    Ok(Some(Limiting { selected: Arc::new(selected), facts, hit, path_model }))
}

fn facts<'r>(caller: &'r Caller, hit: &'r Hit, owner: Option<&Owner>) -> CallFacts<'r> {
    let token = &caller.token;
    let call = CallOf {
        user: (&caller.id, &caller.name),
        group: caller.group.as_ref(),
        token: (&token.id, token_kind(token.kind, token.paste.is_some())),
        key: KeyOwner::of(owner),
    };
    call.to(hit)
}

impl Limiting<'_> {
    /// True if the body has to be read before the call is sent. `size`: that of the body, if it is known.
    pub(super) fn needs_body(&self, size: Option<u64>) -> bool {
        let needs = self.needs();
        needs.any() || (size.is_none() && self.selected.needs_size())
    }

    fn needs(&self) -> Needs {
        self.selected.needs(self.hit.endpoint(), self.path_model.as_deref())
    }

    /// Admits a call whose body need not be read.
    pub(super) async fn admit(
        self,
        size: u64,
        request: InFlight<'_>,
        context: &mut RequestContext,
    ) -> Result<(), Fault> {
        let body =
            BodyFacts { model: self.path_model.clone(), bytes: size, is_exact: true, ..BodyFacts::default() };
        self.admit_with(body, None, request, context).await
    }

    /// Judges the body, and admits the call. The rest of the body is judged while it is sent.
    pub(super) async fn admit_body(
        self,
        upload: Upload,
        request: InFlight<'_>,
        context: &mut RequestContext,
    ) -> Result<Upload, Fault> {
        let InFlight { worker, head, .. } = request;
        let endpoint = self.hit.endpoint();
        let needs = self.needs();
        let size = upload.size().filter(|_| !head.headers.contains_key(http::header::CONTENT_ENCODING));
        let wants_size = size.is_none() && self.selected.needs_size();
        let is_strict = self.selected.is_strict();
        let checked = worker.judging.enter(self.facts.user, &head.headers).and_then(|share| {
            let what = Wanted { needs, wants_size, is_strict };
            judging::check(
                endpoint.judged().map(|metering| &**metering),
                head,
                what,
                (share, &worker.decoding),
            )
        });
        let (check, judged) = match checked {
            Ok(checked) => checked,
            Err(fault) if is_strict => return Err(fault),
            // A limit that only warns refuses nothing: it counts without knowing the body.
            Err(_) => {
                self.admit(size.unwrap_or_default(), request, context).await?;
                return Ok(upload);
            }
        };
        context.set_judged(judged.clone());
        let mut upload = upload.checked(check);
        let wait = endpoint.timeouts.first_byte;
        let read = worker.upstream.read_checked(&mut upload, worker.judged_body, wait).await;
        let read = read.map_err(|error| send_fault(&error, self.hit, context))?;
        // Such as one whose content coding is unknown: nothing of it has to be read for that.
        if let Some(fault) = judged.fault().filter(|_| is_strict) {
            return Err(fault);
        }
        if read == ReadChecked::NoRoom && is_strict {
            let message = "Too many bodies are held in memory for limits now: try again";
            return Err(Fault::new(FaultKind::Overloaded, message));
        }
        let found = judged.found();
        let model = self.path_model.clone().or(found.model);
        if needs.model && model.is_none() && read == ReadChecked::TooLarge && is_strict {
            return Err(too_large(worker));
        }
        let has_no_cap = needs.max_output && found.cap.is_none() && self.selected.has_bound();
        if has_no_cap && read == ReadChecked::TooLarge && is_strict {
            return Err(too_large(worker));
        }
        let is_whole = read == ReadChecked::Whole;
        let bytes = size.filter(|_| !is_whole).unwrap_or(found.bytes);
        let body = BodyFacts { model, bytes, is_exact: is_whole || size.is_some(), ..found };
        if !is_whole {
            judged.admit(&self.selected, &body);
        }
        self.admit_with(body, Some(judged), request, context).await?;
        Ok(upload)
    }

    async fn admit_with(
        self,
        body: BodyFacts,
        judged: Option<Judged>,
        InFlight { worker, table, .. }: InFlight<'_>,
        context: &mut RequestContext,
    ) -> Result<(), Fault> {
        self.selected.check_models(&self.facts, self.hit.endpoint(), &body)?;
        let (states, now) = (&worker.limits, now_ms());
        let day = Day::of_seconds(now / 1000);
        let extra = |limit: &crate::compile::Limit| states.grants().extra(&limit.id, self.facts.user, now);
        let takes = |learned: &Learned| {
            let reckoning = Reckoning { prices: &table.prices, day, learned };
            self.selected.takes(&self.facts, &body, reckoning, extra)
        };
        let mut takes = if self.selected.needs_size() {
            states.with_learned(takes)
        } else {
            // Nothing learned is asked for: no lock is taken.
            takes(&Learned::default())
        }?;
        if takes.is_empty() {
            return Ok(());
        }
        states.keep_windows(&table.limits, &mut takes);
        let admitted = states.admit(takes, now).map_err(|refusal| {
            let Refusal { limit, refused, asked, amount } = &*refusal;
            exceeded(limit, refused, *asked, *amount)
        })?;
        if let Some(covering) = admitted.covering()
            && !covering.wait().await
        {
            tracing::warn!(
                request_id = context.request_id(),
                "the store did not answer in time: a limit of requests may admit a few too many if the process is killed now"
            );
        }
        context.set_limited(Limited { admitted, table: table.clone(), day, body_bytes: body.bytes, judged });
        Ok(())
    }
}

/// The fault of a call whose body was refused while it was sent.
pub(super) fn refused(context: &RequestContext) -> Fault {
    context.judged().and_then(Judged::fault).unwrap_or_else(|| {
        Fault::new(
            FaultKind::UnjudgeableBody,
            "The request's body could be read in two ways, and a limit or a rule needs it",
        )
    })
}

fn too_large(worker: &Worker) -> Fault {
    let message = format!(
        "A limit or a rule of this tollgate needs the model, or the cap on the tokens of the answer, and it is not within the first {} \
         bytes of the body: send it before the rest",
        worker.judged_body
    );
    Fault::new(FaultKind::BodyTooLargeToJudge, message)
}

/// True if a client should not send the request again by itself.
pub(super) fn is_final(refusal: &LimitRefusal) -> bool {
    refusal.retry_after_s.is_none_or(|seconds| seconds > MAX_RETRY_S)
}

impl Limited {
    /// Settles the call at its end.
    pub(super) fn settle(self, worker: &Worker, record: &AccessRecord, usage: Option<&Usage>) {
        let Self { admitted, table, day, body_bytes, judged } = self;
        let Some(provider) = &record.provider else { return };
        let provider = provider.as_str();
        let body_bytes = judged.map_or(body_bytes, |judged| judged.bytes().max(body_bytes));
        let completed = usage.map(|usage| {
            let mut usage = usage.clone();
            worker.limits.learn(provider, &mut usage, body_bytes);
            usage
        });
        let fate = Fate::of(record, completed.as_ref());
        let bytes = record.bytes_in.saturating_add(record.bytes_out);
        let of_call = |limit: &crate::compile::Limit, reserved: i128| {
            let amount = used(limit.measure, provider, completed.as_ref(), bytes, (&table.prices, day));
            match fate {
                Fate::NotSent => None,
                Fate::Unknown if limit.measure.needs_usage() => Some(amount.max(reserved)),
                Fate::Counted | Fate::Unknown => Some(amount),
            }
        };
        admitted.settle(of_call, now_ms());
    }

    /// The values of the header that says what is left.
    pub(super) fn header(&self) -> Vec<String> {
        let standings = self.admitted.standings(now_ms());
        let one = |standing: &crate::limits::Standing<'_>| {
            let (limit, left) = (standing.limit, standing.limit.measure.exact(standing.left));
            let now = now_ms();
            let reset = standing
                .resets_at_ms
                .map_or_else(String::new, |at| format!("; reset={}", at.saturating_sub(now).div_ceil(1000)));
            format!("{}; measure={}; left={left}{reset}", limit.id, limit.measure)
        };
        standings.iter().map(one).collect()
    }
}

/// What is known of the usage of an ended call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing was sent: it used nothing.
    NotSent,
    /// It used what was counted, which may be nothing.
    Counted,
    /// The upstream may have made an answer that nobody counted: at least what was reserved.
    Unknown,
}

impl Fate {
    fn of(record: &AccessRecord, usage: Option<&Usage>) -> Self {
        if record.upstream.is_none() || record.fault.is_some_and(is_before_sending) {
            return Self::NotSent;
        }
        let is_uncounted = usage.is_some_and(|usage| {
            // The part of a stream that came is estimated from its text.
            usage.not_counted.is_some() || usage.to_estimate.answer && !usage.streamed
        });
        match (record.fault, record.status) {
            (Some(FaultKind::UpstreamTimeout), _) | (None, None) => Self::Unknown,
            (None, Some(status)) if status.is_success() && is_uncounted => Self::Unknown,
            _ => Self::Counted,
        }
    }
}

/// True for the faults of requests of which nothing reached the upstream.
fn is_before_sending(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::UpstreamDns
            | FaultKind::UpstreamDnsTimeout
            | FaultKind::UpstreamDnsBusy
            | FaultKind::UpstreamForbidden
            | FaultKind::UpstreamRefused
            | FaultKind::UpstreamUnreachable
            | FaultKind::LocalError
            | FaultKind::ProxyFailed
            | FaultKind::UpstreamConnectTimeout
            | FaultKind::UpstreamTls
    )
}
