//! What limits and rules read of a test's request: its models, the bounds of its answer, and what no bound holds. It runs the judge
//! that requests run through.

use http::{HeaderMap, header, request::Parts};

use super::Mismatch;
use crate::{
    language::syntax::{ExpectJudged, Payload, TestRequest},
    request::{
        judge::{Judge, Needs, query_names_model},
        table::Hit,
    },
};

/// What was read, or the cause of the refusal.
pub(super) type Judged = Result<Read, &'static str>;

#[derive(Debug)]
pub(super) struct Read {
    model: Option<String>,
    other_models: Vec<String>,
    max_output: Option<u64>,
}

/// What is read of a request. None if its endpoint has no places.
pub(super) fn judged(hit: &Hit, head: &Parts, request: &TestRequest) -> Option<Judged> {
    let metering = hit.endpoint().judged()?;
    let places = metering.request.places().ok()?;
    let in_path = hit.captured_model(head.uri.path());
    let needs = Needs {
        model: in_path.is_none(),
        other_models: true,
        max_output: true,
        bound: true,
        is_estimate: false,
        to_the_end: true,
    };
    if query_names_model(head.uri.query(), places) {
        return Some(Err("query"));
    }
    let body = request.body.as_ref().map(Payload::text).unwrap_or_default();
    let judge = |headers: &HeaderMap| {
        let content_type = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        let mut judge = Judge::new(places.clone(), content_type, needs)?;
        judge.feed(body.as_bytes())?;
        judge.end()?;
        Ok(judge)
    };
    let read = judge(&head.headers).map(|judge: Judge| Read {
        model: in_path.or_else(|| judge.model().map(str::to_owned)),
        other_models: judge.other_models().iter().map(ToString::to_string).collect(),
        max_output: judge.max_output(),
    });
    Some(read.map_err(|refused: crate::request::judge::Unjudgeable| refused.cause()))
}

/// The differences from what is expected.
pub(super) fn compare(expected: &ExpectJudged, judged: Option<&Judged>) -> Vec<Mismatch> {
    let Some(judged) = judged else {
        let sentence = "limits and rules read nothing of the request: its endpoint has no `api` with `usage`";
        return vec![Mismatch::Other(sentence.to_owned())];
    };
    let ExpectJudged { model, other_models, max_output, refused } = expected;
    let (none, found) = ("none".to_owned(), judged.as_ref().ok());
    let cause = judged.as_ref().err().map_or(none.clone(), |cause| (*cause).to_owned());
    // In any order: a test's body has its keys sorted.
    let list = |models: &[String]| {
        let mut models = models.to_vec();
        models.sort_unstable();
        if models.is_empty() { none.clone() } else { models.join(", ") }
    };
    let mut values = vec![("`refused`", refused.clone().or(Some(none.clone())), Some(cause))];
    if let Some(found) = found.filter(|_| refused.is_none()) {
        let others = other_models.as_deref().unwrap_or_default();
        values.push(("the model that rules read", model.clone(), found.model.clone()));
        values.push(("`other_models`", Some(list(others)), Some(list(&found.other_models))));
        let shown = |number: Option<u64>| number.map(|number| number.to_string());
        values.push(("the cap that limits read", shown(*max_output), shown(found.max_output)));
    }
    let differs = |(what, expected, actual): (&str, Option<String>, Option<String>)| {
        let expected = expected?;
        let what = what.to_owned();
        (actual.as_ref() != Some(&expected)).then_some(Mismatch::Differs { what, expected, actual })
    };
    values.into_iter().filter_map(differs).collect()
}
