//! The limits and rules of an explained request: which are for it, what it would take of each, and whether they let it pass. It
//! runs the functions that requests run, and counts nothing.
//!
//! What is used already is known to a server alone: it gives a [`Counting`].

use super::{CallLimits, Explainer, LimitOfCall, Position, RuleOfCall, Verdict, error_reply};
use crate::{
    base::{
        day::Day,
        diag::Location,
        fault::Fault,
        name::{GroupName, Owner, TokenId, UserId},
    },
    language::{
        compile::{Allow, CallFacts, KeyOwner, Limit, Prices},
        syntax::OverValue,
    },
    request::limits::{
        admit::{Held, admit_call},
        call::{BodyFacts, CallOf, Selected, token_kind},
        concurrent::Concurrent,
        counter::Counter,
        refuse::exceeded,
        take::{Learned, Reckoning, Take},
        terms::Balance,
    },
};

/// What decides about limits besides the head and the credentials.
#[derive(Debug, Clone, Default)]
pub struct Calling {
    /// The caller's id.
    pub user: Option<UserId>,
    /// The caller's group.
    pub group: Option<GroupName>,
    /// The token.
    pub token: Option<TokenId>,
    /// The body without a content coding. None if it is not known.
    pub body: Option<Vec<u8>>,
    /// The time of the request, in milliseconds since 1970.
    pub now_ms: u64,
}

/// What is counted and learned.
pub trait Counting {
    /// What a call takes of its limits.
    fn takes(
        &self,
        selected: &Selected,
        call: &CallFacts<'_>,
        body: &BodyFacts,
        prices: (&Prices, Day),
    ) -> Result<Vec<Take>, Fault>;

    /// What is used of the amount that a call takes of. None if it is not known.
    fn balance(&self, take: &Take) -> Option<Balance>;

    /// Fails if a limit has no room for a call.
    fn admits(&self, takes: &[Take]) -> Result<(), Fault>;
}

/// Nothing is known of what was used.
#[derive(Debug, Clone, Copy)]
pub struct NothingCounted;

impl Counting for NothingCounted {
    fn takes(
        &self,
        selected: &Selected,
        call: &CallFacts<'_>,
        body: &BodyFacts,
        (prices, day): (&Prices, Day),
    ) -> Result<Vec<Take>, Fault> {
        let learned = Learned::default();
        selected.takes(call, body, Reckoning { prices, day, learned: &learned }, |_| 0)
    }

    fn balance(&self, _: &Take) -> Option<Balance> {
        None
    }

    fn admits(&self, takes: &[Take]) -> Result<(), Fault> {
        let mut unused: Vec<_> = takes.iter().map(|_| (Counter::default(), Concurrent::default())).collect();
        let mut held: Vec<Held<'_>> =
            unused.iter_mut().map(|(counter, running)| Held { counter, running }).collect();
        // At any time, nothing is used.
        let Err(refusal) = admit_call(&mut held, takes, 0) else { return Ok(()) };
        let take = &takes[refusal.index];
        Err(exceeded(&take.limit, &refusal.refused, take.asked, take.terms.amount))
    }
}

/// A request whose limits are explained.
struct Explained<'a> {
    explainer: &'a Explainer<'a>,
    facts: CallFacts<'a>,
    path_model: Option<String>,
}

/// The refusal of a request, and the place of the limit or rule.
type Refused = (Fault, Option<Location>);

/// The limits and rules of a request that is sent with the credential of this owner. `sends_none`: no credential is sent.
pub(super) fn limits(explainer: &Explainer<'_>, owner: Option<&Owner>, sends_none: bool) -> CallLimits {
    let caller = explainer.caller;
    let Calling { user, group, token, body: _, now_ms: _ } = &caller.calling;
    let stand_in = |prefix: &str| format!("{prefix}0000000000000000");
    let user = user.clone().or_else(|| UserId::new(&stand_in(UserId::PREFIX)));
    let token = token.clone().or_else(|| TokenId::new(&stand_in(TokenId::PREFIX)));
    let (Some(user), Some(token)) = (user, token) else { return CallLimits::default() };
    let hit = explainer.hit;
    let call = CallOf {
        user: (&user, &caller.user),
        group: group.as_ref(),
        token: (&token, token_kind(caller.access.kind, caller.access.paste.is_some())),
        key: match owner {
            None if !sends_none => KeyOwner::Own,
            owner => KeyOwner::of(owner),
        },
    };
    let facts = call.to(hit);
    let path_model = hit.captured_model(explainer.head.uri.path());
    Explained { explainer, facts, path_model }.all()
}

impl Explained<'_> {
    fn all(&self) -> CallLimits {
        let table = self.explainer.context.table;
        let (limits, facts) = (&*table.limits, &self.facts);
        if limits.is_empty() {
            return CallLimits::default();
        }
        let rules: Vec<_> = limits.rules(facts).collect();
        let mut depends_on = Vec::new();
        let mut body = BodyFacts { model: self.path_model.clone(), ..BodyFacts::default() };
        let result = Selected::of(limits, facts)
            .map_err(|fault| (fault, rules.first().map(|rule| rule.at.clone())))
            .and_then(|selected| match selected {
                Some(selected) => self.takes(&selected, &mut body, &mut depends_on),
                None => Ok(Vec::new()),
            });
        let refused = match &result {
            Err(refused) => Some(refused.clone()),
            Ok(takes) if depends_on.is_empty() => self.exceeded(takes),
            Ok(_) => None,
        };
        let takes = result.unwrap_or_default();
        let matching = limits.matching(facts).filter(|limit| {
            body.model.is_none() && !depends_on.is_empty()
                || limit.filter.matches_model(body.model.as_deref())
        });
        let limits = matching.map(|limit| {
            let take = takes.iter().find(|take| take.limit.id == limit.id);
            self.limit(limit, take, depends_on.is_empty() && refused.is_none())
        });
        let limits = limits.collect();
        CallLimits {
            rules: rules.iter().map(|rule| self.rule(rule, body.model.as_deref())).collect(),
            limits,
            verdict: match (&refused, depends_on.is_empty()) {
                (Some(_), _) => Verdict::Refused,
                (None, true) => Verdict::Allowed,
                (None, false) => Verdict::Depends,
            },
            depends_on,
            at: refused.as_ref().and_then(|(_, at)| self.position(at.as_ref()?)),
            fault: refused.map(|(fault, _)| error_reply(&fault)),
        }
    }

    /// What the call takes. Empty if that depends on its body, which is not known.
    fn takes(
        &self,
        selected: &Selected,
        body: &mut BodyFacts,
        depends_on: &mut Vec<String>,
    ) -> Result<Vec<Take>, Refused> {
        let Explainer { head, hit, caller, context, counting, .. } = self.explainer;
        let (endpoint, path_model) = (hit.endpoint(), self.path_model.as_deref());
        let needs = selected.needs(endpoint, path_model);
        let has_body = !matches!(head.method, http::Method::GET | http::Method::HEAD);
        let no_body = (!has_body).then_some(&[][..]);
        if let Some(bytes) = caller.calling.body.as_deref().or(no_body) {
            let content_type = head.headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
            let found = selected.body_facts(endpoint, path_model, (content_type, head.uri.query()), bytes);
            *body = found.map_err(|fault| (fault, None))?;
        } else {
            let size = selected.needs_size();
            let parts = [
                (needs.model || needs.other_models, "model"),
                (needs.max_output, "max_output"),
                (size, "size"),
            ];
            let needed = parts.iter().filter(|(is_needed, _)| *is_needed);
            depends_on.extend(needed.map(|(_, part)| (*part).to_owned()));
            if !depends_on.is_empty() {
                return Ok(Vec::new());
            }
        }
        let rule = || context.table.limits.rules(&self.facts).next().map(|rule| rule.at.clone());
        selected.check_models(&self.facts, endpoint, body).map_err(|fault| (fault, rule()))?;
        let day = Day::of_seconds(caller.calling.now_ms / 1000);
        let takes = counting.takes(selected, &self.facts, body, (&context.table.prices, day));
        takes.map_err(|fault| {
            // The limit is named in the message alone.
            let named = |limit: &&std::sync::Arc<Limit>| fault.message.contains(&format!("`{}`", limit.id));
            let at = selected.for_body(body).find(named).map(|limit| limit.at.clone());
            (fault, at)
        })
    }

    /// The refusal of a limit that has no room.
    fn exceeded(&self, takes: &[Take]) -> Option<Refused> {
        let fault = self.explainer.counting.admits(takes).err()?;
        let id = fault.limit.as_ref().map(|refusal| refusal.id.clone());
        let at =
            takes.iter().find(|take| Some(&take.limit.id) == id.as_ref()).map(|take| take.limit.at.clone());
        Some((fault, at))
    }

    fn limit(&self, limit: &Limit, take: Option<&Take>, is_known: bool) -> LimitOfCall {
        let measure = limit.measure;
        let balance = take.and_then(|take| self.explainer.counting.balance(take));
        let amount = match take {
            Some(take) => Some(take.terms.amount),
            None => limit.amount_of(self.facts.user_name),
        };
        LimitOfCall {
            id: limit.id.to_string(),
            measure: measure.name().into(),
            amount: amount.map(|amount| measure.shown(amount)),
            window: Some(limit.window_text()).filter(|text| !text.is_empty()),
            per: limit.per_text(),
            rejects: limit.over == OverValue::Reject,
            reserves: match take {
                Some(take) => Some(measure.shown(take.asked)),
                None => is_known.then(|| measure.shown(0)),
            },
            left: balance.map(|balance| measure.shown(balance.left)),
            at: self.position(&limit.at),
        }
    }

    fn rule(&self, rule: &Allow, model: Option<&str>) -> RuleOfCall {
        let Allow { at, caller: _, providers, endpoints, models } = rule;
        let is_for = rule.allows_endpoint(&self.facts);
        RuleOfCall {
            providers: providers.text(),
            endpoints: endpoints.text(),
            models: models.text(),
            allows: match model {
                _ if !is_for => Some(false),
                _ if models.is_any() => Some(true),
                Some(model) => Some(models.matches(model)),
                None => None,
            },
            at: self.position(at),
        }
    }

    fn position(&self, at: &Location) -> Option<Position> {
        super::positions::position(self.explainer.context.sources, at)
    }
}
