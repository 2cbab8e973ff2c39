//! What limits and rules say of a call: first by its head, then by its body.
//!
//! It guarantees: a call that a rule is for passes only if the rule allows its model, as the upstream will read it. A limit that
//! needs the model or the cap of a call never guesses them. It counts nothing: [`admit`](super::admit) does.
//!
//! Read next: [`take`](super::take) for the amounts, [`judge`](crate::request::judge) for bodies.

use std::{borrow::Cow, sync::Arc};

use http::Method;

use crate::{
    base::{
        fault::{Fault, FaultKind},
        name::{GroupName, TokenId, UserId},
    },
    language::{
        bind,
        compile::{
            Allow, CallFacts, KeyOwner, Limit, Limits,
            metering::{Metering, places::Places},
        },
        syntax::{OverValue, Per, ReserveValue, TokenKindValue},
    },
    request::{
        decide::TokenKind,
        judge::{Judge, Needs, Unjudgeable, query_names_model},
        table::Hit,
    },
};

/// The limits and rules for a call.
#[derive(Debug)]
pub struct Selected {
    /// By id. Those for models are among them, whatever the model.
    limits: Vec<Arc<Limit>>,
    /// The rules for the caller that allow the endpoint. None if no rule is for the caller.
    rules: Option<Vec<Arc<Allow>>>,
}

/// The caller of a call, and the owner of the credential that it is sent with.
#[derive(Debug, Clone, Copy)]
pub struct CallOf<'c> {
    /// The user's id, and name.
    pub user: (&'c UserId, &'c str),
    /// The user's group.
    pub group: Option<&'c GroupName>,
    /// The token, and its kind.
    pub token: (&'c TokenId, TokenKindValue),
    /// The owner of the credential.
    pub key: KeyOwner,
}

/// What is known of a call's body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodyFacts {
    /// The model, from the path or the body.
    pub model: Option<String>,
    /// The models that the upstream may call besides it, or in its place.
    pub other_models: Vec<String>,
    /// The greatest number of tokens of all answers that the body allows.
    pub cap: Option<u64>,
    /// The size of the body without a content coding, in bytes: as far as it is known.
    pub bytes: u64,
    /// True if the body is not larger than `bytes`.
    pub is_exact: bool,
}

impl BodyFacts {
    /// The models that the upstream may call, the first one first.
    pub fn models(&self) -> impl Iterator<Item = &str> + Clone {
        self.model.iter().chain(&self.other_models).map(String::as_str)
    }
}

impl<'c> CallOf<'c> {
    /// What is known of the call of an endpoint, but for its body.
    pub fn to(self, hit: &'c Hit) -> CallFacts<'c> {
        let Self { user: (user, user_name), group, token: (token, token_kind), key } = self;
        let endpoint = hit.endpoint();
        CallFacts {
            user,
            user_name,
            group,
            token,
            token_kind,
            provider: &hit.provider.name,
            endpoint: &endpoint.name,
            is_metered: endpoint.metering.as_ref().is_some_and(|metering| metering.counts_any()),
            counts_answer: endpoint.metering.as_ref().is_some_and(|metering| metering.counts_answer()),
            has_cap: endpoint.metering.as_ref().is_some_and(|metering| metering.has_cap()),
            key,
        }
    }
}

/// The kind of a token that calls a provider, as limits name it.
pub const fn token_kind(kind: TokenKind, is_paste: bool) -> TokenKindValue {
    match kind {
        _ if is_paste => TokenKindValue::Paste,
        TokenKind::Both | TokenKind::Manage | TokenKind::Session => TokenKindValue::Both,
        TokenKind::Proxy => TokenKindValue::Proxy,
    }
}

impl Selected {
    /// The limits and rules for a call. None if there are none. A fault if no rule for the caller allows the endpoint.
    pub fn of(limits: &Limits, call: &CallFacts<'_>) -> Result<Option<Self>, Fault> {
        if limits.is_empty() {
            return Ok(None);
        }
        let is_exempt = |limit: &Limit| limit.amount_of(call.user_name).is_none();
        let matching: Vec<_> = limits.matching(call).filter(|limit| !is_exempt(limit)).cloned().collect();
        let rules = limits.rules(call);
        let has_rules = rules.clone().next().is_some();
        let allowing: Vec<_> = rules.filter(|rule| rule.allows_endpoint(call)).cloned().collect();
        if has_rules && allowing.is_empty() {
            return Err(endpoint_not_allowed(call));
        }
        if matching.is_empty() && !has_rules {
            return Ok(None);
        }
        Ok(Some(Self { limits: matching, rules: has_rules.then_some(allowing) }))
    }

    /// The limits, by id. Those for models are among them, whatever the model.
    pub fn limits(&self) -> &[Arc<Limit>] {
        &self.limits
    }

    /// What has to be known of the call's body. `endpoint` is that of the call, `path_model` the model in its path.
    pub fn needs(&self, endpoint: &bind::Endpoint, path_model: Option<&str>) -> Needs {
        let model = self.rules_on_models() || self.limits.iter().any(|limit| limit.needs_model());
        let metering = endpoint.judged();
        Needs {
            model: path_model.is_none() && model && metering.is_some_and(|one| one.names_model()),
            other_models: model && metering.is_some_and(|one| one.names_other_models()),
            max_output: self.limits.iter().any(|limit| limit.needs_cap())
                && metering.is_some_and(|one| one.has_cap()),
            bound: self.has_bound(),
            is_estimate: !self.has_bound(),
            to_the_end: metering.is_some_and(|one| one.names_other_models())
                && self.limits.iter().any(|limit| limit.needs_all_models()),
        }
    }

    /// True if a limit reserves what the size of the body says.
    pub fn needs_size(&self) -> bool {
        self.limits.iter().any(|limit| limit.measure.needs_usage() && limit.reserve != ReserveValue::None)
    }

    /// True if a limit is never exceeded, so that the request has to be bounded.
    pub fn has_bound(&self) -> bool {
        self.limits.iter().any(|limit| limit.needs_bound())
    }

    /// True if a body that could be read in two ways has to be refused: a rule on models, or a limit that refuses, needs it.
    pub fn is_strict(&self) -> bool {
        let rejects = |limit: &Arc<Limit>| limit.over == OverValue::Reject;
        self.rules_on_models()
            || self
                .limits
                .iter()
                .filter(|limit| rejects(limit))
                .any(|limit| limit.needs_model() || limit.needs_bound())
    }

    /// What a body says that is known as a whole. A fault if it could be read in two ways, unless all that needs it only warns. It was
    /// sent with a content type and a query.
    pub fn body_facts(
        &self,
        endpoint: &bind::Endpoint,
        path_model: Option<&str>,
        (content_type, query): (Option<&[u8]>, Option<&str>),
        body: &[u8],
    ) -> Result<BodyFacts, Fault> {
        let needs = self.needs(endpoint, path_model);
        let judged = judge(endpoint.judged().map(|metering| &**metering), content_type, query, needs)
            .and_then(|mut judge| {
                judge.feed(body).and_then(|_| judge.end()).map_err(|problem| unjudgeable(&problem))?;
                Ok((judge.model().map(str::to_owned), other_models(&judge), judge.max_output()))
            });
        let (model, other_models, cap) = match judged {
            Err(_) if !self.is_strict() => (None, Vec::new(), None),
            judged => judged?,
        };
        let model = path_model.map(str::to_owned).or(model);
        Ok(BodyFacts { model, other_models, cap, bytes: body.len() as u64, is_exact: true })
    }

    /// Fails if no rule allows the models of the call, or if a limit needs a model and the call names none.
    pub fn check_models(
        &self,
        call: &CallFacts<'_>,
        endpoint: &bind::Endpoint,
        body: &BodyFacts,
    ) -> Result<(), Fault> {
        // A list to fall back to names no first model: what the upstream takes then is not known.
        self.check_model(call, endpoint, body.model.as_deref())?;
        body.other_models.iter().try_for_each(|model| self.check_rules(model))?;
        let is_other = |model: &&String| Some(*model) != body.model.as_ref();
        let by_model =
            |limit: &&Arc<Limit>| limit.over == OverValue::Reject && limit.per.contains(&Per::Model);
        match (body.other_models.iter().find(is_other), self.for_body(body).find(by_model)) {
            (Some(_), Some(limit)) => Err(several_models(limit)),
            _ => Ok(()),
        }
    }

    /// Fails unless the upstream may call this model too, which came in the body after the call was admitted. `admitted`: what was
    /// known then.
    pub fn check_late_model(&self, admitted: &BodyFacts, model: &str) -> Result<(), Fault> {
        if admitted.models().any(|known| known == model) {
            return Ok(());
        }
        self.check_rules(model)?;
        let is_for = |limit: &Limit, model| limit.filter.matches_model(Some(model));
        let would_count = |limit: &&Arc<Limit>| {
            limit.over == OverValue::Reject
                && is_for(limit, model)
                && (limit.needs_all_models() || !admitted.models().any(|known| is_for(limit, known)))
        };
        let Some(limit) = self.limits.iter().find(would_count) else { return Ok(()) };
        let message = format!(
            "The body names the model `{}` late, and the limit `{}` needs to know it before the request is sent: send it first",
            shortened(model),
            limit.id
        );
        Err(Fault::new(FaultKind::BodyTooLargeToJudge, message))
    }

    fn check_rules(&self, model: &str) -> Result<(), Fault> {
        match self.rules.as_ref().filter(|_| self.rules_on_models()) {
            Some(rules) if !rules.iter().any(|rule| rule.models.matches(model)) => {
                Err(model_not_allowed(rules, model))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_model(
        &self,
        call: &CallFacts<'_>,
        endpoint: &bind::Endpoint,
        model: Option<&str>,
    ) -> Result<(), Fault> {
        let names_model = endpoint.judged().is_some_and(|one| one.names_model());
        // Without a body, which these are sent without, a request asks no model for anything.
        let asks_nothing =
            endpoint.upgrade.is_none() && matches!(endpoint.method, Method::GET | Method::HEAD);
        if model.is_none() && names_model && !asks_nothing {
            self.check_missing()?;
        }
        match model {
            Some(model) => self.check_rules(model),
            None if asks_nothing || !self.rules_on_models() => Ok(()),
            None if names_model => {
                let message =
                    "The request names no model, and you may call some models alone: name one of them";
                Err(Fault::new(FaultKind::ModelNotAllowed, message))
            }
            None => Err(unknown_model(call)),
        }
    }

    /// Fails if a limit that refuses is for models: the upstream may take one that it is for by default.
    fn check_missing(&self) -> Result<(), Fault> {
        let mut limits = self.limits.iter().filter(|limit| limit.over == OverValue::Reject);
        let Some(limit) = limits.find(|limit| limit.needs_model()) else { return Ok(()) };
        let message =
            format!("The request names no model, and the limit `{}` needs to know it: name it", limit.id);
        Err(Fault::new(FaultKind::ModelMissing, message))
    }

    /// The limits for a call with such a body, by id: those for one of its models.
    pub fn for_body<'s>(&'s self, body: &'s BodyFacts) -> impl Iterator<Item = &'s Arc<Limit>> {
        self.limits.iter().filter(|limit| {
            let mut models = body.models();
            let first = models.next();
            limit.filter.matches_model(first) || models.any(|model| limit.filter.matches_model(Some(model)))
        })
    }

    /// True if the model decides whether a rule allows the call.
    fn rules_on_models(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| !rules.iter().any(|rule| rule.models.is_any()))
    }
}

/// The fault of a request that several models may answer, where each has an amount of its own.
fn several_models(limit: &Limit) -> Fault {
    let message = format!(
        "The request names several models, and the limit `{}` has an amount for each: name one alone",
        limit.id
    );
    Fault::new(FaultKind::UnjudgeableBody, message)
}

fn endpoint_not_allowed(call: &CallFacts<'_>) -> Fault {
    let message = format!(
        "You may not call `{}/{}`: a rule of this tollgate allows other endpoints. Ask its operator",
        call.provider, call.endpoint
    );
    Fault::new(FaultKind::EndpointNotAllowed, message)
}

/// The most names of models in a message.
const SHOWN_MODELS: usize = 8;

fn model_not_allowed(rules: &[Arc<Allow>], model: &str) -> Fault {
    let globs: Vec<&str> = rules
        .iter()
        .flat_map(|rule| rule.models.globs())
        .map(crate::language::compile::Glob::as_str)
        .collect();
    let more = if globs.len() > SHOWN_MODELS { ", and others" } else { "" };
    let shown =
        globs.iter().take(SHOWN_MODELS).map(|glob| format!("`{glob}`")).collect::<Vec<_>>().join(", ");
    let model = shortened(model);
    let message = format!("You may not call the model `{model}`. You may call {shown}{more}");
    Fault::new(FaultKind::ModelNotAllowed, message)
}

/// The fault of an endpoint whose requests name no model where anyone could find it.
fn unknown_model(call: &CallFacts<'_>) -> Fault {
    let message = format!(
        "You may call some models alone, and it is not known which one `{}/{}` calls. \
         A rule of this tollgate can allow the endpoint by its name: ask its operator",
        call.provider, call.endpoint
    );
    Fault::new(FaultKind::ModelNotAllowed, message)
}

/// The judge of a call's body, for what is needed of it. `metering` is that of the endpoint. A fault if the body could be read in
/// two ways whatever it says.
pub fn judge(
    metering: Option<&Metering>,
    content_type: Option<&[u8]>,
    query: Option<&str>,
    needs: Needs,
) -> Result<Judge, Fault> {
    let places = match metering {
        Some(metering) => metering.request.places().cloned().map_err(|problem| {
            let message = format!(
                "A limit or a rule needs what the body says, and the api file of this endpoint names no place that can be judged: \
                 {problem}. Ask the operator of this tollgate"
            );
            Fault::new(FaultKind::UnjudgeableBody, message)
        })?,
        None => Arc::new(Places::none()),
    };
    if (needs.model || needs.other_models) && query_names_model(query, &places) {
        let message = "The query names a model, and the upstream reads it in the body: send it there alone";
        return Err(Fault::new(FaultKind::UnjudgeableBody, message));
    }
    Judge::new(places, content_type, needs).map_err(|problem| unjudgeable(&problem))
}

/// The models besides the first that a judge found.
pub fn other_models(judge: &Judge) -> Vec<String> {
    judge.other_models().iter().map(ToString::to_string).collect()
}

/// The fault of a body that could be read in two ways, or that its bounds do not bound.
pub fn unjudgeable(problem: &Unjudgeable) -> Fault {
    if let Unjudgeable::Unbounded { .. } = problem {
        let message = format!("{problem}. A limit of this tollgate reserves the most: leave it out");
        return Fault::new(FaultKind::UnboundedRequest, message);
    }
    let message = format!("{problem}. A limit or a rule of this tollgate needs that");
    Fault::new(FaultKind::UnjudgeableBody, message)
}

/// A name of the client's, for a message: bounded, and without characters that could be taken for others.
pub(super) fn shortened(name: &str) -> Cow<'_, str> {
    const MAX: usize = 80;
    let is_plain = |c: char| c.is_ascii_graphic();
    if name.len() <= MAX && name.chars().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut shown: String = name.chars().take(MAX).map(|c| if is_plain(c) { c } else { '?' }).collect();
    if shown.len() < name.len() {
        shown += "...";
    }
    Cow::Owned(shown)
}
