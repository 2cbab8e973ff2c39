//! The places of a metering that hold nothing in the bodies of a test. A failed expectation names them: most often, the
//! pointer is misspelt.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::language::{
    compile::metering::{Map, Metering, Pointer, Step, Target},
    syntax::{Payload, TestAnswer, TestRequest},
};

/// Pointers by the name of the value, as a mismatch has it. Only values of which no pointer finds anything.
pub(super) type Absent = BTreeMap<String, Vec<String>>;

/// The values that no pointer finds.
pub(super) fn absent(metering: &Metering, request: &TestRequest, answer: &TestAnswer) -> Absent {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    let request = request.body.as_ref().and_then(|body| parsed(&body.text()));
    let (map, answers): (&Map, Vec<Value>) = if let Some(events) = &answer.events {
        (&metering.event, events.iter().map(Payload::text).filter_map(|one| parsed(&one)).collect())
    } else {
        let text = answer.text.as_deref().and_then(parsed);
        (&metering.body, answer.body.as_ref().map(|body| body.0.clone()).or(text).into_iter().collect())
    };
    let mut absent = Absent::new();
    let mut found = Vec::new();
    for (map, documents) in [(&*metering.request, request.as_slice()), (map, &answers)] {
        for entry in map.entries() {
            let Some(name) = name(&entry.target) else { continue };
            if documents.iter().any(|document| holds(document, entry.pointer.steps())) {
                found.push(name);
            } else {
                absent.entry(name).or_default().push(shown(&entry.pointer));
            }
        }
    }
    absent.retain(|name, _| !found.contains(name));
    absent
}

fn shown(pointer: &Pointer) -> String {
    format!("`{}`", pointer.as_str().escape_debug())
}

/// The name of a value in mismatches; none if its absence is no mistake.
fn name(target: &Target) -> Option<String> {
    match target {
        Target::Count(counter) => Some(format!("the count `{counter}`")),
        Target::Model => Some("the model".to_owned()),
        Target::Id => Some("the id of the response".to_owned()),
        Target::FinishReason => Some("the finish reason".to_owned()),
        Target::MaxOutput => Some("`max_output`".to_owned()),
        Target::Plus(_)
        | Target::Error
        | Target::OtherModel
        | Target::Answers
        | Target::Prompts
        | Target::Unbounded(_)
        | Target::Stream
        | Target::Text
        | Target::Other
        | Target::Content
        | Target::Prompt(_)
        | Target::Parameter(_)
        | Target::Mark(_) => None,
    }
}

/// True if a value other than null is there.
fn holds(value: &Value, steps: &[Step]) -> bool {
    let Some((step, below)) = steps.split_first() else { return !value.is_null() };
    match (step, value) {
        (Step::Every, Value::Array(elements)) => elements.iter().any(|one| holds(one, below)),
        (Step::Name(name), Value::Object(members)) => {
            members.get(&**name).is_some_and(|one| holds(one, below))
        }
        (Step::Name(_), Value::Array(elements)) => {
            let index = step.index().and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| elements.get(index)).is_some_and(|one| holds(one, below))
        }
        (Step::Every | Step::Name(_), _) => false,
    }
}
