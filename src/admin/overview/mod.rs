//! The overview of operators: the figures of now and of the day, and what needs attention.
//!
//! The figures of now are those of this process (`traffic`). Those of the day come from the ledger, so that a restart does not
//! lose them. Read next: `attention` for the problems, `stored` for what is read from the store.

mod attention;
mod document;
mod stored;

use std::sync::Arc;

use http::StatusCode;

use self::attention::{Facts, NearLimit, attention};
pub use self::{
    document::{
        Attention, AttentionKind, AttentionSeverity, AttentionTarget, Overview, OverviewDay,
        OverviewFirstByte, OverviewHour, OverviewNow, OverviewSetup, Percentiles, StatusEvent,
    },
    stored::StoredFacts,
};
use super::{
    Admin, ApiResult, LiveFiles, ProviderFiles, Request, Response, not_found,
    operations::{Parameter, ParameterKind},
    page::invalid_query,
    with_store,
};
use crate::{
    clock::{now_ms, utc},
    compile::Limits,
    fault::Fault,
    files::Status,
    rewrite::value_of,
    syntax::OverValue,
};

/// An hour, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// The parameters of `GET /admin/events`.
pub(super) static EVENTS: &[Parameter] = &[Parameter {
    name: "topics",
    description: "Kinds of events, with commas: `status`, `overview`; both if left out",
    kind: ParameterKind::Text,
}];

/// The kinds of events that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topics {
    /// `status`: the provider files changed.
    pub status: bool,
    /// `overview`: the overview, every two seconds.
    pub overview: bool,
}

impl Topics {
    /// Those of a query.
    pub fn of(query: Option<&str>) -> Result<Self, Fault> {
        let Some(asked) = value_of(query, "topics") else { return Ok(Self { status: true, overview: true }) };
        let mut topics = Self { status: false, overview: false };
        for topic in asked.split(',') {
            match topic {
                "status" => topics.status = true,
                "overview" => topics.overview = true,
                _ => {
                    return Err(invalid_query(
                        "?topics=: `status`, `overview`, or both with a comma between",
                    ));
                }
            }
        }
        Ok(topics)
    }
}

impl Admin {
    /// The overview. A command has none: it serves nothing.
    pub(super) async fn overview(&self, request: &Request) -> ApiResult {
        let ProviderFiles::Live(files) = &self.files else { return Err(not_found()) };
        let (status, is_readable) =
            with_store(files.with_load(&files.live.status()), Some(&self.store)).await;
        // A store that does not respond is not asked more.
        let stored = if is_readable { files.overview.get(self, request).await } else { None };
        Ok(Response::json(
            StatusCode::OK,
            &files.overview_of(&status, stored.as_ref(), &request.table.limits),
        ))
    }
}

impl LiveFiles {
    fn overview_of(
        &self,
        status: &Status,
        stored: Option<&Arc<stored::Stored>>,
        limits: &Limits,
    ) -> Overview {
        let (now_ms, load) = (now_ms(), self.admission.load());
        let (refreshes, refused) = (self.refreshes.get(), self.traffic.refused_keys());
        let facts = Facts {
            moved: stored.map_or(&[], |stored| &stored.moved),
            expiring: stored.map_or(&[], |stored| &stored.expiring),
            refreshes: &refreshes,
            refused: &refused,
            drops: &self.drops.since(now_ms.saturating_sub(HOUR_MS)),
            limits: &self.near_limits(limits, now_ms),
            now_ms,
        };
        Overview {
            at: utc(now_ms),
            now: OverviewNow::new(&self.traffic.last_minute(), now_ms, &load, self.traffic.streams()),
            day: stored.map(|stored| stored.day.clone()),
            first_byte: OverviewFirstByte::new(&self.traffic.last_day()),
            attention: attention(status, facts),
            setup: stored.map(|stored| stored.setup),
        }
    }
}

/// The share from which a limit is nearly used up.
const NEAR: f64 = 0.8;

impl LiveFiles {
    /// The limits with one amount for everybody that is nearly used up.
    fn near_limits(&self, limits: &Limits, now_ms: u64) -> Vec<NearLimit> {
        let shared = limits.all().iter().filter(|limit| limit.per.is_empty());
        let near = shared.filter_map(|limit| {
            let share = self.limits.report(limit, "", limit.amount, now_ms).share(limit.amount);
            let refuses = limit.over == OverValue::Reject;
            (share >= NEAR).then(|| NearLimit { id: limit.id.clone(), share, refuses })
        });
        near.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_checked() {
        let check = |query: Option<&str>, expected: Option<(bool, bool)>| {
            let topics = Topics::of(query).ok().map(|topics| (topics.status, topics.overview));
            assert_eq!(topics, expected, "{query:?}");
        };
        check(None, Some((true, true)));
        check(Some("x=1"), Some((true, true)));
        check(Some("topics=status"), Some((true, false)));
        check(Some("topics=overview,status"), Some((true, true)));
        check(Some("topics=overview%2Coverview"), Some((false, true)));
        for wrong in ["topics=", "topics=all", "topics=status,", "topics=Status"] {
            check(Some(wrong), None);
        }
    }
}
