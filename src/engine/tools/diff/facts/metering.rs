//! Facts about the metering of answers. A key that is inserted into the body of a request widens exposure: no client sent
//! it.

use super::{Fact, Key, Listing};
use crate::{
    language::compile::metering::{Ask, Metering, WhenMissing},
    tools::diff::Subject,
};

const INSERTS: &str = "a key that no client sent is inserted into the bodies of requests";

impl Listing<'_> {
    pub(super) fn metering(&mut self, endpoint: &str, owner: &Key, metering: &Metering) {
        let Metering { request: _, body: _, event: _, framings: _, when_missing, ask, model_capture: _ } =
            metering;
        let value = format!("when missing: {}", when_missing.name());
        let fact = Fact { detail: metering.shape(), owner: Some(owner.clone()), ..Fact::of(value) };
        self.add(Subject::Metering, endpoint, fact);
        if let Some(ask) = ask.as_ref().filter(|_| *when_missing == WhenMissing::Ask) {
            self.ask(endpoint, owner, ask);
        }
    }

    fn ask(&mut self, endpoint: &str, owner: &Key, ask: &Ask) {
        // The event that is taken out of the answer is part of the metering's shape.
        let Ask { at, value, when, extra: _ } = ask;
        let when = when.as_ref().map(|when| format!(", if `{when}` is true")).unwrap_or_default();
        let fact = Fact {
            added: Some(INSERTS),
            changed: Some(INSERTS),
            owner: Some(owner.clone()),
            ..Fact::of(format!("`{at}` = `{value}`{when}"))
        };
        self.add(Subject::Metering, format!("{endpoint}: ask"), fact);
    }
}
