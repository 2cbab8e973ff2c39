//! Usage that waits in memory because the store cannot be written: for the status, reports and metrics.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ledger, Shared};
use crate::{
    clock::{now_ms, utc},
    numbers::counted,
    store::StoreError,
};

/// Usage that waits in memory, because the store cannot be written. No report has it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageBacklog {
    /// Time of the first failure, in UTC.
    pub since: String,
    /// Requests of all users whose usage waits. Users do not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Reason, with the action. Users do not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A batch whose last try failed.
#[derive(Debug)]
pub(super) struct FailedBatch {
    since_ms: u64,
    requests: u64,
    problem: String,
}

impl UsageBacklog {
    /// The same, as users see it: without what belongs to others.
    #[must_use]
    pub fn without_details(self) -> Self {
        Self { requests: None, problem: None, ..self }
    }
}

impl fmt::Display for UsageBacklog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests.map(|number| format!(" of {}", counted(number, "request")));
        write!(f, "usage{} waits in memory since {}", requests.unwrap_or_default(), self.since)?;
        self.problem.iter().try_for_each(|problem| write!(f, ": {problem}"))
    }
}

impl Ledger {
    /// The usage that waits. `None` while the store can be written.
    pub fn backlog(&self) -> Option<UsageBacklog> {
        let state = self.0.lock();
        let failed = state.failed.as_ref()?;
        Some(UsageBacklog {
            since: utc(failed.since_ms),
            requests: Some(failed.requests.saturating_add(state.pending.requests())),
            problem: Some(failed.problem.clone()),
        })
    }
}

impl Ledger {
    /// The requests whose usage is not written.
    pub fn unwritten(&self) -> u64 {
        let state = self.0.lock();
        state.writing.saturating_add(state.pending.requests())
    }
}

impl Shared {
    /// Notes the failure of a try.
    pub(super) fn failed(&self, requests: u64, error: &StoreError) {
        let problem = error.to_string();
        let mut state = self.lock();
        let since_ms = state.failed.as_ref().map_or_else(now_ms, |before| before.since_ms);
        state.failed = Some(FailedBatch { since_ms, requests, problem });
    }

    /// Notes that a batch waits no longer.
    pub(super) fn settled(&self) {
        let mut state = self.lock();
        (state.failed, state.writing) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_do_not_see_the_usage_of_others() {
        let all = UsageBacklog {
            since: "2026-11-29T13:00:00Z".into(),
            requests: Some(1),
            problem: Some("no space".into()),
        };
        let own = all.clone().without_details();
        assert_eq!(
            all.to_string(),
            "usage of 1 request waits in memory since 2026-11-29T13:00:00Z: no space"
        );
        assert_eq!(own.to_string(), "usage waits in memory since 2026-11-29T13:00:00Z");
    }
}
